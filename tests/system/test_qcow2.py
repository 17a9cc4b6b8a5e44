#!/usr/bin/env python3
"""qcow2 as a driver and a manager see it: requests through virtio-blk, images that QEMU 10.0 and qemu-img read and write in turn, the same
answers, events and messages as QEMU 10.0's. What the format does inside is tested in tests/block."""
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile

import qtest
import vm
from qtest import Blk, Function
from vm import Skip, Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-qcow2-")
HLT = f"{tmp.name}/hlt.bin"  # firmware for QEMU, which has no accelerator that runs nothing
with open(HLT, "wb") as image:
    image.write(bytes(65536 - 16) + b"\xfa\xf4\xeb\xfd" + bytes(12))
SIZE, CLUSTER = 4 << 20, 65536
DISCARD, ZEROES = 11, 13
FEATURES = Blk.FEATURES | 1 << 13 | 1 << 14


def img(*args, rc=0):
    if not shutil.which("qemu-img"):
        raise Skip("no qemu-img (package qemu-utils)")
    r = subprocess.run(["qemu-img", *args], cwd=tmp.name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode != rc:
        raise AssertionError(f"qemu-img {' '.join(args)}: {r.stdout}")
    return r.stdout


def path(name):
    return f"{tmp.name}/{name}"


def start(args, binary=None):
    mode = ["-accel", "tcg", "-bios", HLT] if binary else ["-accel", "qtest"]
    return Vm([*mode, "-M", "pc-i440fx-10.0", "-m", "64", "-nodefaults", *args], binary=binary, qtest=True)


def drive(name, more=""):
    return ["-drive", f"if=none,id=d,file={path(name)},format=qcow2,discard=unmap{more}", "-device", "virtio-blk-pci,drive=d,addr=4"]


def range_request(b, kind, sector, n, unmap=0):
    """DISCARD or WRITE_ZEROES. VIRTIO 1.4, 5.2.6."""
    b.q.write(b.head, kind.to_bytes(4, "little") + bytes(12))
    b.q.put(b.status, 1, 0xff)
    b.q.write(b.data, struct.pack("<QII", sector, n, unmap))
    b.queue.add([(b.head, 16), (b.data, 16)], [(b.status, 1)])
    b.queue.kick()
    return b.finish()


def use(binary, name, shadow, seed, ops=60):
    """Random operations on the image through a driver; the shadow gets the same. Discards are of whole clusters."""
    r = random.Random(seed)
    v = start(drive(name), binary)
    b = Blk(Function(v.qtest, 0, 4, 0), FEATURES)
    for _ in range(ops):
        what, n = r.randrange(6), r.randrange(1, 96)
        at = r.randrange(SIZE // 512 - n)
        if what < 3:
            data = bytes([r.randrange(256)]) * (n * 512)
            same(b.write(at, data), Blk.OK, "write")
            shadow[at * 512:at * 512 + len(data)] = data
        elif what == 3:
            status, data = b.read(at, n * 512)
            same((status, data == bytes(shadow[at * 512:(at + n) * 512])), (Blk.OK, True), f"read of {n} sectors at {at}")
        elif what == 4:
            first, count = at * 512 // CLUSTER, r.randrange(1, 4)
            count = min(count, SIZE // CLUSTER - first)
            same(range_request(b, DISCARD, first * CLUSTER // 512, count * CLUSTER // 512), Blk.OK, "discard")
            shadow[first * CLUSTER:(first + count) * CLUSTER] = bytes(count * CLUSTER)
        else:
            same(range_request(b, ZEROES, at, n, r.randrange(2)), Blk.OK, "write zeroes")
            shadow[at * 512:(at + n) * 512] = bytes(n * 512)
        if not r.randrange(10):
            same(b.flush(), Blk.OK, "flush")
    v.qmp.ok("quit")
    same(v.wait(), 0, "exit status")
    v.close()


def judge(name, shadow):
    with open(path("shadow"), "wb") as f:
        f.write(shadow)
    img("check", name)
    img("compare", "-f", "qcow2", "-F", "raw", name, "shadow")


@test("a driver's requests, with a compressed image below")
def _():
    shadow = bytearray(random.Random(1).randbytes(SIZE // 2) + bytes(SIZE // 2))
    with open(path("raw"), "wb") as f:
        f.write(shadow)
    img("convert", "-c", "-f", "raw", "-O", "qcow2", "raw", "base")
    img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "top")
    for seed in range(3):
        use(None, "top", shadow, seed)
        judge("top", shadow)
    judge("base", bytes(random.Random(1).randbytes(SIZE // 2) + bytes(SIZE // 2)))


@test("QEMU 10.0 and this emulator write to one image in turn")
def _():
    oracle = vm.oracle()
    shadow = bytearray(SIZE)
    img("create", "-q", "-f", "qcow2", "turns", str(SIZE))
    for seed in range(6):
        use(oracle if seed % 2 else None, "turns", shadow, 100 + seed)
        judge("turns", shadow)


def facts(binary, name):
    v = start(["-drive", f"if=none,id=d,file={path(name)}"], binary)
    whole = v.qmp.ok("query-block")[0]["inserted"]
    nodes = {n["drv"] for n in v.qmp.ok("query-named-block-nodes")}
    v.close()

    def strip(image):
        image.pop("actual-size")
        if "backing-image" in image:
            strip(image["backing-image"])
    strip(whole["image"])
    whole.pop("node-name")
    return whole, nodes


@test("query-block says what QEMU 10.0 says")
def _():
    oracle = vm.oracle()
    img("create", "-q", "-f", "raw", "b.raw", "1M")
    img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", "b.raw", "f0")
    img("create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=4096", "f1", "3M")
    img("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on,refcount_bits=64", "f2", "3M")
    img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "f0", "f3", "8M")
    for name in ("f0", "f1", "f2", "f3"):
        same(facts(None, name), facts(oracle, name), name)


def refusal(binary, name, more=""):
    """What is said of an image that cannot be opened."""
    args = [binary or vm.BIN, "-M", "none", "-display", "none", "-accel", "tcg" if binary else "qtest", "-qmp", "null", "-monitor", "none",
            "-blockdev", f"driver=qcow2,node-name=q,file.driver=file,file.filename={path(name)}{more}", "-device", "no-such-device"]
    r = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=vm.TIMEOUT)
    lines = [l for l in r.stdout.splitlines() if "module" not in l]
    return "\n".join(lines).split(f"{path(name)}{more}: ", 1)[-1]


@test("broken headers are refused in QEMU 10.0's words")
def _():
    oracle = vm.oracle()
    cases = [(0, 4, 0), (4, 4, 4), (20, 4, 8), (20, 4, 22), (100, 4, 100), (100, 4, 65544), (96, 4, 7), (32, 4, 1), (32, 4, 3), (72, 8, 2), (72, 8, 8),
             (72, 8, 32), (72, 8, 1 << 63), (104, 1, 1), (36, 4, 0), (36, 4, 0x7fffffff), (40, 8, 0x30001), (48, 8, 0x10001), (56, 4, 0),
             (56, 4, 129), (60, 4, 70000), (24, 8, 1 << 61), (24, 8, (1 << 64) - 1), (8, 8, 65537)]
    for at, width, value in cases:
        img("create", "-q", "-f", "qcow2", "bad", "64M")
        with open(path("bad"), "r+b") as f:
            f.seek(at)
            f.write(value.to_bytes(width, "big"))
        same(refusal(None, "bad"), refusal(oracle, "bad"), f"{value:#x} at {at}")
    img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", "gone", "-u", "bad", "1M")
    same(refusal(None, "bad"), refusal(oracle, "bad"), "no backing file")
    img("create", "-q", "-f", "qcow2", "bad", "1M")
    for more in (",backing=nope", ",l2-cache-entry-size=100", ",overlap-check=foo"):
        same(refusal(None, "bad", more), refusal(oracle, "bad", more), more)


def corrupt(binary):
    """A write to a cluster that lies in its own table: the status, the event, what the image says afterwards."""
    with open(path("raw"), "wb") as f:
        f.write(b"x" * SIZE)
    img("convert", "-f", "raw", "-O", "qcow2", "raw", "bad")
    with open(path("bad"), "r+b") as f:
        f.seek(40)
        f.seek(int.from_bytes(f.read(8), "big"))
        table = int.from_bytes(f.read(8), "big") & 0xfffffffffffe00
        f.seek(table + 8)
        f.write((table | 1 << 63).to_bytes(8, "big"))
    v = start(drive("bad"), binary)
    b = Blk(Function(v.qtest, 0, 4, 0), FEATURES)
    status = b.write(128, bytes(512))
    data = v.qmp.event("BLOCK_IMAGE_CORRUPTED")["data"]
    data.pop("node-name")
    later = b.read(0, 512)[0]
    v.close()
    with open(path("bad"), "rb") as f:
        f.seek(72)
        return status, data, later, f.read(8)


@test("a table that would be written over: the image is marked and nothing goes on")
def _():
    same(corrupt(None), corrupt(vm.oracle()), "corruption")


@test("block_resize, and the size the driver sees")
def _():
    img("create", "-q", "-f", "qcow2", "size", "1M")
    v = start(drive("size"))
    same(v.qmp.ok("query-block")[0]["inserted"]["image"]["virtual-size"], 1 << 20, "before")
    v.qmp.ok("block_resize", device="d", size=600 << 20)
    b = Blk(Function(v.qtest, 0, 4, 0), FEATURES)
    same(b.write((600 << 11) - 8, b"e" * 4096), Blk.OK, "write at the new end")
    v.qmp.ok("quit")
    same(v.wait(), 0, "exit status")
    v.close()
    img("check", "size")
    same(json.loads(img("info", "--output=json", "size"))["virtual-size"], 600 << 20, "after")


@test("an image in use is locked against others")
def _():
    img("create", "-q", "-f", "qcow2", "lock", "1M")
    v = start(drive("lock"))
    if "lock" not in img("check", "lock", rc=1):
        raise AssertionError("qemu-img took a used image")
    said = refusal(None, "lock")
    if not said.startswith('Failed to get "write" lock'):
        raise AssertionError(said)
    v.close()
    img("check", "lock")


if __name__ == "__main__":
    vm.main()

#!/usr/bin/env python3
"""virtio-blk with its data path on an iothread: data, resets and stops while requests are out, and who may delete the thread."""
import os
import signal
import tempfile

import qtest
import vm
from vm import BIN, Vm, run, same, test

BLK = qtest.Blk
VARIANTS = {"threads": "", "io_uring": ",aio=io_uring", "io_uring, no cache": ",aio=io_uring,cache=none",
            "native": ",aio=native,cache=none"}


class Disk:
    def __init__(self, drive="", device=""):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-iothread-", dir=os.path.dirname(BIN))
        self.path = f"{self.dir.name}/disk.img"
        with open(self.path, "wb") as f:
            f.truncate(16 << 20)
        self.vm = Vm(["-accel", "qtest", "-nodefaults", "-object", "iothread,id=t0,poll-max-ns=100000",
                      "-drive", f"if=none,id=d,file={self.path},format=raw{drive}",
                      "-device", f"virtio-blk-pci,id=b,drive=d,addr=4,iothread=t0{device}"], qtest=True)
        self.blk = BLK(qtest.Function(self.vm.qtest, 0, 4, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.close()
        self.dir.cleanup()


def moves_data(drive):
    with Disk(drive) as d:
        for i in range(32):
            data = os.urandom(4096 * (1 + i % 8))
            same(d.blk.write(64 * i, data), BLK.OK, f"write {i}")
            same(d.blk.read(64 * i, len(data)), (BLK.OK, data), f"read {i}")
        same(d.blk.flush(), BLK.OK, "flush")
        d.vm.qmp.ok("stop")
        d.vm.qmp.ok("cont")
        same(d.blk.write(0, b"after" * 1024 + bytes(0)), BLK.OK, "write after stop and cont")
        same(d.blk.read(0, 5120), (BLK.OK, b"after" * 1024), "read after stop and cont")


for name, words in VARIANTS.items():
    test(f"data, {name}")(lambda words=words: moves_data(words))


@test("a reset while requests are out")
def reset():
    for words in VARIANTS.values():
        with Disk(words) as d:
            for i in range(20):
                d.blk.submit(BLK.OUT, 8 * i, bytes([i + 1]) * 4096)
                d.vm.qmp.ok("system_reset")
                d.vm.qmp.event("RESET")
                d.blk = BLK(qtest.Function(d.vm.qtest, 0, 4, 0))
            same(d.blk.write(0, b"x" * 512), BLK.OK, "write after the resets")
            same(d.blk.read(0, 512), (BLK.OK, b"x" * 512), "read after the resets")


@test("the thread is in use, its device is known")
def use():
    with Disk() as d:
        r = d.vm.qmp.cmd("object-del", id="t0")
        same(r["error"]["desc"], "object 't0' is in use, can not be deleted", "object-del")
        same([t["id"] for t in d.vm.qmp.ok("query-iothreads")], ["t0"], "query-iothreads")
        same(d.vm.qmp.ok("qom-get", path="/machine/peripheral/b", property="iothread"), "t0", "qom-get")


@test("SIGKILL loses no acknowledged write")
def kill():
    with Disk(",aio=io_uring") as d:
        for i in range(64):
            same(d.blk.write(8 * i, bytes([i + 1]) * 4096), BLK.OK, "write")
        d.vm.p.send_signal(signal.SIGKILL)
        same(d.vm.wait(), -signal.SIGKILL, "exit status")
        with open(d.path, "rb") as f:
            for i in range(64):
                same(f.read(4096), bytes([i + 1]) * 4096, f"block {i}")


@test("wrong threads")
def wrong():
    for words, text in (("iothread=t9", "Device 't9' not found"), ("iothread=r", "Invalid parameter type for 'iothread', expected: iothread")):
        p = run(["-accel", "qtest", "-nodefaults", "-object", "rng-builtin,id=r", "-drive", "if=none,id=d,file=null-co://,format=raw",
                 "-device", f"virtio-blk-pci,drive=d,{words}"])
        same((p.rc, p.err.strip()), (1, f"qemu-system-x86_64: -device virtio-blk-pci,drive=d,{words}: {text}"), words)


vm.main()

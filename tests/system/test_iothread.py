#!/usr/bin/env python3
"""virtio-blk, virtio-scsi and virtio-net with their data path on iothreads: data, resets and stops while requests are out, who may delete
the threads, and what cannot be there."""
import json
import os
import signal
import subprocess
import tempfile

import qtest
import vm
from vm import BIN, Skip, Vm, run, same, test

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


# ---- iothread-vq-mapping ----
TURNS = [{"iothread": "t0"}, {"iothread": "t1"}]
LISTED = [{"iothread": "t0", "vqs": [3, 0]}, {"iothread": "t1", "vqs": [1, 2]}]


def mapped(mapping, driver="virtio-blk-pci", **more):
    queues = {"virtio-blk-pci": "num-queues", "virtio-scsi-pci": "num_queues"}[driver]
    return json.dumps({"driver": driver, "id": "b", "addr": "4", queues: 4, "iothread-vq-mapping": mapping, **more})


THREADS = ["-nodefaults", "-object", "iothread,id=t0", "-object", "iothread,id=t1"]


def four(mapping):
    """A disk with four queues on two threads: one driver a queue, all over one function."""
    v = Vm(["-accel", "qtest", *THREADS, "-blockdev", "null-co,node-name=n,size=1048576,read-zeroes=on",
            "-device", mapped(mapping, drive="n")], qtest=True)
    first = BLK(qtest.Function(v.qtest, 0, 4, 0), queues=4)
    return v, [first] + [first.on(i) for i in range(1, 4)]


@test("queues on two threads: data, stop and cont, reset of the machine, unplug")
def mapping_works():
    for mapping in (TURNS, LISTED):
        v, queues = four(mapping)
        same(v.qmp.ok("qom-get", path="/machine/peripheral/b", property="iothread-vq-mapping"), mapping, "qom-get")
        for _ in range(8):
            for q in queues:
                q.submit(BLK.IN, 8, length=4096)
            v.qmp.ok("stop")
            v.qmp.ok("cont")
            same([q.finish() for q in queues], [BLK.OK] * 4, "reads around a stop")
        for i in range(4):
            s = v.qmp.ok("x-query-virtio-queue-status", path="/machine/peripheral/b/virtio-backend", queue=i)
            same((s["inuse"], s["last-avail-idx"]), (0, 8), f"queue {i}")
        for q in queues:
            q.submit(BLK.IN, 8, length=4096)
        v.qmp.ok("system_reset")
        v.qmp.event("RESET")
        again = BLK(qtest.Function(v.qtest, 0, 4, 0), queues=4)
        same(again.on(3).read(0, 512)[0], BLK.OK, "read after the reset")
        same(v.qmp.cmd("object-del", id="t1")["error"]["desc"], "object 't1' is in use, can not be deleted", "object-del")
        same(sorted(t["id"] for t in v.qmp.ok("query-iothreads")), ["t0", "t1"], "query-iothreads")
        v.close()


@test("an error on a queue's own thread stops the VM; what failed is done anew")
def mapping_stops():
    rule = {"event": "read_aio", "errno": 5, "once": True, "sector": 64}
    debug = {"driver": "raw", "node-name": "n", "file": {
        "driver": "blkdebug", "image": {"driver": "null-co", "size": 1 << 20, "read-zeroes": True}, "inject-error": [rule]}}
    device = mapped(TURNS, drive="n", rerror="stop", werror="stop", **{"request-merging": False})
    with Vm(["-accel", "qtest", *THREADS, "-blockdev", json.dumps(debug), "-device", device], qtest=True) as v:
        first = BLK(qtest.Function(v.qtest, 0, 4, 0), queues=4)
        third = first.on(3)
        third.submit(BLK.IN, 64, length=512)
        same(v.qmp.event("BLOCK_IO_ERROR")["data"]["action"], "stop", "BLOCK_IO_ERROR")
        v.qmp.event("STOP")
        same(v.qmp.ok("query-status")["status"], "io-error", "query-status")
        v.qmp.ok("cont")
        same(third.finish(), BLK.OK, "the read, done anew")
        same(first.read(64, 512)[0], BLK.OK, "another queue")


@test("wrong mappings say what QEMU 10.0 says")
def mapping_wrong():
    mappings = ([{"iothread": "t0", "vqs": [0, 2]}, {"iothread": "t1"}], [{"iothread": "t0"}, {"iothread": "t1", "vqs": [1]}],
                [{"iothread": "t0", "vqs": [0, 4]}, {"iothread": "t1", "vqs": [1, 2, 3]}], [{"iothread": "t0", "vqs": [0, 0, 1, 2, 3]}],
                [{"iothread": "t0", "vqs": [0, 1]}, {"iothread": "t1", "vqs": [1, 2, 3]}], [{"iothread": "t0", "vqs": [0, 1, 3]}],
                [{"iothread": "t9"}], [{"iothread": "r"}], [{"iothread": "t0"}, {"iothread": "t0"}], [{"vqs": [0]}],
                [{"iothread": "t0", "x": 1}], "t0", [1])
    rows = [mapped(m, driver, **drive) for m in mappings
            for driver, drive in (("virtio-blk-pci", {"drive": "n"}), ("virtio-scsi-pci", {}))]
    rows += [mapped(TURNS, drive="n", iothread="t0"), mapped(TURNS, "virtio-scsi-pci", iothread="t0"),
             "virtio-blk-pci,drive=n,iothread-vq-mapping=t0"]
    for row in rows:
        args = ["-display", "none", *THREADS, "-object", "rng-builtin,id=r", "-blockdev", "null-co,node-name=n", "-device", row]
        ours, theirs = run(["-accel", "qtest", *args]), run(["-accel", "tcg", *args], vm.oracle())
        same((ours.rc, ours.err.strip()), (theirs.rc, theirs.err.strip()), row)


# ---- virtio-net's queue pairs ----
CARD = "virtio-net-pci,romfile="


@test("virtio-net: x-iothread without a back end; back ends and filters that cannot leave the main loop say so")
def net_stays():
    here = ["-accel", "qtest", *THREADS]
    for back, kind in (("user,id=n", "user"), ("socket,id=n,udp=127.0.0.1:1,localaddr=127.0.0.1:0", "socket"), ("hubport,id=n,hubid=0", "hubport")):
        p = run([*here, "-netdev", back, "-device", f"{CARD},netdev=n,x-iothread=t0"])
        same((p.rc, p.err.strip()), (1, f"qemu-system-x86_64: -device {CARD},netdev=n,x-iothread=t0: "
                                        f"netdev 'n' of type '{kind}' cannot leave the main loop"), back)
    for words, text in (("x-iothread=t9", "Device 't9' not found"),
                        ("x-iothread-vq-mapping=t0", "Invalid parameter type for 'x-iothread-vq-mapping', expected: array")):
        p = run([*here, "-device", f"{CARD},{words}"])
        same((p.rc, p.err.strip()), (1, f"qemu-system-x86_64: -device {CARD},{words}: {text}"), words)
    with Vm([*here, "-device", f"{CARD},id=c,x-iothread=t1"]) as v:
        same(v.qmp.cmd("object-del", id="t1")["error"]["desc"], "object 't1' is in use, can not be deleted", "object-del")
        v.qmp.ok("object-del", id="t0")
        same(v.qmp.ok("qom-get", path="/machine/peripheral/c", property="x-iothread"), "t1", "qom-get")
        v.qmp.ok("system_reset")
        v.qmp.event("RESET")


@test("virtio-net on iothreads over a tap: links, resets, filters, the back end's end")
def net_tap():
    if os.geteuid() or not os.path.exists("/dev/net/tun") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        raise Skip("a tap in a network namespace of one's own needs root and /dev/net/tun")
    tap = "tap,id=n,ifname=vt0,script=no,downscript=no,queues="
    card = json.dumps({"driver": "virtio-net-pci", "romfile": "", "id": "c", "netdev": "n", "mq": True, "x-iothread-vq-mapping": TURNS})
    with Vm(["-accel", "qtest", *THREADS, "-netdev", f"{tap}4", "-device", card], wrap=["unshare", "-n"]) as v:
        for up in (False, True):
            v.qmp.ok("set_link", {"name": "n", "up": up})
            v.qmp.ok("set_link", {"name": "c", "up": up})
        v.qmp.ok("announce-self", initial=10, max=10, rounds=1, step=10)
        v.qmp.ok("stop")
        v.qmp.ok("cont")
        v.qmp.ok("system_reset")
        v.qmp.event("RESET")
        assert "vt0" in v.qmp.hmp("info network"), "info network"
        v.qmp.ok("netdev_del", id="n")
        v.qmp.ok("netdev_add", type="tap", id="n", ifname="vt1", script="no", downscript="no")
        same(v.qmp.cmd("object-del", id="t0")["error"]["desc"], "object 't0' is in use, can not be deleted", "object-del")
    one = ["-accel", "qtest", *THREADS, "-netdev", f"{tap}1"]
    with Vm([*one, "-device", f"{CARD},netdev=n,x-iothread=t0"], wrap=["unshare", "-n"]) as v:
        r = v.qmp.cmd("object-add", **{"qom-type": "filter-buffer", "id": "f", "netdev": "n", "interval": 1000})
        same(r["error"]["desc"], "netdev 'n' is in an iothread, where no filter can be", "object-add")
    with Vm([*one, "-object", "filter-buffer,id=f,netdev=n,interval=1000"], wrap=["unshare", "-n"]) as v:
        r = v.qmp.cmd("device_add", driver="virtio-net-pci", netdev="n", **{"x-iothread": "t0"})
        same(r["error"]["desc"], "netdev 'n' has filters, which cannot leave the main loop", "device_add")
        v.qmp.ok("object-del", id="f")
        v.qmp.ok("device_add", driver="virtio-net-pci", netdev="n", **{"x-iothread": "t0"})


vm.main()

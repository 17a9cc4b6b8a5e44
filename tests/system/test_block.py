#!/usr/bin/env python3
"""The block layer's policies and filters as a driver and a manager see them: what errors do (werror, rerror), blkdebug; the same events,
run states and answers as QEMU 10.0's, requests that are kept while the VM stands, done once when it goes on."""
import json
import os
import subprocess
import tempfile

import qtest
import vm
from qtest import Blk, Function
from test_scsi import GOOD, HLT, OK, Scsi, lun, rw
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-block-")
SIZE = 1 << 20


def image(name="d", size=SIZE, fill=None):
    path = f"{tmp.name}/{name}"
    with open(path, "wb") as f:
        if fill:
            f.write(fill)
        f.truncate(size)
    return path


def content(path, at, n):
    with open(path, "rb") as f:
        f.seek(at)
        return f.read(n)


def start(args, binary=None, accel="qtest"):
    mode = ["-accel", "tcg", "-bios", HLT] if binary else ["-accel", accel]
    return Vm([*mode, "-M", "pc-i440fx-10.0", "-m", "64", "-nodefaults", *args], binary=binary, qtest=True)


def debug(path, *rules, states=(), name="r"):
    """raw over blkdebug over a file."""
    return ["-blockdev", json.dumps({"driver": "raw", "node-name": name, "file": {
        "driver": "blkdebug", "node-name": f"{name}-debug", "image": {"driver": "file", "filename": path},
        **({"inject-error": list(rules)} if rules else {}), **({"set-state": list(states)} if states else {})}})]


def rule(event, errno=5, **more):
    return {"event": event, "errno": errno, **more}


def blk(v):
    return Blk(Function(v.qtest, 0, 4, 0))


def errors(v):
    """The events of interest so far: name and data; one command later, so that all are there."""
    v.qmp.ok("query-status")
    return [(e["event"], e.get("data")) for e in v.qmp.events if e["event"] in ("BLOCK_IO_ERROR", "STOP", "RESUME")]


# (QEMU reads sector 0 by itself.) (werror, rerror, rule, operations): each operation is (kind, sector).
POLICIES = [
    ("report", "report", rule("write_aio", once=True), [(1, 0), (1, 8)]),
    ("ignore", "ignore", rule("write_aio", once=True), [(1, 0), (1, 8)]),
    ("ignore", "ignore", rule("read_aio", sector=8, once=True), [(0, 8), (1, 8)]),
    ("enospc", "report", rule("write_aio", once=True), [(1, 0)]),
    ("enospc", "report", rule("read_aio", errno=28, sector=8, once=True), [(0, 8)]),
    ("auto", "auto", rule("write_aio", once=True), [(1, 0)]),
    ("stop", "report", rule("read_aio", sector=8, once=True), [(0, 8), (1, 0)]),
    ("report", "report", rule("read_aio", errno=28, sector=9), [(0, 8), (0, 9), (0, 9)]),
]
STOPS = [
    ("auto", "auto", rule("write_aio", errno=28, once=True), 1),
    ("enospc", "report", rule("write_aio", errno=28, once=True), 1),
    ("stop", "report", rule("write_aio", once=True), 1),
    ("report", "stop", rule("read_aio", sector=8, once=True), 0),
    ("report", "stop", rule("read_aio", errno=28, sector=8, once=True), 0),
]


def policy(binary, werror, rerror, what, ops):
    path = image()
    with start([*debug(path, what), "-device", f"virtio-blk-pci,drive=r,addr=4,id=vb,werror={werror},rerror={rerror}"], binary) as v:
        b = blk(v)
        out = []
        for kind, sector in ops:
            b.submit(kind, sector, bytes([sector + 1]) * 512 if kind else b"", 0 if kind else 512)
            out.append(b.finish())
        return out, errors(v), v.qmp.ok("query-status"), v.qmp.ok("query-block")[0].get("io-status")


@test("errors that are reported or ignored: status, events and io-status as QEMU 10.0")
def policies():
    for p in POLICIES:
        same(policy(None, *p), policy(vm.oracle(), *p), f"{p}")


def stops(binary, werror, rerror, what, kind):
    path = image(fill=b"old!" * 2048)
    with start([*debug(path, what), "-device", f"virtio-blk-pci,drive=r,addr=4,id=vb,werror={werror},rerror={rerror}"], binary) as v:
        b = blk(v)
        b.submit(kind, 8, b"new!" * 128 if kind else b"", 0 if kind else 512)
        log = [v.qmp.event(e).get("data") for e in ("BLOCK_IO_ERROR", "STOP")]
        log += [v.qmp.ok("query-status"), v.qmp.ok("query-block")[0].get("io-status"), b.queue.poll(), content(path, 4096, 4)]
        log += [v.qmp.ok("cont"), v.qmp.event("RESUME").get("data"), b.finish(), v.qmp.ok("query-status"), errors(v), content(path, 4096, 4)]
        return log


@test("errors that stop the VM: events, run state, the request is done at cont, as QEMU 10.0")
def stop_and_cont():
    for p in STOPS:
        same(stops(None, *p), stops(vm.oracle(), *p), f"{p}")


class Many:
    """Several writes of one sector each, outstanding at once."""

    def __init__(self, b, n):
        self.b, self.n, q = b, n, b.q
        self.head, self.data, self.status = q.alloc(16 * n), q.alloc(512 * n), q.alloc(n)
        for i in range(n):
            q.write(self.head + 16 * i, (1).to_bytes(8, "little") + (8 * i).to_bytes(8, "little"))
            q.write(self.data + 512 * i, bytes([i + 1]) * 512)
        q.write(self.status, b"\xff" * n)
        for i in range(n):
            b.queue.add([(self.head + 16 * i, 16), (self.data + 512 * i, 512)], [(self.status + i, 1)])
        b.queue.kick()

    def statuses(self):
        return self.b.q.read(self.status, self.n)

    def used(self):
        return self.b.q.get(self.b.queue.used + 2, 2)


def disk(bus="blk", extra=""):
    if bus == "blk":
        return ["-device", f"virtio-blk-pci,drive=r,addr=4,id=vb,werror=stop,rerror=stop,request-merging=off{extra}"]
    return ["-device", f"virtio-scsi-pci,id=s,addr=4{extra}", "-device", "scsi-hd,id=vb,drive=r,bus=s.0,werror=stop,rerror=stop"]


@test("many requests, some fail several times: each is done once, none is lost")
def many():
    for extra in ("", ",iothread=t,num-queues=2"):
        path = image()
        # One sector fails three times, one once; between them the VM is resumed.
        rules = [rule("none", iotype="write", sector=8 * 5, once=True)] * 3 + [rule("none", iotype="write", sector=8 * 17, once=True)]
        with start([*debug(path, *rules), "-object", "iothread,id=t", *disk(extra=extra)]) as v:
            m = Many(blk(v), 32)
            stops = 0
            while m.used() != 32:
                v.qmp.event("STOP")
                stops += 1
                same(v.qmp.ok("query-status")["status"], "io-error", "run state")
                used = m.used()
                assert used < 32 and m.statuses().count(0) == used, "what is used has a status, the others have none"
                v.qmp.ok("cont")
                vm.until("all of it, or another stop", lambda: m.used() == 32 or v.qmp.ok("query-status")["status"] == "io-error")
            same(m.statuses(), bytes(32), "statuses")
            assert 3 <= stops <= 4, f"{stops} stops"
            for i in range(32):
                same(content(path, 4096 * i, 512), bytes([i + 1]) * 512, f"sector {8 * i}")
            same(m.used(), 32, "used index: each once")
            s = v.qmp.ok("query-blockstats")[0]["stats"]
            same((s["wr_operations"], s["failed_wr_operations"]), (32, 4), "requests that went to the image")


@test("reset, quit and unplug while a request is kept: it is not done any more")
def reset_held():
    for bus in ("blk", "scsi"):
        for how in ("system_reset", "quit", "device_del", "SIGTERM"):
            path = image()
            with start([*debug(path, rule("write_aio", once=True)), *disk(bus)]) as v:
                if bus == "blk":
                    blk(v).submit(1, 8, b"new!" * 128)
                else:
                    s = Scsi(Function(v.qtest, 0, 4, 0))
                    s.ready(lun(0))
                    s.send(rw(0x2a, 8, 1), lun(0), out=b"new!" * 128)
                v.qmp.event("STOP")
                if how == "system_reset":
                    v.qmp.ok(how)
                    same(v.qmp.ok("query-status")["status"], "prelaunch", "run state")
                    v.qmp.ok("cont")
                    if bus == "blk":
                        same(blk(v).read(0, 512), (Blk.OK, bytes(512)), "a read after the reset")
                    else:
                        s = Scsi(Function(v.qtest, 0, 4, 0))
                        same(s.sense([0] * 6, lun(0)), (6, 0x29, 0), "the first command after the reset")
                        same(s.good(rw(0x28, 0, 1), lun(0), room=512), bytes(512), "a read after the reset")
                elif how == "device_del":
                    v.qmp.ok(how, id="vb")
                    v.qmp.ok("cont")
                    if bus == "scsi":
                        v.qmp.event("DEVICE_DELETED")
                        same(s.requests.wait()[1] > 0, True, "the command ends")
                        same(s.q.read(s.resp, 108)[11], 3, "response: no such target")
                if how == "SIGTERM":
                    same(v.terminate(), 0, "exit status")
                else:
                    v.qmp.ok("quit")
                    same(v.wait(), 0, "exit status")
            if (bus, how) != ("blk", "device_del"):  # a guest has to agree to that; the disk is still there and goes on
                same(content(path, 4096, 4), bytes(4), f"{bus}, {how}: the sector of the kept request")


@test("the driver resets the disk while a request fails: nothing hangs")
def driver_reset():
    with start([*debug(image(), rule("write_aio", once=True)), *disk()]) as v:
        b = blk(v)
        b.submit(1, 8, b"new!" * 128)
        v.qmp.event("STOP")
        b.dev.put(20, 1, 0)  # device_status
        vm.until("the reset", lambda: not b.dev.status())
        v.qmp.ok("cont")
        same(blk(v).read(0, 512)[0], Blk.OK, "a read by the next driver")


@test("SCSI: errors stop the VM, commands of several steps too; TMFs end what is kept")
def scsi_stops():
    path = image(fill=b"A" * 65536)
    with start([*debug(path, rule("write_aio", errno=28, sector=100, once=True), rule("read_aio", sector=300, once=True), rule("read_aio", sector=64, once=True)), *disk("scsi")]) as v:
        s = Scsi(Function(v.qtest, 0, 4, 0))
        s.ready(lun(0))
        cases = [("WRITE", rw(0x2a, 100, 1), dict(out=b"B" * 512), 100, b"B"),
                 ("READ", rw(0x28, 64, 1), dict(room=512), 64, b"A"),
                 ("COMPARE AND WRITE", [0x89, 0, 0, 0, 0, 0, 0, 0, 1, 44, 0, 0, 0, 1, 0, 0], dict(out=bytes(512) + b"C" * 512), 300, b"C")]
        for name, cdb, more, sector, want in cases:
            s.send(cdb, lun(0), **more)
            io = v.qmp.event("BLOCK_IO_ERROR")["data"]
            same((io["action"], io["qom-path"]), ("stop", "/machine/peripheral/vb"), name)
            v.qmp.event("STOP")
            same(s.requests.poll(), None, f"{name}: no answer while the VM stands")
            v.qmp.ok("cont")
            s.requests.wait()
            same(s.q.read(s.resp, 108)[10:12], bytes([GOOD, OK]), name)
            same(content(path, 512 * sector, 1), want, f"{name}: the image")



def used_now(v, m, want):
    """The used index once everything that may go has gone."""
    vm.until(f"{want} requests", lambda: m.used() >= want)
    for _ in range(20):
        v.qmp.ok("query-status")
    return m.used()


@test("I/O limits of a drive and of a throttle node, by the virtual clock: as many as allowed, no more; a stop lets all go")
def limits():
    group = ["-object", json.dumps({"qom-type": "throttle-group", "id": "g", "limits": {"iops-write": 10}})]
    cases = {"drive": (["-drive", "if=none,id=r,format=raw,file={},throttling.iops-write=10"], None),
             "node": ([*group, "-blockdev", '{{"driver":"throttle","node-name":"r","throttle-group":"g","file":{{"driver":"file","filename":"{}"}}}}'], "g"),
             "below raw": ([*group, "-blockdev", '{{"driver":"raw","node-name":"r","offset":0,"file":{{"driver":"throttle","throttle-group":"g","file":'
                                                 '{{"driver":"file","filename":"{}"}}}}}}'], "g"),
             "in workers": ([*group, "-blockdev", '{{"driver":"raw","node-name":"r","offset":512,"file":{{"driver":"throttle","throttle-group":"g","file":'
                                                  '{{"driver":"file","filename":"{}"}}}}}}'], "g")}
    for name, (args, obj) in cases.items():
        path = image(size=SIZE + 512)
        args = [a if a == group[1] else a.format(path) for a in args]
        with start([*args, *disk(extra=",werror=report")]) as v:
            m = Many(blk(v), 16)
            same(used_now(v, m, 2), 2, f"{name}: at once")
            for want in (3, 4, 5):
                v.qtest.cmd("clock_step 100000000")
                same(used_now(v, m, want), want, f"{name}: a tenth of a second each")
            if obj:
                v.qmp.ok("qom-set", path="/objects/g", property="limits", value={"iops-write": 20})
                now = used_now(v, m, 6)
                v.qtest.cmd("clock_step 50000000")
                same(used_now(v, m, now + 1), now + 1, f"{name}: twice as fast")
            v.qmp.ok("stop")
            same(m.used(), 16, f"{name}: a stop waits for nobody")
            v.qmp.ok("cont")
            same(m.statuses(), bytes(16), name)
            at = 512 if name == "in workers" else 0
            for i in range(16):
                same(content(path, at + 4096 * i, 512), bytes([i + 1]) * 512, f"{name}: sector {8 * i}")


@test("limits: QEMU 10.0's refusals, and what query-block and HMP show")
def limits_shown():
    bad = ["bps=1,bps_rd=1", "bps=-1", "iops=1000000000000001", "bps_max=5", "bps=10,bps_max=5", "iops_size=512", "throttling.bps-total=10,bps=20",
           "throttling.bps-total=10,throttling.bps-total-max-length=0", "throttling.bps-total=10,throttling.bps-total-max-length=5", "iops_max_length=4"]
    path = image()
    for text in bad:
        args = ["-display", "none", "-nodefaults", "-S", "-monitor", "none", "-drive", f"if=none,id=d,file={path},format=raw,{text}"]
        ours, theirs = vm.run(args), vm.run([*args, "-accel", "tcg"], binary=vm.oracle())
        same((ours.rc, ours.err), (theirs.rc, theirs.err), text)
    sets = [{"device": "r", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 10, "iops_rd": 0, "iops_wr": 0, "iops_max": 100, "iops_max_length": 5},
            {"device": "r", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 10, "iops_rd": 1, "iops_wr": 0},
            {"device": "x", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0},
            {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0},
            {"device": "r", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}]

    def shown(binary):
        log = []
        with start(["-drive", f"if=none,id=r,file={path},format=raw,bps=1000,iops_rd=10", "-device", "virtio-blk-pci,drive=r,addr=4,id=vb"], binary) as v:
            for a in [None, *sets]:
                if a:
                    log.append(v.qmp.cmd("block_set_io_throttle", a))
                i = v.qmp.ok("query-block")[0]["inserted"]
                log.append({k: i[k] for k in sorted(i) if k.startswith(("bps", "iops")) or k == "group"})
                log.append([l for l in v.qmp.hmp("info block").splitlines() if "throttling" in l])
        return log

    same(shown(None), shown(vm.oracle()), "limits of a drive")


@test("a command that waits for its turn is aborted at once, and not done")
def abort_waiting():
    path = image()
    with start(["-drive", f"if=none,id=r,file={path},format=raw,iops_wr=1", "-device", "virtio-scsi-pci,id=s,addr=4",
                "-device", "scsi-hd,id=vb,drive=r,bus=s.0"]) as v:
        s = Scsi(Function(v.qtest, 0, 4, 0))
        s.ready(lun(0))
        s.good(rw(0x2a, 0, 1), lun(0), out=b"a" * 512)
        for what, response in ((0, 2), (1, 2), (5, 4)):  # ABORT TASK, ABORT TASK SET, LOGICAL UNIT RESET
            tag = s.send(rw(0x2a, 8, 1), lun(0), out=b"b" * 512)
            same(s.tmf(6, tag=tag), 10, "QUERY TASK: it is there")
            same(s.tmf(what, tag=tag), 0, "function complete")
            s.requests.wait()
            same(s.q.read(s.resp, 108)[11], response, f"response after function {what}")
            same(s.tmf(6, tag=tag), 0, "QUERY TASK: it is gone")
        v.qtest.cmd("clock_step 60000000000")
        v.qmp.ok("quit")
        v.wait()
    same(content(path, 4096, 1), b"\0", "nothing was written")



@test("snapshot=on and -snapshot: the guest reads what it wrote, the image stays as it was")
def snapshot():
    fill = os.urandom(3 << 16) + b"tail"
    path = image(fill=fill, size=(3 << 16) + 512)
    before = content(path, 0, SIZE)
    for args in (["-drive", f"if=none,id=r,format=raw,file={path},snapshot=on"], ["-snapshot", "-drive", f"if=none,id=r,format=raw,file={path}"]):
        with start([*args, "-device", "virtio-blk-pci,drive=r,addr=4"]) as v:
            b = blk(v)
            want = bytearray(before)
            for sector, n in ((0, 1), (127, 2), (130, 128), (384, 1)):
                data = os.urandom(512 * n)
                want[512 * sector:512 * (sector + n)] = data
                same(b.write(sector, data), Blk.OK, f"write of sector {sector}")
            same(b.flush(), Blk.OK, "flush")
            for at in range(0, len(want), 32768):
                same(b.read(at // 512, min(32768, len(want) - at))[1][:len(want) - at], bytes(want[at:at + 32768]), f"read at {at}")
            same(v.qmp.ok("query-block")[0]["inserted"]["ro"], False, "the guest may write")
        same(content(path, 0, SIZE), before, "the image")
    with start(["-snapshot", "-drive", f"if=none,id=r,format=raw,file={path},snapshot=off", "-device", "virtio-blk-pci,drive=r,addr=4"]) as v:
        same(blk(v).write(0, b"x" * 512), Blk.OK, "write")
        v.qmp.ok("quit")
        v.wait()
    same(content(path, 0, 1), b"x", "snapshot=off goes before -snapshot")


def unplugged(binary):
    """Which drives are left when their devices are gone, or were never made."""
    log = []
    with start(["-device", "virtio-scsi-pci,id=s", "-drive", f"if=none,id=d,format=raw,file={image('d')}", "-drive", "if=none,id=c,media=cdrom",
                "-device", "scsi-cd,id=cd,drive=c", "-blockdev", "null-co,node-name=n"], binary) as v:
        for line in ("device_add scsi-hd,id=x,drive=d,scsi-id=999", "device_add scsi-hd,id=x,drive=d", "device_del x", "device_add scsi-hd,id=x,drive=d",
                     f"drive_add 0 if=none,id=d,format=raw,file={image('d')}", "device_add scsi-hd,id=x,drive=d", "device_del x", "device_del cd",
                     "device_add scsi-hd,id=y,drive=n", "device_del y"):
            log.append((line, v.qmp.hmp(line)))
            if "device_del" in line:
                v.qmp.event("DEVICE_DELETED")
            log.append(([b["device"] for b in v.qmp.ok("query-block")], [n["drv"] for n in v.qmp.ok("query-named-block-nodes")]))
    return log


@test("a device that is unplugged takes its -drive along, not a node of -blockdev, as QEMU 10.0")
def takes_along():
    same(unplugged(None), unplugged(vm.oracle()))


@test("HMP: block_resize, drive_add, drive_del, eject, change")
def monitor():
    path, other = image(), image("other", 2 * SIZE)
    with start(["-drive", f"if=none,id=r,format=raw,file={path}", "-device", "virtio-blk-pci,drive=r,addr=4", "-device", "virtio-scsi-pci,id=s,addr=5",
                "-drive", f"if=none,id=c,format=raw,media=cdrom,file={other}", "-device", "scsi-cd,id=cd,drive=c,bus=s.0"]) as v:
        b = blk(v)
        same(b.dev.get(0, 8, qtest.DEVICE), SIZE // 512, "capacity")
        generation = b.dev.get(21, 1)
        same(v.qmp.hmp("block_resize r 4"), "", "block_resize")
        same(b.dev.get(0, 8, qtest.DEVICE), (4 << 20) // 512, "capacity after")
        assert b.dev.get(21, 1) != generation, "config_generation"
        same(b.read(8191, 512)[0], Blk.OK, "a read of the last sector")
        same(v.qmp.hmp("drive_add 0 if=none,id=n,format=raw,file=" + image("new")).strip(), "OK", "drive_add")
        assert "n (" in v.qmp.hmp("info block"), "info block"
        same(v.qmp.hmp("drive_del n"), "", "drive_del")
        same(v.qmp.hmp("drive_del n").strip(), "Error: Device 'n' not found", "drive_del of what is gone")
        same(v.qmp.hmp("eject c"), "", "eject")
        assert "c: [not inserted]" in v.qmp.hmp("info block")
        same(v.qmp.hmp(f"change c {other} raw"), "", "change")
        assert other in v.qmp.hmp("info block")



QCOW = {"driver": "qcow2", "node-name": "q", "discard": "unmap", "file": {"driver": "file", "node-name": "qf", "discard": "unmap"}}
TOLD = [("query-block",), ("query-blockstats",), ("query-blockstats", {"query-nodes": True}), ("query-named-block-nodes",),
        ("query-named-block-nodes", {"flat": True})]
# What time, the file system, the places that qcow2 gives its clusters and the names of nodes that have none decide.
VARIES = ("_total_time_ns", "idle_time_ns", "actual-size")


def plain(x, key=""):
    if isinstance(x, dict):
        if x.get("node-name") == "qf" and "stats" in x:
            assert x["stats"].pop("wr_highest_offset") > 5 * 65536, "the cluster behind the tables"
        if x.get("node-name") == "qf" and "image" in x:
            assert x["image"].pop("virtual-size") > 5 * 65536, "the file's size"
        return {k: plain(v, k) for k, v in x.items()}
    if isinstance(x, list):
        return sorted((plain(v) for v in x), key=lambda v: json.dumps(v, sort_keys=True))
    if key.endswith(VARIES):
        return x > 0
    return "#" if isinstance(x, str) and x.startswith("#block") else x


def told(binary):
    """All that QMP says of a raw disk, a qcow2 chain and an empty CD after the same requests."""
    path, top = image(), f"{tmp.name}/top.qcow2"
    for args in ([f"{tmp.name}/base.qcow2", "1M"], ["-b", "base.qcow2", "-F", "qcow2", top, "1M"]):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args], check=True)
    node = {**QCOW, "file": {**QCOW["file"], "filename": top}}
    with start(["-drive", f"if=none,id=r,file={path},format=raw,file.node-name=rf,discard=unmap", "-device", "virtio-blk-pci,drive=r,addr=4,id=vb",
                "-blockdev", json.dumps(node), "-device", "virtio-blk-pci,drive=q,addr=5,id=vq", "-device", "virtio-scsi-pci,id=s,addr=6",
                "-device", "scsi-cd,id=cd,bus=s.0"], binary) as v:
        b = blk(v)
        log = [b.write(8, bytes(1024)), b.read(0, 512)[0], b.flush(), b.read(SIZE // 512, 512)[0], b.write(SIZE // 512, bytes(512))]
        b = Blk(Function(v.qtest, 0, 5, 0))
        return log + [b.write(64, b"x" * 512), b.flush()] + [(c, plain(v.qmp.ok(*c))) for c in TOLD]


@test("query-block, query-blockstats, query-named-block-nodes: members and values as QEMU 10.0")
def members():
    ours, theirs = told(None), told(vm.oracle())
    for o, t in zip(ours, theirs):
        same(o, t)


# (limits, rule, requests: kind, sector, sectors). The rule tells which requests reach the image.
OUT, DISCARD, ZEROES = 1, 11, 13
LIMITED = [({"align": 4096}, rule("none", sector=0), [(0, 1, 1), (0, 8, 1)]),
           ({"align": 4096}, rule("none", sector=0, iotype="write"), [(OUT, 1, 1), (OUT, 8, 1), (0, 1, 1)]),
           ({"align": 4096}, rule("pwritev_rmw_after_head"), [(OUT, 1, 1), (OUT, 8, 8)]),
           ({"align": 512, "max-transfer": 1024}, rule("none", iotype="write", once=True), [(OUT, 0, 8), (OUT, 0, 8)]),
           ({"align": 512, "max-transfer": 1024}, rule("none", iotype="write", sector=4), [(OUT, 0, 8), (OUT, 0, 4)]),
           ({"align": 512, "opt-write-zero": 4096}, rule("none", iotype="write-zeroes"), [(ZEROES, 1, 4), (ZEROES, 0, 8), (ZEROES, 1, 16)]),
           ({"align": 512, "opt-write-zero": 4096, "max-write-zero": 4096}, rule("none", iotype="write-zeroes", sector=8), [(ZEROES, 0, 8), (ZEROES, 0, 16)]),
           ({"align": 512, "opt-discard": 4096, "max-discard": 4096}, rule("none", iotype="discard", sector=8), [(DISCARD, 0, 8), (DISCARD, 0, 16)]),
           ({"align": 4096}, rule("l1_update"), [(OUT, 1, 3), (OUT, 7, 10), (OUT, 24, 8), (0, 0, 40)])]


def request(b, kind, sector, n):
    if kind in (DISCARD, ZEROES):
        b.q.write(b.head, kind.to_bytes(4, "little") + bytes(12))
        b.q.write(b.data, sector.to_bytes(8, "little") + n.to_bytes(4, "little") + bytes(4))
        b.queue.add([(b.head, 16), (b.data, 16)], [(b.status, 1)])
        b.queue.kick()
        return kind, b.finish()
    return (kind, b.write(sector, b"x" * 512 * n)) if kind else b.read(sector, 512 * n)


def limited(binary):
    """What became of each request, and the images."""
    args, paths, log = [], [image(f"limited{i}", fill=b"a" * 65536) for i in range(len(LIMITED))], []
    for i, (limits, what, _) in enumerate(LIMITED):
        node = {"driver": "raw", "node-name": f"n{i}", "discard": "unmap", "file": {
            "driver": "blkdebug", "discard": "unmap", "image": {"driver": "file", "discard": "unmap", "filename": paths[i]}, "inject-error": [what], **limits}}
        args += ["-blockdev", json.dumps(node), "-device", f"virtio-blk-pci,drive=n{i},addr={4 + i:x},request-merging=off"]
    with start(args, binary) as v:
        for i, (_, _, requests) in enumerate(LIMITED):
            b = Blk(Function(v.qtest, 0, 4 + i, 0), Blk.FEATURES | 3 << 13)
            for kind, sector, n in requests:
                log.append(request(b, kind, sector, n))
    return log, [content(p, 0, 40 * 512) for p in paths]


@test("blkdebug: align, max-transfer and the other limits: what reaches the image, and what is in it, as QEMU 10.0")
def limits_of_size():
    (ours, files), (theirs, other) = limited(None), limited(vm.oracle())
    same(ours, theirs)
    for i, row in enumerate(LIMITED):
        same(files[i], other[i], f"{row}")


@test("wrong use: one clear line, QEMU 10.0's")
def wrong():
    path, odd, dirname = image(), image("odd", 1000), tmp.name
    ok = f"if=none,id=d,format=raw,file={path}"
    ro = json.dumps({"driver": "raw", "node-name": "d", "read-only": True, "file": {"driver": "file", "filename": path}})
    hosts = {"virtio-blk-pci": [], "scsi-hd": ["-device", "virtio-scsi-pci,id=s"]}
    cases = [["-drive", "if=none,id=d,format=raw,file=/nope/x"], ["-drive", f"if=none,id=d,format=raw,file={dirname}"],
             ["-drive", "if=none,id=d,format=raw,file="], ["-drive", f"if=none,id=d,format=raw,offset=4096,size=2M,file={path}"],
             ["-drive", f"if=none,id=d,format=raw,size=1000,file={odd},werror=nope"], ["-drive", f"{ok},rerror=enospc"],
             ["-blockdev", "driver=file,node-name=d,filename=/nope/x"],
             ["-blockdev", "driver=raw,node-name=d,file=nope"], ["-blockdev", "driver=nope,node-name=d"],
             ["-blockdev", '{"driver":"throttle","node-name":"t","throttle-group":"x","file":{"driver":"null-co"}}'],
             ["-drive", f"if=none,id=d,file=blkdebug:/nope/rules:{path},format=raw"]]
    for dev, host in hosts.items():
        cases += [[*host, "-drive", ok, "-device", f"{dev},drive={d}"] for d in
                  ("d,logical_block_size=100", "d,logical_block_size=4096,physical_block_size=512", "d,min_io_size=100", "d,cyls=1",
                   "d,discard_granularity=1000", "nope", "d,werror=nope", "d,write-cache=nope")]
        cases += [[*host, "-device", dev], [*host, "-blockdev", ro, "-device", f"{dev},drive=d,share-rw=nope"],
                  [*host, "-drive", "if=none,id=e", "-device", f"{dev},drive=e"],
                  [*host, "-drive", ok, "-device", f"{dev},drive=d", "-device", f"{dev},drive=d"]]
    cases += [[*hosts["scsi-hd"], "-drive", ok, "-device", f"scsi-hd,drive=d,{x}"] for x in
              ("scsi-id=256", "lun=20000", "channel=1", "rotation_rate=nope")]
    bad = []
    for args in cases:
        args = ["-display", "none", "-nodefaults", "-S", "-monitor", "none", *args]
        ours, theirs = vm.run(args), vm.run([*args, "-accel", "tcg"], binary=vm.oracle())
        if (ours.rc, ours.err) != (theirs.rc, theirs.err):
            bad.append(f"{' '.join(args[6:])}\n  ours {ours.rc} {ours.err.strip()}\n  QEMU {theirs.rc} {theirs.err.strip()}")
    with start(["-drive", ok, "-device", "virtio-blk-pci,drive=d"]):
        args = ["-display", "none", "-nodefaults", "-S", "-monitor", "none", "-drive", ok, "-device", "virtio-blk-pci,drive=d"]
        ours, theirs = vm.run(args), vm.run([*args, "-accel", "tcg"], binary=vm.oracle())
        if (ours.rc, "Is another process using the image" in ours.err) != (theirs.rc, "Is another process using the image" in theirs.err):
            bad.append(f"locked: {ours.err} {theirs.err}")
    assert not bad, "\n" + "\n".join(bad)


if __name__ == "__main__":
    vm.TESTS[:] = [t for t in vm.TESTS if t[1].__module__ == "__main__"]
    vm.main()

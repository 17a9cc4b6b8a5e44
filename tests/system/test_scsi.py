#!/usr/bin/env python3
"""SCSI units as a driver sees them: the same commands on ours and on QEMU 10.0 give the same data and sense where both know them; data
both ways, task management, hot plug and what is special to ours (COMPARE AND WRITE, exact residuals)."""
import os
import tempfile

import qtest
import vm
from qtest import Function, VirtioPci
from vm import Skip, Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-scsi-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))

OK, OVERRUN, ABORTED, BAD_TARGET, RESET, FAILURE, REJECTED, INCORRECT_LUN = 0, 1, 2, 3, 4, 9, 11, 12
GOOD, CHECK = 0, 2


def lun(target, unit=0):
    return bytes([1, target, 0x40 | unit >> 8 if unit > 255 else 0, unit & 255, 0, 0, 0, 0])


class Scsi:
    """A driver of virtio-scsi with one request at a time."""

    def __init__(self, f, exact=True):
        f.map()
        self.dev, self.q = VirtioPci(f), f.q
        self.dev.start(6)  # HOTPLUG, CHANGE
        self.control, self.events, self.requests = [self.dev.queue(i) for i in range(3)]
        self.dev.ready()
        self.head, self.resp, self.data, self.event, self.ctrl = [self.q.alloc(n) for n in (64, 108, 1 << 17, 64, 64)]
        self.tag = 0
        self.exact = exact  # used lengths are what was written

    def send(self, cdb, unit, out=b"", room=0):
        self.tag += 1
        self.q.write(self.head, unit + self.tag.to_bytes(8, "little") + bytes(3) + bytes(cdb).ljust(32, b"\0"))
        self.q.write(self.resp, b"\xee" * 108)
        to, into = [(self.head, 51)], [(self.resp, 108)]
        if out:
            self.q.write(self.data, out)
            to.append((self.data, len(out)))
        if room:
            self.q.write(self.data, b"\xdd" * room)
            into.append((self.data, room))
        self.requests.add(to, into)
        self.requests.kick()
        return self.tag

    def cmd(self, cdb, unit=lun(0), out=b"", room=0):
        """(response, status, sense, residual, data that came)"""
        self.send(cdb, unit, out, room)
        _, used = self.requests.wait()
        r = self.q.read(self.resp, 108)
        n = int.from_bytes(r[:4], "little")
        residual = int.from_bytes(r[4:8], "little")
        assert n <= 96, f"sense_len {n}"
        moved = room - residual if room else 0
        data = self.q.read(self.data, moved) if moved > 0 else b""
        if r[11] != OK:
            data, moved = b"", 0
        assert not self.exact or used == 108 + moved, f"used {used} with {moved} bytes"
        return r[11], r[10], r[12:12 + n], residual, data

    def good(self, cdb, unit=lun(0), out=b"", room=0):
        r = self.cmd(cdb, unit, out, room)
        assert r[:2] == (OK, GOOD), f"{bytes(cdb).hex()}: response {r[0]}, status {r[1]}, sense {r[2].hex()}"
        return r[4]

    def sense(self, cdb, unit=lun(0), out=b"", room=0):
        r = self.cmd(cdb, unit, out, room)
        assert r[:2] == (OK, CHECK), f"{bytes(cdb).hex()}: response {r[0]}, status {r[1]}"
        return r[2][2] & 15, r[2][12], r[2][13]

    def tmf(self, what, unit=lun(0), tag=0):
        self.q.write(self.ctrl, bytes(4) + what.to_bytes(4, "little") + unit + tag.to_bytes(8, "little") + b"\xee")
        self.control.add([(self.ctrl, 24)], [(self.ctrl + 24, 1)])
        self.control.kick()
        self.control.wait()
        return self.q.read(self.ctrl + 24, 1)[0]

    def ready(self, *units):
        """Takes the power-on attention of each."""
        for u in units:
            while self.cmd([0] * 6, u)[1] == CHECK and self.cmd([0] * 6, u)[1] == CHECK:
                break


def machine(units, binary=None, extra=()):
    # An oracle without -accel qtest for a firmware: tcg and a firmware that halts.
    accel = ["-accel", "tcg", "-bios", HLT] if binary else ["-accel", "qtest"]
    return Vm([*accel, "-M", "pc-i440fx-10.0", "-m", "64", "-nodefaults", *extra, "-device", "virtio-scsi-pci,id=s,addr=4", *units],
              binary=binary, qtest=True)


def disk(name, size, fill=None):
    path = f"{tmp.name}/{name}"
    with open(path, "wb") as f:
        if fill:
            f.write(fill)
        f.truncate(size)
    return path


def units(kind=""):
    hd, cd = disk(f"hd{kind}", 8 << 20, bytes(range(256)) * 64), disk(f"cd{kind}", 4 << 20, b"cd" * 4096)
    return ["-drive", f"if=none,id=h,file={hd},format=raw", "-drive", f"if=none,id=c,file={cd},format=raw,readonly=on",
            "-device", "scsi-hd,id=hd,bus=s.0,drive=h,serial=abc123,wwn=0x5000c50015ea71ac,rotation_rate=7200",
            "-device", "scsi-cd,id=cd,bus=s.0,drive=c,scsi-id=1"]


def be(n, size):
    return list(n.to_bytes(size, "big"))


def rw(op, lba, n):
    if op >> 5 == 0:
        return [op, lba >> 16 & 31, lba >> 8 & 255, lba & 255, n, 0]
    if op >> 5 == 4:
        return [op, 0, *be(lba, 8), *be(n, 4), 0, 0]
    if op >> 5 == 5:
        return [op, 0, *be(lba, 4), *be(n, 4), 0, 0]
    return [op, 0, *be(lba, 4), 0, *be(n, 2), 0]


HD, CD = lun(0), lun(1)
ASKED = {  # name: (unit, cdb, room)
    "INQUIRY": (HD, [0x12, 0, 0, 0, 36, 0], 36), "INQUIRY short": (HD, [0x12, 0, 0, 0, 5, 0], 5),
    "INQUIRY cd": (CD, [0x12, 0, 0, 0, 36, 0], 36),
    "VPD 00": (HD, [0x12, 1, 0, 0, 255, 0], 255), "VPD 80": (HD, [0x12, 1, 0x80, 0, 255, 0], 255),
    "VPD 83": (HD, [0x12, 1, 0x83, 0, 255, 0], 255), "VPD b0": (HD, [0x12, 1, 0xb0, 0, 255, 0], 255),
    "VPD b1": (HD, [0x12, 1, 0xb1, 0, 255, 0], 255), "VPD b2": (HD, [0x12, 1, 0xb2, 0, 255, 0], 255),
    "VPD cd 00": (CD, [0x12, 1, 0, 0, 255, 0], 255), "VPD unknown": (HD, [0x12, 1, 0xc5, 0, 255, 0], 255),
    "INQUIRY with a page but no EVPD": (HD, [0x12, 0, 0x83, 0, 36, 0], 36),
    "MODE SENSE 6 all": (HD, [0x1a, 0, 0x3f, 0, 255, 0], 255), "MODE SENSE 6 cache": (HD, [0x1a, 8, 8, 0, 255, 0], 255),
    "MODE SENSE 10 cache": (HD, [0x5a, 0, 8, 0, 0, 0, 0, 0, 255, 0], 255),
    "MODE SENSE changeable": (HD, [0x1a, 8, 0x48, 0, 255, 0], 255), "MODE SENSE saved": (HD, [0x1a, 0, 0xc8, 0, 255, 0], 255),
    "MODE SENSE geometry": (HD, [0x1a, 0, 4, 0, 255, 0], 255), "MODE SENSE flexible": (HD, [0x1a, 0, 5, 0, 255, 0], 255),
    "MODE SENSE unknown": (HD, [0x1a, 0, 0x1b, 0, 255, 0], 255), "MODE SENSE cd all": (CD, [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0], 255),
    "MODE SENSE cd 2a": (CD, [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0], 128),
    "READ CAPACITY 10": (HD, [0x25] + [0] * 9, 8), "READ CAPACITY 16": (HD, [0x9e, 0x10] + [0] * 8 + [0, 0, 0, 32, 0, 0], 32),
    "READ CAPACITY cd": (CD, [0x25] + [0] * 9, 8),
    "REPORT LUNS": (HD, [0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], 16), "REPORT LUNS short": (HD, [0xa0] + [0] * 8 + [4, 0, 0], 4),
    "TEST UNIT READY": (HD, [0] * 6, 0), "TEST UNIT READY cd": (CD, [0] * 6, 0), "REQUEST SENSE": (HD, [3, 0, 0, 0, 18, 0], 18),
    "READ 6": (HD, rw(0x08, 3, 2), 1024), "READ 10": (HD, rw(0x28, 0, 4), 2048), "READ 12": (HD, rw(0xa8, 8, 1), 512),
    "READ 16": (HD, rw(0x88, 16, 8), 4096), "READ past the end": (HD, rw(0x28, 16384, 1), 512),
    "READ across the end": (HD, rw(0x28, 16383, 2), 1024), "READ cd": (CD, rw(0x28, 1, 1), 2048),
    "READ of nothing": (HD, rw(0x28, 0, 0), 0), "READ without room": (HD, rw(0x28, 0, 4), 512),
    "READ TOC": (CD, [0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0], 12), "READ TOC msf": (CD, [0x43, 2, 0, 0, 0, 0, 0, 0, 20, 0], 20),
    "READ TOC sessions": (CD, [0x43, 0, 1, 0, 0, 0, 0, 0, 12, 0], 12),
    "MECHANISM STATUS": (CD, [0xbd] + [0] * 7 + [0, 8, 0, 0], 8),
    "an unknown operation": (HD, [0xc1] + [0] * 9, 0), "an unknown service action": (HD, [0x9e, 0x1f] + [0] * 14, 0),
    "a CD's command on a disk": (HD, [0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0], 12),
    "another unit of the target": (lun(0, 5), [0] * 6, 0), "INQUIRY of another unit": (lun(0, 5), [0x12, 0, 0, 0, 36, 0], 36),
    "another target": (lun(9), [0] * 6, 0), "no address": (bytes(8), [0] * 6, 0),
    "SYNCHRONIZE CACHE": (HD, [0x35] + [0] * 9, 0), "START UNIT": (HD, [0x1b, 0, 0, 0, 1, 0], 0),
    "PREVENT REMOVAL": (CD, [0x1e, 0, 0, 0, 1, 0], 0), "eject while prevented": (CD, [0x1b, 0, 0, 0, 2, 0], 0),
    "ALLOW REMOVAL": (CD, [0x1e, 0, 0, 0, 0, 0], 0), "eject": (CD, [0x1b, 0, 0, 0, 2, 0], 0),
    "TEST UNIT READY with an open tray": (CD, [0] * 6, 0), "load": (CD, [0x1b, 0, 0, 0, 3, 0], 0),
}
# What ours says differently, and why; the answer is checked by a test of its own or by eye.
DIFFERENT = {
    "VPD b0": "COMPARE AND WRITE has a length there",
    "a CD's command on a disk": "SBC-3 has no READ TOC",
    "TEST UNIT READY with an open tray": "MMC-6 tells an open tray from a missing medium",
}


def facts(r):
    """What can be compared: QEMU fills the buffer with zeroes and reports no residual."""
    return (r[0], r[1], r[2]) + ((r[4].rstrip(b"\0"),) if r[:2] == (OK, GOOD) else ())




def ask(binary, kind):
    with machine(units(kind), binary) as v:
        s = Scsi(Function(v.qtest, 0, 4, 0), exact=not binary)
        for u in (HD, CD):
            same(s.sense([0] * 6, u), (6, 0x29, 0), "the first command")
        return {name: s.cmd(cdb, unit, room=room) for name, (unit, cdb, room) in ASKED.items()}


@test("the same answers as QEMU 10.0")
def compare():
    ours, theirs = ask(None, "a"), ask(vm.oracle(), "b")
    bad = []
    for name, want in theirs.items():
        got = ours[name]
        if facts(got) != facts(want) and name not in DIFFERENT:
            bad.append(f"{name}:\n    ours {got[0]} {got[1]} {got[2].hex()} residual {got[3]} {got[4].hex()}\n"
                       f"    QEMU {want[0]} {want[1]} {want[2].hex()} residual {want[3]} {want[4].hex()}")
    assert not bad, "\n" + "\n".join(bad)


def ours(extra_units=(), **more):
    v = machine([*units(), *extra_units], **more)
    return v, Scsi(Function(v.qtest, 0, 4, 0))


@test("data both ways, by every write and read")
def data():
    v, s = ours()
    with v:
        s.ready(HD)
        for i, op in enumerate((0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e)):
            block = os.urandom(4096)
            s.good(rw(op, 100 + 8 * i, 8), out=block)
            for r in (0x08, 0x28, 0xa8, 0x88):
                same(s.good(rw(r, 100 + 8 * i, 8), room=4096), block, f"write {op:#x}, read {r:#x}")
            same(s.cmd([0x2f, 2, *be(100 + 8 * i, 4), 0, 0, 8, 0], out=block)[:2], (OK, GOOD), "VERIFY with the same data")
            same(s.sense([0x2f, 2, *be(100 + 8 * i, 4), 0, 0, 8, 0], out=block[:-1] + bytes([block[-1] ^ 1])), (14, 0x1d, 0), "miscompare")
        # A short buffer of a read is an overrun; one that is longer has a residual.
        same(s.cmd(rw(0x28, 0, 2), room=512)[0], OVERRUN, "READ of 1024 bytes into 512")
        same(s.cmd(rw(0x28, 0, 1), room=4096)[3], 3584, "residual")
        with open(f"{tmp.name}/hd", "rb") as f:
            f.seek(148 * 512)
            same(f.read(4096), block, "what the file holds")


@test("WRITE SAME, UNMAP, COMPARE AND WRITE")
def special():
    v, s = ours()
    with v:
        s.ready(HD)
        pattern = os.urandom(512)
        s.good([0x93, 0, *be(200, 8), *be(3000, 4), 0, 0], out=pattern)
        same(s.good(rw(0x28, 3199, 2), room=1024), pattern + bytes(512), "the last block of WRITE SAME and the one behind")
        s.good([0x41, 8, *be(300, 4), 0, 0, 10, 0], out=bytes(512))
        same(s.good(rw(0x28, 299, 12), room=12 * 512), pattern + bytes(5120) + pattern, "zeroes in between")
        s.good([0x93, 9, *be(400, 8), *be(2, 4), 0, 0])  # NDOB
        same(s.good(rw(0x28, 400, 3), room=1536), bytes(1024) + pattern, "WRITE SAME without a buffer")
        same(s.sense([0x93, 0, *be(200, 8), *be(0, 4), 0, 0], out=pattern), (5, 0x24, 0), "WRITE SAME of no blocks")
        same(s.sense([0x93, 0, *be(16380, 8), *be(10, 4), 0, 0], out=pattern), (5, 0x21, 0), "WRITE SAME past the end")
        unmap = be(38, 2) + be(32, 2) + [0] * 4 + be(500, 8) + be(8, 4) + [0] * 4 + be(600, 8) + be(8, 4) + [0] * 4
        s.good([0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], out=bytes(unmap))
        same(s.sense([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], out=bytes(be(22, 2) + be(16, 2) + [0] * 4 + be(16383, 8) + be(2, 4) + [0] * 4)),
             (5, 0x21, 0), "UNMAP past the end")
        same(s.sense([0x42, 0, 0, 0, 0, 0, 0, 0, 4, 0], out=bytes(4)), (5, 0x1a, 0), "UNMAP list too short")
        same(s.sense([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], out=bytes(be(22, 2) + be(17, 2) + [0] * 20)), (5, 0x26, 0), "a descriptor cut short")
        old, new = s.good(rw(0x28, 700, 2), room=1024), os.urandom(1024)
        caw = [0x89, 0, *be(700, 8), 0, 0, 0, 2, 0, 0]
        same(s.sense(caw, out=new + new), (14, 0x1d, 0), "COMPARE AND WRITE that differs")
        same(s.good(rw(0x28, 700, 2), room=1024), old, "which writes nothing")
        s.good(caw, out=old + new)
        same(s.good(rw(0x28, 700, 2), room=1024), new, "COMPARE AND WRITE")


@test("MODE SELECT switches the write cache, and nothing else")
def mode_select():
    v, s = ours()
    with v:
        s.ready(HD)
        page = s.good([0x1a, 8, 8, 0, 255, 0], room=255)
        assert page[6] & 4, "cache is on"
        for cache in (0, 4):
            new = bytearray(page[:24])
            new[0] = 0
            new[6] = new[6] & ~4 | cache
            s.good([0x15, 0x10, 0, 0, len(new), 0], out=bytes(new))
            same(s.good([0x1a, 8, 8, 0, 255, 0], room=255)[6] & 4, cache, "WCE")
        new[10] ^= 1
        same(s.sense([0x15, 0x10, 0, 0, len(new), 0], out=bytes(new)), (5, 0x26, 0), "another bit")
        same(s.sense([0x15, 0x11, 0, 0, len(new), 0], out=bytes(new)), (5, 0x24, 0), "saved pages")
        same(s.sense([0x15, 0, 0, 0, len(new), 0], out=bytes(new)), (5, 0x24, 0), "another format")
        for op, n in ((0x15, 6), (0x55, 10)):
            s.good([op] + [0] * (n - 1))  # no pages at all


@test("a read-only unit, a CD")
def read_only():
    v, s = ours(["-drive", f"if=none,id=r,file={disk('ro', 1 << 20)},format=raw,readonly=on", "-device", "scsi-hd,drive=r,bus=s.0,scsi-id=2"])
    with v:
        s.ready(HD, CD, lun(2))
        same(s.sense(rw(0x2a, 0, 1), lun(2), out=bytes(512)), (7, 0x27, 0), "WRITE to a read-only disk")
        same(s.sense(rw(0x2a, 0, 1), CD, out=bytes(2048)), (7, 0x27, 0), "WRITE to a CD")
        same(s.good([0x5a, 0, 8, 0, 0, 0, 0, 0, 255, 0], lun(2), room=255)[3] & 0x80, 0x80, "write protect bit")


@test("both directions in one request, a request too short")
def malformed():
    v, s = ours()
    with v:
        s.ready(HD)
        same(s.cmd(rw(0x28, 0, 1), out=bytes(512), room=512)[0], FAILURE, "in and out")
        same(s.dev.get(28, 4, qtest.DEVICE), 0xff << 16, "max_channel, max_target")
        s.requests.add([(s.head, 50)], [(s.resp, 108)])
        s.requests.kick()
        vm.until("DEVICE_NEEDS_RESET", lambda: s.dev.status() & qtest.NEEDS_RESET)
        s = Scsi(Function(v.qtest, 0, 4, 0))
        same(s.sense([0] * 6), (6, 0x29, 0), "after the reset")


@test("other sense and CDB sizes; impossible ones")
def sizes():
    v, s = ours()
    with v:
        s.ready(HD)
        s.dev.put(20, 4, 10, qtest.DEVICE)
        s.dev.put(24, 4, 16, qtest.DEVICE)
        s.q.write(s.head, HD + bytes(11) + bytes([0xc1] + [0] * 15))
        s.q.write(s.resp, b"\xee" * 30)
        s.requests.add([(s.head, 35)], [(s.resp, 22)])
        s.requests.kick()
        same(s.requests.wait()[1], 22, "used length")
        r = s.q.read(s.resp, 30)
        same((r[:4], r[12:14], r[22:]), (bytes([10, 0, 0, 0]), b"\x70\0", b"\xee" * 8), "sense of 10 bytes")
        s.dev.put(24, 4, 256, qtest.DEVICE)
        vm.until("DEVICE_NEEDS_RESET", lambda: s.dev.status() & qtest.NEEDS_RESET)
        s = Scsi(Function(v.qtest, 0, 4, 0))
        same((s.dev.get(20, 4, qtest.DEVICE), s.dev.get(24, 4, qtest.DEVICE)), (96, 32), "sizes after a reset")


@test("task management: abort and reset with requests out")
def tasks():
    slow = ["-drive", "if=none,id=n,file=null-co://,format=raw,file.latency-ns=300000000,file.size=1M", "-device", "scsi-hd,drive=n,bus=s.0,scsi-id=3"]
    v, s = ours(slow)
    with v:
        unit = lun(3)
        s.ready(unit)
        for what, response in ((0, ABORTED), (1, ABORTED), (4, RESET), (5, RESET)):
            tag = s.send(rw(0x28, 0, 1), unit, room=512)
            same(s.tmf(6, unit, tag), 10, "QUERY TASK of one that is out")
            same(s.tmf(what, unit, tag), 0, f"function {what}")
            assert s.requests.poll(), "the request ended before the function"
            same(s.q.read(s.resp, 12)[11], response, f"how function {what} ends it")
            if what > 1:
                same(s.sense([0] * 6, unit), (6, 0x29, 3), "the next command after a reset")
        same(s.tmf(6, unit, 12345), 0, "QUERY TASK of none")
        same(s.tmf(2, unit), REJECTED, "CLEAR ACA")
        same(s.tmf(5, lun(9)), BAD_TARGET, "another target")
        same(s.tmf(5, lun(3, 7)), INCORRECT_LUN, "another unit")


@test("units come and go, with events")
def hotplug():
    v, s = ours()
    with v:
        s.ready(HD)
        for _ in range(4):
            s.events.add([], [(s.event, 16)])
        s.events.kick()
        for i in range(3):
            v.qmp.ok("blockdev-add", driver="null-co", **{"node-name": "n"})
            v.qmp.ok("device_add", driver="scsi-hd", drive="n", bus="s.0", id="x", **{"scsi-id": 0, "lun": 300})
            s.events.wait()
            same(s.q.read(s.event, 16).hex(), "01000000" + "0100412c00000000" + "01000000", "event of a new unit")
            same(s.sense([0] * 6), (6, 0x3f, 0x0e), "the other one tells of it")
            same(s.sense([0] * 6, lun(0, 300)), (6, 0x29, 0), "its own first command")
            same(len(s.good([0xa0] + [0] * 5 + be(64, 4) + [0, 0], room=64)), 24, "REPORT LUNS")
            v.qmp.ok("device_del", id="x")
            v.qmp.event("DEVICE_DELETED")
            v.qmp.ok("blockdev-del", **{"node-name": "n"})
            s.events.wait()
            same(s.q.read(s.event, 16).hex(), "01000000" + "0100412c00000000" + "02000000", "event of one that went")
            same(s.sense([0] * 6), (6, 0x3f, 0x0e), "the other one tells of it")
            for _ in range(2):
                s.events.add([], [(s.event, 16)])
            s.events.kick()


@test("places and wrong places")
def places():
    base = ["-accel", "qtest", "-nodefaults", "-device", "virtio-scsi-pci,id=s"]
    null = ["-drive", "if=none,id=a,file=null-co://,format=raw", "-drive", "if=none,id=b,file=null-co://,format=raw"]
    for words, text in ((["-device", "scsi-hd,drive=a,bus=s.0,scsi-id=256"], "bad scsi device id: 256"),
                        (["-device", "scsi-hd,drive=a,bus=s.0,lun=16384"], "bad scsi device lun: 16384"),
                        (["-device", "scsi-hd,drive=a,bus=s.0,channel=1"], "bad scsi channel id: 1"),
                        (["-device", "scsi-hd,bus=s.0"], "drive property not set")):
        p = vm.run([*base, *null, *words])
        same((p.rc, p.err.strip()), (1, f"qemu-system-x86_64: -device {words[1]}: {text}"), words[1])
    p = vm.run([*base, *null, "-device", "scsi-hd,id=x,drive=a,bus=s.0,scsi-id=1", "-device", "scsi-hd,drive=b,bus=s.0,scsi-id=1,lun=0"])
    same((p.rc, p.err.strip()), (1, "qemu-system-x86_64: -device scsi-hd,drive=b,bus=s.0,scsi-id=1,lun=0: lun already used by 'x'"), "twice")
    p = vm.run(["-accel", "qtest", "-nodefaults", *null, "-device", "scsi-hd,drive=a"])
    same((p.rc, p.err.strip()), (1, "qemu-system-x86_64: -device scsi-hd,drive=a: No 'SCSI' bus found for device 'scsi-hd'"), "no adapter")


if __name__ == "__main__":
    vm.main()

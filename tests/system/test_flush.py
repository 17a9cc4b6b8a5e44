#!/usr/bin/env python3
"""What reaches the disk and when: each guest FLUSH is one fdatasync between the request and its used entry, seen by the order
of system calls; a failing one is the guest's I/O error; SIGKILL loses nothing that was acknowledged."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import qtest
import vm
from vm import Skip, Vm, same, test

CALLS = "fdatasync,fsync,sync_file_range,syncfs,pwrite64,pwritev,pwritev2,write,writev,recvfrom,recvmsg,read,sendto,sendmsg"
BLK = qtest.Blk


def strace(log, *inject):
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    r = subprocess.run(["strace", "-o", "/dev/null", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if r.returncode:
        raise Skip(f"strace cannot trace here: {r.stderr.strip()}")
    return ["strace", "-f", "-s", "4096", "-y", "-o", log, "-e", f"trace={CALLS}", *[w for i in inject for w in ("-e", f"inject={i}")]]


class Disk:
    """A machine with one virtio-blk disk whose image is .path; .blk is the driver."""

    def __init__(self, inject=None, drive="", traced=True, features=BLK.FEATURES):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-flush-")
        self.path, self.log = f"{self.dir.name}/disk.img", f"{self.dir.name}/trace"
        with open(self.path, "wb") as f:
            f.truncate(16 << 20)
        wrap = strace(self.log, *([inject] if inject else [])) if traced else ()
        # aio=threads: system calls that strace sees and can fail.
        self.vm = Vm(["-accel", "qtest", "-nodefaults", "-drive", f"if=none,id=d,file={self.path},format=raw,aio=threads{drive}",
                      "-device", "virtio-blk-pci,drive=d,addr=4"], qtest=True, wrap=wrap)
        self.blk = BLK(qtest.Function(self.vm.qtest, 0, 4, 0), features)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.close()
        self.dir.cleanup()

    def end(self):
        """Ends the emulator; returns the trace as (event, text) in order: event is call, enter or leave."""
        self.vm.qmp.ok("quit")
        same(self.vm.wait(), 0, "exit status")
        r, open_calls = [], {}
        with open(self.log, encoding="utf-8", errors="replace") as f:
            for l in f:
                m = re.match(r"(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)", l.rstrip("\n"))
                pid, resumed, rest = m[1], m[2], m[3]
                if rest.endswith("<unfinished ...>"):
                    open_calls[pid] = rest[:-len("<unfinished ...>")]
                    r.append(("enter", open_calls[pid]))
                elif resumed:
                    r.append(("leave", open_calls.pop(pid, resumed) + rest))
                elif re.match(r"\w+\(", rest):
                    r.append(("call", rest))
        return r


def syncs(trace, path):
    """Positions of the (start, end) of each call that syncs, with its text."""
    r, started = [], []
    for i, (event, text) in enumerate(trace):
        if re.match(r"fdatasync|fsync|sync_file_range|syncfs", text):
            assert path in text, f"syncs something else: {text}"
            if event == "enter":
                started.append(i)
            else:
                r.append((started.pop(0) if event == "leave" else i, i, text))
    return r


@test("each FLUSH is one fdatasync, between its request and its used entry")
def flush_order():
    with Disk("fdatasync:delay_exit=200000") as d:
        kick = f"write {d.blk.queue.notify_at:#x} 0x2 0x0000"
        used = f"read {d.blk.queue.used + 2:#x} 0x2"
        n = 5
        for i in range(n):
            same(d.blk.write(8 * i, bytes([i + 1]) * 4096), BLK.OK, "write")
            same(d.blk.flush(), BLK.OK, "flush")
        trace = d.end()
        found = syncs(trace, d.path)
        same(len(found), n, "fdatasync calls for 5 FLUSH requests")
        for _, _, text in found:
            assert re.match(r"fdatasync\(.*\)\s*= 0", text), text
        # The driver alternates writes and flushes: kick 2k+1 is the k-th flush. What it polls is answered in order.
        index, kicks, indices = -1, [], []
        asked = []
        for i, (event, text) in enumerate(trace):
            if event == "enter":
                continue
            if re.match(r"recvfrom|recvmsg|read", text):
                for line in re.findall(r"((?:write|read|in[bwl]|out[bwl]) 0x[^\\\"]*)", text):
                    if line == kick:
                        kicks.append(i)
                    asked.append(line)
            elif re.match(r"sendto|sendmsg|write", text):
                for line in re.findall(r"(OK[^\\\"]*)\\n", text):
                    request = asked.pop(0) if asked else ""
                    if request == used:
                        now = int.from_bytes(bytes.fromhex(line[5:]), "little")
                        if now != index:
                            indices.append((now, i))
                            index = now
        same(len(kicks), 2 * n, "kicks seen in the trace")
        for k in range(n):
            start, end, _ = found[k]
            seen = next(i for now, i in indices if now == 2 * k + 2)
            assert kicks[2 * k + 1] < start, f"flush {k}: fdatasync before the request"
            assert end < seen, f"flush {k}: used entry shown before fdatasync returned"
        served = [t for start, end, _ in found for e, t in trace[start:end] if re.match(r"sendto|sendmsg", t)]
        assert served, "the guest was not served while fdatasync ran"


@test("a write alone is not synced")
def no_flush():
    with Disk() as d:
        for i in range(8):
            same(d.blk.write(i, bytes([i]) * 512), BLK.OK, "write")
        trace = d.end()
        # Closing the image may sync it; that is after the last request.
        last = max(i for i, (_, t) in enumerate(trace) if t.startswith(("pwrite", "pwritev")))
        early = [t for s, _, t in syncs(trace, d.path) if s < last]
        same(early, [], "syncs among the writes")


@test("a failing fdatasync is the guest's I/O error")
def flush_error():
    for error in ("EIO", "ENOSPC"):
        with Disk(f"fdatasync:error={error}", drive=",werror=report") as d:
            same(d.blk.write(0, bytes(512)), BLK.OK, "write")
            same(d.blk.flush(), BLK.IOERR, f"status of a FLUSH that failed with {error}")
            same(d.blk.write(1, b"b" * 512), BLK.OK, "write after it")
            same(d.vm.qmp.ok("query-status")["status"], "running", "status")
            d.vm.qmp.ok("quit")


@test("a failing write is the guest's I/O error")
def write_error():
    for call in ("pwrite64", "pwritev"):
        with Disk(f"{call}:error=EIO", drive=",werror=report") as d:
            status = d.blk.write(0, b"x" * 512)
            used = any(t.startswith(f"{call}(") for _, t in d.end())
            same(status, BLK.IOERR if used else BLK.OK, f"status with {call} failing")


@test("cache=unsafe: a FLUSH is no fdatasync")
def unsafe():
    with Disk(drive=",cache=unsafe") as d:
        same(d.blk.write(0, bytes(512)), BLK.OK, "write")
        same(d.blk.flush(), BLK.OK, "flush")
        same(syncs(d.end(), d.path), [], "syncs with cache=unsafe")


@test("a driver without FLUSH gets its writes synced")
def write_through():
    # VIRTIO 1.4, 5.2.6.2: without VIRTIO_BLK_F_FLUSH the device is to be in writethrough mode.
    with Disk("fdatasync:error=EIO", drive=",werror=report", features=0) as d:
        status = d.blk.write(0, bytes(512))
        trace = d.end()
        durable = any(re.match(r"pwritev2\(.*RWF_DSYNC", t) for _, t in trace)
        assert durable or syncs(trace, d.path), "write is not synced"
        same(status, BLK.OK if durable else BLK.IOERR, "status of a write whose sync fails")


@test("SIGKILL loses no acknowledged write")
def kill():
    for flush in (True, False):
        with Disk(traced=False) as d:
            for i in range(64):
                same(d.blk.write(8 * i, bytes([i + 1]) * 4096), BLK.OK, "write")
            if flush:
                same(d.blk.flush(), BLK.OK, "flush")
            d.vm.p.send_signal(signal.SIGKILL)
            same(d.vm.wait(), -signal.SIGKILL, "exit status")
            with open(d.path, "rb") as f:
                for i in range(64):
                    same(f.read(4096), bytes([i + 1]) * 4096, f"block {i}")


@test("what was written reads back after a restart")
def restart():
    with Disk(traced=False) as d:
        data = os.urandom(65536)
        same(d.blk.write(128, data), BLK.OK, "write")
        d.vm.qmp.ok("quit")
        same(d.vm.wait(), 0, "exit status")
        with Vm(["-accel", "qtest", "-nodefaults", "-drive", f"if=none,id=d,file={d.path},format=raw",
                 "-device", "virtio-blk-pci,drive=d,addr=4"], qtest=True) as again:
            same(BLK(qtest.Function(again.qtest, 0, 4, 0)).read(128, 65536), (BLK.OK, data), "read")


vm.main()

#!/usr/bin/env python3
"""Ours beside Debian's QEMU 7.2, A B A B in one run; prints medians and ratios, writes docs/benchmarks/latest.md and latest.svg."""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), f"{ROOT}/tests/guest"]
import chart  # noqa: E402
import linuxbench  # noqa: E402
import measure  # noqa: E402
import metal  # noqa: E402
import metalbench as mb  # noqa: E402
import netbench  # noqa: E402
import sockbench  # noqa: E402
from guest import Skip  # noqa: E402

ROUNDS_MIN = 3  # however little time is left


class Ctx:
    def __init__(self, args):
        self.args = args
        self.ours, self.theirs = os.path.abspath(args.bin), args.against
        self.elf = metal.image(self.ours, "metal-pvh")
        self.kvm = [metal.has_kvm(b) for b in (self.ours, self.theirs)]
        self.scratch = tempfile.TemporaryDirectory(prefix="virtue-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)

    def accel(self):
        """KVM when both have it, else the software CPU on both sides."""
        return self.args.accel or ("kvm" if all(self.kvm) else "tcg")

    def tmpfs(self):
        """A raw image in memory."""
        path = f"{self.scratch.name}/disk"
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(b"\xa5" * (64 << 20))
        return path


class Row:
    """One row of the table. fn(ctx, binary) measures once; a goal is the largest ratio, or a test of our own figure."""

    def __init__(self, number, what, unit, fn, ratio=None, most=None, least=None, rounds=None, accel=None, pair=None):
        self.number, self.what, self.unit, self.fn = number, what, unit, fn
        self.ratio, self.most, self.least, self.rounds, self.accel, self.pair = ratio, most, least, rounds, accel, pair

    def goal(self):
        said = [f"ratio {'at least' if self.least else ''} {self.ratio or self.least}".replace("  ", " ")] if self.ratio or self.least else []
        return ", ".join(said + ([f"at most {self.most:g}"] if self.most is not None else [])) or "-"

    def met(self, a, ratio):
        ok = (self.most is None or a <= self.most) and (self.ratio is None or ratio is None or ratio <= self.ratio)
        return ok and (self.least is None or ratio is None or ratio >= self.least)


def timed(setup_fn, n=200000, accel=None):
    return lambda c, b: mb.us(setup_fn(c), b, accel or c.accel(), c.elf, n)


def counted(fn, setup_fn, less=0):
    """An exact count, less what is left out; QEMU's translator does not run under valgrind, so QEMU counts under KVM when it is there."""
    def go(c, b):
        accel = c.accel()
        if fn is mb.instructions and b == c.theirs and accel == "tcg":
            if not c.kvm[1]:
                raise mb.Missing("counted under KVM only")
            accel = "kvm"
        return fn(setup_fn(c), b, accel, c.elf) - less
    return go


def uring(c):
    return ["-blockdev", f"driver=file,node-name=f,filename={c.tmpfs()},aio=io_uring", "-blockdev", "driver=raw,node-name=d,file=f"]


def pool(c, aio=",aio=threads"):
    return ["-blockdev", f"driver=file,node-name=f,filename={c.tmpfs()}{aio}", "-blockdev", "driver=raw,node-name=d,file=f"]


GAP = " gap=1"
TAP = ["-netdev", "tap,id=n,ifname=bench0,script=no,downscript=no"]


def tap(c):
    if os.geteuid() or not os.path.exists("/dev/net/tun") or not shutil.which("unshare"):
        raise mb.Missing("tap devices need root, /dev/net/tun and unshare")
    return mb.net(netdev=TAP, tool=["unshare", "-n", "sh", "-c",
                                    'ip tuntap add bench0 mode tap && ip link set bench0 up && exec "$0" "$@"'])


def registers(name):
    def go(c, b):
        s = mb.Setup("test=regbench", mb.blk(1).args)
        return s.run(b, "tcg", c.elf, 200000)[name] / 200000
    return go


def kvm_start(c, b):
    if not all(c.kvm):
        raise mb.Missing("no -accel kvm here")
    return measure.startup(b, ["-M", "q35", "-accel", "kvm", "-m", "512", "-S"])[1] * 1e3


def kvm_only(fn):
    def go(c, b):
        if not all(c.kvm):
            raise mb.Missing("no -accel kvm here")
        return fn(c, b)
    return go


def file_size(_, b):
    """MB of the stripped program."""
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["strip", "-o", f"{d}/x", b], check=True)
        return os.path.getsize(f"{d}/x") / 1e6


def needed(_, b):
    said = subprocess.run(["objdump", "-p", b], stdout=subprocess.PIPE, text=True, check=True).stdout
    return len(re.findall(r"^ +NEEDED ", said, re.M))


def ring(layout, beside=False):
    """The queue core without a device: one descriptor, two pinned threads polling; beside: how it compares to a bare loop."""
    def go(c, _):
        program = f"{os.path.dirname(c.ours)}/tests/bench/bench-vq"
        if not os.path.exists(program):
            raise mb.Missing("no tests/bench/bench-vq beside the program")

        def ns(side):
            return float(subprocess.run([program, layout, "1", "1", "200000", side, "two"], check=True, timeout=300, stdout=subprocess.PIPE,
                                        text=True).stdout)
        return ns("core") / min(ns("bare"), ns("bare-each")) if beside else ns("core")
    return go


def missing(why):
    def go(_, __):
        raise mb.Missing(why)
    return go


def table_rows():
    none, q35 = ["-M", "none"], ["-M", "q35", "-accel", "tcg", "-S"]
    return [
        Row("1", "exec to query-status, q35 tcg, six virtio devices", "ms", lambda c, b: measure.startup(b, measure.VIRTIO)[1] * 1e3, 0.20),
        Row("1", "exec to query-status, -M q35 -S", "ms", lambda c, b: measure.startup(b, q35)[1] * 1e3, 0.20),
        Row("1", "exec to query-status, -M microvm -S", "ms", lambda c, b: measure.startup(b, ["-M", "microvm", "-accel", "tcg", "-S", "-kernel", c.elf])[1] * 1e3),
        Row("2", "exec to greeting, -M none", "ms", lambda c, b: measure.startup(b, none)[0] * 1e3, 0.15),
        Row("3", "exec to query-status, KVM, 512 MB", "ms", kvm_start, 0.55),
        Row("3", "the bare KVM floor below it", "ms", lambda c, b: measure.kvm_floor() * 1e3, pair=False),
        Row("4", "private dirty memory there, q35 tcg, six virtio devices", "MiB", lambda c, b: measure.private_dirty(b, measure.VIRTIO),
            0.20, most=4, rounds=3),
        Row("4", "private dirty memory, -M microvm -S", "MiB",
            lambda c, b: measure.private_dirty(b, ["-M", "microvm", "-accel", "tcg", "-S", "-kernel", c.elf]), rounds=3),
        Row("5", "size of the program, stripped", "MB", file_size, 0.15, rounds=1),
        Row("5", "libraries it needs at start", "", needed, rounds=1),
        Row("6", "blk null 4 KiB, depth 64, split, iothread", "us/request", timed(lambda c: mb.blk(64, zeroes=True, thread=True)), 0.60),
        Row("7", "the same over vhost-user-blk", "us/request", missing("no vhost-user-blk"), 1.0),
        Row("8", "blk null 4 KiB, depth 64, packed, iothread", "us/request",
            timed(lambda c: mb.blk(64, packed=True, zeroes=True, thread=True)), 0.50),
        Row("9", "blk null, depth 1, polling iothread, tcg", "us/request", timed(lambda c: mb.blk(1, thread=True), 50000, "tcg"), 0.85),
        Row("10", "blk null, depth 1, iothread, KVM", "us/request", kvm_only(timed(lambda c: mb.blk(1, thread=True), 20000, "kvm")), 0.60),
        Row("11", "blk raw on tmpfs, io_uring, depth 64, iothread", "us/request",
            timed(lambda c: mb.blk(64, thread=True, backend=uring(c)), 100000), 0.65),
        # Scattered: requests that are no neighbours on the disk, so that nobody can merge them, as in the table's anchors.
        Row("12", "blk null, depth 64, scattered", "instructions/request",
            counted(mb.instructions, lambda c: mb.blk(64, thread=True, more=GAP)), 0.12, rounds=1),
        Row("12", "blk null, depth 64, neighbours", "instructions/request",
            counted(mb.instructions, lambda c: mb.blk(64, thread=True)), rounds=1),
        Row("13", "blk io_uring, depth 64, scattered", "instructions/request",
            counted(mb.instructions, lambda c: mb.blk(64, thread=True, backend=uring(c), more=GAP)), 0.15, rounds=1),
        Row("13", "blk io_uring, depth 64, neighbours", "instructions/request",
            counted(mb.instructions, lambda c: mb.blk(64, thread=True, backend=uring(c))), rounds=1),
        Row("13", "blk null, depth 1", "instructions/request", counted(mb.instructions, lambda c: mb.blk(1)), 0.20, rounds=1),
        Row("14", "net TX without peer, split", "instructions/packet", counted(mb.instructions, lambda c: mb.net()), 0.15, rounds=1),
        Row("14", "net TX without peer, packed", "instructions/packet", counted(mb.instructions, lambda c: mb.net(True)), 0.12, rounds=1),
        Row("15", "blk null, depth 1, main loop", "system calls/request", counted(mb.syscalls, lambda c: mb.blk(1)), 0.5, rounds=1),
        Row("15", "blk io_uring, depth 1, main loop", "system calls/request",
            counted(mb.syscalls, lambda c: mb.blk(1, backend=uring(c))), 0.6, rounds=1),
        Row("15", "blk io_uring, depth 1, iothread", "system calls/request",
            counted(mb.syscalls, lambda c: mb.blk(1, thread=True, backend=uring(c))), rounds=1),
        Row("15", "blk file, no aio= given, depth 64, scattered", "system calls/request",
            counted(mb.syscalls, lambda c: mb.blk(64, backend=pool(c, ""), more=GAP)), 0.1, rounds=1),
        # aio=threads: the read itself is a system call of each request that nobody could merge; the goal is what comes on top.
        Row("15", "blk thread pool, depth 64, scattered, less the read itself", "system calls/request",
            counted(mb.syscalls, lambda c: mb.blk(64, backend=pool(c), more=GAP), less=1), most=0.1, rounds=1),
        Row("15", "blk thread pool, depth 64, neighbours", "system calls/request",
            counted(mb.syscalls, lambda c: mb.blk(64, backend=pool(c))), rounds=1),
        Row("15", "net TX to tap", "system calls/packet", counted(mb.syscalls, tap), 0.5, rounds=1),
        Row("16", "blk null, depth 64, iothread", "kicks/1000 requests",
            lambda c, b: mb.kicks(mb.blk(64, thread=True), b, c.accel(), c.elf, 200000), most=0.5, rounds=5),
        Row("17", "net TX without peer, split", "us/packet", timed(lambda c: mb.net()), 0.40),
        Row("17", "net TX without peer, packed", "us/packet", timed(lambda c: mb.net(True)), 0.40),
        Row("18", "net TX, our packed over our split, time", "ratio",
            lambda c, b: mb.us(mb.net(True), b, c.accel(), c.elf, 200000) / mb.us(mb.net(), b, c.accel(), c.elf, 200000), most=0.8),
        Row("19", "net TX to tap, 64 B", "us/packet", timed(tap, 50000), 0.80),
        Row("20", "device register read, tcg", "ns", registers("read_ns"), 0.5),
        Row("20", "configuration read, tcg", "ns", registers("config_ns"), 0.5),
        Row("20", "doorbell, tcg", "ns", registers("notify_ns"), 0.5),
        Row("21", "direct boot of the cloud kernel to power-off, wall", "s", linuxbench.boot(0), 0.8, rounds=3),
        Row("21", "direct boot of the cloud kernel to power-off, CPU", "s", linuxbench.boot(1), 0.8, rounds=3),
        # 1.2 times QEMU's throughput is 0.83 of its time.
        Row("21", "Linux, virtio-blk, 4 KiB reads, 32 out, tcg", "us/request", linuxbench.guest("each"), 0.83, rounds=3),
        Row("21", "Linux, TCP from the guest over tap, tcg", "ms/MiB", linuxbench.guest("out"), 0.83, rounds=3),
        Row("21", "Linux, TCP to the guest over tap, tcg", "ms/MiB", linuxbench.guest("in"), 0.83, rounds=3),
        Row("21", "Linux, the shell runs a program, tcg", "ms", linuxbench.guest("fork"), 0.83, rounds=3),
        Row("22", "device_add reply, pc", "ms", lambda c, b: measure.device_add(b, ["-M", "pc"], "pci.0") * 1e3, 0.25),
        Row("22", "device_add reply, q35", "ms", lambda c, b: measure.device_add(b, ["-M", "q35", "-device", "pcie-root-port,id=rp"], "rp") * 1e3, 0.25),
        *(Row("24", f"ring code alone, {layout}, two cores polling", "ns/request", ring(layout), most=most, pair=False)
          for layout, most in (("split", 280), ("packed", 35), ("split-in-order", 200), ("packed-in-order", 35))),
        *(Row("24", f"ring code alone, {layout}, beside a bare loop", "ratio", ring(layout, beside=True), most=1.3, pair=False)
          for layout in ("split", "packed", "split-in-order", "packed-in-order")),
        *(Row("25", f"{what}, {way}", "us" if of == "trip" else "ms/MiB", sockbench.row(name, of), rounds=3)
          for way, of in (("guest to host", "out"), ("host to guest", "in"), ("round trip", "trip"))
          for what, name in (("unix socket pair in the guest, tcg", "pair"), ("virtio-vsock, tcg", "vsock"), ("TCP by virtio-net and user, tcg", "net"))),
        *(Row("26", f"TCP {said} by {card} and user, tcg", "ms/MiB", netbench.row(card, way), 0.83 if card == "virtio-net-pci" else None, rounds=3)
          for way, said in netbench.WAYS.items() for card in netbench.CARDS),
        Row("23", "migration of 512 MB to a file", "ms", missing("no migration"), 0.75, rounds=1),
    ]


class Table:
    def __init__(self):
        self.lines, self.chart, self.failed, self.missed = [], [], [], []

    def add(self, row, accel, ours, theirs, why):
        name = f"{row.what} ({accel})" if accel else row.what
        verdict, reason = why.get("ours", ("", ""))
        if ours is None:
            self.lines.append((row.number, name, row.unit, reason.replace("|", "/"), "",
                               "-" if theirs is None else f"{statistics.median(theirs):.2f}", "", "", row.goal(), verdict))
            self.failed += [f"[{row.number}] {name}: {reason}"] if verdict == "FAILED" else []
            print(f"[{row.number}] {name}: {verdict}: {reason}", flush=True)
            return
        a = statistics.median(ours)
        b = statistics.median(theirs) if theirs else None
        ratio = a / b if b else None
        verdict = "" if row.goal() == "-" else "yes" if row.met(a, ratio) else "NO"
        self.missed += [f"[{row.number}] {name}: {a:.2f}" + (f", ratio {ratio:.2f}" if ratio else "")] if verdict == "NO" else []
        self.lines.append((row.number, name, row.unit, f"{a:.2f}", f"{min(ours):.2f}", "-" if b is None else f"{b:.2f}",
                           "-" if b is None else f"{min(theirs):.2f}", "-" if ratio is None else f"{ratio:.2f}", row.goal(), verdict))
        if ratio:
            self.chart.append((f"{row.number}  {row.what}", ratio, row.ratio))
        beside = f", QEMU 7.2 {b:.2f}, ratio {ratio:.2f}" if ratio else f", QEMU 7.2 {why.get('theirs', ('', '-'))[1]}"
        print(f"[{row.number}] {name}: {a:.2f} {row.unit}{beside} (goal {row.goal()}) {verdict}", flush=True)

    def text(self):
        head = ("row", "measure", "unit", "ours", "best", "QEMU 7.2", "best", "ratio", "goal", "met")
        return "\n".join("| " + " | ".join(r) + " |" for r in [head, tuple("---" for _ in head), *self.lines])


def measure_row(c, row, rounds, until):
    """A B A B …, fewer rounds when the time is up; a side that cannot is asked once: {side: (verdict, why)}."""
    sides = {"ours": c.ours, "theirs": c.theirs}
    if row.pair is False:
        del sides["theirs"]
    got, why = {k: [] for k in sides}, {}
    for n in range(row.rounds or rounds):
        if n >= ROUNDS_MIN and time.monotonic() > until:
            break
        for k, b in sides.items():
            if k in why:
                continue
            try:
                got[k].append(row.fn(c, b))
            except Exception as e:  # pylint: disable=broad-except  # one row's trouble is not the table's
                why[k] = ("missing" if isinstance(e, (mb.Missing, Skip)) else "FAILED",
                          str(e).strip().splitlines()[-1][:160] if str(e).strip() else type(e).__name__)
    return got.get("ours") or None, got.get("theirs") or None, why


def version(binary):
    return subprocess.run([binary, "-version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def write(c, t, out, info, args):
    svg = os.path.splitext(out)[0] + ".svg"
    with open(svg, "w", encoding="utf-8") as f:
        f.write(chart.svg(t.chart, "Virtue beside QEMU 7.2"))
    with open(out, "w", encoding="utf-8") as f:
        f.write("# Benchmarks, latest run\n\n"
                f"Made by `scripts/bench` on {time.strftime('%Y-%m-%d')}: medians and best values of up to {args.rounds} interleaved runs. "
                "Absolute times follow the host's load; ratios, counts of instructions, system calls and kicks, and memory hardly do. "
                "Instructions leave out a software vCPU's own; QEMU's are counted under KVM.\n\n"
                f"Ours: {version(c.ours)}. Beside it: {version(c.theirs)}.\n\n" + "\n".join(f"- {l}" for l in info) + "\n\n" + t.text() +
                f"\n\n![ratios]({os.path.basename(svg)})\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", default=f"{ROOT}/build/qemu-system-x86_64")
    ap.add_argument("--against", default="/usr/bin/qemu-system-x86_64")
    ap.add_argument("--row", action="append", help="only the rows with this number (repeatable)")
    ap.add_argument("--quick", action="store_true", help="start-up and memory only: rows 1 to 5")
    ap.add_argument("--rounds", type=int, default=12)
    ap.add_argument("--minutes", type=float, default=14, help=f"for the whole table: rows get fewer rounds, but {ROUNDS_MIN}, when it runs short")
    ap.add_argument("--accel", choices=["kvm", "tcg"], help="for the rows that take either; default: kvm if both have it")
    ap.add_argument("--output", help="write the table here (and .svg beside it); default: docs/benchmarks/latest.md unless --row")
    args = ap.parse_args()
    c, t, info = Ctx(args), Table(), measure.host()
    wanted = args.row or (["1", "2", "3", "4", "5"] if args.quick else None)
    out = args.output or (None if wanted else f"{ROOT}/docs/benchmarks/latest.md")
    for b in (c.ours, c.theirs):  # files into the page cache
        measure.startup(b, measure.VIRTIO)
    rows = [r for r in table_rows() if not wanted or r.number in wanted]
    begun = time.monotonic()
    for i, row in enumerate(rows):
        now = time.monotonic()
        print(f"{i + 1}/{len(rows)}, {(now - begun) / 60:.1f} min: {row.what}", file=sys.stderr, flush=True)
        # Twice an even share of what is left: short rows give theirs away.
        share = 2 * max(begun + args.minutes * 60 - now, 0) / (len(rows) - i)
        either = row.fn.__closure__ and row.number in ("6", "8", "11", "12", "13", "14", "15", "16", "17", "18", "19")
        t.add(row, c.accel() if either else None, *measure_row(c, row, args.rounds, now + share))
        if out:  # row by row: a run that is cut short keeps what it has
            write(c, t, out, info + [f"load at the end: {os.getloadavg()[0]:.1f}"], args)
    c.scratch.cleanup()
    if out:
        print(f"written: {os.path.relpath(out, ROOT)}")
    for what, names in (("missed", t.missed), ("failed", t.failed)):
        print("\n".join([f"{len(names)} {what}", *(f"  {n}" for n in names)]))
    return 1 if t.failed else 0


if __name__ == "__main__":
    sys.exit(main())

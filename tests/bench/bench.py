#!/usr/bin/env python3
"""Ours beside Debian's QEMU 7.2, A B A B; prints medians and ratios, writes docs/benchmarks/latest.md."""
import argparse
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), f"{ROOT}/tests/guest"]
import images  # noqa: E402
import measure  # noqa: E402

OFF = 'echo VIRTUE-OFF\npoweroff -f\nsleep 60\n'


def interleaved(ours, theirs, rounds, fn):
    """fn's results for both, A B A B …: two lists."""
    a, b = [], []
    for _ in range(rounds):
        a.append(fn(ours))
        b.append(fn(theirs))
    return a, b


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, unit, ours, theirs, goal):
        a, b = statistics.median(ours), statistics.median(theirs)
        row = (what, unit, f"{a:.2f}", f"{min(ours):.2f}", f"{b:.2f}", f"{min(theirs):.2f}", f"{a / b:.2f}", goal)
        self.rows.append(row)
        print(f"{what}: {a:.2f} {unit}, QEMU 7.2 {b:.2f} {unit}, ratio {a / b:.2f} (goal {goal})", flush=True)

    def text(self):
        head = ("measure", "unit", "ours", "ours, best", "QEMU 7.2", "QEMU 7.2, best", "ratio", "goal")
        lines = [head, tuple("---" for _ in head), *self.rows]
        return "\n".join("| " + " | ".join(r) + " |" for r in lines)


def version(binary):
    return subprocess.run([binary, "-version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", default=f"{ROOT}/build/qemu-system-x86_64")
    ap.add_argument("--against", default="/usr/bin/qemu-system-x86_64")
    ap.add_argument("--quick", action="store_true", help="start-up and memory only")
    ap.add_argument("--rounds", type=int, default=15)
    ap.add_argument("--boots", type=int, default=3)
    ap.add_argument("--output", default=f"{ROOT}/docs/benchmarks/latest.md")
    args = ap.parse_args()
    ours, theirs = os.path.abspath(args.bin), args.against
    info = measure.host()
    t = Table()
    none = ["-M", "none"]
    for b in (ours, theirs):  # files into the page cache
        measure.startup(b, measure.VIRTIO)
    a, b = interleaved(ours, theirs, args.rounds, lambda x: measure.startup(x, none))
    t.add("exec to greeting, -M none", "ms", [x[0] * 1e3 for x in a], [x[0] * 1e3 for x in b], "10 ms")
    a, b = interleaved(ours, theirs, args.rounds, lambda x: measure.startup(x, ["-M", "q35", "-accel", "tcg", "-S"]))
    t.add("exec to greeting, -M q35 -S", "ms", [x[0] * 1e3 for x in a], [x[0] * 1e3 for x in b], "10 ms")
    t.add("exec to query-status, -M q35 -S", "ms", [x[1] * 1e3 for x in a], [x[1] * 1e3 for x in b], "ratio 0.20")
    a, b = interleaved(ours, theirs, args.rounds, lambda x: measure.startup(x, measure.VIRTIO))
    t.add("exec to query-status, q35 with six virtio devices", "ms", [x[1] * 1e3 for x in a], [x[1] * 1e3 for x in b], "ratio 0.20")
    a, b = interleaved(ours, theirs, 3, lambda x: measure.private_dirty(x, ["-M", "q35", "-S", "-m", "512"]))
    t.add("private dirty memory, -M q35 -S -m 512", "MiB", a, b, "6 MiB")
    if not args.quick:
        kernel = images.Kernel()
        guest = ["-M", "q35", "-accel", "tcg", "-m", "512", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, OFF),
                 "-append", "console=ttyS0 panic=-1", "-no-reboot"]
        a, b = interleaved(ours, theirs, args.boots, lambda x: measure.boot(x, guest))
        t.add("direct boot of the cloud kernel to power-off, wall", "s", [x[0] for x in a], [x[0] for x in b], "ratio 4")
        t.add("direct boot of the cloud kernel to power-off, CPU", "s", [x[1] for x in a], [x[1] for x in b], "ratio 4")
    info.append(f"load at the end: {os.getloadavg()[0]:.1f}")
    with open(args.output, "w", encoding="utf-8") as f:
        f.write("# Benchmarks, latest run\n\n"
                f"Made by `scripts/bench{' --quick' if args.quick else ''}` on {time.strftime('%Y-%m-%d')}. Medians and best values of {args.rounds} "
                f"interleaved starts and {args.boots} boots; absolute times follow the host's load, ratios do not.\n\n"
                f"Ours: {version(ours)}. Beside it: {version(theirs)}.\n\n" + "\n".join(f"- {l}" for l in info) + "\n\n" + t.text() + "\n")
    print(f"written: {os.path.relpath(args.output, ROOT)}")


if __name__ == "__main__":
    main()

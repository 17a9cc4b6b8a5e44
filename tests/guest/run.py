#!/usr/bin/env python3
"""Guest boots as TAP: Debian kernels × machine × CPUs × virtio interface × interrupts. Pairwise by default, --full for all."""
import argparse
import itertools
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import traceback

import cdrom
import compare
import demo
import drivers
import firmware
import grub
import images
import metal
import microvm
import ovmf
import pictures
import steps
import systemd
from guest import Guest, Skip, Timeout

KERNELS = {"cloud-6.1": lambda: images.Kernel(), "generic-6.1": lambda: images.Kernel("linux-image-amd64"),
           "cloud-6.12": images.kernel_612}
AXES = [["cloud-6.1", "generic-6.1", "cloud-6.12"], ["pc", "q35"], [1, 2, 4], ["transitional", "modern", "legacy"], ["msix", "intx"]]
LONG = re.compile("demo|drivers/(resets|rebind)|nic/|systemd/")  # begun first, or one of them runs alone at the end
JOBS = []  # (name, function) of every row: set once, before the processes that run them are forked
BAD = re.compile(r"BUG|WARNING|Oops|Spurious|hung|\blost\b|Call Trace")
PROBE = r"""
dmesg -n 1 # or a kernel message splits one of the lines below
echo "cpus=$(grep -c ^processor /proc/cpuinfo)"
echo "clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
echo "disk=$(dd if=/dev/vda bs=1M count=1 2>/dev/null | sha256sum | cut -d' ' -f1)"
dd if=/dev/zero of=/dev/vda bs=4k count=16 seek=512 conv=fsync 2>/dev/null && echo "write=ok"
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -q -n -t 10 -T 1 -s /dhcp >/dev/null 2>&1; echo "address=$(ip -4 -o addr show eth0 | awk '{print $4}')"
echo "rng=$(cat /sys/class/misc/hw_random/rng_current)"
ls /dev/hvc0 /dev/vport* 2>/dev/null
cat /proc/interrupts
for d in /sys/bus/virtio/devices/*; do echo "virtio $(cat $d/device) $(cat $d/features)"; done
dmesg
"""
DHCP = ("dhcp", b"#!/bin/sh\n[ $1 = bound ] && ip addr add $ip/$mask dev $interface\nexit 0\n", 0o755)


def devices(virtio, irq, disk):
    common = {"transitional": "", "modern": ",disable-legacy=on", "legacy": ",disable-modern=on"}[virtio]
    common += ",vectors=0" if irq == "intx" else ""
    return ["-drive", f"if=none,id=d0,file={disk},format=raw", "-device", f"virtio-blk-pci,drive=d0{common}",
            "-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0{common}",
            "-device", f"virtio-serial-pci{common}", "-chardev", "null,id=c0", "-device", "virtconsole,chardev=c0",
            "-device", f"virtio-rng-pci{common}"]


def boot(binary, row, timeout):
    """Boots one row; returns a list of complaints."""
    name, machine, smp, virtio, irq = row
    kernel = KERNELS[name]()
    complaints = []
    with tempfile.TemporaryDirectory(prefix="virtue-boot-") as d:
        disk = f"{d}/disk"
        shutil.copy(images.rootfs(), disk)
        args = ["-accel", "tcg", "-M", machine, "-m", "512", "-smp", str(smp), "-kernel", kernel.image,
                "-initrd", images.initramfs(kernel, PROBE, extra=[DHCP]), "-append", "console=ttyS0 panic=-1", "-no-reboot",
                *devices(virtio, irq, disk)]
        with Guest(binary, args) as g:
            g.expect("VIRTUE-DONE", timeout)
            text = g.text
            g.send("poweroff -f\n")
            rc = g.wait(30)
    text = text.replace("\r", "")
    if rc:
        complaints.append(f"power-off: exit status {rc}")
    for line in text.splitlines():
        if line.startswith("[") and BAD.search(line):
            complaints.append(f"kernel log: {line}")

    def check(what, want):
        m = re.search(rf"^{what}=(.*)$", text, re.M)
        if not m or not re.fullmatch(want, m[1]):
            complaints.append(f"{what}: wanted {want}, saw {m[1] if m else 'nothing'}")
    check("cpus", str(smp))
    # As on QEMU 10.0 with its qemu64: kernel 6.1 distrusts the TSC of several CPUs of this vendor, 6.12 does not.
    check("clocksource", "hpet" if smp > 1 and "6.1" == name[-3:] else "tsc")
    check("disk", "[0-9a-f]{64}")
    check("write", "ok")
    check("address", r"10\.0\.2\.15/24")
    check("rng", r"virtio_rng\.\d+")
    if "/dev/hvc0" not in text:
        complaints.append("no /dev/hvc0")
    feats = re.findall(r"^virtio 0x000(\d) ([01]+)$", text, re.M)
    if len(feats) != 4:
        complaints.append(f"{len(feats)} virtio devices instead of 4")
    for dev, bits in feats:
        if (bits[32] == "1") != (virtio != "legacy"):
            complaints.append(f"virtio device {dev}: VERSION_1 is {bits[32]}")
    msix = re.findall(r"^ *\d+:.*(?:PCI-MSI|PCI-MSIX).*virtio", text, re.M)
    if bool(msix) != (irq == "msix"):
        complaints.append(f"{len(msix)} MSI-X interrupts with {irq}")
    return complaints, text


def attempt(binary, row, timeout):
    """boot(), where a guest that does not come up is a complaint."""
    try:
        return boot(binary, row, timeout)
    except Timeout as e:
        return [str(e)], str(e)


def once(n):
    """Runs row n of JOBS in a process of its own: (n, good, what it said, reason to skip, seconds)."""
    at = time.monotonic()
    try:
        good, said, skip = True, JOBS[n][1](), None
    except Skip as e:
        good, said, skip = True, None, str(e)
    except (Exception, SystemExit):
        good, said, skip = False, traceback.format_exc(), None
    return n, good, said, skip, time.monotonic() - at


def run_all(tap, at_once):
    """All JOBS, at_once at a time, the longest first. What fails runs once more, alone, at the end, and the first failure is shown: a
    guest's clocks run by the host's, and a busy host can upset any row once. What is broken fails again."""
    order = sorted(range(len(JOBS)), key=lambda n: not LONG.match(JOBS[n][0]))
    failed = []

    def outcomes(numbers, processes):
        with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
            results = pool.imap_unordered(once, numbers)
            for _ in numbers:
                yield results.next(timeout=3600)  # for a process that was killed

    def show(n, good, said, skip, seconds):
        name, text = JOBS[n][0], said if isinstance(said, str) else ""
        line = f"{name} ({seconds:.0f} s)" + (f": {text}" if good and text else "")
        tap.result(good, name if skip else line, "" if good else text, skip)

    for r in outcomes(order, at_once):
        if r[1]:
            show(*r)
            continue
        failed.append(r[0])
        print("\n".join("# " + l for l in r[2].splitlines()), flush=True)
        print(f"# UNSTABLE guest/{JOBS[r[0]][0]}: once more at the end", flush=True)
    for r in outcomes(failed, 1):
        show(*r)


def demonstrated(binary):
    """The demonstration's self-test; raises at the first step that is not good."""
    n = 0
    for name, ok, detail in demo.self_test(binary, False):
        n += 1
        if not ok:
            raise AssertionError(f"{name}: {detail}")
    if n != 7:
        raise AssertionError(f"{n} steps instead of 7")
    return f"{n} steps"


class Tap:
    def __init__(self, total):
        self.n = self.failed = 0
        print(f"1..{total}", flush=True)

    def result(self, ok, name, detail="", skip=None):
        self.n += 1
        self.failed += not ok
        if detail:
            print("\n".join("# " + l for l in str(detail).splitlines()), flush=True)
        print(("ok" if ok else "not ok") + f" {self.n} - {name}" + (f" # SKIP {skip}" if skip else ""), flush=True)


def others(binary, full):
    """Guests of their own, by name: a function each that raises when something is wrong."""
    r = [("grub/pc", lambda: grub.boot(binary, "pc")), ("grub/pc/qcow2", lambda: grub.boot(binary, "pc", fmt="qcow2", turns=2 if full else 1)),
         ("grub/pc/scsi", lambda: grub.boot(binary, "pc", bus="scsi", turns=2 if full else 1)), ("grub/pc/cd", lambda: cdrom.boot(binary, "pc"))]
    if full:
        r += [("grub/q35/cd", lambda: cdrom.boot(binary, "q35")), ("grub/pc/hybrid", lambda: cdrom.boot(binary, "pc", "blk"))]
        r += [("grub/q35", lambda: grub.boot(binary, "q35")), ("grub/q35/scsi", lambda: grub.boot(binary, "q35", bus="scsi"))]
        r += [(f"grub/pc/{v}", lambda v=v: grub.boot(binary, "pc", virtio=v)) for v in ("disable-modern=on", "disable-legacy=on", "vectors=0")]
        r += [(f"grub/debian/{m}{'/' + v if v else ''}", lambda m=m, v=v: grub.debian(binary, m, virtio=v))
              for m, v in (("pc", ""), ("q35", ""), ("pc", "disable-modern=on"), ("q35", "disable-legacy=on"))]
    r += [(f"compare/{name}", lambda a=args: compare.check(binary, *a)) for name, args in compare.rows(full)]
    if full:
        r += [(f"systemd/{m}", lambda m=m: systemd.boot(binary, m)) for m in ("q35", "pc")]
    return r + metal.rows(binary, full) + microvm.rows(binary, full) + drivers.rows(binary, full) + firmware.rows(binary, full) + \
        pictures.rows(binary, full) + ovmf.rows(binary, full) + steps.rows(binary, full)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", required=True)
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--only", help="regular expression on the test's name")
    ap.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="rows at the same time (default: %(default)s)")
    ap.add_argument("--timeout", type=int, default=180)
    ap.add_argument("--verbose", action="store_true")
    args = ap.parse_args()
    binary = os.path.abspath(args.bin)
    rows = list(itertools.product(*AXES)) if args.full else drivers.pairwise(AXES)
    rows = [r for r in rows if not args.only or re.search(args.only, "boot/" + "/".join(map(str, r)))]
    with_demo = not args.only or re.search(args.only, "demo")
    more = [(n, f) for n, f in others(binary, args.full) if not args.only or re.search(args.only, n)]

    def booted(row):
        complaints, text = attempt(binary, row, args.timeout)
        if complaints:
            raise AssertionError("\n".join(complaints) + ("\n" + text if args.verbose else ""))

    if with_demo:
        JOBS.append(("demo", lambda: demonstrated(binary)))
    JOBS.extend(("boot/" + "/".join(map(str, row)), lambda row=row: booted(row)) for row in rows)
    JOBS.extend(more)
    tap = Tap(len(JOBS))
    run_all(tap, args.jobs)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())

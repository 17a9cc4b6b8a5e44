#!/usr/bin/env python3
"""-accel kvm: what is said where KVM cannot be had; the machine, its interrupts and doorbells on the bare-metal guest of
tests/guest/metal; state, resets and errors as the outside sees them."""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import vm
from vm import Skip, Vm, same, test

sys.path.insert(0, f"{vm.HERE}/../guest")
import metal  # noqa: E402

MODES = ("on", "split", "off")
MACHINES = ("pc", "q35")
SLOW = 10 if os.environ.get("VIRTUE_FULL") else 1
BLK = ["-object", "iothread,id=t", "-blockdev", "driver=null-co,node-name=n0,size=1M,read-zeroes=on"]


def accel(mode):
    vm.need_kvm()
    return f"kvm,kernel-irqchip={mode}"


def guest(acc, machine, append, *args, **kw):
    """Runs the metal guest to its end; returns its text."""
    rc, _, text = metal.run(vm.BIN, args, acc, machine, append=append, **kw)
    assert rc == metal.PASSED and re.search("^PASS$", text, re.M), f"status {rc}, {acc}, {machine}, '{append}':\n{text}"
    return text


def result(text):
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", re.search(r"^RESULT (.*)$", text, re.M)[1])}


# What is said where there is none.
def hidden(device, *args):
    """Runs the emulator in a mount namespace where /dev/kvm is `device`, or nothing."""
    hide = f"mount --bind {device} /dev/kvm" if device else "mount -t tmpfs none /dev"
    r = subprocess.run(["unshare", "-m", "sh", "-c", f'{hide} && exec "$0" "$@"', vm.BIN, "-nodefaults", "-display", "none", "-S",
                        "-monitor", "stdio", *args],
                       input="quit\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=vm.TIMEOUT, check=False)
    if r.stderr.startswith(("unshare:", "mount:")):
        raise Skip(r.stderr.strip())
    return r


def lines(r):
    return [l.removeprefix("qemu-system-x86_64: ") for l in r.stderr.splitlines()]


def absent(device, first, second):
    for args, prefix in ((["-accel", "kvm"], "-accel kvm: "), (["-M", "pc,accel=kvm"], ""), (["-enable-kvm"], "")):
        r = hidden(device, *args)
        same((r.returncode, lines(r)), (1, [prefix + first, prefix + second]), " ".join(args))
    for args, prefix in ((["-accel", "kvm", "-accel", "tcg"], "-accel kvm: "), (["-M", "q35,accel=kvm:tcg"], "")):
        r = hidden(device, *args)
        same((r.returncode, lines(r)), (0, [prefix + first, prefix + second, "falling back to tcg"]), " ".join(args))


@test("without the device: QEMU's words, and the fallback")
def _():
    if os.getuid():
        raise Skip("needs root for a mount namespace")
    absent(None, "Could not access KVM kernel module: No such file or directory", "failed to initialize kvm: No such file or directory")


@test("a device that is not KVM")
def _():
    if not os.path.exists("/dev/kvm"):
        raise Skip("no /dev/kvm to hide")
    absent("/dev/null", "kvm version too old", "failed to initialize kvm: Inappropriate ioctl for device")


@test("without permission: QEMU's words, and which group may")
def _():
    if os.getuid():
        raise Skip("needs root to make a device node and to drop rights")
    with tempfile.TemporaryDirectory(prefix="virtue-kvm-") as d:
        os.chmod(d, 0o755)
        node = f"{d}/kvm"
        try:
            os.mknod(node, 0o020660, os.makedev(10, 232))
            os.chmod(node, 0o660)
            os.chown(node, 0, 9)  # group 9: "news" on Debian
            shutil.copy(vm.BIN, f"{d}/qemu-system-x86_64")
        except OSError as e:
            raise Skip(f"{node}: {e.strerror}") from None
        r = subprocess.run([f"{d}/qemu-system-x86_64", "-M", "none", "-display", "none", "-accel", f"kvm,device={node}"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=65534, group=65534,
                           extra_groups=[], timeout=vm.TIMEOUT, check=False)
    import grp
    p = f"qemu-system-x86_64: -accel kvm,device={node}: "
    same(r.stderr.splitlines(), [f"{p}Could not access KVM kernel module: Permission denied",
                                 f"{node} is for members of the group '{grp.getgrgid(9)[0]}'",
                                 f"{p}failed to initialize kvm: Permission denied"], "stderr")
    same(r.returncode, 1, "exit status")


@test("options: names and values that are wrong")
def _():
    vm.need_kvm()
    for args, want in (
            (["-accel", "kvm,foo=1"], "-accel kvm,foo=1: Property 'kvm-accel.foo' not found"),
            (["-accel", "kvm,kernel-irqchip=maybe"], "-accel kvm,kernel-irqchip=maybe: Parameter 'kernel-irqchip' does not accept value 'maybe'"),
            (["-M", "pc,kernel-irqchip=maybe", "-accel", "kvm"],
             "-accel kvm: can't apply global kvm-accel.kernel-irqchip=maybe: Parameter 'kernel-irqchip' does not accept value 'maybe'"),
            (["-accel", "kvm,dirty-ring-size=100"], "-accel kvm,dirty-ring-size=100: dirty-ring-size must be a power of two."),
            (["-accel", "kvm", "-M", "q35,accel=kvm"], 'The -accel and "-machine accel=" options are incompatible')):
        r = vm.run([*args, "-nodefaults", "-display", "none"])
        same((r.rc, r.err.splitlines()[0]), (1, "qemu-system-x86_64: " + want), " ".join(args))


# CPU models.
@test("CPU models: host, max and names; what the host lacks is told in QEMU's words")
def _():
    vm.need_kvm()
    base = ["-nodefaults", "-display", "none", "-S", "-monitor", "stdio", "-accel", "kvm", "-cpu"]
    for model in ("host", "max", "host,kvm=off"):
        same(vm.run([*base, model], stdin="quit\n").err, "", model)
    r = vm.run([*base, "host,+avx512-4vnniw,enforce"], stdin="quit\n")
    same((r.rc, r.err.splitlines()), (1, [
        "qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.07H:EDX.avx512-4vnniw [bit 2]",
        "qemu-system-x86_64: Host doesn't support requested features"]), "enforce")
    r = vm.run([*base, "qemu64,+svm,+avx512-4vnniw"], stdin="quit\n")
    assert "host doesn't support requested feature: CPUID.07H:EDX.avx512-4vnniw [bit 2]" in r.err, r.err
    same(r.rc, 0, "exit status")
    same(vm.run([*base, "host", "-accel", "tcg"], stdin="quit\n").rc, 0, "kvm wins over tcg")


@test("CPUID as the guest sees it: KVM's signature, or none")
def _():
    vm.need_kvm()
    vendor = re.search(r"vendor_id\s*: (\S+)", open("/proc/cpuinfo", encoding="utf-8").read())[1]
    for cpu in ("host", "qemu64", "max"):
        assert f"hypervisor KVMKVMKVM vendor {vendor}" in guest("kvm", "pc", "test=plat batch=0", "-cpu", cpu)
    assert f"hypervisor KVMKVMKVM vendor {vendor}" not in guest("kvm", "pc", "test=plat batch=0", "-cpu", "host,kvm=off")


# The machine.
for mode in MODES:
    for machine in MACHINES:
        @test(f"machine/{mode}/{machine}: ports, registers, memory, interrupts, processors")
        def _(mode=mode, machine=machine):
            text = guest(accel(mode), machine, "test=plat batch=2", "-smp", "3")
            same(re.findall("^part (.*)$", text, re.M), ["ports", "string", "registers", "memory", "pic", "lapic", "ioapic",
                                                         *(["level"] if machine == "q35" else []), "processors"], "parts")

        @test(f"resets/{mode}/{machine}: port cf9, keyboard controller, port 92, triple fault")
        def _(mode=mode, machine=machine):
            acc = accel(mode)
            elf = metal.image(vm.BIN, "metal-pvh")
            r = vm.run(["-nodefaults", "-display", "none", "-M", machine, "-accel", acc, "-smp", "2", "-device",
                        "isa-debug-exit,iobase=0xf4,iosize=4", "-debugcon", "stdio", "-kernel", elf, "-append", "test=reset"])
            same((r.rc, re.findall("^boot time=(.)$", r.out, re.M)), (metal.PASSED, list("01234")), r.out + r.err)


@test("a triple fault under -no-reboot ends the process")
def _():
    vm.need_kvm()
    rc, _, text = metal.run(vm.BIN, [], "kvm", "pc", append="test=reset")
    same((rc, re.findall("^boot time=(.)$", text, re.M)), (0, ["0"]), "status")


@test("KVM gives up: suberror, registers, code on stderr; the machine stands in internal-error and can be reset")
def _():
    vm.need_kvm()
    elf = metal.image(vm.BIN, "metal-pvh")
    with Vm(["-nodefaults", "-accel", "kvm", "-kernel", elf, "-append", "test=lost"]) as v:
        v.qmp.event("STOP")
        same(v.qmp.ok("query-status"), {"running": False, "status": "internal-error"}, "query-status")
        text = v.text()
        for want in (r"^KVM internal error\. Suberror: 1$", "^emulation failure$", r"^RAX=00000000d0000000 ", r"^RIP=00000000d0000000 ",
                     r"^CR0=80010013 ", r"^Code=.* <\?\?> "):
            assert re.search(want, text, re.M), f"no {want} in:\n{text}"
        v.qmp.ok("system_reset")
        v.qmp.event("RESET")
        v.qmp.ok("cont")
        v.qmp.event("STOP")
        same(len(re.findall("^KVM internal error", v.text(), re.M)), 2, "errors")


@test("stop, look, change memory, go on")
def _():
    for mode in MODES:
        acc = accel(mode)
        elf = metal.image(vm.BIN, "metal-pvh")
        with Vm(["-nodefaults", "-accel", acc, "-kernel", elf, "-append", "test=spin", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                 "-gdb", "none"]) as v:
            def count():
                return int(re.search(r": (0x\w+)", v.qmp.hmp("xp /1gx 0x700000"))[1], 16)
            while not count():
                pass
            for _ in range(20):
                v.qmp.ok("stop")
                a = count()
                same(count(), a, "a stopped guest's count")
                regs = v.qmp.hmp("info registers")
                assert re.search(r"^RIP=0000000000[1]\w{5} .*CPL=0", regs, re.M) and "CS64" in regs, regs
                v.qmp.ok("cont")
                while count() == a:
                    pass


# kvmclock.
KVMCLOCK = 1 << 3 | 1  # KVM_FEATURE_CLOCKSOURCE2 and KVM_FEATURE_CLOCKSOURCE


def clock(*args, mode="on"):
    """Bits of CPUID leaf 40000001h:EAX, and the wall clock; None: no kvmclock."""
    text = guest(accel(mode), "q35", "test=clock n=0", *args)
    m = re.search(r"wall=(\d+)", text)
    return int(re.search(r"features=(\w+)", text)[1], 16), m and int(m[1])


@test("kvmclock: its page advances with the time stamp counter; CPUID leaf 40000001h is what was asked for")
def _():
    for mode in MODES:
        before = time.time()
        features, wall = clock("-cpu", "host", mode=mode)
        same(features & KVMCLOCK, KVMCLOCK, "clock bits of -cpu host")
        assert before - 60 <= wall <= time.time() + 60, f"the guest's wall clock says {wall}, the host's {before}"
    features, wall = clock("-cpu", "host,kvmclock=off")
    same((features & KVMCLOCK, wall), (0, None), "kvmclock=off")
    assert features, "the other bits are gone, too"
    same(clock("-cpu", "host,kvm=off"), (0, None), "kvm=off")
    features, wall = clock("-cpu", "qemu64,-kvm-pv-eoi")
    assert features & KVMCLOCK == KVMCLOCK and not features >> 6 & 1 and wall, hex(features)


@test("kvmclock stands while the machine does")
def _():
    acc = accel("on")
    with Vm(["-nodefaults", "-accel", acc, "-cpu", "host", "-kernel", metal.image(vm.BIN, "metal-pvh"), "-append", "test=clock n=1",
             "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]) as v:
        def shown():
            return [int(x, 16) for x in re.findall(r"(0x\w{16})", v.qmp.hmp("xp /2gx 0x701000"))]
        while not shown()[0]:
            pass
        for _ in range(3):
            v.qmp.ok("stop")
            kvm, tsc = shown()
            at = time.monotonic()
            while time.monotonic() - at < 0.5:
                pass
            v.qmp.ok("cont")
            while shown()[0] == kvm:
                pass
            v.qmp.ok("stop")
            kvm, tsc = (b - a for a, b in zip((kvm, tsc), shown()))
            stood = (tsc - kvm) / 1e9
            assert 0.4 < stood < time.monotonic() - at + 0.1, f"{kvm} ns by kvmclock, {tsc} ns by the time stamp counter"
            v.qmp.ok("cont")


# Doorbells.
def blk(opts, append, acc="kvm", iothread=True, **kw):
    dev = f"virtio-blk-pci,drive=n0{',iothread=t' if iothread else ''}{opts}"
    return guest(acc, "q35", append, *BLK, "-device", dev, **kw)


KINDS = [("", "legacy=0"), (",ioeventfd=off", "legacy=0"), (",page-per-vq=on", "legacy=0"), (",disable-modern=on,disable-legacy=off", "legacy=1"),
         (",disable-modern=on,disable-legacy=off,ioeventfd=off", "legacy=1")]


def kvm_runs(opts, append):
    """How often a vCPU came out of the kernel; and all kinds of ioctl with their numbers."""
    # An iothread makes the driver poll the status for its reset.
    return traced(lambda tool: blk(opts, append, iothread=False, tool=tool))


def traced(run):
    with tempfile.TemporaryDirectory(prefix="virtue-kvm-") as d:
        run(["strace", "-f", "-e", "trace=ioctl", "-o", f"{d}/log"])
        with open(f"{d}/log", encoding="utf-8") as f:
            kinds = collections.Counter(re.findall(r" ioctl\(\d+, (\w+)", f.read()))
        return kinds["KVM_RUN"], kinds


def need_counts():
    vm.need_kvm()
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    if "TSAN_OPTIONS" in os.environ:
        raise Skip("a sanitizer's exits are not ours")


@test("gathered stores: writes of the clock chip's index leave the kernel together, and before what depends on them")
def _():
    need_counts()
    for _ in range(4):  # a busy host interrupts more: the clearest of some runs counts
        one, many = (traced(lambda tool: guest("kvm", "q35", f"test=gather n={n}", tool=tool))[0] for n in (0, 3000))  # noqa: B023
        if many - one < 1500:
            break
    assert many - one < 1500, f"{one} exits without, {many} with 3000 writes"


@test("doorbells: wide, of a page, by port, none: the same work is done")
def _():
    vm.need_kvm()
    for opts, append in KINDS:
        for iothread in (True, False):
            text = blk(opts + ("" if "legacy=1" in append else ",disable-legacy=on"), f"test=blkbench n=200 depth=4 ring3=1 event=0 {append}",
                       iothread=iothread)
            same(result(text)["requests"], 200, f"requests with {opts}")


@test("doorbells: the kernel rings them, without an exit")
def _():
    need_counts()
    for opts, append in ((",disable-legacy=on", "legacy=0"), (",disable-modern=on,disable-legacy=off", "legacy=1")):
        append += " test=blkbench n=400 depth=1 ring3=1 event=0"
        # A busy host has the driver poll its status longer, and a main loop that polls wants fewer kicks: the clearest of some runs counts.
        for _ in range(4):
            (on, kinds), (off, other) = kvm_runs(opts, append), kvm_runs(opts + ",ioeventfd=off", append)
            if on + 300 < off:
                break
        assert on + 300 < off, f"{opts}: {on} exits with ioeventfds, {off} without; {kinds}, {other}"


# Interrupts.
for mode in MODES:
    @test(f"interrupts/{mode}: masks, moves and new messages against requests in flight")
    def _(mode=mode):
        acc = accel(mode)
        for packed in ("", ",packed=on"):
            n = (5000 if mode == "on" else 500) * SLOW
            text = blk(f",disable-legacy=on{packed}", f"test=irqs n={n} event=0 ring3=1 ring={'packed' if packed else 'split'} depth=7", acc, timeout=300)
            got = result(text)
            assert got["ops"] == n and got["moves"] > n // 20 and got["races"] > n // 5, text


@test("interrupts/tcg: the same")
def _():
    for packed in ("", ",packed=on"):
        for iothread in (True, False):
            n = 5000 if SLOW == 1 else 250000  # four times
            text = blk(f",disable-legacy=on{packed}", f"test=irqs n={n} event=0 ring={'packed' if packed else 'split'} depth=9", "tcg", iothread, timeout=600)
            same(result(text)["ops"], n, "operations")


@test("interrupts: more vectors than routes: the rest goes by message")
def _():
    vm.need_kvm()
    text = blk(",disable-legacy=on,vectors=8", "test=irqs n=300 event=0 ring3=1", "kvm,x-gsi-routes=26")
    same(result(text)["vectors"], 8, "vectors")
    blk(",disable-legacy=on", "test=irqs n=100 event=0 ring3=1", "kvm,x-gsi-routes=24")


vm.main()

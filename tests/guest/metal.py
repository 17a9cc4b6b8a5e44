"""The bare-metal test guest: transports × ring formats × interrupts with data checked, on ours and (--full) on Debian's QEMU 7.2."""
import itertools
import os
import re
import struct
import subprocess
import tempfile

from guest import Skip

SECTORS = 2048
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
QEMU7 = "/usr/bin/qemu-system-x86_64"
PASSED = 33  # isa-debug-exit of 0x10


def image(binary, name):
    path = os.environ.get("VIRTUE_METAL", f"{os.path.dirname(os.path.abspath(binary))}/tests/guest/metal") + f"/{name}.elf"
    if not os.path.exists(path):
        raise Skip(f"no {path}: build it with ninja")
    return path


def sector(n, written=False):
    """What sector n holds; the guest knows the same rule (blk.c)."""
    words = [(n * GOLDEN + i) & MASK for i in range(64)]
    return struct.pack("<64Q", *((~w & MASK for w in words) if written else words))


def run(binary, args, accel="tcg", machine="q35", timeout=60, append="", elf=None, kernel="metal-pvh", tool=(), env=None):
    """Runs the guest; returns (its exit status, {name: number} of its RESULT line, all text)."""
    cmd = [*tool, binary, "-nodefaults", "-display", "none", "-M", machine, "-accel", accel, "-m", "128", "-no-reboot",
           "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-debugcon", "stdio", "-kernel", elf or image(binary, kernel),
           "-append", append, *args]
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False,
                       env=dict(os.environ, **(env or {})))
    text = p.stdout.decode(errors="replace")
    m = re.search(r"^RESULT (.*\n.*)$", text, re.M)
    return p.returncode, {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", m[1])} if m else {}, text


def device(kind, legacy, ring, in_order):
    opts = ",disable-modern=on,disable-legacy=off" if legacy else ",disable-legacy=on"
    return f"virtio-{kind}-pci" + opts + (",packed=on" if ring == "packed" else "") + (",in_order=on" if in_order else "")


def check(binary, kind, accel, machine, append, legacy=False, ring="split", in_order=False, timeout=60, elf=None, kernel="metal-pvh", more=""):
    """One run with its data checked by the guest, and the disk's by us."""
    append = f"test={kind} ring={ring} legacy={int(legacy)} in_order={int(in_order)} {append}"
    dev = device(kind, legacy, ring, in_order) + more
    with tempfile.TemporaryDirectory(prefix="virtue-metal-") as d:
        if kind == "blk":
            with open(f"{d}/disk", "wb") as f:
                f.writelines(sector(n) for n in range(SECTORS))
            args = ["-object", "iothread,id=t", "-drive", f"if=none,id=d0,file={d}/disk,format=raw", "-device", f"{dev},drive=d0"]
        else:
            args = ["-netdev", "hubport,id=n0,hubid=0", "-netdev", "hubport,id=n1,hubid=0",
                    "-device", f"{dev},netdev=n0", "-device", f"{dev},netdev=n1"]
        rc, result, text = run(binary, args, accel, machine, timeout, append, elf, kernel)
        if rc != PASSED or not re.search(r"^PASS$", text, re.M):
            raise RuntimeError(f"exit status {rc} with '{append}' on {machine}, {accel}:\n{text}")
        if kind == "blk":
            with open(f"{d}/disk", "rb") as f:
                for n in range(SECTORS):
                    if f.read(512) != sector(n, n >= SECTORS // 2 // 8 * 8):
                        raise RuntimeError(f"the file's sector {n} is wrong behind '{append}'")
    return f"{result['kicks']} kicks, {result['irqs']} interrupts"


def tap(binary, elf):
    """Transmits to a tap device that has packets waiting for a guest without buffers; it must still end in order."""
    if os.geteuid() or not os.path.exists("/dev/net/tun"):
        raise Skip("tap devices need root and /dev/net/tun")
    # A datagram every 5 ms, so that some are there while the guest sends.
    setup = ("set -e; ip tuntap add metal0 mode tap; ip addr add 10.9.9.1/24 dev metal0; ip link set metal0 up; "
             "ip neigh add 10.9.9.2 lladdr 52:54:00:12:34:56 dev metal0; "
             "{ for i in $(seq 200); do echo x >/dev/udp/10.9.9.2/9; sleep 0.005; done; } 2>/dev/null & exec \"$0\" \"$@\"")
    rc, result, text = run(binary, ["-netdev", "tap,id=n,ifname=metal0,script=no,downscript=no", "-device",
                                    "virtio-net-pci,netdev=n,disable-legacy=on"], elf=elf,
                           tool=["unshare", "-n", "bash", "-c", setup], append="test=netbench depth=32 size=64 n=200000")
    if rc != PASSED or result.get("requests") != 200000:
        raise RuntimeError(f"exit status {rc}:\n{text}")


def has_kvm(binary):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    said = subprocess.run([binary, "-accel", "help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False).stdout
    return b"kvm" in said.split()


def rows(binary, full):
    """(name, function) for tests/guest/run.py. The default covers each kind, transport, ring and interrupt mode together, and
    spreads the other options over them; --full adds all machines, QEMU 7.2 as the emulator, and more KVM."""
    forms = [("modern", "split"), ("modern", "packed"), ("legacy", "split")]
    found = []

    def add(who, name, exe, kind, accel, machine, how, **kw):
        kernel = kw.get("kernel", "metal-pvh")
        title = f"metal/{who}/{accel}/{kind}/{machine}/{name}" + ("/multiboot" if kernel != "metal-pvh" else "")

        def go():
            if exe != binary and not os.path.exists(exe):
                raise Skip(f"no {exe}")
            if accel.startswith("kvm") and not has_kvm(exe):
                raise Skip(f"-accel kvm does not work with {exe} here")
            return check(exe, kind, accel, machine, how, elf=image(binary, kernel), **kw)
        found.append((title, go))

    for i, (kind, (transport, ring), irq) in enumerate(itertools.product(("blk", "net"), forms, ("poll", "msix"))):
        form = {"legacy": transport == "legacy", "ring": ring}
        for event, indirect, ring3, in_order in itertools.product((0, 1), repeat=4) if full else \
                [(i >> 1 & 1, (i + 1) % 3 == 0, (i + i // 2) & 1, transport == "modern" and i % 4 == 1)]:
            if transport == "legacy" and in_order:
                continue
            how = f"irq={irq} event={event} indirect={int(indirect)} ring3={ring3} depth={(8, 32)[event]} n=300"
            name = f"{transport}/{ring}/{irq}/event{event}/indirect{int(indirect)}/ring{3 if ring3 else 0}" + ("/in-order" if in_order else "")
            for machine in ("pc", "q35") if full else (("pc", "q35")[i & 1],):
                add("ours", name, binary, kind, "tcg", machine, how, in_order=in_order, **form,
                    kernel="metal-multiboot" if i % 5 == 4 else "metal-pvh")
            if full and not in_order:
                add("qemu7", name, QEMU7, kind, "tcg", "q35", how, **form)
    for kind, (transport, ring) in itertools.product(("blk", "net"), forms):
        how = f"irq={'msix' if ring == 'packed' else 'poll'} event=1 ring3=1 depth=16 n=100"
        form = {"legacy": transport == "legacy", "ring": ring, "timeout": 120}
        add("ours", f"{transport}/{ring}/ring3", binary, kind, "kvm", "q35", how, **form)
        if full:
            add("qemu7", f"{transport}/{ring}/ring3", QEMU7, kind, "kvm", "q35", how, **form)
    # The function's wire: level-triggered, shared by nobody; from the main loop and from an iothread.
    for machine, (transport, ring) in (("q35", forms[0]), ("pc", forms[2]), ("q35", forms[1])):
        form = {"legacy": transport == "legacy", "ring": ring, "timeout": 120}
        for accel in ("tcg", *(f"kvm,kernel-irqchip={m}" for m in ("on", "split", "off"))):
            deep = f"irq=intx event={int(ring == 'packed')} depth=8 n=100 ring3={int(accel != 'tcg')}"
            add("ours", f"{transport}/{ring}/intx", binary, "blk", accel, machine, deep, more=",iothread=t" if ring == "split" else "", **form)
        if full:
            add("qemu7", f"{transport}/{ring}/intx", QEMU7, "blk", "tcg", machine, deep, **form)
    window = "irq=msix depth=8 mem=0xc8000000 ecam=0xe0000000"
    add("ours", "modern/split/ecam", binary, "blk", "tcg", "microvm", window)
    add("ours", "modern/packed/ports", binary, "net", "tcg", "microvm", window.split(" ecam")[0], ring="packed")
    for accel in ("tcg", "kvm"):
        add("ours", "modern/split/intx", binary, "blk", accel, "microvm", window.replace("msix", "intx") + " ring3=1 n=100", more=",iothread=t")
    add("ours", "modern/packed/no-acpi", binary, "blk", "kvm", "microvm,acpi=off", window + " ring3=1 n=100", ring="packed")
    found.append(("metal/ours/tcg/net/q35/tap", lambda: tap(binary, image(binary, "metal-pvh"))))
    return found

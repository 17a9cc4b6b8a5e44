"""What the bare-metal guest measures: times, kicks, instructions and system calls for each request."""
import glob
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest"))
import metal  # noqa: E402

FEW, MANY = 1024, 9216  # the difference of two runs leaves out what a run costs by itself
MANY_TRACED = 5120
NULL = ["-blockdev", "driver=null-co,node-name=d,size=1073741824,read-zeroes="]
THREAD = ["-object", "iothread,id=t"]


def tsc_khz():
    """The host's; a guest under load measures it badly. 0: the guest measures."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        m = re.search(r"^cpu MHz\s*: ([0-9.]+)", f.read(), re.M)
    return round(float(m[1]) * 1000) if m else 0


class Missing(Exception):
    """The emulator does not have what the row measures."""


class Setup:
    """One way to run the guest: devices and its options."""

    def __init__(self, append, args, tool=()):
        self.append, self.args, self.tool = append, args, list(tool)

    def run(self, binary, accel, elf, n, tool=(), timeout=300, env=None):
        append = f"{self.append} n={n} ring3=1 tsc_khz={tsc_khz()}"
        rc, result, text = metal.run(binary, self.args, accel=accel, append=append, elf=elf, timeout=timeout,
                                     tool=[*self.tool, *tool], env=env)
        if rc != metal.PASSED or not result:
            lines = [l for l in text.splitlines() if l.strip() and not l.startswith(("==", "--"))]
            raise Missing(lines[-1] if lines else f"exit status {rc}")
        return result


def blk(depth, packed=False, zeroes=False, thread=False, more="", backend=None, tool=()):
    args = backend or [NULL[0], NULL[1] + ("on" if zeroes else "off")]
    dev = "virtio-blk-pci,drive=d,disable-legacy=on" + (",packed=on" if packed else "") + (",iothread=t" if thread else "")
    return Setup(f"test=blkbench depth={depth} ring={'packed' if packed else 'split'}{more}",
                 [*(THREAD if thread else []), *args, "-device", dev], tool)


def net(packed=False, depth=64, netdev=(), tool=()):
    peer = ",netdev=n" if netdev else ""
    dev = f"virtio-net-pci,disable-legacy=on{peer}" + (",packed=on" if packed else "")
    return Setup(f"test=netbench size=64 depth={depth} ring={'packed' if packed else 'split'}", [*netdev, "-device", dev], tool)


def us(setup, binary, accel, elf, n):
    """Microseconds for a request."""
    r = setup.run(binary, accel, elf, n)
    return r["ns"] / r["requests"] / 1000


def kicks(setup, binary, accel, elf, n):
    r = setup.run(binary, accel, elf, n)
    return r["kicks"] / r["requests"] * 1000


def _is_vcpu(text):
    """Under the soft accelerator the vCPU's thread interprets the guest: its instructions are not the device's."""
    return re.search(r"^fn=\(\d+\) soft_run", text, re.M) is not None


def _instructions_once(setup, binary, accel, elf, n):
    with tempfile.TemporaryDirectory(prefix="virtue-callgrind-") as d:
        # The software vCPU generates code, in memory that valgrind takes for a file.
        setup.run(binary, accel, elf, n, timeout=900, tool=["valgrind", "-q", f"--log-file={d}/log", "--tool=callgrind",
                                                            f"--smc-check={'all' if accel == 'tcg' else 'all-non-file'}",
                                                            "--separate-threads=yes", f"--callgrind-out-file={d}/out"])
        total = 0
        for path in glob.glob(f"{d}/out*-*"):
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
            if accel != "tcg" or not _is_vcpu(text):
                total += sum(int(v) for v in re.findall(r"^totals: (\d+)", text, re.M))
        return total


def instructions(setup, binary, accel, elf):
    """Instructions of the emulator for a request: callgrind, MANY requests less FEW."""
    if not shutil.which("valgrind"):
        raise Missing("no valgrind")
    a, b = (_instructions_once(setup, binary, accel, elf, n) for n in (FEW, MANY))
    return (b - a) / (MANY - FEW)


def syscalls(setup, binary, accel, elf):
    """System calls for a request, all threads: strace -f -c, MANY_TRACED requests less FEW."""
    if not shutil.which("strace"):
        raise Missing("no strace")

    def once(n):
        with tempfile.TemporaryDirectory(prefix="virtue-strace-") as d:
            setup.run(binary, accel, elf, n, timeout=900, tool=["strace", "-f", "-c", "-o", f"{d}/out"])
            with open(f"{d}/out", encoding="ascii", errors="replace") as f:
                m = re.search(r"^\S+\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", f.read(), re.M)
            return int(m[1])
    a, b = (once(n) for n in (FEW, MANY_TRACED))
    return (b - a) / (MANY_TRACED - FEW)

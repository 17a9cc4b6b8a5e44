#!/usr/bin/env python3
"""Firmware as users give it: flash chips by -pflash, -drive, -blockdev and machine properties, -bios; refusals as QEMU 10.0 words them."""
import os
import tempfile

import vm
from input_driver import HLT
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-firmware-")
QUIET = ["-nodefaults", "-display", "none", "-accel", "tcg", "-M", "q35"]


def blank(size):
    """A file of that size, by name."""
    path = f"{tmp.name}/{size}"
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def refusal(args, binary):
    """Its words without the program's name; of two lines, the second one's reason belongs to the first."""
    r = vm.run([*QUIET, *args], binary=binary)
    lines = [l.rpartition("qemu-system-x86_64: ")[2] for l in r.err.splitlines() if "qemu-system-x86_64: " in l and "WARNING" not in l]
    return r.rc, ": ".join(l.removeprefix("info: ") for l in lines)


def drive(size, *more):
    return "-drive", ",".join(("if=pflash,format=raw", f"file={blank(size)}", *more))


@test("flash chips that cannot be are refused in QEMU's words")
def refused():
    node = ("-blockdev", f"driver=file,node-name=f,filename={blank(65536)}")
    for args in (drive(1), drive(3000), drive(100_000), drive((8 << 20) + 4096), (*drive(4096), *drive(8 << 20)), drive(4096, "unit=1"), drive(4096, "unit=2"),
                 (*drive(4096, "unit=0"), *drive(8192, "unit=0")), (*drive(4096, "index=1"), *drive(8192, "index=1")),
                 ("-pflash", blank(4096), "-pflash", blank(8192), "-pflash", blank(65536)), (*node, "-machine", "pflash0=no"),
                 (*node, "-machine", "pflash1=f"), ("-M", "microvm", *drive(4096))):
        same(refusal(args, None), refusal(args, vm.oracle()), " ".join(args))


@test("flash by each of its options; -bios beside it means nothing")
def taken():
    with open(HLT, "rb") as f:
        code = f.read()
    path = f"{tmp.name}/code"
    with open(path, "wb") as f:
        f.write(code.rjust(65536, b"\xff"))
    for args in (("-pflash", path), ("-drive", f"if=pflash,format=raw,readonly=on,file={path}"),
                 ("-blockdev", f"driver=file,node-name=f,filename={path},read-only=on", "-machine", "pflash0=f"),
                 ("-bios", os.devnull, "-pflash", path)):
        with Vm([*QUIET, *args]) as v:
            text = v.qmp.hmp("xp /4xb 0xfffffffc")
            same([int(w, 16) for w in text.split(":")[1].split()], list(code[-4:]), " ".join(args))


vm.main()

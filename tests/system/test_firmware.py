#!/usr/bin/env python3
"""Firmware as users give it: flash chips by -pflash, -drive, -blockdev and machine properties, -bios; refusals as QEMU 10.0 words them."""
import os
import struct
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
                 (*node, "-machine", "pflash1=f"), ("-M", "microvm", *drive(4096)), (*node, "-machine", "pflash0=f", *drive(4096)),
                 (*node, "-machine", "pflash0=f", *drive(4096, "unit=0")), (*node, "-machine", "pflash0=f", *drive(4096, "unit=1"), *drive(4096)),
                 drive(4096, "index=0", "unit=0"), drive(4096, "index=0", "bus=1"), drive(4096, "bus=0", "unit=2")):
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
                 ("-bios", os.devnull, "-pflash", path), ("-drive", f"if=pflash,unit=1,format=raw,file={blank(4096)}", "-pflash", path)):
        with Vm([*QUIET, *args]) as v:
            text = v.qmp.hmp("xp /4xb 0xfffffffc")
            same([int(w, 16) for w in text.split(":")[1].split()], list(code[-4:]), " ".join(args))


@test("keys for OVMF are in fw_cfg under their names")
def keys():
    given = {"opt/ovmf/PcdSetNxForStack": b"yes", "opt/ovmf/X-PciMmio64Mb": b"65536", "opt/org.example/file": bytes(range(256)) * 20}
    path = f"{tmp.name}/key"
    with open(path, "wb") as f:
        f.write(given["opt/org.example/file"])
    args = [w for name, data in given.items() for w in ("-fw_cfg", f"name={name}," + (f"file={path}" if len(data) > 256 else f"string={data.decode()}"))]

    def read(q, key, n):
        q.outw(0x510, key)
        return bytes(q.inb(0x511) for _ in range(n))
    found = []
    for binary in (None, vm.oracle()):
        accel = ["-accel", "qtest" if binary is None else "tcg"]
        with Vm(["-M", "pc", "-nodefaults", "-display", "none", "-S", *accel, *args], binary=binary, qtest=True) as v:
            count = int.from_bytes(read(v.qtest, 0x19, 4), "big")
            listed = read(v.qtest, 0x19, 4 + 64 * count)[4:]
            files = {}
            for at in range(0, len(listed), 64):
                size, key = struct.unpack_from(">IH", listed, at)
                files[listed[at + 8:at + 64].rstrip(b"\0").decode()] = (size, key)
            found.append({name: read(v.qtest, files[name][1], files[name][0]) for name in files if name.startswith("opt/")})
    same(found[0], given)
    same(found[1], given, "QEMU's")


vm.main()

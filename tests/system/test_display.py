#!/usr/bin/env python3
"""Displays as users see them: -vga's defaults and refusals, screendump's replies and files."""
import os
import struct
import subprocess
import tempfile
import zlib

import vm
from vm import Vm, same, test


def adapters(*args):
    with Vm(["-accel", "qtest", *args]) as v:
        return [(d["slot"], d["id"]["vendor"], d["id"]["device"]) for d in v.qmp.ok("query-pci")[0]["devices"]
                if d["class_info"]["class"] >> 8 == 3]


def png_rgb(path):
    """Width, height and pixels of a PNG of 8-bit RGB (PNG, 5, 9): filters undone by hand."""
    data = open(path, "rb").read()
    width, height = struct.unpack(">II", data[16:24])
    at, body = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw, out, before = zlib.decompress(body), b"", bytes(width * 3)
    for y in range(height):
        row = bytearray(raw[y * (width * 3 + 1) + 1:(y + 1) * (width * 3 + 1)])
        for x in range(len(row)):
            a, b, c = row[x - 3] if x >= 3 else 0, before[x], before[x - 3] if x >= 3 else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth)[raw[y * (width * 3 + 1)]]) & 255
        before = bytes(row)
        out += before
    return width, height, out


@test("-vga: std by default, virtio, none; a -device of that kind takes its place")
def _():
    same(adapters("-M", "pc"), [(2, 0x1234, 0x1111)], "pc")
    same(adapters("-M", "q35"), [(1, 0x1234, 0x1111)], "q35")
    same(adapters("-M", "pc", "-vga", "virtio"), [(2, 0x1af4, 0x1050)], "virtio")
    same(adapters("-M", "pc", "-vga", "none"), [], "none")
    same(adapters("-M", "pc", "-nodefaults"), [], "-nodefaults")
    same(len(adapters("-M", "pc", "-device", "VGA")), 1, "one VGA")
    for kind, text in (("foo", "unknown vga type: foo"), ("qxl", "'qxl' is not available: use std or virtio")):
        r = subprocess.run([vm.BIN, "-vga", kind], capture_output=True, text=True, timeout=60)
        same((r.returncode, r.stderr), (1, f"qemu-system-x86_64: -vga {kind}: {text}\n"), kind)


@test("screendump: PPM and PNG hold the same; mistakes have QEMU's texts")
def _():
    with tempfile.TemporaryDirectory() as d, Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-device", "virtio-rng-pci,id=r",
                                                 "-device", "virtio-gpu-pci,id=g,max_outputs=2"]) as v:
        ppm, png = os.path.join(d, "x.ppm"), os.path.join(d, "x.png")
        v.qmp.ok("screendump", {"filename": ppm})
        v.qmp.ok("screendump", {"filename": png, "format": "png", "device": "g", "head": 1})
        same(open(ppm, "rb").read(), b"P6\n640 480\n255\n" + bytes(640 * 480 * 3), "PPM of a head that is off")
        same(png_rgb(png), (640, 480, bytes(640 * 480 * 3)), "PNG")
        for args, text in (({"head": 1}, "'head' must be specified together with 'device'"),
                           ({"device": "nope"}, "Device 'nope' not found"),
                           ({"device": "r"}, "Device r (head 0) is not bound to a QemuConsole"),
                           ({"device": "g", "head": 3}, "Device g (head 3) is not bound to a QemuConsole"),
                           ({"format": "jpg"}, "Parameter 'format' does not accept value 'jpg'")):
            same(v.qmp.cmd("screendump", {"filename": ppm, **args})["error"]["desc"], text, str(args))
    with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults"]) as v:
        same(v.qmp.cmd("screendump", {"filename": "x"})["error"]["desc"], "There is no console to take a screendump from", "none")


vm.main()

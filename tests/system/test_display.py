#!/usr/bin/env python3
"""Displays as users see them: -vga's defaults and refusals, screendump's replies and files."""
import os
import re
import struct
import subprocess
import tempfile

import picture
import vm
from gpu_driver import Gpu
from input_driver import HLT
from vm import Vm, same, test


def adapters(*args):
    with Vm(["-accel", "qtest", *args]) as v:
        return [(d["slot"], d["id"]["vendor"], d["id"]["device"]) for d in v.qmp.ok("query-pci")[0]["devices"]
                if d["class_info"]["class"] >> 8 == 3]


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


@test("-display: none, vnc=, and what is refused in QEMU's words")
def _():
    for text in ("foo", "vnc", "none,gl=on", "none,foo=on"):
        theirs, ours = (vm.run(["-M", "none", "-display", text], binary=b) for b in (vm.oracle(), None))
        same((ours.rc, re.split(r"qemu-system-x86_64: (?:-display \S+: )?", ours.err)[-1]),
             (theirs.rc, re.split(r"qemu-system-x86_64: (?:-display \S+: )?", theirs.err)[-1]), text)
    for kind in ("gtk", "sdl", "curses", "dbus", "egl-headless", "spice-app", "cocoa"):
        r = vm.run(["-M", "none", "-display", kind])
        same((r.rc, r.err), (1, f"qemu-system-x86_64: -display {kind}: Parameter 'type' does not accept value '{kind}'\n"), kind)
    theirs, ours = (vm.run(["-display", "help"], binary=b) for b in (vm.oracle(), None))
    windows = ("curses", "gtk", "sdl", "dbus", "egl-headless", "spice-app", "cocoa")
    same((ours.rc, ours.out), (theirs.rc, "".join(l for l in theirs.out.splitlines(True) if l.strip() not in windows)), "help")
    for text in ("none,window-close=on,gl=off", "default", "default,show-cursor=on"):
        with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-display", text]) as v:
            same(v.qmp.ok("query-vnc"), {"enabled": False}, text)


@test("no command resizes a head, on QEMU neither")
def _():
    for binary in (None, vm.oracle()):
        with Vm(["-accel", "tcg", "-M", "pc", "-nodefaults", "-display", "none", "-S", "-device", "virtio-vga,id=g"], binary=binary) as v:
            schema = {x["name"]: x for x in v.qmp.ok("query-qmp-schema")}
            members = {x["name"]: [m["name"] for m in schema[x["arg-type"]].get("members", [])] for x in schema.values() if x["meta-type"] == "command"}
            same({n for n, m in members.items() if "head" in m or {"width", "height"} & set(m)}, {"screendump", "input-send-event"}, "what names a head")
            same({n for n in members if "resize" in n}, {"block_resize"}, "commands that resize")
            said = v.qmp.cmd("qom-set", path="/machine/peripheral/g", property="xres", value=640)
            assert "error" in said, said


def shots_with_pointer(binary, folder):
    """Screendumps of one picture: with a pointer that is set, moved, beyond the edge, taken away; with another one on the other head."""
    picture_of = [struct.pack(f"<{w * h}I", *[0xff000000 | i * 0x10305 & 0xffffff for i in range(w * h)]) for w, h in ((96, 80), (64, 64))]
    shots = []
    with Vm(["-accel", "tcg", "-bios", HLT, "-M", "pc", "-nodefaults", "-display", "none", "-device", "virtio-gpu-pci,id=g,addr=4,max_outputs=2"],
            binary=binary, qtest=True) as v:
        def shoot(head=0):
            v.qmp.ok("screendump", filename=f"{folder}/shot", device="g", head=head)
            with open(f"{folder}/shot", "rb") as f:
                shots.append(f.read())
        gpu = Gpu(v)
        gpu.resource(1, 96, 80, picture_of[0])
        gpu.resource(2, 64, 64, picture_of[1])
        for head in range(2):
            gpu.show(head, 1, 96, 80)
        shoot()
        for x, y, number, update in ((8, 4, 2, True), (40, 30, 2, False), (90, 79, 2, False), (90, 79, 0, True)):
            gpu.pointer(0, x, y, number, update)
            shoot()
        gpu.pointer(1, 1, 1, 2)
        shoot(1)
    return shots


@test("screendump is without the guest's pointer, as on QEMU")
def _():
    with tempfile.TemporaryDirectory(prefix="virtue-shot-") as d:
        ours, theirs = (shots_with_pointer(binary, d) for binary in (None, vm.oracle()))
    same(ours, theirs)
    same(len(set(ours)), 1, "pictures that differ")


@test("screendump: PPM and PNG hold the same; mistakes have QEMU's texts")
def _():
    with tempfile.TemporaryDirectory() as d, Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-device", "virtio-rng-pci,id=r",
                                                 "-device", "virtio-gpu-pci,id=g,max_outputs=2"]) as v:
        ppm, png = os.path.join(d, "x.ppm"), os.path.join(d, "x.png")
        v.qmp.ok("screendump", {"filename": ppm})
        v.qmp.ok("screendump", {"filename": png, "format": "png", "device": "g", "head": 1})
        same(open(ppm, "rb").read(), b"P6\n640 480\n255\n" + bytes(640 * 480 * 3), "PPM of a head that is off")
        same(picture.png(png), (640, 480, [bytes(640 * 3)] * 480), "PNG")
        for args, text in (({"head": 1}, "'head' must be specified together with 'device'"),
                           ({"device": "nope"}, "Device 'nope' not found"),
                           ({"device": "r"}, "Device r (head 0) is not bound to a QemuConsole"),
                           ({"device": "g", "head": 3}, "Device g (head 3) is not bound to a QemuConsole"),
                           ({"format": "jpg"}, "Parameter 'format' does not accept value 'jpg'")):
            same(v.qmp.cmd("screendump", {"filename": ppm, **args})["error"]["desc"], text, str(args))
    with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults"]) as v:
        same(v.qmp.cmd("screendump", {"filename": "x"})["error"]["desc"], "There is no console to take a screendump from", "none")


vm.main()

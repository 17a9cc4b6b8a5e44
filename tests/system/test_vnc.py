#!/usr/bin/env python3
"""VNC servers: what viewers see and send, passwords, sharing, events, refusals, and viewers that mean no good. Answers and texts
are compared with QEMU 10.0."""
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import zlib

import rfb
import vm
from rfb import Rfb
from gpu_driver import Gpu
from input_driver import HLT, Virtio
from qtest import DEVICE, Function, VirtioPci
from vm import Skip, Vm, same, test, until

tmp = tempfile.TemporaryDirectory(prefix="virtue-vnc-")
SOCK = f"{tmp.name}/vnc"
BASE = ["-M", "pc", "-nodefaults", "-accel", "tcg", "-bios", HLT]


def up(*args, opts="", qtest=False):
    base = ["-M", "pc", "-nodefaults", "-accel", "qtest"] if qtest else BASE
    return Vm([*base, "-vnc", f"unix:{SOCK}{opts}", *args], qtest=qtest)


def rss(v):
    with open(f"/proc/{v.p.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- answers, as QEMU's ----

def answers(log, binary, where, opts):
    path = f"{tmp.name}/{'theirs' if binary else 'ours'}"
    display = rfb.port()
    text = where.format(path=path, display=display) + opts
    with Vm([*BASE, "-name", "guest", "-vnc", text], binary=binary) as v:
        q = v.qmp

        def say(what, got):
            if isinstance(got, list):
                got = sorted(map(str, got))
            elif isinstance(got, dict):
                got = sorted((k, sorted(map(str, x)) if isinstance(x, list) else str(x)) for k, x in got.items())
            log.append((what, str(got).replace(path, "SOCK").replace(str(5900 + display), "PORT")))
        say("query-vnc", q.ok("query-vnc"))
        say("servers", [sorted(str(sorted(map(str, s.items()))) for s in x["server"]) for x in q.ok("query-vnc-servers")])
        say("ids", [(x["id"], x["auth"], x["clients"]) for x in q.ok("query-vnc-servers")])
        say("info", q.hmp("info vnc").replace("\r", "").splitlines())
        for args in [{"password": "12345678"}, {"password": "x", "connected": "fail"}, {"password": "x", "connected": "disconnect"},
                     {"password": "x", "connected": "keep"}, {"password": "x", "display": "foo"}, {"password": "x", "display": "default"}]:
            say(("set_password", args), q.cmd("set_password", protocol="vnc", **args))
        for t in ("now", "never", "+30", "123456", "abc", "+x", ""):
            say(("expire_password", t), q.cmd("expire_password", protocol="vnc", time=t))
        say("change", q.cmd("change-vnc-password", password="y"))
        say("spice", [q.cmd("set_password", protocol="spice", password="x"), q.cmd("expire_password", protocol="spice", time="now")])
        q.ok("expire_password", protocol="vnc", time="never")
        for line in ("help set_password", "help expire_password", "help info vnc", "expire_password vnc +300", "expire_password vnc x"):
            say(line, q.hmp(line))
        if where != "none":
            sock = rfb.Rfb(path, password="y") if "unix" in where and "password" in opts else None
            if "unix" in where and not sock:
                sock = rfb.Rfb(path)
            if not sock:
                sock = Rfb(("127.0.0.1", 5900 + display), password="y" if "password" in opts else None)
            for event in ("VNC_CONNECTED", "VNC_INITIALIZED"):
                e = q.event(event)["data"]
                e["client"].pop("service")
                say(event, [sorted(e["server"].items()), sorted(e["client"].items())])
            say("name", sock.name)
            say("clients", [[(c["host"], c["family"], c["websocket"]) for c in x["clients"]] for x in q.ok("query-vnc-servers")])
            sock.close()
            e = q.event("VNC_DISCONNECTED")["data"]
            e["client"].pop("service")
            say("VNC_DISCONNECTED", [sorted(e["server"].items()), sorted(e["client"].items())])


def compare(where, opts):
    theirs, ours = [], []
    answers(theirs, vm.oracle(), where, opts)
    answers(ours, None, where, opts)
    bad = [f"ours      {o}\nQEMU 10.0 {t}" for o, t in zip(ours, theirs) if o != t]
    assert not bad and len(ours) == len(theirs), f"{len(bad)} of {len(theirs)} lines differ\n" + "\n".join(bad[:8])


for where, opts in [("unix:{path}", ""), ("unix:{path}", ",password=on"), ("127.0.0.1:{display}", ",share=force-shared"),
                    (":{display}", ",password"), ("none", ""), ("localhost:{display}", ",ipv4=on,id=default")]:
    vm.TESTS.append((f"as QEMU 10.0/{where}{opts}", lambda w=where, o=opts: compare(w, o)))


@test("what cannot be is refused, in QEMU's words where it is QEMU's refusal")
def refused():
    def err(text, binary):
        r = vm.run([*BASE, "-display", "none", "-vnc", text], binary=binary)
        return r.rc, r.err.rpartition("qemu-system-x86_64: ")[2].strip()
    for text in ("127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":-1", ":5,foo=1", ":5,share=foo", ":5,display=foo",
                 ":5,key-delay-ms=x", "bad.host.invalid:5", ":5,audiodev=x"):
        same(err(text, None), err(text, vm.oracle()), text)
    for text in ("tls-creds=x", "sasl=on", "websocket=on", "reverse=on", "power-control=on"):
        rc, said = err(f":5,{text}", None)
        assert rc == 1 and said.endswith("is not supported"), said
    r = vm.run([*BASE, "-display", "none", "-vnc", "none", "-k", "xx"])
    assert r.rc == 1 and "could not read keymap file: 'xx'" in r.err, r.err


@test("display= and -display vnc= are the same as -vnc")
def display_option():
    with Vm([*BASE, "-display", f"vnc=unix:{SOCK}"]) as v:
        same(v.qmp.ok("query-vnc")["service"], SOCK)
        Rfb(SOCK).close()
    assert not os.path.exists(SOCK), "the socket's file stays behind"


# ---- passwords, sharing ----

@test("only the right password, and only in its time")
def passwords():
    def tries(password):
        try:
            Rfb(SOCK, password=password).close()
            return True
        except rfb.Refused:
            return False
    with up(opts=",password=on") as v:
        assert not tries("") and not tries("secret"), "in without a password being set"
        v.qmp.ok("set_password", protocol="vnc", password="secret")
        assert tries("secret") and not tries("Secret") and not tries("secre") and not tries(""), "wrong"
        v.qmp.ok("change-vnc-password", password="longer than eight")
        assert tries("longer t") and not tries("secret"), "eight bytes count"
        v.qmp.ok("expire_password", protocol="vnc", time="now")
        assert not tries("longer t"), "expired"
        v.qmp.ok("expire_password", protocol="vnc", time="+3600")
        assert tries("longer t")
        v.qmp.hmp("set_password vnc \"\"")
        v.qmp.ok("set_password", protocol="vnc", password="")
        assert not tries(""), "an empty password is none"
        try:
            Rfb(SOCK)
            raise AssertionError("in without authentication")
        except AssertionError as e:
            assert "without" not in str(e), e


@test("password-secret=: a password from the start")
def secrets():
    secret = ("-object", "secret,id=s,data=hush")
    with up(*secret, opts=",password-secret=s") as v:
        Rfb(SOCK, password="hush").close()
        try:
            Rfb(SOCK, password="hus").close()
            raise AssertionError("in with another password")
        except rfb.Refused:
            pass
        same(v.qmp.ok("query-vnc")["auth"], "vnc")
        v.qmp.ok("set_password", protocol="vnc", password="later")
        Rfb(SOCK, password="later").close()
    for opts, more in ((",password-secret=no", ()), (",password-secret=s,password=on", secret), (",password-secret=r", ("-object", "iothread,id=r")),
                       (",password-secret=b", ("-object", "secret,id=b,data=//79,format=base64")), (",to=3", ())):
        theirs, ours = (vm.run([*BASE, "-display", "none", *more, "-vnc", f"unix:{SOCK}{opts}"], binary=b).err.rpartition("qemu-system-x86_64: ")[2]
                        for b in (vm.oracle(), None))
        same(ours, theirs, opts)


@test("a viewer that does not share is alone, or refused, or ignored")
def sharing():
    for mode, survives, admitted in (("allow-exclusive", False, True), ("force-shared", True, False), ("ignore", True, True)):
        with up(opts=f",share={mode}") as v:
            first = Rfb(SOCK)
            second = Rfb(SOCK)  # shares
            first.update()
            v.qmp.event("VNC_INITIALIZED")
            v.qmp.event("VNC_INITIALIZED")
            try:
                third = Rfb(SOCK, shared=False)
                third.update()
                assert admitted, "a viewer that does not share is in"
            except (EOFError, ConnectionError):
                assert not admitted, "a viewer that does not share is out"
            if survives:
                first.update()
                second.update()
            else:
                assert first.gone() and second.gone()
            until("the number of viewers", lambda: len(v.qmp.ok("query-vnc")["clients"]) == (2 if survives else 0) + admitted)


@test("32 viewers are enough")
def many():
    with up() as v:
        all = [Rfb(SOCK) for _ in range(32)]
        s = socket.socket(socket.AF_UNIX)
        s.connect(SOCK)
        s.settimeout(60)
        same(s.recv(12), b"")
        for c in all[:2]:
            c.update()
        for c in all:
            c.close()
        until("the end of all", lambda: not v.qmp.ok("query-vnc")["clients"])
        Rfb(SOCK).update()


# ---- pixels ----

class Vga:
    """Bochs' VBE ports and the memory behind them."""

    def __init__(self, v, slot=4):
        self.v, self.q = v, v.qtest
        f = Function(self.q, 0, slot, 0)
        f.map()
        self.at = f.bars[0].at

    def page(self, y):
        """The picture begins at this row of the memory."""
        self.q.outw(0x1ce, 9)
        self.q.outw(0x1cf, y)

    def mode(self, width, height):
        for i, value in ((4, 0), (1, width), (2, height), (3, 32), (4, 0x41)):
            self.q.outw(0x1ce, i)
            self.q.outw(0x1cf, value)
        self.q.inb(0x3da)
        self.q.outb(0x3c0, 0x20)  # the screen is on
        self.width, self.height = width, height

    def paint(self, x, y, w, h, seed):
        rows = []
        for r in range(h):
            row = b"".join(struct.pack("<I", (seed * 0x10101 + (y + r) * 0x301 + (x + c) * 7) & 0xffffff) for c in range(w))
            self.q.write(self.at + 4 * ((y + r) * self.width + x), row)
            rows.append(row)
        return rows


def picture(v):
    """What screendump says, as x8r8g8b8."""
    path = f"{tmp.name}/shot.ppm"
    v.qmp.ok("screendump", filename=path)
    with open(path, "rb") as f:
        data = f.read()
    head, size, depth, rgb = data.split(b"\n", 3)
    same((head, depth), (b"P6", b"255"))
    out = bytearray(len(rgb) // 3 * 4)
    out[0::4], out[1::4], out[2::4] = rgb[2::3], rgb[1::3], rgb[0::3]
    return tuple(map(int, size.split())), bytes(out)


def sees(c, v, size):
    """Reads updates until the viewer's pixels are the screen's."""
    def settled():
        c.request(True)
        while not c.quiet(0.3):
            c.message()
        return (c.width, c.height) == size and (size, bytes(c.pixels)) == picture(v)
    until(f"picture of {size}, the viewer has {c.width}x{c.height}", settled)


@test("raw pixels are the screen's, also what changes, after a resize, and for who comes later")
def pixels():
    with up("-device", "VGA,addr=4", qtest=True) as v:
        vga = Vga(v)
        vga.mode(640, 480)
        vga.paint(0, 0, 640, 480, 1)
        c = Rfb(SOCK)
        c.update()
        sees(c, v, (640, 480))
        assert len(set(c.pixels)) > 100, "nothing painted"
        rows = vga.paint(100, 50, 64, 8, 77)
        sees(c, v, (640, 480))
        at = 4 * (50 * 640 + 100)
        same(bytes(c.pixels[at:at + 256]), rows[0], "the row that was painted")
        vga.mode(800, 600)
        vga.paint(0, 0, 800, 600, 5)
        sees(c, v, (800, 600))
        late = Rfb(SOCK)
        late.update()
        sees(late, v, (800, 600))
        old = Rfb(SOCK, encodings=(rfb.RAW, rfb.DESKTOP_SIZE))
        old.update()
        vga.mode(320, 200)
        vga.paint(0, 0, 320, 200, 9)
        for each in (c, late, old):
            sees(each, v, (320, 200))


def viewer(package, library=None):
    """A viewer from Debian, unpacked and not installed: its folder and environment."""
    try:
        import images
        root = images.unpack(images.resolve(package, None), None)
        lib = images.unpack(images.resolve(library, None), None) if library else root
    except Exception as e:
        raise Skip(f"{package} cannot be had: {e}") from None
    return f"{root}/usr/bin", dict(os.environ, LD_LIBRARY_PATH=f"{lib}/usr/lib/x86_64-linux-gnu")


def capture(command, env):
    r = subprocess.run(command, env=env, capture_output=True, text=True, timeout=vm.TIMEOUT, check=False)
    if r.returncode == 127:
        raise Skip(f"{command[0]}: {r.stderr.strip()}")
    assert r.returncode == 0, f"{command}: {r.stdout}{r.stderr}"


def png(path):
    """Width, height and x8r8g8b8 of a PNG of 8 bits with or without alpha (PNG 1.2, 6.3)."""
    with open(path, "rb") as f:
        data = f.read()
    at, packed, size = 8, b"", None
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            same((depth, colour in (2, 6)), (8, True))
            size, bpp = (width, height), 3 + (colour == 6)
        packed += body if kind == b"IDAT" else b""
        at += 12 + n
    raw, out, before = zlib.decompress(packed), bytearray(), bytes(width * bpp)
    for y in range(height):
        line = bytearray(raw[y * (width * bpp + 1) + 1:(y + 1) * (width * bpp + 1)])
        how = raw[y * (width * bpp + 1)]
        for i, up_ in enumerate(before):
            left, corner = (line[i - bpp], before[i - bpp]) if i >= bpp else (0, 0)
            p = left + up_ - corner
            paeth = min((left, up_, corner), key=lambda v: abs(p - v))
            line[i] = (line[i] + (0, left, up_, (left + up_) // 2, paeth)[how]) & 255
        for x in range(width):
            out += bytes((line[x * bpp + 2], line[x * bpp + 1], line[x * bpp], 0))
        before = bytes(line)
    return size, bytes(out)


@test("Debian's gvnccapture and vncsnapshot")
def debian_viewers():
    if not os.environ.get("VIRTUE_FULL"):
        raise Skip("with VIRTUE_FULL=1: packages are looked for")
    gvnc, gvnc_env = viewer("gvncviewer", "libgvnc-1.0-0")
    snap, snap_env = viewer("vncsnapshot")
    display, out = rfb.port(), f"{tmp.name}/out"
    with Vm(["-M", "pc", "-nodefaults", "-accel", "qtest", "-vnc", f"127.0.0.1:{display}", "-device", "VGA,addr=4"], qtest=True) as v:
        vga = Vga(v)
        vga.mode(320, 200)
        vga.paint(0, 0, 320, 200, 3)
        capture([f"{gvnc}/gvnccapture", f"127.0.0.1:{display}", f"{out}.png"], gvnc_env)
        same(png(f"{out}.png"), picture(v), "gvnccapture's picture")
        capture([f"{snap}/vncsnapshot", "-quiet", f"127.0.0.1:{display}", f"{out}.jpg"], snap_env)
        with open(f"{out}.jpg", "rb") as f:
            data = f.read()
        assert re.search(rb"\xff\xc0\0\x11\x08" + struct.pack(">HH", 200, 320), data), "not a JPEG of 320x200"


def answer_to(c, width, height):
    """Reason and status of what a wish is answered, and the size that comes with it."""
    c.resizes.clear()
    c.wish(width, height)
    until("an answer", lambda: c.request(True) or c.message() and c.resizes)
    return c.resizes[-1]


def follows(c, size):
    """The viewer has this size, without having asked."""
    until(f"{size}, the viewer has {c.width}x{c.height}", lambda: (c.width, c.height) == size or c.request(True) or c.message())


@test("the size a viewer asks for is passed on, or refused as QEMU does")
def wish():
    for device in ((), ("-device", "VGA"), ("-device", "virtio-vga"), ("-device", "virtio-gpu-pci")):
        said = []
        for binary in (None, vm.oracle()):
            with Vm([*BASE, "-vnc", f"unix:{SOCK}", *device], binary=binary) as v:
                c = Rfb(SOCK)
                c.update()
                said.append([answer_to(c, *size) for size in ((800, 600), (1024, 768), (0, 0))][:3 if len(device) == 0 or "VGA" in device else 2])
                c.close()
        same(said[0], said[1], f"{device}: reason, status, size")


@test("both ways on VGA: the guest's modes reach the viewer, its wishes change nothing")
def resize_vga():
    with up("-device", "VGA,addr=4", qtest=True) as v:
        vga, c = Vga(v), Rfb(SOCK)
        c.update()
        for size in ((800, 600), (1024, 768), (320, 200)):
            vga.mode(*size)
            follows(c, size)
            same(answer_to(c, 1280, 1024), (1, 3, *size), "refused")
            sees(c, v, size)


@test("both ways on virtio-vga: the guest hears of wishes and follows, or does as it likes")
def resize_gpu():
    for device in ("virtio-vga", "virtio-gpu-pci"):
        with up("-device", f"{device},addr=4", qtest=True) as v:
            gpu = Gpu(v)
            c, other = Rfb(SOCK), Rfb(SOCK)
            c.update()
            for number, (asked, size) in enumerate((((1024, 600), (1024, 600)), ((640, 400), (640, 400)), (None, (200, 100)), ((800, 600), (300, 200))), 1):
                if asked:
                    same(answer_to(c, *asked), (1, 4, c.width, c.height), "passed on, and nothing changes before the guest does")
                    until("the guest's event", lambda: gpu.dev.get(0, 4, DEVICE) & 1)  # VIRTIO_GPU_EVENT_DISPLAY: VIRTIO 1.4, 5.7.4
                    same(gpu.monitor(0), (1, *asked), "the monitor")
                    gpu.dev.put(4, 4, 1, DEVICE)
                gpu.resource(number, *size, struct.pack("<I", number * 0x123456) * (size[0] * size[1]))
                gpu.show(0, number, *size)
                for viewer in (c, other):
                    follows(viewer, size)
                    sees(viewer, v, size)


@test("display= and head= say what a server shows")
def heads():
    with Vm(["-M", "pc", "-nodefaults", "-accel", "qtest", "-device", "VGA,addr=3", "-device", "virtio-gpu-pci,id=g,addr=4,max_outputs=2",
             "-vnc", f"unix:{SOCK}", "-vnc", f"unix:{SOCK}0,display=g", "-vnc", f"unix:{SOCK}1,id=last,display=g,head=1"], qtest=True) as v:
        gpu, sizes = Gpu(v), [(64, 48), (80, 40)]
        pictures = [struct.pack(f"<{w * h}I", *[(n + 1) * 0x12345 * (i + 1) & 0xffffff for i in range(w * h)]) for n, (w, h) in enumerate(sizes)]
        viewers = [Rfb(f"{SOCK}{n}") for n in range(2)]
        for n, size in enumerate(sizes):
            gpu.resource(n + 1, *size, pictures[n])
            gpu.show(n, n + 1, *size)
        for n, c in enumerate(viewers):
            def settled():
                c.request(True)
                while not c.quiet(0.3):
                    c.message()
                return (c.width, c.height) == sizes[n] and bytes(c.pixels) == pictures[n]
            until(f"head {n}", settled)
        first = Rfb(SOCK)
        first.update()
        assert (first.width, first.height) not in sizes, "the first display is the VGA"
        same([s["id"] for s in v.qmp.ok("query-vnc-servers")], ["default", "vnc2", "last"], "names")
        for c in (first, *viewers):
            c.close()
    for opts in ("display=g,head=2", "display=no", "display=g,head=x"):
        args = ["-M", "pc", "-nodefaults", "-display", "none", "-accel", "tcg", "-device", "virtio-gpu-pci,id=g", "-vnc", f"unix:{SOCK},{opts}"]
        theirs, ours = (vm.run(args, binary=b).err.rpartition("qemu-system-x86_64: ")[2].strip() for b in (vm.oracle(), None))
        same(ours, theirs, opts)


@test("the shape of the guest's pointer")
def cursor():
    with up("-device", "virtio-gpu-pci,addr=4", qtest=True) as v:
        gpu = Gpu(v)
        shape = [(0xff000000 if x > y else 0) | x * 0x30005 + y * 0x500 for y in range(64) for x in range(64)]
        gpu.resource(1, 64, 64, struct.pack("<4096I", *shape))
        c = Rfb(SOCK)
        c.update()
        gpu.pointer(0, 10, 10, 1, hot=(3, 5))

        def shown():
            c.request(True)
            while not c.quiet(0.2):
                c.message()
            return c.cursor and c.cursor[2] == 64
        until("the shape", shown)
        x, y, w, h, pixels, mask = c.cursor
        same((x, y, w, h), (3, 5, 64, 64), "hot spot and size")
        for i, argb in enumerate(shape):
            bit = mask[i // 64 * 8 + i % 64 // 8] >> (7 - i % 8) & 1
            same(bit, argb >> 31, f"mask at {i % 64},{i // 64}")
            if bit:
                same(struct.unpack_from("<I", pixels, 4 * i)[0] & 0xffffff, argb & 0xffffff, f"colour at {i % 64},{i // 64}")


# ---- input ----

def wire(v, expected):
    """Waits for as many events as expected, and compares."""
    d, got = v.driver, []
    until(f"{expected}, got {got}", lambda: got.extend(d.take()) or len(got) >= len(expected))
    same(got, expected)


def keyboard_machine(*args):
    v = up("-device", "virtio-keyboard-pci,addr=4", *args, qtest=True)
    v.driver = Virtio(v)
    return v


def pressed(*codes):
    return [e for code, down in codes for e in ((1, code, down), (0, 0, 0))]


@test("keys by keysym and by scan code, and what a viewer held is released when it goes")
def keys():
    with keyboard_machine() as v:
        c = Rfb(SOCK, encodings=(rfb.RAW, rfb.EXT_KEY))
        for keysym, code in ((0x61, 30), (0x41, 30), (0xff0d, 28), (0xffe1, 42), (0xff51, 105), (0x3c, 51), (0x7e, 41), (0xffbe, 59)):
            c.key(keysym, True)
            c.key(keysym, False)
            wire(v, pressed((code, 1), (code, 0)))
        c.update()
        assert c.ext_key
        c.scan_code(0x61, 0x9d, 1)  # right control, whatever the keysym says
        c.scan_code(0x61, 0x9d, 0)
        wire(v, pressed((97, 1), (97, 0)))
        c.key(0x61, True)  # "a" pressed, "A" released: the same key
        c.key(0x41, False)
        wire(v, pressed((30, 1), (30, 0)))
        c.key(0x41, False)  # nobody holds it
        c.key(0xffe3, True)
        c.key(0x63, True)
        wire(v, pressed((29, 1), (46, 1)))
        c.close()
        got = []
        until("releases", lambda: got.extend(v.driver.take()) or len(got) >= 3)
        same(sorted(e for e in got if e[0] == 1), [(1, 29, 0), (1, 46, 0)])


@test("keys on a keyboard of another country")
def layouts():
    for layout, pairs in (("de", ((0x79, 44), (0x7a, 21), (0xfc, 26), (0xdf, 12), (0x20ac, 18), (0x40, 16), (0x3c, 86))),
                          ("fr", ((0x61, 16), (0x31, 2), (0xe9, 3), (0x6d, 39), (0x2c, 50))), ("en-gb", ((0xa3, 4), (0x23, 43)))):
        with keyboard_machine("-k", layout) as v:
            c = Rfb(SOCK)
            for keysym, code in pairs:
                c.key(keysym, True)
                c.key(keysym, False)
                wire(v, pressed((code, 1), (code, 0)))
            c.close()


@test("an absolute and a relative pointer, its buttons and wheel")
def pointers():
    with up("-device", "virtio-tablet-pci,addr=4", qtest=True) as v:
        v.driver = Virtio(v)
        c = Rfb(SOCK)
        c.pointer(639, 0, 0)
        wire(v, [(3, 0, 32767), (3, 1, 0), (0, 0, 0)])
        c.pointer(0, 479, 1)
        wire(v, [(3, 0, 0), (3, 1, 32767), (1, 272, 1), (0, 0, 0)])
        c.pointer(0, 479, 8)
        wire(v, [(3, 0, 0), (3, 1, 32767), (1, 272, 0), (2, 8, 1), (0, 0, 0)])
        c.close()
    with up("-device", "virtio-mouse-pci,addr=4", qtest=True) as v:
        v.driver = Virtio(v)
        c = Rfb(SOCK)
        c.pointer(100, 100, 0)
        c.pointer(90, 120, 2)
        wire(v, [(2, 0, -10), (2, 1, 20), (1, 274, 1), (0, 0, 0)])
        c.close()  # lets the button go
        wire(v, [(1, 274, 0), (0, 0, 0)])


# ---- viewers that mean no good ----

def hello(s, upto=4):
    """Some steps of the handshake."""
    s.settimeout(60)
    steps = [(12, b"RFB 003.008\n"), (2, b"\1"), (4, b"\1"), (24, b"")]
    for n, answer in steps[:upto]:
        got = b""
        while len(got) < n:
            more = s.recv(n - len(got))
            if not more:
                return
            got += more
        s.sendall(answer)


def raw():
    s = socket.socket(socket.AF_UNIX)
    s.connect(SOCK)
    return s


@test("a viewer that asks and never reads costs bounded memory and nobody's time")
def never_reads():
    with up() as v:
        good = Rfb(SOCK)
        good.update()
        bad = [raw() for _ in range(4)]
        for s in bad:
            hello(s)
            s.setblocking(False)
        before, ask, trips = rss(v), struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480) * 100, []
        for turn in range(100):
            for s in bad:
                try:
                    s.send(ask)
                except BlockingIOError:
                    pass
            start = time.monotonic()
            v.qmp.ok("query-status")
            trips.append(time.monotonic() - start)
            if turn % 10 == 0:
                good.update()
        print(f"# QMP answers in {1000 * sorted(trips)[50]:.2f} ms (median), {(rss(v) - before) >> 10} KiB more memory")
        assert rss(v) - before < 48 << 20, f"{(rss(v) - before) >> 20} MiB more"
        for s in bad:
            s.close()
        good.update()


def cpu_time(v):
    with open(f"/proc/{v.p.pid}/stat", encoding="utf-8") as f:
        t = f.read().rpartition(")")[2].split()
    return (int(t[11]) + int(t[12])) / os.sysconf("SC_CLK_TCK")


@test("raw pictures of 1280x800, ten a second, take less than 30 % of a core")
def pace():
    frames = 50
    with up("-device", "VGA,addr=4", qtest=True) as v:
        vga = Vga(v)
        vga.mode(1280, 800)
        for page in range(2):
            v.qtest.cmd(f"memset {vga.at + page * 4 * 1280 * 800:#x} {4 * 1280 * 800:#x} {0x40 + page:#x}")
        c = Rfb(SOCK)
        c.update()
        start = cpu_time(v)
        for n in range(frames):
            vga.page(800 * (n & 1))
            want = bytes([0x40 + (n & 1)]) * 3
            while c.pixels[:3] != want or c.pixels[-4:-1] != want:
                c.request(True)
                c.message()
        each = (cpu_time(v) - start) / frames
        print(f"# {1000 * each:.1f} ms of CPU time a picture")
        # A sanitizer's share is not ours.
        assert each * 10 < 0.3 or "TSAN_OPTIONS" in os.environ, f"{each * 1000:.1f} ms of CPU time a picture"


@test("the main thread neither reads from viewers nor writes to them")
def main_thread():
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    with up("-device", "VGA,addr=4", qtest=True) as v:
        vga, log = Vga(v), f"{tmp.name}/strace"
        vga.mode(640, 480)
        good, bad = Rfb(SOCK), raw()
        good.update()
        hello(bad)
        bad.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480) * 50)
        p = subprocess.Popen(["strace", "-yy", "-o", log, "-p", str(v.p.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = p.stderr.readline()
        if "attached" not in said:
            raise Skip(f"strace cannot trace here: {said.strip()}")
        for n in range(20):
            v.qtest.cmd(f"memset {vga.at:#x} {4 * 640 * 480:#x} {n:#x}")
            good.update(True)
            good.key(0x61, True)
            good.key(0x61, False)
            good.pointer(n, n, n & 1)
            v.qmp.ok("query-vnc")
        p.terminate()
        p.wait()
        with open(log, encoding="utf-8") as f:
            calls = f.read().splitlines()
        mine = [l for l in calls if re.match(r"(read|write|recv|send|poll|select|splice)\w*\(", l) and SOCK in l]
        assert len(calls) > 60, "nothing was traced"
        assert not mine, mine[:5]
        bad.close()


@test("keys of a viewer that reads a byte at a time")
def slow_reader():
    with keyboard_machine() as v:
        s = raw()
        hello(s)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        for down in (1, 0):
            s.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480) + struct.pack(">BBxxI", 4, down, 0x61))
        for n in (1, 1, 100, 1):
            assert s.recv(n)
        done = threading.Thread(target=lambda: [None for _ in iter(lambda: s.recv(4096), b"")], daemon=True)
        done.start()
        wire(v, pressed((30, 1), (30, 0)))
        s.shutdown(socket.SHUT_RDWR)
        done.join()
        s.close()


@test("half messages at each step, then the end; giant lengths; nonsense")
def half():
    with up(opts=",share=ignore") as v:
        good = Rfb(SOCK)
        for step in range(5):
            for extra in (b"", b"\0", b"R", b"\2\0\xff\xff", b"\4", b"\5\0\0", b"\6\0\0\0\xff\xff\xff\xff", b"\xfb\0\xff\xff\xff\xff\xff\0",
                          b"\xff\0\0", b"\xff\7" + bytes(10), b"\7" + bytes(20), b"\x0f\0", b"\xfa\0\1\3", b"\x08" + b"\0" * 3):
                s = raw()
                hello(s, step)
                s.sendall(extra)
                s.close()
        good.update()
        until("the end of all", lambda: len(v.qmp.ok("query-vnc")["clients"]) == 1)


@test("random messages in random order")
def random_messages():
    seed = os.environ.get("VNC_SEED") or (os.urandom(4).hex() if os.environ.get("VIRTUE_FULL") else "7")
    rnd = random.Random(seed)
    kinds = {0: 19, 2: 3, 3: 9, 4: 7, 5: 5, 6: 7, 8: 3, 11: 1, 251: 7, 255: 11, 15: 1, 250: 3, 7: 11}
    rounds = int(os.environ.get("VNC_ROUNDS") or (5000 if os.environ.get("VIRTUE_FULL") else 60))
    end = time.monotonic() + float(os.environ.get("VNC_SECONDS", 0))
    with up("-device", "virtio-tablet-pci", "-device", "virtio-keyboard-pci", "-device", "VGA,addr=7", opts=",share=ignore", qtest=True) as v:
        vga = Vga(v, 7)
        vga.mode(1600, 1200)
        good, served, before = Rfb(SOCK), 0, 0
        while served < rounds or time.monotonic() < end:
            served += 1
            if served == 50:
                before = rss(v)
            if rnd.random() < .2:  # under the viewers that are there
                vga.mode(8 * rnd.randrange(1, 201), rnd.randrange(1, 1201))
            s = raw()
            hello(s, rnd.choice((1, 2, 3, 4, 4, 4, 4, 4)))
            data = b""
            for _ in range(rnd.randrange(40)):
                kind = rnd.choice(list(kinds)) if rnd.random() < .95 else rnd.randrange(256)
                body = bytearray(rnd.choice((rnd.randbytes(kinds.get(kind, 3)), bytes(kinds.get(kind, 3)))))
                if kind == 2:
                    body[1:3] = struct.pack(">H", rnd.randrange(12))
                    body += b"".join(struct.pack(">i", rnd.choice((0, 1, 2, 5, 6, 7, 15, 16, 17, -223, -224, -232, -239, -240, -258, -261,
                                                                   -308, -32, -256, -200, rnd.randrange(-400, 100)))) for _ in range(body[2]))
                elif kind == 0 and rnd.random() < .8:
                    body = bytearray(b"\0\0\0" + bytes([rnd.choice((8, 16, 32, 24, 0, 1)), rnd.randrange(40), rnd.randrange(3),
                                                        rnd.randrange(3)]) + rnd.randbytes(9) + b"\0\0\0")
                elif kind == 6 and rnd.random() < .8:
                    n = rnd.randrange(300)
                    body = bytearray(b"\0\0\0" + struct.pack(">I", n) + rnd.randbytes(n))
                elif kind == 3 and rnd.random() < .7:
                    body = bytearray(bytes([rnd.randrange(2)]) + struct.pack(">HHHH", 0, 0, 640, 480))
                data += bytes([kind]) + body
            s.setblocking(False)
            try:
                s.send(data)
                s.recv(1 << 16)
            except OSError:
                pass
            s.close()
            if v.p.poll() is not None:
                raise AssertionError(f"VNC_SEED={seed}: died: {v.p.returncode}\n{v.text()}")
        good.update()
        until("the end of all", lambda: len(v.qmp.ok("query-vnc")["clients"]) == 1)
        print(f"# {served} viewers, {(rss(v) - before) >> 10} KiB more than after the first 50")
        assert rss(v) - before < 64 << 20, "memory grows"
        v.qmp.ok("query-status")


@test("no library of viewers without -vnc")
def loads_nothing():
    def maps(v):
        with open(f"/proc/{v.p.pid}/maps") as f:
            return f.read()
    with Vm(BASE) as v:
        assert "vncserver" not in maps(v)
    with up() as v:
        assert "vncserver" in maps(v)


vm.main()

"""virtio-gpu and virtio-vga with Linux's driver: patterns drawn through DRM are read back pixel for pixel by screendump (PPM and PNG) and
by VNC viewers, again after the viewer's window changed its size, on two heads, with the hardware's pointer; EDID as edid-decode reads it."""
import os
import re
import subprocess
import sys
import tempfile

import evdev
import images
from guest import Guest, Skip
from packages import unpack

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../system")
import picture  # noqa: E402
import rfb  # noqa: E402
MODULES = [*images.MODULES, "evdev", "virtio_input", "virtio_gpu"]
CURSOR = 64


def mix(v):
    v = v * 2654435761 & 0xffffffff
    return v ^ v >> 15


def pattern(seed, x, y, width, height):
    """What drmtool draws there: rows of x8r8g8b8."""
    across = int.from_bytes(b"".join((mix(i + seed * 65536) & 0xffffff).to_bytes(4, "little") for i in range(x, x + width)), "little")
    rows = (int.from_bytes((mix(i + seed * 131071) & 0xffffff).to_bytes(4, "little") * width, "little") for i in range(y, y + height))
    return [(across ^ row).to_bytes(4 * width, "little") for row in rows]


class Picture:
    """What a head has to show."""

    def __init__(self, width, height, seed):
        self.width, self.height, self.rows = width, height, pattern(seed, 0, 0, width, height)

    def part(self, seed, x, y, width, height):
        for i, row in enumerate(pattern(seed, x, y, width, height)):
            old = self.rows[y + i]
            self.rows[y + i] = old[:4 * x] + row + old[4 * (x + width):]

    def wrong(self, width, height, rows):
        """None, or where rows differ first."""
        if (width, height) != (self.width, self.height):
            return f"{width}x{height} instead of {self.width}x{self.height}"
        for y, (want, got) in enumerate(zip(self.rows, rows)):
            got = bytes(b if i % 4 < 3 else 0 for i, b in enumerate(got)) if got != want else got
            if got != want:
                x = next(i for i in range(width) if got[4 * i:4 * i + 4] != want[4 * i:4 * i + 4])
                return f"pixel {x}, {y}: {got[4 * x:4 * x + 4].hex()} instead of {want[4 * x:4 * x + 4].hex()}"
        return None


def widen(rgb):
    """A row of 24-bit RGB as x8r8g8b8."""
    out = bytearray(len(rgb) // 3 * 4)
    out[0::4], out[1::4], out[2::4] = rgb[2::3], rgb[1::3], rgb[0::3]
    return bytes(out)


class Drm:
    """drmtool in the guest, spoken to over the serial console."""

    def __init__(self, g):
        self.g = g
        g.send("drmtool\n")
        self.heads = int(g.expect(r"ok drmtool (\d+) heads", 60)[1])

    def do(self, line):
        start = self.g.at
        self.g.send(line + "\n")
        m = self.g.expect(rf"ok {line.split()[0]}\r?\n|failed [^\n]*\n", 120)
        if m[0].startswith("failed"):
            raise AssertionError(f"{line}: {m[0].strip()}")
        return self.g.text[start:m.start()].replace("\r", "")

    def modes(self, head):
        """(connected, the modes, the preferred ones with a star)"""
        m = re.search(rf"^head {head} (\w+)((?: \d+x\d+\*?)*)$", self.do("heads"), re.M)
        return m[1] == "connected", m[2].split()


class Head:
    """One head as everybody sees it."""

    def __init__(self, g, drm, viewer, folder, head):
        self.g, self.drm, self.viewer, self.folder, self.head = g, drm, viewer, folder, head
        self.picture = None

    def draw(self, width, height, seed):
        self.drm.do(f"show {self.head} {seed} {width} {height}")
        self.picture = Picture(width, height, seed)

    def part(self, *where):
        self.drm.do(f"part {self.head} {' '.join(map(str, where))}")
        self.picture.part(*where)

    def dump(self, kind):
        path = f"{self.folder}/dump.{kind}"
        self.g.qmp("screendump", filename=path, device="gpu", head=self.head, format=kind)
        width, height, rows = getattr(picture, kind)(path)
        return self.picture.wrong(width, height, [widen(row) for row in rows])

    def seen(self):
        """None when the viewer sees it, within a few updates: it has its own pace."""
        for i in range(20):
            self.viewer.update(incremental=i > 0)
            v = self.viewer
            bad = self.picture.wrong(v.width, v.height, [bytes(v.pixels[4 * v.width * y:4 * v.width * (y + 1)]) for y in range(v.height)])
            if not bad:
                return None
        return bad

    def same(self, what, kinds=("ppm",)):
        """Steps: files and the viewer show the picture."""
        for kind in kinds:
            bad = self.dump(kind)
            yield f"{what}: {kind}", not bad, bad
        bad = self.seen()
        yield f"{what}: VNC", not bad, bad


def edid(g):
    """What edid-decode says of each connected head's EDID."""
    rc, out = g.shell("for f in /sys/class/drm/card0-*/edid; do echo edid $(hexdump -ve '1/1 \"%02x\"' $f); done", 60)
    tool = unpack("edid-decode") + "/usr/bin/edid-decode"
    return [subprocess.run([tool], input=bytes.fromhex(m[1]), capture_output=True, check=False).stdout.decode()
            for m in re.finditer(r"^edid ([0-9a-f]+)\r?$", out, re.M)]


def monitor(text, width, height):
    """None, or what is wrong with the decoded monitor."""
    wanted = ["Manufacturer: RHT", "Model: 4660", "Display Product Name: 'QEMU Monitor'", rf"DTD 1: +{width}x{height} ", "Checksum: 0x[0-9a-f]+$"]
    missing = [w for w in wanted if not re.search(w, text, re.M)]
    for w, h in ((1920, 1080), (1600, 1200), (1024, 768), (800, 600), (640, 480)):
        if not re.search(rf" {w}x{h} ", text):
            missing.append(f"{w}x{h}")
    if "should be" in text:
        missing.append("checksum")
    return f"no {missing} in:\n{text}" if missing else None


def pointer(viewer, seed):
    """None, or how the viewer's pointer differs from the guest's: even lines are opaque, the others are not there."""
    for _ in range(20):
        if viewer.cursor and viewer.cursor[:4] == (3, 5, CURSOR, CURSOR):
            break
        viewer.update(incremental=False)
    if not viewer.cursor:
        return "no pointer"
    x, y, w, h, pixels, mask = viewer.cursor
    if (x, y, w, h) != (3, 5, CURSOR, CURSOR):
        return f"{w}x{h}, hot spot {x}, {y}"
    if mask != (b"\xff" * 8 + bytes(8)) * (CURSOR // 2):
        return f"mask {mask.hex()}"
    for i, row in list(enumerate(pattern(seed, 0, 0, CURSOR, CURSOR)))[::2]:
        got = bytes(b if k % 4 < 3 else 0 for k, b in enumerate(pixels[256 * i:256 * (i + 1)]))
        if got != row:
            return f"line {i}: {got.hex()} instead of {row.hex()}"
    return None


def resize(h, width, height, seed):
    """The viewer's window changes: the guest hears of it and draws in the new mode."""
    h.viewer.wish(width, height)
    h.drm.do("hotplug")
    connected, modes = h.drm.modes(h.head)
    yield f"head {h.head}: {width}x{height} is wished for", connected and f"{width}x{height}*" in modes, modes
    h.draw(width, height, seed)
    yield from h.same(f"head {h.head}, resized", ("ppm", "png") if width * height < 400000 else ("ppm",))


def pointers(g, viewers):
    """Steps: each head has a tablet of its own; what its viewer points at, and what QMP sends to it, arrives there alone."""
    for i, v in enumerate(viewers):
        w = evdev.Watch(g, f"tablet{i}")
        v.pointer(v.width - 1, v.height - 1, 1)
        v.pointer(0, 0, 0)
        bad = w.until((3, 0, 0x7fff), (3, 1, 0x7fff), (1, 272, 1), evdev.SYN, (3, 0, 0), (3, 1, 0), (1, 272, 0), evdev.SYN)
        yield f"the tablet of viewer {i}", not bad, bad
        for to in range(len(viewers)):
            g.qmp("input-send-event", device="gpu", head=to, events=[evdev.absolute("x", 1000 + to), evdev.absolute("y", 2000 + to)])
        bad = w.until((3, 0, 1000 + i), (3, 1, 2000 + i), evdev.SYN)
        yield f"the tablet of head {i}", not bad, bad
        w.end()


def boot(binary, machine, device, folder, heads):
    os.environ["C_INCLUDE_PATH"] = f"{unpack('libdrm-dev')}/usr/include/libdrm"
    kernel = images.Kernel("linux-image-amd64")  # the cloud kernel has no graphics
    tools = [(f"bin/{n}", images.program(f"{HERE}/{n}.c"), 0o755) for n in ("drmtool", "evtool")]
    viewers = [a for i in range(heads) for a in ("-vnc", f"unix:{folder}/vnc{i},display=gpu,head={i}",
                                                 "-device", f"virtio-tablet-pci,display=gpu,head={i},serial=tablet{i}")]
    return Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "384", "-smp", "1", "-kernel", kernel.image, "-initrd",
                          images.initramfs(kernel, modules=MODULES, extra=tools), "-append", "console=ttyS0 quiet panic=-1", "-no-reboot",
                          "-device", f"{device},id=gpu,max_outputs={heads}", *viewers])


def look(binary, machine, device, heads=2, more=False):
    if not evdev.has_vnc(binary):
        raise Skip("built without VNC")
    with tempfile.TemporaryDirectory(prefix="virtue-gpu-") as d, boot(binary, machine, device, d, heads) as g:
        evdev.ready(g)
        texts = edid(g)
        bad = monitor(texts[0], 1280, 800) if texts else "none"
        yield "EDID", not bad, bad
        viewers = [rfb.Rfb(f"{d}/vnc{i}") for i in range(heads)]
        yield from pointers(g, viewers)
        drm = Drm(g)
        views = [Head(g, drm, v, d, i) for i, v in enumerate(viewers)]
        first, last = views[0], views[-1]
        connected, modes = drm.modes(0)
        yield "the first head's mode", drm.heads == heads and connected and modes[0] == "1280x800*", modes
        first.draw(1280, 800, 1)
        yield from first.same("head 0")
        first.part(9, 200, 100, 300, 50)
        yield from first.same("a part")
        yield from resize(first, 640, 480, 2)
        if heads > 1:
            yield from resize(last, 800, 608, 3)
            bad = first.dump("ppm")
            yield "the first head is what it was", not bad, bad
        drm.do("cursor 0 7 3 5")
        drm.do("move 0 100 50")
        bad = pointer(first.viewer, 7)
        yield "the pointer's shape", not bad, bad
        bad = first.dump("ppm")  # viewers draw it
        yield "screendump leaves the pointer out", not bad, bad
        if more:
            for i, (w, h) in enumerate(((640, 480), (1920, 1080), (2560, 1440), (1280, 800))):
                yield from resize(last, w, h, 20 + i)
            drm.do("nocursor 0")
            drm.do("off 0")
            first.picture.rows, first.picture.width, first.picture.height = [bytes(4 * 640)] * 480, 640, 480
            bad = first.dump("ppm")
            yield "a head that is off", not bad, bad
        drm.do("quit")
        rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung|virtio_gpu.*(rror|fail)'", 60)
        yield "no complaint", rc != 0, out
        g.send("poweroff -f\n")
        yield "end", g.wait() == 0, g.tail()


TESTS = {"gpu q35": lambda b: look(b, "q35", "virtio-gpu-pci")}
FULL = {"vga pc": lambda b: look(b, "pc", "virtio-vga", heads=1),
        "gpu pc": lambda b: look(b, "pc", "virtio-gpu-pci", heads=4, more=True), "vga q35": lambda b: look(b, "q35", "virtio-vga", more=True),
        "gpu blob": lambda b: look(b, "q35", "virtio-gpu-pci,blob=on", more=True)}

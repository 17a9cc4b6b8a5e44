#!/usr/bin/env python3
"""Pictures of the screen, read as text: glyphs come from the fonts of the programs that drew them (SeaBIOS's VGA BIOS, GRUB's font file,
OVMF's firmware volume), so that nothing of ours decides what a letter looks like."""
import collections
import functools
import lzma
import os
import re
import shutil
import struct
import sys
import tempfile
import time
import uuid

import images
import packages
import userland
from guest import Guest, Timeout
from packages import CACHE

VGABIOS = "/usr/share/seabios/vgabios-stdvga.bin"
LZMA_SECTION = uuid.UUID("EE4E5898-3914-4259-9D6E-DC7BD79403CF")  # UEFI PI 1.7, vol. 3, 3.2.5.2: a GUIDed section
MENU = """{video}
loadfont {font}
set gfxmode={mode}
set timeout=-1
terminal_input serial console
terminal_output gfxterm serial
menuentry "First entry of the menu" {{ {first} }}
menuentry "Second entry of the menu" {{ {second} }}
"""


class Font:
    """glyphs: character to rows of '0' and '1', all as high; advance: pixels from one character to the next, 0 for the glyph's width."""

    def __init__(self, glyphs, advance=0):
        self.glyphs, self.advance = glyphs, advance

    def draw(self, text):
        """Rows of a text, without empty ones above and below."""
        glyphs = [[row.ljust(self.advance, "0") for row in self.glyphs[c]] for c in text]
        return [row for row in ("".join(parts) for parts in zip(*glyphs)) if "1" in row]


def bits(data, width):
    return [f"{row:0{width}b}" for row in data]


@functools.cache
def vga_font():
    """8×16 in the VGA BIOS, found by its letter A; text mode has nine pixels a character."""
    with open(VGABIOS, "rb") as f:
        rom = f.read()
    base = rom.index(bytes.fromhex("000010386cc6c6fec6c6c6c600000000")) - 16 * ord("A")
    return Font({chr(c): bits(rom[base + 16 * c:base + 16 * c + 16], 8) for c in range(32, 127)}, 9)


@functools.cache
def ovmf_font(code):
    """8×19, EFI_NARROW_GLYPHs (UEFI 2.10, 33.3.3) in the compressed volume: code point, attributes, rows."""
    with open(code, "rb") as f:
        volume = f.read()
    at = volume.index(LZMA_SECTION.bytes_le)
    packed = volume[at - 4 + struct.unpack_from("<H", volume, at + 16)[0]:]
    plain = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE).decompress(packed)
    base = re.search(rb"(?s)A\0\0.{19}B\0\0.{19}C\0\0", plain).start() - 22 * (ord("A") - ord("!"))
    glyphs = {}
    for c in range(33, 127):
        code_point, _, rows = struct.unpack_from("<HB19s", plain, base + 22 * (c - 33))
        assert code_point == c, (code_point, c)
        glyphs[chr(c)] = bits(rows, 8)
    return Font({" ": ["0" * 8] * 19, **glyphs})


@functools.cache
def grub_font(path):
    """PFF2 as grub-mkfont writes it: sections, an index of code points, glyphs as boxes above a base line."""
    with open(path, "rb") as f:
        data = f.read()
    at, section = 0, {}
    while at < len(data) and "DATA" not in section:
        name, size = struct.unpack_from(">4sI", data, at)
        section[name.decode()] = data[at + 8:at + 8 + (0 if name == b"DATA" else size)]
        at += 8 + size
    ascent, descent = (struct.unpack(">H", section[n])[0] for n in ("ASCE", "DESC"))
    glyphs = {}
    for code, _, where in struct.iter_unpack(">IBI", section["CHIX"]):
        if code >= 127:
            continue
        width, height, left, up, step = struct.unpack_from(">HHhhh", data, where)
        packed = data[where + 10:where + 10 + (width * height + 7) // 8]
        flat = "".join(f"{b:08b}" for b in packed)[:width * height]
        rows = [("0" * left + flat[y * width:(y + 1) * width]).ljust(step, "0") for y in range(height)]
        above = ascent - up - height
        glyphs[chr(code)] = (["0" * step] * above + rows + ["0" * step] * (ascent + descent))[:ascent + descent]
    return Font(glyphs)


class Picture:
    """A PPM file's pixels."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        m = re.match(rb"P6\n(\d+) (\d+)\n255\n", data)
        self.width, self.height, self.rgb = int(m[1]), int(m[2]), data[m.end():]
        assert len(self.rgb) == 3 * self.width * self.height
        pixels = [self.rgb[i:i + 3] for i in range(0, len(self.rgb), 3)]
        self.colours = [c for c, _ in collections.Counter(pixels).most_common(255)]  # text has few
        number = {c: i for i, c in enumerate(self.colours)}
        self.numbers = bytes(number.get(p, 255) for p in pixels)

    @functools.cached_property
    def masks(self):
        """By colour: rows of the picture, '1' where it has that colour."""
        r = {}
        for i, colour in enumerate(self.colours):
            flat = self.numbers.translate(bytes(ord("1" if n == i else "0") for n in range(256))).decode()
            r[colour] = [flat[y * self.width:(y + 1) * self.width] for y in range(self.height)]
        return r

    def find(self, font, text):
        """Where a text stands, in one colour on any other: (x, y, colour); None: nowhere."""
        rows = font.draw(text)
        for colour, mask in self.masks.items():
            for y in range(self.height - len(rows) + 1):
                x = mask[y].find(rows[0])
                while x >= 0:
                    if all(mask[y + i].startswith(row, x) for i, row in enumerate(rows)):
                        return x, y, colour
                    x = mask[y].find(rows[0], x + 1)
        return None


def shot(g, **which):
    """The screen of a guest with QMP."""
    path = f"{g.dir.name}/screen.ppm"
    g.qmp("screendump", filename=path, **which)
    return Picture(path)


def shows(g, font, texts, timeout=300, **which):
    """Waits until the screen shows all texts; the picture, and where each stands."""
    end, delay = time.monotonic() + timeout, 0.2
    while True:
        picture = shot(g, **which)
        found = {t: picture.find(font, t) for t in texts}
        if all(found.values()):
            return picture, found
        if time.monotonic() > end:
            missing = [t for t in texts if not found[t]]
            if keep := os.environ.get("VIRTUE_PICTURES"):
                shutil.copy(f"{g.dir.name}/screen.ppm", keep)
            raise Timeout(f"the screen ({picture.width}×{picture.height}) does not show {missing}; serial:\n{g.tail(800)}")
        g.pump(delay)
        delay = min(2 * delay, 2)


def seabios(binary, machine, vga):
    """The banner in its corner, grey on black, and what follows below it, in text mode."""
    with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "64", "-vga", vga], stdio_serial=False) as g:
        picture, found = shows(g, vga_font(), ["SeaBIOS (version ", "No bootable device."])
    x, y, colour = found["SeaBIOS (version "]
    lowest = found["No bootable device."][1]
    if (picture.width, picture.height) != (720, 400) or x > 8 or y >= 16 or colour != b"\xaa\xaa\xaa" or not 16 < lowest < 400:
        raise AssertionError(f"{picture.width}×{picture.height}, {found}")
    return f"{picture.width}×{picture.height} text"


def grub_parts():
    """GRUB's modules for a BIOS and its font file."""
    return packages.unpack("grub-pc-bin") + "/usr/lib/grub/i386-pc", packages.unpack("grub-common") + "/usr/share/grub/euro.pf2"


def grub_disk(mode):
    """Path of a cached disk: GRUB, its font, a menu that stays."""
    modules, font = grub_parts()
    cfg = "serial --unit=0 --speed=115200\n" + MENU.format(
        video="insmod all_video\ninsmod gfxterm", font="/boot/grub/euro.pf2", mode=mode, first="echo FIRST", second="echo SECOND; halt")
    out = f"{CACHE}/guest/grub-menu-{images.digest(cfg, modules, font, *userland.GRUB_MODULES)}.raw"
    with packages.locked():
        if not os.path.exists(out):
            os.makedirs(f"{CACHE}/guest", exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as d:
                shutil.copytree(modules, f"{d}/boot/grub/i386-pc", ignore=shutil.ignore_patterns("*.img", "*.module"))
                shutil.copy(font, f"{d}/boot/grub/euro.pf2")
                with open(f"{d}/boot/grub/grub.cfg", "w", encoding="utf-8") as f:
                    f.write(cfg)
                os.chmod(d, 0o755)
                userland.assemble(out, d, 32)
    return out


def menu(g, font, mode, **which):
    """GRUB's graphical menu: two entries, of which the first is marked; then the second, after a key from the serial port."""
    entries = ["First entry of the menu", "Second entry of the menu"]
    picture, found = shows(g, font, ["GNU GRUB", *entries], **which)
    (x1, y1, c1), (x2, y2, c2) = (found[e] for e in entries)
    if f"{picture.width}x{picture.height}" != mode or x1 != x2 or y2 <= y1 or c1 == c2:
        raise AssertionError(f"{picture.width}×{picture.height}, {found}")
    g.send("\x1b[B")
    end = time.monotonic() + 300
    while True:
        _, found = shows(g, font, entries, **which)
        if (found[entries[0]][2], found[entries[1]][2]) == (c2, c1):
            return
        if time.monotonic() > end:
            raise Timeout("the mark does not move")


def grub(binary, machine, vga, mode="800x600"):
    """GRUB's menu in a VBE mode of SeaBIOS's VGA BIOS."""
    with tempfile.TemporaryDirectory(prefix="virtue-menu-") as d:
        disk = f"{d}/disk"
        shutil.copy(grub_disk(mode), disk)
        with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "64", "-vga", vga, "-drive", f"if=none,id=d,file={disk},format=raw",
                            "-device", "virtio-blk-pci,drive=d"]) as g:
            menu(g, grub_font(grub_parts()[1]), mode)
    return f"{mode}, the mark moves"


def rows(binary, full):
    """(name, function) for run.py."""
    r = [("pictures/seabios/pc/std", seabios, "pc", "std"), ("pictures/seabios/q35/virtio", seabios, "q35", "virtio"),
         ("pictures/grub/pc/virtio", grub, "pc", "virtio")]
    if full:
        r += [("pictures/seabios/q35/std", seabios, "q35", "std"), ("pictures/seabios/pc/virtio", seabios, "pc", "virtio"),
              ("pictures/grub/pc/std", grub, "pc", "std"), ("pictures/grub/q35/virtio", grub, "q35", "virtio", "1024x768"),
              ("pictures/grub/q35/std", grub, "q35", "std", "1024x768")]
    return [(name, lambda fn=fn, args=args: fn(binary, *args)) for name, fn, *args in r]


if __name__ == "__main__":
    for name_, fn_ in rows(os.path.abspath(sys.argv[1]), True):
        if re.search(sys.argv[2] if len(sys.argv) > 2 else "", name_):
            print(name_, fn_())

"""Kernels that are no bzImage of ours to boot: Debian's vmlinux by PVH, memtest86+, and a multiboot program of our own."""
import lzma
import os
import re
import struct
import subprocess
import tempfile

import images
import packages
from guest import Guest

MULTIBOOT = r"""
typedef unsigned int u32;
typedef unsigned char u8;
static inline void out8(int port, u8 v) { __asm__ volatile("outb %0, %w1" : : "a"(v), "Nd"(port)); }
static inline u8 in8(int port) { u8 v; __asm__ volatile("inb %w1, %0" : "=a"(v) : "Nd"(port)); return v; }
__attribute__((section(".mb"), used)) static const u32 header[3] = { 0x1badb002, 3, -(0x1badb002 + 3) };
u8 stack[4096] __attribute__((aligned(16)));
u8 bss[100000]; /* zero, or the loader did not clear it */
static void put(const char *s) { for (; *s; s++) { while (!(in8(0x3fd) & 0x20)) { } out8(0x3f8, (u8)*s); } }
static void num(u32 v) { char t[9]; for (int i = 0; i < 8; i++) { t[i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15]; } t[8] = 0; put(t); }
static void field(const char *name, u32 v) { put(name); put("="); num(v); put("\n"); }
void start(u32 magic, const u32 *mbi)
{
    u32 dirty = 0;
    const u32 *m = (const u32 *)mbi[6];
    const u8 *p = (const u8 *)mbi[12], *end = p + mbi[11];
    for (unsigned i = 0; i < sizeof bss; i++) { dirty |= bss[i]; }
    field("magic", magic); field("bss", dirty); field("flags", mbi[0]); field("lower", mbi[1]); field("upper", mbi[2]);
    put("cmdline="); put((const char *)mbi[4]); put("\n");
    put("loader="); put((const char *)mbi[16]); put("\n");
    field("modules", mbi[5]);
    for (u32 i = 0; i < mbi[5]; i++, m += 4) {
        u32 sum = 0;
        for (const u8 *b = (const u8 *)m[0]; b < (const u8 *)m[1]; b++) { sum = (sum << 1 | sum >> 31) ^ *b; }
        field("aligned", m[0] & 4095); field("length", m[1] - m[0]); field("sum", sum);
        put("string="); put((const char *)m[2]); put("\n");
    }
    for (; p < end; p += *(const u32 *)p + 4) {
        const u32 *e = (const u32 *)p;
        put("map="); num(e[2]); num(e[1]); put("+"); num(e[4]); num(e[3]); put(":"); num(e[5]); put("\n");
    }
    out8(0x501, 0x15);
    for (;;) { }
}
__asm__(".globl _start\n_start: cli\n mov $stack + 4096, %esp\n push %ebx\n push %eax\n call start\n");
"""
SCRIPT = "ENTRY(_start) SECTIONS { . = 0x100000; .text : { *(.mb) *(.text*) } .rodata : { *(.rodata*) } .data : { *(.data*) } .bss : { *(.bss*) } }"


def vmlinux(kernel):
    """The ELF file inside a bzImage packed by xz: the payload the setup header names (Linux, boot.rst: 0x1f1, 0x248, 0x24c)."""
    data = open(kernel.image, "rb").read()
    setup = (data[0x1f1] + 1) * 512
    at, length = struct.unpack_from("<II", data, 0x248)
    payload = data[setup + at:setup + at + length]
    if not payload.startswith(b"\xfd7zXZ"):
        raise RuntimeError(f"{kernel.image}: not packed by xz: {payload[:6]}")
    return lzma.LZMADecompressor().decompress(payload)


def pvh(binary, machine, smp):
    kernel = images.Kernel("linux-image-amd64")
    with tempfile.TemporaryDirectory(prefix="virtue-pvh-") as d:
        with open(f"{d}/vmlinux", "wb") as f:
            f.write(vmlinux(kernel))
        args = ["-accel", "tcg", "-M", machine, "-m", "512", "-smp", str(smp), "-kernel", f"{d}/vmlinux", "-initrd",
                images.initramfs(kernel), "-append", "console=ttyS0 marker=pvh panic=-1", "-device", "virtio-rng-pci", "-no-reboot"]
        with Guest(binary, args, qmp=False) as g:
            g.expect("VIRTUE-DONE", 240)
            g.expect("# ", 30)
            rc, out = g.shell("cat /proc/cmdline; grep -c ^processor /proc/cpuinfo; cat /sys/class/misc/hw_random/rng_current; "
                              "ls /sys/firmware/acpi/tables")
            ok = rc == 0 and "marker=pvh" in out and re.search(rf"^{smp}\r*$", out, re.M) and "virtio_rng" in out and "FACP" in out
            yield f"PVH: vmlinux on {machine}, {smp} CPUs, to its shell", ok, out
            g.send("poweroff -f\n")
            yield f"PVH: power-off on {machine}", g.wait() == 0, g.tail()


def memtest(binary):
    root = packages.unpack("memtest86+")
    for name in ("x64", "ia32"):
        args = ["-accel", "tcg", "-M", "pc", "-m", "64", "-kernel", f"{root}/boot/memtest86+{name}.bin", "-append",
                "console=ttyS0,115200"]
        with Guest(binary, args, qmp=False) as g:
            g.expect(r"Memtest86\+ .*v6", 60)
            g.expect(r"Test #", 60)
            yield f"memtest86+ {name}: its screen on the serial port", True, ""


def rotated(data):
    v = 0
    for b in data:
        v = ((v << 1 | v >> 31) & 0xffffffff) ^ b
    return v


def multiboot_program(folder):
    with open(f"{folder}/mb.c", "w", encoding="utf-8") as f:
        f.write(MULTIBOOT)
    with open(f"{folder}/mb.ld", "w", encoding="utf-8") as f:
        f.write(SCRIPT)
    subprocess.run(["gcc", "-m32", "-Os", "-ffreestanding", "-fno-pic", "-fno-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
                    "-nostdlib", "-static", "-no-pie", "-Wl,-T,mb.ld,--build-id=none,--no-warn-rwx-segments,-z,noexecstack", "-o", "mb",
                    "mb.c"], cwd=folder, check=True)


def multiboot(binary):
    with tempfile.TemporaryDirectory(prefix="virtue-multiboot-") as d:
        multiboot_program(d)
        mods = [os.urandom(5000), os.urandom(3)]
        for i, data in enumerate(mods):
            with open(f"{d}/m{i}", "wb") as f:
                f.write(data)
        args = ["-accel", "tcg", "-M", "pc", "-m", "64", "-kernel", f"{d}/mb", "-append", "one two=three", "-initrd",
                f"{d}/m0 first,,arg,{d}/m1", "-device", "isa-debug-exit"]
        with Guest(binary, args, qmp=False) as g:
            rc = g.wait()
            text = g.text.replace("\r", "")
    got = [l.partition("=") for l in text.splitlines()]
    maps = [(int(v[:16], 16), int(v[17:33], 16), int(v[34:], 16)) for k, _, v in got if k == "map"]
    rest = [(k, v) for k, _, v in got if k != "map"]
    h = "{:08x}".format
    want = [("magic", h(0x2badb002)), ("bss", h(0)), ("flags", dict(rest).get("flags")), ("lower", h(639)), ("upper", dict(rest).get("upper")),
            ("cmdline", f"{d}/mb one two=three"), ("loader", "qemu"), ("modules", h(2))]
    for i, (data, string) in enumerate(zip(mods, (f"{d}/m0 first,arg", f"{d}/m1"))):
        want += [("aligned", h(0)), ("length", h(len(data))), ("sum", h(rotated(data))), ("string", string)]
    yield "multiboot: what the program was given", rest == want and int(dict(rest)["flags"], 16) & 0x4d == 0x4d, f"{text}\nwanted {want}"
    low = [(at, size) for at, size, kind in maps if kind == 1]
    end = dict(low).get(0x100000, 0) + 0x100000
    yield "multiboot: memory map", (0, 639 << 10) in low and (60 << 20) < end <= 64 << 20, maps
    yield "multiboot: isa-debug-exit's status", rc == 0x15 << 1 | 1, rc


TESTS = {"pvh/pc": lambda b: pvh(b, "pc", 2), "multiboot": multiboot}
FULL = {"pvh/q35": lambda b: pvh(b, "q35", 1), "memtest": memtest}

#!/usr/bin/env python3
"""OVMF from Debian's package: its shell, variables that stay, its virtio drivers, GRUB and Debian's kernel from a FAT disk on virtio-blk,
the network; its screen read as text."""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import drivers
import images
import packages
import pictures
from guest import Guest, Skip
from systemd import cpu_time

GUID = "01234567-89ab-cdef-0123-456789abcdef"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # of boot entries: UEFI 2.9, 3.3
MODERN = ",disable-legacy=on"
GRUB_MODULES = "normal linux echo fat part_gpt part_msdos serial terminal gfxterm all_video font search boot halt configfile".split()
CONTINUE = "search --no-floppy --set=root --file /vmlinuz\nconfigfile ($root)/grub.cfg\n"
KERNEL_WORDS = "console=ttyS0 panic=-1 no_timer_check"  # whose check counts on ticks that a busy host merges
# What the shell runs: files between two disks, a variable, the network, a boot entry; then the kernel by its EFI stub.
SCRIPT = r"""@echo -off
connect -r
map -r
cp fs0:\data fs1:\copied
cp fs1:\data fs0:\copied
setvar Greeting -guid {guid} -nv -bs -rt =S"HALLO"
dh -p Rng
ifconfig -s eth0 static 10.0.2.15 255.255.255.0 10.0.2.2
ping -n 1 10.0.2.2
tftp 10.0.2.2 file fs1:\fetched
http http://10.0.2.2:{port}/file fs1:\hypertext
bcfg boot add 0 fs0:\grub.efi "GRUB"
echo SCRIPT-DONE
"""
PROBE = rf"""
dmesg -n 1
mkdir -p /v; mount -t efivarfs efivarfs /v
echo "greeting=$(tail -c +5 /v/Greeting-{GUID} | tr -d "\\000")"
echo "cmdline=$(cat /proc/cmdline)"
dmesg | grep -E 'efi:|DMI:|BIOS-e820|ACPI: RSDP|bootconsole'
echo "firmware=$(cat /sys/firmware/efi/fw_platform_size)"
"""


def code(name="OVMF/OVMF_CODE_4M.fd"):
    return packages.unpack("ovmf") + "/usr/share/" + name


def flash(folder):
    """The pair of flash chips: code, and variables that are kept in the folder."""
    path = f"{folder}/vars.fd"
    if not os.path.exists(path):
        shutil.copy(code("OVMF/OVMF_VARS_4M.fd"), path)
    return ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code()}", "-drive", f"if=pflash,unit=1,format=raw,file={path}"]


def fat(path, files, size_mb=64):
    """A disk without partitions: one FAT file system with files, {name: a host's path or bytes}."""
    packages.run(["mformat", "-i", path, "-C", "-T", str(size_mb << 11), "::"])
    with tempfile.TemporaryDirectory(prefix="virtue-fat-") as d:
        for name, what in files.items():
            source = what
            if isinstance(what, bytes):
                source = f"{d}/file"
                with open(source, "wb") as f:
                    f.write(what)
            for depth in range(1, name.count("/") + 1):
                subprocess.run(["mmd", "-i", path, "-D", "s", "::/" + "/".join(name.split("/")[:depth])], check=True, stdin=subprocess.DEVNULL)
            packages.run(["mcopy", "-i", path, source, f"::/{name}"])


def file_of(path, name):
    """A file's bytes in such a disk; None: it is not there."""
    r = subprocess.run(["mtype", "-i", path, f"::/{name}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return None if r.returncode else r.stdout


def grub_program(cfg=CONTINUE):
    """GRUB as an EFI program with these commands inside: to go on with grub.cfg of the disk that has a kernel, unless told."""
    tools, mods = packages.unpack("grub-common") + "/usr/bin", packages.unpack("grub-efi-amd64-bin") + "/usr/lib/grub/x86_64-efi"
    with tempfile.TemporaryDirectory(prefix="virtue-grub-") as d:
        with open(f"{d}/grub.cfg", "w", encoding="utf-8") as f:
            f.write(cfg)
        packages.run([f"{tools}/grub-mkimage", "-O", "x86_64-efi", "-d", mods, "-p", "/", "-c", f"{d}/grub.cfg", "-o", f"{d}/grub.efi",
                      *GRUB_MODULES])
        with open(f"{d}/grub.efi", "rb") as f:
            return f.read()


def grub_files(where="grub.efi", mode="800x600"):
    """The program, and the menu it shows: the second entry starts the kernel."""
    cfg = "serial --unit=0 --speed=115200\n" + pictures.MENU.format(
        video="", font="/euro.pf2", mode=mode, first="echo FIRST",
        second=f"linux /vmlinuz {KERNEL_WORDS} from=grub; initrd /initrd.img; boot")
    return {where: grub_program(), "grub.cfg": cfg.encode(), "euro.pf2": pictures.grub_parts()[1]}


def shell(g, timeout=600):
    """Until the shell's prompt, which the screen shows too; CPU time until the shell ran."""
    g.expect("UEFI Interactive Shell", timeout)
    at = cpu_time(g)
    g.send("\x1b")
    g.expect("Shell> ", timeout)
    return at


def shell_shown(g, timeout=600, **which):
    """The shell's words on the screen, one below the other; the marked ones in another colour."""
    texts = ["UEFI Interactive Shell v2.2", "UEFI v2.70 (EDK II, 0x00010000)", "Mapping table", "Shell>"]
    picture, found = pictures.shows(g, pictures.ovmf_font(code()), texts, timeout, **which)
    rows = [found[t][1] for t in texts]
    if rows != sorted(set(rows)) or found[texts[0]][0] != found["Shell>"][0] or found[texts[0]][2] == found["Shell>"][2]:
        raise AssertionError(f"{picture.width}×{picture.height}: {found}")
    return f"{picture.width}x{picture.height}"


def devices(folder, gpu, common=""):
    """A disk of each kind, the network, entropy, a display."""
    return ["-drive", f"if=none,id=d0,file={folder}/a.img,format=raw", "-device", f"virtio-blk-pci,drive=d0{common}", "-device",
            f"virtio-scsi-pci,id=s{common}", "-drive", f"if=none,id=d1,file={folder}/b.img,format=raw", "-device", "scsi-hd,drive=d1,bus=s.0",
            "-netdev", f"user,id=n,tftp={folder}/tftp", "-device", f"virtio-net-pci,netdev=n,romfile={common}", "-device",
            f"virtio-rng-pci{common}", "-device", f"{gpu}{common if gpu.startswith('virtio') else ''},id=g"]


def linux(g, timeout, cmdline, tables=()):
    """The kernel, started by this firmware with its tables, with the variable the shell made; then off."""
    g.expect(r"Linux version 6\.", timeout)
    at = cpu_time(g)
    g.expect("greeting=HALLO", timeout)
    g.expect(f"cmdline=.*{cmdline}", timeout)
    start = g.at
    g.expect("firmware=64", timeout)
    said = g.text[start:g.at]
    for what in ("SMBIOS=", "ACPI 2.0=", "MEMATTR=", *tables):
        if what not in said:
            raise AssertionError(f"no {what} in\n{said}")
    g.expect("VIRTUE-DONE", timeout)
    g.send("poweroff -f\n")
    if rc := g.wait(300):
        raise AssertionError(f"power-off: exit status {rc}")
    return at


def disks(folder, port):
    """A disk with everything to boot, one more to copy to; returns the data of both and what the network offers."""
    kernel = images.Kernel()
    data, offered = [os.urandom(700_001) for _ in range(2)], os.urandom(300_001)
    script = SCRIPT.format(guid=GUID, port=port) + f"fs0:\\vmlinuz {KERNEL_WORDS} from=shell initrd=\\initrd.img\n"
    initrd = images.initramfs(kernel, PROBE, [*images.MODULES, "efivarfs"])
    fat(f"{folder}/a.img", {"data": data[0], "vmlinuz": kernel.image, "initrd.img": initrd, **grub_files(),
                            "test.nsh": script.replace("\n", "\r\n").encode()})
    fat(f"{folder}/b.img", {"data": data[1]}, 16)
    os.mkdir(f"{folder}/tftp")
    with open(f"{folder}/tftp/file", "wb") as f:
        f.write(offered)
    return data, offered


def copied(folder, data, offered):
    for disk, name, want in (("b", "copied", data[0]), ("a", "copied", data[1]), ("b", "fetched", offered), ("b", "hypertext", offered)):
        got = file_of(f"{folder}/{disk}.img", name)
        if got != want:
            raise AssertionError(f"{disk}:{name} is not what was copied: {'nothing' if got is None else f'{len(got)} bytes'}")


def everything(binary, machine, common="", gpus=("virtio-gpu-pci", "virtio-vga"), timeout=600, log=None):
    """Two starts of one machine. The shell moves data through every driver, leaves a variable and a boot entry, and runs Debian's kernel;
    then the boot entry's GRUB shows its menu and runs it again."""
    server = drivers.Server(b"")
    with tempfile.TemporaryDirectory(prefix="virtue-ovmf-") as d:
        data, server.blob = disks(d, server.port)
        front = ["-accel", "tcg", "-M", machine, "-m", "256", *flash(d)]
        try:
            first = devices(d, gpus[0], common)
            first[3] += ",bootindex=0"  # and nothing else: no minute is spent on PXE
            with Guest(binary, [*front, *first], log=log) as g:
                at = [shell(g, timeout)]
                size = shell_shown(g, device="g")
                g.send("fs0:\\test.nsh\r")
                g.expect(r"(?s)Handle dump by protocol.{,80}Rng.*?PciRoot\(0x0\)/Pci", timeout)
                g.expect("1 packets transmitted, 1 received, 0% packet loss", timeout)
                g.expect("Target = [0-9A-F]{4}", timeout)
                g.expect("SCRIPT-DONE", timeout)
                at.append(linux(g, timeout, "from=shell", ("RNG=",)))  # a seed from virtio-rng's driver
            copied(d, data, server.blob)
            with Guest(binary, [*front, *devices(d, gpus[1], common)], log=log) as g:
                pictures.menu(g, pictures.grub_font(pictures.grub_parts()[1]), "800x600", device="g")
                at.append(cpu_time(g))
                g.send("\r")
                at.append(linux(g, timeout, "from=grub"))
        finally:
            server.close()
    names = ("shell", "kernel", "GRUB", "its kernel")
    return f"{size}; CPU seconds: " + ", ".join(f"{n} {t:.1f}" for n, t in zip(names, at))


def bios(binary, machine, vga, timeout=600, log=None):
    """One image for code and variables by -bios: the shell, which sees a disk."""
    with tempfile.TemporaryDirectory(prefix="virtue-ovmf-") as d:
        fat(f"{d}/a.img", {"hello": b"words on a disk\r\n"}, 16)
        with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "128", "-bios", code("ovmf/OVMF.fd"), "-vga", vga, "-drive",
                            f"if=none,id=d,file={d}/a.img,format=raw", "-device", f"virtio-blk-pci,drive=d,bootindex=0{MODERN}"], log=log) as g:
            at = shell(g, timeout)
            size = shell_shown(g, timeout)
            g.send("type fs0:\\hello\r")
            pictures.shows(g, pictures.ovmf_font(code()), ["words on a disk"], timeout)
    return f"{size}; CPU seconds: shell {at:.1f}"


def greeting(word):
    return {"EFI/BOOT/BOOTX64.EFI": grub_program(f'echo "GRUB of {word}"\nhalt\n')}


def order(binary, machine, timeout=600, log=None):
    """bootindex says which disk is asked first, whatever comes first on the bus."""
    with tempfile.TemporaryDirectory(prefix="virtue-ovmf-") as d:
        for name, word in (("a", "virtio-blk"), ("b", "virtio-scsi")):
            fat(f"{d}/{name}.img", greeting(word), 16)
        for index, word in ((("1", "0"), "virtio-scsi"), (("0", "1"), "virtio-blk")):
            with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "128", *flash(d), "-drive", f"if=none,id=d0,file={d}/a.img,format=raw",
                                "-device", f"virtio-blk-pci,drive=d0,bootindex={index[0]}", "-device", "virtio-scsi-pci,id=s", "-drive",
                                f"if=none,id=d1,file={d}/b.img,format=raw", "-device", f"scsi-hd,drive=d1,bus=s.0,bootindex={index[1]}"],
                       log=log) as g:
                first = g.expect(r"GRUB of (\S+)\s", timeout)[1]
                if first != word:
                    raise AssertionError(f"{first} came first, not {word}")


def pxe(binary, machine, common="", timeout=600, log=None):
    """OVMF's PXE client over its virtio-net driver: GRUB by TFTP, whole, because it runs."""
    with tempfile.TemporaryDirectory(prefix="virtue-ovmf-") as d:
        with open(f"{d}/grub.efi", "wb") as f:
            f.write(grub_program('echo "GRUB of the network"\nhalt\n'))
        with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "256", *flash(tempfile.mkdtemp(dir=d)), "-netdev",
                            f"user,id=n,tftp={d},bootfile=grub.efi", "-device", f"virtio-net-pci,netdev=n,romfile=,bootindex=0{common}"],
                   log=log) as g:
            g.expect("Start PXE over IPv4", timeout)
            g.expect("NBP file downloaded successfully", timeout)
            g.expect("GRUB of the network", timeout)


def http_entry(url):
    """A boot entry's variable (UEFI 2.9, 3.1.3): a URI, which any interface that boots by HTTP takes (10.3.4.23)."""
    uri = url.encode()
    path = struct.pack("<BBH", 3, 24, 4 + len(uri)) + uri + struct.pack("<BBH", 0x7f, 0xff, 4)
    return struct.pack("<IH", 1, len(path)) + "by HTTP".encode("utf-16-le") + b"\0\0" + path


def http_boot(binary, machine, common="", timeout=600, log=None):
    """OVMF's HTTP boot over its virtio-net driver: a boot entry with a URI, made in the shell, starts GRUB of a server on the host."""
    server = drivers.Server(grub_program('echo "GRUB of HTTP"\nhalt\n'))
    try:
        with tempfile.TemporaryDirectory(prefix="virtue-ovmf-") as d:
            fat(f"{d}/a.img", {}, 16)  # nothing to boot from, but first: no minutes are spent on PXE
            with Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "256", *flash(d), "-netdev", "user,id=n", "-device",
                                f"virtio-net-pci,netdev=n,romfile={common}", "-drive", f"if=none,id=d,file={d}/a.img,format=raw", "-device",
                                f"virtio-blk-pci,drive=d,bootindex=0{common}"], log=log) as g:
                shell(g, timeout)
                entry = http_entry(f"http://10.0.2.2:{server.port}/grub.efi").hex()
                for name, data in (("Boot0077", entry), ("BootNext", "7700")):
                    g.send(f'setvar {name} -guid {GLOBAL} -nv -bs -rt =H"{data}"\r')
                    g.expect("Shell> ", timeout)
                g.send("reset\r")
                g.expect("Start HTTP Boot over IPv4", timeout)
                at = cpu_time(g)
                if g.expect("GRUB of HTTP|Access forbidden", timeout)[0] != "GRUB of HTTP":
                    raise Skip("this OVMF takes https alone")
                return f"{len(server.blob)} bytes; CPU seconds: {cpu_time(g) - at:.1f}"
    finally:
        server.close()


def rows(binary, full):
    """(name, function) for run.py."""
    r = [("ovmf/q35", everything, "q35"), ("ovmf/bios/pc/std", bios, "pc", "std")]
    if full:
        r += [("ovmf/pc/std", everything, "pc", MODERN, ("VGA", "VGA")),
              ("ovmf/q35/modern", everything, "q35", MODERN, ("virtio-vga", "virtio-gpu-pci")),
              ("ovmf/bios/q35/virtio", bios, "q35", "virtio"), ("ovmf/order/pc", order, "pc"), ("ovmf/order/q35", order, "q35"),
              ("ovmf/pxe/q35", pxe, "q35"), ("ovmf/pxe/pc/modern", pxe, "pc", MODERN),
              ("ovmf/http/q35", http_boot, "q35"), ("ovmf/http/pc/modern", http_boot, "pc", MODERN)]
    return [(name, lambda fn=fn, args=args: fn(binary, *args)) for name, fn, *args in r]


if __name__ == "__main__":
    for name_, fn_ in rows(os.path.abspath(sys.argv[1]), True):
        if re.search(sys.argv[2] if len(sys.argv) > 2 else "", name_):
            print(name_, fn_())

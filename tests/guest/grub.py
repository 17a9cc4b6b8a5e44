#!/usr/bin/env python3
"""A disk image with GRUB, booted by SeaBIOS from virtio-blk: MBR and core image written by hand, an ext4 partition by mke2fs."""
import glob
import os
import struct
import subprocess
import sys
import tempfile

import images
from guest import Guest
from packages import CACHE, run, unpack

SECTOR, START = 512, 2048
MODULES = "biosdisk part_msdos ext2 normal linux serial terminal echo configfile boot ls test".split()
CFG = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
echo "GRUB reads its configuration from $root"
linux /boot/vmlinuz {append}
initrd /boot/initrd.img
echo "GRUB starts the kernel"
boot
"""
PROBE = r"""
dmesg -n 1
mkdir -p /mnt
n=0; while [ ! -b /dev/vda1 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
mount -t ext4 /dev/vda1 /mnt && echo "mounted: $(cat /mnt/etc/greeting)"
echo "second=$(cat /mnt/second 2>/dev/null)"
echo "cmdline=$(cat /proc/cmdline)"
echo kept > /mnt/second && sync && umount /mnt && echo "write=ok"
"""


def core_image(folder):
    """GRUB's core image; its first sector loads the rest from behind itself."""
    tools, mods = unpack("grub-common"), unpack("grub-pc-bin") + "/usr/lib/grub/i386-pc"
    early = f"{folder}/early.cfg"
    with open(early, "w", encoding="utf-8") as f:
        f.write("serial --unit=0 --speed=115200\nterminal_output serial\n"
                "echo \"GRUB core\"\nconfigfile (hd0,msdos1)/boot/grub/grub.cfg\n")
    run([f"{tools}/usr/bin/grub-mkimage", "-O", "i386-pc", "-d", mods, "-p", "(hd0,msdos1)/boot/grub", "-c", early,
         "-o", f"{folder}/core.img", *MODULES])
    with open(f"{folder}/core.img", "rb") as f:
        core = f.read()
    with open(f"{mods}/boot.img", "rb") as f:
        boot = f.read()
    return boot, core


def assemble(out, tree, size_mb):
    """A raw disk: GRUB's boot sector, its core image in the gap, one ext4 partition with tree's files."""
    with tempfile.TemporaryDirectory(dir=CACHE) as d:
        boot, core = core_image(d)
        if len(core) > (START - 1) * SECTOR:
            raise RuntimeError(f"GRUB's core image does not fit: {len(core)} bytes")
        part = f"{d}/part"
        # Features that GRUB 2.06 cannot read are off.
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file,^metadata_csum", "-E", "root_owner=0:0", "-d", tree, part,
             f"{size_mb}M"], env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin"))
        sectors = os.path.getsize(part) // SECTOR
        entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", START, sectors)
        mbr = boot[:440].ljust(440, b"\0") + b"VRTU\0\0" + entry + bytes(48) + b"\x55\xaa"
        tmp = f"{out}.tmp"
        with open(tmp, "wb") as o:
            o.write(mbr + core)
        run(["dd", f"if={part}", f"of={tmp}", f"seek={START}", "bs=512", "conv=sparse,notrunc", "status=none"])
        os.truncate(tmp, (START + sectors) * SECTOR)
    os.rename(tmp, out)


def image(kernel):
    """Path of the cached image; copy it before use."""
    initrd = images.initramfs(kernel, PROBE)
    cfg = CFG.format(append="console=ttyS0 panic=-1 virtue=probe from=grub")
    with open(__file__, "rb") as f:
        out = f"{CACHE}/guest/grub-{images.digest(f.read(), kernel.image, initrd)}.raw"
    if os.path.exists(out):
        return out
    with tempfile.TemporaryDirectory(dir=CACHE) as d:
        os.makedirs(f"{d}/boot/grub")
        os.mkdir(f"{d}/etc")
        for src, dst in ((kernel.image, "vmlinuz"), (initrd, "initrd.img")):
            os.link(src, f"{d}/boot/{dst}") if os.stat(src).st_dev == os.stat(d).st_dev else run(["cp", src, f"{d}/boot/{dst}"])
        for path, text in (("boot/grub/grub.cfg", cfg), ("etc/greeting", "a file on the partition GRUB booted from\n")):
            with open(f"{d}/{path}", "w", encoding="utf-8") as f:
                f.write(text)
        os.chmod(d, 0o755)
        assemble(out, d, 64)
    return out


def boot(binary, machine, timeout=240, log=None, virtio=""):
    """Boots the image twice; raises when something does not come."""
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-grub-") as d:
        disk, port = f"{d}/disk.raw", f"{d}/sercon"
        subprocess.run(["cp", "--sparse=always", image(kernel), disk], check=True)
        with open(port, "wb") as f:
            f.write(struct.pack("<H", 0x3f8))
        drive = ["-drive", f"file={disk},format=raw,if=virtio"] if not virtio else \
            ["-drive", f"file={disk},format=raw,if=none,id=d", "-device", f"virtio-blk-pci,drive=d,{virtio}"]
        args = ["-accel", "tcg", "-M", machine, "-m", "256", *drive, "-fw_cfg", f"name=etc/sercon-port,file={port}", "-no-reboot"]
        for turn in ("", "kept"):
            with Guest(binary, args, log=log) as g:
                g.expect(r"SeaBIOS \(version", timeout)
                g.expect(r"Booting from Hard Disk", timeout)
                g.expect("GRUB core", timeout)
                g.expect(r"GRUB reads its configuration from hd0,msdos1", timeout)
                g.expect("GRUB starts the kernel", timeout)
                g.expect(r"Linux version 6\.", timeout)
                g.expect("mounted: a file on the partition GRUB booted from", timeout)
                g.expect(rf"second={turn}\r", timeout)
                g.expect(r"cmdline=BOOT_IMAGE=/boot/vmlinuz .*from=grub", timeout)
                g.expect("write=ok", timeout)
                g.expect("VIRTUE-DONE", timeout)
                g.send("poweroff -f\n")
                rc = g.wait(60)
                if rc:
                    raise RuntimeError(f"power-off: exit status {rc}")


if __name__ == "__main__":
    boot(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "pc", log=sys.stdout)

#!/usr/bin/env python3
"""A CD that SeaBIOS starts GRUB from (El Torito, no emulation), in a virtio-scsi drive; the same image is a disk, too (a hybrid)."""
import inspect
import os
import struct
import sys
import tempfile

import images
import packages
import userland
from guest import Guest
from packages import CACHE, run

PROBE = r"""
dmesg -n 1
mkdir -p /mnt
n=0; while [ ! -b /dev/sr0 ] && [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
d=/dev/sr0; [ -b $d ] || d=/dev/vda
mount -t iso9660 -o ro $d /mnt && echo "mounted $d: $(cat /mnt/greeting)"
echo "cmdline=$(cat /proc/cmdline)"
"""
MODULES = [*images.MODULES, "virtio_scsi", "sr_mod", "isofs"]
GRUB_MODULES = "biosdisk iso9660 part_msdos normal linux serial terminal echo configfile boot ls test search".split()
EARLY = 'serial --unit=0 --speed=115200\nterminal_output serial\necho "GRUB core"\nsearch --file --set=root /greeting\nconfigfile ($root)/boot/grub/grub.cfg\n'


def xorriso(args):
    """Debian's, with its libraries, from where its packages are unpacked."""
    at = [packages.unpack(p) for p in ("xorriso", "libisoburn1", "libburn4", "libisofs6", "libjte2")]
    path = ":".join(f"{p}/usr/lib/x86_64-linux-gnu" for p in at[1:])
    run([f"{at[0]}/usr/bin/xorriso", *args], env={**os.environ, "LD_LIBRARY_PATH": path})


def image(kernel):
    """Path of the cached image, read-only."""
    initrd = images.initramfs(kernel, PROBE, MODULES)
    cfg = userland.CFG.format(kernel="vmlinuz", initrd="initrd.img", append="console=ttyS0 panic=-1 virtue=probe from=grub-cd")
    out = f"{CACHE}/guest/cd-{images.digest(inspect.getsource(image), inspect.getsource(xorriso), EARLY, cfg, *GRUB_MODULES, kernel.image, initrd)}.iso"
    if os.path.exists(out):
        return out
    tools, mods = packages.unpack("grub-common"), packages.unpack("grub-pc-bin") + "/usr/lib/grub/i386-pc"
    with tempfile.TemporaryDirectory(dir=CACHE) as d:
        os.makedirs(f"{d}/cd/boot/grub")
        for path, text in (("early.cfg", EARLY), ("cd/boot/grub/grub.cfg", cfg), ("cd/greeting", "a file on the CD\n")):
            with open(f"{d}/{path}", "w", encoding="utf-8") as f:
                f.write(text)
        for src, dst in ((kernel.image, "vmlinuz"), (initrd, "initrd.img")):
            run(["cp", src, f"{d}/cd/boot/{dst}"])
        run([f"{tools}/usr/bin/grub-mkimage", "-O", "i386-pc-eltorito", "-d", mods, "-p", "/boot/grub", "-c", f"{d}/early.cfg",
             "-o", f"{d}/cd/boot/grub/eltorito.img", *GRUB_MODULES])
        xorriso(["-as", "mkisofs", "-quiet", "-V", "VIRTUE", "-R", "-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4",
                 "-boot-info-table", "--grub2-boot-info", "--grub2-mbr", f"{mods}/boot_hybrid.img", "-o", f"{d}/out.iso", f"{d}/cd"])
        os.rename(f"{d}/out.iso", out)
    return out


DRIVES = {"scsi-cd": (["-device", "virtio-scsi-pci,id=s", "-drive", "if=none,id=other,file=null-co://,format=raw", "-device", "scsi-hd,drive=other,bus=s.0",
                       "-device", "scsi-cd,drive=d,bus=s.0,scsi-id=2,bootindex=1"], ",media=cdrom", r"Booting from DVD/CD", "/dev/sr0"),
          "blk": (["-device", "virtio-blk-pci,drive=d,bootindex=1"], ",readonly=on", "Booting from Hard Disk", "/dev/vda")}


def boot(binary, machine, how="scsi-cd", timeout=240, log=None):
    """From SeaBIOS to a shell that reads the CD; raises when something does not come."""
    devices, more, boots, name = DRIVES[how]
    with tempfile.TemporaryDirectory(prefix="virtue-cd-") as d:
        with open(f"{d}/sercon", "wb") as f:
            f.write(struct.pack("<H", 0x3f8))
        args = ["-accel", "tcg", "-M", machine, "-m", "256", "-drive", f"if=none,id=d,format=raw,file={image(images.Kernel())}{more}", *devices,
                "-fw_cfg", f"name=etc/sercon-port,file={d}/sercon", "-no-reboot"]
        with Guest(binary, args, log=log) as g:
            for what in (r"SeaBIOS \(version", boots, "GRUB core", "GRUB reads its configuration from", "GRUB starts the kernel", r"Linux version 6\.",
                         f"mounted {name}: a file on the CD", r"cmdline=BOOT_IMAGE=/boot/vmlinuz .*from=grub-cd", "VIRTUE-DONE"):
                g.expect(what, timeout)


if __name__ == "__main__":
    boot(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "pc", *sys.argv[3:4], log=sys.stdout)

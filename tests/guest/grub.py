#!/usr/bin/env python3
"""GRUB from a disk, started by SeaBIOS from virtio-blk or virtio-scsi: a small image with the cloud kernel, and the Debian disk that systemd.py
boots too."""
import inspect
import os
import struct
import subprocess
import sys
import tempfile

import images
import systemd
import userland
from guest import Guest
from packages import CACHE, run

PROBE = r"""
dmesg -n 1
mkdir -p /mnt
part() { ls /dev/vda1 /dev/sd?1 2>/dev/null | head -1; } # SCSI disks are found in any order
n=0; while [ -z "$(part)" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
d=$(part)
mount -t ext4 $d /mnt && echo "mounted: $(cat /mnt/etc/greeting)"
echo "second=$(cat /mnt/second 2>/dev/null)"
echo "cmdline=$(cat /proc/cmdline)"
echo kept > /mnt/second && sync && umount /mnt && echo "write=ok"
"""


def image(kernel):
    """Path of the cached small image; copy it before use."""
    initrd = images.initramfs(kernel, PROBE, [*images.MODULES, "virtio_scsi", "sd_mod"])
    cfg = userland.CFG.format(kernel="vmlinuz", initrd="initrd.img", append="console=ttyS0 panic=-1 virtue=probe from=grub")
    made_by = [inspect.getsource(f) for f in (image, userland.core_image, userland.assemble)]
    out = f"{CACHE}/guest/grub-{images.digest(*made_by, cfg, *userland.GRUB_MODULES, kernel.image, initrd)}.raw"
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
        userland.assemble(out, d, 64)
    return out


def devices(disk, virtio, fmt, bus):
    """The disk to boot from behind one that is none."""
    if bus == "blk":
        return systemd.devices(disk, virtio, fmt)
    return ["-device", "virtio-scsi-pci,id=s", "-drive", "if=none,id=other,file=null-co://,format=raw", "-device", "scsi-hd,drive=other,bus=s.0,scsi-id=0",
            "-drive", f"if=none,id=d,file={disk},format={fmt}", "-device", "scsi-hd,drive=d,bus=s.0,scsi-id=1,lun=3,bootindex=1"]


def from_disk(binary, machine, folder, original, mem, virtio, fmt="raw", bus="blk"):
    """A copy of the image, and the arguments that boot it."""
    disk, port = f"{folder}/disk.{fmt}", f"{folder}/sercon"
    if fmt == "qcow2":
        # What the guest reads is compressed in a backing file; what it writes goes on top.
        subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", original, f"{folder}/base.qcow2"], check=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", disk], check=True)
    else:
        subprocess.run(["cp", "--sparse=always", original, disk], check=True)
    with open(port, "wb") as f:
        f.write(struct.pack("<H", 0x3f8))
    return ["-accel", "tcg", "-M", machine, "-m", mem, *devices(disk, virtio, fmt, bus), "-fw_cfg", f"name=etc/sercon-port,file={port}",
            "-no-reboot"]


def until_kernel(g, timeout):
    for what in (r"SeaBIOS \(version", "Booting from Hard Disk", "GRUB core", "GRUB reads its configuration from hd0,msdos1",
                 "GRUB starts the kernel", r"Linux version 6\."):
        g.expect(what, timeout)


def boot(binary, machine, timeout=240, log=None, virtio="", fmt="raw", turns=2, bus="blk"):
    """Boots the small image, twice; raises when something does not come."""
    with tempfile.TemporaryDirectory(prefix="virtue-grub-") as d:
        args = from_disk(binary, machine, d, image(images.Kernel()), "256", virtio, fmt, bus)
        for turn in ("", "kept")[:turns]:
            with Guest(binary, args, log=log) as g:
                until_kernel(g, timeout)
                g.expect("mounted: a file on the partition GRUB booted from", timeout)
                g.expect(rf"second={turn}\r", timeout)
                g.expect(r"cmdline=BOOT_IMAGE=/boot/vmlinuz .*from=grub", timeout)
                g.expect("write=ok", timeout)
                g.expect("VIRTUE-DONE", timeout)
                g.send("poweroff -f\n")
                rc = g.wait(60)
                if rc:
                    raise RuntimeError(f"power-off: exit status {rc}")
        if fmt == "qcow2":
            for name in ("disk", "base"):
                subprocess.run(["qemu-img", "check", "-q", f"{d}/{name}.qcow2"], check=True)


def debian(binary, machine, timeout=600, log=None, virtio=""):
    """The Debian disk, from SeaBIOS to systemd's login prompt, with Debian's own initrd."""
    image_ = userland.disk(images.Kernel("linux-image-amd64"))
    with tempfile.TemporaryDirectory(prefix="virtue-grub-") as d:
        with Guest(binary, from_disk(binary, machine, d, image_, "1024", virtio), log=log) as g:
            until_kernel(g, timeout)
            at = systemd.cpu_time(g)
            cpu, out = systemd.login(g, timeout)
    if "from=grub" not in out or "BOOT_IMAGE=/boot/vmlinuz-" not in out:
        raise AssertionError(f"not the kernel that GRUB loaded: {out}")
    return f"kernel after {at:.1f}, login prompt after {cpu:.1f} s of CPU time"


if __name__ == "__main__":
    print((debian if "debian" in sys.argv[3:] else boot)(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "pc",
                                                       log=sys.stdout))

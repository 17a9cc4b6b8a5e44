"""A Debian disk: debootstrap's userland, the generic kernel with Debian's initrd, GRUB in front; one partition. systemd.py enters
its kernel directly, grub.py boots it from the boot sector. Made once and cached; its age does not matter to the tests."""
import glob
import inspect
import os
import re
import shutil
import struct
import subprocess
import tempfile

import images
import packages
from guest import Skip
from packages import CACHE, run

SECTOR, START = 512, 2048
INCLUDE = "systemd-sysv,udev,dbus,kmod,iproute2,initramfs-tools"
# Bits of configuration that a cloud image has too: no network waits, an initrd with the modules this machine needs.
FILES = {"etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n", "etc/hostname": "virtue\n", "etc/network/interfaces": "",
         "etc/systemd/network/eth.network": "[Match]\nName=e*\n[Network]\nDHCP=ipv4\n",
         "etc/initramfs-tools/conf.d/virtue": "MODULES=list\nCOMPRESS=gzip\nRESUME=none\n",
         "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n"}
NOT_MODULES = ("sound", "gpu", "wireless", "media", "infiniband", "staging", "isdn", "build", "source")
GRUB_MODULES = "biosdisk part_msdos ext2 normal linux serial terminal echo configfile boot ls test".split()
CFG = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
echo "GRUB reads its configuration from $root"
linux /boot/{kernel} {append}
initrd /boot/{initrd}
echo "GRUB starts the kernel"
boot
"""


def mirror():
    """The mirror this system's apt uses."""
    for f in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        m = re.search(r"^URIs: *(\S+)", open(f, encoding="utf-8").read(), re.M)
        if m:
            return m[1]
    for f in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(f):
            m = re.search(r"^deb +(?:\[[^]]*\] *)?(\S+) +bookworm +", open(f, encoding="utf-8").read(), re.M)
            if m:
                return m[1]
    raise RuntimeError("no Debian mirror in apt's sources")


def debootstrap(tree):
    if os.geteuid():
        raise Skip("making a Debian userland needs root")
    tool, env = shutil.which("debootstrap"), dict(os.environ)
    if not tool:
        folder = packages.unpack("debootstrap")
        tool, env["DEBOOTSTRAP_DIR"] = f"{folder}/usr/sbin/debootstrap", f"{folder}/usr/share/debootstrap"
    cache = f"{CACHE}/debs"
    os.makedirs(cache, exist_ok=True)
    r = subprocess.run([tool, "--variant=minbase", f"--include={INCLUDE}", f"--cache-dir={cache}", "bookworm", tree, mirror()],
                       env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode:
        raise RuntimeError(f"debootstrap: {r.stdout[-2000:]}")


def core_image(folder):
    """GRUB's boot sector, and its core image, whose first sector loads the rest from behind itself."""
    tools, mods = packages.unpack("grub-common"), packages.unpack("grub-pc-bin") + "/usr/lib/grub/i386-pc"
    early = f"{folder}/early.cfg"
    with open(early, "w", encoding="utf-8") as f:
        f.write("serial --unit=0 --speed=115200\nterminal_output serial\n"
                "echo \"GRUB core\"\nconfigfile (hd0,msdos1)/boot/grub/grub.cfg\n")
    run([f"{tools}/usr/bin/grub-mkimage", "-O", "i386-pc", "-d", mods, "-p", "(hd0,msdos1)/boot/grub", "-c", early,
         "-o", f"{folder}/core.img", *GRUB_MODULES])
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
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file,^metadata_csum", "-E", "root_owner=0:0", "-d", tree,
             part, f"{size_mb}M"])
        sectors = os.path.getsize(part) // SECTOR
        entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", START, sectors)
        mbr = boot[:440].ljust(440, b"\0") + b"VRTU\0\0" + entry + bytes(48) + b"\x55\xaa"
        tmp = f"{out}.tmp"
        with open(tmp, "wb") as o:
            o.write(mbr + core)
        run(["dd", f"if={part}", f"of={tmp}", f"seek={START}", "bs=512", "conv=sparse,notrunc", "status=none"])
        os.truncate(tmp, (START + sectors) * SECTOR)
    os.rename(tmp, out)


def boot_files(tree, kernel):
    """/boot and the modules as the kernel's package brings them, the initrd as initramfs-tools makes it, GRUB's configuration."""
    release, boot = kernel.release, os.path.dirname(kernel.image)
    for name in (f"vmlinuz-{release}", f"config-{release}"):
        shutil.copy(f"{boot}/{name}", f"{tree}/boot/{name}")
    shutil.copytree(kernel.moddir, f"{tree}/usr/lib/modules/{release}", symlinks=True, ignore=shutil.ignore_patterns(*NOT_MODULES))
    run(["depmod", "-b", f"{tree}/usr", release])
    run(["chroot", tree, "update-initramfs", "-c", "-k", release])
    os.makedirs(f"{tree}/boot/grub")
    with open(f"{tree}/boot/grub/grub.cfg", "w", encoding="utf-8") as f:
        f.write(CFG.format(kernel=f"vmlinuz-{release}", initrd=f"initrd.img-{release}",
                           append="root=/dev/vda1 ro console=ttyS0 panic=-1 from=grub"))


def disk(kernel):
    """Path of the cached raw disk; copy it before use."""
    made_by = [inspect.getsource(f) for f in (debootstrap, core_image, assemble, boot_files, disk)]
    key = images.digest(*made_by, INCLUDE, *FILES.items(), *NOT_MODULES, *GRUB_MODULES, CFG, kernel.image)
    out = f"{CACHE}/guest/debian-{key}.raw"
    with packages.locked():
        if os.path.exists(out):
            return out
        os.makedirs(f"{CACHE}/guest", exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as d:
            tree = f"{d}/root"
            debootstrap(tree)
            for path, text in FILES.items():
                os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
                with open(f"{tree}/{path}", "w", encoding="utf-8") as f:
                    f.write(text)
            with open(f"{tree}/etc/shadow", encoding="utf-8") as f:
                shadow = re.sub(r"^root:[^:]*:", "root::", f.read(), flags=re.M)
            with open(f"{tree}/etc/shadow", "w", encoding="utf-8") as f:
                f.write(shadow)
            boot_files(tree, kernel)
            for extra in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
                shutil.rmtree(f"{tree}/{extra}", ignore_errors=True)
            assemble(out, tree, 1024)
    return out

"""Kernels from Debian's packages, and the initramfs and disk images our guests boot. Everything is cached outside the clone."""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from packages import BACKPORTS, CACHE, locked, newest, resolve, run, unpack

MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "ext4", "af_packet"]


class Kernel:
    def __init__(self, meta="linux-image-cloud-amd64", suite=None):
        root = unpack(resolve(meta, suite), suite)
        self.image = glob.glob(f"{root}/boot/vmlinuz-*")[0]
        self.release = os.path.basename(self.image)[len("vmlinuz-"):]
        self.moddir = f"{root}/lib/modules/{self.release}"
        with locked():
            if not os.path.exists(f"{self.moddir}/modules.dep"):
                run(["depmod", "-b", root, self.release])

    def modules(self, names):
        """Files of the named modules and what they need, in loading order. Built-in ones are left out."""
        deps, where = {}, {}
        for line in open(f"{self.moddir}/modules.dep", encoding="utf-8"):
            path, _, rest = line.strip().partition(":")
            deps[path] = rest.split()
            where[re.sub(r"\.ko(\.xz|\.zst)?$", "", os.path.basename(path)).replace("_", "-")] = path
        order = []

        def add(path):
            for d in reversed(deps[path]):
                add(d)
            if path not in order:
                order.append(path)
        for n in names:
            p = where.get(n.replace("_", "-"))
            if p:
                add(p)
        return [f"{self.moddir}/{p}" for p in order]


def kernel_612():
    """The newest 6.12 cloud kernel in backports; the project's second kernel."""
    name = newest("linux-image-6.12", r"linux-image-6\.12\.\d+\+deb12(\.\d+)?-cloud-amd64", BACKPORTS)
    if not name:
        raise RuntimeError("no 6.12 cloud kernel in backports")
    return Kernel(name, BACKPORTS)


def digest(*parts):
    h = hashlib.sha256()
    for p in parts:
        h.update(p if isinstance(p, bytes) else str(p).encode())
        h.update(b"\0")
    return h.hexdigest()[:16]


def busybox():
    for p in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(p):
            return p
    raise RuntimeError("busybox-static is not installed")


def unfinished(out):
    """A name for out while it is made: several programs may make the same one at the same time."""
    return f"{out}.{os.getpid()}.tmp"


def program_file(source):
    """Path of a static program for the guest (and the host), built once for a source."""
    out = f"{CACHE}/guest/{os.path.basename(source)[:-2]}-{digest(open(source, encoding='utf-8').read())}"
    if not os.path.exists(out):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run(["gcc", "-static", "-O2", "-o", f"{out}.{os.getpid()}", source], check=True)
        os.rename(f"{out}.{os.getpid()}", out)
    return out


def program(source):
    """Its bytes."""
    with open(program_file(source), "rb") as f:
        return f.read()


INIT = r"""#!/bin/sh
# First program of the initramfs: mounts, modules, then what virtue= on the kernel command line says.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules.order); do insmod /modules/$m || echo "insmod $m failed"; done
what=$(sed -n 's/.*virtue=\([^ ]*\).*/\1/p' /proc/cmdline)
case $what in
root)
    dev=$(sed -n 's/.* root=\([^ ]*\).*/\1/p' /proc/cmdline); dev=${dev:-/dev/vda}
    n=0
    while [ ! -b $dev ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
    mount -t ext4 $dev /root || { echo "no root file system on $dev"; exec sh; }
    mount --move /proc /root/proc; mount --move /sys /root/sys; mount --move /dev /root/dev
    exec switch_root /root /sbin/init
    ;;
*)
    . /run.sh
    echo "VIRTUE-DONE"
    exec setsid cttyhack sh
    ;;
esac
"""


def initramfs(kernel, run_sh="", modules=MODULES, extra=()):
    """Path of a gzipped cpio with busybox, the kernel's modules and run_sh; extra: (path, bytes, mode) files."""
    files = kernel.modules(modules)
    key = digest(kernel.image, INIT, run_sh, *files, open(busybox(), "rb").read(), *[str(e) for e in extra])
    out = f"{CACHE}/guest/initramfs-{key}.cpio.gz"
    os.makedirs(f"{CACHE}/guest", exist_ok=True)
    if os.path.exists(out):
        return out
    tmp = unfinished(out)
    with tempfile.TemporaryDirectory(dir=CACHE) as d:
        for sub in ("bin", "proc", "sys", "dev", "root", "modules", "etc", "tmp"):
            os.mkdir(f"{d}/{sub}")
        shutil.copy(busybox(), f"{d}/bin/busybox")
        os.chmod(f"{d}/bin/busybox", 0o755)
        for name in run([busybox(), "--list"]).split():
            if name != "busybox":
                os.symlink("busybox", f"{d}/bin/{name}")
        names = []
        for f in files:
            name = os.path.basename(f)
            if name.endswith(".xz"):
                name = name[:-3]
                with open(f"{d}/modules/{name}", "wb") as o:
                    subprocess.run(["xz", "-dc", f], check=True, stdout=o)
            else:
                shutil.copy(f, f"{d}/modules/{name}")
            names.append(name)
        open(f"{d}/modules.order", "w").write("\n".join(names) + "\n")
        open(f"{d}/run.sh", "w").write(run_sh)
        for path, data, mode in extra:
            os.makedirs(os.path.dirname(f"{d}/{path}"), exist_ok=True)
            with open(f"{d}/{path}", "wb") as o:
                o.write(data)
            os.chmod(f"{d}/{path}", mode)
        open(f"{d}/init", "w").write(INIT)
        os.chmod(f"{d}/init", 0o755)
        subprocess.run(f"find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -n -1 > {tmp}", shell=True, check=True, cwd=d)
    os.rename(tmp, out)
    return out


INITTAB = """::sysinit:/etc/rc
ttyS0::respawn:-/bin/sh
hvc0::respawn:/bin/sh /etc/hvc
::ctrlaltdel:/bin/reboot
::shutdown:/bin/sync
"""
RC = r"""#!/bin/sh
export PATH=/bin:/sbin
mount -o remount,rw /
mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
hostname virtue
ip link set lo up
if [ -d /sys/class/net/eth0 ]; then
    ip link set eth0 up
    udhcpc -i eth0 -q -n -t 10 -T 1 -s /etc/dhcp >/tmp/dhcp.log 2>&1 && echo "network: $(ip -4 -o addr show eth0 | awk '{print $4}')"
fi
echo "Virtue demo guest: Linux $(uname -r), $(grep -c ^processor /proc/cpuinfo) CPU, root on /dev/vda. Ctrl-a x leaves."
echo "VIRTUE-READY"
"""
DHCP = """#!/bin/sh
case $1 in
bound|renew)
    ip addr flush dev $interface
    ip addr add $ip/$mask dev $interface
    [ -n "$router" ] && ip route add default via $router dev $interface
    : > /etc/resolv.conf
    for d in $dns; do echo nameserver $d >> /etc/resolv.conf; done ;;
esac
exit 0
"""
HVC = """read line || exec sleep 1
echo "hvc0 heard: $line"
"""


def rootfs(size_mb=64, extra=()):
    """Path of a cached, pristine ext4 image; copy it before use."""
    key = digest(INITTAB, RC, DHCP, HVC, size_mb, open(busybox(), "rb").read(), *[str(e) for e in extra])
    out = f"{CACHE}/guest/rootfs-{key}.ext4"
    if os.path.exists(out):
        return out
    os.makedirs(f"{CACHE}/guest", exist_ok=True)
    tmp = unfinished(out)
    with tempfile.TemporaryDirectory(dir=CACHE) as d:
        for sub in ("bin", "sbin", "proc", "sys", "dev", "etc", "tmp", "root"):
            os.mkdir(f"{d}/{sub}")
        shutil.copy(busybox(), f"{d}/bin/busybox")
        os.chmod(f"{d}/bin/busybox", 0o755)
        for name in run([busybox(), "--list"]).split():
            if name not in ("busybox", "init"):
                os.symlink("busybox", f"{d}/bin/{name}")
        os.symlink("../bin/busybox", f"{d}/sbin/init")
        for name, text in (("inittab", INITTAB), ("rc", RC), ("dhcp", DHCP), ("hvc", HVC), ("passwd", "root::0:0::/root:/bin/sh\n")):
            open(f"{d}/etc/{name}", "w").write(text)
            os.chmod(f"{d}/etc/{name}", 0o755)
        for path, data, mode in extra:
            os.makedirs(os.path.dirname(f"{d}/{path}"), exist_ok=True)
            with open(f"{d}/{path}", "wb") as o:
                o.write(data)
            os.chmod(f"{d}/{path}", mode)
        os.chmod(d, 0o755)
        run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", d, tmp, f"{size_mb}M"],
            env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin"))
    os.rename(tmp, out)
    return out

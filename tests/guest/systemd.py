#!/usr/bin/env python3
"""A Debian userland with systemd on the generic kernel, from virtio-blk to a login prompt, CPU time measured.

The image is made once, by debootstrap, and cached; its age does not matter to the test."""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import images
import packages
from guest import Guest, Skip
from packages import CACHE, run

BAR = 40.0  # seconds of CPU time from start to login prompt
INCLUDE = "systemd-sysv,udev,dbus,kmod,iproute2"
# Bits of configuration that a cloud image has too: no network waits, a serial login.
FILES = {"etc/fstab": "/dev/vda / ext4 defaults 0 1\n", "etc/hostname": "virtue\n", "etc/network/interfaces": "",
         "etc/systemd/network/eth.network": "[Match]\nName=e*\n[Network]\nDHCP=ipv4\n"}


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
    tool = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    env, prefix = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"), []
    if not tool:
        folder = packages.unpack("debootstrap")
        tool, env["DEBOOTSTRAP_DIR"] = f"{folder}/usr/sbin/debootstrap", f"{folder}/usr/share/debootstrap"
    cache = f"{CACHE}/debs"
    os.makedirs(cache, exist_ok=True)
    r = subprocess.run([*prefix, tool, "--variant=minbase", f"--include={INCLUDE}", f"--cache-dir={cache}", "bookworm", tree, mirror()],
                       env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode:
        raise RuntimeError(f"debootstrap: {r.stdout[-2000:]}")


def userland(kernel):
    """Path of the cached ext4 image with the kernel's modules in it; copy it before use."""
    key = hashlib.sha256("".join([INCLUDE, kernel.release, *map(str, FILES.items())]).encode()).hexdigest()[:16]
    out = f"{CACHE}/guest/systemd-{key}.ext4"
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
        modules = f"{tree}/usr/lib/modules/{kernel.release}"
        shutil.copytree(kernel.moddir, modules, symlinks=True, ignore=shutil.ignore_patterns(
            "sound", "gpu", "wireless", "media", "infiniband", "staging", "isdn", "build", "source"))
        subprocess.run(["depmod", "-b", f"{tree}/usr", kernel.release], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(f"{tree}/var/cache/apt", ignore_errors=True)
        shutil.rmtree(f"{tree}/var/lib/apt/lists", ignore_errors=True)
        for extra in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(f"{tree}/{extra}", ignore_errors=True)
        run(["mke2fs", "-q", "-t", "ext4", "-d", tree, f"{out}.tmp", "1G"],
            env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/sbin:/usr/sbin"))
    os.rename(f"{out}.tmp", out)
    return out


def boot(binary, machine="q35", timeout=400, bar=BAR, log=None):
    """Boots to the login prompt, logs in, powers off. Returns what it took."""
    kernel = images.Kernel("linux-image-amd64")
    image = userland(kernel)
    with tempfile.TemporaryDirectory(prefix="virtue-systemd-") as d:
        disk = f"{d}/disk"
        subprocess.run(["cp", "--sparse=always", image, disk], check=True)
        args = ["-accel", "tcg", "-M", machine, "-m", "1024", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, modules=[*images.MODULES, "crc32c_generic"]),
                "-append", "console=ttyS0 virtue=root panic=-1 rw", "-drive", f"file={disk},format=raw,if=virtio",
                "-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci", "-no-reboot"]
        with Guest(binary, args, log=log) as g:
            g.expect(r"virtue login: ", timeout)
            with open(f"/proc/{g.p.pid}/stat", encoding="ascii") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            g.send("root\n")
            g.expect(r"# $", 120)
            rc, out = g.shell("systemctl is-system-running --wait; systemctl --failed --no-legend --plain", 180)
            g.send("poweroff\n")
            status = g.wait(180)
    if "running" not in out:
        raise AssertionError(f"systemd: {out}")
    if status:
        raise AssertionError(f"power-off: exit status {status}")
    if bar and cpu > bar:
        raise AssertionError(f"{cpu:.1f} s of CPU time to the login prompt, {bar:.0f} s allowed")
    return f"login prompt after {cpu:.1f} s of CPU time"


if __name__ == "__main__":
    print(boot(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "q35", bar=None, log=sys.stderr))

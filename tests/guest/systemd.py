#!/usr/bin/env python3
"""A Debian userland with systemd on the generic kernel, from virtio-blk to a login prompt, CPU time measured: the disk that grub.py
boots from its boot sector, here with its kernel entered directly."""
import os
import re
import subprocess
import sys
import tempfile

import images
import userland
from guest import Guest

BAR = 40.0  # seconds of CPU time from start to login prompt
MODULES = [*images.MODULES, "crc32c_generic"]


def cpu_time(g):
    """Seconds of CPU time that the emulator has taken."""
    with open(f"/proc/{g.p.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def login(g, timeout):
    """From here to the login prompt, a look whether systemd is content, power-off. Returns the CPU time at the prompt."""
    g.expect(r"virtue login: ", timeout)
    cpu = cpu_time(g)
    g.send("root\n")
    g.expect(r"# $", 120)
    _, out = g.shell("systemctl is-system-running --wait; systemctl --failed --no-legend --plain; cat /proc/cmdline; findmnt -n /", 180)
    g.send("poweroff\n")
    status = g.wait(180)
    if not re.search(r"\brunning\r*$", out, re.M) or not re.search("^/ +/dev/vda1 ", out, re.M):
        raise AssertionError(f"systemd: {out}")
    if status:
        raise AssertionError(f"power-off: exit status {status}")
    return cpu, out


def devices(disk, props="", fmt="raw"):
    p = f",{props}" if props else ""
    return ["-drive", f"file={disk},format={fmt},if=none,id=d", "-device", f"virtio-blk-pci,drive=d{p}", "-netdev", "user,id=n",
            "-device", f"virtio-net-pci,netdev=n,romfile={p}", "-device", f"virtio-rng-pci{p}"]


def boot(binary, machine="q35", timeout=400, bar=BAR, log=None):
    """Boots to the login prompt, logs in, powers off. Returns what it took."""
    kernel = images.Kernel("linux-image-amd64")
    image = userland.disk(kernel)
    with tempfile.TemporaryDirectory(prefix="virtue-systemd-") as d:
        disk = f"{d}/disk"
        subprocess.run(["cp", "--sparse=always", image, disk], check=True)
        args = ["-accel", "tcg", "-M", machine, "-m", "1024", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, modules=MODULES),
                "-append", "console=ttyS0 virtue=root root=/dev/vda1 panic=-1 rw", *devices(disk), "-no-reboot"]
        with Guest(binary, args, log=log) as g:
            cpu, _ = login(g, timeout)
    if bar and cpu > bar:
        raise AssertionError(f"{cpu:.1f} s of CPU time to the login prompt, {bar:.0f} s allowed")
    return f"login prompt after {cpu:.1f} s of CPU time"


if __name__ == "__main__":
    print(boot(os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "q35", bar=None, log=sys.stderr))

#!/usr/bin/env python3
"""A Linux guest under tcg: its boot to power-off, virtio-blk with 32 requests out, TCP over a tap both ways, programs that start and end. One boot measures all.
As a program (in a network namespace of its own): BINARY; prints the figures as JSON."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, f"{os.path.dirname(HERE)}/guest"]
import images  # noqa: E402
import measure  # noqa: E402
import metalbench as mb  # noqa: E402
import sockbench  # noqa: E402
from guest import Guest  # noqa: E402

OFF = "echo VIRTUE-OFF\npoweroff -f\nsleep 60\n"
TAP, HOST, PEER = "bench0", "192.168.178.1", "192.168.178.2"
DEPTH, REQUESTS, DISK_MIB, TCP_MIB, FORKS = 32, 40000, 256, 96, 200
FIGURES = {"each": 1e3, "out": 1e6, "in": 1e6, "fork": 1e6}  # what the guest says, and how many ns a unit of the table has
_boots, _guests = {}, {}


def nth(cache, calls, binary, make):
    """The n-th call of a row takes the n-th result for that binary; rows share them."""
    n = calls[binary] = calls.get(binary, -1) + 1
    got = cache.setdefault(binary, [])
    if len(got) <= n:
        got.append(make(binary))
    return got[n]


def boot(which):
    """fn(ctx, binary): seconds of the direct boot of the cloud kernel to power-off; which: 0 wall, 1 CPU."""
    calls = {}

    def once(b):
        kernel = images.Kernel()
        return measure.boot(b, ["-M", "q35", "-accel", "tcg", "-m", "512", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, OFF),
                                "-append", "console=ttyS0 panic=-1", "-no-reboot"])
    return lambda _, b: nth(_boots, calls, b, once)[which]


def figures(binary):
    """Inside the namespace: {"each": ns a request, "out", "in": ns a MiB}."""
    kernel = images.Kernel()
    subprocess.run(f"ip link set lo up && ip tuntap add {TAP} mode tap vnet_hdr && ip addr add {HOST}/24 dev {TAP} && ip link set {TAP} up",
                   shell=True, check=True)
    with tempfile.TemporaryDirectory(prefix="virtue-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as d, \
            socket.create_server((HOST, 0)) as tcp:
        with open(f"{d}/disk", "wb") as f:
            for _ in range(DISK_MIB):
                f.write(b"\xa5" * (1 << 20))
        sockbench.serve(tcp)
        forks = (f"at=$(cut -d' ' -f1 /proc/uptime); n=0; while [ $n -lt {FORKS} ]; do /bin/busybox true; n=$((n + 1)); done; "
                 f"awk -v at=$at '{{printf \"fork=%d\\n\", ($1 - at) * 1e9 / {FORKS}}}' /proc/uptime")
        run = (f"ip link set eth0 up; ip addr add {PEER}/24 dev eth0; disk-bench /dev/vda {DEPTH} {REQUESTS}; "
               f"MIB={TCP_MIB} sock-bench tap tcp {HOST} {tcp.getsockname()[1]}; {forks}; poweroff -f")
        tools = [(f"bin/{t}", images.program(f"{HERE}/{t}.c"), 0o755) for t in ("disk-bench", "sock-bench")]
        args = ["-accel", "tcg", "-M", "q35", "-m", "256", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, extra=tools),
                "-append", "console=ttyS0 quiet panic=-1", "-no-reboot", "-drive", f"if=none,id=d,file={d}/disk,format=raw",
                "-device", "virtio-blk-pci,drive=d", "-netdev", f"tap,id=n,ifname={TAP},script=no,downscript=no",
                "-device", "virtio-net-pci,netdev=n,romfile="]
        with Guest(binary, args, qmp=False) as g:
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            g.send(run + "\n")
            g.wait(300)
            said = dict(re.findall(rf"\b({'|'.join(FIGURES)})=(\d+)", g.text))
    if set(said) != set(FIGURES):
        raise RuntimeError(g.text[-500:])
    return {k: int(v) for k, v in said.items()}


def guest(what):
    """fn(ctx, binary): us a request (each), ms a MiB over TCP (out, in) or a program that the shell runs (fork)."""
    calls = {}

    def once(b):
        if os.geteuid() or not os.path.exists("/dev/net/tun") or not shutil.which("unshare"):
            raise mb.Missing("tap devices need root, /dev/net/tun and unshare")
        r = subprocess.run(["unshare", "-n", sys.executable, __file__, b], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=400,
                           check=False)
        if r.returncode:
            raise RuntimeError(r.stderr.strip() or f"status {r.returncode}")
        return json.loads(r.stdout.splitlines()[-1])
    return lambda _, b: nth(_guests, calls, b, once)[what] / FIGURES[what]


if __name__ == "__main__":
    print(json.dumps(figures(sys.argv[1])))

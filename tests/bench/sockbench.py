"""Sockets of a Linux guest under tcg: a unix socket pair inside it, virtio-vsock to the host, TCP over virtio-net (user network). One
boot measures all; a round of the table takes one boot for each emulator."""
import os
import re
import socket
import tempfile
import threading

import images
import metalbench as mb
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = [*images.MODULES, "vsock", "vmw_vsock_virtio_transport"]
_boots = {}


def serve(listener):
    def get(c, n):
        data = bytearray()
        while len(data) < n:
            more = c.recv(min(n - len(data), 1 << 16))
            if not more:
                raise EOFError
            data += more
        return data

    def one(c):
        piece = bytes(1 << 16)
        try:
            while True:
                ask = get(c, 9)
                n = int.from_bytes(ask[1:], "little")
                if ask[0] == ord("p"):
                    for _ in range(n):
                        c.sendall(get(c, 1))
                elif ask[0] == ord("r"):
                    for _ in range(n >> 16):
                        c.sendall(piece)
                else:
                    get(c, n)
                    c.sendall(b"!")
        except (OSError, EOFError):
            c.close()

    def run():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            if c.family == socket.AF_INET:
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=one, args=(c,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def boot(binary, with_vsock):
    """{name: {what: nanoseconds}} of one boot."""
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-bench-") as d, socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as vs:
        vs.bind(f"{d}/v_1000")
        vs.listen(8)
        serve(tcp)
        serve(vs)
        run = ("mkdir -p /tmp; ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; sock-bench pair pair; "
               f"sock-bench net tcp 10.0.2.2 {tcp.getsockname()[1]}; " + ("sock-bench vsock vsock 1000; " if with_vsock else "") + "poweroff -f")
        args = ["-accel", "tcg", "-M", "q35", "-m", "256", "-kernel", kernel.image, "-initrd",
                images.initramfs(kernel, modules=MODULES, extra=[("bin/sock-bench", images.program(f"{HERE}/sock-bench.c"), 0o755)]),
                "-append", "console=ttyS0 quiet panic=-1", "-no-reboot", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]
        args += ["-device", f"virtio-vsock-pci,guest-cid=3,x-path={d}/v"] if with_vsock else []
        with Guest(binary, args, qmp=False) as g:
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            g.send(run + "\n")
            g.wait(300)
            found = re.findall(r"^(\w+) out=(\d+) in=(\d+) trip=(\d+)", g.text.replace("\r", ""), re.M)
    return {name: dict(zip(("out", "in", "trip"), map(int, rest))) for name, *rest in found}


def row(name, what):
    """fn(ctx, binary): ms for a MiB or us for a round trip; the n-th call of a row takes the n-th boot of that binary."""
    calls = {}

    def go(c, b):
        if name == "vsock" and b == c.theirs:
            raise mb.Missing("vhost-vsock needs a kernel module")
        n = calls[b] = calls.get(b, -1) + 1
        boots = _boots.setdefault(b, [])
        if len(boots) <= n:
            boots.append(boot(b, b == c.ours))
        if name not in boots[n]:
            raise RuntimeError(f"no figure for {name}")
        return boots[n][name][what] / (1e3 if what == "trip" else 1e6)
    return go

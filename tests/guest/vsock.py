"""virtio-vsock between Linux's sockets and unix sockets of the host: data both ways with every byte compared, messages, half-close,
many connections, refusals, what is left behind."""
import os
import re
import socket
import tempfile
import threading
import time

import images
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = [*images.MODULES, "vsock", "vmw_vsock_virtio_transport"]
MB = 1 << 20


def listen(path, handle, kind=socket.SOCK_STREAM):
    """A server of the host on a path; handle(connection) runs in a thread of its own."""
    l = socket.socket(socket.AF_UNIX, kind)
    l.bind(path)
    l.listen(1024)

    def run():
        while True:
            try:
                c, _ = l.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(c,), daemon=True).start()

    def serve(c):
        with c:
            try:
                handle(c)
            except OSError:
                pass

    threading.Thread(target=run, daemon=True).start()
    return l


def echo(c):
    while data := c.recv(1 << 20):
        c.sendall(data)


def echo_messages(c):
    while data := c.recv(1 << 20):
        c.send(data)


def answer_at_the_end(c):
    parts = []
    while data := c.recv(1 << 20):
        parts.append(data)
    c.sendall(b"".join(parts))


def dial(path, port, kind=socket.SOCK_STREAM):
    """A connection of the host to a port of the guest, by "CONNECT <port>"."""
    c = socket.socket(socket.AF_UNIX, kind)
    c.settimeout(60)
    c.connect(path)
    c.send(f"CONNECT {port}\n".encode())
    if kind == socket.SOCK_SEQPACKET:
        line = c.recv(64)
    else:
        line = b""
        while not line.endswith(b"\n"):
            b = c.recv(1)
            if not b:
                break
            line += b
    return c, line


def refused(c):
    try:
        return c.recv(1) == b""
    except ConnectionResetError:
        return True


def both_ways(c, size):
    data = os.urandom(min(size, MB)) * max(size // MB, 1)

    def feed():
        c.sendall(data)
        c.shutdown(socket.SHUT_WR)

    t = threading.Thread(target=feed, daemon=True)
    t.start()
    got = bytearray()
    while piece := c.recv(1 << 20):
        got += piece
    t.join()
    return bytes(got) == data


def descriptors(g):
    return len(os.listdir(f"/proc/{g.p.pid}/fd"))


def steps(binary, machine, size, connections, device=""):
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-vsock-") as d:
        path = f"{d}/v"
        args = ["-accel", "tcg", "-M", machine, "-m", "256", "-smp", "2", "-kernel", kernel.image, "-initrd",
                images.initramfs(kernel, modules=MODULES, extra=[("bin/vsock-peer", images.program(f"{HERE}/vsock-peer.c"), 0o755)]), "-append",
                "console=ttyS0 quiet panic=-1", "-no-reboot", "-device", f"virtio-vsock-pci,guest-cid=42,x-path={path}{device}"]
        servers = [listen(f"{path}_1000", echo), listen(f"{path}_1001", answer_at_the_end),
                   listen(f"{path}_1002", echo_messages, socket.SOCK_SEQPACKET)]
        with Guest(binary, args) as g:
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            before = descriptors(g)

            def run(name, command, timeout=300):
                rc, out = g.shell(f"vsock-peer {command}", timeout)
                return name, rc == 0 and "all the same" in out, out

            yield run(f"{size // MB} MB there and back", f"echo 1000 {size}")
            yield run("half-close", "half 1001 200000")
            yield run("messages", "seq 1002 200")
            yield run(f"{connections} connections", f"many 1000 {connections}")
            yield run("100 connections at once", "hold 1000 100")
            rc, out = g.shell("vsock-peer echo 999 1", 30)
            yield "a port nobody listens at", rc != 0 and "reset" in out.lower(), out
            g.shell("vsock-peer serve 5 > /tmp/log 2>&1 & vsock-peer serve 6 seq > /tmp/log2 2>&1 & n=0; "
                    "while [ $(grep -l listening /tmp/log /tmp/log2 | wc -l) != 2 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done", 60)
            c, line = dial(path, 5)
            yield "CONNECT", re.fullmatch(rb"OK \d+\n", line) is not None, line
            yield f"{size // MB} MB from the host and back, half-closed", both_ways(c, size), ""
            c.close()
            c, line = dial(path, 7)
            yield "CONNECT to a port nobody listens at", line == b"", line
            c, line = dial(f"{path}.seqpacket", 6, socket.SOCK_SEQPACKET)
            same = line.startswith(b"OK ")
            for n in (1, 4000, 4096, 65536, 99999):
                data = os.urandom(n)
                c.send(data)
                same = same and c.recv(1 << 20) == data
            yield "messages from the host", same, line
            c.close()
            ok = 0
            for i in range(connections // 5):
                c, line = dial(path, 5)
                ok += line.startswith(b"OK") and both_ways(c, 1000 + i)
                c.close()
            yield "connections of the host", ok == connections // 5, ok
            for line in (b"HELLO\n", b"CONNECT\n", b"CONNECT 5 5\n", b"x" * 100):
                c = socket.socket(socket.AF_UNIX)
                c.settimeout(60)
                c.connect(path)
                c.sendall(line)
                yield f"not CONNECT: {line[:8]}", refused(c), line
            end = time.monotonic() + 30
            while descriptors(g) > before and time.monotonic() < end:
                g.shell("true", 30)
            yield "no descriptor is left", descriptors(g) <= before, (before, descriptors(g))
            rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung'", 30)
            yield "no complaint", rc != 0, out
            g.send("poweroff -f\n")
            yield "end", g.wait() == 0, g.tail()
        for s in servers:
            s.close()
        yield "no socket is left", not os.path.exists(path), path


def echoes(path):
    """Whether the guest's server at port 5 does its work."""
    c, line = dial(path, 5)
    with c:
        return line.startswith(b"OK") and both_ways(c, 5000)


def ended(c):
    """The connection is over, for whatever reason."""
    try:
        return c.recv(1) == b""
    except OSError:
        return True


def life(binary):
    """A new context, a device that leaves and comes back, a system reset: connections end, listeners stay."""
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-vsock-") as d:
        path, server = f"{d}/v", listen(f"{d}/v_1000", echo)
        device = {"driver": "virtio-vsock-pci", "id": "v", "guest-cid": 42, "x-path": path, "bus": "pci.0", "addr": "5"}
        args = ["-accel", "tcg", "-M", "pc", "-m", "256", "-kernel", kernel.image, "-initrd",
                images.initramfs(kernel, modules=[*MODULES, "acpiphp"], extra=[("bin/vsock-peer", images.program(f"{HERE}/vsock-peer.c"), 0o755)]), "-append",
                "console=ttyS0 quiet panic=-1", "-device", ",".join(f"{k}={v}" for k, v in device.items()).replace("driver=", "", 1)]
        with Guest(binary, args) as g:
            def up():
                g.expect("VIRTUE-DONE", 120)
                g.expect("# ", 30)
                g.shell("vsock-peer serve 5 > /tmp/log 2>&1 & n=0; while ! grep -q listening /tmp/log && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done", 60)

            def until_echoes():
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    try:
                        if echoes(path):
                            return True
                    except OSError:
                        pass
                    g.shell("sleep 1", 30)
                return False

            up()
            yield "connections", echoes(path), ""
            c, _ = dial(path, 5)
            g.qmp("qom-set", path="/machine/peripheral/v", property="guest-cid", value=77)
            yield "a new context ends a connection", ended(c), ""
            c.close()
            yield "and its server goes on", until_echoes(), ""
            rc, out = g.shell("vsock-peer echo 1000 5000", 60)
            yield "both ways", rc == 0 and "all the same" in out, out
            for n in range(3):
                c, _ = dial(path, 5)
                g.qmp("device_del", id="v")
                g.event("DEVICE_DELETED", lambda data: data.get("device") == "v")
                yield f"a device that leaves ends a connection ({n})", ended(c) and not os.path.exists(path), os.listdir(d)
                c.close()
                g.qmp("device_add", **device)
                yield f"when it is back its server goes on ({n})", until_echoes(), ""
            c, _ = dial(path, 5)
            g.qmp("system_reset")
            yield "a system reset ends a connection", ended(c), ""
            c.close()
            up()
            yield "connections after it", until_echoes(), ""
            rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung'", 30)
            yield "no complaint", rc != 0, out
        server.close()


def quick(binary):
    yield from steps(binary, "q35", 64 * MB, 500)


def long(binary):
    yield from steps(binary, "pc", 1024 * MB, 10000, ",packed=on")


TESTS = {"vsock": quick}
FULL = {"vsock long": long, "vsock life": life}

"""What the tests of network back ends share: back ends on a hub without a guest, sockets, frames in streams, checksums."""
import os
import socket
import struct
import subprocess

import vm

BASE = ["-accel", "qtest", "-M", "none", "-nodefaults"]


def hub(*specs):
    """Options: back ends b0, b1 … on one hub."""
    out = []
    for i, s in enumerate(specs):
        kind, _, rest = s.partition(",")
        out += ["-netdev", f"{kind},id=b{i},{rest}", "-netdev", f"hubport,id=h{i},hubid=0,netdev=b{i}"]
    return out


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def unix(kind, path=None, to=None):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(vm.TIMEOUT)
    if path:
        s.bind(path)
    if to:
        s.connect(to)
    return s


def framed(data):
    return struct.pack(">I", len(data)) + data


def exact(s, n):
    out = b""
    while len(out) < n:
        more = s.recv(n - len(out))
        assert more, f"the stream ended after {len(out)} of {n} bytes"
        out += more
    return out


def take(s):
    """The next frame of a stream."""
    return exact(s, struct.unpack(">I", exact(s, 4))[0])


def checksum(data):
    s = sum(struct.unpack(f">{len(data) // 2}H", data[:len(data) & ~1])) + (data[-1] << 8 if len(data) & 1 else 0)
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return struct.pack(">H", s ^ 0xffff)


def own_network():
    """Words before the binary that put it into a network namespace of its own."""
    if os.geteuid() or subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise vm.Skip("no network namespace of one's own here")
    return ["unshare", "-n"]

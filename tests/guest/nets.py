#!/usr/bin/env python3
"""Two guests side by side: bulk TCP with checksums over unix datagrams (packed rings), a unix stream and TCP sockets; a capture; VLANs, MTU 9000."""
import os
import re
import socket
import struct
import sys
import tempfile

import images
from guest import Guest

SUM = re.compile(r"\b[0-9a-f]{32}\b")
NICS = ("dgram", "stream", "socket")


def options(d, who, port):
    """The same three networks, from one side or the other."""
    us, them = (("a", "b"), ("b", "a"))[who]
    server = "server=on," if not who else "reconnect-ms=50,"
    return ["-netdev", f"dgram,id=n0,local.type=unix,local.path={d}/{us},remote.type=unix,remote.path={d}/{them}",
            "-device", f"virtio-net-pci,netdev=n0,packed=on,romfile=,mac=52:54:00:00:00:1{who}",
            "-netdev", f"stream,id=n1,{server}addr.type=unix,addr.path={d}/s",
            "-device", f"virtio-net-pci,netdev=n1,romfile=,mac=52:54:00:00:00:2{who},host_mtu=9000",
            "-netdev", f"socket,id=n2,{'connect' if who else 'listen'}=127.0.0.1:{port}",
            "-device", f"virtio-net-pci,netdev=n2,romfile=,disable-modern=on,mac=52:54:00:00:00:3{who}"] + \
        ([] if who else ["-object", f"filter-dump,id=f,netdev=n1,file={d}/pcap,maxlen=64"])


def frames(path):
    """The captured frames: length on the wire, first bytes."""
    with open(path, "rb") as f:
        data = f.read()
    magic, _, _, _, _, _, link = struct.unpack("=IHHiIII", data[:24])
    assert (magic, link) == (0xa1b2c3d4, 1), "no capture of Ethernet frames"
    at, out = 24, []
    while at + 16 <= len(data):
        _, _, cap, size = struct.unpack("=IIII", data[at:at + 16])
        out.append((size, data[at + 16:at + 16 + cap]))
        at += 16 + cap
    return out


def bulk(a, b, n):
    """a's blob to b over the n-th network: what b's sum is."""
    rc, out = b.shell(f"wget -q -O - http://10.{n}.0.{a.who + 1}:8000/blob | md5sum", 400)
    m = SUM.search(out)
    return m and m[0]


def both(mb):
    def test(binary):
        kernel = images.Kernel()
        with tempfile.TemporaryDirectory(prefix="virtue-nets-") as d, socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            s.close()
            args = [["-accel", "tcg", "-M", m, "-m", "256", "-kernel", kernel.image, "-initrd", images.initramfs(kernel, modules=[*images.MODULES, "8021q"]), "-append",
                     "console=ttyS0 quiet panic=-1", "-no-reboot", *options(d, who, port)] for who, m in enumerate(("pc", "q35"))]
            with Guest(binary, args[0]) as a, Guest(binary, args[1]) as b:
                for who, g in enumerate((a, b)):
                    g.who = who
                    g.expect("VIRTUE-DONE", 240)
                    g.expect("# ", 60)
                    g.shell("; ".join(f"ip link set eth{n} up; ip addr add 10.{n}.0.{who + 1}/24 dev eth{n}" for n in range(3)), 60)
                rc, out = b.shell("ip link set eth1 mtu 9000; cat /sys/class/net/eth?/mtu", 60)
                sums = []
                for g in (a, b):
                    rc, out = g.shell(f"ip link set eth1 mtu 9000; dd if=/dev/urandom of=/blob bs=1M count={mb} 2>/dev/null; httpd -p 8000 -h /; md5sum /blob", 200)
                    sums.append(SUM.search(out)[0])
                for n, name in enumerate(NICS):
                    rc, out = a.shell(f"ping -c 2 -W 10 10.{n}.0.2", 60)
                    yield f"{name}: ping", "2 packets received" in out, out
                    got = bulk(a, b, n)
                    yield f"{name}: {mb} MB one way", got == sums[0], f"{got}, not {sums[0]}"
                    got = bulk(b, a, n)
                    yield f"{name}: {mb} MB the other way", got == sums[1], f"{got}, not {sums[1]}"
                for who, g in enumerate((a, b)):
                    g.shell(f"ip link add link eth1 name v5 type vlan id 5; ip link set v5 up; ip addr add 10.5.0.{who + 1}/24 dev v5", 60)
                rc, out = a.shell("[ -e /sys/class/net/v5 ] && ping -c 2 -W 10 -s 4000 10.5.0.2", 60)
                vlan = "2 packets received" in out
                a.qmp("netdev_del", id="n1")
                caught = frames(f"{d}/pcap")
                most = max(size for size, f in caught if f[12:14] == b"\x08\0")
                yield "capture: whole frames up to the MTU of 9000", most == 9014, most
                yield "VLAN: large pings", vlan and any(f[12:16] == b"\x81\0\0\5" for _, f in caught), out
                rc, out = a.shell("dmesg | grep -iE 'BUG|timed out|hung' || echo clean", 60)
                yield "nothing to complain of", "clean" in out, out
                for g in (a, b):
                    g.send("poweroff -f\n")
                yield "power-off", (a.wait(120), b.wait(120)) == (0, 0), a.tail() + b.tail()
    return test


TESTS = {"two guests": both(11)}
FULL = {"two guests, 1 GB": both(171)}

if __name__ == "__main__":
    for what, ok, detail in both(int((sys.argv[2:] + ["11"])[0]))(os.path.abspath(sys.argv[1])):
        print("ok" if ok else "NOT OK", what, "" if ok else detail, flush=True)

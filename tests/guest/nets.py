#!/usr/bin/env python3
"""Two guests side by side: bulk TCP compared at both ends over every back end between guests; a capture; VLANs, MTU 9000."""
import os
import shutil
import subprocess
import sys
import tempfile

import wire
from guest import Skip

GROUP = "239.192.17.5:4000"


def unix_pair(kind):
    def options(d, i, who):
        us, them = (("a", "b"), ("b", "a"))[who]
        return f"{kind},local.type=unix,local.path={d}/{us}{i},remote.type=unix,remote.path={d}/{them}{i}"
    return options


def inet_pair(kind):
    def options(d, i, who):
        us, them = 5000 + 2 * i + who, 5001 + 2 * i - who
        return f"{kind},local.type=inet,local.host=127.0.0.1,local.port={us},remote.type=inet,remote.host=127.0.0.1,remote.port={them}"
    return options


def stream(d, i, who):
    return f"stream,addr.type=unix,addr.path={d}/s{i}," + ("reconnect-ms=50" if who else "server=on")


# What one guest's end of each network is, by folder, number and side. Ports are those of a namespace of the test's own.
NETS = {"dgram unix": unix_pair("dgram"), "stream unix": stream,
        "socket": lambda d, i, who: f"socket,{'connect' if who else 'listen'}=127.0.0.1:{5000 + 2 * i}",
        "mcast": lambda d, i, who: f"socket,mcast={GROUP},localaddr=127.0.0.1",
        "stream inet": lambda d, i, who: f"stream,addr.type=inet,addr.host=127.0.0.1,addr.port={5000 + 2 * i}," + ("reconnect-ms=50" if who else "server=on"),
        "dgram inet": inet_pair("dgram"), "hubport": stream}
JUMBO = 1  # the network with an MTU of 9000, VLANs and the capture
MIXED = ("packed", "split", "legacy", "packed", "split", "legacy", "packed")


def options(d, who, forms, more):
    out = [] if who else ["-object", f"filter-dump,id=f,netdev=n{JUMBO},file={d}/pcap,maxlen=64"]
    for i, (name, form) in enumerate(zip(NETS, forms)):
        text = NETS[name](d, i, who)
        kind, rest = text.split(",", 1)
        if name == "hubport" and not who:  # a hub between the card and the stream
            out += ["-netdev", f"{kind},id=far,{rest}", "-netdev", "hubport,id=hub,hubid=0,netdev=far", "-netdev", f"hubport,id=n{i},hubid=0"]
        else:
            out += ["-netdev", f"{kind},id=n{i},{rest}"]
        out += ["-device", f"virtio-net-pci,netdev=n{i},romfile=,mac=52:54:00:00:{i:02x}:0{who}{wire.FORMS[form]}{more}" +
                (",host_mtu=9000" if i == JUMBO else "")]
    return out


def jumbo(a, b, d):
    for who, g in enumerate((a, b)):
        g.shell(f"ip link add link eth{JUMBO} name v5 type vlan id 5; ip link set v5 up; ip addr add 10.5.0.{who + 1}/24 dev v5", 60)
    rc, out = a.shell("[ -e /sys/class/net/v5 ] && ping -c 2 -W 10 -s 4000 10.5.0.2", 60)
    vlan = "2 packets received" in out
    a.qmp("object-del", id="f")
    caught = wire.capture(f"{d}/pcap")
    most = max(size for size, f in caught if f[12:14] == b"\x08\0")
    yield "capture: whole frames up to the MTU of 9000", most == 9014, most
    yield "VLAN: large pings", vlan and any(f[12:16] == b"\x81\0\0\5" for _, f in caught), out


def tshark(d):
    """Wireshark's reader agrees about the capture."""
    if not shutil.which("tshark"):
        raise Skip("no tshark")
    out = subprocess.run(["tshark", "-r", f"{d}/pcap", "-T", "fields", "-e", "frame.len", "-e", "tcp.port"], stdout=subprocess.PIPE, text=True, check=True).stdout
    yield "tshark reads the capture", len(out.splitlines()) == len(wire.capture(f"{d}/pcap")) and "8000" in out, out[:2000]


def pairs(binary, forms, more, sizes, read_by=None):
    """forms and sizes (MB) of each network in turn."""
    wire.ip("link", "set", "lo", "multicast", "on", "up")
    wire.ip("route", "add", "239.0.0.0/8", "dev", "lo")
    with tempfile.TemporaryDirectory(prefix="virtue-nets-") as d, \
            wire.linux(binary, "pc", options(d, 0, forms, more)) as a, wire.linux(binary, "q35", options(d, 1, forms, more)) as b:
        for who, g in enumerate((a, b)):
            wire.up(g)
            g.shell("; ".join(f"ip link set eth{n} up; ip addr add 10.{n}.0.{who + 1}/24 dev eth{n}" for n in range(len(NETS))), 60)
            g.shell(f"ip link set eth{JUMBO} mtu 9000", 60)
        wire.serve(b)
        for n, name in enumerate(NETS):
            rc, out = a.shell(f"ping -c 1 -W 10 10.{n}.0.2", 60)
            yield f"{name}: ping", "1 packets received" in out, out
            yield from wire.streams(a, f"10.{n}.0.2", 8000, sizes[n], f"{name}, {forms[n]}")
        yield from jumbo(a, b, d)
        if read_by:
            yield from read_by(d)
        yield from wire.off(a, b)


ROWS = {"pairs": (MIXED, "", (64,) * len(NETS))}
ROWS_FULL = {f"pairs/{form}/{what}": ((form,) * len(NETS), more, (1024,) * len(NETS))
             for form in wire.FORMS for what, more in (("offloads", ""), ("plain", wire.PLAIN))} | {"pairs/capture": (MIXED, "", (1,) * len(NETS))}


def row(name):
    return lambda binary: wire.in_namespace(os.path.abspath(__file__), binary, name)


TESTS = {name: row(name) for name in ROWS}
FULL = {name: row(name) for name in ROWS_FULL}

if __name__ == "__main__":
    chosen = sys.argv[2]
    sys.exit(wire.report(pairs(sys.argv[1], *{**ROWS, **ROWS_FULL}[chosen], read_by=tshark if chosen in ROWS_FULL else None)))

#!/usr/bin/env python3
"""The user network's services as a Linux guest sees them: DHCP and what it says, DNS, IPv6, TFTP, forwards both ways, restrict; bulk TCP."""
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading

import wire

NAME, ADDRESS = "host.virtue.test", "10.9.8.7"
HOST_PORT, GUEST_PORT, UDP_PORT, LATER = 4000, 8000, 8001, 2005


def name_server(address):
    """Answers each question with one address record (RFC 1035, 4.1), or an empty answer."""
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))

    def run():
        while True:
            q, to = s.recvfrom(2000)
            end = q.index(b"\0", 12) + 5
            known = b"".join(bytes([len(w)]) + w.encode() for w in NAME.split(".")) in q and q[end - 4:end - 2] == b"\0\1"
            s.sendto(q[:2] + struct.pack(">HHHHH", 0x8180, 1, int(known), 0, 0) + q[12:end] +
                     (struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + socket.inet_aton(ADDRESS) if known else b""), to)

    threading.Thread(target=run, daemon=True).start()


def resolver(d):
    """This namespace's name servers are ours."""
    with open(f"{d}/resolv.conf", "w", encoding="ascii") as f:
        f.write("nameserver 127.0.0.1\nnameserver ::1\n")
    subprocess.run(["mount", "--bind", f"{d}/resolv.conf", os.path.realpath("/etc/resolv.conf")], check=True)
    name_server("127.0.0.1")
    name_server("::1")


def options(d, card):
    return ["-netdev", f"user,id=n0,hostname=one,domainname=virtue.test,dnssearch=a.test,dnssearch=b.test,tftp={d}/tftp,bootfile=file,"
            f"hostfwd=tcp:127.0.0.1:2001-:{GUEST_PORT},hostfwd=udp:127.0.0.1:2002-10.0.2.15:{UDP_PORT},guestfwd=tcp:10.0.2.100:99-cmd:cat",
            "-device", f"{card},netdev=n0,id=nic0,romfile=",
            "-netdev", f"user,id=n1,restrict=on,net=10.9.0.0/24,host=10.9.0.9,dhcpstart=10.9.0.77,dns=10.9.0.8,tftp-server-name=boot.test,ipv6=off,"
            f"hostfwd=tcp:127.0.0.1:2003-:{GUEST_PORT},guestfwd=tcp:10.9.0.100:99-cmd:cat",
            "-device", f"{card},netdev=n1,romfile="]


def leased(g, interface, want):
    """DHCP on an interface: each of the wanted lines is in what the client was told."""
    rc, out = g.shell(f"ip link set {interface} up; udhcpc -i {interface} -q -n -t 20 -T 1 -O search -O tftp -O bootfile -s /dhcp > /dev/null 2>&1; cat /dhcp.{interface}", 120)
    said = dict(l.strip().split("=", 1) for l in out.splitlines() if "=" in l)
    yield f"{interface}: DHCP", all(said.get(k) == v for k, v in want.items()), f"{out}\nwanted {want}"


def answer(args):
    return wire.peer(*args, timeout=120).strip()


def services(g, d):
    yield from leased(g, "eth0", {"ip": "10.0.2.15", "router": "10.0.2.2", "dns": "10.0.2.3", "domain": "virtue.test", "hostname": "one",
                                  "search": "a.test b.test", "boot_file": "file", "siaddr": "10.0.2.2"})
    rc, out = g.shell("n=0; until ip -6 addr show eth0 | grep -q 'fec0::.*dynamic' || [ $n -ge 200 ]; do sleep 0.1; n=$((n + 1)); done; ip -6 addr show eth0; ip -6 route", 60)
    yield "IPv6: an address and a router by router advertisement", "inet6 fec0::" in out and re.search(r"default via fe80::2 ", out), out
    for server in ("10.0.2.3", "fec0::3"):
        rc, out = g.shell(f"nslookup -type=a {NAME} {server}", 60)
        yield f"DNS through {server}", rc == 0 and ADDRESS in out, out
    rc, out = g.shell("tftp -g -r file -l /got 10.0.2.2; md5sum < /got; tftp -g -r ../resolv.conf -l /no 10.0.2.2", 60)
    with open(f"{d}/tftp/file", "rb") as f:
        want = subprocess.run(["md5sum"], input=f.read(), stdout=subprocess.PIPE, check=True).stdout.decode().split()[0]
    yield "TFTP: a file, and none from outside the folder", want in out and rc != 0, out
    rc, out = g.shell("echo through-cat | nc -w 20 10.0.2.100 99", 60)
    yield "guestfwd to a command", bool(re.search(r"^through-cat\r?$", out, re.M)), out


def forwards(g):
    wire.serve(g, GUEST_PORT)
    g.shell(f"(net-peer echo {UDP_PORT} &)", 60)
    size = str(4 << 20)
    for way in ("send", "fetch"):
        got = answer([way, "127.0.0.1", "2001", "77", size])
        yield f"hostfwd tcp: 4 MB, {way}", got == "ok", got
    got = answer(["ask", "127.0.0.1", "2002", "a-datagram"])
    yield "hostfwd udp", got == "a-datagram", got
    said = g.qmp("human-monitor-command", **{"command-line": f"hostfwd_add n0 tcp:127.0.0.1:{LATER}-:{GUEST_PORT}"})
    got = answer(["send", "127.0.0.1", LATER, "78", "100000"])
    yield "hostfwd_add", (said, got) == ("", "ok"), (said, got)
    said = g.qmp("human-monitor-command", **{"command-line": f"hostfwd_remove n0 tcp:127.0.0.1:{LATER}"})
    got = answer(["send", "127.0.0.1", LATER, "79", "100000"])
    yield "hostfwd_remove", said.strip() == f"host forwarding rule for tcp:127.0.0.1:{LATER} removed" and "refused" in got, (said, got)


def restricted(g):
    rc, out = g.shell("ip link set eth0 down", 60)
    yield from leased(g, "eth1", {"ip": "10.9.0.77", "tftp": "boot.test"})
    rc, out = g.shell(f"nc -w 2 10.9.0.9 {HOST_PORT} < /dev/null && echo REACH''ED; nslookup -type=a {NAME} 10.9.0.8 | grep {ADDRESS} && echo REACH''ED", 90)
    yield "restrict: neither the host nor its name server", "REACHED" not in out, out
    rc, out = g.shell("echo through-cat | nc -w 20 10.9.0.100 99", 60)
    yield "restrict: guestfwd still works", bool(re.search(r"^through-cat\r?$", out, re.M)), out
    got = answer(["fetch", "127.0.0.1", "2003", "80", "100000"])
    yield "restrict: hostfwd still works", got == "ok", got


def user(binary, machine, card, mb):
    wire.ip("link", "set", "lo", "up")
    with tempfile.TemporaryDirectory(prefix="virtue-user-") as d:
        resolver(d)
        os.mkdir(f"{d}/tftp")
        with open(f"{d}/tftp/file", "wb") as f:
            f.write(os.urandom(100001))
        with wire.HostPeer(HOST_PORT), wire.linux(binary, machine, options(d, card), modules=["e1000", "8139cp"]) as g:
            wire.up(g)
            yield from services(g, d)
            yield from forwards(g)
            yield from wire.streams(g, "10.0.2.2", HOST_PORT, mb, "IPv4")
            yield from wire.streams(g, "fec0::2", HOST_PORT, max(mb // 8, 1), "IPv6")
            g.qmp("set_link", name="nic0", up=False)
            yield "link down", wire.carrier(g, 0), g.tail()
            g.qmp("set_link", name="nic0", up=True)
            yield "link up", wire.carrier(g, 1), g.tail()
            yield from restricted(g)
            yield from wire.off(g)


ROWS = {"packed": ("q35", "virtio-net-pci" + wire.FORMS["packed"], 64)}
ROWS_FULL = {f"{machine}/{form}/{what}": (machine, f"virtio-net-pci{wire.FORMS[form]}{more}", 1024)
             for machine in ("pc", "q35") for form in wire.FORMS for what, more in (("offloads", ""), ("plain", wire.PLAIN))}


def row(name):
    return lambda binary: wire.in_namespace(os.path.abspath(__file__), binary, name)


TESTS = {name: row(name) for name in ROWS}
FULL = {name: row(name) for name in ROWS_FULL}

if __name__ == "__main__":
    sys.exit(wire.report(user(sys.argv[1], *{**ROWS, **ROWS_FULL}[sys.argv[2]])))

#!/usr/bin/env python3
"""The user network's options as a guest sees them, by raw frames: each option's effect, and the same effect from QEMU 10.0."""
import os
import select
import socket
import struct
import tempfile

import vm
from net_frames import BASE, checksum, exact, free_port, hub, unix
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-user-")
D = tmp.name
MAC = bytes.fromhex("525400010203")
UDP, TCP, ICMP, ICMP6 = 17, 6, 1, 58


def quad(text):
    return socket.inet_aton(text)


class Guest:
    """A guest made of a datagram socket on a hub with the user network: sends frames, waits for those that mean something."""

    def __init__(self, options, binary=None):
        us, them = f"{D}/us", f"{D}/vm"
        for p in (us, them):
            if os.path.exists(p):
                os.unlink(p)
        self.to, self.address, self.gateway = them, "10.0.2.15", bytes.fromhex("52550a000202")
        self.sock = unix(socket.SOCK_DGRAM, us)
        args = hub(f"dgram,local.type=unix,local.path={them},remote.type=unix,remote.path={us}", "user," + options)
        self.vm = Vm((["-accel", "tcg"] if binary else BASE[:2]) + BASE[2:] + args, binary=binary)

    def __enter__(self):
        self.vm.__enter__()
        return self

    def __exit__(self, *exc):
        self.sock.close()
        return self.vm.__exit__(*exc)

    def send(self, packet, to=None):
        self.sock.sendto((to or self.gateway) + MAC + packet, self.to)

    def ip(self, proto, src, dst, payload):
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, proto, 0, quad(src), quad(dst))
        self.send(b"\x08\0" + head[:10] + checksum(head) + head[12:] + payload)

    def udp(self, dst, port, data, src=None, ours=1000):
        self.ip(UDP, src or self.address, dst, struct.pack(">HHHH", ours, port, 8 + len(data), 0) + data)

    def frames(self, seconds):
        """What comes, until nothing comes for so long; who asks for us is answered."""
        while select.select([self.sock], [], [], seconds)[0]:
            f = self.sock.recv(70000)
            if f[12:22] == bytes.fromhex("08060001080006040001") and f[38:42] == quad(self.address):
                self.send(bytes.fromhex("08060001080006040002") + MAC + f[38:42] + f[22:32], f[6:12])
            yield f

    def wait(self, what, fn):
        for f in self.frames(vm.TIMEOUT):
            r = fn(f)
            if r is not None:
                return r
        raise AssertionError(f"no {what}")

    def wait_ip(self, proto, fn=lambda p: p):
        """The next packet's payload, if fn has something to say about it."""
        return self.wait(f"packet of protocol {proto}", lambda f: fn(f[14 + (f[14] & 15) * 4:14 + struct.unpack(">H", f[16:18])[0]])
                         if f[12:14] == b"\x08\0" and f[23] == proto else None)

    def silent(self, proto):
        """A frame of ours is answered before anything of that protocol comes."""
        self.send(bytes.fromhex("08060001080006040001") + MAC + quad(self.address) + bytes(6) + quad("10.0.2.2"), b"\xff" * 6)
        return self.wait("answer", lambda f: False if f[12:14] == b"\x08\0" and f[23] == proto else True if f[12:14] == b"\x08\6" and f[21] == 2 else None)

    def dhcp(self):
        """A DISCOVER's answer: the fields that options decide, and the options by number (RFC 2131, RFC 2132)."""
        ask = b"\1\1\6\0" + b"\x12\x34\x56\x78" + bytes(20) + MAC + bytes(202) + b"c\x82Sc" + b"\x35\1\1\xff"
        self.udp("255.255.255.255", 67, ask, "0.0.0.0", 68)
        m = self.wait_ip(UDP, lambda p: p[8:] if p[:4] == struct.pack(">HH", 67, 68) else None)
        out, at = {"address": socket.inet_ntoa(m[16:20]), "next": socket.inet_ntoa(m[20:24]), "file": m[108:236].split(b"\0")[0]}, 240
        while m[at] != 255:
            out[m[at]] = m[at + 2:at + 2 + m[at + 1]]
            at += 2 + m[at + 1]
        return out


DHCP = [("restrict=off", {"address": "10.0.2.15", 1: quad("255.255.255.0"), 3: quad("10.0.2.2"), 6: quad("10.0.2.3")}),
        ("hostname=one", {12: b"one"}), ("domainname=virtue.test", {15: b"virtue.test"}),
        ("dnssearch=a.test,dnssearch=b.test", {119: b"\1a\4test\0\1b\xc0\2"}), ("dns=10.0.2.9", {6: quad("10.0.2.9")}),
        ("dhcpstart=10.0.2.99", {"address": "10.0.2.99"}), ("bootfile=pxe.0", {"file": b"pxe.0"}), (f"tftp={D}", {"next": "10.0.2.2"}),
        ("tftp-server-name=boot.test", {66: b"boot.test"}), ("restrict=on", {"address": "10.0.2.15", 3: None, 6: None}),
        ("net=192.168.7.0/24", {"address": "192.168.7.15", 3: quad("192.168.7.2"), 6: quad("192.168.7.3")}),
        ("net=192.168.0.0/255.255.0.0,host=192.168.9.9", {1: quad("255.255.0.0"), 3: quad("192.168.9.9"), "address": "192.168.2.15"}),
        ("net=172.16.5.4/30,host=172.16.5.5,dns=172.16.5.6,dhcpstart=172.16.5.7", {1: quad("255.255.255.252"), "address": "172.16.5.7"})]


@test("DHCP says what hostname, domainname, dnssearch, dns, dhcpstart, bootfile, tftp, restrict, net and host ask for, as QEMU 10.0")
def dhcp():
    for options, want in DHCP:
        said = []
        for binary in (None, vm.oracle()):
            with Guest(options, binary) as g:
                said.append(g.dhcp())
        same({k: said[0].get(k) for k in want}, want, options)
        same(said[0], said[1], f"{options}: ours, and QEMU 10.0's")


def router(g):
    """What a router solicitation is answered with (RFC 4861, RFC 8106): prefix, its length, the name server."""
    body = b"\x85" + bytes(7)
    ends = bytes.fromhex("fe80" + "00" * 13 + "15" + "ff02" + "00" * 13 + "02")
    total = checksum(ends + struct.pack(">II", len(body), ICMP6) + body)
    g.send(b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(body), ICMP6, 255) + ends + body[:2] + total + body[4:], bytes.fromhex("333300000002"))
    m = g.wait("router advertisement", lambda f: f[54:] if f[12:14] == b"\x86\xdd" and f[20] == ICMP6 and f[54] == 134 else None)
    out, at = {}, 16
    while at < len(m) and m[at + 1]:
        option = m[at:at + m[at + 1] * 8]
        out[option[0]] = (option[2], option[16:32]) if option[0] == 3 else option[8:24]
        at += len(option)
    return out


@test("router advertisements: ipv6-net, ipv6-prefix with its length, ipv6-dns, as QEMU 10.0; none with ipv6=off")
def advertisements():
    for options, length, prefix, dns in (("ipv6=on", 64, "fec0::", "fec0::3"), ("ipv6-net=fd00:7::/48", 48, "fd00:7::", "fd00:7::3"),
                                         ("ipv6-prefix=fd00:8::,ipv6-prefixlen=80,ipv6-host=fd00:8::9,ipv6-dns=fd00:8::7", 80, "fd00:8::", "fd00:8::7")):
        said = []
        for binary in (None, vm.oracle()):
            with Guest(options, binary) as g:
                said.append(router(g))
        six = [socket.inet_pton(socket.AF_INET6, a) for a in (prefix, dns)]
        same((said[0][3], said[0].get(25, six[1])), ((length, six[0]), six[1]), options)  # a host without IPv6 has no name server to tell of
        same(said[0], said[1], f"{options}: ours, and QEMU 10.0's")
    with Guest("ipv6=off") as g:
        g.send(b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, 8, ICMP6, 255) + bytes.fromhex("fe80" + "00" * 13 + "15" + "ff02" + "00" * 13 + "02") + b"\x85" + bytes(7),
               bytes.fromhex("333300000002"))
        assert g.silent(ICMP6)
    with Guest("ipv4=off") as g:
        g.udp("10.0.2.2", 9, b"x")
        same(router(g)[3][0], 64, "IPv6 alone")


def tftp(g, name):
    """A small file, or the error's number."""
    g.udp("10.0.2.2", 69, b"\0\1" + name.encode() + b"\0octet\0")
    m = g.wait_ip(UDP, lambda p: p[8:] if p[2:4] == struct.pack(">H", 1000) else None)
    return m[4:] if m[:2] == b"\0\3" else struct.unpack(">H", m[2:4])[0]


@test("tftp=: a file of the folder, none from outside, none without the option")
def files():
    with open(f"{D}/file", "wb") as f:
        f.write(b"contents")
    os.makedirs(f"{D}/sub", exist_ok=True)
    with Guest(f"tftp={D}/sub") as g:
        same([tftp(g, n) for n in ("../file", "/../file", "none")], [2, 2, 1])
    with Guest(f"tftp={D}") as g:
        same([tftp(g, n) for n in ("file", "/file")], [b"contents"] * 2)
    with Guest("restrict=off") as g:
        assert isinstance(tftp(g, "file"), int)


@test("hostfwd: udp and an empty host address reach the guest named, or the one that DHCP serves; restrict=on lets nothing else out")
def forwards():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        host.bind(("127.0.0.1", 0))
        host.settimeout(vm.TIMEOUT)
        port = host.getsockname()[1]
        for restrict in ("off", "on"):
            one, two = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
            with Guest(f"restrict={restrict},hostfwd=udp:127.0.0.1:{one}-:7,hostfwd=udp::{two}-10.0.2.77:8") as g:
                u.sendto(b"first", ("127.0.0.1", one))
                g.wait_ip(UDP, lambda p: True if p[2:4] == b"\0\7" and p[8:] == b"first" else None)
                g.address = "10.0.2.77"
                u.sendto(b"second", ("127.0.0.1", two))
                g.wait_ip(UDP, lambda p: True if p[2:4] == b"\0\x08" and p[8:] == b"second" else None)
                g.address = "10.0.2.15"
                g.udp("10.0.2.2", port, b"out")
                if restrict == "off":
                    same(host.recv(100), b"out")
                else:
                    assert g.silent(UDP) and not select.select([host], [], [], 0)[0], "restrict lets a datagram out"


class Stream:
    """A TCP connection of the guest's (RFC 9293), with no more than a test needs: it sends, and sends again what is not acknowledged."""

    def __init__(self, g, to, port):
        self.g, self.to, self.port, self.next, self.acked, self.got = g, to, port, 1, 1, b""
        self.theirs = 0
        self.segment(2, 0)
        self.receive(lambda: self.theirs)
        self.segment(16, 1)

    def segment(self, flags, seq, data=b""):
        head = struct.pack(">HHIIBBHHH", 1001, self.port, seq, self.theirs, 0x50, flags, 32768, 0, 0)
        total = checksum(quad(self.g.address) + quad(self.to) + struct.pack(">HH", TCP, len(head) + len(data)) + head + data)
        self.g.ip(TCP, self.g.address, self.to, head[:16] + total + head[18:] + data)

    def receive(self, done, seconds=vm.TIMEOUT):
        for f in () if done() else self.g.frames(seconds):
            if f[12:14] == b"\x08\0" and f[23] == TCP:
                p = f[34:14 + struct.unpack(">H", f[16:18])[0]]
                seq, ack, words, flags = struct.unpack(">IIBB", p[4:14])
                data = p[(words >> 4) * 4:]
                if flags & 2:
                    self.theirs = seq + 1
                self.acked = max(self.acked, ack)
                if seq == self.theirs and data:
                    self.got += data
                    self.theirs += len(data)
                    self.segment(16, self.next)
            if done():
                return True
        return done()

    def say(self, data, seconds):
        """Sends from where it is acknowledged. True: all of it is; False: no more of it within that time."""
        while self.acked - 1 < len(data):
            at = self.acked - 1
            for i in range(8):
                piece = data[at + i * 1400:at + (i + 1) * 1400]
                if piece:
                    self.segment(24, at + 1 + i * 1400, piece)
            self.next = min(at + 8 * 1400, len(data)) + 1
            if not self.receive(lambda: self.acked > at + 1, seconds):
                return False
        return True


@test("guestfwd: to a command, with an answer; to a device that does not read: nothing is lost, and nothing grows")
def guestfwd():
    with Guest("guestfwd=tcp:10.0.2.100:99-cmd:cat") as g:
        s = Stream(g, "10.0.2.100", 99)
        assert s.say(b"through cat", vm.TIMEOUT)
        s.receive(lambda: s.got == b"through cat")
    path, data = f"{D}/fwd", os.urandom(3 << 20)
    listener = unix(socket.SOCK_STREAM, path)
    listener.listen(1)
    with Guest(f"guestfwd=tcp:10.0.2.100:99-unix:{path}") as g:
        there, _ = listener.accept()
        there.settimeout(vm.TIMEOUT)
        s = Stream(g, "10.0.2.100", 99)
        there.send(b"hello")
        assert s.receive(lambda: s.got == b"hello")
        assert not s.say(data, 1)  # a second for a segment on a machine of its own: nobody reads
        assert s.acked < 1 << 20, f"{s.acked} bytes are acknowledged that nobody took"
        got = b""
        while len(got) < len(data):
            if len(got) < s.acked - 1:
                got += exact(there, s.acked - 1 - len(got))
            assert s.say(data[:s.acked - 1 + 200000], vm.TIMEOUT)
        assert got == data, "what came is not what was sent"
    listener.close()


if __name__ == "__main__":
    vm.main()

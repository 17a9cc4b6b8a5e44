#!/usr/bin/env python3
"""Hostile peers of each network back end (the classes that servers are tested by): half frames, giant lengths, a peer that goes at each byte, that
reads nothing, that comes too often; datagrams of any size. What stands next to it on the hub goes on, and nothing grows."""
import os
import select
import socket
import struct
import tempfile

import vm
from net_frames import BASE, framed, free_port
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-peers-")
D = tmp.name
FRAME = bytes(range(256)) * 4
GIANT = 69632  # the longest packet that a stream may announce; one more ends it
ROUNDS = 300


class Net:
    """A hub with the back end under test, b, and two unix dgram ones, whose other ends are ours: what goes in at one comes out at the other."""

    def __init__(self, name, spec, more=()):
        args, self.ends, kind, rest = [*more], [], *spec.split(",", 1)
        backs = [(kind, "b", rest)]
        for i in range(2):
            us, them = f"{D}/{name}{i}.us", f"{D}/{name}{i}.vm"
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            s.bind(us)
            s.settimeout(vm.TIMEOUT)
            self.ends.append((s, them))
            backs.append(("dgram", f"e{i}", f"local.type=unix,local.path={them},remote.type=unix,remote.path={us}"))
        for kind, ident, rest in backs:
            args += ["-netdev", f"{kind},id={ident},{rest}", "-netdev", f"hubport,id=h{ident},hubid=0,netdev={ident}"]
        self.vm = Vm(BASE + args)
        self.base = None

    def __enter__(self):
        self.vm.__enter__()
        return self

    def __exit__(self, *exc):
        for s, _ in self.ends:
            s.close()
        return self.vm.__exit__(*exc)

    def drain(self):
        for s, _ in self.ends:
            while select.select([s], [], [], 0)[0]:
                s.recv(1 << 18)

    def goes_on(self, mark):
        """A frame crosses the hub; whatever else came before it is of no interest."""
        frame = struct.pack(">I", mark) + FRAME
        (a, to), (b, _) = self.ends
        for _ in range(20):  # a hub loses what one of its ends is too full for
            a.sendto(frame, to)
            while select.select([b], [], [], 1)[0]:
                if b.recv(1 << 18) == frame:
                    return
        raise AssertionError("nothing crosses the hub any more")

    def heard(self):
        """What the peer under test sent next."""
        return self.ends[0][0].recv(1 << 18)

    def size(self):
        pid = self.vm.p.pid
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            rss = int(f.read().split("Anonymous:")[1].split()[0])
        return rss, len(os.listdir(f"/proc/{pid}/fd"))

    def grown(self, descriptors=0, each=0):
        """Compares with what the first call saw: at most so many descriptors more, and so many KiB for each of them."""
        self.vm.qmp.ok("query-status")
        now = self.size()
        if self.base is None:
            self.base = now
        more = now[1] - self.base[1]
        assert more <= descriptors and now[0] < self.base[0] + 2048 + each * max(more, 0), f"KiB and descriptors: {self.base}, then {now}"


# KiB: a connection of the user network has two buffers of 128 (whole where malloc fills what it gives), until it is given up.
SLIRP_BUFFERS = 2 * 128 + 16

# Each is said by a peer that goes then; whether it is an end by itself.
SPEECHES = ([(framed(FRAME)[:n], False) for n in (0, 1, 2, 3, 4, 5, 100, 1027)] + [(framed(FRAME) + b"\0\0", False), (bytes(4000), False)] +
            [(struct.pack(">I", n) + FRAME, True) for n in (GIANT + 1, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff)])


def closed(s):
    """The emulator ends the connection, or had it with what we still said."""
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def leave(s):
    """Says that there is no more, and sees the emulator leave, too: it has a place for one."""
    try:
        s.shutdown(socket.SHUT_WR)
        while s.recv(1 << 16):
            pass
    except OSError:  # it was first
        pass
    s.close()


def speeches(net, connect, times):
    for n in range(times):
        for words, ends in SPEECHES:
            s = connect()
            s.sendall(words)
            if ends:
                assert closed(s), f"{words[:4].hex()} does not end the connection"
            leave(s)
        net.goes_on(n)
        net.drain()
        net.grown(descriptors=1)  # a connection, or none at the moment


def listening(name, spec, connect):
    """A server of ours: peers come, say something and go; the next one is served."""
    with Net(name, spec) as net:
        speeches(net, connect, 20)
        s = connect()
        s.sendall(framed(FRAME))
        same(net.heard(), FRAME)
        # Others that come meanwhile do not disturb the one that is there; nor one that reads nothing.
        for _ in range(ROUNDS):
            other = socket.socket(s.family, socket.SOCK_STREAM)
            other.setblocking(False)
            try:
                other.connect(s.getpeername())
                other.send(framed(FRAME)[:100])
            except OSError:  # nobody takes it
                pass
            other.close()
        for n in range(ROUNDS):
            (a, to), (b, _) = net.ends
            a.sendto(bytes(60000), to)
            b.recv(1 << 18)
        net.grown(descriptors=64)  # what waits in its queue of connections
        s.close()
        net.goes_on(99)


def patient(dial):
    """Dials until it is answered: a server of one connection listens again when that has ended."""
    def connect():
        while True:
            try:
                s = dial()
                s.settimeout(vm.TIMEOUT)
                return s
            except (ConnectionRefusedError, BlockingIOError, FileNotFoundError):
                select.select([], [], [], 0.01)
    return connect


def unix(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(path)
    return s


@test("stream server over unix: peers that break off, lie about lengths, read nothing, come too often")
def stream_unix():
    listening("su", f"stream,server=on,addr.type=unix,addr.path={D}/su", patient(lambda: unix(f"{D}/su")))


@test("stream server over TCP: the same")
def stream_inet():
    port = free_port()
    listening("si", f"stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
              patient(lambda: socket.create_connection(("127.0.0.1", port), vm.TIMEOUT)))


@test("socket listen: the same")
def socket_listen():
    port = free_port()
    listening("sl", f"socket,listen=127.0.0.1:{port}", patient(lambda: socket.create_connection(("127.0.0.1", port), vm.TIMEOUT)))


def server():
    s = socket.create_server(("127.0.0.1", 0), backlog=64)
    s.settimeout(vm.TIMEOUT)
    return s


@test("stream and socket as clients: servers that break off and lie; one that is never there again")
def clients():
    with server() as l, Net("cl", f"stream,addr.type=inet,addr.host=127.0.0.1,addr.port={l.getsockname()[1]},reconnect-ms=1") as net:
        speeches(net, lambda: l.accept()[0], 5)
    with server() as l:
        for i, (words, ends) in enumerate(SPEECHES):
            with Net(f"so{i}", f"socket,connect=127.0.0.1:{l.getsockname()[1]}") as net:
                s, _ = l.accept()
                s.settimeout(vm.TIMEOUT)
                s.sendall(words)
                assert not ends or closed(s)
                s.close()
                net.goes_on(1)
                assert not select.select([l], [], [], 0)[0], "socket connects again"


def datagrams(net, send, most):
    """Datagrams of any size: each that a packet can be crosses, and none stops the others."""
    for n in range(20):
        for size in (0, 1, 13, 14, 60, 1514, 65507):
            send(bytes(size))
        if most:
            for size in (65536, GIANT, GIANT + 1, 100000, most):
                send(bytes(size))
            net.drain()
        net.goes_on(n)
        net.drain()
        net.grown()
    send(FRAME)
    same(net.heard(), FRAME)


@test("datagrams of 0 bytes to more than any packet has: unix, UDP, socket udp=, a multicast group")
def datagram():
    with Net("du", f"dgram,local.type=unix,local.path={D}/du.vm,remote.type=unix,remote.path={D}/du.us") as net, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.settimeout(vm.TIMEOUT)
        datagrams(net, lambda data: s.sendto(data, f"{D}/du.vm"), 150000)
    for i, spec in enumerate(("dgram,local.type=inet,local.host=127.0.0.1,local.port={},remote.type=inet,remote.host=127.0.0.1,remote.port={}",
                              "socket,localaddr=127.0.0.1:{},udp=127.0.0.1:{}")):
        ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
        with Net(f"dg{i}", spec.format(*ports)) as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            datagrams(net, lambda data: s.sendto(data, ("127.0.0.1", ports[0])), 0)
            # Nobody is at the other end: its refusals are no end either.
            for n in range(50):
                net.goes_on(n)


@test("filters fed by a socket: half frames and giant lengths, a peer that goes and comes again")
def filters():
    more = ["-chardev", f"socket,id=in,path={D}/in,server=on,wait=off"]
    with Net("fi", f"dgram,local.type=unix,local.path={D}/fi.vm,remote.type=unix,remote.path={D}/fi.us", more) as net:
        net.vm.qmp.ok("object-add", {"qom-type": "filter-redirector", "id": "r", "netdev": "b", "queue": "rx", "indev": "in"})
        for n in range(20):
            for words, _ in SPEECHES:
                s = patient(lambda: unix(f"{D}/in"))()
                s.sendall(words)
                s.close()
            net.goes_on(n)
            net.drain()
            net.grown()


@test("forwards of the user network without a guest: a thousand connections that nobody answers")
def forwards():
    port, udp = free_port(), free_port(socket.SOCK_DGRAM)
    with Net("fw", f"user,hostfwd=tcp:127.0.0.1:{port}-:80,hostfwd=udp:127.0.0.1:{udp}-:53") as net, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        for n in range(20):
            some = []
            for _ in range(50):
                s = socket.socket()
                s.setblocking(False)
                try:
                    s.connect(("127.0.0.1", port))
                except BlockingIOError:
                    pass
                some.append(s)
                u.sendto(FRAME, ("127.0.0.1", udp))
            for s in some:
                s.close()
            net.goes_on(n)
            net.drain()
            fds = net.size()[1]
            assert fds < 600, f"{fds} descriptors"
            if n == 10:
                net.grown(600, SLIRP_BUFFERS)
        net.grown(600, SLIRP_BUFFERS)


if __name__ == "__main__":
    vm.main()

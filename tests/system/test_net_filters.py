#!/usr/bin/env python3
"""Filters on every kind of back end, in every place, coming and going under traffic, with listeners that do not read."""
import os
import select
import socket
import struct
import subprocess
import tempfile
import threading

import vm
from net_frames import BASE, framed, free_port, hub, own_network, take, unix
from vm import Vm, same, test, until

tmp = tempfile.TemporaryDirectory(prefix="virtue-filters-")
D = tmp.name
IN, OUT = b"i" * 64, b"o" * 64  # to the back end that is looked at, and from it


def dgram(name):
    """A unix dgram back end's text, and our end of it, connected."""
    us, them = f"{D}/{name}.us", f"{D}/{name}.vm"
    s = unix(socket.SOCK_DGRAM, us)
    return f"dgram,local.type=unix,local.path={them},remote.type=unix,remote.path={us}", s, them


def frames(path):
    """The packets of a capture."""
    with open(path, "rb") as f:
        data, at, out = f.read(), 24, []
    while at + 16 <= len(data):
        size = struct.unpack("=I", data[at + 8:at + 12])[0]
        out.append(data[at + 16:at + 16 + size])
        at += 16 + size
    return out


class Peer:
    """The other end of a back end: what -netdev says, and how to talk to it once that is there."""

    def __init__(self, spec, dial, stream):
        self.spec, self.dial, self.stream = spec, dial, stream

    def talk(self):
        s, to = self.dial()
        s.settimeout(vm.TIMEOUT)
        if self.stream:
            s.sendall(framed(OUT))
            return lambda: take(s)
        s.sendto(OUT, to)
        return lambda: s.recv(70000)


def accepted(listener):
    return listener.accept()[0], None


def dialled(family, to):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.connect(to)
    return s, None


def peers():
    text, d, at = dgram("p")
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(4)] + [free_port()]
    udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for u, p in zip(udp, ports):
        u.bind(("127.0.0.1", p))
    l = socket.create_server(("127.0.0.1", 0))
    return {"dgram unix": Peer(text, lambda: (d, at), False),
            "dgram inet": Peer(f"dgram,local.type=inet,local.host=127.0.0.1,local.port={ports[2]},remote.type=inet,remote.host=127.0.0.1,remote.port={ports[0]}",
                               lambda: (udp[0], ("127.0.0.1", ports[2])), False),
            "socket udp": Peer(f"socket,localaddr=127.0.0.1:{ports[3]},udp=127.0.0.1:{ports[1]}", lambda: (udp[1], ("127.0.0.1", ports[3])), False),
            "stream unix": Peer(f"stream,server=on,addr.type=unix,addr.path={D}/ps", lambda: dialled(socket.AF_UNIX, f"{D}/ps"), True),
            "stream inet": Peer(f"stream,addr.type=inet,addr.host=127.0.0.1,addr.port={l.getsockname()[1]},reconnect=1", lambda: accepted(l), True),
            "socket listen": Peer(f"socket,listen=127.0.0.1:{ports[4]}", lambda: dialled(socket.AF_INET, ("127.0.0.1", ports[4])), True)}


@test("filter-dump with queue=rx, tx and all on each kind of back end and on a hub's port, beside a mirror and a delay")
def each_kind():
    for kind, peer in peers().items():
        for place in ("b0", "h0"):
            text, d, at = dgram(f"e{place}")
            dumps = [x for q in ("rx", "tx", "all") for x in ("-object", f"filter-dump,id=f{q},netdev={place},queue={q},file={D}/{q}")]
            more = ["-object", f"filter-buffer,id=late,netdev={place},interval=1000", "-chardev", "null,id=c", "-object",
                    f"filter-mirror,id=copy,netdev={place},outdev=c,position=head"]
            with Vm(["-accel", "tcg", *BASE[2:]] + hub(peer.spec, text) + dumps + more) as v:  # qtest's clock stands, and with it what is delayed
                hear = peer.talk()
                same(d.recv(70000), OUT, kind)
                d.sendto(IN, at)
                same(hear(), IN, kind)
                # A hub's port receives what the back end behind it sends.
                rx, tx = (IN, OUT) if place == "b0" else (OUT, IN)
                same([frames(f"{D}/{q}") for q in ("rx", "tx", "all")], [[rx], [tx], [OUT, IN]], f"{kind}, filters on {place}")
                v.qmp.ok("query-version")
            os.unlink(f"{D}/e{place}.us")


@test("filter-dump on the user network and on a tap: bare frames")
def others():
    text, d, at = dgram("ot")
    ask = b"\xff" * 6 + bytes.fromhex("525400010203" "0806" "0001080006040001" "525400010203") + bytes([10, 0, 2, 15]) + bytes(6) + bytes([10, 0, 2, 2])
    with Vm(BASE + hub("user", text) + ["-object", f"filter-dump,id=f,netdev=b0,file={D}/u"]):
        d.sendto(ask, at)
        answer = d.recv(70000)
        same(frames(f"{D}/u"), [ask, answer])
    wrap = own_network()
    os.unlink(f"{D}/ot.us")
    text, d, at = dgram("ot")
    with Vm(BASE + hub(text) + ["-netdev", "tap,id=t,ifname=t0,script=no,downscript=no,vnet_hdr=off", "-netdev", "hubport,id=ht,hubid=0,netdev=t",
                                "-object", f"filter-dump,id=f,netdev=t,queue=tx,file={D}/t"], wrap=wrap) as v:
        subprocess.run(["nsenter", "-n", "-t", str(v.p.pid), "ip", "link", "set", "t0", "up"], check=True)
        first = d.recv(70000)  # the kernel looks for neighbours and routers
        same(frames(f"{D}/t")[0], first)


PLACES = ["", "position=head", "position=tail", "position=id=r,insert=before", "position=id=r,insert=behind", "position=id=r", "insert=before", "position=head,insert=before"]


@test("position and insert: who sees a packet before a redirector takes it, each way, as QEMU 10.0")
def places():
    said = []
    for binary in (None, vm.oracle()):
        text, d, at = dgram("pl")
        far, e, e_at = dgram("far")
        seen = []
        for way in ("tx", "rx"):
            args = (["-accel", "tcg"] if binary else BASE[:2]) + BASE[2:] + hub(text, far) + ["-chardev", f"socket,id=c,path={D}/pl.c,server=on,wait=off"]
            with Vm(args, binary=binary) as v:
                listener = unix(socket.SOCK_STREAM, to=f"{D}/pl.c")
                v.qmp.ok("object-add", {"qom-type": "filter-redirector", "id": "r", "netdev": "b0", "queue": way, "outdev": "c"})
                for i, place in enumerate(PLACES):
                    more = dict(p.split("=", 1) for p in place.split(",") if p)
                    v.qmp.ok("object-add", dict({"qom-type": "filter-dump", "id": f"f{i}", "netdev": "b0", "file": f"{D}/f{i}"}, **more))
                s, to = (d, at) if way == "tx" else (e, e_at)
                s.sendto(IN, to)
                same(take(listener), IN)
                v.qmp.ok("query-version")
                seen.append([len(frames(f"{D}/f{i}")) for i in range(len(PLACES))])
                seen.append([l.split(":")[0] for l in v.qmp.hmp("info network").splitlines() if l.startswith("  - ")])
                listener.close()
        said.append(seen)
        for s, name in ((d, "pl"), (e, "far")):
            s.close()
            os.unlink(f"{D}/{name}.us")
    assert 0 in said[0][0] and 1 in said[0][0] and said[0][0] != said[0][2], said[0]
    same(said[0], said[1], "ours, and QEMU 10.0's")


class Flow:
    """Sends numbered packets in at one end and takes them from the other: each once, in order, or wrong says what came."""

    def __init__(self, d, at, e, total):
        self.sent, self.wrong = 0, []
        self.threads = [threading.Thread(target=f, daemon=True) for f in (lambda: self.send(d, at, total), lambda: self.receive(e, total))]
        for t in self.threads:
            t.start()

    def send(self, d, at, total):
        for n in range(total):
            d.sendto(struct.pack(">I", n) + bytes(60 + n % 1400), at)
            self.sent = n + 1

    def receive(self, e, total):
        for n in range(total):
            got = struct.unpack(">I", e.recv(70000)[:4])[0]
            if got != n:
                self.wrong.append((got, n))
                return

    def alive(self):
        return [t.is_alive() for t in self.threads]

    def waits(self):
        """Has nothing been sent for a moment? (If only because the host is slow: then the test tests less.)"""
        before = self.sent
        select.select([], [], [], 0.3)
        return self.sent == before


@test("filters that come, are switched and go under traffic: each packet arrives once and in order")
def under_traffic():
    text, d, at = dgram("ut")
    far, e, _ = dgram("utf")
    kinds = [{"qom-type": "filter-dump", "file": "/dev/null"}, {"qom-type": "filter-buffer", "interval": 200}, {"qom-type": "filter-mirror", "outdev": "null"}]
    with Vm(BASE + hub(text, far) + ["-chardev", "null,id=null"]) as v:
        f = Flow(d, at, e, 20000)
        rounds = 0
        while any(f.alive()):
            for i, k in enumerate(kinds):
                v.qmp.ok("object-add", dict(k, id=f"f{i}", netdev="b0", queue=("tx", "all", "rx")[rounds % 3], position=("head", "tail")[rounds % 2]))
            for i in range(len(kinds)):
                v.qmp.ok("qom-set", path=f"/objects/f{i}", property="status", value="off")
                v.qmp.ok("qom-set", path=f"/objects/f{i}", property="status", value="on")
            for i in range(len(kinds)):
                v.qmp.ok("object-del", id=f"f{(i + rounds) % len(kinds)}")
            rounds += 1
        same((f.wrong, rounds > 3), ([], True))


def anonymous(v):
    """KiB of memory of its own."""
    with open(f"/proc/{v.p.pid}/smaps_rollup", encoding="ascii") as f:
        return int(f.read().split("Anonymous:")[1].split()[0])


@test("a mirror whose listener does not read makes the network wait, and nothing grows; it reads again, or goes: all arrives")
def unread():
    text, d, at = dgram("un")
    far, e, _ = dgram("unf")
    total = 4000
    for goes in (False, True):
        with Vm(BASE + hub(text, far) + ["-chardev", f"socket,id=c,path={D}/un.c,server=on,wait=off", "-object", "filter-mirror,id=m,netdev=b0,queue=tx,outdev=c"]) as v:
            listener = unix(socket.SOCK_STREAM, to=f"{D}/un.c")
            v.qmp.ok("query-version")
            before = anonymous(v)
            f = Flow(d, at, e, total)
            until("the sender waits", f.waits)
            assert f.alive()[1] and anonymous(v) < before + 2048, f"{before} KiB, then {anonymous(v)}"
            if goes:
                listener.close()
            else:
                same([struct.unpack(">I", take(listener)[:4])[0] for _ in range(total)], list(range(total)), "the copies")
            for t in f.threads:
                t.join(vm.TIMEOUT)
            same((f.wrong, f.alive()), ([], [False, False]))


@test("a redirector's input while the far end takes nothing: its sender waits, nothing grows, all arrives once")
def flood():
    text, d, at = dgram("fl")
    far, e, _ = dgram("flf")
    total = 20000
    with Vm(BASE + hub(text, far) + ["-chardev", f"socket,id=c,path={D}/fl.c,server=on,wait=off", "-object", "filter-redirector,id=r,netdev=b1,queue=rx,indev=c"]) as v:
        s = unix(socket.SOCK_STREAM, to=f"{D}/fl.c")
        v.qmp.ok("query-version")
        before = anonymous(v)
        sender = threading.Thread(target=lambda: [s.sendall(framed(struct.pack(">I", n) + bytes(1400))) for n in range(total)], daemon=True)
        sender.start()
        until("the sender waits", lambda: not select.select([], [s], [], 0.2)[1])
        assert sender.is_alive() and anonymous(v) < before + 2048, f"{before} KiB, then {anonymous(v)}"
        same([struct.unpack(">I", e.recv(70000)[:4])[0] for _ in range(total)], list(range(total)), "what came")


if __name__ == "__main__":
    vm.main()

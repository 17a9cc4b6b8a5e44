#!/usr/bin/env python3
"""Network back ends and filters without a guest: two back ends on a hub, frames in at one and out at the other; wrong use; events.

Texts and answers are compared with QEMU 10.0's where it is there."""
import os
import random
import re
import select
import socket
import struct
import subprocess
import tempfile

import vm
from net_frames import BASE, checksum, framed, free_port, hub, own_network, take, unix
from qtest import DEVICE, Function, VirtioPci
from vm import Vm, run, same, test, until

tmp = tempfile.TemporaryDirectory(prefix="virtue-net-")
D = tmp.name
FRAME = bytes(range(256)) * 4


def dgram(name):
    """A unix dgram back end's text, and our end of it."""
    here, there = f"{D}/{name}.us", f"{D}/{name}.vm"
    return f"dgram,local.type=unix,local.path={there},remote.type=unix,remote.path={here}", unix(socket.SOCK_DGRAM, here), there


@test("stream over unix and TCP, both ends: events, half frames, giant lengths, a peer that comes again")
def stream():
    text, d, there = dgram("s0")
    port = free_port()
    path = f"{D}/st"
    with Vm(BASE + hub(text, f"stream,server=on,addr.type=unix,addr.path={path}",
                       f"stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}")) as v:
        a = unix(socket.SOCK_STREAM, to=path)
        same(v.qmp.event("NETDEV_STREAM_CONNECTED")["data"], {"netdev-id": "b1", "addr": {"path": path, "type": "unix"}})
        b = socket.create_connection(("127.0.0.1", port), vm.TIMEOUT)
        e = v.qmp.event("NETDEV_STREAM_CONNECTED")["data"]
        same(e, {"netdev-id": "b2", "addr": {"port": str(b.getsockname()[1]), "ipv4": True, "host": "127.0.0.1", "type": "inet"}})
        for piece in (framed(FRAME)[:2], framed(FRAME)[2:100], framed(FRAME)[100:] + framed(b"x" * 60)):
            a.sendall(piece)
        same([take(b), take(b)], [FRAME, b"x" * 60])
        same([d.recv(70000), d.recv(70000)], [FRAME, b"x" * 60])
        d.sendto(FRAME, there)
        same([take(a), take(b)], [FRAME, FRAME])
        for state in (b"", b"\0", framed(FRAME)[:50], b"\0\1\x11\x01", b"\xff\xff\xff\xff" + FRAME):
            a.sendall(state)
            if state[:1] == b"\xff" or state[:2] == b"\0\1":
                same(a.recv(1), b"", "after a giant length")
            a.close()
            same(v.qmp.event("NETDEV_STREAM_DISCONNECTED")["data"], {"netdev-id": "b1"})
            a = unix(socket.SOCK_STREAM, to=path)
            v.qmp.event("NETDEV_STREAM_CONNECTED")
        a.sendall(framed(FRAME))
        same(take(b), FRAME)
        v.qmp.ok("netdev_del", id="b1")
        assert not os.path.exists(path)


def listening(v):
    """The TCP ports that the emulator listens on."""
    fds = f"/proc/{v.p.pid}/fd"
    ours = {os.readlink(f"{fds}/{f}") for f in os.listdir(fds)}
    with open(f"/proc/{v.p.pid}/net/tcp", encoding="ascii") as f:
        rows = [l.split() for l in f.readlines()[1:]]
    return [int(r[1].split(":")[1], 16) for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in ours]


@test("stream server with addr.to: the first free port")
def port_range():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with Vm(BASE + hub(f"stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port},addr.to={min(port + 50, 65535)}")) as v:
            found, = listening(v)
            assert port < found <= port + 50, found
            with socket.create_connection(("127.0.0.1", found), vm.TIMEOUT) as s:
                same(v.qmp.event("NETDEV_STREAM_CONNECTED")["data"]["addr"]["port"], str(s.getsockname()[1]))


@test("stream as client: reconnect-ms, no reconnection, a descriptor")
def stream_client():
    text, d, there = dgram("s1")
    path = f"{D}/cl"
    l = unix(socket.SOCK_STREAM, path)
    ours, theirs = socket.socketpair()
    ours.settimeout(vm.TIMEOUT)
    os.set_inheritable(theirs.fileno(), True)
    with Vm(["-S", *BASE] + hub(text, f"stream,addr.type=unix,addr.path={path},reconnect-ms=20"), wrap=["env"]) as v:
        l.listen(4)
        for _ in range(3):
            c, _ = l.accept()
            c.settimeout(vm.TIMEOUT)
            v.qmp.event("NETDEV_STREAM_CONNECTED")
            c.sendall(framed(FRAME))
            same(d.recv(70000), FRAME)
            c.close()
            v.qmp.event("NETDEV_STREAM_DISCONNECTED")
    v = subprocess.Popen([vm.BIN, *BASE, "-display", "none", *hub(dgram("s2")[0], f"stream,addr.type=fd,addr.str={theirs.fileno()}")],
                         pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    try:
        theirs.close()
        ours.sendall(framed(FRAME))
        s = unix(socket.SOCK_DGRAM)
        while True:
            try:
                s.sendto(FRAME, f"{D}/s2.vm")
                break
            except OSError:
                assert v.poll() is None, v.stderr.read()
        same(take(ours), FRAME)
    finally:
        v.kill()
        v.wait()


@test("dgram over UDP, unix and a multicast group; socket with listen, connect, udp, mcast")
def datagrams():
    text, d, there = dgram("d0")
    p = [free_port(socket.SOCK_DGRAM) for _ in range(4)]
    u = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for i, s in enumerate(u):
        s.bind(("127.0.0.1", p[i]))
        s.settimeout(vm.TIMEOUT)
    tcp = free_port()
    group = f"239.192.17.5:{free_port(socket.SOCK_DGRAM)}"
    with Vm(BASE + hub(text, f"dgram,local.type=inet,local.host=127.0.0.1,local.port={p[2]},remote.type=inet,"
                       f"remote.host=127.0.0.1,remote.port={p[0]}", f"socket,udp=127.0.0.1:{p[1]},localaddr=127.0.0.1:{p[3]}",
                       f"socket,listen=127.0.0.1:{tcp}")) as v:
        c = socket.create_connection(("127.0.0.1", tcp), vm.TIMEOUT)
        while f"connection from 127.0.0.1:{c.getsockname()[1]}" not in v.qmp.hmp("info network"):
            pass
        d.sendto(FRAME, there)
        same([u[0].recv(70000), u[1].recv(70000), take(c)], [FRAME] * 3)
        u[1].sendto(b"y" * 99, ("127.0.0.1", p[3]))
        same([d.recv(70000), u[0].recv(70000), take(c)], [b"y" * 99] * 3)
        try:
            v.qmp.ok("netdev_add", type="socket", id="m0", mcast=group, localaddr="127.0.0.1")
        except AssertionError as e:
            assert "can't add socket to multicast group" in str(e), e
        else:
            info = v.qmp.hmp("info network")
            assert f"socket: mcast={group}" in info and f"socket: udp=127.0.0.1:{p[1]}" in info, info


@test("filters: pcap, copies, another way round, delay; removed with their back end")
def filters():
    a_text, a, a_at = dgram("a")
    b_text, b, b_at = dgram("b")
    pcap = f"{D}/x.pcap"
    args = BASE + hub(a_text, b_text) + ["-chardev", f"socket,id=out,path={D}/out,server=on,wait=off", "-chardev",
                                         f"socket,id=in,path={D}/in,server=on,wait=off"]
    with Vm(args + ["-object", f"filter-dump,id=f0,netdev=b0,file={pcap},maxlen=100",
                    "-object", "filter-mirror,id=f1,netdev=b0,queue=tx,outdev=out"]) as v:
        out = unix(socket.SOCK_STREAM, to=f"{D}/out")
        v.qmp.ok("query-chardev")
        a.sendto(FRAME, a_at)
        same((b.recv(70000), take(out)), (FRAME, FRAME))
        b.sendto(b"z" * 60, b_at)
        same(a.recv(70000), b"z" * 60)
        with open(pcap, "rb") as f:
            data = f.read()
        same(struct.unpack("=IHHiIII", data[:24]), (0xa1b2c3d4, 2, 4, 0, 0, 100, 1), "pcap file header")
        same([struct.unpack("=II", data[24 + 8:24 + 16]), data[40:140]], [(100, 1024), FRAME[:100]])
        same([struct.unpack("=II", data[140 + 8:140 + 16]), data[156:]], [(60, 60), b"z" * 60])
        assert "  - f0: type=filter-dump,netdev=b0,queue=all,status=on" in v.qmp.hmp("info network"), v.qmp.hmp("info network")
        # Off: nothing more is written.
        v.qmp.ok("qom-set", path="/objects/f0", property="status", value="off")
        v.qmp.ok("object-del", id="f1")
        a.sendto(FRAME, a_at)
        b.recv(70000)
        same(os.path.getsize(pcap), len(data))
        # What a redirector takes is gone; what comes in at the other goes on.
        v.qmp.ok("object-add", {"qom-type": "filter-redirector", "id": "r0", "netdev": "b0", "queue": "tx", "outdev": "out"})
        v.qmp.ok("object-add", {"qom-type": "filter-redirector", "id": "r1", "netdev": "b0", "queue": "tx", "indev": "in"})
        i = unix(socket.SOCK_STREAM, to=f"{D}/in")
        a.sendto(FRAME, a_at)
        taken = take(out)
        i.sendall(framed(taken[::-1])[:7])
        i.sendall(framed(taken[::-1])[7:])
        same(b.recv(70000), FRAME[::-1])
        i.sendall(b"\x7f\xff\xff\xff")
        v.qmp.ok("object-del", id="r0")
        v.qmp.ok("object-add", {"qom-type": "filter-buffer", "id": "q0", "netdev": "b0", "interval": 1000000})
        for n in range(5):
            a.sendto(bytes([n]) * 64, a_at)
        v.qmp.ok("query-version")
        assert not select.select([b], [], [], 0.05)[0], "the buffer lets packets through"
        v.qmp.ok("qom-set", path="/objects/q0", property="status", value="off")
        same([b.recv(70000)[0] for _ in range(5)], list(range(5)))
        v.qmp.ok("netdev_del", id="b0")
        same([o["name"] for o in v.qmp.ok("qom-list", path="/objects") if o["name"][0] in "fqr"], [])


@test("guestfwd, hostfwd_add, hostfwd_remove and info usernet as QEMU 10.0")
def forwards():
    port, more = free_port(), free_port(socket.SOCK_DGRAM)
    script = [f"hostfwd_add tcp:127.0.0.1:{port}-:22", f"hostfwd_add tcp:127.0.0.1:{port}-:22", "hostfwd_add zz tcp::5556-:22",
              "hostfwd_add h tcp::5556-:22", f"hostfwd_add m udp:127.0.0.1:{more}-10.0.2.77:5", "info usernet", "info network",
              f"hostfwd_remove tcp:127.0.0.1:{port}", f"hostfwd_remove tcp:127.0.0.1:{port}", "hostfwd_add n bar", "hostfwd_add foo",
              f"hostfwd_add n udp:127.0.0.1:{port}-:1", f"hostfwd_remove n udp:127.0.0.1:{port}", f"hostfwd_remove m udp:127.0.0.1:{more}",
              "info usernet", "hostfwd_add m tcp:1.2.3.4:1-:1", "hostfwd_add m tcp::1-", "hostfwd_add m tcp::1-:99999", "hostfwd_add m tcp:name:1-:1",
              "hostfwd_add m unix:/x-:1", "hostfwd_add", "hostfwd_remove", "hostfwd_add tcp::1-:1 more",
              *(f"hostfwd_remove m {r}" for r in ("foo", "zz::1", "tcp:foo", "tcp:foo:1", "tcp:1.2.3.4:zz", "tcp::", ":", "::", "::1", "tcp::1-:2", "tcp:1:1")),
              "hostfwd_remove tcp:::1"]

    def log(binary):
        with Vm((["-accel", "tcg", "-S"] if binary else BASE[:2]) + BASE[2:] + ["-netdev", "user,id=n,guestfwd=tcp:10.0.2.100:99-null", "-netdev",
                                                                                "hubport,id=h,hubid=1", "-netdev", "user,id=m,restrict=on,ipv6=off"],
                binary=binary) as v:
            # The number of a descriptor is nobody's business.
            return [(l, re.sub(r"(FORWARD\]) +\d+", r"\1", v.qmp.hmp(l))) for l in script]
    ours, theirs = log(None), log(vm.oracle())
    assert any("HOST_FORWARD" in text for _, text in ours), ours
    same(ours, theirs)


@test("what is refused by name, and busy ports and vanished things")
def refused():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        for args, text in ((f"socket,id=n,listen=127.0.0.1:{port}", "can't bind ip=127.0.0.1 to socket: Address already in use"),
                           (f"stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}", "Failed to find an available port"),
                           ("stream,id=n,addr.type=vsock,addr.cid=1,addr.port=1", "vsock addresses are not supported"),
                           ("stream,id=n,addr.type=fd,addr.str=0", "File descriptor '0' is not a socket"),
                           ("user,id=n,smb=/tmp", "'smb' is not supported"), ("user,id=n,bootfile=" + "x" * 200, "cannot exceed 127 bytes"),
                           ("tap,id=n,vhost=on", "'vhost' is not supported"), ("tap,id=n,queues=2000", "at most 256"),
                           ("tap,id=n,queues=0", "queues=0: a tap has at least one"),
                           ("tap,id=n,ifname=abcdefghijklmnopqrstu", "too long")):
            p = run([*BASE, "-display", "none", "-netdev", args])
            same(p.rc, 1, args)
            same(len(p.err.strip().split("\n")), 1, p.err)
            assert text in p.err, f"{args}: {p.err}"


@test("a host with no network but the loopback interface")
def loopback():
    with Vm(BASE + hub("socket,listen=127.0.0.1:4000", "stream,server=on,addr.type=inet,addr.host=localhost,addr.port=4001", "user,hostfwd=tcp::4002-:22"),
            wrap=own_network()) as v:
        info = v.qmp.hmp("info network")
        assert "b0" in info and "b1" in info and "b2" in info, info


@test("a multicast group: dgram without and with a local address, and socket mcast=, all hear each; info network as QEMU 10.0")
def groups():
    group = "239.192.17.5"
    kinds = [f"dgram,remote.type=inet,remote.host={group},remote.port=4000", f"socket,mcast={group}:4000,localaddr=127.0.0.1",
             f"dgram,remote.type=inet,remote.host={group},remote.port=4000,local.type=inet,local.host=127.0.0.1,local.port=0"]
    wrap = [*own_network(), "sh", "-c", "ip link set lo multicast on up && ip route add 239.0.0.0/8 dev lo && exec \"$@\"", "sh"]
    args, ends = [], []
    for i, k in enumerate(kinds):
        text, d, there = dgram(f"mc{i}")
        ends.append((d, there))
        for ident, spec in ((f"m{i}", k), (f"e{i}", text)):
            kind, rest = spec.split(",", 1)
            args += ["-netdev", f"{kind},id={ident},{rest}", "-netdev", f"hubport,id=h{ident},hubid={i},netdev={ident}"]
    said = []
    for binary in (None, vm.oracle()):
        with Vm((["-accel", "tcg"] if binary else BASE[:2]) + BASE[2:] + args, binary=binary, wrap=wrap) as v:
            said.append([l for l in v.qmp.hmp("info network").splitlines() if "mcast=" in l])
            for i, (d, there) in enumerate(ends):
                frame = bytes([i]) * 60
                d.sendto(frame, there)
                same([e.recv(70000) for e, _ in ends], [frame] * 3, kinds[i])  # its own, too: the host gives it back
    same((len(said[0]), said[0]), (3, said[1]), "info network")


def ip4(proto, payload, fragment=0):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, fragment, 64, proto, 0, bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2]))
    return b"\x08\0" + head[:10] + checksum(head) + head[12:] + payload


def ip6(following, payload):
    return b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(payload), following, 255) + bytes.fromhex("fec0" + "00" * 13 + "0f" + "fec0" + "00" * 13 + "02") + payload


def seeds():
    """Good packets of every kind the user network knows, from the type of Ethernet on."""
    tcp = struct.pack(">HHIIBBHHH", 1000, 9, 1, 0, 0x60, 2, 1000, 0, 0) + b"\2\4\5\xb4"
    dhcp = struct.pack(">HHHH", 68, 67, 252, 0) + b"\1\1\6\0" + bytes(24) + b"\x52\x54\0\1\2\3" + bytes(202) + b"c\x82Sc5\1\1\xff"
    udp = struct.pack(">HHHH", 1000, 9, 24, 0) + bytes(16)
    tftp = struct.pack(">HHHH", 1000, 69, 22, 0) + b"\0\1file\0octet\0\0"
    solicit = b"\x87\0\0\0\0\0\0\0" + bytes.fromhex("fec0" + "00" * 13 + "02") + b"\1\1\x52\x54\0\1\2\3"
    arp = b"\x08\6" + bytes.fromhex("0001080006040001525400010203") + bytes([10, 0, 2, 15]) + bytes(6) + bytes([10, 0, 2, 2])
    return [arp, ip4(6, tcp), ip4(17, dhcp), ip4(17, udp), ip4(17, tftp), ip4(1, b"\x08\0\0\0\0\1\0\1" + bytes(32)), ip4(17, udp, 0x2000), ip4(17, udp, 0x1fff),
            ip4(6, tcp, 0x2003), ip6(6, tcp), ip6(17, udp), ip6(58, solicit), ip6(58, b"\x85" + bytes(7)), ip6(44, b"\x11\0\0\1" + udp)]


def mangle(rng, packet):
    """A packet with anything wrong: bytes, lengths, checksums, its end."""
    p = bytearray(packet)
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        p[rng.randrange(len(p))] = rng.choice((0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)))
    if rng.random() < 0.3:
        del p[rng.randrange(len(p)):]
    elif rng.random() < 0.2:
        p += rng.randbytes(rng.choice((1, 100, 1500, 9000, 60000)))
    if len(p) >= 22 and p[:2] == b"\x08\0" and rng.random() < 0.7:  # beyond the first check
        p[12:14] = b"\0\0"
        p[12:14] = checksum(bytes(p[2:2 + 4 * (p[2] & 15)]))
    return bytes(p)


@test("fragments of a datagram reach the host in one piece, in any order, up to the largest; those that overlap do not")
def fragments():
    text, d, there = dgram("fr")
    data, largest = random.Random(3).randbytes(5000), random.Random(4).randbytes(65535 - 20 - 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u, Vm(BASE + hub(text, "user")):
        u.bind(("127.0.0.1", 0))
        u.settimeout(vm.TIMEOUT)

        def send(ident, order, shift=0, payload=data, size=1000):
            whole = struct.pack(">HHHH", 1000, u.getsockname()[1], len(payload) + 8, 0) + payload
            for at in order:
                piece = whole[at - shift if at else 0:at + size]
                f = bytearray(ip4(17, piece, ((at - (shift if at else 0)) // 8) | (0x2000 if at + size < len(whole) else 0)))
                f[6:8] = struct.pack(">H", ident)
                f[12:14] = b"\0\0"
                f[12:14] = checksum(bytes(f[2:22]))
                d.sendto(bytes.fromhex("52550a000202" "525400010203") + bytes(f), there)

        places = range(0, 5008, 1000)
        send(1, places)
        same(u.recv(9000), data)
        send(2, [3000, 0, 5000, 1000, 4000, 2000])
        same(u.recv(9000), data)
        send(3, places, shift=8)
        send(4, reversed(places))
        same(u.recv(9000), data)
        send(5, range(0, 65515, 8000), payload=largest, size=8000)
        assert u.recv(70000) == largest, "the largest datagram"
        u.setblocking(False)
        assert not select.select([u], [], [], 0)[0], "overlapping fragments came through"


@test("10^4 frames that a guest should not send, to the user network: it lives, it answers, it does not grow")
def hostile_frames():
    text, d, there = dgram("hf")
    rng, good = random.Random(17), seeds()
    head = bytes.fromhex("52550a000202" "525400010203")
    with Vm(BASE + hub(text, f"user,tftp={D}"), wrap=own_network()) as v:
        def answered():
            """An ARP request is answered; what came before is taken away. A hub loses what the other end is too full for, so we ask again."""
            for _ in range(vm.TIMEOUT):
                d.sendto(b"\xff" * 6 + head[6:] + good[0], there)
                while select.select([d], [], [], 1)[0]:
                    f = d.recv(70000)
                    if f[12:14] == b"\x08\6" and f[20:22] == b"\0\2":
                        return True
            return False

        assert answered()
        for n in range(10000):
            frame = head + mangle(rng, rng.choice(good)) if rng.random() < 0.95 else rng.randbytes(rng.choice((1, 13, 14, 60, 1514, 60000)))
            d.sendto(frame, there)
            if n % 50 == 49:
                assert answered()
        fds = len(os.listdir(f"/proc/{v.p.pid}/fd"))
        assert fds < 600, f"{fds} descriptors"
        v.qmp.ok("netdev_del", id="b1")
        same(v.qmp.ok("query-status")["status"], "running")


@test("networks that cannot be had, vanish or are busy: one line each, in QEMU 10.0's words where it has the same")
def unusable():
    wrap = own_network()
    script = f"{D}/fails"
    with open(script, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 3\n")
    os.chmod(script, 0o755)
    plain = f"{D}/no-program"
    with open(plain, "w", encoding="ascii") as f:
        f.write("exit 0\n")
    os.chmod(plain, 0o755)
    killed = f"{D}/killed"
    with open(killed, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nkill -9 $$\n")
    os.chmod(killed, 0o755)
    powerless = [*wrap, "setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    cases = [(powerless, ["-netdev", "tap,id=n,ifname=t0,script=no,downscript=no"]), (wrap, ["-netdev", f"tap,id=n,ifname=t0,script={script},downscript=no"]),
             *((wrap, ["-netdev", f"tap,id=n,ifname=t0,script={s},downscript=no"]) for s in (plain, killed, "/nonexist/script", D)),
             (wrap, ["-netdev", "bridge,id=n,br=none,helper=/nonexist/helper"]), (wrap, ["-netdev", "bridge,id=n,br=none,helper=/bin/false"]),
             (wrap, ["-netdev", "user,id=n,hostfwd=tcp::80000-:1"]), (wrap, ["-netdev", "user,id=n", "-netdev", "user,id=n"]),
             (wrap, ["-netdev", "user,id=1n"]), (wrap, ["-netdev", "id=n"]),
             (wrap, ["-netdev", "hubport,id=n"]), (wrap, ["-netdev", "hubport,id=n,hubid=0,netdev=zz"]),
             (wrap, ["-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:4000-:1,hostfwd=tcp:127.0.0.1:4000-:2"])]
    cards = [["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,mac=52:54:00:zz:00:01"], ["-device", "virtio-net-pci,netdev=n"],
             ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n", "-device", "e1000,netdev=n"],
             ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,rx_queue_size=100"],
             ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,tx_queue_size=2048"],
             ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,duplex=third"],
             ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,speed=-5"]]
    cases = [(w, ["-M", "none", *c]) for w, c in cases] + [(wrap, ["-M", "pc", *c]) for c in cards]
    bad = []
    for words, c in cases:
        texts = []
        for binary, accel in ((vm.BIN, ["-accel", "qtest"]), (vm.oracle(), ["-accel", "tcg", "-S"])):
            p = subprocess.run(["timeout", str(vm.TIMEOUT), *words, binary, *accel, "-nodefaults", "-display", "none", *c], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
            lines = [re.sub(r"^qemu-system-x86_64: |^\S*/qemu-system-x86_64: ", "", l) for l in p.stderr.strip().split("\n")]
            texts.append((p.returncode, [l for l in lines if "has no peer" not in l]))
        if texts[0] != texts[1]:
            bad.append(f"{' '.join(c)}\n  ours      {texts[0]}\n  QEMU 10.0 {texts[1]}")
    assert not bad, f"{len(bad)} of {len(cases)}\n" + "\n".join(bad)


def carrier(v, slot):
    """The link bit of a virtio card's status, as its driver reads it."""
    f = Function(v.qtest, 0, slot, 0)
    f.map()
    return VirtioPci(f).get(6, 2, DEVICE) & 1


def ticks(v):
    with open(f"/proc/{v.p.pid}/stat", encoding="ascii") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))


@test("a tap whose interface is deleted: one line, no carrier, no busy loop; other cards and netdev_del go on")
def vanished():
    wrap = own_network()
    text, d, there = dgram("vt")
    for queues in (1, 3):
        with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-netdev", f"tap,id=n,ifname=t0,script=no,downscript=no,queues={queues}",
                 "-device", "virtio-net-pci,netdev=n,id=v,mq=on,addr=4,romfile=", "-netdev", "hubport,id=h,hubid=0", "-netdev",
                 text.replace("dgram,", "dgram,id=b,") if queues == 1 else "hubport,id=b,hubid=1", "-device",
                 "virtio-net-pci,netdev=b,id=o,addr=5,romfile="], qtest=True, wrap=wrap) as v:
            same(carrier(v, 4), 1, "link before")
            subprocess.run(["nsenter", "-n", "-t", str(v.p.pid), "ip", "link", "del", "t0"], check=True, stdin=subprocess.DEVNULL)
            until("no carrier", lambda: not carrier(v, 4))
            same(carrier(v, 5), 1, "another card's link")
            v.qmp.ok("set_link", {"name": "n", "up": True})
            same(carrier(v, 4), 1, "link as the user wants it")
            before = ticks(v)
            select.select([], [], [], 1)  # not to wait for something: this is what is measured
            assert ticks(v) - before <= 5, f"{ticks(v) - before} ticks of processor time in a second of nothing to do"
            v.qmp.ok("announce-self", initial=1, max=1, rounds=1, step=1)  # from one card to nowhere
            if queues == 1:
                assert d.recv(2000), "the other card is silent"
            v.qmp.ok("netdev_del", id="n")
            v.qmp.ok("netdev_add", type="tap", id="n", ifname="t0", script="no", downscript="no")
            same(v.qmp.ok("query-status")["status"], "running")
            lines = [l for l in v.text().strip().split("\n") if "no peer" not in l and "not connected" not in l]
            same(lines, ["qemu-system-x86_64: netdev 'n': interface 't0' is gone"], "what was said")


@test("announce-self's arguments, info network and -net, -nic as QEMU 10.0")
def texts():
    num = {"initial": 50, "max": 550, "rounds": 5, "step": 50}
    ask = [("announce-self", num), ("announce-self", dict(num, initial=0)), ("announce-self", dict(num, rounds=0)), ("announce-self", dict(num, step=-1)),
           ("announce-self", {}), ("announce-self", dict(num, interfaces=["x"], id="a"))]
    sets = [["-net", "nic,model=virtio", "-net", "user"], ["-net", "user"], ["-nic", "hubport,hubid=3,model=virtio"],
            ["-netdev", "user,id=u", "-net", "nic,model=virtio,netdev=u,macaddr=52:54:00:11:22:33"], ["-nic", "user,id=z,model=virtio"]]

    def log(binary):
        accel = ["-accel", "tcg", "-S"] if binary else ["-accel", "qtest"]
        out = []
        with Vm([*accel, *BASE[2:]], binary=binary) as v:
            out += [v.qmp.cmd(n, a) for n, a in ask]
        for s in sets:
            with Vm([*accel, "-M", "pc-i440fx-10.0", "-nodefaults", *s], binary=binary) as v:
                out.append((s, re.sub(r"#net\d+", "#net", v.qmp.hmp("info network"))))
        return out
    ours, theirs = log(None), log(vm.oracle())
    bad = [f"ours      {o}\nQEMU 10.0 {t}" for o, t in zip(ours, theirs) if o != t]
    assert not bad, "\n".join(bad)


@test("announce-self: reverse requests of each card named, as often as asked")
def announce():
    text, d, _ = dgram("an")
    mac = bytes.fromhex("525400aabb01")
    want = b"\xff" * 6 + mac + bytes.fromhex("80350001080006040003") + mac + bytes(4) + mac + bytes(22)
    with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-netdev", text.replace("dgram,", "dgram,id=n,"),
             "-device", "virtio-net-pci,netdev=n,id=v,mac=52:54:00:aa:bb:01,romfile="]) as v:
        v.qmp.ok("announce-self", initial=1, max=2, rounds=3, step=1)
        same([d.recv(2000) for _ in range(3)], [want] * 3)
        v.qmp.ok("announce-self", initial=1, max=2, rounds=3, step=1, interfaces=["other"])
        same(v.qmp.hmp("announce_self v"), "")
        same([d.recv(2000) for _ in range(5)], [want] * 5)
        v.qmp.ok("set_link", {"name": "v", "up": False})
        v.qmp.ok("announce-self", initial=1, max=2, rounds=1, step=1)
        assert not select.select([d], [], [], 0)[0], "a card without carrier announces itself"


if __name__ == "__main__":
    vm.main()

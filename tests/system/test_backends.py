#!/usr/bin/env python3
"""Back ends and devices that come and go while the machine is there: character devices, ring buffers, networks, user objects,
serial ports; over QMP and the human monitor, answers beside QEMU 10.0's."""
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios

import qtest
import vm
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-backends-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
ARGS = ["-bios", HLT, "-nodefaults", "-device", "virtio-serial-pci,id=s", "-chardev", "ringbuf,id=r,size=16", "-chardev", "null,id=n",
        "-chardev", "null,id=p", "-device", "virtserialport,chardev=p,id=port,bus=s.0", "-chardev", "null,id=c", "-device",
        "virtconsole,chardev=c,id=con,bus=s.0", "-chardev", "null,id=m,mux=on", "-serial", "null", "-netdev", "hubport,hubid=0,id=nd"]


def start(ours):
    if ours:
        return Vm(["-M", "q35", "-accel", "qtest", *ARGS])
    return Vm(["-M", "q35,smm=off", "-accel", "tcg", *ARGS], binary=vm.oracle())


def compare(requests):
    """Each request on both; lines of the human monitor are texts."""
    said = []
    for ours in (True, False):
        with start(ours) as v:
            log = []
            for r in requests:
                log.append(v.qmp.hmp(r) if isinstance(r, str) else v.qmp.cmd(*r))
            said.append(log)
    diff = [f"{r}\n    ours      {x}\n    QEMU 10.0 {y}" for r, x, y in zip(requests, *said) if x != y]
    assert not diff, "\n".join(diff)


def backend(kind, **data):
    return {"type": kind, "data": data}


def inet(port, host="127.0.0.1", **more):
    return {"type": "inet", "data": {"host": host, "port": port, **more}}


UDP = [{}, {"remote": {}}, {"remote": {"type": "inet"}}, {"remote": inet("9"), "local": {"type": "inet"}}, {"remote": inet("")},
       {"remote": inet("abc")}, {"host": "127.0.0.1", "port": "9"},
       {"remote": inet("9", ipv4=False, ipv6=False)}, {"remote": inet("9"), "local": inet("0", "192.0.2.1")},
       {"remote": inet("9"), "local": inet("0")}]


def unix(**data):
    return {"type": "unix", "data": data}


WRONG = [*(("socket", {"addr": a}) for a in (
    {}, 5, {"type": "unix"}, {"type": "nope", "data": {}}, {"type": "fd", "data": {}}, {"type": "inet", "data": {"host": "x"}}, unix(),
    unix(path="/nope/x", foo=1), inet("0", ipv4="on"), inet("0", 5), inet(5))),
    *(("socket", {"addr": unix(path="/nope/x"), **d}) for d in (
        {"foo": 1}, {"telnet": 5}, {"reconnect": "x"}, {"reconnect": 1, "server": True}, {"reconnect": 1, "reconnect-ms": 4, "server": False},
        {"nodelay": 1}, {"wait": True, "server": False})),
    ("file", {"out": 5}), ("file", {"out": "/dev/null", "append": 5}), ("file", {"out": "/dev/null", "in": "/nope"}), ("file", {}),
    ("file", {"out": "/dev/null", "logfile": 5}), ("file", {"out": "/dev/null", "logappend": 1}), ("ringbuf", {"size": "x"}), ("ringbuf", {"size": -1}),
    ("pty", {"path": "/nope/x"}), ("pty", {"path": HLT}), ("pty", {"path": 5}), ("null", {"x": 1}), ("stdio", {"signal": False, "y": 1}),
    ("udp", {"remote": 5}), ("serial", {}), ("pipe", {"device": 5}), ("pipe", {"device": "/nope/x"}), ("tty", {"device": "/nope/x"})]


@test("chardev-add and chardev-remove: replies and errors")
def chardev():
    add = [{"id": "y", "backend": backend("null")}, {"id": "y", "backend": backend("null")}, {"id": "p", "backend": backend("null")},
           {"id": "z"}, {"backend": backend("null")}, {"id": "z", "backend": {}}, {"id": "z", "backend": backend("nope")},
           {"id": "z", "backend": {"type": "null"}}, {"id": "z", "backend": backend("file", out="/nope/x")},
           {"id": "z", "backend": backend("socket", addr={"type": "unix", "data": {"path": "/nope/x"}}, server=False)},
           {"id": "z", "backend": backend("ringbuf", size=3)}, {"id": "z", "backend": backend("ringbuf", size=8)}]
    compare([*(("chardev-add", a) for a in add), *(("chardev-remove", {"id": i}) for i in ("y", "y", "z", "u", "p", "m", "char0", "nope")),
             ("chardev-remove",)])


@test("chardev-change: another device behind the same port, or a reason why not")
def change():
    compare([("chardev-change", {"id": i, "backend": b}) for i, b in (
        ("nope", backend("null")), ("n", backend("nope")), ("p", backend("file", out=f"{tmp.name}/f")), ("c", backend("null")),
        ("m", backend("null")), ("char0", backend("null")), ("serial0", backend("null")), ("n", {"type": "null"}),
        ("serial0", backend("file", out="/nope/x")))])
    path = f"{tmp.name}/serial"
    with Vm(["-M", "q35", "-accel", "qtest", *ARGS], qtest=True) as v:
        v.qtest.outb(0x3f8, ord("a"))  # lost
        v.qmp.ok("chardev-change", {"id": "serial0", "backend": backend("file", out=path)})
        same([c["filename"] for c in v.qmp.ok("query-chardev") if c["label"] == "serial0"], ["file"], "query-chardev")
        v.qtest.outb(0x3f8, ord("b"))
        vm.until("byte in the file", lambda: os.path.getsize(path))
        bad = v.qmp.cmd("chardev-change", {"id": "serial0", "backend": backend("file", out="/nope/x")})
        same(bad["error"]["desc"], "Could not open '/nope/x': No such file or directory", "failure")
        v.qtest.outb(0x3f8, ord("c"))
        vm.until("byte behind it", lambda: os.path.getsize(path) == 2)
        with open(path, "rb") as f:
            same(f.read(), b"bc", "what the guest sent")
        pty = v.qmp.ok("chardev-change", {"id": "serial0", "backend": backend("pty")})["pty"]
        fd = os.open(pty, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        v.qtest.outb(0x3fc, 8)
        vm.until("connection", lambda: v.qtest.inb(0x3fe) & 0x20 or True)
        os.write(fd, b"z")
        vm.until("input", lambda: v.qtest.inb(0x3fd) & 1)
        same(v.qtest.inb(0x3f8), ord("z"), "input from the new device")
        os.close(fd)


class Ends:
    """A back end of each kind and its other end: kind, data for QMP, how to write there and read everything of it."""

    def __init__(self, folder):
        self.folder, self.fds, self.socks = folder, [], []
        self.unix, self.udp = self.listening(socket.SOCK_STREAM, f"{folder}/sock"), self.listening(socket.SOCK_DGRAM, ("127.0.0.1", 0))
        for name in ("pipe.in", "pipe.out"):
            os.mkfifo(f"{folder}/{name}")
        master, slave = os.openpty()
        termios.tcsetattr(slave, termios.TCSANOW, [0, 0, termios.CS8, 0, 0, 0, termios.tcgetattr(slave)[6]])
        self.fds += [master, slave]
        with open(f"{folder}/in", "wb") as f:
            f.write(b"z")
        self.kinds = {
            "file": ({"out": f"{folder}/out", "in": f"{folder}/in"}, lambda: [None, self.open(f"{folder}/out")]),
            "pipe": ({"device": f"{folder}/pipe"}, lambda: [self.open(f"{folder}/pipe.in"), self.open(f"{folder}/pipe.out")]),
            "pty": ({"path": f"{folder}/pty"}, lambda pty: [self.open(f"{folder}/pty")] * 2),
            "serial": ({"device": os.ttyname(slave)}, lambda: [master] * 2),
            "socket": ({"addr": {"type": "unix", "data": {"path": f"{folder}/sock"}}, "server": False}, lambda: [self.accept()] * 2),
            "udp": ({"remote": inet(str(self.udp.getsockname()[1])), "local": inet(str(self.free_port()))}, lambda: [self.connect()] * 2),
        }

    def listening(self, kind, at):
        s = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET, kind)
        s.bind(at)
        if kind == socket.SOCK_STREAM:
            s.listen(1)
        self.socks.append(s)
        return s

    def free_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        return self.port

    def open(self, path):
        self.fds.append(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))
        return self.fds[-1]

    def accept(self):
        self.socks.append(self.unix.accept()[0])
        return self.socks[-1].fileno()

    def connect(self):
        self.udp.connect(("127.0.0.1", self.port))
        return self.udp.fileno()

    def close(self):
        for fd in self.fds:
            os.close(fd)
        for s in self.socks:
            s.close()


@test("each kind of character device put behind a serial port that is in use: bytes out and in, then removed")
def each_kind():
    out, lsr, dr = 0x3f8, 0x3fd, 1
    with Vm(["-M", "q35", "-accel", "qtest", *ARGS], qtest=True) as v, tempfile.TemporaryDirectory(dir=tmp.name) as folder:
        ends = Ends(folder)
        missing = {k["name"] for k in v.qmp.ok("query-chardev-backends")} - set(ends.kinds)
        same(missing, {"null", "ringbuf", "stdio"}, "kinds without a row here, which have no other end to open")
        v.qtest.outb(0x3fc, 8)
        for kind, (data, opened) in ends.kinds.items():
            r = v.qmp.ok("chardev-change", {"id": "serial0", "backend": backend(kind, **data)})
            to, back = opened(*r.values())
            if to is not None:
                os.write(to, b"z")
            vm.until(f"input by {kind}", lambda: v.qtest.inb(lsr) & dr)
            same(v.qtest.inb(out), ord("z"), kind)
            for c in b"ab":
                v.qtest.outb(out, c)
            got = b""
            while len(got) < 2:
                if kind != "file":
                    assert select.select([back], [], [], vm.TIMEOUT)[0], f"no output by {kind}: {got}"
                got += os.read(back, 2)
            same(got, b"ab", kind)
            v.qmp.ok("chardev-change", {"id": "serial0", "backend": backend("null")})
            same(v.qmp.ok("chardev-add", {"id": "x", "backend": backend(kind, **data)}).keys(), r.keys(), kind)
            v.qmp.ok("chardev-remove", {"id": "x"})
        ends.close()


@test("chardev-send-break: the guest sees a break")
def send_break():
    compare([("chardev-send-break", {"id": i}) for i in ("serial0", "n", "p", "nope")])
    with Vm(["-M", "q35", "-accel", "qtest", *ARGS], qtest=True) as v:
        same(v.qtest.inb(0x3fd) & 0x10, 0, "break before")
        v.qmp.ok("chardev-send-break", id="serial0")
        same(v.qtest.inb(0x3fd) & 0x11, 0x11, "break and its character")
        same(v.qtest.inb(0x3f8), 0, "character")
        same(v.qtest.inb(0x3fd) & 0x11, 0, "after it was read")


@test("ring buffers: what was written last can be read, as text and in base64")
def ring():
    w, r = "ringbuf-write", "ringbuf-read"
    compare([(r, {"device": "r", "size": 0}), (r, {"device": "r", "size": -1}), (r, {"device": "nope", "size": 1}),
             (r, {"device": "n", "size": 1}), (w, {"device": "n", "data": "x"}), (w, {"device": "r", "data": "0123456789abcdefXYZ"}),
             (r, {"device": "r", "size": 5}), (r, {"device": "r", "size": 5, "format": "base64"}), (r, {"device": "r", "size": 500}),
             (w, {"device": "r", "data": "!!!", "format": "base64"}), (w, {"device": "r", "data": "gIE=", "format": "base64"}),
             (r, {"device": "r", "size": 500}), (w, {"device": "r", "data": "x", "format": "z"}), (w, {"device": "r"}),
             "ringbuf_write r hello", "ringbuf_read r 3", "ringbuf_read r", "ringbuf_read r 1+1", "ringbuf_read n 3", "ringbuf_write r",
             'ringbuf_write r "a b"', "ringbuf_read r 10", "ringbuf_write r a b", "ringbuf_read r 0", "ringbuf_read r -1"])


@test("the human monitor adds and removes as QMP does")
def human():
    compare(["chardev-add", "chardev-add nope,id=x", "chardev-add null", "chardev-add null,id=q", "chardev-remove q", "chardev-remove q",
             "chardev-remove", "chardev-change", "chardev-change n", "chardev-change nope null", "chardev-change serial0 null",
             "chardev-change p null", "chardev-send-break serial0", "chardev-send-break zz", "chardev-send-break", "chardev-send-break n x",
             "object_add", "object_add rng-builtin", "object_add rng-builtin,id=x", "object_add nope,id=y", "object_del x", "object_del x",
             "object_del", "netdev_add user", "netdev_add user,id=u", "netdev_add nope,id=u2", "netdev_del u", "netdev_del u", "netdev_del",
             "set_link nd off", "set_link nd on", "set_link nd", "set_link nd maybe", "set_link nope off", "device_del port",
             "device_del port", "device_del", *(f"help {c}" for c in ("chardev-add", "chardev-change", "chardev-remove", "chardev-send-break",
             "object_add", "object_del", "netdev_del", "set_link", "ringbuf_read", "ringbuf_write"))])
    with start(ours=True) as v:
        names = [line.split()[0].split("|")[0] for line in v.qmp.hmp("help").replace("\r", "").splitlines()]
        same(names, sorted(names), "order of help")
        for want in ("List of user creatable objects:\r\n  ", "Available chardev backend types", "Available netdev backend types"):
            line = {"L": "object_add help", "A": "chardev-add help" if "chardev" in want else "netdev_add help"}[want[0]]
            assert want in v.qmp.hmp(line), line


@test("descriptors in sets: passed over QMP and on the command line, opened by path")
def fdsets():
    def say(v, name, args, fd=None):
        data = (json.dumps({"execute": name, "arguments": args}) + "\n").encode()
        socket.send_fds(v.qmp.sock, [data], [] if fd is None else [fd])
        return v.qmp.reply()

    def bare(m):
        """Numbers of descriptors are each emulator's own."""
        if isinstance(m, dict):
            return {k: 0 if k == "fd" else bare(x) for k, x in m.items()}
        return [bare(x) for x in m] if isinstance(m, list) else m

    said = []
    log = f"{tmp.name}/log"
    for ours in (True, False):
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with start(ours) as v:
            out = [say(v, "add-fd", {}), say(v, "add-fd", {}, fd), say(v, "add-fd", {"fdset-id": 0, "opaque": "x"}, fd),
                   say(v, "add-fd", {"fdset-id": 5}, fd), say(v, "add-fd", {"fdset-id": -1}, fd), say(v, "add-fd", {}, fd),
                   v.qmp.cmd("query-fdsets")]
            for i in (5, 9):
                out.append(v.qmp.cmd("chardev-add", {"id": f"f{i}", "backend": backend("file", out=f"/dev/fdset/{i}", append=True)}))
            out += [v.qmp.cmd("remove-fd", a) for a in ({"fdset-id": 9}, {"fdset-id": 0, "fd": 999}, {"fdset-id": 0}, {})]
            said.append(bare(out))
        os.close(fd)
    diff = [f"ours      {x}\n    QEMU 10.0 {y}" for x, y in zip(*said) if x != y]
    assert not diff, "\n".join(diff)
    fd = os.open(log, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
    p = subprocess.Popen([vm.BIN, "-M", "q35", "-accel", "qtest", "-display", "none", "-nodefaults", "-bios", HLT, "-add-fd",
                          f"set=0,fd={fd},opaque=serial0-log", "-chardev", "null,id=c0,logfile=/dev/fdset/0,logappend=on", "-serial", "chardev:c0",
                          "-qtest", "stdio", "-qtest-log", "/dev/null"], pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.close(fd)
    p.stdin.write(b"outb 0x3f8 0x41\noutb 0x3f8 0x42\n")
    p.stdin.flush()
    same([p.stdout.readline() for _ in range(2)], [b"OK\n"] * 2, "qtest")
    vm.until("log", lambda: os.path.getsize(log) == 2)
    p.terminate()
    p.communicate()
    with open(log, "rb") as f:
        same(f.read(), b"AB", "log")


@test("x-size: the guest sees the size of the terminal on stdio, and when it changes")
def size():
    master, slave = os.openpty()

    def resize(cols, rows):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    try:
        resize(132, 43)
        for on in (True, False):
            with Vm(["-M", "pc", "-accel", "qtest", "-nodefaults", "-device", f"virtio-serial-pci,addr=4,disable-modern=on,x-size={'on' if on else 'off'}",
                     "-chardev", "stdio,id=c", "-device", "virtconsole,chardev=c"], qtest=True, stdin=slave) as v:
                f = qtest.Function(v.qtest, 0, 4, 0)
                f.map()
                port = f.bars[0].at
                same(v.qtest.inl(port) & 1, int(on), "VIRTIO_CONSOLE_F_SIZE")
                same(v.qtest.inl(port + 20), 43 << 16 | 132 if on else 0, "columns and rows")
                if on:
                    for s in (1, 3):
                        v.qtest.outb(port + 18, s)
                    v.qtest.outl(port + 4, 1)
                    v.qtest.outb(port + 18, 7)
                    resize(80, 25)
                    v.p.send_signal(signal.SIGWINCH)  # as the kernel does for what runs in the terminal
                    vm.until("the new size", lambda: v.qtest.inl(port + 20) == (25 << 16 | 80))
                    same(v.qtest.inb(port + 19) & 2, 2, "interrupt of the configuration")
                    resize(132, 43)
    finally:
        os.close(master)
        os.close(slave)


PLUG = [{"driver": "virtserialport", "id": "h1", "bus": "s.0", "nr": 5, "name": "a"}, {"driver": "virtserialport", "id": "h1", "bus": "s.0"},
        {"driver": "virtserialport", "id": "h2", "bus": "s.0", "nr": 5}, {"driver": "virtserialport", "id": "h3", "bus": "s.0", "nr": 77},
        {"driver": "virtserialport", "id": "h4", "bus": "s.0", "chardev": "p"}, {"driver": "virtserialport", "id": "h5", "bus": "nope"},
        {"driver": "virtserialport", "id": "h6"}, {"driver": "virtserialport", "id": "h7", "foo": 1}, {"driver": "isa-serial", "id": "i"},
        {"driver": "virtserialport", "id": "h8", "nr": "x"}, {"driver": "virtconsole", "id": "h9"}, {"driver": "virtserialport", "bus": "s.0"},
        {"driver": "virtio-serial-pci", "id": "s2", "bus": "pcie.0"}]
UNPLUG = ["h1", "h1", "h6", "h9", "con", "port", "s", "/machine/peripheral/h4", "nope", "/machine", "/machine/peripheral/s/virtio-backend"]


@test("device_add and device_del of ports: replies, errors, DEVICE_DELETED behind its reply")
def plug():
    said = []
    for ours in (True, False):
        with start(ours) as v:
            log = [v.qmp.cmd("device_add", d) for d in PLUG]
            for i in UNPLUG:
                v.qmp.events.clear()
                r = v.qmp.cmd("device_del", id=i)
                log.append((r, [e["event"] for e in v.qmp.events]))  # none before the reply
                if "return" in r:
                    log.append(v.qmp.event("DEVICE_DELETED")["data"])
            log.append(sorted(x["name"] for x in v.qmp.ok("qom-list", path="/machine/peripheral")))
            said.append(log)
    diff = [f"ours      {x}\n    QEMU 10.0 {y}" for x, y in zip(*said) if x != y]
    assert not diff, "\n".join(diff)


@test("a port's character device is free again when the port is gone")
def free_again():
    with start(ours=True) as v:
        q = v.qmp
        for _ in range(50):
            q.ok("chardev-add", {"id": "x", "backend": backend("ringbuf", size=64)})
            q.ok("device_add", {"driver": "virtserialport", "id": "hp", "bus": "s.0", "chardev": "x", "name": "org.test"})
            same(q.cmd("chardev-remove", id="x")["error"]["desc"], "Chardev 'x' is busy", "busy")
            q.ok("device_del", id="hp")
            same(q.event("DEVICE_DELETED")["data"]["device"], "hp", "DEVICE_DELETED")
            q.ok("chardev-remove", id="x")
        r, _, _ = select.select([q.sock], [], [], 0)
        same(r, [], "nothing more is said")


vm.main()

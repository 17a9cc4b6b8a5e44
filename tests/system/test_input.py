#!/usr/bin/env python3
"""Keys, buttons and motion from QMP and the human monitor to the devices, compared with QEMU 10.0: what PS/2 keyboard and mouse
send, what query-mice says, what is refused, and in what words."""
import vm
from input_driver import HLT, Virtio
from qtest import DEVICE
from vm import Vm, same, test

def key(name, down, kind="qcode"):
    return {"type": "key", "data": {"down": down, "key": {"type": kind, "data": name}}}


def rel(axis, value):
    return {"type": "rel", "data": {"axis": axis, "value": value}}


def absolute(axis, value):
    return {"type": "abs", "data": {"axis": axis, "value": value}}


def btn(name, down):
    return {"type": "btn", "data": {"button": name, "down": down}}


def touch(kind, slot, tracking, axis="x", value=0):
    return {"type": "mtt", "data": {"type": kind, "slot": slot, "tracking-id": tracking, "axis": axis, "value": value}}


class Ps2:
    """The host's side of a keyboard controller."""

    def __init__(self, v):
        self.q, self.qmp = v.qtest, v.qmp
        self.q.outb(0x64, 0x60)
        self.q.outb(0x60, 0x00)  # no interrupts, no translation
        self.q.outb(0x64, 0xa8)
        self.command(0xf4)
        self.mouse(0xf4)
        self.drain()

    def command(self, byte):
        self.q.outb(0x60, byte)

    def mouse(self, *data):
        for byte in data:
            self.q.outb(0x64, 0xd4)
            self.q.outb(0x60, byte)

    def drain(self):
        out = bytearray()
        while self.q.inb(0x64) & 1:
            out.append(self.q.inb(0x60))
        return out.hex()

    def send(self, *events):
        self.qmp.ok("input-send-event", events=list(events))
        return self.drain()


def qcodes(v):
    schema = v.qmp.ok("query-qmp-schema")
    return next(e["values"] for e in schema if e["meta-type"] == "enum" and "kp_divide" in e["values"])


# QEMU has no codes of set 2 for these; ours are what a controller's translation turns into their codes of set 1.
NO_SET2 = set("menu again props undo front copy open paste find cut lf help f16 f17 f18 f19 f20 f21 f22 f23 f24".split())


def keyboard(log, v):
    p = Ps2(v)
    names = qcodes(v)
    log.append(("names", names))
    for kind in (2, 1):
        p.command(0xf0)
        p.command(kind)
        p.drain()
        for n in names:
            if kind == 1 or n not in NO_SET2:
                log.append((f"set {kind} {n}", p.send(key(n, True)), p.send(key(n, False))))
        for mod in ("ctrl", "ctrl_r", "shift", "shift_r", "alt", "alt_r"):
            p.send(key(mod, True))
            for n in ("print", "pause", "home", "kp_7"):
                log.append((f"set {kind} {mod}+{n}", p.send(key(n, True)), p.send(key(n, False))))
            p.send(key(mod, False))
    for n in (*range(256), 0x1d0, 0xe01d):
        log.append((f"number {n:#x}", p.send(key(n, True, "number"), key(n, False, "number"))))
    log.append(("held", [p.send(key("a", True)) for _ in range(3)], p.send(key("a", False))))
    log.append(("flood", len(p.send(*[key("b", i % 2 == 0) for i in range(8)]))))


def mouse(log, v):
    p = Ps2(v)
    for knock in ((), (200, 100, 80), (200, 200, 80)):
        for rate in knock:
            p.mouse(0xf3, rate)
        p.mouse(0xf2)
        log.append((f"id after {knock}", p.drain()))
        log.append(("motion", p.send(rel("x", 5), rel("y", 3)), p.send(rel("x", -1)), p.send(rel("x", 300), rel("y", -300)), p.send()))
        for b in ("left", "middle", "right", "side", "extra", "wheel-up", "wheel-down", "wheel-left", "wheel-right"):
            log.append((b, p.send(btn(b, True)), p.send(btn(b, False))))
        log.append(("absolute", v.qmp.cmd("input-send-event", events=[absolute("x", 5)])))
        for line in ("mouse_move 10 20", "mouse_move 10 20 1", "mouse_move 0 0 -1", "mouse_button 1", "mouse_button 6", "mouse_button 0"):
            log.append((line, v.qmp.hmp(line), p.drain()))


BAD = [{}, 5, {"type": "foo", "data": {}}, {"type": "key"}, {"type": "key", "data": {}}, {"type": "key", "data": {"down": True}},
       key("a", 5), {"type": "key", "data": {"down": True, "key": {"type": "qcode"}}}, key("a", True, "zz"), key("a", True, "number"),
       key(5, True), key("nokey", True), rel("z", 1), rel("x", "1"), {"type": "rel", "data": {"axis": "x", "value": 1, "foo": 1}},
       {"type": "rel", "foo": 1, "data": {"axis": "x", "value": 1}}, {"type": "key", "data": 5}, btn("q", True),
       touch("dat", 0, 1), touch("begin", 0, 1)]


def words(log, v):
    for e in BAD:
        log.append((str(e), v.qmp.cmd("input-send-event", events=[e])))
    for name, args in [("input-send-event", {}), ("input-send-event", {"events": 5}), ("input-send-event", {"events": []}),
                       ("input-send-event", {"events": [], "head": 1}), ("input-send-event", {"events": [], "device": "none"}),
                       ("send-key", {}), ("send-key", {"keys": [5]}), ("send-key", {"keys": []}), ("query-mice", {}),
                       ("send-key", {"keys": [{"type": "qcode", "data": "zz"}]}), ("send-key", {"keys": [], "foo": 1}),
                       ("send-key", {"keys": [{"type": "number", "data": 1000000}]})]:
        log.append((name, args, v.qmp.cmd(name, args)))
    for line in ["info mice", "sendkey", "sendkey foo", "sendkey ctrl-alt-f1", "sendkey 0xffff", "sendkey a-", "sendkey a b", "sendkey <",
                 "sendkey ret-foo", "mouse_set 1", "mouse_set 99", "mouse_set 2", "mouse_move 1", "mouse_button", "help sendkey",
                 "help mouse_move", "help mouse_button", "help mouse_set", "help info mice"]:
        log.append((line, v.qmp.hmp(line)))
    v.qmp.ok("stop")
    for name, args in [("input-send-event", {"events": []}), ("send-key", {"keys": [{"type": "qcode", "data": "a"}]})]:
        log.append(("stopped", name, v.qmp.cmd(name, args)))


def transcript(script, args, binary=None):
    log = []
    with Vm(["-M", "pc", "-nodefaults", "-accel", "tcg", "-bios", HLT, *args], binary=binary, qtest=True) as v:
        script(log, v)
        v.qmp.ok("query-status")
    return log


def compare(script, args=()):
    theirs, ours = transcript(script, args, vm.oracle()), transcript(script, args)
    bad = [f"ours      {o}\nQEMU 10.0 {t}" for o, t in zip(ours, theirs) if o != t]
    assert not bad and len(ours) == len(theirs), f"{len(bad)} of {len(theirs)} lines differ\n" + "\n".join(bad[:8])


def virtio(log, v):
    log.append(("mice", v.qmp.hmp("info mice")))
    d = Virtio(v)
    log.append(("mice in use", v.qmp.hmp("info mice")))
    at = d.dev.at[DEVICE]
    for select in (0, 1, 2, 3, 4, 0x10, 0x11, 0x12, 0x13, 0xff):
        for subsel in range(64) if select in (0x11, 0x12) else (0, 1):
            v.qtest.put(at, 1, select)
            v.qtest.put(at + 1, 1, subsel)
            size = v.qtest.get(at + 2, 1)
            log.append((f"config {select:x} {subsel:x}", size, bytes(v.qtest.get(at + 8 + i, 1) for i in range(size)).hex()))
    v.qtest.put(at, 1, 1)
    v.qtest.put(at + 1, 1, 0)
    log.append(("config", v.qtest.read(at, 160).hex()))
    for n in qcodes(v):
        log.append((n, d.send(key(n, True)), d.send(key(n, False))))
    for n in ("left", "middle", "right", "side", "extra", "wheel-up", "wheel-down", "wheel-left", "wheel-right", "touch"):
        log.append((n, d.send(btn(n, True)), d.send(btn(n, False))))
    log.append(("several", d.send(key("a", True), key("b", True)), d.send(key("a", False), key("b", False)), d.send()))
    log.append(("motion", d.send(rel("x", 5), rel("y", -700)), d.send(rel("x", 0))))
    log.append(("position", d.send(absolute("x", 5), absolute("y", 32767)), d.send(absolute("x", 7))))
    log.append(("touch", d.send(touch("begin", 2, 7)), d.send(touch("data", 2, 7, "x", 100), touch("data", 2, 7, "y", 200)),
                d.send(touch("update", 2, 7, "x", 300)), d.send(touch("end", 2, -1)), d.send(touch("begin", 3, 8)),
                d.send(touch("cancel", 3, -1))))
    for line in ("mouse_move 1 2 3", "mouse_button 7", "mouse_button 0"):
        log.append((line, v.qmp.hmp(line), d.take()))
    d.status(0x11, 0, 1)
    d.status(0x11, 9, 1)
    d.status(5, 5, 5)
    d.dev.set_status(0)
    log.append(("mice after a reset", v.qmp.hmp("info mice")))


KINDS = ["keyboard", "keyboard,serial=0123456789abcdef0123456789abcdef0123456789", "keyboard,head=3", "mouse", "mouse,wheel-axis=off",
         "tablet", "tablet,wheel-axis=off,serial=x", "multitouch"]
for kind in KINDS:
    name, _, opts = kind.partition(",")
    vm.TESTS.append((f"as QEMU 10.0/virtio-{kind}", lambda n=name, o=opts:
                     compare(virtio, ["-device", f"virtio-{n}-pci,addr=4,{o}".rstrip(",")])))


@test("events that are refused or too many")
def limits():
    with Vm(["-M", "pc", "-nodefaults", "-accel", "qtest", "-device", "virtio-multitouch-pci,addr=4"], qtest=True) as v:
        d = Virtio(v, buffers=4)
        same(v.qmp.cmd("input-send-event", events=[touch("begin", 10, 1)])["error"]["desc"],
             "Parameter 'events[0].data.slot' expects a number from 0 to 9")
        same(d.send(touch("begin", 1, 1), touch("data", 1, 1), touch("data", 1, 1, "y")), (None, []))  # five events, four buffers
        d.give()
        d.events.kick()
        # A finger that another one moves in between is named again.
        same(d.send(touch("begin", 1, 1), touch("data", 1, 1, "x", 4)),
             (None, [(3, 47, 1), (3, 57, 1), (3, 53, 4), (0, 0, 0)]))
        same(d.send(touch("begin", 2, 2))[1], [(3, 47, 2), (3, 57, 2), (0, 0, 0)])
        same(d.send(touch("data", 1, 1, "x", 5))[1], [(3, 47, 1), (3, 53, 5), (0, 0, 0)])


@test("what cannot be is refused")
def refused():
    for opts, text in [("virtio-input-host-pci", "evdev property is required"),
                       ("virtio-input-host-pci,evdev=/dev/null", "/dev/null: is not an evdev device"),
                       ("virtio-input-host-pci,evdev=/nope", "Could not open '/nope': No such file or directory"),
                       ("virtio-keyboard-pci,serial=" + "x" * 129, "serial is longer than 128 bytes")]:
        r = vm.run(["-M", "pc", "-nodefaults", "-display", "none", "-device", opts])
        assert r.rc == 1 and r.err.endswith(f"-device {opts}: {text}\n"), r.err
    for opts in ("virtio-input-host-pci", "virtio-input-host-pci,evdev=/dev/null", "virtio-input-host-pci,evdev=/nope"):
        ours, theirs = (vm.run(["-M", "pc", "-nodefaults", "-display", "none", "-device", opts], binary=b) for b in (None, vm.oracle()))
        same(ours.err.rpartition("qemu-system-x86_64: ")[2], theirs.err.rpartition("qemu-system-x86_64: ")[2])


for script in (keyboard, mouse, words):
    vm.TESTS.append((f"as QEMU 10.0/{script.__name__}", lambda s=script: compare(s)))


@test("keys QEMU has no code of set 2 for come with the code that translates to theirs of set 1")
def set2():
    with Vm(["-M", "pc", "-nodefaults", "-accel", "tcg", "-bios", HLT], qtest=True) as v:
        p = Ps2(v)
        for n in sorted(NO_SET2):
            p.command(0xf0)
            p.command(2)
            p.drain()
            raw = p.send(key(n, True))
            assert raw and p.send(key(n, False)) == (f"e0f0{raw[2:]}" if raw[:2] == "e0" else f"f0{raw}"), (n, raw)


@test("typed keys come in their order, a pause between two of them")
def typed():
    with Vm(["-M", "pc", "-nodefaults", "-accel", "qtest"], qtest=True) as v:
        p = Ps2(v)
        p.command(0xf0)
        p.command(1)
        p.drain()
        v.qmp.ok("send-key", {"keys": [{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "a"}], "hold-time": 50})
        v.qmp.hmp("sendkey b")
        seen = []
        for ms in range(0, 240, 5):
            got = p.drain()
            if got:
                seen.append((ms, got))
            v.qtest.cmd("clock_step 5000000")
        same(seen, [(0, "1d"), (50, "1e"), (100, "9e"), (150, "9d"), (200, "30"), (210, "b0")])


@test("a key released while the VM stands is released when it runs")
def held():
    with Vm(["-M", "pc", "-nodefaults", "-accel", "qtest"], qtest=True) as v:
        p = Ps2(v)
        p.command(0xf0)
        p.command(1)
        p.drain()
        same(p.send(key("a", True)), "1e")
        v.qmp.ok("stop")
        same(v.qmp.cmd("input-send-event", events=[key("a", False)])["error"]["desc"], "VM not running")
        v.qmp.ok("cont")
        same(p.drain(), "9e")


vm.main()

#!/usr/bin/env python3
"""Keys, buttons and motion from QMP and the human monitor to the devices, compared with QEMU 10.0: what PS/2 keyboard and mouse
send, what query-mice says, what is refused, and in what words."""
import tempfile

import vm
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-input-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))


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

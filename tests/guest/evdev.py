"""virtio input with Linux's driver: keys, pointers and touches of QMP and of a VNC viewer arrive as events of the right device, lights come
back, devices come and go; an evdev of a host (here: made by uinput in a guest) through virtio-input-host."""
import os
import re
import subprocess
import sys
import tempfile

import images
from guest import Guest, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../system")
MODULES = [*images.MODULES, "evdev", "virtio_input", "uinput", "acpiphp"]


def key(name, down):
    return {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": name}}}


def rel(axis, value):
    return {"type": "rel", "data": {"axis": axis, "value": value}}


def absolute(axis, value):
    return {"type": "abs", "data": {"axis": axis, "value": value}}


def btn(name, down):
    return {"type": "btn", "data": {"button": name, "down": down}}


def touch(kind, slot, tracking, axis="x", value=0):
    return {"type": "mtt", "data": {"type": kind, "slot": slot, "tracking-id": tracking, "axis": axis, "value": value}}


def guest(binary, machine, args, extra=(), memory=384):
    kernel = images.Kernel("linux-image-amd64")  # the cloud kernel has no virtio_input
    tool = ("bin/evtool", images.program(f"{HERE}/evtool.c"), 0o755)
    return Guest(binary, ["-accel", "tcg", "-M", machine, "-m", str(memory), "-smp", "1", "-kernel", kernel.image, "-initrd",
                          images.initramfs(kernel, modules=MODULES, extra=[tool, *extra]), "-append", "console=ttyS0 quiet panic=-1",
                          "-no-reboot", *args])


def has_vnc(binary):
    said = subprocess.run([binary, "-M", "none", "-vnc", "unix:/", "-S"], capture_output=True, text=True, check=False, timeout=60).stderr
    assert said, "a server on a folder"
    return "VNC support is disabled" not in said


def ready(g):
    g.expect("VIRTUE-DONE", 240)
    g.expect("# ", 30)
    g.shell("[ -c /dev/input/event0 ] || mdev -s; n=0; while ! evtool list | grep -q device && [ $n -lt 50 ]; do sleep 0.2; n=$((n + 1)); done", 60)


class Watch:
    """Events of one device, from the background of the guest's shell."""

    def __init__(self, g, name):
        self.g = g
        g.send(f"evtool watch '{name}' &\n")
        g.expect("watching", 30)

    def until(self, *events):
        """Expects exactly these (type, code, value), each update closed."""
        for e in events:
            m = self.g.expect(r"ev ([0-9a-f]+) ([0-9a-f]+) (-?\d+)\r?\n", 60)
            got = (int(m[1], 16), int(m[2], 16), int(m[3]))
            if got != e:
                return f"wanted {e} of {events}, got {got}"
        return None

    def end(self):
        self.g.send("kill %%; wait; echo stopped''-watching\n")
        self.g.expect("stopped-watching", 30)


SYN = (0, 0, 0)
PS2 = "AT Translated Set 2 keyboard"
NAMES = ("QEMU Virtio Keyboard", "QEMU Virtio Mouse", "QEMU Virtio Tablet", "QEMU Virtio MultiTouch")


def lights(g, viewer, keyboard):
    """Steps: a light that Linux turns on is the viewer's, and off again."""
    for code, bit in ((1, 4), (0, 2), (2, 1)):
        for on in (1, 0):
            rc, out = g.shell(f"evtool led '{keyboard}' {code} {on}", 30)
            for _ in range(20):
                if viewer.leds == bit * on:
                    break
                viewer.request(incremental=False)
                viewer.message()
            yield f"{keyboard}: light {code} {'on' if on else 'off'}", rc == 0 and viewer.leds == bit * on, (rc, out, viewer.leds)


def ps2(g, send, viewer):
    """Steps: without the driver of the virtio keyboard, keys and lights are the PS/2 keyboard's; they come back with it."""
    path = "/sys/bus/virtio/drivers/virtio_input"
    rc, out = g.shell(f"d=$(basename $(dirname $(dirname $(dirname $(grep -l '{NAMES[0]}' /sys/class/input/event*/device/name | xargs readlink -f))))); echo dev=$d", 30)
    dev = re.search(r"dev=(virtio\d+)", out)
    if not dev:
        yield "the keyboard's virtio device", False, out
        return
    g.shell(f"echo {dev[1]} > {path}/unbind", 30)
    w = Watch(g, PS2)
    send(key("a", True), key("a", False))
    bad = w.until((4, 4, 30), (1, 30, 1), SYN, (4, 4, 30), (1, 30, 0), SYN)
    yield "keys of the PS/2 keyboard", not bad, bad
    w.end()
    if viewer:
        yield from lights(g, viewer, PS2)
    g.shell(f"echo {dev[1]} > {path}/bind; mdev -s", 30)


def events(binary, machine):
    with tempfile.TemporaryDirectory(prefix="virtue-evdev-") as d:
        args = ["-device", "virtio-keyboard-pci,id=kbd,serial=k1", "-device", "virtio-mouse-pci", "-device", "virtio-multitouch-pci"]
        vnc = has_vnc(binary)
        args += ["-vnc", f"unix:{d}/vnc"] if vnc else []
        args += ["-device", "pcie-root-port,id=rp"] if machine == "q35" else []
        bus = {"bus": "rp"} if machine == "q35" else {}
        with guest(binary, machine, args) as g:
            ready(g)

            def send(*ev):
                g.qmp("input-send-event", events=list(ev))

            rc, out = g.shell("evtool list", 30)
            yield "devices and their names", all(f"device {n}|" in out for n in NAMES if "Tablet" not in n) and "Keyboard|k1|6:627:1:1" in out, out
            w = Watch(g, NAMES[0])
            send(key("a", True), key("shift", True))
            send(key("a", False), key("shift", False))
            bad = w.until((1, 30, 1), (1, 42, 1), SYN, (1, 30, 0), (1, 42, 0), SYN)
            yield "keys", not bad, bad
            g.qmp("send-key", keys=[{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "c"}])
            bad = w.until((1, 29, 1), SYN, (1, 46, 1), SYN, (1, 46, 0), SYN, (1, 29, 0), SYN)
            yield "typed keys", not bad, bad
            if vnc:
                import rfb
                viewer = rfb.Rfb(f"{d}/vnc")
                viewer.key(0xffc2, True)
                viewer.key(0xffc2, False)
                bad = w.until((1, 63, 1), SYN, (1, 63, 0), SYN)
                yield "a viewer's keys", not bad, bad
                viewer.key(0x78, True)
                viewer.close()
                bad = w.until((1, 45, 1), SYN, (1, 45, 0), SYN)
                yield "a viewer that goes lets go", not bad, bad
            w.end()
            viewer = rfb.Rfb(f"{d}/vnc", encodings=(rfb.RAW, rfb.LIBVNC_LED)) if vnc else None
            if viewer:
                yield from lights(g, viewer, NAMES[0])
            yield from ps2(g, send, viewer)
            # A button goes to the pointer that came into use last: the touch screen, unless told otherwise.
            index = next(m["index"] for m in g.qmp("query-mice") if m["name"] == NAMES[1])
            g.qmp("human-monitor-command", **{"command-line": f"mouse_set {index}"})
            w = Watch(g, NAMES[1])
            send(rel("x", -7), rel("y", 3), btn("left", True))
            send(btn("left", False), btn("wheel-down", True))
            bad = w.until((2, 0, -7), (2, 1, 3), (1, 272, 1), SYN, (1, 272, 0), (2, 8, -1), SYN)
            yield "a mouse", not bad, bad
            w.end()
            w = Watch(g, NAMES[3])
            send(touch("begin", 0, 5), touch("data", 0, 5, "x", 100), touch("data", 0, 5, "y", 200), touch("begin", 1, 6),
                 touch("data", 1, 6, "x", 300))
            send(touch("end", 0, -1))
            send(touch("end", 1, -1))
            # Slot 0 is where a driver begins; Linux tells of slots that change.
            bad = w.until((3, 0x39, 5), (3, 0x35, 100), (3, 0x36, 200), (3, 0x2f, 1), (3, 0x39, 6), (3, 0x35, 300), SYN,
                          (3, 0x2f, 0), (3, 0x39, -1), SYN, (3, 0x2f, 1), (3, 0x39, -1), SYN)
            yield "two fingers", not bad, bad
            w.end()
            g.shell("dmesg -n 1", 30)
            for i in range(2):
                g.qmp("device_add", driver="virtio-tablet-pci", id="tab", **bus)
                rc, out = g.shell("n=0; while ! evtool list | grep -q Tablet && [ $n -lt 100 ]; do sleep 0.1; mdev -s; n=$((n + 1)); done; evtool list", 60)
                yield f"a tablet comes ({i})", "Virtio Tablet" in out, out
                w = Watch(g, NAMES[2])
                send(absolute("x", 0x4000 + i), absolute("y", 0x7fff - i), btn("right", True))
                bad = w.until((3, 0, 0x4000 + i), (3, 1, 0x7fff - i), (1, 273, 1), SYN)
                yield f"and points ({i})", not bad, bad
                g.qmp("device_del", id="tab")
                # Linux lets go of what a device held when it goes.
                g.expect(r"ev 1 111 0\r?\n", 60)
                g.expect("gone", 60)
                rc, out = 0, ""
                while rc == 0 and "tab" in [c["name"] for c in g.qmp("qom-list", path="/machine/peripheral")]:
                    rc, out = g.shell("sleep 0.1", 30)
                yield f"and goes, with its button let go ({i})", rc == 0, out
            mice = g.qmp("query-mice")
            yield "no trace of it", [m["name"] for m in mice] == ["QEMU PS/2 Mouse", "QEMU Virtio Mouse"], mice
            w = Watch(g, NAMES[0])
            send(key("b", True), key("b", False))
            bad = w.until((1, 48, 1), (1, 48, 0), SYN)
            yield "the keyboard is still there", not bad, bad
            w.end()
            rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung'", 30)
            yield "no complaint", rc != 0, out
            g.send("poweroff -f\n")
            yield "end", g.wait() == 0, g.tail()


def libraries(path):
    """A program and what it is linked with, as files of an initramfs."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    files = re.findall(r"(/\S+) \(0x", out)
    return [(f.lstrip("/"), open(f, "rb").read(), 0o755) for f in files]


def host(binary, machine):
    """The test of virtio-input-host needs uinput: here a guest has it."""
    program = os.environ.get("VIRTUE_TEST_INPUT_HOST") or f"{os.path.dirname(os.path.abspath(binary))}/tests/unit/test-virtio-input-host"
    if not os.path.exists(program):
        raise Skip(f"{program} is not built")
    extra = [("bin/test-host", open(program, "rb").read(), 0o755), *libraries(program)]
    with guest(binary, machine, [], extra, 512) as g:
        ready(g)
        rc, out = g.shell("mdev -s; ls /dev/uinput && test-host --tap", 300)
        yield "an evdev of this guest as a device for another", rc == 0 and "ok 1 " in out and "SKIP" not in out and "not ok" not in out, out
        g.send("poweroff -f\n")
        yield "end", g.wait() == 0, g.tail()


TESTS = {"input q35": lambda b: events(b, "q35"), "input-host": lambda b: host(b, "pc")}
FULL = {"input pc": lambda b: events(b, "pc")}

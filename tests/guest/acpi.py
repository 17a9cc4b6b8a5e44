"""Power, reset and hot plug as a Debian kernel sees them: buttons, sleep states, reboots, stop and cont, ACPI PCI slots."""
import os
import re
import tempfile
import time

import images
from guest import Guest

SCRIPT = b"""#!/bin/sh
echo BUTTON-PRESSED $(awk '$1 == "9:" { print $2 }' /proc/interrupts) > /dev/console
poweroff -f
"""
BUTTON = ("etc/acpi/PWRF/00000080", SCRIPT, 0o755)
MODULES = images.MODULES + ["button", "evdev"]
APPEND = "console=ttyS0 quiet panic=-1"


class Session(Guest):
    """A kernel with its shell on the serial port."""

    def __init__(self, binary, machine, append="", extra=()):
        kernel = images.Kernel()
        super().__init__(binary, ["-accel", "tcg", "-M", machine, "-m", "256", "-kernel", kernel.image, "-initrd",
                                  images.initramfs(kernel, modules=MODULES, extra=[BUTTON]), "-append", f"{APPEND} {append}", *extra])
        self.booted()

    def booted(self):
        self.qmp("query-status")
        self.expect("VIRTUE-DONE", 120)
        self.expect("# ", 30)

    def value(self, command):
        rc, out = self.shell(f"echo BE''GIN; {command}")
        if rc:
            raise RuntimeError(f"{command}: {rc}: {out}")
        return out.replace("\r", "").partition("BEGIN\n")[2].strip()

    def until(self, condition, seconds=30):
        """Waits inside the guest until condition holds."""
        rc, out = self.shell(f"n=0; until {condition}; do [ $n -ge {seconds * 10} ] && break; sleep 0.1; n=$((n + 1)); done; {condition}",
                             seconds + 60)
        return rc == 0, out

    def pci(self):
        return set(self.value("ls /sys/bus/pci/devices").split())

    def sci(self):
        return sum(int(n) for n in re.findall(r"^ *9: +(\d+)", self.value("cat /proc/interrupts"), re.M))


def deleted(g, name):
    """Both DEVICE_DELETED events of a virtio device that has left, in order."""
    first, second = g.event("DEVICE_DELETED"), g.event("DEVICE_DELETED")
    want = [{"path": f"/machine/peripheral/{name}/virtio-backend"}, {"device": name, "path": f"/machine/peripheral/{name}"}]
    return [first, second] == want, [first, second]


def hotplug(g, folder):
    before, sci = g.pci(), g.sci()
    g.qmp("device_add", driver="virtio-rng-pci", id="hp0")
    ok, out = g.until("grep -q virtio_rng /sys/class/misc/hw_random/rng_current")
    added = g.pci() - before
    yield "hot plug: a virtio-rng appears and works", ok and len(added) == 1 and g.sci() > sci, (out, added)
    rc, out = g.shell("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c")
    yield "hot plug: random bytes", rc == 0 and "64" in out.split(), out
    g.qmp("device_del", id="hp0")
    ok, events = deleted(g, "hp0")
    gone = g.pci() == before
    yield "hot unplug: the guest ejects, DEVICE_DELETED twice", ok and gone, (events, g.pci())
    data = os.urandom(512)
    with open(f"{folder}/disk", "wb") as f:
        f.write(data * 8192)
    g.qmp("blockdev-add", **{"driver": "raw", "node-name": "n0", "file": {"driver": "file", "filename": f"{folder}/disk"}})
    g.qmp("device_add", driver="virtio-blk-pci", id="hp1", drive="n0", addr="0x1e")
    ok, out = g.until("[ -b /dev/vda ]")
    got = g.value("dd if=/dev/vda bs=512 count=1 skip=77 2>/dev/null | hexdump -v -e '1/1 \"%02x\"'; echo")
    slot = any(d.endswith(":1e.0") for d in g.pci() - before)
    yield "hot plug: a virtio-blk in slot 1e, its contents", ok and slot and data.hex() in got, (out, got)
    g.value("dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=77 conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches")
    g.qmp("device_del", id="hp1")
    ok, events = deleted(g, "hp1")
    with open(f"{folder}/disk", "rb") as f:
        written = f.read()[77 * 512:78 * 512] == bytes(512)
    yield "hot unplug: the disk leaves with its data written", ok and written and g.until("! [ -e /dev/vda ]")[0], events
    try:
        g.qmp("device_del", id="hp1")
        yield "hot unplug: gone for the monitor", False, "device_del found it again"
    except RuntimeError as e:
        yield "hot unplug: gone for the monitor", "Device 'hp1' not found" in str(e), e
    g.qmp("device_add", driver="virtio-rng-pci", id="hp0")
    ok, out = g.until("grep -q virtio_rng /sys/class/misc/hw_random/rng_current")
    yield "hot plug: the name and a slot serve again", ok, out


def stop_cont(g):
    """The guest's clock stands while the machine is stopped, and runs on as fast as before."""
    at = float(g.value("cut -d' ' -f1 /proc/uptime"))
    g.qmp("stop")
    g.event("STOP")
    start = time.monotonic()
    g.send("cut -d' ' -f1 /proc/uptime; echo STOP''PED-ANSWER\n")
    while time.monotonic() < start + 4:  # the length of the stop is what is tested
        g.pump(0.2)
    silent = "STOPPED-ANSWER" not in g.text[g.at:] and g.qmp("query-status")["status"] == "paused"
    g.qmp("cont")
    g.event("RESUME")
    g.expect("STOPPED-ANSWER", 60)
    later = float(g.value("cut -d' ' -f1 /proc/uptime"))
    began = time.monotonic()
    g.value("sleep 2")
    took = time.monotonic() - began
    log = g.value("dmesg | grep -iE 'clocksource.*unstable|stall|hung|soft lockup'; true")
    yield "stop: the guest stands", silent, g.text[g.at:]
    yield "cont: the guest's clock did not run meanwhile", 0 <= later - at < 3.5, (at, later)
    yield "cont: and runs on", 1.8 <= took < 20 and not log, (took, log)


def again(g, name, want):
    """The machine resets for this reason, and the kernel boots once more."""
    data = g.event("RESET")
    g.booted()
    return name, data == want, data


def press(g, name):
    """system_powerdown: acpid runs the button's script, which says what it saw and ends the guest."""
    g.value("mkdir -p /var/run /var/log; acpid -c /etc/acpi -l /dev/null")
    before = g.sci()
    g.qmp("system_powerdown")
    data = g.event("POWERDOWN")
    after = int(g.expect(r"BUTTON-PRESSED (\d+)", 60)[1])
    return name, data == {} and after > before, (data, before, after)


def pc(binary):
    with tempfile.TemporaryDirectory(prefix="virtue-acpi-") as d, Session(binary, "pc") as g:
        states = g.value("dmesg | grep 'ACPI: PM: (supports'; cat /sys/power/mem_sleep 2>/dev/null; true")
        yield "sleep: S3 is not offered", re.search(r"supports S0 (S4 )?S5", states) and "deep" not in states, states
        yield from hotplug(g, d)
        yield from stop_cont(g)
        g.send("sleep 1000\n")
        g.qmp("system_reset")
        yield again(g, "system_reset while running", {"guest": False, "reason": "host-qmp-system-reset"})
        g.send("reboot -f\n")
        yield again(g, "reboot", {"guest": True, "reason": "guest-reset"})
        g.send("poweroff -f\n")
        data = g.event("SHUTDOWN")
        rc = g.wait()
        yield "poweroff: SHUTDOWN, exit status 0", data == {"guest": True, "reason": "guest-shutdown"} and rc == 0, (data, rc)


def q35(binary):
    with Session(binary, "q35", "reboot=t", ["-no-shutdown"]) as g:
        try:
            g.qmp("device_add", driver="virtio-rng-pci", id="hp0")
            yield "hot plug: refused on pcie.0", False, "accepted"
        except RuntimeError as e:
            yield "hot plug: refused on pcie.0", "Bus 'pcie.0' does not support hotplugging" in str(e), e
        g.send("reboot -f\n")
        yield again(g, "reboot by triple fault", {"guest": True, "reason": "guest-reset"})
        yield press(g, "power button: POWERDOWN, an SCI, acpid hears it")
        data = g.event("SHUTDOWN")
        status = g.qmp("query-status")["status"]
        yield "-no-shutdown: SHUTDOWN, the machine stays", data == {"guest": True, "reason": "guest-shutdown"} and status == "shutdown", \
            (data, status)
        g.qmp("quit")
        rc = g.wait()
        yield "-no-shutdown: quit ends it", rc == 0, rc


def no_reboot(binary):
    with Session(binary, "pc", "", ["-no-reboot"]) as g:
        g.value("sed -i 's/^poweroff.*/reboot -f/' /etc/acpi/PWRF/00000080")
        yield press(g, "power button on pc: POWERDOWN, an SCI, acpid hears it")
        data = g.event("SHUTDOWN")
        rc = g.wait()
        yield "-no-reboot: SHUTDOWN instead of a reset, exit status 0", \
            data == {"guest": True, "reason": "guest-reset"} and rc == 0, (data, rc)


TESTS = {"pc": pc, "q35": q35, "no-reboot": no_reboot}
FULL = {}

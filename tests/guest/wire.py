"""What the network tests share: a namespace of their own, a Linux guest with tests/guest/net-peer.c, the host's ends of networks, captures."""
import os
import re
import socket
import struct
import subprocess
import sys
import time

import images
from guest import Guest, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = f"{HERE}/net-peer.c"
MODULES = [*images.MODULES, "8021q"]
FORMS = {"legacy": ",disable-modern=on,disable-legacy=off", "split": ",disable-legacy=on", "packed": ",disable-legacy=on,packed=on"}
PLAIN = ",csum=off,guest_csum=off,gso=off,mrg_rxbuf=off"  # no offload at all
PEER_BYTES = 0x88b5  # the EtherType of the frames below
# What DHCP said stays in /dhcp.INTERFACE; the rest of the guest uses it as a system would.
DHCP = """#!/bin/sh
[ $1 = bound ] || exit 0
env > /dhcp.$interface
ip addr flush dev $interface scope global
ip addr add $ip/$mask dev $interface
[ -n "$router" ] && ip route add default via $router dev $interface 2>/dev/null
exit 0
"""


def ip(*args):
    return subprocess.run(["ip", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout


def in_namespace(program, *args, pids=False):
    """A test program again, in network and mount namespaces of its own; its STEP lines are the steps. pids: what it leaves behind ends with it."""
    if os.geteuid():
        raise Skip("a network namespace of one's own needs root")
    if subprocess.run(["unshare", "-nm", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no network namespace of one's own here")
    # The shell is the namespace's first process: it buries what daemons leave behind.
    first = ["-pf", "--mount-proc", "--kill-child", "bash", "-c", '"$@"; exit $?', "bash"] if pids else []
    r = subprocess.run(["unshare", "-nm", *first, sys.executable, program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       check=False)
    skip = re.search(r"^SKIP (.*)$", r.stdout, re.M)
    if skip:
        raise Skip(skip[1])
    for line in r.stdout.splitlines():
        m = re.match(r"STEP (\d) (.*)$", line)
        if m:
            yield m[2], m[1] == "1", r.stdout
    yield "all steps", r.returncode == 0, r.stdout


def report(steps):
    """Inside the namespace: prints the steps; the exit status."""
    failed, at = 0, time.monotonic()
    for name, ok, detail in steps:
        print(f"STEP {int(bool(ok))} {name} ({time.monotonic() - at:.1f} s)", flush=True)
        at = time.monotonic()
        if not ok:
            print(detail, flush=True)
            failed += 1
    return 1 if failed else 0


def need_tap():
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun")


def peer_program():
    return images.program_file(SOURCE)


def linux(binary, machine, args, package="linux-image-cloud-amd64", modules=(), smp=1):
    """A guest with net-peer and the network modules; ready for shell() after up()."""
    kernel = images.Kernel(package)
    extra = [("bin/net-peer", images.program(SOURCE), 0o755), ("dhcp", DHCP.encode(), 0o755)]
    return Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "192", "-smp", str(smp), "-no-reboot", "-kernel", kernel.image, "-append",
                          "console=ttyS0 quiet panic=-1 no_timer_check", "-initrd",
                          images.initramfs(kernel, modules=[*MODULES, *modules], extra=extra), *args])


def up(g):
    """Waits for the guest's shell."""
    g.expect("VIRTUE-DONE", 400)
    g.expect("# ", 60)
    g.shell("ip link set lo up; dmesg -n 1", 60)


def off(*guests):
    """The steps that end a guest: nothing in its log to complain of, and it goes."""
    for g in guests:
        rc, out = g.shell("dmesg | grep -E 'BUG|timed out|hung|Call Trace|nobody cared|is not a head' || echo cle''an", 60)
        yield "nothing to complain of", "clean" in out, out
        g.send("poweroff -f\n")
        yield "power-off", g.wait(120) == 0, g.tail()


def carrier(g, want, interface="eth0", seconds=60):
    """Whether the guest's carrier becomes what is wanted."""
    rc, out = g.shell(f"n=0; while [ $(cat /sys/class/net/{interface}/carrier) != {want} ] && [ $n -lt {seconds * 10} ]; do sleep 0.1; n=$((n + 1)); done; "
                      f"cat /sys/class/net/{interface}/carrier", seconds + 60)
    return re.search(rf"^{want}\s*$", out, re.M)


class HostPeer:
    """net-peer on the host: a server in the background, and single runs."""

    def __init__(self, port):
        self.port = port
        self.p = subprocess.Popen([peer_program(), "serve", str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.p.stdout.readline() == b"serving\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()


def peer(*args, timeout=600):
    """A run of net-peer on the host: what it prints."""
    return subprocess.run([peer_program(), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, text=True, check=False).stdout


def streams(g, host, port, mb, what, timeout=2400):
    """Two steps: mb MiB from the guest to a server and back, compared at both ends; a seed of their own each."""
    for way in ("send", "fetch"):
        seed = int.from_bytes(os.urandom(6), "big")
        rc, out = g.shell(f"net-peer {way} {host} {port} {seed} {mb << 20}", timeout)
        yield f"{what}: {mb} MB, {way}", rc == 0 and re.search(r"^ok\s*$", out, re.M), out


def serve(g, port=8000):
    g.shell(f"net-peer serve {port} > /tmp/serve & until [ -s /tmp/serve ]; do sleep 0.05; done", 60)


def capture(path):
    """The captured frames of a pcap file: length on the wire, first bytes."""
    with open(path, "rb") as f:
        data = f.read()
    magic, _, _, _, _, _, link = struct.unpack("=IHHiIII", data[:24])
    assert (magic, link) == (0xa1b2c3d4, 1), "no capture of Ethernet frames"
    at, out = 24, []
    while at + 16 <= len(data):
        _, _, cap, size = struct.unpack("=IIII", data[at:at + 16])
        out.append((size, data[at + 16:at + 16 + cap]))
        at += 16 + cap
    return out


class Cable:
    """The host's end of a unix dgram back end: single frames."""

    def __init__(self, folder, name="wire"):
        self.ours, self.theirs = f"{folder}/{name}.us", f"{folder}/{name}.vm"
        self.text = f"dgram,id=n0,local.type=unix,local.path={self.theirs},remote.type=unix,remote.path={self.ours}"
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(self.ours)
        self.s.settimeout(60)

    def send(self, to, number, size=60, source="52:54:00:ff:ff:01", vlan=None):
        head = mac(to) + mac(source) + (struct.pack(">HH", 0x8100, vlan) if vlan is not None else b"") + struct.pack(">HH", PEER_BYTES, number)
        self.s.sendto(head.ljust(size, b"\x5a"), self.theirs)

    def close(self):
        self.s.close()


def mac(text):
    return bytes.fromhex(text.replace(":", ""))

"""virtio-net on a tap interface, in a network namespace of its own: streams each way compared at both ends, segmentation offload by the
interface's counters, every queue of a multiqueue card, MTU 9000, link changes; a tap descriptor that comes over QMP."""
import fcntl
import json
import os
import re
import socket
import struct
import sys

import wire
from wire import ip

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 0x0002, 0x1000, 0x4000  # linux/if_tun.h
IFNAME, HOST, PEER, PORT, QUEUES = "virtue0", "192.168.177.1", "192.168.177.2", 4000, 4


def counters():
    """(bytes, frames) from the guest and to the guest; the host's view of the tap."""
    s = json.loads(ip("-s", "-j", "link", "show", "dev", IFNAME))[0]["stats64"]
    return s["rx"]["bytes"], s["rx"]["packets"], s["tx"]["bytes"], s["tx"]["packets"]


def queue_use(g):
    """Interrupts of each queue of eth0 by name: virtio0-input.0 is input.0."""
    rc, out = g.shell("grep -E 'virtio[0-9]+-(in|out)put' /proc/interrupts", 60)
    return {m[1]: sum(map(int, m[0].split())) for m in re.findall(r"^\s*\d+:((?:\s+\d+)+).*virtio\d+-(\w+\.\d+)\s*$", out, re.M)}


def every_queue(g, host):
    """Streams from and to each CPU, whose queue it is, until every queue has interrupted."""
    want, used = {f"{way}.{i}" for way in ("input", "output") for i in range(QUEUES)}, {}
    for _ in range(20):
        for cpu in range(QUEUES):
            g.shell(f"taskset {1 << cpu:x} net-peer fetch {host} {PORT} 1 2000000; taskset {1 << cpu:x} net-peer send {host} {PORT} 1 2000000", 120)
        used = queue_use(g)
        if {q for q, n in used.items() if n} >= want:
            break
    yield f"all {QUEUES} queue pairs are used", {q for q, n in used.items() if n} >= want, used


def changing_pairs(g, mb):
    """Streams while the number of queue pairs in use changes all the time."""
    g.shell("(while :; do for n in 1 3 2 4; do net-peer pairs eth0 $n && echo >> /tmp/changes; done; done) & echo $! > /tmp/changer", 60)
    yield from wire.streams(g, HOST, PORT, mb, "pairs come and go")
    rc, out = g.shell(f"kill $(cat /tmp/changer); net-peer pairs eth0 {QUEUES}; echo changes=$(wc -l < /tmp/changes)", 60)
    n = int((re.search(r"changes=(\d+)", out) or [0, 0])[1])
    yield f"{n} changes", rc == 0 and n >= 4, out


def plain(device):
    return ["-device", f"virtio-net-pci,{device}"]


def threaded(device):
    """The card with its pairs on two iothreads, of which the emulator says that they worked."""
    card = dict(p.split("=", 1) for p in device.split(","))
    card.update({k: v == "on" for k, v in card.items() if v in ("on", "off") and not k.startswith("disable-")})
    card["host_mtu"] = int(card["host_mtu"])
    card["x-iothread-vq-mapping"] = [{"iothread": "t0"}, {"iothread": "t1"}]
    return ["-object", "iothread,id=t0", "-object", "iothread,id=t1", "-device", json.dumps({"driver": "virtio-net-pci", **card})]


def wake_ups(g, name):
    """How often an iothread has slept."""
    tid = next(t["thread-id"] for t in g.qmp("query-iothreads") if t["id"] == name)
    with open(f"/proc/{g.p.pid}/task/{tid}/status", encoding="utf-8") as f:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", f.read(), re.M)[1])


def jumbo(g):
    """An MTU of 9000 on both ends: pings and streams of such frames."""
    ip("link", "set", IFNAME, "mtu", "9000")
    rc, out = g.shell(f"ip link set eth0 mtu 9000; ping -c 2 -W 10 -s 8900 {HOST}", 90)
    yield "MTU 9000: large pings", "2 packets received" in out, out
    yield from wire.streams(g, HOST, PORT, 4, "MTU 9000")


def transfer(binary, device, machine, mb, threads):
    """Runs inside the namespace. Through tap and back, and how large the frames were."""
    many = "mq=on" in device
    args = ["-netdev", f"tap,id=n0,ifname={IFNAME},script=no,downscript=no{f',queues={QUEUES}' if many else ''}",
            *(threaded if threads else plain)(f"netdev=n0,id=nic0,host_mtu=9000,romfile={device}")]
    with wire.HostPeer(PORT), wire.linux(binary, machine, args, smp=QUEUES if many else 1) as g:
        wire.up(g)
        rc, out = g.shell(f"ip link set eth0 mtu 1500 up; ip addr add {PEER}/24 dev eth0; ping -c 3 -W 5 {HOST}", 60)
        yield "ping", rc == 0 and "3 packets received" in out, out
        was, mean = counters(), []
        for at, step in zip((0, 2), wire.streams(g, HOST, PORT, mb, "tap")):
            yield step
            now = counters()
            mean.append((now[at] - was[at]) / max(now[at + 1] - was[at + 1], 1))
            was = now
        big = "gso=off" not in device
        yield f"average frame {mean[0]:.0f} from the guest, {mean[1]:.0f} bytes to it", all((m >= 16384) if big else m <= 1514 for m in mean), mean
        if many:
            yield from every_queue(g, HOST)
        if threads:
            yield from changing_pairs(g, mb)
            slept = [wake_ups(g, t) for t in ("t0", "t1")]
            yield f"both threads worked: woken {slept} times", min(slept) > 50, slept
        yield from jumbo(g)
        g.qmp("set_link", name="nic0", up=False)
        yield "link down", wire.carrier(g, 0), g.tail()
        g.qmp("set_link", name="nic0", up=True)
        yield "link up", wire.carrier(g, 1), g.tail()
        rc, out = g.shell(f"ping -c 1 -W 20 {HOST}", 60)
        yield "and it pings again", "1 packets received" in out, out
        yield from wire.off(g)


def named(binary):
    """A tap descriptor that comes over QMP: getfd, netdev_add, device_add, and the guest pings through it."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"virtue1", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    ip("addr", "flush", "dev", IFNAME)
    ip("addr", "add", f"{HOST}/24", "dev", "virtue1")
    ip("link", "set", "virtue1", "up")
    with wire.linux(binary, "pc", []) as g:
        wire.up(g)
        g.qmp("query-status")
        try:
            g.qmp("netdev_add", type="tap", id="n0", fd="mytap")
            yield "tap by name: unknown before getfd", False, "accepted"
        except RuntimeError as e:
            yield "tap by name: unknown before getfd", str(e) == "File descriptor named 'mytap' has not been found", e
        socket.send_fds(g.sock, [b'{"execute": "getfd", "arguments": {"fdname": "mytap"}}\n'], [tun])
        reply = json.loads(g.qfile.readline())
        os.close(tun)
        yield "tap by name: getfd", reply == {"return": {}}, reply
        g.qmp("netdev_add", type="tap", id="n0", fd="mytap")
        g.qmp("device_add", driver="virtio-net-pci", id="nic", netdev="n0")
        rc, out = g.shell("n=0; until [ -e /sys/class/net/eth0 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done; "
                          f"ip link set eth0 up; ip addr add {PEER}/24 dev eth0; ping -c 2 -W 5 {HOST}", 60)
        yield "tap by name: a hot-plugged virtio-net pings through it", rc == 0 and "2 packets received" in out, out
        try:
            g.qmp("netdev_add", type="tap", id="n1", fd="mytap")
            yield "tap by name: the name is used up", False, "accepted"
        except RuntimeError as e:
            yield "tap by name: the name is used up", "has not been found" in str(e), e


def main(binary, name):
    device, machine, mb = {**ROWS, **ROWS_FULL}[name]
    ip("link", "set", "lo", "up")
    ip("tuntap", "add", "dev", IFNAME, "mode", "tap", "vnet_hdr", *(["multi_queue"] if "mq=on" in device else []))
    ip("addr", "add", f"{HOST}/24", "dev", IFNAME)
    ip("link", "set", IFNAME, "up")
    return wire.report(transfer(binary, device, machine, mb, "threads" in name) if mb else named(binary))


ROWS = {"split": (wire.FORMS["split"], "q35", 64), "threads": (wire.FORMS["packed"] + ",mq=on", "q35", 8), "named": ("", "", 0)}
ROWS_FULL = {f"{machine}/{form}/{what}": (wire.FORMS[form] + more, machine, 1024) for machine in ("pc", "q35") for form in wire.FORMS
             for what, more in (("offloads", ""), ("plain", wire.PLAIN), ("queues", ",mq=on"), ("threads", ",mq=on"))}


def row(name):
    def test(binary):
        wire.need_tap()
        yield from wire.in_namespace(os.path.abspath(__file__), binary, name)
    return test


TESTS = {name: row(name) for name in ROWS}
FULL = {name: row(name) for name in ROWS_FULL}
if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

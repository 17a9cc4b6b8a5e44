#!/usr/bin/env python3
"""Single frames to a guest's virtio-net: which of them its receive filter lets through, of every size; link changes; drivers that leave and come
back in a storm of frames."""
import os
import re
import sys
import tempfile
import threading

import wire

MAC, OTHER, GROUP, GROUP2, ALL = "52:54:00:00:77:01", "52:54:00:00:77:02", "01:00:5e:01:02:03", "33:33:00:00:77:77", "ff:ff:ff:ff:ff:ff"
LAST = 0xffff
# Number → destination and VLAN of the frames of a round.
FRAMES = {1: (MAC, None), 2: (OTHER, None), 3: (GROUP, None), 4: (GROUP2, None), 5: (ALL, None), 6: (MAC, 5), 7: (MAC, 6), 8: (OTHER, 5)}
TABLE = 64  # more addresses than the card's table has: it overflows to everything of the kind
# What the guest asks for, and which frames come.
CASES = [("nothing asked", None, {1, 5}), ("a group", f"multicast {GROUP}", {1, 3, 5}), ("all groups", f"allmulti {ALL}", {1, 3, 4, 5}),
         ("another address", f"unicast {OTHER}", {1, 2, 5}), ("everything", f"promisc {ALL}", set(FRAMES)),
         ("more groups than there is room for", f"multicast 01:00:5e:7f:00:00 {TABLE + 1}", {1, 3, 4, 5}),
         ("more addresses than there is room for", f"unicast 52:54:00:00:88:00 {TABLE + 1}", {1, 2, 5})]


def seen(g, cable, send):
    """Sizes by number of the frames the guest sees when send() has sent them."""
    g.shell("rm -f /watch; (net-peer frames eth0 > /watch &); until [ -s /watch ]; do sleep 0.05; done", 60)
    send()
    cable.send(MAC, LAST)
    rc, out = g.shell(f"n=0; until grep -q 'frame {LAST}' /watch || [ $n -ge 300 ]; do sleep 0.1; n=$((n + 1)); done; cat /watch", 90)
    return {int(m[1]): int(m[2]) for m in re.finditer(r"frame (\d+) of (\d+)", out)}


def send_round(cable):
    for number, (to, vlan) in FRAMES.items():
        cable.send(to, number, vlan=vlan)


def filters(g, cable):
    for name, ask, want in CASES:
        if ask:
            g.shell(f"net-peer join eth0 {ask} > /joined & p=$!; until [ -s /joined ]; do sleep 0.05; done", 60)
        got = set(seen(g, cable, lambda: send_round(cable)))
        yield f"filter: {name}", got - {LAST} == want, f"{got}, not {want}"
        if ask:
            g.shell("kill $p; wait $p 2>/dev/null; rm -f /joined", 60)
    g.shell("ip link add link eth0 name v5 type vlan id 5; ip link set v5 up", 60)
    got = set(seen(g, cable, lambda: send_round(cable)))
    yield "filter: one VLAN", got - {LAST} == {1, 5, 6}, got
    g.shell("ip link del v5", 60)
    query = g.qmp("query-rx-filter")[0]
    yield "query-rx-filter", query["main-mac"] == MAC and not query["promiscuous"] and query["multicast"] in ("normal", "none"), query


def sizes(g, cable):
    g.shell("ip link set eth0 mtu 9000", 60)
    want = {n: size for n, size in enumerate([60, 61, 63, 64, 65, 127, 128, 1023, 1500, 1513, 1514, 1515, 1518, 4095, 4096, 4097, 9000, 9013, 9014], 1)}
    got = seen(g, cable, lambda: [cable.send(MAC, n, size) for n, size in want.items()])
    del got[LAST]
    yield "frames of 60 to 9014 bytes", got == {n: size - 14 for n, size in want.items()}, got


def links(g, cable):
    for _ in range(5):
        for up in (False, True):
            g.qmp("set_link", name="nic0", up=up)
            if not wire.carrier(g, int(up)):
                yield "link changes are seen", False, g.tail()
    g.qmp("set_link", name="nic0", up=False)
    cable.send(MAC, 1)  # goes nowhere
    g.qmp("set_link", name="nic0", up=True)
    wire.carrier(g, 1)
    got = seen(g, cable, lambda: cable.send(MAC, 2))
    yield "ten link changes; what was sent without a link does not come later", set(got) == {2, LAST}, got


def rebind(g, cable, times):
    """The storm does not wait for anybody: the socket is as full as it gets all the time."""
    stop = threading.Event()
    cable.s.settimeout(1)

    def storm():
        while not stop.is_set():
            try:
                for size in (60, 1514, 9014, 200):
                    cable.send(ALL, 1, size)
            except OSError:  # full: again
                pass

    t = threading.Thread(target=storm, daemon=True)
    t.start()
    rc, out = g.shell(f"i=0; while [ $i -lt {times} ]; do for d in virtio_net/virtio0 virtio-pci/$(basename $(readlink -f /sys/bus/virtio/devices/virtio0/..)); do "
                      "b=virtio; case $d in virtio-pci/*) b=pci;; esac; [ $((i % 2)) = 0 ] && [ $b = pci ] && continue; "
                      "echo ${d#*/} > /sys/bus/$b/drivers/${d%/*}/unbind && echo ${d#*/} > /sys/bus/$b/drivers/${d%/*}/bind || echo B''AD; "
                      "n=0; until [ -e /sys/class/net/eth0 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done; ip link set eth0 up || echo B''AD; done; "
                      "i=$((i + 1)); done; grep -h . /sys/class/net/eth0/statistics/rx_packets", 60 + 20 * times)
    stop.set()
    t.join()
    yield f"unbound and bound {times} times in a storm of frames", "BAD" not in out and rc == 0, out
    cable.s.settimeout(60)
    got = seen(g, cable, lambda: cable.send(MAC, 7))
    yield "frames come after it", {7, LAST} <= set(got), got


def frames(machine, form, times):
    def test(binary):
        with tempfile.TemporaryDirectory(prefix="virtue-frames-") as d:
            cable = wire.Cable(d)
            args = ["-netdev", cable.text, "-device", f"virtio-net-pci,netdev=n0,id=nic0,host_mtu=9014,mac={MAC},romfile={wire.FORMS[form]}"]
            with wire.linux(binary, machine, args) as g:
                wire.up(g)
                g.shell("ip link set eth0 mtu 1500 up", 60)
                yield from filters(g, cable)
                yield from sizes(g, cable)
                yield from links(g, cable)
                yield from rebind(g, cable, times)
                yield from wire.off(g)
            cable.close()
    return test


def jumbo(machine):
    """e1000 takes the same frames, in several buffers of its ring; tagged ones lose and keep their tag as the driver asks."""
    def test(binary):
        with tempfile.TemporaryDirectory(prefix="virtue-frames-") as d:
            cable = wire.Cable(d)
            args = ["-netdev", cable.text, "-device", f"e1000,netdev=n0,id=nic0,mac={MAC},romfile="]
            with wire.linux(binary, machine, args, package="linux-image-amd64", modules=["e1000"]) as g:
                wire.up(g)
                g.shell("ip link set eth0 mtu 9000 up", 60)
                yield "link", wire.carrier(g, 1), g.tail()
                yield from sizes(g, cable)
                yield from links(g, cable)
                g.shell("ip link add link eth0 name v5 type vlan id 5; ip link set v5 up", 60)
                got = set(seen(g, cable, lambda: send_round(cable)))
                yield "filter: one VLAN", {1, 5, 6} <= got and not got & {2, 7, 8}, got
                yield from wire.off(g)
            cable.close()
    return test


TESTS = {"packed": frames("q35", "packed", 4)}
E1000 = {f"e1000/{machine}": jumbo(machine) for machine in ("pc", "q35")}
FULL = {f"{machine}/{form}": frames(machine, form, 100) for machine in ("pc", "q35") for form in wire.FORMS} | E1000

if __name__ == "__main__":
    sys.exit(wire.report(frames(*sys.argv[2:4], int(sys.argv[4]))(os.path.abspath(sys.argv[1]))))

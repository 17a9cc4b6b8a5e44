#!/usr/bin/env python3
"""The plain network cards under Linux's own drivers: DHCP, bulk TCP both ways over the user network with checksums, frames on the wire and what
the driver counts, interrupts throttled, link changes, reloads."""
import hashlib
import os
import re
import socket
import sys
import tempfile
import threading

import images
import wire
from guest import Guest

MB, MAC = 8, "52:54:00:65:10:00"
RATE = 100  # interrupts in a second: the fewest that Linux's e1000 takes
HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
DRIVER = {"e1000": "e1000", "rtl8139": "8139cp"}


def give(sock, blob):
    """To the first who connects."""
    c, _ = sock.accept()
    with c:
        c.sendall(blob)
        c.shutdown(socket.SHUT_WR)
        c.recv(1)


def serve(sock, blob, got):
    """Gives blob to the first who connects; takes what the second sends, as a checksum."""
    give(sock, blob)
    c, _ = sock.accept()
    h = hashlib.sha256()
    with c:
        while data := c.recv(1 << 16):
            h.update(data)
    got.append(h.hexdigest())


def counted(g, name):
    """A counter of the driver's, which it takes from the card every two seconds; 0: it stays so for a minute."""
    rc, out = g.shell(f"n=0; until net-peer counters eth0 | grep -q '^{name} [1-9]' || [ $n -ge 60 ]; do sleep 1; n=$((n + 1)); done; net-peer counters eth0", 120)
    m = re.search(rf"^{name} (\d+)\s*$", out, re.M)
    return int(m[1]) if m else 0


def on_the_wire(g, model, pcap):
    """After the transfers: both drivers leave segments to their cards, which send no frame that is longer than others."""
    g.qmp("object-del", id="f")
    frames = [size for size, f in wire.capture(pcap) if f[6:12] == wire.mac(MAC)]
    yield "frames up to 1514 bytes on the wire", max(frames) <= 1514 and sum(frames) >= MB << 20, (max(frames), sum(frames))
    want = {"e1000": "tx_tcp_seg_good", "rtl8139": "tx_ok"}[model]
    n = counted(g, want)
    yield f"the driver counts {want}", n >= (20 if model == "e1000" else len(frames)), (n, len(frames))


def throttled(g, sock, blob):
    """The card holds its interrupts to the driver's rate, by the guest's own clock, however many packets come."""
    threading.Thread(target=give, args=(sock, blob), daemon=True).start()
    look = "cat /proc/uptime /sys/class/net/eth0/statistics/?x_packets; grep eth0 /proc/interrupts"
    rc, out = g.shell(f"rmmod e1000; insmod /modules/e1000.ko InterruptThrottleRate={RATE}; ip link set eth0 up; udhcpc -i eth0 -q -n -t 10 -T 1 -s /dhcp; {look}; "
                      f"nc 10.0.2.2 {sock.getsockname()[1]} </dev/null | sha256sum; {look}", 240)
    found = re.findall(r"^([\d.]+) [\d.]+\s+(\d+)\s+(\d+)\s+\d+:\s+(\d+) ", out, re.M)
    yield f"{len(blob) >> 20} MB with interrupts throttled", hashlib.sha256(blob).hexdigest() in out and len(found) == 2, out
    seconds, rx, tx, interrupts = (float(b) - float(a) for a, b in zip(*found))
    yield (f"at most {RATE} interrupts a second, fewer than packets", 0 < interrupts <= seconds * RATE * 1.05 + 2 and interrupts < rx + tx,
           f"{interrupts:.0f} interrupts, {rx + tx:.0f} packets, {seconds:.2f} s")


def card(model, machine):
    def test(binary):
        with tempfile.TemporaryDirectory(prefix="virtue-nic-") as d:
            yield from steps(binary, model, machine, f"{d}/pcap")
    return test


def steps(binary, model, machine, pcap):
    kernel = images.Kernel("linux-image-amd64")
    blob, got = os.urandom(1 << 20) * MB, []
    want = hashlib.sha256(blob).hexdigest()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        t = threading.Thread(target=serve, args=(sock, blob, got), daemon=True)
        t.start()
        args = ["-accel", "tcg", "-M", machine, "-m", "256", "-kernel", kernel.image, "-append", "console=ttyS0 quiet panic=-1", "-initrd",
                images.initramfs(kernel, modules=["af_packet", DRIVER[model]], extra=[("dhcp", images.DHCP.encode(), 0o755),
                                                                                      ("bin/net-peer", images.program(wire.SOURCE), 0o755)]), "-no-reboot",
                "-netdev", "user,id=n0", "-device", f"{model},netdev=n0,id=nic0,mac={MAC},romfile=",
                "-object", f"filter-dump,id=f,netdev=n0,file={pcap},maxlen=64"]
        with Guest(binary, args) as g:
            g.expect("VIRTUE-DONE", 240)
            g.send("\n")
            g.expect("# ", 60)
            rc, out = g.shell("readlink /sys/class/net/eth0/device/driver; cat /sys/class/net/eth0/address", 60)
            yield "driver and address", DRIVER[model] in out and MAC in out, out
            rc, out = g.shell("mkdir -p /etc; ip link set eth0 up; udhcpc -i eth0 -q -n -t 10 -T 1 -s /dhcp; ip -4 addr show eth0", 120)
            yield "DHCP", "10.0.2.15" in out, out
            rc, out = g.shell(f"nc 10.0.2.2 {port} </dev/null | tee /blob | sha256sum", 240)
            yield f"{MB} MB from the host", want in out, out
            rc, out = g.shell(f"nc 10.0.2.2 {port} </blob; echo sent", 240)
            t.join(120)
            yield f"{MB} MB to the host", got == [want], f"{got}, not {want}"
            yield from on_the_wire(g, model, pcap)
            rc, out = g.shell("cat /sys/class/net/eth0/statistics/*_errors /sys/class/net/eth0/statistics/*_dropped", 60)
            yield "no errors counted", set(re.findall(r"^\d+\s*$", out, re.M)) and not re.search(r"^[1-9]\d*\s*$", out, re.M), out
            g.qmp("set_link", name="nic0", up=False)
            rc, out = g.shell("n=0; while [ $(cat /sys/class/net/eth0/carrier) = 1 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; cat /sys/class/net/eth0/carrier", 120)
            yield "link down", re.search(r"^0\s*$", out, re.M), out
            g.qmp("set_link", name="nic0", up=True)
            rc, out = g.shell("n=0; while [ $(cat /sys/class/net/eth0/carrier) = 0 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; cat /sys/class/net/eth0/carrier", 120)
            yield "link up", re.search(r"^1\s*$", out, re.M), out
            rc, out = g.shell(f"for i in 1 2 3 4 5; do rmmod {DRIVER[model]} && insmod /modules/{DRIVER[model]}.ko && ip link set eth0 up || echo B''AD; done; "
                              "udhcpc -i eth0 -q -n -t 10 -T 1 -s /dhcp; ip -4 addr show eth0", 240)
            yield "five times unloaded and loaded", "BAD" not in out and "10.0.2.15" in out, out
            if model == "e1000":
                yield from throttled(g, sock, blob[:2 << 20])
            rc, out = g.shell("dmesg | grep -iE 'hang|timed out|BUG|error' || echo clean", 60)
            yield "nothing to complain of", "clean" in out, out
            g.send("poweroff -f\n")
            yield "power-off", g.wait(120) == 0, g.tail()


TESTS = {"e1000/pc": card("e1000", "pc")}
FULL = {"e1000/q35": card("e1000", "q35"), "rtl8139/pc": card("rtl8139", "pc"), "rtl8139/q35": card("rtl8139", "q35")}

if __name__ == "__main__":
    for what, ok, detail in card(sys.argv[2], sys.argv[3])(os.path.abspath(sys.argv[1])):
        print("ok" if ok else f"FAIL {detail}", what, flush=True)

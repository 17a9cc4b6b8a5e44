#!/usr/bin/env python3
"""Debian's Linux drivers move data through every form of queue and interrupt: interface × ring × indirect × event index × interrupts ×
place of the device. What the guest read, wrote, sent and received is compared byte by byte on the host."""
import http.server
import itertools
import os
import random
import re
import socket
import sys
import tempfile
import threading

import images
from guest import Guest

MB = 1 << 20
SIZE, AT = 3 * MB, 8 * MB  # bytes moved each way; where on the disk the guest writes
PORT_SIZE = 1 << 16
AXES = [["modern-split", "modern-packed", "legacy"], ["indirect", "direct"], ["event", "flags"], ["msix", "intx", "vectors=0"],
        ["pc", "q35", "port", "bridge"]]
NO_TIMER_CHECK = "no_timer_check"  # the boot rows have that check, which wants five ticks in 80 ms; here it would test the host
BAD = re.compile(r"BUG|WARNING|Oops|Spurious|hung|\blost\b|Call Trace|I/O error|timed out|irq \d+: nobody cared|id \d+ is not a head")
PROBE = r"""
dmesg -n 1
port=$(sed 's/.*port=\([0-9]*\).*/\1/' /proc/cmdline); sink=$(sed 's/.*sink=\([0-9]*\).*/\1/' /proc/cmdline)
n=0; while [ ! -b /dev/vda -o ! -e /sys/class/net/eth0 ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
dd if=/dev/vda of=/tmp/a bs=128k count=24 iflag=direct 2>/dev/null && echo "read=ok"
wget -q -O /tmp/b http://10.0.2.2:$port/blob && echo "fetch=ok"
nc 10.0.2.2 $sink < /tmp/a && echo "send=ok"
dd if=/tmp/b of=/dev/vda bs=4k count=256 seek=2048 oflag=direct 2>/dev/null &&
    dd if=/tmp/b of=/dev/vda bs=256k skip=4 seek=36 oflag=direct conv=fsync 2>/dev/null && echo "write=ok"
p=$(ls /dev/vport*p*); head -c 65536 $p > /tmp/c; cat /tmp/c > $p && echo "port=ok"
echo "rng=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | hexdump -v -e '64/1 "%02x" "\n"' | sort -u | wc -l)"
for d in /sys/bus/virtio/devices/*; do echo "virtio $(cat $d/device) $(cat $d/features) $(cat $d/status) $(readlink -f $d)"; done
for d in /sys/bus/pci/devices/*; do echo "pci $d $(ls $d/msi_irqs 2>/dev/null | wc -l)"; done
cat /proc/interrupts
dmesg
"""


class Server:
    """Hands out one blob over HTTP, and keeps what comes over one connection to another port."""

    def __init__(self, blob):
        self.blob = blob

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(server.blob)))
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(server.blob)

            def log_message(self, *_):
                pass
        server = self
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(180)
        self.sink = self.listener.getsockname()[1]
        self.received = bytearray()
        self.thread = threading.Thread(target=self.receive, daemon=True)
        self.thread.start()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def receive(self):
        try:
            s, _ = self.listener.accept()
            with s:
                s.settimeout(120)
                while more := s.recv(1 << 16):
                    self.received += more
        except OSError:
            pass

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.listener.close()


def place(where):
    """Machine, options in front, and the bus of each device: blk, net, serial, rng."""
    if where in ("pc", "q35"):
        return where, [], ["", "", "", ""]
    if where == "port":  # two devices behind ports of their own, two beside them
        ports = [o for i in range(2) for o in ("-device", f"pcie-root-port,id=rp{i},chassis={i + 1},slot={i + 1}")]
        return "q35", ports, [",bus=rp0", ",bus=rp1", "", ""]
    return "q35", ["-device", "pcie-pci-bridge,id=br"], [f",bus=br,addr={i + 1}" for i in range(4)]


def props(row):
    interface, indirect, event, irq, _ = row
    p = {"modern-split": ",disable-legacy=on", "modern-packed": ",disable-legacy=on,packed=on",
         "legacy": ",disable-modern=on,disable-legacy=off"}[interface]
    p += ",indirect_desc=off" if indirect == "direct" else ""
    p += ",event_idx=off" if event == "flags" else ""
    return p + (",vectors=0" if irq == "vectors=0" else "")


def devices(row, disk, chardev):
    """Options of a row's four devices; the machine first."""
    machine, front, bus = place(row[4])
    p = props(row)
    return ["-M", machine, *front, "-drive", f"if=none,id=d0,file={disk},format=raw", "-device", f"virtio-blk-pci,drive=d0{bus[0]}{p}",
            "-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0,romfile={bus[1]}{p}", "-chardev", chardev,
            "-device", f"virtio-serial-pci,id=vs{bus[2]}{p}", "-device", "virtserialport,chardev=c0,bus=vs.0",
            "-device", f"virtio-rng-pci{bus[3]}{p}"]


def echo(path, data, result):
    """The host's end of the port: sends data, keeps what comes back."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(120)
    s.connect(path)
    threading.Thread(target=lambda: s.sendall(data), daemon=True).start()
    try:
        while len(result) < len(data):
            more = s.recv(1 << 16)
            if not more:
                break
            result += more
    except OSError:
        pass
    s.close()


def facts(text, row):
    """Complaints about what the guest says of its devices."""
    interface, indirect, event, irq, where = row
    found = re.findall(r"^virtio 0x000(\d) ([01]+) (0x\w+) (\S+)$", text, re.M)
    if sorted(f[0] for f in found) != ["1", "2", "3", "4"]:
        yield f"virtio devices: {found}"
    for dev, bits, status, path in found:
        want = {28: indirect == "indirect", 29: event == "event", 32: interface != "legacy", 34: interface == "modern-packed"}
        got = {b: bits[b] == "1" for b in want}
        if got != want:
            yield f"virtio device {dev}: features {got}, wanted {want}"
        if int(status, 16) != (0xf if interface != "legacy" else 0x7):
            yield f"virtio device {dev}: status {status}"
        depth = len(re.findall(r"/0000:", path))
        if depth != {"pc": 1, "q35": 1, "port": 2 if dev in "12" else 1, "bridge": 2}[where]:
            yield f"virtio device {dev} is at {path}"
        m = re.search(r"([^/]+)/virtio\d+$", path)
        vectors = int(re.search(rf"^pci /sys/bus/pci/devices/{re.escape(m[1])} (\d+)$", text, re.M)[1])
        if (vectors > 0) != (irq == "msix"):
            yield f"virtio device {dev}: {vectors} MSI-X vectors"
    for line in text.splitlines():
        if line.startswith("[") and BAD.search(line):
            yield f"kernel log: {line}"


def move(binary, row, timeout=180, log=None):
    """One row: boots, moves the data, compares. Raises with all complaints."""
    kernel = images.Kernel()
    blob, head, ping = os.urandom(SIZE), os.urandom(SIZE), os.urandom(PORT_SIZE)
    server, back = Server(blob), bytearray()
    try:
        with tempfile.TemporaryDirectory(prefix="virtue-drivers-") as d:
            disk = f"{d}/disk"
            with open(disk, "wb") as f:
                f.write(head)
                f.truncate(16 * MB)
            args = ["-accel", "tcg", "-m", "256", *devices(row, disk, f"socket,id=c0,path={d}/port,server=on,wait=off"), "-kernel", kernel.image,
                    "-initrd", images.initramfs(kernel, PROBE), "-append",
                    f"console=ttyS0 panic=-1 {NO_TIMER_CHECK} port={server.port} sink={server.sink}" + (" pci=nomsi" if row[3] == "intx" else ""), "-no-reboot"]
            with Guest(binary, args, qmp=False, log=log) as g:
                g.expect("Linux version", 60)
                t = threading.Thread(target=echo, args=(f"{d}/port", ping, back), daemon=True)
                t.start()
                g.expect("VIRTUE-DONE", timeout)
                text = g.text.replace("\r", "")
                g.send("poweroff -f\n")
                rc = g.wait(30)
                t.join(30)
            with open(disk, "rb") as f:
                written = f.read()
    finally:
        server.close()
    bad = [f"{what}: not ok" for what in ("read", "fetch", "send", "write", "port") if f"\n{what}=ok\n" not in text]
    for what, got, want in (("read from the disk and sent", bytes(server.received), head), ("fetched and written to the disk", written[AT:AT + SIZE], blob),
                            ("beside what was written", written[:AT] + written[AT + SIZE:], head + bytes(13 * MB - SIZE)),
                            ("echoed by the port", bytes(back), ping)):
        if got != want:
            at = next((i for i, (x, y) in enumerate(zip(got or b"", want)) if x != y), "the end")
            bad.append(f"{what}: {len(got or b'')} bytes differ from byte {at} on")
    if "\nrng=16\n" not in text:
        bad.append("random numbers repeat or are missing")
    bad += facts(text, row)
    if rc:
        bad.append(f"power-off: exit status {rc}")
    if bad:
        raise AssertionError("\n".join(bad))
    return f"{2 * SIZE // MB} MB by disk and net each way"


def pairwise(axes):
    """A small set of rows in which every pair of values of two axes occurs: greedy, the best of some shuffled orders."""
    pairs = [(r, {(i, r[i], j, r[j]) for i, j in itertools.combinations(range(len(axes)), 2)}) for r in itertools.product(*axes)]
    found = []
    for seed in range(40):
        random.Random(seed).shuffle(pairs)
        todo, chosen = set().union(*[p for _, p in pairs]), []
        while todo:
            best = max(pairs, key=lambda e: len(todo & e[1]))
            todo -= best[1]
            chosen.append(best[0])
        found.append(chosen)
    return min(found, key=len)


def rows(binary, full):
    """(name, function) for run.py: pairwise, or all."""
    return [("drivers/linux/" + "/".join(r), lambda r=r: move(binary, r))
            for r in (itertools.product(*AXES) if full else pairwise(AXES))]


if __name__ == "__main__":
    print(move(os.path.abspath(sys.argv[1]), tuple(sys.argv[2].split("/")), log=sys.stdout))

#!/usr/bin/env python3
"""Drivers that leave and come back: 50 times unbound and bound under load, and system resets in the middle of I/O. Data stays right,
and the emulator keeps its number of descriptors and threads, its memory, and no chain in flight."""
import hashlib
import os
import re
import sys
import tempfile
import time

import drivers
import images
from guest import Guest

MB = 1 << 20
LOOPS, RESETS, CHUNK = 50, 5, 1 << 16
# Of private memory: translated code, tables of the CPU engine that are touched page by page, what was in flight at once. It comes to 4.5 MiB
# after five resets and after twelve.
SLACK = 6 * MB
BAD = re.compile(r"BUG|WARNING|Oops|Spurious|hung|\blost\b|Call Trace|nobody cared|is not a head|probe of .* failed|timed out")
# Even rounds: each virtio driver lets its device go; odd rounds: virtio-pci does. I/O runs when they do.
LOOP = rb"""#!/bin/sh
net() {
    n=0; while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
    ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0 2>/dev/null
}
i=$1
while [ $i -lt $2 ]; do
    dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null &
    cat /dev/hwrng > /dev/null 2>&1 & h=$!
    list=
    if [ $((i % 2)) = 0 ]; then
        for d in /sys/bus/virtio/drivers/virtio*/virtio*; do list="$list $d"; done
    else
        for d in /sys/bus/pci/drivers/virtio-pci/0000:*; do list="$list $d"; done
    fi
    for d in $list; do echo ${d##*/} > ${d%/*}/unbind; done
    kill $h 2>/dev/null; wait
    [ -e /sys/block/vda -o -e /sys/class/net/eth0 ] && echo "still there"
    for d in $list; do echo ${d##*/} > ${d%/*}/bind; done
    n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
    net
    a=$(dd if=/dev/vda bs=64k count=1 skip=$i iflag=direct 2>/dev/null | sha256sum | cut -c1-64)
    b=$(wget -q -O - http://10.0.2.2:$3/blob | sha256sum | cut -c1-64)
    c=$(head -c 16 /dev/hwrng | wc -c)
    echo "round $i $a $b $c"
    i=$((i + 1))
done
echo "ROUNDS-DONE"
"""
LOAD = rb"""#!/bin/sh
(while :; do dd if=/dev/vda of=/dev/null bs=128k count=32 iflag=direct 2>/dev/null; done) &
(while :; do dd if=/dev/zero of=/dev/vda bs=32k count=32 seek=256 oflag=direct conv=fsync 2>/dev/null; done) &
(while :; do wget -q -O /dev/null http://10.0.2.2:$1/blob; done) &
(while :; do cat /dev/hwrng > /dev/null; done) &
(while :; do cat /bin/busybox > $(ls /dev/vport*p*); done) &
a=$(cut -d' ' -f1 /sys/class/block/vda/stat); n=0
while [ $(cut -d' ' -f1 /sys/class/block/vda/stat) -lt $((a + 40)) -o $(cat /sys/class/net/eth0/statistics/rx_packets) -lt 20 ] && [ $n -lt 300 ]
do sleep 0.1; n=$((n + 1)); done
echo LOAD-"RUNS $n"
"""
EXTRA = [("loop.sh", LOOP, 0o755), ("load.sh", LOAD, 0o755)]


def connections(port):
    """Inodes of sockets with a connection to our server: one that a reset cut off ends when the network library's timers say so."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [l.split() for l in f.read().splitlines()[1:]]
    return {r[9] for r in rows if int(r[2].split(":")[1], 16) == port}


def holds(m):
    """What the emulator holds: descriptors but those connections, threads, private memory. Guest RAM is a memfd and does not count."""
    pid, cut = m.g.p.pid, connections(m.server.port)
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        anon = int(re.search(r"^RssAnon:\s+(\d+)", f.read(), re.M)[1]) << 10
    fds = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inode = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
        fds += not (inode and inode[1] in cut)
    return fds, len(os.listdir(f"/proc/{pid}/task")), anon


def settled(m, seconds=60):
    """holds() once it has not changed for longer than idle workers live (10 s); connections close in their own time too."""
    end, now, since = time.monotonic() + seconds, holds(m), time.monotonic()
    while time.monotonic() < min(end, since + 12):
        m.g.pump(0.5)
        last, now = now, holds(m)
        if now[:2] != last[:2]:
            since = time.monotonic()
    return now


def same(before, after):
    return after[0] <= before[0] and after[1] <= before[1] and after[2] <= before[2] + SLACK


def in_flight(g):
    """Queues with chains that the device holds, by QMP's view."""
    busy = []
    for dev in g.qmp("x-query-virtio"):
        for queue in range(64):
            try:
                s = g.qmp("x-query-virtio-queue-status", path=dev["path"], queue=queue)
            except RuntimeError:
                break
            if s["inuse"]:
                busy.append((dev["name"], queue, s["inuse"]))
    return busy


class Machine:
    """A row of drivers.py with its disk and server."""

    def __init__(self, binary, row, log=None):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-lifecycle-")
        self.data, self.blob = os.urandom(LOOPS * CHUNK), os.urandom(100000)
        self.server = drivers.Server(self.blob)
        disk = f"{self.dir.name}/disk"
        with open(disk, "wb") as f:
            f.write(self.data)
            f.truncate(16 * MB)
        kernel = images.Kernel()
        machine, *rest = drivers.devices(row, disk, "null,id=c0")[1:]
        self.g = Guest(binary, ["-accel", "tcg", "-M", machine, "-m", "256", "-object", "memory-backend-memfd,id=mem,size=256M", "-numa",
                                "node,memdev=mem", *rest, "-kernel", kernel.image, "-initrd", images.initramfs(kernel, extra=EXTRA),
                                "-append", f"console=ttyS0 quiet nokaslr panic=-1 {drivers.NO_TIMER_CHECK}" + (" pci=nomsi" if row[3] == "intx" else "")], log=log)

    def __enter__(self):
        self.booted()
        return self

    def __exit__(self, *_):
        self.g.close()
        self.server.close()
        self.dir.cleanup()

    def booted(self):
        g = self.g
        g.qmp("query-status")
        g.expect("VIRTUE-DONE", 180)
        g.expect("# ", 30)
        rc, out = g.shell("dmesg -n 1; ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ping -c 1 -W 5 10.0.2.2", 60)
        if rc:
            raise AssertionError(f"no network after boot: {out}")

    def complaints(self):
        _, out = self.g.shell("dmesg", 60)
        return [l for l in out.splitlines() if BAD.search(l)]


def rebind(binary, row, log=None):
    with Machine(binary, row, log) as m:
        g = m.g
        blob = hashlib.sha256(m.blob).hexdigest()
        for first, last in ((0, 10), (10, LOOPS)):
            _, out = g.shell(f"/loop.sh {first} {last} {m.server.port}", 400)
            wrong = [i for i in range(first, last) if not re.search(
                rf"round {i} {hashlib.sha256(m.data[i * CHUNK:(i + 1) * CHUNK]).hexdigest()} {blob} 16\b", out)]
            yield f"unbind and bind, rounds {first} to {last - 1}: data", not wrong and "still there" not in out, (wrong, out)
            if first == 0:
                before = settled(m)
        after = settled(m)
        yield f"unbind and bind: {before} held, {after} after {LOOPS - 10} rounds more", same(before, after), (before, after)
        busy = in_flight(g)
        yield "unbind and bind: no chain in flight", not busy, busy
        bad = m.complaints()
        yield "unbind and bind: no complaint of the kernel", not bad, bad


def resets(binary, row, log=None):
    with Machine(binary, row, log) as m:
        g = m.g
        for n in range(RESETS + 1):
            g.shell(f"/load.sh {m.server.port} & n=0", 60)
            spun = int(g.expect(r"LOAD-RUNS (\d+)", 120)[1])
            yield f"reset {n}: I/O runs before", spun < 300, spun
            g.qmp("system_reset")
            g.event("RESET")
            m.booted()
            rc, out = g.shell(f"dd if=/dev/vda bs=64k count={LOOPS} iflag=direct 2>/dev/null | sha256sum; "
                              f"wget -q -O - http://10.0.2.2:{m.server.port}/blob | sha256sum", 60)
            yield f"reset {n}: disk and network serve again", rc == 0 and hashlib.sha256(m.data).hexdigest() in out and \
                hashlib.sha256(m.blob).hexdigest() in out, out
            bad = m.complaints()
            yield f"reset {n}: no complaint of the kernel", not bad, bad
            if n == 0:
                before = settled(m)
        after = settled(m)
        yield f"resets: {before} held, {after} after {RESETS} more", same(before, after), (before, after)
        busy = in_flight(g)
        yield "resets: no chain in flight", not busy, busy


PACKED, LEGACY = ("modern-packed", "indirect", "event", "msix", "port"), ("legacy", "indirect", "event", "intx", "pc")
SPLIT = ("modern-split", "indirect", "event", "msix", "q35")
TESTS = {"rebind/packed": lambda b: rebind(b, PACKED), "resets/split": lambda b: resets(b, SPLIT)}
FULL = {"rebind/legacy": lambda b: rebind(b, LEGACY), "rebind/split": lambda b: rebind(b, SPLIT),
        "resets/packed": lambda b: resets(b, PACKED), "resets/legacy": lambda b: resets(b, LEGACY)}

if __name__ == "__main__":
    for name, ok, detail in {**TESTS, **FULL}[sys.argv[2]](os.path.abspath(sys.argv[1])):
        print("ok  " if ok else "FAIL", name, "" if ok else detail, flush=True)

#!/usr/bin/env python3
"""x-query-virtio* beside the running driver's own view: features, status, queue sizes, vectors and requests as sysfs and ethtool's
ioctl show them."""
import os
import re
import subprocess
import sys
import tempfile

import drivers
import images
from guest import Guest

KINDS = {1: ("virtio-net", "net"), 2: ("virtio-blk", "blk"), 3: ("virtio-serial", "console"), 4: ("virtio-rng", "")}
SIZES = {"blk": 128, "rx": 512, "tx": 256}
STATUS = {"ACKNOWLEDGE": 1, "DRIVER": 2, "DRIVER_OK": 4, "FEATURES_OK": 8, "NEEDS_RESET": 0x40, "FAILED": 0x80}
RINGS = r"""
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
int main(void)
{
    struct ethtool_ringparam p = { .cmd = ETHTOOL_GRINGPARAM };
    struct ifreq r = { .ifr_name = "eth0", .ifr_data = (void *)&p };
    int rc = ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &r);
    printf("rings %d %u %u\n", rc, p.rx_pending, p.tx_pending);
    return rc;
}
"""
LOOK = (r"for d in /sys/bus/virtio/devices/*; do r=$(readlink -f $d); p=${r%/virtio*}; "
        r"echo \"device $(cat $d/device) $(cat $d/status) $(cat $d/features) $(ls $p/msi_irqs 2>/dev/null | wc -l) ${d##*/}\"; done; "
        r"echo tags $(cat /sys/block/vda/mq/0/nr_tags 2>/dev/null); echo done $(awk '{ print $1 + $5 }' /sys/block/vda/stat 2>/dev/null); /rings")


def feature_bits():
    """Names of feature bits and their numbers, by the kernel's headers: {"": shared names, "net": ..., ...}."""
    bits = {}
    for kind, header in (("", "config"), ("", "ring"), ("net", "net"), ("blk", "blk"), ("console", "console")):
        with open(f"/usr/include/linux/virtio_{header}.h", encoding="utf-8") as f:
            for name, n in re.findall(r"^#define\s+(VIRTIO_\w*F_\w+)\s+(\d+)\b", f.read(), re.M):
                bits.setdefault(kind, {})[name] = int(n)
    bits[""].update(VIRTIO_F_NOTIFY_ON_EMPTY=24, VIRTIO_F_ANY_LAYOUT=27)
    bits["net"].setdefault("VIRTIO_NET_F_GSO", 6)
    return bits


def decoded(features, names):
    """The bits behind an answer's texts "NAME: what it is"."""
    got = set()
    for text in features["transports"] + features["dev-features"]:
        got.add(names[text.split(":")[0]])
    unknown = features.get("unknown-dev-features", 0)
    return got | {b for b in range(64) if unknown >> b & 1}


def status_of(answer):
    return sum(STATUS[s.split(":")[0].replace("VIRTIO_CONFIG_S_", "")] for s in answer["status"]["statuses"])


def helper(folder):
    with open(f"{folder}/rings.c", "w", encoding="utf-8") as f:
        f.write(RINGS)
    subprocess.run(["gcc", "-Os", "-static", "-o", f"{folder}/rings", f"{folder}/rings.c"], check=True)
    with open(f"{folder}/rings", "rb") as f:
        return f.read()


def devices(row, disk):
    machine, front, bus = drivers.place(row[4])
    p = drivers.props(row)
    return ["-M", machine, *front, "-drive", f"if=none,id=d0,file={disk},format=raw", "-device",
            f"virtio-blk-pci,id=disk,drive=d0,queue-size={SIZES['blk']}{bus[0]}{p}", "-netdev", "user,id=n0", "-device",
            f"virtio-net-pci,netdev=n0,romfile=,rx_queue_size={SIZES['rx']},tx_queue_size={SIZES['tx']}{bus[1]}{p}",
            "-device", f"virtio-serial-pci{bus[2]}{p}", "-device", f"virtio-rng-pci{bus[3]}{p}"]


class View:
    """Both views at one moment: the guest's, by device id, and QMP's, by the same."""

    def __init__(self, g):
        rc, text = g.shell(LOOK.replace('\\"', '"'), 60)
        self.text = text.replace("\r", "")
        if rc:
            raise AssertionError(self.text)
        self.guest = {int(d, 16): (int(s, 16), {i for i, b in enumerate(f) if b == "1"}, int(v), name) for d, s, f, v, name in re.findall(
            r"^device (0x\w+) (0x\w+) ([01]+) (\d+) (\w+)$", self.text, re.M)}
        m = re.search(r"^tags ?(\d*)$\n^done ?(\d*)$\n^rings 0 (\d+) (\d+)$", self.text, re.M)
        if not m:
            raise AssertionError(self.text)
        self.tags, self.done, self.rx, self.tx = m[1], int(m[2] or 0), int(m[3]), int(m[4])
        self.qmp = {}
        for d in g.qmp("x-query-virtio"):
            s = g.qmp("x-query-virtio-status", path=d["path"])
            self.qmp[s["device-id"]] = (d, s, [g.qmp("x-query-virtio-queue-status", path=d["path"], queue=q) for q in range(s["num-vqs"])])


def compare(v, row, bits):
    """Complaints about one moment."""
    if set(v.guest) != set(KINDS) or set(v.qmp) != set(KINDS):
        yield f"devices {sorted(v.guest)} and {sorted(v.qmp)}"
        return
    for n, (name, kind) in KINDS.items():
        status, features, vectors, _ = v.guest[n]
        listed, answer, queues = v.qmp[n]
        names = {**bits[""], **bits.get(kind, {})}
        if not listed["name"] == answer["name"] == name:
            yield f"{name} is called {listed['name']}, {answer['name']}"
        if decoded(answer["guest-features"], names) != features:
            yield f"{name}: features {sorted(decoded(answer['guest-features'], names))}, the guest's {sorted(features)}"
        if not features <= decoded(answer["host-features"], names):
            yield f"{name}: accepted but not offered: {sorted(features - decoded(answer['host-features'], names))}"
        if status_of(answer) != status:
            yield f"{name}: status {status_of(answer):#x}, the guest's {status:#x}"
        if answer["started"] != bool(status & 4) or answer["broken"]:
            yield f"{name}: started {answer['started']}, broken {answer['broken']} with status {status:#x}"
        # A vector for the configuration and one for each queue that calls back: all but virtio-net's control queue.
        if status:
            want = 1 + sum(q["vring-desc"] != 0 for q in queues) - (n == 1) if row[3] == "msix" else 0
            if n != 3 and vectors != want:
                yield f"{name}: {vectors} vectors in the guest, {want} by its queues"
        if any(q["inuse"] for q in queues):
            yield f"{name}: chains in flight: {[q['inuse'] for q in queues]}"
    net = v.qmp[1][2]
    if (net[0]["vring-num"], net[1]["vring-num"]) != (v.rx, v.tx) or (v.rx, v.tx) != (SIZES["rx"], SIZES["tx"]):
        yield f"net: rings of {net[0]['vring-num']} and {net[1]['vring-num']}, the guest's {v.rx} and {v.tx}"
    disk = v.qmp[2][2][0]
    tags = SIZES["blk"] // (1 if row[1] == "indirect" else 2)  # without indirect tables the driver halves its depth
    if disk["vring-num"] != SIZES["blk"] or v.tags != str(tags):
        yield f"blk: a queue of {disk['vring-num']}, the guest has {v.tags} tags"


def view(binary, row, log=None):
    bits, kernel = feature_bits(), images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-introspect-") as d:
        disk = f"{d}/disk"
        with open(disk, "wb") as f:
            f.truncate(16 << 20)
        extra = [("rings", helper(d), 0o755)]
        with Guest(binary, ["-accel", "tcg", "-m", "256", *devices(row, disk), "-kernel", kernel.image, "-initrd",
                            images.initramfs(kernel, extra=extra), "-append", f"console=ttyS0 quiet panic=-1 {drivers.NO_TIMER_CHECK}"], log=log) as g:
            g.qmp("query-status")
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            g.shell("dmesg -n 1; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ping -c 1 -W 5 10.0.2.2; "
                    "n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done", 60)
            first = View(g)
            bad = list(compare(first, row, bits))
            yield f"{'/'.join(row)}: features, status, queue sizes, vectors", not bad, (bad, first.text)
            g.shell("dd if=/dev/vda of=/dev/null bs=4k count=70 skip=100 iflag=direct; dd if=/dev/zero of=/dev/vda bs=4k count=30 oflag=direct", 60)
            second = View(g)
            a, b = first.qmp[2][2][0], second.qmp[2][2][0]
            gone = {k: (b[k] - a[k]) % 65536 for k in ("used-idx", "last-avail-idx", "shadow-avail-idx")}
            # Packed rings count descriptors with a wrap bit there; requests are counted in split rings only.
            ok = second.done - first.done >= 100 and (row[0] == "modern-packed" or set(gone.values()) == {second.done - first.done})
            yield f"{'/'.join(row)}: requests the guest counts, and the ring's indices", ok, (gone, first.done, second.done)
            name = second.guest[2][3]
            g.shell(f"echo {name} > /sys/bus/virtio/drivers/virtio_blk/unbind", 60)
            last = View(g)
            queue = last.qmp[2][2][0]
            # An unbound driver has reset the device; the kernel acknowledges that it has seen it when the device is registered.
            ok = last.guest[2][0] == status_of(last.qmp[2][1]) and not last.qmp[2][1]["started"] and queue["vring-desc"] == 0 and \
                not decoded(last.qmp[2][1]["guest-features"], {**bits[""], **bits["blk"]})
            yield f"{'/'.join(row)}: a device whose driver let go", ok, (last.guest[2], last.qmp[2])


ROWS = {"packed": ("modern-packed", "indirect", "event", "msix", "port"), "split": ("modern-split", "direct", "flags", "vectors=0", "q35"),
        "legacy": ("legacy", "indirect", "event", "msix", "pc")}
TESTS = {"legacy": lambda b: view(b, ROWS["legacy"])}
FULL = {n: lambda b, r=ROWS[n]: view(b, r) for n in ("packed", "split")}

if __name__ == "__main__":
    for name_, ok_, detail_ in {**TESTS, **FULL}[sys.argv[2]](os.path.abspath(sys.argv[1])):
        print("ok  " if ok_ else "FAIL", name_, "" if ok_ else detail_, flush=True)

#!/usr/bin/env python3
"""The same register scripts on ours and on QEMU 10.0: PCI functions, BARs, capabilities, virtio's common, ISR, device and
legacy registers, MSI-X. Ours runs with -accel qtest, QEMU 10.0 with a firmware that halts. IDE and AHCI functions are left out."""
import os
import tempfile

import qtest
import vm
from qtest import COMMON, DEVICE, ISR, NOTIFY, Function, VirtioPci
from vm import Vm, test  # noqa: F401

tmp = tempfile.TemporaryDirectory(prefix="virtue-registers-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
DISK = f"{tmp.name}/disk"
with open(DISK, "wb") as f:
    f.truncate(8 << 20)

BACKEND = {
    "net": (["-netdev", "user,id=n0"], "netdev=n0,mac=52:54:00:11:22:33"),
    "blk": (["-drive", f"if=none,id=d0,file={DISK},format=raw"], "drive=d0,serial=abc"),
    "serial": ([], "max_ports=4"),
    "rng": ([], ""),
    "scsi": ([], ""),
    "balloon": ([], "free-page-reporting=on"),
    "keyboard": ([], "serial=abc"),
    "tablet": ([], ""),
}
MODERN_ONLY = ("keyboard", "tablet")
VARIANTS = {
    "default": ("pci", ""), "transitional": ("pci-transitional", ""), "non-transitional": ("pci-non-transitional", ""),
    "disable-modern": ("pci", "disable-modern=on"), "disable-legacy": ("pci", "disable-legacy=on"), "vectors=0": ("pci", "vectors=0"),
    "page-per-vq": ("pci", "page-per-vq=on"), "modern-pio-notify": ("pci", "modern-pio-notify=on"), "packed": ("pci", "packed=on"),
    "event_idx=off": ("pci", "event_idx=off,indirect_desc=off"), "iommu_platform": ("pci", "iommu_platform=on,disable-legacy=on"),
    "ats": ("pci", "ats=on,aer=on"),
}


class Log(list):
    def say(self, what, value):
        self.append(f"{what}: {value:#x}" if isinstance(value, int) else f"{what}: {value}")


def left_out(machine, f):
    return (f.bus, f.dev, f.fn) == ((0, 1, 1) if machine == "pc" else (0, 0x1f, 2))


def pci_walk(log, q, machine):
    for f in qtest.functions(q):
        if left_out(machine, f):
            continue
        space = f.space()
        for o in range(0, 256, 16):
            log.say(f"{f} config {o:02x}", space[o:o + 16].hex(" "))
        log.say(f"{f} BARs", list(f.size_bars(2 if space[0xe] & 0x7f else 6).values()))
        # Which bits stick; ports of chips that move with their registers are left alone.
        if space[0xe] & 0x7f == 1 or f.get(0, 2) == 0x1af4:
            caps = [o + b for i, o in f.caps() if i != 9 for b in range(0, {1: 8, 5: 16, 0x11: 12, 0x10: 0x3c}.get(i, 4), 4)]
            for o in [*range(0, 64, 4), *caps]:
                old = f.get(o, 4)
                f.put(o, 4, 0xffffffff)
                log.say(f"{f} sticks at {o:02x}", f.get(o, 4))
                f.put(o, 4, 0)
                log.say(f"{f} clears at {o:02x}", f.get(o, 4))
                f.put(o, 4, old)


def widths(log, what, get, size):
    """A region read in every width."""
    for w in (1, 2, 4):
        log.say(f"{what} by {w}", " ".join(f"{get(o, w):0{2 * w}x}" for o in range(0, size - w + 1, w)))


# VIRTIO 1.4, 4.1.4.3: name, offset, width. A driver reads a field in its own width; 64-bit fields in halves. 4.1.3.1
FIELDS = [("config_msix_vector", 16, 2), ("num_queues", 18, 2), ("device_status", 20, 1), ("config_generation", 21, 1),
          ("queue_size", 24, 2), ("queue_msix_vector", 26, 2), ("queue_enable", 28, 2), ("queue_notify_off", 30, 2),
          ("queue_desc", 32, 4), ("queue_desc high", 36, 4), ("queue_driver", 40, 4), ("queue_driver high", 44, 4),
          ("queue_device", 48, 4), ("queue_device high", 52, 4), ("queue_notif_config_data", 56, 2), ("queue_reset", 58, 2)]


def fields(log, what, v, start=16):
    for name, o, w in FIELDS:
        if o >= start:
            log.say(f"{what}, {name}", v.get(o, w))


def msix(log, f):
    cap = f.cap(0x11)
    if cap is None:
        return
    n = (f.get(cap + 2, 2) & 0x7ff) + 1
    table, pba = f.get(cap + 4, 4), f.get(cap + 8, 4)
    base = f.bars[table & 7].at + (table & ~7)
    log.say("msix vectors", n)
    f.put(cap + 2, 2, 0xc000)
    log.say("msix control", f.get(cap + 2, 2))
    log.say("msix table", f.q.read(base, 16 * n).hex())
    for o in range(0, 16, 4):
        f.q.put(base + o, 4, 1 if o == 12 else 0xffffffff)
        log.say(f"msix entry, {o} sticks", f.q.get(base + o, 4))
        f.q.put(base + o, 4, 1 if o == 12 else 0)
    log.say("msix behind the table", f.q.read(base + 16 * n, 16).hex())
    log.say("msix pba", f.q.read(f.bars[pba & 7].at + (pba & ~7), 8).hex())


def modern(log, f):
    v = VirtioPci(f)
    if COMMON not in v.at:
        log.say("modern", "none")
        return
    for kind in (COMMON, NOTIFY, ISR, DEVICE):
        log.say(f"structure {kind}", v.at[kind])
    log.say("multiplier", v.multiplier)
    v.set_status(0)
    fields(log, "after reset", v)
    for i in (0, 1, 2, 3, 0xffffffff):
        v.put(0, 4, i)
        log.say(f"device_feature {i:#x}", v.get(4, 4))
        log.say("device_feature_select", v.get(0, 4))
    for bits in (1, 3, 3 | 128, 0, 1, 3):
        v.set_status(bits)
        log.say(f"status {bits}", v.status())
    # FEATURES_OK without VERSION_1 is not asked for: ours refuses it here, QEMU does not. VIRTIO 1.4, 6.2
    v.set_status(0)
    feats = v.features()
    log.say("features", feats)
    for bits in (1, 3):
        v.set_status(bits)
    for i in (0, 1):
        v.put(8, 4, i)
        v.put(12, 4, feats >> 32 * i & 0xffffffff)
        log.say(f"driver_feature {i}", v.get(12, 4))
    v.set_status(11)
    log.say("status with all offered features", v.status())
    log.say("config_msix_vector", v.get(16, 2))
    for vector in (0, 1, 0x7ff, 0xffff):
        v.put(16, 2, vector)
        log.say(f"config_msix_vector {vector:#x}", v.get(16, 2))
    n = v.get(18, 2)
    log.say("num_queues", n)
    for i in [*range(min(n, 8)), n, 1000]:
        v.put(22, 2, i)
        log.say(f"queue {i} select", v.get(22, 2))
        if i >= n:
            log.say(f"queue {i} size", v.get(24, 2))
            continue
        fields(log, f"queue {i}", v, 24)
        size = v.get(24, 2)
        for s in (size, size // 2):
            v.put(24, 2, s)
            log.say(f"queue {i} size {s}", v.get(24, 2))
        for vector in (0, 0x7ff, 0xffff):
            v.put(26, 2, vector)
            log.say(f"queue {i} vector {vector:#x}", v.get(26, 2))
        for o in (32, 40, 48):
            v.put(o, 4, 0x12345000 + o * 256)
            v.put(o + 4, 4, 0)
            log.say(f"queue {i} at {o}", [v.get(o, 4), v.get(o + 4, 4)])
    v.put(22, 2, 0)
    at = f.q.alloc(0x10000)
    for o, a in ((32, at), (40, at + 0x4000), (48, at + 0x8000)):
        v.put(o, 4, a)
        v.put(o + 4, 4, 0)
    v.put(28, 2, 1)
    log.say("queue 0 enabled", v.get(28, 2))
    v.set_status(15)
    log.say("status", v.status())
    log.say("generation", v.get(21, 1))
    log.say("ISR", v.get(0, 1, ISR))
    log.say("ISR again", v.get(0, 1, ISR))
    # virtio-blk's last field ends at 57; the padding behind it reads 0 (VIRTIO 1.4, 5.2.5.2), QEMU has none.
    blk = v.f.get(2, 2) in (0x1001, 0x1042)
    widths(log, "device configuration", lambda o, w: v.get(o, w, DEVICE), 56 if blk else 64)
    v.set_status(0)
    v.put(22, 2, 0)
    fields(log, "after use and reset", v)
    log.say("notify region reads", v.get(0, 2, NOTIFY))


def pci_cfg_window(log, f):
    """VIRTIO 1.4, 4.1.4.9: the structures through configuration space."""
    for cap, off in f.caps():
        if cap == 9 and f.get(off + 3, 1) == qtest.PCI_CFG:
            common = next(o for c, o in f.caps() if c == 9 and f.get(o + 3, 1) == COMMON)
            f.put(off + 4, 1, f.get(common + 4, 1))
            f.q.put(f.bars[f.get(common + 4, 1)].at + f.get(common + 8, 4), 4, 1)
            for field, size in ((18, 2), (4, 4), (20, 1)):
                f.put(off + 8, 4, f.get(common + 8, 4) + field)
                f.put(off + 12, 4, size)
                log.say(f"window, {size} bytes", f.get(off + 16, size))
            f.put(off + 8, 4, f.get(common + 8, 4) + 20)
            f.put(off + 12, 4, 1)
            f.put(off + 16, 1, 1)
            log.say("status through the window", f.get(off + 16, 1))
            f.put(off + 16, 1, 0)
            log.say("status through the window", f.get(off + 16, 1))


def legacy(log, f):
    bar = f.bars.get(0)
    if bar is None or not bar.io:
        log.say("legacy", "none")
        return
    q, at, vectors = f.q, bar.at, f.cap(0x11) is not None

    def get(o, w):
        return q.io_get(at + o, w)
    q.outb(at + 18, 0)
    log.say("legacy host features", get(0, 4))
    for bits in (1, 3):
        q.outb(at + 18, bits)
        log.say(f"legacy status {bits}", get(18, 1))
    q.outl(at + 4, get(0, 4) & ~(1 << 30))
    log.say("legacy guest features", get(4, 4))
    for i in (0, 1, 2, 3, 64):
        q.outw(at + 14, i)
        log.say(f"legacy queue {i}", [get(14, 2), get(12, 2), get(8, 4)])
    q.outw(at + 14, 0)
    q.outl(at + 8, 0x345)
    log.say("legacy pfn", get(8, 4))
    log.say("legacy isr", get(19, 1))
    for enable in (False, True) if vectors else (False,):
        if vectors:
            f.put(f.cap(0x11) + 2, 2, 0x8000 if enable else 0)
        if enable:
            for o in (20, 22):
                for vector in (0, 0x7ff, 0xffff):
                    q.outw(at + o, vector)
                    log.say(f"legacy vector at {o} {vector:#x}", get(o, 2))
        start = 24 if enable else 20
        for w in (1, 2, 4):
            log.say(f"legacy configuration by {w}", [get(o, w) for o in range(start, 64, w)])
    q.outb(at + 18, 7)
    log.say("legacy status 7", get(18, 1))
    q.outb(at + 18, 0)
    log.say("legacy after reset", [get(18, 1), get(8, 4), get(14, 2), get(4, 4)])


def device(log, q, f, window=None):
    log.say("caps", [(hex(i), hex(o)) for i, o in f.caps()])
    for i, o in f.caps():
        log.say(f"cap {i:#x} at {o:#x}", " ".join(f"{f.get(o + b, 1):02x}" for b in range(20 if i == 9 else 12)))
    f.map(window)
    log.say("BARs", list(f.bars.values()))
    log.say("command, status", [f.get(4, 2), f.get(6, 2)])
    modern(log, f)
    pci_cfg_window(log, f)
    legacy(log, f)
    msix(log, f)


def extended(log, q, f):
    """The configuration space that only ECAM reaches, bytes 256 to 4095."""
    base = 0xb0000000 + (f.bus << 20 | f.dev << 15 | f.fn << 12)
    for o in range(256, 4096, 64):
        data = q.read(base + o, 64)
        if any(data):
            log.say(f"{f} extended {o:03x}", data.hex(" "))


def ecam(q):
    host = Function(q, 0, 0, 0)
    host.put(0x64, 4, 0)
    host.put(0x60, 4, 0xb0000001)


def script_machine(log, q, machine):
    pci_walk(log, q, machine)


def script_device(log, q, machine):
    f = Function(q, 0, 4, 0)
    device(log, q, f)
    if machine == "q35":
        ecam(q)
        extended(log, q, f)


def script_e1000(log, q, machine):
    """Reset values, EEPROM, PHY, interrupt causes, a frame sent to nobody."""
    f = Function(q, 0, 4, 0)
    log.say("config", f.space()[:64].hex(" "))
    log.say("BARs", list(f.size_bars().values()))
    bar = f.map()[0].at
    ring = q.alloc(4096)
    f.put(4, 2, 7)

    def get(reg):
        return q.get(bar + reg, 4)

    def put(reg, value):
        q.put(bar + reg, 4, value)

    def look(when):
        for reg in (0, 8, 0x10, 0x18, 0x38, 0xd0, 0x100, 0x400, 0xe00, 0x1000, 0x2800, 0x2808, 0x2810, 0x2818, 0x3800, 0x3808, 0x3810, 0x3818,
                    0x5000, 0x5200, 0x5400, 0x5404, 0x5408, 0x5600, 0x5820):
            log.say(f"{when} {reg:04x}", get(reg))

    look("reset")
    for w in range(64):
        put(0x14, w << 8 | 1)
        log.say(f"EEPROM {w}", get(0x14) >> 16)
    for r in range(32):
        if r not in (1, 5):  # negotiation takes QEMU half a second
            put(0x20, 2 << 26 | 1 << 21 | r << 16)
            log.say(f"PHY {r}", get(0x20))
    put(0xd8, 0xffffffff)
    put(0xc8, 0x84)
    log.say("cause", get(0xc0))
    log.say("cause, read", get(0xc0))
    put(0xd0, 0x4)
    put(0xc8, 0x84)
    log.say("cause, wanted", get(0xc0))
    q.write(ring, (ring + 64).to_bytes(8, "little") + (60 | 0xb << 24).to_bytes(8, "little"))
    put(0x3800, ring)
    put(0x3808, 128)
    put(0x400, 0xa)
    put(0x3818, 1)
    log.say("sent", q.read(ring, 16).hex(" "))
    log.say("cause, sent", get(0xc0) & 3)
    log.say("head", get(0x3810))


def rtl_eeprom(q, bar, word):
    """Microwire by 9346CR: a start bit, the opcode 10, six bits of address; then the word."""
    def pins(v):
        q.put(bar + 0x50, 1, 0x80 | v)
        return q.get(bar + 0x50, 1) & 1
    pins(0)
    pins(8)
    for i in range(8, -1, -1):
        bit = (6 << 6 | word) >> i & 1
        pins(8 | bit << 1)
        pins(12 | bit << 1)
    value = 0
    for _ in range(16):
        pins(8)
        value = value << 1 | pins(12)
    pins(0)
    q.put(bar + 0x50, 1, 0)
    return value


# Registers of the RTL8139C+ in their widths. Not here: TCTR, which counts time; CAPR, which starts as 0xfff0 by the data sheet and as 0 in QEMU;
# CR, of which QEMU shows the reset bit until the first reset.
RTL = ([(o, 1) for o in (*range(6), *range(8, 16), 0x50, 0x51, 0x52, 0x58, 0x59, 0x5a, 0x5e, 0xd8, 0xec)] +
       [(o, 2) for o in (0x3a, 0x3c, 0x3e, 0x5c, 0x60, 0x62, 0x64, 0x66, 0x68, 0x6a, 0x6c, 0x6e, 0x70, 0x72, 0x74, 0xe0)] +
       [(o, 4) for o in (*range(0x10, 0x34, 4), 0x40, 0x44, 0x4c, 0x54, 0xe4, 0xe8)])


def script_rtl8139(log, q, machine):
    """Reset values, EEPROM, which bits stick with and without the configuration's key, frames sent to nobody both ways."""
    f = Function(q, 0, 4, 0)
    log.say("config", f.space()[:64].hex(" "))
    log.say("BARs", list(f.size_bars().values()))
    bar = f.map()[1].at
    ring = q.alloc(4096)
    f.put(4, 2, 7)

    def get(o, w):
        return q.get(bar + o, w)

    def put(o, w, v):
        q.put(bar + o, w, v)

    def look(when):
        for o, w in RTL:
            log.say(f"{when} {o:02x}", get(o, w))

    look("reset")
    for word in range(64):
        log.say(f"EEPROM {word}", rtl_eeprom(q, bar, word))
    for key in (0, 0xc0):
        for o in (0x52, 0x59, 0x5a, 0xd8):
            put(0x50, 1, key)
            old = get(o, 1)
            for v in (0xff, 0):
                put(o, 1, v)
                log.say(f"config {o:02x}, key {key:#x}, {v:#x}", get(o, 1))
            put(o, 1, old)
    put(0x50, 1, 0)
    for o, w in ((0x3c, 2), (0x44, 4), (0x30, 4), (0x20, 4), (0x54, 4), (0x08, 4), (0x0c, 4), (0xe4, 4), (0xe8, 4), (0xe0, 2), (0x66, 2), (0x68, 2),
                 (0x4c, 4), (0x5c, 2), (0x70, 2), (0x74, 2), (0x58, 1)):
        for v in (0xffffffff, 0):
            put(o, w, v & (1 << 8 * w) - 1)
            log.say(f"sticks {o:02x} {v:#x}", get(o, w))
    put(0x37, 1, 0x10)
    look("after CR's reset")
    put(0x37, 1, 0xc)
    log.say("command", get(0x37, 1))
    for i in range(4):
        put(0x20 + 4 * i, 4, ring)
        put(0x10 + 4 * i, 4, 60 + i)
        log.say(f"sent {i}", [get(0x10 + 4 * i, 4), get(0x60, 2), get(0x3e, 2)])
    put(0x3e, 2, 0xffff)
    log.say("causes", get(0x3e, 2))
    # The C+ mode's ring: one frame, then none.
    put(0xe0, 2, 1)
    q.write(ring, (1 << 31 | 1 << 30 | 3 << 28 | 60).to_bytes(4, "little") + bytes(4) + (ring + 256).to_bytes(8, "little"))
    put(0x20, 4, ring)
    put(0x24, 4, 0)
    put(0xd9, 1, 0x40)
    log.say("ring", q.read(ring, 16).hex(" "))
    tally = ring + 1024
    put(0x14, 4, 0)
    put(0x10, 4, tally | 8)
    log.say("tally", [get(0x10, 4), q.read(tally + 8, 56).hex(" ")])  # of what was sent QEMU counts the rings' only
    log.say("ring causes", [get(0x3e, 2) & 4, get(0xd9, 1)])  # ours says that there is no further descriptor, too


def script_port(log, q, machine):
    port = Function(q, 0, 4, 0)
    log.say("port BARs", list(port.size_bars(2).values()))
    window = qtest.open_bridge(port, 5)
    f = Function(q, 5, 0, 0)
    log.say("behind the port", f.present())
    device(log, q, f, window)
    ecam(q)
    extended(log, q, port)
    extended(log, q, f)


def transcript(binary, accel, machine, args, script):
    log = Log()
    # Ours has no system management mode and says so in chipset registers, as QEMU does with smm=off.
    full = ["-M", machine + ",smm=off" + (",sata=off" if machine == "q35" else ""), *accel, "-nodefaults", "-m", "128", *args]
    with Vm(full, binary=binary, qtest=True) as v:
        script(log, v.qtest, machine)
        log.say("alive", v.qmp.ok("query-status")["status"])
    return log


def compare(machine, args, script):
    theirs = transcript(vm.oracle(), ["-accel", "tcg", "-bios", HLT], machine, args, script)
    ours = transcript(None, ["-accel", "qtest"], machine, args, script)
    diff = [f"{w}\n    ours      {o.partition(': ')[2]}\n    QEMU 10.0 {t.partition(': ')[2]}" for o, t in zip(ours, theirs)
            for w in [o.partition(": ")[0]] if o != t]
    if len(ours) != len(theirs):
        diff.append(f"{len(ours)} lines instead of {len(theirs)}")
    assert not diff, f"{len(diff)} of {len(theirs)} lines differ\n" + "\n".join(diff[:int(os.environ.get("VIRTUE_DIFF", "12"))])
    assert len(ours) > 20, ours


def register():
    for machine in ("pc", "q35"):
        for lines in (1, 2):
            vm.TESTS.append((f"{machine}/functions, {lines} serial lines", lambda m=machine, n=lines:
                             compare(m, ["-serial", "null"] * n, script_machine)))
        for memory in ("128", "512", "4096"):
            vm.TESTS.append((f"{machine}/functions, {memory} MiB", lambda m=machine, r=memory: compare(m, ["-m", r], script_machine)))
        for kind, (backend, props) in BACKEND.items():
            for variant, (suffix, more) in VARIANTS.items():
                if kind in MODERN_ONLY and (suffix != "pci" or variant == "disable-modern"):
                    continue
                dev = ",".join(p for p in (f"virtio-{kind}-{suffix}", "addr=4", props, more) if p)
                vm.TESTS.append((f"{machine}/virtio-{kind}/{variant}", lambda m=machine, a=[*backend, "-device", dev]:
                                 compare(m, a, script_device)))
    for kind, (backend, props) in BACKEND.items():
        for variant in ("default", "transitional", "non-transitional", "disable-modern", "vectors=0", "ats"):
            suffix, more = VARIANTS[variant]
            if kind in MODERN_ONLY and (suffix != "pci" or variant == "disable-modern"):
                continue
            more += ",disable-legacy=off" if variant == "disable-modern" else ""
            dev = ",".join(p for p in (f"virtio-{kind}-{suffix}", "bus=rp", props, more) if p)
            vm.TESTS.append((f"q35/root port/virtio-{kind}/{variant}", lambda a=[
                *backend, "-device", "pcie-root-port,id=rp,addr=4,chassis=1", "-device", dev]: compare("q35", a, script_port)))
    for machine in ("pc", "q35"):
        vm.TESTS.append((f"{machine}/e1000", lambda m=machine: compare(
            m, ["-netdev", "hubport,hubid=0,id=n", "-device", "e1000,netdev=n,addr=4,mac=52:54:00:11:22:33"], script_e1000)))
        vm.TESTS.append((f"{machine}/rtl8139", lambda m=machine: compare(
            m, ["-netdev", "hubport,hubid=0,id=n", "-device", "rtl8139,netdev=n,addr=4,mac=52:54:00:11:22:33"], script_rtl8139)))
    everything = [w for kind, (backend, props) in BACKEND.items() for w in [*backend, "-device", f"virtio-{kind}-pci,{props}".rstrip(",")]]
    for machine in ("pc", "q35"):
        vm.TESTS.append((f"{machine}/functions with four virtio devices", lambda m=machine: compare(m, everything, script_machine)))


register()
vm.main()

"""A qtest client, the PCI bus seen through it, and a small driver for modern virtio devices with split rings."""
import copy
import select
import time

IO_BASE, MEM_BASE, RING_BASE = 0xc000, 0xe0000000, 0x200000


class QTest:
    def __init__(self, sock, vm=None):
        self.sock, self.vm, self.buf, self.irqs = sock, vm, b"", []
        self.heap = RING_BASE

    def send(self, line):
        self.sock.sendall(line.encode() + b"\n")

    def line(self):
        while b"\n" not in self.buf:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("qtest closed" + (":\n" + self.vm.text() if self.vm else ""))
            self.buf += more
        line, _, self.buf = self.buf.partition(b"\n")
        return line.decode()

    def cmd(self, line):
        """Sends a line; returns what stands behind OK."""
        self.send(line)
        while True:
            r = self.line()
            if r.startswith("IRQ "):
                self.irqs.append(r)
                continue
            if r != "OK" and not r.startswith("OK "):
                raise AssertionError(f"qtest: {line}: {r}")
            return r[3:]

    def read(self, addr, size):
        return bytes.fromhex(self.cmd(f"read {addr:#x} {size:#x}")[2:])

    def write(self, addr, data):
        self.cmd(f"write {addr:#x} {len(data):#x} 0x{data.hex()}")

    def get(self, addr, size):
        """One access of 1, 2, 4 or 8 bytes."""
        return int.from_bytes(self.read(addr, size), "little")

    def put(self, addr, size, value):
        self.write(addr, value.to_bytes(size, "little"))

    def inb(self, port):
        return int(self.cmd(f"inb {port:#x}"), 16)

    def inw(self, port):
        return int(self.cmd(f"inw {port:#x}"), 16)

    def inl(self, port):
        return int(self.cmd(f"inl {port:#x}"), 16)

    def outb(self, port, value):
        self.cmd(f"outb {port:#x} {value:#x}")

    def outw(self, port, value):
        self.cmd(f"outw {port:#x} {value:#x}")

    def outl(self, port, value):
        self.cmd(f"outl {port:#x} {value:#x}")

    def io_get(self, port, size):
        return {1: self.inb, 2: self.inw, 4: self.inl}[size](port)

    def io_put(self, port, size, value):
        {1: self.outb, 2: self.outw, 4: self.outl}[size](port, value)

    def alloc(self, size, align=4096):
        at = (self.heap + align - 1) // align * align
        self.heap = at + size
        return at

    def power_off(self, machine, answered=True):
        """What ACPI's \\_S5 tells an operating system to do: SLP_EN in PM1_CNT. PIIX4 3.1, ICH9 13.8.3.3."""
        if machine == "q35":
            lpc = Function(self, 0, 0x1f, 0)
            lpc.put(0x40, 4, 0x600)
            lpc.put(0x44, 1, 0x80)
        else:
            pm = Function(self, 0, 1, 3)
            pm.put(0x40, 4, 0x600)
            pm.put(0x80, 1, 1)
        (self.cmd if answered else self.send)("outw 0x604 0x2000")

    def close(self):
        self.sock.close()


class Bar:
    def __init__(self, index, io, size, wide, prefetch):
        self.index, self.io, self.size, self.wide, self.prefetch, self.at = index, io, size, wide, prefetch, None

    def __repr__(self):
        kind = "io" if self.io else "mem" + ("64" if self.wide else "32") + (" prefetch" if self.prefetch else "")
        return f"BAR{self.index} {kind} {self.size:#x}"


class Function:
    """A PCI function through configuration mechanism 1."""

    def __init__(self, q, bus, dev, fn):
        self.q, self.bus, self.dev, self.fn = q, bus, dev, fn
        self.bars = {}

    def __repr__(self):
        return f"{self.bus:02x}:{self.dev:02x}.{self.fn}"

    def select(self, off):
        self.q.outl(0xcf8, 0x80000000 | self.bus << 16 | self.dev << 11 | self.fn << 8 | (off & 0xfc))

    def get(self, off, size):
        self.select(off)
        return self.q.io_get(0xcfc + (off & 3), size)

    def put(self, off, size, value):
        self.select(off)
        self.q.io_put(0xcfc + (off & 3), size, value)

    def present(self):
        return self.get(0, 2) != 0xffff

    def space(self):
        """The 256 bytes of configuration space."""
        return b"".join(self.get(o, 4).to_bytes(4, "little") for o in range(0, 256, 4))

    def caps(self):
        """(id, offset) in list order."""
        r, seen = [], set()
        at = self.get(0x34, 1) & 0xfc if self.get(6, 2) & 0x10 else 0
        while at and at not in seen:
            seen.add(at)
            r.append((self.get(at, 1), at))
            at = self.get(at + 1, 1) & 0xfc
        return r

    def cap(self, want):
        return next((o for i, o in self.caps() if i == want), None)

    def size_bars(self, count=6):
        """Sizes the BARs; PCI 3.0, 6.2.5.1. Leaves their values as they were."""
        i = 0
        while i < count:
            off = 0x10 + 4 * i
            old = self.get(off, 4)
            self.put(off, 4, 0xffffffff)
            mask = self.get(off, 4)
            self.put(off, 4, old)
            if mask:
                io = bool(mask & 1)
                wide = not io and mask & 6 == 4
                size = -(mask & ~(3 if io else 15)) & (0xffff if io else 0xffffffff)
                self.bars[i] = Bar(i, io, size, wide, not io and bool(mask & 8))
                i += wide
            i += 1
        return self.bars

    def map(self, window=None):
        """Gives every BAR an address and turns the function on. window: (io, mem, prefetchable mem) cursors, a list."""
        w = window if window is not None else self.q.__dict__.setdefault("window", [IO_BASE, MEM_BASE, None])
        for b in self.size_bars().values():
            k = 0 if b.io else 2 if b.prefetch and w[2] is not None else 1
            b.at = (w[k] + b.size - 1) // b.size * b.size
            w[k] = b.at + b.size
            self.put(0x10 + 4 * b.index, 4, b.at)
            if b.wide:
                self.put(0x14 + 4 * b.index, 4, 0)
        self.put(4, 2, 7)
        return self.bars


def functions(q, bus=0):
    for dev in range(32):
        f = Function(q, bus, dev, 0)
        if not f.present():
            continue
        yield f
        if f.get(0xe, 1) & 0x80:
            for fn in range(1, 8):
                g = Function(q, bus, dev, fn)
                if g.present():
                    yield g


def open_bridge(bridge, secondary):
    """Routes a bus and one window of each kind through a bridge; returns the cursors for Function.map."""
    bridge.put(0x18, 4, secondary << 16 | secondary << 8 | bridge.bus)
    bridge.put(0x1c, 2, 0xd0d0)
    bridge.put(0x20, 4, 0xe4f0e400)
    bridge.put(0x24, 4, 0xe5f0e500)
    bridge.put(0x28, 4, 0)
    bridge.put(0x2c, 4, 0)
    bridge.put(4, 2, 7)
    return [0xd000, 0xe4000000, 0xe5000000]


# VIRTIO 1.4, 4.1.4: cfg_type of the vendor capabilities.
COMMON, NOTIFY, ISR, DEVICE, PCI_CFG = 1, 2, 3, 4, 5
ACK, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
VERSION_1 = 1 << 32
EVENT_IDX = 1 << 29


class VirtioPci:
    """The modern interface of a mapped virtio function."""

    def __init__(self, f):
        self.f, self.q, self.at, self.multiplier = f, f.q, {}, 0
        for cap, off in f.caps():
            if cap != 9:
                continue
            kind, bar = f.get(off + 3, 1), f.get(off + 4, 1)
            if kind in self.at or kind not in (COMMON, NOTIFY, ISR, DEVICE):
                continue
            self.at[kind] = f.bars[bar].at + f.get(off + 8, 4)
            if kind == NOTIFY:
                self.multiplier = f.get(off + 16, 4)

    def get(self, off, size, kind=COMMON):
        return self.q.get(self.at[kind] + off, size)

    def put(self, off, size, value, kind=COMMON):
        self.q.put(self.at[kind] + off, size, value)

    def status(self):
        return self.get(20, 1)

    def set_status(self, bits):
        self.put(20, 1, bits)

    def features(self):
        r = 0
        for i in (0, 1):
            self.put(0, 4, i)
            r |= self.get(4, 4) << 32 * i
        return r

    def start(self, want):
        """Resets, negotiates want (which must be offered) and VERSION_1; DRIVER_OK is ready()'s."""
        self.set_status(0)
        assert self.status() == 0, "reset does not read 0"
        self.set_status(ACK)
        self.set_status(ACK | DRIVER)
        have, want = self.features(), want | VERSION_1
        assert want & ~have == 0, f"not offered: {want & ~have:#x}"
        for i in (0, 1):
            self.put(8, 4, i)
            self.put(12, 4, want >> 32 * i & 0xffffffff)
        self.set_status(ACK | DRIVER | FEATURES_OK)
        assert self.status() == ACK | DRIVER | FEATURES_OK, f"FEATURES_OK did not stick: {self.status():#x}"

    def ready(self):
        self.set_status(ACK | DRIVER | FEATURES_OK | DRIVER_OK)

    def queue(self, index, size=None):
        return Queue(self, index, size)


class Queue:
    """A split virtqueue; VIRTIO 1.4, 2.7."""

    def __init__(self, dev, index, size):
        self.dev, self.q, self.index = dev, dev.q, index
        dev.put(22, 2, index)
        self.size = size or dev.get(24, 2)
        dev.put(24, 2, self.size)
        self.desc = self.q.alloc(16 * self.size)
        self.avail = self.q.alloc(6 + 2 * self.size)
        self.used = self.q.alloc(6 + 8 * self.size)
        for off, at in ((32, self.desc), (40, self.avail), (48, self.used)):
            dev.put(off, 4, at & 0xffffffff)
            dev.put(off + 4, 4, at >> 32)
        self.notify_at = dev.at[NOTIFY] + dev.get(30, 2) * dev.multiplier
        dev.put(28, 2, 1)
        self.free, self.next, self.seen = 0, 0, 0

    def add(self, out, into):
        """A chain of (address, length) buffers: device-readable ones, then device-writable ones. Returns its head."""
        head, bufs = self.free, [(a, n, 0) for a, n in out] + [(a, n, 2) for a, n in into]
        for i, (addr, length, flags) in enumerate(bufs):
            at = (head + i) % self.size
            last = i == len(bufs) - 1
            self.q.write(self.desc + 16 * at, addr.to_bytes(8, "little") + length.to_bytes(4, "little")
                         + (flags | (0 if last else 1)).to_bytes(2, "little") + ((at + 1) % self.size).to_bytes(2, "little"))
        self.free = (head + len(bufs)) % self.size
        self.q.put(self.avail + 4 + 2 * (self.next % self.size), 2, head)
        self.next = (self.next + 1) & 0xffff
        self.q.put(self.avail + 2, 2, self.next)
        return head

    def kick(self):
        self.q.put(self.notify_at, 2, self.index)

    def poll(self):
        """The next used entry (head, length), or None."""
        if self.q.get(self.used + 2, 2) == self.seen:
            return None
        e = self.q.read(self.used + 4 + 8 * (self.seen % self.size), 8)
        self.seen = (self.seen + 1) & 0xffff
        return int.from_bytes(e[:4], "little"), int.from_bytes(e[4:], "little")

    def wait(self, timeout=30):
        end = time.monotonic() + timeout
        while True:
            e = self.poll()
            if e:
                return e
            if time.monotonic() > end:
                raise AssertionError(f"queue {self.index}: nothing used within {timeout} s")
            select.select([], [], [], 0.001)


class Blk:
    """A virtio-blk driver, one request at a time. VIRTIO 1.4, 5.2.6."""

    FEATURES = 1 << 9  # FLUSH
    IN, OUT, FLUSH = 0, 1, 4
    OK, IOERR, UNSUPP = 0, 1, 2

    def __init__(self, f, features=FEATURES, queues=1):
        f.map()
        self.dev = VirtioPci(f)
        self.q = f.q
        self.dev.start(features)
        self.queues = [self.dev.queue(i) for i in range(queues)]
        self.dev.ready()
        self._use(0)

    def _use(self, index):
        self.queue = self.queues[index]
        self.head, self.data, self.status = self.q.alloc(16), self.q.alloc(65536), self.q.alloc(1)
        return self

    def on(self, index):
        """The same device through another of its queues."""
        return copy.copy(self)._use(index)

    def submit(self, kind, sector=0, data=b"", length=0):
        self.q.write(self.head, kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little"))
        self.q.put(self.status, 1, 0xff)
        out, into = [(self.head, 16)], [(self.status, 1)]
        if kind == self.OUT:
            self.q.write(self.data, data)
            out.append((self.data, len(data)))
        elif length:
            into.insert(0, (self.data, length))
        self.queue.add(out, into)
        self.queue.kick()

    def finish(self):
        self.queue.wait()
        return self.q.get(self.status, 1)

    def write(self, sector, data):
        self.submit(self.OUT, sector, data)
        return self.finish()

    def read(self, sector, length):
        self.submit(self.IN, sector, length=length)
        return self.finish(), self.q.read(self.data, length)

    def flush(self):
        self.submit(self.FLUSH)
        return self.finish()

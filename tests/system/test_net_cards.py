#!/usr/bin/env python3
"""Network cards without a guest: virtio-net with as many queue pairs as there can be, over a tap with as many queues, frames by every pair and
changes of their number; what is shown of a plain card's address, beside QEMU 10.0."""
import ctypes
import os
import select
import socket
import struct
import subprocess
import threading

import vm
from qtest import Function, VirtioPci
from vm import Skip, Vm, same, test, until

PAIRS, SIZE, HDR, ROOM = 256, 8, 12, 2048
F_CTRL_VQ, F_MQ = 17, 22
KIND, CTRL = 0x88b5, PAIRS * 2  # a local experimental ethertype; the control queue
CLONE_NEWNET = 0x40000000


def wire_of(pid, name):
    """A packet socket on an interface of the network namespace that a process is in."""
    made = []

    def inside():
        with open(f"/proc/{pid}/ns/net", encoding="ascii") as f:
            same(ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET), 0, "setns")
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((name, 0))
        made.append(s)
    t = threading.Thread(target=inside)  # a namespace is a thread's own
    t.start()
    t.join()
    return made[0]


class Card:
    def __init__(self, v):
        f = Function(v.qtest, 0, 4, 0)
        f.map()
        self.q, self.dev = v.qtest, VirtioPci(f)
        self.dev.start(1 << F_CTRL_VQ | 1 << F_MQ)
        self.queues = [self.dev.queue(i, SIZE) for i in range(CTRL + 1)]
        self.dev.ready()
        self.room = self.q.alloc(ROOM * SIZE * PAIRS)
        self.out = self.q.alloc(64 * PAIRS)
        self.ctrl = self.q.alloc(64)
        self.given = [0] * PAIRS

    def set_pairs(self, n):
        self.q.write(self.ctrl, struct.pack("<BBHB", 4, 0, n, 9))
        self.queues[CTRL].add([(self.ctrl, 4)], [(self.ctrl + 4, 1)])
        self.queues[CTRL].kick()
        self.queues[CTRL].wait()
        return self.q.get(self.ctrl + 4, 1)

    def send(self, pair, number):
        at = self.out + 64 * pair
        self.q.write(at, bytes(HDR + 12) + struct.pack(">HI", KIND, number))
        self.queues[pair * 2 + 1].add([(at, HDR + 18)], [])
        self.queues[pair * 2 + 1].kick()

    def give(self, pair):
        """All buffers that its receive queue can have."""
        if self.given[pair] == SIZE:
            return
        while self.given[pair] < SIZE:
            self.queues[pair * 2].add([], [(self.room + ROOM * (pair * SIZE + self.queues[pair * 2].free), ROOM)])
            self.given[pair] += 1
        self.queues[pair * 2].kick()

    def received(self, pair):
        """Numbers of the frames that came."""
        out = []
        while e := self.queues[pair * 2].poll():
            self.given[pair] -= 1
            frame = self.q.read(self.room + ROOM * (pair * SIZE + e[0]), e[1])[HDR:]
            if frame[23:24] == b"\x11" and frame[36:38] == b"\0\7":
                out.append(struct.unpack(">I", frame[42:46])[0])
        return out


def datagram(number):
    """UDP to port 7, from a port of its own: each is a flow, which the host's tap gives a queue."""
    body = struct.pack(">HHHHI", 1024 + number, 7, 12, 0, number)
    return b"\xff" * 6 + bytes(6) + struct.pack(">HBBHHHBBHII", 0x800, 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0, 0x0a000001, 0x0a000002) + body


def numbers(wire, n):
    """Of the guest's next n frames."""
    out = []
    while len(out) < n:
        assert select.select([wire], [], [], vm.TIMEOUT)[0], f"{len(out)} of {n} frames"
        frame, where = wire.recvfrom(2000)
        if frame[12:14] == struct.pack(">H", KIND) and where[2] != socket.PACKET_OUTGOING:
            out.append(struct.unpack(">I", frame[14:18])[0])
    return out


@test("256 pairs over a tap with 256 queues: a frame by each, and every one at each change of their number")
def pairs():
    if os.geteuid() or not os.path.exists("/dev/net/tun") or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        raise Skip("a tap in a network namespace of one's own needs root and /dev/net/tun")
    with Vm(["-accel", "qtest", "-M", "pc", "-nodefaults", "-netdev", f"tap,id=n,ifname=vt0,script=no,downscript=no,queues={PAIRS}", "-device",
             "virtio-net-pci,netdev=n,mq=on,addr=4,romfile=,disable-legacy=on"], qtest=True, wrap=["unshare", "-n"]) as v:
        subprocess.run(["nsenter", "-n", "-t", str(v.p.pid), "ip", "link", "set", "vt0", "up"], check=True, stdin=subprocess.DEVNULL)
        card, first, before = Card(v), 0, 1
        with wire_of(v.p.pid, "vt0") as wire:
            same(card.set_pairs(0), 1, "no pair")
            same(card.set_pairs(PAIRS + 1), 1, "a pair too many")
            for n in (PAIRS, 1, 37, PAIRS):
                busy = max(n, before)
                for pair in range(busy):
                    card.send(pair, first + pair)  # on its way while the number changes
                same(card.set_pairs(n), 0, f"{n} pairs")
                same(sorted(numbers(wire, busy)), list(range(first, first + busy)), f"sent by {busy} pairs")
                for pair in range(busy):
                    card.queues[pair * 2 + 1].wait()
                for pair in range(n):
                    card.give(pair)
                for i in range(SIZE):
                    wire.send(datagram(first + i))
                got = []

                def all_there():
                    for pair in range(n):
                        got.extend(card.received(pair))
                        card.give(pair)  # the host's kernel has frames of its own to send
                    return len(got) >= SIZE
                until(f"{SIZE} frames for {n} pairs", all_there)
                same(sorted(got), list(range(first, first + SIZE)), f"received by {n} pairs")
                first, before = first + PAIRS, n


@test("info network shows the address that a driver gave e1000 and rtl8139, until a reset")
def addresses():
    ral, rah, idr, eecr = 0x5400, 0x5404, 0, 0x50

    def log(binary):
        accel = ["-accel", "tcg", "-S"] if binary else ["-accel", "qtest"]
        with Vm([*accel, "-M", "pc", "-nodefaults", "-device", "e1000,id=e,addr=4,romfile=", "-device", "rtl8139,id=r,addr=5,romfile="], qtest=True,
                binary=binary) as v:
            e, r = Function(v.qtest, 0, 4, 0), Function(v.qtest, 0, 5, 0)
            out = [v.qmp.hmp("info network")]
            e.map()
            v.qtest.put(e.bars[0].at + ral, 4, 0x04030252)
            v.qtest.put(e.bars[0].at + rah, 4, 0x80000605)
            r.map()
            v.qtest.outb(r.bars[0].at + eecr, 0xc0)  # the configuration registers may be written
            for i in range(6):
                v.qtest.outb(r.bars[0].at + idr + i, 0x52 + i)
            out.append(v.qmp.hmp("info network"))
            v.qmp.ok("system_reset")
            v.qmp.event("RESET")
            return out + [v.qmp.hmp("info network")]
    ours = log(None)
    assert "52:02:03:04:05:06" in ours[1] and "52:53:54:55:56:57" in ours[1] and ours[2] == ours[0], ours
    same(ours, log(vm.oracle()), "beside QEMU 10.0")


vm.main()

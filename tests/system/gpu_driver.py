"""The driver of a virtio GPU over qtest: resources, scanouts, the pointer."""
import struct

from qtest import Function, VirtioPci
from vm import same


class Gpu:
    """A virtio GPU's control and cursor queues: VIRTIO 1.4, 5.7.6."""

    def __init__(self, v, slot=4):
        self.q = v.qtest
        f = Function(self.q, 0, slot, 0)
        f.map()
        self.dev = VirtioPci(f)
        self.dev.start(0)
        self.queues = [self.dev.queue(0), self.dev.queue(1)]
        self.dev.ready()

    def command(self, queue, kind, body, room=24):
        data = struct.pack("<IIQII", kind, 0, 0, 0, 0) + body
        out, into = self.q.alloc(len(data)), self.q.alloc(room)
        self.into = into
        self.q.write(out, data)
        self.queues[queue].add([(out, len(data))], [(into, room)] if queue == 0 else [])
        self.queues[queue].kick()
        self.queues[queue].wait()
        return self.q.get(into, 4)

    def monitor(self, head):
        """Whether it is on, its width and height: GET_DISPLAY_INFO."""
        same(self.command(0, 0x100, b"", 24 + 16 * 24), 0x1101, "display information")
        at = self.into + 24 + 24 * head
        return tuple(self.q.get(at + n, 4) for n in (16, 8, 12))

    def resource(self, number, width, height, pixels):
        """A resource of b8g8r8a8 with these pixels."""
        at = self.q.alloc(len(pixels))
        self.q.write(at, pixels)
        for kind, body in ((0x101, struct.pack("<4I", number, 1, width, height)), (0x106, struct.pack("<IIQII", number, 1, at, len(pixels), 0)),
                           (0x105, struct.pack("<4IQII", 0, 0, width, height, 0, number, 0))):
            same(self.command(0, kind, body), 0x1100, f"command {kind:#x}")

    def show(self, head, number, width, height):
        for kind, body in ((0x103, (head, number)), (0x104, (number, 0))):
            same(self.command(0, kind, struct.pack("<4I2I", 0, 0, width, height, *body)), 0x1100, f"command {kind:#x}")

    def pointer(self, head, x, y, resource, update=True, hot=(0, 0)):
        """UPDATE_CURSOR or MOVE_CURSOR: VIRTIO 1.4, 5.7.6.10."""
        self.command(1, 0x300 if update else 0x301, struct.pack("<4I4I", head, x, y, 0, resource, *hot, 0))

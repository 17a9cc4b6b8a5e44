"""The driver's side of a virtio input device, and a firmware that halts."""
import tempfile

from qtest import Function, VirtioPci
from vm import same

tmp = tempfile.TemporaryDirectory(prefix="virtue-input-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))


class Virtio:
    """The driver's side of an input device in slot 4."""

    def __init__(self, v, buffers=64):
        self.v, self.q = v, v.qtest
        f = Function(self.q, 0, 4, 0)
        f.map()
        self.dev = VirtioPci(f)
        self.dev.start(0)
        self.events, self.status_q = self.dev.queue(0), self.dev.queue(1)
        self.dev.ready()
        self.at = {}
        for _ in range(buffers):
            self.give()
        self.events.kick()

    def give(self):
        at = self.q.alloc(8, 8)
        self.at[self.events.add([], [(at, 8)])] = at

    def take(self):
        """What came, without updates that hold no event."""
        out, update = [], []
        while True:
            e = self.events.poll()
            if not e:
                break
            same(e[1], 8, "used length")
            b = self.q.read(self.at.pop(e[0]), 8)
            update.append((int.from_bytes(b[:2], "little"), int.from_bytes(b[2:4], "little"),
                           int.from_bytes(b[4:], "little", signed=True)))
            if update[-1] == (0, 0, 0):
                out += update if len(update) > 1 else []
                update = []
            self.give()
        self.events.kick()
        same(update, [], "an update without an end")
        return out

    def send(self, *events):
        r = self.v.qmp.cmd("input-send-event", events=list(events))
        return r.get("error"), self.take()

    def status(self, kind, code, value):
        at = self.q.alloc(8, 8)
        self.q.write(at, kind.to_bytes(2, "little") + code.to_bytes(2, "little") + value.to_bytes(4, "little"))
        self.status_q.add([(at, 8)], [])
        self.status_q.kick()
        self.status_q.wait()

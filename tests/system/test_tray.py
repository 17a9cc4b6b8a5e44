#!/usr/bin/env python3
"""Trays and media: the same commands on ours and on QEMU 10.0 give the same answers, errors and events; a driver sees the change."""
import os
import tempfile

import vm
from test_scsi import CD, Scsi, machine
from qtest import Function
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-tray-")
ISO = {}
for name, size in (("a", 1 << 20), ("b", 2 << 20)):
    ISO[name] = f"{tmp.name}/{name}.iso"
    with open(ISO[name], "wb") as f:
        f.write(name.encode() * 4096)
        f.truncate(size)

UNITS = ["-drive", f"if=none,id=c,file={ISO['a']},format=raw,readonly=on,media=cdrom", "-device", "scsi-cd,id=cd,drive=c",
         "-drive", "if=none,id=h,file=null-co://,format=raw", "-device", "scsi-hd,id=hd,drive=h", "-device", "scsi-cd,id=cd2"]
ADD_B = ("blockdev-add", {"driver": "file", "filename": ISO["b"], "node-name": "fb", "read-only": True})
SCRIPT = [
    ("eject", {"id": "hd"}), ("eject", {"id": "nope"}), ("eject", {"device": "nope"}), ("eject", {}), ("eject", {"id": "cd", "device": "c"}),
    ("blockdev-open-tray", {"id": "hd"}), ("blockdev-remove-medium", {"id": "cd"}), ("blockdev-open-tray", {"id": "cd"}),
    ("blockdev-open-tray", {"id": "cd"}), ("query-block", {}), ("blockdev-insert-medium", {"id": "cd", "node-name": "zz"}), ADD_B,
    ("blockdev-insert-medium", {"id": "cd", "node-name": "fb"}), ("blockdev-remove-medium", {"id": "cd"}),
    ("blockdev-remove-medium", {"id": "cd"}), ("blockdev-insert-medium", {"id": "cd", "node-name": "fb"}),
    ("blockdev-insert-medium", {"id": "cd2", "node-name": "fb"}), ("blockdev-del", {"node-name": "fb"}), ("blockdev-close-tray", {"id": "cd"}),
    ("query-block", {}), ("blockdev-change-medium", {"id": "cd", "filename": ISO["a"], "format": "raw"}), ("query-block", {}),
    ("blockdev-change-medium", {"id": "cd", "filename": "/nope"}), ("blockdev-change-medium", {"device": "c", "filename": ISO["b"], "format": "no"}),
    ("eject", {"id": "cd"}), ("query-block", {}), ("eject", {"device": "c", "force": True}), ("blockdev-close-tray", {"id": "cd2"}),
    ("blockdev-del", {"node-name": "fb"}), ("eject", {"id": "cd2"}), ("blockdev-change-medium", {"id": "cd2", "filename": ISO["b"], "format": "raw"}),
]


def simple(name, answer):
    if name != "query-block" or "return" not in answer:
        return answer
    return [{k: (v["image"]["filename"], v["image"]["virtual-size"], v["ro"]) if k == "inserted" else v for k, v in b.items()
             if k in ("device", "qdev", "locked", "removable", "tray_open", "inserted", "type")} for b in answer["return"]]


def transcript(binary):
    accel = ["-accel", "tcg", "-S"] if binary else ["-accel", "qtest"]
    log = []
    with Vm([*accel, "-M", "pc-i440fx-10.0", "-nodefaults", "-device", "virtio-scsi-pci,id=s", *UNITS], binary=binary) as v:
        for name, args in SCRIPT:
            answer = v.qmp.cmd(name, args)
            log += [("event", e["event"], e.get("data")) for e in v.qmp.events]
            v.qmp.events.clear()
            log.append((name, args, simple(name, answer)))
    return log


@test("the same answers and events as QEMU 10.0")
def compare():
    ours, theirs = transcript(None), transcript(vm.oracle())
    bad = [f"ours      {o}\nQEMU 10.0 {t}" for o, t in zip(ours, theirs) if o != t]
    assert not bad and len(ours) == len(theirs), f"{len(ours)} and {len(theirs)} entries\n" + "\n".join(bad[:6])


@test("a driver sees the tray and the other medium")
def driver():
    with machine(["-drive", f"if=none,id=c,file={ISO['a']},format=raw,readonly=on", "-device", "scsi-cd,id=cd,drive=c,scsi-id=1"]) as v:
        s = Scsi(Function(v.qtest, 0, 4, 0))
        s.ready(CD)
        read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]
        media = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0]
        same(s.good(read, CD, room=2048), b"a" * 2048, "the first medium")
        v.qmp.ok("blockdev-open-tray", id="cd")
        same(s.sense([0] * 6, CD), (2, 0x3a, 2), "an open tray")
        same(s.sense(read, CD, room=2048), (2, 0x3a, 2), "READ with an open tray")
        v.qmp.ok("blockdev-close-tray", id="cd")
        same(s.sense([0] * 6, CD), (6, 0x28, 0), "the medium may have changed")
        same(s.good(media, CD, room=8)[4:6], b"\x02\x02", "event: a medium, which is there")
        # Locked: the guest is asked, and lets go.
        s.good([0x1e, 0, 0, 0, 1, 0], CD)
        assert "locked" in v.qmp.cmd("eject", id="cd")["error"]["desc"]
        same(s.good(media, CD, room=8)[4] & 15, 1, "event: eject requested")
        s.good([0x1e, 0, 0, 0, 0, 0], CD)
        v.qmp.ok("blockdev-change-medium", id="cd", filename=ISO["b"], format="raw")
        same(s.sense([0] * 6, CD), (6, 0x28, 0), "another medium")
        same(s.good(media, CD, room=8)[4:6], b"\x02\x02", "event: new medium, which is there")
        same(s.good(read, CD, room=2048), b"b" * 2048, "the second medium")
        same(int.from_bytes(s.good([0x25] + [0] * 9, CD, room=8)[:4], "big"), 1023, "its size")


if __name__ == "__main__":
    vm.TESTS[:] = [t for t in vm.TESTS if t[1].__module__ == "__main__"]
    vm.main()

#!/usr/bin/env python3
"""virtio-balloon without a guest that answers: replies and errors beside QEMU 10.0's; memory back ends of each kind get their pages back."""
import os
import re
import tempfile

import qtest
import vm
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-balloon-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
MB = 1 << 20
BALLOON = ["-device", "virtio-balloon-pci,id=b,addr=5"]


def start(ours, args=()):
    engine = ["-accel", "qtest"] if ours else ["-accel", "tcg"]
    return Vm(["-M", "pc", *engine, "-bios", HLT, "-nodefaults", "-m", "64", *args], binary=None if ours else vm.oracle())


def compare(requests, args=()):
    """Each request on both; a text is a line of the human monitor."""
    said = []
    for ours in (True, False):
        with start(ours, args) as v:
            said.append([v.qmp.hmp(r) if isinstance(r, str) else v.qmp.cmd(*r) for r in requests])
    diff = [f"{r}\n    ours      {x}\n    QEMU 10.0 {y}" for r, x, y in zip(requests, *said) if x != y]
    assert not diff, "\n".join(diff)


@test("balloon and query-balloon: values that make sense and such that do not")
def values():
    numbers = (0, -1, 1, 4096, 32 * MB, 64 * MB, 65 * MB, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63))
    requests = [("balloon", {"value": n}) for n in numbers]
    requests += [("balloon", {"value": x}) for x in ("64", True, None, 1.5, [], {})]
    requests += [("balloon",), ("balloon", {"value": MB, "x": 1}), ("query-balloon",), ("query-balloon", {"x": 1}),
                 "info balloon", "balloon", "balloon 32", "balloon 0", "balloon -1", "balloon x", "balloon 64M", "balloon 1 2", "help balloon",
                 "info balloon x"]
    compare(requests, BALLOON)
    compare(requests[:3] + requests[-15:])


@test("guest-stats: the polling interval and what it does not take, statistics of a guest that told none")
def stats():
    path, name = "/machine/peripheral/b", "guest-stats-polling-interval"
    requests = [("qom-get", {"path": path, "property": p}) for p in (name, "guest-stats")]
    for value in (2, 0, -1, 1 << 32, (1 << 32) - 1, "2", None, True, 1.5, 3):
        requests += [("qom-set", {"path": path, "property": name, "value": value}), ("qom-get", {"path": path, "property": name})]
    requests += [("qom-set", {"path": path, "property": "guest-stats", "value": {}})]
    compare(requests, BALLOON)


@test("a second balloon, and options that are refused")
def options():
    add = [{"driver": "virtio-balloon-pci", "id": "b2"}, {"driver": "virtio-balloon-pci", "id": "b2", "deflate-on-oom": "maybe"},
           {"driver": "virtio-balloon-pci", "id": "b2", "iothread": "nope"}, {"driver": "virtio-balloon-pci", "id": "b2", "guest-stats": {}}]
    compare([("device_add", d) for d in add], BALLOON)
    compare([("device_add", d) for d in add[1:]])
    done = vm.run(["-M", "pc", "-accel", "qtest", "-display", "none", "-nodefaults", "-device",
                   "virtio-balloon-pci,free-page-hint=on"])
    same((done.rc, len(done.err.splitlines())), (1, 1), done.err)
    assert "free-page-hint=on is not supported" in done.err, done.err


def resident(v):
    with open(f"/proc/{v.p.pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Rss:\s+(\d+)", f.read(), re.M)[1]) << 10


@test("pages that are given back leave memory-backend-ram, -memfd and -file, private and shared")
def backends():
    for kind in ("ram", "ram,share=on", "memfd", "memfd,share=off", f"file,share=on,mem-path={tmp.name}/ram", f"file,share=off,mem-path={tmp.name}/ram"):
        with Vm(["-M", "pc,memory-backend=m", "-accel", "qtest", "-nodefaults", "-m", "64", "-object", f"memory-backend-{kind},id=m,size=64M", *BALLOON],
                qtest=True) as v:
            t = v.qtest
            for at in range(16 * MB, 48 * MB, MB):
                t.cmd(f"memset {at:#x} {MB:#x} 0x5a")
            full = resident(v)
            f = qtest.Function(t, 0, 5, 0)
            f.map()
            d = qtest.VirtioPci(f)
            d.start(0)
            ring = d.queue(0, 16)
            d.ready()
            pages = t.alloc(32 * MB // 4096 * 4)
            first = 16 * MB // 4096
            t.write(pages, b"".join(n.to_bytes(4, "little") for n in range(first, first + 32 * MB // 4096)))
            ring.add([(pages, 32 * MB // 4096 * 4)], [])
            ring.kick()
            ring.wait()
            gone = full - resident(v)
            assert gone > 29 * MB, f"{kind}: {gone >> 10} KiB of 32 MiB are gone"
            same([t.get(at, 1) for at in (16 * MB, 47 * MB)], [0, 0], f"{kind}: content")
            if "file,share=on" in kind:
                assert os.stat(f"{tmp.name}/ram").st_blocks * 512 < 33 * MB, "the file has no hole"


vm.main()

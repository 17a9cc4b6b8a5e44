#!/usr/bin/env python3
"""Identity, BARs, vectors, queues and default features of each device type are what identity.tsv says, on ours and on QEMU 10.0;
properties have QEMU's names, types and defaults, but for what docs/user/compat.md lists with a reason."""
import json
import os
import re
import tempfile

import qtest
import vm
from vm import Vm, same, test

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TRANSPORT = {28, 29, 32, 40}  # every device offers them in the modern view
tmp = tempfile.TemporaryDirectory(prefix="virtue-identity-")
HLT = f"{tmp.name}/hlt.bin"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))

with open(f"{HERE}/identity.tsv", encoding="utf-8") as f:
    ROWS = {l.split("\t")[0]: l.rstrip("\n").split("\t") for l in f if not l.startswith("#")}


def bar(b):
    return f"{b.index}:{'io' if b.io else 'mem' + ('64' if b.wide else '32') + (' prefetch' if b.prefetch else '')} {b.size:#x}"


def look(row, binary):
    """The row as the machine shows it."""
    name, options = row[0], row[-1].replace(row[0], f"{row[0]},addr=4", 1).split()
    engine = ["-accel", "qtest"] if binary is None else ["-accel", "tcg", "-bios", HLT]
    with Vm(["-M", "pc", "-nodefaults", *engine, *options], binary=binary, qtest=True) as v:
        q = v.qtest
        f = qtest.Function(q, 0, 4, 0)
        cfg = f.space()
        word = lambda o: int.from_bytes(cfg[o:o + 2], "little")  # noqa: E731
        f.map()
        caps = {f.get(o + 3, 1): f.bars[f.get(o + 4, 1)].at + f.get(o + 8, 4) for i, o in reversed(f.caps())
            if i == 9 and f.get(o + 3, 1) != qtest.PCI_CFG}
        msix = f.cap(0x11)
        common, bits = caps[1], 0
        for half in (0, 1):
            q.put(common, 4, half)
            bits |= q.get(common + 4, 4) << 32 * half
        queues = []
        for i in range(q.get(common + 0x12, 2)):
            q.put(common + 0x16, 2, i)
            queues.append(str(q.get(common + 0x18, 2)))
        own = [str(b) for b in range(64) if bits >> b & 1 and b not in TRANSPORT]
        missing = [b for b in TRANSPORT if not bits >> b & 1]
        assert not missing, f"{name} does not offer {missing}"
        return [name, f"{word(0):04x}:{word(2):04x}", f"{word(0x2c):04x}:{word(0x2e):04x}", f"{cfg[8]:02x}",
                cfg[9:12][::-1].hex(), "; ".join(map(bar, f.bars.values())), str((f.get(msix + 2, 2) & 0x7ff) + 1 if msix else 0),
                ",".join(queues), ",".join(own) or "-", f"{q.inl(f.bars[0].at):#x}" if 0 in f.bars and f.bars[0].io else "-", row[-1]]


def identity(name, binary):
    def fn():
        same(look(ROWS[name], binary() if binary else None), ROWS[name], name)
    return fn


for n in ROWS:
    test(f"{n} is what its row says")(identity(n, None))
    test(f"{n} of QEMU 10.0 is what its row says")(identity(n, vm.oracle))


@test("class= gives the same PCI class as on QEMU 10.0")
def _():
    for t in ("virtio-blk-pci", "virtio-serial-pci"):
        for value in ("0", "0x180", "0x380", "0xff", "0x1234", "0x12345678"):
            got = []
            for binary in (None, vm.oracle()):
                row = ROWS[t][:-1] + [ROWS[t][-1].replace(f"-device {t}", f"-device {t},class={value}")]
                got.append(look(row, binary)[4])
            same(got[0], got[1], f"{t},class={value}")


def properties(types, binary=None):
    with Vm(["-M", "none"], binary=binary) as v:
        return {t: {p["name"]: (p["type"], p.get("default-value")) for p in
                    v.qmp.ok("device-list-properties", {"typename": t})} for t in types}


def listed():
    """compat.md's table of differences: {property: pattern of types}."""
    found = {}
    with open(f"{ROOT}/docs/user/compat.md", encoding="utf-8") as doc:
        for line in doc.read().partition("## Properties that differ")[2].partition("\n## ")[0].splitlines():
            m = re.match(r"\| `([^`]+)` \| ([^|]+) \| [^|]* \| (.+) \|$", line)
            if m and m[3].strip():
                found[m[1]] = m[2].strip()
    return found


@test("properties have QEMU 10.0's names, types and defaults, but for the listed ones")
def _():
    with Vm(["-M", "none"]) as v:
        names = {t["name"] for t in v.qmp.ok("qom-list-types")}
    types = [t + kind for t in ROWS for kind in ("", "-transitional", "-non-transitional") if t + kind in names]
    types += ["scsi-hd", "scsi-cd", "virtconsole", "virtserialport", "pcie-root-port", "pcie-pci-bridge", "e1000", "rtl8139", "vhost-vsock-pci", "VGA", "virtio-input-host-pci"]
    ours, theirs, allowed, seen, bad = properties(types), properties(types, vm.oracle()), listed(), set(), []
    for t in types:
        for p in sorted(set(ours[t]) | set(theirs[t])):
            if ours[t].get(p) != theirs[t].get(p):
                if p in allowed and (allowed[p] == "all" or re.search(allowed[p].replace(", ", "|"), t)):
                    seen.add(p)
                else:
                    bad.append(f"{t}.{p}: {ours[t].get(p)}, QEMU 10.0 {theirs[t].get(p)}")
    stale = sorted(set(allowed) - seen)
    assert not bad and not stale, "\n".join(bad + [f"listed in compat.md, but the same: {p}" for p in stale])


@test("each property takes QEMU 10.0's default, all of them at once")
def _():
    theirs = properties(ROWS, vm.oracle())
    for t, row in ROWS.items():
        words = row[-1].split()
        given = dict(o.split("=", 1) for o in words[-1].split(",")[1:])
        default = {n: d for n, (_, d) in theirs[t].items() if d is not None and n not in ("busnr", "addr")}
        machine = ["-M", "q35", "-accel", "qtest", "-nodefaults", "-device", "pcie-root-port,id=rp", *words[:-2]]
        if t in ("virtio-gpu-pci", "virtio-vga"):  # displays are not plugged into a running machine
            cold = json.dumps({"driver": t, "id": "x", "bus": "rp", **given, **default})
            with Vm([*machine, "-device", cold]) as v:
                same(v.qmp.ok("query-status")["status"], "running", f"{t} with all {len(default)} defaults")
            continue
        with Vm(machine) as v:
            r = v.qmp.cmd("device_add", {"driver": t, "id": "x", "bus": "rp", **given, **default})
            same(r, {"return": {}}, f"{t} with all {len(default)} defaults")


@test("the balloon has MSI-X from machine version 10.0 on")
def _():
    for machine in ("pc-i440fx-10.0", "pc-i440fx-9.2", "pc-i440fx-7.2", "pc-q35-9.2"):
        got = []
        for binary in (None, vm.oracle()):
            engine = ["-accel", "qtest"] if binary is None else ["-accel", "tcg", "-bios", HLT]
            with Vm(["-M", machine, "-nodefaults", *engine, "-device", "virtio-balloon-pci,addr=4"], binary=binary, qtest=True) as v:
                f = qtest.Function(v.qtest, 0, 4, 0)
                got.append(("; ".join(map(bar, f.size_bars().values())), f.caps()))
        same(got[0], got[1], machine)


@test("vectors says how many there are, once the device is there")
def _():
    devices = [("virtio-serial-pci", ""), ("virtio-keyboard-pci", ""), ("virtio-balloon-pci", ""), ("virtio-rng-pci", ",vectors=7")]
    got = []
    for binary in (None, vm.oracle()):
        args = [w for i, (t, more) in enumerate(devices) for w in ("-device", f"{t},id=d{i}{more}")]
        with Vm(["-M", "q35", "-accel", "tcg", "-S", "-nodefaults", *args], binary=binary) as v:
            got.append([v.qmp.ok("qom-get", {"path": f"/machine/peripheral/d{i}", "property": "vectors"}) for i in range(len(devices))])
    same(got[0], got[1], "vectors")


@test("every virtio device has its row")
def _():
    with Vm(["-M", "none"]) as v:
        names = {t["name"] for t in v.qmp.ok("qom-list-types", {"implements": "device", "abstract": False})}
    rows = {n for n in names if re.fullmatch(r"virtio-(?!vsock)\w+-pci", n)}
    same(sorted(rows - set(ROWS)), [], "types without a row in identity.tsv")


vm.main()

#!/usr/bin/env python3
"""query-qmp-schema: its types are whole, replies are what it says, and what it says is part of QEMU 10.0's."""
import glob
import os
import re
import tempfile

import vm
from vm import Vm, same, test

ROOT = os.path.abspath(f"{vm.HERE}/../..")
tmp = tempfile.TemporaryDirectory(prefix="virtue-schema-")
HLT, DISK = f"{tmp.name}/hlt.bin", f"{tmp.name}/disk"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
with open(DISK, "wb") as f:
    f.truncate(1 << 20)
ARGS = ["-M", "q35,sata=off", "-accel", "qtest", "-bios", HLT, "-nodefaults", "-m", "64", "-smp", "2,maxcpus=4", "-name", "guest=probe",
        "-object", "iothread,id=io0", "-object", "memory-backend-ram,id=m0,size=1M",
        "-drive", f"if=none,id=d0,file={DISK},format=raw", "-device", "virtio-blk-pci,id=blk0,drive=d0,addr=4",
        "-netdev", "user,id=n0", "-device", "virtio-net-pci,id=net0,netdev=n0,addr=5", "-device", "pcie-root-port,id=rp0,addr=7,chassis=1",
        "-chardev", "ringbuf,id=ring0,size=1024"]

QUERIES = [("query-status",), ("query-version",), ("query-name",), ("query-uuid",), ("query-target",), ("query-commands",),
           ("query-machines",), ("query-cpus-fast",), ("query-chardev",), ("query-chardev-backends",), ("query-block",),
           ("query-blockstats",), ("query-named-block-nodes",), ("query-pci",), ("query-kvm",), ("query-iothreads",), ("query-memdev",),
           ("query-cpu-definitions",), ("query-command-line-options",), ("query-qmp-schema",), ("query-memory-size-summary",),
           ("query-hotpluggable-cpus",), ("query-current-machine",), ("query-rx-filter",), ("x-query-virtio",),
           ("query-cpu-model-expansion", {"type": "full", "model": {"name": "qemu64"}}),
           ("x-query-virtio-status", {"path": "/machine/peripheral/net0/virtio-backend"}),
           ("x-query-virtio-queue-status", {"path": "/machine/peripheral/net0/virtio-backend", "queue": 0}),
           ("qom-list", {"path": "/machine/peripheral/blk0"}), ("qom-list-types", {"abstract": True}),
           ("qom-get", {"path": "/machine/peripheral/blk0", "property": "type"}),
           ("qom-list-properties", {"typename": "virtio-blk-pci"}), ("device-list-properties", {"typename": "virtio-net-pci"}),
           ("human-monitor-command", {"command-line": "info status"}), ("ringbuf-write", {"device": "ring0", "data": "abc"}),
           ("ringbuf-read", {"device": "ring0", "size": 10}), ("stop",), ("cont",), ("set_link", {"name": "net0", "up": True}),
           ("chardev-add", {"id": "p", "backend": {"type": "pty", "data": {}}}), ("chardev-remove", {"id": "p"})]


class Schema:
    def __init__(self, entries):
        self.of, self.commands, self.events = {}, {}, {}
        for e in entries:
            kind = {"command": self.commands, "event": self.events}.get(e["meta-type"], self.of)
            assert e["name"] not in kind, f"{e['name']} is there twice"
            kind[e["name"]] = e

    def check(self, name, value, at):
        """The value is of the type called name; else it says where not."""
        t = self.of[name]
        kind = t["meta-type"]
        if kind == "builtin":
            want = {"string": str, "int": int, "number": (int, float), "boolean": bool, "null": type(None), "value": object}[t["json-type"]]
            assert isinstance(value, want) and (want is not int or not isinstance(value, bool)), f"{at}: {value!r} is no {t['json-type']}"
        elif kind == "enum":
            assert value in t["values"], f"{at}: {value!r} is none of {t['values']}"
        elif kind == "array":
            assert isinstance(value, list), f"{at}: no list"
            for i, x in enumerate(value):
                self.check(t["element-type"], x, f"{at}[{i}]")
        elif kind == "alternate":
            assert any(self.fits(m["type"], value) for m in t["members"]), f"{at}: {value!r} fits no alternative"
        else:
            members = {m["name"]: m for m in t["members"]}
            if "tag" in t:
                chosen = next((v["type"] for v in t["variants"] if v["case"] == value.get(t["tag"])), None)
                if chosen:
                    members.update({m["name"]: m for m in self.of[chosen]["members"]})
            assert isinstance(value, dict), f"{at}: no object"
            for k, x in value.items():
                assert k in members, f"{at}: unknown member {k}"
                self.check(members[k]["type"], x, f"{at}.{k}")
            for k, m in members.items():
                assert k in value or "default" in m, f"{at}: {k} is missing"

    def fits(self, name, value):
        try:
            self.check(name, value, "")
            return True
        except AssertionError:
            return False


def part_of(a, an, b, bn, at, seen, arguments):
    """Where type an of schema a is no part of type bn of schema b."""
    if (an, bn) in seen:
        return
    seen.add((an, bn))
    x, y = a.of[an], b.of[bn]
    if x["meta-type"] != y["meta-type"]:
        if not (arguments and {x["meta-type"], y["meta-type"]} == {"builtin", "enum"} and "str" in (an, bn)) and an != "any":
            yield f"{at}: {x['meta-type']} {an}, QEMU 10.0 {y['meta-type']} {bn}"
    elif x["meta-type"] == "builtin":
        if an != bn:
            yield f"{at}: {an}, QEMU 10.0 {bn}"
    elif x["meta-type"] == "enum":
        more = set(x["values"]) - set(y["values"])
        if more:
            yield f"{at}: QEMU 10.0 does not know {sorted(more)}"
    elif x["meta-type"] == "array":
        yield from part_of(a, x["element-type"], b, y["element-type"], f"{at}[]", seen, arguments)
    elif x["meta-type"] == "object":
        theirs = {m["name"]: m for m in y["members"]}
        for m in x["members"]:
            if m["name"] not in theirs:
                yield f"{at}.{m['name']}: QEMU 10.0 does not have it"
                continue
            yield from part_of(a, m["type"], b, theirs[m["name"]]["type"], f"{at}.{m['name']}", seen, arguments)
            if arguments and "default" not in m and "default" in theirs[m["name"]]:
                yield f"{at}.{m['name']}: may be missing in QEMU 10.0"
        if "tag" in x:
            variants = {v["case"]: v["type"] for v in y.get("variants", [])}
            for v in x["variants"]:
                if v["case"] in variants:
                    yield from part_of(a, v["type"], b, variants[v["case"]], f"{at}+{v['case']}", seen, arguments)


# Ours is more, or text where QEMU 10.0 has a type of its own, and clients do not care.
ALLOWED = {"x-query-virtio-status.guest-features.unknown-dev-features2", "netdev_add's+user.dnssearch[]", "netdev_add's+user.ipv6-net",
           "object-add's+memory-backend-ram.host-nodes"}


@test("every type is there once, and all that is named exists")
def whole():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        s = Schema(v.qmp.ok("query-qmp-schema"))
        used = set()
        for e in s.of.values():
            used.update(m["type"] for m in e.get("members", []) if "type" in m)
            used.update(x["type"] for x in e.get("variants", []))
            used.update([e["element-type"]] if "element-type" in e else [])
            if "tag" in e:
                tag = next(m for m in e["members"] if m["name"] == e["tag"])
                same(s.of[tag["type"]]["values"], [x["case"] for x in e["variants"]], f"cases of {e['tag']}")
        for e in [*s.commands.values(), *s.events.values()]:
            used.update(e[k] for k in ("arg-type", "ret-type") if k in e)
        same(sorted(used - set(s.of)), [], "types without entry")
        same(sorted(set(s.of) - used - {"null", "number"}), [], "types nobody uses")
        same(set(s.commands), {c["name"] for c in v.qmp.ok("query-commands")}, "commands")


@test("replies are of the types that the schema says")
def replies():
    with Vm(ARGS) as v:
        s = Schema(v.qmp.ok("query-qmp-schema"))
        for q in QUERIES:
            if len(q) > 1:
                s.check(s.commands[q[0]]["arg-type"], q[1], f"{q[0]}'s arguments")
            s.check(s.commands[q[0]]["ret-type"], v.qmp.ok(*q), q[0])


@test("events: all that the sources send, and no others, with the members they carry")
def events():
    sent = set()
    for path in glob.glob(f"{ROOT}/*/**/*.c", recursive=True):
        if "/tests/" not in path and "/build" not in path:
            with open(path, encoding="utf-8") as f:
                for call in re.findall(r"qmp_event\(\s*([^;]*);", f.read()):
                    sent.update(re.findall(r'"([A-Z_]+)"', call))
    with Vm(ARGS) as v:
        s = Schema(v.qmp.ok("query-qmp-schema"))
        same(sorted(set(s.events) ^ sent), [], "events that are only in the schema, or only in the sources")
        for c in ("stop", "cont", "system_reset", "system_powerdown", "quit"):
            v.qmp.ok(c)
        for e in v.qmp.events:
            s.check(s.events[e["event"]]["arg-type"], e.get("data", {}), e["event"])
        same([e["event"] for e in v.qmp.events], ["STOP", "RESUME", "RESET", "POWERDOWN", "SHUTDOWN"], "events seen")


@test("commands, arguments, replies and events are part of QEMU 10.0's")
def subset():
    with Vm(["-M", "none", "-nodefaults"]) as x, Vm(["-M", "none", "-nodefaults"], binary=vm.oracle()) as y:
        a, b = Schema(x.qmp.ok("query-qmp-schema")), Schema(y.qmp.ok("query-qmp-schema"))
    diff = []
    for name, c in sorted(a.commands.items()):
        if name not in b.commands:
            diff.append(f"{name}: QEMU 10.0 does not have it")
            continue
        d = b.commands[name]
        diff += part_of(a, c["ret-type"], b, d["ret-type"], name, set(), False)
        diff += part_of(a, c["arg-type"], b, d["arg-type"], f"{name}'s", set(), True)
        same(c.get("features", []), [f for f in d.get("features", []) if f in c.get("features", [])], f"features of {name}")
    for name, e in sorted(a.events.items()):
        assert name in b.events, f"QEMU 10.0 has no event {name}"
        diff += part_of(a, e["arg-type"], b, b.events[name]["arg-type"], name, set(), False)
    diff = [d for d in diff if d.split(":")[0] not in ALLOWED]
    assert not diff, "\n".join(diff)


vm.main()

#!/usr/bin/env python3
"""QMP and the human monitor: framing, errors, the shape of replies beside QEMU 10.0's on the same command line, events."""
import os
import re
import select
import subprocess
import tempfile
import time

import vm
from vm import Vm, same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-qmp-")
HLT, DISK = f"{tmp.name}/hlt.bin", f"{tmp.name}/disk"
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
for path in (DISK, f"{DISK}2"):
    with open(path, "wb") as f:
        f.truncate(1 << 20)

ARGS = ["-M", "q35,smm=off,sata=off", "-nodefaults", "-m", "64", "-smp", "2", "-name", "guest=probe", "-uuid", "12345678-0000-4000-8000-00000000000a",
        "-drive", f"if=none,id=d0,file={DISK},format=raw", "-device", "virtio-blk-pci,id=blk0,drive=d0,addr=4",
        "-netdev", "user,id=n0", "-device", "virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:11:22:33,addr=5",
        "-device", "virtio-serial-pci,id=ser0,addr=6", "-chardev", "null,id=c1", "-device", "virtserialport,bus=ser0.0,chardev=c1,name=org.a",
        "-device", "pcie-root-port,id=rp0,addr=7,chassis=1", "-device", "virtio-rng-pci,id=rng0,bus=rp0", "-S"]


def ours(args=(), **kw):
    return Vm(["-accel", "qtest", "-bios", HLT, *(args or ARGS)], **kw)


def theirs(args=(), **kw):
    # Both lock their images, against each other as well.
    args = [a.replace(DISK, f"{DISK}2") for a in args or ARGS]
    return Vm(["-accel", "tcg", "-bios", HLT, *args], binary=vm.oracle(), **kw)


# ---- framing ----

@test("greeting and negotiation")
def greeting():
    with Vm(["-M", "none", "-nodefaults"], negotiate=False) as v:
        g = v.qmp.greeting
        same(sorted(g), ["QMP"], "greeting's keys")
        same(sorted(g["QMP"]), ["capabilities", "version"], "QMP's keys")
        same(g["QMP"]["capabilities"], ["oob"], "capabilities")
        same((g["QMP"]["version"]["qemu"]["major"], g["QMP"]["version"]["qemu"]["minor"]), (10, 0), "version")
        same(v.qmp.cmd("query-status")["error"], {"class": "CommandNotFound", "desc":
             "Expecting capabilities negotiation with 'qmp_capabilities'"}, "command before negotiation")
        same(v.qmp.cmd("qmp_capabilities", enable=["oob"]), {"return": {}}, "qmp_capabilities")
        same(v.qmp.ok("query-version"), g["QMP"]["version"], "query-version")


OOB = [('{"exec-oob":"query-status"}', "The command query-status does not support OOB"),
       ('{"exec-oob":"nope"}', "The command nope has not been found"),
       ('{"exec-oob":5}', "QMP input member 'exec-oob' must be a string"),
       ('{"exec-oob":"query-status","execute":"query-status"}', "QMP input member 'execute' clashes with 'exec-oob'")]


@test("exec-oob is understood by those who asked for it, and no command takes it")
def out_of_band():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        v.qmp.send(OOB[0][0])
        same(v.qmp.reply()["error"]["desc"], "QMP input member 'exec-oob' is unexpected", "without asking")
    with Vm(["-M", "none", "-nodefaults"], negotiate=False) as v:
        v.qmp.ok("qmp_capabilities", enable=["oob"])
        for request, want in OOB:
            v.qmp.send(request)
            same(v.qmp.reply()["error"]["desc"], want, request)


@test("ids come back unchanged, requests may share a packet or be split")
def framing():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        for ident in ("libvirt-1", 7, {"a": [1, None, True]}, [], None, 1.5):
            same(v.qmp.raw({"execute": "query-name", "id": ident}), {"return": {}, "id": ident}, "reply")
        v.qmp.send('{"execute":"query-name","id":1}{"execute":"query-name","id":2}\r\n\r\n{"execute":"query-name",')
        same([v.qmp.reply()["id"], v.qmp.reply()["id"]], [1, 2], "ids")
        v.qmp.send('"id":3}')
        same(v.qmp.reply()["id"], 3, "id")


BAD_REQUESTS = [
    '{"execute":"nope"}', '{"execute":1}', '{"foo":1}', '{}', '[]', '1', '{"execute":"query-name","arguments":1}',
    '{"execute":"query-name","foo":1}', '{"execute":"query-name","arguments":{"foo":1}}', '{"execute":"qom-list"}',
    '{"execute":"qom-list","arguments":{"path":1}}', '{"execute":"qom-list","arguments":{"path":"/nope"}}',
    '{"execute":"qom-get","arguments":{"path":"/machine","property":"nope"}}', '{"execute":"qmp_capabilities"}',
    '{"execute":"device-list-properties","arguments":{"typename":"nope"}}',
    '{"execute":"device_add","arguments":{"driver":"nope"}}', '{"execute":"device_add","arguments":{}}',
    '{"execute":"device_add","arguments":{"driver":"virtio-blk-pci"}}',
    '{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","id":"blk0","bus":"rp0"}}',
    '{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","bus":"nope"}}',
    '{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","bus":"pcie.0"}}',
    '{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","bus":"rp0","nope":1}}',
    '{"execute":"device_del","arguments":{"id":"nope"}}', '{"execute":"device_del","arguments":{}}',
    '{"execute":"device_del","arguments":{"id":"blk0"}}',
    '{"execute":"chardev-remove","arguments":{"id":"nope"}}', '{"execute":"block_resize","arguments":{"device":"nope","size":1}}',
    '{"execute":"object-del","arguments":{"id":"nope"}}', '{"execute":"netdev_del","arguments":{"id":"nope"}}',
    '{"execute":"blockdev-del","arguments":{"node-name":"nope"}}', '{"execute":"human-monitor-command","arguments":{}}',
    '{"execute":"human-monitor-command","arguments":{"command-line":"nope"}}',
    '{"execute":"object-add","arguments":{"qom-type":"nope","id":"x"}}',
    '{"execute":"set_link","arguments":{"name":"nope","up":true}}',
    '{"execute":"query-rx-filter","arguments":{"name":"nope"}}', '{"execute":"query-rx-filter","arguments":{"name":"n0"}}',
    '{"execute":"query-cpu-model-expansion","arguments":{"type":"static","model":{"name":"nope"}}}',
    '{"execute":"query-cpu-model-expansion","arguments":{"type":"nope","model":{"name":"max"}}}',
]


@test("bad requests get QEMU 10.0's errors")
def errors():
    with ours() as a, theirs() as b:
        diff = []
        for r in BAD_REQUESTS:
            x, y = a.qmp.raw(r), b.qmp.raw(r)
            if x != y:
                diff.append(f"{r}\n    ours      {x}\n    QEMU 10.0 {y}")
        assert not diff, "\n".join(diff)


@test("broken JSON is refused and the next request is served")
def broken():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        for text in ("}", "{]", '{"execute":', "nonsense", '"\\x"', "\x01"):
            v.qmp.send(text + "\n")
            if text == '{"execute":':
                v.qmp.send("}")
            r = v.qmp.reply()
            same(r["error"]["class"], "GenericError", f"class for {text!r}")
            assert "JSON" in r["error"]["desc"], r
            while True:  # one line may hold several errors
                v.qmp.send('{"execute":"query-name","id":"after"}')
                r = v.qmp.reply()
                while r.get("id") != "after":
                    r = v.qmp.reply()
                same(r, {"return": {}, "id": "after"}, "next")
                break


@test("-nic is a back end and a card")
def nic():
    with Vm(["-M", "q35", "-accel", "qtest", "-bios", HLT, "-nodefaults", "-nic", "user,model=virtio-net-pci", "-nic",
             "hubport,hubid=1,id=foo,model=virtio-net-pci"]) as v:
        text = v.qmp.ok("human-monitor-command", **{"command-line": "info network"}).replace("\r", "")
        for want in (r"^ \\ #net\d+: .*type=user", r"^ \\ foo: "):
            if not re.search(want, text, re.M):
                raise AssertionError(f"no {want} in\n{text}")
        same(v.qmp.cmd("netdev_add", type="hubport", id="#x", hubid=2)["error"]["desc"].split("\n")[0],
             "Parameter 'id' expects an identifier", "netdev_add's refusal")


# ---- shapes ----

QUERIES = [("query-status",), ("query-version",), ("query-name",), ("query-uuid",), ("query-target",), ("query-commands",),
           ("query-machines",), ("query-cpus-fast",), ("query-chardev",), ("query-block",), ("query-pci",), ("query-kvm",),
           ("qom-list", {"path": "/machine"}),
           ("qom-list", {"path": "/machine/peripheral"}), ("qom-list", {"path": "/machine/peripheral/blk0"}),
           ("qom-get", {"path": "/machine/peripheral/net0", "property": "mac"}),
           ("qom-get", {"path": "/machine/peripheral/blk0", "property": "type"}),
           ("qom-get", {"path": "/machine/peripheral/rng0", "property": "realized"}),
           ("device-list-properties", {"typename": "virtio-blk-pci"}), ("device-list-properties", {"typename": "virtio-net-pci"}),
           ("device-list-properties", {"typename": "virtio-rng-pci"}), ("device-list-properties", {"typename": "virtio-serial-pci"}),
           ("device-list-properties", {"typename": "pcie-root-port"}), ("query-named-block-nodes",),
           ("query-iothreads",), ("query-cpu-definitions",), ("query-command-line-options",), ("query-qmp-schema",),
           ("query-memory-size-summary",), ("query-hotpluggable-cpus",), ("query-current-machine",), ("query-rx-filter", {"name": "net0"})]

# Members of QEMU's replies that ours leaves out or adds, by path.
ALLOWED = {
    "query-named-block-nodes[].image.format-specific",  # QEMU: extent size hint of a file
    "device-list-properties[].default-value",  # compared by type below
    "query-command-line-options[].parameters[].default",
}


def shape(v):
    if isinstance(v, dict):
        return {k: shape(x) for k, x in v.items()}
    if isinstance(v, list):
        merged = []
        for x in map(shape, v):
            if x not in merged:
                merged.append(x)
        dicts = [x for x in merged if isinstance(x, dict)]
        if dicts:  # all members that occur
            all_keys = {}
            for d in dicts:
                for k, x in d.items():
                    if k in all_keys and isinstance(x, dict) and isinstance(all_keys[k], dict):
                        all_keys[k] = {**all_keys[k], **x}
                    else:
                        all_keys[k] = x
            return [all_keys]
        return merged
    return type(v).__name__ if not isinstance(v, bool) else "bool"


def differ(a, b, path):
    """Where shape a (ours) is not b (QEMU's)."""
    if isinstance(a, dict) and isinstance(b, dict):
        for k in sorted(set(a) | set(b)):
            p = f"{path}.{k}"
            if p in ALLOWED:
                continue
            if k not in a:
                yield f"{p}: missing"
            elif k not in b:
                yield f"{p}: only ours has it"
            else:
                yield from differ(a[k], b[k], p)
    elif isinstance(a, list) and isinstance(b, list):
        if a and b:
            yield from differ(a[0], b[0], f"{path}[]")
        elif a or b:
            yield f"{path}: {'empty' if b else 'not empty'} in ours"
    elif a != b:
        yield f"{path}: {a} instead of {b}"


def query_shape(q):
    with ours() as a, theirs() as b:
        x, y = a.qmp.cmd(*q), b.qmp.cmd(*q)
        assert "return" in y, f"QEMU 10.0 says {y}"
        assert "return" in x, f"ours says {x}"
        if q[0] == "query-qmp-schema":  # the same kinds of entries; contents are each version's own
            kinds = {e["meta-type"] for e in x["return"]}
            same(kinds <= {e["meta-type"] for e in y["return"]}, True, "meta-types")
            names = {e["name"] for e in x["return"] if e["meta-type"] == "command"}
            same(names, {c["name"] for c in a.qmp.ok("query-commands")}, "commands in the schema")
            return
        d = list(differ(shape(x["return"]), shape(y["return"]), q[0]))
        assert not d, "\n".join(d)


@test("values that must be equal: status, name, uuid, CPUs, PCI, character devices")
def values():
    with ours() as a, theirs() as b:
        for q in ("query-status", "query-name", "query-uuid", "query-target", "query-chardev", "query-memory-size-summary", "query-iothreads"):
            x, y = a.qmp.ok(q), b.qmp.ok(q)
            if isinstance(x, list):
                x, y = ([dict(e, filename=re.sub(r"unix:.*", "unix:", e.get("filename", ""))) for e in sorted(l, key=str)] for l in (x, y))
                x, y = (sorted(l, key=lambda e: e.get("label", "")) for l in (x, y))
            same(x, y, q)
        cpus = [[{k: v for k, v in c.items() if k != "thread-id"} for c in v.qmp.ok("query-cpus-fast")] for v in (a, b)]
        for c in cpus[0] + cpus[1]:
            c.pop("qom-path")  # numbered by creation
        same(cpus[0], cpus[1], "query-cpus-fast")
        slots = [[{k: v for k, v in c.items() if k != "qom-path"} for c in v.qmp.ok("query-hotpluggable-cpus")] for v in (a, b)]
        same(slots[0], slots[1], "query-hotpluggable-cpus")
        pci = [v.qmp.ok("query-pci") for v in (a, b)]
        same(pci[0], pci[1], "query-pci")


@test("query-machines: an entry of ours is QEMU 10.0's entry")
def machines():
    with Vm(["-M", "none", "-nodefaults"]) as a, Vm(["-M", "none", "-nodefaults"], binary=vm.oracle()) as b:
        x, y = ({m["name"]: m for m in v.qmp.ok("query-machines")} for v in (a, b))
        for need in ("none", "pc-i440fx-10.0", "pc-q35-10.0", "pc-i440fx-7.2", "pc-q35-7.2", "pc-q35-5.2"):
            assert need in x, f"{need} is not there: {sorted(x)}"
        diff = [f"{n}\n    ours      {m}\n    QEMU 10.0 {y.get(n)}" for n, m in x.items() if m != y.get(n)]
        assert not diff, "\n".join(diff)


# Properties of QEMU's that ours does not have yet, and those whose default value is only known when the device is made.
NO_PROPERTY = {"busnr", "class", "iothread", "virtio-backend", "x-speed", "x-width",
               "x-pci-express-writeable-slt-bug"}
OWN_DEFAULT = {"bootindex", "ebpf-rss-fds", "vectors"}


@test("device-list-properties: names, types and defaults of ours are QEMU 10.0's")
def properties():
    kinds = [f"virtio-{k}-pci{s}" for k in ("blk", "net", "serial", "rng") for s in ("", "-transitional", "-non-transitional")]
    with Vm(["-M", "none", "-nodefaults"]) as a, Vm(["-M", "none", "-nodefaults"], binary=vm.oracle()) as b:
        diff = []
        for kind in [*kinds, "virtconsole", "virtserialport", "pcie-root-port"]:
            x, y = ({p["name"]: p for p in v.qmp.ok("device-list-properties", typename=kind)} for v in (a, b))
            for n in sorted(set(x) | set(y)):
                if n in NO_PROPERTY if n not in x else n not in y and n.startswith("x-"):
                    continue
                if n not in x or n not in y:
                    diff.append(f"{kind}.{n}: only {'ours' if n in x else 'QEMU 10.0'} has it")
                elif n not in OWN_DEFAULT and (x[n]["type"], x[n].get("default-value")) != (y[n]["type"], y[n].get("default-value")):
                    diff.append(f"{kind}.{n}: ours {x[n]}, QEMU 10.0 {y[n]}")
        assert not diff, "\n".join(diff[:40])


@test("qom-list-types: the types the tests of clients look for")
def types():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        names = {t["name"] for t in v.qmp.ok("qom-list-types", abstract=False)}
        need = [f"virtio-{k}-pci{s}" for k in ("blk", "net", "serial", "rng") for s in ("", "-transitional", "-non-transitional")]
        for n in [*need, "virtconsole", "virtserialport", "pcie-root-port", "tcg-accel", "isa-serial", "rng-random", "rng-builtin",
                  "pc-q35-10.0-machine", "none-machine"]:
            assert n in names, f"{n} is not listed"
        same({t["name"] for t in v.qmp.ok("qom-list-types", implements="accel", abstract=False)} >= {"tcg-accel", "qtest-accel"}, True, "accelerators")


@test("query-hotpluggable-cpus: places in sockets, dies, cores, threads; a machine without")
def places():
    for smp in ("2,maxcpus=8,sockets=2,dies=2,cores=2,threads=1", "1,maxcpus=6,sockets=1,cores=3,threads=2"):
        args = ["-M", "q35,sata=off", "-nodefaults", "-smp", smp, "-cpu", "max"]
        with ours(args) as a, theirs(["-M", "q35,smm=off", *args[2:]]) as b:
            x, y = ([{k: v for k, v in c.items() if k != "qom-path"} for c in v.qmp.ok("query-hotpluggable-cpus")] for v in (a, b))
            same(x, y, smp)
            same([c.get("qom-path", "") for c in a.qmp.ok("query-hotpluggable-cpus")][::-1][:int(smp[0])],
                 [c["qom-path"] for c in a.qmp.ok("query-cpus-fast")], "paths")
    with Vm(["-M", "none", "-nodefaults"]) as v:
        same(v.qmp.cmd("query-hotpluggable-cpus")["error"]["desc"], "machine does not support hot-plugging CPUs", "none")


@test("CPU models: types, properties, expansion")
def models():
    with Vm(["-M", "none", "-nodefaults"]) as v:
        types = {t["name"]: t.get("parent") for t in v.qmp.ok("qom-list-types", implements="x86_64-cpu", abstract=False)}
        same(set(types), {d["typename"] for d in v.qmp.ok("query-cpu-definitions")}, "types are the definitions'")
        same(set(types.values()), {"x86_64-cpu"}, "parents")
        props = {p["name"]: p["type"] for p in v.qmp.ok("qom-list-properties", typename="max-x86_64-cpu")}
        same((props["sse2"], props["type"]), ("bool", "string"), "properties")
        base = v.qmp.ok("query-cpu-model-expansion", type="static", model={"name": "qemu64", "props": {"sse3": False, "model-id": "mine"}})["model"]
        same((base["name"], base["props"]["sse2"], base["props"]["pni"], base["props"]["model-id"]), ("base", True, False, "mine"), "expansion")
        # What the expansion says makes the same CPU again.
        again = v.qmp.ok("query-cpu-model-expansion", type="static", model=base)["model"]
        same(again, base, "expansion of the expansion")
        full = v.qmp.ok("query-cpu-model-expansion", type="full", model={"name": "max"})["model"]
        same((full["name"], full["props"]["lm"]), ("max", True), "full")


# ---- events and life ----

@test("stop, cont, reset, powerdown, quit: replies, states, events")
def life():
    with ours(["-nodefaults"]) as v:
        q = v.qmp
        same(q.cmd("stop"), {"return": {}}, "stop")
        e = q.event("STOP")
        same(sorted(e), ["event", "timestamp"], "STOP's keys")
        assert abs(e["timestamp"]["seconds"] - time.time()) < 60 and 0 <= e["timestamp"]["microseconds"] < 1000000, e
        same(q.ok("query-status"), {"status": "paused", "running": False}, "status")
        same(q.cmd("cont"), {"return": {}}, "cont")
        same(sorted(q.event("RESUME")), ["event", "timestamp"], "RESUME's keys")
        same(q.cmd("system_reset"), {"return": {}}, "system_reset")
        same(q.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"}, "RESET")
        same(q.cmd("system_powerdown"), {"return": {}}, "system_powerdown")
        same(sorted(q.event("POWERDOWN")), ["event", "timestamp"], "POWERDOWN's keys")
        same(q.ok("query-status"), {"status": "running", "running": True}, "status")
        same(q.cmd("quit"), {"return": {}}, "quit")
        same(q.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"}, "SHUTDOWN")
        same(v.wait(), 0, "exit status")


# Requests that go out in one write; what comes back until the socket is silent or closed.
ORDERS = [((), ("stop", "stop", "cont", "cont", "query-status")), ((), ("system_reset", "system_powerdown", "query-status")), ((), ("quit",)),
          (("-no-shutdown",), ("quit", "query-status")), (("-no-reboot",), ("system_reset", "query-status")),
          (("-no-reboot", "-no-shutdown"), ("system_reset", "cont", "query-status", "system_reset", "cont")),
          (("-S",), ("query-status", "system_reset", "query-status", "cont", "query-status", "quit")),
          ((), ("stop", "system_reset", "query-status", "cont", "query-status")), ((), ("system_reset", "quit", "stop")),
          (("-S",), ("cont", "stop", "cont", "query-status")), ((), ("stop", "quit")), ((), ("hmp system_reset", "hmp quit"))]


def transcript(v, commands):
    """Events and replies in the order they come, SHUTDOWN or the last reply being the end."""
    sent = []
    for c in commands:
        word, _, line = c.partition(" ")
        sent.append(f'{{"execute":"human-monitor-command","arguments":{{"command-line":"{line}"}}}}' if line else f'{{"execute":"{word}"}}')
    v.qmp.send("\n".join([*sent, '{"execute":"query-name","id":"end"}']))
    got = []
    try:
        while not got or got[-1].get("id") != "end":
            m = v.qmp.read()
            m.pop("timestamp", None)
            got.append(m)
    except EOFError:
        got.append({"closed": True})
    return got


@test("events come before the replies, as QEMU 10.0's")
def order():
    diff = []
    for args, commands in ORDERS:
        with ours(["-M", "q35,sata=off", "-nodefaults", *args]) as a, theirs(["-M", "q35,smm=off", "-nodefaults", *args]) as b:
            x, y = transcript(a, commands), transcript(b, commands)
        if x != y:
            diff.append("\n    ".join([f"{args} {commands}", *(f"{m!r:<70} {n!r}" for m, n in zip(x + [None] * 9, y + [None] * 9) if m or n)]))
    assert not diff, "\n".join(diff)


@test("powerdown is the guest's ACPI power button")
def power_button():
    for machine in ("pc", "q35"):
        with ours(["-M", machine, "-nodefaults"], qtest=True) as v:
            t = v.qtest
            import qtest
            if machine == "pc":
                qtest.Function(t, 0, 1, 3).put(0x40, 4, 0x600)
                qtest.Function(t, 0, 1, 3).put(0x80, 1, 1)
            else:
                qtest.Function(t, 0, 0x1f, 0).put(0x40, 4, 0x600)
                qtest.Function(t, 0, 0x1f, 0).put(0x44, 1, 0x80)
            same(t.inw(0x600) & 0x100, 0, "PWRBTN_STS before")
            v.qmp.ok("system_powerdown")
            same(t.inw(0x600) & 0x100, 0x100, "PWRBTN_STS after")


@test("device_add and device_del: immediate for ports, on reset for PCI functions")
def plug():
    with ours([a for a in ARGS if a != "-S"]) as v:
        q = v.qmp
        same(q.cmd("device_add", {"driver": "virtserialport", "id": "port9", "bus": "ser0.0", "name": "org.b"}), {"return": {}}, "device_add")
        same(q.cmd("device_del", id="port9"), {"return": {}}, "device_del")
        same(q.event("DEVICE_DELETED")["data"], {"device": "port9", "path": "/machine/peripheral/port9"}, "DEVICE_DELETED")
        same(q.cmd("device_del", id="port9")["error"], {"class": "DeviceNotFound", "desc": "Device 'port9' not found"}, "again")
        assert "port9" not in [p["name"] for p in q.ok("qom-list", path="/machine/peripheral")]


@test("two monitors are independent")
def two():
    path = f"{tmp.name}/second"
    with Vm(["-M", "none", "-nodefaults", "-qmp", f"unix:{path},server=on,wait=off"]) as v:
        import socket
        for _ in range(3):  # a client that leaves makes room for the next
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            q = vm.Qmp(s)
            same(q.ok("query-status")["running"], True, "running")
            q.close()
        same(v.qmp.ok("query-status")["running"], True, "running")


# ---- human monitor ----

class Hmp:
    """The human monitor on stdio."""

    def __init__(self, args):
        self.p = subprocess.Popen([vm.BIN, "-display", "none", *args, "-monitor", "stdio"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.banner = self.prompt()
        except BaseException:
            self.__exit__()
            raise

    def prompt(self):
        text, end = b"", time.monotonic() + vm.TIMEOUT
        while not re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", text).endswith(b"(qemu) "):
            r, _, _ = select.select([self.p.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.p.stdout.fileno(), 65536) if r else b""
            assert more, f"no prompt: {text!r}"
            text += more
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text.decode())

    def run(self, line):
        """The command's output, without the echoed line and the prompt."""
        self.p.stdin.write(line.encode() + b"\n")
        self.p.stdin.flush()
        text = self.prompt()[:-len("(qemu) ")]
        return text.split("\n", 1)[1].replace("\r", "") if "\n" in text else ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()


@test("human monitor on stdio")
def human():
    with Hmp(["-M", "q35,sata=off", "-nodefaults", "-accel", "qtest", "-m", "64", "-device", "virtio-rng-pci,id=rng0,addr=4"]) as h:
        assert "type 'help' for more information" in h.banner, h.banner
        same(h.run("info status"), "VM status: running\n", "info status")
        same(h.run("stop"), "", "stop")
        same(h.run("info status"), "VM status: paused\n", "info status")
        same(h.run("cont"), "", "cont")
        same(h.run("system_reset"), "", "system_reset")
        assert re.search(r"(?m)^quit\|?q? *--", h.run("help")) or "quit" in h.run("help")
        assert "Bus  0, device   4, function 0:" in h.run("info pci"), h.run("info pci")
        qtree = h.run("info qtree")
        assert 'dev: virtio-rng-pci, id "rng0"' in qtree and "bus: pcie.0" in qtree, qtree[:2000]
        assert "address-space: memory" in h.run("info mtree")
        registers = h.run("info registers")
        assert re.search(r"EIP=0000fff0 EFL=00000002", registers) and "CS =f000 ffff0000" in registers, registers
        same(h.run("xp /2xw 0x1000"), "0000000000001000: 0x00000000 0x00000000\n", "xp")
        assert "unknown command" in h.run("nope"), "unknown command"
        h.p.stdin.write(b"quit\n")
        h.p.stdin.flush()
        h.p.stdout.read()
        same(h.p.wait(vm.TIMEOUT), 0, "exit status")


HMP = ["info status", "info name", "info uuid", "info chardev", "info pci", "info cpus", "info hotpluggable-cpus", "xp /4xw 0", "xp /3xb 0xfffffff0",
       "print 1+2*3", "print 0-5", "xp /1ug 0xfffffff0", "xp /4ob 0xfffffff0", "xp /4c 0xfffffff0", "info nope", "nope", "xp", "stop", "info status", "cont", "info status"]


@test("human-monitor-command answers as QEMU 10.0's")
def human_same():
    with ours() as a, theirs() as b:
        diff = []
        for line in HMP:
            x, y = (re.sub(r"(thread_id=|unix:|#block|qom_path: )\S*", r"\1", v.qmp.hmp(line)) for v in (a, b))
            if line == "info chardev":
                x, y = (sorted(t.split("\r\n")) for t in (x, y))
            if x != y:
                diff.append(f"{line}\n--- ours\n{x}--- QEMU 10.0\n{y}")
        assert not diff, "\n".join(diff)


for q in QUERIES:
    vm.TESTS.append((f"shape/{' '.join(map(str, q))}", lambda q=q: query_shape(q)))
vm.main()

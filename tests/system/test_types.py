#!/usr/bin/env python3
"""Arguments of QMP commands with members of other types, too many and too few: each request has an answer, the emulator goes on."""
import copy
import os
import tempfile

import vm
from vm import Vm, same, test

T = tempfile.TemporaryDirectory(prefix="virtue-types-")
MB = 1 << 20


def inet(port, **more):
    return {"type": "inet", "data": {"host": "127.0.0.1", "port": port, **more}}


# (command, its arguments, what undoes it)
SEEDS = [
    ("chardev-add", {"id": "x", "backend": {"type": "socket", "data": {"addr": inet("0", to=5, ipv4=True), "server": True, "logfile": "/dev/null"}}},
     ("chardev-remove", {"id": "x"})),
    ("chardev-add", {"id": "x", "backend": {"type": "udp", "data": {"remote": inet("9"), "local": inet("0")}}}, ("chardev-remove", {"id": "x"})),
    ("chardev-change", {"id": "c", "backend": {"type": "file", "data": {"out": "/dev/null", "append": True}}}, None),
    ("blockdev-add", {"driver": "raw", "node-name": "n", "cache": {"direct": False}, "file": {
        "driver": "blkdebug", "image": {"driver": "null-co", "size": MB}, "inject-error": [{"event": "read_aio", "errno": 5, "once": True}],
        "set-state": [{"event": "none", "state": 1, "new_state": 2}]}}, ("blockdev-del", {"node-name": "n"})),
    ("blockdev-add", {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "/dev/null"}, "backing": {"driver": "null-co"},
                      "overlap-check": {"template": "all", "main-header": True}}, ("blockdev-del", {"node-name": "n"})),
    ("blockdev-add", {"driver": "throttle", "node-name": "n", "throttle-group": "g", "file": "base"}, ("blockdev-del", {"node-name": "n"})),
    ("object-add", {"qom-type": "throttle-group", "id": "o", "limits": {"iops-total": 5, "iops-total-max": 9}}, ("object-del", {"id": "o"})),
    ("object-add", {"qom-type": "memory-backend-ram", "id": "o", "size": MB, "host-nodes": [0], "policy": "bind"}, ("object-del", {"id": "o"})),
    ("device_add", {"driver": "scsi-hd", "id": "d", "drive": "base", "bus": "s.0", "lun": 3, "wwn": 5}, ("device_del", {"id": "d"})),
    ("device_add", {"driver": "virtserialport", "id": "d", "chardev": "c2", "nr": 4, "name": "x"}, ("device_del", {"id": "d"})),
    ("device_add", {"driver": "virtio-blk-pci", "id": "d", "drive": "no", "iothread-vq-mapping": [{"iothread": "t", "vqs": [0]}], "num-queues": 1}, None),
    ("netdev_add", {"type": "stream", "id": "nd", "addr": {"type": "unix", "path": f"{T.name}/x"}, "server": False, "reconnect-ms": 5},
     ("netdev_del", {"id": "nd"})),
    ("netdev_add", {"type": "dgram", "id": "nd", "remote": inet("9")["data"], "local": inet("0")["data"]}, ("netdev_del", {"id": "nd"})),
    ("netdev_add", {"type": "user", "id": "nd", "hostfwd": [{"str": "tcp:127.0.0.1:0-:22"}]}, ("netdev_del", {"id": "nd"})),
    ("qom-set", {"path": "/objects/g", "property": "limits", "value": {"iops-total": 5}}, None),
    ("input-send-event", {"events": [{"type": "key", "data": {"down": True, "key": {"type": "qcode", "data": "a"}}}]}, None),
    ("send-key", {"keys": [{"type": "qcode", "data": "a"}], "hold-time": 1}, None),
    ("query-cpu-model-expansion", {"type": "full", "model": {"name": "max", "props": {"x": True}}}, None),
    ("announce-self", {"initial": 50, "max": 100, "rounds": 1, "step": 10, "interfaces": ["x"]}, None),
]
OTHER = [5, -1, 1 << 63, "", "base", "x" * 5000, None, True, 1.5, [], {}, [5], [{}], {"a": 1}, {"driver": "raw"}]


def places(x, at=()):
    """The way to every member and element."""
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        yield (*at, k)
        yield from places(v, (*at, k))


def variants(args):
    for at in places(args):
        for change in (*OTHER, "less", "more"):
            a = copy.deepcopy(args)
            inside = a
            for k in at[:-1]:
                inside = inside[k]
            if change == "less":
                del inside[at[-1]]
            elif change == "more" and isinstance(inside, dict):
                inside["more"] = 1
            else:
                inside[at[-1]] = change
            yield a


@test("members of other types, too many, too few: an answer to each")
def wrong_types():
    args = ["-accel", "qtest", "-M", "q35", "-m", "32", "-nodefaults", "-chardev", "null,id=c", "-chardev", "null,id=c2", "-object", "iothread,id=t",
            "-object", "throttle-group,id=g", "-device", "virtio-scsi-pci,id=s", "-device", "virtio-serial-pci", "-blockdev", "null-co,node-name=base"]
    n = 0
    os.chdir(T.name)  # file names among them are relative
    with Vm(args) as v:
        for name, seed, undo in SEEDS:
            for a in variants(seed):
                try:
                    r = v.qmp.cmd(name, a)
                except EOFError as e:
                    raise AssertionError(f"{name} {a}: {e}") from None
                same(len({"return", "error"} & r.keys()), 1, f"{name} {a}")
                n += 1
                if undo and "return" in r:
                    v.qmp.cmd(*undo)
    assert n > 1500, f"{n} requests"


vm.main()

#!/usr/bin/env python3
"""What libvirt 9.0 does with an emulator: the probe with its exact command line, the command line of a virtio domain with its
inherited descriptors, the start-up dialogue, hot plug of a channel, and the end. What is not there yet is listed by name."""
import json
import os
import signal
import socket
import subprocess
import tempfile

import vm
from vm import same, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-libvirt-")
DISK, KEY, HLT = f"{tmp.name}/vda.raw", f"{tmp.name}/master-key.aes", f"{tmp.name}/hlt.bin"
with open(DISK, "wb") as f:
    f.truncate(1 << 20)
with open(KEY, "wb") as f:
    f.write(os.urandom(32))
with open(HLT, "wb") as f:  # cli; hlt; jmp to hlt
    f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))

# Types and commands that libvirt knows and this emulator does not have yet. A name that appears may leave this list.
NOT_YET = {"inject-nmi", "migrate", "query-migrate", "system_wakeup"}
TYPES = ["tcg-accel", "virtio-blk-pci-transitional", "virtio-net-pci-non-transitional", "pcie-root-port", "pcie-pci-bridge", "virtio-net-pci",
         "virtio-blk-pci", "virtio-serial-pci", "virtserialport", "virtconsole", "virtio-rng-pci", "rng-random", "rng-builtin", "rng-egd",
         "iothread", "isa-serial", "pvpanic", "memory-backend-ram", "memory-backend-file", "memory-backend-memfd", "max-x86_64-cpu",
         "virtio-scsi-pci", "scsi-hd", "scsi-cd", "virtio-gpu-pci", "virtio-vga", "virtio-keyboard-pci", "virtio-mouse-pci",
         "virtio-tablet-pci", "virtio-input-host-pci", "virtio-balloon-pci", "vhost-vsock-device"]
COMMANDS = ["device_add", "device_del", "blockdev-add", "blockdev-del", "netdev_add", "netdev_del", "object-add", "object-del", "chardev-add",
            "chardev-remove", "getfd", "query-chardev", "query-hotpluggable-cpus", "query-cpus-fast", "qom-list", "qom-get", "qom-set",
            "query-iothreads", "query-named-block-nodes", "query-block", "query-blockstats", "block_resize", "set_link", "cont", "stop",
            "system_reset", "system_powerdown", "query-status", "query-migrate-capabilities", "query-cpu-definitions", "query-rx-filter",
            "query-cpu-model-expansion", "query-current-machine", "human-monitor-command", "query-balloon", "balloon", "query-vnc",
            "screendump", "send-key", "inject-nmi", "migrate", "query-migrate", "set_password", "block_set_io_throttle", "system_wakeup", "add-fd", "remove-fd", "query-fdsets"]
# A type of these would make libvirt pass more, or ask more: it must not be listed without being there.
TRAPS = ["sev-guest", "sgx-epc", "qemu-xhci", "piix3-usb-uhci", "ich9-usb-uhci1"]
PROPERTIES = ["virtio-blk-pci", "virtio-net-pci", "virtio-scsi-pci", "virtio-net-ccw", "virtio-scsi-ccw", "vfio-pci", "scsi-hd", "ide-hd",
              "PIIX4_PM", "usb-redir", "usb-storage", "kvm-pit", "VGA", "vmware-svga", "qxl", "virtio-gpu-pci", "virtio-gpu-device",
              "ICH9-LPC", "virtio-balloon-pci", "virtio-balloon-ccw", "virtio-balloon-device", "intel-iommu", "mch", "nvdimm",
              "pcie-root-port", "usb-host", "vhost-user-fs-device", "virtio-mem-pci", "virtio-iommu-pci"]
ENV = {"LC_ALL": "C", "PATH": os.environ["PATH"], "HOME": tmp.name}


class Client:
    """libvirt's side of a monitor: string ids, CR LF, one request at a time."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(vm.TIMEOUT)
        self.sock.connect(path)
        self.file = self.sock.makefile("r", encoding="utf-8", newline="\n")
        self.n, self.events = 0, []
        assert "QMP" in json.loads(self.file.readline()), "no greeting"

    def raw(self, name, args=None, fds=()):
        self.n += 1
        request = {"execute": name, **({"arguments": args} if args is not None else {}), "id": f"libvirt-{self.n}"}
        data = (json.dumps(request) + "\r\n").encode()
        if fds:
            socket.send_fds(self.sock, [data], list(fds))
        else:
            self.sock.sendall(data)
        while True:
            line = self.file.readline()
            assert line, f"closed at {name}"
            assert len(line) < 10 << 20, f"the reply to {name} is longer than libvirt reads"
            m = json.loads(line)
            if "event" not in m:
                same(m.pop("id"), f"libvirt-{self.n}", "id")
                return m
            self.events.append(m)

    def ok(self, name, args=None, fds=()):
        m = self.raw(name, args, fds)
        assert "return" in m, f"{name} {args}: {m}"
        return m["return"]

    def event(self, name):
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    return self.events.pop(i)
            self.events.append(json.loads(self.file.readline()))

    def close(self):
        self.file.close()
        self.sock.close()


def alive(pid):
    """The process runs: one that ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@test("probe: the process's contract and every command of the sequence")
def probe():
    path, pidfile = f"{tmp.name}/qmp.monitor", f"{tmp.name}/qmp.pid"
    r = subprocess.run([vm.BIN, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg",
                        "-qmp", f"unix:{path},server=on,wait=off", "-pidfile", pidfile, "-daemonize"], cwd="/", env=ENV,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=vm.TIMEOUT, check=False)
    same((r.returncode, r.stdout, r.stderr), (0, b"", b""), "the foreground process")
    with open(pidfile, encoding="ascii") as f:
        pid = int(f.read())
    try:
        c = Client(path)
        c.ok("qmp_capabilities")
        version = c.ok("query-version")
        assert isinstance(version["package"], str) and version["qemu"]["major"] == 10, version
        same(c.ok("query-target"), {"arch": "x86_64"}, "target")
        schema = c.ok("query-qmp-schema")
        commands = {x["name"] for x in c.ok("query-commands")}
        same(sorted(c.ok("query-kvm")), ["enabled", "present"], "query-kvm")
        types = {x["name"] for x in c.ok("qom-list-types")}
        for t in PROPERTIES:
            m = c.raw("device-list-properties", {"typename": t})
            if "error" in m:
                same(m["error"]["class"], "DeviceNotFound", f"class for {t}")
            else:
                assert all("name" in p for p in m["return"]), t
        for t in ("memory-backend-file", "memory-backend-memfd", "max-x86_64-cpu", "none-machine"):
            assert all("name" in p for p in c.ok("qom-list-properties", {"typename": t})), t
        check_machines(c)
        names = {x["typename"] for x in c.ok("query-cpu-definitions")}
        assert {"qemu64-x86_64-cpu", "max-x86_64-cpu"} <= names <= types, names
        for q in ("query-tpm-models", "query-tpm-types", "query-migrate-capabilities"):
            assert isinstance(c.ok(q), list), q
        options = {o["option"]: [p["name"] for p in o["parameters"]] for o in c.ok("query-command-line-options")}
        assert "sandbox" not in options and "spice" not in options and "memory" in options, sorted(options)
        for model in ({"name": "max"}, {"name": "max", "props": {"pni": False}}):
            props = c.ok("query-cpu-model-expansion", {"type": "static", "model": model})["model"]["props"]
            same(props["pni"], "props" not in model, "pni")
        check_names(types, commands, schema)
        c.close()
        os.kill(pid, signal.SIGTERM)
        vm.until("end of the process", lambda: not alive(pid))
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    assert not os.path.exists(pidfile), "the pidfile is still there"


def check_machines(c):
    machines = {m["name"]: m for m in c.ok("query-machines")}
    for name, alias in (("pc-q35-10.0", "q35"), ("pc-i440fx-10.0", "pc"), ("pc-q35-7.2", None), ("pc-i440fx-7.2", None)):
        same(machines[name].get("alias"), alias, f"alias of {name}")
        same((machines[name]["default-ram-id"], machines[name]["default-cpu-type"]), ("pc.ram", "qemu64-x86_64-cpu"), name)


def check_names(types, commands, schema):
    for kind, want, have in (("type", TYPES, types), ("command", COMMANDS, commands)):
        missing = [n for n in want if n not in have]
        same([n for n in missing if n not in NOT_YET], [], f"{kind}s that libvirt needs")
        if missing:
            print(f"# not yet there, {kind}s: {' '.join(missing)}")
    same([t for t in TRAPS if t in types], [], "types that would change what libvirt does")
    # The paths into the schema that choose how libvirt writes -device and -object.
    entries = {(e["meta-type"] in ("command", "event"), e["name"]): e for e in schema}
    assert "json-cli-hotplug" in entries[True, "device_add"]["features"], "device_add's features"
    args = entries[False, entries[True, "object-add"]["arg-type"]]
    kinds = entries[False, next(m["type"] for m in args["members"] if m["name"] == "qom-type")]["values"]
    assert "secret" in kinds and "memory-backend-ram" in kinds, kinds
    args = entries[False, entries[True, "query-named-block-nodes"]["arg-type"]]
    assert "flat" in [m["name"] for m in args["members"]], "query-named-block-nodes flat"


DOMAIN = [
    ("-S",), ("-object", {"qom-type": "secret", "id": "masterKey0", "format": "raw", "file": KEY}),
    ("-machine", "MACHINE,usb=off,dump-guest-core=off,memory-backend=pc.ram"), ("-accel", "tcg"), ("-cpu", "qemu64"), ("-m", "64"),
    ("-object", {"qom-type": "memory-backend-ram", "id": "pc.ram", "size": 64 << 20}), ("-overcommit", "mem-lock=off"),
    ("-smp", "2,sockets=2,cores=1,threads=1"), ("-uuid", "cd758f84-1e30-47c6-a135-21f25d327c25"), ("-no-user-config",), ("-nodefaults",),
    ("-chardev", "socket,id=charmonitor,fd=MONITOR,server=on,wait=off"), ("-mon", "chardev=charmonitor,id=monitor,mode=control"),
    ("-rtc", "base=utc"), ("-no-shutdown",), ("-boot", "strict=on"), ("-bios", HLT), "PORTS",
    ("-device", {"driver": "virtio-serial-pci", "id": "virtio-serial0", "bus": "BUS1", "addr": "ADDR1"}),
    ("-blockdev", {"driver": "file", "filename": DISK, "aio": "threads", "node-name": "libvirt-3-storage",
                   "cache": {"direct": False, "no-flush": False}, "auto-read-only": True, "discard": "unmap"}),
    ("-blockdev", {"node-name": "libvirt-3-format", "read-only": False, "discard": "unmap", "cache": {"direct": False, "no-flush": False},
                   "driver": "raw", "file": "libvirt-3-storage"}),
    ("-device", {"driver": "virtio-blk-pci", "bus": "BUS2", "addr": "ADDR2", "drive": "libvirt-3-format", "id": "virtio-disk0", "bootindex": 1,
                 "write-cache": "on", "serial": "VDA0001"}),
    ("-netdev", {"type": "user", "id": "hostnet0"}),
    ("-device", {"driver": "virtio-net-pci", "netdev": "hostnet0", "id": "net0", "mac": "52:54:00:00:00:01", "bus": "BUS3", "addr": "ADDR3"}),
    ("-chardev", "pty,id=charserial0"), ("-device", {"driver": "isa-serial", "chardev": "charserial0", "id": "serial0", "index": 0}),
    ("-chardev", "socket,id=charchannel0,fd=CHANNEL,server=on,wait=off"),
    ("-device", {"driver": "virtserialport", "bus": "virtio-serial0.0", "nr": 1, "chardev": "charchannel0", "id": "channel0",
                 "name": "org.qemu.guest_agent.0"}),
    ("-chardev", "pty,id=charconsole1"), ("-device", {"driver": "virtconsole", "chardev": "charconsole1", "id": "console1"}),
    ("-audiodev", {"id": "audio1", "driver": "none"}), ("-object", {"qom-type": "rng-random", "id": "objrng0", "filename": "/dev/urandom"}),
    ("-device", {"driver": "virtio-rng-pci", "rng": "objrng0", "id": "rng0", "bus": "BUS4", "addr": "ADDR4"}), ("-msg", "timestamp=on"),
]


def listen(name):
    s = socket.socket(socket.AF_UNIX)
    s.bind(f"{tmp.name}/{name}")
    s.listen(1)
    os.set_inheritable(s.fileno(), True)
    return s


class Domain:
    def __init__(self, machine, name):
        q35 = machine.startswith("pc-q35")
        self.monitor, self.channel = listen(f"{name}-monitor"), listen(f"{name}-channel")
        words = {"MACHINE": machine, "MONITOR": str(self.monitor.fileno()), "CHANNEL": str(self.channel.fileno())}
        for i in range(1, 5):
            words[f"BUS{i}"], words[f"ADDR{i}"] = (f"pci.{i}", "0x0") if q35 else ("pci.0", f"0x{i + 3}")
        args = ["-name", f"guest={name},debug-threads=on"]
        for item in DOMAIN:
            if item == "PORTS":
                for i in range(1, 6 if q35 else 0):
                    port = {"driver": "pcie-root-port", "port": 15 + i, "chassis": i, "id": f"pci.{i}", "bus": "pcie.0",
                            **({"multifunction": True, "addr": "0x2"} if i == 1 else {"addr": f"0x2.0x{i - 1}"})}
                    args += ["-device", json.dumps(port)]
                continue
            for word in item:
                word = json.dumps(word) if isinstance(word, dict) else word
                for key, value in words.items():
                    word = word.replace(key, value)
                args.append(word)
        self.p = subprocess.Popen([vm.BIN, *args], env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  pass_fds=(self.monitor.fileno(), self.channel.fileno()), cwd="/")
        self.monitor.close()
        self.channel.close()
        self.channel_path = f"{tmp.name}/{name}-channel"
        try:
            self.client = Client(f"{tmp.name}/{name}-monitor")
        except OSError as e:
            self.p.kill()
            raise AssertionError(f"{e}: {self.p.communicate()[0].decode()}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.p.stdout.close()


def dialogue(c):
    c.ok("qmp_capabilities")
    # libvirt asks for events whatever the list says, and gives the domain up when that is refused.
    same(c.ok("query-migrate-capabilities"), [{"capability": "events", "state": False}], "capabilities")
    c.ok("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]})
    same(c.ok("query-migrate-capabilities"), [{"capability": "events", "state": True}], "capabilities that were set")
    bad = c.raw("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": False}, {"capability": "xbzrle", "state": True}]})
    same(bad["error"]["desc"], "Parameter 'capability' does not accept value 'xbzrle'", "a capability that is not there")
    same(c.ok("query-migrate-capabilities"), [{"capability": "events", "state": True}], "capabilities after a refusal")
    chardevs = {x["label"]: x["filename"] for x in c.ok("query-chardev")}
    for label in ("charserial0", "charconsole1"):
        assert chardevs[label].startswith("pty:/dev/pts/"), chardevs
    assert {"charmonitor", "charchannel0"} <= set(chardevs), chardevs
    slots = c.ok("query-hotpluggable-cpus")
    assert all({"type", "vcpus-count", "props"} <= set(s) for s in slots), slots
    cpus = c.ok("query-cpus-fast")
    same([x["cpu-index"] for x in cpus], [0, 1], "CPUs")
    assert all(x["thread-id"] > 0 for x in cpus), cpus
    for m in c.ok("qom-list", {"path": cpus[0]["qom-path"]}):
        if m["type"] == "bool":
            assert isinstance(c.ok("qom-get", {"path": cpus[0]["qom-path"], "property": m["name"]}), bool), m
    same(c.ok("query-iothreads"), [], "iothreads")
    names = {x["name"]: x["type"] for x in c.ok("qom-list", {"path": "/machine/peripheral"})}
    same(names["virtio-disk0"], "child<virtio-blk-pci>", "virtio-disk0")
    nodes = c.ok("query-named-block-nodes", {"flat": True})
    same({n["node-name"]: n["image"]["virtual-size"] for n in nodes}, {"libvirt-3-format": 1 << 20, "libvirt-3-storage": 1 << 20}, "nodes")
    blocks = {b["qdev"]: b for b in c.ok("query-block")}
    same(list(blocks), ["/machine/peripheral/virtio-disk0/virtio-backend"], "qdev")
    same((blocks[list(blocks)[0]]["device"], c.ok("query-status")["status"]), ("", "prelaunch"), "device and state")
    c.ok("cont")
    c.event("RESUME")


def channel_plug(c):
    """attach-device and detach-device of a channel: a listening socket handed over, a port, and both gone again."""
    s = listen("plugged")
    c.ok("getfd", {"fdname": "channel1-source"}, fds=[s.fileno()])
    c.ok("chardev-add", {"id": "charchannel1", "backend": {"type": "socket", "data": {
        "addr": {"type": "fd", "data": {"str": "channel1-source"}}, "wait": False, "server": True}}})
    c.ok("device_add", {"driver": "virtserialport", "bus": "virtio-serial0.0", "nr": 3, "chardev": "charchannel1", "id": "channel1",
                        "name": "org.virtue.test"})
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(f"{tmp.name}/plugged")
    c.ok("device_del", {"id": "channel1"})
    same(c.event("DEVICE_DELETED")["data"], {"device": "channel1", "path": "/machine/peripheral/channel1"}, "DEVICE_DELETED")
    c.ok("chardev-remove", {"id": "charchannel1"})
    same("channel1" in [x["name"] for x in c.ok("qom-list", {"path": "/machine/peripheral"})], False, "channel1 is still there")
    peer.close()
    s.close()
    os.unlink(f"{tmp.name}/plugged")


def domain(machine, name):
    with Domain(machine, name) as d:
        c = d.client
        dialogue(c)
        c.ok("stop")
        c.event("STOP")
        c.ok("cont")
        c.event("RESUME")
        c.ok("system_reset")
        same(c.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"}, "RESET")
        c.ok("set_link", {"name": "net0", "up": False})
        stats = {b["qdev"]: b["stats"] for b in c.ok("query-blockstats")}
        assert {"rd_bytes", "wr_bytes", "rd_operations", "wr_operations"} <= set(stats["/machine/peripheral/virtio-disk0/virtio-backend"]), stats
        c.ok("block_resize", {"node-name": "libvirt-3-format", "size": 2 << 20})
        c.ok("block_resize", {"node-name": "libvirt-3-format", "size": 1 << 20})
        for kind in ({"qom-type": "iothread", "id": "iothread2"}, {"qom-type": "rng-random", "id": "objrng1", "filename": "/dev/urandom"}):
            c.ok("object-add", kind)
            c.ok("object-del", {"id": kind["id"]})
        channel_plug(c)
        agent = socket.socket(socket.AF_UNIX)
        agent.connect(d.channel_path)
        agent.close()
        same(c.ok("human-monitor-command", {"command-line": "info status"}), "VM status: running\r\n", "HMP")
        d.p.send_signal(signal.SIGTERM)
        same(c.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"}, "SHUTDOWN")
        same(d.p.wait(vm.TIMEOUT), 0, "exit status")


@test("a q35 domain: command line with inherited descriptors, start-up dialogue, operations, SIGTERM")
def q35():
    domain("pc-q35-7.2", "q35tcg")


@test("a pc domain: the same on conventional PCI")
def pc():
    domain("pc-i440fx-7.2", "i440tcg")


ACCEPTED = ["-no-acpi", "-no-hpet", "-rtc base=localtime,driftfix=slew", "-rtc base=2020-01-01T00:00:00", "-no-reboot",
            "-boot menu=on,splash-time=3000,reboot-timeout=5000,strict=on", "-fw_cfg name=opt/org.virtue/x,string=y",
            "-smbios type=0,vendor=a -smbios type=1,manufacturer=b,uuid=cd758f84-1e30-47c6-a135-21f25d327c25", "-display none",
            "-global kvm-pit.lost_tick_policy=delay", "-overcommit mem-lock=off", "-smp 1,maxcpus=2,sockets=2,cores=1,threads=1",
            "-chardev null,id=c0 -device isa-serial,chardev=c0,id=serial0,index=1", "-object rng-builtin,id=r0", "-cpu max",
            "-object memory-backend-memfd,id=m0,size=1048576,share=yes", "-netdev user,id=n0 -device virtio-net-pci,netdev=n0,mq=off,vectors=4",
            "-vnc 127.0.0.1:0,to=99,audiodev=audio1 -audiodev {\"id\":\"audio1\",\"driver\":\"none\"} -device virtio-vga,id=video0,max_outputs=1"]


@test("options that libvirt passes on demand are taken")
def accepted():
    for args in ACCEPTED:
        r = vm.run(["-M", "pc-q35-7.2,usb=off", "-accel", "qtest", "-nodefaults", "-S", "-monitor", "stdio", *args.split()], stdin="quit\n", timeout=20)
        same((r.rc, r.err), (0, ""), args)


REFUSED = [("-sandbox", "on,obsolete=deny"), ("-incoming", "defer"), ("-loadvm", "x"), ("-device", '{"driver":"qxl-vga"}'),
           ("-device", '{"driver":"qemu-xhci","id":"usb"}'), ("-spice", "port=1"), ("-tpmdev", "emulator,id=t")]


@test("what a domain may ask for and is not there is refused by name")
def refused():
    for option, value in REFUSED:
        r = vm.run(["-M", "q35", "-nodefaults", "-display", "none", "-S", option, value], timeout=20)
        if r.rc == 0:
            raise AssertionError(f"{option} {value} is taken now: take it out of this list and test it")
        assert r.rc == 1 and option in r.err and len(r.err.splitlines()) == 1, r.err


vm.main()

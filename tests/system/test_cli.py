#!/usr/bin/env python3
"""The command line: bad input gives one clear line and exit status 1, help exits 0, process options keep their promises.

A text marked OWN is ours alone; all others are compared with QEMU 10.0 where it is at hand."""
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile

import vm
from vm import Vm, run, same, test

BASE = ["-display", "none", "-nodefaults", "-S"]
OWN = object()
D = "file=DIR/disk,format=raw"

# Command line; first line's text behind "qemu-system-x86_64: " (": x" stands for "<command line>: x"); further: OWN, or hint lines.
ROWS = [
    ("-foo", ": invalid option"),
    ("--foo", ": invalid option"),
    ("-S=1", ": invalid option"),
    ("-device", ": requires an argument"),
    ("-m", ": requires an argument"),
    # devices
    ("-device foo", ": 'foo' is not a valid device model name"),
    ("-device driver", ": 'driver' is not a valid device model name"),
    ("-device pci-device", ": Parameter 'driver' expects a non-abstract device type"),
    ("-device virtio-blk-pci", ": drive property not set"),
    ("-device virtio-net-pci,foo=1", ": Property 'virtio-net-pci.foo' not found"),
    ("-device virtio-net-pci,mq=7x", ": Parameter 'mq' expects 'on' or 'off'"),
    ("-device virtio-rng-pci,vectors=x", ": Parameter 'vectors' expects integer"),
    ("-device virtio-blk-pci,drive=nope", ": Property 'virtio-blk-device.drive' can't find value 'nope'"),
    ("-device virtio-net-pci,netdev=zz", ": Property 'virtio-net-device.netdev' can't find value 'zz'"),
    ("-device virtio-rng-pci,rng=zz", ": Device 'zz' not found"),
    ("-device virtio-rng-pci,addr=99", ": Property 'virtio-rng-pci.addr' doesn't take value '99'"),
    ("-device virtio-rng-pci,bus=foo", ": Bus 'foo' not found"),
    ("-device virtio-rng-pci,id=1a", ": Parameter 'id' expects an identifier",
     "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."),
    ("-device virtio-rng-pci,addr=3 -device virtio-rng-pci,addr=3",
     "-device virtio-rng-pci,addr=3: PCI: slot 3 function 0 not available for virtio-rng-pci, in use by "
     "virtio-rng-pci,id=(null)"),
    ("-device virtio-rng-pci,id=a -device virtio-rng-pci,id=a", "-device virtio-rng-pci,id=a: Duplicate ID 'a' for device"),
    ("-device virtconsole", ": No 'virtio-serial-bus' bus found for device 'virtconsole'"),
    ("-device virtserialport", ": No 'virtio-serial-bus' bus found for device 'virtserialport'"),
    ("-device virtio-net-pci,rx_queue_size=300",
     ": Invalid rx_queue_size (= 300), must be a power of 2 between 256 and 1024."),
    ("-device virtio-rng-pci,disable-legacy=on,disable-modern=on",
     ": device cannot work as neither modern nor legacy mode is enabled", "Set either disable-modern or disable-legacy to off"),
    (f"-drive if=none,id=d,{D} -device virtio-blk-pci,drive=d,num-queues=0",
     "-device virtio-blk-pci,drive=d,num-queues=0: num-queues property must be larger than 0"),
    (f"-drive if=none,id=d,{D} -device virtio-blk-pci,drive=d,queue-size=3",
     "-device virtio-blk-pci,drive=d,queue-size=3: invalid queue-size property (3), must be a power of 2 (max 1024)"),
    (f"-drive if=none,id=d,{D} -device virtio-blk-pci,drive=d -device virtio-blk-pci,drive=d",
     "-device virtio-blk-pci,drive=d: Drive 'd' is already in use by another device"),
    ("-global virtio-rng-pci.foo=1 -device virtio-rng-pci",
     "-device virtio-rng-pci: can't apply global virtio-rng-pci.foo=1: Property 'virtio-rng-pci.foo' not found"),
    ("-set device.x.y=1", ': there is no device "x" defined'),
    # JSON
    ("-device '{\"driver\":\"virtio-rng-pci\",\"foo\":1}'", ": Property 'virtio-rng-pci.foo' not found"),
    ("-device '{\"driver\":\"virtio-rng-pci\"'", ": JSON parse error, premature EOI"),
    ("-object '{\"qom-type\":\"nope\"'", ": JSON parse error, premature EOI"),
    ("-blockdev '{\"driver\":'", ": JSON parse error, premature EOI"),
    ("-netdev '{\"type\":\"user\"'", ": JSON parse error, premature EOI"),
    # objects, networks
    ("-object nope,id=a", ": Parameter 'qom-type' does not accept value 'nope'"),
    ("-object rng-random", ": Parameter 'id' is missing"),
    ("-object rng-builtin,id=a -object rng-builtin,id=a", "-object rng-builtin,id=a: Duplicate ID 'a' for object"),
    ("-object rng-random,id=r,filename=/nope -device virtio-rng-pci,rng=r", "/nope", OWN),
    ("-object rng-egd,id=r", "-object rng-egd,id=r: Parameter 'chardev' is missing"),
    ("-object rng-egd,id=r,chardev=c", "Device 'c' not found", OWN),
    # sockets of the guest; the kernel's device is not there, or not used
    ("-device vhost-vsock-pci", "-device vhost-vsock-pci: guest-cid property must be greater than 2"),
    ("-device vhost-vsock-pci,guest-cid=4294967296", ": guest-cid property must be a 32-bit number"),
    ("-device vhost-vsock-pci,guest-cid=3", "vhost-vsock: ", OWN),
    ("-device virtio-vsock-pci,x-path=DIR/v", "-device virtio-vsock-pci,x-path=DIR/v: guest-cid property must be greater than 2", OWN),
    ("-device virtio-vsock-pci,guest-cid=4294967295,x-path=DIR/v", "guest-cid property must be a 32-bit number", OWN),
    ("-device virtio-vsock-pci,guest-cid=3", "-device virtio-vsock-pci,guest-cid=3: x-path property not set", OWN),
    ("-device virtio-vsock-pci,guest-cid=3,x-path=DIR/disk", "x-path: 'DIR/disk' is there and is not a socket", OWN),
    ("-device virtio-vsock-pci,guest-cid=3,x-path=DIR/no/v", "Failed to bind socket to DIR/no/v: No such file or directory", OWN),
    ("-device virtio-vsock-pci,guest-cid=3,x-path=DIR/v -device virtio-vsock-pci,guest-cid=4,x-path=DIR/v", "x-path: the socket 'DIR/v' is in use", OWN),
    (f"-device virtio-vsock-pci,guest-cid=3,x-path=/{'x' * 120}", "is too long, up to 96 bytes are possible", OWN),
    ("-netdev user", ": Parameter 'id' is missing"),
    ("-netdev nope,id=a", ": Parameter 'type' does not accept value 'nope'"),
    ("-netdev user,id=a -netdev user,id=a", "-netdev user,id=a: Duplicate ID 'a' for netdev"),
    ("-netdev user,id=a,foo=1", ": Invalid parameter 'foo'"),
    ("-nic foo", ": Parameter 'type' does not accept value 'foo'"),
    # disks
    ("-drive file=/nope,if=virtio,format=raw", ": Could not open '/nope': No such file or directory"),
    ("-drive file=DIR,if=virtio,format=raw", ": 'file' driver requires 'DIR' to be a regular file"),
    ("-drive file=DIR/disk,if=virtio,format=nope", ": Unknown driver 'nope'"),
    ("-drive if=nope", ": unsupported bus type 'nope'"),
    ("-drive if=none,id=a -drive if=none,id=a", "-drive if=none,id=a: Duplicate ID 'a' for drive"),
    ("-blockdev driver=file,node-name=a,filename=/nope", ": Could not open '/nope': No such file or directory"),
    ("-blockdev driver=nope,node-name=a", ": Parameter 'driver' does not accept value 'nope'"),
    ("-hda DIR/disk", "if=virtio", OWN),
    ("-hdb DIR/disk", "if=virtio", OWN),
    ("-cdrom DIR/disk", "if=virtio", OWN),
    (f"-drive {D}", "if=virtio", OWN),
    (f"-drive if=ide,{D}", "if=virtio", OWN),
    ("DIR/disk", "if=virtio", OWN),
    # machine, accelerator, CPU, memory
    ("-M nope", 'unsupported machine type: "nope"', "Use -machine help to list supported machines"),
    ("-M pc,foo=1", "Property 'pc-i440fx-10.0-machine.foo' not found"),
    ("-M pc,smm=maybe", "Parameter 'smm' does not accept value 'maybe'"),
    ("-accel tcg -M q35,accel=tcg", 'The -accel and "-machine accel=" options are incompatible'),
    ("-accel nope", ": invalid accelerator nope"),
    ("-accel tcg,foo=1", ": Property 'tcg-accel.foo' not found"),
    ("-accel kvm,foo=1", ": Property 'kvm-accel.foo' not found"),
    ("-accel kvm,kernel-irqchip=maybe", ": Parameter 'kernel-irqchip' does not accept value 'maybe'"),
    ("-cpu foo", "unable to find CPU model 'foo'"),
    ("-cpu ''", "-cpu option cannot be empty"),
    ("-cpu qemu64,+nope", "Property 'qemu64-x86_64-cpu.nope' not found"),
    ("-cpu qemu64,foo=1", "can't apply global qemu64-x86_64-cpu.foo=1: Property 'qemu64-x86_64-cpu.foo' not found"),
    ("-m abc", ": Parameter 'size' expects a non-negative number below 2^64",
     "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-", "and exabytes, respectively."),
    ("-m 1x", ": Parameter 'size' expects a non-negative number below 2^64",
     "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-", "and exabytes, respectively."),
    ("-m 99999999T", ": Value '99999999T' is out of range for parameter 'size'"),
    ("-smp 0", "Invalid CPU topology: CPU topology parameters must be greater than zero"),
    ("-smp abc", "Parameter 'smp.cpus' expects integer"),
    ("-smp 3,cores=2", "Invalid CPU topology: product of the hierarchy must match maxcpus: sockets (1) * dies (1) * "
     "modules (1) * cores (2) * threads (1) != maxcpus (3)"),
    ("-smp 300", "Invalid SMP CPUs 300. The max CPUs supported by machine 'pc-i440fx-10.0' is 255"),
    # boot
    ("-kernel /nope", "/nope", OWN),
    ("-kernel DIR/junk", "DIR/junk", OWN),
    ("-kernel DIR/elf", "DIR/elf", OWN),
    ("-kernel DIR/elf-short", "DIR/elf-short", OWN),
    ("-kernel DIR", "DIR", OWN),
    ("-initrd DIR/junk", "-initrd only allowed with -kernel option"),
    ("-append foo", "-append only allowed with -kernel option"),
    ("-bios /nope", "/nope", OWN),
    ("-boot order=z", "Invalid boot device 'z'"),
    ("-boot foo=1", "Parameter 'boot.foo' is unexpected"),
    ("-fw_cfg name=foo", ": name, plus exactly one of file, string and gen_id, are needed"),
    ("-smbios type=999", ": out of range!"),
    ("-uuid foo", ": failed to parse UUID string: wrong format"),
    ("-name foo=1", ": Invalid parameter 'foo'"),
    ("-rtc base=foo", "invalid datetime format", "valid formats: '2006-06-17T16:01:21' or '2006-06-17'"),
    # character devices, monitors, the host's side
    ("-chardev foo,id=a", ": 'foo' is not a valid char driver name"),
    ("-chardev null", ": chardev: no id specified"),
    ("-chardev null,id=a -chardev null,id=a", "-chardev null,id=a: Duplicate ID 'a' for chardev"),
    ("-chardev socket,id=a,path=/nope/x", ": Failed to connect to '/nope/x': No such file or directory"),
    ("-chardev file,id=a,path=/nope/x", ": Could not open '/nope/x': No such file or directory"),
    ("-serial foo", ": 'foo' is not a valid char driver", OWN),
    ("-monitor foo", ": 'foo' is not a valid char driver", OWN),
    ("-qmp foo", ": 'foo' is not a valid char driver", OWN),
    ("-gdb foo", ": 'foo' is not a valid char driver", OWN),
    ("-mon chardev=nope", ': chardev "nope" not found'),
    ("-mon mode=control", ": Parameter 'chardev' is missing"),
    ("-mon chardev=x,mode=foo", ": Parameter 'mode' does not accept value 'foo'"),
    ("-object foo", ": Parameter 'qom-type' does not accept value 'foo'"),
    ("-M q35 -boot splash-time=-1", "splash-time is invalid,it should be a value between 0 and 65535"),
    ("-M q35 -boot splash-time=70000", "splash-time is invalid,it should be a value between 0 and 65535"),
    ("-M pc -boot reboot-timeout=-2", "reboot timeout is invalid,it should be a value between -1 and 65535"),
    ("-M pc -boot reboot-timeout=70000", "reboot timeout is invalid,it should be a value between -1 and 65535"),
    ("-qmp unix:/nope/x,server=on,wait=off", ": Failed to bind socket to /nope/x: No such file or directory"),
    ("-qmp tcp:127.0.0.1:PORT,server=on,wait=off", ": Failed to find an available port: Address already in use"),
    ("-serial tcp:127.0.0.1:PORT,server=on,wait=off", "Address already in use", OWN),
    ("-gdb tcp:127.0.0.1:PORT", "Address already in use", OWN),
    ("-netdev user,id=n,hostfwd=tcp:127.0.0.1:PORT-:22", ": Could not set up host forwarding rule 'tcp:127.0.0.1:PORT-:22'"),
    ("-display foo", ": Parameter 'type' does not accept value 'foo'"),
    ("-netdev hubport,id=a,hubid=0,netdev=nope", ": netdev 'nope' not found"),
    ("-netdev user,id=u -netdev hubport,id=a,hubid=0,netdev=u -netdev hubport,id=b,hubid=0,netdev=u",
     "-netdev hubport,id=b,hubid=0,netdev=u: netdev 'u' is in use", OWN),
    ("-chardev null,id=a -serial chardev:a -serial chardev:a", "-serial chardev:a: chardev 'a' is already in use", OWN),
    ("-chardev null,id=a -serial chardev:a -device isa-serial,chardev=a", "chardev 'a' is already in use", OWN),
    ("-machine pc,usb=on", "usb=on is not available: there is no USB controller", OWN),
    ("-machine q35,usb=on", "usb=on is not available: there is no USB controller", OWN),
    ("-machine q35,sata=on", "sata=on is not available: there is no SATA controller", OWN),
    ("-audiodev nope,id=a", "Parameter 'driver' does not accept value 'nope'", OWN),
    ('-audiodev \'{"driver":"none"}\'', "Parameter 'id' is missing", OWN),
    ("-object secret,id=s", "Either 'file' or 'data' must be provided", OWN),
    ("-object secret,id=s,data=x,file=DIR/disk", "'file' and 'data' are mutually exclusive", OWN),
    ("-object secret,id=s,file=/nope", "Unable to read /nope: ", OWN),
    ("-object secret,id=s,data=x!,format=base64", "Base64 data contains invalid characters", OWN),
    ("-object secret,id=s,data=x,format=zz", ": Parameter 'format' does not accept value 'zz'"),
    ("-object secret,id=s,data=eA==,format=base64,keyid=k", "encrypted secrets (keyid, iv) are not available", OWN),
    ("-add-fd fd=1,set=1", ": fd cannot be a standard I/O stream"),
    ("-add-fd fd=99,set=1", ": fd is not valid or already in use"),
    ("-add-fd set=1", ": fd option is required and must be non-negative"),
    ("-add-fd fd=77", ": fd is not valid or already in use"),
    ("-add-fd fd=77,set=2,foo=1", ": Invalid parameter 'foo'"),
    ("-chardev file,id=a,path=/dev/fdset/3", ": Could not open '/dev/fdset/3': No such file or directory"),
    ("-D /nope/x -d guest_errors", "/nope/x", OWN),
    ("-d foo", "foo", OWN),
    ("-pidfile /nope/x", "cannot create PID file: Could not create '/nope/x': No such file or directory"),
]

tmp = tempfile.TemporaryDirectory(prefix="virtue-cli-")
busy = socket.create_server(("127.0.0.1", 0))
PORT = str(busy.getsockname()[1])


def fill():
    def put(name, data):
        with open(f"{tmp.name}/{name}", "wb") as f:
            f.write(data)
    put("disk", bytes(1 << 20))
    put("junk", b"this is no kernel\n" * 100)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    put("elf-short", head)
    # A program header behind the file's end, and one whose segment is longer than the file.
    put("elf", head + (2).to_bytes(2, "little") + (62).to_bytes(2, "little") + (1).to_bytes(4, "little")
        + (0x100000).to_bytes(8, "little") + (64).to_bytes(8, "little") + bytes(12) + (64).to_bytes(2, "little")
        + (56).to_bytes(2, "little") + (1).to_bytes(2, "little") + bytes(6)
        + (1).to_bytes(4, "little") + bytes(4) + (120).to_bytes(8, "little") + (0x100000).to_bytes(8, "little") * 2
        + (1 << 40).to_bytes(8, "little") * 2 + (4096).to_bytes(8, "little"))


def place(text):
    return text.replace("DIR", tmp.name).replace("PORT", PORT)


def command(row):
    return shlex.split(place(row[0]))


def bad(row):
    args, text = command(row), place(row[1])
    hints = [h for h in row[2:] if h is not OWN]
    r = run([*BASE, *args], timeout=15)
    same(r.out, "", "standard output")
    lines = r.err.splitlines()
    assert lines, f"no message, exit status {r.rc}"
    same(r.rc, 1, f"exit status (said {r.err!r})")
    assert lines[0].startswith("qemu-system-x86_64: "), f"prefix: {lines[0]}"
    if OWN in row:
        same(len(lines), 1, f"lines of {r.err!r}")
        want = text[2:] if text.startswith(": ") else text
        assert want in lines[0], f"{lines[0]!r} does not say {want!r}"
        return
    want = [f"qemu-system-x86_64: {' '.join(args)}{text}" if text.startswith(": ") else f"qemu-system-x86_64: {text}", *hints]
    same(lines, want, "message")


def oracle_says(row):
    theirs = run([*BASE, *command(row)], binary=vm.oracle())
    ours = run([*BASE, *command(row)])
    same((ours.rc, ours.err), (theirs.rc, theirs.err), "ours (got) and QEMU 10.0's (want)")


HELP = [
    ("-version", r"QEMU emulator version 10\.0\.\d+"), ("--version", r"QEMU emulator version 10\.0\.\d+"),
    ("-help", r"-device driver"), ("-h", r"-device driver"), ("--help", r"-device driver"),
    ("-device help", r'name "virtio-blk-pci", bus PCI'), ("-device ?", r'name "virtio-blk-pci"'),
    ("-device virtio-blk-pci,help", r"drive=<"), ("-device virtio-net-pci,?", r"netdev=<"),
    ("-machine help", r"(?m)^pc-q35-10\.0 +"), ("-M ?", r"(?m)^q35 +.*alias of pc-q35-10\.0"), ("-M pc,help", r"smm=<"),
    ("-accel help", r"(?m)^tcg$"), ("-cpu help", r"qemu64"), ("-netdev help", r"(?m)^user$"), ("-chardev help", r"socket"),
    ("-object help", r"rng-random"), ("-object rng-random,help", r"filename=<"), ("-d help", r"guest_errors"),
    ("-nic help", r"(?s)\AAvailable netdev backend types:\n.*user\n.*\n\nAvailable NIC models \(use -nic model=help for a filtered list\):\n"
     r".*\nvirtio-net-pci\n"), ("-nic model=help", r"(?s)\AAvailable NIC models for this configuration:\n.*\nvirtio-net-pci \(aka virtio\)\n"),
    ("-nic user,model=help", r"virtio-net-pci"), ("-net help", r"\AAvailable netdev backend types:\n"), ("-net nic,model=?", r"\nvirtio-net-pci"),
    ("-audiodev help", r"\AAvailable audio drivers:\nnone\n"), ("-boot help", r"strict=<"),
    ("-M none -accel help", r"(?m)^tcg$"), ("-M none -netdev help", r"(?m)^user$"),
]


def helps(args, pattern):
    r = run(shlex.split(args))
    same((r.rc, r.err), (0, ""), "exit status and standard error")
    assert re.search(pattern, r.out), f"no {pattern} in\n{r.out[:2000]}"


@test("process/sigterm: exit status 0 and a message that names the sender")
def sigterm():
    with Vm(["-nodefaults", "-accel", "qtest"]) as v:
        same(v.terminate(), 0, "exit status")
        e = v.qmp.event("SHUTDOWN")
        same(e["data"], {"guest": False, "reason": "host-signal"}, "SHUTDOWN's data")
        m = re.search(r"^qemu-system-x86_64: terminating on signal 15 from pid (\d+) \((.*)\)$", v.text(), re.M)
        assert m and int(m[1]) == os.getpid(), v.text()


@test("process/sigint and sighup: exit status 0")
def sigint():
    for sig in (signal.SIGINT, signal.SIGHUP):
        with Vm(["-nodefaults", "-accel", "qtest"]) as v:
            v.p.send_signal(sig)
            same(v.wait(), 0, "exit status")
            assert f"terminating on signal {int(sig)}" in v.text(), v.text()


@test("process/daemonize: socket listens and pidfile is written before the parent exits")
def daemonize():
    d = tempfile.mkdtemp(dir=tmp.name)
    r = subprocess.run([vm.BIN, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg",
                        "-qmp", f"unix:{d}/qmp.monitor,server=on,wait=off", "-pidfile", f"{d}/qmp.pid", "-daemonize"],
                       cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env={"LC_ALL": "C", "PATH": os.environ["PATH"], "HOME": d}, timeout=vm.TIMEOUT, check=False)
    # The pipes being at their end also shows that the child released them.
    said = [l for l in r.stderr.decode().splitlines() if not re.search("kvm|KVM|: falling back to tcg$", l)]
    same((r.returncode, r.stdout, said), (0, b"", []), "parent")
    with open(f"{d}/qmp.pid", encoding="ascii") as f:
        text = f.read()
    assert re.fullmatch(r"\d+\n", text), f"pidfile {text!r}"
    pid = os.pidfd_open(int(text))
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(f"{d}/qmp.monitor")
        q = vm.Qmp(s)
        same(q.ok("query-target"), {"arch": "x86_64"}, "query-target")
        signal.pidfd_send_signal(pid, signal.SIGTERM)
        same(q.event("SHUTDOWN")["data"]["reason"], "host-signal", "reason")
        vm.until("removal of the pidfile", lambda: not os.path.exists(f"{d}/qmp.pid"))
    finally:
        s.close()
        try:
            signal.pidfd_send_signal(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(pid)


@test("process/daemonize: an error is the parent's, on its standard error, status 1")
def daemonize_error():
    r = run(["-daemonize", "-nodefaults", "-display", "none", "-drive", "if=virtio,file=/nope,format=raw"])
    same(r.rc, 1, "exit status")
    assert "Could not open '/nope'" in r.err, r.err


@test("process/pidfile: holds the pid, is gone at the end")
def pidfile():
    path = f"{tmp.name}/pid"
    with Vm(["-nodefaults", "-accel", "qtest", "-pidfile", path]) as v:
        with open(path, encoding="ascii") as f:
            same(f.read(), f"{v.p.pid}\n", "pidfile")
        same(v.terminate(), 0, "exit status")
        assert not os.path.exists(path), "pidfile is left"


@test("process/-S: prelaunch until cont")
def start_stopped():
    with Vm(["-nodefaults", "-accel", "qtest", "-S"]) as v:
        same(v.qmp.ok("query-status"), {"status": "prelaunch", "running": False}, "status")
        v.qmp.ok("cont")
        v.qmp.event("RESUME")
        same(v.qmp.ok("query-status"), {"status": "running", "running": True}, "status")


@test("process/-no-shutdown: a guest's power-off stops the machine, the process stays")
def no_shutdown():
    for machine in ("pc", "q35"):
        with Vm(["-M", machine, "-nodefaults", "-accel", "qtest", "-no-shutdown"], qtest=True) as v:
            v.qtest.power_off(machine)
            same(v.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-shutdown"}, "SHUTDOWN")
            v.qmp.event("STOP")
            same(v.qmp.ok("query-status"), {"status": "shutdown", "running": False}, "status")
            same(v.terminate(), 0, "exit status")


@test("process/guest's power-off ends the process with status 0")
def shutdown():
    for machine in ("pc", "q35"):
        with Vm(["-M", machine, "-nodefaults", "-accel", "qtest"], qtest=True) as v:
            v.qtest.power_off(machine, answered=False)
            same(v.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-shutdown"}, "SHUTDOWN")
            same(v.wait(), 0, "exit status")


@test("process/-no-reboot: a guest's reset ends the process with status 0")
def no_reboot():
    with Vm(["-nodefaults", "-accel", "qtest", "-no-reboot"], qtest=True) as v:
        v.qtest.send("outb 0xcf9 0x6")
        same(v.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-reset"}, "SHUTDOWN")
        same(v.wait(), 0, "exit status")


@test("process/a guest's reset without -no-reboot resets")
def reboot():
    with Vm(["-nodefaults", "-accel", "qtest"], qtest=True) as v:
        v.qtest.outb(0xcf9, 6)
        same(v.qmp.event("RESET")["data"], {"guest": True, "reason": "guest-reset"}, "RESET")
        same(v.qmp.ok("query-status"), {"status": "running", "running": True}, "status")


# What leads nowhere is said, and said as QEMU 10.0 says it.
WIRES = ["-netdev hubport,hubid=0,id=a", "-netdev hubport,hubid=0,id=a -netdev hubport,hubid=0,id=b",
         "-netdev hubport,hubid=0,id=a -device virtio-net-pci,netdev=a", "-netdev user,id=a", "-device virtio-net-pci",
         "-device virtio-net-pci,id=x", "-nic user", "-nic none", "-nic hubport,hubid=3",
         "-netdev user,id=u -netdev hubport,hubid=0,id=a,netdev=u -netdev hubport,hubid=0,id=b -device virtio-net-pci,netdev=b",
         "-netdev user,id=u -netdev hubport,hubid=0,id=a,netdev=u",
         "-netdev hubport,hubid=0,id=b -netdev hubport,hubid=1,id=c -device virtio-net-pci,netdev=b"]


def wires(text):
    said = []
    for binary in (None, vm.oracle()):
        r = run([*BASE, "-M", "q35", "-monitor", "stdio", *shlex.split(text)], binary=binary, stdin="quit\n")
        same(r.rc, 0, f"exit status, {r.err}")
        said.append([line for line in r.err.splitlines() if "warning:" in line])
    same(said[0], said[1], "warnings")


@test("process/a secret's data is not shown again")
def secret():
    with Vm(["-M", "none", "-nodefaults", "-object", "secret,id=s,data=hunter2"]) as v:
        assert "hunter2" not in str([v.qmp.cmd("qom-get", path="/objects/s", property="data"), v.qmp.hmp("info qom-tree /objects")])
        v.qmp.ok("object-del", id="s")


def register():
    fill()
    for text in WIRES:
        vm.TESTS.append((f"as QEMU 10.0/wires: {text}", lambda text=text: wires(text)))
    for row in ROWS:
        vm.TESTS.append((f"bad input/{row[0]}", lambda row=row: bad(row)))
    for row in ROWS:
        if OWN not in row:
            vm.TESTS.append((f"as QEMU 10.0/{row[0]}", lambda row=row: oracle_says(row)))
    for args, pattern in HELP:
        vm.TESTS.append((f"help/{args}", lambda a=args, p=pattern: helps(a, p)))


register()
vm.main()

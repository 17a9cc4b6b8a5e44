#!/usr/bin/env python3
"""Storage that is used wrongly, and the ways an image can be opened: the same words and the same answers as QEMU 10.0's, one table each.
A table is one session: blockdev-add, drive_add and device_add refuse in the words of -blockdev, -drive and -device."""
import ctypes
import json
import os
import struct
import subprocess
import sys

import qtest
import vm
from qtest import Blk
from test_block import SIZE, blk, content, image, start, tmp
from test_qcow2 import range_request
from vm import Skip, same, test

FILE, ODD, QCOW, BASE = image(), image("odd", 1000), f"{tmp.name}/q.qcow2", f"{tmp.name}/b.qcow2"


def qcow2():
    try:
        for args in ([BASE, "1M"], ["-b", "b.qcow2", "-F", "qcow2", QCOW], ["-u", "-b", "nope.qcow2", "-F", "qcow2", f"{tmp.name}/gone.qcow2", "1M"]):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args], check=True)
    except FileNotFoundError:
        raise Skip("no qemu-img (package qemu-utils)") from None
    with open(QCOW, "rb") as f, open(f"{tmp.name}/short.qcow2", "wb") as short:
        short.write(f.read(100))


F = {"driver": "file", "filename": FILE}
LIMITS = [{"align": 3}, {"align": -1}, {"align": 1 << 40}, {"max-transfer": 1000}, {"align": 1024, "max-discard": 1536},
          {"align": 512, "opt-discard": 700}, {"align": 512, "opt-write-zero": 1024, "max-write-zero": 1536}, {"opt-write-zero": 1000}]
NODES = [{**F, "node-name": None}, {"driver": "nope"}, {}, {"filename": FILE}, {**F, "nope": 1}, {**F, "filename": "/nope/x"}, {**F, "filename": tmp.name},
         {**F, "locking": "nope"}, {**F, "aio": "nope"}, {**F, "aio": "native"}, {**F, "cache": {"nope": True}}, {**F, "read-only": "x"},
         {**F, "node-name": "1d"}, {**F, "node-name": "d" * 32}, {**F, "node-name": "d" * 31}, {**F, "force-share": True}, {**F, "discard": "x"},
         {**F, "detect-zeroes": "x"}, {**F, "driver": "host_device"}, {"driver": "host_device", "filename": "/nope"},
         {"driver": "raw"}, {"driver": "raw", "file": "nope"}, {"driver": "raw", "file": {"driver": "file"}}, {"driver": "raw", "file": {**F, "read-only": "x"}},
         {"driver": "raw", "file": {"driver": "raw", "file": {}}}, {"driver": "qcow2", "file": {**F, "filename": QCOW}, "backing": {"driver": "file"}}, {"driver": "raw", "file": F, "nope": 1}, {"driver": "raw", "file": F, "offset": 2 * SIZE},
         {"driver": "raw", "file": F, "size": 2 * SIZE}, {"driver": "raw", "file": F, "offset": -1}, {"driver": "raw", "file": F, "size": 1000},
         {"driver": "raw", "file": F, "offset": 512, "size": SIZE}, {"driver": "raw", "file": {**F, "nope": 1}}, {"driver": "raw", "file": {"driver": "x"}},
         {"driver": "raw", "file": F, "backing": "x"}, {"driver": "qcow2", "file": F}, {"driver": "qcow2", "file": {**F, "filename": QCOW}, "nope": 1},
         {"driver": "qcow2", "file": {**F, "filename": QCOW}, "backing": "nope"}, {"driver": "qcow2", "file": {**F, "filename": f"{tmp.name}/gone.qcow2"}},
         {"driver": "qcow2", "file": {**F, "filename": f"{tmp.name}/short.qcow2"}}, {"driver": "throttle", "throttle-group": "x", "file": F},
         {"driver": "throttle", "file": F}, {"driver": "null-co", "latency-ns": -1}, {"driver": "null-co", "nope": 1},
         {"driver": "blkdebug", "image": F, "inject-error": [{"event": "nope"}]}, {"driver": "blkdebug"},
         *({"driver": "blkdebug", "image": F, **limits} for limits in LIMITS)]
DRIVES = ["file=/nope/x", f"file={tmp.name}", "file=", f"format=qcow2,file={FILE}", f"format=nope,file={FILE}", f"file={FILE},nope=1",
          f"file={FILE},cache=nope", f"file={FILE},aio=nope", f"file={FILE},aio=native", f"file={FILE},aio=native,cache=unsafe",
          f"file={FILE},discard=nope", f"file={FILE},detect-zeroes=nope", f"file={FILE},media=nope", f"file={FILE},readonly=nope", f"file={FILE},werror=x",
          f"file={FILE},rerror=x", f"file={FILE},rerror=enospc", "file.driver=nope", "file.driver=file", f"file.driver=file,file.filename={FILE},file.nope=1",
          f"format=qcow2,file={tmp.name}/gone.qcow2", f"file={FILE},bps=1,bps_rd=1", f"file=blkdebug:/nope:{FILE}", f"file={FILE},offset=2M",
          f"file={ODD},size=1000", f"file={FILE},stats-account-failed=x"]
DISK = ["drive=nope", "num-queues=0", "queue-size=2", "queue-size=3", "queue-size=2048", "max-discard-sectors=0", "max-discard-sectors=9999999",
        "max-write-zeroes-sectors=0", "logical_block_size=100", "logical_block_size=4096", "logical_block_size=4M", "physical_block_size=100", "min_io_size=1",
        "opt_io_size=1", "discard_granularity=1", "cyls=70000,heads=16,secs=63", "heads=300,cyls=10,secs=63", "cyls=1", "iothread=nope", "bootindex=x",
        "write-cache=x", "werror=x", "rerror=enospc", "nope=1", "scsi=on", "share-rw=x"]
HOST = ["num_queues=0", "num_queues=5000", "virtqueue_size=2", "cmd_per_lun=x", "max_sectors=x", "iothread=nope", "nope=1", "hotplug=x"]
UNIT = ["drive=nope", "scsi-id=256", "lun=20000", "channel=1", "rotation_rate=x", "wwn=x", "port_index=70000", f"serial={'0' * 37}", "scsi_version=x",
        "max_unmap_size=x", "dpofua=x", "removable=x", "logical_block_size=100", "nope=1", "werror=x", "write-cache=x"]


def refusals(binary):
    log = []
    base = ["-drive", f"if=none,id=base,format=raw,file={FILE},file.locking=off", "-device", "virtio-scsi-pci,id=s"]
    with start(base, binary) as v:
        for node in NODES:
            args = {k: x for k, x in {"node-name": "d", **node}.items() if x is not None}
            log.append((json.dumps(node), v.qmp.cmd("blockdev-add", args).get("error", {}).get("desc")))
            v.qmp.cmd("blockdev-del", {"node-name": args.get("node-name", "d")})
        for drive in DRIVES:
            what = drive if "format=" in drive else f"{drive},format=raw"
            log.append((drive, v.qmp.hmp(f"drive_add 0 if=none,id=d,{what}").strip()))
            v.qmp.hmp("drive_del d")
        for device, rows in (("virtio-blk-pci", DISK), ("virtio-scsi-pci", HOST), ("scsi-hd", UNIT)):
            drive = {"virtio-scsi-pci": ""}.get(device, "drive=base,")
            for row in rows:
                log.append((device, row, v.qmp.hmp(f"device_add {device},id=x,{'' if row.startswith('drive') else drive}{row}").strip()))
    return log


@test("wrong values, missing files and back ends: QEMU 10.0's words, and nothing is left behind")
def wrong_values():
    qcow2()
    ours, theirs = refusals(None), refusals(vm.oracle())
    bad = [f"{o}\n  QEMU {t[-1]}" for o, t in zip(ours, theirs) if o != t]
    assert not bad and len(ours) == len(theirs), "\n" + "\n".join(bad)


# ---- images that somebody else has, or that must not be written ----

OTHERS = [("", ""), ("", ",readonly=on"), (",readonly=on", ""), (",readonly=on", ",readonly=on"), (",file.locking=off", ""), ("", ",file.locking=off"),
          ("", ",readonly=on,force-share=on"), (",share-rw", ",share-rw"), (",share-rw", "")]


def second(first, args):
    """What an emulator says that opens an image which another one has."""
    drive, share = args.replace(",share-rw", ""), ",share-rw=on" if "share-rw" in args else ""
    mode = ["-accel", "tcg"] if first else ["-accel", "qtest"]
    return vm.run([*mode, "-display", "none", "-nodefaults", "-S", "-monitor", "none", "-qmp", "stdio", "-drive", f"if=none,id=d,format=raw,file={FILE}{drive}",
                   "-device", f"virtio-blk-pci,drive=d{share}"], binary=first, stdin='{"execute":"qmp_capabilities"}{"execute":"quit"}')


@test("locks: who may open an image that another has, ours beside ours and beside QEMU 10.0, the words are QEMU's")
def locks():
    for held, wanted in OTHERS:
        share = ",share-rw=on" if "share-rw" in held else ""
        with start(["-drive", f"if=none,id=d,format=raw,file={FILE}{held.replace(',share-rw', '')}", "-device", f"virtio-blk-pci,drive=d{share}"]):
            ours, theirs = second(None, wanted), second(vm.oracle(), wanted)
            same((ours.rc, ours.err), (theirs.rc, theirs.err), f"held by {held or 'a plain drive'}, wanted by {wanted or 'a plain drive'}")


@test("an image that may not be written: refused, or read-only by auto-read-only; a write is the guest's I/O error")
def read_only():
    path = image("ro")
    os.chmod(path, 0o444)
    os.chmod(tmp.name, 0o755)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else ["env"]
    node = json.dumps({"driver": "file", "node-name": "d", "filename": path})
    r = vm.run([*drop[1:], vm.BIN, "-accel", "qtest", "-display", "none", "-nodefaults", "-S", "-monitor", "none", "-blockdev", node], binary=drop[0])
    same((r.rc, r.err), (1, f"{os.path.basename(vm.BIN)}: -blockdev {node}: Could not open '{path}': Permission denied\n"), "without auto-read-only")
    with vm.Vm(["-accel", "qtest", "-M", "pc-i440fx-10.0", "-nodefaults", "-drive", f"if=none,id=r,format=raw,file={path}",
                "-device", "virtio-blk-pci,drive=r,addr=4"], qtest=True, wrap=drop) as v:
        same(v.qmp.ok("query-block")[0]["inserted"]["ro"], True, "auto-read-only")
        b = blk(v)
        assert b.dev.features() >> 5 & 1, "RO is offered"
        same((b.write(0, b"x" * 512), b.read(0, 512)[0]), (Blk.IOERR, Blk.OK), "a write, a read")


@test("a full disk: the VM stops, goes on when there is room, nothing is lost")
def full():
    script = f"mount -t tmpfs -o size=64k none {tmp.name}/full && truncate -s 1M {tmp.name}/full/d && exec \"$@\""
    wrap = [*([] if os.getuid() == 0 else ["unshare", "-Ur", "--"]), "unshare", "-m", "--", "sh", "-c", script, "sh"]
    os.makedirs(f"{tmp.name}/full", exist_ok=True)
    if subprocess.run([*wrap, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no file system can be mounted here")
    with vm.Vm(["-accel", "qtest", "-M", "pc-i440fx-10.0", "-nodefaults", "-drive", f"if=none,id=r,format=raw,discard=unmap,file={tmp.name}/full/d",
                "-device", "virtio-blk-pci,drive=r,addr=4,id=vb"], qtest=True, wrap=wrap) as v:
        b = blk(v)
        for i in range(12):
            same(b.write(8 * i, bytes([i + 1]) * 4096), Blk.OK, "while there is room")
        for i in range(12, 24):
            b.submit(Blk.OUT, 8 * i, bytes([i + 1]) * 4096)
            vm.until("an answer or a stop", lambda: b.q.get(b.status, 1) != 0xff or v.qmp.ok("query-status")["status"] == "io-error")
            if b.q.get(b.status, 1) == 0xff:
                break
            same(b.finish(), Blk.OK, "while there is room")
        e = v.qmp.event("BLOCK_IO_ERROR")["data"]
        same((e["operation"], e["action"], e["nospace"]), ("write", "stop", True), "the event")
        v.qmp.event("STOP")
        same(v.qmp.ok("query-block")[0]["io-status"], "nospace", "io-status")
        subprocess.run(["nsenter", "-t", str(v.p.pid), "-m", *(["-U"] if os.getuid() else []), "mount", "-o", "remount,size=1M", f"{tmp.name}/full"], check=True)
        v.qmp.ok("cont")
        same(b.finish(), Blk.OK, "the request that was kept")
        for k in range(i + 1):
            same(b.read(8 * k, 4096)[1], bytes([k + 1]) * 4096, f"block {k}")


# ---- a format that was guessed from bytes that a guest may write ----

def probed(binary, fmt):
    """What is said, and what a guest's writes come to."""
    path = image("probed")
    with open(QCOW, "rb") as f:
        head = f.read(512)
    with start(["-drive", f"if=none,id=r,file={path}{fmt}", "-device", "virtio-blk-pci,drive=r,addr=4,werror=report,request-merging=off"], binary) as v:
        b = blk(v)
        return v.text(), [b.write(sector, data) for sector, data in
                          ((0, b"boot" * 128), (0, head), (1, head), (0, head + bytes(512)), (0, b"KDMV" + bytes(508)), (0, b"conectix" + bytes(504)),
                           (0, b"\x7fELF" + bytes(508)))], content(path, 0, 8), content(path, 512, 4)


@test("a raw image whose format was guessed: QEMU 10.0's warning, and no header of another format gets into its first sector")
def guessed():
    qcow2()
    for fmt in ("", ",format=raw"):
        ours, theirs = probed(None, fmt), probed(vm.oracle(), fmt)
        same(ours, theirs, fmt or "no format")
    same(ours[1], [0] * 7, "format=raw")


# ---- how an image is opened ----

def no_uring():
    """Runs what follows with io_uring_setup not permitted (seccomp)."""
    libc = ctypes.CDLL(None, use_errno=True)
    # BPF: load the number; is it 425 (io_uring_setup)? then EPERM, else go on.
    code = b"".join(struct.pack("HBBI", *i) for i in [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)])
    buf = ctypes.create_string_buffer(code)
    filt = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(buf)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(filt)) == 0, "seccomp"
    os.execv(sys.argv[2], sys.argv[2:])


def odd_requests(b):
    """Data at odd addresses of guest memory, of a sector and of many: what was written is read back."""
    q, mem = b.q, b.q.alloc(40000)
    for at, sector, n in ((3, 1, 1), (513, 7, 5), (4095, 100, 65)):
        data = os.urandom(512 * n)
        for kind, head in ((Blk.OUT, 1), (Blk.IN, 0)):
            q.write(b.head, kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little"))
            q.write(mem + at, data if head else bytes(len(data)))
            out, into = [(b.head, 16)], [(b.status, 1)]
            (out.append if head else lambda x: into.insert(0, x))((mem + at, len(data)))
            b.queue.add(out, into)
            b.queue.kick()
            same(b.finish(), Blk.OK, f"{n} sectors at address +{at}")
        same(q.read(mem + at, len(data)), data, f"{n} sectors at address +{at}")
        yield sector, data


# {}: an image of its own, {q}: a qcow2 one whose backing file is {b}.
SPELLED = ["file={},format=raw,cache.direct=on", "file={},format=raw,cache.writeback=off", "file={},format=raw,cache.no-flush=on",
           "file={},format=raw,cache=none,cache.direct=off", "file={},format=raw,cache=unsafe,cache.writeback=off", "file={},format=raw,file.cache.direct=on",
           "file={},format=raw,node-name=top,file.node-name=below", "file={},driver=raw,file.aio-max-batch=4,file.drop-cache=on",
           "driver=raw,file.filename={}", "driver=raw,file.driver=file,file.filename={},offset=512,size=1024", "driver=qcow2,file.filename={q}",
           "file={q},format=qcow2,backing.file.filename={b}", "file={q},format=qcow2,backing.driver=qcow2,backing.file.filename={b}",
           "driver=null-co,size=1M", "driver=null-co,size=1M,read-zeroes=on,node-name=n0", "file=null-co://,format=raw", "driver=file,filename={}", "file={},format=file",
           "format=raw,file.driver=blkdebug,file.image.filename={},file.inject-error.0.event=read_aio", "file=blkdebug::{},format=raw",
           'file=json:{{"driver": "null-co",, "size": 65536}}', 'file=json:{{"driver": "raw",, "file": {{"driver": "file",, "filename": "{}"}}}}',
           'file=json:{{"driver": "qcow2",, "file": {{"driver": "file",, "filename": "{q}"}},, "backing": null}}',
           'format=raw,file=json:{{"driver": "qcow2",, "file.filename": "{}"}},readonly=on']
MISSPELLED = ["file={},format=raw,driver=raw", "file=json:5,format=raw", "file=json:{{,format=raw", 'file=json:{{"driver": "nope"}}', "driver=nope,file={}",
              "driver=null-co,nope=1", "driver=raw,file.nope=1,file.filename={}", "driver=qcow2,file.filename={}", "driver=qcow2", "node-name=1,file={},format=raw",
              "file={},format=raw,cache.direct=x", "file={q},format=qcow2,backing.file.filename=/nope/x", "file={},format=raw,node-name=base"]


def spelling(binary):
    """What query-block says of each drive; what is said of those that cannot be."""
    os.makedirs(f"{tmp.name}/spelled", exist_ok=True)
    args, b = ["-blockdev", "null-co,node-name=base"], f"{tmp.name}/spelled/b.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", b, "1M"], check=True)
    for i, s in enumerate(SPELLED):
        q = f"{tmp.name}/spelled/{i}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", b, "-F", "qcow2", q], check=True)
        args += ["-drive", f"if=none,id=d{i},{s.format(image(f'spelled/{i}'), q=q, b=b)}"]
    log = []

    def bare(x):
        if isinstance(x, dict):
            return {k: bare(v) for k, v in x.items() if k not in ("dirty-flag", "actual-size")}
        if isinstance(x, str) and x.startswith("json:"):
            return json.loads(x[5:])
        return "#" if isinstance(x, str) and x.startswith("#block") else x

    with start(args, binary) as v:
        log += [(d["device"], bare(d)) for d in v.qmp.ok("query-block")]
        for s in MISSPELLED:
            log.append((s, v.qmp.hmp(f"drive_add 0 if=none,id=x,{s.format(FILE, q=f'{tmp.name}/spelled/0.qcow2', b=b)}").strip()))
    return log


@test("the ways to say what a drive is: options with dots, a driver alone, json:, as QEMU 10.0 takes them")
def spelled():
    qcow2()
    ours, theirs = spelling(None), spelling(vm.oracle())
    bad = [f"{o}\n  QEMU {t[-1]}" for o, t in zip(ours, theirs) if o != t]
    assert not bad and len(ours) == len(theirs), "\n" + "\n".join(bad)


HANDED = [(above, below) for above in ({"cache": {"direct": True}}, {"cache": {"no-flush": True}}, {"force-share": True, "read-only": True},
                                       {"auto-read-only": True}, {"discard": "unmap"}, {"discard": "ignore"})
          for below in ({}, {"discard": "ignore"}, {"cache": {"direct": False}}, {"cache": {"no-flush": True}})]


def handed(binary, driver, above, below):
    """The flags of the descriptor, what the nodes say of themselves, whether a discard of all freed any space."""
    path = f"{tmp.name}/handed"
    if driver == "qcow2":
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    else:
        image("handed")
    nodes = {"driver": driver, "node-name": "n", **above, "file": {"driver": "file", "filename": path, "node-name": "f", **below}}
    with start(["-blockdev", json.dumps(nodes), "-device", "virtio-blk-pci,drive=n,addr=4"], binary) as v:
        flags = set()
        for fd in os.listdir(f"/proc/{v.p.pid}/fd"):
            if os.readlink(f"/proc/{v.p.pid}/fd/{fd}") == path:
                with open(f"/proc/{v.p.pid}/fdinfo/{fd}", encoding="ascii") as f:
                    flags.add(int(f.read().split("flags:")[1].split()[0], 8) & (os.O_DIRECT | os.O_ACCMODE))
        told = [(n["node-name"], n["ro"], n["cache"]) for n in v.qmp.ok("query-named-block-nodes")]
        if "discard" not in above:
            return flags, told
        b = Blk(qtest.Function(v.qtest, 0, 4, 0), Blk.FEATURES | 1 << 13)
        for s in range(0, SIZE // 512, 128):
            same(b.write(s, bytes([7]) * 65536), Blk.OK, "write")
        same(b.flush(), Blk.OK, "flush")
        full = os.stat(path).st_blocks
        same(range_request(b, 11, 0, SIZE // 512), Blk.OK, "discard")
        same(b.flush(), Blk.OK, "flush")
        return flags, told, full - os.stat(path).st_blocks > 1000


@test("what a node hands to the one below that is made with it: cache, locks, discards as QEMU 10.0")
def hands_down():
    qcow2()
    for driver, rows in (("raw", HANDED), ("qcow2", HANDED[-8:])):
        for above, below in rows:
            what = driver, above, below
            same(handed(None, *what), handed(vm.oracle(), *what), what)


@test("cache= and aio= and the format: flags of the descriptor, write cache, what query-block says as QEMU 10.0, data at odd addresses")
def modes():
    qcow2()
    for cache in ("writeback", "none", "writethrough", "directsync", "unsafe"):
        for aio in ("threads", "native", "io_uring"):
            direct = cache in ("none", "directsync")
            if aio == "native" and not direct:
                continue
            for fmt, path in (("raw", image("mode")), ("qcow2", QCOW)):
                drive = ["-drive", f"if=none,id=r,file={path},format={fmt},cache={cache},aio={aio}", "-device", "virtio-blk-pci,drive=r,addr=4"]
                with start(drive) as v:
                    b, told = blk(v), v.qmp.ok("query-block")[0]["inserted"]["cache"]
                    fds = [fd for fd in os.listdir(f"/proc/{v.p.pid}/fd") if os.readlink(f"/proc/{v.p.pid}/fd/{fd}") == path]
                    assert fds, "the image is open"
                    for fd in fds:
                        with open(f"/proc/{v.p.pid}/fdinfo/{fd}", encoding="ascii") as f:
                            flags = int(next(l for l in f if l.startswith("flags:")).split()[1], 8)
                        same(bool(flags & os.O_DIRECT), direct, f"{cache}: O_DIRECT")
                    same(b.dev.features() >> 9 & 1, 1, "FLUSH is offered")
                    wrote = list(odd_requests(b))
                    same(b.flush(), Blk.OK, "flush")
                    assert aio == "threads" or "io_uring" not in v.text(), v.text()
                for sector, data in wrote if fmt == "raw" else ():
                    same(content(path, 512 * sector, len(data)), data, f"{cache}, {aio}: the file")
                if aio == "threads" and fmt == "raw":
                    with start(drive, vm.oracle()) as v:
                        same(told, v.qmp.ok("query-block")[0]["inserted"]["cache"], f"{cache}: query-block")


@test("no io_uring for us (seccomp): one line says so, threads do the work; without aio= nobody needs to know")
def refused_uring():
    for aio, said in (("", False), (",aio=threads", False), (",aio=io_uring", True), (",aio=native,cache=none", True)):
        with vm.Vm(["-accel", "qtest", "-M", "pc-i440fx-10.0", "-nodefaults", "-drive", f"if=none,id=r,format=raw,file={FILE},{aio.lstrip(',') or 'snapshot=off'}",
                    "-device", "virtio-blk-pci,drive=r,addr=4"], qtest=True, wrap=[sys.executable, os.path.abspath(__file__), "--no-uring"]) as v:
            b = blk(v)
            same(len(list(odd_requests(b))), 3, "requests")
            text = [l for l in v.text().splitlines() if "io_uring" in l]
            same(text, [f"{os.path.basename(vm.BIN)}: warning: Unable to use linux io_uring: Operation not permitted; aio=threads is used for '{FILE}'"] if said else [], aio)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--no-uring"]:
        no_uring()
    vm.TESTS[:] = [t for t in vm.TESTS if t[1].__module__ == "__main__"]
    vm.main()

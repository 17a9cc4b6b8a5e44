#!/usr/bin/env python3
"""What a manager is told of disks, character devices, memory and threads: a machine with every kind of them, the answers of QMP and of the
human monitor beside QEMU 10.0's, member by member."""
import json
import re
import subprocess
import tempfile

import vm
from vm import Skip, Vm, test

tmp = tempfile.TemporaryDirectory(prefix="virtue-queries-")
T = tmp.name
MB = 1 << 20


def images():
    """A qcow2 chain of three, one of version 2, one with lazy counts; raw ones."""
    try:
        for args in (["base.qcow2", "1M"], ["-b", "base.qcow2", "-F", "qcow2", "mid.qcow2", "1M"], ["-b", "mid.qcow2", "-F", "qcow2", "top.qcow2", "2M"],
                     ["-o", "compat=0.10", "v2.qcow2", "1M"], ["-o", "lazy_refcounts=on,cluster_size=4k,refcount_bits=8", "lazy.qcow2", "1M"]):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args], check=True, cwd=T)
    except FileNotFoundError:
        raise Skip("no qemu-img (package qemu-utils)") from None
    for name in ("below", "unsafe", "rules", "window", "iso"):
        with open(f"{T}/{name}", "wb") as f:
            f.truncate(MB)


def args():
    node = [{"driver": "throttle", "node-name": "th", "throttle-group": "g", "file": {"driver": "file", "filename": f"{T}/below", "node-name": "thf"}},
            {"driver": "raw", "node-name": "rb", "file": {"driver": "blkdebug", "node-name": "bd", "image": {"driver": "file", "filename": f"{T}/rules"},
             "inject-error": [{"event": "read_aio"}], "align": 512}},
            {"driver": "blkdebug", "node-name": "bare", "image": {"driver": "null-co", "node-name": "nothing"}},
            {"driver": "raw", "node-name": "off", "offset": 4096, "size": 8192, "read-only": True, "file": {"driver": "file", "filename": f"{T}/window"}},
            {"driver": "null-co", "node-name": "nc", "size": MB, "read-zeroes": True, "latency-ns": 5}]
    drives = [f"id=q,file={T}/top.qcow2,format=qcow2,bps_rd=1000,iops_rd_max=7,iops_rd=5,group=grp",
              f"id=v2,file={T}/v2.qcow2,format=qcow2,readonly=on,throttling.bps-total=5000,throttling.bps-total-max=6000,"
              "throttling.bps-total-max-length=3,throttling.iops-total=10,throttling.iops-size=4096",
              f"id=lz,file={T}/lazy.qcow2,format=qcow2,cache=none,discard=unmap,detect-zeroes=unmap",
              f"id=un,file={T}/unsafe,format=raw,cache=unsafe,werror=stop,rerror=stop", f"id=cdm,file={T}/iso,format=raw,readonly=on,media=cdrom"]
    devices = ["virtio-blk-pci,drive=q,id=dq,serial=abc", "virtio-scsi-pci,id=s", "scsi-hd,drive=th,id=dth,bus=s.0", "virtio-blk-pci,drive=rb,id=drb,iothread=io1",
               "virtio-blk-pci,drive=un", "scsi-cd,drive=cdm,id=cd1,bus=s.0", "scsi-cd,id=cd2,bus=s.0", "virtio-serial-pci", "virtconsole,chardev=cr",
               "virtserialport,chardev=cn,name=x"]
    objects = ["throttle-group,id=g,x-iops-total=50,x-bps-read=100000,x-bps-read-max=200000", "iothread,id=io0",
               "iothread,id=io1,poll-max-ns=1000,poll-grow=2,poll-shrink=3,aio-max-batch=5", "memory-backend-ram,id=m0,size=4M",
               "memory-backend-memfd,id=m1,size=4M,share=off,merge=off,dump=off,prealloc=on", f"memory-backend-file,id=m2,size=4M,mem-path={T}/mem,share=on",
               "memory-backend-ram,id=m3,size=4M,share=on,reserve=off"]
    chars = [f"socket,id=cs,path={T}/sock,server=on,wait=off", "null,id=cn", "ringbuf,id=cr", f"file,id=cf,path={T}/cf", "null,id=cmx,mux=on", "udp,id=cu,port=5",
             f"pty,id=cp,path={T}/pty", "socket,id=ct,host=127.0.0.1,port=0,server=on,wait=off"]
    out = ["-M", "q35", "-accel", "tcg", "-S", "-nodefaults", "-m", "64", "-mon", "chardev=cmx"]
    for option, values in (("-object", objects), ("-drive", [f"if=none,{d}" for d in drives]), ("-blockdev", map(json.dumps, node)), ("-device", devices),
                           ("-chardev", chars)):
        for v in values:
            out += [option, v]
    return out


def spelled(m):
    """A name that is JSON has its members in any order."""
    return "json:" + json.dumps(json.loads(m[1]), sort_keys=True)


# What nobody chose: numbers of nodes, threads, terminals and ports, folders, times.
CHANCE = [(r"#block\d+", "#block"), (r"/dev/pts/\d+", "/dev/pts/N"), (r"(thread[-_]id\"?[:=] ?)\d+", r"\1N"), (r"virtue-vm-\w+", "VM"),
          (r"(127\.0\.0\.1:)\d+", r"\1P"), (r"(idle_time_ns\"?[:=] ?)\d+", r"\1N")]


def bare(x):
    """QMP's answers as sorted texts: the order of nodes and character devices is each emulator's own; lines of the human monitor as paragraphs."""
    def names(v):
        if isinstance(v, dict):
            null = v.get("format") == "null-co"  # QEMU leaves out what is no file's
            return {k: names(w) for k, w in v.items() if not (null and k == "dirty-flag")}
        return [names(w) for w in v] if isinstance(v, list) else re.sub(r"^json:(\{.*\})$", spelled, v) if isinstance(v, str) else v

    parts = [json.dumps(names(e), sort_keys=True, indent=1) for e in x] if isinstance(x, list) else \
        re.split(r"\n\n(?!Images)|\n(?=\S+: filename)|\n(?=io\d|memory b)", re.sub(r"json:(\{.*\})(?= \(|$)", spelled, x.replace("\r", ""), flags=re.M).strip())
    for old, new in CHANCE:
        parts = [re.sub(old, new, p) for p in parts]
    return sorted(p.strip() for p in parts)


QMP = [("query-block",), ("query-blockstats",), ("query-blockstats", {"query-nodes": True}), ("query-named-block-nodes",),
       ("query-named-block-nodes", {"flat": True}), ("query-chardev",), ("query-memdev",), ("query-iothreads",)]
HMP = ["info block", "info block -v", "info block q", "info block -n", "info block -n th", "info block -n -v q", "info block nope", "info block -x",
       "info blockstats", "info chardev", "info memdev", "info iothreads", "help info block", "help info blockstats", "help info memdev"]


@test("block, chardev, memory and threads of a machine with many kinds of each: as QEMU 10.0 in QMP and the human monitor")
def told():
    images()
    said = []
    for binary in (None, vm.oracle()):
        with Vm(args(), binary=binary) as v:
            said.append([bare(v.qmp.ok(*q)) for q in QMP] + [bare(v.qmp.hmp(h)) for h in HMP])
    diff = [f"{q}\n ours      {a}\n QEMU 10.0 {b}" for q, x, y in zip(QMP + HMP, *said) if x != y
            for a, b in [([p for p in x if p not in y], [p for p in y if p not in x])]]
    assert not diff, "\n".join(diff)


vm.main()

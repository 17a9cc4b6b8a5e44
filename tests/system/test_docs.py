#!/usr/bin/env python3
"""The command lines of the pages for users: each one starts, in a folder that has the files it names."""
import glob
import os
import re
import shlex
import socket
import subprocess
import tempfile

import vm
from vm import Skip, Vm, test

DOCS = os.path.realpath(f"{vm.HERE}/../../docs/user")
PAGES = ["devices/*", "storage", "chardev", "networking", "vnc", "qmp", "firmware", "quickstart", "../../README"]
HOST = {"evdev=": "/dev/input/event3", "vhost-vsock": "/dev/vhost-vsock", "OVMF_CODE": "/usr/share/OVMF/OVMF_CODE_4M.fd"}  # what not every host has
ELSEWHERE = ("ifname=tap0", "remote.host=239.")  # need rights, or a network: the tests of networks have such ends
# What a page's line stands on: the text that shows it, what goes before.
BEFORE = {"-object filter-": ["-netdev", "user,id=n0", *(w for i in range(3) for w in ("-chardev", f"null,id=c{i}"))]}
FILE = re.compile(r"\bdisk\.(raw|qcow2)|\binstall\.iso|\bvmlinuz|\binitrd\.img|\bvm\.pass|\bvars\.fd|\bn0\.pcap")
# Other runs may have the port.
PORTS = [(re.compile(r"(?<=hostfwd=tcp:127\.0\.0\.1:)\d+"), "0"),
         (re.compile(r"^((?:vnc=)?(?:127\.0\.0\.1|localhost)?:\d+)(?!\d|,to=)"), r"\1,to=200")]


def commands(page):
    """Indented lines that are options of the emulator, or begin with it; a backslash or an open quote goes on with the next one."""
    with open(page, encoding="utf-8") as f:
        lines = f.read().splitlines()
    text = ""
    for line in lines:
        if not text and not re.match(r" {4,}(-[a-z]|\S*qemu-system-x86_64 )", line):
            continue
        text += line.strip().removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        try:
            yield [w for w in shlex.split(text, comments=True) if w not in ("...", "…") and not w.endswith("qemu-system-x86_64")]
            text = ""
        except ValueError:  # "No closing quotation"
            pass
    assert not text, f"{page}: {text}"


def bzimage():
    """The least that passes for a Linux kernel: a set-up sector with its header (boot protocol 2.06), and nothing behind it."""
    b = bytearray(4096)
    b[0x1f1], b[0x1fe:0x200], b[0x202:0x206] = 1, b"\x55\xaa", b"HdrS"
    b[0x206:0x208], b[0x211], b[0x214:0x218], b[0x22c:0x230], b[0x238] = b"\x06\x02", 1, bytes((0, 0, 16, 0)), b"\xff\xff\xff\x7f", 255
    return bytes(b)


def files(folder):
    for name, data in (("disk.raw", bytes(1 << 20)), ("install.iso", bytes(1 << 20)), ("vmlinuz", bzimage()), ("initrd.img", b"x"),
                       ("vm.pass", b"secret"), ("vars.fd", bytes(528 << 10))):
        with open(f"{folder}/{name}", "wb") as f:
            f.write(data)
    try:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{folder}/disk.qcow2", "20G"], check=True)
    except FileNotFoundError:
        raise Skip("no qemu-img (package qemu-utils)") from None


def check(page, words, folder):
    line = " ".join(words)
    words = [FILE.sub(lambda m: f"{folder}/{m[0]}", w).replace("/run/", f"{folder}/") for w in words]
    for port, free in PORTS:
        words = [port.sub(free, w) for w in words]
    args = ["-M", "q35", "-accel", "qtest", *(w for text, more in BEFORE.items() if text in line for w in more), *words]
    if any(word in line and not os.path.exists(path) for word, path in HOST.items()):
        r = vm.run(["-display", "none", "-nodefaults", *args])
        assert r.rc == 1 and len(r.err.splitlines()) == 1 and "No such file" in r.err, f"{page}: {words}: {r.err}"
        return
    with Vm(args) as v:
        v.qmp.ok("query-status")
        said = re.sub(r"char device redirected to \S+ \(label \w+\)\n|^\{\"QMP\".*\n", "", v.text())
        assert not said, f"{page}: {words}: {said}"


@test("the command lines of the pages start")
def pages():
    n = 0
    with tempfile.TemporaryDirectory(prefix="virtue-docs-") as d, socket.socket(socket.AF_UNIX) as egd:
        files(d)
        egd.bind(f"{d}/egd.sock")
        egd.listen(64)
        for page in [p for name in PAGES for p in sorted(glob.glob(f"{DOCS}/{name}.md"))]:
            for words in commands(page):
                if not any(word in " ".join(words) for word in ELSEWHERE):
                    check(page, words, d)
                    n += 1
    assert n > 60, f"{n} command lines"


vm.main()

#!/usr/bin/env python3
"""The command lines of the pages about devices, storage and character devices: each one starts, in a folder that has the files it names."""
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
HOST = {"evdev=": "/dev/input/event3", "vhost-vsock": "/dev/vhost-vsock"}  # what not every host has


def commands(page):
    """Indented lines that are options of the emulator; a backslash or an open quote goes on with the next one."""
    with open(page, encoding="utf-8") as f:
        lines = f.read().splitlines()
    text = ""
    for line in lines:
        if not text and not re.match(r" {4,}-[a-z]", line):
            continue
        text += line.strip().removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        try:
            yield shlex.split(text, comments=True)
            text = ""
        except ValueError:  # "No closing quotation"
            pass
    assert not text, f"{page}: {text}"


def files(folder):
    for name, size in (("disk.raw", 64 << 20), ("install.iso", 1 << 20)):
        with open(f"{folder}/{name}", "wb") as f:
            f.truncate(size)
    try:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{folder}/disk.qcow2", "20G"], check=True)
    except FileNotFoundError:
        raise Skip("no qemu-img (package qemu-utils)") from None


@test("the command lines of the pages start")
def pages():
    n = 0
    with tempfile.TemporaryDirectory(prefix="virtue-docs-") as d, socket.socket(socket.AF_UNIX) as egd:
        files(d)
        egd.bind(f"{d}/egd.sock")
        egd.listen(64)
        for page in [*sorted(glob.glob(f"{DOCS}/devices/*.md")), f"{DOCS}/storage.md", f"{DOCS}/chardev.md"]:
            for words in commands(page):
                words = [re.sub(r"\bdisk\.(raw|qcow2)|\binstall\.iso", lambda m: f"{d}/{m[0]}", w).replace("/run/", f"{d}/") for w in words]
                args = ["-M", "q35", "-accel", "qtest", *words]
                n += 1
                if any(word in " ".join(words) and not os.path.exists(path) for word, path in HOST.items()):
                    r = vm.run(["-display", "none", "-nodefaults", *args])
                    assert r.rc == 1 and len(r.err.splitlines()) == 1 and "No such file" in r.err, f"{page}: {words}: {r.err}"
                    continue
                with Vm(args) as v:
                    v.qmp.ok("query-status")
                    said = re.sub(r"char device redirected to \S+ \(label \w+\)\n", "", v.text())
                    assert not said, f"{page}: {words}: {said}"
    assert n > 30, f"{n} command lines"


vm.main()

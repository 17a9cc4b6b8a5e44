#!/usr/bin/env python3
"""Wrong command lines about networks: ours and QEMU 10.0 end with the same status and words, but where net-wrong-differs.txt says why not."""
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

import vm
from vm import same, test

FILTER = "-chardev null,id=c -netdev user,id=n -object"


def rows(name):
    with open(f"{vm.HERE}/{name}", encoding="utf-8") as f:
        return [l.rstrip("\n").replace("{300}", "x" * 300) for l in f if l.strip() and l[0] != "#"]


def said(binary, line):
    """Status and what was said, without the program's name, numbers that are nobody's business and the option in front of a late object's
    message, which QEMU does not name. One that goes on (QEMU, where ours differs) is ended."""
    words = shlex.split(line.replace("@filter", FILTER))
    machine = "pc" if words[0] in ("-nic", "-net") else "none"
    own = f"{os.path.basename(binary)}: "
    p = subprocess.Popen([binary, "-accel", "tcg", "-S", "-M", machine, "-nodefaults", "-display", "none", "-monitor", "stdio", *words],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    err = p.communicate("quit\n", vm.TIMEOUT)[1]
    lines = [re.sub(r"^(\S*/)?qemu-system-x86_64: ", "", l).removeprefix(own) for l in err.strip().split("\n")]
    return p.returncode, [re.sub(r"^-object \S*: ", "", re.sub(r"#net\d+", "#net", l)) for l in lines]


def each(lines, binaries):
    """Of each line, what the binaries said of it."""
    with ThreadPoolExecutor(2) as pool:
        return pool.map(lambda line: (line, [said(b, line) for b in binaries]), lines)


@test("wrong command lines say what QEMU 10.0 says")
def equal():
    lines = rows("net-wrong.txt")
    assert len(lines) >= 120 and len(set(lines)) == len(lines), "the table"
    bad = []
    for line, (ours, theirs) in each(lines, (vm.BIN, vm.oracle())):
        if ours != theirs or ours[0] != 1:
            bad.append(f"{line}\n  ours      {ours}\n  QEMU 10.0 {theirs}")
    assert not bad, f"{len(bad)} of {len(lines)}\n" + "\n".join(bad)


def differences():
    return {line: (text, why) for line, text, why in (l.split("\t") for l in rows("net-wrong-differs.txt"))}


@test("wrong command lines that are answered otherwise on purpose: status 1 and one line")
def ours_only():
    table = differences()
    for line, (ours,) in each(table, (vm.BIN,)):
        last = f"{' '.join(shlex.split(line)[-2:])}: "
        same((ours[0], [l.removeprefix(last) for l in ours[1]]), (1, [table[line][0]]), line)


@test("the list of differences is not longer than it has to be")
def still_differ():
    table = differences()
    for line, (theirs,) in each(table, (vm.oracle(),)):
        assert table[line][1] and (theirs[0] != 1 or table[line][0] not in theirs[1][-1] or len(theirs[1]) > 1), f"QEMU 10.0 says the same of {line}"


if __name__ == "__main__":
    vm.main()

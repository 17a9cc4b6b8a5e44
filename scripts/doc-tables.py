#!/usr/bin/env python3
"""Writes the tables of docs/user/ that the emulator knows best: properties (-device X,help), commands and events of QMP, of the monitor.

A page has <!-- properties X --> … <!-- end --> around its table; "X - Y Z" leaves out what Y and Z have too, "X & Y Z" keeps only
that. <!-- commands --> … <!-- end --> is the list of QMP's commands; so are events, and hmp and info of the human monitor. --check changes nothing and fails when a page is stale. It also fails on a link in docs/ that leads nowhere."""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = re.compile(r"(<!-- (commands|events|hmp|info) -->\n).*?(<!-- end -->)", re.S)
MARK = re.compile(r"(<!-- properties (\S+)(?: ([-&]) ([^>]*?))? -->\n).*?(<!-- end -->)", re.S)


def properties(binary, device, cache={}):
    """{name: (type, text, default)} of a device, in the order of its help."""
    if device not in cache:
        r = subprocess.run([binary, "-device", f"{device},help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
        if r.returncode:
            sys.exit(f"{device},help: {r.stdout.strip()}")
        rows = {}
        for line in r.stdout.splitlines()[1:]:
            m = re.match(r"  (\S+?)=<(.+?)>(?:\s+|$)(?:- (.*?))?\s*(?:\(default: (.*)\))?$", line)
            if not m:
                sys.exit(f"{device},help: cannot read '{line}'")
            rows[m[1]] = (m[2], m[3] or "", m[4] or "")
        cache[device] = rows
    return cache[device]


def table(binary, device, sign, others):
    rows = properties(binary, device)
    names = [set(properties(binary, o)) for o in others]
    if sign == "-":
        rows = {n: r for n, r in rows.items() if not all(n in o for o in names)}
    elif sign == "&":
        rows = {n: r for n, r in rows.items() if all(n in o for o in names)}
    out = ["| property | type | default | |", "|---|---|---|---|"]
    for n, (kind, text, default) in rows.items():
        if not n.startswith("x-"):
            out.append(f"| `{n}` | `{kind}` | {default} | {text} |".replace("|  |", "| |"))
    return "\n".join(out) + "\n"


def listing(names):
    return textwrap.fill(", ".join(f"`{n}`" for n in sorted(names)) + ".", 120, break_on_hyphens=False) + "\n"


def replies(binary, *requests):
    with subprocess.Popen([binary, "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as p:
        p.stdout.readline()  # the greeting
        got = []
        for r in ({"execute": "qmp_capabilities"}, *requests):
            p.stdin.write(json.dumps(r) + "\n")
            p.stdin.flush()
            got.append(json.loads(p.stdout.readline())["return"])
        p.communicate(json.dumps({"execute": "quit"}) + "\n", timeout=30)
    return got[1:]


def lists(binary, cache={}):
    """What the emulator has, by the names of the marks."""
    if not cache:
        hmp = [{"execute": "human-monitor-command", "arguments": {"command-line": line}} for line in ("help", "info")]
        names, schema, commands, topics = replies(binary, {"execute": "query-commands"}, {"execute": "query-qmp-schema"}, *hmp)
        cache["commands"] = listing(c["name"] for c in names)
        cache["events"] = listing(e["name"] for e in schema if e["meta-type"] == "event")
        cache["hmp"] = listing(re.split(r"[ |]", line)[0] for line in commands.splitlines())
        cache["info"] = listing(line.split(" ")[1] for line in topics.splitlines())
    return cache


def dead_links():
    for page in [f"{ROOT}/README.md", f"{ROOT}/CONTRIBUTING.md", *glob.glob(f"{ROOT}/docs/**/*.md", recursive=True)]:
        with open(page, encoding="utf-8") as f:
            text = re.sub(r"```.*?```", "", f.read(), flags=re.S)
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in link and not os.path.exists(os.path.join(os.path.dirname(page), link)):
                yield f"{os.path.relpath(page, ROOT)}: no {link}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=f"{ROOT}/build/qemu-system-x86_64")
    ap.add_argument("--check", action="store_true")
    args = ap.parse_args()
    bad = list(dead_links())
    for page in sorted(glob.glob(f"{ROOT}/docs/user/**/*.md", recursive=True)):
        with open(page, encoding="utf-8") as f:
            old = f.read()
        new = MARK.sub(lambda m: m[1] + table(args.bin, m[2], m[3], (m[4] or "").split()) + m[5], old)
        new = LIST.sub(lambda m: m[1] + lists(args.bin)[m[2]] + m[3], new)
        if new != old and args.check:
            bad.append(f"{os.path.relpath(page, ROOT)}: stale; run scripts/doc-tables.py")
        elif new != old:
            with open(page, "w", encoding="utf-8") as f:
                f.write(new)
    print("\n".join(bad) if bad else "documents: fresh")
    return 1 if bad else 0


sys.exit(main())

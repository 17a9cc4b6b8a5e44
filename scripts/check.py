#!/usr/bin/env python3
"""The suites of scripts/check: style, build, unit, cpu, qtest, guest. Prints progress and each suite's time."""
import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("VIRTUE_BUILD", f"{ROOT}/build-check")


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, ok, name, detail="", skip=None):
        if skip is not None:
            self.skipped += 1
            print(f"  SKIP {name}: {skip}", flush=True)
        elif ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f"  FAIL {name}\n{detail}".rstrip(), flush=True)


def run(cmd, **kw):
    return subprocess.run(cmd, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **kw)


def tail(text, n=40):
    return "\n".join("    " + l for l in text.splitlines()[-n:])


def style(c, _):
    files = run(["git", "ls-files", "*.c", "*.h"]).stdout.split()
    r = run(["clang-format-14", "--dry-run", "--Werror", *files])
    c.add(r.returncode == 0, "style/format", tail(r.stdout, 20))
    for name in ("check-layers.py", "check-size.py"):
        r = run([sys.executable, f"scripts/{name}"])
        c.add(r.returncode == 0, f"style/{name}", tail(r.stdout))
    sh = [f for f in run(["git", "ls-files", "scripts", ".ci", "configure"]).stdout.split()
          if open(f"{ROOT}/{f}", "rb").readline().startswith((b"#!/bin/bash", b"#!/bin/sh"))]
    for f in sh:
        r = run(["bash", "-n", f])
        c.add(r.returncode == 0, f"style/{f}", tail(r.stdout))


def build(c, _):
    if not os.path.exists(f"{BUILD}/build.ninja"):
        r = run(["./configure", f"--build-dir={BUILD}"])
        if r.returncode:
            c.add(False, "build/configure", tail(r.stdout))
            return False
    r = run(["ninja", "-C", BUILD])
    c.add(r.returncode == 0, "build/ninja", tail(r.stdout))
    return r.returncode == 0


def meson_suite(name):
    def suite(c, _):
        env = dict(os.environ, VIRTUE_BIN=f"{BUILD}/qemu-system-x86_64")
        r = run(["meson", "test", "-C", BUILD, "--no-rebuild", "--suite", name, "--logbase", f"log-{name}", "--print-errorlogs"],
                env=env)
        junit = f"{BUILD}/meson-logs/log-{name}.junit.xml"
        if not os.path.exists(junit):
            c.add(False, f"{name}/meson", tail(r.stdout))
            return
        before = c.failed
        for case in ET.parse(junit).getroot().iter("testcase"):
            who = f"{name}/{case.get('classname', '')}/{case.get('name', '')}"
            bad = case.find("failure") if case.find("failure") is not None else case.find("error")
            skip = case.find("skipped")
            c.add(bad is None, who, (bad.text or "") if bad is not None else "",
                  (skip.text or skip.get("message") or "no reason given").strip() if skip is not None else None)
        if r.returncode and c.failed == before:
            c.add(False, f"{name}/meson", tail(r.stdout))
        elif c.failed > before:
            print(tail(r.stdout, 60), flush=True)
    return suite


def guest(c, args):
    cmd = [sys.executable, "tests/guest/run.py", "--bin", f"{BUILD}/qemu-system-x86_64"] + (["--full"] if args.full else [])
    p = subprocess.Popen(cmd, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    plan, seen, detail = None, 0, []
    for line in p.stdout:
        line = line.rstrip("\n")
        m = re.match(r"(ok|not ok) \d+ - (.*?)(?: # SKIP (.*))?$", line)
        if re.match(r"1\.\.\d+$", line):
            plan = int(line[3:])
        elif m:
            seen += 1
            c.add(m[1] == "ok", f"guest/{m[2]}", "\n".join(detail[-60:]), m[3])
            print(f"  {m[1]} guest/{m[2]}", flush=True)
            detail = []
        else:
            detail.append("    " + line)
    rc = p.wait()
    if plan is None or plan != seen:
        c.add(False, "guest/plan", f"    {seen} of {plan} tests reported, exit {rc}\n" + "\n".join(detail[-40:]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--fast", action="store_true")
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--suite", action="append")
    args = ap.parse_args()
    if args.full:
        os.environ["VIRTUE_FULL"] = "1"
    suites = [("style", style), ("build", build), ("unit", meson_suite("unit"))]
    if not args.fast:
        suites += [("cpu", meson_suite("cpu")), ("qtest", meson_suite("qtest")), ("system", meson_suite("system")),
                   ("guest", guest)]
    c = Count()
    for name, fn in suites:
        if args.suite and name not in args.suite and name != "build":
            continue
        print(f"== {name}", flush=True)
        at, before = time.monotonic(), (c.passed, c.failed, c.skipped)
        try:
            go_on = fn(c, args)
        except Exception as e:  # a suite that breaks is a failure, not a missing number
            c.add(False, f"{name}/runner", f"    {type(e).__name__}: {e}")
            go_on = None
        d = [n - b for n, b in zip((c.passed, c.failed, c.skipped), before)]
        print(f"== {name}: {d[0]} passed, {d[1]} failed, {d[2]} skipped in {time.monotonic() - at:.0f} s", flush=True)
        if go_on is False:
            break
    print(f"{c.passed} passed, {c.failed} failed, {c.skipped} skipped")
    return 1 if c.failed or not c.passed else 0


sys.exit(main())

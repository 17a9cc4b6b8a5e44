#!/usr/bin/env python3
"""The suites of scripts/check: style, build, docs, unit, conformance, mutate, fuzz-smoke, cpu, qtest, system, guest. Prints progress and
each suite's time. A suite or a test program that breaks counts as failed; the last line is "N passed, N failed, N skipped"."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("VIRTUE_BUILD", f"{ROOT}/build-check")


GOOD = ("OK", "EXPECTEDFAIL", "SKIP")
MAY_REPEAT = ("unit", "qtest", "system")  # suites with threads, clocks and processes
MESON_SUITES = ("unit", "conformance", "fuzz-smoke", "cpu", "qtest", "system")


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.unstable = []  # what failed and then passed

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
    return subprocess.run(cmd, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, **kw)


def tail(text, n=40):
    return "\n".join("    " + l for l in text.splitlines()[-n:])


def style(c, _):
    files = run(["git", "ls-files", "*.c", "*.h"]).stdout.split()
    r = run(["clang-format-14", "--dry-run", "--Werror", *files])
    bad = sorted(set(re.findall(r"^([^\s:]+):\d+:\d+: error:", r.stdout, re.M)))
    c.add(r.returncode == 0, "style/format", tail("\n".join(f"clang-format-14 -i {f}" for f in bad) or r.stdout))
    for name in ("check-layers.py", "check-size.py", "spec-matrix.py --check", "mutate --check"):
        r = run([sys.executable, *f"scripts/{name}".split()])
        c.add(r.returncode == 0, f"style/{name}", tail(r.stdout))
    py = run(["git", "ls-files", "*.py"]).stdout.split()
    r = run([sys.executable, "-c", "import ast, sys\nfor f in sys.argv[1:]: ast.parse(open(f, encoding='utf-8').read(), f)", *py])
    c.add(r.returncode == 0, "style/python syntax", tail(r.stdout, 6))
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
    if r.returncode == 0:
        tests = json.loads(run(["meson", "introspect", BUILD, "--tests"]).stdout)
        lost = {s.split(":")[-1] for t in tests for s in t["suite"]} - set(MESON_SUITES)
        c.add(not lost, "build/every suite runs", f"    not in scripts/check.py: {', '.join(sorted(lost))}")
    return r.returncode == 0


def docs(c, _):
    r = run([sys.executable, "scripts/doc-tables.py", "--check", "--bin", f"{BUILD}/qemu-system-x86_64"])
    c.add(r.returncode == 0, "docs/tables and links", tail(r.stdout))


def mutate(c, args):
    """Ten mutants, drawn by the commit's hash; --full: all of them."""
    r = run([sys.executable, "scripts/mutate", *(["--all"] if args.full else ["--pick", "10"]), "--build-dir", BUILD])
    found = re.findall(r"^(ok|not ok) ([\w-]+)$", r.stdout, re.M)
    for result, name in found:
        why = "\n".join(l for l in r.stdout.splitlines() if l.startswith(f"{name}:") or l.startswith(f"{name} "))
        c.add(result == "ok", f"mutate/{name}", tail(why))
    if not found or (r.returncode and all(result == "ok" for result, _ in found)):
        c.add(False, "mutate/scripts/mutate", tail(r.stdout))


def fuzz(c, _):
    """--full only; the cpu suite runs 10^6 cases."""
    r = run([f"{BUILD}/tests/cpu/fuzz-host", "--cases", "100000000", "--min-cases", "10000"])
    c.add(r.returncode == 0, "fuzz/host", tail(r.stdout))
    r = run([f"{BUILD}/tests/fuzz/fuzz-ring", "--flat", "--runs", "1000000", "--seed", "2000000"])
    c.add(r.returncode == 0, "fuzz/memory is flat", tail(r.stdout))
    for name in ("split", "packed", "gpu", "heads", "vnc"):
        r = run(["scripts/fuzz", "--seconds", "600", "--only", name])
        c.add(r.returncode == 0, f"fuzz/{name}", tail(r.stdout), r.stdout.strip() if r.returncode == 77 else None)


def interrupts(c, _):
    """--full only: 10^6 masks and moves of MSI-X under tcg, as many over qtest, ten times the usual number under KVM."""
    env = dict(os.environ, VIRTUE_BIN=f"{BUILD}/qemu-system-x86_64", QTEST_QEMU_BINARY=f"{BUILD}/qemu-system-x86_64", VIRTUE_FULL="1",
               VIRTUE_MSIX_OPS="500000")
    for name, cmd in (("guest", [sys.executable, "tests/system/test_kvm.py", "interrupts"]), ("qtest", [f"{BUILD}/tests/qtest/test-msix-masks"])):
        r = subprocess.run(cmd, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False)
        c.add(r.returncode == 0, f"interrupts/{name}", tail(r.stdout))


def packets(c, _):
    """--full only: 10^7 packets through everything that makes packets wait: in one loop, in several, in the back ends, hubs and filters."""
    for name, path in (("virtio-net-mq", "/storm"), ("virtio-net-loops", "/storm"), ("net-storm", "")):
        r = subprocess.run([f"{BUILD}/tests/unit/test-{name}", "-p", f"/{name}{path}"], cwd=ROOT, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, VIRTUE_NET_PACKETS="10000000"), check=False)
        c.add(r.returncode == 0, f"packets/{name}", tail(r.stdout))


def viewers(c, _):
    """--full only: viewers from Debian, and many more random messages to a VNC server."""
    env = dict(os.environ, VIRTUE_BIN=f"{BUILD}/qemu-system-x86_64", VIRTUE_FULL="1")
    for name, words in (("Debian's", "Debian"), ("random", "random")):
        r = subprocess.run([sys.executable, "tests/system/test_vnc.py", words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, env=env, check=False)
        c.add(r.returncode == 0, f"viewers/{name}", tail(r.stdout))


def images(c, _):
    """--full only: qcow2 by 120 000 random operations, 200 kills, 20 rounds of power cuts, ten minutes of hostile images under ASan."""
    for prog, args in (("random", ["--ops", "120000"]), ("crash", ["--rounds", "200"]), ("cut", ["--rounds", "20"])):
        r = run([f"{BUILD}/tests/block/qcow2-{prog}", *args, "--seed", "2"])
        bad = r.returncode or "not ok" in r.stdout
        c.add(not bad, f"images/{prog}", tail(r.stdout), r.stdout.strip() if "# SKIP" in r.stdout else None)
    asan = f"{BUILD}-asan"
    if not os.path.exists(f"{asan}/build.ninja"):
        run(["meson", "setup", asan, ROOT, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dwerror=false"])
    r = run(["ninja", "-C", asan, "tests/block/qcow2-fuzz"])
    if r.returncode == 0:
        r = run([f"{asan}/tests/block/qcow2-fuzz", "--seconds", "600", "--seed", "1000000"],
                env=dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"))
    c.add(r.returncode == 0 and "not ok" not in r.stdout, "images/hostile", tail(r.stdout),
          r.stdout.strip() if "# SKIP" in r.stdout else None)


def threads(c, _):
    """--full only: what has threads, under ThreadSanitizer: queues in iothreads, io_uring, the pool, VNC, vsock, consoles. A race is a
    failure even where the program passes."""
    tsan = f"{BUILD}-tsan"
    unit = ("loop", "loop-poll", "pool", "uring", "rcu", "tap", "char-socket", "virtio-pci", "virtio-loop", "virtio-threads", "virtio-blk",
            "virtio-net", "virtio-net-loops", "virtio-vsock", "virtio-console")
    system = ("iothread", "block", "vnc", "backends", "kvm")
    if not os.path.exists(f"{tsan}/build.ninja"):
        run(["./configure", f"--build-dir={tsan}", "--enable-tsan", "--disable-werror"])
    r = run(["ninja", "-C", tsan, "qemu-system-x86_64", "tests/guest/metal/metal-pvh.elf", "tests/guest/metal/metal-multiboot.elf",
             *(f"tests/unit/test-{u}" for u in unit)])
    c.add(r.returncode == 0, "threads/build", tail(r.stdout))
    programs = [(u, [f"{tsan}/tests/unit/test-{u}"]) for u in unit] + [(s, [sys.executable, f"tests/system/test_{s}.py"]) for s in system]
    for name, cmd in programs if r.returncode == 0 else []:
        with tempfile.TemporaryDirectory(prefix="virtue-tsan-") as d:
            # Children, the emulator among them, report to files; what they were asked is still checked.
            env = dict(os.environ, VIRTUE_BIN=f"{tsan}/qemu-system-x86_64",
                       TSAN_OPTIONS=f"halt_on_error=0 exitcode=0 log_path={d}/race suppressions={ROOT}/tests/tsan.supp")
            r = run(cmd, env=env)
            races = [open(f"{d}/{f}", encoding="utf-8", errors="replace").read() for f in sorted(os.listdir(d))]
        bad = r.returncode != 0 or any("WARNING: ThreadSanitizer" in t for t in races)
        c.add(not bad, f"threads/{name}", tail(r.stdout, 20) + "\n" + "\n".join(tail(t[:6000], 60) for t in races[:3]))


def programs(log):
    """(name, result, output) of every test program in meson's log."""
    for line in open(log, encoding="utf-8", errors="replace"):
        t = json.loads(line)
        yield t["name"].split(" / ")[-1], t["result"], (t.get("stdout") or "") + (t.get("stderr") or "")


def cases(junit):
    """Test cases by program: {program: [(name, ok, skip reason or None, detail)]}."""
    found = {}
    for case in ET.parse(junit).getroot().iter("testcase"):
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        out = (case.findtext("system-out") or "").strip()
        skip = (out or "no reason given") if case.find("skipped") is not None else None
        prog = case.get("classname", "").split(".", 1)[-1].split(" / ")[-1]
        found.setdefault(prog, []).append((case.get("name", ""), bad is None, skip, out if bad is not None else ""))
    return found


def qemu10():
    """Debian's QEMU 10.0 to compare with, fetched on first use; what needs it skips where it cannot be had."""
    r = run([sys.executable, "-c", "import packages; print(packages.qemu10())"],
            env=dict(os.environ, PYTHONPATH=f"{ROOT}/tests/guest", PYTHONDONTWRITEBYTECODE="1"))
    last = r.stdout.strip().splitlines()[-1] if r.stdout.strip() else "no answer"
    if r.returncode == 0 and os.path.exists(last):
        return last
    print(f"  no QEMU 10.0 to compare with: {last}", flush=True)
    return None


def meson_suite(name):
    def suite(c, _):
        env = dict(os.environ, VIRTUE_BIN=f"{BUILD}/qemu-system-x86_64")
        oracle = qemu10() if name in ("qtest", "system") else None
        if oracle:
            env.update(VIRTUE_QEMU10=oracle, VIRTUE_ORACLE=oracle)
        base = f"{BUILD}/meson-logs/log-{name}"
        for old in (f"{base}.junit.xml", f"{base}.json"):
            if os.path.exists(old):
                os.unlink(old)

        def meson(*what):
            return run(["meson", "test", "-C", BUILD, "--no-rebuild", "--timeout-multiplier", "5", "--logbase", f"log-{name}", *what], env=env)

        r = meson("--num-processes", "2", "--suite", name)
        if not os.path.exists(f"{base}.junit.xml") or not os.path.exists(f"{base}.json"):
            c.add(False, f"{name}/meson", tail(r.stdout))
            return
        found, ran, before = cases(f"{base}.junit.xml"), list(programs(f"{base}.json")), c.passed + c.failed + c.skipped
        bad = [p for p, result, _ in ran if result not in GOOD]
        if 0 < len(bad) <= 3 and name in MAY_REPEAT:
            # A busy host can upset a test that talks to another process. Alone, once more; what is broken fails again.
            for prog, result, out in ran:
                if prog in bad:
                    print(f"  UNSTABLE {name}/{prog}: {result}, once more alone\n{tail(out, 30)}", flush=True)
                    c.unstable.append(f"{name}/{prog}")
            meson("--num-processes", "1", "--suite", name, *bad)
            found.update(cases(f"{base}.junit.xml"))
            again = {p: (p, result, out) for p, result, out in programs(f"{base}.json")}
            ran = [again.get(p[0], p) for p in ran]
        for prog, result, out in ran:
            mine, failed = found.get(prog, []), c.failed
            for case, ok, skip, detail in mine:
                c.add(ok, f"{name}/{prog}{case if case.startswith('/') else '/' + case}", detail, skip)
            good = result in GOOD
            if not mine:
                reason = re.search(r"# ?SKIP:? ?(.*)", out, re.I)
                if result == "SKIP" and not reason:  # it ended without having tested anything
                    good, result = False, "no test reported"
                c.add(good, f"{name}/{prog}", f"    {result}", (reason[1] or "no reason given") if result == "SKIP" else None)
            elif not good and c.failed == failed:  # it crashed or timed out behind its last reported case
                c.add(False, f"{name}/{prog}", f"    {result}")
            if not good:
                print(tail(out, 60), flush=True)
        if c.passed + c.failed + c.skipped == before:
            c.add(False, f"{name}/no test ran", tail(r.stdout))
    return suite


def guest(c, args):
    cmd = [sys.executable, "tests/guest/run.py", "--bin", f"{BUILD}/qemu-system-x86_64"] + (["--full"] if args.full else [])
    p = subprocess.Popen(cmd, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", start_new_session=True)
    plan, seen, detail = None, 0, []
    try:
        for line in p.stdout:
            line = line.rstrip("\n")
            m = re.match(r"(ok|not ok) \d+ - (.*?)(?: # SKIP (.*))?$", line)
            if re.match(r"1\.\.\d+$", line):
                plan = int(line[3:])
            elif m:
                seen += 1
                c.add(m[1] == "ok", f"guest/{m[2]}", "\n".join(detail[-60:]), m[3])
                if not m[3]:
                    print(f"  {m[1]} guest/{m[2]}", flush=True)
                detail = []
            else:
                detail.append("    " + line)
                if m := re.match(r"# UNSTABLE (\S+): ", line):
                    c.unstable.append(m[1])
                    print("\n".join(detail[-30:]), flush=True)
        rc = p.wait()
    finally:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGTERM)
    if plan is None or plan != seen:
        c.add(False, "guest/plan", f"    {seen} of {plan} tests reported, exit {rc}\n" + "\n".join(detail[-40:]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--fast", action="store_true", help="style, unit and conformance tests only")
    ap.add_argument("--full", action="store_true", help="long fuzzing and the whole guest matrix")
    ap.add_argument("--suite", action="append", help="only this suite (repeatable); the build always runs")
    args = ap.parse_args()
    suites = [("style", style), ("build", build), ("docs", docs), ("unit", meson_suite("unit")),
              ("conformance", meson_suite("conformance"))]
    if not args.fast:
        suites += [("mutate", mutate), ("fuzz-smoke", meson_suite("fuzz-smoke")), ("cpu", meson_suite("cpu")),
                   ("qtest", meson_suite("qtest")), ("system", meson_suite("system")), ("guest", guest)]
    if args.full:
        suites += [("interrupts", interrupts), ("viewers", viewers), ("packets", packets), ("fuzz", fuzz), ("images", images), ("threads", threads)]
    unknown = set(args.suite or []) - {n for n, _ in suites}
    if unknown:
        ap.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(n for n, _ in suites)}")
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
    if c.unstable:
        print(f"unstable, passed or failed at the second attempt: {', '.join(c.unstable)}", flush=True)
    print(f"{c.passed} passed, {c.failed} failed, {c.skipped} skipped", flush=True)
    return 1 if c.failed or not c.passed else 0


sys.exit(main())

#!/usr/bin/env python3
"""Checks that no file includes upward: the table is scripts/layers.toml. Exit 1 and one line for each offence."""
import os
import re
import subprocess
import sys
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GENERATED = {"config-host.h"}


def files():
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "*.c", "*.h"],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return [f for f in out.split() if os.path.exists(f"{ROOT}/{f}")]


def layer_of(path, layers):
    best = max(((len(p), name) for name, l in layers.items() for p in l["paths"] if path.startswith(p)), default=None)
    return best[1] if best else None


def resolve(name, frm):
    for cand in (os.path.normpath(os.path.join(os.path.dirname(frm), name)), f"include/{name}", name):
        if os.path.exists(f"{ROOT}/{cand}"):
            return cand
    return None


def main():
    with open(f"{ROOT}/scripts/layers.toml", "rb") as f:
        layers = tomllib.load(f)
    bad = []
    for path in files():
        mine = layer_of(path, layers)
        if not mine:
            bad.append(f"{path}: in no layer")
            continue
        for n, line in enumerate(open(f"{ROOT}/{path}", encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m or m[1] in GENERATED:
                continue
            target = resolve(m[1], path)
            if not target:
                bad.append(f"{path}:{n}: cannot find {m[1]}")
                continue
            if target.endswith("-internal.h") and os.path.dirname(target) != os.path.dirname(path) and mine != "top":
                bad.append(f"{path}:{n}: {target} is for its own folder only")
            theirs = layer_of(target, layers)
            may = layers[mine]["may"]
            if theirs != mine and theirs not in may and "*" not in may:
                bad.append(f"{path}:{n}: {mine} may not include {theirs} ({m[1]})")
    print("\n".join(bad) if bad else "layers: clean", file=sys.stderr if bad else sys.stdout)
    return 1 if bad else 0


sys.exit(main())

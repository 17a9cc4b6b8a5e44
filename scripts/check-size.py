#!/usr/bin/env python3
"""No source file over 800 lines."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 800
out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "*.c", "*.h", "*.py", "*.sh", "*.S"],
                     check=True, stdout=subprocess.PIPE, text=True).stdout.split()
bad = 0
for f in out:
    path = f"{ROOT}/{f}"
    if os.path.exists(path):
        n = sum(1 for _ in open(path, "rb"))
        if n > LIMIT:
            print(f"{f}: {n} lines, the limit is {LIMIT}", file=sys.stderr)
            bad += 1
sys.exit(1 if bad else 0)

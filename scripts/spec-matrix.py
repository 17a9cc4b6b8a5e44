#!/usr/bin/env python3
"""Which normative sentences of VIRTIO 1.4 have a test. Joins docs/devel/conformance.tsv (id, section, level) with NORM("id") in the
tests and with the sections that the code cites. Prints covered and uncovered by chapter; --write also writes
docs/devel/conformance.md and docs/devel/conformance.count; --check fails when those are out of date, when the count is less than
it ever was, or when a test names what is not there. --missing: the uncovered ids of sections that begin with the argument.
--choices BUILD: runs the tests of that build folder and writes docs/devel/conformance-choices.md, what we do where the standard says
MAY; each MAY row of core and transport has to be there."""
import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TSV, PAGE, COUNT = ("docs/devel/conformance." + e for e in ("tsv", "md", "count"))
CHOICES = "docs/devel/conformance-choices.md"
CORE = re.compile(r"(?:(?:LEG|TXT)-(?:CORE|FEAT|SPLIT|PACKED|PCI|SHM|INIT)|INIT-SUSPEND|CORE|FEAT|SPLIT|PACKED|PCI|SHM)-")
TITLES = {"2.1": "Device status", "2.2": "Feature bits", "2.4": "Device reset", "2.5": "Device configuration space",
          "2.6": "Virtqueues", "2.7": "Split virtqueues", "2.8": "Packed virtqueues", "2.10": "Shared memory regions",
          "2.11": "Exporting objects", "2.12": "Device groups and administration", "2.13": "Device parts",
          "3.1": "Device initialization", "3.4": "Device suspend", "4.1": "PCI bus", "4.2": "MMIO", "4.3": "Channel I/O",
          "5.1": "Network", "5.2": "Block", "5.3": "Console", "5.4": "Entropy", "5.5": "Traditional memory balloon",
          "5.6": "SCSI host", "5.7": "GPU", "5.8": "Input", "5.9": "Crypto", "5.10": "Socket", "5.11": "File system", "5.12": "RPMB",
          "5.13": "IOMMU", "5.14": "Sound", "5.15": "Memory", "5.16": "I2C adapter", "5.17": "SCMI", "5.18": "GPIO", "5.19": "PMEM",
          "5.20": "CAN", "5.21": "SPI controller", "5.22": "Media", "5.23": "Real time clock", "6.2": "Reserved feature bits",
          "6.3": "Legacy feature bits"}


def read(path):
    with open(f"{ROOT}/{path}", encoding="utf-8") as f:
        return f.read()


def files(*patterns):
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", *patterns], check=True,
                         stdout=subprocess.PIPE, text=True).stdout.split()
    return sorted(f for f in set(out) if os.path.exists(f"{ROOT}/{f}"))


def rows():
    lines = read(TSV).splitlines()
    assert lines[0].split("\t") == ["id", "section", "level"], "header of " + TSV
    return [tuple(l.split("\t")) for l in lines[1:]]


def tests(known, errors):
    """{id: file}. In tests/conformance a NORM() needs its place in the table of tests, a table entry needs its NORM(), and the
    program has to be one that meson builds."""
    found = {}
    built = set(re.findall(r"'(norm-[\w-]+)'", read("tests/conformance/meson.build")))
    for path in files("tests/**/*.c", "tests/*.c"):
        text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
        named = re.findall(r'\bNORM\("([\w-]+)"\)', text) + re.findall(r'\b[A-Z]+_TEST\(\w+, "([\w-]+)"', text)
        if path.startswith("tests/conformance/"):
            listed = re.findall(r'^\s*\{ "([A-Z][\w-]+-\d+)", \w', text, re.M)
            errors += [f"{path}: NORM(\"{i}\") is in no table of tests" for i in sorted(set(named) - set(listed))]
            errors += [f"{path}: test {i} does not name its row with NORM()" for i in sorted(set(listed) - set(named))]
            errors += [f"{path}: {i} has more than one test" for i in sorted(set(listed)) if listed.count(i) > 1]
            if listed and os.path.basename(path)[5:-2] not in built:
                errors.append(f"{path}: not in tests/conformance/meson.build")
                continue
        for i in named:
            if i not in known:
                errors.append(f"{path}: there is no row {i}")
            elif path.startswith("tests/conformance/") and found.get(i, path) != path:
                errors.append(f"{path}: {i} has a test in {found[i]} already")
            found.setdefault(i, path)
    return found


def types_missing():
    """Sentences about all device types are tested with those of norm-types.c; vhost ones need the host's
    kernel, and virtio-input-host an evdev."""
    types, all_of = read("tests/conformance/norm-types.c"), set(re.findall(r"\b(virtio_\w+)_pci_class\b", read("hw/type-table.c")))
    return [f"tests/conformance/norm-types.c: {t} is not among the types" for t in sorted(all_of)
            if t != "virtio_input_host" and not re.search(rf"\b(?:(?:MODERN_)?CLASSES\({t}\)|{t}_pci_class\b)", types)]


def citations(sections):
    """{section: files of hw/virtio that cite it}."""
    cites = {}
    for path in files("hw/virtio/*.[ch]", "include/hw/virtio/*.h"):
        for comment in re.findall(r"/\*.*?\*/|//[^\n]*", read(path), re.S):
            for s in re.findall(r"(?<![\d.])[2-6](?:\.\d+){1,5}(?![\d])", comment):
                if s in sections:
                    cites.setdefault(s, set()).add(os.path.basename(path))
    return cites


def chapter(section):
    return ".".join(section.split(".")[:2])


def by_number(section):
    return [int(n) for n in section.split(".")]


def page(all_rows, found, cites):
    out = ["# Conformance with VIRTIO 1.4", "",
           "Written by `scripts/spec-matrix.py --write`. A row is a normative sentence about devices; it is covered when a test",
           "names it with `NORM()`; of what no device offers, the test shows that none does. The ids and sections are in",
           "[conformance.tsv](conformance.tsv), the sentences in the standard.", "", f"Covered: {len(found)} of {len(all_rows)} rows.", "",
           "| chapter | | rows | covered |", "|---|---|---|---|"]
    for ch in sorted({chapter(r[1]) for r in all_rows}, key=by_number):
        mine = [r for r in all_rows if chapter(r[1]) == ch]
        out.append(f"| {ch} | {TITLES.get(ch, '')} | {len(mine)} | {sum(r[0] in found for r in mine)} |")
    out += ["", "## Sections with tests", "", "| section | rows | tests | code that cites it | uncovered |", "|---|---|---|---|---|"]
    for s in sorted({r[1] for r in all_rows if r[0] in found}, key=by_number):
        mine = [r[0] for r in all_rows if r[1] == s]
        progs = sorted({os.path.basename(found[i])[:-2] for i in mine if i in found})
        out.append(f"| {s} | {len(mine)} | {', '.join(progs)} | {', '.join(sorted(cites.get(s, ())))} | "
                   f"{', '.join(i for i in mine if i not in found)} |")
    return "\n".join(out) + "\n"


def without_code(text):
    """The page without the column that moves with every comment."""
    return re.sub(r"^(\| [\d.]+ \|[^|]*\|[^|]*\|)[^|]*(\|[^|]*\|)$", r"\1\2", text, flags=re.M)


def floor():
    """The highest count there ever was, as far as the history that is here goes back."""
    best = int(read(COUNT)) if os.path.exists(f"{ROOT}/{COUNT}") else 0
    log = subprocess.run(["git", "-C", ROOT, "log", "-p", "--format=", "--", COUNT], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return max([best] + [int(n) for n in re.findall(r"^\+(\d+)$", log, re.M)])


def write_choices(all_rows, found, build):
    """What the tests say with norm_note(); errors: MAY rows whose test says nothing, or fails."""
    notes, order = {}, {r[0]: (by_number(r[1]), i) for i, r in enumerate(all_rows)}
    programs = sorted({f[:-2] for f in found.values() if f.startswith("tests/conformance/")})
    subprocess.run(["ninja", "-C", build, *programs], check=True, stdout=subprocess.DEVNULL)
    for path in programs:
        out = subprocess.run([f"{build}/{path}", "-k"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             check=False).stdout
        told = []
        for line in out.splitlines():
            told += re.findall(r"^# MAY: (.*)", line)
            done = re.match(r"(?:ok|not ok) \d+ /norm/([\w-]+)", line)
            if done and told:
                notes[done[1]] = "; ".join(told)
            told = [] if done else told
    text = ["# What we do where the standard leaves a choice", "",
            "Written by `scripts/spec-matrix.py --choices BUILD` from what the tests of these sentences find.", "",
            "| row | section | level | ours |", "|---|---|---|---|"]
    by_id = {r[0]: r for r in all_rows}
    for i in sorted(notes, key=lambda i: order[i]):
        text.append(f"| {i} | {by_id[i][1]} | {by_id[i][2]} | {notes[i]} |")
    with open(f"{ROOT}/{CHOICES}", "w", encoding="utf-8") as f:
        f.write("\n".join(text) + "\n")


def choices_missing(all_rows, found):
    text = read(CHOICES) if os.path.exists(f"{ROOT}/{CHOICES}") else ""
    return [f"{r[0]}: {CHOICES} does not say what we do: norm_note(), then scripts/spec-matrix.py --choices BUILD" for r in all_rows
            if r[2] == "MAY" and CORE.match(r[0]) and r[0] in found and f"| {r[0]} |" not in text]


def report(all_rows, found):
    for ch in sorted({chapter(r[1]) for r in all_rows}, key=by_number):
        mine = [r for r in all_rows if chapter(r[1]) == ch]
        have = [r for r in mine if r[0] in found]
        levels = ", ".join(f"{l} {sum(r[2] == l for r in have)}/{sum(r[2] == l for r in mine)}" for l in ("MUST", "SHOULD", "MAY")
                           if any(r[2] == l for r in mine))
        print(f"{ch:5} {TITLES.get(ch, ''):34} {len(have):3} covered {len(mine) - len(have):4} uncovered   {levels}")
    core = [r[0] for r in all_rows if CORE.match(r[0])]
    print(f"core and transport: {sum(i in found for i in core)} of {len(core)} rows; all: {len(found)} of {len(all_rows)}")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--write", action="store_true")
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--missing", metavar="SECTION")
    ap.add_argument("--choices", metavar="BUILD")
    args = ap.parse_args()
    all_rows, errors = rows(), []
    known = {r[0] for r in all_rows}
    if len(known) != len(all_rows):
        errors.append(f"{TSV}: an id twice")
    found = tests(known, errors)
    found = {i: f for i, f in found.items() if i in known}
    text, least = page(all_rows, found, citations({r[1] for r in all_rows})), floor()
    if args.missing is not None:
        print("\n".join(f"{r[0]}\t{r[1]}\t{r[2]}" for r in all_rows if r[0] not in found and (r[1] + ".").startswith(args.missing)))
        return 0
    if args.choices:
        write_choices(all_rows, found, args.choices)
    if args.choices or args.check:
        errors += choices_missing(all_rows, found) + types_missing()
    if len(found) < least:
        errors.append(f"{len(found)} rows are covered, it was {least} before: the count only grows")
    elif args.write and not errors:
        for path, content in ((PAGE, text), (COUNT, f"{len(found)}\n")):
            with open(f"{ROOT}/{path}", "w", encoding="utf-8") as f:
                f.write(content)
    elif args.check:
        for path, content in ((PAGE, text), (COUNT, f"{len(found)}\n")):
            if not os.path.exists(f"{ROOT}/{path}") or without_code(read(path)) != without_code(content):
                errors.append(f"{path} is out of date: scripts/spec-matrix.py --write")
    if not args.check and not args.choices:
        report(all_rows, found)
    for e in errors:
        print(e, file=sys.stderr)
    return 1 if errors else 0


sys.exit(main())

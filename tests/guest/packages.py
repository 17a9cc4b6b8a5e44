"""Debian packages unpacked beside the system, never installed: guest kernels, and QEMU 10.0 to compare with. All cached; a lock
lets one program at a time fetch."""
import contextlib
import fcntl
import functools
import glob
import os
import re
import shutil
import subprocess
import tempfile

CACHE = os.environ.get("VIRTUE_CACHE", os.path.expanduser("~/.cache/virtue"))
BACKPORTS = "bookworm-backports"
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"  # depmod and mke2fs, for users who have none


_held = 0


@contextlib.contextmanager
def locked():
    """Holds the cache's lock; nests."""
    global _held
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{CACHE}/lock", "w", encoding="utf-8") as f:
        if not _held:
            fcntl.flock(f, fcntl.LOCK_EX)
        _held += 1
        try:
            yield
        finally:
            _held -= 1


def run(cmd, **kw):
    r = subprocess.run(cmd, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if r.returncode:
        why = r.stderr.strip().splitlines()
        raise RuntimeError(f"{cmd[0]} {cmd[-1]}: {why[-1] if why else f'exit status {r.returncode}'}")
    return r.stdout


def suite_source(suite):
    """A sources file for another suite of the mirror the system already uses (deb822 or the old one-line form)."""
    for f in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for s in open(f, encoding="utf-8").read().split("\n\n"):
            if re.search(r"^Suites:.*\bbookworm\b", s, re.M) and re.search(r"^Components:.*\bmain\b", s, re.M) \
                    and "-security" not in s:
                return "x.sources", re.sub(r"^Suites:.*$", f"Suites: {suite}", s, flags=re.M) + "\n"
    for f in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(f):
            for line in open(f, encoding="utf-8"):
                if re.match(r"deb\s.*\sbookworm\s.*\bmain\b", line):
                    return "x.list", re.sub(r"\sbookworm\s", f" {suite} ", line)
    raise RuntimeError("no Debian source to derive a suite from")


def apt(suite):
    """apt options for the suite, with a state of their own; the system's with None."""
    if not suite:
        return []
    d = f"{CACHE}/apt/{suite}"
    o = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={d}/parts", "-o", f"Dir::State={d}/state",
         "-o", f"Dir::Cache={d}/cache", "-o", "Dir::State::status=/var/lib/dpkg/status"]
    with locked():
        if not os.path.exists(f"{d}/updated"):
            name, text = suite_source(suite)
            for sub in ("state/lists/partial", "cache/archives/partial", "parts"):
                os.makedirs(f"{d}/{sub}", exist_ok=True)
            with open(f"{d}/parts/{name}", "w", encoding="utf-8") as f:
                f.write(text)
            run(["apt-get", *o, "update"])
            open(f"{d}/updated", "w", encoding="utf-8").close()
    return o


def candidate(package, suite):
    """apt options that know the package, and its version: the system's lists, or ours where it keeps none."""
    for s in [suite] if suite else [None, "bookworm"]:
        o = apt(s)
        m = re.search(r"Candidate: (\S+)", run(["apt-cache", *o, "policy", package]))
        if m and m[1] != "(none)":
            return o, m[1]
    raise RuntimeError(f"no Debian package {package}" + (f" in {suite}" if suite else ""))


@functools.cache
def resolve(meta, suite=None):
    """The package with the kernel that a meta package such as linux-image-cloud-amd64 depends on."""
    for m in re.finditer(r"Depends: (linux-image-[0-9]\S+)", run(["apt-cache", *candidate(meta, suite)[0], "depends", meta])):
        return m[1]
    return meta


@functools.cache
def newest(prefix, pattern, suite=None):
    """The newest package whose name begins with prefix and matches pattern whole, or None."""
    names = run(["apt-cache", *apt(suite), "pkgnames", prefix]).split()
    names = [n for n in names if re.fullmatch(pattern, n)]
    return max(names, key=lambda n: [int(x) for x in re.findall(r"\d+", n)]) if names else None


@functools.cache
def unpack(package, suite=None):
    """Downloads and unpacks a package; returns the folder. The folder's name carries the version."""
    o, version = candidate(package, suite)
    out = f"{CACHE}/pkg/{package}_{version.replace(':', '%')}"
    with locked():
        if os.path.exists(f"{out}/.done"):
            return out
        with tempfile.TemporaryDirectory(dir=CACHE) as tmp:
            os.chmod(tmp, 0o777)  # apt downloads as its own user
            run(["apt-get", *o, "download", f"{package}={version}"], cwd=tmp)
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(out)
            run(["dpkg-deb", "-x", glob.glob(f"{tmp}/*.deb")[0], out])
        open(f"{out}/.done", "w", encoding="utf-8").close()
    return out


def qemu10():
    """A wrapper script that runs QEMU 10.0 from backports, for comparison. Its libraries are the system's QEMU 7.2's."""
    with locked():
        return _qemu10()


def _qemu10():
    binary = unpack("qemu-system-x86", BACKPORTS)
    home = f"{CACHE}/qemu10"
    wrapper = f"{home}/qemu-system-x86_64"
    if not os.path.exists(wrapper):
        for sub in ("data", "mods"):
            os.makedirs(f"{home}/{sub}", exist_ok=True)
        for p in (binary, unpack("qemu-system-common", BACKPORTS)):
            for f in glob.glob(p + "/usr/lib/x86_64-linux-gnu/qemu/*.so"):
                shutil.copy(f, f"{home}/mods")
        for pattern in (unpack("qemu-system-data", BACKPORTS) + "/usr/share/qemu/*",
                        unpack("seabios", BACKPORTS) + "/usr/share/seabios/*.bin", unpack("ipxe-qemu") + "/usr/lib/ipxe/qemu/*.rom"):
            for f in filter(os.path.isfile, glob.glob(pattern)):
                shutil.copy(f, f"{home}/data")
        with open(wrapper, "w", encoding="utf-8") as w:
            w.write(f'#!/bin/sh\nexport QEMU_MODULE_DIR={home}/mods\n'
                    f'exec {binary}/usr/bin/qemu-system-x86_64 -L {home}/data "$@"\n')
        os.chmod(wrapper, 0o755)
    r = subprocess.run([wrapper, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode or "version 10.0" not in r.stdout:
        raise RuntimeError(f"QEMU 10.0 does not run here: {r.stdout.strip().splitlines()[-1] if r.stdout else r.returncode}")
    return wrapper

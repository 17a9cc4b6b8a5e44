"""What the system tests share: TAP, the emulator as a child, QMP. Everything waits for output or descriptors, nothing sleeps.

VIRTUE_BIN is the binary under test; oracle() is QEMU 10.0 as a Debian package, to compare with."""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.abspath(os.environ.get("VIRTUE_BIN") or f"{HERE}/../../build/qemu-system-x86_64")
TIMEOUT = 60
sys.path.insert(0, f"{HERE}/../guest")


class Skip(Exception):
    pass


_oracle = []


def oracle():
    """QEMU 10.0's wrapper script; raises Skip where it cannot be had."""
    if not _oracle:
        try:
            import packages
            _oracle.append(os.environ.get("VIRTUE_ORACLE") or packages.qemu10())
        except Exception as e:
            _oracle.append(e)
    if isinstance(_oracle[0], Exception):
        raise Skip(f"no QEMU 10.0 to compare with: {_oracle[0]}")
    return _oracle[0]


def need_kvm():
    """Raises Skip where this host has no KVM that we may use."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        raise Skip(f"/dev/kvm: {e.strerror}") from None


TESTS = []


def test(name):
    """Decorator: registers a test under a name."""
    def add(fn):
        TESTS.append((name, fn))
        return fn
    return add


def main():
    """Runs the registered tests as TAP; arguments are substrings of the wanted names."""
    if not os.access(BIN, os.X_OK):
        sys.exit(f"Bail out! no emulator at {BIN}: set VIRTUE_BIN")
    want = [(n, f) for n, f in TESTS if not sys.argv[1:] or any(a in n for a in sys.argv[1:])]
    print(f"1..{len(want)}", flush=True)
    failed = 0
    for i, (name, fn) in enumerate(want, 1):
        try:
            fn()
            print(f"ok {i} - {name}", flush=True)
        except Skip as e:
            print(f"ok {i} - {name} # SKIP {e}", flush=True)
        except Exception as e:
            failed += 1
            text = str(e) if isinstance(e, AssertionError) and str(e) else traceback.format_exc(limit=-3)
            print("\n".join("# " + l for l in text.splitlines()))
            print(f"not ok {i} - {name}", flush=True)
    sys.exit(1 if failed else 0)


def same(got, want, what="value"):
    assert got == want, f"{what}:\n  got  {got!r}\n  want {want!r}"


class Done:
    def __init__(self, rc, out, err):
        self.rc, self.out, self.err = rc, out, err


def run(args, binary=None, stdin="", timeout=TIMEOUT, cwd=None, env=None):
    """Runs the emulator to its end; a run that does not end by itself fails."""
    p = subprocess.Popen([binary or BIN, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, errors="replace", cwd=cwd, env=env)
    try:
        out, err = p.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
        raise AssertionError(f"still running after {timeout} s: {' '.join(args)}\n{out}{err}") from None
    return Done(p.returncode, out, err)


class Qmp:
    def __init__(self, sock, negotiate=True, vm=None):
        self.sock, self.vm = sock, vm
        sock.settimeout(TIMEOUT)
        self.file = sock.makefile("r", encoding="utf-8", newline="\n")  # not "rw": a write forgets what was read ahead
        self.events = []
        self.greeting = self.read()
        if negotiate:
            same(self.raw({"execute": "qmp_capabilities"}), {"return": {}}, "qmp_capabilities")

    def read(self):
        try:
            line = self.file.readline()
        except ConnectionResetError:
            line = ""
        if not line:
            raise EOFError("QMP closed" + (f", status {self.vm.p.wait(5)}: {' '.join(self.vm.cmd)}\n{self.vm.text()}" if self.vm else ""))
        return json.loads(line)

    def send(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def reply(self):
        """The next message that is no event."""
        while True:
            m = self.read()
            if "event" not in m:
                return m
            self.events.append(m)

    def raw(self, request):
        self.send(request if isinstance(request, str) else json.dumps(request))
        return self.reply()

    def cmd(self, name, args=None, **more):
        args = dict(args or {}, **more)
        return self.raw({"execute": name, "arguments": args} if args else {"execute": name})

    def ok(self, name, args=None, **more):
        r = self.cmd(name, args, **more)
        assert "return" in r, f"{name}: {r}"
        return r["return"]

    def event(self, name):
        """Waits for an event and removes it and what came before it; returns it."""
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    del self.events[:i + 1]
                    return e
            m = self.read()
            assert "event" in m, f"waiting for {name}: {m}"
            self.events.append(m)

    def hmp(self, line):
        return self.ok("human-monitor-command", {"command-line": line})

    def close(self):
        self.file.close()
        self.sock.close()


class Vm:
    """A running emulator that connects to our sockets: .qmp, and .qtest with qtest=True. wrap: words before the binary."""

    def __init__(self, args, binary=None, qmp=True, qtest=False, negotiate=True, wrap=(), stdin=subprocess.DEVNULL, env=None):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-vm-")
        self.qmp = self.qtest = None
        self.p = None
        cmd, listeners = [*wrap, binary or BIN], []
        if qtest:
            listeners.append(self.listen("qtest"))
            cmd += ["-qtest", f"unix:{self.dir.name}/qtest", "-qtest-log", "/dev/null"]
        if qmp:
            listeners.append(self.listen("qmp"))
            cmd += ["-chardev", f"socket,path={self.dir.name}/qmp,id=char0", "-mon", "chardev=char0,mode=control"]
        self.cmd = cmd + ["-display", "none", *args]
        self.out = open(f"{self.dir.name}/out", "w+", encoding="utf-8", errors="replace")
        self.p = subprocess.Popen(self.cmd, stdin=stdin, stdout=subprocess.PIPE if stdin == subprocess.PIPE else self.out,
                                  stderr=self.out, env=env)
        try:
            socks = [self.accept(l) for l in listeners]
            if qtest:
                import qtest as q
                self.qtest = q.QTest(socks.pop(0), self)
            if qmp:
                self.qmp = Qmp(socks.pop(0), negotiate, self)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def listen(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.bind(f"{self.dir.name}/{name}")
        s.listen(1)
        return s

    def accept(self, listener):
        pid = os.pidfd_open(self.p.pid)
        try:
            r, _, _ = select.select([listener, pid], [], [], TIMEOUT)
            if listener not in r:
                raise AssertionError(f"did not connect ({self.p.poll()}): {' '.join(self.cmd)}\n{self.text()}")
            s, _ = listener.accept()
            s.settimeout(TIMEOUT)
            return s
        finally:
            os.close(pid)
            listener.close()

    def text(self):
        """What the emulator said on stdout and stderr so far."""
        self.out.flush()
        with open(self.out.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait(self, timeout=TIMEOUT):
        return self.p.wait(timeout)

    def terminate(self):
        """SIGTERM; returns the exit status."""
        self.p.send_signal(signal.SIGTERM)
        return self.p.wait(TIMEOUT)

    def close(self):
        for s in (self.qmp, self.qtest):
            if s:
                s.close()
        if self.p and self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(15)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        for f in (self.p and self.p.stdin, self.p and self.p.stdout, self.out):
            if f:
                f.close()
        self.dir.cleanup()


def until(what, fn, timeout=TIMEOUT):
    """Polls fn until it is true; for what gives no descriptor to wait on."""
    end = time.monotonic() + timeout
    while True:
        r = fn()
        if r:
            return r
        assert time.monotonic() < end, f"no {what} within {timeout} s"
        select.select([], [], [], 0.005)

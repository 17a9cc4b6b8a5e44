"""A running guest: the emulator as a child, its serial console, its QMP socket. No sleeps: everything waits for output."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time


class Timeout(Exception):
    pass


class Skip(Exception):
    """What a test needs is not there."""


class Guest:
    """Starts binary with args; serial is on stdio unless args say otherwise."""

    def __init__(self, binary, args, qmp=True, stdio_serial=True, log=None):
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-guest-")
        cmd = [binary, "-nodefaults", "-display", "none", *args]
        if stdio_serial:
            cmd += ["-serial", "stdio"]
        self.qmp_path = f"{self.dir.name}/qmp"
        if qmp:
            cmd += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        self.cmd = cmd
        self.p = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        os.set_blocking(self.p.stdout.fileno(), False)
        self.text = ""
        self.at = 0
        self.log = log
        self.sock = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def pump(self, timeout):
        """Reads what is there within timeout; False at the end of the output."""
        r, _, _ = select.select([self.p.stdout], [], [], max(timeout, 0))
        if not r:
            return True
        data = self.p.stdout.read()
        if data is None:
            return True
        if not data:
            return False
        s = data.decode(errors="replace")
        self.text += s
        if self.log:
            self.log.write(s)
            self.log.flush()
        return True

    def expect(self, pattern, timeout=120):
        """Waits for pattern behind what was matched before; returns the match."""
        end = time.monotonic() + timeout
        rx = re.compile(pattern)
        while True:
            m = rx.search(self.text, self.at)
            if m:
                self.at = m.end()
                return m
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(f"no '{pattern}' within {timeout} s; last output:\n{self.tail()}")
            if not self.pump(min(left, 1)):
                m = rx.search(self.text, self.at)
                if m:
                    self.at = m.end()
                    return m
                raise Timeout(f"the emulator ended ({self.p.wait()}) before '{pattern}'; last output:\n{self.tail()}")

    def tail(self, n=3000):
        return self.text[-n:]

    def send(self, text):
        self.p.stdin.write(text.encode())
        self.p.stdin.flush()

    def shell(self, command, timeout=60):
        """Runs a command in the guest's shell; returns its output."""
        tag = f"END{len(self.text) % 99991}"
        self.send(f"{command}; echo {tag[:3]}''{tag[3:]}:$?\n")
        start = self.at
        m = self.expect(rf"{tag}:(\d+)", timeout)
        out = self.text[start:m.start()]
        return int(m[1]), out.split("\n", 1)[1] if "\n" in out else out

    def qmp(self, command, **args):
        if not self.sock:
            end = time.monotonic() + 20
            while True:
                try:
                    self.sock = socket.socket(socket.AF_UNIX)
                    self.sock.connect(self.qmp_path)
                    break
                except OSError:
                    self.sock.close()
                    if time.monotonic() > end or self.p.poll() is not None:
                        raise
                    select.select([], [], [], 0.05)
            self.sock.settimeout(120)
            self.qfile = self.sock.makefile("rw")
            self.events = []
            json.loads(self.qfile.readline())
            self.qmp("qmp_capabilities")
        self.qfile.write(json.dumps({"execute": command, "arguments": args} if args else {"execute": command}) + "\n")
        self.qfile.flush()
        while True:
            line = self.qfile.readline()
            if not line:
                raise Timeout("QMP closed")
            reply = json.loads(line)
            if "event" in reply:
                self.events.append(reply)
                continue
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])
            return reply["return"]

    def event(self, name, match=lambda data: True):
        """The data of the next event of this name whose data match; it and all before it are forgotten."""
        if not self.sock:
            self.qmp("query-status")
        while True:
            while self.events:
                e = self.events.pop(0)
                if e["event"] == name and match(e.get("data", {})):
                    return e.get("data", {})
            line = self.qfile.readline()
            if not line:
                raise Timeout(f"QMP closed before {name}")
            self.events.append(json.loads(line))

    def wait(self, timeout=60):
        """Waits for the emulator to end by itself; returns its exit status."""
        end = time.monotonic() + timeout
        while self.pump(0.2):
            if self.p.poll() is not None and time.monotonic() > end - timeout + 1:
                self.pump(0)
                break
            if time.monotonic() > end:
                raise Timeout(f"still running after {timeout} s; last output:\n{self.tail()}")
        return self.p.wait(5)

    def close(self):
        if self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(10)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        if self.sock:
            self.sock.close()
        self.p.stdin.close()
        self.p.stdout.close()
        self.dir.cleanup()

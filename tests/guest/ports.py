"""virtio-serial and virtio-rng with Linux's drivers: 31 ports that echo while others come and go, events when the guest opens and closes
them, a host that does not read, a character device that is changed under a port; random bytes that pass FIPS 140-2."""
import fcntl
import os
import re
import socket
import struct
import subprocess
import tempfile
import termios
import threading

import images
import packages
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
KB = 1 << 10
PORTS, ECHO, BLOCKS = 31, 24 * KB, 190
TIMES = 10  # the writer sends 1 MB: more than its queue of 128 pieces of 1 KB, our buffers and the host's socket hold


class Port:
    """The host's end of a port: a socket of its character device."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(120)
        self.s.connect(path)

    def echo(self, size):
        """Whether what was sent came back as it was."""
        data, got = os.urandom(size), bytearray()
        t = threading.Thread(target=lambda: self.s.sendall(data), daemon=True)
        t.start()
        while len(got) < size:
            more = self.s.recv(1 << 16)
            if not more:
                return False
            got += more
        t.join()
        return bytes(got) == data

    def close(self):
        self.s.close()


def rngtest(path):
    """(successes, failures) of Debian's rngtest."""
    tool = packages.unpack("rng-tools-debian") + "/usr/bin/rngtest"
    with open(path, "rb") as f:
        r = subprocess.run([tool], stdin=f, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return tuple(int(re.search(rf"FIPS 140-2 {w}: (\d+)", r.stderr)[1]) for w in ("successes", "failures"))


def ports(binary, machine, device="", rounds=4):
    kernel = images.Kernel()
    with tempfile.TemporaryDirectory(prefix="virtue-ports-") as d:
        args = ["-accel", "tcg", "-M", machine, "-m", "256", "-smp", "2", "-kernel", kernel.image, "-initrd",
                images.initramfs(kernel, extra=[("bin/port-echo", images.program(f"{HERE}/port-echo.c"), 0o755)]), "-append", "console=ttyS0 quiet panic=-1",
                "-no-reboot", "-device", f"virtio-serial-pci,id=s{device}", "-device", f"virtio-rng-pci{device}"]
        for i in range(PORTS):
            args += ["-chardev", f"socket,id=c{i},path={d}/{i},server=on,wait=off"]
            args += ["-device", f"virtserialport,bus=s.0,chardev=c{i},id=p{i},nr={i},name=org.test.{i}" if i else
                     "virtconsole,bus=s.0,chardev=c0,id=p0,nr=0"]
        with open(f"{d}/random", "wb"):
            pass
        with Guest(binary, args) as g:
            g.qmp("query-status")
            g.expect("VIRTUE-DONE", 120)
            g.expect("# ", 30)
            rc, out = g.shell("names() { cat /sys/class/virtio-ports/*/name 2>/dev/null | sort -u | wc -l; }; n=0; "
                              "while [ $(names) != 30 -a $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; names; ls /dev/vport* | wc -l; ls /dev/hvc0", 60)
            yield "31 ports, 30 names", rc == 0 and re.findall(r"^\d+\r?$", out, re.M) == ["30\r", "31\r"], out
            g.shell("stty raw -echo < /dev/hvc0; rm -f /tmp/stop; port-echo & e=$!", 30)
            opened = {g.event("VSERPORT_CHANGE", lambda x: x["open"])["id"] for _ in range(PORTS - 1)}
            yield "an event for each port that is opened", opened == {f"p{i}" for i in range(1, PORTS)}, opened
            host = {i: Port(f"{d}/{i}") for i in range(1, PORTS)}
            yield "all echo", all(host[i].echo(4 * KB) for i in host), ""

            # The even ones carry data all the time, the odd ones leave and come.
            bad, stop = [], threading.Event()

            def traffic(i):
                try:
                    while not stop.is_set():
                        if not host[i].echo(ECHO):
                            bad.append(i)
                            return
                except OSError as e:
                    bad.append((i, e))

            threads = [threading.Thread(target=traffic, args=(i,), daemon=True) for i in range(2, PORTS, 2)]
            for t in threads:
                t.start()
            for n in range(rounds):
                for i in range(1, PORTS, 2):
                    g.qmp("device_del", id=f"p{i}")
                for i in range(1, PORTS, 2):
                    g.qmp("device_add", driver="virtserialport", bus="s.0", chardev=f"c{i}", id=f"p{i}", nr=i, name=f"org.test.{i}")
                back = {g.event("VSERPORT_CHANGE", lambda x: x["open"])["id"] for _ in range(1, PORTS, 2)}
                same = all(host[i].echo(4 * KB) for i in range(1, PORTS, 2))
                yield f"15 ports leave and come under traffic ({n})", len(back) == 15 and same and not bad, (back, same, bad)
            stop.set()
            for t in threads:
                t.join(120)
            yield "no byte of the others is lost", not bad and not any(t.is_alive() for t in threads), bad
            rc, out = g.shell("names; ls /dev/vport* | wc -l", 30)
            yield "31 ports again", re.findall(r"^\d+\r?$", out, re.M) == ["30\r", "31\r"], out
            try:
                g.qmp("device_add", driver="virtserialport", bus="s.0", id="more")
                yield "one more does not fit", False, ""
            except RuntimeError as e:
                yield "one more does not fit", "Out-of-range port id specified, max. allowed: 30" in str(e), e
            g.shell("kill $e; wait $e 2>/dev/null", 30)
            closed = {g.event("VSERPORT_CHANGE", lambda x: not x["open"])["id"] for _ in range(1, PORTS)}
            yield "an event for each port that is closed", len(closed) == PORTS - 1, closed

            # A host that does not read for a while: the guest's writer waits, all bytes come in order.
            g.shell(f"p() {{ ls -d /dev/vport*p$1; }}; seq 1 20000 > /tmp/some; for i in $(seq {TIMES}); do cat /tmp/some; done > /tmp/all; "
                    "dd if=/tmp/all of=$(p 3) bs=1k 2>/dev/null & w=$!", 60)
            rc, out = g.shell("sleep 1; kill -0 $w", 30)
            yield "the writer waits for a host that does not read", rc == 0, out
            got, want = bytearray(), "".join(f"{i}\n" for i in range(1, 20001)).encode() * TIMES
            while len(got) < len(want):
                got += host[3].s.recv(30000)
            yield "and no byte is lost", bytes(got) == want, (len(got), len(want))
            g.shell("wait $w", 60)

            # Another character device behind a port that the guest has open.
            g.shell("exec 5> $(p 5); echo before >&5", 30)
            first = host[5].s.recv(100)
            g.qmp("chardev-change", id="c5", backend={"type": "file", "data": {"out": f"{d}/changed"}})
            g.shell("echo after >&5; exec 5>&-", 30)
            with open(f"{d}/changed", "rb") as f:
                second = f.read()
            yield "chardev-change under an open port", (first, second) == (b"before\n", b"after\n"), (first, second)

            # The console.
            con = socket.socket(socket.AF_UNIX)
            con.settimeout(60)
            con.connect(f"{d}/0")
            g.shell("head -c 6 /dev/hvc0 > /tmp/heard & h=$!; sleep 1; echo prompt > /dev/hvc0", 30)
            said = con.recv(100)
            con.sendall(b"typed\r")
            rc, out = g.shell("wait $h; cat /tmp/heard", 60)
            yield "the console both ways", said.startswith(b"prompt") and "typed" in out, (said, out)
            con.close()

            # Random bytes, through a port into a file.
            g.qmp("chardev-change", id="c7", backend={"type": "file", "data": {"out": f"{d}/random"}})
            g.shell(f"head -c {2500 * BLOCKS + 8} /dev/hwrng > $(p 7); cat /sys/class/misc/hw_random/rng_current", 300)
            passed, failed = rngtest(f"{d}/random")
            yield f"rngtest: {passed} blocks pass FIPS 140-2, {failed} do not", passed >= BLOCKS - 5 and failed <= 5, (passed, failed)
            rc, out = g.shell("dmesg | grep -E 'BUG|WARNING|Oops|hung'", 30)
            yield "no complaint", rc != 0, out
            for p in host.values():
                p.close()
            g.send("poweroff -f\n")
            yield "end", g.wait() == 0, g.tail()


def size(binary):
    """The size of a terminal in the guest; one port, as Linux reads it from configuration space then."""
    kernel = images.Kernel()
    args = ["-accel", "tcg", "-M", "q35", "-m", "256", "-kernel", kernel.image, "-initrd", images.initramfs(kernel), "-append",
            "console=ttyS0 quiet panic=-1", "-no-reboot", "-device", "virtio-serial-pci,x-size=on,max_ports=1", "-chardev", "pty,id=c", "-device",
            "virtconsole,chardev=c"]
    with Guest(binary, args) as g:
        tty = os.open(g.expect(r"redirected to (/dev/pts/\d+)", 60)[1], os.O_RDWR | os.O_NOCTTY)
        g.expect("VIRTUE-DONE", 120)
        g.expect("# ", 30)
        for cols, rows in ((132, 43), (80, 25)):
            fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
            rc, out = g.shell(f"n=0; while [ \"$(stty size < /dev/hvc0)\" != '{rows} {cols}' -a $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done; stty size < /dev/hvc0", 60)
            yield f"{cols} columns, {rows} rows", re.search(rf"^{rows} {cols}\r?$", out, re.M) is not None, out
        os.close(tty)
        g.send("poweroff -f\n")
        yield "end", g.wait() == 0, g.tail()


TESTS = {"ports": lambda b: ports(b, "q35")}
FULL = {"console size": size, "ports pc packed": lambda b: ports(b, "pc", ",packed=on", 40), "ports legacy": lambda b: ports(b, "pc", ",disable-modern=on", 10)}

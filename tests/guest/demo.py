#!/usr/bin/env python3
"""The demo guest: a Debian cloud kernel with root on virtio-blk, network on virtio-net, console on virtio-console.
--check runs a self-test inside it, a line each, exit 0 or 1."""
import argparse
import hashlib
import http.server
import os
import re
import shutil
import socket
import sys
import tempfile
import threading

import images
from guest import Guest, Timeout

BLOB_MB = 20
HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def command(kernel, disk, console):
    return ["-accel", "tcg", "-M", "q35", "-m", "512", "-smp", "1",
            "-kernel", kernel.image, "-initrd", images.initramfs(kernel),
            "-append", "console=ttyS0 quiet virtue=root",
            "-drive", f"if=none,id=root,file={disk},format=raw", "-device", "virtio-blk-pci,drive=root",
            "-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0",
            "-device", "virtio-serial-pci", "-chardev", console, "-device", "virtconsole,chardev=con0",
            "-device", "virtio-rng-pci"]


def fresh_disk(folder):
    disk = f"{folder}/root.ext4"
    shutil.copy(images.rootfs(), disk)
    return disk


class Quiet(http.server.BaseHTTPRequestHandler):
    blob = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.blob)))
        self.end_headers()
        self.wfile.write(self.blob)

    def log_message(self, *_):
        pass


def self_test(binary, verbose):
    """Yields (name, ok, detail)."""
    Quiet.blob = os.urandom(1 << 20) * BLOB_MB
    want = hashlib.sha256(Quiet.blob).hexdigest()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="virtue-demo-") as d:
        con = f"{d}/con"
        args = command(images.Kernel(), fresh_disk(d), f"socket,id=con0,path={con},server=on,wait=off")
        with Guest(binary, args, log=sys.stderr if verbose else None) as g:
            g.expect("VIRTUE-READY", 240)
            g.send("\n")
            g.expect("# ", 30)
            rc, out = g.shell("dd if=/dev/urandom of=/root/data bs=64k count=64 2>/dev/null && sha256sum /root/data && sync", 120)
            first = HASH.search(out)
            yield "disk: write, read, flush", rc == 0 and bool(first), out
            rc, out = g.shell("ip -4 addr show eth0", 30)
            yield "network: address by DHCP", rc == 0 and "10.0.2.15" in out, out
            rc, out = g.shell(f"wget -q -O - http://10.0.2.2:{server.server_port}/blob | sha256sum", 240)
            yield f"network: {BLOB_MB} MB over TCP from the host", rc == 0 and want in out, out
            rc, out = g.shell("cat /sys/class/misc/hw_random/rng_current; "
                              "dd if=/dev/hwrng bs=32 count=4 2>/dev/null | hexdump -v -e '32/1 \"%02x\" \"\\n\"'", 60)
            lines = [l for l in out.split() if len(l) == 64]
            yield "random numbers: /dev/hwrng is virtio-rng", rc == 0 and "virtio_rng" in out and len(set(lines)) == 4, out
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(60)
            s.connect(con)
            s.sendall(b"ping across the console\n")
            got = b""
            try:
                while b"hvc0 heard: ping across the console" not in got:
                    more = s.recv(4096)
                    if not more:
                        break
                    got += more
            except socket.timeout:
                pass
            yield "console: both ways over virtio-console", b"hvc0 heard: ping across the console" in got, repr(got)
            g.send("reboot\n")
            g.expect("VIRTUE-READY", 240)
            g.send("\n")
            g.expect("# ", 30)
            rc, out = g.shell("sha256sum /root/data", 60)
            again = HASH.search(out)
            kept = rc == 0 and first and again and first[0] == again[0]
            yield "disk: contents kept across a reboot", bool(kept), f"before: {first and first[0]}\n{out}"
            g.send("poweroff\n")
            rc = g.wait(120)
            yield "power-off ends the emulator", rc == 0, f"exit status {rc}"
    server.shutdown()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin", required=True)
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--verbose", action="store_true", help="show the guest's console during --check")
    args = ap.parse_args()
    if not args.check:
        with tempfile.TemporaryDirectory(prefix="virtue-demo-") as d:
            cmd = [args.bin, "-nodefaults", *command(images.Kernel(), fresh_disk(d), "null,id=con0"), "-nographic", "-serial", "mon:stdio"]
            print(" ".join(cmd))
            return os.spawnv(os.P_WAIT, args.bin, cmd)
    failed = 0
    try:
        for name, ok, detail in self_test(args.bin, args.verbose):
            print(("ok   " if ok else "FAIL ") + name, flush=True)
            if not ok:
                failed += 1
                print(detail)
    except Timeout as e:
        print(f"FAIL {e}")
        failed += 1
    print("demo: all well" if not failed else f"demo: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

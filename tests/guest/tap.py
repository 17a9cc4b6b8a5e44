"""virtio-net on a tap interface, in a network namespace of its own: ping, 20 MB each way with checksums, segmentation offload."""
import fcntl
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.request

import images
from guest import Guest, Skip

MB = 20
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 0x0002, 0x1000, 0x4000  # linux/if_tun.h
IFNAME, HOST, PEER = "virtue0", "192.168.177.1", "192.168.177.2"


def ip(*args):
    return subprocess.run(["ip", *args], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout


def counters():
    """(bytes, frames) from the guest and to the guest; the host's view of the tap."""
    s = json.loads(ip("-s", "-j", "link", "show", "dev", IFNAME))[0]["stats64"]
    return s["rx"]["bytes"], s["rx"]["packets"], s["tx"]["bytes"], s["tx"]["packets"]


class Blob(http.server.BaseHTTPRequestHandler):
    blob = b""

    def do_GET(self):
        self.send_response(200)
        blob = self.blob[:100] if self.path == "/small" else self.blob
        self.send_header("Content-Length", str(len(blob)))
        self.end_headers()
        self.wfile.write(blob)

    def log_message(self, *_):
        pass


def fetch():
    """What the guest's server hands out, as a checksum."""
    h = hashlib.sha256()
    with urllib.request.urlopen(f"http://{PEER}:8000/blob", timeout=240) as r:
        while data := r.read(1 << 16):
            h.update(data)
    return h.hexdigest()


def transfer(binary, device):
    """Runs inside the namespace."""
    kernel = images.Kernel()
    Blob.blob = os.urandom(1 << 20) * MB
    want = hashlib.sha256(Blob.blob).hexdigest()
    queues = ",queues=4" if "mq=on" in device else ""
    args = ["-accel", "tcg", "-M", "q35", "-m", "256", "-kernel", kernel.image, "-initrd", images.initramfs(kernel), "-append",
            "console=ttyS0 quiet panic=-1", "-no-reboot", "-netdev", f"tap,id=n0,ifname={IFNAME},script=no,downscript=no{queues}",
            "-device", f"virtio-net-pci,netdev=n0{device}", *(["-smp", "2"] if queues else [])]
    with Guest(binary, args) as g:
        g.expect("VIRTUE-DONE", 120)
        g.expect("# ", 30)
        server = http.server.ThreadingHTTPServer((HOST, 0), Blob)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rc, out = g.shell(f"ip link set eth0 up; ip addr add {PEER}/24 dev eth0; ping -c 3 -W 5 {HOST}", 60)
        yield "tap: ping", rc == 0 and "3 packets received" in out, out
        before = counters()
        rc, out = g.shell(f"wget -q -O /tmp/blob http://{HOST}:{server.server_port}/; sha256sum /tmp/blob", 240)
        middle = counters()
        yield f"tap: {MB} MB to the guest", rc == 0 and want in out, out
        rc, out = g.shell("httpd -p 8000 -h /tmp", 60)
        got = fetch()
        after = counters()
        yield f"tap: {MB} MB from the guest", rc == 0 and got == want, (out, got)
        down = (middle[2] - before[2]) / max(middle[3] - before[3], 1)
        up = (after[0] - middle[0]) / max(after[1] - middle[1], 1)
        if queues:
            # One stream each way has one queue; many short ones reach both pairs that two CPUs have.
            rc, out = g.shell("for i in $(seq 40); do wget -q -O /dev/null http://%s:%d/small; done; "
                              "grep -E 'virtio[0-9]+-(in|out)put' /proc/interrupts" % (HOST, server.server_port), 240)
            used = {m[1]: sum(map(int, m[0].split())) for m in re.findall(r"^\s*\d+:((?:\s+\d+)+).*virtio\d+-(\w+\.\d)\s*$", out, re.M)}
            yield "tap: both queue pairs are used", {q for q, n in used.items() if n} >= {"input.0", "input.1", "output.0", "output.1"}, out
        big = not device or bool(queues)
        yield f"tap: average frame to the guest {down:.0f}, from it {up:.0f} bytes", (down > 1514) == big and (up > 1514) == big, \
            (before, middle, after)
        g.send("poweroff -f\n")
        yield "tap: power-off", g.wait() == 0, g.tail()
        server.shutdown()


def named(binary, _):
    """A tap descriptor that comes over QMP: getfd, netdev_add, device_add, and the guest pings through it."""
    kernel = images.Kernel()
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"virtue1", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    ip("addr", "flush", "dev", IFNAME)
    ip("addr", "add", f"{HOST}/24", "dev", "virtue1")
    ip("link", "set", "virtue1", "up")
    with Guest(binary, ["-accel", "tcg", "-M", "pc", "-m", "256", "-kernel", kernel.image, "-initrd", images.initramfs(kernel), "-append",
                        "console=ttyS0 quiet panic=-1"]) as g:
        g.expect("VIRTUE-DONE", 120)
        g.expect("# ", 30)
        g.qmp("query-status")
        try:
            g.qmp("netdev_add", type="tap", id="n0", fd="mytap")
            yield "tap by name: unknown before getfd", False, "accepted"
        except RuntimeError as e:
            yield "tap by name: unknown before getfd", str(e) == "File descriptor named 'mytap' has not been found", e
        socket.send_fds(g.sock, [b'{"execute": "getfd", "arguments": {"fdname": "mytap"}}\n'], [tun])
        reply = json.loads(g.qfile.readline())
        os.close(tun)
        yield "tap by name: getfd", reply == {"return": {}}, reply
        g.qmp("netdev_add", type="tap", id="n0", fd="mytap")
        g.qmp("device_add", driver="virtio-net-pci", id="nic", netdev="n0")
        rc, out = g.shell("n=0; until [ -e /sys/class/net/eth0 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done; "
                          f"ip link set eth0 up; ip addr add {PEER}/24 dev eth0; ping -c 2 -W 5 {HOST}", 60)
        yield "tap by name: a hot-plugged virtio-net pings through it", rc == 0 and "2 packets received" in out, out
        try:
            g.qmp("netdev_add", type="tap", id="n1", fd="mytap")
            yield "tap by name: the name is used up", False, "accepted"
        except RuntimeError as e:
            yield "tap by name: the name is used up", "has not been found" in str(e), e


def in_namespace(binary, device):
    """This file again as a program in a namespace of its own; its lines are the steps."""
    if os.geteuid():
        raise Skip("a tap interface needs root")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun")
    if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no network namespace of one's own here")
    r = subprocess.run(["unshare", "-n", sys.executable, __file__, binary, device], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=False)
    for line in r.stdout.splitlines():
        m = re.match(r"STEP (\d) (.*)$", line)
        if m:
            yield m[2], m[1] == "1", r.stdout
    yield "tap: all steps", r.returncode == 0, r.stdout


def main(binary, device):
    ip("link", "set", "lo", "up")
    ip("tuntap", "add", "dev", IFNAME, "mode", "tap", "vnet_hdr", *(["multi_queue"] if "mq=on" in device else []))
    ip("addr", "add", f"{HOST}/24", "dev", IFNAME)
    ip("link", "set", IFNAME, "up")
    failed = 0
    for name, ok, detail in (named if device == "named" else transfer)(binary, device):
        print(f"STEP {int(bool(ok))} {name}")
        if not ok:
            print(detail)
            failed += 1
    return 1 if failed else 0


TESTS = {"offload": lambda b: in_namespace(b, ""), "named": lambda b: in_namespace(b, "named")}
FULL = {"queues": lambda b: in_namespace(b, ",mq=on"), "plain": lambda b: in_namespace(b, ",csum=off,guest_csum=off,gso=off,mrg_rxbuf=off")}
if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

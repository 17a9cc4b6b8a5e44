#!/usr/bin/env python3
"""TCP of a Linux guest under tcg through virtio-net, e1000 and rtl8139 in the same guest, by the user network; by itself it draws the chart:
netbench.py --ours BINARY [--theirs qemu-system-x86_64] [--boots N] OUTPUT.svg"""
import argparse
import os
import re
import socket
import statistics
import sys
import time
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest"))
import wire  # noqa: E402

CARDS = ("virtio-net-pci", "e1000", "rtl8139")
WAYS = {"send": "from the guest", "fetch": "to the guest"}
MB, WARM = 32, 4
_boots = {}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def boot(binary):
    """{(card, way): ms for a MiB} of one boot; every card has a network of its own."""
    args, port, ms = [], free_port(), {}
    for i, card in enumerate(CARDS):
        args += ["-netdev", f"user,id=n{i},net=10.{i}.0.0/24,ipv6=off", "-device", f"{card},netdev=n{i},mac=52:54:00:00:00:0{i},romfile="]
    with wire.HostPeer(port), wire.linux(binary, "q35", args, package="linux-image-amd64", modules=["e1000", "8139cp"]) as g:
        wire.up(g)
        for i, card in enumerate(CARDS):
            g.shell(f"for d in /sys/class/net/eth*; do grep -q 00:0{i}\\$ $d/address && e=${{d##*/}}; done; ip link set $e up; ip addr add 10.{i}.0.15/24 dev $e; "
                    f"n=0; until [ $(cat /sys/class/net/$e/carrier) = 1 ] || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done", 60)
            for way in WAYS:
                for mb in (WARM, MB):
                    at = time.monotonic()
                    rc, out = g.shell(f"net-peer {way} 10.{i}.0.2 {port} 1 {mb << 20}", 240)
                    ms[card, way] = (time.monotonic() - at) * 1e3 / mb
                    if not re.search(r"^ok\s*$", out, re.M):
                        raise RuntimeError(f"{card}, {way}: {out}")
    return ms


def row(card, way):
    """fn(ctx, binary) for bench.py; the n-th call of a row takes the n-th boot of that binary."""
    calls = {}

    def go(_, binary):
        n = calls[binary] = calls.get(binary, -1) + 1
        boots = _boots.setdefault(binary, [])
        if len(boots) <= n:
            boots.append(boot(binary))
        return boots[n][card, way]
    return go


def svg(bars, title):
    """bars: (label, MiB/s, ours); longer is better."""
    left, width, line, top = 330, 420, 22, 40
    most, height = max(v for _, v, _ in bars), top + line * len(bars) + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 80}" height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="20" font-size="15">{escape(title)}</text>']
    for i, (label, value, ours) in enumerate(bars):
        y = top + line * i
        out.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{max(width * value / most, 1):.0f}" height="14" fill="{"#3a7d44" if ours else "#888"}"/>')
        out.append(f'<text x="{left + width * value / most + 4:.0f}" y="{y + 11}">{value:.1f}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--ours", required=True)
    ap.add_argument("--theirs", default="qemu-system-x86_64")
    ap.add_argument("--boots", type=int, default=1)
    ap.add_argument("output")
    a = ap.parse_args()
    boots = [(name, boot(binary)) for _ in range(a.boots) for name, binary in (("ours", os.path.abspath(a.ours)), ("QEMU 7.2", a.theirs))]
    bars = []
    for way, said in WAYS.items():
        for card in CARDS:
            for name in ("ours", "QEMU 7.2"):
                ms = statistics.median(b[card, way] for n, b in boots if n == name)
                bars.append((f"{card} {said}, {name}", 1e3 / ms, name == "ours"))
                print(f"{bars[-1][0]}: {ms:.1f} ms/MiB", flush=True)
    with open(a.output, "w", encoding="utf-8") as f:
        f.write(svg(bars, "TCP of a Linux guest by the user network, tcg: MiB/s, longer is better"))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""TCP of a Linux guest under tcg through virtio-net, e1000 and rtl8139 in the same guest, by the user network. By itself it draws the chart:
netbench.py --ours BINARY [--theirs qemu-system-x86_64] [--boots N] [--wrap "WORDS IN FRONT"] OUTPUT.svg. --once BINARY is one boot, as JSON."""
import argparse
import json
import os
import re
import shlex
import socket
import statistics
import subprocess
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


# ---- the picture ----

LEFT, WIDTH, BAR, GAP, TOP, PANEL = 150, 470, 17, 12, 64, 26
COLOURS = {"ours": "#3a7d44", "QEMU 7.2": "#9aa0a6"}


def ticks(most):
    """Round numbers from 0 to just beyond the longest bar, at most seven."""
    step = next(k * 10 ** e for e in range(6) for k in (1, 2, 5) if most / (k * 10 ** e) <= 6)
    return [i * step for i in range(int(most / step) + 2)]


def svg(rates, notes):
    """rates: {(way, card, name): MiB/s}; longer is better. notes: lines below."""
    scale = ticks(max(rates.values()))
    group = len(COLOURS) * BAR + GAP
    panel = PANEL + len(CARDS) * group
    bottom = TOP + len(WAYS) * panel
    height, out = bottom + 46 + 16 * len(notes), []

    def text(x, y, words, size=12, anchor="start", more=""):
        out.append(f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"{more}>{escape(words)}</text>')

    def at(value):
        return LEFT + WIDTH * value / scale[-1]

    text(10, 22, "TCP through three network cards of one Linux guest (tcg, user network)", 15)
    for i, (name, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{LEFT + 110 * i}" y="34" width="12" height="12" fill="{colour}"/>')
        text(LEFT + 110 * i + 17, 44, name)
    for tick in scale:
        out.append(f'<line x1="{at(tick):.0f}" y1="{TOP}" x2="{at(tick):.0f}" y2="{bottom}" stroke="#ddd"/>')
        text(at(tick), bottom + 16, f"{tick:g}", anchor="middle")
    text(LEFT + WIDTH / 2, bottom + 34, "MiB/s, longer is better", anchor="middle")
    for w, (way, said) in enumerate(WAYS.items()):
        y = TOP + w * panel + 16
        text(10, y, said.capitalize(), 13, more=' font-weight="bold"')
        for c, card in enumerate(CARDS):
            top = TOP + w * panel + PANEL + c * group
            text(LEFT - 8, top + BAR * len(COLOURS) / 2 + 4, card, anchor="end")
            for b, (name, colour) in enumerate(COLOURS.items()):
                value = rates[way, card, name]
                out.append(f'<rect x="{LEFT}" y="{top + b * BAR}" width="{max(at(value) - LEFT, 1):.0f}" height="{BAR - 2}" fill="{colour}"/>')
                text(at(value) + 4, top + b * BAR + 12, f"{value:.1f}")
    for i, note in enumerate(notes):
        text(10, bottom + 52 + 16 * i, note, 11)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}" font-family="sans-serif">'
            '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(out) + "\n</svg>\n")


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return f"{cpu[1] if cpu else 'an unnamed CPU'}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


def measured(wrap, binary):
    """A boot in a process of its own, once more if it breaks."""
    cmd = [*wrap, sys.executable, os.path.abspath(__file__), "--once", binary]
    for _ in range(2):
        r = subprocess.run(cmd, stdout=subprocess.PIPE, text=True, check=False)
        if not r.returncode:
            return {tuple(k.split()): v for k, v in json.loads(r.stdout.splitlines()[-1]).items()}
    raise RuntimeError(f"{shlex.join(cmd)}: status {r.returncode}")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--once")
    ap.add_argument("--ours")
    ap.add_argument("--theirs", default="qemu-system-x86_64")
    ap.add_argument("--boots", type=int, default=3)
    ap.add_argument("--wrap", default="", help="words in front of each boot's command")
    ap.add_argument("output", nargs="?")
    a = ap.parse_args()
    if a.once:
        print(json.dumps({" ".join(k): v for k, v in boot(a.once).items()}))
        return
    if not a.ours or not a.output:
        ap.error("--ours and the output's name")
    names = {"ours": os.path.abspath(a.ours), "QEMU 7.2": a.theirs}
    boots, load = [], os.getloadavg()[0]
    for n in range(a.boots):
        for name, binary in names.items():
            boots.append((name, measured(shlex.split(a.wrap), binary)))
            print(f"boot {n + 1}, {name}", file=sys.stderr, flush=True)
    rates = {}
    for way, said in WAYS.items():
        for card in CARDS:
            for name in names:
                ms = statistics.median(b[card, way] for n, b in boots if n == name)
                rates[way, card, name] = 1e3 / ms
                print(f"{card} {said}, {name}: {1e3 / ms:.1f} MiB/s", flush=True)
    notes = [f"{MB} MiB of a TCP connection to the host, compared at both ends. Medians of {a.boots} boots of each, taken in turns.",
             "Guest: Debian's Linux 6.1, one CPU, q35, -accel tcg; drivers virtio_net (split ring), e1000, 8139cp.",
             f"Host: {machine()}; load at the start {load:.1f}."]
    with open(a.output, "w", encoding="utf-8") as f:
        f.write(svg(rates, notes))


if __name__ == "__main__":
    main()

"""A bar chart as SVG: each row's ratio to QEMU 7.2 on a logarithmic scale, with its goal."""
import math
from xml.sax.saxutils import escape

LEFT, WIDTH, LINE, TOP = 400, 420, 22, 50
LOW, HIGH = 0.01, 4.0


def _x(ratio):
    r = min(max(ratio, LOW), HIGH)
    return LEFT + WIDTH * math.log(r / LOW) / math.log(HIGH / LOW)


def svg(rows, title):
    """rows: (label, ratio, goal or None); smaller is better. Returns the file's text."""
    height = TOP + LINE * len(rows) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 80}" height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="10" y="20" font-size="15">{escape(title)}</text>']
    for tick in (0.01, 0.03, 0.1, 0.3, 1, 3):
        x = _x(tick)
        out.append(f'<line x1="{x:.0f}" y1="{TOP - 12}" x2="{x:.0f}" y2="{height - 35}" stroke="{"#888" if tick == 1 else "#ddd"}"/>')
        out.append(f'<text x="{x:.0f}" y="{height - 20}" text-anchor="middle">{tick:g}</text>')
    for i, (label, ratio, goal) in enumerate(rows):
        y = TOP + LINE * i
        good = goal is None or ratio <= goal
        out.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y}" width="{max(_x(ratio) - LEFT, 1):.0f}" height="14" fill="{"#3a7d44" if good else "#c0722d"}"/>')
        out.append(f'<text x="{_x(ratio) + 4:.0f}" y="{y + 11}">{ratio:.2f}</text>')
        if goal is not None:
            out.append(f'<line x1="{_x(goal):.0f}" y1="{y - 2}" x2="{_x(goal):.0f}" y2="{y + 16}" stroke="black" stroke-width="2"/>')
    out.append(f'<text x="{LEFT}" y="{height - 4}">ours / QEMU 7.2, smaller is better; black marks: goals</text></svg>')
    return "\n".join(out) + "\n"

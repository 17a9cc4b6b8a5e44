"""Pictures that screendump writes: width, height and rows of 24-bit RGB, of PPM (netpbm, P6) and PNG (W3C PNG, 5 and 9)."""
import zlib


def ppm(path):
    with open(path, "rb") as f:
        head, size, depth = f.readline(), f.readline(), f.readline()
        assert (head, depth) == (b"P6\n", b"255\n"), (head, size, depth)
        width, height = map(int, size.split())
        rows = [f.read(3 * width) for _ in range(height)]
        assert len(rows[-1]) == 3 * width and not f.read(), "not the size it says"
    return width, height, rows


def png(path):
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(data):
        n, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        chunk = data[at + 8:at + 8 + n]
        assert zlib.crc32(kind + chunk) == int.from_bytes(data[at + 8 + n:at + 12 + n], "big"), kind
        if kind == b"IHDR":
            width, height = int.from_bytes(chunk[:4], "big"), int.from_bytes(chunk[4:8], "big")
            assert chunk[8:] == b"\x08\x02\0\0\0", chunk
        body += chunk if kind == b"IDAT" else b""
        at += 12 + n
    raw, above, rows = zlib.decompress(body), bytearray(3 * width), []
    for y in range(height):
        line = raw[y * (3 * width + 1):(y + 1) * (3 * width + 1)]
        above = unfilter(line[0], bytearray(line[1:]), above)
        rows.append(bytes(above))
    return width, height, rows


def unfilter(kind, row, above):
    """9.2: none, left, up, their mean, the one that is nearest to left + up - corner."""
    if kind == 2:
        return bytearray((a + b) & 255 for a, b in zip(row, above))
    for i in range(len(row) if kind else 0):
        left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
        p = left + above[i] - corner
        near = min((abs(p - left), 0, left), (abs(p - above[i]), 1, above[i]), (abs(p - corner), 2, corner))[2]
        row[i] = row[i] + (left, 0, (left + above[i]) // 2, near)[kind - 1] & 255
    return row

"""A small RFB client (RFC 6143) for tests: raw pixels, cursor shape, desktop size, keys, pointer, VNC authentication."""
import os
import select
import socket
import struct

RAW, COPYRECT, CURSOR, DESKTOP_SIZE, EXT_DESKTOP_SIZE, EXT_KEY, LED = 0, 1, -239, -223, -308, -258, -261
LIBVNC_LED = -0x20000  # libvncserver's own: the lights stand where x is


def des_encrypt(key8, data):
    """VNC's DES: each key byte with its bits the other way round (RFC 6143, 7.2.2). FIPS 46-3, one block at a time."""
    key = int.from_bytes(bytes(int(f"{b:08b}"[::-1], 2) for b in key8), "big")

    def permute(v, width, table):
        r = 0
        for p in table:
            r = r << 1 | v >> (width - p) & 1
        return r
    k56 = permute(key, 64, PC1)
    c, d, keys = k56 >> 28, k56 & 0xfffffff, []
    for n in SHIFTS:
        c, d = (c << n | c >> (28 - n)) & 0xfffffff, (d << n | d >> (28 - n)) & 0xfffffff
        keys.append(permute(c << 28 | d, 56, PC2))
    out = b""
    for i in range(0, len(data), 8):
        v = permute(int.from_bytes(data[i:i + 8], "big"), 64, IP)
        left, right = v >> 32, v & 0xffffffff
        for k in keys:
            x, f = permute(right, 32, E) ^ k, 0
            for s in range(8):
                six = x >> (42 - 6 * s) & 63
                f = f << 4 | SBOX[s][(six >> 4 & 2 | six & 1) * 16 + (six >> 1 & 15)]
            left, right = right, left ^ permute(f, 32, P)
        out += permute(right << 32 | left, 64, FP).to_bytes(8, "big")
    return out


IP = [i - 8 * j for i in (58, 60, 62, 64, 57, 59, 61, 63) for j in range(8)]
FP = [0] * 64
for _i, _p in enumerate(IP):
    FP[_p - 1] = _i + 1
E = [(4 * i + j - 1) % 32 + 1 for i in range(8) for j in range(6)]
P = [16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25]
PC1 = [57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
       63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4]
PC2 = [14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
       41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32]
SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]
SBOX = [[int(c, 16) for c in s] for s in (
    "e4d12fb83a6c5907" "0f74e2d1a6cb9538" "41e8d62bfc973a50" "fc8249175b3ea06d",
    "f18e6b34972dc05a" "3d47f28ec01a69b5" "0e7ba4d158c6932f" "d8a13f42b67c05e9",
    "a09e63f51dc7b428" "d709346a285ecbf1" "d6498f30b12c5ae7" "1ad069874fe3b52c",
    "7de3069a1285bc4f" "d8b56f03472c1ae9" "a690cb7df13e5284" "3f06a1d8945bc72e",
    "2c417ab6853fd0e9" "eb2c47d150fa3986" "421bad78f9c5630e" "b8c71e2d6f09a453",
    "c1af92680d34e75b" "af427c9561de0b38" "9ef528c3704a1db6" "432c95fabe17608d",
    "4b2ef08d3c975a61" "d0b7491ae35c2f86" "14bdc37eaf680592" "6bd814a7950fe23c",
    "d2846fb1a93e50c7" "1fd8a374c56b0e92" "7b419ce206adf358" "21e74a8dfc90356b")]


class Refused(Exception):
    pass


class Rfb:
    """Connected and initialized; .pixels is bytes of x8r8g8b8, .width * .height of them."""

    def __init__(self, where, password=None, shared=True, encodings=(RAW, CURSOR, DESKTOP_SIZE, EXT_DESKTOP_SIZE), timeout=60):
        if isinstance(where, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(where)
        else:
            self.sock = socket.create_connection(where)
        self.sock.settimeout(timeout)
        self.cursor = self.screens = self.leds = None
        self.ext_key, self.resizes = False, []
        same = self.read(12)
        assert same == b"RFB 003.008\n", same
        self.sock.sendall(b"RFB 003.008\n")
        types = self.read(self.read(1)[0])
        if password is None:
            assert 1 in types, types
            self.sock.sendall(b"\1")
        else:
            assert list(types) == [2], types
            self.sock.sendall(b"\2")
            self.sock.sendall(des_encrypt(password.encode().ljust(8, b"\0")[:8], self.read(16)))
        if self.read(4) != bytes(4):
            raise Refused(self.read(struct.unpack(">I", self.read(4))[0]).decode())
        self.sock.sendall(bytes([shared]))
        self.width, self.height, fmt, n = struct.unpack(">HH16sI", self.read(24))
        self.name = self.read(n).decode()
        self.sock.sendall(b"\0\0\0\0" + struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.sock.sendall(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))
        self.blank()

    def blank(self):
        self.pixels = bytearray(4 * self.width * self.height)

    def read(self, n):
        out = bytearray()
        while len(out) < n:
            more = self.sock.recv(min(n - len(out), 1 << 20))
            if not more:
                raise EOFError(f"the server hung up, {len(out)} of {n} bytes")
            out += more
        return bytes(out)

    def request(self, incremental=True):
        self.sock.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def rect(self):
        x, y, w, h, kind = struct.unpack(">HHHHi", self.read(12))
        if kind == RAW:
            data = self.read(4 * w * h)
            for row in range(h):
                at = 4 * ((y + row) * self.width + x)
                self.pixels[at:at + 4 * w] = data[4 * w * row:4 * w * (row + 1)]
        elif kind == CURSOR:
            self.cursor = (x, y, w, h, self.read(4 * w * h), self.read((w + 7) // 8 * h))
        elif kind in (DESKTOP_SIZE, EXT_DESKTOP_SIZE):
            if kind == EXT_DESKTOP_SIZE:
                n = self.read(4)[0]
                self.screens = [struct.unpack(">IHHHHI", self.read(16)) for _ in range(n)]
                self.resizes.append((x, y, w, h))
            if (w, h) != (self.width, self.height) and not (kind == EXT_DESKTOP_SIZE and x and y):
                self.width, self.height = w, h
                self.blank()
        elif kind == EXT_KEY:
            self.ext_key = True
        elif kind == LED:
            self.leds = self.read(1)[0]
        elif kind == LIBVNC_LED:
            self.leds = x
        else:
            raise AssertionError(f"encoding {kind}")
        return kind

    def message(self):
        """Reads one; returns the kinds of rectangles of an update, or the message's number."""
        kind = self.read(1)[0]
        if kind == 0:
            return [self.rect() for _ in range(struct.unpack(">xH", self.read(3))[0])]
        if kind == 3:
            self.read(struct.unpack(">xxxI", self.read(7))[0])
        else:
            assert kind == 2, kind
        return kind

    def update(self, incremental=False):
        """Asks and reads until pixels came."""
        self.request(incremental)
        while True:
            m = self.message()
            if isinstance(m, list) and RAW in m:
                return
            if isinstance(m, list):  # a size alone; the pixels are still owed
                self.request(True)

    def key(self, keysym, down):
        self.sock.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def scan_code(self, keysym, code, down):
        self.sock.sendall(struct.pack(">BBHII", 255, 0, down, keysym, code))

    def pointer(self, x, y, buttons=0):
        self.sock.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def wish(self, width, height):
        self.sock.sendall(struct.pack(">BxHHBxIHHHHI", 251, width, height, 1, 0, 0, 0, width, height, 0))

    def quiet(self, seconds):
        """Nothing comes for that long."""
        return not select.select([self.sock], [], [], seconds)[0]

    def gone(self):
        """Reads until the server hangs up."""
        try:
            while self.sock.recv(1 << 20):
                pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self.sock.close()


def port():
    """A display number that is free now."""
    s = socket.socket()
    while True:
        n = 5900 + int.from_bytes(os.urandom(2), "big") % 50000 % 20000
        try:
            s.bind(("127.0.0.1", n))
        except OSError:
            continue
        s.close()
        return n - 5900

#!/usr/bin/env python3
"""SeaBIOS's virtio-blk driver moves data: a boot sector of ours reads through INT 13h, inverts, writes back, and the host compares. iPXE's
virtio-net driver (Debian's boot ROM, run by SeaBIOS) fetches a program by TFTP and HTTP that checks its own bytes."""
import itertools
import os
import struct
import subprocess
import sys
import tempfile

import drivers
from guest import Guest

CHUNK, COUNT, FROM, TO = 64, 16, 2048, 8192  # sectors a call, calls, where the data is and where its inverse goes
AXES = [["transitional", "modern", "legacy"], ["plain", "packed,flags,direct", "vectors=0"], ["pc", "q35", "port", "bridge"]]
OFFER = {"plain": "", "packed,flags,direct": ",packed=on,event_idx=off,indirect_desc=off", "vectors=0": ",vectors=0"}
INTERFACE = {"transitional": ",disable-legacy=off", "modern": ",disable-legacy=on", "legacy": ",disable-modern=on,disable-legacy=off"}
# Real-mode pieces: characters to the serial port, a word in hex.
PUT = r"""
put: # al
    push dx; push ax
    mov dx, 0x3fd
1:  in al, dx
    test al, 0x20
    jz 1b
    pop ax; mov dx, 0x3f8
    out dx, al
    pop dx
    ret
say: # cs:si
    cs lodsb
    test al, al
    jz 1f
    call put
    jmp say
1:  ret
hex: # eax
    mov cx, 8
1:  rol eax, 4
    push eax
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe 2f
    add al, 'a' - '9' - 1
2:  call put
    pop eax
    loop 1b
    ret
"""
BOOT = r"""
.intel_syntax noprefix
.code16
.globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    mov byte ptr [drive], dl
    mov bp, COUNT
next:
    mov ah, 0x42
    call disk
    mov ax, 0x1000
    mov es, ax
    xor di, di
    mov cx, CHUNK * 128
1:  mov eax, es:[di]
    add dword ptr [sum], eax
    rol dword ptr [sum], 1
    not eax
    mov es:[di], eax
    add di, 4
    loop 1b
    mov eax, dword ptr [lba]
    push eax
    add eax, TO - FROM
    mov dword ptr [lba], eax
    mov ah, 0x43
    call disk
    pop eax
    add eax, CHUNK
    mov dword ptr [lba], eax
    dec bp
    jnz next
    lea si, done
    call say
    mov eax, dword ptr [sum]
    call hex
    lea si, end
    call say
halt: hlt
    jmp halt
disk: # ah; INT 13h extensions: a packet at ds:si
    lea si, packet
    mov word ptr [packet + 2], CHUNK
    mov al, 0
    mov dl, byte ptr [drive]
    int 0x13
    jc failed
    ret
failed:
    lea si, bad
    call say
    movzx eax, ax
    call hex
    jmp halt
PUT
packet: .byte 16, 0
    .word CHUNK, 0, 0x1000
lba: .long FROM, 0
sum: .long 0
drive: .byte 0
done: .asciz "SUM="
end: .asciz " END\r\n"
bad: .asciz "INT13 failed: "
.org 510
.word 0xaa55
"""

# A network boot program, loaded and entered at 0000:7c00: sums what lies behind its first 2 KiB.
NETBOOT = r"""
.intel_syntax noprefix
.code16
.globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov ax, 0x840
    mov bp, CHUNKS
    xor edx, edx
next:
    mov es, ax
    xor di, di
    mov cx, 0x2000
1:  add edx, es:[di]
    rol edx, 1
    add di, 4
    loop 1b
    add ax, 0x800
    dec bp
    jnz next
    lea si, done
    call say
    mov eax, edx
    call hex
    lea si, end
    call say
halt: hlt
    jmp halt
PUT
done: .asciz "SUM="
end: .asciz " END\r\n"
.org 2048
"""
CHUNKS = 8  # of 32 KiB


def assemble(source, folder, at=0x7c00, **values):
    """A flat real-mode binary for an offset, that of a boot sector unless told."""
    text = source.replace("\nPUT\n", PUT + "\n")
    with open(f"{folder}/a.S", "w", encoding="utf-8") as f:
        f.write(text)
    subprocess.run(["gcc", "-m32", "-c", "-o", f"{folder}/a.o", *[f"-D{k}={v}" for k, v in values.items()], f"{folder}/a.S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", f"-Ttext={at:#x}", "--oformat=binary", "-o", f"{folder}/a.bin", f"{folder}/a.o"], check=True)
    with open(f"{folder}/a.bin", "rb") as f:
        return f.read()


def rolled(data):
    """The sum both programs make of little-endian words."""
    s = 0
    for (v,) in struct.iter_unpack("<I", data):
        s = (s + v) & 0xffffffff
        s = (s << 1 | s >> 31) & 0xffffffff
    return s


def machine(where):
    """Machine, options in front, bus of the device, the last one on that bus."""
    name, front, bus = drivers.place(where)
    return ["-accel", "tcg", "-M", name, "-m", "64", *front], bus[0]


def disk(binary, row, timeout=60, log=None):
    interface, offer, where = row
    front, bus = machine(where)
    data = os.urandom(CHUNK * COUNT * 512)
    with tempfile.TemporaryDirectory(prefix="virtue-int13-") as d:
        sector = assemble(BOOT, d, CHUNK=CHUNK, COUNT=COUNT, FROM=FROM, TO=TO)
        with open(f"{d}/disk", "wb") as f:
            f.write(sector)
            f.seek(FROM * 512)
            f.write(data)
            f.truncate(16 << 20)
        with Guest(binary, [*front, "-drive", f"if=none,id=d0,file={d}/disk,format=raw", "-device",
                            f"virtio-blk-pci,drive=d0{bus}{INTERFACE[interface]}{OFFER[offer]}"], qmp=False, log=log) as g:
            got = int(g.expect(r"SUM=(\w{8}) END", timeout)[1], 16)
        with open(f"{d}/disk", "rb") as f:
            image = f.read()
    if got != rolled(data):
        raise AssertionError(f"the boot sector read other bytes: {got:#x}, wanted {rolled(data):#x}")
    want = bytearray(16 << 20)
    want[:512] = sector
    want[FROM * 512:FROM * 512 + len(data)] = data
    want[TO * 512:TO * 512 + len(data)] = bytes(255 - b for b in data)
    if image != bytes(want):
        raise AssertionError("the disk is not what was written")
    return f"{len(data) >> 10} KiB read and written through INT 13h"


def netboot(binary, row, timeout=120, log=None):
    """row: a virtio card's interface, offers and place; or the name of another card."""
    if isinstance(row, str):
        (front, bus), device, name = machine("root"), row, {"e1000": "82540em", "rtl8139": "rtl8139"}[row]
    else:
        interface, offer, where = row
        front, bus = machine(where)
        device, name = f"virtio-net-pci{INTERFACE[interface]}{OFFER[offer]}", "virtio-net"
    with tempfile.TemporaryDirectory(prefix="virtue-ipxe-") as d:
        data = os.urandom(CHUNKS << 15)
        server = drivers.Server(assemble(NETBOOT, d, CHUNKS=CHUNKS) + data)
        os.mkdir(f"{d}/tftp")
        with open(f"{d}/tftp/boot.ipxe", "w", encoding="utf-8") as f:
            f.write(f"#!ipxe\necho SCRIPT-RUNS\nchain http://10.0.2.2:{server.port}/program || echo NO-PROGRAM\n")
        with open(f"{d}/sercon", "wb") as f:
            f.write(struct.pack("<H", 0x3f8))
        try:
            with Guest(binary, [*front, "-fw_cfg", f"name=etc/sercon-port,file={d}/sercon", "-netdev",
                                f"user,id=n0,tftp={d}/tftp,bootfile=boot.ipxe", "-device",
                                f"{device},netdev=n0,bootindex=1{bus}"], qmp=False, log=log) as g:
                g.expect(f"using {name} on", timeout)
                g.expect("SCRIPT-RUNS", timeout)
                got = int(g.expect(r"SUM=(\w{8}) END|NO-PROGRAM", timeout)[1] or "0", 16)
        finally:
            server.close()
    if got != rolled(data):
        raise AssertionError(f"the program holds other bytes: {got:#x}, wanted {rolled(data):#x}")
    return f"{len(data) >> 10} KiB fetched by iPXE"


def rows(binary, full):
    """(name, function) for run.py: pairwise, and iPXE once; or all."""
    every = list(itertools.product(*AXES))
    net = every if full else [("transitional", "packed,flags,direct", "port")]
    return [("drivers/seabios/" + "/".join(r), lambda r=r: disk(binary, r)) for r in (every if full else drivers.pairwise(AXES))] + \
        [("drivers/ipxe/" + "/".join(r), lambda r=r: netboot(binary, r)) for r in net] + \
        [(f"drivers/ipxe/{card}", lambda card=card: netboot(binary, card)) for card in ("e1000", "rtl8139")]


if __name__ == "__main__":
    print((netboot if "net" in sys.argv[3:] else disk)(os.path.abspath(sys.argv[1]), tuple(sys.argv[2].split("/")), log=sys.stdout))

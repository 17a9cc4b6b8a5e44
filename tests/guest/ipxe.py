#!/usr/bin/env python3
"""iPXE boots Debian's kernel over the user network: from the card's boot ROM, and as ipxe.lkrn, which an option ROM of ours loads by fw_cfg
and enters in real mode (Linux, boot.rst: the 16-bit boot protocol)."""
import glob
import os
import shutil
import struct
import sys
import tempfile

import firmware
import images
import packages
from guest import Guest

SIZE, ITEM = 1024, "opt/virtue/lkrn"  # of the ROM; where it finds the program
ROM = r"""
.intel_syntax noprefix
.code16
.globl _start
_start:
    .byte 0x55, 0xaa, SIZE / 512
    jmp init
    .org 0x18
    .word pcir
    .balign 4
pcir: # PCI Firmware 3.0, 5.1.1.2: of a virtio entropy device
    .ascii "PCIR"
    .word 0x1af4, 0x1005, 0, 0x18
    .byte 0, 0, 0, 0xff
    .word SIZE / 512, 0
    .byte 0, 0x80
    .word 0
init: # the BIOS's call: interrupt 19h, which boots, is ours from now on
    push ds
    push ax
    xor ax, ax
    mov ds, ax
    mov word ptr ds:[0x64], offset boot
    mov word ptr ds:[0x66], cs
    pop ax
    pop ds
    retf
boot:
    cld
    cli
    mov ax, 0x8000
    mov ss, ax
    mov sp, 0xfff0
    sti
    mov es, ax
    push cs
    pop ds
    mov dx, 0x510 # fw_cfg: the directory
    mov ax, 0x19
    out dx, ax
    inc dx
    xor di, di
    mov cx, 4
    rep insb
    mov bx, es:[2] # big-endian count of entries
    xchg bl, bh
next:
    mov di, 16
    mov cx, 64
    rep insb
    mov si, offset name
    mov di, 24
    mov cx, ITEM_SIZE
    repe cmpsb
    je found
    dec bx
    jnz next
    mov si, offset missing
    call say
halt:
    hlt
    jmp halt
found:
    mov ebp, es:[16] # size
    bswap ebp
    mov ax, es:[20] # selector
    xchg al, ah
    shl eax, 16
    or eax, 0x0a # select, read
    mov ecx, 1024
    mov edi, 0x90000
    call dma
    mov ax, 0x9000
    mov fs, ax
    movzx ecx, byte ptr fs:[0x1f1] # sectors of the real-mode part, but the first
    inc ecx
    shl ecx, 9
    sub ebp, ecx
    sub ecx, 1024
    mov edi, 0x90400
    mov eax, 2
    call dma
    mov ecx, ebp
    mov edi, 0x100000
    mov eax, 2
    call dma
    mov byte ptr fs:[0x210], 0xff # a loader without a number of its own
    mov si, offset enter
    call say
    mov ax, 0x9000
    cli
    mov ss, ax
    mov sp, 0xe000
    sti
    mov ds, ax
    mov es, ax
    ljmp 0x9020, 0
dma: # eax control, ecx length, edi address: a descriptor at 0x80080
    bswap eax
    mov es:[0x80], eax
    bswap ecx
    mov es:[0x84], ecx
    mov dword ptr es:[0x88], 0
    bswap edi
    mov es:[0x8c], edi
    mov dx, 0x514
    xor eax, eax
    out dx, eax
    mov dx, 0x518
    mov eax, 0x80080
    bswap eax
    out dx, eax
1:  cmp dword ptr es:[0x80], 0
    jne 1b
    ret
PUT
name: .ascii "ITEM-NAME"
missing: .asciz "NO-LKRN\r\n"
enter: .asciz "LKRN-ENTERED\r\n"
.org SIZE - 1
.byte 0
"""


def rom(folder):
    """Path of the option ROM; its bytes add up to nothing."""
    data = bytearray(firmware.assemble(ROM.replace("ITEM-NAME", ITEM), folder, at=0, SIZE=SIZE, ITEM_SIZE=len(ITEM)))
    data[-1] = -sum(data) & 0xff
    with open(f"{folder}/lkrn.rom", "wb") as f:
        f.write(data)
    return f"{folder}/lkrn.rom"


def boot(interface, how, machine):
    def test(binary):
        kernel = images.Kernel()
        with tempfile.TemporaryDirectory(prefix="virtue-ipxe-") as d:
            os.mkdir(f"{d}/tftp")
            shutil.copy(kernel.image, f"{d}/tftp/vmlinuz")
            shutil.copy(images.initramfs(kernel, modules=["virtio_pci", "virtio_net"]), f"{d}/tftp/initrd")
            with open(f"{d}/tftp/boot.ipxe", "w", encoding="ascii") as f:
                f.write("#!ipxe\necho SCRIPT-RUNS\nkernel vmlinuz initrd=initrd console=ttyS0 quiet panic=-1 no_timer_check by=ipxe\ninitrd initrd\nboot\n")
            with open(f"{d}/sercon", "wb") as f:
                f.write(struct.pack("<H", 0x3f8))
            more = [",bootindex=1"]
            if how == "lkrn":
                lkrn = glob.glob(packages.unpack("ipxe") + "/boot/ipxe.lkrn")[0]
                more = [",romfile=", "-device", f"virtio-rng-pci,romfile={rom(d)}", "-fw_cfg", f"name={ITEM},file={lkrn}"]
            args = ["-accel", "tcg", "-M", machine, "-m", "256", "-no-reboot", "-fw_cfg", f"name=etc/sercon-port,file={d}/sercon", "-netdev",
                    f"user,id=n0,tftp={d}/tftp,bootfile=boot.ipxe", "-device", f"virtio-net-pci,netdev=n0{firmware.INTERFACE[interface]}{more[0]}", *more[1:]]
            with Guest(binary, args, qmp=False) as g:
                if how == "lkrn":
                    g.expect("LKRN-ENTERED", 120)
                g.expect("SCRIPT-RUNS", 240)
                yield "iPXE fetches its script", True, ""
                g.expect("VIRTUE-DONE", 400)
                g.expect("# ", 60)
                rc, out = g.shell("cat /proc/cmdline; cat /sys/bus/virtio/devices/virtio0/features", 60)
                version_1 = out.strip().splitlines()[-1][32:33]
                yield "the kernel it was told to boot, with this card", "by=ipxe" in out and version_1 == str(int(interface == "modern")), out
                g.send("poweroff -f\n")
                yield "power-off", g.wait(120) == 0, g.tail()
    return test


TESTS = {"rom/modern": boot("modern", "rom", "pc"), "lkrn/legacy": boot("legacy", "lkrn", "q35")}
FULL = {"rom/legacy": boot("legacy", "rom", "q35"), "lkrn/modern": boot("modern", "lkrn", "pc")}

if __name__ == "__main__":
    for what, ok, detail in boot(*sys.argv[2:5])(os.path.abspath(sys.argv[1])):
        print("ok" if ok else f"FAIL {detail}", what, flush=True)

#!/usr/bin/env python3
"""-s -S with gdb itself, under tcg and kvm: a guest of two vCPUs in 64-bit mode, built here, stopped, stepped, changed and let go."""
import os
import re
import shutil
import socket
import subprocess
import tempfile

import vm
from vm import Skip, Vm, same

ACCEL = "tcg"


def test(name):
    """As vm.test, once with each accelerator."""
    def add(fn):
        for accel in ("tcg", "kvm"):
            vm.test(f"{accel}: {name}")(lambda accel=accel: run_with(accel, fn))
        return fn
    return add


def run_with(accel, fn):
    global ACCEL
    if accel == "kvm":
        vm.need_kvm()
    ACCEL = accel
    fn()


# A PVH kernel (its note holds the 32-bit entry point). It enters long mode with its own 2 MiB and the local APIC mapped, wakes the other vCPU
# and counts; `leave` non-zero makes it write that value to isa-debug-exit.
GUEST = r"""
    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long start
    .text
    .code32
    .globl start, work, work_end, hard, ap_work, counter, ap_counter, leave
start:
    mov $0x7000, %esp
    call long_mode
    .code64
    mov $(ap_end - ap), %ecx
    mov $ap, %esi
    mov $0x8000, %edi
    rep movsb
    mov $0xfee00000, %ebx
    orl $0x100, 0xf0(%rbx)
    movl $0xc4500, 0x300(%rbx)
    movl $0xc4608, 0x300(%rbx)
again:
    call work
    call hard
    mov leave, %eax
    test %eax, %eax
    jz again
    out %eax, $0xf4
    jmp again
work:
    mov $5, %eax
    addl $1, counter
work_end:
    ret
hard:
    nop
    ret
    .code32
long_mode:
    movl $0x301003, 0x300000
    movl $0x302003, 0x301000
    movl $0x303003, 0x301018
    movl $0x83, 0x302000
    movl $0xfee00083, 0x303fb8
    mov $0x300000, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    lgdtl gdtr
    ljmp $8, $1f
    .code64
1:  mov (%rsp), %eax
    add $4, %rsp
    jmp *%rax
    .code16
ap:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl %cs:gdtr_copy - ap
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $16, $ap32
gdtr_copy:
    .word 31
    .long gdt
ap_end:
    .code32
ap32:
    mov $24, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $0x6000, %esp
    call long_mode
    .code64
ap_work:
    addl $1, ap_counter
    pause
    jmp ap_work
    .data
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word 31
    .long gdt
counter: .long 0
ap_counter: .long 0
leave: .long 0
"""


class Target:
    """The guest, stopped at its first instruction, and a port for gdb."""

    def __init__(self):
        if not shutil.which("gdb"):
            raise Skip("gdb is not installed")
        self.dir = tempfile.TemporaryDirectory(prefix="virtue-gdb-")
        src, self.elf = f"{self.dir.name}/guest.S", f"{self.dir.name}/guest.elf"
        with open(src, "w", encoding="utf-8") as f:
            f.write(GUEST)
        subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-N,-Ttext=0x100000,--build-id=none,-z,noexecstack,--no-warn-rwx-segments,-e,start",
                        "-o", self.elf, src], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.vm = Vm(["-accel", ACCEL, "-nodefaults", "-smp", "2", "-m", "64", "-kernel", self.elf, "-S", "-gdb", f"tcp:127.0.0.1:{self.port}",
                      "-device", "isa-debug-exit,iobase=0xf4,iosize=4"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.close()
        self.dir.cleanup()

    def gdb(self, *commands):
        """Runs gdb over the commands; returns what it printed, by the names of `echo @name` marks."""
        cmd = ["gdb", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set remotetimeout 30", "-ex", f"target remote 127.0.0.1:{self.port}"]
        for c in commands:
            cmd += ["-ex", c]
        r = subprocess.run([*cmd, self.elf], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=vm.TIMEOUT, check=False, env=dict(os.environ, DEBUGINFOD_URLS=""))
        self.text = r.stdout
        return r.stdout

    def values(self, *commands):
        """The numbers that `p/d` printed, in order."""
        return [int(v) for v in re.findall(r"^\$\d+ = (-?\d+)$", self.gdb(*commands), re.M)]

    def ok(self, got, want):
        assert got == want, f"got {got}, want {want}; gdb said:\n{self.text}\n{self.vm.text()}"


AT = "p/d (long)$pc - (long)&{}"


@test("stopped before the first instruction, two threads; gdb's end lets it run")
def _():
    with Target() as t:
        same(t.vm.qmp.ok("query-status")["status"], "prelaunch", "status")
        text = t.gdb("info threads", "p/d (long)$pc - (long)&start", "p/d $eflags & 2", "p/d *(int *)&counter")
        same(len(re.findall(r"^[* ] +\d+ +Thread", text, re.M)), 2, text)
        same(re.findall(r"^\$\d = (\d+)$", text, re.M)[-1], "0", text)
        same(t.vm.qmp.ok("query-status")["status"], "running", "status")


@test("software breakpoint, step, registers")
def _():
    with Target() as t:
        v = t.values("break *&work", "continue", AT.format("work"), "stepi", "p/d (long)$pc - (long)&work", "p/d $eax", "set var $rax = 77",
                     "stepi", "p/d $rax", "p/d *(int *)&counter", AT.format("work_end"))
        t.ok(v, [0, 5, 5, 77, 1, 0])


@test("hardware breakpoint, again and again, then without it")
def _():
    with Target() as t:
        v = t.values("hbreak *&hard", "continue", AT.format("hard"), "p/d *(int *)&counter", "continue", "p/d *(int *)&counter",
                     "continue", "p/d *(int *)&counter", "delete", "break *&work_end", "continue", AT.format("work_end"),
                     "p/d *(int *)&counter")
        t.ok(v, [0, 1, 2, 3, 0, 4])


@test("memory written, data and code")
def _():
    with Target() as t:
        # add $1 becomes add $3: the immediate is the last byte before work_end
        v = t.values("break *&work_end", "continue", "set var *(int *)&counter = 1000", "continue", "p/d *(int *)&counter",
                     "set var *((char *)&work_end - 1) = 3", "continue", "p/d *(int *)&counter", "continue", "p/d *(int *)&counter")
        t.ok(v, [1001, 1004, 1007])


@test("a breakpoint on the other vCPU")
def _():
    with Target() as t:
        v = t.values("break *&ap_work", "continue", "p/d $_thread", AT.format("ap_work"), "p/d *(int *)&ap_counter", "continue",
                     "p/d $_thread", "p/d *(int *)&ap_counter", "stepi", "p/d *(int *)&ap_counter", "thread 1", "p/d (long)$pc >= (long)&start")
        t.ok(v, [2, 0, 0, 2, 1, 2, 1])


@test("interrupt through the monitor, both vCPUs move on")
def _():
    with Target() as t:
        t.gdb("break *&ap_work", "continue", "delete", "detach")
        same(t.vm.qmp.ok("query-status")["running"], True)
        a = t.values("p/d *(int *)&counter", "p/d *(int *)&ap_counter", "detach")
        vm.until("progress", lambda: all(x > y for x, y in zip(t.values("p/d *(int *)&counter", "p/d *(int *)&ap_counter", "detach"), a)))


@test("detach lets the guest end by itself")
def _():
    with Target() as t:
        t.gdb("break *&work", "continue", "set var *(int *)&leave = 21", "detach")
        same(t.vm.wait(), 21 << 1 | 1, "exit status")


if __name__ == "__main__":
    vm.main()

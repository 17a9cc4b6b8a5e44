/*
 * Real mode: interrupts through the vector table, segment arithmetic, limits, unreal mode, stack wrap, far transfers.
 * Loaded at 0:8000h. A failed check exits with its number.
 */
    .code16
    .globl _start

    .macro check cond, num
    j\cond 77f
    mov $\num, %al
    out %al, $0xf4
    cli
    hlt
77:
    .endm
    .macro vector n, handler
    movw $\handler, %es:(4 * \n)
    movw $0, %es:(4 * \n + 2)
    .endm

_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %sp
    vector 0x21, soft_handler
    vector 6, ud_handler
    vector 13, gp_handler
    vector 0, de_handler
    vector 0x40, irq_handler

    /* INT: pushes 6 bytes, clears IF */
    sti
    mov $0x1234, %bx
    int $0x21
    cmp $0x4321, %bx
    check e, 1
    cmp $0x7000, %sp
    check e, 2
    pushf
    pop %ax
    test $0x200, %ax
    check nz, 3
    cmpw $0, seen_if
    check e, 4

    /* #UD and #DE push the faulting IP */
bad: ud2
    cmpw $bad, fault_ip
    check e, 5
    xor %dx, %dx
    xor %cx, %cx
    mov $5, %ax
div: div %cx
    cmpw $div, fault_ip
    check e, 6

    /* beyond the 64 KiB limit: #GP without error code */
    mov $0xffff, %si
gp: mov (%si), %ax
    cmpw $gp, fault_ip
    check e, 7
    movb (%si), %al

    /* segment arithmetic, wrap of the offset */
    mov $0x1234, %ax
    mov %ax, %es
    movw $0x5aa5, %es:0x10
    mov $0x1000, %ax
    mov %ax, %fs
    cmpw $0x5aa5, %fs:0x2350
    check e, 8
    mov $0xfff0, %bx
    movw $0x7788, %es:0x30
    mov $0x40, %di
    cmpw $0x7788, %es:(%bx, %di)
    check e, 9

    /* stack: wraps at 64 KiB */
    mov $0x3000, %ax
    mov %ax, %ss
    xor %sp, %sp
    push $0x1357
    cmp $0xfffe, %sp
    check e, 10
    mov $0x3fff, %ax
    mov %ax, %es
    cmpw $0x1357, %es:0xe
    check e, 11
    xor %ax, %ax
    mov %ax, %ss
    mov $0x7000, %sp

    /* far call and return, with another CS for the same code */
    lcall $0x0800, $(far_proc - 0x8000)
    cmp $0x0800, %ax
    check e, 12
    lcall *far_ptr
    cmp $0x0700, %ax
    check e, 13

    /* unreal: a 4 GiB limit loaded in protected mode stays in real mode */
    cli
    lgdt gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    mov $8, %bx
    mov %bx, %ds
    and $0xfe, %al
    mov %eax, %cr0
    xor %ax, %ax
    mov %ax, %ds
    mov $0x123456, %esi
    movl $0xcafebabe, (%esi)
    cmpl $0xcafebabe, (%esi)
    check e, 14
    mov $0xffff, %esi
    mov (%esi), %ax

    /* interrupts: by a device, HLT */
    mov $0x40, %al
    out %al, $0xfa
    movw $0, irqs
    sti
    hlt
    cmpw $1, irqs
    check e, 15
    cli

    /* string operations with 16-bit registers wrap within the segment */
    cld
    mov $0x2000, %ax
    mov %ax, %es
    mov $0xfffe, %di
    mov $0x11, %al
    mov $4, %cx
    rep stosb
    cmp $2, %di
    check e, 16
    cmpb $0x11, %es:1
    check e, 17
    cmpb $0x11, %es:0xffff
    check e, 18

    /* INIT and a startup IPI to page 9: registers are fresh, memory and CS:IP are as told */
    xor %ax, %ax
    mov %ax, %es
    movb $0xea, %es:0x9000
    movw $after_init, %es:0x9001
    movw $0, %es:0x9003
    mov $9, %al
    out %al, $0xfc
    nop
    hlt
after_init:
    cmp $0x60fb1, %edx
    check e, 19
    mov %cr0, %eax
    test $1, %al
    check z, 20
    test %sp, %sp
    check z, 21
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    cmpw $1, irqs
    check e, 22

    mov $passed, %si
1:  lodsb
    test %al, %al
    jz 2f
    out %al, $0xe9
    jmp 1b
2:  xor %al, %al
    out %al, $0xf4
3:  hlt
    jmp 3b

far_proc:
    mov %cs, %ax
    lret

soft_handler:
    pushf
    popw seen_if
    andw $0x200, seen_if
    xchg %bl, %bh
    mov $0x4321, %bx
    iret
ud_handler:
    push %bp
    mov %sp, %bp
    mov 2(%bp), %ax
    mov %ax, fault_ip
    addw $2, 2(%bp)
    pop %bp
    iret
de_handler:
    push %bp
    mov %sp, %bp
    mov 2(%bp), %ax
    mov %ax, fault_ip
    addw $2, 2(%bp)
    pop %bp
    iret
gp_handler:
    push %bp
    mov %sp, %bp
    mov 2(%bp), %ax
    mov %ax, fault_ip
    addw $2, 2(%bp)
    pop %bp
    iret
irq_handler:
    incw irqs
    iret

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf92000000ffff
gdtr:
    .word 15
    .long gdt
far_ptr:
    .word far_proc - 0x7000, 0x0700
seen_if:
    .word 1
fault_ip:
    .word 0
irqs:
    .word 0
passed:
    .asciz "passed\n"

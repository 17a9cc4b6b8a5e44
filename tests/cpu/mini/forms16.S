/*
 * Every privileged, far and I/O form that boots execute, in 16-, 32- and 64-bit code: what a boot needs is what each check asks
 * for. Loaded at 0:8000h. A failed check exits with its number: 1.. in real mode, 65.. in 32-bit, 129.. in 64-bit code.
 * Ports of the test machine: 60h..63h a register, 64h bytes that count up (in) or shift into 68h..6bh (out).
 */
    .code16
    .globl _start

    .macro check cond, num
    j\cond 77f
    mov $(\num + base), %al
    out %al, $0xf4
    cli
    hlt
77:
    .endm

    /* E4..E7, EC..EF in three sizes, INS and OUTS with REP. */
    .macro ports di, si, cx
    mov $0x5a, %al
    out %al, $0x60
    xor %eax, %eax
    in $0x60, %al
    cmp $0x5a, %eax
    check e, 1
    mov $0x1234, %ax
    out %ax, $0x60
    xor %eax, %eax
    in $0x60, %ax
    cmp $0x1234, %eax
    check e, 2
    mov $0x89abcdef, %eax
    out %eax, $0x60
    xor %eax, %eax
    in $0x60, %eax
    cmp $0x89abcdef, %eax
    check e, 3
    mov $0x61, %dx
    mov $0x77, %al
    out %al, %dx
    xor %eax, %eax
    in %dx, %al
    cmp $0x77, %eax
    check e, 4
    in $0x60, %eax
    cmp $0x89ab77ef, %eax         /* only its own byte */
    check e, 5
    dec %dx
    mov $0x4321, %ax
    out %ax, %dx
    xor %eax, %eax
    in %dx, %ax
    cmp $0x4321, %eax
    check e, 6
    mov $0x10203040, %eax
    out %eax, %dx
    xor %eax, %eax
    in %dx, %eax
    cmp $0x10203040, %eax
    check e, 7
    cld
    mov $0x64, %dx
    movb $0, %al
    out %al, $0x6c                /* the count begins at zero */
    mov $buffer, \di
    mov $5, \cx
    rep insb
    cmp $(buffer + 5), \di
    check e, 8
    test \cx, \cx
    check z, 9
    cmpl $0x03020100, buffer
    check e, 10
    mov $buffer, \di
    mov $2, \cx
    rep insw
    cmpl $0x08070605, buffer
    check e, 11
    mov $buffer, \di
    mov $1, \cx
    rep insl
    cmpl $0x0c0b0a09, buffer
    check e, 12
    mov $buffer, \si
    mov $3, \cx
    rep outsb
    cmp $(buffer + 3), \si
    check e, 13
    in $0x68, %eax
    cmp $0x000a0b09, %eax
    jmp 1f
1:  shl $8, %eax
    cmp $0x090a0b00, %eax
    check e, 14
    mov $buffer, \si
    mov $1, \cx
    rep outsw
    mov $buffer, \si
    mov $1, \cx
    rep outsl
    in $0x68, %eax
    cmp $0x090a0b0c, %eax
    check e, 15
    .endm

    /* Control and debug registers (reg is a register of the full width), MSRs, CPUID, RDTSC, flags. */
    .macro system a, b
    mov %cr0, \a
    mov \a, \b
    or $8, \a                     /* TS */
    mov \a, %cr0
    mov %cr0, \a
    test $8, %al
    check nz, 16
    clts
    mov %cr0, \a
    cmp \a, \b
    check e, 17
    mov %cr4, \a
    mov \a, \b
    or $4, \a                     /* TSD */
    mov \a, %cr4
    mov %cr4, \a
    xor $4, \a
    cmp \a, \b
    check e, 18
    mov \b, %cr4
    mov %cr3, \a
    mov \a, \b
    mov \a, %cr3
    mov %cr3, \a
    cmp \a, \b
    check e, 19
    mov $0x12345678, \a
    mov \a, %cr2
    xor \a, \a
    mov %cr2, \a
    cmp $0x12345678, \a
    check e, 20
    mov \a, %dr3
    mov %dr3, \b
    cmp \a, \b
    check e, 21
    mov %dr7, \a
    cmp $0x400, \a
    check e, 22
    mov \a, %dr7
    mov $0x174, %ecx
    mov $0x4321, %eax
    xor %edx, %edx
    wrmsr
    xor %eax, %eax
    rdmsr
    cmp $0x4321, %eax
    check e, 23
    rdtsc
    mov %eax, %esi
    rdtsc
    sub %esi, %eax
    check a, 24
    xor %eax, %eax
    cpuid
    cmp $13, %eax
    check e, 25
    cmp $0x68747541, %ebx
    check e, 26
    wbinvd
    .endm

    .set buffer, 0x6000           /* absolute: the same in all code sizes */
    .set table, 0x6100
    .set base, 0
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %sp
    ports %di, %si, %cx
    system %eax, %ebx

    /* CLI, STI, HLT, INT and IRET */
    movw $handler, 4 * 0x40
    movw $0, 4 * 0x40 + 2
    sti
    pushf
    pop %ax
    test $2, %ah
    check nz, 30
    cli
    pushf
    pop %ax
    test $2, %ah
    check z, 31
    xor %cl, %cl
    int $0x40
    cmp $1, %cl
    check e, 32
    cmp $0x7000, %sp
    check e, 33
    mov $0x40, %al
    out %al, $0xfa                /* interrupt 40h when halted */
    sti
    hlt
    cli
    cmp $2, %cl
    check e, 34

    /* far transfers of 16 and 32 bits */
    push %cs
    push $1f
    lret
    check e, 35
1:  pushl $0
    pushl $2f
    lretl
    hlt
2:  ljmp $0, $3f
    hlt
3:  ljmpl $0, $4f
    hlt
4:  cmp $0x7000, %sp
    check e, 36

    /* LGDT, LIDT: 24 bits of base, with 66 all 32; SGDT, SIDT */
    movw $0x1234, table
    movl $0xab345678, table + 2
    lidt table
    sidt buffer
    cmpw $0x1234, buffer
    check e, 37
    cmpl $0x00345678, buffer + 2
    check e, 38
    lidtl table
    movl $0, buffer + 2
    sidtl buffer
    cmpl $0xab345678, buffer + 2
    check e, 39
    lgdt table
    movl $0, buffer + 2
    sgdt buffer
    cmpl $0x00345678, buffer + 2
    check e, 40
    lgdtl table
    movl $0, buffer + 2
    sgdtl buffer
    cmpl $0xab345678, buffer + 2
    check e, 41
    lgdtl gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x08, $prot32

handler:
    inc %cl
    iret

    .code32
    .set base, 64
prot32:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %esp
    ports %edi, %esi, %ecx
    system %eax, %ebx
    call table_forms32
    ljmp $0x08, $1f
    hlt
1:  pushl $0x08
    pushl $2f
    lret
    hlt
2:  ljmpw $0x18, $down16
    .code16
down16:
    ljmpl $0x08, $3f
    .code32
3:  cmp $0x7000, %esp
    check e, 30
    /* on to long mode: 2 MiB pages */
    mov $0x24000, %edi
    movl $0x25003, (%edi)
    movl $0x26003, 0x1000(%edi)
    movl $0x83, 0x2000(%edi)
    mov %edi, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ljmp $0x20, $long64

table_forms32:
    movw $0x4321, table
    movl $0xab345678, table + 2
    lidt table
    movl $0, buffer + 2
    sidt buffer
    cmpl $0xab345678, buffer + 2
    check e, 40
    sgdt buffer
    cmpl $gdt, buffer + 2
    check e, 41
    lgdt buffer
    mov $0x30, %ax
    lldt %ax
    mov $0x5a5a5a5a, %eax
    sldt %ax
    cmp $0x5a5a0030, %eax
    check e, 42
    mov $0x40, %ax
    ltr %ax
    mov $0x5a5a5a5a, %eax
    str %ax
    cmp $0x5a5a0040, %eax
    check e, 43
    testb $2, gdt + 0x40 + 5      /* busy now */
    check nz, 44
    andb $0xfd, gdt + 0x40 + 5
    ret

    .code64
    .set base, 128
long64:
    ports %rdi, %rsi, %rcx
    system %rax, %rbx
    movw $0x4321, table
    mov $0xffff8000ab345678, %rax
    mov %rax, table + 2
    lidt table
    movq $0, buffer + 2
    sidt buffer
    cmp %rax, buffer + 2
    check e, 40
    sgdt buffer
    mov $gdt, %eax
    cmp %rax, buffer + 2
    check e, 41
    lgdt buffer
    mov $0x30, %ax
    lldt %ax
    mov $0x5a5a5a5a, %eax
    sldt %ax
    cmp $0x5a5a0030, %eax
    check e, 42
    mov $0x40, %ax
    ltr %ax
    mov $0x5a5a5a5a, %eax
    str %ax
    cmp $0x5a5a0040, %eax
    check e, 43
    mov $0x7000, %esp
    pushq $0x20
    mov $1f, %eax
    push %rax
    lretq
    hlt
1:  sub $8, %rsp
    movl $2f, (%rsp)
    movl $0x20, 4(%rsp)
    lretl
    hlt
2:  cmp $0x7000, %rsp
    check e, 44
    mov $passed, %esi
3:  lodsb
    test %al, %al
    jz 4f
    out %al, $0xe9
    jmp 3b
4:  xor %al, %al
    out %al, $0xf4
    hlt

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff      /* 08: 32-bit code */
    .quad 0x00cf93000000ffff      /* 10: data */
    .quad 0x00009b000000ffff      /* 18: 16-bit code */
    .quad 0x00af9b000000ffff      /* 20: 64-bit code */
    .quad 0
    .quad 0x000082000000000f, 0   /* 30: LDT, 16 bytes in long mode */
    .quad 0x0000890070000067, 0   /* 40: TSS */
gdtr:
    .word 79
    .long gdt
passed:
    .asciz "passed\n"

/*
 * The way up and down: real mode, 16- and 32-bit protected mode, 32-bit paging with 4 MiB pages, PAE, long mode, compatibility
 * mode, and back to real mode. Loaded at 0:8000h. A failed check exits with its number.
 */
    .code16
    .globl _start

    .macro check cond, num
    j\cond 77f
    mov $\num, %al
    out %al, $0xf4
    hlt
77:
    .endm

_start:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %sp
    lgdt gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    smsw %bx
    test $1, %bl
    check nz, 1
    ljmp $0x18, $prot16
prot16:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %ss
    ljmpl $0x08, $prot32

    .code32
prot32:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %esp
    /* 32-bit paging, 4 MiB pages: 0 to itself, 4 MiB to 8 MiB, 8 MiB by a table of one page */
    mov $0x20000, %edi
    movl $0x00000083, (%edi)
    movl $0x00800083, 4(%edi)
    movl $0x00021003, 8(%edi)
    movl $0x00803003, 0x1000(%edi)
    mov %edi, %cr3
    mov %cr4, %eax
    or $0x10, %eax
    mov %eax, %cr4
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    jmp 1f
1:  movl $0x11112222, 0x00403004
    cmpl $0x11112222, 0x00800004
    check e, 2
    testl $0x40, 4(%edi)          /* D of the 4 MiB entry */
    check nz, 3
    testl $0x20, 0x1000(%edi)     /* A of the PTE */
    check nz, 4
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0

    /* PAE */
    mov $0x22000, %edi
    movl $0x23001, (%edi)
    movl $0, 4(%edi)
    movl $0x83, 0x1000(%edi)
    movl $0, 0x1004(%edi)
    movl $0x00a00083, 0x1008(%edi)
    movl $0, 0x100c(%edi)
    mov %edi, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    jmp 1f
1:  movl $0x33334444, 0x00200010
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0
    cmpl $0x33334444, 0x00a00010
    check e, 5

    /* long mode: PML4, PDPT, PD */
    mov $0x24000, %edi
    movl $0x25003, (%edi)
    movl $0, 4(%edi)
    movl $0x26003, 0x1000(%edi)
    movl $0, 0x1004(%edi)
    movl $0x83, 0x2000(%edi)
    movl $0, 0x2004(%edi)
    mov %edi, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    mov $0xc0000080, %ecx
    rdmsr
    test $0x400, %eax             /* LMA */
    check nz, 6
    /* still 32-bit code: compatibility mode, where 48h is DEC */
    mov $5, %eax
    .byte 0x48
    cmp $4, %eax
    check e, 7
    ljmp $0x20, $long64

    .code64
long64:
    mov $0x123456789abcdef0, %rax
    mov %rax, %r15
    shr $32, %rax
    cmp $0x12345678, %eax
    check e, 8
    mov $0x7000, %esp
    call 1f
1:  pop %rax
    lea 1b(%rip), %rbx
    cmp %rax, %rbx
    check e, 9
    /* down again: compatibility mode, paging off, 16-bit, real */
    pushq $0x08
    mov $down32, %eax
    push %rax
    lretq

    .code32
down32:
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0
    mov $0xc0000080, %ecx
    rdmsr
    test $0x400, %eax
    check z, 10
    ljmp $0x18, $down16
    .code16
down16:
    mov $0x28, %ax                /* 64 KiB data */
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov %cr0, %eax
    and $0xfe, %al
    mov %eax, %cr0
    ljmp $0, $real
real:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $handler, 4 * 0x21
    movw $0, 4 * 0x21 + 2
    int $0x21
    cmp $0x55, %cl
    check e, 11
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
handler:
    mov $0x55, %cl
    iret

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff      /* 08: 32-bit code */
    .quad 0x00cf93000000ffff      /* 10: data */
    .quad 0x00009b000000ffff      /* 18: 16-bit code */
    .quad 0x00af9b000000ffff      /* 20: 64-bit code */
    .quad 0x000093000000ffff      /* 28: 64 KiB data */
gdtr:
    .word 47
    .long gdt
passed:
    .asciz "passed\n"

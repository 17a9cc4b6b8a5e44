/* Entry in 32-bit protected mode, PVH (Xen, misc/pvh.pandoc) or multiboot 0.6.96: sets up long mode
 * with 4 GiB mapped one to one, readable and writable for every ring, and calls metal_main(magic,
 * info). */
#ifdef METAL_MULTIBOOT
    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
#else
    .section .note.pvh, "a"
    .balign 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long _start
#endif

    .section .start, "ax"
    .code32
    .globl _start
_start:
    cli
    cld
    movl $boot_stack_end, %esp
    movl %eax, %esi
    movl %ebx, %edi
    movl $pdpt + 7, pml4
    movl $pd + 7, pdpt
    movl $pd + 0x1007, pdpt + 8
    movl $pd + 0x2007, pdpt + 16
    movl $pd + 0x3007, pdpt + 24
    movl $pd, %ebx
    movl $0x87, %eax /* present, writable, user, 2 MiB */
1:  movl %eax, (%ebx)
    addl $8, %ebx
    addl $0x200000, %eax
    jnc 1b
    movl $pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax /* PAE, FXSR, XMM exceptions */
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    andl $~0x0000000c, %eax
    orl $0x80010002, %eax
    movl %eax, %cr0
    lgdt gdt_desc
    ljmp $8, $2f
    .code64
2:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    xchgl %esi, %edi
    movl %edi, %edi
    movl %esi, %esi
    call metal_main
    ud2

    .text
/* Interrupt stubs, 16 bytes each. Vectors with an error code: SDM vol. 3, table 6-1. */
    .globl metal_stubs
    .balign 16
metal_stubs:
    .set i, 0
    .rept 256
    .balign 16
    .if i == 8 || (i >= 10 && i <= 14) || i == 17
    .else
    pushq $0
    .endif
    pushq $i
    jmp trap_common
    .set i, i + 1
    .endr
trap_common:
    push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push %r11
    movq %rsp, %rdi
    cld
    call metal_trap
    pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax
    addq $16, %rsp
    iretq

/* void metal_user(void (*fn)(void *), void *arg, void *stack): runs fn in ring 3. */
    .globl metal_user
metal_user:
    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
    movq %rsp, user_return(%rip)
    pushq $0x1b
    pushq %rdx
    pushq $0x202
    pushq $0x23
    leaq 1f(%rip), %rax
    pushq %rax
    iretq
1:  xchgq %rdi, %rsi
    call *%rsi
    leaq user_done(%rip), %rax
    ud2 /* metal_trap calls user_done */
user_done: /* in ring 0 again: back to metal_user's caller */
    movq user_return(%rip), %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
    ret

    .data
    .balign 8
    .globl metal_gdt
metal_gdt: /* null, ring 0 code, ring 0 data, ring 3 data, ring 3 code, task state */
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0
gdt_desc:
    .word 7 * 8 - 1
    .quad metal_gdt

    .bss
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4 * 4096
    .skip 16384
boot_stack_end:
user_return: .skip 8
    .balign 16
    .skip 16384
    .globl metal_trap_stack_end
metal_trap_stack_end:

    .section .note.GNU-stack, "", @progbits

/*
 * The block interpreter on a machine of flat RAM: programs in three modes, self-modifying and
 * page-crossing code, LOCK on two vCPUs, single steps, and random sequences with hot handlers
 * against the same without; all of it again as generated code. Single instructions:
 * tests/cpu/fuzz-host.c compares with the host CPU.
 */
#include "accel/soft/exec.h"
#include "soft-gen.h"

#include <glib.h>
#include <string.h>

enum { RAM_SIZE = 16 << 20, CODE = 0x8000, TABLES = 0x100000, HANDLER = 0x9000 };

/* Programs are shown in assembler above their bytes. */
/*
 *   xor ax,ax
 *   mov ss,ax
 *   mov sp,0x7000
 *   mov bx,0x1234
 *   mov ds,bx
 *   mov cx,10
 * 1: add ax,cx
 *   loop 1b
 *   mov [0x10],ax
 *   push ax
 *   mov word ptr [0xffff-1],0x55aa
 *   mov si,0xfff0
 *   mov byte ptr [si+0x20],0x77
 *   pop dx
 *   mov bx,[0x10]
 *   call f
 *
 *   xor cx,cx
 *   div cl
 *   hlt
 * f: rol dx,4
 *   ret
 */
static const uint8_t real_prog[] = { 0x31, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x70, 0xbb, 0x34, 0x12,
    0x8e, 0xdb, 0xb9, 0x0a, 0x00, 0x01, 0xc8, 0xe2, 0xfc, 0xa3, 0x10, 0x00, 0x50, 0xc7, 0x06, 0xfe,
    0xff, 0xaa, 0x55, 0xbe, 0xf0, 0xff, 0xc6, 0x44, 0x20, 0x77, 0x5a, 0x8b, 0x1e, 0x10, 0x00, 0xe8,
    0x05, 0x00, 0x31, 0xc9, 0xf6, 0xf1, 0xf4, 0xc1, 0xc2, 0x04, 0xc3 };

/*
 *   mov bp,sp
 *   mov di,[bp]
 *   hlt
 */
static const uint8_t real_handler[] = { 0x89, 0xe5, 0x8b, 0x7e, 0x00, 0xf4 };

/*
 *   mov esp,0x7000
 *   xor eax,eax
 *   mov ecx,100
 * 1: lea edx,[ecx*4+0x10000]
 *   mov [edx],ecx
 *   call f
 *   dec ecx
 *   jnz 1b
 *   mov ebx,[0x10000+200]
 *   movzx esi,byte ptr [0x10000+400]
 *   movsx edi,word ptr [0x10000+8]
 *   bswap edi
 *   cmp eax,5050
 *   sete dl
 *   mov ebp,0xffffffff
 *   add ebp,0x10010
 *   mov ebp,[ebp-0xf]
 *   hlt
 * f: add eax,[edx]
 *   ret
 */
static const uint8_t prot_prog[] = { 0xbc, 0x00, 0x70, 0x00, 0x00, 0x31, 0xc0, 0xb9, 0x64, 0x00,
    0x00, 0x00, 0x8d, 0x14, 0x8d, 0x00, 0x00, 0x01, 0x00, 0x89, 0x0a, 0xe8, 0x30, 0x00, 0x00, 0x00,
    0x49, 0x75, 0xef, 0x8b, 0x1d, 0xc8, 0x00, 0x01, 0x00, 0x0f, 0xb6, 0x35, 0x90, 0x01, 0x01, 0x00,
    0x0f, 0xbf, 0x3d, 0x08, 0x00, 0x01, 0x00, 0x0f, 0xcf, 0x3d, 0xba, 0x13, 0x00, 0x00, 0x0f, 0x94,
    0xc2, 0xbd, 0xff, 0xff, 0xff, 0xff, 0x81, 0xc5, 0x10, 0x00, 0x01, 0x00, 0x8b, 0x6d, 0xf1, 0xf4,
    0x03, 0x02, 0xc3 };

/*
 *   xor eax,eax
 *   mov ecx,5
 *   lea rsi,[rip+patch+1]
 * 1: add byte ptr [rsi],1
 * patch: mov edx,0
 *   add eax,edx
 *   dec ecx
 *   jnz 1b
 *
 *   mov byte ptr [rip+p2+1],9
 * p2: mov ebx,0
 *
 *   call fn
 *   mov edi,ebp
 *   mov dword ptr [rip+fn+1],77
 *   call fn
 *   hlt
 * fn: mov ebp,11
 *   ret
 */
static const uint8_t smc_prog[] = { 0x31, 0xc0, 0xb9, 0x05, 0x00, 0x00, 0x00, 0x48, 0x8d, 0x35,
    0x04, 0x00, 0x00, 0x00, 0x80, 0x06, 0x01, 0xba, 0x00, 0x00, 0x00, 0x00, 0x01, 0xd0, 0xff, 0xc9,
    0x75, 0xf2, 0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x09, 0xbb, 0x00, 0x00, 0x00, 0x00, 0xe8, 0x12,
    0x00, 0x00, 0x00, 0x89, 0xef, 0xc7, 0x05, 0x07, 0x00, 0x00, 0x00, 0x4d, 0x00, 0x00, 0x00, 0xe8,
    0x01, 0x00, 0x00, 0x00, 0xf4, 0xbd, 0x0b, 0x00, 0x00, 0x00, 0xc3 };

/*
 *   xor ecx,ecx
 *   xor ebx,ebx
 *   lea rdi,[rip+over+1]
 *   jmp short again
 * again: nop
 * over: mov eax,0x01010101
 *   add ebx,eax
 *   mov byte ptr [rip+over+4],2
 *   inc ecx
 *   cmp ecx,3
 *   jb again
 *   hlt
 */
static const uint8_t cross_prog[] = { 0x31, 0xc9, 0x31, 0xdb, 0x48, 0x8d, 0x3d, 0x04, 0x00, 0x00,
    0x00, 0xeb, 0x00, 0x90, 0xb8, 0x01, 0x01, 0x01, 0x01, 0x01, 0xc3, 0xc6, 0x05, 0xf6, 0xff, 0xff,
    0xff, 0x02, 0xff, 0xc1, 0x83, 0xf9, 0x03, 0x72, 0xea, 0xf4 };

/*
 * 1: lock inc qword ptr [0x2003c] (across a cache line)
 *   lock inc qword ptr [0x20000]
 *   mov eax,1
 *   lock xadd [0x20008],eax
 *   mov eax,[0x20010]
 * 2: lea edx,[rax+1]
 *   lock cmpxchg [0x20010],edx
 *   jne 2b
 *   lock add byte ptr [0x20fff],1
 *   dec ecx
 *   jnz 1b
 *   hlt
 */
static const uint8_t lock_prog[] = { 0xf0, 0x48, 0xff, 0x04, 0x25, 0x3c, 0x00, 0x02, 0x00, 0xf0,
    0x48, 0xff, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xf0, 0x0f, 0xc1,
    0x04, 0x25, 0x08, 0x00, 0x02, 0x00, 0x8b, 0x04, 0x25, 0x10, 0x00, 0x02, 0x00, 0x8d, 0x50, 0x01,
    0xf0, 0x0f, 0xb1, 0x14, 0x25, 0x10, 0x00, 0x02, 0x00, 0x75, 0xf2, 0xf0, 0x80, 0x04, 0x25, 0xff,
    0x0f, 0x02, 0x00, 0x01, 0xff, 0xc9, 0x75, 0xbe, 0xf4 };

/*
 *   mov rbx,0x1111
 *   mov rcx,0x2222
 *   xor eax,eax
 *   xor edx,edx
 *   lock cmpxchg16b [0x20000]
 *   sete r8b
 *   lock cmpxchg16b [0x20000]
 *   setne r9b
 *   mov rsi,[0x20000]
 *   mov rdi,[0x20008]
 *   xchg [0x20000],rbx
 *   mov rbp,-3
 *   bts [0x20100],rbp
 *   mov r10,[0x200f8]
 *   hlt
 */
static const uint8_t cx16_prog[] = { 0x48, 0xc7, 0xc3, 0x11, 0x11, 0x00, 0x00, 0x48, 0xc7, 0xc1,
    0x22, 0x22, 0x00, 0x00, 0x31, 0xc0, 0x31, 0xd2, 0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x00,
    0x02, 0x00, 0x41, 0x0f, 0x94, 0xc0, 0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x00, 0x02, 0x00,
    0x41, 0x0f, 0x95, 0xc1, 0x48, 0x8b, 0x34, 0x25, 0x00, 0x00, 0x02, 0x00, 0x48, 0x8b, 0x3c, 0x25,
    0x08, 0x00, 0x02, 0x00, 0x48, 0x87, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00, 0x48, 0xc7, 0xc5, 0xfd,
    0xff, 0xff, 0xff, 0x48, 0x0f, 0xab, 0x2c, 0x25, 0x00, 0x01, 0x02, 0x00, 0x4c, 0x8b, 0x14, 0x25,
    0xf8, 0x00, 0x02, 0x00, 0xf4 };

/*
 *   mov sp,0x7000
 *   sti
 *   inc ax
 *   inc ax
 *   inc ax
 *   hlt
 */
static const uint8_t sti_prog[] = { 0xbc, 0x00, 0x70, 0xfb, 0x40, 0x40, 0x40, 0xf4 };

/*
 *   mov esi,0x20000
 *   mov edi,0x30000
 * 1: mov rax,[rsi+rcx*8]
 *   add rbx,rax
 *   xor rdx,rbx
 *   shr rax,3
 *   mov [rdi+rcx*8],rdx
 *   lea r9,[rdx+rbx*2+5]
 *   cmp r9,rax
 *   jb 3f
 *   add r10,1
 * 3: inc ecx
 *   and ecx,255
 *   call f
 *   sub r8,1
 *   jnz 1b
 *   hlt
 * f: movzx r11d,byte ptr [rsi+rcx]
 *   test r11b,1
 *   je 4f
 *   mov r12,r11
 * 4: ret
 */
static const uint8_t speed_prog[] = { 0xbe, 0x00, 0x00, 0x02, 0x00, 0xbf, 0x00, 0x00, 0x03, 0x00,
    0x48, 0x8b, 0x04, 0xce, 0x48, 0x01, 0xc3, 0x48, 0x31, 0xda, 0x48, 0xc1, 0xe8, 0x03, 0x48, 0x89,
    0x14, 0xcf, 0x4c, 0x8d, 0x4c, 0x5a, 0x05, 0x49, 0x39, 0xc1, 0x72, 0x04, 0x49, 0x83, 0xc2, 0x01,
    0xff, 0xc1, 0x81, 0xe1, 0xff, 0x00, 0x00, 0x00, 0xe8, 0x07, 0x00, 0x00, 0x00, 0x49, 0x83, 0xe8,
    0x01, 0x75, 0xcd, 0xf4, 0x44, 0x0f, 0xb6, 0x1c, 0x0e, 0x41, 0xf6, 0xc3, 0x01, 0x74, 0x03, 0x4d,
    0x89, 0xdc, 0xc3 };
typedef struct Machine {
    SoftCpu *cpus[2];
    unsigned ncpus;
    uint8_t *ram;
    _Atomic uint64_t codemask[RAM_SIZE / 4096];
    SoftBus bus;
    X86CpuModel model;
    bool irq; /* one interrupt, vector 0x20, is pending */
} Machine;

static uint8_t *bus_page(void *opaque, uint64_t gpa, unsigned *ret_flags,
    _Atomic uint64_t **ret_codemask, bool *ret_logged)
{
    Machine *m = opaque;

    *ret_logged = false;
    if (gpa >= RAM_SIZE) {
        *ret_flags = SOFT_PAGE_MMIO;
        *ret_codemask = NULL;
        return NULL;
    }
    *ret_flags = SOFT_PAGE_RAM;
    *ret_codemask = &m->codemask[gpa >> 12];
    return m->ram + (gpa & ~0xfffull);
}

static uint64_t bus_read(void *opaque, uint64_t gpa, unsigned size)
{
    return ~0ull;
}

static void bus_write(void *opaque, uint64_t gpa, unsigned size, uint64_t val) {}
static uint32_t bus_in(void *opaque, uint16_t port, unsigned size)
{
    return ~0u;
}

static void bus_out(void *opaque, uint16_t port, unsigned size, uint32_t val) {}
static void bus_dirtied(void *opaque, uint64_t gpa) {}

static uint64_t bus_tsc(void *opaque)
{
    return 0;
}

static bool bus_irq_pending(void *opaque)
{
    return ((Machine *)opaque)->irq;
}

static int bus_irq_ack(void *opaque)
{
    Machine *m = opaque;
    int vector = m->irq ? 0x20 : -1;

    m->irq = false;
    return vector;
}

static uint64_t bus_apic_base(void *opaque)
{
    return 0xfee00900;
}

static bool bus_apic_base_set(void *opaque, uint64_t val)
{
    return true;
}

static uint8_t bus_tpr(void *opaque)
{
    return 0;
}

static void bus_tpr_set(void *opaque, uint8_t v) {}

static void bus_code_written(void *opaque, SoftCpu *by, uint64_t gpa, uint64_t granules)
{
    Machine *m = opaque;

    for (unsigned i = 0; i < m->ncpus; i++) {
        if (m->cpus[i] != by) {
            soft_blocks_queue_inval(m->cpus[i], gpa, granules);
        }
    }
}

static void bus_code_protected(void *opaque, SoftCpu *by, const uint8_t *page)
{
    Machine *m = opaque;

    soft_code_sync(by, m->cpus, m->ncpus, page);
}

/* When blocks are translated: SoftCpu.jit_after of new vCPUs. */
static uint8_t jit_after = SOFT_JIT_AFTER;

static Machine *machine_new(unsigned ncpus)
{
    Machine *m = g_new0(Machine, 1);

    /* In pages, as all RAM is: lines end where the guest thinks they do. */
    m->ram = memset(g_aligned_alloc(1, RAM_SIZE, 4096), 0, RAM_SIZE);
    m->bus = (SoftBus){ .page = bus_page,
        .dirtied = bus_dirtied,
        .mmio_read = bus_read,
        .mmio_write = bus_write,
        .pio_in = bus_in,
        .pio_out = bus_out,
        .tsc = bus_tsc,
        .irq_pending = bus_irq_pending,
        .irq_ack = bus_irq_ack,
        .apic_base = bus_apic_base,
        .apic_base_set = bus_apic_base_set,
        .tpr_get = bus_tpr,
        .tpr_set = bus_tpr_set,
        .code_written = bus_code_written,
        .code_protected = bus_code_protected };
    m->model = (X86CpuModel){ .vendor = "AuthenticAMD",
        .family = 15,
        .level = 13,
        .xlevel = 0x80000008,
        .f1_edx = 0x0783fbfd,
        .f1_ecx = 0x00802001,
        .f80000001_edx = 0x20100800,
        .f80000001_ecx = 1,
        .phys_bits = 40 };
    m->ncpus = ncpus;
    for (unsigned i = 0; i < ncpus; i++) {
        m->cpus[i] = soft_new(&m->bus, m, &m->model, i, i);
        m->cpus[i]->jit_after = jit_after;
        soft_reset(m->cpus[i], /* bsp= */ true);
    }
    return m;
}

static void machine_free(Machine *m)
{
    for (unsigned i = 0; i < m->ncpus; i++) {
        soft_free(m->cpus[i]);
    }
    g_aligned_free(m->ram);
    g_free(m);
}

static void load(Machine *m, uint64_t gpa, const uint8_t *code, size_t n)
{
    memcpy(m->ram + gpa, code, n);
}

static void st64(Machine *m, uint64_t gpa, uint64_t v)
{
    memcpy(m->ram + gpa, &v, 8);
}

/* A CPU about to run at ip in a mode of 16 (real), 32 (flat, no paging) or 64 bits (identity-mapped
 * RAM). */
static SoftCpu *enter(Machine *m, unsigned cpu, unsigned bits, uint64_t ip)
{
    X86State s = { .rip = ip,
        .rflags = 2,
        .cr0 = bits == 16   ? 0x10
               : bits == 32 ? 0x11
                            : 0x80010011 };
    X86Seg data = { .limit = 0xffff, .attr = 0x93 };

    if (bits > 16) {
        data = (X86Seg){ .limit = ~0u, .sel = 0x10, .attr = 0xc093 };
    }
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        s.seg[i] = data;
    }
    s.seg[SEG_CS].attr = bits == 16 ? 0x9b : bits == 32 ? 0xc09b : 0xa09b;
    s.seg[SEG_CS].sel = bits == 16 ? 0 : 8;
    s.idt.limit = 0x3ff;
    s.apic_base = 0xfee00900;
    memset(s.fx, 0, sizeof s.fx);
    if (bits == 64) {
        s.cr3 = TABLES;
        s.cr4 = 0x620;
        s.efer = 0x500;
        st64(m, TABLES, TABLES + 0x1003);
        st64(m, TABLES + 0x1000, TABLES + 0x2003);
        for (unsigned i = 0; i < RAM_SIZE >> 21; i++) {
            st64(m, TABLES + 0x2000 + i * 8, ((uint64_t)i << 21) | 0x83);
        }
    }
    soft_set_state(m->cpus[cpu], &s);
    return m->cpus[cpu];
}

static void run_to_halt(SoftCpu *c)
{
    g_assert_cmpint(soft_run(c), ==, SOFT_EXIT_HALT);
}

static void test_real(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 16, CODE);

    load(m, CODE, real_prog, sizeof real_prog);
    load(m, HANDLER, real_handler, sizeof real_handler);
    m->ram[1] = HANDLER >> 8; /* vector 0 */
    run_to_halt(c);
    g_assert_cmphex(c->r[R_AX], ==, 55);
    g_assert_cmphex(c->r[R_BX], ==, 0x77);
    g_assert_cmphex(c->r[R_DX], ==, 0x370);
    g_assert_cmphex(c->r[R_DI], ==, CODE + 0x2e); /* where DIV is */
    g_assert_cmphex(m->ram[0x12350], ==, 0x77);
    g_assert_cmphex(m->ram[0x12340 + 0xfffe], ==, 0xaa);
    machine_free(m);
}

static void test_prot(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 32, CODE);

    load(m, CODE, prot_prog, sizeof prot_prog);
    m->ram[0x10000] = 0x5a;
    run_to_halt(c);
    g_assert_cmphex(c->r[R_AX], ==, 5050);
    g_assert_cmphex(c->r[R_BX], ==, 50);
    g_assert_cmphex(c->r[R_CX], ==, 0);
    g_assert_cmphex(c->r[R_DX], ==, 0x10001);
    g_assert_cmphex(c->r[R_SI], ==, 100);
    g_assert_cmphex(c->r[R_DI], ==, 0x02000000);
    g_assert_cmphex(c->r[R_BP], ==, 0x5a);
    g_assert_cmphex(c->r[R_SP], ==, 0x7000);
    machine_free(m);
}

static void test_smc(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, CODE);

    load(m, CODE, smc_prog, sizeof smc_prog);
    c->r[R_SP] = 0x7000;
    run_to_halt(c);
    g_assert_cmphex(c->r[R_AX], ==, 15);
    g_assert_cmphex(c->r[R_BX], ==, 9);
    g_assert_cmphex(c->r[R_DI], ==, 11);
    g_assert_cmphex(c->r[R_BP], ==, 77);
    machine_free(m);
}

static void test_cross(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, 0x8ff0);

    load(m, 0x8ff0, cross_prog, sizeof cross_prog);
    run_to_halt(c);
    g_assert_cmphex(c->r[R_BX], ==, 0x05030303);
    machine_free(m);
}

static void test_cx16(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, CODE);

    load(m, CODE, cx16_prog, sizeof cx16_prog);
    run_to_halt(c);
    g_assert_cmphex(c->r[8], ==, 1);
    g_assert_cmphex(c->r[9], ==, 1);
    g_assert_cmphex(c->r[R_AX], ==, 0x1111);
    g_assert_cmphex(c->r[R_DX], ==, 0x2222);
    g_assert_cmphex(c->r[R_SI], ==, 0x1111);
    g_assert_cmphex(c->r[R_DI], ==, 0x2222);
    g_assert_cmphex(c->r[10], ==, 1ull << 61);
    machine_free(m);
}

/* An interrupt that waits for STI comes after the instruction behind it. */
static void test_sti(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 16, CODE);

    load(m, CODE, sti_prog, sizeof sti_prog);
    load(m, HANDLER, real_handler, sizeof real_handler);
    m->ram[0x20 * 4 + 1] = HANDLER >> 8;
    m->irq = true;
    soft_kick(c, SOFT_POLL_IRQ);
    run_to_halt(c);
    g_assert_cmphex(c->r[R_AX], ==, 1);
    g_assert_cmphex(c->r[R_DI], ==, CODE + 5);
    machine_free(m);
}

static gpointer run_thread(gpointer opaque)
{
    run_to_halt(opaque);
    return NULL;
}

static void test_lock(void)
{
    Machine *m = machine_new(2);
    uint64_t v, w;
    uint32_t a, b;
    load(m, CODE, lock_prog, sizeof lock_prog);
    for (unsigned i = 0; i < 2; i++) {
        enter(m, i, 64, CODE)->r[R_CX] = 50000;
    }
    GThread *t = g_thread_new("vcpu1", run_thread, m->cpus[1]);
    run_to_halt(m->cpus[0]);
    g_thread_join(t);
    memcpy(&v, m->ram + 0x20000, 8);
    memcpy(&w, m->ram + 0x2003c, 8);
    memcpy(&a, m->ram + 0x20008, 4);
    memcpy(&b, m->ram + 0x20010, 4);
    g_assert_cmpuint(v, ==, 100000);
    g_assert_cmpuint(w, ==, 100000);
    g_assert_cmpuint(a, ==, 100000);
    g_assert_cmpuint(b, ==, 100000);
    g_assert_cmpuint(m->ram[0x20fff], ==, 100000 & 0xff);
    machine_free(m);
}

/* vCPU 1 spins on a function that vCPU 0 rewrites; it stops when it sees the new code. */
static void test_smc_other(void)
{
    /* 1: mov byte [0x20000], 1; call 2f; cmp eax, 7; jne 1b; hlt; 2 (at 0x8040): mov eax, 1; ret */
    static const uint8_t spin[] = { 0xc6, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0x01, 0xe8, 0x33,
        0x00, 0x00, 0x00, 0x83, 0xf8, 0x07, 0x75, 0xee, 0xf4 };
    static const uint8_t fn[] = { 0xb8, 0x01, 0x00, 0x00, 0x00, 0xc3 };
    /* 1: cmp byte [0x20000], 0; je 1b; mov byte [0x8041], 7; hlt */
    static const uint8_t writer[] = { 0x80, 0x3c, 0x25, 0x00, 0x00, 0x02, 0x00, 0x00, 0x74, 0xf6,
        0xc6, 0x04, 0x25, 0x41, 0x80, 0x00, 0x00, 0x07, 0xf4 };
    Machine *m = machine_new(2);

    load(m, CODE, spin, sizeof spin);
    load(m, CODE + 0x40, fn, sizeof fn);
    load(m, HANDLER, writer, sizeof writer);
    enter(m, 0, 64, HANDLER);
    enter(m, 1, 64, CODE)->r[R_SP] = 0x7000;
    GThread *t = g_thread_new("vcpu1", run_thread, m->cpus[1]);
    run_to_halt(m->cpus[0]);
    g_thread_join(t);
    g_assert_cmphex(m->cpus[1]->r[R_AX], ==, 7);
    machine_free(m);
}

static void test_step(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, CODE);

    load(m, CODE, smc_prog, sizeof smc_prog);
    c->r[R_SP] = 0x7000;
    c->step = true;
    soft_mode_update(c);
    g_assert_cmpint(soft_run(c), ==, SOFT_EXIT_DEBUG);
    g_assert_cmphex(c->ip, ==, CODE + 2);
    c->step = false;
    soft_mode_update(c);
    c->breakpoints[c->nbreakpoints++] = CODE + 0x11; /* patch: */
    soft_blocks_flush(c);
    for (unsigned i = 1; i <= 5; i++) {
        g_assert_cmpint(soft_run(c), ==, SOFT_EXIT_DEBUG);
        g_assert_cmphex(c->ip, ==, CODE + 0x11);
        g_assert_cmphex(c->r[R_CX], ==, 6 - i);
        c->step = true;
        g_assert_cmpint(soft_run(c), ==, SOFT_EXIT_DEBUG);
        g_assert_cmphex(c->r[R_DX], ==, i);
        c->step = false;
    }
    run_to_halt(c);
    g_assert_cmphex(c->r[R_AX], ==, 15);
    machine_free(m);
}

/* Random code */

static void run_random(Machine *m, unsigned bits, const Gen *g, const uint64_t *regs, bool no_hot)
{
    SoftCpu *c = enter(m, 0, bits, CODE);

    for (unsigned i = 0; i < 0x1100; i++) {
        m->ram[0x20000 + i] = (uint8_t)(i * 37 + i / 251);
    }
    memset(m->ram + 0x6000, 0x33, 0x2000);
    load(m, CODE, g->code, g->n);
    soft_blocks_flush(c);
    c->no_hot = no_hot;
    memcpy(c->r, regs, 4 * sizeof *regs);
    memcpy(c->fx + 24, &(uint32_t){ 0x1f80 }, 4); /* MXCSR: nothing traps */
    c->r[R_SI] = 0x20000;
    c->r[R_DI] = 8;
    c->r[R_SP] = 0x7000;
    run_to_halt(c);
}

static void test_random(gconstpointer opaque)
{
    Machine *hot = machine_new(1), *cold = machine_new(1);
    Gen g = { .rand = g_rand_new_with_seed(20), .bits = GPOINTER_TO_UINT(opaque) };
    uint64_t regs[4], mask = g.bits == 64 ? ~0ull : 0xffffffff;

    for (unsigned i = 0; i < 5000; i++) {
        g.n = 0;
        g.sse = g.bits == 64 && i & 1;
        for (unsigned k = 0; k < 4; k++) {
            regs[k] =
                (((uint64_t)g_rand_int(g.rand) << 32 | g_rand_int(g.rand)) >> pick(&g, 64)) & mask;
        }
        for (unsigned k = 0; k < 20; k++) {
            put_insn(&g);
        }
        put(&g, 0xf4);
        run_random(hot, g.bits, &g, regs, false);
        run_random(cold, g.bits, &g, regs, true);
        SoftCpu *a = hot->cpus[0], *b = cold->cpus[0];
        for (unsigned k = 0; k < 8; k++) {
            g_assert_cmphex(a->r[k], ==, b->r[k]);
        }
        g_assert_cmphex(soft_get_rflags(a), ==, soft_get_rflags(b));
        g_assert_cmphex(a->ip, ==, b->ip);
        g_assert_cmpuint(a->icount, ==, b->icount);
        g_assert_cmpmem(a->fx, sizeof a->fx, b->fx, sizeof b->fx);
        g_assert_cmpmem(hot->ram + 0x20000, 0x2000, cold->ram + 0x20000, 0x2000);
        g_assert_cmpmem(hot->ram + 0x6000, 0x2000, cold->ram + 0x6000, 0x2000);
    }
    g_rand_free(g.rand);
    machine_free(hot);
    machine_free(cold);
}

static void test_speed(void)
{
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, CODE);

    load(m, CODE, speed_prog, sizeof speed_prog);
    c->r[R_SP] = 0x7000;
    c->r[8] = 2000000;
    gint64 t = g_get_monotonic_time();
    run_to_halt(c);
    t = g_get_monotonic_time() - t;
    g_test_message("%" G_GUINT64_FORMAT " instructions, %.0f MIPS", c->icount,
        (double)c->icount / (double)MAX(t, 1));
    g_assert_cmpuint(c->icount, >, 16 * 2000000);
    machine_free(m);
}

/* More code than there is room for its translation: all is forgotten, twice at least, and built
 * anew.
 */
static void test_full(void)
{
    enum { FROM = 2 << 20, INSN = 8, N = (8 << 20) / INSN, DATA = 0x20000 };
    static const uint8_t add[] = { 0x48, 0x03, 0x84, 0xbe }; /* ADD disp32(%rsi,%rdi,4), %rax */
    Machine *m = machine_new(1);
    SoftCpu *c = enter(m, 0, 64, FROM);
    uint64_t sum = 0, v, gen = c->blocks->gen;

    for (unsigned i = 0; i < 0x1000; i++) {
        m->ram[DATA + i] = (uint8_t)(i * 37 + i / 251);
    }
    for (uint32_t i = 0; i < N; i++) {
        uint32_t disp = i * 7 % 0xff0;

        memcpy(m->ram + FROM + i * INSN, add, 4);
        memcpy(m->ram + FROM + i * INSN + 4, &disp, 4);
        memcpy(&v, m->ram + DATA + disp, 8);
        sum += v;
    }
    m->ram[FROM + N * INSN] = 0xf4;
    c->r[R_SI] = DATA - 32;
    c->r[R_DI] = 8;
    for (uint64_t round = 1; round <= 2; round++) {
        run_to_halt(c);
        g_assert_cmphex(c->r[R_AX], ==, sum * round);
        g_assert_cmpuint(c->icount, ==, (N + 1) * round);
        c->ip = FROM;
        c->halted = false;
    }
    g_assert_cmpuint(c->blocks->gen, >=, gen + 2);
    g_assert_true(c->blocks->jit || c->blocks->jit_off);
    machine_free(m);
}

/* The same programs as generated code from the first time on. */
static void test_translated(void)
{
    jit_after = 0;
    test_smc();
    test_cross();
    test_cx16();
    test_sti();
    test_lock();
    test_smc_other();
    test_step();
    test_random(GUINT_TO_POINTER(64));
    test_full();
    test_speed();
    jit_after = SOFT_JIT_AFTER;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft-exec/real", test_real);
    g_test_add_func("/soft-exec/prot", test_prot);
    g_test_add_func("/soft-exec/self-modifying", test_smc);
    g_test_add_func("/soft-exec/page-crossing", test_cross);
    g_test_add_func("/soft-exec/cmpxchg16b", test_cx16);
    g_test_add_func("/soft-exec/sti-shadow", test_sti);
    g_test_add_func("/soft-exec/lock", test_lock);
    g_test_add_func("/soft-exec/other-vcpu-modifies", test_smc_other);
    g_test_add_func("/soft-exec/step-and-breakpoint", test_step);
    g_test_add_data_func("/soft-exec/hot-is-cold-64", GUINT_TO_POINTER(64), test_random);
    g_test_add_data_func("/soft-exec/hot-is-cold-32", GUINT_TO_POINTER(32), test_random);
    g_test_add_func("/soft-exec/speed", test_speed);
    g_test_add_func("/soft-exec/translated", test_translated);
    return g_test_run();
}

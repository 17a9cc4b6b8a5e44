/* accel/kvm: dirty logs, routes, interrupts through eventfds. What holds for each accelerator is in
 * test-accel.c. */
#include "tests/unit/vcpus.h"

/* Written pages, each once, with a bitmap and with rings that fill up. */
static void dirty(const char *opts)
{
    Fixture f;

    set_up(&f, 1, opts);
    /* 1: mov [0x1000],al; mov [0x3010],al; in al,0x82; mov [0x5020],al;
     * out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xa2, 0x00, 0x10, 0xa2, 0x10, 0x30, 0xe4, 0x82, 0xa2, 0x20, 0x50, 0xe6, 0x80,
        0xeb, 0xf1);
    DirtyLog *l = dirty_log_new(f.m->ram);
    run_at(&f, 0, CODE);
    for (unsigned i = 1; i < 20; i++) {
        f.last[2] = i;
        wait_value(&f, 0, i);
        wait_count(&f, 0, f.count[0] + 1); /* a whole turn since the last look */
        accel_pause(f.a);
        g_assert_true(dirty_log_take(l, 0x1000, 1));
        g_assert_true(dirty_log_take(l, 0x3000, 0x1000));
        g_assert_true(dirty_log_take(l, 0x5000, 0x1000));
        g_assert_false(dirty_log_take(l, 0, 0x1000));
        g_assert_false(dirty_log_take(l, 0x2000, 0x1000));
        g_assert_false(dirty_log_take(l, 0x4000, 0x1000));
        g_assert_false(dirty_log_take(l, 0x8000, 0x4000));
        g_assert_false(dirty_log_take(l, 0x1000, 1)); /* taken */
        accel_resume(f.a);
    }
    dirty_log_free(l);
    f.last[2] = 99; /* goes on without */
    wait_value(&f, 0, 99);
    tear_down(&f);
}

static void test_dirty_bitmap(void)
{
    dirty(NULL);
}

static void test_dirty_ring(void)
{
    dirty("{'kernel-irqchip':'off','dirty-ring-size':1024}");
}

/* More pages than the ring has room for, by a vCPU that nobody stops. */
static void test_dirty_ring_full(void)
{
    Fixture f;
    Region big;

    set_up(&f, 1, "{'kernel-irqchip':'off','dirty-ring-size':1024}");
    g_assert_true(region_init_ram(&big, NULL, "big", 16 << 20, NULL));
    region_map(&f.m->mem_root, 0x1000000, &big, 0);
    DirtyLog *l = dirty_log_new(big.ram);
    X86State s;
    vcpu_get_state(cpu_at(&f, 0), &s);
    s.seg[SEG_ES] = (X86Seg){ .limit = 0xffffffff, .attr = 0x8093 }; /* the whole address space */
    vcpu_set_state(cpu_at(&f, 0), &s);
    /*
     * The port write ends each turn outside the guest: a kernel that emulates real mode looks at
     * the ring's room only there. mov edi,0x1000000; mov ecx,4096; 1: mov es:[edi],al; add
     * edi,4096; out 0x81,al; dec ecx; jnz 1b; out 0x80,al; hlt
     */
    LOAD(&f, CODE, 0x66, 0xbf, 0, 0, 0, 1, 0x66, 0xb9, 0, 0x10, 0, 0, 0x26, 0x67, 0x88, 0x07, 0x66,
        0x81, 0xc7, 0, 0x10, 0, 0, 0xe6, 0x81, 0x66, 0x49, 0x75, 0xef, 0xe6, 0x80, 0xf4);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    for (uint64_t p = 0; p < 4096; p++) {
        g_assert_true(dirty_log_take(l, p << 12, 1));
    }
    g_assert_false(dirty_log_take(l, 0, 16 << 20));
    dirty_log_free(l);
    accel_pause(f.a);
    region_unmap(&big);
    region_fini(&big);
    tear_down(&f);
}

/* RAM is cut and joined under a vCPU that uses it: no access is lost, none goes elsewhere. */
static void test_slots_cut(void)
{
    Fixture f;
    Region hole;

    set_up(&f, 2, NULL);
    /* 1: inc word [0x500]; inc dword [0x9ff8]; out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xff, 0x06, 0x00, 0x05, 0x66, 0xff, 0x06, 0xf8, 0x9f, 0xe6, 0x80, 0xeb, 0xf3);
    region_init_io(&hole, NULL, "hole", &dev_ops, &f, 0x1000);
    run_at(&f, 0, CODE);
    for (unsigned i = 0; i < 50; i++) {
        unsigned n = f.count[0];
        region_map(&f.m->mem_root, 0xa000, &hole, 1); /* right behind the word */
        wait_count(&f, 0, n + 2);
        region_unmap(&hole);
        wait_count(&f, 0, f.count[0] + 2);
    }
    accel_pause(f.a);
    uint32_t words;
    g_assert_true(addrspace_read(f.m->mem, 0x9ff8, &words, sizeof words));
    g_assert_cmpuint(counter(&f), ==, words & 0xffff);
    g_assert_cmpuint(f.count[0] & 0xffff, <=, counter(&f));
    g_assert_cmpuint(counter(&f), <=, (f.count[0] & 0xffff) + 1);
    g_assert_cmpuint(f.io_writes, ==, 0);
    region_fini(&hole);
    tear_down(&f);
}

/* A level-triggered line that an eventfd raises: each end of interrupt lowers it and tells. */
static void test_resample(void)
{
    Fixture f;
    int fd = fd_eventfd(), resample = fd_eventfd();

    set_up(&f, 1, "{}");
    const AccelIrqOps *irq = f.a->cls->irq;
    g_assert_true(accel_has_irqfd(f.a));
    LOAD(&f, 0x40 * 4, 0x00, 0x72, 0x00, 0x00); /* vector 0x40 at 0:7200 */
    /*
     * 32-bit offsets over a flat ES: the local APIC on, pin 20 of the I/O APIC to vector 0x40,
     * level. mov edi,0xfee000f0; mov dword es:[edi],0x1ff; mov edi,0xfec00000; mov byte
     * es:[edi],0x39; mov dword es:[edi+16],0; mov byte es:[edi],0x38; mov dword es:[edi+16],0x8040;
     * sti; out 0x80,al; 1: hlt; jmp 1b
     */
    LOAD(&f, CODE, 0x66, 0xbf, 0xf0, 0, 0xe0, 0xfe, 0x26, 0x67, 0x66, 0xc7, 0x07, 0xff, 1, 0, 0,
        0x66, 0xbf, 0, 0, 0xc0, 0xfe, 0x26, 0x67, 0xc6, 0x07, 0x39, 0x26, 0x67, 0x66, 0xc7, 0x47,
        0x10, 0, 0, 0, 0, 0x26, 0x67, 0xc6, 0x07, 0x38, 0x26, 0x67, 0x66, 0xc7, 0x47, 0x10, 0x40,
        0x80, 0, 0, 0xfb, 0xe6, 0x80, 0xf4, 0xeb, 0xfd);
    /* out 0x81,al; mov edi,0xfee000b0; mov dword es:[edi],0 (EOI); iret */
    LOAD(&f, 0x7200, 0xe6, 0x81, 0x66, 0xbf, 0xb0, 0, 0xe0, 0xfe, 0x26, 0x67, 0x66, 0xc7, 0x07, 0,
        0, 0, 0, 0xcf);
    X86State s;
    vcpu_get_state(cpu_at(&f, 0), &s);
    s.seg[SEG_ES] = (X86Seg){ .limit = 0xffffffff, .attr = 0x8093 };
    vcpu_set_state(cpu_at(&f, 0), &s);
    g_assert_true(irq->irqfd(f.a, 20, fd, resample, /* add= */ true));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    for (unsigned i = 1; i < 20; i++) {
        g_assert_false(fd_drain(resample));
        fd_signal(fd);
        wait_count(&f, 1, i);
        while (!fd_drain(resample)) { /* the guest's EOI comes a moment after its port write */
            g_thread_yield();
        }
        g_assert_cmpuint(f.count[1], ==, i);
    }
    g_assert_true(irq->irqfd(f.a, 20, fd, resample, /* add= */ false));
    fd_signal(fd);
    tear_down(&f);
    close(fd);
    close(resample);
}

/* Routes come to an end, and come back. */
static void test_routes(void)
{
    Fixture f;
    int gsi[64], n = 0;

    set_up(&f, 1, "{'x-gsi-routes':40}");
    const AccelIrqOps *irq = f.a->cls->irq;
    while (n < 64 && (gsi[n] = irq->route_add(f.a, 0xfee00000, (uint32_t)n)) >= 0) {
        g_assert_cmpint(gsi[n], ==, 24 + n);
        n++;
    }
    g_assert_true(n > 0 && n <= 16);
    irq->route_del(f.a, gsi[n / 2]);
    g_assert_cmpint(irq->route_add(f.a, 0xfee00000, 0), ==, gsi[n / 2]);
    for (int i = 0; i < n; i++) {
        g_assert_true(irq->route_set(f.a, gsi[i], 0xfee00000, (uint32_t)(99 - i)));
        irq->route_del(f.a, gsi[i]);
    }
    tear_down(&f);
}

/* ---- registers in and out ---- */

enum { AVX = 1 << 28, XSAVE = 1 << 26, XSTATE_BV = 512, YMM = 576 };
enum { MSR_TSC_ADJUST = 0x3b, MSR_KVM_CLOCK = 0x4b564d01 };
enum { LAPIC_TPR = 0x80, LAPIC_SVR = 0xf0, LAPIC_LVT_TIMER = 0x320, LAPIC_LVT_LINT0 = 0x350 };

static X86Msr *msr_of(X86State *s, uint32_t index)
{
    for (unsigned i = 0; i < s->nmsrs; i++) {
        if (s->msr[i].index == index) {
            return &s->msr[i];
        }
    }
    return NULL;
}

static uint32_t lapic_word(const X86State *s, unsigned reg)
{
    uint32_t v;

    memcpy(&v, s->lapic + reg, sizeof v);
    return v;
}

static void put_lapic_word(X86State *s, unsigned reg, uint32_t v)
{
    memcpy(s->lapic + reg, &v, sizeof v);
}

/* Another value in all that may have any. */
static void change(X86State *s)
{
    uint64_t bv;

    for (unsigned i = 0; i < 16; i++) {
        s->r[i] = UINT64_C(0x1111111111111111) * i + 5;
        memset(s->fx + 160 + 16 * i, (int)(0x40 + i), 16); /* XMM */
    }
    s->rip = 0x1234;
    s->rflags = 0x246;
    s->seg[SEG_FS].base = 0x8000;
    s->seg[SEG_FS].sel = 0x800;
    s->cr2 = 0xdeadbeef000;
    s->dr[0] = 0x4000;
    s->dr[7] = 0x401;
    s->star = 0x23001000000000;
    s->lstar = 0xffff800000001000;
    s->kernel_gs_base = 0xffff800000002000;
    s->sysenter_eip = 0xffff800000003000;
    s->pat = 0x0007010600070106;
    s->tsc += UINT64_C(1) << 50;
    s->nmi_blocked = true;
    s->exception = (struct X86Event){ .active = true, .has_error = true, .nr = 13, .error = 0x50 };
    if (s->xcr0) {
        s->xcr0 = 7;
        memcpy(&bv, s->xsave + XSTATE_BV - 512, sizeof bv);
        bv |= 7;
        memcpy(s->xsave + XSTATE_BV - 512, &bv, sizeof bv);
        memset(s->xsave + YMM - 512, 0x5a, 256); /* upper halves of YMM */
    }
    if (s->has_lapic) {
        put_lapic_word(s, LAPIC_TPR, 0x30);
        s->cr8 = 3;
        put_lapic_word(s, LAPIC_SVR, 0x1fe);
        put_lapic_word(s, LAPIC_LVT_LINT0, 0x10045);
    }
}

static void same_state(const X86State *x, const X86State *y)
{
    g_assert_cmpmem(x->r, sizeof x->r, y->r, sizeof y->r);
    g_assert_cmphex(x->rip, ==, y->rip);
    g_assert_cmphex(x->rflags, ==, y->rflags);
    g_assert_cmphex(x->seg[SEG_FS].base, ==, y->seg[SEG_FS].base);
    g_assert_cmphex(x->cr2, ==, y->cr2);
    g_assert_cmphex(x->dr[0], ==, y->dr[0]);
    g_assert_cmphex(x->dr[7], ==, y->dr[7]);
    g_assert_cmphex(x->star, ==, y->star);
    g_assert_cmphex(x->lstar, ==, y->lstar);
    g_assert_cmphex(x->kernel_gs_base, ==, y->kernel_gs_base);
    g_assert_cmphex(x->sysenter_eip, ==, y->sysenter_eip);
    g_assert_cmphex(x->pat, ==, y->pat);
    g_assert_cmpmem(x->fx + 160, 256, y->fx + 160, 256);
    g_assert_cmphex(x->xcr0, ==, y->xcr0);
    g_assert_cmpmem(x->xsave, sizeof x->xsave, y->xsave, sizeof y->xsave);
    g_assert_cmpint(x->nmi_blocked, ==, y->nmi_blocked);
    g_assert_cmpint(x->exception.active, ==, y->exception.active);
    g_assert_cmpuint(x->exception.nr, ==, y->exception.nr);
    g_assert_cmpuint(x->exception.error, ==, y->exception.error);
    g_assert_cmphex(lapic_word(x, LAPIC_TPR), ==, lapic_word(y, LAPIC_TPR));
    g_assert_cmphex(lapic_word(x, LAPIC_SVR), ==, lapic_word(y, LAPIC_SVR));
    g_assert_cmphex(lapic_word(x, LAPIC_LVT_LINT0), ==, lapic_word(y, LAPIC_LVT_LINT0));
}

/* SDM vol. 3, table 10-1 and 11.4.7.1. */
static void is_fresh(const X86State *s, bool wide)
{
    uint16_t fcw;
    uint32_t mxcsr;
    uint64_t bv;

    memcpy(&fcw, s->fx, sizeof fcw);
    memcpy(&mxcsr, s->fx + 24, sizeof mxcsr);
    memcpy(&bv, s->xsave + XSTATE_BV - 512, sizeof bv);
    g_assert_cmphex(s->rip, ==, 0xfff0);
    g_assert_cmphex(s->rflags, ==, 2);
    g_assert_cmphex(s->cr0, ==, 0x60000010);
    g_assert_cmphex(s->seg[SEG_CS].base, ==, 0xffff0000);
    g_assert_cmphex(s->cr2 | s->cr3 | s->cr4 | s->efer | s->star | s->lstar, ==, 0);
    g_assert_cmphex(s->dr[7], ==, 0x400);
    g_assert_cmphex(fcw, ==, 0x40);
    g_assert_cmphex(mxcsr, ==, 0x1f80);
    g_assert_cmphex(s->pat, ==, 0x0007040600070406);
    g_assert_cmphex(s->xcr0, ==, wide);
    g_assert_cmphex(bv & ~UINT64_C(3), ==, 0);
    g_assert_false(s->exception.active || s->interrupt.active || s->nmi_blocked);
    if (s->has_lapic) {
        g_assert_cmphex(lapic_word(s, LAPIC_SVR), ==, 0xff);
        g_assert_cmphex(lapic_word(s, LAPIC_TPR), ==, 0);
        g_assert_cmphex(lapic_word(s, LAPIC_LVT_TIMER), ==, 0x10000);
    }
}

/* What is written is read back; what nobody changed stays as it is meanwhile; a reset clears all.
 */
static void state(const char *opts, bool wide)
{
    X86CpuModel m = model;
    Fixture f;
    X86State was, s, now;

    m.f1_ecx |= wide ? AVX | XSAVE : 0;
    cpu_model = &m;
    set_up(&f, 1, opts);
    VCpu *cpu = cpu_at(&f, 0);

    vcpu_reset(cpu);
    vcpu_get_state(cpu, &was);
    is_fresh(&was, wide);
    /* A kernel that runs guests in software may show them the host's TSC whatever is written. */
    bool moves = was.tsc < __builtin_ia32_rdtsc() / 2;

    if (!moves) {
        g_test_message("the guest's TSC is the host's here: its value is not compared");
    }
    g_assert_cmpint(was.has_lapic, ==, accel_irqchip(f.a) != ACCEL_IRQCHIP_SOFT);
    s = was;
    change(&s);
    X86Msr *clock = msr_of(&s, MSR_KVM_CLOCK), *adjust = msr_of(&s, MSR_TSC_ADJUST);

    if (clock) {
        clock->val = 0x8001; /* in RAM, on */
    }
    if (adjust) {
        adjust->val = 77;
    }
    vcpu_set_state(cpu, &s);
    vcpu_get_state(cpu, &now);
    same_state(&s, &now);
    if (moves) {
        g_assert_cmpuint(now.tsc, >=, s.tsc);
        g_assert_cmpuint(now.tsc, <, s.tsc + (UINT64_C(1) << 45));
    }
    if (clock) {
        g_assert_cmphex(msr_of(&now, MSR_KVM_CLOCK)->val, ==, 0x8001);
    }
    if (adjust) {
        g_assert_cmphex(msr_of(&now, MSR_TSC_ADJUST)->val, ==, 77);
    }
    vcpu_set_state(cpu, &now); /* its TSC is old by now, and must not come back */
    vcpu_get_state(cpu, &s);
    same_state(&s, &now);
    g_assert_cmpuint(s.tsc, >=, now.tsc);
    vcpu_reset(cpu);
    vcpu_get_state(cpu, &s);
    is_fresh(&s, wide);
    g_assert_true(!moves || s.tsc < UINT64_C(1) << 50);
    tear_down(&f);
    cpu_model = &model;
}

static void test_state(void)
{
    state("{'kernel-irqchip':'on'}", false);
}

static void test_state_xsave(void)
{
    state("{'kernel-irqchip':'on'}", true);
}

static void test_state_split(void)
{
    state("{'kernel-irqchip':'split'}", true);
}

static void test_state_soft(void)
{
    state("{'kernel-irqchip':'off'}", true);
}

static const Case cases[] = {
    { "slots-cut", test_slots_cut, true, true },
    { "dirty-bitmap", test_dirty_bitmap, false, true },
    { "dirty-ring", test_dirty_ring, false, true },
    { "dirty-ring-full", test_dirty_ring_full, false, true },
    { "resample", test_resample, false, true },
    { "routes", test_routes, false, true },
    { "state", test_state, false, true },
    { "state-xsave", test_state_xsave, false, true },
    { "state-split", test_state_split, false, true },
    { "state-soft", test_state_soft, false, true },
};

int main(int argc, char **argv)
{
    return run_cases(argc, argv, cases, G_N_ELEMENTS(cases));
}

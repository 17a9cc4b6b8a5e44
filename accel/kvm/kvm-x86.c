/*
 * A vCPU's registers in and out of KVM (KVM
 * API, 4.11-4.14, 4.18, 4.19, 4.31, 4.33, 4.38, 4.42-4.44, 4.57). The vCPU is paused or the caller
 * is its thread. Tests: tests/system/test_kvm.py
 */
#include "hw/core/machine.h"
#include "hw/intc/lapic.h"
#include "kvm-internal.h"

#include <errno.h>
#include <string.h>

enum {
    MSR_MTRR_DEF = 0x2ff,
    MSR_MTRR_VAR = 0x200,
    MSR_TSC = 0x10,
    MSR_KVM_POLL = 0x4b564d05,
    MAX_MSRS = 64,
};
enum {
    FX_FCW = 0,
    FX_MXCSR = 24,
    XSTATE_BV = 512,
    FX_SIZE = 512,
    F1_EDX_MTRR = 1 << 12,
    F1_ECX_XSAVE = 1 << 26
};

/* MSRs that X86State holds by name. */
static const struct {
    uint32_t msr;
    size_t at;
} state_msrs[] = {
    { 0xc0000081, offsetof(X86State, star) },
    { 0xc0000082, offsetof(X86State, lstar) },
    { 0xc0000083, offsetof(X86State, cstar) },
    { 0xc0000084, offsetof(X86State, fmask) },
    { 0xc0000102, offsetof(X86State, kernel_gs_base) },
    { 0xc0000103, offsetof(X86State, tsc_aux) },
    { 0x174, offsetof(X86State, sysenter_cs) },
    { 0x175, offsetof(X86State, sysenter_esp) },
    { 0x176, offsetof(X86State, sysenter_eip) },
    { 0x277, offsetof(X86State, pat) },
    { 0x1a0, offsetof(X86State, misc_enable) },
};
static const uint16_t fixed_mtrrs[11] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c,
    0x26d, 0x26e, 0x26f };
/* Clear after power-on, and state that X86State holds by number: where the kernel writes for its
 * guests (Documentation/virt/kvm/x86/msr.rst), TSC_ADJUST, SPEC_CTRL, the deadline timer. */
static const uint32_t cleared_msrs[] = { 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03,
    0x4b564d04, 0x4b564d06, 0x4b564d07, 0x3b, 0x48, 0x6e0 };
/* More of that kind, which the kernel clears itself: DEBUGCTL, FEATURE_CONTROL, MCG_STATUS, XFD,
 * XSS, BNDCFGS, polling before a halt. */
static const uint32_t other_msrs[] = { 0x1d9, 0x3a, 0x17a, 0x1c4, 0xda0, 0xd90, MSR_KVM_POLL };
_Static_assert(G_N_ELEMENTS(cleared_msrs) + G_N_ELEMENTS(other_msrs) <= X86_MSRS, "X86State.msr");

typedef struct Msrs {
    struct kvm_msrs head;
    struct kvm_msr_entry e[MAX_MSRS];
} Msrs;

static bool knows(const KvmAccel *ka, uint32_t msr)
{
    for (unsigned i = 0; i < ka->nmsrs; i++) {
        if (ka->msrs[i] == msr) {
            return true;
        }
    }
    return false;
}

bool kvm_x86_init(KvmAccel *ka, GError **err)
{
    g_autofree struct kvm_msr_list *list = g_malloc0(sizeof *list);

    /* The first call says how many there are: KVM API, 4.3. */
    if (kvm_ioctl(ka->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0 && errno != E2BIG) {
        return err_set_errno(err, "KVM_GET_MSR_INDEX_LIST");
    }
    list = g_realloc(list, sizeof *list + list->nmsrs * sizeof list->indices[0]);
    if (kvm_ioctl(ka->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
        return err_set_errno(err, "KVM_GET_MSR_INDEX_LIST");
    }
    ka->nmsrs = list->nmsrs;
    ka->msrs = g_memdup2(list->indices, list->nmsrs * sizeof list->indices[0]);
    return true;
}

static void put_msr(Msrs *m, uint32_t msr, uint64_t val)
{
    g_assert(m->head.nmsrs < MAX_MSRS);
    m->e[m->head.nmsrs++] = (struct kvm_msr_entry){ .index = msr, .data = val };
}

/* The kernel stops at the first one that it refuses; the others still count: `reserved` is 1 in
 * those that it took. */
static void transfer_msrs(const KvmVcpu *v, unsigned long request, const Msrs *all, Msrs *ret)
{
    unsigned done = 0, n = all->head.nmsrs;

    *ret = *all;
    while (done < n) {
        Msrs part = { .head.nmsrs = n - done };
        int got;

        memcpy(part.e, all->e + done, (n - done) * sizeof part.e[0]);
        got = kvm_ioctl(v->fd, request, &part);
        kvm_must(got, "KVM_GET_MSRS or KVM_SET_MSRS");
        memcpy(ret->e + done, part.e, (size_t)got * sizeof part.e[0]);
        for (unsigned i = done; i < done + (unsigned)got; i++) {
            ret->e[i].reserved = 1;
        }
        done += (unsigned)got + 1;
    }
}

static bool has_mtrrs(const KvmVcpu *v)
{
    return v->ka->a.machine->cpu_model->f1_edx & F1_EDX_MTRR;
}

static uint64_t *state_msr(X86State *s, unsigned i)
{
    return (uint64_t *)(void *)((char *)s + state_msrs[i].at);
}

/* The list for both directions: s's values, which a get overwrites. */
static void list_msrs(const KvmVcpu *v, X86State *s, Msrs *m)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(state_msrs); i++) {
        if (knows(v->ka, state_msrs[i].msr)) {
            put_msr(m, state_msrs[i].msr, *state_msr(s, i));
        }
    }
    if (has_mtrrs(v)) { /* not in the kernel's list, whoever has them */
        put_msr(m, MSR_MTRR_DEF, s->mtrr_def);
        for (unsigned i = 0; i < 11; i++) {
            put_msr(m, fixed_mtrrs[i], s->mtrr_fixed[i]);
        }
        for (unsigned i = 0; i < 16; i++) {
            put_msr(m, MSR_MTRR_VAR + i, s->mtrr_var[i]);
        }
    }
}

static void get_msrs(const KvmVcpu *v, X86State *s)
{
    Msrs all = { 0 }, got;
    unsigned n = 0;

    list_msrs(v, s, &all);
    put_msr(&all, MSR_TSC, 0);
    transfer_msrs(v, KVM_GET_MSRS, &all, &got);
    for (unsigned i = 0; i < G_N_ELEMENTS(state_msrs); i++) {
        if (knows(v->ka, state_msrs[i].msr)) {
            *state_msr(s, i) = got.e[n++].data;
        }
    }
    if (has_mtrrs(v)) {
        s->mtrr_def = got.e[n++].data;
        for (unsigned i = 0; i < 11; i++) {
            s->mtrr_fixed[i] = got.e[n++].data;
        }
        for (unsigned i = 0; i < 16; i++) {
            s->mtrr_var[i] = got.e[n++].data;
        }
    }
    s->tsc = got.e[n].data;
}

static void list_known(const KvmVcpu *v, const uint32_t *msr, unsigned n, Msrs *m)
{
    for (unsigned i = 0; i < n; i++) {
        if (knows(v->ka, msr[i])) {
            put_msr(m, msr[i], 0);
        }
    }
}

/* Those without a name in X86State. */
static void get_more_msrs(const KvmVcpu *v, X86State *s)
{
    Msrs all = { 0 }, got;

    list_known(v, cleared_msrs, G_N_ELEMENTS(cleared_msrs), &all);
    list_known(v, other_msrs, G_N_ELEMENTS(other_msrs), &all);
    transfer_msrs(v, KVM_GET_MSRS, &all, &got);
    for (unsigned i = 0; i < got.head.nmsrs; i++) {
        if (got.e[i].reserved) {
            s->msr[s->nmsrs++] = (X86Msr){ got.e[i].index, got.e[i].data };
        }
    }
}

static bool was_seen(const KvmVcpu *v, const X86Msr *m)
{
    for (unsigned i = 0; v->seen && i < v->seen->nmsrs; i++) {
        if (v->seen->msr[i].index == m->index) {
            return v->seen->msr[i].val == m->val;
        }
    }
    return false;
}

/* The TSC first: writing it may move TSC_ADJUST. What was read a moment ago would set it back. */
static void set_msrs(const KvmVcpu *v, const X86State *s)
{
    X86State copy = *s;
    Msrs all = { 0 }, got;

    if (!v->seen || s->tsc != v->seen->tsc) {
        put_msr(&all, MSR_TSC, s->tsc);
    }
    list_msrs(v, &copy, &all);
    transfer_msrs(v, KVM_SET_MSRS, &all, &got);
    all.head.nmsrs = 0;
    for (unsigned i = 0; i < s->nmsrs; i++) {
        if (!was_seen(v, &s->msr[i])) {
            put_msr(&all, s->msr[i].index, s->msr[i].val);
        }
    }
    transfer_msrs(v, KVM_SET_MSRS, &all, &got);
}

/* Segments: X86Seg.attr is descriptor bits 40 to 55 (SDM vol. 3, 3.4.5). */
static X86Seg seg_from(const struct kvm_segment *k)
{
    unsigned attr = k->type | (unsigned)k->s << 4 | (unsigned)k->dpl << 5 |
                    (unsigned)(k->present && !k->unusable) << 7 | (unsigned)k->avl << 12 |
                    (unsigned)k->l << 13 | (unsigned)k->db << 14 | (unsigned)k->g << 15;

    return (
        X86Seg){ .base = k->base, .limit = k->limit, .sel = k->selector, .attr = (uint16_t)attr };
}

static struct kvm_segment seg_to(const X86Seg *s)
{
    return (struct kvm_segment){ .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .type = s->attr & 15,
        .s = s->attr >> 4 & 1,
        .dpl = s->attr >> 5 & 3,
        .present = s->attr >> 7 & 1,
        .avl = s->attr >> 12 & 1,
        .l = s->attr >> 13 & 1,
        .db = s->attr >> 14 & 1,
        .g = s->attr >> 15 & 1,
        .unusable = !(s->attr >> 7 & 1) };
}

static void get_sregs(const KvmVcpu *v, X86State *s)
{
    struct kvm_sregs k;

    kvm_must(kvm_ioctl(v->fd, KVM_GET_SREGS, &k), "KVM_GET_SREGS");
    s->seg[SEG_ES] = seg_from(&k.es);
    s->seg[SEG_CS] = seg_from(&k.cs);
    s->seg[SEG_SS] = seg_from(&k.ss);
    s->seg[SEG_DS] = seg_from(&k.ds);
    s->seg[SEG_FS] = seg_from(&k.fs);
    s->seg[SEG_GS] = seg_from(&k.gs);
    s->ldt = seg_from(&k.ldt);
    s->tr = seg_from(&k.tr);
    s->gdt.base = k.gdt.base;
    s->gdt.limit = k.gdt.limit;
    s->idt.base = k.idt.base;
    s->idt.limit = k.idt.limit;
    s->cr0 = k.cr0;
    s->cr2 = k.cr2;
    s->cr3 = k.cr3;
    s->cr4 = k.cr4;
    s->cr8 = k.cr8;
    s->efer = k.efer;
    s->apic_base = v->ka->irqchip == ACCEL_IRQCHIP_SOFT && v->cpu->lapic ? lapic_base(v->cpu->lapic)
                                                                         : k.apic_base;
}

static void set_sregs(const KvmVcpu *v, const X86State *s)
{
    struct kvm_sregs k;

    kvm_must(kvm_ioctl(v->fd, KVM_GET_SREGS, &k), "KVM_GET_SREGS");
    memset(k.interrupt_bitmap, 0, sizeof k.interrupt_bitmap); /* events hold what is injected */
    k.es = seg_to(&s->seg[SEG_ES]);
    k.cs = seg_to(&s->seg[SEG_CS]);
    k.ss = seg_to(&s->seg[SEG_SS]);
    k.ds = seg_to(&s->seg[SEG_DS]);
    k.fs = seg_to(&s->seg[SEG_FS]);
    k.gs = seg_to(&s->seg[SEG_GS]);
    k.ldt = seg_to(&s->ldt);
    k.tr = seg_to(&s->tr);
    k.gdt = (struct kvm_dtable){ .base = s->gdt.base, .limit = s->gdt.limit };
    k.idt = (struct kvm_dtable){ .base = s->idt.base, .limit = s->idt.limit };
    k.cr0 = s->cr0;
    k.cr2 = s->cr2;
    k.cr3 = s->cr3;
    k.cr4 = s->cr4;
    k.cr8 = s->cr8;
    k.efer = s->efer;
    k.apic_base = s->apic_base;
    kvm_must(kvm_ioctl(v->fd, KVM_SET_SREGS, &k), "KVM_SET_SREGS");
}

/* General registers: the kernel names them. */
/* clang-format off */
#define FOR_REGS(X)                                                                                \
    X(0, rax) X(1, rcx) X(2, rdx) X(3, rbx) X(4, rsp) X(5, rbp) X(6, rsi) X(7, rdi)                \
    X(8, r8) X(9, r9) X(10, r10) X(11, r11) X(12, r12) X(13, r13) X(14, r14) X(15, r15)
/* clang-format on */

static void get_regs(const KvmVcpu *v, X86State *s)
{
    struct kvm_regs k;

    kvm_must(kvm_ioctl(v->fd, KVM_GET_REGS, &k), "KVM_GET_REGS");
#define GET(i, name) s->r[i] = k.name;
    FOR_REGS(GET)
#undef GET
    s->rip = k.rip;
    s->rflags = k.rflags;
}

static void set_regs(const KvmVcpu *v, const X86State *s)
{
    struct kvm_regs k = { .rip = s->rip, .rflags = s->rflags };

#define SET(i, name) k.name = s->r[i];
    FOR_REGS(SET)
#undef SET
    kvm_must(kvm_ioctl(v->fd, KVM_SET_REGS, &k), "KVM_SET_REGS");
}

/* XSAVE area: the legacy part is the FXSAVE image (SDM vol. 1, 13.4). */
static void get_fpu(const KvmVcpu *v, X86State *s)
{
    struct kvm_xsave x;
    struct kvm_fpu f;

    if (v->ka->caps.xsave) {
        kvm_must(kvm_ioctl(v->fd, KVM_GET_XSAVE, &x), "KVM_GET_XSAVE");
        memcpy(s->fx, x.region, FX_SIZE);
        memcpy(s->xsave, (const char *)x.region + FX_SIZE, sizeof s->xsave);
        return;
    }
    kvm_must(kvm_ioctl(v->fd, KVM_GET_FPU, &f), "KVM_GET_FPU");
    memset(s->fx, 0, FX_SIZE);
    memcpy(s->fx, &f.fcw, 2);
    memcpy(s->fx + 2, &f.fsw, 2);
    s->fx[4] = f.ftwx;
    memcpy(s->fx + 6, &f.last_opcode, 2);
    memcpy(s->fx + 8, &f.last_ip, 8);
    memcpy(s->fx + 16, &f.last_dp, 8);
    memcpy(s->fx + FX_MXCSR, &f.mxcsr, 4);
    memcpy(s->fx + 32, f.fpr, sizeof f.fpr);
    memcpy(s->fx + 160, f.xmm, sizeof f.xmm);
}

/* Components whose bit is not set go to their initial state. */
static void set_fpu(const KvmVcpu *v, const X86State *s)
{
    struct kvm_xsave x = { 0 };
    struct kvm_fpu f = { .ftwx = s->fx[4] };
    uint64_t bv;

    if (v->ka->caps.xsave) {
        memcpy(x.region, s->fx, FX_SIZE);
        memcpy((char *)x.region + FX_SIZE, s->xsave, sizeof s->xsave);
        memcpy(&bv, (char *)x.region + XSTATE_BV, sizeof bv);
        bv |= 3;
        memcpy((char *)x.region + XSTATE_BV, &bv, sizeof bv);
        kvm_must(kvm_ioctl(v->fd, KVM_SET_XSAVE, &x), "KVM_SET_XSAVE");
        return;
    }
    memcpy(&f.fcw, s->fx, 2);
    memcpy(&f.fsw, s->fx + 2, 2);
    memcpy(&f.last_opcode, s->fx + 6, 2);
    memcpy(&f.last_ip, s->fx + 8, 8);
    memcpy(&f.last_dp, s->fx + 16, 8);
    memcpy(&f.mxcsr, s->fx + FX_MXCSR, 4);
    memcpy(f.fpr, s->fx + 32, sizeof f.fpr);
    memcpy(f.xmm, s->fx + 160, sizeof f.xmm);
    kvm_must(kvm_ioctl(v->fd, KVM_SET_FPU, &f), "KVM_SET_FPU");
}

/* NMIs, the interrupt shadow, debug registers, and whether it runs at all. */
static void get_events(const KvmVcpu *v, X86State *s)
{
    struct kvm_vcpu_events e;
    struct kvm_debugregs d;
    struct kvm_mp_state mp;

    kvm_must(kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e), "KVM_GET_VCPU_EVENTS");
    s->exception = (struct X86Event){ .active = e.exception.injected,
        .has_error = e.exception.has_error_code,
        .nr = e.exception.nr,
        .error = e.exception.error_code };
    s->interrupt = (struct X86Event){
        .active = e.interrupt.injected, .soft = e.interrupt.soft, .nr = e.interrupt.nr
    };
    s->nmi_injected = e.nmi.injected;
    s->sipi_vector = (uint8_t)e.sipi_vector;
    s->irq_shadow = e.interrupt.shadow != 0;
    s->nmi_blocked = e.nmi.masked;
    s->nmi_pending = e.nmi.pending;
    if (v->ka->caps.debugregs) {
        kvm_must(kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d), "KVM_GET_DEBUGREGS");
        memcpy(s->dr, d.db, sizeof d.db);
        s->dr[6] = d.dr6;
        s->dr[7] = d.dr7;
    }
    if (v->ka->irqchip == ACCEL_IRQCHIP_SOFT) {
        s->halted = v->halted;
        s->wait_sipi = v->wait_sipi;
        return;
    }
    kvm_must(kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp), "KVM_GET_MP_STATE");
    s->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    s->wait_sipi =
        mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
}

static bool same_event(const struct X86Event *x, const struct X86Event *y)
{
    return x->active == y->active && x->soft == y->soft && x->has_error == y->has_error &&
           x->nr == y->nr && x->error == y->error;
}

/* What is on its way into the CPU, where it is another than it was. */
static void put_injected(const KvmVcpu *v, const X86State *s, struct kvm_vcpu_events *e)
{
    const X86State none = { 0 }, *was = v->seen ? v->seen : &none;

    if (!same_event(&s->exception, &was->exception)) {
        e->exception.injected = s->exception.active;
        e->exception.nr = s->exception.nr;
        e->exception.has_error_code = s->exception.has_error;
        e->exception.error_code = s->exception.error;
    }
    if (!same_event(&s->interrupt, &was->interrupt)) {
        e->interrupt.injected = s->interrupt.active;
        e->interrupt.nr = s->interrupt.nr;
        e->interrupt.soft = s->interrupt.soft;
    }
    if (s->nmi_injected != was->nmi_injected) {
        e->nmi.injected = s->nmi_injected;
    }
    if (s->sipi_vector != was->sipi_vector) {
        e->sipi_vector = s->sipi_vector;
        e->flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    }
}

static void set_events(KvmVcpu *v, const X86State *s, bool fresh)
{
    struct kvm_vcpu_events e = { 0 };
    struct kvm_debugregs d = { .dr6 = s->dr[6], .dr7 = s->dr[7] };
    struct kvm_mp_state mp = { .mp_state = s->wait_sipi ? KVM_MP_STATE_UNINITIALIZED
                                           : s->halted  ? KVM_MP_STATE_HALTED
                                                        : KVM_MP_STATE_RUNNABLE };

    if (!fresh) {
        kvm_must(kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e), "KVM_GET_VCPU_EVENTS");
        e.interrupt.shadow = s->irq_shadow ? MAX(e.interrupt.shadow, 1) : 0;
    }
    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
              (fresh ? KVM_VCPUEVENT_VALID_SIPI_VECTOR : 0);
    if (!fresh) {
        put_injected(v, s, &e);
    }
    e.nmi.masked = s->nmi_blocked;
    e.nmi.pending = s->nmi_pending;
    kvm_must(kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e), "KVM_SET_VCPU_EVENTS");
    if (v->ka->caps.debugregs) {
        memcpy(d.db, s->dr, sizeof d.db);
        kvm_must(kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d), "KVM_SET_DEBUGREGS");
    }
    if (v->ka->irqchip == ACCEL_IRQCHIP_SOFT) {
        v->halted = s->halted;
        v->wait_sipi = s->wait_sipi;
    } else {
        kvm_must(kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp), "KVM_SET_MP_STATE");
    }
}

static bool has_xcr0(const KvmVcpu *v)
{
    return v->ka->caps.xcrs && v->ka->a.machine->cpu_model->f1_ecx & F1_ECX_XSAVE;
}

static void get_xcr0(const KvmVcpu *v, X86State *s)
{
    struct kvm_xcrs x;

    if (has_xcr0(v)) {
        kvm_must(kvm_ioctl(v->fd, KVM_GET_XCRS, &x), "KVM_GET_XCRS");
        for (unsigned i = 0; i < x.nr_xcrs; i++) {
            s->xcr0 = x.xcrs[i].xcr ? s->xcr0 : x.xcrs[i].value;
        }
    }
}

static void set_xcr0(const KvmVcpu *v, const X86State *s)
{
    struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = s->xcr0 } } };

    if (has_xcr0(v) && s->xcr0) {
        kvm_must(kvm_ioctl(v->fd, KVM_SET_XCRS, &x), "KVM_SET_XCRS");
    }
}

static void get_lapic(const KvmVcpu *v, X86State *s)
{
    struct kvm_lapic_state l;

    _Static_assert(sizeof l.regs == sizeof s->lapic, "a local APIC's page, KVM API, 4.57");
    if (v->ka->irqchip != ACCEL_IRQCHIP_SOFT) {
        kvm_must(kvm_ioctl(v->fd, KVM_GET_LAPIC, &l), "KVM_GET_LAPIC");
        memcpy(s->lapic, l.regs, sizeof s->lapic);
        s->has_lapic = true;
    }
}

/* Interrupts come meanwhile: only what somebody changed. */
static void set_lapic(const KvmVcpu *v, const X86State *s)
{
    struct kvm_lapic_state l;

    if (s->has_lapic && v->ka->irqchip != ACCEL_IRQCHIP_SOFT &&
        (!v->seen || memcmp(s->lapic, v->seen->lapic, sizeof s->lapic))) {
        memcpy(l.regs, s->lapic, sizeof l.regs);
        kvm_must(kvm_ioctl(v->fd, KVM_SET_LAPIC, &l), "KVM_SET_LAPIC");
    }
}

/* The caller and the vCPU agree on s from now on. */
static void see(KvmVcpu *v, const X86State *s)
{
    v->seen = v->seen ? v->seen : g_new(X86State, 1);
    *v->seen = *s;
}

void kvm_get_state(VCpu *cpu, X86State *ret)
{
    KvmVcpu *v = kvm_vcpu_of(cpu);

    *ret = (X86State){ 0 };
    get_regs(v, ret);
    get_sregs(v, ret);
    get_xcr0(v, ret);
    get_fpu(v, ret);
    get_lapic(v, ret);
    get_msrs(v, ret);
    get_more_msrs(v, ret);
    get_events(v, ret);
    see(v, ret);
}

/* The local APIC before the deadline of its timer, which counts only in that mode. */
static void put_state(KvmVcpu *v, const X86State *s, bool fresh)
{
    set_sregs(v, s);
    set_regs(v, s);
    set_xcr0(v, s);
    set_fpu(v, s);
    set_lapic(v, s);
    set_msrs(v, s);
    set_events(v, s, fresh);
    see(v, s);
}

void kvm_set_state(VCpu *cpu, const X86State *s)
{
    KvmVcpu *v = kvm_vcpu_of(cpu);

    put_state(v, s, /* fresh= */ false);
    v->stopped = false;
}

/* SDM vol. 3, table 10-1. */
static void power_on(const KvmVcpu *v, X86State *s)
{
    X86CpuidLeaf l = { .leaf = 1 };
    const uint16_t fcw = 0x40;
    const uint32_t mxcsr = 0x1f80;

    x86_cpuid(v->ka->a.machine->cpu_model, v->cpu->apic_id, &l);
    *s = (X86State){ .rip = 0xfff0, .rflags = 2, .cr0 = 0x60000010 };
    s->r[2] = l.eax;
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        s->seg[i] = (X86Seg){ .limit = 0xffff, .attr = 0x93 };
    }
    s->seg[SEG_CS] = (X86Seg){ .base = 0xffff0000, .limit = 0xffff, .sel = 0xf000, .attr = 0x9b };
    s->ldt = (X86Seg){ .limit = 0xffff, .attr = 0x82 };
    s->tr = (X86Seg){ .limit = 0xffff, .attr = 0x8b };
    s->gdt.limit = s->idt.limit = 0xffff;
    s->dr[6] = 0xffff0ff0;
    s->dr[7] = 0x400;
    memcpy(s->fx + FX_FCW, &fcw, sizeof fcw);
    memcpy(s->fx + FX_MXCSR, &mxcsr, sizeof mxcsr);
    s->xcr0 = 1;
    s->pat = 0x0007040600070406;
    s->misc_enable = 1;
    s->apic_base = 0xfee00800 | (v->cpu->index ? 0 : 1u << 8);
    s->wait_sipi = v->cpu->index != 0;
}

static void reset_msrs(const KvmVcpu *v)
{
    Msrs all = { 0 }, got;

    for (unsigned i = 0; i < G_N_ELEMENTS(cleared_msrs); i++) {
        if (knows(v->ka, cleared_msrs[i])) {
            put_msr(&all, cleared_msrs[i], 0);
        }
    }
    if (knows(v->ka, MSR_KVM_POLL)) {
        put_msr(&all, MSR_KVM_POLL, 1);
    }
    put_msr(&all, MSR_TSC, 0);
    transfer_msrs(v, KVM_SET_MSRS, &all, &got);
}

void kvm_reset(VCpu *cpu)
{
    KvmVcpu *v = kvm_vcpu_of(cpu);
    const KvmAccel *ka = v->ka;
    X86State s;

    v->io_pending = false;
    v->stopped = false;
    power_on(v, &s);
    put_state(v, &s, /* fresh= */ true);
    if (ka->irqchip != ACCEL_IRQCHIP_SOFT) {
        if (!v->has_lapic) { /* as it was made */
            kvm_must(kvm_ioctl(v->fd, KVM_GET_LAPIC, &v->lapic_at_reset), "KVM_GET_LAPIC");
            v->has_lapic = true;
        }
        kvm_must(kvm_ioctl(v->fd, KVM_SET_LAPIC, &v->lapic_at_reset), "KVM_SET_LAPIC");
    }
    reset_msrs(v);
}

/* kernel-irqchip=off: INIT and SIPI are ours (SDM vol. 3, 9.4.3 and table 10-1). */
void kvm_init_signal(KvmVcpu *v)
{
    X86State s, fresh;

    kvm_get_state(v->cpu, &s);
    power_on(v, &fresh);
    fresh.cr0 = 0x10 | (s.cr0 & 0x60000000);
    memcpy(fresh.fx, s.fx, sizeof s.fx);
    memcpy(fresh.xsave, s.xsave, sizeof s.xsave);
    fresh.xcr0 = s.xcr0;
    fresh.tsc = s.tsc;
    fresh.star = s.star;
    fresh.lstar = s.lstar;
    fresh.cstar = s.cstar;
    fresh.fmask = s.fmask;
    fresh.kernel_gs_base = s.kernel_gs_base;
    fresh.tsc_aux = s.tsc_aux;
    fresh.sysenter_cs = s.sysenter_cs;
    fresh.sysenter_esp = s.sysenter_esp;
    fresh.sysenter_eip = s.sysenter_eip;
    fresh.pat = s.pat;
    fresh.mtrr_def = s.mtrr_def;
    memcpy(fresh.mtrr_fixed, s.mtrr_fixed, sizeof s.mtrr_fixed);
    memcpy(fresh.mtrr_var, s.mtrr_var, sizeof s.mtrr_var);
    fresh.misc_enable = s.misc_enable;
    fresh.apic_base = s.apic_base;
    fresh.wait_sipi = !(s.apic_base >> 8 & 1);
    put_state(v, &fresh, /* fresh= */ false);
}

void kvm_start_ap(KvmVcpu *v, uint8_t vector)
{
    X86State s;

    kvm_get_state(v->cpu, &s);
    s.seg[SEG_CS].sel = (uint16_t)(vector << 8);
    s.seg[SEG_CS].base = (uint32_t)vector << 12;
    s.rip = 0;
    s.wait_sipi = s.halted = false;
    put_state(v, &s, /* fresh= */ false);
}

/* gdb. */
bool kvm_debug_translate(VCpu *cpu, uint64_t la, Gpa *ret)
{
    struct kvm_translation t = { .linear_address = la };

    if (kvm_ioctl(kvm_vcpu_of(cpu)->fd, KVM_TRANSLATE, &t) < 0 || !t.valid) {
        return false;
    }
    ret->v = t.physical_address;
    return true;
}

bool kvm_set_debug(VCpu *cpu, const uint64_t *at, unsigned n, bool step)
{
    const KvmVcpu *v = kvm_vcpu_of(cpu);
    struct kvm_guest_debug d = { 0 };

    if (n > 4) {
        return false; /* the processor's own breakpoints are used, not the guest's code */
    }
    if (n || step) {
        d.control = KVM_GUESTDBG_ENABLE | (n ? KVM_GUESTDBG_USE_HW_BP : 0) |
                    (step ? KVM_GUESTDBG_SINGLESTEP : 0);
        d.arch.debugreg[7] = 0x600;
    }
    for (unsigned i = 0; i < n; i++) { /* SDM vol. 3, 18.2.4: execution, globally enabled */
        d.arch.debugreg[i] = at[i];
        d.arch.debugreg[7] |= UINT64_C(2) << (2 * i);
    }
    kvm_must(kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d), "KVM_SET_GUEST_DEBUG");
    return true;
}

/* Local APIC registers as the guest numbers them. */
uint32_t kvm_lapic_read(VCpu *cpu, unsigned off)
{
    struct kvm_lapic_state l;
    uint32_t val;

    if (off + 4 > sizeof l.regs) {
        return 0;
    }
    kvm_must(kvm_ioctl(kvm_vcpu_of(cpu)->fd, KVM_GET_LAPIC, &l), "KVM_GET_LAPIC");
    memcpy(&val, l.regs + off, sizeof val);
    return val;
}

void kvm_lapic_write(VCpu *cpu, unsigned off, uint32_t val)
{
    int fd = kvm_vcpu_of(cpu)->fd;
    struct kvm_lapic_state l;

    g_assert(off + 4 <= sizeof l.regs);
    kvm_must(kvm_ioctl(fd, KVM_GET_LAPIC, &l), "KVM_GET_LAPIC");
    memcpy(l.regs + off, &val, sizeof val);
    kvm_must(kvm_ioctl(fd, KVM_SET_LAPIC, &l), "KVM_SET_LAPIC");
}

/*
 * Local APIC: registers in xAPIC and x2APIC mode, priorities, local vector table (SDM vol. 3,
 * chapter 11). Messages are in lapic-bus.c, the timer is in lapic-timer.c.
 */
#include "lapic-internal.h"
#include "util/log.h"

enum {
    VERSION = 0x14 | (LVT_COUNT - 1) << 16, /* no suppression of EOI broadcasts */
    SVR_WRITABLE = 0x1ff,
    ICR_WRITABLE = 0xccfff,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
};

/* SDM vol. 3, figure 11-8; delivery status and remote IRR are read-only. */
static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff,
    [LVT_THERMAL] = 0x107ff,
    [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff,
    [LVT_LINT1] = 0x1a7ff,
    [LVT_ERROR] = 0x100ff,
};

static int bits_highest(const _Atomic uint32_t *r)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t v = lapic_get(&r[i]);

        if (v) {
            return i * 32 + 31 - __builtin_clz(v);
        }
    }
    return -1;
}

static void bit_set(_Atomic uint32_t *r, unsigned n, bool on)
{
    uint32_t bit = 1u << (n & 31);

    if (on) {
        atomic_fetch_or(&r[n / 32], bit);
    } else {
        atomic_fetch_and(&r[n / 32], ~bit);
    }
}

static void lapic_kick(Lapic *l)
{
    l->ops->irq(l->cpu);
}

/* SDM vol. 3, 11.8.3.1 */
uint8_t lapic_ppr(const Lapic *l)
{
    int isrv = bits_highest(l->isr);
    uint8_t tpr = (uint8_t)lapic_get(&l->tpr);

    return isrv < 0 || tpr >> 4 >= isrv >> 4 ? tpr : (uint8_t)(isrv & 0xf0);
}

/* A vector above the processor's priority, or -1. */
static int lapic_deliverable(const Lapic *l)
{
    int v;

    if (!lapic_is_enabled(l) || !(lapic_get(&l->svr) & SVR_ENABLE)) {
        return -1;
    }
    v = bits_highest(l->irr);
    return v >= 0 && v >> 4 > lapic_ppr(l) >> 4 ? v : -1;
}

static bool lapic_extint_open(const Lapic *l)
{
    uint32_t lvt = lapic_get(&l->lvt[LVT_LINT0]);

    if (!atomic_load(&l->extint)) {
        return false;
    }
    /* SDM vol. 3, 11.4.3: with the APIC switched off LINT0 is the INTR pin. */
    return !lapic_is_enabled(l) || (!(lvt & LVT_MASKED) && LVT_MODE(lvt) == MODE_EXTINT);
}

bool lapic_pending(const Lapic *l)
{
    return lapic_deliverable(l) >= 0 || lapic_extint_open(l);
}

int lapic_ack(Lapic *l)
{
    int v = lapic_deliverable(l);

    if (v >= 0) {
        bit_set(l->irr, (unsigned)v, false);
        bit_set(l->isr, (unsigned)v, true);
        return v;
    }
    if (lapic_extint_open(l) && l->bus->pic_ack) {
        return l->bus->pic_ack(l->bus->pic_opaque);
    }
    return -1;
}

void lapic_accept(Lapic *l, uint8_t vector, bool level)
{
    if (!(lapic_get(&l->svr) & SVR_ENABLE)) {
        return; /* SDM vol. 3, 11.4.7.2 */
    }
    if (vector < 16) {
        lapic_error(l, ESR_RECV_VECTOR);
        return;
    }
    bit_set(l->tmr, vector, level);
    bit_set(l->irr, vector, true);
    lapic_kick(l);
}

void lapic_error(Lapic *l, uint32_t bit)
{
    /* One interrupt for each new kind of error; a bad error vector must not call itself for ever.
     */
    if (!(atomic_fetch_or(&l->esr_pending, bit) & bit)) {
        lapic_local(l, LVT_ERROR);
    }
}

void lapic_local(Lapic *l, unsigned idx)
{
    uint32_t lvt = lapic_get(&l->lvt[idx]);
    bool lint = idx == LVT_LINT0 || idx == LVT_LINT1;
    uint8_t mode = idx == LVT_TIMER || idx == LVT_ERROR ? MODE_FIXED : LVT_MODE(lvt);

    if ((lvt & LVT_MASKED) || !lapic_is_enabled(l)) {
        return;
    }
    if (mode == MODE_EXTINT) {
        lapic_kick(l);
    } else {
        lapic_bus_one(l, mode, (uint8_t)lvt, lint && mode == MODE_FIXED && (lvt >> 15 & 1));
    }
}

void lapic_set_extint(Lapic *l, bool level)
{
    bool was = atomic_exchange(&l->extint, level);

    if (!level || was) {
        return;
    }
    if (lapic_is_enabled(l)) {
        lapic_local(l, LVT_LINT0);
    } else {
        lapic_kick(l);
    }
}

void lapic_nmi_pin(Lapic *l, bool level)
{
    if (atomic_exchange(&l->nmi_pin, level) || !level) {
        return;
    }
    if (lapic_is_enabled(l)) {
        lapic_local(l, LVT_LINT1);
    } else {
        l->ops->nmi(l->cpu); /* LINT1 is the NMI pin then */
    }
}

static void lapic_eoi(Lapic *l)
{
    int v = bits_highest(l->isr);

    if (v < 0) {
        return;
    }
    bit_set(l->isr, (unsigned)v, false);
    if (lapic_get(&l->tmr[v / 32]) >> (v & 31) & 1) {
        lapic_bus_eoi(l->bus, (uint8_t)v);
    }
    if (lapic_pending(l)) {
        lapic_kick(l);
    }
}

static void lapic_set_tpr(Lapic *l, uint32_t tpr)
{
    lapic_put(&l->tpr, tpr & 0xff);
    if (lapic_pending(l)) {
        lapic_kick(l);
    }
}

uint8_t lapic_cr8(const Lapic *l)
{
    return (uint8_t)(lapic_get(&l->tpr) >> 4);
}

void lapic_set_cr8(Lapic *l, uint8_t cr8)
{
    lapic_set_tpr(l, (uint32_t)cr8 << 4);
}

/* SDM vol. 3, 11.6.1: interrupt command register. */
static void lapic_send_ipi(Lapic *l, uint32_t icr, uint32_t dest)
{
    uint8_t mode = icr >> 8 & 7, vector = (uint8_t)icr;
    unsigned shorthand = icr >> 18 & 3;
    LapicBus *b = l->bus;

    if (mode == MODE_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT)) {
        return; /* INIT level de-assert: synchronises arbitration IDs, of which there are none */
    }
    if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
        lapic_error(l, ESR_SEND_VECTOR);
        return;
    }
    if (shorthand == 0) {
        lapic_bus_send(b, dest, icr & ICR_LOGICAL, lapic_is_x2apic(l), mode, vector, false);
        return;
    }
    if (shorthand == 1) {
        if (mode == MODE_FIXED) {
            lapic_bus_one(l, mode, vector, false);
        }
        return;
    }
    for (unsigned i = 0; i < atomic_load_explicit(&b->count, memory_order_acquire); i++) {
        if (b->apics[i] != l ? lapic_is_enabled(b->apics[i]) : shorthand == 2) {
            lapic_bus_one(b->apics[i], mode, vector, false);
        }
    }
}

static void lapic_set_svr(Lapic *l, uint32_t val)
{
    lapic_put(&l->svr, val & SVR_WRITABLE);
    if (!(val & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++) {
            atomic_fetch_or(&l->lvt[i], LVT_MASKED);
        }
    } else if (lapic_pending(l)) {
        lapic_kick(l);
    }
}

static void lapic_set_lvt(Lapic *l, unsigned idx, uint32_t val)
{
    val &= lvt_writable[idx];
    if (!(lapic_get(&l->svr) & SVR_ENABLE)) {
        val |= LVT_MASKED;
    }
    lapic_put(&l->lvt[idx], val);
    if (idx == LVT_TIMER) {
        lapic_timer_lvt(l, val);
    } else if (idx == LVT_LINT0 && lapic_extint_open(l)) {
        lapic_kick(l);
    }
}

/* False: no such register. What both modes share; x2APIC differences are the callers'. */
static bool lapic_reg_read(Lapic *l, uint32_t off, uint32_t *ret)
{
    switch (off) {
    case APIC_ID:
        *ret = lapic_get(&l->id);
        break;
    case APIC_VERSION:
        *ret = VERSION;
        break;
    case APIC_TPR:
        *ret = lapic_get(&l->tpr);
        break;
    case APIC_PPR:
        *ret = lapic_ppr(l);
        break;
    case APIC_APR: /* arbitration and remote read are P6's */
    case APIC_RRD:
    case APIC_EOI:
        *ret = 0;
        break;
    case APIC_LDR:
        *ret = lapic_get(&l->ldr);
        break;
    case APIC_DFR:
        *ret = lapic_get(&l->dfr);
        break;
    case APIC_SVR:
        *ret = lapic_get(&l->svr);
        break;
    case APIC_ISR ... APIC_ISR + 0x70:
        *ret = lapic_get(&l->isr[(off - APIC_ISR) / 16]);
        break;
    case APIC_TMR ... APIC_TMR + 0x70:
        *ret = lapic_get(&l->tmr[(off - APIC_TMR) / 16]);
        break;
    case APIC_IRR ... APIC_IRR + 0x70:
        *ret = lapic_get(&l->irr[(off - APIC_IRR) / 16]);
        break;
    case APIC_ESR:
        *ret = lapic_get(&l->esr);
        break;
    case APIC_ICR:
        *ret = l->icr;
        break;
    case APIC_ICR2:
        *ret = l->icr2;
        break;
    case APIC_LVT ... APIC_LVT + (LVT_COUNT - 1) * 16:
        *ret = lapic_get(&l->lvt[(off - APIC_LVT) / 16]);
        break;
    case APIC_TIMER_ICR:
        *ret = lapic_timer_initial(l);
        break;
    case APIC_TIMER_CCR:
        *ret = lapic_timer_current(l);
        break;
    case APIC_TIMER_DCR:
        *ret = lapic_timer_divider(l);
        break;
    default:
        return false;
    }
    return true;
}

static bool lapic_reg_write(Lapic *l, uint32_t off, uint32_t val)
{
    switch (off) {
    case APIC_TPR:
        lapic_set_tpr(l, val);
        break;
    case APIC_EOI:
        lapic_eoi(l);
        break;
    case APIC_SVR:
        lapic_set_svr(l, val);
        break;
    case APIC_ESR:
        lapic_put(&l->esr, atomic_exchange(&l->esr_pending, 0));
        break; /* SDM vol. 3, 11.5.3 */
    case APIC_LVT ... APIC_LVT + (LVT_COUNT - 1) * 16:
        lapic_set_lvt(l, (off - APIC_LVT) / 16, val);
        break;
    case APIC_TIMER_ICR:
        lapic_timer_set_initial(l, val);
        break;
    case APIC_TIMER_DCR:
        lapic_timer_set_divider(l, val);
        break;
    default:
        return false;
    }
    return true;
}

uint32_t lapic_mmio_read(Lapic *l, uint32_t off)
{
    uint32_t val = 0;

    if (!lapic_is_enabled(l) || lapic_is_x2apic(l)) {
        return 0xffffffff; /* the page is not there */
    }
    if (off & 15) {
        return 0;
    }
    if (!lapic_reg_read(l, off, &val)) {
        lapic_error(l, ESR_REGISTER);
    }
    return val;
}

void lapic_mmio_write(Lapic *l, uint32_t off, uint32_t val)
{
    if (!lapic_is_enabled(l) || lapic_is_x2apic(l) || (off & 15)) {
        return;
    }
    switch (off) {
    case APIC_ID:
        lapic_put(&l->id, val & 0xff000000);
        break;
    case APIC_LDR:
        lapic_put(&l->ldr, val & 0xff000000);
        break;
    case APIC_DFR:
        lapic_put(&l->dfr, val | 0x0fffffff);
        break;
    case APIC_ICR:
        l->icr = val & ICR_WRITABLE;
        lapic_send_ipi(l, l->icr, l->icr2 >> 24);
        break;
    case APIC_ICR2:
        l->icr2 = val & 0xff000000;
        break;
    case APIC_VERSION:
    case APIC_APR:
    case APIC_PPR:
    case APIC_RRD:
    case APIC_TIMER_CCR:
    case APIC_ISR ... APIC_IRR + 0x70:
        break; /* read-only */
    default:
        if (!lapic_reg_write(l, off, val)) {
            lapic_error(l, ESR_REGISTER);
        }
    }
}

/* SDM vol. 3, table 11-6: x2APIC's map. */
bool lapic_msr_read(Lapic *l, uint32_t msr, uint64_t *ret)
{
    uint32_t off = (msr - MSR_X2APIC) << 4, val;

    if (msr == MSR_TSC_DEADLINE) {
        *ret = lapic_timer_deadline(l);
        return true;
    }
    if (!lapic_is_x2apic(l) || msr < MSR_X2APIC || msr > MSR_X2APIC + 0xff) {
        return false;
    }
    switch (off) {
    case APIC_APR:
    case APIC_EOI:
    case APIC_RRD:
    case APIC_DFR:
    case APIC_ICR2:
        return false;
    default:
        break;
    }
    if (!lapic_reg_read(l, off, &val)) {
        return false;
    }
    *ret = val | (off == APIC_ICR ? (uint64_t)l->icr2 << 32 : 0);
    return true;
}

/* Bits the x2APIC lets a guest write; others give #GP. */
static bool lapic_msr_reserved(uint32_t off, uint64_t val)
{
    switch (off) {
    case APIC_TPR:
    case APIC_SELF_IPI:
        return val > 0xff;
    case APIC_EOI:
    case APIC_ESR:
        return val != 0;
    case APIC_SVR:
        return val & ~0x3ffull; /* bit 9, focus checking, is ignored */
    case APIC_LVT ... APIC_LVT + (LVT_COUNT - 1) * 16:
        return val & ~(uint64_t)(lvt_writable[(off - APIC_LVT) / 16] | 1u << 12 | 1u << 14);
    case APIC_TIMER_DCR:
        return val & ~0xbull;
    case APIC_ICR:
        return false;
    default:
        return val >> 32;
    }
}

bool lapic_msr_write(Lapic *l, uint32_t msr, uint64_t val)
{
    uint32_t off = (msr - MSR_X2APIC) << 4;

    if (msr == MSR_TSC_DEADLINE) {
        lapic_timer_set_deadline(l, val);
        return true;
    }
    if (!lapic_is_x2apic(l) || msr < MSR_X2APIC || msr > MSR_X2APIC + 0xff ||
        lapic_msr_reserved(off, val)) {
        return false;
    }
    switch (off) {
    case APIC_ICR:
        l->icr = (uint32_t)val & ICR_WRITABLE;
        l->icr2 = (uint32_t)(val >> 32);
        lapic_send_ipi(l, l->icr, l->icr2);
        return true;
    case APIC_SELF_IPI:
        lapic_send_ipi(l, (uint32_t)val | 1u << 18, 0);
        return true;
    default:
        return lapic_reg_write(l, off, (uint32_t)val);
    }
}

uint64_t lapic_base(const Lapic *l)
{
    return atomic_load_explicit(&l->base, memory_order_relaxed);
}

/* xAPIC's ID register holds 8 bits at the top; x2APIC's ID and LDR follow from the initial ID
 * (11.12.10.2). */
static void lapic_set_ids(Lapic *l)
{
    if (lapic_is_x2apic(l)) {
        lapic_put(&l->id, l->initial_id);
        lapic_put(&l->ldr, (l->initial_id >> 4) << 16 | 1u << (l->initial_id & 15));
    } else {
        lapic_put(&l->id, l->initial_id << 24);
        lapic_put(&l->ldr, 0);
    }
}

/* SDM vol. 3, 11.4.7.1, less the IDs. */
static void lapic_reset_registers(Lapic *l)
{
    for (unsigned i = 0; i < 8; i++) {
        lapic_put(&l->irr[i], 0);
        lapic_put(&l->isr[i], 0);
        lapic_put(&l->tmr[i], 0);
    }
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        lapic_put(&l->lvt[i], LVT_MASKED);
    }
    lapic_put(&l->tpr, 0);
    lapic_put(&l->dfr, 0xffffffff);
    lapic_put(&l->svr, 0xff);
    lapic_put(&l->esr, 0);
    lapic_put(&l->esr_pending, 0);
    l->icr = l->icr2 = 0;
    lapic_timer_reset(l);
}

/* SDM vol. 3, 11.12.5: which changes of EN and EXTD are legal. */
bool lapic_base_write(Lapic *l, uint64_t val)
{
    uint64_t old = lapic_base(l);
    uint64_t mode = val & (BASE_ENABLE | BASE_X2APIC), old_mode = old & (BASE_ENABLE | BASE_X2APIC);

    if ((val & ~0xffffffffffd00ull) || mode == BASE_X2APIC ||
        ((mode & BASE_X2APIC) && !l->x2apic_ok) ||
        (old_mode == (BASE_ENABLE | BASE_X2APIC) && mode == BASE_ENABLE) ||
        (old_mode == 0 && mode == (BASE_ENABLE | BASE_X2APIC))) {
        return false;
    }
    if ((val ^ old) >> 12) {
        log_write(LOG_UNIMP, "apic %u: page stays at 0xfee00000", l->initial_id);
    }
    atomic_store_explicit(
        &l->base, (val & ~BASE_BSP) | (l->bsp ? BASE_BSP : 0), memory_order_relaxed);
    if (mode != old_mode) {
        if (!mode) {
            lapic_reset_registers(l);
        }
        lapic_set_ids(l);
        l->icr2 = 0;
    }
    return true;
}

void lapic_reset(Lapic *l)
{
    atomic_store(&l->base, 0xfee00000 | BASE_ENABLE | (l->bsp ? BASE_BSP : 0));
    lapic_reset_registers(l);
    lapic_set_ids(l);
}

void lapic_init_signal(Lapic *l)
{
    uint32_t ldr = lapic_get(&l->ldr);

    lapic_reset_registers(l);
    lapic_put(&l->ldr, lapic_is_x2apic(l) ? ldr : 0);
}

static void lapic_obj_reset(Obj *o)
{
    lapic_reset((Lapic *)o);
}

static void lapic_fini(Obj *o)
{
    Lapic *l = (Lapic *)o;

    if (l->bus) {
        lapic_bus_remove(l->bus, l);
        lapic_timer_fini(l);
    }
}

Lapic *lapic_new(
    LapicBus *b, Obj *tree, uint32_t apic_id, bool bsp, bool x2apic, const LapicOps *ops, void *cpu)
{
    Lapic *l = (Lapic *)obj_new(&lapic_class);

    l->bus = b;
    l->initial_id = apic_id;
    l->bsp = bsp;
    l->x2apic_ok = x2apic;
    l->ops = ops;
    l->cpu = cpu;
    lapic_timer_init(l);
    lapic_reset(l);
    obj_add(tree, "lapic", &l->dev.obj);
    obj_realize(&l->dev.obj, NULL);
    lapic_bus_add(b, l);
    obj_unref(&l->dev.obj);
    return l;
}

static void lapic_describe_bits(GString *out, const char *name, const _Atomic uint32_t *r)
{
    g_string_append_printf(out, "%s\t", name);
    for (unsigned v = 0; v < 256; v++) {
        if (lapic_get(&r[v / 32]) >> (v & 31) & 1) {
            g_string_append_printf(out, " %u", v);
        }
    }
    g_string_append(out, bits_highest(r) < 0 ? " (none)\n" : "\n");
}

void lapic_describe(const Lapic *l, GString *out)
{
    static const char *const names[LVT_COUNT] = { "LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1",
        "LVTERR" };

    g_string_append_printf(out, "local APIC %u: base 0x%llx %s, SVR 0x%x, TPR 0x%x, PPR 0x%x\n",
        l->initial_id, (unsigned long long)lapic_base(l),
        lapic_is_x2apic(l)    ? "x2APIC"
        : lapic_is_enabled(l) ? "xAPIC"
                              : "disabled",
        lapic_get(&l->svr), lapic_get(&l->tpr), lapic_ppr(l));
    for (unsigned i = 0; i < LVT_COUNT; i++) {
        g_string_append_printf(out, "%s\t 0x%08x\n", names[i], lapic_get(&l->lvt[i]));
    }
    g_string_append_printf(out, "ICR\t 0x%08x%08x  LDR 0x%08x DFR 0x%08x ESR 0x%x\n", l->icr2,
        l->icr, lapic_get(&l->ldr), lapic_get(&l->dfr), lapic_get(&l->esr));
    lapic_describe_bits(out, "ISR", l->isr);
    lapic_describe_bits(out, "IRR", l->irr);
    lapic_describe_bits(out, "TMR", l->tmr);
}

const ObjClass lapic_class = {
    .name = "apic",
    .parent = "apic-common",
    .size = sizeof(Lapic),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .fini = lapic_fini,
    .reset = lapic_obj_reset,
};

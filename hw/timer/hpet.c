/*
 * IA-PC HPET specification 1.0a. The main counter is the virtual clock in steps of 10 ns;
 * comparators compute their next match and sleep. The counter is readable without the VM lock: it
 * is a clock source.
 */
#include "hw/timer/hpet.h"

#include "util/timer.h"

enum {
    NTIMERS = 3,
    TICK_NS = 10,
    PERIOD_MIN_NS = 50000,
    CATCH_UP_NS = 200000,
    OWED_MAX = 250,
    PERIOD_FS = 10000000,
    REG_CAP = 0x000,
    REG_CFG = 0x010,
    REG_ISR = 0x020,
    REG_COUNTER = 0x0f0,
    REG_TIMER = 0x100,
    CFG_ENABLE = 1 << 0,
    CFG_LEGACY = 1 << 1,
    TN_LEVEL = 1 << 1,
    TN_ENABLE = 1 << 2,
    TN_PERIODIC = 1 << 3,
    TN_PERIODIC_CAP = 1 << 4,
    TN_64BIT_CAP = 1 << 5,
    TN_VAL_SET = 1 << 6,
    TN_32BIT = 1 << 8,
    TN_WRITABLE = 0x3e00 | TN_32BIT | TN_VAL_SET | TN_PERIODIC | TN_ENABLE | TN_LEVEL,
};

typedef struct HpetTimer {
    struct Hpet *hpet;
    unsigned n;
    uint32_t cfg;
    uint64_t cmp, period;
    uint64_t owed; /* periods whose edge is still to be sent */
    Timer timer, again;
} HpetTimer;

struct Hpet {
    Dev dev;
    Region io;
    Irq *irqs;
    unsigned nirqs;
    uint32_t route_caps;
    uint32_t cfg, isr;
    GMutex clock; /* the two below; VM lock held as well to write them */
    bool running;
    uint64_t base; /* running: counter minus the clock's ticks; else the counter */
    HpetTimer t[NTIMERS];
    Irq legacy[2];
    void (*legacy_fn)(void *opaque, bool on);
    void *legacy_opaque;
};

static uint64_t hpet_counter_at(Hpet *h, int64_t now)
{
    uint64_t v;

    g_mutex_lock(&h->clock);
    v = h->base + (h->running ? (uint64_t)now / TICK_NS : 0);
    g_mutex_unlock(&h->clock);
    return v;
}

static void hpet_set_counter(Hpet *h, bool running, uint64_t counter)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);

    g_mutex_lock(&h->clock);
    h->running = running;
    h->base = counter - (running ? (uint64_t)now / TICK_NS : 0);
    g_mutex_unlock(&h->clock);
}

static uint64_t hpet_mask(const HpetTimer *t)
{
    return t->cfg & TN_32BIT ? 0xffffffffu : UINT64_MAX;
}

/* The wire a comparator drives; NULL: none. */
static Irq *hpet_wire(const HpetTimer *t)
{
    const Hpet *h = t->hpet;
    unsigned n = t->cfg >> 9 & 31;

    if ((h->cfg & CFG_LEGACY) && t->n < 2) {
        n = t->n ? 8 : 0;
    }
    return n < h->nirqs ? &h->irqs[n] : NULL;
}

/* A level-triggered comparator holds its wire while its status bit is set. */
static void hpet_update_level(HpetTimer *t)
{
    Irq *wire = hpet_wire(t);

    if (wire && (t->cfg & TN_LEVEL)) {
        irq_set(wire,
            (t->hpet->isr >> t->n & 1) && (t->cfg & TN_ENABLE) && (t->hpet->cfg & CFG_ENABLE));
    }
}

static void hpet_arm(HpetTimer *t, bool matched)
{
    Hpet *h = t->hpet;
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL), at;
    uint64_t left;

    if (!(h->cfg & CFG_ENABLE)) {
        timer_del(&t->timer);
        return;
    }
    left = (t->cmp - hpet_counter_at(h, now)) & hpet_mask(t);
    if (left == 0 && matched) {
        left = hpet_mask(t); /* once round */
    }
    if (left > (uint64_t)INT64_MAX / TICK_NS / 2) {
        timer_del(&t->timer); /* centuries away */
        return;
    }
    at = (now / TICK_NS + (int64_t)left) * TICK_NS;
    if ((t->cfg & TN_PERIODIC) && t->period < PERIOD_MIN_NS / TICK_NS) {
        at = MAX(at, now + PERIOD_MIN_NS); /* the guest does not own the main loop */
    }
    timer_mod(&t->timer, at);
}

/*
 * The guest counts the edges of a periodic comparator. Where the host ran us too late, or the vCPU
 * so little that an edge would merge with the last one, they are sent as soon as they are taken.
 */
static void hpet_edge(HpetTimer *t, Irq *wire)
{
    bool owes = (t->cfg & TN_PERIODIC) && t->period >= 2 * CATCH_UP_NS / TICK_NS;

    if (owes && irq_busy(wire)) {
        t->owed++;
    } else {
        irq_pulse(wire);
    }
    t->owed = owes ? MIN(t->owed, OWED_MAX) : 0;
    if (t->owed) {
        timer_mod(&t->again, clock_ns(CLOCK_KIND_VIRTUAL) + CATCH_UP_NS);
    }
}

static void hpet_again(void *opaque)
{
    HpetTimer *t = opaque;
    Irq *wire = hpet_wire(t);

    if (wire && t->owed) {
        t->owed--;
        hpet_edge(t, wire);
    }
}

/* What was owed belongs to the setting before. */
static void hpet_forget(HpetTimer *t)
{
    t->owed = 0;
    timer_del(&t->again);
}

static void hpet_match(void *opaque)
{
    HpetTimer *t = opaque;
    Hpet *h = t->hpet;
    Irq *wire = hpet_wire(t);

    if ((t->cfg & TN_PERIODIC) && t->period) {
        uint64_t gone = (hpet_counter_at(h, clock_ns(CLOCK_KIND_VIRTUAL)) - t->cmp) & hpet_mask(t);

        t->cmp = (t->cmp + (gone / t->period + 1) * t->period) & hpet_mask(t);
        t->owed += gone / t->period;
    }
    hpet_arm(t, true);
    if (t->cfg & TN_LEVEL) {
        h->isr |= 1u << t->n; /* 2.3.6: status exists in level mode only */
        hpet_update_level(t);
    } else if (wire && (t->cfg & TN_ENABLE)) {
        hpet_edge(t, wire);
    }
}

static uint64_t hpet_merge(uint64_t old, unsigned shift, unsigned size, uint64_t val)
{
    uint64_t mask = (size == 8 ? UINT64_MAX : 0xffffffffull) << shift;

    return (old & ~mask) | ((val << shift) & mask);
}

static uint64_t hpet_timer_cfg(const HpetTimer *t)
{
    return (uint64_t)t->hpet->route_caps << 32 | t->cfg | TN_PERIODIC_CAP | TN_64BIT_CAP;
}

static uint64_t hpet_reg(Hpet *h, uint64_t reg)
{
    unsigned n = (unsigned)(reg - REG_TIMER) / 0x20;

    switch (reg) {
    case REG_CAP: /* 8086, legacy replacement, 64 bits, three timers, revision 1 */
        return (uint64_t)PERIOD_FS << 32 | 0x8086a001u | (NTIMERS - 1) << 8;
    case REG_CFG:
        return h->cfg;
    case REG_ISR:
        return h->isr;
    default:
        break;
    }
    if (reg < REG_TIMER || n >= NTIMERS) {
        return 0;
    }
    return (reg & 0x1f) == 0 ? hpet_timer_cfg(&h->t[n]) : (reg & 0x1f) == 8 ? h->t[n].cmp : 0;
}

static uint64_t hpet_read(void *opaque, uint64_t off, unsigned size)
{
    Hpet *h = opaque;
    unsigned shift = (off & 4) * 8;
    uint64_t v;

    if ((off & ~7ull) == REG_COUNTER) {
        return hpet_counter_at(h, clock_ns(CLOCK_KIND_VIRTUAL)) >> shift;
    }
    if (vm_lock_held()) {
        return hpet_reg(h, off & ~7ull) >> shift;
    }
    vm_lock();
    v = hpet_reg(h, off & ~7ull) >> shift;
    vm_unlock();
    return v;
}

static void hpet_write_cfg(Hpet *h, uint32_t val)
{
    uint32_t changed = h->cfg ^ val;

    if ((changed & CFG_ENABLE) != 0) {
        hpet_set_counter(h, val & CFG_ENABLE, hpet_counter_at(h, clock_ns(CLOCK_KIND_VIRTUAL)));
    }
    h->cfg = val & (CFG_ENABLE | CFG_LEGACY);
    if (changed & CFG_LEGACY && h->legacy_fn) {
        h->legacy_fn(h->legacy_opaque, val & CFG_LEGACY);
    }
    for (unsigned n = 0; n < NTIMERS; n++) {
        if (changed) {
            hpet_forget(&h->t[n]);
        }
        if (changed & CFG_ENABLE) {
            hpet_arm(&h->t[n], false);
        }
        hpet_update_level(&h->t[n]);
    }
}

static void hpet_write_timer_cfg(HpetTimer *t, uint32_t val)
{
    Irq *wire = hpet_wire(t);

    if (wire && (t->cfg & TN_LEVEL)) {
        irq_set(wire, false); /* it may go elsewhere from now on */
    }
    hpet_forget(t);
    t->cfg = val & TN_WRITABLE;
    if (t->cfg & TN_32BIT) {
        t->cmp &= 0xffffffffu;
        t->period &= 0xffffffffu;
    }
    if (!(t->cfg & TN_LEVEL)) {
        t->hpet->isr &= ~(1u << t->n);
    }
    hpet_update_level(t);
    hpet_arm(t, false);
}

/* 2.3.9.2.2: the last value written is the period; with VAL_SET it goes into the comparator as
 * well. */
static void hpet_write_cmp(HpetTimer *t, unsigned shift, unsigned size, uint64_t val)
{
    if (!(t->cfg & TN_PERIODIC) || (t->cfg & TN_VAL_SET)) {
        t->cmp = hpet_merge(t->cmp, shift, size, val) & hpet_mask(t);
    }
    if (t->cfg & TN_PERIODIC) {
        t->period = hpet_merge(t->period, shift, size, val) & hpet_mask(t);
    }
    t->cfg &= ~(uint32_t)TN_VAL_SET;
    hpet_arm(t, false);
}

static void hpet_write_reg(Hpet *h, uint64_t off, unsigned size, uint64_t val)
{
    uint64_t reg = off & ~7ull;
    unsigned shift = (off & 4) * 8, n = (unsigned)(reg - REG_TIMER) / 0x20;

    if (reg == REG_COUNTER) {
        if (!(h->cfg & CFG_ENABLE)) { /* 2.3.7: only while halted */
            hpet_set_counter(h, false, hpet_merge(h->base, shift, size, val));
        }
    } else if (reg == REG_CFG && shift == 0) {
        hpet_write_cfg(h, (uint32_t)val);
    } else if (reg == REG_ISR && shift == 0) {
        h->isr &= ~(uint32_t)val;
        for (unsigned i = 0; i < NTIMERS; i++) {
            if (val >> i & 1) {
                hpet_update_level(&h->t[i]);
            }
        }
    } else if (reg >= REG_TIMER && n < NTIMERS) {
        if ((reg & 0x1f) == 0 && shift == 0) {
            hpet_write_timer_cfg(&h->t[n], (uint32_t)val);
        } else if ((reg & 0x1f) == 8) {
            hpet_write_cmp(&h->t[n], shift, size, val);
        }
    }
}

static void hpet_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    if (vm_lock_held()) {
        hpet_write_reg(opaque, off, size, val);
        return;
    }
    vm_lock();
    hpet_write_reg(opaque, off, size, val);
    vm_unlock();
}

static const RegionOps hpet_ops = {
    .read = hpet_read, .write = hpet_write, .min_access = 4, .max_access = 8, .lockless = true
};

static void hpet_legacy(void *opaque, unsigned n, bool level)
{
    Hpet *h = opaque;
    unsigned wire = n ? 8 : 0;

    if (!(h->cfg & CFG_LEGACY) && wire < h->nirqs) {
        irq_set(&h->irqs[wire], level);
    }
}

static bool hpet_legacy_busy(void *opaque, unsigned n)
{
    const Hpet *h = opaque;
    unsigned wire = n ? 8 : 0;

    return !(h->cfg & CFG_LEGACY) && wire < h->nirqs && irq_busy(&h->irqs[wire]);
}

Irq *hpet_legacy_in(Hpet *h, unsigned n)
{
    g_assert(n < 2);
    return &h->legacy[n];
}

void hpet_on_legacy(Hpet *h, void (*fn)(void *opaque, bool on), void *opaque)
{
    h->legacy_fn = fn;
    h->legacy_opaque = opaque;
}

static void hpet_reset(Obj *o)
{
    Hpet *h = (Hpet *)o;

    h->isr = 0;
    hpet_write_cfg(h, 0);
    hpet_set_counter(h, false, 0);
    for (unsigned n = 0; n < NTIMERS; n++) {
        h->t[n].cfg = 0;
        h->t[n].period = 0;
        h->t[n].cmp = UINT64_MAX;
    }
}

static void hpet_init(Obj *o)
{
    Hpet *h = (Hpet *)o;

    g_mutex_init(&h->clock);
    region_init_io(&h->io, o, "hpet", &hpet_ops, h, 0x400);
    for (unsigned n = 0; n < NTIMERS; n++) {
        h->t[n].hpet = h;
        h->t[n].n = n;
        timer_init(&h->t[n].timer, loop_main(), CLOCK_KIND_VIRTUAL, hpet_match, &h->t[n]);
        timer_init(&h->t[n].again, loop_main(), CLOCK_KIND_VIRTUAL, hpet_again, &h->t[n]);
    }
    for (unsigned n = 0; n < 2; n++) {
        irq_init(&h->legacy[n], hpet_legacy, h, n);
        h->legacy[n].busy = hpet_legacy_busy;
    }
    irq_register_in((struct Obj *)o, NULL, h->legacy, 2);
}

static void hpet_unrealize(Obj *o)
{
    Hpet *h = (Hpet *)o;

    for (unsigned n = 0; n < NTIMERS; n++) {
        timer_del(&h->t[n].timer);
        timer_del(&h->t[n].again);
    }
    region_unmap(&h->io);
}

static void hpet_fini(Obj *o)
{
    Hpet *h = (Hpet *)o;

    irq_unregister((struct Obj *)o);
    region_fini(&h->io);
    g_mutex_clear(&h->clock);
}

Hpet *hpet_new(
    Obj *tree, Region *mem, uint64_t base, Irq *irqs, unsigned nirqs, uint32_t route_caps)
{
    Hpet *h = (Hpet *)obj_new(&hpet_class);

    h->irqs = irqs;
    h->nirqs = nirqs;
    h->route_caps = route_caps;
    hpet_reset(&h->dev.obj);
    region_map(mem, base, &h->io, 0);
    obj_add_array(tree, "device", &h->dev.obj);
    obj_realize(&h->dev.obj, NULL);
    obj_unref(&h->dev.obj);
    return h;
}

const ObjClass hpet_class = {
    .name = "hpet",
    .parent = "sys-bus-device",
    .size = sizeof(Hpet),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = hpet_init,
    .unrealize = hpet_unrealize,
    .fini = hpet_fini,
    .reset = hpet_reset,
};

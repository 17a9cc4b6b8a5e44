/*
 * The engine's bus over memory/ and the LAPIC: pages, MMIO, ports, interrupts, and what a changed
 * map or a write into code means for the vCPUs. Test: tests/unit/test-accel.c, tests/qtest
 */
#include "hw/core/machine.h"
#include "hw/intc/lapic.h"
#include "memory/ram.h"
#include "mmu.h"
#include "soft-accel-internal.h"
#include "util/loop.h"
#include "util/rcu.h"
#include "util/timer.h"

enum { PAGE = 4096 };
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_BASE_X2APIC (1u << 10)

static Machine *machine_of(const SoftVcpu *v)
{
    return v->sa->a.machine;
}

/* SDM vol. 3, 11.4.1: the page at IA32_APIC_BASE goes to the CPU's own LAPIC before any decoding.
 */
static bool in_lapic(const SoftVcpu *v, uint64_t gpa)
{
    if (!v->cpu->lapic) {
        return false;
    }
    uint64_t base = lapic_base(v->cpu->lapic);
    return (base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
           (gpa ^ base) < PAGE;
}

static const FlatRange *find_range(SoftVcpu *v, uint64_t gpa)
{
    const FlatMap *m = addrspace_map(machine_of(v)->mem);

    if (v->hint < m->n && flatrange_has(&m->range[v->hint], gpa)) {
        return &m->range[v->hint];
    }
    const FlatRange *f = flatmap_find(m, gpa);
    if (f) {
        v->hint = (unsigned)(f - m->range);
    }
    return f;
}

static bool page_is_dirty(const RamBlock *b, uint64_t off)
{
    _Atomic uint64_t *dirty = atomic_load_explicit(&b->dirty, memory_order_acquire);

    return !dirty || (atomic_load_explicit(&dirty[off / PAGE / 64], memory_order_relaxed) >>
                             (off / PAGE % 64) &
                         1);
}

static uint8_t *bus_page(void *opaque, uint64_t gpa, unsigned *ret_flags,
    _Atomic uint64_t **ret_codemask, bool *ret_dirty_logged)
{
    SoftVcpu *v = opaque;

    gpa &= ~(uint64_t)(PAGE - 1);
    const FlatRange *f = in_lapic(v, gpa) ? NULL : find_range(v, gpa);
    *ret_codemask = NULL;
    *ret_dirty_logged = false;
    *ret_flags = SOFT_PAGE_MMIO;
    /* A page that is RAM in part only goes the slow way. ROM that hears writes is read and run like
     * any other: all stores to ROM come back to the bus. */
    if (!f || !f->region->ram || f->size - (gpa - f->at) < PAGE) {
        return NULL;
    }
    uint64_t off = f->off + (gpa - f->at);
    RamBlock *b = f->region->ram;
    if (off % PAGE) {
        return NULL;
    }
    *ret_flags = f->readonly ? SOFT_PAGE_ROM : SOFT_PAGE_RAM;
    *ret_codemask = &ram_codemask(b)[off / PAGE];
    *ret_dirty_logged = !page_is_dirty(b, off);
    return b->host + off;
}

static void bus_dirtied(void *opaque, uint64_t gpa)
{
    const FlatRange *f = find_range(opaque, gpa);

    if (!f || !f->region->ram) {
        return;
    }
    uint64_t page = (f->off + (gpa - f->at)) / PAGE;
    _Atomic uint64_t *dirty = atomic_load_explicit(&f->region->ram->dirty, memory_order_acquire);
    if (dirty) {
        atomic_fetch_or_explicit(&dirty[page / 64], 1ull << (page % 64), memory_order_relaxed);
    }
}

/* A device access of this vCPU moved RAM (PAM, a BAR): what follows in the same block must see it.
 */
static void catch_up(SoftVcpu *v)
{
    uint64_t gen = atomic_load_explicit(&v->sa->map_gen, memory_order_acquire);

    if (__builtin_expect(gen != v->tlb_gen, 0)) {
        v->tlb_gen = gen;
        soft_tlb_flush(v->c, /* global= */ true);
    }
}

static uint64_t bus_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
    SoftVcpu *v = opaque;

    if (in_lapic(v, gpa)) {
        /* Registers are 32 bits wide, 16 bytes apart (SDM vol. 3, 11.4.1). */
        uint32_t off = (uint32_t)gpa & (PAGE - 1);
        uint64_t val = lapic_mmio_read(v->cpu->lapic, off & ~3u) >> ((off & 3) * 8);
        return size >= 4 ? val : val & ((1ull << (size * 8)) - 1);
    }
    return addrspace_load_near(machine_of(v)->mem, gpa, size, &v->io_hint);
}

static void bus_mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t val)
{
    SoftVcpu *v = opaque;

    if (in_lapic(v, gpa)) {
        if (size >= 4 && !(gpa & 3)) {
            lapic_mmio_write(v->cpu->lapic, (uint32_t)gpa & (PAGE - 1), (uint32_t)val);
        }
        return;
    }
    Machine *m = machine_of(v);
    if (accel_doorbell_ring(&v->sa->a, m->mem, gpa, size, val)) {
        return;
    }
    addrspace_store_near(m->mem, gpa, size, val, &v->io_hint);
    catch_up(v);
}

static uint32_t bus_pio_in(void *opaque, uint16_t port, unsigned size)
{
    SoftVcpu *v = opaque;
    uint32_t val = (uint32_t)addrspace_load(machine_of(v)->io, port, size, NULL);

    catch_up(v);
    return val;
}

static void bus_pio_out(void *opaque, uint16_t port, unsigned size, uint32_t val)
{
    SoftVcpu *v = opaque;
    Machine *m = machine_of(v);

    if (!accel_doorbell_ring(&v->sa->a, m->io, port, size, val)) {
        addrspace_store(m->io, port, size, val, NULL);
        catch_up(v);
    }
}

static uint64_t bus_tsc(void *opaque)
{
    return clock_tsc();
}

static bool bus_irq_pending(void *opaque)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic && lapic_pending(v->cpu->lapic);
}

static int bus_irq_ack(void *opaque)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic ? lapic_ack(v->cpu->lapic) : -1;
}

static uint64_t bus_apic_base(void *opaque)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic ? lapic_base(v->cpu->lapic) : v->cpu->index ? 0 : 1u << 8;
}

static bool bus_apic_base_set(void *opaque, uint64_t val)
{
    const SoftVcpu *v = opaque;

    if (!v->cpu->lapic || !lapic_base_write(v->cpu->lapic, val)) {
        return false;
    }
    soft_kick(v->c, SOFT_POLL_FLUSH); /* the page moved, or is gone */
    return true;
}

static bool bus_x2apic_read(void *opaque, uint32_t msr, uint64_t *ret)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic && lapic_msr_read(v->cpu->lapic, msr, ret);
}

static bool bus_x2apic_write(void *opaque, uint32_t msr, uint64_t val)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic && lapic_msr_write(v->cpu->lapic, msr, val);
}

static uint8_t bus_tpr_get(void *opaque)
{
    const SoftVcpu *v = opaque;

    return v->cpu->lapic ? lapic_cr8(v->cpu->lapic) : v->cr8;
}

static void bus_tpr_set(void *opaque, uint8_t cr8)
{
    SoftVcpu *v = opaque;

    v->cr8 = cr8;
    if (v->cpu->lapic) {
        lapic_set_cr8(v->cpu->lapic, cr8);
    }
}

/* Tells vCPUs that code at a page of RAM was written: under every guest address that shows it. */
static void invalidate_page(SoftAccel *sa, const RamBlock *b, uint64_t page_off, uint64_t granules,
    const SoftCpu *by, uint64_t by_gpa)
{
    const FlatMap *m = addrspace_map(sa->a.machine->mem);

    for (unsigned i = 0; i < m->n; i++) {
        const FlatRange *f = &m->range[i];
        if (f->region->ram != b || page_off < f->off || page_off - f->off >= f->size) {
            continue;
        }
        uint64_t gpa = f->at + (page_off - f->off);
        for (unsigned k = 0; k < sa->ncpus; k++) {
            if (sa->cpus[k] != by || gpa != by_gpa) { /* the writer has done that one itself */
                soft_blocks_queue_inval(sa->cpus[k], gpa, granules);
            }
        }
    }
}

static void bus_code_written(void *opaque, SoftCpu *by, uint64_t gpa, uint64_t granules)
{
    SoftVcpu *v = opaque;
    const FlatRange *f = find_range(v, gpa);

    if (f && f->region->ram) {
        invalidate_page(v->sa, f->region->ram, f->off + (gpa - f->at), granules, by, gpa);
    }
}

void soft_code_hook(void *opaque, RamBlock *b, uint64_t off, uint64_t len)
{
    SoftAccel *sa = opaque;
    _Atomic uint64_t *mask = ram_codemask(b);
    uint64_t end = off + len;

    while (off < end) {
        uint64_t page = off & ~(uint64_t)(PAGE - 1), stop = MIN(end, page + PAGE);
        unsigned first = (unsigned)(off - page) >> 6, last = (unsigned)(stop - 1 - page) >> 6;
        uint64_t hit = (~0ull >> (63 - (last - first))) << first;
        uint64_t old = atomic_fetch_and(&mask[page / PAGE], ~hit) & hit;
        if (old) {
            invalidate_page(sa, b, page, old, NULL, 0);
        }
        off = stop;
    }
}

static void bus_code_protected(void *opaque, SoftCpu *by, const uint8_t *page)
{
    const SoftVcpu *v = opaque;

    soft_code_sync(by, v->sa->cpus, v->sa->ncpus, page);
}

const SoftBus soft_bus = {
    .page = bus_page,
    .dirtied = bus_dirtied,
    .mmio_read = bus_mmio_read,
    .mmio_write = bus_mmio_write,
    .pio_in = bus_pio_in,
    .pio_out = bus_pio_out,
    .tsc = bus_tsc,
    .irq_pending = bus_irq_pending,
    .irq_ack = bus_irq_ack,
    .apic_base = bus_apic_base,
    .apic_base_set = bus_apic_base_set,
    .x2apic_read = bus_x2apic_read,
    .x2apic_write = bus_x2apic_write,
    .tpr_get = bus_tpr_get,
    .tpr_set = bus_tpr_set,
    .code_written = bus_code_written,
    .code_protected = bus_code_protected,
};

/* The map changes
 * ------------------------------------------------------------------------------------------ */

typedef struct Retired {
    RamBlock *block;
    uint64_t gen;
} Retired;

static const FlatRange *next_ram(const FlatMap *m, unsigned *i)
{
    while (m && *i < m->n && !m->range[*i].region->ram) {
        ++*i;
    }
    return m && *i < m->n ? &m->range[(*i)++] : NULL;
}

static bool same_ram(const FlatMap *a, const FlatMap *b)
{
    unsigned i = 0, k = 0;

    for (;;) {
        const FlatRange *x = next_ram(a, &i), *y = next_ram(b, &k);
        if (!x || !y) {
            return x == y;
        }
        if (x->at != y->at || x->size != y->size || x->off != y->off || x->region != y->region ||
            x->readonly != y->readonly) {
            return false;
        }
    }
}

static bool map_has_block(const FlatMap *m, const RamBlock *b)
{
    for (unsigned i = 0; i < m->n; i++) {
        if (m->range[i].region->ram == b) {
            return true;
        }
    }
    return false;
}

static bool retired_has(const SoftAccel *sa, const RamBlock *b, uint64_t gen)
{
    for (unsigned i = 0; i < sa->retired->len; i++) {
        const Retired *r = &g_array_index(sa->retired, Retired, i);
        if (r->block == b && r->gen == gen) {
            return true;
        }
    }
    return false;
}

/* RAM that left the map lives on until every vCPU has dropped the pointers its TLB holds. */
static void retire(SoftAccel *sa, const FlatMap *old, const FlatMap *now, uint64_t gen)
{
    for (unsigned i = 0; i < old->n; i++) {
        RamBlock *b = old->range[i].region->ram;
        if (b && !map_has_block(now, b) && !retired_has(sa, b, gen)) {
            Retired r = { ram_ref(b), gen };
            g_array_append_val(sa->retired, r);
        }
    }
}

static void release_retired(void *opaque)
{
    SoftAccel *sa = opaque;
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < sa->a.cpus->len; i++) {
        const SoftVcpu *v = ((const VCpu *)sa->a.cpus->pdata[i])->impl;
        uint64_t acked = atomic_load(&v->acked); /* once: MIN() would read it twice */
        least = MIN(least, acked);
    }
    for (unsigned i = 0; i < sa->retired->len;) {
        const Retired *r = &g_array_index(sa->retired, Retired, i);
        if (r->gen <= least) {
            ram_unref(r->block);
            g_array_remove_index_fast(sa->retired, i);
        } else {
            i++;
        }
    }
}

void soft_retired_init(SoftAccel *sa)
{
    sa->retired = g_array_new(FALSE, TRUE, sizeof(Retired));
}

void soft_retired_free(SoftAccel *sa)
{
    for (unsigned i = 0; i < sa->retired->len; i++) {
        ram_unref(g_array_index(sa->retired, Retired, i).block);
    }
    g_array_free(sa->retired, TRUE);
}

void soft_map_changed(MapListener *l, const FlatMap *old, const FlatMap *now)
{
    SoftAccel *sa = (SoftAccel *)((char *)l - offsetof(SoftAccel, listener));

    /* Devices that come and go are looked up at each access: only RAM and ROM are cached in TLBs
     * and blocks. */
    if (!old || same_ram(old, now)) {
        return;
    }
    uint64_t gen = atomic_fetch_add(&sa->map_gen, 1) + 1;
    retire(sa, old, now, gen);
    for (unsigned i = 0; i < sa->a.cpus->len; i++) {
        VCpu *cpu = sa->a.cpus->pdata[i];
        SoftVcpu *v = cpu->impl;
        soft_kick(
            v->c, SOFT_POLL_FLUSH | SOFT_POLL_EXIT); /* the loop drops the blocks: soft_map_ack() */
        vcpu_wake(cpu);
    }
}

void soft_ports_changed(MapListener *l, const FlatMap *old, const FlatMap *now)
{
    SoftAccel *sa = (SoftAccel *)((char *)l - offsetof(SoftAccel, io_listener));

    accel_nudge(&sa->a);
}

void soft_map_ack(SoftVcpu *v)
{
    SoftAccel *sa = v->sa;
    uint64_t gen = atomic_load_explicit(&sa->map_gen, memory_order_acquire);

    if (gen == atomic_load_explicit(&v->acked, memory_order_relaxed)) {
        return;
    }
    soft_tlb_flush(v->c, /* global= */ true);
    soft_blocks_flush(v->c);
    v->tlb_gen = gen;
    atomic_store(&v->acked, gen);
    loop_post(loop_main(), release_retired, sa);
}

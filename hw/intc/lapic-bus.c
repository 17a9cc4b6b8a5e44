/* Interrupt messages: who is meant (SDM vol. 3, 11.6.2) and what happens there. Covered by
 * tests/unit/test-lapic.c. */
#include "lapic-internal.h"
#include "util/log.h"

LapicBus *lapic_bus_new(unsigned max_cpus)
{
    LapicBus *b = g_new0(LapicBus, 1);

    b->max = max_cpus;
    b->apics = g_new0(Lapic *, max_cpus);
    return b;
}

void lapic_bus_free(LapicBus *b)
{
    if (b) {
        g_free(b->apics);
        g_free(b);
    }
}

void lapic_bus_add(LapicBus *b, Lapic *l)
{
    g_assert(b->n < b->max);
    b->apics[b->n++] = l;
    /* Pairs with the acquire in lapic_bus_send(). */
    atomic_store_explicit(&b->count, b->n, memory_order_release);
}

/* Only while nothing sends: at the end of the machine. */
void lapic_bus_remove(LapicBus *b, Lapic *l)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->apics[i] == l) {
            b->apics[i] = b->apics[--b->n];
            atomic_store_explicit(&b->count, b->n, memory_order_release);
            return;
        }
    }
}

static bool lapic_match_logical(const Lapic *l, uint32_t dest, bool x2)
{
    uint32_t ldr = lapic_get(&l->ldr);

    if (lapic_is_x2apic(l)) {
        return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
    }
    ldr >>= 24;
    if (x2 && dest > 0xff) {
        return false;
    }
    if (lapic_get(&l->dfr) >> 28 == 0) { /* cluster model */
        return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
    }
    return ldr & dest;
}

static bool lapic_match(const Lapic *l, uint32_t dest, bool logical, bool x2)
{
    uint32_t id;

    if (!lapic_is_enabled(l)) { /* switched off by IA32_APIC_BASE: not on the bus */
        return false;
    }
    if (dest == BROADCAST) {
        return true;
    }
    if (logical) {
        return lapic_match_logical(l, dest, x2);
    }
    id = lapic_get(&l->id);
    return dest == (lapic_is_x2apic(l) ? id : id >> 24);
}

void lapic_bus_one(Lapic *l, uint8_t mode, uint8_t vector, bool level)
{
    switch (mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        lapic_accept(l, vector, level);
        break;
    case MODE_NMI:
        l->ops->nmi(l->cpu);
        break;
    case MODE_INIT:
        l->ops->init(l->cpu);
        break;
    case MODE_SIPI:
        l->ops->sipi(l->cpu, vector);
        break;
    case MODE_SMI: /* no SMM; the machine does not offer it */
        log_write(LOG_UNIMP, "apic %u: SMI ignored: no SMM", l->initial_id);
        break;
    default:
        log_guest_error("apic %u: message with delivery mode %u ignored", l->initial_id, mode);
        break;
    }
}

void lapic_bus_send(
    LapicBus *b, uint32_t dest, bool logical, bool x2, uint8_t mode, uint8_t vector, bool level)
{
    /* Pairs with the release in lapic_bus_add(). */
    unsigned n = atomic_load_explicit(&b->count, memory_order_acquire);
    Lapic *best = NULL;

    if (!x2 && dest == 0xff) {
        dest = BROADCAST;
    }
    for (unsigned i = 0; i < n; i++) {
        Lapic *l = b->apics[i];

        if (!lapic_match(l, dest, logical, x2)) {
            continue;
        }
        if (mode != MODE_LOWEST) {
            lapic_bus_one(l, mode, vector, level);
        } else if (lapic_get(&l->svr) & SVR_ENABLE) {
            /* Arbitration by processor priority; the first wins a tie. SDM vol. 3, 11.6.2.4 */
            if (!best || lapic_ppr(l) < lapic_ppr(best)) {
                best = l;
            }
        }
    }
    if (best) {
        lapic_bus_one(best, mode, vector, level);
    }
}

void lapic_bus_deliver(
    LapicBus *b, uint32_t dest, bool logical, uint8_t mode, uint8_t vector, bool level)
{
    if (b->sink) {
        uint64_t addr;
        uint32_t data;

        lapic_message(dest, logical, mode, vector, level, &addr, &data);
        b->sink(b->sink_opaque, addr, data);
        return;
    }
    lapic_bus_send(b, dest, logical, /* x2= */ dest > 0xff, mode, vector, level);
}

bool lapic_bus_waits(const LapicBus *b, uint32_t dest, bool logical, uint8_t vector)
{
    unsigned n = atomic_load_explicit(&b->count, memory_order_acquire);

    for (unsigned i = 0; i < n && !b->sink; i++) {
        const Lapic *l = b->apics[i];

        if (lapic_match(l, dest == 0xff ? BROADCAST : dest, logical, /* x2= */ dest > 0xff) &&
            (atomic_load(&l->irr[vector / 32]) >> (vector % 32) & 1)) {
            return true;
        }
    }
    return false;
}

void lapic_bus_set_sink(
    LapicBus *b, void (*fn)(void *opaque, uint64_t addr, uint32_t data), void *opaque)
{
    b->sink = fn;
    b->sink_opaque = opaque;
}

/* SDM vol. 3, 11.11. */
void lapic_message(uint32_t dest, bool logical, uint8_t mode, uint8_t vector, bool level,
    uint64_t *ret_addr, uint32_t *ret_data)
{
    *ret_addr = 0xfee00000u | (uint64_t)(dest & 0xff) << 12 | (logical ? 1u << 2 : 0);
    *ret_data = vector | (uint32_t)(mode & 7) << 8 | (level ? 3u << 14 : 0);
}

void lapic_bus_msi(LapicBus *b, uint64_t addr, uint32_t data)
{
    bool level = data >> 15 & 1;

    if (b->sink) {
        b->sink(b->sink_opaque, addr, data);
        return;
    }
    if (level && !(data >> 14 & 1)) {
        return; /* deassert: nobody keeps a level for it */
    }
    lapic_bus_deliver(b, addr >> 12 & 0xff, addr >> 2 & 1, data >> 8 & 7, (uint8_t)data, level);
}

void lapic_bus_on_eoi(LapicBus *b, void (*fn)(void *opaque, uint8_t vector), void *opaque)
{
    g_assert(b->neoi < G_N_ELEMENTS(b->eoi));
    b->eoi[b->neoi].fn = fn;
    b->eoi[b->neoi].opaque = opaque;
    b->neoi++;
}

void lapic_bus_eoi(LapicBus *b, uint8_t vector)
{
    for (unsigned i = 0; i < b->neoi; i++) {
        b->eoi[i].fn(b->eoi[i].opaque, vector);
    }
}

void lapic_bus_set_pic(LapicBus *b, int (*ack)(void *opaque), void *opaque)
{
    b->pic_ack = ack;
    b->pic_opaque = opaque;
}

static Lapic *bus_current(const LapicBus *b)
{
    return b->current ? b->current() : NULL;
}

static uint64_t bus_read(void *opaque, uint64_t off, unsigned size)
{
    Lapic *l = bus_current(opaque);

    return l && off < APIC_PAGE ? lapic_mmio_read(l, (uint32_t)off) : 0;
}

static void bus_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    LapicBus *b = opaque;
    Lapic *l = bus_current(b);

    if (l && off < APIC_PAGE) {
        lapic_mmio_write(l, (uint32_t)off, (uint32_t)val);
    } else {
        lapic_bus_msi(b, 0xfee00000u + off, (uint32_t)val);
    }
}

static const RegionOps bus_ops = { .read = bus_read,
    .write = bus_write,
    .min_access = 4,
    .max_access = 4,
    .valid_min = 4,
    .valid_max = 8,
    .lockless = true };

void lapic_bus_init_region(LapicBus *b, Region *r, Lapic *(*current)(void))
{
    b->current = current;
    region_init_io(r, NULL, "apic-msi", &bus_ops, b, 0x100000);
}

/*
 * I/O APIC (Intel 82093AA data sheet, 290566-001; version 0x20 adds the EOI register of later
 * parts, ICH9 data sheet 13.5). State has a lock of its own, so that an EOI needs nothing else:
 * pins are driven under the VM lock, EOIs come from vCPU threads. Lock order: VM lock, then this
 * one, then none.
 */
#include "hw/intc/ioapic.h"

#include <inttypes.h>

struct Ioapic {
    Dev dev;
    LapicBus *bus;
    Region io;
    Irq in[IOAPIC_PINS];
    GMutex lock;
    uint32_t level; /* pins as they are */
    uint8_t select, id;
    uint64_t redir[IOAPIC_PINS];
    IoapicPinFn *pin_fn;
    void *pin_opaque;
};

enum {
    IOREGSEL = 0x00,
    IOWIN = 0x10,
    IOEOI = 0x40,
    REG_ID = 0,
    REG_VER = 1,
    REG_ARB = 2,
    REG_REDIR = 0x10,
    VERSION = 0x20,
};
#define REDIR_VECTOR  0xffull
#define REDIR_MODE(r) ((r) >> 8 & 7)
#define REDIR_LOGICAL (1ull << 11)
#define REDIR_RIRR    (1ull << 14)
#define REDIR_LEVEL   (1ull << 15)
#define REDIR_MASKED  (1ull << 16)
#define REDIR_DEST(r) ((uint32_t)((r) >> 56))
/* Delivery status (12) and remote IRR (14) are read-only, 17..55 reserved. */
#define REDIR_WRITABLE (0xff0000000001ffffull & ~(1ull << 12) & ~REDIR_RIRR)

/* Lock held. Sends pin n's message. */
static void ioapic_send(Ioapic *a, unsigned n)
{
    uint64_t *r = &a->redir[n];
    bool level = *r & REDIR_LEVEL;

    if (level) {
        *r |= REDIR_RIRR;
    }
    lapic_bus_deliver(
        a->bus, REDIR_DEST(*r), *r & REDIR_LOGICAL, REDIR_MODE(*r), *r & REDIR_VECTOR, level);
}

/* Lock held. A level-triggered pin that waits. */
static void ioapic_check_level(Ioapic *a, unsigned n)
{
    if ((a->level >> n & 1) && (a->redir[n] & REDIR_LEVEL) &&
        !(a->redir[n] & (REDIR_MASKED | REDIR_RIRR))) {
        ioapic_send(a, n);
    }
}

static void ioapic_in(void *opaque, unsigned n, bool level)
{
    Ioapic *a = opaque;
    uint32_t bit = 1u << n;
    bool rose;

    g_mutex_lock(&a->lock);
    rose = level && !(a->level & bit);
    a->level = level ? a->level | bit : a->level & ~bit;
    if (a->redir[n] & REDIR_LEVEL) {
        ioapic_check_level(a, n);
    } else if (rose && !(a->redir[n] & REDIR_MASKED)) {
        /* An edge on a masked pin is not held (82093AA, 3.2.4). */
        ioapic_send(a, n);
    }
    g_mutex_unlock(&a->lock);
}

bool ioapic_busy(Ioapic *a, unsigned n)
{
    g_mutex_lock(&a->lock);
    uint64_t r = a->redir[n];
    g_mutex_unlock(&a->lock);
    return !(r & (REDIR_MASKED | REDIR_LEVEL)) && REDIR_MODE(r) <= 1 &&
           lapic_bus_waits(a->bus, REDIR_DEST(r), r & REDIR_LOGICAL, r & REDIR_VECTOR);
}

static void ioapic_eoi(void *opaque, uint8_t vector)
{
    Ioapic *a = opaque;

    g_mutex_lock(&a->lock);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        if ((a->redir[n] & REDIR_LEVEL) && (a->redir[n] & REDIR_VECTOR) == vector) {
            a->redir[n] &= ~REDIR_RIRR;
            ioapic_check_level(a, n);
        }
    }
    g_mutex_unlock(&a->lock);
}

/* Lock held. */
static void ioapic_tell(Ioapic *a, unsigned n)
{
    uint64_t r = a->redir[n], addr;
    uint32_t data;

    if (a->pin_fn) {
        lapic_message(REDIR_DEST(r), r & REDIR_LOGICAL, REDIR_MODE(r), r & REDIR_VECTOR,
            r & REDIR_LEVEL, &addr, &data);
        a->pin_fn(a->pin_opaque, n, r & REDIR_MASKED, addr, data);
    }
}

void ioapic_on_change(Ioapic *a, IoapicPinFn *fn, void *opaque)
{
    a->pin_fn = fn;
    a->pin_opaque = opaque;
}

/* Lock held. */
static uint32_t ioapic_reg_read(const Ioapic *a)
{
    unsigned i = a->select - REG_REDIR;

    if (a->select == REG_ID || a->select == REG_ARB) {
        return (uint32_t)a->id << 24;
    }
    if (a->select == REG_VER) {
        return VERSION | (IOAPIC_PINS - 1) << 16;
    }
    if (a->select < REG_REDIR || i >= 2 * IOAPIC_PINS) {
        return 0;
    }
    return (uint32_t)(a->redir[i / 2] >> (i % 2 * 32));
}

/* Lock held. */
static void ioapic_reg_write(Ioapic *a, uint32_t val)
{
    unsigned i = a->select - REG_REDIR;
    uint64_t *r, mask;

    if (a->select == REG_ID) {
        a->id = val >> 24 & 0xf;
        return;
    }
    if (a->select < REG_REDIR || i >= 2 * IOAPIC_PINS) {
        return;
    }
    r = &a->redir[i / 2];
    mask = REDIR_WRITABLE & (i % 2 ? 0xffffffff00000000ull : 0xffffffffull);
    *r = (*r & ~mask) | ((i % 2 ? (uint64_t)val << 32 : val) & mask);
    if (!(*r & REDIR_LEVEL)) {
        *r &= ~REDIR_RIRR; /* guests without the EOI register clear it by way of edge mode */
    }
    ioapic_tell(a, i / 2);
    ioapic_check_level(a, i / 2);
}

static uint64_t ioapic_read(void *opaque, uint64_t off, unsigned size)
{
    Ioapic *a = opaque;
    uint64_t val = 0;

    g_mutex_lock(&a->lock);
    if (off == IOREGSEL) {
        val = a->select;
    } else if (off == IOWIN && size == 4) {
        val = ioapic_reg_read(a);
    }
    g_mutex_unlock(&a->lock);
    return val;
}

static void ioapic_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Ioapic *a = opaque;

    if (off == IOEOI && size == 4) {
        ioapic_eoi(a, (uint8_t)val);
        return;
    }
    g_mutex_lock(&a->lock);
    if (off == IOREGSEL) {
        a->select = (uint8_t)val;
    } else if (off == IOWIN && size == 4) {
        ioapic_reg_write(a, (uint32_t)val);
    }
    g_mutex_unlock(&a->lock);
}

static const RegionOps ioapic_ops = {
    .read = ioapic_read, .write = ioapic_write, .min_access = 1, .max_access = 4, .lockless = true
};

static void ioapic_reset(Obj *o)
{
    Ioapic *a = (Ioapic *)o;

    g_mutex_lock(&a->lock);
    a->select = a->id = 0;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        a->redir[n] = REDIR_MASKED;
        ioapic_tell(a, n);
    }
    g_mutex_unlock(&a->lock);
}

static void ioapic_init(Obj *o)
{
    Ioapic *a = (Ioapic *)o;

    g_mutex_init(&a->lock);
    region_init_io(&a->io, o, "ioapic", &ioapic_ops, a, 0x1000);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        irq_init(&a->in[n], ioapic_in, a, n);
    }
    irq_register_in((struct Obj *)o, NULL, a->in, IOAPIC_PINS);
    ioapic_reset(o);
}

static void ioapic_unrealize(Obj *o)
{
    region_unmap(&((Ioapic *)o)->io);
}

static void ioapic_fini(Obj *o)
{
    Ioapic *a = (Ioapic *)o;

    irq_unregister((struct Obj *)o);
    region_fini(&a->io);
    g_mutex_clear(&a->lock);
}

Ioapic *ioapic_new(Obj *tree, Region *mem, uint64_t base, LapicBus *bus)
{
    Ioapic *a = (Ioapic *)obj_new(&ioapic_class);

    a->bus = bus;
    lapic_bus_on_eoi(bus, ioapic_eoi, a);
    region_map(mem, base, &a->io, 0);
    obj_add(tree, "ioapic", &a->dev.obj);
    obj_realize(&a->dev.obj, NULL);
    obj_unref(&a->dev.obj);
    return a;
}

Irq *ioapic_irq(Ioapic *a, unsigned pin)
{
    g_assert(pin < IOAPIC_PINS);
    return &a->in[pin];
}

void ioapic_describe(const Ioapic *a, GString *out)
{
    static const char *const modes[] = { "fixed", "lowest", "SMI", "...", "NMI", "INIT", "...",
        "extINT" };

    g_string_append_printf(
        out, "ioapic0: ver=0x%x id=0x%02x sel=0x%02x\n", VERSION, a->id, a->select);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t r = a->redir[n];

        g_string_append_printf(out,
            "  pin %-2u 0x%016" PRIx64 " dest=%x vec=%-3u active-%s %-5s %s%s%s%s\n", n, r,
            REDIR_DEST(r), (unsigned)(r & REDIR_VECTOR), r >> 13 & 1 ? "lo" : "hi",
            r & REDIR_LEVEL ? "level" : "edge", modes[REDIR_MODE(r)],
            r & REDIR_LOGICAL ? " logical" : " physical", r & REDIR_MASKED ? " masked" : "",
            r & REDIR_RIRR ? " remote-irr" : "");
    }
}

const ObjClass ioapic_class = {
    .name = "ioapic",
    .parent = "ioapic-common",
    .size = sizeof(Ioapic),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = ioapic_init,
    .unrealize = ioapic_unrealize,
    .fini = ioapic_fini,
    .reset = ioapic_reset,
};

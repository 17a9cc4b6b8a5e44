/*
 * The 8259A pair of a PC (Intel 8259A data sheet, 231468-003) and the ELCR of the PCI chipsets
 * (82371AB data sheet, 4.2.2). In edge mode a request stays latched until it is acknowledged;
 * the cascade's is not: it follows the slave.
 */
#include "hw/intc/pic.h"

#include "util/loop.h"

#include <stdatomic.h>

typedef struct PicChip {
    Pic *pair;
    bool slave;
    uint8_t irr, imr, isr;
    uint8_t level; /* the pins as they are */
    uint8_t elcr, elcr_mask;
    uint8_t base;      /* vector of IR0 */
    uint8_t lowest;    /* IR with the lowest priority: 7 after ICW1 */
    uint8_t init_step; /* ICW expected next: 2, 3, 4; 0: initialised */
    bool icw4, single, level_mode;
    bool auto_eoi, rotate_aeoi, special_mask, nested, poll, read_isr;
    Region io, elcr_io;
} PicChip;

struct Pic {
    Dev dev;
    PicChip chip[2];
    Irq in[16];
    Irq *intr;
    _Atomic bool intr_level; /* read by vCPU threads */
};

enum {
    ICW1 = 0x10,
    ICW1_LTIM = 0x08,
    ICW1_SNGL = 0x02,
    ICW1_IC4 = 0x01,
    ICW4_SFNM = 0x10,
    ICW4_AEOI = 0x02,
    OCW3 = 0x08,
    OCW3_ESMM = 0x40,
    OCW3_SMM = 0x20,
    OCW3_POLL = 0x04,
    OCW3_RR = 0x02,
    OCW3_RIS = 0x01,
    CASCADE = 2,
};

/* Rank of the highest-priority set bit: 0 is the highest, 8 none. */
static unsigned pic_rank(const PicChip *c, uint8_t bits)
{
    for (unsigned r = 0; r < 8; r++) {
        if (bits >> ((c->lowest + 1 + r) & 7) & 1) {
            return r;
        }
    }
    return 8;
}

/* The request that INT stands for, or -1. 8259A data sheet, "Fully nested mode" and "Special mask
 * mode". */
static int pic_request(const PicChip *c)
{
    unsigned req = pic_rank(c, c->irr & (uint8_t)~c->imr);
    uint8_t serving = c->isr;

    if (req == 8) {
        return -1;
    }
    if (c->special_mask) {
        serving &= (uint8_t)~c->imr;
    }
    if (c->nested && !c->slave) {
        serving &= (uint8_t) ~(1u << CASCADE);
    }
    return req < pic_rank(c, serving) ? (int)((c->lowest + 1 + req) & 7) : -1;
}

static bool pic_level_triggered(const PicChip *c, unsigned n)
{
    return c->level_mode || (c->elcr >> n & 1);
}

static void pic_pin(PicChip *c, unsigned n, bool level)
{
    uint8_t bit = (uint8_t)(1u << n);

    if (pic_level_triggered(c, n)) {
        c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
    } else if (level && !(c->level & bit)) {
        c->irr |= bit;
    } else if (!level && n == CASCADE && !c->slave) {
        c->irr &= (uint8_t)~bit; /* the slave has nothing any more: no spurious IRQ 15 for it */
    }
    c->level = level ? c->level | bit : c->level & (uint8_t)~bit;
}

bool pic_busy(const Pic *p, unsigned n)
{
    const PicChip *c = &p->chip[n >> 3];

    return (c->irr & (uint8_t)~c->imr) >> (n & 7) & 1;
}

static void pic_update(Pic *p)
{
    bool intr;

    pic_pin(&p->chip[0], CASCADE, pic_request(&p->chip[1]) >= 0);
    intr = pic_request(&p->chip[0]) >= 0;
    if (intr != atomic_load_explicit(&p->intr_level, memory_order_relaxed)) {
        atomic_store_explicit(&p->intr_level, intr, memory_order_relaxed);
        if (p->intr) {
            irq_set(p->intr, intr);
        }
    }
}

/* INTA: the request moves into service. */
static void pic_take(PicChip *c, unsigned n)
{
    uint8_t bit = (uint8_t)(1u << n);

    if (c->slave) {
        pic_pin(&c->pair->chip[0], CASCADE, false); /* INT drops with every INTA */
    }
    if (!c->auto_eoi) {
        c->isr |= bit;
    } else if (c->rotate_aeoi) {
        c->lowest = (uint8_t)n;
    }
    if (!pic_level_triggered(c, n)) {
        c->irr &= (uint8_t)~bit;
    }
}

static int pic_ack_locked(Pic *p)
{
    PicChip *master = &p->chip[0];
    PicChip *slave = &p->chip[1];
    int n = pic_request(master);
    int vector;

    if (n < 0) {
        vector = master->base + 7; /* spurious: no in-service bit */
    } else {
        pic_take(master, (unsigned)n);
        vector = master->base + n;
        if (n == CASCADE) {
            int s = pic_request(slave);

            if (s >= 0) {
                pic_take(slave, (unsigned)s);
            }
            vector = slave->base + (s >= 0 ? s : 7);
        }
    }
    pic_update(p);
    return vector;
}

int pic_ack(void *pic)
{
    bool locked = vm_lock_held();
    int vector;

    if (!locked) {
        vm_lock();
    }
    vector = pic_ack_locked(pic);
    if (!locked) {
        vm_unlock();
    }
    return vector;
}

static void pic_icw1(PicChip *c, uint8_t val)
{
    c->icw4 = val & ICW1_IC4;
    c->single = val & ICW1_SNGL;
    c->level_mode = val & ICW1_LTIM;
    c->init_step = 2;
    c->imr = 0;
    c->isr = 0;
    c->lowest = 7;
    c->auto_eoi = c->rotate_aeoi = c->special_mask = c->nested = c->poll = c->read_isr = false;
    c->irr = 0; /* edges are forgotten, levels are not */
    for (unsigned n = 0; n < 8; n++) {
        if (pic_level_triggered(c, n)) {
            c->irr |= c->level & (uint8_t)(1u << n);
        }
    }
}

static void pic_ocw2(PicChip *c, uint8_t val)
{
    uint8_t n = val & 7;
    bool rotate = val & 0x80;
    bool specific = val & 0x40;
    bool eoi = val & 0x20;

    if (!eoi) {
        if (!specific) {
            c->rotate_aeoi = rotate;
        } else if (rotate) {
            c->lowest = n; /* set priority */
        }
        return;
    }
    if (!specific) {
        /* A masked bit is not cleared in special mask mode. */
        unsigned rank = pic_rank(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);

        if (rank == 8) {
            return;
        }
        n = (uint8_t)((c->lowest + 1 + rank) & 7);
    }
    c->isr &= (uint8_t) ~(1u << n);
    if (rotate) {
        c->lowest = n;
    }
}

static void pic_ocw3(PicChip *c, uint8_t val)
{
    if (val & OCW3_POLL) {
        c->poll = true;
    }
    if (val & OCW3_RR) {
        c->read_isr = val & OCW3_RIS;
    }
    if (val & OCW3_ESMM) {
        c->special_mask = val & OCW3_SMM;
    }
}

static void pic_data_write(PicChip *c, uint8_t val)
{
    switch (c->init_step) {
    case 2:
        c->base = val & 0xf8;
        c->init_step = !c->single ? 3 : c->icw4 ? 4 : 0;
        break;
    case 3: /* the wiring is a PC's, whatever the guest says */
        c->init_step = c->icw4 ? 4 : 0;
        break;
    case 4:
        c->nested = val & ICW4_SFNM;
        c->auto_eoi = val & ICW4_AEOI;
        c->init_step = 0;
        break;
    default:
        c->imr = val;
        break;
    }
}

static void pic_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    PicChip *c = opaque;

    if (off == 1) {
        pic_data_write(c, (uint8_t)val);
    } else if (val & ICW1) {
        pic_icw1(c, (uint8_t)val);
    } else if (val & OCW3) {
        pic_ocw3(c, (uint8_t)val);
    } else {
        pic_ocw2(c, (uint8_t)val);
    }
    pic_update(c->pair);
}

static uint64_t pic_read(void *opaque, uint64_t off, unsigned size)
{
    PicChip *c = opaque;
    int n;

    if (!c->poll) {
        return off == 1 ? c->imr : c->read_isr ? c->isr : c->irr;
    }
    c->poll = false; /* the read is the acknowledge */
    n = pic_request(c);
    if (n < 0) {
        return 0;
    }
    pic_take(c, (unsigned)n);
    pic_update(c->pair);
    return 0x80u | (unsigned)n;
}

static uint64_t elcr_read(void *opaque, uint64_t off, unsigned size)
{
    return ((PicChip *)opaque)->elcr;
}

static void elcr_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    PicChip *c = opaque;

    c->elcr = (uint8_t)val & c->elcr_mask;
}

static const RegionOps pic_ops = {
    .read = pic_read, .write = pic_write, .min_access = 1, .max_access = 1
};
static const RegionOps elcr_ops = {
    .read = elcr_read, .write = elcr_write, .min_access = 1, .max_access = 1
};

static void pic_in(void *opaque, unsigned n, bool level)
{
    Pic *p = opaque;

    if (n != CASCADE) {
        pic_pin(&p->chip[n / 8], n % 8, level);
        pic_update(p);
    }
}

static void pic_reset(Obj *o)
{
    Pic *p = (Pic *)o;

    for (unsigned i = 0; i < 2; i++) {
        PicChip *c = &p->chip[i];

        c->elcr = 0;
        pic_icw1(c, 0);
        c->init_step = 0;
        c->base = 0;
    }
    pic_update(p);
}

static void pic_init(Obj *o)
{
    Pic *p = (Pic *)o;

    for (unsigned i = 0; i < 2; i++) {
        PicChip *c = &p->chip[i];

        c->pair = p;
        c->slave = i == 1;
        c->lowest = 7;
        c->elcr_mask = i ? 0xde : 0xf8; /* IRQ 0, 1, 2, 8 and 13 are always edges */
        region_init_io(&c->io, o, i ? "pic-slave" : "pic", &pic_ops, c, 2);
        region_init_io(&c->elcr_io, o, "elcr", &elcr_ops, c, 1);
    }
    for (unsigned n = 0; n < 16; n++) {
        irq_init(&p->in[n], pic_in, p, n);
    }
    irq_register_in((struct Obj *)o, NULL, p->in, 16);
}

static void pic_fini(Obj *o)
{
    Pic *p = (Pic *)o;

    irq_unregister((struct Obj *)o);
    for (unsigned i = 0; i < 2; i++) {
        region_fini(&p->chip[i].io);
        region_fini(&p->chip[i].elcr_io);
    }
}

static void pic_unrealize(Obj *o)
{
    Pic *p = (Pic *)o;

    for (unsigned i = 0; i < 2; i++) {
        region_unmap(&p->chip[i].io);
        region_unmap(&p->chip[i].elcr_io);
    }
}

Pic *pic_new(Obj *tree, Region *io, Irq *intr)
{
    Pic *p = (Pic *)obj_new(&pic_class);

    p->intr = intr;
    region_map(io, 0x20, &p->chip[0].io, 0);
    region_map(io, 0xa0, &p->chip[1].io, 0);
    region_map(io, 0x4d0, &p->chip[0].elcr_io, 0);
    region_map(io, 0x4d1, &p->chip[1].elcr_io, 0);
    obj_add_array(tree, "device", &p->dev.obj);
    obj_realize(&p->dev.obj, NULL);
    obj_unref(&p->dev.obj);
    return p;
}

Irq *pic_irq(Pic *p, unsigned n)
{
    g_assert(n < 16);
    return &p->in[n];
}

bool pic_intr(const Pic *p)
{
    return atomic_load_explicit(&p->intr_level, memory_order_relaxed);
}

void pic_describe(const Pic *p, GString *out)
{
    for (unsigned i = 0; i < 2; i++) {
        const PicChip *c = &p->chip[i];

        g_string_append_printf(out,
            "pic%u: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%d elcr=%02x fnm=%d\n",
            i, c->irr, c->imr, c->isr, (c->lowest + 1u) & 7, c->base, c->read_isr, c->elcr,
            c->nested);
    }
}

const ObjClass pic_class = {
    .name = "isa-i8259",
    .parent = "pic-common",
    .size = sizeof(Pic),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = pic_init,
    .unrealize = pic_unrealize,
    .fini = pic_fini,
    .reset = pic_reset,
};

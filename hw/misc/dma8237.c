/*
 * The two 8237A DMA controllers of a PC (Intel 231466-005) with their page registers: registers
 * only. No device here is an ISA bus master, so a channel never runs; firmware and kernels still
 * program the cascade and the masks. Covered by tests/unit/test-i8042.c.
 */
#include "hw/misc/pc-ports.h"

#include <string.h>

typedef struct DmaChip {
    unsigned shift;  /* register spacing: 0 for channels 0..3, 1 for 4..7 */
    uint16_t reg[8]; /* address and count of each channel */
    uint8_t mode[4], mask, command, request;
    bool high; /* byte pointer flip-flop */
    Region io;
} DmaChip;

typedef struct Dma {
    Dev dev;
    DmaChip chip[2];
    uint8_t page[16]; /* ports 0x80..0x8f */
    Region pages[4];
} Dma;

enum {
    REG_COMMAND = 8,
    REG_REQUEST = 9,
    REG_MASK = 10,
    REG_MODE = 11,
    REG_CLEAR_FF = 12,
    REG_MASTER_CLEAR = 13,
    REG_CLEAR_MASK = 14,
    REG_ALL_MASK = 15,
};
static const struct {
    uint8_t at, n;
} page_ranges[4] = { { 0x81, 3 }, { 0x87, 1 }, { 0x89, 3 }, { 0x8f, 1 } };

static void dma_clear(DmaChip *c)
{
    c->high = false;
    c->mask = 0xff;
    c->command = c->request = 0;
}

static uint64_t dma_read_reg(void *opaque, uint64_t off, unsigned size)
{
    DmaChip *c = opaque;
    unsigned reg = (unsigned)(off >> c->shift);
    uint8_t val;

    if (reg < 8) {
        val = (uint8_t)(c->reg[reg] >> (c->high ? 8 : 0));
        c->high = !c->high;
        return val;
    }
    switch (reg) {
    case REG_COMMAND: /* status: requests in the upper half, nothing ever reached its terminal count
                       */
        return (uint8_t)(c->request << 4);
    case REG_REQUEST: /* QEMU compat: the mask register reads here */
        return c->mask;
    default:
        return 0;
    }
}

static void dma_write_reg(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    DmaChip *c = opaque;
    unsigned reg = (unsigned)(off >> c->shift);
    uint8_t bit = (uint8_t)(1u << (val & 3));

    if (reg < 8) {
        c->reg[reg] = (uint16_t)(c->high ? (c->reg[reg] & 0xff) | (val & 0xff) << 8
                                         : (c->reg[reg] & 0xff00) | (val & 0xff));
        c->high = !c->high;
        return;
    }
    switch (reg) {
    case REG_COMMAND:
        c->command = (uint8_t)val;
        break;
    case REG_REQUEST:
        c->request = val & 4 ? c->request | bit : c->request & (uint8_t)~bit;
        break;
    case REG_MASK:
        c->mask = val & 4 ? c->mask | bit : c->mask & (uint8_t)~bit;
        break;
    case REG_MODE:
        c->mode[val & 3] = (uint8_t)val;
        break;
    case REG_CLEAR_FF:
        c->high = false;
        break;
    case REG_MASTER_CLEAR:
        dma_clear(c);
        break;
    case REG_CLEAR_MASK:
        c->mask = 0;
        break;
    default:
        c->mask = (uint8_t)val;
        break;
    }
}

static const RegionOps dma_ops = {
    .read = dma_read_reg, .write = dma_write_reg, .min_access = 1, .max_access = 1
};

/* One region for each run of page registers; the opaque is its first register. */
static uint64_t page_read(void *opaque, uint64_t off, unsigned size)
{
    return ((uint8_t *)opaque)[off];
}

static void page_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    ((uint8_t *)opaque)[off] = (uint8_t)val;
}

static const RegionOps page_ops = {
    .read = page_read, .write = page_write, .min_access = 1, .max_access = 1
};

static void dma_reset(Obj *o)
{
    Dma *d = (Dma *)o;

    memset(d->page, 0, sizeof(d->page));
    for (unsigned i = 0; i < 2; i++) {
        memset(d->chip[i].reg, 0, sizeof(d->chip[i].reg));
        memset(d->chip[i].mode, 0, sizeof(d->chip[i].mode));
        dma_clear(&d->chip[i]);
    }
}

static void dma_init(Obj *o)
{
    Dma *d = (Dma *)o;

    for (unsigned i = 0; i < 2; i++) {
        d->chip[i].shift = i;
        region_init_io(&d->chip[i].io, o, "dma", &dma_ops, &d->chip[i], i ? 32 : 16);
    }
    for (unsigned i = 0; i < 4; i++) {
        region_init_io(&d->pages[i], o, "dma-page", &page_ops, &d->page[page_ranges[i].at - 0x80],
            page_ranges[i].n);
    }
    dma_reset(o);
}

static void dma_unrealize(Obj *o)
{
    Dma *d = (Dma *)o;

    for (unsigned i = 0; i < 2; i++) {
        region_unmap(&d->chip[i].io);
    }
    for (unsigned i = 0; i < 4; i++) {
        region_unmap(&d->pages[i]);
    }
}

static void dma_fini(Obj *o)
{
    Dma *d = (Dma *)o;

    for (unsigned i = 0; i < 2; i++) {
        region_fini(&d->chip[i].io);
    }
    for (unsigned i = 0; i < 4; i++) {
        region_fini(&d->pages[i]);
    }
}

void dma8237_new(Obj *tree, Region *io)
{
    Dma *d = (Dma *)obj_new(&dma8237_class);

    region_map(io, 0x00, &d->chip[0].io, 0);
    region_map(io, 0xc0, &d->chip[1].io, 0);
    for (unsigned i = 0; i < 4; i++) {
        region_map(io, page_ranges[i].at, &d->pages[i], 0);
    }
    obj_add_array(tree, "device", &d->dev.obj);
    obj_realize(&d->dev.obj, NULL);
    obj_unref(&d->dev.obj);
}

const ObjClass dma8237_class = {
    .name = "i8257",
    .parent = "isa-device",
    .size = sizeof(Dma),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = dma_init,
    .unrealize = dma_unrealize,
    .fini = dma_fini,
    .reset = dma_reset,
};

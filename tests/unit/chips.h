/* A bare board for tests of chips: memory and port space, twenty-four wires that count, the virtual
 * clock stepped by hand. */
#pragma once

#include "hw/core/dev.h"
#include "util/timer.h"

typedef struct Chips {
    Obj *tree;
    Region mem, io;
    AddrSpace *mem_as, *io_as;
    Irq wire[24];
    bool level[24];
    unsigned rises[24];
} Chips;

static const ObjClass chips_box_class = { .name = "container", .size = sizeof(Obj) };

static void chips_wire(void *opaque, unsigned n, bool level)
{
    Chips *c = opaque;

    c->rises[n] += level && !c->level[n];
    c->level[n] = level;
}

static inline Chips *chips_new(void)
{
    Chips *c = g_new0(Chips, 1);

    c->tree = obj_new(&chips_box_class);
    region_init_container(&c->mem, NULL, "mem", UINT64_MAX);
    region_init_container(&c->io, NULL, "io", 0x10000);
    c->mem_as = addrspace_new("mem", &c->mem);
    c->io_as = addrspace_new("io", &c->io);
    addrspace_set_hole_value(c->io_as, UINT64_MAX);
    for (unsigned n = 0; n < 24; n++) {
        irq_init(&c->wire[n], chips_wire, c, n);
    }
    return c;
}

static inline void chips_free(Chips *c)
{
    obj_unref(c->tree);
    addrspace_free(c->mem_as);
    addrspace_free(c->io_as);
    region_fini(&c->mem);
    region_fini(&c->io);
    g_free(c);
}

static inline uint32_t chips_in(Chips *c, uint16_t port, unsigned size)
{
    return (uint32_t)addrspace_load(c->io_as, port, size, NULL);
}
static inline uint8_t inb(Chips *c, uint16_t port)
{
    return (uint8_t)chips_in(c, port, 1);
}
static inline void outb(Chips *c, uint16_t port, uint8_t val)
{
    addrspace_store(c->io_as, port, 1, val, NULL);
}
static inline uint32_t readl(Chips *c, uint64_t at)
{
    return (uint32_t)addrspace_load(c->mem_as, at, 4, NULL);
}
static inline void writel(Chips *c, uint64_t at, uint32_t val)
{
    addrspace_store(c->mem_as, at, 4, val, NULL);
}
static inline void step(int64_t ns)
{
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + ns);
}
static inline void chips_start(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    loop_main();
    clock_virtual_use_qtest();
}

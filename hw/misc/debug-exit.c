/* isa-debug-exit: test kernels end the process through it. Covered by tests/unit/test-serial.c. */
#include "hw/misc/debug-exit.h"

#include "hw/core/machine.h"

typedef struct DebugExit {
    Dev dev;
    uint32_t iobase, iosize;
    Region io;
} DebugExit;

static uint64_t debug_exit_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    DebugExit *e = opaque;

    run_request_exit(dev_machine(&e->dev)->run, (int)((uint32_t)val << 1 | 1));
}

static const RegionOps debug_exit_ops = {
    .read = debug_exit_read, .write = debug_exit_write, .min_access = 1, .max_access = 4
};

static bool debug_exit_realize(Obj *o, GError **err)
{
    DebugExit *e = (DebugExit *)o;
    IsaBus *bus = isa_bus_of(&e->dev);

    if (!bus || e->iosize == 0 || e->iosize > 0x10000 || e->iobase > 0x10000 - e->iosize) {
        err_set(err, "isa-debug-exit: no ports at 0x%x, size 0x%x", e->iobase, e->iosize);
        return false;
    }
    region_init_io(&e->io, o, "isa-debug-exit", &debug_exit_ops, e, e->iosize);
    region_map(bus->io, e->iobase, &e->io, 0);
    return true;
}

static void debug_exit_unrealize(Obj *o)
{
    DebugExit *e = (DebugExit *)o;

    region_unmap(&e->io);
    region_fini(&e->io);
}

static const PropSpec debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, 0x501, "first port"),
    PROP_U32("iosize", DebugExit, iosize, 2, "number of ports"),
    PROP_END,
};
static const PropGroup debug_exit_groups[] = { { debug_exit_props, NULL }, { NULL, NULL } };

const ObjClass isa_debug_exit_class = {
    .name = "isa-debug-exit",
    .parent = "isa-device",
    .category = "Misc",
    .size = sizeof(DebugExit),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "ISA",
    .props = debug_exit_groups,
    .realize = debug_exit_realize,
    .unrealize = debug_exit_unrealize,
};

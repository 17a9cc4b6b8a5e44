/* System control port A of the PS/2 (and 82371AB, 4.2.6): fast A20 and fast reset. Covered by
 * tests/unit/test-i8042.c. */
#include "hw/input/port92.h"

struct Port92 {
    Dev dev;
    Region io;
    Irq *a20, *reset;
    uint8_t val;
};

enum { P92_RESET = 0x01, P92_A20 = 0x02 };

static uint64_t port92_read(void *opaque, uint64_t off, unsigned size)
{
    return ((Port92 *)opaque)->val;
}

static void port92_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Port92 *p = opaque;
    bool reset = (val & P92_RESET) && !(p->val & P92_RESET); /* on the rising edge only */

    p->val = (uint8_t)val;
    if (p->a20) {
        irq_set(p->a20, val & P92_A20);
    }
    if (reset && p->reset) {
        irq_pulse(p->reset);
    }
}

static const RegionOps port92_ops = {
    .read = port92_read, .write = port92_write, .min_access = 1, .max_access = 1
};

/* The gate itself stays open: the keyboard controller's reset says so. */
static void port92_reset(Obj *o)
{
    ((Port92 *)o)->val = 0;
}

static void port92_init(Obj *o)
{
    Port92 *p = (Port92 *)o;

    region_init_io(&p->io, o, "port92", &port92_ops, p, 1);
}

static void port92_unrealize(Obj *o)
{
    region_unmap(&((Port92 *)o)->io);
}

static void port92_fini(Obj *o)
{
    region_fini(&((Port92 *)o)->io);
}

Port92 *port92_new(Obj *tree, Region *io, Irq *a20, Irq *reset)
{
    Port92 *p = (Port92 *)obj_new(&port92_class);

    p->a20 = a20;
    p->reset = reset;
    region_map(io, 0x92, &p->io, 0);
    obj_add_array(tree, "device", &p->dev.obj);
    obj_realize(&p->dev.obj, NULL);
    obj_unref(&p->dev.obj);
    return p;
}

const ObjClass port92_class = {
    .name = "port92",
    .parent = "isa-device",
    .size = sizeof(Port92),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = port92_init,
    .unrealize = port92_unrealize,
    .fini = port92_fini,
    .reset = port92_reset,
};

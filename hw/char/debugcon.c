/* isa-debugcon: firmware's log port. What the back end does not take at once it queues. Covered by
 * tests/unit/test-serial.c. */
#include "hw/char/debugcon.h"

#include "chardev/chardev.h"

struct Debugcon {
    Dev dev;
    Chardev *chr;
    ChardevFe fe;
    uint32_t iobase, readback;
    Region io;
};

static uint64_t debugcon_read(void *opaque, uint64_t off, unsigned size)
{
    return ((Debugcon *)opaque)->readback;
}

static void debugcon_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Debugcon *d = opaque;
    uint8_t byte = (uint8_t)val;

    if (d->chr) {
        chardev_write_all(&d->fe, &byte, 1);
    }
}

static const RegionOps debugcon_ops = {
    .read = debugcon_read, .write = debugcon_write, .min_access = 1, .max_access = 1
};

static size_t debugcon_can_receive(void *opaque)
{
    return 4096; /* input has nowhere to go: taken and dropped */
}

static void debugcon_receive(void *opaque, const uint8_t *buf, size_t len) {}

static const ChardevFeOps debugcon_fe = { .can_receive = debugcon_can_receive,
    .receive = debugcon_receive };

static bool debugcon_realize(Obj *o, GError **err)
{
    Debugcon *d = (Debugcon *)o;
    IsaBus *bus = isa_bus_of(&d->dev);

    if (!d->chr) {
        err_set(err, "Can't create debugcon device, empty char device");
        return false;
    }
    if (!bus || d->iobase > 0xffff) {
        err_set(err, "isa-debugcon: no port at 0x%x", d->iobase);
        return false;
    }
    if (!chardev_fe_init(&d->fe, d->chr, &debugcon_fe, d, err)) {
        return false;
    }
    region_init_io(&d->io, o, "isa-debugcon", &debugcon_ops, d, 1);
    region_map(bus->io, d->iobase, &d->io, 0);
    return true;
}

static void debugcon_unrealize(Obj *o)
{
    Debugcon *d = (Debugcon *)o;

    region_unmap(&d->io);
    region_fini(&d->io);
    chardev_fe_fini(&d->fe);
}

Debugcon *isa_debugcon_new(Obj *tree, IsaBus *bus, uint16_t iobase, Chardev *chr)
{
    Debugcon *d = (Debugcon *)obj_new(&isa_debugcon_class);

    d->chr = chr;
    d->iobase = iobase;
    d->dev.bus = &bus->bus;
    if (!obj_realize(&d->dev.obj, NULL)) { /* another front end has the chardev */
        obj_unref(&d->dev.obj);
        return NULL;
    }
    g_ptr_array_add(bus->bus.devs, &d->dev);
    obj_add_array(tree, "device", &d->dev.obj);
    obj_unref(&d->dev.obj);
    return d;
}

static const PropSpec debugcon_props[] = {
    PROP_U32("iobase", Debugcon, iobase, 0xe9, "port"),
    PROP_CHARDEV("chardev", Debugcon, chr, "where the bytes go"),
    PROP_U32("readback", Debugcon, readback, 0xe9, "value the port reads"),
    PROP_END,
};
static const PropGroup debugcon_groups[] = { { debugcon_props, NULL }, { NULL, NULL } };

const ObjClass isa_debugcon_class = {
    .name = "isa-debugcon",
    .parent = "isa-device",
    .category = "Input",
    .size = sizeof(Debugcon),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "ISA",
    .props = debugcon_groups,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
};

/* pvpanic: bit 0 of its port means the guest panicked, bit 1 that it loaded a crash kernel. Covered
 * by tests/unit/test-serial.c. */
#include "hw/misc/pvpanic.h"

#include "hw/core/machine.h"
#include "object/qmp.h"

enum { PVPANIC_PANICKED = 1 << 0, PVPANIC_CRASHLOADED = 1 << 1 };

typedef struct Pvpanic {
    Dev dev;
    uint16_t ioport;
    uint8_t events;
    Region io;
} Pvpanic;

static uint64_t pvpanic_read(void *opaque, uint64_t off, unsigned size)
{
    return ((Pvpanic *)opaque)->events;
}

static void pvpanic_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Pvpanic *p = opaque;
    bool panicked = val & p->events & PVPANIC_PANICKED;
    Json *data;

    if (!(val & p->events & (PVPANIC_PANICKED | PVPANIC_CRASHLOADED))) {
        return;
    }
    data = json_object();
    json_set(data, "action", json_str(panicked ? "pause" : "run"));
    qmp_event(panicked ? "GUEST_PANICKED" : "GUEST_CRASHLOADED", data);
    if (panicked) {
        run_stop(dev_machine(&p->dev)->run, RUN_STATE_GUEST_PANICKED);
    }
}

static const RegionOps pvpanic_ops = {
    .read = pvpanic_read, .write = pvpanic_write, .min_access = 1, .max_access = 1
};

static bool pvpanic_realize(Obj *o, GError **err)
{
    Pvpanic *p = (Pvpanic *)o;
    IsaBus *bus = isa_bus_of(&p->dev);

    if (!bus) {
        err_set(err, "pvpanic: not on an ISA bus");
        return false;
    }
    region_init_io(&p->io, o, "pvpanic", &pvpanic_ops, p, 1);
    region_map(bus->io, p->ioport, &p->io, 0);
    return true;
}

static void pvpanic_unrealize(Obj *o)
{
    Pvpanic *p = (Pvpanic *)o;

    region_unmap(&p->io);
    region_fini(&p->io);
}

static const PropSpec pvpanic_props[] = {
    PROP_U16("ioport", Pvpanic, ioport, 0x505, "port"),
    PROP_U8("events", Pvpanic, events, PVPANIC_PANICKED | PVPANIC_CRASHLOADED,
        "bits the guest may use"),
    PROP_END,
};
static const PropGroup pvpanic_groups[] = { { pvpanic_props, NULL }, { NULL, NULL } };

const ObjClass pvpanic_class = {
    .name = "pvpanic",
    .parent = "isa-device",
    .category = "Misc",
    .size = sizeof(Pvpanic),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "ISA",
    .props = pvpanic_groups,
    .realize = pvpanic_realize,
    .unrealize = pvpanic_unrealize,
};

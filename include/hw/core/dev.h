/* Devices and buses: life cycle, placement, hot plug. */
#pragma once

#include "hw/core/irq.h"
#include "memory/addrspace.h"
#include "object/obj.h"

typedef struct Bus Bus;
typedef struct Machine Machine;

/* First member of every device (class flag OBJ_DEVICE). */
typedef struct Dev {
    Obj obj;
    char *id;         /* user's id, NULL: none */
    Bus *bus;         /* where it sits; NULL: none */
    GPtrArray *buses; /* Bus* it provides */
    bool hotplugged;
    bool unplug_pending;
} Dev;

typedef struct BusClass {
    /* "PCI", "PCIE", "virtio-bus", "SCSI", "virtio-serial-bus", "ISA", "System" */
    const char *type;
    /* ObjClass.bus names it takes besides type, e.g. PCIE takes "PCI"; NULL: none */
    const char *fits;
    unsigned max_devs; /* 0: any number */
    /* Chooses and checks the place (PCI slot); called before realize. NULL: nothing to do. */
    bool (*plug)(Bus *b, Dev *d, GError **err);
    void (*unplugged)(Bus *b, Dev *d);
    /* device_del: starts the removal; the bus calls dev_unplug_done() later or at once. NULL: "Bus
     * 'x' does not support hotplugging". */
    bool (*unplug_request)(Bus *b, Dev *d, GError **err);
    char *(*dev_path)(const Bus *b, const Dev *d); /* firmware path for bootorder; NULL */
    void (*describe_dev)(const Bus *b, const Dev *d, GString *out); /* info qtree */
} BusClass;

struct Bus {
    Obj obj;
    const BusClass *cls;
    Dev *parent; /* the device that provides it; NULL: the machine */
    GPtrArray *devs;
    bool hotplug; /* may devices come and go while running */
    /* bus.c's */
    Machine *machine; /* in whose list it stands; NULL: none yet or any more */
    Obj *tree_parent;
    char *given_name;
    ObjClass oc; /* its QOM type is cls->type */
};

/* Embeds: b lies in its provider. name: "pci.0", "vs0.0"; NULL: "<parent id>.<n>" or "<bus
 * type>.<n>". */
void bus_init(Bus *b, const BusClass *cls, Dev *parent, Obj *tree_parent, const char *name);
void bus_fini(Bus *b);
const char *bus_name(const Bus *b);
bool bus_takes(const Bus *b, const char *type);
bool bus_is_full(const Bus *b);
Bus *bus_from_obj(const Obj *o); /* NULL: o is no bus */
Dev *dev_from_obj(const Obj *o); /* NULL: o is no device */
/* Puts the buses that d made before it had a place into the tree; dev.c calls it. */
void bus_attach_all(Dev *d);
void bus_forget_all(Dev *d); /* d goes: nothing may be plugged into its buses from now on */
void dev_leave_bus(Dev *d);  /* off its bus, the bus is told */
Bus *bus_find(Machine *m, const char *name_or_path); /* "pci.0", "root0" */
/* first one that takes this type and has room */
Bus *bus_find_for(Machine *m, const char *type, bool *ret_full);

/*
 * -device / device_add: args has driver, id, bus and properties. Finds class and bus, applies
 * compat, -global and user properties, plugs, realizes, places it in the tree. Error texts are
 * QEMU's. hotplug: the machine runs.
 */
Dev *dev_create(Machine *m, const Json *args, bool hotplug, GError **err);
/*
 * A board's own device: no user properties. Takes d when it has no place in the tree yet: it goes
 * to /machine/<id>, or to /machine/unattached. An embedded child stays where it is.
 */
bool dev_realize_on(Machine *m, Dev *d, Bus *bus, const char *id, GError **err);
bool dev_del(Machine *m, const char *id_or_path, GError **err); /* device_del */
/* The guest let go: unrealizes, detaches, events DEVICE_DELETED (children first). */
void dev_unplug_done(Machine *m, Dev *d);
/* "Device 'x' not found" class DeviceNotFound */
Dev *dev_find(Machine *m, const char *id_or_path, GError **err);
Machine *dev_machine(const Dev *d);
/* For messages: "virtio-blk-pci,id=disk0". */
char *dev_name(const Dev *d);

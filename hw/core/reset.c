/*
 * Reset over the tree: devices, then interrupt chips, then one publication of the memory map. vCPUs
 * and hooks are the machine's (machine.c). Test: tests/unit/test-dev.c
 */
#include "hw/core/machine.h"

/* These hold the state of wires that devices drive: reset after the devices have let go. */
static const char *const irqchips[] = { "apic-common", "ioapic-common", "pic-common" };

typedef struct Order {
    GHashTable *seen;
    GPtrArray *devices, *chips;
} Order;

static bool is_irqchip(const Obj *o)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(irqchips); i++) {
        if (obj_is(o, irqchips[i])) {
            return true;
        }
    }
    return false;
}

/* What sits on o's buses and lies in o comes first: it must be quiet before what carries its
 * interrupts and DMA. */
static void collect(Order *ord, Obj *o)
{
    if (!g_hash_table_add(ord->seen, o)) {
        return;
    }
    const Bus *b = bus_from_obj(o);
    const Dev *d = dev_from_obj(o);

    for (unsigned i = 0; b && i < b->devs->len; i++) {
        collect(ord, b->devs->pdata[i]);
    }
    for (unsigned i = 0; d && d->buses && i < d->buses->len; i++) {
        collect(ord, d->buses->pdata[i]);
    }
    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        collect(ord, o->children->pdata[i]);
    }
    /* Chips that a board makes by hand are never realized, and reset all the same. */
    if (o->cls->reset && o->phase != OBJ_LEAVING && o->phase != OBJ_DEAD) {
        g_ptr_array_add(is_irqchip(o) ? ord->chips : ord->devices, obj_ref(o));
    }
}

static void unref(void *o)
{
    obj_unref(o);
}

static void reset_all(const GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        Obj *o = list->pdata[i];
        o->cls->reset(o);
    }
}

void reset_tree(Obj *o)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new_with_free_func(unref);
    g_autoptr(GPtrArray) chips = g_ptr_array_new_with_free_func(unref);
    Order ord = { g_hash_table_new(NULL, NULL), devices, chips };

    collect(&ord, o);
    g_hash_table_unref(ord.seen);
    mem_begin();
    reset_all(devices);
    reset_all(chips);
    mem_commit();
}

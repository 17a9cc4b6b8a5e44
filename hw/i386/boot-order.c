/*
 * "bootorder": devices with a bootindex as Open Firmware paths, in that order (SeaBIOS, src/boot.c,
 * compares them with those it makes itself: /pci@i0cf8/scsi@4/disk@0,0).
 */
#include "hw/i386/pc.h"

#include <string.h>

typedef struct Entry {
    int64_t index;
    char *path;
} Entry;

/* PCI Bus Binding to Open Firmware, 2.5: the node's name by class code. */
static const char *class_node(const PciFn *f)
{
    switch (pci_get16(f, 0x0a)) {
    case 0x0100:
        return "scsi";
    case 0x0101:
        return "ide";
    case 0x0106:
        return "ide";
    case 0x0200:
        return "ethernet";
    case 0x0300:
        return "display";
    case 0x0600:
        return "host";
    case 0x0601:
        return "isa";
    case 0x0604:
        return "pci-bridge";
    default:
        return "pci";
    }
}

static void append_fn(GString *s, const PciFn *f)
{
    const PciBus *bus = pci_bus_of(f);

    if (bus->bridge) {
        append_fn(s, bus->bridge);
    } else {
        g_string_append(s, "/pci@i0cf8");
    }
    g_string_append_printf(s, "/%s@%x", class_node(f), f->devfn >> 3);
    if (f->devfn & 7) {
        g_string_append_printf(s, ",%x", f->devfn & 7);
    }
}

static PciFn *pci_ancestor(Obj *o)
{
    for (; o; o = o->parent) {
        if (obj_is(o, "pci-device")) {
            return (PciFn *)o;
        }
    }
    return NULL;
}

/* The bus a device sits on may hang in another part of the tree than its provider's function. */
static PciFn *function_of(Dev *d)
{
    PciFn *f = pci_ancestor(&d->obj);

    while (!f && d->bus) {
        f = pci_ancestor(&d->bus->obj);
        d = d->bus->parent;
        if (!d) {
            break;
        }
        f = f ? f : pci_ancestor(&d->obj);
    }
    return f;
}

static uint64_t number(Obj *o, const char *name)
{
    g_autoptr(Json) v = prop_get(o, name, NULL);

    return v && json_type(v) == JSON_INT ? json_get_uint(v) : 0;
}

static char *path_of(Dev *d)
{
    const PciFn *f = function_of(d);
    GString *s;

    if (!f) {
        return NULL;
    }
    s = g_string_new(NULL);
    append_fn(s, f);
    if (d->bus && !strcmp(d->bus->cls->type, "SCSI")) {
        g_string_append_printf(s, "/channel@%x/disk@%x,%x", (unsigned)number(&d->obj, "channel"),
            (unsigned)number(&d->obj, "scsi-id"), (unsigned)number(&d->obj, "lun"));
    } else if (pci_get16(f, 0x0a) == 0x0200) {
        g_string_append(s, "/ethernet-phy@0");
    } else if (pci_get16(f, 0x0a) == 0x0100) {
        g_string_append(s, "/disk@0,0");
    }
    return g_string_free(s, FALSE);
}

static bool collect(Obj *o, void *opaque)
{
    GArray *list = opaque;
    Obj *target = NULL;
    const PropSpec *row = o->cls->flags & OBJ_DEVICE ? prop_find(o, "bootindex", &target) : NULL;

    if (row &&
        target == o) { /* a child's property that its proxy shows is counted once, at the child */
        g_autoptr(Json) v = prop_get(o, "bootindex", NULL);
        Entry e = { v ? json_get_int(v) : -1, NULL };

        e.path = e.index >= 0 ? path_of((Dev *)o) : NULL;
        if (e.path) {
            g_array_append_val(list, e);
        }
    }
    return true;
}

static int compare(const void *a, const void *b)
{
    const Entry *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

char *boot_order_text(Machine *m)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(Entry));
    GString *s = g_string_new(NULL);

    obj_walk(&m->obj, collect, list);
    g_array_sort(list, compare);
    for (unsigned i = 0; i < list->len; i++) {
        Entry *e = &g_array_index(list, Entry, i);

        g_string_append_printf(s, "%s%s", i ? "\n" : "", e->path);
        g_free(e->path);
    }
    if (list->len && m->boot_strict) {
        g_string_append(s, "\nHALT");
    }
    return g_string_free(s, list->len == 0);
}

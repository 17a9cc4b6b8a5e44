/* Wires: a level from an output to an input, and the lists by which qtest finds them. Test:
 * tests/unit/test-dev.c */
#include "hw/core/irq.h"

#include "object/obj.h"

/* A device's list of wires hangs as a child in the tree, so it needs no registry and dies with its
 * device. */
typedef struct IrqList {
    Obj obj;
    Irq *irqs;
    unsigned n;
    bool out;
} IrqList;

static const ObjClass irq_list_class = {
    .name = "irq",
    .size = sizeof(IrqList),
    .flags = OBJ_NOT_USER,
};

void irq_init(Irq *i, IrqFn *fn, void *opaque, unsigned n)
{
    *i = (Irq){ .fn = fn, .opaque = opaque, .n = n };
}

void irq_set(Irq *i, bool level)
{
    bool tap_only = i->tap_only;

    i->level = level;
    if (i->tap) {
        i->tap(i->tap_opaque, i->n, level);
    }
    if (i->fn && !tap_only) {
        i->fn(i->opaque, i->n, level);
    }
}

static char *list_name(const char *name, bool out)
{
    return name ? g_strdup_printf("%s[%s]", name, out ? "out" : "in")
                : g_strdup(out ? "unnamed-gpio-out" : "unnamed-gpio-in");
}

static void irq_register(Obj *dev, const char *name, Irq *irqs, unsigned n, bool out)
{
    g_autofree char *child = list_name(name, out);
    IrqList *l = (IrqList *)obj_new(&irq_list_class);

    l->irqs = irqs;
    l->n = n;
    l->out = out;
    obj_add(dev, child, &l->obj);
    obj_unref(&l->obj);
}

void irq_register_in(struct Obj *dev, const char *name, Irq *irqs, unsigned n)
{
    irq_register(dev, name, irqs, n, /* out= */ false);
}

void irq_register_out(struct Obj *dev, const char *name, Irq *irqs, unsigned n)
{
    irq_register(dev, name, irqs, n, /* out= */ true);
}

Irq *irq_find(struct Obj *dev, const char *name, bool out, unsigned *ret_n)
{
    g_autofree char *child = list_name(name, out);
    Obj *o = obj_child(dev, child);

    if (!o || o->cls != &irq_list_class) {
        return NULL;
    }
    *ret_n = ((IrqList *)o)->n;
    return ((IrqList *)o)->irqs;
}

void irq_unregister(struct Obj *dev)
{
    for (unsigned i = 0; dev->children && i < dev->children->len;) {
        Obj *o = dev->children->pdata[i];
        if (o->cls == &irq_list_class) {
            obj_detach(o);
        } else {
            i++;
        }
    }
}

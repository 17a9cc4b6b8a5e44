/* Wires: a level that goes from an output to an input. VM lock held. */
#pragma once

#include <stdbool.h>

typedef void IrqFn(void *opaque, unsigned n, bool level);
typedef struct Irq {
    IrqFn *fn; /* NULL: connected to nothing */
    void *opaque;
    unsigned n;
    bool level; /* last value sent */
    /* True: an edge sent now would merge with one that nobody has taken yet. NULL: never */
    bool (*busy)(void *opaque, unsigned n);
    IrqFn *tap; /* qtest's irq_intercept: called besides (in) or instead (out) */
    void *tap_opaque;
    bool tap_only;
} Irq;

void irq_init(Irq *i, IrqFn *fn, void *opaque, unsigned n);
/* calls fn on every call, not only on change: inputs count edges themselves */
void irq_set(Irq *i, bool level);
static inline bool irq_busy(const Irq *i)
{
    return i->busy && i->busy(i->opaque, i->n);
}
static inline void irq_pulse(Irq *i)
{
    irq_set(i, true);
    irq_set(i, false);
}
/* Named input and output lists of a device, for qtest (set_irq_in, irq_intercept_*). name NULL:
 * "unnamed-gpio-in/out". */
struct Obj;
void irq_register_in(struct Obj *dev, const char *name, Irq *irqs, unsigned n);
void irq_register_out(struct Obj *dev, const char *name, Irq *irqs, unsigned n);
/* first of the list; NULL: none */
Irq *irq_find(struct Obj *dev, const char *name, bool out, unsigned *ret_n);
void irq_unregister(struct Obj *dev);

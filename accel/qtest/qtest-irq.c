/* qtest's view of wires: irq_intercept_in, irq_intercept_out, set_irq_in. Test:
 * tests/unit/test-qtest-protocol.c */
#include "qtest-internal.h"

#include <string.h>

static Obj *find_device(QTest *q, const char *path)
{
    bool ambiguous = false;
    Obj *o = obj_resolve(q->m->root, path, &ambiguous);

    if (!o) {
        qtest_reply(q, "FAIL Unknown device");
    }
    return o;
}

/* Only changes are told, and each before the reply of the command that caused it. */
static void on_irq(void *opaque, unsigned n, bool level)
{
    QTest *q = opaque;

    if (n >= q->levels->len) {
        g_array_set_size(q->levels, n + 1);
    }
    bool *was = &g_array_index(q->levels, bool, n);
    if (*was != level) {
        *was = level;
        qtest_send_line(q, "IRQ %s %u", level ? "raise" : "lower", n);
    }
}

static void tap(QTest *q, Irq *irqs, unsigned n, bool only)
{
    for (unsigned i = 0; i < n; i++) {
        Irq *irq = &irqs[i];
        irq->tap = on_irq;
        irq->tap_opaque = q;
        irq->tap_only = only;
        g_array_append_val(q->taps, irq);
    }
}

void qtest_irq_release(QTest *q)
{
    for (unsigned i = 0; i < q->taps->len; i++) {
        Irq *irq = g_array_index(q->taps, Irq *, i);
        irq->tap = NULL;
        irq->tap_only = false;
    }
    g_array_set_size(q->taps, 0);
    g_array_set_size(q->levels, 0);
    q->tapped = NULL;
}

void qtest_irq_intercept(QTest *q, char **w, unsigned n)
{
    bool out = !strcmp(w[0], "irq_intercept_out");
    Obj *o = find_device(q, w[1]);
    const char *name = out && n > 2 ? w[2] : NULL;
    unsigned count = 0, other = 0;

    if (!o) {
        return;
    }
    if (q->tapped) {
        qtest_reply(q, q->tapped == o ? "OK" : "FAIL IRQ intercept already enabled");
        return;
    }
    Irq *irqs = irq_find(o, name, out, &count);
    if (!irqs && (name || !irq_find(o, NULL, !out, &other))) {
        qtest_reply(q, "FAIL No intercepts installed");
        return;
    }
    /* QEMU compat: a device with wires of the other direction only is accepted, and nothing is ever
     * told. */
    tap(q, irqs, count, /* only= */ out);
    q->tapped = o;
    qtest_reply(q, "OK");
}

void qtest_set_irq_in(QTest *q, char **w, unsigned n)
{
    Obj *o = find_device(q, w[1]);
    const char *name = strcmp(w[2], "unnamed-gpio-in") ? w[2] : NULL;
    uint64_t num, level;
    unsigned count = 0;

    if (!o || !qtest_number(q, w[3], &num) || !qtest_number(q, w[4], &level)) {
        return;
    }
    Irq *irqs = irq_find(o, name, /* out= */ false, &count);
    if (!irqs || num >= count) {
        qtest_reply(q, "FAIL Unknown IRQ");
        return;
    }
    irq_set(&irqs[num], level != 0);
    qtest_reply(q, "OK");
}

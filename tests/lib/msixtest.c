/* See msixtest.h. No libc: the bare-metal guest links it. */
#include "tests/lib/msixtest.h"

enum { STEPS = 20000000, NO_VECTOR = 0xffff, MC_ENABLE = 0x8000, MC_FMASK = 0x4000 };

static void entry_write(const MsixTest *t, unsigned v, unsigned word, uint32_t val)
{
    const VPort *p = t->d->port;

    p->store(p->opaque, false, t->table + v * 16 + word * 4, 4, val);
}

static bool is_pending(const MsixTest *t, unsigned v)
{
    const VPort *p = t->d->port;

    return p->load(p->opaque, false, t->pba + v / 32 * 4, 4) >> (v % 32) & 1;
}

static void control(const MsixTest *t, uint16_t bits)
{
    vd_cfg_write(t->d->port, t->d->bus, t->d->devfn, t->d->cap_msix + 2, 2, MC_ENABLE | bits);
}

static unsigned pick(MsixTest *t, unsigned n)
{
    t->random = t->random * 1664525 + 1013904223;
    return (t->random >> 8) % n;
}

/* Message m for vector v, which is masked. */
static void set_message(MsixTest *t, unsigned v, unsigned m)
{
    uint32_t addr, data;

    t->message(t, m, &addr, &data);
    entry_write(t, v, 0, addr);
    entry_write(t, v, 1, 0);
    entry_write(t, v, 2, data);
    t->current = m;
}

/* Those of the current message; there must be no other. */
static unsigned took(MsixTest *t)
{
    unsigned n[MSIXTEST_MESSAGES];

    t->took(t, n);
    for (unsigned m = 0; m < MSIXTEST_MESSAGES; m++) {
        g_assert(m == t->current || !n[m]); /* nobody asked for it */
    }
    return n[t->current];
}

static void quiet(MsixTest *t)
{
    g_assert_cmpuint(took(t), ==, 0);
}

static void wait_used(MsixTest *t)
{
    uint32_t id, len;

    for (unsigned i = 0; !vring_used(&t->d->ring[t->queue], &id, &len); i++) {
        t->d->port->step(t->d->port->opaque);
        g_assert_cmpuint(i, <, STEPS);
    }
}

/* Exactly one, here and nowhere else. */
static void wait_one(MsixTest *t)
{
    unsigned n = 0;

    for (unsigned i = 0; !(n = took(t)); i++) {
        t->d->port->step(t->d->port->opaque);
        g_assert_cmpuint(i, <, STEPS); /* lost */
    }
    g_assert_cmpuint(n, ==, 1);
    quiet(t);
}

static void wait_pending(MsixTest *t)
{
    for (unsigned i = 0; !is_pending(t, t->vector); i++) {
        t->d->port->step(t->d->port->opaque);
        g_assert_cmpuint(i, <, STEPS); /* lost */
    }
    quiet(t);
}

static void mask(MsixTest *t, bool on, bool function)
{
    if (function) {
        control(t, on ? MC_FMASK : 0);
    } else {
        entry_write(t, t->vector, 3, on);
    }
}

static void go(MsixTest *t)
{
    t->submit(t);
    vd_kick(t->d, t->queue);
}

static void op_plain(MsixTest *t)
{
    go(t);
    wait_used(t);
    wait_one(t);
}

/* Masked from the start: pending, and maybe another message by the time it is let go. */
static void op_masked(MsixTest *t, bool function)
{
    mask(t, true, function);
    go(t);
    wait_used(t);
    wait_pending(t);
    if (pick(t, 2)) {
        set_message(t, t->vector, pick(t, MSIXTEST_MESSAGES));
        quiet(t);
    }
    mask(t, false, function);
    wait_one(t);
    g_assert(!is_pending(t, t->vector));
}

/* The mask comes while the interrupt is on its way: it came before, or it is pending. */
static void op_race_mask(MsixTest *t, bool function)
{
    unsigned n = 0;
    bool pending = false;

    go(t);
    mask(t, true, function);
    wait_used(t);
    t->races++;
    for (unsigned i = 0; !n && !pending; i++) {
        n = took(t);
        pending = is_pending(t, t->vector);
        g_assert_cmpuint(i, <, STEPS); /* lost */
    }
    g_assert_cmpuint(n + pending, ==, 1);
    quiet(t);
    if (pick(t, 2)) {
        set_message(t, t->vector, pick(t, MSIXTEST_MESSAGES));
    }
    mask(t, false, function);
    if (pending) {
        t->races_pending++;
        wait_one(t);
    }
    quiet(t);
}

/* It is let go while the interrupt is on its way. */
static void op_race_unmask(MsixTest *t, bool function)
{
    mask(t, true, function);
    go(t);
    mask(t, false, function);
    wait_used(t);
    wait_one(t);
}

/* The queue gets another vector, which may be 0; or none for one request. */
static void op_move(MsixTest *t)
{
    bool none = !pick(t, 4);

    vd_write(t->d, 0x16, 2, t->queue);
    if (none) {
        vd_write(t->d, 0x1a, 2, NO_VECTOR);
        g_assert_cmpuint(vd_read(t->d, 0x1a, 2), ==, NO_VECTOR);
        go(t);
        wait_used(t);
        quiet(t);
    }
    entry_write(t, t->vector, 3, 1);
    t->vector = pick(t, t->vectors);
    vd_write(t->d, 0x1a, 2, t->vector);
    g_assert_cmpuint(vd_read(t->d, 0x1a, 2), ==, t->vector);
    set_message(t, t->vector, pick(t, MSIXTEST_MESSAGES));
    entry_write(t, t->vector, 3, 0);
    quiet(t);
    t->moves++;
}

void msixtest_init(MsixTest *t)
{
    VDriver *d = t->d;
    uint32_t table = vd_cfg_read(d->port, d->bus, d->devfn, d->cap_msix + 4, 4);
    uint32_t pba = vd_cfg_read(d->port, d->bus, d->devfn, d->cap_msix + 8, 4);

    t->table = d->bar[table & 7] + (table & ~7u);
    t->pba = d->bar[pba & 7] + (pba & ~7u);
    t->random = t->random ? t->random : 1;
    for (unsigned v = 0; v < t->vectors; v++) {
        entry_write(t, v, 3, 1);
    }
    t->vector = 0;
    vd_write(d, 0x16, 2, t->queue);
    vd_write(d, 0x1a, 2, 0);
    set_message(t, 0, 0);
    control(t, 0);
    entry_write(t, 0, 3, 0);
}

void msixtest_step(MsixTest *t)
{
    unsigned op = pick(t, 16);
    bool function = !pick(t, 4);

    if (op < 3) {
        op_plain(t);
    } else if (op < 6) {
        op_masked(t, function);
    } else if (op < 11) {
        op_race_mask(t, function);
    } else if (op < 14) {
        op_race_unmask(t, function);
    } else {
        op_move(t);
    }
}

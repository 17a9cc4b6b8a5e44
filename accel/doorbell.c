/*
 * Doorbells (ioeventfd) without KVM: a sorted, immutable table that vCPU threads search without a
 * lock. Test: tests/unit/test-accel.c
 */
#include "accel/accel.h"
#include "util/fd.h"
#include "util/rcu.h"

#include <stdatomic.h>
#include <string.h>

struct DoorbellTable {
    unsigned n;
    Doorbell bell[];
};

static int compare(const AddrSpace *as, uint64_t at, const Doorbell *d)
{
    if (as != d->as) {
        return (uintptr_t)as < (uintptr_t)d->as ? -1 : 1;
    }
    return at < d->at ? -1 : at > d->at;
}

/* First doorbell that is not before (as, at). */
static unsigned lower_bound(const DoorbellTable *t, const AddrSpace *as, uint64_t at)
{
    unsigned lo = 0, hi = t->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (compare(as, at, &t->bell[mid]) > 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void publish(Accel *a, DoorbellTable *t)
{
    DoorbellTable *old = atomic_exchange(&a->doorbells, t);

    if (old) {
        rcu_defer(g_free, old);
        accel_nudge(a);
    }
}

static DoorbellTable *table_new(unsigned n)
{
    DoorbellTable *t = g_malloc0(sizeof *t + n * sizeof t->bell[0]);

    t->n = n;
    return t;
}

bool accel_ioeventfd_add(Accel *a, const Doorbell *d)
{
    if (a->cls->ioeventfd) {
        return a->cls->ioeventfd(a, d, /* add= */ true);
    }
    if (!a->cls->doorbells) {
        return false;
    }
    const DoorbellTable *old = atomic_load(&a->doorbells);
    unsigned n = old ? old->n : 0, at = old ? lower_bound(old, d->as, d->at) : 0;
    DoorbellTable *t = table_new(n + 1);

    if (old) {
        memcpy(t->bell, old->bell, at * sizeof *d);
        memcpy(t->bell + at + 1, old->bell + at, (n - at) * sizeof *d);
    }
    t->bell[at] = *d;
    publish(a, t);
    return true;
}

static bool same(const Doorbell *x, const Doorbell *y)
{
    return x->as == y->as && x->at == y->at && x->size == y->size && x->has_match == y->has_match &&
           (!x->has_match || x->match == y->match) && x->eventfd == y->eventfd;
}

void accel_ioeventfd_del(Accel *a, const Doorbell *d)
{
    const DoorbellTable *old = atomic_load(&a->doorbells);
    unsigned i = 0;

    if (a->cls->ioeventfd) {
        a->cls->ioeventfd(a, d, /* add= */ false);
        return;
    }

    while (old && i < old->n && !same(&old->bell[i], d)) {
        i++;
    }
    if (!old || i == old->n) {
        return; /* it was refused when it was added */
    }
    DoorbellTable *t = table_new(old->n - 1);
    memcpy(t->bell, old->bell, i * sizeof *d);
    memcpy(t->bell + i, old->bell + i + 1, (t->n - i) * sizeof *d);
    publish(a, t);
}

bool accel_doorbell_ring(Accel *a, const AddrSpace *as, uint64_t at, unsigned size, uint64_t val)
{
    const DoorbellTable *t = atomic_load_explicit(&a->doorbells, memory_order_acquire);

    if (!t || !t->n) {
        return false;
    }
    uint64_t mask = size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
    for (unsigned i = lower_bound(t, as, at); i < t->n && !compare(as, at, &t->bell[i]); i++) {
        const Doorbell *d = &t->bell[i];
        if ((!d->size || d->size == size) && (!d->has_match || d->match == (val & mask))) {
            /* Pairs with the exchange in kick_readable(): who hears it later sees our ring. */
            if (!d->rung || !atomic_exchange(d->rung, true)) {
                fd_signal(d->eventfd);
            }
            return true;
        }
    }
    return false;
}

void accel_doorbells_fini(Accel *a)
{
    publish(a, NULL);
}

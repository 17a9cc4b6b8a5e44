/* Leaky buckets (the algorithm that QEMU's docs/throttle.txt tells of): a request that goes is
 * poured into its buckets, which leak at the allowed rate; who finds one overflowing waits. Reads
 * and writes of a group's members take turns. Tested by tests/system/test_block.py. */
#include "throttle.h"

#include "block-internal.h"

#include <string.h>

struct ThrottleGroup {
    char *name;
    unsigned refs; /* main */
    GMutex lock;   /* all that follows */
    ThrottleLimits lim;
    double level[LIMITS], burst[LIMITS]; /* units in the buckets */
    int64_t leaked_ns;
    GPtrArray *members;
    unsigned turn[2];
    Timer timer[2]; /* main's */
};

/* Main. */
static GPtrArray *groups;

static int64_t now_ns(void)
{
    return clock_ns(clock_is_qtest() ? CLOCK_KIND_VIRTUAL : CLOCK_KIND_REALTIME);
}

/* ---- buckets ---- */

static void leak(ThrottleGroup *g)
{
    int64_t now = now_ns();
    double dt = (double)(now - g->leaked_ns) / 1e9;

    g->leaked_ns = now;
    for (unsigned i = 0; i < LIMITS && dt > 0; i++) {
        g->level[i] = MAX(g->level[i] - (double)g->lim.avg[i] * dt, 0);
        g->burst[i] = MAX(g->burst[i] - (double)g->lim.max[i] * dt, 0);
    }
}

/* Does bucket i count requests of this direction? */
static bool counts(unsigned i, bool write)
{
    return i % 3 == 0 || (i % 3 == 2) == write;
}

/* Seconds until one may go. */
static double wait_of(const ThrottleGroup *g, bool write)
{
    double wait = 0;

    for (unsigned i = 0; i < LIMITS; i++) {
        double avg = (double)g->lim.avg[i], max = (double)g->lim.max[i];
        double length = (double)g->lim.length[i];

        if (g->lim.avg[i] && counts(i, write)) {
            /* Without bursts a tenth of a second fits. */
            double room = max > 0 ? max * length : avg / 10, over = g->level[i] - room;

            wait = MAX(wait, over > 0 ? over / avg : 0);
            if (max > 0 && length > 1) { /* nor may a burst be faster than its rate */
                over = g->burst[i] - max / 10;
                wait = MAX(wait, over > 0 ? over / max : 0);
            }
        }
    }
    return wait;
}

static void pour(ThrottleGroup *g, bool write, uint64_t bytes)
{
    uint64_t size = (uint64_t)g->lim.op_size, ops = 1;

    if (size && bytes > size) {
        ops = (bytes + size - 1) / size;
    }
    for (unsigned i = 0; i < LIMITS; i++) {
        if (counts(i, write)) {
            double units = (double)(i < LIMIT_OPS ? bytes : ops);

            g->level[i] += units;
            g->burst[i] += units;
        }
    }
}

/* ---- who waits ---- */

static void enqueue(ThrottleMember *m, struct BlkWait *w)
{
    w->next = NULL;
    w->queued = true;
    *(m->first[w->write] ? &m->last[w->write]->next : &m->first[w->write]) = w;
    m->last[w->write] = w;
}

static struct BlkWait *dequeue(ThrottleMember *m, bool write)
{
    struct BlkWait *w = m->first[write];

    if (w) {
        m->first[write] = w->next;
        w->queued = false;
        w->next = NULL;
    }
    return w;
}

static void go_there(void *opaque)
{
    struct BlkWait *w = opaque;
    w->go(w);
}

/* Without the lock. */
static void let_go(struct BlkWait *list)
{
    for (struct BlkWait *next; list; list = next) {
        next = list->next;
        if (list->loop) {
            loop_post(list->loop, go_there, list);
        } else {
            list->go(list);
        }
    }
}

/* The next member with somebody who waits, after the last one served. */
static ThrottleMember *next_member(ThrottleGroup *g, bool write)
{
    for (unsigned i = 0; i < g->members->len; i++) {
        unsigned at = (g->turn[write] + 1 + i) % g->members->len;
        ThrottleMember *m = g_ptr_array_index(g->members, at);

        if (m->first[write]) {
            g->turn[write] = at;
            return m;
        }
    }
    return NULL;
}

/* Main: all that may go goes, the timer waits for the next. */
static void serve(ThrottleGroup *g, bool write)
{
    struct BlkWait *list = NULL, **end = &list;
    double wait = 0;

    g_mutex_lock(&g->lock);
    leak(g);
    bool more = false;

    for (unsigned i = 0; i < g->members->len && !more; i++) {
        more = ((ThrottleMember *)g_ptr_array_index(g->members, i))->first[write] != NULL;
    }
    while (more && !(wait = wait_of(g, write))) {
        ThrottleMember *m = next_member(g, write);

        if (!m) {
            more = false;
            break;
        }
        struct BlkWait *w = dequeue(m, write);

        pour(g, write, w->bytes);
        *end = w;
        end = &w->next;
    }
    g_mutex_unlock(&g->lock);
    if (more) {
        timer_mod(&g->timer[write], now_ns() + MAX((int64_t)(wait * 1e9), 1000));
    } else {
        timer_del(&g->timer[write]);
    }
    let_go(list);
}

static void serve_reads(void *opaque)
{
    serve(opaque, false);
}

static void serve_writes(void *opaque)
{
    serve(opaque, true);
}

/* A group that somebody in another loop waits in. It may have gone. */
static void serve_posted(void *opaque)
{
    for (unsigned i = 0; groups && i < groups->len; i++) {
        if (groups->pdata[i] == opaque) {
            serve(opaque, false);
            serve(opaque, true);
        }
    }
}

bool throttle_enter(ThrottleMember *m, struct BlkWait *w)
{
    ThrottleGroup *g = m->g;
    bool go = true;

    w->member = m;
    g_mutex_lock(&g->lock);
    leak(g);
    if (!m->bypass && (m->first[w->write] || wait_of(g, w->write) > 0)) {
        enqueue(m, w);
        go = false;
    } else {
        pour(g, w->write, w->bytes);
    }
    g_mutex_unlock(&g->lock);
    if (go) {
        return true;
    }
    if (vm_lock_held()) {
        serve(g, w->write);
    } else {
        loop_post(loop_main(), serve_posted, g);
    }
    return false;
}

bool throttle_cancel(struct BlkWait *w)
{
    ThrottleMember *m = w->member;
    bool found = false;

    g_mutex_lock(&m->g->lock);
    if (w->queued) {
        struct BlkWait **p = &m->first[w->write], *prev = NULL;

        while (*p != w) {
            prev = *p;
            p = &(*p)->next;
        }
        *p = w->next;
        if (m->last[w->write] == w) {
            m->last[w->write] = prev;
        }
        w->queued = false;
        found = true;
    }
    g_mutex_unlock(&m->g->lock);
    return found;
}

void throttle_bypass(ThrottleMember *m, bool on)
{
    struct BlkWait *list[2] = { NULL, NULL };

    if (!m->g) {
        return;
    }
    g_mutex_lock(&m->g->lock);
    m->bypass += on ? 1 : -1u;
    for (unsigned dir = 0; dir < 2 && on; dir++) {
        list[dir] = m->first[dir];
        for (struct BlkWait *w = list[dir]; w; w = w->next) {
            w->queued = false;
        }
        m->first[dir] = NULL;
    }
    g_mutex_unlock(&m->g->lock);
    let_go(list[0]);
    let_go(list[1]);
}

/* ---- groups ---- */

ThrottleGroup *throttle_group_get(const char *name, bool make)
{
    for (unsigned i = 0; groups && i < groups->len; i++) {
        ThrottleGroup *g = g_ptr_array_index(groups, i);

        if (!strcmp(g->name, name)) {
            g->refs++;
            return g;
        }
    }
    if (!make) {
        return NULL;
    }
    ThrottleGroup *g = g_new0(ThrottleGroup, 1);

    g->name = g_strdup(name);
    g->refs = 1;
    g->members = g_ptr_array_new();
    g->leaked_ns = now_ns();
    g_mutex_init(&g->lock);
    throttle_limits_init(&g->lim);
    ClockKind k = clock_is_qtest() ? CLOCK_KIND_VIRTUAL : CLOCK_KIND_REALTIME;

    timer_init(&g->timer[0], loop_main(), k, serve_reads, g);
    timer_init(&g->timer[1], loop_main(), k, serve_writes, g);
    if (!groups) {
        groups = g_ptr_array_new();
    }
    g_ptr_array_add(groups, g);
    return g;
}

void throttle_group_put(ThrottleGroup *g)
{
    if (!g || --g->refs) {
        return;
    }
    g_ptr_array_remove(groups, g);
    if (!groups->len) {
        g_clear_pointer(&groups, g_ptr_array_unref);
    }
    timer_del(&g->timer[0]);
    timer_del(&g->timer[1]);
    g_ptr_array_unref(g->members);
    g_mutex_clear(&g->lock);
    g_free(g->name);
    g_free(g);
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

void throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l)
{
    g_mutex_lock(&g->lock);
    g->lim = *l;
    memset(g->level, 0, sizeof g->level);
    memset(g->burst, 0, sizeof g->burst);
    g->leaked_ns = now_ns();
    g_mutex_unlock(&g->lock);
    serve(g, false);
    serve(g, true);
}

ThrottleLimits throttle_group_limits(ThrottleGroup *g)
{
    g_mutex_lock(&g->lock);
    ThrottleLimits l = g->lim;

    g_mutex_unlock(&g->lock);
    return l;
}

void throttle_join(ThrottleMember *m, ThrottleGroup *g)
{
    g_mutex_lock(&g->lock);
    g_ptr_array_add(g->members, m);
    g_mutex_unlock(&g->lock);
    __atomic_store_n(&m->g, g, __ATOMIC_RELEASE); /* requests may be coming in another loop */
}

void throttle_leave(ThrottleMember *m)
{
    ThrottleGroup *g = m->g;

    if (!g) {
        return;
    }
    g_mutex_lock(&g->lock);
    g_assert(!m->first[0] && !m->first[1]);
    g_ptr_array_remove(g->members, m);
    g_mutex_unlock(&g->lock);
    m->g = NULL;
    throttle_group_put(g);
}

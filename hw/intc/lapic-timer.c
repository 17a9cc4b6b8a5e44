/*
 * The local APIC's timer (SDM vol. 3, 11.5.4): one-shot, periodic and TSC deadline.
 *
 * Counts are computed from the clock when they are read. Expiry comes from a timer of the main
 * loop. A vCPU that arms it without the VM lock posts a call, but only when the new expiry is
 * earlier than what the loop's timer is set to: a timer that fires too early looks at what is
 * wanted and sleeps on. So the usual "push the deadline away" costs nothing. Covered by
 * tests/unit/test-lapic.c.
 */
#include "lapic-internal.h"

/* A guest may ask for a period of one nanosecond; the main loop is not its slave. */
enum { PERIOD_MIN_NS = 50000 };

static int64_t timer_period(const LapicTimer *t)
{
    return (int64_t)((uint64_t)t->initial << t->shift);
}

/* Lock held. */
static uint32_t timer_count(const LapicTimer *t, int64_t now)
{
    uint64_t gone;

    if (!t->running || !t->initial || now < t->start) {
        return t->running ? t->initial : 0;
    }
    gone = (uint64_t)(now - t->start) >> t->shift;
    if (t->mode == TIMER_PERIODIC) {
        return t->initial - (uint32_t)(gone % t->initial);
    }
    return gone >= t->initial ? 0 : t->initial - (uint32_t)gone;
}

/* Lock held. Ticks of the TSC from now in nanoseconds, at most an hour: then it is looked at again.
 */
static int64_t timer_deadline_ns(const LapicTimer *t, int64_t now)
{
    const uint64_t hz = clock_tsc_hz();
    int64_t ticks = (int64_t)(t->deadline - (clock_tsc() + (uint64_t)t->tsc_offset));

    if (ticks <= 0) {
        return now;
    }
    if ((uint64_t)ticks / hz >= 3600) {
        return now + 3600 * G_GINT64_CONSTANT(1000000000);
    }
    /* Rounded up: never before the deadline. */
    return now + (int64_t)(((unsigned __int128)ticks * 1000000000u + hz - 1) / hz);
}

static void timer_arm_posted(void *opaque)
{
    Lapic *l = opaque;
    LapicTimer *t = &l->tm;
    int64_t at;

    g_mutex_lock(&t->lock);
    t->posted = false;
    at = t->want;
    t->armed = at;
    g_mutex_unlock(&t->lock);
    if (at == NEVER) {
        timer_del(&t->timer);
    } else {
        timer_mod(&t->timer, at);
    }
    obj_unref(&l->dev.obj);
}

/* Lock held; leaves it. want was set. */
static void timer_arm_unlock(Lapic *l)
{
    LapicTimer *t = &l->tm;
    bool post = t->want < t->armed && !t->posted;

    t->posted |= post;
    g_mutex_unlock(&t->lock);
    if (!post) {
        return;
    }
    obj_ref(&l->dev.obj);
    if (vm_lock_held()) {
        timer_arm_posted(l);
    } else {
        loop_post(loop_main(), timer_arm_posted, l);
    }
}

/* Lock held. Sets want from the mode's registers. */
static void timer_plan(LapicTimer *t, int64_t now)
{
    t->want = NEVER;
    if (t->mode == TIMER_DEADLINE) {
        if (t->deadline) {
            t->want = timer_deadline_ns(t, now);
        }
    } else if (t->running && t->initial && t->mode == TIMER_ONESHOT) {
        t->want = t->start + timer_period(t);
    } else if (t->running && t->initial && t->mode == TIMER_PERIODIC) {
        int64_t period = timer_period(t);

        t->want = t->start + ((now - t->start) / period + 1) * period;
        t->want = MAX(t->want, now + (period < PERIOD_MIN_NS ? PERIOD_MIN_NS : 0));
    }
}

/* Main loop. */
static void timer_fired(void *opaque)
{
    Lapic *l = opaque;
    LapicTimer *t = &l->tm;
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    bool fire = false;

    g_mutex_lock(&t->lock);
    t->armed = NEVER;
    if (t->mode == TIMER_DEADLINE && t->deadline) {
        t->want = timer_deadline_ns(t, now);
    }
    if (t->want <= now) {
        fire = true;
        if (t->mode == TIMER_DEADLINE) {
            t->deadline = 0;
        } else if (t->mode == TIMER_ONESHOT) {
            t->running = false;
        }
        timer_plan(t, now);
    }
    timer_arm_unlock(l);
    if (fire) {
        lapic_local(l, LVT_TIMER);
    }
}

void lapic_timer_lvt(Lapic *l, uint32_t lvt)
{
    LapicTimer *t = &l->tm;
    unsigned mode = LVT_TIMER_MODE(lvt);
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);

    g_mutex_lock(&t->lock);
    if (mode == t->mode) {
        g_mutex_unlock(&t->lock);
        return;
    }
    if (mode == TIMER_DEADLINE || t->mode == TIMER_DEADLINE) {
        t->running = false; /* SDM vol. 3, 11.5.4.1: entering or leaving disarms */
        t->initial = 0;
        t->deadline = 0;
    }
    if (t->running && t->mode == TIMER_PERIODIC) { /* the rest of this period is the one shot */
        t->start += (now - t->start) / MAX(timer_period(t), 1) * timer_period(t);
    }
    t->mode = mode;
    timer_plan(t, now);
    timer_arm_unlock(l);
}

void lapic_timer_set_initial(Lapic *l, uint32_t val)
{
    LapicTimer *t = &l->tm;
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);

    g_mutex_lock(&t->lock);
    if (t->mode == TIMER_DEADLINE) {
        g_mutex_unlock(&t->lock);
        return;
    }
    t->initial = val;
    t->start = now;
    t->running = val != 0;
    timer_plan(t, now);
    timer_arm_unlock(l);
}

uint32_t lapic_timer_initial(Lapic *l)
{
    uint32_t v;

    g_mutex_lock(&l->tm.lock);
    v = l->tm.initial;
    g_mutex_unlock(&l->tm.lock);
    return v;
}

uint32_t lapic_timer_current(Lapic *l)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    uint32_t v;

    g_mutex_lock(&l->tm.lock);
    v = l->tm.mode == TIMER_DEADLINE ? 0 : timer_count(&l->tm, now);
    g_mutex_unlock(&l->tm.lock);
    return v;
}

void lapic_timer_set_divider(Lapic *l, uint32_t dcr)
{
    LapicTimer *t = &l->tm;
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    uint32_t left;

    g_mutex_lock(&t->lock);
    left = timer_count(t, now);
    t->shift = (((dcr & 3) | (dcr >> 1 & 4)) + 1) & 7; /* 0: by 2 … 6: by 128, 7: by 1 */
    if (t->running) {                                  /* what is left runs on at the new speed */
        t->start = now - (int64_t)((uint64_t)(t->initial - left) << t->shift);
    }
    timer_plan(t, now);
    timer_arm_unlock(l);
}

uint32_t lapic_timer_divider(Lapic *l)
{
    uint32_t v;

    g_mutex_lock(&l->tm.lock);
    v = (l->tm.shift - 1) & 7;
    g_mutex_unlock(&l->tm.lock);
    return (v & 3) | (v & 4) << 1;
}

void lapic_timer_set_deadline(Lapic *l, uint64_t tsc)
{
    LapicTimer *t = &l->tm;

    g_mutex_lock(&t->lock);
    if (t->mode == TIMER_DEADLINE) { /* SDM vol. 3, 11.5.4.1: ignored in the other modes */
        t->deadline = tsc;
        timer_plan(t, clock_ns(CLOCK_KIND_VIRTUAL));
    }
    timer_arm_unlock(l);
}

uint64_t lapic_timer_deadline(Lapic *l)
{
    uint64_t v;

    g_mutex_lock(&l->tm.lock);
    v = l->tm.deadline;
    g_mutex_unlock(&l->tm.lock);
    return v;
}

void lapic_set_tsc_offset(Lapic *l, int64_t ticks)
{
    LapicTimer *t = &l->tm;

    g_mutex_lock(&t->lock);
    t->tsc_offset = ticks;
    if (t->mode == TIMER_DEADLINE) {
        timer_plan(t, clock_ns(CLOCK_KIND_VIRTUAL));
    }
    timer_arm_unlock(l);
}

void lapic_timer_reset(Lapic *l)
{
    LapicTimer *t = &l->tm;

    g_mutex_lock(&t->lock);
    t->mode = TIMER_ONESHOT;
    t->shift = 1;
    t->initial = 0;
    t->running = false;
    t->deadline = 0;
    t->want = NEVER;
    g_mutex_unlock(&t->lock);
}

void lapic_timer_init(Lapic *l)
{
    g_mutex_init(&l->tm.lock);
    l->tm.armed = NEVER;
    timer_init(&l->tm.timer, loop_main(), CLOCK_KIND_VIRTUAL, timer_fired, l);
    lapic_timer_reset(l);
}

void lapic_timer_fini(Lapic *l)
{
    timer_del(&l->tm.timer);
    g_mutex_clear(&l->tm.lock);
}

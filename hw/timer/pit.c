/*
 * Intel 8254 programmable interval timer (data sheet 231164-005) and port 0x61 of the PC/AT.
 *
 * Nothing counts here: a channel keeps what it was loaded with and when, and count and output
 * follow from the clock at the moment they are read. Only channel 0 has a timer, which carries the
 * edges of its output to IRQ 0.
 */
#include "hw/timer/pit.h"

#include "util/timer.h"

typedef struct PitChannel {
    uint8_t mode; /* 0..5 */
    uint8_t rw;   /* 1: low byte, 2: high byte, 3: low then high */
    bool bcd;
    bool gate;
    bool null_count;     /* a mode was written and no count yet */
    bool loaded;         /* counting started: start and count are valid */
    bool stopped;        /* the gate is low: `held` is the count */
    uint32_t count;      /* 1..0x10000 (10000 BCD) */
    uint32_t next_count; /* modes 2 and 3: taken over at the end of the period; 0: none */
    uint32_t held;
    int64_t start; /* virtual ns at which count was in the counter */
    uint8_t write_low;
    bool write_high_next, read_high_next;
    uint16_t latch;
    uint8_t latched; /* bytes of latch still to be read */
    uint8_t status;
    bool status_latched;
} PitChannel;

struct Pit {
    Dev dev;
    Region io;
    PitChannel ch[3];
    Irq *irq0;
    bool irq_level;
    int64_t due;   /* when timer was to expire */
    uint64_t owed; /* periods of channel 0 whose edge is still to be sent, by again */
    Timer timer, again;
    struct Pcspk *spk;
};

typedef struct Pcspk {
    Dev dev;
    Region io;
    Pit *pit;
    uint8_t data; /* bits 0..3 as written */
    bool refresh;
} Pcspk;

enum { PERIOD_MIN_NS = 50000, CATCH_UP_NS = 200000, OWED_MAX = 250 };

static int64_t ticks_to_ns(uint64_t ticks)
{
    return (int64_t)(((unsigned __int128)ticks * 1000000000u + PIT_HZ - 1) / PIT_HZ);
}

static uint64_t ns_to_ticks(int64_t ns)
{
    return ns <= 0 ? 0 : (uint64_t)((unsigned __int128)(uint64_t)ns * PIT_HZ / 1000000000u);
}

static bool pit_periodic(const PitChannel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Ticks gone since the count in force was loaded. */
static uint64_t pit_gone(const PitChannel *c, int64_t now)
{
    return ns_to_ticks(now - c->start);
}

/* Moves start to the current period and takes over a new count at its end. */
static void pit_roll(PitChannel *c, int64_t now)
{
    uint64_t gone;

    if (!pit_periodic(c) || !c->loaded || c->stopped || !c->next_count) {
        return;
    }
    gone = pit_gone(c, now);
    if (gone >= c->count) {
        /* The new count is loaded at the end of the period it was written in. */
        c->start += ticks_to_ns(c->count);
        c->count = c->next_count;
        c->next_count = 0;
    }
}

/* The counter's value: counts down from count; below zero it wraps in modes 0, 1, 4 and 5. */
static uint32_t pit_value(const PitChannel *c, int64_t now)
{
    uint32_t wrap = c->bcd ? 10000 : 0x10000;
    uint64_t gone;

    if (c->stopped) {
        return c->held;
    }
    if (!c->loaded) {
        return c->count % wrap;
    }
    gone = pit_gone(c, now);
    switch (c->mode) {
    case 2:
        return (c->count - (uint32_t)(gone % c->count)) % wrap;
    case 3: /* counts by two, twice a period */
        return (c->count - (uint32_t)(2 * gone % c->count)) % wrap & ~1u;
    default:
        return (uint32_t)((c->count + wrap - gone % wrap) % wrap);
    }
}

static uint16_t pit_encode(const PitChannel *c, uint32_t v)
{
    if (!c->bcd) {
        return (uint16_t)v;
    }
    return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static bool pit_channel_out(const PitChannel *c, int64_t now)
{
    uint64_t gone;

    if (!c->loaded || c->stopped) {
        /* Before a count: low in mode 0, high elsewhere. Gate low: modes 2 and 3 go high, mode 0
         * keeps what it shows. */
        return c->mode != 0;
    }
    gone = pit_gone(c, now);
    switch (c->mode) {
    case 0:
    case 1:
        return gone >= c->count;
    case 2: /* low for the last clock of a period */
        return gone % c->count != c->count - 1;
    case 3: /* odd counts: one clock longer high */
        return gone % c->count < (c->count + 1) / 2;
    default: /* strobe: low for one clock after the count has run out */
        return gone != c->count;
    }
}

bool pit_out(const Pit *p, unsigned n, int64_t now)
{
    PitChannel c = p->ch[n];

    pit_roll(&c, now);
    return pit_channel_out(&c, now);
}

uint16_t pit_count(const Pit *p, unsigned n, int64_t now)
{
    PitChannel c = p->ch[n];

    pit_roll(&c, now);
    return pit_encode(&c, pit_value(&c, now));
}

/* Virtual ns of the output's next rising edge after now; -1: none. */
static int64_t pit_next_rise(const PitChannel *c, int64_t now)
{
    uint64_t gone, at = 0;

    if (!c->loaded || c->stopped) {
        return -1;
    }
    gone = pit_gone(c, now);
    if (pit_periodic(c)) {
        at = (gone / c->count + 1) * c->count;
    } else if (c->mode <= 1) {
        at = gone < c->count ? c->count : 0;
    } else if (gone <= c->count) { /* the strobe is low for one clock */
        at = c->count + 1;
    }
    return at ? c->start + ticks_to_ns(at) : -1;
}

static void pit_set_irq(Pit *p, bool level)
{
    if (level != p->irq_level) {
        p->irq_level = level;
        if (p->irq0) {
            irq_set(p->irq0, level);
        }
    }
}

/*
 * IRQ 0 follows OUT0. The PIC takes edges, and a low pulse of one clock is over before a timer
 * could show it: in the modes that repeat or strobe the wire rests high and pit_timer() pulses it
 * at each rising edge.
 */
static void pit_update_irq(Pit *p, int64_t now)
{
    PitChannel *c = &p->ch[0];
    int64_t next;

    pit_roll(c, now);
    pit_set_irq(p, c->mode > 1 || pit_channel_out(c, now));
    next = pit_next_rise(c, now);
    if (next < 0) {
        timer_del(&p->timer);
        return;
    }
    if (pit_periodic(c) && ticks_to_ns(c->count) < PERIOD_MIN_NS) {
        next = MAX(next, now + PERIOD_MIN_NS); /* the guest does not own the main loop */
    }
    p->due = next;
    timer_mod(&p->timer, next);
}

static bool pit_owes(const Pit *p)
{
    const PitChannel *c = &p->ch[0];

    return pit_periodic(c) && c->loaded && ticks_to_ns(c->count) >= 2 * CATCH_UP_NS;
}

/*
 * The guest counts the edges of a periodic channel. Where the host ran us too late, or the vCPU so
 * little that an edge would merge with the last one, they are sent as soon as they are taken.
 */
static void pit_edge(Pit *p, int64_t now)
{
    if (p->irq0 && irq_busy(p->irq0)) {
        p->owed++;
    } else {
        pit_set_irq(p, false);
        pit_set_irq(p, true);
    }
    p->owed = MIN(p->owed, OWED_MAX);
    if (p->owed) {
        timer_mod(&p->again, now + CATCH_UP_NS);
    }
}

static void pit_timer(void *opaque)
{
    Pit *p = opaque;

    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    int64_t period = ticks_to_ns(p->ch[0].count);

    if (pit_owes(p)) {
        p->owed += now > p->due ? (uint64_t)((now - p->due) / period) : 0;
        pit_edge(p, now);
    } else if (p->ch[0].mode > 1) {
        pit_set_irq(p, false);
    }
    pit_update_irq(p, now);
}

static void pit_again(void *opaque)
{
    Pit *p = opaque;

    if (p->owed && pit_owes(p)) {
        p->owed--;
        pit_edge(p, clock_ns(CLOCK_KIND_VIRTUAL));
    }
}

/* What was owed belongs to the setting before. */
static void pit_forget(Pit *p)
{
    p->owed = 0;
    timer_del(&p->again);
}

static void pit_load(Pit *p, PitChannel *c, uint16_t raw)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    uint32_t n = raw;

    if (c->bcd) {
        n = (raw >> 12) * 1000u + (raw >> 8 & 15) * 100u + (raw >> 4 & 15) * 10u + (raw & 15);
        n %= 10000;
    }
    if (n == 0) {
        n = c->bcd ? 10000 : 0x10000;
    }
    if (pit_periodic(c) && n == 1) {
        n = 2; /* a count of 1 is illegal there; keep the period finite */
    }
    c->null_count = false;
    if (pit_periodic(c) && c->loaded && !c->stopped) {
        pit_roll(c, now);
        c->next_count = n;
    } else if (c->mode == 1 || c->mode == 5) {
        c->count = n; /* a rising gate starts it */
        c->loaded = false;
    } else {
        c->count = c->held = n;
        c->start = now;
        c->loaded = true;
        c->stopped = !c->gate;
    }
    if (c == &p->ch[0]) {
        pit_update_irq(p, now);
    }
}

static void pit_latch_count(PitChannel *c, int64_t now)
{
    if (!c->latched) {
        pit_roll(c, now);
        c->latch = pit_encode(c, pit_value(c, now));
        c->latched = c->rw == 3 ? 2 : 1;
        if (c->rw == 2) {
            c->latch >>= 8;
        }
    }
}

static void pit_latch_status(PitChannel *c, int64_t now)
{
    if (!c->status_latched) {
        pit_roll(c, now);
        c->status = (uint8_t)((unsigned)pit_channel_out(c, now) << 7 |
                              (unsigned)c->null_count << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
        c->status_latched = true;
    }
}

static void pit_set_mode(Pit *p, PitChannel *c, uint8_t val)
{
    uint8_t mode = val >> 1 & 7;

    c->rw = val >> 4 & 3;
    c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
    c->bcd = val & 1;
    c->loaded = c->stopped = false;
    c->next_count = 0;
    c->null_count = true;
    c->write_high_next = c->read_high_next = false;
    c->latched = 0;
    c->status_latched = false;
    if (c == &p->ch[0]) {
        pit_forget(p);
        pit_update_irq(p, clock_ns(CLOCK_KIND_VIRTUAL));
    }
}

static void pit_control(Pit *p, uint8_t val)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    unsigned sel = val >> 6;

    if (sel == 3) { /* read-back: one time for all channels */
        for (unsigned i = 0; i < 3; i++) {
            if (!(val >> (i + 1) & 1)) {
                continue;
            }
            if (!(val & 0x20)) {
                pit_latch_count(&p->ch[i], now);
            }
            if (!(val & 0x10)) {
                pit_latch_status(&p->ch[i], now);
            }
        }
    } else if (!(val & 0x30)) {
        pit_latch_count(&p->ch[sel], now);
    } else {
        pit_set_mode(p, &p->ch[sel], val);
    }
}

static void pit_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Pit *p = opaque;
    PitChannel *c = &p->ch[off % 3];

    if (off == 3) {
        pit_control(p, (uint8_t)val);
        return;
    }
    switch (c->rw) {
    case 2:
        pit_load(p, c, (uint16_t)(val << 8));
        break;
    case 3:
        if (!c->write_high_next) {
            c->write_low = (uint8_t)val;
            if (c->mode == 0) { /* the first byte stops the count */
                c->loaded = false;
                if (c == &p->ch[0]) {
                    pit_update_irq(p, clock_ns(CLOCK_KIND_VIRTUAL));
                }
            }
        } else {
            pit_load(p, c, (uint16_t)(c->write_low | (val & 0xff) << 8));
        }
        c->write_high_next = !c->write_high_next;
        break;
    default:
        pit_load(p, c, (uint8_t)val);
        break;
    }
}

static uint64_t pit_read(void *opaque, uint64_t off, unsigned size)
{
    Pit *p = opaque;
    PitChannel *c = &p->ch[off % 3];
    uint8_t byte;
    uint16_t v;

    if (off == 3) {
        return 0;
    }
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latched) {
        byte = (uint8_t)c->latch;
        c->latch >>= 8;
        c->latched--;
        return byte;
    }
    v = pit_count(p, (unsigned)off, clock_ns(CLOCK_KIND_VIRTUAL));
    if (c->rw == 3) {
        c->read_high_next = !c->read_high_next;
        return c->read_high_next ? v & 0xff : v >> 8;
    }
    return c->rw == 2 ? v >> 8 : v & 0xff;
}

static const RegionOps pit_ops = {
    .read = pit_read, .write = pit_write, .min_access = 1, .max_access = 1
};

/* Gate effects: data sheet, figure 21. Channels 0 and 1 have theirs tied high. */
static void pit_set_gate(Pit *p, unsigned n, bool gate)
{
    PitChannel *c = &p->ch[n];
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);

    if (gate == c->gate) {
        return;
    }
    pit_roll(c, now);
    switch (c->mode) {
    case 0:
    case 4: /* level: pauses */
        if (!gate && c->loaded) {
            c->held = pit_value(c, now);
            /* A count that ran out stays out. */
            if (pit_gone(c, now) < c->count) {
                c->stopped = true;
            }
        } else if (gate && c->stopped) {
            c->start = now - ticks_to_ns(c->count - MIN(c->held, c->count));
            c->stopped = false;
        }
        break;
    case 1:
    case 5: /* a rising edge starts over */
        if (gate && !c->null_count) {
            c->start = now;
            c->loaded = true;
        }
        break;
    default:
        if (!gate && c->loaded) {
            c->held = pit_value(c, now);
            c->stopped = true;
        } else if (gate && c->loaded) {
            c->count = c->next_count ? c->next_count : c->count;
            c->next_count = 0;
            c->start = now;
            c->stopped = false;
        }
        break;
    }
    c->gate = gate;
}

/* Port 0x61: 0 gate 2, 1 speaker, 4 refresh toggle, 5 OUT2. */
static uint64_t pcspk_read(void *opaque, uint64_t off, unsigned size)
{
    Pcspk *s = opaque;

    s->refresh =
        !s->refresh; /* QEMU compat: it changes with every read; loops that count toggles end */
    return s->data | (unsigned)s->refresh << 4 |
           (unsigned)pit_out(s->pit, 2, clock_ns(CLOCK_KIND_VIRTUAL)) << 5;
}

static void pcspk_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Pcspk *s = opaque;

    s->data = val & 0x0f;
    pit_set_gate(s->pit, 2, val & 1);
}

static const RegionOps pcspk_ops = {
    .read = pcspk_read, .write = pcspk_write, .min_access = 1, .max_access = 1
};

static void pit_reset(Obj *o)
{
    Pit *p = (Pit *)o;
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);

    for (unsigned i = 0; i < 3; i++) {
        /* QEMU compat: channels run in mode 3 with the longest count after reset; the chip leaves
         * it undefined. */
        p->ch[i] = (PitChannel){ .mode = 3,
            .gate = i != 2,
            .loaded = true,
            .count = 0x10000,
            .held = 0x10000,
            .start = now,
            .stopped = i == 2 };
    }
    pit_update_irq(p, now);
}

static void pcspk_reset(Obj *o)
{
    Pcspk *s = (Pcspk *)o;

    s->data = 0;
    s->refresh = false;
    pit_set_gate(s->pit, 2, false);
}

static void pit_init(Obj *o)
{
    Pit *p = (Pit *)o;

    region_init_io(&p->io, o, "pit", &pit_ops, p, 4);
    timer_init(&p->timer, loop_main(), CLOCK_KIND_VIRTUAL, pit_timer, p);
    timer_init(&p->again, loop_main(), CLOCK_KIND_VIRTUAL, pit_again, p);
}

static void pit_unrealize(Obj *o)
{
    Pit *p = (Pit *)o;

    timer_del(&p->timer);
    timer_del(&p->again);
    region_unmap(&p->io);
}

static void pit_fini(Obj *o)
{
    Pit *p = (Pit *)o;

    timer_del(&p->timer);
    timer_del(&p->again);
    region_fini(&p->io);
}

static void pcspk_init(Obj *o)
{
    Pcspk *s = (Pcspk *)o;

    region_init_io(&s->io, o, "pcspk", &pcspk_ops, s, 1);
}

static void pcspk_unrealize(Obj *o)
{
    region_unmap(&((Pcspk *)o)->io);
}

static void pcspk_fini(Obj *o)
{
    region_fini(&((Pcspk *)o)->io);
}

Pit *pit_new(Obj *tree, Region *io, Irq *irq0)
{
    Pit *p = (Pit *)obj_new(&pit_class);
    Pcspk *s = (Pcspk *)obj_new(&pcspk_class);

    p->irq0 = irq0;
    p->spk = s;
    s->pit = p;
    region_map(io, 0x40, &p->io, 0);
    region_map(io, 0x61, &s->io, 0);
    obj_add_array(tree, "device", &p->dev.obj);
    obj_add_array(tree, "device", &s->dev.obj);
    pit_reset(&p->dev.obj);
    obj_realize(&p->dev.obj, NULL);
    obj_realize(&s->dev.obj, NULL);
    obj_unref(&p->dev.obj);
    obj_unref(&s->dev.obj);
    return p;
}

const ObjClass pit_class = {
    .name = "isa-pit",
    .parent = "pit-common",
    .size = sizeof(Pit),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = pit_init,
    .unrealize = pit_unrealize,
    .fini = pit_fini,
    .reset = pit_reset,
};

const ObjClass pcspk_class = {
    .name = "isa-pcspk",
    .parent = "isa-device",
    .size = sizeof(Pcspk),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = pcspk_init,
    .unrealize = pcspk_unrealize,
    .fini = pcspk_fini,
    .reset = pcspk_reset,
};

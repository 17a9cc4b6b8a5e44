/*
 * What a request costs in the queue core: pop, push and the decision to notify, beside a bare loop
 * over the same ring that checks nothing (the limit). In process; the driver's side writes the ring
 * through a plain pointer and is the same for both. tests/bench/vq.py runs it and callgrind.
 *
 *   bench-vq LAYOUT CHAIN BATCH COUNT core|bare|bare-each one|two [event-idx|indirect]   prints ns
 * per request, and with one thread how many of them are the device's turns
 */
#include "hw/virtio/virtio-pci.h"
#include "memory/ram.h"
#include "tests/bench/bench-ring.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"
#include "util/rcu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

/* A device that finishes each request at once. */
typedef struct BenchDev {
    VirtioDev vd;
} BenchDev;
static Loop *bench_loop; /* where its data path runs; NULL: main */

static VqVerdict bench_request(VirtioDev *d, VqElem *e)
{
    return VQ_DONE;
}

static bool bench_realize(VirtioDev *d, GError **err)
{
    d->loop = bench_loop ? bench_loop : d->loop;
    return true;
}

static const VqSpec bench_vqs[] = {
    { .name = "bench", .size = BENCH_SIZE, .elem_size = sizeof(VqElem), .request = bench_request },
};
static const VirtioOps bench_ops = {
    .id = 40,
    .pci_class = 0x00ff00,
    .vqs = bench_vqs,
    .nvqs = 1,
    .realize = bench_realize,
};
static const PropSpec bench_props[] = { PROP_END };
static const ObjClass bench_class = {
    .name = "bench-device",
    .parent = "virtio-device",
    .size = sizeof(BenchDev),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_props, NULL }, { NULL, NULL } },
    .ops = &bench_ops,
};
extern const ObjClass bench_pci_class, bench_pci_base_class;
VIRTIO_PCI_TYPE(bench, "bench", bench_class, bench_props, "Misc");
const ObjClass *const obj_classes[] = { &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &bench_class, &bench_pci_base_class, &bench_pci_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

typedef struct Args {
    bool packed, in_order, event_idx, indirect, bare, each, two;
    unsigned chain, batch, count;
} Args;

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set); /* one CPU only: it stays where it is */
}

/* One turn of the device: through the core, or bare. */
typedef struct Side {
    const Args *a;
    VirtQueue *vq;
    BareRing bare;
    uint64_t ticks; /* of the turns, with one thread */
    _Atomic bool quit, ready;
} Side;

/* SDM vol. 2B, RDTSC: not before what precedes it is done, and what follows not before it. */
static inline uint64_t ticks_now(void)
{
    uint64_t t;

    _mm_lfence();
    t = __rdtsc();
    _mm_lfence();
    return t;
}

/* What looking at the clock costs. */
static uint64_t ticks_empty(void)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t t = ticks_now();

        t = ticks_now() - t;
        least = MIN(least, t);
    }
    return least;
}

static bool turn(Side *s)
{
    if (s->a->bare) {
        return bare_turn(&s->bare, s->a->each);
    }
    return vq_poll(s->vq);
}

static void device_thread_turns(void *opaque)
{
    Side *s = opaque;

    pin(1);
    if (!s->a->bare) {
        vq_poll_begin(s->vq);
    }
    atomic_store(&s->ready, true);
    while (!atomic_load_explicit(&s->quit, memory_order_relaxed)) {
        turn(s);
    }
}

static void *loop_thread(void *loop)
{
    rcu_thread_register();
    loop_run(loop);
    rcu_thread_unregister();
    return NULL;
}

static void begun(void *queue)
{
    g_async_queue_push(queue, queue);
}

static void run_two(BenchRing *r, Side *s)
{
    const Args *a = s->a;
    unsigned added = 0, seen = 0, room = BENCH_SIZE / a->chain;

    loop_post(bench_loop, device_thread_turns, s);
    while (!atomic_load(&s->ready)) {
        sched_yield();
    }
    while (seen < a->count) {
        unsigned n = MIN(MIN(a->batch, a->count - added), room - (added - seen));

        if (n) {
            bench_add(r, a->chain, n);
            added += n;
        }
        seen += bench_reap(r);
    }
    atomic_store(&s->quit, true);
}

static void run_one(BenchRing *r, Side *s)
{
    const Args *a = s->a;
    unsigned room = BENCH_SIZE / a->chain;
    uint64_t empty = ticks_empty();

    for (unsigned done = 0; done < a->count;) {
        unsigned n = MIN(MIN(a->batch, room), a->count - done), got;
        uint64_t t;

        bench_add(r, a->chain, n);
        t = ticks_now();
        while (turn(s)) {
        }
        s->ticks += ticks_now() - t - empty;
        got = bench_reap(r);
        g_assert_cmpuint(got, ==, n);
        done += n;
    }
}

static uint64_t wanted_features(const Args *a)
{
    return 1ull << 32 | (uint64_t)a->packed << 34 | (uint64_t)a->in_order << 35 |
           (uint64_t)a->event_idx << 29 | (uint64_t)a->indirect << 28;
}

static void run(const Args *a)
{
    Board *b = board_new(false);
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'bench-pci', 'addr': '4', 'vectors': 2, 'packed': %s, 'in_order': %s}",
        a->packed ? "true" : "false", a->in_order ? "true" : "false");
    Dev *dev = board_add(b, json);
    g_autofree VDriver *d = g_new0(VDriver, 1);
    VirtQueue *vq = virtio_queue((VirtioDev *)virtio_pci_child(&dev->obj), 0);
    Side s = { .a = a, .vq = vq };
    BenchRing r;
    uint64_t ticks;
    double t;

    vd_open(d, &b->port, 0, 4 << 3, false);
    g_assert_true(vd_negotiate(d, wanted_features(a)));
    vd_setup_queue(d, 0, BENCH_SIZE);
    bench_ring_init(&r, b->ram.ram->host, &d->ring[0], a->in_order);
    r.indirect = a->indirect;
    bare_init(&s.bare, &r);
    vd_driver_ok(d);
    board_run(b);
    t = now_ns();
    ticks = __rdtsc();
    if (a->two) {
        run_two(&r, &s);
    } else {
        if (!a->bare) {
            vq_poll_begin(vq);
        }
        run_one(&r, &s);
    }
    ticks = __rdtsc() - ticks;
    t = now_ns() - t;
    printf(a->two ? "%.2f\n" : "%.2f %.2f\n", t / a->count,
        t / a->count * (double)s.ticks / (double)ticks);
    if (a->two) {
        /* The loop is free again when the posted turns have ended. */
        vd_set_status(d, 0);
    }
    board_free(b);
}

static bool parse(int argc, char **argv, Args *a)
{
    if (argc < 7) {
        return false;
    }
    a->packed = g_str_has_prefix(argv[1], "packed");
    a->in_order = g_str_has_suffix(argv[1], "in-order");
    a->chain = (unsigned)atoi(argv[2]);
    a->batch = (unsigned)atoi(argv[3]);
    a->count = (unsigned)atoi(argv[4]);
    a->bare = g_str_has_prefix(argv[5], "bare");
    a->each = !strcmp(argv[5], "bare-each");
    a->two = !strcmp(argv[6], "two");
    a->event_idx = argc > 7 && !strcmp(argv[7], "event-idx");
    a->indirect = argc > 7 && !strcmp(argv[7], "indirect");
    return a->chain && a->chain <= 4 && a->batch && a->count && !(a->indirect && a->bare);
}

int main(int argc, char **argv)
{
    GThread *thread = NULL;
    Args a = { 0 };

    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: bench-vq split|packed|split-in-order|packed-in-order CHAIN BATCH "
                        "COUNT core|bare|bare-each one|two [event-idx|indirect]\n");
        return 2;
    }
    loop_main();
    if (a.two) {
        pin(0);
        bench_loop = loop_new("bench");
        thread = g_thread_new("bench", loop_thread, bench_loop);
        g_autoptr(GAsyncQueue) queue = g_async_queue_new();
        /* Before it has an owner a loop belongs to everybody. */
        loop_post(bench_loop, begun, queue);
        g_async_queue_pop(queue);
    }
    run(&a);
    if (thread) {
        loop_quit(bench_loop);
        g_thread_join(thread);
        loop_free(bench_loop);
    }
    return 0;
}

/*
 * Rings that the host's kernel serves (linux/vhost.h). Kicks and interrupts pass through our loop:
 * masks, vectors and doorbells are the transport's alone. Where somebody watches guest memory (an
 * engine that caches decoded code, a display), the kernel logs its writes and they are told on
 * before the driver hears of them. Covered by tests/unit/test-vhost-vsock.c.
 */
#include "hw/virtio/vhost.h"

#include "hw/virtio/virtio-names.h"
#include "hw/virtio/vq-internal.h"
#include "util/fd.h"

#include <errno.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

enum { LOG_PAGE_SHIFT = 12 }; /* VHOST_PAGE_SIZE */
enum { DESC, AVAIL, USED, PARTS };

typedef struct VhostRing {
    Vhost *h;
    unsigned index;
    int kick, call;
    LoopFd *watch;
    uint64_t part[PARTS]; /* in our memory */
    uint16_t base;        /* next available entry, while the kernel does not know */
    bool given;           /* the kernel has it */
} VhostRing;

struct Vhost {
    VirtioDev *d;
    int fd;
    uint64_t features; /* of the kernel */
    AddrSpace *as;
    MapListener listener;
    bool started;
    uint64_t *log; /* a bit per page of guest memory; NULL: nobody watches */
    size_t log_words;
    unsigned nrings;
    VhostRing ring[];
};

bool vhost_call(Vhost *h, unsigned long request, void *arg, const char *what, GError **err)
{
    return ioctl(h->fd, request, arg) >= 0 || err_set_errno(err, "vhost: %s", what);
}

/* ---- memory ---- */

static bool is_memory(const FlatRange *r)
{
    return r->region->kind == REGION_RAM && r->region->ram && !r->readonly;
}

static uint64_t host_of(const FlatRange *r)
{
    return (uintptr_t)r->region->ram->host + r->off;
}

/* One table entry per stretch: ranges that go on in both address spaces are one. */
static bool give_memory(Vhost *h, const FlatMap *m, GError **err)
{
    g_autofree struct vhost_memory *table =
        g_malloc0(sizeof *table + m->n * sizeof table->regions[0]);
    struct vhost_memory_region *last = NULL;

    for (unsigned i = 0; i < m->n; i++) {
        const FlatRange *r = &m->range[i];

        if (!is_memory(r)) {
            continue;
        }
        if (last && last->guest_phys_addr + last->memory_size == r->at &&
            last->userspace_addr + last->memory_size == host_of(r)) {
            last->memory_size += r->size;
            continue;
        }
        last = &table->regions[table->nregions++];
        *last = (struct vhost_memory_region){
            .guest_phys_addr = r->at, .memory_size = r->size, .userspace_addr = host_of(r)
        };
    }
    return vhost_call(h, VHOST_SET_MEM_TABLE, table, "cannot set the memory table", err);
}

/* Pages written since the last look; every ring's call comes after the log's bits. */
static void pass_log(Vhost *h)
{
    for (size_t i = 0; i < h->log_words; i++) {
        uint64_t bits = __atomic_load_n(&h->log[i], __ATOMIC_RELAXED)
                            ? __atomic_exchange_n(&h->log[i], 0, __ATOMIC_ACQUIRE)
                            : 0;

        for (; bits; bits &= bits - 1) {
            uint64_t at = (i * 64 + (unsigned)__builtin_ctzll(bits)) << LOG_PAGE_SHIFT;
            const FlatRange *r = flatmap_find(addrspace_map(h->as), at);

            if (r && is_memory(r)) {
                ram_written(r->region->ram, r->off + (at - r->at),
                    MIN(1u << LOG_PAGE_SHIFT, r->size - (at - r->at)));
            }
        }
    }
}

static bool log_start(Vhost *h, const FlatMap *m, GError **err)
{
    uint64_t end = 0;
    bool watched = false;

    for (unsigned i = 0; i < m->n; i++) {
        const FlatRange *r = &m->range[i];

        if (is_memory(r)) {
            watched = watched || vq_watched(r->region->ram);
            end = r->at + r->size;
        }
    }
    if (!watched) {
        return true;
    }
    h->log_words = (size_t)((end >> LOG_PAGE_SHIFT) / 64 + 1);
    h->log = g_malloc0_n(h->log_words, sizeof h->log[0]);
    uint64_t base = (uintptr_t)h->log;

    return vhost_call(h, VHOST_SET_LOG_BASE, &base, "cannot set the log of written pages", err);
}

static void log_end(Vhost *h)
{
    pass_log(h);
    h->log_words = 0;
    g_clear_pointer(&h->log, g_free);
}

static void map_changed(MapListener *l, G_GNUC_UNUSED const FlatMap *old, const FlatMap *now)
{
    Vhost *h = (Vhost *)(void *)((char *)l - offsetof(Vhost, listener));
    g_autoptr(GError) err = NULL;

    if (h->started && !give_memory(h, now, &err)) {
        virtio_fail(h->d, "%s", err->message);
    }
}

/* ---- rings ---- */

static void tell(VhostRing *r)
{
    if (fd_drain(r->call)) {
        pass_log(r->h);
        r->h->d->bus_ops->irq_queue(r->h->d->transport, r->index);
    }
}

static void call_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    tell(opaque);
}

void vhost_refilled(Vhost *h, const VirtQueue *vq)
{
    VhostRing *r = &h->ring[vq_index(vq)];

    if (r->given) {
        fd_signal(r->kick);
    }
}

static uint64_t part_guest(const VqLayout *at, unsigned part)
{
    return part == DESC ? at->desc : part == AVAIL ? at->driver : at->device;
}

/* VIRTIO 1.4, 2.7: with the field of EVENT_IDX behind the two rings. */
static uint64_t part_size(const VqLayout *at, unsigned part)
{
    return part == DESC    ? at->size * 16ull
           : part == AVAIL ? at->size * 2ull + 6
                           : at->size * 8ull + 6;
}

/* Where a part of a ring lies in our memory: the kernel takes these addresses from us. */
static bool part_at(Vhost *h, uint64_t at, uint64_t len, uint64_t *ret, GError **err)
{
    void *p = addrspace_host(h->as, at, len, /* write= */ true, NULL);

    *ret = (uintptr_t)p;
    return p || err_set(err, "vhost: a ring at 0x%" G_GINT64_MODIFIER "x is not in memory", at);
}

static bool ring_start(Vhost *h, VhostRing *r, GError **err)
{
    const VqLayout *at = &h->d->vqs[r->index]->at;
    struct vhost_vring_state num = { r->index, at->size }, base = { r->index, r->base };
    struct vhost_vring_file kick = { r->index, r->kick }, call = { r->index, r->call };
    struct vhost_vring_addr addr = { .index = r->index,
        .flags = h->log ? 1u << VHOST_VRING_F_LOG : 0,
        .log_guest_addr = at->device };

    for (unsigned i = 0; i < PARTS; i++) {
        if (!part_at(h, part_guest(at, i), part_size(at, i), &r->part[i], err)) {
            return false;
        }
    }
    addr.desc_user_addr = r->part[DESC];
    addr.avail_user_addr = r->part[AVAIL];
    addr.used_user_addr = r->part[USED];
    r->given = vhost_call(h, VHOST_SET_VRING_NUM, &num, "cannot set a ring's size", err) &&
               vhost_call(h, VHOST_SET_VRING_BASE, &base, "cannot set a ring's start", err) &&
               vhost_call(h, VHOST_SET_VRING_ADDR, &addr, "cannot set a ring's address", err) &&
               vhost_call(h, VHOST_SET_VRING_KICK, &kick, "cannot set a ring's kick", err) &&
               vhost_call(h, VHOST_SET_VRING_CALL, &call, "cannot set a ring's call", err);
    return r->given;
}

static bool start_all(Vhost *h, GError **err)
{
    const FlatMap *m = addrspace_map(h->as);

    if (!log_start(h, m, err)) {
        return false;
    }
    uint64_t f = (h->d->features.word[0] & h->features) | (h->log ? 1ull << VHOST_F_LOG_ALL : 0);

    if (!vhost_call(h, VHOST_SET_FEATURES, &f, "cannot set the features", err) ||
        !give_memory(h, m, err)) {
        return false;
    }
    for (unsigned i = 0; i < h->nrings; i++) {
        if (virtio_queue_enabled(h->d, i) && !ring_start(h, &h->ring[i], err)) {
            return false;
        }
    }
    return true;
}

bool vhost_start(Vhost *h, GError **err)
{
    h->started = start_all(h, err);
    if (!h->started) {
        vhost_stop(h);
    }
    return h->started;
}

void vhost_stop(Vhost *h)
{
    h->started = false;
    for (unsigned i = 0; i < h->nrings; i++) {
        VhostRing *r = &h->ring[i];
        struct vhost_vring_state base = { i, 0 };

        if (r->given && vhost_call(h, VHOST_GET_VRING_BASE, &base, "", NULL)) {
            r->base = (uint16_t)base.num;
        }
        r->given = false;
        tell(r);
    }
    log_end(h);
}

void vhost_reset(Vhost *h)
{
    for (unsigned i = 0; i < h->nrings; i++) {
        h->ring[i].base = 0;
    }
}

/* ---- life ---- */

bool vhost_has(const Vhost *h, unsigned feature)
{
    return feature < 64 && h->features >> feature & 1;
}

VirtioFeatures vhost_offer(const Vhost *h, VirtioFeatures f)
{
    f.word[0] &= h->features & ~(1ull << VHOST_F_LOG_ALL); /* that bit is between us */
    f.word[1] = 0;
    return f;
}

Vhost *vhost_new(VirtioDev *d, int fd, unsigned nvqs, GError **err)
{
    Vhost *h = g_malloc0(sizeof *h + nvqs * sizeof h->ring[0]);

    *h = (Vhost){ .d = d, .fd = fd, .nrings = nvqs, .listener = { .changed = map_changed } };
    for (unsigned i = 0; i < nvqs; i++) {
        VhostRing *r = &h->ring[i];

        *r = (VhostRing){ .h = h, .index = i, .kick = fd_eventfd(), .call = fd_eventfd() };
        r->watch = loop_fd_add(d->loop, r->call, EPOLLIN, call_readable, r);
    }
    if (!vhost_call(h, VHOST_SET_OWNER, NULL, "the kernel's device is in use", err) ||
        !vhost_call(h, VHOST_GET_FEATURES, &h->features, "cannot read the features", err)) {
        vhost_free(h);
        return NULL;
    }
    h->as = dma_space_memory(d->dma);
    addrspace_listen(h->as, &h->listener);
    return h;
}

void vhost_free(Vhost *h)
{
    if (!h) {
        return;
    }
    for (unsigned i = 0; i < h->nrings; i++) {
        loop_fd_del(h->ring[i].watch);
        close(h->ring[i].kick);
        close(h->ring[i].call);
    }
    if (h->as) {
        addrspace_unlisten(h->as, &h->listener);
    }
    close(h->fd);
    g_free(h);
}

/* ---- introspection ---- */

bool vhost_started(const Vhost *h)
{
    return h->started;
}

Json *vhost_describe_ring(const Vhost *h, unsigned i, GError **err)
{
    static const char *const names[PARTS] = { "desc", "avail", "used" };

    if (i >= h->nrings) {
        err_set(err, "Invalid vhost virtqueue number %u", i);
        return NULL;
    }
    const VhostRing *r = &h->ring[i];
    const VqLayout *at = &h->d->vqs[i]->at;
    Json *j = json_object();

    json_set(j, "name", json_str(virtio_type_name(h->d->ops->id)));
    json_set(j, "kick", json_int(r->kick));
    json_set(j, "call", json_int(r->call));
    json_set(j, "num", json_int(at->size));
    for (unsigned k = 0; k < PARTS; k++) {
        g_autofree char *phys = g_strconcat(names[k], "-phys", NULL);
        g_autofree char *size = g_strconcat(names[k], "-size", NULL);

        json_set(j, names[k], json_uint(r->part[k]));
        json_set(j, phys, json_uint(part_guest(at, k)));
        json_set(j, size, json_uint(part_size(at, k)));
    }
    return j;
}

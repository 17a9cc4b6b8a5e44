/*
 * hw/virtio/vhost.c, vhost-vsock.c: rings handed to the kernel (linux/vhost.h). The kernel is
 * played by this file: ioctl() below answers for its descriptor, and what the guest sends comes
 * back to it.
 */
#include "hw/virtio/vhost.h"
#include "memory/dirty.h"
#include "tests/unit/vdev.h"
#include "util/fd.h"

#define VIRTIO_RING_NO_LEGACY /* its vring_init() is not ours */
#include <errno.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const ObjClass vhost_vsock_class, vhost_vsock_pci_class, vhost_vsock_pci_base_class;
VDEV_TYPES(&pci_device_class, &virtio_pci_class, &virtio_device_class, &vhost_vsock_class,
    &vhost_vsock_pci_class, &vhost_vsock_pci_base_class);

enum { RX, TX, EVENT };
enum { NREGIONS = 32, PACKET = 300 };
#define KERNEL_FEATURES                                                                            \
    (1ull << 1 | 1ull << VIRTIO_F_NOTIFY_ON_EMPTY | 1ull << VHOST_F_LOG_ALL |                      \
        1ull << VIRTIO_F_ANY_LAYOUT | 1ull << VIRTIO_F_INDIRECT_DESC | 1ull << VIRTIO_F_VERSION_1)

typedef struct KernelRing {
    unsigned num, flags;
    uint16_t avail, given_base;
    struct vhost_vring_addr addr;
    int kick, call;
    LoopFd *watch;
} KernelRing;

static struct {
    int fd; /* -1: no call is ours */
    unsigned long fails;
    int fails_with;
    uint64_t has, features, cid, log;
    unsigned owners, tables, nregions;
    struct vhost_memory_region region[NREGIONS];
    KernelRing ring[2];
    bool running;
} kernel;

/* ---- the kernel's side of the rings ---- */

static void kernel_log(uint64_t at, uint64_t len)
{
    _Atomic uint64_t *bits = (_Atomic uint64_t *)(uintptr_t)kernel.log;

    if (kernel.features & 1ull << VHOST_F_LOG_ALL) {
        for (uint64_t p = at >> 12; p <= (at + len - 1) >> 12; p++) {
            atomic_fetch_or(&bits[p / 64], 1ull << (p % 64));
        }
    }
}

static void *guest_memory(uint64_t at, uint64_t len)
{
    for (unsigned i = 0; i < kernel.nregions; i++) {
        const struct vhost_memory_region *r = &kernel.region[i];

        if (at >= r->guest_phys_addr && at + len <= r->guest_phys_addr + r->memory_size) {
            return (void *)(uintptr_t)(r->userspace_addr + (at - r->guest_phys_addr));
        }
    }
    g_assert_not_reached();
}

typedef struct RingDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} RingDesc;

/* The one buffer of the next chain; NULL: none. */
static const RingDesc *next_chain(KernelRing *r, uint16_t *ret_head)
{
    const uint16_t *avail = (const uint16_t *)(uintptr_t)r->addr.avail_user_addr;
    const RingDesc *desc = (const RingDesc *)(uintptr_t)r->addr.desc_user_addr;

    if (r->avail == avail[1]) {
        return NULL;
    }
    *ret_head = avail[2 + r->avail++ % r->num];
    return &desc[*ret_head];
}

static void used(KernelRing *r, uint32_t head, uint32_t len)
{
    uint16_t *idx = (uint16_t *)(uintptr_t)(r->addr.used_user_addr + 2);
    uint32_t *entry = (uint32_t *)(uintptr_t)(r->addr.used_user_addr + 4) + *idx % r->num * 2;

    entry[0] = head;
    entry[1] = len;
    ++*idx;
    if (r->addr.flags & 1u << VHOST_VRING_F_LOG) {
        kernel_log(r->addr.log_guest_addr, 4 + 8ull * r->num);
    }
    fd_signal(r->call);
}

static void kicked(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    KernelRing *rx = &kernel.ring[RX], *tx = &kernel.ring[TX];
    const RingDesc *from;
    uint16_t head, to_head;

    fd_drain(((KernelRing *)opaque)->kick);
    while (kernel.running && (from = next_chain(tx, &head)) != NULL) {
        const RingDesc *to = next_chain(rx, &to_head);

        g_assert_nonnull(to);
        g_assert_cmpuint(to->len, >=, from->len);
        memcpy(guest_memory(to->addr, from->len), guest_memory(from->addr, from->len), from->len);
        kernel_log(to->addr, from->len);
        used(rx, to_head, from->len);
        used(tx, head, 0);
    }
}

/* ---- its calls ---- */

static void run(int on)
{
    kernel.running = on;
    for (unsigned i = 0; i < 2; i++) {
        KernelRing *r = &kernel.ring[i];

        if (on && !r->watch) {
            r->watch = loop_fd_add(loop_main(), r->kick, EPOLLIN, kicked, r);
        } else if (!on && r->watch) {
            loop_fd_del(r->watch);
            r->watch = NULL;
        }
    }
}

static void take_table(const struct vhost_memory *m)
{
    g_assert_cmpuint(m->nregions, <=, NREGIONS);
    kernel.nregions = m->nregions;
    memcpy(kernel.region, m->regions, m->nregions * sizeof m->regions[0]);
    kernel.tables++;
}

static KernelRing *ring_of(const void *arg)
{
    unsigned i = *(const unsigned *)arg; /* index comes first in all of them */

    g_assert_cmpuint(i, <, 2);
    return &kernel.ring[i];
}

static void ring_ioctl(unsigned long request, void *arg)
{
    struct vhost_vring_state *state = arg;
    const struct vhost_vring_file *file = arg;
    KernelRing *r = ring_of(arg);

    /* A running ring keeps what it is. */
    g_assert_false(kernel.running);
    switch (request) {
    case VHOST_SET_VRING_NUM:
        r->num = state->num;
        break;
    case VHOST_SET_VRING_BASE:
        r->avail = r->given_base = (uint16_t)state->num;
        break;
    case VHOST_GET_VRING_BASE:
        state->num = r->avail;
        break;
    case VHOST_SET_VRING_ADDR:
        r->addr = *(struct vhost_vring_addr *)arg;
        break;
    case VHOST_SET_VRING_KICK:
        r->kick = file->fd;
        break;
    case VHOST_SET_VRING_CALL:
        r->call = file->fd;
        break;
    default:
        g_assert_not_reached();
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;

    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (fd != kernel.fd) {
        return (int)syscall(SYS_ioctl, fd, request, arg);
    }
    if (request == kernel.fails) {
        errno = kernel.fails_with;
        return -1;
    }
    switch (request) {
    case VHOST_SET_OWNER:
        kernel.owners++;
        break;
    case VHOST_GET_FEATURES:
        *(uint64_t *)arg = kernel.has;
        break;
    case VHOST_SET_FEATURES:
        kernel.features = *(uint64_t *)arg;
        g_assert_cmphex(kernel.features & ~kernel.has, ==, 0);
        break;
    case VHOST_SET_MEM_TABLE:
        take_table(arg);
        break;
    case VHOST_SET_LOG_BASE:
        kernel.log = *(uint64_t *)arg;
        break;
    case VHOST_VSOCK_SET_GUEST_CID:
        kernel.cid = *(uint64_t *)arg;
        break;
    case VHOST_VSOCK_SET_RUNNING:
        run(*(int *)arg);
        break;
    default:
        ring_ioctl(request, arg);
        break;
    }
    return 0;
}

/* ---- the guest ---- */

typedef struct Fix {
    VDev v;
    uint64_t rx, tx;
} Fix;

static char *device_json(const char *more)
{
    kernel.fd = fd_eventfd(); /* the device closes it */
    return g_strdup_printf("{'driver': 'vhost-vsock-pci', 'guest-cid': 3, 'vhostfd': '%d', 'addr': "
                           "'4'%s}",
        kernel.fd, more);
}

static void boot(Fix *x, const char *more)
{
    g_autofree char *json = device_json(more);

    kernel.has = KERNEL_FEATURES;
    vdev_open(&x->v, json, false);
    x->rx = vd_page(&x->v.d, 4096);
    x->tx = vd_page(&x->v.d, 4096);
}

static void up(Fix *x, const void *unused)
{
    boot(x, "");
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    g_assert_false(kernel.running);
    memset(&kernel, 0, sizeof kernel);
    kernel.fd = -1;
}

/* What goes out comes back, with both interrupts. */
static void echo(Fix *x, uint8_t seed)
{
    VBuf in = { x->rx, 4096, true }, out = { x->tx, PACKET, false };
    uint8_t want[PACKET], got[PACKET];
    uint32_t id, len, rx_id, tx_id;

    for (unsigned i = 0; i < PACKET; i++) {
        want[i] = (uint8_t)(i * 7 + seed);
    }
    vdev_put(&x->v, x->tx, want, PACKET);
    vd_msi(&x->v.d, 1 + RX);
    vd_msi(&x->v.d, 1 + TX);
    rx_id = vring_add(&x->v.d.ring[RX], &in, 1, 0);
    vd_kick(&x->v.d, RX);
    tx_id = vring_add(&x->v.d.ring[TX], &out, 1, 0);
    vd_kick(&x->v.d, TX);
    vd_wait_used(&x->v.d, TX, &id, &len);
    g_assert_cmpuint(id, ==, tx_id);
    vd_wait_used(&x->v.d, RX, &id, &len);
    g_assert_cmpuint(id, ==, rx_id);
    g_assert_cmpuint(len, ==, PACKET);
    vdev_get(&x->v, x->rx, got, PACKET);
    g_assert_cmpmem(got, PACKET, want, PACKET);
    board_run(x->v.b);
    g_assert_cmphex(vd_msi(&x->v.d, 1 + RX), ==, 0x4000 + 1 + RX);
    g_assert_cmphex(vd_msi(&x->v.d, 1 + TX), ==, 0x4000 + 1 + TX);
}

static void start(Fix *x)
{
    vd_enable_msix(&x->v.d);
    vd_start(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_true(kernel.running);
}

static void test_echo(Fix *x, const void *unused)
{
    start(x);
    g_assert_cmpuint(kernel.owners, ==, 1);
    g_assert_cmpuint(kernel.cid, ==, 3);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 8), ==, 3);
    g_assert_cmphex(kernel.features, ==,
        1ull << 1 | 1ull << VIRTIO_F_INDIRECT_DESC | 1ull << VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < 300; i++) { /* around the rings */
        echo(x, (uint8_t)i);
    }
}

/* x-query-virtio-vhost-queue-status says what the kernel was told. */
static void test_describe(Fix *x, const void *unused)
{
    const VirtioDev *vd = (const VirtioDev *)virtio_pci_child(&x->v.dev->obj);
    const Vhost *h = vd->ops->vhost(vd);
    g_autoptr(GError) err = NULL;

    g_assert_false(vhost_started(h));
    start(x);
    g_assert_true(vhost_started(h));
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(Json) j = vhost_describe_ring(h, i, &err);
        const struct vhost_vring_addr *a = &kernel.ring[i].addr;

        g_assert_no_error(err);
        g_assert_cmpint(json_get_int(json_get(j, "num")), ==, kernel.ring[i].num);
        g_assert_cmpint(json_get_int(json_get(j, "kick")), ==, kernel.ring[i].kick);
        g_assert_cmpint(json_get_int(json_get(j, "call")), ==, kernel.ring[i].call);
        g_assert_cmpint(json_get_int(json_get(j, "desc")), ==, a->desc_user_addr);
        g_assert_cmpint(json_get_int(json_get(j, "used")), ==, a->used_user_addr);
        g_assert_cmpint(json_get_int(json_get(j, "avail-phys")), ==, x->v.d.ring[i].driver);
        g_assert_cmpint(json_get_int(json_get(j, "used-size")), ==, 8 * kernel.ring[i].num + 6);
    }
    g_assert_null(vhost_describe_ring(h, 2, &err));
    g_assert_cmpstr(err->message, ==, "Invalid vhost virtqueue number 2");
}

/* What the kernel cannot do is not offered, whatever the properties say. */
static void test_features(Fix *x, const void *unused)
{
    uint64_t all = 1ull << 1 | 1ull << VIRTIO_F_INDIRECT_DESC | 1ull << VIRTIO_F_VERSION_1;

    g_assert_cmphex(vd_offered(&x->v.d), ==, all);
    vdev_close(&x->v);
    boot(x, ", 'packed': true, 'seqpacket': 'off', 'in_order': true, 'indirect_desc': false");
    g_assert_cmphex(vd_offered(&x->v.d), ==, 1ull << VIRTIO_F_VERSION_1);
}

/* Stop and go on: the kernel is told where each ring was. A reset begins at 0. */
static void test_stop(Fix *x, const void *unused)
{
    VirtioDev *vd = (VirtioDev *)virtio_pci_child(&x->v.dev->obj);

    start(x);
    echo(x, 1);
    echo(x, 2);
    virtio_run_changed(vd, false);
    g_assert_false(kernel.running);
    virtio_run_changed(vd, true);
    g_assert_true(kernel.running);
    g_assert_cmpuint(kernel.ring[RX].given_base, ==, 2);
    g_assert_cmpuint(kernel.ring[TX].given_base, ==, 2);
    echo(x, 3);
    vd_set_status(&x->v.d, 0);
    g_assert_false(kernel.running);
    start(x);
    g_assert_cmpuint(kernel.ring[RX].given_base, ==, 0);
    echo(x, 4);
    /* What the driver made available while nothing ran is seen at the start. */
    VBuf in = { x->rx, 4096, true }, out = { x->tx, PACKET, false };
    uint32_t id, len;

    virtio_run_changed(vd, false);
    vring_add(&x->v.d.ring[RX], &in, 1, 0);
    vring_add(&x->v.d.ring[TX], &out, 1, 0);
    vd_kick(&x->v.d, TX);
    virtio_run_changed(vd, true);
    vd_wait_used(&x->v.d, RX, &id, &len);
    g_assert_cmpuint(len, ==, PACKET);
}

static void test_memory(Fix *x, const void *unused)
{
    unsigned before;
    Region more;

    start(x);
    before = kernel.tables;
    g_assert_true(region_init_ram(&more, NULL, "more", 1 << 20, NULL));
    region_map(&x->v.b->m->mem_root, 0x8000000, &more, 0);
    g_assert_cmpuint(kernel.tables, ==, before + 1);
    x->rx = 0x8000000; /* the kernel reaches it */
    echo(x, 5);
    region_unmap(&more);
    region_fini(&more);
    g_assert_cmpuint(kernel.tables, ==, before + 2);
    x->rx = x->tx;
    echo(x, 6);
}

/* Pages that the kernel writes behind our back are told on while somebody watches. */
static void test_log(Fix *x, const void *unused)
{
    DirtyLog *log = dirty_log_new(x->v.b->ram.ram);

    start(x);
    g_assert_true(kernel.features & 1ull << VHOST_F_LOG_ALL);
    dirty_log_take(log, 0, BOARD_RAM);
    x->rx += 128; /* only this page of all buffers */
    echo(x, 7);
    dirty_log_sync(log);
    g_assert_true(dirty_log_page(log, x->rx >> 12));
    g_assert_true(dirty_log_page(log, x->v.d.ring[RX].device >> 12));
    g_assert_true(dirty_log_page(log, x->v.d.ring[TX].device >> 12));
    vd_set_status(&x->v.d, 0);
    dirty_log_free(log);
}

/* Every call that may fail at the start: the driver sees it, and a reset helps. */
static void test_start_fails(Fix *x, const void *unused)
{
    static const unsigned long calls[] = { VHOST_SET_FEATURES, VHOST_SET_MEM_TABLE,
        VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR, VHOST_SET_VRING_KICK,
        VHOST_SET_VRING_CALL, VHOST_VSOCK_SET_RUNNING };

    for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++) {
        kernel.fails = calls[i];
        kernel.fails_with = EFAULT;
        vd_enable_msix(&x->v.d);
        vd_start(&x->v.d, 0);
        board_run(x->v.b);
        g_assert_true(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET);
        kernel.fails = 0;
        start(x);
        echo(x, (uint8_t)i);
        vd_set_status(&x->v.d, 0);
    }
    /* A ring outside memory is the driver's mistake. */
    vd_negotiate(&x->v.d, vd_offered(&x->v.d));
    vd_setup_queue(&x->v.d, TX, 0);
    vd_write(&x->v.d, 0x16, 2, RX);
    vd_write(&x->v.d, 0x20, 4, 0xf0000000);
    vd_write(&x->v.d, 0x28, 4, 0xf0001000);
    vd_write(&x->v.d, 0x30, 4, 0xf0002000);
    vd_write(&x->v.d, 0x1c, 2, 1);
    vd_driver_ok(&x->v.d);
    board_run(x->v.b);
    g_assert_true(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET);
}

static void refused(Board *b, unsigned long call, int with, const char *more, const char *want)
{
    g_autofree char *json = device_json(more);

    kernel.fails = call;
    kernel.fails_with = with;
    g_autofree char *said = board_add_error(b, json);

    g_assert_cmpstr(said, ==, want);
}

static void test_errors(void)
{
    Board *b = board_new(false);

    kernel.has = KERNEL_FEATURES;
    refused(b, VHOST_SET_OWNER, EBUSY, "",
        "vhost: the kernel's device is in use: Device or resource busy");
    refused(b, VHOST_GET_FEATURES, EIO, "", "vhost: cannot read the features: Input/output error");
    refused(b, VHOST_VSOCK_SET_GUEST_CID, EADDRINUSE, "",
        "vhost: unable to set guest cid: Address already in use");
    refused(b, 0, 0, ", 'iommu_platform': true", "vhost-vsock: iommu_platform=on is not supported");
    kernel.has &= ~(1ull << 1);
    refused(b, 0, 0, ", 'seqpacket': 'on'", "vhost-vsock: the kernel has no seqpacket sockets");
    kernel.fd = -1;
    board_free(b);
}

#define ADD(path, fn) g_test_add("/vhost-vsock/" path, Fix, NULL, up, fn, down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    kernel.fd = -1;
    ADD("echo", test_echo);
    ADD("describe", test_describe);
    ADD("features", test_features);
    ADD("stop", test_stop);
    ADD("memory", test_memory);
    ADD("log", test_log);
    ADD("start-fails", test_start_fails);
    g_test_add_func("/vhost-vsock/errors", test_errors);
    return g_test_run();
}

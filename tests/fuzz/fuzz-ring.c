/*
 * Hostile drivers against every virtio device: one input is a driver's life - a device, an
 * interface (modern or legacy), a ring format, features, then operations on rings, registers and
 * configuration space (VIRTIO 1.4, 2 and 4.1). Devices are made once and reset between inputs; the
 * loop is turned here, so that nothing depends on time.
 *
 * With clang and -fsanitize=fuzzer this is a libFuzzer target; else a program that replays files
 * and makes inputs of its own: fuzz-ring [--runs N] [--seed S] [file or folder...].
 */
#include "block/block.h"
#include "chardev/chardev.h"
#include "hw/virtio/virtio-pci.h"
#include "net/net.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPS = 128, QUEUES = 4, FIRST_SLOT = 4, DATA = 0x400000, RINGS = 0x100000 };
enum {
    F_LEGACY = 1,
    F_PACKED = 2,
    F_NO_EVENT = 4,
    F_NO_INDIRECT = 8,
    F_MSIX = 16,
    F_IN_ORDER = 32
};

static const char *const devices[] = {
    "{'driver': 'virtio-rng-pci', 'packed': true, 'in_order': true}",
    "{'driver': 'virtio-blk-pci', 'packed': true, 'in_order': true, 'drive': 'd'}",
    "{'driver': 'virtio-net-pci', 'packed': true, 'in_order': true, 'romfile': ''}",
    "{'driver': 'virtio-serial-pci', 'packed': true, 'in_order': true, 'id': 's'}",
    "{'driver': 'dummy-pci', 'packed': true, 'in_order': true, 'modern-pio-notify': true,"
    " 'x-notification-data': true}",
};

typedef struct Input {
    const uint8_t *p;
    size_t left;
} Input;

static struct {
    Board *b;
    NetPort wire; /* the net device's other end */
    Dev *dev[G_N_ELEMENTS(devices)];
    VDriver drv[G_N_ELEMENTS(devices)];
    bool dirty[G_N_ELEMENTS(devices)]; /* configuration space was written: open again */
    VDriver *d;
    unsigned which, nqueues;
} fz;

static uint8_t u8(Input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->p++;
}

static uint32_t u16(Input *in)
{
    uint32_t lo = u8(in);

    return lo | (uint32_t)u8(in) << 8;
}

static uint32_t u32(Input *in)
{
    uint32_t lo = u16(in);

    return lo | u16(in) << 16;
}

static void ld(bool io, uint64_t at, unsigned size)
{
    fz.b->port.load(fz.b, io, at, size);
}

static void st(bool io, uint64_t at, unsigned size, uint64_t val)
{
    fz.b->port.store(fz.b, io, at, size, val);
}

static VRing *ring(Input *in, unsigned *ret)
{
    *ret = u8(in) % MAX(fz.nqueues, 1);
    return &fz.d->ring[*ret];
}

/* Addresses a driver might give: data, the rings, the edge of RAM, holes, the device itself. */
static uint64_t address(Input *in)
{
    unsigned how = u8(in);
    uint64_t off = u16(in);

    switch (how % 16) {
    case 0:
        return BOARD_RAM - off % 64;
    case 1:
        return BOARD_RAM + off;
    case 2:
        return fz.d->common + off % 0x4000;
    case 3:
        return fz.d->bar[1] + off % 0x1000;
    case 4:
        return 0xfee00000 + off;
    case 5:
        return UINT64_MAX - off;
    case 6:
        return RINGS + off;
    case 7:
        return off;
    default:
        return DATA + off;
    }
}

static uint32_t length(Input *in)
{
    unsigned how = u8(in);

    switch (how % 16) {
    case 0:
        return UINT32_MAX - u8(in);
    case 1:
        return u32(in);
    case 2:
        return 0;
    case 3:
        return u16(in) * 16;
    case 4:
        return 512;
    case 5:
        return 1;
    default:
        return how;
    }
}

/* A descriptor, in the ring or in an indirect table. */
static void op_desc(Input *in)
{
    unsigned q;
    const VRing *r = ring(in, &q);
    unsigned i = u8(in), where = u8(in);
    uint64_t at = address(in);
    uint32_t len = length(in);
    uint16_t flags = u8(in), next = u8(in);

    if (r->packed) {
        flags |= (uint16_t)(where & 2 ? 1 << 7 : 0) | (uint16_t)(where & 4 ? 1 << 15 : 0);
    }
    if (where & 1) {
        VRing table = *r;

        table.desc = DATA + 0x8000;
        vring_desc(&table, i, at, len, flags, next);
    } else if (r->size) {
        vring_desc(r, i % r->size, at, len, flags, next);
    }
}

static void op_avail(Input *in)
{
    unsigned q;
    VRing *r = ring(in, &q);
    uint16_t v = u8(in);

    if (r->size && !r->packed) {
        vring_avail(r, v);
    }
}

static void op_ring_word(Input *in)
{
    unsigned q;
    const VRing *r = ring(in, &q);
    unsigned part = u8(in) % 3, off = u8(in) * 2u;

    vport_w16(&fz.b->port,
        (part == 0      ? r->desc
            : part == 1 ? r->driver
                        : r->device) +
            off,
        (uint16_t)u16(in));
}

/* What a driver of good will sends: bytes of the input, room for answers. */
static void op_chain(Input *in)
{
    unsigned q;
    VRing *r = ring(in, &q);
    unsigned shape = u8(in), nout = shape & 3, nin = shape >> 2 & 3, n = 0, bytes = u8(in) % 40;
    VBuf buf[8];
    uint64_t at = DATA + 0x100u * (shape >> 4);

    if (!r->size || nout + nin == 0 || nout + nin > r->size) {
        return;
    }
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t v = u8(in);

        fz.b->port.write(fz.b, at + i, &v, 1);
    }
    for (unsigned i = 0; i < nout + nin; i++) {
        bool write = i >= nout;
        uint32_t len = i == 0 && !write ? MAX(bytes, 1u) : i + 1 == nout + nin ? 1 : 512;

        buf[n++] = (VBuf){ i ? DATA + 0x2000 + i * 0x400u : at, len, write };
    }
    vring_add(r, buf, n, shape & 128 ? DATA + 0x8000 : 0);
}

static void op_kick(Input *in)
{
    unsigned v = u8(in);

    vd_kick(fz.d, v % (fz.nqueues + 1));
    if (v & 0x80) {
        board_run(fz.b);
    }
}

static void op_common(Input *in)
{
    static const uint8_t sizes[] = { 1, 2, 4, 4 };
    unsigned off = u8(in) % 0x44, how = u8(in);

    if (fz.d->legacy) {
        off %= 32;
        if (how & 4) {
            ld(true, fz.d->bar[0] + off, sizes[how & 3]);
        } else {
            st(true, fz.d->bar[0] + off, sizes[how & 3], how & 8 ? u32(in) : u8(in));
        }
    } else if (how & 4) {
        ld(false, fz.d->common + off, sizes[how & 3]);
    } else {
        st(false, fz.d->common + off, sizes[how & 3], how & 8 ? u32(in) : u8(in));
    }
}

static void op_device(Input *in)
{
    unsigned off = u8(in) % 80, how = u8(in), size = 1u << (how & 3) % 3;
    uint64_t at = fz.d->legacy ? fz.d->bar[0] + 20 + off % 64 : fz.d->device + off;

    if (how & 4) {
        ld(fz.d->legacy, at, size);
    } else {
        st(fz.d->legacy, at, size, u32(in));
    }
}

static void op_config(Input *in)
{
    unsigned off = u8(in), how = u8(in), size = 1u << (how & 3) % 3;

    off &= ~(size - 1);
    if (how & 4) {
        vd_cfg_read(&fz.b->port, 0, fz.d->devfn, off, size);
    } else {
        fz.dirty[fz.which] = true;
        vd_cfg_write(&fz.b->port, 0, fz.d->devfn, off, size, u32(in));
    }
}

/* Through the configuration access window (4.1.4.9). */
static void op_window(Input *in)
{
    unsigned cap = fz.d->cap_pci_cfg, bar = u8(in), how = u8(in);
    const VPort *p = &fz.b->port;

    vd_cfg_write(p, 0, fz.d->devfn, cap + 4, 1, bar & 0x80 ? bar : 4);
    vd_cfg_write(p, 0, fz.d->devfn, cap + 8, 4, how & 8 ? u32(in) : u16(in) % 0x4000);
    vd_cfg_write(p, 0, fz.d->devfn, cap + 12, 4, how & 16 ? u32(in) : 1u << (how & 3) % 3);
    if (how & 4) {
        vd_cfg_read(p, 0, fz.d->devfn, cap + 16, 4);
    } else {
        vd_cfg_write(p, 0, fz.d->devfn, cap + 16, 4, u32(in));
    }
}

static void op_status(Input *in)
{
    vd_set_status(fz.d, u8(in));
}

/* RING_RESET, and the queue enabled again, possibly elsewhere and smaller. */
static void op_queue(Input *in)
{
    unsigned q = u8(in) % MAX(fz.nqueues, 1);
    uint16_t size = u8(in);

    if (fz.d->legacy) {
        return;
    }
    vd_write(fz.d, 0x16, 2, q);
    vd_write(fz.d, 0x3a, 2, 1);
    if (size & 0x80 && fz.d->alloc < DATA / 2) {
        vd_setup_queue(fz.d, q, size & 0x1f);
    }
}

static void op_frame(Input *in)
{
    uint8_t frame[128] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };
    unsigned n = u8(in) % sizeof frame;
    struct iovec v = { frame, sizeof frame };

    for (unsigned i = 6; i < n; i++) {
        frame[i] = u8(in);
    }
    v.iov_len = MAX(n, 1);
    net_send(&fz.wire, &v, 1, v.iov_len);
}

static void op_run(Input *in)
{
    vd_isr(fz.d);
    board_run(fz.b);
}

static void (*const ops[])(Input *in) = { op_chain, op_desc, op_avail, op_ring_word, op_kick,
    op_common, op_device, op_config, op_window, op_status, op_queue, op_frame, op_run, op_chain,
    op_kick, op_desc };

/* A driver's start, as far as the device goes along. */
static void start(unsigned how)
{
    VDriver *d = fz.d;
    uint64_t f;

    d->legacy = how & F_LEGACY;
    d->alloc = RINGS;
    f = vd_offered(d) & ~(1ull << 34 | 1ull << 29 | 1ull << 28 | 1ull << 35);
    f |= (uint64_t) !!(how & F_PACKED) << 34 | (uint64_t) !(how & F_NO_EVENT) << 29 |
         (uint64_t) !(how & F_NO_INDIRECT) << 28 | (uint64_t) !!(how & F_IN_ORDER) << 35;
    d->features = f;
    vd_negotiate(d, d->legacy ? (uint32_t)f : f);
    d->msix = false;
    if (how & F_MSIX) {
        vd_enable_msix(d);
    } else {
        vd_cfg_write(&fz.b->port, 0, d->devfn, d->cap_msix + 2, 2, 0);
    }
    memset(d->ring, 0, sizeof d->ring);
    fz.nqueues = 0;
    for (unsigned q = 0; q < QUEUES; q++) {
        if (d->legacy) {
            st(true, d->bar[0] + 0x0e, 2, q);
        } else {
            vd_write(d, 0x16, 2, q);
        }
        uint64_t max =
            d->legacy ? fz.b->port.load(fz.b, true, d->bar[0] + 0x0c, 2) : vd_read(d, 0x18, 2);

        if (!max) {
            break;
        }
        vd_setup_queue(d, q, (uint16_t)MIN(max, 16));
        fz.nqueues++;
    }
    vd_driver_ok(d);
}

/* Whatever the driver did, a reset ends in a device that is as new. */
static void settle(void)
{
    const VirtioDev *v = (const VirtioDev *)virtio_pci_child(&fz.dev[fz.which]->obj);

    if (fz.dirty[fz.which]) {
        pci_fn_reset(&fz.dev[fz.which]->obj);
        vd_open(fz.d, &fz.b->port, 0, (FIRST_SLOT + fz.which) << 3, false);
        fz.dirty[fz.which] = false;
    }
    fz.d->legacy = false;
    vd_set_status(fz.d, 0);
    board_run(fz.b);
    while (vd_status(fz.d)) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_false(v->started);
    g_assert_false(v->broken);
    g_assert_cmpuint(v->nheld, ==, 0);
    g_assert_cmphex(v->features.word[0], ==, 0);
}

static NetVerdict swallow(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    return NET_SENT;
}

static void find_nic(NetPort *p, void *opaque)
{
    if (!strcmp(p->type, "nic")) {
        *(NetPort **)opaque = p;
    }
}

static void prepare(void)
{
    static const NetPortOps wire_ops = { .receive = swallow };
    g_autoptr(Json) drive =
        json_parse("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);
    g_autoptr(Json) null = json_parse("{'backend': 'null', 'id': 'c0'}", -1, NULL);
    NetPort *nic = NULL;

    loop_main();
    g_assert_nonnull(blk_drive_create(drive, NULL));
    g_assert_nonnull(chardev_create(null, NULL));
    fz.b = board_new(false);
    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        g_autofree char *json = g_strdup_printf(
            "%.*s, 'addr': '%u'}", (int)strlen(devices[i]) - 1, devices[i], FIRST_SLOT + i);

        fz.dev[i] = board_add(fz.b, json);
    }
    board_add(fz.b, "{'driver': 'virtconsole', 'chardev': 'c0', 'id': 'con'}");
    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        vd_open(&fz.drv[i], &fz.b->port, 0, (FIRST_SLOT + i) << 3, false);
    }
    net_each(find_nic, &nic);
    net_port_init(&fz.wire, &wire_ops, "wire", "wire");
    net_connect(nic, &fz.wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };

    if (!fz.b) {
        prepare();
    }
    fz.which = u8(&in) % G_N_ELEMENTS(devices);
    fz.d = &fz.drv[fz.which];
    start(u8(&in));
    for (unsigned i = 0; in.left && i < MAX_OPS; i++) {
        ops[u8(&in) % G_N_ELEMENTS(ops)](&in);
    }
    board_run(fz.b);
    settle();
    return 0;
}

#ifndef FUZZ_LIBFUZZER
static unsigned replay(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autofree char *data = NULL;
    const char *name;
    size_t len;
    unsigned n = 0;

    if (!dir) {
        if (!g_file_get_contents(path, &data, &len, NULL)) {
            fprintf(stderr, "cannot read %s\n", path);
            exit(1);
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, len);
        return 1;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        n += replay(child);
    }
    return n;
}

/* Each input is of one seed: "--runs 1 --seed S" shows it again. */
static void make(uint64_t seed)
{
    uint8_t data[512];
    uint64_t s = (seed + 1) * 0x9e3779b97f4a7c15;
    size_t len = 0;

    for (unsigned i = 0; i < sizeof data; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        data[i] = (uint8_t)(s >> 24 & 3 ? s >> 32 : s >> 32 & 7); /* small ones more often */
        len = i == 0 ? 16 + (s >> 40) % (sizeof data - 16) : len;
    }
    LLVMFuzzerTestOneInput(data, len);
}

int main(int argc, char **argv)
{
    uint64_t runs = 0, seed = 1;
    unsigned files = 0;
    int64_t at = g_get_monotonic_time();

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--runs") && i + 1 < argc) {
            runs = g_ascii_strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
            seed = g_ascii_strtoull(argv[++i], NULL, 0);
        } else {
            files += replay(argv[i]);
        }
    }
    for (uint64_t i = 0; i < runs; i++) {
        make(seed + i);
    }
    printf("%u files, %" G_GUINT64_FORMAT " inputs made, %.0f a second\n", files, runs,
        (double)(files + runs) * 1e6 / (double)MAX(g_get_monotonic_time() - at, 1));
    return files + runs ? 0 : 1;
}
#endif

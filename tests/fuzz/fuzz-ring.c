/*
 * Hostile drivers against every virtio device: one input is a driver's life - a device, an
 * interface (modern or legacy), a ring format, features, queues, then operations on rings,
 * registers and configuration space (VIRTIO 1.4, 2 and 4.1).
 */
#include "tests/fuzz/fuzz.h"

enum { MAX_OPS = 96 };
/* An input's second byte. */
enum {
    F_LEGACY = 1,
    F_PACKED = 2,
    F_NO_EVENT = 4,
    F_NO_INDIRECT = 8,
    F_MSIX = 16,
    F_IN_ORDER = 32
};

static void ld(bool io, uint64_t at, unsigned size)
{
    fz.b->port.load(fz.b, io, at, size);
}

static void st(bool io, uint64_t at, unsigned size, uint64_t val)
{
    fz.b->port.store(fz.b, io, at, size, val);
}

static VRing *ring(unsigned q)
{
    return &fz.d->ring[q % QUEUES];
}

/* Addresses a driver might give: data, the rings, the edge of RAM, holes, the device itself. */
static uint64_t address(Input *in)
{
    unsigned how = u8(in);

    switch (how) {
    case 0:
        return RAM_SIZE - u8(in) % 64;
    case 1:
        return RAM_SIZE + u8(in);
    case 2:
        return fz.d->common + u16(in) % 0x4000;
    case 3:
        return fz.d->bar[1] + u8(in);
    case 4:
        return 0xfee00000 + u8(in);
    case 5:
        return UINT64_MAX - u8(in);
    case 6:
        return u32(in);
    case 7:
        return TABLE;
    default:
        return how < 128 ? DATA + (how - 8) * 0x40u : RINGS + (how - 128) * 0x80u;
    }
}

static uint32_t length(Input *in)
{
    unsigned how = u8(in);

    switch (how) {
    case 255:
        return UINT32_MAX - u8(in);
    case 254:
        return u32(in);
    case 253:
        return u8(in) * 16;
    case 252:
        return 512;
    case 251:
        return 0x8000;
    default:
        return how;
    }
}

/* A descriptor, in the ring or in an indirect table. */
static void op_desc(Input *in, unsigned arg)
{
    VRing *r = ring(arg);
    unsigned i = u8(in);
    uint64_t at = address(in);
    uint32_t len = length(in);
    uint16_t flags = u8(in), next = u8(in);

    if (r->packed) { /* AVAIL and USED from the high bits */
        flags = (uint16_t)((flags & 0x3f) | (flags & 0x40) << 1 | (flags & 0x80) << 8);
    }
    if (arg & 4) {
        VRing table = *r;

        table.desc = TABLE;
        vring_desc(&table, i, at, len, flags, next);
    } else if (r->size) {
        vring_desc(r, i % r->size, at, len, flags, next);
    }
}

static void op_avail(Input *in, unsigned arg)
{
    VRing *r = ring(arg);
    uint16_t v = u8(in);

    if (r->size && !r->packed) {
        vring_avail(r, v);
    }
}

static void op_ring_word(Input *in, unsigned arg)
{
    const VRing *r = ring(arg);
    unsigned part = arg >> 2, off = u8(in) * 2u;
    uint16_t v = (uint16_t)u16(in);

    if (r->size) {
        vport_w16(&fz.port, (part == 0 ? r->desc : part == 1 ? r->driver : r->device) + off, v);
    }
}

/* What a driver of good will sends: bytes of the input, room for answers. */
static void op_chain(Input *in, unsigned arg)
{
    VRing *r = ring(arg);
    unsigned shape = u8(in), nout = shape & 3, nin = shape >> 2 & 3, bytes = shape >> 4;
    uint64_t at = DATA + 0x100u * (arg >> 2);
    VBuf buf[8];

    if (!r->size || nout + nin == 0 || nout + nin > r->size) {
        return;
    }
    bytes = bytes == 15 ? u8(in) % 64 : bytes * 2;
    for (unsigned i = 0; i < bytes && in->left; i++) {
        uint8_t v = u8(in);

        fuzz_write(at + i, &v, 1);
    }
    for (unsigned i = 0; i < nout + nin; i++) {
        bool write = i >= nout;
        uint32_t len = i == 0 && !write ? MAX(bytes, 1u) : i + 1 == nout + nin ? 1 : 512;

        buf[i] = (VBuf){ i ? DATA + 0x2000 + i * 0x400u : at, len, write };
    }
    vring_add(r, buf, nout + nin, arg & 8 ? TABLE + 0x1000 : 0);
}

/* The queue's own notification, or whatever else is written there. */
static void op_kick(Input *in, unsigned arg)
{
    unsigned q = arg & 3;

    if (arg & 8) {
        q = u8(in);
    }
    if (fz.d->legacy) {
        st(true, fz.d->bar[0] + 0x10, 2, q);
    } else {
        uint64_t off = (uint64_t)q * fz.d->notify_mult;

        st(fz.d->notify_io, fz.d->notify + (fz.d->notify_io ? off % 4 : off),
            fz.d->features >> 38 & 1 ? 4 : 2, q);
    }
    if (arg & 4) {
        fuzz_turn();
    }
}

static void op_common(Input *in, unsigned arg)
{
    static const uint8_t sizes[] = { 1, 2, 4, 4 };
    bool legacy = fz.d->legacy;
    unsigned off = u8(in), size = sizes[arg & 3];
    uint64_t at = legacy ? fz.d->bar[0] + off % 32 : fz.d->common + off % 0x44;

    if (arg & 4) {
        ld(legacy, at, size);
    } else {
        st(legacy, at, size, arg & 8 ? u32(in) : u8(in));
    }
}

static void op_device(Input *in, unsigned arg)
{
    unsigned off = u8(in), size = 1u << (arg & 3) % 3;
    uint64_t at = fz.d->legacy ? fz.d->bar[0] + 20 + off % 64 : fz.d->device + off % 80;

    if (arg & 4) {
        ld(fz.d->legacy, at, size);
    } else {
        st(fz.d->legacy, at, size, arg & 8 ? u32(in) : u8(in));
    }
}

/* Moving BARs renders the memory map, which costs more than all the rest of an input: one a life.
 */
static void op_config(Input *in, unsigned arg)
{
    unsigned off = u8(in), size = 1u << (arg & 3) % 3;
    uint32_t val;

    off &= ~(size - 1);
    if (arg & 4) {
        vd_cfg_read(&fz.b->port, 0, fz.d->devfn, off, size);
        return;
    }
    val = u32(in);
    off |= arg & 8 ? 0 : 0x40; /* capabilities rather than the header */
    if (!fz.f->dirty || off >= 0x40) {
        fz.f->dirty = true;
        vd_cfg_write(&fz.b->port, 0, fz.d->devfn, off, size, val);
    }
}

/* Through the configuration access window (4.1.4.9). */
static void op_window(Input *in, unsigned arg)
{
    unsigned cap = fz.d->cap_pci_cfg;
    const VPort *p = &fz.b->port;

    fz.f->dirty = true;
    vd_cfg_write(p, 0, fz.d->devfn, cap + 4, 1, arg & 8 ? u8(in) : 4);
    vd_cfg_write(p, 0, fz.d->devfn, cap + 8, 4, arg & 8 ? u32(in) : u16(in) % 0x4000);
    vd_cfg_write(p, 0, fz.d->devfn, cap + 12, 4, arg & 8 ? u32(in) : 1u << (arg & 3) % 3);
    if (arg & 4) {
        vd_cfg_read(p, 0, fz.d->devfn, cap + 16, 4);
    } else {
        vd_cfg_write(p, 0, fz.d->devfn, cap + 16, 4, u32(in));
    }
}

static void op_status(Input *in, unsigned arg)
{
    vd_set_status(fz.d, arg & 8 ? u8(in) : arg);
}

static void set_queue(unsigned q, unsigned size)
{
    VDriver *d = fz.d;
    VRing *r = ring(q);
    uint64_t at = RINGS + q * QUEUE_PAGES * 4096u;

    r->packed = d->features >> 34 & 1; /* what else it holds is long, and written before read */
    r->event_idx = d->features >> 29 & 1;
    r->size = (uint16_t)size;
    r->free_head = r->avail = r->used = 0;
    r->desc = at;
    r->driver = at + size * 16;
    r->device = d->legacy ? (r->driver + 6 + 2 * size + 4095) / 4096 * 4096 : at + 0x800;
    r->avail_wrap = r->used_wrap = r->packed;
}

/* VIRTIO 1.4, 4.1.5.1.3; false: there is no such queue. */
static bool enable_queue(unsigned q, unsigned size)
{
    VDriver *d = fz.d;
    const VRing *r = ring(q);

    if (d->legacy) {
        fz.port.store(NULL, true, d->bar[0] + 0x0e, 2, q);
        size = (unsigned)fz.port.load(NULL, true, d->bar[0] + 0x0c, 2);
        if (!size || size > 256) {
            return false;
        }
        set_queue(q, size);
        fz.port.store(NULL, true, d->bar[0] + 8, 4, r->desc / 4096);
        if (d->msix) {
            fz.port.store(NULL, true, d->bar[0] + 0x16, 2, 1 + q);
        }
        return true;
    }
    vd_write(d, 0x16, 2, q);
    size = MIN(size, (unsigned)vd_read(d, 0x18, 2));
    if (!size) {
        return false;
    }
    set_queue(q, size);
    vd_write(d, 0x18, 2, size);
    vd_write(d, 0x20, 4, r->desc);
    vd_write(d, 0x28, 4, r->driver);
    vd_write(d, 0x30, 4, r->device);
    if (d->msix) {
        vd_write(d, 0x1a, 2, 1 + q);
    }
    vd_write(d, 0x1c, 2, 1);
    return true;
}

/* RING_RESET, and the queue enabled again, possibly smaller. */
static void op_queue(Input *in, unsigned arg)
{
    if (!fz.d->legacy) {
        vd_write(fz.d, 0x16, 2, arg & 3);
        vd_write(fz.d, 0x3a, 2, 1);
        if (arg & 4) {
            enable_queue(arg & 3, arg & 8 ? u8(in) : 8);
        }
    }
}

static void op_frame(Input *in, unsigned arg)
{
    uint8_t frame[128] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };
    unsigned n = arg == 15 ? u8(in) % sizeof frame : 6 + arg * 4;
    struct iovec v = { frame, MAX(n, 1) };

    for (unsigned i = 6; i < n && in->left; i++) {
        frame[i] = u8(in);
    }
    net_send(&fz.wire, &v, 1, v.iov_len);
}

static void op_run(Input *in, unsigned arg)
{
    if (arg & 1) {
        vd_isr(fz.d);
    }
    fuzz_turn();
}

static void (*const ops[16])(Input *in, unsigned arg) = { op_chain, op_desc, op_avail, op_ring_word,
    op_kick, op_common, op_device, op_config, op_window, op_status, op_queue, op_frame, op_run,
    op_chain, op_kick, op_desc };

static void set_msix(bool on)
{
    VDriver *d = fz.d;

    if (d->msix != on) {
        pci_fn_config_write(&fz.f->pci->fn, d->cap_msix + 2, 2, on ? 0x8000 : 0);
        d->msix = on;
        fuzz_config_snapshot(fz.f);
    }
}

/* A driver's start, as far as the device goes along. */
static void start(unsigned how, unsigned queues)
{
    VDriver *d = fz.d;
    uint64_t f;

    set_msix(how & F_MSIX);
    d->legacy = how & F_LEGACY;
    f = virtio_offered(fz.f->vd, d->legacy).word[0];
    f &= ~(1ull << 34 | 1ull << 29 | 1ull << 28 | 1ull << 35);
    f |= (uint64_t) !!(how & F_PACKED) << 34 | (uint64_t) !(how & F_NO_EVENT) << 29 |
         (uint64_t) !(how & F_NO_INDIRECT) << 28 | (uint64_t) !!(how & F_IN_ORDER) << 35;
    f = d->legacy ? (uint32_t)f : f;
    vd_negotiate(d, f);
    for (unsigned q = 0; q < QUEUES; q++) {
        ring(q)->size = 0;
        ring(q)->port = &fz.port;
        if (!(queues & 15) || queues >> q & 1) {
            enable_queue(q, queues & 16 ? 4 : 16);
        }
    }
    vd_driver_ok(d);
}

bool fuzz_option(const char *arg)
{
    if (!strcmp(arg, "--ring=split")) {
        fz.ring = 1;
    } else if (!strcmp(arg, "--ring=packed")) {
        fz.ring = 2;
    }
    return g_str_has_prefix(arg, "--ring=");
}

void fuzz_one(Input *in)
{
    unsigned how, queues;

    fuzz_begin(u8(in));
    how = u8(in);
    queues = u8(in);
    if (fz.ring) {
        how = fz.ring == 1 ? how & ~F_PACKED : (how | F_PACKED) & ~F_LEGACY;
    }
    start(how, queues);
    for (unsigned i = 0; in->left && i < MAX_OPS; i++) {
        unsigned b = u8(in);

        ops[b & 15](in, b >> 4);
    }
    fuzz_end();
}

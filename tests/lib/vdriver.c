/* The driver's side of virtio-pci. */
#include "tests/lib/vdriver.h"

enum { CFG_ADDR = 0xcf8, CFG_DATA = 0xcfc };

uint32_t vd_cfg_read(const VPort *p, unsigned bus, unsigned devfn, unsigned reg, unsigned size)
{
    p->store(p->opaque, true, CFG_ADDR, 4, 1u << 31 | bus << 16 | devfn << 8 | reg);
    return (uint32_t)p->load(p->opaque, true, CFG_DATA, size);
}

void vd_cfg_write(
    const VPort *p, unsigned bus, unsigned devfn, unsigned reg, unsigned size, uint32_t val)
{
    p->store(p->opaque, true, CFG_ADDR, 4, 1u << 31 | bus << 16 | devfn << 8 | reg);
    p->store(p->opaque, true, CFG_DATA, size, val);
}

static uint32_t cr(const VDriver *d, unsigned reg, unsigned size)
{
    return vd_cfg_read(d->port, d->bus, d->devfn, reg, size);
}

static void cw(const VDriver *d, unsigned reg, unsigned size, uint32_t val)
{
    vd_cfg_write(d->port, d->bus, d->devfn, reg, size, val);
}

static void map_bars(VDriver *d, uint64_t window)
{
    uint64_t io = 0xc000 + d->devfn * 0x40u, mem = window + d->devfn * 0x100000u;

    for (unsigned i = 0; i < 6; i++) {
        uint32_t was = cr(d, 0x10 + 4 * i, 4), mask, size;

        cw(d, 0x10 + 4 * i, 4, UINT32_MAX);
        mask = cr(d, 0x10 + 4 * i, 4);
        cw(d, 0x10 + 4 * i, 4, was);
        if (!mask) {
            continue;
        }
        size = mask & 1 ? (~(mask & ~3u) + 1) & 0xffff : ~(mask & ~15u) + 1;
        d->bar_size[i] = size;
        uint64_t *at = mask & 1 ? &io : &mem;

        *at = (*at + size - 1) & ~(uint64_t)(size - 1);
        d->bar[i] = *at;
        *at += size;
        cw(d, 0x10 + 4 * i, 4, (uint32_t)d->bar[i]);
        if (!(mask & 1) && (mask & 6) == 4) {
            cw(d, 0x14 + 4 * i, 4, 0);
            i++;
        }
    }
    cw(d, 4, 2, 7);
}

static void walk_caps(VDriver *d)
{
    unsigned cap = cr(d, 0x34, 1);

    for (unsigned n = 0; cap && n < 48; n++, cap = cr(d, cap + 1, 1)) {
        unsigned id = cr(d, cap, 1);

        if (id == 0x11) {
            d->cap_msix = cap;
        } else if (id == 0x10) {
            d->cap_pcie = cap;
        } else if (id == 0x09) {
            uint64_t at = d->bar[cr(d, cap + 4, 1) % 6] + cr(d, cap + 8, 4);

            switch (cr(d, cap + 3, 1)) {
            case 1:
                d->common = d->common ? d->common : at;
                break;
            case 2:
                if (!d->notify) {
                    d->notify = at;
                    d->notify_io = cr(d, 0x10 + 4 * (cr(d, cap + 4, 1) % 6), 4) & 1;
                    d->notify_mult = cr(d, cap + 16, 4);
                }
                break;
            case 3:
                d->isr = d->isr ? d->isr : at;
                break;
            case 4:
                d->device = d->device ? d->device : at;
                break;
            case 5:
                d->cap_pci_cfg = cap;
                break;
            }
        }
    }
}

void vd_open_at(
    VDriver *d, const VPort *p, unsigned bus, unsigned devfn, bool legacy, uint64_t window)
{
    *d = (VDriver){ .port = p, .bus = bus, .devfn = devfn, .legacy = legacy, .alloc = 0x100000 };
    map_bars(d, window ? window : 0xe0000000u);
    walk_caps(d);
}

void vd_open(VDriver *d, const VPort *p, unsigned bus, unsigned devfn, bool legacy)
{
    vd_open_at(d, p, bus, devfn, legacy, 0);
}

uint64_t vd_read(const VDriver *d, uint64_t off, unsigned size)
{
    return d->port->load(d->port->opaque, false, d->common + off, size);
}

void vd_write(const VDriver *d, uint64_t off, unsigned size, uint64_t val)
{
    d->port->store(d->port->opaque, false, d->common + off, size, val);
}

static uint64_t lr(const VDriver *d, unsigned off, unsigned size)
{
    return d->port->load(d->port->opaque, true, d->bar[0] + off, size);
}

static void lw(const VDriver *d, unsigned off, unsigned size, uint64_t val)
{
    d->port->store(d->port->opaque, true, d->bar[0] + off, size, val);
}

uint8_t vd_status(const VDriver *d)
{
    return (uint8_t)(d->legacy ? lr(d, 0x12, 1) : vd_read(d, 0x14, 1));
}

void vd_set_status(const VDriver *d, uint8_t s)
{
    if (d->legacy) {
        lw(d, 0x12, 1, s);
    } else {
        vd_write(d, 0x14, 1, s);
    }
}

uint8_t vd_isr(const VDriver *d)
{
    return (uint8_t)(d->legacy ? lr(d, 0x13, 1) : d->port->load(d->port->opaque, false, d->isr, 1));
}

/* Two words of device_feature. */
static uint64_t offered_from(const VDriver *d, unsigned select)
{
    uint64_t lo;

    vd_write(d, 0, 4, select);
    lo = vd_read(d, 4, 4);
    vd_write(d, 0, 4, select + 1);
    return lo | vd_read(d, 4, 4) << 32;
}

uint64_t vd_offered(const VDriver *d)
{
    return d->legacy ? lr(d, 0, 4) : offered_from(d, 0);
}

uint64_t vd_offered_more(const VDriver *d)
{
    return d->legacy ? 0 : offered_from(d, 2);
}

bool vd_negotiate(VDriver *d, uint64_t features)
{
    vd_set_status(d, 0);
    vd_set_status(d, 1);
    vd_set_status(d, 3);
    d->features = features;
    if (d->legacy) {
        lw(d, 4, 4, features);
        return true;
    }
    const uint64_t word[2] = { features, d->features_more };

    for (unsigned i = 0; i < 4; i++) {
        vd_write(d, 8, 4, i);
        vd_write(d, 0x0c, 4, (uint32_t)(word[i / 2] >> (i % 2 * 32)));
    }
    vd_set_status(d, 11);
    return vd_status(d) == 11;
}

uint64_t vd_page(VDriver *d, size_t len)
{
    uint64_t at = d->alloc;

    d->alloc += (len + 4095) / 4096 * 4096;
    vport_zero(d->port, at, len);
    return at;
}

void vd_setup_queue(VDriver *d, unsigned i, uint16_t size)
{
    VRing *r = &d->ring[i];
    bool packed = d->features >> 34 & 1, event = d->features >> 29 & 1;

    g_assert(i < VD_QUEUES);
    if (d->legacy) {
        lw(d, 0x0e, 2, i);
        size = (uint16_t)lr(d, 0x0c, 2);
    } else {
        vd_write(d, 0x16, 2, i);
        if (size) {
            vd_write(d, 0x18, 2, size);
        }
        size = (uint16_t)vd_read(d, 0x18, 2);
    }
    vring_init(r, d->port, d->alloc, size, packed, event);
    r->in_order = d->features >> 35 & 1;
    d->alloc = (vring_end(r) + 4095) / 4096 * 4096;
    if (d->legacy) {
        lw(d, 8, 4, r->desc / 4096);
        if (d->msix) {
            lw(d, 0x16, 2, 1 + i);
        }
        return;
    }
    for (unsigned half = 0; half < 2; half++) {
        vd_write(d, 0x20 + 4 * half, 4, (uint32_t)(r->desc >> (32 * half)));
        vd_write(d, 0x28 + 4 * half, 4, (uint32_t)(r->driver >> (32 * half)));
        vd_write(d, 0x30 + 4 * half, 4, (uint32_t)(r->device >> (32 * half)));
    }
    if (d->msix) {
        vd_write(d, 0x1a, 2, 1 + i);
    }
    vd_write(d, 0x1c, 2, 1);
}

void vd_driver_ok(VDriver *d)
{
    vd_set_status(d, d->legacy ? 7 : 15);
}

void vd_kick(const VDriver *d, unsigned i)
{
    if (d->legacy) {
        lw(d, 0x10, 2, i);
        return;
    }
    const VRing *r = &d->ring[i];
    bool data = d->features >> 38 & 1;
    uint32_t v = i;

    vd_write(d, 0x16, 2, i);
    if (d->features >> 39 & 1) {
        v = (uint32_t)vd_read(d, 0x38, 2);
    }
    if (data) { /* VIRTIO 1.4, 2.9 */
        v |= (uint32_t)r->avail << 16 | (uint32_t)(r->packed && r->avail_wrap) << 31;
    }
    d->port->store(d->port->opaque, d->notify_io, d->notify + vd_read(d, 0x1e, 2) * d->notify_mult,
        data ? 4 : 2, v);
}

void vd_start(VDriver *d, uint64_t without)
{
    unsigned n;

    g_assert_true(vd_negotiate(d, vd_offered(d) & ~without));
    if (d->msix) {
        if (d->legacy) {
            lw(d, 0x14, 2, 0);
        } else {
            vd_write(d, 0x10, 2, 0);
        }
    }
    n = d->legacy ? 1 : (unsigned)vd_read(d, 0x12, 2);
    for (unsigned i = 0; i < n && i < VD_QUEUES; i++) {
        vd_setup_queue(d, i, 0);
    }
    vd_driver_ok(d);
}

void vd_enable_msix(VDriver *d)
{
    unsigned n, table;
    uint64_t at;

    g_assert_cmpuint(d->cap_msix, !=, 0);
    d->msi_at = vd_page(d, 4096);
    n = (cr(d, d->cap_msix + 2, 2) & 0x7ff) + 1;
    table = cr(d, d->cap_msix + 4, 4);
    at = d->bar[table & 7] + (table & ~7u);
    for (unsigned v = 0; v < n; v++) {
        d->port->store(d->port->opaque, false, at + v * 16, 4, d->msi_at + 4 * v);
        d->port->store(d->port->opaque, false, at + v * 16 + 4, 4, 0);
        d->port->store(d->port->opaque, false, at + v * 16 + 8, 4, 0x4000 + v);
        d->port->store(d->port->opaque, false, at + v * 16 + 12, 4, 0);
    }
    cw(d, d->cap_msix + 2, 2, 0x8000);
    d->msix = true;
}

uint32_t vd_msi(const VDriver *d, unsigned vector)
{
    uint32_t v = vport_r32(d->port, d->msi_at + 4 * vector);

    if (v) { /* else one that arrives just now would be wiped out */
        vport_w32(d->port, d->msi_at + 4 * vector, 0);
    }
    return v;
}

void vd_wait_used(VDriver *d, unsigned i, uint32_t *ret_id, uint32_t *ret_len)
{
    unsigned steps = 0;

    while (!vring_used(&d->ring[i], ret_id, ret_len)) {
        d->port->step(d->port->opaque);
        /* Seconds: a thread of the device may be waiting for a processor. */
        g_assert_cmpuint(++steps, <, 20000000);
    }
}

/* The driver's side of split and packed rings. */
#include "tests/lib/vring.h"

#include <endian.h>

uint16_t vport_r16(const VPort *p, uint64_t at)
{
    uint16_t v;

    p->read(p->opaque, at, &v, 2);
    return le16toh(v);
}

uint32_t vport_r32(const VPort *p, uint64_t at)
{
    uint32_t v;

    p->read(p->opaque, at, &v, 4);
    return le32toh(v);
}

void vport_w16(const VPort *p, uint64_t at, uint16_t v)
{
    v = htole16(v);
    p->write(p->opaque, at, &v, 2);
}

void vport_w32(const VPort *p, uint64_t at, uint32_t v)
{
    v = htole32(v);
    p->write(p->opaque, at, &v, 4);
}

void vport_w64(const VPort *p, uint64_t at, uint64_t v)
{
    v = htole64(v);
    p->write(p->opaque, at, &v, 8);
}

void vport_zero(const VPort *p, uint64_t at, size_t len)
{
    g_autofree uint8_t *z = g_malloc0(len);

    p->write(p->opaque, at, z, len);
}

void vring_init(
    VRing *r, const VPort *port, uint64_t at, uint16_t size, bool packed, bool event_idx)
{
    *r =
        (VRing){ .port = port, .packed = packed, .event_idx = event_idx, .size = size, .desc = at };
    r->driver = at + size * 16u;
    r->device = (r->driver + 6 + 2u * size + 4095) / 4096 * 4096;
    r->avail_wrap = r->used_wrap = packed;
    vport_zero(port, at, vring_end(r) - at);
}

uint64_t vring_end(const VRing *r)
{
    return r->device + 6 + 8u * r->size;
}

void vring_desc(
    const VRing *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    uint64_t at = r->desc + i * 16u;

    vport_w64(r->port, at, addr);
    vport_w32(r->port, at + 8, len);
    vport_w16(r->port, at + 12, r->packed ? next : flags);
    vport_w16(r->port, at + 14, r->packed ? flags : next);
}

void vring_set_avail_idx(const VRing *r, uint16_t idx)
{
    vport_w16(r->port, r->driver + 2, idx);
}

void vring_avail(VRing *r, uint16_t head)
{
    vport_w16(r->port, r->driver + 4 + r->avail % r->size * 2u, head);
    vring_set_avail_idx(r, ++r->avail);
}

static void write_table(const VRing *r, uint64_t table, const VBuf *buf, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bool next = i + 1 < n && !r->packed;
        uint16_t flags = (uint16_t)((buf[i].write ? VRING_WRITE : 0) | (next ? VRING_NEXT : 0));

        vport_w64(r->port, table + i * 16u, buf[i].at);
        vport_w32(r->port, table + i * 16u + 8, buf[i].len);
        vport_w16(r->port, table + i * 16u + 12, r->packed ? 0 : flags);
        vport_w16(r->port, table + i * 16u + 14, r->packed ? flags : (uint16_t)(next ? i + 1 : 0));
    }
}

static uint16_t add_split(VRing *r, const VBuf *buf, unsigned n, uint16_t extra)
{
    uint16_t head = r->free_head;

    for (unsigned i = 0; i < n; i++) {
        unsigned at = (head + i) % r->size;
        uint16_t flags =
            (uint16_t)((buf[i].write ? VRING_WRITE : 0) | (i + 1 < n ? VRING_NEXT : 0) | extra);

        vring_desc(r, at, buf[i].at, buf[i].len, flags, (uint16_t)((at + 1) % r->size));
    }
    r->free_head = (uint16_t)((head + n) % r->size);
    vring_avail(r, head);
    return head;
}

static uint16_t *len_of(VRing *r, uint32_t id)
{
    return r->len_more ? &r->len_more[id] : &r->len_of[id % VRING_IDS];
}

static uint16_t add_packed(VRing *r, const VBuf *buf, unsigned n, uint16_t extra)
{
    uint16_t id = r->free_head, first = r->avail, first_flags = 0;

    r->free_head = (uint16_t)((r->free_head + 1) % r->size);
    *len_of(r, id) = (uint16_t)n;
    for (unsigned i = 0; i < n; i++) {
        uint16_t flags =
            (uint16_t)((buf[i].write ? VRING_WRITE : 0) | (i + 1 < n ? VRING_NEXT : 0) | extra |
                       (r->avail_wrap ? 1 << 7 : 1 << 15));

        if (!i) {
            first_flags = flags;
            flags ^= 1 << 7 | 1 << 15; /* not available yet */
        }
        vring_desc(r, r->avail, buf[i].at, buf[i].len, flags, id);
        if (++r->avail == r->size) {
            r->avail = 0;
            r->avail_wrap = !r->avail_wrap;
        }
    }
    vport_w16(r->port, r->desc + first * 16u + 14, first_flags);
    return id;
}

uint16_t vring_add(VRing *r, const VBuf *buf, unsigned n, uint64_t table)
{
    VBuf ind = { table, n * 16, false };
    uint32_t full = 0;
    uint16_t id;

    for (unsigned i = 0; i < n; i++) {
        full += buf[i].write ? buf[i].len : 0;
    }
    if (table) {
        write_table(r, table, buf, n);
        buf = &ind;
        n = 1;
    }
    id = r->packed ? add_packed(r, buf, n, table ? VRING_INDIRECT : 0)
                   : add_split(r, buf, n, table ? VRING_INDIRECT : 0);
    if (r->in_order) {
        unsigned at = (r->order_first + r->order_n++) % VRING_IDS;

        r->order[at] = id;
        r->full[at] = full;
    }
    return id;
}

uint16_t vring_used_idx(const VRing *r)
{
    return vport_r16(r->port, r->device + 2);
}

static void advance_used(VRing *r, uint32_t id)
{
    if (!r->packed) {
        r->used++;
        return;
    }
    r->used = (uint16_t)(r->used + *len_of(r, id));
    if (r->used >= r->size) {
        r->used = (uint16_t)(r->used - r->size);
        r->used_wrap = !r->used_wrap;
    }
}

/* The entry at our position; false: none. */
static bool look(const VRing *r, uint32_t *ret_id, uint32_t *ret_len)
{
    if (r->packed) {
        uint64_t at = r->desc + r->used * 16u;
        uint16_t flags = vport_r16(r->port, at + 14);

        if (!!(flags & 1 << 7) != r->used_wrap || !!(flags & 1 << 15) != r->used_wrap) {
            return false;
        }
        *ret_id = vport_r16(r->port, at + 12);
        *ret_len = flags & VRING_WRITE ? vport_r32(r->port, at + 8) : 0;
        return true;
    }
    if (vring_used_idx(r) == r->used) {
        return false;
    }
    uint64_t at = r->device + 4 + r->used % r->size * 8u;

    *ret_id = vport_r32(r->port, at);
    *ret_len = vport_r32(r->port, at + 4);
    return true;
}

bool vring_used(VRing *r, uint32_t *ret_id, uint32_t *ret_len)
{
    uint32_t id, len;

    if (!r->in_order || !r->order_n) {
        if (!look(r, ret_id, ret_len)) {
            return false;
        }
        advance_used(r, *ret_id);
        return true;
    }
    if (!r->in_batch && !look(r, &r->batch_id, &r->batch_len)) {
        return false;
    }
    id = r->order[r->order_first];
    len = r->full[r->order_first];
    r->order_first = (r->order_first + 1) % VRING_IDS;
    r->order_n--;
    r->in_batch = id != r->batch_id;
    *ret_id = id;
    *ret_len = r->in_batch ? len : r->batch_len;
    advance_used(r, id);
    return true;
}

bool vring_wants_kick(const VRing *r, uint16_t before)
{
    g_assert(!r->packed);
    if (r->event_idx) {
        uint16_t event = vport_r16(r->port, r->device + 4 + r->size * 8u);

        return (uint16_t)(r->avail - event - 1) < (uint16_t)(r->avail - before);
    }
    return !(vport_r16(r->port, r->device) & 1);
}

/* Normative sentences about the packed ring (VIRTIO 1.4, 2.8). */
#include "tests/conformance/norm.h"

enum { ORDER_MAX = 64 };

static char order[ORDER_MAX];
static unsigned norder;

static VqVerdict note_order(Dummy *s, VqElem *e)
{
    g_assert_cmpuint(norder, <, ORDER_MAX);
    g_assert_true(giov_get(&e->out, order + norder++, 1));
    return VQ_DONE;
}

static uint16_t add_letter(Norm *x, char letter)
{
    uint64_t at = x->page + 0x2000 + (uint64_t)letter;
    const VBuf buf[] = { { at, 1, false }, { x->page + 0x1000, 8, true } };

    x->b->port.write(x->b, at, &letter, 1);
    return vring_add(x->r, buf, 2, 0);
}

static uint64_t desc_at(const Norm *x, unsigned i)
{
    return x->r->desc + i * 16u;
}

static void ring_1(Norm *x)
{
    NORM("PACKED-RING-1");
    x->s->on_request = note_order;
    norder = 0;
    for (unsigned round = 0; round < 4; round++) { /* four times five of sixteen: it wraps */
        uint16_t id[5];

        for (unsigned i = 0; i < 5; i++) {
            id[i] = add_letter(x, (char)('a' + norder + i));
        }
        norm_go(x);
        for (unsigned i = 0; i < 5; i++) {
            norm_used(x, id[i], 0);
        }
    }
    g_assert_cmpmem(order, norder, "abcdefghijklmnopqrst", 20);
}

static void ring_2(Norm *x)
{
    uint16_t id[4];

    NORM("PACKED-RING-2");
    x->s->on_request = norm_hold;
    for (unsigned i = 0; i < 4; i++) {
        id[i] = norm_add(x);
    }
    norm_go(x);
    norm_push(x, 2);
    norm_used(x, id[2], 0);
    norm_push(x, 0);
    norm_push(x, 1); /* the last one */
    norm_push(x, 0);
    norm_used(x, id[0], 0);
    norm_used(x, id[3], 0);
    norm_used(x, id[1], 0);
}

static void ring_3(Norm *x)
{
    uint16_t id[3];

    NORM("PACKED-RING-3");
    x->s->on_request = norm_hold;
    for (unsigned i = 0; i < 3; i++) {
        id[i] = norm_add(x);
    }
    norm_go(x);
    vq_push_all((VqElem *const *)x->s->held->pdata, 3);
    g_ptr_array_set_size(x->s->held, 0);
    for (unsigned i = 0; i < 3; i++) {
        norm_used(x, id[i], 0);
    }
    norm_note("of a batch the first descriptor is written last, the others in order");
}

static void desc_1(Norm *x)
{
    NORM("PACKED-DESC-1");
    norm_check_buffers(x);
}

static void desc_2(Norm *x)
{
    NORM("PACKED-DESC-2");
    for (unsigned i = 0; i < x->r->size; i++) { /* all but AVAIL is there */
        vring_desc(x->r, i, x->page, 4, 0, (uint16_t)i);
    }
    norm_go(x);
    g_assert_cmpuint(x->s->requests, ==, 0);
    vport_zero(&x->b->port, x->r->desc, x->r->size * 16u);
    /* Around the ring: what the last lap left behind is not available in this one. */
    for (unsigned i = 0; i < 24; i++) {
        uint16_t id = norm_add(x);

        norm_go(x);
        norm_go(x);
        norm_used(x, id, 4);
        g_assert_cmpuint(x->s->requests, ==, i + 1);
        g_assert_true(norm_idle(x));
    }
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

/* Descriptors that are shown as used, as they were when that was seen first. */
typedef struct Shown {
    const Norm *x;
    bool wrap, changed;
    bool used[16];
    uint8_t bytes[16][16];
} Shown;

static void see_used(void *opaque)
{
    Shown *s = opaque;

    for (unsigned i = 0; i < 16; i++) {
        uint8_t now[16];

        s->x->b->port.read(s->x->b, desc_at(s->x, i), now, 16);
        if (s->used[i]) {
            s->changed |= memcmp(s->bytes[i], now, 16);
        } else if ((now[14] & 0x80) == (s->wrap ? 0x80 : 0) &&
                   (now[15] & 0x80) == (s->wrap ? 0x80 : 0)) {
            s->used[i] = true;
            memcpy(s->bytes[i], now, 16);
        }
    }
}

static void desc_3(Norm *x)
{
    Shown s = { .x = x, .wrap = true };

    NORM("PACKED-DESC-3");
    for (unsigned lap = 0; lap < 2; lap++, s.wrap = !s.wrap) {
        memset(s.used, 0, sizeof s.used);
        for (unsigned n = 1; n <= 3; n++) { /* batches of one, two, three; then to the lap's end */
            uint16_t id[3];

            for (unsigned i = 0; i < n; i++) {
                id[i] = norm_add(x);
            }
            norm_watch(x, x->r->desc, see_used, &s);
            norm_go(x);
            g_assert_cmpuint(norm_unwatch(), >, 0);
            for (unsigned i = 0; i < n; i++) {
                norm_used(x, id[i], 4);
            }
        }
        g_assert_false(s.changed);
        g_assert_true(s.used[0] && s.used[10]);
        norm_one(x);
        norm_one(x);
    }
}

static void sg_1(Norm *x)
{
    NORM("PACKED-SG-1");
    for (unsigned round = 0; round < 20; round++) { /* chains of five wrap at every place */
        const VBuf buf[] = { { x->page + 8, 2, false }, { x->page, 2, false },
            { x->page + 4, 2, false }, { x->page + 0x1004, 4, true },
            { x->page + 0x1000, 4, true } };

        norm_put(x, x->page, "cd..ef..ab");
        norm_fill(x, x->page + 0x1000, '-', 8);
        uint16_t id = vring_add(x->r, buf, 5, round % 7 == 6 ? x->page + 0x3000 : 0);

        norm_go(x);
        norm_used(x, id, 6);
        g_assert_true(norm_is(x, x->page + 0x1000, "ef--abcd"));
    }
}

static void sg_2(Norm *x)
{
    VBuf *buf = g_new(VBuf, 1025);
    uint16_t id;

    NORM("PACKED-SG-2");
    for (unsigned i = 0; i < 1025; i++) {
        buf[i] = (VBuf){ x->page + 8 * i, 1, false };
    }
    id = vring_add(x->r, buf, 16, 0);
    norm_go(x);
    norm_used(x, id, 0);
    id = vring_add(x->r, buf, 1024, x->page + 0x4000);
    norm_go(x);
    norm_used(x, id, 0);
    vring_add(x->r, buf, 1025, x->page + 0x4000);
    norm_go(x);
    norm_note("an indirect table of 1024 is taken, of 1025 %s",
        vd_status(&x->d) == 0x4f ? "refused" : "too");
    g_free(buf);
}

static void placing_2(Norm *x)
{
    NORM("TXT-PACKED-PLACING-AVAILABLE-2");
    norm_note("a chain that comes while the device works is %s",
        norm_takes_at_once(x) ? "taken at once" : "left until the next kick");
}

static uint16_t event_flags; /* while a request is served */

static VqVerdict look_at_event(Dummy *s, VqElem *e)
{
    const Norm *x = norm_current();

    event_flags = vport_r16(&x->b->port, x->r->device + 2);
    return VQ_DONE;
}

static void sending_1(Norm *x)
{
    uint64_t event = x->r->device;

    NORM("TXT-PACKED-SENDING-AVAILABLE-1");
    x->s->on_request = look_at_event;
    for (unsigned i = 0; i < 10; i++) {
        norm_add(x);
        norm_go(x);
        /* Idle, it asks for the descriptor that comes next: 2.8.14. */
        g_assert_cmphex(vport_r16(&x->b->port, event), ==, x->r->avail | x->r->avail_wrap << 15);
        g_assert_cmphex(vport_r16(&x->b->port, event + 2), ==, 2);
    }
    norm_note("event flags are %u while a request is served", event_flags);
    g_assert_cmphex(event_flags, <=, 2);
}

int main(int argc, char **argv)
{
#define PACKED ", 'packed': true"
    static const NormTest tests[] = {
        { "PACKED-RING-1", ring_1, NORM_START, PACKED },
        { "PACKED-RING-2", ring_2, NORM_START, PACKED },
        { "PACKED-RING-3", ring_3, NORM_START, PACKED },
        { "PACKED-DESC-1", desc_1, NORM_START, PACKED },
        { "PACKED-DESC-2", desc_2, NORM_START, PACKED },
        { "PACKED-DESC-3", desc_3, NORM_START, PACKED },
        { "PACKED-SG-1", sg_1, NORM_START, PACKED },
        { "PACKED-SG-2", sg_2, NORM_START, PACKED },
        { "TXT-PACKED-PLACING-AVAILABLE-2", placing_2, NORM_START, PACKED },
        { "TXT-PACKED-SENDING-AVAILABLE-1", sending_1, NORM_START, PACKED },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}

/* Normative sentences about the split ring (VIRTIO 1.4, 2.7). */
#include "tests/conformance/norm.h"

#define EVENT_IDX NORM_BIT(29)

static uint64_t used_event_at(const Norm *x)
{
    return x->r->driver + 4 + x->r->size * 2u;
}

static uint64_t avail_event_at(const Norm *x)
{
    return x->r->device + 4 + x->r->size * 8u;
}

static void set16(const Norm *x, uint64_t at, uint16_t v)
{
    vport_w16(&x->b->port, at, v);
}

static uint16_t get16(const Norm *x, uint64_t at)
{
    return vport_r16(&x->b->port, at);
}

static void nothing(void *opaque) {}

/* The same 8 bytes cut in every way on both sides. */
static void frame_1(Norm *x)
{
    NORM("SPLIT-FRAME-1");
    for (unsigned cut = 0; cut < 1 << 7; cut++) {
        VBuf buf[16];
        unsigned n = 0;
        uint16_t id;
        const VBuf *b = buf;

        norm_put(x, x->page, "abcdefgh");
        norm_fill(x, x->page + 0x1000, 0, 64);
        for (unsigned dir = 0; dir < 2; dir++) {
            unsigned from = 0;

            for (unsigned i = 1; i <= 8; i++) {
                bool ends = i == 8 || (dir ? cut >> (i - 1) & 1 : (cut >> (7 - i) & 1));

                if (ends) {
                    buf[n++] = (VBuf){ x->page + dir * 0x1000 + from, i - from, dir };
                    from = i;
                }
            }
        }
        id = vring_add(x->r, b, n, n > 8 || cut % 2 ? x->page + 0x2000 : 0);
        norm_go(x);
        norm_used(x, id, 8);
        g_assert_true(norm_is(x, x->page + 0x1000, "abcdefgh"));
    }
}

static void frame_2(Norm *x)
{
    VBuf *buf = g_new(VBuf, 1025);
    uint16_t id;

    NORM("SPLIT-FRAME-2");
    for (unsigned i = 0; i < 1025; i++) {
        buf[i] = (VBuf){ x->page + 8 * i, 1, false };
    }
    id = vring_add(x->r, buf, 16, 0); /* the whole ring in one chain */
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

static void desc_1(Norm *x)
{
    NORM("SPLIT-DESC-1");
    norm_check_buffers(x);
}

/* Neither in the ring nor in an indirect table: not even with what is there already. */
static void desc_2(Norm *x)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->page + 0x1000, 8, true } };

    NORM("SPLIT-DESC-2");
    for (unsigned indirect = 0; indirect < 2; indirect++) {
        uint64_t table = x->page + 0x2000;
        uint16_t id[2] = { norm_add(x), vring_add(x->r, buf, 2, table) };

        norm_watch(x, indirect ? table : x->r->desc, nothing, NULL);
        norm_go(x);
        g_assert_cmpuint(norm_unwatch(), ==, 0);
        norm_used(x, id[0], 4);
        norm_used(x, id[1], 4);
    }
}

static void make_table(const Norm *x)
{
    vport_w64(&x->b->port, x->page + 0x800, x->page + 0x1000);
    vport_w32(&x->b->port, x->page + 0x808, 8);
    vport_w16(&x->b->port, x->page + 0x80c, VRING_WRITE);
}

static void indirect_1(Norm *x)
{
    NORM("SPLIT-INDIRECT-1");
    make_table(x);
    vring_desc(x->r, 0, x->page + 0x800, 16, VRING_INDIRECT | VRING_WRITE, 0);
    vring_avail(x->r, 0);
    norm_go(x);
    norm_used(x, 0, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void indirect_2(Norm *x)
{
    NORM("SPLIT-INDIRECT-2");
    make_table(x);
    norm_put(x, x->page, "one");
    for (unsigned direct = 0; direct < 3; direct++) {
        for (unsigned i = 0; i < direct; i++) {
            vring_desc(x->r, i, x->page, 3, VRING_NEXT, (uint16_t)(i + 1));
        }
        vring_desc(x->r, direct, x->page + 0x800, 16, VRING_INDIRECT, 0);
        vring_avail(x->r, 0);
        norm_go(x);
        norm_used(x, 0, 3 * direct);
    }
    g_assert_true(norm_is(x, x->page + 0x1000, "oneone"));
}

static void usedsup_1(Norm *x)
{
    NORM("SPLIT-USEDSUP-1");
    set16(x, used_event_at(x), 1000);
    for (unsigned i = 0; i < 3; i++) {
        norm_one(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 1);
    }
}

static void usedsup_2(Norm *x)
{
    NORM("SPLIT-USEDSUP-2");
    set16(x, x->r->driver, 1);
    norm_one(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static void usedsup_3(Norm *x)
{
    NORM("SPLIT-USEDSUP-3");
    for (unsigned i = 0; i < 40; i++) {
        norm_one(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 1);
    }
}

static void usedsup_4(Norm *x)
{
    NORM("SPLIT-USEDSUP-4");
    set16(x, x->r->driver, 1);
    norm_one(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static void usedsup_5(Norm *x)
{
    NORM("SPLIT-USEDSUP-5");
    for (unsigned i = 0; i < 40; i++) {
        set16(x, used_event_at(x), (uint16_t)i); /* idx is i when the entry is placed */
        norm_one(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 1);
    }
    set16(x, used_event_at(x), 42); /* in the middle of a batch */
    for (unsigned i = 0; i < 5; i++) {
        norm_add(x);
    }
    norm_go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static void usedsup_6(Norm *x)
{
    NORM("SPLIT-USEDSUP-6");
    for (unsigned i = 0; i < 40; i++) {
        set16(x, used_event_at(x), (uint16_t)(i % 2 ? i + 1 : i - 1)); /* ahead of it, behind it */
        norm_one(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 0);
    }
}

/* Three requests in one batch. Whatever the index shows has to be there: looked at after every
 * write to the used ring. */
typedef struct Seen {
    const Norm *x;
    bool bad_len, bad_data;
} Seen;

enum { SEEN = 3 };

static void see(void *opaque)
{
    Seen *s = opaque;
    const Norm *x = s->x;
    unsigned n = vring_used_idx(x->r);

    for (unsigned i = 0; i < n; i++) {
        s->bad_len |= vport_r32(&x->b->port, x->r->device + 8 + 8 * i) != 4;
        s->bad_data |= !norm_is(x, x->page + 0x1000 + 16 * i, "data");
    }
}

static Seen see_publishing(Norm *x)
{
    Seen s = { x, false, false };

    norm_fill(x, x->r->device + 4, 0xee, 8 * 16);
    norm_put(x, x->page, "data");
    for (unsigned i = 0; i < SEEN; i++) {
        const VBuf buf[] = { { x->page, 4, false }, { x->page + 0x1000 + 16 * i, 8, true } };

        vring_add(x->r, buf, 2, 0);
    }
    norm_watch(x, x->r->device, see, &s);
    norm_go(x);
    g_assert_cmpuint(norm_unwatch(), >, 0);
    for (unsigned i = 0; i < SEEN; i++) {
        norm_used(x, 2 * i, 4);
    }
    return s;
}

static void used_1(Norm *x)
{
    NORM("SPLIT-USED-1");
    g_assert_false(see_publishing(x).bad_len);
}

static void used_2(Norm *x)
{
    NORM("SPLIT-USED-2");
    g_assert_false(see_publishing(x).bad_data);
}

static void used_3(Norm *x)
{
    NORM("SPLIT-USED-3");
    norm_fill(x, x->page + 0x1000, 'z', 16);
    norm_put(x, x->page, "0123");
    norm_one(x);
    norm_note(
        "%s is written behind len", norm_is(x, x->page + 0x1004, "zzzz") ? "nothing" : "something");
    g_assert_true(norm_is(x, x->page + 0x1008, "zzzzzzzz")); /* never behind the buffer */
}

/* The flags as they are while requests are served. */
static uint16_t flags_seen, flags_mask;

static VqVerdict look_at_flags(Dummy *s, VqElem *e)
{
    flags_seen = get16(norm_current(), norm_current()->r->device);
    flags_mask |= flags_seen;
    return VQ_DONE;
}

static void watch_flags(Norm *x)
{
    flags_seen = flags_mask = 0;
    x->s->on_request = look_at_flags;
    for (unsigned i = 0; i < 20; i++) {
        norm_add(x);
        norm_go(x);
        flags_mask |= get16(x, x->r->device);
        norm_used(x, (uint32_t)(i * 2 % 16), 0);
    }
}

static void availsup_1(Norm *x)
{
    NORM("SPLIT-AVAILSUP-1");
    watch_flags(x);
    g_assert_cmphex(flags_mask & ~1, ==, 0);
}

static void availsup_2(Norm *x)
{
    NORM("SPLIT-AVAILSUP-2");
    watch_flags(x);
    norm_note("flags are %u while a request is served", flags_seen);
    g_assert_cmphex(get16(x, x->r->device), ==, 0); /* idle: the next kick must come */
}

static void availsup_3(Norm *x)
{
    NORM("SPLIT-AVAILSUP-3");
    watch_flags(x);
    g_assert_cmphex(flags_mask, ==, 0);
}

static void availsup_4(Norm *x)
{
    NORM("SPLIT-AVAILSUP-4");
    for (unsigned i = 1; i <= 20; i++) {
        uint16_t before = x->r->avail;

        norm_add(x);
        g_assert_true(vring_wants_kick(x->r, before)); /* idle: a kick is wanted */
        norm_go(x);
        norm_used(x, (i - 1) * 2 % 16, 4);
        g_assert_cmpuint(get16(x, avail_event_at(x)), ==, i);
    }
    norm_note("avail_event is used");
}

static void availsup_5(Norm *x)
{
    NORM("SPLIT-AVAILSUP-5");
    for (unsigned i = 0; i < 10; i++) {
        norm_go(x);
        vd_kick(&x->d, 1);
    }
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    g_assert_cmpuint(x->s->requests, ==, 0);
    norm_one(x);
}

static void supplying_1(Norm *x)
{
    uint16_t id[6];

    NORM("TXT-SPLIT-SUPPLYING-BUFFERS-1");
    for (unsigned i = 0; i < 6; i++) {
        id[i] = norm_add(x);
    }
    norm_go(x); /* one notification for all */
    for (unsigned i = 0; i < 6; i++) {
        norm_used(x, id[i], 4);
    }
    norm_note("chains made available one by one or together are the same to the device");
}

static void updating_1(Norm *x)
{
    NORM("TXT-SPLIT-UPDATING-IDX-1");
    norm_note("a chain that comes while the device works is %s",
        norm_takes_at_once(x) ? "taken at once" : "left until the next kick");
}

static void notifying_1(Norm *x)
{
    NORM("TXT-SPLIT-NOTIFYING-1");
    x->s->on_request = norm_hold;
    norm_add(x);
    norm_go(x);
    uint16_t before = x->r->avail;

    norm_add(x);
    norm_note("an idle device %s a notification",
        vring_wants_kick(x->r, before) ? "asks for" : "does without");
    norm_go(x);
    g_assert_cmpuint(x->s->held->len, ==, 2);
}

/* Without the event index: what VRing and the device agree on is the flags alone. */
static void flags_only(Norm *x, void (*fn)(Norm *x))
{
    norm_start(x, EVENT_IDX);
    fn(x);
}

#define FLAGS_ONLY(name)                                                                           \
    static void name##_flags(Norm *x)                                                              \
    {                                                                                              \
        flags_only(x, name);                                                                       \
    }
FLAGS_ONLY(usedsup_1)
FLAGS_ONLY(usedsup_2)
FLAGS_ONLY(usedsup_3)
FLAGS_ONLY(availsup_1)
FLAGS_ONLY(availsup_2)

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "SPLIT-FRAME-1", frame_1, NORM_START, NULL },
        { "SPLIT-FRAME-2", frame_2, NORM_START, NULL },
        { "SPLIT-DESC-1", desc_1, NORM_START, NULL },
        { "SPLIT-DESC-2", desc_2, NORM_START, NULL },
        { "SPLIT-INDIRECT-1", indirect_1, NORM_START, NULL },
        { "SPLIT-INDIRECT-2", indirect_2, NORM_START, NULL },
        { "SPLIT-USEDSUP-1", usedsup_1_flags, 0, NULL },
        { "SPLIT-USEDSUP-2", usedsup_2_flags, 0, NULL },
        { "SPLIT-USEDSUP-3", usedsup_3_flags, 0, NULL },
        { "SPLIT-USEDSUP-4", usedsup_4, NORM_START, NULL },
        { "SPLIT-USEDSUP-5", usedsup_5, NORM_START, NULL },
        { "SPLIT-USEDSUP-6", usedsup_6, NORM_START, NULL },
        { "SPLIT-USED-1", used_1, NORM_START, NULL },
        { "SPLIT-USED-2", used_2, NORM_START, NULL },
        { "SPLIT-USED-3", used_3, NORM_START, NULL },
        { "SPLIT-AVAILSUP-1", availsup_1_flags, 0, NULL },
        { "SPLIT-AVAILSUP-2", availsup_2_flags, 0, NULL },
        { "SPLIT-AVAILSUP-3", availsup_3, NORM_START, NULL },
        { "SPLIT-AVAILSUP-4", availsup_4, NORM_START, NULL },
        { "SPLIT-AVAILSUP-5", availsup_5, NORM_START, NULL },
        { "TXT-SPLIT-SUPPLYING-BUFFERS-1", supplying_1, NORM_START, NULL },
        { "TXT-SPLIT-UPDATING-IDX-1", updating_1, NORM_START, NULL },
        { "TXT-SPLIT-NOTIFYING-1", notifying_1, NORM_START, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}

/* virtio-net's notification coalescing: the driver is told of used buffers when there are enough of
 * them, or when the first has waited long enough (VIRTIO 1.4, 5.1.9.5.10). Tested by
 * test-virtio-net-coal. */
#include "virtio-net.h"

enum { TX_SET, RX_SET, VQ_SET, VQ_GET };

typedef struct CtrlCoal {
    le32 max_packets, max_usecs;
} CtrlCoal;
_Static_assert(sizeof(CtrlCoal) == 8, "VIRTIO 1.4, 5.1.9.5.10");

static VirtQueue *coal_queue(const NetCoal *c)
{
    return virtio_queue(&c->s->vd, (unsigned)(c - c->s->coal));
}

static bool coal_on(const NetCoal *c)
{
    return c->max_packets && c->max_usecs;
}

/* The driver is told of what has gathered, and then of nothing until the next time. */
static void coal_tell(NetCoal *c)
{
    VirtQueue *vq = coal_queue(c);

    c->count = 0;
    timer_del(&c->timer);
    vq_hold_notify(vq, false);
    vq_notify(vq);
    vq_hold_notify(vq, coal_on(c));
}

static void coal_timer(void *opaque)
{
    coal_tell(opaque);
}

/* 5.1.9.5.10.1, and 10.4 after a change of the numbers. */
static void coal_check(NetCoal *c)
{
    if (!coal_on(c) || c->count >= c->max_packets) {
        coal_tell(c);
        return;
    }
    vq_hold_notify(coal_queue(c), true);
    if (c->count && !timer_pending(&c->timer)) {
        timer_mod(&c->timer, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)c->max_usecs * 1000);
    }
}

void net_coal_count(VirtioNet *s, unsigned queue, unsigned n)
{
    NetCoal *c = &s->coal[queue];

    if (coal_on(c)) {
        c->count += n;
        coal_check(c);
    }
}

void net_coal_new(VirtioNet *s)
{
    s->coal = g_new0(NetCoal, s->npairs * 2);
    for (unsigned i = 0; i < s->npairs * 2; i++) {
        s->coal[i].s = s;
        timer_init(
            &s->coal[i].timer, s->pair[i / 2].loop, CLOCK_KIND_VIRTUAL, coal_timer, &s->coal[i]);
    }
}

void net_coal_flush(NetPair *q)
{
    for (unsigned i = 0; i < 2; i++) {
        coal_tell(&q->s->coal[q->port.index * 2 + i]);
    }
}

void net_coal_reset_queue(VirtioNet *s, unsigned i)
{
    NetCoal *c = &s->coal[i];

    c->max_packets = s->coal_set[i & 1].max_packets;
    c->max_usecs = s->coal_set[i & 1].max_usecs;
    c->count = 0;
    timer_del(&c->timer);
    vq_hold_notify(coal_queue(c), coal_on(c));
}

void net_coal_reset(VirtioNet *s)
{
    s->coal_set[0] = s->coal_set[1] = (NetCoalSet){ 0 };
}

void net_coal_reset_pair(NetPair *q)
{
    for (unsigned i = 0; i < 2; i++) {
        net_coal_reset_queue(q->s, q->port.index * 2 + i);
    }
}

typedef struct CoalCall {
    NetCoal *c;
    const CtrlCoal *to;
} CoalCall;

static void loop_coal_set(void *opaque)
{
    const CoalCall *call = opaque;
    NetCoal *c = call->c;

    c->max_packets = le32_get(call->to->max_packets);
    c->max_usecs = le32_get(call->to->max_usecs);
    timer_del(&c->timer); /* the time begins anew */
    coal_check(c);
}

/* The driver's numbers apply at once to what has gathered so far. */
static void coal_set(NetCoal *c, const CtrlCoal *to)
{
    CoalCall call = { c, to };

    loop_call(c->timer.loop, loop_coal_set, &call);
}

static bool ctrl_all(VirtioNet *s, unsigned tx, GIov *in)
{
    CtrlCoal to;

    if (!virtio_has(&s->vd, NET_F_NOTF_COAL) || in->left != sizeof to ||
        !giov_get(in, &to, sizeof to)) {
        return false;
    }
    s->coal_set[tx] = (NetCoalSet){ le32_get(to.max_packets), le32_get(to.max_usecs) };
    for (unsigned i = tx; i < s->npairs * 2; i += 2) {
        coal_set(&s->coal[i], &to);
    }
    return true;
}

/* The queue that a command names: a receive or transmit queue that is enabled. */
static NetCoal *ctrl_queue(VirtioNet *s, GIov *in)
{
    le16 head[2]; /* vq_index, reserved */

    if (!virtio_has(&s->vd, NET_F_VQ_NOTF_COAL) || !giov_get(in, head, sizeof head)) {
        return NULL;
    }
    unsigned i = le16_get(head[0]);
    bool multi = virtio_has(&s->vd, NET_F_MQ) || virtio_has(&s->vd, NET_F_RSS);

    return i < (multi ? s->npairs * 2 : 2) && vq_open(virtio_queue(&s->vd, i)) ? &s->coal[i] : NULL;
}

bool net_ctrl_coal(VirtioNet *s, uint8_t cmd, GIov *in, GIov *result)
{
    CtrlCoal numbers;
    NetCoal *c;

    if (cmd == TX_SET || cmd == RX_SET) {
        return ctrl_all(s, cmd == TX_SET, in);
    }
    if (cmd != VQ_SET && cmd != VQ_GET) {
        return false;
    }
    c = ctrl_queue(s, in);
    if (!c || in->left != (cmd == VQ_SET ? sizeof numbers : 0)) {
        return false;
    }
    if (cmd == VQ_SET) {
        bool ok = giov_get(in, &numbers, sizeof numbers);

        g_assert(ok);
        coal_set(c, &numbers);
        return true;
    }
    numbers = (CtrlCoal){ le32_of(c->max_packets), le32_of(c->max_usecs) };
    /* Behind the acknowledgement, which is not written yet. */
    return giov_skip(result, 1) && giov_put(result, &numbers, sizeof numbers);
}

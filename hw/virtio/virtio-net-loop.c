/* virtio-net's queue pairs in loops of their own (x-iothread, x-iothread-vq-mapping): each pair
 * with its end of the cable, its back end's queue and its timers is one loop's. What the control
 * queue and the core change is changed while the pairs hold; what was steered to a pair of another
 * loop is handed over. Tested by test-virtio-net-loops. */
#include "virtio-net-rsc.h"

/* What waits at a pair for its loop, at most: then the sender waits. */
enum { INBOX_PACKETS = 256, INBOX_BYTES = 1 << 20 };

/* A packet that came to one pair and belongs to another. */
struct NetParcel {
    NetParcel *next;
    unsigned from, number; /* the pair it came to, which counts them */
    NetHeader h;
    size_t len;
    uint8_t frame[];
};

typedef struct PairCall {
    VirtioNet *s;
    const Loop *loop;
    NetPairFn *fn;
} PairCall;

/* ---- all pairs, each in its loop ---- */

static void loop_pairs(void *opaque)
{
    const PairCall *c = opaque;

    for (unsigned i = 0; i < c->s->npairs; i++) {
        if (c->s->pair[i].loop == c->loop) {
            c->fn(&c->s->pair[i]);
        }
    }
}

void net_each_pair(VirtioNet *s, NetPairFn *fn)
{
    for (unsigned k = 0; k < s->nloops; k++) {
        PairCall c = { s, s->loop[k], fn };

        loop_call(s->loop[k], loop_pairs, &c);
    }
}

static void pair_hold(NetPair *q)
{
    q->held = true;
}

void net_pair_go(NetPair *q)
{
    VirtQueue *tx = virtio_queue(&q->s->vd, q->port.index * 2 + 1);

    q->held = false;
    net_rsc_refilled(q);
    net_inbox_run(q);
    net_ready(&q->port);
    vq_resume(tx);
}

/* Until then they are the main loop's, as everything that changes them. */
void net_hold(VirtioNet *s)
{
    if (s->vd.spread) {
        net_each_pair(s, pair_hold);
    }
}

void net_go_on(VirtioNet *s)
{
    if (s->vd.spread && s->vd.started) {
        net_each_pair(s, net_pair_go);
    }
}

/* ---- packets for a pair of another loop ---- */

static void parcels_free(NetParcel *p)
{
    for (NetParcel *next; p; p = next) {
        next = p->next;
        g_free(p);
    }
}

/* The whole list; the inbox is empty then. */
static NetParcel *inbox_take(NetInbox *b)
{
    g_mutex_lock(&b->lock);
    NetParcel *all = b->first;

    b->first = b->last = NULL;
    b->packets = b->bytes = 0;
    g_mutex_unlock(&b->lock);
    return all;
}

static void inbox_add(NetInbox *b, NetParcel *p)
{
    p->next = NULL;
    *(b->first ? &b->last->next : &b->first) = p;
    b->last = p;
    b->packets++;
    b->bytes += p->len;
}

void net_pair_ready(NetPair *q)
{
    net_ready(&q->port);
}

/* In a loop that may have been refused: it tries again. */
static void posted_ready(void *opaque)
{
    PairCall *c = opaque;

    loop_pairs(c);
    g_free(c);
}

/* Those who found the inbox full are somewhere: every loop is told. */
static void tell_all(VirtioNet *s)
{
    for (unsigned k = 0; k < s->nloops; k++) {
        PairCall *c = g_new(PairCall, 1);

        *c = (PairCall){ s, s->loop[k], net_pair_ready };
        loop_post(s->loop[k], posted_ready, c);
    }
}

/* Its first packet went to the driver, or nowhere. */
static void inbox_pop(NetPair *q)
{
    NetInbox *b = &q->inbox;
    bool room;

    g_mutex_lock(&b->lock);
    NetParcel *p = b->first;

    b->first = p->next;
    b->packets--;
    b->bytes -= p->len;
    room = b->refused && b->packets <= INBOX_PACKETS / 2 && b->bytes <= INBOX_BYTES / 2;
    b->refused &= !room;
    g_mutex_unlock(&b->lock);
    g_free(p);
    if (room) {
        tell_all(q->s);
    }
}

static NetParcel *inbox_first(NetInbox *b)
{
    g_mutex_lock(&b->lock);
    NetParcel *p = b->first;

    g_mutex_unlock(&b->lock);
    return p;
}

void net_inbox_run(NetPair *q)
{
    NetParcel *p;

    while (!q->held && (p = inbox_first(&q->inbox))) {
        struct iovec v = { p->frame, p->len };
        NetHeader h = p->h;
        GIov data;

        giov_init(&data, &v, 1);
        if (net_rx_pair(q, &h, &data) == NET_QUEUED) {
            return; /* until the driver has buffers */
        }
        inbox_pop(q);
    }
}

static void posted_inbox(void *opaque)
{
    NetPair *q = opaque;

    g_mutex_lock(&q->inbox.lock);
    q->inbox.posted = false;
    g_mutex_unlock(&q->inbox.lock);
    net_inbox_run(q);
}

/* False: it is full, and the sender is told when it is not. */
static bool inbox_put(NetPair *q, NetParcel *p, bool limit)
{
    NetInbox *b = &q->inbox;
    bool post = false, full;

    g_mutex_lock(&b->lock);
    full = limit && b->first && (b->packets >= INBOX_PACKETS || b->bytes + p->len > INBOX_BYTES);
    if (full) {
        b->refused = true;
    } else {
        inbox_add(b, p);
        post = !b->posted;
        b->posted = true;
    }
    g_mutex_unlock(&b->lock);
    if (post) {
        loop_post(q->loop, posted_inbox, q);
    }
    return !full;
}

static NetVerdict hand_over(NetPair *from, NetPair *to, const NetHeader *h, GIov *data)
{
    NetParcel *p = g_malloc(sizeof *p + data->left);

    p->from = from->port.index;
    p->number = from->parcels;
    p->h = *h;
    p->len = data->left;
    bool ok = giov_peek(data, p->frame, p->len);

    g_assert(ok);
    if (!inbox_put(to, p, /* limit= */ true)) {
        g_free(p);
        return NET_QUEUED;
    }
    from->parcels++;
    return NET_SENT;
}

/* Behind what was sorted again and waits here: it may have come the same way, and before. */
static NetVerdict rx_here(NetPair *q, NetHeader *h, GIov *data)
{
    if (G_UNLIKELY(q->inbox.packets)) {
        net_inbox_run(q);
        if (q->inbox.packets) {
            return NET_QUEUED;
        }
    }
    return net_rx_pair(q, h, data);
}

NetVerdict net_rx_to(NetPair *from, unsigned to, NetHeader *h, GIov *data)
{
    NetPair *q = &from->s->pair[to];

    return q->loop == from->loop ? rx_here(q, h, data) : hand_over(from, q, h, data);
}

/* False: the driver does not want it any more. */
static bool parcel_wanted(const VirtioNet *s, NetParcel *p)
{
    if (!net_filter_accepts(s, p->frame, p->len)) {
        return false;
    }
    if (s->guest_offloads & NET_OFFLOAD_CSUM || !(p->h.flags | p->h.gso_type)) {
        return true;
    }
    bool ok = !p->h.gso_type && (!(p->h.flags & NET_HDR_NEEDS_CSUM) ||
                                    net_csum_complete(p->frame, p->len, le16_get(p->h.csum_start),
                                        le16_get(p->h.csum_offset)));

    p->h = (NetHeader){ 0 };
    return ok;
}

/* Of one pair those that came first. Numbers wrap around; those that wait are not far apart. */
static int parcel_order(const void *x, const void *y)
{
    const NetParcel *a = *(NetParcel *const *)x, *b = *(NetParcel *const *)y;

    return a->from != b->from ? (a->from < b->from ? -1 : 1) : (int)(a->number - b->number);
}

void net_sort_again(VirtioNet *s)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (unsigned i = 0; i < s->npairs; i++) {
        for (NetParcel *p = inbox_take(&s->pair[i].inbox); p; p = p->next) {
            g_ptr_array_add(all, p);
        }
    }
    g_ptr_array_sort(all, parcel_order);
    for (unsigned i = 0; i < all->len; i++) {
        NetParcel *p = all->pdata[i];
        struct iovec v = { p->frame, p->len };
        GIov data;

        if (!parcel_wanted(s, p)) {
            g_free(p);
            continue;
        }
        giov_init(&data, &v, 1);
        inbox_put(&s->pair[net_steer(s, p->from, &data, &p->h)], p, /* limit= */ false);
    }
}

void net_inbox_clear(NetPair *q)
{
    parcels_free(inbox_take(&q->inbox));
}

/* ---- commands that come in another loop than the main one ---- */

/* Without MQ the third queue has the commands (5.1.2), and with several pairs that is the second
 * pair's: the command goes to the main loop and its answer back. */
typedef struct CtrlCall {
    VqElem *e;
    unsigned life; /* VirtioNet.ctrl_life when it came */
    bool drop;
} CtrlCall;

static void loop_answer(void *opaque)
{
    CtrlCall *c = opaque;
    VirtQueue *vq = c->e->vq;

    if (c->drop) {
        vq_drop(c->e);
    } else {
        vq_push(c->e);
        vq_notify(vq);
    }
}

static void posted_ctrl(void *opaque)
{
    CtrlCall *c = opaque;
    VirtQueue *vq = c->e->vq;
    VirtioNet *s = (VirtioNet *)vq_dev(vq);

    c->drop = !s->vd.started || s->vd.broken || c->life != s->ctrl_life;
    if (!c->drop) {
        net_hold(s);
        net_ctrl_run(s, c->e);
        net_sort_again(s);
        net_go_on(s);
    }
    loop_call(vq_loop(vq), loop_answer, c);
    g_free(c);
}

VqVerdict net_ctrl_request(VirtioDev *d, VqElem *e)
{
    VirtioNet *s = (VirtioNet *)d;

    if (!e->in.left || e->out.left < 2) {
        vq_fail(e->vq, "virtio-net: control command without header or acknowledgement");
        return VQ_DONE;
    }
    if (vq_loop(e->vq) != d->loop) {
        CtrlCall *c = g_new(CtrlCall, 1);

        *c = (CtrlCall){ .e = e, .life = s->ctrl_life };
        loop_post(d->loop, posted_ctrl, c);
        return VQ_HELD;
    }
    net_hold(s);
    net_ctrl_run(s, e);
    if (d->spread) {
        net_sort_again(s);
    }
    net_go_on(s);
    return VQ_DONE;
}

/* ---- a pair's stop and reset ---- */

/* Nothing is held: a packet that waits for its peer or a timer is still in the queue (VQ_STOP). How
 * much of it has gone is forgotten with the driver, not when the machine stops. */
void net_pair_stop(NetPair *q)
{
    q->held = true;
    timer_del(&q->tx_timer);
    net_rsc_stop(q);
    if (!q->s->vd.paused) {
        q->segs.n = 0;
    }
    if (q->s->coalescing) {
        net_coal_flush(q);
    }
}

void net_pair_reset(NetPair *q)
{
    q->segs.n = 0;
    net_rsc_free(q);
    net_inbox_clear(q);
    net_coal_reset_pair(q);
}

typedef struct QueueCall {
    VirtioNet *s;
    unsigned i;
} QueueCall;

static void loop_queue_reset(void *opaque)
{
    const QueueCall *c = opaque;

    c->s->pair[c->i / 2].segs.n = c->i & 1 ? 0 : c->s->pair[c->i / 2].segs.n;
    net_coal_reset_queue(c->s, c->i);
}

void net_queue_reset(VirtioDev *d, unsigned i)
{
    QueueCall c = { (VirtioNet *)d, i };

    if (c.s->spec[i].request == net_ctrl_request) {
        c.s->ctrl_life++;
    } else if (i < c.s->npairs * 2) {
        loop_call(c.s->pair[i / 2].loop, loop_queue_reset, &c);
    }
}

/* ---- life ---- */

Loop *net_queue_loop(VirtioDev *d, unsigned i)
{
    const VirtioNet *s = (VirtioNet *)d;

    return i < s->npairs * 2 ? s->pair[i / 2].loop : d->loop;
}

static void find_loops(VirtioNet *s)
{
    s->loop = g_new0(Loop *, s->npairs);
    for (unsigned i = 0; i < s->npairs; i++) {
        unsigned k = 0;

        while (k < s->nloops && s->loop[k] != s->pair[i].loop) {
            k++;
        }
        s->loop[k] = s->pair[i].loop;
        s->nloops = MAX(s->nloops, k + 1);
    }
}

bool net_loops_new(VirtioNet *s, GError **err)
{
    const Machine *m = s->vd.transport ? dev_machine((const Dev *)s->vd.transport) : NULL;

    if (!iothread_use_take(&s->threads, m ? m->objects : NULL, s->npairs, err)) {
        return false;
    }
    for (unsigned i = 0; i < s->npairs; i++) {
        NetPair *q = &s->pair[i];

        q->loop = s->threads.loop ? s->threads.loop[i] : loop_main();
        q->held = true;
        g_mutex_init(&q->inbox.lock);
        timer_init(&q->tx_timer, q->loop, CLOCK_KIND_VIRTUAL, net_tx_timer, q);
    }
    find_loops(s);
    for (unsigned i = 0; i < s->npairs; i++) {
        if (!net_move(&s->pair[i].port, s->pair[i].loop, err)) {
            return false;
        }
    }
    return true;
}

static void nothing(NetPair *q) {}

void net_loops_free(VirtioNet *s)
{
    net_each_pair(s, nothing); /* what the loops posted to each other has run: all hold */
    for (unsigned i = 0; i < s->npairs; i++) {
        bool ok = net_move(&s->pair[i].port, loop_main(), NULL);

        g_assert(ok);
    }
    for (unsigned i = 0; i < s->npairs; i++) {
        net_inbox_clear(&s->pair[i]);
        g_mutex_clear(&s->pair[i].inbox.lock);
    }
    g_clear_pointer(&s->loop, g_free);
    s->nloops = 0;
    iothread_use_release(&s->threads);
}

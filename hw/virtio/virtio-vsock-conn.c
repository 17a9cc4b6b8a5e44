/*
 * Connections of the in-process vsock: unix sockets of the host on one side, credit and half-close
 * of VIRTIO 1.4, 5.10.6 on the other. Tested by test-virtio-vsock.
 */
#include "virtio-vsock-conn.h"

#include "util/fd.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    HANDSHAKES_MAX = 128,
    PATIENCE_NS = 2000000000, /* for "CONNECT", and for the end of a connection both sides closed */
    FIRST_PORT = 1 << 30
};

/* ---- places in lists ---- */

static gpointer key_of(uint32_t guest_port, uint32_t host_port, uint16_t type, uint64_t *store)
{
    /* Types are 1 and 2; the two port numbers fill the rest. Kept with the value. */
    store[0] = (uint64_t)guest_port << 32 | host_port;
    store[1] = type;
    return store;
}

static guint key_hash(gconstpointer v)
{
    const uint64_t *k = v;

    return (guint)((k[0] * UINT64_C(0x9e3779b97f4a7c15)) >> 32) ^ (guint)k[1];
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
    return !memcmp(a, b, 16);
}

VsockConn *vsock_find(VirtioVsock *s, uint32_t guest_port, uint32_t host_port, uint16_t type)
{
    uint64_t k[2];

    return s->conns ? g_hash_table_lookup(s->conns, key_of(guest_port, host_port, type, k)) : NULL;
}

static void conn_index(VsockConn *c)
{
    VirtioVsock *s = c->s;

    if (!s->conns) {
        s->conns = g_hash_table_new_full(key_hash, key_equal, g_free, NULL);
    }
    uint64_t *k = g_new(uint64_t, 2);

    g_hash_table_insert(s->conns, key_of(c->guest_port, c->host_port, c->type, k), c);
}

static void want_control(VsockConn *c)
{
    if (!c->in_control) {
        c->in_control = true;
        g_queue_push_tail(&c->s->control, c);
    }
}

static void want_data(VsockConn *c)
{
    if (!c->in_waiting) {
        c->in_waiting = true;
        g_queue_push_tail(&c->s->waiting, c);
    }
}

static void conn_free(VsockConn *c)
{
    VirtioVsock *s = c->s;
    uint64_t k[2];

    if (c->state == VSOCK_HANDSHAKE) {
        g_queue_remove(&s->handshakes, c);
    } else {
        g_hash_table_remove(s->conns, key_of(c->guest_port, c->host_port, c->type, k));
    }
    if (c->in_control) {
        g_queue_remove(&s->control, c);
    }
    if (c->in_waiting) {
        g_queue_remove(&s->waiting, c);
    }
    timer_del(&c->timer);
    loop_fd_del(c->watch);
    close(c->fd);
    if (c->out) {
        g_byte_array_unref(c->out);
    }
    if (c->messages) {
        g_array_unref(c->messages);
    }
    if (c->in) {
        g_byte_array_unref(c->in);
    }
    g_free(c);
}

static VsockHeader header(const VsockConn *c, uint16_t op)
{
    return (VsockHeader){ .src_cid = le64_of(VSOCK_HOST_CID),
        .dst_cid = le64_of(c->s->guest_cid),
        .src_port = le32_of(c->host_port),
        .dst_port = le32_of(c->guest_port),
        .type = le16_of(c->type),
        .op = le16_of(op),
        .buf_alloc = le32_of(VSOCK_BUFFER),
        .fwd_cnt = le32_of(c->fwd_cnt) };
}

/* The guest hears of the end; the connection is gone at once. */
static void conn_reset(VsockConn *c)
{
    VirtioVsock *s = c->s;

    if (c->state != VSOCK_HANDSHAKE) {
        VsockHeader *h = g_new(VsockHeader, 1);

        *h = header(c, VSOCK_OP_RST);
        g_queue_push_tail(&s->resets, h);
    }
    conn_free(c);
    vsock_pump(s);
}

static void patience_over(void *opaque)
{
    conn_reset(opaque);
}

static void be_patient(VsockConn *c)
{
    timer_mod(&c->timer, clock_ns(CLOCK_KIND_REALTIME) + PATIENCE_NS);
}

static void conn_readable(void *opaque, uint32_t events);

static VsockConn *conn_new(VirtioVsock *s, int fd, uint16_t type)
{
    VsockConn *c = g_new0(VsockConn, 1);
    int room = 2 * VSOCK_BUFFER;

    c->s = s;
    c->fd = fd;
    c->type = type;
    /* A message goes out in one piece. Advice: what the host grants may be less. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    timer_init(&c->timer, s->vd.loop, CLOCK_KIND_REALTIME, patience_over, c);
    c->watch = loop_fd_add(s->vd.loop, fd, 0, conn_readable, c);
    return c;
}

/* ---- the host's side ---- */

static uint32_t peer_room(const VsockConn *c)
{
    uint32_t out = c->sent - c->peer_fwd;

    return out < c->peer_alloc ? c->peer_alloc - out : 0;
}

static bool has_in(const VsockConn *c)
{
    return c->in && c->in->len > c->in_at;
}

/* What the host has not taken yet: bytes, or an empty message. */
static bool has_out(const VsockConn *c)
{
    return c->out && (c->out->len > c->part || (c->messages && c->messages->len));
}

/* What the descriptor is watched for follows from what can be done now. */
static void watch(VsockConn *c)
{
    uint32_t events = 0;

    if (c->state == VSOCK_HANDSHAKE) {
        events = EPOLLIN;
    } else if (c->state == VSOCK_OPEN) {
        bool more = !has_in(c) && !(c->host_shut & VSOCK_SHUT_SEND) && peer_room(c);

        events = (more ? EPOLLIN : 0) | (has_out(c) ? EPOLLOUT : 0);
        /* The other side's end shows without being asked for; once is enough. */
        events = events ? events : c->host_gone ? 0 : (uint32_t)EPOLLET;
    }
    if (events != c->events) {
        c->events = events;
        loop_fd_set(c->watch, events);
    }
}

/* Gives what was read to the guest; false: the connection waits for buffers. */
static bool give_data(VsockConn *c)
{
    while (has_in(c)) {
        size_t left = c->in->len - c->in_at, some = MIN(left, peer_room(c));

        if (!some) {
            if (!c->ask_credit) {
                c->ask_credit = true;
                want_control(c);
            }
            return true; /* goes on with the guest's next packet */
        }
        uint32_t flags = c->in_message && some == left ? c->in_flags : 0;
        ssize_t n = vsock_send(c->s, header(c, VSOCK_OP_RW), c->in->data + c->in_at, some, flags);

        if (n < 0) {
            want_data(c);
            return false;
        }
        c->in_at += (size_t)n;
        c->sent += (uint32_t)n;
        c->told_fwd = c->fwd_cnt;
    }
    if (c->in) {
        g_byte_array_set_size(c->in, 0);
        c->in_at = 0;
    }
    return true;
}

static void host_ends(VsockConn *c, uint8_t how)
{
    c->host_shut |= how;
    if (c->host_shut != c->told_shut) {
        want_control(c);
    }
}

/* Reads one piece or one message. */
static void read_host(VsockConn *c)
{
    size_t room = c->type == VSOCK_SEQPACKET ? VSOCK_BUFFER : MIN(peer_room(c), VSOCK_PIECE);
    struct iovec v;
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (!c->in) {
        c->in = g_byte_array_new();
    }
    g_byte_array_set_size(c->in, (guint)room);
    v = (struct iovec){ c->in->data, room };
    ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT);

    g_byte_array_set_size(c->in, n > 0 ? (guint)n : 0);
    c->in_at = 0;
    c->in_message = c->type == VSOCK_SEQPACKET;
    c->in_flags = VSOCK_EOM | (m.msg_flags & MSG_EOR ? VSOCK_EOR : 0u);
    if (n > 0 && m.msg_flags & MSG_TRUNC) {
        report_warning("vsock: a message of the host is longer than %d bytes, its connection ends",
            VSOCK_BUFFER);
        conn_reset(c);
        return;
    }
    if (n == 0) {
        host_ends(c, VSOCK_SHUT_SEND);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn_reset(c);
        return;
    }
    VirtioVsock *s = c->s;

    give_data(c);
    watch(c);
    vsock_pump(s);
}

/* ---- the guest's side, toward the host ---- */

static bool sent_some(VsockConn *c, size_t n)
{
    g_byte_array_remove_range(c->out, 0, (guint)n);
    c->fwd_cnt += (uint32_t)n;
    /* Half of the window is free and the guest does not know: tell it. */
    if (c->fwd_cnt - c->told_fwd >= VSOCK_BUFFER / 2 && !c->want_credit) {
        c->want_credit = true;
        want_control(c);
    }
    return true;
}

/* False: the host's socket is broken. */
static bool write_host(VsockConn *c)
{
    while (has_out(c)) {
        size_t len = c->out->len;
        int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

        if (c->type == VSOCK_SEQPACKET) {
            const VsockMessage *m = &g_array_index(c->messages, VsockMessage, 0);

            len = m->len;
            flags |= m->flags & VSOCK_EOR ? MSG_EOR : 0;
        }
        ssize_t n = send(c->fd, c->out->data, len, flags);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (c->type == VSOCK_SEQPACKET) {
            g_array_remove_index(c->messages, 0);
        }
        sent_some(c, (size_t)n);
    }
    return true;
}

/* Both directions are over and nothing waits: the clean end (5.10.6.5). True: c is gone. */
static bool end_if_over(VsockConn *c)
{
    bool drained = !has_out(c);

    if (drained && c->guest_shut & VSOCK_SHUT_SEND) {
        shutdown(c->fd, SHUT_WR);
    }
    if (c->guest_shut == (VSOCK_SHUT_SEND | VSOCK_SHUT_RECEIVE) && drained) {
        conn_reset(c);
        return true;
    }
    return false;
}

static void conn_open(VsockConn *c)
{
    c->state = VSOCK_OPEN;
    timer_del(&c->timer);
    watch(c);
}

/* ---- connections the host begins ---- */

/* Byte by byte: what follows the line is the guest's. 1: it is whole, 0: not yet, -1: never. */
static int read_line(VsockConn *c)
{
    while (c->nline < VSOCK_LINE_MAX) {
        size_t some = c->type == VSOCK_STREAM ? 1 : VSOCK_LINE_MAX;
        ssize_t n = recv(c->fd, c->line + c->nline, some, MSG_DONTWAIT);

        if (n <= 0) {
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
        }
        c->nline += (unsigned)n;
        if (c->line[c->nline - 1] == '\n') {
            return 1;
        }
        if (c->type == VSOCK_SEQPACKET) {
            return -1;
        }
    }
    return -1;
}

static void handshake(VsockConn *c)
{
    VirtioVsock *s = c->s;
    int whole = read_line(c);
    unsigned port;
    char rest;

    if (!whole) {
        return; /* the timer limits how long */
    }
    if (whole < 0 || sscanf(c->line, "CONNECT %u%c", &port, &rest) != 2 || rest != '\n') {
        conn_free(c);
        return;
    }
    g_queue_remove(&s->handshakes, c);
    c->guest_port = port;
    do {
        c->host_port = s->next_port;
        s->next_port = s->next_port == UINT32_MAX - 1 ? FIRST_PORT : s->next_port + 1;
    } while (vsock_find(s, c->guest_port, c->host_port, c->type));
    c->state = VSOCK_ASKED;
    conn_index(c);
    c->want_request = true;
    be_patient(c);
    want_control(c);
    watch(c);
    vsock_pump(s);
}

void vsock_accept(VirtioVsock *s, unsigned kind)
{
    for (;;) {
        int fd = accept4(s->listen_fd[kind], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            return;
        }
        bool ready = vq_ready(virtio_queue(&s->vd, 0));
        unsigned n = s->conns ? g_hash_table_size(s->conns) : 0;

        if (!ready || s->handshakes.length >= HANDSHAKES_MAX || n >= s->conns_max) {
            close(fd);
            continue;
        }
        VsockConn *c = conn_new(s, fd, kind ? VSOCK_SEQPACKET : VSOCK_STREAM);

        g_queue_push_tail(&s->handshakes, c);
        be_patient(c);
        watch(c);
    }
}

static void conn_readable(void *opaque, uint32_t events)
{
    VsockConn *c = opaque;

    if (c->state == VSOCK_HANDSHAKE) {
        handshake(c);
        return;
    }
    if (events & EPOLLOUT) {
        if (!write_host(c)) {
            conn_reset(c);
            return;
        }
        if (end_if_over(c)) {
            return;
        }
    }
    if (events & EPOLLERR) {
        conn_reset(c);
        return;
    }
    if (events & EPOLLHUP && !c->host_gone) {
        /* Nobody is there any more; what it sent last is still to be read. */
        c->host_gone = true;
        c->host_shut |= VSOCK_SHUT_RECEIVE;
    }
    if (events & EPOLLIN) {
        read_host(c);
        return;
    }
    if (c->host_gone && !has_in(c)) {
        host_ends(c, VSOCK_SHUT_SEND | VSOCK_SHUT_RECEIVE);
    }
    VirtioVsock *s = c->s;

    watch(c);
    vsock_pump(s);
}

/* ---- packets of the guest ---- */

bool vsock_connect(VirtioVsock *s, const VsockHeader *h)
{
    uint16_t type = le16_get(h->type);
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    unsigned n = s->conns ? g_hash_table_size(s->conns) : 0;

    if (!s->path || n >= s->conns_max ||
        snprintf(a.sun_path, sizeof a.sun_path, "%s_%u", s->path, le32_get(h->dst_port)) >=
            (int)sizeof a.sun_path) {
        return false;
    }
    int fd = socket(AF_UNIX,
        (type == VSOCK_STREAM ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return false;
    }
    /* A unix socket answers at once, or its queue is full. */
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return false;
    }
    VsockConn *c = conn_new(s, fd, type);

    c->guest_port = le32_get(h->src_port);
    c->host_port = le32_get(h->dst_port);
    c->peer_alloc = le32_get(h->buf_alloc);
    c->peer_fwd = le32_get(h->fwd_cnt);
    conn_index(c);
    c->want_response = true;
    want_control(c);
    conn_open(c);
    return true;
}

/* Payload: kept until the host takes it. False: more than the guest may send, or no message. */
static bool take_payload(VsockConn *c, GIov *data, uint32_t flags)
{
    size_t len = data->left;

    if (!c->out) {
        c->out = g_byte_array_new();
    }
    /* The guest knows VSOCK_BUFFER and fwd_cnt: it must not send more (5.10.6.3.1). */
    if (len > VSOCK_BUFFER - MIN(c->out->len, (guint)VSOCK_BUFFER)) {
        return false;
    }
    guint at = c->out->len;

    g_byte_array_set_size(c->out, at + (guint)len);
    bool ok = giov_get(data, c->out->data + at, len);

    g_assert(ok);
    if (c->type == VSOCK_SEQPACKET) {
        c->part += len;
        if (flags & VSOCK_EOM) {
            VsockMessage m = { (uint32_t)c->part, flags };

            if (!c->messages) {
                c->messages = g_array_new(FALSE, FALSE, sizeof m);
            }
            if (c->messages->len >= VSOCK_BUFFER / 64) {
                return false; /* a flood of empty messages */
            }
            g_array_append_val(c->messages, m);
            c->part = 0;
        }
    }
    return true;
}

static void rw(VsockConn *c, const VsockHeader *h, GIov *data)
{
    if (c->guest_shut & VSOCK_SHUT_SEND || !take_payload(c, data, le32_get(h->flags)) ||
        !write_host(c)) {
        conn_reset(c);
        return;
    }
    VirtioVsock *s = c->s;

    watch(c);
    vsock_pump(s);
}

static void guest_shutdown(VsockConn *c, uint32_t flags)
{
    VirtioVsock *s = c->s;

    c->guest_shut |= flags & (VSOCK_SHUT_RECEIVE | VSOCK_SHUT_SEND);
    if (c->guest_shut & VSOCK_SHUT_RECEIVE) {
        shutdown(c->fd, SHUT_RD);
    }
    if (!end_if_over(c)) {
        watch(c);
    }
    vsock_pump(s);
}

static void response(VsockConn *c)
{
    char line[32];
    int n = snprintf(line, sizeof line, "OK %u\n", c->host_port);

    conn_open(c);
    if (send(c->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) {
        conn_reset(c);
    }
}

void vsock_packet(VsockConn *c, const VsockHeader *h, GIov *data)
{
    VirtioVsock *s = c->s;

    c->peer_alloc = le32_get(h->buf_alloc);
    c->peer_fwd = le32_get(h->fwd_cnt);
    c->ask_credit = false;
    switch (le16_get(h->op)) {
    case VSOCK_OP_RESPONSE:
        if (c->state == VSOCK_ASKED) {
            response(c);
            return;
        }
        break;
    case VSOCK_OP_RST:
        conn_free(c);
        return;
    case VSOCK_OP_SHUTDOWN:
        if (c->state == VSOCK_OPEN) {
            guest_shutdown(c, le32_get(h->flags));
            return;
        }
        break;
    case VSOCK_OP_RW:
        if (c->state == VSOCK_OPEN) {
            rw(c, h, data);
            return;
        }
        break;
    case VSOCK_OP_CREDIT_REQUEST:
        c->want_credit = true;
        want_control(c);
        vsock_pump(s);
        return;
    case VSOCK_OP_CREDIT_UPDATE:
        if (c->state == VSOCK_OPEN) {
            give_data(c);
            watch(c);
            vsock_pump(s);
            return;
        }
        break;
    default:
        break;
    }
    conn_reset(c); /* not now, or not known */
}

/* ---- what waits for receive buffers ---- */

/* False: no buffer; c stays first in line. */
static bool give_control(VsockConn *c)
{
    VirtioVsock *s = c->s;
    uint8_t shut = c->host_shut;

    if (c->want_request) {
        if (vsock_send(s, header(c, VSOCK_OP_REQUEST), NULL, 0, 0) < 0) {
            return false;
        }
        c->want_request = false;
    }
    if (c->want_response) {
        if (vsock_send(s, header(c, VSOCK_OP_RESPONSE), NULL, 0, 0) < 0) {
            return false;
        }
        c->want_response = false;
    }
    if (c->want_credit) {
        if (vsock_send(s, header(c, VSOCK_OP_CREDIT_UPDATE), NULL, 0, 0) < 0) {
            return false;
        }
        c->want_credit = false;
        c->told_fwd = c->fwd_cnt;
    }
    if (c->ask_credit) {
        if (vsock_send(s, header(c, VSOCK_OP_CREDIT_REQUEST), NULL, 0, 0) < 0) {
            return false;
        }
    }
    /* The end comes behind the last byte. */
    if (shut != c->told_shut && !has_in(c)) {
        VsockHeader h = header(c, VSOCK_OP_SHUTDOWN);

        h.flags = le32_of(shut);
        if (vsock_send(s, h, NULL, 0, shut) < 0) {
            return false;
        }
        c->told_shut = shut;
        if (shut == (VSOCK_SHUT_SEND | VSOCK_SHUT_RECEIVE)) {
            be_patient(c);
        }
    }
    return true;
}

void vsock_pump(VirtioVsock *s)
{
    VsockHeader *h;
    VsockConn *c;

    if (s->pumping) {
        return; /* further up the stack it goes on */
    }
    s->pumping = true;
    while ((h = g_queue_peek_head(&s->resets)) && vsock_send(s, *h, NULL, 0, 0) >= 0) {
        g_free(g_queue_pop_head(&s->resets));
    }
    while (!s->resets.length && (c = g_queue_peek_head(&s->control)) && give_control(c)) {
        g_queue_pop_head(&s->control);
        c->in_control = false;
    }
    for (unsigned n = s->waiting.length; !s->resets.length && !s->control.length && n; n--) {
        c = g_queue_pop_head(&s->waiting);
        c->in_waiting = false;
        if (!give_data(c)) {
            break;
        }
        if (c->host_shut != c->told_shut || c->host_gone) {
            host_ends(c, c->host_gone && !has_in(c) ? VSOCK_SHUT_SEND | VSOCK_SHUT_RECEIVE : 0);
        }
        watch(c);
    }
    while (!s->resets.length && (c = g_queue_peek_head(&s->control)) && give_control(c)) {
        g_queue_pop_head(&s->control);
        c->in_control = false;
    }
    s->pumping = false;
}

void vsock_close_all(VirtioVsock *s)
{
    VsockConn *c;
    GHashTableIter it;

    while ((c = g_queue_peek_head(&s->handshakes))) {
        conn_free(c);
    }
    while (s->conns && g_hash_table_size(s->conns)) {
        g_hash_table_iter_init(&it, s->conns);
        if (g_hash_table_iter_next(&it, NULL, (gpointer *)&c)) {
            conn_free(c);
        }
    }
    g_queue_clear_full(&s->resets, g_free);
}

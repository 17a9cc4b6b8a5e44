/* Batches of packets to and from a tap descriptor (util/uring.h); where there is no io_uring, one
 * system call a packet. Tested by test-tap. */
#include "tap-io.h"

#include "net-internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { RX_WANT_MIN = 2 }; /* one packet, and the answer that there is no other */

void tap_io_init(TapIo *io, int fd, bool chain)
{
    *io = (TapIo){ .fd = fd, .chain = chain, .rx_want = RX_WANT_MIN };
}

void tap_io_fini(TapIo *io)
{
    uring_batch_free(io->ring);
    g_free(io->tx);
    g_free(io->rx);
}

static bool has_ring(TapIo *io)
{
    if (!io->ring && !io->no_ring) {
        io->ring = uring_batch_new(TAP_TX_MAX);
        io->no_ring = !io->ring;
    }
    return io->ring;
}

static int run_one(int fd, UringCode code, const struct iovec *v)
{
    ssize_t n;

    do {
        n = code == URING_READV ? read(fd, v->iov_base, v->iov_len)
                                : write(fd, v->iov_base, v->iov_len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* ret[i]: bytes, -EAGAIN: not now, -ECANCELED: not tried. */
static void run(TapIo *io, UringCode code, const struct iovec *v, unsigned n, int *ret)
{
    if (n > 1 && has_ring(io)) {
        uring_batch_run(io->ring, code, io->fd, v, n, code == URING_WRITEV && io->chain, ret);
        if (ret[0] != -EOPNOTSUPP) {
            return;
        }
        /* A kernel whose tap would make io_uring wait (before 6.4). */
        g_clear_pointer(&io->ring, uring_batch_free);
        io->no_ring = true;
    }
    for (unsigned i = 0; i < n; i++) {
        ret[i] = i && ret[i - 1] == -EAGAIN ? -EAGAIN : run_one(io->fd, code, &v[i]);
    }
}

bool tap_io_gather(TapIo *io, size_t head, const struct iovec *iov, unsigned n, size_t len)
{
    if (head + len > TAP_TX_SLOT || !has_ring(io)) {
        return false;
    }
    g_assert(tap_io_room(io));
    if (!io->tx) {
        io->tx = g_malloc(TAP_TX_MAX * TAP_TX_SLOT);
    }
    uint8_t *slot = io->tx + io->tx_n * TAP_TX_SLOT;

    memset(slot, 0, head);
    io->tx_iov[io->tx_n++] = (struct iovec){ slot, head + net_flatten(iov, n, slot + head, len) };
    return true;
}

/* Packets that the kernel refuses are lost, as on a wire; res: of the n from tx_at on. */
static bool sent_all(TapIo *io, const int *res, unsigned n)
{
    struct iovec again[TAP_TX_MAX];
    unsigned left = 0;
    bool full = false;

    for (unsigned i = 0; i < n; i++) {
        full |= res[i] == -EAGAIN;
        if (res[i] == -EAGAIN || res[i] == -ECANCELED || res[i] == -EINTR) {
            again[left++] = io->tx_iov[io->tx_at + i];
        }
    }
    io->tx_at = io->tx_n - left;
    memcpy(io->tx_iov + io->tx_at, again, left * sizeof *again);
    return !full;
}

bool tap_io_flush(TapIo *io)
{
    int res[TAP_TX_MAX];

    while (io->tx_at < io->tx_n) {
        unsigned n = io->tx_n - io->tx_at;

        run(io, URING_WRITEV, io->tx_iov + io->tx_at, n, res);
        if (!sent_all(io, res, n)) {
            return false;
        }
    }
    io->tx_at = io->tx_n = 0;
    return true;
}

static unsigned read_some(TapIo *io, unsigned want)
{
    int res[TAP_RX_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < want; i++) {
        io->rx_iov[i] = (struct iovec){ io->rx + i * TAP_FRAME_MAX, TAP_FRAME_MAX };
    }
    run(io, URING_READV, io->rx_iov, want, res);
    for (unsigned i = 0; i < want; i++) {
        /* One may have come behind a read that found none: they are in order anyway. */
        if (res[i] > 0) {
            io->rx_iov[n] = (struct iovec){ io->rx_iov[i].iov_base, (size_t)res[i] };
            n++;
        }
    }
    return n;
}

bool tap_io_fill(TapIo *io)
{
    unsigned want = has_ring(io) ? io->rx_want : 1;

    if (tap_io_first(io)) {
        return false;
    }
    if (!io->rx) {
        io->rx = g_malloc((size_t)TAP_RX_MAX * TAP_FRAME_MAX); /* touched as far as packets reach */
    }
    io->rx_at = 0;
    io->rx_n = read_some(io, want);
    if (io->rx_n == want) {
        io->rx_want = MIN(io->rx_want * 2, TAP_RX_MAX);
    } else if (io->rx_n < io->rx_want / 2) {
        io->rx_want = MAX(io->rx_want / 2, RX_WANT_MIN);
    }
    return io->rx_n == want;
}

/* A tap's packets, many by one system call: what is sent in a turn of the loop goes out together,
 * what has come is read together. */
#pragma once

#include "util/uring.h"

enum {
    TAP_FRAME_MAX = 65536 + 64 + 24, /* with the longest header */
    TAP_TX_MAX = 64,                 /* packets gathered */
    TAP_TX_SLOT = 2048,              /* longer ones cost more than their system call */
    TAP_RX_MAX = 16
};

typedef struct TapIo {
    int fd;       /* the owner's, O_NONBLOCK */
    bool chain;   /* the send buffer has a limit: none may overtake one that did not fit */
    bool no_ring; /* the host refused: one system call a packet */
    UringBatch *ring;
    uint8_t *tx, *rx; /* the slots, made when they are needed first */
    struct iovec tx_iov[TAP_TX_MAX];
    unsigned tx_at, tx_n; /* gathered and not sent: tx_iov[tx_at .. tx_n) */
    struct iovec rx_iov[TAP_RX_MAX];
    unsigned rx_at, rx_n, rx_want; /* read and not passed on; how many are asked for next */
} TapIo;

void tap_io_init(TapIo *io, int fd, bool chain);
void tap_io_fini(TapIo *io);
/* Keeps a copy until tap_io_flush(), behind `head` bytes of zeroes. False: it goes by itself, after
 * those that are kept. With room only. */
bool tap_io_gather(TapIo *io, size_t head, const struct iovec *iov, unsigned n, size_t len);
static inline bool tap_io_room(const TapIo *io)
{
    return io->tx_n < TAP_TX_MAX;
}
/* Sends what is kept. False: the kernel's queue is full, the rest stays in its order. */
bool tap_io_flush(TapIo *io);
/* Reads packets, when none waits to be passed on. True: there may be more behind them. */
bool tap_io_fill(TapIo *io);
/* The first packet that waits; NULL: none. It stays until tap_io_next(). */
static inline const struct iovec *tap_io_first(const TapIo *io)
{
    return io->rx_at < io->rx_n ? &io->rx_iov[io->rx_at] : NULL;
}
static inline void tap_io_next(TapIo *io)
{
    io->rx_at++;
}
/* Those that wait on either side are gone: the header in front of them is not what it was. */
static inline void tap_io_forget(TapIo *io)
{
    io->rx_at = io->rx_n = io->tx_at = io->tx_n = 0;
}

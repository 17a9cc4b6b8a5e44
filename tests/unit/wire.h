/* What tests of plain network cards share: a board with the card at 00:04.0, its registers at
 * WIRE_BAR, and the other end of its cable. */
#pragma once

#include "hw/pci/pci.h"
#include "net/csum.h"
#include "net/net.h"
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { WIRE_BAR = 0x40000000 };

typedef struct Wire {
    Board *b;
    Dev *dev;
    NetPort *nic;
    NetPort wire;
    GPtrArray *sent; /* GBytes */
    bool full;
    unsigned writable;
} Wire;

static inline NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Wire *x = (Wire *)((char *)p - offsetof(Wire, wire));
    g_autoptr(GByteArray) a = g_byte_array_new();

    if (x->full) {
        return NET_QUEUED;
    }
    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(a, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(a->len, ==, len);
    g_ptr_array_add(x->sent, g_byte_array_free_to_bytes(g_steal_pointer(&a)));
    return NET_SENT;
}

static inline void wire_writable(NetPort *p)
{
    ((Wire *)((char *)p - offsetof(Wire, wire)))->writable++;
}

static const NetPortOps wire_ops = { .receive = wire_receive, .writable = wire_writable };

static inline void wire_find(NetPort *p, void *opaque)
{
    if (!strcmp(p->type, "nic")) {
        *(NetPort **)opaque = p;
    }
}

/* bar: the configuration register of the one that is memory. */
static inline void wire_up(Wire *x, const char *json, unsigned bar)
{
    x->b = board_new(false);
    x->dev = board_add(x->b, json);
    pci_config_write(&x->b->bus, 0, 4 << 3, bar, 4, WIRE_BAR);
    pci_config_write(&x->b->bus, 0, 4 << 3, 4, 2, 7);
    net_each(wire_find, &x->nic);
    x->sent = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    net_port_init(&x->wire, &wire_ops, "wire", "wire");
    net_connect(x->nic, &x->wire);
}

static inline void wire_down(Wire *x, G_GNUC_UNUSED const void *unused)
{
    net_port_fini(&x->wire);
    board_free(x->b);
    g_ptr_array_unref(x->sent);
}

/* Frame i of those sent; it is len bytes. */
static inline const uint8_t *wire_sent(const Wire *x, unsigned i, size_t len)
{
    gsize n;

    g_assert_cmpuint(i, <, x->sent->len);
    const uint8_t *p = g_bytes_get_data(x->sent->pdata[i], &n);
    g_assert_cmpuint(n, ==, len);
    return p;
}

static inline NetVerdict wire_give(Wire *x, const void *frame, size_t len)
{
    struct iovec iov = { (void *)(uintptr_t)frame, len };

    return net_send(&x->wire, &iov, 1, len);
}

/* Memory with a pattern: byte i is 7 i + 2. */
static inline void wire_fill(const Wire *x, uint64_t at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t v = (uint8_t)(i * 7 + 2);

        x->b->port.write(x->b, at + i, &v, 1);
    }
}

/* A UDP packet of 60 bytes for the card, its sums right. */
static inline void wire_udp(uint8_t f[60])
{
    static const uint8_t head[] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 0x52, 0x54, 0, 1, 2, 3, 8, 0,
        0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15, 0, 9, 0, 10, 0, 26 };

    memset(f, 0x5a, 60);
    memcpy(f, head, sizeof head);
    net_put_be16(f + 24, (uint16_t)~net_fold(net_sum(0, f + 14, 20)));
    net_put_be16(f + 40, 0);
    net_put_be16(f + 40, (uint16_t)~net_fold(net_sum(net_sum(17 + 26, f + 26, 8), f + 34, 26)));
}

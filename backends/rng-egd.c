/*
 * Random bytes from a daemon behind a character device, by the protocol of the Entropy Gathering
 * Daemon: 0x02 and a number of bytes ask for so many, which come as they are. Tested by
 * test-rng-egd.
 */
#include "backends/rng.h"
#include "chardev/chardev.h"

#include <string.h>

enum { EGD_READ = 2, ASK_MAX = 255, KEEP = 4 * ASK_MAX };

typedef struct RngEgd {
    RngBackend rng;
    char *chardev;
    ChardevFe fe;
    size_t wanted;     /* by the last reader that got too little */
    size_t asked, len; /* still to come; here */
    uint8_t buf[KEEP];
} RngEgd;

static size_t egd_read(RngBackend *b, void *buf, size_t len)
{
    RngEgd *r = (RngEgd *)b;
    size_t n = MIN(len, r->len);

    memcpy(buf, r->buf, n);
    r->len -= n;
    memmove(r->buf, r->buf + n, r->len);
    r->wanted = len - n;
    return n;
}

static void egd_wait(RngBackend *b)
{
    RngEgd *r = (RngEgd *)b;

    /* Not again for what is on its way. What a peer that left was asked for does not come. */
    while (chardev_connected(&r->fe) && r->asked + r->len < MIN(r->wanted, KEEP)) {
        size_t n = MIN(MIN(r->wanted, KEEP) - r->asked - r->len, ASK_MAX);
        const uint8_t ask[2] = { EGD_READ, (uint8_t)n };

        chardev_write_all(&r->fe, ask, sizeof ask);
        r->asked += n;
    }
    chardev_fe_accept(&r->fe);
}

/* What was not asked for is not read. */
static size_t egd_can_receive(void *opaque)
{
    return ((const RngEgd *)opaque)->asked;
}

static void egd_receive(void *opaque, const uint8_t *buf, size_t len)
{
    RngEgd *r = opaque;

    g_assert(len <= r->asked && r->len + len <= KEEP);
    memcpy(r->buf + r->len, buf, len);
    r->len += len;
    r->asked -= len;
    rng_came(&r->rng);
}

static void egd_event(void *opaque, ChardevEvent ev)
{
    RngEgd *r = opaque;

    if (ev == CHARDEV_CLOSED) {
        r->asked = 0;
    } else if (ev == CHARDEV_OPENED && r->rng.waiters) {
        egd_wait(&r->rng);
    }
}

static const ChardevFeOps egd_fe_ops = {
    .can_receive = egd_can_receive,
    .receive = egd_receive,
    .event = egd_event,
};

static bool egd_realize(Obj *o, GError **err)
{
    RngEgd *r = (RngEgd *)o;
    Chardev *c = chardev_find(r->chardev);

    if (!c) {
        return err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", r->chardev);
    }
    return chardev_fe_init(&r->fe, c, &egd_fe_ops, r, err);
}

static void egd_unrealize(Obj *o)
{
    chardev_fe_fini(&((RngEgd *)o)->fe);
}

static const RngOps egd_ops = { .read = egd_read, .wait = egd_wait };
static const PropSpec egd_props[] = {
    { .name = "chardev",
        .type = &prop_str,
        .offset = PROP_AT(RngEgd, chardev, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "character device of the daemon" },
    PROP_END,
};

const ObjClass rng_egd_class = {
    .name = "rng-egd",
    .parent = "rng-backend",
    .help = "random bytes from a daemon",
    .size = sizeof(RngEgd),
    .flags = OBJ_USER_OBJECT,
    .props = (const PropGroup[]){ { egd_props, NULL }, { NULL, NULL } },
    .ops = &egd_ops,
    .realize = egd_realize,
    .unrealize = egd_unrealize,
};

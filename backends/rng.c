/* Random bytes from the host: the kernel's generator, or a file such as /dev/hwrng. Covered by
 * tests/unit/test-virtio-pci.c. */
#include "backends/rng.h"

#include "util/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

typedef struct RngRandom {
    RngBackend rng;
    char *filename;
    int fd;
} RngRandom;

static const RngOps *ops_of(const RngBackend *b)
{
    return b->obj.cls->ops;
}

size_t rng_read(RngBackend *b, void *buf, size_t len)
{
    return ops_of(b)->read(b, buf, len);
}

void rng_came(RngBackend *b)
{
    RngWaiter *w = b->waiters;

    b->waiters = NULL;
    while (w) {
        RngWaiter *next = w->next;

        w->queued = false;
        w->fn(w);
        w = next;
    }
}

static void readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    RngBackend *b = opaque;

    loop_fd_set(b->watch, 0);
    rng_came(b);
}

void rng_wait(RngBackend *b, RngWaiter *w)
{
    if (!w->queued) {
        w->queued = true;
        w->next = b->waiters;
        b->waiters = w;
    }
    if (ops_of(b)->wait) {
        ops_of(b)->wait(b);
    } else {
        loop_fd_set(b->watch, EPOLLIN);
    }
}

void rng_forget(RngBackend *b, RngWaiter *w)
{
    for (RngWaiter **p = &b->waiters; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    w->queued = false;
}

/* rng-builtin: getrandom(2) has always something once the host has booted. */
static size_t builtin_read(RngBackend *b, void *buf, size_t len)
{
    ssize_t n = getrandom(buf, len, 0);

    return n > 0 ? (size_t)n : 0;
}

static bool builtin_realize(Obj *o, GError **err)
{
    RngRandom *r = (RngRandom *)o;

    /* An eventfd that stays readable: whoever waits is served from the loop. */
    r->fd = fd_eventfd();
    fd_signal(r->fd);
    r->rng.watch = loop_fd_add(loop_main(), r->fd, 0, readable, r);
    return true;
}

static size_t random_read(RngBackend *b, void *buf, size_t len)
{
    ssize_t n = read(((RngRandom *)b)->fd, buf, len);

    return n > 0 ? (size_t)n : 0;
}

static void random_init(Obj *o)
{
    RngRandom *r = (RngRandom *)o;

    r->filename = g_strdup("/dev/urandom");
    r->fd = -1;
}

static bool random_realize(Obj *o, GError **err)
{
    RngRandom *r = (RngRandom *)o;

    r->fd = open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (r->fd < 0) {
        return err_set_errno(err, "Could not open '%s'", r->filename);
    }
    r->rng.watch = loop_fd_add(loop_main(), r->fd, 0, readable, r);
    return true;
}

static void random_unrealize(Obj *o)
{
    RngRandom *r = (RngRandom *)o;

    loop_fd_del(r->rng.watch);
    r->rng.watch = NULL;
    if (r->fd >= 0) {
        close(fd_steal(&r->fd));
    }
}

static const RngOps builtin_ops = { .read = builtin_read };
static const RngOps random_ops = { .read = random_read };
static const PropSpec random_props[] = {
    PROP_STR("filename", RngRandom, filename, "file the bytes come from"),
    PROP_END,
};

const ObjClass rng_backend_class = {
    .name = "rng-backend",
    .parent = "object",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(RngBackend),
};

const ObjClass rng_builtin_class = {
    .name = "rng-builtin",
    .parent = "rng-backend",
    .help = "random bytes from the host kernel",
    .size = sizeof(RngRandom),
    .flags = OBJ_USER_OBJECT,
    .ops = &builtin_ops,
    .realize = builtin_realize,
    .unrealize = random_unrealize,
};

const ObjClass rng_random_class = {
    .name = "rng-random",
    .parent = "rng-backend",
    .help = "random bytes from a file",
    .size = sizeof(RngRandom),
    .flags = OBJ_USER_OBJECT,
    .props = (const PropGroup[]){ { random_props, NULL }, { NULL, NULL } },
    .ops = &random_ops,
    .init = random_init,
    .realize = random_realize,
    .unrealize = random_unrealize,
};

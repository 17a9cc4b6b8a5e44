/* What the tests of normative sentences share. */
#include "tests/conformance/norm.h"

#include "block/block.h"
#include "hw/virtio/virtio-pci.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096 };

static struct {
    uint8_t *page;
    void (*fn)(void *opaque);
    void *opaque;
    unsigned writes;
} watch;
static Norm *current;

void norm_begin(const char *id)
{
    g_assert_true(g_str_has_suffix(g_test_get_path(), id));
    g_test_message("NORM %s", id);
}

void norm_note(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_test_message("MAY: %s", text);
}

/* What a type needs to be there at all. */
static char *needed(Norm *x, const char *driver, const char *opts)
{
    if (strstr(driver, "-blk-") && (!opts || !strstr(opts, "'drive'"))) {
        g_autoptr(Json) args = json_parse(
            "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);

        g_assert_nonnull(blk_drive_create(args, NULL));
        return g_strdup(", 'drive': 'd'");
    }
    if (strstr(driver, "-vsock-")) {
        x->dir = g_dir_make_tmp("norm-XXXXXX", NULL);
        return g_strdup_printf(", 'guest-cid': 3, 'x-path': '%s/vsock'", x->dir);
    }
    return g_strdup(strstr(driver, "-net-") ? ", 'romfile': ''" : "");
}

void norm_open(Norm *x, const char *driver, const char *opts, unsigned how)
{
    g_autofree char *more = NULL, *json = NULL;

    *x = (Norm){ 0 };
    current = x;
    more = needed(x, driver, opts);
    json = g_strdup_printf("{'driver': '%s', 'addr': '4'%s%s}", driver, more, opts ? opts : "");
    x->b = board_new(false);
    x->dev = board_add(x->b, json);
    x->s = g_str_has_prefix(driver, "dummy") ? dummy_of(x->dev) : NULL;
    vd_open(&x->d, &x->b->port, 0, NORM_DEVFN, how & NORM_LEGACY);
    if (how & NORM_MSIX) {
        vd_enable_msix(&x->d);
    }
    x->r = &x->d.ring[0];
    x->page = vd_page(&x->d, 0x10000);
    if (how & NORM_START) {
        norm_start(x, 0);
    }
}

void norm_close(Norm *x)
{
    if (x->s) {
        x->s->keep_on_stop = false;
        while (x->s->held->len) {
            vq_drop(g_ptr_array_steal_index(x->s->held, 0));
        }
    }
    board_free(x->b);
    blk_cleanup();
    if (x->dir) {
        g_autofree char *path = g_build_filename(x->dir, "vsock", NULL);

        unlink(path);
        g_assert_cmpint(rmdir(x->dir), ==, 0);
        g_clear_pointer(&x->dir, g_free);
    }
}

static void with_type(const char *name, const char *opts, void (*fn)(Norm *x, const char *driver))
{
    Norm x;

    norm_open(&x, name, opts, 0);
    fn(&x, name);
    norm_close(&x);
}

static bool is_type(const ObjClass *c)
{
    return c->flags & OBJ_DEVICE && c->parent && g_str_has_suffix(c->parent, "-pci-base");
}

void norm_types(void (*fn)(Norm *x, const char *driver))
{
    for (unsigned i = 0; obj_classes[i]; i++) {
        if (is_type(obj_classes[i])) {
            with_type(obj_classes[i]->name, NULL, fn);
        }
    }
}

static bool is_modern(const ObjClass *c)
{
    const VirtioOps *ops = ((const ObjClass *)c->ops2)->ops;

    return g_str_has_suffix(c->name, "-non-transitional") || !ops->transitional_id;
}

void norm_modern_types(const char *opts, void (*fn)(Norm *x, const char *driver))
{
    for (unsigned i = 0; obj_classes[i]; i++) {
        if (is_type(obj_classes[i]) && is_modern(obj_classes[i])) {
            with_type(obj_classes[i]->name, opts, fn);
        }
    }
}

bool norm_is_modern(const Norm *x)
{
    return is_modern(x->dev->obj.cls);
}

VirtioPci *norm_pci(const Norm *x)
{
    return (VirtioPci *)x->dev;
}

bool norm_transitional(const Norm *x)
{
    return norm_pci(x)->legacy;
}

Norm *norm_current(void)
{
    return current;
}

void norm_start(Norm *x, uint64_t without)
{
    vd_start(&x->d, without);
    board_run(x->b);
}

uint16_t norm_add(Norm *x)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->page + 0x1000, 8, true } };

    return vring_add(x->r, buf, 2, 0);
}

void norm_go(Norm *x)
{
    vd_kick(&x->d, 0);
    board_run(x->b);
}

void norm_used(Norm *x, uint32_t id, uint32_t len)
{
    uint32_t got_id, got_len;

    g_assert_true(vring_used(x->r, &got_id, &got_len));
    g_assert_cmpuint(got_id, ==, id);
    g_assert_cmpuint(got_len, ==, len);
}

void norm_one(Norm *x)
{
    uint16_t id = norm_add(x);

    norm_go(x);
    norm_used(x, id, 4);
}

void norm_reset_queue(Norm *x)
{
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x3a, 2, 1);
}

bool norm_idle(Norm *x)
{
    uint32_t id, len;

    return !vring_used(x->r, &id, &len);
}

void norm_put(const Norm *x, uint64_t at, const char *text)
{
    x->b->port.write(x->b, at, text, strlen(text));
}

bool norm_is(const Norm *x, uint64_t at, const char *text)
{
    g_autofree char *got = g_malloc(strlen(text));

    x->b->port.read(x->b, at, got, strlen(text));
    return !memcmp(got, text, strlen(text));
}

void norm_fill(const Norm *x, uint64_t at, uint8_t byte, size_t len)
{
    g_autofree uint8_t *v = g_malloc(len);

    memset(v, byte, len);
    x->b->port.write(x->b, at, v, len);
}

VqVerdict norm_hold(Dummy *s, VqElem *e)
{
    g_ptr_array_add(s->held, e);
    return VQ_HELD;
}

void norm_push(Norm *x, unsigned i)
{
    VqElem *e = g_ptr_array_steal_index(x->s->held, i);
    VirtQueue *vq = e->vq;

    vq_push(e);
    vq_notify(vq);
}

uint32_t norm_cfg(const Norm *x, unsigned reg, unsigned size)
{
    return vd_cfg_read(&x->b->port, 0, NORM_DEVFN, reg, size);
}

static uint64_t dev_at(const Norm *x, unsigned off)
{
    return x->d.legacy ? x->d.bar[0] + (x->d.msix ? 24 : 20) + off : x->d.device + off;
}

uint64_t norm_dev(const Norm *x, unsigned off, unsigned size)
{
    return x->b->port.load(x->b, x->d.legacy, dev_at(x, off), size);
}

void norm_dev_write(const Norm *x, unsigned off, unsigned size, uint64_t val)
{
    x->b->port.store(x->b, x->d.legacy, dev_at(x, off), size, val);
}

unsigned norm_cap(const Norm *x, unsigned type, unsigned n)
{
    for (unsigned c = norm_cfg(x, 0x34, 1); c; c = norm_cfg(x, c + 1, 1)) {
        if (norm_cfg(x, c, 1) == 9 && norm_cfg(x, c + 3, 1) == type && !n--) {
            return c;
        }
    }
    return 0;
}

bool norm_range(const Norm *x, unsigned type, unsigned n, NormRange *ret)
{
    unsigned cap = norm_cap(x, type, n);

    if (cap) {
        *ret = (NormRange){ cap, norm_cfg(x, cap + 4, 1), norm_cfg(x, cap + 8, 4),
            norm_cfg(x, cap + 12, 4) };
        if (type == 8) { /* two more words: 4.1.4.7 */
            ret->at |= (uint64_t)norm_cfg(x, cap + 16, 4) << 32;
            ret->len |= (uint64_t)norm_cfg(x, cap + 20, 4) << 32;
        }
    }
    return cap;
}

/*
 * Watching a page: it is read-only, a write faults, is made after all in a single step, and then
 * looked at.
 */
enum { TRAP_FLAG = 1 << 8 };

static void set_trap(void *context, bool on)
{
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

    *flags = on ? *flags | TRAP_FLAG : *flags & ~TRAP_FLAG;
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
    uint8_t *at = info->si_addr;

    if (!watch.page || at < watch.page || at >= watch.page + PAGE) {
        signal(SIGSEGV, SIG_DFL); /* a crash like any other */
        return;
    }
    mprotect(watch.page, PAGE, PROT_READ | PROT_WRITE);
    set_trap(context, true);
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    set_trap(context, false);
    watch.writes++;
    watch.fn(watch.opaque);
    mprotect(watch.page, PAGE, PROT_READ);
}

void norm_watch(const Norm *x, uint64_t at, void (*fn)(void *opaque), void *opaque)
{
    struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };

    watch.page = (uint8_t *)region_host(&x->b->ram) + at / PAGE * PAGE;
    watch.fn = fn;
    watch.opaque = opaque;
    watch.writes = 0;
    sigaction(SIGSEGV, &sa, NULL);
    sa.sa_sigaction = on_trap;
    sigaction(SIGTRAP, &sa, NULL);
    g_assert_cmpint(mprotect(watch.page, PAGE, PROT_READ), ==, 0);
}

unsigned norm_unwatch(void)
{
    mprotect(watch.page, PAGE, PROT_READ | PROT_WRITE);
    watch.page = NULL;
    return watch.writes;
}

/* Both kinds of ring. */
static void nothing(void *opaque) {}

void norm_check_buffers(Norm *x)
{
    norm_put(x, x->page, "keep");
    for (unsigned i = 0; i < 2; i++) { /* what lies in the writable part makes no difference */
        norm_fill(x, x->page + 0x1000, (uint8_t)(i ? 'x' : 'y'), 8);
        norm_watch(x, x->page, nothing, NULL);
        norm_one(x);
        g_assert_cmpuint(norm_unwatch(), ==, 0);
        g_assert_true(norm_is(x, x->page, "keep"));
        g_assert_true(norm_is(x, x->page + 0x1000, i ? "keepxxxx" : "keepyyyy"));
    }
}

static VqVerdict add_another(Dummy *s, VqElem *e)
{
    if (s->requests == 1) {
        norm_add(norm_current());
    }
    return VQ_DONE;
}

bool norm_takes_at_once(Norm *x)
{
    bool at_once;

    x->s->on_request = add_another;
    norm_add(x);
    norm_go(x);
    at_once = x->s->requests == 2;
    norm_go(x);
    g_assert_cmpuint(x->s->requests, ==, 2);
    return at_once;
}

/* Running. */
static void up(Norm *x, const void *data)
{
    const NormTest *t = data;

    if (!(t->how & NORM_BARE)) {
        norm_open(x, "dummy-pci", t->opts, t->how);
    }
}

static void run(Norm *x, const void *data)
{
    ((const NormTest *)data)->fn(x);
}

static void down(Norm *x, const void *data)
{
    if (x->b) {
        norm_close(x);
    }
}

int norm_main(int argc, char **argv, const NormTest *t, unsigned n)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf("/norm/%s", t[i].id);

        g_test_add(path, Norm, &t[i], up, run, down);
    }
    return g_test_run();
}

/* backends/rng-egd.c: what is asked of the daemon, and what comes. */
#include "backends/rng.h"
#include "chardev/chardev.h"
#include "hw/core/machine.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const ObjClass *const obj_classes[] = { &rng_backend_class, &rng_egd_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

typedef struct Fix {
    RngWaiter w;
    RngBackend *b;
    int host;
    unsigned came;
} Fix;

static void came(RngWaiter *w)
{
    ((Fix *)w)->came++;
}

static void run(void)
{
    for (unsigned i = 0; i < 8; i++) {
        loop_turn(loop_main(), false);
    }
}

static void up(Fix *x, const void *unused)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_autofree char *json = g_strdup_printf("{'backend': 'socket', 'id': 'c', 'fd': '%d'}", sv[0]);
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    GError *err = NULL;

    g_assert_nonnull(chardev_create(args, &err));
    x->host = sv[1];
    x->w.fn = came;
    Obj *o = obj_new(&rng_egd_class);

    g_assert_true(prop_set_text(o, "chardev", "c", &err));
    g_assert_true(obj_realize(o, &err));
    x->b = (RngBackend *)o;
}

static void down(Fix *x, const void *unused)
{
    obj_unrealize(&x->b->obj);
    obj_unref(&x->b->obj);
    g_assert_true(chardev_remove("c", NULL)); /* it is free again */
    chardev_cleanup();
    close(x->host);
}

/* What the daemon was asked for since the last time: "64 255 " … */
static char *asked(Fix *x)
{
    GString *s = g_string_new(NULL);
    uint8_t ask[2];

    run();
    while (read(x->host, ask, 2) == 2) {
        g_assert_cmpuint(ask[0], ==, 2); /* read, wait for it */
        g_string_append_printf(s, "%u ", ask[1]);
    }
    return g_string_free(s, FALSE);
}

#define EXPECT_ASKED(x, text)                                                                      \
    do {                                                                                           \
        g_autofree char *a_ = asked(x);                                                            \
        g_assert_cmpstr(a_, ==, text);                                                             \
    } while (0)

static void daemon_says(Fix *x, const char *text)
{
    g_assert_cmpint((int)write(x->host, text, strlen(text)), ==, (int)strlen(text));
    run();
}

static void test_bytes(Fix *x, const void *unused)
{
    char buf[512] = "";

    EXPECT_ASKED(x, ""); /* nobody wants any */
    g_assert_cmpuint(rng_read(x->b, buf, 8), ==, 0);
    rng_wait(x->b, &x->w);
    EXPECT_ASKED(x, "8 ");
    rng_wait(x->b, &x->w); /* it is on its way */
    EXPECT_ASKED(x, "");
    daemon_says(x, "abc");
    g_assert_cmpuint(x->came, ==, 1);
    g_assert_cmpuint(rng_read(x->b, buf, 8), ==, 3);
    rng_wait(x->b, &x->w);
    EXPECT_ASKED(x, ""); /* five more are to come, five are wanted */
    daemon_says(x, "defgh");
    g_assert_cmpuint(x->came, ==, 2);
    g_assert_cmpuint(rng_read(x->b, buf, 3), ==, 3);
    g_assert_cmpuint(rng_read(x->b, buf + 3, 500), ==, 2);
    g_assert_cmpmem(buf, 5, "defgh", 5);
    rng_wait(x->b, &x->w);
    EXPECT_ASKED(x, "255 243 ");
    rng_forget(x->b, &x->w);
    daemon_says(x, "ijk");
    g_assert_cmpuint(x->came, ==, 2);
    g_assert_cmpuint(rng_read(x->b, buf, 100), ==, 3); /* kept for the next */
}

/* A daemon that talks without being asked fills nothing but its own socket. */
static void test_unasked(Fix *x, const void *unused)
{
    char buf[64], many[65536] = { 0 };

    g_assert_cmpint((int)write(x->host, many, sizeof many), >, 0);
    run();
    g_assert_cmpuint(rng_read(x->b, buf, 10), ==, 0);
    rng_wait(x->b, &x->w);
    run();
    g_assert_cmpuint(x->came, ==, 1);
    g_assert_cmpuint(rng_read(x->b, buf, 64), ==, 10);
    g_assert_cmpuint(rng_read(x->b, buf, 64), ==, 0);
}

/* Never more than it can keep, however much is wanted. */
static void test_much(Fix *x, const void *unused)
{
    char buf[4096];

    g_assert_cmpuint(rng_read(x->b, buf, 1 << 20), ==, 0);
    rng_wait(x->b, &x->w);
    EXPECT_ASKED(x, "255 255 255 255 ");
    memset(buf, 'x', 1020);
    g_assert_cmpint((int)write(x->host, buf, 1020), ==, 1020);
    run();
    g_assert_cmpuint(rng_read(x->b, buf, sizeof buf), ==, 1020);
}

static void test_leaves(Fix *x, const void *unused)
{
    char buf[8];

    g_assert_cmpuint(rng_read(x->b, buf, 8), ==, 0);
    rng_wait(x->b, &x->w);
    EXPECT_ASKED(x, "8 ");
    close(x->host);
    x->host = -1;
    run();
    rng_wait(x->b, &x->w); /* nobody is there to ask */
    run();
    g_assert_cmpuint(rng_read(x->b, buf, 8), ==, 0);
    g_assert_cmpuint(x->came, ==, 0);
}

static void expect_error(const char *chardev, const char *text)
{
    g_autoptr(GError) err = NULL;
    Obj *o = obj_new(&rng_egd_class);

    g_assert_true(prop_set_text(o, "chardev", chardev, &err));
    g_assert_false(obj_realize(o, &err));
    g_assert_cmpstr(err->message, ==, text);
    obj_unref(o);
}

static void test_errors(Fix *x, const void *unused)
{
    expect_error("nope", "Device 'nope' not found");
    expect_error("c", "chardev 'c' is already in use");
}

#define ADD(path, fn) g_test_add("/rng-egd/" path, Fix, NULL, up, fn, down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    ADD("bytes", test_bytes);
    ADD("unasked", test_unasked);
    ADD("much", test_much);
    ADD("daemon-leaves", test_leaves);
    ADD("errors", test_errors);
    return g_test_run();
}

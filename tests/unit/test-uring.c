/* util/uring.c and block/file-uring.c: files by io_uring. Skipped where the host has none. */
#include "block/block.h"
#include "util/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 1000, BLOCK = 512 };

typedef struct Work {
    BlkReq r;
    struct iovec v;
    bool done;
} Work;

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

static char *file;

static void on_done(BlkReq *r)
{
    ((Work *)r)->done = true;
}

static void start(Blk *b, Work *w, BlkOp op, uint64_t off, void *buf, size_t len)
{
    *w = (Work){ .v = { buf, len } };
    w->r = (BlkReq){ .op = op, .off = off, .len = len, .iov = &w->v, .niov = 1, .done = on_done };
    blk_submit(b, &w->r);
    g_assert_false(w->done);
}

static int finish(Work *w)
{
    while (!w->done) {
        loop_turn(loop_main(), /* block= */ true);
    }
    return w->r.error;
}

static int run(Blk *b, BlkOp op, uint64_t off, void *buf, size_t len)
{
    Work w;

    start(b, &w, op, off, buf, len);
    return finish(&w);
}

static Blk *open_file(size_t size, const char *cache, bool read_only)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = g_strdup_printf("{'file': '%s', 'format': 'raw', 'if': 'none', "
                                            "'id': 'd', 'aio': 'io_uring', 'cache': '%s', "
                                            "'readonly': %s}",
        file, cache, read_only ? "true" : "false");
    g_autoptr(Json) args = json_parse(text, -1, &err);
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);

    g_assert_no_error(err);
    g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
    close(fd);
    Blk *b = blk_drive_create(args, &err);

    g_assert_no_error(err);
    return b;
}

static bool missing(void)
{
    g_autoptr(GError) err = NULL;

    if (uring_available(&err)) {
        return false;
    }
    g_test_skip(err->message);
    return true;
}

/* More requests at once than the ring has places, each with its own content. */
static void test_many(void)
{
    if (missing()) {
        return;
    }
    Blk *b = open_file(DEPTH * BLOCK, "writeback", false);
    Work *w = g_new0(Work, DEPTH);
    uint8_t *data = g_malloc(DEPTH * BLOCK), *back = g_malloc0(DEPTH * BLOCK);

    for (unsigned i = 0; i < DEPTH; i++) {
        memset(data + i * BLOCK, (int)(i * 7 + i / 256), BLOCK);
        start(b, &w[i], BLK_WRITE, i * BLOCK, data + i * BLOCK, BLOCK);
    }
    g_assert_cmpuint(blk_in_flight(b), ==, DEPTH);
    blk_drain(b);
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_true(w[i].done && !w[i].r.error);
    }
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0), ==, 0);
    for (unsigned i = 0; i < DEPTH; i++) {
        start(b, &w[i], BLK_READ, i * BLOCK, back + i * BLOCK, BLOCK);
    }
    blk_drain(b);
    g_assert_cmpmem(data, DEPTH * BLOCK, back, DEPTH * BLOCK);
    g_free(w);
    g_free(data);
    g_free(back);
    blk_cleanup();
}

/* The last sector of a file that is no multiple of 512: its tail reads as zeroes. */
static void test_tail(void)
{
    if (missing()) {
        return;
    }
    uint8_t buf[1024];
    Blk *b = open_file(700, "writeback", false);

    memset(buf, 0xee, sizeof buf);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512), ==, 0);
    memset(buf, 0x55, sizeof buf);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 1024), ==, 0);
    g_assert_cmphex(buf[511], ==, 0xee);
    g_assert_cmphex(buf[512], ==, 0);
    g_assert_cmphex(buf[1023], ==, 0);
    /* A file that shrank behind our back reads as zeroes, too: a short read is finished elsewhere.
     */
    g_assert_cmpint(truncate(file, 100), ==, 0);
    memset(buf, 0x55, sizeof buf);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 512), ==, 0);
    g_assert_cmphex(buf[99], ==, 0xee);
    g_assert_cmphex(buf[100], ==, 0);
    blk_cleanup();
}

/* What the kernel refuses comes back as it is: here memory that is not there. */
static void test_error(void)
{
    if (missing()) {
        return;
    }
    Blk *b = open_file(8192, "writeback", false);

    g_assert_cmpint(run(b, BLK_READ, 0, (void *)8, 512), ==, -EFAULT);
    g_assert_cmpint(run(b, BLK_WRITE, 0, (void *)8, 512), ==, -EFAULT);
    blk_cleanup();
    b = open_file(8192, "writeback", true);
    uint8_t buf[512] = { 0 };
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512), ==, -EACCES);
    blk_cleanup();
}

/* O_DIRECT: aligned writes by the ring beside unaligned neighbours that rewrite edges. */
static void test_direct(void)
{
    if (missing()) {
        return;
    }
    enum { ROUNDS = 40, SPAN = 16384 };
    uint8_t *page = g_aligned_alloc(1, SPAN, 4096), odd[512];
    Blk *b = open_file(SPAN, "none", false);

    for (unsigned i = 0; i < ROUNDS; i++) {
        Work w[4];
        uint8_t back[SPAN];

        memset(page, (int)(i + 1), SPAN);
        memset(odd, (int)(i + 101), sizeof odd);
        start(b, &w[0], BLK_WRITE, 0, page, 4096);
        start(b, &w[1], BLK_WRITE, 4096 + 512, odd, sizeof odd); /* in the page between them */
        start(b, &w[2], BLK_WRITE, 8192, page, 4096);
        start(b, &w[3], BLK_WRITE, 12288 + 1024, odd, sizeof odd);
        blk_drain(b);
        for (unsigned k = 0; k < 4; k++) {
            g_assert_true(w[k].done && !w[k].r.error);
        }
        g_assert_cmpint(run(b, BLK_READ, 0, back, SPAN), ==, 0);
        g_assert_cmphex(back[0], ==, i + 1);
        g_assert_cmphex(back[4095], ==, i + 1);
        g_assert_cmphex(back[4096 + 512], ==, i + 101);
        g_assert_cmphex(back[4096], ==, 0);
        g_assert_cmphex(back[8192 + 4095], ==, i + 1);
        g_assert_cmphex(back[12288 + 1024 + 511], ==, i + 101);
    }
    g_aligned_free(page);
    blk_cleanup();
}

static gpointer io_thread(gpointer opaque)
{
    loop_run(opaque);
    return NULL;
}

typedef struct InThread {
    Blk *b;
    Work w[64];
    uint8_t data[64][BLOCK];
} InThread;

static void submit_there(void *opaque)
{
    InThread *t = opaque;

    for (unsigned i = 0; i < G_N_ELEMENTS(t->w); i++) {
        memset(t->data[i], (int)i + 1, BLOCK);
        start(t->b, &t->w[i], BLK_WRITE, i * BLOCK, t->data[i], BLOCK);
    }
}

static void where_am_i(void *opaque)
{
    *(Loop **)opaque = loop_current();
}

/* Requests of another loop: main drains them, done() ran over there. */
static void test_other_loop(void)
{
    if (missing()) {
        return;
    }
    InThread t = { .b = open_file(1 << 16, "writeback", false) };
    Loop *l = loop_new("io");

    loop_poll_tune(l, 32768, 0, 0);
    GThread *thread = g_thread_new("io", io_thread, l);

    for (Loop *there = NULL; there != l; g_thread_yield()) {
        loop_call(l, where_am_i, &there); /* a plain call as long as no thread runs the loop */
    }
    blk_set_loop(t.b, l);
    for (unsigned round = 0; round < 50; round++) {
        loop_call(l, submit_there, &t);
        blk_drain(t.b);
        g_assert_cmpuint(blk_in_flight(t.b), ==, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(t.w); i++) {
            g_assert_true(t.w[i].done && !t.w[i].r.error);
        }
    }
    loop_quit(l);
    g_thread_join(thread);
    blk_set_loop(t.b, NULL);
    blk_cleanup();
    loop_free(l);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *dir = g_dir_make_tmp("virtue-uring-XXXXXX", &err);

    g_test_init(&argc, &argv, NULL);
    g_assert_no_error(err);
    file = g_build_filename(dir, "disk", NULL);
    loop_main();
    g_test_add_func("/uring/more-than-the-ring-holds", test_many);
    g_test_add_func("/uring/tail-is-zero", test_tail);
    g_test_add_func("/uring/errors", test_error);
    g_test_add_func("/uring/direct-beside-edges", test_direct);
    g_test_add_func("/uring/other-loop", test_other_loop);
    int rc = g_test_run();

    g_unlink(file);
    g_rmdir(dir);
    g_free(file);
    return rc;
}

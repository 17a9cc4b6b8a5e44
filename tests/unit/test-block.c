/* block/: requests on real files, the order of flushes, -drive and -blockdev and their errors,
 * locks, QMP. */
#include "block/block.h"
#include "util/giov.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

typedef struct Done {
    BlkReq r;
    bool done;
} Done;

static void on_done(BlkReq *r)
{
    ((Done *)r)->done = true;
}

static int run(Blk *b, BlkOp op, uint64_t off, void *buf, size_t len, unsigned flags)
{
    struct iovec v = { buf, len };
    Done d = { .r = { .op = op,
                   .off = off,
                   .len = len,
                   .iov = &v,
                   .niov = buf ? 1 : 0,
                   .flags = flags,
                   .done = on_done } };

    blk_submit(b, &d.r);
    g_assert_false(d.done); /* never inside blk_submit() */
    while (!d.done) {
        loop_turn(loop_main(), /* block= */ true);
    }
    return d.r.error;
}

/* "@" in a text stands for the folder of this run. */
static Json *parse(const char *json)
{
    g_auto(GStrv) part = g_strsplit(json, "@", -1);
    g_autofree char *full = g_strjoinv(dir, part);
    g_autoptr(GError) err = NULL;
    Json *j = json_parse(full, -1, &err);

    g_assert_no_error(err);
    return j;
}

static Blk *drive(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = parse(json);
    Blk *b = blk_drive_create(args, &err);

    g_assert_no_error(err);
    return b;
}

static BlkNode *node(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = parse(json);
    BlkNode *n = blk_node_create(args, &err);

    g_assert_no_error(err);
    return n;
}

static char *path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void image(const char *name, size_t size, uint8_t byte)
{
    g_autofree char *p = path(name), *data = g_malloc(size);

    memset(data, byte, size);
    g_assert_true(g_file_set_contents(p, data, (gssize)size, NULL));
}

static uint64_t file_len(const char *name)
{
    g_autofree char *p = path(name);
    struct stat st;

    g_assert_cmpint(stat(p, &st), ==, 0);
    return (uint64_t)st.st_size;
}

static uint8_t file_byte(const char *name, uint64_t at)
{
    g_autofree char *p = path(name);
    uint8_t v = 0;
    int fd = open(p, O_RDONLY);

    g_assert_cmpint((int)pread(fd, &v, 1, (off_t)at), ==, 1);
    close(fd);
    return v;
}

static void test_read_write(void)
{
    uint8_t buf[1536];

    image("a", 8192, 0x11);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    g_assert_cmpuint(blk_size(b), ==, 8192);
    g_assert_false(blk_read_only(b));
    memset(buf, 0x22, sizeof buf);
    g_assert_cmpint(run(b, BLK_WRITE, 512, buf, 1024, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 1536, 0), ==, 0);
    g_assert_cmphex(buf[511], ==, 0x11);
    g_assert_cmphex(buf[512], ==, 0x22);
    g_assert_cmphex(buf[1535], ==, 0x22);
    g_assert_cmphex(file_byte("a", 1535), ==, 0x22);
    g_assert_cmphex(file_byte("a", 1536), ==, 0x11);
    g_assert_cmpuint(blk_in_flight(b), ==, 0);
    blk_cleanup();
}

static void test_bounds(void)
{
    uint8_t buf[1024];

    image("a", 4096, 0);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    g_assert_cmpint(run(b, BLK_READ, 4096 - 512, buf, 1024, 0), ==, -EIO);
    g_assert_cmpint(run(b, BLK_WRITE, 4096, buf, 512, 0), ==, -EIO);
    g_assert_cmpint(run(b, BLK_READ, UINT64_MAX - 511, buf, 1024, 0), ==, -EIO);
    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 8192, 0), ==, -EIO);
    g_assert_cmpint(run(b, BLK_READ, 4096, buf, 0, 0), ==, 0);
    g_assert_cmpuint(file_len("a"), ==, 4096);
    blk_cleanup();
}

/* A file that is no whole number of sectors: the guest sees one more, whose tail is zero. */
static void test_tail_is_zero(void)
{
    uint8_t buf[1024];

    image("a", 1000, 0x33);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    g_assert_cmpuint(blk_size(b), ==, 1024);
    memset(buf, 0xff, sizeof buf);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 1024, 0), ==, 0);
    g_assert_cmphex(buf[999], ==, 0x33);
    g_assert_cmphex(buf[1000], ==, 0);
    g_assert_cmphex(buf[1023], ==, 0);
    blk_cleanup();
}

static void test_read_only(void)
{
    uint8_t buf[512] = { 1 };

    image("a", 4096, 0);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd', 'readonly': true}");
    g_assert_true(blk_read_only(b));
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, -EACCES);
    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 512, 0), ==, -EACCES);
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 0, NULL, 512, 0), ==, -EACCES);
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 512, 0), ==, 0);
    Blk *cd = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'c', 'media': 'cdrom'}");
    g_assert_true(blk_read_only(cd));
    blk_cleanup();
}

/* Many iovecs, odd lengths, more than one system call takes. */
static void test_long_vector(void)
{
    enum { N = 3000, ONE = 7 };
    g_autofree struct iovec *v = g_new(struct iovec, N);
    g_autofree uint8_t *w = g_malloc(N * ONE), *r = g_malloc0(N * ONE);
    Done d = {
        .r = { .op = BLK_WRITE, .off = 5, .len = N * ONE, .iov = v, .niov = N, .done = on_done }
    };

    image("a", 65536, 0);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    for (unsigned i = 0; i < N * ONE; i++) {
        w[i] = (uint8_t)(i * 7 >> 2);
    }
    for (unsigned i = 0; i < N; i++) {
        v[i] = (struct iovec){ w + i * ONE, ONE };
    }
    blk_submit(b, &d.r);
    blk_drain(b);
    g_assert_true(d.done);
    g_assert_cmpint(d.r.error, ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 5, r, N * ONE, 0), ==, 0);
    g_assert_cmpmem(w, N * ONE, r, N * ONE);
    blk_cleanup();
}

/* What the layer asks of a driver, in order. */
static GString *calls;
static int spy_fail;

static bool spy_open(BlkNode *n, GError **err)
{
    n->size = 1 << 20;
    return true;
}

static void spy_close(BlkNode *n) {}

static int spy_read(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    g_string_append_c(calls, 'r');
    return 0;
}

static int spy_write(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    g_string_append_c(calls, 'w');
    return spy_fail == 'w' ? -ENOSPC : 0;
}

static int spy_flush(BlkNode *n)
{
    g_string_append_c(calls, 'f');
    return spy_fail == 'f' ? -EIO : 0;
}

static int spy_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    g_string_append(calls, flags & BLK_MAY_UNMAP ? "Z" : "z");
    return spy_fail == 'z' ? -ENOTSUP : 0;
}

static int spy_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    g_string_append_c(calls, 'd');
    return spy_fail == 'd' ? -ENOTSUP : 0;
}

static const BlkDriver spy = { .name = "spy",
    .protocol = true,
    .open = spy_open,
    .close = spy_close,
    .preadv = spy_read,
    .pwritev = spy_write,
    .flush = spy_flush,
    .write_zeroes = spy_zeroes,
    .discard = spy_discard };

static Blk *spied(void)
{
    Blk *b = drive("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}");

    blk_node(b)->drv = &spy; /* the null node below stays as it is */
    g_string_truncate(calls, 0);
    spy_fail = 0;
    return b;
}

static void test_flush_and_write_through(void)
{
    uint8_t buf[512] = { 1 };
    Blk *b = spied();

    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "w");
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "wf");
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, BLK_FUA), ==, 0);
    g_assert_cmpstr(calls->str, ==, "wfwf");
    blk_set_write_cache(b, false);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 0, NULL, 512, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 512, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "wfwfwfzfr");
    spy_fail = 'f'; /* written, but not safe: that is a failure */
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, -EIO);
    spy_fail = 'w';
    g_string_truncate(calls, 0);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, -ENOSPC);
    g_assert_cmpstr(calls->str, ==, "w");
    blk_node(b)->cache_no_flush = true;
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "w");
    blk_cleanup();
}

static void test_discard_and_zeroes(void)
{
    uint8_t zero[4096] = { 0 }, one[4096] = { [4095] = 1 };
    Blk *b = spied();

    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 4096, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, ""); /* discard=ignore */
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 0, NULL, 4096, BLK_MAY_UNMAP), ==, 0);
    g_assert_cmpstr(calls->str, ==, "z");
    blk_node(b)->discard_unmap = true;
    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 4096, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 0, NULL, 4096, BLK_MAY_UNMAP), ==, 0);
    g_assert_cmpstr(calls->str, ==, "zdZ");
    spy_fail = 'd';
    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 4096, 0), ==, 0); /* a hint only */
    spy_fail = 'z'; /* the host cannot: zeroes are written */
    g_string_truncate(calls, 0);
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 0, NULL, 3 << 18, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "zw");
    spy_fail = 0;
    blk_node(b)->detect_zeroes = true;
    g_string_truncate(calls, 0);
    g_assert_cmpint(run(b, BLK_WRITE, 0, zero, 4096, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_WRITE, 0, one, 4096, 0), ==, 0);
    g_assert_cmpstr(calls->str, ==, "Zw");
    blk_cleanup();
}

/* The same on a file: holes are made, zeroes are zeroes. */
static void test_file_holes(void)
{
    uint8_t buf[4096];
    struct stat before, after;
    g_autofree char *p = path("a");

    image("a", 1 << 20, 0x55);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd', 'discard': 'unmap'}");
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpint(stat(p, &before), ==, 0);
    g_assert_cmpint(run(b, BLK_DISCARD, 0, NULL, 512 << 10, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_WRITE_ZEROES, 600 << 10, NULL, 4608, 0), ==, 0);
    g_assert_cmpint(stat(p, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <=, before.st_blocks);
    g_assert_cmpuint(file_len("a"), ==, 1 << 20);
    g_assert_cmpint(run(b, BLK_READ, 600 << 10, buf, 4096, 0), ==, 0);
    g_assert_cmphex(buf[0] | buf[4095], ==, 0);
    g_assert_cmphex(file_byte("a", (600 << 10) + 4607), ==, 0);
    g_assert_cmphex(file_byte("a", (600 << 10) + 4608), ==, 0x55);
    blk_cleanup();
}

/* O_DIRECT: any offset, length and memory, and the file keeps its length. */
static void test_direct(void)
{
    g_autofree uint8_t *mem = g_malloc(3 << 20), *want = g_malloc(3 << 20);
    enum { SIZE = (2 << 20) + 1536 };

    image("a", SIZE, 0x66);
    memset(want, 0x66, SIZE);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd', 'cache': 'none'}");
    g_assert_true(blk_write_cache(b));
    static const struct {
        uint32_t off, len, skew;
    } t[] = { { 0, 512, 1 }, { 512, 4096, 3 }, { 4000, 200, 0 }, { SIZE - 512, 512, 5 },
        { 100, (2 << 20) - 300, 7 }, { 8192, 4096, 0 } };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        memset(mem, (int)i + 1, 3 << 20);
        memset(want + t[i].off, (int)i + 1, t[i].len);
        g_assert_cmpint(run(b, BLK_WRITE, t[i].off, mem + t[i].skew, t[i].len, 0), ==, 0);
    }
    memset(mem, 0, 3 << 20);
    g_assert_cmpint(run(b, BLK_READ, 0, mem + 1, SIZE, 0), ==, 0);
    g_assert_cmpmem(mem + 1, SIZE, want, SIZE);
    g_assert_cmpuint(file_len("a"), ==, SIZE);
    blk_cleanup();
}

/* Neighbouring unaligned writes at once: none may undo another. */
static void test_direct_neighbours(void)
{
    enum { N = 64 };
    static uint8_t data[N][512];
    Done d[N];
    struct iovec v[N];
    uint8_t got[512];

    image("a", N * 512, 0);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd', 'cache': 'none'}");
    for (unsigned i = 0; i < N; i++) {
        memset(data[i], (int)i + 1, 512);
        v[i] = (struct iovec){ data[i], 512 };
        d[i] = (Done){ .r = { .op = BLK_WRITE,
                           .off = i * 512,
                           .len = 512,
                           .iov = &v[i],
                           .niov = 1,
                           .done = on_done } };
        blk_submit(b, &d[i].r);
    }
    g_assert_cmpuint(blk_in_flight(b), ==, N);
    blk_drain(b);
    for (unsigned i = 0; i < N; i++) {
        g_assert_true(d[i].done);
        g_assert_cmpint(run(b, BLK_READ, i * 512, got, 512, 0), ==, 0);
        g_assert_cmpmem(got, 512, data[i], 512);
    }
    blk_cleanup();
}

/* Without format=raw the guest must not turn its disk into something the next start takes for
 * another format. */
static void test_probed(void)
{
    uint8_t buf[1024] = "QFI\xfb", plain[512] = "plain";

    image("a", 8192, 0);
    Blk *b = drive("{'file': '@/a', 'if': 'none', 'id': 'd'}");
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, -EPERM);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 1024, 0), ==, -EPERM);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 2, 0), ==, 0); /* in two halves */
    g_assert_cmpint(run(b, BLK_WRITE, 2, buf + 2, 2, 0), ==, -EPERM);
    g_assert_cmpint(run(b, BLK_WRITE, 512, buf, 512, 0), ==, 0);
    memcpy(buf, "boot", 4);
    memset(buf + 512, 0x77, 512);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 1024, 0), ==, 0);
    g_assert_cmphex(file_byte("a", 0), ==, 'b');
    g_assert_cmphex(file_byte("a", 1023), ==, 0x77);
    g_assert_cmpint(run(b, BLK_WRITE, 0, plain, 512, 0), ==, 0);
    blk_cleanup();
    b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    memcpy(buf, "QFI\xfb", 4);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0); /* who says raw gets raw */
    blk_cleanup();
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = parse("{'file': '@/a', 'if': 'none', 'id': 'd'}");
    g_assert_null(blk_drive_create(args, &err));
    g_assert_cmpstr(err->message, ==, "Unsupported qcow2 version 0");
    g_clear_error(&err);
    b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    memcpy(buf, "KDMV", 4);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0);
    blk_cleanup();
    g_assert_null(blk_drive_create(args, &err));
    g_assert_nonnull(
        strstr(err->message, "holds an image of format 'vmdk', which is not supported"));
    blk_cleanup();
}

static void test_null(void)
{
    uint8_t buf[512];

    Blk *b = drive("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd', 'file.size': "
                   "4096, 'file.read-zeroes': true}");
    g_assert_cmpuint(blk_size(b), ==, 4096);
    memset(buf, 9, sizeof buf);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 0, buf, 512, 0), ==, 0);
    g_assert_cmphex(buf[0] | buf[511], ==, 0);
    blk_cleanup();
    b = drive("{'file': 'null-aio://', 'if': 'none', 'id': 'd', 'file.latency-ns': 1000}");
    g_assert_cmpuint(blk_size(b), ==, 1 << 30);
    g_assert_cmpint(run(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    blk_cleanup();
}

static void test_window(void)
{
    uint8_t buf[512];

    image("a", 8192, 0x10);
    node("{'driver': 'raw', 'node-name': 'w', 'offset': 1024, 'size': 2048, 'file': {'driver': "
         "'file', 'filename': '@/a'}}");
    Blk *b = NULL;
    g_autoptr(Json) id = json_str("w");
    g_assert_true(prop_ref_set(&prop_drive, &b, id, NULL));
    g_assert_cmpuint(blk_size(b), ==, 2048);
    memset(buf, 0x20, sizeof buf);
    g_assert_cmpint(run(b, BLK_WRITE, 0, buf, 512, 0), ==, 0);
    g_assert_cmpint(run(b, BLK_READ, 1536, buf, 1024, 0), ==, -EIO);
    g_assert_cmphex(file_byte("a", 1023), ==, 0x10);
    g_assert_cmphex(file_byte("a", 1024), ==, 0x20);
    prop_drive.release(&b);
    g_assert_null(b);
    blk_cleanup();
}

/* The message of each wrong -drive, as QEMU 10.0 has it. */
static void test_drive_errors(void)
{
    static const struct {
        const char *args, *text;
    } t[] = {
        { "'file': '/nonexist/x', 'if': 'virtio'",
            "Could not open '/nonexist/x': No such file or directory" },
        { "'file': '@/a', 'if': 'foo'", "unsupported bus type 'foo'" },
        { "'file': '@/a', 'format': 'foo'", "Unknown driver 'foo'" },
        { "'file': '@/a', 'cache': 'foo'", "invalid cache option" },
        { "'file': '@/a', 'foo': 1", "Block format 'raw' does not support the option 'foo'" },
        { "'format': 'raw', 'if': 'virtio'", "A block device must be specified for \"file\"" },
        { "'file': 'foo:bar'", "Unknown protocol 'foo'" },
        { "'file': '@/a', 'aio': 'foo'", "invalid aio option" },
        { "'file': '@/a', 'aio': 'native'",
            "aio=native was specified, but it requires cache.direct=on, which was not specified." },
        { "'file': '@/a', 'werror': 'foo'", "'foo' invalid write error action" },
        { "'file': '@/a', 'rerror': 'foo'", "'foo' invalid read error action" },
        { "'file': '@/a', 'media': 'foo'", "'foo' invalid media" },
        { "'file': '@/a', 'discard': 'foo'", "Invalid discard option" },
        { "'file': '@/a', 'detect-zeroes': 'foo'", "invalid parameter value: foo" },
        { "'file': '/', 'format': 'raw'", "'file' driver requires '/' to be a regular file" },
        { "'file': '@/a', 'copy-on-read': true", "'copy-on-read' is not supported" },
        { "'file': '@/a', 'id': '1d'", "Parameter 'id' expects an identifier" },
        { "'file': '@/a', 'id': 'twice'", "Duplicate ID 'twice' for drive" },
    };

    image("a", 512, 0);
    drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'twice'}");
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json = g_strdup_printf("{%s}", t[i].args);
        g_autoptr(Json) args = parse(json);
        g_autoptr(GError) err = NULL;
        g_assert_null(blk_drive_create(args, &err));
        g_autofree char *line = err_first_line(err);
        g_assert_cmpstr(line, ==, t[i].text);
    }
    blk_cleanup();
}

static void test_blockdev_errors(void)
{
    static const struct {
        const char *args, *text;
    } t[] = {
        { "'driver': 'foo', 'node-name': 'n'", "Parameter 'driver' does not accept value 'foo'" },
        { "'node-name': 'n'", "Parameter 'driver' is missing" },
        { "'driver': 'file', 'filename': '@/a'",
            "'node-name' must be specified for the root node" },
        { "'driver': 'raw', 'node-name': 'n'", "Parameter 'file' is missing" },
        { "'driver': 'raw', 'node-name': 'n', 'file': 'zz'",
            "Cannot find device='zz' nor node-name='zz'" },
        { "'driver': 'file', 'node-name': 'n'", "Parameter 'filename' is missing" },
        { "'driver': 'file', 'node-name': 'n', 'filename': '/nonexist/q'",
            "Could not open '/nonexist/q': No such file or directory" },
        { "'driver': 'file', 'node-name': '1n', 'filename': '@/a'", "Invalid node-name: '1n'" },
        { "'driver': 'file', 'node-name': 'n', 'filename': '@/a', 'force-share': true",
            "force-share=on can only be used with read-only images" },
        { "'driver': 'null-co', 'node-name': 'there'", "Duplicate nodes with node-name='there'" },
        { "'driver': 'null-co', 'node-name': 'n', 'foo': 1", "Parameter 'foo' is unexpected" },
    };

    image("a", 512, 0);
    node("{'driver': 'null-co', 'node-name': 'there'}");
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json = g_strdup_printf("{%s}", t[i].args);
        g_autoptr(Json) args = parse(json);
        g_autoptr(GError) err = NULL;
        g_assert_null(blk_node_create(args, &err));
        g_assert_cmpstr(err->message, ==, t[i].text);
    }
    blk_cleanup();
}

static void expect_kept(const char *name, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(blk_node_delete(name, &err));
    g_assert_cmpstr(err->message, ==, why);
}

static void test_nodes(void)
{
    node("{'driver': 'null-co', 'node-name': 'low'}");
    node("{'driver': 'raw', 'node-name': 'top', 'file': 'low'}");
    node("{'driver': 'raw', 'node-name': 'own', 'file': {'driver': 'null-co', 'node-name': "
         "'inner'}}");
    expect_kept("low", "Block device low is in use");
    expect_kept("inner", "Node inner is not owned by the monitor");
    expect_kept("zz", "Failed to find node with node-name='zz'");
    Blk *b = NULL;
    g_autoptr(Json) id = json_str("top");
    g_assert_true(prop_ref_set(&prop_drive, &b, id, NULL));
    expect_kept("top", "Node top is in use");
    prop_drive.release(&b);
    g_assert_true(blk_node_delete("top", NULL));
    g_assert_true(blk_node_delete("low", NULL));
    g_assert_true(blk_node_delete("own", NULL));
    expect_kept("inner", "Failed to find node with node-name='inner'");
    blk_cleanup();
}

static const ObjClass thing_class = { .name = "thing", .size = sizeof(Obj) };
const ObjClass *const obj_classes[] = { &thing_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

static void test_attach(void)
{
    Obj *x = obj_new(&thing_class), *y = obj_new(&thing_class);
    g_autoptr(GError) err = NULL, twice = NULL;

    image("a", 4096, 0);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    g_assert_true(blk_attach(b, x, false, &err));
    g_assert_false(blk_attach(b, y, false, &err));
    g_assert_cmpstr(err->message, ==, "Drive 'd' is already in use by another device");
    blk_detach(b);
    g_assert_true(blk_attach(b, y, false, &twice));
    blk_detach(b);
    blk_cleanup();
    /* Two handles on one node: one writer, unless both share. */
    node("{'driver': 'file', 'node-name': 'n', 'filename': '@/a'}");
    Blk *h[3] = { NULL };
    g_autoptr(Json) id = json_str("n");
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(prop_ref_set(&prop_drive, &h[i], id, NULL));
    }
    g_assert_true(blk_attach(h[0], x, true, NULL));
    g_assert_true(blk_attach(h[1], y, true, NULL));
    g_assert_false(blk_attach(h[2], y, false, &twice));
    g_assert_true(g_str_has_prefix(twice->message,
        "Permission conflict on node 'n': permissions 'write' are both required by "));
    prop_drive.release(&h[2]);
    blk_detach(h[0]);
    blk_detach(h[1]);
    blk_cleanup();
    obj_unref(x);
    obj_unref(y);
}

/* Two openings are two emulators as far as the locks go: they belong to the open file description.
 */
static bool both(const char *one, bool share_one, const char *two, bool share_two, char **ret_text)
{
    Obj *x = obj_new(&thing_class);
    g_autoptr(GError) err = NULL;
    g_autofree char *a = g_strdup_printf(
                        "{'file': '@/l', 'format': 'raw', 'if': 'none', 'id': 'one'%s}", one),
                    *b = g_strdup_printf(
                        "{'file': '@/l', 'format': 'raw', 'if': 'none', 'id': 'two'%s}", two);
    Blk *p = drive(a), *q = drive(b);

    g_assert_true(blk_attach(p, x, share_one, NULL));
    bool ok = blk_attach(q, x, share_two, &err);
    *ret_text = err ? g_strdup(err->message) : NULL;
    if (ok) {
        blk_detach(q);
    }
    blk_detach(p);
    g_assert_true(blk_attach(q, x, share_two, NULL)); /* afterwards it is free */
    blk_detach(q);
    blk_cleanup();
    obj_unref(x);
    return ok;
}

static void test_locks(void)
{
    static const struct {
        const char *one, *two;
        bool share_one, share_two;
        const char *what;
    } t[] = {
        { "", "", false, false, "\"write\"" },
        { "", ", 'readonly': true", false, false, "shared \"write\"" },
        { ", 'readonly': true", "", false, false, "\"write\"" },
        { ", 'readonly': true", ", 'readonly': true", false, false, NULL },
        { "", "", true, true, NULL },
        { "", "", true, false, "shared \"write\"" },
        { "", "", false, true, "\"write\"" },
        { "", ", 'readonly': true, 'force-share': true", false, false, NULL },
        { "", ", 'file.locking': 'off'", false, false, NULL },
    };
    g_autofree char *p = path("l");

    image("l", 4096, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *text = NULL,
                        *want = g_strdup_printf(
                            "Failed to get %s lock\nIs another process using the image [%s]?",
                            t[i].what, p);
        g_assert_true(
            both(t[i].one, t[i].share_one, t[i].two, t[i].share_two, &text) == !t[i].what);
        g_assert_cmpstr(text, ==, t[i].what ? want : NULL);
    }
}

static const QmpCmd *command(const char *name)
{
    const QmpCmd *c = block_qmp_cmds;

    while (strcmp(c->name, name)) {
        c++;
    }
    return c;
}

static unsigned resizes;
static void resized(void *opaque)
{
    resizes++;
}

static void test_resize(void)
{
    struct {
        char *device, *node;
        int64_t size;
    } a = { .size = 65536 };
    const QmpCmd *c = command("block_resize");
    g_autoptr(GError) err = NULL, neg = NULL;
    char d[] = "d", zz[] = "zz";

    image("a", 4096, 1);
    Blk *b = drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd'}");
    blk_on_resize(b, resized, NULL);
    a.device = d;
    g_autoptr(Json) ok = c->run(NULL, &a, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(blk_size(b), ==, 65536);
    g_assert_cmpuint(file_len("a"), ==, 65536);
    g_assert_cmpuint(resizes, ==, 1);
    uint8_t buf[512] = { 5 };
    g_assert_cmpint(run(b, BLK_READ, 65024, buf, 512, 0), ==, 0);
    g_assert_cmphex(buf[0], ==, 0);
    a.size = -512;
    g_assert_null(c->run(NULL, &a, &neg));
    g_assert_cmpstr(neg->message, ==, "Parameter 'size' expects a >0 size");
    a.device = NULL;
    a.node = zz;
    g_assert_null(c->run(NULL, &a, &err));
    g_assert_cmpstr(err->message, ==, "Cannot find device='' nor node-name='zz'");
    blk_cleanup();
}

static void test_query(void)
{
    g_autofree char *p = path("a");

    image("a", 4096, 1);
    drive("{'file': '@/a', 'format': 'raw', 'if': 'none', 'id': 'd', 'cache': 'writethrough'}");
    drive("{'if': 'none', 'id': 'empty'}");
    g_autoptr(Json) all = command("query-block")->run(NULL, NULL, NULL);
    g_assert_cmpuint(json_len(all), ==, 2);
    const Json *one = json_at(all, 0), *in = json_get(one, "inserted");
    g_assert_cmpstr(json_get_str(json_get(one, "device")), ==, "d");
    g_assert_cmpstr(json_get_str(json_get(in, "file")), ==, p);
    g_assert_cmpstr(json_get_str(json_get(in, "drv")), ==, "raw");
    g_assert_cmpint(json_get_int(json_get(json_get(in, "image"), "virtual-size")), ==, 4096);
    g_assert_false(json_get_bool(json_get(json_get(in, "cache"), "writeback")));
    g_assert_null(json_get(json_at(all, 1), "inserted"));
    g_autoptr(Json) stats = command("query-blockstats")->run(NULL, NULL, NULL);
    g_assert_cmpuint(json_len(stats), ==, 2);
    blk_cleanup();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    dir = g_dir_make_tmp("block-XXXXXX", NULL);
    calls = g_string_new(NULL);
    g_test_add_func("/block/read-write", test_read_write);
    g_test_add_func("/block/bounds", test_bounds);
    g_test_add_func("/block/tail-is-zero", test_tail_is_zero);
    g_test_add_func("/block/read-only", test_read_only);
    g_test_add_func("/block/long-vector", test_long_vector);
    g_test_add_func("/block/flush-and-write-through", test_flush_and_write_through);
    g_test_add_func("/block/discard-and-zeroes", test_discard_and_zeroes);
    g_test_add_func("/block/file-holes", test_file_holes);
    g_test_add_func("/block/direct-any-alignment", test_direct);
    g_test_add_func("/block/direct-neighbours", test_direct_neighbours);
    g_test_add_func("/block/probed-guards-block-0", test_probed);
    g_test_add_func("/block/null", test_null);
    g_test_add_func("/block/window", test_window);
    g_test_add_func("/block/drive-errors", test_drive_errors);
    g_test_add_func("/block/blockdev-errors", test_blockdev_errors);
    g_test_add_func("/block/node-delete", test_nodes);
    g_test_add_func("/block/attach", test_attach);
    g_test_add_func("/block/locks", test_locks);
    g_test_add_func("/block/resize", test_resize);
    g_test_add_func("/block/query", test_query);
    int rc = g_test_run();
    g_autofree char *rm = g_strdup_printf("rm -rf '%s'", dir);
    if (system(rm)) {
        rc = 1;
    }
    g_string_free(calls, TRUE);
    g_free(dir);
    return rc;
}

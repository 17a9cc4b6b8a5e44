/* qcow2 through the block layer: what is refused and how, backing files, compressed clusters,
 * snapshots, sizes, a full disk, corrupt and dirty images. qemu-img makes and judges the images. */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN(more)                                                                                 \
    "{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'@/i'}" more "}"

static void sh(const char *cmd)
{
    g_assert_cmpint(img_sh(NULL, "%s", cmd), ==, 0);
}

static void check(const char *file)
{
    g_autofree char *out = NULL;

    if (img_sh(&out, "qemu-img check %s 2>&1", file)) {
        g_error("%s", out);
    }
}

static void compare(const char *a, const char *b)
{
    g_autofree char *out = NULL;

    if (img_sh(&out, "qemu-img compare %s %s 2>&1", a, b)) {
        g_error("%s", out);
    }
}

static void fails(const char *json, const char *want)
{
    g_autofree char *err = NULL;

    g_assert_null(img_open(json, &err));
    g_assert_cmpstr(err, ==, want);
    img_close();
}

/* Big-endian bytes into a file of the folder. */
static void poke(const char *file, uint64_t at, uint64_t v, unsigned width)
{
    g_autofree char *path = g_strdup_printf("%s/%s", img_dir(), file);
    int fd = open(path, O_WRONLY);
    uint64_t be = GUINT64_TO_BE(v << (64 - 8 * width));

    g_assert_cmpint((int)pwrite(fd, &be, width, (off_t)at), ==, (int)width);
    close(fd);
}

static uint64_t peek(const char *file, uint64_t at)
{
    g_autofree char *path = g_strdup_printf("%s/%s", img_dir(), file);
    int fd = open(path, O_RDONLY);
    uint64_t be = 0;

    g_assert_cmpint((int)pread(fd, &be, 8, (off_t)at), ==, 8);
    close(fd);
    return GUINT64_FROM_BE(be);
}

static uint64_t length(const char *file)
{
    g_autofree char *path = g_strdup_printf("%s/%s", img_dir(), file);
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (uint64_t)st.st_size;
}

static void fill(Blk *b, uint64_t off, uint64_t len, uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, byte, len);
    g_assert_cmpint(img_io(b, BLK_WRITE, off, buf, len, 0), ==, 0);
}

static void holds(Blk *b, uint64_t off, uint64_t len, uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc0(len);

    g_assert_cmpint(img_io(b, BLK_READ, off, buf, len, 0), ==, 0);
    for (uint64_t i = 0; i < len; i++) {
        if (buf[i] != byte) {
            g_error("byte %" PRIu64 " is %02x, not %02x", off + i, buf[i], byte);
        }
    }
}

/* ---- refusals ---- */

/* The texts are those QEMU 10.0 has for the same image, but for what only we do not support. */
static void test_header_errors(void)
{
    static const struct {
        unsigned at, width;
        uint64_t v;
        const char *want;
    } bad[] = {
        { 0, 4, 0, "Image is not in qcow2 format" },
        { 4, 4, 4, "Unsupported qcow2 version 4" },
        { 4, 4, 1, "Unsupported qcow2 version 1" },
        { 20, 4, 8, "Unsupported cluster size: 2^8" },
        { 20, 4, 22, "Unsupported cluster size: 2^22" },
        { 100, 4, 100, "qcow2 header too short" },
        { 100, 4, 65544, "qcow2 header exceeds cluster size" },
        { 96, 4, 7, "Reference count entry width too large; may not exceed 64 bits" },
        { 32, 4, 1,
            "Use of AES-CBC encrypted qcow2 images is no longer supported in system emulators\n"
            "You can use 'qemu-img convert' to convert your image to an alternative supported "
            "format, such as unencrypted qcow2, or raw with the LUKS format instead." },
        { 32, 4, 2, "LUKS encrypted qcow2 images are not supported" },
        { 32, 4, 3, "Unsupported encryption method 3" },
        { 72, 8, 4, "Unsupported qcow2 feature(s): external data file" },
        { 72, 8, 8, "qcow2: Compression type incompatible feature bit must not be set" },
        { 104, 1, 1, "qcow2: Compression type incompatible feature bit must be set" },
        { 72, 8, 16, "Unsupported qcow2 feature(s): extended L2 entries" },
        { 72, 8, 32, "Unsupported qcow2 feature(s): Unknown incompatible feature: 20" },
        { 72, 8, 1ull << 63 | 16,
            "Unsupported qcow2 feature(s): extended L2 entries, Unknown incompatible feature: "
            "8000000000000000" },
        { 8, 8, 65537, "Invalid backing file offset" },
        { 36, 4, 0x7fffffff, "Active L1 table too large" },
        { 36, 4, 0, "L1 table is too small" },
        { 40, 8, 0x30001, "Active L1 table offset invalid" },
        { 48, 8, 0x10001, "Reference count table offset invalid" },
        { 56, 4, 0, "Image does not contain a reference count table" },
        { 56, 4, 129, "Reference count table too large" },
        { 60, 4, 70000, "Snapshot table too large" },
        { 24, 8, UINT64_MAX, "Could not refresh total sector count: File too large" },
        { 24, 8, 1ull << 61, "Image is too big" },
        { 72, 8, 2, "qcow2: Image is corrupt; cannot be opened read/write" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        sh("qemu-img create -q -f qcow2 i 64M");
        poke("i", bad[i].at, bad[i].v, bad[i].width);
        fails(OPEN(""), bad[i].want);
    }
    sh("qemu-img create -q -f qcow2 -o compression_type=zstd i 64M");
    fails(OPEN(""), "qcow2: compression type zstd is not supported");
    sh("qemu-img create -q -f qcow2 i 64M");
    poke("i", 112, 0xe2792aca00000064, 8);
    fails(OPEN(""), "ERROR: ext_backing_format: len=100 too large (>=16)");
    poke("i", 112, 0x6803f85710000000, 8);
    fails(OPEN(""), "Header extension too large");
    sh(": > i");
    fails(OPEN(""), "Image is not in qcow2 format");
}

static void test_options(void)
{
    sh("qemu-img create -q -f qcow2 i 64M");
    fails(
        OPEN(",'cache-size':4096,'l2-cache-size':8192"), "l2-cache-size may not exceed cache-size");
    fails(OPEN(",'cache-size':4096,'refcount-cache-size':8192"),
        "refcount-cache-size may not exceed cache-size");
    fails(OPEN(",'cache-size':4096,'l2-cache-size':1,'refcount-cache-size':1"),
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
    fails(OPEN(",'l2-cache-entry-size':100"), "L2 cache entry size must be a power of two between "
                                              "512 and the cluster size (65536)");
    fails(OPEN(",'overlap-check':'foo'"), "Parameter 'overlap-check' does not accept value 'foo'");
    fails(OPEN(",'lazy-refcounts':'foo'"),
        "Invalid parameter type for 'lazy-refcounts', expected: boolean");
    fails(OPEN(",'data-file':'x'"), "'data-file' is not supported");
    sh("qemu-img create -q -f qcow2 -o compat=0.10 i 64M");
    fails(OPEN(",'lazy-refcounts':true"),
        "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
    fails(OPEN(",'discard-no-unref':true"),
        "discard-no-unref is only supported since qcow2 version 3");
}

/* ---- backing files ---- */

static void test_backing(void)
{
    sh("head -c 300000 /dev/urandom > b; head -c 200000 b > bb; truncate -s 524288 bb");
    sh("qemu-img create -q -f qcow2 -F raw -b b m 512k");
    sh("qemu-img create -q -f qcow2 -F qcow2 -b m i 1M; cp b want; truncate -s 1M want");
    Blk *b = img_open(OPEN(""), NULL);

    fill(b, 70000 / 512 * 512, 512, 0x55);
    holds(b, 600 << 10, 4096, 0);
    g_autoptr(GString) said = g_string_new(NULL);
    blk_describe(&(BlkDescribe){ 0 }, said);
    g_assert_nonnull(strstr(said->str, "/m (chain depth: 2)\n"));
    img_close();
    check("i");
    sh("printf '%512s' | tr ' ' U | dd of=want bs=512 seek=136 conv=notrunc status=none");
    compare("i", "want");
    /* The image below is as it was. */
    sh("cp b want; truncate -s 512k want");
    compare("m", "want");
}

static void test_backing_said(void)
{
    sh("printf '%4096s' | tr ' ' A > a; printf '%4096s' | tr ' ' B > b");
    sh("qemu-img create -q -f qcow2 -F raw -b a i 4096");
    Blk *b = img_open(OPEN(""), NULL);
    holds(b, 0, 4096, 'A');
    img_close();
    b = img_open(OPEN(",'backing':null"), NULL);
    holds(b, 0, 4096, 0);
    /* What is discarded must not show the file below to who opens it with one. */
    img_close();
    b = img_open(OPEN(",'discard':'unmap','backing':null"), NULL);
    g_assert_cmpint(img_io(b, BLK_DISCARD, 0, NULL, 4096, 0), ==, 0);
    img_close();
    b = img_open(OPEN(""), NULL);
    holds(b, 0, 4096, 0);
    img_close();
    sh("qemu-img create -q -f qcow2 i 4096");
    b = img_open(
        OPEN(",'backing':{'driver':'raw','file':{'driver':'file','filename':'@/b'}}"), NULL);
    holds(b, 0, 4096, 'B');
    g_assert_true(blk_node(b)->backing->read_only);
    img_close();
    img_node("{'driver':'raw','node-name':'below','read-only':true,'file':{'driver':'file',"
             "'filename':'@/a'}}");
    b = img_open(OPEN(",'backing':'below'"), NULL);
    holds(b, 0, 4096, 'A');
    img_close();
}

static void test_backing_errors(void)
{
    g_autofree char *gone = NULL;

    sh("qemu-img create -q -f qcow2 -F raw -b gone -u i 1M");
    g_assert_null(img_open(OPEN(""), &gone));
    g_assert_true(g_str_has_prefix(gone, "Could not open backing file: Could not open '"));
    g_assert_true(g_str_has_suffix(gone, "gone': No such file or directory"));
    img_close();
    sh("truncate -s 1M b; qemu-img create -q -f qcow2 -F raw -b b i");
    uint64_t at = 0;
    while (peek("i", at) >> 32 != 0xe2792aca) {
        at += 8;
    }
    poke("i", at + 8, 0x666f6f, 3); /* "foo" */
    fails(OPEN(""), "Could not open backing file: Unknown driver 'foo'");
    poke("i", at, 0x12345678, 4); /* no format: the first bytes tell it */
    Blk *b = img_open(OPEN(""), NULL);
    g_assert_cmpstr(blk_node(b)->backing->drv->name, ==, "raw");
    img_close();
    sh("qemu-img create -q -f qcow2 -u -F raw -b nbd:host:1 i 1M");
    fails(OPEN(""), "Could not open backing file: Unknown protocol 'nbd'");
    /* An image below itself. */
    sh("qemu-img create -q -f qcow2 -u -F qcow2 -b j i 1M; "
       "qemu-img create -q -f qcow2 -u -F qcow2 -b i j 1M");
    g_autofree char *loop = NULL;
    g_assert_null(img_open(OPEN(",'read-only':true"), &loop));
    g_assert_true(g_str_has_suffix(loop, "Too many images below one another"));
    img_close();
}

/* ---- clusters ---- */

static void test_compressed(void)
{
    sh("(seq 1 200000; head -c 300000 /dev/urandom; truncate -s 200k z; cat z) > want; "
       "truncate -s 3M want");
    sh("qemu-img convert -c -f raw -O qcow2 want i && qemu-img check i");
    Blk *b = img_open(OPEN(",'discard':'unmap'"), NULL);
    g_autofree uint8_t *got = g_malloc(3 << 20);
    g_autofree char *path = g_strdup_printf("%s/want", img_dir()), *want = NULL;
    size_t len;

    g_assert_true(g_file_get_contents(path, &want, &len, NULL));
    g_assert_cmpint(img_io(b, BLK_READ, 0, got, 3 << 20, 0), ==, 0);
    g_assert_cmpmem(got, 3 << 20, want, len);
    g_assert_cmpint(img_io(b, BLK_READ, 65536 - 1024, got, 4096, 0), ==, 0);
    g_assert_cmpmem(got, 4096, want + 65536 - 1024, 4096);
    /* A write to one takes it out of its packing. */
    fill(b, 100 * 512, 512, 0x11);
    fill(b, 300 * 512, 65536, 0x22);
    g_assert_cmpint(img_io(b, BLK_DISCARD, 1 << 20, NULL, 131072, 0), ==, 0);
    img_close();
    memset(want + 100 * 512, 0x11, 512);
    memset(want + 300 * 512, 0x22, 65536);
    memset(want + (1 << 20), 0, 131072);
    g_assert_true(g_file_set_contents(path, want, (gssize)len, NULL));
    check("i");
    compare("i", "want");
}

static void test_snapshots(void)
{
    sh("head -c 1M /dev/urandom > old; qemu-img convert -f raw -O qcow2 old i");
    sh("qemu-img snapshot -c one i");
    Blk *b = img_open(OPEN(",'discard':'unmap'"), NULL);

    fill(b, 0, 512, 0x33);
    fill(b, 200 << 10, 200 << 10, 0x44);
    g_assert_cmpint(img_io(b, BLK_DISCARD, 512 << 10, NULL, 128 << 10, 0), ==, 0);
    holds(b, 512 << 10, 128 << 10, 0);
    holds(b, 0, 512, 0x33);
    img_close();
    check("i");
    sh("qemu-img snapshot -a one i && qemu-img compare -F raw i old");
    check("i");
}

/* What a guest discards is used again. */
static void test_space_is_reused(void)
{
    sh("qemu-img create -q -f qcow2 i 16M");
    Blk *b = img_open(OPEN(",'discard':'unmap'"), NULL);

    for (unsigned i = 0; i < 20; i++) {
        fill(b, 0, 4 << 20, (uint8_t)(i + 1));
        g_assert_cmpint(img_io(b, BLK_DISCARD, 0, NULL, 4 << 20, 0), ==, 0);
        g_assert_cmpint(img_io(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    }
    img_close();
    check("i");
    g_assert_cmpuint(length("i"), <, 6 << 20);
}

static void test_zeroes(void)
{
    sh("head -c 1M /dev/urandom > b; qemu-img create -q -f qcow2 -F raw -b b i");
    Blk *b = img_open(OPEN(""), NULL);
    uint64_t before = length("i");

    g_assert_cmpint(img_io(b, BLK_WRITE_ZEROES, 0, NULL, 1 << 20, 0), ==, 0);
    holds(b, 0, 1 << 20, 0);
    fill(b, 65536, 65536, 0x77);
    g_assert_cmpint(img_io(b, BLK_WRITE_ZEROES, 65536 + 512, NULL, 65536 - 1024, 0), ==, 0);
    holds(b, 65536, 512, 0x77);
    holds(b, 65536 + 512, 65536 - 1024, 0);
    g_assert_cmpint(img_io(b, BLK_WRITE_ZEROES, 65536, NULL, 65536, 0), ==, 0);
    img_close();
    sh("truncate -s 0 z; truncate -s 1M z");
    check("i");
    compare("i", "z");
    g_assert_cmpuint(length("i"), <, before + 256 * 1024); /* not the megabyte */
}

/* ---- size ---- */

static int resize(Blk *b, uint64_t size)
{
    BlkNode *n = blk_node(b);
    return n->drv->truncate(n, size);
}

static void test_resize(void)
{
    sh("head -c 1M /dev/urandom > b; qemu-img create -q -f qcow2 -o cluster_size=512 -F raw -b b i "
       "100k");
    Blk *b = img_open(OPEN(",'discard':'unmap'"), NULL);

    fill(b, 50 << 10, 50 << 10, 0x12);
    g_assert_cmpint(resize(b, 1000), ==, -EINVAL);
    g_assert_cmpint(resize(b, 40 << 20), ==, 0); /* the L1 table moves */
    g_assert_cmpuint(blk_size(b), ==, 40 << 20);
    holds(b, 50 << 10, 50 << 10, 0x12);
    holds(b, 100 << 10, 1 << 20, 0); /* not what lies below */
    fill(b, 39 << 20, 1 << 20, 0x13);
    g_assert_cmpint(resize(b, 39 << 20), ==, 0);
    g_assert_cmpint(resize(b, 41 << 20), ==, 0);
    holds(b, 39 << 20, 2 << 20, 0);
    holds(b, 50 << 10, 50 << 10, 0x12);
    img_close();
    check("i");
    b = img_open(OPEN(""), NULL);
    g_assert_cmpuint(blk_size(b), ==, 41 << 20);
    img_close();
}

/* The file cannot grow: the guest hears of it, and the image is none the worse. */
static void test_full(void)
{
    struct rlimit old, low = { 2 << 20, RLIM_INFINITY };
    g_autofree uint8_t *buf = g_malloc0(256 << 10);
    int rc = 0;

    sh("qemu-img create -q -f qcow2 i 64M");
    Blk *b = img_open(OPEN(""), NULL);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    low.rlim_max = old.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &low), ==, 0);
    for (unsigned i = 0; i < 100 && !rc; i++) {
        memset(buf, (int)i + 1, 256 << 10);
        rc = img_io(b, BLK_WRITE, i * (256ull << 10), buf, 256 << 10, 0);
    }
    g_assert_cmpint(rc, ==, -EFBIG);
    holds(b, 0, 256 << 10, 1);
    g_assert_cmpint(img_io(b, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    fill(b, 30 << 20, 1 << 20, 9); /* there is room again */
    img_close();
    check("i");
}

/* ---- broken images ---- */

static unsigned events;

static void on_event(G_GNUC_UNUSED void *opaque, const char *name, const Json *data)
{
    if (!strcmp(name, "BLOCK_IMAGE_CORRUPTED")) {
        events++;
        g_assert_true(json_get_bool(json_get(data, "fatal")));
        g_assert_cmpstr(json_get_str_or(data, "node-name", ""), ==, "q");
        g_assert_cmpstr(json_get_str_or(data, "msg", ""), ==,
            "Preventing invalid write on metadata (overlaps with active L2 table)");
    }
}

static void test_corrupt(void)
{
    uint8_t buf[512] = { 0 };

    sh("head -c 1M /dev/urandom > b; qemu-img convert -f raw -O qcow2 b i");
    uint64_t l1 = peek("i", 40), l2 = peek("i", l1) & 0x00fffffffffffe00;

    poke("i", l2 + 8, l2 | 1ull << 63, 8); /* the second cluster lies in the table */
    Blk *b = img_open(OPEN(""), NULL);

    qmp_event_set_sink(on_event, NULL);
    g_assert_cmpint(img_io(b, BLK_WRITE, 65536, buf, 512, 0), ==, -EIO);
    g_assert_cmpint(img_io(b, BLK_READ, 0, buf, 512, 0), ==, -EIO); /* nothing goes on */
    while (!events) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_cmpint(img_io(b, BLK_WRITE, 65536, buf, 512, 0), ==, -EIO);
    loop_turn(loop_main(), /* block= */ false);
    g_assert_cmpuint(events, ==, 1);
    qmp_event_set_sink(NULL, NULL);
    img_close();
    g_assert_cmphex(peek("i", 72), ==, 2);
    fails(OPEN(""), "qcow2: Image is corrupt; cannot be opened read/write");
    b = img_open(OPEN(",'read-only':true"), NULL);
    g_assert_cmpint(img_io(b, BLK_READ, 0, buf, 512, 0), ==, 0);
    img_close();
}

static void test_dirty(void)
{
    sh("head -c 1M /dev/urandom > b; qemu-img convert -f raw -O qcow2 -o lazy_refcounts=on b i");
    uint64_t table = peek("i", 48), block = peek("i", table);

    for (unsigned i = 0; i < 40; i += 4) { /* some counts lost, some leaked */
        poke("i", block + i * 2, i % 8 ? 0 : 0x0001000100010001, 8);
    }
    poke("i", block + 100, 1, 2);
    poke("i", 72, 1, 8);
    Blk *b = img_open(OPEN(",'read-only':true"), NULL); /* as it is */
    img_close();
    g_assert_cmphex(peek("i", 72), ==, 1);
    b = img_open(OPEN(""), NULL);
    g_assert_cmphex(peek("i", 72), ==, 0);
    fill(b, 0, 512, 1);
    g_assert_cmphex(peek("i", 72), ==, 0); /* in place: no table changes */
    fill(b, 0, 512, 1);
    g_assert_cmpint(img_io(b, BLK_WRITE_ZEROES, 65536, NULL, 65536, BLK_MAY_UNMAP), ==, 0);
    g_assert_cmphex(peek("i", 72), ==, 1);
    img_close();
    g_assert_cmphex(peek("i", 72), ==, 0);
    check("i");
    poke("i", table, 0, 8); /* not even a block */
    poke("i", 72, 1, 8);
    b = img_open(OPEN(""), NULL);
    img_close();
    check("i");
    /* A table's entry leads out of the file. */
    poke("i", peek("i", 40), 1ull << 63 | 1ull << 40, 8);
    poke("i", 72, 1, 8);
    fails(OPEN(""), "Could not repair dirty image: its tables point outside of it or to one "
                    "another; qemu-img check -r all");
}

static void test_bitmaps(void)
{
    sh("qemu-img create -q -f qcow2 i 1M && qemu-img bitmap --add i b0");
    g_assert_cmphex(peek("i", 88), ==, 1);
    Blk *b = img_open(OPEN(",'read-only':true"), NULL);
    img_close();
    g_assert_cmphex(peek("i", 88), ==, 1);
    b = img_open(OPEN(""), NULL);
    fill(b, 0, 512, 1);
    img_close();
    g_assert_cmphex(peek("i", 88), ==, 0);
}

/* ---- who else uses it ---- */

static void test_locks(void)
{
    g_autofree char *err = NULL, *again = NULL, *node = NULL;

    sh("qemu-img create -q -f qcow2 i 1M");
    img_open(OPEN(""), NULL);
    g_assert_cmpint(img_sh(&err, "qemu-img check i 2>&1"), !=, 0);
    g_assert_nonnull(strstr(err, "lock"));
    g_assert_null(img_open("{'driver':'qcow2','node-name':'r','file':{'driver':'file','filename':"
                           "'@/i'}}",
        &again));
    g_assert_true(g_str_has_prefix(again, "Failed to get \"write\" lock"));
    img_close();
    img_node("{'driver':'file','node-name':'f','filename':'@/i'}");
    img_open("{'driver':'qcow2','node-name':'q','file':'f'}", NULL);
    g_assert_null(img_open("{'driver':'qcow2','node-name':'r','file':'f'}", &node));
    g_assert_true(g_str_has_prefix(node, "Permission conflict on node 'f'"));
    img_close();
    Blk *b = img_open(OPEN(",'read-only':true"), NULL);
    g_assert_true(blk_read_only(b));
    check("i"); /* readers share */
    img_close();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } tests[] = {
        { "header-errors", test_header_errors },
        { "options", test_options },
        { "backing", test_backing },
        { "backing-said", test_backing_said },
        { "backing-errors", test_backing_errors },
        { "compressed", test_compressed },
        { "snapshots", test_snapshots },
        { "space-is-reused", test_space_is_reused },
        { "zeroes", test_zeroes },
        { "resize", test_resize },
        { "full", test_full },
        { "corrupt", test_corrupt },
        { "dirty", test_dirty },
        { "bitmaps", test_bitmaps },
        { "locks", test_locks },
    };

    loop_main();
    if (!img_have_tool()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2/%s", tests[i].name);
        g_test_add_func(path, tests[i].fn);
    }
    int rc = g_test_run();

    img_done();
    return rc;
}

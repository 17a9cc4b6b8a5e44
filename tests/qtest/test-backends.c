/* User objects in the real binary: memory back ends as guest RAM, iothreads, rng-random. */
#include "tests/lib/libqtest.h"
#include "tests/lib/vdriver.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AT = 1 << 20, RAM = 8 << 20 };

static bool ready(void)
{
    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return false;
    }
    return true;
}

typedef struct Dir {
    char *path, *file;
} Dir;

static void dir_up(Dir *d, const void *unused)
{
    d->path = g_dir_make_tmp("virtue-XXXXXX", NULL);
    d->file = g_build_filename(d->path, "mem", NULL);
}

static void dir_down(Dir *d, const void *unused)
{
    g_unlink(d->file);
    g_rmdir(d->path);
    g_free(d->path);
    g_free(d->file);
}

/* The file's bytes are guest RAM's, both ways; the option that says so is the parameter. */
static void test_file_is_ram(Dir *d, const void *how)
{
    g_autofree char *args =
        g_strdup_printf("-m 8 -object memory-backend-file,id=mem,size=8M,mem-path=%s,share=on, %s",
            d->file, (const char *)how);
    uint64_t v = 0x1122334455667788;
    struct stat st;

    if (!ready()) {
        return;
    }
    QTestVm *q = qtv_start(NULL, args);
    int fd = open(d->file, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, RAM);
    g_free(qtv_cmd(q, "writeq 0x%x 0x1234567890abcdef", AT));
    g_assert_cmpint(pwrite(fd, &v, 8, AT + 8), ==, 8);
    g_assert_cmpint(pread(fd, &v, 8, AT), ==, 8);
    g_assert_cmphex(v, ==, 0x1234567890abcdef);
    g_autofree char *got = qtv_cmd(q, "readq 0x%x", AT + 8);

    g_assert_cmpstr(got, ==, "0x1122334455667788");
    close(fd);
    qtv_stop(q);
}

/* A read-only file under private pages stays as it is; an offset and a larger file are kept. */
static void test_private_file(Dir *d, const void *unused)
{
    g_autofree char *args = g_strdup_printf(
        "-object "
        "memory-backend-file,id=mem,size=8M,mem-path=%s,offset=4k,readonly=on,rom=off -M "
        "memory-backend=mem",
        d->file);
    g_autofree char *text = g_malloc0(RAM + 8192);
    g_autofree char *after = NULL;
    gsize len;

    if (!ready()) {
        return;
    }
    memset(text + 4096 + AT, 0x5a, 8);
    g_assert_true(g_file_set_contents(d->file, text, RAM + 8192, NULL));
    QTestVm *q = qtv_start(NULL, args);
    g_autofree char *was = qtv_cmd(q, "readq 0x%x", AT);

    g_assert_cmpstr(was, ==, "0x5a5a5a5a5a5a5a5a");
    g_free(qtv_cmd(q, "writeq 0x%x 0x1", AT));
    g_autofree char *is = qtv_cmd(q, "readq 0x%x", AT);

    g_assert_cmpstr(is, ==, "0x0000000000000001");
    qtv_stop(q);
    g_assert_true(g_file_get_contents(d->file, &after, &len, NULL));
    g_assert_cmpmem(after, len, text, RAM + 8192);
}

static void expect_qmp(QTestVm *q, const char *command, const char *want)
{
    g_autoptr(Json) reply = qtv_qmp_any(q, command);
    Json *error = json_get(reply, "error");
    g_autofree char *got =
        json_to_string(error ? json_get(error, "desc") : json_get(reply, "return"), false);

    g_assert_cmpstr(got, ==, want);
}

static void test_memdev(void)
{
    if (!ready()) {
        return;
    }
    QTestVm *q = qtv_start(NULL, "-m 16 -object memory-backend-memfd,id=mem,size=16M,prealloc=on,"
                                 "prealloc-threads=3 -M memory-backend=mem");

    expect_qmp(q,
        "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-ram', 'id': "
        "'two', 'size': 65536, 'merge': false, 'dump': false, 'policy': 'bind', "
        "'host-nodes': [0]}}",
        "{}");
    expect_qmp(q,
        "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-shm', 'id': "
        "'three', 'size': 65536, 'reserve': false}}",
        "{}");
    expect_qmp(q, "{'execute': 'query-memdev'}",
        "[{\"size\": 16777216, \"merge\": true, \"dump\": true, \"prealloc\": true, \"share\": "
        "true, \"reserve\": true, \"host-nodes\": [], \"policy\": \"default\", \"id\": \"mem\"}, "
        "{\"size\": 65536, \"merge\": false, \"dump\": false, \"prealloc\": false, \"share\": "
        "false, \"reserve\": true, \"host-nodes\": [0], \"policy\": \"bind\", \"id\": \"two\"}, "
        "{\"size\": 65536, \"merge\": true, \"dump\": true, \"prealloc\": false, \"share\": true, "
        "\"reserve\": false, \"host-nodes\": [], \"policy\": \"default\", \"id\": \"three\"}]");
    expect_qmp(q, "{'execute': 'object-del', 'arguments': {'id': 'mem'}}",
        "\"object 'mem' is in use, can not be deleted\"");
    expect_qmp(q, "{'execute': 'object-del', 'arguments': {'id': 'two'}}", "{}");
    expect_qmp(
        q, "{'execute': 'object-del', 'arguments': {'id': 'two'}}", "\"object 'two' not found\"");
    qtv_stop(q);
}

static void test_messages(void)
{
    /* Options; what is wrong; whether the last option is named before it. */
    static const struct {
        const char *args, *says;
        bool named;
    } cases[] = {
        { "-object memory-backend-ram,id=m", "Parameter 'size' is missing", true },
        { "-object memory-backend-ram,id=m,size=0",
            "property 'size' of memory-backend-ram doesn't take value '0'", true },
        { "-object memory-backend-file,id=m,size=1M", "Parameter 'mem-path' is missing", true },
        { "-object memory-backend-file,id=m,size=1M,mem-path=/nonexistent/x",
            "can't open backing store /nonexistent/x for guest RAM: No such file or directory",
            true },
        { "-object memory-backend-file,id=m,size=1M,mem-path=/nonexistent/x,align=3",
            "alignment 0x3 must be multiples of page size 0x1000", true },
        { "-object memory-backend-file,id=m,size=1M,mem-path=/nonexistent/x,rom=on",
            "property 'rom' = 'on' is not supported with 'readonly' = 'off'", true },
        { "-object memory-backend-memfd,id=m,size=1M,hugetlb=on,hugetlbsize=3M",
            "Hugepage size must be a power of 2", true },
        { "-object memory-backend-ram,id=m,size=1M,policy=bind",
            "host-nodes must be set for policy bind", true },
        { "-object memory-backend-ram,id=m,size=1M,reserve=off,prealloc=on",
            "'prealloc=on' and 'reserve=off' are incompatible", true },
        { "-object memory-backend-shm,id=m,size=1M,share=off",
            "can't create shm backend with `share=off`", true },
        { "-object memory-backend-ram,id=m,size=4000T",
            "cannot set up guest memory 'm': Cannot allocate memory", true },
        { "-object iothread,id=i,poll-max-ns=-1",
            "poll-max-ns value must be in range [0, 9223372036854775807]", true },
        { "-object iothread,id=i,thread-pool-min=5,thread-pool-max=2",
            "bad thread-pool-min/thread-pool-max values", true },
        { "-M memory-backend=m -object iothread,id=m", "Memory backend 'm' not found", false },
        { "-M memory-backend=m -m 8 -object memory-backend-ram,id=m,size=4M",
            "Machine memory size does not match the size of the memory backend", false },
        { "-m 8 -object memory-backend-ram,id=m,size=4M -numa node,memdev=m",
            "total memory for NUMA nodes (0x400000) should equal RAM size (0x800000)", false },
        { "-numa node,memdev=m", "memdev=m is ambiguous", true },
        { "-M memory-backend=m -object memory-backend-ram,id=m,size=4M -numa node,memdev=m",
            "'-machine memory-backend' and '-numa memdev' properties are mutually exclusive",
            false },
    };

    if (!ready()) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *last = g_strrstr(cases[i].args, "-object");
        g_autofree char *want = g_strdup_printf("qemu-system-x86_64: %s%s%s\n",
            cases[i].named ? (last ? last : cases[i].args) : "", cases[i].named ? ": " : "",
            cases[i].says);
        int status;
        g_autofree char *got = qtv_fails(NULL, cases[i].args, &status);

        g_assert_cmpstr(got, ==, want);
        g_assert_cmpint(status, ==, 1);
    }
}

/* The thread is there as long as its object. */
static void test_iothread(void)
{
    if (!ready()) {
        return;
    }
    QTestVm *q = qtv_start(NULL, "-object iothread,id=io1,poll-max-ns=5");
    g_autoptr(Json) list = qtv_qmp(q, "{'execute': 'query-iothreads'}");
    const Json *one = json_at(list, 0);
    int64_t tid = json_get_int(json_get(one, "thread-id"));
    g_autofree char *comm = g_strdup_printf("/proc/%d/comm", (int)tid);
    g_autofree char *name = NULL;

    g_assert_cmpuint(json_len(list), ==, 1);
    g_assert_cmpstr(json_get_str(json_get(one, "id")), ==, "io1");
    g_assert_cmpint(json_get_int(json_get(one, "poll-max-ns")), ==, 5);
    g_assert_true(g_file_get_contents(comm, &name, NULL, NULL));
    g_assert_cmpstr(name, ==, "IO io1\n");
    json_unref(qtv_qmp(q, "{'execute': 'object-del', 'arguments': {'id': 'io1'}}"));
    g_assert_false(g_file_test(comm, G_FILE_TEST_EXISTS));
    expect_qmp(q, "{'execute': 'query-iothreads'}", "[]");
    expect_qmp(q,
        "{'execute': 'object-add', 'arguments': {'qom-type': 'iothread', 'id': 'x', "
        "'poll-grow': -1}}",
        "\"poll-grow value must be in range [0, 9223372036854775807]\"");
    qtv_stop(q);
}

/* rng-random hands out the file's own bytes, waits while there are none, and gives what there is.
 */
static void test_rng_random(Dir *d, const void *unused)
{
    static const char text[] = "seventeen bytes..";
    g_autofree char *args = g_strdup_printf(
        "-M pc -object rng-random,id=r,filename=%s -device virtio-rng-pci,rng=r,addr=4", d->file);
    uint8_t got[32] = { 0 };
    uint32_t id, len;
    VDriver v;

    if (!ready()) {
        return;
    }
    g_assert_cmpint(mkfifo(d->file, 0600), ==, 0);
    int fd = open(d->file, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    QTestVm *q = qtv_start(NULL, args);

    vd_open(&v, qtv_port(q), 0, 4 << 3, false);
    vd_start(&v, 0);
    uint64_t page = vd_page(&v, 4096);
    const VBuf buf[] = { { page, 32, true } };

    vring_add(&v.ring[0], buf, 1, 0);
    vd_kick(&v, 0);
    json_unref(qtv_qmp(q, "{'execute': 'query-status'}"));
    g_assert_false(vring_used(&v.ring[0], &id, &len));
    g_assert_cmpint(write(fd, text, 17), ==, 17);
    vd_wait_used(&v, 0, &id, &len);
    g_assert_cmpuint(len, ==, 17);
    v.port->read(v.port->opaque, page, got, 32);
    g_assert_cmpmem(got, 17, text, 17);
    g_assert_cmpuint(got[17], ==, 0);
    qtv_stop(q);
    close(fd);
    int status;
    g_autofree char *says =
        qtv_fails(NULL, "-object rng-random,id=r,filename=/nonexistent/x", &status);

    g_assert_cmpstr(says, ==,
        "qemu-system-x86_64: -object rng-random,id=r,filename=/nonexistent/x: "
        "Could not open '/nonexistent/x': No such file or directory\n");
    g_assert_cmpint(status, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/backends/file-is-ram/machine", Dir, "-M memory-backend=mem", dir_up,
        test_file_is_ram, dir_down);
    g_test_add("/backends/file-is-ram/numa", Dir, "-numa node,memdev=mem", dir_up, test_file_is_ram,
        dir_down);
    g_test_add("/backends/private-file", Dir, NULL, dir_up, test_private_file, dir_down);
    g_test_add_func("/backends/query-memdev", test_memdev);
    g_test_add_func("/backends/messages", test_messages);
    g_test_add_func("/backends/iothread", test_iothread);
    g_test_add("/backends/rng-random", Dir, NULL, dir_up, test_rng_random, dir_down);
    return g_test_run();
}

/* A running binary with its qtest and QMP sockets. */
#include "tests/lib/libqtest.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT_MS = 50000 };

typedef struct Line {
    int fd;
    GString *buf;
} Line;

struct QTestVm {
    pid_t pid;
    bool ours;
    char *dir;
    Line qtest, qmp;
    GPtrArray *events; /* Json* not waited for yet */
    VPort port;
};

const char *qtv_ours(void)
{
    const char *b = g_getenv("QTEST_QEMU_BINARY");

    return b && g_file_test(b, G_FILE_TEST_IS_EXECUTABLE) ? b : NULL;
}

const char *qtv_oracle(void)
{
    const char *b = g_getenv("VIRTUE_QEMU10");

    return b && g_file_test(b, G_FILE_TEST_IS_EXECUTABLE) ? b : NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpuint(strlen(path), <, sizeof a.sun_path);
    strcpy(a.sun_path, path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static int accept_at(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    int got;

    if (poll(&p, 1, TIMEOUT_MS) != 1) {
        g_error("the binary did not connect");
    }
    got = accept(fd, NULL, NULL);
    g_assert_cmpint(got, >=, 0);
    close(fd);
    return got;
}

/* Without its newline; aborts at the end of the stream or when nothing comes. */
static char *read_line(Line *l, int timeout_ms)
{
    for (;;) {
        char *nl = memchr(l->buf->str, '\n', l->buf->len), chunk[4096];
        struct pollfd p = { .fd = l->fd, .events = POLLIN };
        ssize_t n;

        if (nl) {
            char *line = g_strndup(l->buf->str, (size_t)(nl - l->buf->str));

            g_string_erase(l->buf, 0, nl - l->buf->str + 1);
            return line;
        }
        if (poll(&p, 1, timeout_ms) == 0) {
            return NULL;
        }
        n = read(l->fd, chunk, sizeof chunk);
        if (n <= 0) {
            g_error("the binary closed its socket");
        }
        g_string_append_len(l->buf, chunk, n);
    }
}

static void write_all(int fd, const char *s)
{
    size_t len = strlen(s);

    while (len) {
        ssize_t n = send(fd, s, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        g_assert_cmpint(n, >, 0);
        s += n;
        len -= (size_t)n;
    }
}

char *qtv_cmd(QTestVm *q, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    write_all(q->qtest.fd, line);
    write_all(q->qtest.fd, "\n");
    for (;;) {
        g_autofree char *reply = read_line(&q->qtest, TIMEOUT_MS);

        if (!reply || (!g_str_has_prefix(reply, "OK") && !g_str_has_prefix(reply, "IRQ "))) {
            g_error("%s: %s", line, reply ? reply : "no reply");
        }
        if (g_str_has_prefix(reply, "OK")) {
            return g_strdup(reply[2] ? reply + 3 : "");
        }
    }
}

/* The five functions. */
static uint64_t port_load(void *opaque, bool io, uint64_t at, unsigned size)
{
    static const char *const names[2][9] = {
        { [1] = "readb", [2] = "readw", [4] = "readl", [8] = "readq" },
        { [1] = "inb", [2] = "inw", [4] = "inl" }
    };
    g_autofree char *r = qtv_cmd(opaque, "%s 0x%" G_GINT64_MODIFIER "x", names[io][size], at);

    return g_ascii_strtoull(r, NULL, 0);
}

static void port_store(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val)
{
    static const char *const names[2][9] = {
        { [1] = "writeb", [2] = "writew", [4] = "writel", [8] = "writeq" },
        { [1] = "outb", [2] = "outw", [4] = "outl" }
    };

    val &= UINT64_MAX >> (64 - 8 * size);
    g_free(qtv_cmd(opaque, "%s 0x%" G_GINT64_MODIFIER "x 0x%" G_GINT64_MODIFIER "x",
        names[io][size], at, val));
}

static void port_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    g_autofree char *r = qtv_cmd(opaque, "read 0x%" G_GINT64_MODIFIER "x 0x%zx", at, len);
    uint8_t *d = dst;

    g_assert_cmpuint(strlen(r), ==, 2 + 2 * len);
    for (size_t i = 0; i < len; i++) {
        d[i] =
            (uint8_t)(g_ascii_xdigit_value(r[2 + 2 * i]) << 4 | g_ascii_xdigit_value(r[3 + 2 * i]));
    }
}

static void port_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    const uint8_t *s = src;
    GString *hex = g_string_sized_new(2 * len);

    for (size_t i = 0; i < len; i++) {
        g_string_append_printf(hex, "%02x", s[i]);
    }
    g_free(qtv_cmd(opaque, "write 0x%" G_GINT64_MODIFIER "x 0x%zx 0x%s", at, len, hex->str));
    g_string_free(hex, TRUE);
}

static bool port_step(void *opaque)
{
    g_free(qtv_cmd(opaque, "endianness")); /* the main loop turns while commands come */
    return true;
}

int qtv_pid(const QTestVm *q)
{
    return q->pid;
}

const VPort *qtv_port(QTestVm *q)
{
    return &q->port;
}

/* Start and stop. */
static void make_halting_rom(const char *path)
{
    g_autofree char *rom = g_malloc0(0x10000);

    memcpy(rom + 0xfff0, "\xfa\xf4", 2); /* cli; hlt */
    g_assert_true(g_file_set_contents(path, rom, 0x10000, NULL));
}

static GPtrArray *make_args(const char *binary, const char *extra, const char *dir)
{
    bool ours = !qtv_oracle() || strcmp(binary, qtv_oracle());
    g_auto(GStrv) words = g_strsplit(extra, " ", -1);
    GPtrArray *a = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(a, g_strdup(binary));
    if (dir) {
        g_ptr_array_add(a, g_strdup("-qtest"));
        g_ptr_array_add(a, g_strdup_printf("unix:%s/qtest", dir));
        g_ptr_array_add(a, g_strdup("-qtest-log"));
        g_ptr_array_add(a, g_strdup("/dev/null"));
        g_ptr_array_add(a, g_strdup("-chardev"));
        g_ptr_array_add(a, g_strdup_printf("socket,path=%s/qmp,id=char0", dir));
        g_ptr_array_add(a, g_strdup("-mon"));
        g_ptr_array_add(a, g_strdup("chardev=char0,mode=control"));
    }
    g_ptr_array_add(a, g_strdup("-display"));
    g_ptr_array_add(a, g_strdup("none"));
    g_ptr_array_add(a, g_strdup("-nodefaults"));
    for (unsigned i = 0; words[i]; i++) {
        if (*words[i]) {
            g_ptr_array_add(a, g_strdup(words[i]));
        }
    }
    g_ptr_array_add(a, g_strdup("-accel"));
    g_ptr_array_add(a, g_strdup(ours ? "qtest" : "tcg"));
    if (!ours && dir) {
        char *rom = g_strdup_printf("%s/halt.bin", dir);

        make_halting_rom(rom);
        g_ptr_array_add(a, g_strdup("-bios"));
        g_ptr_array_add(a, rom);
    }
    g_ptr_array_add(a, NULL);
    return a;
}

static void child_setup(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

QTestVm *qtv_start(const char *binary, const char *extra)
{
    QTestVm *q = g_new0(QTestVm, 1);
    g_autofree char *qtest_path = NULL, *qmp_path = NULL;
    g_autoptr(GPtrArray) args = NULL;
    g_autoptr(GError) err = NULL;
    int qtest_fd, qmp_fd;
    bool verbose = g_getenv("QTEST_LOG") != NULL;

    q->ours = !binary || !qtv_oracle() || strcmp(binary, qtv_oracle());
    q->dir = g_dir_make_tmp("qtv-XXXXXX", NULL);
    q->events = g_ptr_array_new_with_free_func((GDestroyNotify)json_unref);
    qtest_path = g_build_filename(q->dir, "qtest", NULL);
    qmp_path = g_build_filename(q->dir, "qmp", NULL);
    qtest_fd = listen_at(qtest_path);
    qmp_fd = listen_at(qmp_path);
    args = make_args(binary ? binary : qtv_ours(), extra, q->dir);
    g_spawn_async(NULL, (char **)args->pdata, NULL,
        G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH |
            (verbose ? 0 : G_SPAWN_STDOUT_TO_DEV_NULL | (q->ours ? 0 : G_SPAWN_STDERR_TO_DEV_NULL)),
        child_setup, NULL, &q->pid, &err);
    g_assert_no_error(err);
    q->qtest = (Line){ accept_at(qtest_fd), g_string_new(NULL) };
    q->qmp = (Line){ accept_at(qmp_fd), g_string_new(NULL) };
    q->port = (VPort){ port_load, port_store, port_read, port_write, port_step, q };
    g_free(qtv_cmd(q, "endianness"));
    g_free(read_line(&q->qmp, TIMEOUT_MS)); /* the greeting */
    json_unref(qtv_qmp(q, "{'execute': 'qmp_capabilities'}"));
    return q;
}

void qtv_stop(QTestVm *q)
{
    static const char *const files[] = { "qtest", "qmp", "halt.bin" };
    int status;

    kill(q->pid, SIGTERM);
    g_assert_cmpint(waitpid(q->pid, &status, 0), ==, q->pid);
    if (q->ours) {
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    }
    close(q->qtest.fd);
    close(q->qmp.fd);
    g_string_free(q->qtest.buf, TRUE);
    g_string_free(q->qmp.buf, TRUE);
    g_ptr_array_free(q->events, TRUE);
    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(q->dir, files[i], NULL);

        g_remove(path);
    }
    g_rmdir(q->dir);
    g_free(q->dir);
    g_free(q);
}

/* One message; NULL: nothing came in time. */
static Json *qmp_read(QTestVm *q, int timeout_ms)
{
    g_autofree char *line = read_line(&q->qmp, timeout_ms);
    g_autoptr(GError) err = NULL;
    Json *j = line ? json_parse(line, -1, &err) : NULL;

    g_assert_no_error(err);
    return j;
}

Json *qtv_qmp_any(QTestVm *q, const char *command)
{
    g_autoptr(Json) c = json_parse(command, -1, NULL);
    g_autofree char *text = json_to_string(c, false);

    write_all(q->qmp.fd, text);
    write_all(q->qmp.fd, "\n");
    for (;;) {
        Json *j = qmp_read(q, TIMEOUT_MS);

        g_assert_nonnull(j);
        if (!json_get(j, "event")) {
            return j;
        }
        g_ptr_array_add(q->events, j);
    }
}

Json *qtv_qmp(QTestVm *q, const char *command)
{
    g_autoptr(Json) j = qtv_qmp_any(q, command);
    Json *ret = json_get(j, "return");

    if (!ret) {
        g_autofree char *text = json_to_string(j, false);

        g_error("%s: %s", command, text);
    }
    return json_ref(ret);
}

bool qtv_wait_event(QTestVm *q, const char *name)
{
    for (;;) {
        for (unsigned i = 0; i < q->events->len; i++) {
            if (!strcmp(json_get_str_or(q->events->pdata[i], "event", ""), name)) {
                g_ptr_array_remove_index(q->events, i);
                return true;
            }
        }
        Json *j = qmp_read(q, 10000);

        if (!j) {
            return false;
        }
        g_ptr_array_add(q->events, j);
    }
}

char *qtv_fails(const char *binary, const char *extra, int *ret_status)
{
    g_autoptr(GPtrArray) args = make_args(binary ? binary : qtv_ours(), extra, NULL);
    char *text = NULL;
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)args->pdata, NULL,
        G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, child_setup, NULL, NULL, &text, &status,
        NULL));
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return text;
}

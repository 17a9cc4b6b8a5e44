/*
 * The qtest protocol: one command a line, one reply a line, words split at single spaces, numbers
 * as in C. What QEMU answers with an abort (missing or malformed arguments) gets a FAIL line here.
 * Test: tests/unit/test-qtest-protocol.c
 */
#include "accel/qtest.h"

#include "qtest-internal.h"
#include "util/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WORDS = 8, MAX_BLOCK = 1 << 30 };

static void log_line(QTest *q, char tag, const char *text)
{
    if (q->log_fd < 0) {
        return;
    }
    double t = (double)(g_get_monotonic_time() - q->opened_us) / 1e6;
    g_autofree char *line = tag == 'O' ? g_strdup("[I 0.000000] OPENED\n")
                                       : g_strdup_printf("[%c +%f] %s\n", tag, t, text);
    /* A full disk must not stop the test that is being logged. */
    ssize_t done = write(q->log_fd, line, strlen(line));
    (void)done;
}

static void send_text(QTest *q, GString *line)
{
    g_string_append_c(line, '\n');
    q->send(q->opaque, line->str, line->len);
}

void qtest_reply(QTest *q, const char *fmt, ...)
{
    g_autoptr(GString) line = g_string_new(NULL);
    va_list ap;

    va_start(ap, fmt);
    g_string_vprintf(line, fmt, ap);
    va_end(ap);
    log_line(q, 'S', line->str);
    send_text(q, line);
}

void qtest_send_line(QTest *q, const char *fmt, ...)
{
    g_autoptr(GString) line = g_string_new(NULL);
    va_list ap;

    va_start(ap, fmt);
    g_string_vprintf(line, fmt, ap);
    va_end(ap);
    send_text(q, line);
}

bool qtest_number(QTest *q, const char *word, uint64_t *ret)
{
    char *end = NULL;

    errno = 0;
    uint64_t v = strtoull(word, &end, 0);
    if (errno || end == word || *end || g_ascii_isspace(*word)) {
        qtest_reply(q, "FAIL Invalid number '%s'", word);
        return false;
    }
    *ret = v;
    return true;
}

static unsigned width_of(char suffix)
{
    switch (suffix) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static bool port_number(QTest *q, const char *word, uint64_t *ret)
{
    if (!qtest_number(q, word, ret)) {
        return false;
    }
    if (*ret > 0xffff) {
        qtest_reply(q, "FAIL Invalid port '%s'", word);
        return false;
    }
    return true;
}

static void cmd_endianness(QTest *q, char **w, unsigned n)
{
    qtest_reply(q, "OK little");
}

static void cmd_in(QTest *q, char **w, unsigned n)
{
    uint64_t at;

    if (port_number(q, w[1], &at)) {
        uint64_t v = addrspace_load(q->m->io, at, width_of(w[0][2]), NULL);
        qtest_reply(q, "OK 0x%04" PRIx64, v);
    }
}

static void cmd_out(QTest *q, char **w, unsigned n)
{
    uint64_t at, val;

    if (port_number(q, w[1], &at) && qtest_number(q, w[2], &val)) {
        addrspace_store(q->m->io, at, width_of(w[0][3]), val, NULL);
        qtest_reply(q, "OK");
    }
}

/* Through addrspace_read, as any access of a length: a region that takes less than the width gets
 * pieces. */
static void cmd_readx(QTest *q, char **w, unsigned n)
{
    uint64_t at, val = 0;

    if (qtest_number(q, w[1], &at)) {
        addrspace_read(q->m->mem, at, &val, width_of(w[0][4]));
        qtest_reply(q, "OK 0x%016" PRIx64, GUINT64_FROM_LE(val));
    }
}

static void cmd_writex(QTest *q, char **w, unsigned n)
{
    uint64_t at, val;

    if (qtest_number(q, w[1], &at) && qtest_number(q, w[2], &val)) {
        val = GUINT64_TO_LE(val);
        addrspace_write(q->m->mem, at, &val, width_of(w[0][5]));
        qtest_reply(q, "OK");
    }
}

/* Address and size of a block. */
static bool block_args(QTest *q, char **w, bool empty_ok, uint64_t *ret_at, uint64_t *ret_len)
{
    if (!qtest_number(q, w[1], ret_at) || !qtest_number(q, w[2], ret_len)) {
        return false;
    }
    if ((!*ret_len && !empty_ok) || *ret_len > MAX_BLOCK) {
        qtest_reply(q, "FAIL Invalid size '%s'", w[2]);
        return false;
    }
    return true;
}

static void cmd_read(QTest *q, char **w, unsigned n)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t at, len;

    if (!block_args(q, w, /* empty_ok= */ false, &at, &len)) {
        return;
    }
    g_autofree uint8_t *data = g_malloc(len);
    g_autofree char *hex = g_malloc(2 * len + 1);
    addrspace_read(q->m->mem, at, data, len);
    for (uint64_t i = 0; i < len; i++) {
        hex[2 * i] = digits[data[i] >> 4];
        hex[2 * i + 1] = digits[data[i] & 15];
    }
    hex[2 * len] = 0;
    qtest_reply(q, "OK 0x%s", hex);
}

static unsigned nibble(char c)
{
    int v = g_ascii_xdigit_value(c);

    return v < 0 ? 0 : (unsigned)v;
}

static void cmd_write(QTest *q, char **w, unsigned n)
{
    uint64_t at, len;

    if (!block_args(q, w, /* empty_ok= */ true, &at, &len)) {
        return;
    }
    size_t have = strlen(w[3]);
    if (have < 3) {
        qtest_reply(q, "ERR invalid argument size");
        return;
    }
    g_autofree uint8_t *data = g_malloc0(len); /* what the text does not give is zero */
    for (uint64_t i = 0; i < len && 2 * i + 4 <= have; i++) {
        data[i] = (uint8_t)(nibble(w[3][2 + 2 * i]) << 4 | nibble(w[3][3 + 2 * i]));
    }
    addrspace_write(q->m->mem, at, data, len);
    qtest_reply(q, "OK");
}

static void cmd_b64read(QTest *q, char **w, unsigned n)
{
    uint64_t at, len;

    if (block_args(q, w, /* empty_ok= */ true, &at, &len)) {
        g_autofree uint8_t *data = g_malloc(len);
        addrspace_read(q->m->mem, at, data, len);
        g_autofree char *text = g_base64_encode(data, len);
        qtest_reply(q, "OK %s", text);
    }
}

static void cmd_b64write(QTest *q, char **w, unsigned n)
{
    uint64_t at, len;
    gsize have = 0;

    if (block_args(q, w, /* empty_ok= */ true, &at, &len)) {
        g_autofree uint8_t *data = g_base64_decode(w[3], &have);
        addrspace_write(
            q->m->mem, at, data, MIN(len, have)); /* QEMU compat: the shorter one counts */
        qtest_reply(q, "OK");
    }
}

static void cmd_memset(QTest *q, char **w, unsigned n)
{
    uint64_t at, len, val;

    if (block_args(q, w, /* empty_ok= */ true, &at, &len) && qtest_number(q, w[3], &val)) {
        addrspace_fill(q->m->mem, at, (int)(val & 0xff), len);
        qtest_reply(q, "OK");
    }
}

static void clock_to(QTest *q, int64_t ns)
{
    clock_virtual_advance_to(ns);
    qtest_reply(q, "OK %" PRId64, clock_ns(CLOCK_KIND_VIRTUAL));
}

static void cmd_clock_step(QTest *q, char **w, unsigned n)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL), to;
    uint64_t step;

    if (n == 1) {
        to = clock_virtual_deadline();
        if (to < 0) {
            qtest_reply(q, "FAIL cannot advance clock to the next deadline because there is no "
                           "pending deadline");
            return;
        }
        clock_to(q, MAX(to, now));
    } else if (qtest_number(q, w[1], &step)) {
        if (step > (uint64_t)(INT64_MAX - now)) {
            qtest_reply(q, "FAIL could not advance time");
            return;
        }
        clock_to(q, now + (int64_t)step);
    }
}

static void cmd_clock_set(QTest *q, char **w, unsigned n)
{
    int64_t now = clock_ns(CLOCK_KIND_VIRTUAL);
    uint64_t to;

    if (!qtest_number(q, w[1], &to)) {
        return;
    }
    if (to > INT64_MAX || (int64_t)to < now) {
        qtest_reply(q, "FAIL %" PRId64, now);
        return;
    }
    clock_to(q, (int64_t)to);
}

static void cmd_module_load(QTest *q, char **w, unsigned n)
{
    qtest_reply(q, "FAIL"); /* nothing here is built as a module */
}

typedef struct Command {
    const char *name;
    unsigned nargs; /* at least */
    bool clock;     /* only where qtest is the accelerator and so owns the clock */
    void (*run)(QTest *q, char **w, unsigned n);
} Command;

/* clang-format off */
static const Command commands[] = {
    { "writeb",            2, false, cmd_writex },
    { "writew",            2, false, cmd_writex },
    { "writel",            2, false, cmd_writex },
    { "writeq",            2, false, cmd_writex },
    { "readb",             1, false, cmd_readx },
    { "readw",             1, false, cmd_readx },
    { "readl",             1, false, cmd_readx },
    { "readq",             1, false, cmd_readx },
    { "outb",              2, false, cmd_out },
    { "outw",              2, false, cmd_out },
    { "outl",              2, false, cmd_out },
    { "inb",               1, false, cmd_in },
    { "inw",               1, false, cmd_in },
    { "inl",               1, false, cmd_in },
    { "read",              2, false, cmd_read },
    { "write",             3, false, cmd_write },
    { "b64read",           2, false, cmd_b64read },
    { "b64write",          3, false, cmd_b64write },
    { "memset",            3, false, cmd_memset },
    { "endianness",        0, false, cmd_endianness },
    { "clock_step",        0, true,  cmd_clock_step },
    { "clock_set",         1, true,  cmd_clock_set },
    { "irq_intercept_in",  1, false, qtest_irq_intercept },
    { "irq_intercept_out", 1, false, qtest_irq_intercept },
    { "set_irq_in",        4, false, qtest_set_irq_in },
    { "module_load",       2, false, cmd_module_load },
};
/* clang-format on */

/* Splits at single spaces, in place: two in a row make an empty word. What is beyond MAX_WORDS is
 * no command's. */
static unsigned split(char *line, char **w)
{
    unsigned n = 0;

    for (char *at = line; at && n < MAX_WORDS; n++) {
        w[n] = at;
        at = strchr(at, ' ');
        if (at) {
            *at++ = 0;
        }
    }
    return n;
}

static void run_line(QTest *q, char *line)
{
    char *w[MAX_WORDS];

    log_line(q, 'R', line);
    unsigned n = split(line, w);
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        const Command *c = &commands[i];
        if (strcmp(c->name, w[0]) || (c->clock && !accel_is_qtest(q->m->accel))) {
            continue;
        }
        if (n - 1 < c->nargs) {
            qtest_reply(
                q, "FAIL '%s' needs %u argument%s", c->name, c->nargs, c->nargs == 1 ? "" : "s");
        } else {
            c->run(q, w, n);
        }
        return;
    }
    qtest_reply(q, "FAIL Unknown command '%s'", w[0]);
}

void qtest_feed(QTest *q, const char *bytes, size_t len)
{
    g_string_append_len(q->in, bytes, (gssize)len);
    size_t start = 0;
    char *end;

    while ((end = memchr(q->in->str + q->scanned, '\n', q->in->len - q->scanned))) {
        char *line = q->in->str + start;
        *end = 0;
        start = q->scanned = (size_t)(end + 1 - q->in->str);
        run_line(q, line);
    }
    g_string_erase(q->in, 0, (gssize)start);
    q->scanned = q->in->len;
}

void qtest_connected(QTest *q, bool on)
{
    if (on == q->connected) {
        return;
    }
    q->connected = on;
    g_string_truncate(q->in, 0);
    q->scanned = 0;
    if (on) {
        q->opened_us = g_get_monotonic_time();
        g_array_set_size(q->levels, 0); /* a new client counts from low */
        log_line(q, 'O', NULL);
    } else {
        log_line(q, 'I', "CLOSED");
    }
}

QTest *qtest_new(struct Machine *m, QTestSend *send, void *opaque)
{
    QTest *q = g_new0(QTest, 1);

    q->m = m;
    q->send = send;
    q->opaque = opaque;
    q->log_fd = -1;
    q->in = g_string_new(NULL);
    q->taps = g_array_new(FALSE, TRUE, sizeof(Irq *));
    q->levels = g_array_new(FALSE, TRUE, sizeof(bool));
    return q;
}

bool qtest_set_log(QTest *q, const char *path, GError **err)
{
    if (path && !strcmp(path, "none")) {
        return true;
    }
    q->log_fd =
        path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : dup(STDERR_FILENO);
    return q->log_fd >= 0 ||
           err_set_errno(err, "cannot open qtest log '%s'", path ? path : "stderr");
}

static size_t fe_can_receive(void *opaque)
{
    return 64 << 10;
}

static void fe_receive(void *opaque, const uint8_t *buf, size_t len)
{
    QTest *q = opaque;

    qtest_connected(
        q, true); /* back ends without a connection (stdio) may not say that they opened */
    qtest_feed(q, (const char *)buf, len);
}

static void fe_event(void *opaque, ChardevEvent ev)
{
    if (ev == CHARDEV_OPENED || ev == CHARDEV_CLOSED) {
        qtest_connected(opaque, ev == CHARDEV_OPENED);
    }
}

static const ChardevFeOps fe_ops = {
    .can_receive = fe_can_receive,
    .receive = fe_receive,
    .event = fe_event,
};

static void fe_send(void *opaque, const char *bytes, size_t len)
{
    QTest *q = opaque;

    chardev_write_all(&q->fe, bytes, len);
}

QTest *qtest_open(struct Machine *m, Chardev *c, const char *log, GError **err)
{
    QTest *q = qtest_new(m, fe_send, NULL);

    q->opaque = q;
    if (!qtest_set_log(q, log, err) || !chardev_fe_init(&q->fe, c, &fe_ops, q, err)) {
        qtest_close(q);
        return NULL;
    }
    q->has_fe = true;
    chardev_fe_set_open(&q->fe, true);
    if (chardev_connected(&q->fe)) {
        qtest_connected(q, true);
    }
    return q;
}

void qtest_close(QTest *q)
{
    if (!q) {
        return;
    }
    qtest_irq_release(q);
    qtest_connected(q, false);
    if (q->has_fe) {
        chardev_fe_fini(&q->fe);
    }
    if (q->log_fd >= 0) {
        close(q->log_fd);
    }
    g_string_free(q->in, TRUE);
    g_array_free(q->taps, TRUE);
    g_array_free(q->levels, TRUE);
    g_free(q);
}

/* The remote protocol's commands (gdb manual, E.2 to E.4). Thread n is vCPU n - 1. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Reads a hexadecimal number and moves on. */
static uint64_t take_hex(char **p)
{
    return g_ascii_strtoull(*p, p, 16);
}

static bool take_char(char **p, char ch)
{
    if (**p != ch) {
        return false;
    }
    (*p)++;
    return true;
}

static unsigned ncpus(const GdbStub *g)
{
    return g->target->ncpus(g->opaque);
}

static void send_error(GdbStub *g, int err)
{
    char t[8];

    snprintf(t, sizeof t, "E%02x", err & 0xff);
    gdb_send_text(g, t);
}

static void append_hex(GString *s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(s, "%02x", p[i]);
    }
}

/* n bytes from 2 n digits; false: something else is there. */
static bool parse_hex(const char *p, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int hi = g_ascii_xdigit_value(p[i * 2]),
            lo = hi < 0 ? -1 : g_ascii_xdigit_value(p[i * 2 + 1]);

        if (lo < 0) {
            return false;
        }
        ret[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void gdb_send_stop(GdbStub *g)
{
    char t[32];

    snprintf(t, sizeof t, "T%02xthread:%02x;", g->stop_signal, g->stop_cpu + 1);
    gdb_send_text(g, t);
}

static void read_regs(GdbStub *g)
{
    g_autoptr(GString) s = g_string_new(NULL);
    X86State st = { 0 };
    uint8_t buf[16];

    g->target->get_state(g->opaque, g->cpu_g, &st);
    for (unsigned i = 0; i < gdb_nregs(); i++) {
        gdb_reg_get(&st, i, buf);
        append_hex(s, buf, gdb_reg_size(i));
    }
    gdb_send(g, s->str, s->len);
}

static void write_regs(GdbStub *g, const char *p)
{
    X86State st = { 0 };
    uint8_t buf[16];

    g->target->get_state(g->opaque, g->cpu_g, &st);
    for (unsigned i = 0; i < gdb_nregs() && *p; i++) {
        unsigned n = gdb_reg_size(i);

        if (!parse_hex(p, buf, n)) {
            send_error(g, EINVAL);
            return;
        }
        gdb_reg_set(&st, i, buf);
        p += n * 2;
    }
    g->target->set_state(g->opaque, g->cpu_g, &st);
    gdb_send_text(g, "OK");
}

static void one_reg(GdbStub *g, char *p, bool write)
{
    uint64_t n = take_hex(&p);
    g_autoptr(GString) s = g_string_new(NULL);
    X86State st = { 0 };
    uint8_t buf[16];

    if (n >= gdb_nregs() ||
        (write && (!take_char(&p, '=') || !parse_hex(p, buf, gdb_reg_size((unsigned)n))))) {
        send_error(g, EINVAL);
        return;
    }
    g->target->get_state(g->opaque, g->cpu_g, &st);
    if (write) {
        gdb_reg_set(&st, (unsigned)n, buf);
        g->target->set_state(g->opaque, g->cpu_g, &st);
        gdb_send_text(g, "OK");
        return;
    }
    gdb_reg_get(&st, (unsigned)n, buf);
    append_hex(s, buf, gdb_reg_size((unsigned)n));
    gdb_send(g, s->str, s->len);
}

static void read_mem(GdbStub *g, char *p)
{
    uint64_t addr = take_hex(&p), len = take_char(&p, ',') ? take_hex(&p) : 0;
    g_autoptr(GString) s = g_string_new(NULL);
    uint8_t buf[GDB_PACKET_MAX / 2 - 16];

    len = len > sizeof buf ? sizeof buf : len; /* a short answer is allowed */
    if (!g->target->read(g->opaque, g->cpu_g, addr, buf, len)) {
        send_error(g, EFAULT);
        return;
    }
    append_hex(s, buf, len);
    gdb_send(g, s->str, s->len);
}

static void write_mem(GdbStub *g, char *p, const char *end, bool binary)
{
    uint64_t addr = take_hex(&p), len = take_char(&p, ',') ? take_hex(&p) : 0;
    uint8_t buf[GDB_PACKET_MAX];

    if (!take_char(&p, ':') || len > sizeof buf || (size_t)(end - p) < (binary ? len : len * 2)) {
        send_error(g, EINVAL);
        return;
    }
    if (binary) {
        memcpy(buf, p, len);
    } else if (!parse_hex(p, buf, len)) {
        send_error(g, EINVAL);
        return;
    }
    if (len && !g->target->write(g->opaque, g->cpu_g, addr, buf, len)) {
        send_error(g, EFAULT);
        return;
    }
    gdb_send_text(g, "OK");
}

static void breakpoint(GdbStub *g, char *p, bool insert)
{
    uint64_t type = take_hex(&p), addr = take_char(&p, ',') ? take_hex(&p) : 0,
             len = take_char(&p, ',') ? take_hex(&p) : 0;
    int r;

    r = type > GDB_WATCH_ACCESS
            ? -ENOTSUP
            : g->target->breakpoint(g->opaque, (GdbBreak)type, addr, (unsigned)len, insert);
    if (r == -ENOTSUP) {
        gdb_send_text(g, ""); /* gdb then says that the target has none */
    } else if (r < 0) {
        send_error(g, -r);
    } else {
        gdb_send_text(g, "OK");
    }
}

/* False: no such thread. 0 and -1 mean any and all: *ret stays. */
static bool thread_arg(GdbStub *g, char *p, unsigned *ret)
{
    uint64_t id;

    if (*p == '-') {
        return true;
    }
    id = take_hex(&p);
    if (id > ncpus(g)) {
        return false;
    }
    if (id) {
        *ret = (unsigned)id - 1;
    }
    return true;
}

static void select_thread(GdbStub *g, char *p)
{
    unsigned *which = *p == 'c' ? &g->cpu_c : &g->cpu_g;

    if ((*p != 'c' && *p != 'g') || !thread_arg(g, p + 1, which)) {
        send_error(g, EINVAL);
        return;
    }
    gdb_send_text(g, "OK");
}

static void resume(GdbStub *g, const GdbRun *run)
{
    g->phase = GDB_RUNNING;
    g->target->resume(g->opaque, run);
}

/* c, s, C sig, S sig: signals mean nothing to a machine. */
static void resume_plain(GdbStub *g, char *p, char how)
{
    g_autofree GdbRun *run = g_new0(GdbRun, ncpus(g));
    bool step = how == 's' || how == 'S';

    if (how == 'C' || how == 'S') {
        take_hex(&p);
        take_char(&p, ';');
    }
    if (*p) {
        X86State st = { 0 };

        g->target->get_state(g->opaque, g->cpu_c, &st);
        st.rip = take_hex(&p);
        g->target->set_state(g->opaque, g->cpu_c, &st);
    }
    for (unsigned i = 0; i < ncpus(g); i++) {
        run[i] = step ? (i == g->cpu_c ? GDB_RUN_STEP : GDB_RUN_HOLD) : GDB_RUN_CONT;
    }
    resume(g, run);
}

/* vCont;action[:thread]...: the first action that fits a thread counts (gdb manual, E.2). */
static void vcont(GdbStub *g, char *p)
{
    unsigned n = ncpus(g);
    g_autofree GdbRun *run = g_new0(GdbRun, n);
    g_autofree bool *set = g_new0(bool, n);

    while (take_char(&p, ';')) {
        char how = *p ? *p++ : 0;
        unsigned cpu = n;

        if (how == 'C' || how == 'S') {
            take_hex(&p);
        }
        if (!strchr("cCsS", how) || !how || (take_char(&p, ':') && !thread_arg(g, p, &cpu))) {
            send_error(g, EINVAL);
            return;
        }
        p += strcspn(p, ";");
        for (unsigned i = 0; i < n; i++) {
            if (!set[i] && (cpu == n || cpu == i)) {
                run[i] = how == 'c' || how == 'C' ? GDB_RUN_CONT : GDB_RUN_STEP;
                set[i] = true;
            }
        }
    }
    resume(g, run);
}

static void read_features(GdbStub *g, char *p)
{
    size_t total = strlen(g->xml), off, len;
    g_autoptr(GString) s = NULL;

    if (!g_str_has_prefix(p, "target.xml:")) {
        send_error(g, 0);
        return;
    }
    p += strlen("target.xml:");
    off = take_hex(&p);
    len = take_char(&p, ',') ? take_hex(&p) : 0;
    len = len > GDB_PACKET_MAX / 2 ? GDB_PACKET_MAX / 2 : len;
    off = off > total ? total : off;
    len = len > total - off ? total - off : len;
    s = g_string_new(off + len == total ? "l" : "m");
    g_string_append_len(s, g->xml + off, (gssize)len);
    gdb_send(g, s->str, s->len);
}

static void thread_list(GdbStub *g)
{
    g_autoptr(GString) s = g_string_new("m");

    for (unsigned i = 0; i < ncpus(g); i++) {
        g_string_append_printf(s, i ? ",%02x" : "%02x", i + 1);
    }
    gdb_send(g, s->str, s->len);
}

static void thread_info(GdbStub *g, char *p)
{
    g_autoptr(GString) s = g_string_new(NULL);
    g_autofree char *text = NULL;
    unsigned cpu = 0;
    X86State st = { 0 };

    if (!thread_arg(g, p, &cpu)) {
        send_error(g, EINVAL);
        return;
    }
    g->target->get_state(g->opaque, cpu, &st);
    text = g_strdup_printf("CPU#%u [%s]", cpu, st.halted || st.wait_sipi ? "halted" : "running");
    append_hex(s, (const uint8_t *)text, strlen(text));
    gdb_send(g, s->str, s->len);
}

static void query(GdbStub *g, char *p)
{
    g_autofree char *t = NULL;

    if (g_str_has_prefix(p, "Supported")) {
        t = g_strdup_printf(
            "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+", GDB_PACKET_MAX);
        gdb_send_text(g, t);
    } else if (g_str_has_prefix(p, "Xfer:features:read:")) {
        read_features(g, p + strlen("Xfer:features:read:"));
    } else if (!strcmp(p, "fThreadInfo")) {
        thread_list(g);
    } else if (!strcmp(p, "sThreadInfo")) {
        gdb_send_text(g, "l");
    } else if (g_str_has_prefix(p, "ThreadExtraInfo,")) {
        thread_info(g, p + strlen("ThreadExtraInfo,"));
    } else if (!strcmp(p, "C")) {
        t = g_strdup_printf("QC%02x", g->cpu_g + 1);
        gdb_send_text(g, t);
    } else if (g_str_has_prefix(p, "Attached")) {
        gdb_send_text(g, "1");
    } else {
        gdb_send_text(g, "");
    }
}

static void detach(GdbStub *g)
{
    gdb_send_text(g, "OK");
    gdb_close(g);
}

static void alive(GdbStub *g, char *p)
{
    unsigned cpu;

    if (thread_arg(g, p, &cpu)) {
        gdb_send_text(g, "OK");
    } else {
        send_error(g, EINVAL);
    }
}

static void long_command(GdbStub *g, char *p)
{
    if (!strcmp(p, "vCont?")) {
        gdb_send_text(g, "vCont;c;C;s;S");
    } else if (g_str_has_prefix(p, "vCont;")) {
        vcont(g, p + strlen("vCont"));
    } else if (g_str_has_prefix(p, "vKill")) {
        gdb_send_text(g, "OK");
        g->phase = GDB_CLOSED;
        g->target->kill(g->opaque);
    } else if (!strcmp(p, "QStartNoAckMode")) {
        gdb_send_text(g, "OK");
        g->no_ack = true;
    } else {
        gdb_send_text(g, "");
    }
}

void gdb_command(GdbStub *g, char *p, size_t len)
{
    switch (p[0]) {
    case '?':
        gdb_send_stop(g);
        break;
    case 'g':
        read_regs(g);
        break;
    case 'G':
        write_regs(g, p + 1);
        break;
    case 'p':
    case 'P':
        one_reg(g, p + 1, p[0] == 'P');
        break;
    case 'm':
        read_mem(g, p + 1);
        break;
    case 'M':
    case 'X':
        write_mem(g, p + 1, p + len, p[0] == 'X');
        break;
    case 'Z':
    case 'z':
        breakpoint(g, p + 1, p[0] == 'Z');
        break;
    case 'H':
        select_thread(g, p + 1);
        break;
    case 'T':
        alive(g, p + 1);
        break;
    case 'c':
    case 's':
    case 'C':
    case 'S':
        resume_plain(g, p + 1, p[0]);
        break;
    case 'q':
        query(g, p + 1);
        break;
    case 'D':
        detach(g);
        break;
    case 'k':
        g->phase = GDB_CLOSED;
        g->target->kill(g->opaque);
        break;
    case 'v':
    case 'Q':
        long_command(g, p);
        break;
    default:
        gdb_send_text(g, ""); /* not supported */
        break;
    }
}

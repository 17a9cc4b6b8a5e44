/*
 * The gdb stub against a scripted client and a fake machine of two vCPUs, and against gdb itself
 * where it is installed. With
 * --serve the program is that machine on its standard input and output, for "target remote |".
 */
#include "gdbstub/gdbstub.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MEM_BASE = 0x1000, MEM_SIZE = 0x1000 };

typedef struct Fake {
    GdbStub *stub;
    X86State cpu[2];
    uint8_t mem[MEM_SIZE];
    uint64_t bp[4];
    unsigned nbp, resumes, detached, killed, stops;
    GdbRun run[2];
    bool auto_run; /* resume executes: an instruction is one byte long */
    bool quiet;    /* stop() is answered later */
    GString *out;
    int fd;
} Fake;

static unsigned fake_ncpus(void *opaque)
{
    return 2;
}

static void fake_get(void *opaque, unsigned cpu, X86State *ret)
{
    *ret = ((Fake *)opaque)->cpu[cpu];
}

static void fake_set(void *opaque, unsigned cpu, const X86State *s)
{
    ((Fake *)opaque)->cpu[cpu] = *s;
}

static bool fake_read(void *opaque, unsigned cpu, uint64_t la, void *buf, size_t len)
{
    Fake *f = opaque;

    if (la < MEM_BASE || la - MEM_BASE > MEM_SIZE || len > MEM_SIZE - (la - MEM_BASE)) {
        return false;
    }
    memcpy(buf, f->mem + (la - MEM_BASE), len);
    return true;
}

static bool fake_write(void *opaque, unsigned cpu, uint64_t la, const void *buf, size_t len)
{
    Fake *f = opaque;

    if (la < MEM_BASE || la - MEM_BASE > MEM_SIZE || len > MEM_SIZE - (la - MEM_BASE)) {
        return false;
    }
    memcpy(f->mem + (la - MEM_BASE), buf, len);
    return true;
}

static int fake_breakpoint(void *opaque, GdbBreak type, uint64_t addr, unsigned len, bool insert)
{
    Fake *f = opaque;

    if (type > GDB_BREAK_HW) {
        return -ENOTSUP;
    }
    if (insert) {
        if (f->nbp == G_N_ELEMENTS(f->bp)) {
            return -ENOSPC;
        }
        f->bp[f->nbp++] = addr;
        return 0;
    }
    for (unsigned i = 0; i < f->nbp; i++) {
        if (f->bp[i] == addr) {
            f->bp[i] = f->bp[--f->nbp];
            return 0;
        }
    }
    return -ENOENT;
}

static bool at_breakpoint(const Fake *f, uint64_t rip)
{
    for (unsigned i = 0; i < f->nbp; i++) {
        if (f->bp[i] == rip) {
            return true;
        }
    }
    return false;
}

static void fake_resume(void *opaque, const GdbRun *run)
{
    Fake *f = opaque;

    f->resumes++;
    memcpy(f->run, run, sizeof f->run);
    if (!f->auto_run) {
        return;
    }
    for (unsigned n = 0; n < MEM_SIZE; n++) {
        for (unsigned i = 0; i < 2; i++) {
            f->cpu[i].rip += run[i] != GDB_RUN_HOLD && !f->cpu[i].halted;
            if (run[i] == GDB_RUN_STEP ||
                (run[i] == GDB_RUN_CONT && at_breakpoint(f, f->cpu[i].rip))) {
                gdb_stopped(f->stub, i, GDB_STOP_BREAK, 0);
                return;
            }
        }
    }
    gdb_stopped(f->stub, 0, GDB_STOP_INTERRUPT, 0);
}

static void fake_stop(void *opaque)
{
    Fake *f = opaque;

    f->stops++;
    if (!f->quiet) {
        gdb_stopped(f->stub, 0, GDB_STOP_INTERRUPT, 0);
    }
}

static void fake_detach(void *opaque)
{
    ((Fake *)opaque)->detached++;
}

static void fake_kill(void *opaque)
{
    ((Fake *)opaque)->killed++;
}

static const GdbTarget fake_target = {
    .ncpus = fake_ncpus,
    .get_state = fake_get,
    .set_state = fake_set,
    .read = fake_read,
    .write = fake_write,
    .breakpoint = fake_breakpoint,
    .resume = fake_resume,
    .stop = fake_stop,
    .detach = fake_detach,
    .kill = fake_kill,
};

static void fake_send(void *opaque, const void *buf, size_t len)
{
    Fake *f = opaque;

    if (f->fd > 0) {
        g_assert(write(f->fd, buf, len) == (ssize_t)len);
    } else {
        g_string_append_len(f->out, buf, (gssize)len);
    }
}

static Fake *fake_new(void)
{
    Fake *f = g_new0(Fake, 1);

    f->out = g_string_new(NULL);
    for (unsigned i = 0; i < 16; i++) {
        f->cpu[0].r[i] = 0x1111111111111111ull * i;
    }
    f->cpu[0].rip = f->cpu[1].rip = MEM_BASE;
    f->cpu[0].rflags = 0x246;
    f->cpu[0].cr3 = 0xabc000;
    f->cpu[0].seg[SEG_CS].sel = 0x10;
    f->cpu[0].seg[SEG_GS].base = 0xffff888000000000ull;
    f->cpu[0].fx[0] = 0x7f;
    f->cpu[0].fx[1] = 0x03;
    f->cpu[0].fx[160] = 0x5a;
    f->cpu[1].halted = true;
    memset(f->mem, 0x90, sizeof f->mem);
    f->stub = gdb_new(&fake_target, f, (GdbTransport){ .send = fake_send, .opaque = f });
    return f;
}

static void fake_free(Fake *f)
{
    gdb_free(f->stub);
    g_string_free(f->out, TRUE);
    g_free(f);
}

static void put_packet(Fake *f, const char *text)
{
    uint8_t sum = 0;
    g_autofree char *p = NULL;

    for (const char *t = text; *t; t++) {
        sum += (uint8_t)*t;
    }
    p = g_strdup_printf("$%s#%02x", text, sum);
    gdb_input(f->stub, p, strlen(p));
}

/* The answer to a packet, without acknowledgement, frame and sum (which is checked). */
static char *ask(Fake *f, const char *text)
{
    const char *hash, *start;
    uint8_t sum = 0;

    g_string_truncate(f->out, 0);
    put_packet(f, text);
    start = strchr(f->out->str, '$');
    if (!start) {
        return g_strdup(f->out->str);
    }
    hash = strrchr(f->out->str, '#');
    g_assert_nonnull(hash);
    for (const char *t = start + 1; t < hash; t++) {
        sum += (uint8_t)*t;
    }
    g_assert_cmpuint(sum, ==, g_ascii_strtoull(hash + 1, NULL, 16));
    return g_strndup(start + 1, (gsize)(hash - start - 1));
}

static void expect(Fake *f, const char *text, const char *answer)
{
    g_autofree char *a = ask(f, text);

    g_assert_cmpstr(a, ==, answer);
}

static Fake *open_fake(void)
{
    Fake *f = fake_new();

    gdb_open(f->stub);
    return f;
}

static void test_handshake(void)
{
    Fake *f = open_fake();

    g_assert_cmpuint(f->stops, ==, 1);
    expect(f, "qSupported:swbreak+",
        "PacketSize=4000;qXfer:features:read+;vContSupported+;QStartNoAckMode+");
    g_assert_cmpint(f->out->str[0], ==, '+');
    expect(f, "?", "T05thread:01;");
    expect(f, "vMustReplyEmpty", "");
    expect(f, "vCont?", "vCont;c;C;s;S");
    expect(f, "qAttached", "1");
    expect(f, "QStartNoAckMode", "OK");
    expect(f, "qC", "QC01");
    g_assert_cmpint(f->out->str[0], ==, '$');
    fake_free(f);
}

static void test_framing(void)
{
    Fake *f = open_fake();

    gdb_input(f->stub, "$?#00", 5);
    g_assert_cmpstr(f->out->str, ==, "-");
    expect(f, "qC", "QC01");
    g_string_truncate(f->out, 0);
    gdb_input(f->stub, "-", 1);
    g_assert_cmpstr(f->out->str, ==, "$QC01#f5");
    /* Escaped data: '}' and the byte xor 0x20. */
    expect(f, "X1000,1:}]", "OK");
    g_assert_cmpint(f->mem[0], ==, 0x7d);
    fake_free(f);
}

static void test_overlong_packet_is_refused(void)
{
    Fake *f = open_fake();
    g_autofree char *big = g_strnfill(0x5000, 'm');

    expect(f, big, "-");
    expect(f, "qC", "QC01");
    fake_free(f);
}

static void test_registers(void)
{
    Fake *f = open_fake();
    g_autofree char *all = ask(f, "g"), *again = NULL, *set = NULL;

    g_assert_true(g_str_has_prefix(all, "0000000000000000"    /* rax */
                                        "3333333333333333")); /* rbx */
    expect(f, "p10", "0010000000000000");                     /* rip */
    expect(f, "p11", "46020000");
    expect(f, "p12", "10000000");                         /* cs */
    expect(f, "p20", "7f030000");                         /* fctrl */
    expect(f, "p28", "5a000000000000000000000000000000"); /* xmm0 */
    expect(f, "p3a", "000000008088ffff");                 /* gs_base */
    expect(f, "p3e", "00c0ab0000000000");                 /* cr3 */
    expect(f, "P0=efcdab8967452301", "OK");
    g_assert_cmphex(f->cpu[0].r[0], ==, 0x0123456789abcdefull);
    expect(f, "Pff=00", "E16");
    expect(f, "P0=zz", "E16");
    set = g_strdup_printf("G%s", all);
    expect(f, set, "OK");
    g_assert_cmphex(f->cpu[0].r[0], ==, 0);
    again = ask(f, "g");
    g_assert_cmpstr(again, ==, all);
    fake_free(f);
}

static void test_memory(void)
{
    Fake *f = open_fake();

    expect(f, "m1000,4", "90909090");
    expect(f, "M1001,2:cc0f", "OK");
    expect(f, "m1000,4", "90cc0f90");
    expect(f, "m1fff,2", "E0e");
    expect(f, "Mfff,1:00", "E0e");
    expect(f, "M1000,2:0", "E16");
    expect(f, "m0,ffffffffffffffff", "E0e");
    fake_free(f);
}

static void test_breakpoints(void)
{
    Fake *f = open_fake();

    expect(f, "Z0,1010,1", "OK");
    expect(f, "Z1,1020,1", "OK");
    expect(f, "Z2,1020,4", "");
    expect(f, "Z9,1020,4", "");
    expect(f, "z0,1030,1", "E02");
    expect(f, "Z0,1,1", "OK");
    expect(f, "Z0,2,1", "OK");
    expect(f, "Z0,3,1", "E1c");
    expect(f, "z0,1010,1", "OK");
    g_assert_cmpuint(f->nbp, ==, 3);
    fake_free(f);
}

static void test_continue_to_breakpoint(void)
{
    Fake *f = open_fake();

    f->auto_run = true;
    expect(f, "Z0,1010,1", "OK");
    expect(f, "vCont;c", "T05thread:01;");
    g_assert_cmphex(f->cpu[0].rip, ==, 0x1010);
    expect(f, "vCont;s:1;c", "T05thread:01;");
    g_assert_cmphex(f->cpu[0].rip, ==, 0x1011);
    g_assert_cmpint(f->run[1], ==, GDB_RUN_CONT);
    expect(f, "s1020", "T05thread:01;");
    g_assert_cmphex(f->cpu[0].rip, ==, 0x1021);
    g_assert_cmpint(f->run[1], ==, GDB_RUN_HOLD);
    fake_free(f);
}

static void test_interrupt(void)
{
    Fake *f = open_fake();

    expect(f, "c", "+");
    g_assert_cmpuint(f->resumes, ==, 1);
    expect(f, "g", "+"); /* nothing is answered while the machine runs */
    g_string_truncate(f->out, 0);
    gdb_input(f->stub, "\x03", 1);
    g_assert_cmpstr(f->out->str, ==, "$T02thread:01;#04");
    expect(f, "vCont;x", "E16");
    expect(f, "c", "+");
    g_string_truncate(f->out, 0);
    gdb_stopped(f->stub, 1, GDB_STOP_WATCH, 0x1234);
    g_assert_nonnull(strstr(f->out->str, "T05thread:02;watch:1234;"));
    fake_free(f);
}

static void test_threads(void)
{
    Fake *f = open_fake();

    expect(f, "qfThreadInfo", "m01,02");
    expect(f, "qsThreadInfo", "l");
    expect(f, "T2", "OK");
    expect(f, "T3", "E16");
    expect(f, "Hg2", "OK");
    expect(f, "Hg3", "E16");
    expect(f, "Hg-1", "OK");
    expect(f, "p0", "0000000000000000");
    expect(f, "Hc2", "OK");
    expect(f, "s", "+");
    g_assert_cmpint(f->run[0], ==, GDB_RUN_HOLD);
    g_assert_cmpint(f->run[1], ==, GDB_RUN_STEP);
    gdb_stopped(f->stub, 1, GDB_STOP_BREAK, 0);
    expect(f, "qThreadExtraInfo,2", "4350552331205b68616c7465645d"); /* CPU#1 [halted] */
    fake_free(f);
}

static void test_features(void)
{
    Fake *f = open_fake();
    g_autoptr(GString) xml = g_string_new(NULL);
    char last = 'm';

    while (last == 'm') {
        g_autofree char *q = g_strdup_printf("qXfer:features:read:target.xml:%zx,400", xml->len),
                        *a = ask(f, q);
        last = a[0];
        g_string_append(xml, a + 1);
    }
    g_assert_cmpint(last, ==, 'l');
    g_assert_true(g_str_has_suffix(xml->str, "</target>"));
    g_assert_nonnull(strstr(xml->str, "<architecture>i386:x86-64</architecture>"));
    g_assert_nonnull(strstr(xml->str, "name=\"cr3\""));
    expect(f, "qXfer:features:read:other.xml:0,10", "E00");
    expect(f, "qXfer:features:read:target.xml:fffffff,10", "l");
    fake_free(f);
}

static void test_detach_kill_close(void)
{
    Fake *f = open_fake();

    expect(f, "D", "OK");
    g_assert_cmpuint(f->detached, ==, 1);
    g_assert_false(gdb_attached(f->stub));
    gdb_close(f->stub);
    g_assert_cmpuint(f->detached, ==, 1);
    gdb_open(f->stub);
    gdb_close(f->stub);
    g_assert_cmpuint(f->detached, ==, 2);
    gdb_open(f->stub);
    expect(f, "k", "+");
    g_assert_cmpuint(f->killed, ==, 1);
    fake_free(f);
}

static void test_packet_waits_for_the_stop(void)
{
    Fake *f = fake_new();

    f->quiet = true;
    gdb_open(f->stub);
    expect(f, "?", "+");
    g_string_truncate(f->out, 0);
    gdb_stopped(f->stub, 1, GDB_STOP_INTERRUPT, 0);
    g_assert_nonnull(strstr(f->out->str, "T05thread:02;"));
    fake_free(f);
}

static int serve(void)
{
    Fake *f = fake_new();
    uint8_t buf[512];
    ssize_t n;

    f->fd = 1;
    f->auto_run = true;
    gdb_open(f->stub);
    while (gdb_attached(f->stub) && (n = read(0, buf, sizeof buf)) > 0) {
        gdb_input(f->stub, buf, (size_t)n);
    }
    fake_free(f);
    return 0;
}

static char self[4096];

static void test_real_gdb(void)
{
    g_autofree char *gdb = g_find_program_in_path("gdb"), *target = NULL, *out = NULL, *err = NULL;
    int status = 0;

    if (!gdb) {
        g_test_skip("gdb is not installed");
        return;
    }
    target = g_strdup_printf("target remote | %s --serve", self);
    const char *argv[] = { gdb, "-nx", "-batch", "-ex", "set remotetimeout 60", "-ex", target,
        "-ex", "print/x $rbx", "-ex", "print/x $cr3", "-ex", "print $eflags", "-ex", "x/2i $pc",
        "-ex", "hbreak *0x1040", "-ex", "continue", "-ex", "print/x $pc", "-ex", "stepi", "-ex",
        "print/x $pc", "-ex", "set var *(char*)0x1100 = 0x55", "-ex", "x/1xb 0x1100", "-ex",
        "print $xmm0.v16_int8[0]", "-ex", "info threads", "-ex", "detach", NULL };
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
        &out, &err, &status, NULL));
    g_test_message("%s%s", out, err);
    g_assert_nonnull(strstr(out, "= 0x3333333333333333"));
    g_assert_nonnull(strstr(out, "= 0xabc000"));
    g_assert_nonnull(strstr(out, "[ PF ZF IF ]"));
    g_assert_nonnull(strstr(out, "nop"));
    g_assert_nonnull(strstr(out, "= 0x1040"));
    g_assert_nonnull(strstr(out, "= 0x1041"));
    g_assert_nonnull(strstr(out, "0x55"));
    g_assert_nonnull(strstr(out, "= 90"));
    g_assert_nonnull(strstr(out, "CPU#1 [halted]"));
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--serve")) {
        return serve();
    }
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        return 1;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gdbstub/handshake", test_handshake);
    g_test_add_func("/gdbstub/framing", test_framing);
    g_test_add_func("/gdbstub/overlong-packet-is-refused", test_overlong_packet_is_refused);
    g_test_add_func("/gdbstub/registers", test_registers);
    g_test_add_func("/gdbstub/memory", test_memory);
    g_test_add_func("/gdbstub/breakpoints", test_breakpoints);
    g_test_add_func("/gdbstub/continue-to-breakpoint", test_continue_to_breakpoint);
    g_test_add_func("/gdbstub/interrupt", test_interrupt);
    g_test_add_func("/gdbstub/threads", test_threads);
    g_test_add_func("/gdbstub/features", test_features);
    g_test_add_func("/gdbstub/detach-kill-close", test_detach_kill_close);
    g_test_add_func("/gdbstub/packet-waits-for-the-stop", test_packet_waits_for_the_stop);
    g_test_add_func("/gdbstub/real-gdb", test_real_gdb);
    return g_test_run();
}

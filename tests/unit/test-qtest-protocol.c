/* accel/qtest: the line protocol, row by row; texts as QEMU 10.0 answers. */
#include "accel/qtest.h"
#include "accel/qtest/qtest-accel.h"
#include "hw/core/machine.h"
#include "util/loop.h"
#include "util/timer.h"

#include <glib/gstdio.h>
#include <string.h>

static const ObjClass wires_class = {
    .name = "wires", .parent = "device", .size = sizeof(Dev), .flags = OBJ_DEVICE | OBJ_NOT_USER
};
const ObjClass *const obj_classes[] = { &wires_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
static const MachineClass plain = { .name = "plain" };
const MachineClass *const machine_classes[] = { &plain, NULL };

typedef struct Fixture {
    Machine *m;
    QTest *q;
    Region ram, ports, regs;
    GString *out, *log;
    Dev *dev;
    Irq in[3], outs[2];
    unsigned handled;
} Fixture;

static uint64_t log_read(void *opaque, uint64_t off, unsigned size)
{
    g_string_append_printf(opaque, "r%u@%x ", size, (unsigned)off);
    return 0xf0 + off;
}

static void log_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    g_string_append_printf(opaque, "w%u@%x=%" G_GINT64_MODIFIER "x ", size, (unsigned)off, val);
}

static const RegionOps port_ops = { .read = log_read, .write = log_write };
static const RegionOps reg_ops = { .read = log_read, .write = log_write, .max_access = 4 };

static void send(void *opaque, const char *bytes, size_t len)
{
    Fixture *f = opaque;

    g_string_append_len(f->out, bytes, (gssize)len);
}

static void on_in(void *opaque, unsigned n, bool level)
{
    ++*(unsigned *)opaque;
}

static void set_up(Fixture *f, bool with_qtest_accel)
{
    *f = (Fixture){ .out = g_string_new(NULL), .log = g_string_new(NULL) };
    f->m = machine_new(&plain);
    g_assert_true(region_init_ram(&f->ram, NULL, "ram", 0x10000, NULL));
    region_init_io(&f->ports, NULL, "ports", &port_ops, f->log, 0x10);
    region_init_io(&f->regs, NULL, "regs", &reg_ops, f->log, 0x100);
    region_map(&f->m->mem_root, 0, &f->ram, 0);
    region_map(&f->m->mem_root, 0xe0004000, &f->regs, 0);
    region_map(&f->m->io_root, 0x100, &f->ports, 0);
    f->dev = (Dev *)obj_new(&wires_class);
    g_assert_true(dev_realize_on(f->m, f->dev, NULL, "ioapic", NULL));
    for (unsigned i = 0; i < 3; i++) {
        irq_init(&f->in[i], on_in, &f->handled, i);
    }
    for (unsigned i = 0; i < 2; i++) {
        irq_init(&f->outs[i], on_in, &f->handled, i);
    }
    irq_register_in(&f->dev->obj, NULL, f->in, 3);
    irq_register_out(&f->dev->obj, "sysbus-irq", f->outs, 2);
    if (with_qtest_accel) {
        f->m->accel = accel_new(&qtest_accel_class, f->m, NULL, NULL);
    }
    f->q = qtest_new(f->m, send, f);
    qtest_connected(f->q, true);
}

static void tear_down(Fixture *f)
{
    qtest_close(f->q);
    irq_unregister(&f->dev->obj);
    region_unmap(&f->ram);
    region_unmap(&f->ports);
    region_unmap(&f->regs);
    region_fini(&f->ram);
    region_fini(&f->ports);
    region_fini(&f->regs);
    accel_free(f->m->accel);
    machine_free(f->m);
    g_string_free(f->out, TRUE);
    g_string_free(f->log, TRUE);
}

static void ask(Fixture *f, const char *cmd, const char *reply)
{
    g_string_truncate(f->out, 0);
    qtest_feed(f->q, cmd, strlen(cmd));
    qtest_feed(f->q, "\n", 1);
    g_assert_true(g_str_has_suffix(f->out->str, "\n"));
    g_string_truncate(f->out, f->out->len - 1);
    g_assert_cmpstr(f->out->str, ==, reply);
}

static void assert_log(Fixture *f, const char *want)
{
    g_assert_cmpstr(f->log->str, ==, want);
    g_string_truncate(f->log, 0);
}

static void test_basics(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "endianness", "OK little");
    ask(&f, "endianness extra", "OK little");
    ask(&f, "foo bar", "FAIL Unknown command 'foo'");
    ask(&f, " inb 0x80", "FAIL Unknown command ''");
    ask(&f, "", "FAIL Unknown command ''");
    ask(&f, "module_load a b", "FAIL");
    ask(&f, "rtas x", "FAIL Unknown command 'rtas'");
    /* Bytes come as they like; several lines may come at once. */
    g_string_truncate(f.out, 0);
    qtest_feed(f.q, "endian", 6);
    g_assert_cmpstr(f.out->str, ==, "");
    qtest_feed(f.q, "ness\nendianness\nend", 19);
    g_assert_cmpstr(f.out->str, ==, "OK little\nOK little\n");
    tear_down(&f);
}

static void test_ports(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "inb 0xff", "OK 0x00ff"); /* nothing there */
    ask(&f, "inw 0x3f9", "OK 0xffff");
    ask(&f, "inl 0x80", "OK 0xffffffff");
    ask(&f, "inb 0x104", "OK 0x00f4");
    ask(&f, "inw 0x104", "OK 0x00f4");
    ask(&f, "inl 0x104", "OK 0x00f4");
    assert_log(&f, "r1@4 r2@4 r4@4 ");
    ask(&f, "outb 0x101 0x1ff", "OK");
    ask(&f, "outw 258 4660", "OK");
    ask(&f, "outl 0x104 0xfffffffff", "OK");
    assert_log(&f, "w1@1=ff w2@2=1234 w4@4=ffffffff ");
    ask(&f, "inb 0x10000", "FAIL Invalid port '0x10000'");
    ask(&f, "inb", "FAIL 'inb' needs 1 argument");
    ask(&f, "inb zz", "FAIL Invalid number 'zz'");
    ask(&f, "inb  0x80", "FAIL Invalid number ''"); /* two spaces: an empty word */
    ask(&f, "outb 0x80", "FAIL 'outb' needs 2 arguments");
    tear_down(&f);
}

static void test_memory_words(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "readb 0x1000", "OK 0x0000000000000000");
    ask(&f, "writeb 0x1000 0x1ff", "OK");
    ask(&f, "readq 0x1000", "OK 0x00000000000000ff");
    ask(&f, "writeq 0x1000 0x1122334455667788", "OK");
    ask(&f, "readl 0x1000", "OK 0x0000000055667788");
    ask(&f, "readw 0x1001", "OK 0x0000000000006677");
    ask(&f, "writew 0x10 0x12345 3 4", "OK");
    ask(&f, "readl 020", "OK 0x0000000000002345"); /* octal */
    ask(&f, "writel 0x10 -1", "OK");
    ask(&f, "readq 0x10", "OK 0x00000000ffffffff");
    ask(&f, "readl 0x80000000", "OK 0x0000000000000000"); /* a hole */
    ask(&f, "writeb 0xe0004014 0x01", "OK");
    ask(&f, "readl 0xe0004014", "OK 0x0000000000000104");
    ask(&f, "readq 0xe0004010", "OK 0x0000010400000100"); /* split by the region */
    assert_log(&f, "w1@14=1 r4@14 r4@10 r4@14 ");
    ask(&f, "readb 4096L", "FAIL Invalid number '4096L'");
    ask(&f, "writeb 0", "FAIL 'writeb' needs 2 arguments");
    tear_down(&f);
}

static void test_memory_blocks(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "writeq 0x1000 0x1122334455667788", "OK");
    ask(&f, "read 0x1000 8", "OK 0x8877665544332211"); /* address order */
    ask(&f, "read 0x1000 0", "FAIL Invalid size '0'");
    ask(&f, "read 0x1000 0x10000000000", "FAIL Invalid size '0x10000000000'");
    ask(&f, "read 0x1000", "FAIL 'read' needs 2 arguments");
    ask(&f, "write 0x1000 4 0x0102", "OK"); /* the rest is zero */
    ask(&f, "read 0x1000 8", "OK 0x0102000044332211");
    ask(&f, "write 0x1000 4 0x", "ERR invalid argument size");
    ask(&f, "write 0x1000 4 zz", "ERR invalid argument size");
    ask(&f, "write 0x1000 0 0x11", "OK");
    ask(&f, "write 0x1000 2 0x112233", "OK");
    ask(&f, "read 0x1000 3", "OK 0x112200");
    ask(&f, "write 0xe0004014 0x1 0x01", "OK"); /* libqos writes registers this way */
    ask(&f, "read 0xe0004008 4", "OK 0xf8000000");
    ask(&f, "read 0xe0004008 8", "OK 0xf8000000fc000000");
    assert_log(&f, "w1@14=1 r4@8 r4@8 r4@c ");
    ask(&f, "memset 0x1000 4 0x155", "OK");
    ask(&f, "memset 0x1000 0 0x77", "OK");
    ask(&f, "read 0x1000 5", "OK 0x5555555544");
    ask(&f, "memset 0x1000 4", "FAIL 'memset' needs 3 arguments");
    tear_down(&f);
}

static void test_b64(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "b64write 0x1000 4 AAECAw==", "OK");
    ask(&f, "read 0x1000 4", "OK 0x00010203");
    ask(&f, "b64read 0x1001 3", "OK AQID");
    ask(&f, "b64read 0x1000 0", "OK ");
    ask(&f, "b64write 0x2000 6 AAECAw==", "OK"); /* the shorter one counts */
    ask(&f, "b64write 0x2000 2 /////w==", "OK");
    ask(&f, "read 0x2000 6", "OK 0xffff02030000");
    ask(&f, "b64write 0x2000 4", "FAIL 'b64write' needs 3 arguments");
    tear_down(&f);
}

static void test_irq(void)
{
    Fixture f;

    set_up(&f, false);
    ask(&f, "irq_intercept_in nope", "FAIL Unknown device");
    ask(&f, "irq_intercept_in", "FAIL 'irq_intercept_in' needs 1 argument");
    ask(&f, "irq_intercept_out ioapic foo", "FAIL No intercepts installed");
    ask(&f, "irq_intercept_in ioapic", "OK");
    ask(&f, "irq_intercept_in ioapic", "OK");
    ask(&f, "irq_intercept_in /machine/unattached", "FAIL IRQ intercept already enabled");
    ask(&f, "set_irq_in ioapic unnamed-gpio-in 2 1", "IRQ raise 2\nOK");
    ask(&f, "set_irq_in ioapic unnamed-gpio-in 2 1", "OK"); /* no change */
    ask(&f, "set_irq_in /machine/ioapic unnamed-gpio-in 2 0", "IRQ lower 2\nOK");
    g_assert_cmpuint(f.handled, ==, 3); /* the device heard them all */
    ask(&f, "set_irq_in ioapic unnamed-gpio-in 3 1", "FAIL Unknown IRQ");
    ask(&f, "set_irq_in ioapic foo 0 1", "FAIL Unknown IRQ");
    ask(&f, "set_irq_in nope unnamed-gpio-in 4 0", "FAIL Unknown device");
    ask(&f, "set_irq_in ioapic unnamed-gpio-in 4", "FAIL 'set_irq_in' needs 4 arguments");
    tear_down(&f);

    set_up(&f, false);
    ask(&f, "irq_intercept_out ioapic sysbus-irq", "OK");
    g_string_truncate(f.out, 0);
    irq_set(&f.outs[1], true);
    irq_pulse(&f.outs[0]);
    g_assert_cmpstr(f.out->str, ==, "IRQ raise 1\nIRQ raise 0\nIRQ lower 0\n");
    g_assert_cmpuint(f.handled, ==, 0); /* kept from their receivers */
    tear_down(&f);
}

static void on_timer(void *opaque)
{
    *(int64_t *)opaque = clock_ns(CLOCK_KIND_VIRTUAL);
}

static void test_clock(void)
{
    Fixture f;
    Timer t;
    int64_t fired = -1;

    set_up(&f, false);
    ask(&f, "clock_step",
        "FAIL Unknown command 'clock_step'"); /* another accelerator has the clock */
    ask(&f, "clock_set 1", "FAIL Unknown command 'clock_set'");
    tear_down(&f);

    set_up(&f, true);
    timer_init(&t, loop_main(), CLOCK_KIND_VIRTUAL, on_timer, &fired);
    ask(&f, "clock_step",
        "FAIL cannot advance clock to the next deadline because there is no pending deadline");
    ask(&f, "clock_step 100", "OK 100");
    timer_mod(&t, 5000);
    ask(&f, "clock_step 10", "OK 110");
    g_assert_cmpint(fired, ==, -1);
    ask(&f, "clock_step", "OK 5000");
    g_assert_cmpint(fired, ==, 5000);
    timer_mod(&t, 6000);
    ask(&f, "clock_set 8000", "OK 8000");
    g_assert_cmpint(fired, ==, 6000);
    ask(&f, "clock_set 7999", "FAIL 8000");
    ask(&f, "clock_set 8000", "OK 8000");
    ask(&f, "clock_step 0xffffffffffffffff", "FAIL could not advance time");
    ask(&f, "clock_set", "FAIL 'clock_set' needs 1 argument");
    timer_del(&t);
    tear_down(&f);
}

static void test_log(void)
{
    Fixture f;
    g_autofree char *dir = g_dir_make_tmp("virtue-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "log", NULL), *text = NULL;
    g_autoptr(GError) err = NULL;

    set_up(&f, false);
    qtest_connected(f.q, false);
    g_assert_true(qtest_set_log(f.q, path, NULL));
    qtest_connected(f.q, true);
    ask(&f, "inb 0x80", "OK 0x00ff");
    qtest_connected(f.q, false);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_regex_match_simple(
        "^\\[I 0\\.000000\\] OPENED\n\\[R \\+\\d+\\.\\d{6}\\] inb 0x80\n"
        "\\[S \\+\\d+\\.\\d{6}\\] OK 0x00ff\n\\[I \\+\\d+\\.\\d{6}\\] CLOSED\n$",
        text, 0, 0));
    tear_down(&f);
    set_up(&f, false);
    g_assert_true(qtest_set_log(f.q, "none", NULL));
    g_assert_false(qtest_set_log(f.q, "/nonexistent/log", &err));
    g_assert_nonnull(strstr(err->message, "/nonexistent/log"));
    tear_down(&f);
    g_unlink(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/qtest/basics", test_basics);
    g_test_add_func("/qtest/ports", test_ports);
    g_test_add_func("/qtest/memory-words", test_memory_words);
    g_test_add_func("/qtest/memory-blocks", test_memory_blocks);
    g_test_add_func("/qtest/base64", test_b64);
    g_test_add_func("/qtest/wires", test_irq);
    g_test_add_func("/qtest/clock", test_clock);
    g_test_add_func("/qtest/log", test_log);
    return g_test_run();
}

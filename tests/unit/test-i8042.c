/* 8042, PS/2 devices, port 0x92, DMA registers and byte latches: byte sequences as QEMU 10.0
 * answers them. */
#include "chips.h"
#include "hw/input/i8042.h"
#include "hw/input/port92.h"
#include "hw/misc/pc-ports.h"

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { KBD = 1, MOUSE = 12, A20 = 16, RESET = 17 };

typedef struct Board {
    Chips *c;
    I8042 *k;
} Board;

static Board board(void)
{
    Board b = { .c = chips_new() };

    b.k = i8042_new(b.c->tree, &b.c->io, &b.c->wire[KBD], &b.c->wire[MOUSE], &b.c->wire[A20],
        &b.c->wire[RESET]);
    i8042_class.reset((Obj *)b.k);
    return b;
}

static void cmd(Board b, uint8_t byte)
{
    outb(b.c, 0x64, byte);
}

static void cmd_data(Board b, uint8_t byte, uint8_t data)
{
    outb(b.c, 0x64, byte);
    outb(b.c, 0x60, data);
}

/* Everything that waits, as text: "fa aa", mouse bytes in capitals with an M. */
static char *drain(Board b)
{
    GString *s = g_string_new(NULL);
    uint8_t st;

    while ((st = inb(b.c, 0x64)) & 1) {
        g_string_append_printf(
            s, "%s%s%02x", s->len ? " " : "", st & 0x20 ? "M" : "", inb(b.c, 0x60));
    }
    return g_string_free(s, false);
}

#define assert_drains(b, text)                                                                     \
    do {                                                                                           \
        char *got = drain(b);                                                                      \
        g_assert_cmpstr(got, ==, (text));                                                          \
        g_free(got);                                                                               \
    } while (0)

static const struct {
    uint8_t cmd;
    const char *reply;
    uint8_t status;
} cmds[] = {
    { 0x20, "03", 0x18 },
    { 0xd0, "cf", 0x18 },
    { 0xc0, "80", 0x18 },
    { 0xaa, "55", 0x1c },
    { 0xab, "00", 0x1c },
    { 0xa9, "00", 0x1c },
    { 0xa7, "", 0x1c },
    { 0x20, "23", 0x1c },
    { 0xa8, "", 0x1c },
    { 0xad, "", 0x1c },
    { 0x20, "13", 0x1c },
    { 0xae, "", 0x1c },
    { 0x20, "03", 0x1c },
    { 0x21, "", 0x1c },
    { 0xa1, "", 0x1c },
    { 0xca, "", 0x1c },
    { 0xee, "", 0x1c },
};

static void test_commands(void)
{
    Board b = board();

    g_assert_cmphex(inb(b.c, 0x64), ==, 0x18);
    g_assert_cmphex(inb(b.c, 0x60), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cmds); i++) {
        cmd(b, cmds[i].cmd);
        assert_drains(b, cmds[i].reply);
        g_assert_cmphex(inb(b.c, 0x64) & 0x1d, ==, cmds[i].status & 0x1d);
    }
    chips_free(b.c);
}

/* Bytes for the keyboard; answers without and with the controller's translation. */
static const struct {
    uint8_t n, bytes[2];
    const char *plain, *translated;
} kbd[] = {
    { 1, { 0xff }, "fa aa", "fa aa" },
    { 1, { 0xf2 }, "fa ab 83", "fa ab 41" },
    { 2, { 0xf0, 0x00 }, "fa fa 02", "fa fa 41" },
    { 2, { 0xed, 0x07 }, "fa fa", "fa fa" },
    { 1, { 0xee }, "ee", "ee" },
    { 1, { 0xf5 }, "fa", "fa" },
    { 1, { 0xf4 }, "fa", "fa" },
    { 2, { 0xf3, 0x00 }, "fa fa", "fa fa" },
    { 1, { 0x12 }, "fe", "fe" },
    { 2, { 0xf0, 0x01 }, "fa fa", "fa fa" },
    { 1, { 0xf6 }, "fa", "fa" },
    { 2, { 0xf0, 0x03 }, "fa fe", "fa fe" } /* set 3 is refused */,
    { 1, { 0xf8 }, "fe", "fe" },
};

static void test_keyboard(void)
{
    Board b = board();

    for (unsigned t = 0; t < 2; t++) {
        cmd_data(b, 0x60, t ? 0x43 : 0x03);
        for (unsigned i = 0; i < G_N_ELEMENTS(kbd); i++) {
            for (unsigned j = 0; j < kbd[i].n; j++) {
                outb(b.c, 0x60, kbd[i].bytes[j]);
            }
            assert_drains(b, t ? kbd[i].translated : kbd[i].plain);
        }
    }
    chips_free(b.c);
}

static const struct {
    uint8_t n, bytes[6];
    const char *reply;
} mouse[] = {
    { 1, { 0xff }, "Mfa Maa M00" },
    { 1, { 0xf2 }, "Mfa M00" },
    { 1, { 0xe9 }, "Mfa M00 M02 M64" },
    { 6, { 0xf3, 200, 0xf3, 100, 0xf3, 80 }, "Mfa Mfa Mfa Mfa Mfa Mfa" },
    { 1, { 0xf2 }, "Mfa M03" },
    { 6, { 0xf3, 200, 0xf3, 200, 0xf3, 80 }, "Mfa Mfa Mfa Mfa Mfa Mfa" },
    { 1, { 0xf2 }, "Mfa M04" },
    { 1, { 0xe9 }, "Mfa M00 M02 M50" },
    { 1, { 0xeb }, "Mfa M08 M00 M00 M00" },
    { 2, { 0xe8, 3 }, "Mfa Mfa" },
    { 1, { 0xe9 }, "Mfa M00 M03 M50" },
    { 1, { 0xe7 }, "Mfa" },
    { 1, { 0xe9 }, "Mfa M10 M03 M50" },
    { 1, { 0xf4 }, "Mfa" },
    { 1, { 0xe9 }, "Mfa M30 M03 M50" },
    { 1, { 0xf0 }, "Mfa" },
    { 1, { 0xe9 }, "Mfa M70 M03 M50" },
    { 3, { 0xee, 0x55, 0xec }, "Mfa M55 Mfa" },
    { 1, { 0xf6 }, "Mfa" },
    { 1, { 0xe9 }, "Mfa M00 M02 M64" },
    { 1, { 0xf2 }, "Mfa M04" },
    { 1, { 0xff }, "Mfa Maa M00" },
    { 1, { 0xf2 }, "Mfa M00" },
};

static void test_mouse(void)
{
    Board b = board();

    for (unsigned i = 0; i < G_N_ELEMENTS(mouse); i++) {
        for (unsigned j = 0; j < mouse[i].n; j++) {
            cmd_data(b, 0xd4, mouse[i].bytes[j]);
        }
        assert_drains(b, mouse[i].reply);
    }
    chips_free(b.c);
}

static void test_loops(void)
{
    Board b = board();

    cmd_data(b, 0xd3, 0x5a);
    g_assert_true(b.c->level[MOUSE]);
    assert_drains(b, "M5a");
    cmd_data(b, 0xd2, 0x5b);
    g_assert_true(b.c->level[KBD]);
    assert_drains(b, "5b");
    g_assert_false(b.c->level[KBD] || b.c->level[MOUSE]);
    chips_free(b.c);
}

static void test_keys(void)
{
    Board b = board();

    cmd_data(b, 0x60, 0x43);
    g_assert_true(ps2_key(i8042_kbd(b.k), 0x1e, true)); /* a */
    g_assert_true(b.c->level[KBD]);
    g_assert_true(ps2_key(i8042_kbd(b.k), 0x1e, false));
    g_assert_true(ps2_key(i8042_kbd(b.k), 0xe01d, true)); /* right control */
    g_assert_true(ps2_key(i8042_kbd(b.k), 0xe01d, false));
    assert_drains(b, "1e 9e e0 1d e0 9d");
    g_assert_cmpuint(b.c->rises[KBD], ==, 6); /* an edge for every byte */
    cmd_data(b, 0x60, 0x03);
    ps2_key(i8042_kbd(b.k), 0x1e, true);
    ps2_key(i8042_kbd(b.k), 0x1e, false);
    ps2_key(i8042_kbd(b.k), 0xe01d, false);
    assert_drains(b, "1c f0 1c e0 f0 14");
    outb(b.c, 0x60, 0xf5);
    assert_drains(b, "fa");
    g_assert_false(ps2_key(i8042_kbd(b.k), 0x1e, true)); /* disabled */
    chips_free(b.c);
}

static void test_key_flood_keeps_room(void)
{
    Board b = board();
    unsigned n = 0;

    while (n < 1000 && ps2_key(i8042_kbd(b.k), 0x1e, true)) {
        n++;
    }
    g_assert_cmpuint(n, <, 20);
    outb(b.c, 0x60, 0xee);
    for (char *s = drain(b); s; s = NULL) {
        g_assert_true(g_str_has_suffix(s, " ee"));
        g_free(s);
    }
    chips_free(b.c);
}

static void test_pointer(void)
{
    Board b = board();
    Ps2Mouse *m = i8042_mouse(b.k);

    g_assert_false(ps2_pointer(m, &(Ps2Motion){ 1, 1, 0, 0 }, 0)); /* not enabled */
    cmd_data(b, 0xd4, 0xf4);
    assert_drains(b, "Mfa");
    g_assert_true(ps2_pointer(m, &(Ps2Motion){ 5, -3, 0, 0 }, 1));
    assert_drains(b, "M29 M05 Mfd");
    chips_free(b.c);
}

static void test_interface_disable(void)
{
    Board b = board();

    cmd(b, 0xad);
    ps2_key(i8042_kbd(b.k), 0x1e, true);
    g_assert_cmphex(inb(b.c, 0x64) & 1, ==, 0);
    cmd(b, 0xae);
    assert_drains(b, "1c");
    cmd_data(b, 0x60, 0x00); /* interrupts off */
    ps2_key(i8042_kbd(b.k), 0x1e, true);
    g_assert_false(b.c->level[KBD]);
    assert_drains(b, "1c");
    chips_free(b.c);
}

static void test_a20_and_reset(void)
{
    Board b = board();

    g_assert_true(b.c->level[A20]);
    cmd_data(b, 0xd1, 0xdd);
    g_assert_false(b.c->level[A20]);
    cmd(b, 0xd0);
    assert_drains(b, "dd");
    cmd(b, 0xdf);
    g_assert_true(b.c->level[A20]);
    cmd(b, 0xdd);
    g_assert_false(b.c->level[A20]);
    cmd(b, 0xff);
    g_assert_cmpuint(b.c->rises[RESET], ==, 0);
    cmd(b, 0xfe);
    g_assert_cmpuint(b.c->rises[RESET], ==, 1);
    chips_free(b.c);
}

static void test_port92(void)
{
    Chips *c = chips_new();

    port92_new(c->tree, &c->io, &c->wire[A20], &c->wire[RESET]);
    g_assert_cmphex(inb(c, 0x92), ==, 0);
    outb(c, 0x92, 0x02);
    g_assert_true(c->level[A20]);
    g_assert_cmphex(inb(c, 0x92), ==, 0x02);
    outb(c, 0x92, 0xfe);
    g_assert_cmphex(inb(c, 0x92), ==, 0xfe);
    outb(c, 0x92, 0x00);
    g_assert_false(c->level[A20]);
    outb(c, 0x92, 0x03), outb(c, 0x92, 0x03);
    g_assert_cmpuint(c->rises[RESET], ==, 1);
    chips_free(c);
}

static void test_dma(void)
{
    Chips *c = chips_new();

    dma8237_new(c->tree, &c->io);
    outb(c, 0x0c, 0);
    outb(c, 0x00, 0x34), outb(c, 0x00, 0x12);
    outb(c, 0x0c, 0);
    g_assert_cmphex(inb(c, 0x00), ==, 0x34);
    g_assert_cmphex(inb(c, 0x00), ==, 0x12);
    g_assert_cmphex(inb(c, 0x08), ==, 0);
    g_assert_cmphex(inb(c, 0x09), ==, 0xff);
    outb(c, 0x0f, 0x0a), outb(c, 0x0a, 0x04);
    g_assert_cmphex(inb(c, 0x09), ==, 0x0b);
    outb(c, 0x0e, 0);
    g_assert_cmphex(inb(c, 0x09), ==, 0);
    outb(c, 0x0d, 0);
    g_assert_cmphex(inb(c, 0x09), ==, 0xff);
    outb(c, 0x09, 0x04);
    g_assert_cmphex(inb(c, 0x08), ==, 0x10);
    outb(c, 0xd8, 0), outb(c, 0xc4, 0x78), outb(c, 0xc4, 0x56), outb(c, 0xd8, 0);
    g_assert_cmphex(inb(c, 0xc4), ==, 0x78);
    g_assert_cmphex(inb(c, 0xd2), ==, 0xff);
    for (uint16_t p = 0x81; p < 0x90; p++) {
        bool there = p <= 0x83 || p == 0x87 || (p >= 0x89 && p <= 0x8b) || p == 0x8f;

        g_assert_cmphex(inb(c, p), ==, there ? 0 : 0xff);
        outb(c, p, (uint8_t)(p ^ 0xff));
        g_assert_cmphex(inb(c, p), ==, there ? p ^ 0xff : 0xff);
    }
    chips_free(c);
}

static uint8_t apm_last;

static void apm_command(void *opaque, uint8_t val)
{
    apm_last = val;
}

static void test_latches(void)
{
    Chips *c = chips_new();
    PcPorts p;
    Apm a;

    pc_ports_init(&p, c->tree, &c->io, &c->wire[13]);
    apm_init(&a, c->tree, apm_command, NULL);
    region_map(&c->io, 0xb2, &a.io, 0);
    outb(c, 0x80, 0x42);
    g_assert_cmphex(p.post_code, ==, 0x42);
    g_assert_cmphex(inb(c, 0x80), ==, 0xff);
    irq_set(&c->wire[13], true);
    outb(c, 0xf0, 0);
    g_assert_false(c->level[13]);
    outb(c, 0xb2, 0x55), outb(c, 0xb3, 0x66);
    g_assert_cmphex(apm_last, ==, 0x55);
    g_assert_cmphex(inb(c, 0xb2), ==, 0x55);
    g_assert_cmphex(inb(c, 0xb3), ==, 0x66);
    apm_reset(&a);
    g_assert_cmphex(inb(c, 0xb2), ==, 0);
    region_unmap(&a.io);
    apm_fini(&a);
    pc_ports_fini(&p);
    chips_free(c);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/i8042/commands", test_commands);
    g_test_add_func("/i8042/keyboard", test_keyboard);
    g_test_add_func("/i8042/mouse", test_mouse);
    g_test_add_func("/i8042/loops", test_loops);
    g_test_add_func("/i8042/keys", test_keys);
    g_test_add_func("/i8042/key-flood-keeps-room", test_key_flood_keeps_room);
    g_test_add_func("/i8042/pointer", test_pointer);
    g_test_add_func("/i8042/interface-disable", test_interface_disable);
    g_test_add_func("/i8042/a20-and-reset", test_a20_and_reset);
    g_test_add_func("/port92", test_port92);
    g_test_add_func("/dma8237", test_dma);
    g_test_add_func("/pc-ports", test_latches);
    return g_test_run();
}

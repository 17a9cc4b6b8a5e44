/* 16550 over a fake chardev with back-pressure; debugcon, isa-debug-exit and pvpanic on the same
 * bus. */
#include "chardev/chardev.h"
#include "chips.h"
#include "hw/char/debugcon.h"
#include "hw/char/serial.h"
#include "hw/core/machine.h"
#include "hw/misc/debug-exit.h"
#include "hw/misc/pvpanic.h"
#include "object/qmp.h"

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

/* The back end: takes `room` bytes, remembers them. */
struct Chardev {
    ChardevFe *fe;
    GByteArray *got;
    size_t room;
    unsigned accepts, breaks;
};

const PropType prop_chardev = { .name = "str" };

bool chardev_fe_init(ChardevFe *fe, Chardev *c, const ChardevFeOps *ops, void *opaque, GError **err)
{
    *fe = (ChardevFe){ .chr = c, .ops = ops, .opaque = opaque };
    c->fe = fe;
    return true;
}
void chardev_fe_fini(ChardevFe *fe)
{
    fe->chr->fe = NULL;
}
void chardev_fe_accept(ChardevFe *fe)
{
    fe->chr->accepts++;
}
size_t chardev_write(ChardevFe *fe, const void *buf, size_t len)
{
    size_t n = MIN(len, fe->chr->room);

    g_byte_array_append(fe->chr->got, buf, (guint)n);
    fe->chr->room -= n;
    return n;
}
void chardev_write_all(ChardevFe *fe, const void *buf, size_t len)
{
    g_byte_array_append(fe->chr->got, buf, (guint)len);
}
void chardev_break(ChardevFe *fe)
{
    fe->chr->breaks++;
}

static Machine machine;
static int exit_status = -1;
static int stopped = -1;

Machine *dev_machine(const Dev *d)
{
    return &machine;
}
void run_request_exit(RunState *r, int status)
{
    exit_status = status;
}
void run_stop(RunState *r, RunStateKind why)
{
    stopped = why;
}
void bus_init(Bus *b, const BusClass *cls, Dev *parent, Obj *tree_parent, const char *name)
{
    *b = (Bus){ .cls = cls, .devs = g_ptr_array_new() };
}

enum { COM1 = 0x3f8 };

typedef struct Board {
    Chips *c;
    IsaBus isa;
    Chardev chr;
} Board;

static Board *board_new(void)
{
    Board *b = g_new0(Board, 1);

    b->c = chips_new();
    b->chr = (Chardev){ .got = g_byte_array_new(), .room = SIZE_MAX };
    isa_bus_init(&b->isa, NULL, b->c->tree, &b->c->io, b->c->wire);
    isa_serial_new(b->c->tree, &b->isa, 0, &b->chr, NULL);
    return b;
}

static void board_free(Board *b)
{
    chips_free(b->c);
    g_ptr_array_unref(b->isa.bus.devs);
    g_byte_array_unref(b->chr.got);
    g_free(b);
}

static uint8_t in(Board *b, unsigned reg)
{
    return inb(b->c, (uint16_t)(COM1 + reg));
}
static void out(Board *b, unsigned reg, uint8_t val)
{
    outb(b->c, (uint16_t)(COM1 + reg), val);
}

static void feed(Board *b, const char *text)
{
    size_t room = b->chr.fe->ops->can_receive(b->chr.fe->opaque);

    g_assert_cmpuint(strlen(text), <=, room);
    b->chr.fe->ops->receive(b->chr.fe->opaque, (const uint8_t *)text, strlen(text));
}

static void test_reset(void)
{
    Board *b = board_new();
    static const uint8_t reset[8] = { 0x00, 0x00, 0x01, 0x00, 0x08, 0x60, 0xb0, 0x00 };

    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(in(b, i), ==, reset[i]);
    }
    out(b, 3, 0xff);
    g_assert_cmphex(in(b, 0), ==, 0x0c);
    g_assert_cmphex(in(b, 1), ==, 0x00);
    g_assert_cmphex(in(b, 3), ==, 0xff);
    out(b, 0, 0x34), out(b, 1, 0x12);
    g_assert_cmphex(in(b, 0), ==, 0x34);
    g_assert_cmphex(in(b, 1), ==, 0x12);
    out(b, 3, 0x03);
    out(b, 1, 0xff);
    g_assert_cmphex(in(b, 1), ==, 0x0f);
    out(b, 4, 0xff);
    g_assert_cmphex(in(b, 4), ==, 0x1f);
    out(b, 7, 0x5a);
    g_assert_cmphex(in(b, 7), ==, 0x5a);
    board_free(b);
}

static void test_places(void)
{
    static const struct {
        unsigned index;
        uint16_t port;
        unsigned irq;
    } places[] = {
        { 1, 0x2f8, 3 },
        { 2, 0x3e8, 4 },
        { 3, 0x2e8, 3 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        Board *b = board_new();

        g_assert_cmphex(inb(b->c, places[i].port + 5), ==, 0xff);
        isa_serial_new(b->c->tree, &b->isa, places[i].index, NULL, NULL);
        g_assert_cmphex(inb(b->c, places[i].port + 5), ==, 0x60);
        outb(b->c, places[i].port + 1, 0x02);
        g_assert_true(b->c->level[places[i].irq]);
        board_free(b);
    }
}

static void test_transmit(void)
{
    Board *b = board_new();

    out(b, 1, 0x02);
    g_assert_true(b->c->level[4]);
    g_assert_cmphex(in(b, 2), ==, 0x02);
    g_assert_cmphex(in(b, 2), ==, 0x01); /* reading it took it */
    g_assert_false(b->c->level[4]);
    out(b, 0, 'A');
    g_assert_cmphex(in(b, 5), ==, 0x60);
    g_assert_cmphex(in(b, 2), ==, 0x02);
    g_assert_cmpuint(b->chr.got->len, ==, 1);
    g_assert_cmphex(b->chr.got->data[0], ==, 'A');
    board_free(b);
}

static void test_back_pressure(void)
{
    Board *b = board_new();

    b->chr.room = 3;
    out(b, 2, 0x01);
    out(b, 1, 0x02);
    in(b, 2);
    for (unsigned i = 0; i < 16; i++) {
        out(b, 0, (uint8_t)('a' + i));
    }
    g_assert_cmpuint(b->chr.got->len, ==, 3);
    g_assert_cmphex(in(b, 5), ==, 0x00); /* neither THRE nor TEMT */
    g_assert_false(b->c->level[4]);
    b->chr.room = 5;
    b->chr.fe->ops->writable(b->chr.fe->opaque);
    g_assert_cmphex(in(b, 5), ==, 0x00);
    b->chr.room = SIZE_MAX;
    b->chr.fe->ops->writable(b->chr.fe->opaque);
    g_assert_cmphex(in(b, 5), ==, 0x60);
    g_assert_true(b->c->level[4]);
    g_byte_array_append(b->chr.got, (const uint8_t *)"", 1);
    g_assert_cmpstr((const char *)b->chr.got->data, ==, "abcdefghijklmnop");
    board_free(b);
}

/* A guest that ignores THRE is bounded. */
static void test_flood_bounded(void)
{
    Board *b = board_new();

    b->chr.room = 0;
    for (unsigned i = 0; i < 100000; i++) {
        out(b, 0, 'x');
    }
    b->chr.room = SIZE_MAX;
    b->chr.fe->ops->writable(b->chr.fe->opaque);
    g_assert_cmpuint(b->chr.got->len, ==, 4096);
    board_free(b);
}

static void test_receive(void)
{
    Board *b = board_new();

    out(b, 1, 0x01);
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 1); /* no FIFO yet */
    feed(b, "x");
    g_assert_true(b->c->level[4]);
    g_assert_cmphex(in(b, 2), ==, 0x04);
    g_assert_cmphex(in(b, 5), ==, 0x61);
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 0);
    b->chr.accepts = 0;
    g_assert_cmphex(in(b, 0), ==, 'x');
    g_assert_cmpuint(b->chr.accepts, ==, 1);
    g_assert_cmphex(in(b, 5), ==, 0x60);
    g_assert_false(b->c->level[4]);
    board_free(b);
}

static void test_fifo(void)
{
    Board *b = board_new();

    out(b, 2, 0x41); /* trigger at 4 */
    out(b, 1, 0x01);
    g_assert_cmphex(in(b, 2), ==, 0xc1);
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 16);
    feed(b, "abc");
    g_assert_false(b->c->level[4]);
    step(4 * 7 * G_GINT64_CONSTANT(1000000000) * 12 / 115200 -
         1000); /* 5 data bits, 1 stop: 7 bits */
    g_assert_false(b->c->level[4]);
    step(2000);
    g_assert_true(b->c->level[4]);
    g_assert_cmphex(in(b, 2), ==, 0xcc); /* timeout */
    g_assert_cmphex(in(b, 0), ==, 'a');
    g_assert_false(b->c->level[4]);
    feed(b, "de");
    g_assert_true(b->c->level[4]);
    g_assert_cmphex(in(b, 2), ==, 0xc4);
    g_assert_cmphex(in(b, 0), ==, 'b');
    feed(b, "0123456789abc");
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 0);
    out(b, 2, 0x43); /* clear */
    g_assert_cmphex(in(b, 5), ==, 0x60);
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 16);
    board_free(b);
}

static const struct {
    uint8_t mcr, msr;
} loops[] = {
    { 0x10, 0x00 },
    { 0x11, 0x20 },
    { 0x12, 0x10 },
    { 0x14, 0x40 },
    { 0x18, 0x80 },
    { 0x1a, 0x90 },
    { 0x1f, 0xf0 },
};

static void test_loopback(void)
{
    Board *b = board_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(loops); i++) {
        out(b, 4, loops[i].mcr);
        g_assert_cmphex(in(b, 6) & 0xf0, ==, loops[i].msr);
    }
    out(b, 4, 0x1a);
    in(b, 6);
    out(b, 4, 0x18); /* RTS off: CTS changes */
    g_assert_cmphex(in(b, 6), ==, 0x81);
    g_assert_cmphex(in(b, 6), ==, 0x80);
    out(b, 0, 0x41);
    g_assert_cmpuint(b->chr.got->len, ==, 0);
    g_assert_cmpuint(b->chr.fe->ops->can_receive(b->chr.fe->opaque), ==, 0);
    g_assert_cmphex(in(b, 5), ==, 0x61);
    out(b, 0, 0x42); /* nobody read the first */
    g_assert_cmphex(in(b, 5), ==, 0x63);
    g_assert_cmphex(in(b, 5), ==, 0x61);
    g_assert_cmphex(in(b, 0), ==, 0x42);
    out(b, 4, 0x08);
    g_assert_cmphex(in(b, 6) & 0xf0, ==, 0xb0);
    board_free(b);
}

static void test_break_and_out2(void)
{
    Board *b = board_new();

    out(b, 1, 0x05);
    b->chr.fe->ops->event(b->chr.fe->opaque, CHARDEV_BREAK);
    g_assert_cmphex(in(b, 2), ==, 0x06);
    g_assert_true(b->c->level[4]);
    out(b, 4, 0x00); /* OUT2 holds the interrupt back */
    g_assert_false(b->c->level[4]);
    out(b, 4, 0x08);
    g_assert_cmphex(in(b, 5), ==, 0x71);
    g_assert_cmphex(in(b, 0), ==, 0);
    out(b, 3, 0x43);
    out(b, 3, 0x43);
    g_assert_cmpuint(b->chr.breaks, ==, 1);
    board_free(b);
}

static void test_debugcon(void)
{
    Board *b = board_new();
    Chardev log = { .got = g_byte_array_new() };

    isa_debugcon_new(b->c->tree, &b->isa, 0x402, &log);
    g_assert_cmphex(inb(b->c, 0x402), ==, 0xe9);
    outb(b->c, 0x402, 'S');
    g_assert_cmpuint(log.got->len, ==, 1);
    g_assert_cmphex(log.got->data[0], ==, 'S');
    board_free(b);
    g_byte_array_unref(log.got);
}

static Obj *place(Board *b, const ObjClass *cls)
{
    Obj *o = obj_new(cls);

    ((Dev *)o)->bus = &b->isa.bus;
    g_assert_true(obj_realize(o, NULL));
    return o;
}

static void test_debug_exit(void)
{
    Board *b = board_new();
    Obj *o = place(b, &isa_debug_exit_class);

    g_assert_cmphex(inb(b->c, 0x501), ==, 0);
    outb(b->c, 0x501, 0x10);
    g_assert_cmpint(exit_status, ==, 0x21);
    addrspace_store(b->c->io_as, 0x501, 2, 0x100, NULL);
    g_assert_cmpint(exit_status, ==, 0x201);
    obj_unref(o);
    board_free(b);
}

static char *event;

static void sink(void *opaque, const char *name, const Json *data)
{
    g_free(event);
    event = g_strdup_printf("%s %s", name, json_get_str(json_get(data, "action")));
}

static void test_pvpanic(void)
{
    Board *b = board_new();
    Obj *o = place(b, &pvpanic_class);

    qmp_event_set_sink(sink, NULL);
    g_assert_cmphex(inb(b->c, 0x505), ==, 3);
    outb(b->c, 0x505, 2);
    g_assert_cmpstr(event, ==, "GUEST_CRASHLOADED run");
    g_assert_cmpint(stopped, ==, -1);
    outb(b->c, 0x505, 1);
    g_assert_cmpstr(event, ==, "GUEST_PANICKED pause");
    g_assert_cmpint(stopped, ==, RUN_STATE_GUEST_PANICKED);
    qmp_event_set_sink(NULL, NULL);
    g_clear_pointer(&event, g_free);
    obj_unref(o);
    board_free(b);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/serial/reset", test_reset);
    g_test_add_func("/serial/places", test_places);
    g_test_add_func("/serial/transmit", test_transmit);
    g_test_add_func("/serial/back-pressure", test_back_pressure);
    g_test_add_func("/serial/flood-bounded", test_flood_bounded);
    g_test_add_func("/serial/receive", test_receive);
    g_test_add_func("/serial/fifo", test_fifo);
    g_test_add_func("/serial/loopback", test_loopback);
    g_test_add_func("/serial/break-and-out2", test_break_and_out2);
    g_test_add_func("/debugcon", test_debugcon);
    g_test_add_func("/debug-exit", test_debug_exit);
    g_test_add_func("/pvpanic", test_pvpanic);
    return g_test_run();
}

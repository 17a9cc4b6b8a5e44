/* MC146818: registers, BCD and 12-hour forms, setting the clock, the three interrupts, CMOS RAM. */
#include "chips.h"
#include "hw/timer/rtc.h"
#include "object/qmp.h"

const ObjClass *const obj_classes[] = { &rtc_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

#define S G_GINT64_CONSTANT(1000000000)

static uint8_t get(Chips *c, uint8_t reg)
{
    outb(c, 0x70, reg);
    return inb(c, 0x71);
}

static void set(Chips *c, uint8_t reg, uint8_t val)
{
    outb(c, 0x70, reg);
    outb(c, 0x71, val);
}

/* The guest's clock stands at 2024-02-29 23:59:58.000 (a Thursday), on the virtual clock. */
static Chips *board(Rtc **ret)
{
    Chips *c = chips_new();
    RtcConfig cfg = { .clock = CLOCK_KIND_VIRTUAL,
        .offset_ns = 1709251198 * S - clock_ns(CLOCK_KIND_VIRTUAL) };
    Rtc *r = rtc_new(c->tree, &c->io, &cfg, &c->wire[8]);

    if (ret) {
        *ret = r;
    }
    return c;
}

/* Register and what QEMU 10.0 reads at reset, after writing ones, after writing zeros. */
static const struct {
    uint8_t reg, reset, ones, zeros;
} regs[] = {
    { 0x0a, 0x26, 0x7f, 0x00 },
    { 0x0b, 0x02, 0xef, 0x00 },
    { 0x0c, 0x00, 0x00, 0x00 },
    { 0x0d, 0x80, 0x80, 0x80 },
    { 0x0f, 0x00, 0xff, 0x00 },
    { 0x7f, 0x00, 0xff, 0x00 },
    { 0x01, 0x00, 0xff, 0x00 },
};

static void test_registers(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        Chips *c = board(NULL);

        g_assert_cmphex(get(c, regs[i].reg), ==, regs[i].reset);
        set(c, regs[i].reg, 0xff);
        g_assert_cmphex(get(c, regs[i].reg), ==, regs[i].ones);
        set(c, regs[i].reg, 0);
        g_assert_cmphex(get(c, regs[i].reg), ==, regs[i].zeros);
        g_assert_cmphex(inb(c, 0x70), ==, 0xff);
        chips_free(c);
    }
}

static void test_reads_time(void)
{
    Chips *c = board(NULL);

    g_assert_cmphex(get(c, 0), ==, 0x58);
    g_assert_cmphex(get(c, 2), ==, 0x59);
    g_assert_cmphex(get(c, 4), ==, 0x23);
    g_assert_cmphex(get(c, 6), ==, 5);
    g_assert_cmphex(get(c, 7), ==, 0x29);
    g_assert_cmphex(get(c, 8), ==, 0x02);
    g_assert_cmphex(get(c, 9), ==, 0x24);
    g_assert_cmphex(get(c, 0x32), ==, 0x20);
    step(2 * S);
    g_assert_cmphex(get(c, 4), ==, 0x00);
    g_assert_cmphex(get(c, 7), ==, 0x01);
    g_assert_cmphex(get(c, 8), ==, 0x03);
    set(c, 0x0b, 0x04);                 /* binary, 12 hours */
    g_assert_cmphex(get(c, 4), ==, 12); /* midnight */
    g_assert_cmphex(get(c, 9), ==, 24);
    step(13 * 3600 * S);
    g_assert_cmphex(get(c, 4), ==, 0x81); /* 1 pm */
    chips_free(c);
}

static char *event;

static void sink(void *opaque, const char *name, const Json *data)
{
    g_free(event);
    event = g_strdup_printf("%s %d", name, (int)json_get_int(json_get(data, "offset")));
}

static void test_sets_time(void)
{
    Chips *c = board(NULL);

    qmp_event_set_sink(sink, NULL);
    set(c, 0x0b, 0x82); /* SET: the clock stands */
    step(10 * S);
    g_assert_cmphex(get(c, 0), ==, 0x58);
    set(c, 0, 0x30), set(c, 2, 0x15), set(c, 4, 0x07), set(c, 7, 0x21), set(c, 8, 0x11),
        set(c, 9, 0x26);
    set(c, 0x0b, 0x02);
    g_assert_cmpstr(event, ==,
        "RTC_CHANGE 85994122"); /* 2026-11-21 07:15:30 less the clock's 2024-03-01 00:00:08 */
    step(31 * S);
    g_assert_cmphex(get(c, 0), ==, 0x01);
    g_assert_cmphex(get(c, 2), ==, 0x16);
    g_assert_cmphex(get(c, 6), ==, 7); /* a Saturday */
    qmp_event_set_sink(NULL, NULL);
    g_clear_pointer(&event, g_free);
    chips_free(c);
}

static void test_update_interrupt(void)
{
    Chips *c = board(NULL);

    set(c, 0x0b, 0x12);
    step(999999999);
    g_assert_cmphex(get(c, 0x0a), ==, 0xa6); /* UIP shortly before */
    g_assert_cmpuint(c->rises[8], ==, 0);
    step(1);
    g_assert_cmpuint(c->rises[8], ==, 1);
    g_assert_true(c->level[8]);
    g_assert_cmphex(get(c, 0x0c), ==, 0x90);
    g_assert_false(c->level[8]);
    g_assert_cmphex(get(c, 0x0a), ==, 0x26);
    g_assert_cmphex(get(c, 0x0c), ==, 0x00);
    step(3 * S);
    g_assert_cmpuint(c->rises[8], ==, 2); /* not acknowledged: held */
    chips_free(c);
}

static void test_alarm(void)
{
    Chips *c = board(NULL);

    set(c, 1, 0x05), set(c, 3, 0x00), set(c, 5, 0x00); /* 00:00:05 */
    set(c, 0x0b, 0x22);
    step(7 * S - 1);
    g_assert_cmpuint(c->rises[8], ==, 0);
    step(1);
    g_assert_cmpuint(c->rises[8], ==, 1);
    g_assert_cmphex(get(c, 0x0c), ==, 0xb0);
    set(c, 3, 0xc0), set(c, 5, 0xff); /* every minute */
    step(60 * S);
    g_assert_cmpuint(c->rises[8], ==, 2);
    get(c, 0x0c);
    set(c, 1, 0x77); /* never */
    step(86400 * S);
    g_assert_cmpuint(c->rises[8], ==, 2);
    chips_free(c);
}

static void test_periodic(void)
{
    Chips *c = board(NULL);

    set(c, 0x0b, 0x42); /* 1024 Hz */
    step(976562);
    g_assert_cmpuint(c->rises[8], ==, 1);
    g_assert_cmphex(get(c, 0x0c), ==, 0xc0);
    g_assert_false(c->level[8]);
    step(976562);
    g_assert_cmpuint(c->rises[8], ==, 2);
    get(c, 0x0c);
    set(c, 0x0a, 0x2f); /* 2 Hz */
    step(500000000);
    g_assert_cmpuint(c->rises[8], ==, 3);
    get(c, 0x0c);
    set(c, 0x0b, 0x02);
    step(5 * S);
    g_assert_cmpuint(c->rises[8], ==, 3);
    chips_free(c);
}

static void test_reset_keeps_ram(void)
{
    Rtc *r;
    Chips *c = board(&r);

    rtc_set_cmos(r, 0x34, 0x12);
    set(c, 0x0b, 0x72);
    set(c, 0x8f, 0x55); /* bit 7: NMI masked */
    g_assert_true(rtc_nmi_masked(r));
    rtc_class.reset((Obj *)r);
    g_assert_false(rtc_nmi_masked(r));
    g_assert_cmphex(get(c, 0x34), ==, 0x12);
    g_assert_cmphex(get(c, 0x0f), ==, 0x55);
    g_assert_cmphex(get(c, 0x0b), ==, 0x02);
    g_assert_cmphex(rtc_cmos(r, 0x0f), ==, 0x55);
    chips_free(c);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/rtc/registers", test_registers);
    g_test_add_func("/rtc/reads-time", test_reads_time);
    g_test_add_func("/rtc/sets-time", test_sets_time);
    g_test_add_func("/rtc/update-interrupt", test_update_interrupt);
    g_test_add_func("/rtc/alarm", test_alarm);
    g_test_add_func("/rtc/periodic", test_periodic);
    g_test_add_func("/rtc/reset-keeps-ram", test_reset_keeps_ram);
    return g_test_run();
}

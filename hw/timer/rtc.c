/*
 * Motorola MC146818A real-time clock with 128 bytes of CMOS RAM (data sheet ADI-1026). The time is
 * never counted: it is a host clock plus an offset, which a guest that sets the clock changes.
 * Register 0x32 is the century.
 */
#include "hw/timer/rtc.h"

#include "object/qmp.h"
#include "util/log.h"

#include <string.h>
#include <time.h>

enum {
    R_SEC = 0,
    R_SEC_ALARM = 1,
    R_MIN = 2,
    R_MIN_ALARM = 3,
    R_HOUR = 4,
    R_HOUR_ALARM = 5,
    R_WDAY = 6,
    R_MDAY = 7,
    R_MONTH = 8,
    R_YEAR = 9,
    R_A = 10,
    R_B = 11,
    R_C = 12,
    R_D = 13,
    R_CENTURY = 0x32,
    R_COUNT = 128,
    A_UIP = 0x80,
    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_BINARY = 0x04,
    B_24H = 0x02,
    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,
    D_VRT = 0x80,
};
#define SEC_NS       G_GINT64_CONSTANT(1000000000)
#define UIP_NS       244000 /* data sheet, figure 15: 244 us of warning before an update */
#define NEVER        INT64_MAX
#define DONT_CARE(v) (((v)&0xc0) == 0xc0)

struct Rtc {
    Dev dev;
    Region io;
    Irq *irq8;
    RtcConfig cfg;
    int64_t offset; /* guest time minus clock, ns */
    int64_t frozen; /* SET or a stopped divider: guest ns since 1970 */
    bool stopped;
    uint8_t index;
    bool nmi_masked;
    uint8_t reg[R_COUNT];
    int64_t seen_s; /* guest second up to which UF and AF are accounted */
    Timer periodic, second;
    int64_t periodic_next; /* virtual ns */
};

static int64_t rtc_guest_ns(const Rtc *r)
{
    return r->stopped ? r->frozen : clock_ns(r->cfg.clock) + r->offset;
}

static int64_t rtc_floor_s(int64_t ns)
{
    return ns / SEC_NS - (ns % SEC_NS < 0);
}

static uint8_t rtc_encode(const Rtc *r, unsigned v)
{
    return (uint8_t)(r->reg[R_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned rtc_decode(const Rtc *r, uint8_t v)
{
    return r->reg[R_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t rtc_encode_hour(const Rtc *r, unsigned h)
{
    if (r->reg[R_B] & B_24H) {
        return rtc_encode(r, h);
    }
    return rtc_encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

static unsigned rtc_decode_hour(const Rtc *r, uint8_t v)
{
    if (r->reg[R_B] & B_24H) {
        return rtc_decode(r, v);
    }
    return rtc_decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Fills the clock registers from a time. */
static void rtc_show(Rtc *r, int64_t s)
{
    time_t t = (time_t)s;
    struct tm tm = { 0 };

    gmtime_r(&t, &tm);
    r->reg[R_SEC] = rtc_encode(r, (unsigned)tm.tm_sec);
    r->reg[R_MIN] = rtc_encode(r, (unsigned)tm.tm_min);
    r->reg[R_HOUR] = rtc_encode_hour(r, (unsigned)tm.tm_hour);
    r->reg[R_WDAY] = rtc_encode(r, (unsigned)tm.tm_wday + 1);
    r->reg[R_MDAY] = rtc_encode(r, (unsigned)tm.tm_mday);
    r->reg[R_MONTH] = rtc_encode(r, (unsigned)tm.tm_mon + 1);
    r->reg[R_YEAR] = rtc_encode(r, (unsigned)(tm.tm_year + 1900) % 100);
    r->reg[R_CENTURY] = rtc_encode(r, (unsigned)(tm.tm_year + 1900) / 100 % 100);
}

/* The time the registers spell, UTC; impossible fields carry over as timegm() has it. */
static int64_t rtc_spelled(const Rtc *r)
{
    struct tm tm = {
        .tm_sec = (int)rtc_decode(r, r->reg[R_SEC]),
        .tm_min = (int)rtc_decode(r, r->reg[R_MIN]),
        .tm_hour = (int)rtc_decode_hour(r, r->reg[R_HOUR]),
        .tm_mday = (int)rtc_decode(r, r->reg[R_MDAY]),
        .tm_mon = (int)rtc_decode(r, r->reg[R_MONTH]) - 1,
        .tm_year =
            (int)(rtc_decode(r, r->reg[R_YEAR]) + rtc_decode(r, r->reg[R_CENTURY]) * 100) - 1900,
    };

    return (int64_t)timegm(&tm);
}

static void rtc_update_irq(Rtc *r)
{
    bool level = r->reg[R_B] & r->reg[R_C] & (C_PF | C_AF | C_UF);

    r->reg[R_C] = level ? r->reg[R_C] | C_IRQF : r->reg[R_C] & (uint8_t)~C_IRQF;
    if (r->irq8) {
        irq_set(r->irq8, level);
    }
}

static bool rtc_alarm_field(const Rtc *r, unsigned reg, unsigned now, bool hour)
{
    uint8_t v = r->reg[reg];

    return DONT_CARE(v) || (hour ? rtc_decode_hour(r, v) : rtc_decode(r, v)) == now;
}

static bool rtc_alarm_at(const Rtc *r, int64_t s)
{
    unsigned day = (unsigned)((s % 86400 + 86400) % 86400);

    return rtc_alarm_field(r, R_SEC_ALARM, day % 60, false) &&
           rtc_alarm_field(r, R_MIN_ALARM, day / 60 % 60, false) &&
           rtc_alarm_field(r, R_HOUR_ALARM, day / 3600, true);
}

/* First second after s at which the alarm matches, within a day; NEVER if its fields are
 * impossible. */
static int64_t rtc_next_alarm(const Rtc *r, int64_t s)
{
    if (!DONT_CARE(r->reg[R_SEC_ALARM]) && rtc_decode(r, r->reg[R_SEC_ALARM]) > 59) {
        return NEVER;
    }
    for (int64_t at = s + 1; at <= s + 86400;) {
        unsigned day = (unsigned)((at % 86400 + 86400) % 86400);

        if (!rtc_alarm_field(r, R_HOUR_ALARM, day / 3600, true)) {
            at += 3600 - day % 3600;
        } else if (!rtc_alarm_field(r, R_MIN_ALARM, day / 60 % 60, false)) {
            at += 60 - day % 60;
        } else if (!rtc_alarm_at(r, at)) {
            at++;
        } else {
            return at;
        }
    }
    return NEVER;
}

/* Sets UF and AF for the seconds that began since the last look. */
static void rtc_catch_up(Rtc *r)
{
    int64_t now_s = rtc_floor_s(rtc_guest_ns(r));

    if (r->stopped || now_s <= r->seen_s) {
        r->seen_s = MIN(r->seen_s, now_s); /* the host's clock may go back */
        return;
    }
    r->reg[R_C] |= C_UF;
    if (rtc_next_alarm(r, r->seen_s) <= now_s) {
        r->reg[R_C] |= C_AF;
    }
    r->seen_s = now_s;
}

/* Sleeps until the next second that interrupts. */
static void rtc_arm_second(Rtc *r)
{
    int64_t at = NEVER;

    if (!r->stopped) {
        if ((r->reg[R_B] & B_UIE) && !(r->reg[R_C] & C_UF)) {
            at = r->seen_s + 1;
        } else if ((r->reg[R_B] & B_AIE) && !(r->reg[R_C] & C_AF)) {
            at = rtc_next_alarm(r, r->seen_s);
        }
    }
    if (at == NEVER) {
        timer_del(&r->second);
    } else {
        timer_mod(&r->second, at * SEC_NS - r->offset);
    }
}

static void rtc_second(void *opaque)
{
    Rtc *r = opaque;

    rtc_catch_up(r);
    rtc_arm_second(r);
    rtc_update_irq(r);
}

/* Data sheet, table 5: rate selection with the 32.768 kHz time base; 0: off. */
static int64_t rtc_period_ns(const Rtc *r)
{
    unsigned rs = r->reg[R_A] & 15;

    if (rs == 0 || (r->reg[R_A] >> 4 & 7) > 2) {
        return 0;
    }
    if (rs < 3) {
        rs += 7; /* 256 and 128 Hz */
    }
    return (SEC_NS << (rs - 1)) / 32768;
}

static void rtc_arm_periodic(Rtc *r)
{
    int64_t period = rtc_period_ns(r), now = clock_ns(CLOCK_KIND_VIRTUAL);

    if (!period || !(r->reg[R_B] & B_PIE)) {
        timer_del(&r->periodic);
        return;
    }
    r->periodic_next = (now / period + 1) * period;
    timer_mod(&r->periodic, r->periodic_next);
}

static void rtc_periodic(void *opaque)
{
    Rtc *r = opaque;

    r->reg[R_C] |= C_PF;
    rtc_update_irq(r);
    rtc_arm_periodic(r);
}

/* Stops or starts the clock: SET in register B, or a divider chain that is held (register A 110 or
 * 111). */
static void rtc_run(Rtc *r)
{
    bool stop = (r->reg[R_B] & B_SET) || (r->reg[R_A] >> 4 & 7) >= 6;

    if (stop && !r->stopped) {
        r->frozen = rtc_guest_ns(r);
        rtc_show(r, rtc_floor_s(r->frozen));
        r->stopped = true;
    } else if (!stop && r->stopped) {
        r->offset = r->frozen - clock_ns(r->cfg.clock);
        r->stopped = false;
        r->seen_s = rtc_floor_s(r->frozen);
    }
}

static void rtc_changed(Rtc *r)
{
    g_autofree char *path = obj_path(&r->dev.obj);
    int64_t now = r->stopped ? r->frozen : rtc_guest_ns(r);
    Json *data = json_object();

    json_set(data, "offset",
        json_int(rtc_floor_s(now - clock_ns(r->cfg.clock) - r->cfg.offset_ns + SEC_NS / 2)));
    json_set(data, "qom-path", json_str(path));
    qmp_event("RTC_CHANGE", data);
}

static void rtc_set_clock_reg(Rtc *r, unsigned reg, uint8_t val)
{
    int64_t now = rtc_guest_ns(r), s = rtc_floor_s(now), in_second = now - s * SEC_NS;

    if (!r->stopped) {
        rtc_show(r, s);
    }
    r->reg[reg] = val;
    if (reg == R_WDAY) {
        return; /* follows from the date */
    }
    s = rtc_spelled(r);
    if (r->stopped) {
        r->frozen = s * SEC_NS + (r->frozen % SEC_NS + SEC_NS) % SEC_NS;
    } else {
        r->offset += s * SEC_NS + in_second - now;
        r->seen_s = s;
    }
    rtc_changed(r);
}

static void rtc_data_write(Rtc *r, uint8_t val)
{
    unsigned reg = r->index;

    rtc_catch_up(r);
    switch (reg) {
    case R_SEC:
    case R_MIN:
    case R_HOUR:
    case R_WDAY:
    case R_MDAY:
    case R_MONTH:
    case R_YEAR:
    case R_CENTURY:
        rtc_set_clock_reg(r, reg, val);
        break;
    case R_A:
        r->reg[R_A] = val & 0x7f;
        rtc_run(r);
        rtc_arm_periodic(r);
        break;
    case R_B:
        if (val & B_SET) {
            val &= (uint8_t)~B_UIE; /* data sheet: SET clears UIE */
        }
        r->reg[R_B] = val;
        rtc_run(r);
        rtc_arm_periodic(r);
        rtc_update_irq(r);
        break;
    case R_C:
    case R_D:
        return; /* read-only */
    default:
        r->reg[reg] = val;
        break;
    }
    rtc_arm_second(r);
}

static bool rtc_updating(const Rtc *r)
{
    int64_t now = rtc_guest_ns(r);

    return !r->stopped && now - rtc_floor_s(now) * SEC_NS >= SEC_NS - UIP_NS;
}

static uint8_t rtc_data_read(Rtc *r)
{
    uint8_t val;

    switch (r->index) {
    case R_SEC:
    case R_MIN:
    case R_HOUR:
    case R_WDAY:
    case R_MDAY:
    case R_MONTH:
    case R_YEAR:
    case R_CENTURY:
        if (!r->stopped) {
            rtc_show(r, rtc_floor_s(rtc_guest_ns(r)));
        }
        return r->reg[r->index];
    case R_A:
        return r->reg[R_A] | (rtc_updating(r) ? A_UIP : 0);
    case R_C:
        rtc_catch_up(r);
        rtc_update_irq(r);
        val = r->reg[R_C];
        r->reg[R_C] = 0;
        rtc_update_irq(r);
        rtc_arm_second(r);
        return val;
    default:
        return r->reg[r->index];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned size)
{
    return off & 1 ? rtc_data_read(opaque) : 0xff; /* the index port is write-only */
}

static void rtc_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Rtc *r = opaque;

    if (off & 1) {
        rtc_data_write(r, (uint8_t)val);
    } else {
        r->index = val & 0x7f;
        r->nmi_masked = val & 0x80;
    }
}

static const RegionOps rtc_ops = {
    .read = rtc_read, .write = rtc_write, .min_access = 1, .max_access = 1
};

static bool rtc_is_clock_reg(unsigned reg)
{
    return reg <= R_D || reg == R_CENTURY;
}

void rtc_set_cmos(Rtc *r, unsigned reg, uint8_t val)
{
    g_assert(reg < R_COUNT && !rtc_is_clock_reg(reg));
    r->reg[reg] = val;
}

uint8_t rtc_cmos(const Rtc *r, unsigned reg)
{
    g_assert(reg < R_COUNT);
    return r->reg[reg];
}

bool rtc_nmi_masked(const Rtc *r)
{
    return r->nmi_masked;
}

/* RESET: interrupts off; time, alarm and RAM are kept by the battery. */
static void rtc_reset(Obj *o)
{
    Rtc *r = (Rtc *)o;

    r->reg[R_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | 0x08);
    r->reg[R_C] = 0;
    r->index = 0;
    r->nmi_masked = false;
    rtc_run(r);
    rtc_arm_periodic(r);
    rtc_arm_second(r);
    rtc_update_irq(r);
}

static void rtc_init(Obj *o)
{
    Rtc *r = (Rtc *)o;

    r->reg[R_A] = 0x26; /* 32.768 kHz, 1024 Hz */
    r->reg[R_B] = B_24H;
    r->reg[R_D] = D_VRT;
    region_init_io(&r->io, o, "rtc", &rtc_ops, r, 2);
}

static void rtc_unrealize(Obj *o)
{
    Rtc *r = (Rtc *)o;

    timer_del(&r->periodic);
    timer_del(&r->second);
    region_unmap(&r->io);
}

static void rtc_fini(Obj *o)
{
    region_fini(&((Rtc *)o)->io);
}

Rtc *rtc_new(Obj *tree, Region *io, const RtcConfig *cfg, Irq *irq8)
{
    Rtc *r = (Rtc *)obj_new(&rtc_class);

    r->cfg = *cfg;
    r->offset = cfg->offset_ns;
    r->irq8 = irq8;
    r->seen_s = rtc_floor_s(rtc_guest_ns(r));
    timer_init(&r->periodic, loop_main(), CLOCK_KIND_VIRTUAL, rtc_periodic, r);
    timer_init(&r->second, loop_main(), cfg->clock, rtc_second, r);
    region_map(io, 0x70, &r->io, 0);
    obj_add(tree, "rtc", &r->dev.obj);
    obj_realize(&r->dev.obj, NULL);
    obj_unref(&r->dev.obj);
    return r;
}

const ObjClass rtc_class = {
    .name = "mc146818rtc",
    .parent = "isa-device",
    .size = sizeof(Rtc),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = rtc_init,
    .unrealize = rtc_unrealize,
    .fini = rtc_fini,
    .reset = rtc_reset,
};

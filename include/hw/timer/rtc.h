/* MC146818 real-time clock with 128 bytes of CMOS RAM (ports 0x70, 0x71). VM lock held. */
#pragma once

#include "hw/core/dev.h"
#include "util/timer.h"

typedef struct Rtc Rtc;
extern const ObjClass rtc_class; /* "mc146818rtc" */

typedef struct RtcConfig {
    ClockKind clock;   /* CLOCK_KIND_HOST, or CLOCK_KIND_VIRTUAL for -rtc clock=vm */
    int64_t offset_ns; /* guest's wall clock minus that clock's reading */
} RtcConfig;

/* irq8: may be NULL. Century is register 0x32. */
Rtc *rtc_new(Obj *tree, Region *io, const RtcConfig *cfg, Irq *irq8);
/* Boards place memory sizes, boot order and the like. Not for the clock registers (0..0x0d, 0x32).
 */
void rtc_set_cmos(Rtc *r, unsigned reg, uint8_t val);
uint8_t rtc_cmos(const Rtc *r, unsigned reg);
bool rtc_nmi_masked(const Rtc *r); /* port 0x70 bit 7 */

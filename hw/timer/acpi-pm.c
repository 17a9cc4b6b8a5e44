/*
 * ACPI fixed hardware (ACPI 6.5, 4.8.3 and 4.8.4). The PM timer is read from the clock; its status
 * bit is derived from the time of the next overflow, so that it is right even where no timer is
 * armed.
 */
#include "hw/timer/acpi-pm.h"

#include "object/qmp.h"
#include "util/log.h"

#include <string.h>

enum {
    PM1_STS_EVENTS = ACPI_PM1_TMR | ACPI_PM1_GBL | ACPI_PM1_PWRBTN | ACPI_PM1_RTC,
    PM1_CNT_SCI_EN = 1 << 0,
    PM1_CNT_SLP_EN = 1 << 13,
    TMR_HALF = 1 << 23, /* the 24-bit counter's top bit changes that often */
};

static uint64_t pm_ticks(int64_t ns)
{
    return (uint64_t)((unsigned __int128)(uint64_t)MAX(ns, 0) * ACPI_PM_TMR_HZ / 1000000000u);
}

uint32_t acpi_pm_timer(const AcpiPm *p)
{
    return (uint32_t)pm_ticks(clock_ns(CLOCK_KIND_VIRTUAL)) & 0xffffff;
}

static void pm_next_overflow(AcpiPm *p)
{
    uint64_t at = (pm_ticks(clock_ns(CLOCK_KIND_VIRTUAL)) / TMR_HALF + 1) * TMR_HALF;

    p->overflow_ns =
        (int64_t)(((unsigned __int128)at * 1000000000u + ACPI_PM_TMR_HZ - 1) / ACPI_PM_TMR_HZ);
}

static uint16_t pm_status(const AcpiPm *p)
{
    bool tmr = clock_ns(CLOCK_KIND_VIRTUAL) >= p->overflow_ns;

    return p->pm1_sts | (tmr ? ACPI_PM1_TMR : 0);
}

/* SCI is a shared level: any enabled event holds it. */
static void pm_update(AcpiPm *p)
{
    bool level = pm_status(p) & p->pm1_en & PM1_STS_EVENTS;

    for (unsigned i = 0; i < p->gpe_len / 2u; i++) {
        level |= (p->gpe_sts[i] & p->gpe_en[i]) != 0;
    }
    if (p->sci) {
        irq_set(p->sci, level);
    }
    if ((p->pm1_en & ACPI_PM1_TMR) && !(pm_status(p) & ACPI_PM1_TMR)) {
        timer_mod(&p->timer, p->overflow_ns);
    } else {
        timer_del(&p->timer);
    }
}

static void pm_timer_fired(void *opaque)
{
    pm_update(opaque);
}

static uint64_t pm_evt_read(void *opaque, uint64_t off, unsigned size)
{
    const AcpiPm *p = opaque;
    uint32_t v = pm_status(p) | (uint32_t)p->pm1_en << 16;

    return v >> (off * 8);
}

/* A byte write leaves the other byte of its register alone. */
static uint16_t pm_merge(uint16_t old, uint64_t off, unsigned size, uint64_t val)
{
    unsigned shift = (off & 1) * 8;
    uint16_t mask = size == 1 ? (uint16_t)(0xffu << shift) : 0xffff;

    return (uint16_t)((old & ~mask) | ((val << shift) & mask));
}

static void pm_evt_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    AcpiPm *p = opaque;

    if (off < 2) { /* one clears */
        uint16_t clear = pm_merge(0, off, size, val);

        p->pm1_sts = pm_status(p) & (uint16_t)~clear;
        if (clear & ACPI_PM1_TMR) {
            pm_next_overflow(p);
        } else {
            p->pm1_sts &= (uint16_t)~ACPI_PM1_TMR; /* stays derived */
        }
    } else {
        p->pm1_en = pm_merge(p->pm1_en, off, size, val);
    }
    pm_update(p);
}

static void pm_sleep(AcpiPm *p, unsigned typ)
{
    if (typ == p->s5_typ || typ == p->s4_typ) {
        if (typ == p->s4_typ && typ != p->s5_typ) {
            qmp_event("SUSPEND_DISK", NULL);
        }
        if (p->run) {
            run_request_shutdown(p->run, SHUTDOWN_GUEST_SHUTDOWN);
        }
    } else if (typ == p->s3_typ && p->suspend) {
        p->suspend(p->suspend_opaque);
    } else {
        log_guest_error("acpi: sleep type %u is not offered", typ);
    }
}

static uint64_t pm_cnt_read(void *opaque, uint64_t off, unsigned size)
{
    return ((AcpiPm *)opaque)->pm1_cnt >> (off * 8);
}

static void pm_cnt_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    AcpiPm *p = opaque;
    uint16_t v = pm_merge(p->pm1_cnt, off, size, val);

    p->pm1_cnt = v & (uint16_t)~PM1_CNT_SLP_EN;
    if (v & PM1_CNT_SLP_EN) {
        pm_sleep(p, v >> 10 & 7);
    }
}

static uint64_t pm_tmr_read(void *opaque, uint64_t off, unsigned size)
{
    return acpi_pm_timer(opaque) >> (off * 8);
}

static void pm_tmr_write(void *opaque, uint64_t off, unsigned size, uint64_t val) {}

static uint64_t pm_gpe_read(void *opaque, uint64_t off, unsigned size)
{
    const AcpiPm *p = opaque;
    unsigned half = p->gpe_len / 2u;

    return off < half ? p->gpe_sts[off] : p->gpe_en[off - half];
}

static void pm_gpe_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    AcpiPm *p = opaque;
    unsigned half = p->gpe_len / 2u;

    if (off < half) {
        p->gpe_sts[off] &= (uint8_t)~val;
    } else {
        p->gpe_en[off - half] = (uint8_t)val;
    }
    pm_update(p);
}

static const RegionOps evt_ops = {
    .read = pm_evt_read, .write = pm_evt_write, .min_access = 1, .max_access = 2
};
static const RegionOps cnt_ops = {
    .read = pm_cnt_read, .write = pm_cnt_write, .min_access = 1, .max_access = 2
};
static const RegionOps tmr_ops = {
    .read = pm_tmr_read, .write = pm_tmr_write, .min_access = 1, .max_access = 4, .lockless = true
};
static const RegionOps gpe_ops = {
    .read = pm_gpe_read, .write = pm_gpe_write, .min_access = 1, .max_access = 1
};

void acpi_pm_set_enable(AcpiPm *p, bool sci_en)
{
    p->pm1_cnt = (uint16_t)(sci_en ? p->pm1_cnt | PM1_CNT_SCI_EN : p->pm1_cnt & ~PM1_CNT_SCI_EN);
}

static void pm_powerdown(void *opaque)
{
    acpi_pm_power_button(opaque);
}

void acpi_pm_power_button(AcpiPm *p)
{
    p->pm1_sts |= ACPI_PM1_PWRBTN;
    pm_update(p);
}

void acpi_pm_wakeup(AcpiPm *p)
{
    p->pm1_sts |= ACPI_PM1_WAK;
    pm_update(p);
}

void acpi_gpe_raise(AcpiPm *p, unsigned bit)
{
    g_assert(bit < p->gpe_len * 4u);
    p->gpe_sts[bit / 8] |= (uint8_t)(1u << (bit & 7));
    pm_update(p);
}

void acpi_pm_reset(AcpiPm *p)
{
    p->pm1_sts = p->pm1_en = p->pm1_cnt = 0;
    memset(p->gpe_sts, 0, sizeof(p->gpe_sts));
    memset(p->gpe_en, 0, sizeof(p->gpe_en));
    pm_next_overflow(p);
    pm_update(p);
}

void acpi_pm_init(AcpiPm *p, Obj *owner, RunState *run, Irq *sci, uint8_t gpe_len)
{
    g_assert(gpe_len <= ACPI_GPE_MAX && gpe_len % 2 == 0);
    *p = (AcpiPm){
        .sci = sci, .run = run, .gpe_len = gpe_len, .s3_typ = 1, .s4_typ = 2, .s5_typ = 0
    };
    region_init_container(&p->io, owner, "acpi-pm", ACPI_PM_IO_SIZE);
    region_init_io(&p->evt, owner, "acpi-evt", &evt_ops, p, 4);
    region_init_io(&p->cnt, owner, "acpi-cnt", &cnt_ops, p, 2);
    region_init_io(&p->tmr, owner, "acpi-tmr", &tmr_ops, p, 4);
    region_init_io(&p->gpe, owner, "acpi-gpe0", &gpe_ops, p, gpe_len);
    region_map(&p->io, 0, &p->evt, 0);
    region_map(&p->io, 4, &p->cnt, 0);
    region_map(&p->io, 8, &p->tmr, 0);
    timer_init(&p->timer, loop_main(), CLOCK_KIND_VIRTUAL, pm_timer_fired, p);
    if (run) {
        run_on_powerdown(run, pm_powerdown, p);
    }
    acpi_pm_reset(p);
}

void acpi_pm_fini(AcpiPm *p)
{
    timer_del(&p->timer);
    region_unmap(&p->evt);
    region_unmap(&p->cnt);
    region_unmap(&p->tmr);
    region_fini(&p->evt);
    region_fini(&p->cnt);
    region_fini(&p->tmr);
    region_fini(&p->gpe);
    region_fini(&p->io);
}

/*
 * ACPI fixed hardware (ACPI 6.5, 4.8): PM1 event and control blocks, the 3.579545 MHz timer, a GPE
 * block, power button and sleep states. South bridges embed it and map its regions where their
 * configuration registers say. VM lock held.
 */
#pragma once

#include "hw/core/dev.h"
#include "system/runstate.h"
#include "util/timer.h"

enum {
    ACPI_PM_TMR_HZ = 3579545,
    ACPI_PM1_TMR = 1 << 0,
    ACPI_PM1_GBL = 1 << 5,
    ACPI_PM1_PWRBTN = 1 << 8,
    ACPI_PM1_RTC = 1 << 10,
    ACPI_PM1_WAK = 1 << 15,
    ACPI_GPE_PCI_HOTPLUG = 1,
    ACPI_GPE_CPU_HOTPLUG = 2,
    ACPI_GPE_MEM_HOTPLUG = 3, /* bit numbers of GPE0 */
    ACPI_PM_IO_SIZE = 64,
    ACPI_GPE_MAX = 16,
};

typedef struct AcpiPm {
    Region io; /* container of ACPI_PM_IO_SIZE bytes: +0 event, +4 control, +8 timer; boards may add
                  to it */
    Region evt, cnt, tmr;
    Region gpe; /* gpe_len bytes: status half, enable half; boards map it */
    Irq *sci;
    RunState *run; /* NULL: sleep requests are only logged */
    /* Suspend to RAM; NULL: S3 is not offered and a guest's request is logged and ignored. */
    void (*suspend)(void *opaque);
    void *suspend_opaque;
    uint8_t s3_typ, s4_typ, s5_typ; /* SLP_TYP values of \_S3, \_S4, \_S5: 1, 2, 0 */
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    int64_t overflow_ns; /* virtual ns at which the timer's bit 23 changes next; TMR_STS is set from
                            then on */
    uint8_t gpe_len;
    uint8_t gpe_sts[ACPI_GPE_MAX / 2], gpe_en[ACPI_GPE_MAX / 2];
    Timer timer; /* at overflow_ns, armed only while TMR_EN is set */
} AcpiPm;

/* gpe_len: 4 (PIIX4) or 16 (ICH9). Listens for system_powerdown when run is given. */
void acpi_pm_init(AcpiPm *p, Obj *owner, RunState *run, Irq *sci, uint8_t gpe_len);
void acpi_pm_fini(AcpiPm *p); /* regions unmapped */
void acpi_pm_reset(AcpiPm *p);
void acpi_pm_set_enable(
    AcpiPm *p, bool sci_en); /* APM port 0xb2: ACPI_ENABLE and ACPI_DISABLE commands */
void acpi_pm_power_button(AcpiPm *p);
void acpi_pm_wakeup(AcpiPm *p); /* sets WAK_STS when a sleep ends */
void acpi_gpe_raise(AcpiPm *p, unsigned bit);
uint32_t acpi_pm_timer(const AcpiPm *p); /* 24-bit count now */

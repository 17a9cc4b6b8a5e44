/* ACPI tables of the microvm board (ACPI 6.5, 5.2): nothing moves them, so they hold addresses at
 * once. Covered by tests/guest. */
#include "hw/i386/microvm.h"

#include <string.h>

enum { HEADER = 36, FADT_SIZE = 244, SPACE_IO = 1 };

static void put(GByteArray *t, uint64_t v, unsigned n)
{
    uint8_t b[8];

    for (unsigned i = 0; i < n; i++) {
        b[i] = (uint8_t)(v >> (8 * i));
    }
    g_byte_array_append(t, b, n);
}

static void poke(GByteArray *t, unsigned at, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        t->data[at + i] = (uint8_t)(v >> (8 * i));
    }
}

static void set_sum(GByteArray *t, unsigned at, unsigned from, unsigned len)
{
    uint8_t sum = 0;

    t->data[at] = 0;
    for (unsigned i = 0; i < len; i++) {
        sum = (uint8_t)(sum + t->data[from + i]);
    }
    t->data[at] = (uint8_t)-sum;
}

static void align(GByteArray *t)
{
    while (t->len % 64) {
        put(t, 0, 1);
    }
}

/* ACPI 6.5, 5.2.6. Returns where the table begins. */
static unsigned begin(GByteArray *t, const char *signature, uint8_t revision)
{
    align(t);
    unsigned at = t->len;

    g_byte_array_append(t, (const uint8_t *)signature, 4);
    put(t, 0, 4);
    put(t, revision, 1);
    put(t, 0, 1);
    g_byte_array_append(t, (const uint8_t *)"BOCHS BXPC    ", 14);
    put(t, 1, 4);
    g_byte_array_append(t, (const uint8_t *)"BXPC", 4);
    put(t, 1, 4);
    return at;
}

static void end(GByteArray *t, unsigned at)
{
    poke(t, at + 4, t->len - at, 4);
    set_sum(t, at + 9, at, t->len - at);
}

static void device_com(const PcMachine *pc, Aml *a, unsigned n)
{
    static const uint16_t ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    AmlRes r;

    if (!(pc_com_ports(pc) >> n & 1)) {
        return;
    }
    aml_asm(a, "device COM%u { name _HID @PNP0501 name _UID %u name _CRS", n + 1, n + 1);
    aml_res_begin(&r);
    aml_res_io(&r, ports[n], 1, 8);
    aml_res_irq(&r, n & 1 ? 3 : 4);
    aml_res_end(&r, a);
    aml_asm(a, "}");
}

/* PCI Firmware 3.3, 4.1; the interrupt wires turn with the slot number. */
static void host_bridge(const Microvm *v, Aml *a)
{
    uint64_t high = (UINT64_C(1) << 32) + v->pc.above_4g;
    AmlRes r;

    high = (high + (UINT64_C(1) << 30) - 1) & ~((UINT64_C(1) << 30) - 1);
    aml_asm(a, "device PCI0 { name _HID @PNP0A08 name _CID @PNP0A03 name _UID 0 name _CRS");
    aml_res_begin(&r);
    aml_res_bus(&r, 0, 255);
    aml_res_io(&r, 0xcf8, 1, 8);
    aml_res_word_io(&r, 0xd00, 0xffff);
    aml_res_dword_mem(&r, false, MICROVM_PCI_BASE, MICROVM_ECAM_BASE - 1);
    aml_res_qword_mem(&r, false, high, high + (UINT64_C(32) << 30) - 1);
    aml_res_end(&r, a);
    aml_asm(a, "name _PRT package 128 {");
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_asm(a, "package 4 { 0x%x %u 0 %u }", slot << 16 | 0xffff, pin,
                MICROVM_INTX_BASE + ((slot + pin) & 3));
        }
    }
    aml_asm(a, "} } device DRAC { name _HID 'PNP0C02' name _CRS");
    aml_res_begin(&r);
    aml_res_mem32(&r, false, MICROVM_ECAM_BASE, MICROVM_ECAM_SIZE);
    aml_res_end(&r, a);
    aml_asm(a, "}");
}

static unsigned dsdt(const Microvm *v, GByteArray *t)
{
    unsigned at = begin(t, "DSDT", 2);
    Aml a;

    aml_init(&a);
    aml_asm(&a, "scope _SB {");
    host_bridge(v, &a);
    for (unsigned n = 0; n < 4; n++) {
        device_com(&v->pc, &a, n);
    }
    if (v->pc.rtc) {
        AmlRes r;

        aml_asm(&a, "device RTC { name _HID @PNP0B00 name _CRS");
        aml_res_begin(&r);
        aml_res_io(&r, 0x70, 1, 8);
        aml_res_irq(&r, 8);
        aml_res_end(&r, &a);
        aml_asm(&a, "}");
    }
    aml_asm(&a, "} scope \\ { name _S5_ package 4 { 0 0 0 0 } }");
    g_byte_array_append(t, a.code->data, a.code->len);
    aml_fini(&a);
    end(t, at);
    return at;
}

/* ACPI 6.5, 5.2.10: fixed hardware without a global lock's owner. */
static unsigned facs(GByteArray *t)
{
    align(t);
    unsigned at = t->len;

    g_byte_array_append(t, (const uint8_t *)"FACS", 4);
    put(t, 64, 4);
    for (unsigned i = 0; i < 56; i++) {
        put(t, 0, 1);
    }
    return at;
}

/* ACPI 6.5, 5.2.9, table 5.9. */
static unsigned fadt(const Microvm *v, GByteArray *t, unsigned facs_at, unsigned dsdt_at)
{
    enum { WBINVD = 1 << 0, PROC_C1 = 1 << 2, SLP_BUTTON = 1 << 5, RESET_REG = 1 << 10 };
    enum { LEGACY_DEVICES = 1 << 0, NO_VGA = 1 << 2, NO_RTC = 1 << 5 };
    unsigned at = begin(t, "FACP", 3);

    while (t->len < at + FADT_SIZE) {
        put(t, 0, 1);
    }
    poke(t, at + 36, MICROVM_TABLES + facs_at, 4);
    poke(t, at + 40, MICROVM_TABLES + dsdt_at, 4);
    poke(t, at + 46, MICROVM_SCI, 2);
    poke(t, at + 56, MICROVM_PM_BASE, 4);
    poke(t, at + 64, MICROVM_PM_BASE + 4, 4);
    poke(t, at + 76, MICROVM_PM_BASE + 8, 4);
    poke(t, at + 88, 4, 1); /* PM1 event, control and timer blocks */
    poke(t, at + 89, 2, 1);
    poke(t, at + 91, 4, 1);
    poke(t, at + 96, 0xfff, 2); /* no C2, no C3 */
    poke(t, at + 98, 0xfff, 2);
    poke(t, at + 109, LEGACY_DEVICES | NO_VGA | (v->pc.rtc ? 0 : NO_RTC), 2);
    poke(t, at + 112, WBINVD | PROC_C1 | SLP_BUTTON | RESET_REG, 4);
    poke(t, at + 116, SPACE_IO | 8 << 8 | 1 << 24, 4);
    poke(t, at + 120, 0xcf9, 8);
    poke(t, at + 128, 0x0f, 1);
    end(t, at);
    return at;
}

/* ACPI 6.5, 5.2.12. */
static unsigned madt(const Microvm *v, GByteArray *t)
{
    const PcMachine *pc = &v->pc;
    unsigned at = begin(t, "APIC", 3);

    put(t, 0xfee00000, 4);
    put(t, 1, 4); /* with 8259s */
    for (unsigned i = 0; i < pc->m.smp.cpus; i++) {
        if (pc->apic_ids[i] < 255) {
            put(t, 0 | 8 << 8 | (i & 0xff) << 16, 3);
            put(t, pc->apic_ids[i], 1);
            put(t, 1, 4);
        } else {
            put(t, 9 | 16 << 8, 4);
            put(t, pc->apic_ids[i], 4);
            put(t, 1, 4);
            put(t, i, 4);
        }
    }
    put(t, 1 | 12 << 8, 4);
    put(t, 0xfec00000, 4);
    put(t, 0, 4);
    put(t, 2 | 10 << 8, 4); /* the timer is on pin 2 */
    put(t, 2, 4);
    put(t, 0, 2);
    put(t, 2 | 10 << 8 | MICROVM_SCI << 24, 4); /* level, active high */
    put(t, MICROVM_SCI, 4);
    put(t, 0x0d, 2);
    end(t, at);
    return at;
}

static unsigned mcfg(GByteArray *t)
{
    unsigned at = begin(t, "MCFG", 1);

    put(t, 0, 8);
    put(t, MICROVM_ECAM_BASE, 8);
    put(t, 0, 3);
    put(t, (MICROVM_ECAM_SIZE >> 20) - 1, 1);
    put(t, 0, 4);
    end(t, at);
    return at;
}

GByteArray *microvm_acpi(const Microvm *v)
{
    GByteArray *t = g_byte_array_new();
    unsigned table[3];

    for (unsigned i = 0; i < 36; i++) { /* the RSDP's place */
        put(t, 0, 1);
    }
    unsigned facs_at = facs(t), dsdt_at = dsdt(v, t);

    table[0] = fadt(v, t, facs_at, dsdt_at);
    table[1] = madt(v, t);
    table[2] = mcfg(t);
    unsigned xsdt = begin(t, "XSDT", 1);

    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        put(t, MICROVM_TABLES + table[i], 8);
    }
    end(t, xsdt);
    memcpy(t->data, "RSD PTR \0BOCHS \2", 16); /* ACPI 6.5, 5.2.5.3 */
    poke(t, 20, 36, 4);
    poke(t, 24, MICROVM_TABLES + xsdt, 8);
    set_sum(t, 8, 0, 20);
    set_sum(t, 32, 0, 36);
    g_assert(t->len <= MICROVM_TABLES_END - MICROVM_TABLES);
    return t;
}

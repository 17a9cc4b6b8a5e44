/* The DSDT's devices outside the PCI slots (ACPI 6.5, chapters 5 to 8; the same devices QEMU's
 * boards describe). */
#include "hw/i386/acpi.h"

#include <stdio.h>

/* PCI Firmware 3.3, 4.5.1: everything is granted but native hot plug where ACPI's methods do it. */
static void dsdt_osc(const AcpiBoard *b, Aml *a)
{
    static const uint8_t pci_host_uuid[16] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96,
        0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };

    aml_asm(a, "method _OSC 4 { createdword arg3 0 CDW1 if equal arg0");
    aml_buffer(a, pci_host_uuid, sizeof(pci_host_uuid));
    aml_asm(a,
        "{ createdword arg3 4 CDW2 createdword arg3 8 CDW3 store CDW3 local0 and local0 0x%x local0"
        " if notequal arg1 1 { or CDW1 8 CDW1 }"
        " if notequal CDW3 local0 { or CDW1 0x10 CDW1 }"
        " store local0 CDW3 } else { or CDW1 4 CDW1 }"
        " return arg3 }",
        b->pcihp ? 0x1e : 0x1f);
}

static void dsdt_host_bridge(const AcpiBoard *b, Aml *a)
{
    AmlRes r;

    aml_asm(a, "scope _SB { device PCI0 {");
    if (b->q35) {
        aml_asm(a, "name _HID @PNP0A08 name _CID @PNP0A03 name _UID 0");
        dsdt_osc(b, a);
    } else {
        aml_asm(a, "name _HID @PNP0A03 name _UID 0");
    }
    aml_asm(a, "}");
    if (b->q35 && b->mcfg_base) { /* PCI Firmware 3.3, 4.1.2: the window is reserved by a
                                     motherboard device */
        aml_asm(a, "device DRAC { name _HID 'PNP0C01' name _CRS");
        aml_res_begin(&r);
        aml_res_dword_mem(
            &r, false, (uint32_t)b->mcfg_base, (uint32_t)(b->mcfg_base + b->mcfg_size - 1));
        aml_res_end(&r, a);
        aml_asm(a, "}");
    }
    aml_asm(a, "}");
}

/* Memory between the end of RAM and the I/O APIC, without the configuration window. */
static void dsdt_host_crs(const AcpiBoard *b, Aml *a)
{
    const uint32_t last = 0xfebfffff;
    AmlRes r;

    aml_asm(a, "scope \\_SB.PCI0 { name _CRS");
    aml_res_begin(&r);
    aml_res_bus(&r, 0, 255);
    aml_res_io(&r, 0xcf8, 1, 8);
    aml_res_word_io(&r, 0, 0xcf7);
    aml_res_word_io(&r, 0xd00, 0xffff);
    aml_res_dword_mem(&r, true, 0xa0000, 0xbffff);
    if (b->mcfg_base > b->hole_start) {
        aml_res_dword_mem(&r, false, (uint32_t)b->hole_start, (uint32_t)(b->mcfg_base - 1));
    }
    if (b->mcfg_base) {
        aml_res_dword_mem(&r, false, (uint32_t)(b->mcfg_base + b->mcfg_size), last);
    } else {
        aml_res_dword_mem(&r, false, (uint32_t)b->hole_start, last);
    }
    if (b->hole64_size) {
        aml_res_qword_mem(&r, true, b->hole64_start, b->hole64_start + b->hole64_size - 1);
    }
    aml_res_end(&r, a);
    aml_asm(
        a, "device GPE0 { name _HID 'PNP0A06' name _UID 'GPE0 resources' name _STA 0x0b name _CRS");
    aml_res_begin(&r);
    aml_res_io(&r, b->gpe_base, 1, b->gpe_len);
    aml_res_end(&r, a);
    aml_asm(a, "}");
    if (b->pcihp) {
        aml_asm(a, "device PHPR { name _HID 'PNP0A06' name _UID 'PCI Hotplug resources' name _STA "
                   "0x0b name _CRS");
        aml_res_begin(&r);
        aml_res_io(&r, b->pcihp_base, 1, 0x18);
        aml_res_end(&r, a);
        aml_asm(a, "}");
    }
    aml_asm(a, "}");
}

/* The guest asks the chip itself whether it is there: a plausible period below 100 ns. */
static void dsdt_hpet(Aml *a)
{
    AmlRes r;

    aml_asm(a, "scope _SB { device HPET { name _HID @PNP0103 name _UID 0"
               " opregion HPTM 0 0xfed00000 0x400 field HPTM 0x13 { VEND:32 PRD:32 }"
               " method _STA 0 { store VEND local0 store PRD local1 shr local0 16 local0"
               " if lor equal local0 0 equal local0 0xffff { return 0 }"
               " if lor equal local1 0 greater local1 100000000 { return 0 }"
               " return 0x0f } name _CRS");
    aml_res_begin(&r);
    aml_res_mem32(&r, false, 0xfed00000, 0x400);
    aml_res_end(&r, a);
    aml_asm(a, "} }");
}

/* Processors cannot be added or removed while the machine runs, so they have no status method. */
static void dsdt_cpus(const AcpiBoard *b, Aml *a)
{
    aml_asm(a, "scope _SB { device CPUS { name _HID 'ACPI0010' name _CID @PNP0A05");
    for (unsigned i = 0; i < b->ncpus; i++) {
        uint32_t id = b->apic_ids[i];

        if (id < 255) {
            const uint8_t mat[8] = { 0, 8, (uint8_t)i, (uint8_t)id, 1, 0, 0, 0 };

            aml_asm(a, "processor C%03X %u 0 0 { name _MAT", i, i & 0xff);
            aml_buffer(a, mat, sizeof(mat));
        } else {
            const uint8_t mat[16] = { 9, 16, 0, 0, (uint8_t)id, (uint8_t)(id >> 8),
                (uint8_t)(id >> 16), (uint8_t)(id >> 24), 1, 0, 0, 0, (uint8_t)i, (uint8_t)(i >> 8),
                0, 0 };

            aml_asm(a, "device C%03X { name _HID 'ACPI0007' name _UID %u name _MAT", i, i);
            aml_buffer(a, mat, sizeof(mat));
        }
        aml_asm(a, "}");
    }
    aml_asm(a, "} }");
}

/* ACPI 6.5, 7.4.2: SLP_TYP values of the sleep states. */
static void dsdt_sleep(const AcpiBoard *b, Aml *a)
{
    aml_asm(a, "scope \\ {");
    if (b->s3) {
        aml_asm(a, "name _S3_ package 4 { 1 1 0 0 }");
    }
    if (b->s4) {
        aml_asm(a, "name _S4_ package 4 { %u %u 0 0 }", b->s4_val, b->s4_val);
    }
    aml_asm(a, "name _S5_ package 4 { 0 0 0 0 } }");
}

static void dsdt_fw_cfg(Aml *a)
{
    AmlRes r;

    aml_asm(a, "scope \\_SB.PCI0 { device FWCF { name _HID 'QEMU0002' name _STA 0x0b name _CRS");
    aml_res_begin(&r);
    aml_res_io(&r, 0x510, 1, 12);
    aml_res_end(&r, a);
    aml_asm(a, "} }");
}

static void dsdt_com(Aml *a, unsigned n)
{
    static const uint16_t ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    AmlRes r;

    aml_asm(
        a, "device COM%u { name _HID @PNP0501 name _UID %u name _STA 0x0f name _CRS", n + 1, n + 1);
    aml_res_begin(&r);
    aml_res_io(&r, ports[n], 0, 8);
    aml_res_irq(&r, n & 1 ? 3 : 4);
    aml_res_end(&r, a);
    aml_asm(a, "}");
}

/* Inside the ISA bridge's device: the PIRQ registers and what sits on the ISA bus. */
static void dsdt_isa(const AcpiBoard *b, Aml *a)
{
    AmlRes r;

    if (b->q35) {
        aml_asm(a, "opregion PIRQ 2 0x60 0x0c scope \\_SB { field PCI0.SF8_.PIRQ 1 {"
                   " PRQA:8 PRQB:8 PRQC:8 PRQD:8 :32 PRQE:8 PRQF:8 PRQG:8 PRQH:8 } }");
    } else {
        aml_asm(a, "opregion P40C 2 0x60 4 scope \\_SB { field PCI0.S08_.P40C 1 { PRQ0:8 PRQ1:8 "
                   "PRQ2:8 PRQ3:8 } }");
    }
    if (b->i8042) {
        aml_asm(a, "device KBD { name _HID @PNP0303 name _STA 0x0f name _CRS");
        aml_res_begin(&r);
        aml_res_io(&r, 0x60, 1, 1);
        aml_res_io(&r, 0x64, 1, 1);
        aml_res_irq(&r, 1);
        aml_res_end(&r, a);
        aml_asm(a, "} device MOU { name _HID @PNP0F13 name _STA 0x0f name _CRS");
        aml_res_begin(&r);
        aml_res_irq(&r, 12);
        aml_res_end(&r, a);
        aml_asm(a, "}");
    }
    for (unsigned i = 0; i < 4; i++) {
        if (b->com[i]) {
            dsdt_com(a, i);
        }
    }
    aml_asm(a, "device RTC { name _HID @PNP0B00 name _CRS");
    aml_res_begin(&r);
    aml_res_io(&r, 0x70, 1, 8);
    aml_res_irq(&r, 8);
    aml_res_end(&r, a);
    aml_asm(a, "}");
    if (b->pvpanic) {
        aml_asm(a, "device PEVT { name _HID 'QEMU0001' name _CRS");
        aml_res_begin(&r);
        aml_res_io(&r, b->pvpanic_port, 1, 1);
        aml_res_end(&r, a);
        aml_asm(a,
            "opregion PEOR 1 0x%x 1 field PEOR 1 { PEPT:8 } name _STA 0x0f"
            " method RDPT 0 { store PEPT local0 return local0 } method WRPT 1 { store arg0 PEPT } "
            "}",
            b->pvpanic_port);
    }
}

void acpi_build_dsdt(const AcpiBoard *b, Aml *a)
{
    dsdt_host_bridge(b, a);
    if (b->pcihp) {
        acpi_dsdt_hotplug(b, a);
    }
    acpi_dsdt_routing(b, a);
    if (b->hpet) {
        dsdt_hpet(a);
    }
    dsdt_cpus(b, a);
    dsdt_host_crs(b, a);
    dsdt_sleep(b, a);
    dsdt_fw_cfg(a);
    acpi_dsdt_slots(b, a, dsdt_isa);
    aml_asm(a, "scope _GPE { name _HID 'ACPI0006'");
    if (b->pcihp) {
        aml_asm(a, "method _E01 0 { acquire \\_SB.PCI0.BLCK 0xffff \\_SB.PCI0.PCNT release "
                   "\\_SB.PCI0.BLCK }");
    }
    aml_asm(a, "}");
}

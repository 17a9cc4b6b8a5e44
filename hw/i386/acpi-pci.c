/* PCI in the DSDT: interrupt routing with its link devices (ACPI 6.5, 6.2.13), slots, and hot plug
 * by ACPI methods (6.3). */
#include "hw/i386/acpi.h"

#include <string.h>

/* i440FX: the pins of a slot are rotated by its number; the power management function's own
 * interrupt is fixed. */
static char pc_link(unsigned slot, unsigned pin)
{
    return slot == 1 && pin == 0 ? 'S' : "ABCD"[(slot + pin + 3) & 3];
}

/* ICH9: slots 25 to 29 and 31 are wired pin by pin to A-D, 30 to E-H, all others rotate over E-H.
 */
static char q35_link(unsigned slot, unsigned pin)
{
    if (slot >= 25 && slot != 30) {
        return "ABCD"[pin];
    }
    return "EFGH"[slot == 30 ? pin : (slot + pin) & 3];
}

static void routing_table(Aml *a, const char *device, char (*link)(unsigned slot, unsigned pin))
{
    aml_asm(a, "package 128 {");
    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            aml_asm(a, "package 4 { 0x%x %u %s%c 0 }", slot << 16 | 0xffff, pin, device,
                link(slot, pin));
        }
    }
    aml_asm(a, "}");
}

static void link_resources(Aml *a, const char *name, const uint32_t *gsi, unsigned n)
{
    AmlRes r;

    aml_asm(a, "name %s", name);
    aml_res_begin(&r);
    aml_res_interrupt(&r, gsi, n);
    aml_res_end(&r, a);
}

/* A link whose register `reg` holds the ISA interrupt, bit 7 while it is off. */
static void link_device(Aml *a, char letter, unsigned uid, const char *reg)
{
    static const uint32_t choice[] = { 5, 10, 11 };

    aml_asm(a, "device LNK%c { name _HID @PNP0C0F name _UID %u", letter, uid);
    link_resources(a, "_PRS", choice, G_N_ELEMENTS(choice));
    aml_asm(a,
        "method _STA 0 { return IQST %s } method _DIS 0 { or %s 0x80 %s } method _CRS 0 { return "
        "IQCR %s }"
        " method _SRS 1 { createdword arg0 5 PRRI store PRRI %s } }",
        reg, reg, reg, reg, reg);
}

/* A link that always is one I/O APIC pin. */
static void gsi_device(Aml *a, char letter, uint32_t gsi)
{
    aml_asm(a, "device GSI%c { name _HID @PNP0C0F name _UID %u", letter, gsi);
    link_resources(a, "_PRS", &gsi, 1);
    link_resources(a, "_CRS", &gsi, 1);
    aml_asm(a, "method _DIS 0 { } method _SRS 1 { } }");
}

static void link_helpers(Aml *a, const char *current)
{
    static const uint32_t none = 0;

    aml_asm(
        a, "method IQST 1 { if and 0x80 arg0 null { return 0x09 } return 0x0b } method IQCR 9 {");
    link_resources(a, "PRR0", &none, 1);
    aml_asm(a, "createdword PRR0 5 PRRI %s return PRR0 }", current);
}

static void routing_pc(Aml *a)
{
    static const uint32_t sci = 9;

    aml_asm(a, "scope _SB { scope PCI0 { method _PRT 0 { return");
    routing_table(a, "LNK", pc_link);
    aml_asm(a, "} }");
    link_helpers(a, "if less arg0 0x80 { store arg0 PRRI }");
    link_device(a, 'A', 0, "PRQ0");
    link_device(a, 'B', 1, "PRQ1");
    link_device(a, 'C', 2, "PRQ2");
    link_device(a, 'D', 3, "PRQ3");
    aml_asm(a, "device LNKS { name _HID @PNP0C0F name _UID 4");
    link_resources(a, "_PRS", &sci, 1);
    aml_asm(a, "method _STA 0 { return 0x0b } method _DIS 0 { } method _CRS 0 { return _PRS } "
               "method _SRS 1 { } } }");
}

static void routing_q35(Aml *a)
{
    aml_asm(a, "name PICF 0 method _PIC 1 { store arg0 PICF } scope _SB { scope PCI0 { name PRTP");
    routing_table(a, "LNK", q35_link);
    aml_asm(a, "name PRTA");
    routing_table(a, "GSI", q35_link);
    aml_asm(a, "method _PRT 0 { if equal PICF 0 { return PRTP } else { return PRTA } } }");
    link_helpers(a, "store and arg0 0x0f null PRRI");
    for (unsigned i = 0; i < 8; i++) {
        const char reg[5] = { 'P', 'R', 'Q', (char)('A' + i), '\0' };

        link_device(a, (char)('A' + i), i, reg);
    }
    for (unsigned i = 0; i < 8; i++) {
        gsi_device(a, (char)('A' + i), 16 + i);
    }
    aml_asm(a, "}");
}

void acpi_dsdt_routing(const AcpiBoard *b, Aml *a)
{
    if (b->q35) {
        routing_q35(a);
    } else {
        routing_pc(a);
    }
}

/* Hot plug: the register block of hw/timer/acpi-hotplug.h and the methods that use it. */

/* PCI Firmware 3.3, 4.6.7: function 7 of the device labelling interface gives a slot's index. */
static void hotplug_dsm(Aml *a)
{
    static const uint8_t label_uuid[16] = { 0xd0, 0x37, 0xc9, 0xe5, 0x53, 0x35, 0x7a, 0x4d, 0x91,
        0x17, 0xea, 0x4d, 0x19, 0xc3, 0x43, 0x4d };
    static const uint8_t none = 0;

    aml_asm(a, "method PDSM 13 { if equal arg2 0 { store");
    aml_buffer(a, &none, 1);
    aml_asm(a, "local0 if notequal arg0");
    aml_buffer(a, label_uuid, sizeof(label_uuid));
    aml_asm(a,
        "{ return local0 } if less arg1 2 { return local0 } store 0 local1"
        " store AIDX derefof index arg4 0 null derefof index arg4 1 null local2"
        " if lnot lor equal local2 0 equal local2 0xffffffff { or local1 0x81 local1 }"
        " store local1 index local0 0 null return local0 }"
        " if equal arg2 7 { store AIDX derefof index arg4 0 null derefof index arg4 1 null local2"
        " store package 2 { } local0"
        " if lnot lor equal local2 0 equal local2 0xffffffff"
        " { store local2 index local0 0 null store '' index local0 1 null }"
        " return local0 } return 0 }");
}

void acpi_dsdt_hotplug(const AcpiBoard *b, Aml *a)
{
    unsigned base = b->pcihp_base;

    aml_asm(a,
        "scope _SB.PCI0 { opregion PCST 1 0x%x 8 field PCST 0x43 { PCIU:32 PCID:32 }"
        " opregion SEJ_ 1 0x%x 4 field SEJ_ 0x43 { B0EJ:32 }"
        " opregion BNMR 1 0x%x 8 field BNMR 0x43 { BNUM:32 PIDX:32 } mutex BLCK 0"
        " method PCEJ 2 { acquire BLCK 0xffff store arg0 BNUM store shl 1 arg1 null B0EJ release "
        "BLCK return 0 }"
        " method AIDX 2 { acquire BLCK 0xffff store arg0 BNUM store arg1 PIDX store "
        "PIDX local0"
        " release BLCK return local0 }",
        base, base + 8, base + 16);
    hotplug_dsm(a);
    aml_asm(a, "}");
}

static PciBus *secondary_bus(const PciFn *f)
{
    return f && !f->dev.hotplugged ? f->secondary : NULL;
}

static void collect_buses(PciBus *bus, GPtrArray *out)
{
    if (bus->bus.hotplug) {
        g_ptr_array_add(out, bus);
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciBus *sec = secondary_bus(bus->fn[devfn]);

        if (sec) {
            collect_buses(sec, out);
        }
    }
}

GPtrArray *acpi_hotplug_buses(PciBus *root)
{
    GPtrArray *out = g_ptr_array_new();

    collect_buses(root, out);
    return out;
}

typedef struct Slots {
    const AcpiBoard *board;
    Aml *a;
    void (*isa)(const AcpiBoard *b, Aml *a);
    unsigned bsel; /* next number: the order of acpi_hotplug_buses() */
} Slots;

static void build_bus(Slots *s, PciBus *bus);

static bool is_hotpluggable(const PciFn *f)
{
    return !f || (!(f->dev.obj.cls->flags & (OBJ_NOT_USER | OBJ_NO_HOTPLUG)) && !f->ops->is_bridge);
}

static void build_function(Slots *s, const PciBus *bus, unsigned devfn)
{
    PciFn *f = bus->fn[devfn];
    PciBus *sec = secondary_bus(f);
    unsigned slot = devfn >> 3;
    bool isa = !bus->bridge && devfn == (s->board->q35 ? 0xf8 : 0x08);
    bool hot = s->board->pcihp && bus->bus.hotplug && !(devfn & 7) && is_hotpluggable(f);

    if (!f && !hot) {
        return;
    }
    aml_asm(s->a, "device S%02X_ { name _ADR 0x%x", devfn, slot << 16 | (devfn & 7));
    if (isa) {
        s->isa(s->board, s->a);
    }
    if (hot) {
        aml_asm(s->a,
            "name ASUN %u method _DSM 12 { store package 2 { 0 0 } local0 store BSEL index local0 "
            "0 null"
            " store ASUN index local0 1 null return PDSM arg0 arg1 arg2 arg3 local0 }"
            " name _SUN %u method _EJ0 1 { PCEJ BSEL _SUN }",
            slot, slot);
    }
    if (sec) {
        build_bus(s, sec);
    }
    aml_asm(s->a, "}");
}

/* The guest's question after GPE 1: which slots of which bus changed. */
static void build_bus(Slots *s, PciBus *bus)
{
    bool hot = s->board->pcihp && bus->bus.hotplug;
    unsigned bsel = s->bsel;
    unsigned nslots = bus->one_slot ? 1 : 32;

    if (hot) {
        s->bsel++;
        aml_asm(s->a, "name BSEL %u", bsel);
    }
    for (unsigned devfn = 0; devfn < nslots * 8; devfn++) {
        build_function(s, bus, devfn);
    }
    if (hot) {
        aml_asm(s->a, "method DVNT 2 {");
        for (unsigned slot = 0; slot < nslots; slot++) {
            if (is_hotpluggable(bus->fn[slot * 8])) {
                aml_asm(s->a, "if and arg0 0x%x null { notify S%02X_ arg1 }", 1u << slot, slot * 8);
            }
        }
        aml_asm(s->a, "}");
    }
    if (!s->board->pcihp) {
        return;
    }
    aml_asm(s->a, "method PCNT 0 {");
    if (hot) {
        aml_asm(s->a, "store %u BNUM DVNT PCIU 1 DVNT PCID 3", bsel);
    }
    for (unsigned devfn = 0; devfn < nslots * 8; devfn++) {
        if (secondary_bus(bus->fn[devfn])) {
            aml_asm(s->a, "^S%02X_.PCNT", devfn);
        }
    }
    aml_asm(s->a, "}");
}

void acpi_dsdt_slots(const AcpiBoard *b, Aml *a, void (*isa)(const AcpiBoard *b, Aml *a))
{
    Slots s = { .board = b, .a = a, .isa = isa };

    aml_asm(a, "scope \\_SB.PCI0 {");
    build_bus(&s, b->root);
    aml_asm(a, "}");
}

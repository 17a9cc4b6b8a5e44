/* The microvm board as a flattened device tree (Devicetree Specification 0.4), for dumpdtb=.
 * Covered by tests/system/test_microvm.py. */
#include "hw/i386/microvm.h"

#include <libfdt.h>

enum { DT_SIZE = 64 << 10, PHANDLE_IOAPIC = 1, IRQ_EDGE = 1, IRQ_LEVEL = 4 };

/* Errors other than "no space" cannot happen in a tree that is written in order, and DT_SIZE is
 * ample. */
static void ok(int err)
{
    g_assert(err == 0);
}

static void cells(void *fdt, const char *name, const uint32_t *v, unsigned n)
{
    g_autofree uint32_t *be = g_new(uint32_t, n);

    for (unsigned i = 0; i < n; i++) {
        be[i] = cpu_to_fdt32(v[i]);
    }
    ok(fdt_property(fdt, name, be, (int)(n * sizeof(be[0]))));
}

#define CELLS(fdt, name, ...)                                                                      \
    cells(fdt, name, (const uint32_t[]){ __VA_ARGS__ },                                            \
        sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

static void put_cpus(const PcMachine *pc, void *fdt)
{
    ok(fdt_begin_node(fdt, "cpus"));
    CELLS(fdt, "#address-cells", 1);
    CELLS(fdt, "#size-cells", 0);
    for (unsigned i = 0; i < pc->m.smp.cpus; i++) {
        g_autofree char *name = g_strdup_printf("cpu@%x", pc->apic_ids[i]);

        ok(fdt_begin_node(fdt, name));
        ok(fdt_property_string(fdt, "device_type", "cpu"));
        CELLS(fdt, "reg", pc->apic_ids[i]);
        ok(fdt_end_node(fdt));
    }
    ok(fdt_end_node(fdt));
}

static void put_memory(const PcMachine *pc, void *fdt)
{
    uint64_t high = pc->above_4g;

    ok(fdt_begin_node(fdt, "memory@0"));
    ok(fdt_property_string(fdt, "device_type", "memory"));
    if (high) {
        CELLS(fdt, "reg", 0, 0, 0, (uint32_t)pc->below_4g, 1, 0, (uint32_t)(high >> 32),
            (uint32_t)high);
    } else {
        CELLS(fdt, "reg", 0, 0, 0, (uint32_t)pc->below_4g);
    }
    ok(fdt_end_node(fdt));
}

static void put_ioapic(void *fdt)
{
    ok(fdt_begin_node(fdt, "ioapic@fec00000"));
    ok(fdt_property_string(fdt, "compatible", "intel,ce4100-ioapic"));
    ok(fdt_property(fdt, "interrupt-controller", NULL, 0));
    CELLS(fdt, "#interrupt-cells", 2);
    CELLS(fdt, "#address-cells", 0);
    CELLS(fdt, "reg", 0, 0xfec00000, 0, 0x1000);
    CELLS(fdt, "phandle", PHANDLE_IOAPIC);
    ok(fdt_end_node(fdt));
}

/* PCI Bus Binding to Open Firmware, 2.2.1.1 and "Interrupt Mapping". */
static void put_pci(void *fdt)
{
    enum { SPACE_IO = 0x01000000, SPACE_MEM = 0x02000000 };
    uint32_t map[16 * 7];
    unsigned n = 0;

    for (unsigned slot = 0; slot < 4; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            map[n++] = slot << 11;
            map[n++] = 0;
            map[n++] = 0;
            map[n++] = pin + 1;
            map[n++] = PHANDLE_IOAPIC;
            map[n++] = MICROVM_INTX_BASE + ((slot + pin) & 3);
            map[n++] = IRQ_LEVEL;
        }
    }
    ok(fdt_begin_node(fdt, "pcie@e0000000"));
    ok(fdt_property_string(fdt, "compatible", "pci-host-ecam-generic"));
    ok(fdt_property_string(fdt, "device_type", "pci"));
    CELLS(fdt, "reg", 0, MICROVM_ECAM_BASE, 0, MICROVM_ECAM_SIZE);
    CELLS(fdt, "bus-range", 0, 255);
    CELLS(fdt, "#address-cells", 3);
    CELLS(fdt, "#size-cells", 2);
    CELLS(fdt, "#interrupt-cells", 1);
    CELLS(fdt, "ranges", SPACE_IO, 0, 0xd00, 0, 0xd00, 0, 0xf300, SPACE_MEM, 0, MICROVM_PCI_BASE, 0,
        MICROVM_PCI_BASE, 0, MICROVM_ECAM_BASE - MICROVM_PCI_BASE);
    CELLS(fdt, "interrupt-map-mask", 3 << 11, 0, 0, 7);
    cells(fdt, "interrupt-map", map, G_N_ELEMENTS(map));
    ok(fdt_property(fdt, "dma-coherent", NULL, 0));
    ok(fdt_end_node(fdt));
}

static void put_serial(void *fdt)
{
    ok(fdt_begin_node(fdt, "serial@3f8"));
    ok(fdt_property_string(fdt, "compatible", "ns16550"));
    CELLS(fdt, "reg", 0, 0x3f8, 0, 8);
    CELLS(fdt, "interrupt-parent", PHANDLE_IOAPIC);
    CELLS(fdt, "interrupts", 4, IRQ_EDGE);
    ok(fdt_end_node(fdt));
}

GByteArray *microvm_dt(const Microvm *v)
{
    GByteArray *a = g_byte_array_sized_new(DT_SIZE);

    g_byte_array_set_size(a, DT_SIZE);
    ok(fdt_create(a->data, DT_SIZE));
    ok(fdt_finish_reservemap(a->data));
    ok(fdt_begin_node(a->data, ""));
    ok(fdt_property_string(a->data, "compatible", "linux,microvm"));
    ok(fdt_property_string(a->data, "model", "microvm"));
    CELLS(a->data, "#address-cells", 2);
    CELLS(a->data, "#size-cells", 2);
    ok(fdt_begin_node(a->data, "chosen"));
    ok(fdt_property_string(a->data, "bootargs", v->pc.m.append ? v->pc.m.append : ""));
    ok(fdt_end_node(a->data));
    put_cpus(&v->pc, a->data);
    put_memory(&v->pc, a->data);
    put_ioapic(a->data);
    put_pci(a->data);
    if (v->pc.com[0]) {
        put_serial(a->data);
    }
    ok(fdt_end_node(a->data));
    ok(fdt_finish(a->data));
    g_byte_array_set_size(a, fdt_totalsize(a->data));
    return a;
}

bool microvm_dt_check(const void *data, size_t len)
{
    return len <= INT32_MAX && fdt_check_full(data, len) == 0;
}

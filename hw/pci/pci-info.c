/* query-pci and "info pci": what lies on the buses, in QEMU 10.0's shapes. Covered by
 * tests/unit/test-bridge.c. */
#include "hw/pci/pci-internal.h"
#include "object/qmp.h"

static const struct {
    uint16_t cls;
    const char *desc;
} class_names[] = {
    { 0x0001, "VGA controller" },
    { 0x0100, "SCSI controller" },
    { 0x0101, "IDE controller" },
    { 0x0102, "Floppy controller" },
    { 0x0103, "IPI controller" },
    { 0x0104, "RAID controller" },
    { 0x0106, "SATA controller" },
    { 0x0107, "SAS controller" },
    { 0x0180, "Storage controller" },
    { 0x0200, "Ethernet controller" },
    { 0x0201, "Token Ring controller" },
    { 0x0280, "Network controller" },
    { 0x0300, "VGA controller" },
    { 0x0301, "XGA controller" },
    { 0x0302, "3D controller" },
    { 0x0380, "Display controller" },
    { 0x0400, "Video controller" },
    { 0x0401, "Audio controller" },
    { 0x0403, "Audio controller" },
    { 0x0500, "RAM controller" },
    { 0x0501, "Flash controller" },
    { 0x0580, "Memory controller" },
    { 0x0600, "Host bridge" },
    { 0x0601, "ISA bridge" },
    { 0x0602, "EISA bridge" },
    { 0x0604, "PCI bridge" },
    { 0x0607, "CardBus bridge" },
    { 0x0700, "Serial port" },
    { 0x0701, "Parallel port" },
    { 0x0900, "Keyboard" },
    { 0x0902, "Mouse" },
    { 0x0c03, "USB controller" },
    { 0x0c05, "SMBus" },
};

static const char *class_name(uint16_t cls)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(class_names); i++) {
        if (class_names[i].cls == cls) {
            return class_names[i].desc;
        }
    }
    return NULL;
}

typedef struct Range {
    const char *name;
    uint64_t base, limit;
} Range;

static void bridge_ranges(const PciFn *f, Range ret[3])
{
    ret[0] = (Range){ "io_range", (uint64_t)(f->config[PCI_IO_BASE] & 0xf0) << 8,
        (uint64_t)(f->config[PCI_IO_LIMIT] & 0xf0) << 8 | 0xfff };
    ret[1] = (Range){ "memory_range", (uint64_t)(pci_get16(f, PCI_MEM_BASE) & 0xfff0) << 16,
        (uint64_t)(pci_get16(f, PCI_MEM_LIMIT) & 0xfff0) << 16 | 0xfffff };
    ret[2] = (Range){ "prefetchable_range",
        (uint64_t)(pci_get16(f, PCI_PREF_BASE) & 0xfff0) << 16 |
            (uint64_t)pci_get32(f, PCI_PREF_BASE_HI) << 32,
        (uint64_t)(pci_get16(f, PCI_PREF_LIMIT) & 0xfff0) << 16 | 0xfffff |
            (uint64_t)pci_get32(f, PCI_PREF_LIMIT_HI) << 32 };
}

static void write_devices(JsonWriter *w, const PciBus *b);

static void write_bridge(JsonWriter *w, const PciFn *f)
{
    Range r[3];

    bridge_ranges(f, r);
    jw_begin_object(w, "pci_bridge");
    jw_begin_object(w, "bus");
    jw_int(w, "number", f->config[PCI_PRIMARY_BUS]);
    jw_int(w, "secondary", f->config[PCI_SECONDARY_BUS]);
    jw_int(w, "subordinate", f->config[PCI_SUBORDINATE_BUS]);
    for (unsigned i = 0; i < 3; i++) {
        jw_begin_object(w, r[i].name);
        jw_int(w, "base", (int64_t)r[i].base);
        jw_int(w, "limit", (int64_t)r[i].limit);
        jw_end_object(w);
    }
    jw_end_object(w);
    if (f->config[PCI_SECONDARY_BUS]) {
        write_devices(w, f->secondary);
    }
    jw_end_object(w);
}

static void write_regions(JsonWriter *w, const PciFn *f)
{
    jw_begin_array(w, "regions");
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        const PciBar *b = &f->bar[i];

        if (!b->region) {
            continue;
        }
        jw_begin_object(w, NULL);
        jw_int(w, "bar", i);
        jw_str(w, "type", b->kind == PCI_BAR_IO ? "io" : "memory");
        if (b->kind != PCI_BAR_IO) {
            jw_bool(w, "prefetch", b->kind == PCI_BAR_MEM32_PREF || b->kind == PCI_BAR_MEM64_PREF);
            jw_bool(w, "mem_type_64", b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREF);
        }
        jw_int(w, "address", (int64_t)b->addr); /* -1: not mapped */
        jw_int(w, "size", (int64_t)b->size);
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_fn(JsonWriter *w, const PciFn *f)
{
    uint16_t cls = pci_get16(f, PCI_CLASS_DEVICE);

    jw_begin_object(w, NULL);
    jw_int(w, "bus", pci_bus_of(f)->number);
    jw_int(w, "slot", f->devfn >> 3);
    jw_int(w, "function", f->devfn & 7);
    jw_begin_object(w, "class_info");
    jw_int(w, "class", cls);
    if (class_name(cls)) {
        jw_str(w, "desc", class_name(cls));
    }
    jw_end_object(w);
    jw_begin_object(w, "id");
    jw_int(w, "vendor", pci_get16(f, PCI_VENDOR_ID));
    jw_int(w, "device", pci_get16(f, PCI_DEVICE_ID));
    if (!f->ops->is_bridge) {
        jw_int(w, "subsystem-vendor", pci_get16(f, PCI_SUBSYS_VENDOR));
        jw_int(w, "subsystem", pci_get16(f, PCI_SUBSYS_ID));
    }
    jw_end_object(w);
    if (f->config[PCI_INT_PIN]) {
        jw_int(w, "irq", f->config[PCI_INT_LINE]);
    }
    jw_int(w, "irq_pin", f->config[PCI_INT_PIN]);
    jw_str(w, "qdev_id", f->dev.id ? f->dev.id : "");
    if (f->secondary) {
        write_bridge(w, f);
    }
    write_regions(w, f);
    jw_end_object(w);
}

static void write_devices(JsonWriter *w, const PciBus *b)
{
    jw_begin_array(w, "devices");
    for (unsigned i = 0; i < 256; i++) {
        if (b->fn[i]) {
            write_fn(w, b->fn[i]);
        }
    }
    jw_end_array(w);
}

static PciBus *root_bus(const Machine *m, unsigned i)
{
    Bus *b = m->buses->pdata[i];
    PciBus *p = b->cls == &pci_bus_class || b->cls == &pcie_bus_class ? (PciBus *)b : NULL;

    return p && !p->bridge ? p : NULL;
}

static Json *query_pci(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    JsonWriter *w = json_writer_new();

    jw_begin_array(w, NULL);
    for (unsigned i = 0; i < m->buses->len; i++) {
        const PciBus *b = root_bus(m, i);

        if (b) {
            jw_begin_object(w, NULL);
            jw_int(w, "bus", b->number);
            write_devices(w, b);
            jw_end_object(w);
        }
    }
    jw_end_array(w);
    return json_writer_free(w);
}

static void text_bar(GString *s, const PciBar *b, unsigned i)
{
    bool wide = b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREF;
    bool pref = b->kind == PCI_BAR_MEM32_PREF || b->kind == PCI_BAR_MEM64_PREF;

    g_string_append_printf(s, "      BAR%u: ", i);
    if (b->kind == PCI_BAR_IO) {
        g_string_append(s, "I/O");
    } else {
        g_string_append_printf(s, "%d bit%s memory", wide ? 64 : 32, pref ? " prefetchable" : "");
    }
    if (b->addr == PCI_NO_ADDR) {
        g_string_append(s, " (not mapped)\n");
    } else {
        int width = b->kind == PCI_BAR_IO ? 4 : 8;

        g_string_append_printf(s, " at 0x%0*" G_GINT64_MODIFIER "x [0x%0*" G_GINT64_MODIFIER "x]\n",
            width, b->addr, width, b->addr + b->size - 1);
    }
}

static void text_fn(PciFn *f, void *opaque)
{
    GString *s = opaque;
    uint16_t cls = pci_get16(f, PCI_CLASS_DEVICE);
    Range r[3];

    if (pci_bus_of(f)->bridge && !pci_bus_of(f)->number) {
        return; /* QEMU compat: nobody has numbered the bus, so nothing on it can be reached */
    }
    g_string_append_printf(s, "  Bus %2u, device %3u, function %u:\n    ", pci_bus_of(f)->number,
        f->devfn >> 3, f->devfn & 7u);
    if (class_name(cls)) {
        g_string_append(s, class_name(cls));
    } else {
        g_string_append_printf(s, "Class %04u", cls); /* QEMU compat: decimal */
    }
    g_string_append_printf(
        s, ": PCI device %04x:%04x\n", pci_get16(f, PCI_VENDOR_ID), pci_get16(f, PCI_DEVICE_ID));
    if (!f->ops->is_bridge) {
        g_string_append_printf(s, "      PCI subsystem %04x:%04x\n",
            pci_get16(f, PCI_SUBSYS_VENDOR), pci_get16(f, PCI_SUBSYS_ID));
    }
    if (f->config[PCI_INT_PIN]) {
        g_string_append_printf(
            s, "      IRQ %u, pin %c\n", f->config[PCI_INT_LINE], 'A' + f->config[PCI_INT_PIN] - 1);
    }
    if (f->secondary) {
        bridge_ranges(f, r);
        g_string_append_printf(s,
            "      BUS %u.\n      secondary bus %u.\n      subordinate bus %u.\n      IO range "
            "[0x%04x, 0x%04x]\n"
            "      memory range [0x%08x, 0x%08x]\n      prefetchable memory range "
            "[0x%08" G_GINT64_MODIFIER "x, 0x%08" G_GINT64_MODIFIER "x]\n",
            f->config[PCI_PRIMARY_BUS], f->config[PCI_SECONDARY_BUS],
            f->config[PCI_SUBORDINATE_BUS], (unsigned)r[0].base, (unsigned)r[0].limit,
            (unsigned)r[1].base, (unsigned)r[1].limit, r[2].base, r[2].limit);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        if (f->bar[i].region) {
            text_bar(s, &f->bar[i], i);
        }
    }
    g_string_append_printf(s, "      id \"%s\"\n", f->dev.id ? f->dev.id : "");
}

void pci_describe(Machine *m, GString *out)
{
    for (unsigned i = 0; i < m->buses->len; i++) {
        PciBus *b = root_bus(m, i);

        if (b) {
            pci_bus_walk(b, text_fn, out);
        }
    }
}

const QmpCmd pci_qmp_cmds[] = {
    { .name = "query-pci", .run = query_pci },
    { NULL },
};

/*
 * PCI as firmware leaves it: bus numbers, BARs and bridge windows, interrupt lines, and the
 * chipset's own registers. The layout is SeaBIOS's: I/O from 0xc000 up, memory down from
 * 0xfec00000, the larger alignment first.
 */
#include "hw/i386/boot.h"

enum { KIND_IO, KIND_MEM, KIND_PREF, KINDS };
enum { WINDOW = -1, IO_GRANULE = 0x1000, MEM_GRANULE = 0x200000 };
enum {
    CMD_IO_MEM_SERR = 0x103,
    CMD_MASTER = 4,
    IO_FIRST = 0xc000,
    IO_LOW = 0x1000,
    MEM_END = 0xfec00000
};

typedef struct Need {
    PciFn *f;
    int bar; /* WINDOW: the bridge's window of this kind */
    uint64_t size, align;
    bool wide; /* may lie above 4 GiB */
} Need;

typedef struct BusNeed {
    GArray *need[KINDS]; /* Need */
} BusNeed;

static unsigned kind_of(PciBarKind k)
{
    return k == PCI_BAR_IO                                      ? KIND_IO
           : k == PCI_BAR_MEM32_PREF || k == PCI_BAR_MEM64_PREF ? KIND_PREF
                                                                : KIND_MEM;
}

static int by_align(const void *a, const void *b)
{
    const Need *x = a, *y = b;

    return x->align != y->align ? (x->align < y->align ? 1 : -1)
           : x->size != y->size ? (x->size < y->size ? 1 : -1)
                                : 0;
}

static uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) & ~(to - 1);
}

/* Bytes the list takes when it begins aligned; *ret_align: to what. */
static uint64_t list_size(const GArray *list, uint64_t *ret_align)
{
    uint64_t sum = 0, align = 1;

    for (unsigned i = 0; i < list->len; i++) {
        const Need *n = &g_array_index(list, Need, i);

        sum = align_up(sum, n->align) + n->size;
        align = MAX(align, n->align);
    }
    *ret_align = align;
    return sum;
}

static void add_need(
    BusNeed *b, unsigned kind, PciFn *f, int bar, uint64_t size, uint64_t align, bool wide)
{
    Need n = { f, bar, size, align, wide };

    g_array_append_val(b->need[kind], n);
}

static void write_bar(PciFn *f, int i, uint64_t addr)
{
    unsigned off = i == 6 ? (f->ops->is_bridge ? 0x38 : 0x30) : 0x10 + 4 * (unsigned)i;

    pci_fn_config_write(f, off, 4, (uint32_t)addr);
    if (i < 6 && (f->bar[i].kind == PCI_BAR_MEM64 || f->bar[i].kind == PCI_BAR_MEM64_PREF)) {
        pci_fn_config_write(f, off + 4, 4, (uint32_t)(addr >> 32));
    }
}

/* PCI-to-PCI Bridge 1.2, 3.2.5. A size of zero closes the window. */
static void write_window(PciFn *f, unsigned kind, uint64_t at, uint64_t size)
{
    uint64_t last = at + size - 1;

    if (!size) {
        at = kind == KIND_IO ? 0xf000 : 0xfff00000;
        last = 0xfff;
    }
    if (kind == KIND_IO) {
        pci_fn_config_write(f, 0x1c, 1, (uint32_t)(at >> 8) & 0xf0);
        pci_fn_config_write(f, 0x1d, 1, (uint32_t)(last >> 8) & 0xf0);
        pci_fn_config_write(f, 0x30, 4, 0);
        return;
    }
    unsigned off = kind == KIND_MEM ? 0x20 : 0x24;

    pci_fn_config_write(f, off, 2, (uint32_t)(at >> 16) & 0xfff0);
    pci_fn_config_write(f, off + 2, 2, (uint32_t)(last >> 16) & 0xfff0);
    if (kind == KIND_PREF) {
        pci_fn_config_write(f, 0x28, 4, size ? (uint32_t)(at >> 32) : 0);
        pci_fn_config_write(f, 0x2c, 4, size ? (uint32_t)(last >> 32) : 0);
    }
}

typedef struct Walk {
    GHashTable *behind; /* PciFn* bridge to its BusNeed */
    unsigned last_bus;
} Walk;

static BusNeed *collect_bus(Walk *w, PciBus *bus);

/* Numbers the bus behind the bridge and collects what lies there. */
static void collect_bridge(Walk *w, PciBus *bus, PciFn *f)
{
    unsigned number = MIN(w->last_bus + 1, 255);

    w->last_bus = number;
    pci_fn_config_write(f, 0x18, 1, bus->number);
    pci_fn_config_write(f, 0x19, 1, number);
    pci_fn_config_write(f, 0x1a, 1, 255);
    g_hash_table_insert(w->behind, f, collect_bus(w, f->secondary));
    pci_fn_config_write(f, 0x1a, 1, w->last_bus);
}

/* The bridge's windows are needs of its own bus. */
static void add_windows(Walk *w, BusNeed *b, PciFn *f)
{
    const BusNeed *inner = g_hash_table_lookup(w->behind, f);

    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint64_t granule = kind == KIND_IO ? IO_GRANULE : MEM_GRANULE, align;
        uint64_t size = align_up(list_size(inner->need[kind], &align), granule);
        bool wide = kind == KIND_PREF;

        /* Room for what may be plugged in later; PCIe devices must do without I/O:
         * PCIe 5.0, 2.1.1.2. */
        if (f->secondary->bus.hotplug && !(kind == KIND_IO && f->secondary->express)) {
            size = MAX(size, granule);
        }
        for (unsigned i = 0; i < inner->need[kind]->len; i++) {
            wide = wide && g_array_index(inner->need[kind], Need, i).wide;
        }
        if (size) {
            add_need(b, kind, f, WINDOW, size, MAX(align, granule), wide);
        } else {
            write_window(f, kind, 0, 0);
        }
    }
}

static BusNeed *collect_bus(Walk *w, PciBus *bus)
{
    BusNeed *b = g_new0(BusNeed, 1);

    for (unsigned kind = 0; kind < KINDS; kind++) {
        b->need[kind] = g_array_new(FALSE, FALSE, sizeof(Need));
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciFn *f = bus->fn[devfn];

        for (int i = 0; f && i < 7; i++) {
            const PciBar *bar = &f->bar[i];

            if (bar->region && bar->size) {
                add_need(b, i == 6 ? KIND_MEM : kind_of(bar->kind), f, i, bar->size,
                    MAX(bar->size, i == 6 ? 4096 : 1), bar->kind == PCI_BAR_MEM64_PREF);
            }
        }
        if (f && f->secondary) {
            collect_bridge(w, bus, f);
        }
    }
    for (unsigned devfn = 256; devfn-- > 0;) { /* SeaBIOS goes from the last bus to the first */
        if (bus->fn[devfn] && bus->fn[devfn]->secondary) {
            add_windows(w, b, bus->fn[devfn]);
        }
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        g_array_sort(b->need[kind], by_align);
    }
    return b;
}

static void bus_need_free(void *p)
{
    BusNeed *b = p;

    for (unsigned kind = 0; kind < KINDS; kind++) {
        g_array_unref(b->need[kind]);
    }
    g_free(b);
}

/* only: 1 what is wide, 0 what is not, -1 all. Returns the end. */
static uint64_t assign(Walk *w, const GArray *list, unsigned kind, uint64_t at, int only)
{
    for (unsigned i = 0; i < list->len; i++) {
        const Need *n = &g_array_index(list, Need, i);

        if (only >= 0 && n->wide != (bool)only) {
            continue;
        }
        at = align_up(at, n->align);
        if (n->bar == WINDOW) {
            BusNeed *inner = g_hash_table_lookup(w->behind, n->f);

            write_window(n->f, kind, at, n->size);
            assign(w, inner->need[kind], kind, at, -1);
        } else {
            write_bar(n->f, n->bar, at);
        }
        at += n->size;
    }
    return at;
}

static void assign_memory(PcMachine *pc, Walk *w, const BusNeed *root)
{
    uint64_t mem_align, pref_align, mem = list_size(root->need[KIND_MEM], &mem_align);
    uint64_t pref = list_size(root->need[KIND_PREF], &pref_align);
    uint64_t floor = pc->board->q35 ? MAX(pc->below_4g, UINT64_C(0xc0000000)) : pc->below_4g;
    uint64_t end = pc->board->pci_end ? pc->board->pci_end : MEM_END;
    bool mem_on_top = pref_align > mem_align;
    uint64_t top = mem_on_top ? mem : pref, top_align = mem_on_top ? mem_align : pref_align;
    uint64_t low = mem_on_top ? pref : mem, low_align = mem_on_top ? pref_align : mem_align;
    uint64_t top_at = top < end ? (end - top) & ~(top_align - 1) : 0;
    uint64_t low_at = low < top_at ? (top_at - low) & ~(low_align - 1) : 0;
    uint64_t mem_at = mem_on_top ? top_at : low_at, pref_at = mem_on_top ? low_at : top_at;
    uint64_t high = align_up((UINT64_C(1) << 32) + pc->above_4g, UINT64_C(1) << 30);

    if (low_at >= floor) {
        assign(w, root->need[KIND_MEM], KIND_MEM, mem_at, -1);
        assign(w, root->need[KIND_PREF], KIND_PREF, pref_at, -1);
        return;
    }
    mem_at = mem < end ? (end - mem) & ~(mem_align - 1) : 0;
    assign(w, root->need[KIND_MEM], KIND_MEM, mem_at, -1);
    /* Too large for the hole: what can goes above 4 GiB, the rest below the other memory. */
    GArray *list = root->need[KIND_PREF];

    for (unsigned i = 0; i < list->len; i++) {
        Need *n = &g_array_index(list, Need, i);

        if (!n->wide) {
            mem_at = mem_at > n->size ? (mem_at - n->size) & ~(n->align - 1) : 0;
            if (n->bar == WINDOW) {
                write_window(n->f, KIND_PREF, mem_at, n->size);
                assign(w, ((BusNeed *)g_hash_table_lookup(w->behind, n->f))->need[KIND_PREF],
                    KIND_PREF, mem_at, -1);
            } else {
                write_bar(n->f, n->bar, mem_at);
            }
        }
    }
    assign(w, list, KIND_PREF, align_up(high, pref_align), 1);
}

/* The interrupt a pin ends at in PIC mode: links A to D are 10, 10, 11, 11, and so are E to H. */
static uint8_t line_of(const PcMachine *pc, const PciFn *f)
{
    static const uint8_t irqs[4] = { 10, 10, 11, 11 };
    unsigned pin = f->config[0x3d] - 1u, slot = f->devfn >> 3;

    for (const PciBus *bus = pci_bus_of(f); bus->bridge; bus = pci_bus_of(bus->bridge)) {
        pin = (pin + slot) & 3; /* PCI-to-PCI Bridge 1.2, 9.1 */
        slot = bus->bridge->devfn >> 3;
    }
    if (pc->board->q35) {
        return irqs[slot >= 25 ? pin & 3 : (pin + slot) & 3];
    }
    return irqs[(pin + slot + 3) & 3];
}

static void enable(PciFn *f, void *opaque)
{
    const PcMachine *pc = opaque;
    uint32_t cmd =
        pci_fn_config_read(f, 4, 2) | CMD_IO_MEM_SERR | (f->ops->is_bridge ? CMD_MASTER : 0);

    if (f->config[0x3d]) {
        pci_fn_config_write(f, 0x3c, 1, line_of(pc, f));
    }
    pci_fn_config_write(f, 4, 2, cmd);
}

static void chipset_pc(PcMachine *pc)
{
    PciFn *pm = pc->root.fn[0x0b];
    static const uint8_t pirq[4] = { 10, 10, 11, 11 };

    for (unsigned i = 0; i < 4; i++) {
        pci_fn_config_write(pc->isa_fn, 0x60 + i, 1, pirq[i]);
    }
    if (pm) {
        pci_fn_config_write(pm, 0x3c, 1, 9); /* its interrupt is the SCI */
        pci_fn_config_write(pm, 0x40, 4, 0x601);
        pci_fn_config_write(pm, 0x80, 1, 1);
        pci_fn_config_write(pm, 0x90, 4, 0x701);
        pci_fn_config_write(pm, 0xd2, 1, 9);
    }
}

static void chipset_q35(PcMachine *pc)
{
    PciFn *smb = pc->root.fn[0xfb];

    for (unsigned i = 0; i < 8; i++) {
        pci_fn_config_write(pc->isa_fn, (i < 4 ? 0x60 : 0x64) + i, 1, i & 2 ? 11 : 10);
    }
    pci_fn_config_write(pc->isa_fn, 0x40, 4, 0x601);
    pci_fn_config_write(pc->isa_fn, 0x44, 1, 0x80);
    pci_fn_config_write(pc->isa_fn, 0xf0, 4, 0xfed1c001);
    if (smb) {
        pci_fn_config_write(smb, 0x20, 4, 0x701);
        pci_fn_config_write(smb, 0x40, 1, 1);
    }
}

void boot_pci(PcMachine *pc)
{
    Walk w = { .behind = g_hash_table_new_full(NULL, NULL, NULL, bus_need_free) };
    BusNeed *root;
    uint64_t io_align, io;

    mem_begin();
    if (pc->board->q35) { /* first: bridges' extended registers may be asked for */
        pci_fn_config_write(pc->host_fn, 0x64, 4, 0);
        pci_fn_config_write(pc->host_fn, 0x60, 4, 0xb0000001);
    }
    root = collect_bus(&w, &pc->root);
    io = list_size(root->need[KIND_IO], &io_align);
    assign(&w, root->need[KIND_IO], KIND_IO, io <= 0x10000 - IO_FIRST ? IO_FIRST : IO_LOW, -1);
    assign_memory(pc, &w, root);
    bus_need_free(root);
    g_hash_table_unref(w.behind);
    pci_bus_walk(&pc->root, enable, pc);
    if (pc->board->q35) {
        chipset_q35(pc);
    } else if (pc->isa_fn) {
        chipset_pc(pc);
    }
    mem_commit();
}

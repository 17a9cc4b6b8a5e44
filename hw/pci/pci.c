/*
 * A PCI function: configuration space with write masks, BARs, capabilities, INTx and function reset
 * (PCI Local Bus 3.0, chapter 6; PCIe 5.0, 7.5). Covered by tests/unit/test-pci.c.
 */
#include "hw/pci/pci-internal.h"
#include "util/le.h"
#include "util/log.h"

#include <string.h>

/* Register access without side effects; config space is little-endian (PCI 3.0, 6.1). */
void pci_set16(PciFn *f, unsigned off, uint16_t v)
{
    f->config[off] = (uint8_t)v;
    f->config[off + 1] = (uint8_t)(v >> 8);
}

void pci_set32(PciFn *f, unsigned off, uint32_t v)
{
    pci_set16(f, off, (uint16_t)v);
    pci_set16(f, off + 2, (uint16_t)(v >> 16));
}

uint16_t pci_get16(const PciFn *f, unsigned off)
{
    return (uint16_t)(f->config[off] | f->config[off + 1] << 8);
}

uint32_t pci_get32(const PciFn *f, unsigned off)
{
    return pci_get16(f, off) | (uint32_t)pci_get16(f, off + 2) << 16;
}

static void mask16(PciFn *f, unsigned off, uint16_t v)
{
    f->wmask[off] = (uint8_t)v;
    f->wmask[off + 1] = (uint8_t)(v >> 8);
}

static void mask32(PciFn *f, unsigned off, uint32_t v)
{
    mask16(f, off, (uint16_t)v);
    mask16(f, off + 2, (uint16_t)(v >> 16));
}

PciBus *pci_bus_of(const PciFn *f)
{
    return (PciBus *)f->dev.bus;
}

bool pci_on_express(const PciFn *f)
{
    return pci_bus_of(f)->express;
}

bool pci_on_root(const PciFn *f)
{
    return !pci_bus_of(f)->bridge;
}

/* Capabilities (PCI 3.0, 6.7): a list from 34h, newest first. */
unsigned pci_add_cap_at(PciFn *f, uint8_t id, unsigned off, unsigned len)
{
    g_assert(off >= 0x40 && off + len <= 256 && off % 4 == 0);
    for (unsigned i = off; i < off + len; i++) {
        g_assert(!f->cap_used[i]);
        f->cap_used[i] = 1;
    }
    f->config[off] = id;
    f->config[off + 1] = f->cap_head;
    f->cap_head = (uint8_t)off;
    f->config[PCI_CAP_PTR] = f->cap_head;
    pci_set16(f, PCI_STATUS, pci_get16(f, PCI_STATUS) | PCI_ST_CAPS);
    return off;
}

unsigned pci_add_cap(PciFn *f, uint8_t id, unsigned len)
{
    for (unsigned off = 0x40; off + len <= 256; off += 4) {
        unsigned used = 0;

        while (used < len && !f->cap_used[off + used]) {
            used++;
        }
        if (used == len) {
            return pci_add_cap_at(f, id, off, len);
        }
    }
    g_assert_not_reached(); /* a device type with more capabilities than fit is our mistake */
}

/* Extended capabilities (PCIe 5.0, 7.6.3): a list from 100h, in order of addition. */
unsigned pci_add_ext_cap(PciFn *f, uint16_t id, uint8_t ver, unsigned len)
{
    unsigned off = 0x100;

    g_assert(f->config_size == 4096);
    if (f->ext_cap_end) {
        unsigned last = 0x100;

        while (pci_get32(f, last) >> 20) {
            last = pci_get32(f, last) >> 20;
        }
        off = f->ext_cap_end;
        pci_set32(f, last, (pci_get32(f, last) & 0xfffff) | (uint32_t)off << 20);
    }
    g_assert(off + len <= 4096);
    pci_set32(f, off, id | (uint32_t)ver << 16);
    f->ext_cap_end = (uint16_t)((off + len + 3) & ~3u);
    return off;
}

unsigned pci_find_cap(const PciFn *f, uint8_t id)
{
    unsigned off = f->config[PCI_CAP_PTR];

    for (unsigned n = 0; off && n < 48; n++, off = f->config[off + 1]) {
        if (f->config[off] == id) {
            return off;
        }
    }
    return 0;
}

unsigned pci_add_pm_cap(PciFn *f, bool no_soft_reset)
{
    unsigned off = pci_add_cap(f, PCI_CAP_PM, 8);

    pci_set16(f, off + 2, 3); /* PCI PM 1.2 */
    pci_set16(f, off + 4, no_soft_reset ? 1 << 3 : 0);
    mask16(f, off + 4, 3);
    f->pm_cap = (uint16_t)off;
    return off;
}

/* BARs (PCI 3.0, 6.2.5). */
unsigned pci_rom_offset(const PciFn *f)
{
    return f->ops->is_bridge ? PCI_ROM_BRIDGE : PCI_ROM;
}

static unsigned bar_offset(const PciFn *f, unsigned i)
{
    return i == 6 ? pci_rom_offset(f) : PCI_BAR0 + 4 * i;
}

static bool bar_is_64(const PciBar *b)
{
    return b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREF;
}

void pci_set_bar(PciFn *f, unsigned i, PciBarKind kind, Region *r)
{
    static const uint8_t type_bits[] = {
        [PCI_BAR_IO] = 1,
        [PCI_BAR_MEM32] = 0,
        [PCI_BAR_MEM32_PREF] = 8,
        [PCI_BAR_MEM64] = 4,
        [PCI_BAR_MEM64_PREF] = 12,
    };
    PciBar *b = &f->bar[i];
    unsigned off = bar_offset(f, i);

    g_assert(i < 7 && !b->region && r->size && !(r->size & (r->size - 1)));
    b->kind = kind;
    b->region = r;
    b->size = r->size;
    b->addr = PCI_NO_ADDR;
    r->guard_reentry = true;
    if (i == 6) {
        mask32(f, off, (uint32_t)(~(b->size - 1) & 0xfffff800) | 1);
        return;
    }
    pci_set32(f, off, type_bits[kind]);
    mask32(f, off, (uint32_t) ~(b->size - 1));
    if (bar_is_64(b)) {
        g_assert(i < 5);
        mask32(f, off + 4, (uint32_t)(~(b->size - 1) >> 32));
    }
}

bool pci_bar_mapped(const PciFn *f, unsigned i)
{
    return f->bar[i].mapped;
}

static bool fn_powered(const PciFn *f)
{
    return !f->pm_cap ||
           (f->config[f->pm_cap + 4] & 3) != 3; /* PCI PM 1.2, 5.4.1: D3hot decodes nothing */
}

/* Where BAR i decodes now; PCI_NO_ADDR: nowhere. */
static uint64_t bar_address(const PciFn *f, unsigned i)
{
    const PciBar *b = &f->bar[i];
    unsigned off = bar_offset(f, i);
    uint16_t cmd = pci_get16(f, PCI_COMMAND);
    uint64_t at = pci_get32(f, off);
    uint64_t last;

    if (!(cmd & (b->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM)) || !fn_powered(f)) {
        return PCI_NO_ADDR;
    }
    if (i == 6 && !(at & 1)) {
        return PCI_NO_ADDR; /* expansion ROM enable: PCI 3.0, 6.2.5.2 */
    }
    if (bar_is_64(b)) {
        at |= (uint64_t)pci_get32(f, off + 4) << 32;
    }
    at &= ~(b->size - 1);
    last = at + b->size - 1;
    /* Address 0 means "not assigned", the all-ones pattern is a driver that sizes with decoding
     * left on. */
    if (!at || last < at || last == UINT64_MAX) {
        return PCI_NO_ADDR;
    }
    if (b->kind == PCI_BAR_IO) {
        return last > 0xffff ? PCI_NO_ADDR : at;
    }
    return !bar_is_64(b) && last >= UINT32_MAX ? PCI_NO_ADDR : at;
}

void pci_update_mappings(PciFn *f)
{
    PciBus *bus = pci_bus_of(f);

    mem_begin();
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        PciBar *b = &f->bar[i];
        uint64_t at = b->region ? bar_address(f, i) : PCI_NO_ADDR;

        if (!b->region || at == b->addr) {
            continue;
        }
        if (b->mapped) {
            region_unmap(b->region);
            b->mapped = false;
        }
        b->addr = at;
        if (at != PCI_NO_ADDR) {
            region_map(b->kind == PCI_BAR_IO ? bus->io : bus->mem, at, b->region, 1);
            b->mapped = true;
        }
    }
    mem_commit();
}

static void fn_unmap_all(PciFn *f)
{
    mem_begin();
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        if (f->bar[i].mapped) {
            region_unmap(f->bar[i].region);
            f->bar[i].mapped = false;
        }
        f->bar[i].addr = PCI_NO_ADDR;
    }
    mem_commit();
}

/* INTx (PCI 3.0, 2.2.6, 6.2.3). */
void pci_config_set_pin(PciFn *f, uint8_t pin)
{
    f->config[PCI_INT_PIN] = pin;
}

/* PCI PM 1.2, 5.4: outside D0 a function begins nothing on the bus, requests or interrupts. */
static bool in_d0(const PciFn *f)
{
    return !f->pm_cap || !(f->config[f->pm_cap + 4] & 3);
}

static void fn_update_intx(PciFn *f)
{
    bool level = f->irq_level && !(pci_get16(f, PCI_COMMAND) & PCI_CMD_INTX_OFF) && in_d0(f);
    uint16_t st = pci_get16(f, PCI_STATUS) & (uint16_t)~PCI_ST_INTERRUPT;

    pci_set16(f, PCI_STATUS, f->irq_level ? st | PCI_ST_INTERRUPT : st);
    if (level != f->irq_sent && f->config[PCI_INT_PIN]) {
        f->irq_sent = level;
        pci_bus_set_intx(pci_bus_of(f), f->devfn, f->config[PCI_INT_PIN] - 1u, level);
    }
}

void pci_set_irq(PciFn *f, bool level)
{
    if (f->irq_level != level) {
        f->irq_level = level;
        fn_update_intx(f);
    }
}

/* Config access as the guest makes it. */
uint32_t pci_fn_config_read(PciFn *f, unsigned off, unsigned len)
{
    uint32_t val = 0;

    for (unsigned i = 0; i < len; i++) {
        val |= (uint32_t)(off + i < f->config_size ? f->config[off + i] : 0xff) << (8 * i);
    }
    return f->ops->config_read ? f->ops->config_read(f, off, len, val) : val;
}

static bool touches(unsigned off, unsigned len, unsigned at, unsigned n)
{
    return off < at + n && at < off + len;
}

void pci_fn_config_write(PciFn *f, unsigned off, unsigned len, uint32_t val)
{
    unsigned pm_before = f->pm_cap ? f->config[f->pm_cap + 4] & 3 : 0;

    for (unsigned i = 0; i < len && off + i < f->config_size; i++) {
        uint8_t b = (uint8_t)(val >> (8 * i)), w = f->wmask[off + i];

        f->config[off + i] = (uint8_t)((f->config[off + i] & ~w) | (b & w));
        f->config[off + i] &= (uint8_t) ~(b & f->w1cmask[off + i]);
    }
    if (f->pm_cap && pm_before == 3 && !(f->config[f->pm_cap + 4] & 3) &&
        !(f->config[f->pm_cap + 4] & 1 << 3)) {
        pci_fn_function_reset(f); /* PCI PM 1.2, 5.4.1: leaving D3hot is a soft reset */
    }
    if (touches(off, len, PCI_COMMAND, 2) || (f->pm_cap && touches(off, len, f->pm_cap + 4u, 2))) {
        dma_space_set_master(f->dma, pci_get16(f, PCI_COMMAND) & PCI_CMD_MASTER && in_d0(f));
        fn_update_intx(f);
    }
    if (touches(off, len, PCI_COMMAND, 2) || touches(off, len, PCI_BAR0, 24) ||
        touches(off, len, pci_rom_offset(f), 4) ||
        (f->pm_cap && touches(off, len, f->pm_cap + 4u, 2))) {
        pci_update_mappings(f);
    }
    if (f->ops->is_bridge && touches(off, len, PCI_COMMAND, 0x3c)) {
        pci_bridge_update(f);
    }
    if (f->msix) {
        msix_config_wrote(f);
    }
    if (f->pcie_cap) {
        pcie_config_wrote(f, off, len);
    }
    if (f->ops->config_wrote) {
        f->ops->config_wrote(f, off, len);
    }
}

/* Life cycle. */
void pci_fn_init(Obj *o)
{
    PciFn *f = (PciFn *)o;

    f->ops = o->cls->ops;
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        f->bar[i].addr = PCI_NO_ADDR;
    }
}

static void fn_fill_header(PciFn *f)
{
    const PciOps *ops = f->ops;

    pci_set16(f, PCI_VENDOR_ID, ops->vendor);
    pci_set16(f, PCI_DEVICE_ID, ops->device);
    f->config[PCI_REVISION] = ops->revision;
    f->config[PCI_CLASS_PROG] = (uint8_t)ops->class_code;
    pci_set16(f, PCI_CLASS_DEVICE, (uint16_t)(ops->class_code >> 8));
    f->config[PCI_HEADER_TYPE] =
        (uint8_t)((ops->is_bridge ? 1 : 0) | (f->multifunction ? 0x80 : 0));
    if (!ops->is_bridge) {
        pci_set16(f, PCI_SUBSYS_VENDOR, ops->subsys ? ops->subsys_vendor : 0x1af4);
        pci_set16(f, PCI_SUBSYS_ID, ops->subsys ? ops->subsys : 0x1100);
    }
    mask16(f, PCI_COMMAND,
        PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_SERR | PCI_CMD_INTX_OFF);
    f->w1cmask[PCI_STATUS + 1] = 0xf9;
    f->wmask[PCI_CACHE_LINE] = 0xff;
    f->wmask[PCI_INT_LINE] = 0xff;
}

static void fn_release(PciFn *f)
{
    if (f->irq_sent) {
        f->irq_level = false;
        fn_update_intx(f);
    }
    if (f->config) {
        fn_unmap_all(f);
    }
    msix_fini(f);
    if (f->bar[6].region == &f->rom) {
        region_fini(&f->rom);
    }
    memset(f->bar, 0, sizeof f->bar);
    memset(f->cap_used, 0, sizeof f->cap_used);
    f->cap_head = 0;
    f->pm_cap = f->pcie_cap = f->ext_cap_end = 0;
    if (f->dma) {
        dma_space_free(f->dma);
        f->dma = NULL;
    }
    g_clear_pointer(&f->config, g_free);
    g_clear_pointer(&f->wmask, g_free);
    g_clear_pointer(&f->w1cmask, g_free);
}

bool pci_fn_realize(Obj *o, GError **err)
{
    PciFn *f = (PciFn *)o;
    PciBus *bus = pci_bus_of(f);

    if (f->acpi_index > 16383) {
        return err_set(err, "acpi-index should be less or equal to 16383");
    }
    if (f->romsize != UINT32_MAX && (f->romsize & (f->romsize - 1))) {
        return err_set(err, "ROM size %u is not a power of two", f->romsize);
    }
    f->config_size = f->ops->is_express && bus->express ? 4096 : 256;
    f->config = g_malloc0(f->config_size);
    f->wmask = g_malloc0(f->config_size);
    f->w1cmask = g_malloc0(f->config_size);
    f->dma = dma_space_new(bus->machine->mem);
    fn_fill_header(f);
    if (!f->ops->realize(f, err)) {
        fn_release(f);
        return false;
    }
    if (!pci_rom_realize(f, err)) {
        if (f->ops->unrealize) {
            f->ops->unrealize(f);
        }
        fn_release(f);
        return false;
    }
    bus->fn[f->devfn] = f;
    if (f->dev.hotplugged && bus->hotplugged) {
        bus->hotplugged(bus->hotplug_opaque, f);
    }
    return true;
}

void pci_fn_unrealize(Obj *o)
{
    PciFn *f = (PciFn *)o;
    PciBus *bus = pci_bus_of(f);

    if (bus->fn[f->devfn] == f) {
        bus->fn[f->devfn] = NULL;
    }
    fn_unmap_all(f);
    if (f->ops->unrealize) {
        f->ops->unrealize(f);
    }
    fn_release(f);
}

void pci_fn_fini(Obj *o)
{
    PciFn *f = (PciFn *)o;

    g_assert(!f->config);
}

/* Registers back to their power-on values; type bits and identity stay. */
void pci_fn_function_reset(PciFn *f)
{
    if (f->ops->reset) {
        f->ops->reset(f);
    }
    pci_set_irq(f, false);
    pci_set16(f, PCI_COMMAND, 0);
    pci_set16(
        f, PCI_STATUS, pci_get16(f, PCI_STATUS) & 0x06f0); /* errors and INTx go, abilities stay */
    f->config[PCI_CACHE_LINE] = 0;
    f->config[PCI_INT_LINE] = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        if (f->bar[i].region) {
            unsigned off = bar_offset(f, i);
            unsigned n = bar_is_64(&f->bar[i]) ? 8 : 4;

            for (unsigned j = 0; j < n; j++) {
                f->config[off + j] &= (uint8_t)~f->wmask[off + j];
            }
        }
    }
    if (f->pm_cap) {
        f->config[f->pm_cap + 4] &= (uint8_t)~3;
    }
    if (f->pcie_cap) {
        pci_set16(f, f->pcie_cap + 8u, 0);
    }
    dma_space_set_master(f->dma, false);
    msix_reset(f);
    fn_update_intx(f);
    pci_update_mappings(f);
    if (f->ops->is_bridge) {
        pci_bridge_update(f);
    }
}

void pci_fn_reset(Obj *o)
{
    PciFn *f = (PciFn *)o;

    if (f->config) {
        pci_fn_function_reset(f);
    }
}

/* clang-format off */
const PropSpec pci_fn_props[] = {
    { .name = "addr", .type = &prop_pci_addr, .offset = PROP_AT(PciFn, addr_prop, int32_t), .bit = -1, .def.i = -1,
      .help = "Slot and optional function number, example: 06.0 or 06" },
    PROP_U32("acpi-index", PciFn, acpi_index, 0, "ACPI _DSM index of the slot's name"),
    PROP_BOOL("multifunction", PciFn, multifunction, false, "on/off"),
    PROP_STR("failover_pair_id", PciFn, failover_pair_id, "id of the standby device"),
    PROP_I32("rombar", PciFn, rombar, -1, "0: no option ROM"),
    PROP_STR("romfile", PciFn, romfile, "option ROM file"),
    PROP_U32("romsize", PciFn, romsize, UINT32_MAX, "size of the ROM BAR in bytes"),
    PROP_SIZE("x-max-bounce-buffer-size", PciFn, max_bounce, 4096, "kept for compatibility; nothing is bounced"),
    PROP_BOOL("x-pcie-ari-nextfn-1", PciFn, flag_bits[0], false, "kept for compatibility"),
    PROP_BOOL("x-pcie-err-unc-mask", PciFn, flag_bits[1], true, "AER uncorrectable mask register"),
    PROP_BOOL("x-pcie-ext-tag", PciFn, flag_bits[2], true, "extended tag support in DevCap"),
    PROP_BOOL("x-pcie-extcap-init", PciFn, flag_bits[3], true, "kept for compatibility"),
    PROP_BOOL("x-pcie-lnksta-dllla", PciFn, flag_bits[4], true, "kept for compatibility"),
    PROP_END,
};
/* clang-format on */

const ObjClass pci_device_class = {
    .name = "pci-device",
    .parent = "device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(PciFn),
};

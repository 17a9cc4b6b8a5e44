/*
 * PCI functions and buses (PCI Local Bus 3.0, PCIe 5.0): config space with write masks, BARs,
 * capabilities, INTx, MSI-X. Control plane: VM lock. msix_fire and pci_dma's space: any thread.
 */
#pragma once

#include "hw/core/dev.h"
#include "hw/core/machine.h"
#include "memory/dma.h"
#include "object/qmp.h"

typedef struct PciFn PciFn;
typedef struct PciBus PciBus;
typedef enum PciBarKind {
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM32_PREF,
    PCI_BAR_MEM64,
    PCI_BAR_MEM64_PREF
} PciBarKind;
typedef struct PciBar {
    PciBarKind kind;
    Region *region;
    uint64_t size, addr;
    bool mapped;
} PciBar;
enum { PCI_NO_ADDR = UINT64_C(0xffffffffffffffff) };

typedef struct PciOps {                             /* ObjClass.ops of a PCI device type */
    uint16_t vendor, device, subsys_vendor, subsys; /* subsys 0: 1af4:1100 */
    uint8_t revision;
    uint32_t class_code; /* 0x010000: class, subclass, prog-if */
    bool is_express;     /* may carry a PCIe capability on a PCIe bus */
    bool is_bridge;
    bool (*realize)(PciFn *f, GError **err);
    void (*unrealize)(PciFn *f);
    void (*reset)(PciFn *f); /* function reset: system reset, FLR */
    /* After the default handling of a config write / instead of nothing. NULL: default only. */
    void (*config_wrote)(PciFn *f, unsigned off, unsigned len);
    /* may change what is read; NULL */
    uint32_t (*config_read)(PciFn *f, unsigned off, unsigned len, uint32_t val);
    void (*bridge_changed)(PciFn *f);            /* a bridge's window above it moved; NULL */
    void (*run_changed)(PciFn *f, bool running); /* the VM starts or stops; NULL: does not care */
    const char *romfile;                         /* default option ROM; NULL: none */
} PciOps;

struct PciFn {
    Dev dev;
    const PciOps *ops;
    uint8_t *config, *wmask, *w1cmask; /* 256 or 4096 bytes */
    unsigned config_size;
    int32_t addr_prop; /* property addr: devfn, -1 for the first free slot */
    bool multifunction;
    uint8_t devfn;
    PciBar bar[7];         /* 6: expansion ROM */
    uint8_t cap_used[256]; /* allocation map */
    DmaSpace *dma;
    struct Msix *msix;
    bool irq_level; /* INTx as the device drives it */
    /* what the bus was told: irq_level unless disabled in COMMAND */
    bool irq_sent;
    uint8_t cap_head;                       /* most recently added capability */
    uint16_t pm_cap, pcie_cap, ext_cap_end; /* 0: none */
    PciBus *secondary;                      /* bridges: the bus behind */
    Region rom;
    /* Properties every function has (QEMU's names). */
    char *romfile;
    uint32_t romsize, acpi_index;
    int32_t rombar;
    char *failover_pair_id;
    /* x-pcie-* switches without effect on us, kept for property compatibility */
    bool flag_bits[16];
    uint64_t max_bounce;
};
extern const PropSpec pci_fn_props[];

/*
 * ObjClass slots of every PCI device type (PciOps in .ops, PciFn first member, .bus = "PCI",
 * pci_fn_props in .props). realize fills the header, calls ops->realize and then shows the function
 * on its bus; reset is the function reset.
 */
void pci_fn_init(Obj *o);
bool pci_fn_realize(Obj *o, GError **err);
void pci_fn_unrealize(Obj *o);
void pci_fn_fini(Obj *o);
void pci_fn_reset(Obj *o);
extern const ObjClass pci_device_class; /* "pci-device", abstract */

struct PciBus {
    Bus bus;
    PciFn *fn[256]; /* by devfn */
    uint8_t number; /* as programmed; root: 0 */
    PciFn *bridge;  /* upstream bridge function; NULL: root */
    bool express;
    Region *mem, *io; /* containers where BARs are mapped */
    /*
     * Root buses: INTx pin (0..3 = A..D) of a slot to the board, called when the OR of all
     * functions that share it changes; devfn is the slot's function 0. Bridges swizzle upward.
     */
    void (*set_intx)(void *opaque, unsigned devfn, unsigned pin, bool level);
    void *intx_opaque;
    uint16_t intx_count[32][4];
    uint8_t slot_min;     /* first slot for devices without addr */
    uint32_t slots_taken; /* bit per slot the board keeps for itself */
    bool one_slot;        /* a PCIe link: only slot 0 exists */
    /* Hot plug: told by a root bus's board or a port. NULL: plugging needs no notice; unplugging is
     * done at once. */
    void (*hotplugged)(void *opaque, PciFn *f);
    bool (*unplug_request)(void *opaque, PciFn *f, GError **err);
    void *hotplug_opaque;
    Machine *machine;
};
extern const BusClass pci_bus_class, pcie_bus_class;

/* Root bus of a host bridge. name "pci.0" / "pcie.0". */
void pci_bus_init_root(
    PciBus *b, Machine *m, Obj *parent, const char *name, bool express, Region *mem, Region *io);
void pci_bus_fini(PciBus *b);
/* by programmed bus number; NULL: none */
PciFn *pci_bus_fn(PciBus *root, unsigned bus, unsigned devfn);
/* Every function below root, parents first. */
void pci_bus_walk(PciBus *root, void (*fn)(PciFn *f, void *opaque), void *opaque);
/* One function's config space with all side effects of a guest access. */
uint32_t pci_fn_config_read(PciFn *f, unsigned off, unsigned len);
void pci_fn_config_write(PciFn *f, unsigned off, unsigned len, uint32_t val);
/* Config access by a host bridge: bus number, devfn, register. Absent: all ones. */
uint32_t pci_config_read(PciBus *root, unsigned bus, unsigned devfn, unsigned reg, unsigned len);
void pci_config_write(
    PciBus *root, unsigned bus, unsigned devfn, unsigned reg, unsigned len, uint32_t val);
/* hw/pci/host.c: port cf8/cfc mechanism (qtest.md 2.5: low address bits count) and an ECAM region
 * for a root bus. */
typedef struct PciHost {
    PciBus *root;
    uint32_t config_address;
    Region conf, data, ecam;
} PciHost;
void pci_host_init(PciHost *h, PciBus *root, Obj *owner, Region *io);
void pci_host_ecam_map(PciHost *h, Region *mem, bool on, uint64_t base, uint64_t size);
void pci_host_fini(PciHost *h);

/* For ops->realize. */
/* next free place; returns its offset */
unsigned pci_add_cap(PciFn *f, uint8_t id, unsigned len);
unsigned pci_add_cap_at(PciFn *f, uint8_t id, unsigned off, unsigned len);
unsigned pci_add_ext_cap(PciFn *f, uint16_t id, uint8_t ver, unsigned len);
unsigned pci_find_cap(const PciFn *f, uint8_t id); /* 0: none */
/* size: r->size, a power of two */
void pci_set_bar(PciFn *f, unsigned i, PciBarKind kind, Region *r);
void pci_config_set_pin(PciFn *f, uint8_t pin); /* 1 = INTA */
bool pci_bar_mapped(const PciFn *f, unsigned i);
void pci_set_irq(PciFn *f, bool level); /* INTx; VM lock held */
bool pci_on_express(const PciFn *f);    /* its bus is PCIe */
bool pci_on_root(const PciFn *f);       /* its bus is a root bus */
PciBus *pci_bus_of(const PciFn *f);
/* A type's default ROM behind BAR 6, with the function's ids in it, unless the user named one or
 * switched it off. A file that is not installed is no error. */
void pci_rom_default(PciFn *f, const char *file);
/* after a change of BARs, COMMAND or a window above */
void pci_update_mappings(PciFn *f);
unsigned pci_add_pm_cap(PciFn *f, bool no_soft_reset); /* PCI PM 1.2; at 8 bytes */
/* PCIe capability v2 of an endpoint (PCIe 5.0, 7.5.3). flr: Function Level Reset. */
unsigned pcie_add_endpoint_cap(PciFn *f, bool flr, bool ext_tag);
void pcie_add_ats_cap(PciFn *f, bool page_aligned);
void pcie_add_aer_cap(PciFn *f, uint32_t uncorrectable_mask);
static inline void pci_set8(PciFn *f, unsigned off, uint8_t v)
{
    f->config[off] = v;
}
void pci_set16(PciFn *f, unsigned off, uint16_t v);
void pci_set32(PciFn *f, unsigned off, uint32_t v);
uint16_t pci_get16(const PciFn *f, unsigned off);
uint32_t pci_get32(const PciFn *f, unsigned off);

/* MSI-X (PCI 3.0, 6.8.2). Table and PBA lie in `bar`, which the caller set as BAR `bar_index`. */
/* cap_off 0: the next free place. */
bool msix_init(PciFn *f, unsigned vectors, Region *bar, unsigned bar_index, uint64_t table,
    uint64_t pba, unsigned cap_off, GError **err);
void msix_fini(PciFn *f);
void msix_reset(PciFn *f);
bool msix_enabled(const PciFn *f);         /* any thread */
unsigned msix_vectors(const PciFn *f);     /* 0: no capability */
void msix_fire(PciFn *f, unsigned vector); /* from any thread; masked: sets the pending bit */
void msix_clear_pending(PciFn *f, unsigned vector);
void msix_config_wrote(PciFn *f);          /* for pci.c: message control may have changed */
int msix_irqfd(PciFn *f, unsigned vector); /* -1: none; else an eventfd KVM listens to */

/* Two helpers for boards. */
PciFn *pci_create_simple(Machine *m, PciBus *bus, unsigned devfn, const char *type, GError **err);
void pci_describe(Machine *m, GString *out); /* info pci */
extern const QmpCmd pci_qmp_cmds[];          /* query-pci */

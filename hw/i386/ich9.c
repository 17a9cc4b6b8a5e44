/* Intel ICH9 LPC bridge (316972): PIRQ routing, ACPI block, reset control, root complex registers;
 * and its SMBus function. */
#include "hw/i386/pc.h"

#include <string.h>

enum {
    LPC_PMBASE = 0x40,
    LPC_ACPI_CTRL = 0x44,
    LPC_PIRQ_A = 0x60,
    LPC_PIRQ_E = 0x68,
    LPC_EN = 0x82,
    LPC_RCBA = 0xf0
};
enum {
    PIRQ_OFF = 1 << 7,
    NLINKS = 8,
    ACPI_EN = 1 << 7,
    PM_GPE = 0x20,
    PM_SMI = 0x30,
    ICH9_PCIHP = 0xcc0
};
enum { RCBA_SIZE = 0x4000, SMI_EN_GBL = 1 << 0, SMI_EN_APMC = 1 << 5 };
/* 316972, 10.1.45 to 51: which PIRQ each pin of the slots 25 to 31 pulls, four bits a pin. */
enum { RCBA_D31IR = 0x3140, RCBA_IR_FIRST = 0x3140, RCBA_IR_LEN = 0x20 };

typedef struct Ich9Lpc {
    PciFn fn;
    ResetPort reset;
    AcpiPm pm;
    Apm apm;
    Region smi, rcba;
    uint32_t smi_en, smi_sts;
    uint8_t ir[RCBA_IR_LEN];
    uint8_t raised[32]; /* INTx pins per slot, as the bus drives them */
    uint16_t irqs;      /* PIC inputs raised now */
    uint8_t gsis;       /* I/O APIC pins 16 to 23 raised now */
    Irq sci;
    unsigned sci_gsi;
    bool sci_level;
    bool acpi_hotplug;
} Ich9Lpc;

/* PIRQ of a pin: slots 25 to 31 by their register (30 is fixed: E to H), the others rotate over E
 * to H. */
static unsigned lpc_link(const Ich9Lpc *s, unsigned slot, unsigned pin)
{
    static const uint8_t ir_at[7] = { 0x3150 - RCBA_IR_FIRST, 0x314c - RCBA_IR_FIRST,
        0x3148 - RCBA_IR_FIRST, 0x3146 - RCBA_IR_FIRST, 0x3144 - RCBA_IR_FIRST, 0,
        0x3140 - RCBA_IR_FIRST };

    if (slot < 25) {
        return 4 + ((slot + pin) & 3);
    }
    if (slot == 30) {
        return 4 + pin;
    }
    const uint8_t *ir = s->ir + ir_at[slot - 25];

    return (unsigned)(ir[0] | ir[1] << 8) >> (4 * pin) & 7;
}

static uint8_t lpc_route(const Ich9Lpc *s, unsigned link)
{
    return s->fn.config[link < 4 ? LPC_PIRQ_A + link : LPC_PIRQ_E + link - 4];
}

/* A link pulls its I/O APIC pin always, and the PIC input its register names: 316972, 5.8.6
 * and 5.9. */
static void lpc_update(Ich9Lpc *s, PcMachine *pc)
{
    uint8_t links = 0;
    uint16_t irqs = 0;

    for (unsigned slot = 0; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            links |= s->raised[slot] >> pin & 1 ? (uint8_t)(1u << lpc_link(s, slot, pin)) : 0;
        }
    }
    for (unsigned i = 0; i < NLINKS; i++) {
        if (links >> i & 1 && !(lpc_route(s, i) & PIRQ_OFF)) {
            irqs |= (uint16_t)(1u << (lpc_route(s, i) & 15));
        }
        if ((links ^ s->gsis) >> i & 1) {
            irq_set(gsi_irq(&pc->gsi, 16 + i), links >> i & 1);
        }
    }
    for (unsigned n = 0; n < 16; n++) {
        if ((irqs ^ s->irqs) >> n & 1) {
            irq_set(pc_pic_irq(pc, n), irqs >> n & 1);
        }
    }
    s->irqs = irqs;
    s->gsis = links;
}

void ich9_set_intx(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    PcMachine *pc = opaque;
    Ich9Lpc *s = (Ich9Lpc *)pc->isa_fn;
    uint8_t bit = (uint8_t)(1u << pin);

    s->raised[devfn >> 3] =
        level ? s->raised[devfn >> 3] | bit : s->raised[devfn >> 3] & (uint8_t)~bit;
    lpc_update(s, pc);
}

/* SCI_IRQ_SEL: 316972, 13.1.14. */
static unsigned lpc_sci_gsi(const Ich9Lpc *s)
{
    static const uint8_t gsi[8] = { 9, 10, 11, 9, 20, 21, 9, 9 };

    return gsi[s->fn.config[LPC_ACPI_CTRL] & 7];
}

static void lpc_sci(void *opaque, unsigned n, bool level)
{
    Ich9Lpc *s = opaque;

    s->sci_level = level;
    irq_set(gsi_irq(&pc_of(&s->fn)->gsi, s->sci_gsi), level);
}

static void lpc_move_sci(Ich9Lpc *s, PcMachine *pc)
{
    unsigned gsi = lpc_sci_gsi(s);

    if (gsi != s->sci_gsi) {
        if (s->sci_level) {
            irq_set(gsi_irq(&pc->gsi, s->sci_gsi), false);
            irq_set(gsi_irq(&pc->gsi, gsi), true);
        }
        s->sci_gsi = gsi;
    }
}

static void place(Region *into, Region *r, bool on, uint64_t at)
{
    mem_begin();
    if (region_is_mapped(r)) {
        region_unmap(r);
    }
    if (on) {
        region_map(into, at, r, 1);
    }
    mem_commit();
}

uint16_t ich9_pm_base(const PcMachine *pc)
{
    const PciFn *f = pc->isa_fn;

    return f->config[LPC_ACPI_CTRL] & ACPI_EN ? pci_get16(f, LPC_PMBASE) & 0xff80 : 0;
}

static void lpc_update_maps(Ich9Lpc *s, PcMachine *pc)
{
    uint32_t rcba = pci_get32(&s->fn, LPC_RCBA);

    place(&pc->m.io_root, &s->pm.io, s->fn.config[LPC_ACPI_CTRL] & ACPI_EN,
        pci_get16(&s->fn, LPC_PMBASE) & 0xff80);
    place(&pc->m.mem_root, &s->rcba, rcba & 1, rcba & ~(uint32_t)(RCBA_SIZE - 1));
}

/* SMI_EN, SMI_STS: stored; no SMI is ever raised, and GBL_SMI_EN stays as it is once locked by
 * nobody. */
static uint64_t smi_read(void *opaque, uint64_t off, unsigned size)
{
    const Ich9Lpc *s = opaque;

    return off ? s->smi_sts : s->smi_en;
}

static void smi_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Ich9Lpc *s = opaque;

    if (off) {
        s->smi_sts &= ~(uint32_t)val;
    } else {
        s->smi_en = (uint32_t)val;
    }
}

static const RegionOps smi_ops = {
    .read = smi_read, .write = smi_write, .min_access = 4, .max_access = 4
};

static uint64_t rcba_read(void *opaque, uint64_t off, unsigned size)
{
    const Ich9Lpc *s = opaque;

    return off >= RCBA_IR_FIRST && off < RCBA_IR_FIRST + RCBA_IR_LEN ? s->ir[off - RCBA_IR_FIRST]
                                                                     : 0;
}

static void rcba_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Ich9Lpc *s = opaque;

    if (off >= RCBA_IR_FIRST && off < RCBA_IR_FIRST + RCBA_IR_LEN) {
        s->ir[off - RCBA_IR_FIRST] = (uint8_t)val & 0x77;
        lpc_update(s, pc_of(&s->fn));
    }
}

static const RegionOps rcba_ops = { .read = rcba_read, .write = rcba_write, .max_access = 1 };

static void lpc_apm_command(void *opaque, uint8_t cmd)
{
    Ich9Lpc *s = opaque;

    if (cmd == 2 || cmd == 3) { /* the values other firmware's FADTs name for ACPI on and off */
        acpi_pm_set_enable(&s->pm, cmd == 2);
    }
}

static bool lpc_realize(PciFn *f, GError **err)
{
    Ich9Lpc *s = (Ich9Lpc *)f;
    PcMachine *pc = pc_of(f);

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    f->wmask[LPC_PMBASE] = 0x87;
    pc->isa_fn = f;
    s->sci_gsi = 9;
    irq_init(&s->sci, lpc_sci, s, 0);
    acpi_pm_init(&s->pm, &f->dev.obj, pc->m.run, &s->sci, 16);
    region_init_io(&s->smi, &f->dev.obj, "acpi-smi", &smi_ops, s, 8);
    region_init_io(&s->rcba, &f->dev.obj, "lpc-rcba", &rcba_ops, s, RCBA_SIZE);
    region_map(&s->pm.io, PM_GPE, &s->pm.gpe, 0);
    region_map(&s->pm.io, PM_SMI, &s->smi, 0);
    apm_init(&s->apm, &f->dev.obj, lpc_apm_command, s);
    region_map(&pc->m.io_root, 0xb2, &s->apm.io, 0);
    reset_port_init(&s->reset, &f->dev.obj, &pc->m.io_root, pc->m.run);
    pc->pm = &s->pm;
    pc_isa_init(pc);
    pc->acpi_hotplug = s->acpi_hotplug;
    if (s->acpi_hotplug) {
        pc_hotplug_init(pc, ICH9_PCIHP);
    }
    return true;
}

static void lpc_unrealize(PciFn *f)
{
    Ich9Lpc *s = (Ich9Lpc *)f;

    place(NULL, &s->pm.io, false, 0);
    place(NULL, &s->rcba, false, 0);
    region_unmap(&s->pm.gpe);
    region_unmap(&s->smi);
    region_unmap(&s->apm.io);
    region_fini(&s->smi);
    region_fini(&s->rcba);
    reset_port_fini(&s->reset);
    apm_fini(&s->apm);
    acpi_pm_fini(&s->pm);
}

static void lpc_reset(PciFn *f)
{
    Ich9Lpc *s = (Ich9Lpc *)f;
    PcMachine *pc = pc_of(f);

    memset(f->config + 0x40, 0, 0xc0);
    f->config[LPC_PMBASE] = 1;
    memset(f->config + LPC_PIRQ_A, PIRQ_OFF, 4);
    memset(f->config + LPC_PIRQ_E, PIRQ_OFF, 4);
    f->config[LPC_EN] =
        pc_com_ports(pc) & 3; /* QEMU compat: COM1 and COM2 decode where they exist */
    for (unsigned i = 0; i < RCBA_IR_LEN; i += 2) { /* pin n to PIRQ n */
        s->ir[i] = i < 0x14 ? 0x10 : 0;
        s->ir[i + 1] = i < 0x14 ? 0x32 : 0;
    }
    s->smi_en = SMI_EN_APMC; /* firmware takes the SMI handler as installed: there is no SMM */
    s->smi_sts = 0;
    s->reset.val = 0;
    acpi_pm_reset(&s->pm);
    acpi_pm_set_enable(&s->pm, true);
    apm_reset(&s->apm);
    lpc_move_sci(s, pc);
    lpc_update_maps(s, pc);
    lpc_update(s, pc);
}

static void lpc_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    Ich9Lpc *s = (Ich9Lpc *)f;
    PcMachine *pc = pc_of(f);

    if (off + len > LPC_PMBASE && off < LPC_ACPI_CTRL + 1) {
        lpc_update_maps(s, pc);
        lpc_move_sci(s, pc);
    } else if (off + len > LPC_RCBA && off < LPC_RCBA + 4) {
        lpc_update_maps(s, pc);
    } else if (off + len > LPC_PIRQ_A && off < LPC_PIRQ_E + 4) {
        lpc_update(s, pc);
    }
}

static void ich9_init(Obj *o)
{
    pci_fn_init(o);
    ((PciFn *)o)->multifunction = true;
}

static const PropSpec lpc_props[] = {
    PROP_BOOL("acpi-pci-hotplug-with-bridge-support", Ich9Lpc, acpi_hotplug, true,
        "hot plug behind ports by ACPI methods"),
    PROP_END,
};

static const PciOps ich9_lpc_ops = {
    .vendor = 0x8086,
    .device = 0x2918,
    .revision = 2,
    .class_code = 0x060100,
    .realize = lpc_realize,
    .unrealize = lpc_unrealize,
    .reset = lpc_reset,
    .config_wrote = lpc_config_wrote,
};

const ObjClass ich9_lpc_class = {
    .name = "ICH9-LPC",
    .parent = "pci-device",
    .help = "ICH9 LPC bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(Ich9Lpc),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { lpc_props, NULL }, { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &ich9_lpc_ops,
    .init = ich9_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

/* Function 3: SMBus. */

typedef struct Ich9Smb {
    PciFn fn;
    SmBus bus;
} Ich9Smb;

static bool smb_realize(PciFn *f, GError **err)
{
    Ich9Smb *s = (Ich9Smb *)f;

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    f->wmask[0x40] = 0xf7; /* 316972, 22.1.12: SSRESET clears itself */
    pci_config_set_pin(f, 1);
    smbus_init(&s->bus, &f->dev.obj, 64);
    pci_set_bar(f, 4, PCI_BAR_IO, &s->bus.io);
    return true;
}

static void smb_unrealize(PciFn *f)
{
    smbus_fini(&((Ich9Smb *)f)->bus);
}

static void smb_reset(PciFn *f)
{
    memset(f->config + 0x40, 0, 0xc0);
    smbus_reset(&((Ich9Smb *)f)->bus);
}

static const PciOps ich9_smb_ops = {
    .vendor = 0x8086,
    .device = 0x2930,
    .revision = 2,
    .class_code = 0x0c0500,
    .realize = smb_realize,
    .unrealize = smb_unrealize,
    .reset = smb_reset,
};

const ObjClass ich9_smb_class = {
    .name = "ICH9-SMB",
    .parent = "pci-device",
    .help = "ICH9 SMBus controller",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(Ich9Smb),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &ich9_smb_ops,
    .init = ich9_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

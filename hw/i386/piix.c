/* Intel PIIX3 ISA bridge (290550) with PIIX4's power management function (290562): PIRQ routing, PM
 * block, SMBus, hot plug. */
#include "hw/i386/pc.h"

#include <string.h>

enum { PIIX_PIRQ = 0x60, PIRQ_OFF = 1 << 7, PIIX_NLINKS = 4 };
enum { PM_BASE = 0x40, PM_DEVACTB = 0x58, PM_REGMISC = 0x80, SMB_BASE = 0x90, SMB_HSTCFG = 0xd2 };
enum { PIIX_GPE = 0xafe0, PIIX_PCIHP = 0xae00, SMB_SIZE = 0x40 };

typedef struct Piix3 {
    PciFn fn;
    ResetPort reset;
    unsigned count[PIIX_NLINKS]; /* slots that pull each link */
    uint16_t irqs;               /* ISA interrupts raised now */
} Piix3;

static void piix3_update(Piix3 *s, PcMachine *pc)
{
    uint16_t now = 0;

    for (unsigned i = 0; i < PIIX_NLINKS; i++) {
        uint8_t route = s->fn.config[PIIX_PIRQ + i];

        if (s->count[i] && !(route & PIRQ_OFF)) {
            now |= (uint16_t)(1u << (route & 15));
        }
    }
    for (unsigned n = 0; n < 16; n++) {
        if ((now ^ s->irqs) >> n & 1) {
            irq_set(gsi_irq(&pc->gsi, n), now >> n & 1);
        }
    }
    s->irqs = now;
}

/* The board rotates the pins of a slot by its number, beginning with D for slot 0. */
void piix3_set_intx(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    PcMachine *pc = opaque;
    Piix3 *s = (Piix3 *)pc->isa_fn;
    unsigned link = ((devfn >> 3) + pin + 3) & 3;

    s->count[link] += level ? 1u : -1u;
    piix3_update(s, pc);
}

static bool piix3_realize(PciFn *f, GError **err)
{
    Piix3 *s = (Piix3 *)f;
    PcMachine *pc = pc_of(f);

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    pci_set16(f, 0x06, 0x0200); /* medium DEVSEL timing */
    pc->isa_fn = f;
    reset_port_init(&s->reset, &f->dev.obj, &pc->m.io_root, pc->m.run);
    pc_isa_init(pc);
    return true;
}

static void piix3_unrealize(PciFn *f)
{
    reset_port_fini(&((Piix3 *)f)->reset);
}

static void piix3_reset(PciFn *f)
{
    static const struct {
        uint8_t reg, val;
    } values[] = {
        /* 290550, 2.2 */
        { 0x07, 0x02 },
        { 0x4c, 0x4d },
        { 0x4e, 0x03 },
        { 0x60, 0x80 },
        { 0x61, 0x80 },
        { 0x62, 0x80 },
        { 0x63, 0x80 },
        { 0x69, 0x02 },
        { 0x70, 0x80 },
        { 0x76, 0x0c },
        { 0x77, 0x0c },
        { 0x78, 0x02 },
        { 0xa0, 0x08 },
        { 0xa8, 0x0f },
    };
    Piix3 *s = (Piix3 *)f;

    memset(f->config + 0x40, 0, 0xc0);
    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        f->config[values[i].reg] = values[i].val;
    }
    s->reset.val = 0;
    piix3_update(s, pc_of(f));
}

static void piix3_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    if (off < PIIX_PIRQ + PIIX_NLINKS && off + len > PIIX_PIRQ) {
        piix3_update((Piix3 *)f, pc_of(f));
    }
}

static void piix3_init(Obj *o)
{
    pci_fn_init(o);
    ((PciFn *)o)->multifunction = true;
}

static const PciOps piix3_ops = {
    .vendor = 0x8086,
    .device = 0x7000,
    .class_code = 0x060100,
    .realize = piix3_realize,
    .unrealize = piix3_unrealize,
    .reset = piix3_reset,
    .config_wrote = piix3_config_wrote,
};

const ObjClass piix3_class = {
    .name = "PIIX3",
    .parent = "pci-device",
    .help = "ISA bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(Piix3),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &piix3_ops,
    .init = piix3_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

/* Function 3: power management. */

typedef struct Piix4Pm {
    PciFn fn;
    AcpiPm pm;
    Apm apm;
    SmBus smbus;
    uint32_t smb_io_base;
} Piix4Pm;

static void place(Region *io, Region *r, bool on, uint64_t at)
{
    mem_begin();
    if (region_is_mapped(r)) {
        region_unmap(r);
    }
    if (on) {
        region_map(io, at, r, 0);
    }
    mem_commit();
}

uint16_t piix4_pm_base(const PcMachine *pc)
{
    const PciFn *f = pc->root.fn[0x0b];

    return f && f->config[PM_REGMISC] & 1 ? pci_get16(f, PM_BASE) & 0xffc0 : 0;
}

static void piix4_update(Piix4Pm *s)
{
    PciFn *f = &s->fn;
    Region *io = &pc_of(f)->m.io_root;

    place(io, &s->pm.io, f->config[PM_REGMISC] & 1, pci_get16(f, PM_BASE) & 0xffc0);
    place(io, &s->smbus.io, true, pci_get16(f, SMB_BASE) & 0xffc0);
}

static void pm_apm_command(void *opaque, uint8_t cmd)
{
    Piix4Pm *s = opaque;

    if (cmd == 0xf1 ||
        cmd == 0xf0) { /* the values other firmware's FADTs name for ACPI on and off */
        acpi_pm_set_enable(&s->pm, cmd == 0xf1);
    }
}

static bool piix4_realize(PciFn *f, GError **err)
{
    Piix4Pm *s = (Piix4Pm *)f;
    PcMachine *pc = pc_of(f);

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    pci_set16(f, 0x06, 0x0280);
    pci_config_set_pin(f, 1);
    acpi_pm_init(&s->pm, &f->dev.obj, pc->m.run, gsi_irq(&pc->gsi, 9), 4);
    region_map(&pc->m.io_root, PIIX_GPE, &s->pm.gpe, 0);
    apm_init(&s->apm, &f->dev.obj, pm_apm_command, s);
    region_map(&pc->m.io_root, 0xb2, &s->apm.io, 0);
    smbus_init(&s->smbus, &f->dev.obj, SMB_SIZE);
    pc->pm = &s->pm;
    pc->acpi_hotplug = true;
    pc_hotplug_init(pc, PIIX_PCIHP);
    return true;
}

static void piix4_unrealize(PciFn *f)
{
    Piix4Pm *s = (Piix4Pm *)f;

    place(NULL, &s->pm.io, false, 0);
    region_unmap(&s->pm.gpe);
    region_unmap(&s->apm.io);
    smbus_fini(&s->smbus);
    apm_fini(&s->apm);
    acpi_pm_fini(&s->pm);
}

static void piix4_reset(PciFn *f)
{
    Piix4Pm *s = (Piix4Pm *)f;
    unsigned com = pc_com_ports(pc_of(f));

    memset(f->config + 0x40, 0, 0xc0);
    f->config[PM_BASE] = 1;
    /* APMC_EN: firmware takes the SMI handler as installed and leaves SMM, which is not there,
     * alone. */
    f->config[PM_DEVACTB + 3] = 0x02;
    f->config[0x5f] = 0x10; /* serial and parallel ports present: 290562, 7.2.8 */
    f->config[0x63] = 0x60;
    f->config[0x67] = (uint8_t)((com & 1 ? 0x08 : 0) | (com & 2 ? 0x90 : 0));
    pci_set32(f, SMB_BASE, s->smb_io_base | 1);
    f->config[SMB_HSTCFG] = 0x09;
    acpi_pm_reset(&s->pm);
    acpi_pm_set_enable(&s->pm, true); /* without SMM the machine is in ACPI mode from the start */
    apm_reset(&s->apm);
    smbus_reset(&s->smbus);
    piix4_update(s);
}

static void piix4_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    if (off < PM_REGMISC + 1 && off + len > PM_BASE) {
        piix4_update((Piix4Pm *)f);
    } else if (off < SMB_BASE + 4 && off + len > SMB_BASE) {
        piix4_update((Piix4Pm *)f);
    }
}

static const PropSpec piix4_props[] = {
    PROP_U32("smb_io_base", Piix4Pm, smb_io_base, 0xb100, "first SMBus I/O base"),
    PROP_END,
};

static const PciOps piix4_pm_ops = {
    .vendor = 0x8086,
    .device = 0x7113,
    .revision = 3,
    .class_code = 0x068000,
    .realize = piix4_realize,
    .unrealize = piix4_unrealize,
    .reset = piix4_reset,
    .config_wrote = piix4_config_wrote,
};

const ObjClass piix4_pm_class = {
    .name = "PIIX4_PM",
    .parent = "pci-device",
    .help = "PM",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(Piix4Pm),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { piix4_props, NULL }, { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &piix4_pm_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

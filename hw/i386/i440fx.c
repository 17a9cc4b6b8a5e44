/* Intel 82441FX host bridge (290549): attribute map and SMRAM control. There is no SMM, so SMRAM
 * never opens. */
#include "hw/i386/pc.h"

#include <string.h>

enum { I440FX_PAM = 0x59, I440FX_SMRAM = 0x72, SMRAM_LOCK = 1 << 4, SMRAM_OPEN = 1 << 6 };

typedef struct I440fx {
    PciFn fn;
    Pam pam;
} I440fx;

static bool i440fx_realize(PciFn *f, GError **err)
{
    I440fx *s = (I440fx *)f;
    PcMachine *pc = pc_of(f);

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    pam_init(&s->pam, &pc->m.mem_root, &pc->ram, &pc->pci_mem);
    pam_update(&s->pam, f->config + I440FX_PAM);
    return true;
}

static void i440fx_unrealize(PciFn *f)
{
    pam_fini(&((I440fx *)f)->pam);
}

static void i440fx_reset(PciFn *f)
{
    I440fx *s = (I440fx *)f;

    memset(f->config + 0x40, 0, 0xc0);
    /* QEMU compat: RAM in units of 8 MiB, for coreboot. */
    f->config[0x57] = (uint8_t)MIN(pc_of(f)->m.ram_size >> 23, 255);
    f->config[I440FX_SMRAM] = 0x02;
    f->wmask[I440FX_SMRAM] = 0xff;
    pam_update(&s->pam, f->config + I440FX_PAM);
}

static void i440fx_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    if (off < I440FX_PAM + 7 && off + len > I440FX_PAM) {
        pam_update(&((I440fx *)f)->pam, f->config + I440FX_PAM);
    }
    if (f->config[I440FX_SMRAM] & SMRAM_LOCK) { /* 290549, 3.2.21: locked until reset, and closed */
        f->config[I440FX_SMRAM] &= (uint8_t)~SMRAM_OPEN;
        f->wmask[I440FX_SMRAM] = 0;
    }
}

static const PciOps i440fx_ops = {
    .vendor = 0x8086,
    .device = 0x1237,
    .revision = 2,
    .class_code = 0x060000,
    .realize = i440fx_realize,
    .unrealize = i440fx_unrealize,
    .reset = i440fx_reset,
    .config_wrote = i440fx_config_wrote,
};

const ObjClass i440fx_class = {
    .name = "i440FX",
    .parent = "pci-device",
    .help = "Host bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(I440fx),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &i440fx_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

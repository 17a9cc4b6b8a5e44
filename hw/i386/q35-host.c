/* Q35 memory controller hub (Intel 3 Series Express Chipset Family, 316966): PCIEXBAR and attribute
 * map. */
#include "hw/i386/pc.h"

#include <string.h>

enum { MCH_PCIEXBAR = 0x60, MCH_PAM = 0x90, MCH_SMRAM = 0x9d, MCH_ESMRAMC = 0x9e };

typedef struct Mch {
    PciFn fn;
    Pam pam;
} Mch;

/* 316966, 5.1.16: bit 0 enables, bits 2:1 choose 256, 128 or 64 MiB. */
bool mch_ecam(const PcMachine *pc, uint64_t *ret_base, uint32_t *ret_size)
{
    const PciFn *f = pc->host_fn;
    uint64_t v = pci_get32(f, MCH_PCIEXBAR) | (uint64_t)pci_get32(f, MCH_PCIEXBAR + 4) << 32;
    unsigned length = v >> 1 & 3;

    if (!(v & 1) || length == 3) {
        return false;
    }
    *ret_size = 0x10000000u >> length;
    *ret_base = v & UINT64_C(0xfffffffff) & ~(uint64_t)(*ret_size - 1);
    return true;
}

static void mch_update_ecam(PciFn *f)
{
    PcMachine *pc = pc_of(f);
    uint64_t base = 0;
    uint32_t size = 0x10000000;
    bool on = pc->host_fn && mch_ecam(pc, &base, &size);

    pci_host_ecam_map(&pc->host, &pc->m.mem_root, on, base, size);
}

static bool mch_realize(PciFn *f, GError **err)
{
    Mch *s = (Mch *)f;
    PcMachine *pc = pc_of(f);

    memset(f->wmask + 0x40, 0xff, 0xc0);
    f->wmask[0x3c] = f->wmask[0x0c] = 0xff;
    pam_init(&s->pam, &pc->m.mem_root, &pc->ram, &pc->pci_mem);
    pam_update(&s->pam, f->config + MCH_PAM);
    return true;
}

static void mch_unrealize(PciFn *f)
{
    pam_fini(&((Mch *)f)->pam);
}

static void mch_reset(PciFn *f)
{
    memset(f->config + 0x40, 0, 0xc0);
    pci_set32(f, MCH_PCIEXBAR, 0xb0000000);
    pam_update(&((Mch *)f)->pam, f->config + MCH_PAM);
    mch_update_ecam(f);
}

static void mch_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    if (off < MCH_PAM + 7 && off + len > MCH_PAM) {
        pam_update(&((Mch *)f)->pam, f->config + MCH_PAM);
    }
    if (off < MCH_PCIEXBAR + 8 && off + len > MCH_PCIEXBAR) {
        mch_update_ecam(f);
    }
}

static const PciOps mch_ops = {
    .vendor = 0x8086,
    .device = 0x29c0,
    .class_code = 0x060000,
    .realize = mch_realize,
    .unrealize = mch_unrealize,
    .reset = mch_reset,
    .config_wrote = mch_config_wrote,
};

const ObjClass mch_class = {
    .name = "mch",
    .parent = "pci-device",
    .help = "Host bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(Mch),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &mch_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

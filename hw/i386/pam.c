/* What the two chipsets have in common: attribute map, SMBus controller, reset port. Tested through
 * tests/qtest. */
#include "hw/i386/pc.h"

/* Pieces of c0000-effff are 16 KiB each, f0000-fffff is one: number 0, in the first register's
 * upper half. */
static uint64_t pam_at(unsigned i)
{
    return i ? 0xc0000 + (uint64_t)(i - 1) * 0x4000 : 0xf0000;
}

void pam_init(Pam *p, Region *mem, Region *ram, Region *pci_mem)
{
    for (unsigned i = 0; i < PAM_PIECES; i++) {
        uint64_t at = pam_at(i), size = i ? 0x4000 : 0x10000;

        region_init_alias(&p->ram[i], NULL, "pam-ram", ram, at, size);
        region_init_alias(&p->pci[i], NULL, "pam-pci", pci_mem, at, size);
        region_map(mem, at, &p->ram[i], 1);
        region_map(mem, at, &p->pci[i], 1);
    }
    /* What a display adapter decodes is never RAM: there is no SMM to see what lies below. */
    region_init_alias(&p->vga, NULL, "smram-region", pci_mem, 0xa0000, 0x20000);
    region_map(mem, 0xa0000, &p->vga, 1);
}

/* Bit 0 of a half-register enables reads from RAM, bit 1 writes; write-only is taken as PCI space.
 */
void pam_update(Pam *p, const uint8_t *regs)
{
    mem_begin();
    for (unsigned i = 0; i < PAM_PIECES; i++) {
        unsigned v = i ? regs[1 + (i - 1) / 2] >> ((i - 1) % 2 * 4) : regs[0] >> 4;

        region_set_enabled(&p->ram[i], v & 1);
        region_set_readonly(&p->ram[i], !(v & 2));
        region_set_enabled(&p->pci[i], !(v & 1));
    }
    mem_commit();
}

void pam_fini(Pam *p)
{
    for (unsigned i = 0; i < PAM_PIECES; i++) {
        region_unmap(&p->ram[i]);
        region_unmap(&p->pci[i]);
        region_fini(&p->ram[i]);
        region_fini(&p->pci[i]);
    }
    region_unmap(&p->vga);
    region_fini(&p->vga);
}

/* SMBus host controller: ICH9 data sheet, 18.2. */

enum { SMB_STS, SMB_CNT = 2, SMB_CMD, SMB_ADD, SMB_DAT0, SMB_DAT1, SMB_BLK };
enum { SMB_STS_DEV_ERR = 1 << 2, SMB_STS_CLEAR = 0x5e, SMB_CNT_START = 1 << 6 };

static uint64_t smbus_read(void *opaque, uint64_t off, unsigned size)
{
    const SmBus *s = opaque;

    switch (off) {
    case SMB_STS:
        return s->sts;
    case SMB_CNT:
        return s->cnt;
    case SMB_CMD:
        return s->cmd;
    case SMB_ADD:
        return s->add;
    case SMB_DAT0:
        return s->dat0;
    case SMB_DAT1:
        return s->dat1;
    case SMB_BLK:
        return s->blk;
    default:
        return 0;
    }
}

static void smbus_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    SmBus *s = opaque;
    uint8_t v = (uint8_t)val;

    switch (off) {
    case SMB_STS:
        s->sts &= (uint8_t) ~(v & SMB_STS_CLEAR);
        break;
    case SMB_CNT:
        s->cnt = v & (uint8_t)~SMB_CNT_START;
        if (v & SMB_CNT_START) {
            s->sts |= SMB_STS_DEV_ERR; /* no device acknowledges */
        }
        break;
    case SMB_CMD:
        s->cmd = v;
        break;
    case SMB_ADD:
        s->add = v;
        break;
    case SMB_DAT0:
        s->dat0 = v;
        break;
    case SMB_DAT1:
        s->dat1 = v;
        break;
    case SMB_BLK:
        s->blk = v;
        break;
    default:
        break;
    }
}

static const RegionOps smbus_ops = { .read = smbus_read, .write = smbus_write, .max_access = 1 };

void smbus_init(SmBus *s, Obj *owner, uint64_t size)
{
    region_init_io(&s->io, owner, "pm-smbus", &smbus_ops, s, size);
}

void smbus_fini(SmBus *s)
{
    if (region_is_mapped(&s->io)) {
        region_unmap(&s->io);
    }
    region_fini(&s->io);
}

void smbus_reset(SmBus *s)
{
    s->sts = s->cnt = s->cmd = s->add = s->dat0 = s->dat1 = s->blk = 0;
}

/* Reset control: ICH9 data sheet, 13.7.5. Bit 2 resets, bit 1 says how and can be read back. */

static uint64_t rst_read(void *opaque, uint64_t off, unsigned size)
{
    return ((const ResetPort *)opaque)->val;
}

static void rst_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    ResetPort *r = opaque;

    if (val & 1 << 2) {
        run_request_reset(r->run, SHUTDOWN_GUEST_RESET);
        return;
    }
    r->val = val & 1 << 1;
}

static const RegionOps rst_ops = {
    .read = rst_read, .write = rst_write, .max_access = 1, .valid_max = 1
};

void reset_port_init(ResetPort *r, Obj *owner, Region *io, RunState *run)
{
    r->run = run;
    r->val = 0;
    region_init_io(&r->io, owner, "reset-control", &rst_ops, r, 1);
    region_map(io, 0xcf9, &r->io, 1); /* over CONFIG_ADDRESS, which takes dwords only */
}

void reset_port_fini(ResetPort *r)
{
    region_unmap(&r->io);
    region_fini(&r->io);
}

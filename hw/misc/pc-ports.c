/* Ports that latch a byte: POST code, coprocessor error, APM. Covered by tests/unit/test-i8042.c.
 */
#include "hw/misc/pc-ports.h"

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    return 0xff;
}

static void post_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    ((PcPorts *)opaque)->post_code = (uint8_t)val;
}

static void f0_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    PcPorts *p = opaque;

    if (p->ferr) {
        irq_set(p->ferr, false);
    }
}

static const RegionOps post_ops = {
    .read = ports_read, .write = post_write, .min_access = 1, .max_access = 1
};
static const RegionOps f0_ops = {
    .read = ports_read, .write = f0_write, .min_access = 1, .max_access = 1
};

void pc_ports_init(PcPorts *p, Obj *owner, Region *io, Irq *ferr)
{
    p->ferr = ferr;
    p->post_code = 0;
    region_init_io(&p->post, owner, "ioport80", &post_ops, p, 1);
    region_init_io(&p->f0, owner, "ioportF0", &f0_ops, p, 1);
    region_map(io, 0x80, &p->post, 0);
    region_map(io, 0xf0, &p->f0, 0);
}

void pc_ports_fini(PcPorts *p)
{
    region_unmap(&p->post);
    region_unmap(&p->f0);
    region_fini(&p->post);
    region_fini(&p->f0);
}

static uint64_t apm_read(void *opaque, uint64_t off, unsigned size)
{
    const Apm *a = opaque;

    return off ? a->sts : a->cmd;
}

static void apm_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Apm *a = opaque;

    if (off) {
        a->sts = (uint8_t)val;
        return;
    }
    a->cmd = (uint8_t)val;
    if (a->command) {
        a->command(a->opaque, a->cmd);
    }
}

static const RegionOps apm_ops = {
    .read = apm_read, .write = apm_write, .min_access = 1, .max_access = 1
};

void apm_init(Apm *a, Obj *owner, void (*command)(void *opaque, uint8_t cmd), void *opaque)
{
    a->command = command;
    a->opaque = opaque;
    a->cmd = a->sts = 0;
    region_init_io(&a->io, owner, "apm-io", &apm_ops, a, 2);
}

void apm_fini(Apm *a)
{
    region_fini(&a->io);
}

void apm_reset(Apm *a)
{
    a->cmd = a->sts = 0;
}

/*
 * Stand-ins for the chips that an accelerator keeps in the host's kernel: they show in the tree
 * where the soft ones would and take part in reset; the guest's accesses never reach them. Tests:
 * tests/system/test_kvm.py
 */
#include "hw/i386/pc.h"

typedef struct KernelChip {
    Dev dev;
    Accel *accel;
} KernelChip;

static KernelChip *chip_new(const ObjClass *cls, Accel *a)
{
    KernelChip *c = (KernelChip *)obj_new(cls);

    c->accel = a;
    return c;
}

static void chip_add(KernelChip *c, Obj *tree, const char *name)
{
    if (name) {
        obj_add(tree, name, &c->dev.obj);
    } else {
        obj_add_array(tree, "device", &c->dev.obj);
    }
    obj_realize(&c->dev.obj, NULL);
    obj_unref(&c->dev.obj);
}

static void reset_as(Obj *o, AccelChip kind)
{
    Accel *a = ((KernelChip *)o)->accel;

    a->cls->irq->chip_reset(a, kind);
}

static void pic_reset(Obj *o)
{
    reset_as(o, ACCEL_CHIP_PIC);
}

static void ioapic_reset(Obj *o)
{
    reset_as(o, ACCEL_CHIP_IOAPIC);
}

static void pit_reset(Obj *o)
{
    reset_as(o, ACCEL_CHIP_PIT);
}

/* Reset with its vCPU. */
void kernel_lapic_new(VCpu *cpu)
{
    chip_add(chip_new(&kernel_lapic_class, cpu->accel), &cpu->obj, "lapic");
}

static void gsi_set(void *opaque, unsigned n, bool level)
{
    Accel *a = opaque;

    a->cls->irq->line(a, n, level);
}

void kernel_chips_new(PcMachine *pc)
{
    Machine *m = &pc->m;

    chip_add(chip_new(&kernel_pic_class, m->accel), m->unattached, NULL);
    chip_add(chip_new(&kernel_ioapic_class, m->accel),
        obj_container(&m->obj, pc->board->q35 ? "q35" : "i440fx"), "ioapic");
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        irq_init(gsi_irq(&pc->gsi, n), gsi_set, m->accel, n);
    }
}

static void legacy_changed(void *opaque, bool on)
{
    Accel *a = opaque;

    a->cls->irq->pit_legacy(a, on);
}

bool kernel_pit_new(PcMachine *pc, GError **err)
{
    Accel *a = pc->m.accel;

    if (!a->cls->irq->pit_new(a, err)) {
        return false;
    }
    chip_add(chip_new(&kernel_pit_class, a), pc->m.unattached, NULL);
    if (pc->hpet) {
        hpet_on_legacy(pc->hpet, legacy_changed, a);
    }
    return true;
}

/* The clock stops and goes with the machine: AccelClass.run_changed. */
void kernel_clock_new(PcMachine *pc)
{
    chip_add(chip_new(&kernel_clock_class, pc->m.accel), pc->m.unattached, NULL);
}

#define CHIP(var, tname, ...)                                                                      \
    const ObjClass var = { .name = (tname),                                                        \
        .parent = "device",                                                                        \
        .size = sizeof(KernelChip),                                                                \
        .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,                                       \
        __VA_ARGS__ }
CHIP(kernel_lapic_class, "kvm-apic");
CHIP(kernel_ioapic_class, "kvm-ioapic", .reset = ioapic_reset);
CHIP(kernel_pic_class, "kvm-i8259", .reset = pic_reset);
CHIP(kernel_pit_class, "kvm-pit", .reset = pit_reset);
CHIP(kernel_clock_class, "kvmclock");

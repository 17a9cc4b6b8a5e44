/* Interrupt controllers, timers and port devices of the PC boards, and who drives whose wire. */
#include "hw/char/debugcon.h"
#include "hw/char/serial.h"
#include "hw/i386/pc.h"
#include "hw/input/i8042.h"
#include "hw/input/port92.h"
#include "hw/timer/pit.h"
#include "util/log.h"

enum {
    HPET_CAPS_PC = 0x4,
    HPET_CAPS_Q35 = 0xff0104
}; /* which I/O APIC pins its timers may drive */

/* The PIC's INTR reaches the boot processor's LINT0. */
static void pic_intr_changed(void *opaque, unsigned n, bool level)
{
    PcMachine *pc = opaque;
    VCpu *cpu = g_ptr_array_index(pc->m.cpus, 0);

    if (cpu->lapic) {
        lapic_set_extint(cpu->lapic, level);
    } else {
        vcpu_request(cpu, VCPU_IRQ); /* it looks at pic_intr() itself */
    }
}

/* Wire 0 is the keyboard controller's, wire 1 port 92's: either opens the gate. */
static void a20_changed(void *opaque, unsigned n, bool level)
{
    PcMachine *pc = opaque;

    pc->a20_on[n] = level;
    accel_set_a20(pc->m.accel, pc->a20_on[0] || pc->a20_on[1]);
}

/* The chips' own resets come before: after power-on the gate is open until somebody closes it. */
static void a20_reset(void *opaque)
{
    PcMachine *pc = opaque;

    pc->a20_on[0] = true;
    pc->a20_on[1] = false;
    accel_set_a20(pc->m.accel, true);
}

static void reset_wire(void *opaque, unsigned n, bool level)
{
    PcMachine *pc = opaque;

    if (level) {
        run_request_reset(pc->m.run, SHUTDOWN_GUEST_RESET);
    }
}

static bool ext_pending(void *pic)
{
    return pic_intr(pic);
}

static void ioapic_pin(void *opaque, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
    Accel *a = opaque;

    a->cls->irq->ioapic_pin(a, pin, masked, addr, data);
}

static void eoi(void *lapics, uint8_t vector)
{
    lapic_bus_eoi(lapics, vector);
}

/* The local APICs are in the kernel, PIC and I/O APIC are ours. */
static void split_irqchip(PcMachine *pc)
{
    Accel *a = pc->m.accel;

    a->chips.ext_pending = ext_pending;
    a->chips.ext_ack = pic_ack;
    a->chips.ext_opaque = pc->pic;
    a->chips.eoi = eoi;
    a->chips.eoi_opaque = pc->lapics;
    ioapic_on_change(pc->ioapic, ioapic_pin, a);
}

static void soft_irqchips(PcMachine *pc)
{
    Machine *m = &pc->m;

    irq_init(&pc->pic_out, pic_intr_changed, pc, 0);
    pc->pic = pic_new(m->unattached, &m->io_root, &pc->pic_out);
    lapic_bus_set_pic(pc->lapics, pic_ack, pc->pic);
    pc->ioapic = ioapic_new(obj_container(&m->obj, pc->board->q35 ? "q35" : "i440fx"), &m->mem_root,
        0xfec00000, pc->lapics);
    gsi_init(&pc->gsi, pc->pic, pc->ioapic);
    if (accel_irqchip(m->accel) == ACCEL_IRQCHIP_SPLIT) {
        split_irqchip(pc);
    }
}

Irq *pc_pic_irq(PcMachine *pc, unsigned n)
{
    return pc->pic ? pic_irq(pc->pic, n) : gsi_irq(&pc->gsi, n);
}

bool pc_irqchips_init(PcMachine *pc, GError **err)
{
    if (accel_irqchip(pc->m.accel) == ACCEL_IRQCHIP_KERNEL) {
        kernel_chips_new(pc);
    } else {
        soft_irqchips(pc);
    }
    if (pc->m.accel && pc->m.accel->cls->host_model) {
        kernel_clock_new(pc);
    }
    irq_init(&pc->a20[0], a20_changed, pc, 0);
    irq_init(&pc->a20[1], a20_changed, pc, 1);
    irq_init(&pc->reset_wire, reset_wire, pc, 0);
    return true;
}

void pc_isa_init(PcMachine *pc)
{
    isa_bus_init(&pc->isa, &pc->isa_fn->dev, &pc->isa_fn->dev.obj, &pc->m.io_root, pc->gsi.in);
}

static bool make_timers(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    RtcConfig rtc = { .clock = m->rtc_clock_vm ? CLOCK_KIND_VIRTUAL : CLOCK_KIND_HOST,
        .offset_ns = m->rtc_offset_ns };

    if (pc->opt_hpet && !m->no_hpet) {
        pc->hpet = hpet_new(m->unattached, &m->mem_root, 0xfed00000, pc->gsi.in, IOAPIC_PINS,
            pc->board->q35 ? HPET_CAPS_Q35 : HPET_CAPS_PC);
    }
    pc->rtc = rtc_new(
        &m->obj, &m->io_root, &rtc, pc->hpet ? hpet_legacy_in(pc->hpet, 1) : gsi_irq(&pc->gsi, 8));
    /* Each look at the clock or CMOS writes the index first; alone that write does nothing. */
    accel_coalesce(m->accel, m->io, 0x70, 1);
    if (!pc->opt_pit) {
        return true;
    }
    if (accel_irqchip(m->accel) == ACCEL_IRQCHIP_KERNEL) {
        return kernel_pit_new(pc, err);
    }
    pit_new(
        m->unattached, &m->io_root, pc->hpet ? hpet_legacy_in(pc->hpet, 0) : gsi_irq(&pc->gsi, 0));
    return true;
}

bool pc_chips_init(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;

    if (!make_timers(pc, err)) {
        return false;
    }
    dma8237_new(m->unattached, &m->io_root);
    pc_ports_init(&pc->ports, &m->obj, &m->io_root, gsi_irq(&pc->gsi, 13));
    if (pc->opt_i8042) {
        i8042_new(m->unattached, &m->io_root, gsi_irq(&pc->gsi, 1), gsi_irq(&pc->gsi, 12),
            &pc->a20[0], &pc->reset_wire);
    }
    port92_new(m->unattached, &m->io_root, &pc->a20[1], &pc->reset_wire);
    machine_on_reset(m, a20_reset, pc);
    for (unsigned i = 0; i < m->serials->len; i++) {
        Chardev *chr = g_ptr_array_index(m->serials, i);

        if (i >= 4 && chr) {
            return err_set(err, "max isa serial ports reached: -serial number %u", i);
        }
        if (chr) {
            if (!isa_serial_new(m->unattached, &pc->isa, i, chr, err)) {
                return false;
            }
            pc->com[i] = true;
        }
    }
    if (m->debugcon) {
        isa_debugcon_new(m->unattached, &pc->isa, 0xe9, m->debugcon);
    }
    return true;
}

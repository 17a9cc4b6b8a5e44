/*
 * Interrupts that chips of ours hand to a vCPU: with kernel-irqchip=split the PIC's, with
 * kernel-irqchip=off all of them (KVM API, 4.16, 5: ready_for_interrupt_injection). Tests:
 * tests/system/test_kvm.py
 */
#include "hw/intc/lapic.h"
#include "kvm-internal.h"

enum { EVENTS = VCPU_IRQ | VCPU_NMI | VCPU_INIT | VCPU_SIPI };

/* Something for this vCPU that the kernel does not know of. */
static bool is_pending(const KvmVcpu *v)
{
    const Accel *a = &v->ka->a;

    if (v->ka->irqchip == ACCEL_IRQCHIP_SOFT) {
        return v->cpu->lapic && lapic_pending(v->cpu->lapic);
    }
    return v->cpu->index == 0 && a->chips.ext_pending && a->chips.ext_pending(a->chips.ext_opaque);
}

static int acknowledge(KvmVcpu *v)
{
    const Accel *a = &v->ka->a;

    return v->ka->irqchip == ACCEL_IRQCHIP_SOFT ? lapic_ack(v->cpu->lapic)
                                                : a->chips.ext_ack(a->chips.ext_opaque);
}

void kvm_inject(KvmVcpu *v)
{
    struct kvm_run *run = v->run;

    if (v->ka->irqchip == ACCEL_IRQCHIP_KERNEL) {
        return;
    }
    run->request_interrupt_window = 0;
    if (is_pending(v)) {
        if (run->ready_for_interrupt_injection && run->if_flag) {
            int vector = acknowledge(v);
            struct kvm_interrupt irq = { .irq = (uint32_t)vector };

            if (vector >= 0) {
                kvm_must(kvm_ioctl(v->fd, KVM_INTERRUPT, &irq), "KVM_INTERRUPT");
                run->ready_for_interrupt_injection = 0; /* one for each entry */
            }
        }
        run->request_interrupt_window = is_pending(v);
    }
    if (v->ka->irqchip == ACCEL_IRQCHIP_SOFT && v->cpu->lapic) {
        run->cr8 = lapic_cr8(v->cpu->lapic);
    }
}

/* What the guest did to CR8 and IA32_APIC_BASE while it ran. */
void kvm_after_run(KvmVcpu *v)
{
    const struct kvm_run *run = v->run;
    Lapic *l = v->cpu->lapic;

    if (v->ka->irqchip != ACCEL_IRQCHIP_SOFT || !l) {
        return;
    }
    if (run->cr8 != lapic_cr8(l)) {
        lapic_set_cr8(l, (uint8_t)run->cr8);
    }
    if (run->apic_base != lapic_base(l)) {
        lapic_base_write(l, run->apic_base);
    }
}

void kvm_take_requests(KvmVcpu *v)
{
    VCpu *cpu = v->cpu;
    uint32_t got = atomic_load(&cpu->request) & EVENTS;

    if (got) {
        got = atomic_fetch_and(&cpu->request, ~(uint32_t)EVENTS);
    }
    if (got & VCPU_NMI) {
        kvm_must(kvm_ioctl(v->fd, KVM_NMI, NULL), "KVM_NMI");
        v->halted = false;
    }
    if (got & VCPU_INIT) { /* a SIPI sent before it is lost, one behind it comes again */
        kvm_init_signal(v);
    }
    if (got & VCPU_SIPI && v->wait_sipi) {
        kvm_start_ap(v, cpu->sipi_vector);
    }
    if (v->halted && v->run->if_flag && is_pending(v)) {
        v->halted = false;
    }
}

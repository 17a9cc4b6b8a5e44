/*
 * Interrupts and doorbells of virtio-pci: MSI-X vectors, INTx with the ISR byte
 * (VIRTIO 1.4, 4.1.5.1-4.1.5.4), and notify addresses handed to the accelerator as eventfds.
 * Covered by tests/unit/test-virtio-pci.c.
 */
#include "accel/accel.h"
#include "hw/virtio/virtio-pci-internal.h"

/* A vector that does not exist reads back as NO_VECTOR: 4.1.5.1.2.1. */
uint16_t vpci_set_vector(VirtioPci *p, _Atomic uint16_t *vector, uint16_t val)
{
    uint16_t v = val < msix_vectors(&p->fn) ? val : VIRTIO_MSI_NO_VECTOR;

    atomic_store_explicit(vector, v,
        memory_order_relaxed); /* read by fire(); a change races with interrupts in any case */
    return v;
}

void vpci_update_intx(VirtioPci *p)
{
    /* Pairs with the or in vpci_raise(): the level is the OR of all bits, unless MSI-X took over.
     */
    pci_set_irq(
        &p->fn, atomic_load_explicit(&p->isr, memory_order_acquire) && !msix_enabled(&p->fn));
}

uint8_t vpci_isr_read(VirtioPci *p)
{
    uint8_t isr =
        atomic_exchange_explicit(&p->isr, 0, memory_order_acq_rel); /* pairs with vpci_raise() */

    vpci_update_intx(p);
    return isr;
}

static void posted_intx(void *opaque)
{
    VirtioPci *p = opaque;

    /* Pairs with the exchange in vpci_raise(): the bit of who did not post is seen below. */
    atomic_exchange_explicit(&p->intx_posted, false, memory_order_acq_rel);
    if (p->fn.config) {
        vpci_update_intx(p);
    }
    obj_unref(&p->fn.dev.obj);
}

/* From any thread. INTx is a wire of the control plane; the ISR bit comes first (4.1.4.5.1). */
static void vpci_raise(VirtioPci *p, uint8_t bit, _Atomic uint16_t *vector)
{
    atomic_fetch_or_explicit(&p->isr, bit, memory_order_acq_rel); /* pairs with vpci_isr_read() */
    if (msix_enabled(&p->fn)) {
        uint16_t v = atomic_load_explicit(vector, memory_order_relaxed);

        if (v != VIRTIO_MSI_NO_VECTOR) {
            msix_fire(&p->fn, v);
        }
    } else if (vm_lock_held()) {
        vpci_update_intx(p);
    } else if (!atomic_exchange_explicit(
                   &p->intx_posted, true, memory_order_acq_rel)) { /* pairs with posted_intx() */
        obj_ref(&p->fn.dev.obj);
        loop_post(loop_main(), posted_intx, p);
    }
}

static void irq_queue(Obj *transport, unsigned vq)
{
    VirtioPci *p = (VirtioPci *)transport;

    vpci_raise(p, VIRTIO_ISR_QUEUE, &p->q[vq].vector);
}

static void irq_config(Obj *transport)
{
    VirtioPci *p = (VirtioPci *)transport;

    vpci_raise(p, VIRTIO_ISR_CONFIG, &p->config_vector);
}

static DmaSpace *dma(Obj *transport)
{
    return ((VirtioPci *)transport)->fn.dma;
}

static unsigned default_queues(Obj *transport)
{
    const Machine *m = pci_bus_of((PciFn *)transport)->machine;

    return m->cpus && m->cpus->len ? m->cpus->len : MAX(m->smp.cpus, 1);
}

/* Doorbells: each queue's notify addresses as eventfds while the data path runs and the BARs
 * decode. */
static Accel *accel_of(const VirtioPci *p)
{
    return pci_bus_of(&p->fn)->machine->accel;
}

/* Is that what the guest reaches there: no bridge's window closed, no other function's BAR above?
 */
static bool shows(const AddrSpace *as, uint64_t at, const Region *r, uint64_t off)
{
    const FlatRange *f = flatmap_find(addrspace_map(as), at);

    return f && f->region == r && f->off + (at - f->at) == off;
}

static bool bell_wanted(const VirtioPci *p, unsigned i, unsigned kind, Doorbell *ret)
{
    const Machine *m = pci_bus_of(&p->fn)->machine;
    const VpciQueue *q = &p->q[i];
    bool data = virtio_has(p->vd, VIRTIO_F_NOTIFICATION_DATA);

    if (!p->ioeventfd || !p->started || !q->enabled || !m->accel || !dma_space_master(p->fn.dma)) {
        return false;
    }
    *ret = (Doorbell){ .size = 2, .eventfd = -1 };
    switch (kind) {
    case VPCI_BELL_MODERN:
        /* Any value in any width: the ring says what NOTIFICATION_DATA would (2.9). KVM looks
         * neither at the store's width nor at its value then. */
        ret->as = m->mem;
        ret->size = 0;
        ret->at =
            p->fn.bar[vpci_modern_bar(p)].addr + VPCI_NOTIFY_AT + (uint64_t)i * p->notify_mult;
        return p->modern && p->fn.bar[vpci_modern_bar(p)].mapped &&
               shows(m->mem, ret->at, &p->notify, (uint64_t)i * p->notify_mult);
    case VPCI_BELL_PIO:
        ret->as = m->io;
        ret->at = p->fn.bar[2].addr;
        break;
    default:
        ret->as = m->io;
        ret->at = p->fn.bar[0].addr + 0x10;
        break;
    }
    ret->has_match = true;
    ret->match = i;
    if (data) {
        return false; /* no value to match: the upper half changes with each one (2.9) */
    }
    return kind == VPCI_BELL_PIO
               ? p->modern && p->modern_pio_notify && p->fn.bar[2].mapped &&
                     shows(m->io, ret->at, &p->bar_pio, 0)
               : p->legacy && p->fn.bar[0].mapped && shows(m->io, ret->at, &p->bar_legacy, 0x10);
}

void vpci_update_bells(VirtioPci *p)
{
    if (!accel_of(p)) {
        return;
    }
    for (unsigned i = 0; i < p->vd->nvqs; i++) {
        VpciQueue *q = &p->q[i];

        for (unsigned kind = 0; kind < G_N_ELEMENTS(q->bell); kind++) {
            Doorbell now;
            bool want = bell_wanted(p, i, kind, &now);

            if (q->bell_on[kind] && (!want || now.at != q->bell[kind].at)) {
                accel_ioeventfd_del(accel_of(p), &q->bell[kind]);
                q->bell_on[kind] = false;
            }
            if (want && !q->bell_on[kind]) {
                now.eventfd = virtio_queue_kick_fd(p->vd, i, &now.rung);
                q->bell[kind] = now;
                /* False: the guest's writes come as accesses. */
                q->bell_on[kind] = accel_ioeventfd_add(accel_of(p), &now);
            }
        }
    }
}

void vpci_remove_bells(VirtioPci *p)
{
    p->started = false;
    vpci_update_bells(p);
}

static void started(Obj *transport, bool on)
{
    VirtioPci *p = (VirtioPci *)transport;

    p->started = on;
    vpci_update_bells(p);
}

const VirtioBusOps vpci_bus_ops = {
    .irq_queue = irq_queue,
    .irq_config = irq_config,
    .dma = dma,
    .default_queues = default_queues,
    .started = started,
};

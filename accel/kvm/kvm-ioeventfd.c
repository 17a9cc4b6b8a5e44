/*
 * Doorbells as ioeventfds and gathered stores (KVM API, 4.59, 4.116). Tests:
 * tests/system/test_kvm.py
 */
#include "hw/core/machine.h"
#include "kvm-internal.h"
#include "util/loop.h"

#include <string.h>
#include <unistd.h>

bool kvm_ioeventfd(Accel *a, const Doorbell *d, bool add)
{
    const KvmAccel *ka = kvm_of(a);
    bool pio = d->as == a->machine->io;
    struct kvm_ioeventfd e = { .addr = d->at,
        .len = d->size,
        .fd = d->eventfd,
        .datamatch = d->has_match ? d->match : 0,
        .flags = (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (d->has_match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
                 (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) };

    if (!d->size && (d->has_match || !ka->caps.ioeventfd_any)) {
        e.len = 2; /* the usual width; others come as exits and mean the same */
    }
    return kvm_ioctl(ka->vm_fd, KVM_IOEVENTFD, &e) == 0;
}

void kvm_coalesce(Accel *a, const AddrSpace *as, uint64_t at, unsigned size)
{
    const KvmAccel *ka = kvm_of(a);
    bool pio = as == a->machine->io;
    struct kvm_coalesced_mmio_zone z = { .addr = at, .size = size, .pio = pio };

    if (ka->caps.coalesced_page && (!pio || ka->caps.coalesced_pio)) {
        kvm_must(
            kvm_ioctl(ka->vm_fd, KVM_REGISTER_COALESCED_MMIO, &z), "KVM_REGISTER_COALESCED_MMIO");
    }
}

static void make_store(const Machine *m, const struct kvm_coalesced_mmio *c)
{
    uint64_t val = 0;

    if (c->len == 1 || c->len == 2 || c->len == 4 || c->len == 8) {
        memcpy(&val, c->data, c->len);
        addrspace_store(c->pio ? m->io : m->mem, c->phys_addr, c->len, val, NULL);
    }
}

static uint32_t load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

void kvm_coalesced_flush(KvmAccel *ka)
{
    struct kvm_coalesced_mmio_ring *r = atomic_load(&ka->coalesced);

    if (!r || load(&r->first) == load(&r->last)) {
        return;
    }
    uint32_t room =
        (uint32_t)(((size_t)sysconf(_SC_PAGESIZE) - sizeof *r) / sizeof(struct kvm_coalesced_mmio));
    bool held = vm_lock_held();

    if (!held) {
        vm_lock();
    }
    while (load(&r->first) != load(&r->last)) {
        struct kvm_coalesced_mmio c = r->coalesced_mmio[r->first % room];
        __atomic_store_n(&r->first, (r->first + 1) % room, __ATOMIC_RELEASE);
        make_store(ka->a.machine, &c);
    }
    if (!held) {
        vm_unlock();
    }
}

/*
 * Interrupts that the kernel delivers: its chips, messages, routes and irqfds (KVM API, 4.24-4.28,
 * 4.52, 4.70, 4.71, 7.5). Any thread may send; routes have a lock of their own, a leaf. Tests:
 * tests/system/test_kvm.py
 */
#include "kvm-internal.h"
#include "util/bitmap.h"

#include <errno.h>
#include <string.h>

static AccelIrqchip irqchip(const Accel *a)
{
    return ((const KvmAccel *)a)->irqchip;
}

/* Routes. route_lock held. */
static void put_entry(KvmAccel *ka, const struct kvm_irq_routing_entry *e)
{
    if (ka->routes->nr == ka->route_room) {
        ka->route_room *= 2;
        ka->routes = g_realloc(
            ka->routes, sizeof *ka->routes + ka->route_room * sizeof(struct kvm_irq_routing_entry));
    }
    ka->routes->entries[ka->routes->nr++] = *e;
}

static struct kvm_irq_routing_entry *find_entry(KvmAccel *ka, uint32_t gsi)
{
    for (unsigned i = 0; i < ka->routes->nr; i++) {
        if (ka->routes->entries[i].gsi == gsi) {
            return &ka->routes->entries[i];
        }
    }
    return NULL;
}

static void drop_entry(KvmAccel *ka, uint32_t gsi)
{
    struct kvm_irq_routing_entry *e = find_entry(ka, gsi);

    if (e) {
        *e = ka->routes->entries[--ka->routes->nr];
    }
}

static bool commit(const KvmAccel *ka)
{
    return kvm_ioctl(ka->vm_fd, KVM_SET_GSI_ROUTING, ka->routes) == 0;
}

static struct kvm_irq_routing_entry msi_entry(uint32_t gsi, uint64_t addr, uint32_t data)
{
    return (struct kvm_irq_routing_entry){ .gsi = gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {
            .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data } };
}

static bool same_msi(const struct kvm_irq_routing_entry *x, const struct kvm_irq_routing_entry *y)
{
    return x->u.msi.address_lo == y->u.msi.address_lo &&
           x->u.msi.address_hi == y->u.msi.address_hi && x->u.msi.data == y->u.msi.data;
}

static int route_add(Accel *a, uint64_t addr, uint32_t data)
{
    KvmAccel *ka = kvm_of(a);
    uint32_t gsi = KVM_GSI_PINS;
    int ret = -1;

    g_mutex_lock(&ka->route_lock);
    while (gsi < ka->caps.routes && bitmap_test(ka->gsi_used, gsi)) {
        gsi++;
    }
    if (gsi < ka->caps.routes && ka->routes->nr < ka->caps.routes) {
        struct kvm_irq_routing_entry e = msi_entry(gsi, addr, data);
        put_entry(ka, &e);
        if (commit(ka)) {
            bitmap_set(ka->gsi_used, gsi);
            ret = (int)gsi;
        } else {
            ka->routes->nr--;
        }
    }
    g_mutex_unlock(&ka->route_lock);
    return ret;
}

static bool route_set(Accel *a, int gsi, uint64_t addr, uint32_t data)
{
    KvmAccel *ka = kvm_of(a);
    struct kvm_irq_routing_entry now = msi_entry((uint32_t)gsi, addr, data), was, *e;
    bool ok = true;

    g_mutex_lock(&ka->route_lock);
    e = find_entry(ka, (uint32_t)gsi);
    g_assert(e);
    if (!same_msi(e, &now)) {
        was = *e;
        *e = now;
        ok = commit(ka);
        if (!ok) {
            *e = was;
        }
    }
    g_mutex_unlock(&ka->route_lock);
    return ok;
}

static void route_del(Accel *a, int gsi)
{
    KvmAccel *ka = kvm_of(a);

    g_mutex_lock(&ka->route_lock);
    drop_entry(ka, (uint32_t)gsi);
    bitmap_clear(ka->gsi_used, (unsigned)gsi);
    kvm_must(commit(ka) ? 0 : -1, "KVM_SET_GSI_ROUTING");
    g_mutex_unlock(&ka->route_lock);
}

/* The route says which vectors are level-triggered, so that the kernel tells of their EOIs. */
static void ioapic_pin(Accel *a, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
    KvmAccel *ka = kvm_of(a);
    struct kvm_irq_routing_entry now = msi_entry(pin, addr, data), *e;

    g_mutex_lock(&ka->route_lock);
    e = find_entry(ka, pin);
    if (masked ? e != NULL : !e || !same_msi(e, &now)) {
        drop_entry(ka, pin);
        if (!masked) {
            put_entry(ka, &now);
        }
        kvm_must(commit(ka) ? 0 : -1, "KVM_SET_GSI_ROUTING");
    }
    g_mutex_unlock(&ka->route_lock);
}

/* As hw/intc/gsi.h: interrupt 0 is pin 2 of the I/O APIC, input 2 of the PIC its cascade. */
static bool chip_routes(KvmAccel *ka)
{
    for (uint32_t gsi = 0; gsi < KVM_GSI_PINS; gsi++) {
        struct kvm_irq_routing_entry e = { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };

        if (gsi < 16 && gsi != 2) {
            e.u.irqchip.irqchip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
            e.u.irqchip.pin = gsi & 7;
            put_entry(ka, &e);
        }
        if (gsi != 2) {
            e.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
            e.u.irqchip.pin = gsi ? gsi : 2;
            put_entry(ka, &e);
        }
    }
    return commit(ka);
}

/* Sending. */
static void line(Accel *a, unsigned gsi, bool level)
{
    struct kvm_irq_level l = { .irq = gsi, .level = level };

    kvm_must(kvm_ioctl(kvm_of(a)->vm_fd, KVM_IRQ_LINE, &l), "KVM_IRQ_LINE");
}

static void msi(Accel *a, uint64_t addr, uint32_t data)
{
    struct kvm_msi m = {
        .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data
    };

    /* A negative answer is the guest's: a message that nobody takes. */
    kvm_ioctl(kvm_of(a)->vm_fd, KVM_SIGNAL_MSI, &m);
}

static bool irqfd(Accel *a, unsigned gsi, int fd, int resample, bool add)
{
    const KvmAccel *ka = kvm_of(a);
    struct kvm_irqfd f = { .fd = (uint32_t)fd, .gsi = gsi };

    if (!ka->caps.irqfd || (resample >= 0 && !ka->caps.resample)) {
        return false;
    }
    if (!add) {
        f.flags = KVM_IRQFD_FLAG_DEASSIGN;
    } else if (resample >= 0) {
        f.flags = KVM_IRQFD_FLAG_RESAMPLE;
        f.resamplefd = (uint32_t)resample;
    }
    return kvm_ioctl(ka->vm_fd, KVM_IRQFD, &f) == 0;
}

/* The kernel's chips. */
static void get_chip(const KvmAccel *ka, uint32_t id, struct kvm_irqchip *ret)
{
    *ret = (struct kvm_irqchip){ .chip_id = id };
    kvm_must(kvm_ioctl(ka->vm_fd, KVM_GET_IRQCHIP, ret), "KVM_GET_IRQCHIP");
}

static void set_chip(const KvmAccel *ka, struct kvm_irqchip *chip)
{
    kvm_must(kvm_ioctl(ka->vm_fd, KVM_SET_IRQCHIP, chip), "KVM_SET_IRQCHIP");
}

static bool pit_new(Accel *a, GError **err)
{
    KvmAccel *ka = kvm_of(a);
    struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };

    if (kvm_ioctl(ka->vm_fd, KVM_CREATE_PIT2, &config) < 0) {
        return err_set_errno(err, "KVM makes no interval timer");
    }
    ka->has_pit = true;
    kvm_must(kvm_ioctl(ka->vm_fd, KVM_GET_PIT2, &ka->pit_at_reset), "KVM_GET_PIT2");
    return true;
}

static void pit_legacy(Accel *a, bool hpet)
{
    KvmAccel *ka = kvm_of(a);
    struct kvm_pit_state2 s;

    if (ka->has_pit) {
        kvm_must(kvm_ioctl(ka->vm_fd, KVM_GET_PIT2, &s), "KVM_GET_PIT2");
        s.flags = hpet ? s.flags | KVM_PIT_FLAGS_HPET_LEGACY
                       : s.flags & ~(uint32_t)KVM_PIT_FLAGS_HPET_LEGACY;
        kvm_must(kvm_ioctl(ka->vm_fd, KVM_SET_PIT2, &s), "KVM_SET_PIT2");
    }
}

static void chip_reset(Accel *a, AccelChip chip)
{
    KvmAccel *ka = kvm_of(a);

    switch (chip) {
    case ACCEL_CHIP_PIC:
        set_chip(ka, &ka->chip_at_reset[KVM_IRQCHIP_PIC_MASTER]);
        set_chip(ka, &ka->chip_at_reset[KVM_IRQCHIP_PIC_SLAVE]);
        break;
    case ACCEL_CHIP_IOAPIC:
        set_chip(ka, &ka->chip_at_reset[KVM_IRQCHIP_IOAPIC]);
        break;
    case ACCEL_CHIP_PIT:
        if (ka->has_pit) {
            kvm_must(kvm_ioctl(ka->vm_fd, KVM_SET_PIT2, &ka->pit_at_reset), "KVM_SET_PIT2");
        }
        break;
    }
}

/* What a PC's firmware leaves: vectors 8 and 70h, the timer at 18.2 Hz. */
static void chips_firmware(Accel *a, const uint8_t imr[2], const uint8_t elcr[2])
{
    static const uint8_t base[2] = { 0x08, 0x70 };
    KvmAccel *ka = kvm_of(a);

    for (unsigned i = 0; i < 2; i++) {
        struct kvm_irqchip c;

        get_chip(ka, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &c);
        c.chip.pic.irq_base = base[i];
        c.chip.pic.imr = imr[i];
        c.chip.pic.elcr = elcr[i];
        c.chip.pic.init_state = 0;
        c.chip.pic.init4 = 1;
        set_chip(ka, &c);
    }
    if (ka->has_pit) {
        struct kvm_pit_state2 s = ka->pit_at_reset;

        s.channels[0].mode = 2;
        s.channels[0].rw_mode = s.channels[0].read_state = s.channels[0].write_state = 3;
        s.channels[0].count = 0x10000;
        s.channels[0].gate = 1;
        kvm_must(kvm_ioctl(ka->vm_fd, KVM_SET_PIT2, &s), "KVM_SET_PIT2");
    }
}

/* Life. */
static bool make_chips(KvmAccel *ka, GError **err)
{
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_GSI_PINS } };

    if (ka->irqchip == ACCEL_IRQCHIP_SPLIT) {
        if (kvm_ioctl(ka->vm_fd, KVM_ENABLE_CAP, &split) < 0) {
            return err_set_errno(err, "Could not enable split irqchip mode");
        }
        return true;
    }
    if (kvm_ioctl(ka->vm_fd, KVM_CREATE_IRQCHIP, NULL) < 0) {
        return err_set_errno(err, "Create kernel irqchip failed");
    }
    for (uint32_t i = 0; i < G_N_ELEMENTS(ka->chip_at_reset); i++) {
        get_chip(ka, i, &ka->chip_at_reset[i]);
    }
    return chip_routes(ka) || err_set_errno(err, "KVM_SET_GSI_ROUTING");
}

bool kvm_irq_init(KvmAccel *ka, GError **err)
{
    ka->route_room = 64;
    ka->routes =
        g_malloc0(sizeof *ka->routes + ka->route_room * sizeof(struct kvm_irq_routing_entry));
    ka->gsi_used = g_new0(uint64_t, BITMAP_WORDS(MAX(ka->caps.routes, 1)));
    if (ka->irqchip == ACCEL_IRQCHIP_SOFT) {
        return true;
    }
    if (!ka->caps.routes || !ka->caps.signal_msi) {
        return err_set(
            err, "the host's KVM lacks interrupt routes or messages: use kernel-irqchip=off");
    }
    return make_chips(ka, err);
}

void kvm_irq_fini(KvmAccel *ka)
{
    g_free(ka->routes);
    g_free(ka->gsi_used);
}

const AccelIrqOps kvm_irq_ops = {
    .irqchip = irqchip,
    .line = line,
    .msi = msi,
    .route_add = route_add,
    .route_set = route_set,
    .route_del = route_del,
    .irqfd = irqfd,
    .ioapic_pin = ioapic_pin,
    .pit_new = pit_new,
    .pit_legacy = pit_legacy,
    .chip_reset = chip_reset,
    .chips_firmware = chips_firmware,
};

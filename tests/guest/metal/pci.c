/* The port that vdriver works through, on real instructions; finding functions; MSI-X. */
#include "tests/guest/metal/metal.h"

static uint32_t ecam_addr; /* what was written to 0xcf8, when there is no such port */

static volatile void *at_of(bool io, uint64_t *at)
{
    if (io && opt.ecam && (*at & ~UINT64_C(7)) == 0xcf8 && *at >= 0xcfc) {
        *at = opt.ecam + (((ecam_addr >> 8 & 0xffff) << 12) | (ecam_addr & 0xff)) + (*at & 3);
        return (volatile void *)(uintptr_t)*at;
    }
    return io ? NULL : (volatile void *)(uintptr_t)*at;
}

static void in0(uint64_t at, uint64_t size, uint64_t ret, uint64_t unused)
{
    uint32_t v = 0;

    (void)unused;
    if (size == 1) {
        __asm__ volatile("inb %w1, %b0" : "+a"(v) : "d"((uint32_t)at) : "memory");
    } else if (size == 2) {
        __asm__ volatile("inw %w1, %w0" : "+a"(v) : "d"((uint32_t)at) : "memory");
    } else {
        __asm__ volatile("inl %w1, %0" : "+a"(v) : "d"((uint32_t)at) : "memory");
    }
    *(uint32_t *)(uintptr_t)ret = v;
}

static void out0(uint64_t at, uint64_t size, uint64_t val, uint64_t unused)
{
    (void)unused;
    if (size == 1) {
        __asm__ volatile("outb %b0, %w1" ::"a"(val), "d"((uint32_t)at) : "memory");
    } else if (size == 2) {
        __asm__ volatile("outw %w0, %w1" ::"a"(val), "d"((uint32_t)at) : "memory");
    } else {
        __asm__ volatile("outl %k0, %w1" ::"a"(val), "d"((uint32_t)at) : "memory");
    }
}

static uint64_t port_load(void *opaque, bool io, uint64_t at, unsigned size)
{
    volatile void *p = at_of(io, &at);
    uint32_t v = 0;

    (void)opaque;
    if (p) {
        return size == 1   ? *(volatile uint8_t *)p
               : size == 2 ? *(volatile uint16_t *)p
               : size == 4 ? *(volatile uint32_t *)p
                           : *(volatile uint64_t *)p;
    }
    cpu_call0(in0, at, size, (uint64_t)(uintptr_t)&v, 0);
    return v;
}

static void port_store(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val)
{
    volatile void *p;

    (void)opaque;
    if (io && opt.ecam && at == 0xcf8) {
        ecam_addr = (uint32_t)val;
        return;
    }
    p = at_of(io, &at);
    if (!p) {
        cpu_call0(out0, at, size, val, 0);
    } else if (size == 1) {
        *(volatile uint8_t *)p = (uint8_t)val;
    } else if (size == 2) {
        *(volatile uint16_t *)p = (uint16_t)val;
    } else if (size == 4) {
        *(volatile uint32_t *)p = (uint32_t)val;
    } else {
        *(volatile uint64_t *)p = val;
    }
}

static void port_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    (void)opaque;
    if (len == 2) {
        *(uint16_t *)dst = *(volatile uint16_t *)(uintptr_t)at;
    } else if (len == 4) {
        *(uint32_t *)dst = *(volatile uint32_t *)(uintptr_t)at;
    } else {
        __builtin_memcpy(dst, (const void *)(uintptr_t)at, len);
    }
}

static void port_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    (void)opaque;
    if (len == 2) { /* indexes and flags must not be torn */
        *(volatile uint16_t *)(uintptr_t)at = *(const uint16_t *)src;
    } else {
        __builtin_memcpy((void *)(uintptr_t)at, src, len);
    }
}

static bool port_step(void *opaque)
{
    (void)opaque;
    __asm__ volatile("pause" ::: "memory");
    return true;
}

const VPort metal_port = { .load = port_load,
    .store = port_store,
    .read = port_read,
    .write = port_write,
    .step = port_step };

static bool is_virtio(unsigned devfn, unsigned virtio_id)
{
    /* Transitional device IDs: VIRTIO 1.4, 4.1.2.1. */
    static const uint16_t old[] = { 0, 0x1000, 0x1001, 0x1003, 0x1005 };
    uint32_t id = vd_cfg_read(&metal_port, 0, devfn, 0, 4);
    uint16_t dev = (uint16_t)(id >> 16);

    return (id & 0xffff) == 0x1af4 &&
           (dev == 0x1040 + virtio_id || (virtio_id < 5 && dev == old[virtio_id]));
}

bool pci_find(unsigned virtio_id, unsigned nth, VDriver *d)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (vd_cfg_read(&metal_port, 0, devfn, 0, 2) != 0xffff && is_virtio(devfn, virtio_id) &&
            !nth--) {
            vd_open_at(d, &metal_port, 0, devfn, opt.legacy, opt.mem);
            d->alloc = 0x1000000 + devfn * UINT64_C(0x200000);
            CHECK(opt.legacy ? d->bar[0] : d->common);
            return true;
        }
    }
    return false;
}

void pci_enable_msix(VDriver *d, unsigned first_irq)
{
    unsigned n, table;
    uint64_t at;

    CHECK(d->cap_msix);
    n = (vd_cfg_read(&metal_port, 0, d->devfn, d->cap_msix + 2, 2) & 0x7ff) + 1;
    table = vd_cfg_read(&metal_port, 0, d->devfn, d->cap_msix + 4, 4);
    at = d->bar[table & 7] + (table & ~7u);
    for (unsigned v = 0; v < n; v++) { /* SDM vol. 3, 11.11: to APIC 0, fixed, edge */
        uint64_t e = at + v * 16;

        port_store(NULL, false, e, 4, 0xfee00000);
        port_store(NULL, false, e + 4, 4, 0);
        port_store(NULL, false, e + 8, 4, IRQ_BASE + (first_irq + v) % IRQ_MAX);
        port_store(NULL, false, e + 12, 4, 0);
    }
    vd_cfg_write(&metal_port, 0, d->devfn, d->cap_msix + 2, 2, 0x8000);
    d->msix = true;
}

/* INTx. */

static VDriver *wired;

static bool wire_ack(void)
{
    return vd_isr(wired) & 1;
}

/* PIIX3: its four links to interrupt 11 (290550, 2.2.7). Other boards have wires of their own to
 * the I/O APIC from pin 16 on. */
static void route_links(void)
{
    if (vd_cfg_read(&metal_port, 0, 1 << 3, 0, 4) == 0x70008086) {
        vd_cfg_write(&metal_port, 0, 1 << 3, 0x60, 4, 0x0b0b0b0b);
    }
}

void pci_enable_intx(VDriver *d, unsigned irq)
{
    enum { LEVEL = 1 << 15 };
    static const uint8_t pins[] = { 11, 16, 17, 18, 19, 20, 21, 22, 23 };

    wired = d;
    irq_ack = wire_ack;
    route_links();
    for (unsigned i = 0; i < sizeof(pins); i++) {
        ioapic_pin(pins[i], (IRQ_BASE + irq) | LEVEL);
    }
}

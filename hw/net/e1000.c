/* Intel 82540EM Gigabit Ethernet: registers, EEPROM, PHY, interrupts (317453). Transmit and receive
 * are in e1000-tx.c and e1000-rx.c. Tested by test-e1000 and the guests of tests/guest/nic.py. */
#include "hw/net/e1000.h"

#include "system/runstate.h"

#include <stddef.h>
#include <string.h>

enum {
    EECD_SK = 1,
    EECD_CS = 2,
    EECD_DI = 4,
    EECD_DO = 8,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRES = 0x100,
    EERD_START = 1,
    EERD_DONE = 16,
    MDIC_READY = 1 << 28,
    MDIC_INT = 1 << 29,
    MDIC_ERROR = 1 << 30,
    EE_SUM = 0xbaba, /* of all 64 words: 5.6.35 */
    PHY_CTRL = 0,
    PHY_STATUS = 1,
    PHY_LPA = 5,
    PHY_EXPANSION = 6,
    PHY_SPECIFIC = 17,
    PHY_RESET = 1 << 15,
    PHY_RESTART = 1 << 9,
    PHY_S_LINK = 1 << 2,
    PHY_S_DONE = 1 << 5
};

/* What Debian's QEMU has in there: words 0 to 2 are the address, word 63 the sum. */
static const uint16_t eeprom_default[64] = { [4] = 0xffff,
    [8] = 0x3000,
    0x1000,
    0x6403,
    0x100e,
    0x8086,
    0x100e,
    0x8086,
    0x3040,
    0x0008,
    0x2000,
    0x7e14,
    0x0048,
    0x1000,
    0x00d8,
    0x0000,
    0x2700,
    0x6cc9,
    0x3150,
    0x0722,
    0x040b,
    0x0984,
    0x0000,
    0xc000,
    0x0706,
    0x1008,
    0x0000,
    0x0f04,
    0x7fff,
    0x4d01,
    [37 ... 47] = 0xffff,
    0x0100,
    0x4000,
    0x121c,
    [51 ... 62] = 0xffff };

/* The M88E1000 PHY. Registers that are not named answer with an error. */
static const struct {
    uint16_t value;
    bool read, write;
} phy_reg[32] = { [PHY_CTRL] = { 0x1140, true, true },
    [PHY_STATUS] = { 0x7949, true, false },
    [2] = { 0x0141, true, false },
    [3] = { 0x0c20, true, false },
    [4] = { 0x0de1, true, true },
    [PHY_LPA] = { 0x01e0, true, false },
    [PHY_EXPANSION] = { 0, true, false },
    [9] = { 0x0e00, true, true },
    [10] = { 0x3c00, true, false },
    [16] = { 0x0360, true, true },
    [PHY_SPECIFIC] = { 0xa800, true, false },
    [20] = { 0x0d60, true, true },
    [21] = { 0, true, false },
    [29] = { 0, false, true },
    [30] = { 0, false, true } };

/* ---- interrupts ---- */

/* The level follows ICR and IMS, but does not rise before the interval of ITR is over (13.4.18). */
static void update_line(E1000 *s)
{
    bool want = *e1000_reg(s, E_ICR) & *e1000_reg(s, E_IMS);
    uint32_t interval = *e1000_reg(s, E_ITR) & 0xffff;

    if (want && !s->intx) {
        if (timer_pending(&s->throttle)) {
            return;
        }
        if (interval) {
            timer_mod(&s->throttle, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)interval * 256);
        }
    }
    if (want != s->intx) {
        s->intx = want;
        pci_set_irq(&s->fn, want);
    }
}

static void throttle_over(void *opaque)
{
    update_line(opaque);
}

void e1000_cause(E1000 *s, uint32_t bits)
{
    *e1000_reg(s, E_ICR) |= bits;
    update_line(s);
}

void e1000_count(E1000 *s, unsigned off, uint64_t n, bool wide)
{
    uint32_t *low = e1000_reg(s, off);
    uint64_t was = wide ? *low | (uint64_t)low[1] << 32 : *low, now = was + n;

    if (now < was || (!wide && now > UINT32_MAX)) {
        now = UINT64_MAX;
    }
    *low = (uint32_t)now;
    if (wide) {
        low[1] = (uint32_t)(now >> 32);
    }
}

/* ---- link ---- */

static void set_link(E1000 *s, bool up)
{
    uint32_t *status = e1000_reg(s, E_STATUS);
    bool was = *status & STATUS_LU;

    *status = up ? *status | STATUS_LU : *status & ~(uint32_t)STATUS_LU;
    if (up) {
        s->phy[PHY_STATUS] |= PHY_S_LINK | PHY_S_DONE;
        s->phy[PHY_LPA] |= 1 << 14; /* acknowledged */
        s->phy[PHY_SPECIFIC] |= 1 << 10;
    } else {
        s->phy[PHY_STATUS] &= (uint16_t) ~(PHY_S_LINK | PHY_S_DONE);
        s->phy[PHY_LPA] &= (uint16_t) ~(1 << 14);
        s->phy[PHY_SPECIFIC] &= (uint16_t) ~(1 << 10);
    }
    if (was != up) {
        e1000_cause(s, INT_LSC);
    }
}

static void phy_reset(E1000 *s)
{
    for (unsigned i = 0; i < 32; i++) {
        s->phy[i] = phy_reg[i].value;
    }
    set_link(s, !s->port.link_down);
}

static uint32_t mdic(E1000 *s, uint32_t v)
{
    unsigned addr = v >> 16 & 31, phy = v >> 21 & 31, op = v >> 26 & 3;
    uint32_t r = v & ~(uint32_t)MDIC_ERROR;

    if (phy != 1 || !(op == 2 ? phy_reg[addr].read : op == 1 && phy_reg[addr].write)) {
        r |= MDIC_ERROR;
    } else if (op == 2) {
        r = (r & 0xffff0000u) | s->phy[addr];
    } else if (addr == PHY_CTRL && v & PHY_RESET) {
        phy_reset(s);
    } else if (addr == PHY_CTRL) {
        /* Negotiation takes no time here; the bit clears itself. */
        s->phy[PHY_CTRL] = v & 0x7dff & ~0x3fu;
        if (v & PHY_RESTART) {
            set_link(s, !s->port.link_down);
        }
    } else {
        s->phy[addr] = (uint16_t)v;
    }
    r |= MDIC_READY;
    if (v & MDIC_INT) {
        e1000_cause(s, INT_MDAC);
    }
    return r;
}

/* ---- EEPROM ---- */

/* Microwire, 5.3: a start bit, the opcode 10, six bits of address; then words, highest bit first.
 */
static void eecd_write(E1000 *s, uint32_t v)
{
    uint32_t *eecd = e1000_reg(s, E_EECD), was = *eecd;

    v &= EECD_SK | EECD_CS | EECD_DI | EECD_REQ;
    *eecd = v | (was & EECD_DO) | EECD_PRES | EECD_GNT;
    if (!(v & EECD_CS)) {
        s->ee_bits = s->ee_in = 0;
        *eecd |= EECD_DO;
        return;
    }
    if (!(v & EECD_SK) || was & EECD_SK) {
        return;
    }
    if (s->ee_bits < 9) {
        if (!s->ee_bits && !(v & EECD_DI)) {
            return; /* no start bit yet */
        }
        s->ee_in = s->ee_in << 1 | !!(v & EECD_DI);
        s->ee_bits++;
        *eecd &= ~(uint32_t)EECD_DO;
        return;
    }
    if (s->ee_in >> 6 != 6) {
        return; /* no write, no erase */
    }
    unsigned at = s->ee_bits++ - 9;
    bool bit = s->eeprom[(s->ee_in + at / 16) & 63] >> (15 - at % 16) & 1;
    *eecd = (*eecd & ~(uint32_t)EECD_DO) | (bit ? EECD_DO : 0);
}

static uint32_t eerd(const E1000 *s)
{
    uint32_t v = s->reg[E_EERD / 4], at = v >> 8 & 0xff;

    if (!(v & EERD_START)) {
        return v;
    }
    return (v & 0xffff) | EERD_DONE | (at < 64 ? (uint32_t)s->eeprom[at] << 16 : 0);
}

/* ---- reset ---- */

/* The first receive address is the card's own (13.5.2). */
static void own_address(E1000 *s)
{
    if (s->port_ready) {
        net_set_nic(&s->port, "e1000", (const uint8_t *)e1000_reg(s, E_RAL));
    }
}

static void registers_reset(E1000 *s)
{
    bool extra = s->port_ready && !s->port.link_down;

    memset(s->reg, 0, sizeof s->reg);
    e1000_tx_reset(s);
    timer_del(&s->throttle);
    s->ee_bits = s->ee_in = 0;
    *e1000_reg(s, E_CTRL) = 0x00140240;
    *e1000_reg(s, E_STATUS) = 0x80080781;
    *e1000_reg(s, E_EECD) = EECD_PRES | EECD_GNT | EECD_DO;
    *e1000_reg(s, E_VET) = s->init_vet ? 0x8100 : 0;
    *e1000_reg(s, E_LEDCTL) = 0x602;
    *e1000_reg(s, E_PBA) = 0x00100030;
    *e1000_reg(s, E_MANC) = 0x00222300;
    memcpy(e1000_reg(s, E_RAL), s->mac.a, 4);
    *e1000_reg(s, E_RAL + 4) = 1u << 31 | (uint32_t)s->mac.a[5] << 8 | s->mac.a[4];
    own_address(s);
    phy_reset(s);
    *e1000_reg(s, E_STATUS) = 0x80080781 | (extra ? STATUS_LU : 0);
    *e1000_reg(s, E_ICR) = 0;
    update_line(s);
}

/* ---- registers ---- */

static uint32_t reg_read(E1000 *s, unsigned off)
{
    uint32_t v;

    if (off >= E_REGS) {
        return 0;
    }
    v = *e1000_reg(s, off);
    switch (off) {
    case E_EERD:
        return eerd(s);
    case E_ICS:
        off = E_ICR;
        return *e1000_reg(s, E_ICR);
    case E_ICR: /* reading acknowledges everything: 13.4.17 */
        *e1000_reg(s, E_ICR) = 0;
        update_line(s);
        return v;
    case E_IMC:
        return 0;
    default:
        if (off >= E_STATS && off < E_STATS_END) {
            *e1000_reg(s, off) = 0;
        }
        return v;
    }
}

static bool is_read_only(unsigned off)
{
    return off == E_STATUS || (off >= E_STATS && off < E_STATS_END);
}

static void reg_write(E1000 *s, unsigned off, uint32_t v)
{
    if (off >= E_REGS || is_read_only(off)) {
        return;
    }
    switch (off) {
    case E_CTRL:
        if (v & CTRL_RST) {
            registers_reset(s);
            return;
        }
        *e1000_reg(s, off) = v & 0x7fffffff;
        if (v >> 31) {
            phy_reset(s);
        }
        return;
    case E_EECD:
        eecd_write(s, v);
        return;
    case E_MDIC:
        *e1000_reg(s, off) = mdic(s, v);
        return;
    case E_ICR:
        *e1000_reg(s, E_ICR) &= ~v;
        update_line(s);
        return;
    case E_ICS:
        e1000_cause(s, v);
        return;
    case E_IMS:
        *e1000_reg(s, E_IMS) |= v;
        update_line(s);
        return;
    case E_IMC:
        *e1000_reg(s, E_IMS) &= ~v;
        update_line(s);
        return;
    case E_RDLEN:
    case E_TDLEN:
        *e1000_reg(s, off) = v & 0xfff80;
        return;
    case E_RDBAL:
    case E_TDBAL:
        *e1000_reg(s, off) = v & ~15u;
        return;
    case E_RDH:
    case E_TDH:
        *e1000_reg(s, off) = v & 0xffff;
        return;
    case E_RDT:
        *e1000_reg(s, off) = v & 0xffff;
        net_ready(&s->port);
        return;
    case E_RCTL:
        *e1000_reg(s, off) = v;
        net_ready(&s->port);
        return;
    case E_RAL:
    case E_RAL + 4:
        *e1000_reg(s, off) = v;
        own_address(s);
        return;
    case E_TDT:
        *e1000_reg(s, off) = v & 0xffff;
        e1000_transmit(s);
        return;
    case E_TCTL:
        *e1000_reg(s, off) = v;
        e1000_transmit(s);
        return;
    default:
        *e1000_reg(s, off) = v;
        return;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t off, G_GNUC_UNUSED unsigned size)
{
    return reg_read(opaque, (unsigned)off & ~3u);
}

static void mmio_write(void *opaque, uint64_t off, G_GNUC_UNUSED unsigned size, uint64_t v)
{
    reg_write(opaque, (unsigned)off & ~3u, (uint32_t)v);
}

static const RegionOps mmio_ops = {
    .read = mmio_read, .write = mmio_write, .min_access = 4, .max_access = 4
};

/* IOADDR and IODATA: 13.3 */
static uint64_t io_read(void *opaque, uint64_t off, G_GNUC_UNUSED unsigned size)
{
    E1000 *s = opaque;

    return off == 0 ? s->io_addr : off == 4 ? reg_read(s, s->io_addr & 0x1fffc) : 0;
}

static void io_write(void *opaque, uint64_t off, G_GNUC_UNUSED unsigned size, uint64_t v)
{
    E1000 *s = opaque;

    if (off == 0) {
        s->io_addr = (uint32_t)v;
    } else if (off == 4) {
        reg_write(s, s->io_addr & 0x1fffc, (uint32_t)v);
    }
}

static const RegionOps io_ops = {
    .read = io_read, .write = io_write, .min_access = 4, .max_access = 4
};

/* ---- the cable ---- */

static E1000 *e1000_of(NetPort *p)
{
    return (E1000 *)((char *)p - offsetof(E1000, port));
}

static NetVerdict port_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    return e1000_receive(e1000_of(p), iov, n, len);
}

static void port_writable(NetPort *p)
{
    e1000_transmit(e1000_of(p));
}

static void port_link(NetPort *p, bool up)
{
    set_link(e1000_of(p), up);
}

static const NetPortOps port_ops = {
    .receive = port_receive, .writable = port_writable, .link = port_link
};

static void tx_more(void *opaque)
{
    e1000_transmit(opaque);
}

/* ---- life ---- */

static bool e1000_realize(PciFn *f, G_GNUC_UNUSED GError **err)
{
    E1000 *s = (E1000 *)f;
    g_autofree char *name = f->dev.id ? g_strdup(f->dev.id) : net_nic_name("e1000");
    uint16_t sum = 0;

    if (!s->mac.set) {
        net_default_mac(&s->mac);
    }
    memcpy(s->eeprom, eeprom_default, sizeof s->eeprom);
    for (unsigned i = 0; i < 63; i++) {
        if (i < 3) {
            s->eeprom[i] = (uint16_t)(s->mac.a[i * 2] | s->mac.a[i * 2 + 1] << 8);
        }
        sum = (uint16_t)(sum + s->eeprom[i]);
    }
    s->eeprom[63] = (uint16_t)(EE_SUM - sum);
    region_init_io(&s->mmio, &f->dev.obj, "e1000-mmio", &mmio_ops, s, 0x20000);
    region_init_io(&s->io, &f->dev.obj, "e1000-io", &io_ops, s, 64);
    pci_set_bar(f, 0, PCI_BAR_MEM32, &s->mmio);
    pci_set_bar(f, 1, PCI_BAR_IO, &s->io);
    pci_config_set_pin(f, 1);
    timer_init(&s->throttle, loop_main(), CLOCK_KIND_VIRTUAL, throttle_over, s);
    s->tx_more = (LoopIdle){ .fn = tx_more, .opaque = s };
    net_port_init(&s->port, &port_ops, "nic", name);
    s->port_ready = true;
    if (s->netdev) {
        net_connect(&s->port, s->netdev);
    }
    registers_reset(s);
    s->running = run_is_running(dev_machine(&f->dev)->run);
    return true;
}

static void e1000_unrealize(PciFn *f)
{
    E1000 *s = (E1000 *)f;

    if (s->port_ready) {
        e1000_tx_reset(s);
        timer_del(&s->throttle);
        net_port_fini(&s->port);
        s->port_ready = false;
        region_fini(&s->mmio);
        region_fini(&s->io);
    }
}

static void e1000_reset(PciFn *f)
{
    E1000 *s = (E1000 *)f;

    registers_reset(s);
    net_ready(&s->port); /* what waited is dropped */
}

static void e1000_run_changed(PciFn *f, bool running)
{
    E1000 *s = (E1000 *)f;

    s->running = running;
    if (running) {
        net_ready(&s->port);
        e1000_transmit(s);
    }
}

static const PciOps e1000_ops = {
    .vendor = 0x8086,
    .device = 0x100e,
    .revision = 3,
    .class_code = 0x020000,
    .realize = e1000_realize,
    .unrealize = e1000_unrealize,
    .reset = e1000_reset,
    .run_changed = e1000_run_changed,
    .romfile = "efi-e1000.rom", /* of the ipxe-qemu package */
};

static const PropSpec e1000_props[] = {
    PROP_MAC("mac", E1000, mac, "hardware address"),
    PROP_NETDEV("netdev", E1000, netdev, "back end"),
    PROP_I32("bootindex", E1000, bootindex, -1, "place in the boot order"),
    PROP_BOOL("extra_mac_registers", E1000, extra_regs, true, "accepted, unused: they are there"),
    PROP_BOOL("init-vet", E1000, init_vet, true, "VET starts as 0x8100"),
    PROP_BOOL("migrate_tso_props", E1000, migrate_tso, true, "accepted, unused"),
    PROP_END,
};

const ObjClass e1000_base_class = {
    .name = "e1000-base", .parent = "pci-device", .flags = OBJ_ABSTRACT, .size = sizeof(E1000)
};

const ObjClass e1000_class = {
    .name = "e1000",
    .parent = "e1000-base",
    .help = "Intel Gigabit Ethernet",
    .category = "Network",
    .size = sizeof(E1000),
    .flags = OBJ_DEVICE,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { e1000_props, NULL }, { NULL, NULL } },
    .ops = &e1000_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

/* Realtek RTL8139C+ Fast Ethernet: registers, EEPROM, timer (RTL8139C(L)+ data sheet). What moves
 * frames is in rtl8139-data.c. Tested by test-rtl8139 and the guests of tests/guest/nic.py. */
#include "hw/net/rtl8139.h"

#include "system/runstate.h"

#include <stddef.h>
#include <string.h>

enum {
    EE_DO = 1,
    EE_DI = 2,
    EE_SK = 4,
    EE_CS = 8,
    EEM = 0xc0,
    EEM_PROGRAM = 0x80,
    EEM_WRITE = 0xc0, /* configuration registers may be written */
    TSD_OWN = 1 << 13,
    BMCR_RESET = 1 << 15,
    BMCR_RESTART = 1 << 9,
    BMCR_DEFAULT = 1 << 12, /* negotiate */
    ANAR_DEFAULT = 0x05e1,
    TPPOLL_SWINT = 1,
    BMSR_LINK = 1 << 2,
    TICKS_PER_S = 33000000 /* TCTR counts the PCI clock */
};

uint16_t rtl_r16(const Rtl8139 *s, unsigned at)
{
    return (uint16_t)(s->r[at] | s->r[at + 1] << 8);
}

uint32_t rtl_r32(const Rtl8139 *s, unsigned at)
{
    return rtl_r16(s, at) | (uint32_t)rtl_r16(s, at + 2) << 16;
}

void rtl_w16(Rtl8139 *s, unsigned at, uint16_t v)
{
    s->r[at] = (uint8_t)v;
    s->r[at + 1] = (uint8_t)(v >> 8);
}

void rtl_w32(Rtl8139 *s, unsigned at, uint32_t v)
{
    rtl_w16(s, at, (uint16_t)v);
    rtl_w16(s, at + 2, (uint16_t)(v >> 16));
}

static void update_line(Rtl8139 *s)
{
    bool want = rtl_r16(s, R_ISR) & rtl_r16(s, R_IMR);

    if (want != s->intx) {
        s->intx = want;
        pci_set_irq(&s->fn, want);
    }
}

void rtl_cause(Rtl8139 *s, uint16_t bits)
{
    rtl_w16(s, R_ISR, rtl_r16(s, R_ISR) | bits);
    update_line(s);
}

/* ---- registers: which bits of each byte a driver may write ---- */

static uint8_t mask_of(const Rtl8139 *s, unsigned at)
{
    bool config = (s->r[R_9346CR] & EEM) == EEM_WRITE;

    switch (at) {
    case R_TSD ... R_TSD + 15:
    case R_IDR ... R_IDR + 5:
    case R_MAR ... R_MAR + 7:
    case R_TSAD ... R_RBSTART + 3:
    case R_CAPR ... R_CAPR + 1:
    case R_IMR:
    case R_TIMERINT ... R_TIMERINT + 3:
    case R_RDSAR ... R_RDSAR + 7:
    case R_MULINT:
    case R_ETTHR:
    case R_ANAR ... R_ANAR + 1:
        return 0xff;
    case R_IMR + 1:
        return 0xe1;
    case R_RCR:
        return 0xbf;
    case R_RCR + 1:
        return 0xff;
    case R_RCR + 2:
        return 0x03;
    case R_RCR + 3:
    case R_MULINT + 1:
        return 0x0f;
    case R_CPCR:
        return 0x7b;
    case R_CR:
        return CR_TE | CR_RE;
    case R_TCR: /* the upper bytes say which chip it is */
        return 0xf1;
    case R_TCR + 1:
        return 0x07;
    case R_TCR + 2:
        return 0x07;
    case R_9346CR:
        return EEM | EE_CS | EE_SK | EE_DI;
    case R_CONFIG1:
        return config ? 0xf3 : 0; /* that it has ports and memory stays */
    case R_CONFIG3:
        return config ? 0x70 : 0;
    case R_CONFIG4:
        return config ? 0xf5 : 0;
    case R_CONFIG5:
        return 0x7f;
    case R_BMCR + 1:
        return 0x31;
    case R_TPPOLL:
        return 0xc0;
    default:
        return 0;
    }
}

/* A microwire EEPROM of 64 words: a start bit, the opcode 10, six bits of address; then the word.
 */
static void eeprom_pins(Rtl8139 *s)
{
    uint8_t *v = &s->r[R_9346CR];
    bool clock = *v & EE_SK, rises = clock && !s->ee_clock;

    s->ee_clock = clock;
    if ((*v & EEM) != EEM_PROGRAM || !(*v & EE_CS)) {
        s->ee_bits = s->ee_in = 0;
        return;
    }
    if (!rises) {
        return;
    }
    if (s->ee_bits < 9) {
        if (s->ee_bits || *v & EE_DI) {
            s->ee_in = s->ee_in << 1 | !!(*v & EE_DI);
            s->ee_bits++;
        }
        *v &= (uint8_t)~EE_DO;
        return;
    }
    unsigned at = s->ee_bits++ - 9;
    bool bit = s->ee_in >> 6 == 6 && s->eeprom[(s->ee_in + at / 16) & 63] >> (15 - at % 16) & 1;
    *v = (uint8_t)((*v & ~EE_DO) | (bit ? EE_DO : 0));
}

static uint32_t timer_count(const Rtl8139 *s)
{
    __int128 ns = clock_ns(CLOCK_KIND_VIRTUAL) - s->tctr_base;

    return (uint32_t)(ns * TICKS_PER_S / 1000000000);
}

/* TimerInt: one cause each time the counter comes past it; it counts 32 bits. */
static void timer_arm(Rtl8139 *s)
{
    uint32_t at = rtl_r32(s, R_TIMERINT), now = timer_count(s);

    if (!at) {
        timer_del(&s->timer);
        return;
    }
    uint64_t left = at - now ? at - now : UINT64_C(1) << 32;
    timer_mod(
        &s->timer, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)(left * 1000000000 / TICKS_PER_S) + 1);
}

static void timer_fired(void *opaque)
{
    Rtl8139 *s = opaque;

    rtl_cause(s, INT_TIMEOUT);
    timer_arm(s);
}

static void show_link(Rtl8139 *s, bool up)
{
    bool was = !(s->r[R_MSR] & MSR_LINKB);

    s->r[R_MSR] = (uint8_t)(up ? s->r[R_MSR] & ~MSR_LINKB : s->r[R_MSR] | MSR_LINKB);
    rtl_w16(s, R_BMSR,
        (uint16_t)(up ? rtl_r16(s, R_BMSR) | BMSR_LINK : rtl_r16(s, R_BMSR) & ~BMSR_LINK));
    if (was != up) {
        rtl_cause(s, INT_LINK);
    }
}

/* What CR's reset leaves: 5.7. The address and the configuration stay. */
static void soft_reset(Rtl8139 *s)
{
    loop_idle_cancel(loop_main(), &s->tx_more);
    memset(&s->tx, 0, offsetof(RtlTx, frame));
    s->rx_at = 0;
    s->r[R_CR] = 0;
    for (unsigned i = 0; i < 4; i++) {
        rtl_w32(s, R_TSD + i * 4, TSD_OWN);
        rtl_w32(s, R_TSAD + i * 4, 0);
    }
    rtl_w32(s, R_RBSTART, 0);
    rtl_w16(s, R_CAPR, 0xfff0);
    rtl_w16(s, R_CBR, 0);
    rtl_w16(s, R_IMR, 0);
    rtl_w16(s, R_ISR, 0);
    rtl_w32(s, R_TCR, 0x74800000); /* RTL8139C+ */
    rtl_w32(s, R_RCR, 0);
    rtl_w32(s, R_MPC, 0);
    rtl_w32(s, R_TIMERINT, 0);
    rtl_w16(s, R_CPCR, 0);
    rtl_w16(s, R_ANAR, ANAR_DEFAULT);
    s->r[R_TPPOLL] = 0;
    timer_del(&s->timer);
    update_line(s);
}

static void own_address(Rtl8139 *s)
{
    if (s->port_ready) {
        net_set_nic(&s->port, "rtl8139", s->r + R_IDR);
    }
}

static void hard_reset(Rtl8139 *s)
{
    memset(s->r, 0, sizeof s->r);
    s->ee_bits = s->ee_in = 0;
    s->tally = (RtlTally){ 0 };
    s->tctr_base = clock_ns(CLOCK_KIND_VIRTUAL);
    memcpy(s->r + R_IDR, s->mac.a, 6);
    own_address(s);
    s->r[R_CONFIG1] = 0x0c;
    s->r[R_CONFIG3] = 0x01;
    s->r[R_MSR] = 0xd0;
    s->r[R_RERID] = 0x20;
    rtl_w16(s, R_BMCR, BMCR_DEFAULT);
    rtl_w16(s, R_CSCR, 0x0340); /* link and heartbeat tests as they are usual */
    rtl_w16(s, R_BMSR, 0x782d);
    rtl_w16(s, R_ANLPAR, 0x05e1);
    rtl_w16(s, R_ANER, 0x0001);
    soft_reset(s);
    show_link(s, !s->port.link_down);
    rtl_w16(s, R_ISR, 0);
}

static uint8_t summary(const Rtl8139 *s, unsigned at)
{
    uint16_t v = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint32_t tsd = rtl_r32(s, R_TSD + i * 4);

        v |= (uint16_t)((tsd >> 13 & 1) << i | (tsd >> 14 & 1) << (4 + i) |
                        (tsd >> 15 & 1) << (12 + i) | (tsd >> 30 & 1) << (8 + i));
    }
    return (uint8_t)(v >> (at - R_TSAS) * 8);
}

static uint8_t byte_read(Rtl8139 *s, unsigned at)
{
    switch (at) {
    case R_CR:
        return (uint8_t)(s->r[at] | (rtl_buffer_empty(s) ? CR_BUFE : 0));
    case R_TCTR ... R_TCTR + 3:
        return (uint8_t)(timer_count(s) >> (at - R_TCTR) * 8);
    case R_TSAS ... R_TSAS + 1:
        return summary(s, at);
    default:
        return s->r[at];
    }
}

/* What follows a write of [at, at + size). */
static void written(Rtl8139 *s, unsigned at, unsigned size, uint64_t v)
{
#define TOUCHES(reg, n) (at < (reg) + (n) && (reg) < at + size)
    if (TOUCHES(R_CR, 1) && v >> (R_CR - at) * 8 & CR_RST) {
        soft_reset(s);
        return;
    }
    if (TOUCHES(R_IDR, 6)) {
        own_address(s);
    }
    if (TOUCHES(R_9346CR, 1)) {
        eeprom_pins(s);
    }
    if (TOUCHES(R_BMCR, 2)) {
        uint16_t bmcr = rtl_r16(s, R_BMCR);

        if (v >> (at <= R_BMCR ? (R_BMCR - at) * 8 : 0) & BMCR_RESET && at <= R_BMCR && size > 1) {
            bmcr = BMCR_DEFAULT;
        }
        rtl_w16(s, R_BMCR, bmcr & (uint16_t) ~(BMCR_RESET | BMCR_RESTART));
    }
    if (TOUCHES(R_TPPOLL, 1) && v >> (R_TPPOLL - at) * 8 & TPPOLL_SWINT) {
        rtl_cause(s, INT_SOFTWARE);
    }
    if (TOUCHES(R_TCTR, 4)) {
        s->tctr_base = clock_ns(CLOCK_KIND_VIRTUAL);
    }
    if (TOUCHES(R_TCTR, 4) || TOUCHES(R_TIMERINT, 4)) {
        timer_arm(s);
    }
    if (TOUCHES(R_IMR, 4)) {
        update_line(s);
    }
    if (TOUCHES(R_DTCCR, 1) && rtl_r16(s, R_CPCR) & CPCR_ON && s->r[R_DTCCR] & DTCCR_DUMP) {
        rtl_dump_tally(s);
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned tsd = R_TSD + i * 4;

        if (TOUCHES(tsd, 4) && !(rtl_r32(s, tsd) & TSD_OWN) && !(rtl_r16(s, R_CPCR) & CPCR_TX)) {
            s->tx.pending |= (uint8_t)(1u << i);
        }
    }
    if (TOUCHES(R_TSD, 16) || TOUCHES(R_TPPOLL, 1) || TOUCHES(R_CR, 1)) {
        rtl_transmit(s);
    }
    if (TOUCHES(R_CAPR, 2) || TOUCHES(R_CR, 1) || TOUCHES(R_RCR, 4)) {
        net_ready(&s->port);
    }
    if (TOUCHES(R_RDSAR, 8)) {
        s->rx_at = 0;
    }
    if (TOUCHES(R_TNPDS, 8)) {
        s->tx.at[0] = 0;
    }
    if (TOUCHES(R_THPDS, 8)) {
        s->tx.at[1] = 0;
    }
#undef TOUCHES
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size && off + i < R_SIZE; i++) {
        v |= (uint64_t)byte_read(opaque, (unsigned)off + i) << i * 8;
    }
    return v;
}

static void bar_write(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    Rtl8139 *s = opaque;

    for (unsigned i = 0; i < size && off + i < R_SIZE; i++) {
        unsigned at = (unsigned)off + i;
        uint8_t b = (uint8_t)(v >> i * 8), mask = mask_of(s, at);

        if (at == R_ISR || at == R_ISR + 1) {
            s->r[at] &= (uint8_t)~b; /* ones acknowledge */
        } else {
            s->r[at] = (uint8_t)((s->r[at] & ~mask) | (b & mask));
        }
    }
    written(s, (unsigned)off, size, v);
}

static const RegionOps bar_ops = {
    .read = bar_read, .write = bar_write, .min_access = 1, .max_access = 4
};

/* ---- the cable ---- */

static Rtl8139 *rtl_of(NetPort *p)
{
    return (Rtl8139 *)((char *)p - offsetof(Rtl8139, port));
}

static NetVerdict port_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    return rtl_receive(rtl_of(p), iov, n, len);
}

static void port_writable(NetPort *p)
{
    rtl_transmit(rtl_of(p));
}

static void port_link(NetPort *p, bool up)
{
    show_link(rtl_of(p), up);
}

static const NetPortOps port_ops = {
    .receive = port_receive, .writable = port_writable, .link = port_link
};

static void tx_more(void *opaque)
{
    rtl_transmit(opaque);
}

/* ---- life ---- */

static bool rtl_realize(PciFn *f, G_GNUC_UNUSED GError **err)
{
    Rtl8139 *s = (Rtl8139 *)f;
    g_autofree char *name = f->dev.id ? g_strdup(f->dev.id) : net_nic_name("rtl8139");

    if (!s->mac.set) {
        net_default_mac(&s->mac);
    }
    s->eeprom[0] = 0x8129; /* "programmed" */
    s->eeprom[1] = 0x10ec;
    s->eeprom[2] = 0x8139;
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom[7 + i] = (uint16_t)(s->mac.a[i * 2] | s->mac.a[i * 2 + 1] << 8);
    }
    region_init_io(&s->io, &f->dev.obj, "rtl8139", &bar_ops, s, R_SIZE);
    region_init_io(&s->mmio, &f->dev.obj, "rtl8139", &bar_ops, s, R_SIZE);
    pci_set_bar(f, 0, PCI_BAR_IO, &s->io);
    pci_set_bar(f, 1, PCI_BAR_MEM32, &s->mmio);
    pci_config_set_pin(f, 1);
    pci_set8(f, 0x34, 0xdc); /* QEMU compat: a pointer that STATUS says is none */
    timer_init(&s->timer, loop_main(), CLOCK_KIND_VIRTUAL, timer_fired, s);
    s->tx_more = (LoopIdle){ .fn = tx_more, .opaque = s };
    net_port_init(&s->port, &port_ops, "nic", name);
    s->port_ready = true;
    if (s->netdev) {
        net_connect(&s->port, s->netdev);
    }
    hard_reset(s);
    s->running = run_is_running(dev_machine(&f->dev)->run);
    return true;
}

static void rtl_unrealize(PciFn *f)
{
    Rtl8139 *s = (Rtl8139 *)f;

    if (s->port_ready) {
        loop_idle_cancel(loop_main(), &s->tx_more);
        timer_del(&s->timer);
        net_port_fini(&s->port);
        s->port_ready = false;
        region_fini(&s->io);
        region_fini(&s->mmio);
    }
}

static void rtl_reset(PciFn *f)
{
    Rtl8139 *s = (Rtl8139 *)f;

    hard_reset(s);
    net_ready(&s->port); /* what waited is dropped */
}

static void rtl_run_changed(PciFn *f, bool running)
{
    Rtl8139 *s = (Rtl8139 *)f;

    s->running = running;
    if (running) {
        net_ready(&s->port);
        rtl_transmit(s);
    }
}

static const PciOps rtl_ops = {
    .vendor = 0x10ec,
    .device = 0x8139,
    .revision = 0x20,
    .class_code = 0x020000,
    .realize = rtl_realize,
    .unrealize = rtl_unrealize,
    .reset = rtl_reset,
    .run_changed = rtl_run_changed,
    .romfile = "efi-rtl8139.rom", /* of the ipxe-qemu package */
};

static const PropSpec rtl_props[] = {
    PROP_MAC("mac", Rtl8139, mac, "hardware address"),
    PROP_NETDEV("netdev", Rtl8139, netdev, "back end"),
    PROP_I32("bootindex", Rtl8139, bootindex, -1, "place in the boot order"),
    PROP_END,
};

const ObjClass rtl8139_class = {
    .name = "rtl8139",
    .parent = "pci-device",
    .help = "Realtek Fast Ethernet",
    .category = "Network",
    .size = sizeof(Rtl8139),
    .flags = OBJ_DEVICE,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { rtl_props, NULL }, { NULL, NULL } },
    .ops = &rtl_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

/*
 * 16550A UART (National PC16550D data sheet, June 1995). Bytes leave as fast as the back end takes
 * them: there is no bit clock, only the receive timeout follows the divisor. What the back end does
 * not take stays here and keeps THRE low.
 */
#include "hw/char/serial.h"

#include "chardev/chardev.h"
#include "util/timer.h"

#include <string.h>

enum {
    IER_RDI = 1,
    IER_THRI = 2,
    IER_RLSI = 4,
    IER_MSI = 8,
    IIR_NONE = 1,
    IIR_MSI = 0,
    IIR_THRI = 2,
    IIR_RDI = 4,
    IIR_RLSI = 6,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0,
    FCR_ENABLE = 1,
    FCR_CLEAR_RX = 2,
    FCR_CLEAR_TX = 4,
    LCR_BREAK = 0x40,
    LCR_DLAB = 0x80,
    MCR_DTR = 1,
    MCR_RTS = 2,
    MCR_OUT1 = 4,
    MCR_OUT2 = 8,
    MCR_LOOP = 0x10,
    MCR_WRITABLE = 0x1f,
    LSR_DR = 1,
    LSR_OE = 2,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_ERRORS = 0x1e,
    MSR_DELTAS = 0x0f,
    MSR_TERI = 4,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
    FIFO = 16,
    /*
     * Linux writes on after 10 ms without THRE, so the transmitter holds more than a real one: a
     * guest that obeys THRE loses nothing ever, one that does not loses bytes only behind these.
     */
    TX_MAX = 4096,
    NO_INDEX = -1,
};

struct Serial {
    Dev dev;
    Chardev *chr;
    ChardevFe fe;
    uint32_t index, iobase, irqn;
    bool wakeup;
    Region io;
    Irq *irq;

    uint16_t divisor;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
    bool thr_irq; /* THR became empty and nobody was told */
    bool timeout; /* characters wait below the trigger level */
    uint8_t rx[FIFO];
    unsigned rx_head, rx_n;
    uint8_t tx[TX_MAX];
    unsigned tx_head, tx_n;
    Timer rx_timer;
};

static bool serial_fifo(const Serial *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned serial_trigger(const Serial *s)
{
    static const uint8_t level[4] = { 1, 4, 8, 14 };

    return serial_fifo(s) ? level[s->fcr >> 6] : 1;
}

/* Data sheet, table V: the highest pending source. */
static uint8_t serial_iir(const Serial *s)
{
    if ((s->ier & IER_RLSI) && (s->lsr & LSR_ERRORS)) {
        return IIR_RLSI;
    }
    if ((s->ier & IER_RDI) && s->rx_n >= serial_trigger(s)) {
        return IIR_RDI;
    }
    if ((s->ier & IER_RDI) && s->timeout) {
        return IIR_TIMEOUT;
    }
    if ((s->ier & IER_THRI) && s->thr_irq) {
        return IIR_THRI;
    }
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTAS)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

/* A PC routes the interrupt through the OUT2 pin, which loopback holds inactive on the pin but not
 * in the register. */
static void serial_update(Serial *s)
{
    if (s->irq) {
        irq_set(s->irq, serial_iir(s) != IIR_NONE && (s->mcr & MCR_OUT2));
    }
}

static int64_t serial_char_ns(const Serial *s)
{
    unsigned bits = 1 + 5 + (s->lcr & 3) + (s->lcr >> 3 & 1) + (s->lcr & 4 ? 2 : 1);
    unsigned divisor = s->divisor ? s->divisor : 1;

    return (int64_t)bits * divisor * 1000000000 / 115200;
}

/* Characters below the trigger level are announced after four character times. */
static void serial_rx_changed(Serial *s)
{
    s->lsr = s->rx_n ? s->lsr | LSR_DR : s->lsr & (uint8_t)~LSR_DR;
    s->timeout = false;
    if (serial_fifo(s) && s->rx_n && s->rx_n < serial_trigger(s)) {
        timer_mod(&s->rx_timer, clock_ns(CLOCK_KIND_VIRTUAL) + 4 * serial_char_ns(s));
    } else {
        timer_del(&s->rx_timer);
    }
}

static void serial_rx_timeout(void *opaque)
{
    Serial *s = opaque;

    s->timeout = s->rx_n != 0;
    serial_update(s);
}

static unsigned serial_rx_room(const Serial *s)
{
    return (serial_fifo(s) ? FIFO : 1) - MIN(s->rx_n, serial_fifo(s) ? FIFO : 1u);
}

static void serial_rx_put(Serial *s, uint8_t byte)
{
    if (!serial_rx_room(s)) {
        s->lsr |= LSR_OE;
        if (!serial_fifo(s)) {
            s->rx[s->rx_head] = byte; /* the holding register is overwritten, a FIFO is not */
        }
        return;
    }
    s->rx[(s->rx_head + s->rx_n++) % FIFO] = byte;
}

static size_t serial_can_receive(void *opaque)
{
    const Serial *s = opaque;

    return s->mcr & MCR_LOOP ? 0 : serial_rx_room(s);
}

static void serial_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Serial *s = opaque;

    for (size_t i = 0; i < len; i++) {
        serial_rx_put(s, buf[i]);
    }
    serial_rx_changed(s);
    serial_update(s);
}

static void serial_event(void *opaque, ChardevEvent ev)
{
    Serial *s = opaque;

    if (ev == CHARDEV_BREAK) {
        serial_rx_put(s, 0);
        s->lsr |= LSR_BI;
        serial_rx_changed(s);
        serial_update(s);
    }
}

/* Hands over what the back end takes; the rest waits for serial_writable(). */
static void serial_flush(Serial *s)
{
    while (s->tx_n) {
        size_t run = MIN(s->tx_n, TX_MAX - s->tx_head);
        size_t took = s->chr ? chardev_write(&s->fe, &s->tx[s->tx_head], run) : run;

        s->tx_head = (unsigned)((s->tx_head + took) % TX_MAX);
        s->tx_n -= (unsigned)took;
        if (took < run) {
            return;
        }
    }
    if (!(s->lsr & LSR_THRE)) {
        s->lsr |= LSR_THRE | LSR_TEMT;
        s->thr_irq = true;
    }
}

static void serial_writable(void *opaque)
{
    Serial *s = opaque;

    serial_flush(s);
    serial_update(s);
}

static void serial_transmit(Serial *s, uint8_t byte)
{
    s->thr_irq = false;
    s->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
    if (s->mcr & MCR_LOOP) {
        serial_rx_put(s, byte);
        serial_rx_changed(s);
        s->lsr |= LSR_THRE | LSR_TEMT;
        s->thr_irq = true;
        return;
    }
    if (s->tx_n < TX_MAX) {
        s->tx[(s->tx_head + s->tx_n++) % TX_MAX] = byte;
    }
    if (s->tx_n == 1 || s->tx_n == TX_MAX) { /* more: the back end is full and will call */
        serial_flush(s);
    }
}

static void serial_drop_rx(Serial *s)
{
    s->rx_n = 0;
    s->lsr &= (uint8_t)~LSR_BI;
    serial_rx_changed(s);
    if (s->chr) {
        chardev_fe_accept(&s->fe);
    }
}

static void serial_set_fcr(Serial *s, uint8_t val)
{
    bool toggled = (val ^ s->fcr) & FCR_ENABLE;

    s->fcr = val & (val & FCR_ENABLE ? 0xc9 : 0);
    if (toggled || (val & FCR_CLEAR_RX)) {
        serial_drop_rx(s);
    }
    if (toggled || (val & FCR_CLEAR_TX)) {
        s->tx_n = 0;
        s->thr_irq |= !(s->lsr & LSR_THRE);
        s->lsr |= LSR_THRE | LSR_TEMT;
    }
    serial_rx_changed(s);
}

/* Modem inputs: loopback wires the outputs to them, otherwise carrier, DSR and CTS are there. */
static void serial_modem(Serial *s)
{
    uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, old = s->msr;

    if (s->mcr & MCR_LOOP) {
        now = (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                        (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
    }
    s->msr = now | (old & MSR_DELTAS);
    s->msr |= (uint8_t)((now ^ old) >> 4 & (MSR_DELTAS & ~MSR_TERI));
    if ((old & MSR_RI) && !(now & MSR_RI)) {
        s->msr |= MSR_TERI;
    }
}

static void serial_set_mcr(Serial *s, uint8_t val)
{
    bool was_loop = s->mcr & MCR_LOOP;

    s->mcr = val & MCR_WRITABLE;
    if (was_loop || (val & MCR_LOOP)) {
        serial_modem(s);
    }
    if (was_loop && !(val & MCR_LOOP) && s->chr) {
        chardev_fe_accept(&s->fe);
    }
}

static void serial_set_lcr(Serial *s, uint8_t val)
{
    if ((val & LCR_BREAK) && !(s->lcr & LCR_BREAK) && s->chr) {
        chardev_break(&s->fe);
    }
    s->lcr = val;
}

static void serial_write(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    Serial *s = opaque;
    uint8_t val = (uint8_t)v;

    switch (off) {
    case 0:
        if (s->lcr & LCR_DLAB) {
            s->divisor = (s->divisor & 0xff00) | val;
        } else {
            serial_transmit(s, val);
        }
        break;
    case 1:
        if (s->lcr & LCR_DLAB) {
            s->divisor = (uint16_t)((s->divisor & 0xff) | val << 8);
        } else {
            /* Enabling THRI while the register is empty interrupts at once. */
            s->thr_irq |= (val & ~s->ier & IER_THRI) && (s->lsr & LSR_THRE);
            s->ier = val & 0x0f;
        }
        break;
    case 2:
        serial_set_fcr(s, val);
        break;
    case 3:
        serial_set_lcr(s, val);
        break;
    case 4:
        serial_set_mcr(s, val);
        break;
    case 7:
        s->scr = val;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    serial_update(s);
}

static uint8_t serial_read_rbr(Serial *s)
{
    uint8_t val = s->rx[s->rx_head];

    if (!s->rx_n) {
        return serial_fifo(s) ? 0 : val; /* the holding register keeps its last byte */
    }
    if (serial_fifo(s) || s->rx_n > 1) {
        s->rx_head = (s->rx_head + 1) % FIFO;
    }
    s->rx_n--;
    serial_rx_changed(s);
    if (!s->rx_n && s->chr) {
        chardev_fe_accept(&s->fe);
    }
    return val;
}

static uint64_t serial_read(void *opaque, uint64_t off, unsigned size)
{
    Serial *s = opaque;
    uint8_t val = 0;

    switch (off) {
    case 0:
        val = s->lcr & LCR_DLAB ? (uint8_t)s->divisor : serial_read_rbr(s);
        break;
    case 1:
        val = s->lcr & LCR_DLAB ? (uint8_t)(s->divisor >> 8) : s->ier;
        break;
    case 2:
        val = serial_iir(s);
        if (val == IIR_THRI) {
            s->thr_irq = false;
        }
        val |= serial_fifo(s) ? IIR_FIFO : 0;
        break;
    case 3:
        val = s->lcr;
        break;
    case 4:
        val = s->mcr;
        break;
    case 5:
        val = s->lsr;
        s->lsr &= (uint8_t)~LSR_ERRORS;
        break;
    case 6:
        val = s->msr;
        s->msr &= (uint8_t)~MSR_DELTAS;
        break;
    default:
        val = s->scr;
        break;
    }
    serial_update(s);
    return val;
}

static const RegionOps serial_ops = {
    .read = serial_read, .write = serial_write, .min_access = 1, .max_access = 1
};
/* The line is another one: speed and modem lines are set again when the guest touches them. */
static void serial_changed(void *opaque, Chardev *c)
{
    Serial *s = opaque;

    s->chr = c;
}

static const ChardevFeOps serial_fe = { .can_receive = serial_can_receive,
    .receive = serial_receive,
    .event = serial_event,
    .writable = serial_writable,
    .changed = serial_changed };

static void serial_reset(Obj *o)
{
    Serial *s = (Serial *)o;

    s->divisor = 12; /* 9600 baud */
    s->ier = s->fcr = s->lcr = s->scr = 0;
    s->mcr = MCR_OUT2; /* QEMU compat: OUT2 is set, interrupts reach the controller */
    s->lsr = LSR_THRE | LSR_TEMT;
    s->msr = MSR_DCD | MSR_DSR | MSR_CTS;
    s->thr_irq = s->timeout = false;
    s->rx_head = s->rx_n = s->tx_n = s->tx_head = 0;
    s->rx[0] = 0;
    timer_del(&s->rx_timer);
    serial_update(s);
    if (s->chr) {
        chardev_fe_accept(&s->fe);
    }
}

static void serial_init(Obj *o)
{
    Serial *s = (Serial *)o;

    timer_init(&s->rx_timer, loop_main(), CLOCK_KIND_VIRTUAL, serial_rx_timeout, s);
}

/* The first of the four usual places that no earlier port took. */
static uint32_t serial_free_index(const IsaBus *bus, const Serial *self)
{
    uint32_t used = 0, n = 0;

    for (unsigned i = 0; i < bus->bus.devs->len; i++) {
        const Dev *d = g_ptr_array_index(bus->bus.devs, i);

        if (d->obj.cls == &isa_serial_class && d != &self->dev && ((const Serial *)d)->index < 32) {
            used |= 1u << ((const Serial *)d)->index;
        }
    }
    while (used >> n & 1) {
        n++;
    }
    return n;
}

static bool serial_realize(Obj *o, GError **err)
{
    static const uint16_t bases[4] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const uint8_t irqs[4] = { 4, 3, 4, 3 };
    Serial *s = (Serial *)o;
    IsaBus *bus = isa_bus_of(&s->dev);

    if (!bus) {
        err_set(err, "isa-serial: not on an ISA bus");
        return false;
    }
    if (s->index == (uint32_t)NO_INDEX) {
        s->index = serial_free_index(bus, s);
    }
    if (s->index >= 4) {
        err_set(err, "Max. supported number of ISA serial ports is 4.");
        return false;
    }
    s->iobase = s->iobase == (uint32_t)NO_INDEX ? bases[s->index] : s->iobase;
    s->irqn = s->irqn == (uint32_t)NO_INDEX ? irqs[s->index] : s->irqn;
    if (s->iobase > 0xfff8 || s->irqn > 15) {
        err_set(err, "isa-serial: no port at 0x%x with interrupt %u", s->iobase, s->irqn);
        return false;
    }
    if (s->chr && !chardev_fe_init(&s->fe, s->chr, &serial_fe, s, err)) {
        return false;
    }
    s->irq = bus->irqs[s->irqn];
    region_init_io(&s->io, o, "serial", &serial_ops, s, 8);
    region_map(bus->io, s->iobase, &s->io, 0);
    serial_reset(o);
    return true;
}

static void serial_unrealize(Obj *o)
{
    Serial *s = (Serial *)o;

    timer_del(&s->rx_timer);
    region_unmap(&s->io);
    region_fini(&s->io);
    if (s->chr) {
        chardev_fe_fini(&s->fe);
    }
}

Serial *isa_serial_new(Obj *tree, IsaBus *bus, unsigned index, Chardev *chr, GError **err)
{
    Serial *s = (Serial *)obj_new(&isa_serial_class);

    s->chr = chr;
    s->index = index;
    s->dev.bus = &bus->bus;
    if (!obj_realize(&s->dev.obj, err)) { /* another front end has the chardev */
        obj_unref(&s->dev.obj);
        return NULL;
    }
    g_ptr_array_add(bus->bus.devs, &s->dev);
    obj_add_array(tree, "device", &s->dev.obj);
    obj_unref(&s->dev.obj);
    return s;
}

static bool serial_realize_user(Obj *o, GError **err)
{
    Serial *s = (Serial *)o;

    if (s->wakeup) {
        return err_set(err, "isa-serial: wakeup=on is not supported: the machine has no S3");
    }
    /* Boards make ports without a back end; -device does not. */
    if (!s->chr && s->index == (uint32_t)NO_INDEX) {
        return err_set(err, "Can't create serial device, empty char device");
    }
    return serial_realize(o, err);
}

static const PropSpec serial_props[] = {
    PROP_CHARDEV("chardev", Serial, chr, "back end"),
    PROP_U32("index", Serial, index, (uint32_t)NO_INDEX, "0..3: COM1 to COM4"),
    PROP_U32("iobase", Serial, iobase, (uint32_t)NO_INDEX, "first port"),
    PROP_U32("irq", Serial, irqn, (uint32_t)NO_INDEX, "ISA interrupt"),
    PROP_BOOL("wakeup", Serial, wakeup, false, "wake the guest from S3 on input"),
    PROP_END,
};
static const PropGroup serial_groups[] = { { serial_props, NULL }, { NULL, NULL } };

const ObjClass isa_serial_class = {
    .name = "isa-serial",
    .parent = "isa-device",
    .category = "Input",
    .size = sizeof(Serial),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "ISA",
    .props = serial_groups,
    .init = serial_init,
    .realize = serial_realize_user,
    .unrealize = serial_unrealize,
    .reset = serial_reset,
};

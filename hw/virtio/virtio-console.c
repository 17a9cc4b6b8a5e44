/* virtio-serial: a bus of ports over virtqueues (VIRTIO 1.4, 5.3), and the two kinds of port:
 * virtconsole, virtserialport. Tested by test-virtio-console. */
#include "chardev/chardev.h"
#include "hw/virtio/virtio-pci.h"
#include "object/qmp.h"
#include "util/log.h"

#include <stddef.h>
#include <string.h>

enum { CON_F_SIZE = 0, CON_F_MULTIPORT = 1, CON_F_EMERG_WRITE = 2 };
enum {
    DEVICE_READY = 0,
    PORT_ADD = 1,
    PORT_REMOVE = 2,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7
};
enum {
    PORTS_MAX = 511,
    CTRL_PENDING_MAX = 4 * (PORTS_MAX + 1),
    IN_BUF = 4096,
    NR_AUTO = 0xffffffffu
};

typedef struct ConConfig {
    le16 cols, rows;
    le32 max_nr_ports, emerg_wr;
} ConConfig;
_Static_assert(sizeof(ConConfig) == 12, "VIRTIO 1.4, 5.3.4");

typedef struct ConControl {
    le32 id;
    le16 event, value;
} ConControl;
_Static_assert(sizeof(ConControl) == 8, "VIRTIO 1.4, 5.3.6.2");

typedef struct SerialPort SerialPort;
typedef struct VirtioSerial {
    VirtioDev vd;
    Bus bus;
    bool bus_ready, emergency_write, size, device_ready;
    uint32_t max_ports;
    SerialPort **ports; /* max_ports of them */
    GQueue ctrl;        /* GBytes: control messages the driver has no buffer for yet */
} VirtioSerial;

struct SerialPort {
    Dev dev;
    VirtioSerial *vser;
    uint32_t nr;
    char *name;
    Chardev *chr;
    ChardevFe fe;
    bool console, guest_open, host_open;
    bool added;    /* the driver was told of it: VIRTIO 1.4, 5.3.6.2.1 */
    size_t skip;   /* bytes of the first transmit chain that the back end has already taken */
    size_t in_len; /* received, but the driver had too few buffers */
    uint8_t in[IN_BUF];
};

/* Queues of port n: 0 and 1 for port 0, then control, then 4, 5 … (VIRTIO 1.4, 5.3.2) */
static unsigned rxq_of(unsigned n)
{
    return n ? 2 * n + 2 : 0;
}

static SerialPort *port_of_queue(const VirtioSerial *s, unsigned q)
{
    unsigned n = q < 2 ? 0 : q / 2 - 1;
    return n < s->max_ports ? s->ports[n] : NULL;
}

static bool multiport(const VirtioSerial *s)
{
    return virtio_has(&s->vd, CON_F_MULTIPORT);
}

/* ---- control queue ---- */

static void ctrl_flush(VirtioSerial *s)
{
    VirtQueue *vq = virtio_queue(&s->vd, 2);
    bool any = false;

    while (s->ctrl.length && vq_ready(vq)) {
        gsize len;
        const void *msg = g_bytes_get_data(g_queue_peek_head(&s->ctrl), &len);
        VqElem *e = NULL;
        if (!vq_pop_bytes(vq, 1, &e, 1)) {
            break;
        }
        /* A buffer that is too small gets what fits; the driver sees the length. */
        bool ok = giov_put(&e->in, msg, MIN(len, e->in.left));
        g_assert(ok);
        vq_push(e);
        g_bytes_unref(g_queue_pop_head(&s->ctrl));
        any = true;
    }
    if (any) {
        vq_notify(vq);
    }
}

/* False: the driver will not hear of it. */
static bool ctrl_send_more(
    VirtioSerial *s, uint32_t port, uint16_t event, uint16_t value, const void *more, size_t nmore)
{
    ConControl c = { le32_of(port), le16_of(event), le16_of(value) };
    g_autoptr(GByteArray) b = g_byte_array_new();

    if (!s->device_ready || !multiport(s)) {
        return false;
    }
    if (s->ctrl.length >= CTRL_PENDING_MAX) {
        virtio_guest_error(&s->vd, "the driver takes no control messages, one is lost");
        return false;
    }
    g_byte_array_append(b, (const uint8_t *)&c, sizeof c);
    g_byte_array_append(b, more, (guint)nmore);
    g_queue_push_tail(&s->ctrl, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    ctrl_flush(s);
    return true;
}

static bool ctrl_send(VirtioSerial *s, uint32_t port, uint16_t event, uint16_t value)
{
    return ctrl_send_more(s, port, event, value, NULL, 0);
}

/* Nothing is said of a console whose size nobody knows. */
static void ctrl_resize(VirtioSerial *s, const SerialPort *p)
{
    uint16_t cols, rows;

    if (virtio_has(&s->vd, CON_F_SIZE) && chardev_size(&p->fe, &cols, &rows)) {
        const le16 size[2] = { le16_of(cols), le16_of(rows) }; /* VIRTIO 1.4, 5.3.6.2 */

        ctrl_send_more(s, p->nr, RESIZE, 0, size, sizeof size);
    }
}

/* Once for each port, however often the driver says that it is ready. */
static void ctrl_add(VirtioSerial *s, SerialPort *p)
{
    p->added = p->added || ctrl_send(s, p->nr, PORT_ADD, 1);
}

static void port_guest_open(SerialPort *p, bool open)
{
    if (p->guest_open == open) {
        return;
    }
    p->guest_open = open;
    if (!p->console) {
        chardev_fe_set_open(&p->fe, open);
        if (p->dev.id) {
            Json *data = json_object();
            json_set(data, "open", json_bool(open));
            json_set(data, "id", json_str(p->dev.id));
            qmp_event("VSERPORT_CHANGE", data);
        }
    }
    chardev_fe_accept(&p->fe);
}

static void ctrl_port_ready(VirtioSerial *s, SerialPort *p)
{
    if (p->console) {
        ctrl_send(s, p->nr, CONSOLE_PORT, 1);
        ctrl_resize(s, p);
    }
    if (p->name) {
        ctrl_send_more(s, p->nr, PORT_NAME, 1, p->name, strlen(p->name));
    }
    if (p->host_open) {
        ctrl_send(s, p->nr, PORT_OPEN, 1);
    }
}

static VqVerdict ctrl_request(VirtioDev *d, VqElem *e)
{
    VirtioSerial *s = (VirtioSerial *)d;
    ConControl c;

    if (!giov_get(&e->out, &c, sizeof c)) {
        virtio_guest_error(d, "short control message (VIRTIO 1.4, 5.3.6.2)");
        return VQ_DONE;
    }
    uint32_t id = le32_get(c.id);
    bool value = le16_get(c.value) == 1;
    if (le16_get(c.event) == DEVICE_READY) {
        s->device_ready = value;
        for (unsigned i = 0; value && i < s->max_ports; i++) {
            if (s->ports[i]) {
                ctrl_add(s, s->ports[i]);
            }
        }
        return VQ_DONE;
    }
    SerialPort *p = id < s->max_ports ? s->ports[id] : NULL;
    if (!p) {
        virtio_guest_error(d, "control message %u for absent port %u (VIRTIO 1.4, 5.3.6.2)",
            le16_get(c.event), id);
    } else if (le16_get(c.event) == PORT_READY && value) {
        ctrl_port_ready(s, p);
    } else if (le16_get(c.event) == PORT_OPEN) {
        port_guest_open(p, value);
    }
    return VQ_DONE;
}

static void ctrl_refilled(VirtioDev *d, G_GNUC_UNUSED VirtQueue *vq)
{
    ctrl_flush((VirtioSerial *)d);
}

static VqVerdict never_request(G_GNUC_UNUSED VirtioDev *d, G_GNUC_UNUSED VqElem *e)
{
    return VQ_DONE;
}

/* ---- data ---- */

/* Guest to host. A chain that the back end takes only in part stays first in line; skip says how
 * far it got. */
static VqVerdict tx_request(VirtioDev *d, VqElem *e)
{
    SerialPort *p = port_of_queue((VirtioSerial *)d, vq_index(e->vq));
    uint8_t buf[IN_BUF];

    if (!p || !p->chr) {
        return VQ_DONE; /* nobody listens */
    }
    if (!giov_skip(&e->out, MIN(p->skip, e->out.left))) {
        return VQ_DONE;
    }
    while (e->out.left) {
        size_t n = MIN(e->out.left, sizeof buf);
        if (!giov_peek(&e->out, buf, n)) {
            break;
        }
        size_t done = chardev_write(&p->fe, buf, n);
        p->skip += done;
        if (!giov_skip(&e->out, done) || done < n) {
            return VQ_STOP; /* port_writable() goes on */
        }
    }
    p->skip = 0;
    return VQ_DONE;
}

static void port_writable(void *opaque)
{
    SerialPort *p = opaque;

    if (p->vser->vd.started) {
        vq_resume(virtio_queue(&p->vser->vd, rxq_of(p->nr) + 1));
    }
}

static bool port_takes(const SerialPort *p)
{
    /* Without MULTIPORT there is no open message: port 0 is simply there. */
    return p->vser->vd.started && (p->guest_open || p->console || !multiport(p->vser));
}

static void port_flush_in(SerialPort *p)
{
    VirtQueue *vq = virtio_queue(&p->vser->vd, rxq_of(p->nr));
    bool any = false;

    while (p->in_len && vq_ready(vq)) {
        VqElem *e = NULL;
        if (!vq_pop_bytes(vq, 1, &e, 1)) {
            break;
        }
        size_t n = MIN(p->in_len, e->in.left);
        bool ok = giov_put(&e->in, p->in, n);
        g_assert(ok);
        p->in_len -= n;
        memmove(p->in, p->in + n, p->in_len);
        vq_push(e);
        any = true;
    }
    if (any) {
        vq_notify(vq);
    }
}

static size_t port_can_receive(void *opaque)
{
    const SerialPort *p = opaque;

    return port_takes(p) && !p->in_len && !vq_empty(virtio_queue(&p->vser->vd, rxq_of(p->nr)))
               ? IN_BUF
               : 0;
}

static void port_receive(void *opaque, const uint8_t *buf, size_t len)
{
    SerialPort *p = opaque;

    g_assert(!p->in_len && len <= IN_BUF);
    memcpy(p->in, buf, len);
    p->in_len = len;
    port_flush_in(p);
}

static void rx_refilled(VirtioDev *d, VirtQueue *vq)
{
    SerialPort *p = port_of_queue((VirtioSerial *)d, vq_index(vq));

    if (p) {
        port_flush_in(p);
        chardev_fe_accept(&p->fe);
    }
}

static void port_event(void *opaque, ChardevEvent ev)
{
    SerialPort *p = opaque;

    if (ev == CHARDEV_OPENED || ev == CHARDEV_CLOSED) {
        p->host_open = ev == CHARDEV_OPENED;
        if (p->dev.obj.phase == OBJ_REALIZED) {
            ctrl_send(p->vser, p->nr, PORT_OPEN, p->host_open);
        }
    }
}

static void port_resized(void *opaque)
{
    SerialPort *p = opaque;
    VirtioSerial *s = p->vser;

    if (!s->size || !p->console || p->dev.obj.phase != OBJ_REALIZED) {
        return;
    }
    if (p->nr == 0) { /* configuration space has the size of this one only: 5.3.6 */
        virtio_config_changed(&s->vd);
    }
    ctrl_resize(s, p);
}

static void port_changed(void *opaque, Chardev *c)
{
    SerialPort *p = opaque;

    p->chr = c;
    port_resized(p);
}

static const ChardevFeOps port_fe_ops = {
    .can_receive = port_can_receive,
    .receive = port_receive,
    .event = port_event,
    .writable = port_writable,
    .changed = port_changed,
    .resized = port_resized,
};

/* ---- the ports ---- */

static bool bus_plug(Bus *b, Dev *d, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)((char *)b - offsetof(VirtioSerial, bus));
    SerialPort *p = (SerialPort *)d;

    p->console = !strcmp(d->obj.cls->name, "virtconsole");
    p->vser = s;
    if (p->nr == 0 && !p->console) {
        return err_set(err, "Port number 0 on virtio-serial devices reserved for virtconsole "
                            "devices for backward compatibility.");
    }
    if (p->nr == NR_AUTO) {
        /* Port 0 is for the first console only. */
        for (p->nr = p->console && !s->ports[0] ? 0 : 1; p->nr < s->max_ports && s->ports[p->nr];
             p->nr++) {
        }
    }
    if (p->nr >= s->max_ports) {
        return err_set(err, "virtio-serial-bus: Out-of-range port id specified, max. allowed: %u",
            s->max_ports - 1);
    }
    if (s->ports[p->nr]) {
        return err_set(err, "virtio-serial-bus: A port already exists at id %u", p->nr);
    }
    for (unsigned i = 0; p->name && i < s->max_ports; i++) {
        if (s->ports[i] && s->ports[i]->name && !strcmp(s->ports[i]->name, p->name)) {
            return err_set(err, "virtio-serial-bus: A port already exists by name %s", p->name);
        }
    }
    return true;
}

static bool bus_unplug_request(G_GNUC_UNUSED Bus *b, Dev *d, G_GNUC_UNUSED GError **err)
{
    dev_unplug_done(dev_machine(d), d); /* the guest is told, not asked */
    return true;
}

static bool port_realize(Obj *o, GError **err)
{
    SerialPort *p = (SerialPort *)o;

    if (!chardev_fe_init(&p->fe, p->chr, &port_fe_ops, p, err)) {
        return false;
    }
    p->vser->ports[p->nr] = p;
    /* A console is open from the start; a port when the guest opens it. */
    chardev_fe_set_open(&p->fe, p->console);
    ctrl_add(p->vser, p);
    return true;
}

static void port_unrealize(Obj *o)
{
    SerialPort *p = (SerialPort *)o;

    if (p->vser->ports[p->nr] != p) {
        return;
    }
    if (p->added) {
        ctrl_send(p->vser, p->nr, PORT_REMOVE, 1);
        p->added = false;
    }
    p->vser->ports[p->nr] = NULL;
    chardev_fe_fini(&p->fe);
    /* What the driver still sends here goes nowhere, but comes back. */
    if (p->vser->vd.started) {
        vq_resume(virtio_queue(&p->vser->vd, rxq_of(p->nr) + 1));
    }
}

static const PropSpec port_props[] = {
    PROP_CHARDEV("chardev", SerialPort, chr, "character device"),
    PROP_U32("nr", SerialPort, nr, NR_AUTO, "port number"),
    PROP_STR("name", SerialPort, name, "name the guest sees"),
    PROP_END,
};
static const PropGroup port_groups[] = { { port_props, NULL }, { NULL, NULL } };

#define PORT_CLASS(var, nm, text)                                                                  \
    const ObjClass var = {                                                                         \
        .name = (nm),                                                                              \
        .parent = "virtio-serial-port",                                                            \
        .help = (text),                                                                            \
        .category = "Input",                                                                       \
        .size = sizeof(SerialPort),                                                                \
        .flags = OBJ_DEVICE,                                                                       \
        .bus = "virtio-serial-bus",                                                                \
        .props = port_groups,                                                                      \
        .realize = port_realize,                                                                   \
        .unrealize = port_unrealize,                                                               \
    }
PORT_CLASS(virtconsole_class, "virtconsole", "console port");
PORT_CLASS(virtserialport_class, "virtserialport", "serial port");

/* ---- the device ---- */

static const BusClass serial_bus_class = {
    .type = "virtio-serial-bus",
    .plug = bus_plug,
    .unplug_request = bus_unplug_request,
};

static const VqSpec rx_spec = {
    .name = "receiveq", .size = 128, .elem_size = sizeof(VqElem), .refilled = rx_refilled
};
static const VqSpec tx_spec = {
    .name = "transmitq", .size = 128, .elem_size = sizeof(VqElem), .request = tx_request
};
static const VqSpec ctrl_rx_spec = {
    .name = "control-receiveq", .size = 32, .elem_size = sizeof(VqElem), .refilled = ctrl_refilled
};
static const VqSpec ctrl_tx_spec = {
    .name = "control-transmitq", .size = 32, .elem_size = sizeof(VqElem), .request = ctrl_request
};
static const VqSpec unused_tx_spec = {
    .name = "transmitq", .size = 128, .elem_size = sizeof(VqElem), .request = never_request
};

static unsigned serial_queue_count(VirtioDev *d)
{
    return (((VirtioSerial *)d)->max_ports + 1) * 2;
}

static const VqSpec *serial_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    const VqSpec *v = i == 2 ? &ctrl_rx_spec : i == 3 ? &ctrl_tx_spec : i & 1 ? &tx_spec : &rx_spec;

    if (i > 3 && i / 2 - 1 >= ((VirtioSerial *)d)->max_ports) {
        v = i & 1 ? &unused_tx_spec : &rx_spec;
    }
    *ret_size = v->size;
    return v;
}

static VirtioFeatures serial_offer(VirtioDev *d, VirtioFeatures f)
{
    const VirtioSerial *s = (VirtioSerial *)d;

    vf_set(&f, CON_F_MULTIPORT, s->max_ports > 1);
    vf_set(&f, CON_F_EMERG_WRITE, s->emergency_write);
    vf_set(&f, CON_F_SIZE, s->size);
    return f;
}

static void serial_config(VirtioDev *d, void *cfg)
{
    const VirtioSerial *s = (VirtioSerial *)d;
    ConConfig c = { .max_nr_ports = le32_of(s->max_ports) };
    uint16_t cols, rows;

    if (s->size && s->ports[0] && chardev_size(&s->ports[0]->fe, &cols, &rows)) {
        c.cols = le16_of(cols);
        c.rows = le16_of(rows);
    }
    memcpy(cfg, &c, sizeof c);
}

static void serial_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    VirtioSerial *s = (VirtioSerial *)d;
    size_t at = offsetof(ConConfig, emerg_wr);

    /* One character at any time, even before the driver runs (VIRTIO 1.4, 5.3.6.1). */
    if (s->emergency_write && off <= at && at - off < len && s->ports[0] && s->ports[0]->chr) {
        chardev_write_all(&s->ports[0]->fe, (const uint8_t *)cfg + at, 1);
    }
}

static bool serial_start(VirtioDev *d, G_GNUC_UNUSED GError **err)
{
    VirtioSerial *s = (VirtioSerial *)d;

    for (unsigned i = 0; i < s->max_ports; i++) {
        if (s->ports[i]) {
            port_flush_in(s->ports[i]);
            chardev_fe_accept(&s->ports[i]->fe);
        }
    }
    return true;
}

static void serial_stop(G_GNUC_UNUSED VirtioDev *d)
{
    /* No chain is ever held: a half-written one is first in line again (VQ_STOP). */
}

static void serial_queue_reset(VirtioDev *d, unsigned i)
{
    SerialPort *p = port_of_queue((VirtioSerial *)d, i);

    if (p && i == rxq_of(p->nr) + 1) {
        p->skip = 0;
    }
}

static void serial_reset(VirtioDev *d)
{
    VirtioSerial *s = (VirtioSerial *)d;

    s->device_ready = false;
    g_queue_clear_full(&s->ctrl, (GDestroyNotify)g_bytes_unref);
    for (unsigned i = 0; s->ports && i < s->max_ports; i++) {
        SerialPort *p = s->ports[i];
        if (p) {
            p->skip = p->in_len = 0;
            p->added = false;
            port_guest_open(p, false);
        }
    }
}

static bool serial_realize(VirtioDev *d, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)d;

    if (!s->max_ports || s->max_ports > PORTS_MAX) {
        return err_set(err,
            s->max_ports ? "maximum ports supported: %d"
                         : "Maximum number of serial ports not specified",
            PORTS_MAX);
    }
    if (d->pci_class != 0x0380 && d->pci_class != 0x00ff) { /* QEMU compat: others are not taken */
        d->pci_class = 0;
    }
    s->ports = g_new0(SerialPort *, s->max_ports);
    const Dev *proxy = (const Dev *)d->transport;
    g_autofree char *name = proxy && proxy->id ? g_strdup_printf("%s.0", proxy->id) : NULL;
    bus_init(&s->bus, &serial_bus_class, &d->dev, &d->dev.obj, name);
    s->bus.hotplug = true;
    s->bus_ready = true;
    return true;
}

static void serial_unrealize(VirtioDev *d)
{
    VirtioSerial *s = (VirtioSerial *)d;

    g_queue_clear_full(&s->ctrl, (GDestroyNotify)g_bytes_unref);
    if (s->bus_ready) {
        bus_fini(&s->bus);
        s->bus_ready = false;
    }
    g_clear_pointer(&s->ports, g_free);
}

const PropSpec virtio_serial_props[] = {
    PROP_U32("max_ports", VirtioSerial, max_ports, 31, "ports it may have"),
    PROP_U32("class", VirtioSerial, vd.pci_class, 0, "PCI class: 0x780, 0x380, 0xff"),
    PROP_BOOL("emergency-write", VirtioSerial, emergency_write, true,
        "one-character output without a driver"),
    PROP_BOOL("x-size", VirtioSerial, size, false, "the guest knows the size of its consoles"),
    PROP_END,
};

static const VirtioOps serial_ops = {
    .id = 3,
    .transitional_id = 0x1003,
    .pci_class = 0x078000,
    .queue_count = serial_queue_count,
    .queue_spec = serial_queue_spec,
    .default_vectors = 2,
    .config_size = sizeof(ConConfig),
    .offer = serial_offer,
    .config = serial_config,
    .config_wrote = serial_config_wrote,
    .start = serial_start,
    .stop = serial_stop,
    .queue_reset = serial_queue_reset,
    .reset = serial_reset,
    .realize = serial_realize,
    .unrealize = serial_unrealize,
};

const ObjClass virtio_serial_class = {
    .name = "virtio-serial-device",
    .parent = "virtio-device",
    .help = "a bus of serial ports",
    .category = "Input",
    .size = sizeof(VirtioSerial),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_serial_props, NULL }, { NULL, NULL } },
    .ops = &serial_ops,
};
VIRTIO_PCI_TYPES(virtio_serial, "virtio-serial", virtio_serial_class, virtio_serial_props, "Input");

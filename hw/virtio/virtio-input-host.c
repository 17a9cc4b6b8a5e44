/*
 * virtio-input-host: an evdev of the host given to the guest (VIRTIO 1.4, 5.8; linux/input.h). It
 * is grabbed: the host does not see its events. Lights go back. Tested by
 * test-virtio-input-host and tests/guest/evdev.py.
 */
#include "hw/virtio/virtio-input.h"
#include "hw/virtio/virtio-pci.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { EVENTS_A_TURN = 64 };

typedef struct Host {
    VirtioInput vi;
    char *evdev;
    int fd; /* -1: none */
    LoopFd *watch;
    uint8_t keys[KEY_CNT / 8]; /* what is pressed, as the guest knows it */
} Host;

/* ---- events ---- */

static void host_gone(Host *s)
{
    /* What the guest believes pressed is let go; nothing else will come. */
    for (unsigned k = 0; k < KEY_CNT; k++) {
        if (s->keys[k / 8] >> k % 8 & 1) {
            virtio_input_send(&s->vi, EV_KEY, (uint16_t)k, 0);
            virtio_input_send(&s->vi, EV_SYN, SYN_REPORT, 0);
        }
    }
    memset(s->keys, 0, sizeof s->keys);
    loop_fd_del(s->watch);
    s->watch = NULL;
}

static void host_event(Host *s, const struct input_event *ev)
{
    if (ev->type == EV_KEY && ev->code < KEY_CNT) {
        uint8_t bit = (uint8_t)(1u << ev->code % 8), *byte = &s->keys[ev->code / 8];

        *byte = ev->value ? *byte | bit : *byte & (uint8_t)~bit;
    }
    virtio_input_send(&s->vi, ev->type, ev->code, ev->value);
}

static void host_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    Host *s = opaque;
    struct input_event ev[EVENTS_A_TURN];
    ssize_t n = read(s->fd, ev, sizeof ev);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) { /* unplugged: ENODEV */
        host_gone(s);
        return;
    }
    for (size_t i = 0; i < (size_t)n / sizeof ev[0]; i++) {
        host_event(s, &ev[i]);
    }
}

static void host_active(VirtioInput *vi, bool on)
{
    Host *s = (Host *)vi;

    memset(s->keys, 0, sizeof s->keys); /* a new driver knows of none */
}

static void host_status(VirtioInput *vi, uint16_t type, uint16_t code, int32_t value)
{
    const Host *s = (const Host *)vi;
    const struct input_event ev[2] = { { .type = type, .code = code, .value = value },
        { .type = EV_SYN, .code = SYN_REPORT } };

    /* Lights and sounds are outputs; a driver has nothing to say about the others. */
    if (type == EV_LED || type == EV_SND) {
        ssize_t n = write(s->fd, ev, sizeof ev);

        (void)n; /* a device that is gone takes no lights */
    }
}

/* ---- configuration ---- */

static void cfg_bits(Host *s, uint8_t select, uint8_t subsel, unsigned long request)
{
    uint8_t bits[sizeof(((VirtioInputCfg *)0)->data)] = { 0 };
    int n = ioctl(s->fd, request, bits);

    if (n > 0) {
        virtio_input_cfg_bits(&s->vi, select, subsel, bits, MIN((size_t)n, sizeof bits));
    }
}

static void cfg_axes(Host *s)
{
    uint8_t bits[ABS_CNT / 8] = { 0 };
    int n = ioctl(s->fd, EVIOCGBIT(EV_ABS, sizeof bits), bits);

    for (unsigned a = 0; n > 0 && a < MIN((unsigned)n * 8, (unsigned)ABS_CNT); a++) {
        struct input_absinfo i;

        if (bits[a / 8] >> a % 8 & 1 && ioctl(s->fd, EVIOCGABS(a), &i) == 0) {
            const le32 info[5] = { le32_of((uint32_t)i.minimum), le32_of((uint32_t)i.maximum),
                le32_of((uint32_t)i.fuzz), le32_of((uint32_t)i.flat),
                le32_of((uint32_t)i.resolution) };

            virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ABS_INFO, (uint8_t)a, info, sizeof info);
        }
    }
}

static void host_configure(Host *s)
{
    char name[sizeof(((VirtioInputCfg *)0)->data)] = "";
    struct input_id id = { 0 };

    if (ioctl(s->fd, EVIOCGNAME(sizeof name - 1), name) > 0 && name[0]) {
        virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ID_NAME, 0, name, strlen(name));
    }
    if (ioctl(s->fd, EVIOCGID, &id) == 0) {
        const le16 ids[] = { le16_of(id.bustype), le16_of(id.vendor), le16_of(id.product),
            le16_of(id.version) };

        virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ID_DEVIDS, 0, ids, sizeof ids);
    }
    cfg_bits(s, VIRTIO_INPUT_CFG_PROP_BITS, 0, EVIOCGPROP(sizeof(((VirtioInputCfg *)0)->data)));
    for (uint8_t type = EV_KEY; type <= EV_SND; type++) {
        cfg_bits(s, VIRTIO_INPUT_CFG_EV_BITS, type,
            EVIOCGBIT(type, sizeof(((VirtioInputCfg *)0)->data)));
    }
    cfg_axes(s);
}

/* ---- life ---- */

static void host_close(Host *s)
{
    loop_fd_del(s->watch);
    s->watch = NULL;
    if (s->fd >= 0) {
        close(s->fd); /* which lets go of it, too */
        s->fd = -1;
    }
}

static bool host_realize(VirtioInput *vi, GError **err)
{
    Host *s = (Host *)vi;
    int version;

    if (!s->evdev) {
        return err_set(err, "evdev property is required");
    }
    s->fd = open(s->evdev, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (s->fd < 0) {
        return err_set_errno(err, "Could not open '%s'", s->evdev);
    }
    if (ioctl(s->fd, EVIOCGVERSION, &version) < 0) {
        host_close(s);
        return err_set(err, "%s: is not an evdev device", s->evdev);
    }
    if (ioctl(s->fd, EVIOCGRAB, (void *)1) < 0) {
        host_close(s);
        return err_set_errno(err, "%s: failed to get exclusive access", s->evdev);
    }
    host_configure(s);
    s->watch = loop_fd_add(s->vi.vd.loop, s->fd, EPOLLIN, host_readable, s);
    return true;
}

static void host_unrealize(VirtioInput *vi)
{
    host_close((Host *)vi);
}

static const VirtioInputKind host_kind = { .realize = host_realize,
    .unrealize = host_unrealize,
    .active = host_active,
    .status = host_status };

static void host_init(Obj *o)
{
    ((VirtioInput *)o)->kind = &host_kind;
    ((Host *)o)->fd = -1;
}

static const PropSpec host_props[] = {
    PROP_STR("serial", Host, vi.serial, "what the guest reads as serial number"),
    PROP_STR("evdev", Host, evdev, "/dev/input/event* of the host"),
    PROP_END,
};

VIRTIO_INPUT_OPS(host_ops, 0x098000);

const ObjClass virtio_input_host_class = {
    .name = "virtio-input-host-device",
    .parent = "virtio-input-device",
    .help = "an input device of the host",
    .category = "Input",
    .size = sizeof(Host),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { host_props, NULL }, { NULL, NULL } },
    .ops = &host_ops,
    .init = host_init,
};
VIRTIO_PCI_TYPE_WITH(virtio_input_host, "virtio-input-host", virtio_input_host_class,
    virtio_input_pci_props, host_props, "Input", 0);

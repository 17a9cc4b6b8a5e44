/* virtio-input-host with an evdev that uinput makes: capabilities, events, grab, lights, and what
 * happens when it is unplugged. Skipped where there is no /dev/uinput. */
#include "hw/core/machine.h"
#include "hw/virtio/virtio-pci.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/uinput.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern const ObjClass virtio_input_class, virtio_input_host_class, virtio_input_host_pci_base_class,
    virtio_input_host_pci_class;
const ObjClass *const obj_classes[] = { &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &virtio_input_class, &virtio_input_host_class, &virtio_input_host_pci_base_class,
    &virtio_input_host_pci_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

enum { EVENTS, STATUS, PAGE = 0x800000 };
#define NAME "Virtue test keys"

typedef struct Wire {
    uint16_t type, code;
    int32_t value;
} Wire;

/* The evdev that carries our name. */
static char *find_evdev(void)
{
    glob_t g = { 0 };
    char *found = NULL;

    if (glob("/dev/input/event*", 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc && !found; i++) {
            char name[64] = "";
            int fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);

            if (fd >= 0 && ioctl(fd, EVIOCGNAME(sizeof name - 1), name) > 0 &&
                !strcmp(name, NAME)) {
                found = g_strdup(g.gl_pathv[i]);
            }
            if (fd >= 0) {
                close(fd);
            }
        }
    }
    globfree(&g);
    return found;
}

static int make_evdev(void)
{
    struct uinput_setup s = {
        .id = { .bustype = BUS_USB, .vendor = 0x1234, .product = 0x5678, .version = 3 },
        .name = NAME
    };
    struct uinput_abs_setup abs = { .code = ABS_X,
        .absinfo = { .minimum = -5, .maximum = 1000, .fuzz = 2, .flat = 3, .resolution = 4 } };
    int fd = open("/dev/uinput", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    g_assert_cmpint(ioctl(fd, UI_SET_EVBIT, EV_KEY), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_SET_KEYBIT, KEY_A), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_SET_KEYBIT, KEY_B), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_SET_EVBIT, EV_ABS), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_ABS_SETUP, &abs), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_SET_EVBIT, EV_LED), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_SET_LEDBIT, LED_CAPSL), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_DEV_SETUP, &s), ==, 0);
    g_assert_cmpint(ioctl(fd, UI_DEV_CREATE), ==, 0);
    return fd;
}

static void emit(int fd, uint16_t type, uint16_t code, int32_t value)
{
    struct input_event ev = { .type = type, .code = code, .value = value };

    g_assert_cmpint(write(fd, &ev, sizeof ev), ==, sizeof ev);
}

static uint8_t cfg(Board *b, VDriver *d, unsigned select, unsigned subsel, uint8_t *data)
{
    b->port.store(b, false, d->device, 1, select);
    b->port.store(b, false, d->device + 1, 1, subsel);
    uint8_t size = (uint8_t)b->port.load(b, false, d->device + 2, 1);

    for (unsigned i = 0; i < size; i++) {
        data[i] = (uint8_t)b->port.load(b, false, d->device + 8 + i, 1);
    }
    return size;
}

static void expect(Board *b, VDriver *d, const Wire *want, unsigned n)
{
    uint32_t id, len;

    for (unsigned i = 0; i < n; i++) {
        for (unsigned turns = 0; !vring_used(&d->ring[EVENTS], &id, &len); turns++) {
            g_assert_cmpuint(turns, <, 5000);
            board_run(b);
            g_usleep(1000); /* the host's input core hands events over */
        }
        g_assert_cmpuint(len, ==, sizeof(Wire));
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t head = vport_r32(&b->port, PAGE + 64 * i), value;

        value = vport_r32(&b->port, PAGE + 64 * i + 4);
        g_assert_cmphex(head, ==, want[i].type | (uint32_t)want[i].code << 16);
        g_assert_cmphex(value, ==, (uint32_t)want[i].value);
    }
    for (unsigned i = 0; i < n; i++) { /* and buffers again, in the same places */
        const VBuf buf = { PAGE + 64 * i, sizeof(Wire), true };

        vring_add(&d->ring[EVENTS], &buf, 1, 0);
    }
}

static void check_cfg(Board *b, VDriver *d)
{
    uint8_t data[128];

    g_assert_cmpuint(cfg(b, d, 1, 0, data), ==, strlen(NAME));
    g_assert_cmpmem(data, strlen(NAME), NAME, strlen(NAME));
    g_assert_cmpuint(cfg(b, d, 3, 0, data), ==, 8);
    g_assert_cmpmem(data, 8, "\x03\x00\x34\x12\x78\x56\x03\x00", 8);
    g_assert_cmpuint(cfg(b, d, 0x11, EV_KEY, data), ==, KEY_B / 8 + 1);
    g_assert_cmphex(data[KEY_A / 8], ==, 1 << KEY_A % 8);
    g_assert_cmphex(data[KEY_B / 8], ==, 1 << KEY_B % 8);
    g_assert_cmpuint(cfg(b, d, 0x11, EV_LED, data), ==, 1);
    g_assert_cmpuint(cfg(b, d, 0x11, EV_REL, data), ==, 0);
    g_assert_cmpuint(cfg(b, d, 0x12, ABS_X, data), ==, 20);
    g_assert_cmpmem(data, 20, "\xfb\xff\xff\xff\xe8\x03\0\0\2\0\0\0\3\0\0\0\4\0\0\0", 20);
    g_assert_cmpuint(cfg(b, d, 0x12, ABS_Y, data), ==, 0);
}

static void check_light(Board *b, VDriver *d, int uinput)
{
    const VBuf buf = { PAGE + 0x1000, sizeof(Wire), false };
    struct input_event ev = { 0 };
    uint32_t id, len;

    vport_w32(&b->port, PAGE + 0x1000, EV_LED | LED_CAPSL << 16);
    vport_w32(&b->port, PAGE + 0x1004, 1);
    vring_add(&d->ring[STATUS], &buf, 1, 0);
    vd_kick(d, STATUS);
    vd_wait_used(d, STATUS, &id, &len);
    for (unsigned i = 0; i < 5000 && !(ev.type == EV_LED && ev.code == LED_CAPSL); i++) {
        if (read(uinput, &ev, sizeof ev) < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            g_usleep(1000);
        }
    }
    g_assert_true(ev.type == EV_LED && ev.code == LED_CAPSL && ev.value == 1);
}

static void check_grab(const char *path, int uinput)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct input_event ev;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ioctl(fd, EVIOCGRAB, (void *)1), ==, -1);
    g_assert_cmpint(errno, ==, EBUSY);
    g_assert_cmpint(read(fd, &ev, sizeof ev), ==, -1); /* nothing of what was emitted */
    close(fd);
}

static void test_host(void)
{
    int uinput = make_evdev();
    g_autofree char *path = NULL, *error = NULL;
    VDriver d;

    if (uinput < 0) {
        g_autofree char *why = g_strdup_printf("/dev/uinput: %s", g_strerror(errno));

        g_test_skip(why);
        return;
    }
    for (unsigned i = 0; i < 5000 && !(path = find_evdev()); i++) {
        g_usleep(1000);
    }
    if (!path) {
        g_test_skip("no /dev/input/event* came for the device that uinput made");
        close(uinput);
        return;
    }
    Board *b = board_new(false);
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'virtio-input-host-pci', 'addr': '4', 'id': 'h', 'evdev': '%s'}", path);
    g_autofree char *again =
        g_strdup_printf("{'driver': 'virtio-input-host-pci', 'addr': '5', 'evdev': '%s'}", path);

    board_add(b, json);
    error = board_add_error(b, again);
    g_assert_nonnull(strstr(error, "failed to get exclusive access"));
    vd_open(&d, &b->port, 0, 4 << 3, false);
    g_assert_true(vd_negotiate(&d, vd_offered(&d)));
    vd_setup_queue(&d, EVENTS, 0);
    vd_setup_queue(&d, STATUS, 0);
    vd_driver_ok(&d);
    check_cfg(b, &d);
    for (unsigned i = 0; i < 3; i++) {
        const VBuf buf = { PAGE + 64 * i, sizeof(Wire), true };

        vring_add(&d.ring[EVENTS], &buf, 1, 0);
    }
    emit(uinput, EV_KEY, KEY_A, 1);
    emit(uinput, EV_ABS, ABS_X, 77);
    emit(uinput, EV_SYN, SYN_REPORT, 0);
    expect(
        b, &d, (const Wire[]){ { EV_KEY, KEY_A, 1 }, { EV_ABS, ABS_X, 77 }, { EV_SYN, 0, 0 } }, 3);
    check_grab(path, uinput);
    check_light(b, &d, uinput);
    /* The host's device goes while its key is down. Linux says so first where it can. */
    close(uinput);
    expect(b, &d, (const Wire[]){ { EV_KEY, KEY_A, 0 }, { EV_SYN, 0, 0 } }, 2);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-input-host/evdev", test_host);
    return g_test_run();
}

/* What the hostile drivers share. */
#include "tests/qtest/hostile.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BLK "-blockdev driver=null-co,node-name=d,read-zeroes=on,size=64M%s"
const HostileType hostile_types[] = {
    { "virtio-rng-pci", "", "", "", 0, 0, 0, 16, { 0 } },
    { "virtio-blk-pci", BLK, ",drive=d", "", 0, 0, 16, 513, { 0 } },
    { "virtio-net-pci", "-netdev hubport,hubid=0,id=n", ",netdev=n", "", 0, 1, 76, 0, { 0 } },
    { "virtio-net-pci", HOSTILE_WIRE, ",netdev=n", "", 0, 0, 0, 1600, { 0 }, "receive", true },
    /* "promiscuous: no" */
    { "virtio-net-pci", "-netdev hubport,hubid=0,id=n", ",netdev=n", "", 0, 2, 3, 1, { 0 },
        "control" },
    { "virtio-serial-pci", "-chardev null,id=c", ",id=s", "-device virtconsole,chardev=c,bus=s.0",
        2, 1, 8, 0, { 'h', 'e', 'l', 'l', 'o' } },
    { "virtio-balloon-pci", "", ",vectors=4", "", 0, 0, 4, 0, { 0, 3 } },
    { "virtio-scsi-pci", BLK, ",id=s", "-device scsi-hd,drive=d,bus=s.0", 0, 2, 51, 108,
        { 1, 0, 0x40 } },
    /* GET_DISPLAY_INFO */
    { "virtio-gpu-pci", "", "", "", 0, 0, 24, 408, { 0, 1 } },
    { "virtio-keyboard-pci", "", "", "", 0, 1, 8, 0, { 0x11, 0, 0, 0, 1 } },
    /* a reset of a connection that is not there: nothing is answered */
    { "virtio-vsock-pci", "", ",guest-cid=3,x-path=DIR/vsock", "", 0, 1, 44, 0,
        { 3, 0, 0, 0, 0, 0, 0, 0, 2 } },
};
const unsigned hostile_ntypes = G_N_ELEMENTS(hostile_types);

static void ram_read(void *opaque, uint64_t at, void *dst, size_t len);
static void ram_write(void *opaque, uint64_t at, const void *src, size_t len);
static uint8_t *ram; /* the one machine's that runs */

static void ram_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    g_assert(at <= HOSTILE_RAM && len <= HOSTILE_RAM - at);
    memcpy(dst, ram + at, len);
}

static void ram_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    g_assert(at <= HOSTILE_RAM && len <= HOSTILE_RAM - at);
    memcpy(ram + at, src, len);
}

static void open_driver(Hostile *x, bool express)
{
    if (express) {
        vd_cfg_write(&x->port, 0, 2 << 3, 0x18, 4, 0x00010100);
        vd_cfg_write(&x->port, 0, 2 << 3, 0x20, 4, 0xe010e000);
        vd_cfg_write(&x->port, 0, 2 << 3, 0x24, 4, 0x0001fff1);
        vd_cfg_write(&x->port, 0, 2 << 3, 4, 2, 7);
        vd_open(&x->d, &x->port, 1, 0, false);
    } else {
        vd_open(&x->d, &x->port, 0, HOSTILE_DEVFN, false);
    }
}

static char *with_dir(const Hostile *x, const char *text)
{
    g_auto(GStrv) piece = g_strsplit(text, "DIR", -1);

    return g_strjoinv(x->dir, piece);
}

static struct sockaddr_un address(const Hostile *x, const char *name)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    g_snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", x->dir, name);
    return a;
}

/* The far end of the cable, which a packet leaves by DIR/us. */
static void plug(Hostile *x)
{
    struct sockaddr_un us = address(x, "us"), vm = address(x, "vm");

    x->peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(x->peer, (struct sockaddr *)&us, sizeof us), ==, 0);
    g_assert_cmpint(connect(x->peer, (struct sockaddr *)&vm, sizeof vm), ==, 0);
}

static void unplug(Hostile *x)
{
    struct sockaddr_un us = address(x, "us");

    if (x->peer >= 0) {
        close(x->peer);
        g_unlink(us.sun_path);
    }
}

bool hostile_up(Hostile *x, const HostileType *t, bool slow, bool express)
{
    *x = (Hostile){ .t = t, .peer = -1 };
    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return false;
    }
    x->dir = g_dir_make_tmp("hostile-XXXXXX", NULL);
    x->log = g_build_filename(x->dir, "log", NULL);
    x->file = g_build_filename(x->dir, "ram", NULL);
    g_autofree char *own = with_dir(x, t->opts), *hosts = with_dir(x, t->host);
    g_auto(GStrv) host = g_strsplit(hosts, "%s", 2);
    g_autofree char *args =
        g_strdup_printf("-M %s,memory-backend=m -m 16 -object "
                        "memory-backend-file,id=m,size=16M,share=on,mem-path=%s "
                        "-d guest_errors -D %s %s%s%s %s -device %s,%s,packed=on%s %s",
            express ? "q35" : "pc", x->file, x->log, host[0] ? host[0] : "",
            slow && host[0] && host[1] ? ",latency-ns=30000000" : "", "",
            express ? "-device pcie-root-port,id=rp,addr=2" : "", t->driver,
            express ? "bus=rp" : "addr=4", own, t->child);

    x->q = qtv_start(NULL, args);
    int fd = open(x->file, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    ram = x->ram = mmap(NULL, HOSTILE_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(x->ram != MAP_FAILED);
    close(fd);
    x->port = *qtv_port(x->q);
    x->port.read = ram_read;
    x->port.write = ram_write;
    open_driver(x, express);
    if (strstr(t->host, "DIR/us")) {
        plug(x);
    }
    return true;
}

void hostile_down(Hostile *x)
{
    qtv_stop(x->q);
    unplug(x);
    munmap(x->ram, HOSTILE_RAM);
    g_unlink(x->log);
    g_unlink(x->file);
    g_rmdir(x->dir);
    g_free(x->log);
    g_free(x->file);
    g_free(x->dir);
}

void hostile_start(Hostile *x, bool packed)
{
    VDriver *d = &x->d;
    uint64_t f = vd_offered(d) & ~x->t->without & ~(1ull << 34) & ~(1ull << 29);
    unsigned n;

    x->packed = packed;
    d->alloc = 0x100000;
    g_assert_true(vd_negotiate(d, f | (uint64_t)packed << 34));
    n = (unsigned)vd_read(d, 0x12, 2);
    for (unsigned i = 0; i < n && i <= x->t->queue; i++) {
        vd_setup_queue(d, i, 0);
    }
    vd_driver_ok(d);
    x->r = &d->ring[x->t->queue];
}

static void step(const Hostile *x)
{
    x->port.step(x->port.opaque);
}

void hostile_kick(Hostile *x)
{
    static const uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1 };

    vd_kick(&x->d, x->t->queue);
    if (x->t->fed) { /* of a wire that is full the frames suffice */
        send(x->peer, frame, sizeof frame, MSG_DONTWAIT);
    }
}

unsigned hostile_put(Hostile *x)
{
    const HostileType *t = x->t;
    uint64_t at = 0x800000;
    VBuf buf[3] = { { at, t->out, false } };
    unsigned n = t->out ? 1 : 0;

    memset(x->ram + at, 0, 0x2000);
    memcpy(x->ram + at, t->head, sizeof t->head);
    if (t->in > 1) {
        buf[n++] = (VBuf){ at + 0x1000, t->in - 1u, true };
    }
    if (t->in) {
        buf[n++] = (VBuf){ at + 0x1fff, 1, true };
    }
    return vring_add(x->r, buf, n, 0);
}

void hostile_good(Hostile *x)
{
    hostile_put(x);
    hostile_kick(x);
}

void hostile_alive(Hostile *x)
{
    uint32_t id, len;

    hostile_good(x);
    vd_wait_used(&x->d, x->t->queue, &id, &len);
    g_assert_cmpuint(len, <=, x->t->in);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

void hostile_desc(Hostile *x, unsigned i, uint64_t at, uint32_t len, unsigned flags, unsigned next)
{
    vring_desc(x->r, i, at, len, (uint16_t)(flags | (x->packed ? 1 << 7 : 0)), (uint16_t)next);
}

void hostile_avail(Hostile *x, unsigned head)
{
    if (!x->packed) {
        vring_avail(x->r, (uint16_t)head);
    }
}

unsigned hostile_log_lines(const Hostile *x)
{
    g_autofree char *text = NULL;
    unsigned n = 0;

    if (g_file_get_contents(x->log, &text, NULL, NULL)) {
        for (const char *p = text; (p = strchr(p, '\n')); p++) {
            n++;
        }
    }
    return n;
}

void hostile_broken(Hostile *x)
{
    for (unsigned steps = 0; !(vd_status(&x->d) & 0x40); steps++) {
        step(x);
        g_assert_cmpuint(steps, <, 10000);
    }
}

void hostile_wait_reset(const Hostile *x)
{
    for (gint64 until = g_get_monotonic_time() + 30 * G_USEC_PER_SEC; vd_status(&x->d);) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
    }
}

void hostile_noticed(Hostile *x)
{
    unsigned lines;

    hostile_kick(x);
    hostile_broken(x);
    g_assert_cmphex(vd_isr(&x->d) & 2, ==, 2);
    lines = hostile_log_lines(x);
    if (++x->bad < 10) { /* more than ten in a second are counted, not shown */
        g_assert_cmpuint(lines, ==, x->lines + 1);
    } else {
        g_assert_cmpuint(lines, <=, x->lines + 2);
    }
    hostile_kick(x); /* nothing more is said about a device that waits for its reset */
    step(x);
    g_assert_cmpuint(hostile_log_lines(x), ==, lines);
    x->lines = lines;
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

double hostile_cpu(const Hostile *x)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", qtv_pid(x->q)), *text = NULL;
    unsigned long user = 0, system = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const char *p = strrchr(text, ')');

    g_assert_cmpint(
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), ==,
        2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

uint64_t hostile_rss(const Hostile *x)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", qtv_pid(x->q)), *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const char *p = strstr(text, "\nAnonymous:");

    g_assert_nonnull(p);
    return g_ascii_strtoull(p + 11, NULL, 10) * 1024;
}

unsigned hostile_drain(VRing *r)
{
    uint32_t id, len;
    unsigned n = 0;

    while (vring_used(r, &id, &len)) {
        n++;
    }
    return n;
}

void hostile_finish(Hostile *x, VRing *r, unsigned n)
{
    for (gint64 until = g_get_monotonic_time() + 30 * G_USEC_PER_SEC; n;) {
        step(x);
        n -= hostile_drain(r);
        g_assert_cmpint(g_get_monotonic_time(), <, until);
    }
}

unsigned hostile_fds(const Hostile *x)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtv_pid(x->q));
    GDir *d = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(d)) {
        n++;
    }
    g_dir_close(d);
    return n;
}

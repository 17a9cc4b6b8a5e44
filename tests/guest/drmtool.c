/*
 * Draws in a guest through DRM's dumb buffers, as lines on its input say, and answers each with a
 * line. A pattern is a function of place and seed that the test knows, too. Connectors are numbered
 * as the kernel lists them.
 *
 *   heads | show HEAD SEED WIDTH HEIGHT | part HEAD SEED X Y WIDTH HEIGHT | off HEAD
 *   cursor HEAD SEED HOT_X HOT_Y | move HEAD X Y | nocursor HEAD | hotplug (waits for one) | quit
 */
#include <drm.h>
#include <drm_mode.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADS = 16, MODES = 128, CURSOR = 64 };

typedef struct Buffer {
    uint32_t handle, fb, pitch, width, height;
    uint32_t *pixels;
    size_t size;
} Buffer;

static int card, uevents;
static uint32_t connectors[HEADS], crtcs[HEADS], nheads;
static Buffer shown[HEADS], pointer[HEADS];
static struct drm_mode_modeinfo modes[MODES];

static void must(int rc, const char *what)
{
    if (rc < 0) {
        printf("failed %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static uint32_t mix(uint32_t v)
{
    v *= 2654435761u;
    return v ^ v >> 15;
}

static uint32_t pattern(uint32_t seed, uint32_t x, uint32_t y)
{
    return (mix(x + seed * 65536) ^ mix(y + seed * 131071)) & 0xffffff;
}

static void find_heads(void)
{
    struct drm_mode_card_res r = { .connector_id_ptr = (uintptr_t)connectors,
        .crtc_id_ptr = (uintptr_t)crtcs,
        .count_connectors = HEADS,
        .count_crtcs = HEADS };

    must(ioctl(card, DRM_IOCTL_MODE_GETRESOURCES, &r), "resources");
    nheads = r.count_connectors;
}

/* Its modes, the preferred one first; 0: nothing is connected. */
static unsigned find_modes(unsigned head)
{
    struct drm_mode_get_connector c = { .connector_id = connectors[head] };

    must(ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &c), "probe"); /* asks the device */
    c = (struct drm_mode_get_connector){
        .connector_id = connectors[head], .modes_ptr = (uintptr_t)modes, .count_modes = MODES
    };
    must(ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &c), "connector");
    return c.connection == 1 && c.count_modes <= MODES ? c.count_modes : 0;
}

static void heads(void)
{
    for (unsigned i = 0; i < nheads; i++) {
        unsigned n = find_modes(i);

        printf("head %u %s", i, n ? "connected" : "disconnected");
        for (unsigned k = 0; k < n; k++) {
            printf(" %ux%u%s", modes[k].hdisplay, modes[k].vdisplay,
                modes[k].type & DRM_MODE_TYPE_PREFERRED ? "*" : "");
        }
        printf("\n");
    }
    printf("ok heads\n");
}

static Buffer make(uint32_t width, uint32_t height)
{
    struct drm_mode_create_dumb d = { .width = width, .height = height, .bpp = 32 };
    struct drm_mode_map_dumb m = { 0 };

    must(ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &d), "dumb buffer");
    m.handle = d.handle;
    must(ioctl(card, DRM_IOCTL_MODE_MAP_DUMB, &m), "map");
    void *at = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)m.offset);

    must(at == MAP_FAILED ? -1 : 0, "mmap");
    return (Buffer){ d.handle, 0, d.pitch, width, height, at, d.size };
}

static void release(Buffer *b)
{
    struct drm_mode_destroy_dumb d = { b->handle };

    if (b->fb) {
        ioctl(card, DRM_IOCTL_MODE_RMFB, &b->fb);
    }
    if (b->pixels) {
        munmap(b->pixels, b->size);
        ioctl(card, DRM_IOCTL_MODE_DESTROY_DUMB, &d);
    }
    *b = (Buffer){ 0 };
}

static void fill(
    const Buffer *b, uint32_t seed, uint32_t x, uint32_t y, uint32_t w, uint32_t h, uint32_t alpha)
{
    for (uint32_t row = y; row < y + h; row++) {
        uint32_t *line = b->pixels + (size_t)row * (b->pitch / 4);

        for (uint32_t i = x; i < x + w; i++) {
            line[i] = pattern(seed, i, row) | (row % 2 ? 0 : alpha);
        }
    }
}

static void set_crtc(unsigned head, uint32_t fb, const struct drm_mode_modeinfo *mode)
{
    struct drm_mode_crtc c = { .crtc_id = crtcs[head], .fb_id = fb };

    if (mode) {
        c.set_connectors_ptr = (uintptr_t)&connectors[head];
        c.count_connectors = 1;
        c.mode = *mode;
        c.mode_valid = 1;
    }
    must(ioctl(card, DRM_IOCTL_MODE_SETCRTC, &c), "mode");
}

static void show(unsigned head, uint32_t seed, uint32_t width, uint32_t height)
{
    unsigned n = find_modes(head), i = 0;
    Buffer b = make(width, height);
    struct drm_mode_fb_cmd fb = { .width = width,
        .height = height,
        .pitch = b.pitch,
        .bpp = 32,
        .depth = 24,
        .handle = b.handle };

    while (i < n && (modes[i].hdisplay != width || modes[i].vdisplay != height)) {
        i++;
    }
    errno = ENOENT;
    must(i < n ? 0 : -1, "no such mode");
    fill(&b, seed, 0, 0, width, height, 0);
    must(ioctl(card, DRM_IOCTL_MODE_ADDFB, &fb), "frame buffer");
    b.fb = fb.fb_id;
    set_crtc(head, b.fb, &modes[i]);
    release(&shown[head]);
    shown[head] = b;
    printf("ok show\n");
}

static void part(unsigned head, uint32_t seed, uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    struct drm_clip_rect clip = { (unsigned short)x, (unsigned short)y, (unsigned short)(x + w),
        (unsigned short)(y + h) };
    struct drm_mode_fb_dirty_cmd d = {
        .fb_id = shown[head].fb, .num_clips = 1, .clips_ptr = (uintptr_t)&clip
    };

    fill(&shown[head], seed, x, y, w, h, 0);
    must(ioctl(card, DRM_IOCTL_MODE_DIRTYFB, &d), "dirty");
    printf("ok part\n");
}

static void set_cursor(unsigned head, uint32_t handle, int hot_x, int hot_y)
{
    struct drm_mode_cursor2 c = { .flags = DRM_MODE_CURSOR_BO,
        .crtc_id = crtcs[head],
        .width = handle ? CURSOR : 0,
        .height = handle ? CURSOR : 0,
        .handle = handle,
        .hot_x = hot_x,
        .hot_y = hot_y };

    must(ioctl(card, DRM_IOCTL_MODE_CURSOR2, &c), "cursor");
}

static void cursor(unsigned head, uint32_t seed, int hot_x, int hot_y)
{
    Buffer b = make(CURSOR, CURSOR);

    fill(&b, seed, 0, 0, CURSOR, CURSOR, 0xff000000);
    set_cursor(head, b.handle, hot_x, hot_y);
    release(&pointer[head]);
    pointer[head] = b;
    printf("ok cursor\n");
}

static void move(unsigned head, int x, int y)
{
    struct drm_mode_cursor2 c = {
        .flags = DRM_MODE_CURSOR_MOVE, .crtc_id = crtcs[head], .x = x, .y = y
    };

    must(ioctl(card, DRM_IOCTL_MODE_CURSOR2, &c), "move");
    printf("ok move\n");
}

/* The kernel tells of it with "HOTPLUG=1" (NETLINK_KOBJECT_UEVENT). */
static void hotplug(void)
{
    char text[4096];
    ssize_t n;

    while ((n = recv(uevents, text, sizeof text - 1, 0)) > 0) {
        text[n] = 0;
        for (const char *p = text; p < text + n; p += strlen(p) + 1) {
            if (!strcmp(p, "HOTPLUG=1")) {
                printf("ok hotplug\n");
                return;
            }
        }
    }
    must(-1, "uevent");
}

static void run(const char *line)
{
    char name[16] = "";
    int v[6] = { 0 };

    sscanf(line, "%15s %d %d %d %d %d %d", name, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
    unsigned head = (unsigned)v[0] % HEADS;

    if (!strcmp(name, "heads")) {
        heads();
    } else if (!strcmp(name, "show")) {
        show(head, (uint32_t)v[1], (uint32_t)v[2], (uint32_t)v[3]);
    } else if (!strcmp(name, "part")) {
        part(head, (uint32_t)v[1], (uint32_t)v[2], (uint32_t)v[3], (uint32_t)v[4], (uint32_t)v[5]);
    } else if (!strcmp(name, "off")) {
        set_crtc(head, 0, NULL);
        printf("ok off\n");
    } else if (!strcmp(name, "cursor")) {
        cursor(head, (uint32_t)v[1], v[2], v[3]);
    } else if (!strcmp(name, "move")) {
        move(head, v[1], v[2]);
    } else if (!strcmp(name, "nocursor")) {
        set_cursor(head, 0, 0, 0);
        printf("ok nocursor\n");
    } else if (!strcmp(name, "hotplug")) {
        hotplug();
    } else if (!strcmp(name, "quit")) {
        printf("ok quit\n");
        exit(0);
    }
}

int main(void)
{
    struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = 1 };
    char line[200];

    setvbuf(stdout, NULL, _IOLBF, 0);
    uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    must(uevents, "netlink");
    must(bind(uevents, (struct sockaddr *)&at, sizeof at), "netlink");
    card = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
    must(card, "/dev/dri/card0");
    must(ioctl(card, DRM_IOCTL_SET_MASTER, 0), "master");
    find_heads();
    printf("ok drmtool %u heads\n", nheads);
    while (fgets(line, sizeof line, stdin)) {
        run(line);
    }
    return 0;
}

/* The driver's side of virtio-gpu (VIRTIO 1.4, 5.7.6): commands as 32-bit words, and their answers.
 */
#pragma once

#include "hw/virtio/virtio-gpu.h"
#include "tests/lib/vdriver.h"

enum { VGPU_CONTROL, VGPU_CURSOR };
enum { VGPU_BGRA = 1, VGPU_BGRX = 2, VGPU_RGBX = 134 };
enum { VGPU_PIXELS = 1 << 20 };

typedef struct VGpu {
    VDriver *d;
    uint64_t req, resp;   /* guest memory: 8 KiB, 4 KiB */
    uint64_t pixels;      /* VGPU_PIXELS bytes */
    uint32_t answer[270]; /* of the last command */
    uint32_t len;         /* of the answer */
} VGpu;

static inline void vgpu_open(VGpu *g, VDriver *d)
{
    *g = (VGpu){ .d = d };
    g->req = vd_page(d, 8192);
    g->resp = vd_page(d, 4096);
    g->pixels = vd_page(d, VGPU_PIXELS);
}

/* At off of req and resp: a command with a fence (0: none); not waited for, nor kicked. */
static inline uint16_t vgpu_put(
    VGpu *g, unsigned off, uint64_t fence, uint32_t type, const uint32_t *words, unsigned n)
{
    const VPort *p = g->d->port;
    uint32_t head[6] = { type, fence != 0, (uint32_t)fence, (uint32_t)(fence >> 32) };
    const VBuf b[2] = { { g->req + off, 24 + 4 * n, false }, { g->resp + off, 24, true } };

    p->write(p->opaque, g->req + off, head, sizeof head);
    p->write(p->opaque, g->req + off + 24, words, 4 * (size_t)n);
    return vring_add(&g->d->ring[VGPU_CONTROL], b, 2, 0);
}

/* Waited for; returns the answer's type. */
static inline uint32_t vgpu_send(
    VGpu *g, unsigned q, uint32_t type, const uint32_t *words, unsigned n)
{
    const VPort *p = g->d->port;
    uint32_t head[6] = { type }, id;
    const VBuf b[2] = { { g->req, 24 + 4 * n, false }, { g->resp, sizeof g->answer, true } };

    p->write(p->opaque, g->req, head, sizeof head);
    if (n) {
        p->write(p->opaque, g->req + 24, words, 4 * (size_t)n);
    }
    vring_add(&g->d->ring[q], b, 2, 0);
    vd_kick(g->d, q);
    vd_wait_used(g->d, q, &id, &g->len);
    p->read(p->opaque, g->resp, g->answer, sizeof g->answer);
    return g->answer[0];
}

#define VGPU_SEND(g, type, ...)                                                                    \
    vgpu_send((g), VGPU_CONTROL, (type), (const uint32_t[]){ __VA_ARGS__ },                        \
        sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)
#define VGPU_OK(g, type, ...) g_assert_cmphex(VGPU_SEND(g, type, __VA_ARGS__), ==, GPU_OK_NODATA)

/* width x height pixels, at most 120 MiB, whose memory is g->pixels, over and over. */
static inline void vgpu_resource(VGpu *g, uint32_t id, uint32_t format, uint32_t w, uint32_t h)
{
    uint32_t words[2 + 4 * 120] = { id }, left = w * h * 4;

    VGPU_OK(g, GPU_CMD_RESOURCE_CREATE_2D, id, format, w, h);
    for (; left; left -= MIN(left, VGPU_PIXELS)) {
        uint32_t *entry = words + 2 + 4 * words[1]++;

        g_assert_cmpuint(words[1], <=, 120);
        entry[0] = (uint32_t)g->pixels;
        entry[2] = MIN(left, VGPU_PIXELS);
    }
    g_assert_cmphex(
        vgpu_send(g, VGPU_CONTROL, GPU_CMD_RESOURCE_ATTACH_BACKING, words, 2 + 4 * words[1]), ==,
        GPU_OK_NODATA);
}

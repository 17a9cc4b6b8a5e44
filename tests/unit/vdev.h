/* What tests of virtio devices share: a machine with one device at 00:04.0, and requests on its
 * queues. */
#pragma once

#include "backends/iothread.h"
#include "hw/core/machine.h"
#include "hw/virtio/virtio-pci.h"
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"

#include <string.h>

/* The classes of one device that VIRTIO_PCI_TYPES() made. */
#define VDEV_EXTERN(p)                                                                             \
    extern const ObjClass p##_class, p##_pci_base_class, p##_pci_class,                            \
        p##_pci_transitional_class, p##_pci_non_transitional_class
#define VDEV_CLASSES(p)                                                                            \
    &pci_device_class, &virtio_pci_class, &virtio_device_class, &p##_class, &p##_pci_base_class,   \
        &p##_pci_class, &p##_pci_transitional_class, &p##_pci_non_transitional_class
#define VDEV_TYPES(...)                                                                            \
    const ObjClass *const obj_classes[] = { __VA_ARGS__, NULL };                                   \
    const ObjAlias obj_aliases[] = { { NULL, NULL } };                                             \
    const MachineClass *const machine_classes[] = { NULL }

typedef struct VDev {
    Board *b;
    Dev *dev;
    VDriver d;
} VDev;

static inline void vdev_open(VDev *x, const char *json, bool legacy)
{
    x->b = board_new(false);
    x->dev = board_add(x->b, json);
    vd_open(&x->d, &x->b->port, 0, 4 << 3, legacy);
}

static inline void vdev_close(VDev *x)
{
    board_free(x->b);
}

static inline void vdev_put(const VDev *x, uint64_t at, const void *src, size_t len)
{
    x->b->port.write(x->b, at, src, len);
}

static inline void vdev_get(const VDev *x, uint64_t at, void *dst, size_t len)
{
    x->b->port.read(x->b, at, dst, len);
}

static inline void vdev_fill(const VDev *x, uint64_t at, uint8_t byte, size_t len)
{
    g_autofree uint8_t *v = g_malloc(len);

    memset(v, byte, len);
    vdev_put(x, at, v, len);
}

static inline uint64_t vdev_cfg(const VDev *x, unsigned off, unsigned size)
{
    return x->d.legacy
               ? x->b->port.load(x->b, true, x->d.bar[0] + (x->d.msix ? 24 : 20) + off, size)
               : x->b->port.load(x->b, false, x->d.device + off, size);
}

static inline void vdev_cfg_write(const VDev *x, unsigned off, unsigned size, uint64_t v)
{
    if (x->d.legacy) {
        x->b->port.store(x->b, true, x->d.bar[0] + (x->d.msix ? 24 : 20) + off, size, v);
    } else {
        x->b->port.store(x->b, false, x->d.device + off, size, v);
    }
}

/* One chain, waited for: used.len. */
static inline uint32_t vdev_do(VDev *x, unsigned q, const VBuf *buf, unsigned n, uint64_t table)
{
    uint32_t id, len, want = vring_add(&x->d.ring[q], buf, n, table);

    vd_kick(&x->d, q);
    vd_wait_used(&x->d, q, &id, &len);
    g_assert_cmpuint(id, ==, want);
    return len;
}

/* One chain that nothing comes back for; returns the status. */
static inline uint8_t vdev_bad(VDev *x, unsigned q, const VBuf *buf, unsigned n)
{
    uint32_t id, len;

    vring_add(&x->d.ring[q], buf, n, 0);
    vd_kick(&x->d, q);
    board_run(x->b);
    g_assert_false(vring_used(&x->d.ring[q], &id, &len));
    return vd_status(&x->d);
}

/* -object iothread; the program links the back ends. */
static inline IoThread *vdev_thread(Board *b, const char *name)
{
    Obj *o = obj_new(&iothread_class);

    obj_add(b->m->objects, name, o);
    g_assert_true(obj_realize(o, NULL));
    return (IoThread *)o;
}

/* A number from the environment: how long a random test is, or where it begins. */
static inline uint64_t vdev_env(const char *name, uint64_t otherwise)
{
    const char *v = g_getenv(name);

    return v ? g_ascii_strtoull(v, NULL, 10) : otherwise;
}

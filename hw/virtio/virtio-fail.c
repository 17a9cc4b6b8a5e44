/* What drivers do wrong: a line in the log, and DEVICE_NEEDS_RESET (VIRTIO 1.4, 2.1.2). Tested by
 * test-vq-split. */
#include "hw/virtio/virtio.h"
#include "util/log.h"
#include "util/loop.h"

void virtio_guest_error(const VirtioDev *d, const char *fmt, ...)
{
    if (!log_on(LOG_GUEST_ERROR)) {
        return;
    }
    const Dev *outer = dev_from_obj(d->dev.obj.parent);
    const Dev *dev = outer ? outer : &d->dev; /* "virtio-blk-pci,id=disk0": what the user named */
    g_autofree char *name = dev_name(dev), *path = dev->id ? NULL : obj_path(&dev->obj);
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (path) { /* there may be several of its kind */
        log_guest_error("%s (%s): %s", name, path, what);
    } else {
        log_guest_error("%s: %s", name, what);
    }
}

/* Failure (2.1.2): any thread; the status and the interrupt follow under the VM lock. */
static void set_needs_reset(VirtioDev *d)
{
    if (d->broken && !(d->status & VIRTIO_STATUS_NEEDS_RESET)) {
        d->status |= VIRTIO_STATUS_NEEDS_RESET;
        if (d->status & VIRTIO_STATUS_DRIVER_OK) {
            d->bus_ops->irq_config(d->transport);
        }
    }
}

static void posted_needs_reset(void *opaque)
{
    VirtioDev *d = opaque;

    /* Pairs with the exchange in virtio_fail(): whoever did not post is seen below. */
    atomic_exchange_explicit(&d->fail_posted, false, memory_order_acq_rel);
    if (d->vqs) {
        set_needs_reset(d);
    }
    obj_unref(&d->dev.obj);
}

void virtio_fail(VirtioDev *d, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    /* One line: what else is found in the same ring says nothing new. */
    if (!atomic_exchange(&d->broken, true)) {
        virtio_guest_error(d, "needs a reset: %s", why);
    }
    d->halted = true;
    if (vm_lock_held()) {
        set_needs_reset(d);
    } else if (!atomic_exchange_explicit(&d->fail_posted, true,
                   memory_order_acq_rel)) { /* pairs with posted_needs_reset() */
        obj_ref(&d->dev.obj);
        loop_post(loop_main(), posted_needs_reset, d);
    }
}

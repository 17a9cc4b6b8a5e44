/*
 * vhost-vsock-pci: sockets of the host kernel, AF_VSOCK on both sides (VIRTIO 1.4, 5.10). The
 * kernel serves the receive and transmit rings; the event queue stays here, for nothing but a
 * moved machine would send one. Covered by tests/unit/test-vhost-vsock.c.
 */
#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio-pci.h"
#include "util/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>

enum { F_SEQPACKET = 1 };

typedef struct VhostVsock {
    VirtioDev vd;
    uint64_t guest_cid;
    OnOffAuto seqpacket;
    char *vhostfd;
    Vhost *host;
} VhostVsock;

static void vsock_config(VirtioDev *d, void *cfg)
{
    le64 cid = le64_of(((VhostVsock *)d)->guest_cid);

    memcpy(cfg, &cid, sizeof cid);
}

static VirtioFeatures vsock_offer(VirtioDev *d, VirtioFeatures f)
{
    const VhostVsock *s = (const VhostVsock *)d;

    vf_set(&f, F_SEQPACKET, s->seqpacket != ON_OFF_AUTO_OFF);
    return vhost_offer(s->host, f);
}

static void vsock_refilled(VirtioDev *d, VirtQueue *vq)
{
    vhost_refilled(((VhostVsock *)d)->host, vq);
}

static bool set_running(VhostVsock *s, int on, GError **err)
{
    return vhost_call(s->host, VHOST_VSOCK_SET_RUNNING, &on, "cannot start or stop vsock", err);
}

static bool vsock_start(VirtioDev *d, GError **err)
{
    VhostVsock *s = (VhostVsock *)d;

    if (!vhost_start(s->host, err)) {
        return false;
    }
    if (!set_running(s, 1, err)) {
        vhost_stop(s->host);
        return false;
    }
    return true;
}

static void vsock_stop(VirtioDev *d)
{
    VhostVsock *s = (VhostVsock *)d;

    set_running(s, 0, NULL); /* the kernel lets go of the rings, whatever it says */
    vhost_stop(s->host);
}

static void vsock_reset(VirtioDev *d)
{
    vhost_reset(((VhostVsock *)d)->host);
}

static bool vsock_check(const VhostVsock *s, GError **err)
{
    if (s->guest_cid <= 2) {
        return err_set(err, "guest-cid property must be greater than 2");
    }
    if (s->guest_cid > UINT32_MAX) {
        return err_set(err, "guest-cid property must be a 32-bit number");
    }
    return !vf_has(s->vd.prop_features, VIRTIO_F_ACCESS_PLATFORM) ||
           err_set(err, "vhost-vsock: iommu_platform=on is not supported");
}

static bool vsock_realize(VirtioDev *d, GError **err)
{
    VhostVsock *s = (VhostVsock *)d;

    if (!vsock_check(s, err)) {
        return false;
    }
    autofd fd =
        s->vhostfd ? fd_from_text(s->vhostfd, err) : open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return s->vhostfd ? false : err_set_errno(err, "vhost-vsock: failed to open vhost device");
    }
    s->host = vhost_new(d, fd_steal(&fd), 2, err);
    if (!s->host) {
        return false;
    }
    if (s->seqpacket == ON_OFF_AUTO_ON && !vhost_has(s->host, F_SEQPACKET)) {
        err_set(err, "vhost-vsock: the kernel has no seqpacket sockets");
    } else if (vhost_call(s->host, VHOST_VSOCK_SET_GUEST_CID, &s->guest_cid,
                   "unable to set guest cid", err)) {
        return true;
    }
    g_clear_pointer(&s->host, vhost_free);
    return false;
}

static void vsock_unrealize(VirtioDev *d)
{
    g_clear_pointer(&((VhostVsock *)d)->host, vhost_free);
}

static Vhost *vsock_vhost(const VirtioDev *d)
{
    return ((const VhostVsock *)d)->host;
}

static const VqSpec vsock_vqs[] = {
    { .name = "rx", .size = 128, .elem_size = sizeof(VqElem), .refilled = vsock_refilled },
    { .name = "tx", .size = 128, .elem_size = sizeof(VqElem), .refilled = vsock_refilled },
    { .name = "event", .size = 128, .elem_size = sizeof(VqElem) },
};

static const PropSpec vhost_vsock_props[] = {
    PROP_U64("guest-cid", VhostVsock, guest_cid, 0, "context of the guest, 3 or more"),
    PROP_ON_OFF_AUTO("seqpacket", VhostVsock, seqpacket, ON_OFF_AUTO_AUTO, "sockets of messages"),
    PROP_STR("vhostfd", VhostVsock, vhostfd, "descriptor of the kernel's device"),
    PROP_END,
};

static const VirtioOps vhost_vsock_ops = {
    .id = 19,
    .pci_class = 0x078000,
    .vqs = vsock_vqs,
    .nvqs = G_N_ELEMENTS(vsock_vqs),
    .default_vectors = 3,
    .config_size = 8,
    .offer = vsock_offer,
    .config = vsock_config,
    .start = vsock_start,
    .stop = vsock_stop,
    .reset = vsock_reset,
    .realize = vsock_realize,
    .unrealize = vsock_unrealize,
    .vhost = vsock_vhost,
};

const ObjClass vhost_vsock_class = {
    .name = "vhost-vsock-device",
    .parent = "virtio-device",
    .help = "sockets of the host kernel",
    .category = "Misc",
    .size = sizeof(VhostVsock),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { vhost_vsock_props, NULL }, { NULL, NULL } },
    .ops = &vhost_vsock_ops,
};
VIRTIO_PCI_TYPE(vhost_vsock, "vhost-vsock", vhost_vsock_class, vhost_vsock_props, "Misc");

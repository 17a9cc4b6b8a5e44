/* vhost-vsock-pci: sockets of the host kernel (VIRTIO 1.4, 5.10). Only its refusals are here:
 * without the kernel's device, and with it, as rings cannot be handed to the kernel yet. */
#include "hw/virtio/virtio-pci.h"
#include "util/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

typedef struct VhostVsock {
    VirtioDev vd;
    uint64_t guest_cid;
    OnOffAuto seqpacket;
    char *vhostfd;
} VhostVsock;

static bool vhost_realize(VirtioDev *d, GError **err)
{
    const VhostVsock *s = (const VhostVsock *)d;

    if (s->guest_cid <= 2) {
        return err_set(err, "guest-cid property must be greater than 2");
    }
    if (s->guest_cid > UINT32_MAX) {
        return err_set(err, "guest-cid property must be a 32-bit number");
    }
    autofd fd = s->vhostfd ? -1 : open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);

    if (!s->vhostfd && fd < 0) {
        return err_set(err, "vhost-vsock: failed to open vhost device: %s", g_strerror(errno));
    }
    return err_set(err, "vhost-vsock: vhost is not supported, use virtio-vsock-pci with x-path=");
}

static const VqSpec vhost_vqs[] = {
    { .name = "vhost", .size = 128, .elem_size = sizeof(VqElem) },
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
    .vqs = vhost_vqs,
    .nvqs = G_N_ELEMENTS(vhost_vqs),
    .default_vectors = 3,
    .config_size = 8,
    .realize = vhost_realize,
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

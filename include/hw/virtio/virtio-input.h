/* virtio-input: what its kinds of devices share (VIRTIO 1.4, 5.8). Main loop. */
#pragma once

#include "hw/virtio/virtio.h"

typedef struct VirtioInput VirtioInput;

/* What the driver reads after it wrote select and subsel. */
typedef struct VirtioInputCfg {
    uint8_t select, subsel, size;
    uint8_t data[128];
} VirtioInputCfg;
enum {
    VIRTIO_INPUT_CFG_ID_NAME = 0x01,
    VIRTIO_INPUT_CFG_ID_SERIAL = 0x02,
    VIRTIO_INPUT_CFG_ID_DEVIDS = 0x03,
    VIRTIO_INPUT_CFG_PROP_BITS = 0x10,
    VIRTIO_INPUT_CFG_EV_BITS = 0x11,
    VIRTIO_INPUT_CFG_ABS_INFO = 0x12
};

typedef struct VirtioInputEvent {
    le16 type, code;
    le32 value;
} VirtioInputEvent;
_Static_assert(sizeof(VirtioInputEvent) == 8, "VIRTIO 1.4, 5.8.6");

/* One update: the events up to and with SYN_REPORT. Linux' evdev clients have 64. */
enum { VIRTIO_INPUT_QUEUE = 64 };

/* What makes a kind of device. */
typedef struct VirtioInputKind {
    bool (*realize)(VirtioInput *s, GError **err); /* fills the configuration */
    void (*unrealize)(VirtioInput *s);             /* NULL */
    /* The driver came (DRIVER_OK), or left. NULL. */
    void (*active)(VirtioInput *s, bool on);
    /* An event from the status queue: lights. NULL: of no use. */
    void (*status)(VirtioInput *s, uint16_t type, uint16_t code, int32_t value);
} VirtioInputKind;

struct VirtioInput {
    VirtioDev vd;
    char *serial;
    const VirtioInputKind *kind; /* set by the class's init */
    GArray *cfgs;                /* VirtioInputCfg */
    size_t config_len;
    uint8_t select, subsel;
    VirtioInputEvent batch[VIRTIO_INPUT_QUEUE];
    unsigned nbatch; /* above the maximum: too long, all of it goes */
    VqElem *spare[VIRTIO_INPUT_QUEUE];
    unsigned nspare;
    bool active;
    uint64_t dropped; /* updates that found too few buffers */
};

void virtio_input_cfg(VirtioInput *s, uint8_t select, uint8_t subsel, const void *data, size_t len);
/* A bitmap as long as its highest bit needs. */
void virtio_input_cfg_bits(
    VirtioInput *s, uint8_t select, uint8_t subsel, const uint8_t *bits, size_t len);
/* Adds an event to the update; SYN_REPORT sends it, whole or not at all. */
void virtio_input_send(VirtioInput *s, uint16_t type, uint16_t code, int32_t value);

/* The classes' common parts. */
bool virtio_input_realize(VirtioDev *d, GError **err);
void virtio_input_unrealize(VirtioDev *d);
extern const ObjClass virtio_input_class, virtio_input_hid_class; /* abstract */
extern const PropSpec virtio_input_pci_props[];                   /* the proxy's */
#define VIRTIO_INPUT_OPS(var, class_code)                                                          \
    static const VirtioOps var = {                                                                 \
        .id = 18,                                                                                  \
        .pci_class = (class_code),                                                                 \
        .vqs = virtio_input_vqs,                                                                   \
        .nvqs = 2,                                                                                 \
        .default_vectors = 2,                                                                      \
        .config_size = 8 + sizeof(((VirtioInputCfg *)0)->data),                                    \
        .config_len = virtio_input_config_len,                                                     \
        .config = virtio_input_config,                                                             \
        .config_wrote = virtio_input_config_wrote,                                                 \
        .start = virtio_input_start,                                                               \
        .stop = virtio_input_stop,                                                                 \
        .suspend = virtio_input_stop,                                                              \
        .queue_reset = virtio_input_queue_reset,                                                   \
        .reset = virtio_input_reset,                                                               \
        .realize = virtio_input_realize,                                                           \
        .unrealize = virtio_input_unrealize,                                                       \
    }
extern const VqSpec virtio_input_vqs[];
size_t virtio_input_config_len(VirtioDev *d);
void virtio_input_config(VirtioDev *d, void *cfg);
void virtio_input_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len);
bool virtio_input_start(VirtioDev *d, GError **err);
void virtio_input_stop(VirtioDev *d);
void virtio_input_queue_reset(VirtioDev *d, unsigned i);
void virtio_input_reset(VirtioDev *d);

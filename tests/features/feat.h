/* What the feature table and its data movers share. */
#pragma once

#include "hw/virtio/virtio-pci.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"

/*
 * A feature bit a device may offer: what it needs (one of two, the same twice: that one;
 * VIRTIO 1.4, the "requires" lists of chapter 5) and how its data mover shows that it was
 * negotiated. A bit that needs several has a row for each. A bit that a device offers and that has
 * no row here fails the table.
 */
enum { NONE = 255, FEAT_BITS = 128 };
__extension__ typedef unsigned __int128 FeatSet; /* VIRTIO 1.4, 2.2: bits 0 to 127 */
#define FEAT(b) ((FeatSet)1 << (b))
typedef struct FeatBit {
    uint8_t bit, one_of[2];
    const char *shown;
} FeatBit;
#define ALONE                                                                                      \
    {                                                                                              \
        NONE, NONE                                                                                 \
    }
#define NEEDS(b)                                                                                   \
    {                                                                                              \
        (b), (b)                                                                                   \
    }

typedef struct Feat Feat;
typedef struct FeatType {
    const char *base;       /* "virtio-rng": type names are base + "-pci" */
    const char *variant;    /* how this row's device differs; NULL */
    const char *opts;       /* JSON members, with all that it can offer */
    void (*up)(Feat *x);    /* back ends, before the device; NULL */
    void (*added)(Feat *x); /* what sits on the device; NULL */
    void (*move)(Feat *x);  /* data, checked byte by byte; DRIVER_OK is set */
    void (*down)(Feat *x);  /* NULL */
    const FeatBit *bits;
    bool modern_only; /* it has no legacy interface */
} FeatType;
extern const FeatType feat_types[];

struct Feat {
    const FeatType *t;
    Board *b;
    Dev *dev;
    VDriver d;
    uint64_t page; /* 1 MiB of guest memory, zero at the beginning of a row */
    FeatSet f;     /* negotiated */
    unsigned round;
};

static inline bool feat_has(const Feat *x, unsigned bit)
{
    return x->f >> bit & 1;
}
/* One chain there and back, its interrupt seen; the used length. */
uint32_t feat_go(Feat *x, unsigned q, const VBuf *buf, unsigned n);
/* A buffer for the device to fill; what it filled. */
void feat_give(Feat *x, unsigned q, uint64_t at, uint32_t len);
uint32_t feat_taken(Feat *x, unsigned q, uint32_t want_id);
bool feat_none(Feat *x, unsigned q);
uint64_t feat_cfg(const Feat *x, unsigned off, unsigned size);
void feat_cfg_write(const Feat *x, unsigned off, unsigned size, uint64_t v);
void feat_put(const Feat *x, uint64_t at, const void *src, size_t len);
void feat_get(const Feat *x, uint64_t at, void *dst, size_t len);
/* Bytes that say where they are from: position, round, seed. */
void feat_pattern(const Feat *x, uint8_t *dst, size_t len, unsigned seed);

/* movers-net.c */
extern const FeatBit feat_net_bits[];
void feat_net_up(Feat *x);
void feat_net_move(Feat *x);
void feat_net_down(Feat *x);
/* movers-blk.c */
extern const FeatBit feat_blk_bits[], feat_blk_ro_bits[];
void feat_blk_up(Feat *x);
void feat_blk_move(Feat *x);
void feat_blk_ro_move(Feat *x);
void feat_blk_down(Feat *x);
const uint8_t *feat_disk(void); /* its bytes */
/* movers-balloon.c */
extern const FeatBit feat_balloon_bits[];
void feat_balloon_move(Feat *x);
/* movers-gpu.c */
extern const FeatBit feat_gpu_bits[];
void feat_gpu_move(Feat *x);
/* movers-input.c */
extern const FeatBit feat_input_bits[];
void feat_keyboard_move(Feat *x);
void feat_mouse_move(Feat *x);
void feat_tablet_move(Feat *x);
void feat_multitouch_move(Feat *x);
/* movers-scsi.c */
extern const FeatBit feat_scsi_bits[];
void feat_scsi_added(Feat *x);
void feat_scsi_move(Feat *x);
/* movers-vsock.c */
extern const FeatBit feat_vsock_bits[];
void feat_vsock_up(Feat *x);
void feat_vsock_move(Feat *x);
void feat_vsock_down(Feat *x);

/*
 * Small port devices of a PC: the POST code port 0x80, 0xf0 (coprocessor error), the APM
 * ports 0xb2 and 0xb3, and the register files of the two 8237 DMA controllers.
 */
#pragma once

#include "hw/core/dev.h"

extern const ObjClass
    dma8237_class; /* "i8257": registers only; no device of ours transfers through it */

typedef struct Apm {
    Region io; /* 2 bytes; the board maps it at 0xb2 */
    uint8_t cmd, sts;
    void (*command)(void *opaque, uint8_t cmd); /* a write to 0xb2, NULL: stored only */
    void *opaque;
} Apm;
void apm_init(Apm *a, Obj *owner, void (*command)(void *opaque, uint8_t cmd), void *opaque);
void apm_fini(Apm *a);
void apm_reset(Apm *a);

/* Both controllers with their page registers. Port 0x80 is the POST code's. */
void dma8237_new(Obj *tree, Region *io);

typedef struct PcPorts { /* write-only ports that read 0xff */
    Region post, f0;
    Irq *ferr; /* IRQ 13: lowered by a write to 0xf0; may be NULL */
    uint8_t post_code;
} PcPorts;
void pc_ports_init(PcPorts *p, Obj *owner, Region *io, Irq *ferr); /* maps them */
void pc_ports_fini(PcPorts *p);

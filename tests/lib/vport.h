/* How a test reaches a machine: five functions, in process or through a qtest socket. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VPort {
    uint64_t (*load)(void *opaque, bool io, uint64_t at,
        unsigned size); /* a CPU's read of a port or of memory */
    void (*store)(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val);
    void (*read)(void *opaque, uint64_t at, void *dst, size_t len); /* RAM */
    void (*write)(void *opaque, uint64_t at, const void *src, size_t len);
    bool (*step)(void *opaque); /* lets the device work; false: it is idle */
    void *opaque;
} VPort;

uint16_t vport_r16(const VPort *p, uint64_t at);
uint32_t vport_r32(const VPort *p, uint64_t at);
void vport_w16(const VPort *p, uint64_t at, uint16_t v);
void vport_w32(const VPort *p, uint64_t at, uint32_t v);
void vport_w64(const VPort *p, uint64_t at, uint64_t v);
void vport_zero(const VPort *p, uint64_t at, size_t len);

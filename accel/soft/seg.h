/* Descriptors and stack frames as the segment, far transfer, interrupt and task switch code shares
 * them (SDM vol. 3, 3.4, 5). */
#pragma once

#include "insn-fns.h"
#include "mmu.h"

enum { CR0_PE = 1, CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_NE = 0x20 };
#define X86_EFER_LMA (1ull << 10)

/* System descriptor types (SDM vol. 3, table 3-2). */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL16 = 4,
    SYS_TASK = 5,
    SYS_INT16 = 6,
    SYS_TRAP16 = 7,
    SYS_TSS = 9,
    SYS_TSS_BUSY = 11,
    SYS_CALL = 12,
    SYS_INT = 14,
    SYS_TRAP = 15,
};

/* A descriptor as it lies in its table. */
typedef struct Desc {
    uint64_t raw;
    uint64_t la; /* where */
    uint16_t sel;
} Desc;

static inline unsigned desc_type(const Desc *d)
{
    return d->raw >> 40 & 15;
}
static inline bool desc_is_app(const Desc *d)
{
    return d->raw >> 44 & 1;
} /* S: code or data */
static inline unsigned desc_dpl(const Desc *d)
{
    return d->raw >> 45 & 3;
}
static inline bool desc_present(const Desc *d)
{
    return d->raw >> 47 & 1;
}
static inline bool desc_is_code(const Desc *d)
{
    return desc_is_app(d) && (desc_type(d) & ATTR_CODE);
}
static inline bool desc_conforming(const Desc *d)
{
    return desc_type(d) & ATTR_C;
}
static inline bool desc_long(const Desc *d)
{
    return d->raw >> 53 & 1;
}
static inline bool desc_db(const Desc *d)
{
    return d->raw >> 54 & 1;
}
static inline uint64_t desc_base(const Desc *d)
{
    return (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000);
}
static inline uint32_t desc_limit(const Desc *d)
{
    uint32_t limit = (d->raw & 0xffff) | (d->raw >> 32 & 0xf0000);

    return d->raw >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

static inline bool sel_null(uint16_t sel)
{
    return !(sel & ~3u);
}
static inline bool cpu_lma(const SoftCpu *c)
{
    return c->mode & MODE_LMA;
}
/* Protected mode with segments by descriptor: not real, not VM86. */
static inline bool cpu_prot(const SoftCpu *c)
{
    return (c->mode & (MODE_PE | MODE_VM86)) == MODE_PE;
}

static inline unsigned seg_dpl(const SoftSeg *s)
{
    return s->attr >> ATTR_DPL_SHIFT & 3;
}

/* seg.c. Error code: the selector's index and TI, with EXT while something is being delivered. */
_Noreturn void raise_sel(SoftCpu *c, int vector, uint16_t sel);
/* False: beyond the table's limit, or a null LDT. May raise #PF. */
bool desc_find(SoftCpu *c, uint16_t sel, Desc *ret);
/* The same, but raises vector(sel). */
Desc desc_get(SoftCpu *c, uint16_t sel, int vector);
/* Bits 63:32 of the base of a 16-byte system descriptor (long mode). */
uint64_t desc_base_high(SoftCpu *c, const Desc *d, int vector);
void desc_accessed(SoftCpu *c, const Desc *d);
SoftSeg desc_cache(const Desc *d, uint16_t sel);
void seg_null(SoftCpu *c, int seg, uint16_t sel);
/* A new SS for privilege level pl: all checks, P failing with #SS, all else with vector. */
SoftSeg seg_check_ss(SoftCpu *c, uint16_t sel, unsigned pl, int vector);
/* After a return to an outer ring: data segments that the new CPL may not use become null. */
void seg_drop_inner(SoftCpu *c);

/* A stack being pushed to or popped from; committed by its user when nothing can fail any more. */
typedef struct Frame {
    uint64_t base, sp, mask;
    uint32_t limit;
    uint16_t attr, error_sel;
    unsigned size; /* of one item: 2, 4, 8 */
    unsigned acc;
    bool flat64;
} Frame;

/* The current stack. */
Frame frame_current(SoftCpu *c, unsigned size);
/* A stack behind another SS; pl: the privilege its accesses have. */
Frame frame_on(const SoftSeg *ss, uint64_t sp, unsigned size, unsigned pl, bool flat64);
void frame_push(SoftCpu *c, Frame *f, uint64_t val);
uint64_t frame_pop(SoftCpu *c, Frame *f);
/* RSP, ESP or SP by the mask. */
void frame_commit(SoftCpu *c, const Frame *f);

/* far.c: sets where execution goes on. */
static inline void cpu_jump(SoftCpu *c, uint64_t ip)
{
    c->ip = c->ip_next = ip;
}
/* Raises #GP(0) if ip is outside of cs or, for 64-bit code, not canonical. */
void cs_check_ip(SoftCpu *c, const SoftSeg *cs, uint64_t ip);
/* The inner stack of privilege level pl from the TSS; in long mode SS is null. May raise #TS, #SS,
 * #PF. */
void tss_stack(SoftCpu *c, unsigned pl, SoftSeg *ret_ss, uint64_t *ret_sp);
/* CS for a far return or IRET: all checks. */
SoftSeg cs_check_return(SoftCpu *c, uint16_t sel);
/* The SS of a return to an outer ring. */
SoftSeg ss_check_return(SoftCpu *c, uint16_t sel, unsigned pl, bool to64);

/* task.c */
typedef enum TaskHow { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET } TaskHow;
/* Switches to the task of tss_sel. has_error: error is pushed on the new stack. */
void task_switch(
    SoftCpu *c, uint16_t tss_sel, TaskHow how, bool has_error, uint32_t error, uint64_t old_ip);

/* A load or store of 1, 2, 4, 8 bytes by the program. */
static inline uint64_t mem_ld(SoftCpu *c, uint64_t la, unsigned size)
{
    switch (size) {
    case 1:
        return soft_ld8(c, la);
    case 2:
        return soft_ld16(c, la);
    case 4:
        return soft_ld32(c, la);
    default:
        return soft_ld64(c, la);
    }
}

static inline void mem_st(SoftCpu *c, uint64_t la, unsigned size, uint64_t val)
{
    switch (size) {
    case 1:
        soft_st8(c, la, (uint8_t)val);
        break;
    case 2:
        soft_st16(c, la, (uint16_t)val);
        break;
    case 4:
        soft_st32(c, la, (uint32_t)val);
        break;
    default:
        soft_st64(c, la, val);
        break;
    }
}

static inline void need_cpl0(SoftCpu *c)
{
    if (c->cpl) {
        soft_raise_err(c, EXC_GP, 0);
    }
}

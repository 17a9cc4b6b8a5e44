/* Page walks and the slow side of memory accesses, shared by mmu.c, tlb.c and the segment and
 * interrupt code. */
#pragma once

#include "mem.h"

/* Kinds of access. WRITE, USER and FETCH have the #PF error code's values (SDM vol. 3, 4.7). */
enum {
    ACC_READ = 0,
    ACC_WRITE = 1 << 1,
    ACC_USER = 1 << 2,
    ACC_FETCH = 1 << 4,
    ACC_IMPLICIT = 1 << 8, /* descriptor tables, TSS, interrupt frames: EFLAGS.AC does not help */
    ACC_DEBUG = 1 << 9,    /* no rights checked, no A/D bits set */
};

enum { PF_P = 1, PF_RSVD = 8, PF_FETCH = 16 };

/* What a walk found: the 4 KiB page and the rights of its translation, for any access. */
typedef struct SoftWalk {
    uint64_t gpa;       /* page address, A20 masked */
    unsigned page_bits; /* 12, 21, 22, 30 */
    bool user;          /* U/S set on all levels */
    bool rw;            /* R/W set on all levels */
    bool nx;
    bool global;
    bool dirty;     /* the leaf's D is set (or paging is off) */
    uint32_t error; /* the #PF error code when the walk failed */
} SoftWalk;

/* mmu.c. False: ret->error holds the error code; la need not be page aligned but must be canonical.
 */
/* False: a present page-directory-pointer entry has reserved bits set (#GP). */
bool soft_pdptes_valid(SoftCpu *c, uint64_t cr0, uint64_t cr3, uint64_t cr4);
void soft_pdptes_load(SoftCpu *c); /* nothing to do in other paging modes */
bool soft_walk(SoftCpu *c, uint64_t la, unsigned acc, SoftWalk *ret);
/* True if la may be translated: canonical in long mode with paging. */
bool soft_canonical(const SoftCpu *c, uint64_t la);

static inline bool soft_canonical48(uint64_t la)
{
    return (uint64_t)((int64_t)(la << 16) >> 16) == la;
}

/* The kind of a data access of the program itself. */
static inline unsigned soft_acc(const SoftCpu *c)
{
    return c->cpl == 3 ? ACC_USER : 0;
}

/* tlb.c: one access of 1, 2, 4, 8 bytes with a given kind; page crossing handled. */
uint64_t soft_ld_acc(SoftCpu *c, uint64_t la, unsigned size, unsigned acc);
void soft_st_acc(SoftCpu *c, uint64_t la, unsigned size, uint64_t val, unsigned acc);

/* What the jump cache knows is stale: the user's half of it, or all. */
static inline void soft_jump_flush(SoftCpu *c, bool kernel)
{
    c->jump_gens[0] += kernel;
    c->jump_gens[1]++;
    c->jump_gen = c->jump_gens[!!(c->mode & MODE_CPL3)];
}

/* Of n bytes at la those in its page, and where the next one begins. */
static inline unsigned soft_first_part(uint64_t la, unsigned n)
{
    unsigned room = 4096 - (la & 0xfff);

    return n < room ? n : room;
}

static inline uint64_t soft_next_page(const SoftCpu *c, uint64_t la)
{
    uint64_t next = (la | 0xfff) + 1;

    return c->mode & MODE_LMA ? next : (uint32_t)next;
}

/* tlb.c: which table accesses use now: c->tlb, after CPL, AC, DR7 changes. */
void soft_tlb_select(SoftCpu *c);
/* code-tlb.c */
struct SoftCodeTlb *soft_code_tlb_new(void);
void soft_code_tlb_free(struct SoftCodeTlb *t);
void soft_code_flush(SoftCpu *c, bool global);
void soft_code_flush_page(SoftCpu *c, uint64_t la);
_Atomic uint64_t *soft_wrote_new(void); /* mem.h */
void soft_wrote_free(_Atomic uint64_t *wrote);

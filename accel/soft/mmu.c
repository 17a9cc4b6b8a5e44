/*
 * Page walks: 32-bit with PSE, PAE and 4-level (SDM vol. 3, 4.3 to 4.7), accessed and dirty bits
 * (4.8). Page tables are read with single loads of an entry and changed only by
 * compare-and-exchange, since other vCPUs walk and edit them at the same time; an entry that
 * changed under the walk restarts it. Covered by tests/cpu/mini.
 */
#include "mmu.h"

#define PTE_P     (1ull << 0)
#define PTE_RW    (1ull << 1)
#define PTE_US    (1ull << 2)
#define PTE_A     (1ull << 5)
#define PTE_D     (1ull << 6)
#define PTE_PS    (1ull << 7)
#define PTE_G     (1ull << 8)
#define PTE_NX    (1ull << 63)
#define CR0_WP    (1ull << 16)
#define CR0_PG    (1ull << 31)
#define CR4_PSE   (1ull << 4)
#define CR4_PAE   (1ull << 5)
#define CR4_PGE   (1ull << 7)
#define CR4_SMEP  (1ull << 20)
#define CR4_SMAP  (1ull << 21)
#define EFER_LMA  (1ull << 10)
#define EFER_LME  (1ull << 8)
#define EFER_NXE  (1ull << 11)
#define PDPE1GB   (1u << 26) /* CPUID 80000001h EDX */
#define ADDR_MASK 0x000ffffffffff000ull

bool soft_canonical(const SoftCpu *c, uint64_t la)
{
    return !(c->mode & MODE_LMA) || soft_canonical48(la);
}

/* One paging-structure entry: its value, and where it lives if A and D can be set there. */
typedef struct Pte {
    uint64_t val;
    void *host; /* NULL: not in RAM */
    uint64_t gpa;
    bool logged;
    bool wide;
} Pte;

static Pte pte_read(SoftCpu *c, uint64_t gpa, bool wide)
{
    Pte e = { .wide = wide };
    unsigned flags = 0;
    _Atomic uint64_t *codemask;

    e.gpa = gpa & c->a20_mask;
    uint8_t *page = c->bus->page(c->bus_opaque, e.gpa, &flags, &codemask, &e.logged);
    if (!page) {
        e.val = c->bus->mmio_read(c->bus_opaque, e.gpa, wide ? 8 : 4);
        return e;
    }
    void *p = page + (e.gpa & 0xfff);
    e.val = wide ? __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE)
                 : __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
    e.host = flags & SOFT_PAGE_RAM ? p : NULL;
    return e;
}

/* Sets bits in an entry. False: it changed meanwhile, walk again. */
static bool pte_set(SoftCpu *c, Pte *e, uint64_t bits)
{
    if ((e->val & bits) == bits || !e->host) {
        return true;
    }
    uint64_t want = e->val | bits;
    bool ok;
    if (e->wide) {
        uint64_t old = e->val;
        ok = __atomic_compare_exchange_n(
            (uint64_t *)e->host, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        uint32_t old = (uint32_t)e->val;
        ok = __atomic_compare_exchange_n(
            (uint32_t *)e->host, &old, (uint32_t)want, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (ok && e->logged) {
        c->bus->dirtied(c->bus_opaque, e->gpa & ~0xfffull);
    }
    e->val = want;
    return ok;
}

/* Paging modes differ in these only. */
typedef struct Level {
    unsigned shift;     /* lowest linear address bit this level's index covers */
    uint64_t rsvd;      /* reserved bits of an entry that refers to a table */
    uint64_t rsvd_page; /* and of one that maps a page */
    bool large;         /* PS may be set */
    bool pdpte;         /* PAE's level 3: no rights, no A */
} Level;

static uint64_t high_reserved(const SoftCpu *c)
{
    return ADDR_MASK & ~((1ull << c->model->phys_bits) - 1);
}

/* Fills lv[] from the root down; returns the number of levels. */
static unsigned walk_plan(const SoftCpu *c, Level *lv, uint64_t *ret_root)
{
    bool nxe = c->efer & EFER_NXE;

    if (!(c->cr4 & CR4_PAE)) {
        bool pse = c->cr4 & CR4_PSE;
        /* PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32; 21 is reserved (SDM vol. 3,
         * table 4-4). */
        lv[0] = (Level){ .shift = 22, .large = pse, .rsvd_page = 1ull << 21 };
        lv[1] = (Level){ .shift = 12 };
        *ret_root = c->cr3 & 0xfffff000u;
        return 2;
    }
    uint64_t high = high_reserved(c) | (nxe ? 0 : PTE_NX);
    unsigned n = 0;
    if (c->efer & EFER_LMA) {
        bool gb = c->model->f80000001_edx & PDPE1GB;
        lv[n++] = (Level){ .shift = 39, .rsvd = high | PTE_PS };
        lv[n++] = (Level){ .shift = 30,
            .rsvd = high | (gb ? 0 : PTE_PS),
            .large = gb,
            .rsvd_page = high | 0x3fffe000 };
        *ret_root = c->cr3 & ADDR_MASK;
    } else {
        high |= 0x7ff0000000000000ull;                   /* table 4-10 */
        lv[n++] = (Level){ .shift = 30, .pdpte = true }; /* checked when loaded */
        *ret_root = c->cr3 & 0xffffffe0u;
    }
    lv[n++] = (Level){ .shift = 21, .rsvd = high, .large = true, .rsvd_page = high | 0x1fe000 };
    lv[n++] = (Level){ .shift = 12, .rsvd = high, .rsvd_page = high };
    return n;
}

static bool walk_fail(const SoftCpu *c, unsigned acc, uint32_t bits, SoftWalk *w)
{
    w->error = bits | (acc & (ACC_WRITE | ACC_USER));
    /* I/D is reported only if something distinguishes fetches (SDM vol. 3, 4.7). */
    if ((acc & ACC_FETCH) &&
        ((c->cr4 & CR4_SMEP) || ((c->cr4 & CR4_PAE) && (c->efer & EFER_NXE)))) {
        w->error |= PF_FETCH;
    }
    return false;
}

/* Rights of a complete translation (SDM vol. 3, 4.6.1). */
static bool walk_allowed(const SoftCpu *c, unsigned acc, const SoftWalk *w)
{
    if (acc & ACC_DEBUG) {
        return true;
    }
    if ((acc & ACC_FETCH) && w->nx) {
        return false;
    }
    if (acc & ACC_USER) {
        return w->user && (!(acc & ACC_WRITE) || w->rw);
    }
    if (w->user) {
        if (acc & ACC_FETCH) {
            return !(c->cr4 & CR4_SMEP);
        }
        if ((c->cr4 & CR4_SMAP) && (!(c->sysflags & FL_AC) || (acc & ACC_IMPLICIT))) {
            return false;
        }
    }
    return !(acc & ACC_WRITE) || w->rw || !(c->cr0 & CR0_WP);
}

/*
 * PAE paging outside long mode: the four top entries are registers, loaded with CR3 and by changes
 * of CR0 and CR4 that concern paging; what memory holds later does not count. SDM vol. 3, 4.4.1
 */
static bool pdptes_used(const SoftCpu *c, uint64_t cr0, uint64_t cr4)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(c->efer & EFER_LME);
}

static uint64_t pdpte_read(SoftCpu *c, uint64_t cr3, unsigned i)
{
    return pte_read(c, (cr3 & 0xffffffe0u) + i * 8, /* wide= */ true).val;
}

bool soft_pdptes_valid(SoftCpu *c, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    uint64_t rsvd = high_reserved(c) | PTE_NX | 0x7ff00000000001e6ull;

    for (unsigned i = 0; i < 4 && pdptes_used(c, cr0, cr4); i++) {
        uint64_t v = pdpte_read(c, cr3, i);
        if ((v & PTE_P) && (v & rsvd)) {
            return false;
        }
    }
    return true;
}

void soft_pdptes_load(SoftCpu *c)
{
    for (unsigned i = 0; i < 4 && pdptes_used(c, c->cr0, c->cr4); i++) {
        c->pdpte[i] = pdpte_read(c, c->cr3, i);
    }
}

static bool walk_paging(SoftCpu *c, uint64_t la, unsigned acc, SoftWalk *w, bool *ret_again)
{
    Level lv[4];
    uint64_t table;
    unsigned n = walk_plan(c, lv, &table);
    bool wide = c->cr4 & CR4_PAE;
    unsigned index_mask = wide ? 511 : 1023;

    *w = (SoftWalk){ .user = true, .rw = true };
    for (unsigned i = 0; i < n; i++) {
        const Level *l = &lv[i];
        unsigned index = (la >> l->shift) & (l->pdpte ? 3 : index_mask);
        Pte e = l->pdpte ? (Pte){ .val = c->pdpte[index] }
                         : pte_read(c, table + index * (wide ? 8 : 4), wide);
        if (!(e.val & PTE_P)) {
            return walk_fail(c, acc, 0, w);
        }
        bool leaf = i == n - 1 || (l->large && (e.val & PTE_PS));
        if (e.val & (leaf ? l->rsvd_page : l->rsvd)) {
            return walk_fail(c, acc, PF_P | PF_RSVD, w);
        }
        if (!l->pdpte) {
            w->user &= !!(e.val & PTE_US);
            w->rw &= !!(e.val & PTE_RW);
            w->nx |= !!(e.val & PTE_NX);
        }
        if (!leaf) {
            if (!l->pdpte && !(acc & ACC_DEBUG) && !pte_set(c, &e, PTE_A)) {
                *ret_again = true;
                return false;
            }
            table = e.val & (wide ? ADDR_MASK : 0xfffff000u);
            continue;
        }
        if (!walk_allowed(c, acc, w)) {
            return walk_fail(c, acc, PF_P, w);
        }
        if (!(acc & ACC_DEBUG) && !pte_set(c, &e, acc & ACC_WRITE ? PTE_A | PTE_D : PTE_A)) {
            *ret_again = true;
            return false;
        }
        uint64_t base = e.val & ADDR_MASK;
        if (!wide) {
            base = e.val & 0xfffff000u;
            if (l->shift == 22) {
                base = (e.val & 0xffc00000u) | ((e.val >> 13 & 0xff) << 32);
            }
        }
        uint64_t inside = ((1ull << l->shift) - 1) & ~0xfffull;
        w->gpa = ((base & ~inside) | (la & inside)) & c->a20_mask;
        w->page_bits = l->shift;
        w->global = (e.val & PTE_G) && (c->cr4 & CR4_PGE);
        w->dirty = e.val & PTE_D;
        return true;
    }
    return false; /* not reached: the last level is a leaf */
}

bool soft_walk(SoftCpu *c, uint64_t la, unsigned acc, SoftWalk *ret)
{
    if (!(c->cr0 & CR0_PG)) {
        *ret = (SoftWalk){ .gpa = la & ~0xfffull & c->a20_mask,
            .page_bits = 12,
            .user = true,
            .rw = true,
            .dirty = true };
        return true;
    }
    for (;;) {
        bool again = false;
        if (walk_paging(c, la, acc, ret, &again)) {
            return true;
        }
        if (!again) {
            return false;
        }
    }
}

bool soft_debug_translate(SoftCpu *c, uint64_t la, uint64_t *ret_gpa)
{
    SoftWalk w;

    if (!(c->mode & MODE_LMA)) {
        la = (uint32_t)la;
    }
    if (!soft_canonical(c, la) || !soft_walk(c, la, ACC_DEBUG, &w)) {
        return false;
    }
    *ret_gpa = w.gpa | (la & 0xfff);
    return true;
}

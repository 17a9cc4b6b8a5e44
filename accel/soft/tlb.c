/*
 * The software TLB: tables, fills, flushes by fill log, and the slow side of every access (misses,
 * MMIO, ROM, page crossing, pages with decoded code, alignment checks, data breakpoints). The rules
 * are in mem.h. Covered by tests/cpu/mini.
 */
#include "mmu.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>

#define CR0_AM   (1ull << 18)
#define CR4_SMAP (1ull << 21)

enum { TLB_LOG_MAX = 16384 };

/* Where one page of an access lands. */
typedef struct Xlat {
    uint8_t *host; /* with the page offset; NULL: MMIO or a hole */
    uint64_t gpa;
    unsigned flags;
    _Atomic uint64_t *codemask;
} Xlat;

/* Tables */

static void *map_array(size_t bytes)
{
    void *p = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        g_error("cannot map %zu bytes for a CPU's TLB", bytes);
    }
    return p;
}

/* The all-zero table hits nothing but at its two ends (see soft_tlb_none()). */
static void clear_ends(SoftTlb *t)
{
    t->e[0].ntag_r = t->e[0].ntag_w = soft_tlb_none(0);
    t->e[SOFT_TLB_SIZE - 1].ntag_r = t->e[SOFT_TLB_SIZE - 1].ntag_w =
        soft_tlb_none(SOFT_TLB_SIZE - 1);
}

SoftTlb *soft_tlb_new(void)
{
    SoftTlb *t = map_array(sizeof *t);

    t->log = map_array(TLB_LOG_MAX * sizeof(uint32_t));
    t->glog = map_array(TLB_LOG_MAX * sizeof(uint32_t));
    clear_ends(t);
    return t;
}

void soft_tlb_free(SoftTlb *t)
{
    if (!t) {
        return;
    }
    munmap(t->log, TLB_LOG_MAX * sizeof(uint32_t));
    munmap(t->glog, TLB_LOG_MAX * sizeof(uint32_t));
    munmap(t, sizeof *t);
}

_Atomic uint64_t *soft_wrote_new(void)
{
    return map_array((1u << SOFT_WROTE_BITS) / 8);
}

void soft_wrote_free(_Atomic uint64_t *wrote)
{
    munmap((void *)(uintptr_t)wrote, (1u << SOFT_WROTE_BITS) / 8);
}

static inline void drop_index(SoftTlb *t, uint32_t i)
{
    t->e[i].ntag_r = t->e[i].ntag_w = soft_tlb_none(i);
}

static void drop_mmio(SoftTlb *t)
{
    if (t->any_mmio) {
        memset(t->mmio, 0, sizeof t->mmio);
        t->any_mmio = false;
    }
}

static void flush_view(SoftTlb *t, bool global)
{
    drop_mmio(t);
    if (t->nlog > TLB_LOG_MAX || (global && t->nglog > TLB_LOG_MAX)) {
        memset(t->e, 0, sizeof t->e);
        clear_ends(t);
        global = true;
    } else {
        for (uint32_t i = 0; i < t->nlog; i++) {
            drop_index(t, t->log[i]);
        }
        for (uint32_t i = 0; global && i < t->nglog; i++) {
            drop_index(t, t->glog[i]);
        }
    }
    t->nlog = 0;
    if (global) {
        t->nglog = 0;
        memset(t->large, 0, sizeof t->large);
        t->nhuge = 0;
    }
}

void soft_tlb_flush(SoftCpu *c, bool global)
{
    flush_view(c->views[0], global);
    flush_view(c->views[1], global);
    soft_code_flush(c, global);
}

/* True if a 1 GiB page that holds la was filled since the last full flush. */
static bool in_huge(const SoftTlb *t, uint64_t la)
{
    if (t->nhuge > G_N_ELEMENTS(t->huge)) {
        return true;
    }
    for (unsigned i = 0; i < t->nhuge; i++) {
        if (t->huge[i] == la >> 30) {
            return true;
        }
    }
    return false;
}

void soft_tlb_flush_page(SoftCpu *c, uint64_t la)
{
    uint32_t i = SOFT_MEM_IDX(la);

    for (unsigned v = 0; v < 2; v++) {
        SoftTlb *t = c->views[v];

        drop_mmio(t);
        if (in_huge(t, la)) {
            flush_view(t, /* global= */ true);
            continue;
        }
        drop_index(t, i);
        if (t->large[i >> 9]) {
            for (uint32_t j = i & ~511u; j <= (i | 511u); j++) {
                drop_index(t, j);
            }
        }
    }
    soft_code_flush_page(c, la);
}

static void protect_host(SoftTlb *t, const uint32_t *log, uint32_t n, uintptr_t host)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = log[k];
        if (t->e[i].addend - t->e[i].ntag_w == host) {
            t->e[i].ntag_w = soft_tlb_none(i);
        }
    }
}

void soft_tlb_protect_code(SoftCpu *c, uint64_t gpa)
{
    unsigned flags;
    _Atomic uint64_t *codemask;
    bool logged;
    uint8_t *host = c->bus->page(c->bus_opaque, gpa & ~0xfffull, &flags, &codemask, &logged);

    for (unsigned v = 0; host && soft_wrote(c, host) && v < 2; v++) {
        SoftTlb *t = c->views[v];
        if (t->nlog > TLB_LOG_MAX || t->nglog > TLB_LOG_MAX) {
            flush_view(t, /* global= */ true);
            continue;
        }
        protect_host(t, t->log, t->nlog, (uintptr_t)host);
        protect_host(t, t->glog, t->nglog, (uintptr_t)host);
    }
    if (host && c->bus->code_protected) {
        c->bus->code_protected(c->bus_opaque, c, host);
    }
}

void soft_tlb_select(SoftCpu *c)
{
    bool ac = (c->cr0 & CR0_AM) && (c->sysflags & FL_AC) && c->cpl == 3;
    bool watch = false;

    /* Enabled breakpoints other than execution (SDM vol. 3, 17.2.4). */
    for (unsigned i = 0; i < 4; i++) {
        watch |= ((c->dr[7] >> (2 * i)) & 3) && ((c->dr[7] >> (16 + 4 * i)) & 1);
    }
    c->slow_checks = ac || watch;
    c->tlb = c->slow_checks ? c->slow_view : c->views[c->cpl == 3];
}

/* Translation and fill
 * ---------------------------------------------------------------------------------------------- */

static void log_fill(SoftTlb *t, uint32_t i, bool global)
{
    uint32_t *n = global ? &t->nglog : &t->nlog;

    if (*n < TLB_LOG_MAX) {
        (global ? t->glog : t->log)[(*n)++] = i;
    } else {
        *n = TLB_LOG_MAX + 1;
    }
}

static void fill(
    SoftCpu *c, uint64_t la, unsigned acc, const SoftWalk *w, const Xlat *x, bool clean)
{
    SoftTlb *t = c->views[!!(acc & ACC_USER)];
    uint64_t page = la & ~0xfffull;
    uint32_t i = SOFT_MEM_IDX(la);
    /* With SMAP a supervisor access to a user page depends on EFLAGS.AC: never cached. */
    bool smap = (c->cr4 & CR4_SMAP) && !(acc & ACC_USER) && w->user && (c->mode & MODE_PAGING);

    if (x->host && (acc & ACC_WRITE)) {
        soft_set_wrote(c, x->host);
    }
    if (smap) {
        return;
    }
    bool writable = w->rw || (!(acc & ACC_USER) && !(c->cr0 & (1u << 16)));
    if (!x->host) {
        t->mmio[i % SOFT_TLB_MMIO] =
            (SoftTlbMmio){ page | 1 | (writable && w->dirty ? 2 : 0), x->gpa & ~0xfffull };
        t->any_mmio = true;
        return;
    }
    if (t->e[i].ntag_r != -page) {
        log_fill(t, i, w->global);
        if (w->page_bits > 12) {
            t->large[i >> 9] = 1;
        }
        if (w->page_bits == 30 && !in_huge(t, la)) {
            if (t->nhuge < G_N_ELEMENTS(t->huge)) {
                t->huge[t->nhuge] = la >> 30;
            }
            t->nhuge++;
        }
    }
    t->e[i].ntag_r = -page;
    t->e[i].addend = (uintptr_t)x->host - (uintptr_t)la;
    t->e[i].ntag_w = soft_tlb_none(i);
    if (writable && w->dirty && clean && (x->flags & SOFT_PAGE_RAM)) {
        soft_set_wrote(c, x->host);
        if (!x->codemask || !atomic_load(x->codemask)) {
            t->e[i].ntag_w = -page;
        }
    }
}

/* Translates one page of an access and fills the table; raises #PF or #GP. */
static void xlat(SoftCpu *c, uint64_t la, unsigned acc, Xlat *x)
{
    SoftTlb *t = c->views[!!(acc & ACC_USER)];
    uint8_t *hit = acc & ACC_WRITE ? soft_hit_w(t, la, 1) : soft_hit_r(t, la, 1);
    SoftWalk w;

    if (hit && (acc & ACC_WRITE)) {
        *x = (Xlat){ .host = hit, .flags = SOFT_PAGE_RAM };
        return;
    }
    if (hit) {
        *x = (Xlat){ .host = hit, .flags = SOFT_PAGE_ROM };
        return;
    }
    const SoftTlbMmio *m = &t->mmio[SOFT_MEM_IDX(la) % SOFT_TLB_MMIO];
    uint64_t want = acc & ACC_WRITE ? 3 : 1;

    if ((m->page & ~0xfffull) == (la & ~0xfffull) && (m->page & want) == want) {
        *x = (Xlat){ .gpa = m->gpa | (la & 0xfff), .flags = SOFT_PAGE_MMIO };
        return;
    }
    if (!soft_canonical(c, la)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (!soft_walk(c, la, acc, &w)) {
        soft_raise_pf(c, la, w.error);
    }
    bool logged = false;
    x->gpa = w.gpa | (la & 0xfff);
    x->flags = 0;
    x->codemask = NULL;
    x->host = c->bus->page(c->bus_opaque, w.gpa, &x->flags, &x->codemask, &logged);
    if (!x->host) {
        fill(c, la, acc, &w, x, /* clean= */ true);
        return;
    }
    x->host += la & 0xfff;
    if (logged && (acc & ACC_WRITE) && (x->flags & SOFT_PAGE_RAM)) {
        c->bus->dirtied(c->bus_opaque, w.gpa);
        logged = false;
    }
    fill(c, la, acc, &w, x, !logged);
}

/* Bytes of [la, la+n) in its first page. */
/* Decoded code was overwritten: the granules leave the mask, this vCPU and the others drop their
 * blocks. */
static void code_written(SoftCpu *c, const Xlat *x, unsigned n)
{
    unsigned off = x->gpa & 0xfff;
    unsigned first = off >> 6, last = (off + n - 1) >> 6;
    uint64_t mask = (~0ull >> (63 - (last - first))) << first;

    /* The store is before this; a vCPU that decodes sets the bit before it reads the bytes. One of
     * the two sees the other. */
    uint64_t old = atomic_fetch_and(x->codemask, ~mask);
    if (!(old & mask)) {
        return;
    }
    if (c->bus->code_written) {
        c->bus->code_written(c->bus_opaque, c, x->gpa & ~0xfffull, old & mask);
    }
    soft_blocks_invalidate(c, x->gpa & ~0xfffull, old & mask);
}

static inline void store_done(SoftCpu *c, const Xlat *x, unsigned n)
{
    if (x->codemask) {
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(x->codemask)) {
            code_written(c, x, n);
        }
    }
}

static uint64_t load_part(SoftCpu *c, const Xlat *x, unsigned n)
{
    uint64_t v = 0;

    if (!x->host) {
        if ((n & (n - 1)) == 0) {
            return c->bus->mmio_read(c->bus_opaque, x->gpa, n);
        }
        for (unsigned i = 0; i < n; i++) {
            v |= (c->bus->mmio_read(c->bus_opaque, x->gpa + i, 1) & 0xff) << (8 * i);
        }
        return v;
    }
    switch (n) { /* one host access of the operand's size */
    case 1:
        return *x->host;
    case 2:
        return __atomic_load_n((uint16_t *)(void *)x->host, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((uint32_t *)(void *)x->host, __ATOMIC_RELAXED);
    case 8:
        return __atomic_load_n((uint64_t *)(void *)x->host, __ATOMIC_RELAXED);
    default:
        memcpy(&v, x->host, n);
        return v;
    }
}

static void store_part(SoftCpu *c, const Xlat *x, unsigned n, uint64_t val)
{
    if (!x->host || !(x->flags & SOFT_PAGE_RAM)) {
        /* ROM too: the bus decides (flash, PAM) */
        if ((n & (n - 1)) == 0) {
            c->bus->mmio_write(c->bus_opaque, x->gpa, n, val);
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            c->bus->mmio_write(c->bus_opaque, x->gpa + i, 1, val >> (8 * i) & 0xff);
        }
        return;
    }
    switch (n) {
    case 1:
        __atomic_store_n(x->host, (uint8_t)val, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)(void *)x->host, (uint16_t)val, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)(void *)x->host, (uint32_t)val, __ATOMIC_RELAXED);
        break;
    case 8:
        __atomic_store_n((uint64_t *)(void *)x->host, val, __ATOMIC_RELAXED);
        break;
    default:
        memcpy(x->host, &val, n);
        break;
    }
    store_done(c, x, n);
}

uint64_t soft_ld_acc(SoftCpu *c, uint64_t la, unsigned size, unsigned acc)
{
    unsigned n = soft_first_part(la, size);
    Xlat a, b;

    xlat(c, la, acc, &a);
    if (n == size) {
        return load_part(c, &a, size);
    }
    xlat(c, soft_next_page(c, la), acc, &b);
    return load_part(c, &a, n) | load_part(c, &b, size - n) << (8 * n);
}

void soft_st_acc(SoftCpu *c, uint64_t la, unsigned size, uint64_t val, unsigned acc)
{
    unsigned n = soft_first_part(la, size);
    Xlat a, b;

    acc |= ACC_WRITE;
    xlat(c, la, acc, &a);
    if (n == size) {
        store_part(c, &a, size, val);
        return;
    }
    xlat(c, soft_next_page(c, la), acc, &b);
    store_part(c, &a, n, val & ((1ull << (8 * n)) - 1));
    store_part(c, &b, size - n, val >> (8 * n));
}

/* Alignment check and data breakpoints; only while c->slow_checks. */
static void slow_checks(SoftCpu *c, uint64_t la, unsigned size, bool write)
{
    if ((c->cr0 & CR0_AM) && (c->sysflags & FL_AC) && c->cpl == 3 && (size & (size - 1)) == 0 &&
        (la & (size - 1))) {
        soft_raise_err(c, EXC_AC, 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        static const uint8_t lengths[4] = { 1, 2, 8, 4 };
        unsigned ctl = (c->dr[7] >> (16 + 4 * i)) & 0xf;
        uint64_t len = lengths[ctl >> 2], addr = c->dr[i] & ~(len - 1);
        bool armed = ((c->dr[7] >> (2 * i)) & 3) && (write ? ctl & 1 : (ctl & 3) == 3);

        if (armed && la < addr + len && addr < la + size) {
            c->db_pending |= 1u << i;
        }
    }
}

uint64_t soft_ld_slow(SoftCpu *c, uint64_t la, unsigned size)
{
    const SoftTlbMmio *m;

    if (c->slow_checks) {
        slow_checks(c, la, size, false);
    } else if ((m = soft_mmio_hit(c, la, size, 1))) {
        return c->bus->mmio_read(c->bus_opaque, m->gpa | (la & 0xfff), size);
    }
    return soft_ld_acc(c, la, size, soft_acc(c));
}

void soft_st_slow(SoftCpu *c, uint64_t la, unsigned size, uint64_t val)
{
    const SoftTlbMmio *m;

    if (c->slow_checks) {
        slow_checks(c, la, size, true);
    } else if ((m = soft_mmio_hit(c, la, size, 3))) {
        c->bus->mmio_write(c->bus_opaque, m->gpa | (la & 0xfff), size, val);
        return;
    }
    soft_st_acc(c, la, size, val, soft_acc(c));
}

uint64_t soft_ld_sys(SoftCpu *c, uint64_t la, unsigned size)
{
    return soft_ld_acc(c, la, size, ACC_IMPLICIT);
}

void soft_st_sys(SoftCpu *c, uint64_t la, unsigned size, uint64_t val)
{
    soft_st_acc(c, la, size, val, ACC_IMPLICIT);
}

uint8_t *soft_probe(SoftCpu *c, uint64_t la, unsigned size, bool write)
{
    unsigned acc = soft_acc(c) | (write ? ACC_WRITE : 0);
    Xlat x;

    if (c->slow_checks) {
        slow_checks(c, la, size, write);
    }
    xlat(c, la, acc, &x);
    if (soft_first_part(la, size) < size) {
        xlat(c, soft_next_page(c, la), acc, &x);
        return NULL;
    }
    if (write && (!(x.flags & SOFT_PAGE_RAM) || (x.codemask && atomic_load(x.codemask)))) {
        return NULL;
    }
    return x.host;
}

void soft_check(SoftCpu *c, uint64_t la, unsigned size, bool write)
{
    unsigned acc = soft_acc(c) | (write ? ACC_WRITE : 0);
    Xlat x;

    xlat(c, la, acc, &x);
    if (soft_first_part(la, size) < size) {
        xlat(c, soft_next_page(c, la), acc, &x);
    }
}

static void load_bytes(SoftCpu *c, const Xlat *x, uint8_t *dst, unsigned n)
{
    if (x->host) {
        memcpy(dst, x->host, n);
        return;
    }
    for (unsigned i = 0, k; i < n; i += k) {
        k = n - i >= 8 ? 8 : n - i >= 4 ? 4 : n - i >= 2 ? 2 : 1;
        uint64_t v = c->bus->mmio_read(c->bus_opaque, x->gpa + i, k);
        memcpy(dst + i, &v, k);
    }
}

static void store_bytes(SoftCpu *c, const Xlat *x, const uint8_t *src, unsigned n)
{
    if (x->host && (x->flags & SOFT_PAGE_RAM)) {
        memcpy(x->host, src, n);
        store_done(c, x, n);
        return;
    }
    for (unsigned i = 0, k; i < n; i += k) {
        uint64_t v = 0;
        k = n - i >= 8 ? 8 : n - i >= 4 ? 4 : n - i >= 2 ? 2 : 1;
        memcpy(&v, src + i, k);
        c->bus->mmio_write(c->bus_opaque, x->gpa + i, k, v);
    }
}

void soft_ld_bytes(SoftCpu *c, uint64_t la, void *dst, unsigned n)
{
    unsigned k = soft_first_part(la, n), acc = soft_acc(c);
    Xlat a, b;

    if (c->slow_checks) {
        slow_checks(c, la, n, false);
    }
    xlat(c, la, acc, &a);
    if (k < n) {
        xlat(c, soft_next_page(c, la), acc, &b);
    }
    load_bytes(c, &a, dst, k);
    if (k < n) {
        load_bytes(c, &b, (uint8_t *)dst + k, n - k);
    }
}

void soft_st_bytes(SoftCpu *c, uint64_t la, const void *src, unsigned n)
{
    unsigned k = soft_first_part(la, n), acc = soft_acc(c) | ACC_WRITE;
    Xlat a, b;

    if (c->slow_checks) {
        slow_checks(c, la, n, true);
    }
    xlat(c, la, acc, &a);
    if (k < n) {
        xlat(c, soft_next_page(c, la), acc, &b);
    }
    store_bytes(c, &a, src, k);
    if (k < n) {
        store_bytes(c, &b, (const uint8_t *)src + k, n - k);
    }
}

/* Locked operations */

uint8_t *soft_rmw_ptr(SoftCpu *c, uint64_t la, unsigned size)
{
    Xlat x;

    if (c->slow_checks) {
        slow_checks(c, la, size, true);
    }
    xlat(c, la, soft_acc(c) | ACC_WRITE, &x);
    if (soft_first_part(la, size) < size) {
        xlat(c, soft_next_page(c, la), soft_acc(c) | ACC_WRITE, &x);
        return NULL;
    }
    if (!(x.flags & SOFT_PAGE_RAM)) {
        return NULL;
    }
    c->rmw_mask = x.codemask;
    c->rmw_gpa = x.gpa;
    return x.host;
}

/* As behind any store: first the write, then a look at the mask. */
void soft_rmw_code_written(SoftCpu *c, unsigned size)
{
    Xlat x = { .gpa = c->rmw_gpa, .codemask = c->rmw_mask };

    c->rmw_mask = NULL;
    store_done(c, &x, size);
}

/* One lock for all vCPUs of the process: page-crossing locked operations are rare and have no owner
 * to hang it from. */
static GMutex split_mutex;

void soft_split_lock(SoftCpu *c)
{
    g_mutex_lock(&split_mutex);
    c->split_locked = true;
}

void soft_split_unlock(SoftCpu *c)
{
    if (c->split_locked) {
        c->split_locked = false;
        g_mutex_unlock(&split_mutex);
    }
}

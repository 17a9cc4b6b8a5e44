/* A PCI function's DMA: the only place where an Iova becomes a Gpa. Test: tests/unit/test-dma.c */
#include "memory/dma.h"

#include "memory-internal.h"
#include "memory/ram.h"
#include "util/le.h"

#include <string.h>
#include <sys/uio.h>

/* SDM vol. 3, 11.11.1: messages are writes to this megabyte. */
#define MSI_BASE 0xfee00000ull
#define MSI_SIZE 0x100000ull

DmaSpace *dma_space_new(AddrSpace *as)
{
    DmaSpace *s = g_new0(DmaSpace, 1);

    s->as = as;
    s->clock.map = &as->generation;
    return s;
}

AddrSpace *dma_space_memory(const DmaSpace *s)
{
    return s->as;
}

void dma_space_free(DmaSpace *s)
{
    g_assert(!s || !s->users);
    g_free(s);
}

void dma_space_stale(DmaSpace *s)
{
    atomic_fetch_add_explicit(&s->clock.own, 1, memory_order_release);
}

void dma_space_set_master(DmaSpace *s, bool on)
{
    if (atomic_exchange(&s->master, on) != on) {
        dma_space_stale(s);
    }
}

bool dma_space_master(const DmaSpace *s)
{
    return atomic_load_explicit(&s->master, memory_order_acquire);
}

const DmaClock *dma_space_clock(const DmaSpace *s)
{
    return &s->clock;
}

uint64_t dma_space_generation(const DmaSpace *s)
{
    return dma_clock_now(&s->clock);
}

/* The plain RAM at `at`, at most len bytes of it; NULL: MMIO, a hole, or ROM to be written. */
static uint8_t *ram_piece(const DmaSpace *s, const FlatMap *m, uint64_t at, bool write,
    uint64_t *len, RamBlock **ret_block, uint64_t *ret_off)
{
    const FlatRange *f;

    if (!dma_translate(s, &at, write, len)) {
        return NULL;
    }
    f = flatmap_find(m, at);
    if (!f || !f->region->ram || (write && f->readonly)) {
        return NULL;
    }
    *len = MIN(*len, f->size - (at - f->at));
    *ret_off = f->off + (at - f->at);
    *ret_block = f->region->ram;
    return f->region->ram->host + *ret_off;
}

static void put_blocks(RamBlock *const *blocks, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ram_unref(blocks[i]);
    }
}

unsigned dma_map(DmaSpace *s, Iova at, size_t len, DmaDir dir, struct iovec *iov,
    RamBlock **ret_blocks, unsigned max)
{
    const FlatMap *m = addrspace_map(s->as);
    uint64_t a = at.v, end;
    unsigned n = 0;

    if (!dma_space_master(s) || !len || __builtin_add_overflow(a, len - 1, &end)) {
        return 0;
    }
    while (len) {
        RamBlock *b = NULL;
        uint64_t piece = len, off = 0;
        uint8_t *host = n < max ? ram_piece(s, m, a, dir == DMA_TO_GUEST, &piece, &b, &off) : NULL;
        if (!host) {
            put_blocks(ret_blocks, n);
            return 0;
        }
        iov[n] = (struct iovec){ host, piece };
        ret_blocks[n++] = ram_ref(b);
        a += piece;
        len -= piece;
    }
    return n;
}

void dma_unmap(DmaSpace *s, const struct iovec *iov, RamBlock *const *blocks, unsigned n,
    DmaDir dir, size_t written)
{
    for (unsigned i = 0; i < n && dir == DMA_TO_GUEST && written; i++) {
        size_t here = MIN(written, iov[i].iov_len);
        ram_written(blocks[i], (uint64_t)((uint8_t *)iov[i].iov_base - blocks[i]->host), here);
        written -= here;
    }
    put_blocks(blocks, n);
}

/* Writes src when there is one, else reads into dst. Without references: nothing here outlives the
 * call, and RCU keeps the blocks of the map alive that long. */
static bool dma_copy(DmaSpace *s, uint64_t at, uint8_t *dst, const uint8_t *src, size_t len)
{
    const FlatMap *m = addrspace_map(s->as);
    uint64_t end;

    if (!len) {
        return true;
    }
    if (!dma_space_master(s) || __builtin_add_overflow(at, len - 1, &end)) {
        return false;
    }
    while (len) {
        RamBlock *b = NULL;
        uint64_t n = len, off = 0;
        uint8_t *host = ram_piece(s, m, at, src != NULL, &n, &b, &off);
        if (!host) {
            return false;
        }
        if (src) {
            mem_copy_to(host, src, n);
            ram_written(b, off, n);
            src += n;
        } else {
            mem_copy_from(dst, host, n);
            dst += n;
        }
        at += n;
        len -= n;
    }
    return true;
}

bool dma_read(DmaSpace *s, Iova at, void *dst, size_t len)
{
    return dma_copy(s, at.v, dst, NULL, len);
}

static bool msi_try(DmaSpace *s, uint64_t addr, uint32_t data)
{
    if (addr - MSI_BASE >= MSI_SIZE) {
        return false;
    }
    /* Pairs with the release in dma_set_msi_sink(). */
    MsiSink *fn = atomic_load_explicit(&s->as->msi_fn, memory_order_acquire);
    if (fn) {
        fn(atomic_load_explicit(&s->as->msi_opaque, memory_order_relaxed), addr, data);
    }
    return fn != NULL;
}

bool dma_write(DmaSpace *s, Iova at, const void *src, size_t len)
{
    le32 data;

    if (len == sizeof data && at.v - MSI_BASE < MSI_SIZE) {
        memcpy(&data, src, sizeof data);
        return dma_space_master(s) && msi_try(s, at.v, le32_get(data));
    }
    return dma_copy(s, at.v, NULL, src, len);
}

void dma_msi(DmaSpace *s, uint64_t addr, uint32_t data)
{
    le32 le = le32_of(data);

    if (dma_space_master(s) && !msi_try(s, addr, data)) {
        dma_copy(s, addr, NULL, (const uint8_t *)&le, sizeof le);
    }
}

void dma_set_msi_sink(AddrSpace *as, MsiSink *fn, void *opaque)
{
    atomic_store_explicit(&as->msi_opaque, opaque, memory_order_relaxed);
    atomic_store_explicit(&as->msi_fn, fn, memory_order_release);
}

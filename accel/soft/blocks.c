/*
 * The store of decoded blocks: lookup by host address, IP and mode; building; invalidation by
 * physical page.
 *
 * Private to its vCPU. What vCPUs share is each page's code mask: one bit per 64-byte granule that
 * some vCPU decoded. The order is: decode a copy of the bytes, set the granules' bits, drop write
 * tags if they were the page's first ones, compare the bytes with the copy and begin again if they
 * differ. A writer stores first and looks at the mask behind a full barrier: so it sees the bit and
 * invalidates, or the decoder sees its bytes. A writer with an old write tag does not look:
 * therefore soft_code_sync() waits until every vCPU has flushed.
 */
#include "exec.h"
#include "insn-fns.h"
#include "jit.h"
#include "mmu.h"

#include <glib.h>
#include <sched.h>
#include <sys/mman.h>

enum { HASH_BITS = 18, PAGE_HASH_BITS = 13, FEW_BLOCKS = 4096, QUEUE_SIZE = 128 };
#define ARENA_SIZE ((size_t)64 << 20)

typedef struct PageEntry PageEntry;
struct PageEntry {
    uint64_t gpa;
    PageEntry *next;
    Block *blocks;
};

typedef struct Inval {
    uint64_t gpa, granules;
} Inval;

struct BlockStore {
    Block **hash;
    PageEntry **pages;
    uint8_t *arena;
    size_t used;
    unsigned nblocks; /* built since the last flush */
    uint64_t nflushes;
    const Op *want; /* a branch that asked for its chain pointer */
    bool want_taken;
    uint64_t want_flushes;
    uint64_t want_ip; /* where that branch goes */
    GMutex lock;      /* guards the queue */
    Inval queue[QUEUE_SIZE];
    unsigned nqueued; /* over QUEUE_SIZE: too many, flush all */
    bool jit_full;    /* no room for generated code: flush all */
    /* The block under construction. */
    uint8_t bytes[BLOCK_MAX_BYTES];
    Insn insns[BLOCK_MAX_INSNS];
};

SoftBlocks *soft_blocks_new(void)
{
    SoftBlocks *b = g_new0(SoftBlocks, 1);
    struct BlockStore *s = g_new0(struct BlockStore, 1);

    b->store = s;
    s->hash = g_new0(Block *, 1u << HASH_BITS);
    s->pages = g_new0(PageEntry *, 1u << PAGE_HASH_BITS);
    s->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(s->arena != MAP_FAILED);
    g_mutex_init(&s->lock);
    return b;
}

void soft_blocks_free(SoftBlocks *b)
{
    struct BlockStore *s = b->store;

    jit_free(b->jit);
    munmap(s->arena, ARENA_SIZE);
    g_mutex_clear(&s->lock);
    g_free(s->hash);
    g_free(s->pages);
    g_free(s);
    g_free(b);
}

static unsigned page_slot(uint64_t gpa)
{
    return (unsigned)((gpa >> 12) ^ (gpa >> 25)) & ((1u << PAGE_HASH_BITS) - 1);
}

static PageEntry *page_find(struct BlockStore *s, uint64_t gpa)
{
    PageEntry *p = s->pages[page_slot(gpa)];

    while (p && p->gpa != gpa) {
        p = p->next;
    }
    return p;
}

static Block **hash_slot(struct BlockStore *s, const uint8_t *host, uint64_t ip, uint32_t mode)
{
    uint64_t h = ((uintptr_t)host * 0x9e3779b97f4a7c15ull) ^ (ip * 0xc2b2ae3d27d4eb4full) ^
                 mode * 0x9e3779b1ull;
    return &s->hash[h >> (64 - HASH_BITS)];
}

static void unhash(struct BlockStore *s, Block *b)
{
    Block **p = hash_slot(s, b->host, b->ip, b->mode);

    while (*p && *p != b) {
        p = &(*p)->hash_next;
    }
    if (*p) {
        *p = b->hash_next;
    }
}

/* Chains go between blocks of a page: all of them start anew. */
static void unchain(SoftCpu *c, Block *b)
{
    if (b->code) {
        jit_unlink(c->blocks->jit, b);
    }
    if (b->chains) {
        b->ops[b->nops - 1].taken = NULL;
        b->ops[b->nops - 1].fall = NULL;
    }
}

/* Which of a block's two pages the list of gpa is for. */
static unsigned page_side(const Block *b, const PageEntry *p)
{
    return b->gpa != p->gpa;
}

/* Few blocks leave their slots one by one, many the whole table at once. */
static void clear_tables(struct BlockStore *s)
{
    if (s->nblocks > FEW_BLOCKS) {
        memset(s->hash, 0, sizeof(Block *) << HASH_BITS);
        memset(s->pages, 0, sizeof(PageEntry *) << PAGE_HASH_BITS);
        return;
    }
    for (unsigned i = 0; i < 1u << PAGE_HASH_BITS; i++) {
        for (PageEntry *p = s->pages[i]; p; p = p->next) {
            for (Block *b = p->blocks; b; b = b->page_next[page_side(b, p)]) {
                *hash_slot(s, b->host, b->ip, b->mode) = NULL;
            }
        }
        s->pages[i] = NULL;
    }
}

void soft_blocks_flush(SoftCpu *c)
{
    struct BlockStore *s = c->blocks->store;

    if (s->used) {
        clear_tables(s);
    }
    /* The memory is reused from its start: only when a block is built, that is when none is
     * running.
     */
    s->used = 0;
    s->nblocks = 0;
    s->jit_full = false;
    if (c->blocks->jit) {
        jit_reset(c->blocks->jit);
    }
    s->nflushes++;
    soft_jump_flush(c, /* kernel= */ true);
    c->blocks->gen++;
}

void soft_blocks_invalidate(SoftCpu *c, uint64_t gpa_page, uint64_t granules)
{
    struct BlockStore *s = c->blocks->store;
    PageEntry *p = page_find(s, gpa_page);
    bool hit = false;

    if (!p) {
        return;
    }
    for (Block **pb = &p->blocks; *pb;) {
        Block *b = *pb;
        unsigned side = page_side(b, p);
        if (b->granules[side] & granules) {
            *pb = b->page_next[side];
            unhash(s, b); /* it may still be in its other page's list: harmless */
            hit = true;
        } else {
            pb = &b->page_next[side];
        }
    }
    if (hit) {
        for (Block *b = p->blocks; b; b = b->page_next[page_side(b, p)]) {
            unchain(c, b);
        }
        s->want = NULL;
        soft_jump_flush(c, /* kernel= */ true);
        c->blocks->gen++;
    }
}

void soft_blocks_queue_inval(SoftCpu *target, uint64_t gpa_page, uint64_t granules)
{
    struct BlockStore *s = target->blocks->store;

    g_mutex_lock(&s->lock);
    if (s->nqueued < QUEUE_SIZE) {
        s->queue[s->nqueued++] = (Inval){ gpa_page, granules };
    } else {
        s->nqueued = QUEUE_SIZE + 1;
    }
    g_mutex_unlock(&s->lock);
    soft_kick(target, SOFT_POLL_INVAL);
}

void soft_blocks_drain_inval(SoftCpu *c)
{
    struct BlockStore *s = c->blocks->store;
    Inval queue[QUEUE_SIZE];

    g_mutex_lock(&s->lock);
    unsigned n = s->nqueued;
    s->nqueued = 0;
    if (n <= QUEUE_SIZE) {
        memcpy(queue, s->queue, n * sizeof queue[0]);
    }
    g_mutex_unlock(&s->lock);
    if (n > QUEUE_SIZE || s->jit_full) {
        soft_blocks_flush(c);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        soft_blocks_invalidate(c, queue[i].gpa, queue[i].granules);
    }
}

void blocks_poll(SoftCpu *c)
{
    uint32_t wanted = SOFT_POLL_FLUSH | SOFT_POLL_INVAL;
    uint32_t bits = atomic_load(&c->poll) & wanted;

    if (!bits) {
        return;
    }
    atomic_fetch_and(&c->poll, ~bits);
    if (bits & SOFT_POLL_FLUSH) {
        soft_tlb_flush(c, /* global= */ true);
        /* Pairs with soft_code_sync(): the tags are gone before the count says so. */
        atomic_fetch_add(&c->flush_done, 1);
    }
    if (bits & SOFT_POLL_INVAL) {
        soft_blocks_drain_inval(c);
    }
}

void soft_code_sync(SoftCpu *by, SoftCpu *const *cpus, unsigned ncpus, const uint8_t *page)
{
    for (unsigned i = 0; i < ncpus; i++) {
        SoftCpu *o = cpus[i];
        /* The mask has the page's bits by now: who sets its bit later sees them and takes no tag.
         */
        if (o == by || !soft_wrote(o, page)) {
            continue;
        }
        uint32_t seen = atomic_load(&o->flush_done);
        soft_kick(o, SOFT_POLL_FLUSH);
        /* Pairs with soft_run(): in_guest is set before poll is read there, poll before in_guest
         * here. */
        atomic_thread_fence(memory_order_seq_cst);
        while (atomic_load(&o->in_guest) && atomic_load(&o->flush_done) == seen) {
            blocks_poll(by);
            sched_yield();
        }
    }
}

/* Building
 * ----------------------------------------------------------------------------------------------------------
 */

/*
 * vCPUs between setting a page's first code bits and everybody having lost its write tags. While
 * there is one, the others cannot tell from the mask whether that page is done, and do the same
 * work themselves. Process-wide as the masks are.
 */
static _Atomic unsigned nprotecting;

typedef struct Source {
    uint64_t la, ip;
    const uint8_t *host; /* of the first byte */
    uint64_t gpa;        /* of the page */
    _Atomic uint64_t *mask;
    const uint8_t *host2; /* the second page, if the first instruction crosses */
    uint64_t gpa2;
    _Atomic uint64_t *mask2;
    unsigned left;   /* bytes to the end of the page */
    uint8_t *bytes;  /* copy: BLOCK_MAX_BYTES */
    unsigned nbytes; /* decoded */
    Insn *insns;     /* BLOCK_MAX_INSNS */
    unsigned n;
    bool breakpoint;
} Source;

static uint64_t granule_mask(unsigned off, unsigned n)
{
    unsigned first = off >> 6, last = (off + n - 1) >> 6;
    return (~0ull >> (63 - (last - first))) << first;
}

static void publish_granules(SoftCpu *c, _Atomic uint64_t *mask, uint64_t gpa, uint64_t granules)
{
    if (!mask || (atomic_load(mask) & granules) == granules) {
        if (!mask || !atomic_load(&nprotecting)) {
            return;
        }
    }
    atomic_fetch_add(&nprotecting, 1);
    uint64_t old = atomic_fetch_or(mask, granules);
    if (!old || atomic_load(&nprotecting) > 1) {
        soft_tlb_protect_code(c, gpa);
    }
    atomic_fetch_sub(&nprotecting, 1);
}

static bool breakpoint_at(const SoftCpu *c, uint64_t la)
{
    for (unsigned i = 0; i < c->nbreakpoints; i++) {
        if (c->breakpoints[i] == la) {
            return true;
        }
    }
    return false;
}

/* The first instruction lies on two pages: gets the second one. May raise. */
static void source_cross(SoftCpu *c, Source *s)
{
    uint64_t next = (s->la | 0xfff) + 1;
    int exc;

    s->host2 = soft_code_page(c, soft_code64(c) ? next : (uint32_t)next, &s->gpa2, &s->mask2);
    if (!s->host2) {
        return;
    }
    memcpy(s->bytes + s->left, s->host2, 15 - s->left);
    int len = insn_decode(s->bytes, 15, s->ip, c->mode, &s->insns[0], &exc);
    if (len < 0) {
        if (exc == EXC_GP) {
            soft_raise_err(c, EXC_GP, 0);
        }
        soft_raise(c, exc);
    }
    s->n = 1;
    s->nbytes = (unsigned)len;
}

/* Copies the code and decodes up to the end of the block. False: run the instruction by itself. May
 * raise. */
static bool source_decode(SoftCpu *c, Source *s)
{
    unsigned size = s->left < BLOCK_MAX_BYTES ? s->left : BLOCK_MAX_BYTES;
    uint64_t limit = soft_code64(c) ? UINT64_MAX : c->seg[SEG_CS].limit;
    unsigned copied = 0;
    int exc = 0;

    s->n = s->nbytes = 0;
    s->host2 = NULL;
    s->breakpoint = c->nbreakpoints && breakpoint_at(c, s->la);
    while (s->n < BLOCK_MAX_INSNS && s->nbytes < size) {
        Insn *in = &s->insns[s->n];
        uint64_t ip = s->ip + s->nbytes;
        if (s->n && c->nbreakpoints && breakpoint_at(c, s->la + s->nbytes)) {
            break;
        }
        if (copied < s->nbytes + 15 && copied < size) {
            unsigned more = size - copied < 64 ? size - copied : 64;
            memcpy(s->bytes + copied, s->host + copied, more);
            copied += more;
        }
        int len = insn_decode(s->bytes + s->nbytes, copied - s->nbytes, ip, c->mode, in, &exc);
        if (len > 0 && ip + (unsigned)len - 1 > limit) {
            break;
        }
        if (len <= 0) {
            if (s->n) {
                break; /* a later block begins there */
            }
            if (len == 0) {
                source_cross(c, s);
                return s->host2 && s->ip + s->nbytes - 1 <= limit;
            }
            if (exc == EXC_GP) {
                soft_raise_err(c, EXC_GP, 0);
            }
            soft_raise(c, exc);
        }
        s->n++;
        s->nbytes += (unsigned)len;
        if (in->flags & INSN_ENDS) {
            break;
        }
    }
    return s->n != 0;
}

/* The granules are in the mask: is the copy still what is there? */
static bool source_stable(const Source *s)
{
    unsigned first = s->host2 ? s->left : s->nbytes;

    return memcmp(s->bytes, s->host, first) == 0 &&
           (!s->host2 || memcmp(s->bytes + s->left, s->host2, s->nbytes - s->left) == 0);
}

static void *arena_take(struct BlockStore *s, size_t n)
{
    void *p = s->arena + s->used;

    s->used += (n + 15) & ~(size_t)15;
    g_assert(s->used <= ARENA_SIZE);
    return p;
}

static void page_add(struct BlockStore *s, uint64_t gpa, Block *b, unsigned side)
{
    PageEntry *p = page_find(s, gpa);

    if (!p) {
        p = arena_take(s, sizeof *p);
        *p = (PageEntry){ .gpa = gpa, .next = s->pages[page_slot(gpa)] };
        s->pages[page_slot(gpa)] = p;
    }
    b->page_next[side] = p->blocks;
    p->blocks = b;
}

static bool translatable(const SoftCpu *c)
{
    return soft_code64(c) && !c->no_hot && !c->blocks->jit_off && c->jit_after != SOFT_NO_JIT;
}

void block_translate(SoftCpu *c, Block *b)
{
    SoftBlocks *s = c->blocks;
    Insn *in = s->store->insns;
    unsigned n = 0;
    int exc;

    if (!s->jit && !s->jit_off) {
        s->jit = jit_new();
        s->jit_off = !s->jit;
    }
    if (s->jit_off) {
        return;
    }
    for (unsigned at = 0; at < b->nbytes; at += in[n++].len) {
        insn_decode(b->bytes + at, b->nbytes - at, b->ip + at, b->mode, &in[n], &exc);
    }
    if (!jit_block(s->jit, c, b, in, n)) {
        s->store->jit_full = true;
        soft_kick(c, SOFT_POLL_INVAL);
    }
}

static Block *block_build(SoftCpu *c, Source *s)
{
    struct BlockStore *st = c->blocks->store;
    size_t ops_size = (s->n + 1) * sizeof(Op),
           max = sizeof(Block) + ops_size + s->n * sizeof(Insn) + s->nbytes;

    if (st->used + max + 4096 > ARENA_SIZE) {
        soft_blocks_flush(c);
    }
    Block *b = arena_take(st, sizeof(Block) + ops_size);
    Insn *insns = (Insn *)(void *)(st->arena + st->used);
    Translation t = { .in = s->insns,
        .n = s->n,
        .mode = c->mode | (c->no_hot ? SOFT_NO_HOT : 0),
        .page_ip = s->ip - (s->la & 0xfff),
        .one_page = !s->host2,
        .ops = b->ops,
        .insns = insns };

    *b = (Block){ .host = s->host,
        .host2 = s->host2,
        .ip = s->ip,
        .mode = c->mode,
        .gpa = s->gpa,
        .gpa2 = s->gpa2,
        .nbytes = (uint16_t)s->nbytes };
    b->nops = (uint8_t)translate(&t);
    b->chains = t.chains;
    if (s->breakpoint) {
        b->ops[0].fn = op_break;
    } else if (translatable(c)) {
        b->first = b->ops[0].fn;
        b->ops[0].fn = op_warm;
    }
    arena_take(st, t.ninsns * sizeof(Insn));
    b->bytes = memcpy(arena_take(st, s->nbytes), s->bytes, s->nbytes);
    unsigned first = s->host2 ? s->left : s->nbytes;
    b->granules[0] = granule_mask(s->la & 0xfff, first);
    page_add(st, s->gpa, b, 0);
    if (s->host2) {
        b->granules[1] = granule_mask(0, s->nbytes - s->left);
        if (s->gpa2 != s->gpa) {
            page_add(st, s->gpa2, b, 1);
        } else {
            b->granules[0] |= b->granules[1];
        }
    }
    Block **slot = hash_slot(st, b->host, b->ip, b->mode);
    b->hash_next = *slot;
    *slot = b;
    st->nblocks++;
    return b;
}

/* Fits a block found by its key: the second page where the first instruction crosses. May raise. */
static bool second_page_fits(SoftCpu *c, const Block *b, uint64_t la)
{
    uint64_t gpa, next = (la | 0xfff) + 1;
    _Atomic uint64_t *mask;

    return !b->host2 ||
           soft_code_page(c, soft_code64(c) ? next : (uint32_t)next, &gpa, &mask) == b->host2;
}

/* After a flush of the TLB the jump cache mostly knows the block still: only the mapping is
 * checked. */
static Block *block_known(SoftCpu *c, const Source *s)
{
    const JumpEntry *e = jump_entry(c, s->ip);

    if (e->ip != s->ip || (uint32_t)e->key != c->mode || e->gen != c->blocks->gen || !e->op) {
        return NULL;
    }
    Block *b = op_block(e->op);
    return b->host == s->host && b->gpa == s->gpa && !b->host2 ? b : NULL;
}

static Block *block_find(SoftCpu *c, const Source *s)
{
    Block *b = *hash_slot(c->blocks->store, s->host, s->ip, c->mode);

    while (b) {
        if (b->host == s->host && b->ip == s->ip && b->mode == c->mode && b->gpa == s->gpa &&
            second_page_fits(c, b, s->la)) {
            return b;
        }
        b = b->hash_next;
    }
    return NULL;
}

static void set_chain(SoftCpu *c, const Op *from, bool taken, const Op *target)
{
    Op *op = (Op *)(uintptr_t)from;
    Block *to = op_block(target);

    if (op_block(op)->code) {
        jit_link(c, op_block(op), taken, to);
    }
    if (!to->host2 && (op->aux & (taken ? OP_CHAIN_TAKEN : OP_CHAIN_FALL))) {
        *(taken ? &op->taken : &op->fall) = target;
    }
}

void block_want_chain(SoftCpu *c, const Op *from, bool taken, uint64_t ip, const Op *target)
{
    struct BlockStore *s = c->blocks->store;

    s->want = NULL;
    if (!target) {
        s->want = from;
        s->want_taken = taken;
        s->want_flushes = s->nflushes;
        s->want_ip = ip;
    } else {
        set_chain(c, from, taken, target);
    }
}

/* The block goes into the jump cache and the branch that asked for it. */
static const Op *block_enter(SoftCpu *c, Block *b, const Op *want, uint64_t want_flushes)
{
    struct BlockStore *s = c->blocks->store;

    if (!mode_hot(c->mode)) {
        return b->ops;
    }
    *jump_entry(c, c->ip) =
        (JumpEntry){ .ip = c->ip, .key = jump_key(c), .op = b->ops, .gen = c->blocks->gen };
    if (want && want_flushes == s->nflushes && s->want_ip == c->ip) {
        set_chain(c, want, s->want_taken, b->ops);
    }
    return b->ops;
}

static Block *block_new(SoftCpu *c, Source *s)
{
    s->bytes = c->blocks->store->bytes;
    s->insns = c->blocks->store->insns;
    do {
        if (!source_decode(c, s)) {
            return NULL;
        }
        publish_granules(
            c, s->mask, s->gpa, granule_mask(s->la & 0xfff, s->host2 ? s->left : s->nbytes));
        if (s->host2) {
            publish_granules(c, s->mask2, s->gpa2, granule_mask(0, s->nbytes - s->left));
        }
        atomic_thread_fence(memory_order_seq_cst);
    } while (!source_stable(s));
    return block_build(c, s);
}

const Op *block_get(SoftCpu *c)
{
    struct BlockStore *st = c->blocks->store;
    const Op *want = st->want;
    uint64_t want_flushes = st->want_flushes;
    Source s;

    st->want = NULL;
    s.ip = c->ip;
    s.la = soft_code64(c) ? c->ip : (uint32_t)(c->seg[SEG_CS].base + c->ip);
    if (!soft_code64(c) && c->ip > c->seg[SEG_CS].limit) {
        soft_raise_err(c, EXC_GP, 0);
    }
    const uint8_t *page = soft_code_page(c, s.la, &s.gpa, &s.mask);
    if (!page) {
        return NULL;
    }
    s.host = page + (s.la & 0xfff);
    s.left = 4096 - (s.la & 0xfff);
    Block *b = block_known(c, &s);
    if (!b) {
        b = block_find(c, &s);
    }
    if (b && !soft_code64(c) && c->ip + b->nbytes - 1 > c->seg[SEG_CS].limit) {
        return NULL;
    }
    if (!b) {
        b = block_new(c, &s);
    }
    return b ? block_enter(c, b, want, want_flushes) : NULL;
}

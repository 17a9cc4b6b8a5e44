/*
 * Guest memory under KVM: slots made from the published flat map, and the log of written pages, by
 * bitmap or by ring (KVM API, 4.35, 4.8, 8.29). VM lock throughout. Tests:
 * tests/system/test_kvm.py
 */
#include "hw/core/machine.h"
#include "kvm-internal.h"
#include "util/log.h"
#include "util/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { PAGE = 4096 };

static KvmSlot *slot_at(const KvmAccel *ka, unsigned i)
{
    return &g_array_index(ka->slots, KvmSlot, i);
}

static bool same_slot(const KvmSlot *a, const KvmSlot *b)
{
    return a->at == b->at && a->size == b->size && a->block == b->block && a->off == b->off &&
           a->readonly == b->readonly;
}

static bool overlap(const KvmSlot *a, const KvmSlot *b)
{
    return a->at < b->at + b->size && b->at < a->at + a->size;
}

/* The whole pages of a range, joined to the piece before where memory goes on. */
static void add_range(const KvmAccel *ka, GArray *want, const FlatRange *f)
{
    uint64_t at = (f->at + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    uint64_t end = (f->at + f->size) & ~(uint64_t)(PAGE - 1);
    KvmSlot s = { .at = at,
        .size = end - at,
        .block = f->region->ram,
        .off = f->off + (at - f->at),
        .readonly = f->readonly && ka->caps.readonly_mem };

    if (at < f->at || end <= at || s.off % PAGE) {
        return; /* its accesses come as exits */
    }
    s.log = !s.readonly && atomic_load(&s.block->dirty);
    if (want->len) {
        KvmSlot *p = &g_array_index(want, KvmSlot, want->len - 1);
        if (p->at + p->size == s.at && p->block == s.block && p->off + p->size == s.off &&
            p->readonly == s.readonly) {
            p->size += s.size;
            return;
        }
    }
    g_array_append_val(want, s);
}

/* size 0 takes the slot away. */
static bool set_slot(const KvmAccel *ka, const KvmSlot *s, bool remove)
{
    struct kvm_userspace_memory_region r = { .slot = s->id,
        .flags = (s->readonly ? KVM_MEM_READONLY : 0) | (s->log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = s->at,
        .memory_size = remove ? 0 : s->size,
        .userspace_addr = (uintptr_t)s->block->host + s->off };

    return kvm_ioctl(ka->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) == 0;
}

static uint32_t free_id(const KvmAccel *ka)
{
    for (uint32_t id = 0;; id++) {
        bool used = false;
        for (unsigned i = 0; i < ka->slots->len && !used; i++) {
            used = slot_at(ka, i)->id == id;
        }
        if (!used) {
            return id;
        }
    }
}

/* Written pages. */
static void mark(RamBlock *b, uint64_t first_page, const uint64_t *bits, uint64_t npages)
{
    _Atomic uint64_t *dirty = atomic_load(&b->dirty);

    if (!dirty) {
        return;
    }
    for (uint64_t w = 0; w < (npages + 63) / 64; w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            uint64_t page = first_page + w * 64 + (unsigned)__builtin_ctzll(left);
            atomic_fetch_or_explicit(
                &dirty[page / 64], UINT64_C(1) << (page & 63), memory_order_relaxed);
        }
    }
}

static void pull_bitmap(const KvmAccel *ka, const KvmSlot *s)
{
    uint64_t npages = s->size / PAGE;
    g_autofree uint64_t *bits = g_new0(uint64_t, (npages + 63) / 64);
    struct kvm_dirty_log log = { .slot = s->id, .dirty_bitmap = bits };

    if (kvm_ioctl(ka->vm_fd, KVM_GET_DIRTY_LOG, &log) == 0) {
        mark(s->block, s->off / PAGE, bits, npages);
    } else if (errno != ENOENT) {
        kvm_must(-1, "KVM_GET_DIRTY_LOG");
    }
}

static void ring_entry(const KvmAccel *ka, uint32_t slot, uint64_t page)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < ka->slots->len; i++) {
        const KvmSlot *s = slot_at(ka, i);
        if (s->id == (slot & 0xffff) && page < s->size / PAGE) {
            mark(s->block, s->off / PAGE + page, &one, 1);
        }
    }
}

void kvm_rings_reap(KvmAccel *ka)
{
    bool any = false;

    for (unsigned i = 0; ka->dirty_ring && i < ka->a.cpus->len; i++) {
        KvmVcpu *v = kvm_vcpu_of(ka->a.cpus->pdata[i]);
        if (!v->ring) {
            continue;
        }
        for (;;) {
            struct kvm_dirty_gfn *g = &v->ring[v->ring_next & (ka->dirty_ring - 1)];
            if (__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) {
                break;
            }
            ring_entry(ka, g->slot, g->offset);
            __atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
            v->ring_next++;
            any = true;
        }
    }
    if (any) {
        kvm_must(kvm_ioctl(ka->vm_fd, KVM_RESET_DIRTY_RINGS, NULL), "KVM_RESET_DIRTY_RINGS");
    }
}

/* What a running vCPU holds back in its processor's buffer goes to the ring when it leaves. */
static void rings_collect(KvmAccel *ka)
{
    if (ka->dirty_ring) {
        kvm_gate_close(ka);
        kvm_rings_reap(ka);
        kvm_gate_open(ka);
    }
}

static void log_sync(void *opaque, RamBlock *b)
{
    KvmAccel *ka = opaque;

    if (ka->dirty_ring) {
        rings_collect(ka);
        return;
    }
    for (unsigned i = 0; i < ka->slots->len; i++) {
        const KvmSlot *s = slot_at(ka, i);
        if (s->block == b && s->log) {
            pull_bitmap(ka, s);
        }
    }
}

static void log_switch(void *opaque, RamBlock *b, bool on)
{
    KvmAccel *ka = opaque;

    for (unsigned i = 0; i < ka->slots->len; i++) {
        KvmSlot *s = slot_at(ka, i);
        if (s->block == b && s->log != on && !s->readonly) {
            s->log = on;
            if (!set_slot(ka, s, /* remove= */ false)) {
                kvm_must(-1, "KVM_SET_USER_MEMORY_REGION");
            }
        }
    }
}

static const RamLogHooks log_hooks = { .logging = log_switch, .sync = log_sync };

/* The map. */
static void drop_slot(KvmAccel *ka, unsigned i)
{
    KvmSlot *s = slot_at(ka, i);

    if (s->log && !ka->dirty_ring) {
        pull_bitmap(ka, s);
    }
    if (!set_slot(ka, s, /* remove= */ true)) {
        kvm_must(-1, "KVM_SET_USER_MEMORY_REGION");
    }
    ram_unref(s->block);
    g_array_remove_index(ka->slots, i);
}

static int by_address(const void *a, const void *b)
{
    const KvmSlot *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

static void make_slot(KvmAccel *ka, const KvmSlot *want)
{
    KvmSlot s = *want;

    s.id = free_id(ka);
    if (ka->slots->len >= ka->caps.slots || !set_slot(ka, &s, /* remove= */ false)) {
        /* Not fatal: the guest's accesses there come as exits. Code cannot run there. */
        report_error("KVM takes no memory at 0x%" PRIx64 "+0x%" PRIx64 " (slot %u of %u): %s", s.at,
            s.size, s.id, ka->caps.slots,
            ka->slots->len >= ka->caps.slots ? "too many pieces" : g_strerror(errno));
        return;
    }
    ram_ref(s.block);
    g_array_append_val(ka->slots, s);
}

static bool is_in(const GArray *list, const KvmSlot *s)
{
    for (unsigned i = 0; i < list->len; i++) {
        if (same_slot(&g_array_index(list, KvmSlot, i), s)) {
            return true;
        }
    }
    return false;
}

/* Memory that stays visible, in other pieces: for a moment the kernel knows neither. */
static bool cuts_memory(const KvmAccel *ka, const GArray *want)
{
    for (unsigned i = 0; i < ka->slots->len; i++) {
        const KvmSlot *old = slot_at(ka, i);
        for (unsigned k = 0; k < want->len && !is_in(want, old); k++) {
            if (overlap(old, &g_array_index(want, KvmSlot, k))) {
                return true;
            }
        }
    }
    return false;
}

static void map_changed(MapListener *l, const FlatMap *old, const FlatMap *now)
{
    KvmAccel *ka = (KvmAccel *)(void *)((char *)l - offsetof(KvmAccel, listener));
    g_autoptr(GArray) want = g_array_new(FALSE, TRUE, sizeof(KvmSlot));

    for (unsigned i = 0; i < now->n; i++) {
        if (now->range[i].region->ram) {
            add_range(ka, want, &now->range[i]);
        }
    }
    bool gate = cuts_memory(ka, want);
    if (gate) {
        kvm_gate_close(ka);
    }
    if (ka->dirty_ring && ka->slots->len) {
        kvm_rings_reap(ka); /* its entries name slots that may go now */
    }
    for (unsigned i = ka->slots->len; i-- > 0;) {
        if (!is_in(want, slot_at(ka, i))) {
            drop_slot(ka, i);
        }
    }
    for (unsigned i = 0; i < want->len; i++) {
        const KvmSlot *s = &g_array_index(want, KvmSlot, i);
        if (!is_in(ka->slots, s)) {
            make_slot(ka, s);
        }
    }
    g_array_sort(ka->slots, by_address);
    if (gate) {
        kvm_gate_open(ka);
    }
}

bool kvm_mem_init(KvmAccel *ka, GError **err)
{
    ka->slots = g_array_new(FALSE, TRUE, sizeof(KvmSlot));
    ka->listener.changed = map_changed;
    addrspace_listen(ka->a.machine->mem, &ka->listener);
    ram_set_log_hooks(&log_hooks, ka);
    return true;
}

void kvm_mem_fini(KvmAccel *ka)
{
    if (!ka->slots) {
        return;
    }
    addrspace_unlisten(ka->a.machine->mem, &ka->listener);
    ram_set_log_hooks(NULL, NULL);
    while (ka->slots->len) {
        drop_slot(ka, ka->slots->len - 1);
    }
    g_array_unref(ka->slots);
    ka->slots = NULL;
}

/* A test's IOMMU. */
#include "tests/lib/viommu.h"

static uint64_t entry_of(Viommu *v, uint64_t iova)
{
    uint64_t page = iova / VIOMMU_PAGE, entry;

    g_mutex_lock(&v->lock);
    entry = GPOINTER_TO_SIZE(g_hash_table_lookup(v->pages, GSIZE_TO_POINTER(page)));
    g_mutex_unlock(&v->lock);
    return entry;
}

static bool translate(Iommu *i, Iova at, bool write, IommuHit *ret)
{
    Viommu *v = i->opaque;
    uint64_t entry = entry_of(v, at.v), off = at.v % VIOMMU_PAGE;

    v->translations++;
    if (!entry) {
        v->faults++;
        return false;
    }
    *ret = (IommuHit){ .at = { entry / VIOMMU_PAGE * VIOMMU_PAGE + off },
        .len = VIOMMU_PAGE - off,
        .read = entry & VIOMMU_READ,
        .write = entry & VIOMMU_WRITE };
    return true;
}

void viommu_map(Viommu *v, uint64_t iova, uint64_t gpa, unsigned perm)
{
    g_assert_cmphex((iova | gpa) % VIOMMU_PAGE, ==, 0);
    g_mutex_lock(&v->lock);
    if (perm) {
        g_hash_table_insert(
            v->pages, GSIZE_TO_POINTER(iova / VIOMMU_PAGE), GSIZE_TO_POINTER(gpa | perm));
    } else {
        g_hash_table_remove(v->pages, GSIZE_TO_POINTER(iova / VIOMMU_PAGE));
    }
    g_mutex_unlock(&v->lock);
}

uint64_t viommu_gpa(Viommu *v, uint64_t iova)
{
    uint64_t entry = entry_of(v, iova);

    g_assert_cmphex(entry, !=, 0);
    return entry / VIOMMU_PAGE * VIOMMU_PAGE + iova % VIOMMU_PAGE;
}

static uint64_t load(void *opaque, bool io, uint64_t at, unsigned size)
{
    const VPort *p = ((Viommu *)opaque)->plain;

    return p->load(p->opaque, io, at, size);
}

static void store(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val)
{
    const VPort *p = ((Viommu *)opaque)->plain;

    p->store(p->opaque, io, at, size, val);
}

static void ram_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    Viommu *v = opaque;
    uint8_t *to = dst;

    while (len) {
        size_t n = MIN(len, VIOMMU_PAGE - at % VIOMMU_PAGE);

        v->plain->read(v->plain->opaque, viommu_gpa(v, at), to, n);
        at += n;
        to += n;
        len -= n;
    }
}

static void ram_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    Viommu *v = opaque;
    const uint8_t *from = src;

    while (len) {
        size_t n = MIN(len, VIOMMU_PAGE - at % VIOMMU_PAGE);

        v->plain->write(v->plain->opaque, viommu_gpa(v, at), from, n);
        at += n;
        from += n;
        len -= n;
    }
}

static bool step(void *opaque)
{
    const VPort *p = ((Viommu *)opaque)->plain;

    return p->step(p->opaque);
}

void viommu_init(Viommu *v, const VPort *plain)
{
    *v = (Viommu){ .plain = plain };
    v->iommu = (Iommu){ .translate = translate, .opaque = v };
    v->port = (VPort){ load, store, ram_read, ram_write, step, v };
    v->pages = g_hash_table_new(NULL, NULL);
    g_mutex_init(&v->lock);
}

void viommu_fini(Viommu *v)
{
    g_hash_table_destroy(v->pages);
    g_mutex_clear(&v->lock);
}

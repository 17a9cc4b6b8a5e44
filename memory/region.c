/* The tree of regions: RAM, ROM, MMIO, alias, container. addrspace.c turns it into flat maps. Test:
 * tests/unit/test-region.c */
#include "memory/region.h"

#include "memory-internal.h"
#include "memory/ram.h"
#include "util/fd.h"

#include <string.h>

static void region_init(Region *r, RegionKind kind, Obj *owner, const char *name, uint64_t size)
{
    g_assert(size > 0);
    *r = (Region){ .kind = kind, .name = name, .owner = owner, .size = size, .enabled = true };
}

void region_init_container(Region *r, Obj *owner, const char *name, uint64_t size)
{
    region_init(r, REGION_CONTAINER, owner, name, size);
    r->subs = g_ptr_array_new();
}

void region_init_io(
    Region *r, Obj *owner, const char *name, const RegionOps *ops, void *opaque, uint64_t size)
{
    g_assert(ops->read && ops->write);
    region_init(r, REGION_IO, owner, name, size);
    for (unsigned n = 1; n <= 8; n *= 2) {
        bool whole = n >= ops->min_access && n >= ops->valid_min &&
                     n <= (ops->max_access ? ops->max_access : 8u) &&
                     n <= (ops->valid_max ? ops->valid_max : 8u);

        r->whole_sizes |= (uint8_t)(whole ? n : 0);
    }
    r->ops = ops;
    r->opaque = opaque;
    r->guard_reentry = true;
}

bool region_init_ram(Region *r, Obj *owner, const char *name, uint64_t size, GError **err)
{
    RamSpec spec = { .size = size };
    RamBlock *b = ram_new(name, &spec, err);

    if (!b) {
        return false;
    }
    region_init(r, REGION_RAM, owner, name, size);
    r->ram = b;
    return true;
}

void region_init_ram_block(Region *r, Obj *owner, const char *name, RamBlock *block)
{
    region_init(r, REGION_RAM, owner, name, block->size);
    r->ram = ram_ref(block);
}

bool region_init_rom(Region *r, Obj *owner, const char *name, const void *data, uint64_t len,
    uint64_t size, GError **err)
{
    g_assert(len <= size);
    if (!region_init_ram(r, owner, name, size, err)) {
        return false;
    }
    r->kind = REGION_ROM;
    if (len) {
        memcpy(r->ram->host, data, len);
    }
    return true;
}

bool region_init_rom_file(
    Region *r, Obj *owner, const char *name, int fd, uint64_t len, uint64_t size, GError **err)
{
    g_assert(len <= size);
    if (!region_init_rom(r, owner, name, NULL, 0, size, err)) {
        return false;
    }
    if (fd_read_full(fd, r->ram->host, len)) {
        return true;
    }
    region_fini(r);
    return err_set(err, "cannot read the %" G_GUINT64_FORMAT " bytes of %s", len, name);
}

void region_init_alias(
    Region *r, Obj *owner, const char *name, Region *target, uint64_t target_off, uint64_t size)
{
    region_init(r, REGION_ALIAS, owner, name, size);
    r->target = target;
    r->target_off = target_off;
}

void region_fini(Region *r)
{
    g_assert(!r->container);
    if (r->subs) {
        g_assert(!r->subs->len);
        g_ptr_array_free(g_steal_pointer(&r->subs), TRUE);
    }
    if (r->ram) {
        ram_unref_later(g_steal_pointer(&r->ram));
    }
}

/* Overlaps: higher priority wins, then the later one, so the list is kept with the winner first. */
static void region_insert(Region *container, Region *r)
{
    unsigned i = 0;

    while (
        i < container->subs->len && ((Region *)container->subs->pdata[i])->priority > r->priority) {
        i++;
    }
    g_ptr_array_insert(container->subs, (int)i, r);
}

void region_map(Region *container, uint64_t at, Region *r, int priority)
{
    g_assert(container->kind == REGION_CONTAINER && !r->container && r != container);
    r->container = container;
    r->at = at;
    r->priority = priority;
    region_insert(container, r);
    addrspace_touched();
}

void region_unmap(Region *r)
{
    if (!r->container) {
        return;
    }
    g_ptr_array_remove(r->container->subs, r);
    r->container = NULL;
    addrspace_touched();
}

bool region_is_mapped(const Region *r)
{
    return r->container != NULL;
}

void region_set_enabled(Region *r, bool on)
{
    if (r->enabled != on) {
        r->enabled = on;
        addrspace_touched();
    }
}

void region_set_at(Region *r, uint64_t at)
{
    if (r->at != at) {
        r->at = at;
        addrspace_touched();
    }
}

void region_set_size(Region *r, uint64_t size)
{
    g_assert(size > 0 && (!r->ram || size <= r->ram->size));
    if (r->size != size) {
        r->size = size;
        addrspace_touched();
    }
}

void region_set_readonly(Region *r, bool on)
{
    if (r->readonly != on) {
        r->readonly = on;
        addrspace_touched();
    }
}

void region_set_alias_off(Region *r, uint64_t off)
{
    g_assert(r->kind == REGION_ALIAS);
    if (r->target_off != off) {
        r->target_off = off;
        addrspace_touched();
    }
}

void *region_host(const Region *r)
{
    g_assert(r->ram);
    return r->ram->host;
}

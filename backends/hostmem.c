/* Guest memory as user objects. Placement: mbind(2). Tested by tests/qtest/test-backends.c. */
#include "backends/hostmem.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NODES = 128 };

/* host-nodes=0-1, host-nodes=3, or a list of numbers in JSON. */

static bool nodes_add(HostNodes *n, uint64_t first, uint64_t last, GError **err)
{
    if (first > last || last >= NODES) {
        return err_set(err, "Invalid host-nodes value: nodes 0 to %d are possible", NODES - 1);
    }
    for (uint64_t i = first; i <= last; i++) {
        n->word[i / 64] |= UINT64_C(1) << (i % 64);
    }
    return true;
}

static bool nodes_set(void *field, const Json *val, GError **err)
{
    HostNodes n = { { 0 } };

    if (json_type(val) != JSON_ARRAY) {
        return err_set(err, "Invalid parameter type for '{name}', expected: array");
    }
    for (unsigned i = 0; i < json_len(val); i++) {
        const Json *one = json_at(val, i);

        if (json_type(one) != JSON_INT) {
            return err_set(err, "Invalid parameter type for '{name}', expected: integer");
        }
        if (json_get_int(one) < 0) {
            return err_set(err, "Parameter '{name}' expects uint16");
        }
        if (!nodes_add(&n, json_get_uint(one), json_get_uint(one), err)) {
            return false;
        }
    }
    *(HostNodes *)field = n;
    return true;
}

static bool nodes_parse(void *field, const char *text, GError **err)
{
    g_auto(GStrv) ends = g_strsplit(text, "-", 2);
    uint64_t first, last;

    if (!g_ascii_string_to_unsigned(ends[0] ? ends[0] : "", 10, 0, UINT32_MAX, &first, NULL) ||
        !g_ascii_string_to_unsigned(
            ends[0] && ends[1] ? ends[1] : ends[0], 10, 0, UINT32_MAX, &last, NULL)) {
        return err_set(err, "Parameter '{name}' expects a number or a range");
    }
    return nodes_add(field, first, last, err);
}

static void nodes_get(const void *field, JsonWriter *w, const char *name)
{
    const HostNodes *n = field;

    jw_begin_array(w, name);
    for (unsigned i = 0; i < NODES; i++) {
        if (n->word[i / 64] >> (i % 64) & 1) {
            jw_uint(w, NULL, i);
        }
    }
    jw_end_array(w);
}

static const PropType prop_nodes = {
    .name = "int", .set = nodes_set, .parse = nodes_parse, .get = nodes_get
};

/* In the order of MPOL_DEFAULT to MPOL_INTERLEAVE. */
static const char *const policies[] = { "default", "preferred", "bind", "interleave", NULL };
static const PROP_ENUM_TYPE(prop_policy, "HostMemPolicy", policies);

static bool no_nodes(const HostNodes *n)
{
    return !n->word[0] && !n->word[1];
}

static bool check_policy(const HostMem *h, GError **err)
{
    if (h->policy == MPOL_DEFAULT && !no_nodes(&h->nodes)) {
        return err_set(err, "host-nodes must be empty for policy default, or you should explicitly "
                            "specify a policy other than default");
    }
    if (h->policy != MPOL_DEFAULT && no_nodes(&h->nodes)) {
        return err_set(err, "host-nodes must be set for policy %s", policies[h->policy]);
    }
    return true;
}

static bool check(const HostMem *h, GError **err)
{
    const char *type = h->obj.cls->name;

    if (!h->size) {
        return err_set(err, "property 'size' of %s doesn't take value '0'", type);
    }
    if (!h->prealloc_threads) {
        return err_set(err, "property 'prealloc-threads' of %s doesn't take value '0'", type);
    }
    if (h->prealloc && !h->reserve) {
        return err_set(err, "'prealloc=on' and 'reserve=off' are incompatible");
    }
    return check_policy(h, err);
}

/* Placement comes before the first touch, so allocation does too. */
static bool finish(HostMem *h, RamBlock *b, GError **err)
{
    if (h->policy != MPOL_DEFAULT && syscall(SYS_mbind, b->host, b->size, h->policy, h->nodes.word,
                                         NODES + 1, MPOL_MF_STRICT | MPOL_MF_MOVE) < 0) {
        return err_set_errno(err, "cannot bind memory to host NUMA nodes");
    }
    /* Advice: a kernel built without KSM refuses it. */
    if (h->merge) {
        (void)madvise(b->host, b->size, MADV_MERGEABLE);
    }
    if (!h->dump) {
        (void)madvise(b->host, b->size, MADV_DONTDUMP);
    }
    return !h->prealloc || ram_populate(b, h->prealloc_threads, err);
}

static bool make(HostMem *h, RamSpec *spec, GError **err)
{
    g_autofree char *path = obj_path(&h->obj);

    spec->size = h->size;
    spec->share = h->share;
    spec->reserve = h->reserve;
    RamBlock *b = ram_new(h->canonical_id ? path : h->obj.name, spec, err);

    if (!b || !finish(h, b, err)) {
        ram_unref(b);
        return false;
    }
    h->ram = b;
    return true;
}

static bool ram_realize(Obj *o, GError **err)
{
    RamSpec spec = { 0 };

    return check((HostMem *)o, err) && make((HostMem *)o, &spec, err);
}

static bool check_file(const HostMem *h, GError **err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!h->path) {
        return err_set(err, "mem-path property not set");
    }
    if (h->rom == ON_OFF_AUTO_ON && !h->readonly) {
        return err_set(err, "property 'rom' = 'on' is not supported with 'readonly' = 'off'");
    }
    if (h->rom == ON_OFF_AUTO_OFF && h->readonly && h->share) {
        return err_set(err,
            "property 'rom' = 'off' is incompatible with 'readonly' = 'on' and 'share' = 'on'");
    }
    if (h->align % page) {
        return err_set(err,
            "alignment 0x%" G_GINT64_MODIFIER
            "x must be multiples of page size 0x%" G_GINT64_MODIFIER "x",
            h->align, page);
    }
    if (h->align & (h->align - 1)) {
        return err_set(err, "alignment 0x%" G_GINT64_MODIFIER "x must be a power of two", h->align);
    }
    if (h->pmem) {
        return err_set(err, "pmem=on of memory-backend-file is not available in this version");
    }
    return true;
}

static bool file_realize(Obj *o, GError **err)
{
    HostMem *h = (HostMem *)o;
    RamSpec spec = {
        .path = h->path, .align = h->align, .offset = h->offset, .readonly = h->readonly
    };

    return check(h, err) && check_file(h, err) && make(h, &spec, err);
}

static void file_unrealize(Obj *o)
{
    HostMem *h = (HostMem *)o;

    /* The contents are not wanted any more: no write-back. Best effort, as the property says. */
    if (h->discard_data && h->share && !h->readonly) {
        (void)madvise(h->ram->host, h->ram->size, MADV_REMOVE);
    }
}

static bool memfd_realize(Obj *o, GError **err)
{
    HostMem *h = (HostMem *)o;
    RamSpec spec = { .memfd = true, .seal = h->seal };

    if (h->hugetlb) {
        if (h->hugetlbsize & (h->hugetlbsize - 1)) {
            return err_set(err, "Hugepage size must be a power of 2");
        }
        spec.hugetlb = h->hugetlbsize ? h->hugetlbsize : 2 << 20;
    }
    return check(h, err) && make(h, &spec, err);
}

static bool shm_realize(Obj *o, GError **err)
{
    HostMem *h = (HostMem *)o;
    RamSpec spec = { .shm = true };

    if (!h->share) {
        return err_set(err, "can't create shm backend with `share=off`");
    }
    return check(h, err) && make(h, &spec, err);
}

/* memfd and shm are made to be shared. */
static void shared_init(Obj *o)
{
    ((HostMem *)o)->share = true;
}

static void fini(Obj *o)
{
    ram_unref(((HostMem *)o)->ram);
}

HostMem *hostmem_find(const Obj *container, const char *id)
{
    Obj *o = obj_child(container, id);

    return o && obj_is(o, "memory-backend") ? (HostMem *)o : NULL;
}

bool hostmem_take(HostMem *h, RamBlock **ret_ram, GError **err)
{
    if (h->used) {
        return err_set(err, "can't use already busy memdev: %s", h->obj.name);
    }
    if (h->readonly && h->rom != ON_OFF_AUTO_OFF) {
        return err_set(err, "memory backend '%s' is read-only", h->obj.name);
    }
    h->used = true;
    obj_ref(&h->obj);
    *ret_ram = ram_ref(h->ram);
    return true;
}

static void describe(const Obj *o, JsonWriter *w)
{
    const HostMem *h = (const HostMem *)o;

    jw_uint(w, "size", h->size);
    jw_bool(w, "merge", h->merge);
    jw_bool(w, "dump", h->dump);
    jw_bool(w, "prealloc", h->prealloc);
    jw_bool(w, "share", h->share);
    jw_bool(w, "reserve", h->reserve);
    nodes_get(&h->nodes, w, "host-nodes");
    jw_str(w, "policy", policies[h->policy]);
}

static const PropSpec common_rows[] = {
    { .name = "size",
        .type = &prop_size,
        .offset = PROP_AT(HostMem, size, uint64_t),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "Size of the memory region (ex: 500M)" },
    PROP_BOOL("merge", HostMem, merge, true, "Mark memory as mergeable"),
    PROP_BOOL("dump", HostMem, dump, true, "Set to 'off' to exclude from core dump"),
    PROP_BOOL("share", HostMem, share, false, "Mark the memory as private or shared"),
    PROP_BOOL(
        "reserve", HostMem, reserve, true, "Reserve swap space (or huge pages) if applicable"),
    PROP_BOOL("prealloc", HostMem, prealloc, false, "Preallocate memory"),
    PROP_U32("prealloc-threads", HostMem, prealloc_threads, 1, "Number of threads for prealloc"),
    PROP_ENUM("policy", HostMem, policy, prop_policy, MPOL_DEFAULT, "Set the NUMA policy"),
    PROP_ROW("host-nodes", HostMem, nodes, HostNodes, prop_nodes, 0,
        "Binds memory to the list of NUMA host nodes"),
    PROP_BOOL("x-use-canonical-path-for-ramblock-id", HostMem, canonical_id, false,
        "name the memory by the object's path"),
    PROP_END,
};

static const PropSpec file_rows[] = {
    { .name = "mem-path",
        .type = &prop_str,
        .offset = PROP_AT(HostMem, path, char *),
        .bit = -1,
        .flags = PROP_NO_DEFAULT | PROP_REQUIRED,
        .help = "a file, or a folder for an unlinked file" },
    PROP_SIZE("align", HostMem, align, 0, "alignment of the mapping"),
    PROP_SIZE("offset", HostMem, offset, 0, "Offset into the target file (ex: 1G)"),
    PROP_BOOL("discard-data", HostMem, discard_data, false, "drop the contents with the object"),
    PROP_BOOL("pmem", HostMem, pmem, false, "not available"),
    PROP_BOOL("readonly", HostMem, readonly, false, "open the file for reading only"),
    PROP_ON_OFF_AUTO(
        "rom", HostMem, rom, ON_OFF_AUTO_AUTO, "Whether to create Read Only Memory (ROM)"),
    PROP_END,
};

static const PropSpec memfd_rows[] = {
    PROP_BOOL("hugetlb", HostMem, hugetlb, false, "Use huge pages"),
    PROP_SIZE("hugetlbsize", HostMem, hugetlbsize, 0, "Huge pages size (ex: 2M, 1G)"),
    PROP_BOOL("seal", HostMem, seal, true, "Seal growing & shrinking"),
    PROP_END,
};

#define BACKEND(var, suffix, text, init_fn, realize_fn, unrealize_fn, ...)                         \
    const ObjClass memory_backend_##var##_class = {                                                \
        .name = "memory-backend-" suffix,                                                          \
        .parent = "memory-backend",                                                                \
        .help = text,                                                                              \
        .size = sizeof(HostMem),                                                                   \
        .flags = OBJ_USER_OBJECT,                                                                  \
        .props = (const PropGroup[]){ { common_rows, NULL }, __VA_ARGS__{ NULL, NULL } },          \
        .init = init_fn,                                                                           \
        .realize = realize_fn,                                                                     \
        .unrealize = unrealize_fn,                                                                 \
        .fini = fini,                                                                              \
        .describe = describe,                                                                      \
    }

const ObjClass memory_backend_class = {
    .name = "memory-backend",
    .parent = "object",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(HostMem),
};
BACKEND(ram, "ram", "anonymous memory", NULL, ram_realize, NULL, );
BACKEND(
    file, "file", "memory of a file", NULL, file_realize, file_unrealize, { file_rows, NULL }, );
BACKEND(memfd, "memfd", "memory with a descriptor", shared_init, memfd_realize, NULL,
    { memfd_rows, NULL }, );
BACKEND(shm, "shm", "POSIX shared memory", shared_init, shm_realize, NULL, );

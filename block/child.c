/* Nodes below nodes: requests a driver makes of its children, backing files, locks and guards.
 * Tested by test-qcow2. */
#include "block-internal.h"
#include "util/giov.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

/* ---- requests ---- */

/* A read that is not wholly inside the node. */
static int read_over_end(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    uint64_t inside = off < n->size ? n->size - off : 0;
    g_autofree struct iovec *v = NULL;
    GIov all, rest;

    giov_init(&all, iov, niov);
    if (inside >= len) {
        return n->drv->preadv(n, off, iov, niov, len);
    }
    if (!giov_split(&all, inside, &rest) || !giov_fill(&rest, 0, len - inside)) {
        return -EINVAL;
    }
    if (!inside) {
        return 0;
    }
    v = g_new(struct iovec, niov);
    return n->drv->preadv(n, off, v, giov_iovec(&all, v, niov), inside);
}

int blk_node_preadv(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    if (off > n->size || len > n->size - off) {
        return read_over_end(n, off, iov, niov, len);
    }
    return n->drv->preadv(n, off, iov, niov, len);
}

int blk_node_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    uint64_t end;

    if (__builtin_add_overflow(off, len, &end) || end > INT64_MAX) {
        return -EFBIG;
    }
    blk_node_wrote(n, end);
    return n->drv->pwritev(n, off, iov, niov, len, flags);
}

int blk_node_pread(BlkNode *n, uint64_t off, void *buf, size_t len)
{
    struct iovec v = { buf, len };
    return blk_node_preadv(n, off, &v, 1, len);
}

int blk_node_pwrite(BlkNode *n, uint64_t off, const void *buf, size_t len)
{
    struct iovec v = { (void *)(uintptr_t)buf, len };
    return blk_node_pwritev(n, off, &v, 1, len, 0);
}

int blk_node_flush(BlkNode *n)
{
    if (n->cache_no_flush) {
        return 0;
    }
    return n->drv->flush ? n->drv->flush(n) : 0;
}

int blk_node_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    int rc = n->discard_unmap && n->drv->discard ? n->drv->discard(n, off, len) : 0;
    return rc == -ENOTSUP ? 0 : rc;
}

/* Zeroes by plain writes, in bounded pieces. */
int blk_node_zero_by_write(BlkNode *n, uint64_t off, uint64_t len)
{
    enum { PIECE = 1 << 20 };
    g_autofree void *buf = g_malloc0(MIN(len, (uint64_t)PIECE));

    while (len) {
        size_t some = MIN(len, (uint64_t)PIECE);
        int rc = blk_node_pwrite(n, off, buf, some);
        if (rc) {
            return rc;
        }
        off += some;
        len -= some;
    }
    return 0;
}

int blk_node_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int rc = -ENOTSUP;

    if (n->drv->write_zeroes) {
        rc = n->drv->write_zeroes(
            n, off, len, n->discard_unmap ? flags : flags & ~(unsigned)BLK_MAY_UNMAP);
    }
    return rc == -ENOTSUP ? blk_node_zero_by_write(n, off, len) : rc;
}

int blk_node_truncate(BlkNode *n, uint64_t size)
{
    return n->drv->truncate ? n->drv->truncate(n, size) : -ENOTSUP;
}

/* ---- locks and guards ---- */

bool blk_node_lock(BlkNode *n, bool on, bool share_rw, GError **err)
{
    /* What guards holds the locks below it already. */
    for (BlkNode *at = n; at && !at->drv->guards; at = at->file) {
        if (at->drv->lock && !at->drv->lock(at, on, share_rw, err)) {
            return false;
        }
    }
    return true;
}

bool blk_node_guard(BlkNode *n, GError **err)
{
    BlkNode *f = n->file;
    bool ro = n->read_only || f->read_only;

    if (f->guard || (!ro && blk_node_used(f))) {
        return err_set(err,
            "Permission conflict on node '%s': permissions 'write' are both required by %s and "
            "unshared by node '%s' (uses node '%s' as 'file' child).",
            f->name, f->guard ? "another node" : "a block device", n->name, f->name);
    }
    if (!blk_node_lock(f, true, false, err)) {
        return false;
    }
    f->guard = n;
    n->guarding = true;
    return true;
}

void blk_node_unguard(BlkNode *n)
{
    if (n->guarding) {
        blk_node_lock(n->file, false, false, NULL);
        if (n->backing) {
            blk_node_lock(n->backing, false, false, NULL);
        }
        n->file->guard = NULL;
        n->guarding = false;
    }
}

/* ---- formats and backing files ---- */

const char *blk_probe(BlkNode *proto)
{
    uint8_t head[512] = { 0 };

    return blk_node_pread(proto, 0, head, sizeof head) == 0 ? blk_probe_head(head) : NULL;
}

char *blk_protocol_of(const char *file)
{
    size_t n = strcspn(file, ":/");
    return file[n] == ':' && n ? g_strndup(file, n) : NULL;
}

/* An image that lies below another: where its name leads from there. g_free. */
char *blk_backing_path(const BlkNode *n)
{
    const char *name = n->backing_name;

    if (g_str_has_prefix(name, "file:")) {
        name += 5;
    }
    if (g_path_is_absolute(name) || !n->filename) {
        return g_strdup(name);
    }
    const char *slash = strrchr(n->filename, '/');
    return slash ? g_strdup_printf("%.*s%s", (int)(slash + 1 - n->filename), n->filename, name)
                 : g_strdup(name);
}

/* The file node first: its first bytes may have to say which format it is. */
static BlkNode *backing_file(BlkNode *n, GError **err)
{
    g_autofree char *proto = blk_protocol_of(n->backing_name), *path = blk_backing_path(n);
    g_autoptr(Json) args = json_object();

    if (proto && strcmp(proto, "file")) {
        err_set(err, "Unknown protocol '%s'", proto);
        return NULL;
    }
    Json *cache = json_object();
    bool dev = g_str_has_prefix(path, "/dev/") && !g_str_has_prefix(path, "/dev/shm/") &&
               !g_str_has_prefix(path, "/dev/fd");
    json_set(cache, "direct", json_bool(n->file->cache_direct));
    json_set(cache, "no-flush", json_bool(n->file->cache_no_flush));
    json_set(args, "driver", json_str(dev ? "host_device" : "file"));
    json_set(args, "filename", json_str(path));
    json_set(args, "read-only", json_bool(true));
    json_set(args, "force-share", json_bool(n->file->force_share));
    json_set(args, "cache", cache);
    return blk_node_open(args, true, err);
}

/* As the image's header says. QEMU compat: without a format there the first bytes tell it, and
 * nothing warns: nobody writes to a backing file. */
static BlkNode *backing_by_header(BlkNode *n, GError **err)
{
    const char *format = n->backing_format;
    BlkNode *f, *b = NULL;

    if (format && !blk_driver_find(format)) {
        err_set(err, "Unknown driver '%s'", format);
        return NULL;
    }
    f = backing_file(n, err);
    if (!f) {
        return NULL;
    }
    if (!format) {
        format = blk_probe(f);
    }
    g_autoptr(Json) args = json_object();

    json_set(args, "driver", json_str(format ? format : "raw"));
    json_set(args, "file", json_str(f->name));
    json_set(args, "read-only", json_bool(true));
    json_set(args, "force-share", json_bool(n->file->force_share));
    if (!format || blk_driver_find(format)) {
        b = blk_node_open(args, true, err);
    } else {
        err_set(
            err, "'%s' holds an image of format '%s', which is not supported", f->filename, format);
    }
    blk_node_unref(f);
    return b;
}

static BlkNode *backing_by_options(BlkNode *n, const Json *said, GError **err)
{
    g_autoptr(Json) args = json_copy(said);

    if (json_type(args) == JSON_OBJECT) {
        blk_node_inherit(n, args);
    }
    return blk_node_open(args, true, err);
}

static BlkNode *backing_by_name(BlkNode *n, const char *name, GError **err)
{
    BlkNode *b = blk_node_find(name);

    if (!b) {
        err_set(err, "Cannot find device='%s' nor node-name='%s'", name, name);
    } else if (b->guard || (blk_node_used(b) && !b->read_only)) {
        err_set(err,
            "Permission conflict on node '%s': permissions 'write' are both required by another "
            "user and unshared by node '%s' (uses node '%s' as 'backing' child).",
            b->name, n->name, b->name);
        b = NULL;
    } else {
        b->refs++;
    }
    return b;
}

bool blk_node_open_backing(BlkNode *n, const Json *said, GError **err)
{
    const char *name = said && json_type(said) == JSON_STR ? json_get_str(said) : NULL;

    if (name && !*name) {
        report_warning("Use of \"backing\": \"\" is deprecated; use \"backing\": null instead");
        return true;
    }
    if (said ? json_type(said) == JSON_NULL : !n->backing_name) {
        return true;
    }
    n->backing = name   ? backing_by_name(n, name, err)
                 : said ? backing_by_options(n, said, err)
                        : backing_by_header(n, err);
    bool ok = n->backing && blk_node_lock(n->backing, true, false, err);

    if (!ok) {
        if (!said || n->backing || !blk_name_child(err, "backing")) {
            g_prefix_error(err, "Could not open backing file: ");
        }
        blk_node_unref(g_steal_pointer(&n->backing));
    }
    return ok;
}

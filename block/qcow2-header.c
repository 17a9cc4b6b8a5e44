/* qcow2: the header, its extensions and the tables it names (Spec, "Header"); every field is
 * checked before it is used. Tested by test-qcow2. */
#include "qcow2.h"
#include "util/log.h"

#include <inttypes.h>
#include <string.h>

enum { EXT_END = 0, MAX_NAME = 1023 };
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURES       0x6803f857u
#define EXT_BITMAPS        0x23852875u

static uint32_t be32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return GUINT32_FROM_BE(v);
}

static uint64_t be64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return GUINT64_FROM_BE(v);
}

/* What the extensions said. */
typedef struct Q2Ext {
    const uint8_t *features;
    uint32_t nfeatures;
} Q2Ext;

static bool read_extensions(Qcow2 *q, const uint8_t *h, uint64_t end, Q2Ext *ret, GError **err)
{
    for (uint64_t at = q->header_length; at + 8 <= end;) {
        uint32_t type = be32_at(h + at), len = be32_at(h + at + 4);
        const uint8_t *data = h + at + 8;

        if (type == EXT_END) {
            break;
        }
        if (len > end - at - 8) {
            return err_set(err, "Header extension too large");
        }
        if (type == EXT_BACKING_FORMAT) {
            if (len >= 16) {
                return err_set(
                    err, "ERROR: ext_backing_format: len=%" PRIu32 " too large (>=16)", len);
            }
            g_free(q->n->backing_format);
            q->n->backing_format = g_strndup((const char *)data, len);
        } else if (type == EXT_FEATURES) {
            *ret = (Q2Ext){ data, len / 48 };
        } else if (type == EXT_BITMAPS && len >= 4) {
            q->ext_bitmaps = be32_at(data);
        }
        at += 8 + ((uint64_t)len + 7) / 8 * 8;
    }
    return true;
}

/* The image's own name for an incompatible feature, or ours. */
static char *feature_name(const Q2Ext *e, unsigned bit)
{
    static const char *const known[] = {
        [2] = "external data file", [3] = "compression type", [4] = "extended L2 entries"
    };

    for (uint32_t i = 0; i < e->nfeatures; i++) {
        const uint8_t *f = e->features + i * 48;
        if (f[0] == 0 && f[1] == bit) {
            g_autofree char *raw = g_strndup((const char *)f + 2, 46);
            return g_strescape(raw, NULL);
        }
    }
    return bit < G_N_ELEMENTS(known) && known[bit] ? g_strdup(known[bit]) : NULL;
}

static bool check_features(const Qcow2 *q, const Q2Ext *e, unsigned compression, GError **err)
{
    uint64_t left = q->incompat & ~(uint64_t)(Q2_DIRTY | Q2_CORRUPT | Q2_COMPRESSION);
    g_autoptr(GString) names = g_string_new(NULL);

    for (unsigned bit = 0; bit < 64; bit++) {
        g_autofree char *name = left >> bit & 1 ? feature_name(e, bit) : NULL;
        if (name) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
            left &= ~(1ull << bit);
        }
    }
    if (left) {
        g_string_append_printf(
            names, "%sUnknown incompatible feature: %" PRIx64, names->len ? ", " : "", left);
    }
    if (names->len) {
        return err_set(err, "Unsupported qcow2 feature(s): %s", names->str);
    }
    if (!compression != !(q->incompat & Q2_COMPRESSION)) {
        return err_set(err, "qcow2: Compression type incompatible feature bit must %sbe set",
            compression ? "" : "not ");
    }
    if (compression) {
        return err_set(err,
            compression == 1 ? "qcow2: compression type zstd is not supported"
                             : "qcow2: unknown compression type: %u",
            compression);
    }
    return true;
}

static bool check_crypt(uint32_t method, GError **err)
{
    if (method == 1) {
        err_set(err, "Use of AES-CBC encrypted qcow2 images is no longer supported in system "
                     "emulators");
        err_hint(err, "You can use 'qemu-img convert' to convert your image to an alternative "
                      "supported format, such as unencrypted qcow2, or raw with the LUKS format "
                      "instead.");
        return false;
    }
    if (method) {
        return err_set(err,
            method == 2 ? "LUKS encrypted qcow2 images are not supported"
                        : "Unsupported encryption method %" PRIu32,
            method);
    }
    return true;
}

/* The first fields, up to where the header ends. */
static bool read_basics(Qcow2 *q, const uint8_t *h, GError **err)
{
    q->version = be32_at(h + 4);
    q->cluster_bits = be32_at(h + 20);
    if (be32_at(h) != Q2_MAGIC) {
        return err_set(err, "Image is not in qcow2 format");
    }
    if (q->version < 2 || q->version > 3) {
        return err_set(err, "Unsupported qcow2 version %u", q->version);
    }
    if (q->cluster_bits < Q2_MIN_BITS || q->cluster_bits > Q2_MAX_BITS) {
        return err_set(err, "Unsupported cluster size: 2^%u", q->cluster_bits);
    }
    q->cluster = 1ull << q->cluster_bits;
    q->l2_bits = q->cluster_bits - 3;
    q->header_length = q->version < 3 ? 72 : be32_at(h + 100);
    q->refcount_order = q->version < 3 ? 4 : be32_at(h + 96);
    if (q->version >= 3) {
        q->incompat = be64_at(h + 72);
        q->compat = be64_at(h + 80);
        q->autoclear = be64_at(h + 88);
        if (q->header_length < 104) {
            return err_set(err, "qcow2 header too short");
        }
    }
    return q->header_length <= q->cluster || err_set(err, "qcow2 header exceeds cluster size");
}

/* A table's place: aligned, and its end is a number. */
static bool place_ok(const Qcow2 *q, uint64_t off, uint64_t len)
{
    return !(off & (q->cluster - 1)) && off <= INT64_MAX && len <= INT64_MAX - off;
}

static bool read_table(
    Qcow2 *q, uint64_t off, uint64_t n, uint64_t **ret, const char *what, GError **err)
{
    uint64_t *t = g_try_malloc0(MAX(n, 1) * 8);

    *ret = t;
    if (!t) {
        return err_set(err, "Could not allocate %s", what);
    }
    int rc = n ? blk_node_pread(q->file, off, t, n * 8) : 0;

    for (uint64_t i = 0; i < n; i++) {
        t[i] = GUINT64_FROM_BE(t[i]);
    }
    return !rc || err_set(err, "Could not read %s: %s", what, g_strerror(-rc));
}

static bool read_tables(Qcow2 *q, const uint8_t *h, GError **err)
{
    uint64_t size = be64_at(h + 24), per_table = q->cluster << q->l2_bits;
    uint32_t clusters = be32_at(h + 56);

    q->rt_off = be64_at(h + 48);
    q->l1_off = be64_at(h + 40);
    q->l1_size = be32_at(h + 36);
    if (!clusters) {
        return err_set(err, "Image does not contain a reference count table");
    }
    if (clusters > Q2_MAX_REFTABLE >> q->cluster_bits) {
        return err_set(err, "Reference count table too large");
    }
    q->rt_size = (uint32_t)((uint64_t)clusters << q->cluster_bits >> 3);
    if (!place_ok(q, q->rt_off, q->rt_size * 8ull)) {
        return err_set(err, "Reference count table offset invalid");
    }
    if (size > INT64_MAX - q->cluster) {
        return err_set(err, "Could not refresh total sector count: File too large");
    }
    uint64_t need = size / per_table + !!(size % per_table);

    if (need > INT32_MAX / 8) {
        return err_set(err, "Image is too big");
    }
    if (q->l1_size > Q2_MAX_L1 / 8) {
        return err_set(err, "Active L1 table too large");
    }
    if (!place_ok(q, q->l1_off, q->l1_size * 8ull)) {
        return err_set(err, "Active L1 table offset invalid");
    }
    if (q->l1_size < need) {
        return err_set(err, "L1 table is too small");
    }
    q->n->size = (size + 511) & ~511ull;
    return read_table(q, q->rt_off, q->rt_size, &q->rt, "reference count table", err) &&
           read_table(q, q->l1_off, q->l1_size, &q->l1, "L1 table", err);
}

/* Where the snapshots' tables lie: they must stay as they are. Spec, "Snapshots". */
static bool read_snapshots(Qcow2 *q, const uint8_t *h, GError **err)
{
    uint32_t n = be32_at(h + 60);
    uint64_t at = 0;

    q->snap_off = be64_at(h + 64);
    if (!n) {
        return true;
    }
    if (n > Q2_MAX_SNAPSHOTS) {
        return err_set(err, "Snapshot table too large");
    }
    if (!place_ok(q, q->snap_off, Q2_MAX_SNAPSHOT_TABLE)) {
        return err_set(err, "Snapshot table offset invalid");
    }
    q->snaps = g_new0(Q2Snapshot, n);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t e[40];
        int rc = blk_node_pread(q->file, q->snap_off + at, e, sizeof e);

        if (rc) {
            return err_set(err, "Failed to read snapshot table: %s", g_strerror(-rc));
        }
        Q2Snapshot *s = &q->snaps[i];
        s->l1_off = be64_at(e);
        s->l1_size = be32_at(e + 8);
        uint64_t len = 40ull + be32_at(e + 36) + ((unsigned)e[12] << 8 | e[13]) +
                       ((unsigned)e[14] << 8 | e[15]);

        if (s->l1_size > Q2_MAX_L1 / 8 || !place_ok(q, s->l1_off, s->l1_size * 8ull)) {
            return err_set(err, "Snapshot %" PRIu32 " has an invalid L1 table", i);
        }
        at += (len + 7) & ~7ull;
        if (at > Q2_MAX_SNAPSHOT_TABLE) {
            return err_set(err, "Snapshot table too large");
        }
        q->nsnaps = i + 1;
    }
    q->snap_len = at;
    return true;
}

static bool read_backing_name(Qcow2 *q, const uint8_t *h, uint64_t off, GError **err)
{
    uint32_t len = be32_at(h + 16);

    if (!off) {
        return true;
    }
    if (len > MAX_NAME || len > q->cluster - off) {
        return err_set(err, "Backing file name too long");
    }
    q->header_backing = len > 0;
    q->n->backing_name = len ? g_strndup((const char *)h + off, len) : NULL;
    return true;
}

bool q2_read_header(Qcow2 *q, GError **err)
{
    uint8_t first[512] = { 0 };
    int rc = blk_node_pread(q->file, 0, first, sizeof first);
    Q2Ext ext = { 0 };

    if (rc) {
        return err_set(err, "Could not read qcow2 header: %s", g_strerror(-rc));
    }
    if (!read_basics(q, first, err)) {
        return false;
    }
    g_autofree uint8_t *h = g_malloc0(q->cluster + 8);

    rc = blk_node_pread(q->file, 0, h, q->cluster);
    if (rc) {
        return err_set(err, "Could not read qcow2 header: %s", g_strerror(-rc));
    }
    uint64_t backing = be64_at(h + 8);

    if (backing > q->cluster) {
        return err_set(err, "Invalid backing file offset");
    }
    if (!read_extensions(q, h, backing ? backing : q->cluster, &ext, err) ||
        !check_features(q, &ext, q->version >= 3 && q->header_length > 104 ? h[104] : 0, err) ||
        !check_crypt(be32_at(h + 32), err)) {
        return false;
    }
    if (q->refcount_order > 6) {
        return err_set(err, "Reference count entry width too large; may not exceed 64 bits");
    }
    return read_tables(q, h, err) && read_snapshots(q, h, err) &&
           read_backing_name(q, h, backing, err);
}

/* query-block's "image", in the order that QEMU 10.0 has. */
void q2_describe(BlkNode *n, JsonWriter *w)
{
    const Qcow2 *q = n->state;

    jw_uint(w, "cluster-size", q->cluster);
    jw_begin_object(w, "format-specific");
    jw_str(w, "type", "qcow2");
    jw_begin_object(w, "data");
    jw_str(w, "compat", q->version < 3 ? "0.10" : "1.1");
    jw_str(w, "compression-type", "zlib");
    if (q->version >= 3) {
        jw_bool(w, "lazy-refcounts", q->compat & Q2_LAZY);
    }
    jw_int(w, "refcount-bits", 1 << q->refcount_order);
    if (q->version >= 3) {
        jw_bool(w, "corrupt", q->incompat & Q2_CORRUPT);
        jw_bool(w, "extended-l2", false);
    }
    jw_end_object(w);
    jw_end_object(w);
}

/*
 * The firmware's part of etc/table-loader, for direct boot: places the files, adds addresses to
 * pointers, computes the checksums. The script is our own, but it is checked like a stranger's:
 * -fw_cfg may name other files.
 */
#include "hw/i386/acpi.h"
#include "util/err.h"
#include "util/le.h"

#include <string.h>

enum {
    CMD_ALLOCATE = 1,
    CMD_POINTER = 2,
    CMD_CHECKSUM = 3,
    CMD_SIZE = 128,
    NAME_SIZE = 56,
    FILES_MAX = 16
};

typedef struct Placed {
    char name[NAME_SIZE];
    uint8_t *data;
    size_t len;
    uint64_t at;
    bool fseg;
} Placed;

typedef struct Run {
    const AcpiLoader *l;
    Placed file[FILES_MAX];
    unsigned nfiles;
} Run;

static uint32_t get32(const uint8_t *p)
{
    le32 v;

    memcpy(&v, p, sizeof(v));
    return le32_get(v);
}

static Placed *run_find(Run *r, const uint8_t *name, GError **err)
{
    char n[NAME_SIZE];

    memcpy(n, name, sizeof(n));
    n[sizeof(n) - 1] = '\0';
    for (unsigned i = 0; i < r->nfiles; i++) {
        if (!strcmp(r->file[i].name, n)) {
            return &r->file[i];
        }
    }
    err_set(err, "table-loader: file '%s' is not allocated", n);
    return NULL;
}

static bool run_allocate(Run *r, const uint8_t *c, GError **err)
{
    Placed *p = &r->file[r->nfiles];
    uint32_t align = get32(c + NAME_SIZE);
    const void *data;

    if (r->nfiles == FILES_MAX || !align || align & (align - 1)) {
        return err_set(err, "table-loader: bad allocation");
    }
    memcpy(p->name, c, NAME_SIZE);
    p->name[NAME_SIZE - 1] = '\0';
    p->fseg = c[NAME_SIZE + 4] == 2;
    data = r->l->find(r->l->opaque, p->name, &p->len);
    if (!data || !p->len) {
        return err_set(err, "table-loader: no file '%s'", p->name);
    }
    p->at = r->l->place(r->l->opaque, p->name, p->len, align, p->fseg);
    if (!p->at) {
        return err_set(err, "table-loader: no room for '%s' in guest memory", p->name);
    }
    p->data = g_memdup2(data, p->len);
    r->nfiles++;
    return true;
}

static bool run_pointer(Run *r, const uint8_t *c, GError **err)
{
    Placed *dst = run_find(r, c, err);
    Placed *src = dst ? run_find(r, c + NAME_SIZE, err) : NULL;
    uint32_t off = get32(c + 2 * NAME_SIZE);
    uint8_t size = c[2 * NAME_SIZE + 4];
    uint64_t v = 0;

    if (!src) {
        return false;
    }
    if ((size != 1 && size != 2 && size != 4 && size != 8) || off > dst->len ||
        dst->len - off < size) {
        return err_set(err, "table-loader: bad pointer in '%s'", dst->name);
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)dst->data[off + i] << (8 * i);
    }
    v += src->at;
    for (unsigned i = 0; i < size; i++) {
        dst->data[off + i] = (uint8_t)(v >> (8 * i));
    }
    return true;
}

static bool run_checksum(Run *r, const uint8_t *c, GError **err)
{
    Placed *f = run_find(r, c, err);
    uint32_t at = get32(c + NAME_SIZE), start = get32(c + NAME_SIZE + 4),
             len = get32(c + NAME_SIZE + 8);
    uint8_t sum = 0;

    if (!f) {
        return false;
    }
    if (at >= f->len || start > f->len || f->len - start < len) {
        return err_set(err, "table-loader: bad checksum range in '%s'", f->name);
    }
    for (uint32_t i = 0; i < len; i++) {
        sum += f->data[start + i];
    }
    f->data[at] = (uint8_t)(f->data[at] - sum);
    return true;
}

static bool run_command(Run *r, const uint8_t *c, GError **err)
{
    switch (get32(c)) {
    case 0:
        return true; /* padding */
    case CMD_ALLOCATE:
        return run_allocate(r, c + 4, err);
    case CMD_POINTER:
        return run_pointer(r, c + 4, err);
    case CMD_CHECKSUM:
        return run_checksum(r, c + 4, err);
    default:
        return err_set(err, "table-loader: unknown command %u", get32(c));
    }
}

bool acpi_loader_run(
    const AcpiLoader *l, const void *script, size_t len, uint64_t *ret_rsdp, GError **err)
{
    Run r = { .l = l };
    const uint8_t *s = script;
    uint64_t rsdp = 0;
    bool ok = true;

    for (size_t i = 0; ok && i + CMD_SIZE <= len; i += CMD_SIZE) {
        ok = run_command(&r, s + i, err);
    }
    for (unsigned i = 0; i < r.nfiles; i++) {
        Placed *p = &r.file[i];

        if (ok && !l->write(l->opaque, p->at, p->data, p->len)) {
            ok = err_set(err, "table-loader: cannot write '%s' to guest memory", p->name);
        }
        rsdp = p->fseg ? p->at : rsdp;
        g_free(p->data);
    }
    if (ok) {
        *ret_rsdp = rsdp;
    }
    return ok;
}

/*
 * Firmware configuration: a selector (port 0x510), a data port (0x511) and a DMA address (0x514,
 * big-endian). The guest selects a key or a file of the directory and reads its bytes in order.
 * Format: the firmwares' sources and Linux's drivers/firmware/qemu_fw_cfg.c describe it.
 */
#include "hw/core/fw-cfg.h"

#include "memory/ram.h"
#include "util/le.h"
#include "util/log.h"

#include <string.h>

enum {
    KEY_MASK = 0x3fff, /* bits 15 (architecture's own) and 14 (old write channel) are no part of the
                          number */
    KEY_LOCAL = 1 << 15,
    ID_TRADITIONAL = 1 << 0,
    ID_DMA = 1 << 1,
    DMA_ERROR = 1 << 0,
    DMA_READ = 1 << 1,
    DMA_SKIP = 1 << 2,
    DMA_SELECT = 1 << 3,
    DMA_WRITE = 1 << 4,
    NAME_MAX_LEN = 55,
    KEYS_MAX = 0x20, /* below the files, for each of the two number spaces */
};

typedef struct FwCfgItem {
    char *name; /* NULL: a plain key */
    uint8_t *data;
    size_t len;
    bool writable;
    void (*selected)(void *opaque);
    void *opaque;
} FwCfgItem;

struct FwCfg {
    Dev dev;
    Region ctl, dma;
    AddrSpace *mem;
    FwCfgItem keys[2][KEYS_MAX]; /* [1]: the architecture's own */
    GPtrArray *files;            /* FwCfgItem*, sorted by name */
    uint16_t key;
    uint64_t pos;
    uint32_t dma_high;
};

typedef struct FwCfgDirEntry {
    uint32_t size; /* big-endian, all three */
    uint16_t select;
    uint16_t reserved;
    char name[56];
} FwCfgDirEntry;
_Static_assert(sizeof(FwCfgDirEntry) == 64, "fw_cfg file directory entry");

static void fw_item_free(void *p)
{
    FwCfgItem *it = p;

    g_free(it->name);
    g_free(it->data);
    g_free(it);
}

static void fw_item_set(FwCfgItem *it, const void *data, size_t len)
{
    uint8_t *copy = len ? g_memdup2(data, len) : NULL;

    g_free(it->data);
    it->data = copy;
    it->len = len;
}

static FwCfgItem *fw_item(FwCfg *f, uint16_t key)
{
    unsigned n = key & KEY_MASK;

    if (n >= FW_CFG_FILE_FIRST) {
        n -= FW_CFG_FILE_FIRST;
        return !(key & KEY_LOCAL) && n < f->files->len ? g_ptr_array_index(f->files, n) : NULL;
    }
    return &f->keys[key & KEY_LOCAL ? 1 : 0][n];
}

static int fw_file_index(const FwCfg *f, const char *name)
{
    for (unsigned i = 0; i < f->files->len; i++) {
        const FwCfgItem *it = g_ptr_array_index(f->files, i);

        if (!strcmp(it->name, name)) {
            return (int)i;
        }
    }
    return -1;
}

/* The directory follows the files: their numbers are their places in the sorted list. */
static void fw_update_dir(FwCfg *f)
{
    g_autoptr(GByteArray) dir = g_byte_array_new();
    uint32_t count = GUINT32_TO_BE(f->files->len);

    g_byte_array_append(dir, (const uint8_t *)&count, sizeof(count));
    for (unsigned i = 0; i < f->files->len; i++) {
        const FwCfgItem *it = g_ptr_array_index(f->files, i);
        FwCfgDirEntry e = { 0 };

        e.size = GUINT32_TO_BE((uint32_t)it->len);
        e.select = GUINT16_TO_BE((uint16_t)(FW_CFG_FILE_FIRST + i));
        g_strlcpy(e.name, it->name, sizeof(e.name));
        g_byte_array_append(dir, (const uint8_t *)&e, sizeof(e));
    }
    fw_item_set(&f->keys[0][FW_CFG_FILE_DIR], dir->data, dir->len);
}

static void fw_select(FwCfg *f, uint16_t key)
{
    FwCfgItem *it;

    f->key = key;
    f->pos = 0;
    it = fw_item(f, key);
    if (it && it->selected) {
        it->selected(it->opaque);
    }
}

/* Ports. */

static uint64_t fw_ctl_read(void *opaque, uint64_t off, unsigned size)
{
    FwCfg *f = opaque;
    FwCfgItem *it = fw_item(f, f->key);

    if (!it || f->pos >= it->len) {
        return 0;
    }
    return it->data[f->pos++];
}

static void fw_ctl_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    if (off == 0 && size == 2) {
        fw_select(opaque, (uint16_t)val);
    }
}

/* Copies between guest RAM and a file, page by page; anything that is not RAM is an error. */
static bool fw_dma_copy(FwCfg *f, uint64_t gpa, uint8_t *data, uint64_t len, bool to_guest)
{
    while (len) {
        uint64_t n = MIN(len, 4096 - (gpa & 4095));
        RamBlock *block;
        uint8_t *host = addrspace_host(f->mem, gpa, n, to_guest, &block);

        if (!host) {
            return false;
        }
        if (!to_guest) {
            memcpy(data, host, n);
        } else {
            if (data) {
                memcpy(host, data, n);
            } else {
                memset(host, 0, n);
            }
            ram_written(block, (uint64_t)(host - block->host), n);
        }
        data = data ? data + n : NULL;
        gpa += n;
        len -= n;
    }
    return true;
}

static uint32_t fw_dma_run(FwCfg *f, uint32_t control, uint32_t len, uint64_t gpa)
{
    FwCfgItem *it;
    uint64_t have;
    bool ok = true;

    if (control & DMA_SELECT) {
        fw_select(f, (uint16_t)(control >> 16));
    }
    it = fw_item(f, f->key);
    have = it && f->pos < it->len ? MIN((uint64_t)len, it->len - f->pos) : 0;
    if (control & DMA_READ) {
        ok = fw_dma_copy(f, gpa, have ? it->data + f->pos : NULL, have, true) &&
             fw_dma_copy(f, gpa + have, NULL, len - have, true); /* past the end reads zero */
    } else if (control & DMA_WRITE) {
        ok =
            it && it->writable && have == len && fw_dma_copy(f, gpa, it->data + f->pos, len, false);
    } else if (!(control & DMA_SKIP)) {
        return 0;
    }
    f->pos += have;
    return ok ? 0 : DMA_ERROR;
}

static void fw_dma_start(FwCfg *f, uint64_t at)
{
    struct {
        uint32_t control, length;
        uint64_t address;
    } d;
    uint32_t control;

    f->dma_high = 0;
    if (!fw_dma_copy(f, at, (uint8_t *)&d, sizeof(d), false)) {
        control = GUINT32_TO_BE(DMA_ERROR);
        fw_dma_copy(f, at, (uint8_t *)&control, sizeof(control), true);
        log_guest_error("fw_cfg: DMA descriptor at 0x%" G_GINT64_MODIFIER "x is not in RAM", at);
        return;
    }
    control = fw_dma_run(
        f, GUINT32_FROM_BE(d.control), GUINT32_FROM_BE(d.length), GUINT64_FROM_BE(d.address));
    control = GUINT32_TO_BE(control);
    fw_dma_copy(f, at, (uint8_t *)&control, sizeof(control), true);
}

static uint64_t fw_dma_read(void *opaque, uint64_t off, unsigned size)
{
    static const uint8_t signature[8] = { 'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G' };
    uint64_t v = 0;

    for (unsigned i = 0; i < size && off + i < sizeof(signature); i++) {
        v |= (uint64_t)signature[off + i] << (8 * i);
    }
    return v;
}

static void fw_dma_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    FwCfg *f = opaque;

    if (size == 4 && off == 0) {
        f->dma_high = GUINT32_SWAP_LE_BE((uint32_t)val);
    } else if (size == 4 && off == 4) {
        fw_dma_start(f, (uint64_t)f->dma_high << 32 | GUINT32_SWAP_LE_BE((uint32_t)val));
    } else if (size == 8 && off == 0) {
        fw_dma_start(f, GUINT64_SWAP_LE_BE(val));
    }
}

static const RegionOps fw_ctl_ops = {
    .read = fw_ctl_read,
    .write = fw_ctl_write,
    .max_access = 2,
    .unaligned = true,
};
static const RegionOps fw_dma_ops = {
    .read = fw_dma_read,
    .write = fw_dma_write,
    .unaligned = true,
};

/* Filling it. */

FwCfg *fw_cfg_new(Obj *tree, Region *io, AddrSpace *mem, GError **err)
{
    FwCfg *f = (FwCfg *)obj_new(&fw_cfg_class);

    f->mem = mem;
    region_init_io(&f->ctl, &f->dev.obj, "fwcfg", &fw_ctl_ops, f, 2);
    region_init_io(&f->dma, &f->dev.obj, "fwcfg.dma", &fw_dma_ops, f, 8);
    obj_add(tree, "fw_cfg", &f->dev.obj);
    obj_unref(&f->dev.obj);
    if (!obj_realize(&f->dev.obj, err)) {
        return NULL;
    }
    region_map(io, 0x510, &f->ctl, 0);
    region_map(io, 0x514, &f->dma, 0);
    fw_cfg_add_bytes(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add_u32(f, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    fw_update_dir(f);
    return f;
}

void fw_cfg_add_bytes(FwCfg *f, uint16_t key, const void *data, size_t len)
{
    g_assert((key & KEY_MASK) < KEYS_MAX);
    fw_item_set(fw_item(f, key), data, len);
}

void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t v)
{
    le16 x = le16_of(v);

    fw_cfg_add_bytes(f, key, &x, sizeof(x));
}

void fw_cfg_add_u32(FwCfg *f, uint16_t key, uint32_t v)
{
    le32 x = le32_of(v);

    fw_cfg_add_bytes(f, key, &x, sizeof(x));
}

void fw_cfg_add_u64(FwCfg *f, uint16_t key, uint64_t v)
{
    le64 x = le64_of(v);

    fw_cfg_add_bytes(f, key, &x, sizeof(x));
}

static FwCfgItem *fw_insert(FwCfg *f, const char *name, const void *data, size_t len)
{
    FwCfgItem *it = g_new0(FwCfgItem, 1);
    unsigned at = 0;

    it->name = g_strdup(name);
    fw_item_set(it, data, len);
    while (at < f->files->len &&
           strcmp(((FwCfgItem *)g_ptr_array_index(f->files, at))->name, name) < 0) {
        at++;
    }
    g_ptr_array_insert(f->files, (int)at, it);
    fw_update_dir(f);
    return it;
}

bool fw_cfg_add_file(FwCfg *f, const char *name, const void *data, size_t len, GError **err)
{
    if (strlen(name) > NAME_MAX_LEN) {
        return err_set(err, "name too long (max. %d char)", NAME_MAX_LEN);
    }
    if (len > UINT32_MAX) {
        return err_set(err, "fw_cfg file '%s' is larger than 4 GiB", name);
    }
    if (fw_file_index(f, name) >= 0) {
        return err_set(err, "duplicate fw_cfg file name: %s", name);
    }
    fw_insert(f, name, data, len);
    return true;
}

void fw_cfg_add_file_live(FwCfg *f, const char *name, const void *data, size_t len,
    void (*selected)(void *opaque), void *opaque, bool writable)
{
    FwCfgItem *it;

    g_assert(fw_file_index(f, name) < 0 && strlen(name) <= NAME_MAX_LEN);
    it = fw_insert(f, name, data, len);
    it->selected = selected;
    it->opaque = opaque;
    it->writable = writable;
}

bool fw_cfg_set_file(FwCfg *f, const char *name, const void *data, size_t len)
{
    int i = fw_file_index(f, name);

    if (i < 0) {
        return false;
    }
    fw_item_set(g_ptr_array_index(f->files, i), data, len);
    fw_update_dir(f);
    return true;
}

const void *fw_cfg_file(const FwCfg *f, const char *name, size_t *ret_len)
{
    int i = fw_file_index(f, name);
    const FwCfgItem *it = i < 0 ? NULL : g_ptr_array_index(f->files, i);

    if (ret_len) {
        *ret_len = it ? it->len : 0;
    }
    return it ? it->data : NULL;
}

bool fw_cfg_add_user(FwCfg *f, const Json *entry, GError **err)
{
    const char *name = json_get_str_or(entry, "name", "");
    const char *string = json_get_str_or(entry, "string", NULL);
    const char *file = json_get_str_or(entry, "file", NULL);
    g_autofree char *data = NULL;
    g_autoptr(GError) why = NULL;
    size_t len;

    if (!*name || (string != NULL) == (file != NULL)) {
        return err_set(err, "name, plus exactly one of file, string and gen_id, are needed");
    }
    if (strlen(name) > NAME_MAX_LEN) {
        return err_set(err, "name too long (max. %d char)", NAME_MAX_LEN);
    }
    if (!g_str_has_prefix(name, "opt/")) {
        report_warning("externally provided fw_cfg item names should be prefixed with \"opt/\"");
    }
    if (string) {
        return fw_cfg_add_file(
            f, name, string, strlen(string), err); /* without the terminating zero */
    }
    if (!g_file_get_contents(file, &data, &len, &why)) {
        return err_set(err, "can't load %s: %s", file, why->message);
    }
    return fw_cfg_add_file(f, name, data, len, err);
}

void fw_cfg_each(const FwCfg *f,
    void (*fn)(void *opaque, const char *name, uint16_t key, size_t len), void *opaque)
{
    for (unsigned i = 0; i < f->files->len; i++) {
        const FwCfgItem *it = g_ptr_array_index(f->files, i);

        fn(opaque, it->name, (uint16_t)(FW_CFG_FILE_FIRST + i), it->len);
    }
}

/* The class. */

static void fw_cfg_init(Obj *o)
{
    ((FwCfg *)o)->files = g_ptr_array_new_with_free_func(fw_item_free);
}

static void fw_cfg_unrealize(Obj *o)
{
    FwCfg *f = (FwCfg *)o;

    if (region_is_mapped(&f->ctl)) {
        region_unmap(&f->ctl);
        region_unmap(&f->dma);
    }
}

static void fw_cfg_fini(Obj *o)
{
    FwCfg *f = (FwCfg *)o;

    region_fini(&f->ctl);
    region_fini(&f->dma);
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        g_free(f->keys[0][i].data);
        g_free(f->keys[1][i].data);
    }
    g_ptr_array_unref(f->files);
}

static void fw_cfg_reset(Obj *o)
{
    FwCfg *f = (FwCfg *)o;

    f->dma_high = 0;
    fw_select(f, FW_CFG_SIGNATURE);
}

const ObjClass fw_cfg_class = {
    .name = "fw_cfg_io",
    .parent = "fw_cfg",
    .size = sizeof(FwCfg),
    .flags = OBJ_DEVICE | OBJ_NOT_USER,
    .init = fw_cfg_init,
    .unrealize = fw_cfg_unrealize,
    .fini = fw_cfg_fini,
    .reset = fw_cfg_reset,
};

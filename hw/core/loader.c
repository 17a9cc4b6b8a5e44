/* ROM images and the kinds of kernel file. bzImage: Linux, Documentation/arch/x86/boot.rst. Test:
 * tests/unit/test-loader.c */
#include "hw/core/loader.h"

#include "util/le.h"

#include <errno.h>
#include <string.h>

struct RomEntry {
    char *name;
    uint64_t gpa;
    uint8_t *data;
    size_t len;
};

static void rom_free(void *p)
{
    RomEntry *r = p;

    g_free(r->name);
    g_free(r->data);
    g_free(r);
}

void rom_add_bytes(Machine *m, const char *name, uint64_t gpa, const void *data, size_t len)
{
    RomEntry *r = g_new0(RomEntry, 1);

    *r = (RomEntry){ g_strdup(name), gpa, g_memdup2(data, len), len };
    if (!m->roms) {
        m->roms = g_ptr_array_new_with_free_func(rom_free);
    }
    g_ptr_array_add(m->roms, r);
}

void rom_reset_all(Machine *m)
{
    for (unsigned i = 0; m->roms && i < m->roms->len; i++) {
        const RomEntry *r = g_ptr_array_index(m->roms, i);

        addrspace_write_rom(m->mem, r->gpa, r->data, r->len);
    }
}

/* bzImage. */

enum {
    SETUP_SECTS = 0x1f1,
    BOOT_FLAG = 0x1fe,
    HEADER_JUMP = 0x201,
    HEADER_MAGIC = 0x202,
    VERSION = 0x206,
    LOADFLAGS = 0x211,
    CODE32_START = 0x214,
    INITRD_ADDR_MAX = 0x22c,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    INIT_SIZE = 0x260,
    PREF_ADDRESS = 0x258,
    HEADER_END_MAX = 0x290,
    LOADED_HIGH = 1 << 0,
    BZIMAGE_AT = 0x100000,
};

static uint16_t get16(const uint8_t *p)
{
    le16 v;

    memcpy(&v, p, sizeof(v));
    return le16_get(v);
}

static uint32_t get32(const uint8_t *p)
{
    le32 v;

    memcpy(&v, p, sizeof(v));
    return le32_get(v);
}

static uint64_t get64(const uint8_t *p)
{
    le64 v;

    memcpy(&v, p, sizeof(v));
    return le64_get(v);
}

static bool bzimage_is(const KernelImage *k)
{
    return k->len >= HEADER_END_MAX && get16(k->data + BOOT_FLAG) == 0xaa55 &&
           !memcmp(k->data + HEADER_MAGIC, "HdrS", 4);
}

static bool bzimage_parse(KernelImage *k, GError **err)
{
    const uint8_t *d = k->data;
    uint64_t setup = ((uint64_t)(d[SETUP_SECTS] ? d[SETUP_SECTS] : 4) + 1) * 512;
    LoadSegment seg = { .gpa = BZIMAGE_AT, .off = setup };

    k->protocol = get16(d + VERSION);
    if (k->protocol < 0x202 || !(d[LOADFLAGS] & LOADED_HIGH)) {
        return err_set(err,
            "kernel's boot protocol %u.%02u is too old: a bzImage of 2.02 or later is needed",
            k->protocol >> 8, k->protocol & 0xff);
    }
    if (!get32(d + CODE32_START)) { /* iPXE's ipxe.lkrn */
        return err_set(err, "kernel has no 32-bit entry point: its real-mode code needs a BIOS, "
                            "which loads no kernel here");
    }
    if (setup >= k->len) {
        return err_set(err, "kernel file is truncated: setup code of %u bytes in a file of %zu",
            (unsigned)setup, k->len);
    }
    seg.filesz = seg.memsz = k->len - setup;
    g_array_append_val(k->segs, seg);
    k->kind = KERNEL_BZIMAGE;
    k->header_len = MIN(HEADER_MAGIC + d[HEADER_JUMP], HEADER_END_MAX) - SETUP_SECTS;
    k->initrd_max = k->protocol >= 0x203 ? get32(d + INITRD_ADDR_MAX) : 0x37ffffff;
    k->cmdline_max = k->protocol >= 0x206 ? get32(d + CMDLINE_SIZE) : 255;
    k->xloadflags = k->protocol >= 0x20c ? get16(d + XLOADFLAGS) : 0;
    k->low = k->entry = BZIMAGE_AT;
    k->high = k->span_end = BZIMAGE_AT + seg.memsz;
    if (k->protocol >= 0x20a) { /* it moves to its preferred address and needs init_size there */
        uint64_t pref = get64(d + PREF_ADDRESS), end;

        if (__builtin_add_overflow(MAX(pref, (uint64_t)BZIMAGE_AT), get32(d + INIT_SIZE), &end)) {
            return err_set(err, "invalid kernel header");
        }
        k->span_end = MAX(k->span_end, end);
    }
    return true;
}

bool kernel_image_parse(KernelImage *k, GError **err)
{
    bool ok, is_multiboot = false;

    k->segs = g_array_new(FALSE, FALSE, sizeof(LoadSegment));
    if (bzimage_is(k)) {
        ok = bzimage_parse(k, err);
    } else if (!multiboot_parse(k, &is_multiboot, err)) {
        ok = false;
    } else if (is_multiboot) {
        ok = true;
    } else if (elf_is(k->data, k->len)) {
        ok = elf_parse(k, true, err);
    } else {
        ok = err_set(err, "invalid kernel header");
    }
    if (!ok) {
        g_clear_pointer(&k->segs, g_array_unref);
    }
    return ok;
}

bool kernel_image_open(const char *path, KernelImage *ret, GError **err)
{
    g_autoptr(GError) why = NULL;

    memset(ret, 0, sizeof(*ret));
    ret->file = g_mapped_file_new(path, FALSE, &why);
    if (!ret->file) {
        int saved = g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT)   ? ENOENT
                    : g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_ACCES) ? EACCES
                    : g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_ISDIR) ? EISDIR
                                                                             : 0;

        return err_set(err, "could not open kernel file '%s': %s", path,
            saved ? g_strerror(saved) : why->message);
    }
    ret->data = (const uint8_t *)g_mapped_file_get_contents(ret->file);
    ret->len = g_mapped_file_get_length(ret->file);
    if (!kernel_image_parse(ret, err)) {
        g_clear_pointer(&ret->file, g_mapped_file_unref);
        return false;
    }
    return true;
}

void kernel_image_close(KernelImage *k)
{
    g_clear_pointer(&k->segs, g_array_unref);
    g_clear_pointer(&k->file, g_mapped_file_unref);
}

bool kernel_image_place(const KernelImage *k, AddrSpace *mem, GError **err)
{
    for (unsigned i = 0; i < k->segs->len; i++) {
        const LoadSegment *s = &g_array_index(k->segs, LoadSegment, i);

        if (!addrspace_write(mem, s->gpa, k->data + s->off, s->filesz) ||
            (s->memsz > s->filesz &&
                !addrspace_fill(mem, s->gpa + s->filesz, 0, s->memsz - s->filesz))) {
            return err_set(err,
                "kernel does not fit into guest memory: 0x%" G_GINT64_MODIFIER
                "x bytes at 0x%" G_GINT64_MODIFIER "x",
                s->memsz, s->gpa);
        }
    }
    return true;
}

/* Multiboot 1 kernels (Multiboot Specification 0.6.96, 3.1): ELF or with the addresses in the
 * header. */
#include "hw/core/loader.h"
#include "util/le.h"

#include <string.h>

enum {
    MB_MAGIC = 0x1badb002,
    MB_SEARCH = 8192,
    MB_VIDEO = 1 << 2,
    MB_ADDRESSES = 1 << 16,
    MB_REQUIRED = 0xffff,
    MB_KNOWN = 0x7
};

static uint32_t get32(const uint8_t *p)
{
    le32 v;

    memcpy(&v, p, sizeof(v));
    return le32_get(v);
}

static bool find_header(const KernelImage *k, size_t *ret_at)
{
    for (size_t at = 0; at + 12 <= MIN(k->len, MB_SEARCH); at += 4) {
        const uint8_t *p = k->data + at;

        if (get32(p) == MB_MAGIC && get32(p) + get32(p + 4) + get32(p + 8) == 0) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

/* 3.1.3: load_addr 0 to load_end_addr from the file, then bss. */
static bool parse_addresses(KernelImage *k, size_t at, GError **err)
{
    uint32_t header, load, load_end, bss_end, entry;
    uint64_t off;
    LoadSegment s;

    if (k->len - at < 32) {
        return err_set(err, "kernel's multiboot header is truncated");
    }
    header = get32(k->data + at + 12);
    load = get32(k->data + at + 16);
    load_end = get32(k->data + at + 20);
    bss_end = get32(k->data + at + 24);
    entry = get32(k->data + at + 28);
    if (header < load || header - load > at) {
        return err_set(err, "invalid load_addr address");
    }
    off = at - (header - load);
    if (load_end && load_end < load) {
        return err_set(err, "invalid load_end_addr address");
    }
    s.filesz = load_end ? load_end - load : k->len - off;
    if (s.filesz > k->len - off) {
        return err_set(err, "kernel file is truncated: its multiboot header asks for more");
    }
    if (bss_end && bss_end < load + s.filesz) {
        return err_set(err, "invalid bss_end_addr address");
    }
    s.gpa = load;
    s.off = off;
    s.memsz = bss_end ? bss_end - load : s.filesz;
    if (entry < load || entry >= load + s.memsz) {
        return err_set(err, "invalid entry_addr address");
    }
    g_array_append_val(k->segs, s);
    k->kind = KERNEL_MULTIBOOT;
    k->low = load;
    k->high = k->span_end = load + s.memsz;
    k->entry = entry;
    k->initrd_max = UINT32_MAX;
    k->cmdline_max = 4095;
    return true;
}

bool multiboot_parse(KernelImage *k, bool *ret_is, GError **err)
{
    size_t at;

    *ret_is = find_header(k, &at);
    if (!*ret_is) {
        return true;
    }
    k->multiboot_flags = get32(k->data + at + 4);
    if (k->multiboot_flags & MB_REQUIRED & ~(uint32_t)MB_KNOWN) {
        return err_set(err, "multiboot kernel needs features 0x%x that are not supported",
            k->multiboot_flags & MB_REQUIRED & ~(uint32_t)MB_KNOWN);
    }
    if (k->multiboot_flags & MB_ADDRESSES) {
        return parse_addresses(k, at, err);
    }
    if (!elf_is(k->data, k->len)) {
        return err_set(err, "multiboot kernel is no ELF file and names no addresses");
    }
    return elf_parse(k, false, err);
}

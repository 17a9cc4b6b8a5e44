/* ELF kernels (System V ABI, chapter 4 and 5): segments by physical address, and the PVH entry
 * point's note (Xen, pvh.pandoc). */
#include "hw/core/loader.h"

#include <elf.h>
#include <string.h>

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18, SEGMENTS_MAX = 64 };

bool elf_is(const uint8_t *data, size_t len)
{
    return len >= sizeof(Elf32_Ehdr) && !memcmp(data, ELFMAG, SELFMAG);
}

/* The fields of both classes. */
typedef struct Phdr {
    uint32_t type;
    uint64_t off, paddr, filesz, memsz, align;
} Phdr;

typedef struct Ehdr {
    bool is64;
    uint64_t entry, phoff;
    unsigned phentsize, phnum;
} Ehdr;

static bool read_ehdr(const KernelImage *k, Ehdr *ret, GError **err)
{
    const uint8_t *id = k->data;

    if (id[EI_DATA] != ELFDATA2LSB || (id[EI_CLASS] != ELFCLASS32 && id[EI_CLASS] != ELFCLASS64)) {
        return err_set(err, "kernel is an ELF file of another architecture");
    }
    ret->is64 = id[EI_CLASS] == ELFCLASS64;
    if (ret->is64) {
        Elf64_Ehdr h;

        if (k->len < sizeof(h)) {
            return err_set(err, "kernel's ELF header is truncated");
        }
        memcpy(&h, k->data, sizeof(h));
        if (h.e_machine != EM_X86_64) {
            return err_set(err, "kernel is an ELF file of another architecture");
        }
        *ret = (Ehdr){ true, h.e_entry, h.e_phoff, h.e_phentsize, h.e_phnum };
    } else {
        Elf32_Ehdr h;

        memcpy(&h, k->data, sizeof(h));
        if (h.e_machine != EM_386) {
            return err_set(err, "kernel is an ELF file of another architecture");
        }
        *ret = (Ehdr){ false, h.e_entry, h.e_phoff, h.e_phentsize, h.e_phnum };
    }
    if (ret->phentsize != (ret->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !ret->phnum ||
        ret->phnum > SEGMENTS_MAX || ret->phoff > k->len ||
        k->len - ret->phoff < (uint64_t)ret->phnum * ret->phentsize) {
        return err_set(err, "kernel's ELF program headers are corrupt");
    }
    return true;
}

static bool read_phdr(const KernelImage *k, const Ehdr *e, unsigned i, Phdr *ret, GError **err)
{
    const uint8_t *p = k->data + e->phoff + (uint64_t)i * e->phentsize;

    if (e->is64) {
        Elf64_Phdr h;

        memcpy(&h, p, sizeof(h));
        *ret = (Phdr){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_align };
    } else {
        Elf32_Phdr h;

        memcpy(&h, p, sizeof(h));
        *ret = (Phdr){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_align };
    }
    if (ret->type != PT_LOAD && ret->type != PT_NOTE) {
        return true;
    }
    if (ret->off > k->len || k->len - ret->off < ret->filesz || ret->memsz < ret->filesz ||
        ret->paddr + ret->memsz < ret->paddr) {
        return err_set(err, "kernel's ELF segment %u is corrupt or the file is truncated", i);
    }
    return true;
}

static uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) & ~(to - 1);
}

/* System V ABI, "Note Section": name and descriptor are padded to 4 bytes, or 8 where the segment
 * says so. */
static bool find_pvh_note(const uint8_t *p, uint64_t len, uint64_t align, uint64_t *ret)
{
    uint64_t pad = align == 8 ? 8 : 4;

    while (len >= sizeof(Elf32_Nhdr)) {
        Elf32_Nhdr n;
        uint64_t name_len, desc_len, used;

        memcpy(&n, p, sizeof(n));
        name_len = align_up(sizeof(n) + (uint64_t)n.n_namesz, pad);
        desc_len = n.n_descsz;
        used = align_up(name_len + desc_len, pad);
        if (name_len + desc_len > len) {
            return false;
        }
        if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
            !memcmp(p + sizeof(n), "Xen", 4) && (n.n_descsz == 4 || n.n_descsz == 8)) {
            *ret = 0;
            memcpy(ret, p + name_len, n.n_descsz); /* both are little-endian: PVH is x86 only */
            return true;
        }
        p += MIN(used, len);
        len -= MIN(used, len);
    }
    return false;
}

bool elf_parse(KernelImage *k, bool want_pvh, GError **err)
{
    Ehdr e = { 0 };
    bool found = false;

    if (!read_ehdr(k, &e, err)) {
        return false;
    }
    if (!want_pvh && e.is64) {
        return err_set(err, "Cannot load x86-64 image, give a 32bit one.");
    }
    k->low = UINT64_MAX;
    k->entry = e.entry;
    for (unsigned i = 0; i < e.phnum; i++) {
        Phdr h;

        if (!read_phdr(k, &e, i, &h, err)) {
            return false;
        }
        if (h.type == PT_LOAD && h.memsz) {
            LoadSegment s = { h.paddr, h.off, h.filesz, h.memsz };

            g_array_append_val(k->segs, s);
            k->low = MIN(k->low, h.paddr);
            k->high = MAX(k->high, h.paddr + h.memsz);
        } else if (h.type == PT_NOTE && want_pvh && !found) {
            found = find_pvh_note(k->data + h.off, h.filesz, h.align, &k->entry);
        }
    }
    if (want_pvh && !found) {
        return err_set(err, "Error loading uncompressed kernel without PVH ELF Note");
    }
    if (!k->segs->len || k->entry < k->low || k->entry >= k->high || k->entry > UINT32_MAX) {
        return err_set(err,
            "kernel's entry point 0x%" G_GINT64_MODIFIER "x lies outside of its segments",
            k->entry);
    }
    k->span_end = k->high;
    k->kind = want_pvh ? KERNEL_PVH : KERNEL_MULTIBOOT;
    k->initrd_max = UINT32_MAX;
    k->cmdline_max = 4095;
    return true;
}

/* PVH start info (Xen, public/arch-x86/hvm/start_info.h) and multiboot information (Multiboot
 * 0.6.96, 3.3). */
#include "hw/i386/boot.h"

#include <string.h>

enum { PVH_MAGIC = 0x336ec578, MULTIBOOT_BOOTED = 0x2badb002 };
enum {
    MBI_MEMORY = 1 << 0,
    MBI_CMDLINE = 1 << 2,
    MBI_MODS = 1 << 3,
    MBI_MMAP = 1 << 6,
    MBI_LOADER = 1 << 9
};
enum { LIST_MAX = BOOT_CMDLINE - BOOT_LISTS, MBI_SIZE = 120 };

bool boot_pvh(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err)
{
    uint8_t info[56] = { 0 }, list[LIST_MAX] = { 0 };
    unsigned nmods = b->modules->len;
    uint64_t map = BOOT_LISTS + 32;

    if (!boot_place_modules(pc, b, UINT32_MAX, err)) {
        return false;
    }
    if (nmods) {
        const BootModule *m = &g_array_index(b->modules, BootModule, 0);

        put_le(list, m->at, 8);
        put_le(list + 8, m->len, 8);
    }
    for (unsigned i = 0; i < b->ne820; i++) {
        uint8_t *p = list + 32 + (size_t)i * 24;

        put_le(p, b->e820[i].at, 8);
        put_le(p + 8, b->e820[i].size, 8);
        put_le(p + 16, b->e820[i].type, 4);
    }
    put_le(info, PVH_MAGIC, 4);
    put_le(info + 4, 1, 4);
    put_le(info + 12, nmods, 4);
    put_le(info + 16, nmods ? BOOT_LISTS : 0, 8);
    put_le(info + 24, BOOT_CMDLINE, 8);
    put_le(info + 32, b->rsdp, 8);
    put_le(info + 40, map, 8);
    put_le(info + 48, b->ne820, 4);
    ret->entry = b->kernel.entry;
    ret->info = BOOT_INFO;
    return boot_write(pc, BOOT_INFO, info, sizeof(info), err) &&
           boot_write(pc, BOOT_LISTS, list, 32 + (size_t)b->ne820 * 24, err);
}

/* Texts go behind the command line; the kernel's own name comes first in its text: 3.3, "cmdline".
 */
static bool put_text(
    PcMachine *pc, uint64_t *at, const char *first, const char *rest, uint64_t *ret, GError **err)
{
    g_autofree char *text = *rest ? g_strdup_printf("%s %s", first, rest) : g_strdup(first);

    if (strlen(text) + 1 > BOOT_CMDLINE_END - *at) {
        return err_set(err, "kernel command line and module texts are too long");
    }
    *ret = *at;
    *at += strlen(text) + 1;
    return boot_write_string(pc, *ret, text, err);
}

bool boot_multiboot(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err)
{
    uint8_t info[MBI_SIZE] = { 0 }, list[LIST_MAX] = { 0 };
    unsigned nmods = b->modules->len;
    uint64_t text = BOOT_CMDLINE, cmdline, loader;
    size_t map = (size_t)nmods * 16;

    if (map + (size_t)b->ne820 * 24 > sizeof(list)) {
        return err_set(err, "too many multiboot modules: %u", nmods);
    }
    if (!boot_place_modules(pc, b, UINT32_MAX, err) ||
        !put_text(pc, &text, pc->m.kernel, b->cmdline, &cmdline, err) ||
        !put_text(pc, &text, "qemu", "", &loader, err)) {
        return false;
    }
    for (unsigned i = 0; i < nmods; i++) {
        const BootModule *m = &g_array_index(b->modules, BootModule, i);
        uint64_t string;

        if (!put_text(pc, &text, m->text ? m->text : "", "", &string, err)) {
            return false;
        }
        put_le(list + (size_t)i * 16, m->at, 4);
        put_le(list + (size_t)i * 16 + 4, m->at + m->len, 4);
        put_le(list + (size_t)i * 16 + 8, string, 4);
    }
    for (unsigned i = 0; i < b->ne820; i++) {
        uint8_t *p = list + map + (size_t)i * 24;

        put_le(p, 20, 4);
        put_le(p + 4, b->e820[i].at, 8);
        put_le(p + 12, b->e820[i].size, 8);
        put_le(p + 20, b->e820[i].type, 4);
    }
    put_le(info, MBI_MEMORY | MBI_CMDLINE | MBI_MODS | MBI_MMAP | MBI_LOADER, 4);
    put_le(info + 4, BOOT_LOW_END >> 10, 4);
    put_le(info + 8, (b->ram_top - (1 << 20)) >> 10, 4);
    put_le(info + 16, cmdline, 4);
    put_le(info + 20, nmods, 4);
    put_le(info + 24, BOOT_LISTS, 4);
    put_le(info + 44, (uint64_t)b->ne820 * 24, 4);
    put_le(info + 48, BOOT_LISTS + map, 4);
    put_le(info + 64, loader, 4);
    ret->entry = b->kernel.entry;
    ret->info = BOOT_INFO;
    ret->magic = MULTIBOOT_BOOTED;
    return boot_write(pc, BOOT_INFO, info, sizeof(info), err) &&
           boot_write(pc, BOOT_LISTS, list, map + (size_t)b->ne820 * 24, err);
}

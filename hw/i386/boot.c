/* Direct boot of -kernel: reads the files once, and after each reset does the firmware's work and
 * sets the boot CPU's state. */
#include "hw/i386/boot.h"

#include <string.h>

void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

bool boot_write(PcMachine *pc, uint64_t at, const void *data, size_t len, GError **err)
{
    if (len && !addrspace_write(pc->m.mem, at, data, len)) {
        return err_set(err,
            "not enough guest memory: 0x%zx bytes do not fit at 0x%" G_GINT64_MODIFIER "x", len,
            at);
    }
    return true;
}

bool boot_write_string(PcMachine *pc, uint64_t at, const char *text, GError **err)
{
    return boot_write(pc, at, text, strlen(text) + 1, err);
}

bool boot_place_modules(PcMachine *pc, struct DirectBoot *b, uint64_t limit, GError **err)
{
    uint64_t top = MIN(limit, b->ram_top) & ~UINT64_C(4095);

    for (unsigned i = 0; i < b->modules->len; i++) {
        BootModule *m = &g_array_index(b->modules, BootModule, i);

        if (m->len > top || ((top - m->len) & ~UINT64_C(4095)) < b->kernel.span_end) {
            return err_set(err,
                "initrd is too large: 0x%" G_GINT64_MODIFIER
                "x bytes do not fit between the kernel and 0x%" G_GINT64_MODIFIER "x",
                m->len, top);
        }
        m->at = (top - m->len) & ~UINT64_C(4095);
        if (!boot_write(pc, m->at, g_mapped_file_get_contents(m->file), m->len, err)) {
            return false;
        }
        top = m->at;
    }
    return true;
}

/* Reading the files. */

static bool add_module(struct DirectBoot *b, const char *path, const char *text, GError **err)
{
    BootModule m = { 0 };
    g_autoptr(GError) why = NULL;

    m.file = g_mapped_file_new(path, FALSE, &why);
    if (!m.file) {
        return err_set(err, "could not load initrd '%s': %s", path, why->message);
    }
    m.len = g_mapped_file_get_length(m.file);
    m.text = g_strdup(text);
    g_array_append_val(b->modules, m);
    return true;
}

/* Multiboot: "file1 args,file2 args"; ",," is a comma in a name. */
static bool add_module_list(struct DirectBoot *b, const char *list, GError **err)
{
    GString *one = g_string_new(NULL);
    bool ok = true;

    for (const char *p = list; ok; p++) {
        if (*p && (*p != ',' || p[1] == ',')) {
            g_string_append_c(one, *p);
            p += *p == ',';
            continue;
        }
        g_autofree char *path = g_strndup(one->str, strcspn(one->str, " "));

        ok = !*path || add_module(b, path, one->str, err);
        g_string_truncate(one, 0);
        if (!*p) {
            break;
        }
    }
    g_string_free(one, TRUE);
    return ok;
}

static void boot_free(struct DirectBoot *b)
{
    kernel_image_close(&b->kernel);
    for (unsigned i = 0; i < b->modules->len; i++) {
        g_mapped_file_unref(g_array_index(b->modules, BootModule, i).file);
        g_free(g_array_index(b->modules, BootModule, i).text);
    }
    g_array_unref(b->modules);
    g_clear_pointer(&b->dtb, g_mapped_file_unref);
    g_free(b->cmdline);
    g_free(b);
}

static bool check_files(PcMachine *pc, const struct DirectBoot *b, GError **err)
{
    size_t max = MIN(b->kernel.cmdline_max, BOOT_CMDLINE_END - BOOT_CMDLINE - 1);

    if (pc->m.dtb && !pc->board->takes_dtb) {
        return err_set(err, "-dtb is not supported by this machine");
    }
    if (strlen(b->cmdline) > max) {
        return err_set(err, "kernel command line is too long: %zu bytes, the kernel takes %zu",
            strlen(b->cmdline), max);
    }
    if (b->kernel.span_end > pc->below_4g ||
        (b->kernel.low < 1 << 20 && b->kernel.high > BOOT_LOW_END) ||
        (b->kernel.low < BOOT_CMDLINE_END)) {
        return err_set(err,
            "kernel does not fit into guest memory: it needs 0x%" G_GINT64_MODIFIER
            "x to 0x%" G_GINT64_MODIFIER "x",
            b->kernel.low, b->kernel.span_end);
    }
    return true;
}

bool boot_load(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    struct DirectBoot *b = g_new0(struct DirectBoot, 1);

    b->modules = g_array_new(FALSE, TRUE, sizeof(BootModule));
    b->cmdline = g_strdup(m->append ? m->append : "");
    GError *why = NULL;

    if (!kernel_image_open(m->kernel, &b->kernel, &why)) {
        if (!strstr(why->message, m->kernel)) {
            g_prefix_error(&why, "kernel '%s': ", m->kernel);
        }
        g_propagate_error(err, why);
        boot_free(b);
        return false;
    }
    bool ok =
        !m->initrd || (b->kernel.kind == KERNEL_MULTIBOOT ? add_module_list(b, m->initrd, err)
                                                          : add_module(b, m->initrd, NULL, err));

    if (!ok || !check_files(pc, b, err)) {
        boot_free(b);
        return false;
    }
    pc->boot = b;
    return true;
}

/* The boot CPU's state. Segment attributes are descriptor bits 40 to 55: SDM vol. 3, 3.4.5. */

enum {
    ATTR_CODE32 = 0xc09b,
    ATTR_CODE64 = 0xa09b,
    ATTR_DATA = 0xc093,
    ATTR_TSS = 0x008b,
    ATTR_LDT = 0x0082
};
enum { SEL_CODE = 0x10, SEL_DATA = 0x18 };

static bool write_gdt(PcMachine *pc, bool long_mode, GError **err)
{
    uint8_t gdt[4 * 8] = { 0 };
    uint64_t code = long_mode ? UINT64_C(0x00af9b000000ffff) : UINT64_C(0x00cf9b000000ffff);

    put_le(gdt + SEL_CODE, code, 8);
    put_le(gdt + SEL_DATA, UINT64_C(0x00cf93000000ffff), 8);
    return boot_write(pc, BOOT_GDT, gdt, sizeof(gdt), err);
}

/* Identity for 4 GiB in 2 MiB pages: SDM vol. 3, 4.5. */
static bool write_page_tables(PcMachine *pc, GError **err)
{
    g_autofree uint8_t *t = g_malloc0(6 * 4096);

    put_le(t, (BOOT_TABLES + 0x1000) | 3, 8);
    for (unsigned i = 0; i < 4; i++) {
        put_le(t + 0x1000 + 8 * i, (BOOT_TABLES + 0x2000 + 0x1000 * i) | 3, 8);
    }
    for (uint64_t i = 0; i < 2048; i++) {
        put_le(t + 0x2000 + 8 * i, i << 21 | 0x83, 8);
    }
    return boot_write(pc, BOOT_TABLES, t, 6 * 4096, err);
}

static bool set_boot_cpu(PcMachine *pc, const KernelEntry *e, bool long_mode, GError **err)
{
    VCpu *cpu = g_ptr_array_index(pc->m.cpus, 0);
    X86State s;

    if (!write_gdt(pc, long_mode, err) || (long_mode && !write_page_tables(pc, err))) {
        return false;
    }
    vcpu_get_state(cpu, &s);
    memset(s.r, 0, sizeof(s.r));
    s.rip = e->entry;
    s.rflags = 2;
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        s.seg[i] = (X86Seg){ 0, 0xffffffff, SEL_DATA, ATTR_DATA };
    }
    s.seg[SEG_CS] = (X86Seg){ 0, 0xffffffff, SEL_CODE, long_mode ? ATTR_CODE64 : ATTR_CODE32 };
    s.ldt = (X86Seg){ 0, 0xffff, 0, ATTR_LDT };
    s.tr = (X86Seg){ 0, 0xffff, 0, ATTR_TSS };
    s.gdt.base = BOOT_GDT;
    s.gdt.limit = 4 * 8 - 1;
    s.idt.base = 0;
    s.idt.limit = 0;
    s.cr0 = 0x11; /* PE, ET */
    s.cr4 = 0;
    s.efer = 0;
    if (long_mode) {
        s.cr3 = BOOT_TABLES;
        s.cr4 = 1 << 5;
        s.efer = 0x500;
        s.cr0 |= UINT64_C(1) << 31;
    }
    s.r[4] = e->stack;                                /* rsp */
    s.r[0] = e->magic;                                /* rax */
    s.r[e->kind == KERNEL_BZIMAGE ? 6 : 3] = e->info; /* rsi for Linux, rbx for PVH and multiboot */
    s.halted = false;
    vcpu_set_state(cpu, &s);
    return true;
}

bool boot_apply(PcMachine *pc, GError **err)
{
    struct DirectBoot *b = pc->boot;
    KernelEntry e = { .kind = b->kernel.kind, .stack = BOOT_STACK };
    bool long_mode = b->kernel.kind == KERNEL_BZIMAGE && b->kernel.xloadflags & 1 &&
                     (!pc->m.cpu_model || pc->m.cpu_model->f80000001_edx >> 29 & 1);
    bool ok;

    if (!pc->board->firmware) {
        boot_pci(pc);
    }
    if (!(pc->board->firmware ? pc->board->firmware : boot_firmware)(pc, b, err) ||
        !kernel_image_place(&b->kernel, pc->m.mem, err) ||
        !boot_write_string(pc, BOOT_CMDLINE, b->cmdline, err)) {
        return false;
    }
    switch (b->kernel.kind) {
    case KERNEL_BZIMAGE:
        ok = boot_linux(pc, b, &e, err);
        e.entry += long_mode ? 0x200 : 0;
        break;
    case KERNEL_PVH:
        ok = boot_pvh(pc, b, &e, err);
        break;
    case KERNEL_MULTIBOOT:
        ok = boot_multiboot(pc, b, &e, err);
        break;
    default:
        g_assert_not_reached();
    }
    return ok && set_boot_cpu(pc, &e, long_mode, err);
}

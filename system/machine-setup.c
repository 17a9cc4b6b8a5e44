/* From options to a machine: class, properties, RAM, CPU model, accelerator. */
#include "backends/hostmem.h"
#include "block/block.h"
#include "hw/i386/cpu-model.h"
#include "system.h"
#include "util/keyval.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const MachineClass *default_class(void)
{
    for (const MachineClass *const *c = machine_classes; *c; c++) {
        if ((*c)->is_default) {
            return *c;
        }
    }
    return machine_classes[0];
}

const MachineClass *setup_machine_class(const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_MACHINE];
    const char *type = NULL;

    for (unsigned i = 0; i < items->len; i++) { /* the last one counts */
        type = json_get_str_or(((const OptItem *)items->pdata[i])->args, "type", type);
    }
    const MachineClass *mc = type ? machine_class_find(type) : default_class();

    if (!mc) {
        err_set(err,
            type ? "unsupported machine type: \"%s\""
                 : "No machine specified, and there is no default",
            type);
        err_hint(err, "Use -machine help to list supported machines");
    }
    return mc;
}

static bool set_text(Machine *m, const char *prop, const char *text, GError **err)
{
    return !text || prop_set_text(&m->obj, prop, text, err);
}

/* "driver.property=value" or driver=,property=,value=. */
static bool add_global(Machine *m, const OptItem *item, GError **err)
{
    DeviceGlobal *g = g_new0(DeviceGlobal, 1);
    const Json *args = item->args;
    const char *key = json_len(args) ? json_key_at(args, 0) : "";
    const char *dot = strchr(key, '.');

    g_ptr_array_add(m->globals, g);
    if (dot && json_len(args) == 1) {
        g->driver = g_strndup(key, (gsize)(dot - key));
        g->prop = g_strdup(dot + 1);
        g->value = g_strdup(json_get_str_or(args, key, ""));
        return true;
    }
    static const char *const names[] = { "driver", "property", "value" };
    char **const fields[] = { &g->driver, &g->prop, &g->value };

    for (unsigned i = 0; i < json_len(args); i++) {
        if (!g_strv_contains((const char *const[]){ "driver", "property", "value", NULL },
                json_key_at(args, i))) {
            err_set(err, "Invalid parameter '%s'", json_key_at(args, i));
            options_prefix(err, item->typed);
            return false;
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        *fields[i] = g_strdup(json_get_str_or(args, names[i], NULL));
        if (!*fields[i]) {
            err_set(err, "Parameter '%s' is missing", names[i]);
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

static bool set_uuid(Machine *m, const char *text, GError **err)
{
    static const uint8_t dashes[] = { 8, 13, 18, 23 };
    unsigned n = 0;
    bool ok = strlen(text) == 36;

    for (unsigned i = 0; ok && i < 36; i++) {
        if (memchr(dashes, (int)i, sizeof dashes)) {
            ok = text[i] == '-';
            continue;
        }
        ok = g_ascii_isxdigit(text[i]) && g_ascii_isxdigit(text[i + 1]);
        m->uuid[n++] =
            (uint8_t)(g_ascii_xdigit_value(text[i]) << 4 | g_ascii_xdigit_value(text[i + 1]));
        i++;
    }
    if (!ok) {
        return err_set(err, "-uuid %s: failed to parse UUID string: wrong format", text);
    }
    m->uuid_text = g_ascii_strdown(text, -1);
    m->has_uuid = true;
    return true;
}

static bool check_boot_order(const char *order, GError **err)
{
    uint32_t seen = 0;

    for (const char *c = order; c && *c; c++) {
        if (*c < 'a' || *c > 'p') {
            return err_set(err, "Invalid boot device '%c'", *c);
        }
        if (seen & 1u << (*c - 'a')) {
            return err_set(err, "Boot device '%c' was given twice", *c);
        }
        seen |= 1u << (*c - 'a');
    }
    return true;
}

static bool set_boot(Machine *m, const Options *o, GError **err)
{
    if (o->boot_splash) {
        return err_set(err, "-boot splash=%s: there is no display to show it", o->boot_splash);
    }
    if (!check_boot_order(o->boot_order, err) || !check_boot_order(o->boot_once, err)) {
        return false;
    }
    m->boot_order = g_strdup(o->boot_order);
    m->boot_once = g_strdup(o->boot_once);
    m->boot_menu = o->boot_menu;
    m->boot_strict = o->boot_strict;
    /* What was not given is -1; what was given and is less is the board's to refuse. */
    m->boot_splash_time = o->boot_splash_time == OPTION_COUNT_UNSET ? -1
                          : o->boot_splash_time < 0                 ? -2
                                                    : (int)MIN(o->boot_splash_time, INT32_MAX);
    m->boot_reboot_timeout = o->boot_reboot_timeout == OPTION_COUNT_UNSET
                                 ? -1
                                 : (int)CLAMP(o->boot_reboot_timeout, -2, INT32_MAX);
    return true;
}

/* The guest's wall clock minus the host's, in ns. */
static bool set_rtc(Machine *m, const Options *o, GError **err)
{
    time_t now = time(NULL);
    const char *base = o->rtc_base ? o->rtc_base : "utc";
    struct tm tm = { 0 };

    m->rtc_clock_vm = o->rtc_clock == 2;
    m->rtc_base_utc = strcmp(base, "localtime") != 0;
    if (!strcmp(base, "utc")) {
        return true;
    }
    if (!strcmp(base, "localtime")) {
        localtime_r(&now, &tm);
        m->rtc_offset_ns = (int64_t)tm.tm_gmtoff * 1000000000;
        return true;
    }
    const char *end = strptime(base, "%Y-%m-%dT%H:%M:%S", &tm);

    if (!end) {
        tm = (struct tm){ 0 };
        end = strptime(base, "%Y-%m-%d", &tm);
    }
    if (!end || *end) {
        err_set(err, "invalid datetime format");
        err_hint(err, "valid formats: '2006-06-17T16:01:21' or '2006-06-17'");
        return false;
    }
    m->rtc_offset_ns = (int64_t)(timegm(&tm) - now) * 1000000000;
    return true;
}

static void keep_entries(GPtrArray *to, const GPtrArray *items)
{
    for (unsigned i = 0; i < items->len; i++) {
        g_ptr_array_add(to, json_ref(((const OptItem *)items->pdata[i])->args));
    }
}

static bool check_smbios(const OptItem *item, GError **err)
{
    const char *type = json_get_str_or(item->args, "type", NULL);
    int64_t number;

    if (type && !parse_int(type, &number)) {
        err_set(err, "Parameter 'type' expects a number");
    } else if (type && (number < 0 || number > 255)) {
        err_set(err, "out of range!");
    } else if (!type && !json_get(item->args, "file")) {
        err_set(err, "Must specify type= or file=");
    } else {
        return true;
    }
    options_prefix(err, item->typed);
    return false;
}

static bool check_fw_cfg(const OptItem *item, GError **err)
{
    bool file = json_get(item->args, "file"), string = json_get(item->args, "string");

    if (!json_get(item->args, "name") || file == string) {
        err_set(err, "name, plus exactly one of file, string and gen_id, are needed");
        options_prefix(err, item->typed);
        return false;
    }
    return true;
}

/* Switches of QEMU's boards for what these boards do not have. */
static bool check_absent(Machine *m, const OptItem *item, GError **err)
{
    static const struct {
        const char *name, *what;
    } absent[] = { { "usb", "there is no USB controller" },
        { "sata", "there is no SATA controller" } };

    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        g_autoptr(Json) on =
            json_get(item->args, absent[i].name) && prop_find(&m->obj, absent[i].name, NULL)
                ? prop_get(&m->obj, absent[i].name, NULL)
                : NULL;

        if (on && json_type(on) == JSON_BOOL && json_get_bool(on)) {
            err_set(err, "%s=on is not available: %s", absent[i].name, absent[i].what);
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

bool setup_machine_options(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *machine = o->items[OPT_MACHINE], *global = o->items[OPT_GLOBAL];
    const GPtrArray *fw_cfg = o->items[OPT_FW_CFG];

    for (unsigned i = 0; i < machine->len; i++) {
        g_autoptr(Json) args = json_copy(((const OptItem *)machine->pdata[i])->args);

        accel_take_machine_options(m, args);
        if (!machine_set_options(m, args, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < machine->len; i++) {
        if (!check_absent(m, machine->pdata[i], err)) {
            return false;
        }
    }
    m->no_acpi = o->no_acpi;
    m->no_hpet = o->no_hpet;
    for (unsigned i = 0; i < global->len; i++) {
        if (!add_global(m, global->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < fw_cfg->len; i++) {
        if (!check_fw_cfg(fw_cfg->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < o->items[OPT_SMBIOS]->len; i++) {
        if (!check_smbios(o->items[OPT_SMBIOS]->pdata[i], err)) {
            return false;
        }
    }
    if (!set_text(m, "kernel", o->kernel, err) || !set_text(m, "initrd", o->initrd, err) ||
        !set_text(m, "append", o->append, err) || !set_text(m, "dtb", o->dtb, err) ||
        !set_text(m, "firmware", o->firmware, err) || (o->uuid && !set_uuid(m, o->uuid, err)) ||
        !set_boot(m, o, err) || !set_rtc(m, o, err) || !setup_smp(m, o, err)) {
        return false;
    }
    keep_entries(m->fw_cfg_entries, fw_cfg);
    keep_entries(m->smbios_entries, o->items[OPT_SMBIOS]);
    for (char **dir = o->data_dirs; dir && *dir; dir++) {
        g_ptr_array_add(m->data_dirs, g_strdup(*dir));
    }
    m->name = g_strdup(o->name);
    m->no_reboot = o->no_reboot;
    m->no_shutdown = o->no_shutdown;
    m->nodefaults = o->nodefaults;
    m->nographic = o->nographic;
    return true;
}

/* One node at most: it has all the memory and all CPUs. *ret: its back end's name or NULL. */
static bool check_numa(const Machine *m, const Options *o, const char **ret, GError **err)
{
    const GPtrArray *items = o->items[OPT_NUMA];

    *ret = NULL;
    for (unsigned i = 0; i < items->len; i++) {
        const OptItem *item = items->pdata[i];
        const char *type = json_get_str_or(item->args, "type", "");
        const char *id = json_get_str_or(item->args, "memdev", NULL);
        const char *node = json_get_str_or(item->args, "nodeid", "0");

        if (strcmp(type, "node") != 0) {
            err_set(err, "Parameter 'type' does not accept value '%s'", type);
        } else if (items->len > 1) {
            err_set(err, "only one NUMA node is available in this version");
        } else if (strcmp(node, "0") != 0) {
            err_set(err, "numa: Node ID missing: 0");
        } else if (id && !hostmem_find(m->objects, id)) {
            err_set(err, "memdev=%s is ambiguous", id);
        } else {
            *ret = id;
            continue;
        }
        options_prefix(err, item->typed);
        return false;
    }
    return true;
}

/* RAM is the back end's memory. Its size counts where -m says none. */
static bool take_backend(Machine *m, const Options *o, bool numa, const char *id, GError **err)
{
    HostMem *h = hostmem_find(m->objects, id);
    uint64_t size = o->ram_size ? o->ram_size : m->mc->default_ram;

    if (!h) {
        return err_set(err, "Memory backend '%s' not found", id);
    }
    if (o->mem_path) {
        return err_set(err, "'-mem-path' can't be used together with %s",
            numa ? "'-numa memdev'" : "'-machine memory-backend'");
    }
    if (numa && h->size != size) {
        return err_set(err,
            "total memory for NUMA nodes (0x%" G_GINT64_MODIFIER
            "x) should equal RAM size (0x%" G_GINT64_MODIFIER "x)",
            h->size, size);
    }
    if (o->ram_size && h->size != o->ram_size) {
        return err_set(err, "Machine memory size does not match the size of the memory backend");
    }
    if (h->size % 4096) {
        return err_set(err, "Memory backend '%s': guest RAM is made of whole 4 KiB pages", id);
    }
    m->ram_size = h->size;
    return hostmem_take(h, &m->ram, err);
}

bool setup_ram(Machine *m, const Options *o, GError **err)
{
    const char *node;

    if (o->ram_slots || o->ram_max > (o->ram_size ? o->ram_size : m->mc->default_ram)) {
        return err_set(err, "-m: memory hotplug is not available in this version");
    }
    if (o->cpu_pm) {
        return err_set(err, "-overcommit cpu-pm=on is not available in this version");
    }
    if (o->mem_lock && mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        return err_set_errno(err, "-overcommit mem-lock=on: cannot lock memory");
    }
    if (!check_numa(m, o, &node, err)) {
        return false;
    }
    if (node && m->memory_backend) {
        return err_set(
            err, "'-machine memory-backend' and '-numa memdev' properties are mutually exclusive");
    }
    if (node || m->memory_backend) {
        return take_backend(m, o, node != NULL, node ? node : m->memory_backend, err);
    }
    uint64_t size = o->ram_size ? o->ram_size : m->mc->default_ram;

    if (size > UINT64_C(1) << 40) {
        return err_set(err, "-m: more than 1 TiB of RAM is not supported");
    }
    m->ram_size = (size + 8191) & ~UINT64_C(8191);
    if (!m->ram_size) {
        return true;
    }
    RamSpec spec = { .size = m->ram_size, .path = o->mem_path, .prealloc = o->mem_prealloc };

    m->ram = ram_new(m->mc->default_ram_id ? m->mc->default_ram_id : "ram", &spec, err);
    if (!m->ram) {
        return false;
    }
    m->ram_own = true;
    m->ram_prealloc = spec.prealloc;
    if (m->mem_merge) { /* a kernel without it runs the guest all the same */
        (void)madvise(m->ram->host, m->ram_size, MADV_MERGEABLE);
    }
    if (!m->dump_guest_core) {
        (void)madvise(m->ram->host, m->ram_size, MADV_DONTDUMP);
    }
    return true;
}

bool setup_cpu_model(Machine *m, const Options *o, GError **err)
{
    const AccelClass *cls = m->accel->cls;
    X86CpuModel host;

    if (!m->cpu_text) {
        return true;
    }
    bool on_host = cls->host_model && cls->host_model(m->accel, &host);
    X86CpuModel *model = x86_cpu_model_new(m->cpu_text, on_host ? &host : NULL, err);

    if (!model) {
        return false;
    }
    model->cores_per_die = m->smp.cores;
    model->threads_per_core = m->smp.threads;
    model->dies = m->smp.dies;
    model->sockets = m->smp.sockets;
    m->cpu_model = model;
    return true;
}

static void vcpus_run(void *opaque, bool running)
{
    const Machine *m = opaque;

    if (running) {
        accel_resume(m->accel);
    } else {
        accel_pause(m->accel);
    }
}

static void blk_drain_one(Blk *b, G_GNUC_UNUSED void *opaque)
{
    blk_drain(b);
}

/* A stopped machine has nothing in flight. */
static void disks_run(G_GNUC_UNUSED void *opaque, bool running)
{
    if (!running) {
        blk_each(blk_drain_one, NULL);
    } else {
        blk_forget_errors();
    }
}

/* What is asked for while it stands anyway changes nothing. */
static void stop_for_disk(void *run)
{
    if (run_is_running(run)) {
        run_stop(run, RUN_STATE_IO_ERROR);
    }
}

static void on_reset(void *opaque, ShutdownCause why)
{
    machine_reset(opaque, shutdown_cause_name(why), shutdown_cause_is_guest(why));
}

void setup_run_state(Machine *m, const Options *o)
{
    RunOps ops = {
        .reset = on_reset, .no_reboot = o->no_reboot, .no_shutdown = o->no_shutdown, .opaque = m
    };

    run_set_ops(m->run, &ops);
    blk_set_stopper(stop_for_disk, m->run);
    /* vCPUs begin last and stand first; then the disks come to rest. */
    run_listen(m->run, disks_run, m, 500);
    run_listen(m->run, vcpus_run, m, 1000);
}

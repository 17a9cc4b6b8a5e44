/* The human monitor's commands about disks: callers of QMP, or of what the command line calls.
 * Tested by tests/system/test_block.py. */
#include "block/block.h"
#include "monitor-internal.h"
#include "util/keyval.h"

#include <string.h>

static void run_qmp(Machine *m, const char *cmd, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) ret = qmp_run(m, cmd, args, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

/* Sizes without a suffix are MiB. */
static void run_resize(Machine *m, const Json *args, GString *out)
{
    g_autoptr(Json) a = json_object();
    uint64_t size;

    if (!parse_size(json_get_str_or(args, "size", ""), 1048576, &size) || size > INT64_MAX) {
        g_string_append(out, "invalid size\n");
        return;
    }
    json_set(a, "device", json_str(json_get_str_or(args, "device", "")));
    json_set(a, "size", json_int((int64_t)size));
    run_qmp(m, "block_resize", a, out);
}

static void run_eject(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "eject", args, out);
}

static void run_change(Machine *m, const Json *args, GString *out)
{
    g_autoptr(Json) a = json_object();

    json_set(a, "device", json_str(json_get_str_or(args, "device", "")));
    json_set(a, "filename", json_str(json_get_str_or(args, "target", "")));
    if (json_get(args, "arg")) {
        json_set(a, "format", json_str(json_get_str_or(args, "arg", "")));
    }
    if (json_get(args, "read-only-mode")) {
        json_set(a, "read-only-mode", json_str(json_get_str_or(args, "read-only-mode", "")));
    }
    run_qmp(m, "blockdev-change-medium", a, out);
}

static void run_throttle(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "block_set_io_throttle", args, out);
}

static void run_drive_add(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) opts = opts_parse(json_get_str_or(args, "opts", ""), NULL, false, NULL, &err);
    const char *bus = opts ? json_get_str_or(opts, "if", "ide") : NULL;

    if (bus && strcmp(bus, "none") != 0) {
        g_string_append_printf(out, "Can't hot-add drive to type %s: use if=none\n", bus);
    } else if (opts && blk_drive_create(opts, &err)) {
        g_string_append(out, "OK\n");
    } else {
        g_string_append_printf(out, "%s\n", err->message); /* QEMU compat: as -drive says it */
    }
}

static void run_drive_del(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;

    if (!blk_drive_delete(json_get_str_or(args, "id", ""), &err)) {
        hmp_report(out, err);
    }
}

/* clang-format off */
#define ROW(n, p, h, fn, a) { .name = n, .params = p, .help = h, .run_args = fn, .args = a }
const HmpCmd hmp_block_cmds[] = {
    ROW("block_resize", "device size", "resize a block image", run_resize, "device:s size:s"),
    ROW("block_set_io_throttle", "device bps bps_rd bps_wr iops iops_rd iops_wr", "change I/O throttle limits for a block drive", run_throttle, "device:s bps:l bps_rd:l bps_wr:l iops:l iops_rd:l iops_wr:l"),
    ROW("change", "device filename [format [read-only-mode]]", "change a removable medium, optional format", run_change, "device:s target:s arg:s? read-only-mode:s?"),
    ROW("drive_add", "[-n] [[<domain>:]<bus>:]<slot> [file=file][,if=type][,bus=n] [,unit=m][,media=d][,index=i] [,snapshot=on|off][,cache=on|off] [,readonly=on|off][,copy-on-read=on|off]", "add drive to PCI storage controller", run_drive_add, "pci_addr:s opts:s"),
    ROW("drive_del", "device", "remove host block device", run_drive_del, "id:s"),
    ROW("eject", "[-f] device", "eject a removable medium (use -f to force it)", run_eject, "force:- device:s"),
    { .name = NULL },
};
/* clang-format on */

/* info virtio and its kin: what the x-query-virtio commands say, for people. Covered by
 * tests/system/test_virtio.py. */
#include "monitor-internal.h"

#include <inttypes.h>
#include <stdio.h>

static Json *ask(Machine *m, const char *cmd, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    Json *ret = qmp_run(m, cmd, args, &err);

    if (!ret) {
        g_string_append_printf(out, "Error: %s\n", err->message);
    }
    return ret;
}

static void put_path(const Json *args, GString *out)
{
    g_string_append_printf(out, "%s:\n", json_get_str_or(args, "path", ""));
}

static const char *text_of(const Json *j, const char *key, char *buf, size_t size)
{
    const Json *v = json_get(j, key);

    switch (v ? json_type(v) : JSON_NULL) {
    case JSON_BOOL:
        return json_get_bool(v) ? "true" : "false";
    case JSON_STR:
        return *json_get_str(v) ? json_get_str(v) : "(null)";
    case JSON_NULL:
        return "";
    case JSON_INT:
    case JSON_UINT:
    case JSON_DOUBLE:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    snprintf(buf, size, "%" PRIu64, json_get_uint(v));
    return buf;
}

/* Lines "  label:   value" for "label=member" pairs, values aligned at a column. */
static void put_lines(
    const Json *j, const char *const *pairs, unsigned indent, unsigned width, GString *out)
{
    char buf[24];

    for (; *pairs; pairs += 2) {
        g_autofree char *label = g_strdup_printf("%s:", pairs[0]);

        if (json_get(j, pairs[1])) {
            g_string_append_printf(out, "%*s%-*s %s\n", (int)indent, "", (int)width, label,
                text_of(j, pairs[1], buf, sizeof buf));
        }
    }
}

static void put_names(const Json *list, GString *out)
{
    for (unsigned i = 0; i < json_len(list); i++) {
        g_string_append_printf(
            out, "\t%s%s\n", json_get_str(json_at(list, i)), i + 1 < json_len(list) ? "," : "");
    }
}

/* QEMU compat: an empty list still takes its line. */
static void put_features(const char *title, const Json *f, GString *out)
{
    const Json *ring = json_get(f, "transports"), *dev = json_get(f, "dev-features");
    const Json *unknown = json_get(f, "unknown-dev-features");

    g_string_append_printf(out, "  %s:\n", title);
    put_names(ring, out);
    if (!json_len(ring)) {
        g_string_append_c(out, '\n');
    }
    put_names(dev, out);
    if (unknown) {
        g_string_append_printf(
            out, "  unknown-features(0x%016" PRIx64 ")\n", json_get_uint(unknown));
    }
}

static void run_virtio(Machine *m, const Json *args, GString *out)
{
    g_autoptr(Json) list = ask(m, "x-query-virtio", NULL, out);

    for (unsigned i = 0; list && i < json_len(list); i++) {
        const Json *d = json_at(list, i);

        g_string_append_printf(
            out, "%s [%s]\n", json_get_str_or(d, "path", ""), json_get_str_or(d, "name", ""));
    }
    if (list && !json_len(list)) {
        g_string_append(out, "No VirtIO devices\n");
    }
}

static void run_status(Machine *m, const Json *args, GString *out)
{
    static const char *const lines[] = { "device_id", "device-id", "vhost_started", "vhost-started",
        "bus_name", "bus-name", "broken", "broken", "disabled", "disabled", "disable_legacy_check",
        "disable-legacy-check", "started", "started", "use_started", "use-started", "start_on_kick",
        "start-on-kick", "use_guest_notifier_mask", "use-guest-notifier-mask", "vm_running",
        "vm-running", "num_vqs", "num-vqs", "queue_sel", "queue-sel", "isr", "isr", "endianness",
        "device-endian", NULL };
    g_autoptr(Json) s = ask(m, "x-query-virtio-status", args, out);

    if (!s) {
        return;
    }
    const Json *status = json_get(s, "status"), *unknown = json_get(status, "unknown-statuses");

    put_path(args, out);
    g_string_append_printf(out, "  device_name:             %s \n", json_get_str_or(s, "name", ""));
    put_lines(s, lines, 2, 24, out);
    g_string_append(out, "  status:\n");
    put_names(json_get(status, "statuses"), out);
    if (!json_len(json_get(status, "statuses"))) {
        g_string_append_c(out, '\n');
    }
    if (unknown) {
        g_string_append_printf(
            out, "  unknown-statuses(0x%016" PRIx64 ")\n", json_get_uint(unknown));
    }
    put_features("Guest features", json_get(s, "guest-features"), out);
    put_features("Host features", json_get(s, "host-features"), out);
    put_features("Backend features", json_get(s, "backend-features"), out);
}

static void put_address(const char *label, const Json *j, const char *key, GString *out)
{
    g_string_append_printf(
        out, "    %-13s 0x%016" PRIx64 "\n", label, json_get_uint(json_get(j, key)));
}

static void run_queue_status(Machine *m, const Json *args, GString *out)
{
    static const char *const lines[] = { "device_name", "name", "queue_index", "queue-index",
        "inuse", "inuse", "used_idx", "used-idx", "signalled_used", "signalled-used",
        "signalled_used_valid", "signalled-used-valid", "last_avail_idx", "last-avail-idx",
        "shadow_avail_idx", "shadow-avail-idx", NULL };
    static const char *const ring[] = { "num", "vring-num", "num_default", "vring-num-default",
        "align", "vring-align", NULL };
    g_autoptr(Json) s = ask(m, "x-query-virtio-queue-status", args, out);

    if (!s) {
        return;
    }
    put_path(args, out);
    put_lines(s, lines, 2, 21, out);
    g_string_append(out, "  VRing:\n");
    put_lines(s, ring, 4, 13, out);
    put_address("desc:", s, "vring-desc", out);
    put_address("avail:", s, "vring-avail", out);
    put_address("used:", s, "vring-used", out);
}

static void put_descs(const Json *list, GString *out)
{
    for (unsigned i = 0; i < json_len(list); i++) {
        const Json *d = json_at(list, i), *flags = json_get(d, "flags");

        g_string_append_printf(out, "%s        addr 0x%" PRIx64 " len %" PRIu64, i ? ",\n" : "",
            json_get_uint(json_get(d, "addr")), json_get_uint(json_get(d, "len")));
        for (unsigned k = 0; k < json_len(flags); k++) {
            g_string_append_printf(out, "%s%s", k ? ", " : " (", json_get_str(json_at(flags, k)));
        }
        g_string_append(out, json_len(flags) ? ")" : "");
    }
    g_string_append_c(out, '\n');
}

static void run_element(Machine *m, const Json *args, GString *out)
{
    static const char *const avail[] = { "flags", "flags", "idx", "idx", "ring", "ring", NULL };
    g_autoptr(Json) e = ask(m, "x-query-virtio-queue-element", args, out);

    if (!e) {
        return;
    }
    put_path(args, out);
    g_string_append_printf(out, "  device_name: %s\n  index:   %" PRIu64 "\n  desc:\n    descs:\n",
        json_get_str_or(e, "name", ""), json_get_uint(json_get(e, "index")));
    put_descs(json_get(e, "descs"), out);
    g_string_append(out, "  avail:\n");
    put_lines(json_get(e, "avail"), avail, 4, 6, out);
    g_string_append(out, "  used:\n");
    put_lines(json_get(e, "used"), avail, 4, 6, out);
}

static void run_vhost(Machine *m, const Json *args, GString *out)
{
    static const char *const lines[] = { "device_name", "name", "kick", "kick", "call", "call",
        NULL };
    g_autoptr(Json) s = ask(m, "x-query-virtio-vhost-queue-status", args, out);

    if (s) {
        put_path(args, out);
        put_lines(s, lines, 2, 21, out);
    }
}

const HmpInfo monitor_virtio_infos[] = {
    { "virtio", "", "List all available virtio devices", .run = run_virtio, .args = "" },
    { "virtio-queue-element", "path queue [index]", "Display element of a given virtio queue",
        .run = run_element, .args = "path:s queue:i index:i?" },
    { "virtio-queue-status", "path queue", "Display status of a given virtio queue",
        .run = run_queue_status, .args = "path:s queue:i" },
    { "virtio-status", "path", "Display status of a given virtio device", .run = run_status,
        .args = "path:s" },
    { "virtio-vhost-queue-status", "path queue", "Display status of a given vhost queue",
        .run = run_vhost, .args = "path:s queue:i" },
    { NULL },
};

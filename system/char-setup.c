/* Serial ports, monitors and the qtest server on their character devices, with QEMU's defaults. */
#include "accel/qtest.h"
#include "system.h"
#include "util/log.h"

#include <string.h>

/* A device from -serial's kind of text. "mon:" puts a human monitor on it. *ret may be NULL without
 * an error: "none". */
static bool open_text(Machine *m, const char *id, const char *text, Chardev **ret, GError **err)
{
    GError *local = NULL;
    Chardev *c = chardev_from_text(id, text, &local);

    if (!c && local) {
        g_propagate_error(err, local);
        return false;
    }
    if (c && g_str_has_prefix(text, "mon:") && !monitor_new_hmp(m, c, err)) {
        return false;
    }
    *ret = c;
    return true;
}

static bool add_serial(Machine *m, const char *typed, const char *text, GError **err)
{
    g_autofree char *id = g_strdup_printf("serial%u", m->serials->len);
    Chardev *c = NULL;

    if (!open_text(m, id, text, &c, err)) {
        options_prefix(err, typed);
        return false;
    }
    for (unsigned i = 0; c && !chardev_is_mux(c) && i < m->serials->len; i++) {
        if (m->serials->pdata[i] == c) {
            err_set(err, "chardev '%s' is already in use", text + strlen("chardev:"));
            options_prefix(err, typed);
            return false;
        }
    }
    g_ptr_array_add(m->serials, c);
    return true;
}

/* QEMU compat: without -nodefaults there is one serial port; with -nographic it shares the terminal
 * with the monitor. */
static bool default_serial(Machine *m, const Options *o, GError **err)
{
    if (o->nodefaults || !m->mc->default_cpu) {
        return true;
    }
    bool own_monitor = o->items[OPT_MONITOR]->len || o->items[OPT_MON]->len ||
                       o->items[OPT_QMP]->len || o->items[OPT_QMP_PRETTY]->len;

    return add_serial(m, "-nographic",
        !o->nographic ? "null"
        : own_monitor ? "stdio"
                      : "mon:stdio",
        err);
}

bool setup_serials(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_SERIAL], *debugcon = o->items[OPT_DEBUGCON];

    if (!items->len && !default_serial(m, o, err)) {
        return false;
    }
    for (unsigned i = 0; i < items->len; i++) {
        const OptItem *item = items->pdata[i];

        if (!add_serial(m, item->typed, item->text, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < debugcon->len; i++) {
        const OptItem *item = debugcon->pdata[i];

        if (!open_text(m, "debugcon", item->text, &m->debugcon, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

static bool add_monitor(
    Machine *m, Chardev *c, bool control, bool pretty, const char *typed, GError **err)
{
    Monitor *mon = control ? monitor_new_qmp(m, c, pretty, err) : monitor_new_hmp(m, c, err);

    if (!mon) {
        options_prefix(err, typed);
    }
    return mon != NULL;
}

static bool add_mon(Machine *m, const OptItem *item, GError **err)
{
    const char *id = json_get_str_or(item->args, "chardev", NULL);
    const char *mode = json_get_str_or(item->args, "mode", "readline");
    const Json *pretty = json_get(item->args, "pretty");
    bool on = pretty && !strcmp(json_get_str(pretty), "on");
    bool control = !strcmp(mode, "control");
    Chardev *c = id ? chardev_find(id) : NULL;

    for (unsigned i = 0; i < json_len(item->args); i++) {
        static const char *const known[] = { "id", "chardev", "mode", "pretty", NULL };

        if (!g_strv_contains(known, json_key_at(item->args, i))) {
            err_set(err, "Invalid parameter '%s'", json_key_at(item->args, i));
            options_prefix(err, item->typed);
            return false;
        }
    }
    if (!control && strcmp(mode, "readline") != 0) {
        err_set(err, "Parameter 'mode' does not accept value '%s'", mode);
    } else if (!id) {
        err_set(err, "Parameter 'chardev' is missing");
    } else if (!c) {
        err_set(err, "chardev \"%s\" not found", id);
    } else {
        return add_monitor(m, c, control, on, item->typed, err);
    }
    options_prefix(err, item->typed);
    return false;
}

/* -monitor, -qmp and -qmp-pretty: a device and a monitor in one. */
static bool add_compat(
    Machine *m, const GPtrArray *items, bool control, bool pretty, unsigned *n, GError **err)
{
    for (unsigned i = 0; i < items->len; i++) {
        const OptItem *item = items->pdata[i];
        g_autofree char *id = g_strdup_printf("compat_monitor%u", (*n)++);
        Chardev *c = NULL;

        if (!strcmp(item->text, "none")) {
            continue;
        }
        if (!open_text(m, id, item->text, &c, err)) {
            options_prefix(err, item->typed);
            return false;
        }
        if (c && !add_monitor(m, c, control, pretty, item->typed, err)) {
            return false;
        }
    }
    return true;
}

bool setup_monitors(Machine *m, const Options *o, GError **err)
{
    unsigned n = 0;

    for (unsigned i = 0; i < o->items[OPT_MON]->len; i++) {
        if (!add_mon(m, o->items[OPT_MON]->pdata[i], err)) {
            return false;
        }
    }
    return add_compat(m, o->items[OPT_MONITOR], false, false, &n, err) &&
           add_compat(m, o->items[OPT_QMP], true, false, &n, err) &&
           add_compat(m, o->items[OPT_QMP_PRETTY], true, true, &n, err);
}

bool setup_qtest(Machine *m, const Options *o, GError **err)
{
    if (!o->qtest) {
        return true;
    }
    GError *local = NULL;
    Chardev *c = chardev_from_text("qtest", o->qtest, &local);

    if (!c) {
        if (local) {
            report_gerror(NULL, local);
            g_clear_error(&local);
        }
        return err_set(err, "Failed to initialize device for qtest: \"%s\"", o->qtest);
    }
    return qtest_open(m, c, o->qtest_log, err) != NULL;
}

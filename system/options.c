/* Walks over the command line with the table of option-table.c. Tested by test-options. */
#include "options.h"

#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

Options *options_new(void)
{
    Options *o = g_new0(Options, 1);

    for (unsigned k = 0; k < OPT_KINDS; k++) {
        o->items[k] = g_ptr_array_new();
    }
    o->audiodevs = g_new0(char *, 1);
    for (const OptRow *row = option_rows; row->name; row++) {
        prop_defaults(row->table, o);
    }
    return o;
}

static void item_free(OptItem *item)
{
    g_free(item->typed);
    g_free(item->text);
    json_unref(item->args);
    g_free(item);
}

void options_free(Options *o)
{
    if (!o) {
        return;
    }
    for (unsigned k = 0; k < OPT_KINDS; k++) {
        for (unsigned i = 0; i < o->items[k]->len; i++) {
            item_free(o->items[k]->pdata[i]);
        }
        g_ptr_array_unref(o->items[k]);
    }
    for (const OptRow *row = option_rows; row->name; row++) {
        prop_release(row->table, o);
        if (row->str) {
            g_clear_pointer((char **)(void *)((char *)o + row->str), g_free);
        }
    }
    g_strfreev(o->data_dirs);
    g_strfreev(o->audiodevs);
    g_free(o->keymap);
    g_free(o->vga);
    g_free(o);
}

OptItem *options_add(Options *o, OptKind kind, const char *typed, const char *text, Json *args)
{
    OptItem *item = g_new0(OptItem, 1);

    item->typed = g_strdup(typed);
    item->text = g_strdup(text);
    item->args = args;
    g_ptr_array_add(o->items[kind], item);
    return item;
}

void options_prefix(GError **err, const char *typed)
{
    if (err && *err) {
        g_prefix_error(err, "%s: ", typed);
    }
}

const OptRow *option_find(const char *name)
{
    for (const OptRow *row = option_rows; row->name; row++) {
        if (!strcmp(row->name, name)) {
            return row;
        }
    }
    return NULL;
}

/* The implied word is no key; a flag's short form still works and says what to write instead. */
static void warn_short_forms(const char *typed, const char *text, const char *implied)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);

    for (unsigned i = 0; *text != '{' && words[i]; i++) {
        const char *w = words[i];
        bool no = g_str_has_prefix(w, "no") && w[2];
        bool continues = i && !*words[i - 1]; /* behind ",," */

        if (*w && !strchr(w, '=') && !(i == 0 && implied) && !continues && strcmp(w, "help") &&
            strcmp(w, "?")) {
            report_error("%s: warning: short-form boolean option '%s%s' deprecated\n"
                         "Please use %s=%s instead",
                typed, no ? "no" : "", no ? w + 2 : w, no ? w + 2 : w, no ? "off" : "on");
        }
    }
}

static bool take_kind(
    Options *o, const OptRow *row, const char *typed, const char *arg, GError **err)
{
    g_autofree char *whole = g_strdup_printf("%s %s", typed, arg);
    bool help = false;
    Json *args = NULL;

    if (!row->plain) {
        args = opts_parse(arg, row->implied, row->dotted, &help, err);
        if (!args) {
            options_prefix(err, whole);
            return false;
        }
        if (json_type(args) != JSON_OBJECT) {
            json_unref(args);
            err_set(err, "Invalid JSON value: an object is expected");
            options_prefix(err, whole);
            return false;
        }
    }
    OptItem *item = options_add(o, row->kind, whole, arg, args);

    if (help ||
        (!row->plain && row->implied && !strcmp(json_get_str_or(args, row->implied, ""), "help"))) {
        help_for_item(row->kind, item);
    }
    if (!row->plain) {
        warn_short_forms(whole, arg, row->implied);
    }
    return true;
}

/* -smp and -boot are properties of the machine: messages name them "smp.cpus". */
static void rename_in_error(GError **err, const char *prefix)
{
    GString *text = g_string_new((*err)->message);

    if (g_string_replace(text, "Invalid parameter '", "Parameter '", 1)) {
        g_string_append(text, " is unexpected");
    }
    g_string_replace(text, "an int64 value", "integer", 1);
    g_autofree char *to = g_strdup_printf("Parameter '%s.", prefix);

    g_string_replace(text, "Parameter '", to, 1);
    g_free((*err)->message);
    (*err)->message = g_string_free(text, FALSE);
}

static bool take_table(
    Options *o, const OptRow *row, const char *typed, const char *arg, GError **err)
{
    g_autofree char *whole = g_strdup_printf("%s %s", typed, arg);
    bool help = false;
    GError *local = NULL;
    g_autoptr(Json) args = opts_parse(arg, row->implied, false, &help, &local);

    if (help || (row->implied && args && !strcmp(json_get_str_or(args, row->implied, ""), "help") &&
                    strcmp(row->name, "m") != 0 && strcmp(row->name, "name") != 0)) {
        g_autofree char *text = prop_specs_help(row->table);

        g_print("%s options:\n%s", row->qmp_name ? row->qmp_name : row->name, text);
        exit(0);
    }
    if (args && prop_apply_struct(row->table, o, args, &local)) {
        return true;
    }
    if (row->table_prefix) {
        rename_in_error(&local, row->table_prefix);
    } else {
        options_prefix(&local, whole);
    }
    g_propagate_error(err, local);
    return false;
}

static bool take(Options *o, const OptRow *row, const char *typed, const char *arg, GError **err)
{
    if (row->kind != OPT_NONE) {
        return take_kind(o, row, typed, arg, err);
    }
    if (row->table) {
        return take_table(o, row, typed, arg, err);
    }
    if (row->str) {
        char **to = (char **)(void *)((char *)o + row->str);

        g_free(*to);
        *to = g_strdup(arg);
        return true;
    }
    if (row->flag) {
        *(bool *)((char *)o + row->flag) = true;
        return true;
    }
    if (row->fn(o, arg, err)) {
        return true;
    }
    g_autofree char *whole = arg ? g_strdup_printf("%s %s", typed, arg) : g_strdup(typed);

    options_prefix(err, whole);
    return false;
}

bool options_parse(Options *o, int argc, char **argv, GError **err)
{
    for (int i = 1; i < argc; i++) {
        const char *typed = argv[i], *name = typed;

        if (*name != '-') {
            return err_set(
                err, "%s: IDE disks are not available: use -drive file=%s,if=virtio", typed, typed);
        }
        name += name[1] == '-' ? 2 : 1;
        const OptRow *row = option_find(name);

        if (!row) {
            return err_set(err, "%s: invalid option", typed);
        }
        if (row->params && i + 1 == argc) {
            return err_set(err, "%s: requires an argument", typed);
        }
        if (!take(o, row, typed, row->params ? argv[++i] : NULL, err)) {
            return false;
        }
    }
    return true;
}

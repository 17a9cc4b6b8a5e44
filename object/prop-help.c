/* Walks over property tables for people and programs: -device X,help and device-list-properties.
 * Tested by test-prop. */
#include "object/obj.h"
#include "prop-internal.h"

#include <string.h>

void prop_walk_class(const ObjClass *cls, PropRowFn *fn, void *opaque)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (const PropGroup *g = cls->props; g && g->props; g++) {
        for (const PropSpec *s = g->props; s->name; s++) {
            /* The table keeps the first row's name, which it borrows without changing it. */
            gpointer key = (gpointer)(uintptr_t)s->name;

            if (g_hash_table_add(seen, key) && !fn(s, opaque)) {
                return;
            }
        }
    }
}

const char *prop_type_name(const PropSpec *row)
{
    return row->type->name;
}

Json *prop_default_value(const PropSpec *row)
{
    const PropType *t = row->type;

    if (row->flags & PROP_NO_DEFAULT) {
        return NULL;
    }
    if (t == &prop_bool || t == &prop_feature) {
        return json_bool(row->def.u != 0);
    }
    if (t->values) {
        return json_str(t->values[row->def.i]);
    }
    if (t == &prop_pci_addr || t == &prop_i32 || t == &prop_i64) {
        return json_int(t == &prop_i64 ? row->def.i : (int32_t)row->def.i);
    }
    if (prop_is_number(t)) {
        return json_uint(row->def.u);
    }
    return t->release == prop_str_release && row->def.s ? json_str(row->def.s) : NULL;
}

/* What a row says about itself: its help text, else the values it takes. NULL: nothing. g_free. */
static char *describe(const PropSpec *row)
{
    if (row->help) {
        return g_strdup(row->help);
    }
    if (row->type == &prop_bool || row->type == &prop_feature) {
        return g_strdup("on/off");
    }
    if (row->type == &prop_on_off_auto) {
        return g_strdup("on/off/auto");
    }
    if (row->type->values) {
        return g_strjoinv("/", (char **)(uintptr_t)row->type->values);
    }
    return NULL;
}

static char *help_line(const PropSpec *row)
{
    g_autoptr(Json) def = prop_default_value(row);
    g_autofree char *text = describe(row), *value = NULL;
    g_autofree char *head = g_strdup_printf("%s=<%s>", row->name, prop_type_name(row));

    if (!def && !text) {
        return g_strdup_printf("  %s", head);
    }
    if (def && json_type(def) == JSON_BOOL) {
        value = g_strdup(json_get_bool(def) ? "on" : "off");
    } else if (def && row->type->values) {
        value = g_strdup(json_get_str(def));
    } else if (def) {
        value = json_to_string(def, false);
    }
    if (!value) {
        return g_strdup_printf("  %-22s - %s", head, text);
    }
    return g_strdup_printf("  %-22s - %s (default: %s)", head, text ? text : "", value);
}

static bool collect_line(const PropSpec *row, void *opaque)
{
    if (!(row->flags & PROP_INTERNAL)) {
        g_ptr_array_add(opaque, help_line(row));
    }
    return true;
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void append_sorted(GString *out, GPtrArray *lines)
{
    g_ptr_array_sort(lines, compare_lines);
    for (unsigned i = 0; i < lines->len; i++) {
        g_string_append_printf(out, "%s\n", (const char *)g_ptr_array_index(lines, i));
    }
}

char *prop_class_help(const ObjClass *cls)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    GString *out = g_string_new(NULL);

    prop_walk_class(cls, collect_line, lines);
    if (lines->len) {
        g_string_append_printf(out, "%s options:\n", cls->name);
    } else {
        g_string_append_printf(out, "There are no options for %s.\n", cls->name);
    }
    append_sorted(out, lines);
    return g_string_free(out, FALSE);
}

char *prop_specs_help(const PropSpec *specs)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    GString *out = g_string_new(NULL);

    for (const PropSpec *s = specs; s && s->name; s++) {
        collect_line(s, lines);
    }
    append_sorted(out, lines);
    return g_string_free(out, FALSE);
}

typedef struct ListWalk {
    Json *out;
    bool all;
} ListWalk;

static bool collect_json(const PropSpec *row, void *opaque)
{
    ListWalk *w = opaque;

    if (row->flags & PROP_INTERNAL && !w->all) {
        return true;
    }
    Json *item = json_object();
    Json *def = prop_default_value(row);
    g_autofree char *text = describe(row);

    if (def) {
        json_set(item, "default-value", def);
    }
    json_set(item, "name", json_str(row->name));
    if (text) {
        json_set(item, "description", json_str(text));
    }
    json_set(item, "type", json_str(prop_type_name(row)));
    json_append(w->out, item);
    return true;
}

Json *prop_class_list(const ObjClass *cls, bool all)
{
    ListWalk w = { .out = json_array(), .all = all };

    prop_walk_class(cls, collect_json, &w);
    return w.out;
}

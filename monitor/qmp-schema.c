/*
 * query-qmp-schema, printed from the command tables: every command with its arguments. Return types
 * are "any" where the tables do not say more. Types other than the built-in ones have numbers for
 * names, as the protocol documents.
 */
#include "monitor/monitor.h"

#include <string.h>

typedef struct Schema {
    Json *out;
    GHashTable *made; /* "enum:OnOffAuto" → number + 1 */
    unsigned next;
} Schema;

static const char *const builtin[][2] = { { "str", "string" }, { "int", "int" },
    { "number", "number" }, { "bool", "boolean" }, { "null", "null" }, { "any", "value" } };

static Json *entry(Schema *s, const char *name, const char *meta)
{
    Json *e = json_object();

    json_set(e, "name", json_str(name));
    json_set(e, "meta-type", json_str(meta));
    json_append(s->out, e);
    return e;
}

static char *array_of(Schema *s, const char *element)
{
    char *name = g_strdup_printf("[%s]", element);

    if (g_hash_table_add(s->made, g_strdup(name))) {
        json_set(entry(s, name, "array"), "element-type", json_str(element));
    }
    return name;
}

static char *enum_type(Schema *s, const PropType *type)
{
    g_autofree char *key = g_strdup_printf("enum:%s", type->name);
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(s->made, key));

    if (!n) {
        n = ++s->next;
        g_hash_table_insert(s->made, g_strdup(key), GUINT_TO_POINTER(n));
        g_autofree char *name = g_strdup_printf("%u", n);
        Json *e = entry(s, name, "enum"), *members = json_array(), *values = json_array();

        for (unsigned i = 0; type->values[i]; i++) {
            Json *member = json_object();

            json_set(member, "name", json_str(type->values[i]));
            json_append(members, member);
            json_append(values, json_str(type->values[i]));
        }
        json_set(e, "members", members);
        json_set(e, "values", values);
    }
    return g_strdup_printf("%u", n);
}

static char *type_of(Schema *s, const PropSpec *row)
{
    const PropType *t = row->type;

    if (t->values) {
        return enum_type(s, t);
    }
    if (t == &prop_bool || t == &prop_feature) {
        return g_strdup("bool");
    }
    if (t == &prop_double) {
        return g_strdup("number");
    }
    if (prop_is_number(t)) {
        return g_strdup("int");
    }
    if (t == &prop_str_list) {
        return array_of(s, "str");
    }
    return g_strdup(t == &prop_json ? "any" : "str");
}

static char *arguments(Schema *s, const PropSpec *specs)
{
    Json *members = json_array();
    char *name = g_strdup_printf("%u", ++s->next);

    for (const PropSpec *row = specs; row && row->name; row++) {
        Json *member = json_object();
        g_autofree char *type = type_of(s, row);

        json_set(member, "name", json_str(row->name));
        if (!(row->flags & PROP_REQUIRED)) {
            json_set(member, "default", json_null());
        }
        json_set(member, "type", json_str(type));
        json_append(members, member);
    }
    json_set(entry(s, name, "object"), "members", members);
    return name;
}

static void add_command(const QmpCmd *cmd, void *opaque)
{
    Schema *s = opaque;
    g_autofree char *args = arguments(s, cmd->args_spec);
    Json *e = entry(s, cmd->name, "command");

    json_set(e, "ret-type", json_str("any"));
    json_set(e, "allow-oob", json_bool(false));
    json_set(e, "arg-type", json_str(args));
}

static const char *const shutdown_members[] = { "guest", "bool", "reason", "str", NULL };
static const char *const deleted_members[] = { "*device", "str", "path", "str", NULL };

static const QmpEventInfo events[] = {
    { "SHUTDOWN", shutdown_members },
    { "RESET", shutdown_members },
    { "POWERDOWN", NULL },
    { "STOP", NULL },
    { "RESUME", NULL },
    { "DEVICE_DELETED", deleted_members },
};

static void add_event(Schema *s, const QmpEventInfo *info)
{
    g_autofree char *args = g_strdup_printf("%u", ++s->next);
    Json *members = json_array();

    for (const char *const *m = info->members; m && *m; m += 2) {
        Json *member = json_object();
        bool optional = **m == '*';

        json_set(member, "name", json_str(*m + optional));
        if (optional) {
            json_set(member, "default", json_null());
        }
        json_set(member, "type", json_str(m[1]));
        json_append(members, member);
    }
    json_set(entry(s, args, "object"), "members", members);
    json_set(entry(s, info->name, "event"), "arg-type", json_str(args));
}

Json *qmp_schema(void)
{
    Schema s = { .out = json_array() };

    s.made = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(builtin); i++) {
        json_set(entry(&s, builtin[i][0], "builtin"), "json-type", json_str(builtin[i][1]));
    }
    qmp_each(add_command, &s);
    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        add_event(&s, &events[i]);
    }
    g_hash_table_unref(s.made);
    return s.out;
}

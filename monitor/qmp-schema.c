/*
 * query-qmp-schema, printed from tables: commands' arguments are property tables, what they return
 * and what events carry is written down in qmp-types.c, and the arguments of netdev_add, object-add
 * and blockdev-add come from the tables of back ends, classes and drivers. Types other than the
 * built-in ones have numbers for names, as the protocol documents. Tested by
 * tests/system/test_schema.py.
 */
#include "block/block.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "qmp-types.h"

#include <string.h>

typedef struct Schema {
    Json *out;
    GHashTable *made; /* a type's text, "[str]", "enum:OnOffAuto" → its name */
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

/* Keeps and returns the name of the type that key stands for. */
static const char *remember(Schema *s, const char *key)
{
    char *name = g_strdup_printf("%u", ++s->next);

    g_hash_table_insert(s->made, g_strdup(key), name);
    return name;
}

static const char *array_of(Schema *s, const char *element)
{
    g_autofree char *key = g_strdup_printf("[%s]", element);
    const char *name = g_hash_table_lookup(s->made, key);

    if (!name) {
        name = g_strdup(key);
        g_hash_table_insert(s->made, g_strdup(key), (gpointer)(uintptr_t)name);
        json_set(entry(s, key, "array"), "element-type", json_str(element));
    }
    return name;
}

static const char *enum_of(Schema *s, const char *const *values)
{
    g_autofree char *joined = g_strjoinv("|", (char **)(uintptr_t)values);
    g_autofree char *key = g_strdup_printf("<%s>", joined);
    const char *name = g_hash_table_lookup(s->made, key);

    if (!name) {
        name = remember(s, key);
        Json *e = entry(s, name, "enum"), *members = json_array(), *list = json_array();

        for (; *values; values++) {
            Json *member = json_object();

            json_set(member, "name", json_str(*values));
            json_append(members, member);
            json_append(list, json_str(*values));
        }
        json_set(e, "members", members);
        json_set(e, "values", list);
    }
    return name;
}

static const char *written(Schema *s, const QmpTypeRow *table, const char *name);

/* Property tables. */
static const char *type_of(Schema *s, const PropSpec *row)
{
    const PropType *t = row->type;

    if (t->values) {
        return enum_of(s, t->values);
    }
    if (!strcmp(t->name, prop_bool.name)) {
        return "bool";
    }
    if (t == &prop_double) {
        return "number";
    }
    if (prop_is_number(t)) {
        return "int";
    }
    if (t == &prop_str_list) {
        return array_of(s, "str");
    }
    const char *named = written(s, qmp_named_types, t->name);

    return named ? named : t == &prop_json ? "any" : "str";
}

static void add_member(Json *members, const char *name, const char *type, bool optional)
{
    Json *member = json_object();

    json_set(member, "name", json_str(name));
    if (optional) {
        json_set(member, "default", json_null());
    }
    json_set(member, "type", json_str(type));
    json_append(members, member);
}

static void add_rows(Schema *s, Json *members, const PropSpec *specs)
{
    for (const PropSpec *row = specs; row && row->name; row++) {
        if (!(row->flags & PROP_INTERNAL)) {
            add_member(members, row->name, type_of(s, row), !(row->flags & PROP_REQUIRED));
        }
    }
}

static const char *object_of(Schema *s, const PropSpec *specs)
{
    g_autofree char *key = g_strdup_printf("table:%p", (const void *)specs);
    const char *name = g_hash_table_lookup(s->made, key);

    if (!name) {
        Json *members = json_array();

        name = remember(s, key);
        add_rows(s, members, specs);
        json_set(entry(s, name, "object"), "members", members);
    }
    return name;
}

/* Written types. Each function moves *at behind what it read; the tables are ours, so what does not
 * parse is a bug. */
static const char *read_type(Schema *s, const char **at);

static void expect(const char **at, char c)
{
    g_assert(**at == c);
    ++*at;
}

static char *read_word(const char **at)
{
    size_t len = strspn(*at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    char *word = g_strndup(*at, len);

    g_assert(len);
    *at += len;
    return word;
}

static const char *named_text(const char *name)
{
    for (const QmpTypeRow *row = qmp_named_types; row->name; row++) {
        if (!strcmp(row->name, name)) {
            return row->type;
        }
    }
    g_assert_not_reached();
}

/* "a:T,*b:T,$Part", up to '}' or '@'. */
static void read_members(Schema *s, const char **at, Json *members)
{
    while (**at && **at != '}' && **at != '@') {
        bool optional = **at == '*';

        if (**at == '$') {
            ++*at;
            g_autofree char *part = read_word(at);
            const char *inside = named_text(part);

            read_members(s, &inside, members);
        } else {
            *at += optional;
            g_autofree char *name = read_word(at);

            expect(at, ':');
            add_member(members, name, read_type(s, at), optional);
        }
        *at += **at == ',';
    }
}

static void add_variant(Json *list, const char *value, const char *type)
{
    Json *v = json_object();

    json_set(v, "case", json_str(value));
    json_set(v, "type", json_str(type));
    json_append(list, v);
}

static void read_object(Schema *s, const char **at, const char *name)
{
    Json *members = json_array();

    expect(at, '{');
    read_members(s, at, members);
    g_autofree char *tag = NULL;
    Json *variants = NULL;

    if (**at == '@') {
        ++*at;
        tag = read_word(at);
        variants = json_array();
        while (**at == ' ') {
            ++*at;
            g_autofree char *value = read_word(at);

            expect(at, '=');
            add_variant(variants, value, read_type(s, at));
        }
    }
    expect(at, '}');
    Json *e = entry(s, name, "object");

    json_set(e, "members", members);
    if (variants) {
        json_set(e, "tag", json_str(tag));
        json_set(e, "variants", variants);
    }
}

/* The end of a balanced "{…}" or "<…>". */
static const char *skip(const char *at)
{
    unsigned depth = 0;

    do {
        depth += *at == '{' || *at == '<';
        depth -= *at == '}' || *at == '>';
        at++;
    } while (depth);
    return at;
}

static const char *read_text(Schema *s, const char *text)
{
    const char *name = g_hash_table_lookup(s->made, text);

    if (!name) {
        name = remember(s, text); /* before its members: a type may hold its like */
        read_object(s, &text, name);
    }
    return name;
}

static const char *read_type(Schema *s, const char **at)
{
    const char *from = *at;

    if (*from == '[') {
        ++*at;
        const char *element = read_type(s, at);

        expect(at, ']');
        return array_of(s, element);
    }
    if (*from == '<') {
        *at = skip(from);
        g_autofree char *inside = g_strndup(from + 1, (size_t)(*at - from - 2));
        g_auto(GStrv) values = g_strsplit(inside, "|", -1);

        return enum_of(s, (const char *const *)values);
    }
    if (*from == '{') {
        *at = skip(from);
        g_autofree char *text = g_strndup(from, (size_t)(*at - from));

        return read_text(s, text);
    }
    *at += *from == '$';
    g_autofree char *word = read_word(at);

    if (*from == '$') {
        return read_text(s, named_text(word));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(builtin); i++) {
        if (!strcmp(builtin[i][0], word)) {
            return builtin[i][0];
        }
    }
    g_assert_not_reached();
}

static const char *written(Schema *s, const QmpTypeRow *table, const char *name)
{
    for (const QmpTypeRow *row = table; row->name; row++) {
        if (!strcmp(row->name, name)) {
            const char *at = row->type, *type = read_type(s, &at);

            g_assert(!*at);
            return type;
        }
    }
    return NULL;
}

/* Arguments that depend on a kind: netdev_add's type, object-add's qom-type, blockdev-add's driver.
 */
typedef struct Kinds {
    GPtrArray *names; /* const char* */
    Json *variants, *members;
    const char *tag, *name;
} Kinds;

static Kinds kinds_new(Schema *s, const char *tag)
{
    return (Kinds){ g_ptr_array_new(), json_array(), json_array(), tag, remember(s, tag) };
}

static const char *kinds_end(Schema *s, Kinds *k)
{
    g_ptr_array_add(k->names, NULL);
    add_member(k->members, k->tag, enum_of(s, (const char *const *)k->names->pdata), false);
    Json *e = entry(s, k->name, "object");

    json_set(e, "members", k->members);
    json_set(e, "tag", json_str(k->tag));
    json_set(e, "variants", k->variants);
    g_ptr_array_unref(k->names);
    return k->name;
}

static void kinds_add(Kinds *k, const char *kind, const char *type)
{
    g_ptr_array_add(k->names, (gpointer)(uintptr_t)kind);
    add_variant(k->variants, kind, type);
}

static const char *netdev_arguments(Schema *s)
{
    Kinds k = kinds_new(s, "type");

    add_member(k.members, "id", "str", false);
    for (unsigned i = 0; net_backends[i]; i++) {
        kinds_add(&k, net_backends[i]->type, object_of(s, net_backends[i]->props));
    }
    return kinds_end(s, &k);
}

static const char *object_arguments(Schema *s)
{
    Kinds k = kinds_new(s, "qom-type");

    add_member(k.members, "id", "str", false);
    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if ((*c)->flags & OBJ_USER_OBJECT && !((*c)->flags & OBJ_ABSTRACT)) {
            Json *members = json_array();
            const char *type = remember(s, (*c)->name);

            for (const PropGroup *g = (*c)->props; g && g->props; g++) {
                add_rows(s, members, g->props);
            }
            json_set(entry(s, type, "object"), "members", members);
            kinds_add(&k, (*c)->name, type);
        }
    }
    return kinds_end(s, &k);
}

static const char *blockdev_arguments(Schema *s)
{
    static const char common[] =
        "*node-name:str,*read-only:bool,*auto-read-only:bool,*force-share:bool,"
        "*discard:<ignore|unmap>,*detect-zeroes:<off|on|unmap>,"
        "*cache:{*direct:bool,*no-flush:bool}";
    Kinds k = kinds_new(s, "driver");
    const char *at = common, *child = remember(s, "child"), *either[] = { k.name, "str" };
    Json *alternatives = json_array();

    for (unsigned i = 0; i < G_N_ELEMENTS(either); i++) {
        Json *member = json_object();

        json_set(member, "type", json_str(either[i]));
        json_append(alternatives, member);
    }
    json_set(entry(s, child, "alternate"), "members", alternatives);

    read_members(s, &at, k.members);
    for (unsigned i = 0; blk_drivers[i]; i++) {
        const BlkDriver *d = blk_drivers[i];

        if (g_str_has_prefix(d->name, "x-")) { /* not for users */
            continue;
        }
        Json *members = json_array();
        const char *type = remember(s, d->name);

        if (!d->protocol) {
            add_member(members, d->child ? d->child : "file", child, false);
        }
        add_rows(s, members, d->props);
        json_set(entry(s, type, "object"), "members", members);
        kinds_add(&k, d->name, type);
    }
    return kinds_end(s, &k);
}

static const char *arguments(Schema *s, const QmpCmd *cmd)
{
    static const struct {
        const char *cmd;
        const char *(*make)(Schema *s);
    } made[] = { { "netdev_add", netdev_arguments }, { "object-add", object_arguments },
        { "blockdev-add", blockdev_arguments } };
    const char *type = written(s, qmp_arguments, cmd->name);

    for (unsigned i = 0; !type && i < G_N_ELEMENTS(made); i++) {
        type = !strcmp(made[i].cmd, cmd->name) ? made[i].make(s) : NULL;
    }
    return type ? type : object_of(s, cmd->args_spec);
}

static void add_command(const QmpCmd *cmd, void *opaque)
{
    Schema *s = opaque;
    const char *args = arguments(s, cmd), *ret = written(s, qmp_returns, cmd->name);
    bool query = strstr(cmd->name, "query-") != NULL;
    Json *e = entry(s, cmd->name, "command"), *features = json_array();

    json_set(e, "ret-type", json_str(ret ? ret : query ? "any" : object_of(s, NULL)));
    json_set(e, "allow-oob", json_bool(false));
    json_set(e, "arg-type", json_str(args));
    if (g_str_has_prefix(cmd->name, "x-")) {
        json_append(features, json_str("unstable"));
    }
    if (!strcmp(cmd->name, "device_add")) { /* -device takes JSON, and what it made can go */
        json_append(features, json_str("json-cli"));
        json_append(features, json_str("json-cli-hotplug"));
    }
    if (json_len(features)) {
        json_set(e, "features", features);
    } else {
        json_unref(features);
    }
}

Json *qmp_schema(void)
{
    Schema s = { .out = json_array() };

    s.made = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (unsigned i = 0; i < G_N_ELEMENTS(builtin); i++) {
        json_set(entry(&s, builtin[i][0], "builtin"), "json-type", json_str(builtin[i][1]));
    }
    qmp_each(add_command, &s);
    for (const QmpTypeRow *row = qmp_event_types; row->name; row++) {
        const char *args = written(&s, qmp_event_types, row->name);

        json_set(entry(&s, row->name, "event"), "arg-type", json_str(args));
    }
    g_hash_table_unref(s.made);
    return s.out;
}

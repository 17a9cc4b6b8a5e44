/* The JSON tree: reference counts, insertion order, 64-bit integers of both signs (RFC 8259). */
#include "util/json.h"

#include "json-internal.h"

#include <string.h>

enum { INDEX_FROM = 16 }; /* objects with more members get a hash table */

JsonType json_type(const Json *j)
{
    return j->type;
}

static Json *json_new(JsonType type)
{
    Json *j = g_new0(Json, 1);

    j->refs = 1;
    j->type = type;
    return j;
}

Json *json_ref(Json *j)
{
    __atomic_fetch_add(&j->refs, 1, __ATOMIC_RELAXED);
    return j;
}

void json_unref(Json *j)
{
    if (!j || __atomic_fetch_sub(&j->refs, 1, __ATOMIC_ACQ_REL) != 1) {
        return;
    }
    if (j->type == JSON_STR) {
        g_free(j->str);
    } else if (j->type == JSON_ARRAY || j->type == JSON_OBJECT) {
        for (unsigned i = 0; i < j->len; i++) {
            json_unref(j->vals[i]);
            if (j->keys) {
                g_free(j->keys[i]);
            }
        }
        g_free(j->vals);
        g_free(j->keys);
        g_clear_pointer(&j->index, g_hash_table_unref);
    }
    g_free(j);
}

Json *json_null(void)
{
    return json_new(JSON_NULL);
}

Json *json_bool(bool v)
{
    Json *j = json_new(JSON_BOOL);

    j->b = v;
    return j;
}

Json *json_int(int64_t v)
{
    Json *j = json_new(JSON_INT);

    j->i = v;
    return j;
}

Json *json_uint(uint64_t v)
{
    if (v <= INT64_MAX) {
        return json_int((int64_t)v);
    }
    Json *j = json_new(JSON_UINT);

    j->u = v;
    return j;
}

Json *json_double(double v)
{
    Json *j = json_new(JSON_DOUBLE);

    j->d = v;
    return j;
}

Json *json_str(const char *s)
{
    Json *j = json_new(JSON_STR);

    j->str = g_strdup(s ? s : "");
    return j;
}

Json *json_text(const char *s)
{
    Json *j = json_str(s);

    j->text = true;
    return j;
}

bool json_is_text(const Json *j)
{
    return j->text;
}

Json *json_array(void)
{
    return json_new(JSON_ARRAY);
}

Json *json_object(void)
{
    return json_new(JSON_OBJECT);
}

static void json_grow(Json *j)
{
    if (j->len == j->cap) {
        j->cap = j->cap ? 2 * j->cap : 4;
        j->vals = g_renew(Json *, j->vals, j->cap);
        if (j->type == JSON_OBJECT) {
            j->keys = g_renew(char *, j->keys, j->cap);
        }
    }
}

void json_append(Json *array, Json *val)
{
    g_assert(array->type == JSON_ARRAY);
    json_grow(array);
    array->vals[array->len++] = val;
}

/* The last member of that name, -1: none. The table holds index + 1. */
static int json_find(const Json *object, const char *key)
{
    g_assert(object->type == JSON_OBJECT);
    if (object->index) {
        return GPOINTER_TO_INT(g_hash_table_lookup(object->index, key)) - 1;
    }
    for (unsigned i = object->len; i-- > 0;) {
        if (!strcmp(object->keys[i], key)) {
            return (int)i;
        }
    }
    return -1;
}

void json_add(Json *object, const char *key, Json *val)
{
    g_assert(object->type == JSON_OBJECT);
    json_grow(object);
    object->keys[object->len] = g_strdup(key);
    object->vals[object->len++] = val;
    if (object->index) {
        g_hash_table_replace(
            object->index, object->keys[object->len - 1], GINT_TO_POINTER((int)object->len));
    } else if (object->len > INDEX_FROM) {
        object->index = g_hash_table_new(g_str_hash, g_str_equal);
        for (unsigned i = 0; i < object->len; i++) {
            g_hash_table_replace(object->index, object->keys[i], GINT_TO_POINTER((int)i + 1));
        }
    }
}

void json_set(Json *object, const char *key, Json *val)
{
    int i = json_find(object, key);

    if (i < 0) {
        json_add(object, key, val);
        return;
    }
    json_unref(object->vals[i]);
    object->vals[i] = val;
}

bool json_remove(Json *object, const char *key)
{
    if (json_find(object, key) < 0) {
        return false;
    }
    g_autofree char *name = g_strdup(key); /* key may be the member's own string */
    unsigned to = 0;

    g_clear_pointer(
        &object->index, g_hash_table_unref); /* positions change; made anew when it grows */
    for (unsigned i = 0; i < object->len; i++) {
        if (!strcmp(object->keys[i], name)) {
            json_unref(object->vals[i]);
            g_free(object->keys[i]);
            continue;
        }
        object->keys[to] = object->keys[i];
        object->vals[to++] = object->vals[i];
    }
    object->len = to;
    return true;
}

bool json_get_bool(const Json *j)
{
    g_assert(j->type == JSON_BOOL);
    return j->b;
}

int64_t json_get_int(const Json *j)
{
    g_assert(j->type == JSON_INT);
    return j->i;
}

uint64_t json_get_uint(const Json *j)
{
    if (j->type == JSON_UINT) {
        return j->u;
    }
    g_assert(j->type == JSON_INT && j->i >= 0);
    return (uint64_t)j->i;
}

double json_get_double(const Json *j)
{
    switch (j->type) {
    case JSON_INT:
        return (double)j->i;
    case JSON_UINT:
        return (double)j->u;
    default:
        g_assert(j->type == JSON_DOUBLE);
        return j->d;
    }
}

const char *json_get_str(const Json *j)
{
    g_assert(j->type == JSON_STR);
    return j->str;
}

unsigned json_len(const Json *j)
{
    g_assert(j->type == JSON_ARRAY || j->type == JSON_OBJECT);
    return j->len;
}

Json *json_at(const Json *array, unsigned i)
{
    g_assert(array->type == JSON_ARRAY && i < array->len);
    return array->vals[i];
}

Json *json_get(const Json *object, const char *key)
{
    int i = json_find(object, key);

    return i < 0 ? NULL : object->vals[i];
}

const char *json_key_at(const Json *object, unsigned i)
{
    g_assert(object->type == JSON_OBJECT && i < object->len);
    return object->keys[i];
}

Json *json_val_at(const Json *object, unsigned i)
{
    g_assert(object->type == JSON_OBJECT && i < object->len);
    return object->vals[i];
}

const char *json_get_str_or(const Json *object, const char *key, const char *otherwise)
{
    const Json *v = json_get(object, key);

    return v && v->type == JSON_STR ? v->str : otherwise;
}

Json *json_copy(const Json *j)
{
    Json *c = json_new(j->type);

    c->text = j->text;
    switch (j->type) {
    case JSON_STR:
        c->str = g_strdup(j->str);
        break;
    case JSON_ARRAY:
        for (unsigned i = 0; i < j->len; i++) {
            json_append(c, json_copy(j->vals[i]));
        }
        break;
    case JSON_OBJECT:
        for (unsigned i = 0; i < j->len; i++) {
            json_add(c, j->keys[i], json_copy(j->vals[i]));
        }
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_INT:
    case JSON_UINT:
    case JSON_DOUBLE:
        c->u = j->u; /* the union's widest member */
        break;
    }
    return c;
}

bool json_equal(const Json *a, const Json *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->b == b->b;
    case JSON_INT:
    case JSON_UINT:
        return a->u == b->u;
    case JSON_DOUBLE:
        return a->d == b->d;
    case JSON_STR:
        return !strcmp(a->str, b->str);
    case JSON_ARRAY:
        for (unsigned i = 0; a->len == b->len && i < a->len; i++) {
            if (!json_equal(a->vals[i], b->vals[i])) {
                return false;
            }
        }
        return a->len == b->len;
    case JSON_OBJECT:
        for (unsigned i = 0; a->len == b->len && i < a->len; i++) {
            const Json *other = json_get(b, a->keys[i]);

            if (!other || !json_equal(json_get(a, a->keys[i]), other)) {
                return false;
            }
        }
        return a->len == b->len;
    }
    g_assert_not_reached();
}

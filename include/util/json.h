/*
 * JSON: an immutable-once-shared tree with reference counts, a streaming parser for QMP, and a
 * writer. Accepts single-quoted strings (QEMU's -device "{'driver': …}"); bounded depth (1024) and
 * size. keyval.h builds the same trees from "a=b,c.d=e"; strings that come from such text have
 * json_is_text().
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Json Json;
typedef enum JsonType {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_UINT,
    JSON_DOUBLE,
    JSON_STR,
    JSON_ARRAY,
    JSON_OBJECT,
} JsonType; /* JSON_UINT only for values above INT64_MAX */

JsonType json_type(const Json *j);
Json *json_ref(Json *j);
void json_unref(Json *j);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Json, json_unref)

Json *json_null(void);
Json *json_bool(bool v);
Json *json_int(int64_t v);
Json *json_uint(uint64_t v);
Json *json_double(double v);
Json *json_str(const char *s);
Json *json_text(const char *s); /* a string from a command line: PropType.parse reads it */
bool json_is_text(const Json *j);
Json *json_array(void);
Json *json_object(void);
void json_append(Json *array, Json *val);                /* takes val */
void json_set(Json *object, const char *key, Json *val); /* takes val; replaces */
/* Takes val; keeps earlier values of the same key, which json_key_at() still shows:
 * "hostfwd=a,hostfwd=b". json_get() gives the last. */
void json_add(Json *object, const char *key, Json *val);
bool json_remove(Json *object, const char *key); /* all values of that key */

bool json_get_bool(const Json *j);
int64_t json_get_int(const Json *j);
uint64_t json_get_uint(const Json *j);
double json_get_double(const Json *j);
const char *json_get_str(const Json *j);                 /* borrowed */
unsigned json_len(const Json *j);                        /* members or elements */
Json *json_at(const Json *array, unsigned i);            /* borrowed */
Json *json_get(const Json *object, const char *key);     /* borrowed; NULL if absent */
const char *json_key_at(const Json *object, unsigned i); /* insertion order is kept */
Json *json_val_at(const Json *object, unsigned i);
const char *json_get_str_or(const Json *object, const char *key, const char *otherwise);
Json *json_copy(const Json *j); /* deep */
bool json_equal(const Json *a, const Json *b);

/* The whole text must be one value. Error texts are QEMU's ("JSON parse error, premature EOI", …).
 */
Json *json_parse(const char *text, gssize len, GError **err);

/* Streaming: feed bytes; each complete value (or error) goes to fn. fn owns val. */
typedef struct JsonStream JsonStream;
typedef void JsonStreamFn(void *opaque, Json *val, GError *err);
JsonStream *json_stream_new(JsonStreamFn *fn, void *opaque);
void json_stream_free(JsonStream *s);
void json_stream_feed(JsonStream *s, const char *bytes, size_t n);
void json_stream_eof(JsonStream *s);

/* one line, "key": val with ", " like QEMU's QMP; g_free */
char *json_to_string(const Json *j, bool pretty);

/* A writer builds a tree (PropType.get, describe): w may be at top, in an object (name != NULL) or
 * in an array. */
typedef struct JsonWriter JsonWriter;
JsonWriter *json_writer_new(void);
Json *json_writer_free(JsonWriter *w); /* returns the tree; takes w */
void jw_null(JsonWriter *w, const char *name);
void jw_bool(JsonWriter *w, const char *name, bool v);
void jw_int(JsonWriter *w, const char *name, int64_t v);
void jw_uint(JsonWriter *w, const char *name, uint64_t v);
void jw_str(JsonWriter *w, const char *name, const char *v);
void jw_strf(JsonWriter *w, const char *name, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
void jw_json(JsonWriter *w, const char *name, Json *val); /* takes val */
void jw_begin_object(JsonWriter *w, const char *name);
void jw_end_object(JsonWriter *w);
void jw_begin_array(JsonWriter *w, const char *name);
void jw_end_array(JsonWriter *w);

/* "a=b,c.d=e" option texts, and the numbers, sizes and switches in them. Tested by test-keyval. */
#include "util/keyval.h"

#include "util/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Up to a comma (two commas are one) or, for keys, up to '='. Leaves *text at the stop. */
static char *take(const char **text, bool key)
{
    GString *out = g_string_new(NULL);
    const char *t = *text;

    while (*t && !(key && *t == '=')) {
        if (*t == ',') {
            if (t[1] != ',' || key) {
                break;
            }
            t++;
        }
        g_string_append_c(out, *t++);
    }
    *text = t;
    return g_string_free(out, FALSE);
}

static bool is_index(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s) && strlen(s) < 6;
}

/* "a.b.c" = val: the objects on the way are made. */
static bool put_dotted(Json *top, const char *key, Json *val, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", -1);
    Json *at = top;
    unsigned i = 0;

    for (; parts[i] && parts[i + 1]; i++) {
        Json *next = json_get(at, parts[i]);

        if (!*parts[i] || (next && json_type(next) != JSON_OBJECT)) {
            json_unref(val);
            return err_set(err, "Parameters '%s.*' used inconsistently", parts[i]);
        }
        if (!next) {
            next = json_object();
            json_set(at, parts[i], next);
        }
        at = next;
    }
    const Json *old = parts[i] ? json_get(at, parts[i]) : NULL;

    if (!parts[i] || (old && json_type(old) == JSON_OBJECT)) {
        json_unref(val);
        return err_set(err, "Parameters '%s.*' used inconsistently", key);
    }
    json_add(at, parts[i], val);
    return true;
}

/* Objects whose keys are 0…n-1 become arrays. Returns a new tree. */
static Json *listify(const Json *j, const char *name, GError **err)
{
    if (json_type(j) != JSON_OBJECT) {
        return json_copy(j);
    }
    unsigned n = json_len(j), indices = 0;
    g_autoptr(Json) out = NULL;

    for (unsigned i = 0; i < n; i++) {
        indices += is_index(json_key_at(j, i));
    }
    if (!n || !indices || !name) {
        out = json_object();
    } else if (indices < n) {
        err_set(err, "Parameters '%s.*' used inconsistently", name);
        return NULL;
    } else {
        out = json_array();
    }
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *index = g_strdup_printf("%u", i);
        bool array = json_type(out) == JSON_ARRAY;
        const Json *val = array ? json_get(j, index) : json_val_at(j, i);

        if (!val) {
            err_set(err, "Parameter '%s.%u' missing", name, i);
            return NULL;
        }
        Json *member = listify(val, array ? index : json_key_at(j, i), err);

        if (!member) {
            return NULL;
        }
        if (array) {
            json_append(out, member);
        } else {
            json_add(out, json_key_at(j, i), member);
        }
    }
    return g_steal_pointer(&out);
}

Json *keyval_parse(const char *text, const char *implied, bool dotted, bool *ret_help, GError **err)
{
    g_autoptr(Json) out = json_object();
    bool first = true;

    for (const char *t = text; *t; first = false) {
        const char *from = t;
        g_autofree char *key = take(&t, /* key= */ true);
        g_autofree char *val = NULL;

        if (*t == '=') {
            t++;
            val = take(&t, /* key= */ false);
        } else {
            t = from;
            g_autofree char *word = take(&t, /* key= */ false);

            if (ret_help && (!strcmp(word, "help") || !strcmp(word, "?"))) {
                *ret_help = true;
                t += *t == ',';
                continue;
            }
            g_free(key);
            if (first && implied) {
                key = g_strdup(implied);
                val = g_steal_pointer(&word);
            } else if (!*word) {
                key = g_steal_pointer(&word); /* ",," at an end, a trailing comma: nothing */
            } else if (g_str_has_prefix(word, "no") && word[2]) {
                key = g_strdup(word + 2);
                val = g_strdup("off");
            } else {
                key = g_steal_pointer(&word);
                val = g_strdup("on");
            }
        }
        t += *t == ',';
        if (!val) {
            continue;
        }
        if (!dotted) {
            json_add(out, key, json_text(val));
        } else if (!put_dotted(out, key, json_text(val), err)) {
            return NULL;
        }
    }
    return dotted ? listify(out, NULL, err) : g_steal_pointer(&out);
}

Json *keyval_nest(const Json *flat, GError **err)
{
    g_autoptr(Json) out = json_object();

    for (unsigned i = 0; i < json_len(flat); i++) {
        if (!put_dotted(out, json_key_at(flat, i), json_ref(json_val_at(flat, i)), err)) {
            return NULL;
        }
    }
    return listify(out, NULL, err);
}

Json *opts_parse(const char *text, const char *implied, bool dotted, bool *ret_help, GError **err)
{
    if (*text != '{') {
        return keyval_parse(text, implied, dotted, ret_help, err);
    }
    return json_parse(text, -1, err);
}

bool parse_uint(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    uint64_t v = g_ascii_strtoull(text, &end, 0);

    if (errno || *end || v > max) {
        return false;
    }
    *ret = v;
    return true;
}

bool parse_int(const char *text, int64_t *ret)
{
    char *end;
    const char *digits = text + (*text == '-' || *text == '+');

    if (!g_ascii_isdigit(*digits)) {
        return false;
    }
    errno = 0;
    int64_t v = g_ascii_strtoll(text, &end, 0);

    if (errno || *end) {
        return false;
    }
    *ret = v;
    return true;
}

bool parse_bool(const char *text, bool *ret)
{
    static const char *const on[] = { "on", "yes", "true", "y" };
    static const char *const off[] = { "off", "no", "false", "n" };

    for (unsigned i = 0; i < G_N_ELEMENTS(on); i++) {
        bool yes = !strcmp(text, on[i]);

        if (yes || !strcmp(text, off[i])) {
            *ret = yes;
            return true;
        }
    }
    return false;
}

static bool size_unit(char c, uint64_t *ret)
{
    static const char units[] = "BKMGTPE";
    const char *at = c ? strchr(units, g_ascii_toupper(c)) : NULL;

    if (!at) {
        return false;
    }
    *ret = 1ull << (10 * (at - units));
    return true;
}

bool parse_size(const char *text, uint64_t default_unit, uint64_t *ret)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    uint64_t unit = default_unit, whole;
    double fraction = 0;
    char *end;

    if (!g_ascii_isdigit(*text)) {
        return false;
    }
    errno = 0;
    whole = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (errno) {
        return false;
    }
    if (!hex && *end == '.') {
        const char *digits = end;

        if (!g_ascii_isdigit(end[1])) {
            end++; /* "1." is 1 */
        } else {
            fraction = g_ascii_strtod(digits, &end);
        }
    }
    if (*end && size_unit(*end, &unit)) {
        end++;
    }
    if (*end || (fraction != 0 && unit == 1)) {
        return false;
    }
    uint64_t part = (uint64_t)round(fraction * (double)unit);

    return !__builtin_mul_overflow(whole, unit, &whole) &&
           !__builtin_add_overflow(whole, part, ret);
}

bool id_check(const char *id, GError **err)
{
    bool ok = g_ascii_isalpha(*id);

    for (const char *c = id; ok && *c; c++) {
        ok = g_ascii_isalnum(*c) || strchr("-._", *c);
    }
    if (!ok) {
        err_set(err, "Parameter 'id' expects an identifier");
        err_hint(
            err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
    }
    return ok;
}

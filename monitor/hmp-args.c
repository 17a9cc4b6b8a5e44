/* Arguments of the human monitor's commands, by a line that says what they are. Tested by
 * tests/system/test_qmp.py. */
#include "monitor-internal.h"

#include <string.h>

/* One word, or a text in quotes; moves *at behind it. NULL: none, or the quotes do not end. */
static char *take_word(const char **at)
{
    GString *word = g_string_new(NULL);
    const char *p = *at;

    if (*p != '"') {
        size_t len = strcspn(p, " \t");

        g_string_append_len(word, p, (gssize)len);
        *at = p + len;
        return g_string_free(word, len == 0);
    }
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1]) {
            p++;
            g_string_append_c(word, *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p);
        } else {
            g_string_append_c(word, *p);
        }
    }
    *at = p + (*p == '"');
    return g_string_free(word, *p != '"');
}

typedef struct ArgSpec {
    char *name;
    char type;
    bool optional; /* of '-': a word follows, "-f png" */
} ArgSpec;

static bool take_number(Machine *m, const ArgSpec *a, const char **at, Json *into, GError **err)
{
    uint64_t v;

    if (!hmp_expr(m, at, &v, err)) {
        return false;
    }
    /* Both halves of a 64-bit number count: -1 is too wide. */
    if (a->type == 'i' && v >> 32) {
        return err_set(err, "integer is for 32-bit values");
    }
    if (a->type == 'M' && (int64_t)v < 0) {
        return err_set(err, "enter a positive value");
    }
    json_set(into, a->name, a->type == 'M' ? json_int((int64_t)(v << 20)) : json_uint(v));
    return true;
}

static bool take_switch(const ArgSpec *a, const char **at, Json *into, GError **err)
{
    g_autofree char *word = take_word(at);

    if (!word || (strcmp(word, "on") != 0 && strcmp(word, "off") != 0)) {
        return err_set(err, "Expected 'on' or 'off'");
    }
    json_set(into, a->name, json_bool(!strcmp(word, "on")));
    return true;
}

static bool take(
    Machine *m, const char *cmd, const ArgSpec *a, const char **at, Json *into, GError **err)
{
    *at += strspn(*at, " \t");
    if (a->type == '-') { /* "-a" */
        if ((*at)[0] == '-' && (*at)[1] == a->name[0] && (!(*at)[2] || (*at)[2] == ' ')) {
            *at += 2;
            *at += strspn(*at, " \t");
            char *word = a->optional ? take_word(at) : NULL;

            if (a->optional && !word) {
                return err_set(err, "%s: string expected", cmd);
            }
            json_set(into, a->name, word ? json_str(word) : json_bool(true));
            g_free(word);
        }
        return true;
    }
    if (!**at && a->optional) {
        return true;
    }
    switch (a->type) {
    case 'i':
    case 'l':
    case 'M': /* in MiB, as people give it */
        return take_number(m, a, at, into, err);
    case 'b':
        return take_switch(a, at, into, err);
    case 'S': /* the rest of the line */
        if (!**at) {
            return err_set(err, "%s: string expected", cmd);
        }
        json_set(into, a->name, json_str(*at));
        *at += strlen(*at);
        return true;
    default: {
        g_autofree char *word = take_word(at);

        if (!word) {
            return err_set(err, "%s: string expected", cmd);
        }
        json_set(into, a->name, json_str(word));
        return true;
    }
    }
}

/* Where a "-a" may stand, no other "-x" may. */
static bool known_option(const char *spec, const char *cmd, const char *at, GError **err)
{
    if (at[0] != '-' || !at[1]) {
        return true;
    }
    const char row[] = { at[1], ':', '-', 0 }, *found = strstr(spec, row);

    return (found && (found == spec || found[-1] == ' ')) ||
           err_set(err, "%s: unsupported option -%c", cmd, at[1]);
}

Json *hmp_parse(
    Machine *m, const char *cmd, bool is_info, const char *spec, const char *text, GString *out)
{
    g_auto(GStrv) rows = g_strsplit(spec, " ", -1);
    g_autoptr(Json) args = json_object();
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; rows[i] && *rows[i] && !err; i++) {
        char *colon = strchr(rows[i], ':');

        g_assert(colon);
        if (colon[1] == '-' && !known_option(spec, cmd, text + strspn(text, " \t"), &err)) {
            break;
        }
        *colon = 0;
        take(m, cmd, &(ArgSpec){ .name = rows[i], .type = colon[1], .optional = colon[2] != 0 },
            &text, args, &err);
    }
    text += strspn(text, " \t");
    if (!err && *text) {
        err_set(&err, "%s: extraneous characters at the end of line", cmd);
    }
    if (!err) {
        return g_steal_pointer(&args);
    }
    bool wide = g_str_has_prefix(err->message, "integer is for");

    if (wide) {
        g_string_append_printf(out, "'%s' has failed: ", cmd);
    }
    g_string_append_printf(out, "%s\nTry \"help %s%s\" for more information\n", err->message,
        is_info ? "info " : "", cmd);
    return NULL;
}

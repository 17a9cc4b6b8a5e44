/* Input over QMP: input-send-event, send-key, query-mice, and the texts of the human monitor's
 * sendkey. Tested by tests/system/test_input.py. */
#include "ui/input.h"
#include "util/err.h"

#include <string.h>

/* A JSON value with the way to it, for messages: "events[0].data.key". */
typedef struct At {
    const Json *j;
    char path[64];
} At;

static bool expect(const At *at, JsonType type, const char *name, GError **err)
{
    return json_type(at->j) == type ||
           err_set(err, "Invalid parameter type for '%s', expected: %s", at->path, name);
}

static bool get(const At *at, const char *name, At *ret, GError **err)
{
    if (!expect(at, JSON_OBJECT, "object", err)) {
        return false;
    }
    ret->j = json_get(at->j, name);
    g_snprintf(ret->path, sizeof ret->path, "%s.%s", at->path, name);
    return ret->j || err_set(err, "Parameter '%s' is missing", ret->path);
}

/* One of the names, in their order. */
static bool get_enum(
    const At *at, const char *name, const char *const *names, unsigned *ret, GError **err)
{
    At m;

    if (!get(at, name, &m, err) || !expect(&m, JSON_STR, "string", err)) {
        return false;
    }
    for (unsigned i = 0; names[i]; i++) {
        if (!strcmp(names[i], json_get_str(m.j))) {
            *ret = i;
            return true;
        }
    }
    return err_set(err, "Parameter '%s' does not accept value '%s'", name, json_get_str(m.j));
}

static bool get_bool(const At *at, const char *name, bool *ret, GError **err)
{
    At m;

    if (!get(at, name, &m, err) || !expect(&m, JSON_BOOL, "boolean", err)) {
        return false;
    }
    *ret = json_get_bool(m.j);
    return true;
}

static bool get_int(const At *at, const char *name, int64_t *ret, GError **err)
{
    At m;

    if (!get(at, name, &m, err)) {
        return false;
    }
    if (json_type(m.j) != JSON_INT) {
        return err_set(err, "Invalid parameter type for '%s', expected: integer", m.path);
    }
    *ret = json_get_int(m.j);
    return true;
}

static bool only(const At *at, const char *const *names, GError **err)
{
    for (unsigned i = 0; i < json_len(at->j); i++) {
        const char *key = json_key_at(at->j, i);

        if (!g_strv_contains(names, key)) {
            return err_set(err, "Parameter '%s.%s' is unexpected", at->path, key);
        }
    }
    return true;
}

/* A KeyValue. */
static bool read_key(const At *at, uint16_t *ret, GError **err)
{
    static const char *const kinds[] = { "number", "qcode", NULL }, *const members[] = { "type",
        "data", NULL };
    unsigned kind;
    int64_t n;
    At data;

    if (!expect(at, JSON_OBJECT, "object", err) || !get_enum(at, "type", kinds, &kind, err)) {
        return false;
    }
    if (kind == 0) {
        if (!get_int(at, "data", &n, err)) {
            return false;
        }
        *ret = input_key_by_number((uint64_t)n);
    } else {
        if (!get(at, "data", &data, err) || !expect(&data, JSON_STR, "string", err)) {
            return false;
        }
        *ret = input_key_by_name(json_get_str(data.j));
        if (*ret == UINT16_MAX) {
            return err_set(
                err, "Parameter 'data' does not accept value '%s'", json_get_str(data.j));
        }
    }
    return only(at, members, err);
}

static const char *const axes[] = { "x", "y", NULL };

static bool read_move(const At *data, InputEvent *ev, GError **err)
{
    static const char *const members[] = { "axis", "value", NULL };
    unsigned axis;
    int64_t v;

    if (!get_enum(data, "axis", axes, &axis, err) || !get_int(data, "value", &v, err) ||
        !only(data, members, err)) {
        return false;
    }
    ev->axis = axis;
    ev->value = (int32_t)CLAMP(v, INT32_MIN, INT32_MAX);
    return true;
}

static bool read_touch(const At *data, InputEvent *ev, GError **err)
{
    static const char *const types[] = { "begin", "update", "end", "cancel", "data", NULL },
                             *const members[] = { "type", "slot", "tracking-id", "axis", "value",
                                 NULL };
    unsigned type, axis;
    int64_t slot, id, v;

    if (!get_enum(data, "type", types, &type, err) || !get_int(data, "slot", &slot, err) ||
        !get_int(data, "tracking-id", &id, err) || !get_enum(data, "axis", axes, &axis, err) ||
        !get_int(data, "value", &v, err) || !only(data, members, err)) {
        return false;
    }
    if (slot < 0 || slot >= INPUT_SLOTS) {
        return err_set(
            err, "Parameter '%s.slot' expects a number from 0 to %d", data->path, INPUT_SLOTS - 1);
    }
    ev->touch = type;
    ev->slot = (uint8_t)slot;
    ev->tracking_id = (int32_t)CLAMP(id, -1, INT32_MAX);
    ev->axis = axis;
    ev->value = (int32_t)CLAMP(v, 0, INPUT_ABS_MAX);
    return true;
}

static const char *const event_kinds[] = { "key", "btn", "rel", "abs", "mtt", NULL };

static bool read_data(const At *data, InputEvent *ev, GError **err)
{
    static const char *const buttons[] = { "left", "middle", "right", "wheel-up", "wheel-down",
        "side", "extra", "wheel-left", "wheel-right", "touch", NULL };
    static const char *const key_members[] = { "key", "down", NULL }, *const btn_members[] = {
        "button", "down", NULL
    };
    unsigned button;
    At key;

    switch (ev->kind) {
    case INPUT_KEY:
        return get(data, "key", &key, err) && read_key(&key, &ev->key, err) &&
               get_bool(data, "down", &ev->down, err) && only(data, key_members, err);
    case INPUT_BTN:
        if (!get_enum(data, "button", buttons, &button, err)) {
            return false;
        }
        ev->button = button;
        return get_bool(data, "down", &ev->down, err) && only(data, btn_members, err);
    case INPUT_REL:
    case INPUT_ABS:
        if (!read_move(data, ev, err)) {
            return false;
        }
        if (ev->kind == INPUT_ABS) {
            ev->value = CLAMP(ev->value, 0, INPUT_ABS_MAX);
        }
        return true;
    case INPUT_MTT:
        return read_touch(data, ev, err);
    }
    return true;
}

static bool read_event(const At *at, InputEvent *ev, GError **err)
{
    static const char *const members[] = { "type", "data", NULL };
    unsigned kind;
    At data;

    *ev = (InputEvent){ 0 };
    if (!expect(at, JSON_OBJECT, "object", err) || !get_enum(at, "type", event_kinds, &kind, err) ||
        !get(at, "data", &data, err) || !expect(&data, JSON_OBJECT, "object", err)) {
        return false;
    }
    ev->kind = kind;
    return read_data(&data, ev, err) && only(at, members, err);
}

static At nth(const Json *list, const char *name, unsigned i)
{
    At at = { .j = json_at(list, i) };

    g_snprintf(at.path, sizeof at.path, "%s[%u]", name, i);
    return at;
}

static bool is_list(const Json *j, const char *name, GError **err)
{
    return json_type(j) == JSON_ARRAY ||
           err_set(err, "Invalid parameter type for '%s', expected: array", name);
}

typedef struct SendArgs {
    char *device;
    int64_t head;
    Json *events;
} SendArgs;

/* clang-format off */
static const PropSpec send_args[] = {
    PROP_STR("device", SendArgs, device, "the display the events belong to"),
    { .name = "head", .type = &prop_i64, .offset = PROP_AT(SendArgs, head, int64_t), .bit = -1, .help = "of its heads" },
    { .name = "events", .type = &prop_json, .offset = PROP_AT(SendArgs, events, Json *), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_REQUIRED, .help = "what happens at once" },
    PROP_END,
};
/* clang-format on */

static Json *qmp_send_event(void *machine, const void *args, GError **err)
{
    const SendArgs *a = args;
    const Display *from = NULL;

    if (!is_list(a->events, "events", err)) {
        return NULL;
    }
    g_autofree InputEvent *ev = g_new0(InputEvent, json_len(a->events) + 1);

    for (unsigned i = 0; i < json_len(a->events); i++) {
        At at = nth(a->events, "events", i);

        if (!read_event(&at, &ev[i], err)) {
            return NULL;
        }
    }
    if (a->device) {
        from = display_find(machine, a->device, a->head, err);
        if (!from) {
            return NULL;
        }
    }
    if (!input_running()) {
        err_set(err, "VM not running");
        return NULL;
    }
    for (unsigned i = 0; i < json_len(a->events); i++) {
        if (!input_taken(from, ev[i].kind)) {
            err_set(err, "Input handler not found for event type %s", event_kinds[ev[i].kind]);
            return NULL;
        }
    }
    for (unsigned i = 0; i < json_len(a->events); i++) {
        input_send(from, &ev[i]);
    }
    input_sync();
    return json_object();
}

typedef struct KeyArgs {
    Json *keys;
    int64_t hold_ms;
} KeyArgs;

/* clang-format off */
static const PropSpec key_args[] = {
    { .name = "keys", .type = &prop_json, .offset = PROP_AT(KeyArgs, keys, Json *), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_REQUIRED, .help = "pressed one after the other" },
    { .name = "hold-time", .type = &prop_i64, .offset = PROP_AT(KeyArgs, hold_ms, int64_t), .bit = -1,
      .def.i = INPUT_HOLD_MS, .help = "ms between two of them" },
    PROP_END,
};
/* clang-format on */

static Json *qmp_send_key(void *machine, const void *args, GError **err)
{
    const KeyArgs *a = args;

    if (!is_list(a->keys, "keys", err)) {
        return NULL;
    }
    unsigned n = json_len(a->keys);
    g_autofree uint16_t *keys = g_new0(uint16_t, n + 1);

    for (unsigned i = 0; i < n; i++) {
        At at = nth(a->keys, "keys", i);

        if (!read_key(&at, &keys[i], err)) {
            return NULL;
        }
    }
    uint32_t hold = a->hold_ms > 0 ? (uint32_t)MIN(a->hold_ms, (int64_t)G_MAXINT32) : INPUT_HOLD_MS;

    return input_type(keys, n, hold, err) ? json_object() : NULL;
}

static Json *qmp_query_mice(void *machine, const void *args, GError **err)
{
    Json *list = json_array();
    unsigned n;
    g_autofree InputMouse *m = input_mice(&n);

    for (unsigned i = 0; i < n; i++) {
        Json *e = json_object();

        json_set(e, "name", json_str(m[i].name));
        json_set(e, "index", json_int(m[i].index));
        json_set(e, "current", json_bool(m[i].current));
        json_set(e, "absolute", json_bool(m[i].absolute));
        json_append(list, e);
    }
    return list;
}

bool input_type_text(const char *text, uint32_t hold_ms, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, "-", -1);
    g_autofree uint16_t *keys = g_new0(uint16_t, g_strv_length(words) + 1);
    unsigned n = 0;

    for (char **w = words; *w; w++) {
        bool is_number = g_str_has_prefix(*w, "0x");
        char *end = NULL;
        uint64_t number = is_number ? g_ascii_strtoull(*w, &end, 0) : 0;
        uint16_t key = is_number ? *end ? UINT16_MAX : input_key_by_number(number)
                                 : input_key_by_name(strcmp(*w, "<") ? *w : "less");

        if (key == UINT16_MAX) {
            return err_set(err, "invalid parameter: %s", *w);
        }
        keys[n++] = key;
    }
    return input_type(keys, n, hold_ms, err);
}

const QmpCmd input_qmp_cmds[] = {
    { .name = "input-send-event",
        .args_spec = send_args,
        .args_size = sizeof(SendArgs),
        .run = qmp_send_event },
    { .name = "send-key",
        .args_spec = key_args,
        .args_size = sizeof(KeyArgs),
        .run = qmp_send_key },
    { .name = "query-mice", .run = qmp_query_mice },
    { .name = NULL },
};

/* object/prop*.c: every type from text and JSON, QEMU's error texts, help and introspection. */
#include "object/obj.h"

#include <string.h>

typedef struct Child {
    Obj obj;
    MacAddr mac;
    VirtioFeatures features;
} Child;

typedef struct Thing {
    Obj obj;
    Child child;
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64, size;
    int32_t i32, addr;
    OnOffAuto tri;
    char *text;
    char **list;
    int color;
} Thing;

static const char *const colors[] = { "red", "green", NULL };
static PROP_ENUM_TYPE(prop_color, "Color", colors);

static const PropSpec child_props[] = {
    PROP_MAC("mac", Child, mac, "address"),
    PROP_FEATURE("mq", Child, features, 22, false, NULL),
    PROP_FEATURE("high", Child, features, 70, true, NULL),
    PROP_END,
};

static const PropSpec thing_props[] = {
    PROP_BOOL("flag", Thing, flag, true, NULL),
    PROP_U8("u8", Thing, u8, 0, NULL),
    PROP_U16("rx_queue_size", Thing, u16, 256, NULL),
    PROP_U32("period", Thing, u32, 1 << 16, "length of a period in ms"),
    PROP_U64("max-bytes", Thing, u64, INT64_MAX, NULL),
    PROP_SIZE("size", Thing, size, 4096, NULL),
    PROP_I32("rombar", Thing, i32, -1, NULL),
    PROP_ROW("addr", Thing, addr, int32_t, prop_pci_addr, (uint64_t)-1, "slot and function"),
    PROP_ON_OFF_AUTO("disable-legacy", Thing, tri, ON_OFF_AUTO_AUTO, NULL),
    PROP_STR("serial", Thing, text, NULL),
    PROP_ENUM("color", Thing, color, prop_color, 1, NULL),
    { .name = "list",
        .type = &prop_str_list,
        .offset = offsetof(Thing, list),
        .flags = PROP_RUNTIME },
    { .name = "x-hidden", .type = &prop_u8, .offset = offsetof(Thing, u8), .flags = PROP_INTERNAL },
    PROP_END,
};

static Obj *thing_child(Obj *o)
{
    return &((Thing *)o)->child.obj;
}

static const ObjClass child_class = {
    .name = "virtio-net-device",
    .parent = "device",
    .size = sizeof(Child),
    .props = (const PropGroup[]){ { child_props, NULL }, { NULL, NULL } },
};

static void thing_init(Obj *o)
{
    obj_init_static(thing_child(o), &child_class);
    obj_add(o, "virtio-backend", thing_child(o));
}

static const ObjClass thing_class = {
    .name = "virtio-net-pci",
    .parent = "device",
    .size = sizeof(Thing),
    .props =
        (const PropGroup[]){ { thing_props, NULL }, { child_props, thing_child }, { NULL, NULL } },
    .init = thing_init,
};

const ObjClass *const obj_classes[] = { &thing_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

static void ok(Thing *t, const char *name, const char *text, const char *json)
{
    g_autoptr(GError) err = NULL;

    prop_set_text(&t->obj, name, text, &err);
    g_assert_no_error(err);
    g_autoptr(Json) val = prop_get(&t->obj, name, &err);
    g_autofree char *back = json_to_string(val, false);

    g_assert_cmpstr(back, ==, json);
    g_assert_true(prop_was_set(&t->obj, name));
}

static void bad(Thing *t, const char *name, const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(prop_set_text(&t->obj, name, text, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void bad_json(Thing *t, const char *name, const char *json, const char *message)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) val = json_parse(json, -1, NULL);

    g_assert_false(prop_set(&t->obj, name, val, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_defaults(void)
{
    Thing *t = (Thing *)obj_new(&thing_class);

    g_assert_true(t->flag);
    g_assert_cmpuint(t->u16, ==, 256);
    g_assert_cmpint(t->i32, ==, -1);
    g_assert_cmpint(t->addr, ==, -1);
    g_assert_cmpint(t->color, ==, 1);
    g_assert_cmpuint(t->child.features.word[1], ==, 1ull << 6);
    g_assert_false(prop_was_set(&t->obj, "flag"));
    obj_unref(&t->obj);
}

static void test_text(void)
{
    Thing *t = (Thing *)obj_new(&thing_class);

    ok(t, "flag", "off", "false");
    ok(t, "rx_queue_size", "0x400", "1024");
    ok(t, "max-bytes", "-1", "18446744073709551615");
    ok(t, "size", "1.5k", "1536");
    ok(t, "addr", "1f.3", "251");
    ok(t, "addr", "06", "48");
    ok(t, "disable-legacy", "on", "\"on\"");
    ok(t, "serial", "abc", "\"abc\"");
    ok(t, "serial", "x", "\"x\"");
    ok(t, "mac", "52:54:00:12:34:56", "\"52:54:00:12:34:56\"");
    ok(t, "mq", "on", "true");
    ok(t, "high", "no", "false");
    ok(t, "color", "red", "\"red\"");
    ok(t, "list", "a", "[\"a\"]");
    ok(t, "list", "b", "[\"a\", \"b\"]");
    g_assert_true(prop_was_set(thing_child(&t->obj), "mq"));
    obj_unref(&t->obj);
}

static void test_text_errors(void)
{
    Thing *t = (Thing *)obj_new(&thing_class);

    bad(t, "foo", "1", "Property 'virtio-net-pci.foo' not found");
    bad(t, "mq", "7x", "Parameter 'mq' expects 'on' or 'off'");
    bad(t, "addr", "99", "Property 'virtio-net-pci.addr' doesn't take value '99'");
    bad(t, "addr", "1f.9", "Property 'virtio-net-pci.addr' doesn't take value '1f.9'");
    bad(t, "mac", "zz", "Property 'virtio-net-device.mac' doesn't take value 'zz'");
    bad(t, "mac", "{name}", "Property 'virtio-net-device.mac' doesn't take value '{name}'");
    bad(t, "max-bytes", "1M", "Parameter 'max-bytes' expects integer");
    bad(t, "period", "99999999999", "Parameter 'period' expects uint32_t");
    bad(t, "rx_queue_size", "-1", "Parameter 'rx_queue_size' expects uint16_t");
    bad(t, "rombar", "99999999999", "Parameter 'rombar' expects int32_t");
    bad(t, "size", "abc", "Parameter 'size' expects size");
    bad(t, "disable-legacy", "foo", "Parameter 'disable-legacy' does not accept value 'foo'");
    obj_unref(&t->obj);
}

static void test_json_errors(void)
{
    Thing *t = (Thing *)obj_new(&thing_class);

    bad_json(t, "max-bytes", "'x'", "Parameter 'max-bytes' expects uint64");
    bad_json(t, "period", "99999999999", "Parameter 'period' expects uint32_t");
    bad_json(t, "flag", "'on'", "Invalid parameter type for 'flag', expected: boolean");
    bad_json(t, "mq", "5", "Invalid parameter type for 'mq', expected: boolean");
    bad_json(t, "serial", "5", "Invalid parameter type for 'serial', expected: string");
    bad_json(t, "addr", "true", "Invalid parameter type for 'addr', expected int or str");
    bad_json(t, "addr", "'99'", "Property 'virtio-net-pci.addr' doesn't take value '99'");
    bad_json(
        t, "disable-legacy", "5", "Invalid parameter type for 'disable-legacy', expected: string");
    bad_json(t, "mac", "5", "Invalid parameter type for 'mac', expected: string");
    obj_unref(&t->obj);
}

static void test_after_realize(void)
{
    g_autoptr(GError) err = NULL;
    Obj *root = obj_new(&obj_container_class);
    Thing *t = (Thing *)obj_new(&thing_class);

    obj_add(root, "net0", &t->obj);
    g_assert_true(obj_realize(&t->obj, &err));
    bad(t, "flag", "off",
        "Attempt to set property 'flag' on device 'net0' (type 'virtio-net-pci') after it was "
        "realized");
    ok(t, "list", "a", "[\"a\"]");
    obj_unref(&t->obj);
    obj_unref(root);
}

typedef struct Args {
    char *id;
    int64_t hub;
    char **fwd;
    bool on;
} Args;

static const PropSpec args_spec[] = {
    { .name = "id", .type = &prop_str, .offset = offsetof(Args, id), .flags = PROP_REQUIRED },
    PROP_ROW("hubid", Args, hub, int64_t, prop_i64, 3, NULL),
    { .name = "hostfwd", .type = &prop_str_list, .offset = offsetof(Args, fwd) },
    PROP_BOOL("restrict", Args, on, false, NULL),
    PROP_END,
};

static void check_struct(const char *json, bool text, const char *message)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    Args a = { 0 };

    for (unsigned i = 0; text && i < json_len(args); i++) {
        const char *key = json_key_at(args, i);

        json_set(args, key, json_text(json_get_str(json_val_at(args, i))));
    }
    prop_defaults(args_spec, &a);
    g_assert_false(prop_apply_struct(args_spec, &a, args, &err));
    g_assert_cmpstr(err->message, ==, message);
    prop_release(args_spec, &a);
}

static void test_struct(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_object();
    Args a = { 0 };

    json_add(args, "hostfwd", json_text("x"));
    json_add(args, "hostfwd", json_text("y"));
    json_add(args, "id", json_text("a"));
    json_add(args, "id", json_text("b"));
    prop_defaults(args_spec, &a);
    g_assert_true(prop_apply_struct(args_spec, &a, args, &err));
    g_assert_cmpstr(a.id, ==, "b");
    g_assert_cmpint(a.hub, ==, 3);
    g_assert_cmpstr(a.fwd[1], ==, "y");
    prop_release(args_spec, &a);
    check_struct("{}", false, "Parameter 'id' is missing");
    check_struct("{'id': 'a', 'foo': '1'}", true, "Invalid parameter 'foo'");
    check_struct("{'id': 'a', 'foo': 1}", false, "Parameter 'foo' is unexpected");
    check_struct("{'id': 'a', 'hubid': 'x'}", true, "Parameter 'hubid' expects an int64 value");
    check_struct("{'id': 'a', 'restrict': 1}", false,
        "Invalid parameter type for 'restrict', expected: boolean");
}

static void test_help(void)
{
    g_autofree char *text = prop_class_help(&thing_class);

    g_assert_cmpstr(text, ==,
        "virtio-net-pci options:\n"
        "  addr=<str>             - slot and function (default: -1)\n"
        "  color=<Color>          - red/green (default: green)\n"
        "  disable-legacy=<OnOffAuto> - on/off/auto (default: auto)\n"
        "  flag=<bool>            - on/off (default: on)\n"
        "  high=<bool>            - on/off (default: on)\n"
        "  list=<list>\n"
        "  mac=<str>              - address\n"
        "  max-bytes=<uint64>     -  (default: 9223372036854775807)\n"
        "  mq=<bool>              - on/off (default: off)\n"
        "  period=<uint32>        - length of a period in ms (default: 65536)\n"
        "  rombar=<int32>         -  (default: -1)\n"
        "  rx_queue_size=<uint16> -  (default: 256)\n"
        "  serial=<str>\n"
        "  size=<size>            -  (default: 4096)\n"
        "  u8=<uint8>             -  (default: 0)\n");
}

static void test_list(void)
{
    g_autoptr(Json) list = prop_class_list(&thing_class, false);
    g_autofree char *first = json_to_string(json_at(list, 0), false);

    g_assert_cmpuint(json_len(list), ==, 15);
    g_assert_cmpstr(first, ==,
        "{\"default-value\": true, \"name\": \"flag\", \"description\": \"on/off\", \"type\": "
        "\"bool\"}");
}

/* Names of other targets: found, not found, not to be had, gone. */
typedef struct Target {
    const char *id;
    bool taken, gone;
} Target;
static Target targets[] = { { .id = "a" }, { .id = "b", .taken = true } };

static void *target_find(const char *id, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(targets); i++) {
        if (!strcmp(targets[i].id, id)) {
            return !targets[i].taken || err_set(err, "'%s' is taken", id) ? &targets[i] : NULL;
        }
    }
    return NULL;
}

static const char *target_name(const void *target)
{
    const Target *t = target;

    return t->gone ? NULL : t->id;
}

static const PropRef target_ref = { .find = target_find, .name = target_name };
static const PropType prop_target = { .name = "str", .ref = &target_ref };

static void test_ref(void)
{
    struct {
        Target *thing;
    } s = { NULL };
    static const PropSpec specs[] = {
        { .name = "thing", .type = &prop_target, .bit = -1, .flags = PROP_NO_DEFAULT }, PROP_END
    };
    static const struct {
        const char *json, *error, *shown;
    } t[] = {
        { "{'thing': 'a'}", NULL, "a" },
        { "{'thing': 'x'}", "Property 'thing' can't find value 'x'", "a" },
        { "{'thing': 'b'}", "'b' is taken", "a" },
        { "{'thing': 7}", "Invalid parameter type for 'thing', expected: string", "a" },
        { "{'thing': ''}", NULL, "" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Json) args = json_parse(t[i].json, -1, NULL);

        g_assert_true(prop_apply_struct(specs, &s, args, &err) == !t[i].error);
        g_assert_cmpstr(err ? err->message : NULL, ==, t[i].error);
        g_autoptr(Json) shown = prop_get_field(specs, &s);

        g_assert_cmpstr(json_get_str(shown), ==, t[i].shown);
    }
    s.thing = targets;
    targets[0].gone = true;
    g_assert_cmpstr(prop_ref_get(&prop_target, &s.thing), ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prop/defaults/applied", test_defaults);
    g_test_add_func("/prop/text/every-type", test_text);
    g_test_add_func("/prop/text/errors", test_text_errors);
    g_test_add_func("/prop/json/errors", test_json_errors);
    g_test_add_func("/prop/realized/is-refused", test_after_realize);
    g_test_add_func("/prop/struct/arguments", test_struct);
    g_test_add_func("/prop/help/qemu-format", test_help);
    g_test_add_func("/prop/list/introspection", test_list);
    g_test_add_func("/prop/ref/names-other-things", test_ref);
    return g_test_run();
}

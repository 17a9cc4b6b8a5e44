/* object/obj.c: references, the tree, paths, realize order. */
#include "object/obj.h"

#include <string.h>

typedef struct Node {
    Obj obj;
    uint32_t size;
    char *label;
} Node;

typedef struct Box {
    Obj obj;
    Node inner;
} Box;

static GString *events;

static void node_fini(Obj *o)
{
    g_string_append_printf(events, "~%s ", o->cls->name);
}

static bool node_realize(Obj *o, GError **err)
{
    if (((Node *)o)->size == 13) {
        return err_set(err, "unlucky size");
    }
    g_string_append_printf(events, "+%s ", o->cls->name);
    return true;
}

static void node_unrealize(Obj *o)
{
    g_string_append_printf(events, "-%s ", o->cls->name);
}

static const PropSpec node_props[] = {
    PROP_U32("size", Node, size, 5, "how big"),
    PROP_STR("label", Node, label, NULL),
    PROP_END,
};

static const ObjClass node_class = {
    .name = "node",
    .parent = "base-node",
    .size = sizeof(Node),
    .flags = OBJ_DEVICE,
    .props = (const PropGroup[]){ { node_props, NULL }, { NULL, NULL } },
    .realize = node_realize,
    .unrealize = node_unrealize,
    .fini = node_fini,
};

static const ObjClass base_node_class = {
    .name = "base-node", .parent = "device", .size = sizeof(Node), .flags = OBJ_ABSTRACT
};

static void box_init(Obj *o)
{
    Box *b = (Box *)o;

    obj_init_static(&b->inner.obj, &node_class);
    obj_add(o, "inner", &b->inner.obj);
}

static bool box_realize(Obj *o, GError **err)
{
    Box *b = (Box *)o;

    return obj_realize(&b->inner.obj, err);
}

static const ObjClass box_class = {
    .name = "box",
    .parent = "object",
    .size = sizeof(Box),
    .flags = OBJ_USER_OBJECT,
    .init = box_init,
    .realize = box_realize,
    .unrealize = node_unrealize,
    .fini = node_fini,
};

const ObjClass *const obj_classes[] = { &node_class, &base_node_class, &box_class, NULL };
const ObjAlias obj_aliases[] = { { "knot", "node" }, { NULL, NULL } };

static void test_classes(void)
{
    g_assert_true(obj_class_find("knot") == &node_class);
    g_assert_null(obj_class_find("nope"));
    g_assert_true(obj_class_is(&node_class, "base-node"));
    g_assert_true(obj_class_is(&node_class, "device"));
    g_assert_true(obj_class_is(&node_class, "object"));
    g_assert_false(obj_class_is(&box_class, "device"));
    g_assert_true(obj_class_is(&box_class, "user-creatable"));
}

static void test_paths(void)
{
    Obj *root = obj_new(&obj_container_class);
    Obj *m = obj_container(root, "machine");
    Obj *anon = obj_container(m, "peripheral-anon");
    Obj *n = obj_new(&node_class), *n2 = obj_new(&node_class);
    bool ambiguous;

    obj_add_array(anon, "device", n);
    obj_add_array(anon, "device", n2);
    g_autofree char *path = obj_path(n2);
    g_autofree char *top = obj_path(root);

    g_assert_cmpstr(path, ==, "/machine/peripheral-anon/device[1]");
    g_assert_cmpstr(top, ==, "/");
    g_assert_true(obj_resolve(root, path, NULL) == n2);
    g_assert_true(obj_resolve(root, "device[0]", &ambiguous) == n);
    g_assert_true(obj_resolve(root, "machine/peripheral-anon", &ambiguous) == anon);
    g_assert_false(ambiguous);
    obj_container(root, "device[0]");
    g_assert_null(obj_resolve(root, "device[0]", &ambiguous));
    g_assert_true(ambiguous);
    g_assert_null(obj_resolve(root, "/machine/nope", NULL));
    g_assert_true(obj_resolve(root, "/", NULL) == root);
    obj_unref(n);
    obj_unref(n2);
    obj_detach(n);
    g_assert_null(obj_child(anon, "device[0]"));
    obj_unref(root);
}

static void test_life(void)
{
    g_autoptr(GError) err = NULL;
    Obj *root = obj_new(&obj_container_class);
    Box *b = (Box *)obj_new(&box_class);

    g_string_truncate(events, 0);
    obj_add(root, "box", &b->obj);
    obj_unref(&b->obj); /* the tree keeps it */
    g_assert_cmpuint(b->inner.size, ==, 5);
    g_assert_true(obj_realize(&b->obj, &err));
    g_assert_cmpint(b->inner.obj.phase, ==, OBJ_REALIZED);
    obj_unrealize(&b->obj);
    obj_unref(root);
    g_assert_cmpstr(events->str, ==, "+node -node -box ~node ~box ");
}

static void test_realize_may_fail(void)
{
    g_autoptr(GError) err = NULL;
    Obj *n = obj_new(&node_class);

    g_assert_true(prop_set_text(n, "size", "13", &err));
    g_assert_false(obj_realize(n, &err));
    g_assert_cmpstr(err->message, ==, "unlucky size");
    g_assert_cmpint(n->phase, ==, OBJ_NEW);
    obj_unref(n);
}

static bool append_name(Obj *o, void *opaque)
{
    g_string_append_printf(opaque, "%s ", o->name ? o->name : "/");
    return strcmp(o->name ? o->name : "", "stop") != 0;
}

static void test_walk(void)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    Obj *root = obj_new(&obj_container_class);

    obj_container(obj_container(root, "a"), "b");
    obj_container(root, "stop");
    obj_container(root, "c");
    g_assert_false(obj_walk(root, append_name, seen));
    g_assert_cmpstr(seen->str, ==, "/ a b stop ");
    obj_unref(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    events = g_string_new(NULL);
    g_test_add_func("/obj/class/names-and-parents", test_classes);
    g_test_add_func("/obj/tree/paths", test_paths);
    g_test_add_func("/obj/life/children-first", test_life);
    g_test_add_func("/obj/life/realize-may-fail", test_realize_may_fail);
    g_test_add_func("/obj/walk/parents-first-and-stops", test_walk);
    int rc = g_test_run();

    g_string_free(events, TRUE);
    return rc;
}

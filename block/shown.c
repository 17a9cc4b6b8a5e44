/* What queries call a node: the name of its file, or all that it was made from as "json:…". Tested
 * by tests/system/test_queries.py. */
#include "block-internal.h"

#include <string.h>

/* "inject-error": [{"event": …}] as "inject-error.0.event", QEMU's spelling. Takes v. */
static void add_flat(Json *to, const char *key, Json *v)
{
    JsonType type = json_type(v);

    if (type != JSON_ARRAY && type != JSON_OBJECT) {
        json_set(to, key, v);
        return;
    }
    for (unsigned i = 0; i < json_len(v); i++) {
        Json *inner = type == JSON_ARRAY ? json_at(v, i) : json_val_at(v, i);
        g_autofree char *name = type == JSON_ARRAY ? g_strdup_printf("%s.%u", key, i)
                                                   : g_strconcat(key, ".", json_key_at(v, i), NULL);

        add_flat(to, name, json_ref(inner));
    }
    json_unref(v);
}

/* Whether one of them was strong. */
static bool add_strong(BlkNode *n, const Json *said)
{
    bool any = false;

    for (const char *const *o = n->drv->strong; o && *o; o++) {
        Json *v = json_get(said, *o);

        if (v) {
            add_flat(n->options, *o, json_ref(v));
            any = true;
        }
    }
    return any;
}

/* Not the backing file that the header names: it is a part of what the node is. */
static bool add_backing(BlkNode *n)
{
    g_autofree char *path = n->backing_name ? blk_backing_path(n) : NULL;

    if (n->backing ? path && !strcmp(path, blk_node_shown(n->backing)) : !path) {
        return false;
    }
    json_set(n->options, "backing", n->backing ? json_ref(n->backing->options) : json_null());
    return true;
}

void blk_node_name_it(BlkNode *n, const Json *said)
{
    n->options = json_object();
    json_set(n->options, "driver", json_str(n->drv->name));
    n->json_shown = add_strong(n, said);
    n->json_shown |= add_backing(n);
    if (n->file) {
        n->json_shown |= n->file->json_shown;
        json_set(n->options, n->drv->child ? n->drv->child : "file", json_ref(n->file->options));
    } else if (json_get(said, "filename")) {
        json_set(n->options, "filename", json_str(n->filename));
    }
    if (n->json_shown) {
        g_autofree char *text = json_to_string(n->options, false);
        n->shown = g_strconcat("json:", text, NULL);
    } else {
        n->shown = n->drv->shown ? n->drv->shown(n) : g_strdup(n->file ? n->file->shown : NULL);
    }
}

const char *blk_node_shown(const BlkNode *n)
{
    return n->shown ? n->shown : n->filename ? n->filename : "";
}

BlkNode *blk_node_cow(const BlkNode *n)
{
    return n->backing ? n->backing : n->drv->filter ? n->file : NULL;
}

/* What the tests of image formats share. */
#include "image.h"

#include "util/rcu.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL } };
static char *folder;
static int folder_owner;

const char *img_dir(void)
{
    if (!folder) {
        folder = g_dir_make_tmp("virtue-img-XXXXXX", NULL);
        folder_owner = getpid();
    }
    return folder;
}

void img_done(void)
{
    if (folder && folder_owner == getpid()) {
        img_sh(NULL, "rm -rf '%s'", folder);
    }
    g_clear_pointer(&folder, g_free);
}

int img_sh(char **ret_out, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *cmd = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *full = g_strdup_printf("cd '%s' && %s", img_dir(), cmd);
    char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, full, NULL };
    g_autofree char *out = NULL;
    int status = -1;

    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, NULL, &status, NULL)) {
        return -1;
    }
    if (ret_out) {
        *ret_out = g_steal_pointer(&out);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool img_have_tool(void)
{
    bool have = img_sh(NULL, "qemu-img --version >/dev/null 2>&1") == 0;

    if (!have) {
        printf("1..0 # SKIP no qemu-img (package qemu-utils)\n");
    }
    return have;
}

static BlkNode *make_node(const char *json, GError **err)
{
    g_auto(GStrv) at = g_strsplit(json, "@", -1);
    g_autofree char *full = g_strjoinv(img_dir(), at);
    g_autoptr(Json) args = json_parse(g_strdelimit(full, "'", '"'), -1, NULL);

    g_assert_nonnull(args);
    return blk_node_create(args, err);
}

void img_node(const char *json)
{
    g_autoptr(GError) err = NULL;

    make_node(json, &err);
    g_assert_no_error(err);
}

Blk *img_open(const char *json, char **ret_err)
{
    g_autoptr(GError) err = NULL;
    BlkNode *n = make_node(json, &err);
    Blk *b = n ? prop_drive.ref->find(n->name, &err) : NULL;

    if (!b && ret_err) {
        *ret_err = g_strdup(err->message);
    } else if (!b) {
        g_error("%s: %s", json, err->message);
    }
    return b;
}

void img_close(void)
{
    blk_cleanup();
}

typedef struct One {
    BlkReq r;
    bool done;
} One;

static void one_done(BlkReq *r)
{
    ((One *)r)->done = true;
}

int img_io(Blk *b, BlkOp op, uint64_t off, void *buf, size_t len, unsigned flags)
{
    struct iovec v = { buf, len };
    One o = { .r = { .op = op,
                  .off = off,
                  .len = len,
                  .iov = &v,
                  .niov = buf ? 1 : 0,
                  .flags = flags,
                  .done = one_done } };

    blk_submit(b, &o.r);
    while (!o.done) {
        loop_turn(loop_main(), /* block= */ true);
    }
    return o.r.error;
}

uint64_t img_rand(uint64_t *state, uint64_t n)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (z ^ z >> 31) % n;
}

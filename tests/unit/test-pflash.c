/* The flash chip (hw/misc/pflash.c): commands as firmware gives them, and what the medium keeps. */
#include "chips.h"
#include "hw/misc/pflash.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

const ObjClass *const obj_classes[] = { &pflash_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { AT = 0x10000, SIZE = 16384 };

typedef struct Box {
    Chips *c;
    Pflash *f;
    char *path;
} Box;

static void box_open(Box *b, bool read_only)
{
    g_autoptr(Json) args = json_object();

    b->c = chips_new();
    json_set(args, "driver", json_str("file"));
    json_set(args, "node-name", json_str("flash"));
    json_set(args, "filename", json_str(b->path));
    json_set(args, "read-only", json_bool(read_only));
    g_assert_nonnull(blk_node_create(args, NULL));
    b->f = pflash_new(b->c->tree, "system.flash0", prop_drive.ref->find("flash", NULL), NULL);
    g_assert_nonnull(b->f);
    pflash_map(b->f, &b->c->mem, AT);
}

static void box_close(Box *b)
{
    Region *box = pflash_rom(b->f)->container;

    region_unmap(box);
    obj_detach(obj_child(b->c->tree, "system.flash0"));
    g_assert_true(blk_node_delete("flash", NULL));
    chips_free(b->c);
}

static void up(Box *b, const void *unused)
{
    int fd = g_file_open_tmp("flash-XXXXXX", &b->path, NULL);
    g_autofree uint8_t *data = g_malloc(SIZE);

    memset(data, 0xff, SIZE);
    memcpy(data, "firmware", 8);
    g_assert_cmpint(write(fd, data, SIZE), ==, SIZE);
    close(fd);
}

static void down(Box *b, const void *unused)
{
    g_unlink(b->path);
    g_free(b->path);
}

static uint8_t get(Box *b, uint32_t at)
{
    return (uint8_t)addrspace_load(b->c->mem_as, AT + at, 1, NULL);
}

static void put(Box *b, uint32_t at, uint8_t v)
{
    addrspace_store(b->c->mem_as, AT + at, 1, v, NULL);
}

static uint8_t in_file(Box *b, unsigned at)
{
    g_autofree char *data = NULL;
    gsize len;

    g_assert_true(g_file_get_contents(b->path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, SIZE);
    return (uint8_t)data[at];
}

/* How OVMF tells flash from RAM and ROM. */
static void test_probe(Box *b, const void *unused)
{
    box_open(b, false);
    g_assert_cmphex(get(b, 0), ==, 'f');
    put(b, 0, 0x50);
    g_assert_cmphex(get(b, 0), ==, 'f');
    put(b, 0, 0x70);
    g_assert_cmphex(get(b, 0), ==, 0);
    put(b, 0, 0xff);
    g_assert_cmphex(get(b, 0), ==, 'f');
    put(b, 0, 0x90);
    g_assert_cmphex(get(b, 0), ==, 0x89);
    put(b, 0, 0x98);
    g_assert_cmphex(get(b, 0x10), ==, 'Q');
    put(b, 0, 0xff);
    box_close(b);
}

static void test_program_and_erase(Box *b, const void *unused)
{
    box_open(b, false);
    put(b, 0x1005, 0x10);
    put(b, 0x1005, 0x5a);
    g_assert_cmphex(get(b, 0x1005), ==, 0x80); /* the status */
    g_assert_cmphex(in_file(b, 0x1005), ==, 0xff);
    put(b, 0x1005, 0xff);
    g_assert_cmphex(get(b, 0x1005), ==, 0x5a);
    g_assert_cmphex(in_file(b, 0x1005), ==, 0x5a);
    put(b, 0x1005, 0x40);
    put(b, 0x1005, 0xf0); /* bits are only cleared */
    put(b, 0x1005, 0xff);
    g_assert_cmphex(get(b, 0x1005), ==, 0x50);
    put(b, 0x1fff, 0x20);
    put(b, 0x1fff, 0xd0);
    put(b, 0x1fff, 0xff);
    g_assert_cmphex(get(b, 0x1005), ==, 0xff);
    g_assert_cmphex(get(b, 0), ==, 'f'); /* another block */
    put(b, 0, 0x20);
    put(b, 0, 0x00); /* not confirmed */
    g_assert_cmphex(get(b, 0), ==, 'f');
    box_close(b);
    box_open(b, false); /* what was written is there again */
    g_assert_cmphex(get(b, 0x1005), ==, 0xff);
    box_close(b);
}

static void test_buffer(Box *b, const void *unused)
{
    box_open(b, false);
    put(b, 0x2000, 0xe8);
    g_assert_cmphex(get(b, 0x2000), ==, 0x80);
    put(b, 0x2000, 3); /* four bytes */
    for (uint8_t i = 0; i < 4; i++) {
        put(b, 0x2010 + i, i);
    }
    put(b, 0x2000, 0xd0);
    put(b, 0x2000, 0xff);
    g_assert_cmphex(get(b, 0x2010), ==, 0);
    g_assert_cmphex(get(b, 0x2013), ==, 3);
    g_assert_cmphex(get(b, 0x2014), ==, 0xff);
    g_assert_cmphex(in_file(b, 0x2013), ==, 3);
    box_close(b);
}

static void test_read_only(Box *b, const void *unused)
{
    box_open(b, true);
    put(b, 0x1000, 0x10);
    put(b, 0x1000, 0);
    g_assert_cmphex(get(b, 0x1000), ==, 0x90); /* ready, and it failed */
    put(b, 0x1000, 0x20);
    put(b, 0x1000, 0xd0);
    g_assert_cmphex(get(b, 0x1000) & 0x20, ==, 0x20);
    put(b, 0x1000, 0xff);
    g_assert_cmphex(get(b, 0x1000), ==, 0xff);
    box_close(b);
}

/* After a while of reading nothing but the array it is plain ROM again. */
static void test_calm(Box *b, const void *unused)
{
    box_open(b, false);
    g_assert_nonnull(addrspace_host(b->c->mem_as, AT, 16, false, NULL));
    put(b, 0, 0x70);
    g_assert_null(addrspace_host(b->c->mem_as, AT, 16, false, NULL));
    put(b, 0, 0xff);
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(get(b, 1), ==, 'i');
    }
    g_assert_nonnull(addrspace_host(b->c->mem_as, AT, 16, false, NULL));
    g_assert_cmphex(get(b, 1), ==, 'i');
    box_close(b);
}

#define TEST(name, fn) g_test_add("/pflash/" name, Box, NULL, up, fn, down)
int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    TEST("probe", test_probe);
    TEST("program-and-erase", test_program_and_erase);
    TEST("buffer", test_buffer);
    TEST("read-only", test_read_only);
    TEST("calm", test_calm);
    return g_test_run();
}

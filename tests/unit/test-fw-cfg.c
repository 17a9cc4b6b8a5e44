/* hw/core/fw-cfg.c: ports, DMA and the file directory as firmware uses them. */
#include "hw/core/fw-cfg.h"
#include "memory/ram.h"
#include "util/loop.h"

#include <string.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { RAM = 1 << 20, DESC = 0x1000, BUF = 0x2000 };

typedef struct Box {
    Region mem_root, io_root, ram;
    AddrSpace *mem, *io;
    RamBlock *block;
    Obj *tree;
    FwCfg *f;
} Box;

static const ObjClass tree_class = { .name = "tree", .size = sizeof(Obj) };

static Box *box_new(void)
{
    Box *b = g_new0(Box, 1);
    RamSpec spec = { .size = RAM };

    region_init_container(&b->mem_root, NULL, "memory", UINT64_MAX);
    region_init_container(&b->io_root, NULL, "io", 0x10000);
    b->block = ram_new("ram", &spec, NULL);
    region_init_ram_block(&b->ram, NULL, "ram", b->block);
    region_map(&b->mem_root, 0, &b->ram, 0);
    b->mem = addrspace_new("memory", &b->mem_root);
    b->io = addrspace_new("io", &b->io_root);
    addrspace_set_hole_value(b->io, UINT64_MAX);
    b->tree = obj_new(&tree_class);
    b->f = fw_cfg_new(b->tree, &b->io_root, b->mem, NULL);
    g_assert_nonnull(b->f);
    return b;
}

static void box_free(Box *b)
{
    Obj *f = obj_child(b->tree, "fw_cfg");

    obj_unrealize(f);
    obj_detach(f);
    obj_unref(b->tree);
    addrspace_free(b->mem);
    addrspace_free(b->io);
    region_unmap(&b->ram);
    region_fini(&b->ram);
    region_fini(&b->mem_root);
    region_fini(&b->io_root);
    ram_unref(b->block);
    g_free(b);
}

static void select_key(Box *b, uint16_t key)
{
    addrspace_store(b->io, 0x510, 2, key, NULL);
}

static uint8_t next(Box *b)
{
    return (uint8_t)addrspace_load(b->io, 0x511, 1, NULL);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static uint32_t dma(Box *b, uint32_t control, uint32_t len, uint64_t at)
{
    struct {
        uint32_t control, len;
        uint64_t at;
    } d = { GUINT32_TO_BE(control), GUINT32_TO_BE(len), GUINT64_TO_BE(at) };

    memcpy(b->block->host + DESC, &d, sizeof(d));
    addrspace_store(b->io, 0x514, 4, 0, NULL);
    addrspace_store(b->io, 0x518, 4, GUINT32_SWAP_LE_BE(DESC), NULL);
    return be32(b->block->host + DESC);
}

static void test_signature(void)
{
    Box *b = box_new();

    select_key(b, FW_CFG_SIGNATURE);
    g_assert_cmpuint(next(b), ==, 'Q');
    g_assert_cmpuint(next(b), ==, 'E');
    g_assert_cmpuint(next(b), ==, 'M');
    g_assert_cmpuint(next(b), ==, 'U');
    g_assert_cmpuint(next(b), ==, 0);
    select_key(b, FW_CFG_ID);
    g_assert_cmpuint(next(b), ==, 3);
    select_key(b, 0x1234);
    g_assert_cmpuint(next(b), ==, 0);
    box_free(b);
}

static void test_only_words_select(void)
{
    Box *b = box_new();

    select_key(b, FW_CFG_SIGNATURE);
    addrspace_store(b->io, 0x510, 1, FW_CFG_ID, NULL);
    g_assert_cmpuint(next(b), ==, 'Q');
    box_free(b);
}

static void test_dma_signature(void)
{
    Box *b = box_new();

    g_assert_cmphex(addrspace_load(b->io, 0x514, 4, NULL), ==, 0x554d4551);
    g_assert_cmphex(addrspace_load(b->io, 0x518, 4, NULL), ==, 0x47464320);
    box_free(b);
}

static void test_directory_is_sorted(void)
{
    Box *b = box_new();
    const uint8_t *dir = b->block->host + BUF;

    g_assert_true(fw_cfg_add_file(b->f, "z", "zz", 2, NULL));
    g_assert_true(fw_cfg_add_file(b->f, "etc/a", "abc", 3, NULL));
    g_assert_cmphex(dma(b, FW_CFG_FILE_DIR << 16 | 8 | 2, 4 + 128, BUF), ==, 0);
    g_assert_cmpuint(be32(dir), ==, 2);
    g_assert_cmpuint(be32(dir + 4), ==, 3);
    g_assert_cmpuint(dir[8] << 8 | dir[9], ==, FW_CFG_FILE_FIRST);
    g_assert_cmpstr((const char *)dir + 12, ==, "etc/a");
    g_assert_cmpstr((const char *)dir + 4 + 64 + 8, ==, "z");
    box_free(b);
}

static void test_dma_reads_zero_past_the_end(void)
{
    Box *b = box_new();

    fw_cfg_add_u16(b->f, FW_CFG_NB_CPUS, 0x1234);
    memset(b->block->host + BUF, 0xff, 8);
    g_assert_cmphex(dma(b, FW_CFG_NB_CPUS << 16 | 8 | 2, 4, BUF), ==, 0);
    g_assert_cmpmem(b->block->host + BUF, 5, "\x34\x12\0\0\xff", 5);
    box_free(b);
}

static void test_dma_skip(void)
{
    Box *b = box_new();

    g_assert_cmphex(dma(b, 8 | 4, 2, 0), ==, 0);
    g_assert_cmpuint(next(b), ==, 'M');
    box_free(b);
}

static void test_dma_errors(void)
{
    Box *b = box_new();

    g_assert_true(fw_cfg_add_file(b->f, "ro", "abcd", 4, NULL));
    g_assert_cmphex(dma(b, FW_CFG_FILE_FIRST << 16 | 8 | 16, 4, BUF), ==, 1);
    g_assert_cmphex(dma(b, 8 | 2, 4, UINT64_C(0xffffffff000)), ==, 1);
    g_assert_cmphex(dma(b, 8 | 2, UINT32_MAX, BUF), ==, 1); /* ends at the end of RAM */
    box_free(b);
}

static void test_dma_write(void)
{
    Box *b = box_new();
    size_t len;

    fw_cfg_add_file_live(b->f, "rw", "abcd", 4, NULL, NULL, true);
    memcpy(b->block->host + BUF, "WXYZ", 4);
    g_assert_cmphex(dma(b, FW_CFG_FILE_FIRST << 16 | 8 | 16, 4, BUF), ==, 0);
    g_assert_cmpmem(fw_cfg_file(b->f, "rw", &len), 4, "WXYZ", 4);
    g_assert_cmphex(dma(b, FW_CFG_FILE_FIRST << 16 | 8 | 16, 5, BUF), ==, 1);
    box_free(b);
}

static void refill(void *opaque)
{
    fw_cfg_set_file(((Box *)opaque)->f, "live", "new!", 4);
}

static void test_live_file(void)
{
    Box *b = box_new();

    fw_cfg_add_file_live(b->f, "live", "old", 3, refill, b, false);
    select_key(b, FW_CFG_FILE_FIRST);
    g_assert_cmpuint(next(b), ==, 'n');
    box_free(b);
}

static void expect_user_error(Box *b, const char *json, const char *text)
{
    g_autoptr(Json) e = json_parse(json, -1, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_false(fw_cfg_add_user(b->f, e, &err));
    g_assert_cmpstr(err->message, ==, text);
}

static void test_user_entries(void)
{
    Box *b = box_new();
    g_autoptr(Json) e = json_parse("{'name': 'opt/a', 'string': 'hello'}", -1, NULL);
    size_t len;

    g_assert_true(fw_cfg_add_user(b->f, e, NULL));
    fw_cfg_file(b->f, "opt/a", &len);
    g_assert_cmpuint(len, ==, 5);
    expect_user_error(b, "{'name': 'opt/a', 'string': 'x'}", "duplicate fw_cfg file name: opt/a");
    expect_user_error(
        b, "{'name': 'opt/b'}", "name, plus exactly one of file, string and gen_id, are needed");
    expect_user_error(b, "{'name': 'opt/b', 'string': 'x', 'file': 'y'}",
        "name, plus exactly one of file, string and gen_id, are needed");
    expect_user_error(b,
        "{'name': 'opt/0123456789012345678901234567890123456789012345678901', 'string': 'x'}",
        "name too long (max. 55 char)");
    box_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/fw-cfg/signature", test_signature);
    g_test_add_func("/fw-cfg/only-words-select", test_only_words_select);
    g_test_add_func("/fw-cfg/dma-signature", test_dma_signature);
    g_test_add_func("/fw-cfg/directory-is-sorted", test_directory_is_sorted);
    g_test_add_func("/fw-cfg/dma-zero-past-end", test_dma_reads_zero_past_the_end);
    g_test_add_func("/fw-cfg/dma-skip", test_dma_skip);
    g_test_add_func("/fw-cfg/dma-errors", test_dma_errors);
    g_test_add_func("/fw-cfg/dma-write", test_dma_write);
    g_test_add_func("/fw-cfg/live-file", test_live_file);
    g_test_add_func("/fw-cfg/user-entries", test_user_entries);
    return g_test_run();
}

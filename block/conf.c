/* What every kind of disk device takes: block sizes, geometry, what an error does. Tested through
 * the devices: test-virtio-blk, tests/system/test_cli.py, test_scsi.py. */
#include "block/block.h"

static bool sizes_ok(BlkConf *c, uint32_t def, GError **err)
{
    struct {
        const char *name;
        uint64_t *v;
    } b[] = { { "logical_block_size", &c->logical_block },
        { "physical_block_size", &c->physical_block } };

    for (unsigned i = 0; i < G_N_ELEMENTS(b); i++) {
        if (!*b[i].v) {
            *b[i].v = def; /* QEMU compat: physical blocks do not follow the logical ones */
        }
        if (*b[i].v < 512 || *b[i].v > 2 << 20 || *b[i].v & (*b[i].v - 1)) {
            return err_set(
                err, "parameter %s must be a power of 2 between 512 and 2097152", b[i].name);
        }
    }
    if (c->physical_block < c->logical_block) {
        return err_set(err, "logical_block_size > physical_block_size not supported");
    }
    if (c->min_io % c->logical_block || c->opt_io % c->logical_block) {
        return err_set(err, "%s must be a multiple of logical_block_size",
            c->min_io % c->logical_block ? "min_io_size" : "opt_io_size");
    }
    if (c->min_io / c->logical_block > UINT16_MAX) {
        return err_set(err, "min_io_size must not exceed 65535 logical blocks");
    }
    return c->discard_granularity == UINT32_MAX || c->discard_granularity % c->logical_block == 0 ||
           err_set(err, "discard_granularity must be a multiple of logical_block_size");
}

/* Geometry: all of it, or none. */
static bool geometry_ok(const BlkConf *c, GError **err)
{
    if (!c->cyls && !c->heads && !c->secs) {
        return true;
    }
    const struct {
        const char *name;
        uint32_t v, max;
    } g[] = { { "cyls", c->cyls, 65535 }, { "heads", c->heads, 255 }, { "secs", c->secs, 255 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(g); i++) {
        if (!g[i].v || g[i].v > g[i].max) {
            return err_set(err, "%s must be between 1 and %u", g[i].name, g[i].max);
        }
    }
    return true;
}

bool blk_conf_check(BlkConf *c, Blk *b, uint32_t def_block, GError **err)
{
    /* A full host stops the VM, other errors are the guest's, unless somebody says otherwise. */
    static const BlkOnError def[] = { BLK_ON_ERROR_REPORT, BLK_ON_ERROR_ENOSPC };

    for (unsigned w = 0; w < 2; w++) {
        int *policy = w ? &c->werror : &c->rerror;

        if (*policy == BLK_ON_ERROR_AUTO) {
            *policy = (int)blk_on_error(b, w);
        }
        if (*policy == BLK_ON_ERROR_AUTO) {
            *policy = (int)def[w];
        }
    }
    if (!sizes_ok(c, def_block, err) || !geometry_ok(c, err)) {
        return false;
    }
    blk_set_on_error(b, (BlkOnError)c->werror, (BlkOnError)c->rerror);
    return true;
}

/*
 * CFI flash: see include/hw/misc/pflash.h. While it shows its array it is ordinary ROM; from the
 * first command on reads come here, until a while of nothing but reading the array. Tested by
 * tests/unit/test-pflash.c.
 */
#include "hw/misc/pflash.h"

#include "memory/ram.h"
#include "util/err.h"

#include <string.h>

enum {
    CALM_READS = 256 /* of the array in a row: it is ROM again */
};
enum {
    CMD_PROGRAM_ALT = 0x10,
    CMD_ERASE = 0x20,
    CMD_PROGRAM = 0x40,
    CMD_CLEAR_STATUS = 0x50,
    CMD_READ_STATUS = 0x70,
    CMD_READ_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_CONFIRM = 0xd0,
    CMD_BUFFER = 0xe8,
    CMD_READ_ARRAY = 0xff
};
enum { STATUS_READY = 0x80, STATUS_ERASE_ERROR = 0x20, STATUS_PROGRAM_ERROR = 0x10 };
enum { BUFFER_MAX = 2048 };

typedef enum State {
    READ_ARRAY,
    READ_STATUS,
    READ_ID,
    QUERY,
    PROGRAM,
    ERASE,
    BUFFER_COUNT,
    BUFFER_DATA,
    BUFFER_CONFIRM
} State;

struct Pflash {
    Dev dev;
    Blk *blk;
    Region box, rom, io; /* box is mapped; io lies over rom while commands are given */
    uint64_t size;
    bool read_only;
    State state;
    uint8_t status;
    unsigned calm;
    uint64_t dirty_at, dirty_end; /* not yet in the medium */
    /* "write to buffer" */
    unsigned buffer_left;
    uint64_t buffer_at, buffer_end; /* bytes given, by address */
    uint8_t buffer[BUFFER_MAX];
    uint64_t buffer_base;
};

static uint8_t *bytes(const Pflash *f)
{
    return region_host(&f->rom);
}

/* ---- the medium ---- */

static void keep(Pflash *f, uint64_t at, uint64_t len)
{
    f->dirty_at = f->dirty_at < f->dirty_end ? MIN(f->dirty_at, at) : at;
    f->dirty_end = MAX(f->dirty_end, at + len);
    ram_written(f->rom.ram, at, len);
}

/* What was written goes to the medium in whole sectors of it. */
static void save(Pflash *f)
{
    if (f->dirty_at >= f->dirty_end) {
        return;
    }
    uint64_t at = f->dirty_at & ~UINT64_C(511),
             end = MIN((f->dirty_end + 511) & ~UINT64_C(511), f->size);

    if (blk_node_pwrite(blk_node(f->blk), at, bytes(f) + at, end - at) < 0) {
        f->status |= STATUS_PROGRAM_ERROR;
    }
    f->dirty_at = f->dirty_end = 0;
}

/* ---- commands ---- */

static void set_state(Pflash *f, State s)
{
    f->state = s;
    f->calm = 0;
    if (s != READ_ARRAY && !f->io.enabled) {
        region_set_enabled(&f->io, true);
    }
}

static void show_array(Pflash *f)
{
    save(f);
    set_state(f, READ_ARRAY);
}

/* Programming clears bits and sets none: that takes an erase. */
static void program(Pflash *f, uint64_t at, const uint8_t *v, unsigned len)
{
    if (f->read_only) {
        f->status |= STATUS_PROGRAM_ERROR;
        return;
    }
    if (at >= f->size || len > f->size - at) {
        return;
    }
    for (unsigned i = 0; i < len; i++) {
        bytes(f)[at + i] &= v[i];
    }
    keep(f, at, len);
}

static void erase(Pflash *f, uint64_t at)
{
    if (f->read_only) {
        f->status |= STATUS_ERASE_ERROR;
        return;
    }
    at &= ~(uint64_t)(PFLASH_SECTOR - 1);
    memset(bytes(f) + at, 0xff, PFLASH_SECTOR);
    keep(f, at, PFLASH_SECTOR);
}

static void command(Pflash *f, uint64_t at, uint8_t cmd)
{
    switch (cmd) {
    case CMD_PROGRAM:
    case CMD_PROGRAM_ALT:
        set_state(f, PROGRAM);
        return;
    case CMD_ERASE:
        set_state(f, ERASE);
        return;
    case CMD_CLEAR_STATUS:
        f->status = 0; /* QEMU compat: no ready bit until something is done; OVMF looks for that */
        show_array(f);
        return;
    case CMD_READ_STATUS:
        set_state(f, READ_STATUS);
        return;
    case CMD_READ_ID:
        set_state(f, READ_ID);
        return;
    case CMD_QUERY:
        set_state(f, QUERY);
        return;
    case CMD_BUFFER:
        f->buffer_base = at & ~(uint64_t)(BUFFER_MAX - 1);
        f->status |= STATUS_READY;
        set_state(f, BUFFER_COUNT);
        return;
    default: /* READ_ARRAY, and what there is not */
        show_array(f);
        return;
    }
}

static void buffer_data(Pflash *f, uint64_t at, const uint8_t *v, unsigned len)
{
    for (unsigned i = 0; i < len; i++, at++) {
        if (at - f->buffer_base < BUFFER_MAX) {
            f->buffer[at - f->buffer_base] = v[i];
            f->buffer_at = MIN(f->buffer_at, at);
            f->buffer_end = MAX(f->buffer_end, at + 1);
        }
    }
    f->buffer_left -= MIN(f->buffer_left, len);
    if (!f->buffer_left) {
        set_state(f, BUFFER_CONFIRM);
    }
}

static void flash_write(void *opaque, uint64_t at, unsigned size, uint64_t val)
{
    Pflash *f = opaque;
    uint8_t v[8];

    for (unsigned i = 0; i < size; i++) {
        v[i] = (uint8_t)(val >> 8 * i);
    }
    switch (f->state) {
    case PROGRAM:
        program(f, at, v, size);
        f->status |= STATUS_READY;
        set_state(f, READ_STATUS);
        return;
    case ERASE:
        if (v[0] == CMD_CONFIRM) {
            erase(f, at);
            f->status |= STATUS_READY;
            set_state(f, READ_STATUS);
        } else {
            show_array(f);
        }
        return;
    case BUFFER_COUNT:
        f->buffer_left = v[0] + 1u;
        f->buffer_at = UINT64_MAX;
        f->buffer_end = 0;
        set_state(f, BUFFER_DATA);
        return;
    case BUFFER_DATA:
        buffer_data(f, at, v, size);
        return;
    case BUFFER_CONFIRM:
        if (v[0] == CMD_CONFIRM && f->buffer_at < f->buffer_end) {
            program(f, f->buffer_at, f->buffer + (f->buffer_at - f->buffer_base),
                (unsigned)(f->buffer_end - f->buffer_at));
            set_state(f, READ_STATUS);
        } else {
            show_array(f);
        }
        return;
    case READ_ARRAY:
    case READ_STATUS:
    case READ_ID:
    case QUERY:
        command(f, at, v[0]);
        return;
    }
}

/* ---- reads ---- */

/* JEP137's table for this chip, a byte of each 32-bit word as two 16-bit chips give them is not
 * needed by PC firmware: bytes, at the offsets themselves. */
static uint8_t query_byte(const Pflash *f, uint64_t at)
{
    static const char qry[] = "QRY";
    uint64_t blocks = f->size / PFLASH_SECTOR - 1;

    switch (at) {
    case 0x10 ... 0x12:
        return (uint8_t)qry[at - 0x10];
    case 0x13:
        return 0x01; /* Intel's extended command set */
    case 0x15:
        return 0x31;
    case 0x27:
        return (uint8_t)(63 - __builtin_clzll(f->size));
    case 0x2a:
        return 11; /* buffer of 2 KiB */
    case 0x2c:
        return 1;
    case 0x2d:
        return (uint8_t)blocks;
    case 0x2e:
        return (uint8_t)(blocks >> 8);
    case 0x2f:
        return PFLASH_SECTOR / 256 & 0xff;
    case 0x30:
        return PFLASH_SECTOR / 256 >> 8;
    default:
        return 0;
    }
}

static uint8_t read_byte(const Pflash *f, uint64_t at)
{
    switch (f->state) {
    case READ_ARRAY:
    case PROGRAM:
        return bytes(f)[at];
    case READ_ID:
        return at % 2 ? 0x18 : 0x89; /* Intel, 28F128 */
    case QUERY:
        return query_byte(f, at & 0xff);
    case READ_STATUS:
    case ERASE:
    case BUFFER_COUNT:
    case BUFFER_DATA:
    case BUFFER_CONFIRM:
        return f->status;
    }
    return 0xff;
}

static uint64_t flash_read(void *opaque, uint64_t at, unsigned size)
{
    Pflash *f = opaque;
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)read_byte(f, at + i) << 8 * i;
    }
    if (f->state == READ_ARRAY && ++f->calm >= CALM_READS) {
        region_set_enabled(&f->io, false);
    }
    return v;
}

static const RegionOps flash_ops = {
    .read = flash_read, .write = flash_write, .max_access = 8, .unaligned = true
};

/* ---- life ---- */

uint64_t pflash_size(const Pflash *f)
{
    return f->size;
}

Region *pflash_rom(Pflash *f)
{
    return &f->rom;
}

void pflash_map(Pflash *f, Region *mem, uint64_t at)
{
    region_map(mem, at, &f->box, 0);
}

static bool load(Pflash *f, GError **err)
{
    if (blk_node_pread(blk_node(f->blk), 0, bytes(f), f->size) < 0) {
        return err_set(err, "failed to read the initial flash content");
    }
    return true;
}

Pflash *pflash_new(Obj *tree, const char *name, Blk *b, GError **err)
{
    Pflash *f = (Pflash *)obj_new(&pflash_class);

    obj_add(tree, name, &f->dev.obj);
    obj_unref(&f->dev.obj);
    if (!blk_attach(b, &f->dev.obj, /* share_rw= */ false, err)) {
        obj_detach(&f->dev.obj);
        return NULL;
    }
    f->blk = b;
    f->size = blk_size(b);
    f->read_only = blk_read_only(b);
    f->status = STATUS_READY;
    g_assert(f->size && f->size % PFLASH_SECTOR == 0);
    region_init_container(&f->box, &f->dev.obj, name, f->size);
    if (!region_init_ram(&f->rom, &f->dev.obj, name, f->size, err)) {
        region_fini(&f->box);
        obj_detach(&f->dev.obj);
        return NULL;
    }
    region_init_io(&f->io, &f->dev.obj, name, &flash_ops, f, f->size);
    f->rom.readonly = true;
    f->rom.ops = &flash_ops; /* commands come here, reads do not */
    f->rom.opaque = f;
    region_map(&f->box, 0, &f->rom, 0);
    region_map(&f->box, 0, &f->io, 1);
    region_set_enabled(&f->io, false);
    if (!load(f, err)) {
        obj_detach(&f->dev.obj);
        return NULL;
    }
    return f;
}

static void pflash_reset(Obj *o)
{
    Pflash *f = (Pflash *)o;

    f->status = STATUS_READY;
    show_array(f);
    region_set_enabled(&f->io, false);
}

static void pflash_fini(Obj *o)
{
    Pflash *f = (Pflash *)o;

    if (f->rom.ram) {
        region_unmap(&f->io);
        region_unmap(&f->rom);
        region_fini(&f->io);
        region_fini(&f->rom);
        region_fini(&f->box);
    }
    if (f->blk) {
        blk_detach(f->blk);
    }
}

const ObjClass pflash_class = {
    .name = "cfi.pflash01",
    .parent = "sys-bus-device",
    .size = sizeof(Pflash),
    .flags = OBJ_DEVICE | OBJ_NOT_USER,
    .reset = pflash_reset,
    .fini = pflash_fini,
};

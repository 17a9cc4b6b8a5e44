/* A small machine for unit tests. */
#include "tests/lib/board.h"

#include "tests/lib/fakes.h"

BoardMsi board_msi;

static const MachineClass board_class = {
    .name = "board", .max_cpus = 1, .default_cpus = 1, .default_ram = BOARD_RAM
};

static uint64_t load(void *opaque, bool io, uint64_t at, unsigned size)
{
    Board *b = opaque;

    /* As a vCPU reads: with the short ways that do without the VM lock. */
    return io ? addrspace_load(b->m->io, at, size, NULL)
              : addrspace_load_near(b->m->mem, at, size, &b->near);
}

static void store(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val)
{
    const Board *b = opaque;

    addrspace_store(io ? b->m->io : b->m->mem, at, size, val, NULL);
}

static void ram_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    const Board *b = opaque;

    g_assert_true(addrspace_read(b->m->mem, at, dst, len));
}

static void ram_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    const Board *b = opaque;

    g_assert_true(addrspace_write(b->m->mem, at, src, len));
}

static bool step(void *opaque)
{
    return loop_turn(loop_main(), /* block= */ false);
}

static void set_intx(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    Board *b = opaque;

    b->intx[devfn >> 3][pin] = level;
    b->intx_calls++;
}

static void take_msi(void *opaque, uint64_t addr, uint32_t data)
{
    board_msi = (BoardMsi){ board_msi.n + 1, addr, data };
}

Board *board_new(bool express)
{
    Board *b = g_new0(Board, 1);

    b->m = machine_new(&board_class);
    b->m->run = fake_run();
    fake_accel = (FakeAccel){ 0 };
    g_assert_true(region_init_ram(&b->ram, NULL, "ram", BOARD_RAM, NULL));
    region_map(&b->m->mem_root, 0, &b->ram, 0);
    pci_bus_init_root(&b->bus, b->m, &b->m->obj, express ? "pcie.0" : "pci.0", express,
        &b->m->mem_root, &b->m->io_root);
    b->bus.set_intx = set_intx;
    b->bus.intx_opaque = b;
    pci_host_init(&b->host, &b->bus, &b->m->obj, &b->m->io_root);
    dma_set_msi_sink(b->m->mem, take_msi, b);
    board_msi = (BoardMsi){ 0 };
    b->port = (VPort){ load, store, ram_read, ram_write, step, b };
    return b;
}

static void drop_devices(Board *b)
{
    while (b->bus.bus.devs->len) {
        dev_unplug_done(b->m, b->bus.bus.devs->pdata[b->bus.bus.devs->len - 1]);
    }
}

void board_free(Board *b)
{
    drop_devices(b);
    board_run(b);
    pci_host_fini(&b->host);
    pci_bus_fini(&b->bus);
    region_unmap(&b->ram);
    region_fini(&b->ram);
    machine_free(b->m);
    g_free(b);
}

Dev *board_add(Board *b, const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);
    Dev *d;

    g_assert_no_error(err);
    d = dev_create(b->m, args, /* hotplug= */ false, &err);
    g_assert_no_error(err);
    return d;
}

char *board_add_error(Board *b, const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    g_assert_null(dev_create(b->m, args, /* hotplug= */ false, &err));
    g_assert_nonnull(err);
    return g_strdup(err->message);
}

void board_run(Board *b)
{
    unsigned turns = 0;

    while (loop_turn(loop_main(), /* block= */ false)) {
        g_assert_cmpuint(++turns, <, 100000);
    }
}

/* The machine of the displays' fuzzers. */
#include "tests/fuzz/fuzz-display.h"

extern const ObjClass virtio_vga_class, virtio_vga_base_class, virtio_gpu_base_class;
const ObjClass *const obj_classes[] = { &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &virtio_gpu_class, &virtio_gpu_base_class, &virtio_vga_base_class, &virtio_vga_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

FuzzDisplay fd;
Fuzz fz;

void fuzz_display_open(void)
{
    loop_main();
    fd.b = board_new(false);
    fd.dev = board_add(fd.b, "{'driver': 'virtio-vga', 'addr': '4', 'max_outputs': 3, 'blob': true,"
                             " 'max_hostmem': 8388608, 'romfile': ''}");
    fd.gpu = (VirtioGpu *)((VirtioPci *)fd.dev)->vd;
    vd_open(&fd.drv, &fd.b->port, 0, FUZZ_SLOT << 3, /* legacy= */ false);
    vgpu_open(&fd.g, &fd.drv);
    fd.first_page = fd.drv.alloc;
    for (unsigned i = 0; i < 6; i++) {
        fd.bar[i] = vd_cfg_read(fd.drv.port, 0, FUZZ_SLOT << 3, 0x10 + 4 * i, 4);
    }
}

uint32_t fuzz_word(Input *in)
{
    static const uint32_t some[] = { 0, 1, 2, 3, 4, 5, 6, 7, 16, 63, 64, 65, 67, 68, 121, 128, 134,
        255, 256, 640, 800, 1024, 4096, 16384, 16385, 65536, 1 << 20, 0x7fffffff, 0x80000000,
        0xfffff000, UINT32_MAX };
    uint8_t how = u8(in);

    switch (how) {
    case 255:
        return u32(in);
    case 254:
        return (uint32_t)fd.g.pixels + u16(in) * 16;
    case 253:
        return (uint32_t)(fd.drv.common + u8(in)); /* the device's own registers */
    default:
        return how < 128 ? some[how % G_N_ELEMENTS(some)] : how - 128u;
    }
}

void fuzz_display_send(
    unsigned q, uint32_t head[6], const uint32_t *words, unsigned n, uint32_t room)
{
    const VPort *p = fd.drv.port;
    const VBuf b[2] = { { fd.g.req, 24 + 4 * n, false }, { fd.g.resp, room, true } };
    VRing *r = &fd.drv.ring[q];
    uint32_t id, len;

    p->write(p->opaque, fd.g.req, head, 24);
    p->write(p->opaque, fd.g.req + 24, words, 4 * (size_t)n);
    vring_add(r, b, room ? 2 : 1, 0);
    vd_kick(&fd.drv, q);
    fuzz_turn();
    while (vring_used(r, &id, &len)) {
        g_assert_cmpuint(len, <=, room);
    }
}

/* Everything as it was in the beginning. */
void fuzz_display_reset(void)
{
    vd_set_status(&fd.drv, 0);
    fuzz_idle();
    pci_fn_reset(&fd.dev->obj);
    for (unsigned i = 0; i < 6; i++) {
        vd_cfg_write(fd.drv.port, 0, FUZZ_SLOT << 3, 0x10 + 4 * i, 4, fd.bar[i]);
    }
    vd_cfg_write(fd.drv.port, 0, FUZZ_SLOT << 3, 4, 2, 7);
    g_assert_cmpuint(fd.gpu->hostmem, ==, 0);
    g_assert_cmpuint(g_hash_table_size(fd.gpu->resources), ==, 0);
    g_assert_null(fd.gpu->job.e);
}

void fuzz_display_start(void)
{
    fd.drv.alloc = fd.first_page;
    vd_start(&fd.drv, 0);
}

void fuzz_display_edid(const uint8_t *edid, uint32_t size)
{
    uint8_t sum = 0;

    g_assert_true(size && size <= 384 && size % 128 == 0);
    for (unsigned i = 0; i < size; i++) {
        sum = (uint8_t)(sum + edid[i]);
        g_assert_true(i % 128 != 127 || !sum);
    }
    g_assert_cmpuint(edid[126] + 1u, ==, size / 128);
}

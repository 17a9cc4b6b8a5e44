/* accel/kvm: dirty logs, routes, interrupts through eventfds. What holds for each accelerator is in
 * test-accel.c. */
#include "tests/unit/vcpus.h"

/* Written pages, each once, with a bitmap and with rings that fill up. */
static void dirty(const char *opts)
{
    Fixture f;

    set_up(&f, 1, opts);
    /* 1: mov [0x1000],al; mov [0x3010],al; in al,0x82; mov [0x5020],al;
     * out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xa2, 0x00, 0x10, 0xa2, 0x10, 0x30, 0xe4, 0x82, 0xa2, 0x20, 0x50, 0xe6, 0x80,
        0xeb, 0xf1);
    DirtyLog *l = dirty_log_new(f.m->ram);
    run_at(&f, 0, CODE);
    for (unsigned i = 1; i < 20; i++) {
        f.last[2] = i;
        wait_value(&f, 0, i);
        wait_count(&f, 0, f.count[0] + 1); /* a whole turn since the last look */
        accel_pause(f.a);
        g_assert_true(dirty_log_take(l, 0x1000, 1));
        g_assert_true(dirty_log_take(l, 0x3000, 0x1000));
        g_assert_true(dirty_log_take(l, 0x5000, 0x1000));
        g_assert_false(dirty_log_take(l, 0, 0x1000));
        g_assert_false(dirty_log_take(l, 0x2000, 0x1000));
        g_assert_false(dirty_log_take(l, 0x4000, 0x1000));
        g_assert_false(dirty_log_take(l, 0x8000, 0x4000));
        g_assert_false(dirty_log_take(l, 0x1000, 1)); /* taken */
        accel_resume(f.a);
    }
    dirty_log_free(l);
    f.last[2] = 99; /* goes on without */
    wait_value(&f, 0, 99);
    tear_down(&f);
}

static void test_dirty_bitmap(void)
{
    dirty(NULL);
}

static void test_dirty_ring(void)
{
    dirty("{'kernel-irqchip':'off','dirty-ring-size':1024}");
}

/* More pages than the ring has room for, by a vCPU that nobody stops. */
static void test_dirty_ring_full(void)
{
    Fixture f;
    Region big;

    set_up(&f, 1, "{'kernel-irqchip':'off','dirty-ring-size':1024}");
    g_assert_true(region_init_ram(&big, NULL, "big", 16 << 20, NULL));
    region_map(&f.m->mem_root, 0x1000000, &big, 0);
    DirtyLog *l = dirty_log_new(big.ram);
    X86State s;
    vcpu_get_state(cpu_at(&f, 0), &s);
    s.seg[SEG_ES] = (X86Seg){ .limit = 0xffffffff, .attr = 0x8093 }; /* the whole address space */
    vcpu_set_state(cpu_at(&f, 0), &s);
    /*
     * The port write ends each turn outside the guest: a kernel that emulates real mode looks at
     * the ring's room only there. mov edi,0x1000000; mov ecx,4096; 1: mov es:[edi],al; add
     * edi,4096; out 0x81,al; dec ecx; jnz 1b; out 0x80,al; hlt
     */
    LOAD(&f, CODE, 0x66, 0xbf, 0, 0, 0, 1, 0x66, 0xb9, 0, 0x10, 0, 0, 0x26, 0x67, 0x88, 0x07, 0x66,
        0x81, 0xc7, 0, 0x10, 0, 0, 0xe6, 0x81, 0x66, 0x49, 0x75, 0xef, 0xe6, 0x80, 0xf4);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    for (uint64_t p = 0; p < 4096; p++) {
        g_assert_true(dirty_log_take(l, p << 12, 1));
    }
    g_assert_false(dirty_log_take(l, 0, 16 << 20));
    dirty_log_free(l);
    accel_pause(f.a);
    region_unmap(&big);
    region_fini(&big);
    tear_down(&f);
}

/* RAM is cut and joined under a vCPU that uses it: no access is lost, none goes elsewhere. */
static void test_slots_cut(void)
{
    Fixture f;
    Region hole;

    set_up(&f, 2, NULL);
    /* 1: inc word [0x500]; inc dword [0x9ff8]; out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xff, 0x06, 0x00, 0x05, 0x66, 0xff, 0x06, 0xf8, 0x9f, 0xe6, 0x80, 0xeb, 0xf3);
    region_init_io(&hole, NULL, "hole", &dev_ops, &f, 0x1000);
    run_at(&f, 0, CODE);
    for (unsigned i = 0; i < 50; i++) {
        unsigned n = f.count[0];
        region_map(&f.m->mem_root, 0xa000, &hole, 1); /* right behind the word */
        wait_count(&f, 0, n + 2);
        region_unmap(&hole);
        wait_count(&f, 0, f.count[0] + 2);
    }
    accel_pause(f.a);
    uint32_t words;
    g_assert_true(addrspace_read(f.m->mem, 0x9ff8, &words, sizeof words));
    g_assert_cmpuint(counter(&f), ==, words & 0xffff);
    g_assert_cmpuint(f.count[0] & 0xffff, <=, counter(&f));
    g_assert_cmpuint(counter(&f), <=, (f.count[0] & 0xffff) + 1);
    g_assert_cmpuint(f.io_writes, ==, 0);
    region_fini(&hole);
    tear_down(&f);
}

/* A level-triggered line that an eventfd raises: each end of interrupt lowers it and tells. */
static void test_resample(void)
{
    Fixture f;
    int fd = fd_eventfd(), resample = fd_eventfd();

    set_up(&f, 1, "{}");
    const AccelIrqOps *irq = f.a->cls->irq;
    g_assert_true(accel_has_irqfd(f.a));
    LOAD(&f, 0x40 * 4, 0x00, 0x72, 0x00, 0x00); /* vector 0x40 at 0:7200 */
    /*
     * 32-bit offsets over a flat ES: the local APIC on, pin 20 of the I/O APIC to vector 0x40,
     * level. mov edi,0xfee000f0; mov dword es:[edi],0x1ff; mov edi,0xfec00000; mov byte
     * es:[edi],0x39; mov dword es:[edi+16],0; mov byte es:[edi],0x38; mov dword es:[edi+16],0x8040;
     * sti; out 0x80,al; 1: hlt; jmp 1b
     */
    LOAD(&f, CODE, 0x66, 0xbf, 0xf0, 0, 0xe0, 0xfe, 0x26, 0x67, 0x66, 0xc7, 0x07, 0xff, 1, 0, 0,
        0x66, 0xbf, 0, 0, 0xc0, 0xfe, 0x26, 0x67, 0xc6, 0x07, 0x39, 0x26, 0x67, 0x66, 0xc7, 0x47,
        0x10, 0, 0, 0, 0, 0x26, 0x67, 0xc6, 0x07, 0x38, 0x26, 0x67, 0x66, 0xc7, 0x47, 0x10, 0x40,
        0x80, 0, 0, 0xfb, 0xe6, 0x80, 0xf4, 0xeb, 0xfd);
    /* out 0x81,al; mov edi,0xfee000b0; mov dword es:[edi],0 (EOI); iret */
    LOAD(&f, 0x7200, 0xe6, 0x81, 0x66, 0xbf, 0xb0, 0, 0xe0, 0xfe, 0x26, 0x67, 0x66, 0xc7, 0x07, 0,
        0, 0, 0, 0xcf);
    X86State s;
    vcpu_get_state(cpu_at(&f, 0), &s);
    s.seg[SEG_ES] = (X86Seg){ .limit = 0xffffffff, .attr = 0x8093 };
    vcpu_set_state(cpu_at(&f, 0), &s);
    g_assert_true(irq->irqfd(f.a, 20, fd, resample, /* add= */ true));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    for (unsigned i = 1; i < 20; i++) {
        g_assert_false(fd_drain(resample));
        fd_signal(fd);
        wait_count(&f, 1, i);
        while (!fd_drain(resample)) { /* the guest's EOI comes a moment after its port write */
            g_thread_yield();
        }
        g_assert_cmpuint(f.count[1], ==, i);
    }
    g_assert_true(irq->irqfd(f.a, 20, fd, resample, /* add= */ false));
    fd_signal(fd);
    tear_down(&f);
    close(fd);
    close(resample);
}

/* Routes come to an end, and come back. */
static void test_routes(void)
{
    Fixture f;
    int gsi[64], n = 0;

    set_up(&f, 1, "{'x-gsi-routes':40}");
    const AccelIrqOps *irq = f.a->cls->irq;
    while (n < 64 && (gsi[n] = irq->route_add(f.a, 0xfee00000, (uint32_t)n)) >= 0) {
        g_assert_cmpint(gsi[n], ==, 24 + n);
        n++;
    }
    g_assert_true(n > 0 && n <= 16);
    irq->route_del(f.a, gsi[n / 2]);
    g_assert_cmpint(irq->route_add(f.a, 0xfee00000, 0), ==, gsi[n / 2]);
    for (int i = 0; i < n; i++) {
        g_assert_true(irq->route_set(f.a, gsi[i], 0xfee00000, (uint32_t)(99 - i)));
        irq->route_del(f.a, gsi[i]);
    }
    tear_down(&f);
}

static const Case cases[] = {
    { "slots-cut", test_slots_cut, true, true },
    { "dirty-bitmap", test_dirty_bitmap, false, true },
    { "dirty-ring", test_dirty_ring, false, true },
    { "dirty-ring-full", test_dirty_ring_full, false, true },
    { "resample", test_resample, false, true },
    { "routes", test_routes, false, true },
};

int main(int argc, char **argv)
{
    return run_cases(argc, argv, cases, G_N_ELEMENTS(cases));
}

/*
 * accel/: vCPU threads over the real engine and over the host's KVM: run, pause, call, reset, map
 * changes, writes into code, doorbells, dirty logs, SMP. The programs are real-mode code at 0x7000.
 * Waiting is for a port write, never for time.
 */
#include "tests/unit/vcpus.h"

static void test_run(void)
{
    Fixture f;
    X86State s;

    set_up(&f, 1, NULL);
    g_assert_cmpstr(cpu_at(&f, 0)->obj.cls->name, ==, "qemu64-x86_64-cpu");
    g_assert_true(cpu_at(&f, 0)->thread_id > 0);
    g_assert_false(accel_is_running(f.a));
    /* mov al,0x42; out 0x80,al; mov bx,0x1234; out 0x81,al; hlt */
    LOAD(&f, CODE, 0xb0, 0x42, 0xe6, 0x80, 0xbb, 0x34, 0x12, 0xe6, 0x81, 0xf4);
    run_at(&f, 0, CODE);
    wait_count(&f, 1, 1);
    g_assert_cmphex(f.last[0], ==, 0x42);
    vcpu_get_state(cpu_at(&f, 0), &s); /* while it runs or halts */
    g_assert_cmphex(s.r[3], ==, 0x1234);
    while (!cpu_at(&f, 0)->halted) { /* HLT comes a moment after OUT, and needs no lock of ours */
        g_thread_yield();
    }
    accel_pause(f.a);
    g_assert_true(cpu_at(&f, 0)->paused);
    vcpu_get_state(cpu_at(&f, 0), &s);
    g_assert_true(s.halted);
    g_assert_cmphex(s.rip, ==, CODE + 10);
    tear_down(&f);
}

static void note_thread(VCpu *cpu, void *opaque)
{
    g_assert_true(vm_lock_held());
    *(VCpu **)opaque = vcpu_current();
}

static void test_pause(void)
{
    Fixture f;
    VCpu *seen = NULL;

    set_up(&f, 2, NULL);
    /* 1: inc word [0x500]; out 0x80,al; jmp 1b   and   1: jmp 1b */
    LOAD(&f, CODE, 0xff, 0x06, 0x00, 0x05, 0xe6, 0x80, 0xeb, 0xf8);
    LOAD(&f, CODE + 0x100, 0xeb, 0xfe);
    set_ip(&f, 1, CODE + 0x100);
    run_at(&f, 0, CODE);
    for (unsigned i = 0; i < 20; i++) {
        unsigned n = f.count[0];
        wait_count(&f, 0, n + 1);
        vcpu_run_on(cpu_at(&f, 1), note_thread, &seen);
        g_assert_true(seen == cpu_at(&f, 1));
        accel_pause(f.a);
        uint16_t v = counter(&f);
        seen = NULL;
        vcpu_run_on(cpu_at(&f, 0), note_thread, &seen); /* paused ones serve as well */
        g_assert_true(seen == cpu_at(&f, 0));
        g_assert_cmpuint(counter(&f), ==, v);
        accel_resume(f.a);
        accel_pause(f.a); /* at once again */
        accel_resume(f.a);
    }
    tear_down(&f);
}

static void test_triple_fault(void)
{
    Fixture f;

    set_up(&f, 1, NULL);
    /* lidt [0x600] (limit 0); int 3 */
    LOAD(&f, CODE, 0x0f, 0x01, 0x1e, 0x00, 0x06, 0xcc);
    atomic_store(&resets, 0);
    run_at(&f, 0, CODE);
    while (!atomic_load(&resets)) {
        loop_turn(loop_main(), true);
    }
    LOAD(&f, CODE, 0xe6, 0x80, 0xf4); /* out 0x80,al; hlt */
    accel_pause(f.a);
    vcpu_reset(cpu_at(&f, 0));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    g_assert_cmpuint(atomic_load(&resets), ==, 1);
    tear_down(&f);
}

/* Other RAM appears over a page that a running vCPU reads all the time, and goes again with its
 * memory. */
static void test_map_change(void)
{
    Fixture f;
    Region over;

    set_up(&f, 2, NULL);
    /* 1: mov al,[0x9000]; out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xa0, 0x00, 0x90, 0xe6, 0x80, 0xeb, 0xf9);
    LOAD(&f, 0x9000, 0x11);
    run_at(&f, 0, CODE);
    for (unsigned i = 0; i < 20; i++) {
        wait_value(&f, 0, 0x11);
        g_assert_true(region_init_ram(&over, NULL, "over", 0x1000, NULL));
        *(uint8_t *)region_host(&over) = 0x22;
        region_map(&f.m->mem_root, 0x9000, &over, 1);
        wait_value(&f, 0, 0x22);
        region_unmap(&over);
        region_fini(&over);
        wait_value(&f, 0, 0x11);
    }
    tear_down(&f);
}

/* A page of code is replaced as a whole: PAM does this to the BIOS. */
static void test_code_map_change(void)
{
    Fixture f;
    Region over;

    set_up(&f, 1, NULL);
    /* 1: call 0xa000; jmp 1b.   0xa000: mov al,1; out 0x80,al; ret */
    LOAD(&f, CODE, 0xe8, 0xfd, 0x2f, 0xeb, 0xfb);
    LOAD(&f, 0xa000, 0xb0, 0x01, 0xe6, 0x80, 0xc3);
    g_assert_true(region_init_ram(&over, NULL, "over", 0x1000, NULL));
    memcpy(region_host(&over), (const uint8_t[]){ 0xb0, 0x02, 0xe6, 0x80, 0xc3 }, 5);
    run_at(&f, 0, CODE);
    wait_value(&f, 0, 1);
    region_map(&f.m->mem_root, 0xa000, &over, 1);
    wait_value(&f, 0, 2);
    region_unmap(&over);
    wait_value(&f, 0, 1);
    region_fini(&over);
    tear_down(&f);
}

static void test_write_into_code(void)
{
    Fixture f;
    Region alias;

    set_up(&f, 1, NULL);
    region_init_alias(&alias, NULL, "alias", &f.ram, CODE, 0x1000);
    region_map(&f.m->mem_root, 0xb000, &alias, 1);
    /* 1: mov al,1; out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xb0, 0x01, 0xe6, 0x80, 0xeb, 0xfa);
    run_at(&f, 0, 0xb000); /* runs under the other address */
    wait_value(&f, 0, 1);
    for (unsigned i = 2; i < 40; i++) {
        uint8_t v = (uint8_t)i;
        g_assert_true(addrspace_write(f.m->mem, CODE + 1, &v, 1));
        wait_value(&f, 0, i);
    }
    accel_pause(f.a);
    region_unmap(&alias);
    tear_down(&f);
}

/* One vCPU patches the code that the other runs. */
static void test_cross_modifying(void)
{
    Fixture f;

    set_up(&f, 2, NULL);
    /* CPU 0: 1: mov al,1; out 0x80,al; jmp 1b */
    LOAD(&f, CODE, 0xb0, 0x01, 0xe6, 0x80, 0xeb, 0xfa);
    /* CPU 1: in al,0x82; mov [0x7001],al; jmp back */
    LOAD(&f, 0x7800, 0xe4, 0x82, 0xa2, 0x01, 0x70, 0xeb, 0xf9);
    f.last[2] = 1;
    set_ip(&f, 1, 0x7800);
    run_at(&f, 0, CODE);
    for (unsigned i = 1; i < 40; i++) {
        f.last[2] = i;
        wait_value(&f, 0, i);
    }
    tear_down(&f);
}

static void test_doorbell(void)
{
    Fixture f;
    int fd = fd_eventfd();

    set_up(&f, 1, NULL);
    /* mov word [0xd010],7; out 0x80,al; hlt */
    LOAD(&f, CODE, 0xc7, 0x06, 0x10, 0xd0, 0x07, 0x00, 0xe6, 0x80, 0xf4);
    Doorbell any = { f.m->mem, 0xd010, 2, false, 0, fd },
             eight = { f.m->mem, 0xd010, 2, true, 8, fd };
    g_assert_true(accel_ioeventfd_add(f.a, &eight));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    g_assert_false(fd_drain(fd)); /* another value */
    g_assert_cmpuint(f.io_writes, ==, 1);
    g_assert_true(accel_ioeventfd_add(f.a, &any));
    accel_pause(f.a);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 2);
    g_assert_true(fd_drain(fd));
    g_assert_cmpuint(f.io_writes, ==, 1);
    /* Rung and not heard yet: taken, without another signal. */
    _Atomic bool rung = true;
    accel_ioeventfd_del(f.a, &any);
    any.rung = &rung;
    g_assert_true(accel_ioeventfd_add(f.a, &any));
    g_assert_true(accel_doorbell_ring(f.a, f.m->mem, 0xd010, 2, 7));
    g_assert_false(fd_drain(fd));
    rung = false;
    g_assert_true(accel_doorbell_ring(f.a, f.m->mem, 0xd010, 2, 7));
    g_assert_true(fd_drain(fd));
    g_assert_true(rung);
    accel_ioeventfd_del(f.a, &any);
    accel_ioeventfd_del(f.a, &any); /* twice does no harm */
    accel_pause(f.a);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 3);
    g_assert_false(fd_drain(fd));
    g_assert_cmpuint(f.io_writes, ==, 2);
    tear_down(&f);
    close(fd);
}

/* We hold the VM lock all the time, so the vCPU cannot have it. */
static void test_doorbell_lockless(void)
{
    Fixture f;
    int fd = fd_eventfd();

    set_up(&f, 1, NULL);
    /* out 0x80,al; 1: mov [0xd020],ax; jmp 1b */
    LOAD(&f, CODE, 0xe6, 0x80, 0xa3, 0x20, 0xd0, 0xeb, 0xfb);
    Doorbell wide = { f.m->mem, 0xd020, 0, false, 0, fd };
    g_assert_true(accel_ioeventfd_add(f.a, &wide));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    g_assert_true(vm_lock_held());
    for (unsigned i = 0; i < 100; i++) {
        while (!fd_drain(fd)) {
            g_thread_yield();
        }
    }
    g_assert_cmpuint(f.io_writes, ==, 0);
    accel_pause(f.a);
    accel_ioeventfd_del(f.a, &wide);
    tear_down(&f);
    close(fd);
}

static void test_interrupt_wakes_halt(void)
{
    Fixture f;

    set_up(&f, 1, NULL);
    LOAD(&f, 0x40 * 4, 0x00, 0x72, 0x00, 0x00); /* vector 0x40 at 0:7200 */
    /*
     * Enables x2APIC and the LAPIC, then sti; 1: hlt; jmp 1b.
     * mov ecx,0x1b; rdmsr; or ax,0xc00; wrmsr; mov ecx,0x80f; xor edx,edx; mov eax,0x1ff; wrmsr;
     * out 0x80,al; sti
     */
    LOAD(&f, CODE, 0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x0d, 0x00, 0x0c, 0x0f, 0x30, 0x66, 0xb9,
        0x0f, 8, 0, 0, 0x66, 0x31, 0xd2, 0x66, 0xb8, 0xff, 1, 0, 0, 0x0f, 0x30, 0xe6, 0x80, 0xfb,
        0xf4, 0xeb, 0xfd);
    /* mov ecx,0x80b; xor eax,eax; xor edx,edx; wrmsr (EOI); out 0x81,al; iret */
    LOAD(&f, 0x7200, 0x66, 0xb9, 0x0b, 8, 0, 0, 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, 0x30,
        0xe6, 0x81, 0xcf);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    for (unsigned i = 1; i < 50; i++) {
        lapic_bus_msi(f.apics, 0xfee00000, 0x40);
        wait_count(&f, 1, i);
    }
    g_assert_cmpuint(f.count[1], ==, 49);
    tear_down(&f);
}

static void test_sipi(void)
{
    Fixture f;

    set_up(&f, 2, NULL);
    /* The boot CPU: x2APIC on, INIT and SIPI (vector 8) to APIC id 1, hlt. */
    LOAD(&f, CODE, 0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x0d, 0x00, 0x0c, 0x0f, 0x30, 0x66, 0xb9,
        0x0f, 8, 0, 0, 0x66, 0x31, 0xd2, 0x66, 0xb8, 0xff, 1, 0, 0, 0x0f, 0x30, 0x66, 0xb9, 0x30, 8,
        0, 0, 0x66, 0xba, 1, 0, 0, 0, 0x66, 0xb8, 0x00, 0x45, 0, 0, 0x0f, 0x30, 0x66, 0xb8, 0x08,
        0x46, 0, 0, 0x0f, 0x30, 0xf4);
    LOAD(&f, 0x8000, 0xb0, 0x99, 0xe6, 0x81, 0xf4); /* mov al,0x99; out 0x81,al; hlt */
    run_at(&f, 0, CODE);
    wait_value(&f, 1, 0x99);
    tear_down(&f);
}

static void test_thread_single(void)
{
    Fixture f;
    g_autoptr(GError) err = NULL, err2 = NULL;
    g_autoptr(Json) bad = json_parse("{'thread':'bar'}", -1, NULL),
                    unknown = json_parse("{'foo':1}", -1, NULL);

    set_up(&f, 2, "{'thread':'single'}");
    g_assert_null(accel_new(&soft_accel_class, f.m, bad, &err));
    g_assert_cmpstr(err->message, ==, "Invalid 'thread' setting bar");
    g_assert_null(accel_new(&soft_accel_class, f.m, unknown, &err2));
    g_assert_cmpstr(err2->message, ==, "Property 'tcg-accel.foo' not found");
    LOAD(&f, CODE, 0xe6, 0x80, 0xeb, 0xfc);         /* 1: out 0x80,al; jmp 1b */
    LOAD(&f, CODE + 0x100, 0xe6, 0x81, 0xeb, 0xfc); /* 1: out 0x81,al; jmp 1b */
    set_ip(&f, 1, CODE + 0x100);
    run_at(&f, 0, CODE);
    for (unsigned i = 0; i < 5; i++) { /* both go on */
        wait_count(&f, 0, f.count[0] + 1);
        wait_count(&f, 1, f.count[1] + 1);
    }
    tear_down(&f);
}

static void test_a20(void)
{
    Fixture f;
    Region high;

    set_up(&f, 1, NULL);
    g_assert_true(region_init_ram(&high, NULL, "high", 0x10000, NULL));
    region_map(&f.m->mem_root, 0x100000, &high, 0);
    /* mov ax,0xffff; mov ds,ax; 1: mov al,[0x20]; out 0x80,al; jmp 1b: 0x100010, or 0x10 with the
     * gate shut */
    LOAD(&f, CODE, 0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xa0, 0x20, 0x00, 0xe6, 0x80, 0xeb, 0xf9);
    LOAD(&f, 0x10, 0x55);
    ((uint8_t *)region_host(&high))[0x10] = 0x66;
    run_at(&f, 0, CODE);
    wait_value(&f, 0, 0x66);
    accel_set_a20(f.a, false);
    wait_value(&f, 0, 0x55);
    accel_set_a20(f.a, true);
    wait_value(&f, 0, 0x66);
    accel_pause(f.a);
    region_unmap(&high);
    region_fini(&high);
    tear_down(&f);
}

/* Any width and value, by memory; one value, by port. */
static void test_wide_doorbell(void)
{
    Fixture f;
    int fd = fd_eventfd();

    set_up(&f, 1, NULL);
    /* mov byte [0xd020],1; mov word [0xd020],2; mov dword [0xd020],3; mov ax,5; out 0x84,ax;
     * out 0x80,al; hlt */
    LOAD(&f, CODE, 0xc6, 0x06, 0x20, 0xd0, 1, 0xc7, 0x06, 0x20, 0xd0, 2, 0, 0x66, 0xc7, 0x06, 0x20,
        0xd0, 3, 0, 0, 0, 0xb8, 5, 0, 0xe7, 0x84, 0xe6, 0x80, 0xf4);
    Doorbell wide = { f.m->mem, 0xd020, 0, false, 0, fd }, port = { f.m->io, 0x84, 2, true, 5, fd },
             other = { f.m->io, 0x84, 2, true, 6, fd };
    g_assert_true(accel_ioeventfd_add(f.a, &wide));
    g_assert_true(accel_ioeventfd_add(f.a, &other));
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 1);
    uint64_t n = 0;
    g_assert_cmpint(read(fd, &n, sizeof n), ==, sizeof n);
    g_assert_cmpuint(n, ==, 3);
    g_assert_cmpuint(f.io_writes, ==, 0);
    g_assert_cmpuint(f.count[4], ==, 1);
    g_assert_true(accel_ioeventfd_add(f.a, &port));
    accel_ioeventfd_del(f.a, &wide);
    accel_pause(f.a);
    run_at(&f, 0, CODE);
    wait_count(&f, 0, 2);
    g_assert_cmpint(read(fd, &n, sizeof n), ==, sizeof n);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpuint(f.io_writes, ==, 3);
    g_assert_cmpuint(f.count[4], ==, 1);
    accel_ioeventfd_del(f.a, &port);
    accel_ioeventfd_del(f.a, &other);
    tear_down(&f);
    close(fd);
}

static const Case cases[] = {
    { "run-and-halt", test_run, true, true }, { "pause-resume-call", test_pause, true, true },
    /* KVM may emulate real mode without its IDT limit; in long mode: test_kvm.py */
    { "triple-fault-asks-for-reset", test_triple_fault, true, false },
    { "map-change-is-seen", test_map_change, true, true },
    { "map-change-under-code", test_code_map_change, true, true },
    { "device-writes-code", test_write_into_code, true, true },
    { "cross-modifying-code", test_cross_modifying, true, true },
    /* two at one place: KVM takes one */
    { "doorbell", test_doorbell, true, false }, { "wide-doorbell", test_wide_doorbell, true, true },
    { "doorbell-takes-no-lock", test_doorbell_lockless, true, true },
    { "interrupt-wakes-halt", test_interrupt_wakes_halt, true, false }, /* x2APIC */
    { "init-sipi", test_sipi, true, false },
    { "one-thread-at-a-time", test_thread_single, true, false },
    { "a20", test_a20, true, false }, /* KVM has no such gate */
};

int main(int argc, char **argv)
{
    return run_cases(argc, argv, cases, G_N_ELEMENTS(cases));
}

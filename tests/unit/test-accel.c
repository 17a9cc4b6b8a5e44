/*
 * accel/: vCPU threads over the real engine: run, pause, call, reset, map changes, writes into
 * code, doorbells, SMP. The programs are real-mode code at 0x7000. Waiting is for a port write,
 * never for time.
 */
#include "accel/accel.h"
#include "accel/soft/soft-accel.h"
#include "hw/core/machine.h"
#include "hw/intc/lapic.h"
#include "memory/ram.h"
#include "util/fd.h"
#include "util/loop.h"
#include "util/rcu.h"
#include "util/timer.h"

#include <string.h>

enum { CODE = 0x7000, NPORTS = 8 };

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
static const MachineClass plain = { .name = "plain" };
const MachineClass *const machine_classes[] = { &plain, NULL };

static void nothing(void *opaque) {}

/* What the accelerator asks of the run state; the real one is system/'s. */
static _Atomic unsigned resets, debugs;

void run_request_reset(RunState *r, ShutdownCause why)
{
    g_assert_cmpint(why, ==, SHUTDOWN_GUEST_RESET);
    atomic_fetch_add(&resets, 1);
    loop_post(loop_main(), nothing, NULL);
}

void run_request_debug(RunState *r)
{
    atomic_fetch_add(&debugs, 1);
    loop_post(loop_main(), nothing, NULL);
}

void run_stop(RunState *r, RunStateKind why)
{
    g_error("the engine gave up");
}

static const X86CpuModel model = {
    .vendor = "AuthenticAMD",
    .model_id = "test",
    .family = 15,
    .model = 107,
    .stepping = 1,
    .level = 0xd,
    .xlevel = 0x8000000a,
    .f1_edx = 0x078bfbfd,
    .f1_ecx = 0x80202001,
    .f80000001_edx = 0x2193fbfd,
    .f80000001_ecx = 5,
    .cores_per_die = 1,
    .threads_per_core = 1,
    .dies = 1,
    .sockets = 2,
    .phys_bits = 40,
};

/* Ports 0x80..: what was written last, and how often. */
typedef struct Fixture {
    Machine *m;
    Accel *a;
    LapicBus *apics;
    Region ram, ports, apic_page, io;
    unsigned count[NPORTS];
    uint32_t last[NPORTS];
    unsigned io_writes;
    bool poked;
} Fixture;

static void unpoke(void *opaque)
{
    ((Fixture *)opaque)->poked = false;
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned size)
{
    return ((Fixture *)opaque)->last[off];
}

static void port_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Fixture *f = opaque;

    g_assert_true(vm_lock_held());
    f->count[off]++;
    f->last[off] = (uint32_t)val;
    if (!f->poked) {
        f->poked = true;
        loop_post(loop_main(), unpoke, f);
    }
}

static const RegionOps port_ops = { .read = port_read, .write = port_write, .max_access = 1 };

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void dev_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    ((Fixture *)opaque)->io_writes++;
}

static const RegionOps dev_ops = { .read = dev_read, .write = dev_write };

static Lapic *current_lapic(void)
{
    VCpu *cpu = vcpu_current();

    return cpu ? cpu->lapic : NULL;
}

static void set_up(Fixture *f, unsigned ncpus, const char *opts)
{
    g_autoptr(Json) args = json_parse(opts ? opts : "{}", -1, NULL);
    RamSpec spec = { .size = 1 << 20 };

    *f = (Fixture){ 0 };
    f->m = machine_new(&plain);
    f->m->cpu_model = &model;
    f->m->ram = ram_new("ram", &spec, NULL);
    region_init_ram_block(&f->ram, NULL, "ram", f->m->ram);
    region_init_io(&f->ports, NULL, "ports", &port_ops, f, NPORTS);
    region_init_io(&f->io, NULL, "dev", &dev_ops, f, 0x1000);
    region_map(&f->m->mem_root, 0, &f->ram, 0);
    region_map(&f->m->io_root, 0x80, &f->ports, 0);
    region_map(&f->m->mem_root, 0xd000, &f->io, 1);
    f->apics = lapic_bus_new(ncpus);
    lapic_bus_init_region(f->apics, &f->apic_page, current_lapic);
    region_map(&f->m->mem_root, 0xfee00000, &f->apic_page, 1);
    f->a = f->m->accel = accel_new(&soft_accel_class, f->m, args, NULL);
    g_assert_nonnull(f->a);
    for (unsigned i = 0; i < ncpus; i++) {
        VCpu *cpu = vcpu_new(f->a, i, i, NULL);
        cpu->lapic = lapic_new(f->apics, &cpu->obj, i, i == 0, true, &vcpu_lapic_ops, cpu);
    }
    accel_start(f->a);
}

static void tear_down(Fixture *f)
{
    Region *all[] = { &f->ram, &f->ports, &f->io, &f->apic_page };

    accel_quit(f->a);
    accel_free(f->a);
    f->m->accel = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        region_unmap(all[i]);
        region_fini(all[i]);
    }
    machine_free(f->m);
    lapic_bus_free(f->apics);
    while (loop_turn(loop_main(), false)) {
    }
}

static VCpu *cpu_at(Fixture *f, unsigned i)
{
    return f->a->cpus->pdata[i];
}

static void set_ip(Fixture *f, unsigned cpu, uint16_t ip)
{
    X86State s;

    vcpu_get_state(cpu_at(f, cpu), &s);
    s.seg[SEG_CS].base = s.seg[SEG_CS].sel = 0;
    s.rip = ip;
    s.r[4] = 0x6000;
    s.wait_sipi = s.halted = false;
    vcpu_set_state(cpu_at(f, cpu), &s);
}

#define LOAD(f, at, ...)                                                                           \
    memcpy((uint8_t *)region_host(&(f)->ram) + (at), (const uint8_t[]){ __VA_ARGS__ },             \
        sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void run_at(Fixture *f, unsigned cpu, uint16_t ip)
{
    set_ip(f, cpu, ip);
    accel_resume(f->a);
}

static void wait_count(Fixture *f, unsigned port, unsigned n)
{
    while (f->count[port] < n) {
        loop_turn(loop_main(), true);
    }
}

static void wait_value(Fixture *f, unsigned port, uint32_t v)
{
    while (!f->count[port] || f->last[port] != v) {
        loop_turn(loop_main(), true);
    }
}

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

static uint16_t counter(Fixture *f)
{
    uint16_t v;

    g_assert_true(addrspace_read(f->m->mem, 0x500, &v, sizeof v));
    return v;
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    clock_virtual_start();
    g_test_add_func("/accel/run-and-halt", test_run);
    g_test_add_func("/accel/pause-resume-call", test_pause);
    g_test_add_func("/accel/triple-fault-asks-for-reset", test_triple_fault);
    g_test_add_func("/accel/map-change-is-seen", test_map_change);
    g_test_add_func("/accel/map-change-under-code", test_code_map_change);
    g_test_add_func("/accel/device-writes-code", test_write_into_code);
    g_test_add_func("/accel/cross-modifying-code", test_cross_modifying);
    g_test_add_func("/accel/doorbell", test_doorbell);
    g_test_add_func("/accel/interrupt-wakes-halt", test_interrupt_wakes_halt);
    g_test_add_func("/accel/init-sipi", test_sipi);
    g_test_add_func("/accel/one-thread-at-a-time", test_thread_single);
    g_test_add_func("/accel/a20", test_a20);
    return g_test_run();
}

/* A machine of RAM, eight ports and a device, and an accelerator: what tests of vCPU threads share.
 * The programs are real-mode code at 0x7000. Waiting is for a port write, never for time. */
#pragma once

#include "accel/accel.h"
#include "accel/kvm/kvm-accel.h"
#include "accel/soft/soft-accel.h"
#include "hw/core/machine.h"
#include "hw/intc/lapic.h"
#include "memory/dirty.h"
#include "memory/ram.h"
#include "util/fd.h"
#include "util/loop.h"
#include "util/rcu.h"
#include "util/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { CODE = 0x7000, NPORTS = 8 };

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
static const MachineClass plain = { .name = "plain" };
const MachineClass *const machine_classes[] = { &plain, NULL };

static void nothing(void *opaque) {}

/* The accelerator of the running test. With KVM the local APICs are ours unless the test's options
 * say otherwise. */
static const AccelClass *cls;

static bool is_kvm(void)
{
    return cls == &kvm_accel_class;
}

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

void run_request_shutdown(RunState *r, ShutdownCause why)
{
    g_error("nobody asked for an end");
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

/* The next machine's. */
static const X86CpuModel *cpu_model = &model;

/* Ports 0x80..: what was written last, and how often. */
typedef struct Fixture {
    Machine *m;
    Accel *a;
    LapicBus *apics;
    Region ram, ports, apic_page, io;
    unsigned count[NPORTS];
    uint32_t last[NPORTS];
    unsigned io_writes;
    gint64 began, shortest; /* from a write to port 0 to the next one to port 1, us */
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
    if (off == 0) {
        f->began = g_get_monotonic_time();
    } else if (off == 1) {
        gint64 took = g_get_monotonic_time() - f->began;

        f->shortest = f->shortest && f->shortest < took ? f->shortest : took;
    }
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

static inline void set_up(Fixture *f, unsigned ncpus, const char *opts)
{
    const char *usual = is_kvm() ? "{'kernel-irqchip':'off'}" : "{}";
    g_autoptr(Json) args = json_parse(opts ? opts : usual, -1, NULL);
    RamSpec spec = { .size = 1 << 20 };

    *f = (Fixture){ 0 };
    f->m = machine_new(&plain);
    f->m->cpu_model = cpu_model;
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
    f->a = f->m->accel = accel_new(cls, f->m, args, NULL);
    g_assert_nonnull(f->a);
    for (unsigned i = 0; i < ncpus; i++) {
        VCpu *cpu = vcpu_new(f->a, i, i, NULL);
        if (accel_irqchip(f->a) == ACCEL_IRQCHIP_SOFT) {
            cpu->lapic = lapic_new(f->apics, &cpu->obj, i, i == 0, !is_kvm(), &vcpu_lapic_ops, cpu);
        }
    }
    accel_start(f->a);
}

static inline void tear_down(Fixture *f)
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

static inline VCpu *cpu_at(Fixture *f, unsigned i)
{
    return f->a->cpus->pdata[i];
}

static inline void set_ip(Fixture *f, unsigned cpu, uint16_t ip)
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

static inline void run_at(Fixture *f, unsigned cpu, uint16_t ip)
{
    set_ip(f, cpu, ip);
    accel_resume(f->a);
}

static inline void wait_count(Fixture *f, unsigned port, unsigned n)
{
    while (f->count[port] < n) {
        loop_turn(loop_main(), true);
    }
}

static inline void wait_value(Fixture *f, unsigned port, uint32_t v)
{
    while (!f->count[port] || f->last[port] != v) {
        loop_turn(loop_main(), true);
    }
}

static inline uint16_t counter(Fixture *f)
{
    uint16_t v;

    g_assert_true(addrspace_read(f->m->mem, 0x500, &v, sizeof v));
    return v;
}

typedef struct Case {
    const char *name;
    void (*fn)(void);
    bool tcg, kvm;
} Case;

static inline void run_tcg(gconstpointer data)
{
    cls = &soft_accel_class;
    ((const Case *)data)->fn();
}

static inline void run_kvm(gconstpointer data)
{
    autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        g_autofree char *why = g_strdup_printf("/dev/kvm: %s", g_strerror(errno));
        g_test_skip(why);
        return;
    }
    cls = &kvm_accel_class;
    ((const Case *)data)->fn();
}

static inline int run_cases(int argc, char **argv, const Case *cases, unsigned n)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    clock_virtual_start();
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *tcg = g_strdup_printf("/accel/tcg/%s", cases[i].name);
        g_autofree char *kvm = g_strdup_printf("/accel/kvm/%s", cases[i].name);

        if (cases[i].tcg) {
            g_test_add_data_func(tcg, &cases[i], run_tcg);
        }
        if (cases[i].kvm) {
            g_test_add_data_func(kvm, &cases[i], run_kvm);
        }
    }
    return g_test_run();
}

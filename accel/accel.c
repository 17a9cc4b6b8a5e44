/*
 * Accelerators and vCPU threads: creation, pausing all of them, running something in one. What a
 * thread executes is its AccelClass's vcpu_loop. Tests: tests/unit/test-accel.c
 */
#include "accel/accel.h"

#include "accel/qtest/qtest-accel.h"
#include "hw/core/machine.h"
#include "hw/intc/lapic.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A vCPU changed one of the states that others wait for: paused, created, run_fn. One for all:
 * waiters look themselves. */
static GCond vcpu_cond;
static _Thread_local VCpu *current_cpu;

static bool check_props(const AccelClass *cls, const Json *opts, GError **err)
{
    for (unsigned i = 0; opts && i < json_len(opts); i++) {
        const char *key = json_key_at(opts, i);
        bool known = false;

        for (const PropSpec *s = cls->props; s && s->name && !known; s++) {
            known = !strcmp(s->name, key);
        }
        if (!known) {
            return err_set(err, "Property '%s-accel.%s' not found", cls->name, key);
        }
    }
    return true;
}

static void name_cpu_class(Accel *a, const Machine *m)
{
    g_autofree char *model = g_strdup(m && m->cpu_text ? m->cpu_text : "qemu64");

    model[strcspn(model, ",")] = 0;
    a->cpu_class_name = g_strdup_printf("%s-x86_64-cpu", model);
    a->cpu_class = (ObjClass){ .name = a->cpu_class_name,
        .parent = "x86_64-cpu",
        .size = sizeof(VCpu),
        .flags = OBJ_NOT_USER };
}

Accel *accel_make(const AccelClass *cls, struct Machine *m, const Json *opts, GError **err)
{
    if (!check_props(cls, opts, err)) {
        return NULL;
    }
    Accel *a = g_malloc0(MAX(cls->size, sizeof *a));
    a->cls = cls;
    a->machine = m;
    a->cpus = g_ptr_array_new();
    prop_defaults(cls->props, a);
    name_cpu_class(a, m);
    if (opts && !prop_apply_struct(cls->props, a, opts, err)) {
        accel_free(a);
        return NULL;
    }
    return a;
}

bool accel_init(Accel *a, GError **err)
{
    a->initialized = !a->cls->init || a->cls->init(a, a->machine, err);
    return a->initialized;
}

Accel *accel_new(const AccelClass *cls, struct Machine *m, const Json *opts, GError **err)
{
    Accel *a = accel_make(cls, m, opts, err);

    if (a && !accel_init(a, err)) {
        accel_free(a);
        return NULL;
    }
    return a;
}

static void vcpu_free(VCpu *cpu)
{
    if (cpu->accel->cls->vcpu_fini) {
        cpu->accel->cls->vcpu_fini(cpu);
    }
    if (cpu->obj.parent) {
        g_ptr_array_remove(cpu->accel->machine->cpus, cpu);
        obj_detach(&cpu->obj);
    }
    obj_unref(&cpu->obj);
}

void accel_free(Accel *a)
{
    if (!a) {
        return;
    }
    for (unsigned i = 0; i < a->cpus->len; i++) {
        vcpu_free(a->cpus->pdata[i]);
    }
    g_ptr_array_set_size(a->cpus, 0);
    if (a->initialized && a->cls->fini) {
        a->cls->fini(a);
    }
    accel_doorbells_fini(a);
    prop_release(a->cls->props, a);
    g_ptr_array_unref(a->cpus);
    g_free(a->cpu_class_name);
    g_free(a);
}

bool accel_is_qtest(const Accel *a)
{
    return a && a->cls == &qtest_accel_class;
}

AccelIrqchip accel_irqchip(const Accel *a)
{
    return a && a->cls->irq ? a->cls->irq->irqchip(a) : ACCEL_IRQCHIP_SOFT;
}

bool accel_has_irqfd(const Accel *a)
{
    return accel_irqchip(a) != ACCEL_IRQCHIP_SOFT && a->cls->irq->irqfd;
}

void accel_coalesce(Accel *a, const AddrSpace *as, uint64_t at, unsigned size)
{
    if (a->cls->coalesce) {
        a->cls->coalesce(a, as, at, size);
    }
}

VCpu *vcpu_new(Accel *a, unsigned index, uint32_t apic_id, GError **err)
{
    VCpu *cpu = (VCpu *)obj_new(&a->cpu_class);

    cpu->accel = a;
    cpu->index = index;
    cpu->apic_id = apic_id;
    cpu->paused = cpu->stop = true;
    if (!a->cls->vcpu_init(a, cpu, err)) {
        obj_unref(&cpu->obj);
        return NULL;
    }
    if (a->machine) {
        obj_add_array(a->machine->unattached, "device", &cpu->obj);
        g_ptr_array_add(a->machine->cpus, cpu);
    }
    g_ptr_array_add(a->cpus, cpu);
    vcpu_reset(cpu);
    return cpu;
}

VCpu *vcpu_current(void)
{
    return current_cpu;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t val)
{
    return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

uint32_t vcpu_wake_seq(VCpu *cpu)
{
    return atomic_load(&cpu->wake_seq);
}

void vcpu_sleep(VCpu *cpu, uint32_t seq)
{
    rcu_offline();
    /* Pairs with vcpu_wake(): it counts, then looks for a sleeper; we announce ourselves, then look
     * at the count. */
    atomic_store(&cpu->sleeping, 1);
    while (atomic_load(&cpu->wake_seq) == seq) {
        futex(&cpu->wake_seq, FUTEX_WAIT_PRIVATE, seq);
    }
    atomic_store(&cpu->sleeping, 0);
    rcu_online();
}

void vcpu_wake(VCpu *cpu)
{
    atomic_fetch_add(&cpu->wake_seq, 1);
    if (atomic_load(&cpu->sleeping)) {
        futex(&cpu->wake_seq, FUTEX_WAKE_PRIVATE, INT_MAX);
    }
}

void vcpu_request(VCpu *cpu, uint32_t bits)
{
    atomic_fetch_or(&cpu->request, bits);
    if (cpu->accel->cls->vcpu_kick) {
        cpu->accel->cls->vcpu_kick(cpu);
    }
    vcpu_wake(cpu);
}

void accel_nudge(Accel *a)
{
    for (unsigned i = 0; a->cls->vcpu_kick && i < a->cpus->len; i++) {
        a->cls->vcpu_kick(a->cpus->pdata[i]);
    }
}

static void run_pending_fn(VCpu *cpu)
{
    if (cpu->run_fn) {
        cpu->run_fn(cpu, cpu->run_opaque);
        cpu->run_fn = NULL;
        g_cond_broadcast(&vcpu_cond);
    }
}

bool vcpu_serve(VCpu *cpu)
{
    const uint32_t ours = VCPU_PAUSE | VCPU_RUN_FN;

    if (!(atomic_load(&cpu->request) & (ours | VCPU_QUIT))) {
        return true;
    }
    rcu_offline(); /* taking the lock may block */
    vm_lock();
    rcu_online();
    atomic_fetch_and(&cpu->request, ~ours);
    run_pending_fn(cpu);
    while (cpu->stop && !(atomic_load(&cpu->request) & VCPU_QUIT)) {
        if (!cpu->paused) {
            cpu->paused = true;
            g_cond_broadcast(&vcpu_cond);
        }
        vm_cond_wait(&vcpu_cond);
        run_pending_fn(cpu);
    }
    cpu->paused = false;
    bool go_on = !(atomic_load(&cpu->request) & VCPU_QUIT);
    vm_unlock();
    return go_on;
}

static void *vcpu_thread(void *opaque)
{
    VCpu *cpu = opaque;

    current_cpu = cpu;
    rcu_thread_register();
    vm_lock();
    cpu->thread_id = (int)gettid();
    cpu->created = true;
    g_cond_broadcast(&vcpu_cond);
    vm_unlock();
    cpu->accel->cls->vcpu_loop(cpu);
    rcu_offline();
    vm_lock();
    run_pending_fn(cpu); /* asked for while the thread was on its way out */
    cpu->created = false;
    cpu->paused = true;
    g_cond_broadcast(&vcpu_cond);
    vm_unlock();
    rcu_thread_unregister();
    return NULL;
}

void accel_start(Accel *a)
{
    for (unsigned i = 0; i < a->cpus->len; i++) {
        VCpu *cpu = a->cpus->pdata[i];
        if (cpu->created || !a->cls->vcpu_loop) {
            cpu->created = true;
            continue;
        }
        g_autofree char *name = g_strdup_printf("CPU %u/%s", cpu->index, a->cls->name);
        atomic_fetch_or(&cpu->request, VCPU_PAUSE);
        cpu->thread = g_thread_new(name, vcpu_thread, cpu);
        while (!cpu->created) {
            vm_cond_wait(&vcpu_cond);
        }
    }
}

static bool all_paused(const Accel *a)
{
    for (unsigned i = 0; i < a->cpus->len; i++) {
        const VCpu *cpu = a->cpus->pdata[i];
        if (cpu->thread && !cpu->paused) {
            return false;
        }
    }
    return true;
}

bool accel_is_running(const Accel *a)
{
    return a->running;
}

void accel_pause(Accel *a)
{
    g_assert(vm_lock_held() && !current_cpu);
    for (unsigned i = 0; i < a->cpus->len; i++) {
        VCpu *cpu = a->cpus->pdata[i];
        cpu->stop = true;
        if (cpu->thread && !cpu->paused) {
            vcpu_request(cpu, VCPU_PAUSE);
        } else {
            cpu->paused = true;
        }
    }
    while (!all_paused(a)) {
        vm_cond_wait(
            &vcpu_cond); /* a vCPU in a device access finishes it first: it needs the lock */
    }
    if (a->running && a->cls->run_changed) {
        a->cls->run_changed(a, /* running= */ false);
    }
    a->running = false;
}

void accel_resume(Accel *a)
{
    g_assert(vm_lock_held());
    if (!a->running && a->cls->run_changed) {
        a->cls->run_changed(a, /* running= */ true);
    }
    a->running = true;
    for (unsigned i = 0; i < a->cpus->len; i++) {
        VCpu *cpu = a->cpus->pdata[i];
        cpu->stop = false;
        cpu->debug_hit = false;
        /* Now, not when the thread wakes: a pause right behind this must wait for it. */
        cpu->paused = false;
    }
    g_cond_broadcast(&vcpu_cond);
}

void accel_quit(Accel *a)
{
    g_assert(vm_lock_held());
    for (unsigned i = 0; i < a->cpus->len; i++) {
        VCpu *cpu = a->cpus->pdata[i];
        if (cpu->thread) {
            vcpu_request(cpu, VCPU_QUIT);
        }
    }
    g_cond_broadcast(&vcpu_cond);
    for (unsigned i = 0; i < a->cpus->len; i++) {
        VCpu *cpu = a->cpus->pdata[i];
        while (cpu->thread && cpu->created) {
            vm_cond_wait(&vcpu_cond);
        }
        if (cpu->thread) {
            g_thread_join(g_steal_pointer(&cpu->thread)); /* past its last use of the lock */
        }
        cpu->created = false;
    }
    a->running = false;
}

void vcpu_run_on(VCpu *cpu, void (*fn)(VCpu *, void *), void *opaque)
{
    g_assert(vm_lock_held());
    if (!cpu->thread || cpu == current_cpu) {
        fn(cpu, opaque);
        return;
    }
    while (cpu->run_fn) { /* another thread's */
        vm_cond_wait(&vcpu_cond);
    }
    cpu->run_opaque = opaque;
    cpu->run_fn = fn;
    vcpu_request(cpu, VCPU_RUN_FN);
    g_cond_broadcast(&vcpu_cond); /* it may be paused */
    while (cpu->run_fn == fn && cpu->run_opaque == opaque) {
        vm_cond_wait(&vcpu_cond);
        if (current_cpu) {
            run_pending_fn(current_cpu); /* two vCPUs may ask each other */
        }
    }
}

void vcpu_reset(VCpu *cpu)
{
    g_assert(cpu->paused || !cpu->thread);
    cpu->halted = cpu->debug_hit = false;
    atomic_fetch_and(&cpu->request, ~(uint32_t)(VCPU_IRQ | VCPU_NMI | VCPU_INIT | VCPU_SIPI));
    cpu->accel->cls->reset(cpu);
}

typedef struct StateCall {
    X86State *out;
    const X86State *in;
} StateCall;

static void state_call(VCpu *cpu, void *opaque)
{
    const StateCall *c = opaque;

    if (c->out) {
        cpu->accel->cls->get_state(cpu, c->out);
    } else {
        cpu->accel->cls->set_state(cpu, c->in);
    }
}

static void on_cpu(VCpu *cpu, void (*fn)(VCpu *, void *), void *opaque)
{
    if (cpu->paused) {
        fn(cpu, opaque); /* its thread waits for the lock that we hold */
    } else {
        vcpu_run_on(cpu, fn, opaque);
    }
}

void vcpu_get_state(VCpu *cpu, X86State *ret)
{
    StateCall c = { .out = ret };

    on_cpu(cpu, state_call, &c);
}

void vcpu_set_state(VCpu *cpu, const X86State *s)
{
    StateCall c = { .in = s };

    on_cpu(cpu, state_call, &c);
}

typedef struct TranslateCall {
    uint64_t la;
    Gpa gpa;
    bool ok;
} TranslateCall;

static void translate_call(VCpu *cpu, void *opaque)
{
    TranslateCall *c = opaque;

    c->ok = cpu->accel->cls->debug_translate(cpu, c->la, &c->gpa);
}

bool vcpu_debug_translate(VCpu *cpu, uint64_t la, Gpa *ret)
{
    TranslateCall c = { .la = la };

    if (!cpu->accel->cls->debug_translate) {
        ret->v = la;
        return true;
    }
    on_cpu(cpu, translate_call, &c);
    if (c.ok) {
        *ret = c.gpa;
    }
    return c.ok;
}

void accel_set_a20(Accel *a, bool on)
{
    for (unsigned i = 0; a->cls->set_a20 && i < a->cpus->len; i++) {
        a->cls->set_a20(a->cpus->pdata[i], on);
    }
}

static void lapic_irq(void *cpu)
{
    vcpu_request(cpu, VCPU_IRQ);
}

static void lapic_nmi(void *cpu)
{
    vcpu_request(cpu, VCPU_NMI);
}

static void lapic_init(void *cpu)
{
    vcpu_request(cpu, VCPU_INIT);
}

static void lapic_sipi(void *opaque, uint8_t vector)
{
    VCpu *cpu = opaque;

    cpu->sipi_vector = vector;
    vcpu_request(cpu, VCPU_SIPI);
}

const LapicOps vcpu_lapic_ops = {
    .irq = lapic_irq,
    .nmi = lapic_nmi,
    .init = lapic_init,
    .sipi = lapic_sipi,
};

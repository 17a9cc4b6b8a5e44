/*
 * -accel tcg: the CPU engine as an accelerator, one thread per vCPU. Tests:
 * tests/unit/test-accel.c, the guest suites
 */
#include "accel/soft/soft-accel.h"

#include "hw/core/machine.h"
#include "memory/dirty.h"
#include "mmu.h"
#include "soft-accel-internal.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <string.h>

enum { SOFT_THREAD_MULTI, SOFT_THREAD_SINGLE };
enum { SLICE_US = 2000 };

static bool thread_parse(void *field, const char *text, GError **err)
{
    if (strcmp(text, "single") && strcmp(text, "multi")) {
        return err_set(err, "Invalid 'thread' setting %s", text);
    }
    *(int *)field = strcmp(text, "single") ? SOFT_THREAD_MULTI : SOFT_THREAD_SINGLE;
    return true;
}

static bool thread_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_STR) {
        return err_set(err, "Invalid parameter type for 'thread', expected: string");
    }
    return thread_parse(field, json_get_str(val), err);
}

static void thread_get(const void *field, JsonWriter *w, const char *name)
{
    jw_str(w, name, *(const int *)field == SOFT_THREAD_SINGLE ? "single" : "multi");
}

static const PropType prop_thread = {
    .name = "string", .set = thread_set, .parse = thread_parse, .get = thread_get
};

/* clang-format off */
static const PropSpec soft_props[] = {
    PROP_ROW("thread", SoftAccel, thread_mode, int, prop_thread, SOFT_THREAD_MULTI,
        "single: one vCPU runs at a time; multi"),
    PROP_U64("tb-size", SoftAccel, tb_size, 0, "accepted: the cache has one size"),
    PROP_BOOL("one-insn-per-tb", SoftAccel, one_insn, false, "accepted: all are precise"),
    PROP_END,
};
/* clang-format on */

static SoftVcpu *vcpu_of(const VCpu *cpu)
{
    return cpu->impl;
}

struct SoftCpu *soft_accel_cpu(VCpu *cpu)
{
    return vcpu_of(cpu)->c;
}

/* Pages count as clean again: whoever cached that they are dirty must report its next write. */
static void clean_hook(void *opaque, RamBlock *b)
{
    SoftAccel *sa = opaque;

    for (unsigned i = 0; i < sa->ncpus; i++) {
        soft_kick(sa->cpus[i], SOFT_POLL_FLUSH);
    }
}

static bool soft_init(Accel *a, struct Machine *m, GError **err)
{
    SoftAccel *sa = (SoftAccel *)a;

    if (sa->tb_size > 1 << 20) {
        return err_set(err, "tb-size is too large");
    }
    soft_retired_init(sa);
    g_mutex_init(&sa->turn_lock);
    g_cond_init(&sa->turn_cond);
    sa->listener.changed = soft_map_changed;
    sa->io_listener.changed = soft_ports_changed;
    addrspace_listen(m->mem, &sa->listener);
    addrspace_listen(m->io, &sa->io_listener);
    ram_set_code_hook(soft_code_hook, sa);
    ram_set_clean_hook(clean_hook, sa);
    return true;
}

static void soft_fini(Accel *a)
{
    SoftAccel *sa = (SoftAccel *)a;

    addrspace_unlisten(a->machine->mem, &sa->listener);
    addrspace_unlisten(a->machine->io, &sa->io_listener);
    ram_set_code_hook(NULL, NULL);
    ram_set_clean_hook(NULL, NULL);
    soft_retired_free(sa);
    g_mutex_clear(&sa->turn_lock);
    g_cond_clear(&sa->turn_cond);
    g_free(sa->cpus);
}

static bool soft_vcpu_init(Accel *a, VCpu *cpu, GError **err)
{
    SoftAccel *sa = (SoftAccel *)a;

    if (!a->machine->cpu_model) {
        return err_set(err, "the machine has no CPU model");
    }
    SoftVcpu *v = g_new0(SoftVcpu, 1);
    v->cpu = cpu;
    v->sa = sa;
    cpu->impl = v;
    v->tlb_gen = atomic_load(&sa->map_gen);
    v->acked = v->tlb_gen;
    v->c = soft_new(&soft_bus, v, a->machine->cpu_model, cpu->index, cpu->apic_id);
    /* All vCPUs exist before the first runs, so the list stands while it is read without a lock. */
    sa->cpus = g_renew(SoftCpu *, sa->cpus, sa->ncpus + 1);
    sa->cpus[sa->ncpus++] = v->c;
    return true;
}

static void soft_vcpu_fini(VCpu *cpu)
{
    SoftVcpu *v = vcpu_of(cpu);

    if (!v) {
        return;
    }
    SoftAccel *sa = v->sa;
    for (unsigned i = 0; i < sa->ncpus; i++) {
        if (sa->cpus[i] == v->c) {
            sa->cpus[i] = sa->cpus[--sa->ncpus];
        }
    }
    soft_free(v->c);
    g_free(v);
    cpu->impl = NULL;
}

/* Any thread: what accel.h calls requests becomes the engine's poll bits. */
static void soft_vcpu_kick(VCpu *cpu)
{
    static const struct {
        uint32_t request, poll;
    } bits[] = {
        { VCPU_IRQ, SOFT_POLL_IRQ },
        { VCPU_NMI, SOFT_POLL_NMI },
        { VCPU_INIT, SOFT_POLL_INIT },
        { VCPU_SIPI, SOFT_POLL_SIPI },
    };
    const uint32_t events = VCPU_IRQ | VCPU_NMI | VCPU_INIT | VCPU_SIPI;
    SoftVcpu *v = vcpu_of(cpu);
    uint32_t got = atomic_fetch_and(&cpu->request, ~events), poll = 0;

    if (got & VCPU_SIPI) {
        v->c->sipi_vector = cpu->sipi_vector;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        poll |= got & bits[i].request ? bits[i].poll : 0;
    }
    if (!(got & events) || (got & ~events)) {
        poll |= SOFT_POLL_EXIT; /* a request for the loop, or a mere look outside: accel_nudge() */
    }
    soft_kick(v->c, poll);
}

static void stop_machine(void *opaque)
{
    Machine *m = opaque;

    run_stop(m->run, RUN_STATE_INTERNAL_ERROR);
}

/* Shut down, broken or at a breakpoint: only a reset or a resume sets it going. */
static bool is_parked(const SoftVcpu *v)
{
    return v->stopped || v->cpu->debug_hit;
}

/* Nothing to run: until an interrupt, a request, or work on the engine's own poll bits. */
static void wait_for_work(SoftVcpu *v)
{
    VCpu *cpu = v->cpu;
    /* A CPU that waits for its SIPI hears no interrupt; a stopped one nothing but requests. */
    uint32_t deaf = is_parked(v) ? UINT32_MAX : v->c->wait_sipi ? SOFT_POLL_IRQ : 0;

    cpu->halted = !is_parked(v);
    for (;;) {
        uint32_t seq = vcpu_wake_seq(cpu);
        if (atomic_load(&cpu->request) || (atomic_load(&v->c->poll) & ~deaf) ||
            atomic_load(&v->sa->map_gen) != atomic_load(&v->acked)) {
            break;
        }
        vcpu_sleep(cpu, seq);
    }
    if (!v->c->halted && !v->c->wait_sipi) {
        cpu->halted = false;
    }
}

static void apply_a20(SoftVcpu *v)
{
    uint64_t mask = atomic_load_explicit(&v->a20_off, memory_order_relaxed) ? ~(1ull << 20) : ~0ull;

    if (v->c->a20_mask != mask) {
        v->c->a20_mask = mask;
        soft_tlb_flush(v->c, /* global= */ true);
    }
}

/* thread=single: one at a time. Who waits longer than a slice asks the one that runs to let go. */
static void take_turn(SoftVcpu *v)
{
    SoftAccel *sa = v->sa;

    if (sa->thread_mode != SOFT_THREAD_SINGLE) {
        return;
    }
    rcu_offline();
    g_mutex_lock(&sa->turn_lock);
    uint64_t mine = sa->next_turn++;
    while (sa->turn != mine) {
        gint64 end = g_get_monotonic_time() + SLICE_US;
        if (g_cond_wait_until(&sa->turn_cond, &sa->turn_lock, end)) {
            continue;
        }
        for (unsigned i = 0; i < sa->ncpus; i++) {
            if (sa->cpus[i] != v->c) {
                soft_kick(sa->cpus[i], SOFT_POLL_EXIT);
            }
        }
    }
    g_mutex_unlock(&sa->turn_lock);
    rcu_online();
}

static void give_turn(SoftVcpu *v)
{
    SoftAccel *sa = v->sa;

    if (sa->thread_mode == SOFT_THREAD_SINGLE) {
        g_mutex_lock(&sa->turn_lock);
        sa->turn++;
        g_cond_broadcast(&sa->turn_cond);
        g_mutex_unlock(&sa->turn_lock);
    }
}

static void handle_exit(SoftVcpu *v, SoftExit e)
{
    Machine *m = v->sa->a.machine;

    switch (e) {
    case SOFT_EXIT_KICK:
        break;
    case SOFT_EXIT_HALT:
        wait_for_work(v);
        break;
    case SOFT_EXIT_DEBUG:
        v->cpu->debug_hit = true; /* stands until accel_resume() */
        run_request_debug(m->run);
        break;
    case SOFT_EXIT_TRIPLE:
        v->stopped = true;
        run_request_reset(m->run, SHUTDOWN_GUEST_RESET);
        break;
    case SOFT_EXIT_INTERNAL:
        v->stopped = true;
        loop_post(loop_main(), stop_machine, m);
        break;
    }
}

static void soft_vcpu_loop(VCpu *cpu)
{
    SoftVcpu *v = vcpu_of(cpu);

    while (vcpu_serve(cpu)) {
        soft_map_ack(v);
        apply_a20(v);
        if (is_parked(v)) {
            wait_for_work(v);
        } else {
            take_turn(v);
            cpu->halted = false;
            SoftExit e = soft_run(v->c);
            give_turn(v);
            handle_exit(v, e);
        }
        rcu_quiescent();
    }
}

static void soft_vcpu_get_state(VCpu *cpu, X86State *ret)
{
    soft_get_state(vcpu_of(cpu)->c, ret);
}

static void soft_vcpu_set_state(VCpu *cpu, const X86State *s)
{
    soft_set_state(vcpu_of(cpu)->c, s);
    vcpu_of(cpu)->stopped = false;
}

static void soft_vcpu_reset(VCpu *cpu)
{
    SoftVcpu *v = vcpu_of(cpu);

    v->stopped = false;
    v->cr8 = 0;
    soft_reset(v->c, cpu->index == 0);
}

static bool soft_vcpu_debug_translate(VCpu *cpu, uint64_t la, Gpa *ret)
{
    return soft_debug_translate(vcpu_of(cpu)->c, la, &ret->v);
}

static bool soft_vcpu_set_debug(VCpu *cpu, const uint64_t *at, unsigned n, bool step)
{
    SoftCpu *c = vcpu_of(cpu)->c;

    if (n > G_N_ELEMENTS(c->breakpoints)) {
        return false;
    }
    memcpy(c->breakpoints, at, n * sizeof *at);
    c->nbreakpoints = n;
    c->step = step;
    soft_blocks_flush(c);
    soft_mode_update(c);
    return true;
}

static void soft_vcpu_set_a20(VCpu *cpu, bool on)
{
    SoftVcpu *v = vcpu_of(cpu);

    atomic_store(&v->a20_off, !on);
    if (vcpu_current() == cpu) {
        apply_a20(v); /* the next instruction relies on it */
    } else {
        soft_kick(v->c, SOFT_POLL_EXIT);
        vcpu_wake(cpu);
    }
}

const AccelClass soft_accel_class = {
    .name = "tcg",
    .size = sizeof(SoftAccel),
    .props = soft_props,
    .init = soft_init,
    .fini = soft_fini,
    .vcpu_init = soft_vcpu_init,
    .vcpu_fini = soft_vcpu_fini,
    .vcpu_loop = soft_vcpu_loop,
    .vcpu_kick = soft_vcpu_kick,
    .get_state = soft_vcpu_get_state,
    .set_state = soft_vcpu_set_state,
    .reset = soft_vcpu_reset,
    .debug_translate = soft_vcpu_debug_translate,
    .set_debug = soft_vcpu_set_debug,
    .set_a20 = soft_vcpu_set_a20,
    .doorbells = true,
};

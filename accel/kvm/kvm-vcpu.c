/*
 * vCPU threads under KVM: entering the guest, what it leaves for, and how others make it leave (KVM
 * API, 4.10 and 5). Lock-free: a thread announces that it enters, then looks for requests; whoever
 * asks something sets the request, then looks whether the thread is inside. Tests:
 * tests/system/test_kvm.py
 */
#include "hw/core/machine.h"
#include "kvm-internal.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex_wait(_Atomic uint32_t *word, uint32_t val)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Kicks. */
static void on_kick(int sig)
{
    /* That it arrived is all: KVM_RUN returned. */
}

void kvm_signals_init(void)
{
    struct sigaction act = { .sa_handler = on_kick, .sa_flags = SA_RESTART };

    sigemptyset(&act.sa_mask);
    sigaction(KVM_SIG_KICK, &act, NULL);
}

static void set_immediate_exit(KvmVcpu *v, uint8_t on)
{
    /* The kernel reads it at the head of KVM_RUN; we only store. */
    __atomic_store_n(&v->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

static void push_out(KvmVcpu *v)
{
    if (atomic_load(&v->in_run)) {
        set_immediate_exit(v, 1);
        if (atomic_load(&v->has_thread)) {
            pthread_kill(v->self, KVM_SIG_KICK);
        }
    }
}

/* A mere look outside (accel_nudge) needs nothing: inside KVM_RUN a thread holds no map. */
void kvm_vcpu_kick(VCpu *cpu)
{
    KvmVcpu *v = kvm_vcpu_of(cpu);

    if (v && atomic_load(&cpu->request)) {
        push_out(v);
    }
}

void kvm_gate_close(KvmAccel *ka)
{
    g_assert(vm_lock_held());
    atomic_store(&ka->gate, 1);
    for (unsigned i = 0; i < ka->a.cpus->len; i++) {
        VCpu *cpu = ka->a.cpus->pdata[i];
        KvmVcpu *v = kvm_vcpu_of(cpu);
        while (v && cpu != vcpu_current() && atomic_load(&v->in_run)) {
            push_out(v);
            futex_wait(&v->in_run, 1);
        }
    }
}

void kvm_gate_open(KvmAccel *ka)
{
    atomic_store(&ka->gate, 0);
    futex_wake(&ka->gate);
}

static void wait_at_gate(KvmAccel *ka)
{
    rcu_offline();
    while (atomic_load(&ka->gate)) {
        futex_wait(&ka->gate, 1);
    }
    rcu_online();
}

/* What went wrong, in words and registers. */
static void dump_code(VCpu *cpu, const X86State *s, GString *out)
{
    enum { BEFORE = 43, LEN = 64 };
    uint64_t at = s->seg[SEG_CS].base + s->rip;

    g_string_append(out, "Code=");
    for (unsigned i = 0; i < LEN; i++) {
        uint64_t la = at - BEFORE + i;
        Gpa pa;
        uint8_t byte;
        bool ok = kvm_debug_translate(cpu, la, &pa) &&
                  addrspace_host(cpu->accel->machine->mem, pa.v, 1, /* write= */ false, NULL) &&
                  addrspace_read(cpu->accel->machine->mem, pa.v, &byte, 1);

        g_string_append_printf(out, "%s", i ? " " : "");
        g_string_append_printf(out, la == at ? "<" : "%s", "");
        if (ok) {
            g_string_append_printf(out, "%02x", byte);
        } else {
            g_string_append(out, "??");
        }
        g_string_append(out, la == at ? ">" : "");
    }
    g_string_append_c(out, '\n');
}

static void stop_machine(void *opaque)
{
    Machine *m = opaque;

    run_stop(m->run, RUN_STATE_INTERNAL_ERROR);
}

/* what: whole lines. The machine stops; the vCPU goes on only behind a reset. */
static void give_up(KvmVcpu *v, const char *what)
{
    GString *out = g_string_new(what);
    X86State s;

    kvm_get_state(v->cpu, &s);
    x86_state_describe(&s, out);
    dump_code(v->cpu, &s, out);
    fputs(out->str, stderr);
    fflush(stderr);
    g_string_free(out, TRUE);
    v->stopped = true;
    loop_post(loop_main(), stop_machine, v->ka->a.machine);
}

static void internal_error(KvmVcpu *v)
{
    const struct kvm_run *run = v->run;
    GString *what = g_string_new(NULL);

    g_string_printf(what, "KVM internal error. Suberror: %u\n", run->internal.suberror);
    for (unsigned i = 0; i < MIN(run->internal.ndata, G_N_ELEMENTS(run->internal.data)); i++) {
        g_string_append_printf(
            what, "extra data[%u]: 0x%016" PRIx64 "\n", i, (uint64_t)run->internal.data[i]);
    }
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        g_string_append(what, "emulation failure\n");
    }
    give_up(v, what->str);
    g_string_free(what, TRUE);
}

static void fail_entry(KvmVcpu *v)
{
    g_autofree char *what = g_strdup_printf("KVM: entry failed, hardware error 0x%" PRIx64 "\n",
        (uint64_t)v->run->fail_entry.hardware_entry_failure_reason);

    give_up(v, what);
}

static void unknown_exit(KvmVcpu *v)
{
    g_autofree char *what =
        v->run->exit_reason == KVM_EXIT_UNKNOWN
            ? g_strdup_printf("KVM: unknown exit, hardware reason %" PRIx64 "\n",
                  (uint64_t)v->run->hw.hardware_exit_reason)
            : g_strdup_printf("KVM: exit %u is not known to this program\n", v->run->exit_reason);

    give_up(v, what);
}

/* Accesses. */
static void exit_io(KvmVcpu *v)
{
    AddrSpace *io = v->ka->a.machine->io;
    const struct kvm_run *run = v->run;
    uint8_t *p = (uint8_t *)v->run + run->io.data_offset;
    bool lock = run->io.count > 1; /* a string: its items are one turn of the lock */

    if (lock) {
        vm_lock();
    }
    for (unsigned i = 0; i < run->io.count; i++, p += run->io.size) {
        uint64_t val = 0;

        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&val, p, run->io.size);
            addrspace_store(io, run->io.port, run->io.size, val, NULL);
        } else {
            val = addrspace_load(io, run->io.port, run->io.size, NULL);
            memcpy(p, &val, run->io.size);
        }
    }
    if (lock) {
        vm_unlock();
    }
    v->io_pending = true;
}

static void exit_mmio(KvmVcpu *v)
{
    AddrSpace *mem = v->ka->a.machine->mem;
    struct kvm_run *run = v->run;
    unsigned len = run->mmio.len;
    uint64_t val = 0;

    v->io_pending = true;
    if (len != 1 && len != 2 && len != 4 && len != 8) { /* a part of one that crosses a page */
        if (run->mmio.is_write) {
            addrspace_write(mem, run->mmio.phys_addr, run->mmio.data, len);
        } else {
            addrspace_read(mem, run->mmio.phys_addr, run->mmio.data, len);
        }
    } else if (run->mmio.is_write) {
        memcpy(&val, run->mmio.data, len);
        addrspace_store(mem, run->mmio.phys_addr, len, val, NULL);
    } else {
        val = addrspace_load(mem, run->mmio.phys_addr, len, NULL);
        memcpy(run->mmio.data, &val, len);
    }
}

static void exit_debug(KvmVcpu *v)
{
    v->cpu->debug_hit = true; /* stands until accel_resume() */
    run_request_debug(v->ka->a.machine->run);
}

static void exit_system_event(KvmVcpu *v)
{
    RunState *run = v->ka->a.machine->run;

    switch (v->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        run_request_shutdown(run, SHUTDOWN_GUEST_SHUTDOWN);
        break;
    case KVM_SYSTEM_EVENT_RESET:
        run_request_reset(run, SHUTDOWN_GUEST_RESET);
        break;
    default:
        run_request_shutdown(run, SHUTDOWN_GUEST_PANIC);
        break;
    }
    v->stopped = true;
}

static void handle_exit(KvmVcpu *v)
{
    Accel *a = &v->ka->a;

    kvm_coalesced_flush(v->ka);
    switch (v->run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        break;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        break;
    case KVM_EXIT_HLT:
        v->halted = true;
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
        break;
    case KVM_EXIT_IOAPIC_EOI:
        if (a->chips.eoi) {
            a->chips.eoi(a->chips.eoi_opaque, v->run->eoi.vector);
        }
        break;
    case KVM_EXIT_SHUTDOWN: /* triple fault */
        v->stopped = true;
        run_request_reset(a->machine->run, SHUTDOWN_GUEST_RESET);
        break;
    case KVM_EXIT_DEBUG:
        exit_debug(v);
        break;
    case KVM_EXIT_DIRTY_RING_FULL:
        vm_lock();
        kvm_rings_reap(v->ka);
        vm_unlock();
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        exit_system_event(v);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        internal_error(v);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        fail_entry(v);
        break;
    default:
        unknown_exit(v);
        break;
    }
}

static void run_failed(KvmVcpu *v, int why)
{
    g_autofree char *what = g_strdup_printf("error: kvm run failed %s\n", g_strerror(why));

    give_up(v, what);
}

/* One entry; false: it was not made because somebody wants something. */
static void run_once(KvmVcpu *v)
{
    VCpu *cpu = v->cpu;
    int ret, why;

    kvm_inject(v);
    set_immediate_exit(v, 0);
    atomic_store(&v->in_run, 1);
    /* Pairs with push_out(): either it sees that we are inside, or we see what it wants. */
    bool wanted = atomic_load(&cpu->request), gate = atomic_load(&v->ka->gate);
    if (wanted || gate) {
        atomic_store(&v->in_run, 0);
        futex_wake(&v->in_run);
        if (gate) {
            wait_at_gate(v->ka);
        }
        return;
    }
    rcu_offline();
    ret = ioctl(v->fd, KVM_RUN, NULL);
    why = errno;
    rcu_online();
    atomic_store(&v->in_run, 0);
    if (atomic_load(&v->ka->gate)) {
        futex_wake(&v->in_run);
    }
    v->io_pending = false;
    kvm_after_run(v);
    if (ret == 0) {
        handle_exit(v);
    } else if (why != EINTR && why != EAGAIN) {
        run_failed(v, why);
    }
}

/* Registers are whole only when the instruction that made an access has ended (KVM API, 5:
 * "KVM_EXIT_IO … must re-enter"). */
static void finish_access(KvmVcpu *v)
{
    while (v->io_pending) {
        set_immediate_exit(v, 1);
        int ret = ioctl(v->fd, KVM_RUN, NULL);
        v->io_pending = false;
        if (ret == 0) {
            handle_exit(v); /* its next part */
        }
    }
}

/* Shut down, broken or at a breakpoint: only a reset or a resume sets it going. */
static bool is_parked(const KvmVcpu *v)
{
    return v->stopped || v->cpu->debug_hit;
}

static void wait_for_work(KvmVcpu *v)
{
    VCpu *cpu = v->cpu;
    const uint32_t serve = VCPU_PAUSE | VCPU_QUIT | VCPU_RUN_FN;
    uint32_t heard = is_parked(v) ? serve : v->wait_sipi ? ~(uint32_t)VCPU_IRQ : UINT32_MAX;

    cpu->halted = !is_parked(v);
    for (;;) {
        uint32_t seq = vcpu_wake_seq(cpu);
        if (atomic_load(&cpu->request) & heard) {
            break;
        }
        vcpu_sleep(cpu, seq);
    }
    cpu->halted = v->halted || v->wait_sipi;
}

void kvm_vcpu_loop(VCpu *cpu)
{
    const uint32_t serve = VCPU_PAUSE | VCPU_QUIT | VCPU_RUN_FN;
    KvmVcpu *v = kvm_vcpu_of(cpu);
    sigset_t kick;

    v->self = pthread_self();
    atomic_store(&v->has_thread, true);
    sigemptyset(&kick);
    sigaddset(&kick, KVM_SIG_KICK);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    for (;;) {
        if (atomic_load(&cpu->request) & serve) {
            finish_access(v);
        }
        if (!vcpu_serve(cpu)) {
            break;
        }
        if (!is_parked(v)) {
            kvm_take_requests(v);
        }
        if (is_parked(v) || v->halted || v->wait_sipi) {
            wait_for_work(v);
        } else {
            cpu->halted = false;
            run_once(v);
        }
        rcu_quiescent();
    }
    atomic_store(&v->has_thread, false);
}

/* Life. */
static bool map_ring(KvmVcpu *v, GError **err)
{
    size_t bytes = v->ka->dirty_ring * sizeof(struct kvm_dirty_gfn);
    void *at;

    if (!bytes) {
        return true;
    }
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
        (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
    if (at == MAP_FAILED) {
        return err_set_errno(err, "KVM: the dirty ring of vCPU %u", v->cpu->index);
    }
    v->ring = at;
    return true;
}

bool kvm_vcpu_init(Accel *a, VCpu *cpu, GError **err)
{
    KvmAccel *ka = kvm_of(a);

    if (!a->machine->cpu_model) {
        return err_set(err, "the machine has no CPU model");
    }
    KvmVcpu *v = g_new0(KvmVcpu, 1);

    v->cpu = cpu;
    v->ka = ka;
    cpu->impl = v;
    /* The number is the initial APIC ID: KVM API, KVM_CREATE_VCPU. */
    v->fd = kvm_ioctl(ka->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)cpu->apic_id);
    if (v->fd < 0) {
        return err_set_errno(err, "KVM makes no vCPU %u", cpu->index);
    }
    v->run = mmap(NULL, ka->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return err_set_errno(err, "KVM: mapping the state of vCPU %u", cpu->index);
    }
    if (ka->caps.coalesced_page && !atomic_load(&ka->coalesced)) {
        void *page = (uint8_t *)v->run + ka->caps.coalesced_page * (size_t)sysconf(_SC_PAGESIZE);
        atomic_store(&ka->coalesced, (struct kvm_coalesced_mmio_ring *)page);
    }
    return map_ring(v, err) && kvm_vcpu_set_cpuid(v, err);
}

void kvm_vcpu_fini(VCpu *cpu)
{
    KvmVcpu *v = kvm_vcpu_of(cpu);

    if (!v) {
        return;
    }
    if (v->ring) {
        munmap(v->ring, v->ka->dirty_ring * sizeof(struct kvm_dirty_gfn));
    }
    if (v->run) {
        if (cpu->index == 0) {
            atomic_store(&v->ka->coalesced, NULL);
        }
        munmap(v->run, v->ka->run_size);
    }
    g_free(v->seen);
    if (v->fd >= 0) {
        close(v->fd);
    }
    cpu->impl = NULL;
    g_free(v);
}

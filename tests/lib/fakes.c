/*
 * What lies above hw/pci and hw/virtio, made small: a run state with one listener, and an
 * accelerator that records the doorbells it is given and rings them by hand. For unit tests, which
 * link neither system/ nor an engine.
 */
#include "tests/lib/fakes.h"

#include "util/fd.h"

FakeAccel fake_accel;

struct RunState {
    bool running;
    RunListenFn *fn;
    void *opaque;
};
static struct RunState the_run;

RunState *fake_run(void)
{
    the_run = (struct RunState){ .running = true };
    return &the_run;
}

void fake_run_set(bool running)
{
    the_run.running = running;
    the_run.fn(the_run.opaque, running);
}

bool run_is_running(const RunState *r)
{
    return r->running;
}

void run_listen(RunState *r, RunListenFn *fn, void *opaque, int order)
{
    r->fn = fn;
    r->opaque = opaque;
}

bool accel_ioeventfd_add(Accel *a, const Doorbell *d)
{
    g_assert_cmpuint(fake_accel.n, <, G_N_ELEMENTS(fake_accel.bell));
    fake_accel.bell[fake_accel.n++] = *d;
    return true;
}

void accel_ioeventfd_del(Accel *a, const Doorbell *d)
{
    for (unsigned i = 0; i < fake_accel.n; i++) {
        if (fake_accel.bell[i].eventfd == d->eventfd && fake_accel.bell[i].at == d->at) {
            fake_accel.bell[i] = fake_accel.bell[--fake_accel.n];
            return;
        }
    }
    g_assert_not_reached();
}

bool fake_ring(uint64_t at, uint64_t val)
{
    for (unsigned i = 0; i < fake_accel.n; i++) {
        const Doorbell *d = &fake_accel.bell[i];

        if (d->at == at && (!d->has_match || d->match == val)) {
            fd_signal(d->eventfd);
            return true;
        }
    }
    return false;
}

bool accel_has_irqfd(const Accel *a)
{
    return false;
}

bool accel_is_running(const Accel *a)
{
    return false;
}

void accel_pause(Accel *a) {}

void accel_resume(Accel *a) {}

void vcpu_reset(VCpu *cpu) {}

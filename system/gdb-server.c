/* -gdb: the remote protocol's stub on a character device, with the machine's vCPUs behind it. */
#include "gdbstub/gdbstub.h"
#include "system.h"

#include <errno.h>
#include <string.h>

enum { GDB_PAGE = 4096, GDB_BREAKPOINTS = 32 };

typedef struct GdbServer {
    Machine *m;
    GdbStub *stub;
    ChardevFe fe;
    uint64_t breakpoints[GDB_BREAKPOINTS];
    unsigned nbreakpoints;
    bool telling; /* a posted tell_stop() is on its way */
    bool *held;   /* by vCPU: kept from running by the last resume, so it has hit nothing; nheld of
                     them */
    unsigned nheld;
} GdbServer;

static VCpu *cpu_at(const GdbServer *s, unsigned i)
{
    return s->m->cpus->pdata[i];
}

static unsigned gdb_ncpus(void *opaque)
{
    return ((GdbServer *)opaque)->m->cpus->len;
}

static void gdb_get(void *opaque, unsigned cpu, X86State *ret)
{
    vcpu_get_state(cpu_at(opaque, cpu), ret);
}

static void gdb_set(void *opaque, unsigned cpu, const X86State *state)
{
    vcpu_set_state(cpu_at(opaque, cpu), state);
}

/* The piece of [la, la + len) that lies in one page, as an address of the memory map. False: not
 * mapped. */
static bool piece_at(
    const GdbServer *s, unsigned cpu, uint64_t la, size_t len, uint64_t *ret_at, size_t *ret_len)
{
    Gpa gpa;

    if (!vcpu_debug_translate(cpu_at(s, cpu), la, &gpa)) {
        return false;
    }
    *ret_at = gpa.v; /* opened: the address space takes numbers */
    *ret_len = MIN(len, GDB_PAGE - (la & (GDB_PAGE - 1)));
    return true;
}

static bool gdb_read(void *opaque, unsigned cpu, uint64_t la, void *buf, size_t len)
{
    const GdbServer *s = opaque;
    uint8_t *to = buf;

    while (len) {
        uint64_t at;
        size_t n;

        if (!piece_at(s, cpu, la, len, &at, &n) || !addrspace_read(s->m->mem, at, to, n)) {
            return false;
        }
        la += n;
        to += n;
        len -= n;
    }
    return true;
}

static bool gdb_write(void *opaque, unsigned cpu, uint64_t la, const void *buf, size_t len)
{
    const GdbServer *s = opaque;
    const uint8_t *from = buf;

    while (len) {
        uint64_t at;
        size_t n;

        if (!piece_at(s, cpu, la, len, &at, &n) || !addrspace_write_rom(s->m->mem, at, from, n)) {
            return false;
        }
        la += n;
        from += n;
        len -= n;
    }
    return true;
}

/* The same breakpoints in every vCPU; steps only where asked. */
static void apply(const GdbServer *s, const GdbRun *run)
{
    const AccelClass *cls = s->m->accel->cls;

    for (unsigned i = 0; cls->set_debug && i < s->m->cpus->len; i++) {
        bool step = run && run[i] == GDB_RUN_STEP;

        if (!cls->set_debug(cpu_at(s, i), s->breakpoints, s->nbreakpoints, step)) {
            g_assert_not_reached(); /* gdb_breakpoint() keeps the number within bounds */
        }
    }
}

static int gdb_breakpoint(void *opaque, GdbBreak type, uint64_t addr, unsigned len, bool insert)
{
    GdbServer *s = opaque;
    unsigned i = 0;

    if (type > GDB_BREAK_HW || !s->m->accel->cls->set_debug) {
        return -ENOTSUP;
    }
    while (i < s->nbreakpoints && s->breakpoints[i] != addr) {
        i++;
    }
    if (insert && i == s->nbreakpoints) {
        unsigned max = s->m->accel->cls->max_breakpoints;

        if (s->nbreakpoints == (max ? max : GDB_BREAKPOINTS)) {
            return -ENOSPC;
        }
        s->breakpoints[s->nbreakpoints++] = addr;
    } else if (!insert) {
        if (i == s->nbreakpoints) {
            return -ENOENT;
        }
        s->breakpoints[i] = s->breakpoints[--s->nbreakpoints];
    }
    return 0;
}

static void gdb_resume(void *opaque, const GdbRun *run)
{
    GdbServer *s = opaque;

    apply(s, run);
    run_start(s->m->run);
    /* We hold the VM lock, so no vCPU has left its pause yet: the ones to hold stay parked as after
     * a stop. */
    s->nheld = s->m->cpus->len;
    s->held = g_renew(bool, s->held, s->nheld);
    for (unsigned i = 0; i < s->nheld; i++) {
        s->held[i] = run[i] == GDB_RUN_HOLD;
        cpu_at(s, i)->debug_hit = s->held[i];
    }
}

static void tell_stop(void *opaque)
{
    GdbServer *s = opaque;
    unsigned cpu = 0;
    GdbReason why = GDB_STOP_INTERRUPT;

    s->telling = false;
    if (run_is_running(s->m->run)) {
        return;
    }
    for (unsigned i = 0; i < s->m->cpus->len && run_state(s->m->run) == RUN_STATE_DEBUG; i++) {
        bool held = i < s->nheld && s->held[i];

        if (cpu_at(s, i)->debug_hit && !held && why == GDB_STOP_INTERRUPT) {
            cpu = i;
            why = GDB_STOP_BREAK;
        }
    }
    gdb_stopped(s->stub, cpu, why, 0);
}

static void tell_later(GdbServer *s)
{
    if (!s->telling) {
        s->telling = true;
        loop_post(loop_main(), tell_stop, s);
    }
}

static void on_run_state(void *opaque, bool running)
{
    if (!running) {
        tell_later(opaque);
    }
}

static void gdb_stop(void *opaque)
{
    GdbServer *s = opaque;

    if (run_is_running(s->m->run)) {
        run_stop(s->m->run, RUN_STATE_PAUSED);
    } else {
        tell_later(s);
    }
}

static void gdb_detach(void *opaque)
{
    GdbServer *s = opaque;

    s->nbreakpoints = 0;
    if (!run_is_running(s->m->run)) {
        apply(s, NULL);
        run_start(s->m->run);
    }
}

static void gdb_kill(void *opaque)
{
    run_request_exit(((GdbServer *)opaque)->m->run, 0);
}

static const GdbTarget target = {
    .ncpus = gdb_ncpus,
    .get_state = gdb_get,
    .set_state = gdb_set,
    .read = gdb_read,
    .write = gdb_write,
    .breakpoint = gdb_breakpoint,
    .resume = gdb_resume,
    .stop = gdb_stop,
    .detach = gdb_detach,
    .kill = gdb_kill,
};

static void send_bytes(void *opaque, const void *buf, size_t len)
{
    chardev_write_all(&((GdbServer *)opaque)->fe, buf, len);
}

static size_t fe_can_receive(void *opaque)
{
    return GDB_PAGE;
}

static void fe_receive(void *opaque, const uint8_t *buf, size_t len)
{
    gdb_input(((GdbServer *)opaque)->stub, buf, len);
}

static void fe_event(void *opaque, ChardevEvent ev)
{
    const GdbServer *s = opaque;

    if (ev == CHARDEV_OPENED) {
        gdb_open(s->stub);
    } else if (ev == CHARDEV_CLOSED) {
        gdb_close(s->stub);
    }
}

static const ChardevFeOps fe_ops = {
    .can_receive = fe_can_receive,
    .receive = fe_receive,
    .event = fe_event,
};

static bool open_server(Machine *m, const OptItem *item, GError **err)
{
    GError *local = NULL;
    bool sock = g_str_has_prefix(item->text, "tcp:") || g_str_has_prefix(item->text, "unix:");
    g_autofree char *text = g_strconcat(
        item->text, sock && !strstr(item->text, "server") ? ",server=on,wait=off" : "", NULL);
    Chardev *c = strcmp(item->text, "none") ? chardev_from_text("gdb", text, &local) : NULL;

    if (!c) {
        if (!local) {
            return true; /* "none" */
        }
        g_propagate_error(err, local);
        return false;
    }
    if (!m->cpus->len) {
        return err_set(err, "gdbstub: meaningless to attach gdb to a machine without any CPU.");
    }
    GdbServer *s = g_new0(GdbServer, 1); /* lives as long as the machine */

    s->m = m;
    s->stub = gdb_new(&target, s, (GdbTransport){ .send = send_bytes, .opaque = s });
    run_listen(m->run, on_run_state, s, 2000); /* hears a stop first and tells it when all stand */
    return chardev_fe_init(&s->fe, c, &fe_ops, s, err);
}

bool setup_gdb(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_GDB];

    if (!items->len) {
        return true;
    }
    const OptItem *item = items->pdata[items->len - 1]; /* the last one counts */

    if (!open_server(m, item, err)) {
        options_prefix(err, item->typed);
        return false;
    }
    return true;
}

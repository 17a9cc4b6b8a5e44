/* CPU topology: -smp's rules as QEMU's documentation of the option states them. Tested by
 * test-options. */
#include "system.h"

static bool check_given(const Options *o, GError **err)
{
    const int64_t all[] = { o->cpus, o->maxcpus, o->drawers, o->books, o->sockets, o->dies,
        o->clusters, o->modules, o->cores, o->threads };
    static const struct {
        const char *name;
        size_t offset;
    } absent[] = { { "drawers", offsetof(Options, drawers) }, { "books", offsetof(Options, books) },
        { "clusters", offsetof(Options, clusters) }, { "modules", offsetof(Options, modules) } };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i] != OPTION_COUNT_UNSET && (all[i] <= 0 || all[i] > UINT16_MAX)) {
            return err_set(err,
                all[i] ? "Invalid CPU topology: a number is out of range"
                       : "Invalid CPU topology: CPU topology parameters must be greater than zero");
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        int64_t n = *(const int64_t *)(const void *)((const char *)o + absent[i].offset);

        if (n > 1) {
            return err_set(
                err, "%s > 1 not supported by this machine's CPU topology", absent[i].name);
        }
    }
    return true;
}

static unsigned or_one(int64_t given)
{
    return given > 0 ? (unsigned)given : 1;
}

/* What was not given: cores take the rest, then sockets, then threads. */
static void complete(SmpSpec *s, const Options *o)
{
    unsigned cpus = o->cpus > 0 ? (unsigned)o->cpus : 0;
    unsigned max = o->maxcpus > 0 ? (unsigned)o->maxcpus : 0;
    unsigned rest = max ? max : cpus;

    s->dies = or_one(o->dies);
    s->clusters = 1;
    s->sockets = or_one(o->sockets);
    s->cores = or_one(o->cores);
    s->threads = or_one(o->threads);
    if (rest) {
        if (o->cores < 0) {
            s->cores = rest / (s->sockets * s->dies * s->threads);
        } else if (o->sockets < 0) {
            s->sockets = rest / (s->dies * s->cores * s->threads);
        } else if (o->threads < 0) {
            s->threads = rest / (s->sockets * s->dies * s->cores);
        }
    }
    unsigned product = s->sockets * s->dies * s->cores * s->threads;

    s->maxcpus = max ? max : cpus ? MAX(cpus, product) : product;
    s->cpus = cpus ? cpus : s->maxcpus;
}

bool setup_smp(Machine *m, const Options *o, GError **err)
{
    SmpSpec s = { 0 };

    if (!check_given(o, err)) {
        return false;
    }
    complete(&s, o);
    uint64_t product = (uint64_t)s.sockets * s.dies * s.cores * s.threads;

    if (product != s.maxcpus) {
        return err_set(err,
            "Invalid CPU topology: product of the hierarchy must match maxcpus: "
            "sockets (%u) * dies (%u) * modules (1) * cores (%u) * threads (%u) != maxcpus (%u)",
            s.sockets, s.dies, s.cores, s.threads, s.maxcpus);
    }
    if (s.maxcpus < s.cpus) {
        return err_set(err,
            "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
            "sockets (%u) * dies (%u) * modules (1) * cores (%u) * threads (%u) == maxcpus (%u) < "
            "smp_cpus (%u)",
            s.sockets, s.dies, s.cores, s.threads, s.maxcpus, s.cpus);
    }
    if (s.maxcpus > MAX(m->mc->max_cpus, 1)) {
        return err_set(err, "Invalid SMP CPUs %u. The max CPUs supported by machine '%s' is %u",
            s.maxcpus, m->mc->name, MAX(m->mc->max_cpus, 1));
    }
    m->smp = s;
    return true;
}

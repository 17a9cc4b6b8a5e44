/* QMP commands about machine types, vCPUs and memory. */
#include "monitor-internal.h"

#include <string.h>

static Json *describe_class(const MachineClass *mc)
{
    Json *j = json_object();

    json_set(j, "hotpluggable-cpus", json_bool(mc->hotpluggable_cpus));
    json_set(j, "name", json_str(mc->name));
    json_set(j, "numa-mem-supported", json_bool(false));
    if (mc->default_cpu) {
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", mc->default_cpu);

        json_set(j, "default-cpu-type", json_str(type));
    }
    json_set(j, "acpi", json_bool(mc->acpi));
    json_set(j, "cpu-max", json_int(mc->max_cpus));
    json_set(j, "deprecated", json_bool(mc->deprecated));
    if (mc->default_ram_id) {
        json_set(j, "default-ram-id", json_str(mc->default_ram_id));
    }
    if (mc->is_default) {
        json_set(j, "is-default", json_bool(true));
    }
    if (mc->alias) {
        json_set(j, "alias", json_str(mc->alias));
    }
    return j;
}

static Json *query_machines(void *machine, const void *args, GError **err)
{
    Json *list = json_array();

    for (const MachineClass *const *c = machine_classes; *c; c++) {
        json_append(list, describe_class(*c));
    }
    return list;
}

/* Position of a vCPU in the topology; threads count fastest. */
static Json *cpu_props(const SmpSpec *s, unsigned index)
{
    Json *j = json_object();
    unsigned threads = MAX(s->threads, 1), cores = MAX(s->cores, 1) * MAX(s->clusters, 1);
    unsigned dies = MAX(s->dies, 1);

    json_set(j, "core-id", json_int(index / threads % cores));
    json_set(j, "thread-id", json_int(index % threads));
    if (dies > 1) {
        json_set(j, "die-id", json_int(index / threads / cores % dies));
    }
    json_set(j, "socket-id", json_int(index / threads / cores / dies));
    return j;
}

static Json *query_cpus_fast(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    Json *list = json_array();

    for (unsigned i = 0; i < m->cpus->len; i++) {
        const VCpu *cpu = m->cpus->pdata[i];
        g_autofree char *path = obj_path(&cpu->obj);
        Json *j = json_object();

        json_set(j, "thread-id", json_int(cpu->thread_id));
        json_set(j, "props", cpu_props(&m->smp, cpu->index));
        json_set(j, "qom-path", json_str(path));
        json_set(j, "cpu-index", json_int(cpu->index));
        json_set(j, "target", json_str("x86_64"));
        json_append(list, j);
    }
    return list;
}

/* A place for a vCPU, taken or not. */
static Json *cpu_slot(const Machine *m, unsigned index)
{
    Json *j = json_object();
    g_autofree char *model = g_strndup(m->cpu_text, strcspn(m->cpu_text, ","));
    g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", model);

    json_set(j, "props", cpu_props(&m->smp, index));
    json_set(j, "vcpus-count", json_int(1));
    for (unsigned i = 0; i < m->cpus->len; i++) {
        const VCpu *cpu = m->cpus->pdata[i];

        if (cpu->index == index) {
            g_autofree char *path = obj_path(&cpu->obj);

            json_set(j, "qom-path", json_str(path));
        }
    }
    json_set(j, "type", json_str(type));
    return j;
}

static Json *query_hotpluggable_cpus(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;

    if (!m->mc->hotpluggable_cpus || !m->cpu_text) {
        err_set(err, "machine does not support hot-plugging CPUs");
        return NULL;
    }
    Json *list = json_array();

    for (unsigned i = MAX(m->smp.maxcpus, m->smp.cpus); i-- > 0;) { /* the last first, as QEMU */
        json_append(list, cpu_slot(m, i));
    }
    return list;
}

static Json *query_current_machine(void *machine, const void *args, GError **err)
{
    Json *j = json_object();

    json_set(j, "wakeup-suspend-support", json_bool(((const Machine *)machine)->wakes_up));
    return j;
}

static Json *query_memory_size(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    Json *j = json_object();

    json_set(j, "base-memory", json_uint(m->ram_size));
    json_set(j, "plugged-memory", json_int(0));
    return j;
}

/* What the object itself tells, then its name. */
static void add_described(const Obj *o, Json *list)
{
    JsonWriter *w = json_writer_new();

    jw_begin_object(w, NULL);
    o->cls->describe(o, w);
    jw_end_object(w);
    Json *j = json_writer_free(w);

    json_set(j, "id", json_str(o->name));
    json_append(list, j);
}

static bool add_iothread(Obj *o, void *opaque)
{
    if (obj_is(o, "iothread")) {
        add_described(o, opaque);
    }
    return true;
}

static bool add_memdev(Obj *o, void *opaque)
{
    if (obj_is(o, "memory-backend")) {
        add_described(o, opaque);
    }
    return true;
}

/* RAM that nobody gave a back end: QEMU compat, where one is made for it. */
static Json *own_ram(const Machine *m)
{
    Json *j = json_object();

    json_set(j, "size", json_uint(m->ram->size));
    json_set(j, "merge", json_bool(m->mem_merge));
    json_set(j, "dump", json_bool(m->dump_guest_core));
    json_set(j, "prealloc", json_bool(m->ram_prealloc));
    json_set(j, "share", json_bool(m->ram->share));
    json_set(j, "reserve", json_bool(true));
    json_set(j, "host-nodes", json_array());
    json_set(j, "policy", json_str("default"));
    json_set(j, "id", json_str(m->ram->id));
    return j;
}

static Json *query_memdev(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    Json *list = json_array();

    obj_walk(m->objects, add_memdev, list);
    if (m->ram_own) {
        json_append(list, own_ram(m));
    }
    return list;
}

static Json *query_iothreads(void *machine, const void *args, GError **err)
{
    Json *list = json_array();

    obj_walk(((Machine *)machine)->objects, add_iothread, list);
    return list;
}

const QmpCmd monitor_machine_cmds[] = {
    { .name = "query-machines", .run = query_machines },
    { .name = "query-cpus-fast", .run = query_cpus_fast },
    { .name = "query-hotpluggable-cpus", .run = query_hotpluggable_cpus },
    { .name = "query-current-machine", .run = query_current_machine },
    { .name = "query-memory-size-summary", .run = query_memory_size },
    { .name = "query-iothreads", .run = query_iothreads },
    { .name = "query-memdev", .run = query_memdev },
    { .name = NULL },
};

/* Which accelerator: -accel, -machine accel=, and what happens when one cannot be had. */
#include "system.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

/* -machine's options that are the kvm accelerator's. */
static const char *const kvm_options[] = { "kernel-irqchip", "kvm-shadow-mem" };

void accel_take_machine_options(Machine *m, Json *args)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kvm_options); i++) {
        const Json *val = json_get(args, kvm_options[i]);

        if (val) {
            m->kvm_options = m->kvm_options ? m->kvm_options : json_object();
            json_set(m->kvm_options, kvm_options[i], json_copy(val));
            json_remove(args, kvm_options[i]);
        }
    }
}

/* They count less than -accel's own; a wrong value is told as of a global. */
static bool apply_machine_options(const Machine *m, const AccelClass *cls, Json *opts, GError **err)
{
    for (unsigned i = 0; m->kvm_options && i < json_len(m->kvm_options); i++) {
        const char *key = json_key_at(m->kvm_options, i);
        const Json *val = json_val_at(m->kvm_options, i);
        g_autoptr(Json) one = json_object();

        if (strcmp(cls->name, "kvm") || json_get(opts, key)) {
            continue;
        }
        json_set(one, key, json_copy(val));
        g_autofree char *scratch = g_malloc0(MAX(cls->size, sizeof(Accel)));
        prop_defaults(cls->props, scratch);
        bool ok = prop_apply_struct(cls->props, scratch, one, err);
        prop_release(cls->props, scratch);
        if (!ok) {
            if (err && *err) {
                g_prefix_error(err, "can't apply global %s-accel.%s=%s: ", cls->name, key,
                    json_is_text(val) ? json_get_str(val) : "");
            }
            return false;
        }
        json_set(opts, key, json_copy(val));
    }
    return true;
}

static const AccelClass *find(const char *name, GError **err)
{
    const AccelClass *cls = accel_find(name);

    if (!cls) {
        err_set(err, "invalid accelerator %s", name);
    } else if (cls->available && !cls->available()) {
        cls = NULL;
        err_set(err, "accelerator %s is not available on this host", name);
    }
    return cls;
}

/* One of the list: its name, what its properties are, and how its user typed it. */
typedef struct Choice {
    const OptItem *item; /* NULL: -machine accel= or the default */
    const char *name;
    bool last;
} Choice;

/* False: an error that ends the program. True and m->accel still NULL: try the next. */
static bool try_one(Machine *m, const Choice *c, GError **err)
{
    const char *typed = c->item ? c->item->typed : NULL;
    g_autoptr(Json) opts = c->item ? json_copy(c->item->args) : json_object();
    g_autoptr(GError) why = NULL;

    json_remove(opts, "accel");
    const AccelClass *cls = find(c->name, &why);
    if (!cls) {
        if (!c->last) {
            return true;
        }
        g_autofree char *of_machine = g_strdup_printf("-machine accel=%s", m->accel_text);
        g_propagate_error(err, g_steal_pointer(&why));
        options_prefix(err, typed ? typed : m->accel_text ? of_machine : "-accel tcg");
        return false;
    }
    Accel *a = apply_machine_options(m, cls, opts, err) ? accel_make(cls, m, opts, err) : NULL;
    if (!a) {
        options_prefix(err, typed ? typed : m->accel_text ? "-machine" : "-accel tcg");
        return false;
    }
    errno = 0;
    if (accel_init(a, &why)) {
        m->accel = a;
        return true;
    }
    int host_error = errno ? errno : EINVAL;

    accel_free(a);
    report_gerror(typed, why); /* what and then that: both lines are QEMU's */
    err_set(err, "failed to initialize %s: %s", cls->name, g_strerror(host_error));
    if (typed) {
        options_prefix(err, typed);
    }
    if (!c->last && err) {
        report_gerror(NULL, *err);
        g_clear_error(err);
    }
    return !c->last;
}

bool setup_accel(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_ACCEL];
    g_auto(GStrv) names =
        g_strsplit(m->accel_text && *m->accel_text ? m->accel_text : "tcg", ":", -1);
    unsigned n = items->len ? items->len : g_strv_length(names);

    if (items->len && m->accel_text) {
        return err_set(err, "The -accel and \"-machine accel=\" options are incompatible");
    }
    m->cpu_text = g_strdup(o->cpu ? o->cpu : m->mc->default_cpu);
    for (unsigned i = 0; i < n; i++) {
        const OptItem *item = items->len ? items->pdata[i] : NULL;
        Choice c = { .item = item,
            .name = item ? json_get_str_or(item->args, "accel", "") : names[i],
            .last = i + 1 == n };

        if (!try_one(m, &c, err)) {
            return false;
        }
        if (m->accel) {
            if (i) {
                report_error("falling back to %s", c.name);
            }
            return true;
        }
    }
    g_assert_not_reached();
}

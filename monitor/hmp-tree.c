/* info qtree, qom-tree and mtree: the machine as a tree of buses, of objects, of memory. */
#include "monitor-internal.h"

#include <inttypes.h>
#include <string.h>

static void put_size(GString *out, uint64_t v)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double shown = (double)v;
    unsigned u = 0;

    for (; shown >= 1024 && u + 1 < G_N_ELEMENTS(units); u++) {
        shown /= 1024;
    }
    g_string_append_printf(out, "%" PRIu64 " (%.3g %s)", v, shown, units[u]);
}

static void put_value(GString *out, const PropSpec *row, const Json *val)
{
    if (row->type == &prop_pci_addr) {
        int64_t devfn = json_get_int(val);

        g_string_append_printf(
            out, devfn < 0 ? "<unset>" : "%02x.%x", (unsigned)devfn >> 3, (unsigned)devfn & 7);
    } else if (row->type == &prop_size || row->type == &prop_size32) {
        put_size(out, json_get_uint(val));
    } else if (json_type(val) == JSON_INT) {
        g_string_append_printf(
            out, "%" PRId64 " (0x%" PRIx64 ")", json_get_int(val), (uint64_t)json_get_int(val));
    } else {
        g_autofree char *text = json_to_string(val, false);

        g_string_append(out, text);
    }
}

typedef struct TreeOut {
    GString *out;
    unsigned indent;
    Obj *obj;
    bool brief;
} TreeOut;

/* Rows of the device itself; what it passes on to a child is shown there. */
static void put_props(const TreeOut *t)
{
    for (const PropGroup *g = t->obj->cls->props; g && g->props && !t->brief; g++) {
        for (const PropSpec *s = g->props; !g->target && s->name; s++) {
            g_autoptr(Json) val = prop_get_field(s, t->obj);

            g_string_append_printf(t->out, "%*s%s = ", (int)t->indent + 2, "", s->name);
            put_value(t->out, s, val);
            g_string_append_c(t->out, '\n');
        }
    }
}

static void put_bus(const Bus *b, unsigned indent, bool brief, GString *out);

static void put_dev(Dev *d, unsigned indent, bool brief, GString *out)
{
    TreeOut t = { .out = out, .indent = indent, .obj = &d->obj, .brief = brief };

    g_string_append_printf(
        out, "%*sdev: %s, id \"%s\"\n", (int)indent, "", d->obj.cls->name, d->id ? d->id : "");
    put_props(&t);
    if (d->bus && d->bus->cls->describe_dev && !brief) {
        g_autoptr(GString) text = g_string_new(NULL);

        d->bus->cls->describe_dev(d->bus, d, text);
        g_auto(GStrv) lines = g_strsplit(text->str, "\n", -1);

        for (unsigned i = 0; lines[i]; i++) {
            if (*lines[i]) {
                g_string_append_printf(out, "%*s%s\n", (int)indent + 2, "", g_strchug(lines[i]));
            }
        }
    }
    for (unsigned i = 0; d->buses && i < d->buses->len; i++) {
        put_bus(d->buses->pdata[i], indent + 2, brief, out);
    }
}

static void put_bus(const Bus *b, unsigned indent, bool brief, GString *out)
{
    g_string_append_printf(out, "%*sbus: %s\n%*s  type %s\n", (int)indent, "", bus_name(b),
        (int)indent, "", b->cls->type);
    for (unsigned i = b->devs->len; i-- > 0;) { /* the newest first */
        put_dev(b->devs->pdata[i], indent + 2, brief, out);
    }
}

static void show_qtree(Machine *m, const char *arg, GString *out)
{
    for (unsigned i = 0; i < m->buses->len; i++) {
        const Bus *b = m->buses->pdata[i];

        if (!b->parent) {
            put_bus(b, 0, !strcmp(arg, "-b"), out);
        }
    }
}

static void put_obj(const Obj *o, unsigned indent, GString *out)
{
    g_autofree char *path = indent ? NULL : obj_path(o);

    g_string_append_printf(out, "%*s%s%s (%s)\n", (int)indent, "", indent ? "/" : "",
        indent ? o->name : path, o->cls->name);
    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        put_obj(o->children->pdata[i], indent + 2, out);
    }
}

static void show_qom_tree(Machine *m, const char *arg, GString *out)
{
    bool ambiguous = false;
    const Obj *o = *arg ? obj_resolve(m->root, arg, &ambiguous) : &m->obj;

    if (ambiguous) {
        g_string_append(out, "Warning: Path is ambiguous\n");
    } else if (!o) {
        g_string_append(out, "Path could not be resolved.\n");
    } else {
        put_obj(o, 0, out);
    }
}

static void show_mtree(Machine *m, const char *arg, GString *out)
{
    addrspace_describe(m->mem, out);
    addrspace_describe(m->io, out);
}

const HmpInfo monitor_tree_infos[] = {
    { "mtree", "", "show memory tree", show_mtree },
    { "qom-tree", "[path]", "show QOM composition tree", show_qom_tree },
    { "qtree", "[-b]", "show device tree (-b: brief, omit properties)", show_qtree },
    { NULL },
};

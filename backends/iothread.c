/* -object iothread: a thread that runs a loop until the object goes. Tested by
 * tests/qtest/test-backends.c. */
#include "backends/iothread.h"

#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

typedef struct Start {
    IoThread *t;
    GMutex lock;
    GCond cond;
} Start;

/* The loop's first call: from now on it belongs to its thread. */
static void started(void *opaque)
{
    Start *s = opaque;

    g_mutex_lock(&s->lock);
    s->t->tid = (int)gettid();
    g_cond_signal(&s->cond);
    g_mutex_unlock(&s->lock);
}

static void *body(void *loop)
{
    g_autofree char *name = g_strdup_printf("IO %s", loop_name(loop));

    prctl(PR_SET_NAME, name);
    loop_run(loop);
    return NULL;
}

static bool check(const char *name, int64_t v, GError **err)
{
    return v >= 0 ||
           err_set(err, "%s value must be in range [0, %" G_GINT64_FORMAT "]", name, INT64_MAX);
}

static bool realize(Obj *o, GError **err)
{
    IoThread *t = (IoThread *)o;

    if (!check("poll-max-ns", t->poll_max_ns, err) || !check("poll-grow", t->poll_grow, err) ||
        !check("poll-shrink", t->poll_shrink, err) ||
        !check("aio-max-batch", t->aio_max_batch, err)) {
        return false;
    }
    if (t->pool_min < 0 || t->pool_max <= 0 || t->pool_min > t->pool_max ||
        t->pool_max > INT32_MAX) {
        return err_set(err, "bad thread-pool-min/thread-pool-max values");
    }
    Start s = { .t = t };

    g_mutex_init(&s.lock);
    g_cond_init(&s.cond);
    t->loop = loop_new(o->name);
    loop_poll_tune(t->loop, t->poll_max_ns, t->poll_grow, t->poll_shrink);
    loop_post(t->loop, started, &s);
    t->thread = g_thread_new(o->name, body, t->loop);
    g_mutex_lock(&s.lock);
    while (!t->tid) {
        g_cond_wait(&s.cond, &s.lock);
    }
    g_mutex_unlock(&s.lock);
    g_mutex_clear(&s.lock);
    g_cond_clear(&s.cond);
    return true;
}

static void unrealize(Obj *o)
{
    IoThread *t = (IoThread *)o;

    loop_quit(t->loop);
    g_thread_join(t->thread);
    loop_free(t->loop);
    t->loop = NULL;
}

static void describe(const Obj *o, JsonWriter *w)
{
    const IoThread *t = (const IoThread *)o;

    jw_int(w, "thread-id", t->tid);
    jw_int(w, "poll-max-ns", t->poll_max_ns);
    jw_int(w, "poll-grow", t->poll_grow);
    jw_int(w, "poll-shrink", t->poll_shrink);
    jw_int(w, "aio-max-batch", t->aio_max_batch);
}

#define ROW(n, f, d, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(IoThread, f, int64_t), .bit = -1,        \
        .def.i = (d), .help = (h)                                                                  \
    }

static const PropSpec rows[] = {
    ROW("poll-max-ns", poll_max_ns, 32768, "how long to poll before sleeping; 0: never"),
    ROW("poll-grow", poll_grow, 0, "factor by which polling grows; 0: 2"),
    ROW("poll-shrink", poll_shrink, 0, "divisor by which it shrinks; 0: to nothing"),
    ROW("aio-max-batch", aio_max_batch, 0, "kept; requests of one turn go to the host together"),
    ROW("thread-pool-min", pool_min, 0, "kept; the pool is the process's"),
    ROW("thread-pool-max", pool_max, 64, "kept; the pool is the process's"),
    PROP_END,
};

IoThread *iothread_find(const Obj *objects, const char *id, GError **err)
{
    Obj *o = objects ? obj_child(objects, id) : NULL;

    if (!o) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return NULL;
    }
    if (o->cls != &iothread_class) {
        err_set(err, "Invalid parameter type for 'iothread', expected: iothread");
        return NULL;
    }
    return (IoThread *)obj_ref(o);
}

/* [{"iothread": text, "vqs": [numbers], if wanted}, ...] */
static bool map_item_ok(const Json *item, unsigned i, GError **err)
{
    const Json *vqs = NULL;

    if (json_type(item) != JSON_OBJECT) {
        return err_set(err, "Invalid parameter type for '{name}[%u]', expected: object", i);
    }
    for (unsigned k = 0; k < json_len(item); k++) {
        const char *key = json_key_at(item, k);

        if (strcmp(key, "iothread") && strcmp(key, "vqs")) {
            return err_set(err, "Parameter '{name}[%u].%s' is unexpected", i, key);
        }
    }
    if (!json_get(item, "iothread")) {
        return err_set(err, "Parameter '{name}[%u].iothread' is missing", i);
    }
    if (json_type(json_get(item, "iothread")) != JSON_STR) {
        return err_set(
            err, "Invalid parameter type for '{name}[%u].iothread', expected: string", i);
    }
    vqs = json_get(item, "vqs");
    if (vqs && json_type(vqs) != JSON_ARRAY) {
        return err_set(err, "Invalid parameter type for '{name}[%u].vqs', expected: array", i);
    }
    for (unsigned k = 0; vqs && k < json_len(vqs); k++) {
        const Json *v = json_at(vqs, k);

        if (json_type(v) != JSON_INT || json_get_int(v) < 0 || json_get_int(v) > UINT16_MAX) {
            return err_set(err, "Parameter '{name}[%u].vqs[%u]' expects uint16_t", i, k);
        }
    }
    return true;
}

static bool map_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_ARRAY) {
        return err_set(err, "Invalid parameter type for '{name}', expected: array");
    }
    for (unsigned i = 0; i < json_len(val); i++) {
        if (!map_item_ok(json_at(val, i), i, err)) {
            return false;
        }
    }
    return prop_json.set(field, val, err);
}

static bool map_parse(G_GNUC_UNUSED void *field, G_GNUC_UNUSED const char *text, GError **err)
{
    return err_set(err, "Invalid parameter type for '{name}', expected: array");
}

static void map_get(const void *field, JsonWriter *w, const char *name)
{
    Json *j = *(Json *const *)field;

    jw_json(w, name, j ? json_copy(j) : json_array());
}

static void map_release(void *field)
{
    prop_json.release(field);
}

/* Item i's queues get its loop. */
static bool map_queues(IoThreadUse *u, const Json *item, unsigned i, GError **err)
{
    const Json *vqs = json_get(item, "vqs");
    const char *id = json_get_str(json_get(item, "iothread"));

    if (!vqs != !json_get(json_at(u->map, 0), "vqs")) {
        return err_set(err, "either all items in iothread-vq-mapping must have vqs or none of "
                            "them must have it");
    }
    for (unsigned k = 0; vqs && k < json_len(vqs); k++) {
        unsigned vq = (unsigned)json_get_int(json_at(vqs, k));

        if (vq >= u->nloops) {
            return err_set(err,
                "vq index %u for IOThread \"%s\" must be less than num_queues %u in "
                "iothread-vq-mapping",
                vq, id, u->nloops);
        }
        if (u->loop[vq]) {
            return err_set(err,
                "cannot assign vq %u to IOThread \"%s\" because it is already assigned", vq, id);
        }
        u->loop[vq] = u->thread[i]->loop;
    }
    return true;
}

static bool map_take(IoThreadUse *u, const Obj *objects, GError **err)
{
    unsigned n = json_len(u->map);

    u->thread = g_new0(IoThread *, n);
    for (unsigned i = 0; i < n; i++) {
        const char *id = json_get_str(json_get(json_at(u->map, i), "iothread"));

        for (unsigned k = 0; k < i; k++) {
            if (!strcmp(u->thread[k]->obj.name, id)) {
                return err_set(err, "duplicate IOThread name \"%s\" in iothread-vq-mapping", id);
            }
        }
        u->thread[i] = iothread_find(objects, id, NULL);
        if (!u->thread[i]) {
            return err_set(err, "IOThread \"%s\" object does not exist", id);
        }
        u->nthreads++;
        if (!map_queues(u, json_at(u->map, i), i, err)) {
            return false;
        }
    }
    bool listed = json_get(json_at(u->map, 0), "vqs") != NULL;

    for (unsigned vq = 0; vq < u->nloops; vq++) {
        if (!u->loop[vq] && listed) {
            return err_set(err, "missing vq %u IOThread assignment in iothread-vq-mapping", vq);
        }
        if (!u->loop[vq]) { /* in turn */
            u->loop[vq] = u->thread[vq % n]->loop;
        }
    }
    return true;
}

static bool use_take(IoThreadUse *u, const Obj *objects, unsigned nqueues, GError **err)
{
    bool mapped = u->map && json_len(u->map);

    if (u->id && mapped) {
        return err_set(
            err, "iothread and iothread-vq-mapping properties cannot be set at the same time");
    }
    if (!u->id && !mapped) {
        return true;
    }
    u->nloops = nqueues;
    u->loop = g_new0(Loop *, nqueues);
    if (mapped) {
        return map_take(u, objects, err);
    }
    u->thread = g_new0(IoThread *, 1);
    u->thread[0] = iothread_find(objects, u->id, err);
    if (!u->thread[0]) {
        return false;
    }
    u->nthreads = 1;
    for (unsigned i = 0; i < nqueues; i++) {
        u->loop[i] = u->thread[0]->loop;
    }
    return true;
}

bool iothread_use_take(IoThreadUse *u, const Obj *objects, unsigned nqueues, GError **err)
{
    bool ok = use_take(u, objects, nqueues, err);

    if (!ok) {
        iothread_use_release(u);
    }
    return ok;
}

void iothread_use_release(IoThreadUse *u)
{
    for (unsigned i = 0; i < u->nthreads; i++) {
        obj_unref(&u->thread[i]->obj);
    }
    g_clear_pointer(&u->thread, g_free);
    g_clear_pointer(&u->loop, g_free);
    u->nthreads = u->nloops = 0;
}

const PropType prop_iothread_map = {
    .name = "IOThreadVirtQueueMappingList",
    .set = map_set,
    .parse = map_parse,
    .get = map_get,
    .release = map_release,
};

const PropType prop_iothread_link = {
    .name = "link<iothread>",
    .set = prop_str_set,
    .parse = prop_str_parse,
    .get = prop_str_get,
    .release = prop_str_release,
};

const ObjClass iothread_class = {
    .name = "iothread",
    .parent = "object",
    .help = "a thread for the data path of devices",
    .size = sizeof(IoThread),
    .flags = OBJ_USER_OBJECT,
    .props = (const PropGroup[]){ { rows, NULL }, { NULL, NULL } },
    .realize = realize,
    .unrealize = unrealize,
    .describe = describe,
};

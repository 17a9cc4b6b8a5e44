/* -object iothread: a thread that runs a loop until the object goes. Tested by
 * tests/qtest/test-backends.c. */
#include "backends/iothread.h"

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

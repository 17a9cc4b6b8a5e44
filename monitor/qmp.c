/* The QMP protocol on a character device: greeting, capabilities negotiation, requests in order,
 * events. */
#include "monitor-internal.h"

#include <string.h>

enum { QMP_QUEUE_MAX = 8, QMP_READ_MAX = 4096 };

typedef struct QmpMonitor {
    Monitor mon;
    bool pretty, negotiated, oob, busy;
    JsonStream *stream;
    GQueue requests; /* Json*, or an error reply that waits for its turn */
} QmpMonitor;

typedef struct QmpRequest {
    Json *val; /* NULL: what came was no JSON */
    GError *err;
} QmpRequest;

static void send(QmpMonitor *q, const Json *reply)
{
    g_autofree char *text = json_to_string(reply, q->pretty);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    chardev_write_all(&q->mon.fe, line, strlen(line));
}

static Json *error_reply(const Json *request, const GError *err)
{
    Json *reply = json_object(), *inner = json_object();
    g_autofree char *desc = err_first_line(err);
    Json *id = request && json_type(request) == JSON_OBJECT ? json_get(request, "id") : NULL;

    if (id) {
        json_set(reply, "id", json_ref(id));
    }
    json_set(inner, "class", json_str(err_class_name(err)));
    json_set(inner, "desc", json_str(desc));
    json_set(reply, "error", inner);
    return reply;
}

/* A request, taken apart; borrowed from it. */
typedef struct Call {
    const char *cmd;
    const Json *args;
    bool oob; /* "exec-oob" */
} Call;

static bool member_string(const char *key, const Json *val, const char **ret, GError **err)
{
    if (json_type(val) != JSON_STR) {
        return err_set(err, "QMP input member '%s' must be a string", key);
    }
    *ret = json_get_str(val);
    return true;
}

/* Shape only: an object with "execute", or "exec-oob" where oob says that it was asked for,
 * "arguments", "id". */
static bool check_request(const Json *request, bool oob, Call *ret, GError **err)
{
    *ret = (Call){ 0 };
    if (json_type(request) != JSON_OBJECT) {
        return err_set(err, "QMP input must be a JSON object");
    }
    for (unsigned i = 0; i < json_len(request); i++) {
        const char *key = json_key_at(request, i);
        Json *val = json_val_at(request, i);
        bool is_oob = oob && !strcmp(key, "exec-oob");

        if (is_oob || !strcmp(key, "execute")) {
            if (ret->cmd && ret->oob != is_oob) {
                return err_set(err, "QMP input member 'execute' clashes with 'exec-oob'");
            }
            if (!member_string(key, val, &ret->cmd, err)) {
                return false;
            }
            ret->oob = is_oob;
        } else if (!strcmp(key, "arguments")) {
            if (json_type(val) != JSON_OBJECT) {
                return err_set(err, "QMP input member 'arguments' must be an object");
            }
            ret->args = val;
        } else if (strcmp(key, "id") != 0) {
            return err_set(err, "QMP input member '%s' is unexpected", key);
        }
    }
    return ret->cmd || err_set(err, "QMP input lacks member 'execute'");
}

static Json *success_reply(const Json *request, Json *ret)
{
    Json *reply = json_object(), *id = json_get(request, "id");

    json_set(reply, "return", ret);
    if (id) {
        json_set(reply, "id", json_ref(id));
    }
    return reply;
}

/* What the schema says of every command: none goes out of band. */
static Json *run_call(Machine *m, const Call *call, GError **err)
{
    if (call->oob && qmp_find(call->cmd)) {
        err_set(err, "The command %s does not support OOB", call->cmd);
        return NULL;
    }
    return qmp_run(m, call->cmd, call->args, err);
}

static Json *reply_to(Machine *m, const Json *request, bool oob)
{
    g_autoptr(GError) err = NULL;
    Call call;
    Json *ret = check_request(request, oob, &call, &err) ? run_call(m, &call, &err) : NULL;

    return ret ? success_reply(request, ret) : error_reply(request, err);
}

Json *qmp_reply(Machine *m, const Json *request)
{
    return reply_to(m, request, false);
}

static bool enable_capabilities(const Json *args, bool *ret_oob, GError **err)
{
    const Json *enable = args ? json_get(args, "enable") : NULL;

    for (unsigned i = 0; args && i < json_len(args); i++) {
        if (strcmp(json_key_at(args, i), "enable") != 0) {
            return err_set(err, "Parameter '%s' is unexpected", json_key_at(args, i));
        }
    }
    if (enable && json_type(enable) != JSON_ARRAY) {
        return err_set(err, "Invalid parameter type for 'enable', expected: array");
    }
    for (unsigned i = 0; enable && i < json_len(enable); i++) {
        const Json *item = json_at(enable, i);

        if (json_type(item) != JSON_STR) {
            return err_set(err, "Invalid parameter type for 'enable', expected: string");
        }
        if (strcmp(json_get_str(item), "oob") != 0) {
            return err_set(
                err, "Parameter 'enable' does not accept value '%s'", json_get_str(item));
        }
    }
    *ret_oob = enable && json_len(enable);
    return true;
}

/* Before qmp_capabilities nothing else is understood, and afterwards it is not. */
static Json *negotiate(QmpMonitor *q, const Json *request, bool *ret_handled)
{
    g_autoptr(GError) err = NULL;
    Call call;

    *ret_handled = false;
    if (!check_request(request, q->oob, &call, &err)) {
        return NULL; /* reply_to() says what is wrong */
    }
    bool caps = !strcmp(call.cmd, "qmp_capabilities");

    if (caps == q->negotiated) {
        *ret_handled = true;
        err_set_class(&err, ERR_COMMAND_NOT_FOUND, "%s",
            caps ? "Capabilities negotiation is already complete, command ignored"
                 : "Expecting capabilities negotiation with 'qmp_capabilities'");
        return error_reply(request, err);
    }
    if (!caps) {
        return NULL;
    }
    *ret_handled = true;
    if (!enable_capabilities(call.args, &q->oob, &err)) {
        return error_reply(request, err);
    }
    q->negotiated = true;
    return success_reply(request, json_object());
}

static void answer(QmpMonitor *q, const QmpRequest *r)
{
    bool handled = true;
    g_autoptr(Json) reply = NULL;

    if (!r->val) {
        reply = error_reply(NULL, r->err);
    } else {
        reply = negotiate(q, r->val, &handled);
        if (!handled) {
            Monitor *before = monitor_set_current(&q->mon);

            reply = reply_to(q->mon.machine, r->val, q->oob);
            monitor_set_current(before);
            if (q->mon.machine->run) {
                run_act_now(q->mon.machine->run); /* "RESET", then the reply to system_reset */
            }
        }
    }
    send(q, reply);
}

static bool leaving(const QmpMonitor *q)
{
    return q->mon.machine->run && run_is_exiting(q->mon.machine->run);
}

static void request_free(QmpRequest *r)
{
    json_unref(r->val);
    g_clear_error(&r->err);
    g_free(r);
}

/* In order, one at a time: a command may turn the loop (a drain), and more input may come
 * meanwhile. Nothing behind quit is answered. */
static void run_queue(QmpMonitor *q)
{
    if (q->busy) {
        return;
    }
    q->busy = true;
    for (QmpRequest *r; !leaving(q) && (r = g_queue_pop_head(&q->requests));) {
        answer(q, r);
        request_free(r);
    }
    q->busy = false;
    chardev_fe_accept(&q->mon.fe);
}

static void on_json(void *opaque, Json *val, GError *err)
{
    QmpMonitor *q = opaque;
    QmpRequest *r = g_new0(QmpRequest, 1);

    r->val = val;
    r->err = val ? NULL : g_error_copy(err);
    g_queue_push_tail(&q->requests, r);
}

static size_t qmp_can_receive(void *opaque)
{
    const QmpMonitor *q = opaque;

    return q->requests.length < QMP_QUEUE_MAX ? QMP_READ_MAX : 0;
}

static void qmp_receive(void *opaque, const uint8_t *buf, size_t len)
{
    QmpMonitor *q = opaque;

    json_stream_feed(q->stream, (const char *)buf, len);
    run_queue(q);
}

static void qmp_forget(QmpMonitor *q)
{
    for (QmpRequest *r; (r = g_queue_pop_head(&q->requests));) {
        request_free(r);
    }
    g_clear_pointer(&q->stream, json_stream_free);
    q->negotiated = q->oob = false;
}

static void qmp_greet(QmpMonitor *q)
{
    g_autoptr(Json) greeting = json_object();
    Json *inner = json_object(), *caps = json_array();

    json_append(caps, json_str("oob"));
    json_set(inner, "version", qmp_version());
    json_set(inner, "capabilities", caps);
    json_set(greeting, "QMP", inner);
    send(q, greeting);
}

static void qmp_chardev_event(void *opaque, ChardevEvent ev)
{
    QmpMonitor *q = opaque;

    if (ev == CHARDEV_OPENED) {
        qmp_forget(q);
        q->stream = json_stream_new(on_json, q);
        qmp_greet(q);
    } else if (ev == CHARDEV_CLOSED) {
        qmp_forget(q);
        q->stream = json_stream_new(on_json, q);
    }
}

static void qmp_send_event(Monitor *mon, const Json *event)
{
    QmpMonitor *q = (QmpMonitor *)mon;

    if (q->negotiated) {
        send(q, event);
    }
}

static void qmp_close(Monitor *mon)
{
    QmpMonitor *q = (QmpMonitor *)mon;

    qmp_forget(q);
    g_free(q);
}

static const ChardevFeOps qmp_fe_ops = {
    .can_receive = qmp_can_receive,
    .receive = qmp_receive,
    .event = qmp_chardev_event,
};

Monitor *monitor_new_qmp(Machine *m, Chardev *c, bool pretty, GError **err)
{
    QmpMonitor *q = g_new0(QmpMonitor, 1);

    q->mon = (Monitor){ .machine = m, .event = qmp_send_event, .close = qmp_close };
    q->pretty = pretty;
    q->stream = json_stream_new(on_json, q);
    g_queue_init(&q->requests);
    if (!chardev_fe_init(&q->mon.fe, c, &qmp_fe_ops, q, err)) {
        qmp_close(&q->mon);
        return NULL;
    }
    monitor_add(&q->mon);
    return &q->mon;
}

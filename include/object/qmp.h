/* QMP commands and events as table rows. A row lives beside what it shows or does; the monitor
 * walks all tables. */
#pragma once

#include "object/prop.h"

/*
 * args: the parsed argument struct (args_size bytes, filled from args_spec by prop_apply_struct),
 * NULL without a table. Returns the "return" member (owned by the caller; json_object() for empty)
 * or NULL with *err. Main loop, VM lock held.
 */
typedef struct QmpCmd {
    const char *name;
    const PropSpec *args_spec; /* NULL: no arguments allowed */
    size_t args_size;
    Json *(*run)(void *machine, const void *args, GError **err);
    /* instead of run: free-form arguments (device_add) */
    Json *(*run_raw)(void *machine, const Json *args, GError **err);
    unsigned flags;
} QmpCmd; /* tables end with { NULL } */
enum { QMP_ALLOW_PRECONFIG = 1 << 0, QMP_OOB = 1 << 1 };

/* Emits an event to all QMP monitors. data may be NULL; takes it. Main loop (loop_post it from
 * elsewhere). */
void qmp_event(const char *name, Json *data);
/* The monitor registers itself as the sink. */
typedef void QmpEventSink(void *opaque, const char *name, const Json *data);
void qmp_event_set_sink(QmpEventSink *sink, void *opaque);

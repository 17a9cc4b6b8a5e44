/* The way events take from any layer to the monitors, which register as the sink. Tested by
 * test-qmp. */
#include "object/qmp.h"

/* Set once by the monitor; the header declares this global. */
static struct {
    QmpEventSink *fn;
    void *opaque;
} event_sink;

void qmp_event_set_sink(QmpEventSink *sink, void *opaque)
{
    event_sink.fn = sink;
    event_sink.opaque = opaque;
}

void qmp_event(const char *name, Json *data)
{
    g_autoptr(Json) owned = data;

    if (event_sink.fn) {
        event_sink.fn(event_sink.opaque, name, owned);
    }
}

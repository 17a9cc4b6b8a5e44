/* What the qtest server's files share. */
#pragma once

#include "accel/qtest.h"
#include "hw/core/machine.h"

struct QTest {
    Machine *m;
    QTestSend *send;
    void *opaque;
    ChardevFe fe;
    bool has_fe, connected;
    GString *in;
    size_t scanned; /* bytes of in known to hold no newline */
    int log_fd;     /* -1: none */
    gint64 opened_us;
    Obj *tapped;    /* irq_intercept_*: one device */
    GArray *taps;   /* Irq* */
    GArray *levels; /* bool, by n: only changes are told */
};

/* One line to the client, without its newline; logged. */
void qtest_reply(QTest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void qtest_send_line(QTest *q, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);                                      /* not logged: asynchronous ones */
bool qtest_number(QTest *q, const char *word, uint64_t *ret); /* replies FAIL itself */

void qtest_irq_intercept(QTest *q, char **w, unsigned n);
void qtest_set_irq_in(QTest *q, char **w, unsigned n);
void qtest_irq_release(QTest *q);

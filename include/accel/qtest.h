/* The qtest server: a line protocol by which tests read and write a machine's memory, ports, wires
 * and virtual clock. */
#pragma once

#include "chardev/chardev.h"

struct Machine;
typedef struct QTest QTest;

/* -qtest CHR: serves the protocol on c. log: -qtest-log's file, "none" for none, NULL for stderr.
 */
QTest *qtest_open(struct Machine *m, Chardev *c, const char *log, GError **err);
void qtest_close(QTest *q);

/* The protocol alone: send gets whole lines; qtest_connected() begins a session. Main loop. */
typedef void QTestSend(void *opaque, const char *bytes, size_t len);
QTest *qtest_new(struct Machine *m, QTestSend *send, void *opaque);
bool qtest_set_log(QTest *q, const char *path, GError **err);
void qtest_connected(QTest *q, bool on);
void qtest_feed(QTest *q, const char *bytes, size_t len);

/*
 * A running binary with its qtest and QMP sockets. QTEST_QEMU_BINARY names ours; VIRTUE_QEMU10 an
 * installed QEMU 10.0 that tests may compare with (it has no qtest accelerator: the guest CPU halts
 * at once and registers are reached all the same).
 */
#pragma once

#include "tests/lib/vport.h"
#include "util/json.h"

typedef struct QTestVm QTestVm;
/* extra: arguments split at spaces. binary NULL: ours. Aborts when it does not come up. */
QTestVm *qtv_start(const char *binary, const char *extra);
void qtv_stop(QTestVm *q); /* SIGTERM; ours must exit with status 0 */
const VPort *qtv_port(QTestVm *q);
int qtv_pid(const QTestVm *q); /* of the process, for /proc */
char *qtv_cmd(QTestVm *q, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3); /* the reply behind "OK "; aborts on FAIL; g_free */
Json *qtv_qmp(
    QTestVm *q, const char *command); /* the "return" member; aborts on errors; json_unref */
Json *qtv_qmp_any(QTestVm *q, const char *command); /* the whole reply */
bool qtv_wait_event(
    QTestVm *q, const char *name); /* also one that came before; false: 10 s passed */
/* Starts a binary that must refuse its arguments; what it says on stderr. *ret_status: its exit
 * status. */
char *qtv_fails(const char *binary, const char *extra, int *ret_status);
const char *qtv_ours(void);   /* NULL: not built; tests skip and say so */
const char *qtv_oracle(void); /* NULL: none */

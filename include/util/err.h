/* User errors: GError whose code is the QMP error class. A message may carry hint lines behind a
 * newline. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum ErrClass {
    ERR_GENERIC,
    ERR_COMMAND_NOT_FOUND,
    ERR_DEVICE_NOT_FOUND,
    ERR_DEVICE_NOT_ACTIVE,
    ERR_KVM_MISSING_CAP,
} ErrClass;

GQuark err_quark(void);
/* "GenericError", "CommandNotFound" … */
const char *err_class_name(const GError *err);
/* Each sets *err (when err is not NULL) and returns false, so that `return err_set(…)` reads well.
 */
bool err_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool err_set_class(GError **err, ErrClass cls, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Appends ": " and strerror(errno); errno is read first. */
bool err_set_errno(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Adds a line that is printed without the program's prefix ("Use -machine help to list supported
 * machines"). */
void err_hint(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The message without its hint lines: what QMP shows. g_free. */
char *err_first_line(const GError *err);

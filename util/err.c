/* User errors as GError: the code is the QMP error class, hints follow the message behind a
 * newline. */
#include "util/err.h"

#include <errno.h>
#include <string.h>

static const char *const class_names[] = {
    [ERR_GENERIC] = "GenericError",
    [ERR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [ERR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [ERR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [ERR_KVM_MISSING_CAP] = "KVMMissingCap",
};

G_DEFINE_QUARK(virtue - error, err)

const char *err_class_name(const GError *err)
{
    if (err->domain == err_quark() && (unsigned)err->code < G_N_ELEMENTS(class_names)) {
        return class_names[err->code];
    }
    return class_names[ERR_GENERIC];
}

G_GNUC_PRINTF(3, 0)
static bool err_vset(GError **err, ErrClass cls, const char *fmt, va_list ap)
{
    if (err) {
        g_autofree char *text = g_strdup_vprintf(fmt, ap);

        g_set_error_literal(err, err_quark(), (int)cls, text);
    }
    return false;
}

bool err_set(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err_vset(err, ERR_GENERIC, fmt, ap);
    va_end(ap);
    return false;
}

bool err_set_class(GError **err, ErrClass cls, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err_vset(err, cls, fmt, ap);
    va_end(ap);
    return false;
}

bool err_set_errno(GError **err, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        g_autofree char *text = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        g_set_error(err, err_quark(), ERR_GENERIC, "%s: %s", text, g_strerror(saved));
    }
    errno = saved;
    return false;
}

void err_hint(GError **err, const char *fmt, ...)
{
    va_list ap;

    if (!err || !*err) {
        return;
    }
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    char *joined = g_strconcat((*err)->message, "\n", text, NULL);

    g_free((*err)->message);
    (*err)->message = joined;
}

char *err_first_line(const GError *err)
{
    return g_strndup(err->message, strcspn(err->message, "\n"));
}

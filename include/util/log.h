/* -d and -D: log items, the guest-error channel (rate limited), and error_report's shape on stderr.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_GUEST_ERROR = 1 << 0,
    LOG_UNIMP = 1 << 1,
    LOG_INT = 1 << 2,
    LOG_CPU_RESET = 1 << 3,
    LOG_IN_ASM = 1 << 4,
    LOG_EXEC = 1 << 5,
    LOG_CPU = 1 << 6,
    LOG_MMU = 1 << 7,
    LOG_PCALL = 1 << 8,
    LOG_STRACE = 1 << 9,
    LOG_PAGE = 1 << 10,
};
extern uint32_t log_mask; /* set once from -d before threads start */
static inline bool log_on(uint32_t item)
{
    return __builtin_expect(log_mask & item, 0);
}
void log_write(uint32_t item, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* At most 10 lines a second; counts what it drops and says so. No trailing newline in fmt. */
void log_guest_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
bool log_set_items(const char *items, GError **err); /* "guest_errors,int"; "help" lists */
bool log_set_file(const char *path, GError **err);
/* "qemu-system-x86_64: …" on stderr; hint lines of a GError follow without prefix. */
void report_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* "qemu-system-x86_64: warning: …" */
void report_warning(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* prefix may be NULL: "-device foo" */
void report_gerror(const char *prefix, const GError *err);
char *log_items_help(void);      /* the text of -d help; g_free */
void report_timestamps(bool on); /* -msg timestamp=on */

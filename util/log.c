/* -d and -D: log items, the guest-error channel, and the shape of messages on standard error. */
#include "util/log.h"

#include "util/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { GUEST_LINES_PER_SECOND = 10 };

static const struct LogItem {
    const char *name;
    uint32_t bit;
    const char *help;
} log_items[] = {
    { "in_asm", LOG_IN_ASM, "show target assembly code for each executed block" },
    { "int", LOG_INT, "show interrupts/exceptions in short format" },
    { "exec", LOG_EXEC, "show each executed block" },
    { "cpu", LOG_CPU, "show CPU registers before entering a block" },
    { "mmu", LOG_MMU, "log MMU-related activities" },
    { "pcall", LOG_PCALL, "x86 only: show protected mode far calls/returns/exceptions" },
    { "cpu_reset", LOG_CPU_RESET, "show CPU state before CPU resets" },
    { "unimp", LOG_UNIMP, "log unimplemented functionality" },
    { "guest_errors", LOG_GUEST_ERROR, "log when the guest does something invalid" },
    { "page", LOG_PAGE, "dump pages at beginning of user mode emulation" },
    { "strace", LOG_STRACE, "log every user-mode syscall" },
};

uint32_t log_mask;

/* Guarded by lock: the file and the guest-error budget. */
static struct {
    GMutex lock;
    FILE *file; /* NULL: standard error */
    gint64 second;
    unsigned lines, dropped;
    bool timestamps;
} sink;

static FILE *log_file(void)
{
    return sink.file ? sink.file : stderr;
}

void log_write(uint32_t item, const char *fmt, ...)
{
    va_list ap;

    if (!log_on(item)) {
        return;
    }
    va_start(ap, fmt);
    g_mutex_lock(&sink.lock);
    vfprintf(log_file(), fmt, ap);
    fflush(log_file());
    g_mutex_unlock(&sink.lock);
    va_end(ap);
}

void log_guest_error(const char *fmt, ...)
{
    va_list ap;

    if (!log_on(LOG_GUEST_ERROR)) {
        return;
    }
    gint64 now = g_get_monotonic_time() / G_USEC_PER_SEC;

    g_mutex_lock(&sink.lock);
    if (now != sink.second || !sink.lines) {
        if (sink.dropped) {
            fprintf(log_file(), "guest errors: %u more lines not shown\n", sink.dropped);
        }
        sink.second = now;
        sink.lines = sink.dropped = 0;
    }
    if (sink.lines++ < GUEST_LINES_PER_SECOND) {
        va_start(ap, fmt);
        vfprintf(log_file(), fmt, ap);
        va_end(ap);
        fputc('\n', log_file());
        fflush(log_file());
    } else {
        sink.dropped++;
    }
    g_mutex_unlock(&sink.lock);
}

char *log_items_help(void)
{
    GString *out = g_string_new("Log items (comma separated):\n");

    for (unsigned i = 0; i < G_N_ELEMENTS(log_items); i++) {
        g_string_append_printf(out, "%-15s %s\n", log_items[i].name, log_items[i].help);
    }
    return g_string_free(out, FALSE);
}

static uint32_t log_item_bit(const char *name)
{
    if (!strcmp(name, "all")) {
        return ~0u;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(log_items); i++) {
        if (!strcmp(name, log_items[i].name)) {
            return log_items[i].bit;
        }
    }
    return 0;
}

bool log_set_items(const char *items, GError **err)
{
    g_auto(GStrv) names = g_strsplit(items, ",", -1);
    uint32_t mask = 0;

    for (unsigned i = 0; names[i]; i++) {
        uint32_t bit = log_item_bit(names[i]);

        if (!bit && strcmp(names[i], "nochain") && strcmp(names[i], "none")) {
            return err_set(err, "unknown log item '%s'", names[i]);
        }
        mask |= bit;
    }
    log_mask = mask;
    return true;
}

bool log_set_file(const char *path, GError **err)
{
    FILE *f = fopen(path, "we");

    if (!f) {
        return err_set_errno(err, "Error opening logfile %s", path);
    }
    g_mutex_lock(&sink.lock);
    if (sink.file) {
        fclose(sink.file);
    }
    sink.file = f;
    sink.lines = sink.dropped = 0;
    g_mutex_unlock(&sink.lock);
    return true;
}

void report_timestamps(bool on)
{
    sink.timestamps = on;
}

/* One write per message, so that lines of several processes do not mix. */
static void report(const char *kind, const char *text)
{
    const char *program = g_get_prgname();
    g_autofree char *stamp = NULL;

    if (sink.timestamps) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *day = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        stamp = g_strdup_printf("%s.%06dZ ", day, g_date_time_get_microsecond(now));
    }
    fprintf(stderr, "%s%s: %s%s\n", stamp ? stamp : "", program ? program : "qemu-system-x86_64",
        kind, text);
    fflush(stderr);
}

void report_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    report("", text);
}

void report_warning(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    report("warning: ", text);
}

void report_gerror(const char *prefix, const GError *err)
{
    g_autofree char *text =
        prefix ? g_strconcat(prefix, ": ", err->message, NULL) : g_strdup(err->message);

    report("", text);
}

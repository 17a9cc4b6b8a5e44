/* The command line as data: what was asked for, in the order it was written. */
#pragma once

#include "object/prop.h"

/* Options that may be repeated and are acted on later, each kind at its time. */
typedef enum OptKind {
    OPT_NONE,
    OPT_MACHINE,
    OPT_ACCEL,
    OPT_GLOBAL,
    OPT_OBJECT,
    OPT_CHARDEV,
    OPT_NETDEV,
    OPT_NIC,
    OPT_NET,
    OPT_BLOCKDEV,
    OPT_DRIVE,
    OPT_DEVICE,
    OPT_NUMA,
    OPT_FW_CFG,
    OPT_SMBIOS,
    OPT_MON,
    OPT_SERIAL,
    OPT_MONITOR,
    OPT_QMP,
    OPT_QMP_PRETTY,
    OPT_GDB,
    OPT_VNC,
    OPT_DEBUGCON,
    OPT_KINDS,
} OptKind;

/* One option as it stood there. */
typedef struct OptItem {
    char *typed; /* "-device virtio-rng-pci": what messages begin with */
    char *text;  /* the argument as written */
    Json *args;  /* the argument taken apart; NULL for kinds that are plain texts */
} OptItem;

enum { OPTION_COUNT_UNSET = INT32_MIN };
typedef struct Options {
    GPtrArray *items[OPT_KINDS]; /* OptItem* */
    /* -m */
    uint64_t ram_size, ram_max, ram_slots;
    char *mem_path;
    bool mem_prealloc;
    /* -smp; OPTION_COUNT_UNSET: not given */
    int64_t cpus, maxcpus, sockets, dies, clusters, modules, cores, threads, books, drawers;
    /* -boot */
    char *boot_order, *boot_once, *boot_splash;
    bool boot_menu, boot_strict;
    int64_t boot_splash_time, boot_reboot_timeout;
    /* -rtc */
    char *rtc_base;
    int rtc_clock, rtc_driftfix;
    /* -name */
    char *name, *process_name;
    bool debug_threads;
    char *uuid, *cpu, *firmware, *kernel, *initrd, *append, *dtb, *log_items, *log_file, *pidfile;
    char *qtest, *qtest_log;
    char *keymap; /* -k */
    char *vga;    /* -vga; NULL: the machine's default */
    char **data_dirs;
    char **audiodevs; /* ids of -audiodev; never NULL */
    bool stopped, nographic, nodefaults, no_user_config, no_reboot, no_shutdown, snapshot,
        daemonize;
    bool no_acpi, no_hpet;
    bool timestamps, mem_lock, cpu_pm;
} Options;

typedef struct OptRow OptRow;
typedef bool OptFn(Options *o, const char *arg, GError **err);
struct OptRow {
    const char *name;   /* "device" */
    const char *params; /* for -help; NULL: the option takes no argument */
    const char *help;
    OptKind kind;             /* OPT_NONE: one of the following instead */
    const char *implied;      /* kind and table: key of a first word without '=' */
    bool dotted;              /* kind: "a.b=c" nests */
    bool plain;               /* kind: the argument is no list of properties */
    const PropSpec *table;    /* properties with offsets in Options */
    const char *table_prefix; /* "smp": how the table's rows are called in messages */
    size_t str;               /* offset of a char *; 0: none */
    size_t flag;              /* offset of a bool to set; 0: none */
    OptFn *fn;                /* anything else */
    const char
        *qmp_name; /* query-command-line-options lists the table under this; NULL: under name */
};
extern const OptRow option_rows[]; /* ends with { NULL } */

Options *options_new(void);
/* False: *err says what is wrong, with the option as its first words. Help and -version are printed
 * and end the process. */
bool options_parse(Options *o, int argc, char **argv, GError **err);
void options_free(Options *o);
OptItem *options_add(Options *o, OptKind kind, const char *typed, const char *text, Json *args);
/* "-device foo: message", hints kept. */
void options_prefix(GError **err, const char *typed);
const OptRow *option_find(const char *name); /* without dashes */

/* help.c: prints and leaves with status 0 when the argument asks for help; kinds without help
 * return. */
void help_for_item(OptKind kind, const OptItem *item);
void help_nics(bool backends); /* -nic help; without back ends: -nic model=help */
void help_options(void);
void help_version(void);

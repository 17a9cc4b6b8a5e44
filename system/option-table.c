/* Every option there is: its name, its argument, what it fills. */
#include "chardev/chardev.h"
#include "options.h"
#include "util/fdset.h"
#include "util/keyval.h"
#include "util/log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Sizes of -m: bare numbers count MiB, and the text of a mistake says so. */
static bool mem_size_parse(void *field, const char *text, GError **err)
{
    uint64_t v;

    if (parse_size(text, 1 << 20, &v)) {
        *(uint64_t *)field = v;
        return true;
    }
    /* A number with a unit, but none that fits: the digits alone would have been taken. */
    g_autofree char *digits = g_strdup(*text == '-' ? text + 1 : text);
    size_t n = strspn(digits, "0123456789");

    if (n && (!digits[n] || (strchr("bBkKmMgGtTpPeE", digits[n]) && !digits[n + 1]))) {
        return err_set(err, "Value '{value}' is out of range for parameter '{name}'");
    }
    err_set(err, "Parameter '{name}' expects a non-negative number below 2^64");
    err_hint(err, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-");
    err_hint(err, "and exabytes, respectively.");
    return false;
}

static bool mem_size_set(void *field, const Json *val, GError **err)
{
    return prop_u64.set(field, val, err);
}

static void mem_size_get(const void *field, JsonWriter *w, const char *name)
{
    jw_uint(w, name, *(const uint64_t *)field);
}

static const PropType prop_mem_size = {
    .name = "size", .set = mem_size_set, .parse = mem_size_parse, .get = mem_size_get
};

static const char *const clock_names[] = { "host", "rt", "vm", NULL };
static PROP_ENUM_TYPE(prop_rtc_clock, "RtcClock", clock_names);
static const char *const driftfix_names[] = { "none", "slew", NULL };
static PROP_ENUM_TYPE(prop_driftfix, "DriftFix", driftfix_names);

#define COUNT(n, f, h) PROP_ROW(n, Options, f, int64_t, prop_i64, (uint64_t)OPTION_COUNT_UNSET, h)

/* clang-format off */
static const PropSpec mem_props[] = {
    PROP_ROW("size", Options, ram_size, uint64_t, prop_mem_size, 0, "initial amount of guest memory"),
    PROP_ROW("slots", Options, ram_slots, uint64_t, prop_u64, 0, "slots for memory hotplug (none here)"),
    PROP_ROW("maxmem", Options, ram_max, uint64_t, prop_mem_size, 0, "maximum amount of guest memory"),
    PROP_END,
};
static const PropSpec smp_props[] = {
    COUNT("cpus", cpus, "CPUs at start"),
    COUNT("maxcpus", maxcpus, "CPUs at most"),
    COUNT("drawers", drawers, "not on this machine: 1"),
    COUNT("books", books, "not on this machine: 1"),
    COUNT("sockets", sockets, "sockets"),
    COUNT("dies", dies, "dies in a socket"),
    COUNT("clusters", clusters, "not on this machine: 1"),
    COUNT("modules", modules, "not on this machine: 1"),
    COUNT("cores", cores, "cores in a die"),
    COUNT("threads", threads, "threads in a core"),
    PROP_END,
};
static const PropSpec boot_props[] = {
    PROP_STR("order", Options, boot_order, "drives to boot from: a-p"),
    PROP_STR("once", Options, boot_once, "the order for the first boot only"),
    PROP_BOOL("menu", Options, boot_menu, false, "show the firmware's boot menu"),
    PROP_STR("splash", Options, boot_splash, "picture (refused: there is no display)"),
    COUNT("splash-time", boot_splash_time, "time of the menu in ms"),
    COUNT("reboot-timeout", boot_reboot_timeout, "reboot after a failed boot, ms"),
    PROP_BOOL("strict", Options, boot_strict, false, "boot only from what has a bootindex"),
    PROP_END,
};
static const PropSpec rtc_props[] = {
    PROP_STR("base", Options, rtc_base, "utc, localtime or a date"),
    PROP_ENUM("clock", Options, rtc_clock, prop_rtc_clock, 0, "clock that drives it"),
    PROP_ENUM("driftfix", Options, rtc_driftfix, prop_driftfix, 0, "how lost ticks are caught up"),
    PROP_END,
};
static const PropSpec name_props[] = {
    PROP_STR("guest", Options, name, "name of the guest"),
    PROP_STR("process", Options, process_name, "name of the process"),
    PROP_BOOL("debug-threads", Options, debug_threads, false, "threads have names (they always do)"),
    PROP_END,
};
static const PropSpec msg_props[] = {
    PROP_BOOL("timestamp", Options, timestamps, false, "time in front of messages"),
    PROP_END,
};
static const PropSpec overcommit_props[] = {
    PROP_BOOL("mem-lock", Options, mem_lock, false, "lock all memory"),
    PROP_BOOL("cpu-pm", Options, cpu_pm, false, "guests control host CPU power states (needs KVM)"),
    PROP_END,
};
/* clang-format on */

static bool opt_help(Options *o, const char *arg, GError **err)
{
    help_options();
    exit(0);
}

static bool opt_version(Options *o, const char *arg, GError **err)
{
    help_version();
    exit(0);
}

static bool opt_data_dir(Options *o, const char *arg, GError **err)
{
    if (!strcmp(arg, "help")) {
        g_print("/usr/share/qemu\n/usr/share/seabios\n");
        exit(0);
    }
    return prop_str_list.parse(&o->data_dirs, arg, err);
}

static bool opt_no_ide(Options *o, const char *arg, GError **err)
{
    return err_set(err, "IDE disks are not available: use -drive file=%s,if=virtio", arg);
}

static bool opt_no_floppy(Options *o, const char *arg, GError **err)
{
    return err_set(err, "floppy disks are not available");
}

static bool opt_pflash(Options *o, const char *arg, GError **err)
{
    Json *args = json_object();
    g_autofree char *typed = g_strdup_printf("-pflash %s", arg);

    json_set(args, "if", json_text("pflash"));
    json_set(args, "file", json_text(arg));
    options_add(o, OPT_DRIVE, typed, arg, args);
    return true;
}

static bool opt_enable_kvm(Options *o, const char *arg, GError **err)
{
    Json *args = json_object();

    json_set(args, "accel", json_text("kvm"));
    options_add(o, OPT_MACHINE, "-enable-kvm", "accel=kvm", args);
    return true;
}

static bool opt_no_kvm(Options *o, const char *arg, GError **err)
{
    Json *args = json_object();

    json_set(args, "accel", json_text("tcg"));
    options_add(o, OPT_ACCEL, "-no-kvm", "tcg", args);
    return true;
}

static bool opt_log_items(Options *o, const char *arg, GError **err)
{
    g_autofree char *text = log_items_help();

    if (!strcmp(arg, "help")) {
        g_print("%s", text);
        exit(0);
    }
    g_free(o->log_items);
    o->log_items = g_strdup(arg);
    return log_set_items(arg, err);
}

static bool opt_echr(Options *o, const char *arg, GError **err)
{
    uint64_t ch;

    if (!parse_uint(arg, 127, &ch)) {
        return err_set(err, "Bad argument to echr");
    }
    chardev_set_escape((int)ch);
    return true;
}

static bool opt_gdb_default(Options *o, const char *arg, GError **err)
{
    options_add(o, OPT_GDB, "-s", "tcp::1234", NULL);
    return true;
}

static bool opt_k(Options *o, const char *arg, GError **err)
{
    g_free(o->keymap);
    o->keymap = g_strdup(arg);
    return true;
}

/* What follows "none" or "default": options of displays with windows, which change nothing here. */
static bool display_none_opts(const char *text, GError **err)
{
    static const char *const known[] = { "full-screen", "window-close", "show-cursor", NULL };
    g_auto(GStrv) words = g_strsplit(*text ? text + 1 : "", ",", -1);

    for (unsigned i = 0; words[i]; i++) {
        g_autofree char *name = g_strndup(words[i], strcspn(words[i], "="));

        if (!strcmp(words[i], "gl=on")) {
            return err_set(err, "OpenGL is not supported by display backend 'none'");
        }
        if (strcmp(words[i], "gl=off") != 0 && !g_strv_contains(known, name)) {
            return err_set(err, "Parameter '%s' is unexpected", name);
        }
    }
    return true;
}

static bool opt_display(Options *o, const char *arg, GError **err)
{
    if (!strcmp(arg, "help")) {
        g_print("Available display backend types:\nnone\n\n"
                "Some display backends support suboptions, which can be set with\n"
                "   -display backend,option=value,option=value...\n"
                "For a short list of the suboptions for each display, see the top-level -help "
                "output; more detail is in the documentation.\n");
        exit(0);
    }
    if (g_str_has_prefix(arg, "vnc=")) {
        g_autofree char *typed = g_strdup_printf("-display %s", arg);

        options_add(o, OPT_VNC, typed, arg + 4, NULL);
        return true;
    }
    size_t len = strcspn(arg, ",");
    g_autofree char *type = g_strndup(arg, len);

    if (!strcmp(type, "vnc")) {
        return err_set(err, "VNC requires a display argument vnc=<display>");
    }
    if (strcmp(type, "none") != 0 && strcmp(type, "default") != 0) {
        return err_set(err, "Parameter 'type' does not accept value '%s'", type);
    }
    return display_none_opts(arg + len, err); /* none is the default */
}

/* Options that know one word here: the one that says "without". */
static bool only_none(const char *arg, GError **err)
{
    return !strcmp(arg, "none") || err_set(err, "only 'none' is available");
}

static bool opt_vga(Options *o, const char *arg, GError **err)
{
    static const char *const known[] = { "none", "std", "virtio", NULL };
    static const char *const absent[] = { "cirrus", "vmware", "qxl", "xenfb", "tcx", "cg3", NULL };

    if (!strcmp(arg, "help")) {
        g_print("none                 no graphic card\n"
                "std                  standard VGA (default)\n"
                "virtio               Virtio VGA\n");
        exit(0);
    }
    if (g_strv_contains(absent, arg)) {
        return err_set(err, "'%s' is not available: use std or virtio", arg);
    }
    if (!g_strv_contains(known, arg)) {
        return err_set(err, "unknown vga type: %s", arg);
    }
    g_free(o->vga);
    o->vga = g_strdup(arg);
    return true;
}

static bool opt_none(Options *o, const char *arg, GError **err)
{
    return only_none(arg, err);
}

/* There are no sound cards, and the only back end is the one that plays nothing. */
static bool opt_audio(Options *o, const char *arg, GError **err)
{
    static const char *const known[] = { "driver", "id", "model", "timer-period", NULL };
    bool help = false;
    g_autoptr(Json) args = opts_parse(arg, "driver", true, &help, err);
    const char *driver = args ? json_get_str_or(args, "driver", NULL) : NULL;

    if (!args) {
        return false;
    }
    if (help || !g_strcmp0(driver, "help")) {
        g_print("Available audio drivers:\nnone\n");
        exit(0);
    }
    if (!driver || (*arg == '{' && !json_get(args, "id"))) {
        return err_set(err, "Parameter '%s' is missing", driver ? "id" : "driver");
    }
    if (strcmp(driver, "none") != 0) {
        return err_set(err, "Parameter 'driver' does not accept value '%s'", driver);
    }
    for (unsigned i = 0; i < json_len(args); i++) {
        if (!g_strv_contains(known, json_key_at(args, i))) {
            return err_set(err, "Parameter '%s' is unexpected", json_key_at(args, i));
        }
    }
    if (json_get(args, "id")) {
        unsigned n = g_strv_length(o->audiodevs);

        o->audiodevs = g_renew(char *, o->audiodevs, n + 2);
        o->audiodevs[n] = g_strdup(json_get_str_or(args, "id", ""));
        o->audiodevs[n + 1] = NULL;
    }
    return true;
}

static bool opt_sandbox(Options *o, const char *arg, GError **err)
{
    bool on;
    g_autofree char *word = g_strndup(arg, strcspn(arg, ","));

    if (!parse_bool(g_str_has_prefix(word, "enable=") ? word + 7 : word, &on)) {
        return err_set(err, "Parameter 'enable' expects 'on' or 'off'");
    }
    return !on || err_set(err, "seccomp sandboxing is not available in this version");
}

/* -action reboot=shutdown and its like. */
static bool opt_action(Options *o, const char *arg, GError **err)
{
    g_autoptr(Json) args = keyval_parse(arg, NULL, false, NULL, err);

    for (unsigned i = 0; args && i < json_len(args); i++) {
        const char *key = json_key_at(args, i), *val = json_get_str(json_val_at(args, i));

        if (!strcmp(key, "reboot") && (!strcmp(val, "reset") || !strcmp(val, "shutdown"))) {
            o->no_reboot = *val == 's';
        } else if (!strcmp(key, "shutdown") &&
                   (!strcmp(val, "poweroff") || !strcmp(val, "pause"))) {
            o->no_shutdown = !strcmp(val, "pause");
        } else if (!strcmp(key, "reboot") || !strcmp(key, "shutdown")) {
            return err_set(err, "Parameter '%s' does not accept value '%s'", key, val);
        } else if (!strcmp(key, "panic") || !strcmp(key, "watchdog")) {
            return err_set(err, "'%s' is not available in this version", key);
        } else {
            return err_set(err, "Invalid parameter '%s'", key);
        }
    }
    return args != NULL;
}

static bool fd_number(const Json *args, const char *key, int64_t *ret, GError **err)
{
    uint64_t v;

    if (!parse_uint(json_get_str_or(args, key, "-1"), INT32_MAX, &v)) {
        return err_set(err, "%s option is required and must be non-negative", key);
    }
    *ret = (int64_t)v;
    return true;
}

/* -add-fd set=0,fd=7,opaque=text: an inherited descriptor for "/dev/fdset/0". */
static bool opt_add_fd(Options *o, const char *arg, GError **err)
{
    static const char *const known[] = { "fd", "set", "opaque", NULL };
    g_autoptr(Json) args = keyval_parse(arg, NULL, false, NULL, err);
    int64_t fd, set;

    for (unsigned i = 0; args && i < json_len(args); i++) {
        if (!g_strv_contains(known, json_key_at(args, i))) {
            return err_set(err, "Invalid parameter '%s'", json_key_at(args, i));
        }
    }
    if (!args || !fd_number(args, "fd", &fd, err)) {
        return false;
    }
    int flags = fcntl((int)fd, F_GETFD);

    if (fd <= STDERR_FILENO) {
        return err_set(err, "fd cannot be a standard I/O stream");
    }
    /* Ours are closed on exec, those that were inherited are not. */
    if (flags < 0 || flags & FD_CLOEXEC) {
        return err_set(err, "fd is not valid or already in use");
    }
    if (!fd_number(args, "set", &set, err)) {
        return false;
    }
    int copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0) {
        return err_set_errno(err, "cannot duplicate descriptor %d", (int)fd);
    }
    fdset_add(set, copy, json_get_str_or(args, "opaque", NULL));
    return true;
}

/* -set group.id.key=value changes an option that stands before it. */
static bool opt_set(Options *o, const char *arg, GError **err)
{
    static const struct {
        const char *group;
        OptKind kind;
    } groups[] = { { "device", OPT_DEVICE }, { "netdev", OPT_NETDEV }, { "drive", OPT_DRIVE },
        { "chardev", OPT_CHARDEV }, { "object", OPT_OBJECT } };
    const char *equals = strchr(arg, '=');
    g_autofree char *left = g_strndup(arg, equals ? (gsize)(equals - arg) : 0);
    g_auto(GStrv) parts = g_strsplit(left, ".", 3);

    if (!equals || g_strv_length(parts) != 3) {
        return err_set(err, "can't parse: \"%s\"", arg);
    }
    for (unsigned g = 0; g < G_N_ELEMENTS(groups); g++) {
        const GPtrArray *list = o->items[groups[g].kind];

        for (unsigned i = 0; !strcmp(groups[g].group, parts[0]) && i < list->len; i++) {
            const OptItem *item = list->pdata[i];

            if (!strcmp(json_get_str_or(item->args, "id", ""), parts[1])) {
                json_remove(item->args, parts[2]);
                json_set(item->args, parts[2], json_text(equals + 1));
                return true;
            }
        }
    }
    return err_set(err, "there is no %s \"%s\" defined", parts[0], parts[1]);
}

#define KIND(n, k, im, dot, p, h)                                                                  \
    {                                                                                              \
        .name = (n), .params = (p), .help = (h), .kind = (k), .implied = (im), .dotted = (dot)     \
    }
#define TEXT(n, k, p, h)                                                                           \
    {                                                                                              \
        .name = (n), .params = (p), .help = (h), .kind = (k), .plain = true                        \
    }
#define TABLE(n, t, im, p, h)                                                                      \
    {                                                                                              \
        .name = (n), .params = (p), .help = (h), .table = (t), .implied = (im)                     \
    }
#define STRING(n, f, p, h)                                                                         \
    {                                                                                              \
        .name = (n), .params = (p), .help = (h), .str = offsetof(Options, f)                       \
    }
#define FLAG(n, f, h)                                                                              \
    {                                                                                              \
        .name = (n), .help = (h), .flag = offsetof(Options, f)                                     \
    }
#define CALL(n, f, p, h)                                                                           \
    {                                                                                              \
        .name = (n), .params = (p), .help = (h), .fn = (f)                                         \
    }

/* clang-format off */
const OptRow option_rows[] = {
    CALL("h", opt_help, NULL, NULL),
    CALL("help", opt_help, NULL, "display this help and exit"),
    CALL("version", opt_version, NULL, "display version information and exit"),
    KIND("machine", OPT_MACHINE, "type", false, "[type=]name[,prop[=value][,...]]", "selects emulated machine ('-machine help' for list)"),
    KIND("M", OPT_MACHINE, "type", false, "name", NULL),
    STRING("cpu", cpu, "cpu", "select CPU ('-cpu help' for list)"),
    KIND("accel", OPT_ACCEL, "accel", false, "[accel=]accelerator[,prop[=value][,...]]", "select accelerator ('-accel help' for list)"),
    CALL("enable-kvm", opt_enable_kvm, NULL, NULL),
    CALL("no-kvm", opt_no_kvm, NULL, "same as -accel tcg"),
    { .name = "smp", .params = "[[cpus=]n][,maxcpus=maxcpus][,sockets=s][,dies=d][,cores=c][,threads=t]",
        .help = "set the number of initial CPUs", .table = smp_props, .implied = "cpus", .table_prefix = "smp", .qmp_name = "smp-opts" },
    { .name = "m", .params = "[size=]megs[,maxmem=size]", .help = "configure guest RAM", .table = mem_props, .implied = "size", .qmp_name = "memory" },
    STRING("mem-path", mem_path, "FILE", "provide backing storage for guest RAM"),
    FLAG("mem-prealloc", mem_prealloc, "preallocate guest memory (use with -mem-path)"),
    KIND("numa", OPT_NUMA, "type", false, "node[,memdev=id][,nodeid=node]", "guest RAM comes from a memory back end"),
    TABLE("overcommit", overcommit_props, NULL, "[mem-lock=on|off]", "lock guest memory"),
    KIND("global", OPT_GLOBAL, NULL, false, "driver.property=value", "set a global default for a driver property"),
    CALL("set", opt_set, "group.id.arg=value", "set <arg> parameter for item <id> of type <group>"),
    { .name = "boot", .params = "[order=drives][,once=drives][,menu=on|off][,splash-time=t][,reboot-timeout=t][,strict=on|off]",
        .help = "which drives to boot from", .table = boot_props, .implied = "order", .table_prefix = "boot", .qmp_name = "boot-opts" },
    TABLE("name", name_props, "guest", "string1[,process=string2][,debug-threads=on|off]", "set the name of the guest"),
    STRING("uuid", uuid, "%08x-%04x-%04x-%04x-%012x", "specify machine UUID"),
    KIND("device", OPT_DEVICE, "driver", false, "driver[,prop[=value][,...]]", "add device ('-device help' for list, '-device driver,help' for properties)"),
    KIND("object", OPT_OBJECT, "qom-type", true, "TYPENAME[,PROP1=VALUE1,...]", "create a new object ('-object help' for list)"),
    KIND("blockdev", OPT_BLOCKDEV, "driver", true, "[driver=]driver[,node-name=N][,option=value][,...]", "configure a block back end"),
    KIND("drive", OPT_DRIVE, NULL, false, "[file=file][,if=virtio|none][,id=name][,format=f][,cache=mode][,...]", "use 'file' as a drive image"),
    CALL("pflash", opt_pflash, "file", "use 'file' as a parallel flash image"),
    CALL("hda", opt_no_ide, "file", NULL),
    CALL("hdb", opt_no_ide, "file", NULL),
    CALL("hdc", opt_no_ide, "file", NULL),
    CALL("hdd", opt_no_ide, "file", NULL),
    CALL("cdrom", opt_no_ide, "file", NULL),
    CALL("fda", opt_no_floppy, "file", NULL),
    CALL("fdb", opt_no_floppy, "file", NULL),
    KIND("netdev", OPT_NETDEV, "type", true, "type,id=str[,option][,option][,...]", "configure a network back end ('-netdev help' for list)"),
    KIND("nic", OPT_NIC, "type", true, "type[,model=m][,mac=addr][,option][,...]", "a network back end and its card in one; 'none' for none"),
    KIND("net", OPT_NET, "type", true, "nic|type[,option][,...]", "a network card, or a back end, on hub 0; older than -nic"),
    KIND("chardev", OPT_CHARDEV, "backend", false, "backend,id=id[,option][,...]", "configure a character device ('-chardev help' for list)"),
    TEXT("serial", OPT_SERIAL, "dev", "redirect the serial port to char device 'dev'"),
    CALL("parallel", opt_none, "none", NULL),
    TEXT("debugcon", OPT_DEBUGCON, "dev", "redirect the debug console to char device 'dev'"),
    KIND("mon", OPT_MON, "chardev", false, "[chardev=]name[,mode=readline|control][,pretty=on|off]", "a monitor on a character device"),
    TEXT("monitor", OPT_MONITOR, "dev", "redirect the monitor to char device 'dev'"),
    TEXT("qmp", OPT_QMP, "dev", "like -monitor but opens in 'control' mode"),
    TEXT("qmp-pretty", OPT_QMP_PRETTY, "dev", "like -qmp but uses pretty JSON formatting"),
    CALL("echr", opt_echr, "chr", "set terminal escape character instead of ctrl-a"),
    FLAG("nographic", nographic, "no graphics; serial port and monitor on the terminal"),
    CALL("display", opt_display, "none", "select display back end"),
    CALL("vga", opt_vga, "std|virtio|none", "select video card type"),
    CALL("audio", opt_audio, "none", "select audio back end"),
    CALL("audiodev", opt_audio, "[driver=]none,id=id", "a sound back end; there is no other"),
    STRING("bios", firmware, "file", "set the filename for the BIOS"),
    STRING("kernel", kernel, "bzImage", "use 'bzImage' as kernel image"),
    STRING("append", append, "cmdline", "use 'cmdline' as kernel command line"),
    STRING("initrd", initrd, "file", "use 'file' as initial ram disk"),
    STRING("dtb", dtb, "file", NULL),
    KIND("fw_cfg", OPT_FW_CFG, "name", false, "[name=]<name>,file=<file>|string=<str>", "add named fw_cfg entry"),
    KIND("smbios", OPT_SMBIOS, NULL, false, "file=binary | type=n[,field=value][,...]", "add or set SMBIOS entries"),
    TABLE("rtc", rtc_props, NULL, "[base=utc|localtime|<datetime>][,clock=host|rt|vm][,driftfix=none|slew]", "set the RTC base and clock"),
    CALL("L", opt_data_dir, "path", "set the directory for the BIOS and other files"),
    FLAG("S", stopped, "freeze CPU at startup (use 'c' to start execution)"),
    FLAG("snapshot", snapshot, "write to temporary files instead of disk image files"),
    FLAG("no-acpi", no_acpi, "same as -machine acpi=off"),
    FLAG("no-hpet", no_hpet, "same as -machine hpet=off"),
    FLAG("no-reboot", no_reboot, "exit instead of rebooting"),
    FLAG("no-shutdown", no_shutdown, "stop before shutdown"),
    CALL("action", opt_action, "reboot=reset|shutdown,shutdown=poweroff|pause", "what reboot and shutdown do"),
    FLAG("nodefaults", nodefaults, "don't create default devices"),
    FLAG("no-user-config", no_user_config, "don't load user-provided config files (there are none)"),
    FLAG("daemonize", daemonize, "daemonize after initializing"),
    STRING("pidfile", pidfile, "file", "write PID to 'file'"),
    CALL("d", opt_log_items, "item1,...", "enable logging of specified items ('-d help' for list)"),
    STRING("D", log_file, "logfile", "output log to logfile (default stderr)"),
    CALL("s", opt_gdb_default, NULL, "shorthand for -gdb tcp::1234"),
    TEXT("vnc", OPT_VNC, "<display>", "shorthand for -display vnc=<display>"),
    CALL("k", opt_k, "language", "use keyboard layout (for example 'fr' for French)"),
    TEXT("gdb", OPT_GDB, "dev", "accept gdb connection on 'dev'"),
    TABLE("msg", msg_props, NULL, "timestamp=on|off", "prepend a timestamp to each message"),
    CALL("add-fd", opt_add_fd, "fd=fd,set=set[,opaque=opaque]", "add 'fd' to fd 'set'"),
    CALL("sandbox", opt_sandbox, "off", NULL),
    STRING("qtest", qtest, "CHR", "serve the qtest protocol on a character device"),
    STRING("qtest-log", qtest_log, "LOG", "where the qtest server logs"),
    { .name = NULL },
};
/* clang-format on */

/* Command line, features, and which test to run. */
#include "tests/guest/metal/metal.h"

enum { PVH_MAGIC = 0x336ec578, MULTIBOOT_MAGIC = 0x2badb002 };
enum { F_INDIRECT = 28, F_EVENT = 29, F_VERSION_1 = 32, F_PACKED = 34, F_IN_ORDER = 35 };

void metal_main(uint32_t magic, uint32_t info);

Options opt = { .event = true, .depth = 64, .n = 1024, .size = 4096 };

static bool same(const char *word, const char *end, const char *s)
{
    while (word < end && *s && *word == *s) {
        word++;
        s++;
    }
    return word == end && !*s;
}

static uint64_t number(const char *s, const char *end)
{
    unsigned base = 10;
    uint64_t v = 0;

    if (end - s > 2 && s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    for (; s < end; s++) {
        unsigned digit = *s >= 'a' ? (unsigned)(*s - 'a') + 10 : (unsigned)(*s - '0');

        CHECK(digit < base);
        v = v * base + digit;
    }
    return v;
}

static bool set_number(const char *w, const char *eq, const char *end)
{
    static const struct {
        const char *name;
        unsigned *at;
    } numbers[] = { { "depth", &opt.depth }, { "n", &opt.n }, { "size", &opt.size },
        { "queue", &opt.queue_size }, { "batch", &opt.batch } };
    static const struct {
        const char *name;
        uint64_t *at;
    } wide[] = { { "ecam", &opt.ecam }, { "mem", &opt.mem }, { "tsc_khz", &opt.tsc_khz } };
    static const struct {
        const char *name;
        bool *at;
    } flags[] = { { "ring3", &opt.ring3 }, { "event", &opt.event }, { "indirect", &opt.indirect },
        { "in_order", &opt.in_order }, { "write", &opt.write }, { "legacy", &opt.legacy },
        { "gap", &opt.gap } };

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (same(w, eq, numbers[i].name)) {
            *numbers[i].at = (unsigned)number(eq + 1, end);
            return true;
        }
    }
    for (unsigned i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        if (same(w, eq, wide[i].name)) {
            *wide[i].at = number(eq + 1, end);
            return true;
        }
    }
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (same(w, eq, flags[i].name)) {
            *flags[i].at = number(eq + 1, end);
            return true;
        }
    }
    return false;
}

static void set_option(const char *w, const char *end)
{
    const char *eq = w;

    while (eq < end && *eq != '=') {
        eq++;
    }
    if (eq == end) {
        return; /* multiboot: the kernel's own name */
    }
    if (same(w, eq, "test")) {
        for (unsigned i = 0; eq + 1 + i < end && i < sizeof(opt.test) - 1; i++) {
            opt.test[i] = eq[1 + i];
        }
    } else if (same(w, eq, "ring")) {
        opt.packed = same(eq + 1, end, "packed");
        CHECK(opt.packed || same(eq + 1, end, "split"));
    } else if (same(w, eq, "irq")) {
        opt.intx = same(eq + 1, end, "intx");
        opt.msix = opt.intx || same(eq + 1, end, "msix");
        CHECK(opt.msix || same(eq + 1, end, "poll"));
    } else if (!set_number(w, eq, end)) {
        put("unknown option: ");
        put(w);
        put("\n");
        metal_exit(EXIT_FAIL);
    }
}

static void parse(const char *s)
{
    while (*s) {
        const char *w = s;

        while (*s && *s != ' ') {
            s++;
        }
        set_option(w, s);
        while (*s == ' ') {
            s++;
        }
    }
}

uint64_t base_features(const VDriver *d, uint64_t also)
{
    uint64_t want = also, must = 0, offered = vd_offered(d);

    must |= d->legacy ? 0 : UINT64_C(1) << F_VERSION_1;
    must |= opt.packed ? UINT64_C(1) << F_PACKED : 0;
    must |= opt.in_order ? UINT64_C(1) << F_IN_ORDER : 0;
    must |= opt.indirect ? UINT64_C(1) << F_INDIRECT : 0;
    must |= opt.event ? UINT64_C(1) << F_EVENT : 0;
    if (must & ~offered) {
        metal_die("features not offered", must & ~offered);
    }
    return (want & offered) | must;
}

void metal_main(uint32_t magic, uint32_t info)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = { { "blk", blk_test }, { "blkbench", blk_bench }, { "net", net_test },
        { "netbench", net_bench }, { "regbench", reg_bench }, { "irqs", irqs_test },
        { "plat", plat_test }, { "reset", reset_test }, { "spin", spin_test },
        { "lost", lost_test }, { "clock", clock_test }, { "gather", gather_test } };
    const uint8_t *p = (const uint8_t *)(uintptr_t)info;
    const char *cmdline = NULL;

    cpu_init();
    if (*(const uint32_t *)p == PVH_MAGIC) {
        cmdline = (const char *)(uintptr_t) * (const uint64_t *)(p + 24);
        put("metal: pvh");
    } else if (magic == MULTIBOOT_MAGIC && *(const uint32_t *)p & 4) {
        cmdline = (const char *)(uintptr_t) * (const uint32_t *)(p + 16);
        put("metal: multiboot");
    } else {
        metal_die("entered by an unknown protocol", magic);
    }
    put(", ");
    put(cmdline);
    put("\n");
    parse(cmdline);
    cpu_calibrate();
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        const char *name = opt.test;

        while (*name) {
            name++;
        }
        if (same(opt.test, name, tests[i].name)) {
            tests[i].run();
            put_pair("tsc_khz", opt.tsc_khz);
            put("\nPASS\n");
            metal_exit(EXIT_PASS);
        }
    }
    metal_die("no such test", 0);
}

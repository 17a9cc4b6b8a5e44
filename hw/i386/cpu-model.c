/*
 * CPU models and the -cpu option. Feature names are QEMU's, their bits SDM vol. 2 (CPUID) and AMD64
 * APM vol. 3, appendix E. What the engine implements is one table here: a model never offers more.
 * Covered by tests/unit/test-cpu-model.
 */
#include "hw/i386/cpu-model.h"

#include "util/err.h"
#include "util/log.h"

#include <stddef.h>
#include <string.h>

/* Feature words in the order of warnings. */
typedef enum FeatureWord {
    F1_EDX,
    F1_ECX,
    F7_EBX,
    F7_ECX,
    F7_EDX,
    F81_EDX,
    F81_ECX,
    F87_EDX,
    F88_EBX,
    F6_EAX,
    FD1_EAX,
    F4000_EAX,
    NWORDS,
} FeatureWord;

typedef struct WordInfo {
    const char *name;     /* as in "CPUID.07H:EBX" */
    size_t field;         /* in X86CpuModel */
    uint32_t implemented; /* by accel/soft */
    const char *bits[32];
} WordInfo;

/* AMD repeats these bits of leaf 1 EDX in leaf 80000001h. */
#define AMD_ALIASES 0x0183f3ffu

#define BIT(n)   (1u << (n))
#define FIELD(f) offsetof(X86CpuModel, f)

static const WordInfo words[NWORDS] = {
    [F1_EDX] = { "CPUID.01H:EDX", FIELD(f1_edx), 0x078bfbfd,
        { "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", NULL, "sep", "mtrr",
            "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", NULL, "ds", "acpi", "mmx",
            "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe" } },
    [F1_ECX] = { "CPUID.01H:ECX", FIELD(f1_ecx), BIT(0) | BIT(13) | BIT(21) | BIT(24) | BIT(31),
        { "pni", "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "ssse3",
            "cid", NULL, "fma", "cx16", "xtpr", "pdcm", NULL, "pcid", "dca", "sse4.1", "sse4.2",
            "x2apic", "movbe", "popcnt", "tsc-deadline", "aes", "xsave", NULL, "avx", "f16c",
            "rdrand", "hypervisor" } },
    [F7_EBX] = { "CPUID.07H:EBX", FIELD(f7_ebx), BIT(1) | BIT(7) | BIT(9) | BIT(20),
        { "fsgsbase", "tsc-adjust", "sgx", "bmi1", "hle", "avx2", "fdp-excptn-only", "smep", "bmi2",
            "erms", "invpcid", "rtm", NULL, "zero-fcs-fds", "mpx", NULL, "avx512f", "avx512dq",
            "rdseed", "adx", "smap", "avx512ifma", "pcommit", "clflushopt", "clwb", "intel-pt",
            "avx512pf", "avx512er", "avx512cd", "sha-ni", "avx512bw", "avx512vl" } },
    [F7_ECX] = { "CPUID.07H:ECX", FIELD(f7_ecx), BIT(2),
        { NULL, "avx512vbmi", "umip", "pku", NULL, "waitpkg", "avx512vbmi2", NULL, "gfni", "vaes",
            "vpclmulqdq", "avx512vnni", "avx512bitalg", NULL, "avx512-vpopcntdq", NULL, "la57",
            NULL, NULL, NULL, NULL, NULL, "rdpid", NULL, "bus-lock-detect", "cldemote", NULL,
            "movdiri", "movdir64b", NULL, "sgxlc", "pks" } },
    [F7_EDX] = { "CPUID.07H:EDX", FIELD(f7_edx), 0,
        { NULL, NULL, "avx512-4vnniw", "avx512-4fmaps", "fsrm", NULL, NULL, NULL,
            "avx512-vp2intersect", NULL, "md-clear", NULL, NULL, NULL, "serialize", NULL,
            "tsx-ldtrk", NULL, NULL, "arch-lbr", NULL, NULL, "amx-bf16", "avx512-fp16", "amx-tile",
            "amx-int8", "spec-ctrl", "stibp", "flush-l1d", "arch-capabilities", "core-capability",
            "ssbd" } },
    [F81_EDX] = { "CPUID.80000001H:EDX", FIELD(f80000001_edx),
        AMD_ALIASES | BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29),
        { [11] = "syscall",
            [19] = "mp",
            [20] = "nx",
            [22] = "mmxext",
            [25] = "fxsr-opt",
            [26] = "pdpe1gb",
            [27] = "rdtscp",
            [29] = "lm",
            [30] = "3dnowext",
            [31] = "3dnow" } },
    [F81_ECX] = { "CPUID.80000001H:ECX", FIELD(f80000001_ecx), BIT(0),
        { "lahf-lm", "cmp-legacy", "svm", "extapic", "cr8legacy", "abm", "sse4a", "misalignsse",
            "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp", "fma4", "tce",
            NULL, "nodeid-msr", NULL, "tbm", "topoext", "perfctr-core", "perfctr-nb" } },
    [F87_EDX] = { "CPUID.80000007H:EDX", FIELD(f80000007_edx), BIT(8), { [8] = "invtsc" } },
    [F88_EBX] = { "CPUID.80000008H:EBX", FIELD(f80000008_ebx), 0,
        { [0] = "clzero",
            [2] = "xsaveerptr",
            [9] = "wbnoinvd",
            [12] = "ibpb",
            [14] = "ibrs",
            [15] = "amd-stibp",
            [17] = "stibp-always-on",
            [24] = "amd-ssbd",
            [25] = "virt-ssbd",
            [26] = "amd-no-ssb",
            [28] = "amd-psfd" } },
    [F6_EAX] = { "CPUID.06H:EAX", FIELD(f6_eax), BIT(2), { [2] = "arat" } },
    [FD1_EAX] = { "CPUID.0DH:EAX", FIELD(fd1_eax), 0,
        { "xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd" } },
    /* Documentation/virt/kvm/x86/cpuid.rst */
    [F4000_EAX] = { "CPUID.40000001H:EAX", FIELD(f4000_eax), 0,
        { [0] = "kvmclock",
            [1] = "kvm-nopiodelay",
            [2] = "kvm-mmu",
            [4] = "kvm-asyncpf",
            [5] = "kvm-steal-time",
            [6] = "kvm-pv-eoi",
            [7] = "kvm-pv-unhalt",
            [9] = "kvm-pv-tlb-flush",
            [10] = "kvm-asyncpf-vmexit",
            [11] = "kvm-pv-ipi",
            [12] = "kvm-poll-control",
            [13] = "kvm-pv-sched-yield",
            [14] = "kvm-asyncpf-int",
            [15] = "kvm-msi-ext-dest-id",
            [24] = "kvmclock-stable-bit" } },
};

/* What a named model shows under KVM without being asked: both clocks, no I/O delay, asynchronous
 * page faults, steal time, EOI and the stable clock. */
#define KVM_DEFAULTS (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(24))

/* Other spellings of the same feature. */
static const struct {
    const char *alias, *name;
} feature_aliases[] = {
    { "sse3", "pni" },
    { "sse4-1", "sse4.1" },
    { "sse4-2", "sse4.2" },
    { "ds_cpl", "ds-cpl" },
    { "xd", "nx" },
    { "ffxsr", "fxsr-opt" },
    { "i64", "lm" },
    { "pclmuldq", "pclmulqdq" },
};

static const X86CpuModelInfo models[] = {
    { .name = "qemu64",
        .description = "(alias configured by machine type)",
        .alias_of = "qemu64-v1",
        .migration_safe = true },
    { .name = "qemu64-v1", .description = "QEMU Virtual CPU version 2.5+", .migration_safe = true },
    { .name = "base",
        .description = "base CPU model type with no features enabled",
        .is_static = true,
        .migration_safe = true },
    { .name = "host",
        .description = "processor with all supported host features ",
        .kvm_only = true },
    { .name = "max",
        .description = "Enables all features supported by the accelerator in the current host" },
};

/* A model being built. */
typedef struct Build {
    X86CpuModel *m;
    const char *type;        /* "qemu64" in messages */
    const X86CpuModel *host; /* KVM: what there is; NULL: the engine */
    bool check, enforce;
    bool all;               /* max, host */
    uint32_t asked[NWORDS]; /* set by the user */
    GPtrArray *plus, *minus;
} Build;

static uint32_t *word(X86CpuModel *m, FeatureWord w)
{
    return (uint32_t *)(void *)((char *)m + words[w].field);
}

static uint32_t word_get(const X86CpuModel *m, FeatureWord w)
{
    uint32_t v;

    memcpy(&v, (const char *)m + words[w].field, sizeof v);
    return v;
}

const X86CpuModelInfo *x86_cpu_models(unsigned *ret_n)
{
    *ret_n = G_N_ELEMENTS(models);
    return models;
}

/* Models
 * -------------------------------------------------------------------------------------------------------------
 */

static void set_qemu64(X86CpuModel *m)
{
    m->family = 15;
    m->model = 107;
    m->stepping = 1;
    m->level = 0xd;
    m->xlevel = 0x8000000a;
    m->f1_edx = 0x078bfbfd;
    m->f1_ecx = BIT(0) | BIT(13) | BIT(31);
    m->f80000001_edx = BIT(11) | BIT(20) | BIT(29);
    m->f80000001_ecx = BIT(0);
    g_strlcpy(m->model_id, "QEMU Virtual CPU version 2.5+", sizeof m->model_id);
}

static void set_max(Build *b)
{
    X86CpuModel *m = b->m;

    b->all = true;
    if (b->host) {
        *m = *b->host;
        m->hypervisor = m->host = true;
        m->cores_per_die = m->threads_per_core = m->dies = m->sockets = 1;
        m->f80000007_edx &= ~BIT(8); /* invtsc blocks migration: only on request */
        return;
    }
    m->family = 6;
    m->model = 6;
    m->stepping = 3;
    m->level = 0xd;
    m->xlevel = 0x8000000a;
    for (unsigned w = 0; w < NWORDS; w++) {
        *word(m, w) = words[w].implemented;
    }
    m->f80000007_edx &= ~BIT(8);
    g_strlcpy(m->model_id, "QEMU TCG CPU version 2.5+", sizeof m->model_id);
}

/* A named model under KVM: the host's vendor, since SYSCALL and SYSENTER are its, and what the
 * kernel does for its guests. */
static void set_kvm_defaults(Build *b)
{
    X86CpuModel *m = b->m;

    memcpy(m->vendor, b->host->vendor, sizeof m->vendor);
    m->phys_bits = MIN(m->phys_bits, b->host->phys_bits);
    m->f1_ecx |= BIT(21) & b->host->f1_ecx; /* x2apic */
    m->f4000_eax |= KVM_DEFAULTS & b->host->f4000_eax;
}

static bool set_model(Build *b, const char *name, GError **err)
{
    X86CpuModel *m = b->m;

    m->hypervisor = true;
    m->phys_bits = 40;
    m->cores_per_die = m->threads_per_core = m->dies = m->sockets = 1;
    g_strlcpy(m->vendor, "AuthenticAMD", sizeof m->vendor);
    if (!strcmp(name, "qemu64") || !strcmp(name, "qemu64-v1")) {
        set_qemu64(m);
        if (b->host) {
            set_kvm_defaults(b);
        }
        return true;
    }
    if (!strcmp(name, "max")) {
        set_max(b);
        return true;
    }
    if (!strcmp(name, "base")) {
        return true;
    }
    if (!strcmp(name, "host")) {
        if (!b->host) {
            err_set(err, "CPU model 'host' requires KVM or HVF");
            return false;
        }
        set_max(b);
        return true;
    }
    err_set(err, "unable to find CPU model '%s'", name);
    return false;
}

/* Features
 * ------------------------------------------------------------------------------------------------------------
 */

static bool find_feature(const char *name, FeatureWord *ret_word, unsigned *ret_bit)
{
    g_autofree char *plain = g_strdelimit(g_strdup(name), "_", '-');
    const char *want = plain;

    for (unsigned i = 0; i < G_N_ELEMENTS(feature_aliases); i++) {
        if (!strcmp(feature_aliases[i].alias, plain) || !strcmp(feature_aliases[i].alias, name)) {
            want = feature_aliases[i].name;
        }
    }
    for (unsigned w = 0; w < NWORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (words[w].bits[bit] && !strcmp(words[w].bits[bit], want)) {
                *ret_word = w;
                *ret_bit = bit;
                return true;
            }
        }
    }
    return false;
}

static void set_feature(Build *b, FeatureWord w, unsigned bit, bool on)
{
    uint32_t *v = word(b->m, w);

    *v = on ? *v | BIT(bit) : *v & ~BIT(bit);
    b->asked[w] = on ? b->asked[w] | BIT(bit) : b->asked[w] & ~BIT(bit);
}

static bool parse_bool(const Build *b, const char *name, const char *value, bool *ret, GError **err)
{
    static const char *const yes[] = { "on", "yes", "true", "y" };
    static const char *const no[] = { "off", "no", "false", "n" };

    for (unsigned i = 0; i < G_N_ELEMENTS(yes); i++) {
        if (!strcmp(value, yes[i])) {
            *ret = true;
            return true;
        }
        if (!strcmp(value, no[i])) {
            *ret = false;
            return true;
        }
    }
    err_set(err, "can't apply global %s-x86_64-cpu.%s=%s: Parameter '%s' expects 'on' or 'off'",
        b->type, name, value, name);
    return false;
}

static bool parse_uint(
    const Build *b, const char *name, const char *value, uint64_t max, uint32_t *ret, GError **err)
{
    char *end;
    uint64_t v = g_ascii_strtoull(value, &end, 0);

    if (end == value || *end) {
        err_set(err, "can't apply global %s-x86_64-cpu.%s=%s: Parameter '%s' expects uint64",
            b->type, name, value, name);
        return false;
    }
    if (v > max) {
        err_set(err,
            "can't apply global %s-x86_64-cpu.%s=%s: parameter '%s' can be at most "
            "%" G_GUINT64_FORMAT,
            b->type, name, value, name, max);
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static bool set_vendor(const Build *b, const char *value, GError **err)
{
    if (strlen(value) != 12) {
        err_set(err,
            "can't apply global %s-x86_64-cpu.vendor=%s: value of property 'vendor' must consist "
            "of "
            "exactly 12 characters",
            b->type, value);
        return false;
    }
    g_strlcpy(b->m->vendor, value, sizeof b->m->vendor);
    return true;
}

static bool set_phys_bits(const Build *b, const char *value, GError **err)
{
    uint32_t v;

    if (!parse_uint(b, "phys-bits", value, UINT32_MAX, &v, err)) {
        return false;
    }
    if (v && (v < 32 || v > 52)) {
        err_set(err, "phys-bits should be between 32 and 52  (but is %u)", v);
        return false;
    }
    b->m->phys_bits = v ? (uint8_t)v : 40;
    return true;
}

/* Properties that are no CPUID bit. *ret_known false: not one of them. */
static bool set_other(Build *b, const char *name, const char *value, bool *ret_known, GError **err)
{
    X86CpuModel *m = b->m;
    bool kvm = !m->kvm_hidden, host_bits = false;
    const struct {
        const char *name;
        uint32_t *field;
        uint64_t max;
    } numbers[] = {
        { "family", &m->family, 0xff + 0xf },
        { "model", &m->model, 0xff },
        { "stepping", &m->stepping, 0xf },
        { "level", &m->level, UINT32_MAX },
        { "xlevel", &m->xlevel, UINT32_MAX },
    };
    const struct {
        const char *name;
        bool *field;
    } flags[] = { { "check", &b->check }, { "enforce", &b->enforce },
        { "tcg-cpuid", &m->hypervisor }, { "host-phys-bits", &host_bits }, { "kvm", &kvm } };
    bool flag_ok;

    *ret_known = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (!strcmp(name, numbers[i].name)) {
            return parse_uint(b, name, value, numbers[i].max, numbers[i].field, err);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (!strcmp(name, flags[i].name)) {
            flag_ok = parse_bool(b, name, value, flags[i].field, err);
            m->kvm_hidden = !kvm;
            m->phys_bits = host_bits && b->host ? b->host->phys_bits : m->phys_bits;
            return flag_ok;
        }
    }
    if (!strcmp(name, "vendor")) {
        return set_vendor(b, value, err);
    }
    if (!strcmp(name, "model-id")) {
        g_strlcpy(m->model_id, value, sizeof m->model_id);
        return true;
    }
    if (!strcmp(name, "phys-bits")) {
        return set_phys_bits(b, value, err);
    }
    if (!strcmp(name, "migratable") && b->all) {
        bool on;
        return parse_bool(b, name, value, &on, err);
    }
    *ret_known = false;
    return true;
}

static bool apply(Build *b, const char *item, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(item, "=", 2);
    const char *name = parts[0], *value = parts[1] ? parts[1] : "on";
    FeatureWord w;
    unsigned bit;
    bool on, known;

    if (find_feature(name, &w, &bit)) {
        if (!parse_bool(b, name, value, &on, err)) {
            return false;
        }
        set_feature(b, w, bit, on);
        return true;
    }
    if (!set_other(b, name, value, &known, err)) {
        return false;
    }
    if (!known) {
        err_set(err,
            "can't apply global %s-x86_64-cpu.%s=%s: Property '%s-x86_64-cpu.%s' not found",
            b->type, name, value, b->type, name);
        return false;
    }
    return true;
}

/* "+name" and "-name" count behind all others, "-name" last. */
static bool apply_signed(Build *b, const GPtrArray *names, bool on, GError **err)
{
    for (unsigned i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        FeatureWord w;
        unsigned bit;
        if (!find_feature(name, &w, &bit)) {
            err_set(err, "Property '%s-x86_64-cpu.%s' not found", b->type, name);
            return false;
        }
        set_feature(b, w, bit, on);
    }
    return true;
}

static bool parse_items(Build *b, char **items, GError **err)
{
    for (; *items; items++) {
        const char *item = *items;
        if (*item == '+' || *item == '-') {
            g_ptr_array_add(*item == '+' ? b->plus : b->minus, g_strdup(item + 1));
        } else if (*item && !apply(b, item, err)) {
            return false;
        }
    }
    return apply_signed(b, b->plus, true, err) && apply_signed(b, b->minus, false, err);
}

/* Drops what the engine, or the host, does not have. */
static bool filter(Build *b, GError **err)
{
    bool missing = false;

    for (unsigned w = 0; w < NWORDS; w++) {
        uint32_t have = b->host ? word_get(b->host, w) : words[w].implemented;
        uint32_t *v = word(b->m, w), bad = *v & ~have;
        for (unsigned bit = 0; bit < 32; bit++) {
            if (!(bad & BIT(bit))) {
                continue;
            }
            missing = true;
            if (b->check || b->enforce) {
                const char *name = words[w].bits[bit];
                report_warning("%s doesn't support requested feature: %s%s%s [bit %u]",
                    b->host ? "host" : "TCG", words[w].name, name ? "." : "", name ? name : "",
                    bit);
            }
        }
        *v &= ~bad;
    }
    if (missing && b->enforce) {
        err_set(err, "%s doesn't support requested features", b->host ? "Host" : "TCG");
        return false;
    }
    return true;
}

static void finish(Build *b)
{
    X86CpuModel *m = b->m;

    if (!strcmp(m->vendor, "AuthenticAMD")) {
        m->f80000001_edx = (m->f80000001_edx & ~AMD_ALIASES) | (m->f1_edx & AMD_ALIASES);
    } else {
        m->f80000001_edx &= ~AMD_ALIASES;
    }
    /* Leaves that hold a requested feature are within the limits. */
    if ((m->f7_ebx | m->f7_ecx | m->f7_edx) && m->level < 7) {
        m->level = 7;
    }
    if ((m->f80000001_edx | m->f80000001_ecx) && m->xlevel < 0x80000001) {
        m->xlevel = 0x80000001;
    }
}

X86CpuModel *x86_cpu_model_new(const char *text, const X86CpuModel *host, GError **err)
{
    g_autofree X86CpuModel *m = g_new0(X86CpuModel, 1);
    g_autoptr(GPtrArray) plus = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) minus = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) items = g_strsplit(text, ",", -1);

    if (!items[0] || !*items[0]) {
        err_set(err, "-cpu option cannot be empty");
        return NULL;
    }
    Build b = {
        .m = m, .type = items[0], .host = host, .check = true, .plus = plus, .minus = minus
    };
    if (!set_model(&b, items[0], err) || !parse_items(&b, items + 1, err) || !filter(&b, err)) {
        return NULL;
    }
    finish(&b);
    return g_steal_pointer(&m);
}

void x86_cpu_features_foreach(const X86CpuModel *m, X86CpuFeatureFn *fn, void *opaque)
{
    for (unsigned w = 0; w < NWORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (words[w].bits[bit]) {
                fn(opaque, words[w].bits[bit], word_get(m, w) & BIT(bit));
            }
        }
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char *x86_cpu_help(void)
{
    GString *s = g_string_new("Available CPUs:\n");
    const char *names[NWORDS * 32];
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        g_string_append_printf(s, "  %-20s  %s\n", models[i].name, models[i].description);
    }
    for (unsigned w = 0; w < NWORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (words[w].bits[bit]) {
                names[n++] = words[w].bits[bit];
            }
        }
    }
    qsort(names, n, sizeof *names, compare_names);
    g_string_append(s, "\nRecognized CPUID flags:\n");
    size_t column = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        if (column && column + 1 + len > 75) {
            g_string_append_c(s, '\n');
            column = 0;
        }
        g_string_append_printf(s, "%s%s", column ? " " : "  ", names[i]);
        column += (column ? 1 : 2) + len;
    }
    g_string_append_c(s, '\n');
    return g_string_free(s, FALSE);
}

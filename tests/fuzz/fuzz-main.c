/*
 * The fuzzers' two ways to run. With clang and -fsanitize=fuzzer it is a libFuzzer target;
 * else a program that replays files and makes inputs of its own:
 *
 *   fuzz-ring [--ring=split|packed] [--runs N] [--seed S] [--flat] [file or folder...]
 *   fuzz-net [--mode=NAME] ...
 *
 * --flat: the memory of the process is as large after them as before, once its pools are filled.
 */
#include "tests/fuzz/fuzz.h"
#include "util/rcu.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILL = 100000 }; /* inputs until the element pools have their largest size */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 1; i < *argc; i++) {
        fuzz_option((*argv)[i]);
    }
    fuzz_prepare();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };

    fuzz_one(&in);
    return 0;
}

#ifdef FUZZ_LIBFUZZER
/* Freed memory is kept from reuse for a while; more than a cache holds of it costs half the speed.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=6:"
           "allocator_release_to_os_interval_ms=-1";
}
#else
static unsigned replay(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autofree char *data = NULL;
    const char *name;
    size_t len;
    unsigned n = 0;

    if (!dir) {
        if (!g_file_get_contents(path, &data, &len, NULL)) {
            fprintf(stderr, "cannot read %s\n", path);
            exit(1);
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, len);
        return 1;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        n += replay(child);
    }
    return n;
}

/* Each input is of one seed: "--runs 1 --seed S" shows it again. */
static void make(uint64_t seed)
{
    uint8_t data[128];
    uint64_t s = (seed + 1) * 0x9e3779b97f4a7c15;
    size_t len = 0;

    for (unsigned i = 0; i < sizeof data; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        data[i] = (uint8_t)(s >> 24 & 3 ? s >> 32 : s >> 32 & 7); /* small ones more often */
        len = i == 0 ? 16 + (s >> 40) % (sizeof data - 16) : len;
    }
    LLVMFuzzerTestOneInput(data, len);
}

static uint64_t rss(void)
{
    g_autofree char *text = NULL;
    const char *p;

    rcu_offline();
    rcu_drain(); /* memory maps that wait for their grace period do not count */
    rcu_online();
    malloc_trim(0);
    g_assert_true(g_file_get_contents("/proc/self/smaps_rollup", &text, NULL, NULL));
    p = strstr(text, "\nRss:");
    g_assert_nonnull(p);
    return g_ascii_strtoull(p + 5, NULL, 10) * 1024;
}

/* Pools wait for their deepest queue; a block of 32 bytes lost with every sixth input would show.
 */
static bool flat(uint64_t runs, uint64_t seed)
{
    uint64_t before, after;

    for (uint64_t i = 0; i < FILL; i++) {
        make(seed - FILL + i);
    }
    before = rss();
    for (uint64_t i = 0; i < runs; i++) {
        make(seed + i);
    }
    after = rss();
    printf("resident: %" G_GUINT64_FORMAT " KiB before, %" G_GUINT64_FORMAT " KiB after\n",
        before / 1024, after / 1024);
    return after <= before + (512 << 10);
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    uint64_t runs = 0, seed = 1;
    unsigned files = 0;
    bool check_flat = false, ok = true;
    double at;

    LLVMFuzzerInitialize(&argc, &argv);
    at = cpu_seconds();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--runs") && i + 1 < argc) {
            runs = g_ascii_strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
            seed = g_ascii_strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--flat")) {
            check_flat = true;
        } else if (!fuzz_option(argv[i])) {
            files += replay(argv[i]);
        }
    }
    if (check_flat) {
        ok = flat(runs, seed);
    } else {
        for (uint64_t i = 0; i < runs; i++) {
            make(seed + i);
        }
    }
    printf("%u files, %" G_GUINT64_FORMAT " inputs made, %.0f a second of processor time\n", files,
        runs, (double)(files + runs) / MAX(cpu_seconds() - at, 1e-9));
    return ok && files + runs ? 0 : 1;
}
#endif

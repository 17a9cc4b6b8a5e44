/*
 * qcow2 and kill -9: a process that writes to an image is killed at a random operation. What it had
 * flushed must be there, what came later may be, per sector; the image is clean or has leaks, or
 * (lazy reference counts) is put right when it is opened again. "--rounds N", "--seed N".
 */
#include "plan.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Kind {
    const char *name, *create;
    unsigned cluster;
    bool lazy;
} Kind;
static const Kind kinds[] = {
    { "64k", "", 65536, false },
    { "4k", "refcount_bits=8,", 4096, false },
    { "512", "", 512, false },
    { "v2", "compat=0.10,", 65536, false },
    { "lazy", "lazy_refcounts=on,", 16384, true },
};

typedef struct Shared {                  /* with the process that is killed */
    _Atomic uint32_t submitted, flushed; /* operations: begun; all before this one are flushed */
} Shared;

static void on_tell(void *opaque, uint32_t i, bool flushed)
{
    Shared *s = opaque;

    atomic_store(flushed ? &s->flushed : &s->submitted, i);
}

static void writer(const char *json, uint64_t seed, Shared *s)
{
    g_autofree Plan *p = plan_round(seed);

    loop_main();
    plan_run(img_open(json, NULL), p, seed, PLAN_OPS, on_tell, s);
    for (;;) { /* until it is killed */
        atomic_store(&s->submitted, PLAN_OPS);
        pause();
    }
}

static void die(const Kind *k, unsigned round, const char *what)
{
    printf("not ok - %s round %u: %s\n", k->name, round, what);
    fflush(stdout);
    abort();
}

static void one_round(const Kind *k, unsigned round, uint64_t seed, uint64_t *now, unsigned *leaks)
{
    Shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_autofree Plan *p = plan_round(seed);
    uint64_t rnd = seed ^ 0x5555;
    uint32_t until = (uint32_t)img_rand(&rnd, img_rand(&rnd, 2) ? PLAN_OPS : 300) + 1;
    const char *json = "{'driver':'qcow2','node-name':'q','discard':'unmap','l2-cache-size':32768,"
                       "'file':{'driver':'file','filename':'@/i.qcow2','discard':'unmap'}}";

    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        writer(json, seed, s);
    }
    while (atomic_load(&s->submitted) < until) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            die(k, round, "the writer ended");
        }
        g_usleep(50);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    g_autofree char *out = NULL;
    int rc;

    if (k->lazy) { /* put right by whoever opens it */
        int repair = img_sh(&out, "'%s' --open '%s/i.qcow2' 2>&1", g_get_prgname(), img_dir());
        if (repair) {
            printf("%s\n", out);
            die(k, round, "cannot be opened again");
        }
        g_clear_pointer(&out, g_free);
    }
    rc = img_sh(&out, "qemu-img check i.qcow2 2>&1");
    if (rc && (rc != 3 || k->lazy)) {
        printf("%s\n", out);
        die(k, round, "qemu-img check");
    }
    *leaks += rc == 3;
    uint64_t *found = plan_read("i.qcow2");

    for (uint32_t i = 0; i < PLAN_SECTORS; i++) {
        if (!plan_may_hold(p, seed, now, s->flushed, s->submitted, i, found[i])) {
            printf("# sector %u holds %llx, flushed %u of %u\n", i, (unsigned long long)found[i],
                s->flushed, s->submitted);
            die(k, round, "a flushed sector is lost");
        }
    }
    memcpy(now, found, PLAN_SECTORS * sizeof *now);
    g_free(found);
    munmap(s, sizeof *s);
}

static int open_only(const char *file)
{
    g_autofree char *json = g_strdup_printf("{'driver':'qcow2','node-name':'q','file':{'driver':"
                                            "'file','filename':'%s'}}",
        file);
    char *err = NULL;

    loop_main();
    Blk *b = img_open(json, &err);
    if (!b) {
        printf("%s\n", err);
        return 1;
    }
    img_close();
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t rounds = getenv("VIRTUE_FULL") ? 200 : 10, seed = 1;

    if (argc == 3 && !strcmp(argv[1], "--open")) {
        return open_only(argv[2]);
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        *(strcmp(argv[i], "--seed") ? &rounds : &seed) = strtoull(argv[i + 1], NULL, 0);
    }
    g_autofree char *self = g_canonicalize_filename(argv[0], NULL);
    g_set_prgname(self);
    if (!img_have_tool()) {
        return 0;
    }
    printf("1..%u\n", (unsigned)G_N_ELEMENTS(kinds));
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const Kind *k = &kinds[i];
        g_autofree uint64_t *now = g_new0(uint64_t, PLAN_SECTORS);
        unsigned n = (unsigned)((rounds + G_N_ELEMENTS(kinds) - 1) / G_N_ELEMENTS(kinds)),
                 leaks = 0;

        img_sh(NULL, "rm -f i.qcow2; qemu-img create -q -f qcow2 -o %scluster_size=%u i.qcow2 %u",
            k->create, k->cluster, PLAN_SIZE);
        for (unsigned r = 0; r < n; r++) {
            one_round(k, r, seed * 100000 + i * 1000 + r, now, &leaks);
        }
        printf("ok - %s # %u kills, %u left leaks\n", k->name, n, leaks);
        fflush(stdout);
    }
    img_done();
    return 0;
}

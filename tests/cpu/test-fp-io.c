/*
 * What the host cannot show ring 3: FP instructions under CR0 and CR4, ports under IOPL and the
 * TSS's bitmap, and long string instructions that are interrupted.
 */
#include "accel/soft/soft.h"
#include "fuzz.h"

#include <glib.h>
#include <string.h>

enum {
    CR0_MP = 2,
    CR0_EM = 4,
    CR0_TS = 8,
    CR0_NE = 0x20,
    CR4_OSFXSR = 0x200,
    CR4_OSXMMEXCPT = 0x400
};

typedef struct Run {
    Engine *e;
    SoftCpu *c;
    FuzzCase in;
    FuzzResult out;
} Run;

static void run_init(Run *r)
{
    uint16_t fcw = 0x37f;
    uint32_t mxcsr = 0x1f80;

    memset(r, 0, sizeof *r);
    r->e = engine_new();
    r->c = engine_cpu(r->e);
    r->in.mode = FUZZ_64;
    r->in.code = FUZZ_CODE + 0x100;
    r->in.in.rip = r->in.code;
    r->in.in.rflags = 0x202;
    r->in.in.r[R_SP] = FUZZ_AREA + 0x5800;
    memcpy(r->in.in.fx, &fcw, 2);
    memcpy(r->in.in.fx + 24, &mxcsr, 4);
}

/* Runs the bytes; returns the exception they end in: 3 behind them if all went well. */
static unsigned run(Run *r, const char *bytes, unsigned n)
{
    uint8_t *code = engine_area(r->e) + (r->in.code - FUZZ_AREA);

    memset(code, 0xcc, 32);
    memcpy(code, bytes, n);
    engine_run(r->e, &r->in, &r->out);
    return r->out.vector;
}
#define RUN(r, bytes) run((r), (bytes), sizeof(bytes) - 1)

#define FLD1     "\xd9\xe8"
#define FWAIT    "\x9b"
#define PADDB_MM "\x0f\xfc\xc1"
#define ADDPS    "\x0f\x58\xc1"
#define FXSAVE   "\x0f\xae\x04\x24"
#define DIVSS    "\xf3\x0f\x5e\xc1"

static void test_task_switched(void)
{
    Run r;

    run_init(&r);
    r.c->cr0 |= CR0_TS | CR0_MP;
    g_assert_cmpuint(RUN(&r, FLD1), ==, 7);
    g_assert_cmpuint(RUN(&r, FWAIT), ==, 7);
    g_assert_cmpuint(RUN(&r, PADDB_MM), ==, 7);
    g_assert_cmpuint(RUN(&r, ADDPS), ==, 7);
    g_assert_cmpuint(RUN(&r, FXSAVE), ==, 7);
    r.c->cr0 &= ~(uint64_t)CR0_MP;
    g_assert_cmpuint(RUN(&r, FWAIT), ==, 3);
    engine_free(r.e);
}

static void test_emulation(void)
{
    Run r;

    run_init(&r);
    r.c->cr0 |= CR0_EM;
    g_assert_cmpuint(RUN(&r, FLD1), ==, 7);
    g_assert_cmpuint(RUN(&r, PADDB_MM), ==, 6);
    g_assert_cmpuint(RUN(&r, ADDPS), ==, 6);
    engine_free(r.e);
}

static void test_osfxsr_clear(void)
{
    Run r;

    run_init(&r);
    r.c->cr4 &= ~(uint64_t)CR4_OSFXSR;
    g_assert_cmpuint(RUN(&r, ADDPS), ==, 6);
    g_assert_cmpuint(RUN(&r, PADDB_MM), ==, 3);
    g_assert_cmpuint(RUN(&r, FXSAVE), ==, 3);
    engine_free(r.e);
}

static void test_simd_exception_vector(void)
{
    Run r;
    uint32_t mxcsr = 0x1f80 & ~(1u << 9); /* ZM clear */
    const float one = 1.0f;

    run_init(&r);
    memcpy(r.in.in.fx + 24, &mxcsr, 4);
    memcpy(r.in.in.fx + 160, &one, 4);
    g_assert_cmpuint(RUN(&r, DIVSS), ==, 19);
    g_assert_cmpint(memcmp(r.out.s.fx + 160, &one, 4), ==, 0);
    r.c->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
    g_assert_cmpuint(RUN(&r, DIVSS), ==, 6);
    engine_free(r.e);
}

static void test_pending_x87_exception(void)
{
    Run r;
    uint16_t fcw = 0x37b, fsw = 0x8084; /* ZE unmasked and pending */

    run_init(&r);
    memcpy(r.in.in.fx, &fcw, 2);
    memcpy(r.in.in.fx + 2, &fsw, 2);
    g_assert_cmpuint(RUN(&r, FLD1), ==, 16);
    g_assert_cmpuint(RUN(&r, FWAIT), ==, 16);
    g_assert_cmpuint(RUN(&r, PADDB_MM), ==, 16);
    /* Ignored without CR0.NE: it stays pending, the instruction works. */
    r.c->cr0 &= ~(uint64_t)CR0_NE;
    g_assert_cmpuint(RUN(&r, FLD1), ==, 3);
    g_assert_cmphex(r.out.s.fx[2], ==, 0x84);
    g_assert_cmphex(r.out.s.fx[32 + 9], ==, 0x3f);
    engine_free(r.e);
}

static void test_sse4_needs_the_model(void)
{
    Run r;

    run_init(&r);
    g_assert_cmpuint(RUN(&r, "\x66\x0f\x38\x00\xc1"), ==, 3); /* PSHUFB */
    ((X86CpuModel *)(uintptr_t)r.c->model)->f1_ecx = 0x2001;
    g_assert_cmpuint(RUN(&r, "\x66\x0f\x38\x00\xc1"), ==, 6);
    g_assert_cmpuint(RUN(&r, "\x66\x0f\x38\x40\xc1"), ==, 6);     /* PMULLD */
    g_assert_cmpuint(RUN(&r, "\x66\x0f\x3a\x62\xc1\x00"), ==, 6); /* PCMPISTRM */
    g_assert_cmpuint(RUN(&r, "\xf2\x0f\x38\xf1\xc1"), ==, 6);     /* CRC32 */
    engine_free(r.e);
}

static void test_port_needs_iopl(void)
{
    Run r;

    run_init(&r);
    g_assert_cmpuint(RUN(&r, "\xe4\x60"), ==, 13);
    g_assert_cmpuint(engine_io(r.e)->ins, ==, 0);
    r.in.in.rflags |= 0x3000;
    r.in.in.r[R_AX] = 0xaaaaaaaaaaaaaaaaull;
    g_assert_cmpuint(RUN(&r, "\xe4\x60"), ==, 3);
    g_assert_cmphex(r.out.s.r[R_AX], ==, 0xaaaaaaaaaaaaaa78ull);
    g_assert_cmpuint(RUN(&r, "\xe5\x60"), ==, 3);
    g_assert_cmphex(r.out.s.r[R_AX], ==, 0x12345678);
    r.in.in.r[R_DX] = 0x1cff8;
    g_assert_cmpuint(RUN(&r, "\x66\xef"), ==, 3);
    g_assert_cmphex(engine_io(r.e)->last_port, ==, 0xcff8);
    g_assert_cmphex(engine_io(r.e)->last_out, ==, 0xaaaa);
    engine_free(r.e);
}

static void test_port_bitmap(void)
{
    Run r;
    uint8_t *tss;

    run_init(&r);
    tss = engine_tss(r.e);
    memset(tss + 0x68, 0xff, 0x21);
    tss[0x68 + 0x60 / 8] = 0xfc; /* ports 60h and 61h */
    r.c->tr.limit = 0x88;
    r.in.in.r[R_DX] = 0x61;
    g_assert_cmpuint(RUN(&r, "\xe4\x60"), ==, 3);
    g_assert_cmpuint(RUN(&r, "\xec"), ==, 3);
    g_assert_cmpuint(RUN(&r, "\x66\xe5\x60"), ==, 3);
    g_assert_cmpuint(RUN(&r, "\x66\xed"), ==, 13); /* 62h as well */
    g_assert_cmpuint(RUN(&r, "\xe5\x60"), ==, 13);
    r.in.in.r[R_DX] = 0x100; /* beyond the limit */
    g_assert_cmpuint(RUN(&r, "\xec"), ==, 13);
    r.c->tr.attr = 0x83; /* a 16-bit TSS has no bitmap */
    g_assert_cmpuint(RUN(&r, "\xe4\x60"), ==, 13);
    engine_free(r.e);
}

static void test_ins_faults_before_the_port_is_read(void)
{
    Run r;

    run_init(&r);
    r.in.in.rflags |= 0x3000;
    r.in.in.r[R_CX] = 6;
    r.in.in.r[R_DI] = FUZZ_AREA + 0x2ff8;
    g_assert_cmpuint(RUN(&r, "\xf3\x6d"), ==, 14);
    g_assert_cmpuint(engine_io(r.e)->ins, ==, 2);
    g_assert_cmpuint(r.out.s.r[R_CX], ==, 4);
    g_assert_cmphex(r.out.s.r[R_DI], ==, FUZZ_AREA + 0x3000);
    g_assert_cmphex(r.out.s.rip, ==, r.in.code);
    engine_free(r.e);
}

static void test_rep_outs_is_interrupted_and_goes_on(void)
{
    Run r;

    run_init(&r);
    r.in.in.rflags |= 0x3000;
    r.in.in.r[R_CX] = 10;
    r.in.in.r[R_SI] = FUZZ_AREA + 0x1000;
    engine_io(r.e)->kick_at = 3;
    g_assert_cmpuint(RUN(&r, "\xf3\x6e"), ==, 3);
    g_assert_cmpuint(engine_io(r.e)->outs, ==, 10);
    g_assert_cmpuint(r.out.s.r[R_CX], ==, 0);
    g_assert_cmphex(r.out.s.r[R_SI], ==, FUZZ_AREA + 0x100a);
    engine_free(r.e);
}

/* The overlap makes every byte the first one's copy; the fast path must not turn it into a plain
 * copy. */
static void test_movs_overlap_replicates(void)
{
    Run r;
    uint8_t *m;

    run_init(&r);
    m = engine_area(r.e) + 0x1000;
    m[0] = 0x5a;
    r.in.in.r[R_CX] = 5000;
    r.in.in.r[R_SI] = FUZZ_AREA + 0x1000;
    r.in.in.r[R_DI] = FUZZ_AREA + 0x1001;
    g_assert_cmpuint(RUN(&r, "\xf3\xa4"), ==, 3);
    for (unsigned i = 0; i <= 5000; i++) {
        g_assert_cmphex(m[i], ==, 0x5a);
    }
    g_assert_cmphex(m[5001], ==, 0);
    engine_free(r.e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft/fp/task-switched", test_task_switched);
    g_test_add_func("/soft/fp/emulation", test_emulation);
    g_test_add_func("/soft/fp/osfxsr-clear", test_osfxsr_clear);
    g_test_add_func("/soft/fp/simd-exception-vector", test_simd_exception_vector);
    g_test_add_func("/soft/fp/pending-x87-exception", test_pending_x87_exception);
    g_test_add_func("/soft/fp/sse4-needs-the-model", test_sse4_needs_the_model);
    g_test_add_func("/soft/io/port-needs-iopl", test_port_needs_iopl);
    g_test_add_func("/soft/io/port-bitmap", test_port_bitmap);
    g_test_add_func(
        "/soft/io/ins-faults-before-the-port-is-read", test_ins_faults_before_the_port_is_read);
    g_test_add_func("/soft/string/rep-outs-is-interrupted-and-goes-on",
        test_rep_outs_is_interrupted_and_goes_on);
    g_test_add_func("/soft/string/movs-overlap-replicates", test_movs_overlap_replicates);
    return g_test_run();
}

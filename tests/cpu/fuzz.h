/*
 * The instruction fuzzer's shared types. A case is one instruction with a full register, flag, FP
 * and memory state; it runs once on the host CPU (fuzz-native.c) and once in the engine
 * (fuzz-engine.c), and the two results are compared.
 *
 * Linear layout, identical for both sides (the 16-bit segments and GS have their base at
 * FUZZ_AREA): +0x0000 hole  +0x1000 data  +0x2000 data  +0x3000 hole  +0x4000 read-only  +0x5000
 * stack/data  +0x6000 hole +0x8000 code  +0x9000 code  +0xa000 hole Every code byte around the
 * instruction is INT3, so each case ends in an exception on both sides.
 */
#pragma once

#include "encodings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_AREA  0x20000000u
#define FUZZ_PAGES 10u
#define FUZZ_SIZE  (FUZZ_PAGES * 4096u)
#define FUZZ_CODE  (FUZZ_AREA + 0x8000u)
enum { PAGE_HOLE, PAGE_RW, PAGE_RO, PAGE_CODE };

typedef enum FuzzMode { FUZZ_64, FUZZ_32, FUZZ_16, FUZZ_NMODES } FuzzMode;

typedef struct FuzzState {
    _Alignas(16) uint8_t fx[512];
    uint64_t r[16], rip, rflags;
} FuzzState;

typedef struct FuzzResult {
    FuzzState s;
    unsigned vector;
    uint32_t error;
    uint64_t cr2;
    uint16_t sel[6]; /* ES CS SS DS FS GS; only for encodings that load them */
} FuzzResult;

/* What happened on the host meanwhile, for a mismatch that does not come back. */
typedef struct NativeNote {
    int sig, code; /* the signal that ended the case */
    unsigned nsignals;
    uint64_t xstate_in, xstate_out, cycles;
    long switches, faults; /* of the thread, since the case before */
} NativeNote;

typedef struct FuzzPoke {
    uint32_t off; /* in the area */
    uint8_t n, bytes[64];
} FuzzPoke;

typedef struct FuzzCase {
    FuzzState in;
    const Encoding *enc;
    FuzzMode mode;
    uint64_t k;        /* number of the case of this encoding and mode */
    uint8_t bytes[32]; /* the instruction, and sometimes one that uses its flags */
    unsigned len;
    uint32_t code;   /* linear address of the instruction */
    uint64_t target; /* linear address of the memory operand, 0: none */
    unsigned opsize;
    unsigned imm; /* low 32 bits of the immediate */
    FuzzPoke pokes[6];
    unsigned npokes;
} FuzzCase;

/* What each page of the area is. */
unsigned fuzz_page_kind(unsigned page);

/* fuzz-gen.c. */
uint64_t fuzz_hash(uint64_t a, uint64_t b);
void fuzz_gen(FuzzCase *c, const Encoding *enc, FuzzMode mode, uint64_t seed, uint64_t k);

/*
 * fuzz-cover.c. Counts each case; at the end every encoding of the list at path must have min cases
 * in each mode where a row makes it. run makes n more cases of a row. False: some are short, they
 * are named.
 */
typedef void CoverRun(void *opaque, const Encoding *e, FuzzMode m, uint64_t n);
void cover_note(const FuzzCase *c, const FuzzResult *n);
bool cover_check(const char *path, uint64_t min, CoverRun *run, void *opaque);

/* fuzz-native.c. False: this host cannot run the mode; the reason is printed. */
bool native_init(void);
bool native_mode_ok(FuzzMode mode);
uint8_t *native_area(void);
uint8_t *native_code(
    void); /* writable alias of the code pages, which are read-only for the cases */
void native_run(const FuzzCase *c, FuzzResult *ret);
const FuzzCase *native_current(void);
const NativeNote *native_note(void);

/* fuzz-engine.c. */
typedef struct Engine Engine;
Engine *engine_new(void);
void engine_free(Engine *e);
uint8_t *engine_area(Engine *e);
uint8_t *engine_tss(Engine *e); /* 4096 bytes; the limit is the vCPU's */
struct SoftCpu *engine_cpu(Engine *e);
/* Port accesses so far; kick_at: with that access the vCPU is asked to leave (0: never). IN returns
 * 0x12345678. */
typedef struct EngineIo {
    unsigned ins, outs, kick_at;
    uint32_t last_out;
    uint16_t last_port;
} EngineIo;
EngineIo *engine_io(Engine *e);
/* False: the engine did not end in an exception; what it returned is in ret->vector. */
bool engine_run(Engine *e, const FuzzCase *c, FuzzResult *ret);

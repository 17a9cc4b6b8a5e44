/*
 * The gdb remote serial protocol (gdb manual, appendix E) for a machine of x86 CPUs, all-stop, one
 * thread per vCPU. The stub knows neither the transport nor the accelerator: bytes come in through
 * gdb_input() and leave through GdbTransport; what happens to the machine is GdbTarget's.
 * Everything runs in one thread (the main loop); nothing blocks.
 */
#pragma once

#include "accel/x86-state.h"

#include <stddef.h>

typedef struct GdbStub GdbStub;

typedef enum GdbRun { GDB_RUN_HOLD, GDB_RUN_CONT, GDB_RUN_STEP } GdbRun;
/* Z packet numbers. */
typedef enum GdbBreak {
    GDB_BREAK_SW,
    GDB_BREAK_HW,
    GDB_WATCH_WRITE,
    GDB_WATCH_READ,
    GDB_WATCH_ACCESS
} GdbBreak;
typedef enum GdbReason {
    GDB_STOP_BREAK,     /* a breakpoint or a finished step: SIGTRAP */
    GDB_STOP_INTERRUPT, /* asked for through stop(), or the machine paused: SIGINT */
    GDB_STOP_WATCH,     /* a watchpoint at addr: SIGTRAP */
    GDB_STOP_EXIT,      /* the machine is gone */
} GdbReason;

/* What accel/ does for the stub. All but ncpus, resume, stop, detach and kill are called only while
 * the machine stands. */
typedef struct GdbTarget {
    unsigned (*ncpus)(void *opaque); /* at least 1 */
    void (*get_state)(void *opaque, unsigned cpu, X86State *ret);
    void (*set_state)(void *opaque, unsigned cpu, const X86State *s);
    /* Virtual memory as the vCPU maps it. False: not (all of it) mapped; nothing is promised about
     * the buffer then. */
    bool (*read)(void *opaque, unsigned cpu, uint64_t la, void *buf, size_t len);
    bool (*write)(void *opaque, unsigned cpu, uint64_t la, const void *buf, size_t len);
    /* insert or remove, for all vCPUs. Returns 0, -ENOTSUP (this kind is not offered), -ENOSPC,
     * -ENOENT. */
    int (*breakpoint)(void *opaque, GdbBreak type, uint64_t addr, unsigned len, bool insert);
    /* ncpus entries; the target calls gdb_stopped() later */
    void (*resume)(void *opaque, const GdbRun *run);
    /* please stop; the target calls gdb_stopped(), at once or later */
    void (*stop)(void *opaque);
    void (*detach)(void *opaque); /* gdb left: remove all breakpoints and run */
    void (*kill)(void *opaque);   /* quit the machine */
} GdbTarget;

typedef struct GdbTransport {
    void (*send)(void *opaque, const void *buf, size_t len); /* queues all of it */
    void *opaque;
} GdbTransport;

/* Borrows target and what opaque points to until gdb_free(). */
GdbStub *gdb_new(const GdbTarget *target, void *target_opaque, GdbTransport transport);
void gdb_free(GdbStub *g);
/* gdb connected: the machine is asked to stop. Disconnected without saying so: like a detach. */
void gdb_open(GdbStub *g);
void gdb_close(GdbStub *g);
void gdb_input(GdbStub *g, const void *buf, size_t len);
/* The whole machine stands now because of this vCPU. addr: for GDB_STOP_WATCH. */
void gdb_stopped(GdbStub *g, unsigned cpu, GdbReason reason, uint64_t addr);
bool gdb_attached(const GdbStub *g);

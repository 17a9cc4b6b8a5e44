/*
 * Clocks and timers. CLOCK_VIRTUAL stands still while the VM is stopped and, under qtest, moves
 * only by command; CLOCK_REALTIME is monotonic host time; CLOCK_HOST is wall-clock time (RTC). All
 * in nanoseconds. The clocks are the process's: the one mutable global of this folder.
 */
#pragma once

#include "util/loop.h"

typedef enum ClockKind {
    CLOCK_KIND_VIRTUAL,
    CLOCK_KIND_REALTIME,
    CLOCK_KIND_HOST,
    CLOCK_KINDS
} ClockKind;

int64_t clock_ns(ClockKind k);  /* any thread */
void clock_virtual_start(void); /* VM runs; main */
void clock_virtual_stop(void);
bool clock_virtual_running(void);
/* Guest TSC ticks: the virtual clock counted at the host TSC's rate, so it stands while the VM is
 * stopped. Any thread. */
uint64_t clock_tsc(void);
uint64_t clock_tsc_hz(void); /* measured once */
/* qtest: the virtual clock starts at 0 and moves only here, firing the timers it passes, one
 * deadline at a time. */
void clock_virtual_use_qtest(void);
bool clock_is_qtest(void);
int64_t clock_virtual_deadline(void); /* ns of the next virtual timer of the main loop, -1: none */
void clock_virtual_advance_to(int64_t ns);

typedef struct Timer Timer;
typedef void TimerFn(void *opaque);
struct Timer {
    Loop *loop;
    TimerFn *fn;
    void *opaque;
    int64_t expire; /* -1: not armed */
    ClockKind kind;
    unsigned heap_index;
};
void timer_init(Timer *t, Loop *l, ClockKind k, TimerFn *fn, void *opaque);
/* own loop (main: token). Fires in the loop's thread with the token held */
void timer_mod(Timer *t, int64_t expire_ns);
void timer_del(Timer *t);
bool timer_pending(const Timer *t);

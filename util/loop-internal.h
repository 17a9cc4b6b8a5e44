/* What loop.c and timer.c share. */
#pragma once

#include "util/timer.h"

#include <stdatomic.h>

typedef struct TimerHeap {
    Timer **v; /* v[0] expires first */
    unsigned n, cap;
} TimerHeap;

typedef struct Post Post;

struct Loop {
    char *name;
    int epoll_fd, wake_fd;
    bool is_main;
    _Atomic(GThread *) owner; /* the thread in loop_run(); NULL: none */
    atomic_bool quit;
    GMutex lock;
    Post *posts, **posts_tail; /* GUARDED_BY(lock) */
    /* The rest belongs to the loop's thread (main: to the token). */
    unsigned depth; /* turns being run, nested ones and a vCPU's included */
    LoopFd *always; /* descriptors that epoll refuses: regular files are always ready */
    LoopFd *dead;   /* deleted while a turn was running */
    LoopIdle *idle, **idle_tail;
    LoopHook *hooks;
    TimerHeap heap[CLOCK_KINDS];
    int64_t planned[CLOCK_KINDS]; /* the expiry the sleeper took into account */
    Loop *next;                   /* in the list of all loops */
};

/* Ends the loop's sleep; any thread. */
void loop_kick(Loop *l);
/* Every loop there is: clocks started, stopped or stepped. */
void loop_kick_all(void);
/* Nanoseconds until the next timer, -1: none. Remembers what it saw in l->planned. */
int64_t timers_timeout(Loop *l);
/* Fires what is due, at most as many as were armed at entry; true if any fired. */
bool timers_run(Loop *l);
void timers_fini(Loop *l);

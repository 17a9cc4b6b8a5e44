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
    unsigned asleep;           /* GUARDED_BY(lock): threads that a post has to wake */
    _Atomic unsigned kickers;  /* who are about to wake it */
    atomic_bool posted;        /* a hint that there are posts, for whoever polls */
    _Atomic int64_t poll_max, poll_grow, poll_shrink;
    /* The rest belongs to the loop's thread (main: to the token). */
    unsigned depth; /* turns being run, nested ones and a vCPU's included */
    LoopFd *always; /* descriptors that epoll refuses: regular files are always ready */
    LoopFd *dead;   /* deleted while a turn was running */
    LoopIdle *idle, **idle_tail;
    LoopHook *hooks;
    Post *taken; /* posts whose turn it is; a nested turn goes on with them */
    LoopPoll *polls;
    bool polling;    /* begin() was called, end() not yet */
    int64_t poll_ns; /* how long the next one lasts */
    int64_t wake_ns; /* what a wake-up costs, as far as is known; 0: not yet */
    TimerHeap heap[CLOCK_KINDS];
    int64_t planned[CLOCK_KINDS]; /* the expiry the sleeper took into account */
    struct Uring *uring;          /* made by the first who asks */
    bool no_uring;                /* the host refused it */
    void (*fini)(Loop *l);        /* frees it */
    Loop *next;                   /* in the list of all loops */
};

/* Each call that is queued now, once; true if there were any. */
bool loop_run_idle(Loop *l);
/* Something woke the loop: when it is going to poll behind that, nobody has to ring meanwhile. */
void loop_poll_begin(Loop *l);
/* Asks those that can be asked, for at most timeout ns (-1: no limit of the caller's); true: there
 * was work, or is a post. False: polling is over and the loop may sleep. */
bool loop_poll_instead(Loop *l, int64_t timeout);
/* The loop slept since the clock showed `since`: what it learns from that. */
void loop_poll_learn(Loop *l, int64_t since, bool woken);
/* Ends the loop's sleep; any thread. */
void loop_kick(Loop *l);
/* Every loop there is: clocks started, stopped or stepped. */
void loop_kick_all(void);
/* Nanoseconds until the next timer, -1: none. Remembers what it saw in l->planned. */
int64_t timers_timeout(Loop *l);
/* Fires what is due, at most as many as were armed at entry; true if any fired. */
bool timers_run(Loop *l);
void timers_fini(Loop *l);

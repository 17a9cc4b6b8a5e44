/*
 * One epoll loop per thread: file descriptors, timers, posted calls. Each object belongs to one
 * loop; threads meet by posting and by rendezvous. The main loop's token is the VM lock: whoever
 * holds it may act as the main loop.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

typedef struct Loop Loop;
typedef struct LoopFd LoopFd;
typedef void LoopFn(void *opaque);
typedef void LoopFdFn(void *opaque, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */

Loop *loop_new(const char *name);
void loop_free(Loop *l);
const char *loop_name(const Loop *l);
/* the loop this thread runs (or whose token it holds), else NULL */
Loop *loop_current(void);
/* The process's main loop, made by the first call on the main thread before any other thread
 * starts. */
Loop *loop_main(void);

/*
 * Own thread (main: token held). fn runs in the loop. Returned handle is owned by the caller. One
 * watch per descriptor and loop. Descriptors epoll refuses (regular files, /dev/null) count as
 * always ready.
 */
LoopFd *loop_fd_add(Loop *l, int fd, uint32_t events, LoopFdFn *fn, void *opaque);
void loop_fd_set(LoopFd *f, uint32_t events); /* 0: keep, but do not watch */
/* fn is not called any more, not even in this turn; the fd stays open. NULL is fine */
void loop_fd_del(LoopFd *f);

void loop_post(Loop *l, LoopFn *fn, void *opaque); /* any thread; runs once, in order */
/* post and wait; plain call when already there or holding the token */
void loop_call(Loop *l, LoopFn *fn, void *opaque);
/* A call that runs before the loop sleeps next and may be scheduled again; for batching. Own
 * thread. */
typedef struct LoopIdle {
    LoopFn *fn;
    void *opaque;
    bool queued;
    struct LoopIdle *next;
} LoopIdle;
void loop_idle(Loop *l, LoopIdle *i);
void loop_idle_cancel(Loop *l, LoopIdle *i); /* before i's memory goes */

/* prepare: before sleeping, may lower *timeout_ns (-1: none). dispatch: after waking. For libslirp
 * and pollers. */
typedef struct LoopHook {
    void (*prepare)(void *opaque, int64_t *timeout_ns);
    void (*dispatch)(void *opaque);
    void *opaque;
    struct LoopHook *next;
} LoopHook;
void loop_hook_add(Loop *l, LoopHook *h); /* h stays the caller's */
void loop_hook_del(Loop *l, LoopHook *h);

/*
 * What a loop may ask instead of sleeping, when polling is on: a ring in memory, a completion
 * queue. Polling starts with begin() (the other side need not ring any more) and ends with end()
 * before the loop really sleeps. Own thread.
 */
typedef struct LoopPoll {
    bool (*poll)(void *opaque);  /* a cheap look, and the work if there is some; true: there was */
    void (*begin)(void *opaque); /* NULL: nothing to prepare */
    bool (*end)(void *opaque);   /* true: work came meanwhile, no sleep yet; NULL: none can */
    void *opaque;
    struct LoopPoll *next;
} LoopPoll;
void loop_poll_add(Loop *l, LoopPoll *p); /* p stays the caller's */
void loop_poll_del(Loop *l, LoopPoll *p);
/* How long it may poll in one go: up to max_ns (0: not at all, the default), grown by the factor
 * grow (0: 2) while events come sooner, divided by shrink (0: down to nothing) when they do not.
 * Any thread. */
void loop_poll_tune(Loop *l, int64_t max_ns, int64_t grow, int64_t shrink);

/* until loop_quit; the main loop gives its token away while it sleeps */
void loop_run(Loop *l);
void loop_quit(Loop *l);             /* any thread */
bool loop_turn(Loop *l, bool block); /* one turn; true if anything ran. For tests and drains */
void loop_assert(const Loop *l);     /* aborts unless this thread may act for l */

/*
 * The VM lock: the main loop's token. Recursive taking is a programming error; vm_lock_held()
 * tells. Taking it is no quiescent point: what a reader loaded before stays valid (frees are
 * deferred, so a waiting reader delays them and harms nobody).
 */
void vm_lock(void);
void vm_unlock(void);
bool vm_lock_held(void);
bool vm_lock_wanted(void); /* somebody waits for it: a hint, for who holds it and polls */
/* Waits while the VM lock is released (pause of vCPUs); a quiescent point. Signal cond with the VM
 * lock held. May wake early. */
void vm_cond_wait(GCond *cond);

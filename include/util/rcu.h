/* Quiescent-state RCU over liburcu: read-side threads register; readers hold what they loaded until
 * they go offline. */
#pragma once

void rcu_thread_register(void); /* main, vCPUs, iothreads. Pool workers never */
void rcu_thread_unregister(void);
void rcu_offline(void); /* around everything that can block */
void rcu_online(void);
/* a point where nothing loaded before is used any more: each loop turn, each VM exit */
void rcu_quiescent(void);
/* runs when all threads have passed a quiescent point; never blocks */
void rcu_defer(void (*fn)(void *), void *ptr);
/* Waits until everything deferred so far has run. For the end of the process and tests: other
 * threads must be gone or offline. */
void rcu_drain(void);

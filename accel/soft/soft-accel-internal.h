/* What the engine's glue files share: the accelerator and one vCPU's link between accel.h and
 * soft.h. */
#pragma once

#include "accel/accel.h"
#include "soft.h"

typedef struct SoftAccel {
    Accel a;
    int thread_mode; /* SOFT_THREAD_* */
    uint64_t tb_size;
    bool one_insn;
    MapListener listener, io_listener;
    SoftCpu **cpus; /* by index, for soft_code_sync() */
    unsigned ncpus;
    /* Counts changes of where RAM lies; a vCPU that has flushed for number n uses no older pointer.
     */
    _Atomic uint64_t map_gen;
    GArray
        *retired; /* VM lock: RAM that left the map while vCPUs may still hold pointers into it */
    /* thread=single: who runs, first come, first served. */
    GMutex turn_lock;
    GCond turn_cond;
    uint64_t next_turn, turn; /* GUARDED_BY(turn_lock) */
} SoftAccel;

typedef struct SoftVcpu {
    VCpu *cpu;
    SoftAccel *sa;
    SoftCpu *c;
    unsigned hint;          /* the range of the flat map found last */
    unsigned io_hint;       /* the same for device accesses */
    uint64_t tlb_gen;       /* map_gen its TLB is good for; own thread */
    _Atomic uint64_t acked; /* map_gen for which it holds no older pointer at all */
    _Atomic bool a20_off;
    bool stopped; /* shut down or broken: waits for a reset; VM lock or own thread while running */
    uint8_t cr8;  /* without a LAPIC */
} SoftVcpu;

extern const SoftBus soft_bus;
/* RAM at another place in the map: everything a vCPU has derived from it is stale. VM lock. */
void soft_map_changed(MapListener *l, const FlatMap *old, const FlatMap *now);
void soft_ports_changed(MapListener *l, const FlatMap *old, const FlatMap *now);
/* Own thread, outside soft_run(): drops what is stale and says so. */
void soft_map_ack(SoftVcpu *v);
void soft_retired_init(SoftAccel *sa);
void soft_retired_free(SoftAccel *sa);
/* RamCodeHook: somebody other than a vCPU wrote where code may be. */
void soft_code_hook(void *opaque, RamBlock *b, uint64_t off, uint64_t len);

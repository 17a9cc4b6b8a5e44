/* A run state and an accelerator for unit tests. */
#pragma once

#include "accel/accel.h"
#include "system/runstate.h"

typedef struct FakeAccel {
    unsigned n;
    Doorbell bell[64];
} FakeAccel;
extern FakeAccel fake_accel;
RunState *fake_run(void);                  /* running */
void fake_run_set(bool running);           /* tells the listener */
bool fake_ring(uint64_t at, uint64_t val); /* a vCPU's store; false: no doorbell lies there */

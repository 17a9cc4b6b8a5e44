/* The CPU engine as an accelerator. */
#pragma once

#include "accel/accel.h"

extern const AccelClass soft_accel_class;
/* The engine behind a vCPU of this accelerator, for its own glue (gdb). */
struct SoftCpu;
struct SoftCpu *soft_accel_cpu(VCpu *cpu);

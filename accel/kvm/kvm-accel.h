/* The host's KVM as an accelerator. */
#pragma once

#include "accel/accel.h"

extern const AccelClass kvm_accel_class;

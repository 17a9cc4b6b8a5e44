/* "isa-debug-exit": a write of v to its ports ends the process with status (v << 1) | 1. */
#pragma once

#include "hw/core/dev.h"
#include "hw/misc/isa.h"

extern const ObjClass isa_debug_exit_class; /* iobase (0x501), iosize (2) */

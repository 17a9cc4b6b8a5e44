/* "pvpanic": a guest that crashed says so through one port (0x505). */
#pragma once

#include "hw/core/dev.h"
#include "hw/misc/isa.h"

extern const ObjClass pvpanic_class; /* ioport, events */

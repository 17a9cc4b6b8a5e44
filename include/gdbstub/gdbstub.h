/* gdb remote protocol. Filled in by gdbstub/; see gdbstub.c. */
#pragma once

/* -accel qtest: no CPU runs, the virtual clock moves by command. */
#pragma once

#include "accel/accel.h"

extern const AccelClass qtest_accel_class;

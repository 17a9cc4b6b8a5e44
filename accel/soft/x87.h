/* What x87.c and x87-env.c share. */
#pragma once

#include "fpsimd.h"

/* x87-env.c: FNSTENV, FLDENV, FNSAVE, FRSTOR. */
void x87_stenv(SoftCpu *c, const Insn *in);
void x87_ldenv(SoftCpu *c, const Insn *in);
void x87_save(SoftCpu *c, const Insn *in);
void x87_rstor(SoftCpu *c, const Insn *in);

/* What the string instructions and INS/OUTS share. */
#pragma once

#include "insn.h"

/* A register by the instruction's address size: read zero-extended, written as that size is (4
 * clears the upper half). */
uint64_t string_reg(const SoftCpu *c, const Insn *in, unsigned reg);
void string_set_reg(SoftCpu *c, const Insn *in, unsigned reg, uint64_t v);
/* Linear address of seg:reg with the segment checks for one element; may raise. */
uint64_t string_la(SoftCpu *c, const Insn *in, unsigned reg, unsigned seg, bool write);

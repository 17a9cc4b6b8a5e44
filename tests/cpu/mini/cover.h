/* Which encodings a mini-kernel executed to their end, and which of the list it should have. */
#pragma once

#include "accel/soft/soft.h"

typedef struct MiniCover MiniCover;

MiniCover *cover_new(void);
void cover_free(MiniCover *cover);
/* Before and after a single step. skip: something other than the instruction at RIP may have run.
 */
void cover_before(MiniCover *cover, SoftCpu *c);
void cover_after(MiniCover *cover, const SoftCpu *c, bool skip);
/* The lines "mini-NAME/MODE: KEY, ..." of the list at path. False: some are missing, they are
 * named. */
bool cover_check(const MiniCover *cover, const char *path, const char *name);

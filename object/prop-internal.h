/* Between prop.c, prop-types.c and prop-help.c. */
#pragma once

#include "object/prop.h"

/* Writes a row's default into its field (zeroed before). */
void prop_type_default(const PropSpec *spec, void *field);
/* An enum's number by name; -1: none. */
int prop_enum_find(const PropType *type, const char *name);

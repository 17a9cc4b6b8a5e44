/* -object secret: bytes by name. */
#pragma once

#include "object/obj.h"

extern const ObjClass secret_class;
/* The bytes of the secret that -object or object-add made under this id; the caller's. root: "/".
 * NULL: "No secret with id 'x'". */
GBytes *secret_get(Obj *root, const char *id, GError **err);

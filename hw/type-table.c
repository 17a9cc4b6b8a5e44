/* Every class there is, one line each: the only list that names devices, machines and user objects. */
#include "hw/core/machine.h"
#include "object/obj.h"

/* clang-format off */
extern const ObjClass container_class;

const ObjClass *const obj_classes[] = {
    &container_class,
    NULL,
};

const ObjAlias obj_aliases[] = {
    { NULL, NULL },
};

const MachineClass *const machine_classes[] = {
    NULL,
};
/* clang-format on */

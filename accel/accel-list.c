/* The accelerators there are. Apart from accel.c so that tests of one link without the others. */
#include "accel/accel.h"
#include "accel/kvm/kvm-accel.h"
#include "accel/qtest/qtest-accel.h"
#include "accel/soft/soft-accel.h"

#include <string.h>

const AccelClass *const accel_classes[] = {
    &soft_accel_class,
    &kvm_accel_class,
    &qtest_accel_class,
    NULL,
};

const AccelClass *accel_find(const char *name)
{
    for (const AccelClass *const *c = accel_classes; *c; c++) {
        if (!strcmp((*c)->name, name)) {
            return *c;
        }
    }
    return NULL;
}

/* The few names of GLib that tests/lib/vdriver.c and vring.c use, for a guest without a libc. */
#pragma once

#include <stddef.h>
#include <stdint.h>

_Noreturn void metal_fail(const char *file, int line, const char *what);
void *metal_scratch(size_t len); /* zeroed; freed in reverse order */
void metal_scratch_free(void *pp);

#define g_autofree                 __attribute__((cleanup(metal_scratch_free)))
#define g_malloc0                  metal_scratch
#define g_assert(e)                ((e) ? (void)0 : metal_fail(__FILE__, __LINE__, #e))
#define g_assert_true              g_assert
#define g_assert_cmpuint(a, op, b) g_assert((a)op(b))

/* Saved state: rows of fields; our own versioned, self-describing stream. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct StateField {
    const char *name;
    size_t offset;
    uint32_t size;  /* bytes of one element */
    uint32_t count; /* elements */
} StateField;

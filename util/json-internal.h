/* The layout of a JSON value, for json*.c only. */
#pragma once

#include "util/json.h"

struct Json {
    uint32_t refs; /* atomic */
    uint8_t type;
    bool text;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        char *str;
        struct {
            Json **vals;
            char **keys; /* objects only */
            unsigned len, cap;
            GHashTable *index; /* key → position + 1; NULL while small */
        };
    };
};

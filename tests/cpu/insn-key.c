/* Names of encodings; see insn-key.h. */
#include "insn-key.h"

#include <stdlib.h>
#include <string.h>

InsnKey insn_key(const uint8_t *bytes, bool code64, const uint8_t **ret_modrm)
{
    const uint8_t *p = bytes;
    InsnKey k = { 0 };

    for (;; p++) {
        if (*p == 0x66) {
            k.pfx |= KEY_66;
        } else if (*p == 0xf2 || *p == 0xf3) {
            k.pfx = (k.pfx & ~(unsigned)(KEY_F2 | KEY_F3)) | (*p == 0xf2 ? KEY_F2 : KEY_F3);
        } else if (*p == 0xf0) {
            k.pfx |= KEY_LOCK;
        } else if (*p != 0x67 && *p != 0x26 && *p != 0x2e && *p != 0x36 && *p != 0x3e &&
                   *p != 0x64 && *p != 0x65) {
            break;
        }
    }
    if (code64 && (*p & 0xf0) == 0x40) {
        k.pfx |= *p++ & 8 ? KEY_W : 0u;
    }
    if (*p != 0x0f) {
        k.op = *p;
    } else if (*++p == 0x38 || *p == 0x3a) {
        k.op = *p == 0x38 ? 0x200u : 0x300u;
        k.op |= *++p;
    } else {
        k.op = 0x100u | *p;
    }
    *ret_modrm = p + 1;
    return k;
}

unsigned insn_key_exts(uint8_t modrm, unsigned ret[2])
{
    ret[0] = 1 + (modrm >> 3 & 7u);
    ret[1] = 9u + (modrm & 63u);
    return modrm >= 0xc0 ? 2 : 1;
}

static unsigned prefix_bit(const char *t)
{
    static const char *const names[] = { "66", "F2", "F3", "L", "W" };

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(t, names[i])) {
            return 1u << i;
        }
    }
    return 0;
}

bool insn_key_parse(char *text, InsnKey *ret)
{
    char *slash = strchr(text, '/'), *save, *t, *end;

    *ret = (InsnKey){ 0 };
    if (slash) {
        *slash = 0;
        ret->ext = (unsigned)strtoul(slash + 1, &end, 16);
        ret->ext = ret->ext < 8 ? ret->ext + 1 : ret->ext - 0xc0 + 9;
        if (*end || ret->ext >= KEY_NEXT) {
            return false;
        }
    }
    for (t = strtok_r(text, " ", &save); t && save && *save; t = strtok_r(NULL, " ", &save)) {
        unsigned bit = prefix_bit(t);
        ret->pfx |= bit;
        if (!bit) {
            return false;
        }
    }
    if (!t) {
        return false;
    }
    unsigned long v = strtoul(t, &end, 16);
    ret->op = strlen(t) == 2            ? (unsigned)v
              : strlen(t) == 4          ? 0x100u | (v & 0xff)
              : (v >> 8 & 0xff) == 0x38 ? 0x200u | (v & 0xff)
                                        : 0x300u | (v & 0xff);
    return *end == 0;
}

/*
 * How the coverage checks name an encoding: prefixes of meaning, opcode, and where the opcode is a
 * group ModRM.reg or the whole ModRM byte. boot-encodings.txt is written in these names.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { KEY_66 = 1, KEY_F2 = 2, KEY_F3 = 4, KEY_LOCK = 8, KEY_W = 16, KEY_NPFX = 32 };
enum { KEY_NOPS = 0x400, KEY_NEXT = 1 + 8 + 64 };

typedef struct InsnKey {
    unsigned pfx; /* KEY_*; KEY_W is REX.W */
    unsigned op;  /* 0x1xx: 0F xx, 0x2xx: 0F 38 xx, 0x3xx: 0F 3A xx */
    unsigned ext; /* 0: any, 1..8: ModRM.reg + 1, 9..: the byte from C0 on */
} InsnKey;

/* The key of an instruction, ext 0; *ret_modrm: where its ModRM byte would be. */
InsnKey insn_key(const uint8_t *bytes, bool code64, const uint8_t **ret_modrm);
/* The values of ext a ModRM byte stands for besides 0; returns how many, at most 2. */
unsigned insn_key_exts(uint8_t modrm, unsigned ret[2]);
/* "66 F3 A5", "L 0FBA/5", "W CB", "DB/E2". Spoils text. */
bool insn_key_parse(char *text, InsnKey *ret);

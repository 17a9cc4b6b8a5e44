/*
 * A small assembler for ACPI machine language (ACPI 6.5, 20.2) and its resource descriptors (6.4).
 *
 * AML is prefix notation, so the text is a sequence of words in encoding order:
 *   "method PCEJ 2 { acquire BLCK 0xffff store arg0 BNUM store shl 1 arg1 null B0EJ release BLCK
 * return 0 }" Words: operators (the table in aml.c), arg0-6, local0-7, null (no target), integers,
 * 'strings', @PNP0303 (EISA identifiers), anything else is a name path. scope, device, method, if,
 * else, while, package, processor and field are closed by "}"; "{" is for the eye. In a field list,
 * NAME:8 is a field of 8 bits and :8 leaves 8 bits out.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { AML_DEPTH_MAX = 24 };

typedef struct Aml {
    GByteArray *code;
    struct {
        unsigned at;
        bool field;
    } open[AML_DEPTH_MAX]; /* where the package length goes */
    unsigned depth;
} Aml;

void aml_init(Aml *a);
void aml_fini(Aml *a); /* every block must be closed */
/* a word it cannot encode is our bug: asserts */
void aml_asm(Aml *a, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void aml_int(Aml *a, uint64_t v);
void aml_str(Aml *a, const char *s);
void aml_buffer(Aml *a, const void *data, size_t len); /* Buffer(len) { data } */

/* Resource templates: begin, descriptors, end (writes the buffer with its end tag). */
typedef struct AmlRes {
    GByteArray *b;
} AmlRes;
void aml_res_begin(AmlRes *r);
void aml_res_end(AmlRes *r, Aml *a);
void aml_res_io(AmlRes *r, uint16_t base, uint8_t align, uint8_t len);
void aml_res_irq(AmlRes *r, unsigned irq); /* edge, active high, exclusive */
void aml_res_mem32(AmlRes *r, bool writable, uint32_t base, uint32_t len);
void aml_res_interrupt(AmlRes *r, const uint32_t *gsi, unsigned n); /* level, active high, shared */
void aml_res_bus(AmlRes *r, uint16_t first, uint16_t last);
void aml_res_word_io(AmlRes *r, uint16_t first, uint16_t last);
void aml_res_dword_mem(AmlRes *r, bool cacheable, uint32_t first, uint32_t last);
void aml_res_qword_mem(AmlRes *r, bool cacheable, uint64_t first, uint64_t last);

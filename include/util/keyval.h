/* "a=b,c.d=e,flag,noflag" text of -device, -netdev … into a Json object whose leaves are
 * json_text(). ",," is a comma. */
#pragma once

#include "util/json.h"

/*
 * implied: key for a first value without '=' ("driver"), or NULL. dotted: "a.b=c" makes nested
 * objects (lists from numeric keys), as -blockdev; otherwise keys stay flat, as -device. Flags: "x"
 * is x=on, "nox" is x=off (QEMU's short form). *ret_help (may be NULL): "help" or "?" stood there.
 * An option text that begins with '{' is JSON: use opts_parse().
 */
Json *keyval_parse(
    const char *text, const char *implied, bool dotted, bool *ret_help, GError **err);
/* JSON when text begins with '{', else keyval. */
Json *opts_parse(const char *text, const char *implied, bool dotted, bool *ret_help, GError **err);
/* Flat keys with dots, as -drive has them, made into a tree as above. A new one. */
Json *keyval_nest(const Json *flat, GError **err);
/* "512M", "1.5G", "0x10": QEMU's sizes; default unit multiplies bare numbers. False: not a size or
 * overflow. */
bool parse_size(const char *text, uint64_t default_unit, uint64_t *ret);
bool parse_uint(const char *text, uint64_t max, uint64_t *ret); /* base 0, no sign, no junk */
bool parse_int(const char *text, int64_t *ret);
/* on/off, yes/no, true/false, y/n */
bool parse_bool(const char *text, bool *ret);
/* Ids of devices, objects, back ends: letters, digits, '-', '.', '_', beginning with a letter.
 * False: QEMU's error with its hint. */
bool id_check(const char *id, GError **err);

/*
 * The mini-kernels' coverage: the kernel runs one instruction at a time; those that end without an
 * exception count, by encoding and code size. boot-encodings.txt says which of them a kernel is
 * there for.
 */
#include "cover.h"

#include "../insn-key.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct MiniCover {
    GHashTable *seen;
    uint64_t icount;
    unsigned nkeys, keys[3];
};

static unsigned key_word(unsigned mode, InsnKey k)
{
    return (((mode * KEY_NPFX) + k.pfx) * KEY_NOPS + k.op) * KEY_NEXT + k.ext;
}

MiniCover *cover_new(void)
{
    MiniCover *cover = g_new0(MiniCover, 1);

    cover->seen = g_hash_table_new(NULL, NULL);
    return cover;
}

void cover_free(MiniCover *cover)
{
    g_hash_table_destroy(cover->seen);
    g_free(cover);
}

static unsigned fetch(SoftCpu *c, uint8_t *out, unsigned n)
{
    uint64_t la = c->mode & MODE_CODE64 ? c->ip : (uint32_t)(c->seg[SEG_CS].base + c->ip);

    for (unsigned i = 0; i < n; i++) {
        uint64_t gpa;
        unsigned flags;
        bool logged;
        _Atomic uint64_t *mask;
        uint8_t *page = NULL;

        if (soft_debug_translate(c, la + i, &gpa)) {
            page = c->bus->page(c->bus_opaque, gpa & ~0xfffull, &flags, &mask, &logged);
        }
        if (!page) {
            return i;
        }
        out[i] = page[gpa & 0xfff];
    }
    return n;
}

void cover_before(MiniCover *cover, SoftCpu *c)
{
    uint8_t bytes[16] = { 0 };
    const uint8_t *modrm;
    unsigned mode = c->mode & MODE_CODE64 ? 64 : c->mode & MODE_CODE32 ? 32 : 16, exts[3] = { 0 };

    cover->icount = c->icount;
    c->exc_soft = false;
    cover->nkeys = 0;
    if (c->halted || !fetch(c, bytes, 15)) {
        return;
    }
    InsnKey k = insn_key(bytes, mode == 64, &modrm);
    cover->nkeys = 1 + insn_key_exts(*modrm, exts + 1);
    for (unsigned i = 0; i < cover->nkeys; i++) {
        k.ext = exts[i];
        cover->keys[i] = key_word(mode, k);
    }
}

void cover_after(MiniCover *cover, const SoftCpu *c, bool skip)
{
    /* INT n ends in an exception of its own. */
    bool done = c->icount == cover->icount + 1 || (c->exc_soft && c->exc_vector < 0);

    for (unsigned i = 0; i < cover->nkeys && done && !skip; i++) {
        g_hash_table_add(cover->seen, GUINT_TO_POINTER(cover->keys[i]));
    }
}

static bool check_line(const MiniCover *cover, const char *line, unsigned *n)
{
    unsigned mode = (unsigned)strtoul(strchr(line, '/') + 1, NULL, 10);
    g_auto(GStrv) keys = g_strsplit(strchr(line, ':') + 1, ",", -1);
    bool ok = true;

    for (unsigned i = 0; keys[i]; i++) {
        g_autofree char *text = g_strdup(g_strstrip(keys[i]));
        InsnKey k;

        if (!insn_key_parse(text, &k)) {
            printf("coverage: cannot read '%s'\n", keys[i]);
            ok = false;
        } else if (!g_hash_table_contains(cover->seen, GUINT_TO_POINTER(key_word(mode, k)))) {
            printf("coverage: %s of %u-bit code was not executed to its end\n", keys[i], mode);
            ok = false;
        }
        ++*n;
    }
    return ok;
}

bool cover_check(const MiniCover *cover, const char *path, const char *name)
{
    g_autofree char *text = NULL, *prefix = g_strdup_printf("mini-%s/", name);
    bool ok = true;
    unsigned n = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        printf("cannot read %s\n", path);
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], prefix) && !check_line(cover, lines[i], &n)) {
            ok = false;
        }
    }
    printf("coverage: %u encodings asked of mini-%s, %u executed\n", n, name,
        g_hash_table_size(cover->seen));
    return ok;
}

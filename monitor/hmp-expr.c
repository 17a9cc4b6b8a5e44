/* Numbers in the human monitor: "0x10", "4*(2+1)", "$rip-8". Tested by test-hmp. */
#include "monitor-internal.h"

#include <string.h>

enum { EXPR_DEPTH = 32 };

typedef struct Expr {
    Machine *m;
    const char *at;
    unsigned depth;
    GError **err;
} Expr;

static bool expr_sum(Expr *e, uint64_t *ret);

static void skip_space(Expr *e)
{
    while (g_ascii_isspace(*e->at)) {
        e->at++;
    }
}

static bool expr_register(Expr *e, uint64_t *ret)
{
    static const char *const names[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
    const char *from = ++e->at;
    X86State s;

    while (g_ascii_isalnum(*e->at)) {
        e->at++;
    }
    g_autofree char *name = g_strndup(from, (gsize)(e->at - from));
    const char *base = *name == 'r' || *name == 'e' ? name + 1 : name;

    if (!e->m->cpus->len) {
        return err_set(e->err, "No CPU defined");
    }
    vcpu_get_state(e->m->cpus->pdata[0], &s);
    uint64_t mask = *name == 'e' ? UINT32_MAX : UINT64_MAX;

    if (!strcmp(base, "ip") || !strcmp(name, "pc")) {
        *ret = s.rip & mask;
        return true;
    }
    if (!strcmp(name, "eflags") || !strcmp(name, "rflags")) {
        *ret = s.rflags;
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(base, names[i])) {
            *ret = s.r[i] & mask;
            return true;
        }
    }
    uint64_t n = *name == 'r' ? g_ascii_strtoull(base, NULL, 10) : 0;

    if (n >= 8 && n < 16) {
        *ret = s.r[n];
        return true;
    }
    return err_set(e->err, "unknown register");
}

static bool expr_unary(Expr *e, uint64_t *ret)
{
    char *end;

    skip_space(e);
    if (++e->depth > EXPR_DEPTH) {
        return err_set(e->err, "expression is too deep");
    }
    bool ok = true;

    switch (*e->at) {
    case '+':
    case '-':
    case '~': {
        char op = *e->at++;

        ok = expr_unary(e, ret);
        *ret = !ok ? 0 : op == '-' ? -*ret : op == '~' ? ~*ret : *ret;
        break;
    }
    case '(':
        e->at++;
        ok = expr_sum(e, ret);
        skip_space(e);
        if (ok && *e->at != ')') {
            ok = err_set(e->err, "')' expected");
        } else if (ok) {
            e->at++;
        }
        break;
    case '$':
        ok = expr_register(e, ret);
        break;
    case 0:
        ok = err_set(e->err, "unexpected end of expression");
        break;
    default:
        *ret = g_ascii_strtoull(e->at, &end, 0);
        ok = end != e->at || err_set(e->err, "invalid char '%c' in expression", *e->at);
        e->at = end;
    }
    e->depth--;
    return ok;
}

static bool expr_product(Expr *e, uint64_t *ret)
{
    bool ok = expr_unary(e, ret);

    for (skip_space(e); ok && *e->at && strchr("*/%", *e->at); skip_space(e)) {
        char op = *e->at++;
        uint64_t right;

        ok = expr_unary(e, &right);
        if (ok && op != '*' && !right) {
            return err_set(e->err, "division by zero");
        }
        *ret = !ok ? 0 : op == '*' ? *ret * right : op == '/' ? *ret / right : *ret % right;
    }
    return ok;
}

static bool expr_sum(Expr *e, uint64_t *ret)
{
    bool ok = expr_product(e, ret);

    for (skip_space(e); ok && *e->at && strchr("+-&|^", *e->at); skip_space(e)) {
        char op = *e->at++;
        uint64_t right = 0;

        ok = expr_product(e, &right);
        switch (op) {
        case '+':
            *ret += right;
            break;
        case '-':
            *ret -= right;
            break;
        case '&':
            *ret &= right;
            break;
        case '|':
            *ret |= right;
            break;
        default:
            *ret ^= right;
        }
    }
    return ok;
}

bool hmp_expr(Machine *m, const char **text, uint64_t *ret, GError **err)
{
    Expr e = { .m = m, .at = *text, .err = err };
    uint64_t val = 0;

    if (!expr_sum(&e, &val)) {
        return false;
    }
    skip_space(&e);
    *text = e.at;
    *ret = val;
    return true;
}

/* Host forwards of -netdev user: the rules' text and what libslirp makes of them. Tested by
 * test-slirp. */
#include "slirp-fwd.h"

#include "util/err.h"
#include "util/keyval.h"

#include <arpa/inet.h>
#include <string.h>

typedef struct Fwd {
    bool udp;
    struct in_addr host, guest;
    uint64_t host_port, guest_port;
} Fwd;

/* Cuts *text at the first sep; *ret_part is what stood before it. */
static bool cut(char **text, char sep, char **ret_part)
{
    char *at = strchr(*text, sep);

    if (!at) {
        return false;
    }
    *at = 0;
    *ret_part = *text;
    *text = at + 1;
    return true;
}

static bool fwd_parse(const char *rule, bool with_guest, Fwd *ret, GError **err)
{
    g_autofree char *copy = g_strdup(rule);
    char *p = copy, *proto, *host, *port, *guest;
    const char *why = "No : separators";

    *ret = (Fwd){ .host.s_addr = INADDR_ANY };
    if (!cut(&p, ':', &proto)) {
        goto bad;
    }
    why = "Bad protocol name";
    ret->udp = !strcmp(proto, "udp");
    if (*proto && !ret->udp && strcmp(proto, "tcp")) {
        goto bad;
    }
    why = "Missing : separator";
    if (!cut(&p, ':', &host)) {
        goto bad;
    }
    why = "Bad host address";
    if (*host && inet_pton(AF_INET, host, &ret->host) != 1) {
        goto bad;
    }
    if (!with_guest) {
        why = "Bad host port";
        if (!parse_uint(p, 65535, &ret->host_port)) {
            goto bad;
        }
        return true;
    }
    why = "Bad host port separator";
    if (!cut(&p, '-', &port)) {
        goto bad;
    }
    why = "Bad host port";
    if (!parse_uint(port, 65535, &ret->host_port)) {
        goto bad;
    }
    why = "Missing guest address";
    if (!cut(&p, ':', &guest)) {
        goto bad;
    }
    why = "Bad guest address";
    if (*guest && inet_pton(AF_INET, guest, &ret->guest) != 1) {
        goto bad;
    }
    why = "Bad guest port";
    if (!parse_uint(p, 65535, &ret->guest_port) || !ret->guest_port) {
        goto bad;
    }
    return true;
bad:
    return err_set(err, "Invalid host forwarding rule '%s' (%s)", rule, why);
}

bool fwd_add_host(Slirp *s, const char *rule, GError **err)
{
    Fwd f;

    if (!fwd_parse(rule, true, &f, err)) {
        return false;
    }
    if (slirp_add_hostfwd(s, f.udp, f.host, (int)f.host_port, f.guest, (int)f.guest_port) < 0) {
        return err_set(err, "Could not set up host forwarding rule '%s'", rule);
    }
    return true;
}

bool fwd_del_host(Slirp *s, const char *rule, GError **err)
{
    Fwd f;

    if (!fwd_parse(rule, false, &f, err)) {
        return false;
    }
    return slirp_remove_hostfwd(s, f.udp, f.host, (int)f.host_port) == 0 ||
           err_set(err, "host forwarding rule for %s not found", rule);
}

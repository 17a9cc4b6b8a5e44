/* Host forwards of -netdev user. */
#pragma once

#include <glib.h>
#include <libslirp.h>
#include <stdbool.h>

/* "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport" */
bool fwd_add_host(Slirp *s, const char *rule, GError **err);
bool fwd_del_host(Slirp *s, const char *rule, GError **err);

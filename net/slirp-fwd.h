/* Host forwards of -netdev user. */
#pragma once

#include "util/json.h"

#include <libslirp.h>

/* A list option: one text, several texts, or [{"str": …}] as QMP has it. g_strfreev. */
char **fwd_list(const Json *j);
/* "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport" */
bool fwd_add_host(Slirp *s, const char *rule, GError **err);
bool fwd_del_host(Slirp *s, const char *rule, GError **err);

/* Host forwards of -netdev user. */
#pragma once

#include <glib.h>
#include <libslirp.h>
#include <stdbool.h>

/* "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport" */
bool fwd_add_host(Slirp *s, const char *rule, GError **err);
bool fwd_del_host(Slirp *s, const char *rule, GError **err);

/* "tcp:server:port-dev" or "tcp:server:port-cmd:command": a port of the guest's network that leads
 * to a character device or a program. */
typedef struct GuestFwd GuestFwd;
bool fwd_add_guest(Slirp *s, const char *rule, GuestFwd **list, GError **err);
/* False: the frame is for a forward whose device takes nothing now; it is to be lost. */
bool fwd_takes(const GuestFwd *list, const uint8_t *frame, size_t len);
void fwd_free_guests(GuestFwd **list);
void fwd_poll_guests(GuestFwd *list); /* the guest read: devices may have more */

/* VNC servers (-vnc, -display vnc=): RFC 6143 by libvncserver, which is loaded with the first one.
 * Main loop, VM lock. */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"

/* The bytes that password-secret= names; the caller's. */
typedef GBytes *VncSecretFn(Obj *root, const char *id, GError **err);
/* What a server finds around it. */
typedef struct VncPlace {
    const char *name; /* the VM's; NULL: none */
    Obj *root;        /* the tree, for display= */
    VncSecretFn *secret;
    const char *const *audiodevs; /* ids, NULL at the end */
} VncPlace;
/* Listens as -vnc's text says, "host:display[,opts]", "unix:path", "none". After all devices are
 * there. */
bool vnc_start(const char *text, const VncPlace *place, GError **err);
void vnc_stop_all(void); /* disconnects everybody and waits for it */
/* -k: the layout of the viewers' keyboards. */
bool vnc_set_layout(const char *name, GError **err);
char *vnc_describe(void); /* info vnc; g_free */
/* set_password, expire_password, change-vnc-password, query-vnc, query-vnc-servers */
extern const QmpCmd vnc_qmp_cmds[];

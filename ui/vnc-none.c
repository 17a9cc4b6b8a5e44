/* Where it was built without VNC: what asks for it is refused, what asks about it is answered. */
#include "ui/vnc.h"
#include "util/err.h"

bool vnc_start(const char *text, const VncPlace *place, GError **err)
{
    return err_set(err, "VNC support is disabled");
}

void vnc_stop_all(void) {}

bool vnc_set_layout(const char *name, GError **err)
{
    return true;
}

char *vnc_describe(void)
{
    return g_strdup("None\n");
}

const QmpCmd vnc_qmp_cmds[] = { { .name = NULL } };

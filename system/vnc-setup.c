/* -vnc, -display vnc= and -k: servers that viewers connect to. Tested by tests/system/test_vnc.py.
 */
#include "backends/secret.h"
#include "config-host.h"
#include "system.h"
#include "ui/vnc.h"

bool setup_vnc(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_VNC];

    if (o->keymap && !vnc_set_layout(o->keymap, err)) {
        return false;
    }
    for (unsigned i = 0; i < items->len; i++) {
        const OptItem *item = items->pdata[i];

        if (!vnc_start(item->text, o->name, m->root, secret_get, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

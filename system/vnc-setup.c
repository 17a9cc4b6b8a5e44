/* -vnc, -display vnc= and -k: servers that viewers connect to. Tested by tests/system/test_vnc.py.
 */
#include "backends/secret.h"
#include "config-host.h"
#include "system.h"
#include "ui/vnc.h"

bool setup_vnc(Machine *m, const Options *o, GError **err)
{
    const GPtrArray *items = o->items[OPT_VNC];
    const VncPlace place = { o->name, m->root, secret_get, (const char *const *)o->audiodevs };

    if (o->keymap && !vnc_set_layout(o->keymap, err)) {
        return false;
    }
    for (unsigned i = 0; i < items->len; i++) {
        const OptItem *item = items->pdata[i];

        if (!vnc_start(item->text, &place, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

/* -vga: the display adapter of a machine that nobody gave one by -device. Tested by
 * tests/system/test_display.py. */
#include "system.h"
#include "util/log.h"

#include <string.h>

/* Each is the machine's first display adapter wherever it stands. */
static bool has_adapter(const Options *o)
{
    static const char *const adapters[] = { "VGA", "virtio-vga", NULL };

    for (unsigned i = 0; i < o->items[OPT_DEVICE]->len; i++) {
        const OptItem *item = o->items[OPT_DEVICE]->pdata[i];

        if (g_strv_contains(adapters, json_get_str_or(item->args, "driver", ""))) {
            return true;
        }
    }
    return false;
}

void setup_display(Machine *m, Options *o)
{
    const char *want = o->vga;
    GPtrArray *devices = o->items[OPT_DEVICE];

    if (!m->mc->default_vga) {
        if (want && strcmp(want, "none") != 0) {
            report_error("warning: A -vga option was passed but this machine type does not use "
                         "that option; No VGA device has been created");
        }
        return;
    }
    if (!want) {
        want = o->nodefaults || has_adapter(o) ? "none" : m->mc->default_vga;
    }
    if (!strcmp(want, "none")) {
        return;
    }
    Json *dev = json_object();

    json_set(dev, "driver", json_text(!strcmp(want, "std") ? "VGA" : "virtio-vga"));
    g_autofree char *typed = g_strdup_printf("-vga %s", want);

    options_add(o, OPT_DEVICE, typed, want, dev);
    /* It comes before what the user asks for: slot 2, or 1 on q35. */
    g_ptr_array_insert(devices, 0, g_ptr_array_remove_index(devices, (int)devices->len - 1));
}

/* The human monitor's keys and mice: sendkey, mouse_*, info mice. Tested by
 * tests/system/test_input.py. */
#include "monitor-internal.h"
#include "ui/input.h"
#include "ui/vnc.h"

#include <string.h>

static void run_sendkey(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    const Json *hold = json_get(args, "hold-time");
    int64_t ms = hold ? json_get_int(hold) : 0;

    if (!input_type_text(json_get_str(json_get(args, "keys")),
            ms > 0 ? (uint32_t)MIN(ms, (int64_t)G_MAXINT32) : INPUT_HOLD_MS, &err)) {
        g_string_append_printf(out, "%s\n", err->message);
    }
}

static int32_t steps(const Json *args, const char *name)
{
    int64_t n = g_ascii_strtoll(json_get_str_or(args, name, "0"), NULL, 0);

    return (int32_t)CLAMP(n, -32768, 32767);
}

static void run_mouse_move(Machine *m, const Json *args, GString *out)
{
    int32_t dz = steps(args, "dz_str");
    InputButton wheel = dz > 0 ? INPUT_WHEEL_UP : INPUT_WHEEL_DOWN;

    input_rel(NULL, INPUT_X, steps(args, "dx_str"));
    input_rel(NULL, INPUT_Y, steps(args, "dy_str"));
    if (dz) {
        input_button(NULL, wheel, true);
        input_sync();
        input_button(NULL, wheel, false);
    }
    input_sync();
}

static void run_mouse_button(Machine *m, const Json *args, GString *out)
{
    int64_t state = json_get_int(json_get(args, "button_state"));

    input_button(NULL, INPUT_LEFT, state & 1);
    input_button(NULL, INPUT_MIDDLE, state & 2);
    input_button(NULL, INPUT_RIGHT, state & 4);
    input_sync();
}

static void run_mouse_set(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;

    if (!input_mouse_set(json_get_int(json_get(args, "index")), &err)) {
        hmp_report(out, err);
    }
}

static void show_mice(Machine *m, const char *arg, GString *out)
{
    unsigned n;
    g_autofree InputMouse *mice = input_mice(&n);

    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(out, "%c Mouse #%u: %s%s\n", mice[i].current ? '*' : ' ',
            mice[i].index, mice[i].name, mice[i].absolute ? " (absolute)" : "");
    }
    if (!n) {
        g_string_append(out, "No mouse devices connected\n");
    }
}

static void show_vnc(Machine *m, const char *arg, GString *out)
{
    g_autofree char *text = vnc_describe();

    g_string_append(out, text);
}

static void run_qmp(Machine *m, const char *name, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) ret = qmp_run(m, name, args, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

static void run_set_password(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "set_password", args, out);
}

static void run_expire_password(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "expire_password", args, out);
}

const HmpInfo monitor_input_infos[] = {
    { "vnc", "", "show the vnc server status", show_vnc },
    { "mice", "", "show which guest mouse is receiving events", show_mice },
    { NULL },
};

/* clang-format off */
#define ROW(n, p, h, fn, spec) { .name = (n), .params = (p), .help = (h), .run_args = (fn), .args = (spec) }
const HmpCmd hmp_input_cmds[] = {
    ROW("expire_password", "protocol time [-d display]", "set spice/vnc password expire-time", run_expire_password, "protocol:s time:s display:-s"),
    ROW("mouse_button", "state", "change mouse button state (1=L, 2=M, 4=R)", run_mouse_button, "button_state:i"),
    ROW("mouse_move", "dx dy [dz]", "send mouse move events", run_mouse_move, "dx_str:s dy_str:s dz_str:s?"),
    ROW("mouse_set", "index", "set which mouse device receives events", run_mouse_set, "index:i"),
    ROW("set_password", "protocol password [-d display] [action-if-connected]", "set spice/vnc password", run_set_password, "protocol:s password:s display:-s connected:s?"),
    ROW("sendkey", "keys [hold_ms]", "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)", run_sendkey, "keys:s hold-time:i?"),
    { .name = NULL },
};
/* clang-format on */

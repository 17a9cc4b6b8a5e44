/* Keys behind X11 keysyms (RFC 6143, 7.5.4; X11/keysymdef.h's numbers) on keyboards of several
 * layouts. Tested by tests/system/test_vnc.py. */
#include "util/err.h"
#include "vnc-internal.h"

#include <linux/input-event-codes.h>
#include <string.h>

typedef struct Fixed {
    uint32_t keysym;
    uint16_t key;
} Fixed;

/* The same on all layouts. */
/* clang-format off */
static const Fixed fixed[] = {
    { 0xff08, KEY_BACKSPACE }, { 0xff09, KEY_TAB }, { 0xfe20, KEY_TAB }, { 0xff0a, KEY_LINEFEED }, { 0xff0d, KEY_ENTER },
    { 0xff13, KEY_PAUSE }, { 0xff6b, KEY_PAUSE }, { 0xff14, KEY_SCROLLLOCK }, { 0xff15, KEY_SYSRQ }, { 0xff61, KEY_SYSRQ },
    { 0xff1b, KEY_ESC }, { 0xffff, KEY_DELETE }, { 0xff50, KEY_HOME }, { 0xff51, KEY_LEFT }, { 0xff52, KEY_UP },
    { 0xff53, KEY_RIGHT }, { 0xff54, KEY_DOWN }, { 0xff55, KEY_PAGEUP }, { 0xff56, KEY_PAGEDOWN }, { 0xff57, KEY_END },
    { 0xff63, KEY_INSERT }, { 0xff67, KEY_COMPOSE }, { 0xff7f, KEY_NUMLOCK }, { 0xff65, KEY_UNDO }, { 0xff66, KEY_AGAIN },
    { 0xff68, KEY_FIND }, { 0xff69, KEY_STOP }, { 0xff6a, KEY_HELP }, { 0xffe1, KEY_LEFTSHIFT }, { 0xffe2, KEY_RIGHTSHIFT },
    { 0xffe3, KEY_LEFTCTRL }, { 0xffe4, KEY_RIGHTCTRL }, { 0xffe5, KEY_CAPSLOCK }, { 0xffe7, KEY_LEFTMETA },
    { 0xffe8, KEY_RIGHTMETA }, { 0xffe9, KEY_LEFTALT }, { 0xffea, KEY_RIGHTALT }, { 0xffeb, KEY_LEFTMETA },
    { 0xffec, KEY_RIGHTMETA }, { 0xfe03, KEY_RIGHTALT }, { 0xff7e, KEY_RIGHTALT }, { 0x20, KEY_SPACE }, { 0xff80, KEY_SPACE },
    { 0xff8d, KEY_KPENTER }, { 0xff95, KEY_KP7 }, { 0xff96, KEY_KP4 }, { 0xff97, KEY_KP8 }, { 0xff98, KEY_KP6 },
    { 0xff99, KEY_KP2 }, { 0xff9a, KEY_KP9 }, { 0xff9b, KEY_KP3 }, { 0xff9c, KEY_KP1 }, { 0xff9d, KEY_KP5 }, { 0xff9e, KEY_KP0 },
    { 0xff9f, KEY_KPDOT }, { 0xffaa, KEY_KPASTERISK }, { 0xffab, KEY_KPPLUS }, { 0xffac, KEY_KPCOMMA }, { 0xffad, KEY_KPMINUS },
    { 0xffae, KEY_KPDOT }, { 0xffaf, KEY_KPSLASH }, { 0xffb0, KEY_KP0 }, { 0xffb1, KEY_KP1 }, { 0xffb2, KEY_KP2 },
    { 0xffb3, KEY_KP3 }, { 0xffb4, KEY_KP4 }, { 0xffb5, KEY_KP5 }, { 0xffb6, KEY_KP6 }, { 0xffb7, KEY_KP7 }, { 0xffb8, KEY_KP8 },
    { 0xffb9, KEY_KP9 }, { 0xffbd, KEY_KPEQUAL }, { 0xffbe, KEY_F1 }, { 0xffbf, KEY_F2 }, { 0xffc0, KEY_F3 }, { 0xffc1, KEY_F4 },
    { 0xffc2, KEY_F5 }, { 0xffc3, KEY_F6 }, { 0xffc4, KEY_F7 }, { 0xffc5, KEY_F8 }, { 0xffc6, KEY_F9 }, { 0xffc7, KEY_F10 },
    { 0xffc8, KEY_F11 }, { 0xffc9, KEY_F12 }, { 0xffca, KEY_F13 }, { 0xffcb, KEY_F14 }, { 0xffcc, KEY_F15 }, { 0xffcd, KEY_F16 },
    { 0xffce, KEY_F17 }, { 0xffcf, KEY_F18 }, { 0xffd0, KEY_F19 }, { 0xffd1, KEY_F20 }, { 0xffd2, KEY_F21 }, { 0xffd3, KEY_F22 },
    { 0xffd4, KEY_F23 }, { 0xffd5, KEY_F24 }, { 0x1008ff11, KEY_VOLUMEDOWN }, { 0x1008ff12, KEY_MUTE }, { 0x1008ff13, KEY_VOLUMEUP },
    { 0x1008ff14, KEY_PLAYPAUSE }, { 0x1008ff15, KEY_STOPCD }, { 0x1008ff16, KEY_PREVIOUSSONG }, { 0x1008ff17, KEY_NEXTSONG },
};

/* Printing keys, in the order of a layout's texts. */
static const uint16_t printing[] = {
    KEY_GRAVE, KEY_1, KEY_2, KEY_3, KEY_4, KEY_5, KEY_6, KEY_7, KEY_8, KEY_9, KEY_0, KEY_MINUS, KEY_EQUAL,
    KEY_Q, KEY_W, KEY_E, KEY_R, KEY_T, KEY_Y, KEY_U, KEY_I, KEY_O, KEY_P, KEY_LEFTBRACE, KEY_RIGHTBRACE,
    KEY_A, KEY_S, KEY_D, KEY_F, KEY_G, KEY_H, KEY_J, KEY_K, KEY_L, KEY_SEMICOLON, KEY_APOSTROPHE, KEY_BACKSLASH,
    KEY_102ND, KEY_Z, KEY_X, KEY_C, KEY_V, KEY_B, KEY_N, KEY_M, KEY_COMMA, KEY_DOT, KEY_SLASH,
};

/* A layout: what the keys print alone, with Shift, with AltGr; a blank: nothing that counts. */
typedef struct Layout {
    const char *name, *text[3];
} Layout;
static const Layout layouts[] = {
    { "en-us", { "`1234567890-=" "qwertyuiop[]" "asdfghjkl;'\\" " zxcvbnm,./",
                 "~!@#$%^&*()_+" "QWERTYUIOP{}" "ASDFGHJKL:\"|" " ZXCVBNM<>?", NULL } },
    { "en-gb", { "`1234567890-=" "qwertyuiop[]" "asdfghjkl;'#" "\\zxcvbnm,./",
                 "¬!\"£$%^&*()_+" "QWERTYUIOP{}" "ASDFGHJKL:@~" "|ZXCVBNM<>?",
                 "¦   €" } },
    { "de", { "^1234567890ß´" "qwertzuiopü+" "asdfghjklöä#" "<yxcvbnm,.-",
              "°!\"§$%&/()=?`" "QWERTZUIOPÜ*" "ASDFGHJKLÖÄ'" ">YXCVBNM;:_",
              "  ²³   {[]}\\ " "@ €        ~" "            " "|      µ" } },
    { "fr", { "²&é\"'(-è_çà)=" "azertyuiop^$" "qsdfghjklmù*" "<wxcvbn,;:!",
              " 1234567890°+" "AZERTYUIOP¨£" "QSDFGHJKLM%µ" ">WXCVBN?./§",
              "  ~#{[|`\\^@]}" "  €         " } },
    { "es", { "º1234567890'¡" "qwertyuiop`+" "asdfghjklñ´ç" "<zxcvbnm,.-",
              "ª!\"·$%&/()=?¿" "QWERTYUIOP^*" "ASDFGHJKLÑ¨Ç" ">ZXCVBNM;:_",
              "\\|@#~ ¬      " "  €       []" "          {}" } },
};
/* clang-format on */

/* Accents that a key only begins: X11's names for what the layouts show as the accent itself. */
static const uint32_t dead[][2] = { { 0xfe50, '`' }, { 0xfe51, 0xb4 }, { 0xfe52, '^' },
    { 0xfe53, '~' }, { 0xfe57, 0xa8 } };

static struct {
    const Layout *layout;
} keys; /* -k: the process's */

bool vnc_set_layout(const char *name, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++) {
        if (!strcmp(layouts[i].name, name)) {
            keys.layout = &layouts[i];
            return true;
        }
    }
    return err_set(err, "could not read keymap file: '%s'", name);
}

static uint16_t find(const Layout *l, gunichar c)
{
    for (unsigned level = 0; level < G_N_ELEMENTS(l->text); level++) {
        const char *at = l->text[level];

        for (unsigned i = 0; at && *at && i < G_N_ELEMENTS(printing); i++) {
            if (g_utf8_get_char(at) == c) {
                return printing[i];
            }
            at += g_utf8_skip[(guchar)*at];
        }
    }
    return 0;
}

uint16_t vnc_key(uint32_t keysym)
{
    const Layout *l = keys.layout ? keys.layout : &layouts[0];
    gunichar c = keysym == 0x20ac                   ? 0x20ac /* EuroSign */
                 : (keysym & 0xff000000) == 1 << 24 ? keysym & 0xffffff
                                                    : keysym;

    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (fixed[i].keysym == keysym) {
            return fixed[i].key;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(dead); i++) {
        c = dead[i][0] == keysym ? dead[i][1] : c;
    }
    if (c <= ' ' || (c > 0xff && c != 0x20ac)) {
        return 0;
    }
    uint16_t key = find(l, c);

    /* Viewers that send letters as the guest's other case would be: better a key than none. */
    return key ? key : find(&layouts[0], c);
}

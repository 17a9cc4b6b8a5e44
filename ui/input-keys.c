/*
 * Keys by name, by Linux' code (linux/input-event-codes.h) and by scan code of set 1 (IBM PS/2
 * Hardware Interface Technical Reference, "Keyboard"; Microsoft Keyboard Scan Code Specification
 * for the multimedia keys). The names are QMP's QKeyCode, in its order.
 */
#include "ui/input.h"

#include <linux/input-event-codes.h>
#include <string.h>

typedef struct Key {
    const char *name;
    uint16_t key;
    uint16_t set1; /* 0: a PC keyboard has no such key */
} Key;

/* Names that mean the same key stand behind the one that is shown. */
/* clang-format off */
static const Key keys[] = {
    { "unmapped", KEY_RESERVED, 0 }, { "shift", KEY_LEFTSHIFT, 0x2a },
    { "shift_r", KEY_RIGHTSHIFT, 0x36 }, { "alt", KEY_LEFTALT, 0x38 },
    { "alt_r", KEY_RIGHTALT, 0xe038 }, { "ctrl", KEY_LEFTCTRL, 0x1d },
    { "ctrl_r", KEY_RIGHTCTRL, 0xe01d }, { "menu", KEY_MENU, 0xe01e }, { "esc", KEY_ESC, 0x01 },
    { "1", KEY_1, 0x02 }, { "2", KEY_2, 0x03 }, { "3", KEY_3, 0x04 }, { "4", KEY_4, 0x05 },
    { "5", KEY_5, 0x06 }, { "6", KEY_6, 0x07 }, { "7", KEY_7, 0x08 }, { "8", KEY_8, 0x09 },
    { "9", KEY_9, 0x0a }, { "0", KEY_0, 0x0b }, { "minus", KEY_MINUS, 0x0c },
    { "equal", KEY_EQUAL, 0x0d }, { "backspace", KEY_BACKSPACE, 0x0e }, { "tab", KEY_TAB, 0x0f },
    { "q", KEY_Q, 0x10 }, { "w", KEY_W, 0x11 }, { "e", KEY_E, 0x12 }, { "r", KEY_R, 0x13 },
    { "t", KEY_T, 0x14 }, { "y", KEY_Y, 0x15 }, { "u", KEY_U, 0x16 }, { "i", KEY_I, 0x17 },
    { "o", KEY_O, 0x18 }, { "p", KEY_P, 0x19 }, { "bracket_left", KEY_LEFTBRACE, 0x1a },
    { "bracket_right", KEY_RIGHTBRACE, 0x1b }, { "ret", KEY_ENTER, 0x1c }, { "a", KEY_A, 0x1e },
    { "s", KEY_S, 0x1f }, { "d", KEY_D, 0x20 }, { "f", KEY_F, 0x21 }, { "g", KEY_G, 0x22 },
    { "h", KEY_H, 0x23 }, { "j", KEY_J, 0x24 }, { "k", KEY_K, 0x25 }, { "l", KEY_L, 0x26 },
    { "semicolon", KEY_SEMICOLON, 0x27 }, { "apostrophe", KEY_APOSTROPHE, 0x28 },
    { "grave_accent", KEY_GRAVE, 0x29 }, { "backslash", KEY_BACKSLASH, 0x2b }, { "z", KEY_Z, 0x2c },
    { "x", KEY_X, 0x2d }, { "c", KEY_C, 0x2e }, { "v", KEY_V, 0x2f }, { "b", KEY_B, 0x30 },
    { "n", KEY_N, 0x31 }, { "m", KEY_M, 0x32 }, { "comma", KEY_COMMA, 0x33 },
    { "dot", KEY_DOT, 0x34 }, { "slash", KEY_SLASH, 0x35 }, { "asterisk", KEY_KPASTERISK, 0x37 },
    { "spc", KEY_SPACE, 0x39 }, { "caps_lock", KEY_CAPSLOCK, 0x3a }, { "f1", KEY_F1, 0x3b },
    { "f2", KEY_F2, 0x3c }, { "f3", KEY_F3, 0x3d }, { "f4", KEY_F4, 0x3e }, { "f5", KEY_F5, 0x3f },
    { "f6", KEY_F6, 0x40 }, { "f7", KEY_F7, 0x41 }, { "f8", KEY_F8, 0x42 }, { "f9", KEY_F9, 0x43 },
    { "f10", KEY_F10, 0x44 }, { "num_lock", KEY_NUMLOCK, 0x45 },
    { "scroll_lock", KEY_SCROLLLOCK, 0x46 }, { "kp_divide", KEY_KPSLASH, 0xe035 },
    { "kp_multiply", KEY_KPASTERISK, 0x37 }, { "kp_subtract", KEY_KPMINUS, 0x4a },
    { "kp_add", KEY_KPPLUS, 0x4e }, { "kp_enter", KEY_KPENTER, 0xe01c },
    { "kp_decimal", KEY_KPDOT, 0x53 }, { "sysrq", KEY_SYSRQ, 0xe037 }, { "kp_0", KEY_KP0, 0x52 },
    { "kp_1", KEY_KP1, 0x4f }, { "kp_2", KEY_KP2, 0x50 }, { "kp_3", KEY_KP3, 0x51 },
    { "kp_4", KEY_KP4, 0x4b }, { "kp_5", KEY_KP5, 0x4c }, { "kp_6", KEY_KP6, 0x4d },
    { "kp_7", KEY_KP7, 0x47 }, { "kp_8", KEY_KP8, 0x48 }, { "kp_9", KEY_KP9, 0x49 },
    { "less", KEY_102ND, 0x56 }, { "f11", KEY_F11, 0x57 }, { "f12", KEY_F12, 0x58 },
    { "print", KEY_SYSRQ, 0xe037 }, { "home", KEY_HOME, 0xe047 }, { "pgup", KEY_PAGEUP, 0xe049 },
    { "pgdn", KEY_PAGEDOWN, 0xe051 }, { "end", KEY_END, 0xe04f }, { "left", KEY_LEFT, 0xe04b },
    { "up", KEY_UP, 0xe048 }, { "down", KEY_DOWN, 0xe050 }, { "right", KEY_RIGHT, 0xe04d },
    { "insert", KEY_INSERT, 0xe052 }, { "delete", KEY_DELETE, 0xe053 },
    { "stop", KEY_STOP, 0xe068 }, { "again", KEY_AGAIN, 0xe005 }, { "props", KEY_PROPS, 0xe006 },
    { "undo", KEY_UNDO, 0xe007 }, { "front", KEY_FRONT, 0xe00c }, { "copy", KEY_COPY, 0xe078 },
    { "open", KEY_OPEN, 0x64 }, { "paste", KEY_PASTE, 0x65 }, { "find", KEY_FIND, 0xe041 },
    { "cut", KEY_CUT, 0xe03c }, { "lf", KEY_LINEFEED, 0x5b }, { "help", KEY_HELP, 0xe075 },
    { "meta_l", KEY_LEFTMETA, 0xe05b }, { "meta_r", KEY_RIGHTMETA, 0xe05c },
    { "compose", KEY_COMPOSE, 0xe05d }, { "pause", KEY_PAUSE, 0xe046 }, { "ro", KEY_RO, 0x73 },
    { "hiragana", KEY_HIRAGANA, 0x77 }, { "henkan", KEY_HENKAN, 0x79 }, { "yen", KEY_YEN, 0x7d },
    { "muhenkan", KEY_MUHENKAN, 0x7b }, { "katakanahiragana", KEY_KATAKANAHIRAGANA, 0x70 },
    { "kp_comma", KEY_KPCOMMA, 0x7e }, { "kp_equals", KEY_KPEQUAL, 0x59 },
    { "power", KEY_POWER, 0xe05e }, { "sleep", KEY_SLEEP, 0xe05f }, { "wake", KEY_WAKEUP, 0xe063 },
    { "audionext", KEY_NEXTSONG, 0xe019 }, { "audioprev", KEY_PREVIOUSSONG, 0xe010 },
    { "audiostop", KEY_STOPCD, 0xe024 }, { "audioplay", KEY_PLAYPAUSE, 0xe022 },
    { "audiomute", KEY_MUTE, 0xe020 }, { "volumeup", KEY_VOLUMEUP, 0xe030 },
    { "volumedown", KEY_VOLUMEDOWN, 0xe02e }, { "mediaselect", KEY_MEDIA, 0xe06d },
    { "mail", KEY_MAIL, 0xe06c }, { "calculator", KEY_CALC, 0xe021 },
    { "computer", KEY_COMPUTER, 0xe06b }, { "ac_home", KEY_HOMEPAGE, 0xe032 },
    { "ac_back", KEY_BACK, 0xe06a }, { "ac_forward", KEY_FORWARD, 0xe069 },
    { "ac_refresh", KEY_REFRESH, 0xe067 }, { "ac_bookmarks", KEY_BOOKMARKS, 0xe066 },
    { "lang1", KEY_HANGEUL, 0x72 }, { "lang2", KEY_HANJA, 0x71 }, { "f13", KEY_F13, 0x5d },
    { "f14", KEY_F14, 0x5e }, { "f15", KEY_F15, 0x5f }, { "f16", KEY_F16, 0x55 },
    { "f17", KEY_F17, 0xe003 }, { "f18", KEY_F18, 0xe077 }, { "f19", KEY_F19, 0xe004 },
    { "f20", KEY_F20, 0x5a }, { "f21", KEY_F21, 0x74 }, { "f22", KEY_F22, 0xe079 },
    { "f23", KEY_F23, 0x6d }, { "f24", KEY_F24, 0x6f },
};
/* clang-format on */

uint16_t input_key_by_name(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!strcmp(keys[i].name, name)) {
            return keys[i].key;
        }
    }
    return UINT16_MAX;
}

const char *input_key_name(uint16_t key)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].key == key) {
            return keys[i].name;
        }
    }
    return keys[0].name;
}

uint16_t input_key_set1(uint16_t key)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].key == key) {
            return keys[i].set1;
        }
    }
    return 0;
}

uint16_t input_key_by_number(uint64_t n)
{
    /* QEMU compat: bit 7 stands for the byte 0xe0; 0x54 is what Alt and Print make together. */
    uint16_t set1 = n == 0x54 ? 0xe037 : n & 0x80 ? 0xe000 | (n & 0x7f) : n & 0x7f;

    for (unsigned i = 0; n && n < 0x100 && i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].set1 == set1) {
            return keys[i].key;
        }
    }
    return 0;
}

uint16_t input_key_nth(unsigned i)
{
    return i < G_N_ELEMENTS(keys) ? keys[i].key : UINT16_MAX;
}

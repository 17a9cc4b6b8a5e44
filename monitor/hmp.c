/*
 * The human monitor on a character device: prompt, line editing, history. Keys are those of a
 * terminal: arrows, Home, End, Ctrl-A/E/B/F/P/N/D/H/K/U/W.
 */
#include "config-host.h"
#include "monitor-internal.h"

#include <string.h>

enum { HMP_LINE_MAX = 4096, HMP_HISTORY = 64 };

static const char prompt[] = "(qemu) ";

typedef struct HmpMonitor {
    Monitor mon;
    GString *line;
    size_t cursor;
    GPtrArray *history; /* char* */
    unsigned at;        /* in history; its length: the new line */
    enum { KEY_PLAIN, KEY_ESC, KEY_CSI } key;
    char csi;
    bool greeted, focused;
} HmpMonitor;

static void put(HmpMonitor *h, const char *text)
{
    chardev_write_all(&h->mon.fe, text, strlen(text));
}

/* The line again, from its beginning. */
static void redraw(HmpMonitor *h)
{
    g_autoptr(GString) out = g_string_new("\r");

    g_string_append_printf(out, "%s%s\033[K", prompt, h->line->str);
    if (h->cursor < h->line->len) {
        g_string_append_printf(out, "\033[%uD", (unsigned)(h->line->len - h->cursor));
    }
    put(h, out->str);
}

static void set_line(HmpMonitor *h, const char *text)
{
    g_string_assign(h->line, text);
    h->cursor = h->line->len;
    redraw(h);
}

static void run_line(HmpMonitor *h)
{
    g_autofree char *line = g_strdup(h->line->str);
    g_autoptr(GString) out = g_string_new(NULL);
    const char *last = h->history->len ? h->history->pdata[h->history->len - 1] : "";

    put(h, "\r\n");
    if (*line && strcmp(line, last) != 0) {
        if (h->history->len == HMP_HISTORY) {
            g_ptr_array_remove_index(h->history, 0);
        }
        g_ptr_array_add(h->history, g_strdup(line));
    }
    h->at = h->history->len;
    g_string_truncate(h->line, 0);
    h->cursor = 0;
    hmp_run(h->mon.machine, line, out);
    g_string_replace(out, "\n", "\r\n", 0);
    put(h, out->str);
    put(h, prompt);
}

static void insert(HmpMonitor *h, char c)
{
    if (h->line->len == HMP_LINE_MAX) {
        return;
    }
    g_string_insert_c(h->line, (gssize)h->cursor++, c);
    if (h->cursor == h->line->len) {
        chardev_write_all(&h->mon.fe, &c, 1);
    } else {
        redraw(h);
    }
}

static void erase(HmpMonitor *h, size_t from, size_t to)
{
    g_string_erase(h->line, (gssize)from, (gssize)(to - from));
    h->cursor = from;
    redraw(h);
}

static void move_to(HmpMonitor *h, size_t at)
{
    h->cursor = MIN(at, h->line->len);
    redraw(h);
}

static void walk_history(HmpMonitor *h, int step)
{
    unsigned to = h->at + (unsigned)step;

    if (to < h->history->len) {
        h->at = to;
        set_line(h, h->history->pdata[to]);
    } else if (step > 0) {
        h->at = h->history->len;
        set_line(h, "");
    }
}

static size_t word_start(const HmpMonitor *h)
{
    size_t at = h->cursor;

    while (at && h->line->str[at - 1] == ' ') {
        at--;
    }
    while (at && h->line->str[at - 1] != ' ') {
        at--;
    }
    return at;
}

#define CTRL(c) ((c)&0x1f)

static void control_key(HmpMonitor *h, char c)
{
    switch (c) {
    case '\r':
    case '\n':
        run_line(h);
        break;
    case CTRL('H'):
    case 0x7f:
        if (h->cursor) {
            erase(h, h->cursor - 1, h->cursor);
        }
        break;
    case CTRL('D'):
        if (h->cursor < h->line->len) {
            erase(h, h->cursor, h->cursor + 1);
        }
        break;
    case CTRL('A'):
        move_to(h, 0);
        break;
    case CTRL('E'):
        move_to(h, h->line->len);
        break;
    case CTRL('B'):
        move_to(h, h->cursor ? h->cursor - 1 : 0);
        break;
    case CTRL('F'):
        move_to(h, h->cursor + 1);
        break;
    case CTRL('K'):
        erase(h, h->cursor, h->line->len);
        break;
    case CTRL('U'):
        erase(h, 0, h->cursor);
        break;
    case CTRL('W'):
        erase(h, word_start(h), h->cursor);
        break;
    case CTRL('P'):
        walk_history(h, -1);
        break;
    case CTRL('N'):
        walk_history(h, 1);
        break;
    case 0x1b:
        h->key = KEY_ESC;
        break;
    default:
        break; /* other keys do nothing */
    }
}

/* The end of ESC [ … or ESC O …: arrows, Home, End, Delete as the key they stand for. */
static void escape_key(HmpMonitor *h, char c)
{
    static const char from[] = "ABCDHF",
                      to[] = { CTRL('P'), CTRL('N'), CTRL('F'), CTRL('B'), CTRL('A'), CTRL('E') };
    const char *at = strchr(from, c);

    if (g_ascii_isdigit(c) || c == ';') {
        h->csi = c;
        return;
    }
    h->key = KEY_PLAIN;
    if (c == '~') {
        control_key(h, h->csi == '3' ? CTRL('D') : h->csi == '1' ? CTRL('A') : CTRL('E'));
    } else if (at && c) {
        control_key(h, to[at - from]);
    }
}

static void key(HmpMonitor *h, char c)
{
    switch (h->key) {
    case KEY_ESC:
        h->key = c == '[' || c == 'O' ? KEY_CSI : KEY_PLAIN;
        break;
    case KEY_CSI:
        escape_key(h, c);
        break;
    case KEY_PLAIN:
        if ((unsigned char)c < 0x20 || c == 0x7f) {
            control_key(h, c);
        } else {
            insert(h, c);
        }
        break;
    }
}

static size_t hmp_can_receive(void *opaque)
{
    return HMP_LINE_MAX;
}

static void hmp_receive(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        key(opaque, (char)buf[i]);
    }
}

static void greet(HmpMonitor *h)
{
    if (!h->greeted) {
        put(h, "QEMU " QEMU_VERSION " monitor - type 'help' for more information\r\n");
    }
    h->greeted = true;
    redraw(h);
}

static void hmp_event(void *opaque, ChardevEvent ev)
{
    HmpMonitor *h = opaque;

    switch (ev) {
    case CHARDEV_OPENED:
        h->greeted = false;
        g_string_truncate(h->line, 0);
        h->cursor = 0;
        h->key = KEY_PLAIN;
        if (!chardev_is_mux(h->mon.fe.chr) || h->focused) {
            greet(h);
        }
        break;
    case CHARDEV_MUX_IN:
        h->focused = true;
        greet(h);
        break;
    case CHARDEV_MUX_OUT:
        if (h->focused) {
            put(h, "\r\n");
        }
        h->focused = false;
        break;
    case CHARDEV_CLOSED:
    case CHARDEV_BREAK:
        break;
    }
}

static void hmp_close(Monitor *mon)
{
    HmpMonitor *h = (HmpMonitor *)mon;

    g_string_free(h->line, TRUE);
    g_ptr_array_unref(h->history);
    g_free(h);
}

static const ChardevFeOps hmp_fe_ops = {
    .can_receive = hmp_can_receive,
    .receive = hmp_receive,
    .event = hmp_event,
};

Monitor *monitor_new_hmp(Machine *m, Chardev *c, GError **err)
{
    HmpMonitor *h = g_new0(HmpMonitor, 1);

    h->mon = (Monitor){ .machine = m, .close = hmp_close };
    h->line = g_string_new(NULL);
    h->history = g_ptr_array_new_with_free_func(g_free);
    if (!chardev_fe_init(&h->mon.fe, c, &hmp_fe_ops, h, err)) {
        hmp_close(&h->mon);
        return NULL;
    }
    monitor_add(&h->mon);
    return &h->mon;
}

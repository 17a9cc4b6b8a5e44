/* Displays and their viewers: see include/ui/console.h. Tested by tests/unit/test-console.c. */
#include "ui/console.h"

#include "ui/surface.h"
#include "util/err.h"
#include "util/loop.h"

#include <string.h>

struct Display {
    Obj *device;
    unsigned head;
    const DisplayOps *ops;
    void *opaque;
    pixman_image_t *surface; /* NULL: off, or never drawn */
    pixman_image_t *blank;   /* shown instead; made when somebody asks */
    DisplayCursor *cursor;
    int cursor_x, cursor_y;
    bool cursor_visible;
    bool refreshing;
    DisplayListener *listeners;
};

static struct {
    GPtrArray *list; /* Display* */
    void (*on_new)(void *opaque, Display *d);
    void *opaque;
} displays;

enum { BLANK_WIDTH = 640, BLANK_HEIGHT = 480 };

Display *display_new(Obj *device, unsigned head, const DisplayOps *ops, void *opaque)
{
    Display *d = g_new0(Display, 1);

    loop_assert(loop_main());
    *d = (Display){ .device = device, .head = head, .ops = ops, .opaque = opaque };
    if (!displays.list) {
        displays.list = g_ptr_array_new();
    }
    g_ptr_array_add(displays.list, d);
    if (displays.on_new) {
        displays.on_new(displays.opaque, d);
    }
    return d;
}

void display_free(Display *d)
{
    if (!d) {
        return;
    }
    g_ptr_array_remove(displays.list, d);
    while (d->listeners) {
        DisplayListener *l = d->listeners;

        display_unlisten(l);
        if (l->ops->gone) {
            l->ops->gone(l);
        }
    }
    surface_unref(d->surface);
    surface_unref(d->blank);
    display_cursor_unref(d->cursor);
    g_free(d);
    if (!displays.list->len) {
        g_clear_pointer(&displays.list, g_ptr_array_unref);
    }
}

/* A listener may take itself off in its callback, but no other. */
#define EACH_LISTENER(d, l, next)                                                                  \
    for (DisplayListener *l = (d)->listeners, *next; l && (next = l->next, true); l = next)

void display_set_surface(Display *d, pixman_image_t *img)
{
    loop_assert(loop_main());
    if (d->surface == img) {
        if (img) {
            display_updated(d, 0, 0, (int)surface_width(img), (int)surface_height(img));
        }
        return;
    }
    pixman_image_t *old = d->surface;

    d->surface = img ? surface_ref(img) : NULL;
    EACH_LISTENER(d, l, next)
    {
        if (l->ops->resized) {
            l->ops->resized(l);
        }
    }
    surface_unref(old); /* viewers have let go of its memory */
}

void display_updated(Display *d, int x, int y, int width, int height)
{
    if (!d->surface || !d->listeners) {
        return;
    }
    int64_t right = MIN((int64_t)x + width, surface_width(d->surface));
    int64_t bottom = MIN((int64_t)y + height, surface_height(d->surface));

    x = MAX(x, 0);
    y = MAX(y, 0);
    if (right <= x || bottom <= y) {
        return;
    }
    EACH_LISTENER(d, l, next)
    {
        if (l->ops->updated) {
            l->ops->updated(l, x, y, (int)right - x, (int)bottom - y);
        }
    }
}

DisplayCursor *display_cursor_new(unsigned width, unsigned height)
{
    g_assert(width <= DISPLAY_CURSOR_MAX && height <= DISPLAY_CURSOR_MAX);
    DisplayCursor *c = g_malloc0(sizeof *c + (size_t)width * height * sizeof c->argb[0]);

    c->refs = 1;
    c->width = (uint16_t)width;
    c->height = (uint16_t)height;
    return c;
}

DisplayCursor *display_cursor_ref(DisplayCursor *c)
{
    c->refs++;
    return c;
}

void display_cursor_unref(DisplayCursor *c)
{
    if (c && !--c->refs) {
        g_free(c);
    }
}

void display_set_cursor(Display *d, DisplayCursor *c)
{
    DisplayCursor *old = d->cursor;

    d->cursor = c ? display_cursor_ref(c) : NULL;
    display_cursor_unref(old);
    EACH_LISTENER(d, l, next)
    {
        if (l->ops->cursor) {
            l->ops->cursor(l);
        }
    }
}

void display_move_cursor(Display *d, int x, int y, bool visible)
{
    d->cursor_x = x;
    d->cursor_y = y;
    d->cursor_visible = visible;
    EACH_LISTENER(d, l, next)
    {
        if (l->ops->cursor_moved) {
            l->ops->cursor_moved(l);
        }
    }
}

void display_listen(Display *d, DisplayListener *l)
{
    loop_assert(loop_main());
    g_assert(!l->display);
    l->display = d;
    l->next = d->listeners;
    d->listeners = l;
    if (d->ops->invalidate) {
        d->ops->invalidate(d->opaque);
    }
}

void display_unlisten(DisplayListener *l)
{
    if (!l->display) {
        return;
    }
    for (DisplayListener **p = &l->display->listeners; *p; p = &(*p)->next) {
        if (*p == l) {
            *p = l->next;
            break;
        }
    }
    Display *d = l->display;

    l->display = NULL;
    l->next = NULL;
    if (!d->listeners && d->ops->unwatched) {
        d->ops->unwatched(d->opaque);
    }
}

void display_refresh(Display *d)
{
    if (!d->ops->refresh || d->refreshing) {
        return;
    }
    d->refreshing = true;
    d->ops->refresh(d->opaque);
    d->refreshing = false;
}

pixman_image_t *display_surface(Display *d)
{
    if (d->surface) {
        return d->surface;
    }
    if (!d->blank) {
        d->blank = surface_new(PIXMAN_x8r8g8b8, BLANK_WIDTH, BLANK_HEIGHT);
        if (!d->blank) {
            g_error("no memory or no libpixman-1.so.0 for a picture of %dx%d", BLANK_WIDTH,
                BLANK_HEIGHT);
        }
    }
    return d->blank;
}

bool display_active(const Display *d)
{
    return d->surface != NULL;
}

DisplayCursor *display_cursor(const Display *d)
{
    return d->cursor;
}

bool display_cursor_at(const Display *d, int *ret_x, int *ret_y)
{
    if (d->cursor_visible) {
        *ret_x = d->cursor_x;
        *ret_y = d->cursor_y;
    }
    return d->cursor_visible;
}

bool display_takes_wish(const Display *d)
{
    return d->ops->wish != NULL;
}

bool display_wish(Display *d, const DisplayWish *w)
{
    if (!d->ops->wish || w->width > DISPLAY_SIDE_MAX || w->height > DISPLAY_SIDE_MAX ||
        !w->width != !w->height) {
        return false;
    }
    d->ops->wish(d->opaque, w);
    return true;
}

Display *display_nth(unsigned i)
{
    return displays.list && i < displays.list->len ? displays.list->pdata[i] : NULL;
}

unsigned display_index(const Display *d)
{
    guint i = 0;

    g_assert(g_ptr_array_find(displays.list, d, &i));
    return i;
}

unsigned display_head(const Display *d)
{
    return d->head;
}

Obj *display_device(const Display *d)
{
    return d->device;
}

/* The id of a device that a user named, wherever it hangs; others have none. */
static bool has_id(const Obj *o, const char *id)
{
    return o->name && !strcmp(o->name, id) && o->parent && o->parent->name &&
           !strcmp(o->parent->name, "peripheral");
}

typedef struct Named {
    const char *id;
    bool found;
} Named;

static bool look_for_id(Obj *o, void *opaque)
{
    Named *n = opaque;

    n->found = has_id(o, n->id);
    return !n->found;
}

bool display_is_of(const Display *d, const char *id)
{
    return has_id(d->device, id) || (d->device->parent && has_id(d->device->parent, id));
}

Display *display_find(Obj *root, const char *device, int64_t head, GError **err)
{
    Display *d;
    Named named = { device, false };

    if (!device) {
        d = display_nth(0);
        if (!d) {
            err_set(err, "there is no display");
        }
        return d;
    }
    for (unsigned i = 0; (d = display_nth(i)); i++) {
        if (display_is_of(d, device) && d->head == head) {
            return d;
        }
    }
    obj_walk(root, look_for_id, &named);
    if (!named.found) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
    } else {
        err_set(err, "Device %s (head %" G_GINT64_FORMAT ") is not bound to a QemuConsole", device,
            head);
    }
    return NULL;
}

void display_on_new(void (*fn)(void *opaque, Display *d), void *opaque)
{
    displays.on_new = fn;
    displays.opaque = opaque;
}

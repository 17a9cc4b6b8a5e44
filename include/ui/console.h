/*
 * Displays: what a device shows (one for each head) and who looks at it. The list of displays is
 * the process's, the one mutable global of ui/console.c. Everything here: main loop, VM lock.
 *
 *   device: display_new → display_set_surface, display_updated, display_set_cursor …
 *   viewer: display_listen → callbacks; display_refresh() as often as it wants to be up to date
 *
 * Without a viewer nothing is drawn: a device that has to turn its memory into a picture does that
 * in its refresh(), which only viewers and screendump cause.
 */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"

#include <pixman.h>

typedef struct Display Display;

/* A pointer's picture. Shared: display_cursor_ref/unref. */
typedef struct DisplayCursor {
    uint32_t refs;
    uint16_t width, height;
    uint16_t hot_x, hot_y;
    uint32_t argb[]; /* width * height, not premultiplied; host order, alpha in the top byte */
} DisplayCursor;
enum { DISPLAY_CURSOR_MAX = 512 }; /* pixels a side */

/* What a viewer would like a head to be: the size of its window, its place among the heads. */
typedef struct DisplayWish {
    uint32_t width, height; /* both 0: the head is switched off */
    int32_t x, y;
    uint32_t width_mm, height_mm; /* 0: unknown */
    uint32_t refresh_mhz;         /* in 1/1000 Hz; 0: unknown */
} DisplayWish;
enum { DISPLAY_SIDE_MAX = 16384 }; /* of a surface and a wish */

/* The device's side. */
typedef struct DisplayOps {
    /* Bring the surface up to date now: display_set_surface(), display_updated(). NULL: it always
     * is, because the device tells of each change by itself. */
    void (*refresh)(void *opaque);
    /* A viewer came, or lost track: the next refresh() draws and reports everything. NULL. */
    void (*invalidate)(void *opaque);
    /* Nobody looks any more: what was kept to know what changed may go. NULL. */
    void (*unwatched)(void *opaque);
    /* A viewer wishes; NULL: the size is the guest's business alone. */
    void (*wish)(void *opaque, const DisplayWish *w);
} DisplayOps;

/* A head of device (which owns it and must free it). Heads are numbered from 0, displays in the
 * order of their making. */
Display *display_new(Obj *device, unsigned head, const DisplayOps *ops, void *opaque);
void display_free(Display *d); /* listeners are told and taken off */
/*
 * A new picture, always PIXMAN_x8r8g8b8: takes a reference; NULL: the output is off. Listeners get
 * resized() even when the size is the same, for the memory behind it is another. The same image
 * again: they get updated() of everything.
 */
void display_set_surface(Display *d, pixman_image_t *img);
/* Pixels in this rectangle changed; clipped to the surface. */
void display_updated(Display *d, int x, int y, int width, int height);
/* Takes a reference; NULL: the device shows no pointer of its own. */
void display_set_cursor(Display *d, DisplayCursor *c);
void display_move_cursor(Display *d, int x, int y, bool visible);
DisplayCursor *display_cursor_new(unsigned width, unsigned height); /* at most DISPLAY_CURSOR_MAX */
DisplayCursor *display_cursor_ref(DisplayCursor *c);
void display_cursor_unref(DisplayCursor *c);

/* The viewer's side. Embedded in the viewer; slots may be NULL. */
typedef struct DisplayListener DisplayListener;
typedef struct DisplayListenerOps {
    void (*resized)(DisplayListener *l); /* display_surface() is another now: drop pointers */
    void (*updated)(DisplayListener *l, int x, int y, int width, int height);
    void (*cursor)(DisplayListener *l); /* display_cursor() is another now */
    void (*cursor_moved)(DisplayListener *l);
    void (*gone)(DisplayListener *l); /* the display ends; l is taken off already */
} DisplayListenerOps;
struct DisplayListener {
    const DisplayListenerOps *ops;
    void *opaque;
    Display *display; /* NULL: not listening */
    DisplayListener *next;
};
/* Calls nothing: ask display_refresh() and display_surface() for the first picture. */
void display_listen(Display *d, DisplayListener *l);
void display_unlisten(DisplayListener *l); /* not listening: fine */
void display_refresh(Display *d);          /* lets the device report what changed since */
/*
 * The picture, PIXMAN_x8r8g8b8: never NULL (an output that is off is a black 640x480). Valid until
 * resized() or a return to the main loop; take a reference to keep the memory. The guest may change
 * pixels at any time, and does not wait for a reader.
 */
pixman_image_t *display_surface(Display *d);
bool display_active(const Display *d);                            /* the guest shows something */
DisplayCursor *display_cursor(const Display *d);                  /* borrowed; NULL: none */
bool display_cursor_at(const Display *d, int *ret_x, int *ret_y); /* false: hidden */
bool display_takes_wish(const Display *d);
/* The device hears of it at once, and the guest when it cares. False: not taken. */
bool display_wish(Display *d, const DisplayWish *w);

/* The list. */
Display *display_nth(unsigned i); /* in the order of making; NULL: no more */
unsigned display_index(const Display *d);
unsigned display_head(const Display *d);
Obj *display_device(const Display *d);
/* The device of that id is its own display's, or the part of it that shows (a virtio-backend). */
bool display_is_of(const Display *d, const char *id);
/*
 * By a device's id (NULL: the first display there is) and head, as `-vnc display=,head=`,
 * screendump's and input-send-event's device/head name it. root: the tree ("/"), to tell a device
 * without display from no device.
 */
Display *display_find(Obj *root, const char *device, int64_t head, GError **err);
/* Told of displays that come while the program runs; one per process (the VNC server). NULL ends
 * it. */
void display_on_new(void (*fn)(void *opaque, Display *d), void *opaque);

/* screendump (ui/screendump.c): {"filename", "device", "head", "format": "ppm"|"png"}. */
extern const QmpCmd display_qmp_cmds[];
/* The picture as it is now into a file; false: *err, and what was written is removed. */
bool screendump(Display *d, const char *filename, bool png, GError **err);

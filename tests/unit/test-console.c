/* Displays, their viewers, and pictures of them (ui/console.c, surface.c, screendump.c). */
#include "ui/console.h"
#include "ui/surface.h"
#include "util/err.h"
#include "util/loop.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

/* /machine/peripheral/<id>, as the tree has it. */
static Obj *tree(const char *id)
{
    Obj *root = obj_new(&obj_container_class);

    if (id) {
        obj_container(obj_container(root, "peripheral"), id);
    }
    return root;
}

typedef struct Dev {
    unsigned refreshed, invalidated, wished;
    DisplayWish wish;
    Display *d;
    pixman_image_t *draw; /* shown at the next refresh */
} Dev;

static void dev_refresh(void *opaque)
{
    Dev *dev = opaque;

    dev->refreshed++;
    if (dev->draw) {
        display_set_surface(dev->d, dev->draw);
    }
    display_refresh(dev->d); /* again from inside: nothing */
}

static void dev_invalidate(void *opaque)
{
    ((Dev *)opaque)->invalidated++;
}

static void dev_wish(void *opaque, const DisplayWish *w)
{
    Dev *dev = opaque;

    dev->wished++;
    dev->wish = *w;
}

static const DisplayOps dev_ops = {
    .refresh = dev_refresh, .invalidate = dev_invalidate, .wish = dev_wish
};
static const DisplayOps plain_ops = { 0 };

typedef struct Viewer {
    DisplayListener l;
    unsigned resized, updated, cursor, moved, gone;
    int x, y, w, h;
} Viewer;

static void on_resized(DisplayListener *l)
{
    ((Viewer *)l->opaque)->resized++;
}

static void on_updated(DisplayListener *l, int x, int y, int w, int h)
{
    Viewer *v = l->opaque;

    v->updated++;
    v->x = x;
    v->y = y;
    v->w = w;
    v->h = h;
}

static void on_cursor(DisplayListener *l)
{
    ((Viewer *)l->opaque)->cursor++;
}

static void on_moved(DisplayListener *l)
{
    ((Viewer *)l->opaque)->moved++;
}

static void on_gone(DisplayListener *l)
{
    g_assert_null(l->display);
    ((Viewer *)l->opaque)->gone++;
}

static const DisplayListenerOps viewer_ops = {
    .resized = on_resized,
    .updated = on_updated,
    .cursor = on_cursor,
    .cursor_moved = on_moved,
    .gone = on_gone,
};
static const DisplayListenerOps deaf_ops = { 0 };

static void viewer_init(Viewer *v)
{
    *v = (Viewer){ .l = { .ops = &viewer_ops } };
    v->l.opaque = v;
}

static void set_px(pixman_image_t *s, unsigned x, unsigned y, uint32_t v)
{
    memcpy(surface_row(s, y) + 4 * (size_t)x, &v, 4);
}

static void test_updates_are_clipped(void)
{
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &plain_ops, NULL);
    pixman_image_t *s = surface_new(PIXMAN_x8r8g8b8, 100, 50);
    Viewer v;

    viewer_init(&v);
    display_listen(d, &v.l);
    display_updated(d, 0, 0, 10, 10); /* no surface */
    g_assert_cmpuint(v.updated, ==, 0);
    display_set_surface(d, s);
    g_assert_cmpuint(v.resized, ==, 1);
    display_updated(d, -5, 40, 20, 1000);
    g_assert_cmpint(v.x, ==, 0);
    g_assert_cmpint(v.y, ==, 40);
    g_assert_cmpint(v.w, ==, 15);
    g_assert_cmpint(v.h, ==, 10);
    display_updated(d, 90, 49, INT32_MAX, INT32_MAX);
    g_assert_cmpint(v.w, ==, 10);
    g_assert_cmpint(v.h, ==, 1);
    display_updated(d, 100, 0, 5, 5);
    display_updated(d, 0, 0, 0, 5);
    display_updated(d, 0, 0, -1, 5);
    g_assert_cmpuint(v.updated, ==, 2);
    display_set_surface(d, s); /* the same: all of it changed */
    g_assert_cmpuint(v.resized, ==, 1);
    g_assert_cmpint(v.w, ==, 100);
    display_unlisten(&v.l);
    display_unlisten(&v.l);
    display_updated(d, 0, 0, 1, 1);
    g_assert_cmpuint(v.updated, ==, 3);
    display_free(d);
    surface_unref(s);
    obj_unref(root);
}

static void test_the_end_tells_viewers(void)
{
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &dev_ops, &(Dev){ 0 });
    DisplayListener deaf = { .ops = &deaf_ops };
    Viewer a, b;

    viewer_init(&a);
    viewer_init(&b);
    display_listen(d, &a.l);
    display_listen(d, &b.l);
    display_listen(d, &deaf);
    display_set_surface(d, NULL);
    display_free(d);
    g_assert_cmpuint(a.gone + b.gone, ==, 2);
    g_assert_null(deaf.display);
    g_assert_null(display_nth(0));
    obj_unref(root);
}

static void test_refresh_draws_for_viewers_only(void)
{
    Obj *root = tree(NULL);
    Dev dev = { 0 };
    Viewer v;

    dev.d = display_new(root, 0, &dev_ops, &dev);
    dev.draw = surface_new(PIXMAN_x8r8g8b8, 8, 8);
    viewer_init(&v);
    g_assert_false(display_active(dev.d));
    display_listen(dev.d, &v.l);
    g_assert_cmpuint(dev.invalidated, ==, 1);
    g_assert_cmpuint(dev.refreshed, ==, 0);
    display_refresh(dev.d);
    g_assert_cmpuint(dev.refreshed, ==, 1);
    g_assert_true(display_surface(dev.d) == dev.draw);
    g_assert_true(display_active(dev.d));
    display_unlisten(&v.l);
    surface_unref(dev.draw);
    display_free(dev.d);
    obj_unref(root);
}

static void test_an_output_that_is_off_is_black(void)
{
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &plain_ops, NULL);
    pixman_image_t *s = display_surface(d);
    uint32_t px;

    g_assert_cmpuint(surface_width(s), ==, 640);
    g_assert_cmpuint(surface_height(s), ==, 480);
    memcpy(&px, surface_row(s, 479) + 4 * 639, 4);
    g_assert_cmphex(px & 0xffffff, ==, 0);
    g_assert_true(display_surface(d) == s);
    display_free(d);
    obj_unref(root);
}

static void test_cursor(void)
{
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &plain_ops, NULL);
    DisplayCursor *c = display_cursor_new(64, 64);
    Viewer v;
    int x = 0, y = 0;

    viewer_init(&v);
    display_listen(d, &v.l);
    g_assert_false(display_cursor_at(d, &x, &y));
    display_set_cursor(d, c);
    display_cursor_unref(c); /* the display has its own */
    display_move_cursor(d, 5, -7, true);
    g_assert_true(display_cursor(d) == c);
    g_assert_true(display_cursor_at(d, &x, &y));
    g_assert_cmpint(x, ==, 5);
    g_assert_cmpint(y, ==, -7);
    display_set_cursor(d, NULL);
    g_assert_null(display_cursor(d));
    g_assert_cmpuint(v.cursor, ==, 2);
    g_assert_cmpuint(v.moved, ==, 1);
    display_free(d);
    obj_unref(root);
}

static void test_wishes_are_checked(void)
{
    Obj *root = tree(NULL);
    Dev dev = { 0 };
    Display *d = display_new(root, 0, &dev_ops, &dev),
            *fixed = display_new(root, 1, &plain_ops, NULL);

    g_assert_true(display_takes_wish(d));
    g_assert_true(display_wish(d, &(DisplayWish){ .width = 1024, .height = 768 }));
    g_assert_cmpuint(dev.wish.width, ==, 1024);
    g_assert_true(display_wish(d, &(DisplayWish){ 0 }));
    g_assert_false(display_wish(d, &(DisplayWish){ .width = 1024 }));
    g_assert_false(display_wish(d, &(DisplayWish){ .width = 16385, .height = 1 }));
    g_assert_cmpuint(dev.wished, ==, 2);
    g_assert_false(display_takes_wish(fixed));
    g_assert_false(display_wish(fixed, &(DisplayWish){ .width = 8, .height = 8 }));
    display_free(fixed);
    display_free(d);
    obj_unref(root);
}

static void told(void *opaque, Display *d)
{
    *(Display **)opaque = d;
}

static void test_found_by_device_and_head(void)
{
    Obj *root = tree("gpu0"), *dev = obj_child(obj_child(root, "peripheral"), "gpu0");
    g_autoptr(GError) err = NULL;
    Display *seen = NULL;

    obj_container(obj_child(root, "peripheral"), "rng0");
    g_assert_null(display_find(root, NULL, 0, &err));
    g_clear_error(&err);
    display_on_new(told, &seen);
    Display *a = display_new(obj_container(dev, "virtio-backend"), 0, &plain_ops, NULL);
    Display *b = display_new(obj_container(dev, "virtio-backend"), 1, &plain_ops, NULL);

    g_assert_true(seen == b);
    display_on_new(NULL, NULL);
    g_assert_true(display_find(root, NULL, 0, NULL) == a);
    g_assert_true(display_find(root, "gpu0", 1, NULL) == b);
    g_assert_cmpuint(display_index(b), ==, 1);
    g_assert_cmpuint(display_head(b), ==, 1);
    g_assert_null(display_find(root, "gpu0", 2, &err));
    g_assert_cmpstr(err->message, ==, "Device gpu0 (head 2) is not bound to a QemuConsole");
    g_clear_error(&err);
    g_assert_null(display_find(root, "rng0", 0, &err));
    g_assert_cmpstr(err->message, ==, "Device rng0 (head 0) is not bound to a QemuConsole");
    g_clear_error(&err);
    g_assert_null(display_find(root, "nope", 0, &err));
    g_assert_cmpstr(err->message, ==, "Device 'nope' not found");
    g_assert_cmpstr(err_class_name(err), ==, "DeviceNotFound");
    display_free(b);
    display_free(a);
    obj_unref(root);
}

static void freed(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void test_wrapped_memory_is_freed_last(void)
{
    uint32_t data[2][3] = { { 0x112233, 0x445566, 0x778899 }, { 1, 2, 3 } };
    unsigned count = 0;
    pixman_image_t *s = surface_wrap(PIXMAN_x8b8g8r8, 3, 2, data, 12, freed, &count);
    pixman_image_t *to = surface_new(PIXMAN_x8r8g8b8, 4, 4);
    uint32_t px;

    surface_ref(s);
    surface_unref(s);
    g_assert_cmpuint(count, ==, 0);
    surface_copy(to, 1, 1, s, 1, 0, 100, 100);
    memcpy(&px, surface_row(to, 1) + 4, 4);
    g_assert_cmphex(px & 0xffffff, ==, 0x665544);
    memcpy(&px, surface_row(to, 2) + 8, 4);
    g_assert_cmphex(px & 0xffffff, ==, 0x030000);
    surface_unref(s);
    g_assert_cmpuint(count, ==, 1);
    surface_unref(to);
    surface_unref(NULL);
    /* A picture that cannot be: rows that pixman does not take. */
    g_assert_null(surface_wrap(PIXMAN_x8r8g8b8, 3, 2, data, 13, freed, &count));
    g_assert_cmpuint(count, ==, 2);
}

static char *temp_file(void)
{
    char *path = NULL;
    int fd = g_file_open_tmp("console-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return path;
}

static void test_ppm(void)
{
    static const char want[] = "P6\n2 1\n255\n\x11\x22\x33\xfe\xdc\xba";
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &plain_ops, NULL);
    pixman_image_t *s = surface_new(PIXMAN_x8r8g8b8, 2, 1);
    g_autofree char *path = temp_file(), *data = NULL;
    g_autoptr(GError) err = NULL;
    gsize len;

    set_px(s, 0, 0, 0xff112233);
    set_px(s, 1, 0, 0x00fedcba);
    display_set_surface(d, s);
    g_assert_true(screendump(d, path, false, NULL));
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpmem(data, len, want, sizeof want - 1);
    g_assert_false(screendump(d, "/nonexistent/x.ppm", false, &err));
    g_assert_cmpstr(
        err->message, ==, "failed to open file '/nonexistent/x.ppm': No such file or directory");
    g_unlink(path);
    surface_unref(s);
    display_free(d);
    obj_unref(root);
}

/* The file's frame by hand (PNG, 5.2, 11.2.2); what is inside is read back in tests/system. */
static void test_png(void)
{
    static const char head[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02";
    Obj *root = tree(NULL);
    Display *d = display_new(root, 0, &plain_ops, NULL);
    pixman_image_t *s = surface_new(PIXMAN_x8r8g8b8, 3, 2);
    g_autofree char *path = temp_file(), *data = NULL;
    g_autoptr(GError) err = NULL;
    gsize len;

    display_set_surface(d, s);
    g_assert_true(screendump(d, path, true, NULL));
    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    g_assert_cmpuint(len, >, sizeof head);
    g_assert_cmpmem(data, sizeof head - 1, head, sizeof head - 1);
    g_assert_cmpmem(data + len - 8, 4, "IEND", 4);
    g_unlink(path);
    /* A full disk. */
    g_assert_false(screendump(d, "/dev/full", true, &err));
    g_assert_cmpstr(err->message, ==, "cannot write the picture to '/dev/full'");
    surface_unref(s);
    display_free(d);
    obj_unref(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/console/updates-are-clipped", test_updates_are_clipped);
    g_test_add_func("/console/the-end-tells-viewers", test_the_end_tells_viewers);
    g_test_add_func("/console/refresh-draws-for-viewers-only", test_refresh_draws_for_viewers_only);
    g_test_add_func("/console/an-output-that-is-off-is-black", test_an_output_that_is_off_is_black);
    g_test_add_func("/console/cursor", test_cursor);
    g_test_add_func("/console/wishes-are-checked", test_wishes_are_checked);
    g_test_add_func("/console/found-by-device-and-head", test_found_by_device_and_head);
    g_test_add_func("/surface/wrapped-memory-is-freed-last", test_wrapped_memory_is_freed_last);
    g_test_add_func("/screendump/ppm", test_ppm);
    g_test_add_func("/screendump/png", test_png);
    return g_test_run();
}

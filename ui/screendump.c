/*
 * screendump: a head's picture as PPM (netpbm, P6) or PNG (W3C PNG, through libpng, which is loaded
 * with the first one). Tested by tests/unit/test-console.c and tests/system/test_display.py.
 */
#include "ui/console.h"
#include "ui/surface.h"
#include "util/err.h"
#include "util/fdset.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_ppm(FILE *f, pixman_image_t *s)
{
    unsigned width = surface_width(s), height = surface_height(s);
    g_autofree uint8_t *row = g_try_malloc((size_t)width * 3);

    if (!row || fprintf(f, "P6\n%u %u\n255\n", width, height) < 0) {
        return false;
    }
    for (unsigned y = 0; y < height; y++) {
        const uint32_t *from = (const uint32_t *)(const void *)surface_row(s, y);

        for (unsigned x = 0; x < width; x++) {
            row[3 * x] = (uint8_t)(from[x] >> 16);
            row[3 * x + 1] = (uint8_t)(from[x] >> 8);
            row[3 * x + 2] = (uint8_t)from[x];
        }
        if (fwrite(row, 3, width, f) != width) {
            return false;
        }
    }
    return true;
}

/* The functions used, as png.h declares them. */
typedef struct Png {
    __typeof__(&png_create_write_struct) create;
    __typeof__(&png_create_info_struct) create_info;
    __typeof__(&png_destroy_write_struct) destroy;
    __typeof__(&png_set_longjmp_fn) set_longjmp;
    __typeof__(&png_init_io) init_io;
    __typeof__(&png_set_IHDR) set_ihdr;
    __typeof__(&png_write_info) write_info;
    __typeof__(&png_set_filler) set_filler;
    __typeof__(&png_set_bgr) set_bgr;
    __typeof__(&png_write_row) write_row;
    __typeof__(&png_write_end) write_end;
} Png;

static bool take(void *lib, const char *name, void *slot)
{
    void *fn = dlsym(lib, name);

    *(void **)slot = fn;
    return fn != NULL;
}

static bool png_load(Png *p, GError **err)
{
    /* Stays: a second dlopen() of a loaded library costs nothing. */
    void *lib = dlopen("libpng16.so.16", RTLD_NOW | RTLD_LOCAL);

    if (!lib) {
        return err_set(err, "cannot load libpng16.so.16: install Debian package libpng16-16");
    }
    return (take(lib, "png_create_write_struct", &p->create) &&
               take(lib, "png_create_info_struct", &p->create_info) &&
               take(lib, "png_destroy_write_struct", &p->destroy) &&
               take(lib, "png_set_longjmp_fn", &p->set_longjmp) &&
               take(lib, "png_init_io", &p->init_io) && take(lib, "png_set_IHDR", &p->set_ihdr) &&
               take(lib, "png_write_info", &p->write_info) &&
               take(lib, "png_set_filler", &p->set_filler) &&
               take(lib, "png_set_bgr", &p->set_bgr) && take(lib, "png_write_row", &p->write_row) &&
               take(lib, "png_write_end", &p->write_end)) ||
           err_set(err, "libpng16.so.16 is not the library that was built with");
}

/* libpng leaves its functions by longjmp when something fails: nothing here is to be freed then. */
static bool png_rows(const Png *p, png_structp png, png_infop info, FILE *f, pixman_image_t *s)
{
    unsigned height = surface_height(s);

    if (setjmp(*p->set_longjmp(png, longjmp, sizeof(jmp_buf)))) {
        return false;
    }
    p->init_io(png, f);
    p->set_ihdr(png, info, surface_width(s), height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
        PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    p->write_info(png, info);
    p->set_bgr(png);
    p->set_filler(png, 0, PNG_FILLER_AFTER);
    for (unsigned y = 0; y < height; y++) {
        p->write_row(png, surface_row(s, y));
    }
    p->write_end(png, info);
    return true;
}

static bool write_png(const Png *p, FILE *f, pixman_image_t *s)
{
    png_structp png = p->create(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? p->create_info(png) : NULL;
    bool ok = info && png_rows(p, png, info, f, s);

    p->destroy(&png, &info);
    return ok;
}

bool screendump(Display *d, const char *filename, bool png, GError **err)
{
    Png lib;

    if (png && !png_load(&lib, err)) {
        return false;
    }
    display_refresh(d);
    pixman_image_t *s = display_surface(d);
    int fd = fdset_open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0) {
        return err_set_errno(err, "failed to open file '%s'", filename);
    }
    struct stat st;
    bool regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
    FILE *f = fdopen(fd, "wb");
    bool ok = png ? write_png(&lib, f, s) : write_ppm(f, s);

    ok = !fclose(f) && ok;
    if (!ok) {
        if (regular) {
            unlink(filename);
        }
        return err_set(err, "cannot write the picture to '%s'", filename);
    }
    return true;
}

typedef struct ScreendumpArgs {
    char *filename, *device;
    int64_t head;
    int format;
} ScreendumpArgs;
static const char *const format_names[] = { "ppm", "png", NULL };
static PROP_ENUM_TYPE(prop_image_format, "ImageFormat", format_names);
/* clang-format off */
static const PropSpec screendump_args[] = {
    { .name = "filename", .type = &prop_str, .offset = PROP_AT(ScreendumpArgs, filename, char *), .bit = -1,
        .flags = PROP_NO_DEFAULT | PROP_REQUIRED, .help = "file to write" },
    PROP_STR("device", ScreendumpArgs, device, "id of the device; none: the first display"),
    PROP_ROW("head", ScreendumpArgs, head, int64_t, prop_i64, (uint64_t)INT64_MIN, "its head, 0 by default"),
    PROP_ENUM("format", ScreendumpArgs, format, prop_image_format, 0, "ppm or png"),
    PROP_END,
};
/* clang-format on */

static Json *qmp_screendump(void *machine, const void *data, GError **err)
{
    const ScreendumpArgs *a = data;
    bool headed = a->head != INT64_MIN;
    Display *d;

    if (!a->device && headed) {
        err_set(err, "'head' must be specified together with 'device'");
        return NULL;
    }
    if (!a->device && !display_nth(0)) {
        err_set(err, "There is no console to take a screendump from");
        return NULL;
    }
    d = display_find(machine, a->device, headed ? a->head : 0, err);
    return d && screendump(d, a->filename, a->format == 1, err) ? json_object() : NULL;
}

const QmpCmd display_qmp_cmds[] = {
    { .name = "screendump",
        .args_spec = screendump_args,
        .args_size = sizeof(ScreendumpArgs),
        .run = qmp_screendump },
    { NULL },
};

/* Pictures on libpixman, which is loaded with the first one. Tested by tests/unit/test-console.c.
 */
#include "ui/surface.h"

#include "util/err.h"

#include <dlfcn.h>
#include <sys/mman.h>

/* The functions used, as pixman.h declares them. */
static struct {
    __typeof__(&pixman_image_create_bits) create_bits;
    __typeof__(&pixman_image_ref) ref;
    __typeof__(&pixman_image_unref) unref;
    __typeof__(&pixman_image_set_destroy_function) set_destroy;
    __typeof__(&pixman_image_get_data) data;
    __typeof__(&pixman_image_get_width) width;
    __typeof__(&pixman_image_get_height) height;
    __typeof__(&pixman_image_get_stride) stride;
    __typeof__(&pixman_image_composite32) composite;
    bool loaded;
} px;

static bool take(void *lib, const char *name, void *slot)
{
    void *fn = dlsym(lib, name);

    *(void **)slot = fn;
    return fn != NULL;
}

bool surface_available(GError **err)
{
    void *lib;

    if (px.loaded) {
        return true;
    }
    lib = dlopen("libpixman-1.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        return err_set(err, "cannot load libpixman-1.so.0: install Debian package libpixman-1-0");
    }
    px.loaded = take(lib, "pixman_image_create_bits", &px.create_bits) &&
                take(lib, "pixman_image_ref", &px.ref) &&
                take(lib, "pixman_image_unref", &px.unref) &&
                take(lib, "pixman_image_set_destroy_function", &px.set_destroy) &&
                take(lib, "pixman_image_get_data", &px.data) &&
                take(lib, "pixman_image_get_width", &px.width) &&
                take(lib, "pixman_image_get_height", &px.height) &&
                take(lib, "pixman_image_get_stride", &px.stride) &&
                take(lib, "pixman_image_composite32", &px.composite);
    if (!px.loaded) {
        dlclose(lib);
        return err_set(err, "libpixman-1.so.0 is not the library that was built with");
    }
    return true;
}

/* What a wrapped picture ends with. */
typedef struct Wrap {
    SurfaceFree *done;
    void *opaque;
} Wrap;

static void wrap_done(G_GNUC_UNUSED pixman_image_t *s, void *data)
{
    Wrap *w = data;

    w->done(w->opaque);
    g_free(w);
}

pixman_image_t *surface_wrap(pixman_format_code_t format, unsigned width, unsigned height,
    void *data, unsigned stride, SurfaceFree *done, void *opaque)
{
    pixman_image_t *s = NULL;

    if (stride % 4 == 0 && surface_available(NULL)) {
        s = px.create_bits(format, (int)width, (int)height, data, (int)stride);
    }
    if (!s && done) {
        done(opaque);
    }
    if (s && done) {
        Wrap *w = g_new(Wrap, 1);

        *w = (Wrap){ done, opaque };
        px.set_destroy(s, wrap_done, w);
    }
    return s;
}

typedef struct Mapping {
    void *at;
    size_t size;
} Mapping;

static void unmap(void *opaque)
{
    Mapping *m = opaque;

    munmap(m->at, m->size);
    g_free(m);
}

/* Memory that the kernel clears page by page when it is written first; the heap would do it here
 * and now where it uses a piece again. */
static pixman_image_t *new_mapped(pixman_format_code_t format, unsigned width, unsigned height)
{
    size_t size = (size_t)width * height * 4;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        return NULL;
    }
    Mapping *m = g_new(Mapping, 1);

    *m = (Mapping){ at, size };
    return surface_wrap(format, width, height, at, width * 4, unmap, m);
}

pixman_image_t *surface_new(pixman_format_code_t format, unsigned width, unsigned height)
{
    enum { LARGE = 256 << 10 };

    if (!surface_available(NULL)) {
        return NULL;
    }
    return PIXMAN_FORMAT_BPP(format) == 32 && (uint64_t)width * height * 4 >= LARGE
               ? new_mapped(format, width, height)
               : px.create_bits(format, (int)width, (int)height, NULL, 0);
}

pixman_image_t *surface_ref(pixman_image_t *s)
{
    return px.ref(s);
}

void surface_unref(pixman_image_t *s)
{
    if (s) {
        px.unref(s);
    }
}

unsigned surface_width(pixman_image_t *s)
{
    return (unsigned)px.width(s);
}

unsigned surface_height(pixman_image_t *s)
{
    return (unsigned)px.height(s);
}

unsigned surface_stride(pixman_image_t *s)
{
    return (unsigned)px.stride(s);
}

uint8_t *surface_row(pixman_image_t *s, unsigned y)
{
    return (uint8_t *)px.data(s) + (size_t)y * surface_stride(s);
}

void surface_discard(pixman_image_t *s, unsigned y, unsigned rows)
{
    enum { PAGE = 4096 };
    uintptr_t from = (uintptr_t)surface_row(s, y);
    uintptr_t to = (from + (size_t)rows * surface_stride(s)) & ~(uintptr_t)(PAGE - 1);

    from = (from + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    if (to > from) {
        madvise((void *)from, to - from, MADV_DONTNEED); /* a hint: freeing it will do the same */
    }
}

void surface_copy(pixman_image_t *to, int to_x, int to_y, pixman_image_t *from, int x, int y,
    unsigned width, unsigned height)
{
    px.composite(PIXMAN_OP_SRC, from, NULL, to, x, y, 0, 0, to_x, to_y, (int)width, (int)height);
}

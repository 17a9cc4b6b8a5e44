/*
 * Pictures: pixman's, whose library is loaded with the first one, so that a machine nobody looks at
 * has none of it in memory. The loaded functions are the one mutable global of ui/surface.c. Main
 * loop, VM lock; reading a picture one holds a reference on: any thread.
 */
#pragma once

#include <glib.h>
#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>

/* What frees the memory behind a wrapped picture, with its last reference. */
typedef void SurfaceFree(void *opaque);

/* Cleared memory of its own. NULL: the host has no memory for it, or no pixman. */
pixman_image_t *surface_new(pixman_format_code_t format, unsigned width, unsigned height);
/* data stays its owner's; stride: bytes, a multiple of 4. done: NULL or called at the end, and at
 * once when this fails. */
pixman_image_t *surface_wrap(pixman_format_code_t format, unsigned width, unsigned height,
    void *data, unsigned stride, SurfaceFree *done, void *opaque);
pixman_image_t *surface_ref(pixman_image_t *s);
void surface_unref(pixman_image_t *s); /* NULL: fine */
unsigned surface_width(pixman_image_t *s);
unsigned surface_height(pixman_image_t *s);
unsigned surface_stride(pixman_image_t *s);
uint8_t *surface_row(pixman_image_t *s, unsigned y);
/* Copies a rectangle and converts its format; both clip. */
void surface_copy(pixman_image_t *to, int to_x, int to_y, pixman_image_t *from, int x, int y,
    unsigned width, unsigned height);
/* Rows of a picture with memory of its own that nobody will look at any more: the host has it back,
 * page by page, before the last reference goes. */
void surface_discard(pixman_image_t *s, unsigned y, unsigned rows);
bool surface_available(GError **err); /* loads the library now: "cannot load libpixman-1.so.0" */

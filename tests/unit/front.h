/* What tests of chardev/ share: a front end that records, devices made from JSON, a folder of this
 * run. */
#pragma once

#include "chardev/chardev.h"
#include "util/fd.h"
#include "util/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

typedef struct Front {
    ChardevFe fe;
    size_t room;
    GString *in, *events;
    unsigned writable;
} Front;

static char *dir;

static inline size_t front_room(void *opaque)
{
    return ((Front *)opaque)->room;
}

static inline void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Front *f = opaque;

    g_assert_cmpuint(len, <=, f->room);
    f->room -= len;
    g_string_append_len(f->in, (const char *)buf, (gssize)len);
}

static inline void front_event(void *opaque, ChardevEvent ev)
{
    static const char name[] = { "OCBIo" }; /* opened, closed, break, mux in, mux out */

    g_string_append_c(((Front *)opaque)->events, name[ev]);
}

static inline void front_writable(void *opaque)
{
    ((Front *)opaque)->writable++;
}

static const ChardevFeOps front_ops = { front_room, front_receive, front_event, front_writable };

static inline void front_init(Front *f, Chardev *c, size_t room)
{
    g_autoptr(GError) err = NULL;

    *f = (Front){ .room = room, .in = g_string_new(NULL), .events = g_string_new(NULL) };
    chardev_fe_init(&f->fe, c, &front_ops, f, &err);
    g_assert_no_error(err);
}

static inline void front_fini(Front *f)
{
    chardev_fe_fini(&f->fe);
    g_string_free(f->in, TRUE);
    g_string_free(f->events, TRUE);
}

static inline Chardev *make(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = g_strdup(json);
    /* "@" in a text stands for the folder of this run. */
    g_auto(GStrv) part = g_strsplit(text, "@", -1);
    g_autofree char *full = g_strjoinv(dir, part);
    g_autoptr(Json) args = json_parse(full, -1, &err);

    g_assert_no_error(err);
    Chardev *c = chardev_create(args, &err);
    g_assert_no_error(err);
    return c;
}

static inline char *make_error(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);

    g_assert_no_error(err);
    g_assert_null(chardev_create(args, &err));
    g_assert_nonnull(err);
    return g_strdup(err->message);
}

static inline void settle(void)
{
    while (loop_turn(loop_main(), /* block= */ false)) {
    }
}

/* Turns the loop until the text is there; the test's time limit is the only other end. */
static inline void wait_in(const Front *f, const char *want)
{
    while (strcmp(f->in->str, want)) {
        loop_turn(loop_main(), /* block= */ true);
    }
}

static inline void wait_events(const Front *f, const char *want)
{
    while (strcmp(f->events->str, want)) {
        loop_turn(loop_main(), /* block= */ true);
    }
}

static inline void drop(const char *id)
{
    g_autoptr(GError) err = NULL;

    chardev_remove(id, &err);
    g_assert_no_error(err);
}

static inline char *path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static inline int dial(const char *name)
{
    g_autofree char *p = path(name);
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = p, .fd = -1 };
    g_autoptr(GError) err = NULL;
    int fd = sock_connect(&a, &err);

    g_assert_no_error(err);
    return fd;
}

static inline void expect_read(int fd, const char *want)
{
    char buf[256] = "";
    size_t at = 0, n = strlen(want);

    while (at < n) {
        ssize_t got = read(fd, buf + at, n - at);
        if (got > 0) {
            at += (size_t)got;
        } else {
            g_assert_true(got < 0 && errno == EAGAIN);
            loop_turn(loop_main(), /* block= */ false);
        }
    }
    g_assert_cmpmem(buf, at, want, n);
}

static inline char *query(const char *id)
{
    const QmpCmd *cmd = chardev_qmp_cmds;

    while (strcmp(cmd->name, "query-chardev")) {
        cmd++;
    }
    g_autoptr(Json) all = cmd->run(NULL, NULL, NULL);
    for (unsigned i = 0; i < json_len(all); i++) {
        if (!strcmp(json_get_str(json_get(json_at(all, i), "label")), id)) {
            return g_strdup(json_get_str(json_get(json_at(all, i), "filename")));
        }
    }
    return NULL;
}

static inline int front_run(void)
{
    int rc;

    loop_main();
    dir = g_dir_make_tmp("chardev-XXXXXX", NULL);
    rc = g_test_run();
    g_autofree char *rm = g_strdup_printf("rm -rf '%s'", dir);
    if (system(rm)) {
        rc = 1;
    }
    g_free(dir);
    return rc;
}

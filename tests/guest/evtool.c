/* Reads evdev devices in a guest, and sets their lights: list | watch NAME | led NAME CODE VALUE. A
 * name is the device's or its serial number. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int open_named(const char *want, int list)
{
    DIR *d = opendir("/dev/input");
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char path[300], name[128] = "", serial[128] = "";
        struct input_id id = { 0 };
        int fd;

        snprintf(path, sizeof path, "/dev/input/%s", e->d_name);
        if (strncmp(e->d_name, "event", 5) || (fd = open(path, O_RDWR)) < 0) {
            continue;
        }
        ioctl(fd, EVIOCGNAME(sizeof name), name);
        ioctl(fd, EVIOCGUNIQ(sizeof serial), serial);
        ioctl(fd, EVIOCGID, &id);
        if (list) {
            printf("device %s|%s|%x:%x:%x:%x\n", name, serial, id.bustype, id.vendor, id.product,
                id.version);
        } else if (!strcmp(name, want) || !strcmp(serial, want)) {
            closedir(d);
            return fd;
        }
        close(fd);
    }
    return -1;
}

static int watch(int fd)
{
    struct input_event ev;

    printf("watching\n");
    fflush(stdout);
    while (read(fd, &ev, sizeof ev) == sizeof ev) {
        printf("ev %x %x %d\n", ev.type, ev.code, ev.value);
        fflush(stdout);
    }
    printf("gone\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "list")) {
        open_named("", 1);
        return 0;
    }
    if (argc < 3) {
        return 2;
    }
    int fd = open_named(argv[2], 0);

    if (fd < 0) {
        fprintf(stderr, "no device %s\n", argv[2]);
        return 1;
    }
    if (!strcmp(argv[1], "watch")) {
        return watch(fd);
    }
    if (!strcmp(argv[1], "led") && argc == 5) {
        struct input_event ev[2] = {
            { .type = EV_LED, .code = (unsigned short)atoi(argv[3]), .value = atoi(argv[4]) },
            { .type = EV_SYN }
        };

        return write(fd, ev, sizeof ev) != sizeof ev;
    }
    return 2;
}

/* Tap descriptors: from /dev/net/tun, from a bridge helper; and the scripts around them. */
#pragma once

#include <glib.h>
#include <linux/if.h>
#include <stdbool.h>

#define TAP_HELPER "/usr/lib/qemu/qemu-bridge-helper"

/* name: wanted, or NULL; ret_name: IFNAMSIZ bytes, what it became. -1 and *err. */
int tap_create(const char *name, bool vnet_hdr, bool multi, char *ret_name, GError **err);
/* The descriptor a helper program opens on a bridge. -1: "bridge helper failed". */
int tap_from_helper(const char *helper, const char *bridge, GError **err);
/* script: NULL and "no" are none. */
bool tap_script(const char *script, const char *ifname, GError **err);
/* TUN_F_*: those of want that the host's tap knows. */
unsigned tap_probe(int fd, unsigned want);

/* Inside net/: the back ends' table entries. */
#pragma once

#include "config-host.h"
#include "net/net.h"

extern const NetBackend net_user, net_tap, net_hubport;
void hub_check(void); /* hub.c: warns of hubs that lead nowhere */

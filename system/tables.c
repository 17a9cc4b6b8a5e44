/* Which tables of commands and info topics there are: the one place. */
#include "block/block.h"
#include "hw/pci/pci.h"
#include "hw/virtio/virtio-balloon.h"
#include "hw/virtio/virtio-query.h"
#include "net/net.h"
#include "system.h"
#include "ui/console.h"
#include "ui/input.h"
#include "ui/vnc.h"

#include <inttypes.h>

const QmpCmd *const qmp_tables[] = {
    monitor_misc_cmds,
    monitor_fd_cmds,
    monitor_fdset_cmds,
    monitor_qom_cmds,
    monitor_machine_cmds,
    system_qmp_cmds,
    chardev_qmp_cmds,
    net_qmp_cmds,
    block_qmp_cmds,
    pci_qmp_cmds,
    block_tray_cmds,
    block_throttle_cmds,
    virtio_qmp_cmds,
    virtio_balloon_cmds,
    display_qmp_cmds,
    input_qmp_cmds,
    vnc_qmp_cmds,
    NULL,
};

const QomTypes *const qom_types[] = { &system_cpu_types, NULL };

static void show_pci(Machine *m, const char *arg, GString *out)
{
    pci_describe(m, out);
}

static void show_balloon(Machine *m, const char *arg, GString *out)
{
    g_autoptr(GError) err = NULL;
    uint64_t bytes;

    if (virtio_balloon_actual(m, &bytes, &err)) {
        g_string_append_printf(out, "balloon: actual=%" PRIu64 "\n", bytes >> 20);
    } else {
        g_string_append_printf(out, "Error: %s\n", err->message);
    }
}

static const HmpInfo board_infos[] = {
    { "balloon", "", "show balloon information", show_balloon },
    { "pci", "", "show PCI info", show_pci },
    { NULL },
};

const HmpInfo *const hmp_info_tables[] = { monitor_infos, monitor_tree_infos, monitor_virtio_infos,
    monitor_input_infos, board_infos, NULL };

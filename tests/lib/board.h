/* A machine for unit tests: RAM, a PCI root bus with its host bridge ports, and INTx that is only
 * recorded. */
#pragma once

#include "hw/pci/pci.h"
#include "tests/lib/vport.h"

enum { BOARD_RAM = 16 << 20 };
typedef struct Board {
    Machine *m;
    Region ram;
    PciBus bus;
    PciHost host;
    VPort port;
    bool intx[32][4];
    unsigned intx_calls;
    unsigned near; /* the range of memory read last, as a vCPU keeps it */
} Board;

Board *board_new(bool express);
void board_free(Board *b);
Dev *board_add(
    Board *b, const char *json); /* "{'driver': 'virtio-rng-pci', 'addr': '4'}"; aborts on errors */
char *board_add_error(Board *b, const char *json); /* the message of what must fail; g_free */
void board_run(Board *b);                          /* turns the loop until nothing is left to do */
/* MSI target of the tests: what was written to 0xfee00000 and above. */
typedef struct BoardMsi {
    unsigned n;
    uint64_t addr;
    uint32_t data;
} BoardMsi;
extern BoardMsi board_msi;

/*
 * Intel 82540EM: what the files of the card share. Names and offsets: PCI/PCI-X Family of Gigabit
 * Ethernet Controllers Software Developer's Manual (317453), 13.
 */
#pragma once

#include "hw/pci/pci.h"
#include "net/net.h"
#include "util/le.h"
#include "util/timer.h"

enum { /* registers, by byte offset */
    E_CTRL = 0x0,
    E_STATUS = 0x8,
    E_EECD = 0x10,
    E_EERD = 0x14,
    E_CTRL_EXT = 0x18,
    E_MDIC = 0x20,
    E_VET = 0x38,
    E_ICR = 0xc0,
    E_ITR = 0xc4,
    E_ICS = 0xc8,
    E_IMS = 0xd0,
    E_IMC = 0xd8,
    E_RCTL = 0x100,
    E_TCTL = 0x400,
    E_LEDCTL = 0xe00,
    E_PBA = 0x1000,
    E_RDBAL = 0x2800,
    E_RDBAH = 0x2804,
    E_RDLEN = 0x2808,
    E_RDH = 0x2810,
    E_RDT = 0x2818,
    E_TDBAL = 0x3800,
    E_TDBAH = 0x3804,
    E_TDLEN = 0x3808,
    E_TDH = 0x3810,
    E_TDT = 0x3818,
    E_STATS = 0x4000, /* counters, cleared by reading: 13.7 */
    E_MPC = 0x4010,
    E_PRC64 = 0x405c,
    E_GPRC = 0x4074,
    E_BPRC = 0x4078,
    E_MPRC = 0x407c,
    E_GPTC = 0x4080,
    E_GORCL = 0x4088,
    E_GOTCL = 0x4090,
    E_RUC = 0x40a4,
    E_ROC = 0x40ac,
    E_TORL = 0x40c0,
    E_TOTL = 0x40c8,
    E_TPR = 0x40d0,
    E_TPT = 0x40d4,
    E_PTC64 = 0x40d8,
    E_MPTC = 0x40f0,
    E_BPTC = 0x40f4,
    E_TSCTC = 0x40f8,
    E_STATS_END = 0x4100,
    E_RXCSUM = 0x5000,
    E_MTA = 0x5200,
    E_RAL = 0x5400,
    E_VFTA = 0x5600,
    E_MANC = 0x5820,
    E_REGS = 0x6000 /* nothing behind */
};
enum { /* CTRL, STATUS, RCTL, TCTL */
    CTRL_RST = 1 << 26,
    CTRL_VME = 1 << 30,
    STATUS_LU = 1 << 1,
    RCTL_EN = 1 << 1,
    RCTL_SBP = 1 << 2,
    RCTL_UPE = 1 << 3,
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5,
    RCTL_LBM = 3 << 6,
    RCTL_BAM = 1 << 15,
    RCTL_VFE = 1 << 18,
    RCTL_BSEX = 1 << 25,
    RCTL_SECRC = 1 << 26,
    TCTL_EN = 1 << 1,
    TCTL_PSP = 1 << 3
};
enum { /* ICR, ICS, IMS, IMC: 13.4.17 */
    INT_TXDW = 1,
    INT_TXQE = 2,
    INT_LSC = 4,
    INT_RXDMT0 = 1 << 4,
    INT_RXO = 1 << 6,
    INT_RXT0 = 1 << 7,
    INT_MDAC = 1 << 9
};
enum {
    E1000_FRAME_MAX = 16384, /* the largest that hardware sends or takes */
    E1000_SEGMENT_MAX = 65536 + 256
};

typedef struct E1000Context { /* 3.3.6: where headers and checksums are */
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
    uint16_t ipcse, tucse, mss;
    bool tcp, ip4;
} E1000Context;

typedef struct E1000Tx {
    E1000Context offload; /* of the last context descriptor */
    uint32_t at, len;     /* bytes taken of the current descriptor; bytes in frame */
    uint32_t sent;        /* payload that went out in earlier segments */
    uint16_t segments, tag;
    uint8_t popts, cso, css;
    /* Of the packet (3.3.7): its first descriptor was seen; it is cut into segments; it cannot be
     * sent; a legacy descriptor wants its checksum; it carries a VLAN tag. */
    bool begun, tso, drop, insert_csum, tagged;
    bool blocked; /* frame is complete and waits for the back end */
    bool ended;   /* the packet has gone, its last descriptor is not yet written back */
    unsigned budget;
    uint8_t header[256]; /* of a packet in segments, as the driver wrote it */
    uint8_t frame[E1000_SEGMENT_MAX];
} E1000Tx;

typedef struct E1000 {
    PciFn fn;
    NetPort port;
    NetPort *netdev;
    MacAddr mac;
    int32_t bootindex;
    bool extra_regs, init_vet, migrate_tso; /* of QEMU's migration format: no effect */
    bool port_ready, running, intx;
    Region mmio, io;
    uint32_t reg[E_REGS / 4];
    uint32_t io_addr;
    uint16_t phy[32], eeprom[64];
    /* the EEPROM's serial interface: bits since it was selected, and the last of them */
    uint32_t ee_bits, ee_in;
    Timer throttle; /* ITR: no interrupt before it ends */
    LoopIdle tx_more;
    E1000Tx tx;
} E1000;

static inline uint32_t *e1000_reg(E1000 *s, unsigned off)
{
    return &s->reg[off / 4];
}
/* Adds a cause and raises the line when it is wanted. */
void e1000_cause(E1000 *s, uint32_t bits);
/* A counter that stays at its end; two words for octets. */
void e1000_count(E1000 *s, unsigned off, uint64_t n, bool wide);

/* e1000-tx.c. Takes descriptors between TDH and TDT; some are left for the loop's next turn. */
void e1000_transmit(E1000 *s);
void e1000_tx_reset(E1000 *s);

/* e1000-rx.c */
NetVerdict e1000_receive(E1000 *s, const struct iovec *iov, unsigned n, size_t len);

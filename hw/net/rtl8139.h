/*
 * Realtek RTL8139C+: what the files of the card share. Names and offsets: RTL8139C(L)+ data sheet,
 * 5 (registers), 6 (EEPROM), 9 (descriptors of the C+ mode).
 */
#pragma once

#include "hw/pci/pci.h"
#include "net/net.h"
#include "util/timer.h"

enum { /* registers */
    R_IDR = 0x00,
    R_MAR = 0x08,
    R_TSD = 0x10,   /* four of them */
    R_DTCCR = 0x10, /* C+: where the counters go */
    R_TSAD = 0x20,
    R_TNPDS = 0x20,
    R_THPDS = 0x28,
    R_RBSTART = 0x30,
    R_CR = 0x37,
    R_CAPR = 0x38,
    R_CBR = 0x3a,
    R_IMR = 0x3c,
    R_ISR = 0x3e,
    R_TCR = 0x40,
    R_RCR = 0x44,
    R_TCTR = 0x48,
    R_MPC = 0x4c,
    R_9346CR = 0x50,
    R_CONFIG0 = 0x51,
    R_CONFIG1 = 0x52,
    R_TIMERINT = 0x54,
    R_MSR = 0x58,
    R_CONFIG3 = 0x59,
    R_CONFIG4 = 0x5a,
    R_MULINT = 0x5c,
    R_RERID = 0x5e,
    R_TSAS = 0x60,
    R_BMCR = 0x62,
    R_BMSR = 0x64,
    R_ANAR = 0x66,
    R_ANLPAR = 0x68,
    R_ANER = 0x6a,
    R_NWAYTR = 0x70,
    R_CSCR = 0x74,
    R_CONFIG5 = 0xd8,
    R_TPPOLL = 0xd9,
    R_CPCR = 0xe0,
    R_RDSAR = 0xe4,
    R_ETTHR = 0xec,
    R_SIZE = 256
};
enum {
    CR_BUFE = 1,
    CR_TE = 4,
    CR_RE = 8,
    CR_RST = 16,
    INT_ROK = 1,
    INT_TOK = 4,
    INT_RXOVW = 16, /* C+: no receive descriptor */
    INT_LINK = 32,
    INT_TDU = 128,      /* C+: no transmit descriptor */
    INT_SOFTWARE = 256, /* the driver asked for it */
    INT_TIMEOUT = 0x4000,
    CPCR_TX = 1,
    CPCR_RX = 2,
    CPCR_CHECK = 32,
    CPCR_VLAN = 64,
    CPCR_ON = CPCR_TX | CPCR_RX,
    DTCCR_DUMP = 8,
    MSR_LINKB = 4,
    RTL_FRAME_MAX = 65536,
    RTL_SEGMENT_MAX = 14 + 120 + 2048
};

/* What the card counts since it was powered; a driver has it dumped into its memory (5.21). */
typedef struct RtlTally {
    uint64_t tx, rx, rx_unicast, rx_broadcast;
    uint32_t rx_multicast;
    uint16_t missed;
} RtlTally;

typedef struct RtlTx {
    uint8_t pending;    /* TSDs that were written and have not gone */
    uint8_t next;       /* of them, in order */
    unsigned at[2];     /* C+: descriptor of the normal and the high-priority ring */
    uint32_t len;       /* of frame */
    bool drop, blocked; /* the packet is too long; a frame waits for the back end */
    bool tagged;
    uint16_t tag;
    uint32_t options; /* C+: word 0 of the packet's first descriptor */
    uint32_t payload; /* large send: what of it has gone */
    uint8_t frame[RTL_FRAME_MAX], segment[RTL_SEGMENT_MAX];
} RtlTx;

typedef struct Rtl8139 {
    PciFn fn;
    NetPort port;
    NetPort *netdev;
    MacAddr mac;
    int32_t bootindex;
    bool port_ready, running, intx;
    Region io, mmio;
    uint8_t r[R_SIZE]; /* registers as the bus sees them */
    uint16_t eeprom[64];
    uint32_t ee_bits, ee_in;
    bool ee_clock;
    unsigned rx_at;    /* C+: the next receive descriptor */
    int64_t tctr_base; /* the time at which TCTR was 0 */
    Timer timer;
    LoopIdle tx_more;
    RtlTally tally;
    RtlTx tx;
} Rtl8139;

uint16_t rtl_r16(const Rtl8139 *s, unsigned at);
uint32_t rtl_r32(const Rtl8139 *s, unsigned at);
void rtl_w16(Rtl8139 *s, unsigned at, uint16_t v);
void rtl_w32(Rtl8139 *s, unsigned at, uint32_t v);
/* Adds causes and raises the line when they are wanted. */
void rtl_cause(Rtl8139 *s, uint16_t bits);

/* rtl8139-data.c. Sends what is ready in either mode; a part may stay for the loop's next turn. */
void rtl_transmit(Rtl8139 *s);
NetVerdict rtl_receive(Rtl8139 *s, const struct iovec *iov, unsigned n, size_t len);
bool rtl_buffer_empty(const Rtl8139 *s);
void rtl_dump_tally(Rtl8139 *s);

/* What the stub's files share. */
#pragma once

#include "gdbstub/gdbstub.h"

#include <glib.h>

enum { GDB_PACKET_MAX = 0x4000 };

typedef enum GdbPhase { GDB_CLOSED, GDB_ATTACHING, GDB_STANDING, GDB_RUNNING } GdbPhase;
typedef enum GdbRx { GDB_RX_IDLE, GDB_RX_DATA, GDB_RX_SUM1, GDB_RX_SUM2 } GdbRx;

struct GdbStub {
    const GdbTarget *target;
    void *opaque;
    GdbTransport transport;
    GdbPhase phase;
    bool no_ack;
    unsigned cpu_g, cpu_c; /* chosen by Hg and Hc */
    unsigned stop_cpu;
    int stop_signal;

    GdbRx rx;
    GByteArray *in; /* the packet being received, unescaped */
    uint8_t sum, want;
    bool escaped, overlong;
    bool held;     /* in holds a packet that waits for the machine to stand */
    GString *last; /* the last packet sent, for a retransmission */
    char *xml;
};

/* packet.c: frames and sends a packet; the text's '#', '$', '}' and '*' are escaped. */
void gdb_send(GdbStub *g, const char *data, size_t len);
void gdb_send_text(GdbStub *g, const char *text);

/* command.c: one complete packet. */
void gdb_command(GdbStub *g, char *p, size_t len);
void gdb_send_stop(GdbStub *g);

/* regs.c: registers by gdb's number. */
unsigned gdb_nregs(void);
unsigned gdb_reg_size(unsigned n);
void gdb_reg_get(
    const X86State *s, unsigned n, uint8_t *ret); /* gdb_reg_size() bytes, little endian */
void gdb_reg_set(X86State *s, unsigned n, const uint8_t *val);
char *gdb_target_xml(void);

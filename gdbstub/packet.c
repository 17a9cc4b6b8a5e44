/* Framing of the remote protocol: $data#sum, acknowledgements, escapes, the interrupt byte (gdb
 * manual, E.1). */
#include "internal.h"

#include <string.h>

static void transmit(GdbStub *g, const void *buf, size_t len)
{
    g->transport.send(g->transport.opaque, buf, len);
}

void gdb_send(GdbStub *g, const char *data, size_t len)
{
    uint8_t sum = 0;

    g_string_assign(g->last, "$");
    for (size_t i = 0; i < len; i++) {
        char ch = data[i];

        if (ch == '#' || ch == '$' || ch == '}' || ch == '*') {
            g_string_append_c(g->last, '}');
            ch ^= 0x20;
        }
        g_string_append_c(g->last, ch);
    }
    for (size_t i = 1; i < g->last->len; i++) {
        sum += (uint8_t)g->last->str[i];
    }
    g_string_append_printf(g->last, "#%02x", sum);
    transmit(g, g->last->str, g->last->len);
}

void gdb_send_text(GdbStub *g, const char *text)
{
    gdb_send(g, text, strlen(text));
}

static int hex_digit(uint8_t ch)
{
    return g_ascii_xdigit_value((char)ch);
}

static void run_packet(GdbStub *g)
{
    g_byte_array_append(g->in, (const uint8_t *)"", 1); /* commands are text */
    gdb_command(g, (char *)g->in->data, g->in->len - 1);
}

static void packet_done(GdbStub *g)
{
    if (g->sum != g->want || g->overlong) {
        if (!g->no_ack) {
            transmit(g, "-", 1);
        }
        return;
    }
    if (!g->no_ack) {
        transmit(g, "+", 1);
    }
    if (g->phase == GDB_STANDING) {
        run_packet(g);
    } else if (g->phase == GDB_ATTACHING) {
        g->held = true; /* answered when the machine stands */
    }
    /* While the machine runs gdb sends nothing but the interrupt byte. */
}

static void idle_byte(GdbStub *g, uint8_t b)
{
    if (b == '$') {
        g->rx = GDB_RX_DATA;
        g->sum = 0;
        g->escaped = g->overlong = g->held = false;
        g_byte_array_set_size(g->in, 0);
    } else if (b == 0x03) {
        if (g->phase == GDB_RUNNING) {
            g->target->stop(g->opaque);
        }
    } else if (b == '-' && !g->no_ack && g->last->len) {
        transmit(g, g->last->str, g->last->len);
    }
}

static void data_byte(GdbStub *g, uint8_t b)
{
    if (b == '#') {
        g->rx = GDB_RX_SUM1;
        return;
    }
    g->sum += b;
    if (b == '}' && !g->escaped) {
        g->escaped = true;
        return;
    }
    if (g->escaped) {
        b ^= 0x20;
        g->escaped = false;
    }
    if (g->in->len >= GDB_PACKET_MAX) {
        g->overlong = true;
        return;
    }
    g_byte_array_append(g->in, &b, 1);
}

void gdb_input(GdbStub *g, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    for (size_t i = 0; i < len && g->phase != GDB_CLOSED; i++) {
        switch (g->rx) {
        case GDB_RX_IDLE:
            idle_byte(g, p[i]);
            break;
        case GDB_RX_DATA:
            data_byte(g, p[i]);
            break;
        case GDB_RX_SUM1:
            g->want = (uint8_t)(hex_digit(p[i]) << 4);
            g->rx = GDB_RX_SUM2;
            break;
        case GDB_RX_SUM2:
            g->want |= (uint8_t)hex_digit(p[i]);
            g->rx = GDB_RX_IDLE;
            packet_done(g);
            break;
        }
    }
}

GdbStub *gdb_new(const GdbTarget *target, void *target_opaque, GdbTransport transport)
{
    GdbStub *g = g_new0(GdbStub, 1);

    g->target = target;
    g->opaque = target_opaque;
    g->transport = transport;
    g->in = g_byte_array_new();
    g->last = g_string_new(NULL);
    g->xml = gdb_target_xml();
    return g;
}

void gdb_free(GdbStub *g)
{
    if (g) {
        g_byte_array_unref(g->in);
        g_string_free(g->last, TRUE);
        g_free(g->xml);
        g_free(g);
    }
}

void gdb_open(GdbStub *g)
{
    g->phase = GDB_ATTACHING;
    g->rx = GDB_RX_IDLE;
    g->no_ack = g->held = false;
    g->cpu_g = g->cpu_c = g->stop_cpu = 0;
    g->stop_signal = 5;
    g_string_truncate(g->last, 0);
    g->target->stop(g->opaque);
}

void gdb_close(GdbStub *g)
{
    if (g->phase != GDB_CLOSED) {
        g->phase = GDB_CLOSED;
        g->target->detach(g->opaque);
    }
}

bool gdb_attached(const GdbStub *g)
{
    return g->phase != GDB_CLOSED;
}

void gdb_stopped(GdbStub *g, unsigned cpu, GdbReason reason, uint64_t addr)
{
    GdbPhase was = g->phase;

    if (was == GDB_CLOSED) {
        return;
    }
    if (reason == GDB_STOP_EXIT) {
        if (was == GDB_RUNNING) {
            gdb_send_text(g, "W00");
        }
        g->phase = GDB_CLOSED;
        return;
    }
    g->phase = GDB_STANDING;
    g->cpu_g = g->cpu_c = g->stop_cpu = cpu;
    g->stop_signal = reason == GDB_STOP_INTERRUPT ? 2 : 5;
    if (was == GDB_ATTACHING) {
        g->stop_signal = 5;
        if (g->held) {
            g->held = false;
            run_packet(g);
        }
    } else if (was == GDB_RUNNING) {
        if (reason == GDB_STOP_WATCH) {
            g_autofree char *t =
                g_strdup_printf("T05thread:%02x;watch:%" G_GINT64_MODIFIER "x;", cpu + 1, addr);

            gdb_send_text(g, t);
        } else {
            gdb_send_stop(g);
        }
    }
}

/* Normative sentences about virtio-scsi's events (VIRTIO 1.4, 5.6.3 and 5.6.6.3): units that come,
 * go and change. */
#include "tests/conformance/norm-scsi.h"

static void event_buffer(Norm *x, uint32_t len)
{
    VBuf buf = { x->page + 0x900, len, true };

    norm_fill(x, x->page + 0x900, 0xee, 16);
    vring_add(&x->d.ring[EVENT], &buf, 1, 0);
    vd_kick(&x->d, EVENT);
    board_run(x->b);
}

typedef struct Event {
    uint32_t event, reason;
    uint8_t lun[8];
} Event;

/* False: none came. */
static bool next_event(Norm *x, Event *ret)
{
    uint32_t id, len;

    board_run(x->b);
    if (!vring_used(&x->d.ring[EVENT], &id, &len)) {
        return false;
    }
    g_assert_cmpuint(len, ==, 16);
    ret->event = vport_r32(&x->b->port, x->page + 0x900);
    x->b->port.read(x->b, x->page + 0x904, ret->lun, 8);
    ret->reason = vport_r32(&x->b->port, x->page + 0x90c);
    return true;
}

static Dev *plug(Norm *x)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(
        "{'driver': 'scsi-hd', 'drive': 'e', 'bus': 's.0', 'scsi-id': 1, 'lun': 2}", -1, NULL);

    scsi_drive("e", "");
    Dev *d = dev_create(x->b->m, args, /* hotplug= */ true, &err);

    g_assert_no_error(err);
    return d;
}

static void resize(int64_t size)
{
    for (const QmpCmd *c = block_qmp_cmds; c->name; c++) {
        if (!strcmp(c->name, "block_resize")) {
            g_autofree void *a = g_malloc0(c->args_size);
            g_autoptr(Json) args = json_object();

            json_set(args, "device", json_str("d"));
            json_set(args, "size", json_int(size));
            prop_defaults(c->args_spec, a);
            g_assert_true(prop_apply_struct(c->args_spec, a, args, NULL));
            g_autoptr(Json) ret = c->run(NULL, a, NULL);

            g_assert_nonnull(ret);
            prop_release(c->args_spec, a);
        }
    }
}

static void come_and_go(Norm *x, unsigned how)
{
    Event e;

    scsi_disk(x, how);
    scsi_ready(x);
    event_buffer(x, 16);
    Dev *d = plug(x);

    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 1);  /* TRANSPORT_RESET */
    g_assert_cmphex(e.reason, ==, 1); /* RESCAN */
    g_assert_cmphex(e.lun[0], ==, 1);
    g_assert_cmphex(e.lun[1], ==, 1);
    g_assert_cmphex(e.lun[3], ==, 2);
    event_buffer(x, 16);
    dev_unplug_done(x->b->m, d);
    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 1);
    g_assert_cmphex(e.reason, ==, 2); /* REMOVED */
    g_assert_cmphex(e.lun[3], ==, 2);
    scsi_end(x);
}

static void txt_feat_1(Norm *x)
{
    NORM("TXT-SCSI-FEAT-1");
    scsi_disk(x, 0);
    g_assert_cmphex(vd_offered(&x->d) >> HOTPLUG & 1, ==, 1);
    scsi_end(x);
    come_and_go(x, 0);
}

static void txt_feat_3(Norm *x)
{
    Event e;

    NORM("TXT-SCSI-FEAT-3");
    scsi_disk(x, 0);
    scsi_ready(x);
    g_assert_cmphex(vd_offered(&x->d) >> CHANGE & 1, ==, 1);
    event_buffer(x, 16);
    resize(1 << 20);
    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 3);       /* PARAM_CHANGE */
    g_assert_cmphex(e.reason, ==, 0x092a); /* capacity data has changed */
    scsi_end(x);
}

static void txt_event_1(Norm *x)
{
    NORM("TXT-SCSI-EVENT-1");
    scsi_disk(x, 0);
    scsi_ready(x);
    event_buffer(x, 8);
    plug(x);
    board_run(x->b);
    uint32_t id, len;
    bool used = vring_used(&x->d.ring[EVENT], &id, &len), broken = vd_status(&x->d) & 64;

    norm_note("an event buffer that is too short: %s", used ? "NO_EVENT" : "DEVICE_NEEDS_RESET");
    g_assert_true(used || broken);
    scsi_end(x);
}

static void lost_event(Norm *x)
{
    Event e;

    scsi_disk(x, 0);
    scsi_ready(x);
    plug(x); /* no buffer */
    g_assert_false(next_event(x, &e));
    event_buffer(x, 16);
    if (next_event(x, &e)) {
        norm_note("lost events are told of when a buffer comes, event %#x", e.event);
    } else { /* then the next one says so */
        resize(1 << 20);
        g_assert_true(next_event(x, &e));
    }
    g_assert_cmphex(e.event & MISSED, ==, MISSED);
    scsi_end(x);
}

static void txt_event_2(Norm *x)
{
    NORM("TXT-SCSI-EVENT-2");
    lost_event(x);
}

static void event_1(Norm *x)
{
    NORM("SCSI-EVENT-1");
    lost_event(x);
}

static void txt_event_3(Norm *x)
{
    NORM("TXT-SCSI-EVENT-3");
    norm_note("events of units name the unit, not the whole target");
    come_and_go(x, 0);
}

static void txt_event_4(Norm *x)
{
    NORM("TXT-SCSI-EVENT-4");
    scsi_disk(x, 0);
    scsi_ready(x);
    resize(1 << 20);
    Answer a = scsi_command(x, 0, TEST_UNIT_READY, 0, 0);

    g_assert_cmphex(a.sense[2] & 15, ==, 6); /* UNIT ATTENTION */
    g_assert_cmphex(a.sense[12], ==, 0x2a);
    g_assert_cmphex(a.sense[13], ==, 0x09);
    scsi_end(x);
}

/* A driver that does what the standard tells it to finds what it needs. */
static void feat_2(Norm *x)
{
    Event e;

    NORM("TXT-SCSI-FEAT-2");
    scsi_disk(x, 0);
    scsi_ready(x);
    event_buffer(x, 16);
    g_assert_cmpuint(scsi_command(x, 1, INQUIRY, 36, 36).response, ==, BAD_TARGET);
    Dev *d = plug(x);

    g_assert_true(next_event(x, &e)); /* RESCAN: the driver asks the unit */
    g_assert_cmpuint(scsi_command(x, 1, INQUIRY, 36, 36).response, ==, OK);
    event_buffer(x, 16);
    dev_unplug_done(x->b->m, d);
    g_assert_true(next_event(x, &e)); /* REMOVED */
    g_assert_cmpuint(scsi_command(x, 1, INQUIRY, 36, 36).response, ==, BAD_TARGET);
    scsi_end(x);
}

static void init_2(Norm *x)
{
    NORM("SCSI-INIT-2");
    scsi_disk(x, 0);
    event_buffer(x, 16); /* before anything else */
    Event e;

    g_assert_false(next_event(x, &e)); /* and there it stays until something happens */
    plug(x);
    g_assert_true(next_event(x, &e));
    scsi_end(x);
}

static void event_2(Norm *x)
{
    Event e;

    NORM("SCSI-EVENT-2");
    scsi_unit(x, 0, "scsi-hd", "", NORM_BIT(HOTPLUG));
    scsi_ready(x);
    event_buffer(x, 16);
    Dev *d = plug(x);

    g_assert_false(next_event(x, &e));
    dev_unplug_done(x->b->m, d);
    g_assert_false(next_event(x, &e));
    scsi_end(x);
}

static void event_3(Norm *x)
{
    Event e;

    NORM("SCSI-EVENT-3");
    scsi_unit(x, 0, "scsi-cd", "", 0);
    event_buffer(x, 16);
    resize(1 << 20);
    g_assert_false(next_event(x, &e));
    scsi_end(x);
}

static void leg_event_1(Norm *x)
{
    NORM("LEG-SCSI-EVENT-1");
    come_and_go(x, NORM_LEGACY);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-SCSI-FEAT-2", feat_2, NORM_BARE, NULL },
        { "SCSI-INIT-2", init_2, NORM_BARE, NULL },
        { "TXT-SCSI-FEAT-1", txt_feat_1, NORM_BARE, NULL },
        { "TXT-SCSI-FEAT-3", txt_feat_3, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-1", txt_event_1, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-2", txt_event_2, NORM_BARE, NULL },
        { "SCSI-EVENT-1", event_1, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-3", txt_event_3, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-4", txt_event_4, NORM_BARE, NULL },
        { "SCSI-EVENT-2", event_2, NORM_BARE, NULL },
        { "SCSI-EVENT-3", event_3, NORM_BARE, NULL },
        { "LEG-SCSI-EVENT-1", leg_event_1, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}

/* scsi-hd and scsi-cd: what their files share. */
#pragma once

#include "hw/scsi/scsi.h"

typedef struct ScsiDisk {
    ScsiDev sd;
    Blk *blk;
    bool cd, removable, dpofua, share_rw, attached, wce;
    BlkConf conf;
    uint32_t lcyls, lheads, lsecs;
    uint64_t max_unmap, max_io, wwn, port_wwn;
    uint16_t rotation_rate, port_index;
    int32_t bootindex, scsi_version;
    char *vendor, *product, *ver, *serial, *device_id;
    OnOffAuto write_cache, account_failed, account_invalid, backend_defaults;
    bool migrate_emulated, quirk_apple, quirk_mode_apple, quirk_truncated, quirk_rom_dbd;
    /* The bus's loop owns the rest. */
    bool tray_open, locked;
    bool eject_asked; /* the host wants the medium out: a driver that polls hears of it */
    bool new_medium;  /* MMC-6, 6.7.1.3: not yet reported */
    unsigned writes;  /* out */
    bool exclusive;   /* COMPARE AND WRITE runs: writes wait */
    GQueue waiting;   /* ScsiReq* */
} ScsiDisk;

static inline ScsiDisk *disk_of(const ScsiReq *r)
{
    return (ScsiDisk *)r->dev;
}
static inline unsigned disk_block(const ScsiDisk *s)
{
    return (unsigned)s->conf.logical_block;
}
/* Blocks of the medium; 0 without one. */
uint64_t disk_blocks(const ScsiDisk *s);
bool disk_has_medium(const ScsiDisk *s);
/* Fails r when there is no medium to work on. */
bool disk_need_medium(ScsiReq *r);

/* scsi-inquiry.c: INQUIRY, MODE SENSE and SELECT, READ CAPACITY */
void disk_inquiry(ScsiReq *r);
void disk_mode_sense(ScsiReq *r);
void disk_mode_select(ScsiReq *r);
void disk_read_capacity(ScsiReq *r);

/* scsi-rw.c: what moves blocks. True: r->cdb was one of its commands. */
bool disk_rw_xfer(const ScsiDisk *s, const uint8_t *cdb, bool *ret_out, uint64_t *ret_len);
bool disk_rw_run(ScsiReq *r);
/* len bytes from off to the initiator; in range, and compared with its buffer. */
void disk_read(ScsiReq *r, uint64_t off, uint64_t len);
/* Submits one block request; step() follows in the bus's loop. */
void disk_block_io(ScsiReq *r, BlkOp op, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, unsigned flags, void (*step)(ScsiReq *r, int error));

/* scsi-cd.c: MMC-6 */
bool disk_cd_xfer(const uint8_t *cdb, bool *ret_out, uint64_t *ret_len);
bool disk_cd_run(ScsiReq *r);
/* The tray moves, by the guest or by the host. */
void disk_move_tray(ScsiDisk *s, bool open);

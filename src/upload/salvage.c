/*
 * A segment that cannot be read as it was written: what can be read of it takes its place in
 * the spool, and it is kept in unreadable/.
 */
#include "upload_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/segment.h>
#include <tapbox/spool.h>

enum {
    HOLES_TOLD = 2, /* of one segment; the index of what was saved has all */
};

/* --- in words --- */

static void
describe_hole(const struct tb_segment_hole *hole, struct tb_buf *out)
{
    char from[TB_TIME_TEXT_SIZE], to[TB_TIME_TEXT_SIZE];

    tb_buf_printf(out, "octets %llu to %llu (%s%llu packets", (unsigned long long)hole->offset,
                  (unsigned long long)(hole->offset + hole->length - 1),
                  hole->is_counted ? "" : "at least ", (unsigned long long)hole->packets);
    if (hole->from_utc_ns != 0) {
        tb_time_format_ns(from, hole->from_utc_ns);
        tb_buf_printf(out, ", from %s", from);
    }
    if (hole->to_utc_ns != 0) {
        tb_time_format_ns(to, hole->to_utc_ns);
        tb_buf_printf(out, ", to %s", to);
    }
    tb_buf_printf(out, ")");
}

void
upload_describe_damage(const struct tb_segment_reader *reader, struct tb_segment_row *row)
{
    struct tb_buf text = TB_BUF_INIT(sizeof(row->damage) - 1);
    size_t count = 0;
    const struct tb_segment_hole *holes = tb_segment_reader_holes(reader, &count);

    row->missing_packets = 0;
    for (size_t i = 0; i < count; i++) {
        row->missing_packets += holes[i].packets;
        if (i < HOLES_TOLD) {
            tb_buf_printf(&text, "%s", i > 0 ? ", " : "");
            describe_hole(&holes[i], &text);
        }
    }
    if (count > HOLES_TOLD) {
        tb_buf_printf(&text, ", and %zu stretches more", count - HOLES_TOLD);
    }
    if (count == 0) {
        tb_buf_printf(&text, "its index");
    }
    (void)tb_str_copy(row->damage, sizeof(row->damage), tb_buf_str(&text));
    tb_buf_release(&text);
}

/* --- in the spool --- */

/* The disk gives all of it, and it has an index. */
static bool
is_whole(int fd)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_sha256 sha256;
    struct tb_fail fail;
    uint64_t bytes;
    bool whole = tb_segment_reader_open(fd, &reader, &fail) == TB_OK &&
                 tb_sha256_fd(fd, &sha256, &bytes, &fail) == TB_OK;

    tb_segment_reader_free(reader);
    return whole;
}

static enum tb_err
replace(int spool_fd, const char *capture_id, const char *name, int fd, struct tb_fail *fail)
{
    char place[TB_SPOOL_PLACE_SIZE] = "";
    struct tb_segment_summary summary;
    struct tb_readable file;
    int out_fd = -1;
    enum tb_err err = tb_readable_fd(&fd, &file, fail);

    if (err == TB_OK) {
        err = tb_spool_begin_replacement(spool_fd, capture_id, name, place, &out_fd, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    err = tb_segment_salvage(&file, out_fd, &summary, fail);
    if (err == TB_OK) {
        err = tb_spool_replace(spool_fd, capture_id, name, place, fail);
    } else {
        tb_spool_drop_replacement(spool_fd, capture_id, place);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_ERROR, capture_id,
               "%s could not be read as it was written: packets=%llu of it were saved, it is "
               "kept as unreadable/%s/%s",
               name, (unsigned long long)summary.packets, capture_id, place);
    }
    tb_close(&out_fd);
    return err;
}

enum tb_err
upload_salvage(int spool_fd, const char *capture_id, const char *name, struct tb_fail *fail)
{
    int fd = -1;
    enum tb_err err = tb_spool_open(spool_fd, capture_id, name, &fd, fail);

    if (err != TB_OK) {
        return err;
    }
    /* (the thread that comes second finds the replacement, which is whole) */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        err = tb_fail_set(fail, TB_ERETRY, "%s is being saved", name);
    } else if (!is_whole(fd)) {
        err = replace(spool_fd, capture_id, name, fd, fail);
    }
    tb_close(&fd);
    return err;
}

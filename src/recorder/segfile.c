/*
 * One segment file, from its hidden name to the sealed one.
 *
 * First a chunk of section and interface blocks, then the lane's chunks, then a chunk of
 * interface statistics, the index and the last block.  Chunks that are whole stay whole: when a
 * write fails, the file is cut behind the last whole chunk and repaired as after a crash.
 */
#include "lane_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/io.h>

enum {
    FILE_MODE = 0640, /* serve may read through its group */
    FOLDER_MODE = 0770,
    STATISTICS_MAX_BYTES = 64 * 1024
};

void
tb_stream_ledger(const struct tb_stream *stream, struct tb_ledger *out)
{
    *out = stream->writer.handed_over;
    out->written = tb_counted(&stream->shared->counters, TB_COUNT_WRITTEN);
    out->written_bytes = tb_counted(&stream->shared->counters, TB_COUNT_WRITTEN_BYTES);
    out->spool_full = tb_counted(&stream->shared->counters, TB_COUNT_SPOOL_FULL);
}

static void
hidden_name(const struct tb_segfile *file, char out[TB_SPOOL_NAME_SIZE + 1])
{
    (void)snprintf(out, TB_SPOOL_NAME_SIZE + 1, ".%s", file->name);
}

/* Opens the capture's folder, making it durable when it is new. */
static enum tb_err
open_folder(const struct tb_armed *armed, int spool_fd, int *out_fd, struct tb_fail *fail)
{
    enum tb_err err = tb_open_dir(spool_fd, armed->spec.capture_id, FOLDER_MODE, out_fd, fail);

    if (err == TB_OK && fsync(spool_fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync the spool folder");
        tb_close(out_fd);
    }
    return err;
}

static void
forget_file(struct tb_segfile *file)
{
    tb_close(&file->fd);
    tb_close(&file->dir_fd);
    file->state = TB_SEGFILE_NONE;
    file->dirty = false;
    file->named = false;
}

/* Appends what the encoder gave.  After a failure the file is broken. */
static enum tb_err
append(struct tb_segfile *file, struct tb_bytes out, struct tb_fail *fail)
{
    enum tb_err err = tb_write_all(file->fd, out, fail);

    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", file->name);
        file->state = TB_SEGFILE_BROKEN;
        return err;
    }
    file->good_bytes += out.len;
    file->chunks++;
    file->dirty = true;
    return TB_OK;
}

static enum tb_err
put_chunk(struct tb_stream *stream, struct tb_bytes blocks, const struct tb_chunk_info *info,
          struct tb_fail *fail)
{
    struct tb_bytes out;
    enum tb_err err =
        tb_segment_encoder_chunk(stream->writer.encoder, blocks, info, &out, fail);

    return err != TB_OK ? err : append(&stream->writer.file, out, fail);
}

enum tb_err
tb_segfile_open(struct tb_stream *stream, int spool_fd, struct tb_fail *fail)
{
    const struct tb_armed *armed = stream->armed;
    struct tb_segfile *file = &stream->writer.file;
    struct tb_chunk_info info = {.packets = 0};
    char hidden[TB_SPOOL_NAME_SIZE + 1];
    enum tb_err err;

    *file = (struct tb_segfile){.fd = -1, .dir_fd = -1};
    err = open_folder(armed, spool_fd, &file->dir_fd, fail);
    if (err != TB_OK) {
        goto out;
    }
    if (!stream->writer.seq_known) {
        err = tb_spool_next_seq(file->dir_fd, armed->spec.host, stream->lane_index,
                                &stream->writer.next_seq, fail);
        if (err != TB_OK) {
            goto out;
        }
        /* Nothing of what was written before is there, not even its last number: it may be in
         * S3, and no number is used twice. */
        if (stream->writer.next_seq == 1 && armed->spec.base.ledger.written > 0) {
            stream->writer.next_seq += (uint64_t)(armed->spec.base.known_utc_ns / TB_NS_PER_S);
        }
        stream->writer.seq_known = true;
    }
    err = tb_spool_keep_seq(file->dir_fd, armed->spec.host, stream->lane_index,
                            stream->writer.next_seq + 1, fail);
    if (err != TB_OK) {
        goto out;
    }
    (void)snprintf(file->name, sizeof(file->name), "%s-%u-%06" PRIu64 ".pcapng.zst",
                   armed->spec.host, stream->lane_index, stream->writer.next_seq);
    hidden_name(file, hidden);
    file->fd = openat(file->dir_fd, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (file->fd < 0) {
        err = tb_fail_errno(fail, errno, "cannot make %s", hidden);
        goto out;
    }
    stream->writer.next_seq++;
    stream->writer.opened++;
    file->state = TB_SEGFILE_OPEN;
    file->opened_boot_ns = file->synced_boot_ns = tb_clock_boot_ns();
    tb_segment_encoder_reset(stream->writer.encoder);
    tb_stream_ledger(stream, &info.ledger);
    err = put_chunk(stream, tb_bytes_of(armed->header, armed->header_len), &info, fail);
    if (err != TB_OK && unlinkat(file->dir_fd, hidden, 0) == 0) {
        stream->writer.next_seq--; /* as if it had not been: no number is missing */
        stream->writer.opened--;
    }

out:
    if (err != TB_OK) {
        forget_file(file);
    }
    return err;
}

enum tb_err
tb_segfile_chunk(struct tb_stream *stream, struct tb_bytes blocks,
                 const struct tb_chunk_info *info, struct tb_fail *fail)
{
    struct tb_segfile *file = &stream->writer.file;
    enum tb_err err = put_chunk(stream, blocks, info, fail);

    if (err == TB_OK) {
        if (file->packets == 0 || info->first_utc_ns < file->first_utc_ns) {
            file->first_utc_ns = info->first_utc_ns;
        }
        if (file->packets == 0 || info->last_utc_ns > file->last_utc_ns) {
            file->last_utc_ns = info->last_utc_ns;
        }
        file->packets += info->packets;
    }
    return err;
}

enum tb_err
tb_segfile_sync(struct tb_stream *stream, struct tb_fail *fail)
{
    struct tb_segfile *file = &stream->writer.file;

    file->dirty = false;
    if (fdatasync(file->fd) != 0) {
        return tb_fail_errno(fail, errno, "cannot sync %s", file->name);
    }
    return TB_OK;
}

static enum tb_err
give_name(struct tb_segfile *file, struct tb_fail *fail)
{
    char hidden[TB_SPOOL_NAME_SIZE + 1];

    hidden_name(file, hidden);
    if (fsync(file->fd) != 0) {
        return tb_fail_errno(fail, errno, "cannot sync %s", file->name);
    }
    if (renameat2(file->dir_fd, hidden, file->dir_fd, file->name, RENAME_NOREPLACE) != 0) {
        return tb_fail_errno(fail, errno, "cannot rename %s", hidden);
    }
    file->named = true;
    return TB_OK;
}

/* The file is complete: under its own name, and so that it stays there. */
static enum tb_err
publish(struct tb_stream *stream, struct tb_fail *fail)
{
    struct tb_segfile *file = &stream->writer.file;
    enum tb_err err = file->named ? TB_OK : give_name(file, fail);

    if (err != TB_OK) {
        return err;
    }
    if (fsync(file->dir_fd) != 0) {
        return tb_fail_errno(fail, errno, "cannot sync the folder of %s", file->name);
    }
    atomic_fetch_add(&stream->shared->segments, 1);
    forget_file(file);
    return TB_OK;
}

/* The ledger is the whole capture's, so the first interface carries it. */
static size_t
put_statistics(const struct tb_stream *stream, const struct tb_ledger *ledger, uint8_t *at,
               size_t cap)
{
    const struct tb_segfile *file = &stream->writer.file;

    return tb_pcapng_put_statistics(at, cap, 0, file->first_utc_ns, file->last_utc_ns, ledger);
}

enum tb_err
tb_segfile_seal(struct tb_stream *stream, struct tb_fail *fail)
{
    uint8_t blocks[STATISTICS_MAX_BYTES];
    struct tb_chunk_info info = {.packets = 0};
    struct tb_bytes out;
    enum tb_err err;
    size_t len;

    tb_stream_ledger(stream, &info.ledger);
    len = put_statistics(stream, &info.ledger, blocks, sizeof(blocks));
    err = put_chunk(stream, tb_bytes_of(blocks, len), &info, fail);
    if (err == TB_OK) {
        err = tb_segment_encoder_finish(stream->writer.encoder, false, &out, fail);
    }
    if (err == TB_OK) {
        err = append(&stream->writer.file, out, fail);
    }
    if (err == TB_OK) {
        err = publish(stream, fail);
    }
    if (err != TB_OK) {
        stream->writer.file.state = TB_SEGFILE_BROKEN;
    }
    return err;
}

/* Chunks that counted as written and are not whole any more are lost after all. */
static void
count_cut(struct tb_stream *stream, uint64_t packets, uint64_t frame_bytes)
{
    struct tb_segfile *file = &stream->writer.file;
    struct tb_counters *counters = &stream->shared->counters;

    if (packets <= file->packets && frame_bytes <= file->frame_bytes) {
        tb_count(counters, TB_COUNT_WRITTEN, 0 - packets);
        tb_count(counters, TB_COUNT_WRITTEN_BYTES, 0 - frame_bytes);
        tb_count(counters, TB_COUNT_SPOOL_FULL, packets);
        file->packets -= packets;
        file->frame_bytes -= frame_bytes;
    }
}

enum tb_err
tb_segfile_repair(struct tb_stream *stream, struct tb_fail *fail)
{
    const struct tb_counters *counters = &stream->shared->counters;
    struct tb_segfile *file = &stream->writer.file;
    struct tb_segment_summary summary;
    char hidden[TB_SPOOL_NAME_SIZE + 1];
    bool changed;
    enum tb_err err;

    if (file->named) {
        return publish(stream, fail);
    }
    err = tb_segment_recover(file->fd, &changed, &summary, fail);
    if (err == TB_ESTATE) {
        return publish(stream, fail); /* the uploader saves what can be read, and says it */
    }
    if (err == TB_OK) {
        /* (its last chunk says how much had been written then) */
        count_cut(stream, tb_counted(counters, TB_COUNT_WRITTEN) - summary.ledger.written,
                  tb_counted(counters, TB_COUNT_WRITTEN_BYTES) - summary.ledger.written_bytes);
        return publish(stream, fail);
    }
    if (err == TB_ENOTFOUND) { /* not even the interfaces are whole: it holds no packet */
        count_cut(stream, file->packets, file->frame_bytes);
        hidden_name(file, hidden);
        (void)unlinkat(file->dir_fd, hidden, 0);
        forget_file(file);
        return TB_OK;
    }
    tb_fail_prefix(fail, "%s", file->name);
    return err;
}

bool
tb_segfile_is_gone(const struct tb_stream *stream)
{
    struct stat st;

    return !stream->writer.file.named && fstat(stream->writer.file.fd, &st) == 0 &&
           st.st_nlink == 0;
}

void
tb_segfile_abandon(struct tb_stream *stream)
{
    forget_file(&stream->writer.file);
}

/*
 * Repairs a segment that was cut off, from what its chunks say of themselves.
 *
 * Chunks are taken from the front as long as they are whole (walk.c).  The first that is not
 * ends the segment, and the new index is the one that the encoder would have written there.
 */
#include <tapbox/segment.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "segment_int.h"

enum {
    FIRST_CHUNKS = 64 /* room in the list; doubled when full */
};

/* --- chunks for a new index --- */

enum tb_err
segment_taken_init(struct segment_taken *taken, struct tb_fail *fail)
{
    *taken = (struct segment_taken){.chunks = NULL};
    taken->keys = malloc(sizeof(*taken->keys));
    taken->key_list.at = malloc(segment_key_list_cap(TB_SEGMENT_MAX_CHUNKS));
    return taken->keys == NULL || taken->key_list.at == NULL
               ? tb_fail_set(fail, TB_ENOMEM, "no memory for the keys of a segment")
               : TB_OK;
}

void
segment_taken_release(struct segment_taken *taken)
{
    free(taken->key_list.at);
    free(taken->keys);
    free(taken->chunks);
}

enum tb_err
segment_taken_add(struct segment_taken *taken, const struct tb_segment_chunk *chunk,
                  struct tb_bytes plain, struct tb_fail *fail)
{
    if (taken->count == taken->cap) {
        size_t cap = taken->cap == 0 ? FIRST_CHUNKS : 2 * taken->cap;
        struct tb_segment_chunk *more = realloc(taken->chunks, cap * sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "a list of %zu chunks", cap);
        }
        taken->chunks = more;
        taken->cap = cap;
    }
    segment_keys_collect(taken->keys, plain);
    segment_key_list_add(&taken->key_list, taken->keys);
    taken->chunks[taken->count++] = *chunk;
    return TB_OK;
}

static enum tb_err
write_at(int fd, uint64_t offset, struct tb_bytes octets, struct tb_fail *fail)
{
    size_t done = 0;

    while (done < octets.len) {
        ssize_t n = pwrite(fd, octets.at + done, octets.len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return tb_fail_errno(fail, n < 0 ? errno : ENOSPC, "cannot write the index");
        }
        done += (size_t)n;
    }
    return TB_OK;
}

enum tb_err
segment_taken_seal(const struct segment_taken *taken, struct tb_hasher *hasher, int fd,
                   uint64_t end, const struct tb_segment_hole *holes, size_t hole_count,
                   struct tb_segment_summary *out, struct tb_fail *fail)
{
    struct segment_index_writer index;
    struct tb_bytes octets;
    enum tb_err err = segment_index_writer_init(&index, taken->count, holes, hole_count);

    if (err != TB_OK) {
        return tb_fail_set(fail, err, "an index of %zu chunks", taken->count);
    }
    for (size_t i = 0; i < taken->count; i++) {
        segment_index_add(&index, &taken->chunks[i]);
    }
    segment_index_put_keys(&index, &taken->key_list);
    err = segment_index_finish(&index, hasher, end, true, &octets);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256 of the index");
        goto out;
    }
    if (ftruncate(fd, (off_t)end) != 0) {
        err = tb_fail_errno(fail, errno, "cannot cut the segment");
        goto out;
    }
    err = write_at(fd, end, octets, fail);
    if (err == TB_OK && fsync(fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync the segment");
    }
    if (err == TB_OK) {
        segment_sum_up(taken->chunks, taken->count, out);
        out->recovered = true;
        out->bytes = end + octets.len;
    }

out:
    segment_index_writer_release(&index);
    return err;
}

/* --- repair --- */

struct scan {
    struct segment_walk walk;
    uint64_t file_bytes;
    struct segment_taken taken;
};

/* Takes the next chunk if it is whole. */
static enum tb_err
take_chunk(struct scan *scan, bool *out_taken, struct tb_fail *fail)
{
    struct tb_segment_chunk chunk;
    struct tb_bytes plain;
    enum tb_err err =
        segment_walk_next(&scan->walk, scan->file_bytes, &chunk, &plain, out_taken, fail);

    return err != TB_OK || !*out_taken ? err
                                       : segment_taken_add(&scan->taken, &chunk, plain, fail);
}

/* TB_OK when the file is a sealed segment already. */
static enum tb_err
look_at_sealed(int fd, struct tb_segment_summary *out, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = NULL;
    enum tb_err err = tb_segment_reader_open(fd, &reader, fail);

    if (err == TB_OK) {
        tb_segment_reader_summary(reader, out);
    }
    tb_segment_reader_free(reader);
    return err;
}

/* Behind the last chunk before the damage nothing may be cut off that can still be read. */
static enum tb_err
look_behind(struct scan *scan, struct tb_fail *fail)
{
    uint32_t least = scan->walk.count > 0 ? scan->walk.count : 1;
    struct tb_readable file;
    bool is_behind = false;
    enum tb_err err = tb_readable_fd(&scan->walk.fd, &file, fail);

    if (err == TB_OK) {
        err = segment_chunk_is_behind(&file, scan->walk.end, least, &is_behind, fail);
    }
    return err == TB_OK && is_behind
               ? tb_fail_set(fail, TB_ESTATE, "whole chunks stand behind a damaged one")
               : err;
}

enum tb_err
tb_segment_recover(int fd, bool *out_changed, struct tb_segment_summary *out,
                   struct tb_fail *fail)
{
    struct scan scan = {.walk = {.fd = fd}};
    struct tb_segment_summary summary;
    struct stat st;
    bool taken = true;
    enum tb_err err = look_at_sealed(fd, &summary, fail);

    if (err == TB_OK) {
        *out_changed = false;
        *out = summary;
        return TB_OK;
    }
    if (err != TB_EFORMAT && err != TB_ESHORT) {
        return err;
    }
    if (fstat(fd, &st) != 0) {
        return tb_fail_errno(fail, errno, "cannot look at the segment");
    }
    scan.file_bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    err = segment_loader_init(&scan.walk.loader, fail);
    if (err != TB_OK) {
        return err;
    }
    err = segment_taken_init(&scan.taken, fail);
    while (err == TB_OK && taken) {
        err = take_chunk(&scan, &taken, fail);
    }
    if (err == TB_OK) {
        err = look_behind(&scan, fail);
    }
    if (err == TB_OK && scan.taken.count == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "not one whole chunk in %llu octets",
                          (unsigned long long)scan.file_bytes);
    }
    if (err == TB_OK) {
        err = segment_taken_seal(&scan.taken, scan.walk.loader.hasher, fd, scan.walk.end, NULL,
                                 0, &summary, fail);
    }
    if (err == TB_OK) {
        *out_changed = true;
        *out = summary;
    }
    segment_loader_release(&scan.walk.loader);
    segment_taken_release(&scan.taken);
    return err;
}

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

struct scan {
    struct segment_walk walk;
    uint64_t file_bytes;
    struct tb_segment_chunk *chunks; /* owned */
    size_t count, cap;
    struct segment_keys *keys;        /* owned; of the chunk at hand */
    struct segment_key_list key_list; /* its memory is owned */
};

static enum tb_err
remember(struct scan *scan, const struct tb_segment_chunk *chunk, struct tb_fail *fail)
{
    if (scan->count == scan->cap) {
        size_t cap = scan->cap == 0 ? FIRST_CHUNKS : 2 * scan->cap;
        struct tb_segment_chunk *more = realloc(scan->chunks, cap * sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "a list of %zu chunks", cap);
        }
        scan->chunks = more;
        scan->cap = cap;
    }
    scan->chunks[scan->count++] = *chunk;
    return TB_OK;
}

/* Takes the next chunk if it is whole. */
static enum tb_err
take_chunk(struct scan *scan, bool *out_taken, struct tb_fail *fail)
{
    struct tb_segment_chunk chunk;
    struct tb_bytes plain;
    enum tb_err err =
        segment_walk_next(&scan->walk, scan->file_bytes, &chunk, &plain, out_taken, fail);

    if (err != TB_OK || !*out_taken) {
        return err;
    }
    segment_keys_collect(scan->keys, plain);
    segment_key_list_add(&scan->key_list, scan->keys);
    return remember(scan, &chunk, fail);
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

/* Cuts the file behind its last whole chunk and ends it there. */
static enum tb_err
seal(struct scan *scan, uint64_t *out_bytes, struct tb_fail *fail)
{
    struct segment_index_writer index;
    struct tb_bytes octets;
    enum tb_err err = segment_index_writer_init(&index, scan->count);

    if (err != TB_OK) {
        return tb_fail_set(fail, err, "an index of %zu chunks", scan->count);
    }
    for (size_t i = 0; i < scan->count; i++) {
        segment_index_add(&index, &scan->chunks[i]);
    }
    segment_index_put_keys(&index, &scan->key_list);
    err = segment_index_finish(&index, scan->walk.loader.hasher, scan->walk.end, true, &octets);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256 of the index");
        goto out;
    }
    if (ftruncate(scan->walk.fd, (off_t)scan->walk.end) != 0) {
        err = tb_fail_errno(fail, errno, "cannot cut the segment");
        goto out;
    }
    err = write_at(scan->walk.fd, scan->walk.end, octets, fail);
    if (err == TB_OK && fsync(scan->walk.fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync the segment");
    }
    *out_bytes = scan->walk.end + octets.len;

out:
    segment_index_writer_release(&index);
    return err;
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
    scan.keys = malloc(sizeof(*scan.keys));
    scan.key_list.at = malloc(segment_key_list_cap(TB_SEGMENT_MAX_CHUNKS));
    if (scan.keys == NULL || scan.key_list.at == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for the keys of a segment");
        goto out;
    }
    while (err == TB_OK && taken) {
        err = take_chunk(&scan, &taken, fail);
    }
    if (err == TB_OK && scan.count == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "not one whole chunk in %llu octets",
                          (unsigned long long)scan.file_bytes);
    }
    if (err != TB_OK) {
        goto out;
    }
    segment_sum_up(scan.chunks, scan.count, &summary);
    summary.recovered = true;
    err = seal(&scan, &summary.bytes, fail);
    if (err != TB_OK) {
        goto out;
    }
    *out_changed = true;
    *out = summary;

out:
    segment_loader_release(&scan.walk.loader);
    free(scan.key_list.at);
    free(scan.keys);
    free(scan.chunks);
    return err;
}

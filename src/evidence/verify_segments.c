/* Segments: the whole file against the manifest, its tree against the index, its chunks. */
#include "verify_int.h"

#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/pcapng.h>
#include <tapbox/segment.h>

enum {
    BLOCK_BYTES = 4 << 20, /* large against a request's cost */
    CHUNK_CEILING = TB_SEGMENT_MAX_CHUNK_BYTES + 65536,
    BLOCK_HEAD_BYTES = 8 /* type and length of a pcapng block */
};

/* A segment that is being checked. */
struct check {
    struct verify_job *job;
    const struct tb_evidence_file *segment;
    struct tb_readable file;
    int fd;             /* borrowed; -1: it lies in S3 */
    struct tb_fail why; /* of a failure */
};

struct hashing {
    struct tb_hasher *hasher; /* owned */
    atomic_ullong *progress;  /* borrowed */
};

static enum tb_err
hash_octets(void *arg, struct tb_bytes octets)
{
    struct hashing *hashing = arg;

    if (tb_hasher_add(hashing->hasher, octets) != TB_OK) {
        return TB_EINTERNAL;
    }
    atomic_fetch_add(hashing->progress, octets.len);
    return TB_OK;
}

/* Copied here first: from S3, or a file system that can do no better. */
static enum tb_err
hash_blocks(struct check *check, uint64_t offset, uint64_t len, struct hashing *hashing)
{
    size_t block_bytes = len < BLOCK_BYTES ? (size_t)len : BLOCK_BYTES;
    uint8_t *block = malloc(block_bytes + 1);
    enum tb_err err = TB_OK;

    if (block == NULL) {
        return tb_fail_set(&check->why, TB_ENOMEM, "no memory to hash a segment");
    }
    while (err == TB_OK && len > 0) {
        size_t want = len < block_bytes ? (size_t)len : block_bytes;

        err = check->file.read(check->file.arg, offset, block, want, &check->why);
        if (err == TB_OK) {
            err = hash_octets(hashing, tb_bytes_of(block, want));
        }
        offset += want;
        len -= want;
    }
    free(block);
    return err;
}

/* SHA-256 of `len` octets from `offset`. */
static enum tb_err
hash_part(struct check *check, uint64_t offset, uint64_t len, struct tb_sha256 *out)
{
    struct hashing hashing = {.progress = check->job->progress};
    bool is_copied = check->fd < 0;
    enum tb_err err = tb_hasher_new(&hashing.hasher);

    if (err == TB_OK && !is_copied) {
        err = tb_mapped_each(check->fd, offset, len, hash_octets, &hashing, &check->why);
        is_copied = err == TB_EINVAL;
        err = is_copied ? TB_OK : err;
    }
    if (err == TB_OK && is_copied) {
        err = hash_blocks(check, offset, len, &hashing);
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(hashing.hasher, out);
    }
    if (err != TB_OK && check->why.err == TB_OK) {
        err = tb_fail_set(&check->why, err, "SHA-256 of a segment failed");
    }
    tb_hasher_free(hashing.hasher);
    return err;
}

/* Whether the file's index has the tree that the manifest names. */
static bool
root_fits(const struct tb_segment_reader *reader, const struct tb_evidence_file *segment)
{
    struct tb_sha256 root;

    return !segment->has_root || (tb_segment_merkle_root(reader, &root, NULL) == TB_OK &&
                                  memcmp(&root, &segment->merkle_root, sizeof(root)) == 0);
}

/* The file is not what it was: if its index still is, the index tells which chunks are. */
static enum tb_err
tell_damage(struct check *check)
{
    struct verify_job *job = check->job;
    const struct tb_evidence_file *segment = check->segment;
    struct tb_segment_reader *reader = NULL;
    const struct tb_segment_chunk *chunk;
    struct tb_segment_chunk first = {0};
    struct tb_sha256 sha256;
    size_t bad = 0, first_number = 0, count = 0;
    enum tb_err err = tb_segment_reader_open_at(&check->file, &reader, NULL);

    if (err != TB_OK || !segment->has_root || !root_fits(reader, segment)) {
        verify_report(job, segment->name, "hash",
                      "its SHA-256 is not the one in the manifest; its index does not help");
        tb_segment_reader_free(reader);
        return TB_OK;
    }
    for (err = TB_OK; err == TB_OK && (chunk = tb_segment_reader_chunk(reader, count)) != NULL;
         count++) {
        err = hash_part(check, chunk->offset, chunk->length, &sha256);
        if (err == TB_OK && memcmp(&sha256, &chunk->sha256, sizeof(sha256)) != 0) {
            first = bad == 0 ? *chunk : first;
            first_number = bad == 0 ? count : first_number;
            bad++;
        }
    }
    if (err == TB_OK && bad > 0) {
        verify_report(job, segment->name, "hash",
                      "chunk %zu (octets %llu to %llu) is not what was recorded; %zu of %zu "
                      "chunks are",
                      first_number, (unsigned long long)first.offset,
                      (unsigned long long)(first.offset + first.length - 1), count - bad,
                      count);
    } else if (err == TB_OK) {
        verify_report(job, segment->name, "hash",
                      "its SHA-256 is not the one in the manifest, though all %zu chunks are "
                      "what was recorded: the damage is behind them",
                      count);
    }
    tb_segment_reader_free(reader);
    return err;
}

/* Packets among whole pcapng blocks; false when they are not whole. */
static bool
count_packets(struct tb_bytes blocks, uint64_t *packets)
{
    while (blocks.len > 0) {
        uint32_t type, len;

        if (blocks.len < BLOCK_HEAD_BYTES) {
            return false;
        }
        type = tb_get_le32(blocks.at);
        len = tb_get_le32(blocks.at + 4);
        if (len < BLOCK_HEAD_BYTES + 4 || len % 4 != 0 || len > blocks.len) {
            return false;
        }
        *packets += type == TB_PCAPNG_EPB ? 1 : 0;
        blocks = tb_bytes_of(blocks.at + len, blocks.len - len);
    }
    return true;
}

static enum tb_err
decode(struct check *check, struct tb_segment_reader *reader)
{
    struct verify_job *job = check->job;
    const struct tb_evidence_file *segment = check->segment;
    struct tb_buf plain = TB_BUF_INIT(CHUNK_CEILING);
    const struct tb_segment_chunk *chunk;
    uint64_t packets = 0;
    struct tb_fail why = {0};
    enum tb_err err = TB_OK;

    for (size_t i = 0; err == TB_OK && (chunk = tb_segment_reader_chunk(reader, i)) != NULL;
         i++) {
        uint64_t before = packets;

        tb_buf_reset(&plain);
        err = tb_segment_reader_read(reader, i, &plain, &why);
        if (err == TB_EFORMAT) {
            verify_report(job, segment->name, "format", "chunk %zu: %s", i, why.text);
        } else if (err != TB_OK) {
            check->why = why;
        } else if (!count_packets(tb_buf_view(&plain), &packets) ||
                   packets - before != chunk->info.packets) {
            verify_report(job, segment->name, "packets",
                          "chunk %zu does not hold the %u packets that its index says", i,
                          chunk->info.packets);
        }
        atomic_fetch_add(job->progress, chunk->length);
    }
    if (err == TB_OK && packets != segment->packets) {
        verify_report(job, segment->name, "packets",
                      "it holds %llu packets, the manifest says %llu",
                      (unsigned long long)packets, (unsigned long long)segment->packets);
    }
    tb_buf_release(&plain);
    return err == TB_EFORMAT ? TB_OK : err;
}

/* The octets are those that were signed for; now what they say of themselves. */
static enum tb_err
check_content(struct check *check)
{
    struct verify_job *job = check->job;
    const struct tb_evidence_file *segment = check->segment;
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    enum tb_err err = tb_segment_reader_open_at(&check->file, &reader, &check->why);

    if (err == TB_EFORMAT && !segment->has_root && segment->packets == 0) {
        return TB_OK; /* nor does the manifest say anything of it but its hash: it is damaged */
    }
    if (err == TB_EFORMAT) {
        verify_report(job, segment->name, "format", "%s", check->why.text);
        return TB_OK;
    }
    if (err != TB_OK) {
        return err;
    }
    tb_segment_reader_summary(reader, &summary);
    if (!root_fits(reader, segment)) {
        verify_report(job, segment->name, "merkle",
                      "the Merkle root of its %zu chunks is not the one in the manifest",
                      summary.chunk_count);
    } else if (summary.packets != segment->packets) {
        verify_report(
            job, segment->name, "packets", "its index says %llu packets, the manifest %llu",
            (unsigned long long)summary.packets, (unsigned long long)segment->packets);
    } else if (job->verify->deep) {
        err = decode(check, reader);
    }
    tb_segment_reader_free(reader);
    return err;
}

/* TB_OK, or what kept it from being looked at. */
static enum tb_err
check_octets(struct check *check)
{
    struct tb_sha256 sha256;
    enum tb_err err = hash_part(check, 0, check->file.bytes, &sha256);

    if (err == TB_OK) {
        err = memcmp(&sha256, &check->segment->sha256, sizeof(sha256)) != 0
                  ? tell_damage(check)
                  : check_content(check);
    }
    return err;
}

enum tb_err
verify_segment(struct verify_job *job, size_t number, struct tb_fail *fail)
{
    struct check check = {.job = job, .segment = &job->manifest.segments[number]};
    const char *name = check.segment->name;
    const struct verify_file *file = verify_want(job, name);
    struct tb_place_reader *reader = NULL;
    enum tb_err err;

    if (file == NULL) {
        return TB_OK;
    }
    if (file->entry->bytes != check.segment->bytes) {
        verify_report(job, name, "hash", "it has %llu octets, the manifest says %llu",
                      (unsigned long long)file->entry->bytes,
                      (unsigned long long)check.segment->bytes);
        return TB_OK;
    }
    err = tb_place_reader_open(job->place, file->entry, &reader, &check.why);
    if (err == TB_OK) {
        check.file = tb_place_readable(reader);
        check.fd = tb_place_reader_fd(reader);
        err = check_octets(&check);
    }
    tb_place_reader_free(reader);
    return err == TB_OK ? TB_OK : verify_unreadable(job, name, &check.why, fail);
}

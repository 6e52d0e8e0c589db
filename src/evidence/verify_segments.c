/* Segments: the whole file against the manifest, its tree against the index, its chunks. */
#include "verify_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/evidence.h>
#include <tapbox/io.h>
#include <tapbox/pcapng.h>
#include <tapbox/segment.h>

enum {
    BLOCK_BYTES = 256 * 1024, /* past this the read's cost no longer matters */
    CHUNK_CEILING = TB_SEGMENT_MAX_CHUNK_BYTES + 65536,
    BLOCK_HEAD_BYTES = 8 /* type and length of a pcapng block */
};

/* SHA-256 of `len` octets from `offset`, or up to the end. */
static enum tb_err
hash_part(struct verify_job *job, int fd, uint64_t offset, uint64_t len, struct tb_sha256 *out)
{
    struct tb_hasher *hasher = NULL;
    uint8_t *block = malloc(BLOCK_BYTES);
    enum tb_err err = block == NULL ? TB_ENOMEM : tb_hasher_new(&hasher);

    while (err == TB_OK && len > 0) {
        size_t want = len < BLOCK_BYTES ? (size_t)len : BLOCK_BYTES;
        ssize_t n = pread(fd, block, want, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = tb_fail_errno(job->fail, errno, "cannot read a segment");
            goto out;
        }
        if (n == 0) {
            break;
        }
        err = tb_hasher_add(hasher, tb_bytes_of(block, (size_t)n));
        offset += (uint64_t)n;
        len -= (uint64_t)n;
        if (job->verify->progress != NULL) {
            job->verify->progress(job->verify->arg, (uint64_t)n);
        }
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(hasher, out);
    }
    if (err != TB_OK) {
        (void)tb_fail_set(job->fail, err, "cannot hash a segment");
    }

out:
    tb_hasher_free(hasher);
    free(block);
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
tell_damage(struct verify_job *job, int fd, const struct tb_evidence_file *segment)
{
    struct tb_segment_reader *reader = NULL;
    const struct tb_segment_chunk *chunk;
    struct tb_segment_chunk first = {0};
    struct tb_sha256 sha256;
    size_t bad = 0, first_number = 0, count = 0;
    enum tb_err err = tb_segment_reader_open(fd, &reader, NULL);

    if (err != TB_OK || !segment->has_root || !root_fits(reader, segment)) {
        verify_report(job, segment->name, "hash",
                      "its SHA-256 is not the one in the manifest; its index does not help");
        tb_segment_reader_free(reader);
        return TB_OK;
    }
    for (err = TB_OK; err == TB_OK && (chunk = tb_segment_reader_chunk(reader, count)) != NULL;
         count++) {
        err = hash_part(job, fd, chunk->offset, chunk->length, &sha256);
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
decode(struct verify_job *job, struct tb_segment_reader *reader,
       const struct tb_evidence_file *segment)
{
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
            *job->fail = why;
        } else if (!count_packets(tb_buf_view(&plain), &packets) ||
                   packets - before != chunk->info.packets) {
            verify_report(job, segment->name, "packets",
                          "chunk %zu does not hold the %u packets that its index says", i,
                          chunk->info.packets);
        }
        if (job->verify->progress != NULL) {
            job->verify->progress(job->verify->arg, chunk->length);
        }
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
check_content(struct verify_job *job, int fd, const struct tb_evidence_file *segment)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_fail why = {0};
    enum tb_err err = tb_segment_reader_open(fd, &reader, &why);

    if (err != TB_OK) {
        verify_report(job, segment->name, "format", "%s", why.text);
        return err == TB_EFORMAT || err == TB_ESHORT ? TB_OK : err;
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
        err = decode(job, reader, segment);
    }
    tb_segment_reader_free(reader);
    return err;
}

static enum tb_err
check_segment(struct verify_job *job, const struct tb_evidence_file *segment)
{
    const struct verify_file *file = verify_want(job, segment->name);
    struct tb_sha256 sha256;
    int fd = -1;
    enum tb_err err;

    if (file == NULL) {
        return TB_OK;
    }
    err = verify_open(job, segment->name, &fd);
    if (err != TB_OK) {
        return err;
    }
    if (file->bytes != segment->bytes) {
        verify_report(job, segment->name, "hash", "it has %llu octets, the manifest says %llu",
                      (unsigned long long)file->bytes, (unsigned long long)segment->bytes);
    } else {
        err = hash_part(job, fd, 0, UINT64_MAX, &sha256);
        if (err == TB_OK) {
            err = memcmp(&sha256, &segment->sha256, sizeof(sha256)) != 0
                      ? tell_damage(job, fd, segment)
                      : check_content(job, fd, segment);
        }
    }
    tb_close(&fd);
    return err;
}

enum tb_err
verify_segments(struct verify_job *job)
{
    const struct tb_manifest *m = &job->manifest;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < m->segment_count && err == TB_OK; i++) {
        err = check_segment(job, &m->segments[i]);
        job->out->packets += m->segments[i].packets;
        job->out->bytes += m->segments[i].bytes;
    }
    return err;
}

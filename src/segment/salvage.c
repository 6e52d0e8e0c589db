/*
 * What can be read of a damaged segment becomes a segment in its own right.
 *
 * Where the index holds, it says where the chunks are.  Where it does not, each is found by the
 * one before it, and behind damage by looking for the next marker, which says itself at which
 * offset it belongs.  The bodies are taken over as they are; only the markers, which count the
 * chunks, are new.
 */
#include <tapbox/segment.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "segment_int.h"

enum {
    LOOK_BYTES = 64 << 10, /* read at a time while looking for a marker */
    PAGE_BYTES = 4096,     /* what a disk fails to give, at the least */
    MARK_BYTES = 15        /* that each marker but the first begins with */
};

static const uint8_t mark[MARK_BYTES] = {0, 6, 0, 1,   0x62, 0x74, 0x80, 0xE8,
                                         0, 0, 0, 'T', 'B',  'C',  'K'};

struct salvage {
    const struct tb_readable *file; /* borrowed */
    struct segment_loader loader;
    struct tb_segment_reader *index; /* NULL: it cannot be read */
    bool is_counting; /* only how many interfaces its packets have: nothing is written */
    uint32_t interfaces;
    int out_fd;
    uint64_t end; /* of what was written */
    struct segment_taken taken;
    uint64_t packets;
    struct tb_segment_hole holes[INDEX_MAX_HOLES];
    size_t hole_count;
    uint8_t look[LOOK_BYTES];
};

/* The disk or the octets, not what is needed to read them. */
static bool
is_damage(enum tb_err err)
{
    return err == TB_EIO || err == TB_EFORMAT || err == TB_ESHORT;
}

/* One that follows the last one is one with it. */
static void
add_hole(struct salvage *salvage, const struct tb_segment_hole *hole)
{
    struct tb_segment_hole *last =
        salvage->hole_count > 0 ? &salvage->holes[salvage->hole_count - 1] : NULL;

    if (hole->length == 0) {
        return;
    }
    if (last == NULL || (last->offset + last->length != hole->offset &&
                         salvage->hole_count < INDEX_MAX_HOLES)) {
        salvage->holes[salvage->hole_count++] = *hole;
        return;
    }
    last->length = hole->offset + hole->length - last->offset;
    if (last->from_utc_ns == 0 ||
        (hole->from_utc_ns != 0 && hole->from_utc_ns < last->from_utc_ns)) {
        last->from_utc_ns = hole->from_utc_ns;
    }
    if (hole->to_utc_ns > last->to_utc_ns) {
        last->to_utc_ns = hole->to_utc_ns;
    }
    last->packets += hole->packets;
    last->is_counted = last->is_counted && hole->is_counted;
}

/* --- writing --- */

static enum tb_err
put_chunk(struct salvage *salvage, const struct segment_marker *found, struct tb_bytes body,
          struct tb_bytes plain, struct tb_fail *fail)
{
    struct tb_hasher *hasher = salvage->loader.hasher;
    struct segment_marker marker = *found;
    uint8_t octets[MARKER_FILE_BYTES_0];
    struct tb_bytes parts[3];
    struct tb_segment_chunk chunk;
    enum tb_err err;

    marker.sequence = (uint32_t)salvage->taken.count;
    marker.offset = salvage->end;
    err = segment_marker_put(hasher, octets, &marker);
    if (marker.sequence == 0) {
        parts[0] = tb_bytes_of(zframe_header, ZFRAME_HEADER_BYTES);
        parts[1] = body;
        parts[2] = tb_bytes_of(octets, MARKER_FILE_BYTES_0);
    } else {
        parts[0] = tb_bytes_of(octets, MARKER_FILE_BYTES);
        parts[1] = body;
        parts[2] = tb_bytes_of(NULL, 0);
    }
    chunk = (struct tb_segment_chunk){.offset = salvage->end,
                                      .length = parts[0].len + parts[1].len + parts[2].len,
                                      .plain = marker.body_plain,
                                      .info = marker.info};
    for (size_t i = 0; i < 3 && err == TB_OK; i++) {
        if (parts[i].len > 0) {
            err = tb_hasher_add(hasher, parts[i]);
        }
    }
    if (err == TB_OK) {
        err = tb_hasher_finish(hasher, &chunk.sha256);
    }
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of a chunk");
    }
    for (size_t i = 0; i < 3 && err == TB_OK; i++) {
        err = tb_write_all(salvage->out_fd, parts[i], fail);
    }
    if (err == TB_OK) {
        err = segment_taken_add(&salvage->taken, &chunk, plain, fail);
    }
    if (err == TB_OK) {
        salvage->end += chunk.length;
        salvage->packets += marker.info.packets;
    }
    return err;
}

static enum tb_err
put_head(struct salvage *salvage, struct tb_fail *fail)
{
    struct zframe_compressor *compressor = NULL;
    struct zframe_habit habit = {0};
    struct zframe_body body;
    uint8_t *plain = malloc(HEAD_MAX_BYTES);
    uint8_t *at = malloc(zframe_bound(HEAD_MAX_BYTES));
    size_t len = 0;
    enum tb_err err = zframe_compressor_new(1, &compressor);

    if (err != TB_OK || plain == NULL || at == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for a section header");
        goto out;
    }
    len = segment_put_unknown_head(salvage->interfaces, plain);
    if (len == 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "packets of too many interfaces");
        goto out;
    }
    err = zframe_compress(compressor, &habit, tb_bytes_of(plain, len), 0, 1, at,
                          zframe_bound(HEAD_MAX_BYTES), &body, fail);
    if (err == TB_OK) {
        const struct segment_marker marker = {.body_len = (uint32_t)body.len,
                                              .body_plain = (uint32_t)len,
                                              .body_check = body.check,
                                              .info = {.level = 1}};

        err = put_chunk(salvage, &marker, tb_bytes_of(at + body.offset, body.len),
                        tb_bytes_of(plain, len), fail);
    }

out:
    zframe_compressor_free(compressor);
    free(plain);
    free(at);
    return err;
}

/* The chunk at `offset` of the file, if it is whole; then it is written, too. */
static enum tb_err
take(struct salvage *salvage, uint64_t offset, uint64_t length, uint32_t sequence,
     const struct tb_sha256 *expected, struct segment_marker *out, bool *out_taken,
     struct tb_fail *fail)
{
    struct tb_sha256 sha256;
    struct tb_bytes plain;
    enum tb_err err = segment_loader_chunk(&salvage->loader, salvage->file, offset, length,
                                           sequence, out, &sha256, &plain, fail);
    struct tb_segment_chunk chunk;
    uint32_t interfaces;

    *out_taken = false;
    if (err != TB_OK) {
        return is_damage(err) ? TB_OK : err;
    }
    chunk = (struct tb_segment_chunk){
        .offset = offset, .length = length, .plain = out->body_plain, .info = out->info};
    if (!segment_chunk_is_possible(&chunk, offset) ||
        (expected != NULL && memcmp(sha256.octets, expected->octets, TB_SHA256_SIZE) != 0) ||
        !segment_blocks_are_whole(plain, sequence == 0)) {
        return TB_OK;
    }
    interfaces = segment_interfaces_in(plain);
    if (salvage->is_counting) {
        if (interfaces <= HEAD_MAX_INTERFACES && interfaces > salvage->interfaces) {
            salvage->interfaces = interfaces;
        }
    } else {
        if (salvage->taken.count == 0 && sequence > 0) {
            err = put_head(salvage, fail);
        } else if (sequence == 0) {
            salvage->interfaces = HEAD_MAX_INTERFACES; /* they are described */
        }
        if (err != TB_OK || interfaces > salvage->interfaces ||
            salvage->taken.count == TB_SEGMENT_MAX_CHUNKS) {
            return err;
        }
        err = put_chunk(salvage, out, segment_loader_body(&salvage->loader, out), plain, fail);
    }
    *out_taken = err == TB_OK;
    return err;
}

/* --- with an index --- */

static enum tb_err
walk_index(struct salvage *salvage, struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk;
    enum tb_err err = TB_OK;

    for (uint32_t i = 0;
         err == TB_OK && (chunk = tb_segment_reader_chunk(salvage->index, i)) != NULL; i++) {
        struct segment_marker marker;
        bool taken = false;

        err = take(salvage, chunk->offset, chunk->length, i, &chunk->sha256, &marker, &taken,
                   fail);
        if (!taken) {
            add_hole(salvage, &(struct tb_segment_hole){.offset = chunk->offset,
                                                        .length = chunk->length,
                                                        .from_utc_ns = chunk->info.first_utc_ns,
                                                        .to_utc_ns = chunk->info.last_utc_ns,
                                                        .packets = chunk->info.packets,
                                                        .is_counted = true});
        }
    }
    return err;
}

/* --- without --- */

/* As _read does, with zeros for what the disk does not give. */
static enum tb_err
read_what_there_is(struct salvage *salvage, uint64_t offset, size_t len, struct tb_fail *fail)
{
    const struct tb_readable *file = salvage->file;
    enum tb_err err = file->read(file->arg, offset, salvage->look, len, fail);

    for (size_t at = 0; is_damage(err) && at < len;) {
        size_t page = PAGE_BYTES - (size_t)((offset + at) % PAGE_BYTES);
        enum tb_err of_page;

        page = page < len - at ? page : len - at;
        of_page = file->read(file->arg, offset + at, salvage->look + at, page, fail);
        if (is_damage(of_page)) {
            memset(salvage->look + at, 0, page);
        } else if (of_page != TB_OK) {
            err = of_page;
        }
        at += page;
    }
    return is_damage(err) ? TB_OK : err;
}

/* Where the next marker may begin, from `*at` on; the file's end when none does. */
static enum tb_err
find_mark(struct salvage *salvage, uint64_t *at, struct tb_fail *fail)
{
    uint64_t bytes = salvage->file->bytes;

    while (*at < bytes && bytes - *at >= MARKER_FILE_BYTES) {
        size_t len = bytes - *at < LOOK_BYTES ? (size_t)(bytes - *at) : (size_t)LOOK_BYTES;
        const uint8_t *found;
        enum tb_err err = read_what_there_is(salvage, *at, len, fail);

        if (err != TB_OK) {
            return err;
        }
        found = memmem(salvage->look, len, mark, MARK_BYTES);
        if (found != NULL) {
            *at += (uint64_t)(found - salvage->look);
            return TB_OK;
        }
        *at += len - (MARK_BYTES - 1);
    }
    *at = bytes;
    return TB_OK;
}

/* Takes the chunk at `at` if there is a whole one, of a number from `least` on. */
static enum tb_err
take_at(struct salvage *salvage, uint64_t at, uint32_t least, struct segment_marker *out,
        uint64_t *out_length, struct tb_fail *fail)
{
    const struct tb_readable *file = salvage->file;
    uint64_t length = 0;
    uint32_t sequence = 0;
    bool taken = false;
    enum tb_err err = TB_OK;

    *out_length = 0;
    if (at == 0) {
        err = segment_measure_first(file, salvage->loader.hasher, &length, fail);
    } else if (file->bytes - at > MARKER_FILE_BYTES) {
        uint8_t head[MARKER_FILE_BYTES];

        err = file->read(file->arg, at, head, sizeof(head), fail);
        if (err == TB_OK) {
            sequence = segment_marker_sequence(head);
            if (sequence >= least &&
                segment_marker_get(salvage->loader.hasher, tb_bytes_of(head, sizeof(head)),
                                   sequence, out) == TB_OK) {
                length = sizeof(head) + (uint64_t)out->body_len;
            }
        }
    }
    if (is_damage(err)) {
        return TB_OK;
    }
    if (err == TB_OK && length > 0 && length <= file->bytes - at) {
        err = take(salvage, at, length, sequence, NULL, out, &taken, fail);
    }
    *out_length = taken ? length : 0;
    return err;
}

/* What lies between the chunks `before` and `behind`, each NULL where there is none. */
static struct tb_segment_hole
hole_between(uint64_t from, uint64_t to, const struct segment_marker *before,
             const struct segment_marker *behind)
{
    struct tb_segment_hole hole = {.offset = from, .length = to - from};

    hole.from_utc_ns = before != NULL ? before->info.last_utc_ns : 0;
    hole.to_utc_ns = behind != NULL ? behind->info.first_utc_ns : 0;
    if (before != NULL && behind != NULL) {
        uint64_t until = behind->info.ledger.written - behind->info.packets;

        hole.is_counted = until >= before->info.ledger.written;
        hole.packets = hole.is_counted ? until - before->info.ledger.written : 0;
    }
    return hole;
}

static bool
is_index(const struct salvage *salvage, uint64_t at)
{
    const struct tb_readable *file = salvage->file;
    uint8_t begin[INDEX_BEGIN_BYTES];
    struct tb_fail fail;

    return file->bytes - at >= sizeof(begin) &&
           file->read(file->arg, at, begin, sizeof(begin), &fail) == TB_OK &&
           segment_index_begins(begin);
}

static enum tb_err
walk_markers(struct salvage *salvage, struct tb_fail *fail)
{
    struct segment_marker before = {0}, marker = {0};
    uint64_t bytes = salvage->file->bytes;
    uint64_t at = 0, hole_from = 0, length = 0;
    bool has_before = false;
    uint32_t least = 1;
    enum tb_err err = TB_OK;

    while (at < bytes && err == TB_OK) {
        err = take_at(salvage, at, least, &marker, &length, fail);
        if (err == TB_OK && length > 0) {
            const struct tb_segment_hole hole =
                hole_between(hole_from, at, has_before ? &before : NULL, &marker);

            add_hole(salvage, &hole);
            before = marker;
            has_before = true;
            least = marker.sequence + 1;
            at += length;
            hole_from = at;
        } else if (err == TB_OK) {
            if (at == hole_from && has_before && is_index(salvage, at)) {
                return TB_OK; /* no chunk is missing */
            }
            at++;
            err = find_mark(salvage, &at, fail);
        }
    }
    if (err == TB_OK) {
        const struct tb_segment_hole hole =
            hole_between(hole_from, bytes, has_before ? &before : NULL, NULL);

        add_hole(salvage, &hole);
    }
    return err;
}

/* --- all of it --- */

static enum tb_err
walk_all(struct salvage *salvage, bool is_counting, struct tb_fail *fail)
{
    salvage->is_counting = is_counting;
    salvage->hole_count = 0;
    return salvage->index != NULL ? walk_index(salvage, fail) : walk_markers(salvage, fail);
}

/* Whether the first chunk describes the interfaces; else how many there have to be. */
static enum tb_err
count_interfaces(struct salvage *salvage, struct tb_fail *fail)
{
    struct segment_marker marker;
    uint64_t length = 0;
    enum tb_err err;

    salvage->is_counting = true;
    err = take_at(salvage, 0, 0, &marker, &length, fail);
    salvage->interfaces = 0;
    return err == TB_OK && length == 0 ? walk_all(salvage, true, fail) : err;
}

enum tb_err
segment_chunk_is_behind(const struct tb_readable *file, uint64_t from, uint32_t least,
                        bool *out_is, struct tb_fail *fail)
{
    struct salvage *salvage = calloc(1, sizeof(*salvage));
    struct segment_marker marker;
    uint64_t at = from + 1, length = 0;
    enum tb_err err;

    if (salvage == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to look for chunks");
    }
    salvage->file = file;
    salvage->is_counting = true;
    err = segment_loader_init(&salvage->loader, fail);
    while (err == TB_OK && length == 0 && at < file->bytes) {
        err = find_mark(salvage, &at, fail);
        if (err == TB_OK && at < file->bytes) {
            err = take_at(salvage, at++, least, &marker, &length, fail);
        }
    }
    segment_loader_release(&salvage->loader);
    free(salvage);
    *out_is = length > 0;
    return err;
}

enum tb_err
tb_segment_salvage(const struct tb_readable *file, int out_fd, struct tb_segment_summary *out,
                   struct tb_fail *fail)
{
    struct salvage *salvage = calloc(1, sizeof(*salvage));
    enum tb_err err;

    if (salvage == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to salvage a segment");
    }
    salvage->file = file;
    salvage->out_fd = out_fd;
    err = segment_loader_init(&salvage->loader, fail);
    if (err == TB_OK) {
        err = segment_taken_init(&salvage->taken, fail);
    }
    if (err == TB_OK) {
        err = segment_reader_open_damaged(file, &salvage->index, fail);
        err = is_damage(err) ? TB_OK : err;
    }
    if (err == TB_OK) {
        err = count_interfaces(salvage, fail);
    }
    if (err == TB_OK) {
        err = walk_all(salvage, false, fail);
    }
    if (err == TB_OK && salvage->packets == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "no chunk with packets can be read");
    }
    if (err == TB_OK) {
        err = segment_taken_seal(&salvage->taken, salvage->loader.hasher, out_fd, salvage->end,
                                 salvage->holes, salvage->hole_count, out, fail);
    }
    tb_segment_reader_free(salvage->index);
    segment_taken_release(&salvage->taken);
    segment_loader_release(&salvage->loader);
    free(salvage);
    return err;
}

/*
 * The chunk marker: what a chunk says of itself, in a pcapng block of a local-use type, and in
 * its zero padding the three zstd blocks that set the repeated offsets to 1, 4, 8.
 */
#include "segment_int.h"

enum {
    MARKER_TYPE = (int)0x80746201, /* high bit: local use, which readers skip */
    MARKER_VERSION = 1,
    /* offsets in the block; what is between them is named in FORMAT.md */
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_LEDGER_FIELDS = 14,
    AT_SEQUENCE = 16,
    AT_PACKETS = 20,
    AT_FIRST = 24,
    AT_LAST = 32,
    AT_OFFSET = 40,
    AT_BODY_LEN = 48,
    AT_BODY_PLAIN = 52,
    AT_BODY_CHECK = 56,
    AT_LEVEL = 60, /* one octet, and 3 reserved */
    AT_LEDGER = 64,
    AT_DIGEST = AT_LEDGER + LEDGER_BYTES, /* of all before it, but its first octets only */
    DIGEST_BYTES = 8,
    AT_ZEROS = AT_DIGEST + DIGEST_BYTES,
    RESET_BLOCK_BYTES = 10,
    RESET_ZEROS = 36, /* what the three reset blocks regenerate */
    AT_LENGTH_AGAIN = MARKER_HEAD_BYTES + RESET_ZEROS
};

_Static_assert(AT_ZEROS + 8 == MARKER_HEAD_BYTES, "the first copy reaches back over 8 zeros");
_Static_assert(AT_LENGTH_AGAIN + 4 == MARKER_BYTES, "head, zeros, length");

static const uint8_t magic[4] = {'T', 'B', 'C', 'K'};

/*
 * Each copies 12 zeros from an explicit offset: 8, then 4, then 1, so that the repeated offsets
 * are 1, 4, 8 afterwards.  Octets: block header (not last, compressed, 7 octets); literals:
 * raw, none; 1 sequence; all three codes by RLE; literal length 0; offset code; match length
 * code 9 (12 octets: a compressed block must be smaller than what it regenerates); one octet of
 * bitstream: the end mark and the offset's extra bits.
 */
static const uint8_t reset_blocks[3 * RESET_BLOCK_BYTES] = {
    0x3C, 0, 0, 0, 1, 0x54, 0, 3, 9, 1 << 3 | 3, /* 8 + 3 = 2^3 + 3 */
    0x3C, 0, 0, 0, 1, 0x54, 0, 2, 9, 1 << 2 | 3, /* 4 + 3 = 2^2 + 3 */
    0x3C, 0, 0, 0, 1, 0x54, 0, 2, 9, 1 << 2,     /* 1 + 3 = 2^2 */
};

void
segment_put_ledger(uint8_t *at, const struct tb_ledger *ledger)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_set_le64(at + 8 * i, tb_ledger_get(ledger, i));
    }
}

void
segment_get_ledger(const uint8_t *at, struct tb_ledger *out)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(out, i, tb_get_le64(at + 8 * i));
    }
}

static enum tb_err
digest_head(struct tb_hasher *hasher, const uint8_t *head, struct tb_sha256 *out)
{
    enum tb_err err = tb_hasher_add(hasher, tb_bytes_of(head, AT_DIGEST));

    return err != TB_OK ? err : tb_hasher_finish(hasher, out);
}

size_t
segment_marker_size(uint32_t sequence)
{
    return sequence == 0 ? MARKER_FILE_BYTES_0 : MARKER_FILE_BYTES;
}

static enum tb_err
put_head(struct tb_hasher *hasher, uint8_t *head, const struct segment_marker *marker)
{
    struct tb_sha256 digest;
    enum tb_err err;

    memset(head, 0, MARKER_HEAD_BYTES);
    tb_set_le32(head, (uint32_t)MARKER_TYPE);
    tb_set_le32(head + 4, MARKER_BYTES);
    memcpy(head + AT_MAGIC, magic, sizeof(magic));
    tb_set_le16(head + AT_VERSION, MARKER_VERSION);
    tb_set_le16(head + AT_LEDGER_FIELDS, TB_LEDGER_FIELDS);
    tb_set_le32(head + AT_SEQUENCE, marker->sequence);
    tb_set_le32(head + AT_PACKETS, marker->info.packets);
    tb_set_le64(head + AT_FIRST, (uint64_t)marker->info.first_utc_ns);
    tb_set_le64(head + AT_LAST, (uint64_t)marker->info.last_utc_ns);
    tb_set_le64(head + AT_OFFSET, marker->offset);
    tb_set_le32(head + AT_BODY_LEN, marker->body_len);
    tb_set_le32(head + AT_BODY_PLAIN, marker->body_plain);
    tb_set_le32(head + AT_BODY_CHECK, marker->body_check);
    head[AT_LEVEL] = (uint8_t)(int8_t)marker->info.level;
    segment_put_ledger(head + AT_LEDGER, &marker->info.ledger);
    err = digest_head(hasher, head, &digest);
    if (err == TB_OK) {
        memcpy(head + AT_DIGEST, digest.octets, DIGEST_BYTES);
    }
    return err;
}

enum tb_err
segment_marker_put(struct tb_hasher *hasher, uint8_t *at, const struct segment_marker *marker)
{
    uint8_t *head = at + ZFRAME_BLOCK_HEADER_BYTES;
    uint8_t *p = head + MARKER_HEAD_BYTES;
    enum tb_err err = put_head(hasher, head, marker);

    if (marker->sequence == 0) { /* nothing depends on what is before the first chunk */
        zframe_put_block(at, false, ZFRAME_RAW, MARKER_BYTES);
        memset(p, 0, RESET_ZEROS);
        p += RESET_ZEROS;
    } else {
        zframe_put_block(at, false, ZFRAME_RAW, MARKER_HEAD_BYTES);
        memcpy(p, reset_blocks, sizeof(reset_blocks));
        p += sizeof(reset_blocks);
        zframe_put_block(p, false, ZFRAME_RAW, 4);
        p += ZFRAME_BLOCK_HEADER_BYTES;
    }
    tb_set_le32(p, MARKER_BYTES);
    return err;
}

uint32_t
segment_marker_sequence(const uint8_t at[MARKER_FILE_BYTES])
{
    return tb_get_le32(at + ZFRAME_BLOCK_HEADER_BYTES + AT_SEQUENCE);
}

enum tb_err
segment_marker_get(struct tb_hasher *hasher, struct tb_bytes at, uint32_t sequence,
                   struct segment_marker *out)
{
    uint8_t expected[MARKER_FILE_BYTES_0];
    const uint8_t *head = at.at + ZFRAME_BLOCK_HEADER_BYTES;
    struct segment_marker marker = {0};
    enum tb_err err;

    if (at.len != segment_marker_size(sequence)) {
        return TB_EFORMAT;
    }
    marker.sequence = sequence;
    marker.info.packets = tb_get_le32(head + AT_PACKETS);
    marker.info.first_utc_ns = (int64_t)tb_get_le64(head + AT_FIRST);
    marker.info.last_utc_ns = (int64_t)tb_get_le64(head + AT_LAST);
    marker.offset = tb_get_le64(head + AT_OFFSET);
    marker.body_len = tb_get_le32(head + AT_BODY_LEN);
    marker.body_plain = tb_get_le32(head + AT_BODY_PLAIN);
    marker.body_check = tb_get_le32(head + AT_BODY_CHECK);
    marker.info.level = segment_get_level(head[AT_LEVEL]);
    segment_get_ledger(head + AT_LEDGER, &marker.info.ledger);
    /* There is one way only to write these values down, digest included. */
    err = segment_marker_put(hasher, expected, &marker);
    if (err != TB_OK) {
        return err;
    }
    if (!tb_bytes_equal(at, tb_bytes_of(expected, at.len))) {
        return TB_EFORMAT;
    }
    *out = marker;
    return TB_OK;
}

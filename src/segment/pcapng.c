/* pcapng blocks: sizes are worked out first, so that a block is written whole or not at all. */
#include <tapbox/pcapng.h>

#include <stdio.h>

enum {
    BYTE_ORDER_MAGIC = 0x1A2B3C4D,
    BLOCK_OVERHEAD = 12, /* type, length, length again */
    PACKET_FIXED = 20,   /* interface, time, captured and original length */
    FLAGS_OPTION = 8,
    DROPCOUNT_OPTION = 12,
    END_OPTION = 4,
    COUNTER_OPTION = 12,
    /* options of all blocks, then of each */
    OPT_END = 0,
    OPT_COMMENT = 1,
    SHB_HARDWARE = 2,
    SHB_OS = 3,
    SHB_USERAPPL = 4,
    IF_NAME = 2,
    IF_DESCRIPTION = 3,
    IF_MAC = 6,
    IF_TSRESOL = 9,
    IF_FILTER = 11,
    IF_OS = 12,
    EPB_FLAGS = 2,
    EPB_DROPCOUNT = 4,
    ISB_STARTTIME = 2,
    ISB_ENDTIME = 3,
    ISB_IFRECV = 4,
    ISB_IFDROP = 5,
    ISB_FILTERACCEPT = 6,
    ISB_OSDROP = 7,
    ISB_USRDELIV = 8,

    TSRESOL_NS = 9,         /* 10^-9 s */
    FILTER_IS_TEXT = 0,     /* if_filter's first octet: a libpcap expression follows */
    LEDGER_TEXT_BYTES = 640 /* 14 times a name, '=', 20 digits and a space */
};

static const char replacement = '?'; /* for what may not stand in a text */

/* What is behind `cap` is counted, not written. */
struct out {
    uint8_t *at;
    size_t cap;
    size_t len;
};

static void
put(struct out *out, const void *octets, size_t len)
{
    if (out->len <= out->cap && len <= out->cap - out->len) {
        memcpy(out->at + out->len, octets, len);
    }
    out->len += len;
}

static void
put_u8(struct out *out, uint8_t value)
{
    put(out, &value, 1);
}

static void
put_u16(struct out *out, uint16_t value)
{
    uint8_t octets[2];

    tb_set_le16(octets, value);
    put(out, octets, sizeof(octets));
}

static void
put_u32(struct out *out, uint32_t value)
{
    uint8_t octets[4];

    tb_set_le32(octets, value);
    put(out, octets, sizeof(octets));
}

static void
put_u64(struct out *out, uint64_t value)
{
    put_u32(out, (uint32_t)value);
    put_u32(out, (uint32_t)(value >> 32));
}

/* A pcapng timestamp: the upper half comes first, each half in the section's byte order. */
static void
put_time(struct out *out, int64_t utc_ns)
{
    put_u32(out, (uint32_t)((uint64_t)utc_ns >> 32));
    put_u32(out, (uint32_t)utc_ns);
}

static void
pad(struct out *out)
{
    while (out->len % 4 != 0) {
        put_u8(out, 0);
    }
}

static void
put_option_head(struct out *out, uint16_t code, size_t len)
{
    put_u16(out, code);
    put_u16(out, (uint16_t)len);
}

/* Octets of the UTF-8 character at `text`, 0 when it is none or must not be shown. */
static size_t
utf8_len(const uint8_t *text)
{
    size_t len;
    uint32_t c;

    if (text[0] < 0x80) {
        return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
    }
    if (text[0] >= 0xc2 && text[0] <= 0xdf) {
        len = 2;
        c = text[0] & 0x1fU;
    } else if ((text[0] & 0xf0) == 0xe0) {
        len = 3;
        c = text[0] & 0x0fU;
    } else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
        len = 4;
        c = text[0] & 0x07U;
    } else {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((text[i] & 0xc0) != 0x80) { /* the NUL ends it here, too */
            return 0;
        }
        c = c << 6 | (text[i] & 0x3fU);
    }
    if ((len == 3 && c < 0x800) || (len == 4 && (c < 0x10000 || c > 0x10ffff)) ||
        (c >= 0xd800 && c <= 0xdfff) || (c >= 0x80 && c <= 0x9f)) {
        return 0;
    }
    return len;
}

/* Copies `text` into `clean` (TB_PCAPNG_MAX_TEXT octets) as header says; gives its length. */
static size_t
clean_text(uint8_t *clean, const char *text)
{
    const uint8_t *in = (const uint8_t *)text;
    size_t len = 0;

    while (*in != '\0') {
        size_t n = utf8_len(in);

        if (len + (n == 0 ? 1 : n) > TB_PCAPNG_MAX_TEXT) {
            break;
        }
        if (n == 0) {
            clean[len++] = (uint8_t)replacement;
            in++;
        } else {
            memcpy(clean + len, in, n);
            len += n;
            in += n;
        }
    }
    return len;
}

/* An option holding `lead`, which is ours, and then `text`, which is not. */
static void
put_text(struct out *out, uint16_t code, struct tb_bytes lead, const char *text)
{
    uint8_t clean[TB_PCAPNG_MAX_TEXT];
    size_t len;

    if (text == NULL || text[0] == '\0') {
        return;
    }
    len = clean_text(clean, text);
    put_option_head(out, code, lead.len + len);
    put(out, lead.at, lead.len);
    put(out, clean, len);
    pad(out);
}

static void
put_comment(struct out *out, const char *label, const char *text)
{
    put_text(out, OPT_COMMENT, tb_bytes_str(label), text);
}

static void
put_gap(struct out *out, int64_t from_utc_ns, int64_t to_utc_ns)
{
    char from[TB_TIME_TEXT_SIZE];
    char to[TB_TIME_TEXT_SIZE];
    char text[2 * TB_TIME_TEXT_SIZE + 1];

    tb_time_format_ns(from, from_utc_ns);
    tb_time_format_ns(to, to_utc_ns);
    (void)snprintf(text, sizeof(text), "%s/%s", from, to);
    put_comment(out, "gap: ", text);
}

/* Leaves room for the length, which is known at the end. */
static struct out
begin_block(uint8_t *at, size_t cap, uint32_t type)
{
    struct out out;

    out.at = at;
    out.cap = cap;
    out.len = 0;
    put_u32(&out, type);
    put_u32(&out, 0);
    return out;
}

static size_t
end_block(struct out *out)
{
    put_option_head(out, OPT_END, 0);
    put_u32(out, (uint32_t)(out->len + 4));
    if (out->len > out->cap) {
        return 0;
    }
    tb_set_le32(out->at + 4, (uint32_t)out->len);
    return out->len;
}

size_t
tb_pcapng_put_section(uint8_t *at, size_t cap, const struct tb_pcapng_section *section)
{
    struct out out = begin_block(at, cap, TB_PCAPNG_SHB);
    char started[TB_TIME_TEXT_SIZE] = "";

    put_u32(&out, BYTE_ORDER_MAGIC);
    put_u16(&out, 1); /* version 1.0 */
    put_u16(&out, 0);
    put_u64(&out, UINT64_MAX); /* section length: not known while it grows */
    put_text(&out, SHB_HARDWARE, tb_bytes_str(""), section->hardware);
    put_text(&out, SHB_OS, tb_bytes_str(""), section->os);
    put_text(&out, SHB_USERAPPL, tb_bytes_str(""), section->application);
    put_comment(&out, "capture: ", section->capture_id);
    put_comment(&out, "case: ", section->case_id);
    put_comment(&out, "finding: ", section->finding_id);
    put_comment(&out, "finding type: ", section->finding_type);
    put_comment(&out, "reason: ", section->reason);
    if (section->started_utc_ns != 0) {
        tb_time_format_ns(started, section->started_utc_ns);
        put_comment(&out, "started: ", started);
    }
    if (section->gap_to_utc_ns != 0) {
        put_gap(&out, section->gap_from_utc_ns, section->gap_to_utc_ns);
    }
    return end_block(&out);
}

size_t
tb_pcapng_put_interface(uint8_t *at, size_t cap, const struct tb_pcapng_interface *interface)
{
    static const uint8_t filter_is_text = FILTER_IS_TEXT;
    struct out out = begin_block(at, cap, TB_PCAPNG_IDB);

    put_u16(&out, TB_PCAPNG_LINKTYPE_ETHERNET);
    put_u16(&out, 0); /* reserved */
    put_u32(&out, interface->snaplen);
    put_text(&out, IF_NAME, tb_bytes_str(""), interface->name);
    put_text(&out, IF_DESCRIPTION, tb_bytes_str(""), interface->description);
    put_option_head(&out, IF_MAC, sizeof(interface->mac));
    put(&out, interface->mac, sizeof(interface->mac));
    pad(&out);
    put_option_head(&out, IF_TSRESOL, 1);
    put_u8(&out, TSRESOL_NS);
    pad(&out);
    put_text(&out, IF_FILTER, tb_bytes_of(&filter_is_text, 1), interface->filter);
    put_text(&out, IF_OS, tb_bytes_str(""), interface->os);
    return end_block(&out);
}

static size_t
padded(uint32_t len)
{
    return ((size_t)len + 3) & ~(size_t)3;
}

size_t
tb_pcapng_packet_size(uint32_t captured, uint64_t dropped)
{
    return BLOCK_OVERHEAD + PACKET_FIXED + padded(captured) + FLAGS_OPTION +
           (dropped != 0 ? DROPCOUNT_OPTION : 0) + END_OPTION;
}

/* By far the most frequent block: written straight, without `struct out`. */
size_t
tb_pcapng_put_packet(uint8_t *at, size_t cap, const struct tb_pcapng_packet *packet,
                     const uint8_t *frame)
{
    size_t size = tb_pcapng_packet_size(packet->captured, packet->dropped);
    uint8_t *p = at;

    if (size > cap) {
        return 0;
    }
    tb_set_le32(p, TB_PCAPNG_EPB);
    tb_set_le32(p + 4, (uint32_t)size);
    tb_set_le32(p + 8, packet->interface);
    tb_set_le32(p + 12, (uint32_t)((uint64_t)packet->utc_ns >> 32));
    tb_set_le32(p + 16, (uint32_t)packet->utc_ns);
    tb_set_le32(p + 20, packet->captured);
    tb_set_le32(p + 24, packet->original);
    p += 28;
    /* The last word first: the frame then overwrites all of it but the padding. */
    if (packet->captured != 0) {
        tb_set_le32(p + padded(packet->captured) - 4, 0);
        memcpy(p, frame, packet->captured);
    }
    p += padded(packet->captured);
    tb_set_le16(p, EPB_FLAGS);
    tb_set_le16(p + 2, 4);
    tb_set_le32(p + 4, (uint32_t)packet->direction); /* bits 0 and 1 */
    p += FLAGS_OPTION;
    if (packet->dropped != 0) {
        tb_set_le16(p, EPB_DROPCOUNT);
        tb_set_le16(p + 2, 8);
        tb_set_le64(p + 4, packet->dropped);
        p += DROPCOUNT_OPTION;
    }
    tb_set_le32(p, OPT_END);
    tb_set_le32(p + 4, (uint32_t)size);
    return size;
}

static void
put_counter(struct out *out, uint16_t code, uint64_t value)
{
    put_option_head(out, code, 8);
    put_u64(out, value);
}

size_t
tb_pcapng_put_statistics(uint8_t *at, size_t cap, uint32_t interface, int64_t start_utc_ns,
                         int64_t end_utc_ns, const struct tb_ledger *ledger)
{
    struct out out = begin_block(at, cap, TB_PCAPNG_ISB);
    char text[LEDGER_TEXT_BYTES] = "";
    size_t len = 0;

    for (size_t i = 0; i < TB_LEDGER_FIELDS && len < sizeof(text); i++) {
        int n =
            snprintf(text + len, sizeof(text) - len, "%s%s=%llu", i == 0 ? "" : " ",
                     tb_ledger_fields[i].name, (unsigned long long)tb_ledger_get(ledger, i));

        len += n > 0 ? (size_t)n : 0;
    }
    put_u32(&out, interface);
    put_time(&out, end_utc_ns);
    put_comment(&out, "ledger: ", text);
    put_option_head(&out, ISB_STARTTIME, 8);
    put_time(&out, start_utc_ns);
    put_option_head(&out, ISB_ENDTIME, 8);
    put_time(&out, end_utc_ns);
    put_counter(&out, ISB_IFRECV, ledger->received);
    put_counter(&out, ISB_IFDROP, ledger->queue_dropped + ledger->spool_full);
    put_counter(&out, ISB_FILTERACCEPT,
                ledger->written + ledger->over_budget + ledger->queue_dropped +
                    ledger->spool_full);
    put_counter(&out, ISB_OSDROP, ledger->ring_dropped);
    put_counter(&out, ISB_USRDELIV, ledger->written);
    return end_block(&out);
}

size_t
tb_pcapng_put_remark(uint8_t *at, size_t cap, uint32_t interface, int64_t utc_ns,
                     const char *text)
{
    struct out out = begin_block(at, cap, TB_PCAPNG_ISB);

    put_u32(&out, interface);
    put_time(&out, utc_ns);
    put_comment(&out, "", text);
    return end_block(&out);
}

enum tb_err
tb_pcapng_next(struct tb_bytes *rest, struct tb_pcapng_block *out)
{
    uint32_t size;

    if (rest->len < BLOCK_OVERHEAD) {
        return TB_ESHORT;
    }
    size = tb_get_le32(rest->at + 4);
    if (size < BLOCK_OVERHEAD || size % 4 != 0) {
        return TB_EFORMAT;
    }
    if (size > rest->len) {
        return TB_ESHORT;
    }
    if (tb_get_le32(rest->at + size - 4) != size) {
        return TB_EFORMAT;
    }
    out->type = tb_get_le32(rest->at);
    out->all = tb_bytes_of(rest->at, size);
    out->body = tb_bytes_of(rest->at + 8, size - BLOCK_OVERHEAD);
    *rest = tb_bytes_of(rest->at + size, rest->len - size);
    return TB_OK;
}

enum tb_err
tb_pcapng_get_packet(const struct tb_pcapng_block *block, struct tb_pcapng_packet *out,
                     struct tb_bytes *out_frame)
{
    const uint8_t *p = block->body.at;
    uint32_t captured;

    if (block->type != TB_PCAPNG_EPB || block->body.len < PACKET_FIXED) {
        return TB_EFORMAT;
    }
    captured = tb_get_le32(p + 12);
    if (captured > block->body.len - PACKET_FIXED) {
        return TB_EFORMAT;
    }
    *out = (struct tb_pcapng_packet){
        .interface = tb_get_le32(p),
        .utc_ns = (int64_t)((uint64_t)tb_get_le32(p + 4) << 32 | tb_get_le32(p + 8)),
        .captured = captured,
        .original = tb_get_le32(p + 16),
    };
    *out_frame = tb_bytes_of(p + PACKET_FIXED, captured);
    return TB_OK;
}

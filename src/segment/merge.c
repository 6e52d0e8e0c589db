/* Several runs of pcapng blocks become one section; see the header. */
#include <tapbox/pcapng_merge.h>

#include <stdlib.h>

enum {
    SECTION_INTERFACES = 64, /* of one input's section */
    INTERFACE_AT = 8,        /* in an enhanced packet block */
    SECTION_FIXED = 24,      /* of a section header, before its options */
    OPTION_HEAD = 4,
    OPTION_COMMENT = 1
};

struct input {
    bool began; /* a section header was read */
    uint32_t map[SECTION_INTERFACES];
    uint32_t interfaces;
    struct tb_bytes rest; /* lent; behind the packet */
    bool has_packet;
    struct tb_pcapng_block block; /* the packet, if there is one */
    struct tb_pcapng_packet packet;
    struct tb_bytes frame;
};

struct tb_merge {
    struct input inputs[TB_MERGE_MAX_INPUTS];
    size_t input_count;                                /* up to the highest that was fed */
    struct tb_buf section;                             /* the output's */
    struct tb_buf interfaces[TB_MERGE_MAX_INTERFACES]; /* their blocks */
    uint32_t interface_count;
    const char *note; /* borrowed; NULL: none */
    bool section_written;
    uint32_t interfaces_written;
};

enum tb_err
tb_merge_new(struct tb_merge **out, struct tb_fail *fail)
{
    struct tb_merge *merge = calloc(1, sizeof(*merge));

    if (merge == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to merge packets");
    }
    merge->section = (struct tb_buf)TB_BUF_INIT(TB_PCAPNG_MAX_SECTION);
    *out = merge;
    return TB_OK;
}

void
tb_merge_free(struct tb_merge *merge)
{
    if (merge != NULL) {
        for (uint32_t i = 0; i < merge->interface_count; i++) {
            tb_buf_release(&merge->interfaces[i]);
        }
        tb_buf_release(&merge->section);
        free(merge);
    }
}

/* --- what is not a packet --- */

static enum tb_err
take_section(struct tb_merge *merge, struct input *input, const struct tb_pcapng_block *block,
             struct tb_fail *fail)
{
    input->began = true;
    input->interfaces = 0;
    if (merge->section.len > 0) {
        return TB_OK;
    }
    tb_buf_put_bytes(&merge->section, block->all);
    return tb_buf_check(&merge->section, "the section header", fail);
}

static enum tb_err
take_interface(struct tb_merge *merge, struct input *input, const struct tb_pcapng_block *block,
               struct tb_fail *fail)
{
    uint32_t i = 0;
    enum tb_err err;

    while (i < merge->interface_count &&
           !tb_bytes_equal(tb_buf_view(&merge->interfaces[i]), block->all)) {
        i++;
    }
    if (i == TB_MERGE_MAX_INTERFACES || input->interfaces == SECTION_INTERFACES) {
        return tb_fail_set(fail, TB_EFULL, "too many different interfaces");
    }
    if (i == merge->interface_count) {
        merge->interfaces[i] = (struct tb_buf)TB_BUF_INIT(TB_PCAPNG_MAX_INTERFACE);
        tb_buf_put_bytes(&merge->interfaces[i], block->all);
        err = tb_buf_check(&merge->interfaces[i], "an interface description", fail);
        if (err != TB_OK) {
            tb_buf_release(&merge->interfaces[i]);
            return err;
        }
        merge->interface_count++;
    }
    input->map[input->interfaces++] = i;
    return TB_OK;
}

/* Reads on to the input's next packet, or to the end of what it has. */
static enum tb_err
advance(struct tb_merge *merge, struct input *input, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    input->has_packet = false;
    while (err == TB_OK && !input->has_packet && input->rest.len > 0) {
        struct tb_pcapng_block block;

        if (tb_pcapng_next(&input->rest, &block) != TB_OK ||
            (!input->began && block.type != TB_PCAPNG_SHB)) {
            err = tb_fail_set(fail, TB_EFORMAT, "not whole pcapng blocks of a section");
        } else if (block.type == TB_PCAPNG_SHB) {
            err = take_section(merge, input, &block, fail);
        } else if (block.type == TB_PCAPNG_IDB) {
            err = take_interface(merge, input, &block, fail);
        } else if (block.type == TB_PCAPNG_EPB) {
            if (tb_pcapng_get_packet(&block, &input->packet, &input->frame) != TB_OK ||
                input->packet.interface >= input->interfaces) {
                err = tb_fail_set(fail, TB_EFORMAT,
                                  "a packet block that is none, or of no interface");
            } else {
                input->packet.interface = input->map[input->packet.interface];
                input->block = block;
                input->has_packet = true;
            }
        }
    }
    if (err != TB_OK) {
        input->rest.len = 0;
    }
    return err;
}

enum tb_err
tb_merge_feed(struct tb_merge *merge, size_t index, struct tb_bytes blocks,
              struct tb_fail *fail)
{
    if (index >= TB_MERGE_MAX_INPUTS || !tb_merge_is_dry(merge, index)) {
        return tb_fail_set(fail, TB_EINVAL, "input %zu cannot take blocks now", index);
    }
    if (index >= merge->input_count) {
        merge->input_count = index + 1;
    }
    merge->inputs[index].rest = blocks;
    return advance(merge, &merge->inputs[index], fail);
}

bool
tb_merge_is_dry(const struct tb_merge *merge, size_t index)
{
    return index >= merge->input_count || !merge->inputs[index].has_packet;
}

/* --- packets --- */

static const struct input *
earliest(const struct tb_merge *merge)
{
    const struct input *first = NULL;

    for (size_t i = 0; i < merge->input_count; i++) {
        const struct input *input = &merge->inputs[i];

        if (input->has_packet &&
            (first == NULL || input->packet.utc_ns < first->packet.utc_ns)) {
            first = input;
        }
    }
    return first;
}

bool
tb_merge_peek(const struct tb_merge *merge, struct tb_merge_packet *out)
{
    const struct input *input = earliest(merge);

    if (input == NULL) {
        return false;
    }
    out->input = (size_t)(input - merge->inputs);
    out->packet = input->packet;
    out->frame = input->frame;
    return true;
}

enum tb_err
tb_merge_pass(struct tb_merge *merge, struct tb_fail *fail)
{
    const struct input *input = earliest(merge);

    return input == NULL ? TB_OK : advance(merge, &merge->inputs[input - merge->inputs], fail);
}

/* The section header with one more comment, which goes before its other options. */
static void
put_section(const struct tb_merge *merge, struct tb_buf *out)
{
    struct tb_bytes section = tb_buf_view(&merge->section);
    size_t len = merge->note != NULL ? strnlen(merge->note, TB_PCAPNG_MAX_TEXT) : 0;
    size_t more = len == 0 ? 0 : OPTION_HEAD + (len + 3) / 4 * 4;
    static const uint8_t padding[4];

    if (more == 0 || section.len < SECTION_FIXED + 4) {
        tb_buf_put_bytes(out, section);
        return;
    }
    tb_buf_put(out, section.at, 4);
    tb_buf_put_le32(out, (uint32_t)(section.len + more));
    tb_buf_put(out, section.at + 8, SECTION_FIXED - 8);
    tb_buf_put_le16(out, OPTION_COMMENT);
    tb_buf_put_le16(out, (uint16_t)len);
    tb_buf_put(out, merge->note, len);
    tb_buf_put(out, padding, more - OPTION_HEAD - len);
    tb_buf_put(out, section.at + SECTION_FIXED, section.len - SECTION_FIXED - 4);
    tb_buf_put_le32(out, (uint32_t)(section.len + more));
}

void
tb_merge_note(struct tb_merge *merge, const char *note)
{
    merge->note = note;
}

void
tb_merge_put_header(struct tb_merge *merge, struct tb_buf *out)
{
    if (!merge->section_written && merge->section.len > 0) {
        put_section(merge, out);
        merge->section_written = true;
    }
    while (merge->interfaces_written < merge->interface_count) {
        tb_buf_put_bytes(out, tb_buf_view(&merge->interfaces[merge->interfaces_written++]));
    }
}

void
tb_merge_put_packet(struct tb_merge *merge, struct tb_buf *out)
{
    const struct input *input = earliest(merge);
    size_t at;

    if (input == NULL) {
        return;
    }
    tb_merge_put_header(merge, out);
    at = out->len;
    tb_buf_put_bytes(out, input->block.all);
    if (out->err == TB_OK) {
        tb_set_le32(out->at + at + INTERFACE_AT, input->packet.interface);
    }
}

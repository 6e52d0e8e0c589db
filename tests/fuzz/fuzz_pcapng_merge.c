/*
 * Blocks of two inputs become one section: whatever is given, what comes out is whole blocks, a
 * section header first and only there, and packets of interfaces that were described before.
 */
#include <stdlib.h>

#include <tapbox/pcapng_merge.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    OUT_MAX_BYTES = 64 << 20
};

static void
demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void
look_at(struct tb_bytes rest, size_t want_packets)
{
    struct tb_pcapng_block block;
    uint32_t interfaces = 0;
    size_t packets = 0;
    bool is_first = true;

    while (rest.len > 0) {
        struct tb_pcapng_packet packet;
        struct tb_bytes frame;

        demand(tb_pcapng_next(&rest, &block) == TB_OK);
        demand((block.type == TB_PCAPNG_SHB) == is_first);
        is_first = false;
        interfaces += block.type == TB_PCAPNG_IDB;
        if (block.type == TB_PCAPNG_EPB) {
            demand(tb_pcapng_get_packet(&block, &packet, &frame) == TB_OK);
            demand(packet.interface < interfaces);
            packets++;
        }
    }
    demand(packets == want_packets);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_buf out = TB_BUF_INIT(OUT_MAX_BYTES);
    struct tb_merge *merge = NULL;
    struct tb_merge_packet packet;
    size_t half = size / 8 * 4, packets = 0;

    demand(tb_merge_new(&merge, NULL) == TB_OK);
    for (size_t i = 0; i < 2; i++) {
        enum tb_err err =
            tb_merge_feed(merge, i, tb_bytes_of(data + i * half, size - i * half), NULL);

        demand(err == TB_OK || (err != TB_EINVAL && tb_merge_is_dry(merge, i)));
    }
    while (tb_merge_peek(merge, &packet)) {
        demand(packet.input < 2 && packet.frame.len == packet.packet.captured);
        tb_merge_put_packet(merge, &out);
        packets++;
        demand(tb_merge_pass(merge, NULL) == TB_OK || tb_merge_is_dry(merge, packet.input));
    }
    tb_merge_put_header(merge, &out);
    demand(out.err == TB_OK);
    look_at(tb_buf_view(&out), packets);
    demand(tb_merge_is_dry(merge, 0) && tb_merge_is_dry(merge, 1));
    tb_merge_free(merge);
    tb_buf_release(&out);
    return 0;
}

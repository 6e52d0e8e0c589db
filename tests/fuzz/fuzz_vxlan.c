/*
 * The packet path, from a frame on the wire to the block in a chunk.
 *
 * Input: octet 0 picks snaplen and filter; then frames, each behind its length as u16 (big
 * endian).  Property: every frame ends in exactly one term of the host's ledger, and every
 * block in the chunk is a packet that lies whole in the frame it came from.
 */
#include <stdlib.h>

#include "../../src/recorder/lane_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tb_lane lane;
static struct tb_armed *armed[4];
static struct tb_table *tables[4];
static int64_t now_boot_ns = TB_NS_PER_S;

static void
require(bool good)
{
    if (!good) {
        abort();
    }
}

static void
start(void)
{
    static const struct tb_bpf_insn udp_only[] = {
        {BPF_LD | BPF_B | BPF_ABS, 0, 0, 23},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 17},
        {BPF_RET | BPF_K, 0, 0, 65535},
        {BPF_RET | BPF_K, 0, 0, 0},
    };
    struct tb_room room = {.spool_fd = -1, .level = 1};

    require(tb_lane_init(&lane, 0, 4789, NULL, 8 << 20, &room, NULL) == TB_OK);
    for (unsigned i = 0; i < 4; i++) {
        struct tb_record_spec spec = {.capture_id = "cap-20260102T030405Z-00000001",
                                      .host = "tap",
                                      .deadline_boot_ns = INT64_MAX,
                                      .snaplen = (i & 1) != 0 ? 64 : 0,
                                      .rotate_bytes = 1,
                                      .rotate_s = 60,
                                      .source_count = 2};

        /* 10.77.0.1 with VNI 42, and 2001:db8::1 with VNI 43 */
        spec.sources[0].vni = 42;
        memcpy(spec.sources[0].outer, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x4d\0\1", 16);
        spec.sources[1].vni = 43;
        memcpy(spec.sources[1].outer, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        if ((i & 2) != 0) {
            spec.bpf = udp_only;
            spec.bpf_count = 4;
        }
        require(tb_armed_new(&spec, spec.sources, 2, &lane.workspace, 1, &armed[i], NULL) ==
                TB_OK);
        require(tb_table_new(&armed[i], 1, &tables[i], NULL) == TB_OK);
    }
}

/* The frame is searched for the packet's octets: it was copied out of it. */
static bool
lies_in(struct tb_bytes input, struct tb_bytes frame)
{
    return memmem(input.at, input.len, frame.at, frame.len) != NULL;
}

static void
check_chunk(struct tb_bytes blocks, struct tb_bytes input, uint32_t packets)
{
    struct tb_pcapng_block block;
    struct tb_pcapng_packet packet;
    struct tb_bytes frame;
    uint32_t count = 0;

    while (blocks.len > 0) {
        require(tb_pcapng_next(&blocks, &block) == TB_OK);
        require(block.type == TB_PCAPNG_EPB);
        require(tb_pcapng_get_packet(&block, &packet, &frame) == TB_OK);
        require(packet.captured <= packet.original && packet.interface < 2);
        require(lies_in(input, frame));
        count++;
    }
    require(count == packets);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_bytes input = tb_bytes_of(data, size);
    static const struct tb_ledger none;
    struct tb_ledger before, after, of_capture;
    struct tb_handover what;
    uint64_t written = 0;
    size_t behind;
    unsigned kind;

    if (lane.workspace == NULL) {
        start();
    }
    if (size == 0) {
        return 0;
    }
    kind = data[0] & 3;
    require(tb_lanes_adopt(&lane, 1, tables[kind], NULL) == TB_OK);
    tb_counters_read(lane.counters, &before);
    tb_counters_read(&armed[kind]->streams[0].shared->counters, &of_capture);
    tb_host_add_capture(&before, &of_capture, &none);
    for (size_t at = 1; at + 2 <= size;) {
        size_t len = (size_t)data[at] << 8 | data[at + 1];
        uint8_t *exact;

        at += 2;
        len = len < size - at ? len : size - at;
        exact = malloc(len == 0 ? 1 : len); /* so that the sanitizer sees the edge */
        require(exact != NULL);
        memcpy(exact, data + at, len);
        tb_lane_packet(&lane, (int64_t)at, tb_bytes_of(exact, len));
        free(exact);
        at += len;
    }
    /* What is in the chunk counts as written here. */
    now_boot_ns += 10 * TB_NS_PER_S;
    tb_lane_look(&lane, now_boot_ns, false);
    while (tb_handover_pop(&lane.queue, 0, &what, &behind) == TB_OK) {
        check_chunk(tb_bytes_of(what.slab->at, what.slab->len), input, what.slab->info.packets);
        written += what.slab->info.packets;
        tb_slab_give_back(&lane.pool, what.slab);
    }
    tb_counters_read(lane.counters, &after);
    tb_counters_read(&armed[kind]->streams[0].shared->counters, &of_capture);
    tb_host_add_capture(&after, &of_capture, &none);
    require((uint64_t)(tb_ledger_residual(&after) - tb_ledger_residual(&before)) == written);
    return 0;
}

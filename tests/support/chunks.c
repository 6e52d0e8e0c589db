#include "chunks.h"

#include <stdlib.h>

enum {
    FRAME_MAX = 9001
};

void
test_chunks_init(struct test_chunks *chunks, uint64_t seed)
{
    *chunks = (struct test_chunks){
        .seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1,
        .next_utc_ns = INT64_C(1767225600123456789),
        .interfaces = 2,
    };
}

uint64_t
test_chunks_random(struct test_chunks *chunks)
{
    chunks->seed ^= chunks->seed << 13;
    chunks->seed ^= chunks->seed >> 7;
    chunks->seed ^= chunks->seed << 17;
    return chunks->seed;
}

void
test_chunks_put_head(struct test_chunks *chunks, struct tb_buf *out)
{
    static uint8_t block[TB_PCAPNG_MAX_SECTION];
    struct tb_pcapng_section section = {
        .capture_id = "cap-20260101T000000Z-0a0b0c0d",
        .case_id = "IR-1234",
        .finding_id = "1ab92989eaf0e742df4a014d5c0d6c5b",
        .finding_type = "Backdoor:EC2/C&CActivity.B!DNS",
        .reason = "beaconing, \xc3\xa4 \xe2\x82\xac",
        .application = "tapbox test",
        .hardware = "x86_64",
        .os = "Linux",
        .started_utc_ns = chunks->next_utc_ns,
    };

    tb_buf_put(out, block, tb_pcapng_put_section(block, sizeof(block), &section));
    for (uint32_t i = 0; i < chunks->interfaces; i++) {
        struct tb_pcapng_interface interface = {
            .name = i == 0 ? "eni-0123456789abcdef0" : "eni-0123456789abcdef1",
            .description = "i-0123456789abcdef0, VNI 7 from 10.0.0.1",
            .filter = i == 0 ? "tcp port 443" : "",
            .mac = {2, 0, 0, 0, 0, (uint8_t)i},
        };

        tb_buf_put(out, block, tb_pcapng_put_interface(block, sizeof(block), &interface));
    }
}

/* An Ethernet frame that readers accept: a broadcast of an experimental ethertype. */
static void
make_frame(struct test_chunks *chunks, uint8_t *frame, uint32_t len)
{
    static const char text[] = "GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
    bool is_random = test_chunks_random(chunks) % 2 == 0;

    for (uint32_t i = 0; i < len; i++) {
        frame[i] = is_random ? (uint8_t)test_chunks_random(chunks)
                             : (uint8_t)text[i % (sizeof(text) - 1)];
    }
    memset(frame, 0xff, 6);
    memcpy(frame + 6, "\x02\x00\x00\x00\x00\x01\x88\xb5", 8);
}

void
test_chunks_put_packets(struct test_chunks *chunks, struct tb_buf *out, uint32_t packets,
                        uint32_t max_frame, struct tb_chunk_info *info)
{
    static uint8_t frame[FRAME_MAX];
    static uint8_t block[FRAME_MAX + TB_PCAPNG_PACKET_OVERHEAD];

    *info = (struct tb_chunk_info){.packets = packets};
    for (uint32_t i = 0; i < packets; i++) {
        uint32_t len = 14 + (uint32_t)(test_chunks_random(chunks) % (max_frame - 13));
        struct tb_pcapng_packet packet = {
            .interface = (uint32_t)(test_chunks_random(chunks) % chunks->interfaces),
            .utc_ns = chunks->next_utc_ns,
            .captured = len,
            .original = len + (uint32_t)(i % 16 == 15 ? 100 : 0),
            .direction = i % 2 == 0 ? TB_DIRECTION_INBOUND : TB_DIRECTION_OUTBOUND,
            .dropped = i % 32 == 31 ? 3 : 0,
        };

        make_frame(chunks, frame, len);
        tb_buf_put(out, block, tb_pcapng_put_packet(block, sizeof(block), &packet, frame));
        info->first_utc_ns = i == 0 ? packet.utc_ns : info->first_utc_ns;
        info->last_utc_ns = packet.utc_ns;
        chunks->next_utc_ns += 1 + (int64_t)(test_chunks_random(chunks) % 1000000);
        chunks->ledger.received += 1 + packet.dropped;
        chunks->ledger.written++;
        chunks->ledger.queue_dropped += packet.dropped;
        chunks->ledger.written_bytes += len;
    }
    info->ledger = chunks->ledger;
}

void
test_chunks_put_statistics(struct test_chunks *chunks, struct tb_buf *out)
{
    uint8_t block[TB_PCAPNG_MAX_STATISTICS];

    for (uint32_t i = 0; i < chunks->interfaces; i++) {
        size_t n =
            tb_pcapng_put_statistics(block, sizeof(block), i, INT64_C(1767225600123456789),
                                     chunks->next_utc_ns, &chunks->ledger);

        tb_buf_put(out, block, n);
    }
}

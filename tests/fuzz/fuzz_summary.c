/*
 * The summary of frames that an attacker chose.
 *
 * Input: frames, each behind its length as u16 and the milliseconds since the one before as u8.
 * Property: nothing of a packet is lost: the timeline and the protocols hold each once, each
 * table's packets are at most as many as the layers that were read, and the document is one.
 */
#include <stdlib.h>

#include <tapbox/clock.h>

#include "../../src/summary/summary_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    HEAD = 3
};

static void
require(bool good)
{
    if (!good) {
        abort();
    }
}

static uint64_t
timeline_packets(const struct summary_timeline *timeline)
{
    uint64_t packets = 0;

    for (size_t i = 0; i < timeline->count; i++) {
        packets += timeline->bins[i].packets;
    }
    return packets;
}

static void
check_document(const struct tb_summary *summary)
{
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    struct tb_json *root = tb_summary_json(summary, 100), *again = NULL;

    require(tb_json_dump(root, false, &text, NULL) == TB_OK);
    require(tb_json_parse_max(tb_buf_view(&text), TB_SUMMARY_MAX_BYTES, &again, NULL) == TB_OK);
    tb_json_free(again);
    tb_json_free(root);
    tb_buf_release(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tb_ioc iocs[] = {{TB_IOC_IP, "10.0.0.2", 443, 6},
                                         {TB_IOC_PORT, "", 53, 0},
                                         {TB_IOC_DOMAIN, "example", 0, 0}};
    struct tb_summary *summary = NULL;
    int64_t now_ns = INT64_C(1700000000) * TB_NS_PER_S;
    uint64_t frames = 0;

    require(tb_summary_new(&summary, NULL) == TB_OK);
    for (size_t i = 0; i < 3; i++) {
        require(tb_summary_watch(summary, &iocs[i], NULL) == TB_OK);
    }
    while (size >= HEAD) {
        size_t len = tb_get_be16(data);
        uint8_t *frame;

        now_ns += data[2] * TB_NS_PER_MS;
        data += HEAD;
        size -= HEAD;
        len = len < size ? len : size;
        frame = malloc(len > 0 ? len : 1); /* of exactly its size, for the sanitizer */
        require(frame != NULL);
        memcpy(frame, data, len);
        tb_summary_packet(summary, now_ns, tb_bytes_of(frame, len), (uint32_t)len);
        free(frame);
        data += len;
        size -= len;
        frames++;
    }
    require(tb_summary_packets(summary) == frames);
    require(timeline_packets(&summary->timeline) == frames);
    for (size_t kind = SUMMARY_IP; kind <= SUMMARY_UDP; kind++) {
        const struct summary_table *table = &summary->tables[kind];

        for (size_t i = 0; i < table->count; i++) {
            require(summary_entry_packets(table->entries[i]) > 0);
            require(table->entries[i]->first_utc_ns <= table->entries[i]->last_utc_ns);
        }
    }
    check_document(summary);
    tb_summary_free(summary);
    return 0;
}

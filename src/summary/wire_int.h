/* The messages between serve and the process that summarizes. */
#ifndef TAPBOX_SUMMARY_WIRE_INT_H
#define TAPBOX_SUMMARY_WIRE_INT_H

#include <tapbox/summary.h>

enum summary_request_kind {
    SUMMARY_BEGIN,
    SUMMARY_WATCH,
    SUMMARY_CHUNK,    /* with a descriptor to read `size` octets from */
    SUMMARY_DOCUMENT, /* with a descriptor to write to; `size` rows of each table */
    SUMMARY_END,
    SUMMARY_REQUEST_KINDS
};

enum {
    SUMMARY_REQUEST_HEAD = 9, /* kind, number, size */
    SUMMARY_REQUEST_MAX_BYTES = SUMMARY_REQUEST_HEAD + 4 + TB_SUMMARY_IOC_VALUE_SIZE,
    SUMMARY_ANSWER_HEAD = 15, /* error, packets, size, number of sightings */
    SUMMARY_SIGHTING_BYTES = 48,
    SUMMARY_ANSWER_MAX_BYTES =
        SUMMARY_ANSWER_HEAD + TB_SUMMARY_MAX_IOCS * SUMMARY_SIGHTING_BYTES,
    SUMMARY_CHUNK_MAX_BYTES = (16 << 20) + 65536 /* the largest chunk, with some room */
};

struct summary_request {
    enum summary_request_kind kind;
    uint32_t number;
    uint32_t size;
    struct tb_ioc ioc; /* SUMMARY_WATCH */
};
void summary_put_request(struct tb_buf *out, const struct summary_request *request);
/* False when it is not one. */
bool summary_get_request(struct tb_bytes message, struct summary_request *out);

struct summary_answer {
    enum tb_err err;
    uint64_t packets; /* in this summary so far */
    uint32_t size;    /* octets of the document */
    size_t count;
    struct tb_sighting seen[TB_SUMMARY_MAX_IOCS];
};
void summary_put_answer(struct tb_buf *out, const struct summary_answer *answer);
bool summary_get_answer(struct tb_bytes message, struct summary_answer *out);

#endif

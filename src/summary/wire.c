/* The messages between serve and the process that summarizes: little-endian, bounded. */
#include "wire_int.h"

void
summary_put_request(struct tb_buf *out, const struct summary_request *request)
{
    tb_buf_reset(out);
    tb_buf_put_u8(out, (uint8_t)request->kind);
    tb_buf_put_le32(out, request->number);
    tb_buf_put_le32(out, request->size);
    if (request->kind == SUMMARY_WATCH) {
        tb_buf_put_u8(out, (uint8_t)request->ioc.kind);
        tb_buf_put_u8(out, request->ioc.protocol);
        tb_buf_put_le16(out, request->ioc.port);
        tb_buf_put_str(out, request->ioc.value);
    }
}

bool
summary_get_request(struct tb_bytes message, struct summary_request *out)
{
    struct summary_request request = {SUMMARY_BEGIN, 0, 0, {TB_IOC_IP, "", 0, 0}};
    size_t len;

    if (message.len < SUMMARY_REQUEST_HEAD || message.at[0] >= SUMMARY_REQUEST_KINDS) {
        return false;
    }
    request.kind = (enum summary_request_kind)message.at[0];
    request.number = tb_get_le32(message.at + 1);
    request.size = tb_get_le32(message.at + 5);
    if (request.number >= TB_SUMMARIZER_MAX) {
        return false;
    }
    if (request.kind == SUMMARY_WATCH) {
        if (message.len < SUMMARY_REQUEST_HEAD + 4) {
            return false;
        }
        len = message.len - SUMMARY_REQUEST_HEAD - 4;
        if (message.at[9] >= TB_IOC_KIND_COUNT || len >= sizeof(request.ioc.value)) {
            return false;
        }
        request.ioc.kind = (enum tb_ioc_kind)message.at[9];
        request.ioc.protocol = message.at[10];
        request.ioc.port = tb_get_le16(message.at + 11);
        memcpy(request.ioc.value, message.at + 13, len);
    } else if (message.len != SUMMARY_REQUEST_HEAD) {
        return false;
    }
    *out = request;
    return true;
}

void
summary_put_answer(struct tb_buf *out, const struct summary_answer *answer)
{
    tb_buf_reset(out);
    tb_buf_put_u8(out, (uint8_t)answer->err);
    tb_buf_put_le64(out, answer->packets);
    tb_buf_put_le32(out, answer->size);
    tb_buf_put_le16(out, (uint16_t)answer->count);
    for (size_t i = 0; i < answer->count; i++) {
        const struct tb_sighting *one = &answer->seen[i];

        tb_buf_put_le64(out, one->packets);
        tb_buf_put_le64(out, one->bytes);
        tb_buf_put_le64(out, one->on_port);
        tb_buf_put_le64(out, one->names);
        tb_buf_put_le64(out, (uint64_t)one->first_utc_ns);
        tb_buf_put_le64(out, (uint64_t)one->last_utc_ns);
    }
}

bool
summary_get_answer(struct tb_bytes message, struct summary_answer *out)
{
    size_t count;

    if (message.len < SUMMARY_ANSWER_HEAD || message.at[0] >= TB_ERR_COUNT) {
        return false;
    }
    count = tb_get_le16(message.at + 13);
    if (count > TB_SUMMARY_MAX_IOCS ||
        message.len != SUMMARY_ANSWER_HEAD + count * SUMMARY_SIGHTING_BYTES) {
        return false;
    }
    out->err = (enum tb_err)message.at[0];
    out->packets = tb_get_le64(message.at + 1);
    out->size = tb_get_le32(message.at + 9);
    out->count = count;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = message.at + SUMMARY_ANSWER_HEAD + i * SUMMARY_SIGHTING_BYTES;

        out->seen[i] = (struct tb_sighting){
            .packets = tb_get_le64(at),
            .bytes = tb_get_le64(at + 8),
            .on_port = tb_get_le64(at + 16),
            .names = tb_get_le64(at + 24),
            .first_utc_ns = (int64_t)tb_get_le64(at + 32),
            .last_utc_ns = (int64_t)tb_get_le64(at + 40),
        };
    }
    return true;
}

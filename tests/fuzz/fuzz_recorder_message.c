/*
 * Messages of both directions.  Property: what is decoded encodes to the same octets again, and
 * a refusal says why.
 */
#include <stdlib.h>

#include "../../src/recorder/wire_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tb_request request; /* too big for a stack */
    static struct tb_answer answer;
    struct tb_bytes message = tb_bytes_of(data, size);
    struct tb_buf again = TB_BUF_INIT(TB_RECORDER_MAX_MESSAGE);
    struct tb_fail fail = {.err = TB_OK};
    enum tb_err err = tb_request_decode(message, &request, &fail);

    if (err == TB_OK) {
        tb_request_encode(&request, &again);
    } else if (err != TB_EFORMAT || fail.text[0] == '\0') {
        abort();
    }
    if (err != TB_OK) {
        err = tb_answer_decode(message, &answer, &fail);
        if (err == TB_OK) {
            tb_answer_encode(&answer, &again);
        }
    }
    if (err == TB_OK && !tb_bytes_equal(tb_buf_view(&again), message)) {
        abort();
    }
    tb_buf_release(&again);
    return 0;
}

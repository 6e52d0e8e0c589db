/*
 * What the process that summarizes and serve say to each other.
 *
 * Input: one message.  Property: what is taken for an answer or a request is written again as
 * the very same octets, so nothing of it was guessed.
 */
#include <stdlib.h>

#include "../../src/summary/wire_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool good)
{
    if (!good) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct summary_answer answer;
    struct summary_request request;
    struct tb_buf again = TB_BUF_INIT(SUMMARY_ANSWER_MAX_BYTES);

    if (summary_get_answer(tb_bytes_of(data, size), &answer)) {
        summary_put_answer(&again, &answer);
        require(again.err == TB_OK);
        require(tb_bytes_equal(tb_buf_view(&again), tb_bytes_of(data, size)));
    }
    if (summary_get_request(tb_bytes_of(data, size), &request)) {
        summary_put_request(&again, &request);
        require(again.err == TB_OK);
        /* a value ends at its first NUL */
        require(again.len <= size && memcmp(again.at, data, again.len) == 0);
    }
    tb_buf_release(&again);
    return 0;
}

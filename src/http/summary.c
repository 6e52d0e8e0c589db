/* GET /v1/captures/{id}/summary: who talked with whom so far, or in all. */
#include <stdlib.h>

#include "http_int.h"

/* ?top=N; false after an answer. */
static bool
read_top(struct tb_http_call *call, size_t *out)
{
    const char *text = tb_http_query(call, "top");
    char *end = NULL;
    unsigned long top;

    *out = TB_SUMMARY_TOP;
    if (text == NULL) {
        return true;
    }
    top = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || top > TB_SUMMARY_TOP) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "top: a number from 0 to %d",
                        TB_SUMMARY_TOP);
        return false;
    }
    *out = top;
    return true;
}

void
tb_http_get_summary(struct tb_http_call *call)
{
    struct tb_capture *capture = tb_http_load_capture(call);
    struct tb_json *root = NULL;
    struct tb_fail fail = {0};
    enum tb_err err = TB_ENOTFOUND;
    size_t top;

    if (capture != NULL && read_top(call, &top)) {
        if (call->server->deps.summaries != NULL) {
            err = tb_summary_live_document(call->server->deps.summaries, capture->id, top,
                                           &root, &fail);
        }
        if (err == TB_OK) {
            tb_http_answer_json(call, 200, root);
        } else if (err == TB_ENOTFOUND) {
            tb_http_problem_with(call, TB_PROBLEM_NOT_FOUND, "state",
                                 tb_capture_state_name(capture->state),
                                 "There is no summary of %s%s.", capture->id,
                                 tb_capture_state_is_final(capture->state)
                                     ? " here; once store.keep is over only S3 has it"
                                     : " yet");
        } else {
            tb_http_problem_of(call, &fail);
        }
    }
    free(capture);
}

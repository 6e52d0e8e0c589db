/*
 * The process that summarizes: one thread, one request after the other, until its socket
 * closes.  It enters its sandbox before it reads the first octet.
 */
#include <tapbox/summary.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <tapbox/compartment.h>
#include <tapbox/io.h>
#include <tapbox/sandbox.h>

#include "wire_int.h"

enum {
    SOCKET_FD = 3,
    NICE = 10 /* behind recording, compression and control */
};

struct child {
    struct tb_summary *summaries[TB_SUMMARIZER_MAX]; /* owned */
    uint8_t *chunk;                                  /* owned, SUMMARY_CHUNK_MAX_BYTES */
};

static enum tb_err
begin(struct child *child, uint32_t number)
{
    tb_summary_free(child->summaries[number]);
    child->summaries[number] = NULL;
    return tb_summary_new(&child->summaries[number], NULL);
}

static enum tb_err
take_chunk(struct child *child, struct tb_summary *summary, int fd, uint32_t size)
{
    size_t got = 0;

    if (fd < 0 || size > SUMMARY_CHUNK_MAX_BYTES) {
        return TB_EINVAL;
    }
    while (got < size) {
        ssize_t n = pread(fd, child->chunk + got, size - got, (off_t)got);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return TB_EIO;
        }
        got += (size_t)n;
    }
    return tb_summary_blocks(summary, tb_bytes_of(child->chunk, size), NULL);
}

static enum tb_err
write_document(const struct tb_summary *summary, int fd, size_t top, uint32_t *out_size)
{
    struct tb_buf text = TB_BUF_INIT(TB_SUMMARY_MAX_BYTES);
    struct tb_json *root = tb_summary_json(summary, top);
    enum tb_err err = fd < 0 ? TB_EINVAL : tb_json_dump(root, false, &text, NULL);

    tb_json_free(root);
    if (err == TB_OK) {
        err = tb_write_all(fd, tb_buf_view(&text), NULL);
    }
    *out_size = (uint32_t)text.len;
    tb_buf_release(&text);
    return err;
}

static void
answer_request(struct child *child, const struct summary_request *request, int fd,
               struct summary_answer *out)
{
    struct tb_summary *summary = child->summaries[request->number];
    const struct tb_ioc *iocs;
    const struct tb_sighting *seen;

    *out = (struct summary_answer){.err = TB_OK};
    if (summary == NULL && request->kind != SUMMARY_BEGIN && request->kind != SUMMARY_END) {
        out->err = TB_ENOTFOUND;
        return;
    }
    switch (request->kind) {
    case SUMMARY_BEGIN:
        out->err = begin(child, request->number);
        return;
    case SUMMARY_END:
        tb_summary_free(summary);
        child->summaries[request->number] = NULL;
        return;
    case SUMMARY_WATCH:
        out->err = tb_summary_watch(summary, &request->ioc, NULL);
        break;
    case SUMMARY_DOCUMENT:
        out->err = write_document(summary, fd, request->size, &out->size);
        break;
    default:
        out->err = take_chunk(child, summary, fd, request->size);
        break;
    }
    out->packets = tb_summary_packets(summary);
    out->count = tb_summary_sightings(summary, &iocs, &seen);
    memcpy(out->seen, seen, out->count * sizeof(*seen));
}

static enum tb_err
serve(struct child *child, struct tb_fail *fail)
{
    struct tb_buf in = TB_BUF_INIT(SUMMARY_REQUEST_MAX_BYTES);
    struct tb_buf out = TB_BUF_INIT(SUMMARY_ANSWER_MAX_BYTES);
    struct summary_answer *answer = malloc(sizeof(*answer));
    enum tb_err err = answer == NULL ? TB_ENOMEM : TB_OK;

    while (err == TB_OK) {
        struct summary_request request;
        int fd = -1;

        err = tb_message_receive(SOCKET_FD, &in, &fd, -1, fail);
        if (err == TB_OK && !summary_get_request(tb_buf_view(&in), &request)) {
            err = tb_fail_set(fail, TB_EFORMAT, "a message that is none");
        }
        if (err == TB_OK) {
            answer_request(child, &request, fd, answer);
            summary_put_answer(&out, answer);
            err = tb_message_send(SOCKET_FD, tb_buf_view(&out), -1, fail);
        }
        tb_close(&fd);
    }
    free(answer);
    tb_buf_release(&in);
    tb_buf_release(&out);
    return err == TB_ECLOSED ? TB_OK : err;
}

enum tb_err
tb_summarizer_main(struct tb_fail *fail)
{
    struct child child = {{NULL}, NULL};
    enum tb_err err;

    (void)setpriority(PRIO_PROCESS, 0, NICE); /* where it is refused it only costs politeness */
    err = tb_sandbox_enter(TB_SANDBOX_SUMMARIZER, -1, fail);
    if (err != TB_OK) {
        return err;
    }
    child.chunk = malloc(SUMMARY_CHUNK_MAX_BYTES);
    if (child.chunk == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a chunk");
    }
    err = serve(&child, fail);
    for (size_t i = 0; i < TB_SUMMARIZER_MAX; i++) {
        tb_summary_free(child.summaries[i]);
    }
    free(child.chunk);
    return err;
}

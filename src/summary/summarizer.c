/* The side of the summarizing process that has rights: starts it, feeds it, believes nothing
 * that it answers beyond its form. */
#include <tapbox/summary.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/compartment.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/thread.h>

#include "wire_int.h"

static const int64_t answer_wait_ns = 10 * TB_NS_PER_S; /* a chunk of 16 MiB takes 0.1 s */
static const int64_t restart_ns = TB_NS_PER_S;          /* not faster than this */

struct tb_summarizer {
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        pid_t pid;
        int fd;
        int64_t ended_boot_ns; /* 0: none has yet */
        uint64_t crashes;
        struct tb_buf message;
        struct summary_answer answer;
    } locked;
};

enum tb_err
tb_summarizer_new(struct tb_summarizer **out, struct tb_fail *fail)
{
    struct tb_summarizer *summarizer = calloc(1, sizeof(*summarizer));

    if (summarizer == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a summarizer");
    }
    tb_mutex_init(&summarizer->mu);
    summarizer->locked.fd = -1;
    summarizer->locked.message.ceiling = SUMMARY_ANSWER_MAX_BYTES;
    *out = summarizer;
    return TB_OK;
}

static void
end_locked(struct tb_summarizer *summarizer) TB_REQUIRES(summarizer->mu)
{
    tb_close(&summarizer->locked.fd);
    tb_compartment_stop(summarizer->locked.pid, 0);
    summarizer->locked.pid = 0;
}

void
tb_summarizer_free(struct tb_summarizer *summarizer)
{
    if (summarizer != NULL) {
        tb_mutex_lock(&summarizer->mu);
        end_locked(summarizer);
        tb_mutex_unlock(&summarizer->mu);
        tb_buf_release(&summarizer->locked.message);
        tb_mutex_release(&summarizer->mu);
        free(summarizer);
    }
}

static enum tb_err
start_locked(struct tb_summarizer *summarizer, struct tb_fail *fail) TB_REQUIRES(summarizer->mu)
{
    static const char *const argv[] = {"tapbox", "summarize", NULL};

    if (summarizer->locked.pid > 0) {
        return TB_OK;
    }
    if (summarizer->locked.ended_boot_ns != 0 &&
        tb_clock_boot_ns() - summarizer->locked.ended_boot_ns < restart_ns) {
        return tb_fail_set(fail, TB_ERETRY, "the summarizer ended a moment ago");
    }
    return tb_compartment_start(argv, &summarizer->locked.pid, &summarizer->locked.fd, fail);
}

/* It is gone, stuck or talks nonsense. */
static enum tb_err
give_up_locked(struct tb_summarizer *summarizer, struct tb_fail *fail)
    TB_REQUIRES(summarizer->mu)
{
    end_locked(summarizer);
    summarizer->locked.crashes++;
    summarizer->locked.ended_boot_ns = tb_clock_boot_ns();
    return tb_fail_set(fail, TB_ECLOSED, "the summarizer ended");
}

/* One request and its answer, which stays in locked.answer. */
static enum tb_err
ask_locked(struct tb_summarizer *summarizer, const struct summary_request *request, int pass_fd,
           struct tb_fail *fail) TB_REQUIRES(summarizer->mu)
{
    struct tb_buf *message = &summarizer->locked.message;
    enum tb_err err;

    if (summarizer->locked.pid == 0) {
        return tb_fail_set(fail, TB_ECLOSED, "no summarizer runs");
    }
    summary_put_request(message, request);
    err = tb_buf_check(message, "a request", fail);
    if (err != TB_OK) {
        return err;
    }
    if (tb_message_send(summarizer->locked.fd, tb_buf_view(message), pass_fd, NULL) != TB_OK ||
        tb_message_receive(summarizer->locked.fd, message, NULL, answer_wait_ns, NULL) !=
            TB_OK ||
        !summary_get_answer(tb_buf_view(message), &summarizer->locked.answer)) {
        return give_up_locked(summarizer, fail);
    }
    err = summarizer->locked.answer.err;
    return err == TB_OK ? TB_OK
                        : tb_fail_set(fail, err, "the summarizer says: %s", tb_err_name(err));
}

enum tb_err
tb_summarizer_begin(struct tb_summarizer *summarizer, unsigned number, struct tb_fail *fail)
{
    struct summary_request request = {.kind = SUMMARY_BEGIN, .number = number};
    enum tb_err err;

    tb_mutex_lock(&summarizer->mu);
    err = start_locked(summarizer, fail);
    if (err == TB_OK) {
        err = ask_locked(summarizer, &request, -1, fail);
    }
    tb_mutex_unlock(&summarizer->mu);
    return err;
}

enum tb_err
tb_summarizer_watch(struct tb_summarizer *summarizer, unsigned number, const struct tb_ioc *ioc,
                    struct tb_fail *fail)
{
    struct summary_request request = {.kind = SUMMARY_WATCH, .number = number, .ioc = *ioc};
    enum tb_err err;

    tb_mutex_lock(&summarizer->mu);
    err = ask_locked(summarizer, &request, -1, fail);
    tb_mutex_unlock(&summarizer->mu);
    return err;
}

/* Octets in memory that a descriptor stands for. */
static enum tb_err
memory_fd(struct tb_bytes content, int *out_fd, struct tb_fail *fail)
{
    int fd = memfd_create("tapbox-summary", MFD_CLOEXEC);
    enum tb_err err;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a file in memory");
    }
    err = tb_write_all(fd, content, fail);
    if (err != TB_OK) {
        tb_close(&fd);
        return err;
    }
    *out_fd = fd;
    return TB_OK;
}

enum tb_err
tb_summarizer_chunk(struct tb_summarizer *summarizer, unsigned number, struct tb_bytes blocks,
                    uint64_t *out_packets, struct tb_sighting out_seen[TB_SUMMARY_MAX_IOCS],
                    size_t *out_count, struct tb_fail *fail)
{
    struct summary_request request = {
        .kind = SUMMARY_CHUNK, .number = number, .size = (uint32_t)blocks.len};
    const struct summary_answer *answer = &summarizer->locked.answer;
    int fd = -1;
    enum tb_err err;

    if (blocks.len > SUMMARY_CHUNK_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "a chunk of %zu octets", blocks.len);
    }
    err = memory_fd(blocks, &fd, fail);
    if (err != TB_OK) {
        return err;
    }
    tb_mutex_lock(&summarizer->mu);
    err = ask_locked(summarizer, &request, fd, fail);
    if (err == TB_OK || err == TB_EFORMAT) {
        *out_packets = answer->packets;
        *out_count = answer->count;
        memcpy(out_seen, answer->seen, answer->count * sizeof(*out_seen));
    }
    tb_mutex_unlock(&summarizer->mu);
    tb_close(&fd);
    return err;
}

enum tb_err
tb_summarizer_document(struct tb_summarizer *summarizer, unsigned number, size_t top,
                       struct tb_json **out, struct tb_fail *fail)
{
    struct summary_request request = {
        .kind = SUMMARY_DOCUMENT, .number = number, .size = (uint32_t)top};
    uint8_t *text = NULL;
    uint32_t size = 0;
    int fd = -1;
    enum tb_err err = memory_fd(tb_bytes_of(NULL, 0), &fd, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_mutex_lock(&summarizer->mu);
    err = ask_locked(summarizer, &request, fd, fail);
    size = summarizer->locked.answer.size;
    tb_mutex_unlock(&summarizer->mu);
    if (err != TB_OK) {
        goto out;
    }
    if (size == 0 || size > TB_SUMMARY_MAX_BYTES) {
        err = tb_fail_set(fail, TB_EFORMAT, "a summary of %u octets", size);
        goto out;
    }
    text = malloc(size);
    if (text == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "no memory for a summary of %u octets", size);
    } else if (pread(fd, text, size, 0) != (ssize_t)size) {
        err = tb_fail_set(fail, TB_EFORMAT, "a summary that ends early");
    } else {
        err = tb_json_parse_max(tb_bytes_of(text, size), TB_SUMMARY_MAX_BYTES, out, fail);
    }

out:
    free(text);
    tb_close(&fd);
    return err;
}

void
tb_summarizer_end(struct tb_summarizer *summarizer, unsigned number)
{
    struct summary_request request = {.kind = SUMMARY_END, .number = number};

    tb_mutex_lock(&summarizer->mu);
    if (summarizer->locked.pid > 0) {
        (void)ask_locked(summarizer, &request, -1, NULL);
    }
    tb_mutex_unlock(&summarizer->mu);
}

uint64_t
tb_summarizer_crashes(struct tb_summarizer *summarizer)
{
    uint64_t crashes;

    tb_mutex_lock(&summarizer->mu);
    crashes = summarizer->locked.crashes;
    tb_mutex_unlock(&summarizer->mu);
    return crashes;
}

/*
 * Those who watch a capture live: GET /v1/captures/{id}/stream.
 *
 * Each viewer has a thread that reads the chunks which the recorder has put down, merges the
 * lanes by time, filters, and fills one buffer while libmicrohttpd sends the other.  When both
 * are full it waits, and a reader that takes nothing for STALL_S is cut off.  The recorder is
 * another process that knows nothing of this; the threads run at a lower priority than it.
 *
 * Threads: one a viewer, up to VIEWERS_MOST, owns follower, merge and the buffer being filled;
 * `locked` is shared with libmicrohttpd's thread, which is suspended while there is nothing to
 * send.  The last of the two to leave frees the viewer.
 */
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/pcapng_merge.h>
#include <tapbox/spool_follow.h>

#include "http_int.h"

enum {
    VIEWERS_MOST = 8,          /* about 5 MiB and a thread each */
    STALL_S = 10,              /* without taking an octet */
    CLOSE_S = 60,              /* libmicrohttpd's own limit, for the end of a stream */
    SOCKET_BYTES = 256 * 1024, /* that the kernel may hold of it */
    FILL_BYTES = 256 * 1024,   /* handed over when there is so much, or nothing more for now */
    BUFFER_MAX_BYTES = 32 << 20, /* what is full, and the longest chunk's worth */
    SEND_BYTES = 64 * 1024,
    /* A chunk is put down within a second of its first packet, and compressed: what is older
     * than this waits for no other lane. */
    LANES_APART_MS = 2500,
    LOOK_MS = 1000, /* whether the capture is over */
    NICENESS = 10
};

struct tb_viewer {
    struct tb_http_server *server; /* borrowed until its thread has ended */
    struct MHD_Connection *connection;
    char capture_id[TB_CAPTURE_ID_SIZE];
    char who[TB_TOKEN_NAME_SIZE];
    char remote[TB_IP_TEXT_SIZE];
    char bpf_text[TB_CAPTURE_MAX_BPF_TEXT];
    bool from_start;
    uint64_t missed; /* before it began */
    bool started;
    int fd; /* of its socket, a descriptor of our own */
    struct tb_mutex mu;
    struct tb_cond taken;
    struct { /* touched only while holding mu */
        struct tb_buf ready;
        size_t sent;           /* octets of `ready` */
        int64_t taken_boot_ns; /* when the reader took some last */
        int on_the_way;        /* octets in the kernel then */
        bool suspended;        /* libmicrohttpd waits for more */
        bool ended;            /* there will not be more */
        bool cut;              /* and what there was, was not all */
        bool gone;             /* nobody reads any more */
        unsigned holders;
    } locked;
    struct {                /* touched only by its thread, once that has started */
        struct tb_bpf *bpf; /* NULL: everything */
        struct tb_spool_follower *follower;
        struct tb_merge *merge;
        struct tb_buf fill;
        uint64_t seen, packets, bytes; /* packets: those that the filter takes */
        bool over;                     /* the recorder has closed the capture */
        int64_t looked_boot_ns;
    } own;
};

/* --- the room for them --- */

void
tb_viewers_init(struct tb_viewers *viewers)
{
    tb_mutex_init(&viewers->mu);
    tb_cond_init(&viewers->left);
    viewers->made = true;
}

static bool
enter(struct tb_viewers *viewers)
{
    bool entered;

    tb_mutex_lock(&viewers->mu);
    entered = viewers->locked.count < VIEWERS_MOST && !viewers->locked.stopping;
    viewers->locked.count += entered;
    tb_mutex_unlock(&viewers->mu);
    return entered;
}

static void
leave(struct tb_viewers *viewers)
{
    tb_mutex_lock(&viewers->mu);
    viewers->locked.count--;
    tb_cond_broadcast(&viewers->left);
    tb_mutex_unlock(&viewers->mu);
}

static bool
is_stopping(struct tb_viewers *viewers)
{
    bool stopping;

    tb_mutex_lock(&viewers->mu);
    stopping = viewers->locked.stopping;
    tb_mutex_unlock(&viewers->mu);
    return stopping;
}

size_t
tb_viewers_count(struct tb_viewers *viewers)
{
    size_t count;

    tb_mutex_lock(&viewers->mu);
    count = viewers->locked.count;
    tb_mutex_unlock(&viewers->mu);
    return count;
}

void
tb_viewers_stop(struct tb_viewers *viewers)
{
    if (!viewers->made) {
        return;
    }
    tb_mutex_lock(&viewers->mu);
    viewers->locked.stopping = true;
    while (viewers->locked.count > 0) {
        tb_cond_wait(&viewers->left, &viewers->mu);
    }
    tb_mutex_unlock(&viewers->mu);
}

void
tb_viewers_release(struct tb_viewers *viewers)
{
    if (!viewers->made) {
        return;
    }
    tb_viewers_stop(viewers);
    tb_cond_release(&viewers->left);
    tb_mutex_release(&viewers->mu);
    viewers->made = false;
}

/* --- one of them --- */

static void
free_viewer(struct tb_viewer *viewer)
{
    tb_bpf_free(viewer->own.bpf);
    tb_spool_unfollow(viewer->own.follower);
    tb_merge_free(viewer->own.merge);
    tb_buf_release(&viewer->own.fill);
    tb_buf_release(&viewer->locked.ready);
    tb_close(&viewer->fd);
    tb_cond_release(&viewer->taken);
    tb_mutex_release(&viewer->mu);
    free(viewer);
}

static void
let_go(struct tb_viewer *viewer)
{
    bool last;

    tb_mutex_lock(&viewer->mu);
    last = --viewer->locked.holders == 0;
    tb_mutex_unlock(&viewer->mu);
    if (last) {
        free_viewer(viewer);
    }
}

void
tb_viewer_drop(struct tb_viewer *viewer)
{
    if (viewer != NULL) {
        leave(&viewer->server->viewers);
        free_viewer(viewer);
    }
}

/* --- its thread --- */

static void
resume_locked(struct tb_viewer *viewer) TB_REQUIRES(viewer->mu)
{
    if (viewer->locked.suspended) {
        viewer->locked.suspended = false;
        MHD_resume_connection(viewer->connection);
    }
}

/* Not again: the reader sees that the answer is not complete. */
static void
cut_off(struct tb_viewer *viewer, const char *why)
{
    tb_log(TB_LOG_WARN, viewer->capture_id, "the stream to %s (%s) is cut off: %s", viewer->who,
           viewer->remote, why);
    tb_mutex_lock(&viewer->mu);
    viewer->locked.cut = true;
    (void)shutdown(viewer->fd, SHUT_RDWR);
    resume_locked(viewer);
    tb_mutex_unlock(&viewer->mu);
}

/* Octets that the reader's end took from the kernel count as taken. */
static bool
has_stalled_locked(struct tb_viewer *viewer) TB_REQUIRES(viewer->mu)
{
    int64_t now = tb_clock_boot_ns();
    int on_the_way = 0;

    if (ioctl(viewer->fd, SIOCOUTQ, &on_the_way) == 0 &&
        on_the_way < viewer->locked.on_the_way) {
        viewer->locked.taken_boot_ns = now;
    }
    viewer->locked.on_the_way = on_the_way;
    return now - viewer->locked.taken_boot_ns > STALL_S * TB_NS_PER_S;
}

/* What was filled is sent next, as soon as what is being sent is; false when the stream has
 * come to its end before. */
static bool
hand_over(struct tb_viewer *viewer)
{
    bool stalled = false, may_go_on = true;
    struct tb_buf swap;

    if (viewer->own.fill.len == 0) {
        return true;
    }
    tb_mutex_lock(&viewer->mu);
    while (!viewer->locked.gone && viewer->locked.sent < viewer->locked.ready.len &&
           may_go_on && !stalled) {
        (void)tb_cond_wait_for(&viewer->taken, &viewer->mu,
                               TB_SPOOL_FOLLOW_POLL_MS * TB_NS_PER_MS);
        stalled = has_stalled_locked(viewer);
        may_go_on = !is_stopping(&viewer->server->viewers);
    }
    may_go_on = may_go_on && !viewer->locked.gone && !stalled;
    if (may_go_on) {
        swap = viewer->locked.ready;
        viewer->locked.ready = viewer->own.fill;
        viewer->own.fill = swap;
        viewer->locked.sent = 0;
        viewer->locked.taken_boot_ns = tb_clock_boot_ns();
        resume_locked(viewer);
    }
    tb_mutex_unlock(&viewer->mu);
    tb_buf_reset(&viewer->own.fill);
    if (stalled) {
        cut_off(viewer, "it takes nothing");
    }
    return may_go_on;
}

/* While it is suspended, libmicrohttpd does not see that the reader has gone. */
static bool
reader_is_gone(struct tb_viewer *viewer)
{
    struct pollfd at = {.fd = viewer->fd, .events = POLLRDHUP};
    bool hung_up = poll(&at, 1, 0) > 0 && (at.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    bool gone;

    tb_mutex_lock(&viewer->mu);
    gone = viewer->locked.gone;
    if (hung_up && !gone) {
        viewer->locked.cut = true;
        resume_locked(viewer);
    }
    tb_mutex_unlock(&viewer->mu);
    return gone || hung_up;
}

static void
look_whether_over(struct tb_viewer *viewer)
{
    int64_t now = tb_clock_boot_ns();
    struct tb_capture *capture;

    if (viewer->own.over || (viewer->own.looked_boot_ns != 0 &&
                             now - viewer->own.looked_boot_ns < LOOK_MS * TB_NS_PER_MS)) {
        return;
    }
    viewer->own.looked_boot_ns = now;
    capture = malloc(sizeof(*capture));
    if (capture != NULL && tb_store_capture_get(viewer->server->deps.store, viewer->capture_id,
                                                capture, NULL) == TB_OK) {
        viewer->own.over = capture->state >= TB_CAPTURE_SEALING;
    }
    free(capture);
}

/* Gives the merge a chunk of each lane that it has nothing of.  *out_quiet: some lane may yet
 * have earlier packets than those that are there; *out_alive: some lane has not ended. */
static enum tb_err
feed(struct tb_viewer *viewer, bool *out_quiet, bool *out_alive, struct tb_fail *fail)
{
    size_t lanes = tb_spool_follow_lanes(viewer->own.follower);
    enum tb_err err = TB_OK;

    *out_quiet = false;
    *out_alive = !viewer->own.over;
    if (lanes == 0 || viewer->own.over) {
        err = tb_spool_follow_look(viewer->own.follower, fail);
        lanes = tb_spool_follow_lanes(viewer->own.follower);
    }
    for (size_t i = 0; err == TB_OK && i < lanes; i++) {
        struct tb_spool_chunk chunk;

        while (err == TB_OK && tb_merge_is_dry(viewer->own.merge, i)) {
            err = tb_spool_follow_lane(viewer->own.follower, i, viewer->own.over, &chunk, fail);
            if (err == TB_OK) {
                err = tb_merge_feed(viewer->own.merge, i, chunk.blocks, fail);
            }
        }
        *out_alive = *out_alive || err == TB_OK || err == TB_ERETRY;
        *out_quiet = *out_quiet || err == TB_ERETRY;
        err = err == TB_ERETRY || err == TB_ECLOSED ? TB_OK : err;
    }
    return err;
}

/* Passes on the packets whose turn has come, as far as there is room for them. */
static enum tb_err
pass_on(struct tb_viewer *viewer, bool wait_for_lanes, struct tb_fail *fail)
{
    int64_t until = tb_clock_utc_ns() - LANES_APART_MS * TB_NS_PER_MS;
    struct tb_buf *fill = &viewer->own.fill;
    struct tb_merge_packet packet;
    enum tb_err err = TB_OK;

    tb_merge_put_header(viewer->own.merge, fill);
    while (err == TB_OK && fill->len < FILL_BYTES &&
           tb_merge_peek(viewer->own.merge, &packet) &&
           (!wait_for_lanes || packet.packet.utc_ns <= until)) {
        if (viewer->own.bpf == NULL ||
            tb_bpf_takes(viewer->own.bpf, packet.frame, packet.packet.original)) {
            tb_merge_put_packet(viewer->own.merge, fill);
            viewer->own.packets++;
        }
        viewer->own.seen++;
        err = tb_merge_pass(viewer->own.merge, fail);
        if (err == TB_OK && tb_merge_is_dry(viewer->own.merge, packet.input)) {
            break; /* its lane may have the next one */
        }
    }
    return err == TB_OK ? tb_buf_check(fill, "the stream", fail) : err;
}

/* Until the capture is over, or the reader is not there any more. */
static void
stream(struct tb_viewer *viewer)
{
    struct tb_fail fail = {0};
    struct tb_merge_packet next;
    bool alive = true, nothing_new;

    while (!reader_is_gone(viewer) && !is_stopping(&viewer->server->viewers)) {
        uint64_t before = viewer->own.seen;
        size_t filled = viewer->own.fill.len;
        bool quiet = false;

        look_whether_over(viewer);
        if (feed(viewer, &quiet, &alive, &fail) != TB_OK ||
            pass_on(viewer, quiet && tb_spool_follow_lanes(viewer->own.follower) > 1, &fail) !=
                TB_OK) {
            cut_off(viewer, fail.text);
            return;
        }
        if (tb_spool_follow_missed(viewer->own.follower) > viewer->missed) {
            cut_off(viewer, "it is so slow that segments were uploaded before it got them");
            return;
        }
        viewer->own.bytes += viewer->own.fill.len - filled;
        nothing_new = viewer->own.seen == before;
        if ((nothing_new || viewer->own.fill.len >= FILL_BYTES) && !hand_over(viewer)) {
            return;
        }
        if (!alive && !tb_merge_peek(viewer->own.merge, &next)) {
            return;
        }
        if (nothing_new) {
            (void)poll(NULL, 0, TB_SPOOL_FOLLOW_POLL_MS);
        }
    }
}

static void *
run(void *arg)
{
    struct tb_viewer *viewer = arg;
    struct tb_http_server *server = viewer->server;

    (void)pthread_detach(pthread_self());
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
    stream(viewer);
    tb_log(TB_LOG_INFO, viewer->capture_id, "stream to %s (%s) ends: %llu packets, %llu octets",
           viewer->who, viewer->remote, (unsigned long long)viewer->own.packets,
           (unsigned long long)viewer->own.bytes);
    tb_mutex_lock(&viewer->mu);
    viewer->locked.ended = true;
    resume_locked(viewer);
    tb_mutex_unlock(&viewer->mu);
    let_go(viewer);
    leave(&server->viewers);
    return NULL;
}

/* --- libmicrohttpd's side --- */

static ssize_t
give(void *arg, uint64_t position, char *at, size_t max)
{
    struct tb_viewer *viewer = arg;
    ssize_t given;
    size_t left;

    (void)position;
    tb_mutex_lock(&viewer->mu);
    left = viewer->locked.ready.len - viewer->locked.sent;
    if (viewer->locked.cut) {
        given = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (left > 0) {
        given = (ssize_t)(left < max ? left : max);
        memcpy(at, viewer->locked.ready.at + viewer->locked.sent, (size_t)given);
        viewer->locked.sent += (size_t)given;
        viewer->locked.taken_boot_ns = tb_clock_boot_ns();
        tb_cond_signal(&viewer->taken);
    } else if (viewer->locked.ended) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        viewer->locked.suspended = true;
        MHD_suspend_connection(viewer->connection);
        given = 0;
    }
    tb_mutex_unlock(&viewer->mu);
    return given;
}

static void
no_more(void *arg)
{
    struct tb_viewer *viewer = arg;

    tb_mutex_lock(&viewer->mu);
    viewer->locked.gone = true;
    tb_cond_signal(&viewer->taken);
    tb_mutex_unlock(&viewer->mu);
    let_go(viewer);
}

struct MHD_Response *
tb_viewer_response(struct tb_viewer *viewer)
{
    struct MHD_Response *response;
    char missed[24];
    const int socket_bytes = SOCKET_BYTES;
    pthread_t thread;
    struct tb_fail fail;

    (void)setsockopt(viewer->fd, SOL_SOCKET, SO_SNDBUF, &socket_bytes, sizeof(socket_bytes));
    (void)MHD_set_connection_option(viewer->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    (unsigned)CLOSE_S);
    viewer->locked.holders = 2;
    viewer->locked.taken_boot_ns = tb_clock_boot_ns();
    response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, SEND_BYTES, give, viewer, no_more);
    if (response == NULL) {
        tb_viewer_drop(viewer);
        return NULL;
    }
    (void)snprintf(missed, sizeof(missed), "%llu", (unsigned long long)viewer->missed);
    (void)MHD_add_response_header(response, "Tapbox-Missed-Segments", missed);
    if (tb_thread_start(&thread, "http viewer", run, viewer, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, viewer->capture_id, &fail, "cannot stream");
        leave(&viewer->server->viewers);
        let_go(viewer);
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

/* --- the route --- */

static bool
read_from(struct tb_http_call *call, bool *out_start)
{
    const char *from = tb_http_query(call, "from");

    *out_start = from != NULL && strcmp(from, "start") == 0;
    if (from != NULL && !*out_start && strcmp(from, "now") != 0) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "from has to be start or now.");
        return false;
    }
    return true;
}

static struct tb_viewer *
new_viewer(struct tb_http_call *call, const struct tb_capture *capture)
{
    struct tb_viewer *viewer = calloc(1, sizeof(*viewer));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (viewer == NULL || info == NULL) {
        free(viewer);
        return NULL;
    }
    viewer->server = call->server;
    viewer->connection = call->connection;
    viewer->fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0);
    (void)tb_str_copy(viewer->capture_id, sizeof(viewer->capture_id), capture->id);
    (void)tb_str_copy(viewer->who, sizeof(viewer->who), call->token_name);
    (void)tb_str_copy(viewer->remote, sizeof(viewer->remote), call->remote);
    viewer->locked.ready = (struct tb_buf)TB_BUF_INIT(BUFFER_MAX_BYTES);
    viewer->own.fill = (struct tb_buf)TB_BUF_INIT(BUFFER_MAX_BYTES);
    viewer->own.over = capture->state >= TB_CAPTURE_SEALING;
    tb_mutex_init(&viewer->mu);
    tb_cond_init(&viewer->taken);
    return viewer;
}

/* Compiling a filter takes a process and up to two seconds: not on libmicrohttpd's thread. */
static void
prepare(struct tb_http_call *call)
{
    struct tb_viewer *viewer = call->viewer;
    const struct tb_http_server_deps *deps = &call->server->deps;
    const struct tb_actor by = {.who = call->token_name, .from = call->remote};
    struct tb_json *detail;
    struct tb_fail fail = {0};
    enum tb_err err = TB_OK;

    if (viewer->bpf_text[0] != '\0') {
        err = tb_bpf_new(viewer->bpf_text, &viewer->own.bpf, &fail);
    }
    if (err == TB_OK) {
        err = tb_merge_new(&viewer->own.merge, &fail);
    }
    if (err == TB_OK) {
        err = tb_spool_follow(deps->spool_fd, viewer->capture_id, viewer->from_start,
                              &viewer->own.follower, &fail);
    }
    if (err == TB_OK) {
        err = tb_spool_follow_look(viewer->own.follower, &fail);
    }
    if (err == TB_OK && viewer->own.over && tb_spool_follow_lanes(viewer->own.follower) == 0) {
        tb_http_problem_with(call, TB_PROBLEM_CONFLICT, "hint",
                             "GET /v1/captures/{id}/files names its segments in S3",
                             "The capture has ended, and nothing of it is here any more.");
        return;
    }
    if (err == TB_OK) {
        viewer->missed = tb_spool_follow_missed(viewer->own.follower);
        detail = tb_json_object();
        tb_json_set_str(detail, "bpf", viewer->bpf_text[0] != '\0' ? viewer->bpf_text : NULL);
        tb_json_set_str(detail, "from", viewer->from_start ? "start" : "now");
        err =
            tb_store_custody_add(deps->store, viewer->capture_id, "stream", &by, detail, &fail);
    }
    if (err != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    call->answer.status = 200;
    call->answer.content_type = "application/x-pcapng";
    viewer->started = true;
}

bool
tb_viewer_is_ready(const struct tb_viewer *viewer)
{
    return viewer != NULL && viewer->started;
}

void
tb_http_stream_capture(struct tb_http_call *call)
{
    struct tb_capture *capture = tb_http_load_capture(call);
    const char *bpf = tb_http_query(call, "bpf");
    bool from_start = false;

    if (capture == NULL || !read_from(call, &from_start)) {
        free(capture);
        return;
    }
    if (bpf != NULL && (bpf[0] == '\0' || strlen(bpf) >= TB_CAPTURE_MAX_BPF_TEXT)) {
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "bpf has to have 1 to %d characters.",
                        TB_CAPTURE_MAX_BPF_TEXT - 1);
    } else if (!enter(&call->server->viewers)) {
        tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "%d streams are being read already.",
                        VIEWERS_MOST);
    } else {
        call->viewer = new_viewer(call, capture);
        if (call->viewer == NULL) {
            leave(&call->server->viewers);
            tb_http_problem(call, TB_PROBLEM_UNAVAILABLE, "No memory for a stream.");
        } else {
            call->viewer->from_start = from_start;
            (void)tb_str_copy(call->viewer->bpf_text, sizeof(call->viewer->bpf_text),
                              bpf != NULL ? bpf : "");
            call->later = prepare;
        }
    }
    free(capture);
}

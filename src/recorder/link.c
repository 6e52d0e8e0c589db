/* Serve's side of the socket: one request at a time, connected again when needed. */
#include "shared_int.h"
#include "wire_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <tapbox/compartment.h>
#include <tapbox/io.h>
#include <tapbox/thread.h>

enum {
    ANSWER_WAIT_NS = 1000000000
};

/* A recorder that was not seen for so long is asked, not read: it may hang. */
static const int64_t alive_ns = 3 * TB_NS_PER_S;
/* One that left a request without an answer is left alone by lookers for so long. */
static const int64_t ask_again_ns = 10 * TB_NS_PER_S;

struct tb_recorder_link {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* "" : only the given socket */
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        int fd;
        uint32_t cookie;
        int64_t deaf_boot_ns; /* when it last left a request without an answer; 0: it answers */
        struct tb_buf message;
        struct tb_request request; /* too big for a stack */
        struct tb_answer answer;
        int pass_fd;                    /* what came with the answer */
        const struct tb_shared *shared; /* the connected recorder's counters; NULL: ask */
        const struct tb_shared *last;   /* those of the one before, which has ended */
    } locked;
};

enum tb_err
tb_recorder_link_open(const char *socket_path, int fd, struct tb_recorder_link **out,
                      struct tb_fail *fail)
{
    struct tb_recorder_link *link = calloc(1, sizeof(*link));

    if (link == NULL) {
        tb_close(&fd);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the link to the recorder");
    }
    if (socket_path != NULL && !tb_str_copy(link->path, sizeof(link->path), socket_path)) {
        free(link);
        tb_close(&fd);
        return tb_fail_set(fail, TB_EINVAL, "the socket's path is too long: %s", socket_path);
    }
    tb_mutex_init(&link->mu);
    link->locked.fd = fd;
    link->locked.pass_fd = -1;
    link->locked.message = (struct tb_buf)TB_BUF_INIT(TB_RECORDER_MAX_MESSAGE);
    *out = link;
    return TB_OK;
}

void
tb_recorder_link_close(struct tb_recorder_link *link)
{
    if (link != NULL) {
        tb_close(&link->locked.fd);
        tb_close(&link->locked.pass_fd);
        tb_shared_unmap(link->locked.shared);
        tb_shared_unmap(link->locked.last);
        tb_buf_release(&link->locked.message);
        tb_mutex_release(&link->mu);
        free(link);
    }
}

/* Whoever listens there may see every packet: it has to be root or ourselves. */
static enum tb_err
check_peer(int fd, struct tb_fail *fail)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
        return tb_fail_errno(fail, errno, "cannot ask who the recorder is");
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        return tb_fail_set(fail, TB_EDENIED, "the recorder's socket belongs to user %u",
                           (unsigned)peer.uid);
    }
    return TB_OK;
}

static enum tb_err
connect_locked(struct tb_recorder_link *link, struct tb_fail *fail)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    enum tb_err err;
    int fd;

    if (link->path[0] == '\0') {
        return tb_fail_set(fail, TB_ECLOSED, "the recorder is gone");
    }
    (void)tb_str_copy(address.sun_path, sizeof(address.sun_path), link->path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a socket");
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)tb_fail_errno(fail, errno, "no recorder at %s", link->path);
        if (fail != NULL) {
            fail->err = TB_ECLOSED;
        }
        tb_close(&fd);
        return TB_ECLOSED;
    }
    err = check_peer(fd, fail);
    if (err != TB_OK) {
        tb_close(&fd);
        return err;
    }
    link->locked.fd = fd;
    return TB_OK;
}

/* Answers to requests that were given up on are skipped. */
static enum tb_err
receive_locked(struct tb_recorder_link *link, struct tb_fail *fail)
{
    for (;;) {
        enum tb_err err;

        tb_close(&link->locked.pass_fd);
        err = tb_message_receive(link->locked.fd, &link->locked.message, &link->locked.pass_fd,
                                 ANSWER_WAIT_NS, fail);

        if (err == TB_OK) {
            err = tb_answer_decode(tb_buf_view(&link->locked.message), &link->locked.answer,
                                   fail);
        }
        if (err != TB_OK || link->locked.answer.cookie == link->locked.cookie) {
            return err;
        }
    }
}

static enum tb_err
exchange_once_locked(struct tb_recorder_link *link, struct tb_fail *fail)
{
    struct tb_buf *message = &link->locked.message;
    enum tb_err err;

    link->locked.request.cookie = ++link->locked.cookie;
    tb_buf_reset(message);
    tb_request_encode(&link->locked.request, message);
    err = tb_buf_check(message, "a message to the recorder", fail);
    if (err == TB_OK && link->locked.fd < 0) {
        err = connect_locked(link, fail);
    }
    if (err == TB_OK) {
        err = tb_message_send(link->locked.fd, tb_buf_view(message), -1, fail);
    }
    if (err == TB_OK) {
        err = receive_locked(link, fail);
    }
    if (err != TB_OK && err != TB_ETIMEOUT) {
        tb_close(&link->locked.fd);
    }
    link->locked.deaf_boot_ns = err == TB_ETIMEOUT ? tb_clock_boot_ns() : 0;
    return err;
}

/* The request in link->locked goes out, the answer is in link->locked afterwards. */
static enum tb_err
exchange_locked(struct tb_recorder_link *link, struct tb_fail *fail)
{
    bool connected = link->locked.fd >= 0;
    enum tb_err err = exchange_once_locked(link, fail);

    /* A recorder that was started anew: every request may be said twice. */
    if (err == TB_ECLOSED && connected && link->path[0] != '\0') {
        err = exchange_once_locked(link, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    if (link->locked.answer.kind != link->locked.request.kind) {
        return tb_fail_set(fail, TB_EFORMAT, "the recorder answered something else");
    }
    if (link->locked.answer.err != TB_OK) {
        return tb_fail_set(fail, link->locked.answer.err, "%s", link->locked.answer.text);
    }
    return TB_OK;
}

static void
ask_for(struct tb_recorder_link *link, enum tb_request_kind kind)
{
    memset(&link->locked.request, 0, offsetof(struct tb_request, bpf));
    link->locked.request.kind = kind;
}

static enum tb_err
ask_about(struct tb_recorder_link *link, enum tb_request_kind kind, const char *capture_id,
          int64_t deadline_boot_ns, struct tb_fail *fail)
{
    enum tb_err err;

    tb_mutex_lock(&link->mu);
    ask_for(link, kind);
    link->locked.request.deadline_boot_ns = deadline_boot_ns;
    (void)tb_str_copy(link->locked.request.capture_id, TB_CAPTURE_ID_SIZE, capture_id);
    err = exchange_locked(link, fail);
    tb_mutex_unlock(&link->mu);
    return err;
}

enum tb_err
tb_recorder_arm(struct tb_recorder_link *link, const struct tb_record_spec *spec,
                struct tb_fail *fail)
{
    enum tb_err err;

    if (spec->source_count > TB_CAPTURE_MAX_SOURCES ||
        spec->bpf_count > TB_CAPTURE_MAX_BPF_INSNS) {
        return tb_fail_set(fail, TB_EINVAL, "too many sources or filter instructions");
    }
    tb_mutex_lock(&link->mu);
    link->locked.request.kind = TB_REQUEST_ARM;
    link->locked.request.spec = *spec;
    err = exchange_locked(link, fail);
    link->locked.request.spec.bpf = NULL;
    tb_mutex_unlock(&link->mu);
    return err;
}

enum tb_err
tb_recorder_extend(struct tb_recorder_link *link, const char *capture_id,
                   int64_t deadline_boot_ns, struct tb_fail *fail)
{
    return ask_about(link, TB_REQUEST_EXTEND, capture_id, deadline_boot_ns, fail);
}

enum tb_err
tb_recorder_disarm(struct tb_recorder_link *link, const char *capture_id, struct tb_fail *fail)
{
    return ask_about(link, TB_REQUEST_DISARM, capture_id, 0, fail);
}

enum tb_err
tb_recorder_forget(struct tb_recorder_link *link, const char *capture_id, struct tb_fail *fail)
{
    return ask_about(link, TB_REQUEST_FORGET, capture_id, 0, fail);
}

/* --- the counters in memory --- */

/* The memory of the recorder at the other end, now: NULL when there is none to be had. */
static const struct tb_shared *
live_locked(struct tb_recorder_link *link)
{
    struct pollfd other_end = {.fd = link->locked.fd, .events = POLLIN};
    const struct tb_shared *shared = NULL;

    if (link->locked.shared != NULL && link->locked.fd >= 0 && poll(&other_end, 1, 0) == 0) {
        int64_t seen = atomic_load(&link->locked.shared->alive_boot_ns);

        return tb_clock_boot_ns() - seen < alive_ns ? link->locked.shared : NULL;
    }
    ask_for(link, TB_REQUEST_COUNTERS);
    if (exchange_locked(link, NULL) != TB_OK || link->locked.pass_fd < 0 ||
        tb_shared_map(link->locked.pass_fd, &shared, NULL) != TB_OK) {
        return NULL;
    }
    if (link->locked.shared != NULL && link->locked.shared->pid == shared->pid &&
        link->locked.shared->started_utc_ns == shared->started_utc_ns) {
        tb_shared_unmap(shared); /* connected again to the same one */
        return link->locked.shared;
    }
    if (link->locked.shared != NULL) {
        tb_shared_unmap(link->locked.last);
        link->locked.last = link->locked.shared;
    }
    link->locked.shared = shared;
    return shared;
}

/* For those who only look: one that hangs is not waited for by each of them in turn. */
static enum tb_err
look_locked(struct tb_recorder_link *link, struct tb_fail *fail)
{
    int64_t deaf_ns = tb_clock_boot_ns() - link->locked.deaf_boot_ns;

    if (link->locked.deaf_boot_ns != 0 && deaf_ns < ask_again_ns) {
        return tb_fail_set(fail, TB_ETIMEOUT, "the recorder did not answer %.1f s ago",
                           (double)deaf_ns / (double)TB_NS_PER_S);
    }
    return exchange_locked(link, fail);
}

enum tb_err
tb_recorder_status(struct tb_recorder_link *link, const char *capture_id,
                   struct tb_record_status *out, struct tb_fail *fail)
{
    const struct tb_shared *shared;
    enum tb_err err = TB_OK;

    tb_mutex_lock(&link->mu);
    shared = live_locked(link);
    if (shared == NULL || !tb_shared_find(shared, capture_id, out)) {
        ask_for(link, TB_REQUEST_STATUS);
        (void)tb_str_copy(link->locked.request.capture_id, TB_CAPTURE_ID_SIZE, capture_id);
        err = look_locked(link, fail);
        if (err == TB_OK) {
            *out = link->locked.answer.status;
        }
    }
    tb_mutex_unlock(&link->mu);
    return err;
}

enum tb_err
tb_recorder_host(struct tb_recorder_link *link, struct tb_recorder_host *out,
                 struct tb_fail *fail)
{
    const struct tb_shared *shared;
    enum tb_err err = TB_OK;

    tb_mutex_lock(&link->mu);
    shared = live_locked(link);
    if (shared == NULL || !tb_shared_host(shared, out)) {
        ask_for(link, TB_REQUEST_HOST);
        err = look_locked(link, fail);
        if (err == TB_OK) {
            *out = link->locked.answer.host;
        }
    }
    tb_mutex_unlock(&link->mu);
    return err;
}

enum tb_err
tb_recorder_last(struct tb_recorder_link *link, const char *capture_id,
                 struct tb_record_base *out, struct tb_fail *fail)
{
    struct tb_record_status status = {.state = TB_RECORD_ABSENT};
    enum tb_err err = TB_OK;

    tb_mutex_lock(&link->mu);
    (void)live_locked(link); /* so that the dead one is known to be dead */
    if (link->locked.last == NULL || !tb_shared_find(link->locked.last, capture_id, &status) ||
        status.state == TB_RECORD_ABSENT) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "no recorder before this one had %s", capture_id);
    } else {
        int64_t alive = atomic_load(&link->locked.last->alive_utc_ns);

        *out = (struct tb_record_base){
            .known_utc_ns = status.last_utc_ns > alive ? status.last_utc_ns : alive,
            .first_utc_ns = status.first_utc_ns,
            .last_utc_ns = status.last_utc_ns,
            .ledger = status.ledger,
        };
        tb_ledger_settle(&out->ledger);
    }
    tb_mutex_unlock(&link->mu);
    return err;
}

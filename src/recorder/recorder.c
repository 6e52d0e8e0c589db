/*
 * The recorder process.
 *
 * Threads:
 *   main      waits for signals and for serve's messages; arms, disarms, answers; frees what
 *             lanes and writers have let go of
 *   receiveN  (one a lane) waits for its ring and for main's word; touches packets, chunks
 *             that fill, and the counters of what it saw
 *   writeN    waits for the lane's full chunks; touches them, the segment files, the counters
 *             of what was written
 *   repair    what a recorder before this one left open, file by file; touches nothing else
 * Everything that needs a right is opened first; then all rights are given up; then the threads
 * are started.
 */
#include "lane_int.h"
#include "wire_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tapbox/compartment.h>
#include <tapbox/digest.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/sandbox.h>

enum {
    LOOK_MS = 1000, /* whether the lane still has its source */
    ANSWER_MAX_BYTES = 4096
};

struct slot {
    struct tb_armed *armed;     /* NULL: free */
    struct tb_sha256 asked_for; /* the arm request without cookie and deadline */
};

struct recorder {
    const struct tb_recorder_options *options;
    int spool_fd, listen_fd, client_fd, signal_fd;
    struct tb_sinks sinks;
    unsigned lane_count;
    struct tb_source *sources[TB_LANES_MAX];               /* until the lane has it */
    struct tb_lane *lanes;                                 /* owned; as many as are prepared */
    struct tb_segment_workspace *workspaces[TB_LANES_MAX]; /* borrowed: the lanes' */
    unsigned prepared;
    struct tb_repair *repair; /* owned */
    struct tb_shared *shared;
    int shared_fd;
    struct tb_table *table;
    struct slot slots[TB_RECORDER_MAX_CAPTURES];
    struct tb_request request; /* too big for a stack */
    struct tb_answer answer;
    struct tb_buf in, out;
};

/* --- captures --- */

static struct slot *
find_slot(struct recorder *r, const char *capture_id)
{
    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        if (r->slots[i].armed != NULL &&
            strcmp(r->slots[i].armed->spec.capture_id, capture_id) == 0) {
            return &r->slots[i];
        }
    }
    return NULL;
}

/* Free, or of a capture that is done with. */
static struct slot *
free_slot(struct recorder *r)
{
    struct slot *closed = NULL;

    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        if (r->slots[i].armed == NULL) {
            return &r->slots[i];
        }
        if (closed == NULL && tb_armed_is_closed(r->slots[i].armed)) {
            closed = &r->slots[i];
        }
    }
    return closed;
}

/* The lane looks up in a table of these slots from now on. */
static enum tb_err
publish_table(struct recorder *r, struct tb_fail *fail)
{
    struct tb_armed *armed[TB_RECORDER_MAX_CAPTURES];
    struct tb_table *table = NULL;
    size_t count = 0;
    enum tb_err err;

    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        if (r->slots[i].armed != NULL) {
            armed[count++] = r->slots[i].armed;
        }
    }
    err = tb_table_new(armed, count, &table, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_lanes_adopt(r->lanes, r->lane_count, table, fail);
    if (err == TB_OK) {
        tb_table_free(r->table);
    } /* else a lane may still be using the old one: it is not freed */
    r->table = table;
    return err;
}

/* Puts `next` (NULL: nothing) into the slot; what was there is freed, closed as it is. */
static enum tb_err
replace(struct recorder *r, struct slot *slot, struct tb_armed *next, struct tb_fail *fail)
{
    struct tb_armed *old = slot->armed;
    enum tb_err err;

    if (next != NULL) {
        struct tb_shared_capture *place = tb_shared_free_place(r->shared);

        if (place == NULL) {
            return tb_fail_set(fail, TB_EFULL, "no place for the counters of another capture");
        }
        tb_armed_share(next, place);
    }
    slot->armed = next;
    err = publish_table(r, fail);
    if (err != TB_OK && err != TB_ETIMEOUT) {
        if (next != NULL) {
            tb_shared_set(next->shared, NULL, NULL);
        }
        slot->armed = old;
        return err;
    }
    if (old != NULL && err == TB_OK) {
        tb_shared_retire(r->shared, old->shared);
        tb_armed_free(old);
    } /* else a lane may still use it: its terms stay where they are */
    return err;
}

/* What was asked for, but for when it ends and what was before: the same again is no error. */
static enum tb_err
fingerprint(struct recorder *r, struct tb_sha256 *out, struct tb_fail *fail)
{
    struct tb_request *request = &r->request;
    struct tb_buf text = TB_BUF_INIT(TB_RECORDER_MAX_MESSAGE);
    int64_t deadline = request->spec.deadline_boot_ns;
    int64_t known = request->spec.base.known_utc_ns;
    uint32_t cookie = request->cookie;
    enum tb_err err;

    request->spec.deadline_boot_ns = 0;
    request->spec.base.known_utc_ns = 0;
    request->cookie = 0;
    tb_request_encode(request, &text);
    request->spec.deadline_boot_ns = deadline;
    request->spec.base.known_utc_ns = known;
    request->cookie = cookie;
    err = tb_buf_check(&text, "the request", fail);
    if (err == TB_OK) {
        err = tb_sha256(tb_buf_view(&text), out);
    }
    tb_buf_release(&text);
    return err;
}

static enum tb_err
arm(struct recorder *r, struct tb_fail *fail)
{
    const struct tb_record_spec *spec = &r->request.spec;
    struct slot *slot = find_slot(r, spec->capture_id);
    struct tb_armed *armed = NULL;
    struct tb_sha256 asked_for;
    enum tb_err err = fingerprint(r, &asked_for, fail);

    if (err != TB_OK) {
        return err;
    }
    if (slot != NULL && !tb_armed_is_closed(slot->armed)) {
        if (memcmp(&slot->asked_for, &asked_for, sizeof(asked_for)) != 0) {
            return tb_fail_set(fail, TB_EEXIST, "%s is armed with other parameters",
                               spec->capture_id);
        }
        atomic_store(&slot->armed->deadline_boot_ns, spec->deadline_boot_ns);
        return TB_OK;
    }
    if (slot == NULL) {
        slot = free_slot(r);
    }
    if (slot == NULL) {
        return tb_fail_set(fail, TB_EFULL, "%d captures are armed already",
                           TB_RECORDER_MAX_CAPTURES);
    }
    err = tb_armed_new(spec, spec->sources, spec->source_count, r->workspaces, r->lane_count,
                       &armed, fail);
    if (err != TB_OK) {
        return err;
    }
    err = replace(r, slot, armed, fail);
    if (err != TB_OK && err != TB_ETIMEOUT) {
        tb_armed_free(armed);
        return err;
    }
    slot->asked_for = asked_for;
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, spec->capture_id, "armed for %u sources", spec->source_count);
    }
    return err;
}

static enum tb_err
not_here(const char *capture_id, struct tb_fail *fail)
{
    return tb_fail_set(fail, TB_ENOTFOUND, "%s is not armed here", capture_id);
}

static enum tb_err
extend(struct recorder *r, struct tb_fail *fail)
{
    struct slot *slot = find_slot(r, r->request.capture_id);
    struct tb_record_status status;

    if (slot == NULL) {
        return not_here(r->request.capture_id, fail);
    }
    tb_armed_status(slot->armed, &status);
    if (status.state != TB_RECORD_ARMED) {
        return tb_fail_set(fail, TB_ESTATE, "%s has ended already", r->request.capture_id);
    }
    atomic_store(&slot->armed->deadline_boot_ns, r->request.deadline_boot_ns);
    return TB_OK;
}

static enum tb_err
disarm(struct recorder *r, struct tb_fail *fail)
{
    struct slot *slot = find_slot(r, r->request.capture_id);

    if (slot == NULL) {
        return not_here(r->request.capture_id, fail);
    }
    if (!atomic_exchange(&slot->armed->shared->stop_asked, true)) {
        tb_log(TB_LOG_INFO, r->request.capture_id, "disarmed");
    }
    for (unsigned i = 0; i < r->lane_count; i++) {
        tb_lane_wake(&r->lanes[i]);
    }
    return TB_OK;
}

static enum tb_err
forget(struct recorder *r, struct tb_fail *fail)
{
    struct slot *slot = find_slot(r, r->request.capture_id);

    if (slot == NULL) {
        return TB_OK;
    }
    if (!tb_armed_is_closed(slot->armed)) {
        return tb_fail_set(fail, TB_ESTATE, "%s is still being recorded",
                           r->request.capture_id);
    }
    return replace(r, slot, NULL, fail);
}

static enum tb_err
status(struct recorder *r, struct tb_fail *fail)
{
    struct slot *slot = find_slot(r, r->request.capture_id);

    (void)fail;
    if (slot != NULL) {
        tb_armed_status(slot->armed, &r->answer.status);
    } /* else all zeros: TB_RECORD_ABSENT */
    return TB_OK;
}

static enum tb_err
host(struct recorder *r, struct tb_fail *fail)
{
    if (!tb_shared_host(r->shared, &r->answer.host)) {
        return tb_fail_set(fail, TB_EINTERNAL, "the counters do not hold still");
    }
    return TB_OK;
}

/* The answer carries the memory itself. */
static enum tb_err
counters(struct recorder *r, struct tb_fail *fail)
{
    (void)r;
    (void)fail;
    return TB_OK;
}

/* --- messages --- */

static enum tb_err (*const handlers[TB_REQUEST_KIND_END])(struct recorder *,
                                                          struct tb_fail *) = {
    [TB_REQUEST_ARM] = arm,           [TB_REQUEST_EXTEND] = extend,
    [TB_REQUEST_DISARM] = disarm,     [TB_REQUEST_STATUS] = status,
    [TB_REQUEST_FORGET] = forget,     [TB_REQUEST_HOST] = host,
    [TB_REQUEST_COUNTERS] = counters,
};

static void
drop_client(struct recorder *r)
{
    tb_close(&r->client_fd);
}

static void
serve_client(struct recorder *r)
{
    struct tb_fail fail = {.err = TB_OK};
    enum tb_err err = tb_message_receive(r->client_fd, &r->in, NULL, 0, &fail);

    if (err == TB_ETIMEOUT) {
        return;
    }
    if (err == TB_OK) {
        err = tb_request_decode(tb_buf_view(&r->in), &r->request, &fail);
    }
    if (err != TB_OK) {
        if (err != TB_ECLOSED) {
            tb_log_fail(TB_LOG_WARN, NULL, &fail, "a message is refused");
        }
        drop_client(r);
        return;
    }
    memset(&r->answer, 0, sizeof(r->answer));
    r->answer.kind = r->request.kind;
    r->answer.cookie = r->request.cookie;
    r->answer.err = handlers[r->request.kind](r, &fail);
    if (r->answer.err != TB_OK) {
        (void)tb_str_copy(r->answer.text, sizeof(r->answer.text), fail.text);
    }
    tb_buf_reset(&r->out);
    tb_answer_encode(&r->answer, &r->out);
    err = tb_buf_check(&r->out, "an answer", &fail);
    if (err == TB_OK) {
        err = tb_message_send(r->client_fd, tb_buf_view(&r->out),
                              r->answer.kind == TB_REQUEST_COUNTERS ? r->shared_fd : -1, &fail);
    }
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "cannot answer");
        drop_client(r);
    }
}

/* The newest connection wins: serve was started again, the old one is a leftover. */
static void
accept_client(struct recorder *r)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
        (peer.uid != 0 && peer.uid != geteuid())) {
        tb_log(TB_LOG_WARN, NULL, "a connection of user %u is refused", (unsigned)peer.uid);
        tb_close(&fd);
        return;
    }
    drop_client(r);
    r->client_fd = fd;
}

/* --- start and end --- */

static enum tb_err
open_signals(struct recorder *r, struct tb_fail *fail)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return tb_fail_errno(fail, errno, "cannot block signals");
    }
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return r->signal_fd >= 0 ? TB_OK : tb_fail_errno(fail, errno, "cannot make a signalfd");
}

static enum tb_err
open_socket(struct recorder *r, struct tb_fail *fail)
{
    if (r->options->socket_fd >= 0) {
        r->client_fd = r->options->socket_fd;
        return TB_OK;
    }
    return tb_bind_socket(r->options->socket_path, &r->listen_fd, fail);
}

/* Nobody is answered before everything is there. */
static enum tb_err
open_doors(struct recorder *r, struct tb_fail *fail)
{
    if (r->listen_fd >= 0 && listen(r->listen_fd, 4) != 0) {
        return tb_fail_errno(fail, errno, "cannot listen at %s", r->options->socket_path);
    }
    return TB_OK;
}

static enum tb_err
open_spool(struct recorder *r, struct tb_fail *fail)
{
    const char *path = r->options->spool_dir;
    enum tb_err err = tb_open_dir(AT_FDCWD, path, 0770, &r->spool_fd, fail);

    if (err != TB_OK) {
        return err;
    }
    if (flock(r->spool_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? tb_fail_set(fail, TB_EEXIST, "another recorder writes to %s", path)
                   : tb_fail_errno(fail, errno, "cannot lock %s", path);
    }
    return TB_OK;
}

/* Without rights, root's too, the folder has to be ours. */
static enum tb_err
check_spool(struct recorder *r, struct tb_fail *fail)
{
    static const char probe[] = ".probe";
    int fd = openat(r->spool_fd, probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot write to the spool %s",
                             r->options->spool_dir);
    }
    tb_close(&fd);
    (void)unlinkat(r->spool_fd, probe, 0);
    return TB_OK;
}

static enum tb_err
open_sources(struct recorder *r, struct tb_fail *fail)
{
    const struct tb_recorder_options *o = r->options;
    uint64_t ring_bytes = o->ring_bytes / r->lane_count;
    uint32_t group = 0;
    enum tb_err err = TB_OK;

    for (unsigned i = 0; i < r->lane_count && err == TB_OK; i++) {
        err =
            tb_source_pcap_open(o->interface, ring_bytes, o->vxlan_port, &r->sources[i], fail);
        if (err == TB_OK && r->lane_count > 1) {
            err = tb_source_pcap_join(r->sources[i], &group, fail);
        }
    }
    if (err == TB_OK) {
        tb_merging_warn(o->interface);
    }
    for (unsigned i = 0; i < r->lane_count && err == TB_OK; i++) {
        err = r->sources[i]->ops->start(r->sources[i], fail);
    }
    return err;
}

static enum tb_err
open_lanes(struct recorder *r, struct tb_fail *fail)
{
    const struct tb_recorder_options *o = r->options;
    struct tb_room room = {r->spool_fd, o->spool_limit_bytes, o->spool_min_free_bytes,
                           o->level};
    enum tb_err err = tb_shared_new(r->lane_count, &r->shared, &r->shared_fd, fail);

    r->lanes = calloc(r->lane_count, sizeof(*r->lanes));
    if (r->lanes == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %u lanes", r->lane_count);
    }
    for (unsigned i = 0; i < r->lane_count && err == TB_OK; i++) {
        err = tb_lane_init(&r->lanes[i], i, o->vxlan_port, r->sources[i],
                           o->slab_bytes / r->lane_count, &room, fail);
        r->sources[i] = NULL; /* the lane's, also when it failed */
        r->prepared++;
        r->lanes[i].counters = &r->shared->lanes[i].counters;
        r->workspaces[i] = r->lanes[i].workspace;
    }
    return err;
}

static enum tb_err
start_lanes(struct recorder *r, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (unsigned i = 0; i < r->lane_count && err == TB_OK; i++) {
        err = tb_lane_start(&r->lanes[i], fail);
    }
    return err;
}

/* In this order: what can be refused, the sandbox, what meets foreign bytes. */
static enum tb_err
start(struct recorder *r, struct tb_fail *fail)
{
    enum tb_err err = open_signals(r, fail);

    if (err == TB_OK) {
        err = open_spool(r, fail);
    }
    if (err == TB_OK) {
        err = open_sources(r, fail);
    }
    if (err == TB_OK) {
        err = tb_sinks_open(&r->sinks, r->options->vxlan_port, fail);
    }
    if (err == TB_OK) {
        err = open_socket(r, fail);
    }
    if (err == TB_OK) {
        err = open_lanes(r, fail);
    }
    if (err == TB_OK) {
        err = tb_sandbox_enter(TB_SANDBOX_RECORDER, r->spool_fd, fail);
    }
    if (err == TB_OK) {
        err = check_spool(r, fail);
    }
    if (err == TB_OK) {
        err = tb_repair_new(r->spool_fd, &r->repair, fail);
    }
    if (err == TB_OK) {
        err = tb_repair_start(r->repair, fail);
    }
    if (err == TB_OK) {
        err = start_lanes(r, fail);
    }
    return err != TB_OK ? err : open_doors(r, fail);
}

static bool
a_lane_failed(const struct recorder *r)
{
    for (unsigned i = 0; i < r->lane_count; i++) {
        if (atomic_load(&r->lanes[i].failed)) {
            return true;
        }
    }
    return false;
}

static enum tb_err
run(struct recorder *r, struct tb_fail *fail)
{
    for (;;) {
        struct pollfd fds[3] = {{.fd = r->signal_fd, .events = POLLIN},
                                {.fd = r->listen_fd, .events = POLLIN},
                                {.fd = r->client_fd, .events = POLLIN}};

        (void)poll(fds, 3, LOOK_MS);
        if (fds[0].revents != 0) {
            return TB_OK;
        }
        if (fds[2].revents != 0) {
            serve_client(r);
            /* The one connection that was given is gone, and there will be no other. */
            if (r->client_fd < 0 && r->listen_fd < 0) {
                return TB_OK;
            }
        }
        if (fds[1].revents != 0) {
            accept_client(r);
        }
        tb_shared_alive(r->shared);
        if (a_lane_failed(r)) {
            return tb_fail_set(fail, TB_EIO, "the network interface %s is gone",
                               r->options->interface);
        }
    }
}

static void
finish(struct recorder *r)
{
    struct tb_fail none;

    tb_lanes_stop(r->lanes, r->prepared);
    if (r->prepared > 0 && host(r, &none) == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "received %llu packets, wrote %llu, unaccounted %lld",
               (unsigned long long)r->answer.host.ledger.received,
               (unsigned long long)r->answer.host.ledger.written,
               (long long)tb_ledger_residual(&r->answer.host.ledger));
    }
    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        tb_armed_free(r->slots[i].armed);
    }
    for (unsigned i = 0; i < r->prepared; i++) {
        tb_lane_release(&r->lanes[i]); /* (the captures' encoders were in its workspace) */
    }
    free(r->lanes);
    tb_repair_free(r->repair);
    tb_table_free(r->table);
    for (unsigned i = 0; i < TB_LANES_MAX; i++) {
        tb_source_close(r->sources[i]);
    }
    tb_shared_free(r->shared);
    tb_close(&r->shared_fd);
    tb_sinks_close(&r->sinks);
    tb_close(&r->listen_fd); /* (its file stays: the sandbox ends at the spool) */
    tb_close(&r->client_fd);
    tb_close(&r->signal_fd);
    tb_close(&r->spool_fd);
    tb_buf_release(&r->in);
    tb_buf_release(&r->out);
    free(r);
}

enum tb_err
tb_recorder_main(const struct tb_recorder_options *options, struct tb_fail *fail)
{
    struct recorder *r = calloc(1, sizeof(*r));
    enum tb_err err;

    if (r == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the recorder");
    }
    r->options = options;
    r->spool_fd = r->listen_fd = r->client_fd = r->signal_fd = -1;
    for (size_t i = 0; i < TB_SINKS_MAX; i++) {
        r->sinks.fd[i] = -1;
    }
    r->in = (struct tb_buf)TB_BUF_INIT(TB_RECORDER_MAX_MESSAGE);
    r->out = (struct tb_buf)TB_BUF_INIT(ANSWER_MAX_BYTES);
    r->shared_fd = -1;
    r->lane_count = options->lanes == 0 ? 1 : options->lanes;
    if (r->lane_count > TB_LANES_MAX) {
        r->lane_count = TB_LANES_MAX;
    }
    err = start(r, fail);
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "recording on %s, %u lanes", options->interface,
               r->lane_count);
        err = run(r, fail);
    }
    finish(r);
    return err;
}

/*
 * Threads: GENERAL_WORKERS, TEARDOWN_WORKERS and SEALING_WORKERS.  Each waits on `more` until
 * something is due, takes one capture nobody else has in hands, advances it by one step, and
 * puts it back.  The teardown workers take only captures that have to come down, so that no
 * number of slow EC2 calls elsewhere delays them.  One more thread for each account reconciles
 * (reconcile.c), and one gives signs of life (heartbeat.c).
 */
#include "control_int.h"

#include <ctype.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <tapbox/log.h>

static const int64_t idle_ns = TB_NS_PER_S;              /* look at least this often */
static const int64_t backoff_first_ns = TB_NS_PER_S / 2; /* after a failed step */
static const int64_t backoff_most_ns =
    30 * TB_NS_PER_S; /* must stay below the 60 s of promise 1 */
/* A tap that has to go is urgent; and one that runs is looked at, whatever fails. */
static const int64_t teardown_most_ns = 5 * TB_NS_PER_S;
/* A step that is not done so long after a tap has to go is not waited for, */
static const int64_t help_after_ns = 2 * TB_NS_PER_S;
static const int64_t help_again_ns = TB_NS_PER_S; /* and so often it is looked at meanwhile */

static const int64_t extend_patience_ns = 10 * TB_NS_PER_S; /* somebody waits with curl */
static const int64_t extend_poll_ns = 100 * TB_NS_PER_MS;

/* Three kinds, so that a slow S3 never delays a tap, and a slow EC2 never a teardown. */
enum worker_job {
    JOB_GENERAL, /* everything up to recording, and teardowns */
    JOB_TEARDOWN,
    JOB_SEALING
};

static const char *const job_names[] = {
    [JOB_GENERAL] = "control", [JOB_TEARDOWN] = "teardown", [JOB_SEALING] = "sealing"};

static enum worker_job
job_of(unsigned worker)
{
    if (worker < GENERAL_WORKERS) {
        return JOB_GENERAL;
    }
    return worker < GENERAL_WORKERS + TEARDOWN_WORKERS ? JOB_TEARDOWN : JOB_SEALING;
}

static control_step_fn *const steps[TB_CAPTURE_STATE_COUNT] = {
    [TB_CAPTURE_REQUESTED] = control_step_requested,
    [TB_CAPTURE_PLANNED] = control_step_planned,
    [TB_CAPTURE_ARMING] = control_step_arming,
    [TB_CAPTURE_RECORDING] = control_step_recording,
    [TB_CAPTURE_DRAINING] = control_step_draining,
    [TB_CAPTURE_SEALING] = control_step_sealing,
};

struct worker {
    struct tb_control *control;
    unsigned me;
    enum worker_job job;
};

static bool
has_to_come_down(const struct tb_due *due)
{
    if (due->state == TB_CAPTURE_DRAINING) {
        return true;
    }
    return tb_capture_state_is_live(due->state) &&
           (due->stop_asked ||
            (due->deadline.utc_ns != 0 && tb_deadline_left_ns(&due->deadline) <= 0));
}

/* Nanoseconds until this capture wants a worker; 0 or less: now. */
static int64_t
wait_of(const struct tb_control *control, const struct tb_due *due)
{
    int64_t wait = due->due_steady_ns - tb_store_steady_ns(control->deps.store);

    /* A deadline or a stop does not wait for the period of the state before it.  While
     * draining, the due time is the pause between attempts. */
    if (due->state != TB_CAPTURE_DRAINING && has_to_come_down(due)) {
        wait = 0;
    } else if (tb_capture_state_is_live(due->state) && due->state != TB_CAPTURE_DRAINING &&
               due->deadline.utc_ns != 0) {
        int64_t left = tb_deadline_left_ns(&due->deadline);

        wait = left < wait ? left : wait;
    }
    return wait;
}

/* Who has it in hands; who helps before who is helped.  NULL: nobody. */
static const struct control_busy *
find_busy_locked(const struct tb_control *control, const char *id) TB_REQUIRES(control->mu)
{
    const struct control_busy *found = NULL;

    for (unsigned i = 0; i < WORKERS; i++) {
        const struct control_busy *busy = &control->locked.busy[i];

        if (strcmp(busy->capture_id, id) == 0 && (found == NULL || busy->aside)) {
            found = busy;
        }
    }
    return found;
}

/*
 * Nanoseconds until `worker` may take it although another one has it in hands, or -1: never.
 * A call of EC2 that hangs amid an extension, a filter that is widened or a session that is
 * made does not keep the sessions that are there beyond the deadline.
 */
static int64_t
help_in_ns(const struct worker *worker, const struct control_busy *busy,
           const struct tb_due *due)
{
    int64_t wait_ns = busy->since_boot_ns + help_after_ns - tb_clock_boot_ns();

    if (worker->job != JOB_TEARDOWN || busy->aside || !has_to_come_down(due) ||
        (due->state != TB_CAPTURE_ARMING && due->state != TB_CAPTURE_RECORDING)) {
        return -1;
    }
    return wait_ns > 0 ? wait_ns : 0;
}

/* Until when nobody looks at it, as nanoseconds from now; 0: it may be looked at. */
static int64_t
pause_left_locked(struct tb_control *control, const char *id) TB_REQUIRES(control->mu)
{
    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES; i++) {
        struct control_pause *pause = &control->locked.pauses[i];

        if (strcmp(pause->capture_id, id) == 0) {
            int64_t left_ns = pause->until_boot_ns - tb_clock_boot_ns();

            if (left_ns > 0) {
                return left_ns;
            }
            pause->capture_id[0] = 0;
            return 0;
        }
    }
    return 0;
}

/* False when there is no room: then the store has to remember it. */
static bool
pause_capture(struct tb_control *control, const char *id, int64_t ns)
{
    bool noted = false;

    tb_mutex_lock(&control->mu);
    for (size_t i = 0; i < TB_RECORDER_MAX_CAPTURES && !noted; i++) {
        struct control_pause *pause = &control->locked.pauses[i];

        if (pause->capture_id[0] == 0) {
            (void)tb_str_copy(pause->capture_id, sizeof(pause->capture_id), id);
            pause->until_boot_ns = tb_clock_boot_ns() + ns;
            noted = true;
        }
    }
    tb_mutex_unlock(&control->mu);
    return noted;
}

/* While it drains and seals it is looked at often, and nothing but the pause is new. */
static bool
waits_in_memory(enum tb_capture_state state)
{
    return state == TB_CAPTURE_DRAINING || state == TB_CAPTURE_SEALING;
}

static bool
is_job_of(const struct worker *worker, const struct tb_due *due)
{
    switch (worker->job) {
    case JOB_SEALING:
        return due->state == TB_CAPTURE_SEALING;
    case JOB_TEARDOWN:
        /* one that will have to come down is waited for, but not touched before */
        return tb_capture_state_is_live(due->state) &&
               (has_to_come_down(due) || wait_of(worker->control, due) > 0);
    case JOB_GENERAL:
    default:
        return due->state != TB_CAPTURE_SEALING;
    }
}

/* The most urgent capture that is due and free, claimed for `worker`; else *out_wait_ns says
 * for how long there is nothing.  Aside: another one has it, and nothing but its sessions is
 * this worker's business. */
static bool
claim(struct worker *worker, struct control_busy *out, int64_t *out_wait_ns)
{
    struct tb_control *control = worker->control;
    struct tb_due *due = NULL;
    struct tb_fail fail;
    size_t count = 0;
    const struct tb_due *best = NULL;
    const struct control_busy *busy;
    struct control_self self;

    *out_wait_ns = idle_ns;
    if (tb_store_due_list(control->deps.store, &due, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read what is due");
        return false;
    }
    tb_mutex_lock(&control->mu);
    self = control->locked.self;
    /* One that a worker has in hands is about to take a place: whoever comes behind it in the
     * queue must not take that meanwhile. */
    for (size_t i = 0; i < count; i++) {
        if (due[i].state == TB_CAPTURE_REQUESTED &&
            find_busy_locked(control, due[i].id) != NULL) {
            due[i].state = TB_CAPTURE_PLANNED;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int64_t wait = wait_of(control, &due[i]);
        int64_t pause = pause_left_locked(control, due[i].id);
        int64_t help = 0;

        wait = wait > pause ? wait : pause;
        busy = find_busy_locked(control, due[i].id);
        if (busy != NULL) {
            help = help_in_ns(worker, busy, &due[i]);
            wait = wait > help ? wait : help;
        }
        if (!is_job_of(worker, &due[i]) || help < 0 ||
            control_has_to_queue(control->deps.config, self.account, due, count, &due[i])) {
            continue;
        }
        if (wait > 0) {
            *out_wait_ns = wait < *out_wait_ns ? wait : *out_wait_ns;
            continue;
        }
        if (best == NULL || control_goes_before(&due[i], best)) {
            best = &due[i];
        }
    }
    if (best != NULL) {
        struct control_busy mine = {.since_boot_ns = tb_clock_boot_ns()};

        busy = find_busy_locked(control, best->id);
        if (busy != NULL) {
            mine.aside = true;
            mine.looks_before =
                (uint32_t)((mine.since_boot_ns - busy->since_boot_ns - help_after_ns) /
                           help_again_ns);
        }
        (void)tb_str_copy(mine.capture_id, sizeof(mine.capture_id), best->id);
        control->locked.busy[worker->me] = mine;
        *out = mine;
    }
    tb_mutex_unlock(&control->mu);
    free(due);
    return best != NULL;
}

/* Nobody is woken: this worker looks next, and the others look at least every idle_ns. */
static void
put_back(struct worker *worker)
{
    struct tb_control *control = worker->control;

    tb_mutex_lock(&control->mu);
    control->locked.busy[worker->me].capture_id[0] = 0;
    tb_mutex_unlock(&control->mu);
}

/* The pause that the store could not write down: meanwhile nobody else takes the capture. */
static void
hold(struct tb_control *control, int64_t ns)
{
    int64_t until_ns = tb_clock_boot_ns() + ns;

    tb_mutex_lock(&control->mu);
    while (!control->locked.stopping && tb_clock_boot_ns() < until_ns) {
        (void)tb_cond_wait_for(&control->more, &control->mu, until_ns - tb_clock_boot_ns());
    }
    tb_mutex_unlock(&control->mu);
}

static bool
is_tapped(enum tb_capture_state state)
{
    return state == TB_CAPTURE_RECORDING || state == TB_CAPTURE_DRAINING;
}

/* One step, and when to look again. */
static void
advance(struct tb_control *control, const char *id)
{
    struct tb_capture *capture = malloc(sizeof(*capture));
    struct tb_fail fail = {0};
    struct tb_fail later = {0};
    int64_t again_ns = 0;
    enum tb_err err;

    if (capture == NULL) {
        return; /* the next round tries again */
    }
    err = tb_store_capture_get(control->deps.store, id, capture, &fail);
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot read the capture");
        hold(control, backoff_first_ns);
        goto out;
    }
    if (steps[capture->state] == NULL) {
        goto out; /* became final in the meantime */
    }
    err = steps[capture->state](control, capture, &again_ns, &fail);
    if (err == TB_ESTATE && fail.http_status == 0) {
        goto out; /* somebody else moved it: the next look sees the new state */
    }
    if (err != TB_OK) {
        again_ns =
            tb_plan_backoff_ns(capture->attempt, backoff_first_ns,
                               is_tapped(capture->state) ? teardown_most_ns : backoff_most_ns);
        tb_log_fail(TB_LOG_WARN, id, &fail, "step '%s' failed and is repeated in %lld ms",
                    tb_capture_state_name(capture->state),
                    (long long)(again_ns / TB_NS_PER_MS));
    }
    if (again_ns > 0 && err == TB_OK && waits_in_memory(capture->state) &&
        pause_capture(control, id, again_ns)) {
        goto out;
    }
    if (again_ns > 0 &&
        tb_store_capture_later(control->deps.store, id,
                               tb_store_steady_ns(control->deps.store) + again_ns,
                               err != TB_OK ? &fail : NULL, &later) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &later, "cannot write down when to look again");
        hold(control, again_ns);
    }

out:
    free(capture);
}

/* Its sessions, while another worker's step takes long; that one ends it when it comes back. */
static void
take_down_aside(struct tb_control *control, const char *id, uint32_t looks_before)
{
    struct tb_resource *rows = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;
    enum tb_err err;

    if (!control_has_to_stop(control, id)) {
        return; /* it was extended just in time */
    }
    err = tb_store_resource_list(control->deps.store, id, false, &rows, &count, &fail);
    if (err == TB_OK) {
        err = control_delete_known_sessions(control, rows, count, looks_before, &fail);
    }
    if (err != TB_OK) { /* each that failed has been logged */
        tb_log_fail(TB_LOG_DEBUG, id, &fail, "its sessions are looked at again soon");
    }
    tb_resources_free(rows, count);
    if (!pause_capture(control, id, help_again_ns)) {
        hold(control, help_again_ns);
    }
}

static void *
run(void *arg)
{
    struct worker worker = *(struct worker *)arg;
    struct tb_control *control = worker.control;
    struct control_busy mine;
    bool stopping = false;

    free(arg);
    while (!stopping) {
        int64_t wait_ns;
        uint64_t wakes;

        tb_mutex_lock(&control->mu);
        wakes = control->locked.wakes;
        stopping = control->locked.stopping;
        tb_mutex_unlock(&control->mu);
        if (stopping) {
            break;
        }
        if (claim(&worker, &mine, &wait_ns)) {
            if (mine.aside) {
                take_down_aside(control, mine.capture_id, mine.looks_before);
            } else {
                advance(control, mine.capture_id);
            }
            put_back(&worker);
            continue;
        }
        tb_mutex_lock(&control->mu);
        if (!control->locked.stopping && control->locked.wakes == wakes) {
            (void)tb_cond_wait_for(&control->more, &control->mu, wait_ns);
        }
        stopping = control->locked.stopping;
        tb_mutex_unlock(&control->mu);
    }
    return NULL;
}

/* The host's name as it may stand in file names. */
static void
learn_host(struct tb_control *control)
{
    struct utsname host;

    if (uname(&host) != 0) {
        (void)tb_str_copy(control->host_name, sizeof(control->host_name), "host");
        return;
    }
    (void)tb_str_copy(control->host_name, sizeof(control->host_name), host.nodename);
    for (char *at = control->host_name; *at != 0; at++) {
        if (!isalnum((unsigned char)*at) && *at != '.' && *at != '-') {
            *at = '-';
        }
    }
    if (control->host_name[0] == 0 || control->host_name[0] == '.') {
        (void)tb_str_copy(control->host_name, sizeof(control->host_name), "host");
    }
    (void)tb_str_copy(control->kernel, sizeof(control->kernel), host.release);
}

enum tb_err
tb_control_start(const struct tb_control_deps *deps, struct tb_control **out,
                 struct tb_fail *fail)
{
    struct tb_control *control = calloc(1, sizeof(*control));

    if (control == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for control");
    }
    control->deps = *deps;
    /* until AWS has told */
    control->locked.aws_offset_s =
        (tb_clock_utc_ns() - tb_store_steady_ns(deps->store)) / TB_NS_PER_S;
    learn_host(control);
    tb_mutex_init(&control->mu);
    tb_mutex_init(&control->budget_mu);
    tb_cond_init(&control->more);
    enum tb_err err = control_accounts_open(control, fail);
    if (err != TB_OK) {
        tb_control_stop(control);
        return err;
    }
    for (; control->started < WORKERS; control->started++) {
        struct worker *worker = calloc(1, sizeof(*worker));

        if (worker == NULL) {
            tb_control_stop(control);
            return tb_fail_set(fail, TB_ENOMEM, "no memory for a control worker");
        }
        worker->control = control;
        worker->me = control->started;
        worker->job = job_of(control->started);
        err = tb_thread_start(&control->threads[control->started], job_names[worker->job], run,
                              worker, fail);
        if (err != TB_OK) {
            free(worker);
            tb_control_stop(control);
            return err;
        }
    }
    for (size_t i = 0; i < control->account_count; i++) {
        struct control_account *account = &control->accounts[i];

        err = tb_thread_start(&account->reconciler, "reconcile", control_reconcile_run, account,
                              fail);
        if (err != TB_OK) {
            tb_control_stop(control);
            return err;
        }
        account->reconciling = true;
    }
    if (deps->config->cloudwatch_namespace[0] != '\0') {
        err =
            tb_thread_start(&control->heart, "heartbeat", control_heartbeat_run, control, fail);
        if (err != TB_OK) {
            tb_control_stop(control);
            return err;
        }
        control->beating = true;
    }
    *out = control;
    return TB_OK;
}

void
tb_control_stop(struct tb_control *control)
{
    if (control == NULL) {
        return;
    }
    tb_mutex_lock(&control->mu);
    control->locked.stopping = true;
    tb_cond_broadcast(&control->more);
    tb_mutex_unlock(&control->mu);
    for (unsigned i = 0; i < control->started; i++) {
        (void)pthread_join(control->threads[i], NULL);
    }
    for (size_t i = 0; i < control->account_count; i++) {
        if (control->accounts[i].reconciling) {
            (void)pthread_join(control->accounts[i].reconciler, NULL);
        }
    }
    if (control->beating) {
        (void)pthread_join(control->heart, NULL);
    }
    control_accounts_release(control);
    tb_cond_release(&control->more);
    tb_mutex_release(&control->budget_mu);
    tb_mutex_release(&control->mu);
    free(control);
}

void
tb_control_wake(struct tb_control *control)
{
    tb_mutex_lock(&control->mu);
    control->locked.wakes++;
    tb_cond_broadcast(&control->more);
    tb_mutex_unlock(&control->mu);
}

enum tb_err
tb_control_ready(struct tb_control *control, struct tb_fail *fail)
{
    struct tb_recorder_host host;
    bool known;
    enum tb_err err = tb_store_check(control->deps.store, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_recorder_host(control->deps.recorder, &host, fail);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "the recorder does not answer");
        return err;
    }
    tb_mutex_lock(&control->mu);
    known = control->locked.self.known;
    tb_mutex_unlock(&control->mu);
    if (!known) {
        return tb_fail_set(fail, TB_ERETRY,
                           "AWS has not yet told which account and target interface are ours");
    }
    return TB_OK;
}

/* In whole seconds: the tag's resolution. */
static bool
is_extended_to(const struct tb_capture *capture, int64_t to_utc_ns)
{
    return capture->deadline.utc_ns >= to_utc_ns - to_utc_ns % TB_NS_PER_S;
}

enum tb_err
tb_control_extend(struct tb_control *control, const char *capture_id, int64_t to_utc_ns,
                  const struct tb_actor *by, struct tb_deadline *out_deadline,
                  struct tb_fail *fail)
{
    int64_t until_ns = tb_clock_boot_ns() + extend_patience_ns;
    struct tb_capture *capture = malloc(sizeof(*capture));
    bool withdrawn = false;
    enum tb_err err;

    if (capture == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to extend a capture");
    }
    err = tb_store_capture_ask_extend(control->deps.store, capture_id, to_utc_ns, by, fail);
    while (err == TB_OK) {
        tb_control_wake(control);
        err = tb_store_capture_get(control->deps.store, capture_id, capture, fail);
        if (err != TB_OK || capture->extend_to_utc_ns == 0 ||
            is_extended_to(capture, to_utc_ns) || tb_clock_boot_ns() >= until_ns) {
            break;
        }
        tb_mutex_lock(&control->mu);
        (void)tb_cond_wait_for(&control->more, &control->mu, extend_poll_ns);
        tb_mutex_unlock(&control->mu);
    }
    if (err == TB_OK && capture->extend_to_utc_ns != 0 && !is_extended_to(capture, to_utc_ns)) {
        err = tb_store_capture_withdraw_extend(control->deps.store, capture_id, to_utc_ns,
                                               &withdrawn, fail);
        if (err == TB_OK) {
            err = tb_store_capture_get(control->deps.store, capture_id, capture, fail);
        }
    }
    if (err == TB_OK && !is_extended_to(capture, to_utc_ns)) {
        err = withdrawn ? tb_fail_set(fail, TB_ETIMEOUT,
                                      "AWS did not confirm it in time; the deadline stands")
                        : tb_fail_set(fail, TB_EDENIED,
                                      "AWS refused it (the log says why); the deadline stands");
    }
    if (err == TB_OK) {
        *out_deadline = capture->deadline;
    }
    free(capture);
    return err;
}

size_t
tb_control_foreign_sessions(struct tb_control *control)
{
    size_t foreign = 0;

    for (size_t i = 0; i < control->account_count; i++) {
        struct control_account *account = &control->accounts[i];

        tb_mutex_lock(&account->mu);
        foreign += account->locked.foreign_sessions;
        tb_mutex_unlock(&account->mu);
    }
    return foreign;
}

enum tb_err
tb_control_live(struct tb_control *control, const char *capture_id,
                struct tb_record_status *out, struct tb_fail *fail)
{
    return tb_recorder_status(control->deps.recorder, capture_id, out, fail);
}

/*
 * Threads: GENERAL_WORKERS, TEARDOWN_WORKERS and SEALING_WORKERS.  Each takes one capture that
 * is due and nobody else has in hands, advances it by one step, and puts it back.  The teardown
 * workers take only captures that have to come down, so that no number of slow EC2 calls
 * elsewhere delays them.
 *
 * Of those of one kind that find nothing, only who would look next waits for its time; the
 * others wait for their turn, which whoever takes a capture gives to one of them.  So what is
 * due is read once, not by all of them at the same moment, while alerts wait for the store.
 */
#include "control_int.h"

#include <stdlib.h>

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

static const char *const job_names[CONTROL_JOBS] = {[CONTROL_JOB_GENERAL] = "control",
                                                    [CONTROL_JOB_TEARDOWN] = "teardown",
                                                    [CONTROL_JOB_SEALING] = "sealing"};

static enum control_job
job_of(unsigned worker)
{
    if (worker < GENERAL_WORKERS) {
        return CONTROL_JOB_GENERAL;
    }
    return worker < GENERAL_WORKERS + TEARDOWN_WORKERS ? CONTROL_JOB_TEARDOWN
                                                       : CONTROL_JOB_SEALING;
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
    enum control_job job;
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

    if (worker->job != CONTROL_JOB_TEARDOWN || busy->aside || !has_to_come_down(due) ||
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
    case CONTROL_JOB_SEALING:
        return due->state == TB_CAPTURE_SEALING;
    case CONTROL_JOB_TEARDOWN:
        /* one that will have to come down is waited for, but not touched before */
        return tb_capture_state_is_live(due->state) &&
               (has_to_come_down(due) || wait_of(worker->control, due) > 0);
    case CONTROL_JOB_GENERAL:
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

/* This worker looks next; of the other kinds one each when the capture may be theirs now. */
static void
put_back(struct worker *worker, bool moved)
{
    struct tb_control *control = worker->control;

    tb_mutex_lock(&control->mu);
    control->locked.busy[worker->me].capture_id[0] = 0;
    for (unsigned job = 0; job < CONTROL_JOBS && moved; job++) {
        if (job != worker->job) {
            tb_cond_signal(&control->turn[job]);
        }
    }
    tb_mutex_unlock(&control->mu);
}

/* Whether the work of such workers is over. */
static bool
has_ended_locked(const struct tb_control *control, enum control_job job)
    TB_REQUIRES(control->mu)
{
    return control->locked.stopping ||
           (control->locked.winding_down && job != CONTROL_JOB_TEARDOWN);
}

/* The pause that the store could not write down: meanwhile nobody else takes the capture. */
static void
hold(const struct worker *worker, int64_t ns)
{
    struct tb_control *control = worker->control;
    int64_t until_ns = tb_clock_boot_ns() + ns;

    tb_mutex_lock(&control->mu);
    while (!has_ended_locked(control, worker->job) && tb_clock_boot_ns() < until_ns) {
        (void)tb_cond_wait_for(&control->more, &control->mu, until_ns - tb_clock_boot_ns());
    }
    tb_mutex_unlock(&control->mu);
}

static bool
is_tapped(enum tb_capture_state state)
{
    return state == TB_CAPTURE_RECORDING || state == TB_CAPTURE_DRAINING;
}

/* Whether somebody else moved it meanwhile, or asked for its end; then `capture` is as it is
 * now. */
static bool
has_changed(struct tb_control *control, struct tb_capture *capture)
{
    enum tb_capture_state state = capture->state;
    bool stop_asked = capture->stop_asked;

    return tb_store_capture_get(control->deps.store, capture->id, capture, NULL) != TB_OK ||
           capture->state != state || capture->stop_asked != stop_asked;
}

/* One step, and when to look again; true: at once. */
static bool
advance(const struct worker *worker, const char *id)
{
    struct tb_control *control = worker->control;
    struct tb_capture *capture = malloc(sizeof(*capture));
    struct tb_fail fail = {0};
    struct tb_fail later = {0};
    int64_t again_ns = 0;
    bool moved = false;
    enum tb_err err;

    if (capture == NULL) {
        return false; /* the next round tries again */
    }
    err = tb_store_capture_get(control->deps.store, id, capture, &fail);
    if (err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &fail, "cannot read the capture");
        hold(worker, backoff_first_ns);
        goto out;
    }
    if (steps[capture->state] == NULL) {
        goto out; /* became final in the meantime */
    }
    err = steps[capture->state](control, capture, &again_ns, &fail);
    if (err == TB_ESTATE && fail.http_status == 0 && has_changed(control, capture)) {
        goto out; /* the next look sees it */
    }
    if (err != TB_OK) {
        again_ns =
            tb_plan_backoff_ns(capture->attempt, backoff_first_ns,
                               is_tapped(capture->state) ? teardown_most_ns : backoff_most_ns);
        tb_log_fail(TB_LOG_WARN, id, &fail, "step '%s' failed and is repeated in %lld ms",
                    tb_capture_state_name(capture->state),
                    (long long)(again_ns / TB_NS_PER_MS));
    }
    moved = again_ns <= 0;
    if (again_ns > 0 && err == TB_OK && waits_in_memory(capture->state) &&
        pause_capture(control, id, again_ns)) {
        goto out;
    }
    if (again_ns > 0 &&
        tb_store_capture_later(control->deps.store, id,
                               tb_store_steady_ns(control->deps.store) + again_ns,
                               err != TB_OK ? &fail : NULL, &later) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, id, &later, "cannot write down when to look again");
        hold(worker, again_ns);
    }

out:
    free(capture);
    return moved;
}

/* Its sessions, while another worker's step takes long; that one ends it when it comes back. */
static void
take_down_aside(const struct worker *worker, const char *id, uint32_t looks_before)
{
    struct tb_control *control = worker->control;
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
        hold(worker, help_again_ns);
    }
}

/* Until it may be worth to look again: `wait_ns` at the most, or its turn. */
static void
wait_for_work(const struct worker *worker, uint64_t wakes, int64_t wait_ns)
{
    struct tb_control *control = worker->control;
    struct tb_cond *turn = &control->turn[worker->job];
    int64_t at_boot_ns = tb_clock_boot_ns() + wait_ns;
    int64_t *next;

    tb_mutex_lock(&control->mu);
    next = &control->locked.next_look_boot_ns[worker->job];
    if (has_ended_locked(control, worker->job) || control->locked.wakes != wakes) {
        /* not at all */
    } else if (*next == 0 || at_boot_ns < *next) {
        *next = at_boot_ns;
        (void)tb_cond_wait_for(turn, &control->mu, wait_ns);
        if (*next == at_boot_ns) {
            *next = 0;
        }
    } else {
        tb_cond_wait(turn, &control->mu);
    }
    tb_mutex_unlock(&control->mu);
}

static void
give_turn(const struct worker *worker)
{
    struct tb_control *control = worker->control;

    tb_mutex_lock(&control->mu);
    tb_cond_signal(&control->turn[worker->job]);
    tb_mutex_unlock(&control->mu);
}

static void *
run(void *arg)
{
    struct worker worker = *(struct worker *)arg;
    struct tb_control *control = worker.control;
    struct control_busy mine;

    free(arg);
    for (;;) {
        bool ended, moved = false;
        int64_t wait_ns;
        uint64_t wakes;

        tb_mutex_lock(&control->mu);
        wakes = control->locked.wakes;
        ended = has_ended_locked(control, worker.job);
        tb_mutex_unlock(&control->mu);
        if (ended) {
            break;
        }
        if (!claim(&worker, &mine, &wait_ns)) {
            wait_for_work(&worker, wakes, wait_ns);
            continue;
        }
        give_turn(&worker);
        if (mine.aside) {
            take_down_aside(&worker, mine.capture_id, mine.looks_before);
        } else {
            moved = advance(&worker, mine.capture_id);
        }
        put_back(&worker, moved);
    }
    return NULL;
}

enum tb_err
control_workers_start(struct tb_control *control, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (; control->started < WORKERS && err == TB_OK; control->started++) {
        struct worker *worker = calloc(1, sizeof(*worker));

        if (worker == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for a control worker");
        }
        worker->control = control;
        worker->me = control->started;
        worker->job = job_of(control->started);
        err = tb_thread_start(&control->threads[control->started], job_names[worker->job], run,
                              worker, fail);
        if (err != TB_OK) {
            free(worker);
            return err;
        }
    }
    return err;
}

void
control_workers_turn_locked(struct tb_control *control)
{
    for (unsigned job = 0; job < CONTROL_JOBS; job++) {
        if (control->locked.winding_down) {
            tb_cond_broadcast(&control->turn[job]);
        } else {
            tb_cond_signal(&control->turn[job]);
        }
    }
}

void
control_workers_join(struct tb_control *control, bool teardown)
{
    for (unsigned i = 0; i < control->started; i++) {
        if ((job_of(i) == CONTROL_JOB_TEARDOWN) == teardown) {
            (void)pthread_join(control->threads[i], NULL);
        }
    }
}

/* Starting and stopping control, and what others ask of it.  Threads: the workers (workers.c),
 * one for each account that reconciles (reconcile.c), and one that gives signs of life
 * (heartbeat.c).
 */
#include "control_int.h"

#include <ctype.h>
#include <stdlib.h>
#include <sys/utsname.h>

static const int64_t extend_patience_ns = 10 * TB_NS_PER_S; /* somebody waits with curl */
static const int64_t extend_poll_ns = 100 * TB_NS_PER_MS;

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
    enum tb_err err;

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
    for (unsigned job = 0; job < CONTROL_JOBS; job++) {
        tb_cond_init(&control->turn[job]);
    }
    err = control_accounts_open(control, fail);
    if (err == TB_OK) {
        err = control_workers_start(control, fail);
    }
    if (err != TB_OK) {
        tb_control_stop(control);
        return err;
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
tb_control_wind_down(struct tb_control *control)
{
    if (control == NULL || control->wound_down) {
        return;
    }
    control->wound_down = true;
    tb_mutex_lock(&control->mu);
    control->locked.winding_down = true;
    tb_cond_broadcast(&control->more);
    control_workers_turn_locked(control);
    tb_mutex_unlock(&control->mu);
    control_workers_join(control, false);
    for (size_t i = 0; i < control->account_count; i++) {
        struct control_account *account = &control->accounts[i];

        if (account->reconciling) {
            (void)pthread_join(account->reconciler, NULL);
            account->reconciling = false;
        }
    }
    if (control->beating) {
        (void)pthread_join(control->heart, NULL);
        control->beating = false;
    }
}

void
tb_control_stop(struct tb_control *control)
{
    if (control == NULL) {
        return;
    }
    tb_control_wind_down(control);
    tb_mutex_lock(&control->mu);
    control->locked.stopping = true;
    tb_cond_broadcast(&control->more);
    control_workers_turn_locked(control);
    tb_mutex_unlock(&control->mu);
    control_workers_join(control, true);
    control_accounts_release(control);
    for (unsigned job = 0; job < CONTROL_JOBS; job++) {
        tb_cond_release(&control->turn[job]);
    }
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
    control_workers_turn_locked(control);
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
    struct tb_record_status status;
    enum tb_err err = tb_recorder_status(control->deps.recorder, capture_id, &status, fail);

    if (err == TB_OK && status.state == TB_RECORD_ABSENT) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "the recorder does not have %s", capture_id);
    }
    if (err == TB_OK) {
        *out = status;
    }
    return err;
}

/* POST /v1/events[/{sender}], and what a sender of alerts or requests is told. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/intake.h>

#include "http_int.h"

/* The words of the API; a 2xx tells EventBridge to forget the event. */
static const struct {
    const char *decision;
    int status;
} outcomes[] = {
    [TB_INTAKE_CREATED] = {"capture", 202},     [TB_INTAKE_JOINED] = {"joined", 202},
    [TB_INTAKE_DUPLICATE] = {"duplicate", 200}, [TB_INTAKE_IGNORED] = {"ignored", 200},
    [TB_INTAKE_COOLING] = {"ignored", 200},     [TB_INTAKE_REFUSED] = {"refused", 200},
    [TB_INTAKE_NOTED] = {"noted", 200},
};

static struct tb_json *
alert_json(const struct tb_alert *alert)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "adapter", alert->adapter);
    tb_json_set_str(out, "id", alert->id);
    tb_json_set_str(out, "type", alert->type);
    tb_json_set_str(out, "title", alert->summary);
    tb_json_set_number(out, "severity", alert->severity);
    tb_json_set_bool(out, "sample", alert->sample);
    return out;
}

/* Who asked for a capture may see what came of that, and so may those who may see captures.
 * Another one's, that an alert merely joined, tells its sender no more than its id. */
static bool
may_see_all(const struct tb_http_call *call)
{
    return (call->roles & (TB_ROLE_ANALYST | TB_ROLE_RESPONDER | TB_ROLE_ADMIN)) != 0;
}

const char *
tb_http_sender_name(const struct tb_http_server *server, size_t i)
{
    static const char *const adapters[] = {"guardduty", "securityhub", "securityhub-action",
                                           "ec2", "tapbox"};
    enum {
        ADAPTERS = sizeof(adapters) / sizeof(adapters[0])
    };
    const struct tb_senders *senders = tb_policy_senders(&server->deps.config->policy);

    if (i < ADAPTERS) {
        return adapters[i];
    }
    return senders != NULL && i - ADAPTERS < senders->count ? senders->at[i - ADAPTERS].name
                                                            : NULL;
}

/* What has no adapter is an analyst's request. */
static void
count_alert(struct tb_http_server *server, const struct tb_intake_result *result)
{
    const char *name;

    for (size_t i = 0; (name = tb_http_sender_name(server, i)) != NULL; i++) {
        if (strcmp(name, result->alert.adapter) == 0) {
            atomic_fetch_add(&server->counters.alerts[i][result->outcome], 1);
        }
    }
}

void
tb_http_server_took(struct tb_http_server *server, const struct tb_intake_result *result)
{
    atomic_fetch_add(&server->counters.intake[result->outcome], 1);
    if (result->outcome == TB_INTAKE_IGNORED || result->outcome == TB_INTAKE_REFUSED) {
        atomic_fetch_add(&server->counters.not_captured[result->why], 1);
    }
    count_alert(server, result);
    if (result->left_out > 0 &&
        (result->outcome == TB_INTAKE_CREATED || result->outcome == TB_INTAKE_JOINED)) {
        atomic_fetch_add(&server->counters.sources_left_out, result->left_out);
        tb_log(TB_LOG_WARN, result->capture_id,
               "alert %.128s names %zu or more sources beyond what is captured for one alert: "
               "nothing is recorded of them",
               result->alert.id, result->left_out);
    }
    /* What joins may make a box longer, which a worker sees within a second: waking all of them
     * for each of thousands of alerts would cost more than the alerts. */
    if (server->deps.control != NULL &&
        (result->outcome == TB_INTAKE_CREATED || result->outcome == TB_INTAKE_NOTED)) {
        tb_control_wake(server->deps.control);
    }
}

/* --- many in one commit --- */

static void
commit(struct tb_http_call *const *calls, size_t count)
{
    struct tb_intake_ready *ready[TB_INTAKE_AT_ONCE];

    for (size_t i = 0; i < count; i++) {
        ready[i] = calls[i]->ready;
    }
    tb_intake_commit(calls[0]->server->deps.store, ready, count);
}

/* One thread: while it waits for the disk, the next commit fills.  On a fast disk it would hold
 * one or two of 2,000 a second, and the commits cost more than the alerts. */
const struct tb_later_kind tb_later_commits = {.name = "http commit",
                                               .threads = 1,
                                               .at_once = TB_INTAKE_AT_ONCE,
                                               .queue = TB_PEERS_MOST,
                                               .gather_ns = 4 * TB_NS_PER_MS,
                                               .run = commit};

bool
tb_http_add_capture(struct tb_http_call *call, struct tb_intake_ready *ready)
{
    struct tb_fail fail;

    ready->only_made = !may_see_all(call);
    ready->capture = calloc(1, sizeof(*ready->capture));
    if (ready->capture == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for this call");
        tb_http_problem_of(call, &fail);
    }
    return ready->capture != NULL;
}

struct tb_intake_ready *
tb_http_new_ready(struct tb_http_call *call)
{
    struct tb_intake_ready *ready = calloc(1, sizeof(*ready));
    struct tb_fail fail;

    if (ready == NULL) {
        (void)tb_fail_set(&fail, TB_ENOMEM, "no memory for this call");
        tb_http_problem_of(call, &fail);
        return NULL;
    }
    if (!tb_http_add_capture(call, ready)) {
        free(ready);
        return NULL;
    }
    call->ready = ready;
    return ready;
}

void
tb_http_free_ready(struct tb_http_call *call)
{
    if (call->ready != NULL) {
        free(call->ready->capture);
        tb_intake_ready_free(call->ready);
        call->ready = NULL;
    }
}

/* --- the answer --- */

const int64_t tb_http_latency_ns[TB_HTTP_LATENCIES] = {
    5 * TB_NS_PER_MS,    10 * TB_NS_PER_MS,  25 * TB_NS_PER_MS,  50 * TB_NS_PER_MS,
    100 * TB_NS_PER_MS,  250 * TB_NS_PER_MS, 500 * TB_NS_PER_MS, 1000 * TB_NS_PER_MS,
    2500 * TB_NS_PER_MS, 5000 * TB_NS_PER_MS};

static void
note_latency(struct tb_http_call *call)
{
    struct tb_http_counters *counters = &call->server->counters;
    int64_t took_ns = tb_clock_boot_ns() - call->began_boot_ns;
    size_t i = 0;

    while (i < TB_HTTP_LATENCIES && took_ns > tb_http_latency_ns[i]) {
        i++;
    }
    atomic_fetch_add(&counters->latencies[i], 1);
    atomic_fetch_add(&counters->latency_sum_ns, (unsigned long long)took_ns);
}

/* What is not understood is refused, and EventBridge does not send again what was refused: then
 * the log is where it can be found.  (What is not stored is told with the answer's 503.) */
static void
note_not_taken(struct tb_http_call *call, const struct tb_fail *fail)
{
    struct tb_http_counters *counters = &call->server->counters;

    if (!tb_intake_is_senders_fault(fail->err)) {
        atomic_fetch_add(&counters->not_stored, 1);
        return;
    }
    atomic_fetch_add(&counters->not_understood, 1);
    if (tb_http_may_log_refusal(call->server)) {
        tb_log_fail(TB_LOG_WARN, NULL, fail, "an alert from %s of token '%s' is not understood",
                    call->remote, call->token_name);
    }
}

/* One alert's: the decision, and the capture as far as the caller may see it. */
static struct tb_json *
result_json(struct tb_http_call *call, const struct tb_intake_ready *ready)
{
    const struct tb_intake_result *result = &ready->result;
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "decision", outcomes[result->outcome].decision);
    tb_json_set_str(out, "reason", result->reason);
    if (result->alert.adapter[0] != 0) {
        tb_json_set(out, "alert", alert_json(&result->alert));
    }
    if (result->left_out > 0) {
        tb_json_set_int(out, "left_out", (int64_t)result->left_out);
    }
    if (result->capture_id[0] == '\0') {
        return out;
    }
    /* It is committed: whatever happens now, the sender must not send it again. */
    if (ready->has_capture) {
        tb_json_set(out, "capture",
                    tb_http_capture_json(call->server, ready->capture, NULL, NULL));
    } else {
        struct tb_json *only_id = tb_json_object();

        tb_json_set_str(only_id, "id", result->capture_id);
        tb_json_set(out, "capture", only_id);
    }
    return out;
}

static void
answer_one(struct tb_http_call *call)
{
    const struct tb_intake_result *result = &call->ready->result;

    if (result->capture_id[0] != '\0') {
        snprintf(call->answer.location, sizeof(call->answer.location), "/v1/captures/%s",
                 result->capture_id);
    }
    tb_http_answer_json(call, outcomes[result->outcome].status, result_json(call, call->ready));
}

/* 202 when one of them became or joined a capture. */
static void
answer_several(struct tb_http_call *call)
{
    struct tb_json *root = tb_json_object();
    struct tb_json *list = tb_json_array();
    int status = 200;

    for (const struct tb_intake_ready *r = call->ready; r != NULL; r = r->next) {
        int its = outcomes[r->result.outcome].status;

        status = its > status ? its : status;
        tb_json_add(list, result_json(call, r));
    }
    tb_json_set_str(root, "decision", "several");
    tb_json_set_str(root, "reason", "the body holds several alerts, each decided by itself");
    tb_json_set(root, "alerts", list);
    tb_http_answer_json(call, status, root);
}

void
tb_http_answer_intake(struct tb_http_call *call)
{
    const struct tb_intake_ready *first = call->ready;
    const struct tb_intake_ready *bad = tb_intake_worst(first);
    bool replayed = call->from_sns && bad == NULL;

    assert(first != NULL); /* that is why it came here */
    note_latency(call);
    for (const struct tb_intake_ready *r = first; r != NULL; r = r->next) {
        if (r->err == TB_OK) {
            tb_http_server_took(call->server, &r->result);
            replayed = replayed && r->result.outcome == TB_INTAKE_DUPLICATE;
        } else {
            note_not_taken(call, &r->fail);
        }
    }
    if (replayed) {
        tb_sns_count(call->server->deps.sns, TB_SNS_REPLAYED);
    }
    if (bad != NULL) {
        tb_http_problem_of_body(call, &bad->fail);
    } else if (first->next == NULL) {
        answer_one(call);
    } else {
        answer_several(call);
    }
    tb_http_free_ready(call);
}

const char *
tb_http_sender(const struct tb_http_call *call)
{
    return call->path_id[0] != 0 ? call->path_id : NULL;
}

void
tb_http_problem_of_body(struct tb_http_call *call, const struct tb_fail *fail)
{
    if (fail->err == TB_ENOTFOUND) {
        /* a body of no known sender: theirs to fix, like any other bad body */
        tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "%s", fail->text);
    } else {
        tb_http_problem_of(call, fail);
    }
}

bool
tb_http_read_event(struct tb_http_call *call)
{
    const struct tb_http_server_deps *deps = &call->server->deps;
    const struct tb_intake_from from = {
        .remote = call->remote, .token_name = call->token_name, .sender = tb_http_sender(call)};
    struct tb_fail fail = {0};

    atomic_fetch_add(&call->server->counters.received, 1);
    if (tb_intake_event_read(&deps->config->policy, tb_buf_view(&call->request_body), &from,
                             &call->ready, &fail) != TB_OK) {
        note_not_taken(call, &fail);
        tb_http_problem_of_body(call, &fail);
        return false;
    }
    if (call->ready->next == NULL && !tb_http_add_capture(call, call->ready)) {
        tb_http_free_ready(call);
    }
    return true;
}

void
tb_http_post_event(struct tb_http_call *call)
{
    if (call->from_sns) {
        tb_http_post_sns(call);
    } else if (!tb_http_plan_event(call)) {
        (void)tb_http_read_event(call); /* to be committed */
    }
}

/* /metrics: Prometheus text, each family with its HELP; runbooks/operating.md lists them. */
#include <stdlib.h>

#include "http_int.h"

static void
put_family(struct tb_buf *out, const char *name, const char *type, const char *help)
{
    tb_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
put_requests(struct tb_http_server *server, struct tb_buf *out)
{
    put_family(out, "tapbox_http_requests_total", "counter", "Answers by route and status.");
    for (size_t row = 0; row <= TB_HTTP_MAX_ROUTES; row++) {
        bool known = row < tb_http_route_count;

        if (!known && row != TB_HTTP_MAX_ROUTES) {
            continue;
        }
        for (size_t status = 1; status < TB_HTTP_STATUS_CLASSES; status++) {
            unsigned long long n = atomic_load(&server->counters.requests[row][status]);

            if (n > 0) {
                tb_buf_printf(out,
                              "tapbox_http_requests_total{method=\"%s\",route=\"%s\","
                              "status=\"%zuxx\"} %llu\n",
                              known ? tb_http_routes[row].method : "",
                              known ? tb_http_routes[row].path : "", status, n);
            }
        }
    }
}

static void
put_intake(struct tb_http_server *server, struct tb_buf *out)
{
    static const char *const refusals[TB_REFUSAL_COUNT] = {
        [TB_REFUSAL_NO_TOKEN] = "no_token",
        [TB_REFUSAL_UNKNOWN_TOKEN] = "unknown_token",
        [TB_REFUSAL_ROLE] = "role",
        [TB_REFUSAL_NO_CERTIFICATE] = "no_certificate",
        [TB_REFUSAL_ADDRESS_RATE] = "address_rate",
        [TB_REFUSAL_TOKEN_RATE] = "token_rate",
    };
    static const char *const decisions[TB_INTAKE_OUTCOME_COUNT] = {
        [TB_INTAKE_CREATED] = "capture",     [TB_INTAKE_JOINED] = "joined",
        [TB_INTAKE_DUPLICATE] = "duplicate", [TB_INTAKE_IGNORED] = "ignored",
        [TB_INTAKE_COOLING] = "cooling",     [TB_INTAKE_REFUSED] = "refused",
        [TB_INTAKE_NOTED] = "noted",
    };
    const char *name;

    put_family(out, "tapbox_auth_refusals_total", "counter",
               "Calls refused for their token, or because they come too fast.");
    for (size_t i = 0; i < TB_REFUSAL_COUNT; i++) {
        tb_buf_printf(out, "tapbox_auth_refusals_total{why=\"%s\"} %llu\n", refusals[i],
                      atomic_load(&server->counters.refusals[i]));
    }
    put_family(out, "tapbox_intake_total", "counter", "Alerts and requests by decision.");
    for (size_t i = 0; i < TB_INTAKE_OUTCOME_COUNT; i++) {
        tb_buf_printf(out, "tapbox_intake_total{decision=\"%s\"} %llu\n", decisions[i],
                      atomic_load(&server->counters.intake[i]));
    }
    put_family(out, "tapbox_alerts_total", "counter", "Alerts by sender and decision.");
    for (size_t s = 0; (name = tb_http_sender_name(server, s)) != NULL; s++) {
        for (size_t i = 0; i < TB_INTAKE_OUTCOME_COUNT; i++) {
            tb_buf_printf(out, "tapbox_alerts_total{sender=\"%s\",decision=\"%s\"} %llu\n",
                          name, decisions[i], atomic_load(&server->counters.alerts[s][i]));
        }
    }
}

/* Those that the policy, or the alert itself, kept from becoming a capture. */
static void
put_not_captured(struct tb_http_server *server, struct tb_buf *out)
{
    static const struct {
        enum tb_why why;
        const char *decision;
    } rows[] = {
        {TB_WHY_RULE, "ignored"},
        {TB_WHY_NO_RULE, "ignored"},
        {TB_WHY_SAMPLE, "ignored"},
        {TB_WHY_ARCHIVED, "ignored"},
        {TB_WHY_NOTHING_TO_MIRROR, "refused"},
        {TB_WHY_GUARD, "refused"},
    };

    put_family(out, "tapbox_intake_not_captured_total", "counter",
               "Alerts that became no capture, by why.");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tb_buf_printf(out,
                      "tapbox_intake_not_captured_total{decision=\"%s\",why=\"%s\"} %llu\n",
                      rows[i].decision, tb_why_name(rows[i].why),
                      atomic_load(&server->counters.not_captured[rows[i].why]));
    }
    tb_buf_printf(out,
                  "tapbox_intake_not_captured_total{decision=\"ignored\",why=\"cooldown\"} "
                  "%llu\n",
                  atomic_load(&server->counters.intake[TB_INTAKE_COOLING]));
}

static void
put_value(struct tb_buf *out, const char *name, const char *type, const char *help,
          unsigned long long value)
{
    put_family(out, name, type, help);
    tb_buf_printf(out, "%s %llu\n", name, value);
}

static void
put_received(struct tb_http_server *server, struct tb_buf *out)
{
    const struct tb_http_counters *c = &server->counters;
    unsigned long long count = 0;

    put_family(out, "tapbox_intake_received_total", "counter",
               "Alerts that arrived, each delivery, by their way.");
    tb_buf_printf(out, "tapbox_intake_received_total{way=\"http\"} %llu\n",
                  atomic_load(&c->received));
    if (server->deps.queue != NULL) {
        tb_buf_printf(out, "tapbox_intake_received_total{way=\"sqs\"} %llu\n",
                      atomic_load(&server->deps.queue->received));
    }
    put_family(out, "tapbox_intake_not_taken_total", "counter",
               "Alerts and requests by HTTP that were not taken: nobody can read them, or the "
               "store did not take them.");
    tb_buf_printf(out,
                  "tapbox_intake_not_taken_total{why=\"not_understood\"} %llu\n"
                  "tapbox_intake_not_taken_total{why=\"not_stored\"} %llu\n",
                  atomic_load(&c->not_understood), atomic_load(&c->not_stored));
    put_value(out, "tapbox_alert_sources_left_out_total", "counter",
              "Instances and interfaces that alerts named beyond what is captured for one.",
              atomic_load(&c->sources_left_out));
    put_family(out, "tapbox_intake_seconds", "histogram",
               "From the headers of an alert or request by HTTP to its answer.");
    for (size_t i = 0; i <= TB_HTTP_LATENCIES; i++) {
        count += atomic_load(&c->latencies[i]);
        if (i < TB_HTTP_LATENCIES) {
            tb_buf_printf(out, "tapbox_intake_seconds_bucket{le=\"%g\"} %llu\n",
                          (double)tb_http_latency_ns[i] / (double)TB_NS_PER_S, count);
        }
    }
    tb_buf_printf(out,
                  "tapbox_intake_seconds_bucket{le=\"+Inf\"} %llu\n"
                  "tapbox_intake_seconds_sum %.6f\n"
                  "tapbox_intake_seconds_count %llu\n",
                  count, (double)atomic_load(&c->latency_sum_ns) / (double)TB_NS_PER_S, count);
}

static void
put_queue(const struct tb_queue_counters *queue, struct tb_buf *out)
{
    const struct {
        const char *result;
        unsigned long long value;
    } rows[] = {
        {"committed", atomic_load(&queue->committed)},
        {"not_understood", atomic_load(&queue->not_understood)},
        {"failed", atomic_load(&queue->failed)},
    };

    put_family(out, "tapbox_sqs_messages_total", "counter",
               "Messages of the alert queue, each delivery, by what came of it.");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tb_buf_printf(out, "tapbox_sqs_messages_total{result=\"%s\"} %llu\n", rows[i].result,
                      rows[i].value);
    }
    put_family(out, "tapbox_sqs_poll_failures_total", "counter",
               "Polls of the alert queue that failed, or were not made because the store takes "
               "nothing.");
    tb_buf_printf(out, "tapbox_sqs_poll_failures_total %llu\n",
                  atomic_load(&queue->polls_failed));
}

static void
put_sns_rows(const struct tb_sns *sns, const char *name, const char *label, size_t from,
             size_t to, struct tb_buf *out)
{
    for (size_t i = from; i < to; i++) {
        enum tb_sns_result result = (enum tb_sns_result)i;

        tb_buf_printf(out, "%s{%s=\"%s\"} %llu\n", name, label, tb_sns_result_name(result),
                      tb_sns_counted(sns, result));
    }
}

static void
put_sns(const struct tb_sns *sns, struct tb_buf *out)
{
    put_family(out, "tapbox_sns_messages_total", "counter",
               "Genuine messages of SNS by what they are; replayed: notifications whose alert "
               "was there already.");
    put_sns_rows(sns, "tapbox_sns_messages_total", "type", TB_SNS_NOTIFIED, TB_SNS_CONFIRMED,
                 out);
    put_family(out, "tapbox_sns_confirmations_total", "counter",
               "Subscriptions by what came of their confirmation.");
    put_sns_rows(sns, "tapbox_sns_confirmations_total", "result", TB_SNS_CONFIRMED,
                 TB_SNS_FIRST_REFUSAL, out);
    put_value(out, "tapbox_sns_subscriptions_unconfirmed", "gauge",
              "Subscriptions that SNS has not confirmed yet.", tb_sns_unconfirmed(sns));
    put_family(out, "tapbox_sns_refusals_total", "counter",
               "Messages of SNS that were refused, by reason.");
    put_sns_rows(sns, "tapbox_sns_refusals_total", "why", TB_SNS_FIRST_REFUSAL,
                 TB_SNS_RESULT_COUNT, out);
}

/* Whether a recording has had no packet for too long; false when it cannot be read now. */
static bool
has_no_traffic(const struct tb_http_server *server, const char *id, struct tb_capture *scratch)
{
    return tb_store_capture_get(server->deps.store, id, scratch, NULL) == TB_OK &&
           tb_http_has_no_traffic(server, scratch, NULL);
}

/* From the store, so that it is true after a restart too. */
static enum tb_err
put_captures(struct tb_http_server *server, struct tb_buf *out, struct tb_fail *fail)
{
    size_t counts[TB_CAPTURE_STATE_COUNT] = {0};
    struct tb_capture *scratch = malloc(sizeof(*scratch));
    struct tb_due *due = NULL;
    size_t count = 0, late = 0, empty = 0;
    enum tb_err err;

    if (scratch == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the metrics");
    }
    err = tb_store_due_list(server->deps.store, &due, &count, fail);
    if (err != TB_OK) {
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        counts[due[i].state]++;
        late += tb_capture_state_is_live(due[i].state) && due[i].deadline.utc_ns != 0 &&
                        tb_deadline_left_ns(&due[i].deadline) < 0
                    ? 1
                    : 0;
        empty +=
            due[i].state == TB_CAPTURE_RECORDING && has_no_traffic(server, due[i].id, scratch)
                ? 1
                : 0;
    }
    put_family(out, "tapbox_captures", "gauge", "Captures that have not ended, by state.");
    for (size_t i = 0; i < TB_CAPTURE_STATE_COUNT; i++) {
        if (!tb_capture_state_is_final((enum tb_capture_state)i)) {
            tb_buf_printf(out, "tapbox_captures{state=\"%s\"} %zu\n",
                          tb_capture_state_name((enum tb_capture_state)i), counts[i]);
        }
    }
    put_value(out, "tapbox_captures_past_deadline", "gauge",
              "Captures past their deadline that are not taken down yet.", late);
    put_value(
        out, "tapbox_store_log_bytes", "gauge",
        "Of the store's log of commits; if it stays over 64 MiB another program's reading "
        "keeps it from being emptied.",
        (unsigned long long)tb_store_log_bytes(server->deps.store));
    put_value(out, "tapbox_captures_no_traffic", "gauge",
              "Captures that record and have had no packet for capture.no_traffic_seconds.",
              empty);

out:
    free(due);
    free(scratch);
    return err;
}

/* received and what is no term of it (bytes, truncated) have families of their own. */
static void
put_recorder(const struct tb_recorder_host *host, struct tb_buf *out)
{
    put_value(out, "tapbox_recorder_start_time_seconds", "gauge",
              "When the recorder started, in seconds since 1970; its counters began then.",
              (unsigned long long)(host->started_utc_ns / TB_NS_PER_S));
    put_value(out, "tapbox_recorder_received_packets_total", "counter",
              "Packets to the VXLAN port that reached the host, and UDP fragments.",
              host->ledger.received);
    put_family(out, "tapbox_recorder_packets_total", "counter",
               "Where they went; the sum is what was received, less what is on its way.");
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        if (tb_ledger_fields[i].is_term) {
            tb_buf_printf(out, "tapbox_recorder_packets_total{to=\"%s\"} %llu\n",
                          tb_ledger_fields[i].name,
                          (unsigned long long)tb_ledger_get(&host->ledger, i));
        }
    }
    put_value(out, "tapbox_recorder_truncated_packets_total", "counter",
              "Packets that AWS or a snaplen cut.", host->ledger.truncated);
    put_value(out, "tapbox_recorder_written_bytes_total", "counter",
              "Captured bytes written, without the files' own.", host->ledger.written_bytes);
}

static void
put_aws(const struct tb_control_numbers *numbers, struct tb_buf *out)
{
    put_family(out, "tapbox_aws_requests_total", "counter",
               "Requests to AWS, each attempt, by what came of it.");
    for (size_t i = 0; i < TB_AWS_COUNTED_SERVICES; i++) {
        const struct tb_aws_counts *aws = &numbers->aws[i];

        tb_buf_printf(out,
                      "tapbox_aws_requests_total{service=\"%s\",result=\"ok\"} %llu\n"
                      "tapbox_aws_requests_total{service=\"%s\",result=\"throttled\"} %llu\n"
                      "tapbox_aws_requests_total{service=\"%s\",result=\"failed\"} %llu\n",
                      aws->service, aws->ok, aws->service, aws->throttled, aws->service,
                      aws->failed);
    }
}

static void
put_upload(const struct tb_uploader_numbers *upload, struct tb_buf *out)
{
    int64_t oldest_ns = upload->backlog.oldest_utc_ns;
    int64_t age_ns = oldest_ns == 0 ? 0 : tb_clock_utc_ns() - oldest_ns;

    put_value(out, "tapbox_upload_waiting_segments", "gauge",
              "Segments that S3 does not have yet, those on their way included.",
              upload->backlog.segments);
    put_value(out, "tapbox_upload_waiting_bytes", "gauge",
              "The same in bytes, less the parts that S3 has acknowledged.",
              upload->backlog.bytes);
    put_value(out, "tapbox_upload_oldest_seconds", "gauge",
              "Age of the last packet of the oldest of them.",
              age_ns > 0 ? (unsigned long long)(age_ns / TB_NS_PER_S) : 0);
    put_value(out, "tapbox_upload_busy_threads", "gauge", "Threads that send a segment now.",
              upload->busy);
    put_value(out, "tapbox_upload_pause_seconds", "gauge",
              "Left of the pause after S3 failed; 0: none.",
              (unsigned long long)((upload->pause_ns + TB_NS_PER_S - 1) / TB_NS_PER_S));
    put_value(out, "tapbox_uploaded_segments_total", "counter",
              "Segments that S3 has acknowledged.", upload->segments);
    put_value(out, "tapbox_uploaded_bytes_total", "counter",
              "The same in bytes, parts of segments on their way included.", upload->bytes);
    put_value(out, "tapbox_upload_failures_total", "counter",
              "Attempts to send a segment that failed; each is repeated.", upload->failures);
    put_value(out, "tapbox_upload_lost_segments_total", "counter",
              "Segments that were removed from the spool before S3 had them.", upload->lost);
}

static enum tb_err
put_control(struct tb_control *control, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_control_queue queue = {NULL, 0};
    struct tb_control_numbers numbers;
    enum tb_err err = tb_control_queue(control, &queue, fail);

    if (err != TB_OK) {
        return err;
    }
    free(queue.ids);
    tb_control_numbers(control, &numbers);
    put_value(out, "tapbox_queue_length", "gauge",
              "Captures that wait for a place (capture.max_concurrent).", queue.count);
    put_value(out, "tapbox_foreign_sessions", "gauge",
              "Mirror sessions of the account that tapbox did not make.",
              numbers.foreign_sessions);
    put_value(out, "tapbox_delete_failures_total", "counter",
              "Attempts to delete an AWS object that failed; each is repeated.",
              numbers.delete_failures);
    put_value(
        out, "tapbox_mirror_changes_total", "counter",
        "What others changed in tapbox's sessions and filters, as the reconciler found it.",
        numbers.mirror_changes);
    put_aws(&numbers, out);
    put_value(out, "tapbox_spool_bytes", "gauge",
              "Sealed segments on the local disk: what S3 has not acknowledged.",
              numbers.spool_bytes);
    put_upload(&numbers.upload, out);
    put_value(out, "tapbox_recorder_up", "gauge", "1: the recorder answers.",
              numbers.recorder_answers ? 1 : 0);
    if (numbers.recorder_answers) {
        put_recorder(&numbers.recorder, out);
    }
    return TB_OK;
}

/* What the manifest says of the clock, too; nothing where the kernel does not tell. */
static void
put_clock(struct tb_buf *out)
{
    struct tb_clock_state clock;

    if (!tb_clock_state_get(&clock)) {
        return;
    }
    put_value(out, "tapbox_clock_synchronised", "gauge",
              "1: the kernel says that somebody keeps this host's clock.",
              clock.synchronised ? 1 : 0);
    put_family(out, "tapbox_clock_offset_seconds", "gauge",
               "How far off the clock was, when that was measured last.");
    tb_buf_printf(out, "tapbox_clock_offset_seconds %.9f\n",
                  (double)clock.offset_ns / (double)TB_NS_PER_S);
    put_family(out, "tapbox_clock_max_error_seconds", "gauge",
               "How far off the clock may be by now; with nobody to keep it this grows.");
    tb_buf_printf(out, "tapbox_clock_max_error_seconds %.6f\n",
                  (double)clock.max_error_ns / (double)TB_NS_PER_S);
}

static void
put_summaries(struct tb_summary_live *summaries, struct tb_buf *out)
{
    struct tb_summary_live_numbers numbers;

    tb_summary_live_numbers(summaries, &numbers);
    put_value(out, "tapbox_summary_packets_total", "counter",
              "Packets that went into summaries.", numbers.packets);
    put_value(out, "tapbox_indicators_seen_total", "counter",
              "Peers, ports and domains of alerts that were seen for the first time.",
              numbers.sightings);
    put_value(out, "tapbox_summary_crashes_total", "counter",
              "Ends of the process that parses packets for summaries; it is started again.",
              numbers.crashes);
}

void
tb_http_get_metrics(struct tb_http_call *call)
{
    struct tb_http_server *server = call->server;
    struct tb_buf *out = &call->answer.body;
    struct tb_fail fail = {0};
    enum tb_err err;

    put_family(out, "tapbox_build_info", "gauge", "The version that runs.");
    tb_buf_put_str(out, "tapbox_build_info{version=\"" TB_VERSION "\"} 1\n");
    put_requests(server, out);
    put_intake(server, out);
    put_not_captured(server, out);
    put_received(server, out);
    if (server->deps.queue != NULL) {
        put_queue(server->deps.queue, out);
    }
    if (tb_sns_listens(server->deps.sns)) {
        put_sns(server->deps.sns, out);
    }
    put_value(out, "tapbox_http_connections_dropped_total", "counter",
              "Connections closed because they took too long, or made room for others.",
              atomic_load(&server->peers.dropped));
    err = put_captures(server, out, &fail);
    if (err == TB_OK && server->deps.control != NULL) {
        err = put_control(server->deps.control, out, &fail);
    }
    if (server->deps.summaries != NULL) {
        put_clock(out);
        put_summaries(server->deps.summaries, out);
    }
    if (err == TB_OK) {
        err = tb_buf_check(out, "metrics", &fail);
    }
    if (err != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    call->answer.status = 200;
    call->answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
}

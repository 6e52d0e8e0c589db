/* A capture as the API shows it.  openapi.json describes the same members. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/digest.h>

#include "http_int.h"

static struct tb_json *
request_json(const struct tb_capture_request *request)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *enis = tb_json_array();

    for (size_t i = 0; i < request->eni_count; i++) {
        tb_json_add_str(enis, request->enis[i]);
    }
    tb_json_set_text(out, "instance", request->instance);
    tb_json_set(out, "interfaces", enis);
    tb_json_set_text(out, "account", request->account);
    tb_json_set_text(out, "region", request->region);
    tb_json_set_int(out, "duration_seconds", request->duration_ns / TB_NS_PER_S);
    tb_json_set_text(out, "rule", request->rule);
    tb_json_set(out, "filter", tb_filter_json(&request->filter));
    tb_json_set_int(out, "packet_length", request->packet_length);
    tb_json_set_int(out, "priority", request->priority);
    tb_json_set_int(out, "snaplen", request->snaplen);
    tb_json_set_int(out, "max_bytes", (int64_t)request->max_bytes);
    tb_json_set_int(out, "max_packets", (int64_t)request->max_packets);
    tb_json_set_text(out, "bpf", request->bpf);
    tb_json_set_text(out, "reason", request->reason);
    tb_json_set_text(out, "case", request->case_id);
    tb_json_set_text(out, "finding_id", request->finding_id);
    tb_json_set_text(out, "finding_type", request->finding_type);
    tb_json_set_number(out, "severity", request->severity);
    tb_json_set_text(out, "requested_by", request->requested_by);
    return out;
}

static struct tb_json *
sources_json(const struct tb_capture *capture)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];
        struct tb_json *one = tb_json_object();
        char room[TB_CAPTURE_MAX_TEXT];

        tb_json_set_str(one, "eni", source->eni);
        tb_json_set_text(one, "instance", source->instance);
        tb_json_set_text(one, "ip", source->ip);
        tb_json_set_text(one, "mac", source->mac);
        tb_json_set_int(one, "vni", source->vni);
        tb_json_set_int(one, "session_number", source->session_number);
        tb_json_set_bool(one, "armed", source->armed);
        tb_json_set_text(one, "gap", tb_capture_source_gap(source, room));
        tb_json_add(out, one);
    }
    return out;
}

bool
tb_http_has_no_traffic(const struct tb_http_server *server, const struct tb_capture *capture,
                       const struct tb_record_status *live)
{
    return tb_capture_recorded_ns(capture) >= server->deps.config->no_traffic_s * TB_NS_PER_S &&
           capture->ledger.received == 0 && (live == NULL || live->ledger.received == 0);
}

static void TB_PRINTF(2, 3) add_line(struct tb_json *list, const char *fmt, ...)
{
    char line[400];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    tb_json_add_str(list, line);
}

/* What to look at when nothing arrives, in the order of what is most often the cause. */
static struct tb_json *
checklist_json(const struct tb_capture *capture, bool no_traffic)
{
    struct tb_json *out = tb_json_array();
    const struct tb_capture_source *source = NULL;
    char room[TB_CAPTURE_MAX_TEXT];

    for (size_t i = 0; i < capture->source_count && source == NULL; i++) {
        /* (one that is mirrored may have a gap all the same: sessions of others come first) */
        source = capture->sources[i].armed ||
                         tb_capture_source_gap(&capture->sources[i], room)[0] == '\0'
                     ? &capture->sources[i]
                     : NULL;
    }
    if (!no_traffic || source == NULL) {
        return out;
    }
    add_line(out, "Security group of the mirror target: it has to admit UDP 4789 from %s.",
             source->ip);
    add_line(out, "Route and network ACLs from %s (%s) to the mirror target, for UDP 4789.",
             source->subnet, source->vpc);
    add_line(
        out,
        "Mirror sessions of others on %s with a number below %u: a packet is mirrored once "
        "('tapbox list --foreign').",
        source->eni, (unsigned)source->session_number);
    add_line(out, "Type of %s: it has to be one that VPC traffic mirroring supports.",
             source->instance);
    add_line(out, "Traffic at all: does %s send or receive anything now?", source->eni);
    add_line(out,
             "Another sender or VNI than %s and %u: then unknown_vni of the recorder rises "
             "(tapbox_recorder_packets_total in /metrics).",
             source->ip, (unsigned)source->vni);
    return out;
}

/* Its place in the queue, 1 for the next; null when it does not wait for one. */
static void
set_queue_position(struct tb_json *object, const struct tb_http_server *server,
                   const struct tb_capture *capture, const struct tb_control_queue *queue)
{
    int before = -1;

    if (queue != NULL) {
        for (size_t i = 0; i < queue->count && before < 0; i++) {
            before = strcmp(queue->ids[i], capture->id) == 0 ? (int)i : -1;
        }
    } else if (capture->state == TB_CAPTURE_REQUESTED && server->deps.control != NULL) {
        before = tb_control_queue_position(server->deps.control, capture->id);
    }
    if (before < 0) {
        tb_json_set_null(object, "queue_position");
    } else {
        tb_json_set_int(object, "queue_position", before + 1);
    }
}

struct tb_json *
tb_http_capture_json(const struct tb_http_server *server, const struct tb_capture *capture,
                     const struct tb_control_queue *queue, const struct tb_record_status *live)
{
    bool no_traffic = tb_http_has_no_traffic(server, capture, live);
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "id", capture->id);
    tb_json_set_str(out, "state", tb_capture_state_name(capture->state));
    tb_json_set_str(out, "stop_reason",
                    capture->stop_reason == TB_STOP_NONE
                        ? NULL
                        : tb_stop_reason_name(capture->stop_reason));
    tb_json_set_time(out, "requested", capture->requested_utc_ns);
    tb_json_set_time(out, "recording", capture->recording_utc_ns);
    tb_json_set_time(out, "stopped", capture->stopped_utc_ns);
    tb_json_set_time(out, "ended", capture->ended_utc_ns);
    tb_json_set_time(out, "deadline", capture->deadline.utc_ns);
    if (capture->deadline.utc_ns != 0 && capture->stop_reason == TB_STOP_NONE &&
        !tb_capture_state_is_final(capture->state)) {
        int64_t left_ns = tb_deadline_left_ns(&capture->deadline);

        tb_json_set_int(out, "seconds_left", left_ns > 0 ? left_ns / TB_NS_PER_S : 0);
    } else {
        tb_json_set_null(out, "seconds_left");
    }
    tb_json_set_time(
        out, "extending_to",
        capture->extend_to_utc_ns > capture->deadline.utc_ns ? capture->extend_to_utc_ns : 0);
    set_queue_position(out, server, capture, queue);
    tb_json_set_bool(out, "no_traffic", no_traffic);
    tb_json_set(out, "checklist", checklist_json(capture, no_traffic));
    tb_json_set(out, "request", request_json(&capture->request));
    tb_json_set(out, "sources", sources_json(capture));
    tb_json_set_int(out, "alerts", capture->alert_count);
    tb_json_set(out, "ledger", tb_ledger_json(&capture->ledger));
    if (capture->error_code[0] != '\0' || capture->error_text[0] != '\0') {
        struct tb_json *error = tb_json_object();

        tb_json_set_text(error, "code", capture->error_code);
        tb_json_set_text(error, "text", capture->error_text);
        tb_json_set_text(error, "request_id", capture->error_request_id);
        tb_json_set(out, "error", error);
    } else {
        tb_json_set_null(out, "error");
    }
    return out;
}

/* --- one capture's own page --- */

static struct tb_json *
segment_json(const struct tb_segment_row *segment)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "name", segment->name);
    tb_json_set_str(out, "state",
                    segment->state == TB_SEGMENT_UPLOADED ? "uploaded"
                    : tb_segment_is_lost(segment)         ? "lost"
                                                          : "spooled");
    tb_json_set_int(out, "bytes", (int64_t)segment->bytes);
    tb_json_set_int(out, "acknowledged_bytes", (int64_t)segment->acknowledged_bytes);
    tb_json_set_int(out, "packets", (int64_t)segment->packets);
    tb_json_set_time(out, "first", segment->first_utc_ns);
    tb_json_set_time(out, "last", segment->last_utc_ns);
    tb_json_set_bool(out, "recovered", segment->recovered);
    tb_json_set_text(out, "damage", segment->damage);
    tb_json_set_hex(out, "sha256", tb_bytes_of(segment->sha256, sizeof(segment->sha256)));
    tb_json_set_text(out, "key", segment->s3_key);
    tb_json_set_text(out, "version", segment->s3_version);
    tb_json_set_text(out, "request_id", segment->s3_request_id);
    tb_json_set_time(out, "uploaded", segment->uploaded_utc_ns);
    return out;
}

static struct tb_json *
resource_json(const struct tb_resource *resource)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "kind", tb_resource_kind_name(resource->kind));
    tb_json_set_str(out, "state", tb_resource_state_name(resource->state));
    tb_json_set_text(out, "id", resource->aws_id);
    tb_json_set_text(out, "for", resource->key);
    tb_json_set_time(out, "created", resource->created_utc_ns);
    tb_json_set_time(out, "gone", resource->gone_utc_ns);
    tb_json_set_time(out, "expires", resource->expires_utc_s * TB_NS_PER_S);
    tb_json_set_text(out, "create_request_id", resource->create_request_id);
    tb_json_set_text(out, "delete_request_id", resource->delete_request_id);
    return out;
}

static struct tb_json *
live_json(const struct tb_record_status *status)
{
    static const char *const states[] = {
        [TB_RECORD_ARMED] = "armed",
        [TB_RECORD_CLOSING] = "closing",
        [TB_RECORD_CLOSED] = "closed",
    };
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "state", states[status->state]);
    tb_json_set_int(out, "segments", status->segments);
    tb_json_set_time(out, "first", status->first_utc_ns);
    tb_json_set_time(out, "last", status->last_utc_ns);
    tb_json_set_bool(out, "over_budget", status->budget_spent != TB_BUDGET_NONE);
    tb_json_set_int(out, "level", status->level);
    tb_json_set_int(out, "level_changes", status->level_changes);
    tb_json_set_time(out, "gap_from", status->gap_from_utc_ns);
    tb_json_set_time(out, "gap_to", status->gap_to_utc_ns);
    tb_json_set(out, "ledger", tb_ledger_json(&status->ledger));
    return out;
}

enum tb_err
tb_http_capture_details(const struct tb_http_server *server, const struct tb_capture *capture,
                        const struct tb_record_status *live, struct tb_json *into,
                        struct tb_fail *fail)
{
    struct tb_segment_row *segments = NULL;
    struct tb_resource *resources = NULL;
    size_t segment_count = 0, resource_count = 0;
    struct tb_json *list;
    enum tb_err err;

    err =
        tb_store_segment_list(server->deps.store, capture->id, &segments, &segment_count, fail);
    if (err == TB_OK) {
        err = tb_store_resource_list(server->deps.store, capture->id, true, &resources,
                                     &resource_count, fail);
    }
    if (err != TB_OK) {
        goto out;
    }
    list = tb_json_array();
    for (size_t i = 0; i < segment_count; i++) {
        tb_json_add(list, segment_json(&segments[i]));
    }
    tb_json_set(into, "segments", list);
    list = tb_json_array();
    for (size_t i = 0; i < resource_count; i++) {
        tb_json_add(list, resource_json(&resources[i]));
    }
    tb_json_set(into, "resources", list);
    if (live != NULL) {
        tb_json_set(into, "live", live_json(live));
    } else {
        tb_json_set_null(into, "live");
    }

out:
    free(segments);
    tb_resources_free(resources, resource_count);
    return err;
}

/* manifest.json: what a capture was, what it produced, and how complete it is. */
#include <tapbox/evidence.h>

#include <stdio.h>

#include <tapbox/json.h>

/* What AWS never mirrors, whatever the filter says (VPC Traffic Mirroring guide,
 * "Limitations"). */
static const char *const blind_spots[] = {
    "ARP",
    "DHCP",
    "instance metadata (169.254.169.254)",
    "NTP to the Amazon time service",
    "Windows activation",
    "inbound packets dropped by the source's network ACL or security groups",
    "packets that AWS left out of the mirror when the source's bandwidth was used up",
};

static void
set_digest(struct tb_json *object, const char *key, const uint8_t *octets)
{
    tb_json_set_hex(object, key, tb_bytes_of(octets, TB_SHA256_SIZE));
}

static struct tb_json *
request_json(const struct tb_capture_request *request)
{
    struct tb_json *out = tb_json_object();
    char severity[32];

    tb_json_set_text(out, "requested_by", request->requested_by);
    tb_json_set_text(out, "reason", request->reason);
    tb_json_set_text(out, "case", request->case_id);
    tb_json_set_text(out, "finding_id", request->finding_id);
    tb_json_set_text(out, "finding_type", request->finding_type);
    tb_json_set_text(out, "instance", request->instance);
    /* as text: JSON writers differ in how they write fractions, and the octets count here */
    (void)snprintf(severity, sizeof(severity), "%.1f", request->severity);
    tb_json_set_str(out, "severity", severity);
    tb_json_set_int(out, "duration_seconds", request->duration_ns / TB_NS_PER_S);
    tb_json_set_int(out, "snaplen", request->snaplen);
    tb_json_set_int(out, "max_bytes", (int64_t)request->max_bytes);
    tb_json_set_text(out, "bpf", request->bpf);
    return out;
}

static struct tb_json *
sources_json(const struct tb_capture *capture)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "eni", source->eni);
        tb_json_set_text(one, "instance", source->instance);
        tb_json_set_text(one, "mac", source->mac);
        tb_json_set_text(one, "ip", source->ip);
        tb_json_set_text(one, "subnet", source->subnet);
        tb_json_set_text(one, "vpc", source->vpc);
        tb_json_set_text(one, "account", source->account);
        tb_json_set_int(one, "vni", source->vni);
        tb_json_set_int(one, "session_number", source->session_number);
        tb_json_set_bool(one, "mirrored", source->armed);
        tb_json_set_text(one, "gap", source->gap);
        tb_json_add(out, one);
    }
    return out;
}

static struct tb_json *
alerts_json(const struct tb_manifest_input *input)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < input->alert_count; i++) {
        const struct tb_manifest_alert *alert = &input->alerts[i];
        struct tb_json *one = tb_json_object();
        char name[32];

        (void)snprintf(name, sizeof(name), "alerts/%04u.json", alert->row.number);
        tb_json_set_str(one, "name", name);
        tb_json_set_str(one, "adapter", alert->row.adapter);
        tb_json_set_text(one, "key", alert->row.key);
        tb_json_set_time(one, "received", alert->row.received_utc_ns);
        tb_json_set_text(one, "from", alert->row.remote);
        tb_json_set_text(one, "token", alert->row.token_name);
        tb_json_set_text(one, "decision_reason", alert->row.reason);
        tb_json_set_int(one, "bytes", (int64_t)alert->bytes);
        set_digest(one, "sha256", alert->sha256.octets);
        tb_json_add(out, one);
    }
    return out;
}

/* Segments that an earlier tapbox entered have none. */
static void
set_root(struct tb_json *segment, const uint8_t *root)
{
    static const uint8_t zeros[TB_SHA256_SIZE];

    if (memcmp(root, zeros, sizeof(zeros)) == 0) {
        tb_json_set_null(segment, "merkle_root");
    } else {
        set_digest(segment, "merkle_root", root);
    }
}

static struct tb_json *
segments_json(const struct tb_manifest_input *input)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < input->segment_count; i++) {
        const struct tb_segment_row *segment = &input->segments[i];
        struct tb_json *one;
        char name[TB_S3_KEY_SIZE];

        if (tb_segment_is_lost(segment)) {
            continue; /* a gap, not evidence */
        }
        one = tb_json_object();
        (void)snprintf(name, sizeof(name), "segments/%s", segment->name);
        tb_json_set_str(one, "name", name);
        tb_json_set_int(one, "bytes", (int64_t)segment->bytes);
        set_digest(one, "sha256", segment->sha256);
        set_root(one, segment->merkle_root);
        tb_json_set_int(one, "packets", (int64_t)segment->packets);
        tb_json_set_time(one, "first_packet", segment->first_utc_ns);
        tb_json_set_time(one, "last_packet", segment->last_utc_ns);
        tb_json_set_bool(one, "recovered", segment->recovered);
        tb_json_set_time(one, "uploaded", segment->uploaded_utc_ns);
        tb_json_set_text(one, "s3_version", segment->s3_version);
        tb_json_set_text(one, "s3_request_id", segment->s3_request_id);
        tb_json_add(out, one);
    }
    return out;
}

static struct tb_json *
resources_json(const struct tb_manifest_input *input)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < input->resource_count; i++) {
        const struct tb_resource *resource = &input->resources[i];
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "kind", tb_resource_kind_name(resource->kind));
        tb_json_set_str(one, "state", tb_resource_state_name(resource->state));
        tb_json_set_text(one, "id", resource->aws_id);
        tb_json_set_text(one, "for", resource->key);
        tb_json_set_text(one, "client_token", resource->client_token);
        tb_json_set_text(one, "create_request_id", resource->create_request_id);
        tb_json_set_text(one, "delete_request_id", resource->delete_request_id);
        tb_json_set_time(one, "created", resource->created_utc_ns);
        tb_json_set_time(one, "gone", resource->gone_utc_ns);
        tb_json_add(out, one);
    }
    return out;
}

static void
add_gap(struct tb_json *gaps, const char *kind, uint64_t packets, const char *text)
{
    struct tb_json *one = tb_json_object();

    tb_json_set_str(one, "kind", kind);
    if (packets > 0) {
        tb_json_set_int(one, "packets", (int64_t)packets);
    }
    tb_json_set_str(one, "text", text);
    tb_json_add(gaps, one);
}

/* The verdict: "no" when something is known to be missing, "unknown" when nobody can tell. */
static struct tb_json *
completeness_json(const struct tb_manifest_input *input)
{
    const struct tb_capture *capture = input->capture;
    const struct tb_ledger *own = &capture->ledger;
    struct tb_json *out = tb_json_object();
    struct tb_json *gaps = tb_json_array();
    uint64_t in_segments = 0;
    bool lost = false;
    bool unknown = input->host_ledger == NULL;

    for (size_t i = 0; i < capture->source_count; i++) {
        if (!capture->sources[i].armed) {
            char text[2 * TB_CAPTURE_MAX_TEXT];

            (void)snprintf(text, sizeof(text), "%s was not mirrored: %s",
                           capture->sources[i].eni,
                           capture->sources[i].gap[0] != 0 ? capture->sources[i].gap
                                                           : "no session was made");
            add_gap(gaps, "source", 0, text);
            lost = true;
        } else if (capture->sources[i].gap[0] != 0) {
            char text[2 * TB_CAPTURE_MAX_TEXT];

            (void)snprintf(text, sizeof(text), "%s: %s", capture->sources[i].eni,
                           capture->sources[i].gap);
            add_gap(gaps, "source", 0, text);
            unknown = true;
        }
    }
    if (own->queue_dropped > 0) {
        add_gap(gaps, "queue_dropped", own->queue_dropped, "compression did not keep up");
        lost = true;
    }
    if (own->spool_full > 0) {
        add_gap(gaps, "spool_full", own->spool_full, "no room left on the capture host's disk");
        lost = true;
    }
    if (own->over_budget > 0) {
        add_gap(gaps, "over_budget", own->over_budget, "the byte budget was used up");
        lost = true;
    }
    if (input->host_ledger == NULL) {
        add_gap(gaps, "host_ledger", 0,
                "the service or its recorder was restarted during the capture: what the host "
                "dropped in that time is unknown");
    } else if (input->host_ledger->ring_dropped > 0) {
        add_gap(
            gaps, "ring_dropped", input->host_ledger->ring_dropped,
            "dropped by the kernel's ring for the whole host: at most this many are of this "
            "capture");
        unknown = true;
    }
    if (input->host_ledger != NULL &&
        input->host_ledger->fragments + input->host_ledger->malformed > 0) {
        add_gap(
            gaps, "unreadable", input->host_ledger->fragments + input->host_ledger->malformed,
            "fragments of, and malformed, VXLAN packets for the whole host: whose they were "
            "cannot be told");
        unknown = true;
    }
    for (size_t i = 0; i < input->segment_count; i++) {
        char text[256];

        in_segments += input->segments[i].packets;
        if (tb_segment_is_lost(&input->segments[i])) {
            (void)snprintf(text, sizeof(text),
                           "segments/%.100s was removed from the capture host's disk before S3 "
                           "had it",
                           input->segments[i].name);
            add_gap(gaps, "lost", input->segments[i].packets, text);
            lost = true;
        } else if (input->segments[i].recovered) {
            (void)snprintf(text, sizeof(text),
                           "segments/%.150s was cut off and repaired to its last whole chunk",
                           input->segments[i].name);
            add_gap(gaps, "recovered", 0, text);
            lost = true;
        }
    }
    if (in_segments != own->written) {
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "the recorder counted %llu packets written, the segments hold %llu",
                       (unsigned long long)own->written, (unsigned long long)in_segments);
        add_gap(gaps, "count", 0, text);
        unknown = true;
    }
    tb_json_set_str(out, "complete", lost ? "no" : unknown ? "unknown" : "yes");
    tb_json_set(out, "gaps", gaps);
    return out;
}

static struct tb_json *
chain_json(const struct tb_manifest_place *place)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "key", place->key);
    tb_json_set_int(out, "sequence", place->sequence);
    if (place->before != NULL) {
        set_digest(out, "previous", place->before->octets);
    } else {
        tb_json_set_null(out, "previous");
    }
    return out;
}

static struct tb_json *
custody_json(const struct tb_custody_head *head)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "name", "custody/0001.jsonl");
    tb_json_set_int(out, "entries", head->number);
    set_digest(out, "head", head->sha256.octets);
    return out;
}

static struct tb_json *
clock_json(const struct tb_clock_state *state)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_bool(out, "synchronised", state->synchronised);
    tb_json_set_int(out, "offset_ns", state->offset_ns);
    tb_json_set_int(out, "max_error_ns", state->max_error_ns);
    return out;
}

enum tb_err
tb_manifest_build(const struct tb_manifest_input *input, const struct tb_manifest_place *place,
                  struct tb_buf *out, struct tb_fail *fail)
{
    const struct tb_capture *capture = input->capture;
    struct tb_json *root = tb_json_object();
    struct tb_json *times = tb_json_object();
    struct tb_json *host = tb_json_object();
    struct tb_json *blind = tb_json_array();
    enum tb_err err;

    tb_json_set_str(root, "format", "tapbox-manifest/1");
    tb_json_set_str(root, "capture", capture->id);
    tb_json_set_str(root, "tool", "tapbox " TB_VERSION);
    tb_json_set_str(root, "stop_reason", tb_stop_reason_name(capture->stop_reason));
    tb_json_set(root, "request", request_json(&capture->request));
    tb_json_set(root, "times", times);
    tb_json_set_time(times, "requested", capture->requested_utc_ns);
    tb_json_set_time(times, "recording", capture->recording_utc_ns);
    tb_json_set_time(times, "stopped", capture->stopped_utc_ns);
    tb_json_set_time(times, "deadline", capture->deadline.utc_ns);
    tb_json_set_time(times, "manifest", input->now_utc_ns);
    tb_json_set(root, "host", host);
    tb_json_set_text(host, "name", input->host_name);
    tb_json_set_text(host, "kernel", input->kernel);
    tb_json_set_text(host, "account", input->account);
    tb_json_set_text(host, "region", input->region);
    if (input->clock != NULL) {
        tb_json_set(host, "clock", clock_json(input->clock));
    } else {
        tb_json_set_null(host, "clock");
    }
    tb_json_set(root, "chain", chain_json(place));
    tb_json_set(root, "custody", custody_json(&place->custody));
    tb_json_set(root, "sources", sources_json(capture));
    tb_json_set(root, "alerts", alerts_json(input));
    tb_json_set(root, "aws_objects", resources_json(input));
    tb_json_set(root, "segments", segments_json(input));
    tb_json_set(root, "ledger", tb_ledger_json(&capture->ledger));
    if (input->host_ledger != NULL) {
        tb_json_set(root, "host_ledger", tb_ledger_json(input->host_ledger));
    } else {
        tb_json_set_null(root, "host_ledger");
    }
    tb_json_set(root, "completeness", completeness_json(input));
    for (size_t i = 0; i < sizeof(blind_spots) / sizeof(blind_spots[0]); i++) {
        tb_json_add_str(blind, blind_spots[i]);
    }
    tb_json_set(root, "never_mirrored_by_aws", blind);
    if (capture->error_text[0] != 0) {
        struct tb_json *error = tb_json_object();

        tb_json_set_text(error, "code", capture->error_code);
        tb_json_set_text(error, "text", capture->error_text);
        tb_json_set_text(error, "request_id", capture->error_request_id);
        tb_json_set(root, "last_error", error);
    }
    err = tb_json_dump(root, false, out, fail);
    if (err == TB_OK) {
        tb_buf_put_str(out, "\n");
        err = tb_buf_check(out, "the manifest", fail);
    }
    tb_json_free(root);
    return err;
}

void
tb_sums_add(struct tb_buf *out, const struct tb_sha256 *sha256, const char *name)
{
    char hex[TB_SHA256_HEX_SIZE];

    tb_sha256_hex(hex, sha256);
    tb_buf_printf(out, "%s  %s\n", hex, name);
}

/* manifest.json: what a capture was, what it produced, and how complete it is. */
#include <tapbox/evidence.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/build.h>
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
    ("packets that AWS left out of the mirror when the source's bandwidth was used up "
     "(skipped_by_aws counts them)"),
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
    tb_json_set_int(out, "packet_length", request->packet_length);
    tb_json_set_text(out, "rule", request->rule);
    tb_json_set_int(out, "max_bytes", (int64_t)request->max_bytes);
    tb_json_set_int(out, "max_packets", (int64_t)request->max_packets);
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
        char room[TB_CAPTURE_MAX_TEXT];

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
        tb_json_set_text(one, "gap", tb_capture_source_gap(source, room));
        tb_json_add(out, one);
    }
    return out;
}

static struct tb_json *
summary_json(struct tb_bytes summary)
{
    struct tb_json *out = tb_json_object();
    struct tb_sha256 sha256;

    tb_json_set_str(out, "name", "summary.json");
    tb_json_set_int(out, "bytes", (int64_t)summary.len);
    if (tb_sha256(summary, &sha256) == TB_OK) {
        set_digest(out, "sha256", sha256.octets);
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
        tb_json_set_text(one, "rule", alert->row.rule);
        if (alert->row.has_filter) {
            tb_json_set(one, "filter", tb_filter_json(&alert->row.filter));
        } else {
            tb_json_set_null(one, "filter");
        }
        tb_json_set_int(one, "bytes", (int64_t)alert->bytes);
        set_digest(one, "sha256", alert->sha256.octets);
        tb_json_add(out, one);
    }
    return out;
}

/* What the mirror let through at the end.  It is wider than what the first alert asked for when
 * others joined that needed more: from when on, the custody log tells (`widen_filter`).  What
 * an alert of an earlier tapbox asked for is not known. */
static struct tb_json *
filter_json(const struct tb_manifest_input *input)
{
    const struct tb_filter *filter = &input->capture->request.filter;
    const struct tb_alert_row *first = input->alert_count > 0 ? &input->alerts[0].row : NULL;
    struct tb_json *out = tb_filter_json(filter);

    tb_json_set_bool(out, "in_place", !input->capture->filter_due);
    if (first != NULL && first->has_filter) {
        tb_json_set_bool(out, "widened", !tb_filter_covers(&first->filter, filter));
    } else {
        tb_json_set_null(out, "widened");
    }
    return out;
}

/* Segments that are damaged, or that an earlier tapbox entered, have none. */
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
        tb_json_set_text(one, "s3_encryption", segment->s3_sse);
        tb_json_set_text(one, "s3_kms_key", segment->s3_kms_key);
        tb_json_add(out, one);
    }
    return out;
}

/* What S3 made of it stands with each segment. */
static struct tb_json *
storage_json(const struct tb_manifest_storage *storage)
{
    const struct {
        const char *key, *value;
    } texts[] = {{"encryption", storage->sse},
                 {"kms_key", storage->kms_key},
                 {"object_lock", storage->lock_mode},
                 {"storage_class", storage->storage_class},
                 {"tags", storage->tags}};
    struct tb_json *out = tb_json_object();

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        tb_json_set_text(out, texts[i].key, texts[i].value != NULL ? texts[i].value : "");
    }
    if (storage->lock_mode != NULL && storage->lock_mode[0] != '\0') {
        tb_json_set_int(out, "retention_seconds", storage->retention_s);
    } else {
        tb_json_set_null(out, "retention_seconds");
    }
    tb_json_set_bool(out, "legal_hold", storage->legal_hold);
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
        tb_json_set_text(one, "request", resource->params);
        tb_json_set_text(one, "create_request_id", resource->create_request_id);
        tb_json_set_text(one, "delete_request_id", resource->delete_request_id);
        tb_json_set_time(one, "created", resource->created_utc_ns);
        tb_json_set_time(one, "gone", resource->gone_utc_ns);
        tb_json_add(out, one);
    }
    return out;
}

/* What is known to be missing, and what nobody can tell. */
struct verdict {
    struct tb_json *gaps;
    bool lost, unknown;
};

static void TB_PRINTF(4, 5)
    add_gap(struct verdict *verdict, const char *kind, uint64_t packets, const char *fmt, ...)
{
    struct tb_json *one = tb_json_object();
    char text[TB_SEGMENT_DAMAGE_SIZE + TB_CAPTURE_MAX_TEXT];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    tb_json_set_str(one, "kind", kind);
    if (packets > 0) {
        tb_json_set_int(one, "packets", (int64_t)packets);
    }
    tb_json_set_str(one, "text", text);
    tb_json_add(verdict->gaps, one);
}

static void
judge_sources(struct verdict *verdict, const struct tb_capture *capture)
{
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];
        char room[TB_CAPTURE_MAX_TEXT];
        const char *gap = tb_capture_source_gap(source, room);

        if (!source->armed) {
            add_gap(verdict, "source", 0, "%s was not mirrored: %s", source->eni,
                    gap[0] != 0 ? gap : "no session was made");
            verdict->lost = true;
        } else if (gap[0] != 0) {
            add_gap(verdict, "source", 0, "%s: %s", source->eni, gap);
            verdict->unknown = true;
        }
    }
}

static void
judge_ledgers(struct verdict *verdict, const struct tb_capture *capture,
              const struct tb_ledger *host)
{
    const struct tb_ledger *own = &capture->ledger;
    const char *budget = capture->stop_reason == TB_STOP_PACKETS
                             ? "the packet budget was used up"
                             : "the byte budget was used up";
    const struct {
        const char *kind;
        uint64_t packets;
        const char *text;
    } losses[] = {
        {"queue_dropped", own->queue_dropped, "in the recorder's memory when it ended"},
        {"spool_full", own->spool_full, "no room left on the capture host's disk"},
        {"over_budget", own->over_budget, budget},
    };

    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        if (losses[i].packets > 0) {
            add_gap(verdict, losses[i].kind, losses[i].packets, "%s", losses[i].text);
            verdict->lost = true;
        }
    }
    if (host == NULL) {
        add_gap(verdict, "host_ledger", 0,
                "the service or its recorder was restarted during the capture: what the host "
                "dropped in that time is unknown");
        verdict->unknown = true;
        return;
    }
    if (host->ring_dropped > 0) {
        add_gap(
            verdict, "ring_dropped", host->ring_dropped,
            "dropped by the kernel's ring for the whole host: at most this many are of this "
            "capture");
        verdict->unknown = true;
    }
    if (host->fragments + host->malformed > 0) {
        add_gap(
            verdict, "unreadable", host->fragments + host->malformed,
            "fragments of, and malformed, VXLAN packets for the whole host: whose they were "
            "cannot be told");
        verdict->unknown = true;
    }
}

/* The disk did not give it as it was written. */
static void
judge_damaged(struct verdict *verdict, const struct tb_segment_row *segment,
              uint64_t *in_segments)
{
    add_gap(verdict, "damaged", segment->missing_packets,
            "segments/%.100s could not be read as it was written on the capture host's disk, "
            "where it is kept in unreadable/; missing: %s",
            segment->name, segment->damage);
    *in_segments += segment->missing_packets;
    verdict->lost = true;
}

static void
judge_segments(struct verdict *verdict, const struct tb_manifest_input *input)
{
    uint64_t written = input->capture->ledger.written, in_segments = 0;

    for (size_t i = 0; i < input->segment_count; i++) {
        in_segments += input->segments[i].packets;
        if (input->segments[i].damage[0] != '\0') {
            judge_damaged(verdict, &input->segments[i], &in_segments);
        } else if (tb_segment_is_lost(&input->segments[i])) {
            add_gap(verdict, "lost", input->segments[i].packets,
                    "segments/%.100s was removed from the capture host's disk before S3 had it",
                    input->segments[i].name);
            verdict->lost = true;
        } else if (tb_segment_is_damaged(&input->segments[i])) {
            add_gap(
                verdict, "damaged", 0,
                "segments/%.100s was damaged on the capture host's disk: its index cannot be "
                "read, what it holds is not counted",
                input->segments[i].name);
            verdict->lost = true;
        } else if (input->segments[i].recovered) {
            add_gap(verdict, "recovered", 0,
                    "segments/%.150s was cut off and repaired to its last whole chunk",
                    input->segments[i].name);
            verdict->lost = true;
        }
    }
    if (in_segments != written) {
        add_gap(verdict, "count", 0,
                "the recorder counted %llu packets written, the segments hold %llu",
                (unsigned long long)written, (unsigned long long)in_segments);
        verdict->unknown = true;
    }
}

/* Mirroring yields to the source's own traffic: only CloudWatch knows what that cost. */
static void
judge_skips(struct verdict *verdict, const struct tb_manifest_input *input)
{
    for (size_t i = 0; i < input->skip_count; i++) {
        const struct tb_manifest_skips *skips = &input->skips[i];
        uint64_t packets = skips->packets_in + skips->packets_out;

        if (skips->octets_in + skips->octets_out + packets > 0) {
            add_gap(
                verdict, "skipped_by_aws", packets,
                "CloudWatch: %llu octets to and %llu from %s matched the filter and were not "
                "mirrored, in the 5-minute periods of the capture",
                (unsigned long long)skips->octets_in, (unsigned long long)skips->octets_out,
                skips->instance);
            verdict->lost = true;
        }
        if (!skips->asked) {
            add_gap(verdict, "skips_unknown", 0,
                    "whether AWS left packets of %s out of the mirror is not known: %s",
                    skips->instance, skips->why);
            verdict->unknown = true;
        } else if (skips->known < skips->periods) {
            add_gap(verdict, "skips_unknown", 0,
                    "whether AWS left packets of %s out of the mirror is known for %u of %u "
                    "5-minute periods: CloudWatch has no numbers of the others",
                    skips->instance, skips->known, skips->periods);
            verdict->unknown = true;
        }
    }
}

/* The verdict: "no" when something is known to be missing, "unknown" when nobody can tell. */
static struct tb_json *
completeness_json(const struct tb_manifest_input *input)
{
    struct tb_json *out = tb_json_object();
    struct verdict verdict = {.gaps = tb_json_array()};

    judge_sources(&verdict, input->capture);
    judge_ledgers(&verdict, input->capture, input->host_ledger);
    judge_segments(&verdict, input);
    judge_skips(&verdict, input);
    tb_json_set_str(out, "complete", verdict.lost ? "no" : verdict.unknown ? "unknown" : "yes");
    tb_json_set(out, "gaps", verdict.gaps);
    return out;
}

static struct tb_json *
skips_json(const struct tb_manifest_input *input)
{
    struct tb_json *out = tb_json_array();

    for (size_t i = 0; i < input->skip_count; i++) {
        const struct tb_manifest_skips *skips = &input->skips[i];
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "instance", skips->instance);
        tb_json_set_bool(one, "asked", skips->asked);
        tb_json_set_int(one, "octets_in", (int64_t)skips->octets_in);
        tb_json_set_int(one, "octets_out", (int64_t)skips->octets_out);
        tb_json_set_int(one, "packets_in", (int64_t)skips->packets_in);
        tb_json_set_int(one, "packets_out", (int64_t)skips->packets_out);
        tb_json_set_int(one, "periods", skips->periods);
        tb_json_set_int(one, "periods_known", skips->known);
        tb_json_add(out, one);
    }
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

static void
set_head(struct tb_json *log, const struct tb_custody_head *head)
{
    tb_json_set_int(log, "entries", head->number);
    set_digest(log, "head", head->sha256.octets);
}

static struct tb_json *
custody_json(const struct tb_manifest_place *place)
{
    struct tb_json *out = tb_json_object();
    struct tb_json *host = tb_json_object();

    tb_json_set_str(out, "name", "custody/0001.jsonl");
    set_head(out, &place->custody);
    tb_json_set_str(host, "log", place->host_log);
    set_head(host, &place->host);
    tb_json_set(out, "host", host);
    return out;
}

/* As delivered: AWS signed these octets. */
static void
set_octets(struct tb_json *object, const char *key, struct tb_bytes octets)
{
    char *text = strndup((const char *)octets.at, octets.len);

    tb_json_set_text(object, key, text);
    free(text);
}

static void
add_identity(struct tb_json *host, const struct tb_manifest_input *input)
{
    struct tb_json *document = NULL;
    struct tb_json *identity;

    if (input->identity_document.len == 0 ||
        tb_json_parse(input->identity_document, &document, NULL) != TB_OK) {
        tb_json_set_null(host, "identity");
        return;
    }
    identity = tb_json_object();
    tb_json_set_text(identity, "instance", tb_json_str(document, "/instanceId"));
    tb_json_set_text(identity, "image", tb_json_str(document, "/imageId"));
    tb_json_set_text(identity, "instance_type", tb_json_str(document, "/instanceType"));
    set_octets(identity, "document", input->identity_document);
    set_octets(identity, "rsa2048", input->identity_rsa2048);
    tb_json_set(host, "identity", identity);
    tb_json_free(document);
}

static struct tb_json *
clock_json(const struct tb_clock_state *state)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_bool(out, "synchronised", state->synchronised);
    tb_json_set_int(out, "offset_ns", state->offset_ns);
    tb_json_set_int(out, "max_error_ns", state->max_error_ns);
    tb_json_set_text(out, "source", state->source);
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
    tb_json_set_text(root, "build_id", tb_build_id());
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
    add_identity(host, input);
    tb_json_set(root, "chain", chain_json(place));
    tb_json_set(root, "custody", custody_json(place));
    tb_json_set(root, "sources", sources_json(capture));
    tb_json_set(root, "filter", filter_json(input));
    tb_json_set(root, "alerts", alerts_json(input));
    if (input->summary.len > 0) {
        tb_json_set(root, "summary", summary_json(input->summary));
    }
    tb_json_set(root, "aws_objects", resources_json(input));
    tb_json_set(root, "storage", storage_json(&input->storage));
    tb_json_set(root, "segments", segments_json(input));
    tb_json_set(root, "ledger", tb_ledger_json(&capture->ledger));
    if (input->host_ledger != NULL) {
        tb_json_set(root, "host_ledger", tb_ledger_json(input->host_ledger));
    } else {
        tb_json_set_null(root, "host_ledger");
    }
    tb_json_set(root, "skipped_by_aws", skips_json(input));
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

/* What the recorder has to know about a capture. */
#include "control_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

static enum tb_err
parse_mac(const char *text, uint8_t out[6], struct tb_fail *fail)
{
    char hex[13];
    size_t n = 0;
    const char *at = text;

    for (; *at != 0 && n < sizeof(hex) - 1; at++) {
        if (*at != ':') {
            hex[n++] = *at;
        }
    }
    hex[n] = 0;
    if (*at != 0 || tb_unhex(out, 6, hex) != TB_OK) {
        return tb_fail_set(fail, TB_EFORMAT, "'%s' is not a MAC address", text);
    }
    return TB_OK;
}

static enum tb_err
fill_source(const struct tb_capture_source *source, struct tb_record_source *out,
            struct tb_fail *fail)
{
    out->vni = source->vni;
    (void)tb_str_copy(out->eni, sizeof(out->eni), source->eni);
    (void)snprintf(out->description, sizeof(out->description), "%.20s %.46s VNI %u",
                   source->instance, source->ip, source->vni);
    memset(out->outer, 0, sizeof(out->outer));
    out->outer[10] = 0xff; /* ::ffff:a.b.c.d */
    out->outer[11] = 0xff;
    if (inet_pton(AF_INET, source->ip, out->outer + 12) != 1 &&
        inet_pton(AF_INET6, source->ip, out->outer) != 1) {
        return tb_fail_set(fail, TB_EFORMAT, "'%s' is not an IP address", source->ip);
    }
    return parse_mac(source->mac, out->mac, fail);
}

/* The end of what is known to be recorded, when nobody saw the recorder end. */
static int64_t
known_until(struct tb_control *control, const struct tb_capture *capture)
{
    struct tb_segment_row *segments = NULL;
    int64_t until = capture->recording_utc_ns;
    size_t count = 0;

    if (tb_store_segment_list(control->deps.store, capture->id, &segments, &count, NULL) !=
        TB_OK) {
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        until = segments[i].last_utc_ns > until ? segments[i].last_utc_ns : until;
    }
    free(segments);
    return until;
}

void
control_record_base(struct tb_control *control, const struct tb_capture *capture,
                    struct tb_record_base *out)
{
    *out = (struct tb_record_base){.known_utc_ns = 0};
    if (tb_recorder_last(control->deps.recorder, capture->id, out, NULL) != TB_OK &&
        capture->ledger.received != 0) {
        out->known_utc_ns = known_until(control, capture);
        out->first_utc_ns = capture->recording_utc_ns;
        out->last_utc_ns = out->known_utc_ns;
        out->ledger = capture->ledger;
    }
}

void
control_note_gap(struct tb_control *control, const char *capture_id,
                 const struct tb_record_base *base)
{
    struct tb_json *detail;
    char from[TB_TIME_TEXT_SIZE];
    char to[TB_TIME_TEXT_SIZE];
    struct tb_fail fail;

    if (base->known_utc_ns == 0) {
        return;
    }
    tb_time_format_ns(from, base->known_utc_ns);
    tb_time_format_ns(to, tb_clock_utc_ns());
    tb_log(TB_LOG_WARN, capture_id, "no recorder from %s to %s", from, to);
    detail = tb_json_object();
    tb_json_set_str(detail, "from", from);
    tb_json_set_str(detail, "to", to);
    tb_json_set_int(detail, "received_before", (int64_t)base->ledger.received);
    if (tb_store_custody_add(control->deps.store, capture_id, "recorder_gap", NULL, detail,
                             &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture_id, &fail, "cannot note the gap");
    }
}

enum tb_err
control_record_spec(struct tb_control *control, const struct tb_capture *capture,
                    struct tb_record_spec *out, struct tb_bpf_insn **out_bpf,
                    struct tb_fail *fail)
{
    const struct tb_capture_request *request = &capture->request;
    const struct tb_config *config = control->deps.config;
    enum tb_err err = TB_OK;

    memset(out, 0, sizeof(*out));
    *out_bpf = NULL;
    (void)tb_str_copy(out->capture_id, sizeof(out->capture_id), capture->id);
    (void)tb_str_copy(out->case_id, sizeof(out->case_id), request->case_id);
    (void)tb_str_copy(out->reason, sizeof(out->reason), request->reason);
    (void)tb_str_copy(out->finding_id, sizeof(out->finding_id), request->finding_id);
    (void)tb_str_copy(out->finding_type, sizeof(out->finding_type), request->finding_type);
    (void)tb_str_copy(out->host, sizeof(out->host), control->host_name);
    (void)tb_str_copy(out->bpf_text, sizeof(out->bpf_text), request->bpf);
    out->snaplen = request->snaplen;
    out->max_bytes = request->max_bytes;
    out->max_packets = request->max_packets;
    out->rotate_bytes = config->rotate_bytes;
    out->rotate_s = config->rotate_s;
    out->deadline_boot_ns = tb_deadline_is_of_this_boot(&capture->deadline)
                                ? capture->deadline.boot_ns
                                : tb_clock_boot_ns() + tb_deadline_left_ns(&capture->deadline);
    control_record_base(control, capture, &out->base);
    for (size_t i = 0; i < capture->source_count; i++) {
        if (capture->sources[i].vni == 0) {
            continue; /* a named gap */
        }
        err = fill_source(&capture->sources[i], &out->sources[out->source_count], fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%s", capture->sources[i].eni);
            return err;
        }
        out->source_count++;
    }
    if (request->bpf[0] != 0) {
        err = tb_bpf_compile(request->bpf, out_bpf, &out->bpf_count, fail);
        out->bpf = *out_bpf;
    }
    return err;
}

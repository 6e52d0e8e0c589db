/* What AWS left out of the mirror, asked of CloudWatch when a capture is sealed. */
#include "control_int.h"

#include <stdio.h>

#include <tapbox/aws_cloudwatch.h>
#include <tapbox/log.h>

static bool
is_listed(const struct tb_manifest_skips *list, size_t count, const char *instance)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].instance, instance) == 0) {
            return true;
        }
    }
    return false;
}

/* By AWS's clock, whatever this host's has been set to. */
struct window {
    int64_t from_utc_s, to_utc_s;
};

static struct window
window_of(struct tb_control *control, const struct tb_capture *capture)
{
    int64_t ahead_ns = control_aws_now_ns(control) - tb_store_steady_ns(control->deps.store);
    struct window out = {(capture->recording_steady_ns + ahead_ns) / TB_NS_PER_S,
                         (capture->stopped_steady_ns + ahead_ns + TB_NS_PER_S - 1) /
                             TB_NS_PER_S};

    if (out.to_utc_s <= out.from_utc_s) {
        out.to_utc_s = out.from_utc_s + 1;
    }
    return out;
}

/* True when the answer may be another in a while: CloudWatch is minutes late. */
static bool
ask(struct tb_control *control, const struct tb_capture *capture, struct tb_manifest_skips *one)
{
    struct tb_mirror_skips skips;
    struct control_account *account = NULL;
    struct tb_fail why = {.text = ""};
    enum tb_err err = control_account_of(control, &capture->request, &account, &why);

    if (err == TB_OK) {
        err = control_learn_aws_time(account, &why);
    }
    if (err == TB_OK) {
        const struct window window = window_of(control, capture);

        err = tb_cloudwatch_mirror_skips(account->aws, one->instance, window.from_utc_s,
                                         window.to_utc_s, &skips, &why);
    }
    if (err != TB_OK) {
        (void)tb_str_copy(one->why, sizeof(one->why), why.text);
        return tb_err_is_retryable(err);
    }
    one->asked = true;
    one->octets_in = skips.octets_in;
    one->octets_out = skips.octets_out;
    one->packets_in = skips.packets_in;
    one->packets_out = skips.packets_out;
    one->periods = skips.periods;
    one->known = skips.known;
    return skips.known < skips.periods;
}

bool
control_skips_get(struct tb_control *control, const struct tb_capture *capture,
                  struct tb_manifest_skips out[TB_CAPTURE_MAX_SOURCES], size_t *out_count)
{
    int64_t wait_until_ns =
        capture->stopped_steady_ns + control->deps.config->evidence_metrics_wait_ns;
    bool is_early = false;

    *out_count = 0;
    if (capture->recording_utc_ns == 0 || capture->stopped_utc_ns == 0) {
        return true; /* nothing was ever mirrored */
    }
    for (size_t i = 0; i < capture->source_count; i++) {
        const struct tb_capture_source *source = &capture->sources[i];

        if (source->armed && source->instance[0] != '\0' &&
            !is_listed(out, *out_count, source->instance)) {
            out[*out_count] = (struct tb_manifest_skips){.instance = source->instance};
            is_early = ask(control, capture, &out[*out_count]) || is_early;
            (*out_count)++;
        }
    }
    return !is_early || tb_store_steady_ns(control->deps.store) >= wait_until_ns;
}

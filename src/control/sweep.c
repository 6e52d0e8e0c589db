/* The sweeper: what is ours and expired goes, judged by AWS's own clock; nothing else is
 * touched. */
#include "control_int.h"

#include <stdarg.h>
#include <stdio.h>

struct sweep {
    struct tb_aws *aws;
    const struct tb_sweep_options *options;
    void (*report)(void *arg, const char *line);
    void *arg;
    struct tb_sweep_result *result;
};

TB_PRINTF(2, 3)
static void
say(struct sweep *sweep, const char *fmt, ...)
{
    char line[512];
    va_list args;

    if (sweep->report == NULL) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    sweep->report(sweep->arg, line);
}

/* One object of whatever kind: leaves it, or deletes it and counts that in *deleted.  It is
 * judged by when its list began: tags that were put meanwhile may not be in it. */
static void
judge(struct sweep *sweep, enum tb_ec2_kind kind, const char *noun, const char *id,
      const struct tb_ec2_tags *tags, int64_t began_utc_s, size_t *deleted)
{
    enum tb_sweep_verdict verdict = tb_plan_sweep(tags, sweep->options->owner, began_utc_s);
    const char *capture = tb_ec2_tag(tags, TB_TAG_CAPTURE);
    const char *expires = tb_ec2_tag(tags, TB_TAG_EXPIRES);
    struct tb_ec2_effect effect;
    struct tb_fail fail = {0};
    enum tb_err err;

    if (sweep->options->know != NULL && capture != NULL &&
        (verdict == TB_SWEEP_ALIVE || verdict == TB_SWEEP_EXPIRED)) {
        enum tb_sweep_word word = sweep->options->know(sweep->options->know_arg, capture);

        if (word == TB_SWEEP_KEEP) {
            return;
        }
        verdict = word == TB_SWEEP_REMOVE ? TB_SWEEP_EXPIRED : verdict;
    }
    if (verdict == TB_SWEEP_UNCLEAR) {
        sweep->result->failed++;
        say(sweep, "%s %s is tagged as ours, but its expiry '%s' cannot be read: look at it",
            noun, id, expires != NULL ? expires : "");
        return;
    }
    if (verdict != TB_SWEEP_EXPIRED &&
        !(verdict == TB_SWEEP_STANDING && sweep->options->standing)) {
        return;
    }
    if (sweep->options->dry_run) {
        (*deleted)++;
        say(sweep, "would delete %s %s (%s)", noun, id,
            verdict == TB_SWEEP_STANDING ? "standing" : expires);
        return;
    }
    err = tb_ec2_delete(sweep->aws, kind, id, &effect, &fail);
    if (err == TB_OK && sweep->options->deleted != NULL) {
        const struct tb_swept one = {
            .kind = noun,
            .id = id,
            .capture = capture,
            .expires = expires,
            .request_id = effect.request_id[0] != '\0' ? effect.request_id : NULL,
            .server_utc_s = effect.server_utc_s};

        sweep->options->deleted(sweep->options->deleted_arg, &one);
    }
    if (err == TB_ENOTFOUND) {
        return; /* EC2 lists for a while what is gone */
    }
    if (err == TB_OK) {
        (*deleted)++;
        if (verdict == TB_SWEEP_STANDING) {
            say(sweep, "deleted %s %s (standing) request_id=%s", noun, id, effect.request_id);
        } else {
            say(sweep, "deleted %s %s (expired %s, of %s) request_id=%s", noun, id, expires,
                capture != NULL ? capture : "no capture", effect.request_id);
        }
        return;
    }
    sweep->result->failed++;
    say(sweep, "cannot delete %s %s: %s: %s", noun, id, fail.code, fail.text);
}

/* Sessions before filters before targets: what is in use cannot be deleted. */
enum tb_err
tb_sweep(struct tb_aws *aws, const struct tb_sweep_options *options,
         void (*report)(void *arg, const char *line), void *arg, struct tb_sweep_result *out,
         struct tb_fail *fail)
{
    struct tb_sweep_result result = {0};
    struct sweep sweep = {aws, options, report, arg, &result};
    struct tb_ec2_sessions sessions = {0};
    struct tb_ec2_filters filters = {0};
    struct tb_ec2_targets targets = {0};
    enum tb_err err;

    err = tb_ec2_sessions_list(aws, NULL, 0, &sessions, fail);
    if (err != TB_OK) {
        goto out;
    }
    for (size_t i = 0; i < sessions.count; i++) {
        judge(&sweep, TB_EC2_SESSION, "session", sessions.at[i].id, &sessions.at[i].tags,
              sessions.began_utc_s, &result.sessions);
    }
    err = tb_ec2_filters_list(aws, &filters, fail);
    if (err != TB_OK) {
        goto out;
    }
    if (options->filters != NULL) {
        options->filters(options->filters_arg, &filters);
    }
    for (size_t i = 0; i < filters.count; i++) {
        judge(&sweep, TB_EC2_FILTER, "filter", filters.at[i].id, &filters.at[i].tags,
              filters.began_utc_s, &result.filters);
    }
    err = tb_ec2_targets_list(aws, NULL, &targets, fail);
    if (err != TB_OK) {
        goto out;
    }
    for (size_t i = 0; i < targets.count; i++) {
        judge(&sweep, TB_EC2_TARGET, "target", targets.at[i].id, &targets.at[i].tags,
              targets.began_utc_s, &result.targets);
    }
out:
    *out = result;
    tb_ec2_targets_release(&targets);
    tb_ec2_filters_release(&filters);
    tb_ec2_sessions_release(&sessions);
    return err;
}

struct tb_json *
tb_swept_json(const struct tb_swept *one, const char *time_key)
{
    struct tb_json *out = tb_json_object();

    tb_json_set_str(out, "kind", one->kind);
    tb_json_set_str(out, "id", one->id);
    tb_json_set_str(out, "capture", one->capture);
    tb_json_set_str(out, "expires", one->expires);
    tb_json_set_str(out, "request_id", one->request_id);
    tb_json_set_time(out, time_key, one->server_utc_s * TB_NS_PER_S);
    return out;
}

/* What is checked once for a capture, whatever its interfaces are. */
#include "preflight.h"

#include <tapbox/bytes.h>

#include "plan.h"

enum {
    RULES_OF_FILTER = 10, /* EC2's quota, not adjustable */
    RULES_OF_ALL = 4,     /* what the filter "all" needs */
    ENCAPSULATION_OCTETS =
        54, /* that AWS reserves: packet and wrapping share the target's MTU */
    USUAL_MTU = 1500,
    JUMBO_MTU = 9001,
    TEARDOWN_S = 60 /* within which sessions are gone after the deadline */
};
/* List price of us-east-1 for a session's hour. */
#define SESSION_HOUR_USD 0.015

/* How many different interfaces send to the target, and how many of `enis` are new to it. */
static size_t
count_senders(const struct preflight_facts *facts, const struct tb_plan *plan, size_t *out_new)
{
    const struct tb_ec2_sessions *sessions = facts->on_target;
    size_t count = 0;

    *out_new = 0;
    for (size_t i = 0; i < sessions->count; i++) {
        bool seen = false;

        for (size_t j = 0; j < i && !seen; j++) {
            seen = strcmp(sessions->at[i].eni, sessions->at[j].eni) == 0;
        }
        count += seen ? 0 : 1;
    }
    for (size_t s = 0; s < plan->source_count; s++) {
        bool seen = plan->sources[s].gap[0] != '\0';

        for (size_t i = 0; i < sessions->count && !seen; i++) {
            seen = strcmp(sessions->at[i].eni, plan->sources[s].eni) == 0;
        }
        *out_new += seen ? 0 : 1;
    }
    return count;
}

static bool
check_capacity(const struct preflight_facts *facts, struct tb_plan *out)
{
    size_t used, more, most;
    bool sure;

    if (facts->on_target == NULL) {
        return true;
    }
    used = count_senders(facts, out, &more);
    most = preflight_sources_of_target(facts->types, facts->target_type, &sure);
    if (more == 0 || used + more <= most) {
        preflight_say(out, "target_capacity", TB_CHECK_INFO, "",
                      "the target %s has %zu of %zu sources", facts->target->eni, used, most);
        return true;
    }
    preflight_say(out, "target_full", sure ? TB_CHECK_BLOCK : TB_CHECK_WARN, "",
                  "the target %s has %zu sources and would get %zu more; %s%s takes %zu (100 "
                  "only as the largest size of a family): stop a capture, or use another "
                  "interface or a larger instance as target",
                  facts->target->eni, used, more, sure ? "" : "an instance, probably of ",
                  facts->target_type[0] != '\0' ? facts->target_type : "unknown type", most);
    return !sure || used < most; /* some of several may still find room */
}

static void
check_mtu(const struct preflight_facts *facts, struct tb_plan *out)
{
    uint32_t mtu = facts->target_mtu != 0 ? facts->target_mtu : JUMBO_MTU;
    uint32_t whole = mtu - ENCAPSULATION_OCTETS;

    if (facts->target_mtu != 0 && whole < USUAL_MTU) {
        preflight_say(
            out, "mtu", TB_CHECK_WARN, "",
            "the target's MTU is %u: packets over %u octets arrive cut, and full-size "
            "ones have %d.  Set the MTU of the capture host's interface to %d",
            mtu, whole, USUAL_MTU, JUMBO_MTU);
        return;
    }
    preflight_say(out, "mtu", TB_CHECK_INFO, "",
                  "packets of up to %u octets arrive whole (the target's MTU%s %u, less %d); "
                  "of a source with a larger MTU, which EC2 does not tell, longer ones are cut",
                  whole, facts->target_mtu != 0 ? "" : ", if it is the usual", mtu,
                  ENCAPSULATION_OCTETS);
}

bool
preflight_is_our_filter(const struct tb_ec2_filter *filter, const char *owner)
{
    const char *standing = tb_ec2_tag(&filter->tags, TB_TAG_STANDING);

    return tb_plan_sweep(&filter->tags, owner, 0) == TB_SWEEP_STANDING &&
           strcmp(standing, "all") == 0;
}

static const struct tb_ec2_filter *
find_filter(const struct preflight_facts *facts)
{
    for (size_t i = 0; facts->filters != NULL && i < facts->filters->count; i++) {
        if (preflight_is_our_filter(&facts->filters->at[i], facts->owner)) {
            return &facts->filters->at[i];
        }
    }
    return NULL;
}

static void
check_filter(const struct preflight_facts *facts, struct tb_plan *out)
{
    const struct tb_ec2_filter *filter = find_filter(facts);
    size_t rules = filter != NULL ? filter->rule_count : 0;

    if (facts->filters == NULL) {
        return;
    }
    if (filter != NULL) {
        (void)tb_str_copy(out->filter, sizeof(out->filter), filter->id);
    }
    if (rules > RULES_OF_ALL) {
        preflight_say(out, "filter_rules", TB_CHECK_WARN, "",
                      "somebody has added rules to tapbox's filter %s (%zu of %d): what they "
                      "reject will be missing; remove them, or the filter",
                      filter->id, rules, RULES_OF_FILTER);
    } else {
        preflight_say(out, "filter_rules", TB_CHECK_INFO, "",
                      "%s: %d of the %d rules a filter can have, and Amazon DNS",
                      filter == NULL          ? "the filter 'all' would be made"
                      : rules == RULES_OF_ALL ? "the filter 'all' is there"
                                              : "the filter 'all' would be completed",
                      RULES_OF_ALL, RULES_OF_FILTER);
    }
}

/* Of what has to be made first, when it has. */
static bool
check_permissions(const struct preflight_facts *facts, struct tb_plan *out)
{
    bool good = true;

    for (size_t i = 0; i < 2; i++) {
        const struct tb_fail *answer = &facts->dry_run_standing[i].answer;

        if (facts->dry_run_standing[i].action == NULL || answer->err == TB_OK) {
            continue;
        }
        if (answer->err == TB_EDENIED) {
            preflight_say(out, "iam_denied", TB_CHECK_BLOCK, "",
                          "these credentials may not make what a capture needs: allow %s and "
                          "ec2:CreateTags as infra/iam/control.json does (%.150s)",
                          facts->dry_run_standing[i].action, answer->text);
            good = false;
        } else {
            preflight_say(out, "not_known", TB_CHECK_WARN, "",
                          "EC2 would not say whether %s is allowed: %.250s",
                          facts->dry_run_standing[i].action, answer->text);
        }
    }
    return good;
}

/* A stable code for each wish that a bucket can refuse. */
static const char *
refused_code(const char *wish)
{
    static const char *const codes[][2] = {{"object_lock", "bucket_object_lock"},
                                           {"encryption", "bucket_encryption"},
                                           {"storage_class", "bucket_storage_class"},
                                           {"tags", "bucket_tags"}};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(codes[i][0], wish) == 0) {
            return codes[i][1];
        }
    }
    return "bucket";
}

static bool
check_bucket(const struct preflight_facts *facts, struct tb_plan *out)
{
    const struct tb_fail *answer = &facts->bucket.answer;
    bool final =
        answer->err == TB_EDENIED || answer->err == TB_ENOTFOUND || answer->err == TB_EINVAL;

    if (!facts->bucket.known) {
        return true;
    }
    if (facts->bucket.left) {
        preflight_say(out, "bucket_probe", TB_CHECK_WARN, "",
                      "the trial upload to bucket %s could not be taken back (allow "
                      "s3:AbortMultipartUpload): %.200s",
                      facts->bucket_name, answer->text);
    } else if (facts->bucket.refused != NULL) {
        preflight_say(out, refused_code(facts->bucket.refused), TB_CHECK_BLOCK, "",
                      "bucket %s takes objects, but not with the %s that s3.* asks for: %.250s",
                      facts->bucket_name, facts->bucket.refused, answer->text);
        return false;
    } else if (answer->err != TB_OK) {
        preflight_say(out, "bucket", final ? TB_CHECK_BLOCK : TB_CHECK_WARN, "",
                      "nothing can be written to bucket %s%s; what is recorded would wait in "
                      "the spool: %.250s",
                      facts->bucket_name, final ? "" : " right now", answer->text);
        return !final;
    } else if (facts->bucket.unread) {
        preflight_say(
            out, "bucket_unread", TB_CHECK_WARN, "",
            "nobody may look at what is in bucket %s, and it has no Object Lock to keep "
            "versions: a file whose acknowledgement is lost would wait in the spool; "
            "set s3.reader_role, or use a bucket with Object Lock",
            facts->bucket_name);
    }
    return true;
}

static bool
check_credentials(const struct preflight_facts *facts, struct tb_plan *out)
{
    const struct tb_aws_lifetime *lifetime = facts->lifetime;
    int64_t end_utc_s =
        facts->now_utc_s + facts->request->duration_ns / TB_NS_PER_S + TEARDOWN_S;
    char expires[TB_TIME_TEXT_SIZE];

    if (lifetime == NULL || !lifetime->temporary || lifetime->refreshable) {
        return true;
    }
    if (lifetime->expires_utc_s == 0) {
        preflight_say(out, "credentials", TB_CHECK_WARN, "",
                      "the credentials (%s) are temporary, nobody says until when, and they "
                      "cannot be renewed: if they end before the capture does, its sessions "
                      "stay until 'tapbox sweep' finds them",
                      lifetime->source);
    } else if (lifetime->expires_utc_s < end_utc_s) {
        tb_time_format_s(expires, lifetime->expires_utc_s);
        preflight_say(out, "credentials", TB_CHECK_BLOCK, "",
                      "the credentials (%s) end at %s, before the capture does, and cannot be "
                      "renewed: its sessions could not be deleted.  Use a role, or a shorter "
                      "duration",
                      lifetime->source, expires);
        return false;
    }
    return true;
}

/* Of whom it is: one that names no account is our own. */
static const char *
account_of(const struct preflight_facts *facts, const struct tb_capture_request *request)
{
    return request->account[0] != '\0' ? request->account : facts->account;
}

static void
check_places(const struct preflight_facts *facts, struct tb_plan *out)
{
    const char *account = account_of(facts, facts->request);
    size_t running = 0, running_there = 0;
    uint32_t of_account;

    if (facts->config == NULL || out->joins[0] != '\0') {
        return;
    }
    of_account = facts->config->max_per_account;
    for (size_t i = 0; i < facts->capture_count; i++) {
        const struct tb_capture *one = &facts->captures[i];

        if (one->state == TB_CAPTURE_PLANNED || tb_capture_state_is_live(one->state)) {
            running++;
            running_there += strcmp(account_of(facts, &one->request), account) == 0 ? 1 : 0;
        }
    }
    if (running >= facts->config->max_concurrent) {
        preflight_say(out, "no_place", TB_CHECK_WARN, "",
                      "%zu of %u captures run (capture.max_concurrent): it would wait for a "
                      "place, by severity",
                      running, facts->config->max_concurrent);
    } else if (of_account != 0 && running_there >= of_account) {
        preflight_say(out, "no_place", TB_CHECK_WARN, "",
                      "%zu of %u captures of account %s run (capture.max_per_account): it "
                      "would wait for a place there, by severity",
                      running_there, of_account, account);
    }
}

static void
check_price(const struct preflight_facts *facts, size_t sessions, struct tb_plan *out)
{
    double hours = (double)facts->request->duration_ns / (3600.0 * (double)TB_NS_PER_S);

    out->price_usd = (double)sessions * hours * SESSION_HOUR_USD;
    preflight_say(out, "price", TB_CHECK_INFO, "",
                  "about %.4f USD for %zu session%s (%.3f USD an hour, the list price of "
                  "us-east-1), besides traffic between availability zones",
                  out->price_usd, sessions, sessions == 1 ? "" : "s", SESSION_HOUR_USD);
}

bool
preflight_whole(const struct preflight_facts *facts, size_t sessions, struct tb_plan *out)
{
    bool good = check_capacity(facts, out);

    check_filter(facts, out);
    good = check_permissions(facts, out) && good;
    good = check_credentials(facts, out) && good;
    good = check_bucket(facts, out) && good;
    check_mtu(facts, out);
    check_places(facts, out);
    for (size_t i = 0; i < facts->unknown_count; i++) {
        preflight_say(out, "not_known", TB_CHECK_WARN, "", "could not look at %s: %.250s",
                      facts->unknown[i].what, facts->unknown[i].why.text);
    }
    if (sessions > 0) {
        check_price(facts, sessions, out);
    }
    return good;
}

/*
 * What others do to objects of ours that are there: found in the lists that the reconciler has
 * in hands anyway, put right, and said where it counts.
 */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

/* --- what is said --- */

static void
touched(struct control_watch *watch, const struct control_tap *tap, const char *act,
        const char *text)
{
    struct tb_fail fail = {0};

    if (tb_store_source_touched(watch->account->control->deps.store, tap->capture_id, tap->eni,
                                act, text, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, tap->capture_id, &fail,
                    "cannot note what was done to the mirror of %s", tap->eni);
    }
}

void
control_note_touched(struct control_watch *watch, const struct control_tap *tap,
                     const char *what)
{
    int64_t since_utc_ns = watch->since_utc_ns > tap->recording_utc_ns ? watch->since_utc_ns
                                                                       : tap->recording_utc_ns;
    char text[TB_CAPTURE_MAX_TEXT], since[TB_TIME_TEXT_SIZE];

    tb_time_format_s(since, since_utc_ns / TB_NS_PER_S);
    (void)snprintf(text, sizeof(text), "after %s %.200s", since, what);
    touched(watch, tap, "mirror_changed", text);
}

void
control_note_restored(struct control_watch *watch, const struct control_tap *tap, bool again)
{
    char text[TB_CAPTURE_MAX_TEXT], now[TB_TIME_TEXT_SIZE];

    /* (rounded up: the gap ends within that second) */
    tb_time_format_s(now, tb_clock_utc_ns() / TB_NS_PER_S + 1);
    (void)snprintf(text, sizeof(text), "put right %sby %s", again ? "again " : "", now);
    touched(watch, tap, "mirror_restored", text);
}

/* --- what was put right, and EC2 may not show so yet --- */

static struct control_mended *
find_mended(const struct control_watch *watch, const char *id, enum control_aspect aspect,
            const char *was)
{
    for (size_t i = 0; i < CONTROL_MENDED_MOST; i++) {
        struct control_mended *m = &watch->mended[i];

        if (m->aspect == aspect && strcmp(m->id, id) == 0 &&
            (was == NULL || strcmp(m->was, was) == 0)) {
            return m;
        }
    }
    return NULL;
}

bool
control_may_be_old(const struct control_watch *watch, const char *id,
                   enum control_aspect aspect, const char *was)
{
    const struct control_mended *m = find_mended(watch, id, aspect, was);

    return m != NULL && !control_is_settled(watch->account->control, m->steady_ns);
}

void
control_note_mended(struct control_watch *watch, const char *id, enum control_aspect aspect,
                    const char *was)
{
    struct control_mended *m = find_mended(watch, id, aspect, was);

    for (size_t i = 0; i < CONTROL_MENDED_MOST && m == NULL; i++) {
        m = watch->mended[i].id[0] == 0 ? &watch->mended[i] : NULL;
    }
    if (m == NULL) {
        m = &watch->mended[0];
        for (size_t i = 1; i < CONTROL_MENDED_MOST; i++) {
            m = watch->mended[i].steady_ns < m->steady_ns ? &watch->mended[i] : m;
        }
    }
    (void)tb_str_copy(m->id, sizeof(m->id), id);
    (void)tb_str_copy(m->was, sizeof(m->was), was);
    m->aspect = aspect;
    m->steady_ns = tb_store_steady_ns(watch->account->control->deps.store);
}

void
control_seen_right(struct control_watch *watch, const char *id, enum control_aspect aspect)
{
    struct control_mended *m;

    while ((m = find_mended(watch, id, aspect, NULL)) != NULL) {
        m->id[0] = 0;
    }
}

/* --- tags, by which a sweep finds it when this host is dead --- */

/* One that is to be there, with this value or (NULL) with any. */
struct wanted_tag {
    const char *key, *value;
    const char *otherwise; /* the value for one that is not there; NULL: the same */
};
enum {
    TAGS_MOST = 3
};

static void
restore_tags(struct control_watch *watch, const struct tb_resource *row,
             const struct tb_ec2_tags *found, const struct wanted_tag wanted[TAGS_MOST])
{
    const char *capture_id = row->capture_id[0] != 0 ? row->capture_id : NULL;
    struct tb_control *control = watch->account->control;
    const char *id = row->aws_id;
    struct tb_json *detail, *keys;
    struct tb_ec2_effect effect;
    struct tb_ec2_tag lost[TAGS_MOST];
    char was[TB_CAPTURE_MAX_TEXT] = "";
    struct tb_fail fail = {0};
    size_t count = 0, len = 0;
    bool old;

    for (size_t i = 0; i < TAGS_MOST && wanted[i].key != NULL; i++) {
        const char *value = tb_ec2_tag(found, wanted[i].key);

        if (value == NULL || (wanted[i].value != NULL && strcmp(value, wanted[i].value) != 0)) {
            control_set_tag(&lost[count++], wanted[i].key,
                            wanted[i].value != NULL ? wanted[i].value : wanted[i].otherwise);
            len += (size_t)snprintf(was + len, sizeof(was) - len, "%s=%.60s ", wanted[i].key,
                                    value != NULL ? value : "");
        }
    }
    if (count == 0) {
        control_seen_right(watch, id, CONTROL_TAGS);
        return;
    }
    old = control_may_be_old(watch, id, CONTROL_TAGS, was);
    if (!old) {
        atomic_fetch_add(&control->mirror_changes, 1);
        tb_log(TB_LOG_WARN, capture_id,
               "somebody changed the tags of %s %s: %zu are not as we set",
               tb_resource_kind_name(row->kind), id, count);
    }
    if (tb_ec2_tag_set(watch->account->aws, &id, 1, lost, count, &effect, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture_id, &fail,
                    "the tags of %s are not put back: no sweep finds it, and this role may not "
                    "be allowed to delete it",
                    id);
        return;
    }
    if (old) {
        return;
    }
    control_note_mended(watch, id, CONTROL_TAGS, was);
    keys = tb_json_array();
    for (size_t i = 0; i < count; i++) {
        tb_json_add_str(keys, lost[i].key);
    }
    detail = tb_json_object();
    tb_json_set_str(detail, "kind", tb_resource_kind_name(row->kind));
    tb_json_set_str(detail, "id", id);
    tb_json_set(detail, "tags", keys);
    tb_json_set_str(detail, "request_id", effect.request_id);
    tb_json_set_text(detail, "account", watch->account->id);
    if (tb_store_custody_add(control->deps.store, capture_id, "tags_restored", NULL, detail,
                             &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture_id, &fail, "cannot note that %s lost its tags", id);
    }
}

/* As it was asked for: the configuration may name another owner by now. */
static void
owner_of(const struct control_watch *watch, const struct tb_resource *row, char *out,
         size_t cap)
{
    if (!tb_plan_param_tag(row->params, TB_TAG_OWNER, out, cap)) {
        (void)tb_str_copy(out, cap, watch->account->control->deps.config->owner);
    }
}

/* What expires when is somebody else's to look after, as long as it says so. */
static void
watch_tags(struct control_watch *watch, const struct tb_capture *capture,
           const struct tb_resource *row, const struct tb_ec2_tags *found)
{
    char owner[sizeof(((struct tb_config *)0)->owner)], expires[TB_TIME_TEXT_SIZE];

    if (!control_has_aws_time(watch->account->control)) {
        return;
    }
    owner_of(watch, row, owner, sizeof(owner));
    tb_time_format_s(expires,
                     control_expires_utc_s(watch->account->control, &capture->deadline));
    restore_tags(watch, row, found,
                 (const struct wanted_tag[TAGS_MOST]){{TB_TAG_OWNER, owner, NULL},
                                                      {TB_TAG_CAPTURE, capture->id, NULL},
                                                      {TB_TAG_EXPIRES, NULL, expires}});
}

/* --- captures --- */

static const struct tb_ec2_session *
find_session(const struct control_watch *watch, const char *id)
{
    for (size_t i = 0; i < watch->sessions->count; i++) {
        if (strcmp(watch->sessions->at[i].id, id) == 0) {
            return &watch->sessions->at[i];
        }
    }
    return NULL;
}

static const struct tb_ec2_filter *
find_filter(const struct control_watch *watch, const char *id)
{
    for (size_t i = 0; i < watch->filters->count; i++) {
        if (strcmp(watch->filters->at[i].id, id) == 0) {
            return &watch->filters->at[i];
        }
    }
    return NULL;
}

/* NULL without memory: it is looked at the next time. */
static struct control_tap *
add_tap(struct control_watch *watch)
{
    if (watch->tap_count == watch->tap_cap) {
        size_t cap = watch->tap_cap == 0 ? 64 : 2 * watch->tap_cap;
        struct control_tap *grown = realloc(watch->taps, cap * sizeof(*grown));

        if (grown == NULL) {
            watch->wrong = true;
            return NULL;
        }
        watch->taps = grown;
        watch->tap_cap = cap;
    }
    return &watch->taps[watch->tap_count++];
}

/* Whether the row's object was made, in this account, and can be told from here. */
static bool
is_here(const struct control_watch *watch, const struct tb_resource *row)
{
    return row->state != TB_RESOURCE_GONE && row->aws_id[0] != 0 &&
           strcmp(row->account, watch->account->id) == 0 &&
           control_check_place(watch->account->control, row, NULL) == TB_OK;
}

/* Which filter a session is to have; NULL: it is well as it is, or cannot be told yet. */
static const char *
filter_for(struct control_watch *watch, const struct tb_capture *capture,
           const struct tb_ec2_session *session, const struct tb_resource *row,
           struct tb_resource *rows, size_t count)
{
    const struct tb_resource *own = control_own_filter_row(watch->account, rows, count);
    char asked[TB_AWS_ID_SIZE] = "";

    /* (one that is being widened is as its worker makes it) */
    if (capture->filter_due ||
        (tb_plan_param(row->params, "TrafficMirrorFilterId", asked, sizeof(asked)) &&
         strcmp(asked, session->filter) == 0)) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == TB_RESOURCE_FILTER && rows[i].state == TB_RESOURCE_GONE &&
            !control_is_settled(watch->account->control, rows[i].gone_steady_ns)) {
            watch->wrong = true;
            return NULL; /* widened so shortly ago that EC2 may show what was before */
        }
    }
    if (capture->request.filter.kind != TB_FILTER_ALL) {
        return own != NULL && is_here(watch, own) ? own->aws_id : NULL;
    }
    return watch->standing_filter[0] != 0 ? watch->standing_filter : NULL;
}

/*
 * Said before it is put right: a crash leaves no gap that nobody is told of.  What may be EC2's
 * old list, or the same once more, is put right again, and belongs to the gap that is told.
 */
static void
watch_session(struct control_watch *watch, const struct tb_resource *row,
              const struct tb_ec2_session *session, const struct control_tap *tap,
              const char *filter)
{
    char target[TB_AWS_ID_SIZE], said[TB_CAPTURE_MAX_TEXT], what[TB_CAPTURE_MAX_TEXT];
    struct tb_ec2_session_change change;
    struct tb_ec2_effect effect;
    struct tb_fail fail = {0};
    bool old;

    if (!tb_plan_session_change(session, row->params, filter, target, &change, said)) {
        control_seen_right(watch, row->aws_id, CONTROL_SESSION);
        return;
    }
    old = control_may_be_old(watch, row->aws_id, CONTROL_SESSION, said);
    if (!old) {
        (void)snprintf(what, sizeof(what), "its session was changed (%.190s)", said);
        atomic_fetch_add(&watch->account->control->mirror_changes, 1);
        tb_log(TB_LOG_WARN, row->capture_id, "somebody changed the session %s: %s", row->aws_id,
               said);
        control_note_touched(watch, tap, what);
    }
    if (tb_ec2_session_modify(watch->account->aws, row->aws_id, &change, &effect, &fail) !=
        TB_OK) {
        watch->wrong = true;
        tb_log_fail(TB_LOG_ERROR, row->capture_id, &fail, "the session %s is not put right",
                    row->aws_id);
        return;
    }
    tb_log(TB_LOG_INFO, row->capture_id, "the session %s is put right request_id=%s",
           row->aws_id, effect.request_id);
    control_note_restored(watch, tap, old);
    if (!old) {
        control_note_mended(watch, row->aws_id, CONTROL_SESSION, said);
    }
}

/* The session as it is to be looked at: a number behind others is its own from then on, and
 * said once. */
static struct tb_ec2_session
accept_number(struct control_watch *watch, const struct tb_resource *row,
              const struct tb_ec2_session *session, const struct control_tap *tap)
{
    struct tb_ec2_session seen = *session; /* tags are lent */
    char text[TB_CAPTURE_MAX_TEXT];

    if (tb_plan_has_to_stay_behind(watch->sessions, session, row->params,
                                   &seen.session_number)) {
        (void)snprintf(text, sizeof(text),
                       "its session was moved behind those of others (number %u for %u) and "
                       "stays there: packets that their filters accept are not here",
                       session->session_number, seen.session_number);
        touched(watch, tap, "mirror_changed", text);
    }
    return seen;
}

/* A session that mirrors for a capture that records; NULL: it does not, or there is no memory.
 */
static const struct control_tap *
note_tap(struct control_watch *watch, const struct tb_capture *capture,
         const struct tb_resource *row, const struct tb_ec2_session *session)
{
    struct control_tap *tap;

    if (capture->state != TB_CAPTURE_RECORDING || tb_plan_stop(capture) != TB_STOP_NONE ||
        row->state != TB_RESOURCE_CREATED || !control_is_armed(capture, row->key)) {
        return NULL;
    }
    tap = add_tap(watch);
    if (tap != NULL) {
        memcpy(tap->capture_id, capture->id, sizeof(tap->capture_id));
        (void)tb_str_copy(tap->eni, sizeof(tap->eni), row->key);
        memcpy(tap->filter, session->filter, sizeof(tap->filter));
        tap->recording_utc_ns = capture->recording_utc_ns;
    }
    return tap;
}

static void
watch_capture(struct control_watch *watch, const struct tb_capture *capture,
              struct tb_resource *rows, size_t count)
{
    struct tb_resource *own = control_own_filter_row(watch->account, rows, count);
    const struct tb_ec2_filter *found =
        own != NULL && is_here(watch, own) ? find_filter(watch, own->aws_id) : NULL;
    size_t first_tap = watch->tap_count;

    for (size_t i = 0; i < count; i++) {
        const struct tb_ec2_session *session =
            rows[i].kind == TB_RESOURCE_SESSION && is_here(watch, &rows[i])
                ? find_session(watch, rows[i].aws_id)
                : NULL;
        const struct control_tap *tap;

        if (session == NULL) {
            continue;
        }
        watch_tags(watch, capture, &rows[i], &session->tags);
        tap = note_tap(watch, capture, &rows[i], session);
        if (tap != NULL) {
            const struct tb_ec2_session seen = accept_number(watch, &rows[i], session, tap);

            watch_session(watch, &rows[i], &seen, tap,
                          filter_for(watch, capture, session, &rows[i], rows, count));
        }
    }
    if (found == NULL) {
        return;
    }
    watch_tags(watch, capture, own, &found->tags);
    if (watch->tap_count > first_tap && capture->request.filter.kind != TB_FILTER_ALL &&
        !capture->filter_due) {
        control_watch_filter(watch, found, own, capture, rows, count);
    }
}

/* Those that record, and those whose sessions are still to be deleted, for which they need
 * their tags. */
static void
watch_captures(struct control_watch *watch)
{
    struct tb_store *store = watch->account->control->deps.store;
    struct tb_capture *capture = malloc(sizeof(*capture));
    struct tb_due *due = NULL;
    struct tb_fail fail = {0};
    size_t count = 0;

    if (capture == NULL || tb_store_due_list(store, &due, &count, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot list the captures");
        watch->wrong = true;
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct tb_resource *rows = NULL;
        size_t row_count = 0;

        if (due[i].state != TB_CAPTURE_RECORDING && due[i].state != TB_CAPTURE_DRAINING) {
            continue;
        }
        if (tb_store_capture_get(store, due[i].id, capture, &fail) != TB_OK ||
            tb_store_resource_list(store, due[i].id, true, &rows, &row_count, &fail) != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, due[i].id, &fail,
                        "cannot read the capture and its AWS objects");
            watch->wrong = true;
        } else {
            watch_capture(watch, capture, rows, row_count);
        }
        tb_resources_free(rows, row_count);
    }
    free(due);
    free(capture);
}

static void
watch_standing(struct control_watch *watch, struct tb_resource *rows, size_t count)
{
    struct tb_resource *row = control_standing_filter_row(watch->account, rows, count);
    const struct tb_ec2_filter *found =
        row != NULL && is_here(watch, row) ? find_filter(watch, row->aws_id) : NULL;
    char owner[sizeof(((struct tb_config *)0)->owner)];

    if (found == NULL) {
        return;
    }
    owner_of(watch, row, owner, sizeof(owner));
    restore_tags(watch, row, &found->tags,
                 (const struct wanted_tag[TAGS_MOST]){{TB_TAG_OWNER, owner, NULL},
                                                      {TB_TAG_STANDING, row->key, NULL}});
    control_watch_filter(watch, found, row, NULL, rows, count);
}

void
control_watch_mirrors(struct control_watch *watch)
{
    struct tb_resource *rows = NULL;
    const struct tb_resource *row;
    struct tb_fail fail = {0};
    size_t count = 0;

    /* whoever arms a capture and wants the filter waits until it is as it should be */
    tb_mutex_lock(&watch->account->standing_mu);
    if (tb_store_resource_list(watch->account->control->deps.store, "", false, &rows, &count,
                               &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read the standing objects");
        watch->wrong = true;
        count = 0;
    }
    row = control_standing_filter_row(watch->account, rows, count);
    if (row != NULL && is_here(watch, row)) {
        (void)tb_str_copy(watch->standing_filter, sizeof(watch->standing_filter), row->aws_id);
    }
    watch_captures(watch);
    watch_standing(watch, rows, count);
    tb_mutex_unlock(&watch->account->standing_mu);
    tb_resources_free(rows, count);
    free(watch->taps);
    watch->taps = NULL;
    watch->tap_count = watch->tap_cap = 0;
}

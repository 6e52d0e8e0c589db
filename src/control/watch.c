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
control_note_restored(struct control_watch *watch, const struct control_tap *tap)
{
    char text[TB_CAPTURE_MAX_TEXT], now[TB_TIME_TEXT_SIZE];

    /* (rounded up: the gap ends within that second) */
    tb_time_format_s(now, tb_clock_utc_ns() / TB_NS_PER_S + 1);
    (void)snprintf(text, sizeof(text), "put right by %s", now);
    touched(watch, tap, "mirror_restored", text);
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
            return NULL;
        }
        watch->taps = grown;
        watch->tap_cap = cap;
    }
    return &watch->taps[watch->tap_count++];
}

/* Whether the row's object is in this account, made, and can be told from here. */
static bool
is_here(const struct control_watch *watch, const struct tb_resource *row)
{
    return row->state == TB_RESOURCE_CREATED && row->aws_id[0] != 0 &&
           strcmp(row->account, watch->account->id) == 0 &&
           control_check_place(watch->account->control, row, NULL) == TB_OK;
}

static void
watch_capture(struct control_watch *watch, const struct tb_capture *capture,
              struct tb_resource *rows, size_t count)
{
    struct tb_resource *own = control_own_filter_row(watch->account, rows, count);
    const struct tb_ec2_filter *found;
    size_t first_tap = watch->tap_count;

    for (size_t i = 0; i < count; i++) {
        const struct tb_ec2_session *session;
        struct control_tap *tap;

        if (rows[i].kind != TB_RESOURCE_SESSION || !is_here(watch, &rows[i]) ||
            !control_is_armed(capture, rows[i].key)) {
            continue;
        }
        session = find_session(watch, rows[i].aws_id);
        tap = session != NULL ? add_tap(watch) : NULL;
        if (tap == NULL) {
            continue;
        }
        memcpy(tap->capture_id, capture->id, sizeof(tap->capture_id));
        memcpy(tap->eni, rows[i].key, sizeof(tap->eni));
        memcpy(tap->filter, session->filter, sizeof(tap->filter));
        tap->recording_utc_ns = capture->recording_utc_ns;
    }
    /* (one that is being widened is as its worker makes it) */
    if (watch->tap_count == first_tap || own == NULL || !is_here(watch, own) ||
        capture->request.filter.kind == TB_FILTER_ALL || capture->filter_due) {
        return;
    }
    found = find_filter(watch, own->aws_id);
    if (found != NULL) {
        control_watch_filter(watch, found, own, capture, rows, count);
    }
}

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

        if (due[i].state != TB_CAPTURE_RECORDING) {
            continue;
        }
        if (tb_store_capture_get(store, due[i].id, capture, &fail) != TB_OK ||
            tb_store_resource_list(store, due[i].id, false, &rows, &row_count, &fail) !=
                TB_OK) {
            tb_log_fail(TB_LOG_ERROR, due[i].id, &fail,
                        "cannot read the capture and its AWS objects");
            watch->wrong = true;
        } else if (capture->state == TB_CAPTURE_RECORDING &&
                   tb_plan_stop(capture) == TB_STOP_NONE) {
            watch_capture(watch, capture, rows, row_count);
        }
        tb_resources_free(rows, row_count);
    }
    free(due);
    free(capture);
}

/* Whoever arms a capture and wants the filter waits until it is as it should be. */
static void
watch_standing(struct control_watch *watch)
{
    struct tb_resource *rows = NULL;
    const struct tb_ec2_filter *found;
    struct tb_resource *row;
    struct tb_fail fail = {0};
    size_t count = 0;

    tb_mutex_lock(&watch->account->standing_mu);
    if (tb_store_resource_list(watch->account->control->deps.store, "", false, &rows, &count,
                               &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot read the standing objects");
        watch->wrong = true;
        count = 0;
    }
    row = control_standing_filter_row(watch->account, rows, count);
    found = row != NULL && is_here(watch, row) ? find_filter(watch, row->aws_id) : NULL;
    if (found != NULL) {
        control_watch_filter(watch, found, row, NULL, rows, count);
    }
    tb_mutex_unlock(&watch->account->standing_mu);
    tb_resources_free(rows, count);
}

void
control_watch_mirrors(struct control_watch *watch)
{
    watch_captures(watch);
    watch_standing(watch);
    free(watch->taps);
    watch->taps = NULL;
    watch->tap_count = watch->tap_cap = 0;
}

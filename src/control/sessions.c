/* The mirror sessions of a capture: numbers chosen, intents written down, made side by side. */
#include "control_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/ids.h>
#include <tapbox/log.h>

/* The session's intent, with the exact request in it; params is free()d by the caller. */
static enum tb_err
session_intent(const struct control_account *account, const struct tb_capture *capture,
               const struct tb_capture_source *source, const char *target, const char *filter,
               struct tb_resource *out, struct tb_fail *fail)
{
    struct tb_control *control = account->control;
    struct tb_ec2_tag tags[4];
    char expires[TB_TIME_TEXT_SIZE];
    char description[128];
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_session_spec spec = {
        .eni = source->eni,
        .target_id = target,
        .filter_id = filter,
        .session_number = source->session_number,
        .vni = source->vni,
        .packet_length = capture->request.packet_length,
        .description = description,
        .tags = tags,
        .tag_count = sizeof(tags) / sizeof(tags[0]),
        .client_token = out->client_token,
    };
    enum tb_err err;

    memset(out, 0, sizeof(*out));
    out->kind = TB_RESOURCE_SESSION;
    (void)tb_str_copy(out->capture_id, sizeof(out->capture_id), capture->id);
    (void)tb_str_copy(out->account, sizeof(out->account), account->id);
    (void)tb_str_copy(out->key, sizeof(out->key), source->eni);
    /* by AWS's clock, which judges it */
    out->expires_utc_s = control_expires_utc_s(control, &capture->deadline);
    tb_time_format_s(expires, out->expires_utc_s);
    (void)snprintf(description, sizeof(description), "tapbox %s until %s", capture->id,
                   expires);
    control_set_tag(&tags[0], "Name", capture->id);
    control_set_tag(&tags[1], TB_TAG_OWNER, control->deps.config->owner);
    control_set_tag(&tags[2], TB_TAG_CAPTURE, capture->id);
    control_set_tag(&tags[3], TB_TAG_EXPIRES, expires);
    err = tb_uuid_new(out->client_token);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "no random numbers for a client token");
    }
    err = tb_ec2_session_body(&spec, &body, fail);
    if (err == TB_OK) {
        out->params = strdup(tb_buf_str(&body));
        if (out->params == NULL) {
            err = tb_fail_set(fail, TB_ENOMEM, "no memory for an EC2 request");
        }
    }
    tb_buf_release(&body);
    return err;
}

static struct tb_resource *
find_session(struct tb_resource *rows, size_t count, const char *eni)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == TB_RESOURCE_SESSION && rows[i].state != TB_RESOURCE_GONE &&
            strcmp(rows[i].key, eni) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool
control_is_about_standing(enum tb_err err, const struct tb_fail *fail)
{
    return err != TB_OK && strncmp(fail->code, "InvalidTrafficMirror", 20) == 0;
}

bool
control_says_gone(const struct tb_fail *fail, enum tb_resource_kind kind)
{
    bool target = strncmp(fail->code, "InvalidTrafficMirrorTarget", 26) == 0;
    bool filter = strncmp(fail->code, "InvalidTrafficMirrorFilter", 26) == 0;

    return target == filter || target == (kind == TB_RESOURCE_TARGET);
}

/* Whether EC2 answered about this interface and no retry changes it: a named gap. */
static bool
is_about_the_source(enum tb_err err, const struct tb_fail *fail)
{
    return fail->http_status >= 400 && fail->http_status < 500 && fail->code[0] != 0 &&
           !control_is_about_standing(err, fail) &&
           (err == TB_EINVAL || err == TB_EFULL || err == TB_ENOTFOUND || err == TB_EDENIED ||
            strcmp(fail->code, "InterfaceInUseByTrafficMirrorTarget") == 0);
}

bool
control_is_armed(const struct tb_capture *capture, const char *eni)
{
    for (size_t i = 0; i < capture->source_count; i++) {
        if (strcmp(capture->sources[i].eni, eni) == 0) {
            return capture->sources[i].armed;
        }
    }
    return false;
}

bool
control_has_to_stop(struct tb_control *control, const char *id)
{
    struct tb_capture *now = malloc(sizeof(*now));
    bool stop = now == NULL ||
                tb_store_capture_get(control->deps.store, id, now, NULL) != TB_OK ||
                tb_plan_stop(now) != TB_STOP_NONE;

    free(now);
    return stop;
}

/*
 * An interface never has two sessions of ours.  One that another capture keeps is this one's
 * gap; one that is being taken down is waited for (TB_ERETRY).
 */
static enum tb_err
await_former_session(struct tb_control *control, const struct tb_capture *capture,
                     struct tb_capture_source *source, struct tb_fail *fail)
{
    char holder[TB_CAPTURE_ID_SIZE];
    bool stays;
    enum tb_err err = tb_store_session_holder(control->deps.store, source->eni, capture->id,
                                              holder, &stays, fail);

    if (err != TB_OK || holder[0] == 0) {
        return err;
    }
    if (stays) {
        (void)snprintf(source->gap, sizeof(source->gap), "it is being captured by %s", holder);
        return TB_OK;
    }
    return tb_fail_set(fail, TB_ERETRY, "%s still has the session of %s, which is ending",
                       source->eni, holder);
}

/* One session to be made; each is made on a thread of its own. */
struct make {
    struct control_account *account;
    const struct tb_capture *capture;
    struct tb_capture_source *source;
    struct tb_resource *row; /* of before a restart; NULL: none */
    const char *target, *filter;
    enum tb_err err;
    struct tb_fail fail;
};

static enum tb_err
make_new_session(struct make *make)
{
    struct tb_control *control = make->account->control;
    struct tb_resource intent = {0};
    char id[TB_AWS_ID_SIZE];
    enum tb_err err;

    err = session_intent(make->account, make->capture, make->source, make->target, make->filter,
                         &intent, &make->fail);
    if (err == TB_OK) {
        err = control_create(control, &intent, id, &make->fail);
    }
    free(intent.params);
    return err;
}

/* The capture has recorded others before. */
static void
say_late(struct tb_capture_source *source)
{
    char since[TB_TIME_TEXT_SIZE];

    tb_time_format_s(since, tb_clock_utc_ns() / TB_NS_PER_S);
    (void)snprintf(source->gap, sizeof(source->gap), "mirrored only since %s%s%.200s", since,
                   source->trouble[0] != 0 ? ": " : "", source->trouble);
}

/* A reason that lies in the interface becomes its gap and TB_OK; another its trouble. */
static void
make_session(void *arg)
{
    struct make *make = arg;
    struct tb_control *control = make->account->control;
    struct tb_capture_source *source = make->source;

    if (make->row != NULL && make->row->state != TB_RESOURCE_INTENDED) {
        make->err = TB_OK;
    } else if (control_has_to_stop(control, make->capture->id)) {
        /* a session made late is made for nothing, and holds up the teardown */
        make->err =
            tb_fail_set(&make->fail, TB_ERETRY, "stopped while the sessions were being made");
        return;
    } else if (make->row == NULL) {
        make->err = make_new_session(make);
    } else {
        make->err = control_replay(control, make->row, &make->fail);
    }
    if (make->err == TB_OK) {
        source->armed = true;
        if (make->capture->state == TB_CAPTURE_RECORDING) {
            say_late(source);
        }
        source->trouble[0] = 0;
    } else if (is_about_the_source(make->err, &make->fail)) {
        (void)snprintf(source->gap, sizeof(source->gap), "%.60s: %.180s", make->fail.code,
                       make->fail.text);
        source->trouble[0] = 0;
        make->err = TB_OK;
    } else {
        (void)snprintf(source->trouble, sizeof(source->trouble), "%.60s%s%.180s",
                       make->fail.code, make->fail.code[0] != 0 ? ": " : "", make->fail.text);
    }
}

/* The number of a session that is yet to be made; none is a gap. */
static enum tb_err
choose_number(struct tb_control *control, const struct tb_capture *capture,
              struct tb_capture_source *source, const struct tb_ec2_sessions *others,
              struct tb_fail *fail)
{
    size_t foreign = tb_plan_foreign(others, source->eni, control->deps.config->owner);
    enum tb_err err = await_former_session(control, capture, source, fail);

    if (err != TB_OK || source->gap[0] != 0) {
        return err;
    }
    source->session_number = tb_plan_session_number(others, source->eni);
    if (source->session_number == 0) {
        (void)tb_str_copy(source->gap, sizeof(source->gap),
                          "no session number is free after the sessions that are there");
        return TB_OK;
    }
    if (foreign > 0) {
        tb_log(TB_LOG_WARN, capture->id,
               "%s has %zu mirror sessions of others; tapbox comes after them and sees only "
               "packets that their filters do not accept",
               source->eni, foreign);
    }
    return TB_OK;
}

/* Numbers are chosen and written down before the first session is made: a crash leaves none
 * whose number nobody knows.  An interface that has to wait for its own, which *waiting tells
 * of, gets none, and keeps no other from a session. */
static enum tb_err
choose_numbers(struct tb_control *control, struct tb_capture *capture, struct tb_resource *rows,
               size_t row_count, const struct tb_ec2_sessions *others, struct tb_fail *waiting,
               struct tb_fail *fail)
{
    bool chosen = false;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < capture->source_count && err == TB_OK; i++) {
        struct tb_capture_source *source = &capture->sources[i];

        if (source->gap[0] == 0 && !source->armed &&
            find_session(rows, row_count, source->eni) == NULL) {
            source->session_number = 0;
            err = choose_number(control, capture, source, others, fail);
            if (err == TB_ERETRY) {
                (void)tb_str_copy(source->trouble, sizeof(source->trouble), fail->text);
                *waiting = *fail;
                err = TB_OK;
            }
            chosen = true;
        }
    }
    return err == TB_OK && chosen
               ? tb_store_sources_tried(control->deps.store, capture->id, capture->sources,
                                        capture->source_count, fail)
               : err;
}

static enum tb_err
make_all(struct control_account *account, struct tb_capture *capture, struct tb_resource *rows,
         size_t row_count, const char *target, const char *filter,
         const struct tb_ec2_sessions *others, struct tb_fail *fail)
{
    const char *owner = account->control->deps.config->owner;
    struct make *makes = calloc(TB_CAPTURE_MAX_SOURCES, sizeof(*makes));
    struct control_task tasks[TB_CAPTURE_MAX_SOURCES];
    size_t count = 0;
    enum tb_err err = TB_OK;

    if (makes == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to make sessions");
    }
    for (size_t i = 0; i < capture->source_count; i++) {
        struct tb_capture_source *source = &capture->sources[i];
        struct tb_resource *row = find_session(rows, row_count, source->eni);

        if (source->gap[0] == 0 && !source->armed &&
            (row != NULL || source->session_number != 0)) {
            makes[count] = (struct make){.account = account,
                                         .capture = capture,
                                         .source = source,
                                         .row = row,
                                         .target = target,
                                         .filter = filter};
            tasks[count] = (struct control_task){make_session, &makes[count]};
            count++;
        }
    }
    control_together(tasks, count);
    for (size_t i = 0; i < count; i++) {
        struct tb_capture_source *source = makes[i].source;

        if (makes[i].err != TB_OK && err == TB_OK) {
            err = makes[i].err;
            *fail = makes[i].fail;
        }
        if (source->armed && tb_plan_foreign(others, source->eni, owner) > 0) {
            size_t used = strlen(source->gap);

            (void)snprintf(source->gap + used, sizeof(source->gap) - used,
                           "%smirror sessions of others come first: packets that their filters "
                           "accept are not here",
                           used > 0 ? "; " : "");
        }
    }
    free(makes);
    return err;
}

enum tb_err
control_make_sessions(struct control_account *account, struct tb_capture *capture,
                      const char *target, const char *filter, struct tb_fail *fail)
{
    struct tb_control *control = account->control;
    struct tb_ec2_sessions others = {0};
    struct tb_resource *rows = NULL;
    struct tb_fail waiting = {.err = TB_OK};
    const char *enis[TB_CAPTURE_MAX_SOURCES];
    size_t row_count = 0;
    size_t eni_count = 0;
    enum tb_err err;

    for (size_t i = 0; i < capture->source_count; i++) {
        if (capture->sources[i].gap[0] == 0) {
            enis[eni_count++] = capture->sources[i].eni;
        }
    }
    err = tb_store_resource_list(control->deps.store, capture->id, false, &rows, &row_count,
                                 fail);
    if (err == TB_OK) {
        err = tb_ec2_sessions_list(account->aws, enis, eni_count, &others, fail);
    }
    if (err == TB_OK) {
        control_note_aws_time(control, others.server_utc_s);
        err = choose_numbers(control, capture, rows, row_count, &others, &waiting, fail);
    }
    if (err == TB_OK) {
        err = make_all(account, capture, rows, row_count, target, filter, &others, fail);
    }
    if (err == TB_OK && waiting.err != TB_OK) {
        *fail = waiting;
        err = waiting.err;
    }
    tb_ec2_sessions_release(&others);
    tb_resources_free(rows, row_count);
    return err;
}

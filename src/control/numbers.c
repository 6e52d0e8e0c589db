/* What others want to know of control: sessions that are not ours, and numbers for /metrics. */
#include "control_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <tapbox/spool.h>

bool
control_is_foreign(const struct control_account *account, const struct tb_ec2_session *session)
{
    const struct tb_config *config = account->control->deps.config;
    const char *owner = tb_ec2_tag(&session->tags, TB_TAG_OWNER);

    /* EC2 lists to the owner of a shared target also what others send to it, without tags: of a
     * configured account these are judged there. */
    if (control_is_own(account) && tb_config_account_find(config, session->owner) != NULL) {
        return false;
    }
    return owner == NULL || strcmp(owner, config->owner) != 0;
}

/* Leaves only those of others, in front. */
static void
keep_foreign(const struct control_account *account, struct tb_ec2_sessions *sessions)
{
    size_t foreign = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        struct tb_ec2_session moved = sessions->at[i];

        if (control_is_foreign(account, &moved)) {
            sessions->at[i] = sessions->at[foreign];
            sessions->at[foreign++] = moved;
        }
    }
    for (size_t i = foreign; i < sessions->count; i++) {
        free(sessions->at[i].tags.at);
    }
    sessions->count = foreign;
}

/* Takes over what is in `more`. */
static enum tb_err
append(struct tb_ec2_sessions *all, struct tb_ec2_sessions *more, struct tb_fail *fail)
{
    struct tb_ec2_session *grown;

    if (more->count == 0) {
        tb_ec2_sessions_release(more);
        return TB_OK;
    }
    grown = realloc(all->at, (all->count + more->count) * sizeof(*grown));
    if (grown == NULL) {
        tb_ec2_sessions_release(more);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a list of sessions");
    }
    memcpy(grown + all->count, more->at, more->count * sizeof(*grown));
    all->at = grown;
    all->count += more->count;
    free(more->at);
    *more = (struct tb_ec2_sessions){0};
    return TB_OK;
}

static enum tb_err
look_for_foreign(struct control_account *account, struct tb_ec2_sessions *all,
                 struct tb_fail *fail)
{
    struct tb_ec2_sessions found = {0};
    enum tb_err err = tb_ec2_sessions_list(account->aws, NULL, 0, &found, fail);

    if (err != TB_OK) {
        return err;
    }
    keep_foreign(account, &found);
    tb_mutex_lock(&account->mu);
    account->locked.foreign_sessions = found.count;
    tb_mutex_unlock(&account->mu);
    return append(all, &found, fail);
}

enum tb_err
tb_control_foreign_list(struct tb_control *control, struct tb_control_foreign *out,
                        struct tb_fail *fail)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < control->account_count; i++) {
        struct control_account *account = &control->accounts[i];
        struct tb_fail why = {0};
        enum tb_err err = look_for_foreign(account, &out->sessions, &why);

        if (err != TB_OK && control_is_own(account)) {
            *fail = why;
            tb_control_foreign_release(out);
            return err;
        }
        if (err != TB_OK) {
            size_t n = out->unseen_count++;

            (void)tb_str_copy(out->unseen[n].account, sizeof(out->unseen[n].account),
                              account->id);
            (void)snprintf(out->unseen[n].why, sizeof(out->unseen[n].why), "%.199s", why.text);
        }
    }
    return TB_OK;
}

void
tb_control_foreign_release(struct tb_control_foreign *foreign)
{
    tb_ec2_sessions_release(&foreign->sessions);
}

/* What cannot be read counts nothing: it may have been uploaded and removed meanwhile. */
static uint64_t
sealed_bytes(int spool_fd, const char *capture_id)
{
    struct tb_spool_names names = {0};
    uint64_t bytes = 0;

    if (tb_spool_sealed(spool_fd, capture_id, &names, NULL) == TB_OK) {
        for (size_t i = 0; i < names.count; i++) {
            char path[TB_CAPTURE_ID_SIZE + 1 + TB_SPOOL_NAME_SIZE];
            struct stat file;

            (void)snprintf(path, sizeof(path), "%.*s/%s", TB_CAPTURE_ID_SIZE - 1, capture_id,
                           names.at[i]);
            if (fstatat(spool_fd, path, &file, AT_SYMLINK_NOFOLLOW) == 0) {
                bytes += (uint64_t)file.st_size;
            }
        }
    }
    tb_spool_names_release(&names);
    return bytes;
}

void
tb_control_numbers(struct tb_control *control, struct tb_control_numbers *out)
{
    struct tb_spool_names captures = {0};

    *out = (struct tb_control_numbers){
        .delete_failures = atomic_load(&control->delete_failures),
        .mirror_changes = atomic_load(&control->mirror_changes),
        .foreign_sessions = tb_control_foreign_sessions(control),
    };
    if (tb_spool_captures(control->deps.spool_fd, &captures, NULL) == TB_OK) {
        for (size_t i = 0; i < captures.count; i++) {
            out->spool_bytes += sealed_bytes(control->deps.spool_fd, captures.at[i]);
        }
    }
    tb_spool_names_release(&captures);
    if (tb_uploader_numbers(control->deps.uploader, &out->upload, NULL) != TB_OK) {
        out->upload.backlog = (struct tb_backlog){0};
    }
    tb_aws_counts(control->deps.aws, out->aws);
    out->recorder_answers =
        tb_recorder_host(control->deps.recorder, &out->recorder, NULL) == TB_OK;
}

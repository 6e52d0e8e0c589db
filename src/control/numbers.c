/* What others want to know of control: sessions that are not ours, and numbers for /metrics. */
#include "control_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <tapbox/spool.h>

bool
control_is_foreign(const struct tb_control *control, const struct tb_ec2_session *session)
{
    const char *owner = tb_ec2_tag(&session->tags, TB_TAG_OWNER);

    return owner == NULL || strcmp(owner, control->deps.config->owner) != 0;
}

enum tb_err
tb_control_foreign_list(struct tb_control *control, struct tb_ec2_sessions *out,
                        struct tb_fail *fail)
{
    struct tb_ec2_sessions sessions = {0};
    size_t foreign = 0;
    enum tb_err err = tb_ec2_sessions_list(control->deps.aws, NULL, 0, &sessions, fail);

    if (err != TB_OK) {
        return err;
    }
    for (size_t i = 0; i < sessions.count; i++) {
        struct tb_ec2_session moved = sessions.at[i];

        if (control_is_foreign(control, &moved)) {
            sessions.at[i] = sessions.at[foreign];
            sessions.at[foreign++] = moved;
        }
    }
    for (size_t i = foreign; i < sessions.count; i++) {
        free(sessions.at[i].tags.at);
    }
    sessions.count = foreign;
    tb_mutex_lock(&control->mu);
    control->locked.foreign_sessions = foreign;
    tb_mutex_unlock(&control->mu);
    *out = sessions;
    return TB_OK;
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

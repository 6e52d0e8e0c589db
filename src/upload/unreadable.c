/*
 * The thread "salvage": takes files that the disk did not give several times in a row, looks
 * whether S3 has them after all, and else puts what can be read of them in their place.
 */
#include "uploader_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/log.h>

/* False: nobody has waited for one long enough.  It is left alone by all others from here on.
 */
static bool
take_unreadable(struct tb_uploader *up, struct taken *out)
{
    bool found = false;

    tb_mutex_lock(&up->mu);
    for (size_t i = 0; i < up->locked.off_count && !found && !up->locked.stopping; i++) {
        struct put_off *off = &up->locked.off[i];

        if (off->pause_ns != 0 && off->unreadable >= UPLOAD_UNREADABLE_TRIES) {
            off->until_boot_ns = INT64_MAX;
            off->unreadable = 0;
            *out = off->what;
            found = true;
        }
    }
    tb_mutex_unlock(&up->mu);
    return found;
}

/* An answer of S3 may have been lost: *out_there when it has exactly what was sealed. */
static enum tb_err
look_in_s3(struct tb_uploader *up, struct tb_segment_row *row, bool *out_there,
           struct tb_fail *fail)
{
    struct tb_s3_put put = {.bytes = row->bytes, .body_fd = -1};
    char name[TB_SPOOL_NAME_SIZE + 16];
    struct tb_s3_ack ack;
    enum tb_err err;

    *out_there = false;
    memcpy(put.sha256.octets, row->sha256, sizeof(put.sha256.octets));
    (void)snprintf(name, sizeof(name), "segments/%s", row->name);
    err = upload_key(up->deps.prefix, row->capture_id, name, row->s3_key, fail);
    if (err != TB_OK) {
        return err;
    }
    put.key = row->s3_key;
    err = tb_s3_find(up->deps.aws, &up->deps.bucket, &put, &ack, fail);
    if (err == TB_OK) {
        *out_there = true;
        return upload_acknowledge(up, row, &ack, fail);
    }
    if (err != TB_ENOTFOUND && err != TB_EDENIED && err != TB_EEXIST) {
        return err;
    }
    return upload_abort_parts(&up->deps, row, fail);
}

/* One that is in the store already. */
static enum tb_err
look_for_known(struct tb_uploader *up, const struct taken *one, bool *out_done,
               struct tb_fail *fail)
{
    struct tb_segment_row *rows = NULL;
    size_t count = 0;
    enum tb_err err =
        tb_store_segment_list(up->deps.store, one->capture_id, &rows, &count, fail);

    *out_done = false;
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (strcmp(rows[i].name, one->name) == 0) {
            if (rows[i].state == TB_SEGMENT_SPOOLED && rows[i].local) {
                err = look_in_s3(up, &rows[i], out_done, fail);
            } else {
                *out_done = true;
            }
            break;
        }
    }
    free(rows);
    return err;
}

static enum tb_err
salvage(struct tb_uploader *up, const struct taken *one, struct tb_fail *fail)
{
    const struct tb_uploader_deps *deps = &up->deps;
    bool done = false;
    enum tb_err err = look_for_known(up, one, &done, fail);

    if (err != TB_OK || done) {
        return err;
    }
    err = upload_salvage(deps->spool_fd, one->capture_id, one->name, fail);
    if (err == TB_ENOTFOUND) {
        tb_log_fail(TB_LOG_ERROR, one->capture_id, fail,
                    "nothing of %s can be read: it is kept in unreadable/", one->name);
        return upload_enter_unreadable(deps->store, deps->spool_fd, one->capture_id, one->name,
                                       fail);
    }
    return err != TB_OK ? err
                        : tb_upload_scan(deps->store, deps->spool_fd, one->capture_id, fail);
}

void *
upload_save_unreadable(void *arg)
{
    struct tb_uploader *up = arg;

    do {
        struct tb_fail fail = {0};
        struct taken one;

        while (take_unreadable(up, &one)) {
            enum tb_err err = salvage(up, &one, &fail);

            tb_mutex_lock(&up->mu);
            upload_forget_put_off_locked(up, one.capture_id, one.name);
            if (err != TB_OK) {
                upload_put_off_locked(up, one.capture_id, one.name, upload_backoff_most_ns);
            }
            tb_mutex_unlock(&up->mu);
            if (err != TB_OK) {
                tb_log_fail(TB_LOG_ERROR, one.capture_id, &fail,
                            "cannot save what can be read of %s; it is tried again", one.name);
            }
        }
    } while (upload_wait_for_more(up));
    return NULL;
}

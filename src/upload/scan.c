/* From the spool folder into the store: every sealed segment with its hash, once. */
#include "upload_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/segment.h>
#include <tapbox/spool.h>

static const struct tb_segment_row *
find(const struct tb_segment_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* What the file says of itself. */
static enum tb_err
read_index(int spool_fd, int fd, struct tb_segment_row *row, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_sha256 root;
    size_t holes = 0;
    enum tb_err err = tb_segment_reader_open(fd, &reader, fail);

    if (err == TB_OK) {
        tb_segment_reader_summary(reader, &summary);
        err = tb_segment_merkle_root(reader, &root, fail);
    }
    if (err == TB_OK) {
        memcpy(row->merkle_root, root.octets, sizeof(row->merkle_root));
        row->packets = summary.packets;
        row->first_utc_ns = summary.first_utc_ns;
        row->last_utc_ns = summary.last_utc_ns;
        row->recovered = summary.recovered;
        (void)tb_segment_reader_holes(reader, &holes);
        if (holes > 0 || (summary.recovered &&
                          tb_spool_is_put_aside(spool_fd, row->capture_id, row->name))) {
            upload_describe_damage(reader, row);
        }
    }
    tb_segment_reader_free(reader);
    return err;
}

/* What the file says of itself, and what it is (its hash).  One without an index that can be
 * read was damaged: what can be read of it takes its place.  Where nothing can, it is evidence
 * all the same, and goes as it is.  `*damage` says what is wrong with it then, else TB_OK. */
static enum tb_err
read_segment(int spool_fd, struct tb_segment_row *row, struct tb_fail *damage,
             struct tb_fail *fail)
{
    struct tb_sha256 digest;
    int fd = -1;
    enum tb_err err;

    damage->err = TB_OK;
    err = tb_spool_open(spool_fd, row->capture_id, row->name, &fd, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = read_index(spool_fd, fd, row, fail);
    if (err == TB_EFORMAT) {
        *damage = *fail;
        err = upload_salvage(spool_fd, row->capture_id, row->name, fail);
        if (err == TB_OK) {
            tb_close(&fd);
            err = tb_spool_open(spool_fd, row->capture_id, row->name, &fd, fail);
            damage->err = TB_OK;
            err = err == TB_OK ? read_index(spool_fd, fd, row, fail) : err;
        }
    }
    if (err != TB_OK && (damage->err == TB_OK || err != TB_ENOTFOUND)) {
        goto out;
    }
    err = tb_sha256_fd(fd, &digest, &row->bytes, fail);
    if (err != TB_OK) {
        goto out;
    }
    memcpy(row->sha256, digest.octets, sizeof(row->sha256));
    row->state = TB_SEGMENT_SPOOLED;
    row->local = true;

out:
    tb_close(&fd);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "segment %s", row->name);
    }
    return err;
}

/* One that is not known yet. */
static enum tb_err
enter(struct tb_store *store, int spool_fd, const char *capture_id, const char *name,
      const struct upload_watch *watch, struct tb_fail *fail)
{
    struct tb_segment_row row = {0};
    struct tb_fail damage;
    enum tb_err err;

    if (watch != NULL && watch->is_put_off(watch->up, capture_id, name)) {
        return TB_OK;
    }
    (void)tb_str_copy(row.capture_id, sizeof(row.capture_id), capture_id);
    (void)tb_str_copy(row.name, sizeof(row.name), name);
    err = read_segment(spool_fd, &row, &damage, fail);
    if (err == TB_EIO && watch != NULL) {
        watch->is_unreadable(watch->up, capture_id, name);
    }
    if (err == TB_OK) {
        err = tb_store_segment_add(store, &row, fail);
    }
    if (err == TB_OK && damage.err != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, capture_id, &damage,
                    "%s is damaged: it is uploaded as it is, its packets are not counted",
                    name);
    }
    return err;
}

/* A service that was killed between the steps that a damaged file takes goes on with them. */
static enum tb_err
finish_damaged(struct tb_store *store, int spool_fd, const struct tb_segment_row *known,
               struct tb_fail *fail)
{
    struct tb_segment_row row = *known;
    struct tb_fail damage;
    enum tb_err err;

    if (known->state != TB_SEGMENT_SPOOLED || (!known->local && known->damage[0] == '\0') ||
        (known->local && (known->damage[0] != '\0' ||
                          !tb_spool_is_put_aside(spool_fd, row.capture_id, row.name)))) {
        return TB_OK;
    }
    if (!known->local) {
        return tb_spool_put_aside(spool_fd, row.capture_id, row.name, fail);
    }
    err = read_segment(spool_fd, &row, &damage, fail);
    return err == TB_OK && row.damage[0] != '\0' ? tb_store_segment_damaged(store, &row, fail)
                                                 : err;
}

enum tb_err
upload_enter_unreadable(struct tb_store *store, int spool_fd, const char *capture_id,
                        const char *name, struct tb_fail *fail)
{
    struct tb_segment_row *known = NULL;
    struct tb_segment_row row = {.state = TB_SEGMENT_SPOOLED};
    const struct tb_segment_row *old;
    size_t count = 0;
    enum tb_err err = tb_store_segment_list(store, capture_id, &known, &count, fail);

    if (err != TB_OK) {
        return err;
    }
    old = find(known, count, name);
    if (old != NULL) {
        row = *old;
    }
    (void)tb_str_copy(row.capture_id, sizeof(row.capture_id), capture_id);
    (void)tb_str_copy(row.name, sizeof(row.name), name);
    (void)tb_str_copy(row.damage, sizeof(row.damage), "all of it");
    row.local = false;
    row.missing_packets = row.packets;
    row.packets = 0;
    err = old != NULL ? tb_store_segment_damaged(store, &row, fail)
                      : tb_store_segment_add(store, &row, fail);
    if (err == TB_OK) {
        err = tb_spool_put_aside(spool_fd, capture_id, name, fail);
    }
    free(known);
    return err;
}

/* A service that was killed between S3's answer and the removal of the file finishes that now;
 * else the capture's folder would never be empty. */
static enum tb_err
finish_removals(struct tb_store *store, int spool_fd, const struct tb_segment_row *known,
                size_t count, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < count && err == TB_OK; i++) {
        if (known[i].state != TB_SEGMENT_UPLOADED || !known[i].local) {
            continue;
        }
        err = tb_spool_remove(spool_fd, known[i].capture_id, known[i].name, fail);
        if (err == TB_OK) {
            err = tb_store_segment_local_gone(store, known[i].capture_id, known[i].name, fail);
        }
    }
    return err;
}

enum tb_err
upload_scan(struct tb_store *store, int spool_fd, const char *capture_id,
            const struct upload_watch *watch, struct tb_fail *fail)
{
    struct tb_spool_names names = {0};
    struct tb_segment_row *known = NULL;
    size_t known_count = 0;
    bool listed;
    enum tb_err err;

    err = tb_spool_sealed(spool_fd, capture_id, &names, fail);
    if (err == TB_OK) {
        err = tb_store_segment_list(store, capture_id, &known, &known_count, fail);
    }
    listed = err == TB_OK;
    for (size_t i = 0; i < names.count && listed; i++) {
        const struct tb_segment_row *row = find(known, known_count, names.at[i]);
        struct tb_fail why = {0};
        enum tb_err of_this =
            row != NULL ? finish_damaged(store, spool_fd, row, &why)
                        : enter(store, spool_fd, capture_id, names.at[i], watch, &why);

        /* one that cannot be read holds up no other; the first failure is told */
        if (of_this != TB_OK && err == TB_OK) {
            err = of_this;
            if (fail != NULL) {
                *fail = why;
            }
        }
    }
    if (err == TB_OK) {
        err = finish_removals(store, spool_fd, known, known_count, fail);
    }
    free(known);
    tb_spool_names_release(&names);
    return err;
}

enum tb_err
tb_upload_scan(struct tb_store *store, int spool_fd, const char *capture_id,
               struct tb_fail *fail)
{
    return upload_scan(store, spool_fd, capture_id, NULL, fail);
}

enum tb_err
tb_upload_capture_prefix(const char *prefix, const char *capture_id, char *out, size_t cap,
                         struct tb_fail *fail)
{
    int len;

    if (!tb_capture_id_valid(capture_id)) {
        return tb_fail_set(fail, TB_EINVAL, "'%s' is not a capture id", capture_id);
    }
    /* cap-YYYYMMDDT...: the day is in the id, so that the place follows from the id alone */
    len = snprintf(out, cap, "%s%s%.4s/%.2s/%.2s/%s", prefix, prefix[0] != 0 ? "/" : "",
                   capture_id + 4, capture_id + 8, capture_id + 10, capture_id);
    if (len < 0 || (size_t)len >= cap) {
        return tb_fail_set(fail, TB_ETOOBIG, "the S3 prefix '%s' is too long", prefix);
    }
    return TB_OK;
}

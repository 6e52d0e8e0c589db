/* From the spool folder into the store: every sealed segment with its hash, once. */
#include <tapbox/upload.h>

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/evidence.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/log.h>
#include <tapbox/segment.h>
#include <tapbox/spool.h>

static bool
is_known(const struct tb_segment_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What the file says of itself. */
static enum tb_err
read_index(int fd, struct tb_segment_row *row, struct tb_fail *fail)
{
    struct tb_segment_reader *reader = NULL;
    struct tb_segment_summary summary;
    struct tb_sha256 root;
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
    }
    tb_segment_reader_free(reader);
    return err;
}

/* What the file says of itself, and what it is (its hash).  One that says nothing any more was
 * damaged after it was sealed.  It is evidence all the same, and goes as it is: a repair would
 * cut off what somebody may yet read.  `*damage` says what is wrong with it, else TB_OK. */
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
    err = read_index(fd, row, fail);
    if (err == TB_EFORMAT) {
        *damage = *fail;
    } else if (err != TB_OK) {
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
tb_upload_scan(struct tb_store *store, int spool_fd, const char *capture_id,
               struct tb_fail *fail)
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
        struct tb_segment_row row = {0};
        struct tb_fail damage, why = {0};
        enum tb_err of_this;

        if (is_known(known, known_count, names.at[i])) {
            continue;
        }
        (void)tb_str_copy(row.capture_id, sizeof(row.capture_id), capture_id);
        (void)tb_str_copy(row.name, sizeof(row.name), names.at[i]);
        of_this = read_segment(spool_fd, &row, &damage, &why);
        if (of_this == TB_OK) {
            of_this = tb_store_segment_add(store, &row, &why);
        }
        if (of_this == TB_OK && damage.err != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, capture_id, &damage,
                        "%s is damaged: it is uploaded as it is, its packets are not counted",
                        row.name);
        }
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

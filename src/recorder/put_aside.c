/*
 * DIR/unreadable/<capture id>/: what the disk did not give as it was written.  A segment and
 * what was saved of it change places in one step, so that whatever happens the one or the other
 * lies where the uploader looks, and the damaged one is never lost.
 */
#include "lane_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <tapbox/io.h>

enum {
    FOLDER_MODE = 0770, /* as of the captures */
    FILE_MODE = 0640,
    MAX_OF_A_NAME = 100 /* files: a segment is damaged once, or a disk is at its end */
};

static const char folder_name[] = SPOOL_UNREADABLE;

/* Made where it is not there, so that it lasts. */
static enum tb_err
open_aside(int spool_fd, const char *capture_id, int *out_fd, struct tb_fail *fail)
{
    int all_fd = -1;
    enum tb_err err = tb_open_dir(spool_fd, folder_name, FOLDER_MODE, &all_fd, fail);

    if (err == TB_OK) {
        err = tb_open_dir(all_fd, capture_id, FOLDER_MODE, out_fd, fail);
    }
    if (err == TB_OK && (fsync(spool_fd) != 0 || fsync(all_fd) != 0)) {
        err = tb_fail_errno(fail, errno, "cannot sync the spool folder %s", folder_name);
        tb_close(out_fd);
    }
    tb_close(&all_fd);
    return err;
}

/* `name`, or with a number behind it. */
static void
numbered(const char *name, unsigned number, char out[TB_SPOOL_PLACE_SIZE])
{
    if (number == 0) {
        (void)tb_str_copy(out, TB_SPOOL_PLACE_SIZE, name);
    } else {
        (void)snprintf(out, TB_SPOOL_PLACE_SIZE, "%s.%u", name, number);
    }
}

enum tb_err
tb_spool_begin_replacement(int spool_fd, const char *capture_id, const char *name,
                           char out_place[TB_SPOOL_PLACE_SIZE], int *out_fd,
                           struct tb_fail *fail)
{
    int aside_fd = -1;
    enum tb_err err = open_aside(spool_fd, capture_id, &aside_fd, fail);

    if (err != TB_OK) {
        return err;
    }
    err = TB_EEXIST;
    for (unsigned i = 0; err == TB_EEXIST && i < MAX_OF_A_NAME; i++) {
        numbered(name, i, out_place);
        *out_fd = openat(aside_fd, out_place, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
        err = *out_fd >= 0
                  ? TB_OK
                  : tb_fail_errno(fail, errno, "cannot make %s/%s", folder_name, out_place);
    }
    tb_close(&aside_fd);
    return err;
}

enum tb_err
tb_spool_replace(int spool_fd, const char *capture_id, const char *name, const char *place,
                 struct tb_fail *fail)
{
    int dir_fd = -1, aside_fd = -1;
    enum tb_err err = tb_spool_open_capture(spool_fd, capture_id, &dir_fd, fail);

    if (err == TB_OK) {
        err = open_aside(spool_fd, capture_id, &aside_fd, fail);
    }
    /* (what stands in is known to last before the damaged one is out of the way) */
    if (err == TB_OK && (fsync(aside_fd) != 0 ||
                         renameat2(dir_fd, name, aside_fd, place, RENAME_EXCHANGE) != 0 ||
                         fsync(dir_fd) != 0 || fsync(aside_fd) != 0)) {
        err = tb_fail_errno(fail, errno, "cannot replace %s by what was saved of it", name);
    }
    tb_close(&aside_fd);
    tb_close(&dir_fd);
    return err;
}

void
tb_spool_drop_replacement(int spool_fd, const char *capture_id, const char *place)
{
    int aside_fd = -1;

    if (open_aside(spool_fd, capture_id, &aside_fd, NULL) == TB_OK) {
        (void)unlinkat(aside_fd, place, 0);
    }
    tb_close(&aside_fd);
}

enum tb_err
tb_spool_put_aside(int spool_fd, const char *capture_id, const char *name, struct tb_fail *fail)
{
    char place[TB_SPOOL_PLACE_SIZE];
    int dir_fd = -1, aside_fd = -1;
    enum tb_err err = tb_spool_open_capture(spool_fd, capture_id, &dir_fd, fail);

    if (err == TB_OK) {
        err = open_aside(spool_fd, capture_id, &aside_fd, fail);
    }
    if (err != TB_OK) {
        tb_close(&dir_fd);
        return err == TB_ENOTFOUND ? TB_OK : err;
    }
    err = TB_EEXIST;
    for (unsigned i = 0; err == TB_EEXIST && i < MAX_OF_A_NAME; i++) {
        numbered(name, i, place);
        err = renameat2(dir_fd, name, aside_fd, place, RENAME_NOREPLACE) == 0
                  ? TB_OK
                  : tb_fail_errno(fail, errno, "cannot move %s to %s", name, folder_name);
    }
    if (err == TB_OK && (fsync(aside_fd) != 0 || fsync(dir_fd) != 0)) {
        err = tb_fail_errno(fail, errno, "cannot sync the folders of %s", name);
    }
    tb_close(&aside_fd);
    tb_close(&dir_fd);
    return err == TB_ENOTFOUND ? TB_OK : err;
}

bool
tb_spool_is_put_aside(int spool_fd, const char *capture_id, const char *name)
{
    char path[sizeof(folder_name) + TB_CAPTURE_ID_SIZE + TB_SPOOL_NAME_SIZE];

    (void)snprintf(path, sizeof(path), "%s/%s/%s", folder_name, capture_id, name);
    return faccessat(spool_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

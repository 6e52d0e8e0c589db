/* The spool folder: names, what is sealed, what was left open by a crash. */
#include "lane_int.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/ids.h>
#include <tapbox/io.h>
#include <tapbox/log.h>

#define SUFFIX ".pcapng.zst"
#define SEQ_PREFIX ".seq-" /* + host-lane: the next sequence number, in decimal */

enum {
    SEQ_MIN_DIGITS = 6,
    SEQ_MAX_DIGITS = 18,
    SEQ_FILE_BYTES = 32,
    NAMES_FIRST = 16
};

/* --- names --- */

static bool
is_host(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '.' && text[i] != '-') {
            return false;
        }
    }
    return len > 0 && text[0] != '.';
}

/* Digits in front of `*end`, which moves to their beginning; 0 when there are none. */
static size_t
digits_before(const char *name, size_t *end)
{
    size_t begin = *end;
    size_t count;

    while (begin > 0 && isdigit((unsigned char)name[begin - 1])) {
        begin--;
    }
    count = *end - begin;
    *end = begin;
    return count;
}

bool
tb_spool_parse_name(const char *name, size_t *out_prefix, uint64_t *out_seq)
{
    size_t len = strlen(name);
    size_t at, digits, prefix;

    if (len >= TB_SPOOL_NAME_SIZE || len <= sizeof(SUFFIX) ||
        strcmp(name + len - (sizeof(SUFFIX) - 1), SUFFIX) != 0) {
        return false;
    }
    at = len - (sizeof(SUFFIX) - 1);
    digits = digits_before(name, &at);
    if (digits < SEQ_MIN_DIGITS || digits > SEQ_MAX_DIGITS || at == 0 || name[at - 1] != '-') {
        return false;
    }
    *out_seq = strtoull(name + at, NULL, 10);
    at--;
    prefix = at;
    digits = digits_before(name, &at);
    if (digits == 0 || digits > 2 || at == 0 || name[at - 1] != '-') {
        return false;
    }
    *out_prefix = prefix;
    return is_host(name, at - 1);
}

bool
tb_spool_name_valid(const char *name)
{
    size_t prefix;
    uint64_t seq;

    return tb_spool_parse_name(name, &prefix, &seq);
}

static bool
is_hidden_segment(const char *name)
{
    return name[0] == '.' && tb_spool_name_valid(name + 1);
}

static bool
is_seq_file(const char *name)
{
    return strncmp(name, SEQ_PREFIX, sizeof(SEQ_PREFIX) - 1) == 0;
}

static bool
any_segment(const char *name)
{
    return tb_spool_name_valid(name) || is_hidden_segment(name);
}

void
tb_spool_names_release(struct tb_spool_names *names)
{
    free(names->at);
    *names = (struct tb_spool_names){NULL, 0};
}

static enum tb_err
add_name(struct tb_spool_names *names, const char *name, struct tb_fail *fail)
{
    /* (grows when the count is a power of two from the first size on) */
    if (names->count == 0 ||
        (names->count >= NAMES_FIRST && (names->count & (names->count - 1)) == 0)) {
        size_t cap = names->count == 0 ? NAMES_FIRST : names->count * 2;
        void *more = realloc(names->at, cap * TB_SPOOL_NAME_SIZE);

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for the names in the spool");
        }
        names->at = more;
    }
    (void)tb_str_copy(names->at[names->count++], TB_SPOOL_NAME_SIZE, name);
    return TB_OK;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names in a folder that `wanted` likes, sorted.  A folder that is not there holds none. */
static enum tb_err
list(int dir_fd, const char *folder, bool (*wanted)(const char *), struct tb_spool_names *out,
     struct tb_fail *fail)
{
    struct tb_spool_names names = {NULL, 0};
    const struct dirent *entry;
    enum tb_err err = TB_OK;
    DIR *dir = NULL;
    int fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT) {
        *out = names;
        return TB_OK;
    }
    if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
        err = tb_fail_errno(fail, errno, "cannot read the spool folder %s", folder);
        tb_close(&fd);
        return err;
    }
    /* cppcheck-suppress readdirCalled ; `dir` is this call's own */
    while (err == TB_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        if (strlen(entry->d_name) < TB_SPOOL_NAME_SIZE && wanted(entry->d_name)) {
            err = add_name(&names, entry->d_name, fail);
        }
    }
    if (err == TB_OK && errno != 0) {
        err = tb_fail_errno(fail, errno, "cannot read the spool folder %s", folder);
    }
    (void)closedir(dir);
    if (err != TB_OK) {
        tb_spool_names_release(&names);
        return err;
    }
    if (names.count > 1) {
        qsort(names.at, names.count, TB_SPOOL_NAME_SIZE, compare_names);
    }
    *out = names;
    return TB_OK;
}

static enum tb_err
check_id(const char *capture_id, struct tb_fail *fail)
{
    return tb_capture_id_valid(capture_id)
               ? TB_OK
               : tb_fail_set(fail, TB_EINVAL, "'%s' is not a capture id", capture_id);
}

enum tb_err
tb_spool_segments(int capture_fd, struct tb_spool_names *out, struct tb_fail *fail)
{
    return list(capture_fd, ".", any_segment, out, fail);
}

/* --- what serve asks for --- */

enum tb_err
tb_spool_sealed(int spool_fd, const char *capture_id, struct tb_spool_names *out,
                struct tb_fail *fail)
{
    enum tb_err err = check_id(capture_id, fail);

    return err != TB_OK ? err : list(spool_fd, capture_id, tb_spool_name_valid, out, fail);
}

enum tb_err
tb_spool_captures(int spool_fd, struct tb_spool_names *out, struct tb_fail *fail)
{
    return list(spool_fd, ".", tb_capture_id_valid, out, fail);
}

enum tb_err
tb_spool_open_capture(int spool_fd, const char *capture_id, int *out_fd, struct tb_fail *fail)
{
    enum tb_err err = check_id(capture_id, fail);

    if (err != TB_OK) {
        return err;
    }
    *out_fd = openat(spool_fd, capture_id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*out_fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open the spool of %s", capture_id);
    }
    return TB_OK;
}

enum tb_err
tb_spool_open(int spool_fd, const char *capture_id, const char *name, int *out_fd,
              struct tb_fail *fail)
{
    int dir_fd = -1;
    int fd;
    enum tb_err err;

    if (!tb_spool_name_valid(name)) {
        return tb_fail_set(fail, TB_EINVAL, "'%s' is not the name of a segment", name);
    }
    err = tb_spool_open_capture(spool_fd, capture_id, &dir_fd, fail);
    if (err != TB_OK) {
        return err;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        err = tb_fail_errno(fail, errno, "cannot open the segment %s", name);
    } else {
        *out_fd = fd;
    }
    tb_close(&dir_fd);
    return err;
}

enum tb_err
tb_spool_remove(int spool_fd, const char *capture_id, const char *name, struct tb_fail *fail)
{
    int dir_fd = -1;
    enum tb_err err;

    if (!tb_spool_name_valid(name)) {
        return tb_fail_set(fail, TB_EINVAL, "'%s' is not the name of a segment", name);
    }
    err = tb_spool_open_capture(spool_fd, capture_id, &dir_fd, fail);
    if (err == TB_ENOTFOUND) {
        return TB_OK;
    }
    if (err == TB_OK && unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT) {
        err = tb_fail_errno(fail, errno, "cannot remove the segment %s", name);
    }
    tb_close(&dir_fd);
    return err;
}

static bool
any_name(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

enum tb_err
tb_spool_remove_capture(int spool_fd, const char *capture_id, struct tb_fail *fail)
{
    struct tb_spool_names names = {NULL, 0};
    bool only_seq = true;
    enum tb_err err = check_id(capture_id, fail);

    if (err != TB_OK) {
        return err;
    }
    err = list(spool_fd, capture_id, any_name, &names, fail);
    if (err != TB_OK) {
        return err;
    }
    for (size_t i = 0; i < names.count; i++) {
        only_seq = only_seq && is_seq_file(names.at[i]);
    }
    for (size_t i = 0; only_seq && i < names.count; i++) {
        char path[TB_CAPTURE_ID_SIZE + TB_SPOOL_NAME_SIZE];

        (void)snprintf(path, sizeof(path), "%s/%s", capture_id, names.at[i]);
        (void)unlinkat(spool_fd, path, 0);
    }
    tb_spool_names_release(&names);
    if (unlinkat(spool_fd, capture_id, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return errno == ENOTEMPTY
                   ? tb_fail_set(fail, TB_ERETRY,
                                 "%s has segments in the spool that are yet to be sealed, "
                                 "repaired or uploaded",
                                 capture_id)
                   : tb_fail_errno(fail, errno, "cannot remove the spool of %s", capture_id);
    }
    return TB_OK;
}

/* --- what a dead recorder left --- */

static enum tb_err
add_left(struct tb_spool_left *left, const char *capture_id, const struct tb_spool_names *names,
         struct tb_fail *fail)
{
    size_t count = left->count + names->count;
    struct tb_spool_left_segment *more =
        names->count == 0 ? NULL : realloc(left->at, count * sizeof(*more));

    if (names->count == 0) {
        return TB_OK;
    }
    if (more == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the names in the spool");
    }
    left->at = more;
    for (size_t i = 0; i < names->count; i++) {
        struct tb_spool_left_segment *one = &left->at[left->count++];

        (void)tb_str_copy(one->capture_id, sizeof(one->capture_id), capture_id);
        (void)tb_str_copy(one->name, sizeof(one->name), names->at[i]);
    }
    return TB_OK;
}

enum tb_err
tb_spool_left(int spool_fd, struct tb_spool_left *out, struct tb_fail *fail)
{
    struct tb_spool_names captures = {NULL, 0};
    struct tb_spool_left left = {NULL, 0};
    enum tb_err err = tb_spool_captures(spool_fd, &captures, fail);

    for (size_t i = 0; err == TB_OK && i < captures.count; i++) {
        struct tb_spool_names names = {NULL, 0};
        struct tb_fail why = {.err = TB_OK};

        /* (a folder that cannot be read keeps no other from being recorded) */
        if (list(spool_fd, captures.at[i], is_hidden_segment, &names, &why) != TB_OK) {
            tb_log_fail(TB_LOG_ERROR, captures.at[i], &why,
                        "cannot look for segments to repair");
        }
        err = add_left(&left, captures.at[i], &names, fail);
        tb_spool_names_release(&names);
    }
    tb_spool_names_release(&captures);
    if (err != TB_OK) {
        tb_spool_left_release(&left);
        return err;
    }
    *out = left;
    return TB_OK;
}

void
tb_spool_left_release(struct tb_spool_left *left)
{
    free(left->at);
    *left = (struct tb_spool_left){NULL, 0};
}

/* --- the recorder's own questions --- */

/* Adds up the files in the captures' folders below `dir_fd`. */
static enum tb_err
add_used(int dir_fd, uint64_t *bytes, struct tb_fail *fail)
{
    struct tb_spool_names captures = {NULL, 0};
    enum tb_err err = tb_spool_captures(dir_fd, &captures, fail);

    for (size_t i = 0; err == TB_OK && i < captures.count; i++) {
        struct tb_spool_names names = {NULL, 0};

        err = list(dir_fd, captures.at[i], any_name, &names, fail);
        for (size_t k = 0; k < names.count; k++) {
            char path[TB_SPOOL_NAME_SIZE * 2];
            struct stat st;

            (void)snprintf(path, sizeof(path), "%s/%s", captures.at[i], names.at[k]);
            if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                *bytes += (uint64_t)st.st_size;
            }
        }
        tb_spool_names_release(&names);
    }
    tb_spool_names_release(&captures);
    return err;
}

enum tb_err
tb_spool_used(int spool_fd, uint64_t *out_bytes, struct tb_fail *fail)
{
    uint64_t bytes = 0;
    int aside_fd;
    enum tb_err err = add_used(spool_fd, &bytes, fail);

    aside_fd =
        openat(spool_fd, SPOOL_UNREADABLE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (err == TB_OK && aside_fd >= 0) {
        err = add_used(aside_fd, &bytes, fail);
    } else if (err == TB_OK && errno != ENOENT) {
        err = tb_fail_errno(fail, errno, "cannot read the spool folder %s", SPOOL_UNREADABLE);
    }
    tb_close(&aside_fd);
    if (err == TB_OK) {
        *out_bytes = bytes;
    }
    return err;
}

static void
seq_file(char out[TB_SPOOL_NAME_SIZE], const char *host, unsigned lane)
{
    (void)snprintf(out, TB_SPOOL_NAME_SIZE, SEQ_PREFIX "%s-%u", host, lane);
}

enum tb_err
tb_spool_next_seq(int capture_fd, const char *host, unsigned lane, uint64_t *out_seq,
                  struct tb_fail *fail)
{
    struct tb_spool_names names = {NULL, 0};
    struct tb_buf text = TB_BUF_INIT(SEQ_FILE_BYTES);
    char name[TB_SPOOL_NAME_SIZE];
    char mine[TB_SPOOL_NAME_SIZE];
    uint64_t next = 1;
    enum tb_err err;

    seq_file(name, host, lane);
    err = tb_read_file(capture_fd, name, &text, fail);
    if (err == TB_OK) {
        uint64_t kept = strtoull(tb_buf_str(&text), NULL, 10);

        next = kept > next ? kept : next;
    } else if (err != TB_ENOTFOUND && err != TB_ETOOBIG) {
        goto out;
    }
    (void)snprintf(mine, sizeof(mine), "%s-%u", host, lane);
    err = tb_spool_segments(capture_fd, &names, fail);
    for (size_t i = 0; i < names.count; i++) {
        const char *segment = names.at[i] + (names.at[i][0] == '.');
        size_t prefix;
        uint64_t seq;

        if (tb_spool_parse_name(segment, &prefix, &seq) && prefix == strlen(mine) &&
            strncmp(segment, mine, prefix) == 0 && seq >= next) {
            next = seq + 1;
        }
    }
    if (err == TB_OK) {
        *out_seq = next;
    }

out:
    tb_spool_names_release(&names);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_spool_keep_seq(int capture_fd, const char *host, unsigned lane, uint64_t next_seq,
                  struct tb_fail *fail)
{
    char name[TB_SPOOL_NAME_SIZE];
    char text[SEQ_FILE_BYTES];
    enum tb_err err = TB_OK;
    int len, fd;

    seq_file(name, host, lane);
    fd = openat(capture_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make %s", name);
    }
    /* One short write in place: it has 20 digits always, so that no old ones stay behind. */
    len = snprintf(text, sizeof(text), "%020" PRIu64 "\n", next_seq);
    if (pwrite(fd, text, (size_t)len, 0) != len || fdatasync(fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot write %s", name);
    }
    tb_close(&fd);
    return err;
}

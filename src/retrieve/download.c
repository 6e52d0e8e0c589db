/* A capture's files on the local disk: each whole, each checked, what is there already kept. */
#include "retrieve_int.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FOLDER_MODE = 0750,
    FILE_MODE = 0640,
    HASH_BYTES = 1 << 20
};

struct work {
    struct tb_place *place;
    const struct tb_download *download;
    int dir_fd; /* owned; the capture's */
    struct tb_manifest manifest;
    struct tb_download_counts counts;
    uint64_t done_bytes; /* of the files before, and of the one in hand what was there */
};

/* "manifest.json", "segments/x-0-000001.pcapng.zst": letters, digits, dots, dashes; at most one
 * folder, and nothing hidden. */
static bool
is_harmless(const char *name)
{
    size_t slashes = 0;

    if (strlen(name) >= TB_EVIDENCE_NAME_SIZE) {
        return false;
    }
    for (const char *p = name; *p != '\0'; p++) {
        bool begins = p == name || p[-1] == '/';

        if (*p == '/') {
            slashes++;
        }
        if ((begins && !isalnum((unsigned char)*p)) ||
            (!isalnum((unsigned char)*p) && strchr("._-/", *p) == NULL)) {
            return false;
        }
    }
    return name[0] != '\0' && name[strlen(name) - 1] != '/' && slashes <= 1;
}

/* The summary stands behind the alerts. */
static size_t
alerts_and_summary(const struct tb_manifest *m)
{
    return m->alert_count + (m->has_summary ? 1 : 0);
}

static const struct tb_evidence_file *
known(const struct work *work, const char *name)
{
    for (size_t i = 0; i < work->manifest.segment_count; i++) {
        if (strcmp(work->manifest.segments[i].name, name) == 0) {
            return &work->manifest.segments[i];
        }
    }
    for (size_t i = 0; i < alerts_and_summary(&work->manifest); i++) {
        if (strcmp(work->manifest.alerts[i].name, name) == 0) {
            return &work->manifest.alerts[i];
        }
    }
    return NULL;
}

static enum tb_err
hash_file(int fd, struct tb_sha256 *out, struct tb_fail *fail)
{
    struct tb_hasher *hasher = NULL;
    uint8_t *at = malloc(HASH_BYTES);
    enum tb_err err = at == NULL ? TB_ENOMEM : tb_hasher_new(&hasher);
    off_t offset = 0;
    ssize_t n = 1;

    while (err == TB_OK && n > 0) {
        n = pread(fd, at, HASH_BYTES, offset);
        if (n > 0) {
            offset += n;
            err = tb_hasher_add(hasher, tb_bytes_of(at, (size_t)n));
        }
    }
    if (err == TB_OK && n < 0) {
        err = tb_fail_errno(fail, errno, "cannot read what was written");
    } else if (err == TB_OK) {
        err = tb_hasher_finish(hasher, out);
    }
    tb_hasher_free(hasher);
    free(at);
    return err != TB_OK && err != TB_EIO ? tb_fail_set(fail, err, "SHA-256 of a file") : err;
}

/* Whether the file has the length, and where it is known the SHA-256, that it should have. */
static enum tb_err
check_file(const struct work *work, const struct tb_place_file *file, int fd,
           struct tb_fail *fail)
{
    const struct tb_evidence_file *want = known(work, file->name);
    struct tb_sha256 sha256;
    struct stat st;
    enum tb_err err;

    if (fstat(fd, &st) != 0) {
        return tb_fail_errno(fail, errno, "cannot look at %s", file->name);
    }
    if ((uint64_t)st.st_size != file->bytes || (want != NULL && want->bytes != file->bytes)) {
        return tb_fail_set(fail, TB_EFORMAT, "%s has another length than it should have",
                           file->name);
    }
    if (want == NULL) {
        return TB_OK;
    }
    err = hash_file(fd, &sha256, fail);
    if (err == TB_OK && memcmp(&sha256, &want->sha256, sizeof(sha256)) != 0) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s does not have the SHA-256 of the manifest",
                          file->name);
    }
    return err;
}

/* What is there already stays if it is known to be right: by the manifest, or a segment of a
 * capture that has none yet by its own index.  What else is not in the manifest (custody log,
 * signature) is small and brought again. */
static bool
is_there(const struct work *work, const struct tb_place_file *file)
{
    bool is_known = known(work, file->name) != NULL;
    bool is_segment = strncmp(file->name, "segments/", 9) == 0;
    int fd = is_known || is_segment
                 ? openat(work->dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                 : -1;
    bool there = fd >= 0 && check_file(work, file, fd, NULL) == TB_OK &&
                 (is_known || retrieve_is_same(work->place, file, fd));

    tb_close(&fd);
    return there;
}

static bool
on_copied(void *arg, uint64_t done_bytes)
{
    struct work *work = arg;

    if (work->download->progress != NULL) {
        work->download->progress(work->download->arg, work->done_bytes + done_bytes,
                                 work->counts.bytes);
    }
    return true;
}

/* False: errno.  Some network file systems lock nothing: there, nobody else may fetch it. */
static bool
own(int fd)
{
    return flock(fd, LOCK_EX) == 0 || errno == EOPNOTSUPP || errno == ENOLCK;
}

/* Opened, and its own: another fetch that is at the same file is waited for. */
static enum tb_err
open_part(const struct work *work, const char *part, int *out_fd, struct tb_fail *fail)
{
    struct stat mine, named;
    int fd = -1;

    do {
        tb_close(&fd); /* the other one gave it its name meanwhile */
        fd = openat(work->dir_fd, part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        if (fd < 0 || !own(fd) || fstat(fd, &mine) != 0) {
            enum tb_err err = tb_fail_errno(fail, errno, "cannot make %s", part);

            tb_close(&fd);
            return err;
        }
    } while (fstatat(work->dir_fd, part, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
             named.st_ino != mine.st_ino || named.st_dev != mine.st_dev);
    *out_fd = fd;
    return TB_OK;
}

/* Fills the part with what it lacks. */
static enum tb_err
complete(struct work *work, const struct tb_place_file *file, int fd, struct tb_fail *fail)
{
    struct tb_place_copy copy = {
        .fd = fd, .threads = work->download->threads, .progress = on_copied, .arg = work};
    struct tb_place_span *spans = NULL;
    uint64_t lacks = 0, before = work->done_bytes;
    enum tb_err err = retrieve_lacks(work->place, file, known(work, file->name), fd, &spans,
                                     &copy.span_count, fail);

    for (size_t i = 0; i < copy.span_count; i++) {
        lacks += spans[i].bytes;
    }
    if (err == TB_OK && ftruncate(fd, (off_t)file->bytes) != 0) {
        err = tb_fail_errno(fail, errno, "cannot write %s", file->name);
    }
    if (err == TB_OK) {
        work->done_bytes += file->bytes - lacks;
        copy.spans = spans;
        err = tb_place_copy(work->place, file, &copy, fail);
        work->done_bytes = before;
    }
    work->counts.bytes_read += err == TB_OK ? lacks : 0;
    free(spans);
    return err;
}

static enum tb_err
bring(struct work *work, const struct tb_place_file *file, struct tb_fail *fail)
{
    char part[TB_EVIDENCE_NAME_SIZE + 8];
    int fd = -1;
    enum tb_err err;

    (void)snprintf(part, sizeof(part), "%.*s.part", TB_EVIDENCE_NAME_SIZE, file->name);
    err = open_part(work, part, &fd, fail);
    if (err != TB_OK) {
        return err;
    }
    if (is_there(work, file)) { /* the one that was waited for brought it */
        (void)unlinkat(work->dir_fd, part, 0);
        tb_close(&fd);
        work->counts.kept++;
        return TB_OK;
    }
    err = complete(work, file, fd, fail);
    if (err == TB_OK) {
        err = check_file(work, file, fd, fail);
        if (err == TB_EFORMAT) { /* all of it was brought or checked: it is wrong over there */
            (void)unlinkat(work->dir_fd, part, 0);
        }
    }
    if (err == TB_OK && fsync(fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot write %s", part);
    }
    if (err == TB_OK && renameat(work->dir_fd, part, work->dir_fd, file->name) != 0) {
        err = tb_fail_errno(fail, errno, "cannot rename %s", part);
    }
    tb_close(&fd);
    return err;
}

static enum tb_err
make_folder(const struct work *work, const char *name, struct tb_fail *fail)
{
    const char *slash = strchr(name, '/');
    char folder[TB_EVIDENCE_NAME_SIZE];
    int fd = -1;
    enum tb_err err;

    if (slash == NULL) {
        return TB_OK;
    }
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
    err = tb_open_dir(work->dir_fd, folder, FOLDER_MODE, &fd, fail);
    tb_close(&fd);
    return err;
}

static enum tb_err
bring_one(struct work *work, const struct tb_place_file *file, struct tb_fail *fail)
{
    enum tb_err err = make_folder(work, file->name, fail);

    if (err == TB_OK && is_there(work, file)) {
        work->counts.kept++;
    } else if (err == TB_OK) {
        err = bring(work, file, fail);
    }
    if (err == TB_OK) {
        work->counts.files++;
        work->done_bytes += file->bytes;
        (void)on_copied(work, 0);
    }
    return err;
}

/* A segment, an alert or a summary that the manifest does not name: nothing vouches for it. */
static bool
is_foreign(const struct work *work, const struct tb_place_file *file)
{
    return work->counts.checked.by_manifest && known(work, file->name) == NULL &&
           (strncmp(file->name, "segments/", 9) == 0 ||
            strncmp(file->name, "alerts/", 7) == 0 || strcmp(file->name, "summary.json") == 0);
}

/* What the manifest names has to be there, and nothing beside it. */
static enum tb_err
check_complete(const struct work *work, const struct tb_place_list *list, struct tb_fail *fail)
{
    const struct tb_manifest *m = &work->manifest;
    enum tb_err err = retrieve_check_there(list, "", 0, m->segments, m->segment_count, fail);

    if (err == TB_OK) {
        err = retrieve_check_there(list, "", 0, m->alerts, alerts_and_summary(m), fail);
    }
    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        if (list->at[i].kind == TB_PLACE_FILE && is_foreign(work, &list->at[i])) {
            err = tb_fail_set(fail, TB_EFORMAT, "%s is not in the manifest: it was not brought",
                              list->at[i].name);
        }
    }
    return err;
}

enum tb_err
tb_download(struct tb_place *place, const struct tb_place_list *list,
            const struct tb_download *download, struct tb_download_counts *out,
            struct tb_fail *fail)
{
    struct work work = {.place = place, .download = download, .dir_fd = -1};
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        if (list->at[i].kind == TB_PLACE_FILE && !is_harmless(list->at[i].name)) {
            err =
                tb_fail_set(fail, TB_EINVAL,
                            "'%.100s' is no file of one capture: name the capture's own folder",
                            list->at[i].name);
        }
        work.counts.bytes += list->at[i].kind == TB_PLACE_FILE ? list->at[i].bytes : 0;
    }
    if (err == TB_OK) {
        err = retrieve_manifest(place, list, "", 0, &download->trust, &work.manifest,
                                &work.counts.checked, fail);
    }
    if (err == TB_OK) {
        err = tb_open_dir(download->folder_fd, download->name, FOLDER_MODE, &work.dir_fd, fail);
    }
    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        if (list->at[i].kind == TB_PLACE_FILE && !is_foreign(&work, &list->at[i])) {
            err = bring_one(&work, &list->at[i], fail);
        }
    }
    if (err == TB_OK) {
        err = check_complete(&work, list, fail);
    }
    if (err == TB_OK) {
        *out = work.counts;
    }
    tb_manifest_release(&work.manifest);
    tb_close(&work.dir_fd);
    return err;
}

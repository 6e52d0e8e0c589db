/* The folder behind a check: what lies in it, what of it was asked for, what was told of it. */
#include "verify_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/io.h>

static enum tb_err
add(struct verify_job *job, const char *folder, const char *name, const struct stat *st,
    size_t *cap)
{
    struct verify_file *file;

    if (job->file_count == *cap) {
        size_t more = *cap == 0 ? 64 : *cap * 2;

        file = realloc(job->files, more * sizeof(*file));
        if (file == NULL) {
            return tb_fail_set(job->fail, TB_ENOMEM, "no memory for the names of files");
        }
        job->files = file;
        *cap = more;
    }
    file = &job->files[job->file_count++];
    *file = (struct verify_file){.bytes = st->st_size > 0 ? (uint64_t)st->st_size : 0,
                                 .is_plain = S_ISREG(st->st_mode)};
    (void)snprintf(file->name, sizeof(file->name), "%s%s%s", folder, folder[0] != 0 ? "/" : "",
                   name);
    return TB_OK;
}

static bool
is_ours(const char *name)
{
    return strcmp(name, "segments") == 0 || strcmp(name, "alerts") == 0 ||
           strcmp(name, "custody") == 0;
}

static enum tb_err list_folder(struct verify_job *job, int folder_fd, const char *folder,
                               size_t *cap);

static enum tb_err
list_entry(struct verify_job *job, int folder_fd, const char *folder, const char *name,
           size_t *cap)
{
    struct stat st;
    int below_fd;
    enum tb_err err;

    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return tb_fail_errno(job->fail, errno, "cannot look at %s", name);
    }
    if (!S_ISDIR(st.st_mode) || folder[0] != 0 || !is_ours(name)) {
        return add(job, folder, name, &st, cap);
    }
    below_fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (below_fd < 0) {
        return tb_fail_errno(job->fail, errno, "cannot open the folder %s", name);
    }
    err = list_folder(job, below_fd, name, cap);
    tb_close(&below_fd);
    return err;
}

/* One level deep only: list_entry goes down from the top alone. */
static enum tb_err
list_folder(struct verify_job *job, int folder_fd, const char *folder, size_t *cap)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    enum tb_err err = TB_OK;

    if (dir == NULL) {
        err = tb_fail_errno(job->fail, errno, "cannot read the folder %s", folder);
        tb_close(&fd);
        return err;
    }
    for (errno = 0; err == TB_OK && (entry = readdir(dir)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            err = list_entry(job, folder_fd, folder, entry->d_name, cap);
        }
    }
    if (err == TB_OK && errno != 0) {
        err = tb_fail_errno(job->fail, errno, "cannot read the folder %s", folder);
    }
    (void)closedir(dir);
    return err;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct verify_file *)a)->name, ((const struct verify_file *)b)->name);
}

enum tb_err
verify_list(struct verify_job *job)
{
    size_t cap = 0;
    enum tb_err err = list_folder(job, job->folder_fd, "", &cap);

    if (err == TB_OK && job->file_count > 0) {
        qsort(job->files, job->file_count, sizeof(*job->files), by_name);
    }
    return err;
}

static struct verify_file *
look_up(struct verify_job *job, const char *name)
{
    struct verify_file key = {.name = ""};

    if (job->file_count == 0 || !tb_str_copy(key.name, sizeof(key.name), name)) {
        return NULL;
    }
    return bsearch(&key, job->files, job->file_count, sizeof(key), by_name);
}

struct verify_file *
verify_find(struct verify_job *job, const char *name)
{
    struct verify_file *file = look_up(job, name);

    if (file != NULL) {
        file->is_expected = true;
    }
    return file;
}

struct verify_file *
verify_want(struct verify_job *job, const char *name)
{
    struct verify_file *file = verify_find(job, name);

    if (file == NULL) {
        verify_report(job, name, "missing", "it is not there");
        return NULL;
    }
    if (!file->is_plain) {
        verify_report(job, name, "format", "it is not a plain file");
        return NULL;
    }
    return file;
}

bool
verify_is_reported(struct verify_job *job, const char *name)
{
    const struct verify_file *file = look_up(job, name);

    return file == NULL || file->is_reported;
}

void
verify_report(struct verify_job *job, const char *name, const char *kind, const char *fmt, ...)
{
    struct verify_file *file = look_up(job, name);
    struct tb_finding finding = {.capture = job->out->capture, .file = name, .kind = kind};
    char text[512];
    va_list args;

    if (file != NULL && file->is_reported) {
        return;
    }
    if (file != NULL) {
        file->is_reported = true;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    finding.text = text;
    job->out->findings++;
    job->verify->finding(job->verify->arg, &finding);
}

enum tb_err
verify_open(struct verify_job *job, const char *name, int *out_fd)
{
    int fd = openat(job->folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0) {
        return tb_fail_errno(job->fail, errno, "cannot open %s", name);
    }
    *out_fd = fd;
    return TB_OK;
}

enum tb_err
verify_read(struct verify_job *job, const char *name, struct tb_buf *out)
{
    enum tb_err err = tb_read_file(job->folder_fd, name, out, job->fail);

    if (err == TB_OK && job->verify->progress != NULL) {
        job->verify->progress(job->verify->arg, out->len);
    }
    return err;
}

bool
verify_signature(const struct verify_job *job, struct tb_bytes text, struct tb_bytes signature,
                 bool *out_trusted)
{
    const struct tb_verify *verify = job->verify;
    bool found = false;

    *out_trusted = false;
    for (size_t i = 0; i < verify->key_count && !*out_trusted; i++) {
        if (tb_signature_check(&verify->keys[i].key, text, signature, NULL) == TB_OK) {
            found = true;
            *out_trusted = verify->keys[i].trusted;
        }
    }
    return found;
}

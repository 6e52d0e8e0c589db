/* A folder of this machine.  Symbolic links in it are not followed. */
#include "place_int.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
};

struct file {
    int fd;
};

enum tb_err
place_folder_open(const char *path, void **out, struct tb_fail *fail)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    char whole[PATH_MAX];
    const char *slash;
    struct stat st;
    enum tb_err err;

    if (folder == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %s", path);
    }
    if (!tb_str_copy(folder->path, sizeof(folder->path), path)) {
        err = tb_fail_set(fail, TB_EINVAL, "the path is too long");
        goto out;
    }
    if (stat(path, &st) != 0 || realpath(path, whole) == NULL) {
        err = tb_fail_errno(fail, errno, "cannot look at %s", path);
        goto out;
    }
    if (!S_ISDIR(st.st_mode)) {
        err = tb_fail_set(fail, TB_EINVAL, "%s is not a folder", path);
        goto out;
    }
    /* "." and paths that end in a slash have a name too */
    slash = strrchr(whole, '/');
    (void)tb_str_copy(folder->name, sizeof(folder->name), slash == NULL ? whole : slash + 1);
    *out = folder;
    return TB_OK;

out:
    free(folder);
    return err;
}

static void
free_folder(void *self)
{
    free(self);
}

static const char *
name_of(const void *self)
{
    return ((const struct folder *)self)->name;
}

static enum tb_err
above(void *self, unsigned levels, void **out, struct tb_fail *fail)
{
    const struct folder *folder = self;
    char whole[PATH_MAX];

    if (realpath(folder->path, whole) == NULL) {
        return tb_fail_errno(fail, errno, "cannot look at %s", folder->path);
    }
    for (; levels > 0; levels--) {
        char *slash = strrchr(whole, '/');

        if (slash == NULL || whole[1] == '\0') {
            return tb_fail_set(fail, TB_ENOTFOUND, "there is no folder above %s", folder->path);
        }
        slash[slash == whole ? 1 : 0] = '\0';
    }
    return place_folder_open(whole, out, fail);
}

/* --- the list --- */

static enum tb_err
take_entry(const FTSENT *entry, size_t skip, struct tb_place_list *out, struct tb_fail *fail)
{
    const char *name = entry->fts_path + skip;
    uint64_t bytes;

    switch (entry->fts_info) {
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return tb_fail_errno(fail, entry->fts_errno, "cannot look at %s", entry->fts_path);
    case FTS_DP:
        return TB_OK;
    case FTS_D:
        return name[0] == '\0' ? TB_OK
                               : place_list_add(out, name, TB_PLACE_FOLDER, 0, "", fail);
    case FTS_F:
        bytes = entry->fts_statp->st_size > 0 ? (uint64_t)entry->fts_statp->st_size : 0;
        return place_list_add(out, name, TB_PLACE_FILE, bytes, "", fail);
    default:
        return place_list_add(out, name, TB_PLACE_OTHER, 0, "", fail);
    }
}

static enum tb_err
list(void *self, const char *below, struct tb_place_list *out, struct tb_fail *fail)
{
    const struct folder *folder = self;
    size_t len = strlen(folder->path);
    size_t skip = len + (folder->path[len - 1] == '/' ? 0 : 1);
    char top[PATH_MAX];
    char *paths[] = {top, NULL};
    const FTSENT *entry;
    struct stat st;
    FTS *walk;
    enum tb_err err = TB_OK;

    if (snprintf(top, sizeof(top), "%s%s%s", folder->path,
                 skip == len || below[0] == '\0' ? "" : "/", below) >= (int)sizeof(top)) {
        return tb_fail_set(fail, TB_EINVAL, "the path is too long");
    }
    if (lstat(top, &st) != 0 && errno == ENOENT && below[0] != '\0') {
        return TB_OK;
    }
    /* the top may be a link: it is what was named */
    walk = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    if (walk == NULL) {
        return tb_fail_errno(fail, errno, "cannot look through %s", top);
    }
    for (errno = 0; err == TB_OK && (entry = fts_read(walk)) != NULL; errno = 0) {
        /* (the top's own path is shorter than what is cut off of the others) */
        if (entry->fts_level > 0 || entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR) {
            err = take_entry(entry, skip, out, fail);
        }
    }
    if (err == TB_OK && errno != 0) {
        err = tb_fail_errno(fail, errno, "cannot look through %s", top);
    }
    (void)fts_close(walk);
    return err;
}

/* --- a file --- */

static enum tb_err
open_file(void *self, const struct tb_place_file *entry, void **out, struct tb_fail *fail)
{
    const struct folder *folder = self;
    char path[PATH_MAX + NAME_MAX];
    struct file *file;
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s", folder->path, entry->name) >= (int)sizeof(path)) {
        return tb_fail_set(fail, TB_EINVAL, "the path is too long");
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open %s", path);
    }
    file = malloc(sizeof(*file));
    if (file == NULL) {
        tb_close(&fd);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %s", path);
    }
    file->fd = fd;
    *out = file;
    return TB_OK;
}

static enum tb_err
read_file(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    return tb_read_at(((struct file *)arg)->fd, offset, at, len, fail);
}

static int
fd_of(const void *arg)
{
    return ((const struct file *)arg)->fd;
}

static void
close_file(void *arg)
{
    struct file *file = arg;

    tb_close(&file->fd);
    free(file);
}

const struct place_ops place_folder_ops = {
    .free = free_folder,
    .above = above,
    .list = list,
    .open = open_file,
    .read = read_file,
    .fd = fd_of,
    .close = close_file,
    .name = name_of,
    .is_remote = false,
};

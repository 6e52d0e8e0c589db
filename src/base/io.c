/* Files read within a limit and written whole. */
#include <tapbox/io.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/ids.h>

enum {
    READ_BLOCK_BYTES = 16 * 1024
};

void
tb_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

enum tb_err
tb_read_file(int dir_fd, const char *name, struct tb_buf *out, struct tb_fail *fail)
{
    uint8_t block[READ_BLOCK_BYTES];
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    enum tb_err err = TB_OK;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open %s", name);
    }
    for (;;) {
        ssize_t n = read(fd, block, sizeof(block));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err = tb_fail_errno(fail, errno, "cannot read %s", name);
            break;
        }
        if (n == 0) {
            break;
        }
        tb_buf_put(out, block, (size_t)n);
        err = tb_buf_check(out, name, fail);
        if (err != TB_OK) {
            break;
        }
    }
    tb_close(&fd);
    return err;
}

enum tb_err
tb_read_at(int fd, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = pread(fd, at + got, len - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return tb_fail_errno(fail, errno, "cannot read");
        }
        if (n == 0) {
            return tb_fail_set(fail, TB_ESHORT, "it ends in the middle");
        }
        got += (size_t)n;
    }
    return TB_OK;
}

static enum tb_err
read_fd(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    return tb_read_at(*(const int *)arg, offset, at, len, fail);
}

enum tb_err
tb_readable_fd(int *fd, struct tb_readable *out, struct tb_fail *fail)
{
    struct stat st;

    if (fstat(*fd, &st) != 0) {
        return tb_fail_errno(fail, errno, "cannot look at the file");
    }
    *out = (struct tb_readable){
        .read = read_fd, .arg = fd, .bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0};
    return TB_OK;
}

enum tb_err
tb_write_all(int fd, struct tb_bytes content, struct tb_fail *fail)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.at, content.len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return tb_fail_errno(fail, errno, "cannot write");
        }
        content.at += n;
        content.len -= (size_t)n;
    }
    return TB_OK;
}

enum tb_err
tb_write_file_whole(int dir_fd, const char *name, struct tb_bytes content, mode_t mode,
                    struct tb_fail *fail)
{
    char hidden[512];
    const char *slash = strrchr(name, '/');
    int folder_len = slash == NULL ? 0 : (int)(slash - name + 1);
    char folder[512] = ".";
    char token[37] = "";
    bool made = false;
    int parent_fd = -1;
    int fd = -1;
    enum tb_err err;

    err = tb_uuid_new(token);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "no random numbers to name a file with");
        goto out;
    }
    if (strlen(name) + sizeof(token) + 2 > sizeof(hidden)) {
        err = tb_fail_set(fail, TB_ETOOBIG, "file name %s is too long", name);
        goto out;
    }
    if (folder_len > 0) {
        (void)snprintf(folder, sizeof(folder), "%.*s", folder_len, name);
    }
    (void)snprintf(hidden, sizeof(hidden), "%.*s.%s.%s", folder_len, name, name + folder_len,
                   token);
    fd = openat(dir_fd, hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        err = tb_fail_errno(fail, errno, "cannot make %s", hidden);
        goto out;
    }
    made = true;
    err = tb_write_all(fd, content, fail);
    if (err != TB_OK) {
        tb_fail_prefix(fail, "%s", name);
        goto out;
    }
    if (fsync(fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync %s", name);
        goto out;
    }
    if (renameat(dir_fd, hidden, dir_fd, name) != 0) {
        err = tb_fail_errno(fail, errno, "cannot rename %s to %s", hidden, name);
        goto out;
    }
    made = false;
    parent_fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0 || fsync(parent_fd) != 0) {
        err = tb_fail_errno(fail, errno, "cannot sync the folder of %s", name);
    }

out:
    if (made) {
        (void)unlinkat(dir_fd, hidden, 0);
    }
    tb_close(&parent_fd);
    tb_close(&fd);
    return err;
}

enum tb_err
tb_open_dir(int dir_fd, const char *name, mode_t mode, int *out_fd, struct tb_fail *fail)
{
    int fd;

    if (mkdirat(dir_fd, name, mode) != 0 && errno != EEXIST) {
        return tb_fail_errno(fail, errno, "cannot make the folder %s", name);
    }
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot open the folder %s", name);
    }
    *out_fd = fd;
    return TB_OK;
}

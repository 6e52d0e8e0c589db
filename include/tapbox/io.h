/*
 * Files: read whole within a limit, appear whole or not at all.
 * Errors: TB_EIO with errno unless said otherwise.  Threads: any.
 */
#ifndef TAPBOX_IO_H
#define TAPBOX_IO_H

#include <sys/types.h>

#include <tapbox/bytes.h>

/* Appends the file's content to `out`; TB_ENOTFOUND, TB_ETOOBIG (over out's ceiling). */
TB_NODISCARD enum tb_err tb_read_file(int dir_fd, const char *name, struct tb_buf *out,
                                      struct tb_fail *fail);
/* Hidden name, write, fsync, rename, fsync of the folder.  Replaces what is there. */
TB_NODISCARD enum tb_err tb_write_file_whole(int dir_fd, const char *name,
                                             struct tb_bytes content, mode_t mode,
                                             struct tb_fail *fail);
/* All of it, over short writes and EINTR. */
TB_NODISCARD enum tb_err tb_write_all(int fd, struct tb_bytes content, struct tb_fail *fail);
/* Opens a folder (O_DIRECTORY|O_CLOEXEC), making it with `mode` when it is not there. */
TB_NODISCARD enum tb_err tb_open_dir(int dir_fd, const char *name, mode_t mode, int *out_fd,
                                     struct tb_fail *fail);

/* Octets that can be read anywhere: of a file, or of an object in S3 (tapbox/place.h). */
struct tb_readable {
    /* All of `len` octets, or TB_ESHORT when it ends before. */
    enum tb_err (*read)(void *arg, uint64_t offset, uint8_t *at, size_t len,
                        struct tb_fail *fail);
    void *arg;      /* borrowed */
    uint64_t bytes; /* in all */
};
/* `*fd` is borrowed, and the variable with it. */
TB_NODISCARD enum tb_err tb_readable_fd(int *fd, struct tb_readable *out, struct tb_fail *fail);
/* All of `len` octets by pread; TB_ESHORT. */
TB_NODISCARD enum tb_err tb_read_at(int fd, uint64_t offset, uint8_t *at, size_t len,
                                    struct tb_fail *fail);
/*
 * Lends `take` each part of the file, in order, where it lies in the page cache: nothing is
 * copied.  An error of `take` ends it.  TB_EIO: the file was cut meanwhile or the disk fails;
 * the last part had zeros in place of what is not there.  TB_EINVAL, before anything was lent:
 * files of this file system cannot be mapped.  Takes over the process's SIGBUS.
 */
TB_NODISCARD enum tb_err tb_mapped_each(int fd, uint64_t offset, uint64_t len,
                                        enum tb_err (*take)(void *arg, struct tb_bytes octets),
                                        void *arg, struct tb_fail *fail);

/* Closes *fd unless it is -1, and sets it to -1. */
void tb_close(int *fd);

#endif

/*
 * What of the file system a process can still reach: Landlock, or a root of its own where the
 * kernel is older.
 *
 * Source: Linux, Documentation/userspace-api/landlock.rst.  The header of Debian 12 knows the
 * second version of the interface; later versions are asked for by number.
 */
#include "priv_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tapbox/io.h>
#include <tapbox/log.h>

/* By version of the interface. */
#define FILES_1 ((UINT64_C(1) << 13) - 1) /* execute .. make_sym */
#define REFER_2 (UINT64_C(1) << 13)
#define TRUNCATE_3 (UINT64_C(1) << 14)
#define TCP_4 (UINT64_C(3)) /* bind, connect */
#define IOCTL_5 (UINT64_C(1) << 15)
#define SCOPED_6 (UINT64_C(3)) /* abstract sockets, signals */

/* What the recorder does in its spool. */
#define IN_FOLDER                                                                              \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |                            \
     LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | TRUNCATE_3)

struct attributes { /* struct landlock_ruleset_attr of version 6 */
    uint64_t files, net, scoped;
};

static long
create_ruleset(const struct attributes *attributes, size_t size, uint32_t flags)
{
    return syscall(SYS_landlock_create_ruleset, attributes, size, flags);
}

static enum tb_err
allow(int ruleset_fd, int fd, uint64_t rights, struct tb_fail *fail)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};

    return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0
               ? TB_OK
               : tb_fail_errno(fail, errno, "cannot allow a folder");
}

/* Needs CAP_SYS_CHROOT.  The folder holds nothing that leads out of it. */
static void
move_root(int folder_fd)
{
    if (folder_fd >= 0 && fchdir(folder_fd) == 0 && chroot(".") == 0) {
        return;
    }
    tb_log(TB_LOG_WARN, NULL,
           "this kernel has no Landlock: what the user may open can still be opened");
}

enum tb_err
tb_files_prepare(int folder_fd, const char *const *readable, struct tb_file_rights *out,
                 struct tb_fail *fail)
{
    struct attributes handled = {.files = FILES_1};
    size_t size = sizeof(handled.files);
    long version = create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int fd = -1;
    enum tb_err err = TB_OK;

    out->ruleset_fd = -1;
    if (version < 1) {
        move_root(folder_fd);
        return TB_OK;
    }
    handled.files |= (version >= 2 ? REFER_2 : 0) | (version >= 3 ? TRUNCATE_3 : 0) |
                     (version >= 5 ? IOCTL_5 : 0);
    if (version >= 4) {
        handled.net = TCP_4;
        size += sizeof(handled.net);
    }
    if (version >= 6) {
        handled.scoped = SCOPED_6;
        size += sizeof(handled.scoped);
    }
    fd = (int)create_ruleset(&handled, size, 0);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a Landlock ruleset");
    }
    if (folder_fd >= 0) {
        err = allow(fd, folder_fd, IN_FOLDER & handled.files, fail);
    }
    for (; readable != NULL && *readable != NULL && err == TB_OK; readable++) {
        int file_fd = open(*readable, O_PATH | O_CLOEXEC);

        if (file_fd >= 0) {
            err = allow(fd, file_fd, LANDLOCK_ACCESS_FS_READ_FILE, fail);
            tb_close(&file_fd);
        }
    }
    if (err != TB_OK) {
        tb_close(&fd);
    }
    out->ruleset_fd = fd;
    return err;
}

enum tb_err
tb_files_enter(struct tb_file_rights *rights, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    if (rights->ruleset_fd >= 0 &&
        syscall(SYS_landlock_restrict_self, rights->ruleset_fd, 0) != 0) {
        err = tb_fail_errno(fail, errno, "cannot enter the Landlock ruleset");
    }
    tb_close(&rights->ruleset_fd);
    return err;
}

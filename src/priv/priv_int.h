/* Steps of giving up rights. */
#ifndef TAPBOX_PRIV_INT_H
#define TAPBOX_PRIV_INT_H

#include <tapbox/sandbox.h>

/* No capability is left, none can come back by exec or setuid.  Works as root, as root of a
 * user namespace with one id, and with a few capabilities as anybody. */
TB_NODISCARD enum tb_err tb_drop_rights(struct tb_fail *fail);

/* files.c: nothing of the file system but `folder_fd` (-1: none), to read, write, make and
 * remove in, and the files of `readable` (ended by NULL), as far as they are there. */
struct tb_file_rights {
    int ruleset_fd; /* -1: this kernel has no Landlock, and it was done another way or not */
};
/* Before the rights are dropped. */
TB_NODISCARD enum tb_err tb_files_prepare(int folder_fd, const char *const *readable,
                                          struct tb_file_rights *out, struct tb_fail *fail);
/* After no_new_privs. */
TB_NODISCARD enum tb_err tb_files_enter(struct tb_file_rights *rights, struct tb_fail *fail);

#endif

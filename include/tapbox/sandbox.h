/* Giving up rights: capabilities, no_new_privs, files, system call filter. */
#ifndef TAPBOX_SANDBOX_H
#define TAPBOX_SANDBOX_H

#include <tapbox/err.h>

enum tb_sandbox_role {
    TB_SANDBOX_RECORDER,
    TB_SANDBOX_BPF_CHILD,
    TB_SANDBOX_SUMMARIZER,
    TB_SANDBOX_ROLE_COUNT
};

/*
 * From here on the calling process keeps only what its role's table allows.  Called once,
 * before threads are started.
 *
 * Files: of the whole file system only `folder_fd` (-1: none) and what the table names can be
 * opened (Landlock).  On a kernel without Landlock the folder becomes the root, if that is
 * allowed; else the log says that what the user may open stays open.
 */
TB_NODISCARD enum tb_err tb_sandbox_enter(enum tb_sandbox_role role, int folder_fd,
                                          struct tb_fail *fail);

#endif

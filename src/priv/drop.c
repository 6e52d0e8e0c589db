/* Capabilities and the ways by which they come back. */
#include "priv_int.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* These need CAP_SETPCAP; who does not have it cannot gain by them either, since
 * no_new_privs is on. */
static void
close_ways_back(void)
{
    for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++) {
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    }
    (void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
                                       SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                                       SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                       SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
}

enum tb_err
tb_drop_rights(struct tb_fail *fail)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return tb_fail_errno(fail, errno, "cannot set no_new_privs");
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    close_ways_back();
    if (syscall(SYS_capset, &header, none) != 0) {
        return tb_fail_errno(fail, errno, "cannot drop the capabilities");
    }
    return TB_OK;
}

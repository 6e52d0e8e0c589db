/*
 * What each role may do, as tables, and the step into it.
 *
 * What is not listed fails with EPERM, so that a library's unexpected call degrades instead of
 * ending a recorder in the middle of its evidence; what only an intruder would want ends it.
 */
#include "priv_int.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#define TB_HAS_FEATURE(x) __has_feature(x)
#else
#define TB_HAS_FEATURE(x) 0
#endif

/* The sanitizers' runtimes make calls of their own (ptrace, clone, personality, ...), which
 * differ with their versions: there the filter stays out, everything else is done. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                           \
    TB_HAS_FEATURE(address_sanitizer) || TB_HAS_FEATURE(thread_sanitizer)
enum {
    WITH_FILTER = 0
};
#else
enum {
    WITH_FILTER = 1
};
#endif

struct role {
    const int *allowed;          /* ended by -1 */
    const char *const *readable; /* files, ended by NULL; NULL: none */
    bool threads;                /* it starts some */
    bool read_only;              /* files are opened for reading only */
    rlim_t cpu_s;                /* 0: no limit */
    rlim_t memory_bytes;         /* of address space; 0: no limit */
};

static const int intruder_calls[] = {SCMP_SYS(execve),
                                     SCMP_SYS(execveat),
                                     SCMP_SYS(ptrace),
                                     SCMP_SYS(process_vm_readv),
                                     SCMP_SYS(process_vm_writev),
                                     SCMP_SYS(fork),
                                     SCMP_SYS(vfork),
                                     SCMP_SYS(bpf),
                                     SCMP_SYS(mount),
                                     SCMP_SYS(umount2),
                                     SCMP_SYS(pivot_root),
                                     SCMP_SYS(setns),
                                     SCMP_SYS(unshare),
                                     SCMP_SYS(init_module),
                                     SCMP_SYS(finit_module),
                                     SCMP_SYS(kexec_load),
                                     SCMP_SYS(keyctl),
                                     SCMP_SYS(add_key),
                                     SCMP_SYS(userfaultfd),
                                     SCMP_SYS(perf_event_open),
                                     SCMP_SYS(io_uring_setup),
                                     SCMP_SYS(reboot),
                                     SCMP_SYS(swapon),
                                     -1};

/* What every program of ours needs: memory, time, its descriptors (poll goes on as
 * restart_syscall after SIGCONT), its end. */
static const int common_calls[] = {
    SCMP_SYS(read),          SCMP_SYS(pread64),         SCMP_SYS(write),
    SCMP_SYS(close),         SCMP_SYS(recvmsg),         SCMP_SYS(sendmsg),
    SCMP_SYS(poll),          SCMP_SYS(restart_syscall), SCMP_SYS(munmap),
    SCMP_SYS(mremap),        SCMP_SYS(madvise),         SCMP_SYS(brk),
    SCMP_SYS(futex),         SCMP_SYS(fstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(clock_gettime), SCMP_SYS(getpid),          SCMP_SYS(getrandom),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),      SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigreturn),    -1};

/* The ring is in memory already: packets need poll only.  Files: relative to the spool. */
static const int recorder_calls[] = {
    /* threads, memory, time */
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(nanosleep), SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid), SCMP_SYS(sigaltstack), SCMP_SYS(uname),
    SCMP_SYS(prctl), SCMP_SYS(sysinfo), SCMP_SYS(geteuid), SCMP_SYS(getuid),
    /* descriptors it holds */
    SCMP_SYS(pwrite64), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(ppoll), SCMP_SYS(lseek),
    SCMP_SYS(fcntl), SCMP_SYS(listen), SCMP_SYS(accept4), SCMP_SYS(accept), SCMP_SYS(recvfrom),
    SCMP_SYS(getsockopt), SCMP_SYS(shutdown), SCMP_SYS(timerfd_settime), SCMP_SYS(getsockname),
    /* libpcap when it closes its ring and when an interface goes away */
    SCMP_SYS(setsockopt), SCMP_SYS(ioctl),
    /* the spool */
    SCMP_SYS(openat), SCMP_SYS(mkdirat), SCMP_SYS(unlinkat), SCMP_SYS(renameat2),
    SCMP_SYS(statx), SCMP_SYS(fstatfs), SCMP_SYS(statfs), SCMP_SYS(getdents64), SCMP_SYS(fsync),
    SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(flock), -1};

/* Reading is for /etc/services (`port http`); host names meet a socket() that fails. */
static const int bpf_child_calls[] = {SCMP_SYS(lseek), SCMP_SYS(uname), -1};

/* Descriptors come over its socket; it opens nothing. */
static const int summarizer_calls[] = {-1};

/* `port http`, `proto sctp` */
static const char *const bpf_child_files[] = {"/etc/services",      "/etc/protocols",
                                              "/etc/nsswitch.conf", "/etc/networks",
                                              "/etc/ethers",        NULL};

static const struct role roles[TB_SANDBOX_ROLE_COUNT] = {
    [TB_SANDBOX_RECORDER] = {recorder_calls, NULL, true, false, 0, 0},
    [TB_SANDBOX_BPF_CHILD] = {bpf_child_calls, bpf_child_files, false, true, 2, 0},
    [TB_SANDBOX_SUMMARIZER] = {summarizer_calls, NULL, false, false, 0, (rlim_t)2 << 30},
};

/* Calls that are allowed with some arguments only. */
static int
add_narrow_rules(scmp_filter_ctx filter, const struct role *role)
{
    const struct {
        int call;
        struct scmp_arg_cmp when;
    } rules[] = {
        /* memory is data, never code */
        {SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        /* threads, and no processes */
        {SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)},
        /* abort() */
        {SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0)},
        {SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_EQ, 0, 0)},
        /* a thread's own priority */
        {SCMP_SYS(setpriority), SCMP_A1(SCMP_CMP_EQ, 0, 0)},
        /* over connections only: to no address */
        {SCMP_SYS(sendto), SCMP_A4(SCMP_CMP_EQ, 0, 0)},
    };
    enum {
        IN_EVERY_ROLE = 2
    };
    size_t count = role->threads ? sizeof(rules) / sizeof(rules[0]) : IN_EVERY_ROLE;
    int status = 0;

    for (size_t i = 0; i < count && status == 0; i++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rules[i].call, 1, rules[i].when);
    }
    if (status == 0) {
        status = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    }
    /* its flags are in memory, where a filter cannot look: the C library takes clone then */
    return status == 0 ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0)
                       : status;
}
static int
add_rules(scmp_filter_ctx filter, const struct role *role)
{
    int status = 0;

    for (const int *call = common_calls; *call != -1 && status == 0; call++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, *call, 0);
    }
    for (const int *call = role->allowed; *call != -1 && status == 0; call++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, *call, 0);
    }
    if (role->read_only && status == 0) {
        status = seccomp_rule_add(
            filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
            SCMP_A2(SCMP_CMP_MASKED_EQ, (scmp_datum_t)(O_ACCMODE | O_CREAT | O_TRUNC), 0));
    }
    if (status == 0) {
        status = add_narrow_rules(filter, role);
    }
    for (const int *call = intruder_calls; *call != -1 && status == 0; call++) {
        status = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, *call, 0);
    }
    return status;
}

static enum tb_err
load_filter(const struct role *role, struct tb_fail *fail)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int status;

    if (filter == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for the system call filter");
    }
    status = add_rules(filter, role);
    if (status == 0) {
        status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
    }
    if (status == 0) {
        status = seccomp_load(filter);
    }
    seccomp_release(filter);
    return status == 0 ? TB_OK
                       : tb_fail_errno(fail, -status, "cannot load the system call filter");
}

static enum tb_err
limit(int what, rlim_t value, struct tb_fail *fail)
{
    struct rlimit both = {value, value};

    return setrlimit((__rlimit_resource_t)what, &both) == 0
               ? TB_OK
               : tb_fail_errno(fail, errno, "cannot set a resource limit");
}

enum tb_err
tb_sandbox_enter(enum tb_sandbox_role role, int folder_fd, struct tb_fail *fail)
{
    const struct role *r = &roles[role];
    struct tb_file_rights files = {-1};
    enum tb_err err = tb_files_prepare(folder_fd, r->readable, &files, fail);

    if (err == TB_OK) {
        err = tb_drop_rights(fail);
    }
    if (err == TB_OK) {
        err = tb_files_enter(&files, fail);
    }
    if (err == TB_OK) {
        err = limit(RLIMIT_CORE, 0, fail); /* packets do not end up in core files */
    }
    if (err == TB_OK && r->cpu_s != 0) {
        err = limit(RLIMIT_CPU, r->cpu_s, fail);
    }
    if (err == TB_OK && r->memory_bytes != 0 && WITH_FILTER) { /* sanitizers map terabytes */
        err = limit(RLIMIT_AS, r->memory_bytes, fail);
    }
    if (err == TB_OK && WITH_FILTER) {
        err = load_filter(r, fail);
    }
    return err;
}

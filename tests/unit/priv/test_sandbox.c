/* What a process can still do in its sandbox: each case is a child that tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <tapbox/sandbox.h>

/* The sanitizers leave the system call filter out (src/priv/sandbox.c says why). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum {
    FILTERED = 0
};
#else
enum {
    FILTERED = 1
};
#endif

enum {
    COULD = 10,
    COULD_NOT = 11
};

static int folder_fd = -1; /* the recorder's */
static int status_fd = -1; /* the child's own, from before */

/* The child's exit status, or 128 + the signal that ended it. */
static int
in_sandbox(enum tb_sandbox_role role, int (*attempt)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        _exit(tb_sandbox_enter(role, role == TB_SANDBOX_RECORDER ? folder_fd : -1, NULL) ==
                      TB_OK
                  ? attempt()
                  : 99);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? COULD : COULD_NOT;
}

static int
try_exec(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return COULD_NOT;
}

static int
try_fork(void)
{
    pid_t pid = (pid_t)syscall(SYS_fork);

    if (pid == 0) {
        _exit(0);
    }
    return pid > 0 ? COULD : COULD_NOT;
}

static int
try_libc_fork(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    return pid > 0 ? COULD : COULD_NOT;
}

static void *
end_thread(void *arg)
{
    return arg;
}

static int
try_a_thread(void)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, end_thread, NULL) == 0 &&
                   pthread_join(thread, NULL) == 0
               ? COULD
               : COULD_NOT;
}

static int
try_to_make_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0 ||
                   mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0) != MAP_FAILED
               ? COULD
               : COULD_NOT;
}

static int
try_to_signal_the_parent(void)
{
    return syscall(SYS_tgkill, getppid(), getppid(), 0) == 0 ? COULD : COULD_NOT;
}

/* In the folder: a file from its making to its end. */
static int
try_the_folder(void)
{
    int fd, status = COULD_NOT;

    if (mkdirat(folder_fd, "cap", 0700) != 0) {
        return 98;
    }
    fd = openat(folder_fd, "cap/.open", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, "12345", 5) == 5 && ftruncate(fd, 3) == 0 && fsync(fd) == 0 &&
        renameat2(folder_fd, "cap/.open", folder_fd, "cap/sealed", RENAME_NOREPLACE) == 0 &&
        openat(folder_fd, "cap/sealed", O_RDONLY | O_CLOEXEC) >= 0 &&
        openat(folder_fd, "cap", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 &&
        unlinkat(folder_fd, "cap/sealed", 0) == 0 &&
        unlinkat(folder_fd, "cap", AT_REMOVEDIR) == 0) {
        status = COULD;
    }
    return status;
}

/* Everything that is not the folder, by every way there is to it. */
static int
try_outside(void)
{
    static const char *const names[] = {"/etc/passwd", "/dev/null", "/proc/self/status",  "/",
                                        "/tmp",        ".",         "/proc/self/root/etc"};
    static const char *const relative[] = {"..", "../..", "../../../../../../etc/passwd",
                                           "way_out"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (open(names[i], O_RDONLY | O_CLOEXEC) >= 0) {
            return COULD;
        }
    }
    for (size_t i = 0; i < sizeof(relative) / sizeof(relative[0]); i++) {
        if (openat(folder_fd, relative[i], O_RDONLY | O_CLOEXEC) >= 0) {
            return COULD;
        }
    }
    if (openat(folder_fd, "../made-outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 ||
        mkdirat(folder_fd, "../made-outside", 0700) == 0 ||
        symlinkat("/etc/passwd", folder_fd, "another") == 0 ||
        mknodat(folder_fd, "device", S_IFCHR | 0600, makedev(1, 3)) == 0 ||
        renameat2(folder_fd, "inside", folder_fd, "../outside", 0) == 0 ||
        linkat(folder_fd, "inside", folder_fd, "../outside", 0) == 0 ||
        unlinkat(folder_fd, "../neighbour", 0) == 0) {
        return COULD;
    }
    return COULD_NOT;
}

static int
try_to_write_a_file(void)
{
    return open("/etc/services", O_WRONLY | O_CLOEXEC) >= 0 ||
                   open("/dev/null", O_WRONLY | O_CLOEXEC) >= 0
               ? COULD
               : COULD_NOT;
}

static int
try_to_read_services(void)
{
    return open("/etc/services", O_RDONLY | O_CLOEXEC) >= 0 ? COULD : COULD_NOT;
}

static int
try_to_read_another(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 ? COULD : COULD_NOT;
}

static int
try_to_be_another_user(void)
{
    return setuid(65534) == 0 ? COULD : COULD_NOT;
}

static int
try_to_find_capabilities(void)
{
    char text[8192];
    unsigned long long caps = 1;
    const char *line;
    ssize_t len = pread(status_fd, text, sizeof(text) - 1, 0);

    if (len <= 0) {
        return 99;
    }
    text[len] = '\0';
    line = strstr(text, "CapEff:");
    if (line == NULL || sscanf(line, "CapEff: %llx", &caps) != 1) {
        return 99;
    }
    if (strstr(text, "NoNewPrivs:\t1") == NULL) {
        return COULD;
    }
    return caps == 0 ? COULD_NOT : COULD;
}

static void
no_capability_is_left(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_to_find_capabilities), COULD_NOT);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_find_capabilities), COULD_NOT);
}

static void
no_new_connection_is_made(void **state)
{
    (void)state;
    if (!FILTERED) {
        skip();
    }
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_socket), COULD_NOT);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_socket), COULD_NOT);
}

static void
no_program_is_started(void **state)
{
    (void)state;
    if (!FILTERED) {
        skip();
    }
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_exec), 128 + SIGSYS);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_exec), 128 + SIGSYS);
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_fork), 128 + SIGSYS);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_fork), 128 + SIGSYS);
}

static bool
has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

static void
threads_are_no_processes_and_data_is_no_code(void **state)
{
    (void)state;
    if (!FILTERED) {
        skip();
    }
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_libc_fork), 128 + SIGSYS);
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_a_thread), COULD);
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_to_make_code), COULD_NOT);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_make_code), COULD_NOT);
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_to_signal_the_parent), COULD_NOT);
}

static void
of_the_file_system_there_is_the_spool(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_the_folder), COULD);
    if (!has_landlock()) {
        skip(); /* without it the root is moved, by who may */
    }
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_outside), COULD_NOT);
}

/* From here on the kernel is one without Landlock. */
static void
forget_landlock(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static int
try_other_root(void)
{
    static const char *const names[] = {"/etc/passwd", "/tmp", "../../../../etc/passwd"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (open(names[i], O_RDONLY | O_CLOEXEC) >= 0 ||
            openat(folder_fd, names[i], O_RDONLY | O_CLOEXEC) >= 0) {
            return COULD;
        }
    }
    if (openat(folder_fd, "way_out", O_RDONLY | O_CLOEXEC) >= 0) {
        return COULD;
    }
    return openat(AT_FDCWD, "/inside", O_RDONLY | O_CLOEXEC) >= 0 ? COULD_NOT : 98;
}

static void
without_landlock_the_spool_is_the_root(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root may move it */
    }
    pid = fork();
    if (pid == 0) {
        forget_landlock();
        _exit(tb_sandbox_enter(TB_SANDBOX_RECORDER, folder_fd, NULL) == TB_OK ? try_other_root()
                                                                              : 99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), COULD_NOT);
}

static void
the_filters_compiler_reads_a_few_files_and_does_not_write(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_read_services), COULD);
    if (has_landlock()) {
        assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_read_another), COULD_NOT);
    }
    if (FILTERED || has_landlock()) {
        assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_write_a_file), COULD_NOT);
    }
}

/* A folder with something in it, a way out of it, and a neighbour. */
static int
make_folder(void **state)
{
    static char path[] = "/tmp/test_sandbox.XXXXXX";
    char name[64];

    (void)state;
    assert_non_null(mkdtemp(path));
    (void)snprintf(name, sizeof(name), "%s/spool", path);
    assert_int_equal(mkdir(name, 0700), 0);
    folder_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder_fd >= 0);
    assert_int_equal(symlinkat("/etc/passwd", folder_fd, "way_out"), 0);
    close(openat(folder_fd, "inside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(openat(folder_fd, "../neighbour", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    return 0;
}

static int
remove_folder(void **state)
{
    char path[64];
    ssize_t len;
    char link[32];

    (void)state;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", folder_fd);
    len = readlink(link, path, sizeof(path) - 1);
    assert_true(len > 0);
    path[len] = '\0';
    assert_int_equal(unlinkat(folder_fd, "way_out", 0), 0);
    assert_int_equal(unlinkat(folder_fd, "inside", 0), 0);
    assert_int_equal(unlinkat(folder_fd, "../neighbour", 0), 0); /* nobody could */
    assert_int_equal(rmdir(path), 0);
    path[strlen(path) - strlen("/spool")] = '\0';
    assert_int_equal(rmdir(path), 0); /* and nothing else was made there */
    return 0;
}

static void
nobody_becomes_another_user(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root could try */
    }
#ifdef __SANITIZE_THREAD__
    skip(); /* its own thread keeps its rights, and glibc aborts when the threads disagree */
#endif
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_to_be_another_user), COULD_NOT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_capability_is_left),
        cmocka_unit_test(no_new_connection_is_made),
        cmocka_unit_test(no_program_is_started),
        cmocka_unit_test(threads_are_no_processes_and_data_is_no_code),
        cmocka_unit_test(of_the_file_system_there_is_the_spool),
        cmocka_unit_test(without_landlock_the_spool_is_the_root),
        cmocka_unit_test(the_filters_compiler_reads_a_few_files_and_does_not_write),
        cmocka_unit_test(nobody_becomes_another_user),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

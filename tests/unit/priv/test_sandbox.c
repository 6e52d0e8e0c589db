/* What a process can still do in its sandbox: each case is a child that tries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

/* The child's exit status, or 128 + the signal that ended it. */
static int
in_sandbox(enum tb_sandbox_role role, int (*attempt)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(tb_sandbox_enter(role, NULL) == TB_OK ? attempt() : 99);
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
try_to_write_a_file(void)
{
    return open("/dev/null", O_WRONLY | O_CLOEXEC) >= 0 ? COULD : COULD_NOT;
}

static int
try_to_read_a_file(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0 ? COULD : COULD_NOT;
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
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

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

static void
the_filters_compiler_reads_and_does_not_write(void **state)
{
    (void)state;
    if (!FILTERED) {
        skip();
    }
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_read_a_file), COULD);
    assert_int_equal(in_sandbox(TB_SANDBOX_BPF_CHILD, try_to_write_a_file), COULD_NOT);
    assert_int_equal(in_sandbox(TB_SANDBOX_RECORDER, try_to_write_a_file), COULD);
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
        cmocka_unit_test(the_filters_compiler_reads_and_does_not_write),
        cmocka_unit_test(nobody_becomes_another_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Credentials from a program that the profile names (credential_process).
 * Source: AWS SDKs and Tools Reference Guide, "Process credential provider".
 *
 * No shell sees the line: it is cut into words here, and `$`, `;`, `|` are letters like any
 * other.  The program gets nothing on its standard input, has a group of its own, and the whole
 * group is killed when it takes too long or says too much.
 */
#include "aws_int.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

enum {
    WORDS_MAX = 64, /* on the line */
    REAP_LOOK_MS = 10
};

/* One word to its end; quotes and backslashes as in a POSIX shell.  Writes over the text, NULL
 * without the closing quote. */
static char *
take_word(char *from, char **out_next)
{
    char *to = from;
    char quote = '\0';

    for (; *from != '\0' && (quote != '\0' || !isspace((unsigned char)*from)); from++) {
        if (quote == '\0' && (*from == '"' || *from == '\'')) {
            quote = *from;
        } else if (*from == quote) {
            quote = '\0';
        } else if (*from == '\\' && quote != '\'' && from[1] != '\0' &&
                   (quote == '\0' || from[1] == '"' || from[1] == '\\')) {
            *to++ = *++from;
        } else {
            *to++ = *from;
        }
    }
    *out_next = *from != '\0' ? from + 1 : from;
    *to = '\0';
    return quote == '\0' ? to : NULL;
}

enum tb_err
tb_aws_process_words(char *line, char **out, size_t cap, struct tb_fail *fail)
{
    size_t count = 0;

    for (;;) {
        while (isspace((unsigned char)*line)) {
            line++;
        }
        if (*line == '\0') {
            break;
        }
        if (count + 1 == cap) {
            return tb_fail_set(fail, TB_EDENIED, "credential_process has more than %zu words",
                               cap - 1);
        }
        out[count++] = line;
        if (take_word(line, &line) == NULL) {
            return tb_fail_set(fail, TB_EDENIED, "credential_process: a quote is not closed");
        }
    }
    out[count] = NULL;
    return count > 0 ? TB_OK : tb_fail_set(fail, TB_EDENIED, "credential_process is empty");
}

/* `out_pipe` is what the program prints; errors go where ours go. */
static enum tb_err
start_program(char **argv, pid_t *out_pid, int *out_pipe, struct tb_fail *fail)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int pipes[2] = {-1, -1};
    int error;

    assert(argv[0] != NULL); /* a line without words is refused before */
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return tb_fail_errno(fail, errno, "cannot make a pipe");
    }
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
    }
    if (error == 0) {
        /* Signals that we block, for a signalfd, it must not. */
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        (void)posix_spawnattr_setpgroup(&attributes, 0);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                        POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETPGROUP);
        error = posix_spawnp(out_pid, argv[0], &actions, &attributes, argv, environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    tb_close(&pipes[1]);
    if (error != 0) {
        tb_close(&pipes[0]);
        /* Somebody said that it is there: the chain ends here. */
        return error == ENOENT
                   ? tb_fail_set(fail, TB_EDENIED, "there is no program '%.200s'", argv[0])
                   : tb_fail_errno(fail, error, "cannot start '%.200s'", argv[0]);
    }
    *out_pipe = pipes[0];
    return TB_OK;
}

static int
left_ms(int64_t until_boot_ns)
{
    int64_t left_ns = until_boot_ns - tb_clock_boot_ns();

    return left_ns > 0 ? (int)(left_ns / TB_NS_PER_MS) + 1 : 0;
}

static enum tb_err
read_output(int fd, const char *name, int64_t until_boot_ns, struct tb_buf *out,
            struct tb_fail *fail)
{
    uint8_t piece[4096];
    enum tb_err err = TB_OK;
    ssize_t got = 1;

    while (got != 0 && err == TB_OK) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int wait_ms = left_ms(until_boot_ns);
        int count = wait_ms > 0 ? poll(&ready, 1, wait_ms) : 0;

        if (count == 0) {
            err = tb_fail_set(fail, TB_ERETRY, "'%.200s' takes too long", name);
        } else if (count > 0) {
            got = read(fd, piece, sizeof(piece));
            if (got > 0) {
                tb_buf_put(out, piece, (size_t)got);
                err = tb_buf_check(out, name, fail);
            } else if (got < 0 && errno != EINTR) {
                err = tb_fail_errno(fail, errno, "cannot read from '%.200s'", name);
            }
        } else if (errno != EINTR) {
            err = tb_fail_errno(fail, errno, "cannot wait for '%.200s'", name);
        }
    }
    tb_wipe(piece, sizeof(piece));
    return err;
}

/* Its end, in time or by force; what it left behind in its group goes with it. */
static enum tb_err
wait_end(pid_t pid, const char *name, int64_t until_boot_ns, int *out_status,
         struct tb_fail *fail)
{
    siginfo_t info = {.si_pid = 0};
    enum tb_err err = TB_OK;

    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0 && left_ms(until_boot_ns) > 0) {
        (void)poll(NULL, 0, REAP_LOOK_MS);
    }
    if (info.si_pid == 0) {
        err = tb_fail_set(fail, TB_ERETRY, "'%.200s' takes too long", name);
    }
    (void)kill(-pid, SIGKILL); /* not reaped yet: the number is still its own */
    while (waitpid(pid, out_status, 0) < 0 && errno == EINTR) {
    }
    return err;
}

static enum tb_err
run(char **argv, int64_t timeout_ns, struct tb_buf *out, struct tb_fail *fail)
{
    int64_t until_boot_ns = tb_clock_boot_ns() + timeout_ns;
    pid_t pid = -1;
    int fd = -1, status = 0;
    enum tb_err err = start_program(argv, &pid, &fd, fail), ended;

    if (err != TB_OK) {
        return err;
    }
    err = read_output(fd, argv[0], until_boot_ns, out, fail);
    tb_close(&fd);
    ended = wait_end(pid, argv[0], err == TB_OK ? until_boot_ns : 0, &status,
                     err == TB_OK ? fail : NULL);
    if (err != TB_OK || ended != TB_OK) {
        return err != TB_OK ? err : ended;
    }
    if (!WIFEXITED(status)) {
        return tb_fail_set(fail, TB_ERETRY, "'%.200s' was ended by signal %d", argv[0],
                           WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        return tb_fail_set(fail, TB_ERETRY, "'%.200s' ended with %d", argv[0],
                           WEXITSTATUS(status));
    }
    return TB_OK;
}

enum tb_err
tb_aws_process_of_profile(const struct tb_aws_profiles *profiles, const char *profile,
                          int64_t timeout_ns, struct tb_aws_credentials *out,
                          struct tb_fail *fail)
{
    const char *line = tb_aws_profiles_get(profiles, profile, "credential_process");
    struct tb_buf text = TB_BUF_INIT(TB_IMDS_ANSWER_MAX_BYTES);
    char *copy, *argv[WORDS_MAX + 1];
    enum tb_err err;

    if (line == NULL) {
        return tb_fail_set(fail, TB_ENOTFOUND, "no credential_process");
    }
    copy = strdup(line);
    if (copy == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "credential_process");
    }
    err = tb_aws_process_words(copy, argv, WORDS_MAX + 1, fail);
    if (err == TB_OK) {
        err = run(argv, timeout_ns, &text, fail);
    }
    if (err == TB_OK) {
        err = tb_aws_credentials_of_process_json(tb_buf_view(&text), out, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "'%.200s'", argv[0]);
        }
    }
    tb_wipe(text.at, text.cap);
    tb_buf_release(&text);
    tb_wipe(copy, strlen(line)); /* may have a password for a word */
    free(copy);
    return err;
}

enum tb_err
tb_aws_credentials_from_process(const struct tb_aws_reach *reach TB_UNUSED,
                                struct tb_aws_credentials *out, struct tb_fail *fail)
{
    struct tb_aws_profiles *profiles = NULL;
    enum tb_err err = tb_aws_profiles_load(&profiles, fail);

    if (err == TB_OK) {
        err = tb_aws_process_of_profile(profiles, tb_aws_profile_name(), TB_AWS_PROCESS_NS, out,
                                        fail);
    }
    tb_aws_profiles_free(profiles);
    return err;
}

/* Another process of our own program, and messages over the socket between. */
#include <tapbox/compartment.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

/* Set in what we start: a program that does not know its role (a unit test, say) would
 * otherwise start itself again and again. */
#define INSIDE "TAPBOX_COMPARTMENT"

enum {
    SOCKET_FD = 3,
    SEND_WAIT_NS = 1000000000, /* a peer that does not read for a second is stuck */
    REAP_LOOK_MS = 5
};

extern char **environ;

/* In the child between fork and exec: only what is safe there, no allocation. */
static void
become(const char *const *argv, char **env, int fd, pid_t parent)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent) {
        _exit(127);
    }
    if (fd == SOCKET_FD ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, SOCKET_FD) != SOCKET_FD) {
        _exit(127);
    }
    if (close_range(SOCKET_FD + 1, ~0U, 0) != 0) {
        _exit(127);
    }
    (void)execve("/proc/self/exe", (char *const *)(uintptr_t)argv, env);
    _exit(127);
}

/* Keys and tokens stay outside: what is started parses bytes of strangers. */
static bool
is_secret(const char *variable)
{
    return strncmp(variable, "AWS_", 4) == 0 || strncmp(variable, "TAPBOX_TOKEN=", 13) == 0;
}

static char **
environment_inside(void)
{
    static char inside[] = INSIDE "=1";
    size_t count = 0, kept = 0;
    char **env;

    while (environ[count] != NULL) {
        count++;
    }
    env = calloc(count + 2, sizeof(*env));
    if (env == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_secret(environ[i])) {
            env[kept++] = environ[i];
        }
    }
    env[kept] = inside;
    return env;
}

enum tb_err
tb_compartment_start(const char *const *argv, pid_t *out_pid, int *out_fd, struct tb_fail *fail)
{
    int pair[2] = {-1, -1};
    pid_t parent = getpid();
    char **env = NULL;
    enum tb_err err = TB_OK;
    pid_t pid;

    if (getenv(INSIDE) != NULL) {
        return tb_fail_set(fail, TB_ESTATE, "a compartment does not start another one");
    }
    env = environment_inside();
    if (env == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to start '%s'", argv[1]);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        err = tb_fail_errno(fail, errno, "cannot make a socket pair");
        goto out;
    }
    pid = fork();
    if (pid < 0) {
        err = tb_fail_errno(fail, errno, "cannot start '%s'", argv[1]);
        goto out;
    }
    if (pid == 0) {
        become(argv, env, pair[1], parent);
    }
    *out_pid = pid;
    *out_fd = pair[0];
    pair[0] = -1;

out:
    tb_close(&pair[0]);
    tb_close(&pair[1]);
    free(env);
    return err;
}

/* True when it is gone (and reaped). */
static bool
wait_gone(pid_t pid, int64_t wait_ns)
{
    int64_t until = tb_clock_boot_ns() + wait_ns;

    for (;;) {
        pid_t got = waitpid(pid, NULL, WNOHANG);

        if (got == pid || (got < 0 && errno == ECHILD)) {
            return true;
        }
        if (tb_clock_boot_ns() >= until) {
            return false;
        }
        (void)poll(NULL, 0, REAP_LOOK_MS);
    }
}

void
tb_compartment_stop(pid_t pid, int64_t wait_ns)
{
    if (pid <= 0) {
        return;
    }
    if (wait_ns > 0) {
        (void)kill(pid, SIGTERM);
        if (wait_gone(pid, wait_ns)) {
            return;
        }
    }
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* --- messages --- */

static enum tb_err
wait_for(int fd, short events, int64_t until_boot_ns, struct tb_fail *fail)
{
    for (;;) {
        struct pollfd one = {.fd = fd, .events = events};
        int wait_ms = -1;
        int n;

        if (until_boot_ns >= 0) {
            int64_t left = until_boot_ns - tb_clock_boot_ns();

            wait_ms = left <= 0 ? 0 : (int)((left + TB_NS_PER_MS - 1) / TB_NS_PER_MS);
        }
        n = poll(&one, 1, wait_ms);
        if (n > 0) {
            return TB_OK;
        }
        if (n == 0) {
            return tb_fail_set(fail, TB_ETIMEOUT, "no answer in time");
        }
        if (errno != EINTR) {
            return tb_fail_errno(fail, errno, "cannot wait for a message");
        }
    }
}

enum tb_err
tb_message_send(int fd, struct tb_bytes message, int pass_fd, struct tb_fail *fail)
{
    union {
        struct cmsghdr align;
        char octets[CMSG_SPACE(sizeof(int))];
    } control = {.octets = {0}};
    struct iovec part = {(void *)(uintptr_t)message.at, message.len};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    int64_t until = tb_clock_boot_ns() + SEND_WAIT_NS;

    if (pass_fd >= 0) {
        struct cmsghdr *c;

        header.msg_control = control.octets;
        header.msg_controllen = sizeof(control.octets);
        c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
    }
    for (;;) {
        enum tb_err err;

        if (sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return TB_OK;
        }
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
            return tb_fail_set(fail, TB_ECLOSED, "the other side is gone");
        }
        if (errno == EMSGSIZE) {
            return tb_fail_set(fail, TB_ETOOBIG, "a message of %zu octets is too big",
                               message.len);
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN && errno != ENOBUFS) {
            return tb_fail_errno(fail, errno, "cannot send a message");
        }
        err = wait_for(fd, POLLOUT, until, fail);
        if (err != TB_OK) {
            return err;
        }
    }
}

/* Keeps at most one descriptor of those that came, closes the others. */
static int
passed_fd(struct msghdr *header)
{
    int kept = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (kept < 0) {
                kept = fd;
            } else {
                tb_close(&fd);
            }
        }
    }
    return kept;
}

enum tb_err
tb_message_receive(int fd, struct tb_buf *out, int *out_pass_fd, int64_t wait_ns,
                   struct tb_fail *fail)
{
    union {
        struct cmsghdr align;
        char octets[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t octet;
    struct iovec part = {&octet, 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    int64_t until = wait_ns < 0 ? -1 : tb_clock_boot_ns() + wait_ns;
    uint8_t *at = NULL;
    int pass_fd = -1;
    enum tb_err err;
    ssize_t len;

    err = wait_for(fd, POLLIN, until, fail);
    if (err != TB_OK) {
        return err;
    }
    /* Its size first, so that a big one needs no standing buffer. */
    len = recvmsg(fd, &header, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (len == 0 || (len < 0 && (errno == ECONNRESET || errno == EPIPE))) {
        return tb_fail_set(fail, TB_ECLOSED, "the other side is gone");
    }
    if (len < 0) {
        return errno == EAGAIN ? tb_fail_set(fail, TB_ETIMEOUT, "no answer in time")
                               : tb_fail_errno(fail, errno, "cannot receive a message");
    }
    at = malloc((size_t)len);
    if (at == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a message of %zd octets", len);
    }
    part = (struct iovec){at, (size_t)len};
    header.msg_control = control.octets;
    header.msg_controllen = sizeof(control.octets);
    len = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0) {
        err = tb_fail_errno(fail, errno, "cannot receive a message");
        goto out;
    }
    pass_fd = passed_fd(&header);
    if ((size_t)len > out->ceiling) {
        err = tb_fail_set(fail, TB_ETOOBIG, "a message of %zd octets, %zu are allowed", len,
                          out->ceiling);
        goto out;
    }
    tb_buf_reset(out);
    tb_buf_put(out, at, (size_t)len);
    err = tb_buf_check(out, "a message", fail);
    if (err == TB_OK && out_pass_fd != NULL) {
        *out_pass_fd = pass_fd;
        pass_fd = -1;
    }

out:
    tb_close(&pass_fd);
    free(at);
    return err;
}

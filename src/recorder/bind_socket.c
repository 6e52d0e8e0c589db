/* The socket file at which serve finds the recorder. */
#include "lane_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <tapbox/io.h>

/* A socket file that nobody listens on: a recorder that ended has no right to remove its own.
 */
static enum tb_err
clear_stale(const struct sockaddr_un *address, struct tb_fail *fail)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool alive;

    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a socket");
    }
    alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
    tb_close(&fd);
    if (alive) {
        return tb_fail_set(fail, TB_EEXIST, "another recorder listens at %s",
                           address->sun_path);
    }
    if (errno == ECONNREFUSED) {
        (void)unlink(address->sun_path);
    }
    return TB_OK;
}

enum tb_err
tb_bind_socket(const char *path, int *out_fd, struct tb_fail *fail)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    enum tb_err err;
    mode_t mask;
    int bound;
    int fd;

    if (!tb_str_copy(address.sun_path, sizeof(address.sun_path), path)) {
        return tb_fail_set(fail, TB_EINVAL, "the socket's path is too long: %s", path);
    }
    err = clear_stale(&address, fail);
    if (err != TB_OK) {
        return err;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a socket");
    }
    mask = umask(0177);
    bound = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    (void)umask(mask);
    if (bound != 0) {
        err = tb_fail_errno(fail, errno, "cannot listen at %s", path);
        tb_close(&fd);
        return err;
    }
    *out_fd = fd;
    return TB_OK;
}

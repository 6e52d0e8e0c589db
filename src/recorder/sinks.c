/*
 * Sockets that keep the tunnel ports open and take nothing.  On a closed port the kernel would
 * answer every packet with an ICMP error, at more cost than recording it.
 */
#include "lane_int.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <tapbox/io.h>

enum {
    GENEVE_PORT = 6081,
    SINK_BUFFER_BYTES = 1 /* the kernel makes it its minimum */
};

static enum tb_err
open_sink(int family, uint16_t port, int *out_fd, struct tb_fail *fail)
{
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog reject = {1, &nothing};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    const void *address = family == AF_INET ? (const void *)&four : (const void *)&six;
    socklen_t len = family == AF_INET ? sizeof(four) : sizeof(six);
    int bytes = SINK_BUFFER_BYTES;
    int on = 1;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 && errno == EAFNOSUPPORT && family == AF_INET6) {
        return TB_OK; /* a host without IPv6 gets no IPv6 packets */
    }
    if (fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a UDP socket");
    }
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &reject, sizeof(reject)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) != 0 ||
        (family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)) {
        (void)tb_fail_errno(fail, errno, "cannot set up a UDP socket");
        tb_close(&fd);
        return TB_EIO;
    }
    if (bind(fd, address, len) != 0) {
        int error = errno;

        tb_close(&fd);
        if (error == EADDRNOTAVAIL && family == AF_INET6) {
            return TB_OK; /* IPv6 is switched off */
        }
        if (error == EADDRINUSE) {
            return tb_fail_set(fail, TB_EEXIST,
                               "UDP port %u is in use: another recorder, or a %s device of the "
                               "kernel, takes the mirrored packets",
                               port, port == GENEVE_PORT ? "GENEVE" : "VXLAN");
        }
        return tb_fail_errno(fail, error, "cannot bind UDP port %u", port);
    }
    /* Nor is anything ever sent: whoever takes the recorder over gets no way out by it.  (It is
     * shut down, and called not connected all the same.) */
    (void)shutdown(fd, SHUT_WR);
    *out_fd = fd;
    return TB_OK;
}

enum tb_err
tb_sinks_open(struct tb_sinks *sinks, uint16_t port, struct tb_fail *fail)
{
    const uint16_t ports[] = {port, GENEVE_PORT};
    size_t n = 0;

    for (size_t i = 0; i < TB_SINKS_MAX; i++) {
        sinks->fd[i] = -1;
    }
    for (size_t i = 0; i < 2; i++) {
        enum tb_err err = open_sink(AF_INET, ports[i], &sinks->fd[n++], fail);

        if (err == TB_OK) {
            err = open_sink(AF_INET6, ports[i], &sinks->fd[n++], fail);
        }
        if (err != TB_OK) {
            tb_sinks_close(sinks);
            return err;
        }
    }
    return TB_OK;
}

void
tb_sinks_close(struct tb_sinks *sinks)
{
    for (size_t i = 0; i < TB_SINKS_MAX; i++) {
        tb_close(&sinks->fd[i]);
    }
}

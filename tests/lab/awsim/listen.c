/* Listening sockets; a TCP one can be made inside another network namespace. */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int
open_tcp(const struct ip *ip, int port, int *out_port)
{
    int on = 1;
    int fd = socket(ip->family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)); /* the address may come later */
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    memcpy(&v4.sin_addr, ip->b, 4);
    memcpy(&v6.sin6_addr, ip->b, 16);
    const struct sockaddr *at =
        ip->family == 4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    socklen_t len = ip->family == 4 ? sizeof(v4) : sizeof(v6);
    struct sockaddr_in6 bound = {0};
    socklen_t bound_len = sizeof(bound);
    if (bind(fd, at, len) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &bound_len) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *out_port = ntohs(bound.sin6_port); /* the port lies at the same place in both families */
    return fd;
}

int
listen_tcp(const struct listen *where, int *out_port)
{
    struct ip ip;
    if (!ip_parse(where->address, &ip)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    if (where->netns[0] == '\0') {
        return open_tcp(&ip, where->port, out_port);
    }
    int fd = -1;
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(where->netns, O_RDONLY | O_CLOEXEC);
    if (home >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0) {
        fd = open_tcp(&ip, where->port, out_port);
        int saved = errno;
        if (setns(home, CLONE_NEWNET) != 0 && fd >= 0) {
            close(fd);
            fd = -1;
        }
        errno = saved;
    }
    int saved = errno;
    close(home);
    close(there);
    errno = saved;
    return fd;
}

int
listen_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    unlink(path);
    mode_t mask = umask(0077);
    int bound = bind(fd, (const struct sockaddr *)&at, sizeof(at));
    umask(mask);
    if (bound != 0 || listen(fd, 64) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

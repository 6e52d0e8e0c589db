/* See http_peer.h.  One thread accepts, one more for each connection. */
#include "http_peer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_REQUESTS = 2048,
    MAX_CONNECTIONS = 512,
    MAX_STEPS = 64,
    MAX_HEAD = 32 * 1024,
    MAX_KEPT_BODY = 64 * 1024 /* more is read and thrown away */
};

struct seen {
    char *head, *body;
    size_t connection;
};

struct connection {
    struct http_peer *peer;
    int fd;
    size_t number;
    pthread_t thread;
};

struct http_peer {
    int listen_fd, wake[2];
    char url[64];
    pthread_t thread;
    pthread_mutex_t mu; /* guards what follows */
    struct http_peer_step steps[MAX_STEPS];
    size_t step_count;
    bool used[MAX_STEPS];
    struct seen seen[MAX_REQUESTS];
    size_t seen_count;
    struct connection connections[MAX_CONNECTIONS];
    size_t connection_count;
};

static void
forget_requests(struct http_peer *peer)
{
    for (size_t i = 0; i < peer->seen_count; i++) {
        free(peer->seen[i].head);
        free(peer->seen[i].body);
    }
    peer->seen_count = 0;
}

/* Notes the request and chooses the step. */
static struct http_peer_step
next_step(struct http_peer *peer, size_t connection, char *head, char *body)
{
    struct http_peer_step step = {.status = 599, .body = "no step is left"};
    bool found = false;

    pthread_mutex_lock(&peer->mu);
    assert(peer->seen_count < MAX_REQUESTS);
    peer->seen[peer->seen_count++] = (struct seen){head, body, connection};
    for (size_t i = 0; i < peer->step_count && !found; i++) {
        const struct http_peer_step *one = &peer->steps[i];

        if (!peer->used[i] &&
            (one->begins == NULL || strncmp(head, one->begins, strlen(one->begins)) == 0)) {
            step = *one;
            found = true;
            peer->used[i] = !one->always;
        }
    }
    pthread_mutex_unlock(&peer->mu);
    return step;
}

static bool
send_all(int fd, const char *at, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return false;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* Reads up to and with the empty line, an octet at a time: speed is no matter here. */
static char *
read_head(int fd)
{
    char *head = calloc(1, MAX_HEAD);

    for (size_t len = 0; len < MAX_HEAD - 1; len++) {
        if (recv(fd, head + len, 1, 0) != 1) {
            break;
        }
        if (len >= 3 && memcmp(head + len - 3, "\r\n\r\n", 4) == 0) {
            return head;
        }
    }
    free(head);
    return NULL;
}

static void
find_header(const char *head, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);

    out[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *value = line + len + 1 + strspn(line + len + 1, " ");

            (void)snprintf(out, cap, "%.*s", (int)strcspn(value, "\r"), value);
            return;
        }
    }
}

static char *
read_body(int fd, const char *head)
{
    char length[32], expect[32], buffer[65536];
    char *body = calloc(1, MAX_KEPT_BODY + 1);
    size_t left, kept = 0;

    find_header(head, "content-length", length, sizeof(length));
    find_header(head, "expect", expect, sizeof(expect));
    if (expect[0] != '\0' && !send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) {
        free(body);
        return NULL;
    }
    for (left = strtoul(length, NULL, 10); left > 0;) {
        ssize_t got = recv(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer), 0);
        size_t keep;

        if (got <= 0) {
            free(body);
            return NULL;
        }
        left -= (size_t)got;
        keep = (size_t)got < MAX_KEPT_BODY - kept ? (size_t)got : MAX_KEPT_BODY - kept;
        memcpy(body + kept, buffer, keep);
        kept += keep;
    }
    return body;
}

static void
wait_until_gone(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLRDHUP};

    while (poll(&wait, 1, -1) >= 0 && (wait.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) {
    }
}

/* False when the connection is to be closed. */
static bool
answer(int fd, const struct http_peer_step *step, bool head_only)
{
    struct timespec delay;
    const char *body;
    char head[4096];
    int len;

    if (step->how == HTTP_PEER_HANGS_UP) {
        return false;
    }
    if (step->how == HTTP_PEER_SAYS_NOTHING) {
        wait_until_gone(fd);
        return false;
    }
    delay = (struct timespec){step->delay_ns / 1000000000, step->delay_ns % 1000000000};
    if (step->delay_ns > 0) {
        (void)nanosleep(&delay, NULL);
    }
    body = step->body != NULL ? step->body : "";
    len = snprintf(head, sizeof(head), "HTTP/1.1 %d \r\nContent-Length: %zu\r\n%s\r\n",
                   step->status, strlen(body) + (step->how == HTTP_PEER_CUTS ? 100 : 0),
                   step->headers != NULL ? step->headers : "");
    assert(len > 0 && (size_t)len < sizeof(head));
    if (!send_all(fd, head, (size_t)len) || (!head_only && !send_all(fd, body, strlen(body)))) {
        return false;
    }
    return step->how == HTTP_PEER_ANSWERS;
}

static void *
serve(void *arg)
{
    struct connection *connection = arg;
    struct http_peer *peer = connection->peer;
    bool more = true;

    while (more) {
        char *head = read_head(connection->fd), *body = NULL;
        struct http_peer_step step;
        bool early = false, head_only;

        if (head == NULL) {
            break;
        }
        pthread_mutex_lock(&peer->mu);
        early = peer->step_count > 0 && peer->steps[0].how == HTTP_PEER_ANSWERS_EARLY;
        pthread_mutex_unlock(&peer->mu);
        body = early ? calloc(1, 1) : read_body(connection->fd, head);
        if (body == NULL) {
            free(head);
            break;
        }
        head_only = strncmp(head, "HEAD", 4) == 0;
        step = next_step(peer, connection->number, head, body);
        more = answer(connection->fd, &step, head_only);
    }
    shutdown(connection->fd, SHUT_RDWR);
    return NULL;
}

static void *
accept_all(void *arg)
{
    struct http_peer *peer = arg;
    struct pollfd wait[2] = {{.fd = peer->listen_fd, .events = POLLIN},
                             {.fd = peer->wake[0], .events = POLLIN}};

    for (;;) {
        struct connection *connection;
        int fd, at_once = 1; /* a body does not wait until its head is acknowledged */

        if (poll(wait, 2, -1) < 0 || wait[1].revents != 0) {
            return NULL;
        }
        fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1) {
            continue;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
        pthread_mutex_lock(&peer->mu);
        assert(peer->connection_count < MAX_CONNECTIONS);
        connection = &peer->connections[peer->connection_count];
        *connection =
            (struct connection){.peer = peer, .fd = fd, .number = peer->connection_count++};
        pthread_create(&connection->thread, NULL, serve, connection);
        pthread_mutex_unlock(&peer->mu);
    }
}

struct http_peer *
http_peer_start(const struct http_peer_step *steps, size_t count)
{
    struct http_peer *peer = calloc(1, sizeof(*peer));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int bad;

    pthread_mutex_init(&peer->mu, NULL);
    peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bad = bind(peer->listen_fd, (struct sockaddr *)&at, sizeof(at));
    bad |= listen(peer->listen_fd, 64);
    bad |= getsockname(peer->listen_fd, (struct sockaddr *)&at, &len);
    bad |= pipe(peer->wake);
    assert(bad == 0);
    (void)snprintf(peer->url, sizeof(peer->url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    http_peer_script(peer, steps, count);
    bad = pthread_create(&peer->thread, NULL, accept_all, peer);
    assert(bad == 0);
    return peer;
}

void
http_peer_script(struct http_peer *peer, const struct http_peer_step *steps, size_t count)
{
    assert(count <= MAX_STEPS);
    pthread_mutex_lock(&peer->mu);
    forget_requests(peer);
    memset(peer->used, 0, sizeof(peer->used));
    if (count > 0) {
        memcpy(peer->steps, steps, count * sizeof(*steps));
    }
    peer->step_count = count;
    pthread_mutex_unlock(&peer->mu);
}

void
http_peer_stop(struct http_peer *peer)
{
    if (peer == NULL) {
        return;
    }
    close(peer->wake[1]);
    pthread_join(peer->thread, NULL);
    for (size_t i = 0; i < peer->connection_count; i++) {
        shutdown(peer->connections[i].fd, SHUT_RDWR);
        pthread_join(peer->connections[i].thread, NULL);
        close(peer->connections[i].fd);
    }
    close(peer->listen_fd);
    close(peer->wake[0]);
    forget_requests(peer);
    pthread_mutex_destroy(&peer->mu);
    free(peer);
}

const char *
http_peer_url(const struct http_peer *peer)
{
    return peer->url;
}

size_t
http_peer_count(struct http_peer *peer)
{
    size_t count;

    pthread_mutex_lock(&peer->mu);
    count = peer->seen_count;
    pthread_mutex_unlock(&peer->mu);
    return count;
}

static struct seen
get_seen(struct http_peer *peer, size_t i)
{
    struct seen seen;

    pthread_mutex_lock(&peer->mu);
    assert(i < peer->seen_count);
    seen = peer->seen[i];
    pthread_mutex_unlock(&peer->mu);
    return seen;
}

const char *
http_peer_head(struct http_peer *peer, size_t i)
{
    return get_seen(peer, i).head;
}

const char *
http_peer_body(struct http_peer *peer, size_t i)
{
    return get_seen(peer, i).body;
}

size_t
http_peer_connection(struct http_peer *peer, size_t i)
{
    return get_seen(peer, i).connection;
}

void
http_peer_header(struct http_peer *peer, size_t i, const char *name, char *out, size_t cap)
{
    find_header(get_seen(peer, i).head, name, out, cap);
}

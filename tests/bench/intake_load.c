/*
 * Open-loop load on an HTTP route: each line of a file is one body, posted at its time whether
 * or not the answers before it have come, and waited for from that time on.  A server that
 * falls behind so shows in the latencies, not in a sender that slows down with it.
 *
 * Prints one JSON object; the exit status is 1 when something was not answered with 2xx.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tapbox/clock.h>
#include <tapbox/io.h>

enum {
    ANSWER_MAX_BYTES = 256 * 1024,
    REQUEST_MAX_BYTES = 64 * 1024,
    BODIES_MAX_BYTES = 1024 * 1024 * 1024,
    EVENTS_AT_ONCE = 64,
    LAST_ANSWER_S = 20 /* after the last request */
};

/* A connection, kept open; one request at a time. */
struct link {
    int fd;
    bool busy;
    size_t request; /* while busy */
    char out[REQUEST_MAX_BYTES];
    size_t out_len, out_at;
    char in[ANSWER_MAX_BYTES];
    size_t in_len;
};

struct load {
    struct sockaddr_in to;
    const char *path, *token;
    double rate;
    size_t link_count;
    struct link *links;
    int epoll_fd;

    struct tb_bytes *bodies; /* lent from the file's text */
    int64_t *latency_ns;     /* of each request, from when it was due */
    size_t count;
    int64_t began_ns;
    size_t due, answered, broken, connects;
    size_t statuses[6]; /* by the first digit */
    int64_t late_ns;    /* the most by which this program itself was late */
};

static void
die(const char *what)
{
    fprintf(stderr, "intake_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int64_t
due_ns(const struct load *load, size_t request)
{
    return load->began_ns + (int64_t)((double)request * (double)TB_NS_PER_S / load->rate);
}

/* --- requests --- */

static void
open_link(struct load *load, struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    const int one = 1;

    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0 ||
        connect(link->fd, (struct sockaddr *)&load->to, sizeof(load->to)) != 0 ||
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, link->fd, &event) != 0) {
        die("cannot connect");
    }
    link->busy = false;
    link->in_len = 0;
    load->connects++;
}

static void
set_events(struct load *load, struct link *link, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};

    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, link->fd, &event) != 0) {
        die("epoll");
    }
}

static void
end_request(struct load *load, struct link *link, int status)
{
    load->latency_ns[link->request] = tb_clock_boot_ns() - due_ns(load, link->request);
    load->statuses[status / 100 % 6]++;
    load->answered++;
    link->busy = false;
    link->in_len = 0;
}

static void
lose(struct load *load, struct link *link)
{
    if (link->busy) {
        load->broken++;
        end_request(load, link, 0);
    }
    (void)close(link->fd);
    open_link(load, link);
}

static void
write_on(struct load *load, struct link *link)
{
    while (link->out_at < link->out_len) {
        ssize_t n = send(link->fd, link->out + link->out_at, link->out_len - link->out_at,
                         MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            set_events(load, link, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) {
            lose(load, link);
            return;
        }
        link->out_at += (size_t)n;
    }
}

static void
begin_request(struct load *load, struct link *link, size_t request)
{
    struct tb_bytes body = load->bodies[request];
    int head = snprintf(link->out, sizeof(link->out),
                        "POST %s HTTP/1.1\r\nHost: tapbox\r\nContent-Type: application/json\r\n"
                        "X-Api-Key: %s\r\nContent-Length: %zu\r\n\r\n",
                        load->path, load->token, body.len);

    if (head < 0 || (size_t)head + body.len > sizeof(link->out)) {
        errno = EMSGSIZE;
        die("a body");
    }
    memcpy(link->out + head, body.at, body.len);
    link->out_len = (size_t)head + body.len;
    link->out_at = 0;
    link->busy = true;
    link->request = request;
    write_on(load, link);
}

/* --- answers --- */

/* The status when a whole answer is there, else 0. */
static int
whole_answer(struct link *link)
{
    const char *end, *length;

    link->in[link->in_len] = 0;
    end = strstr(link->in, "\r\n\r\n");
    if (end == NULL) {
        return 0;
    }
    length = strcasestr(link->in, "\r\nContent-Length:");
    if (length == NULL || length > end ||
        link->in_len < (size_t)(end - link->in) + 4 + strtoul(length + 17, NULL, 10)) {
        return 0;
    }
    return (int)strtol(link->in + sizeof("HTTP/1.1 ") - 1, NULL, 10);
}

static void
read_on(struct load *load, struct link *link)
{
    ssize_t n = recv(link->fd, link->in + link->in_len, sizeof(link->in) - 1 - link->in_len, 0);
    int status;

    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        lose(load, link);
        return;
    }
    link->in_len += (size_t)n;
    status = whole_answer(link);
    if (status != 0) {
        end_request(load, link, status);
    }
}

/* --- the clock --- */

/* What is due goes out on the links that are free; what finds none waits. */
static void
send_due(struct load *load)
{
    int64_t now_ns = tb_clock_boot_ns();

    for (size_t i = 0; i < load->link_count && load->due < load->count; i++) {
        if (due_ns(load, load->due) > now_ns) {
            return;
        }
        if (!load->links[i].busy) {
            begin_request(load, &load->links[i], load->due++);
        }
    }
}

static void
wait_for_more(struct load *load)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    bool has_free = false;
    int64_t until_ns, now_ns, wait_ns;
    int n;

    for (size_t i = 0; i < load->link_count && !has_free; i++) {
        has_free = !load->links[i].busy;
    }
    until_ns = has_free && load->due < load->count ? due_ns(load, load->due)
                                                   : tb_clock_boot_ns() + TB_NS_PER_S;
    wait_ns = until_ns - tb_clock_boot_ns();
    if (wait_ns > 0) {
        struct timespec wait = {wait_ns / TB_NS_PER_S, wait_ns % TB_NS_PER_S};

        n = epoll_pwait2(load->epoll_fd, events, EVENTS_AT_ONCE, &wait, NULL);
    } else {
        n = epoll_wait(load->epoll_fd, events, EVENTS_AT_ONCE, 0);
    }
    if (n < 0 && errno != EINTR) {
        die("epoll");
    }
    now_ns = tb_clock_boot_ns();
    if (has_free && load->due < load->count && now_ns - until_ns > load->late_ns && n == 0) {
        load->late_ns = now_ns - until_ns;
    }
    for (int i = 0; i < n; i++) {
        struct link *link = events[i].data.ptr;

        if ((events[i].events & EPOLLOUT) != 0) {
            set_events(load, link, EPOLLIN);
            write_on(load, link);
        } else {
            read_on(load, link);
        }
    }
}

static void
run(struct load *load)
{
    int64_t last_ns;

    load->began_ns = tb_clock_boot_ns();
    last_ns = due_ns(load, load->count) + LAST_ANSWER_S * TB_NS_PER_S;
    while (load->answered < load->count && tb_clock_boot_ns() < last_ns) {
        send_due(load);
        wait_for_more(load);
    }
    /* What was never answered has waited until now. */
    for (size_t i = 0; i < load->count; i++) {
        if (load->latency_ns[i] == 0) {
            load->latency_ns[i] = tb_clock_boot_ns() - due_ns(load, i);
        }
    }
}

/* --- what came of it --- */

static int
by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

/* In milliseconds, of the sorted latencies. */
static double
quantile(const struct load *load, double q)
{
    size_t i = (size_t)((double)load->count * q);

    return (double)load->latency_ns[i < load->count ? i : load->count - 1] / 1e6;
}

static void
print_result(struct load *load, int64_t took_ns)
{
    qsort(load->latency_ns, load->count, sizeof(*load->latency_ns), by_size);
    printf("{\"rate\": %.0f, \"achieved\": %.1f, \"requests\": %zu, \"p50_ms\": %.2f, "
           "\"p99_ms\": %.2f, \"p99_9_ms\": %.2f, \"max_ms\": %.2f, \"2xx\": %zu, \"4xx\": "
           "%zu, \"5xx\": %zu, \"broken\": %zu, \"unanswered\": %zu, \"connections\": %zu, "
           "\"reconnects\": %zu, \"sender_late_ms\": %.2f}\n",
           load->rate, (double)load->answered * (double)TB_NS_PER_S / (double)took_ns,
           load->count, quantile(load, 0.5), quantile(load, 0.99), quantile(load, 0.999),
           quantile(load, 1), load->statuses[2], load->statuses[4], load->statuses[5],
           load->broken, load->count - load->answered, load->link_count,
           load->connects - load->link_count, (double)load->late_ns / 1e6);
}

static void
take_lines(struct load *load, const struct tb_buf *text)
{
    struct tb_bytes all = tb_buf_view(text);
    size_t at = 0;

    for (size_t i = 0; i < all.len; i++) {
        load->count += all.at[i] == '\n' ? 1 : 0;
    }
    load->bodies = calloc(load->count + 1, sizeof(*load->bodies));
    load->latency_ns = calloc(load->count + 1, sizeof(*load->latency_ns));
    if (load->bodies == NULL || load->latency_ns == NULL) {
        die("bodies");
    }
    for (size_t i = 0; i < load->count; i++) {
        const uint8_t *end = memchr(all.at + at, '\n', all.len - at);
        size_t len = (size_t)(end - (all.at + at));

        load->bodies[i] = tb_bytes_of(all.at + at, len);
        at += len + 1;
    }
}

static void
usage(void)
{
    fputs("usage: intake_load --port N --token TOKEN --rate N [--address IP] [--path "
          "/v1/events]\n"
          "                   [--connections 64] FILE\n"
          "Posts each line of FILE at its time, RATE a second, and prints the latencies from\n"
          "these times on as one JSON object.\n",
          stderr);
    exit(2);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"address", required_argument, NULL, 'a'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"token", required_argument, NULL, 't'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"path", required_argument, NULL, 'u'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {NULL, 0, NULL, 0}};
    struct load load = {
        .to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
        .path = "/v1/events",
        .link_count = 64};
    struct tb_buf text = TB_BUF_INIT(BODIES_MAX_BYTES);
    struct tb_fail fail = {0};
    int64_t began_ns;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'a':
            if (inet_pton(AF_INET, optarg, &load.to.sin_addr) != 1) {
                usage();
            }
            break;
        case 'p':
            load.to.sin_port = htons((uint16_t)strtoul(optarg, NULL, 10));
            break;
        case 't':
            load.token = optarg;
            break;
        case 'r':
            load.rate = strtod(optarg, NULL);
            break;
        case 'u':
            load.path = optarg;
            break;
        case 'c':
            load.link_count = strtoul(optarg, NULL, 10);
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc || load.to.sin_port == 0 || load.token == NULL || load.rate <= 0 ||
        load.link_count == 0) {
        usage();
    }
    if (tb_read_file(AT_FDCWD, argv[optind], &text, &fail) != TB_OK) {
        fprintf(stderr, "intake_load: %s\n", fail.text);
        return 2;
    }
    take_lines(&load, &text);
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load.links = calloc(load.link_count, sizeof(*load.links));
    if (load.epoll_fd < 0 || load.links == NULL) {
        die("links");
    }
    for (size_t i = 0; i < load.link_count; i++) {
        open_link(&load, &load.links[i]);
    }
    began_ns = tb_clock_boot_ns();
    run(&load);
    print_result(&load, tb_clock_boot_ns() - began_ns);
    for (size_t i = 0; i < load.link_count; i++) {
        (void)close(load.links[i].fd);
    }
    free(load.links);
    free(load.latency_ns);
    free(load.bodies);
    tb_buf_release(&text);
    return load.statuses[2] == load.count ? 0 : 1;
}

/* What senders that are slow, many or broken can do to the others: nothing. */
#include <sys/resource.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "room.h"

enum {
    FLOOD = 600, /* more than there are places */
    ASKED = 40
};

#define RAW(text)                                                                              \
    {                                                                                          \
        (const uint8_t *)(text), sizeof(text) - 1                                              \
    }

static int64_t
wall_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * TB_NS_PER_S + now.tv_nsec;
}

/* Longer than a machine stands still; nobody waits for it but where a case fails. */
#define PATIENCE_MS 60000

/* True when the other side has closed it; waits at most `ms`. */
static bool
closes_within(int fd, int ms)
{
    const struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    char octet;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    return recv(fd, &octet, 1, 0) == 0;
}

static void
headers_that_trickle_end_at_the_limit_and_not_before(void **state)
{
    struct room *r = *state;
    int fd = dial(r);

    send_all(fd, "GET /healthz HTTP/1.1\r\nX-Slow: ", 31);
    assert_false(closes_within(fd, 100));
    for (int second = 0; second < 28; second += 7) {
        tb_clock_fake_advance(7 * TB_NS_PER_S);
        send_all(fd, "a", 1);
    }
    assert_false(closes_within(fd, 1500)); /* a look at the clock lies in between */
    tb_clock_fake_advance(3 * TB_NS_PER_S);
    send_all(fd, "a", 1);
    assert_true(closes_within(fd, PATIENCE_MS));
    (void)close(fd);
}

static void
a_body_that_trickles_ends_at_the_limit_with_a_valid_token_too(void **state)
{
    struct room *r = *state;
    struct tb_buf text = TB_BUF_INIT(1024);
    int fd = dial(r);

    tb_buf_printf(
        &text,
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\nX-Api-Key: %s\r\n\r\n{",
        r->alert.text);
    send_all(fd, text.at, text.len);
    assert_false(closes_within(fd, 200));
    tb_clock_fake_advance(31 * TB_NS_PER_S);
    send_all(fd, " ", 1);
    assert_true(closes_within(fd, PATIENCE_MS));
    (void)close(fd);
    tb_buf_release(&text);
}

/* Octet by octet until it is told to end. */
struct flood {
    const struct room *room;
    int fd[FLOOD];
    atomic_bool end;
};

static void *
trickle(void *arg)
{
    struct flood *flood = arg;

    while (!atomic_load(&flood->end)) {
        for (size_t i = 0; i < FLOOD; i++) {
            (void)send(flood->fd[i], "a", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        (void)usleep(50000);
    }
    return NULL;
}

static void
a_flood_of_slow_connections_pushes_out_itself_and_nobody_else(void **state)
{
    struct room *r = *state;
    struct flood *flood = test_calloc(1, sizeof(*flood));
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), text = TB_BUF_INIT(1024);
    int64_t longest_ns = 0;
    pthread_t thread;
    int known = dial(r);
    size_t closed = 0;

    tb_buf_printf(
        &text,
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nX-Api-Key: %s\r\n\r\n{",
        r->alert.text);
    send_all(known, text.at, text.len);
    assert_false(closes_within(known, 100)); /* it is being looked at */
    for (size_t i = 0; i < FLOOD; i++) {
        flood->fd[i] = dial(r);
        send_all(flood->fd[i], "GET /healthz HTTP/1.1\r\nX-Slow: ", 31);
    }
    assert_int_equal(tb_thread_start(&thread, "flood", trickle, flood, NULL), TB_OK);
    for (int i = 0; i < ASKED; i++) {
        int64_t began_ns = wall_ns();

        assert_int_equal(call(r, "GET", "/v1/captures", &r->analyst, NULL, NULL, &out), 200);
        longest_ns = wall_ns() - began_ns > longest_ns ? wall_ns() - began_ns : longest_ns;
    }
    atomic_store(&flood->end, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < FLOOD; i++) {
        char octet;

        closed += recv(flood->fd[i], &octet, 1, MSG_DONTWAIT) == 0 ||
                          (errno != EAGAIN && errno != EWOULDBLOCK)
                      ? 1
                      : 0;
        (void)close(flood->fd[i]);
    }
    print_message("longest of %d calls beside %d slow ones: %lld us; %zu pushed out\n", ASKED,
                  FLOOD, (long long)(longest_ns / 1000), closed);
    assert_true(longest_ns < TB_NS_PER_MS * PATIENCE_MS / 4); /* the slow ones have 30 s */
    assert_true(closed >= FLOOD - TB_PEERS_MANY);
    /* who had shown a token was not pushed out */
    send_all(known, "}", 1);
    assert_int_equal(read_answer(known, &out), 400);
    test_free(flood);
    tb_buf_release(&text);
    tb_buf_release(&out);
}

static void
what_is_not_http_is_refused_and_the_next_is_served(void **state)
{
    static const struct tb_bytes cases[] = {
        RAW("\r\n\r\n\r\n\r\n"),
        RAW("hello\r\n\r\n"),
        RAW("GET\r\n\r\n"),
        RAW("GET /healthz\r\n\r\n"),
        RAW("GET /healthz HTTP/9.9\r\nHost: t\r\n\r\n"),
        RAW("GET /healthz HTTP/1.1\r\n\r\n"), /* no Host */
        RAW("GET /heal\0thz HTTP/1.1\r\nHost: t\r\n\r\n"),
        RAW("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n{}"),
        RAW("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 2x\r\n\r\n{}"),
        RAW("POST /v1/events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            "zz\r\n{}\r\n"),
        RAW("POST /v1/events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            "ffffffffffffffffff\r\n{}"),
        RAW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* TLS */
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = dial(r);
        int status;

        send_all(fd, cases[i].at, cases[i].len);
        (void)shutdown(fd, SHUT_WR);
        status = read_answer(fd, &out);
        if (status != 0 && (status < 400 || status > 505)) {
            fail_msg("case %zu: %d", i, status);
        }
        assert_int_equal(call(r, "GET", "/healthz", NULL, NULL, NULL, &out), 200);
    }
    tb_buf_release(&out);
}

static void
json_that_nests_too_deep_is_400(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);

    for (int i = 0; i < 100000; i++) {
        tb_buf_put_str(&body, "[");
    }
    assert_int_equal(call(r, "POST", "/v1/events", &r->alert, NULL, tb_buf_str(&body), &out),
                     400);
    assert_problem(&out, 400, "deeper");
    assert_int_equal(
        call(r, "POST", "/v1/captures", &r->analyst, NULL, tb_buf_str(&body), &out), 400);
    assert_problem(&out, 400, "deeper");
    tb_buf_release(&body);
    tb_buf_release(&out);
}

/* Whoever reaches the port may say that it is SNS; the proof is in the body, which has to be
 * read first. */
static void
bodies_that_only_say_they_are_of_sns_leave_room_for_others(void **state)
{
    enum {
        CALLS = 60, /* about half of what all bodies together may have */
        SENT = TB_EVENT_MAX_BYTES - 1
    };
    struct room *r = *state;
    const struct tb_sns_settings settings = {.store = r->store,
                                             .topics =
                                                 "arn:aws:sns:eu-central-1:111122223333:alerts",
                                             .least_version = 1,
                                             .window_ns = TB_NS_PER_S,
                                             .ca_file = ""};
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_sns *sns = NULL;
    char *body = malloc(SENT);
    int fds[CALLS];
    size_t before = 0, now = 1;

    assert_non_null(body);
    memset(body, ' ', SENT);
    assert_int_equal(tb_sns_start(&settings, &sns, NULL), TB_OK);
    tb_mutex_lock(&r->server->mu); /* as each call does at first */
    r->server->deps.sns = sns;
    tb_mutex_unlock(&r->server->mu);
    for (size_t i = 0; i < CALLS; i++) {
        char head[160];

        fds[i] = dial(r);
        (void)snprintf(head, sizeof(head),
                       "POST /v1/events HTTP/1.1\r\nHost: t\r\n"
                       "x-amz-sns-message-type: Notification\r\nContent-Length: %d\r\n\r\n",
                       TB_EVENT_MAX_BYTES);
        send_all(fds[i], head, strlen(head));
        send_all(fds[i], body, SENT);
    }
    while (before != now || now < 30 * (size_t)TB_EVENT_MAX_BYTES) { /* it has read them all */
        const struct timespec pause = {.tv_nsec = 300 * 1000 * 1000};

        before = now;
        (void)nanosleep(&pause, NULL);
        now = atomic_load(&r->server->body_bytes);
    }
    assert_true(now < 34 * (size_t)TB_EVENT_MAX_BYTES); /* a quarter */
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    for (size_t i = 0; i < CALLS; i++) {
        (void)close(fds[i]);
    }
    while (atomic_load(&r->server->body_bytes) > 0) {
        (void)sched_yield();
    }
    tb_http_server_stop(r->server);
    r->server = NULL;
    tb_sns_stop(sns);
    free(body);
    tb_buf_release(&out);
}

int
main(void)
{
    struct rlimit files;

    /* both ends of the flood are here; an ordinary session starts with 1,024 */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(headers_that_trickle_end_at_the_limit_and_not_before),
        CLOCK_TEST(a_body_that_trickles_ends_at_the_limit_with_a_valid_token_too),
        ROOM_TEST(a_flood_of_slow_connections_pushes_out_itself_and_nobody_else),
        ROOM_TEST(what_is_not_http_is_refused_and_the_next_is_served),
        ROOM_TEST(json_that_nests_too_deep_is_400),
        ROOM_TEST(bodies_that_only_say_they_are_of_sns_leave_room_for_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

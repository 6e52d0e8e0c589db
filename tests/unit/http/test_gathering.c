/* Alerts that come close together share a commit, and who comes alone waits for nobody.  The
 * clock stands still but where a case moves it. */
#include <poll.h>
#include <sched.h>

#include "room.h"

static int
post(const struct room *r)
{
    struct tb_buf text = TB_BUF_INIT(ANSWER_MAX);
    int fd = dial(r);

    tb_buf_printf(&text,
                  "POST /v1/captures HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                  "Authorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s",
                  r->analyst.text, sizeof(BODY) - 1, BODY);
    send_all(fd, text.at, text.len);
    tb_buf_release(&text);
    return fd;
}

static void
assert_acknowledged(int fd)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    assert_int_equal(read_answer(fd, &out), 202);
    tb_buf_release(&out);
}

static bool
is_answered(int fd, int wait_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};

    return poll(&one, 1, wait_ms) > 0;
}

static size_t
count_waiting(struct room *r)
{
    struct tb_later *commits = &r->server->commits;
    size_t waiting;

    tb_mutex_lock(&commits->mu);
    waiting = commits->locked.waiting;
    tb_mutex_unlock(&commits->mu);
    return waiting;
}

static void
who_comes_alone_is_acknowledged_at_once(void **state)
{
    struct room *r = *state;

    assert_acknowledged(post(r));
    tb_clock_fake_advance(tb_later_commits.gather_ns);
    assert_acknowledged(post(r));
}

static void
who_comes_right_after_a_commit_waits_for_others(void **state)
{
    struct room *r = *state;
    int first, second;

    assert_acknowledged(post(r));
    tb_clock_fake_advance(tb_later_commits.gather_ns - 1);
    first = post(r);
    second = post(r);
    while (count_waiting(r) < 2 && !is_answered(first, 0) && !is_answered(second, 0)) {
        (void)sched_yield();
    }
    assert_false(is_answered(first, 20));
    assert_false(is_answered(second, 20));
    assert_int_equal(count_waiting(r), 2);
    tb_clock_fake_advance(1);
    assert_acknowledged(first);
    assert_acknowledged(second);
}

static void
as_many_as_go_together_wait_for_no_more(void **state)
{
    struct room *r = *state;
    int fds[TB_INTAKE_AT_ONCE];

    assert_acknowledged(post(r));
    for (size_t i = 0; i < TB_INTAKE_AT_ONCE; i++) {
        fds[i] = post(r);
    }
    for (size_t i = 0; i < TB_INTAKE_AT_ONCE; i++) {
        assert_acknowledged(fds[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(who_comes_alone_is_acknowledged_at_once),
        CLOCK_TEST(who_comes_right_after_a_commit_waits_for_others),
        CLOCK_TEST(as_many_as_go_together_wait_for_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

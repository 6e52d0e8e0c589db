/*
 * The checks that ask nobody, and how often a certificate is asked for.  Every request goes to
 * a proxy of the test's own, which refuses it: nothing leaves this host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <tapbox/clock.h>
#include <tapbox/sns.h>

#include "../../support/http_peer.h"

#define TOPIC "arn:aws:sns:eu-central-1:111122223333:alerts"
#define HOST "https://sns.eu-central-1.amazonaws.com"

struct room {
    char dir[64];
    struct tb_store *store;
    struct http_peer *proxy;
    struct tb_sns *sns;
};

static int
open_room(void **state)
{
    static const struct http_peer_step refuse = {
        .status = 404, .delay_ns = TB_NS_PER_S / 4, .always = true};
    struct room *r = calloc(1, sizeof(*r));
    struct tb_sns_settings settings = {.topics = "arn:aws:sns:us-east-1:111122223333:a, " TOPIC,
                                       .least_version = 1,
                                       .window_ns = 3600 * TB_NS_PER_S,
                                       .ca_file = ""};
    char path[96];

    if (r == NULL) {
        return -1;
    }
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/tapbox-sns-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", r->dir);
    assert_int_equal(tb_store_open(path, &r->store, NULL), TB_OK);
    settings.store = r->store;
    r->proxy = http_peer_start(&refuse, 1);
    (void)setenv("https_proxy", http_peer_url(r->proxy), 1);
    *state = r;
    return tb_sns_start(&settings, &r->sns, NULL) == TB_OK ? 0 : -1;
}

static int
close_room(void **state)
{
    struct room *r = *state;
    char command[96];

    tb_sns_stop(r->sns);
    http_peer_stop(r->proxy);
    tb_store_close(r->store);
    (void)snprintf(command, sizeof(command), "rm -rf %s", r->dir);
    free(r);
    return system(command);
}

struct wish { /* NULL: as SNS does it */
    const char *type, *topic, *version, *url, *signature, *subscribe_url;
    int64_t age_s;
};

static void
make(const struct wish *w, struct tb_buf *out)
{
    char now[TB_TIME_TEXT_SIZE];

    tb_time_format_s(now, tb_clock_utc_ns() / TB_NS_PER_S - w->age_s);
    tb_buf_reset(out);
    tb_buf_printf(
        out,
        "{\"Type\":\"%s\",\"MessageId\":\"m\",\"TopicArn\":\"%s\",\"Message\":\"{}\","
        "\"Timestamp\":\"%s\",\"SignatureVersion\":\"%s\",\"Signature\":\"%s\","
        "\"SigningCertURL\":\"%s\",\"Token\":\"abc\",\"SubscribeURL\":\"%s\"}",
        w->type != NULL ? w->type : "Notification", w->topic != NULL ? w->topic : TOPIC, now,
        w->version != NULL ? w->version : "1", w->signature != NULL ? w->signature : "AAAA",
        w->url != NULL ? w->url : HOST "/SimpleNotificationService-a.pem",
        w->subscribe_url != NULL ? w->subscribe_url : "");
}

static void
what_asks_nobody_is_looked_at_first(void **state)
{
    static const struct {
        struct wish wish;
        enum tb_err err;
        enum tb_sns_result result;
        enum tb_err queued; /* the same from a queue */
    } cases[] = {
        {{.type = "Other"}, TB_EFORMAT, TB_SNS_MALFORMED, TB_ENOTFOUND},
        {{.topic = TOPIC "x"}, TB_EDENIED, TB_SNS_TOPIC_NOT_ALLOWED, TB_EDENIED},
        {{.topic = ""}, TB_EDENIED, TB_SNS_TOPIC_NOT_ALLOWED, TB_EDENIED},
        {{.age_s = 3700}, TB_EDENIED, TB_SNS_STALE, TB_ERETRY},
        {{.age_s = -400}, TB_ERETRY, TB_SNS_AHEAD, TB_ERETRY},
        {{.version = "0"}, TB_EDENIED, TB_SNS_BAD_VERSION, TB_EDENIED},
        {{.version = "12"}, TB_EDENIED, TB_SNS_BAD_VERSION, TB_EDENIED},
        {{.url = "https://evil.example/SimpleNotificationService-a.pem"},
         TB_EDENIED,
         TB_SNS_BAD_CERT_URL,
         TB_EDENIED},
        {{.url = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem"},
         TB_EDENIED,
         TB_SNS_BAD_CERT_URL,
         TB_EDENIED},
        {{.type = "SubscriptionConfirmation", .subscribe_url = "https://evil.example/"},
         TB_EDENIED,
         TB_SNS_BAD_SUBSCRIBE_URL,
         TB_EDENIED},
        {{.signature = "~"}, TB_EDENIED, TB_SNS_BAD_SIGNATURE, TB_EDENIED},
    };
    struct room *r = *state;
    struct tb_buf body = TB_BUF_INIT(8192);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned long long before = tb_sns_counted(r->sns, cases[i].result);
        struct tb_sns_verdict verdict;
        struct tb_fail fail = {0};

        make(&cases[i].wish, &body);
        assert_int_equal(
            tb_sns_check(r->sns, tb_buf_view(&body), TB_SNS_POSTED, false, &verdict, &fail),
            cases[i].err);
        assert_int_equal(verdict.result, cases[i].result);
        assert_int_equal(tb_sns_counted(r->sns, cases[i].result), before + 1);
        assert_true(fail.text[0] != 0 && !verdict.needs_wait);
        assert_int_equal(
            tb_sns_check(r->sns, tb_buf_view(&body), TB_SNS_QUEUED, false, &verdict, &fail),
            cases[i].queued);
    }
    assert_int_equal(http_peer_count(r->proxy), 0);
    tb_buf_release(&body);
}

static void
what_is_none_of_snss_is_no_business_of_a_queue(void **state)
{
    static const char *const bodies[] = {"", "words", "{}", "[1]", "{\"detail\":{}}"};
    struct room *r = *state;
    struct tb_sns_verdict verdict;

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(
            tb_sns_check(r->sns, tb_bytes_str(bodies[i]), TB_SNS_QUEUED, false, &verdict, NULL),
            TB_ENOTFOUND);
        assert_int_equal(
            tb_sns_check(r->sns, tb_bytes_str(bodies[i]), TB_SNS_POSTED, false, &verdict, NULL),
            TB_EFORMAT);
    }
    assert_int_equal(tb_sns_counted(r->sns, TB_SNS_MALFORMED), 5);
}

static enum tb_err
check(struct tb_sns *sns, const char *url, bool may_wait, struct tb_sns_verdict *verdict)
{
    struct tb_buf body = TB_BUF_INIT(8192);
    struct tb_fail fail = {0};
    enum tb_err err;

    make(&(struct wish){.url = url}, &body);
    err = tb_sns_check(sns, tb_buf_view(&body), TB_SNS_POSTED, may_wait, verdict, &fail);
    tb_buf_release(&body);
    return err;
}

static void *
check_once(void *arg)
{
    struct room *r = arg;
    struct tb_sns_verdict verdict;

    assert_int_equal(check(r->sns, HOST "/SimpleNotificationService-same.pem", true, &verdict),
                     TB_ERETRY);
    assert_int_equal(verdict.result, TB_SNS_CERT_UNAVAILABLE);
    return NULL;
}

static void
one_asks_for_all_who_want_the_same_certificate(void **state)
{
    struct room *r = *state;
    struct tb_sns_verdict verdict;
    pthread_t threads[8];

    assert_int_equal(check(r->sns, HOST "/SimpleNotificationService-same.pem", false, &verdict),
                     TB_ERETRY);
    assert_true(verdict.needs_wait);
    assert_int_equal(tb_sns_counted(r->sns, TB_SNS_CERT_UNAVAILABLE), 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, check_once, r), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(http_peer_count(r->proxy), 1);
    assert_int_equal(tb_sns_counted(r->sns, TB_SNS_CERT_UNAVAILABLE), 8);
    /* and what failed is known, for a while, also to those who may not ask */
    assert_int_equal(check(r->sns, HOST "/SimpleNotificationService-same.pem", false, &verdict),
                     TB_ERETRY);
    assert_false(verdict.needs_wait);
    assert_int_equal(http_peer_count(r->proxy), 1);
}

static void
urls_that_nobody_knew_are_asked_for_at_a_bounded_rate(void **state)
{
    enum {
        AT_ONCE = 24,
        URLS = 60
    };
    static const struct http_peer_step at_once = {.status = 404, .always = true};
    struct room *r = *state;
    struct tb_sns_verdict verdict;
    int64_t began = tb_clock_boot_ns();
    size_t asked;

    http_peer_script(r->proxy, &at_once, 1);
    for (int i = 0; i < URLS; i++) {
        char url[128];

        (void)snprintf(url, sizeof(url), HOST "/SimpleNotificationService-%d.pem", i);
        assert_int_equal(check(r->sns, url, true, &verdict), TB_ERETRY);
        assert_int_equal(verdict.result, TB_SNS_CERT_UNAVAILABLE);
    }
    asked = http_peer_count(r->proxy);
    assert_true(asked >= AT_ONCE);
    assert_true(asked <= AT_ONCE + 1 + (size_t)((tb_clock_boot_ns() - began) / TB_NS_PER_S));
}

static void
topics_are_read_whole_or_not_at_all(void **state)
{
    static const char *const wrong[] = {"alerts", TOPIC ",x", TOPIC ";" TOPIC,
                                        "arn:aws:sns:::"};
    struct tb_sns_settings settings = {.ca_file = "", .topics = " , "};
    struct tb_sns *sns = NULL;
    struct tb_fail fail = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        settings.topics = wrong[i];
        assert_int_equal(tb_sns_start(&settings, &sns, &fail), TB_EINVAL);
    }
    settings.topics = TOPIC;
    settings.ca_file = "/nowhere.pem";
    assert_int_equal(tb_sns_start(&settings, &sns, &fail), TB_EFORMAT);
    settings.topics = " , ";
    assert_int_equal(tb_sns_start(&settings, &sns, &fail), TB_OK);
    assert_false(tb_sns_listens(sns));
    tb_sns_stop(sns);
    assert_false(tb_sns_listens(NULL));
}

static void
what_an_earlier_life_left_is_asked_for_and_stays_until_sns_answers(void **state)
{
    static const char url[] = HOST "/?Action=ConfirmSubscription&TopicArn=" TOPIC "&Token=abc";
    struct room *r = *state;
    const struct tb_sns_settings settings = {.store = r->store, .topics = TOPIC, .ca_file = ""};
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    const int64_t now = tb_store_steady_ns(r->store);
    struct tb_subscription *list = NULL;
    struct tb_sns *sns = NULL;
    size_t count = 0;

    assert_int_equal(tb_store_subscription_put(r->store, url, TOPIC, NULL), TB_OK);
    assert_int_equal(tb_store_subscription_put(r->store, url, "another", NULL), TB_OK);
    assert_int_equal(tb_store_subscription_put(r->store, "https://old/", TOPIC "-old", NULL),
                     TB_OK);
    assert_int_equal(tb_sns_unconfirmed(r->sns), 0);
    assert_int_equal(tb_sns_start(&settings, &sns, NULL), TB_OK);
    assert_int_equal(tb_sns_unconfirmed(sns), 1);
    while (http_peer_count(r->proxy) == 0) {
        (void)nanosleep(&pause, NULL);
    }
    tb_sns_stop(sns);
    /* nobody reached SNS, so it stays; the topic that is no longer allowed does not */
    assert_int_equal(tb_store_subscription_list(r->store, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1);
    assert_string_equal(list[0].url, url);
    assert_string_equal(list[0].topic, TOPIC);
    assert_in_range(list[0].since_steady_ns - now, 0, 60 * TB_NS_PER_S);
    free(list);
    assert_int_equal(tb_store_subscription_drop(r->store, url, NULL), TB_OK);
    assert_int_equal(tb_store_subscription_drop(r->store, url, NULL), TB_OK);
    assert_int_equal(tb_store_subscription_list(r->store, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 0);
    free(list);
}

static void
a_disk_that_takes_nothing_does_not_keep_it_from_starting(void **state)
{
    struct room *r = *state;
    const struct tb_sns_settings settings = {.store = r->store, .topics = TOPIC, .ca_file = ""};
    struct rlimit usual, none;
    struct tb_subscription *list = NULL;
    struct tb_sns *sns = NULL;
    size_t count = 0;
    enum tb_err err, full;

    assert_int_equal(tb_store_subscription_put(r->store, "https://old/", TOPIC "-old", NULL),
                     TB_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    none = usual;
    none.rlim_cur = 0;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    full = tb_store_subscription_put(r->store, "https://new/", TOPIC, NULL);
    err = tb_sns_start(&settings, &sns, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_int_not_equal(full, TB_OK);
    assert_int_equal(err, TB_OK);
    assert_int_equal(tb_sns_unconfirmed(sns), 0);
    tb_sns_stop(sns);
    assert_int_equal(tb_store_subscription_list(r->store, &list, &count, NULL), TB_OK);
    assert_int_equal(count, 1); /* the next start looks at it again */
    free(list);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_asks_nobody_is_looked_at_first, open_room,
                                        close_room),
        cmocka_unit_test_setup_teardown(what_is_none_of_snss_is_no_business_of_a_queue,
                                        open_room, close_room),
        cmocka_unit_test_setup_teardown(one_asks_for_all_who_want_the_same_certificate,
                                        open_room, close_room),
        cmocka_unit_test_setup_teardown(urls_that_nobody_knew_are_asked_for_at_a_bounded_rate,
                                        open_room, close_room),
        cmocka_unit_test_setup_teardown(
            what_an_earlier_life_left_is_asked_for_and_stays_until_sns_answers, open_room,
            close_room),
        cmocka_unit_test_setup_teardown(
            a_disk_that_takes_nothing_does_not_keep_it_from_starting, open_room, close_room),
        cmocka_unit_test(topics_are_read_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

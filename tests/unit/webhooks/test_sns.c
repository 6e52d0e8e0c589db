/* SNS's envelope: what is inside it, what is signed of it, which URLs are SNS's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/io.h>
#include <tapbox/sns_message.h>
#include <tapbox/webhook.h>

#define TOPIC "arn:aws:sns:eu-central-1:111122223333:alerts"
#define HOST "https://sns.eu-central-1.amazonaws.com"

static struct tb_json *
read_json(const char *path)
{
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_json *json = NULL;
    struct tb_fail fail = {0};

    if (tb_read_file(AT_FDCWD, path, &body, &fail) != TB_OK ||
        tb_json_parse(tb_buf_view(&body), &json, &fail) != TB_OK) {
        fail_msg("%s: %s", path, fail.text);
    }
    tb_buf_release(&body);
    return json;
}

static void
a_finding_inside_is_read_like_one_alone(void **state)
{
    struct tb_alert *alone = calloc(1, sizeof(*alone)), *inside = calloc(1, sizeof(*inside));
    struct tb_buf body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);

    (void)state;
    assert_int_equal(tb_read_file(AT_FDCWD, "webhooks/guardduty/samples/cnc.json", &body, NULL),
                     TB_OK);
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, alone, NULL), TB_OK);
    tb_buf_reset(&body);
    assert_int_equal(
        tb_read_file(AT_FDCWD, "webhooks/sns/samples/notification.json", &body, NULL), TB_OK);
    assert_int_equal(tb_webhook_read(tb_buf_view(&body), NULL, inside, NULL), TB_OK);
    assert_memory_equal(alone, inside, sizeof(*alone));
    tb_buf_release(&body);
    free(alone);
    free(inside);
}

static void
what_is_no_alert_says_what_it_is_instead(void **state)
{
#define SNS(type, message)                                                                     \
    "{\"Type\":\"" type "\",\"TopicArn\":\"" TOPIC "\",\"Message\":\"" message "\"}"
    static const struct {
        const char *body;
        enum tb_err err;
        const char *says;
    } cases[] = {
        {SNS("Notification", "CPU is high"), TB_EFORMAT, "is plain text, no alert"},
        {SNS("Notification", ""), TB_EFORMAT, "is plain text, no alert"},
        {SNS("Notification", "[1]"), TB_EFORMAT, "not a JSON object"},
        {SNS("Notification", "{}"), TB_ENOTFOUND, "no adapter knows"},
        {SNS("SubscriptionConfirmation", "{}"), TB_EFORMAT,
         "a SubscriptionConfirmation of SNS"},
        {SNS("UnsubscribeConfirmation", "{}"), TB_EFORMAT, "UnsubscribeConfirmation of SNS"},
        {SNS("Other", "{}"), TB_ENOTFOUND, "no adapter knows"},
        /* one envelope is taken off, not two */
        {SNS("Notification", "{\\\"Type\\\":\\\"Notification\\\",\\\"TopicArn\\\":\\\"" TOPIC
                             "\\\",\\\"Message\\\":\\\"{}\\\"}"),
         TB_ENOTFOUND, "no adapter knows"},
    };
    struct tb_alert *alert = calloc(1, sizeof(*alert));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tb_fail fail = {0};

        if (tb_webhook_read(tb_bytes_str(cases[i].body), NULL, alert, &fail) != cases[i].err ||
            strstr(fail.text, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].body, fail.text);
        }
    }
    free(alert);
}

static void
a_member_that_is_missing_is_named(void **state)
{
    static const char *const required[] = {"MessageId", "TopicArn", "Message", "Timestamp"};

    (void)state;
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        struct tb_json *whole = read_json("webhooks/sns/samples/notification.json");
        struct tb_sns_message message;
        struct tb_fail fail = {0};

        assert_int_equal(tb_sns_message_read(whole, &message, &fail), TB_OK);
        tb_json_set_int(whole, required[i], 1);
        assert_int_equal(tb_sns_message_read(whole, &message, &fail), TB_EFORMAT);
        assert_memory_equal(fail.text, required[i], strlen(required[i]));
        tb_json_free(whole);
    }
}

static void
assert_signed(const struct tb_sns_message *message, const char *expected)
{
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);

    tb_sns_string_to_sign(message, &text);
    assert_string_equal(tb_buf_str(&text), expected);
    tb_buf_release(&text);
}

static void
the_signed_text_has_the_members_of_the_type_in_order(void **state)
{
    struct tb_sns_message m = {.id = "i",
                               .topic = "t",
                               .message = "m\n\xc3\xa4",
                               .timestamp = "z",
                               .token = "k",
                               .subscribe_url = "u"};

    (void)state;
    assert_signed(&m, "Message\nm\n\xc3\xa4\nMessageId\ni\nTimestamp\nz\nTopicArn\nt\n"
                      "Type\nNotification\n");
    m.subject = "s";
    assert_signed(&m, "Message\nm\n\xc3\xa4\nMessageId\ni\nSubject\ns\nTimestamp\nz\n"
                      "TopicArn\nt\nType\nNotification\n");
    m.type = TB_SNS_SUBSCRIBE;
    assert_signed(&m, "Message\nm\n\xc3\xa4\nMessageId\ni\nSubscribeURL\nu\nTimestamp\nz\n"
                      "Token\nk\nTopicArn\nt\nType\nSubscriptionConfirmation\n");
    m.type = TB_SNS_UNSUBSCRIBE;
    assert_signed(&m, "Message\nm\n\xc3\xa4\nMessageId\ni\nSubscribeURL\nu\nTimestamp\nz\n"
                      "Token\nk\nTopicArn\nt\nType\nUnsubscribeConfirmation\n");
}

static void
a_topic_is_an_arn_of_a_known_partition(void **state)
{
    static const struct {
        const char *topic, *host; /* NULL: none */
    } cases[] = {
        {TOPIC, "sns.eu-central-1.amazonaws.com"},
        {"arn:aws:sns:us-east-1:111122223333:a.fifo", "sns.us-east-1.amazonaws.com"},
        {"arn:aws-us-gov:sns:us-gov-west-1:111122223333:A_b-9",
         "sns.us-gov-west-1.amazonaws.com"},
        {"arn:aws-cn:sns:cn-north-1:111122223333:a", "sns.cn-north-1.amazonaws.com.cn"},
        {"arn:aws:sns:eu-central-1:111122223333:", NULL},
        {"arn:aws:sns:eu-central-1:11112222333:a", NULL},
        {"arn:aws:sns:eu-central-1:1111222233334:a", NULL},
        {"arn:aws:sns:eu.central:111122223333:a", NULL},
        {"arn:aws:sns:evil.com/?:111122223333:a", NULL},
        {"arn:aws:sns::111122223333:a", NULL},
        {"arn:aws:sqs:eu-central-1:111122223333:a", NULL},
        {"arn:aws-iso:sns:us-iso-east-1:111122223333:a", NULL},
        {TOPIC ":sub", NULL},
        {TOPIC ".fif", NULL},
        {"", NULL},
    };
    char host[TB_SNS_HOST_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (tb_sns_topic_valid(cases[i].topic) != (cases[i].host != NULL)) {
            fail_msg("%s", cases[i].topic);
        }
        if (cases[i].host != NULL) {
            assert_true(tb_sns_host(cases[i].topic, host));
            assert_string_equal(host, cases[i].host);
        }
    }
    assert_string_equal(tb_sns_topic_name(TOPIC), "alerts");
}

static void
a_certificate_comes_from_the_topics_own_host_only(void **state)
{
#define PEM "/SimpleNotificationService-0f1e2d3c4b5a6978.pem"
    static const struct {
        const char *url;
        bool valid;
    } cases[] = {
        {HOST PEM, true},
        {HOST "/SimpleNotificationService-A_b-9.pem", true},
        {NULL, false},
        {"", false},
        {"http://sns.eu-central-1.amazonaws.com" PEM, false},
        {"HTTPS://sns.eu-central-1.amazonaws.com" PEM, false},
        {"https://SNS.eu-central-1.amazonaws.com" PEM, false},
        {"https://sns.us-east-1.amazonaws.com" PEM, false},
        {HOST ".cn" PEM, false},
        {HOST ".evil.com" PEM, false},
        {HOST "." PEM, false},
        {"https://sns.eu-central-1.amazonaws.com@evil.com" PEM, false},
        {"https://evil.com@sns.eu-central-1.amazonaws.com" PEM, false},
        {"https://evil.com/sns.eu-central-1.amazonaws.com" PEM, false},
        {"https://evil.com?sns.eu-central-1.amazonaws.com" PEM, false},
        {"https://s3.eu-central-1.amazonaws.com" PEM, false},
        {"https://xsns.eu-central-1.amazonaws.com" PEM, false},
        {"https://sns-eu-central-1.amazonaws.com" PEM, false},
        {HOST ":443" PEM, false},
        {HOST ":8443" PEM, false},
        {HOST "\\" PEM, false},
        {HOST PEM "?x", false},
        {HOST PEM "#x", false},
        {HOST PEM "/", false},
        {HOST PEM " ", false},
        {HOST "/" PEM, false},
        {HOST "/x" PEM, false},
        {HOST "/SimpleNotificationService-.pem", false},
        {HOST "/SimpleNotificationService-a/../b.pem", false},
        {HOST "/SimpleNotificationService-a%2f.pem", false},
        {HOST "/SimpleNotificationService-a.pem.exe", false},
        {HOST "/SimpleNotificationService-a.pem\n", false},
        {HOST "/SimpleNotificationService.pem", false},
        {HOST "/evil.pem", false},
        {HOST, false},
    };
    struct tb_sns_message m = {.topic = TOPIC};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m.cert_url = cases[i].url;
        if (tb_sns_cert_url_valid(&m) != cases[i].valid) {
            fail_msg("%s", cases[i].url);
        }
    }
    m.topic = "arn:aws-cn:sns:cn-north-1:111122223333:a";
    m.cert_url = "https://sns.cn-north-1.amazonaws.com.cn" PEM;
    assert_true(tb_sns_cert_url_valid(&m));
    m.cert_url = "https://sns.cn-north-1.amazonaws.com" PEM;
    assert_false(tb_sns_cert_url_valid(&m));
    m.topic = "not a topic";
    assert_false(tb_sns_cert_url_valid(&m));
}

static void
a_subscription_is_confirmed_for_its_own_topic_and_token_only(void **state)
{
#define ASK HOST "/?Action=ConfirmSubscription"
#define OF "&TopicArn=" TOPIC
    static const struct {
        const char *url;
        bool valid;
    } cases[] = {
        {ASK OF "&Token=abc123", true},
        {HOST "/?Token=abc123" OF "&Action=ConfirmSubscription", true},
        {ASK "&TopicArn=arn%3Aaws%3asns%3Aeu-central-1%3A111122223333%3Aalerts&Token=abc123",
         true},
        {NULL, false},
        {ASK OF, false},
        {ASK OF "&Token=abc12", false},
        {ASK OF "&Token=abc1234", false},
        {ASK OF "&Token=abc123&Token=abc123", false},
        {ASK OF "&Token=abc123&", false},
        {ASK OF "&Token=abc123&X=1", false},
        {ASK OF "x&Token=abc123", false},
        {ASK "&Token=abc123", false},
        {HOST "/?Action=Publish" OF "&Token=abc123", false},
        {HOST "/?Action=Unsubscribe" OF "&Token=abc123", false},
        {HOST "/x?Action=ConfirmSubscription" OF "&Token=abc123", false},
        {HOST ":443/?Action=ConfirmSubscription" OF "&Token=abc123", false},
        {"http://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription" OF "&Token=abc123",
         false},
        {"https://169.254.169.254/?Action=ConfirmSubscription" OF "&Token=abc123", false},
    };
    struct tb_sns_message m = {.topic = TOPIC, .token = "abc123"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m.subscribe_url = cases[i].url;
        if (tb_sns_subscribe_url_valid(&m) != cases[i].valid) {
            fail_msg("%s", cases[i].url);
        }
    }
    m.subscribe_url = ASK OF "&Token=a%0d";
    m.token = "a%0d";
    assert_false(tb_sns_subscribe_url_valid(&m));
    m.token = NULL;
    assert_false(tb_sns_subscribe_url_valid(&m));
}

/* Messages that others published, when they are there. */
static void
an_issuer_is_asked_for_at_amazons_authorities_only(void **state)
{
    static const struct {
        const char *url;
        bool valid;
    } cases[] = {
        {"http://crt.rootca1.amazontrust.com/rootca1.cer", true},
        {"https://crt.r2m03.amazontrust.com/r2m03.cer", true},
        {"crt.rootca1.amazontrust.com/rootca1.cer", false}, /* whoever fetches would guess */
        {"ftp://crt.rootca1.amazontrust.com/rootca1.cer", false},
        {"http://.amazontrust.com/x", false},
        {"http://amazontrust.com/x", false},
        {"http://evilamazontrust.com/x", false},
        {"http://crt.amazontrust.com.evil.example/x", false},
        {"http://crt.amazontrust.com", false},
        {"http://crt.amazontrust.com:81/x", false},
        {"http://user@crt.amazontrust.com/x", false},
        {"http://evil.example/@crt.amazontrust.com/x", false},
        {"http://crt.amazontrust.com/x?y", false},
        {"http://crt.amazontrust.com/x y", false},
        {"http://169.254.169.254/latest/meta-data/", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (tb_sns_issuer_url_valid(cases[i].url) != cases[i].valid) {
            fail_msg("%s", cases[i].url);
        }
    }
}

static void
every_foreign_message_is_recognised(void **state)
{
    static const char folder[] = "../shared/data/findings";
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t count = 0;

    (void)state;
    if (dir == NULL) {
        print_message("skipped: there is no %s\n", folder);
        skip();
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[512];

        if (strncmp(entry->d_name, "sns-message__", 13) == 0) {
            struct tb_sns_message message;
            struct tb_fail fail = {0};
            struct tb_json *json;

            (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            json = read_json(path);
            if (!tb_sns_is_message(json) ||
                tb_sns_message_read(json, &message, &fail) != TB_OK) {
                fail_msg("%s: %s", path, fail.text);
            }
            tb_json_free(json);
            count++;
        }
    }
    (void)closedir(dir);
    assert_true(count > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finding_inside_is_read_like_one_alone),
        cmocka_unit_test(what_is_no_alert_says_what_it_is_instead),
        cmocka_unit_test(a_member_that_is_missing_is_named),
        cmocka_unit_test(the_signed_text_has_the_members_of_the_type_in_order),
        cmocka_unit_test(a_topic_is_an_arn_of_a_known_partition),
        cmocka_unit_test(a_certificate_comes_from_the_topics_own_host_only),
        cmocka_unit_test(a_subscription_is_confirmed_for_its_own_topic_and_token_only),
        cmocka_unit_test(an_issuer_is_asked_for_at_amazons_authorities_only),
        cmocka_unit_test(every_foreign_message_is_recognised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The checks in their order: what costs nothing first, what asks somebody else last. */
#include "sns_int.h"

#include <stdlib.h>

#include <tapbox/log.h>

static const int64_t clocks_differ_ns = 300 * TB_NS_PER_S;
enum {
    SIGNATURE_MAX_BYTES = 1024, /* RSA of 8,192 bits */
    /* names and newlines of the signed text, besides values that fit into a body */
    SIGNED_MAX_BYTES = TB_EVENT_MAX_BYTES + 1024
};

struct tb_sns {
    char topics[SNS_MAX_TOPICS][TB_SNS_TOPIC_SIZE]; /* set once, as the next */
    size_t topic_count;
    unsigned least_version;
    int64_t window_ns;
    struct tb_http_client *http;
    struct tb_trust *trust;
    atomic_bool stop;
    atomic_ullong counters[TB_SNS_RESULT_COUNT];
    struct sns_certs certs;
    bool has_certs;
    struct sns_confirm confirm;
};

static const char *const result_names[TB_SNS_RESULT_COUNT] = {
    [TB_SNS_NOTIFIED] = "notification",
    [TB_SNS_CONFIRMING] = "subscription",
    [TB_SNS_UNSUBSCRIBED] = "unsubscription",
    [TB_SNS_REPLAYED] = "replayed",
    [TB_SNS_CONFIRMED] = "confirmed",
    [TB_SNS_UNCONFIRMED] = "failed",
    [TB_SNS_MALFORMED] = "malformed",
    [TB_SNS_TOPIC_NOT_ALLOWED] = "topic_not_allowed",
    [TB_SNS_STALE] = "stale",
    [TB_SNS_AHEAD] = "ahead",
    [TB_SNS_BAD_VERSION] = "bad_version",
    [TB_SNS_BAD_CERT_URL] = "bad_cert_url",
    [TB_SNS_BAD_SUBSCRIBE_URL] = "bad_subscribe_url",
    [TB_SNS_CERT_UNAVAILABLE] = "cert_unavailable",
    [TB_SNS_CERT_TIMEOUT] = "cert_timeout",
    [TB_SNS_CERT_REDIRECTED] = "cert_redirected",
    [TB_SNS_CERT_TOO_LARGE] = "cert_too_large",
    [TB_SNS_CERT_MALFORMED] = "cert_malformed",
    [TB_SNS_CERT_UNTRUSTED] = "cert_untrusted",
    [TB_SNS_CERT_EXPIRED] = "cert_expired",
    [TB_SNS_CERT_WRONG_NAME] = "cert_wrong_name",
    [TB_SNS_BAD_SIGNATURE] = "bad_signature",
    [TB_SNS_NOT_UNDERSTOOD] = "not_understood",
};

const char *
tb_sns_result_name(enum tb_sns_result result)
{
    return result_names[result];
}

unsigned long long
tb_sns_counted(const struct tb_sns *sns, enum tb_sns_result result)
{
    return atomic_load(&sns->counters[result]);
}

void
tb_sns_count(struct tb_sns *sns, enum tb_sns_result result)
{
    (void)atomic_fetch_add(&sns->counters[result], 1);
}

bool
tb_sns_listens(const struct tb_sns *sns)
{
    return sns != NULL && sns->topic_count > 0;
}

/* --- the checks --- */

static enum tb_err
refuse(struct tb_sns_verdict *verdict, enum tb_sns_result result, enum tb_err err,
       struct tb_fail *fail, const char *sentence)
{
    verdict->result = result;
    return tb_fail_set(fail, err, "%s", sentence);
}

static bool
topic_allowed(const void *arg, const char *topic)
{
    const struct tb_sns *sns = arg;

    for (size_t i = 0; i < sns->topic_count; i++) {
        if (strcmp(sns->topics[i], topic) == 0) {
            return true;
        }
    }
    return false;
}

static enum tb_err
check_time(const struct tb_sns *sns, const struct tb_sns_message *message,
           struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    int64_t then = 0, now = tb_clock_utc_ns();

    if (tb_time_parse(message->timestamp, &then) != TB_OK) {
        return refuse(verdict, TB_SNS_MALFORMED, TB_EFORMAT, fail,
                      "Timestamp of the SNS message is no time");
    }
    if (then < now - sns->window_ns) {
        return refuse(verdict, TB_SNS_STALE, TB_EDENIED, fail,
                      "the SNS message is older than sns.window");
    }
    if (then > now + clocks_differ_ns) {
        return refuse(verdict, TB_SNS_AHEAD, TB_ERETRY, fail,
                      "the SNS message's time is still to come: is this host's clock right?");
    }
    return TB_OK;
}

/* 1 or 2; 0: none that is accepted. */
static unsigned
version_of(const struct tb_sns *sns, const struct tb_sns_message *message)
{
    unsigned version = message->version == NULL             ? 0
                       : strcmp(message->version, "1") == 0 ? 1
                       : strcmp(message->version, "2") == 0 ? 2
                                                            : 0;

    return version >= sns->least_version ? version : 0;
}

/* All that asks nobody. */
static enum tb_err
check_words(const struct tb_sns *sns, const struct tb_sns_message *message,
            enum tb_sns_road road, struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    enum tb_err err;

    if (!topic_allowed(sns, message->topic)) {
        verdict->result = TB_SNS_TOPIC_NOT_ALLOWED;
        return tb_fail_set(fail, TB_EDENIED,
                           "the topic of the SNS message, %.256s, is not in sns.topics",
                           message->topic);
    }
    (void)tb_str_copy(verdict->topic, sizeof(verdict->topic), message->topic);
    if (road == TB_SNS_POSTED) {
        err = check_time(sns, message, verdict, fail);
        if (err != TB_OK) {
            return err;
        }
    }
    if (version_of(sns, message) == 0) {
        return refuse(verdict, TB_SNS_BAD_VERSION, TB_EDENIED, fail,
                      "SignatureVersion is none that is accepted (sns.signature_version)");
    }
    if (!tb_sns_cert_url_valid(message) || strlen(message->cert_url) >= SNS_URL_SIZE) {
        return refuse(verdict, TB_SNS_BAD_CERT_URL, TB_EDENIED, fail,
                      "SigningCertURL is not a certificate of the topic's own SNS host");
    }
    if (message->type == TB_SNS_SUBSCRIBE && !tb_sns_subscribe_url_valid(message)) {
        return refuse(verdict, TB_SNS_BAD_SUBSCRIBE_URL, TB_EDENIED, fail,
                      "SubscribeURL does not confirm this topic at its own SNS host");
    }
    return TB_OK;
}

/* Whose name SNS's certificates have.  In China they are its hosts' own. */
static void
signer_name(const struct tb_sns_message *message, char out[TB_SNS_HOST_SIZE])
{
    if (strncmp(message->topic, "arn:aws-cn:", 11) != 0 || !tb_sns_host(message->topic, out)) {
        (void)tb_str_copy(out, TB_SNS_HOST_SIZE, "sns.amazonaws.com");
    }
}

static enum tb_err
check_signature(struct tb_sns *sns, const struct tb_sns_message *message, bool may_wait,
                struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(SIGNED_MAX_BYTES);
    struct tb_buf signature = TB_BUF_INIT(SIGNATURE_MAX_BYTES);
    char name[TB_SNS_HOST_SIZE];
    struct tb_cert *cert = NULL;
    enum tb_err err = TB_OK;

    if (message->signature == NULL || !tb_buf_put_unbase64(&signature, message->signature)) {
        err = refuse(verdict, TB_SNS_BAD_SIGNATURE, TB_EDENIED, fail,
                     "Signature of the SNS message is missing, or not base64");
        goto out;
    }
    signer_name(message, name);
    err = sns_certs_get(&sns->certs, message->cert_url, name, may_wait, &cert, &verdict->result,
                        &verdict->needs_wait, fail);
    if (err != TB_OK) {
        goto out;
    }
    tb_sns_string_to_sign(message, &text);
    err = tb_buf_check(&text, "the signed text", fail);
    if (err == TB_OK) {
        err = tb_cert_check(cert, version_of(sns, message) == 1 ? TB_CERT_SHA1 : TB_CERT_SHA256,
                            tb_buf_view(&text), tb_buf_view(&signature), fail);
    }
    if (err == TB_ENOMEM) {
        verdict->result = TB_SNS_CERT_UNAVAILABLE;
        err = TB_ERETRY;
    } else if (err != TB_OK) {
        err = refuse(verdict, TB_SNS_BAD_SIGNATURE, TB_EDENIED, fail,
                     "the signature of the SNS message is not SNS's over these words");
    }

out:
    tb_cert_free(cert);
    tb_buf_release(&signature);
    tb_buf_release(&text);
    return err;
}

/* It is genuine. */
static enum tb_err
act(struct tb_sns *sns, const struct tb_sns_message *message, bool may_wait,
    struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    enum tb_err err;

    switch (message->type) {
    case TB_SNS_SUBSCRIBE:
        verdict->needs_wait = !may_wait; /* for the disk */
        if (!may_wait) {
            return TB_ERETRY;
        }
        err = sns_confirm_take(&sns->confirm, message->topic, message->subscribe_url, fail);
        verdict->result = err == TB_OK ? TB_SNS_CONFIRMING : TB_SNS_UNCONFIRMED;
        return err == TB_OK || err == TB_EDENIED ? err : TB_ERETRY;
    case TB_SNS_UNSUBSCRIBE:
        /* following its SubscribeURL would subscribe again */
        tb_log(TB_LOG_WARN, NULL,
               "SNS: somebody ended the subscription to %s; alerts of this topic come no more",
               message->topic);
        verdict->result = TB_SNS_UNSUBSCRIBED;
        break;
    case TB_SNS_NOTIFICATION:
    case TB_SNS_TYPE_COUNT:
        verdict->result = TB_SNS_NOTIFIED;
        break;
    }
    return TB_OK;
}

static enum tb_err
check(struct tb_sns *sns, const struct tb_json *json, enum tb_sns_road road, bool may_wait,
      struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    struct tb_sns_message message;
    enum tb_err err = tb_sns_message_read(json, &message, fail);

    if (err != TB_OK) {
        verdict->result = TB_SNS_MALFORMED;
        return err;
    }
    verdict->type = message.type;
    err = check_words(sns, &message, road, verdict, fail);
    if (err == TB_OK) {
        err = check_signature(sns, &message, may_wait, verdict, fail);
    }
    return err == TB_OK ? act(sns, &message, may_wait, verdict, fail) : err;
}

enum tb_err
tb_sns_check(struct tb_sns *sns, struct tb_bytes body, enum tb_sns_road road, bool may_wait,
             struct tb_sns_verdict *verdict, struct tb_fail *fail)
{
    struct tb_json *json = NULL;
    enum tb_err err;

    *verdict = (struct tb_sns_verdict){.result = TB_SNS_MALFORMED};
    err = tb_json_parse(body, &json, fail);
    if (err != TB_OK && err != TB_ENOMEM) {
        err = TB_EFORMAT; /* nested too deep, too */
    }
    if (road == TB_SNS_QUEUED && (err != TB_OK || !tb_sns_is_message(json))) {
        tb_json_free(json);
        return TB_ENOTFOUND;
    }
    if (err == TB_OK) {
        err = check(sns, json, road, may_wait, verdict, fail);
    }
    tb_json_free(json);
    if (fail != NULL) {
        fail->err = err;
    }
    if (!verdict->needs_wait) {
        tb_sns_count(sns, verdict->result);
    }
    return err;
}

unsigned
tb_sns_unconfirmed(const struct tb_sns *sns)
{
    return atomic_load(&sns->confirm.waiting);
}

/* --- starting and stopping --- */

static enum tb_err
take_topics(struct tb_sns *sns, const char *topics, struct tb_fail *fail)
{
    static const char between[] = ", \t";

    for (const char *at = topics + strspn(topics, between); *at != 0;) {
        size_t len = strcspn(at, between);
        char *topic;

        if (sns->topic_count == SNS_MAX_TOPICS || len >= TB_SNS_TOPIC_SIZE) {
            return tb_fail_set(fail, TB_EINVAL, "sns.topics: too many, or too long a one");
        }
        topic = sns->topics[sns->topic_count];
        memcpy(topic, at, len);
        topic[len] = 0;
        if (!tb_sns_topic_valid(topic)) {
            return tb_fail_set(fail, TB_EINVAL, "sns.topics: '%s' is not the ARN of a topic",
                               topic);
        }
        sns->topic_count++;
        at += len;
        at += strspn(at, between);
    }
    return TB_OK;
}

static void
count_confirmation(void *arg, bool confirmed)
{
    tb_sns_count(arg, confirmed ? TB_SNS_CONFIRMED : TB_SNS_UNCONFIRMED);
}

enum tb_err
tb_sns_start(const struct tb_sns_settings *settings, struct tb_sns **out, struct tb_fail *fail)
{
    struct tb_sns *sns = calloc(1, sizeof(*sns));
    enum tb_err err;

    if (sns == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for SNS");
    }
    sns->least_version = settings->least_version > 0 ? settings->least_version : 1;
    sns->window_ns = settings->window_ns;
    err = take_topics(sns, settings->topics, fail);
    if (err != TB_OK || sns->topic_count == 0) {
        goto out;
    }
    err = tb_http_client_new(&sns->http, fail);
    if (err == TB_OK && settings->ca_file[0] != 0) {
        err = tb_http_client_trust(sns->http, settings->ca_file, fail);
    }
    if (err == TB_OK) {
        err = tb_trust_new(settings->ca_file, &sns->trust, fail);
    }
    if (err == TB_OK) {
        sns_certs_init(&sns->certs, sns->http, sns->trust, &sns->stop);
        sns->has_certs = true;
        sns->confirm.store = settings->store;
        sns->confirm.http = sns->http;
        sns->confirm.stop = &sns->stop;
        sns->confirm.allowed = topic_allowed;
        sns->confirm.done = count_confirmation;
        sns->confirm.arg = sns;
        err = sns_confirm_start(&sns->confirm, fail);
    }

out:
    if (err != TB_OK) {
        tb_sns_stop(sns);
        return err;
    }
    *out = sns;
    return TB_OK;
}

void
tb_sns_stop(struct tb_sns *sns)
{
    if (sns == NULL) {
        return;
    }
    atomic_store(&sns->stop, true);
    sns_confirm_stop(&sns->confirm);
    if (sns->has_certs) {
        sns_certs_release(&sns->certs);
    }
    tb_trust_free(sns->trust);
    tb_http_client_free(sns->http);
    free(sns);
}

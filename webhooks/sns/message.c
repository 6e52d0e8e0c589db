/* SNS's envelope: its members, what is signed of them, which of its URLs are SNS's own. */
#include <tapbox/sns_message.h>

#include <ctype.h>
#include <stdio.h>

static const char *const type_names[TB_SNS_TYPE_COUNT] = {
    [TB_SNS_NOTIFICATION] = "Notification",
    [TB_SNS_SUBSCRIBE] = "SubscriptionConfirmation",
    [TB_SNS_UNSUBSCRIBE] = "UnsubscribeConfirmation",
};

const char *
tb_sns_type_name(enum tb_sns_type type)
{
    return type_names[type];
}

static bool
find_type(const struct tb_json *body, enum tb_sns_type *out)
{
    const char *name = tb_json_str(body, "/Type");

    for (size_t i = 0; name != NULL && i < TB_SNS_TYPE_COUNT; i++) {
        if (strcmp(type_names[i], name) == 0) {
            *out = (enum tb_sns_type)i;
            return true;
        }
    }
    return false;
}

bool
tb_sns_is_message(const struct tb_json *body)
{
    enum tb_sns_type type;

    return find_type(body, &type) && tb_json_str(body, "/TopicArn") != NULL &&
           tb_json_str(body, "/Message") != NULL;
}

enum tb_err
tb_sns_message_read(const struct tb_json *body, struct tb_sns_message *out,
                    struct tb_fail *fail)
{
    struct tb_sns_message read = {
        .id = tb_json_str(body, "/MessageId"),
        .topic = tb_json_str(body, "/TopicArn"),
        .message = tb_json_str(body, "/Message"),
        .subject = tb_json_str(body, "/Subject"),
        .timestamp = tb_json_str(body, "/Timestamp"),
        .version = tb_json_str(body, "/SignatureVersion"),
        .signature = tb_json_str(body, "/Signature"),
        .cert_url = tb_json_str(body, "/SigningCertURL"),
        .token = tb_json_str(body, "/Token"),
        .subscribe_url = tb_json_str(body, "/SubscribeURL"),
    };
    const struct {
        const char *name, *value;
    } required[] = {
        {"MessageId", read.id},
        {"TopicArn", read.topic},
        {"Message", read.message},
        {"Timestamp", read.timestamp},
    };

    if (!find_type(body, &read.type)) {
        return tb_fail_set(fail, TB_EFORMAT,
                           "Type is none of SNS's: Notification, SubscriptionConfirmation or "
                           "UnsubscribeConfirmation");
    }
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (required[i].value == NULL) {
            return tb_fail_set(fail, TB_EFORMAT, "%s of the SNS message is missing, or no text",
                               required[i].name);
        }
    }
    *out = read;
    return TB_OK;
}

enum tb_err
tb_sns_message_open(const struct tb_json *body, struct tb_json **out, struct tb_fail *fail)
{
    const char *message = tb_json_str(body, "/Message");
    enum tb_sns_type type;
    enum tb_err err;

    if (message == NULL || !find_type(body, &type)) {
        return tb_fail_set(fail, TB_EFORMAT, "no message of SNS");
    }
    if (type != TB_SNS_NOTIFICATION) {
        return tb_fail_set(fail, TB_EFORMAT, "a %s of SNS is no alert", type_names[type]);
    }
    err = tb_json_parse(tb_bytes_str(message), out, fail);
    if (err == TB_EFORMAT) {
        tb_fail_prefix(fail, "the Message inside the SNS notification is plain text, no alert");
    }
    return err;
}

void
tb_sns_string_to_sign(const struct tb_sns_message *message, struct tb_buf *out)
{
    bool notification = message->type == TB_SNS_NOTIFICATION;
    const struct {
        const char *name, *value;
    } rows[] = {
        {"Message", message->message},
        {"MessageId", message->id},
        {"Subject", notification ? message->subject : NULL},
        {"SubscribeURL", notification ? NULL : message->subscribe_url},
        {"Timestamp", message->timestamp},
        {"Token", notification ? NULL : message->token},
        {"TopicArn", message->topic},
        {"Type", type_names[message->type]},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].value != NULL) {
            tb_buf_put_str(out, rows[i].name);
            tb_buf_put_u8(out, '\n');
            tb_buf_put_str(out, rows[i].value);
            tb_buf_put_u8(out, '\n');
        }
    }
}

/* --- topics and hosts --- */

static const char digits[] = "0123456789";
static const char region_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
static const char name_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static const struct {
    const char *arn; /* how a topic's ARN begins */
    const char *end; /* of the host */
} partitions[] = {
    {"arn:aws:sns:", ".amazonaws.com"},
    {"arn:aws-us-gov:sns:", ".amazonaws.com"},
    {"arn:aws-cn:sns:", ".amazonaws.com.cn"},
};

enum {
    ACCOUNT_DIGITS = 12,
    TOPIC_NAME_MAX = 256
};

/* NULL, or where the Region begins, with its length and the end of the partition's hosts. */
static const char *
find_region(const char *topic, size_t *out_len, const char **out_end)
{
    for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++) {
        size_t len = strlen(partitions[i].arn);

        if (strncmp(topic, partitions[i].arn, len) == 0) {
            *out_len = strspn(topic + len, region_letters);
            *out_end = partitions[i].end;
            return *out_len > 0 && *out_len < TB_REGION_SIZE && topic[len + *out_len] == ':'
                       ? topic + len
                       : NULL;
        }
    }
    return NULL;
}

bool
tb_sns_topic_valid(const char *topic)
{
    const char *end, *at;
    size_t len = 0;

    at = find_region(topic, &len, &end);
    if (at == NULL || strlen(topic) >= TB_SNS_TOPIC_SIZE) {
        return false;
    }
    at += len + 1;
    if (strspn(at, digits) != ACCOUNT_DIGITS || at[ACCOUNT_DIGITS] != ':') {
        return false;
    }
    at += ACCOUNT_DIGITS + 1;
    len = strspn(at, name_letters);
    return len > 0 && len <= TOPIC_NAME_MAX && (at[len] == 0 || strcmp(at + len, ".fifo") == 0);
}

const char *
tb_sns_topic_name(const char *topic)
{
    const char *colon = strrchr(topic, ':');

    return colon != NULL ? colon + 1 : topic;
}

bool
tb_sns_host(const char *topic, char out[TB_SNS_HOST_SIZE])
{
    const char *end = "";
    size_t len = 0;
    const char *region = find_region(topic, &len, &end);

    return region != NULL && snprintf(out, TB_SNS_HOST_SIZE, "sns.%.*s%s", (int)len, region,
                                      end) < TB_SNS_HOST_SIZE;
}

/* --- URLs --- */

/* Behind "https://HOST", which has to be the topic's own; NULL: it is not. */
static const char *
path_of(const struct tb_sns_message *message, const char *url)
{
    static const char scheme[] = "https://";
    char host[TB_SNS_HOST_SIZE];

    if (url == NULL || !tb_sns_host(message->topic, host) ||
        strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return NULL;
    }
    url += sizeof(scheme) - 1;
    return strncmp(url, host, strlen(host)) == 0 && url[strlen(host)] == '/'
               ? url + strlen(host)
               : NULL;
}

bool
tb_sns_cert_url_valid(const struct tb_sns_message *message)
{
    static const char begins[] = "/SimpleNotificationService-";
    enum {
        NAME_MAX_LETTERS = 128 /* 32 today */
    };
    const char *path = path_of(message, message->cert_url);
    size_t len;

    if (path == NULL || strncmp(path, begins, sizeof(begins) - 1) != 0) {
        return false;
    }
    path += sizeof(begins) - 1;
    len = strspn(path, name_letters);
    return len > 0 && len <= NAME_MAX_LETTERS && strcmp(path + len, ".pem") == 0;
}

/* Whether `value` is what stands between '=' and `len`, where ':' may be written as %3A. */
static bool
same_value(const char *at, size_t len, const char *value)
{
    const char *end = at + len;

    for (; *value != 0; value++) {
        if (*value == ':' && end - at >= 3 && at[0] == '%' && at[1] == '3' &&
            toupper((unsigned char)at[2]) == 'A') {
            at += 3;
        } else if (at < end && *at == *value) {
            at++;
        } else {
            return false;
        }
    }
    return at == end;
}

bool
tb_sns_subscribe_url_valid(const struct tb_sns_message *message)
{
    const struct {
        const char *name, *value;
    } wanted[] = {
        {"Action=", "ConfirmSubscription"},
        {"TopicArn=", message->topic},
        {"Token=", message->token},
    };
    enum {
        WANTED = sizeof(wanted) / sizeof(wanted[0])
    };
    const char *path = path_of(message, message->subscribe_url);
    unsigned seen = 0;

    if (path == NULL || message->token == NULL || message->token[0] == 0 ||
        message->token[strspn(message->token, name_letters)] != 0 ||
        strncmp(path, "/?", 2) != 0) {
        return false;
    }
    for (const char *at = path + 2; *at != 0;) {
        size_t len = strcspn(at, "&");
        size_t i = 0;

        while (i < WANTED && strncmp(at, wanted[i].name, strlen(wanted[i].name)) != 0) {
            i++;
        }
        if (i == WANTED || (seen & 1U << i) != 0 ||
            !same_value(at + strlen(wanted[i].name), len - strlen(wanted[i].name),
                        wanted[i].value)) {
            return false;
        }
        seen |= 1U << i;
        at += len;
        if (*at == '&' && at[1] != 0) {
            at++;
        } else if (*at != 0) {
            return false;
        }
    }
    return seen == (1U << WANTED) - 1;
}

bool
tb_sns_issuer_url_valid(const char *url)
{
    static const char suffix[] = ".amazontrust.com";
    size_t scheme = strncmp(url, "https://", 8) == 0  ? 8
                    : strncmp(url, "http://", 7) == 0 ? 7
                                                      : 0;
    const char *host = url + scheme;
    size_t len = strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-");

    return scheme > 0 && len >= sizeof(suffix) && host[len] == '/' &&
           strncmp(host + len - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0 &&
           host[len + strspn(host + len, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789.-_/")] == 0;
}

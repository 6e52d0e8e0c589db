/* Every key of the configuration with its type, range, default and help, and how its text is
 * read. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/sns_message.h>

#include "config_int.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)
#define TIB (UINT64_C(1024) * GIB)

enum {
    MAX_RETENTION_S = 50 * 365 * 24 * 3600, /* longer is more likely a mistake, and final */
    SHOWN_VALUE = 64 /* characters of a wrong value that a message repeats */
};

/* --- syntax of texts --- */

static bool
only_of(const char *text, const char *more)
{
    for (; *text != '\0'; text++) {
        if (!isalnum((unsigned char)*text) && strchr(more, *text) == NULL) {
            return false;
        }
    }
    return true;
}

static bool
valid_region(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (isupper((unsigned char)*p)) {
            return false;
        }
    }
    return only_of(text, "-") && strchr(text, '-') != NULL;
}

static bool
valid_path(const char *text)
{
    return text[0] == '/';
}

/* The characters AWS allows in every tag value; spaces are left out on purpose. */
static bool
valid_owner(const char *text)
{
    return only_of(text, "+-=._:/@");
}

static bool
valid_eni(const char *text)
{
    return tb_aws_id_valid(text, "eni-");
}

static bool
valid_interface(const char *text)
{
    return only_of(text, "-_.:@");
}

/* The general S3 rules for names; what is subtler, S3 itself says. */
static bool
valid_bucket(const char *text)
{
    size_t len = strlen(text);

    for (const char *p = text; *p != '\0'; p++) {
        if (isupper((unsigned char)*p)) {
            return false;
        }
    }
    return len >= 3 && only_of(text, ".-") && isalnum((unsigned char)text[0]) &&
           isalnum((unsigned char)text[len - 1]);
}

static bool
valid_namespace(const char *text)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/#";

    return text[strspn(text, allowed)] == '\0' && strncmp(text, "AWS/", 4) != 0;
}

static bool
valid_prefix(const char *text)
{
    return only_of(text, "/!-_.*'()") && text[0] != '/' && text[strlen(text) - 1] != '/';
}

static bool
valid_sse(const char *text)
{
    return strcmp(text, "AES256") == 0 || strcmp(text, "aws:kms") == 0 ||
           strcmp(text, "aws:kms:dsse") == 0;
}

static bool
valid_kms_key(const char *text)
{
    return only_of(text, "-_/:.");
}

/* arn:PARTITION:iam::ACCOUNT:role/NAME; whose account it is, is looked at with the whole. */
static bool
valid_role(const char *text)
{
    const char *account = strstr(text, ":iam::");

    return strncmp(text, "arn:", 4) == 0 && account != NULL &&
           strstr(account + 6, ":role/") == account + 6 + TB_ACCOUNT_SIZE - 1 &&
           only_of(text, "+=,.@-_:/");
}

static bool
valid_lock_mode(const char *text)
{
    return strcmp(text, "GOVERNANCE") == 0 || strcmp(text, "COMPLIANCE") == 0;
}

static bool
valid_storage_class(const char *text)
{
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(text);
}

/* Signed requests go where the Region says; the queue is named by its URL. */
static bool
valid_queue_url(const char *text)
{
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : "";

    return host[0] != '\0' && only_of(text, ":/.-_") && strchr(host, '/') != NULL &&
           text[strlen(text) - 1] != '/';
}

/* ARNs of topics, with commas or blanks between. */
static bool
valid_topics(const char *text)
{
    static const char between[] = ", \t";
    char topic[TB_SNS_TOPIC_SIZE];

    for (text += strspn(text, between); *text != '\0'; text += strspn(text, between)) {
        size_t len = strcspn(text, between);

        if (len >= sizeof(topic)) {
            return false;
        }
        memcpy(topic, text, len);
        topic[len] = '\0';
        if (!tb_sns_topic_valid(topic)) {
            return false;
        }
        text += len;
    }
    return true;
}

/* What is behind a tag's key or value (%C3%A4 in it is one character); NULL: it is longer than
 * S3 takes, or a % in it stands for nothing. */
static const char *
skip_tag_text(const char *text, unsigned max_characters)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+%:/@";
    const char *end = text + strspn(text, plain);
    unsigned characters = 0;

    while (text < end) {
        if (*text != '%') {
            characters++;
            text++;
        } else if (isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2])) {
            characters += strchr("89ABab", text[1]) == NULL; /* else UTF-8 goes on */
            text += 3;
        } else {
            return NULL;
        }
    }
    return characters <= max_characters ? end : NULL;
}

/* key=value&key=value, as S3 wants it in a header.  Source: the S3 guide, object tags: ten,
 * keys of 128 and values of 256 characters. */
static bool
valid_tags(const char *text)
{
    unsigned tags = 0;

    while (*text != '\0') {
        const char *end = skip_tag_text(text, 128);

        if (end == NULL || end == text || *end != '=') {
            return false;
        }
        text = skip_tag_text(end + 1, 256);
        if (text == NULL) {
            return false;
        }
        tags++;
        if (*text == '&' && text[1] != '\0') {
            text++;
        } else if (*text != '\0') {
            return false;
        }
    }
    return tags <= 10;
}

/* --- the table --- */

#define AT(field) offsetof(struct tb_config, field)
#define TEXT(field) TB_CONFIG_TEXT, AT(field), sizeof(((struct tb_config *)NULL)->field), 0, 0

const struct tb_config_key tb_config_keys[] = {
    {"region", TEXT(region), "", false, valid_region, "an AWS Region such as eu-central-1",
     "AWS Region; empty: AWS_REGION, the profile, or the instance's own"},
    {"listen", TB_CONFIG_LISTEN, 0, 0, 0, 65535, "127.0.0.1:8480", false, NULL, NULL,
     "address and port of the API; anything but loopback wants tls.certificate"},
    {"tls.certificate", TEXT(tls_certificate), "", false, valid_path, "an absolute path",
     "PEM file with the certificate and its chain; read anew when it changes. Empty: plain "
     "HTTP"},
    {"tls.key", TEXT(tls_key), "", false, valid_path, "an absolute path",
     "PEM file with its key"},
    {"tls.client_ca", TEXT(tls_client_ca), "", false, valid_path, "an absolute path",
     "PEM file of the authority whose client certificates analysts, responders and admins have "
     "to show, besides their token; empty: none"},
    {"rate.per_address", TB_CONFIG_U32, AT(rate_per_address), 0, 0, 1000000, "4000", false,
     NULL, NULL,
     "calls a second that one client address (of IPv6, one /64) may make, and ten seconds' "
     "worth at once; what is too much is answered 429. 0: any number, as behind a proxy"},
    {"rate.per_token", TB_CONFIG_U32, AT(rate_per_token), 0, 0, 1000000, "4000", false, NULL,
     NULL, "the same for one token"},
    {"state_dir", TEXT(state_dir), "/var/lib/tapbox", false, valid_path, "an absolute path",
     "folder of the database and of the spool"},
    {"tokens_file", TEXT(tokens_file), "/etc/tapbox/tokens", false, valid_path,
     "an absolute path", "who may call the API; written by 'tapbox token add'"},
    {"owner", TEXT(owner), "tapbox", false, valid_owner,
     "letters, digits and any of + - = . _ : / @",
     "value of the tapbox:owner tag; another tapbox in the account needs another"},
    {"log", TB_CONFIG_LOG_LEVEL, AT(log_level), 0, 0, 0, "info", false, NULL, NULL,
     "how much is logged"},
    {"target.eni", TEXT(target_eni), "", false, valid_eni, "an interface id, eni-...",
     "interface that mirrored traffic is sent to; empty: this host's first"},
    {"recorder.interface", TEXT(recorder_interface), "eth0", false, valid_interface,
     "the name of a network interface", "where mirrored traffic arrives"},
    {"recorder.socket", TEXT(recorder_socket), "/run/tapbox/recorder.sock", false, valid_path,
     "an absolute path", "socket on which the recorder listens and serve finds it"},
    {"recorder.ring", TB_CONFIG_BYTES, AT(recorder_ring_bytes), 0, MIB, 16 * GIB, "64MiB",
     false, NULL, NULL, "receive ring: what waits while the recorder is busy"},
    {"recorder.memory", TB_CONFIG_BYTES, AT(recorder_slab_bytes), 0, 8 * MIB, 64 * GIB, "64MiB",
     false, NULL, NULL, "packets that wait for compression"},
    {"recorder.lanes", TB_CONFIG_U32, AT(recorder_lanes), 0, 1, 16, "1", false, NULL, NULL,
     "receive threads that share the packets, each with its own segments; one a core at most"},
    {"recorder.level", TB_CONFIG_INT, AT(recorder_level), 0, 1, 19, "1", false, NULL, NULL,
     "zstd level; higher is smaller and slower"},
    {"spool.limit", TB_CONFIG_BYTES, AT(spool_limit_bytes), 0, 0, 1024 * TIB, "0", false, NULL,
     NULL, "most that segments may take up before S3 has them; 0: the disk"},
    {"spool.min_free", TB_CONFIG_BYTES, AT(spool_min_free_bytes), 0, 0, 1024 * TIB, "256MiB",
     false, NULL, NULL, "room that recording leaves free on the disk"},
    {"s3.bucket", TEXT(s3_bucket), "", true, valid_bucket,
     "the name of a bucket: 3 to 63 of a-z, 0-9, '-' and '.'", "where evidence goes"},
    {"s3.prefix", TEXT(s3_prefix), "captures", false, valid_prefix,
     "a key prefix without '/' at its ends", "first part of every key"},
    {"s3.path_style", TB_CONFIG_BOOL, AT(s3_path_style), 0, 0, 0, "false", false, NULL, NULL,
     "bucket in the path instead of the host name, for other servers than AWS"},
    {"s3.expected_owner", TEXT(s3_expected_owner), "", false, tb_account_valid,
     "an account id of 12 digits", "account that has to own the bucket; empty: any"},
    {"s3.sse", TEXT(s3_sse), "", false, valid_sse, "AES256, aws:kms or aws:kms:dsse",
     "encryption asked for with each object; empty: as the bucket says"},
    {"s3.kms_key", TEXT(s3_kms_key), "", false, valid_kms_key, "a KMS key's ARN or id",
     "KMS key, with s3.sse aws:kms; empty: as the bucket says"},
    {"s3.object_lock_mode", TEXT(s3_object_lock_mode), "", false, valid_lock_mode,
     "GOVERNANCE or COMPLIANCE",
     "Object Lock asked for with each object; empty: as the bucket says"},
    {"s3.retention", TB_CONFIG_DURATION, AT(s3_retention_ns), 0, 60, MAX_RETENTION_S, "365d",
     false, NULL, NULL, "for how long, with s3.object_lock_mode"},
    {"s3.legal_hold", TB_CONFIG_BOOL, AT(s3_legal_hold), 0, 0, 0, "false", false, NULL, NULL,
     "put a legal hold on each object (Object Lock)"},
    {"s3.storage_class", TEXT(s3_storage_class), "", false, valid_storage_class,
     "a storage class such as STANDARD_IA", "storage class; empty: STANDARD"},
    {"s3.tags", TEXT(s3_tags), "", false, valid_tags,
     "up to ten tags as in a URL: team=forensics&retain=yes; keys up to 128 characters, values "
     "up to 256",
     "tags of each object; empty: none"},
    {"s3.reader_role", TEXT(s3_reader_role), "", false, valid_role, "the ARN of an IAM role",
     "role that may read evidence: signs the links of GET /v1/captures/{id}/files, and looks "
     "whether an upload whose answer was lost is there; empty: no links, and our own role "
     "looks"},
    {"s3.url_lifetime", TB_CONFIG_DURATION, AT(s3_url_ns), 0, 60, 3600, "15m", false, NULL,
     NULL, "for how long such a link is good; an hour at the most"},
    {"s3.threads", TB_CONFIG_U32, AT(s3_threads), 0, 1, 16, "4", false, NULL, NULL,
     "segments that go to S3 at the same time"},
    {"s3.part_above", TB_CONFIG_BYTES, AT(s3_part_above_bytes), 0, 1, 5 * GIB, "1GiB", false,
     NULL, NULL, "a larger segment goes to S3 in parts, a smaller one whole"},
    {"s3.part_size", TB_CONFIG_BYTES, AT(s3_part_bytes), 0, 5 * MIB, 5 * GIB, "64MiB", false,
     NULL, NULL, "octets of each part"},
    {"evidence.key_file", TEXT(evidence_key_file), "", false, valid_path, "an absolute path",
     "key that signs manifests ('tapbox keygen'); empty: evidence.key in state_dir"},
    {"evidence.metrics_wait", TB_CONFIG_DURATION, AT(evidence_metrics_wait_ns), 0, 0, 3600,
     "10m", false, NULL, NULL,
     "how long a manifest waits for CloudWatch to tell what AWS left out of the mirror; it is "
     "minutes late. 0s: asked once"},
    {"sqs.queue_url", TEXT(sqs_queue_url), "", false, valid_queue_url,
     "the URL of a queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME",
     "SQS queue that alerts are taken from; empty: none"},
    {"sqs.pollers", TB_CONFIG_U32, AT(sqs_pollers), 0, 1, 8, "2", false, NULL, NULL,
     "threads that take alerts from it"},
    {"sqs.visibility_seconds", TB_CONFIG_U32, AT(sqs_visibility_s), 0, 5, 43200, "60", false,
     NULL, NULL, "for how long a message that is being dealt with is hidden from others"},
    {"sns.topics", TEXT(sns_topics), "", false, valid_topics,
     "ARNs of SNS topics (arn:aws:sns:REGION:ACCOUNT:NAME), with commas between",
     "topics that may post alerts without a token, and to which subscriptions are confirmed; "
     "empty: none"},
    {"sns.signature_version", TB_CONFIG_U32, AT(sns_least_version), 0, 1, 2, "1", false, NULL,
     NULL, "lowest version of their signatures: 1 is SHA-1 (SNS's default), 2 SHA-256"},
    {"sns.window", TB_CONFIG_DURATION, AT(sns_window_ns), 0, 60, 24 * 3600, "1h", false, NULL,
     NULL, "how old a message may be that is posted; SNS tries again for an hour at the most"},
    {"sns.ca_file", TEXT(sns_ca_file), "", false, valid_path, "an absolute path",
     "PEM file of the authorities that SNS's hosts and signatures have to lead to; empty: the "
     "system's"},
    {"store.keep", TB_CONFIG_DURATION, AT(store_keep_ns), 0, 0, MAX_RETENTION_S, "365d", false,
     NULL, NULL,
     "for how long the store on this host keeps the octets of alerts, and summaries of "
     "captures "
     "that S3 has; keys, decisions and the custody log stay. 0s: for ever"},
    {"cloudwatch.namespace", TEXT(cloudwatch_namespace), "", false, valid_namespace,
     "a CloudWatch namespace such as tapbox; not AWS's own",
     "where each minute in which the service is ready becomes a point of the metric Ready "
     "(dimension Owner), for an alarm on its absence; the host's role has to allow this "
     "namespace; empty: none"},
    {"capture.duration", TB_CONFIG_DURATION, AT(policy.bounds.default_duration_ns), 0, 1,
     TB_CAPTURE_MAX_DURATION_S, "15m", false, NULL, NULL,
     "time box of a capture that asks for none"},
    {"capture.max_duration", TB_CONFIG_DURATION, AT(policy.bounds.max_duration_ns), 0, 1,
     TB_CAPTURE_MAX_DURATION_S, "4h", false, NULL, NULL, "longest time box anybody gets"},
    {"capture.max_bytes", TB_CONFIG_BYTES, AT(policy.bounds.default_max_bytes), 0, 0,
     1024 * TIB, "0", false, NULL, NULL,
     "captured bytes after which a capture that asks for no limit ends; 0: none"},
    {"capture.max_packets", TB_CONFIG_U64, AT(policy.bounds.default_max_packets), 0, 0,
     INT64_MAX, "0", false, NULL, NULL,
     "the same in packets: with the last of them it ends; 0: none"},
    {"capture.snaplen", TB_CONFIG_U32, AT(policy.bounds.default_snaplen), 0, 0, TB_SNAPLEN_MAX,
     "0", false, NULL, NULL, "bytes kept of each frame; 0: all"},
    {"capture.max_concurrent", TB_CONFIG_U32, AT(max_concurrent), 0, 1,
     TB_RECORDER_MAX_CAPTURES, "10", false, NULL, NULL,
     "captures that run at once; more wait, the most severe first (an interface target takes "
     "10 "
     "sources, on the largest instances 100)"},
    {"capture.max_per_account", TB_CONFIG_U32, AT(max_per_account), 0, 0,
     TB_RECORDER_MAX_CAPTURES, "0", false, NULL, NULL,
     "of these, captures in one account at once; 0: no bound of its own"},
    {"capture.extend_when_seen", TB_CONFIG_DURATION, AT(extend_when_seen_ns), 0, 0,
     7 * 24 * 3600, "0s", false, NULL, NULL,
     "when what an alert speaks of is seen for the first time, the capture goes on for at "
     "least "
     "so much longer (never beyond capture.max_duration; 0s: no extension)"},
    {"capture.no_traffic_seconds", TB_CONFIG_U32, AT(no_traffic_s), 0, 1, 3600, "60", false,
     NULL, NULL, "a capture without a packet for so long is reported"},
    {"capture.rotate_bytes", TB_CONFIG_BYTES, AT(rotate_bytes), 0, 64 * KIB, GIB, "128MiB",
     false, NULL, NULL, "a segment is closed at this size"},
    {"capture.rotate_seconds", TB_CONFIG_U32, AT(rotate_s), 0, 1, 3600, "60", false, NULL, NULL,
     "and at this age"},
    {"policy.file", TEXT(policy_file), "", false, valid_path, "an absolute path",
     "rules that say what is captured, and how; empty: those that ship ('tapbox policy "
     "show')"},
    {"policy.cooldown", TB_CONFIG_DURATION, AT(policy.cooldown_ns), 0, 0, 7 * 24 * 3600, "1h",
     false, NULL, NULL,
     "a finding that was captured so shortly before is not captured again when GuardDuty "
     "repeats "
     "it; 0: always"},
};
const size_t tb_config_key_count = sizeof(tb_config_keys) / sizeof(tb_config_keys[0]);

static bool
valid_external_id(const char *text)
{
    return strlen(text) >= 2 && only_of(text, "_+=,.@:/-");
}

#define ACCOUNT_TEXT(field)                                                                    \
    offsetof(struct tb_config_account, field), sizeof(((struct tb_config_account *)NULL)->field)

const struct tb_config_account_key tb_config_account_keys[TB_CONFIG_ACCOUNT_KEYS] = {
    {"role", ACCOUNT_TEXT(role_arn), true, valid_role,
     "the ARN of a role (arn:aws:iam::222233334444:role/tapbox)"},
    {"external_id", ACCOUNT_TEXT(external_id), false, valid_external_id,
     "2 or more of letters, digits and _+=,.@:/-"},
};

const struct tb_config_account *
tb_config_account_find(const struct tb_config *config, const char *id)
{
    for (size_t i = 0; i < config->account_count; i++) {
        if (strcmp(config->accounts[i].id, id) == 0) {
            return &config->accounts[i];
        }
    }
    return NULL;
}

/* --- reading values --- */

enum tb_err
tb_config_size_parse(const char *text, uint64_t *out_bytes)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", KIB},
        {"MiB", MIB},
        {"GiB", GIB},
        {"TiB", TIB},
        {"kB", 1000},
        {"KB", 1000},
        {"MB", 1000 * 1000},
        {"GB", 1000000000},
        {"TB", UINT64_C(1000000000000)},
    };
    unsigned long long number;
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return TB_EINVAL;
    }
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno != 0) {
        return TB_EINVAL;
    }
    while (*end == ' ') {
        end++;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) == 0) {
            if (number > UINT64_MAX / units[i].factor) {
                return TB_EINVAL;
            }
            *out_bytes = number * units[i].factor;
            return TB_OK;
        }
    }
    return TB_EINVAL;
}

static void
format_size(char *out, size_t cap, uint64_t bytes)
{
    static const char *const names[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (bytes != 0 && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, cap, "%llu%s", (unsigned long long)bytes, names[unit]);
}

static void
format_seconds(char *out, size_t cap, uint64_t seconds)
{
    if (seconds % 3600 == 0) {
        snprintf(out, cap, "%lluh", (unsigned long long)(seconds / 3600));
    } else if (seconds % 60 == 0) {
        snprintf(out, cap, "%llum", (unsigned long long)(seconds / 60));
    } else {
        snprintf(out, cap, "%llus", (unsigned long long)seconds);
    }
}

/* The value for a message: cut, and without what would move a terminal's cursor. */
static const char *
shown(char out[SHOWN_VALUE], const char *text)
{
    size_t i;

    for (i = 0; text[i] != '\0' && i < SHOWN_VALUE - 1; i++) {
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    }
    out[i] = '\0';
    if (text[i] != '\0') {
        memcpy(out + i - 3, "...", 3);
    }
    return out;
}

static enum tb_err
not_a(struct tb_fail *fail, const char *text, const char *what)
{
    char value[SHOWN_VALUE];

    return tb_fail_set(fail, TB_EINVAL, "'%s' is not %s", shown(value, text), what);
}

static enum tb_err
out_of_range(const struct tb_config_key *key, const char *text, struct tb_fail *fail)
{
    char min[32], max[32], value[SHOWN_VALUE];

    switch (key->kind) {
    case TB_CONFIG_BYTES:
        format_size(min, sizeof(min), key->min);
        format_size(max, sizeof(max), key->max);
        break;
    case TB_CONFIG_DURATION:
        format_seconds(min, sizeof(min), key->min);
        format_seconds(max, sizeof(max), key->max);
        break;
    default:
        snprintf(min, sizeof(min), "%llu", (unsigned long long)key->min);
        snprintf(max, sizeof(max), "%llu", (unsigned long long)key->max);
    }
    return tb_fail_set(fail, TB_EINVAL, "%s is out of range (%s to %s)", shown(value, text),
                       min, max);
}

static enum tb_err
set_text(const struct tb_config_key *key, const char *text, char *at, struct tb_fail *fail)
{
    if (strlen(text) >= key->size) {
        return tb_fail_set(fail, TB_EINVAL, "%zu characters, at most %zu are allowed",
                           strlen(text), key->size - 1);
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (iscntrl((unsigned char)*p)) {
            return not_a(fail, text, "printable text");
        }
    }
    if (text[0] != '\0' && key->valid != NULL && !key->valid(text)) {
        return not_a(fail, text, key->expects);
    }
    if (text[0] == '\0' && key->fallback[0] != '\0') {
        return tb_fail_set(fail, TB_EINVAL, "is empty (leave it out for the default, %s)",
                           key->fallback);
    }
    memcpy(at, text, strlen(text) + 1);
    return TB_OK;
}

enum tb_err
tb_config_account_set(const struct tb_config_account_key *key, const char *text,
                      struct tb_config_account *account, struct tb_fail *fail)
{
    const struct tb_config_key as_key = {
        .size = key->size, .valid = key->valid, .expects = key->expects, .fallback = ""};

    return set_text(&as_key, text, (char *)account + key->offset, fail);
}

/* "127.0.0.1:8480" or "[::1]:8480": addresses, not names, so that what is opened to the network
 * stands in the file. */
static enum tb_err
set_listen(const char *text, struct tb_config *config, struct tb_fail *fail)
{
    static const char expects[] = "an address and port (write 127.0.0.1:8480 or [::1]:8480)";
    char host[sizeof(config->listen_address)];
    unsigned char raw[sizeof(struct in6_addr)];
    const char *colon = strrchr(text, ':');
    bool six = text[0] == '[';
    size_t len;
    char *end;
    unsigned long port;

    if (colon == NULL || !isdigit((unsigned char)colon[1])) {
        return not_a(fail, text, expects);
    }
    errno = 0;
    port = strtoul(colon + 1, &end, 10);
    if (errno != 0 || *end != '\0' || port > 65535) {
        return not_a(fail, text, expects);
    }
    len = (size_t)(colon - text);
    if (six) {
        if (len < 2 || text[len - 1] != ']') {
            return not_a(fail, text, expects);
        }
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(host)) {
        return not_a(fail, text, expects);
    }
    memcpy(host, text, len);
    host[len] = '\0';
    if (inet_pton(six ? AF_INET6 : AF_INET, host, raw) != 1) {
        return not_a(fail, text, expects);
    }
    memcpy(config->listen_address, host, len + 1);
    config->listen_port = (uint16_t)port;
    return TB_OK;
}

static enum tb_err
set_whole_number(const struct tb_config_key *key, const char *text, uint64_t *out,
                 struct tb_fail *fail)
{
    unsigned long long value;

    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text)) {
        return not_a(fail, text, "a whole number");
    }
    errno = 0;
    value = strtoull(text, NULL, 10);
    if (errno != 0 || value < key->min || value > key->max) {
        return out_of_range(key, text, fail);
    }
    *out = value;
    return TB_OK;
}

enum tb_err
tb_config_set(const struct tb_config_key *key, const char *text, struct tb_config *config,
              struct tb_fail *fail)
{
    void *at = (char *)config + key->offset;
    enum tb_err err;
    uint64_t value = 0; /* gcc at -O2 does not follow the parsers */

    switch (key->kind) {
    case TB_CONFIG_TEXT:
        return set_text(key, text, at, fail);
    case TB_CONFIG_LISTEN:
        return set_listen(text, config, fail);
    case TB_CONFIG_BYTES:
        if (tb_config_size_parse(text, &value) != TB_OK) {
            return not_a(fail, text, "a size (write 512KiB, 128MiB, 10GiB)");
        }
        if (value < key->min || value > key->max) {
            return out_of_range(key, text, fail);
        }
        *(uint64_t *)at = value;
        return TB_OK;
    case TB_CONFIG_DURATION: {
        bool none = key->min == 0 && (strcmp(text, "0") == 0 || strcmp(text, "0s") == 0);
        int64_t ns = 0;

        if (!none && tb_duration_parse(text, &ns) != TB_OK) {
            return not_a(fail, text, "a duration (write 90s, 15m, 2h)");
        }
        if (ns < (int64_t)key->min * TB_NS_PER_S || ns > (int64_t)key->max * TB_NS_PER_S) {
            return out_of_range(key, text, fail);
        }
        *(int64_t *)at = ns;
        return TB_OK;
    }
    case TB_CONFIG_U32:
    case TB_CONFIG_U64:
    case TB_CONFIG_INT:
        err = set_whole_number(key, text, &value, fail);
        if (err != TB_OK) {
            return err;
        }
        if (key->kind == TB_CONFIG_U32) {
            *(uint32_t *)at = (uint32_t)value;
        } else if (key->kind == TB_CONFIG_U64) {
            *(uint64_t *)at = value;
        } else {
            *(int *)at = (int)value;
        }
        return TB_OK;
    case TB_CONFIG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return not_a(fail, text, "true or false");
        }
        *(bool *)at = text[0] == 't';
        return TB_OK;
    case TB_CONFIG_LOG_LEVEL:
        if (tb_log_level_parse(text, at) != TB_OK) {
            return not_a(fail, text, "error, warn, info or debug");
        }
        return TB_OK;
    case TB_CONFIG_KIND_COUNT:
        break;
    }
    return tb_fail_set(fail, TB_EINTERNAL, "key of an unknown kind");
}

/* --- explaining --- */

static void
explain_type(const struct tb_config_key *key, struct tb_buf *out)
{
    char min[32], max[32];

    switch (key->kind) {
    case TB_CONFIG_TEXT:
        tb_buf_put_str(out, key->expects);
        break;
    case TB_CONFIG_LISTEN:
        tb_buf_put_str(out, "address:port or [address]:port");
        break;
    case TB_CONFIG_BYTES:
        format_size(min, sizeof(min), key->min);
        format_size(max, sizeof(max), key->max);
        tb_buf_printf(out, "size, %s to %s", min, max);
        break;
    case TB_CONFIG_DURATION:
        format_seconds(min, sizeof(min), key->min);
        format_seconds(max, sizeof(max), key->max);
        tb_buf_printf(out, "duration, %s to %s", min, max);
        break;
    case TB_CONFIG_U32:
    case TB_CONFIG_U64:
    case TB_CONFIG_INT:
        tb_buf_printf(out, "whole number, %llu to %llu", (unsigned long long)key->min,
                      (unsigned long long)key->max);
        break;
    case TB_CONFIG_BOOL:
        tb_buf_put_str(out, "true or false");
        break;
    case TB_CONFIG_LOG_LEVEL:
        tb_buf_put_str(out, "error, warn, info or debug");
        break;
    case TB_CONFIG_KIND_COUNT:
        break;
    }
}

enum tb_err
tb_config_explain(struct tb_buf *out, struct tb_fail *fail)
{
    const char *section = "";
    size_t section_len = 0;

    tb_buf_put_str(out, "# tapbox: every setting, with its default.  Take the '#' away from "
                        "what you change.\n");
    for (size_t i = 0; i < tb_config_key_count; i++) {
        const struct tb_config_key *key = &tb_config_keys[i];
        const char *dot = strchr(key->name, '.');
        const char *indent = dot != NULL ? "  " : "";

        if (dot != NULL && (section_len != (size_t)(dot - key->name) ||
                            strncmp(section, key->name, section_len) != 0)) {
            section = key->name;
            section_len = (size_t)(dot - key->name);
            tb_buf_printf(out, "\n%.*s:\n", (int)section_len, section);
        }
        tb_buf_printf(out, "%s# %s\n%s# (", indent, key->help, indent);
        explain_type(key, out);
        tb_buf_put_str(out, ")\n");
        tb_buf_printf(out, "%s%s%s: %s\n", indent,
                      key->required && key->fallback[0] == '\0' ? "" : "#",
                      dot != NULL ? dot + 1 : key->name,
                      key->fallback[0] != '\0' ? key->fallback : "\"\"");
    }
    tb_buf_put_str(out,
                   "\n# Other accounts whose interfaces may be captured, each through a role "
                   "there (infra/iam/member.json)\n"
                   "# that tapbox may assume; the mirror target has to be shared with them.\n"
                   "#accounts:\n"
                   "#  222233334444:\n"
                   "#    role: arn:aws:iam::222233334444:role/tapbox\n"
                   "#    external_id: what-the-role-asks-for\n");
    return tb_buf_check(out, "the explained configuration", fail);
}

/*
 * Where a service is: what environment or profile say, else by Region and partition.
 * Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints"; service endpoint
 * rules.
 */
#include "aws_int.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

static const struct {
    const char *name;     /* in host names and signatures */
    const char *variable; /* AWS_ENDPOINT_URL_... */
    const char *setting;  /* in a [services] section */
} services[TB_AWS_SERVICE_COUNT] = {
    [TB_AWS_EC2] = {"ec2", "AWS_ENDPOINT_URL_EC2", "ec2.endpoint_url"},
    [TB_AWS_S3] = {"s3", "AWS_ENDPOINT_URL_S3", "s3.endpoint_url"},
    [TB_AWS_STS] = {"sts", "AWS_ENDPOINT_URL_STS", "sts.endpoint_url"},
    [TB_AWS_CLOUDWATCH] = {"monitoring", "AWS_ENDPOINT_URL_CLOUDWATCH",
                           "cloudwatch.endpoint_url"},
    [TB_AWS_SQS] = {"sqs", "AWS_ENDPOINT_URL_SQS", "sqs.endpoint_url"},
};

/* By the beginning of the Region's name; the last row takes the rest. */
static const struct partition {
    const char *begins, *name, *suffix;
    const char *dual_suffix; /* NULL: the partition has none */
    bool plain_is_fips;      /* ec2 and sts have FIPS under their usual names */
} partitions[] = {
    {"cn-", "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn", false},
    {"us-gov-", "aws-us-gov", "amazonaws.com", "api.aws", true},
    {"us-iso-", "aws-iso", "c2s.ic.gov", NULL, false},
    {"us-isob-", "aws-iso-b", "sc2s.sgov.gov", NULL, false},
    {"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", NULL, false},
    {"us-isof-", "aws-iso-f", "csp.hci.ic.gov", NULL, false},
    {"eusc-", "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu", false},
    {"", "aws", "amazonaws.com", "api.aws", false},
};

static const struct partition *
find_partition(const char *region)
{
    const struct partition *row = partitions;

    while (strncmp(region, row->begins, strlen(row->begins)) != 0) {
        row++;
    }
    return row;
}

const char *
tb_aws_partition_of(const char *region)
{
    return find_partition(region)->name;
}

const char *
tb_aws_service_name(enum tb_aws_service service)
{
    return services[service].name;
}

static bool
is_true(const char *text)
{
    return text != NULL && strcasecmp(text, "true") == 0;
}

static const char *
not_empty(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool
switched_on(const char *variable, const struct tb_aws_profiles *profiles, const char *setting)
{
    const char *value = not_empty(getenv(variable));

    if (value == NULL && profiles != NULL) {
        value = tb_aws_profiles_get(profiles, tb_aws_profile_name(), setting);
    }
    return is_true(value);
}

/* Lent; NULL when nothing is configured.  `*out_where` names what set it. */
static const char *
configured_url(enum tb_aws_service service, const struct tb_aws_profiles *profiles,
               const char **out_where)
{
    const char *url, *section;

    if (switched_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", profiles,
                    "ignore_configured_endpoint_urls")) {
        return NULL;
    }
    *out_where = services[service].variable;
    url = not_empty(getenv(services[service].variable));
    if (url == NULL) {
        *out_where = "AWS_ENDPOINT_URL";
        url = not_empty(getenv("AWS_ENDPOINT_URL"));
    }
    if (url == NULL && profiles != NULL) {
        *out_where = "the profile's endpoint_url";
        section = tb_aws_profiles_get(profiles, tb_aws_profile_name(), "services");
        if (section != NULL) {
            url = not_empty(
                tb_aws_profiles_service(profiles, section, services[service].setting));
        }
        if (url == NULL) {
            url =
                not_empty(tb_aws_profiles_get(profiles, tb_aws_profile_name(), "endpoint_url"));
        }
    }
    return url;
}

static bool
is_address(const char *host)
{
    struct in_addr v4;

    return host[0] == '[' || inet_pton(AF_INET, host, &v4) == 1;
}

/* "[::1]:80" and "host:80"; the port is left out of signatures and Host when it is the usual.
 */
static bool
split_host(const char *text, size_t len, bool https, struct tb_aws_endpoint *out)
{
    const char *bracket = text[0] == '[' ? memchr(text, ']', len) : NULL;
    const char *from = bracket != NULL ? bracket : text;
    const char *colon = memchr(from, ':', len - (size_t)(from - text));
    size_t host_len = colon != NULL ? (size_t)(colon - text) : len;
    const char *marks = bracket != NULL ? "[:.]" : "-._";
    long port = https ? 443 : 80, usual = port;

    if (host_len == 0 || host_len > 240 ||
        (bracket != NULL && bracket + 1 != text + host_len)) {
        return false;
    }
    for (size_t i = 0; i < host_len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr(marks, text[i]) == NULL) {
            return false;
        }
        out->host[i] = (char)tolower((unsigned char)text[i]);
    }
    out->host[host_len] = '\0';
    out->literal = is_address(out->host);
    if (colon != NULL) {
        char digits[6] = "";
        size_t count = len - host_len - 1;

        if (count == 0 || count >= sizeof(digits)) {
            return false;
        }
        memcpy(digits, colon + 1, count);
        if (strspn(digits, "0123456789") != count) {
            return false;
        }
        port = strtol(digits, NULL, 10);
    }
    if (port < 1 || port > 65535) {
        return false;
    }
    if (port != usual) {
        (void)snprintf(out->host + host_len, sizeof(out->host) - host_len, ":%ld", port);
    }
    return true;
}

static enum tb_err
parse_url(const char *url, const char *where, struct tb_aws_endpoint *out, struct tb_fail *fail)
{
    bool https = strncasecmp(url, "https://", 8) == 0;
    bool http = strncasecmp(url, "http://", 7) == 0;
    const char *host = url + (https ? 8 : 7);
    size_t host_len, path_len;

    if (!https && !http) {
        return tb_fail_set(fail, TB_EINVAL, "%s: '%.128s' is not an http:// or https:// URL",
                           where, url);
    }
    host_len = strcspn(host, "/?#");
    *out = (struct tb_aws_endpoint){.custom = true};
    (void)tb_str_copy(out->scheme, sizeof(out->scheme), https ? "https" : "http");
    path_len = strlen(host + host_len);
    while (path_len > 0 && host[host_len + path_len - 1] == '/') {
        path_len--;
    }
    if (!split_host(host, host_len, https, out) || path_len >= sizeof(out->path) ||
        strpbrk(host + host_len, "?#% ") != NULL) {
        return tb_fail_set(fail, TB_EINVAL, "%s: '%.128s' is not a service's URL", where, url);
    }
    memcpy(out->path, host + host_len, path_len);
    out->path[path_len] = '\0';
    return TB_OK;
}

enum tb_err
tb_aws_endpoint_resolve(enum tb_aws_service service, const char *region,
                        const struct tb_aws_profiles *profiles, struct tb_aws_endpoint *out,
                        struct tb_fail *fail)
{
    const struct partition *partition = find_partition(region);
    bool fips = switched_on("AWS_USE_FIPS_ENDPOINT", profiles, "use_fips_endpoint");
    bool dual = switched_on("AWS_USE_DUALSTACK_ENDPOINT", profiles, "use_dualstack_endpoint");
    const char *where = "";
    const char *url = configured_url(service, profiles, &where);
    const char *name = services[service].name;
    const char *suffix = partition->suffix;

    if (url != NULL) {
        if (fips || dual) {
            return tb_fail_set(fail, TB_EINVAL,
                               "%s cannot be combined with FIPS or dual-stack endpoints",
                               where);
        }
        return parse_url(url, where, out, fail);
    }
    if (dual && partition->dual_suffix == NULL) {
        return tb_fail_set(fail, TB_EINVAL, "partition %s has no dual-stack endpoints",
                           partition->name);
    }
    if (dual && service != TB_AWS_S3) {
        suffix = partition->dual_suffix;
    }
    if (fips && !dual && service != TB_AWS_S3 && partition->plain_is_fips) {
        fips = false;
    }
    *out = (struct tb_aws_endpoint){.scheme = "https"};
    (void)snprintf(out->host, sizeof(out->host), "%s%s%s.%s.%s", name, fips ? "-fips" : "",
                   dual && service == TB_AWS_S3 ? ".dualstack" : "", region, suffix);
    return TB_OK;
}

/*
 * Verify a request's signature: take the claim apart, rebuild the canonical request from what
 * arrived, sign it with the secret of the named key, compare.
 */
#include "sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "str.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

/* What the request says about its own signature. */
struct claim {
    bool presigned;
    char access[129];
    char date[9]; /* of the scope */
    char region[32];
    char service[32];
    char amz_date[17];  /* 20260102T030405Z */
    char *signed_names; /* a;b;c */
    char signature[65];
    char *token;    /* NULL when none was sent */
    long expires_s; /* presigned only */
};

static void
to_hex(const unsigned char *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

static void
sha256_hex(const void *data, size_t len, char out[65])
{
    unsigned char digest[32];
    SHA256(data == NULL ? "" : data, len, digest);
    to_hex(digest, 32, out);
}

static void
hmac(const unsigned char *key, size_t key_len, const char *text, unsigned char out[32])
{
    unsigned int len = 32;
    HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), out, &len);
}

static void
encode(struct str *out, const char *s, size_t len, bool keep_slash)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '_' || c == '.' || c == '~' || (keep_slash && c == '/')) {
            str_addn(out, s + i, 1);
        } else {
            str_addf(out, "%%%02X", c);
        }
    }
}

static void
decode_into(struct str *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned v;
        char c = s[i];
        char digits[3] = {0};
        if (c == '%' && len - i > 2) {
            memcpy(digits, s + i + 1, 2);
            if (strspn(digits, "0123456789abcdefABCDEF") == 2 &&
                sscanf(digits, "%2x", &v) == 1) {
                c = (char)v;
                i += 2;
            }
        } else if (c == '+') {
            c = ' ';
        }
        str_addn(out, &c, 1);
    }
}

/* The decoded value of one query parameter, to be freed; NULL when it is not there. */
static char *
query_value(const char *query, const char *name)
{
    size_t name_len = strlen(name);
    for (const char *at = query; *at != '\0';) {
        size_t len = strcspn(at, "&");
        if (len > name_len && strncmp(at, name, name_len) == 0 && at[name_len] == '=') {
            struct str value = {0};
            decode_into(&value, at + name_len + 1, len - name_len - 1);
            return value.p == NULL ? xdup("") : value.p;
        }
        at += len + (at[len] == '&');
    }
    return NULL;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Pairs decoded, encoded again the one right way, sorted.  Without the signature itself. */
static void
canonical_query(const char *query, struct str *out)
{
    char **pairs = NULL;
    size_t n = 0;
    for (const char *at = query; *at != '\0';) {
        size_t len = strcspn(at, "&");
        size_t name_len = strcspn(at, "=&");
        struct str raw_name = {0};
        struct str raw_value = {0};
        struct str pair = {0};
        decode_into(&raw_name, at, name_len);
        if (name_len < len) {
            decode_into(&raw_value, at + name_len + 1, len - name_len - 1);
        }
        if (len > 0 && strcmp(str_text(&raw_name), "X-Amz-Signature") != 0) {
            encode(&pair, str_text(&raw_name), raw_name.len, false);
            /* \1 sorts before every character of an encoded name; it becomes '=' below */
            str_add(&pair, "\1");
            encode(&pair, str_text(&raw_value), raw_value.len, false);
            pairs = xgrow(pairs, (n + 1) * sizeof(char *));
            pairs[n++] = pair.p;
        }
        str_free(&raw_name);
        str_free(&raw_value);
        at += len + (at[len] == '&');
    }
    if (n > 0) {
        qsort(pairs, n, sizeof(char *), by_text);
    }
    for (size_t i = 0; i < n; i++) {
        *strchr(pairs[i], '\1') = '=';
        str_addf(out, "%s%s", i == 0 ? "" : "&", pairs[i]);
        free(pairs[i]);
    }
    free(pairs);
}

/* One header's values, trimmed, runs of spaces collapsed, repeated ones joined by commas. */
static bool
canonical_value(const struct http_request *r, const char *name, size_t name_len,
                struct str *out)
{
    size_t found = 0;
    for (size_t i = 0; i < r->nheaders; i++) {
        if (strlen(r->headers[i].name) != name_len ||
            strncasecmp(r->headers[i].name, name, name_len) != 0) {
            continue;
        }
        if (found++ > 0) {
            str_add(out, ",");
        }
        const char *v = r->headers[i].value;
        v += strspn(v, " \t");
        size_t len = strlen(v);
        while (len > 0 && (v[len - 1] == ' ' || v[len - 1] == '\t')) {
            len--;
        }
        for (size_t k = 0; k < len; k++) {
            if (v[k] != ' ' || v[k - 1] != ' ') {
                str_addn(out, v + k, 1);
            }
        }
    }
    return found > 0;
}

static bool
names_include(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = names; *at != '\0';) {
        size_t n = strcspn(at, ";");
        if (n == len && strncasecmp(at, name, n) == 0) {
            return true;
        }
        at += n + (at[n] == ';');
    }
    return false;
}

/* EC2 and STS name the same troubles differently. */
static bool
refuse_as(struct refusal *why, bool sts, int ec2_status, const char *ec2_code,
          const char *sts_code, const char *message)
{
    refuse(why, sts ? 403 : ec2_status, sts ? sts_code : ec2_code, "%s", message);
    return false;
}

static bool
incomplete(struct refusal *why, const char *what)
{
    refuse(why, 400, "IncompleteSignature",
           "The request signature does not conform to AWS standards: %s", what);
    return false;
}

/* Credential=AKID/20260102/us-east-1/ec2/aws4_request */
static bool
split_credential(const char *text, size_t len, struct claim *c)
{
    char copy[320];
    char terminal[16];
    char rest;
    if (len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    return sscanf(copy, "%128[^/]/%8[0-9]/%31[^/]/%31[^/]/%15[^/]%c", c->access, c->date,
                  c->region, c->service, terminal, &rest) == 5 &&
           strcmp(terminal, "aws4_request") == 0 && strlen(c->date) == 8;
}

static bool
read_header_claim(const struct http_request *r, const char *authorization, struct claim *c,
                  struct refusal *why)
{
    if (strncmp(authorization, ALGORITHM " ", sizeof(ALGORITHM)) != 0) {
        return incomplete(why, "the algorithm is not " ALGORITHM);
    }
    bool credential = false;
    for (const char *at = authorization + sizeof(ALGORITHM); *at != '\0';) {
        at += strspn(at, " ,");
        size_t len = strcspn(at, ", ");
        if (strncmp(at, "Credential=", 11) == 0) {
            credential = split_credential(at + 11, len - 11, c);
        } else if (strncmp(at, "SignedHeaders=", 14) == 0) {
            free(c->signed_names);
            c->signed_names = xdup(at + 14);
            c->signed_names[len - 14] = '\0';
        } else if (strncmp(at, "Signature=", 10) == 0 && len - 10 == 64) {
            memcpy(c->signature, at + 10, 64);
        } else if (len > 0 && strncmp(at, "Signature=", 10) != 0) {
            return incomplete(why, "the Authorization header has an unknown part");
        }
        at += len;
    }
    const char *date = http_header(r, "X-Amz-Date");
    const char *token = http_header(r, "X-Amz-Security-Token");
    c->token = token == NULL ? NULL : xdup(token);
    if (!credential || c->signed_names == NULL || c->signature[0] == '\0') {
        return incomplete(why, "Credential, SignedHeaders and Signature are needed");
    }
    if (date == NULL || strlen(date) != 16) {
        return incomplete(why, "X-Amz-Date is missing or not of the form YYYYMMDD'T'HHMMSS'Z'");
    }
    strcpy(c->amz_date, date);
    return true;
}

static bool
read_query_claim(const struct http_request *r, struct claim *c, struct refusal *why)
{
    char *algorithm = query_value(r->query, "X-Amz-Algorithm");
    char *credential = query_value(r->query, "X-Amz-Credential");
    char *date = query_value(r->query, "X-Amz-Date");
    char *expires = query_value(r->query, "X-Amz-Expires");
    char *signature = query_value(r->query, "X-Amz-Signature");
    c->presigned = true;
    c->signed_names = query_value(r->query, "X-Amz-SignedHeaders");
    c->token = query_value(r->query, "X-Amz-Security-Token");
    c->expires_s = expires == NULL ? CLOCK_SKEW_MAX_S : atol(expires);
    bool whole = algorithm != NULL && strcmp(algorithm, ALGORITHM) == 0 && credential != NULL &&
                 split_credential(credential, strlen(credential), c) && date != NULL &&
                 strlen(date) == 16 && strlen(signature) == 64 && c->signed_names != NULL &&
                 c->expires_s > 0 && c->expires_s <= 604800;
    if (whole) {
        strcpy(c->amz_date, date);
        strcpy(c->signature, signature);
    }
    free(algorithm);
    free(credential);
    free(date);
    free(expires);
    free(signature);
    return whole ? true : incomplete(why, "a query-string signature is not complete");
}

/* Is the name at `a` (up to its semicolon) before the one at `b`? */
static bool
in_order(const char *a, const char *b)
{
    size_t a_len = strcspn(a, ";");
    size_t b_len = strcspn(b, ";");
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order < 0 || (order == 0 && a_len < b_len);
}

/* Returns false when a signed header is not in the request, or they are not in order. */
static bool
canonical_request(const struct http_request *r, const struct claim *c, struct str *out)
{
    struct str query = {0};
    canonical_query(r->query, &query);
    str_addf(out, "%s\n", r->method);
    encode(out, r->path, strlen(r->path), true);
    str_addf(out, "\n%s\n", str_text(&query));
    str_free(&query);
    bool all = true;
    const char *previous = "";
    for (const char *at = c->signed_names; *at != '\0' && all;) {
        size_t len = strcspn(at, ";");
        str_addn(out, at, len);
        str_add(out, ":");
        all = canonical_value(r, at, len, out) && in_order(previous, at);
        str_add(out, "\n");
        previous = at;
        at += len + (at[len] == ';');
    }
    char hash[65];
    sha256_hex(r->body.p, r->body.len, hash);
    str_addf(out, "\n%s\n%s", c->signed_names, hash);
    return all;
}

static void
sign(const struct http_request *r, const struct claim *c, const char *secret, char out[65])
{
    struct str canonical = {0};
    struct str to_sign = {0};
    struct str first = {0};
    char hash[65];
    unsigned char key[32];
    canonical_request(r, c, &canonical);
    sha256_hex(canonical.p, canonical.len, hash);
    str_addf(&to_sign, "%s\n%s\n%s/%s/%s/aws4_request\n%s", ALGORITHM, c->amz_date, c->date,
             c->region, c->service, hash);
    str_addf(&first, "AWS4%s", secret);
    hmac((const unsigned char *)first.p, first.len, c->date, key);
    hmac(key, 32, c->region, key);
    hmac(key, 32, c->service, key);
    hmac(key, 32, "aws4_request", key);
    hmac(key, 32, to_sign.p, key);
    to_hex(key, 32, out);
    str_free(&canonical);
    str_free(&to_sign);
    str_free(&first);
}

static bool
check_signed_names(const struct http_request *r, const struct claim *c, bool sts,
                   struct refusal *why)
{
    if (!names_include(c->signed_names, "host")) {
        return refuse_as(why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
                         "'Host' must be a 'SignedHeader' in the AWS Authorization.");
    }
    if (!c->presigned && !names_include(c->signed_names, "x-amz-date")) {
        return refuse_as(why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
                         "'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization.");
    }
    for (size_t i = 0; i < r->nheaders; i++) {
        if (strncasecmp(r->headers[i].name, "x-amz-", 6) == 0 &&
            !names_include(c->signed_names, r->headers[i].name)) {
            return refuse_as(why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
                             "There were headers present in the request which were not signed");
        }
    }
    struct str canonical = {0};
    bool all = canonical_request(r, c, &canonical);
    str_free(&canonical);
    return all ? true
               : refuse_as(why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
                           "A signed header is not in the request, or they are not in order");
}

static bool
check_scope(const struct state *st, const struct claim *c, bool sts, struct refusal *why)
{
    char text[128];
    if (strcmp(c->service, "ec2") != 0 && !sts) {
        return refuse_as(why, sts, 401, "AuthFailure", "SignatureDoesNotMatch",
                         "Credential should be scoped to correct service: 'ec2'.");
    }
    if (strcmp(c->region, st->region) != 0) {
        snprintf(text, sizeof(text), "Credential should be scoped to a valid region: '%s'.",
                 st->region);
        return refuse_as(why, sts, 401, "AuthFailure", "SignatureDoesNotMatch", text);
    }
    if (strncmp(c->date, c->amz_date, 8) != 0) {
        return refuse_as(why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
                         "Date in Credential scope does not match YYYYMMDD from ISO-8601 "
                         "version of date from HTTP.");
    }
    return true;
}

static bool
check_clock(const struct claim *c, bool sts, long long now_s, struct refusal *why)
{
    struct tm tm = {0};
    const char *rest = strptime(c->amz_date, "%Y%m%dT%H%M%SZ", &tm);
    if (rest == NULL || *rest != '\0') {
        return incomplete(why, "the date is not of the form YYYYMMDD'T'HHMMSS'Z'");
    }
    long long age_s = now_s - (long long)timegm(&tm);
    long long limit_s = c->presigned ? c->expires_s : CLOCK_SKEW_MAX_S;
    if (age_s > limit_s) {
        return refuse_as(why, sts, 400, "RequestExpired", "SignatureDoesNotMatch",
                         sts ? "Signature expired." : "Request has expired.");
    }
    if (age_s < -CLOCK_SKEW_MAX_S) {
        return refuse_as(why, sts, 400, "RequestExpired", "SignatureDoesNotMatch",
                         sts ? "Signature not yet current."
                             : "Request has expired. Its date lies in the future.");
    }
    return true;
}

static bool
check_key(struct state *st, const struct claim *c, bool sts, long long now_s,
          struct signer *out, char secret[129], struct refusal *why)
{
    bool known = false;
    bool expired = false;
    pthread_mutex_lock(&st->mu);
    const struct key *k = map_get(&st->keys, c->access);
    if (k != NULL && (k->token == NULL) == (c->token == NULL) &&
        (k->token == NULL || strcmp(k->token, c->token) == 0)) {
        known = true;
        expired = k->expires_s != 0 && now_s >= k->expires_s;
        out->account = k->account;
        out->key = k;
        snprintf(out->access, sizeof(out->access), "%s", k->access);
        snprintf(out->arn, sizeof(out->arn), "%s", k->arn);
        snprintf(out->user_id, sizeof(out->user_id), "%s", k->user_id);
        snprintf(secret, 129, "%s", k->secret);
    }
    pthread_mutex_unlock(&st->mu);
    if (!known) {
        return refuse_as(why, sts, 401, "AuthFailure", "InvalidClientTokenId",
                         sts ? "The security token included in the request is invalid."
                             : "AWS was not able to validate the provided access credentials");
    }
    if (expired) {
        return refuse_as(why, sts, 400, "RequestExpired", "ExpiredToken",
                         sts ? "The security token included in the request is expired"
                             : "Request has expired.");
    }
    return true;
}

static bool
verify_claim(struct state *st, const struct http_request *r, const struct claim *c,
             long long now_s, struct signer *out, struct refusal *why)
{
    /* CloudWatch says it in the same words as STS */
    bool sts = strcmp(c->service, "sts") == 0 || strcmp(c->service, "monitoring") == 0;
    char secret[129];
    char expected[65];
    snprintf(out->service, sizeof(out->service), "%s", c->service);
    if (!check_scope(st, c, sts, why) || !check_clock(c, sts, now_s, why) ||
        !check_signed_names(r, c, sts, why) ||
        !check_key(st, c, sts, now_s, out, secret, why)) {
        return false;
    }
    sign(r, c, secret, expected);
    OPENSSL_cleanse(secret, sizeof(secret));
    if (CRYPTO_memcmp(expected, c->signature, 64) != 0) {
        return refuse_as(
            why, sts, 403, "SignatureDoesNotMatch", "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you "
            "provided. Check your AWS Secret Access Key and signing method. Consult "
            "the service documentation for details.");
    }
    return true;
}

bool
sigv4_verify(struct state *st, const struct http_request *r, long long now_s,
             struct signer *out, struct refusal *why)
{
    struct claim c = {0};
    const char *authorization = http_header(r, "Authorization");
    char *signature = query_value(r->query, "X-Amz-Signature");
    bool good = false;
    memset(out, 0, sizeof(*out));
    if (authorization != NULL && signature != NULL) {
        incomplete(why, "signed both in a header and in the query string");
    } else if (authorization != NULL) {
        good = read_header_claim(r, authorization, &c, why);
    } else if (signature != NULL) {
        good = read_query_claim(r, &c, why);
    } else {
        refuse(why, 403, "MissingAuthenticationToken",
               "Request is missing Authentication Token");
    }
    good = good && verify_claim(st, r, &c, now_s, out, why);
    free(signature);
    free(c.signed_names);
    free(c.token);
    return good;
}

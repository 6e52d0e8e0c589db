/*
 * AWS Signature Version 4.  The signing key is made anew each time: four HMACs cost a few
 * microseconds, and a cached key would be one more secret to wipe.
 */
#include <tapbox/aws_sigv4.h>

#include <ctype.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/digest.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

enum {
    MAX_QUERY_PARTS = 64,
    CANONICAL_MAX_BYTES = 64 * 1024, /* S3 refuses request lines and headers long before */
    MAX_PRESIGN_S = 604800           /* a week: S3's own ceiling */
};

struct span {
    size_t at, len; /* in the buffer that holds the text */
};

struct part { /* one query parameter, both encoded */
    struct span name, value;
};

static bool
is_s3(const struct tb_sigv4_context *context)
{
    return strcmp(context->service, "s3") == 0;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX and encodes again, so that there is one form whatever was written. */
static struct span
put_encoded_again(struct tb_buf *out, const char *text, size_t len)
{
    struct span span = {out->len, 0};

    for (size_t i = 0; i < len; i++) {
        uint8_t octet = (uint8_t)text[i];

        if (text[i] == '%' && i + 2 < len && hex_value(text[i + 1]) >= 0 &&
            hex_value(text[i + 2]) >= 0) {
            octet = (uint8_t)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
            i += 2;
        }
        tb_buf_put_percent(out, tb_bytes_of(&octet, 1), false);
    }
    span.len = out->len - span.at;
    return span;
}

static int
compare_spans(const struct tb_buf *text, struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(text->at + a.at, text->at + b.at, shorter) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Insertion sort: a handful of parts, and equal ones keep their order. */
static void
sort_parts(const struct tb_buf *text, struct part *parts, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct part part = parts[i];
        size_t at = i;

        while (at > 0) {
            int order = compare_spans(text, parts[at - 1].name, part.name);

            if (order == 0) {
                order = compare_spans(text, parts[at - 1].value, part.value);
            }
            if (order <= 0) {
                break;
            }
            parts[at] = parts[at - 1];
            at--;
        }
        parts[at] = part;
    }
}

/* Canonical form of a query: encoded once, '=' always there, sorted by name and then value. */
static enum tb_err
put_query(struct tb_buf *out, const char *query, struct tb_fail *fail)
{
    struct part parts[MAX_QUERY_PARTS];
    struct tb_buf text = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    size_t count = 0;
    enum tb_err err = TB_OK;

    while (*query != '\0') {
        size_t len = strcspn(query, "&");
        size_t name = strcspn(query, "=&");

        if (len > 0) {
            if (count == MAX_QUERY_PARTS) {
                err = tb_fail_set(fail, TB_EINVAL, "more than %d query parameters",
                                  MAX_QUERY_PARTS);
                goto out;
            }
            parts[count].name = put_encoded_again(&text, query, name);
            parts[count].value =
                name < len ? put_encoded_again(&text, query + name + 1, len - name - 1)
                           : (struct span){0, 0};
            count++;
        }
        query += len;
        query += *query == '&';
    }
    err = tb_buf_check(&text, "query to sign", fail);
    if (err != TB_OK) {
        goto out;
    }
    sort_parts(&text, parts, count);
    for (size_t i = 0; i < count; i++) {
        tb_buf_put_str(out, i > 0 ? "&" : "");
        tb_buf_put(out, text.at + parts[i].name.at, parts[i].name.len);
        tb_buf_put_str(out, "=");
        tb_buf_put(out, text.at + parts[i].value.at, parts[i].value.len);
    }

out:
    tb_buf_release(&text);
    return err;
}

/* Takes "//", "." and ".." out, as every service but S3 does, into `out`. */
static void
put_plain_path(struct tb_buf *out, const char *path)
{
    bool slash_last = true;

    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        slash_last = true;
        if (len == 2 && memcmp(path, "..", 2) == 0) {
            while (out->len > 0 && out->at[--out->len] != '/') {
            }
        } else if (len > 0 && !(len == 1 && *path == '.')) {
            tb_buf_put_u8(out, '/');
            tb_buf_put(out, path, len);
            slash_last = path[len] == '/';
        }
        path += len;
        path += *path == '/';
    }
    if (out->len == 0 || slash_last) {
        tb_buf_put_u8(out, '/');
    }
}

static enum tb_err
put_path(struct tb_buf *out, const struct tb_sigv4_context *context, const char *path,
         struct tb_fail *fail)
{
    struct tb_buf plain = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    enum tb_err err = TB_OK;

    if (is_s3(context)) {
        tb_buf_put_str(out, path[0] != '\0' ? path : "/");
        return TB_OK;
    }
    put_plain_path(&plain, path);
    err = tb_buf_check(&plain, "path to sign", fail);
    if (err == TB_OK) {
        tb_buf_put_percent(out, tb_buf_view(&plain), true); /* the second encoding */
    }
    tb_buf_release(&plain);
    return err;
}

/* --- headers --- */

struct signed_headers {
    struct tb_http_header at[TB_HTTP_MAX_HEADERS + 1];
    size_t count;
};

/* `host` and the caller's, in a stable order by lower-case name. */
static enum tb_err
sort_headers(const struct tb_sigv4_request *request, struct signed_headers *out,
             struct tb_fail *fail)
{
    if (request->header_count > TB_HTTP_MAX_HEADERS) {
        return tb_fail_set(fail, TB_EINVAL, "%zu headers to sign", request->header_count);
    }
    out->at[0] = (struct tb_http_header){"host", request->host};
    out->count = 1;
    for (size_t i = 0; i < request->header_count; i++) {
        struct tb_http_header header = request->headers[i];
        size_t at = out->count++;

        while (at > 0 && strcasecmp(out->at[at - 1].name, header.name) > 0) {
            out->at[at] = out->at[at - 1];
            at--;
        }
        out->at[at] = header;
    }
    return TB_OK;
}

static void
put_lower(struct tb_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        tb_buf_put_u8(out, (uint8_t)tolower((unsigned char)*text));
    }
}

/* Trimmed, inner runs of white space as one space. */
static void
put_header_value(struct tb_buf *out, const char *value)
{
    bool gap = false, begun = false;

    for (; *value != '\0'; value++) {
        if (isspace((unsigned char)*value)) {
            gap = begun;
            continue;
        }
        if (gap) {
            tb_buf_put_u8(out, ' ');
        }
        tb_buf_put_u8(out, (uint8_t)*value);
        gap = false;
        begun = true;
    }
}

static bool
same_name_as_before(const struct signed_headers *headers, size_t i)
{
    return i > 0 && strcasecmp(headers->at[i].name, headers->at[i - 1].name) == 0;
}

static void
put_header_lines(struct tb_buf *out, const struct signed_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (same_name_as_before(headers, i)) {
            tb_buf_put_str(out, ",");
        } else {
            tb_buf_put_str(out, i > 0 ? "\n" : "");
            put_lower(out, headers->at[i].name);
            tb_buf_put_str(out, ":");
        }
        put_header_value(out, headers->at[i].value);
    }
    tb_buf_put_str(out, "\n");
}

static void
put_header_names(struct tb_buf *out, const struct signed_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (!same_name_as_before(headers, i)) {
            tb_buf_put_str(out, i > 0 ? ";" : "");
            put_lower(out, headers->at[i].name);
        }
    }
}

/* --- signing --- */

static void
put_scope(struct tb_buf *out, const struct tb_sigv4_context *context, const char *date)
{
    tb_buf_printf(out, "%.8s/%s/%s/aws4_request", date, context->region, context->service);
}

static enum tb_err
make_signature(const struct tb_sigv4_context *context, const char *date,
               struct tb_bytes to_sign, char out[TB_SHA256_HEX_SIZE], struct tb_fail *fail)
{
    struct tb_buf first = TB_BUF_INIT(4096);
    struct tb_sha256 key = {{0}};
    struct tb_bytes parts[] = {tb_bytes_of(date, 8), tb_bytes_str(context->region),
                               tb_bytes_str(context->service), tb_bytes_str("aws4_request"),
                               to_sign};
    struct tb_bytes with;
    enum tb_err err;

    tb_buf_put_str(&first, "AWS4");
    tb_buf_put_bytes(&first, tb_secret_view(&context->credentials->secret_key));
    err = tb_buf_check(&first, "secret key", fail);
    with = tb_buf_view(&first);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && err == TB_OK; i++) {
        struct tb_sha256 next;

        err = tb_hmac_sha256(with, parts[i], &next);
        if (err != TB_OK) {
            err = tb_fail_set(fail, err, "HMAC-SHA-256");
            break;
        }
        key = next;
        tb_wipe(&next, sizeof(next));
        with = tb_bytes_of(key.octets, sizeof(key.octets));
    }
    if (err == TB_OK) {
        tb_sha256_hex(out, &key);
    }
    tb_wipe(&key, sizeof(key));
    tb_wipe(first.at, first.cap);
    tb_buf_release(&first);
    return err;
}

/* From the canonical query on, both forms go the same way. */
static enum tb_err
sign(const struct tb_sigv4_context *context, const struct tb_sigv4_request *request,
     const struct signed_headers *headers, struct tb_bytes query, const char *date,
     struct tb_sigv4_trace *trace, char out[TB_SHA256_HEX_SIZE], struct tb_fail *fail)
{
    struct tb_buf canonical = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    struct tb_buf to_sign = TB_BUF_INIT(4096);
    struct tb_sha256 digest;
    char hex[TB_SHA256_HEX_SIZE];
    enum tb_err err;

    tb_buf_printf(&canonical, "%s\n", request->method);
    err = put_path(&canonical, context, request->path, fail);
    if (err != TB_OK) {
        goto out;
    }
    tb_buf_put_str(&canonical, "\n");
    tb_buf_put_bytes(&canonical, query);
    tb_buf_put_str(&canonical, "\n");
    put_header_lines(&canonical, headers);
    tb_buf_put_str(&canonical, "\n");
    put_header_names(&canonical, headers);
    tb_buf_printf(&canonical, "\n%s", request->payload_hash);
    err = tb_buf_check(&canonical, "request to sign", fail);
    if (err != TB_OK) {
        goto out;
    }
    err = tb_sha256(tb_buf_view(&canonical), &digest);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "SHA-256");
        goto out;
    }
    tb_sha256_hex(hex, &digest);
    tb_buf_printf(&to_sign, ALGORITHM "\n%s\n", date);
    put_scope(&to_sign, context, date);
    tb_buf_printf(&to_sign, "\n%s", hex);
    err = tb_buf_check(&to_sign, "string to sign", fail);
    if (err != TB_OK) {
        goto out;
    }
    err = make_signature(context, date, tb_buf_view(&to_sign), out, fail);
    if (err == TB_OK && trace != NULL) {
        tb_buf_put_bytes(&trace->canonical_request, tb_buf_view(&canonical));
        tb_buf_put_bytes(&trace->string_to_sign, tb_buf_view(&to_sign));
    }

out:
    tb_wipe(canonical.at, canonical.cap); /* session token */
    tb_buf_release(&canonical);
    tb_buf_release(&to_sign);
    return err;
}

enum tb_err
tb_sigv4_authorization(const struct tb_sigv4_context *context,
                       const struct tb_sigv4_request *request, struct tb_buf *out,
                       struct tb_sigv4_trace *trace, struct tb_fail *fail)
{
    struct tb_buf query = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    struct signed_headers headers = {.count = 0};
    char date[TB_TIME_TEXT_SIZE];
    char signature[TB_SHA256_HEX_SIZE];
    enum tb_err err;

    tb_time_format_compact(date, context->now_utc_s);
    err = sort_headers(request, &headers, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = put_query(&query, request->query, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = sign(context, request, &headers, tb_buf_view(&query), date, trace, signature, fail);
    if (err != TB_OK) {
        goto out;
    }
    tb_buf_printf(out, ALGORITHM " Credential=%s/", context->credentials->access_key_id);
    put_scope(out, context, date);
    tb_buf_put_str(out, ", SignedHeaders=");
    put_header_names(out, &headers);
    tb_buf_printf(out, ", Signature=%s", signature);
    err = tb_buf_check(out, "Authorization", fail);

out:
    tb_buf_release(&query);
    return err;
}

static enum tb_err
make_presign_query(const struct tb_sigv4_context *context,
                   const struct tb_sigv4_request *request, const struct signed_headers *headers,
                   const char *date, int64_t expires_s, struct tb_buf *out,
                   struct tb_fail *fail)
{
    struct tb_buf plain = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    struct tb_buf value = TB_BUF_INIT(4096);
    struct tb_bytes token = tb_secret_view(&context->credentials->session_token);
    enum tb_err err;

    tb_buf_put_str(&plain, request->query);
    tb_buf_put_str(&plain, request->query[0] != '\0' ? "&" : "");
    tb_buf_put_str(&plain, "X-Amz-Algorithm=" ALGORITHM "&X-Amz-Credential=");
    tb_buf_printf(&value, "%s/", context->credentials->access_key_id);
    put_scope(&value, context, date);
    tb_buf_put_percent(&plain, tb_buf_view(&value), false);
    tb_buf_printf(&plain, "&X-Amz-Date=%s&X-Amz-Expires=%lld&X-Amz-SignedHeaders=", date,
                  (long long)expires_s);
    tb_buf_reset(&value);
    put_header_names(&value, headers);
    tb_buf_put_percent(&plain, tb_buf_view(&value), false);
    if (token.len > 0) {
        tb_buf_put_str(&plain, "&X-Amz-Security-Token=");
        tb_buf_put_percent(&plain, token, false);
    }
    err = tb_buf_check(&value, "presigned query", fail);
    if (err == TB_OK) {
        err = put_query(out, tb_buf_str(&plain), fail);
    }
    tb_buf_release(&value);
    tb_buf_release(&plain);
    return err;
}

enum tb_err
tb_sigv4_presign(const struct tb_sigv4_context *context, const struct tb_sigv4_request *request,
                 int64_t expires_s, struct tb_buf *out, struct tb_fail *fail)
{
    struct tb_buf query = TB_BUF_INIT(CANONICAL_MAX_BYTES);
    struct signed_headers headers = {.count = 0};
    char date[TB_TIME_TEXT_SIZE];
    char signature[TB_SHA256_HEX_SIZE];
    enum tb_err err;

    if (expires_s < 1 || expires_s > MAX_PRESIGN_S) {
        return tb_fail_set(fail, TB_EINVAL, "a presigned URL lives 1 to %d seconds, not %lld",
                           MAX_PRESIGN_S, (long long)expires_s);
    }
    tb_time_format_compact(date, context->now_utc_s);
    err = sort_headers(request, &headers, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = make_presign_query(context, request, &headers, date, expires_s, &query, fail);
    if (err != TB_OK) {
        goto out;
    }
    err = sign(context, request, &headers, tb_buf_view(&query), date, NULL, signature, fail);
    if (err != TB_OK) {
        goto out;
    }
    tb_buf_printf(out, "%s?", request->path[0] != '\0' ? request->path : "/");
    tb_buf_put_bytes(out, tb_buf_view(&query));
    tb_buf_printf(out, "&X-Amz-Signature=%s", signature);
    err = tb_buf_check(out, "presigned URL", fail);

out:
    tb_buf_release(&query);
    return err;
}

/* The body of POST /v1/captures: every member checked, every refusal naming the member. */
#include <tapbox/request.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/json.h>

enum {
    SHOWN_VALUE = 60,   /* characters of an offending value that a refusal repeats */
    SNAPLEN_MIN = 64,   /* below it not even the headers of one packet are kept */
    DURATION_MIN_S = 1, /* the time box is counted in seconds */
};

/* The value as JSON, cut, for the sentence; octets outside of ASCII become '?'. */
static const char *
show(const struct tb_json *value, char out[SHOWN_VALUE + 4])
{
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES + 2);
    size_t len;

    if (tb_json_dump(value, false, &text, NULL) != TB_OK) {
        (void)tb_str_copy(out, SHOWN_VALUE + 4, "a value");
        tb_buf_release(&text);
        return out;
    }
    len = text.len < SHOWN_VALUE ? text.len : SHOWN_VALUE;
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)((text.at[i] & 0x80) != 0 ? '?' : text.at[i]);
    }
    out[len] = 0;
    if (text.len > len) {
        memcpy(out + len, "...", sizeof("..."));
    }
    tb_buf_release(&text);
    return out;
}

static enum tb_err
refuse(struct tb_fail *fail, const char *member, const struct tb_json *value,
       const char *allowed)
{
    char shown[SHOWN_VALUE + 4];

    return tb_fail_set(fail, TB_EINVAL, "%s: %s is not allowed: %s", member, show(value, shown),
                       allowed);
}

/* Text for people: no control characters, which would forge log lines and terminal output. */
static bool
is_plain_text(const char *text)
{
    for (; *text != 0; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum tb_err
read_text(const struct tb_json *value, const char *member, bool required, char *out, size_t cap,
          struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");
    char allowed[96];

    if (text == NULL || strlen(text) >= cap || !is_plain_text(text) ||
        (required && text[strspn(text, " ")] == 0)) {
        (void)snprintf(allowed, sizeof(allowed),
                       "text of up to %zu octets%s without control characters", cap - 1,
                       required ? ", not empty," : "");
        return refuse(fail, member, value, allowed);
    }
    (void)tb_str_copy(out, cap, text);
    return TB_OK;
}

static enum tb_err
read_count(const struct tb_json *value, const char *member, int64_t min, int64_t max,
           bool or_zero, uint64_t *out, struct tb_fail *fail)
{
    int64_t count;
    char allowed[96];

    if (!tb_json_int(value, "", &count) ||
        ((count < min || count > max) && !(or_zero && count == 0))) {
        (void)snprintf(allowed, sizeof(allowed),
                       "a whole number from %" PRId64 " to %" PRId64 "%s", min, max,
                       or_zero && min > 0 ? ", or 0 for no limit" : "");
        return refuse(fail, member, value, allowed);
    }
    *out = (uint64_t)count;
    return TB_OK;
}

static enum tb_err
read_duration(const struct tb_json *value, const struct tb_request_bounds *bounds, int64_t *out,
              struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");
    int64_t max_s = bounds->max_duration_ns / TB_NS_PER_S;
    int64_t ns = 0;
    int64_t s;
    char allowed[128];

    if (max_s > TB_CAPTURE_MAX_DURATION_S) {
        max_s = TB_CAPTURE_MAX_DURATION_S;
    }
    if (text != NULL) {
        if (tb_duration_parse(text, &ns) != TB_OK) {
            ns = 0;
        }
    } else if (tb_json_int(value, "", &s) && s > 0 && s <= max_s) {
        ns = s * TB_NS_PER_S;
    }
    if (ns < DURATION_MIN_S * TB_NS_PER_S || ns > max_s * TB_NS_PER_S) {
        (void)snprintf(allowed, sizeof(allowed),
                       "write \"90s\", \"15m\", \"2h\" or a number of seconds, at most %" PRId64
                       " seconds",
                       max_s);
        return refuse(fail, "duration", value, allowed);
    }
    *out = ns;
    return TB_OK;
}

static enum tb_err
add_source(const struct tb_json *value, const char *member, struct tb_capture_request *out,
           struct tb_fail *fail)
{
    const char *text = tb_json_str(value, "");

    if (text != NULL && tb_aws_id_valid(text, "eni-")) {
        for (size_t i = 0; i < out->eni_count; i++) {
            if (strcmp(out->enis[i], text) == 0) {
                return refuse(fail, member, value, "each interface is named once");
            }
        }
        if (out->eni_count == TB_CAPTURE_MAX_SOURCES) {
            return tb_fail_set(fail, TB_EINVAL,
                               "%s: more than %d interfaces are not allowed in one capture",
                               member, TB_CAPTURE_MAX_SOURCES);
        }
        (void)tb_str_copy(out->enis[out->eni_count++], TB_AWS_ID_SIZE, text);
        return TB_OK;
    }
    if (text != NULL && tb_aws_id_valid(text, "i-")) {
        if (out->instance[0] != 0) {
            return refuse(fail, member, value, "one capture taps one instance");
        }
        (void)tb_str_copy(out->instance, sizeof(out->instance), text);
        return TB_OK;
    }
    return refuse(
        fail, member, value,
        "an instance (i- and 8 or 17 hex digits) or an interface (eni- and the same)");
}

static enum tb_err
read_sources(const struct tb_json *value, struct tb_capture_request *out, struct tb_fail *fail)
{
    size_t count = tb_json_count(value);

    if (!tb_json_is_array(value) || count == 0) {
        return refuse(fail, "sources", value, "a list of interface ids");
    }
    for (size_t i = 0; i < count; i++) {
        enum tb_err err = add_source(tb_json_item(value, i), "sources", out, fail);

        if (err != TB_OK) {
            return err;
        }
    }
    return TB_OK;
}

static enum tb_err
read_member(const char *key, const struct tb_json *value,
            const struct tb_request_bounds *bounds, struct tb_capture_request *out,
            struct tb_fail *fail)
{
    uint64_t count = 0;
    enum tb_err err;

    if (strcmp(key, "source") == 0) {
        return add_source(value, key, out, fail);
    }
    if (strcmp(key, "sources") == 0) {
        return read_sources(value, out, fail);
    }
    if (strcmp(key, "account") == 0) {
        const char *text = tb_json_str(value, "");

        return text != NULL && tb_account_valid(text) &&
                       tb_str_copy(out->account, sizeof(out->account), text)
                   ? TB_OK
                   : refuse(fail, key, value, "an account id of 12 digits");
    }
    if (strcmp(key, "duration") == 0) {
        return read_duration(value, bounds, &out->duration_ns, fail);
    }
    if (strcmp(key, "reason") == 0) {
        return read_text(value, key, true, out->reason, sizeof(out->reason), fail);
    }
    if (strcmp(key, "case") == 0) {
        return read_text(value, key, false, out->case_id, sizeof(out->case_id), fail);
    }
    if (strcmp(key, "bpf") == 0) {
        return read_text(value, key, false, out->bpf, sizeof(out->bpf), fail);
    }
    if (strcmp(key, "filter") == 0) {
        const char *text = tb_json_str(value, "");

        return text != NULL && strcmp(text, "all") == 0
                   ? TB_OK
                   : refuse(fail, key, value, "the filter is \"all\"");
    }
    if (strcmp(key, "snaplen") == 0) {
        err = read_count(value, key, SNAPLEN_MIN, TB_SNAPLEN_MAX, true, &count, fail);
        if (err == TB_OK) {
            out->snaplen = (uint32_t)count;
        }
        return err;
    }
    if (strcmp(key, "max_bytes") == 0) {
        return read_count(value, key, 0, INT64_MAX, false, &out->max_bytes, fail);
    }
    if (strcmp(key, "max_packets") == 0) {
        return read_count(value, key, 0, INT64_MAX, false, &out->max_packets, fail);
    }
    /* The key is foreign text: shown through the same cut as values. */
    struct tb_json *shown_key = tb_json_array();
    char shown[SHOWN_VALUE + 4];

    tb_json_add_str(shown_key, key);
    err =
        tb_fail_set(fail, TB_EINVAL,
                    "%s: no such member (there are source, sources, account, duration, reason, "
                    "case, filter, bpf, snaplen, max_bytes, max_packets)",
                    show(tb_json_item(shown_key, 0), shown));
    tb_json_free(shown_key);
    return err;
}

static enum tb_err
read_body(const struct tb_json *body, const struct tb_request_bounds *bounds,
          struct tb_capture_request *out, struct tb_fail *fail)
{
    size_t count = tb_json_count(body);

    if (!tb_json_is_object(body)) {
        return tb_fail_set(fail, TB_EFORMAT, "the body is not a JSON object");
    }
    for (size_t i = 0; i < count; i++) {
        const char *key = NULL;
        const struct tb_json *value = tb_json_member(body, i, &key);
        enum tb_err err = read_member(key, value, bounds, out, fail);

        if (err != TB_OK) {
            return err;
        }
    }
    if (out->instance[0] == 0 && out->eni_count == 0) {
        return tb_fail_set(
            fail, TB_EINVAL,
            "source: missing (an instance \"i-...\" or an interface \"eni-...\")");
    }
    if (out->reason[0] == 0) {
        return tb_fail_set(fail, TB_EINVAL,
                           "reason: missing (say why: it stands in the evidence)");
    }
    return TB_OK;
}

enum tb_err
tb_capture_request_parse(struct tb_bytes body, const struct tb_request_bounds *bounds,
                         struct tb_capture_request *out, struct tb_fail *fail)
{
    struct tb_json *json = NULL;
    struct tb_capture_request made = {.duration_ns = bounds->default_duration_ns,
                                      .max_bytes = bounds->default_max_bytes,
                                      .max_packets = bounds->default_max_packets,
                                      .snaplen = bounds->default_snaplen};
    enum tb_err err = tb_json_parse(body, &json, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_filter_all(&made.filter, "");
    err = read_body(json, bounds, &made, fail);
    tb_json_free(json);
    if (err == TB_OK) {
        *out = made;
    }
    return err;
}

/* Bodies of senders without an adapter, read as their mapping says. */
#include "mapping_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/digest.h>
#include <tapbox/ids.h>
#include <tapbox/senders.h>
#include <tapbox/webhook_fields.h>

void
tb_words_release(struct tb_words *words)
{
    for (size_t i = 0; i < words->count; i++) {
        free(words->at[i]);
    }
    free(words->at);
    *words = (struct tb_words){0};
}

void
tb_senders_release(struct tb_senders *senders)
{
    for (size_t i = 0; i < senders->count; i++) {
        struct tb_sender *s = &senders->at[i];
        struct tb_words *const lists[] = {
            &s->match,  &s->sample,   &s->archived, &s->id,      &s->hash,       &s->type,
            &s->title,  &s->severity, &s->source,   &s->hosts,   &s->severities, &s->own,
            &s->region, &s->time,     &s->account,  &s->updated, &s->accounts};

        for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
            tb_words_release(lists[l]);
        }
        for (size_t k = 0; k < s->indicator_count; k++) {
            struct tb_sender_indicator *one = &s->indicators[k];

            tb_words_release(&one->ip);
            tb_words_release(&one->domain);
            tb_words_release(&one->port);
            tb_words_release(&one->local_port);
            tb_words_release(&one->protocol);
            tb_words_release(&one->direction);
        }
    }
    free(senders->at);
    *senders = (struct tb_senders){0};
}

const struct tb_sender *
tb_sender_find(const struct tb_senders *senders, const char *name)
{
    for (size_t i = 0; senders != NULL && i < senders->count; i++) {
        if (strcmp(senders->at[i].name, name) == 0) {
            return &senders->at[i];
        }
    }
    return NULL;
}

/* Whether all pairs of a pointer and a text fit; none never do. */
static bool
all_fit(const struct tb_words *pairs, const struct tb_json *body)
{
    for (size_t i = 0; i + 1 < pairs->count; i += 2) {
        const struct tb_json *at = tb_json_at(body, pairs->at[i]);
        char found[MAPPING_TEXT_SIZE];

        if (at == NULL || tb_json_is_null(at) ||
            (strcmp(pairs->at[i + 1], "*") != 0 &&
             (!mapping_scalar(at, found) || strcasecmp(pairs->at[i + 1], found) != 0))) {
            return false;
        }
    }
    return pairs->count > 0;
}

bool
tb_sender_recognises(const struct tb_sender *sender, const struct tb_json *body)
{
    return all_fit(&sender->match, body);
}

/* The second of the pair whose first is `text`. */
static const char *
look_up(const struct tb_words *pairs, const char *text)
{
    for (size_t i = 0; i + 1 < pairs->count; i += 2) {
        if (strcasecmp(pairs->at[i], text) == 0) {
            return pairs->at[i + 1];
        }
    }
    return NULL;
}

/* --- refusals --- */

/* "/a, /b": where it was looked for. */
static void
say_where(const struct tb_words *values, char *out, size_t cap)
{
    size_t used = 0;

    out[0] = 0;
    for (size_t i = 0; i < values->count && used + 1 < cap; i++) {
        (void)snprintf(out + used, cap - used, "%s%s", i > 0 ? ", " : "", values->at[i]);
        used += strlen(out + used);
    }
}

static enum tb_err
nothing_at(const struct tb_sender *sender, const char *member, const struct tb_words *values,
           struct tb_fail *fail)
{
    char where[200];

    say_where(values, where, sizeof(where));
    return tb_fail_set(fail, TB_EFORMAT, "sender %s: %s: there is nothing at %s", sender->name,
                       member, where);
}

static enum tb_err
wrong_at(const struct tb_sender *sender, const char *member, const struct tb_words *values,
         const char *found, const char *wanted, struct tb_fail *fail)
{
    char where[160];

    say_where(values, where, sizeof(where));
    return tb_fail_set(fail, TB_EFORMAT, "sender %s: %s: '%.60s' at %s is not %s", sender->name,
                       member, found, where, wanted);
}

/* --- members --- */

/* An id that has blanks or is long is replaced by its digest. */
static enum tb_err
digest_id(const char *text, size_t len, struct tb_alert *out, struct tb_fail *fail)
{
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    enum tb_err err = tb_sha256(tb_bytes_of((const uint8_t *)text, len), &digest);

    if (err != TB_OK) {
        return tb_fail_set(fail, err, "SHA-256 of an alert's id failed");
    }
    tb_sha256_hex(hex, &digest);
    (void)snprintf(out->id, sizeof(out->id), "sha256:%s", hex);
    return TB_OK;
}

/* What has no id is known by what its fields say: each with its length, so that no two sets of
 * fields look alike. */
static enum tb_err
hash_fields(const struct tb_sender *sender, const struct tb_json *body, struct tb_alert *out,
            struct tb_fail *fail)
{
    struct tb_buf all = TB_BUF_INIT(64 * (MAPPING_TEXT_SIZE + 16));
    bool any = false;
    enum tb_err err = TB_OK;

    for (size_t i = 0; err == TB_OK && i < sender->hash.count; i++) {
        char found[MAPPING_TEXT_SIZE];
        bool one = false;

        err = mapping_evaluate_whole(sender->hash.at[i], body, found, &one, fail);
        any = any || one;
        tb_buf_printf(&all, "%zu:%s", strlen(found), found);
    }
    if (err == TB_OK) {
        err = any ? tb_buf_check(&all, "the fields of hash", fail)
                  : nothing_at(sender, "hash", &sender->hash, fail);
    }
    if (err == TB_OK) {
        err = digest_id(tb_buf_str(&all), all.len, out, fail);
    }
    tb_buf_release(&all);
    return err;
}

/* Of a value that has no room in a key the digest, since two of them may begin alike; "": none.
 */
static enum tb_err
read_updated(const struct tb_sender *sender, const struct tb_json *body,
             char out[TB_WEBHOOK_STAMP_SIZE], struct tb_fail *fail)
{
    char found[MAPPING_TEXT_SIZE];
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    bool any = false;
    enum tb_err err = TB_OK;

    out[0] = 0;
    for (size_t i = 0; err == TB_OK && !any && i < sender->updated.count; i++) {
        err = mapping_evaluate_whole(sender->updated.at[i], body, found, &any, fail);
    }
    if (err != TB_OK || !any) {
        return err;
    }
    if (strlen(found) < TB_WEBHOOK_STAMP_SIZE) {
        tb_webhook_stamp(out, found);
        return TB_OK;
    }
    if (tb_sha256(tb_bytes_str(found), &digest) != TB_OK) {
        return tb_fail_set(fail, TB_EIO, "SHA-256 of an alert's field failed");
    }
    tb_sha256_hex(hex, &digest);
    (void)snprintf(out, TB_WEBHOOK_STAMP_SIZE, "sha256:%.56s", hex);
    return TB_OK;
}

static enum tb_err
read_id(const struct tb_sender *sender, const struct tb_json *body, struct tb_alert *out,
        struct tb_fail *fail)
{
    enum {
        ID_MAX = 190 /* of the 255 of a key, which holds the time of an update as well */
    };
    char found[MAPPING_TEXT_SIZE];
    char updated[TB_WEBHOOK_STAMP_SIZE];
    bool has_id = false;
    enum tb_err err = TB_OK;

    for (size_t i = 0; err == TB_OK && !has_id && i < sender->id.count; i++) {
        err = mapping_evaluate_whole(sender->id.at[i], body, found, &has_id, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    if (has_id) {
        if (strlen(found) > ID_MAX || !tb_webhook_name(out->id, sizeof(out->id), found)) {
            err = digest_id(found, strlen(found), out, fail);
        }
    } else if (sender->hash.count > 0) {
        err = hash_fields(sender, body, out, fail);
    } else {
        err = nothing_at(sender, "id", &sender->id, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    err = read_updated(sender, body, updated, fail);
    (void)snprintf(out->key, sizeof(out->key), "%.*s%s%s", ID_MAX, out->id,
                   updated[0] != 0 ? "/" : "", updated);
    return err;
}

static enum tb_err
read_severity(const struct tb_sender *sender, const struct tb_json *body, double *out,
              struct tb_fail *fail)
{
    char found[MAPPING_TEXT_SIZE];
    const char *number;
    char *end = NULL;
    double value;

    if (!mapping_first_of(&sender->severity, body, found)) {
        return TB_OK; /* unknown */
    }
    number = look_up(&sender->severities, found);
    if (number != NULL) {
        *out = strtod(number, NULL);
        return TB_OK;
    }
    value = strtod(found, &end) / (sender->severity_most > 0 ? sender->severity_most / 10 : 1);
    if (end != found && *end == 0 && value >= 0 && value <= 10) {
        *out = value;
        return TB_OK;
    }
    number = look_up(&sender->severities, "*");
    if (number == NULL) {
        return wrong_at(sender, "severity", &sender->severity, found,
                        "one of its severities, nor a number within its scale", fail);
    }
    *out = strtod(number, NULL);
    return TB_OK;
}

/* Whole numbers exactly, since a double has room for milliseconds only. */
static int64_t
from_epoch(const char *text)
{
    static const struct {
        double least;
        int64_t ns;
    } units[] = {{1e17, 1}, {1e14, 1000}, {1e11, TB_NS_PER_MS}, {0, TB_NS_PER_S}};
    const bool whole = strspn(text, "0123456789") == strlen(text) && strlen(text) <= 19;
    char *end = NULL;
    double value = strtod(text, &end);

    for (size_t i = 0; *end == 0 && isfinite(value) && i < sizeof(units) / sizeof(units[0]);
         i++) {
        double utc_ns = value * (double)units[i].ns;

        if (value < units[i].least) {
            continue;
        }
        if (!(utc_ns > 0 && utc_ns < 9.2e18)) {
            break;
        }
        return whole ? strtoll(text, NULL, 10) * units[i].ns : (int64_t)utc_ns;
    }
    return 0;
}

/* RFC 3339, the same with "+0000", or seconds, milli-, micro- or nanoseconds since 1970 (whose
 * magnitudes do not overlap in this century). */
static int64_t
read_time(const char *text)
{
    char fixed[64];
    size_t len = strlen(text);
    int64_t utc_ns = tb_webhook_time(text);

    if (utc_ns != 0 || len < 6 || len + 2 > sizeof(fixed)) {
        return utc_ns;
    }
    if (strchr("+-", text[len - 5]) != NULL && text[len - 3] != ':') {
        (void)snprintf(fixed, sizeof(fixed), "%.*s:%s", (int)(len - 2), text, text + len - 2);
        utc_ns = tb_webhook_time(fixed);
    }
    return utc_ns != 0 ? utc_ns : from_epoch(text);
}

/* --- sources --- */

static bool
take_source(const struct tb_sender *sender, const char *found, struct tb_alert *out)
{
    const char *id = look_up(&sender->hosts, found);
    struct tb_alert_source s = {0};

    if (id == NULL) {
        id = found;
    }
    if (!tb_webhook_find_id(id, "eni-", s.eni) && !tb_webhook_find_id(id, "i-", s.instance)) {
        return false;
    }
    s.seen_here = s.eni[0] != 0;
    tb_webhook_add_source(out, &s);
    return true;
}

enum {
    VALUES_MAX = 1000 /* of one list that are looked at for sources */
};

static void
read_sources(const struct tb_sender *sender, const struct tb_json *body, struct tb_alert *out)
{
    char found[MAPPING_TEXT_SIZE];
    char other[MAPPING_TEXT_SIZE] = "";
    char where[160];

    for (size_t v = 0; v < sender->source.count && out->source_count == 0; v++) {
        for (size_t i = 0; mapping_evaluate(sender->source.at[v], body, i, found); i++) {
            if (i == VALUES_MAX) {
                out->sources_left_out++; /* at least */
                break;
            }
            if (!take_source(sender, found, out) && other[0] == 0) {
                (void)tb_str_copy(other, sizeof(other), found);
            }
        }
    }
    if (out->source_count > 0) {
        return;
    }
    say_where(&sender->source, where, sizeof(where));
    if (other[0] == 0) {
        (void)snprintf(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                       "sender %s: source: there is nothing at %s", sender->name, where);
    } else {
        (void)snprintf(out->nothing_to_mirror, sizeof(out->nothing_to_mirror),
                       "sender %s: source: '%.60s' names no instance or interface, and is none "
                       "of its hosts",
                       sender->name, other);
    }
}

/* --- indicators --- */

static uint32_t
read_port(const struct tb_words *values, const struct tb_json *body)
{
    char found[MAPPING_TEXT_SIZE];
    unsigned long port;
    char *end = NULL;

    if (!mapping_first_of(values, body, found) || found[0] < '0' || found[0] > '9') {
        return 0;
    }
    port = strtoul(found, &end, 10);
    return *end == 0 && port <= 65535 ? (uint32_t)port : 0;
}

static void
read_direction(const struct tb_words *values, const struct tb_json *body, char out[16])
{
    static const struct {
        const char *word, *ours;
    } words[] = {{"inbound", "inbound"},   {"in", "inbound"},       {"ingress", "inbound"},
                 {"outbound", "outbound"}, {"out", "outbound"},     {"egress", "outbound"},
                 {"incoming", "inbound"},  {"outgoing", "outbound"}};
    char found[MAPPING_TEXT_SIZE];

    (void)mapping_first_of(values, body, found);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(words[i].word, found) == 0) {
            (void)tb_str_copy(out, 16, words[i].ours);
        }
    }
}

static void
read_indicator(const struct tb_sender *sender, const struct tb_sender_indicator *how,
               const struct tb_json *body, struct tb_alert *out)
{
    struct tb_indicator more = {.port = read_port(&how->port, body),
                                .local_port = read_port(&how->local_port, body),
                                .on_wire = true};
    char found[MAPPING_TEXT_SIZE];

    if (mapping_first_of(&how->protocol, body, found)) {
        (void)tb_webhook_lower_name(more.protocol, sizeof(more.protocol), found);
    }
    read_direction(&how->direction, body, more.direction);
    for (size_t v = 0; v < how->ip.count; v++) {
        for (size_t i = 0;
             i <= TB_ALERT_MAX_INDICATORS && mapping_evaluate(how->ip.at[v], body, i, found);
             i++) {
            if (!mapping_is_within(found, &sender->own)) {
                (void)tb_webhook_add_address(out, found, &more);
            }
        }
    }
    for (size_t v = 0; v < how->domain.count; v++) {
        for (size_t i = 0; i <= TB_ALERT_MAX_INDICATORS &&
                           mapping_evaluate(how->domain.at[v], body, i, found);
             i++) {
            (void)tb_webhook_add_domain(out, found, &more);
        }
    }
}

/* --- all of it --- */

static enum tb_err
read_place(const struct tb_sender *sender, const struct tb_json *body, struct tb_alert *out,
           struct tb_fail *fail)
{
    char found[MAPPING_TEXT_SIZE];

    if (mapping_first_of(&sender->account, body, found)) {
        if (!tb_account_valid(found)) {
            return wrong_at(sender, "account", &sender->account, found, "12 digits", fail);
        }
        (void)tb_str_copy(out->account, sizeof(out->account), found);
    }
    if (mapping_first_of(&sender->region, body, found)) {
        (void)tb_webhook_name(out->region, sizeof(out->region), found);
    }
    return TB_OK;
}

enum tb_err
tb_sender_read(const struct tb_sender *sender, const struct tb_json *body, struct tb_alert *out,
               struct tb_fail *fail)
{
    struct tb_alert alert = {.adapter = ""};
    char found[MAPPING_TEXT_SIZE];
    enum tb_err err;

    (void)tb_str_copy(alert.adapter, sizeof(alert.adapter), sender->name);
    err = read_id(sender, body, &alert, fail);
    if (err == TB_OK && !mapping_first_of(&sender->type, body, found)) {
        err = nothing_at(sender, "type", &sender->type, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    tb_webhook_clean_text(alert.type, sizeof(alert.type), found);
    err = read_severity(sender, body, &alert.severity, fail);
    if (err == TB_OK) {
        err = read_place(sender, body, &alert, fail);
    }
    if (err != TB_OK) {
        return err;
    }
    if (mapping_first_of(&sender->title, body, found)) {
        tb_webhook_clean_text(alert.summary, sizeof(alert.summary), found);
    }
    if (mapping_first_of(&sender->time, body, found)) {
        alert.seen_utc_ns = read_time(found);
        alert.created_utc_ns = alert.updated_utc_ns = alert.seen_utc_ns;
    }
    alert.sample = all_fit(&sender->sample, body);
    alert.archived = all_fit(&sender->archived, body);
    (void)tb_str_copy(alert.resource, sizeof(alert.resource), "instance");
    read_sources(sender, body, &alert);
    for (size_t i = 0; i < sender->indicator_count; i++) {
        read_indicator(sender, &sender->indicators[i], body, &alert);
    }
    *out = alert;
    return TB_OK;
}

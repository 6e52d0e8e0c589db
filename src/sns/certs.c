/*
 * Certificates of SNS: fetched once for all who want the same one, kept for a day, and looked
 * at anew for each message.
 *
 * Anybody who reaches the port may name a URL, so what this costs is bounded: a URL that failed
 * is not asked for again at once, URLs that nobody knew yet are asked for at a bounded rate,
 * and a good certificate never gives way to a bad URL.
 *
 * SNS hands out the certificate alone, without that of its issuer; where to get this one stands
 * in it (caIssuers), as browsers know.
 */
#include "sns_int.h"

#include <stdio.h>

#include <tapbox/log.h>

static const int64_t kept_ns = 24 * 3600 * TB_NS_PER_S;
static const int64_t refresh_again_ns = 300 * TB_NS_PER_S; /* the old one is good meanwhile */
/* shorter than SNS's own pause of 20 s, so that its next try is not refused by the last one */
static const int64_t failed_again_ns = 10 * TB_NS_PER_S;
static const int64_t flawed_again_ns = 60 * TB_NS_PER_S;
static const int64_t fetch_ns = 5 * TB_NS_PER_S; /* SNS waits for 15 s, for all of it */
static const int64_t issuer_ns = 3 * TB_NS_PER_S;
static const int64_t connect_ns = 3 * TB_NS_PER_S;
static const int64_t wait_ns = 12 * TB_NS_PER_S;
/* of URLs that nobody knew: as many at once, and one each */
static const int64_t budget_each_ns = TB_NS_PER_S;
enum {
    BUDGET_AT_ONCE = 24,
    MAX_ISSUERS = 2 /* fetched; Amazon's authorities have one between root and leaf */
};

void
sns_certs_init(struct sns_certs *certs, struct tb_http_client *http,
               const struct tb_trust *trust, const atomic_bool *stop)
{
    certs->http = http;
    certs->trust = trust;
    certs->stop = stop;
    tb_mutex_init(&certs->mu);
    tb_cond_init(&certs->fetched);
}

void
sns_certs_release(struct sns_certs *certs)
{
    for (size_t i = 0; i < SNS_MAX_CERTS; i++) {
        tb_cert_free(certs->locked.entries[i].cert);
    }
    tb_cond_release(&certs->fetched);
    tb_mutex_release(&certs->mu);
}

/* --- fetching --- */

static enum tb_err
flawed(enum tb_sns_result *out_flaw, enum tb_sns_result flaw, enum tb_err err)
{
    *out_flaw = flaw;
    return err;
}

static enum tb_err
fetch(struct sns_certs *certs, const char *url, int64_t total_ns, struct tb_buf *out,
      enum tb_sns_result *out_flaw, struct tb_fail *fail)
{
    struct tb_http_request request = {.method = "GET",
                                      .url = url,
                                      .body_fd = -1,
                                      .connect_timeout_ns = connect_ns,
                                      .total_timeout_ns = total_ns,
                                      .stop = certs->stop};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(TB_CERT_FILE_MAX_BYTES);
    int64_t until = tb_clock_boot_ns() + total_ns;
    enum tb_err err = tb_http_do(certs->http, &request, &answer, fail);

    if (err == TB_ETOOBIG) {
        err = flawed(out_flaw, TB_SNS_CERT_TOO_LARGE, TB_ERETRY);
    } else if (err != TB_OK) {
        err =
            flawed(out_flaw,
                   tb_clock_boot_ns() >= until ? TB_SNS_CERT_TIMEOUT : TB_SNS_CERT_UNAVAILABLE,
                   TB_ERETRY);
    } else if (answer.status != 200) {
        bool redirect = answer.status >= 300 && answer.status < 400;

        err = flawed(out_flaw, redirect ? TB_SNS_CERT_REDIRECTED : TB_SNS_CERT_UNAVAILABLE,
                     TB_ERETRY);
        (void)tb_fail_set(fail, err, "%s answers with status %d%s", url, answer.status,
                          redirect ? ", which is not followed" : "");
    } else {
        tb_buf_put_bytes(out, tb_buf_view(&answer.body));
        err = tb_buf_check(out, "a certificate", fail);
    }
    tb_http_answer_release(&answer);
    return err;
}

static enum tb_err
judge(struct sns_certs *certs, const struct tb_cert *cert, const char *name,
      enum tb_sns_result *out_flaw, struct tb_fail *fail)
{
    enum tb_err err =
        tb_cert_judge(cert, certs->trust, name, tb_clock_utc_ns() / TB_NS_PER_S, fail);

    switch (err) {
    case TB_OK:
        return TB_OK;
    case TB_EINVAL:
        return flawed(out_flaw, TB_SNS_CERT_WRONG_NAME, TB_EDENIED);
    case TB_EEXPIRED:
        return flawed(out_flaw, TB_SNS_CERT_EXPIRED, TB_EDENIED);
    case TB_ENOMEM:
        return flawed(out_flaw, TB_SNS_CERT_UNAVAILABLE, TB_ERETRY);
    default:
        *out_flaw = TB_SNS_CERT_UNTRUSTED;
        return err == TB_ENOTFOUND ? TB_ENOTFOUND : TB_EDENIED;
    }
}

/* Judges it, with the help of issuers that are fetched. */
static enum tb_err
judge_with_issuers(struct sns_certs *certs, struct tb_cert *cert, const char *name,
                   enum tb_sns_result *out_flaw, struct tb_fail *fail)
{
    char url[SNS_URL_SIZE];
    enum tb_err err = judge(certs, cert, name, out_flaw, fail);

    for (int i = 0; err == TB_ENOTFOUND && i < MAX_ISSUERS; i++) {
        struct tb_buf octets = TB_BUF_INIT(TB_CERT_FILE_MAX_BYTES);

        if (!tb_cert_issuer_url(cert, url, sizeof(url)) || !tb_sns_issuer_url_valid(url)) {
            break;
        }
        err = fetch(certs, url, issuer_ns, &octets, out_flaw, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "the certificate's issuer");
            *out_flaw = TB_SNS_CERT_UNAVAILABLE;
        } else if (tb_cert_add(cert, tb_buf_view(&octets), fail) != TB_OK) {
            err = flawed(out_flaw, TB_SNS_CERT_UNTRUSTED, TB_EDENIED);
        } else {
            err = judge(certs, cert, name, out_flaw, fail);
        }
        tb_buf_release(&octets);
    }
    return err == TB_ENOTFOUND ? TB_EDENIED : err;
}

static enum tb_err
fetch_cert(struct sns_certs *certs, const char *url, const char *name, struct tb_cert **out,
           enum tb_sns_result *out_flaw, struct tb_fail *fail)
{
    struct tb_buf pem = TB_BUF_INIT(TB_CERT_FILE_MAX_BYTES);
    struct tb_cert *cert = NULL;
    enum tb_err err = fetch(certs, url, fetch_ns, &pem, out_flaw, fail);

    if (err == TB_OK) {
        err = tb_cert_parse(tb_buf_view(&pem), &cert, fail);
        if (err != TB_OK) {
            err = flawed(out_flaw, TB_SNS_CERT_MALFORMED, TB_ERETRY);
        }
    }
    if (err == TB_OK) {
        err = judge_with_issuers(certs, cert, name, out_flaw, fail);
    }
    tb_buf_release(&pem);
    if (err != TB_OK) {
        if (fail != NULL) {
            fail->err = err;
        }
        tb_cert_free(cert);
        return err;
    }
    *out = cert;
    return TB_OK;
}

/* --- keeping --- */

static struct sns_entry *
find_locked(struct sns_certs *certs, const char *url) TB_REQUIRES(certs->mu)
{
    for (size_t i = 0; i < SNS_MAX_CERTS; i++) {
        if (strcmp(certs->locked.entries[i].url, url) == 0) {
            return &certs->locked.entries[i];
        }
    }
    return NULL;
}

/* A place for a new URL: a free one, else that of the URL without a certificate that was used
 * longest ago, else of any.  NULL: all are being fetched. */
static struct sns_entry *
place_locked(struct sns_certs *certs) TB_REQUIRES(certs->mu)
{
    struct sns_entry *best = NULL;

    for (size_t i = 0; i < SNS_MAX_CERTS; i++) {
        struct sns_entry *one = &certs->locked.entries[i];

        if (one->url[0] == 0) {
            return one;
        }
        if (one->fetching) {
            continue;
        }
        if (best == NULL || (one->cert == NULL && best->cert != NULL) ||
            ((one->cert == NULL) == (best->cert == NULL) &&
             one->used_boot_ns < best->used_boot_ns)) {
            best = one;
        }
    }
    return best;
}

/* Whether one more unknown URL may be asked for now; then it is paid for. */
static bool
afford_locked(struct sns_certs *certs, int64_t now) TB_REQUIRES(certs->mu)
{
    int64_t first = now - BUDGET_AT_ONCE * budget_each_ns;
    int64_t paid = certs->locked.budget_boot_ns < first ? first : certs->locked.budget_boot_ns;

    if (paid + budget_each_ns > now) {
        return false;
    }
    certs->locked.budget_boot_ns = paid + budget_each_ns;
    return true;
}

/* What is known of this URL now.  True: *err, and a certificate held for the caller or the
 * flaw; false: it has to be fetched. */
static bool
known_locked(struct sns_entry *entry, int64_t now, struct tb_cert **out,
             enum tb_sns_result *out_flaw, enum tb_err *err, struct tb_fail *fail)
{
    /* (an old one does while a thread fetches the new one) */
    if (now >= entry->again_boot_ns && !(entry->fetching && entry->cert != NULL)) {
        return false;
    }
    entry->used_boot_ns = now;
    *err = TB_OK;
    if (entry->cert != NULL) {
        *out = tb_cert_hold(entry->cert);
    } else {
        *out_flaw = entry->flaw;
        *err = entry->why.err;
        if (fail != NULL) {
            *fail = entry->why;
        }
    }
    return true;
}

/* Takes `fresh` over, and puts what came of a fetch into the entry. */
static void
keep_locked(struct sns_entry *entry, enum tb_err err, struct tb_cert *fresh,
            enum tb_sns_result flaw, const struct tb_fail *why)
{
    int64_t now = tb_clock_boot_ns();

    entry->fetching = false;
    entry->used_boot_ns = now;
    if (err == TB_OK) {
        tb_cert_free(entry->cert);
        entry->cert = fresh;
        entry->again_boot_ns = now + kept_ns;
    } else if (entry->cert != NULL && err == TB_ERETRY) {
        entry->again_boot_ns = now + refresh_again_ns;
        tb_log_fail(TB_LOG_WARN, NULL, why, "the certificate of SNS at hand is used on");
    } else {
        tb_cert_free(entry->cert);
        entry->cert = NULL;
        entry->again_boot_ns = now + (err == TB_ERETRY ? failed_again_ns : flawed_again_ns);
        entry->flaw = flaw;
        entry->why = *why;
    }
}

/* The entry that this thread is to fetch for; else NULL, and *err is the end of it. */
static struct sns_entry *
begin_locked(struct sns_certs *certs, const char *url, int64_t now,
             enum tb_sns_result *out_flaw, enum tb_err *err, struct tb_fail *fail)
    TB_REQUIRES(certs->mu)
{
    struct sns_entry *entry = find_locked(certs, url);

    if (entry == NULL) {
        entry = afford_locked(certs, now) ? place_locked(certs) : NULL;
        if (entry == NULL) {
            *err = flawed(out_flaw, TB_SNS_CERT_UNAVAILABLE, TB_ERETRY);
            (void)tb_fail_set(fail, *err,
                              "too many certificates are asked for that nobody knew before");
            return NULL;
        }
        tb_cert_free(entry->cert);
        *entry = (struct sns_entry){.used_boot_ns = now};
        (void)tb_str_copy(entry->url, sizeof(entry->url), url);
    }
    entry->fetching = true;
    return entry;
}

/* The certificate, held; without looking at it. */
static enum tb_err
get(struct sns_certs *certs, const char *url, const char *name, bool may_fetch,
    struct tb_cert **out, enum tb_sns_result *out_flaw, bool *out_needs_fetch,
    struct tb_fail *fail)
{
    int64_t until = tb_clock_boot_ns() + wait_ns;
    struct sns_entry *entry = NULL;
    struct tb_cert *fresh = NULL;
    struct tb_fail why = {0};
    enum tb_err err = TB_OK;

    tb_mutex_lock(&certs->mu);
    for (;;) {
        int64_t now = tb_clock_boot_ns();

        entry = find_locked(certs, url);
        if (entry != NULL && known_locked(entry, now, out, out_flaw, &err, fail)) {
            break;
        }
        if (!may_fetch) {
            *out_needs_fetch = true;
            err = flawed(out_flaw, TB_SNS_CERT_UNAVAILABLE, TB_ERETRY);
            break;
        }
        if (entry == NULL || !entry->fetching) {
            entry = begin_locked(certs, url, now, out_flaw, &err, fail);
            if (entry == NULL) {
                break;
            }
            tb_mutex_unlock(&certs->mu);
            err = fetch_cert(certs, url, name, &fresh, out_flaw, &why);
            tb_mutex_lock(&certs->mu);
            keep_locked(entry, err, fresh, *out_flaw, &why);
            tb_cond_broadcast(&certs->fetched);
            continue; /* it is known now */
        }
        if (now >= until) {
            err = flawed(out_flaw, TB_SNS_CERT_TIMEOUT, TB_ERETRY);
            (void)tb_fail_set(fail, err, "%s is being fetched for too long", url);
            break;
        }
        (void)tb_cond_wait_for(&certs->fetched, &certs->mu, until - now);
    }
    tb_mutex_unlock(&certs->mu);
    return err;
}

enum tb_err
sns_certs_get(struct sns_certs *certs, const char *url, const char *name, bool may_fetch,
              struct tb_cert **out, enum tb_sns_result *out_flaw, bool *out_needs_fetch,
              struct tb_fail *fail)
{
    struct tb_cert *cert = NULL;
    enum tb_err err = get(certs, url, name, may_fetch, &cert, out_flaw, out_needs_fetch, fail);

    if (err == TB_OK) {
        err = judge(certs, cert, name, out_flaw, fail);
    }
    if (err != TB_OK) {
        tb_cert_free(cert);
        return err == TB_ENOTFOUND ? TB_EDENIED : err;
    }
    *out = cert;
    return TB_OK;
}

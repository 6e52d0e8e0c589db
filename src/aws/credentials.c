/*
 * The chain of credential sources, and the present credentials of the process.
 *
 * One thread at a time refreshes, without holding the lock; the others go on with what is
 * there. The source that gave credentials is asked first for the next ones.
 */
#include "aws_int.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/digest.h>
#include <tapbox/io.h>

enum {
    AHEAD_S = 15 * 60, /* fewer left: one caller refreshes, a failure does not matter yet */
    AGAIN_S = 30,      /* no sooner after a refresh, plus a random part of as much */
    WHY_MAX = 120      /* characters of each source's reason */
};

/* Another source is a file with one function, and a row here. */
static const struct source {
    const char *name;
    tb_aws_source_fn *load;
} chain[] = {
    {"environment", tb_aws_credentials_from_environment},
    {"role", tb_aws_credentials_from_role},
    {"web identity", tb_aws_credentials_from_web_identity},
    {"shared files", tb_aws_credentials_from_files},
    {"process", tb_aws_credentials_from_process},
    {"container", tb_aws_credentials_from_container},
    {"instance metadata", tb_aws_credentials_from_imds},
};
enum {
    SOURCES = sizeof(chain) / sizeof(chain[0])
};

struct tb_aws_credential_provider {
    struct tb_aws_reach reach;      /* set once, as the two below */
    tb_aws_own_source_fn *own_load; /* instead of the chain; NULL: the chain */
    void *own_arg;
    struct tb_mutex mu;
    struct tb_cond refreshed;
    struct { /* touched only while holding mu */
        struct tb_aws_credentials now;
        bool have;
        bool stale;      /* a service said so */
        bool refreshing; /* by some thread */
        int64_t again_utc_s;
        const struct source *from; /* where `now` came from */
    } locked;
};

void
tb_aws_credentials_release(struct tb_aws_credentials *credentials)
{
    tb_secret_release(&credentials->secret_key);
    tb_secret_release(&credentials->session_token);
    tb_wipe(credentials, sizeof(*credentials));
}

const char *
tb_aws_variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

enum tb_err
tb_aws_take_token(struct tb_bytes text, const char *where, struct tb_secret *out,
                  struct tb_fail *fail)
{
    enum tb_err err;

    while (text.len > 0 && isspace(text.at[text.len - 1])) {
        text.len--;
    }
    if (text.len == 0) {
        return tb_fail_set(fail, TB_EDENIED, "%.200s is empty", where);
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < ' ' || text.at[i] >= 0x7f) {
            return tb_fail_set(fail, TB_EDENIED, "%.200s is not one line of text", where);
        }
    }
    err = tb_secret_set(out, text);
    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "%.200s", where);
}

enum tb_err
tb_aws_read_token(const char *path, struct tb_secret *out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CREDENTIALS_TOKEN_MAX_BYTES);
    enum tb_err err = tb_read_file(AT_FDCWD, path, &text, fail);

    if (err == TB_OK) {
        err = tb_aws_take_token(tb_buf_view(&text), path, out, fail);
    } else if (err == TB_ENOTFOUND) {
        err = TB_EDENIED; /* somebody said that it is there: the chain ends here */
    }
    tb_wipe(text.at, text.cap);
    tb_buf_release(&text);
    return err;
}

/* What stands in a header must not end it. */
static bool
is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f) {
            return false;
        }
    }
    return true;
}

enum tb_err
tb_aws_credentials_fill(struct tb_aws_credentials *out, const char *access_key_id,
                        const char *secret_key, const char *token, const char *source,
                        struct tb_fail *fail)
{
    struct tb_aws_credentials credentials = {.source = source};
    enum tb_err err;

    if (access_key_id == NULL || access_key_id[0] == '\0' || secret_key == NULL ||
        secret_key[0] == '\0') {
        return tb_fail_set(fail, TB_EDENIED, "the %s is missing",
                           access_key_id == NULL || access_key_id[0] == '\0'
                               ? "access key id"
                               : "secret access key");
    }
    if (!is_printable(access_key_id) || !is_printable(secret_key) ||
        (token != NULL && !is_printable(token)) ||
        !tb_str_copy(credentials.access_key_id, sizeof(credentials.access_key_id),
                     access_key_id)) {
        return tb_fail_set(fail, TB_EDENIED, "a key is too long or has a space in it");
    }
    err = tb_secret_set(&credentials.secret_key, tb_bytes_str(secret_key));
    if (err == TB_OK && token != NULL && token[0] != '\0') {
        err = tb_secret_set(&credentials.session_token, tb_bytes_str(token));
    }
    if (err != TB_OK) {
        tb_aws_credentials_release(&credentials);
        return tb_fail_set(fail, err, "credentials");
    }
    *out = credentials;
    return TB_OK;
}

enum tb_err
tb_aws_credentials_copy(const struct tb_aws_credentials *from, struct tb_aws_credentials *out,
                        struct tb_fail *fail)
{
    enum tb_err err = tb_aws_credentials_fill(out, from->access_key_id, from->secret_key.text,
                                              from->session_token.text, from->source, fail);

    if (err == TB_OK) {
        out->expires_utc_s = from->expires_utc_s;
    }
    return err;
}

static enum tb_err
make_provider(const struct tb_aws_reach *reach, tb_aws_own_source_fn *own_load, void *own_arg,
              struct tb_aws_credential_provider **out, struct tb_fail *fail)
{
    struct tb_aws_credential_provider *provider = calloc(1, sizeof(*provider));

    if (provider == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "credential chain");
    }
    if (reach != NULL) {
        provider->reach = *reach;
    }
    provider->own_load = own_load;
    provider->own_arg = own_arg;
    tb_mutex_init(&provider->mu);
    tb_cond_init(&provider->refreshed);
    *out = provider;
    return TB_OK;
}

enum tb_err
tb_aws_credentials_default_chain(struct tb_http_client *http, const char *region,
                                 struct tb_aws_credential_provider **out, struct tb_fail *fail)
{
    struct tb_aws_reach reach = {.http = http};

    if (!tb_str_copy(reach.region, sizeof(reach.region), region)) {
        return tb_fail_set(fail, TB_EINVAL, "'%.64s' is not the name of a Region", region);
    }
    return make_provider(&reach, NULL, NULL, out, fail);
}

enum tb_err
tb_aws_credentials_own_source(tb_aws_own_source_fn *own_load, void *arg,
                              struct tb_aws_credential_provider **out, struct tb_fail *fail)
{
    return make_provider(NULL, own_load, arg, out, fail);
}

void
tb_aws_credential_provider_free(struct tb_aws_credential_provider *provider)
{
    if (provider == NULL) {
        return;
    }
    tb_aws_credentials_release(&provider->locked.now);
    tb_cond_release(&provider->refreshed);
    tb_mutex_release(&provider->mu);
    free(provider);
}

/* Asks `first`, then the chain in order.  TB_EDENIED lists what was looked at; TB_ERETRY when a
 * source is there and has a passing fault. */
static enum tb_err
load(const struct tb_aws_reach *reach, const struct source *first,
     struct tb_aws_credentials *out, const struct source **out_from, struct tb_fail *fail)
{
    char looked[SOURCES * (WHY_MAX + 24)] = "";
    struct tb_fail first_why = {.text = ""};
    enum tb_err err;

    if (first != NULL) {
        err = first->load(reach, out, &first_why);
        if (err != TB_ENOTFOUND) {
            *out_from = first;
            if (fail != NULL) {
                *fail = first_why;
            }
            return err;
        }
    }
    for (size_t i = 0; i < SOURCES; i++) {
        struct tb_fail why = {.text = ""};
        size_t len = strlen(looked);

        if (&chain[i] == first) {
            err = TB_ENOTFOUND;
            why = first_why;
        } else {
            err = chain[i].load(reach, out, &why);
        }
        if (err == TB_OK) {
            *out_from = &chain[i];
            return TB_OK;
        }
        if (err != TB_ENOTFOUND) {
            err = err == TB_ENOMEM || tb_err_is_retryable(err) ? err : TB_EDENIED;
            return tb_fail_set(fail, err, "AWS credentials from %s: %s", chain[i].name,
                               why.text);
        }
        (void)snprintf(looked + len, sizeof(looked) - len, "%s%s: %.*s", i > 0 ? "; " : "",
                       chain[i].name, WHY_MAX, why.text);
    }
    return tb_fail_set(fail, TB_EDENIED, "no AWS credentials (%s)", looked);
}

/* Not at once, and while what is there is still good: after half of its time. */
static int64_t
when_again(int64_t now_utc_s, int64_t expires_utc_s)
{
    uint8_t random = 0;
    int64_t wait_s, half_s = (expires_utc_s - now_utc_s) / 2;

    if (tb_random(&random, sizeof(random)) != TB_OK) {
        random = 0;
    }
    wait_s = AGAIN_S + random % AGAIN_S;
    return now_utc_s + (half_s > 0 && half_s < wait_s ? half_s : wait_s);
}

static bool
wants_refresh_locked(const struct tb_aws_credential_provider *provider, int64_t now_utc_s)
    TB_REQUIRES(provider->mu)
{
    int64_t expires = provider->locked.now.expires_utc_s;

    if (!provider->locked.have || provider->locked.stale) {
        return true;
    }
    return expires != 0 && now_utc_s >= expires - AHEAD_S &&
           now_utc_s >= provider->locked.again_utc_s;
}

/* Whether what is there may be given out while another thread refreshes. */
static bool
can_go_on_locked(const struct tb_aws_credential_provider *provider, int64_t now_utc_s)
    TB_REQUIRES(provider->mu)
{
    int64_t expires = provider->locked.now.expires_utc_s;

    return provider->locked.have && !provider->locked.stale &&
           (expires == 0 || now_utc_s < expires);
}

/* Gives the lock away while the source is asked. */
static enum tb_err
refresh_locked(struct tb_aws_credential_provider *provider, struct tb_fail *fail)
    TB_REQUIRES(provider->mu)
{
    const struct source *first = provider->locked.have ? provider->locked.from : NULL;
    const struct source *from = NULL;
    struct tb_aws_credentials fresh = {.source = NULL};
    enum tb_err err;

    provider->locked.refreshing = true;
    tb_mutex_unlock(&provider->mu);
    err = provider->own_load != NULL ? provider->own_load(provider->own_arg, &fresh, fail)
                                     : load(&provider->reach, first, &fresh, &from, fail);
    tb_mutex_lock(&provider->mu);
    provider->locked.refreshing = false;
    /* Also after a failure: what a service called expired is all there is. */
    provider->locked.stale = false;
    if (err == TB_OK) {
        tb_aws_credentials_release(&provider->locked.now);
        provider->locked.now = fresh;
        provider->locked.have = true;
        provider->locked.from = from;
    }
    provider->locked.again_utc_s =
        when_again(tb_clock_utc_ns() / TB_NS_PER_S, provider->locked.now.expires_utc_s);
    tb_cond_broadcast(&provider->refreshed);
    return err;
}

enum tb_err
tb_aws_credentials_get(struct tb_aws_credential_provider *provider,
                       struct tb_aws_credentials *out, struct tb_fail *fail)
{
    int64_t now_utc_s = tb_clock_utc_ns() / TB_NS_PER_S;
    enum tb_err err = TB_OK;

    tb_mutex_lock(&provider->mu);
    while (wants_refresh_locked(provider, now_utc_s)) {
        if (!provider->locked.refreshing) {
            err = refresh_locked(provider, fail);
            break;
        }
        if (can_go_on_locked(provider, now_utc_s)) {
            break;
        }
        tb_cond_wait(&provider->refreshed, &provider->mu);
    }
    if (provider->locked.have) {
        err = tb_aws_credentials_copy(&provider->locked.now, out, fail);
    }
    tb_mutex_unlock(&provider->mu);
    return err;
}

void
tb_aws_credentials_expire(struct tb_aws_credential_provider *provider)
{
    tb_mutex_lock(&provider->mu);
    provider->locked.stale = true;
    tb_mutex_unlock(&provider->mu);
}

/* What the parts of the check share. */
#ifndef TAPBOX_SNS_INT_H
#define TAPBOX_SNS_INT_H

#include <stdatomic.h>

#include <tapbox/cert.h>
#include <tapbox/clock.h>
#include <tapbox/http_client.h>
#include <tapbox/sns.h>
#include <tapbox/store.h>
#include <tapbox/thread.h>

enum {
    SNS_URL_SIZE = 256,  /* of a certificate */
    SNS_MAX_TOPICS = 32, /* allowed */
    SNS_MAX_CERTS = 16,  /* kept; a Region has one, and a second one while they change */
    SNS_MAX_PENDING = 16 /* subscriptions that are being confirmed */
};

/* --- certs.c: certificates by URL --- */

struct sns_entry {
    char url[SNS_URL_SIZE]; /* "" : free */
    struct tb_cert *cert;   /* NULL: there is none */
    bool fetching;
    int64_t again_boot_ns; /* from then on it is asked for anew */
    int64_t used_boot_ns;
    enum tb_sns_result flaw; /* without a certificate: why */
    struct tb_fail why;
};

struct sns_certs {
    struct tb_http_client *http;  /* set once, as the next */
    const struct tb_trust *trust; /* borrowed */
    const atomic_bool *stop;
    struct tb_mutex mu;
    struct tb_cond fetched;
    struct { /* touched only while holding mu */
        struct sns_entry entries[SNS_MAX_CERTS];
        int64_t budget_boot_ns; /* fetches of unknown URLs are paid for up to here */
    } locked;
};

void sns_certs_init(struct sns_certs *certs, struct tb_http_client *http,
                    const struct tb_trust *trust, const atomic_bool *stop);
void sns_certs_release(struct sns_certs *certs);
/*
 * The certificate at a URL that was found valid, for the caller to tb_cert_free; judged now.
 * TB_ERETRY or TB_EDENIED with *out_flaw; *out_needs_fetch (and TB_ERETRY) when it may not
 * fetch.
 */
TB_NODISCARD enum tb_err sns_certs_get(struct sns_certs *certs, const char *url,
                                       const char *name, bool may_fetch, struct tb_cert **out,
                                       enum tb_sns_result *out_flaw, bool *out_needs_fetch,
                                       struct tb_fail *fail);

/* --- confirm.c: subscriptions --- */

struct sns_pending {
    struct tb_subscription what; /* url "" : free */
    unsigned tries;
    int64_t due_boot_ns;
};

struct sns_confirm {
    struct tb_store *store; /* set before the start, as the next five */
    struct tb_http_client *http;
    const atomic_bool *stop;
    bool (*allowed)(const void *arg, const char *topic);
    void (*done)(void *arg, bool confirmed);
    void *arg;
    pthread_t thread; /* start and stop only */
    bool started;
    atomic_uint waiting;
    struct tb_mutex mu; /* before the store's */
    struct tb_cond more;
    struct { /* touched only while holding mu */
        struct sns_pending pending[SNS_MAX_PENDING];
    } locked;
};

/* Goes on with those that the store holds, and whose topic is allowed still. */
TB_NODISCARD enum tb_err sns_confirm_start(struct sns_confirm *confirm, struct tb_fail *fail);
/* After *stop is set. */
void sns_confirm_stop(struct sns_confirm *confirm);
/* Once it is committed.  TB_EDENIED the URL is too long; TB_ERETRY too many wait already;
 * TB_EIO, TB_EFULL. */
TB_NODISCARD enum tb_err sns_confirm_take(struct sns_confirm *confirm, const char *topic,
                                          const char *url, struct tb_fail *fail);

#endif

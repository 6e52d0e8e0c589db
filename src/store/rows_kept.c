/* What the store need not keep for ever: octets of alerts, and summaries, that S3 has. */
#include "store_int.h"

enum {
    ALERTS_AT_ONCE = 100, /* nobody else gets at the store meanwhile */
    SUMMARIES_AT_ONCE = 10
};

/* Of evidence: an old capture is one that is sealed, so that S3 has all of it. */
static enum tb_err
run_locked(struct tb_store *store, const char *sql, int64_t before_utc_ns, int at_once,
           size_t *forgotten, struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    int changed = 0;
    enum tb_err err = store_open_locked(store, sql, &q, fail);

    if (err == TB_OK) {
        store_bind_int(&q, before_utc_ns);
        store_bind_int(&q, at_once);
        err = store_run_locked(&q, &changed, fail);
    }
    *forgotten += (size_t)changed;
    return err;
}

enum tb_err
tb_store_forget(struct tb_store *store, int64_t before_utc_ns, size_t *out_forgotten,
                struct tb_fail *fail)
{
    size_t forgotten = 0;
    enum tb_err err;

    store_lock(store, NULL); /* nothing waits for these commits: no crash points of their own */
    /* The row and its key stay: the same alert makes no second capture, however late it comes.
     * What is in a capture is forgotten with it; of those that ended without evidence, as of
     * alerts that were ignored, the custody log keeps the SHA-256. */
    err = run_locked(
        store,
        "UPDATE alerts SET body = x'', parsed = CASE parsed WHEN '' THEN '' ELSE json_object("
        "'type', json_extract(parsed, '$.type'), 'severity', json_extract(parsed, "
        "'$.severity'))"
        " END WHERE id IN (SELECT a.id FROM alerts AS a LEFT JOIN captures AS c"
        " ON c.id = a.capture_id WHERE a.received_utc_ns < ?1 AND length(a.body) > 0"
        " AND (c.id IS NULL OR c.state IN ('refused', 'failed')"
        " OR (c.state = 'sealed' AND c.ended_utc_ns < ?1 AND c.alerts_uploaded >= a.number))"
        " ORDER BY a.received_utc_ns LIMIT ?2)",
        before_utc_ns, ALERTS_AT_ONCE, &forgotten, fail);
    if (err == TB_OK) {
        err = run_locked(
            store,
            "DELETE FROM summaries WHERE capture_id IN (SELECT s.capture_id FROM summaries AS s"
            " JOIN captures AS c ON c.id = s.capture_id"
            " JOIN manifests AS m ON m.capture_id = c.id"
            " WHERE c.state = 'sealed' AND c.ended_utc_ns < ?1"
            /* one that was made after the manifest is not in S3 */
            " AND json_extract(CAST(m.body AS TEXT), '$.summary.name') IS NOT NULL LIMIT ?2)",
            before_utc_ns, SUMMARIES_AT_ONCE, &forgotten, fail);
    }
    if (err == TB_OK) {
        err = run_locked(store,
                         "DELETE FROM extensions WHERE id IN (SELECT e.id FROM extensions AS e"
                         " JOIN captures AS c ON c.id = e.capture_id"
                         " WHERE c.state IN ('sealed', 'refused', 'failed')"
                         " AND c.ended_utc_ns < ?1 LIMIT ?2)",
                         before_utc_ns, ALERTS_AT_ONCE, &forgotten, fail);
    }
    tb_mutex_unlock(&store->mu);
    if (err == TB_OK) {
        *out_forgotten = forgotten;
    }
    return err;
}

/* Alerts and captures of interfaces that are tapped already: who joins whom, and what that does
 * to the time box. */
#include "store_int.h"

/* One that is past its deadline, and only not yet taken down, would swallow what joins it; one
 * that is not decided may yet come to nothing.  (IN would make a table of the four states, for
 * each of thousands of alerts; so would UNION and UPDATE FROM below.) */
#define STILL_OPEN                                                                             \
    " (state = 'requested' OR state = 'planned' OR state = 'arming' OR state = 'recording')"   \
    " AND stop_asked = 0 AND undecided = 0"                                                    \
    " AND (deadline_utc_ns = 0 OR " STORE_LEFT_NS " > 0)"

/* Nor does one cover an interface that it has lost, or could not take. */
#define NOT_LOST                                                                               \
    " AND NOT EXISTS (SELECT 1 FROM capture_sources AS lost WHERE lost.eni = ?1"               \
    "  AND lost.capture_id = id" STORE_IS_LOST ")"

/* The capture that covers this interface: it names it, was resolved to it, or takes all of its
 * instance. */
static enum tb_err
find_by_eni_locked(struct tb_store *store, const char *eni, const char *instance,
                   char out[TB_CAPTURE_ID_SIZE], bool *out_found, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "SELECT id, min(number) FROM"
        " (SELECT id, number FROM captures WHERE" STILL_OPEN " AND instance = ?2"
        "   AND instance <> '' AND primary_only = 0"
        "   AND NOT EXISTS (SELECT 1 FROM capture_enis WHERE capture_id = id)" NOT_LOST
        "  UNION ALL SELECT id, number FROM capture_enis AS named CROSS JOIN captures"
        "   ON id = named.capture_id WHERE eni = ?1 AND" STILL_OPEN NOT_LOST
        "  UNION ALL SELECT id, number FROM capture_sources AS resolved"
        "   CROSS JOIN captures ON id = resolved.capture_id WHERE eni = ?1"
        "    AND (gap = '' OR armed) AND" STILL_OPEN ")",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, eni);
    store_bind_text(&q, instance);
    err = store_step_locked(&q, out_found, fail);
    if (err == TB_OK) { /* one row always; without a capture it is empty */
        store_text(&q, out, TB_CAPTURE_ID_SIZE);
        *out_found = out[0] != 0;
    }
    store_close(&q);
    return err;
}

/* The capture that was asked for all of this instance.  One of some interface of it is not:
 * what that leaves out would be lost. */
static enum tb_err
find_by_instance_locked(struct tb_store *store, const char *instance,
                        char out[TB_CAPTURE_ID_SIZE], bool *out_found, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err =
        store_open_locked(store,
                          "SELECT id FROM captures AS c WHERE" STILL_OPEN " AND instance = ?"
                          " AND primary_only = 0"
                          " AND NOT EXISTS (SELECT 1 FROM capture_enis WHERE capture_id = c.id)"
                          " ORDER BY number LIMIT 1",
                          &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, instance);
    err = store_step_locked(&q, out_found, fail);
    if (err == TB_OK && *out_found) {
        store_text(&q, out, TB_CAPTURE_ID_SIZE);
    }
    store_close(&q);
    return err;
}

enum tb_err
store_find_joins_locked(struct tb_store *store, const struct tb_capture_request *request,
                        struct store_joins *out, struct tb_fail *fail)
{
    char id[TB_CAPTURE_ID_SIZE];
    bool found = true;
    enum tb_err err = TB_OK;

    out->count = 0;
    if (request->eni_count == 0) {
        err = find_by_instance_locked(store, request->instance, out->ids[0], &found, fail);
        out->count = err == TB_OK && found ? 1 : 0;
        return err;
    }
    for (size_t i = 0; i < request->eni_count && err == TB_OK && found; i++) {
        bool known = false;

        err = find_by_eni_locked(store, request->enis[i], request->instance, id, &found, fail);
        for (size_t j = 0; j < out->count && !known; j++) {
            known = strcmp(out->ids[j], id) == 0;
        }
        if (err == TB_OK && found && !known) {
            memcpy(out->ids[out->count++], id, sizeof(id));
        }
    }
    if (!found) {
        out->count = 0; /* some interface is tapped by nobody: it needs a capture */
    }
    return err;
}

/* The filter of a capture, as it is now; *out_known instead when its text is `known`. */
static enum tb_err
read_filter_locked(struct tb_store *store, const char *id, struct tb_bytes known,
                   bool *out_known, struct tb_filter *out, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err =
        store_open_locked(store, "SELECT filter FROM captures WHERE id = ?", &q, fail);

    *out_known = false;
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        struct tb_bytes text = store_blob(&q);

        *out_known = tb_bytes_equal(text, known);
        err = *out_known ? TB_OK : tb_filter_parse(text, out, fail);
    }
    store_close(&q);
    return err;
}

/* An alert that needs traffic which the running filter leaves out: it becomes wider.  A worker
 * brings it about, before it looks at the deadline.  (Of a storm nearly all ask for what is
 * there already: they are told by the text, which costs less than reading it.) */
enum tb_err
store_widen_joined_locked(struct tb_store *store, const char *id,
                          const struct tb_filter *wanted, const char *wanted_text,
                          struct tb_fail *fail)
{
    struct tb_filter now = {.kind = TB_FILTER_ALL}, joined;
    struct tb_buf text = TB_BUF_INIT(TB_FILTER_JSON_MAX_BYTES);
    struct tb_json *detail;
    struct store_query q;
    bool same = false;
    enum tb_err err =
        read_filter_locked(store, id, tb_bytes_str(wanted_text), &same, &now, fail);

    if (err != TB_OK || same || tb_filter_covers(&now, wanted)) {
        return err;
    }
    tb_filter_join(&now, wanted, &joined);
    err = store_filter_text(&joined, &text, fail);
    if (err == TB_OK) {
        err = store_open_locked(
            store,
            "UPDATE captures SET filter = ?, due_steady_ns = min(due_steady_ns, ?)"
            " WHERE id = ?",
            &q, fail);
    }
    if (err == TB_OK) {
        store_bind_text(&q, tb_buf_str(&text));
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        err = store_run_locked(&q, NULL, fail);
    }
    tb_buf_release(&text);
    if (err != TB_OK) {
        return err;
    }
    detail = tb_json_object();
    tb_json_set(detail, "filter", tb_filter_json(&joined));
    return store_custody_add_locked(store, id, "widen_filter", NULL, detail, fail);
}

/* How much longer from now on: ?1, at most ?2 after the request; ?3 is the store's now. */
#define LONGER "min(?1, ?2 - ?3 + requested_steady_ns)"

/* An alert that joins says that it is still going on: the time box may become longer, up to the
 * longest that policy allows after the first request.  Before the box has begun it simply gets
 * longer; afterwards a worker brings it about.  The same box on both clocks: what is left is
 * counted by the one that nobody moves. */
enum tb_err
store_extend_joined_locked(struct tb_store *store, const char *id, int64_t duration_ns,
                           int64_t most_duration_ns, struct tb_fail *fail)
{
    struct store_query q;
    int asked = 0;
    enum tb_err err;

    if (most_duration_ns == 0) {
        return TB_OK;
    }
    err = store_open_locked(store,
                            "UPDATE captures SET duration_ns = max(duration_ns, min(?1, ?2))"
                            " WHERE id = ?3 AND state IN ('requested', 'planned')",
                            &q, fail);
    if (err == TB_OK) {
        store_bind_int(&q, duration_ns);
        store_bind_int(&q, most_duration_ns);
        store_bind_text(&q, id);
        err = store_run_locked(&q, NULL, fail);
    }
    /* one that another alert asked for as good as this one is enough */
    if (err == TB_OK) {
        err = store_open_locked(
            store,
            "INSERT INTO extensions (capture_id, to_utc_ns, joined)"
            " SELECT id, wanted, 1 FROM (SELECT id, state, deadline_utc_ns, CASE state"
            /* a worker may hold the old duration in hands */
            "  WHEN 'planned' THEN ?5 ELSE deadline_utc_ns - " STORE_LEFT_NS "  END + " LONGER
            " AS wanted FROM captures WHERE id = ?4)"
            " WHERE (state = 'planned'"
            "   OR (state IN ('arming', 'recording') AND deadline_utc_ns <> 0))"
            " AND wanted > deadline_utc_ns + 1000000000"
            " AND NOT EXISTS (SELECT 1 FROM extensions WHERE capture_id = ?4 AND joined"
            "  AND to_utc_ns + 1000000000 >= wanted)",
            &q, fail);
    }
    if (err == TB_OK) {
        store_bind_int(&q, duration_ns);
        store_bind_int(&q, most_duration_ns);
        store_bind_int(&q, tb_store_steady_ns(store));
        store_bind_text(&q, id);
        store_bind_int(&q, tb_clock_utc_ns());
        err = store_run_locked(&q, &asked, fail);
    }
    if (err == TB_OK && asked > 0) {
        err = store_open_locked(store,
                                "UPDATE captures SET due_steady_ns = min(due_steady_ns, ?)"
                                " WHERE id = ? AND state IN ('arming', 'recording')",
                                &q, fail);
        if (err == TB_OK) {
            store_bind_int(&q, tb_store_steady_ns(store));
            store_bind_text(&q, id);
            err = store_run_locked(&q, NULL, fail);
        }
        if (err == TB_OK) {
            err = store_take_latest_ask_locked(store, id, fail);
        }
    }
    return err;
}

/* --- when a capture begins of whose interfaces some are tapped by others --- */

static enum tb_err
next_holder_locked(struct tb_store *store, const char *id, const char *after,
                   char out[TB_CAPTURE_ID_SIZE], int64_t *out_duration_ns, struct tb_fail *fail)
    TB_REQUIRES(store->mu)
{
    struct store_query q;
    bool row = false;
    enum tb_err err = store_open_locked(
        store,
        "SELECT min(other.capture_id), me.duration_ns FROM capture_sources AS mine"
        " JOIN captures AS me ON me.id = mine.capture_id"
        " JOIN capture_sources AS other ON other.eni = mine.eni"
        "  AND mine.gap = 'it is being captured by ' || other.capture_id"
        " WHERE mine.capture_id = ?1 AND other.capture_id > ?2"
        " GROUP BY me.id",
        &q, fail);

    out[0] = 0;
    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, id);
    store_bind_text(&q, after);
    err = store_step_locked(&q, &row, fail);
    if (err == TB_OK && row) {
        store_text(&q, out, TB_CAPTURE_ID_SIZE);
        *out_duration_ns = store_int(&q);
    }
    store_close(&q);
    return err;
}

/* The alerts of `from` as those of `to`, too; as many as there is room for. */
static enum tb_err
copy_alerts_locked(struct tb_store *store, const char *from, const char *to, int *out_count,
                   struct tb_fail *fail) TB_REQUIRES(store->mu)
{
    struct store_query q;
    enum tb_err err = store_open_locked(
        store,
        "INSERT INTO alerts (adapter, key, outcome, capture_id, number, reason, content_type,"
        " remote, token_name, received_utc_ns, body, sender_id, parsed, rule, filter)"
        " SELECT adapter, NULL, 'joined', ?2, number + there, reason, content_type,"
        " remote, token_name, received_utc_ns, body, sender_id, parsed, rule, filter"
        " FROM alerts,"
        " (SELECT coalesce(max(number), 0) AS there FROM alerts WHERE capture_id = ?2)"
        " WHERE capture_id = ?1 AND number + there <= ?3",
        &q, fail);

    if (err != TB_OK) {
        return err;
    }
    store_bind_text(&q, from);
    store_bind_text(&q, to);
    store_bind_int(&q, TB_CAPTURE_MAX_ALERTS);
    return store_run_locked(&q, out_count, fail);
}

enum tb_err
store_join_holders_locked(struct tb_store *store, const char *id, int64_t most_duration_ns,
                          struct tb_fail *fail)
{
    char holder[TB_CAPTURE_ID_SIZE] = "";
    enum tb_err err = TB_OK;

    while (err == TB_OK) {
        char next[TB_CAPTURE_ID_SIZE];
        struct tb_filter wanted;
        struct tb_json *detail;
        int64_t duration_ns = 0;
        bool known = false;
        int copied = 0;

        err = next_holder_locked(store, id, holder, next, &duration_ns, fail);
        if (err != TB_OK || next[0] == 0) {
            break;
        }
        memcpy(holder, next, sizeof(holder));
        err = copy_alerts_locked(store, id, holder, &copied, fail);
        if (err == TB_OK) {
            err = read_filter_locked(store, id, tb_bytes_str(""), &known, &wanted, fail);
        }
        if (err == TB_OK) {
            err = store_widen_joined_locked(store, holder, &wanted, "", fail);
        }
        if (err == TB_OK) {
            err =
                store_extend_joined_locked(store, holder, duration_ns, most_duration_ns, fail);
        }
        if (err == TB_OK) {
            detail = tb_json_object();
            tb_json_set_str(detail, "capture", id);
            tb_json_set_int(detail, "alerts", copied);
            err = store_custody_add_locked(store, holder, "joined", NULL, detail, fail);
        }
    }
    return err;
}

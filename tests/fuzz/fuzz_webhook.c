/*
 * Alerts of any shape.  Whatever the body: what is read has a key, a place to mirror or a
 * reason why not, and texts without control characters; a capture made of it names a source.
 * What is refused leaves the result alone and says why.
 */
#include <assert.h>
#include <stdlib.h>

#include <tapbox/policy_file.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
assert_harmless(const char *text, size_t cap)
{
    assert(strnlen(text, cap) < cap);
    for (; *text != '\0'; text++) {
        assert((unsigned char)*text >= 0x20 && *text != 0x7f);
    }
}

static void
assert_alert(const struct tb_alert *a)
{
    assert(a->adapter[0] != 0 && a->key[0] != '\0' && a->id[0] != '\0' && a->type[0] != '\0');
    assert(strncmp(a->key, a->id, strlen(a->id)) == 0);
    assert_harmless(a->key, sizeof(a->key));
    assert_harmless(a->type, sizeof(a->type));
    assert_harmless(a->summary, sizeof(a->summary));
    assert_harmless(a->nothing_to_mirror, sizeof(a->nothing_to_mirror));
    assert(a->severity >= 0 && a->severity <= 10);
    assert_harmless(a->workload, sizeof(a->workload));
    assert_harmless(a->resource, sizeof(a->resource));
    assert((a->source_count == 0) == (a->nothing_to_mirror[0] != '\0'));
    assert(a->instance_state[0] == '\0' || a->source_count == 1);
    assert(a->tag_count <= TB_ALERT_MAX_TAGS);
    for (size_t i = 0; i < a->tag_count; i++) {
        assert(a->tags[i].key[0] != '\0');
        assert_harmless(a->tags[i].key, sizeof(a->tags[i].key));
        assert_harmless(a->tags[i].value, sizeof(a->tags[i].value));
    }
    assert(a->source_count <= TB_ALERT_MAX_SOURCES);
    for (size_t i = 0; i < a->source_count; i++) {
        const struct tb_alert_source *s = &a->sources[i];

        assert(s->instance[0] != '\0' || s->eni[0] != '\0');
        assert(s->instance[0] == '\0' || strncmp(s->instance, "i-", 2) == 0);
        assert(s->eni[0] == '\0' || strncmp(s->eni, "eni-", 4) == 0);
        assert(!s->seen_here || s->eni[0] != '\0');
        assert_harmless(s->ip, sizeof(s->ip));
        assert_harmless(s->vpc, sizeof(s->vpc));
    }
    assert(a->indicator_count <= TB_ALERT_MAX_INDICATORS);
    for (size_t i = 0; i < a->indicator_count; i++) {
        assert(a->indicators[i].value[0] != '\0' && a->indicators[i].port <= 65535);
        assert_harmless(a->indicators[i].value, sizeof(a->indicators[i].value));
        assert_harmless(a->indicators[i].protocol, sizeof(a->indicators[i].protocol));
        assert_harmless(a->indicators[i].direction, sizeof(a->indicators[i].direction));
    }
}

/* What goes into the store comes out of it as it was. */
static void
assert_kept(const struct tb_alert *a)
{
    struct tb_alert *back = malloc(sizeof(*back));
    struct tb_buf text = TB_BUF_INIT(TB_ALERT_JSON_MAX_BYTES);
    struct tb_json *json = tb_alert_json(a);

    assert(back != NULL && tb_json_dump(json, false, &text, NULL) == TB_OK);
    assert(tb_alert_parse(tb_buf_view(&text), back, NULL) == TB_OK);
    assert(strcmp(back->key, a->key) == 0 && back->source_count == a->source_count &&
           back->indicator_count == a->indicator_count && back->tag_count == a->tag_count);
    tb_json_free(json);
    tb_buf_release(&text);
    free(back);
}

static void
assert_decision(const struct tb_alert *a)
{
    static struct tb_rules *rules;
    struct tb_policy policy = {.bounds = {.default_duration_ns = 1, .max_duration_ns = 2}};
    struct tb_verdict *v = malloc(sizeof(*v));

    if (rules == NULL) {
        assert(tb_policy_parse(tb_policy_default(), "default", &rules, NULL, NULL, NULL) ==
               TB_OK);
    }
    assert(v != NULL);
    for (int with_rules = 0; with_rules < 2; with_rules++) {
        policy.rules = with_rules != 0 ? rules : NULL;
        tb_policy_decide(&policy, a, NULL, 0, v);
        assert(v->reason[0] != '\0');
        assert_harmless(v->reason, sizeof(v->reason));
        assert(v->planned || v->decision != TB_DECISION_CAPTURE);
        assert((v->why == TB_WHY_NONE) == (v->decision == TB_DECISION_CAPTURE));
        if (v->planned) {
            assert(a->source_count > 0 && a->instance_state[0] == '\0');
            assert(v->request.instance[0] != '\0' || v->request.eni_count > 0);
            assert(v->request.eni_count <= TB_CAPTURE_MAX_SOURCES);
            assert(v->request.reason[0] != '\0');
            assert(v->request.filter.rule_count <= TB_FILTER_MAX_RULES);
            assert((v->request.filter.kind == TB_FILTER_ALL) ==
                   (v->request.filter.rule_count == 0));
        }
    }
    free(v);
}

/* Every filter of its peers lets each of them through, in both directions. */
static void
assert_filter(const struct tb_alert *a)
{
    for (int dns = 0; dns < 2; dns++) {
        struct tb_filter filter, one;
        struct tb_alert *peer = calloc(1, sizeof(*peer));

        tb_filter_of_peers(a, dns != 0, &filter);
        assert(peer != NULL);
        for (size_t i = 0; i < a->indicator_count; i++) {
            peer->indicators[0] = a->indicators[i];
            peer->indicator_count = 1;
            tb_filter_of_peers(peer, false, &one);
            assert(one.kind == TB_FILTER_ALL || tb_filter_covers(&filter, &one));
        }
        free(peer);
    }
}

static void
check_one(const struct tb_webhook_body *body, size_t i, struct tb_alert *alert,
          struct tb_alert *again)
{
    struct tb_fail fail = {0};

    memset(alert, 0x5a, sizeof(*alert));
    memset(again, 0x5a, sizeof(*again));
    if (tb_webhook_alert(body, i, alert, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
        assert(memcmp(alert, again, sizeof(*alert)) == 0);
        return;
    }
    assert_alert(alert);
    assert_kept(alert);
    assert_decision(alert);
    assert_filter(alert);
    assert(tb_webhook_alert(body, i, again, NULL) == TB_OK);
    assert(strcmp(alert->key, again->key) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_alert *alert = malloc(sizeof(*alert));
    struct tb_alert *again = malloc(sizeof(*again));
    struct tb_webhook_body *body = NULL;
    struct tb_fail fail = {0};

    assert(alert != NULL && again != NULL);
    if (tb_webhook_open(tb_bytes_of(data, size), NULL, &body, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0' && body == NULL);
    } else {
        assert(tb_webhook_count(body) >= 1);
        assert(tb_webhook_count(body) <= TB_WEBHOOK_MAX_ALERTS);
        for (size_t i = 0; i < tb_webhook_count(body); i++) {
            check_one(body, i, alert, again);
        }
        tb_webhook_free(body);
    }
    free(alert);
    free(again);
    return 0;
}

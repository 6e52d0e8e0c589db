/*
 * The policy's file.  Whatever the text: an accepted one has names, profiles that are there and
 * filters that fit, and decides every alert with a reason; a refused one says why.
 */
#include <assert.h>
#include <stdlib.h>

#include <tapbox/policy_file.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
assert_rules(const struct tb_rules *rules)
{
    for (size_t i = 0; i < rules->profile_count; i++) {
        const struct tb_profile *p = &rules->profiles[i];

        assert(p->name[0] != '\0' && p->filter.rule_count <= TB_FILTER_MAX_RULES);
        assert((p->filter.kind == TB_FILTER_RULES) == (p->filter.rule_count > 0));
        assert(p->duration_ns >= 0 && p->storage.retention_ns >= 0 && p->cooldown_ns >= -1);
    }
    for (size_t i = 0; i < rules->rule_count; i++) {
        const struct tb_rule *r = &rules->rules[i];

        assert(r->name[0] != '\0' && r->line > 0);
        assert(r->ignore[0] != '\0' || r->profile < rules->profile_count);
        assert(!r->has_severity || r->min_severity <= r->max_severity);
    }
}

static void
assert_decides(const struct tb_rules *rules)
{
    struct tb_policy policy = {.bounds = {.default_duration_ns = 1, .max_duration_ns = 2},
                               .rules = rules};
    struct tb_alert *alert = calloc(1, sizeof(*alert));
    struct tb_verdict *v = malloc(sizeof(*v));

    assert(alert != NULL && v != NULL);
    (void)tb_str_copy(alert->type, sizeof(alert->type), "Backdoor:EC2/C&CActivity.B");
    (void)tb_str_copy(alert->sources[0].instance, TB_AWS_ID_SIZE, "i-00000001");
    alert->source_count = 1;
    alert->severity = 8;
    tb_policy_decide(&policy, alert, NULL, 0, v);
    assert(v->reason[0] != '\0' && (v->decision != TB_DECISION_CAPTURE || v->rule[0] != '\0'));
    free(v);
    free(alert);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_rules *rules = NULL;
    struct tb_fail fail = {0};

    if (tb_policy_parse(tb_bytes_of(data, size), "fuzz", &rules, NULL, NULL, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0' && rules == NULL);
        return 0;
    }
    assert_rules(rules);
    assert_decides(rules);
    tb_rules_free(rules);
    return 0;
}

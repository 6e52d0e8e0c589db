/*
 * Mappings and bodies: a policy's text, a NUL, a body.  A policy that is refused leaves the one
 * below, so that bodies always meet a mapping.  Whatever comes: an alert has a key, a place to
 * mirror or a reason why not, and texts without control characters; what is refused leaves the
 * result alone and says why.
 */
#include <assert.h>
#include <stdlib.h>

#include <tapbox/policy_file.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fallback[] =
    "senders:\n"
    "  s:\n"
    "    match: {/kind: \"*\"}\n"
    "    id: [/id, \"{/a}-{/b/0}\"]\n"
    "    updated: /updated\n"
    "    hash: [/a, /b/0, /id]\n"
    "    type: [\"T:{/a}\", t]\n"
    "    title: /title\n"
    "    severity: /severity\n"
    "    severities: {high: 8}\n"
    "    severity_most: 100\n"
    "    time: /time\n"
    "    account: /account\n"
    "    region: /region\n"
    "    source: [/source, /host]\n"
    "    hosts: {h: i-00000001}\n"
    "    own: [10.0.0.0/9, \"2001:db8::/33\"]\n"
    "    indicators: [{ip: /ip, port: /port, local_port: /lport, protocol: /proto, direction: "
    "/dir, domain: /names}]\n"
    "rules: [{name: r, when: {}, ignore: x}]\n";

static void
assert_harmless(const char *text, size_t cap)
{
    assert(strnlen(text, cap) < cap);
    for (; *text != '\0'; text++) {
        assert((unsigned char)*text >= 0x20 && *text != 0x7f);
    }
}

static void
assert_alert(const struct tb_alert *a, const struct tb_sender *sender)
{
    assert(strcmp(a->adapter, sender->name) == 0 && a->key[0] != '\0' && a->type[0] != '\0');
    assert(strncmp(a->key, a->id, strlen(a->id)) == 0);
    assert(a->severity >= 0 && a->severity <= 10);
    assert((a->source_count == 0) == (a->nothing_to_mirror[0] != '\0'));
    assert(a->source_count <= TB_ALERT_MAX_SOURCES);
    assert(a->indicator_count <= TB_ALERT_MAX_INDICATORS);
    assert_harmless(a->key, sizeof(a->key));
    assert_harmless(a->type, sizeof(a->type));
    assert_harmless(a->summary, sizeof(a->summary));
    assert_harmless(a->region, sizeof(a->region));
    assert_harmless(a->nothing_to_mirror, sizeof(a->nothing_to_mirror));
    for (size_t i = 0; i < a->indicator_count; i++) {
        assert(a->indicators[i].value[0] != '\0' && a->indicators[i].port <= 65535);
        assert_harmless(a->indicators[i].value, sizeof(a->indicators[i].value));
        assert_harmless(a->indicators[i].protocol, sizeof(a->indicators[i].protocol));
    }
}

static void
read_with(const struct tb_sender *sender, const struct tb_senders *senders,
          struct tb_bytes body)
{
    const struct tb_webhook_how how = {.senders = senders, .sender = sender->name};
    struct tb_webhook_body *opened = NULL;
    struct tb_alert *alert = malloc(sizeof(*alert));
    struct tb_alert *again = malloc(sizeof(*again));
    struct tb_fail fail = {0};

    assert(alert != NULL && again != NULL);
    if (tb_webhook_open(body, &how, &opened, &fail) != TB_OK) {
        assert(fail.text[0] != '\0');
        free(alert);
        free(again);
        return;
    }
    for (size_t i = 0; i < tb_webhook_count(opened); i++) {
        memset(alert, 0x5a, sizeof(*alert));
        memset(again, 0x5a, sizeof(*again));
        fail = (struct tb_fail){0};
        if (tb_webhook_alert(opened, i, alert, &fail) != TB_OK) {
            assert(fail.text[0] != '\0' && memcmp(alert, again, sizeof(*alert)) == 0);
            continue;
        }
        assert_alert(alert, sender);
        assert(tb_webhook_alert(opened, i, again, NULL) == TB_OK);
        assert(strcmp(alert->key, again->key) == 0);
    }
    tb_webhook_free(opened);
    free(alert);
    free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t head = nul != NULL ? (size_t)(nul - data) : 0;
    struct tb_bytes body =
        nul != NULL ? tb_bytes_of(nul + 1, size - head - 1) : tb_bytes_of(data, size);
    struct tb_rules *rules = NULL;

    if (tb_policy_parse(tb_bytes_of(data, head), "fuzz", &rules, NULL, NULL, NULL) != TB_OK) {
        assert(tb_policy_parse(tb_bytes_str(fallback), "fallback", &rules, NULL, NULL, NULL) ==
               TB_OK);
    }
    for (size_t i = 0; i < rules->senders.count; i++) {
        read_with(&rules->senders.at[i], &rules->senders, body);
    }
    tb_rules_free(rules);
    return 0;
}

/* Counters as the control socket shows them. */
#include "counters.h"

#include "jout.h"

static const char *const never_names[NEVER_COUNT] = {
    "arp", "not_ip", "dhcp", "metadata", "ntp", "windows_activation", "amazon_dns"};
static const char *const block_names[BLOCK_COUNT] = {NULL,      "security_group", "no_route",
                                                     "no_port", "target_gone",    "not_shared"};

static void
add(struct str *s, const char *key, const counter *c, uint64_t *sum)
{
    uint64_t n = counter_get(c);
    jout_int(s, key, (int64_t)n);
    if (sum != NULL) {
        *sum += n;
    }
}

void
counters_json(struct str *s, const struct counters *c, struct counters_sum *sum)
{
    uint64_t never = 0;
    jout_open(s, NULL, '{');
    jout_text(s, "session", c->session);
    jout_text(s, "eni", c->eni);
    jout_text(s, "account", c->account);
    jout_int(s, "vni", c->vni);
    jout_int(s, "created_ns", c->created_ns);
    jout_int(s, "deleted_ns", c->deleted_ns);
    add(s, "seen", &c->seen, &sum->seen);
    jout_open(s, "never_mirrored_by", '{');
    for (int i = 0; i < NEVER_COUNT; i++) {
        add(s, never_names[i], &c->never[i], &never);
    }
    jout_close(s, '}');
    jout_int(s, "never_mirrored", (int64_t)never);
    sum->never += never;
    add(s, "rejected", &c->rejected, &sum->rejected);
    add(s, "taken_by_lower_number", &c->taken, NULL);
    static const char *const directions[2] = {"ingress", "egress"};
    for (int d = 0; d < 2; d++) {
        jout_open(s, directions[d], '{');
        add(s, "frames", &c->matched_frames[d], NULL);
        add(s, "bytes", &c->matched_bytes[d], NULL);
        jout_close(s, '}');
    }
    add(s, "mirrored", &c->mirrored_frames, &sum->mirrored);
    add(s, "mirrored_bytes", &c->mirrored_bytes, &sum->mirrored_bytes);
    add(s, "truncated", &c->truncated, &sum->truncated);
    add(s, "send_failed", &c->send_failed, &sum->send_failed);
    add(s, "skipped", &c->skipped, NULL);
    jout_open(s, "undeliverable_by", '{');
    for (int i = 1; i < BLOCK_COUNT; i++) {
        add(s, block_names[i], &c->blocked[i], NULL);
    }
    jout_close(s, '}');
    add(s, "ring_drops", &c->ring_drops, &sum->ring_drops);
    jout_close(s, '}');
}

void
counters_sum_json(struct str *s, const struct counters_sum *sum)
{
    jout_open(s, "totals", '{');
    jout_int(s, "seen", (int64_t)sum->seen);
    jout_int(s, "never_mirrored", (int64_t)sum->never);
    jout_int(s, "rejected", (int64_t)sum->rejected);
    jout_int(s, "mirrored", (int64_t)sum->mirrored);
    jout_int(s, "mirrored_bytes", (int64_t)sum->mirrored_bytes);
    jout_int(s, "truncated", (int64_t)sum->truncated);
    jout_int(s, "send_failed", (int64_t)sum->send_failed);
    jout_int(s, "ring_drops", (int64_t)sum->ring_drops);
    jout_close(s, '}');
}

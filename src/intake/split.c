/* Alerts that name more than one capture can hold: attack sequences name dozens of instances.
 */
#include "intake_int.h"

#include <stdio.h>

#include <tapbox/digest.h>

/* The first instance without an interface that goes by itself; source_count: none does, also
 * where the interfaces that are named beside it are its own. */
static size_t
find_unnamed(const struct tb_alert *alert)
{
    bool any_named = false, any_other = false;
    size_t i;

    for (i = 0; i < alert->source_count; i++) {
        any_named = any_named || alert->sources[i].eni[0] != 0;
        any_other =
            any_other || strcmp(alert->sources[i].instance, alert->sources[0].instance) != 0;
    }
    if (!any_other) {
        return alert->source_count;
    }
    i = any_named ? 0 : 1;
    while (i < alert->source_count && alert->sources[i].eni[0] != 0) {
        i++;
    }
    return i < alert->source_count ? i : alert->source_count;
}

/* One of those that are more than a capture holds: of another instance than the first, so that
 * no instance is in two captures.  source_count: they fit. */
static size_t
find_too_many(const struct tb_alert *alert)
{
    size_t i = alert->source_count;

    if (alert->source_count <= TB_CAPTURE_MAX_SOURCES) {
        return i;
    }
    while (i > 0 && alert->sources[i - 1].instance[0] != 0 &&
           strcmp(alert->sources[i - 1].instance, alert->sources[0].instance) == 0) {
        i--;
    }
    return i > 0 ? i - 1 : alert->source_count;
}

/* Moves those of the instance at `at`; of interfaces without one as many as a capture holds. */
static void
move(struct tb_alert *whole, size_t at, struct tb_alert *part)
{
    const struct tb_alert_source chosen = whole->sources[at];
    bool alone = chosen.instance[0] == 0;
    size_t kept = 0;

    part->source_count = 0;
    for (size_t i = 0; i < whole->source_count; i++) {
        const struct tb_alert_source *s = &whole->sources[i];
        bool near = i <= at && i + TB_CAPTURE_MAX_SOURCES > at;

        if ((near || !alone) && strcmp(s->instance, chosen.instance) == 0) {
            part->sources[part->source_count++] = *s;
        } else {
            whole->sources[kept++] = *s;
        }
    }
    whole->source_count = kept;
}

/* "KEY/i-..." (or "KEY/eni-..."): whoever delivers the alert again gives the same ones. */
static bool
add_to_key(struct tb_alert *part, const char *name)
{
    char key[sizeof(part->key)];
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    int len = snprintf(key, sizeof(key), "%s/%s", part->key, name);

    if (len < 0 || len >= (int)sizeof(key)) {
        if (tb_sha256(tb_bytes_str(part->key), &digest) != TB_OK) {
            return false;
        }
        tb_sha256_hex(hex, &digest);
        (void)snprintf(key, sizeof(key), "sha256:%s/%s", hex, name);
    }
    return tb_str_copy(part->key, sizeof(part->key), key);
}

bool
intake_split(struct tb_alert *whole, struct tb_alert *out, char out_part[TB_AWS_ID_SIZE])
{
    size_t at = find_unnamed(whole);
    const struct tb_alert_source *s;

    if (at == whole->source_count) {
        at = find_too_many(whole);
    }
    if (at == whole->source_count) {
        return false;
    }
    s = &whole->sources[at];
    (void)tb_str_copy(out_part, TB_AWS_ID_SIZE, s->instance[0] != 0 ? s->instance : s->eni);
    *out = *whole;
    out->sources_left_out = 0;
    if (!add_to_key(out, out_part)) {
        return false; /* it stays, and is told of as not covered */
    }
    move(whole, at, out);
    return true;
}

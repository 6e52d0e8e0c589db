/* Alerts that name more than one capture can hold: attack sequences name dozens of instances.
 */
#include "intake_int.h"

#include <stdio.h>

#include <tapbox/digest.h>

/* The first one that goes by itself; source_count: none does. */
static size_t
find_separate(const struct tb_alert *alert)
{
    bool any_named = false;
    size_t i;

    for (i = 0; i < alert->source_count; i++) {
        any_named = any_named || alert->sources[i].eni[0] != 0;
    }
    i = any_named ? 0 : 1;
    while (i < alert->source_count && alert->sources[i].eni[0] != 0) {
        i++;
    }
    return i < alert->source_count ? i : alert->source_count;
}

/* "KEY/i-...": whoever delivers the alert again gives the same ones. */
static bool
add_to_key(struct tb_alert *part)
{
    const char *instance = part->sources[0].instance;
    char key[sizeof(part->key)];
    char hex[TB_SHA256_HEX_SIZE];
    struct tb_sha256 digest;
    int len = snprintf(key, sizeof(key), "%s/%s", part->key, instance);

    if (len < 0 || len >= (int)sizeof(key)) {
        if (tb_sha256(tb_bytes_str(part->key), &digest) != TB_OK) {
            return false;
        }
        tb_sha256_hex(hex, &digest);
        (void)snprintf(key, sizeof(key), "sha256:%s/%s", hex, instance);
    }
    return tb_str_copy(part->key, sizeof(part->key), key);
}

bool
intake_split(struct tb_alert *whole, struct tb_alert *out)
{
    size_t at = find_separate(whole);

    if (at == whole->source_count) {
        return false;
    }
    *out = *whole;
    out->sources[0] = whole->sources[at];
    out->source_count = 1;
    out->sources_left_out = 0;
    if (!add_to_key(out)) {
        return false;
    }
    whole->source_count--;
    memmove(&whole->sources[at], &whole->sources[at + 1],
            (whole->source_count - at) * sizeof(whole->sources[0]));
    return true;
}

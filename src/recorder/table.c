/* Who is recorded: a small hash table that is never changed, only replaced. */
#include "lane_int.h"

#include <stdlib.h>

/* Only pairs that control armed are in it, so nobody outside can make its chains long. */
static size_t
hash(const uint8_t outer[16], uint32_t vni)
{
    uint64_t h = tb_get_le64(outer) ^ (tb_get_le64(outer + 8) * UINT64_C(0x9E3779B97F4A7C15));

    h ^= vni * UINT64_C(0xC2B2AE3D27D4EB4F);
    h ^= h >> 29;
    h *= UINT64_C(0xBF58476D1CE4E5B9);
    return (size_t)(h ^ h >> 32);
}

const struct tb_table_entry *
tb_table_find(const struct tb_table *table, const uint8_t outer[16], uint32_t vni)
{
    for (size_t i = hash(outer, vni);; i++) {
        const struct tb_table_entry *entry = &table->at[i & table->mask];

        if (entry->armed == NULL) {
            return NULL;
        }
        if (entry->vni == vni && memcmp(entry->outer, outer, sizeof(entry->outer)) == 0) {
            return entry;
        }
    }
}

static enum tb_err
insert(struct tb_table *table, struct tb_armed *armed, uint32_t interface, struct tb_fail *fail)
{
    const struct tb_record_source *source = &armed->sources[interface];
    size_t i = hash(source->outer, source->vni);

    for (; table->at[i & table->mask].armed != NULL; i++) {
        struct tb_table_entry *there = &table->at[i & table->mask];

        if (there->vni == source->vni &&
            memcmp(there->outer, source->outer, sizeof(there->outer)) == 0) {
            /* What has ended keeps its pairs only until somebody else wants them. */
            if (there->armed != armed && tb_armed_is_closed(there->armed)) {
                there->armed = armed;
                there->interface = interface;
                return TB_OK;
            }
            if (tb_armed_is_closed(armed)) {
                return TB_OK;
            }
            return tb_fail_set(fail, TB_EEXIST, "VNI %u of %s is recorded by %s already",
                               (unsigned)source->vni, source->eni,
                               there->armed->spec.capture_id);
        }
    }
    table->at[i & table->mask].armed = armed;
    table->at[i & table->mask].interface = interface;
    table->at[i & table->mask].vni = source->vni;
    memcpy(table->at[i & table->mask].outer, source->outer, sizeof(source->outer));
    return TB_OK;
}

enum tb_err
tb_table_new(struct tb_armed *const *armed, size_t count, struct tb_table **out,
             struct tb_fail *fail)
{
    struct tb_table *table = calloc(1, sizeof(*table));
    size_t pairs = 0;
    size_t size = 64;
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < count; i++) {
        pairs += armed[i]->spec.source_count;
    }
    while (size < pairs * 2) {
        size *= 2;
    }
    if (table == NULL || (table->at = calloc(size, sizeof(*table->at))) == NULL ||
        (table->armed = calloc(count + 1, sizeof(struct tb_armed *))) == NULL) {
        tb_table_free(table);
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %zu sources", pairs);
    }
    table->mask = size - 1;
    for (size_t i = 0; i < count; i++) {
        table->armed[table->armed_count++] = armed[i];
        for (uint32_t k = 0; k < armed[i]->spec.source_count && err == TB_OK; k++) {
            err = insert(table, armed[i], k, fail);
        }
    }
    if (err != TB_OK) {
        tb_table_free(table);
        return err;
    }
    *out = table;
    return TB_OK;
}

void
tb_table_free(struct tb_table *table)
{
    if (table != NULL) {
        free(table->at);
        free(table->armed);
        free(table);
    }
}

/*
 * Counters by key, bounded: when the table is full, the smaller half leaves, and what leaves is
 * summed up.  So large conversations survive a scan that makes a million small ones.
 *
 * The hash is seeded: who sends the packets cannot choose keys that collide.
 */
#include "summary_int.h"

#include <stdlib.h>

enum {
    FIRST_SLOTS = 64 /* a power of two, as all later ones */
};

static uint64_t
hash(uint64_t seed, struct tb_bytes key)
{
    uint64_t h = seed ^ key.len;

    while (key.len > 0) {
        uint8_t word[8] = {0};
        size_t n = key.len < sizeof(word) ? key.len : sizeof(word);

        memcpy(word, key.at, n);
        h = (h ^ tb_get_le64(word)) * UINT64_C(0xFF51AFD7ED558CCD);
        h ^= (h >> 32) ^ (seed >> 7);
        key = tb_bytes_of(key.at + n, key.len - n);
    }
    h *= UINT64_C(0xC4CEB9FE1A85EC53);
    return h ^ (h >> 29);
}

void
summary_table_init(struct summary_table *table, size_t max, uint64_t seed)
{
    *table = (struct summary_table){.max = max, .seed = seed};
}

static void
drop(struct summary_table *table, struct summary_entry *entry)
{
    if (table->leaving != NULL) {
        table->leaving(table->arg, entry);
    }
    free(entry);
}

void
summary_table_release(struct summary_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        drop(table, table->entries[i]);
    }
    free(table->entries);
    free(table->slots);
    table->entries = NULL;
    table->slots = NULL;
    table->count = table->room = table->slot_count = 0;
}

/* The slot of the key, or the free one where it belongs. */
static size_t
slot_of(const struct summary_table *table, uint64_t h, struct tb_bytes key)
{
    for (size_t i = (size_t)h;; i++) {
        size_t slot = i & (table->slot_count - 1);
        const struct summary_entry *entry;

        if (table->slots[slot] == 0) {
            return slot;
        }
        entry = table->entries[table->slots[slot] - 1];
        if (entry->hash == h && entry->key_len == key.len &&
            memcmp(entry->key, key.at, key.len) == 0) {
            return slot;
        }
    }
}

static void
fill_slots(struct summary_table *table)
{
    memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
    for (size_t i = 0; i < table->count; i++) {
        const struct summary_entry *entry = table->entries[i];
        size_t slot = slot_of(table, entry->hash, tb_bytes_of(entry->key, entry->key_len));

        table->slots[slot] = (uint32_t)(i + 1);
    }
}

/* Room for one more entry, slots at most half full. */
static bool
grow(struct summary_table *table)
{
    size_t slots = table->slot_count == 0 ? FIRST_SLOTS : table->slot_count * 2;
    struct summary_entry **entries = realloc(table->entries, slots / 2 * sizeof(*entries));
    uint32_t *more;

    if (entries == NULL) {
        return false;
    }
    table->entries = entries;
    more = calloc(slots, sizeof(*more));
    if (more == NULL) {
        return false;
    }
    free(table->slots);
    table->slots = more;
    table->slot_count = slots;
    table->room = slots / 2;
    fill_slots(table);
    return true;
}

/* The larger first: by octets, then packets, then who spoke last. */
static int
by_size(const void *x, const void *y)
{
    const struct summary_entry *a = *(struct summary_entry *const *)x;
    const struct summary_entry *b = *(struct summary_entry *const *)y;
    uint64_t p = summary_entry_bytes(a), q = summary_entry_bytes(b);

    if (p == q) {
        p = summary_entry_packets(a);
        q = summary_entry_packets(b);
    }
    if (p == q) {
        return a->last_utc_ns > b->last_utc_ns ? -1 : a->last_utc_ns < b->last_utc_ns;
    }
    return p > q ? -1 : 1;
}

static void
prune(struct summary_table *table)
{
    size_t keep = table->count / 2;

    qsort(table->entries, table->count, sizeof(*table->entries), by_size);
    for (size_t i = keep; i < table->count; i++) {
        table->out.entries++;
        table->out.packets += summary_entry_packets(table->entries[i]);
        table->out.bytes += summary_entry_bytes(table->entries[i]);
        drop(table, table->entries[i]);
    }
    table->count = keep;
    fill_slots(table);
}

struct summary_entry *
summary_table_find(const struct summary_table *table, struct tb_bytes key)
{
    size_t slot;

    if (table->slot_count == 0) {
        return NULL;
    }
    slot = slot_of(table, hash(table->seed, key), key);
    return table->slots[slot] == 0 ? NULL : table->entries[table->slots[slot] - 1];
}

struct summary_entry *
summary_table_get(struct summary_table *table, struct tb_bytes key, struct tb_bytes more)
{
    struct summary_entry *entry = summary_table_find(table, key);
    uint64_t h = hash(table->seed, key);

    if (entry != NULL) {
        return entry;
    }
    if (table->count >= table->max) {
        prune(table);
    }
    if (table->count >= table->room && !grow(table)) {
        return NULL;
    }
    entry = calloc(1, sizeof(*entry) + key.len + more.len + 1);
    if (entry == NULL) {
        return NULL;
    }
    entry->hash = h;
    entry->key_len = (uint16_t)key.len;
    memcpy(entry->key, key.at, key.len);
    if (more.len > 0) {
        memcpy(entry->key + key.len, more.at, more.len);
    }
    table->entries[table->count++] = entry;
    table->slots[slot_of(table, h, key)] = (uint32_t)table->count;
    return entry;
}

void
summary_table_miss(struct summary_table *table, uint64_t bytes)
{
    table->no_memory = true;
    table->out.packets++;
    table->out.bytes += bytes;
}

/* A chained hash table keyed by text. */
#include "map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

struct map_entry {
    struct map_entry *next;
    void *value;
    uint64_t hash;
    char key[];
};

static uint64_t
hash_text(const char *key)
{
    uint64_t h = 14695981039346656037ULL; /* FNV-1a */
    for (; *key != '\0'; key++) {
        h = (h ^ (unsigned char)*key) * 1099511628211ULL;
    }
    return h ^ (h >> 29);
}

static struct map_entry **
find(const struct map *m, const char *key, uint64_t hash)
{
    struct map_entry **at = &m->slots[hash % m->nslots];
    while (*at != NULL && ((*at)->hash != hash || strcmp((*at)->key, key) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

void *
map_get(const struct map *m, const char *key)
{
    if (m->nslots == 0) {
        return NULL;
    }
    struct map_entry *e = *find(m, key, hash_text(key));
    return e == NULL ? NULL : e->value;
}

static void
grow(struct map *m)
{
    size_t nslots = m->nslots == 0 ? 64 : m->nslots * 2;
    struct map_entry **slots = xalloc(nslots * sizeof(struct map_entry *));
    for (size_t i = 0; i < m->nslots; i++) {
        for (struct map_entry *e = m->slots[i]; e != NULL;) {
            struct map_entry *next = e->next;
            e->next = slots[e->hash % nslots];
            slots[e->hash % nslots] = e;
            e = next;
        }
    }
    free(m->slots);
    m->slots = slots;
    m->nslots = nslots;
}

void *
map_put(struct map *m, const char *key, void *value)
{
    if (m->count >= m->nslots) {
        grow(m);
    }
    uint64_t hash = hash_text(key);
    struct map_entry **at = find(m, key, hash);
    if (*at != NULL) {
        void *old = (*at)->value;
        (*at)->value = value;
        return old;
    }
    size_t size = strlen(key) + 1;
    struct map_entry *e = xalloc(sizeof(*e) + size);
    memcpy(e->key, key, size);
    e->hash = hash;
    e->value = value;
    *at = e;
    m->count++;
    return NULL;
}

void *
map_remove(struct map *m, const char *key)
{
    if (m->nslots == 0) {
        return NULL;
    }
    struct map_entry **at = find(m, key, hash_text(key));
    struct map_entry *e = *at;
    if (e == NULL) {
        return NULL;
    }
    void *value = e->value;
    *at = e->next;
    free(e);
    m->count--;
    return value;
}

void
map_free(struct map *m, void (*release)(void *))
{
    for (size_t i = 0; i < m->nslots; i++) {
        for (struct map_entry *e = m->slots[i]; e != NULL;) {
            struct map_entry *next = e->next;
            if (release != NULL) {
                release(e->value);
            }
            free(e);
            e = next;
        }
    }
    free(m->slots);
    *m = (struct map){NULL, 0, 0};
}

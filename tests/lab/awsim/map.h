/* Text to pointer, by hash.  Keys are copied; values belong to the caller. */
#ifndef AWSIM_MAP_H
#define AWSIM_MAP_H

#include <stddef.h>

struct map_entry;
struct map {
    struct map_entry **slots;
    size_t nslots;
    size_t count;
};

void *map_get(const struct map *m, const char *key);
/* Set or replace; returns what was there before. */
void *map_put(struct map *m, const char *key, void *value);
void *map_remove(struct map *m, const char *key);
/* Forget all keys, calling `release` (may be NULL) on each value. */
void map_free(struct map *m, void (*release)(void *));

#endif

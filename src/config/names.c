/* Which key somebody may have meant. */
#include <stdio.h>

#include "config_int.h"

enum {
    MAX_FAR = 3 /* a misspelt key is at most this many edits away from the right one */
};

/* Edit distance (insert, delete, replace). */
static size_t
distance(const char *a, const char *b)
{
    size_t row[TB_CONFIG_MAX_NAME + 1];
    size_t b_len = strlen(b);

    if (b_len > TB_CONFIG_MAX_NAME) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t best = diagonal + (a[i] == b[j] ? 0 : 1);

            diagonal = row[j + 1];
            if (diagonal + 1 < best) {
                best = diagonal + 1;
            }
            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            row[j + 1] = best;
        }
    }
    return row[b_len];
}

const char *
tb_config_nearest(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *last = dot != NULL ? dot + 1 : name;
    const char *found = NULL;
    size_t limit = strlen(last) / 2; /* of short words, little may differ */
    size_t best = (limit < MAX_FAR ? limit : MAX_FAR) + 1;

    for (size_t i = 0; i < tb_config_key_count; i++) {
        const char *known = tb_config_keys[i].name;
        const char *known_dot = strchr(known, '.');
        size_t far = distance(name, known);

        if (far < best) {
            best = far;
            found = known;
        }
        if (best > 1 && strcmp(last, known_dot != NULL ? known_dot + 1 : known) == 0) {
            best = 1;
            found = known;
        }
    }
    return found;
}

#include "keys_int.h"

#include <stdio.h>
#include <string.h>

#include <tapbox/retrieve.h>

#include "cli_int.h"

enum {
    MAX_LEVELS = 8 /* of folders above in which keys/ is looked for: prefix and date */
};

bool
tb_cli_keys_option(struct tb_cli_keys *keys, int option, const char *value)
{
    struct tb_cli_names *names = option == 'k' ? &keys->files : &keys->fingerprints;

    if (names->count == TB_CLI_MAX_KEY_NAMES) {
        return false;
    }
    names->at[names->count++] = value;
    return true;
}

static void
add_key(struct tb_cli_keys *keys, const struct tb_public_key *key, bool trusted)
{
    struct tb_verify_key *at = &keys->at[keys->count];

    if (keys->count < TB_CLI_MAX_KEYS &&
        tb_public_key_fingerprint(key, &at->fingerprint) == TB_OK) {
        at->key = *key;
        at->trusted = trusted;
        keys->count++;
    }
}

static bool
is_key_file(const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".pem") == 0 && slash != NULL &&
           slash >= name + 4 && memcmp(slash - 4, "keys", 4) == 0 &&
           (slash == name + 4 || slash[-5] == '/');
}

/* The keys of a list: all as they come, or the one that is wanted, which is trusted then. */
static void
take_from(struct tb_cli_keys *keys, struct tb_place *place, const struct tb_place_list *list,
          const char *wanted)
{
    for (size_t i = 0; i < list->count; i++) {
        struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
        struct tb_public_key key;
        struct tb_fingerprint fingerprint;

        if (list->at[i].kind == TB_PLACE_FILE && is_key_file(list->at[i].name) &&
            tb_place_read(place, &list->at[i], &pem, NULL) == TB_OK &&
            tb_public_key_parse(tb_buf_view(&pem), &key, NULL) == TB_OK &&
            tb_public_key_fingerprint(&key, &fingerprint) == TB_OK &&
            (wanted == NULL || strcmp(fingerprint.text, wanted) == 0)) {
            add_key(keys, &key, wanted != NULL);
        }
        tb_buf_release(&pem);
    }
}

/* keys/ lies beside the captures, some levels above the place; false when none does. */
static bool
find_above(const struct tb_place *place, struct tb_place **out_above,
           struct tb_place_list *out_list)
{
    for (unsigned level = 1; level < MAX_LEVELS; level++) {
        if (tb_place_above(place, level, out_above, NULL) != TB_OK) {
            return false;
        }
        if (tb_place_list(*out_above, "keys", out_list, NULL) == TB_OK && out_list->count > 0) {
            return true;
        }
        tb_place_list_release(out_list);
        tb_place_free(*out_above);
    }
    return false;
}

static void
find(struct tb_cli_keys *keys, struct tb_place *place, const struct tb_place_list *list,
     const char *wanted)
{
    size_t before = keys->count;
    struct tb_place_list lies = {.count = 0};
    struct tb_place *above = NULL;

    take_from(keys, place, list, wanted);
    if (keys->count == before && find_above(place, &above, &lies)) {
        take_from(keys, above, &lies, wanted);
        tb_place_list_release(&lies);
        tb_place_free(above);
    }
}

enum tb_err
tb_cli_keys_bring(struct tb_place *place, int folder_fd, struct tb_fail *fail)
{
    const struct tb_download keys = {.folder_fd = folder_fd, .name = "."};
    struct tb_download_counts counts;
    struct tb_place_list lies = {.count = 0};
    struct tb_place *above = NULL;
    enum tb_err err = TB_OK;

    if (find_above(place, &above, &lies)) {
        err = tb_download(above, &lies, &keys, &counts, fail);
        tb_place_list_release(&lies);
        tb_place_free(above);
    }
    return err;
}

int
tb_cli_keys_take(struct tb_cli_keys *keys, const char *command, const char *where,
                 struct tb_place *place, const struct tb_place_list *list)
{
    struct tb_public_key key;
    struct tb_fail fail = {0};

    for (size_t i = 0; i < keys->files.count; i++) {
        if (tb_public_key_load(keys->files.at[i], &key, &fail) != TB_OK) {
            return tb_cli_fail(command, &fail);
        }
        add_key(keys, &key, true);
    }
    for (size_t i = 0; i < keys->fingerprints.count; i++) {
        size_t before = keys->count;

        find(keys, place, list, keys->fingerprints.at[i]);
        if (keys->count == before) {
            fprintf(stderr, "tapbox %s: there is no key %s in keys/ near %s\n", command,
                    keys->fingerprints.at[i], where);
            return TB_EXIT_NOT_FOUND;
        }
    }
    if (keys->count == 0) {
        find(keys, place, list, NULL);
    }
    return TB_EXIT_OK;
}

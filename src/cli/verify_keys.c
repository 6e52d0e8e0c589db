/* The public keys to go by: those that the command line names, or what lies in keys/. */
#include "verify_int.h"

#include <stdio.h>

enum {
    MAX_LEVELS = 8 /* of folders above in which keys/ is looked for: prefix and date */
};

static bool
add_key(struct verify_run *run, const struct tb_public_key *key, bool trusted)
{
    struct tb_verify_key *place = &run->keys[run->verify.key_count];

    if (run->verify.key_count == VERIFY_MAX_KEYS ||
        tb_public_key_fingerprint(key, &place->fingerprint) != TB_OK) {
        return false;
    }
    place->key = *key;
    place->trusted = trusted;
    run->verify.key_count++;
    return true;
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
take_keys(struct verify_run *run, struct tb_place *place, const struct tb_place_list *list,
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
            (void)add_key(run, &key, wanted != NULL);
        }
        tb_buf_release(&pem);
    }
}

/* keys/ lies beside the captures: below the place, in it, or some levels above it. */
static void
find_keys(struct verify_run *run, const char *wanted)
{
    size_t before = run->verify.key_count;

    take_keys(run, run->place, &run->list, wanted);
    for (unsigned level = 1; level < MAX_LEVELS && run->verify.key_count == before; level++) {
        struct tb_place *above = NULL;
        struct tb_place_list list = {.count = 0};

        if (tb_place_above(run->place, level, &above, NULL) != TB_OK) {
            break;
        }
        if (tb_place_list(above, "keys", &list, NULL) == TB_OK) {
            take_keys(run, above, &list, wanted);
        }
        tb_place_list_release(&list);
        tb_place_free(above);
    }
}

int
verify_take_keys(struct verify_run *run, const char *where, const struct verify_names *files,
                 const struct verify_names *fingerprints)
{
    struct tb_public_key key;
    struct tb_fail fail = {0};

    for (size_t i = 0; i < files->count; i++) {
        if (tb_public_key_load(files->at[i], &key, &fail) != TB_OK) {
            return tb_cli_fail("verify", &fail);
        }
        (void)add_key(run, &key, true);
    }
    for (size_t i = 0; i < fingerprints->count; i++) {
        size_t before = run->verify.key_count;

        find_keys(run, fingerprints->at[i]);
        if (run->verify.key_count == before) {
            fprintf(stderr, "tapbox verify: there is no key %s in keys/ near %s\n",
                    fingerprints->at[i], where);
            return TB_EXIT_NOT_FOUND;
        }
    }
    if (run->verify.key_count == 0) {
        find_keys(run, NULL);
    }
    if (run->verify.key_count == 0) {
        fprintf(stderr, "tapbox verify: no public key: give one with --key\n");
        return TB_EXIT_NOT_FOUND;
    }
    return TB_EXIT_OK;
}

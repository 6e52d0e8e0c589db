#include "keys_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tapbox/retrieve.h>

#include "cli_int.h"

enum {
    MAX_LEVELS = 8, /* of folders above in which keys/ is looked for: prefix and date */
    FINGERPRINT_DIGITS = sizeof(struct tb_fingerprint) - 1
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

void
tb_cli_keys_release(struct tb_cli_keys *keys)
{
    free(keys->at);
    keys->at = NULL;
    keys->count = 0;
}

static enum tb_err
add_key(struct tb_cli_keys *keys, const struct tb_public_key *key, bool trusted,
        struct tb_fail *fail)
{
    struct tb_verify_key *more = reallocarray(keys->at, keys->count + 1, sizeof(*more));
    struct tb_verify_key *at;
    enum tb_err err;

    if (more == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a key");
    }
    keys->at = more;
    at = &more[keys->count];
    *at = (struct tb_verify_key){.key = *key, .trusted = trusted};
    err = tb_public_key_fingerprint(key, &at->fingerprint);
    if (err != TB_OK) {
        return tb_fail_set(fail, err, "the fingerprint of a key");
    }
    keys->count++;
    return TB_OK;
}

bool
tb_cli_keys_is_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".pem") == 0 && slash != NULL &&
           slash >= name + 4 && memcmp(slash - 4, "keys", 4) == 0 &&
           (slash == name + 4 || slash[-5] == '/');
}

/* The keys of a list: all as they come, or the one that is wanted, which is trusted then. */
static enum tb_err
take_from(struct tb_cli_keys *keys, struct tb_place *place, const struct tb_place_list *list,
          const char *wanted, struct tb_fail *fail)
{
    enum tb_err err = TB_OK;

    for (size_t i = 0; i < list->count && err == TB_OK; i++) {
        struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
        struct tb_public_key key;
        struct tb_fingerprint fingerprint;

        if (list->at[i].kind == TB_PLACE_FILE && tb_cli_keys_is_name(list->at[i].name) &&
            tb_place_read(place, &list->at[i], &pem, NULL) == TB_OK &&
            tb_public_key_parse(tb_buf_view(&pem), &key, NULL) == TB_OK &&
            tb_public_key_fingerprint(&key, &fingerprint) == TB_OK &&
            (wanted == NULL || strcmp(fingerprint.text, wanted) == 0)) {
            err = add_key(keys, &key, wanted != NULL, fail);
        }
        tb_buf_release(&pem);
    }
    return err;
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

static enum tb_err
find(struct tb_cli_keys *keys, struct tb_place *place, const struct tb_place_list *list,
     const char *wanted, struct tb_fail *fail)
{
    size_t before = keys->count;
    struct tb_place_list lies = {.count = 0};
    struct tb_place *above = NULL;
    enum tb_err err = take_from(keys, place, list, wanted, fail);

    if (err == TB_OK && keys->count == before && find_above(place, &above, &lies)) {
        err = take_from(keys, above, &lies, wanted, fail);
        tb_place_list_release(&lies);
        tb_place_free(above);
    }
    return err;
}

/* "<fingerprint>.pem", or NULL: the name says nothing about a key. */
static const char *
named_key(const char *name)
{
    const char *file;

    if (!tb_cli_keys_is_name(name)) {
        return NULL;
    }
    file = strrchr(name, '/') + 1;
    return strspn(file, "0123456789abcdef") == FINGERPRINT_DIGITS &&
                   strcmp(file + FINGERPRINT_DIGITS, ".pem") == 0
               ? file
               : NULL;
}

/* What is wrong with the octets of <fingerprint>.pem; NULL: nothing. */
static const char *
fault_of_key(const char *file, struct tb_bytes pem)
{
    struct tb_buf canonical = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
    struct tb_public_key key;
    struct tb_fingerprint fingerprint;
    const char *fault = NULL;

    if (tb_public_key_parse(pem, &key, NULL) != TB_OK ||
        tb_public_key_fingerprint(&key, &fingerprint) != TB_OK) {
        fault = "it is not a public key";
    } else if (memcmp(file, fingerprint.text, FINGERPRINT_DIGITS) != 0) {
        fault = "it is another key than its name says";
    } else if (tb_public_key_pem(&key, &canonical, NULL) == TB_OK &&
               !tb_bytes_equal(pem, tb_buf_view(&canonical))) {
        fault = "it is that key, but not as tapbox wrote it";
    }
    tb_buf_release(&canonical);
    return fault;
}

enum tb_err
tb_cli_keys_check(const struct tb_verify *verify, struct tb_place *place,
                  const struct tb_place_list *list, size_t *out_findings, struct tb_fail *fail)
{
    *out_findings = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct tb_place_file *at = &list->at[i];
        const char *file = named_key(at->name);
        struct tb_finding finding = {.capture = "", .file = at->name, .kind = "key"};
        struct tb_buf pem = TB_BUF_INIT(TB_KEY_FILE_MAX_BYTES);
        struct tb_fail why = {.text = ""};
        enum tb_err err = TB_OK;

        if (file != NULL && at->kind != TB_PLACE_FILE) {
            finding.text = "it is not a plain file";
        } else if (file != NULL) {
            err = tb_place_read(place, at, &pem, &why);
            if (err == TB_OK) {
                finding.text = fault_of_key(file, tb_buf_view(&pem));
            } else if (err == TB_ETOOBIG) {
                finding.text = "it is larger than a key can be";
            } else if (tb_verify_is_of_file(err)) {
                finding.kind = "unreadable";
                finding.text = why.text;
            }
        }
        if (finding.text != NULL) {
            verify->finding(verify->arg, &finding);
            (*out_findings)++;
        }
        tb_buf_release(&pem);
        if (err != TB_OK && finding.text == NULL) {
            *fail = why;
            return err;
        }
    }
    return TB_OK;
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
        if (tb_public_key_load(keys->files.at[i], &key, &fail) != TB_OK ||
            add_key(keys, &key, true, &fail) != TB_OK) {
            return tb_cli_fail(command, &fail);
        }
    }
    for (size_t i = 0; i < keys->fingerprints.count; i++) {
        size_t before = keys->count;

        if (find(keys, place, list, keys->fingerprints.at[i], &fail) != TB_OK) {
            return tb_cli_fail(command, &fail);
        }
        if (keys->count == before) {
            fprintf(stderr, "tapbox %s: there is no key %s in keys/ near %s\n", command,
                    keys->fingerprints.at[i], where);
            return TB_EXIT_NOT_FOUND;
        }
    }
    if (keys->count == 0 && find(keys, place, list, NULL, &fail) != TB_OK) {
        return tb_cli_fail(command, &fail);
    }
    return TB_EXIT_OK;
}

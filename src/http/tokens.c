/*
 * The token file: who may call, as salted hashes.
 *
 * One line a token: name:role[,role]:salt:sha256hex, where the hash is over the salt's text and
 * the token's text behind it.  A line with '#' in front is a comment.  The tokens are 256
 * random bits: a plain hash of them cannot be searched, the salt keeps two files from being
 * compared.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/digest.h>
#include <tapbox/io.h>
#include <tapbox/secret.h>

#include "http_int.h"

enum {
    SALT_BYTES = 16,
    TOKEN_BYTES = 32,
    TOKEN_MAX_BYTES = 512 /* of what a caller may present: EventBridge's ceiling for a value */
};

struct token {
    char name[TB_TOKEN_NAME_SIZE];
    unsigned roles;
    char salt[2 * SALT_BYTES + 1];
    uint8_t sha256[TB_SHA256_SIZE];
};

struct token_list {
    struct token *at; /* owned */
    size_t count, room;
};

struct tb_tokens {
    char path[256]; /* set once */
    struct tb_mutex mu;
    struct { /* touched only while holding mu */
        struct token_list list;
        bool there;
        struct stat seen; /* the file that `list` came from */
    } locked;
};

static const struct {
    const char *name;
    unsigned role;
} roles[] = {
    {"alert", TB_ROLE_ALERT},         {"analyst", TB_ROLE_ANALYST},
    {"responder", TB_ROLE_RESPONDER}, {"scraper", TB_ROLE_SCRAPER},
    {"admin", TB_ROLE_ADMIN},
};
enum {
    ROLES = sizeof(roles) / sizeof(roles[0])
};

enum tb_err
tb_role_parse(const char *text, unsigned *out_roles)
{
    unsigned found = 0;

    for (const char *p = text;;) {
        size_t len = strcspn(p, ",");
        size_t i;

        for (i = 0; i < ROLES; i++) {
            if (strlen(roles[i].name) == len && strncmp(roles[i].name, p, len) == 0) {
                break;
            }
        }
        if (i == ROLES) {
            return TB_EINVAL;
        }
        found |= roles[i].role;
        if (p[len] == '\0') {
            *out_roles = found;
            return TB_OK;
        }
        p += len + 1;
    }
}

static bool
name_valid(const char *name)
{
    size_t len = strlen(name);

    for (const char *p = name; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr("-_.@", *p) == NULL) {
            return false;
        }
    }
    return len > 0 && len < TB_TOKEN_NAME_SIZE;
}

static enum tb_err
hash_token(const char salt[2 * SALT_BYTES + 1], struct tb_bytes token, struct tb_sha256 *out)
{
    uint8_t octets[2 * SALT_BYTES + TOKEN_MAX_BYTES];
    enum tb_err err;

    if (token.len > TOKEN_MAX_BYTES) {
        return TB_ETOOBIG;
    }
    for (size_t i = 0; i < (size_t)2 * SALT_BYTES; i++) {
        octets[i] = (uint8_t)salt[i];
    }
    memcpy(octets + 2 * SALT_BYTES, token.at, token.len);
    err = tb_sha256(tb_bytes_of(octets, 2 * SALT_BYTES + token.len), out);
    tb_wipe(octets, sizeof(octets));
    return err;
}

/* `line` is cut into its fields. */
static bool
parse_line(char *line, struct token *out)
{
    char *fields[4];
    char *rest = line;

    for (size_t i = 0; i < 4; i++) {
        fields[i] = strsep(&rest, ":");
        if (fields[i] == NULL) {
            return false;
        }
    }
    return rest == NULL && name_valid(fields[0]) &&
           tb_role_parse(fields[1], &out->roles) == TB_OK &&
           strlen(fields[2]) == sizeof(out->salt) - 1 &&
           strspn(fields[2], "0123456789abcdef") == sizeof(out->salt) - 1 &&
           tb_str_copy(out->name, sizeof(out->name), fields[0]) &&
           tb_str_copy(out->salt, sizeof(out->salt), fields[2]) &&
           tb_unhex(out->sha256, sizeof(out->sha256), fields[3]) == TB_OK;
}

static enum tb_err
add_token(struct token_list *list, const struct token *token)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 8 : list->room * 2;
        struct token *at = reallocarray(list->at, room, sizeof(*at));

        if (at == NULL) {
            return TB_ENOMEM;
        }
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] = *token;
    return TB_OK;
}

/* `text` is written into. */
static enum tb_err
parse_file(char *text, const char *path, struct token_list *out, struct tb_fail *fail)
{
    struct token_list list = {0};
    size_t number = 0;
    enum tb_err err = TB_OK;

    for (char *line; err == TB_OK && (line = strsep(&text, "\n")) != NULL;) {
        struct token token = {0};

        number++;
        if (line[0] == '\0' || line[0] == '#') {
            continue;
        }
        if (!parse_line(line, &token)) {
            err = tb_fail_set(fail, TB_EFORMAT,
                              "%s:%zu: not a token line (name:role[,role]:salt:sha256, as "
                              "'tapbox token add' writes it)",
                              path, number);
            continue;
        }
        err = add_token(&list, &token);
    }
    if (err != TB_OK) {
        free(list.at);
        return err;
    }
    *out = list;
    return TB_OK;
}

/* What is in the file now; `out_there` false, and an empty list, when there is none. */
static enum tb_err
load(const char *path, struct token_list *out, struct stat *out_seen, bool *out_there,
     struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_TOKENS_MAX_BYTES);
    struct stat seen = {0};
    enum tb_err err;

    /* looked at before reading: a change in between is found the next time */
    if (stat(path, &seen) != 0) {
        if (errno != ENOENT) {
            return tb_fail_errno(fail, errno, "tokens file %s", path);
        }
        *out = (struct token_list){0};
        *out_there = false;
        return TB_OK;
    }
    if ((seen.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return tb_fail_set(fail, TB_EDENIED,
                           "tokens file %s may be written by others: chmod 600 it", path);
    }
    err = tb_read_file(AT_FDCWD, path, &text, fail);
    if (err == TB_OK && memchr(tb_buf_str(&text), '\0', text.len) != NULL) {
        err = tb_fail_set(fail, TB_EFORMAT, "tokens file %s holds a NUL", path);
    }
    if (err == TB_OK && text.len > 0) {
        err = parse_file((char *)text.at, path, out, fail);
    } else if (err == TB_OK) {
        *out = (struct token_list){0};
    }
    if (err == TB_OK) {
        *out_seen = seen;
        *out_there = true;
    }
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_tokens_open(const char *path, struct tb_tokens **out, struct tb_fail *fail)
{
    struct tb_tokens *tokens = calloc(1, sizeof(*tokens));
    enum tb_err err;

    if (tokens == NULL || !tb_str_copy(tokens->path, sizeof(tokens->path), path)) {
        free(tokens);
        return tb_fail_set(fail, TB_ENOMEM, "tokens file %s", path);
    }
    err = load(path, &tokens->locked.list, &tokens->locked.seen, &tokens->locked.there, fail);
    if (err != TB_OK) {
        free(tokens);
        return err;
    }
    tb_mutex_init(&tokens->mu);
    *out = tokens;
    return TB_OK;
}

void
tb_tokens_free(struct tb_tokens *tokens)
{
    if (tokens != NULL) {
        tb_mutex_release(&tokens->mu);
        free(tokens->locked.list.at);
        free(tokens);
    }
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A token revoked is refused with the next call; a file that was broken meanwhile changes
 * nothing, and is said once a change. */
static void refresh_locked(struct tb_tokens *tokens) TB_REQUIRES(tokens->mu);

static void
refresh_locked(struct tb_tokens *tokens)
{
    struct token_list list = {0};
    struct tb_fail fail = {0};
    struct stat now = {0};
    bool there = stat(tokens->path, &now) == 0;

    if (there == tokens->locked.there && (!there || same_file(&now, &tokens->locked.seen))) {
        return;
    }
    if (load(tokens->path, &list, &now, &there, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "the tokens read before stay in use");
        tokens->locked.there = there;
        tokens->locked.seen = now;
        return;
    }
    free(tokens->locked.list.at);
    tokens->locked.list = list;
    tokens->locked.there = there;
    tokens->locked.seen = now;
    tb_log(TB_LOG_INFO, NULL, "tokens file %s read again: %zu tokens", tokens->path,
           list.count);
}

size_t
tb_tokens_count(struct tb_tokens *tokens)
{
    size_t count;

    tb_mutex_lock(&tokens->mu);
    count = tokens->locked.list.count;
    tb_mutex_unlock(&tokens->mu);
    return count;
}

bool
tb_tokens_find(struct tb_tokens *tokens, struct tb_bytes token,
               char out_name[TB_TOKEN_NAME_SIZE], unsigned *out_roles)
{
    bool found = false;

    tb_mutex_lock(&tokens->mu);
    refresh_locked(tokens);
    /* all of them, so that the time does not tell which one was near */
    for (size_t i = 0; i < tokens->locked.list.count; i++) {
        const struct token *t = &tokens->locked.list.at[i];
        struct tb_sha256 hash;

        if (hash_token(t->salt, token, &hash) == TB_OK &&
            tb_equal_secret(tb_bytes_of(hash.octets, sizeof(hash.octets)),
                            tb_bytes_of(t->sha256, sizeof(t->sha256)))) {
            memcpy(out_name, t->name, sizeof(t->name));
            *out_roles = t->roles;
            found = true;
        }
    }
    tb_mutex_unlock(&tokens->mu);
    return found;
}

void
tb_roles_put(struct tb_buf *out, unsigned which, const char *between)
{
    const char *before = "";

    for (size_t i = 0; i < ROLES; i++) {
        if ((which & roles[i].role) != 0) {
            tb_buf_printf(out, "%s%s", before, roles[i].name);
            before = between;
        }
    }
}

/* --- making one --- */

/* Appends the line of a new token to `text` and gives the token. */
static enum tb_err
make_line(struct tb_buf *text, const char *name, unsigned which, struct tb_secret *out_token,
          struct tb_fail *fail)
{
    uint8_t random[TOKEN_BYTES], salt_octets[SALT_BYTES];
    char salt[2 * SALT_BYTES + 1], hex[TB_SHA256_HEX_SIZE];
    char token[4 + 2 * TOKEN_BYTES + 1] = "tbx_";
    struct tb_sha256 hash;
    enum tb_err err;

    if (tb_random(random, sizeof(random)) != TB_OK ||
        tb_random(salt_octets, sizeof(salt_octets)) != TB_OK) {
        err = tb_fail_set(fail, TB_EINTERNAL, "no random numbers for a token");
        goto out;
    }
    tb_hex(token + 4, tb_bytes_of(random, sizeof(random)));
    tb_hex(salt, tb_bytes_of(salt_octets, sizeof(salt_octets)));
    err = hash_token(salt, tb_bytes_str(token), &hash);
    if (err != TB_OK) {
        err = tb_fail_set(fail, err, "the token could not be hashed");
        goto out;
    }
    tb_sha256_hex(hex, &hash);
    if (text->len > 0 && text->at[text->len - 1] != '\n') {
        tb_buf_put_u8(text, '\n');
    }
    tb_buf_printf(text, "%s:", name);
    tb_roles_put(text, which, ",");
    tb_buf_printf(text, ":%s:%s\n", salt, hex);
    err = tb_buf_check(text, "the tokens file", fail);
    if (err == TB_OK) {
        err = tb_secret_set(out_token, tb_bytes_str(token));
    }

out:
    tb_wipe(random, sizeof(random));
    tb_wipe(token, sizeof(token));
    return err;
}

static enum tb_err
check_name_free(const char *text, const char *path, const char *name, struct tb_fail *fail)
{
    char *copy = strdup(text);
    struct token_list list = {0};
    enum tb_err err;

    if (copy == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "tokens file %s", path);
    }
    err = parse_file(copy, path, &list, fail);
    for (size_t i = 0; err == TB_OK && i < list.count; i++) {
        if (strcmp(list.at[i].name, name) == 0) {
            err = tb_fail_set(fail, TB_EEXIST,
                              "%s has a token named '%s' already: choose another name, or "
                              "revoke it first",
                              path, name);
        }
    }
    free(list.at);
    free(copy);
    return err;
}

/* Two who change the file at once would each write it without the other's line. */
static enum tb_err
lock_folder(const char *path, int *out_fd, struct tb_fail *fail)
{
    const char *slash = strrchr(path, '/');
    char folder[256] = ".";
    enum tb_err err;
    int fd;

    if (slash != NULL) {
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path + 1), path);
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        err = tb_fail_errno(fail, errno, "folder of tokens, %s", folder);
        tb_close(&fd);
        return err;
    }
    *out_fd = fd;
    return TB_OK;
}

enum tb_err
tb_token_add(const char *path, const char *name, unsigned which, struct tb_secret *out_token,
             struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_TOKENS_MAX_BYTES);
    struct tb_secret token = TB_SECRET_INIT;
    int lock_fd = -1;
    enum tb_err err;

    if (!name_valid(name)) {
        return tb_fail_set(fail, TB_EINVAL,
                           "'%s' is not a name for a token: 1 to %d letters, digits, - _ . @",
                           name, TB_TOKEN_NAME_SIZE - 1);
    }
    err = lock_folder(path, &lock_fd, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_read_file(AT_FDCWD, path, &text, fail);
    if (err == TB_ENOTFOUND) {
        tb_buf_put_str(&text, "# name:role[,role]:salt:sha256 of the salt and the token\n");
        err = TB_OK;
    }
    if (err == TB_OK) {
        err = check_name_free(tb_buf_str(&text), path, name, fail);
    }
    if (err == TB_OK) {
        err = make_line(&text, name, which, &token, fail);
    }
    if (err == TB_OK) {
        err = tb_write_file_whole(AT_FDCWD, path, tb_buf_view(&text), 0640, fail);
    }
    if (err == TB_OK) {
        tb_secret_release(out_token);
        *out_token = token; /* the caller's from here */
        token = (struct tb_secret)TB_SECRET_INIT;
    }

    tb_close(&lock_fd);
    tb_secret_release(&token);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_token_list(const char *path, void (*each)(void *arg, const char *name, const char *roles),
              void *arg, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_TOKENS_MAX_BYTES);
    struct token_list list = {0};
    enum tb_err err = tb_read_file(AT_FDCWD, path, &text, fail);

    if (err == TB_OK && text.len > 0) {
        err = parse_file((char *)(uintptr_t)tb_buf_str(&text), path, &list, fail);
    }
    for (size_t i = 0; err == TB_OK && i < list.count; i++) {
        struct tb_buf names = TB_BUF_INIT(256);

        tb_roles_put(&names, list.at[i].roles, ",");
        each(arg, list.at[i].name, tb_buf_str(&names));
        tb_buf_release(&names);
    }
    free(list.at);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_token_revoke(const char *path, const char *name, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_TOKENS_MAX_BYTES),
                  kept = TB_BUF_INIT(TB_TOKENS_MAX_BYTES);
    size_t name_len = strlen(name), gone = 0;
    int lock_fd = -1;
    enum tb_err err = lock_folder(path, &lock_fd, fail);

    if (err != TB_OK) {
        return err;
    }
    err = tb_read_file(AT_FDCWD, path, &text, fail);
    for (const char *line = tb_buf_str(&text); err == TB_OK && *line != '\0';) {
        size_t len = strcspn(line, "\n");

        len += line[len] == '\n';
        if (strncmp(line, name, name_len) == 0 && line[name_len] == ':') {
            gone++;
        } else {
            tb_buf_put(&kept, line, len);
        }
        line += len;
    }
    if (err == TB_OK && gone == 0) {
        err = tb_fail_set(fail, TB_ENOTFOUND, "%s has no token named '%s'", path, name);
    }
    if (err == TB_OK) {
        err = tb_buf_check(&kept, "the tokens file", fail);
    }
    if (err == TB_OK) {
        err = tb_write_file_whole(AT_FDCWD, path, tb_buf_view(&kept), 0640, fail);
    }
    tb_close(&lock_fd);
    tb_buf_release(&kept);
    tb_buf_release(&text);
    return err;
}

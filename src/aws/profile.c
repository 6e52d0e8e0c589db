/*
 * The shared files of AWS's tools: INI sections with settings, and settings nested one deep
 * below an empty one by indentation.  Source: AWS SDKs and Tools Reference Guide, "Shared
 * config and credentials files".
 */
#include "aws_int.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include <tapbox/io.h>

enum {
    MAX_SETTINGS = 20000, /* of both files: a megabyte of short lines */
    NAME_MAX_BYTES = 256  /* of a section or a key */
};

struct setting {
    char *section; /* "profile NAME", "services NAME" */
    char *key;     /* "region", "s3.endpoint_url"; NULL: only says that the section is there */
    struct tb_secret value;
    enum tb_aws_file file;
};

struct tb_aws_profiles {
    struct setting *at;
    size_t count, cap;
};

struct parse {
    struct tb_aws_profiles *profiles;
    enum tb_aws_file file;
    unsigned line;
    char section[NAME_MAX_BYTES]; /* "" : before the first, or one that means nothing to us */
    char parent[NAME_MAX_BYTES];  /* a key without value, above indented lines */
};

enum tb_err
tb_aws_profiles_new(struct tb_aws_profiles **out, struct tb_fail *fail)
{
    struct tb_aws_profiles *profiles = calloc(1, sizeof(*profiles));

    if (profiles == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "AWS profiles");
    }
    *out = profiles;
    return TB_OK;
}

void
tb_aws_profiles_free(struct tb_aws_profiles *profiles)
{
    if (profiles == NULL) {
        return;
    }
    for (size_t i = 0; i < profiles->count; i++) {
        free(profiles->at[i].section);
        free(profiles->at[i].key);
        tb_secret_release(&profiles->at[i].value);
    }
    free(profiles->at);
    free(profiles);
}

static enum tb_err
add_setting(struct parse *p, const char *key, struct tb_bytes value, struct tb_fail *fail)
{
    struct tb_aws_profiles *profiles = p->profiles;
    struct setting *setting;

    if (profiles->count == MAX_SETTINGS) {
        return tb_fail_set(fail, TB_ETOOBIG, "more than %d settings", MAX_SETTINGS);
    }
    if (profiles->count == profiles->cap) {
        size_t cap = profiles->cap == 0 ? 32 : profiles->cap * 2;
        struct setting *more = reallocarray(profiles->at, cap, sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "AWS profiles");
        }
        profiles->at = more;
        profiles->cap = cap;
    }
    setting = &profiles->at[profiles->count++];
    *setting = (struct setting){.file = p->file, .section = strdup(p->section)};
    setting->key = key != NULL ? strdup(key) : NULL;
    if (setting->section == NULL || (key != NULL && setting->key == NULL) ||
        tb_secret_set(&setting->value, value) != TB_OK) {
        return tb_fail_set(fail, TB_ENOMEM, "AWS profiles");
    }
    return TB_OK;
}

static struct tb_bytes
trim(struct tb_bytes text)
{
    while (text.len > 0 && isspace(text.at[0])) {
        text = tb_bytes_of(text.at + 1, text.len - 1);
    }
    while (text.len > 0 && isspace(text.at[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* White space and then '#' or ';' begins a comment; neither alone does: secrets may have them.
 */
static struct tb_bytes
without_comment(struct tb_bytes text)
{
    for (size_t i = 1; i < text.len; i++) {
        if ((text.at[i] == '#' || text.at[i] == ';') && isspace(text.at[i - 1])) {
            return trim(tb_bytes_of(text.at, i));
        }
    }
    return text;
}

static enum tb_err
copy_name(struct parse *p, struct tb_bytes text, bool lower, char out[NAME_MAX_BYTES],
          struct tb_fail *fail)
{
    if (text.len == 0 || text.len >= NAME_MAX_BYTES) {
        return tb_fail_set(fail, TB_EFORMAT, "line %u: a name is empty or too long", p->line);
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];

        out[i] = (char)(lower && c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out[text.len] = '\0';
    return TB_OK;
}

static bool
is_quote(uint8_t c)
{
    return c == '"' || c == '\'';
}

/* "[default]", "[name]", "[profile name]", "[profile \"a name\"]", "[services name]" */
static enum tb_err
begin_section(struct parse *p, struct tb_bytes line, struct tb_fail *fail)
{
    const uint8_t *close = memchr(line.at, ']', line.len);
    char name[NAME_MAX_BYTES], kind[NAME_MAX_BYTES] = "profile";
    struct tb_bytes inside, first, rest;
    size_t len = 0;
    enum tb_err err;

    p->section[0] = p->parent[0] = '\0';
    if (close == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "line %u: '[' without ']'", p->line);
    }
    inside = trim(tb_bytes_of(line.at + 1, (size_t)(close - line.at) - 1));
    if (p->file == TB_AWS_FILE_CREDENTIALS) {
        rest = inside;
    } else {
        while (len < inside.len && !isspace(inside.at[len])) {
            len++;
        }
        first = tb_bytes_of(inside.at, len);
        rest = trim(tb_bytes_of(inside.at + len, inside.len - len));
        if (rest.len == 0 && tb_bytes_equal(first, tb_bytes_str("default"))) {
            rest = first;
        } else if (rest.len > 0) {
            err = copy_name(p, first, false, kind, fail);
            if (err != TB_OK) {
                return err;
            }
        } else {
            return TB_OK; /* a name without "profile": every SDK ignores it */
        }
    }
    if (rest.len >= 2 && is_quote(rest.at[0]) && rest.at[rest.len - 1] == rest.at[0]) {
        rest = tb_bytes_of(rest.at + 1, rest.len - 2);
    }
    err = copy_name(p, rest, false, name, fail);
    if (err != TB_OK) {
        return err;
    }
    if (snprintf(p->section, sizeof(p->section), "%s %s", kind, name) >=
        (int)sizeof(p->section)) {
        p->section[0] = '\0';
        return tb_fail_set(fail, TB_EFORMAT, "line %u: a name is too long", p->line);
    }
    return add_setting(p, NULL, tb_bytes_str(""), fail);
}

static enum tb_err
take_setting(struct parse *p, struct tb_bytes line, bool indented, struct tb_fail *fail)
{
    const uint8_t *equals = memchr(line.at, '=', line.len);
    char key[NAME_MAX_BYTES], full[2 * NAME_MAX_BYTES];
    struct tb_bytes value;
    enum tb_err err;

    if (p->section[0] == '\0') {
        return TB_OK;
    }
    if (equals == NULL) {
        if (indented) {
            return TB_OK; /* the rest of a value over several lines, which nothing here has */
        }
        return tb_fail_set(fail, TB_EFORMAT, "line %u: neither [section] nor key = value",
                           p->line);
    }
    err = copy_name(p, trim(tb_bytes_of(line.at, (size_t)(equals - line.at))), true, key, fail);
    if (err != TB_OK) {
        return err;
    }
    value = without_comment(
        trim(tb_bytes_of(equals + 1, line.len - (size_t)(equals - line.at) - 1)));
    if (indented && p->parent[0] != '\0') {
        (void)snprintf(full, sizeof(full), "%s.%s", p->parent, key);
        return add_setting(p, full, value, fail);
    }
    if (indented) {
        return TB_OK; /* likewise */
    }
    p->parent[0] = '\0';
    if (value.len == 0) {
        (void)tb_str_copy(p->parent, sizeof(p->parent), key);
    }
    return add_setting(p, key, value, fail);
}

enum tb_err
tb_aws_profiles_parse(struct tb_aws_profiles *profiles, enum tb_aws_file file,
                      struct tb_bytes text, struct tb_fail *fail)
{
    struct parse p = {.profiles = profiles, .file = file};
    enum tb_err err = TB_OK;

    if (text.len >= 3 && memcmp(text.at, "\xef\xbb\xbf", 3) == 0) {
        text = tb_bytes_of(text.at + 3, text.len - 3);
    }
    if (text.len > 0 && memchr(text.at, 0, text.len) != NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "it is not a text file");
    }
    while (text.len > 0 && err == TB_OK) {
        const uint8_t *end = memchr(text.at, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.at) : text.len;
        struct tb_bytes line = trim(tb_bytes_of(text.at, len));
        bool indented = len > 0 && isspace(text.at[0]);

        p.line++;
        if (line.len > 0 && line.at[0] != '#' && line.at[0] != ';') {
            err = line.at[0] == '[' ? begin_section(&p, line, fail)
                                    : take_setting(&p, line, indented, fail);
        }
        len += end != NULL;
        text = tb_bytes_of(text.at + len, text.len - len);
    }
    return err;
}

/* --- where they are --- */

/* HOME, else what the user database says; a service has none in its environment. */
static const char *
home_folder(char *room, size_t cap)
{
    const char *home = getenv("HOME");
    struct passwd user, *found = NULL;

    if (home != NULL && home[0] != '\0') {
        return home;
    }
    return getpwuid_r(getuid(), &user, room, cap, &found) == 0 && found != NULL ? user.pw_dir
                                                                                : "/";
}

static enum tb_err
load_file(struct tb_aws_profiles *profiles, enum tb_aws_file file, struct tb_fail *fail)
{
    static const struct {
        const char *variable, *usual;
    } places[] = {
        [TB_AWS_FILE_CREDENTIALS] = {"AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"},
        [TB_AWS_FILE_CONFIG] = {"AWS_CONFIG_FILE", "~/.aws/config"},
    };
    struct tb_buf text = TB_BUF_INIT(TB_CREDENTIALS_FILE_MAX_BYTES);
    const char *name = getenv(places[file].variable);
    char path[4096], home[4096];
    enum tb_err err;
    int len;

    if (name == NULL || name[0] == '\0') {
        name = places[file].usual;
    }
    len = name[0] == '~' && name[1] == '/'
              ? snprintf(path, sizeof(path), "%s%s", home_folder(home, sizeof(home)), name + 1)
              : snprintf(path, sizeof(path), "%s", name);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return tb_fail_set(fail, TB_EINVAL, "%s is too long", places[file].variable);
    }
    err = tb_read_file(AT_FDCWD, path, &text, fail);
    if (err == TB_OK) {
        err = tb_aws_profiles_parse(profiles, file, tb_buf_view(&text), fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%s", path);
        }
    } else if (err == TB_ENOTFOUND) {
        err = TB_OK;
    }
    tb_wipe(text.at, text.cap);
    tb_buf_release(&text);
    return err;
}

enum tb_err
tb_aws_profiles_load(struct tb_aws_profiles **out, struct tb_fail *fail)
{
    struct tb_aws_profiles *profiles = NULL;
    enum tb_err err = tb_aws_profiles_new(&profiles, fail);

    if (err == TB_OK) {
        err = load_file(profiles, TB_AWS_FILE_CONFIG, fail);
    }
    if (err == TB_OK) {
        err = load_file(profiles, TB_AWS_FILE_CREDENTIALS, fail);
    }
    if (err != TB_OK) {
        tb_aws_profiles_free(profiles);
        return err;
    }
    *out = profiles;
    return TB_OK;
}

const char *
tb_aws_profile_name(void)
{
    const char *name = getenv("AWS_PROFILE");

    return name != NULL && name[0] != '\0' ? name : "default";
}

/* --- looking up --- */

static bool
is_section(const struct setting *setting, const char *kind, const char *name)
{
    size_t len = strlen(kind);

    return strncmp(setting->section, kind, len) == 0 && setting->section[len] == ' ' &&
           strcmp(setting->section + len + 1, name) == 0;
}

static const struct setting *
find(const struct tb_aws_profiles *profiles, const char *kind, const char *name,
     const char *key)
{
    const struct setting *found = NULL;

    for (size_t i = 0; i < profiles->count; i++) {
        const struct setting *setting = &profiles->at[i];

        if (!is_section(setting, kind, name)) {
            continue;
        }
        if (key != NULL && (setting->key == NULL || strcmp(setting->key, key) != 0)) {
            continue;
        }
        if (found == NULL || setting->file <= found->file) {
            found = setting;
        }
    }
    return found;
}

bool
tb_aws_profiles_has(const struct tb_aws_profiles *profiles, const char *profile)
{
    return find(profiles, "profile", profile, NULL) != NULL;
}

const char *
tb_aws_profiles_get(const struct tb_aws_profiles *profiles, const char *profile,
                    const char *key)
{
    const struct setting *setting = find(profiles, "profile", profile, key);

    return setting != NULL ? setting->value.text : NULL;
}

const char *
tb_aws_profiles_service(const struct tb_aws_profiles *profiles, const char *services,
                        const char *key)
{
    const struct setting *setting = find(profiles, "services", services, key);

    return setting != NULL ? setting->value.text : NULL;
}

/*
 * Reads the YAML file: a mapping of keys and of sections that hold keys, nothing deeper but the
 * accounts, each a section of that section.
 *
 * It goes by libyaml's events, each of which knows its line.  Aliases, anchors and tags are
 * refused: no setting needs them, and a file means what it says on each line.
 */
#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <yaml.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/io.h>

#include "config_int.h"

enum {
    MAX_KEYS = 128, /* of the table, for the notes about where each was seen */
    MAX_NAME = TB_CONFIG_MAX_NAME
};

static const char accounts_section[] = "accounts";

struct walk {
    yaml_parser_t yaml;
    const char *name;
    struct tb_config *config;
    size_t seen_line[MAX_KEYS]; /* 0: not seen */
    void (*report)(void *arg, const char *line);
    void *arg;
    struct tb_fail *fail; /* the first complaint; may be NULL */
    bool complained;
};

/* Hands a complaint on; the walk goes on behind it. */
static void TB_PRINTF(4, 5)
    complain(struct walk *w, size_t line, const char *key, const char *fmt, ...)
{
    char text[400];
    struct tb_fail fail = {0};
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (line != 0) {
        (void)tb_fail_set(&fail, TB_EINVAL, "%s:%zu: %s%s%s", w->name, line, key,
                          key[0] != '\0' ? ": " : "", text);
    } else {
        (void)tb_fail_set(&fail, TB_EINVAL, "%s: %s: %s", w->name, key, text);
    }
    if (w->report != NULL) {
        w->report(w->arg, fail.text);
    }
    if (!w->complained && w->fail != NULL) {
        *w->fail = fail;
    }
    w->complained = true;
}

static size_t
line_of(const yaml_event_t *event)
{
    return event->start_mark.line + 1;
}

/* The next event, to be deleted; false after a complaint when the text is not YAML. */
static bool
next_event(struct walk *w, yaml_event_t *event)
{
    size_t line;

    if (yaml_parser_parse(&w->yaml, event)) {
        return true;
    }
    /* what is wrong with the encoding has no mark: it is a little behind the last one */
    line = w->yaml.problem_mark.line > 0 ? w->yaml.problem_mark.line : w->yaml.mark.line;
    complain(w, line + 1, "", "not YAML: %s",
             w->yaml.problem != NULL ? w->yaml.problem : "out of memory");
    return false;
}

static bool
is_start(const yaml_event_t *event)
{
    return event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
}

static bool
is_end(const yaml_event_t *event)
{
    return event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
}

/* Reads over the rest of a mapping or sequence whose start was taken. */
static bool
skip_rest(struct walk *w)
{
    for (size_t depth = 1; depth > 0;) {
        yaml_event_t event;

        if (!next_event(w, &event)) {
            return false;
        }
        depth += is_start(&event) ? 1 : 0;
        depth -= is_end(&event) ? 1 : 0;
        yaml_event_delete(&event);
    }
    return true;
}

/* What we do not read from YAML; NULL when the event is plain. */
static const char *
fancy(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "aliases (*name) are not read here: write the value";
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    default:
        break;
    }
    if (anchor != NULL) {
        return "anchors (&name) are not read here: write the value in each place";
    }
    return tag != NULL ? "tags (!name) are not read here: write the plain value" : NULL;
}

static const char *
scalar_text(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static bool
has_nul(const yaml_event_t *event)
{
    return strlen(scalar_text(event)) != event->data.scalar.length;
}

/* "key:" with nothing behind it */
static bool
is_nothing(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 &&
           event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* --- names of keys --- */

size_t
tb_config_find(const char *name)
{
    for (size_t i = 0; i < tb_config_key_count; i++) {
        if (strcmp(tb_config_keys[i].name, name) == 0) {
            return i;
        }
    }
    return tb_config_key_count;
}

static bool
is_section(const char *name)
{
    size_t len = strlen(name);

    if (strcmp(name, accounts_section) == 0) {
        return true;
    }
    for (size_t i = 0; i < tb_config_key_count; i++) {
        if (strncmp(tb_config_keys[i].name, name, len) == 0 &&
            tb_config_keys[i].name[len] == '.') {
            return true;
        }
    }
    return false;
}

static void
complain_unknown(struct walk *w, size_t line, const char *name)
{
    const char *near = tb_config_nearest(name);
    const char *dot;
    char shown[MAX_NAME];
    size_t i;

    for (i = 0; name[i] != '\0' && i < sizeof(shown) - 1; i++) {
        shown[i] = iscntrl((unsigned char)name[i]) ? '?' : name[i];
    }
    shown[i] = '\0';
    dot = near != NULL ? strchr(near, '.') : NULL;
    if (near == NULL) {
        complain(w, line, shown, "unknown key ('tapbox check-config --defaults' lists them)");
    } else if (dot == NULL) {
        complain(w, line, shown, "unknown key; did you mean '%s'?", near);
    } else {
        complain(w, line, shown, "unknown key; did you mean '%s' under '%.*s:'?", dot + 1,
                 (int)(dot - near), near);
    }
}

/* --- the walk --- */

/* One key whose value's first event is `value`. */
static bool
take_key(struct walk *w, const char *name, size_t line, const yaml_event_t *value)
{
    size_t i = tb_config_find(name);
    struct tb_fail why = {0};

    if (i == tb_config_key_count) {
        complain_unknown(w, line, name);
        return is_start(value) ? skip_rest(w) : true;
    }
    if (fancy(value) != NULL) {
        complain(w, line, name, "%s", fancy(value));
        return is_start(value) ? skip_rest(w) : true;
    }
    if (is_start(value)) {
        complain(w, line, name, "is one value, not a %s",
                 value->type == YAML_MAPPING_START_EVENT ? "section" : "list");
        return skip_rest(w);
    }
    if (w->seen_line[i] != 0) {
        complain(w, line, name, "is there twice; the first is on line %zu", w->seen_line[i]);
        return true;
    }
    w->seen_line[i] = line;
    if (is_nothing(value)) {
        complain(w, line, name, "has no value (leave the line out for the default)");
    } else if (has_nul(value)) {
        complain(w, line, name, "holds a NUL character");
    } else if (tb_config_set(&tb_config_keys[i], scalar_text(value), w->config, &why) !=
               TB_OK) {
        complain(w, line, name, "%s", why.text);
    }
    return true;
}

/* --- accounts: the one section that holds sections --- */

/* One member of an account; the value's first event is `value`. */
static bool
take_account_key(struct walk *w, const char *where, const char *name, size_t line,
                 const yaml_event_t *value, struct tb_config_account *account,
                 size_t seen_line[TB_CONFIG_ACCOUNT_KEYS])
{
    const struct tb_config_account_key *key = NULL;
    struct tb_fail why = {0};
    size_t i = 0;

    while (i < TB_CONFIG_ACCOUNT_KEYS && strcmp(tb_config_account_keys[i].name, name) != 0) {
        i++;
    }
    if (i == TB_CONFIG_ACCOUNT_KEYS) {
        complain(w, line, where, "an account has a role and an external_id, nothing else");
    } else if (fancy(value) != NULL) {
        complain(w, line, where, "%s", fancy(value));
    } else if (seen_line[i] != 0) {
        complain(w, line, where, "%s is there twice; the first is on line %zu", name,
                 seen_line[i]);
    } else if (is_start(value) || is_nothing(value) || has_nul(value)) {
        complain(w, line, where, "%s has to be one value", name);
    } else {
        key = &tb_config_account_keys[i];
        seen_line[i] = line;
    }
    if (key != NULL && tb_config_account_set(key, scalar_text(value), account, &why) != TB_OK) {
        complain(w, line, where, "%s: %s", name, why.text);
    }
    return is_start(value) ? skip_rest(w) : true;
}

/* The members of an account whose mapping's start was taken. */
static bool
take_account_members(struct walk *w, const char *where, size_t line,
                     struct tb_config_account *account)
{
    size_t seen_line[TB_CONFIG_ACCOUNT_KEYS] = {0};

    for (;;) {
        yaml_event_t key, value;
        bool going;

        if (!next_event(w, &key)) {
            return false;
        }
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            break;
        }
        if (key.type != YAML_SCALAR_EVENT || fancy(&key) != NULL || has_nul(&key)) {
            complain(w, line_of(&key), where, "a key has to be a plain word");
            going = (!is_start(&key) || skip_rest(w)) && next_event(w, &value);
            yaml_event_delete(&key);
            if (going) {
                going = !is_start(&value) || skip_rest(w);
                yaml_event_delete(&value);
            }
        } else {
            going = next_event(w, &value);
            if (going) {
                going = take_account_key(w, where, scalar_text(&key), line_of(&key), &value,
                                         account, seen_line);
                yaml_event_delete(&value);
            }
            yaml_event_delete(&key);
        }
        if (!going) {
            return false;
        }
    }
    for (size_t i = 0; i < TB_CONFIG_ACCOUNT_KEYS; i++) {
        if (tb_config_account_keys[i].required && seen_line[i] == 0) {
            complain(w, line, where, "has no %s: %s", tb_config_account_keys[i].name,
                     tb_config_account_keys[i].expects);
        }
    }
    return true;
}

static bool
take_account(struct walk *w, const char *id, size_t line, const yaml_event_t *value)
{
    struct tb_config *config = w->config;
    struct tb_config_account account = {.id = ""};
    char where[MAX_NAME];
    bool going;

    (void)snprintf(where, sizeof(where), "accounts.%.32s", id);
    for (char *at = where; *at != '\0'; at++) {
        *at = iscntrl((unsigned char)*at) ? '?' : *at;
    }
    if (!tb_account_valid(id)) {
        complain(w, line, where, "is not an account id of 12 digits");
        return is_start(value) ? skip_rest(w) : true;
    }
    if (fancy(value) != NULL || value->type != YAML_MAPPING_START_EVENT) {
        complain(w, line, where, "%s",
                 fancy(value) != NULL ? fancy(value)
                                      : "is a section: put its role below, indented");
        return is_start(value) ? skip_rest(w) : true;
    }
    (void)tb_str_copy(account.id, sizeof(account.id), id);
    going = take_account_members(w, where, line, &account);
    if (tb_config_account_find(config, id) != NULL) {
        complain(w, line, where, "is there twice");
    } else if (config->account_count == TB_CONFIG_MAX_ACCOUNTS) {
        complain(w, line, where, "is one more than the %d that there may be",
                 TB_CONFIG_MAX_ACCOUNTS);
    } else if (account.role_arn[0] != '\0' &&
               strncmp(strstr(account.role_arn, ":iam::") + 6, id, TB_ACCOUNT_SIZE - 1) != 0) {
        complain(w, line, where, "role: is a role of another account");
    } else {
        config->accounts[config->account_count++] = account;
    }
    return going;
}

/* The accounts whose mapping's start was taken. */
static bool
take_accounts(struct walk *w)
{
    for (;;) {
        yaml_event_t key, value;
        bool going = false;

        if (!next_event(w, &key)) {
            return false;
        }
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            return true;
        }
        if (key.type != YAML_SCALAR_EVENT || fancy(&key) != NULL || has_nul(&key)) {
            complain(w, line_of(&key), accounts_section, "a key has to be a plain word");
            going = (!is_start(&key) || skip_rest(w)) && next_event(w, &value);
            if (going) {
                going = !is_start(&value) || skip_rest(w);
                yaml_event_delete(&value);
            }
        } else if (next_event(w, &value)) {
            going = take_account(w, scalar_text(&key), line_of(&key), &value);
            yaml_event_delete(&value);
        }
        yaml_event_delete(&key);
        if (!going) {
            return false;
        }
    }
}

static bool take_mapping(struct walk *w, const char *section);

/* One member, whose key event is `key`. */
static bool
take_member(struct walk *w, const char *section, const yaml_event_t *key)
{
    size_t line = line_of(key);
    char name[MAX_NAME];
    yaml_event_t value;
    bool going = true;

    if (key->type != YAML_SCALAR_EVENT || fancy(key) != NULL || has_nul(key)) {
        complain(w, line, section, "a key has to be a plain word");
        if (is_start(key) && !skip_rest(w)) {
            return false;
        }
        name[0] = '\0';
    } else {
        snprintf(name, sizeof(name), "%s%s%s", section, section[0] != '\0' ? "." : "",
                 scalar_text(key));
    }
    if (!next_event(w, &value)) {
        return false;
    }
    if (name[0] == '\0') {
        going = is_start(&value) ? skip_rest(w) : true;
    } else if (section[0] == '\0' && is_section(name) && fancy(&value) == NULL &&
               value.type == YAML_MAPPING_START_EVENT) {
        going = strcmp(name, accounts_section) == 0 ? take_accounts(w) : take_mapping(w, name);
    } else if (section[0] == '\0' && is_section(name)) {
        if (!is_nothing(&value)) {
            complain(w, line, name, "%s",
                     fancy(&value) != NULL ? fancy(&value)
                                           : "is a section: put its keys below, indented");
        }
        going = is_start(&value) ? skip_rest(w) : true;
    } else if (section[0] == '\0' && strchr(name, '.') != NULL) {
        complain_unknown(w, line, name); /* "section.key:" on one line is not our way */
        going = is_start(&value) ? skip_rest(w) : true;
    } else {
        going = take_key(w, name, line, &value);
    }
    yaml_event_delete(&value);
    return going;
}

/* The members of a mapping whose start was taken.  Sections do not nest, so this calls itself
 * once at the most. */
static bool
take_mapping(struct walk *w, const char *section)
{
    for (;;) {
        yaml_event_t key;
        bool going;

        if (!next_event(w, &key)) {
            return false;
        }
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            return true;
        }
        going = take_member(w, section, &key);
        yaml_event_delete(&key);
        if (!going) {
            return false;
        }
    }
}

/* The root of the document whose start was taken: a mapping, or nothing at all. */
static bool
take_document(struct walk *w)
{
    yaml_event_t root;
    bool going = true;

    if (!next_event(w, &root)) {
        return false;
    }
    if (fancy(&root) != NULL) {
        complain(w, line_of(&root), "", "%s", fancy(&root));
        going = is_start(&root) ? skip_rest(w) : true;
    } else if (root.type == YAML_MAPPING_START_EVENT) {
        going = take_mapping(w, "");
    } else if (!is_nothing(&root)) {
        complain(w, line_of(&root), "", "the file has to hold 'key: value' lines");
        going = is_start(&root) ? skip_rest(w) : true;
    }
    yaml_event_delete(&root);
    return going;
}

static void
take_stream(struct walk *w)
{
    size_t documents = 0;

    for (;;) {
        yaml_event_t event;
        yaml_event_type_t type;
        size_t line;

        if (!next_event(w, &event)) {
            return;
        }
        type = event.type;
        line = line_of(&event);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) {
            return;
        }
        if (type != YAML_DOCUMENT_START_EVENT) {
            continue; /* stream start, document end */
        }
        if (++documents > 1) {
            complain(w, line, "", "a second document begins here; only one is read");
            return;
        }
        if (!take_document(w)) {
            return;
        }
    }
}

static void
set_defaults(struct tb_config *config)
{
    for (size_t i = 0; i < tb_config_key_count; i++) {
        enum tb_err err =
            tb_config_set(&tb_config_keys[i], tb_config_keys[i].fallback, config, NULL);

        assert(err == TB_OK);
        (void)err;
    }
}

static const int64_t default_retention_ns = 365 * 24 * 3600 * TB_NS_PER_S;

/* What no single value shows. */
static void
check_whole(struct walk *w)
{
    const struct tb_request_bounds *bounds = &w->config->policy.bounds;

    for (size_t i = 0; i < tb_config_key_count; i++) {
        const struct tb_config_key *key = &tb_config_keys[i];

        if (key->required && ((const char *)w->config)[key->offset] == '\0') {
            complain(w, w->seen_line[i], key->name, "is required: %s", key->help);
        }
    }
    if (w->config->s3_kms_key[0] != '\0' && strncmp(w->config->s3_sse, "aws:kms", 7) != 0) {
        complain(w, w->seen_line[tb_config_find("s3.kms_key")], "s3.kms_key",
                 "needs s3.sse: aws:kms");
    }
    /* the default written out is no wish */
    if (w->config->s3_retention_ns != default_retention_ns &&
        w->config->s3_object_lock_mode[0] == '\0') {
        complain(w, w->seen_line[tb_config_find("s3.retention")], "s3.retention",
                 "needs s3.object_lock_mode: GOVERNANCE or COMPLIANCE");
    }
    if ((w->config->tls_certificate[0] == '\0') != (w->config->tls_key[0] == '\0')) {
        const char *there = w->config->tls_key[0] == '\0' ? "tls.certificate" : "tls.key";

        complain(w, w->seen_line[tb_config_find(there)], there,
                 "tls.certificate and tls.key go together");
    }
    if (w->config->tls_client_ca[0] != '\0' && w->config->tls_certificate[0] == '\0') {
        complain(w, w->seen_line[tb_config_find("tls.client_ca")], "tls.client_ca",
                 "needs tls.certificate and tls.key");
    }
    if (bounds->default_duration_ns > bounds->max_duration_ns) {
        size_t at = w->seen_line[tb_config_find("capture.duration")];

        complain(w, at != 0 ? at : w->seen_line[tb_config_find("capture.max_duration")],
                 "capture.duration", "is longer than capture.max_duration");
    }
}

enum tb_err
tb_config_check(struct tb_bytes text, const char *name, struct tb_config *out,
                void (*report)(void *arg, const char *line), void *arg, struct tb_fail *fail)
{
    struct tb_config config = {0};
    struct walk w = {
        .name = name, .config = &config, .report = report, .arg = arg, .fail = fail};

    assert(tb_config_key_count <= MAX_KEYS);
    if (text.len > TB_CONFIG_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "%s: longer than %d bytes", name,
                           TB_CONFIG_MAX_BYTES);
    }
    set_defaults(&config);
    if (!yaml_parser_initialize(&w.yaml)) {
        return tb_fail_set(fail, TB_ENOMEM, "%s", name);
    }
    yaml_parser_set_input_string(&w.yaml, text.at, text.len);
    yaml_parser_set_encoding(&w.yaml, YAML_UTF8_ENCODING);
    take_stream(&w);
    yaml_parser_delete(&w.yaml);
    if (!w.complained) {
        check_whole(&w);
    }
    if (w.complained) {
        return TB_EINVAL;
    }
    *out = config;
    return TB_OK;
}

enum tb_err
tb_config_parse(struct tb_bytes text, const char *name, struct tb_config *out,
                struct tb_fail *fail)
{
    return tb_config_check(text, name, out, NULL, NULL, fail);
}

enum tb_err
tb_config_load(const char *path, struct tb_config *out, struct tb_fail *fail)
{
    struct tb_buf text = TB_BUF_INIT(TB_CONFIG_MAX_BYTES);
    enum tb_err err = tb_read_file(AT_FDCWD, path, &text, fail);

    if (err == TB_OK) {
        err = tb_config_parse(tb_buf_view(&text), path, out, fail);
    }
    tb_buf_release(&text);
    return err;
}

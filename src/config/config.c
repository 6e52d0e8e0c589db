/*
 * Reads the YAML file: a mapping of keys and of sections that hold keys, nothing deeper.
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
#include <tapbox/io.h>

#include "config_int.h"

enum {
    MAX_KEYS = 64,  /* of the table, for the notes about where each was seen */
    MAX_NAME = 128, /* of "section.key" in a message */
    MAX_FAR = 3     /* a misspelt key is at most this many edits away from the right one */
};

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

static size_t
find_key(const char *name)
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

    for (size_t i = 0; i < tb_config_key_count; i++) {
        if (strncmp(tb_config_keys[i].name, name, len) == 0 &&
            tb_config_keys[i].name[len] == '.') {
            return true;
        }
    }
    return false;
}

/* Edit distance (insert, delete, replace). */
static size_t
distance(const char *a, const char *b)
{
    size_t row[MAX_NAME + 1];
    size_t b_len = strlen(b);

    if (b_len > MAX_NAME) {
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

/* The known name that somebody may have meant; NULL when none is near.  A key in the wrong
 * section is found by its last part. */
static const char *
nearest_key(const char *name)
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

static void
complain_unknown(struct walk *w, size_t line, const char *name)
{
    const char *near = nearest_key(name);
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
    size_t i = find_key(name);
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
        going = take_mapping(w, name);
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
        complain(w, w->seen_line[find_key("s3.kms_key")], "s3.kms_key",
                 "needs s3.sse: aws:kms");
    }
    /* the default written out is no wish */
    if (w->config->s3_retention_ns != default_retention_ns &&
        w->config->s3_object_lock_mode[0] == '\0') {
        complain(w, w->seen_line[find_key("s3.retention")], "s3.retention",
                 "needs s3.object_lock_mode: GOVERNANCE or COMPLIANCE");
    }
    if (bounds->default_duration_ns > bounds->max_duration_ns) {
        size_t at = w->seen_line[find_key("capture.duration")];

        complain(w, at != 0 ? at : w->seen_line[find_key("capture.max_duration")],
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

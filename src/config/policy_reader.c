/* What the policy's file is read with: nodes that know their line, values of every kind, and
 * mappings by a table of their keys. */
#include "policy_reader_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>

enum {
    SHOWN_VALUE = 64,
    WHOLE_DIGITS = 18 /* of a whole number: all of them fit into 63 bits */
};

void
policy_complain(struct policy_reader *r, const yaml_node_t *at, const char *key,
                const char *fmt, ...)
{
    struct tb_fail fail = {0};
    char text[300];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)tb_fail_set(&fail, TB_EINVAL, "%s:%zu: %s%s%s%s%s", r->name, at->start_mark.line + 1,
                      r->where, r->where[0] != 0 ? ": " : "", key, key[0] != 0 ? ": " : "",
                      text);
    if (r->report != NULL) {
        r->report(r->arg, fail.text);
    }
    if (!r->complained && r->fail != NULL) {
        *r->fail = fail;
    }
    r->complained = true;
}

const yaml_node_t *
policy_node(struct policy_reader *r, int index)
{
    return yaml_document_get_node(&r->doc, index);
}

/* NULL unless it is plain text without a NUL. */
const char *
policy_text_of(const yaml_node_t *n)
{
    const char *text = n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;

    return text != NULL && strlen(text) == n->data.scalar.length ? text : NULL;
}

/* For a message: cut, and without what would move a terminal's cursor. */
static const char *
shown(const yaml_node_t *n, char out[SHOWN_VALUE])
{
    const char *text = policy_text_of(n);
    size_t i;

    if (text == NULL) {
        return n->type == YAML_SEQUENCE_NODE  ? "a list"
               : n->type == YAML_MAPPING_NODE ? "a mapping"
                                              : "a text with a NUL";
    }
    for (i = 0; text[i] != 0 && i < SHOWN_VALUE - 1; i++) {
        out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    }
    out[i] = 0;
    return out;
}

void
policy_not_a(struct policy_reader *r, const yaml_node_t *n, const char *key, const char *what)
{
    char value[SHOWN_VALUE];

    policy_complain(r, n, key, "'%s' is not %s", shown(n, value), what);
}

bool
policy_is_name(const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr("-_.", text[i]) == NULL) {
            return false;
        }
    }
    return len > 0 && len < TB_RULE_NAME_SIZE;
}

const char *const policy_what_names_are = "a name (letters, digits, '-', '_', '.'; up to 63)";

/* --- values --- */

void
policy_read_duration(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);
    int64_t ns = 0;

    if (text == NULL || tb_duration_parse(text, &ns) != TB_OK || ns <= 0 ||
        ns > TB_CAPTURE_MAX_DURATION_S * TB_NS_PER_S * 1000) {
        policy_not_a(r, n, key, "a duration (write 90s, 15m, 2h, 90d)");
    } else {
        *(int64_t *)at = ns;
    }
}

void
policy_read_capture_duration(struct policy_reader *r, const char *key, const yaml_node_t *n,
                             void *at)
{
    int64_t ns = 0;

    policy_read_duration(r, key, n, &ns);
    if (ns > TB_CAPTURE_MAX_DURATION_S * TB_NS_PER_S) {
        policy_complain(r, n, key, "a capture takes a week (168h) at the most");
    } else if (ns != 0) {
        *(int64_t *)at = ns;
    }
}

void
policy_read_size(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);
    uint64_t bytes = 0;

    if (text == NULL || tb_config_size_parse(text, &bytes) != TB_OK || bytes == 0 ||
        bytes > INT64_MAX) {
        policy_not_a(r, n, key, "a size (write 512MiB, 10GiB, 50GB)");
    } else {
        *(uint64_t *)at = bytes;
    }
}

bool
policy_take_whole(const yaml_node_t *n, long min, long max, long *out)
{
    const char *text = policy_text_of(n);
    const char *digits = text != NULL && text[0] == '-' ? text + 1 : text;

    if (text == NULL || digits[0] == 0 || strlen(digits) > WHOLE_DIGITS ||
        strspn(digits, "0123456789") != strlen(digits)) {
        return false;
    }
    *out = strtol(text, NULL, 10);
    return *out >= min && *out <= max;
}

void
policy_read_bool(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    const char *text = policy_text_of(n);

    if (text == NULL || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)) {
        policy_not_a(r, n, key, "true or false");
    } else {
        *(bool *)at = text[0] == 't';
    }
}

static void
add_word(struct policy_reader *r, struct tb_words *words, const char *text)
{
    char **grown = realloc(words->at, (words->count + 1) * sizeof(*grown));

    if (grown != NULL) {
        words->at = grown;
        grown[words->count] = strdup(text);
        if (grown[words->count] != NULL) {
            words->count++;
            return;
        }
    }
    r->no_memory = true;
}

/* One word or a list of them; an empty one would say none and mean any. */
void
policy_read_words(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;
    const yaml_node_item_t *item;

    if (policy_text_of(n) != NULL && policy_text_of(n)[0] != 0) {
        add_word(r, words, policy_text_of(n));
        return;
    }
    if (n->type != YAML_SEQUENCE_NODE ||
        n->data.sequence.items.top - n->data.sequence.items.start > TB_POLICY_MAX_WORDS) {
        policy_not_a(r, n, key, "a word, or a list of up to 256");
        return;
    }
    if (n->data.sequence.items.start == n->data.sequence.items.top) {
        policy_complain(r, n, key, "is empty: leave it out if it is to bound nothing");
    }
    for (item = n->data.sequence.items.start; item < n->data.sequence.items.top; item++) {
        const char *text = policy_text_of(policy_node(r, *item));

        if (text == NULL || text[0] == 0) {
            policy_not_a(r, policy_node(r, *item), key, "a word");
        } else {
            add_word(r, words, text);
        }
    }
}

void
policy_read_accounts(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at)
{
    struct tb_words *words = at;

    policy_read_words(r, key, n, at);
    for (size_t i = 0; i < words->count; i++) {
        if (strpbrk(words->at[i], "*?") == NULL && !tb_account_valid(words->at[i])) {
            policy_complain(r, n, key,
                            "'%.20s' is not an account of 12 digits (in quotes, or YAML "
                            "makes a number of it)",
                            words->at[i]);
        }
    }
}

static const struct policy_member *
find_member(const struct policy_member *members, const char *name)
{
    for (; members->name != NULL; members++) {
        if (strcmp(members->name, name) == 0) {
            return members;
        }
    }
    return NULL;
}

static void
complain_unknown(struct policy_reader *r, const yaml_node_t *key,
                 const struct policy_member *members)
{
    struct tb_buf known = TB_BUF_INIT(250);
    char name[SHOWN_VALUE];

    for (; members->name != NULL; members++) {
        tb_buf_printf(&known, " %s", members->name);
    }
    policy_complain(r, key, shown(key, name), "unknown key (there are%s)", tb_buf_str(&known));
    tb_buf_release(&known);
}

/* Gives each member to its reader; what is there twice or unknown is told. */
void
policy_read_mapping(struct policy_reader *r, const yaml_node_t *n, const char *what,
                    const struct policy_member *members, void *into)
{
    const yaml_node_pair_t *pair;

    if (n->type != YAML_MAPPING_NODE) {
        policy_complain(r, n, what, "has to be a mapping of keys");
        return;
    }
    for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = policy_node(r, pair->key);
        const char *name = policy_text_of(key);
        const struct policy_member *member = name != NULL ? find_member(members, name) : NULL;

        if (member == NULL) {
            complain_unknown(r, key, members);
            continue;
        }
        for (const yaml_node_pair_t *other = n->data.mapping.pairs.start; other < pair;
             other++) {
            const char *before = policy_text_of(policy_node(r, other->key));

            if (before != NULL && strcmp(before, name) == 0) {
                policy_complain(r, key, name, "is there twice; the first is on line %zu",
                                policy_node(r, other->key)->start_mark.line + 1);
            }
        }
        member->read(r, name, policy_node(r, pair->value), (char *)into + member->offset);
    }
}

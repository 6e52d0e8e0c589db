/*
 * The canonical text of JSON: compact, members in the order of their keys.
 *
 * Octet for octet what jansson writes with JSON_COMPACT and JSON_SORT_KEYS, in a quarter of its
 * time: half of what an alert takes was once the writing of small documents.
 */
#include "json_int.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MEMBERS_ON_STACK = 32,
    REAL_TEXT_SIZE = 64
};

struct named {
    const char *key;
    const json_t *value;
};

static int
by_key(const void *a, const void *b)
{
    const struct named *left = a, *right = b;

    return strcmp(left->key, right->key);
}

/* Few members nearly in order, as a rule. */
static void
sort_members(struct named *members, size_t count)
{
    if (count > MEMBERS_ON_STACK) {
        qsort(members, count, sizeof(*members), by_key);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct named moved = members[i];
        size_t at = i;

        while (at > 0 && strcmp(members[at - 1].key, moved.key) > 0) {
            members[at] = members[at - 1];
            at--;
        }
        members[at] = moved;
    }
}

static void
write_escape(char c, struct tb_buf *out)
{
    static const struct {
        char octet, letter;
    } shorts[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                  {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};

    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        if (shorts[i].octet == c) {
            tb_buf_put(out, (char[]){'\\', shorts[i].letter}, 2);
            return;
        }
    }
    tb_buf_printf(out, "\\u%04X", (unsigned)(unsigned char)c);
}

/* `text` is UTF-8: jansson holds no other. */
static void
write_string(const char *text, size_t len, struct tb_buf *out)
{
    size_t begun = 0;

    tb_buf_put(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        tb_buf_put(out, text + begun, i - begun);
        write_escape(text[i], out);
        begun = i + 1;
    }
    tb_buf_put(out, text + begun, len - begun);
    tb_buf_put(out, "\"", 1);
}

static bool write_node(const json_t *node, struct tb_buf *out);

static bool
write_members(struct named *members, size_t count, struct tb_buf *out)
{
    sort_members(members, count);
    tb_buf_put(out, "{", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            tb_buf_put(out, ",", 1);
        }
        write_string(members[i].key, strlen(members[i].key), out);
        tb_buf_put(out, ":", 1);
        if (strcmp(members[i].key, base_json_broken) == 0 ||
            !write_node(members[i].value, out)) {
            return false;
        }
    }
    tb_buf_put(out, "}", 1);
    return true;
}

static bool
write_object(const json_t *node, struct tb_buf *out)
{
    struct named some[MEMBERS_ON_STACK];
    size_t count = json_object_size(node), filled = 0;
    struct named *members = count <= MEMBERS_ON_STACK ? some : malloc(count * sizeof(*members));
    /* jansson's iterators want a mutable object, and change nothing */
    json_t *object = (json_t *)(uintptr_t)node;
    bool written;

    if (members == NULL) {
        return false;
    }
    for (void *at = json_object_iter(object); at != NULL;
         at = json_object_iter_next(object, at)) {
        members[filled++] = (struct named){.key = json_object_iter_key(at),
                                           .value = json_object_iter_value(at)};
    }
    written = write_members(members, filled, out);
    if (members != some) {
        free(members);
    }
    return written;
}

static bool
write_array(const json_t *node, struct tb_buf *out)
{
    size_t count = json_array_size(node);

    tb_buf_put(out, "[", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            tb_buf_put(out, ",", 1);
        }
        if (!write_node(json_array_get(node, i), out)) {
            return false;
        }
    }
    tb_buf_put(out, "]", 1);
    return true;
}

static bool
write_real(const json_t *node, struct tb_buf *out)
{
    char text[REAL_TEXT_SIZE];
    size_t len = json_dumpb(node, text, sizeof(text), JSON_ENCODE_ANY);

    if (len == 0 || len > sizeof(text)) {
        return false;
    }
    tb_buf_put(out, text, len);
    return true;
}

static bool
write_node(const json_t *node, struct tb_buf *out)
{
    switch (json_typeof(node)) {
    case JSON_OBJECT:
        return write_object(node, out);
    case JSON_ARRAY:
        return write_array(node, out);
    case JSON_STRING:
        write_string(json_string_value(node), json_string_length(node), out);
        return true;
    case JSON_INTEGER:
        tb_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(node));
        return true;
    case JSON_REAL:
        return write_real(node, out);
    case JSON_TRUE:
        tb_buf_put_str(out, "true");
        return true;
    case JSON_FALSE:
        tb_buf_put_str(out, "false");
        return true;
    case JSON_NULL:
        tb_buf_put_str(out, "null");
        return true;
    }
    return false;
}

bool
base_json_write(const json_t *root, struct tb_buf *out)
{
    size_t before = out->len;

    if (write_node(root, out) && out->err == TB_OK) {
        return true;
    }
    out->len = before;
    return false;
}

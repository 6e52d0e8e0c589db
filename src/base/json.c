/* JSON by jansson, behind bounded reading and forgiving look-ups. */
#include "json_int.h"

#include <stdlib.h>

#include <tapbox/clock.h>
#include <tapbox/limits.h>

/* A tb_json is a json_t: the type is only there to keep jansson in this file. */
static json_t *
to_jansson(struct tb_json *node)
{
    return (json_t *)(void *)node;
}

static const json_t *
to_jansson_const(const struct tb_json *node)
{
    return (const json_t *)(const void *)node;
}

static struct tb_json *
from_jansson(json_t *node)
{
    return (struct tb_json *)(void *)node;
}

static const struct tb_json *
from_jansson_const(const json_t *node)
{
    return (const struct tb_json *)(const void *)node;
}

/* Depth is checked before parsing, as jansson's own limit of 2,048 is a compile-time one. */
static bool
is_too_deep(struct tb_bytes text)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > TB_JSON_MAX_DEPTH) {
                return true;
            }
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

enum tb_err
tb_json_parse_max(struct tb_bytes text, size_t max_bytes, struct tb_json **out,
                  struct tb_fail *fail)
{
    json_error_t error;
    json_t *root;

    if (text.len > max_bytes) {
        return tb_fail_set(fail, TB_ETOOBIG, "JSON of %zu octets is over the limit of %zu",
                           text.len, max_bytes);
    }
    if (is_too_deep(text)) {
        return tb_fail_set(fail, TB_ETOOBIG, "JSON nests deeper than %d levels",
                           TB_JSON_MAX_DEPTH);
    }
    root = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return tb_fail_set(fail, TB_EFORMAT, "not JSON: line %d, column %d: %s", error.line,
                           error.column, error.text);
    }
    *out = from_jansson(root);
    return TB_OK;
}

enum tb_err
tb_json_parse(struct tb_bytes text, struct tb_json **out, struct tb_fail *fail)
{
    return tb_json_parse_max(text, TB_EVENT_MAX_BYTES, out, fail);
}

void
tb_json_free(struct tb_json *root)
{
    json_decref(to_jansson(root));
}

/* One reference token of a pointer, unescaped (~1 is '/', ~0 is '~'), into `out`. */
static const char *
next_token(const char *pointer, char *out, size_t cap)
{
    size_t len = 0;

    for (; *pointer != 0 && *pointer != '/'; pointer++) {
        char c = *pointer;

        if (c == '~' && (pointer[1] == '0' || pointer[1] == '1')) {
            c = pointer[1] == '0' ? '~' : '/';
            pointer++;
        }
        if (len + 1 >= cap) {
            return NULL;
        }
        out[len++] = c;
    }
    out[len] = 0;
    return pointer;
}

const struct tb_json *
tb_json_at(const struct tb_json *node, const char *pointer)
{
    const json_t *at = to_jansson_const(node);

    while (at != NULL && *pointer == '/') {
        char token[256];

        pointer = next_token(pointer + 1, token, sizeof(token));
        if (pointer == NULL) {
            return NULL;
        }
        if (json_is_array(at)) {
            char *end = NULL;
            unsigned long i = strtoul(token, &end, 10);

            at = (*end != 0 || end == token) ? NULL : json_array_get(at, i);
        } else {
            at = json_object_get(at, token);
        }
    }
    return *pointer == 0 ? from_jansson_const(at) : NULL;
}

const char *
tb_json_str(const struct tb_json *node, const char *pointer)
{
    return json_string_value(to_jansson_const(tb_json_at(node, pointer)));
}

bool
tb_json_number(const struct tb_json *node, const char *pointer, double *out)
{
    const json_t *at = to_jansson_const(tb_json_at(node, pointer));

    if (!json_is_number(at)) {
        return false;
    }
    *out = json_number_value(at);
    return true;
}

bool
tb_json_int(const struct tb_json *node, const char *pointer, int64_t *out)
{
    const json_t *at = to_jansson_const(tb_json_at(node, pointer));
    double value;

    if (json_is_integer(at)) {
        *out = (int64_t)json_integer_value(at);
        return true;
    }
    if (!json_is_real(at)) {
        return false;
    }
    value = json_real_value(at);
    if (!(value >= -9007199254740992.0 && value <= 9007199254740992.0)) {
        return false; /* 2^53: past it a double names no single integer */
    }
    if ((double)(int64_t)value != value) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

bool
tb_json_bool(const struct tb_json *node, const char *pointer, bool *out)
{
    const json_t *at = to_jansson_const(tb_json_at(node, pointer));

    if (!json_is_boolean(at)) {
        return false;
    }
    *out = json_is_true(at);
    return true;
}

int64_t
tb_json_time(const struct tb_json *node, const char *pointer)
{
    const char *text = tb_json_str(node, pointer);
    int64_t utc_ns = 0;

    return text != NULL && tb_time_parse(text, &utc_ns) == TB_OK ? utc_ns : 0;
}

bool
tb_json_is_object(const struct tb_json *node)
{
    return json_is_object(to_jansson_const(node));
}

bool
tb_json_is_array(const struct tb_json *node)
{
    return json_is_array(to_jansson_const(node));
}

bool
tb_json_is_null(const struct tb_json *node)
{
    return json_is_null(to_jansson_const(node));
}

size_t
tb_json_count(const struct tb_json *node)
{
    const json_t *at = to_jansson_const(node);

    return json_is_array(at) ? json_array_size(at) : json_object_size(at);
}

const struct tb_json *
tb_json_item(const struct tb_json *node, size_t i)
{
    return from_jansson_const(json_array_get(to_jansson_const(node), i));
}

const struct tb_json *
tb_json_member(const struct tb_json *node, size_t i, const char **out_key)
{
    /* jansson's iterators want a mutable object, and change nothing */
    json_t *object = to_jansson((struct tb_json *)(uintptr_t)node);
    void *iter = json_object_iter(object);

    while (iter != NULL && i > 0) {
        iter = json_object_iter_next(object, iter);
        i--;
    }
    if (iter == NULL) {
        return NULL;
    }
    *out_key = json_object_iter_key(iter);
    return from_jansson_const(json_object_iter_value(iter));
}

struct tb_json *
tb_json_object(void)
{
    return from_jansson(json_object());
}

struct tb_json *
tb_json_array(void)
{
    return from_jansson(json_array());
}

const char base_json_broken[] = "\x01"
                                "broken";

static void
set_or_break(json_t *object, const char *key, json_t *value)
{
    if (object == NULL) {
        json_decref(value);
        return;
    }
    /* _set_new fails for a NULL value and for text that is not UTF-8 */
    if (json_object_set_new(object, key, value) != 0) {
        (void)json_object_set_new(object, base_json_broken, json_true());
    }
}

/* Outside text may not be UTF-8: octets that are not become '?'. */
static json_t *
make_string(const char *value)
{
    json_t *made = json_string(value);
    size_t len;
    char *clean;

    if (made != NULL) {
        return made;
    }
    len = strlen(value);
    clean = malloc(len + 1);
    if (clean == NULL) {
        return NULL;
    }
    for (size_t i = 0; i <= len; i++) {
        clean[i] = value[i];
        if ((value[i] & 0x80) != 0) {
            clean[i] = '?';
        }
    }
    made = json_string(clean);
    free(clean);
    return made;
}

void
tb_json_set_str(struct tb_json *object, const char *key, const char *value)
{
    set_or_break(to_jansson(object), key, value == NULL ? json_null() : make_string(value));
}

void
tb_json_set_time(struct tb_json *object, const char *key, int64_t utc_ns)
{
    char text[TB_TIME_TEXT_SIZE];

    if (utc_ns == 0) {
        tb_json_set_null(object, key);
        return;
    }
    tb_time_format_ns(text, utc_ns);
    tb_json_set_str(object, key, text);
}

void
tb_json_set_text(struct tb_json *object, const char *key, const char *value)
{
    tb_json_set_str(object, key, value == NULL || value[0] == '\0' ? NULL : value);
}

void
tb_json_set_hex(struct tb_json *object, const char *key, struct tb_bytes octets)
{
    char *hex = malloc(2 * octets.len + 1);

    if (hex == NULL) {
        set_or_break(to_jansson(object), key, NULL);
        return;
    }
    tb_hex(hex, octets);
    tb_json_set_str(object, key, hex);
    free(hex);
}

void
tb_json_set_int(struct tb_json *object, const char *key, int64_t value)
{
    set_or_break(to_jansson(object), key, json_integer(value));
}

void
tb_json_set_number(struct tb_json *object, const char *key, double value)
{
    set_or_break(to_jansson(object), key, json_real(value));
}

void
tb_json_set_bool(struct tb_json *object, const char *key, bool value)
{
    set_or_break(to_jansson(object), key, json_boolean(value));
}

void
tb_json_set_null(struct tb_json *object, const char *key)
{
    set_or_break(to_jansson(object), key, json_null());
}

void
tb_json_set(struct tb_json *object, const char *key, struct tb_json *value)
{
    set_or_break(to_jansson(object), key, to_jansson(value));
}

void
tb_json_set_copy(struct tb_json *object, const char *key, const struct tb_json *value)
{
    set_or_break(to_jansson(object), key, json_deep_copy(to_jansson_const(value)));
}

static void
add_or_break(json_t *array, json_t *value)
{
    if (array == NULL) {
        json_decref(value);
        return;
    }
    if (json_array_append_new(array, value) != 0) {
        json_t *mark = json_object();

        set_or_break(mark, base_json_broken, json_true());
        (void)json_array_append_new(array, mark);
    }
}

void
tb_json_add(struct tb_json *array, struct tb_json *value)
{
    add_or_break(to_jansson(array), to_jansson(value));
}

void
tb_json_add_int(struct tb_json *array, int64_t value)
{
    add_or_break(to_jansson(array), json_integer(value));
}

void
tb_json_add_str(struct tb_json *array, const char *value)
{
    add_or_break(to_jansson(array), make_string(value));
}

void
tb_json_cut(struct tb_json *root, const char *pointer, size_t count)
{
    /* the node is a part of the tree that the caller gives to be changed */
    json_t *array = to_jansson((struct tb_json *)(uintptr_t)tb_json_at(root, pointer));

    while (json_is_array(array) && json_array_size(array) > count) {
        (void)json_array_remove(array, json_array_size(array) - 1);
    }
}

static int
append_to_buf(const char *text, size_t len, void *arg)
{
    struct tb_buf *out = arg;

    tb_buf_put(out, text, len);
    return out->err == TB_OK ? 0 : -1;
}

static bool
is_broken(const struct tb_json *node)
{
    size_t n = tb_json_count(node);

    if (tb_json_is_array(node)) {
        for (size_t i = 0; i < n; i++) {
            if (is_broken(tb_json_item(node, i))) {
                return true;
            }
        }
        return false;
    }
    if (tb_json_is_object(node)) {
        const char *key;
        json_t *value;
        json_t *object = to_jansson((struct tb_json *)(uintptr_t)node);

        json_object_foreach(object, key, value)
        {
            if (strcmp(key, base_json_broken) == 0 || is_broken(from_jansson_const(value))) {
                return true;
            }
        }
    }
    return false;
}

enum tb_err
tb_json_dump(const struct tb_json *root, bool indented, struct tb_buf *out,
             struct tb_fail *fail)
{
    const json_t *node = to_jansson_const(root);
    bool written;
    enum tb_err err;

    if (root == NULL || (indented && is_broken(root))) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory to build a JSON document");
    }
    written =
        indented
            ? json_dump_callback(node, append_to_buf, out,
                                 JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY) == 0
            : base_json_write(node, out);
    if (written) {
        return TB_OK;
    }
    err = tb_buf_check(out, "a JSON document", fail);
    return err != TB_OK ? err
                        : tb_fail_set(fail, TB_ENOMEM, "no memory to build a JSON document");
}

/* Reading JSON with a sentence for every mistake. */
#include "form.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
form_fail(struct form *f, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(f->why, f->why_size, "%s: %s", f->where, text);
    longjmp(f->failed, 1);
}

void
form_keys(struct form *f, json_t *o, const char *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(o)) {
        form_fail(f, "an object is expected");
    }
    json_object_foreach(o, key, value)
    {
        size_t len = strlen(key);
        const char *at = len == 0 ? NULL : known;
        while (at != NULL && (at = strstr(at, key)) != NULL) {
            if ((at == known || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
                break;
            }
            at += len;
        }
        if (at == NULL) {
            form_fail(f, "unknown key \"%s\" (known: %s)", key, known);
        }
    }
}

const char *
form_text(struct form *f, json_t *o, const char *key, const char *otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v)) {
        if (otherwise == NULL) {
            form_fail(f, "\"%s\" is missing", key);
        }
        return otherwise;
    }
    if (!json_is_string(v)) {
        form_fail(f, "\"%s\" is not a text", key);
    }
    return json_string_value(v);
}

void
form_copy(struct form *f, json_t *o, const char *key, const char *otherwise, char *out,
          size_t size)
{
    const char *v = form_text(f, o, key, otherwise);
    if (strlen(v) >= size) {
        form_fail(f, "\"%s\" is longer than %zu", key, size - 1);
    }
    strcpy(out, v);
}

long
form_number(struct form *f, json_t *o, const char *key, long otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL) {
        return otherwise;
    }
    if (!json_is_integer(v)) {
        form_fail(f, "\"%s\" is not a whole number", key);
    }
    return (long)json_integer_value(v);
}

bool
form_yes(struct form *f, json_t *o, const char *key, bool otherwise)
{
    json_t *v = json_object_get(o, key);
    if (v != NULL && !json_is_boolean(v)) {
        form_fail(f, "\"%s\" is not true or false", key);
    }
    return v == NULL ? otherwise : json_is_true(v);
}

json_t *
form_list(struct form *f, json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (v != NULL && !json_is_array(v)) {
        form_fail(f, "\"%s\" is not a list", key);
    }
    return v; /* json_array_foreach takes NULL as empty */
}

const char *
form_item(struct form *f, json_t *v, const char *key)
{
    if (!json_is_string(v)) {
        form_fail(f, "\"%s\" holds something that is not a text", key);
    }
    return json_string_value(v);
}

/* A writer of JSON; what it writes is valid as long as brackets are paired. */
#include "jout.h"

#include <string.h>

static void
add_quoted(struct str *s, const char *text)
{
    str_add(s, "\"");
    while (*text != '\0') {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= 0x20 && text[plain] != '"' &&
               text[plain] != '\\') {
            plain++;
        }
        str_addn(s, text, plain);
        text += plain;
        if (*text == '"' || *text == '\\') {
            str_addf(s, "\\%c", *text++);
        } else if (*text != '\0') {
            str_addf(s, "\\u%04x", (unsigned char)*text++);
        }
    }
    str_add(s, "\"");
}

static void
begin(struct str *s, const char *key)
{
    if (s->len > 0 && strchr("{[", s->p[s->len - 1]) == NULL) {
        str_add(s, ",");
    }
    if (key != NULL) {
        add_quoted(s, key);
        str_add(s, ":");
    }
}

void
jout_open(struct str *s, const char *key, char bracket)
{
    begin(s, key);
    str_addn(s, &bracket, 1);
}

void
jout_close(struct str *s, char bracket)
{
    str_addn(s, &bracket, 1);
}

void
jout_text(struct str *s, const char *key, const char *value)
{
    begin(s, key);
    if (value == NULL) {
        str_add(s, "null");
    } else {
        add_quoted(s, value);
    }
}

void
jout_int(struct str *s, const char *key, int64_t value)
{
    begin(s, key);
    str_addf(s, "%lld", (long long)value);
}

void
jout_bool(struct str *s, const char *key, bool value)
{
    jout_raw(s, key, value ? "true" : "false");
}

void
jout_raw(struct str *s, const char *key, const char *json)
{
    begin(s, key);
    str_add(s, json);
}

/* Write XML elements into a text. */
#include "xml.h"

#include <string.h>

void
xml_escape(struct str *x, const char *value)
{
    for (;;) {
        size_t plain = strcspn(value, "&<>\"'\r");
        str_addn(x, value, plain);
        value += plain;
        switch (*value) {
        case '&':
            str_add(x, "&amp;");
            break;
        case '<':
            str_add(x, "&lt;");
            break;
        case '>':
            str_add(x, "&gt;");
            break;
        case '"':
            str_add(x, "&quot;");
            break;
        case '\'':
            str_add(x, "&apos;");
            break;
        case '\r':
            str_add(x, "&#xD;"); /* a reader would turn a bare one into a line feed */
            break;
        default:
            return;
        }
        value++;
    }
}

void
xml_open(struct str *x, const char *name)
{
    str_add(x, "<");
    str_add(x, name);
    str_add(x, ">");
}

void
xml_close(struct str *x, const char *name)
{
    str_add(x, "</");
    str_add(x, name);
    str_add(x, ">");
}

void
xml_text(struct str *x, const char *name, const char *value)
{
    xml_open(x, name);
    xml_escape(x, value);
    xml_close(x, name);
}

void
xml_opt(struct str *x, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        xml_text(x, name, value);
    }
}

void
xml_int(struct str *x, const char *name, long long value)
{
    str_addf(x, "<%s>%lld</%s>", name, value, name);
}

void
xml_bool(struct str *x, const char *name, bool value)
{
    xml_text(x, name, value ? "true" : "false");
}

void
xml_empty(struct str *x, const char *name)
{
    str_addf(x, "<%s/>", name);
}

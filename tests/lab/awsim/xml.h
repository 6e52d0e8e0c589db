/* XML answers: elements without any white space between them. */
#ifndef AWSIM_XML_H
#define AWSIM_XML_H

#include <stdbool.h>

#include "str.h"

void xml_open(struct str *x, const char *name);
void xml_close(struct str *x, const char *name);
void xml_text(struct str *x, const char *name, const char *value);
/* Nothing at all when `value` is NULL or empty. */
void xml_opt(struct str *x, const char *name, const char *value);
void xml_int(struct str *x, const char *name, long long value);
void xml_bool(struct str *x, const char *name, bool value);
void xml_empty(struct str *x, const char *name);
void xml_escape(struct str *x, const char *value);

#endif

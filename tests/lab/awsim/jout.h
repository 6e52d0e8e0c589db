/* JSON written straight into a text: the control socket's answers can be long. */
#ifndef AWSIM_JOUT_H
#define AWSIM_JOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "str.h"

/* `key` is NULL for what stands in a list.  Commas come by themselves. */
void jout_open(struct str *s, const char *key, char bracket);
void jout_close(struct str *s, char bracket);
void jout_text(struct str *s, const char *key, const char *value); /* NULL: null */
void jout_int(struct str *s, const char *key, int64_t value);
void jout_bool(struct str *s, const char *key, bool value);
/* JSON that is ready. */
void jout_raw(struct str *s, const char *key, const char *json);

#endif

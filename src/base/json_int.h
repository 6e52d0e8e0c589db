/* What json.c and json_write.c share. */
#ifndef TAPBOX_JSON_INT_H
#define TAPBOX_JSON_INT_H

#include <jansson.h>

#include <tapbox/json.h>

/* A member under this key says that a value could not be made. */
extern const char base_json_broken[];

/* Appends the canonical text; false, and nothing appended, without memory, past the buffer's
 * ceiling (out->err) or when something in it is broken. */
bool base_json_write(const json_t *root, struct tb_buf *out);

#endif

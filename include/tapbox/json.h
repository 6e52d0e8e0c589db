/*
 * JSON (jansson behind it).  Reading is bounded in size and depth and refuses duplicate keys;
 * lookups take RFC 6901 pointers and never fail on a missing or differently typed value.
 *
 * Ownership: a document owns its tree; nodes and strings are lent until it is freed or changed.
 * Threads: a document belongs to one thread at a time.
 */
#ifndef TAPBOX_JSON_H
#define TAPBOX_JSON_H

#include <stdbool.h>

#include <tapbox/bytes.h>

struct tb_json; /* a node; the root owns the tree */

/* TB_EFORMAT with line and column, TB_ETOOBIG over TB_EVENT_MAX_BYTES or TB_JSON_MAX_DEPTH. */
TB_NODISCARD enum tb_err tb_json_parse(struct tb_bytes text, struct tb_json **out,
                                       struct tb_fail *fail);
/* The same for our own larger documents: `max_bytes` instead of TB_EVENT_MAX_BYTES. */
TB_NODISCARD enum tb_err tb_json_parse_max(struct tb_bytes text, size_t max_bytes,
                                           struct tb_json **out, struct tb_fail *fail);
void tb_json_free(struct tb_json *root);

/* --- reading; `pointer` is RFC 6901, "" is the node itself --- */
const struct tb_json *tb_json_at(const struct tb_json *node, const char *pointer);
/* NULL unless it is a string (without NUL inside: such strings are refused when parsed). */
const char *tb_json_str(const struct tb_json *node, const char *pointer);
/* True and *out when it is an integer (3, or 3.0). */
bool tb_json_int(const struct tb_json *node, const char *pointer, int64_t *out);
bool tb_json_number(const struct tb_json *node, const char *pointer, double *out);
bool tb_json_bool(const struct tb_json *node, const char *pointer, bool *out);
/* UTC nanoseconds of an RFC 3339 text; 0: it is none (as tb_json_set_time writes "not yet"). */
int64_t tb_json_time(const struct tb_json *node, const char *pointer);
bool tb_json_is_object(const struct tb_json *node);
bool tb_json_is_array(const struct tb_json *node);
bool tb_json_is_null(const struct tb_json *node);
/* Elements of an array, members of an object; 0 for anything else. */
size_t tb_json_count(const struct tb_json *node);
const struct tb_json *tb_json_item(const struct tb_json *node, size_t i);
/* The i-th member in the order of the text; *out_key is lent. */
const struct tb_json *tb_json_member(const struct tb_json *node, size_t i,
                                     const char **out_key);

/* --- building; a failed allocation makes the root "broken", told by tb_json_dump --- */
struct tb_json *tb_json_object(void); /* NULL only without memory; every setter accepts NULL */
struct tb_json *tb_json_array(void);
void tb_json_set_str(struct tb_json *object, const char *key,
                     const char *value); /* NULL: null */
void tb_json_set_int(struct tb_json *object, const char *key, int64_t value);
void tb_json_set_number(struct tb_json *object, const char *key, double value);
void tb_json_set_bool(struct tb_json *object, const char *key, bool value);
void tb_json_set_null(struct tb_json *object, const char *key);
/* The same with null for "not yet", 0: RFC 3339 in UTC with nanoseconds. */
void tb_json_set_time(struct tb_json *object, const char *key, int64_t utc_ns);
/* The same with null for "": not known, or not asked for. */
void tb_json_set_text(struct tb_json *object, const char *key, const char *value);
/* Lower-case hex. */
void tb_json_set_hex(struct tb_json *object, const char *key, struct tb_bytes octets);
/* Takes `value` over, also when it fails. */
void tb_json_set(struct tb_json *object, const char *key, struct tb_json *value);
void tb_json_set_copy(struct tb_json *object, const char *key, const struct tb_json *value);
void tb_json_add(struct tb_json *array, struct tb_json *value);
void tb_json_add_str(struct tb_json *array, const char *value);
void tb_json_add_int(struct tb_json *array, int64_t value);
/* At most the first `count` elements stay of the array at `pointer`; what is none stays. */
void tb_json_cut(struct tb_json *root, const char *pointer, size_t count);

/* Appends the text: compact with sorted keys (one canonical form), or indented by two in the
 * order of insertion. */
TB_NODISCARD enum tb_err tb_json_dump(const struct tb_json *root, bool indented,
                                      struct tb_buf *out, struct tb_fail *fail);

#endif

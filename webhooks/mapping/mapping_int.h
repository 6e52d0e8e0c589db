/* Values of a mapping, as its members are read with. */
#ifndef TAPBOX_MAPPING_INT_H
#define TAPBOX_MAPPING_INT_H

#include <tapbox/senders.h>

enum {
    MAPPING_TEXT_SIZE = 512 /* of one value; what is longer is cut */
};

/* Whether an address lies in one of the networks; NULL, or no address, does not. */
bool mapping_is_within(const char *address, const struct tb_words *networks);
/* A text, a number or a boolean as text; false for anything else, and for "". */
bool mapping_scalar(const struct tb_json *node, char out[MAPPING_TEXT_SIZE]);
/* One value; an array gives its i-th element, anything else is the 0th.  False: it leads to
 * nothing. */
bool mapping_evaluate(const char *value, const struct tb_json *body, size_t i,
                      char out[MAPPING_TEXT_SIZE]);
/* The first of the values that leads to something. */
bool mapping_first_of(const struct tb_words *values, const struct tb_json *body,
                      char out[MAPPING_TEXT_SIZE]);
/* The same of one value, but what would be cut is its SHA-256, since two of them may begin
 * alike.  TB_EIO. */
TB_NODISCARD enum tb_err mapping_evaluate_whole(const char *value, const struct tb_json *body,
                                                char out[MAPPING_TEXT_SIZE], bool *out_found,
                                                struct tb_fail *fail);

#endif

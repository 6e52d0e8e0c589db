/* JSON that people write: every key is known and every value has its type, or it is refused. */
#ifndef AWSIM_FORM_H
#define AWSIM_FORM_H

#include <jansson.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

/* `setjmp(form.failed)` first: whatever is wrong comes back there, with a sentence in `why`. */
struct form {
    const char *where; /* section, for messages */
    char *why;
    size_t why_size;
    jmp_buf failed;
};

void form_fail(struct form *f, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* An object, and no keys but those in `known`, a list separated by spaces. */
void form_keys(struct form *f, json_t *o, const char *known);
/* `otherwise` stands for an absent key; NULL makes the key needed. */
const char *form_text(struct form *f, json_t *o, const char *key, const char *otherwise);
void form_copy(struct form *f, json_t *o, const char *key, const char *otherwise, char *out,
               size_t size);
long form_number(struct form *f, json_t *o, const char *key, long otherwise);
bool form_yes(struct form *f, json_t *o, const char *key, bool otherwise);
/* NULL when absent, which json_array_foreach takes as empty. */
json_t *form_list(struct form *f, json_t *o, const char *key);
/* `v`, found under `key`, as a text. */
const char *form_item(struct form *f, json_t *v, const char *key);

#endif

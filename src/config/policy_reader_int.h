/* What the files that read the policy share. */
#ifndef TAPBOX_POLICY_READER_INT_H
#define TAPBOX_POLICY_READER_INT_H

#include <stddef.h>

#include <yaml.h>

#include <tapbox/policy_file.h>

enum {
    POLICY_WHERE_SIZE = 96 /* of "rules 'name'" in a complaint */
};

struct policy_reader {
    yaml_document_t doc;
    const char *name;
    struct tb_rules *rules;
    char where[POLICY_WHERE_SIZE]; /* what is being read: "guard", "profile 'x'" */
    void (*report)(void *arg, const char *line);
    void *arg;
    struct tb_fail *fail;
    bool complained, no_memory;
};

struct policy_member {
    const char *name;
    void (*read)(struct policy_reader *r, const char *key, const yaml_node_t *value, void *at);
    size_t offset;
};
#define POLICY_AT(type, field) offsetof(struct type, field)

/* Tells what is wrong with the node `at`: "FILE:LINE: where: key: text". */
void policy_complain(struct policy_reader *r, const yaml_node_t *at, const char *key,
                     const char *fmt, ...) TB_PRINTF(4, 5);
/* "'VALUE' is not WHAT" */
void policy_not_a(struct policy_reader *r, const yaml_node_t *n, const char *key,
                  const char *what);

const yaml_node_t *policy_node(struct policy_reader *r, int index);
/* NULL unless it is plain text without a NUL. */
const char *policy_text_of(const yaml_node_t *n);
bool policy_take_whole(const yaml_node_t *n, long min, long max, long *out);
/* What profiles and rules are called. */
bool policy_is_name(const char *text);
extern const char *const policy_what_names_are;

/* Gives each member to its reader; what is there twice or unknown is told. */
void policy_read_mapping(struct policy_reader *r, const yaml_node_t *n, const char *what,
                         const struct policy_member *members, void *into);

/* --- readers of one value, for tables of members; `at` is of the type that is named --- */

void policy_read_duration(struct policy_reader *r, const char *key, const yaml_node_t *n,
                          void *at); /* int64_t, ns */
void policy_read_capture_duration(struct policy_reader *r, const char *key,
                                  const yaml_node_t *n,
                                  void *at); /* the same, a week at the most */
void policy_read_size(struct policy_reader *r, const char *key, const yaml_node_t *n,
                      void *at); /* uint64_t */
void policy_read_bool(struct policy_reader *r, const char *key, const yaml_node_t *n, void *at);
/* struct tb_words: one word or a list of at least one */
void policy_read_words(struct policy_reader *r, const char *key, const yaml_node_t *n,
                       void *at);
void policy_read_accounts(struct policy_reader *r, const char *key, const yaml_node_t *n,
                          void *at);

/* --- policy_profiles.c --- */

/* struct tb_rules: its profiles */
void policy_read_profiles(struct policy_reader *r, const char *key, const yaml_node_t *n,
                          void *at);

/* --- policy_senders.c --- */

/* struct tb_senders */
void policy_read_senders(struct policy_reader *r, const char *key, const yaml_node_t *n,
                         void *at);

#endif

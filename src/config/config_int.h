/* The table of keys, shared by the reader and by `check-config --defaults`. */
#ifndef TAPBOX_CONFIG_INT_H
#define TAPBOX_CONFIG_INT_H

#include <tapbox/config.h>

enum tb_config_kind {
    TB_CONFIG_TEXT,
    TB_CONFIG_LISTEN,   /* address:port into listen_address and listen_port */
    TB_CONFIG_BYTES,    /* uint64_t, with unit */
    TB_CONFIG_DURATION, /* int64_t nanoseconds, with unit */
    TB_CONFIG_U32,
    TB_CONFIG_U64,
    TB_CONFIG_INT,
    TB_CONFIG_BOOL,
    TB_CONFIG_LOG_LEVEL,
    TB_CONFIG_KIND_COUNT
};

struct tb_config_key {
    const char *name; /* "log", or "section.key" */
    enum tb_config_kind kind;
    size_t offset;        /* in struct tb_config */
    size_t size;          /* TB_CONFIG_TEXT: room, the NUL included */
    uint64_t min, max;    /* octets, seconds or the number itself; of everything but text */
    const char *fallback; /* the default, as one would write it */
    bool required;        /* TB_CONFIG_TEXT without a default: "" is refused */
    bool (*valid)(const char *text); /* TB_CONFIG_TEXT, not empty; NULL: anything printable */
    const char *expects;             /* what `valid` wants, in words */
    const char *help;
};

extern const struct tb_config_key tb_config_keys[];
extern const size_t tb_config_key_count;
/* The place in the table; tb_config_key_count: no such key. */
size_t tb_config_find(const char *name);

enum {
    TB_CONFIG_MAX_NAME = 128 /* of "section.key" in a message */
};
/* The known name that somebody may have meant; NULL when none is near.  A key in the wrong
 * section is found by its last part. */
const char *tb_config_nearest(const char *name);

/* A member of an account under `accounts:`; texts all. */
struct tb_config_account_key {
    const char *name;
    size_t offset; /* in struct tb_config_account */
    size_t size;
    bool required;
    bool (*valid)(const char *text);
    const char *expects;
};
enum {
    TB_CONFIG_ACCOUNT_KEYS = 2
};
extern const struct tb_config_account_key tb_config_account_keys[TB_CONFIG_ACCOUNT_KEYS];
/* TB_EINVAL says what the value was and what is allowed. */
TB_NODISCARD enum tb_err tb_config_account_set(const struct tb_config_account_key *key,
                                               const char *text,
                                               struct tb_config_account *account,
                                               struct tb_fail *fail);

/* Reads `text` into the key's place; TB_EINVAL says what the value was and what is allowed. */
TB_NODISCARD enum tb_err tb_config_set(const struct tb_config_key *key, const char *text,
                                       struct tb_config *config, struct tb_fail *fail);

#endif

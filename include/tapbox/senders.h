/*
 * Senders without an adapter of their own: where in their bodies things stand, as the policy's
 * file says (its key `senders`).  Pure: a body and a mapping in, an alert out.
 *
 * A value is a JSON pointer (RFC 6901, "/a/b"), or text in which each "{/a/b}" stands for what
 * is there; of a list of values the first that leads to something counts.
 *
 * Ownership: tb_senders_release frees what is in it.  Threads: pure.
 */
#ifndef TAPBOX_SENDERS_H
#define TAPBOX_SENDERS_H

#include <stdbool.h>

#include <tapbox/alert.h>
#include <tapbox/bytes.h>

enum {
    TB_SENDERS_MAX = 32,
    TB_SENDER_MAX_INDICATORS = 8
};

struct tb_words {
    char **at;
    size_t count;
};
void tb_words_release(struct tb_words *words);

struct tb_sender_indicator { /* an address or a domain, and what is known beside it */
    struct tb_words ip, domain, port, local_port, protocol, direction;
};

struct tb_sender {
    char name[TB_ALERT_ADAPTER_SIZE];
    /* Texts in pairs: a pointer, and what has to be there ("*": anything); all have to fit. */
    struct tb_words match; /* empty: only by its name */
    struct tb_words sample, archived;
    struct tb_words id, updated; /* id empty: the digest of what `hash` finds */
    struct tb_words hash;        /* all of them count, not the first */
    struct tb_words type, title, severity, account, region, time;
    struct tb_words accounts;   /* the only ones it may speak of ('*', '?'); empty: any */
    struct tb_words source;     /* what names an instance or interface, anywhere in it */
    struct tb_words hosts;      /* in pairs: a text that `source` finds, an id */
    struct tb_words severities; /* in pairs: a text, a number from 0 to 10; "*": any other */
    double severity_most;       /* what stands for 10 in its numbers; 0: they are as ours */
    struct tb_words own;        /* networks: an address in one of them is no indicator */
    struct tb_sender_indicator indicators[TB_SENDER_MAX_INDICATORS];
    size_t indicator_count;
};

struct tb_senders {
    struct tb_sender *at;
    size_t count;
};
void tb_senders_release(struct tb_senders *senders);

/* NULL: there is none of this name. */
const struct tb_sender *tb_sender_find(const struct tb_senders *senders, const char *name);
/* By its `match`. */
bool tb_sender_recognises(const struct tb_sender *sender, const struct tb_json *body);
/* `out` is written on success only.  TB_EFORMAT names what leads to nothing, or to something
 * else. */
TB_NODISCARD enum tb_err tb_sender_read(const struct tb_sender *sender,
                                        const struct tb_json *body, struct tb_alert *out,
                                        struct tb_fail *fail);

/* "/a/b", with '~' only in "~0" and "~1"; "" is the whole body and no value. */
bool tb_sender_pointer_valid(const char *text);
/* A pointer, or text with pointers in braces. */
bool tb_sender_value_valid(const char *text);
/* "10.0.0.0/8", "2001:db8::/32", or one address. */
bool tb_sender_network_valid(const char *text);

#endif

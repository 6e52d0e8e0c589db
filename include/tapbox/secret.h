/* A secret string: wiped on release, never formatted, never logged. */
#ifndef TAPBOX_SECRET_H
#define TAPBOX_SECRET_H

#include <tapbox/bytes.h>

struct tb_secret {
    char *text; /* owned, NUL-terminated; NULL when empty */
    size_t len;
};

#define TB_SECRET_INIT                                                                         \
    {                                                                                          \
        NULL, 0                                                                                \
    }

/* Copies; releases what was there. */
TB_NODISCARD enum tb_err tb_secret_set(struct tb_secret *secret, struct tb_bytes text);
/* Lent until the next change. */
struct tb_bytes tb_secret_view(const struct tb_secret *secret);
void tb_secret_release(struct tb_secret *secret);
/* Wipes any memory so that the compiler cannot leave it out. */
void tb_wipe(void *at, size_t len);

#endif

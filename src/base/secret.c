/* Secrets: wiped when released. */
#include <tapbox/secret.h>

#include <stdlib.h>

void
tb_wipe(void *at, size_t len)
{
    if (at != NULL && len > 0) {
        explicit_bzero(at, len);
    }
}

enum tb_err
tb_secret_set(struct tb_secret *secret, struct tb_bytes text)
{
    char *copy = malloc(text.len + 1);

    if (copy == NULL) {
        return TB_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(copy, text.at, text.len);
    }
    copy[text.len] = 0;
    tb_secret_release(secret);
    secret->text = copy;
    secret->len = text.len;
    return TB_OK;
}

struct tb_bytes
tb_secret_view(const struct tb_secret *secret)
{
    return tb_bytes_of(secret->text, secret->len);
}

void
tb_secret_release(struct tb_secret *secret)
{
    tb_wipe(secret->text, secret->len);
    free(secret->text);
    *secret = (struct tb_secret)TB_SECRET_INIT;
}

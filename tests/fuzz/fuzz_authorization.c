/*
 * The Authorization header.  Whatever it holds: a token that is taken from it is a run of the
 * header itself (Bearer), or no longer than what its base64 can hold (Basic); the same again
 * gives the same.
 */
#include <assert.h>
#include <stdlib.h>

#include <tapbox/secret.h>

#include "../../src/http/http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_secret token = TB_SECRET_INIT, again = TB_SECRET_INIT;
    char *text = malloc(size + 1);

    assert(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    if (tb_http_authorization_token(text, &token)) {
        assert(token.len < strlen(text));
        assert((text[0] | 0x20) == 'b');
        if ((text[1] | 0x20) == 'e') { /* Bearer */
            assert(token.len == 0 || strcmp(text + strlen(text) - token.len, token.text) == 0);
        } else {
            assert(token.len <= (strlen(text) - strlen("Basic ")) / 4 * 3 + 3);
        }
        assert(tb_http_authorization_token(text, &again));
        assert(tb_bytes_equal(tb_secret_view(&token), tb_secret_view(&again)));
    } else {
        assert(token.text == NULL);
    }
    tb_secret_release(&token);
    tb_secret_release(&again);
    free(text);
    return 0;
}

/*
 * ~/.aws/credentials and ~/.aws/config.  Whatever the text: no setting is longer than the text,
 * what is found as credentials can stand in a header, and no part of the text gets into an
 * error.
 */
#include <assert.h>
#include <stdlib.h>

#include "../../src/aws/aws_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        assert(*text > ' ' && *text < 0x7f);
    }
}

/* A line becomes words that are no longer than it was, together. */
static void
check_words(const char *line)
{
    char *copy = strdup(line != NULL ? line : ""), *words[8];
    size_t len = 0;

    assert(copy != NULL);
    if (tb_aws_process_words(copy, words, 8, NULL) == TB_OK) {
        for (size_t i = 0; words[i] != NULL; i++) {
            assert(i < 7);
            len += strlen(words[i]);
        }
        assert(len <= strlen(line));
    }
    free(copy);
}

static void
check_credentials(const struct tb_aws_profiles *profiles, const char *profile)
{
    struct tb_aws_credentials credentials;
    struct tb_fail fail = {.text = ""};
    const char *region = tb_aws_profiles_get(profiles, profile, "region");

    check_words(tb_aws_profiles_get(profiles, profile, "credential_process"));
    assert(region == NULL || strchr(region, '\n') == NULL);
    if (tb_aws_credentials_of_profile(profiles, profile, &credentials, &fail) != TB_OK) {
        assert(fail.err != TB_OK && fail.text[0] != '\0');
        return;
    }
    assert(tb_aws_profiles_has(profiles, profile));
    assert(credentials.access_key_id[0] != '\0' && credentials.secret_key.len > 0);
    check_printable(credentials.access_key_id);
    check_printable(credentials.secret_key.text);
    if (credentials.session_token.text != NULL) {
        check_printable(credentials.session_token.text);
    }
    tb_aws_credentials_release(&credentials);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (enum tb_aws_file file = TB_AWS_FILE_CREDENTIALS; file <= TB_AWS_FILE_CONFIG; file++) {
        struct tb_aws_profiles *profiles = NULL;
        struct tb_fail fail = {.text = ""};

        assert(tb_aws_profiles_new(&profiles, NULL) == TB_OK);
        if (tb_aws_profiles_parse(profiles, file, tb_bytes_of(data, size), &fail) != TB_OK) {
            /* one of a few fixed sentences: nothing of the file is in it */
            assert(fail.err == TB_ETOOBIG || strncmp(fail.text, "line ", 5) == 0 ||
                   strcmp(fail.text, "it is not a text file") == 0);
        } else {
            check_credentials(profiles, "default");
            check_credentials(profiles, "ops");
        }
        tb_aws_profiles_free(profiles);
    }
    return 0;
}

/* The public keys that evidence is judged by: given on the command line, or lying beside it. */
#ifndef TAPBOX_CLI_KEYS_INT_H
#define TAPBOX_CLI_KEYS_INT_H

#include <tapbox/verify.h>

enum {
    TB_CLI_MAX_KEY_NAMES = 16 /* of --key, and of --fingerprint */
};

struct tb_cli_names { /* as given on the command line */
    const char *at[TB_CLI_MAX_KEY_NAMES];
    size_t count;
};
struct tb_cli_keys {
    struct tb_cli_names files, fingerprints;
    struct tb_verify_key *at; /* owned */
    size_t count;
};
void tb_cli_keys_release(struct tb_cli_keys *keys);

/* 'k' or 'f' with its value; false when there are too many. */
bool tb_cli_keys_option(struct tb_cli_keys *keys, int option, const char *value);
static inline bool
tb_cli_keys_given(const struct tb_cli_keys *keys)
{
    return keys->files.count + keys->fingerprints.count > 0;
}
/*
 * Those that the command line names, which are trusted then; without any, all that lie in keys/
 * below the place, in it, or some levels above, as they come.  TB_EXIT_OK, also when there is
 * none in the end; else it was told.
 */
int tb_cli_keys_take(struct tb_cli_keys *keys, const char *command, const char *where,
                     struct tb_place *place, const struct tb_place_list *list);
/*
 * Whether each <fingerprint>.pem in keys/ at or below the place is the key that its name says:
 * it vouches for nothing, but who goes by a fingerprint takes it.  What is wrong goes to
 * verify->finding, and is counted in *out_findings; errors are those that concern more than one
 * file.
 */
TB_NODISCARD enum tb_err tb_cli_keys_check(const struct tb_verify *verify,
                                           struct tb_place *place,
                                           const struct tb_place_list *list,
                                           size_t *out_findings, struct tb_fail *fail);
/* Whether a file of that name below a place is taken for a public key. */
bool tb_cli_keys_is_name(const char *name);
/* Copies the keys/ above the place into the folder: what is fetched can be verified there. */
TB_NODISCARD enum tb_err tb_cli_keys_bring(struct tb_place *place, int folder_fd,
                                           struct tb_fail *fail);

#endif

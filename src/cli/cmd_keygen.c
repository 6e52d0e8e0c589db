/* tapbox keygen: the key that manifests are signed with. */
#include <getopt.h>
#include <stdio.h>

#include <tapbox/pubkey.h>

#include "cli_int.h"

static const char help[] =
    "Usage: tapbox keygen FILE\n"
    "\n"
    "Makes an Ed25519 key for signing manifests: the private key in FILE, for its owner only,\n"
    "the public one in FILE.pub, both PEM.  Prints the fingerprint, which is the SHA-256 of "
    "the\n"
    "public key's 32 octets: write it down where evidence will be judged.  Name FILE as\n"
    "evidence.key_file in the configuration; 'tapbox serve' takes it at its next start.\n"
    "\n"
    "  -h, --help           this text\n"
    "\n"
    "Status: 0 made, 6 FILE is there already; it is never overwritten.\n";

static int
make(const char *path)
{
    struct tb_signing_key *key = NULL;
    struct tb_fail fail = {0};
    int status;

    if (tb_signing_key_new(&key, &fail) != TB_OK ||
        tb_signing_key_save(key, path, &fail) != TB_OK) {
        status = tb_cli_fail("keygen", &fail);
    } else {
        printf("%s\n", tb_signing_key_fingerprint(key));
        status = tb_cli_finish_stdout("keygen");
        fprintf(stderr, "The private key is in %s, the public one in %s.pub.\n", path, path);
    }
    tb_signing_key_free(key);
    return status;
}

int
tb_cmd_keygen(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("keygen");
        }
        return tb_cli_try_help("keygen");
    }
    if (optind + 1 != argc) {
        return tb_cli_usage("keygen", "one file for the key, please: 'tapbox keygen FILE'");
    }
    return make(argv[optind]);
}

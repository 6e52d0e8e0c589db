/* tapbox token: who may call the API. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <tapbox/http_server.h>
#include <tapbox/json.h>

#include "cli_int.h"

static const char help[] =
    "Usage: tapbox token add NAME --role ROLE[,ROLE] [--file FILE | --config FILE]\n"
    "       tapbox token list [--json] [--file FILE | --config FILE]\n"
    "       tapbox token revoke NAME [--file FILE | --config FILE]\n"
    "\n"
    "add makes a token, writes its salted hash with name and roles into the tokens file, and\n"
    "prints the token: this once, as nobody can find it in the file.  A running service takes\n"
    "it at once, and notices a revoked one as fast.\n"
    "\n"
    "  -r, --role ROLE      alert      may post alerts (EventBridge, SNS)\n"
    "                       analyst    may start, stop and see captures\n"
    "                       responder  may see captures and fetch evidence\n"
    "                       scraper    may read /metrics\n"
    "                       admin      may do everything\n"
    "  -f, --file FILE      the tokens file\n"
    "  -c, --config FILE    or the configuration that names it (" TB_CLI_CONFIG ")\n"
    "      --json           list as JSON\n"
    "  -h, --help           this text\n"
    "\n"
    "Status: 0 done, 3 there is no such token, 6 the name is taken.\n";

enum {
    JSON_MAX_BYTES = 1 << 20
};

static int
add(const char *name, const char *role, unsigned roles, const char *file)
{
    struct tb_secret token = TB_SECRET_INIT;
    struct tb_fail fail = {0};
    int status;

    if (tb_token_add(file, name, roles, &token, &fail) != TB_OK) {
        return tb_cli_fail("token", &fail);
    }
    /* the one place where a secret is shown: that is what was asked for */
    printf("%s\n", token.text);
    tb_secret_release(&token);
    status = tb_cli_finish_stdout("token");
    fprintf(stderr, "Token '%s' (%s) is in %s; it is not shown again.\n", name, role, file);
    return status;
}

static void
print_token(void *arg, const char *name, const char *roles)
{
    (void)arg;
    printf("%-24s %s\n", name, roles);
}

static void
add_token(void *arg, const char *name, const char *roles)
{
    struct tb_json *token = tb_json_object();

    tb_json_set_str(token, "name", name);
    tb_json_set_str(token, "roles", roles);
    tb_json_add(arg, token);
}

static int
list(const char *file, bool json)
{
    struct tb_json *tokens = json ? tb_json_array() : NULL;
    struct tb_buf text = TB_BUF_INIT(JSON_MAX_BYTES);
    struct tb_fail fail = {0};
    enum tb_err err = tb_token_list(file, json ? add_token : print_token, tokens, &fail);

    if (err == TB_OK && json) {
        err = tb_json_dump(tokens, true, &text, &fail);
    }
    if (err == TB_OK && json) {
        puts(tb_buf_str(&text));
    }
    tb_buf_release(&text);
    tb_json_free(tokens);
    return err == TB_OK ? tb_cli_finish_stdout("token") : tb_cli_fail("token", &fail);
}

static int
revoke(const char *name, const char *file)
{
    struct tb_fail fail = {0};

    if (tb_token_revoke(file, name, &fail) != TB_OK) {
        return tb_cli_fail("token", &fail);
    }
    fprintf(stderr, "Token '%s' counts no more.\n", name);
    return TB_EXIT_OK;
}

/* What is behind the options: an act, and a name where it needs one.  TB_EXIT_OK, or a usage
 * error's status. */
static int
check_words(char **words, int count, const char *role, unsigned *out_roles)
{
    const char *act = count > 0 ? words[0] : "";
    bool adds = strcmp(act, "add") == 0;
    bool named = adds || strcmp(act, "revoke") == 0;

    if (!named && strcmp(act, "list") != 0) {
        return tb_cli_usage("token", "what?  'tapbox token add NAME --role ROLE', 'list' or "
                                     "'revoke NAME'");
    }
    if (count != (named ? 2 : 1)) {
        return tb_cli_usage("token",
                            named ? "one name for the token, please: 'tapbox token %s "
                                    "NAME'"
                                  : "'tapbox token %s' takes no name",
                            act);
    }
    if (adds && role == NULL) {
        return tb_cli_usage("token", "for what?  --role alert, analyst, responder, scraper or "
                                     "admin");
    }
    if (adds && tb_role_parse(role, out_roles) != TB_OK) {
        return tb_cli_usage("token",
                            "--role: '%s' is not alert, analyst, responder, scraper, "
                            "admin, or some of them with commas",
                            role);
    }
    return TB_EXIT_OK;
}

int
tb_cmd_token(int argc, char **argv)
{
    static const struct option options[] = {
        {"role", required_argument, NULL, 'r'},   {"file", required_argument, NULL, 'f'},
        {"config", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    const char *role = NULL, *file = NULL, *config_path = TB_CLI_CONFIG;
    struct tb_config config;
    struct tb_fail fail = {0};
    char **words;
    unsigned roles = 0;
    bool json = false;
    int option, status;

    while ((option = getopt_long(argc, argv, "r:f:c:h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            role = optarg;
            break;
        case 'f':
            file = optarg;
            break;
        case 'c':
            config_path = optarg;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return tb_cli_finish_stdout("token");
        default:
            return tb_cli_try_help("token");
        }
    }
    words = argv + optind;
    status = check_words(words, argc - optind, role, &roles);
    if (status != TB_EXIT_OK) {
        return status;
    }
    if (file == NULL) {
        if (tb_config_load(config_path, &config, &fail) != TB_OK) {
            return tb_cli_fail("token", &fail);
        }
        file = config.tokens_file;
    }
    if (strcmp(words[0], "add") == 0) {
        return add(words[1], role, roles, file);
    }
    return strcmp(words[0], "list") == 0 ? list(file, json) : revoke(words[1], file);
}

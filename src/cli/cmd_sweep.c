/* tapbox sweep: removes what is ours and expired, by the tags alone.  For a timer on any host.
 */
#include <getopt.h>
#include <stdio.h>

#include <tapbox/control.h>
#include <tapbox/http_client.h>
#include <tapbox/json.h>

#include "cli_int.h"

/* A command line, and what came of it. */
struct sweep {
    struct tb_sweep_options options;
    const char *region;
    const char *external_id;
    const char *roles[TB_AWS_MAX_ROLES];
    size_t role_count;
    struct tb_sweep_result result;
    size_t accounts_failed;
    const char *role; /* whose account is swept now; NULL: our own */
    bool json;
    struct tb_json *lines;   /* with --json: what would have been printed */
    struct tb_json *deleted; /* and each deletion */
};

enum {
    JSON_MAX_BYTES = 16 << 20
};

static void
print_help(void)
{
    fputs("Usage: tapbox sweep [--owner NAME] [--standing] [--dry-run] [--region REGION]\n"
          "                    [--role ARN]... [--external-id ID] [--json]\n"
          "\n"
          "Deletes mirror sessions and filters of tapbox whose tapbox:expires has passed, by "
          "AWS's\n"
          "own clock.  It needs nothing but AWS credentials: run it from a timer on another "
          "host\n"
          "than the one that captures.  Objects of others are never touched.\n"
          "\n"
          "  --owner NAME     whose objects: the value of tapbox:owner (default tapbox)\n"
          "  --standing       also the mirror target and the shared filter that stay between\n"
          "                   captures; for taking tapbox out of an account\n"
          "  --dry-run        say what would be deleted\n"
          "  --region REGION  default: as AWS's environment says\n"
          "  --role ARN       sweep the account of this role, which is assumed; may be given\n"
          "                   again.  The account of one's own is then swept only by a role\n"
          "                   of its own\n"
          "  --external-id ID\n"
          "                   what these roles ask for when they are assumed\n"
          "  --json           one JSON object: found (how many objects), sessions, filters,\n"
          "                   targets, failed, accounts_failed, lines, and deleted: kind, id,\n"
          "                   capture, expires, request_id, time, role of each\n"
          "\n"
          "Exit status: 0 nothing is left that should not be, 1 something could not be "
          "deleted.\n",
          stdout);
}

static void
print_line(void *arg, const char *line)
{
    struct sweep *sweep = arg;

    if (sweep->json) {
        tb_json_add_str(sweep->lines, line);
    } else {
        puts(line);
    }
}

/* The sweeper's own record: who deleted the object is in CloudTrail under the request's id. */
static void
record_deleted(void *arg, const struct tb_swept *one)
{
    struct sweep *sweep = arg;
    struct tb_json *record;

    if (!sweep->json) {
        return;
    }
    record = tb_swept_json(one, "time");
    tb_json_set_str(record, "role", sweep->role);
    tb_json_add(sweep->deleted, record);
}

static void
add(struct tb_sweep_result *sum, const struct tb_sweep_result *one)
{
    sum->sessions += one->sessions;
    sum->filters += one->filters;
    sum->targets += one->targets;
    sum->failed += one->failed;
}

/* An account that cannot be swept does not keep the next from it. */
static void
sweep_account(struct sweep *sweep, struct tb_aws *aws, const char *role)
{
    struct tb_sweep_result result = {0};
    struct tb_aws *there = NULL;
    struct tb_fail fail = {0};
    enum tb_err err;

    sweep->role = role;
    print_line(sweep, role);
    err = tb_aws_assume(aws, role, sweep->external_id, sweep->options.owner, &there, &fail);
    if (err == TB_OK) {
        err = tb_sweep(there, &sweep->options, print_line, sweep, &result, &fail);
    }
    add(&sweep->result, &result);
    if (err != TB_OK) {
        (void)tb_cli_fail("sweep", &fail);
        sweep->accounts_failed++;
    }
}

static enum tb_err
sweep_all(struct sweep *sweep, struct tb_fail *fail)
{
    struct tb_http_client *http = NULL;
    struct tb_aws *aws = NULL;
    enum tb_err err;

    err = tb_http_client_new(&http, fail);
    if (err == TB_OK) {
        err = tb_aws_new(http, sweep->region, &aws, fail);
    }
    if (err == TB_OK && sweep->role_count == 0) {
        err = tb_sweep(aws, &sweep->options, print_line, sweep, &sweep->result, fail);
    }
    for (size_t i = 0; err == TB_OK && i < sweep->role_count; i++) {
        sweep_account(sweep, aws, sweep->roles[i]);
    }
    tb_aws_free(aws);
    tb_http_client_free(http);
    return err;
}

/* TB_EXIT_OK, or a usage error's status. */
static int
take_option(struct sweep *sweep, int option, const char *value)
{
    switch (option) {
    case 'o':
        sweep->options.owner = value;
        return TB_EXIT_OK;
    case 's':
        sweep->options.standing = true;
        return TB_EXIT_OK;
    case 'n':
        sweep->options.dry_run = true;
        return TB_EXIT_OK;
    case 'r':
        sweep->region = value;
        return TB_EXIT_OK;
    case 'j':
        sweep->json = true;
        return TB_EXIT_OK;
    case 'e':
        sweep->external_id = value;
        return TB_EXIT_OK;
    case 'R':
        if (sweep->role_count == TB_AWS_MAX_ROLES) {
            return tb_cli_usage("sweep", "more than %d roles", TB_AWS_MAX_ROLES);
        }
        sweep->roles[sweep->role_count++] = value;
        return TB_EXIT_OK;
    default:
        return tb_cli_try_help("sweep");
    }
}

static void
print_result(const struct sweep *sweep)
{
    const struct tb_sweep_result *r = &sweep->result;

    printf("%s: %zu sessions, %zu filters, %zu targets; %zu failed",
           sweep->options.dry_run ? "would be deleted" : "deleted", r->sessions, r->filters,
           r->targets, r->failed);
    if (sweep->accounts_failed > 0) {
        printf("; %zu of %zu accounts could not be looked at", sweep->accounts_failed,
               sweep->role_count);
    }
    putchar('\n');
}

/* The lists are the document's from here. */
static enum tb_err
print_result_json(struct sweep *sweep, struct tb_fail *fail)
{
    const struct tb_sweep_result *r = &sweep->result;
    struct tb_json *root = tb_json_object();
    struct tb_buf text = TB_BUF_INIT(JSON_MAX_BYTES);
    enum tb_err err;

    tb_json_set_bool(root, "dry_run", sweep->options.dry_run);
    tb_json_set_int(root, "found", (int64_t)(r->sessions + r->filters + r->targets));
    tb_json_set_int(root, "sessions", (int64_t)r->sessions);
    tb_json_set_int(root, "filters", (int64_t)r->filters);
    tb_json_set_int(root, "targets", (int64_t)r->targets);
    tb_json_set_int(root, "failed", (int64_t)r->failed);
    tb_json_set_int(root, "accounts_failed", (int64_t)sweep->accounts_failed);
    tb_json_set(root, "lines", sweep->lines);
    sweep->lines = NULL;
    tb_json_set(root, "deleted", sweep->deleted);
    sweep->deleted = NULL;
    err = tb_json_dump(root, true, &text, fail);
    if (err == TB_OK) {
        puts(tb_buf_str(&text));
    }
    tb_buf_release(&text);
    tb_json_free(root);
    return err;
}

int
tb_cmd_sweep(int argc, char **argv)
{
    static const struct option options[] = {
        {"owner", required_argument, NULL, 'o'},
        {"standing", no_argument, NULL, 's'},
        {"dry-run", no_argument, NULL, 'n'},
        {"region", required_argument, NULL, 'r'},
        {"role", required_argument, NULL, 'R'},
        {"external-id", required_argument, NULL, 'e'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct sweep sweep = {.options = {.owner = "tapbox"}};
    struct tb_fail fail = {0};
    int option, status;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return tb_cli_finish_stdout("sweep");
        }
        status = take_option(&sweep, option, optarg);
        if (status != TB_EXIT_OK) {
            return status;
        }
    }
    if (optind < argc) {
        return tb_cli_usage("sweep", "'%s' is one argument too many", argv[optind]);
    }
    if (sweep.external_id != NULL && sweep.role_count == 0) {
        return tb_cli_usage("sweep", "--external-id belongs to --role");
    }
    sweep.options.deleted = record_deleted;
    sweep.options.deleted_arg = &sweep;
    if (sweep.json) {
        sweep.lines = tb_json_array();
        sweep.deleted = tb_json_array();
    }
    if (sweep_all(&sweep, &fail) != TB_OK) {
        status = tb_cli_fail("sweep", &fail);
    } else {
        status = sweep.result.failed + sweep.accounts_failed > 0 ? TB_EXIT_FAILED : TB_EXIT_OK;
    }
    /* what was deleted is on record, whatever came then */
    if (!sweep.json) {
        print_result(&sweep);
    } else if (print_result_json(&sweep, &fail) != TB_OK) {
        return tb_cli_fail("sweep", &fail);
    }
    return status != TB_EXIT_OK ? status : tb_cli_finish_stdout("sweep");
}

/* What is still tapped, said by a service that cannot take it down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/store.h>

#include "cli_int.h"

/* Where the store is while no configuration says so: as systemd says, or else the default. */
static void
usual_state_dir(char *out, size_t cap)
{
    const char *told = getenv("STATE_DIRECTORY"); /* several, with colons between them */

    if (told == NULL || told[0] == '\0') {
        told = "/var/lib/tapbox";
    }
    (void)snprintf(out, cap, "%.*s", (int)strcspn(told, ":"), told);
}

/* That of a capture which EC2 has, or may have: nobody has seen it gone. */
static size_t
say_sessions(struct tb_store *store, const char *capture_id, size_t said, const char *dir)
{
    struct tb_resource *rows = NULL;
    size_t count = 0;

    if (tb_store_resource_list(store, capture_id, false, &rows, &count, NULL) != TB_OK) {
        return said;
    }
    for (size_t i = 0; i < count; i++) {
        const struct tb_resource *row = &rows[i];
        const char *region = strchr(row->place, '/');
        char expires[TB_TIME_TEXT_SIZE];

        if (row->kind != TB_RESOURCE_SESSION || row->state == TB_RESOURCE_GONE ||
            row->aws_id[0] == '\0') {
            continue;
        }
        if (said++ == 0) {
            fprintf(stderr,
                    "These mirror sessions are recorded as live in %s.  Until the service "
                    "starts nobody\nhere takes them down; once one has expired 'tapbox sweep' "
                    "does.  To do it now:\n",
                    dir);
        }
        tb_time_format_s(expires, row->expires_utc_s);
        fprintf(stderr,
                "  aws ec2 delete-traffic-mirror-session --region %s "
                "--traffic-mirror-session-id %s  # %s, account %.*s, expires %s\n",
                region != NULL ? region + 1 : "REGION", row->aws_id, row->key,
                region != NULL ? (int)(region - row->place) : 1,
                region != NULL ? row->place : "?", expires);
    }
    tb_resources_free(rows, count);
    return said;
}

void
tb_cli_say_live_taps(const char *state_dir)
{
    char usual[256], path[300];
    struct tb_store *store = NULL;
    struct tb_due *due = NULL;
    size_t count = 0, said = 0;

    if (state_dir[0] == '\0') {
        usual_state_dir(usual, sizeof(usual));
        state_dir = usual;
    }
    (void)snprintf(path, sizeof(path), "%s/tapbox.db", state_dir);
    /* (one that is not there is not made, and one that a service has is its own business) */
    if (access(path, F_OK) != 0 || tb_store_open(path, &store, NULL) != TB_OK) {
        return;
    }
    if (tb_store_due_list(store, &due, &count, NULL) == TB_OK) {
        for (size_t i = 0; i < count; i++) {
            said = say_sessions(store, due[i].id, said, state_dir);
        }
    }
    if (said > 0) {
        fprintf(stderr, "%zu in all.\n", said);
    }
    free(due);
    tb_store_close(store);
}

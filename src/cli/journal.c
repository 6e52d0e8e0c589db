/* Log lines as entries of the journal, with fields that can be asked for
 * (systemd.journal-fields(7)). */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include <tapbox/log.h>

#include "cli_int.h"

enum {
    FIELDS = 8,
    FIELD_MAX_BYTES = 2200 /* a line of the log, and the field's name */
};

struct entry {
    char text[FIELDS][FIELD_MAX_BYTES];
    struct iovec fields[FIELDS];
    int count;
};

TB_PRINTF(2, 3)
static void
add(struct entry *entry, const char *fmt, ...)
{
    char *text = entry->text[entry->count];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, FIELD_MAX_BYTES, fmt, args);
    va_end(args);
    if (n > 0) {
        entry->fields[entry->count++] =
            (struct iovec){text, n < FIELD_MAX_BYTES ? (size_t)n : (size_t)FIELD_MAX_BYTES - 1};
    }
}

static bool
send_to_journal(const struct tb_log_event *event)
{
    struct entry entry = {.count = 0};

    add(&entry, "MESSAGE=%s", event->text);
    add(&entry, "PRIORITY=%d", event->priority);
    add(&entry, "TAPBOX_PROGRAM=%s", event->program);
    if (event->capture[0] != '\0') {
        add(&entry, "TAPBOX_CAPTURE=%s", event->capture);
    }
    if (event->fail != NULL) {
        add(&entry, "TAPBOX_ERROR=%s", tb_err_name(event->fail->err));
        if (event->fail->code[0] != '\0') {
            add(&entry, "TAPBOX_CODE=%s", event->fail->code);
        }
        if (event->fail->http_status != 0) {
            add(&entry, "TAPBOX_HTTP_STATUS=%d", event->fail->http_status);
        }
        if (event->fail->request_id[0] != '\0') {
            add(&entry, "TAPBOX_REQUEST_ID=%s", event->fail->request_id);
        }
    }
    return sd_journal_sendv(entry.fields, entry.count) >= 0;
}

void
tb_cli_log_to_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char ours[64];
    struct stat of;

    /* Set, and still where stderr goes: somebody may have turned it elsewhere
     * (systemd.exec(5)). */
    if (stream == NULL || fstat(STDERR_FILENO, &of) != 0) {
        return;
    }
    (void)snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)of.st_dev,
                   (unsigned long long)of.st_ino);
    if (strcmp(stream, ours) == 0) {
        tb_log_sink(send_to_journal);
    }
}

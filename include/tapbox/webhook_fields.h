/* What every adapter needs to read foreign JSON: keys in either casing, text made harmless. */
#ifndef TAPBOX_WEBHOOK_FIELDS_H
#define TAPBOX_WEBHOOK_FIELDS_H

#include <tapbox/webhook.h>

/* `path` is keys joined by '/'.  A key is found as written, or with its first letter in the
 * other case: events have "instanceId" where the AWS CLI prints "InstanceId".  NULL: absent. */
const struct tb_json *tb_webhook_at(const struct tb_json *node, const char *path);
/* NULL unless it is a string that is not empty. */
const char *tb_webhook_str(const struct tb_json *node, const char *path);
/* A boolean, or the text "true" or "false" (some senders make strings of everything); false
 * when it is absent or something else. */
bool tb_webhook_flag(const struct tb_json *node, const char *path);
/* A port number; 0 when it is absent or none. */
uint32_t tb_webhook_port(const struct tb_json *node, const char *path);

/* Copies text for people: control characters and those that turn the reading direction become
 * '?', what does not fit is cut between two characters.  NULL gives "". */
void tb_webhook_clean_text(char *out, size_t cap, const char *text);
/* Copies a name (id, type, Region) when all of it is printable ASCII without blanks and fits;
 * false, and "", when it had to be left out. */
bool tb_webhook_name(char *out, size_t cap, const char *text);
/* The same in lower case: "TCP" as "tcp". */
bool tb_webhook_lower_name(char *out, size_t cap, const char *text);
/* Finds the first AWS id with this prefix ("i-", "eni-") in an id or ARN, whatever stands
 * around it.  8 to 40 hex digits: EC2 decides about the rest.  False, and "", when there is
 * none. */
bool tb_webhook_find_id(const char *text, const char *prefix, char out[TB_AWS_ID_SIZE]);

#endif

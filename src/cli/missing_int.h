/* How subcommands tell what of the segments cannot be read. */
#ifndef TAPBOX_CLI_MISSING_INT_H
#define TAPBOX_CLI_MISSING_INT_H

#include <tapbox/json.h>
#include <tapbox/retrieve.h>

/* A line on stderr. */
void tb_cli_missing_tell(const char *command, const struct tb_missing *missing);
/* An object more in `array`. */
void tb_cli_missing_put(struct tb_json *array, const struct tb_missing *missing);

#endif

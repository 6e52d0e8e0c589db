/* What of the segments cannot be read, for people and as JSON. */
#include "missing_int.h"

#include <stdio.h>

void
tb_cli_missing_tell(const char *command, const struct tb_missing *missing)
{
    struct tb_buf text = TB_BUF_INIT(TB_EVIDENCE_NAME_SIZE + 256);

    tb_missing_describe(missing, &text);
    fprintf(stderr, "tapbox %s: missing: %s: %s\n", command, tb_buf_str(&text), missing->why);
    tb_buf_release(&text);
}

void
tb_cli_missing_put(struct tb_json *array, const struct tb_missing *missing)
{
    struct tb_json *one = tb_json_object();

    tb_json_set_str(one, "segment", missing->segment);
    tb_json_set_int(one, "offset", (int64_t)missing->offset);
    tb_json_set_int(one, "bytes", (int64_t)missing->bytes);
    tb_json_set_time(one, "from", missing->from_utc_ns);
    tb_json_set_time(one, "to", missing->to_utc_ns);
    if (missing->is_counted) {
        tb_json_set_int(one, "packets", (int64_t)missing->packets);
    } else {
        tb_json_set_null(one, "packets");
    }
    tb_json_set_str(one, "why", missing->why);
    tb_json_add(array, one);
}

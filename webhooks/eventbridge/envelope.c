/* EventBridge's envelope: "detail-type" and an object "detail". */
#include <tapbox/webhook_fields.h>

static enum tb_err
open_event(const struct tb_json *body, struct tb_event *out, struct tb_fail *fail)
{
    (void)fail;
    if (tb_json_str(body, "/detail-type") == NULL ||
        !tb_json_is_object(tb_json_at(body, "/detail"))) {
        return TB_ENOTFOUND;
    }
    *out = (struct tb_event){.source = tb_json_str(body, "/source"),
                             .detail_type = tb_json_str(body, "/detail-type"),
                             .account = tb_json_str(body, "/account"),
                             .region = tb_json_str(body, "/region"),
                             .id = tb_json_str(body, "/id"),
                             .time = tb_json_str(body, "/time"),
                             .resources = tb_json_at(body, "/resources"),
                             .detail = tb_json_at(body, "/detail")};
    return TB_OK;
}

const struct tb_webhook_envelope tb_webhook_eventbridge = {
    .name = "eventbridge",
    .open = open_event,
};

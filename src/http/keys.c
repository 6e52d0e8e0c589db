/* GET /v1/keys: the public keys that manifests are and were signed with. */
#include <stdlib.h>

#include "http_int.h"

void
tb_http_get_keys(struct tb_http_call *call)
{
    struct tb_key_row *keys = NULL;
    struct tb_fail fail = {0};
    struct tb_json *root, *list;
    size_t count = 0;

    if (tb_store_key_list(call->server->deps.store, &keys, &count, &fail) != TB_OK) {
        tb_http_problem_of(call, &fail);
        return;
    }
    root = tb_json_object();
    list = tb_json_array();
    for (size_t i = 0; i < count; i++) {
        struct tb_json *key = tb_json_object();
        char time[TB_TIME_TEXT_SIZE];

        tb_time_format_s(time, keys[i].first_used_utc_ns / TB_NS_PER_S);
        tb_json_set_str(key, "algorithm", "Ed25519");
        tb_json_set_str(key, "fingerprint", keys[i].fingerprint.text);
        tb_json_set_str(key, "pem", keys[i].pem);
        tb_json_set_str(key, "first_used", time);
        tb_json_set_bool(key, "current", keys[i].current);
        tb_json_add(list, key);
    }
    tb_json_set(root, "keys", list);
    free(keys);
    tb_http_answer_json(call, 200, root);
}

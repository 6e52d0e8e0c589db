/* Alerts and captures over the API, and that its description is true. */
#include <fcntl.h>
#include <signal.h>
#include <strings.h>
#include <sys/resource.h>

#include <tapbox/io.h>

#include "room.h"

enum {
    POSTERS = 6,
    POSTS_EACH = 20
};

/* --- captures --- */

/* Asks for one; its id goes to `id`. */
static void
make_capture(const struct room *r, char id[TB_CAPTURE_ID_SIZE])
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "capture");
    assert_true(tb_str_copy(id, TB_CAPTURE_ID_SIZE, tb_json_str(json, "/capture/id")));
    tb_json_free(json);
    tb_buf_release(&out);
}

static void
a_request_makes_a_capture_and_the_same_key_gives_it_again(void **state)
{
    static const char key[] = "Idempotency-Key: k-1\r\nRange: bytes=0-1048575\r\n";
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    char id[TB_CAPTURE_ID_SIZE];

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, key, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "capture");
    assert_string_equal(tb_json_str(json, "/capture/state"), "requested");
    assert_string_equal(tb_json_str(json, "/capture/request/requested_by"), "ann");
    assert_string_equal(tb_json_str(json, "/capture/request/interfaces/0"), ENI);
    assert_true(tb_json_is_null(tb_json_at(json, "/capture/deadline")));
    assert_true(tb_str_copy(id, sizeof(id), tb_json_str(json, "/capture/id")));
    assert_non_null(strstr(tb_buf_str(&out), "Location: /v1/captures/cap-"));
    tb_json_free(json);

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, key, BODY, &out), 200);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "duplicate");
    assert_string_equal(tb_json_str(json, "/capture/id"), id);
    tb_json_free(json);

    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), "joined");
    assert_string_equal(tb_json_str(json, "/capture/id"), id);
    tb_json_free(json);
    tb_buf_release(&out);
}

/* Posts a finding as an EventBridge API destination does; the decision has to be `decision`. */
static void
post_sample(const struct room *r, const char *name, int status, const char *decision)
{
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX), body = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    struct tb_buf headers = TB_BUF_INIT(1024);
    struct tb_json *json;

    tb_buf_printf(&headers,
                  "User-Agent: Amazon/EventBridge/ApiDestinations\r\n"
                  "Content-Type: application/json; charset=utf-8\r\n"
                  "Range: bytes=0-1048575\r\nAccept-Encoding: gzip,deflate\r\n"
                  "X-Api-Key: %s\r\n",
                  r->alert.text);
    assert_int_equal(tb_read_file(AT_FDCWD, name, &body, NULL), TB_OK);
    assert_int_equal(
        call(r, "POST", "/v1/events", NULL, tb_buf_str(&headers), tb_buf_str(&body), &out),
        status);
    assert_null(strstr(tb_buf_str(&out), "Content-Range"));
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/decision"), decision);
    assert_true(strlen(tb_json_str(json, "/reason")) > 5);
    assert_string_equal(tb_json_str(json, "/alert/adapter"), "guardduty");
    assert_true((tb_json_str(json, "/capture/id") != NULL) ==
                (strcmp(decision, "ignored") != 0 && strcmp(decision, "refused") != 0));
    /* a sender of alerts sees what it caused, and of the rest no more than the id */
    assert_true((tb_json_str(json, "/capture/state") != NULL) ==
                (strcmp(decision, "capture") == 0));
    tb_json_free(json);
    tb_buf_release(&body);
    tb_buf_release(&headers);
    tb_buf_release(&out);
}

static void
a_finding_makes_a_capture_once_and_a_sample_is_ignored_with_its_reason(void **state)
{
    struct room *r = *state;

    post_sample(r, "webhooks/guardduty/samples/cnc.json", 202, "capture");
    post_sample(r, "webhooks/guardduty/samples/cnc.json", 200, "duplicate");
    post_sample(r, "webhooks/guardduty/samples/sample.json", 200, "ignored");
    post_sample(r, "webhooks/guardduty/samples/s3.json", 200, "refused");
}

static void
a_capture_is_listed_shown_and_stopped_once(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    char id[TB_CAPTURE_ID_SIZE], path[100], stop[110];

    make_capture(r, id);
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    snprintf(stop, sizeof(stop), "%s/stop", path);
    assert_int_equal(
        call(r, "GET", "/v1/captures?live=1&limit=1", &r->responder, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/captures/0/id"), id);
    tb_json_free(json);
    assert_int_equal(call(r, "GET", path, &r->responder, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_true(tb_json_is_array(tb_json_at(json, "/segments")));
    assert_true(tb_json_is_array(tb_json_at(json, "/resources")));
    assert_true(tb_json_is_null(tb_json_at(json, "/live")));
    tb_json_free(json);

    assert_int_equal(call(r, "POST", stop, &r->analyst, NULL, "", &out), 202);
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/capture/stop_reason"), "operator");
    tb_json_free(json);
    assert_int_equal(tb_store_capture_move(r->store, id, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_FAILED, TB_STOP_FAILURE, NULL),
                     TB_OK);
    assert_int_equal(call(r, "POST", stop, &r->analyst, NULL, "", &out), 409);
    assert_problem(&out, 409, "");
    json = json_of(&out);
    assert_string_equal(tb_json_str(json, "/state"), "failed");
    tb_json_free(json);
    assert_int_equal(call(r, "GET", "/v1/captures?live=1", &r->responder, NULL, NULL, &out),
                     200);
    assert_null(strstr(tb_buf_str(&out), id));
    tb_buf_release(&out);
}

/* Brings it to `recording` with so much left. */
static void
begin_recording(const struct room *r, const char *id, int64_t left_ns)
{
    const struct tb_deadline deadline = tb_deadline_in(left_ns);
    const struct tb_capture_source source = {
        .eni = ENI, .ip = "10.0.1.10", .vni = 7, .session_number = 2, .armed = true};

    assert_int_equal(tb_store_capture_sources(r->store, id, &source, 1, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(r->store, id, TB_CAPTURE_REQUESTED,
                                           TB_CAPTURE_PLANNED, TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_deadline(r->store, id, &deadline, NULL), TB_OK);
    assert_int_equal(tb_store_capture_move(r->store, id, TB_CAPTURE_PLANNED, TB_CAPTURE_ARMING,
                                           TB_STOP_NONE, NULL),
                     TB_OK);
    assert_int_equal(tb_store_capture_move(r->store, id, TB_CAPTURE_ARMING,
                                           TB_CAPTURE_RECORDING, TB_STOP_NONE, NULL),
                     TB_OK);
}

static void
an_extension_that_cannot_be_is_refused_with_what_could(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *says;
    } cases[] = {
        {"{", 400, "JSON"},
        {"[]", 400, "object"},
        {"{}", 400, "duration"},
        {"{\"duration\":\"soon\"}", 400, "duration"},
        {"{\"duration\":\"0s\"}", 400, "duration"},
        {"{\"duration\":-5}", 400, "duration"},
        {"{\"duration\":\"1ms\"}", 400, "second"},
        {"{\"duration\":99999999999999}", 400, "duration"},
        {"{\"duration\":\"1m\",\"until\":1}", 400, "until"},
        {"{\"duration\":\"1m\",\"reason\":\"a\\u0007b\"}", 400, "reason"},
        {"{\"duration\":\"6d\"}", 422, "The latest possible deadline is 20"},
        {"{\"duration\":\"2562047h\"}", 422, "The latest possible deadline is 20"},
        {"{\"duration\":\"1m\",\"reason\":\"more\"}", 503, "control plane"},
        {"{\"duration\":60}", 503, "control plane"},
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    char id[TB_CAPTURE_ID_SIZE], path[100];

    make_capture(r, id);
    snprintf(path, sizeof(path), "/v1/captures/%s/extend", id);
    assert_int_equal(call(r, "POST", path, &r->analyst, NULL, "{\"duration\":60}", &out), 409);
    assert_non_null(strstr(tb_buf_str(&out), "\"state\": \"requested\""));
    begin_recording(r, id, 90 * TB_NS_PER_S);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = call(r, "POST", path, &r->analyst, NULL, cases[i].body, &out);

        if (status != cases[i].status) {
            fail_msg("%s: %d", cases[i].body, status);
        }
        assert_problem(&out, cases[i].status, cases[i].says);
        assert_true((status == 422) ==
                    (strstr(tb_buf_str(&out), "\"latest_deadline\": \"20") != NULL));
    }
    assert_int_equal(tb_store_capture_ask_stop(r->store, id, TB_STOP_OPERATOR, NULL, NULL),
                     TB_OK);
    assert_int_equal(call(r, "POST", path, &r->analyst, NULL, "{\"duration\":60}", &out), 409);
    assert_problem(&out, 409, "being stopped");
    /* what is being stopped has no time left, whatever its deadline was */
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\"seconds_left\": null"));
    assert_int_equal(call(r, "POST", "/v1/captures/cap-20260102T030405Z-1a2b3c4d/extend",
                          &r->analyst, NULL, "{\"duration\":60}", &out),
                     404);
    tb_buf_release(&out);
}

static void
no_traffic_has_a_checklist_until_the_first_packet(void **state)
{
    const struct tb_ledger one = {.received = 1, .written = 1};
    const struct tb_capture_source second = {.eni = ENI,
                                             .ip = "10.0.1.10",
                                             .vni = 7,
                                             .session_number = 2,
                                             .armed = true,
                                             .gap = "mirror sessions of others come first"};
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    char id[TB_CAPTURE_ID_SIZE], path[100];
    bool no_traffic = false;
    struct tb_json *json;

    r->config.no_traffic_s = 1;
    make_capture(r, id);
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    begin_recording(r, id, 90 * TB_NS_PER_S);
    for (int i = 0; i < 1200 && !no_traffic; i++) {
        assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
        json = json_of(&out);
        assert_true(tb_json_bool(json, "/no_traffic", &no_traffic));
        assert_int_equal(tb_json_count(tb_json_at(json, "/checklist")), no_traffic ? 6 : 0);
        assert_true(!no_traffic ||
                    strstr(tb_json_str(json, "/checklist/0"), "4789 from 10.0.1.10") != NULL);
        tb_json_free(json);
        (void)usleep(50000);
    }
    assert_true(no_traffic);
    /* where others come first it is needed most */
    assert_int_equal(tb_store_capture_sources(r->store, id, &second, 1, NULL), TB_OK);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_int_equal(tb_json_count(tb_json_at(json, "/checklist")), 6);
    tb_json_free(json);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\ntapbox_captures_no_traffic 1\n"));
    assert_non_null(strstr(tb_buf_str(&out), "\ntapbox_store_log_bytes "));
    assert_null(strstr(tb_buf_str(&out), "\ntapbox_store_log_bytes 0\n"));
    assert_int_equal(tb_store_capture_ledger(r->store, id, &one, NULL), TB_OK);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\"no_traffic\": false"));
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "\ntapbox_captures_no_traffic 0\n"));
    tb_buf_release(&out);
}

static void
every_metric_is_explained(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    const char *line;
    size_t families = 0;

    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    line = strstr(tb_buf_str(&out), "\r\n\r\n") + 4;
    for (; *line != '\0'; line = strchr(line, '\n') + 1) {
        char name[80], help[100];

        if (*line == '#') {
            families += strncmp(line, "# HELP ", 7) == 0 ? 1 : 0;
            continue;
        }
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, "{ "), line);
        if (strncmp(name, "tapbox_intake_seconds_", 22) == 0) {
            name[21] = '\0'; /* one family: _bucket, _sum, _count */
        }
        snprintf(help, sizeof(help), "# HELP %s ", name);
        if (strstr(tb_buf_str(&out), help) == NULL) {
            fail_msg("%s has no HELP", name);
        }
    }
    assert_true(families >= 8);
    tb_buf_release(&out);
}

static void
a_capture_that_is_not_there_is_404(void **state)
{
    static const char *const paths[] = {
        "/v1/captures/cap-20260102T030405Z-1a2b3c4d",
        "/v1/captures/x",
        "/v1/captures/cap-20260102T030405Z-1a2b3c4d%00x",
        "/v1/captures/%27%20OR%201=1",
    };
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(call(r, "GET", paths[i], &r->admin, NULL, NULL, &out), 404);
    }
    assert_int_equal(call(r, "POST", "/v1/captures/cap-20260102T030405Z-1a2b3c4d/stop",
                          &r->admin, NULL, NULL, &out),
                     404);
    assert_problem(&out, 404, "no such capture");
    tb_buf_release(&out);
}

static void *
post_many(void *arg)
{
    struct room *r = arg;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    size_t answered = 0;

    for (int i = 0; i < POSTS_EACH; i++) {
        int status = call(r, "POST", "/v1/captures", &r->analyst, "Idempotency-Key: same\r\n",
                          BODY, &out);

        answered += status == 202 || status == 200 ? 1 : 0;
    }
    tb_buf_release(&out);
    return (void *)(uintptr_t)answered;
}

static void
many_at_once_with_one_key_make_one_capture_and_all_are_counted(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    pthread_t threads[POSTERS];
    size_t answered = 0;
    char line[100];

    for (size_t i = 0; i < POSTERS; i++) {
        assert_int_equal(tb_thread_start(&threads[i], "poster", post_many, r, NULL), TB_OK);
    }
    for (size_t i = 0; i < POSTERS; i++) {
        void *got = NULL;

        assert_int_equal(pthread_join(threads[i], &got), 0);
        answered += (size_t)(uintptr_t)got;
    }
    assert_int_equal(answered, POSTERS * POSTS_EACH);
    assert_int_equal(call(r, "GET", "/metrics", &r->scraper, NULL, NULL, &out), 200);
    assert_non_null(strstr(tb_buf_str(&out), "tapbox_intake_total{decision=\"capture\"} 1\n"));
    snprintf(line, sizeof(line), "tapbox_intake_total{decision=\"duplicate\"} %d\n",
             POSTERS * POSTS_EACH - 1);
    assert_non_null(strstr(tb_buf_str(&out), line));
    assert_non_null(strstr(tb_buf_str(&out), "tapbox_captures{state=\"requested\"} 1\n"));
    assert_non_null(strstr(tb_buf_str(&out), "route=\"/v1/captures\",status=\"2xx\"} 120\n"));
    tb_buf_release(&out);
}

static void
a_disk_that_takes_no_more_is_503_and_the_sender_may_try_again(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct rlimit before, tiny;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = (struct rlimit){.rlim_cur = 512, .rlim_max = before.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 503);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_problem(&out, 503, "");
    assert_non_null(strstr(tb_buf_str(&out), "Retry-After: 5\r\n"));
    assert_int_equal(call(r, "POST", "/v1/captures", &r->analyst, NULL, BODY, &out), 202);
    tb_buf_release(&out);
}

/* --- the description --- */

static void
the_description_names_every_route_and_no_other(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *json;
    size_t described = 0;

    assert_int_equal(call(r, "GET", "/openapi.json", NULL, NULL, NULL, &out), 200);
    json = json_of(&out);
    for (size_t i = 0; i < tb_json_count(tb_json_at(json, "/paths")); i++) {
        const char *path = NULL;
        const struct tb_json *methods = tb_json_member(tb_json_at(json, "/paths"), i, &path);

        for (size_t m = 0; m < tb_json_count(methods); m++) {
            const char *method = NULL;

            (void)tb_json_member(methods, m, &method);
            if (strcmp(method, "parameters") == 0) {
                continue;
            }
            described++;
            for (size_t k = 0;; k++) {
                if (k == tb_http_route_count) {
                    fail_msg("%s %s is described and not there", method, path);
                }
                if (strcasecmp(tb_http_routes[k].method, method) == 0 &&
                    strcmp(tb_http_routes[k].path, path) == 0) {
                    break;
                }
            }
        }
    }
    assert_int_equal(described, tb_http_route_count);
    tb_json_free(json);
    tb_buf_release(&out);
}

/* Every member of `value` is a property of `schema`, and the other way round. */
static void
assert_same_members(const struct tb_json *value, const struct tb_json *properties)
{
    const char *key = NULL;

    assert_true(tb_json_count(value) > 0);
    for (size_t i = 0; i < tb_json_count(value); i++) {
        char pointer[64];

        (void)tb_json_member(value, i, &key);
        snprintf(pointer, sizeof(pointer), "/%s", key);
        if (tb_json_at(properties, pointer) == NULL) {
            fail_msg("'%s' is not described", key);
        }
    }
    for (size_t i = 0; i < tb_json_count(properties); i++) {
        char pointer[64];

        (void)tb_json_member(properties, i, &key);
        snprintf(pointer, sizeof(pointer), "/%s", key);
        if (tb_json_at(value, pointer) == NULL) {
            fail_msg("'%s' is described and not there", key);
        }
    }
}

static void
public_keys_are_told_to_anybody(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_public_key key = {{7}}, back;
    struct tb_fingerprint fingerprint;
    struct tb_json *api, *json;

    assert_int_equal(tb_store_key_use(r->store, &key, NULL), TB_OK);
    assert_int_equal(tb_public_key_fingerprint(&key, &fingerprint), TB_OK);
    assert_int_equal(call(r, "GET", "/openapi.json", NULL, NULL, NULL, &out), 200);
    api = json_of(&out);
    assert_int_equal(call(r, "GET", "/v1/keys", NULL, NULL, NULL, &out), 200);
    json = json_of(&out);
    assert_same_members(tb_json_at(json, "/keys/0"),
                        tb_json_at(api, "/components/schemas/Key/properties"));
    assert_string_equal(tb_json_str(json, "/keys/0/fingerprint"), fingerprint.text);
    assert_int_equal(
        tb_public_key_parse(tb_bytes_str(tb_json_str(json, "/keys/0/pem")), &back, NULL),
        TB_OK);
    assert_memory_equal(&back, &key, sizeof(key));
    tb_json_free(json);
    tb_json_free(api);
    tb_buf_release(&out);
}

static void
the_description_has_the_members_that_answers_have(void **state)
{
    struct room *r = *state;
    struct tb_buf out = TB_BUF_INIT(ANSWER_MAX);
    struct tb_json *api, *list, *page;
    char id[TB_CAPTURE_ID_SIZE], path[100];
    const struct tb_capture_source source = {.eni = ENI, .vni = 7};
    const struct tb_segment_row segment = {.name = "h-0-1.pcapng.zst", .bytes = 5};
    const struct tb_resource resource = {
        .kind = TB_RESOURCE_SESSION, .client_token = "t", .params = (char[]){"Action=x"}};
    struct tb_segment_row named = segment;
    struct tb_resource intent = resource;
    int64_t row;

    make_capture(r, id);
    memcpy(named.capture_id, id, sizeof(id));
    memcpy(intent.capture_id, id, sizeof(id));
    assert_int_equal(tb_store_capture_sources(r->store, id, &source, 1, NULL), TB_OK);
    assert_int_equal(tb_store_segment_add(r->store, &named, NULL), TB_OK);
    assert_int_equal(tb_store_resource_intend(r->store, &intent, &row, NULL), TB_OK);
    assert_int_equal(call(r, "GET", "/openapi.json", NULL, NULL, NULL, &out), 200);
    api = json_of(&out);
    assert_int_equal(call(r, "GET", "/v1/captures", &r->analyst, NULL, NULL, &out), 200);
    list = json_of(&out);
    snprintf(path, sizeof(path), "/v1/captures/%s", id);
    assert_int_equal(call(r, "GET", path, &r->analyst, NULL, NULL, &out), 200);
    page = json_of(&out);

    assert_same_members(tb_json_at(list, "/captures/0"),
                        tb_json_at(api, "/components/schemas/Capture/properties"));
    assert_same_members(
        tb_json_at(page, "/request"),
        tb_json_at(api, "/components/schemas/Capture/properties/request/properties"));
    assert_same_members(tb_json_at(page, "/ledger"),
                        tb_json_at(api, "/components/schemas/Ledger/properties"));
    assert_same_members(tb_json_at(page, "/sources/0"),
                        tb_json_at(api, "/components/schemas/Source/properties"));
    assert_same_members(
        tb_json_at(page, "/segments/0"),
        tb_json_at(
            api,
            "/components/schemas/CapturePage/allOf/1/properties/segments/items/properties"));
    assert_same_members(
        tb_json_at(page, "/resources/0"),
        tb_json_at(
            api,
            "/components/schemas/CapturePage/allOf/1/properties/resources/items/properties"));
    tb_json_free(api);
    tb_json_free(list);
    tb_json_free(page);
    tb_buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(a_request_makes_a_capture_and_the_same_key_gives_it_again),
        ROOM_TEST(a_finding_makes_a_capture_once_and_a_sample_is_ignored_with_its_reason),
        ROOM_TEST(a_capture_is_listed_shown_and_stopped_once),
        ROOM_TEST(an_extension_that_cannot_be_is_refused_with_what_could),
        ROOM_TEST(no_traffic_has_a_checklist_until_the_first_packet),
        ROOM_TEST(every_metric_is_explained),
        ROOM_TEST(a_capture_that_is_not_there_is_404),
        ROOM_TEST(many_at_once_with_one_key_make_one_capture_and_all_are_counted),
        ROOM_TEST(a_disk_that_takes_no_more_is_503_and_the_sender_may_try_again),
        ROOM_TEST(the_description_names_every_route_and_no_other),
        ROOM_TEST(public_keys_are_told_to_anybody),
        ROOM_TEST(the_description_has_the_members_that_answers_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

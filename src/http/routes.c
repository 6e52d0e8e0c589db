/* The table of routes, and the way of a call from its first line to its handler. */
#include <stdio.h>

#include <microhttpd.h>

#include "http_int.h"

static const char *const no_query[] = {NULL};
static const char *const dry_run_query[] = {"dry_run", NULL};
static const char *const summary_query[] = {"top", NULL};
static const char *const stream_query[] = {"bpf", "from", NULL};
static const char *const alerts_query[] = {"decision", "limit", "before", NULL};
static const char *const list_query[] = {"live", "limit", NULL};

enum {
    READERS = TB_ROLE_ANALYST | TB_ROLE_RESPONDER
};

const struct tb_http_route tb_http_routes[] = {
    {"POST", "/v1/events", TB_ROLE_ALERT, NULL, tb_http_post_event},
    {"GET", "/v1/alerts", READERS, alerts_query, tb_http_list_alerts},
    {"POST", "/v1/alerts/{id}/replay", TB_ROLE_ANALYST, dry_run_query, tb_http_replay_alert},
    {"POST", "/v1/events/{id}", TB_ROLE_ALERT, NULL, tb_http_post_event},
    {"POST", "/v1/captures", TB_ROLE_ANALYST, dry_run_query, tb_http_post_capture},
    {"GET", "/v1/captures", READERS, list_query, tb_http_list_captures},
    {"GET", "/v1/captures/{id}", READERS, no_query, tb_http_get_capture},
    {"POST", "/v1/captures/{id}/stop", TB_ROLE_ANALYST, no_query, tb_http_stop_capture},
    {"POST", "/v1/captures/{id}/extend", TB_ROLE_ANALYST, no_query, tb_http_extend_capture},
    {"GET", "/v1/captures/{id}/summary", READERS, summary_query, tb_http_get_summary},
    {"GET", "/v1/captures/{id}/files", TB_ROLE_RESPONDER, no_query, tb_http_list_files},
    {"GET", "/v1/captures/{id}/stream", READERS, stream_query, tb_http_stream_capture},
    {"GET", "/v1/foreign-sessions", READERS, no_query, tb_http_list_foreign},
    {"GET", "/v1/keys", 0, NULL, tb_http_get_keys},
    {"GET", "/healthz", 0, NULL, tb_http_get_health},
    {"GET", "/readyz", 0, NULL, tb_http_get_ready},
    {"GET", "/metrics", TB_ROLE_SCRAPER, NULL, tb_http_get_metrics},
    {"GET", "/openapi.json", 0, NULL, tb_http_get_openapi},
};
const size_t tb_http_route_count = sizeof(tb_http_routes) / sizeof(tb_http_routes[0]);

/* Whether `url` has the form of `path`; what stands for {id} is copied. */
static bool
path_fits(const char *path, const char *url, char id[TB_HTTP_PATH_ID_SIZE])
{
    while (*path != '\0') {
        if (*path == '{') {
            size_t len = strcspn(url, "/");

            if (len == 0 || len >= TB_HTTP_PATH_ID_SIZE) {
                return false;
            }
            memcpy(id, url, len);
            id[len] = '\0';
            url += len;
            path += strcspn(path, "}") + 1;
        } else if (*path++ != *url++) {
            return false;
        }
    }
    return *url == '\0';
}

static bool
method_fits(const struct tb_http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* 404, or 405 with the methods that the path knows. */
static void
refuse_route(struct tb_http_call *call, const char *url)
{
    char id[TB_HTTP_PATH_ID_SIZE];
    char allow[sizeof(call->answer.allow)] = "";
    size_t len = 0;

    for (size_t i = 0; i < tb_http_route_count; i++) {
        const char *known = tb_http_routes[i].method;

        if (path_fits(tb_http_routes[i].path, url, id)) {
            len += (size_t)snprintf(allow + len, sizeof(allow) - len, "%s%s%s",
                                    len > 0 ? ", " : "", known,
                                    strcmp(known, "GET") == 0 ? ", HEAD" : "");
        }
    }
    if (len == 0) {
        tb_http_problem_with(call, TB_PROBLEM_NOT_FOUND, "hint",
                             "GET /openapi.json lists the routes", "There is no such route.");
        return;
    }
    tb_http_problem(call, TB_PROBLEM_METHOD, "This route knows %s.", allow);
    memcpy(call->answer.allow, allow, sizeof(allow));
}

struct query_check {
    const char *const *allowed;
    char unknown[64];
};

static enum MHD_Result
check_query_name(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query_check *check = arg;

    (void)kind;
    (void)value;
    for (const char *const *name = check->allowed; *name != NULL; name++) {
        if (strcmp(*name, key) == 0) {
            return MHD_YES;
        }
    }
    snprintf(check->unknown, sizeof(check->unknown), "%s", key);
    return MHD_NO;
}

/* A parameter that is not understood may have been meant to change what happens: better a
 * refusal than a capture that was not wanted. */
static bool
check_query(struct tb_http_call *call)
{
    struct query_check check = {.allowed = call->route->query};

    if (check.allowed == NULL) {
        return true;
    }
    (void)MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_query_name,
                                    &check);
    if (check.unknown[0] == '\0') {
        return true;
    }
    tb_http_problem(call, TB_PROBLEM_BAD_REQUEST, "The query parameter '%s' is not known here.",
                    check.unknown);
    return false;
}

void
tb_http_admit(struct tb_http_call *call, const char *method, const char *url)
{
    for (size_t i = 0; i < tb_http_route_count; i++) {
        const struct tb_http_route *route = &tb_http_routes[i];

        if (method_fits(route, method) && path_fits(route->path, url, call->path_id)) {
            call->route = route;
            break;
        }
    }
    if (call->route == NULL) {
        refuse_route(call, url);
        call->refused = true;
        return;
    }
    if ((call->route->roles != 0 && !tb_http_authenticate(call)) || !check_query(call)) {
        call->refused = true;
    }
}

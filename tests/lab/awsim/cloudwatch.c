/*
 * CloudWatch: what EC2 publishes of mirroring, for instances of the world; and what others
 * publish, which is kept as history.
 *
 * A period has a point when the instance existed in it: 0 when nothing was left out.
 */
#include "call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history.h"
#include "plane.h"

#define QUERIES_MAX 500
#define POINTS_MAX 100800

static const struct {
    const char *name;
    int direction; /* 0 in, 1 out */
    bool frames;
} metrics[] = {{"NetworkSkipMirrorIn", 0, false},
               {"NetworkSkipMirrorOut", 1, false},
               {"NetworkPacketsSkipMirrorIn", 0, true},
               {"NetworkPacketsSkipMirrorOut", 1, true}};

enum {
    Q_ID,
    Q_NAMESPACE,
    Q_NAME,
    Q_DIMENSION,
    Q_VALUE,
    Q_STAT,
    Q_TEXTS
};
struct metric_query {
    const char *text[Q_TEXTS];
    long period_s;
};

#define MEMBER "MetricDataQueries.member.#."

static bool
fail_value(struct call *c, const char *what)
{
    return fail(c, 400, "ValidationError", "The parameter %s is not valid or missing.", what);
}

/* "2026-01-02T03:04:05Z" */
static bool
read_time(const char *text, long long *out_s)
{
    struct tm tm = {0};
    const char *end = text == NULL ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (end == NULL || *end != '\0') {
        return false;
    }
    *out_s = timegm(&tm);
    return true;
}

/* Texts of one path into the queries they belong to. */
static bool
collect(struct call *c, const char *path, struct metric_query *queries, size_t *n, int field)
{
    size_t count;
    const struct arg *args = arg_list(&c->query, path, &count);
    for (size_t i = 0; i < count; i++) {
        if (args[i].index[0] < 1 || args[i].index[0] > QUERIES_MAX) {
            return fail_value(c, path);
        }
        if (args[i].index[1] > 1) {
            return fail(c, 400, "ValidationError", "More dimensions than InstanceId.");
        }
        size_t at = (size_t)args[i].index[0];
        *n = at > *n ? at : *n;
        queries[at - 1].text[field] = args[i].value;
    }
    return true;
}

static bool
read_queries(struct call *c, struct metric_query *queries, size_t *n)
{
    size_t count;
    const struct arg *periods = arg_list(&c->query, MEMBER "MetricStat.Period", &count);
    if (!collect(c, MEMBER "Id", queries, n, Q_ID) ||
        !collect(c, MEMBER "MetricStat.Metric.Namespace", queries, n, Q_NAMESPACE) ||
        !collect(c, MEMBER "MetricStat.Metric.MetricName", queries, n, Q_NAME) ||
        !collect(c, MEMBER "MetricStat.Stat", queries, n, Q_STAT) ||
        !collect(c, MEMBER "MetricStat.Metric.Dimensions.member.#.Name", queries, n,
                 Q_DIMENSION) ||
        !collect(c, MEMBER "MetricStat.Metric.Dimensions.member.#.Value", queries, n,
                 Q_VALUE)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (periods[i].index[0] < 1 || (size_t)periods[i].index[0] > *n) {
            return fail_value(c, MEMBER "Id");
        }
        queries[periods[i].index[0] - 1].period_s = strtol(periods[i].value, NULL, 10);
    }
    for (size_t i = 0; i < *n; i++) {
        const struct metric_query *q = &queries[i];
        if (q->text[Q_ID] == NULL || q->text[Q_ID][0] < 'a' || q->text[Q_ID][0] > 'z') {
            return fail_value(c, MEMBER "Id");
        }
        if (q->text[Q_NAMESPACE] == NULL || q->text[Q_NAME] == NULL ||
            q->text[Q_STAT] == NULL || q->text[Q_DIMENSION] == NULL ||
            q->text[Q_VALUE] == NULL || strcmp(q->text[Q_STAT], "Sum") != 0) {
            return fail_value(c, MEMBER "MetricStat");
        }
        if (q->period_s < 60 || q->period_s % 60 != 0) {
            return fail_value(c, MEMBER "MetricStat.Period");
        }
    }
    return *n > 0 || fail_value(c, "MetricDataQueries");
}

/* NULL: there is no such series, which is no error. */
static const struct instance *
instance_of(const struct call *c, const struct metric_query *q)
{
    if (strcmp(q->text[Q_NAMESPACE], "AWS/EC2") != 0 ||
        strcmp(q->text[Q_DIMENSION], "InstanceId") != 0) {
        return NULL;
    }
    const struct instance *i = obj_find(c->st, K_INSTANCE, q->text[Q_VALUE]);
    return i != NULL && i->o.owner == c->signer.account ? i : NULL;
}

static double
sum_of(struct call *c, const struct instance *i, size_t metric, long long from_s,
       long long until_s)
{
    struct skip_period sum = {0};
    for (long long at_s = from_s / SKIP_PERIOD_S * SKIP_PERIOD_S; at_s < until_s;
         at_s += SKIP_PERIOD_S) {
        for (size_t k = 0; k < i->nenis; k++) {
            plane_skipped(c->plane, i->enis[k], at_s, &sum);
        }
    }
    return (double)counter_get(metrics[metric].frames ? &sum.frames[metrics[metric].direction]
                                                      : &sum.bytes[metrics[metric].direction]);
}

static void
result_xml(struct call *c, const struct metric_query *q, long long start_s, long long end_s)
{
    const struct instance *i = instance_of(c, q);
    struct str times = {0};
    struct str values = {0};
    long long now_s = now_ns() / 1000000000LL;
    size_t metric = 0;
    while (metric < 4 && strcmp(metrics[metric].name, q->text[Q_NAME]) != 0) {
        metric++;
    }
    /* the newest first, as it answers when nobody says otherwise */
    for (long long at_s = (end_s - 1) / q->period_s * q->period_s;
         i != NULL && metric < 4 && at_s >= start_s; at_s -= q->period_s) {
        char text[32];
        bool is_late =
            c->st->metric_delay_s >= 0 && at_s + q->period_s + c->st->metric_delay_s > now_s;
        if (at_s > now_s || is_late) {
            continue;
        }
        time_text(text, at_s);
        xml_text(&times, "member", text);
        char value[32];
        snprintf(value, sizeof(value), "%.1f", sum_of(c, i, metric, at_s, at_s + q->period_s));
        xml_text(&values, "member", value);
    }
    xml_open(&c->out, "member");
    xml_text(&c->out, "Id", q->text[Q_ID]);
    xml_text(&c->out, "Label", q->text[Q_NAME]);
    xml_open(&c->out, "Timestamps");
    str_addn(&c->out, str_text(&times), times.len);
    xml_close(&c->out, "Timestamps");
    xml_open(&c->out, "Values");
    str_addn(&c->out, str_text(&values), values.len);
    xml_close(&c->out, "Values");
    xml_text(&c->out, "StatusCode", "Complete");
    xml_close(&c->out, "member");
    str_free(&times);
    str_free(&values);
}

static bool
get_metric_data(struct call *c)
{
    struct metric_query *queries = xalloc(QUERIES_MAX * sizeof(*queries));
    long long start_s = 0;
    long long end_s = 0;
    size_t n = 0;
    bool good = read_queries(c, queries, &n);
    if (good && (!read_time(arg_text(&c->query, "StartTime"), &start_s) ||
                 !read_time(arg_text(&c->query, "EndTime"), &end_s) || end_s <= start_s)) {
        good = fail(c, 400, "ValidationError",
                    "The parameter StartTime must be less than the parameter EndTime.");
    }
    if (good && (end_s - start_s) / 60 * (long long)n > POINTS_MAX) {
        good = fail(c, 400, "ValidationError", "More than 100,800 data points are asked for.");
    }
    if (good && call_is_denied(c)) {
        good =
            fail(c, 403, "AccessDenied",
                 "User: %s is not authorized to perform: cloudwatch:GetMetricData because no "
                 "identity-based policy allows the cloudwatch:GetMetricData action",
                 c->signer.arn);
    }
    if (good) {
        xml_open(&c->out, "GetMetricDataResult");
        xml_open(&c->out, "MetricDataResults");
        for (size_t i = 0; i < n; i++) {
            result_xml(c, &queries[i], start_s, end_s);
        }
        xml_close(&c->out, "MetricDataResults");
        xml_close(&c->out, "GetMetricDataResult");
    }
    free(queries);
    return good;
}

/* --- what others publish --- */

#define DATUM "MetricData.member.#."

/* "Name=Value" of the datum with this index, one behind the other. */
static void
dimensions_text(const struct call *c, long datum, struct str *out)
{
    size_t n;
    size_t nvalues;
    const struct arg *names = arg_list(&c->query, DATUM "Dimensions.member.#.Name", &n);
    const struct arg *values = arg_list(&c->query, DATUM "Dimensions.member.#.Value", &nvalues);
    for (size_t i = 0; i < n && i < nvalues; i++) {
        if (names[i].index[0] == datum) {
            str_addf(out, "%s%s=%s", out->len > 0 ? "," : "", names[i].value, values[i].value);
        }
    }
}

static bool
put_metric_data(struct call *c)
{
    const char *name_space = arg_text(&c->query, "Namespace");
    size_t n;
    size_t nvalues;
    const struct arg *names = arg_list(&c->query, DATUM "MetricName", &n);
    const struct arg *values = arg_list(&c->query, DATUM "Value", &nvalues);
    if (n == 0 || n != nvalues) {
        return fail_value(c, "MetricData");
    }
    if (strncmp(name_space, "AWS/", 4) == 0) {
        return fail_value(c, "Namespace");
    }
    for (size_t i = 0; i < n; i++) {
        char *end;
        if (names[i].index[0] != values[i].index[0] ||
            !isfinite(strtod(values[i].value, &end)) || end == values[i].value ||
            *end != '\0') {
            return fail_value(c, DATUM "Value");
        }
    }
    if (call_is_denied(c)) {
        return fail(c, 403, "AccessDenied",
                    "User: %s is not authorized to perform: cloudwatch:PutMetricData",
                    c->signer.arn);
    }
    for (size_t i = 0; i < n; i++) {
        struct str dimensions = {0};
        dimensions_text(c, names[i].index[0], &dimensions);
        history_add_metric(c->st, c->signer.account->id, name_space, names[i].value,
                           str_text(&dimensions), values[i].value);
        str_free(&dimensions);
    }
    return true;
}

static const struct param put_metric_data_params[] = {
    {.path = "Namespace", .type = P_TEXT, .required = true, .max = 255},
    {.path = DATUM "MetricName", .type = P_TEXT, .required = true, .max = 255},
    {.path = DATUM "Value", .type = P_TEXT, .max = 64},
    {.path = DATUM "Dimensions.member.#.Name", .type = P_TEXT, .max = 255},
    {.path = DATUM "Dimensions.member.#.Value", .type = P_TEXT, .max = 1024},
    {.path = NULL}};

static const struct param get_metric_data_params[] = {
    {.path = MEMBER "Id", .type = P_TEXT, .required = true, .max = 255},
    {.path = MEMBER "MetricStat.Metric.Namespace", .type = P_TEXT, .max = 255},
    {.path = MEMBER "MetricStat.Metric.MetricName", .type = P_TEXT, .max = 255},
    {.path = MEMBER "MetricStat.Metric.Dimensions.member.#.Name", .type = P_TEXT, .max = 255},
    {.path = MEMBER "MetricStat.Metric.Dimensions.member.#.Value", .type = P_TEXT, .max = 1024},
    {.path = MEMBER "MetricStat.Period", .type = P_INT, .min = 1, .max = 86400},
    {.path = MEMBER "MetricStat.Stat", .type = P_TEXT},
    {.path = MEMBER "ReturnData", .type = P_BOOL},
    {.path = MEMBER "Label", .type = P_TEXT},
    {.path = "StartTime", .type = P_TEXT, .required = true},
    {.path = "EndTime", .type = P_TEXT, .required = true},
    {.path = NULL}};

const struct action cloudwatch_actions[] = {
    {"GetMetricData", SERVICE_CLOUDWATCH, get_metric_data_params, get_metric_data, false},
    {"PutMetricData", SERVICE_CLOUDWATCH, put_metric_data_params, put_metric_data, false},
    {NULL, SERVICE_CLOUDWATCH, NULL, NULL, false}};

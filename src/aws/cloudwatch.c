/* CloudWatch's metrics of mirroring, for one instance and one stretch of time; and our own. */
#include <tapbox/aws_cloudwatch.h>

#include <inttypes.h>
#include <stdlib.h>

#include <tapbox/clock.h>

#include "aws_int.h"

enum {
    METRICS = 4,
    OCTETS_IN = 0, /* these two say that a period is known */
    OCTETS_OUT = 1
};
static const struct {
    const char *id, *name;
} metrics[METRICS] = {{"m0", "NetworkSkipMirrorIn"},
                      {"m1", "NetworkSkipMirrorOut"},
                      {"m2", "NetworkPacketsSkipMirrorIn"},
                      {"m3", "NetworkPacketsSkipMirrorOut"}};

struct question {
    const char *instance;
    int64_t from_s, until_s; /* whole periods */
};

static enum tb_err
put_question(struct tb_buf *out, const struct question *q, struct tb_fail *fail)
{
    char time[TB_TIME_TEXT_SIZE];

    tb_form_begin(out, "GetMetricData", TB_CLOUDWATCH_VERSION);
    tb_time_format_s(time, q->from_s);
    tb_form_put(out, time, "StartTime");
    tb_time_format_s(time, q->until_s);
    tb_form_put(out, time, "EndTime");
    for (int i = 0; i < METRICS; i++) {
        static const char query[] = "MetricDataQueries.member";
        static const char stat[] = "MetricStat";
        char period[16];

        (void)snprintf(period, sizeof(period), "%d", TB_CLOUDWATCH_PERIOD_S);
        tb_form_put(out, metrics[i].id, "%s.%d.Id", query, i + 1);
        tb_form_put(out, "AWS/EC2", "%s.%d.%s.Metric.Namespace", query, i + 1, stat);
        tb_form_put(out, metrics[i].name, "%s.%d.%s.Metric.MetricName", query, i + 1, stat);
        tb_form_put(out, "InstanceId", "%s.%d.%s.Metric.Dimensions.member.1.Name", query, i + 1,
                    stat);
        tb_form_put(out, q->instance, "%s.%d.%s.Metric.Dimensions.member.1.Value", query, i + 1,
                    stat);
        tb_form_put(out, period, "%s.%d.%s.Period", query, i + 1, stat);
        tb_form_put(out, "Sum", "%s.%d.%s.Stat", query, i + 1, stat);
    }
    return tb_buf_check(out, "GetMetricData", fail);
}

/* A sum is a floating point number of a count: "0.0", "1.5E7". */
static bool
read_value(const char *text, uint64_t *out)
{
    char *end;
    double value = text == NULL ? -1 : strtod(text, &end);

    if (text == NULL || end == text || *end != '\0' || !(value >= 0 && value < 9e18)) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

/* One series: adds it up, and marks the periods it has a point for. */
static enum tb_err
read_series(const struct tb_xml_node *node, const struct question *q, uint8_t mark,
            uint8_t *known, uint64_t *sum, struct tb_fail *fail)
{
    const struct tb_xml_node *time = tb_xml_at(node, "Timestamps/member");
    const struct tb_xml_node *value = tb_xml_at(node, "Values/member");

    for (; time != NULL && value != NULL;
         time = tb_xml_next(time), value = tb_xml_next(value)) {
        const char *text = tb_xml_text(time, "");
        int64_t at_ns;
        uint64_t n;

        if (text == NULL || tb_time_parse(text, &at_ns) != TB_OK ||
            !read_value(tb_xml_text(value, ""), &n) || *sum > UINT64_MAX / 2) {
            return tb_fail_set(fail, TB_EFORMAT,
                               "GetMetricData: a point without time or value");
        }
        if (at_ns / TB_NS_PER_S >= q->from_s && at_ns / TB_NS_PER_S < q->until_s) {
            known[(at_ns / TB_NS_PER_S - q->from_s) / TB_CLOUDWATCH_PERIOD_S] |= mark;
            *sum += n;
        }
    }
    return time == NULL && value == NULL
               ? TB_OK
               : tb_fail_set(fail, TB_EFORMAT,
                             "GetMetricData: times and values differ in number");
}

static enum tb_err
read_answer(const struct tb_xml_node *root, const struct question *q,
            struct tb_mirror_skips *out, struct tb_fail *fail)
{
    uint8_t known[TB_CLOUDWATCH_MAX_PERIODS] = {0};
    uint64_t sums[METRICS] = {0};
    const struct tb_xml_node *node =
        tb_xml_at(root, "GetMetricDataResult/MetricDataResults/member");
    enum tb_err err = TB_OK;

    for (; node != NULL && err == TB_OK; node = tb_xml_next(node)) {
        const char *id = tb_xml_text(node, "Id");

        for (int i = 0; i < METRICS && err == TB_OK && id != NULL; i++) {
            if (strcmp(id, metrics[i].id) == 0) {
                uint8_t mark = i == OCTETS_IN ? 1 : i == OCTETS_OUT ? 2 : 0;

                err = read_series(node, q, mark, known, &sums[i], fail);
            }
        }
    }
    if (err != TB_OK) {
        return err;
    }
    *out = (struct tb_mirror_skips){
        .octets_in = sums[0],
        .octets_out = sums[1],
        .packets_in = sums[2],
        .packets_out = sums[3],
        .periods = (uint32_t)((q->until_s - q->from_s) / TB_CLOUDWATCH_PERIOD_S)};
    for (uint32_t i = 0; i < out->periods; i++) {
        out->known += known[i] == 3 ? 1 : 0;
    }
    return TB_OK;
}

enum tb_err
tb_cloudwatch_mirror_skips(struct tb_aws *aws, const char *instance, int64_t from_utc_s,
                           int64_t until_utc_s, struct tb_mirror_skips *out,
                           struct tb_fail *fail)
{
    struct question q = {.instance = instance,
                         .from_s = from_utc_s - from_utc_s % TB_CLOUDWATCH_PERIOD_S};
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err;

    until_utc_s = until_utc_s > from_utc_s ? until_utc_s : from_utc_s + 1;
    q.until_s = (until_utc_s + TB_CLOUDWATCH_PERIOD_S - 1) / TB_CLOUDWATCH_PERIOD_S *
                TB_CLOUDWATCH_PERIOD_S;
    if ((q.until_s - q.from_s) / TB_CLOUDWATCH_PERIOD_S > TB_CLOUDWATCH_MAX_PERIODS) {
        return tb_fail_set(fail, TB_ETOOBIG, "GetMetricData: more than %d periods",
                           TB_CLOUDWATCH_MAX_PERIODS);
    }
    err = put_question(&body, &q, fail);
    if (err == TB_OK) {
        err = tb_aws_query(aws, TB_AWS_CLOUDWATCH, TB_AWS_POLICY_READ, "GetMetricData",
                           tb_buf_view(&body), &result, fail);
    }
    if (err == TB_OK) {
        err = read_answer(tb_xml_root(result.xml), &q, out, fail);
    }
    tb_aws_result_release(&result);
    tb_buf_release(&body);
    return err;
}

enum tb_err
tb_cloudwatch_put(struct tb_aws *aws, const char *name_space, const char *owner,
                  const struct tb_cloudwatch_point *points, size_t count, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    char number[16];
    enum tb_err err;

    tb_form_begin(&body, "PutMetricData", TB_CLOUDWATCH_VERSION);
    tb_form_put(&body, name_space, "Namespace");
    for (size_t i = 0; i < count; i++) {
        char datum[48];

        (void)snprintf(datum, sizeof(datum), "MetricData.member.%zu", i + 1);
        (void)snprintf(number, sizeof(number), "%" PRIu32, points[i].value);
        tb_form_put(&body, points[i].metric, "%s.MetricName", datum);
        tb_form_put(&body, number, "%s.Value", datum);
        tb_form_put(&body, "Owner", "%s.Dimensions.member.1.Name", datum);
        tb_form_put(&body, owner, "%s.Dimensions.member.1.Value", datum);
    }
    err = tb_buf_check(&body, "PutMetricData", fail);
    if (err == TB_OK) {
        err = tb_aws_query(aws, TB_AWS_CLOUDWATCH, TB_AWS_POLICY_ONCE, "PutMetricData",
                           tb_buf_view(&body), &result, fail);
    }
    tb_aws_result_release(&result);
    tb_buf_release(&body);
    return err;
}

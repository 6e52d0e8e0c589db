/* Traffic mirroring: creates, deletes, tags. */
#include "aws_int.h"

#include <tapbox/ids.h>

enum {
    MAX_SESSION_NUMBER = 32766,
    MAX_VNI = 0xFFFFFF,
    MAX_PACKET_LENGTH = 8500,
    MAX_CLIENT_TOKEN = 64,
    MAX_TAGGED_IDS = 1000
};

static const struct kind {
    const char *resource; /* in TagSpecification.ResourceType */
    const char *prefix;   /* of its ids */
    const char *create, *delete;
    const char *id_parameter;
    const char *created_id; /* path in the create's answer */
} kinds[TB_EC2_KIND_COUNT] = {
    [TB_EC2_TARGET] = {"traffic-mirror-target", "tmt-", "CreateTrafficMirrorTarget",
                       "DeleteTrafficMirrorTarget", "TrafficMirrorTargetId",
                       "trafficMirrorTarget/trafficMirrorTargetId"},
    [TB_EC2_FILTER] = {"traffic-mirror-filter", "tmf-", "CreateTrafficMirrorFilter",
                       "DeleteTrafficMirrorFilter", "TrafficMirrorFilterId",
                       "trafficMirrorFilter/trafficMirrorFilterId"},
    [TB_EC2_FILTER_RULE] = {"traffic-mirror-filter-rule", "tmfr-",
                            "CreateTrafficMirrorFilterRule", "DeleteTrafficMirrorFilterRule",
                            "TrafficMirrorFilterRuleId",
                            "trafficMirrorFilterRule/trafficMirrorFilterRuleId"},
    [TB_EC2_SESSION] = {"traffic-mirror-session", "tms-", "CreateTrafficMirrorSession",
                        "DeleteTrafficMirrorSession", "TrafficMirrorSessionId",
                        "trafficMirrorSession/trafficMirrorSessionId"},
};

/* --- bodies --- */

static enum tb_err
check_token(const char *token, struct tb_fail *fail)
{
    size_t len = token != NULL ? strlen(token) : 0;

    if (len == 0 || len > MAX_CLIENT_TOKEN) {
        return tb_fail_set(fail, TB_EINVAL, "a client token has 1 to %d characters",
                           MAX_CLIENT_TOKEN);
    }
    return TB_OK;
}

static enum tb_err
check_tags(const struct tb_ec2_tag *tags, size_t count, struct tb_fail *fail)
{
    if (count > TB_EC2_MAX_TAGS) {
        return tb_fail_set(fail, TB_EINVAL, "%zu tags: an object has %d at the most", count,
                           TB_EC2_MAX_TAGS);
    }
    for (size_t i = 0; i < count; i++) {
        if (tags[i].key[0] == '\0') {
            return tb_fail_set(fail, TB_EINVAL, "tag %zu has no key", i + 1);
        }
    }
    return TB_OK;
}

static void
put_tags(struct tb_buf *out, const struct kind *kind, const struct tb_ec2_tag *tags,
         size_t count)
{
    if (count == 0) {
        return;
    }
    tb_form_put(out, kind->resource, "TagSpecification.1.ResourceType");
    for (size_t i = 0; i < count; i++) {
        tb_form_put(out, tags[i].key, "TagSpecification.1.Tag.%zu.Key", i + 1);
        tb_form_put(out, tags[i].value, "TagSpecification.1.Tag.%zu.Value", i + 1);
    }
}

static const char *
if_any(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* What all creates have in common: checks before the first octet, tags and token last. */
static enum tb_err
begin_body(enum tb_ec2_kind kind, const struct tb_ec2_tag *tags, size_t tag_count,
           const char *client_token, struct tb_buf *out, struct tb_fail *fail)
{
    enum tb_err err = check_token(client_token, fail);

    if (err == TB_OK) {
        err = check_tags(tags, tag_count, fail);
    }
    if (err == TB_OK) {
        tb_form_begin(out, kinds[kind].create, TB_EC2_VERSION);
    }
    return err;
}

static enum tb_err
end_body(enum tb_ec2_kind kind, const struct tb_ec2_tag *tags, size_t tag_count,
         const char *client_token, struct tb_buf *out, struct tb_fail *fail)
{
    put_tags(out, &kinds[kind], tags, tag_count);
    tb_form_put(out, client_token, "ClientToken");
    return tb_buf_check(out, kinds[kind].create, fail);
}

enum tb_err
tb_ec2_target_body(const struct tb_ec2_target_spec *spec, struct tb_buf *out,
                   struct tb_fail *fail)
{
    enum tb_err err =
        begin_body(TB_EC2_TARGET, spec->tags, spec->tag_count, spec->client_token, out, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_form_put(out, spec->eni, "NetworkInterfaceId");
    tb_form_put(out, if_any(spec->description), "Description");
    return end_body(TB_EC2_TARGET, spec->tags, spec->tag_count, spec->client_token, out, fail);
}

enum tb_err
tb_ec2_filter_body(const struct tb_ec2_filter_spec *spec, struct tb_buf *out,
                   struct tb_fail *fail)
{
    enum tb_err err =
        begin_body(TB_EC2_FILTER, spec->tags, spec->tag_count, spec->client_token, out, fail);

    if (err != TB_OK) {
        return err;
    }
    tb_form_put(out, if_any(spec->description), "Description");
    return end_body(TB_EC2_FILTER, spec->tags, spec->tag_count, spec->client_token, out, fail);
}

static enum tb_err
check_ports(int32_t from, int32_t to, struct tb_fail *fail)
{
    if ((from == -1 && to == -1) || (from >= 0 && to >= from && to <= 65535)) {
        return TB_OK;
    }
    return tb_fail_set(fail, TB_EINVAL, "ports %d to %d", (int)from, (int)to);
}

static void
put_ports(struct tb_buf *out, int32_t from, int32_t to, const char *from_name,
          const char *to_name)
{
    if (from >= 0) {
        tb_form_put_number(out, from, from_name);
        tb_form_put_number(out, to, to_name);
    }
}

enum tb_err
tb_ec2_rule_body(const struct tb_ec2_rule_spec *spec, struct tb_buf *out, struct tb_fail *fail)
{
    enum tb_err err = begin_body(TB_EC2_FILTER_RULE, NULL, 0, spec->client_token, out, fail);

    if (err == TB_OK) {
        err = check_ports(spec->source_port_from, spec->source_port_to, fail);
    }
    if (err == TB_OK) {
        err = check_ports(spec->destination_port_from, spec->destination_port_to, fail);
    }
    if (err == TB_OK && (spec->protocol < -1 || spec->protocol > 255)) {
        err = tb_fail_set(fail, TB_EINVAL, "protocol %d", spec->protocol);
    }
    if (err != TB_OK) {
        return err;
    }
    tb_form_put(out, spec->filter_id, "TrafficMirrorFilterId");
    tb_form_put(out, spec->egress ? "egress" : "ingress", "TrafficDirection");
    tb_form_put_number(out, spec->number, "RuleNumber");
    tb_form_put(out, spec->reject ? "reject" : "accept", "RuleAction");
    if (spec->protocol >= 0) {
        tb_form_put_number(out, spec->protocol, "Protocol");
    }
    put_ports(out, spec->source_port_from, spec->source_port_to, "SourcePortRange.FromPort",
              "SourcePortRange.ToPort");
    put_ports(out, spec->destination_port_from, spec->destination_port_to,
              "DestinationPortRange.FromPort", "DestinationPortRange.ToPort");
    tb_form_put(out, spec->source_cidr, "SourceCidrBlock");
    tb_form_put(out, spec->destination_cidr, "DestinationCidrBlock");
    tb_form_put(out, if_any(spec->description), "Description");
    return end_body(TB_EC2_FILTER_RULE, NULL, 0, spec->client_token, out, fail);
}

enum tb_err
tb_ec2_session_body(const struct tb_ec2_session_spec *spec, struct tb_buf *out,
                    struct tb_fail *fail)
{
    enum tb_err err;

    if (spec->session_number < 1 || spec->session_number > MAX_SESSION_NUMBER) {
        return tb_fail_set(fail, TB_EINVAL, "session number %u is not 1 to %d",
                           spec->session_number, MAX_SESSION_NUMBER);
    }
    if (spec->vni < 1 || spec->vni > MAX_VNI) {
        return tb_fail_set(fail, TB_EINVAL, "VNI %u is not 1 to %d", spec->vni, MAX_VNI);
    }
    if (spec->packet_length > MAX_PACKET_LENGTH) {
        return tb_fail_set(fail, TB_EINVAL, "packet length %u is over %d", spec->packet_length,
                           MAX_PACKET_LENGTH);
    }
    err =
        begin_body(TB_EC2_SESSION, spec->tags, spec->tag_count, spec->client_token, out, fail);
    if (err != TB_OK) {
        return err;
    }
    tb_form_put(out, spec->eni, "NetworkInterfaceId");
    tb_form_put(out, spec->target_id, "TrafficMirrorTargetId");
    tb_form_put(out, spec->filter_id, "TrafficMirrorFilterId");
    tb_form_put_number(out, spec->session_number, "SessionNumber");
    if (spec->packet_length > 0) {
        tb_form_put_number(out, spec->packet_length, "PacketLength");
    }
    tb_form_put_number(out, spec->vni, "VirtualNetworkId");
    tb_form_put(out, if_any(spec->description), "Description");
    return end_body(TB_EC2_SESSION, spec->tags, spec->tag_count, spec->client_token, out, fail);
}

/* --- calls --- */

/* Sends `body`; the id at `id_path` of the answer must begin with `prefix` (NULL: no id). */
static enum tb_err
call_for_effect(struct tb_aws *aws, enum tb_aws_policy policy, const char *what,
                struct tb_bytes body, const char *id_path, const char *prefix,
                struct tb_ec2_effect *out, struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_ec2_effect effect = {.id = ""};
    enum tb_err err = tb_aws_query(aws, TB_AWS_EC2, policy, what, body, &result, fail);

    if (err != TB_OK) {
        goto out;
    }
    if (id_path != NULL) {
        err = tb_xml_copy(tb_xml_root(result.xml), id_path, effect.id, sizeof(effect.id), fail);
        if (err == TB_OK && strncmp(effect.id, prefix, strlen(prefix)) != 0) {
            err = tb_fail_set(fail, TB_EFORMAT, "%s: the answer's %s is '%s'", what, id_path,
                              effect.id);
        }
    }
    if (err == TB_OK) {
        (void)tb_str_copy(effect.request_id, sizeof(effect.request_id), result.request_id);
        effect.server_utc_s = result.server_utc_s;
        *out = effect;
    }

out:
    tb_aws_result_release(&result);
    return err;
}

enum tb_err
tb_ec2_create(struct tb_aws *aws, enum tb_ec2_kind kind, struct tb_bytes body,
              struct tb_ec2_effect *out, struct tb_fail *fail)
{
    return call_for_effect(aws, TB_AWS_POLICY_CREATE, kinds[kind].create, body,
                           kinds[kind].created_id, kinds[kind].prefix, out, fail);
}

enum tb_err
tb_ec2_create_dry_run(struct tb_aws *aws, enum tb_ec2_kind kind, struct tb_bytes body,
                      struct tb_fail *fail)
{
    struct tb_buf asking = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_effect effect;
    struct tb_fail why = {.text = ""};
    enum tb_err err;

    tb_buf_put_bytes(&asking, body);
    tb_buf_put_str(&asking, "&DryRun=true");
    err = tb_buf_check(&asking, kinds[kind].create, fail);
    if (err != TB_OK) {
        goto out;
    }
    /* The answer is an error in any case. */
    err = call_for_effect(aws, TB_AWS_POLICY_READ, kinds[kind].create, tb_buf_view(&asking),
                          kinds[kind].created_id, kinds[kind].prefix, &effect, &why);
    if (err != TB_OK && strcmp(why.code, "DryRunOperation") == 0) {
        err = TB_OK;
    } else if (err == TB_OK) {
        err = tb_fail_set(fail, TB_EFORMAT, "%s: made %s, although it was asked not to",
                          kinds[kind].create, effect.id);
    } else if (fail != NULL) {
        *fail = why;
    }

out:
    tb_buf_release(&asking);
    return err;
}

enum tb_err
tb_ec2_delete(struct tb_aws *aws, enum tb_ec2_kind kind, const char *id,
              struct tb_ec2_effect *out, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err;

    tb_form_begin(&body, kinds[kind].delete, TB_EC2_VERSION);
    tb_form_put(&body, id, "%s", kinds[kind].id_parameter);
    err = tb_buf_check(&body, kinds[kind].delete, fail);
    if (err == TB_OK) {
        err = call_for_effect(aws, TB_AWS_POLICY_DELETE, kinds[kind].delete, tb_buf_view(&body),
                              NULL, NULL, out, fail);
    }
    if (err == TB_OK) {
        (void)tb_str_copy(out->id, sizeof(out->id), id);
    }
    tb_buf_release(&body);
    return err;
}

enum tb_err
tb_ec2_filter_add_dns(struct tb_aws *aws, const char *filter_id, struct tb_ec2_effect *out,
                      struct tb_fail *fail)
{
    static const char what[] = "ModifyTrafficMirrorFilterNetworkServices";
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err;

    tb_form_begin(&body, what, TB_EC2_VERSION);
    tb_form_put(&body, filter_id, "TrafficMirrorFilterId");
    tb_form_put(&body, "amazon-dns", "AddNetworkService.1");
    err = tb_buf_check(&body, what, fail);
    if (err == TB_OK) {
        err = call_for_effect(aws, TB_AWS_POLICY_CREATE, what, tb_buf_view(&body),
                              kinds[TB_EC2_FILTER].created_id, kinds[TB_EC2_FILTER].prefix, out,
                              fail);
    }
    tb_buf_release(&body);
    return err;
}

static void
put_if_any(struct tb_buf *out, uint32_t value, const char *name)
{
    if (value != 0) {
        tb_form_put_number(out, value, name);
    }
}

enum tb_err
tb_ec2_session_modify(struct tb_aws *aws, const char *session_id,
                      const struct tb_ec2_session_change *change, struct tb_ec2_effect *out,
                      struct tb_fail *fail)
{
    static const char what[] = "ModifyTrafficMirrorSession";
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err;

    tb_form_begin(&body, what, TB_EC2_VERSION);
    tb_form_put(&body, session_id, "TrafficMirrorSessionId");
    tb_form_put(&body, change->target, "TrafficMirrorTargetId");
    tb_form_put(&body, change->filter, "TrafficMirrorFilterId");
    put_if_any(&body, change->session_number, "SessionNumber");
    put_if_any(&body, change->packet_length, "PacketLength");
    put_if_any(&body, change->vni, "VirtualNetworkId");
    tb_form_put(&body, change->whole_packets ? "packet-length" : NULL, "RemoveField.1");
    err = tb_buf_check(&body, what, fail);
    if (err == TB_OK) {
        err = call_for_effect(aws, TB_AWS_POLICY_CREATE, what, tb_buf_view(&body),
                              kinds[TB_EC2_SESSION].created_id, kinds[TB_EC2_SESSION].prefix,
                              out, fail);
    }
    tb_buf_release(&body);
    return err;
}

enum tb_err
tb_ec2_tag_set(struct tb_aws *aws, const char *const *ids, size_t id_count,
               const struct tb_ec2_tag *tags, size_t tag_count, struct tb_ec2_effect *out,
               struct tb_fail *fail)
{
    static const char what[] = "CreateTags";
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    enum tb_err err = check_tags(tags, tag_count, fail);

    if (err != TB_OK) {
        return err;
    }
    if (id_count == 0 || id_count > MAX_TAGGED_IDS || tag_count == 0) {
        return tb_fail_set(fail, TB_EINVAL, "%zu objects and %zu tags to set", id_count,
                           tag_count);
    }
    tb_form_begin(&body, what, TB_EC2_VERSION);
    for (size_t i = 0; i < id_count; i++) {
        tb_form_put(&body, ids[i], "ResourceId.%zu", i + 1);
    }
    for (size_t i = 0; i < tag_count; i++) {
        tb_form_put(&body, tags[i].key, "Tag.%zu.Key", i + 1);
        tb_form_put(&body, tags[i].value, "Tag.%zu.Value", i + 1);
    }
    err = tb_buf_check(&body, what, fail);
    if (err == TB_OK) {
        err = call_for_effect(aws, TB_AWS_POLICY_CREATE, what, tb_buf_view(&body), NULL, NULL,
                              out, fail);
    }
    tb_buf_release(&body);
    return err;
}

const char *
tb_ec2_tag(const struct tb_ec2_tags *tags, const char *key)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (strcmp(tags->at[i].key, key) == 0) {
            return tags->at[i].value;
        }
    }
    return NULL;
}

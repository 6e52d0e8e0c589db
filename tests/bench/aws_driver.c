/*
 * The AWS client by hand: one call of aws_ec2.h, aws_s3.h or aws.h a run, for integration tests
 * and for trying an endpoint out.  Prints "name value" lines; a failure is one line on stderr,
 * "<error> <code> <http status> <sentence>", and exit status 1.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tapbox/aws_ec2.h>
#include <tapbox/aws_s3.h>

enum {
    MAX_TAGS = 10
};

struct words {
    int count;
    char **at;
};

static const char *
word(const struct words *w, int i)
{
    return i < w->count && strcmp(w->at[i], "-") != 0 ? w->at[i] : NULL;
}

static uint32_t
number(const struct words *w, int i)
{
    return (uint32_t)strtoul(word(w, i) != NULL ? w->at[i] : "0", NULL, 10);
}

/* "key=value" words from `from` on. */
static size_t
read_tags(const struct words *w, int from, struct tb_ec2_tag tags[MAX_TAGS])
{
    size_t count = 0;

    for (int i = from; i < w->count && count < MAX_TAGS; i++, count++) {
        const char *equals = strchr(w->at[i], '=');

        memset(&tags[count], 0, sizeof(tags[count]));
        (void)snprintf(tags[count].key, sizeof(tags[count].key), "%.*s",
                       (int)(equals - w->at[i]), w->at[i]);
        (void)snprintf(tags[count].value, sizeof(tags[count].value), "%s", equals + 1);
    }
    return count;
}

static void
print_tags(const struct tb_ec2_tags *tags)
{
    for (size_t i = 0; i < tags->count; i++) {
        printf(" %s=%s", tags->at[i].key, tags->at[i].value);
    }
    putchar('\n');
}

static void
print_effect(enum tb_err err, const struct tb_ec2_effect *effect)
{
    if (err == TB_OK) {
        printf("id %s\nrequest_id %s\nserver_utc_s %lld\n", effect->id, effect->request_id,
               (long long)effect->server_utc_s);
    }
}

/* --- creates --- */

static enum tb_err
send_body(struct tb_aws *aws, enum tb_ec2_kind kind, enum tb_err err, struct tb_buf *body,
          struct tb_fail *fail)
{
    struct tb_ec2_effect effect = {.id = ""};

    if (err == TB_OK) {
        err = tb_ec2_create(aws, kind, tb_buf_view(body), &effect, fail);
    }
    print_effect(err, &effect);
    tb_buf_release(body);
    return err;
}

static enum tb_err
make_target(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_tag tags[MAX_TAGS];
    struct tb_ec2_target_spec spec = {.client_token = word(w, 0),
                                      .eni = word(w, 1),
                                      .description = "driver & co",
                                      .tags = tags,
                                      .tag_count = read_tags(w, 2, tags)};

    return send_body(aws, TB_EC2_TARGET, tb_ec2_target_body(&spec, &body, fail), &body, fail);
}

static enum tb_err
make_filter(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_tag tags[MAX_TAGS];
    struct tb_ec2_filter_spec spec = {
        .client_token = word(w, 0), .tags = tags, .tag_count = read_tags(w, 1, tags)};

    return send_body(aws, TB_EC2_FILTER, tb_ec2_filter_body(&spec, &body, fail), &body, fail);
}

static enum tb_err
make_rule(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    bool ports = word(w, 7) != NULL;
    struct tb_ec2_rule_spec spec = {.client_token = word(w, 0),
                                    .filter_id = word(w, 1),
                                    .egress = w->count > 2 && strcmp(w->at[2], "egress") == 0,
                                    .number = number(w, 3),
                                    .source_cidr = word(w, 4),
                                    .destination_cidr = word(w, 5),
                                    .protocol = word(w, 6) != NULL ? (int)number(w, 6) : -1,
                                    .source_port_from = -1,
                                    .source_port_to = -1,
                                    .destination_port_from = ports ? (int32_t)number(w, 7) : -1,
                                    .destination_port_to = ports ? (int32_t)number(w, 7) : -1};

    return send_body(aws, TB_EC2_FILTER_RULE, tb_ec2_rule_body(&spec, &body, fail), &body,
                     fail);
}

static enum tb_err
make_session(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_tag tags[MAX_TAGS];
    struct tb_ec2_session_spec spec = {.client_token = word(w, 0),
                                       .eni = word(w, 1),
                                       .target_id = word(w, 2),
                                       .filter_id = word(w, 3),
                                       .session_number = number(w, 4),
                                       .vni = number(w, 5),
                                       .packet_length = number(w, 6),
                                       .description = "driver",
                                       .tags = tags,
                                       .tag_count = read_tags(w, 7, tags)};

    return send_body(aws, TB_EC2_SESSION, tb_ec2_session_body(&spec, &body, fail), &body, fail);
}

/* --- deletes, changes --- */

static enum tb_err
delete_one(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    static const char *const prefixes[TB_EC2_KIND_COUNT] = {"tmt-", "tmf-", "tmfr-", "tms-"};
    struct tb_ec2_effect effect = {.id = ""};
    enum tb_ec2_kind kind = 0;
    enum tb_err err;

    while (kind < TB_EC2_KIND_COUNT - 1 &&
           strncmp(w->at[0], prefixes[kind], strlen(prefixes[kind])) != 0) {
        kind++;
    }
    err = tb_ec2_delete(aws, kind, w->at[0], &effect, fail);
    print_effect(err, &effect);
    return err;
}

static enum tb_err
add_dns(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_effect effect = {.id = ""};
    enum tb_err err = tb_ec2_filter_add_dns(aws, w->at[0], &effect, fail);

    print_effect(err, &effect);
    return err;
}

static enum tb_err
set_tags(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_effect effect = {.id = ""};
    struct tb_ec2_tag tags[MAX_TAGS];
    const char *id = word(w, 0);
    enum tb_err err = tb_ec2_tag_set(aws, &id, 1, tags, read_tags(w, 1, tags), &effect, fail);

    print_effect(err, &effect);
    return err;
}

/* --- describes --- */

static void
print_interfaces(const struct tb_ec2_interfaces *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct tb_ec2_interface *eni = &list->at[i];

        printf("interface %s %s %s %u %s %s %s %s %s %s %s %s", eni->eni,
               eni->instance[0] != '\0' ? eni->instance : "-", eni->attachment_status,
               eni->device_index, eni->status, eni->interface_type, eni->owner, eni->mac,
               eni->ip, eni->subnet, eni->vpc, eni->availability_zone);
        print_tags(&eni->tags);
    }
}

static enum tb_err
show_interfaces(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_interfaces list = {NULL, 0};
    const char *ids[MAX_TAGS];
    size_t count = 0;
    enum tb_err err;

    for (; count < MAX_TAGS && word(w, (int)count) != NULL; count++) {
        ids[count] = word(w, (int)count);
    }
    err = count == 1 && strncmp(ids[0], "i-", 2) == 0
              ? tb_ec2_interfaces_of_instance(aws, ids[0], &list, fail)
              : tb_ec2_interfaces_by_id(aws, ids, count, &list, fail);
    print_interfaces(&list);
    tb_ec2_interfaces_release(&list);
    return err;
}

static enum tb_err
show_instance(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_instance is = {.instance = ""};
    enum tb_err err = tb_ec2_instance_get(aws, w->at[0], &is, fail);

    if (err == TB_OK) {
        printf("instance %s %s %s %s %s %s %s %s", is.instance, is.state, is.type, is.vpc,
               is.subnet, is.ip, is.launch_time, is.owner);
        print_tags(&is.tags);
        print_interfaces(&is.interfaces);
    }
    tb_ec2_instance_release(&is);
    return err;
}

static enum tb_err
show_sessions(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_sessions list = {.at = NULL};
    const char *eni = word(w, 0);
    enum tb_err err = tb_ec2_sessions_list(aws, &eni, eni != NULL ? 1 : 0, &list, fail);

    for (size_t i = 0; i < list.count; i++) {
        const struct tb_ec2_session *s = &list.at[i];

        printf("session %s %s %s %s %u %u %s", s->id, s->eni, s->target, s->filter,
               s->session_number, s->vni, s->owner);
        print_tags(&s->tags);
    }
    if (err == TB_OK) {
        printf("count %zu\nserver_utc_s %lld\n", list.count, (long long)list.server_utc_s);
    }
    tb_ec2_sessions_release(&list);
    return err;
}

static enum tb_err
show_targets(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_ec2_targets list = {.at = NULL};
    enum tb_err err = tb_ec2_targets_list(aws, word(w, 0), &list, fail);

    for (size_t i = 0; i < list.count; i++) {
        printf("target %s %s %s", list.at[i].id, list.at[i].eni, list.at[i].owner);
        print_tags(&list.at[i].tags);
    }
    tb_ec2_targets_release(&list);
    return err;
}

static enum tb_err
show_filters(struct tb_aws *aws, const struct words *w TB_UNUSED, struct tb_fail *fail)
{
    struct tb_ec2_filters list = {.at = NULL};
    enum tb_err err = tb_ec2_filters_list(aws, &list, fail);

    for (size_t i = 0; i < list.count; i++) {
        size_t egress = 0;

        for (size_t j = 0; j < list.at[i].rule_count; j++) {
            egress += list.at[i].rules[j].egress ? 1 : 0;
        }
        printf("filter %s %zu %zu %s", list.at[i].id, list.at[i].rule_count - egress, egress,
               list.at[i].amazon_dns ? "dns" : "no-dns");
        print_tags(&list.at[i].tags);
    }
    tb_ec2_filters_release(&list);
    return err;
}

/* --- account, host --- */

static enum tb_err
show_identity(struct tb_aws *aws, const struct words *w TB_UNUSED, struct tb_fail *fail)
{
    struct tb_aws_identity is;
    enum tb_err err = tb_aws_caller_identity(aws, &is, fail);

    if (err == TB_OK) {
        printf("account %s\narn %s\nregion %s\npartition %s\n", is.account, is.arn,
               tb_aws_region(aws), tb_aws_partition(aws));
    }
    return err;
}

static enum tb_err
show_self(struct tb_aws *aws, const struct words *w TB_UNUSED, struct tb_fail *fail)
{
    struct tb_aws_self is;
    enum tb_err err = tb_aws_self(aws, &is, fail);

    if (err == TB_OK) {
        printf("self %s %s %s %s %s %s\n", is.instance, is.eni, is.account, is.region,
               is.instance_type, is.image);
    }
    return err;
}

/* --- S3 --- */

static struct tb_s3_bucket
bucket_of(const struct words *w)
{
    const char *owner = getenv("DRIVER_OWNER");

    return (struct tb_s3_bucket){.name = w->at[0],
                                 .path_style = getenv("DRIVER_VIRTUAL_HOST") == NULL,
                                 .expected_owner = owner,
                                 .posture = {.sse = getenv("DRIVER_SSE"),
                                             .kms_key = getenv("DRIVER_KMS_KEY"),
                                             .lock_mode = getenv("DRIVER_LOCK_MODE"),
                                             .retention_s = 3600,
                                             .legal_hold = getenv("DRIVER_LEGAL_HOLD") != NULL,
                                             .storage_class = getenv("DRIVER_CLASS")}};
}

/* BUCKET KEY FILE [TIMES] [SHA-256]: another hash than the file's shows who checks it. */
static enum tb_err
put_object(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_s3_bucket bucket = bucket_of(w);
    struct tb_s3_put put = {.key = w->at[1],
                            .content_type = "application/zstd",
                            .body_fd = open(w->at[2], O_RDONLY | O_CLOEXEC),
                            .never_replace = getenv("DRIVER_NEVER_REPLACE") != NULL};
    struct tb_s3_ack ack = {.etag = ""};
    uint32_t times = word(w, 3) != NULL ? number(w, 3) : 1;
    enum tb_err err;

    if (put.body_fd == -1) {
        return tb_fail_set(fail, TB_ENOTFOUND, "%s", w->at[2]);
    }
    err = tb_sha256_fd(put.body_fd, &put.sha256, &put.bytes, fail);
    if (err == TB_OK && word(w, 4) != NULL) {
        err = tb_unhex(put.sha256.octets, sizeof(put.sha256.octets), w->at[4]);
    }
    for (uint32_t i = 0; i < times && err == TB_OK; i++) {
        err = tb_s3_put(aws, &bucket, &put, &ack, fail);
    }
    if (err == TB_OK) {
        printf("etag %s\nversion %s\nrequest_id %s\nechoed %s\n", ack.etag, ack.version,
               ack.request_id, ack.checksum_echoed ? "yes" : "no");
    }
    close(put.body_fd);
    return err;
}

static enum tb_err
check_bucket(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_s3_bucket bucket = bucket_of(w);

    return tb_s3_bucket_check(aws, &bucket, fail);
}

static enum tb_err
presign(struct tb_aws *aws, const struct words *w, struct tb_fail *fail)
{
    struct tb_s3_bucket bucket = bucket_of(w);
    struct tb_buf url = TB_BUF_INIT(16384);
    enum tb_err err = tb_s3_presign_get(aws, &bucket, w->at[1], number(w, 2), &url, fail);

    if (err == TB_OK) {
        printf("%s\n", tb_buf_str(&url));
    }
    tb_buf_release(&url);
    return err;
}

static const struct command {
    const char *name, *usage;
    int least; /* words behind the name */
    enum tb_err (*run)(struct tb_aws *aws, const struct words *w, struct tb_fail *fail);
} commands[] = {
    {"target", "TOKEN ENI [KEY=VALUE...]", 2, make_target},
    {"filter", "TOKEN [KEY=VALUE...]", 1, make_filter},
    {"rule", "TOKEN FILTER ingress|egress NUMBER SOURCE DESTINATION [PROTOCOL|-] [PORT]", 6,
     make_rule},
    {"session", "TOKEN ENI TARGET FILTER NUMBER VNI [LENGTH] [KEY=VALUE...]", 6, make_session},
    {"delete", "ID", 1, delete_one},
    {"dns", "FILTER", 1, add_dns},
    {"tags", "ID KEY=VALUE...", 2, set_tags},
    {"interfaces", "ENI... | INSTANCE", 0, show_interfaces},
    {"instance", "INSTANCE", 1, show_instance},
    {"sessions", "[ENI]", 0, show_sessions},
    {"targets", "[ENI]", 0, show_targets},
    {"filters", "", 0, show_filters},
    {"identity", "", 0, show_identity},
    {"self", "", 0, show_self},
    {"put", "BUCKET KEY FILE [TIMES|-] [SHA-256]", 3, put_object},
    {"bucket", "BUCKET", 1, check_bucket},
    {"presign", "BUCKET KEY SECONDS", 3, presign},
};

static int
usage(const char *program)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        (void)fprintf(stderr, "%s %s %s\n", i == 0 ? "usage:" : "      ", commands[i].name,
                      commands[i].usage);
    }
    (void)fprintf(stderr, "(of %s; Region and endpoints come from AWS's environment)\n",
                  program);
    return 2;
}

int
main(int argc, char **argv)
{
    struct words w = {argc - 2, argv + 2};
    const struct command *command = NULL;
    struct tb_http_client *http = NULL;
    struct tb_aws *aws = NULL;
    struct tb_fail fail = {.text = ""};
    enum tb_err err;

    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            command = &commands[i];
        }
    }
    if (command == NULL || w.count < command->least) {
        return usage(argv[0]);
    }
    err = tb_http_client_new(&http, &fail);
    if (err == TB_OK) {
        err = tb_aws_new(http, NULL, &aws, &fail);
    }
    if (err == TB_OK) {
        err = command->run(aws, &w, &fail);
    }
    if (err != TB_OK) {
        (void)fprintf(stderr, "%s %s %d %s [%s]\n", tb_err_name(err),
                      fail.code[0] != '\0' ? fail.code : "-", fail.http_status, fail.text,
                      fail.request_id);
    }
    tb_aws_free(aws);
    tb_http_client_free(http);
    return err == TB_OK ? 0 : 1;
}

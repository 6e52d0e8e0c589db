/* A prefix in a bucket, by the usual AWS environment. */
#include "place_int.h"

#include <stdio.h>
#include <stdlib.h>

#include <tapbox/aws_s3.h>
#include <tapbox/limits.h>

/* What a place and those above it share; the first owns it. */
struct client {
    struct tb_http_client *http;
    struct tb_aws *own; /* with the credentials of the environment */
    struct tb_aws *aws; /* that reads: it, or the role's, which it owns */
    char bucket_name[64];
    struct tb_s3_bucket bucket;
};

struct prefix {
    struct client *client;
    bool owns_client;
    char text[TB_S3_KEY_SIZE]; /* "" or "a/b/" */
    char name[256];
};

struct object {
    const struct client *client;
    char key[TB_S3_KEY_SIZE];
    char etag[128];
};

static void
free_client(struct client *client)
{
    if (client != NULL) {
        tb_aws_free(client->own);
        tb_http_client_free(client->http);
        free(client);
    }
}

static enum tb_err
new_client(struct tb_bytes bucket, const char *role_arn, struct client **out,
           struct tb_fail *fail)
{
    struct client *client = calloc(1, sizeof(*client));
    enum tb_err err;

    if (client == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a bucket");
    }
    if (bucket.len < 3 || bucket.len >= sizeof(client->bucket_name)) {
        err = tb_fail_set(fail, TB_EINVAL,
                          "s3://BUCKET/PREFIX: a bucket's name has 3 to 63 "
                          "characters");
        goto out;
    }
    memcpy(client->bucket_name, bucket.at, bucket.len);
    client->bucket = (struct tb_s3_bucket){.name = client->bucket_name};
    err = tb_http_client_new(&client->http, fail);
    if (err == TB_OK) {
        err = tb_aws_new(client->http, NULL, &client->own, fail);
    }
    if (err == TB_OK) {
        client->aws = client->own;
        err = role_arn == NULL
                  ? TB_OK
                  : tb_aws_assume(client->own, role_arn, NULL, "fetch", &client->aws, fail);
    }
    if (err == TB_OK) {
        client->bucket.path_style = tb_s3_has_own_endpoint(client->aws);
        *out = client;
        client = NULL;
    }

out:
    free_client(client);
    return err;
}

/* Takes the text as it is, with one slash behind it. */
static enum tb_err
set_text(struct prefix *prefix, const char *text, size_t len, struct tb_fail *fail)
{
    const char *from;

    while (len > 0 && text[len - 1] == '/') {
        len--;
    }
    if (len + 1 >= sizeof(prefix->text)) {
        return tb_fail_set(fail, TB_EINVAL, "an S3 prefix has at most %d octets",
                           TB_S3_KEY_SIZE - 2);
    }
    if (len > 0) {
        (void)snprintf(prefix->text, sizeof(prefix->text), "%.*s/", (int)len, text);
    }
    for (from = text + len; from > text && from[-1] != '/'; from--) {
    }
    len -= (size_t)(from - text);
    if (len == 0) {
        (void)tb_str_copy(prefix->name, sizeof(prefix->name), prefix->client->bucket_name);
    } else {
        (void)snprintf(prefix->name, sizeof(prefix->name), "%.*s", (int)len, from);
    }
    return TB_OK;
}

static enum tb_err
new_prefix(struct client *client, bool owns_client, const char *text, size_t len, void **out,
           struct tb_fail *fail)
{
    struct prefix *prefix = calloc(1, sizeof(*prefix));
    enum tb_err err;

    if (prefix == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for a prefix");
    }
    prefix->client = client;
    err = set_text(prefix, text, len, fail);
    if (err != TB_OK) {
        free(prefix);
        return err;
    }
    prefix->owns_client = owns_client;
    *out = prefix;
    return TB_OK;
}

enum tb_err
place_s3_open(const char *where, const char *role_arn, void **out, struct tb_fail *fail)
{
    const char *name = where + strlen("s3://");
    size_t len = strcspn(name, "/");
    const char *text = name[len] == '/' ? name + len + 1 : name + len;
    struct client *client = NULL;
    enum tb_err err = new_client(tb_bytes_of(name, len), role_arn, &client, fail);

    if (err == TB_OK) {
        err = new_prefix(client, true, text, strlen(text), out, fail);
    }
    if (err != TB_OK) {
        free_client(client);
        tb_fail_prefix(fail, "%.200s", where);
    }
    return err;
}

static void
free_prefix(void *self)
{
    struct prefix *prefix = self;

    if (prefix->owns_client) {
        free_client(prefix->client);
    }
    free(prefix);
}

static const char *
name_of(const void *self)
{
    return ((const struct prefix *)self)->name;
}

static enum tb_err
above(void *self, unsigned levels, void **out, struct tb_fail *fail)
{
    const struct prefix *prefix = self;
    size_t len = strlen(prefix->text);

    for (; levels > 0; levels--) {
        if (len == 0) {
            return tb_fail_set(fail, TB_ENOTFOUND, "there is no prefix above");
        }
        for (len--; len > 0 && prefix->text[len - 1] != '/'; len--) {
        }
    }
    return new_prefix(prefix->client, false, prefix->text, len, out, fail);
}

/* What went wrong, and what to do about it. */
static void
explain(const struct client *client, const char *key, struct tb_fail *fail)
{
    struct tb_fail was;
    const char *hint = "";

    if (fail == NULL) {
        return;
    }
    was = *fail;
    if (strstr(was.text, "(the bucket is in Region ") != NULL) {
        hint = "; set AWS_REGION to it";
    } else if (strcmp(was.code, "NoSuchBucket") == 0) {
        hint = "; there is no such bucket here";
    } else if (was.err == TB_EDENIED && was.http_status == 403 &&
               strcmp(was.code, "AccessDenied") == 0) {
        hint = key[0] == '\0' ? "; s3:ListBucket on the bucket is needed"
                              : "; s3:GetObject on the object is needed, and kms:Decrypt if it "
                                "is encrypted with a key of KMS";
    }
    (void)tb_fail_set(fail, was.err, "s3://%s%s%s: %s%s", client->bucket_name,
                      key[0] != '\0' ? "/" : "", key, was.text, hint);
    fail->http_status = was.http_status;
    memcpy(fail->code, was.code, sizeof(fail->code));
    memcpy(fail->request_id, was.request_id, sizeof(fail->request_id));
}

static enum tb_err
list(void *self, const char *below, struct tb_place_list *out, struct tb_fail *fail)
{
    const struct prefix *prefix = self;
    struct tb_s3_objects objects = {.count = 0};
    char from[TB_S3_KEY_SIZE];
    size_t skip = strlen(prefix->text);
    enum tb_err err;

    if (snprintf(from, sizeof(from), "%s%s%s", prefix->text, below,
                 below[0] != '\0' ? "/" : "") >= (int)sizeof(from)) {
        return tb_fail_set(fail, TB_EINVAL, "the prefix is too long");
    }
    err = tb_s3_list(prefix->client->aws, &prefix->client->bucket, from, &objects, fail);
    if (err != TB_OK) {
        explain(prefix->client, "", fail);
    }
    for (size_t i = 0; i < objects.count && err == TB_OK; i++) {
        const struct tb_s3_object *object = &objects.at[i];
        size_t len = strlen(object->key);

        /* Consoles make empty objects "a/" to show a folder. */
        if (object->bytes > 0 || len == 0 || object->key[len - 1] != '/') {
            err = place_list_add(out, object->key + skip, TB_PLACE_FILE, object->bytes,
                                 object->etag, fail);
        }
    }
    tb_s3_objects_release(&objects);
    return err;
}

/* --- an object --- */

static enum tb_err
open_object(void *self, const struct tb_place_file *file, void **out, struct tb_fail *fail)
{
    const struct prefix *prefix = self;
    struct object *object = calloc(1, sizeof(*object));

    if (object == NULL) {
        return tb_fail_set(fail, TB_ENOMEM, "no memory for %s", file->name);
    }
    if (snprintf(object->key, sizeof(object->key), "%s%s", prefix->text, file->name) >=
        (int)sizeof(object->key)) {
        free(object);
        return tb_fail_set(fail, TB_EINVAL, "the key of %s is too long", file->name);
    }
    object->client = prefix->client;
    memcpy(object->etag, file->etag, sizeof(object->etag));
    *out = object;
    return TB_OK;
}

static enum tb_err
read_object(void *arg, uint64_t offset, uint8_t *at, size_t len, struct tb_fail *fail)
{
    const struct object *object = arg;
    enum tb_err err = tb_s3_read(object->client->aws, &object->client->bucket, object->key,
                                 object->etag, offset, at, len, fail);

    if (err != TB_OK) {
        explain(object->client, object->key, fail);
    }
    return err;
}

static void
close_object(void *arg)
{
    free(arg);
}

const struct place_ops place_s3_ops = {
    .free = free_prefix,
    .above = above,
    .list = list,
    .open = open_object,
    .read = read_object,
    .close = close_object,
    .name = name_of,
    .is_remote = true,
};

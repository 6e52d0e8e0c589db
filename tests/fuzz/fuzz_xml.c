/*
 * Answers of EC2, STS and S3.  Whatever comes: it is a bounded tree or an error with a
 * sentence; an answer that lost its end is never taken; what is read into records is whole; an
 * error answer always gives an error.
 */
#include <assert.h>
#include <stdlib.h>

#include "../../src/aws/aws_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
check_tree(const struct tb_xml_node *node, unsigned depth)
{
    size_t nodes = 1;

    assert(depth <= TB_XML_MAX_DEPTH);
    assert(tb_xml_name(node)[0] != '\0');
    assert(tb_xml_text(node, "") == NULL || strlen(tb_xml_text(node, "")) <= TB_XML_MAX_TEXT);
    for (const struct tb_xml_node *next = node; next != NULL; next = tb_xml_next(next)) {
        assert(strcmp(tb_xml_name(next), tb_xml_name(node)) == 0);
        nodes++;
    }
    return nodes;
}

/* Each kind of answer is read as each describe. */
static void
check_listings(const struct tb_xml *doc)
{
    for (size_t i = 0; i < TB_EC2_LISTINGS + TB_EC2_AROUND; i++) {
        const struct tb_ec2_listing *listing =
            i < TB_EC2_LISTINGS ? tb_ec2_listings[i] : tb_ec2_around[i - TB_EC2_LISTINGS];
        struct tb_ec2_list list = {0};
        struct tb_fail fail = {.text = ""};
        enum tb_err err = tb_ec2_list_add(listing, tb_xml_root(doc), &list, &fail);

        for (size_t at = 0; err == TB_OK && at < list.count; at++) {
            /* every record begins with its id */
            assert(list.at[at * listing->record_bytes] != '\0');
        }
        assert(err == TB_OK || (fail.err == err && fail.text[0] != '\0'));
        tb_ec2_list_release(listing, &list);
    }
}

/* A page of a bucket's list: every object has a key of that prefix. */
static void
check_page(const uint8_t *data, size_t size)
{
    struct tb_s3_objects objects = {NULL, 0, 0};
    struct tb_buf next = TB_BUF_INIT(4096);
    struct tb_fail fail = {.text = ""};
    enum tb_err err =
        tb_s3_take_page(tb_bytes_of(data, size), "captures/", &objects, &next, &fail);

    for (size_t i = 0; i < objects.count; i++) {
        assert(strncmp(objects.at[i].key, "captures/", 9) == 0);
    }
    assert(err == TB_OK || (fail.err == err && fail.text[0] != '\0'));
    tb_buf_release(&next);
    tb_s3_objects_release(&objects);
}

static void
check_error(const uint8_t *data, size_t size)
{
    static const int statuses[] = {301, 400, 403, 404, 500, 503};
    struct tb_http_answer answer = TB_HTTP_ANSWER_INIT(TB_AWS_ANSWER_MAX_BYTES);
    struct tb_fail fail = {.text = ""};

    tb_buf_put(&answer.body, data, size);
    answer.status = statuses[size % (sizeof(statuses) / sizeof(statuses[0]))];
    assert(tb_aws_answer_error("Fuzz", &answer, "r", &fail) == fail.err && fail.err != TB_OK);
    assert(fail.http_status == answer.status && fail.request_id[0] != '\0');
    for (const char *p = fail.text; *p != '\0'; p++) {
        assert((unsigned char)*p >= ' ');
    }
    tb_http_answer_release(&answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tb_xml *doc = NULL, *shorter = NULL;
    struct tb_fail fail = {.text = ""};
    size_t end = size;

    check_error(data, size);
    check_page(data, size);
    if (tb_xml_parse(tb_bytes_of(data, size), &doc, &fail) != TB_OK) {
        assert(doc == NULL && fail.err != TB_OK && fail.text[0] != '\0');
        return 0;
    }
    (void)check_tree(tb_xml_root(doc), 1);
    check_listings(doc);
    while (end > 0 && data[end - 1] != '>') { /* (0 when it is UTF-16) */
        end--;
    }
    if (end > 0 && data[0] == '<' && data[1] != '\0') {
        assert(tb_xml_parse(tb_bytes_of(data, end - 1), &shorter, NULL) != TB_OK);
    }
    tb_xml_free(doc);
    return 0;
}

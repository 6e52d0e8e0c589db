/*
 * Describes, page by page: a list grows by one record for each item of each page.  What a
 * record is, and how it is read from its element, stands in ec2_describe.c.
 */
#include "aws_int.h"

#include <stdlib.h>

enum {
    MAX_PAGES = 1000,
    MAX_ITEMS = 200000,     /* a Region has 10,000 sessions at the most */
    MAX_FILTER_VALUES = 200 /* EC2's own ceiling of one request */
};

void
tb_ec2_list_release(const struct tb_ec2_listing *listing, struct tb_ec2_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        listing->release(list->at + i * listing->record_bytes);
    }
    free(list->at);
    *list = (struct tb_ec2_list){0};
}

enum tb_err
tb_ec2_list_add(const struct tb_ec2_listing *listing, const struct tb_xml_node *root,
                struct tb_ec2_list *list, struct tb_fail *fail)
{
    const struct tb_xml_node *item = tb_xml_at(root, listing->items);
    enum tb_err err;

    for (; item != NULL; item = tb_xml_next(item)) {
        void *record;

        if (list->count == MAX_ITEMS) {
            return tb_fail_set(fail, TB_ETOOBIG, "%s: more than %d items", listing->action,
                               MAX_ITEMS);
        }
        if (list->count == list->cap) {
            size_t cap = list->cap == 0 ? 8 : list->cap * 2;
            uint8_t *more = reallocarray(list->at, cap, listing->record_bytes);

            if (more == NULL) {
                return tb_fail_set(fail, TB_ENOMEM, "%s", listing->action);
            }
            list->at = more;
            list->cap = cap;
        }
        record = list->at + list->count * listing->record_bytes;
        memset(record, 0, listing->record_bytes);
        list->count++; /* counted before it is read: what it owns by then is released */
        err = listing->read(item, record, fail);
        if (err != TB_OK) {
            tb_fail_prefix(fail, "%s", listing->action);
            return err;
        }
    }
    return TB_OK;
}

/* The token of the next page into `next`; TB_EFORMAT when it is the one just used. */
static enum tb_err
find_next(const struct tb_ec2_listing *listing, const struct tb_xml_node *root,
          struct tb_buf *next, struct tb_fail *fail)
{
    const char *token = tb_xml_text(root, "nextToken");

    if (token == NULL || token[0] == '\0') {
        tb_buf_reset(next);
        return TB_OK;
    }
    if (next->len > 0 && strcmp(tb_buf_str(next), token) == 0) {
        return tb_fail_set(fail, TB_EFORMAT, "%s: the same page is offered again and again",
                           listing->action);
    }
    tb_buf_reset(next);
    tb_buf_put_str(next, token);
    return tb_buf_check(next, "nextToken", fail);
}

/* `request` holds Action to the last filter; page parameters are put behind it. */
static enum tb_err
read_pages(struct tb_aws *aws, const struct tb_ec2_listing *listing,
           const struct tb_buf *request, bool paged, struct tb_ec2_list *list,
           struct tb_fail *fail)
{
    struct tb_aws_result result = TB_AWS_RESULT_INIT;
    struct tb_buf body = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_buf next = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    unsigned pages = 0;
    enum tb_err err;

    do {
        if (pages++ == MAX_PAGES) {
            err = tb_fail_set(fail, TB_ETOOBIG, "%s: more than %d pages", listing->action,
                              MAX_PAGES);
            break;
        }
        tb_buf_reset(&body);
        tb_buf_put_bytes(&body, tb_buf_view(request));
        if (paged) {
            tb_form_put_number(&body, listing->page_items, "MaxResults");
        }
        tb_form_put(&body, next.len > 0 ? tb_buf_str(&next) : NULL, "NextToken");
        err = tb_buf_check(&body, listing->action, fail);
        if (err != TB_OK) {
            break;
        }
        err = tb_aws_query(aws, TB_AWS_EC2, TB_AWS_POLICY_READ, listing->action,
                           tb_buf_view(&body), &result, fail);
        if (err != TB_OK) {
            break;
        }
        list->server_utc_s = result.server_utc_s;
        if (list->began_utc_s == 0) {
            list->began_utc_s = result.server_utc_s;
        }
        err = tb_ec2_list_add(listing, tb_xml_root(result.xml), list, fail);
        if (err != TB_OK) {
            break;
        }
        err = find_next(listing, tb_xml_root(result.xml), &next, fail);
    } while (err == TB_OK && next.len > 0);

    tb_aws_result_release(&result);
    tb_buf_release(&body);
    tb_buf_release(&next);
    return err;
}

enum tb_err
tb_ec2_list_all(struct tb_aws *aws, const struct tb_ec2_listing *listing,
                const struct tb_ec2_query *query, struct tb_ec2_list *out, struct tb_fail *fail)
{
    struct tb_buf request = TB_BUF_INIT(TB_AWS_REQUEST_MAX_BYTES);
    struct tb_ec2_list list = {0};
    bool by_id = query->id_parameter != NULL;
    enum tb_err err = TB_OK;

    tb_form_begin(&request, listing->action, TB_EC2_VERSION);
    if ((by_id && query->count == 0) || query->count > MAX_FILTER_VALUES) {
        err = tb_fail_set(fail, TB_EINVAL, "%s: %zu values", listing->action, query->count);
        goto out;
    }
    if (!by_id && query->count > 0) {
        tb_form_put(&request, query->filter, "Filter.1.Name");
    }
    for (size_t i = 0; i < query->count; i++) {
        tb_form_put(&request, query->values[i], "%s.%zu",
                    by_id ? query->id_parameter : "Filter.1.Value", i + 1);
    }
    err = tb_buf_check(&request, listing->action, fail);
    if (err == TB_OK) {
        err = read_pages(aws, listing, &request, !by_id, &list, fail);
    }
    if (err == TB_OK) {
        *out = list;
        list = (struct tb_ec2_list){0};
    }

out:
    tb_ec2_list_release(listing, &list);
    tb_buf_release(&request);
    return err;
}

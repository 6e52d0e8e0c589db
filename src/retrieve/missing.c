/* What of the segments cannot be read. */
#include <tapbox/retrieve.h>

#include <assert.h>
#include <stdlib.h>

#include <tapbox/clock.h>

enum {
    LIST_FIRST = 16 /* room; doubled when full */
};

static size_t
count_of_segment(const struct tb_missing_list *list, const char *segment)
{
    size_t count = 0;

    while (count < list->count &&
           strcmp(list->at[list->count - 1 - count].segment, segment) == 0) {
        count++;
    }
    return count;
}

/* Both are of one segment, and `more` lies behind. */
static void
join(struct tb_missing *last, const struct tb_missing *more)
{
    last->bytes = more->offset + more->bytes - last->offset;
    if (last->from_utc_ns == 0 ||
        (more->from_utc_ns != 0 && more->from_utc_ns < last->from_utc_ns)) {
        last->from_utc_ns = more->from_utc_ns;
    }
    if (more->to_utc_ns > last->to_utc_ns) {
        last->to_utc_ns = more->to_utc_ns;
    }
    last->packets += more->packets;
    last->is_counted = last->is_counted && more->is_counted;
}

enum tb_err
tb_missing_add(struct tb_missing_list *list, const struct tb_missing *missing,
               struct tb_fail *fail)
{
    size_t before = count_of_segment(list, missing->segment);
    struct tb_missing *last = list->count > 0 ? &list->at[list->count - 1] : NULL;

    if (last != NULL && before > 0 && missing->offset >= last->offset + last->bytes &&
        (missing->offset == last->offset + last->bytes || before >= TB_MISSING_OF_SEGMENT)) {
        join(last, missing);
        return TB_OK;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? LIST_FIRST : 2 * list->cap;
        struct tb_missing *more = reallocarray(list->at, cap, sizeof(*more));

        if (more == NULL) {
            return tb_fail_set(fail, TB_ENOMEM, "no memory for what is missing");
        }
        list->at = more;
        list->cap = cap;
    }
    assert(list->at != NULL);
    list->at[list->count++] = *missing;
    return TB_OK;
}

void
tb_missing_release(struct tb_missing_list *list)
{
    free(list->at);
    *list = (struct tb_missing_list){.count = 0};
}

void
tb_missing_describe(const struct tb_missing *missing, struct tb_buf *out)
{
    char time[TB_TIME_TEXT_SIZE];

    tb_buf_printf(out, "%s: ", missing->segment);
    if (missing->bytes > 0) {
        tb_buf_printf(out, "octets %llu to %llu", (unsigned long long)missing->offset,
                      (unsigned long long)(missing->offset + missing->bytes - 1));
    } else {
        tb_buf_printf(out, "all of it");
    }
    if (missing->is_counted) {
        tb_buf_printf(out, " (%llu packets", (unsigned long long)missing->packets);
    } else {
        tb_buf_printf(out, " (packets: not known");
    }
    if (missing->from_utc_ns != 0) {
        tb_time_format_ns(time, missing->from_utc_ns);
        tb_buf_printf(out, ", from %s", time);
    }
    if (missing->to_utc_ns != 0) {
        tb_time_format_ns(time, missing->to_utc_ns);
        tb_buf_printf(out, " to %s", time);
    }
    tb_buf_printf(out, ")");
}

bool
tb_missing_is_damage(const struct tb_place *place, enum tb_err err)
{
    /* (from S3 the other two mean the network) */
    return err == TB_EFORMAT ||
           (!tb_place_is_remote(place) && (err == TB_EIO || err == TB_ESHORT));
}

/* tapbox policy test: events and what is expected of them, for the user's own CI. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tapbox/io.h>

#include "cli_int.h"
#include "policy_int.h"

static const char event_end[] = ".json";
static const char expect_end[] = ".expect.json";

enum {
    WHY_SIZE = 500,
    PATH_SIZE = 128,  /* of a member in a message */
    VALUE_SIZE = 160, /* of a value in a message */
    LIST_MAX_BYTES = 64 << 20
};

struct outcome {
    bool good, readable;
    char why[WHY_SIZE]; /* the first difference, or why it cannot be read */
    struct tb_json *plan;
};

/* --- comparing --- */

static void
show_value(const struct tb_json *value, char *out, size_t cap)
{
    struct tb_buf text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);

    if (value == NULL || tb_json_dump(value, false, &text, NULL) != TB_OK) {
        (void)snprintf(out, cap, "nothing");
    } else {
        (void)snprintf(out, cap, "%.150s", tb_buf_str(&text));
    }
    tb_buf_release(&text);
}

static bool
is_equal(const struct tb_json *a, const struct tb_json *b)
{
    struct tb_buf first = TB_BUF_INIT(TB_EVENT_MAX_BYTES), second = first;
    bool equal = b != NULL && tb_json_dump(a, false, &first, NULL) == TB_OK &&
                 tb_json_dump(b, false, &second, NULL) == TB_OK &&
                 tb_bytes_equal(tb_buf_view(&first), tb_buf_view(&second));

    tb_buf_release(&first);
    tb_buf_release(&second);
    return equal;
}

static bool fits(const struct tb_json *expected, const struct tb_json *actual, const char *path,
                 char *why);

static bool
fits_object(const struct tb_json *expected, const struct tb_json *actual, const char *path,
            char *why)
{
    for (size_t i = 0; i < tb_json_count(expected); i++) {
        const char *key = "";
        const struct tb_json *want = tb_json_member(expected, i, &key);
        char below[PATH_SIZE], pointer[PATH_SIZE];

        (void)snprintf(pointer, sizeof(pointer), "/%.100s", key);
        (void)snprintf(below, sizeof(below), "%.60s%s%.50s", path, path[0] == 0 ? "" : ".",
                       key);
        if (!fits(want, tb_json_at(actual, pointer), below, why)) {
            return false;
        }
    }
    return true;
}

static bool
fits_list(const struct tb_json *expected, const struct tb_json *actual, const char *path,
          char *why)
{
    if (!tb_json_is_array(actual) || tb_json_count(expected) != tb_json_count(actual)) {
        (void)snprintf(why, WHY_SIZE, "%s: expected a list of %zu, got %zu", path,
                       tb_json_count(expected), tb_json_count(actual));
        return false;
    }
    for (size_t i = 0; i < tb_json_count(expected); i++) {
        char below[PATH_SIZE];

        (void)snprintf(below, sizeof(below), "%.100s[%zu]", path, i);
        if (!fits(tb_json_item(expected, i), tb_json_item(actual, i), below, why)) {
            return false;
        }
    }
    return true;
}

/* What is expected has to be there; what is there besides is no matter.  Text may hold '*'. */
static bool
fits(const struct tb_json *expected, const struct tb_json *actual, const char *path, char *why)
{
    const char *pattern = tb_json_str(expected, "");
    const char *text = tb_json_str(actual, "");
    char wanted[VALUE_SIZE], found[VALUE_SIZE];

    if (tb_json_is_object(expected)) {
        return fits_object(expected, actual, path, why);
    }
    if (tb_json_is_array(expected)) {
        return fits_list(expected, actual, path, why);
    }
    if (pattern != NULL && text != NULL ? tb_glob(pattern, text) : is_equal(expected, actual)) {
        return true;
    }
    show_value(expected, wanted, sizeof(wanted));
    show_value(actual, found, sizeof(found));
    (void)snprintf(why, WHY_SIZE, "%s: expected %s, got %s", path, wanted, found);
    return false;
}

/* --- one event --- */

/* "given": {"vpc", "subnet", "tags": {...}}: what EC2 would say of the source. */
static const char *
given_tag(const void *tags, const char *key)
{
    for (size_t i = 0; i < tb_json_count(tags); i++) {
        const char *name = "";
        const struct tb_json *value = tb_json_member(tags, i, &name);

        if (strcmp(name, key) == 0) {
            return tb_json_str(value, "");
        }
    }
    return NULL;
}

static void
decide_given(const void *arg, const struct tb_policy *policy, struct tb_intake_preview *preview)
{
    const struct tb_json *given = arg;
    const char *vpc = tb_json_str(given, "/vpc"), *subnet = tb_json_str(given, "/subnet");
    struct tb_source_facts facts = {.vpc = vpc != NULL ? vpc : "",
                                    .subnet = subnet != NULL ? subnet : "",
                                    .tag = given_tag,
                                    .tags = tb_json_at(given, "/tags")};

    if (preview->alert.adapter[0] == 0) {
        return; /* it could not be read */
    }
    tb_policy_decide(policy, &preview->alert, &facts, 1, &preview->verdict);
    if (policy->rules != NULL &&
        tb_guard_forbids(&policy->rules->guard, &facts, preview->verdict.reason)) {
        preview->verdict.decision = TB_DECISION_REFUSE;
        preview->verdict.planned = false;
        preview->verdict.rule[0] = 0;
    }
}

static enum tb_err
read_json(int dir_fd, const char *name, struct tb_buf *text, struct tb_json **out,
          struct tb_fail *fail)
{
    enum tb_err err = tb_read_file(dir_fd, name, text, fail);

    return err == TB_OK && out != NULL ? tb_json_parse(tb_buf_view(text), out, fail) : err;
}

/* Members of the expectation but for what is given, against the plan. */
static bool
fits_plan(const struct tb_json *expected, const struct tb_json *plan, char *why)
{
    for (size_t i = 0; i < tb_json_count(expected); i++) {
        const char *key = "";
        const struct tb_json *want = tb_json_member(expected, i, &key);
        char pointer[PATH_SIZE];

        (void)snprintf(pointer, sizeof(pointer), "/%.100s", key);
        if (strcmp(key, "given") != 0 && !fits(want, tb_json_at(plan, pointer), key, why)) {
            return false;
        }
    }
    return true;
}

static void
test_event(int dir_fd, const char *name, const struct tb_policy *policy, struct outcome *out)
{
    struct tb_buf event = TB_BUF_INIT(TB_EVENT_MAX_BYTES),
                  text = TB_BUF_INIT(TB_EVENT_MAX_BYTES);
    const struct tb_json *given;
    struct tb_json *expected = NULL;
    struct tb_fail fail = {0};
    char expect_name[300];
    enum tb_err err = read_json(dir_fd, name, &event, NULL, &fail);

    (void)snprintf(expect_name, sizeof(expect_name), "%.*s%s",
                   (int)(strlen(name) - strlen(event_end)), name, expect_end);
    if (err == TB_OK) {
        err = read_json(dir_fd, expect_name, &text, &expected, &fail);
    }
    if (err == TB_OK && !tb_json_is_object(expected)) {
        err = tb_fail_set(&fail, TB_EFORMAT, "%s: not a JSON object", expect_name);
    }
    if (err == TB_OK) {
        given = tb_json_at(expected, "/given");
        err =
            tb_cli_plan_offline(policy, tb_buf_view(&event), NULL,
                                given != NULL ? decide_given : NULL, given, &out->plan, &fail);
    }
    if (err == TB_OK) {
        out->readable = true;
        out->good = fits_plan(expected, out->plan, out->why);
    } else {
        (void)tb_str_copy(out->why, sizeof(out->why), fail.text);
    }
    tb_json_free(expected);
    tb_buf_release(&event);
    tb_buf_release(&text);
}

/* --- a folder --- */

static bool
ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

static int
is_event(const struct dirent *entry)
{
    return ends_in(entry->d_name, event_end) && !ends_in(entry->d_name, expect_end);
}

static void
print_outcome(const char *name, const struct outcome *o, bool json, struct tb_json *list)
{
    const char *rule = tb_json_str(o->plan, "/rule");
    const char *decision = tb_json_str(o->plan, "/decision");

    if (json) {
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "event", name);
        tb_json_set_bool(one, "ok", o->good);
        tb_json_set_str(one, "why", o->good ? NULL : o->why);
        if (o->plan != NULL) {
            tb_json_set_copy(one, "plan", o->plan);
        } else {
            tb_json_set_null(one, "plan");
        }
        tb_json_add(list, one);
        return;
    }
    printf("%-5s %s: %s%s%s%s%s%s\n",
           o->good       ? "ok"
           : o->readable ? "FAIL"
                         : "ERROR",
           name, decision != NULL ? decision : "", rule != NULL ? " by rule '" : "",
           rule != NULL ? rule : "", rule != NULL ? "'" : "",
           o->good || decision == NULL ? "" : "; ", o->good ? "" : o->why);
}

static int
print_json(struct tb_json *list)
{
    struct tb_buf text = TB_BUF_INIT(LIST_MAX_BYTES);
    struct tb_fail fail = {0};
    int status = TB_EXIT_OK;

    if (tb_json_dump(list, true, &text, &fail) == TB_OK) {
        puts(tb_buf_str(&text));
    } else {
        status = tb_cli_fail("policy", &fail);
    }
    tb_buf_release(&text);
    return status;
}

int
tb_cli_policy_test(const char *dir, const struct tb_policy *policy, bool json)
{
    struct dirent **entries = NULL;
    struct tb_json *list = tb_json_array();
    size_t good = 0, unread = 0;
    struct tb_fail fail = {0};
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int count = dir_fd < 0 ? -1 : scandir(dir, &entries, is_event, alphasort);
    int status;

    if (count < 0) {
        (void)tb_fail_errno(&fail, errno, "%s", dir);
        status = tb_cli_fail("policy", &fail);
        goto out;
    }
    for (int i = 0; i < count; i++) {
        struct outcome outcome = {.good = false};

        test_event(dir_fd, entries[i]->d_name, policy, &outcome);
        print_outcome(entries[i]->d_name, &outcome, json, list);
        good += outcome.good ? 1 : 0;
        unread += outcome.readable ? 0 : 1;
        tb_json_free(outcome.plan);
        free(entries[i]);
    }
    if (count == 0) {
        status = tb_cli_usage("policy", "%s: there is no event (NAME.json) in it", dir);
        goto out;
    }
    status = json ? print_json(list) : TB_EXIT_OK;
    if (!json) {
        printf("%zu of %d as expected\n", good, count);
    }
    if (status == TB_EXIT_OK) {
        status = tb_cli_finish_stdout("policy");
    }
    if (status == TB_EXIT_OK && good != (size_t)count) {
        status = unread > 0 ? TB_EXIT_USAGE : TB_EXIT_FAILED;
    }

out:
    free(entries);
    tb_close(&dir_fd);
    tb_json_free(list);
    return status;
}

/* An alert as JSON and back: one table of its members, read in both directions. */
#include <tapbox/alert.h>

#include <stddef.h>
#include <string.h>

#include <tapbox/bytes.h>

enum member_kind {
    MEMBER_TEXT,
    MEMBER_NUMBER, /* double */
    MEMBER_INT,    /* int64_t */
    MEMBER_COUNT,  /* size_t */
    MEMBER_PORT,   /* uint32_t */
    MEMBER_BOOL
};

struct member {
    const char *name;
    enum member_kind kind;
    size_t offset, size;
};

#define MEMBER(type, field, kind)                                                              \
    {                                                                                          \
#field, kind, offsetof(struct type, field), sizeof(((struct type *)NULL)->field)       \
    }

static const struct member alert_members[] = {
    MEMBER(tb_alert, adapter, MEMBER_TEXT),
    MEMBER(tb_alert, key, MEMBER_TEXT),
    MEMBER(tb_alert, id, MEMBER_TEXT),
    MEMBER(tb_alert, type, MEMBER_TEXT),
    MEMBER(tb_alert, summary, MEMBER_TEXT),
    MEMBER(tb_alert, severity, MEMBER_NUMBER),
    MEMBER(tb_alert, account, MEMBER_TEXT),
    MEMBER(tb_alert, region, MEMBER_TEXT),
    MEMBER(tb_alert, resource, MEMBER_TEXT),
    MEMBER(tb_alert, workload, MEMBER_TEXT),
    MEMBER(tb_alert, sample, MEMBER_BOOL),
    MEMBER(tb_alert, archived, MEMBER_BOOL),
    MEMBER(tb_alert, created_utc_ns, MEMBER_INT),
    MEMBER(tb_alert, updated_utc_ns, MEMBER_INT),
    MEMBER(tb_alert, first_seen_utc_ns, MEMBER_INT),
    MEMBER(tb_alert, seen_utc_ns, MEMBER_INT),
    MEMBER(tb_alert, sources_left_out, MEMBER_COUNT),
    MEMBER(tb_alert, indicators_left_out, MEMBER_COUNT),
    MEMBER(tb_alert, tags_known, MEMBER_BOOL),
    MEMBER(tb_alert, nothing_to_mirror, MEMBER_TEXT),
    MEMBER(tb_alert, instance_state, MEMBER_TEXT),
};
static const struct member source_members[] = {
    MEMBER(tb_alert_source, instance, MEMBER_TEXT),
    MEMBER(tb_alert_source, eni, MEMBER_TEXT),
    MEMBER(tb_alert_source, ip, MEMBER_TEXT),
    MEMBER(tb_alert_source, vpc, MEMBER_TEXT),
    MEMBER(tb_alert_source, subnet, MEMBER_TEXT),
    MEMBER(tb_alert_source, seen_here, MEMBER_BOOL),
};
static const struct member indicator_members[] = {
    MEMBER(tb_indicator, value, MEMBER_TEXT),      MEMBER(tb_indicator, port, MEMBER_PORT),
    MEMBER(tb_indicator, local_port, MEMBER_PORT), MEMBER(tb_indicator, protocol, MEMBER_TEXT),
    MEMBER(tb_indicator, direction, MEMBER_TEXT),  MEMBER(tb_indicator, on_wire, MEMBER_BOOL),
};
static const struct member tag_members[] = {
    MEMBER(tb_alert_tag, key, MEMBER_TEXT),
    MEMBER(tb_alert_tag, value, MEMBER_TEXT),
};
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const kinds[] = {[TB_INDICATOR_IP] = "ip", [TB_INDICATOR_DOMAIN] = "domain"};

const char *
tb_indicator_kind_name(enum tb_indicator_kind kind)
{
    return kinds[kind];
}

/* --- to JSON --- */

static void
put_members(struct tb_json *out, const struct member *members, size_t count, const void *from)
{
    for (size_t i = 0; i < count; i++) {
        const struct member *m = &members[i];
        const char *at = (const char *)from + m->offset;
        uint32_t port;
        int64_t integer;
        size_t number;
        double real;

        switch (m->kind) {
        case MEMBER_TEXT:
            tb_json_set_str(out, m->name, at[0] != 0 ? at : NULL);
            break;
        case MEMBER_NUMBER:
            memcpy(&real, at, sizeof(real));
            tb_json_set_number(out, m->name, real);
            break;
        case MEMBER_INT:
            memcpy(&integer, at, sizeof(integer));
            tb_json_set_int(out, m->name, integer);
            break;
        case MEMBER_COUNT:
            memcpy(&number, at, sizeof(number));
            tb_json_set_int(out, m->name, (int64_t)number);
            break;
        case MEMBER_PORT:
            memcpy(&port, at, sizeof(port));
            if (port != 0) {
                tb_json_set_int(out, m->name, port);
            } else {
                tb_json_set_null(out, m->name);
            }
            break;
        case MEMBER_BOOL:
            tb_json_set_bool(out, m->name, *at != 0);
            break;
        }
    }
}

static struct tb_json *
list_json(const struct member *members, size_t member_count, const void *items,
          size_t item_size, size_t count)
{
    struct tb_json *list = tb_json_array();

    for (size_t i = 0; i < count; i++) {
        struct tb_json *one = tb_json_object();

        put_members(one, members, member_count, (const char *)items + i * item_size);
        tb_json_add(list, one);
    }
    return list;
}

struct tb_json *
tb_alert_indicators_json(const struct tb_alert *alert)
{
    struct tb_json *list = tb_json_array();

    for (size_t i = 0; i < alert->indicator_count; i++) {
        struct tb_json *one = tb_json_object();

        tb_json_set_str(one, "kind", kinds[alert->indicators[i].kind]);
        put_members(one, indicator_members, COUNT(indicator_members), &alert->indicators[i]);
        tb_json_add(list, one);
    }
    return list;
}

struct tb_json *
tb_alert_json(const struct tb_alert *alert)
{
    struct tb_json *out = tb_json_object();

    put_members(out, alert_members, COUNT(alert_members), alert);
    tb_json_set(out, "sources",
                list_json(source_members, COUNT(source_members), alert->sources,
                          sizeof(alert->sources[0]), alert->source_count));
    tb_json_set(out, "indicators", tb_alert_indicators_json(alert));
    tb_json_set(out, "tags",
                list_json(tag_members, COUNT(tag_members), alert->tags, sizeof(alert->tags[0]),
                          alert->tag_count));
    return out;
}

/* --- and back --- */

static bool
take_member(const struct tb_json *value, const struct member *m, char *at)
{
    const char *text = tb_json_str(value, "");
    int64_t integer = 0;
    double real = 0;
    bool flag = false;

    switch (m->kind) {
    case MEMBER_TEXT:
        return value == NULL || tb_json_is_null(value) ||
               (text != NULL && tb_str_copy(at, m->size, text));
    case MEMBER_NUMBER:
        if (!tb_json_number(value, "", &real)) {
            return false;
        }
        memcpy(at, &real, sizeof(real));
        return true;
    case MEMBER_INT:
        if (!tb_json_int(value, "", &integer)) {
            return false;
        }
        memcpy(at, &integer, sizeof(integer));
        return true;
    case MEMBER_COUNT:
        if (!tb_json_int(value, "", &integer) || integer < 0) {
            return false;
        }
        memcpy(at, &(size_t){(size_t)integer}, sizeof(size_t));
        return true;
    case MEMBER_PORT:
        if (value == NULL || tb_json_is_null(value)) {
            return true;
        }
        if (!tb_json_int(value, "", &integer) || integer < 0 || integer > UINT16_MAX) {
            return false;
        }
        memcpy(at, &(uint32_t){(uint32_t)integer}, sizeof(uint32_t));
        return true;
    case MEMBER_BOOL:
        if (!tb_json_bool(value, "", &flag)) {
            return false;
        }
        memcpy(at, &flag, sizeof(flag));
        return true;
    }
    return false;
}

static enum tb_err
take_members(const struct tb_json *from, const struct member *members, size_t count, void *out,
             struct tb_fail *fail)
{
    for (size_t i = 0; i < count; i++) {
        char pointer[40] = "/";

        (void)tb_str_copy(pointer + 1, sizeof(pointer) - 1, members[i].name);
        if (!take_member(tb_json_at(from, pointer), &members[i],
                         (char *)out + members[i].offset)) {
            return tb_fail_set(fail, TB_EFORMAT, "alert: %s is missing or wrong",
                               members[i].name);
        }
    }
    return TB_OK;
}

static enum tb_err
take_list(const struct tb_json *root, const char *pointer, const struct member *members,
          size_t member_count, void *items, size_t item_size, size_t most, size_t *out_count,
          struct tb_fail *fail)
{
    const struct tb_json *list = tb_json_at(root, pointer);
    size_t count = tb_json_count(list);
    enum tb_err err = TB_OK;

    if (!tb_json_is_array(list) || count > most) {
        return tb_fail_set(fail, TB_EFORMAT, "alert: %s is not a list of up to %zu",
                           pointer + 1, most);
    }
    for (size_t i = 0; i < count && err == TB_OK; i++) {
        err = take_members(tb_json_item(list, i), members, member_count,
                           (char *)items + i * item_size, fail);
    }
    *out_count = count;
    return err;
}

static enum tb_err
take_kinds(const struct tb_json *list, struct tb_alert *out, struct tb_fail *fail)
{
    for (size_t i = 0; i < out->indicator_count; i++) {
        const char *kind = tb_json_str(tb_json_item(list, i), "/kind");

        if (kind == NULL || (strcmp(kind, "ip") != 0 && strcmp(kind, "domain") != 0)) {
            return tb_fail_set(fail, TB_EFORMAT, "alert: kind is missing or wrong");
        }
        out->indicators[i].kind =
            strcmp(kind, "ip") == 0 ? TB_INDICATOR_IP : TB_INDICATOR_DOMAIN;
    }
    return TB_OK;
}

enum tb_err
tb_alert_parse(struct tb_bytes text, struct tb_alert *out, struct tb_fail *fail)
{
    struct tb_json *root = NULL;
    struct tb_alert made = {.adapter = ""};
    enum tb_err err = tb_json_parse_max(text, TB_ALERT_JSON_MAX_BYTES, &root, fail);

    if (err == TB_OK) {
        err = take_members(root, alert_members, COUNT(alert_members), &made, fail);
    }
    if (err == TB_OK) {
        err =
            take_list(root, "/sources", source_members, COUNT(source_members), made.sources,
                      sizeof(made.sources[0]), TB_ALERT_MAX_SOURCES, &made.source_count, fail);
    }
    if (err == TB_OK) {
        err = take_list(root, "/indicators", indicator_members, COUNT(indicator_members),
                        made.indicators, sizeof(made.indicators[0]), TB_ALERT_MAX_INDICATORS,
                        &made.indicator_count, fail);
    }
    if (err == TB_OK) {
        err = take_kinds(tb_json_at(root, "/indicators"), &made, fail);
    }
    if (err == TB_OK) {
        err = take_list(root, "/tags", tag_members, COUNT(tag_members), made.tags,
                        sizeof(made.tags[0]), TB_ALERT_MAX_TAGS, &made.tag_count, fail);
    }
    tb_json_free(root);
    if (err == TB_OK) {
        *out = made;
    }
    return err;
}

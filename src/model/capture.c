/* Names of a capture's states, who may follow whom, and the arithmetic of its ledger. */
#include <tapbox/capture.h>

#include <stdio.h>
#include <string.h>

#include <tapbox/json.h>

static const char *const state_names[TB_CAPTURE_STATE_COUNT] = {
    [TB_CAPTURE_REQUESTED] = "requested", [TB_CAPTURE_PLANNED] = "planned",
    [TB_CAPTURE_ARMING] = "arming",       [TB_CAPTURE_RECORDING] = "recording",
    [TB_CAPTURE_DRAINING] = "draining",   [TB_CAPTURE_SEALING] = "sealing",
    [TB_CAPTURE_SEALED] = "sealed",       [TB_CAPTURE_REFUSED] = "refused",
    [TB_CAPTURE_FAILED] = "failed",
};

static const char *const reason_names[TB_STOP_REASON_COUNT] = {
    [TB_STOP_NONE] = "none",
    [TB_STOP_DEADLINE] = "deadline",
    [TB_STOP_OPERATOR] = "operator",
    [TB_STOP_BUDGET] = "budget",
    [TB_STOP_PACKETS] = "packet_budget",
    [TB_STOP_FAILURE] = "failure",
    [TB_STOP_SOURCE_GONE] = "source_gone",
};

#define BIT(state) (1u << TB_CAPTURE_##state)

/*
 * Who may follow whom.  A capture that made anything in AWS or in the recorder leaves through
 * draining, so that every way out passes the teardown; failed is reached from there, or from
 * sealing when the evidence cannot be completed.
 */
static const unsigned may_follow[TB_CAPTURE_STATE_COUNT] = {
    [TB_CAPTURE_REQUESTED] = BIT(PLANNED) | BIT(DRAINING) | BIT(REFUSED) | BIT(FAILED),
    [TB_CAPTURE_PLANNED] = BIT(ARMING) | BIT(DRAINING) | BIT(REFUSED) | BIT(FAILED),
    [TB_CAPTURE_ARMING] = BIT(RECORDING) | BIT(DRAINING),
    [TB_CAPTURE_RECORDING] = BIT(DRAINING),
    [TB_CAPTURE_DRAINING] = BIT(SEALING) | BIT(FAILED),
    [TB_CAPTURE_SEALING] = BIT(SEALED) | BIT(FAILED),
};

const char *
tb_capture_state_name(enum tb_capture_state state)
{
    return (unsigned)state < TB_CAPTURE_STATE_COUNT ? state_names[state] : "unknown";
}

static bool
find_name(const char *const *names, unsigned count, const char *name, unsigned *out)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool
tb_capture_state_parse(const char *name, enum tb_capture_state *out)
{
    unsigned i;

    if (!find_name(state_names, TB_CAPTURE_STATE_COUNT, name, &i)) {
        return false;
    }
    *out = (enum tb_capture_state)i;
    return true;
}

const char *
tb_stop_reason_name(enum tb_stop_reason reason)
{
    return (unsigned)reason < TB_STOP_REASON_COUNT ? reason_names[reason] : "unknown";
}

bool
tb_stop_reason_parse(const char *name, enum tb_stop_reason *out)
{
    unsigned i;

    if (!find_name(reason_names, TB_STOP_REASON_COUNT, name, &i)) {
        return false;
    }
    *out = (enum tb_stop_reason)i;
    return true;
}

bool
tb_capture_state_is_final(enum tb_capture_state state)
{
    return state == TB_CAPTURE_SEALED || state == TB_CAPTURE_REFUSED ||
           state == TB_CAPTURE_FAILED;
}

bool
tb_capture_state_is_live(enum tb_capture_state state)
{
    return state == TB_CAPTURE_ARMING || state == TB_CAPTURE_RECORDING ||
           state == TB_CAPTURE_DRAINING;
}

bool
tb_capture_may_follow(enum tb_capture_state from, enum tb_capture_state to)
{
    return (unsigned)from < TB_CAPTURE_STATE_COUNT && (unsigned)to < TB_CAPTURE_STATE_COUNT &&
           (may_follow[from] & 1u << to) != 0;
}

#define FIELD(name, term)                                                                      \
    {                                                                                          \
#name, offsetof(struct tb_ledger, name), (term)                                        \
    }

const struct tb_ledger_field tb_ledger_fields[TB_LEDGER_FIELDS] = {
    FIELD(received, false),   FIELD(written, true),        FIELD(ring_dropped, true),
    FIELD(fragments, true),   FIELD(not_vxlan, true),      FIELD(malformed, true),
    FIELD(unknown_vni, true), FIELD(not_armed, true),      FIELD(filtered, true),
    FIELD(over_budget, true), FIELD(queue_dropped, true),  FIELD(spool_full, true),
    FIELD(truncated, false),  FIELD(written_bytes, false),
};

/* Counters are read and set through memcpy: the offsets are untyped. */
uint64_t
tb_ledger_get(const struct tb_ledger *ledger, size_t field)
{
    uint64_t value;

    memcpy(&value, (const char *)ledger + tb_ledger_fields[field].offset, sizeof(value));
    return value;
}

void
tb_ledger_set(struct tb_ledger *ledger, size_t field, uint64_t value)
{
    memcpy((char *)ledger + tb_ledger_fields[field].offset, &value, sizeof(value));
}

int64_t
tb_ledger_residual(const struct tb_ledger *ledger)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        if (tb_ledger_fields[i].is_term) {
            sum += tb_ledger_get(ledger, i);
        }
    }
    return (int64_t)(ledger->received - sum);
}

struct tb_json *
tb_ledger_json(const struct tb_ledger *ledger)
{
    struct tb_json *object = tb_json_object();

    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_json_set_int(object, tb_ledger_fields[i].name, (int64_t)tb_ledger_get(ledger, i));
    }
    tb_json_set_int(object, "residual", tb_ledger_residual(ledger));
    return object;
}

void
tb_ledger_add(struct tb_ledger *into, const struct tb_ledger *more)
{
    for (size_t i = 0; i < TB_LEDGER_FIELDS; i++) {
        tb_ledger_set(into, i, tb_ledger_get(into, i) + tb_ledger_get(more, i));
    }
}

const char *
tb_capture_source_gap(const struct tb_capture_source *source, char room[TB_CAPTURE_MAX_TEXT])
{
    if (source->gap[0] != '\0' || source->armed || source->trouble[0] == '\0') {
        return source->gap;
    }
    (void)snprintf(room, TB_CAPTURE_MAX_TEXT, "no session could be made so far: %.220s",
                   source->trouble);
    return room;
}

/* Now, as the clock was by which the box was begun. */
static int64_t
box_now_utc_ns(const struct tb_capture *capture)
{
    return capture->deadline.utc_ns - tb_deadline_left_ns(&capture->deadline);
}

int64_t
tb_capture_latest_utc_ns(const struct tb_capture *capture, int64_t most_ns,
                         int64_t now_steady_ns)
{
    return box_now_utc_ns(capture) - (now_steady_ns - capture->requested_steady_ns) + most_ns;
}

int64_t
tb_capture_recorded_ns(const struct tb_capture *capture)
{
    if (capture->recording_utc_ns == 0) {
        return 0;
    }
    if (capture->stopped_steady_ns != 0) {
        return capture->stopped_steady_ns - capture->recording_steady_ns;
    }
    return box_now_utc_ns(capture) - capture->recording_utc_ns;
}

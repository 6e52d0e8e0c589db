/* Captures as text for people, from the API's answers. */
#include <stdio.h>

#include <tapbox/json.h>

#include "api_int.h"

enum {
    SHOWN_TEXT = 300,
    LAST_SEGMENTS = 8
};

const char *
tb_show_text(const struct tb_json *node, const char *pointer, char *out, size_t cap)
{
    const char *text = tb_json_str(node, pointer);
    size_t len = 0;

    if (text == NULL || text[0] == '\0') {
        text = "-";
    }
    /* findings and reasons come from outside: no control character gets to the terminal, also
     * not those of 0x80 to 0x9f, which UTF-8 writes behind 0xc2 */
    for (; text[len] != '\0' && len + 1 < cap; len++) {
        unsigned char c = (unsigned char)text[len];
        bool is_c1 = c >= 0x80 && c < 0xa0 && len > 0 && (unsigned char)text[len - 1] == 0xc2;

        out[len] = (char)(c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
        if (is_c1) {
            out[len - 1] = '?';
        }
    }
    out[len] = '\0';
    return out;
}

int64_t
tb_show_number(const struct tb_json *node, const char *pointer)
{
    int64_t value = 0;

    (void)tb_json_int(node, pointer, &value);
    return value;
}

void
tb_show_bytes(char *out, size_t cap, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(out, cap, "%lld B", (long long)bytes);
        return;
    }
    while (value >= 1000 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(out, cap, "%.1f %s", value, units[unit]);
}

void
tb_show_seconds(char *out, size_t cap, int64_t seconds)
{
    long long s = seconds;

    if (s >= 3600) {
        snprintf(out, cap, "%lldh %lldm", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        snprintf(out, cap, "%lldm %llds", s / 60, s % 60);
    } else {
        snprintf(out, cap, "%llds", s);
    }
}

/* The instance, or the first interface and how many more. */
static void
show_source(const struct tb_json *capture, char *out, size_t cap)
{
    const struct tb_json *enis = tb_json_at(capture, "/request/interfaces");
    const char *instance = tb_json_str(capture, "/request/instance");

    if (instance != NULL) {
        snprintf(out, cap, "%s", instance);
    } else if (tb_json_count(enis) > 1) {
        snprintf(out, cap, "%s +%zu", tb_json_str(enis, "/0"), tb_json_count(enis) - 1);
    } else {
        const char *eni = tb_json_str(enis, "/0");

        snprintf(out, cap, "%s", eni != NULL ? eni : "-");
    }
}

/* The time left of a running capture, the place of one that waits, else "-". */
static void
show_left(const struct tb_json *capture, char *out, size_t cap)
{
    int64_t left;

    if (tb_json_int(capture, "/seconds_left", &left)) {
        tb_show_seconds(out, cap, left);
    } else if (tb_json_int(capture, "/queue_position", &left)) {
        snprintf(out, cap, "queue %lld", (long long)left);
    } else {
        snprintf(out, cap, "-");
    }
}

const struct tb_json *
tb_show_ledger(const struct tb_json *capture)
{
    const struct tb_json *live = tb_json_at(capture, "/live/ledger");

    return live != NULL ? live : tb_json_at(capture, "/ledger");
}

void
tb_show_list(const struct tb_json *captures)
{
    size_t count = tb_json_count(captures);

    if (count == 0) {
        puts("No captures.");
        return;
    }
    printf("%-31s %-10s %-8s %-21s %10s %10s  %s\n", "CAPTURE", "STATE", "LEFT", "SOURCE",
           "PACKETS", "BYTES", "REASON");
    for (size_t i = 0; i < count; i++) {
        const struct tb_json *capture = tb_json_item(captures, i);
        char id[40], state[20], left[32], source[80], bytes[32], reason[80];

        show_source(capture, source, sizeof(source));
        show_left(capture, left, sizeof(left));
        tb_show_bytes(bytes, sizeof(bytes), tb_show_number(capture, "/ledger/written_bytes"));
        printf("%-31s %-10s %-8s %-21s %10lld %10s  %s\n",
               tb_show_text(capture, "/id", id, sizeof(id)),
               tb_show_text(capture, "/state", state, sizeof(state)), left, source,
               (long long)tb_show_number(capture, "/ledger/written"), bytes,
               tb_show_text(capture, "/request/reason", reason, sizeof(reason)));
    }
}

void
tb_show_foreign(const struct tb_json *answer)
{
    const struct tb_json *sessions = tb_json_at(answer, "/sessions");
    const struct tb_json *unseen = tb_json_at(answer, "/unseen_accounts");
    size_t count = tb_json_count(sessions);

    for (size_t i = 0; i < tb_json_count(unseen); i++) {
        char account[20], why[SHOWN_TEXT];

        printf("Account %s could not be looked at: %s\n",
               tb_show_text(tb_json_item(unseen, i), "/account", account, sizeof(account)),
               tb_show_text(tb_json_item(unseen, i), "/why", why, sizeof(why)));
    }
    if (count == 0) {
        puts("No mirror session was made by others.");
        return;
    }
    printf("%-22s %-22s %6s %9s %-22s %-13s %s\n", "SESSION", "SOURCE", "NUMBER", "VNI",
           "TARGET", "OWNER", "TAGS");
    for (size_t i = 0; i < count; i++) {
        const struct tb_json *one = tb_json_item(sessions, i);
        const struct tb_json *tags = tb_json_at(one, "/tags");
        char id[80], source[80], target[80], owner[20];

        printf("%-22s %-22s %6lld %9lld %-22s %-13s", tb_show_text(one, "/id", id, sizeof(id)),
               tb_show_text(one, "/source", source, sizeof(source)),
               (long long)tb_show_number(one, "/number"),
               (long long)tb_show_number(one, "/vni"),
               tb_show_text(one, "/target", target, sizeof(target)),
               tb_show_text(one, "/owner", owner, sizeof(owner)));
        for (size_t t = 0; t < tb_json_count(tags); t++) {
            const char *key = NULL;
            const struct tb_json *value = tb_json_member(tags, t, &key);
            struct tb_json *named = tb_json_object();
            char shown_key[140], shown[260];

            tb_json_set_str(named, "key", key); /* keys come from outside as well */
            printf(" %s=%s", tb_show_text(named, "/key", shown_key, sizeof(shown_key)),
                   tb_show_text(value, "", shown, sizeof(shown)));
            tb_json_free(named);
        }
        putchar('\n');
    }
}

void
tb_show_intake(const struct tb_json *answer)
{
    char id[40], reason[SHOWN_TEXT], state[20], decision[20];

    tb_show_text(answer, "/decision", decision, sizeof(decision));
    printf("%s: %s\n", decision, tb_show_text(answer, "/reason", reason, sizeof(reason)));
    if (tb_json_str(answer, "/capture/id") != NULL) {
        printf("%s  %s\n", tb_show_text(answer, "/capture/id", id, sizeof(id)),
               tb_show_text(answer, "/capture/state", state, sizeof(state)));
        printf("'tapbox show %s' tells how it goes, 'tapbox stop %s' ends it early.\n", id, id);
    }
}

static void
show_sources(const struct tb_json *capture)
{
    const struct tb_json *sources = tb_json_at(capture, "/sources");

    for (size_t i = 0; i < tb_json_count(sources); i++) {
        const struct tb_json *one = tb_json_item(sources, i);
        char eni[80], ip[60], gap[SHOWN_TEXT];
        bool armed = false;

        (void)tb_json_bool(one, "/armed", &armed);
        printf("  source     %s  %s  VNI %lld  %s\n",
               tb_show_text(one, "/eni", eni, sizeof(eni)),
               tb_show_text(one, "/ip", ip, sizeof(ip)), (long long)tb_show_number(one, "/vni"),
               armed ? "mirrored" : "not mirrored");
        if (tb_json_str(one, "/gap") != NULL) {
            printf("             %s: %s\n", armed ? "not all captured" : "not captured",
                   tb_show_text(one, "/gap", gap, sizeof(gap)));
        }
    }
}

/* What came in, what was written, and each place where packets were lost. */
static void
show_ledger(const struct tb_json *ledger)
{
    char bytes[32];

    tb_show_bytes(bytes, sizeof(bytes), tb_show_number(ledger, "/written_bytes"));
    printf("  packets    %lld received, %lld written (%s)\n",
           (long long)tb_show_number(ledger, "/received"),
           (long long)tb_show_number(ledger, "/written"), bytes);
    for (size_t i = 0; i < tb_json_count(ledger); i++) {
        const char *name = NULL;
        const struct tb_json *value = tb_json_member(ledger, i, &name);

        if (strcmp(name, "received") != 0 && strcmp(name, "written") != 0 &&
            strcmp(name, "written_bytes") != 0 && tb_show_number(value, "") != 0) {
            printf("             %lld %s\n", (long long)tb_show_number(value, ""), name);
        }
    }
}

/* Only there when nothing arrives. */
static void
show_checklist(const struct tb_json *checklist)
{
    if (tb_json_count(checklist) > 0) {
        puts("  NO TRAFFIC: not one packet so far.  Look at:");
    }
    for (size_t i = 0; i < tb_json_count(checklist); i++) {
        char line[SHOWN_TEXT];

        printf("             %zu. %s\n", i + 1,
               tb_show_text(tb_json_item(checklist, i), "", line, sizeof(line)));
    }
}

static bool
is_uploaded(const struct tb_json *segment)
{
    const char *state = tb_json_str(segment, "/state");

    return state != NULL && strcmp(state, "uploaded") == 0;
}

/* Those that S3 does not have, those that were repaired, and the last few. */
static void
show_segments(const struct tb_json *segments)
{
    int64_t total = 0, packets = 0;
    size_t uploaded = 0, left_out = 0, count = tb_json_count(segments);
    char bytes[32];

    for (size_t i = 0; i < count; i++) {
        total += tb_show_number(tb_json_item(segments, i), "/bytes");
        packets += tb_show_number(tb_json_item(segments, i), "/packets");
        uploaded += is_uploaded(tb_json_item(segments, i)) ? 1 : 0;
    }
    tb_show_bytes(bytes, sizeof(bytes), total);
    printf("  segments   %zu sealed, %zu in S3; %s, %lld packets\n", count, uploaded, bytes,
           (long long)packets);
    for (size_t i = 0; i < count; i++) {
        const struct tb_json *one = tb_json_item(segments, i);
        int64_t size = tb_show_number(one, "/bytes");
        int64_t sent = tb_show_number(one, "/acknowledged_bytes");
        char name[140], state[20], part[24] = "";
        bool recovered = false;

        (void)tb_json_bool(one, "/recovered", &recovered);
        if (is_uploaded(one) && !recovered && i + LAST_SEGMENTS < count) {
            left_out++;
            continue;
        }
        tb_show_bytes(bytes, sizeof(bytes), size);
        if (sent > 0 && sent < size) {
            (void)snprintf(part, sizeof(part), ", %d %% in S3",
                           (int)(100.0 * (double)sent / (double)size));
        }
        printf("             %s  %s  %s%s%s\n", tb_show_text(one, "/name", name, sizeof(name)),
               bytes, tb_show_text(one, "/state", state, sizeof(state)), part,
               recovered ? "  recovered" : "");
    }
    if (left_out > 0) {
        printf("             and %zu more that S3 has: --json lists them\n", left_out);
    }
}

static void
show_resources(const struct tb_json *resources)
{
    for (size_t i = 0; i < tb_json_count(resources); i++) {
        const struct tb_json *one = tb_json_item(resources, i);
        char kind[32], id[80], state[32];

        printf("  AWS        %-11s %-24s %s\n", tb_show_text(one, "/kind", kind, sizeof(kind)),
               tb_show_text(one, "/id", id, sizeof(id)),
               tb_show_text(one, "/state", state, sizeof(state)));
    }
}

static void
show_line(const struct tb_json *capture, const char *label, const char *pointer)
{
    char text[SHOWN_TEXT];

    if (tb_json_str(capture, pointer) != NULL) {
        printf("  %-10s %s\n", label, tb_show_text(capture, pointer, text, sizeof(text)));
    }
}

bool
tb_show_budget(const struct tb_json *node, char *out, size_t cap)
{
    int64_t bytes = tb_show_number(node, "/max_bytes");
    int64_t packets = tb_show_number(node, "/max_packets");
    char size[40] = "";

    if (bytes > 0) {
        tb_show_bytes(size, sizeof(size), bytes);
    }
    if (packets > 0) {
        (void)snprintf(out, cap, "%s%s%lld packet%s", size, bytes > 0 ? ", " : "",
                       (long long)packets, packets == 1 ? "" : "s");
    } else {
        (void)snprintf(out, cap, "%s", size);
    }
    return bytes > 0 || packets > 0;
}

void
tb_show_capture(const struct tb_json *capture)
{
    char id[40], state[20], stop[20], left[32], source[80], budget[80];
    int64_t seconds;

    printf("%s  %s", tb_show_text(capture, "/id", id, sizeof(id)),
           tb_show_text(capture, "/state", state, sizeof(state)));
    if (tb_json_str(capture, "/stop_reason") != NULL) {
        printf(" (%s)", tb_show_text(capture, "/stop_reason", stop, sizeof(stop)));
    }
    if (tb_json_int(capture, "/seconds_left", &seconds)) {
        tb_show_seconds(left, sizeof(left), seconds);
        printf(", %s left", left);
    }
    if (tb_json_int(capture, "/queue_position", &seconds)) {
        printf(", number %lld in the queue", (long long)seconds);
    }
    putchar('\n');
    show_source(capture, source, sizeof(source));
    printf("  of         %s\n", source);
    show_line(capture, "reason", "/request/reason");
    show_line(capture, "case", "/request/case");
    show_line(capture, "finding", "/request/finding_type");
    show_line(capture, "by", "/request/requested_by");
    show_line(capture, "filter", "/request/bpf");
    if (tb_show_budget(tb_json_at(capture, "/request"), budget, sizeof(budget))) {
        printf("  %-10s at most %s\n", "budget", budget);
    }
    show_line(capture, "requested", "/requested");
    show_line(capture, "recording", "/recording");
    show_line(capture, "deadline", "/deadline");
    show_line(capture, "extending", "/extending_to");
    show_line(capture, "stopped", "/stopped");
    show_line(capture, "ended", "/ended");
    if (tb_json_is_object(tb_json_at(capture, "/error"))) {
        show_line(capture, "error", "/error/text");
        show_line(capture, "code", "/error/code");
        show_line(capture, "request", "/error/request_id");
    }
    show_sources(capture);
    show_ledger(tb_show_ledger(capture));
    show_checklist(tb_json_at(capture, "/checklist"));
}

void
tb_show_objects(const struct tb_json *capture)
{
    if (tb_json_at(capture, "/segments") != NULL) {
        show_segments(tb_json_at(capture, "/segments"));
        show_resources(tb_json_at(capture, "/resources"));
    }
}

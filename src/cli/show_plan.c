/* A plan as text for people, from the API's answer. */
#include <stdio.h>
#include <string.h>

#include "api_int.h"

enum {
    SHOWN_TEXT = 600,
    MARGIN = 8, /* "  block " */
    COLUMNS = 92
};

/* Words of `text` in lines of COLUMNS, those after the first behind a margin. */
static void
print_wrapped(const char *text, int at)
{
    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (at > MARGIN && at + 1 + (int)len > COLUMNS) {
            printf("\n%*s", MARGIN, "");
            at = MARGIN;
        } else if (at > MARGIN) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)len, text);
        at += (int)len;
        text += len;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void
print_sources(const struct tb_json *plan)
{
    const struct tb_json *sources = tb_json_at(plan, "/sources");
    char eni[80], instance[80], ip[80];

    if (tb_json_count(sources) == 0) {
        return;
    }
    printf("\n  %-21s  %-19s  %-15s  %s\n", "INTERFACE", "INSTANCE", "ADDRESS", "SESSION");
    for (size_t i = 0; i < tb_json_count(sources); i++) {
        const struct tb_json *source = tb_json_item(sources, i);
        int64_t number = 0;

        printf("  %-21s  %-19s  %-15s  ", tb_show_text(source, "/eni", eni, sizeof(eni)),
               tb_show_text(source, "/instance", instance, sizeof(instance)),
               tb_show_text(source, "/ip", ip, sizeof(ip)));
        if (tb_json_str(source, "/gap") != NULL) {
            puts("not captured");
        } else if (tb_json_int(source, "/session_number", &number) && number > 0) {
            printf("%lld\n", (long long)number);
        } else {
            puts("-");
        }
    }
}

static void
print_checks(const struct tb_json *plan, const char *severity)
{
    const struct tb_json *checks = tb_json_at(plan, "/checks");
    char code[80], eni[80], text[SHOWN_TEXT];

    for (size_t i = 0; i < tb_json_count(checks); i++) {
        const struct tb_json *check = tb_json_item(checks, i);
        const char *is = tb_json_str(check, "/severity");
        int at;

        if (is == NULL || strcmp(is, severity) != 0) {
            continue;
        }
        at = printf("  %-5s %s", severity, tb_show_text(check, "/code", code, sizeof(code)));
        if (tb_json_str(check, "/eni") != NULL) {
            at += printf(" %s", tb_show_text(check, "/eni", eni, sizeof(eni)));
        }
        at += printf(":");
        print_wrapped(tb_show_text(check, "/text", text, sizeof(text)), at);
    }
}

static void
print_profile(const struct tb_json *plan)
{
    char duration[40], budget[80];
    int64_t value = 0;

    if (!tb_json_int(plan, "/profile/duration_seconds", &value)) {
        return;
    }
    tb_show_seconds(duration, sizeof(duration), value);
    printf("  for %s", duration);
    if (tb_show_budget(tb_json_at(plan, "/profile"), budget, sizeof(budget))) {
        printf(", at most %s", budget);
    }
    if (tb_json_int(plan, "/profile/snaplen", &value) && value > 0) {
        printf(", %lld octets of each frame", (long long)value);
    }
    putchar('\n');
}

/* How its body was read. */
static void
print_alert(const struct tb_json *plan)
{
    const struct tb_json *indicators = tb_json_at(plan, "/indicators");
    char sender[80], id[SHOWN_TEXT], text[SHOWN_TEXT], more[40];
    int64_t port = 0;

    if (!tb_json_is_object(tb_json_at(plan, "/alert"))) {
        return;
    }
    printf("  read as %s, id %s\n", tb_show_text(plan, "/alert/sender", sender, sizeof(sender)),
           tb_show_text(plan, "/alert/id", id, sizeof(id)));
    for (size_t i = 0; i < tb_json_count(indicators); i++) {
        const struct tb_json *one = tb_json_item(indicators, i);

        printf("  names %s", tb_show_text(one, "/value", text, sizeof(text)));
        if (tb_json_int(one, "/port", &port) && port > 0) {
            printf(" port %lld", (long long)port);
        }
        if (tb_json_int(one, "/local_port", &port) && port > 0) {
            printf(", here port %lld", (long long)port);
        }
        if (tb_json_str(one, "/protocol") != NULL) {
            printf(", %s", tb_show_text(one, "/protocol", more, sizeof(more)));
        }
        if (tb_json_str(one, "/direction") != NULL) {
            printf(", %s", tb_show_text(one, "/direction", more, sizeof(more)));
        }
        putchar('\n');
    }
}

static void
print_plan(const struct tb_json *plan)
{
    static const char *const order[] = {"block", "warn", "info"};
    char decision[40], reason[SHOWN_TEXT];
    bool blocked = false;

    (void)tb_json_bool(plan, "/blocked", &blocked);
    printf("%s: %s\n", tb_show_text(plan, "/decision", decision, sizeof(decision)),
           tb_show_text(plan, "/reason", reason, sizeof(reason)));
    print_alert(plan);
    print_profile(plan);
    print_sources(plan);
    if (tb_json_count(tb_json_at(plan, "/checks")) > 0) {
        putchar('\n');
    }
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        print_checks(plan, order[i]);
    }
    if (blocked) {
        puts("\nIt would be refused.");
    }
}

void
tb_show_plan(const struct tb_json *plan)
{
    const struct tb_json *several = tb_json_at(plan, "/alerts");

    for (size_t i = 0; i < tb_json_count(several); i++) {
        printf("%s%zu of %zu: ", i > 0 ? "\n" : "", i + 1, tb_json_count(several));
        print_plan(tb_json_item(several, i));
    }
    if (several == NULL) {
        print_plan(plan);
    }
}

/*
 * tapbox watch: captures as they run, once a second until they end.  On a terminal the view is
 * drawn in place; otherwise each change is a line; with --json each second is.
 *
 * Signals are taken while it waits, so that the terminal is left as it was found.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <tapbox/clock.h>
#include <tapbox/ids.h>
#include <tapbox/limits.h>

#include "api_int.h"
#include "cli_int.h"
#include "screen_int.h"
#include "watch_int.h"

enum {
    VIEW_MAX_BYTES = 4 << 20,
    AT_ONCE = 1000 /* captures; what the API lists at the most */
};

static const char help[] =
    "Usage: tapbox watch [CAPTURE] [--json]\n"
    "       tapbox watch CAPTURE --pcap [--bpf EXPRESSION] [--from-start] | PROGRAM\n"
    "\n"
    "Shows a capture, or all that have not ended, once a second until they end: state, time\n"
    "left, packets, what was dropped and why, segments, and what to look at when nothing\n"
    "arrives.  When standard output is no terminal, each change is a line.\n"
    "\n"
    "      --json             each second the API's answer on a line\n"
    "      --pcap             the packets themselves, as pcapng on standard output while they\n"
    "                         are recorded: tapbox watch CAPTURE --pcap | wireshark -k -i -\n"
    "      --bpf EXPRESSION   of these only what the filter takes (\"tcp port 443\")\n"
    "      --from-start       not from now on, but from the first packet that is not yet in "
    "S3\n"
    "                         alone\n"
    "      --url URL          where tapbox is (TAPBOX_URL, else http://127.0.0.1:8480)\n"
    "      --token-file FILE  file that holds the token (else TAPBOX_TOKEN is the token)\n"
    "  -h, --help             this text\n"
    "\n"
    "Status: 0 sealed (all of them were), 1 one failed or was refused, 3 no such capture,\n"
    "5 the service has not answered for a minute.\n";

static const int64_t period_ns = TB_NS_PER_S;
static const int64_t patience_ns = 5 * TB_NS_PER_S;
static const int64_t give_up_ns = 60 * TB_NS_PER_S; /* a restart takes seconds */

/* A capture that was alive when last seen. */
struct followed {
    char id[TB_CAPTURE_ID_SIZE];
    struct tb_buf line; /* as last printed */
    bool listed;        /* in the present answer */
};

struct watch {
    struct tb_api *api;
    bool json;
    const char *capture; /* NULL: all */
    struct tb_screen screen;
    struct tb_json *before; /* the last answer */
    int64_t before_boot_ns;
    struct followed *followed; /* AT_ONCE of them */
    size_t followed_count;
    struct tb_buf above; /* what stays: captures that ended */
    int status;
};

/* --- what there is to say --- */

static void
put_clock(struct tb_buf *out)
{
    char now[TB_TIME_TEXT_SIZE];

    tb_time_format_s(now, tb_clock_utc_ns() / TB_NS_PER_S);
    tb_buf_printf(out, "%s  ", now);
}

/* The capture's line, if it says something new. */
static void
say_line(struct followed *followed, const struct tb_json *capture)
{
    struct tb_buf line = TB_BUF_INIT(VIEW_MAX_BYTES), clock = TB_BUF_INIT(64);

    tb_watch_line(capture, &line);
    if (!tb_bytes_equal(tb_buf_view(&line), tb_buf_view(&followed->line))) {
        put_clock(&clock);
        printf("%s%s\n", tb_buf_str(&clock), tb_buf_str(&line));
        (void)fflush(stdout);
        tb_buf_release(&followed->line);
        followed->line = line;
    } else {
        tb_buf_release(&line);
    }
    tb_buf_release(&clock);
}

static struct followed *
follow(struct watch *watch, const char *id)
{
    for (size_t i = 0; i < watch->followed_count; i++) {
        if (strcmp(watch->followed[i].id, id) == 0) {
            return &watch->followed[i];
        }
    }
    if (watch->followed_count == AT_ONCE) {
        return NULL;
    }
    struct followed *new = &watch->followed[watch->followed_count];

    if (!tb_str_copy(new->id, sizeof(new->id), id)) {
        return NULL; /* not the id of a capture */
    }
    new->line = (struct tb_buf)TB_BUF_INIT(VIEW_MAX_BYTES);
    watch->followed_count++;
    return new;
}

static void
note_end(struct watch *watch, const struct tb_json *capture)
{
    if (!tb_watch_is_sealed(capture)) {
        watch->status = TB_EXIT_FAILED;
    }
}

/* One that is not alive any more: how did it end? */
static int
say_end(struct watch *watch, struct followed *followed, struct tb_api_why *why)
{
    struct tb_json *page = NULL;
    char path[64 + TB_CAPTURE_ID_SIZE];
    int status;

    (void)snprintf(path, sizeof(path), "/v1/captures/%s", followed->id);
    status = tb_api_ask(watch->api, &(struct tb_api_call){"watch", "GET", path, NULL, NULL},
                        &page, NULL, why);
    if (status != TB_EXIT_OK) {
        return status;
    }
    note_end(watch, page);
    if (watch->screen.is_terminal) {
        put_clock(&watch->above);
        tb_watch_line(page, &watch->above);
        tb_buf_put_u8(&watch->above, '\n');
    } else if (!watch->json) {
        say_line(followed, page);
    }
    tb_json_free(page);
    return TB_EXIT_OK;
}

/* The live ones; sets *out_done when none is left. */
static int
say_all(struct watch *watch, const struct tb_json *answer, bool *out_done,
        struct tb_api_why *why)
{
    const struct tb_json *captures = tb_json_at(answer, "/captures");

    for (size_t i = 0; i < watch->followed_count; i++) {
        watch->followed[i].listed = false;
    }
    for (size_t i = 0; i < tb_json_count(captures); i++) {
        const char *id = tb_json_str(tb_json_item(captures, i), "/id");
        struct followed *followed = id != NULL ? follow(watch, id) : NULL;

        if (followed == NULL) {
            continue;
        }
        followed->listed = true;
        if (!watch->json && !watch->screen.is_terminal) {
            say_line(followed, tb_json_item(captures, i));
        }
    }
    for (size_t i = 0; i < watch->followed_count;) {
        int status = TB_EXIT_OK;

        if (watch->followed[i].listed) {
            i++;
            continue;
        }
        status = say_end(watch, &watch->followed[i], why);
        if (status != TB_EXIT_OK) {
            return status;
        }
        tb_buf_release(&watch->followed[i].line);
        watch->followed[i] = watch->followed[--watch->followed_count];
    }
    *out_done = tb_json_count(captures) == 0;
    return TB_EXIT_OK;
}

static void
draw(struct watch *watch, const struct tb_json *answer, const char *trouble)
{
    struct tb_buf text = TB_BUF_INIT(VIEW_MAX_BYTES);

    if (answer == NULL) {
        tb_buf_put_str(&text, "");
    } else if (watch->capture != NULL) {
        double seconds =
            (double)(tb_clock_boot_ns() - watch->before_boot_ns) / (double)TB_NS_PER_S;

        tb_watch_page(answer, answer == watch->before ? NULL : watch->before, seconds, &text);
    } else if (tb_json_count(tb_json_at(answer, "/captures")) > 0) {
        tb_watch_table(tb_json_at(answer, "/captures"), &text);
    }
    if (trouble != NULL) {
        tb_buf_printf(&text, "  no answer from tapbox, asking again: %s\n", trouble);
    }
    tb_screen_draw(&watch->screen, tb_buf_str(&watch->above), tb_buf_str(&text));
    tb_buf_reset(&watch->above);
    tb_buf_release(&text);
}

/* Everything that an answer has to say; sets *out_done when it was the last one. */
static int
say(struct watch *watch, const struct tb_json *answer, bool *out_done, struct tb_api_why *why)
{
    int status = TB_EXIT_OK;

    if (watch->json) {
        struct tb_buf line = TB_BUF_INIT(VIEW_MAX_BYTES);
        struct tb_fail fail = {0};

        if (tb_json_dump(answer, false, &line, &fail) != TB_OK) {
            tb_buf_release(&line);
            return tb_cli_fail("watch", &fail);
        }
        printf("%s\n", tb_buf_str(&line));
        tb_buf_release(&line);
    }
    if (watch->capture == NULL) {
        status = say_all(watch, answer, out_done, why);
    } else {
        *out_done = tb_watch_is_final(answer);
        if (*out_done) {
            note_end(watch, answer);
        }
        if (!watch->json && !watch->screen.is_terminal) {
            struct followed *followed = follow(watch, watch->capture);

            say_line(followed, answer);
        }
    }
    if (status == TB_EXIT_OK && watch->screen.is_terminal) {
        draw(watch, answer, NULL);
    }
    if (status == TB_EXIT_OK) {
        status = tb_cli_finish_stdout("watch");
    }
    return status;
}

/* --- the loop --- */

static void
block_signals(sigset_t *out_taken, sigset_t *out_before)
{
    static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

    (void)sigemptyset(out_taken);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        (void)sigaddset(out_taken, taken[i]);
    }
    (void)sigprocmask(SIG_BLOCK, out_taken, out_before);
}

/* Waits for the next second; the signal that ends it, or 0. */
static int
wait_for_next(struct watch *watch, const sigset_t *taken, int64_t until_boot_ns)
{
    for (;;) {
        int64_t left_ns = until_boot_ns - tb_clock_boot_ns();
        struct timespec left;
        int got;

        if (left_ns <= 0) {
            return 0;
        }
        left = (struct timespec){.tv_sec = left_ns / TB_NS_PER_S,
                                 .tv_nsec = left_ns % TB_NS_PER_S};
        got = sigtimedwait(taken, NULL, &left);
        if (got == SIGTSTP) {
            tb_screen_end(&watch->screen);
            (void)raise(SIGSTOP);
            if (watch->screen.is_terminal) {
                tb_screen_resume(&watch->screen);
            }
        } else if (got == SIGWINCH) {
            watch->screen.lines = 0; /* where they are now is not known */
        } else if (got > 0) {
            return got;
        }
    }
}

static void
tell(const struct tb_api_why *why)
{
    fprintf(stderr, "tapbox watch: %s\n%s%s%s", why->text, why->hint[0] != '\0' ? "  " : "",
            why->hint, why->hint[0] != '\0' ? "\n" : "");
}

/* Until the last capture has ended: *out_signal is 0 then. */
static int
run(struct watch *watch, const sigset_t *taken, int *out_signal)
{
    char path[64 + TB_CAPTURE_ID_SIZE] = "/v1/captures?live=1&limit=1000";
    int64_t answered_ns = 0, next_ns = tb_clock_boot_ns();
    bool done = false;

    if (watch->capture != NULL) {
        (void)snprintf(path, sizeof(path), "/v1/captures/%s", watch->capture);
    }
    for (;;) {
        struct tb_json *answer = NULL;
        struct tb_api_why why = {"", ""};
        int status =
            tb_api_ask(watch->api, &(struct tb_api_call){"watch", "GET", path, NULL, NULL},
                       &answer, NULL, &why);

        if (status == TB_EXIT_OK) {
            status = say(watch, answer, &done, &why);
        }
        if (status == TB_EXIT_OK) {
            tb_json_free(watch->before);
            watch->before = answer;
            watch->before_boot_ns = answered_ns = tb_clock_boot_ns();
        } else {
            tb_json_free(answer);
            /* the first time, and what does not pass, ends it */
            if (answered_ns == 0 || status != TB_EXIT_UNREACHABLE ||
                tb_clock_boot_ns() - answered_ns > give_up_ns) {
                if (why.text[0] != '\0') {
                    tell(&why);
                }
                return status;
            }
            if (watch->screen.is_terminal) {
                draw(watch, watch->before, why.text);
            }
        }
        if (done) {
            return watch->status;
        }
        next_ns += period_ns;
        if (next_ns < tb_clock_boot_ns()) {
            next_ns = tb_clock_boot_ns();
        }
        *out_signal = wait_for_next(watch, taken, next_ns);
        if (*out_signal != 0) {
            return TB_EXIT_OK;
        }
    }
}

static int
watch_until_end(const struct tb_api_options *options, const char *capture)
{
    struct watch watch = {.json = options->json,
                          .capture = capture,
                          .above = TB_BUF_INIT(VIEW_MAX_BYTES),
                          .status = TB_EXIT_OK};
    sigset_t taken, before;
    int ended_by = 0;
    int status = tb_api_open(options, "watch", &watch.api);

    if (status != TB_EXIT_OK) {
        return status;
    }
    watch.followed = calloc(AT_ONCE, sizeof(*watch.followed));
    if (watch.followed == NULL) {
        tb_api_close(watch.api);
        return tb_cli_fail("watch", &(struct tb_fail){.err = TB_ENOMEM});
    }
    block_signals(&taken, &before);
    if (!watch.json) {
        (void)tb_screen_begin(&watch.screen);
    }
    status = run(&watch, &taken, &ended_by);
    tb_screen_end(&watch.screen);
    if (status == TB_EXIT_OK && ended_by == 0 && capture == NULL && !watch.json) {
        puts("No capture is alive.");
    }
    for (size_t i = 0; i < watch.followed_count; i++) {
        tb_buf_release(&watch.followed[i].line);
    }
    free(watch.followed);
    tb_json_free(watch.before);
    tb_buf_release(&watch.above);
    tb_api_close(watch.api);
    if (ended_by != 0) {
        (void)signal(ended_by, SIG_DFL);
        (void)raise(ended_by); /* as the shell expects; it comes when it is let through */
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

int
tb_cmd_watch(int argc, char **argv)
{
    static const struct option options[] = {
        TB_API_OPTIONS,
        {"pcap", no_argument, NULL, 'p'},
        {"bpf", required_argument, NULL, 'b'},
        {"from-start", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct tb_api_options api = {.patience_ns = patience_ns};
    bool is_pcap = false, from_start = false;
    const char *bpf = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return tb_cli_finish_stdout("watch");
        }
        if (option == 'p') {
            is_pcap = true;
        } else if (option == 'b') {
            bpf = optarg;
        } else if (option == 's') {
            from_start = true;
        } else if (!tb_api_option(&api, option, optarg)) {
            return tb_cli_try_help("watch");
        }
    }
    if (is_pcap && (optind == argc || api.json)) {
        return tb_cli_usage("watch", "--pcap is for one CAPTURE, and without --json");
    }
    if (!is_pcap && (bpf != NULL || from_start)) {
        return tb_cli_usage("watch", "--bpf and --from-start go with --pcap");
    }
    if (optind + 1 < argc) {
        return tb_cli_usage("watch", "'%s' is one argument too many", argv[optind + 1]);
    }
    if (optind < argc && !tb_capture_id_valid(argv[optind])) {
        return tb_cli_usage("watch", "'%s' is not a capture's id (cap-...)", argv[optind]);
    }
    if (is_pcap) {
        return tb_watch_pcap(&api, argv[optind], bpf, from_start);
    }
    return watch_until_end(&api, optind < argc ? argv[optind] : NULL);
}

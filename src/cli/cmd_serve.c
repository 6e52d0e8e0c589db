/*
 * tapbox serve: the service.  Start-up in order, shut-down in reverse, both here.
 *
 * Threads: main          waits for signals: stop, and the end of its own recorder
 *          summary       src/summary/live.c
 *          upload (n)    src/upload/uploader.c
 *          control (n)   src/control/control.c
 *          HTTP (n)      src/http/server.c
 *          sns confirm   src/sns/confirm.c
 *          queue (n)     src/intake/queue.c
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include <tapbox/compartment.h>
#include <tapbox/http_server.h>
#include <tapbox/io.h>
#include <tapbox/policy_file.h>
#include <tapbox/pubkey.h>

#include "cli_int.h"

static const int64_t recorder_stop_ns = 10 * TB_NS_PER_S;   /* to seal what is open */
static const int64_t recorder_restart_ns = TB_NS_PER_S / 2; /* not faster than this */
static const int64_t recorder_restart_most_ns =
    10 * TB_NS_PER_S;                                      /* for one that cannot start */
static const int64_t recorder_lived_ns = 10 * TB_NS_PER_S; /* so long it was well */
static const int64_t taps_look_ns = TB_NS_PER_S; /* without an API: are they all down */

/* Everything that is started, in the order in which it is; zero or -1: not yet. */
struct service {
    struct tb_config config;
    struct tb_rules *rules; /* config's policy borrows them */
    const char *config_path;
    bool with_recorder;
    sigset_t signals;
    int signal_fd;
    int state_fd;
    int spool_fd;
    int listen_fd; /* bound early, the server's once that starts */
    char spool_path[300];
    char socket_path[300];
    struct tb_http_client *http;
    struct tb_aws *aws;
    struct tb_store *store;
    struct tb_signing_key *key;
    pid_t recorder_pid;
    int recorder_fd; /* keeps the child's end of life known to it */
    int64_t recorder_started_ns;
    int64_t recorder_pause_ns; /* before it is started again */
    struct tb_recorder_link *link;
    struct tb_s3_bucket bucket;
    struct tb_uploader *uploader;
    struct tb_control *control;
    struct tb_summary_live *summaries;
    struct tb_sns *sns;
    struct tb_http_server *server;
    struct tb_queue *queue;
    struct tb_queue_counters queue_counters;
    bool configured;
    struct tb_fail no_api; /* why it is not opened, and only what is tapped is minded */
};

static void
print_help(void)
{
    fputs(
        "Usage: tapbox serve [--config FILE] [--with-recorder]\n"
        "\n"
        "Runs the service: takes alerts and requests over HTTP, makes and removes the mirror\n"
        "sessions, uploads what the recorder seals.  Ends on SIGTERM or SIGINT; captures that\n"
        "run go on at the next start, and their deadlines stand.  When its port, tokens, TLS "
        "or\n"
        "key fail it begins no capture, and ends once those that run are taken down.\n"
        "\n"
        "  --config FILE      configuration (default " TB_CLI_CONFIG ")\n"
        "  --with-recorder    also start the recorder, as a process of its own; else it is\n"
        "                     expected at recorder.socket ('tapbox record')\n"
        "\n"
        "AWS: region, credentials and endpoints come from the standard environment\n"
        "(AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, ...), files, web identity tokens,\n"
        "the container's agent (ECS, EKS Pod Identity) and instance metadata.\n",
        stdout);
}

static enum tb_err
start_recorder(struct service *service, struct tb_fail *fail)
{
    const struct tb_config *config = &service->config;
    char ring[32];
    char lanes[16];
    char memory[32];
    char level[16];
    char limit[32];
    char min_free[32];
    const char *argv[] = {"tapbox",
                          "record",
                          "--interface",
                          config->recorder_interface,
                          "--socket",
                          service->socket_path,
                          "--spool",
                          service->spool_path,
                          "--ring",
                          ring,
                          "--lanes",
                          lanes,
                          "--memory",
                          memory,
                          "--level",
                          level,
                          "--spool-limit",
                          limit,
                          "--min-free",
                          min_free,
                          NULL};

    (void)snprintf(ring, sizeof(ring), "%" PRIu64, config->recorder_ring_bytes);
    (void)snprintf(lanes, sizeof(lanes), "%u", config->recorder_lanes);
    (void)snprintf(memory, sizeof(memory), "%" PRIu64, config->recorder_slab_bytes);
    (void)snprintf(level, sizeof(level), "%d", config->recorder_level);
    (void)snprintf(limit, sizeof(limit), "%" PRIu64, config->spool_limit_bytes);
    (void)snprintf(min_free, sizeof(min_free), "%" PRIu64, config->spool_min_free_bytes);
    service->recorder_started_ns = tb_clock_boot_ns();
    service->recorder_pause_ns =
        service->recorder_pause_ns == 0 ? recorder_restart_ns : 2 * service->recorder_pause_ns;
    if (service->recorder_pause_ns > recorder_restart_most_ns) {
        service->recorder_pause_ns = recorder_restart_most_ns;
    }
    return tb_compartment_start(argv, &service->recorder_pid, &service->recorder_fd, fail);
}

/*
 * After a service that was killed, its recorder seals what it has and only then lets go of the
 * spool: ours would be refused meanwhile.  Waiting for longer than that takes, or for somebody
 * else's recorder, is left to the recorder's own refusal.
 */
static void
await_former_recorder(const struct service *service)
{
    int64_t until = tb_clock_boot_ns() + recorder_stop_ns;

    while (flock(service->spool_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
           tb_clock_boot_ns() < until) {
        struct pollfd wait = {.fd = service->signal_fd, .events = POLLIN};

        if (poll(&wait, 1, 20) > 0) {
            break; /* a signal: whatever comes next looks at it */
        }
    }
    (void)flock(service->spool_fd, LOCK_UN);
}

/* The recorder that could not start has said why on stderr: then we do not start either. */
static enum tb_err
await_recorder(struct service *service, struct tb_fail *fail)
{
    struct tb_recorder_host host;
    int64_t until = tb_clock_boot_ns() + 10 * TB_NS_PER_S;
    enum tb_err err = TB_ECLOSED;

    while (err != TB_OK && tb_clock_boot_ns() < until) {
        struct pollfd wait = {.fd = service->signal_fd, .events = POLLIN};
        int status;

        if (waitpid(service->recorder_pid, &status, WNOHANG) == service->recorder_pid) {
            service->recorder_pid = 0;
            if (WIFSIGNALED(status)) { /* it refused nothing, somebody killed it */
                tb_close(&service->recorder_fd);
                err = start_recorder(service, fail);
                if (err == TB_OK) {
                    err = TB_ECLOSED;
                    continue;
                }
                return err;
            }
            return tb_fail_set(fail, TB_EIO,
                               "the recorder could not start (its reason is above)");
        }
        err = tb_recorder_host(service->link, &host, fail);
        if (err != TB_OK) {
            (void)poll(&wait, 1, 20); /* a signal, or a moment */
        }
    }
    return err;
}

/* Whether a service before us left captures that may still be tapping: whoever else is missing,
 * somebody has to take them down. */
static bool
has_taps(struct service *service)
{
    struct tb_due *due = NULL;
    struct tb_fail fail;
    size_t count = 0;
    bool taps = false;

    if (tb_store_due_list(service->store, &due, &count, &fail) != TB_OK) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        taps = taps || tb_capture_state_is_live(due[i].state);
    }
    free(due);
    return taps;
}

/* The configured key has to be there; the one in the state directory is made when it is not. */
static enum tb_err
open_key(struct service *service, struct tb_fail *fail)
{
    const char *configured = service->config.evidence_key_file;
    char path[300];
    enum tb_err err;

    if (configured[0] != 0) {
        err = tb_signing_key_load(configured, &service->key, fail);
        if (err == TB_ENOTFOUND) {
            err =
                tb_fail_set(fail, TB_ENOTFOUND,
                            "there is no key %s (evidence.key_file); 'tapbox keygen' makes one",
                            configured);
        }
        return err;
    }
    (void)snprintf(path, sizeof(path), "%s/evidence.key", service->config.state_dir);
    err = tb_signing_key_load(path, &service->key, fail);
    if (err != TB_ENOTFOUND) {
        return err;
    }
    err = tb_signing_key_new(&service->key, fail);
    if (err == TB_OK) {
        err = tb_signing_key_save(service->key, path, fail);
    }
    if (err == TB_OK) {
        tb_log(TB_LOG_INFO, NULL, "made the key that signs manifests: %s (public: %s.pub)",
               path, path);
    }
    return err;
}

/* The key that signs from now on; none after a failure. */
static enum tb_err
use_key(struct service *service, struct tb_fail *fail)
{
    enum tb_err err = open_key(service, fail);

    if (err == TB_OK) {
        err = tb_store_key_use(service->store, tb_signing_key_public(service->key), fail);
    }
    if (err != TB_OK) {
        tb_signing_key_free(service->key);
        service->key = NULL;
        return err;
    }
    tb_log(TB_LOG_INFO, NULL, "signing with key %s", tb_signing_key_fingerprint(service->key));
    return TB_OK;
}

/* What others call, as far as it can be missing or in use. */
static enum tb_err
open_api(struct service *service, struct tb_fail *fail)
{
    const struct tb_config *config = &service->config;
    struct tb_sns_settings sns = {.store = service->store,
                                  .topics = config->sns_topics,
                                  .least_version = config->sns_least_version,
                                  .window_ns = config->sns_window_ns,
                                  .ca_file = config->sns_ca_file};
    enum tb_err err = tb_http_listen(config, &service->listen_fd, fail);

    if (err == TB_OK) {
        err = tb_sns_start(&sns, &service->sns, fail);
    }
    if (err != TB_OK) {
        tb_close(&service->listen_fd); /* nobody waits there for an answer */
    }
    return err;
}

/* Nobody could watch or stop what began now; and whoever waits for the sign of life is to hear
 * none. */
static void
begin_nothing(struct tb_config *config)
{
    config->max_concurrent = 0;
    config->extend_when_seen_ns = 0;
    config->cloudwatch_namespace[0] = '\0';
}

static void
queue_took(void *arg, const struct tb_intake_result *result)
{
    struct service *service = arg;

    tb_http_server_took(service->server, result);
}

static void
wake_control(void *arg)
{
    tb_control_wake(arg);
}

static enum tb_err
start(struct service *service, struct tb_fail *fail)
{
    struct tb_config *config = &service->config;
    enum tb_err err;

    err = tb_config_load(service->config_path, config, fail);
    if (err == TB_OK) {
        err = tb_policy_load(config, &service->rules, fail);
        config->policy.rules = service->rules;
    }
    if (err != TB_OK) {
        return err;
    }
    service->configured = true;
    tb_log_start("serve", config->log_level);
    (void)sigemptyset(&service->signals);
    (void)sigaddset(&service->signals, SIGTERM);
    (void)sigaddset(&service->signals, SIGINT);
    (void)sigaddset(&service->signals, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &service->signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that hangs up is an error of that write */
    service->signal_fd = signalfd(-1, &service->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (service->signal_fd < 0) {
        return tb_fail_errno(fail, errno, "cannot make a signalfd");
    }
    err = tb_http_client_new(&service->http, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_aws_new(service->http, config->region, &service->aws, fail);
    if (err != TB_OK) {
        return err;
    }
    err = tb_open_dir(AT_FDCWD, config->state_dir, 0700, &service->state_fd, fail);
    if (err != TB_OK) {
        return err;
    }
    (void)snprintf(service->spool_path, sizeof(service->spool_path), "%s/spool",
                   config->state_dir);
    err = tb_open_dir(service->state_fd, "spool", 0700, &service->spool_fd, fail);
    if (err != TB_OK) {
        return err;
    }
    char store_path[300];
    (void)snprintf(store_path, sizeof(store_path), "%s/tapbox.db", config->state_dir);
    err = tb_store_open(store_path, &service->store, fail);
    if (err != TB_OK) {
        return err;
    }
    err = use_key(service, fail);
    if (err == TB_OK) {
        err = open_api(service, fail);
    }
    if (err != TB_OK && !has_taps(service)) {
        return err;
    }
    if (err != TB_OK) {
        service->no_api = *fail;
        tb_log_fail(TB_LOG_ERROR, NULL, &service->no_api,
                    "going on without the API, until what is tapped is taken down");
        begin_nothing(config);
    }
    if (service->with_recorder) {
        /* Relative to the state folder: a socket's path has room for 107 characters. */
        if (fchdir(service->state_fd) != 0) {
            return tb_fail_errno(fail, errno, "cannot go to %s", config->state_dir);
        }
        (void)tb_str_copy(service->socket_path, sizeof(service->socket_path), "recorder.sock");
        await_former_recorder(service);
        err = start_recorder(service, fail);
        if (err != TB_OK) {
            return err;
        }
    } else {
        (void)tb_str_copy(service->socket_path, sizeof(service->socket_path),
                          config->recorder_socket);
    }
    err = tb_recorder_link_open(service->socket_path, -1, &service->link, fail);
    if (err != TB_OK) {
        return err;
    }
    if (service->with_recorder) {
        err = await_recorder(service, fail);
        if (err != TB_OK && has_taps(service)) {
            tb_log_fail(TB_LOG_ERROR, NULL, fail,
                        "going on without a recorder, to take down what is tapped");
        } else if (err != TB_OK) {
            return err;
        }
    }
    service->bucket = (struct tb_s3_bucket){
        .name = config->s3_bucket,
        .path_style = config->s3_path_style,
        .expected_owner = config->s3_expected_owner[0] != 0 ? config->s3_expected_owner : NULL,
        .posture = {.sse = config->s3_sse,
                    .kms_key = config->s3_kms_key,
                    .lock_mode = config->s3_object_lock_mode,
                    .retention_s = config->s3_retention_ns / TB_NS_PER_S,
                    .legal_hold = config->s3_legal_hold,
                    .storage_class = config->s3_storage_class,
                    .tags = config->s3_tags},
    };
    if (config->s3_reader_role[0] != '\0') {
        err = tb_aws_assume(service->aws, config->s3_reader_role, NULL, config->owner,
                            &service->bucket.reader, fail);
        if (err != TB_OK) {
            return err;
        }
    }
    struct tb_uploader_deps upload = {
        .store = service->store,
        .aws = service->aws,
        .bucket = service->bucket,
        .prefix = config->s3_prefix,
        .key = service->key,
        .spool_fd = service->spool_fd,
        .threads = config->s3_threads,
        .part_above_bytes = config->s3_part_above_bytes,
        .part_bytes = config->s3_part_bytes,
    };
    err = tb_uploader_start(&upload, &service->uploader, fail);
    if (err != TB_OK) {
        return err;
    }
    struct tb_control_deps control = {
        .config = config,
        .store = service->store,
        .aws = service->aws,
        .recorder = service->link,
        .uploader = service->uploader,
        .key = service->key,
        .bucket = service->bucket,
        .spool_fd = service->spool_fd,
    };
    err = tb_control_start(&control, &service->control, fail);
    if (err != TB_OK) {
        return err;
    }
    struct tb_summary_live_deps summary = {
        .store = service->store,
        .spool_fd = service->spool_fd,
        .extend_ns = config->extend_when_seen_ns,
        .most_duration_ns = config->policy.bounds.max_duration_ns,
        .wake = wake_control,
        .arg = service->control,
    };
    err = tb_summary_live_start(&summary, &service->summaries, fail);
    if (err != TB_OK) {
        return err;
    }
    if (service->no_api.err != TB_OK) {
        return TB_OK;
    }
    struct tb_http_server_deps server = {
        .config = config,
        .store = service->store,
        .control = service->control,
        .spool_fd = service->spool_fd,
        .summaries = service->summaries,
        .sns = service->sns,
        .queue = config->sqs_queue_url[0] != 0 ? &service->queue_counters : NULL};
    err = tb_http_server_start(&server, service->listen_fd, &service->server, fail);
    service->listen_fd = -1;
    if (err != TB_OK || config->sqs_queue_url[0] == 0) {
        return err;
    }
    struct tb_queue_deps queue = {.store = service->store,
                                  .aws = service->aws,
                                  .policy = &config->policy,
                                  .sns = service->sns,
                                  .url = config->sqs_queue_url,
                                  .pollers = config->sqs_pollers,
                                  .visibility_s = config->sqs_visibility_s,
                                  .taken = queue_took,
                                  .arg = service,
                                  .counters = &service->queue_counters};
    return tb_queue_start(&queue, &service->queue, fail);
}

static void
stop(struct service *service)
{
    tb_queue_stop(service->queue);
    tb_http_server_stop(service->server);
    tb_sns_stop(service->sns);
    tb_summary_live_stop(service->summaries);
    tb_control_wind_down(service->control); /* what it takes down goes on: S3 may be slow */
    tb_uploader_stop(service->uploader);
    tb_control_stop(service->control);
    tb_recorder_link_close(service->link);
    if (service->recorder_pid > 0) {
        tb_compartment_stop(service->recorder_pid, recorder_stop_ns);
    }
    tb_close(&service->recorder_fd);
    tb_close(&service->listen_fd);
    tb_signing_key_free(service->key);
    tb_store_close(service->store);
    tb_close(&service->spool_fd);
    tb_close(&service->state_fd);
    tb_aws_free(service->aws);
    tb_http_client_free(service->http);
    tb_rules_free(service->rules);
    tb_close(&service->signal_fd);
}

/* The recorder we started has ended: what it was recording goes on in a new one. */
static void
mind_recorder(struct service *service)
{
    struct tb_fail fail;
    int status = 0;

    if (service->recorder_pid > 0 &&
        waitpid(service->recorder_pid, &status, WNOHANG) == service->recorder_pid) {
        service->recorder_pid = 0;
        tb_close(&service->recorder_fd);
        if (tb_clock_boot_ns() - service->recorder_started_ns >= recorder_lived_ns) {
            service->recorder_pause_ns = recorder_restart_ns;
        }
        tb_log(TB_LOG_ERROR, NULL, "the recorder ended (%s %d) and is started again",
               WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    if (service->with_recorder && service->recorder_pid == 0 &&
        tb_clock_boot_ns() - service->recorder_started_ns >= service->recorder_pause_ns &&
        start_recorder(service, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_ERROR, NULL, &fail, "cannot start the recorder");
    }
}

/* How often systemd's watchdog (WatchdogSec=) wants to hear of us; -1: it does not. */
static int
watchdog_ms(void)
{
    uint64_t usec;

    return sd_watchdog_enabled(0, &usec) > 0 ? (int)(usec / 3000) : -1;
}

/* A store that hangs is what a restart mends; one that refuses is not, and /readyz tells it. */
static void
feed_watchdog(struct service *service)
{
    struct tb_fail fail;

    if (tb_store_check(service->store, &fail) != TB_OK) {
        tb_log_fail(TB_LOG_WARN, NULL, &fail, "the store");
    }
    (void)sd_notify(0, "WATCHDOG=1");
}

/* Until a signal, or without an API until nothing is tapped any more. */
static void
run(struct service *service)
{
    bool has_api = service->no_api.err == TB_OK;
    int dog_ms = watchdog_ms();

    for (;;) {
        struct pollfd wait = {.fd = service->signal_fd, .events = POLLIN};
        struct signalfd_siginfo info;
        bool minding = service->with_recorder && service->recorder_pid == 0;
        int wait_ms = minding ? (int)(recorder_restart_ns / TB_NS_PER_MS) : -1;
        int look_ms = (int)(taps_look_ns / TB_NS_PER_MS);

        if (!has_api) {
            wait_ms = wait_ms < 0 || look_ms < wait_ms ? look_ms : wait_ms;
        }
        if (dog_ms > 0) {
            feed_watchdog(service);
            wait_ms = wait_ms < 0 || dog_ms < wait_ms ? dog_ms : wait_ms;
        }
        (void)poll(&wait, 1, wait_ms);
        while (read(service->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
            if (info.ssi_signo != SIGCHLD) {
                tb_log(TB_LOG_INFO, NULL, "stopping on signal %u", info.ssi_signo);
                return;
            }
        }
        mind_recorder(service);
        if (!has_api && !has_taps(service)) {
            tb_log(TB_LOG_INFO, NULL, "what was tapped is taken down");
            return;
        }
    }
}

int
tb_cmd_serve(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"with-recorder", no_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct service service = {.config_path = TB_CLI_CONFIG,
                              .signal_fd = -1,
                              .state_fd = -1,
                              .spool_fd = -1,
                              .listen_fd = -1,
                              .recorder_fd = -1};
    struct tb_fail fail = {0};
    int status = TB_EXIT_OK;
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            service.config_path = optarg;
            break;
        case 'r':
            service.with_recorder = true;
            break;
        case 'h':
            print_help();
            return tb_cli_finish_stdout("serve");
        default:
            return tb_cli_try_help("serve");
        }
    }
    if (optind < argc) {
        return tb_cli_usage("serve", "'%s' is one argument too many", argv[optind]);
    }
    tb_log_start("serve", TB_LOG_INFO);
    tb_cli_log_to_journal();
    if (start(&service, &fail) != TB_OK) {
        status = tb_cli_fail("serve", &fail);
        if (!service.configured) {
            tb_cli_say_live_taps(service.config.state_dir);
        }
    } else if (service.no_api.err != TB_OK) {
        (void)sd_notifyf(0, "STATUS=No API, only takes down what is tapped: %s",
                         service.no_api.text);
        run(&service);
        status = tb_cli_fail("serve", &service.no_api);
    } else {
        tb_log(TB_LOG_INFO, NULL, "ready on %s:%u region=%s bucket=%s",
               service.config.listen_address, tb_http_server_port(service.server),
               tb_aws_region(service.aws), service.config.s3_bucket);
        (void)sd_notify(0, "READY=1");
        run(&service);
        (void)sd_notify(0, "STOPPING=1");
    }
    stop(&service);
    return status;
}

/*
 * awsim: the part of AWS that tapbox talks to, in one process.  See README.md.
 *
 * Threads: one per HTTP connection (libmicrohttpd), one per mirrored port (plane.c), and this
 * one, which starts everything, waits for a signal and takes it down in reverse.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "control.h"
#include "faults.h"
#include "ghost.h"
#include "history.h"
#include "http.h"
#include "idempotency.h"
#include "identity.h"
#include "imds.h"
#include "plane.h"
#include "world.h"

static const char usage[] =
    "usage: awsim --world FILE [--port-file FILE]\n"
    "  --world FILE      what exists: accounts, networks, instances, interfaces\n"
    "  --port-file FILE  the API's TCP port is written here once it listens\n"
    "SIGTERM or SIGINT ends it.\n";

struct servers {
    struct http_server *api;
    struct http_server *imds;
    struct http_server *control;
};

/* The file appears whole: whoever waits for it reads a number. */
static bool
write_port(const char *path, int port)
{
    char hidden[4096];
    snprintf(hidden, sizeof(hidden), "%s.new", path);
    FILE *f = fopen(hidden, "we");
    if (f == NULL) {
        return false;
    }
    bool good = fprintf(f, "%d\n", port) > 0;
    good = fclose(f) == 0 && good;
    return good && rename(hidden, path) == 0;
}

static bool
complain(const char *what, const char *where)
{
    fprintf(stderr, "awsim: %s %s: %s\n", what, where, strerror(errno));
    return false;
}

static bool
start_servers(struct state *st, struct api *api, struct imds *imds, struct control *control,
              const char *port_file, struct servers *out)
{
    int port = 0;
    int unused;
    int fd = listen_tcp(&st->api, &port);
    if (fd < 0 || (out->api = http_start(fd, api_handle, api)) == NULL) {
        return complain("cannot listen for the API on", st->api.address);
    }
    if (st->imds.port >= 0) {
        fd = listen_tcp(&st->imds, &unused);
        if (fd < 0 || (out->imds = http_start(fd, imds_handle, imds)) == NULL) {
            return complain("cannot listen for IMDS on", st->imds.address);
        }
        identity_prepare();
    }
    if (st->control_path[0] != '\0') {
        fd = listen_unix(st->control_path);
        if (fd < 0 || (out->control = http_start(fd, control_handle, control)) == NULL) {
            return complain("cannot listen on", st->control_path);
        }
    }
    if (port_file != NULL && !write_port(port_file, port)) {
        return complain("cannot write", port_file);
    }
    fprintf(stderr, "awsim: %s in %s, API on %s:%d\n", st->accounts->id, st->region,
            st->api.address, port);
    return true;
}

static int
serve(struct state *st, const char *port_file)
{
    char why[256];
    struct servers servers = {0};
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL); /* before any thread: only sigwait takes them */
    signal(SIGPIPE, SIG_IGN);

    int status = EXIT_FAILURE;
    struct plane *plane = plane_new(st);
    struct faults *faults = faults_new();
    struct api *api = api_new(st, plane, faults);
    struct imds *imds = imds_new(st, faults);
    struct control control = {st, plane, api, faults};
    if (!plane_start(plane, why, sizeof(why))) {
        fprintf(stderr, "awsim: %s\n", why);
    } else if (start_servers(st, api, imds, &control, port_file, &servers)) {
        int signal_number;
        sigwait(&stop, &signal_number);
        status = EXIT_SUCCESS;
    }
    faults_stop(faults);
    http_stop(servers.control);
    http_stop(servers.imds);
    http_stop(servers.api);
    plane_stop(plane);
    imds_free(imds);
    api_free(api);
    faults_free(faults);
    if (st->control_path[0] != '\0') {
        unlink(st->control_path);
    }
    return status;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"world", required_argument, NULL, 'w'},
                                            {"port-file", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *world = NULL;
    const char *port_file = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'w':
            world = optarg;
            break;
        case 'p':
            port_file = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (world == NULL || optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    static struct state st;
    char why[1024];
    state_init(&st);
    if (!world_load(world, &st, why, sizeof(why))) {
        fprintf(stderr, "awsim: %s: %s\n", world, why);
        state_free(&st);
        return EXIT_FAILURE;
    }
    int status = serve(&st, port_file);
    idempotency_free(&st);
    ghosts_free(&st);
    history_free(&st);
    state_free(&st);
    return status;
}

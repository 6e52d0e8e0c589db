/* The HTTP side of serve (libmicrohttpd): routes, tokens, answers. */
#ifndef TAPBOX_HTTP_SERVER_H
#define TAPBOX_HTTP_SERVER_H

#include <tapbox/control.h>
#include <tapbox/queue.h>
#include <tapbox/sns.h>
#include <tapbox/summary_live.h>

struct tb_http_server;

struct tb_http_server_deps { /* all borrowed, outlive the server */
    const struct tb_config *config;
    struct tb_store *store;
    struct tb_control *control;            /* NULL: nothing is woken, and /readyz says so */
    int spool_fd;                          /* what streams are read from */
    const struct tb_queue_counters *queue; /* NULL: there is no queue */
    struct tb_summary_live *summaries;     /* NULL: none are made */
    struct tb_sns *sns;                    /* NULL: none is listened to */
};

/* Looks at the token file and the files of TLS, and binds the configured address, so that what
 * is wrong with them is known before anything is started: a port in use (TB_EIO, with what to
 * do), and the errors of tb_http_server_start.  Callers are answered once the server runs. */
TB_NODISCARD enum tb_err tb_http_listen(const struct tb_config *config, int *out_fd,
                                        struct tb_fail *fail);
/* `listen_fd` is the server's from here, also when it fails; -1: it binds by itself. TB_EDENIED
 * and TB_EFORMAT say what is wrong with the token file (without one nobody may call) or, with
 * TB_ENOTFOUND and TB_EINVAL, with those of TLS. */
TB_NODISCARD enum tb_err tb_http_server_start(const struct tb_http_server_deps *deps,
                                              int listen_fd, struct tb_http_server **out,
                                              struct tb_fail *fail);
/* No new requests; running ones are answered. */
void tb_http_server_stop(struct tb_http_server *server);
/* An alert was committed that came by another way than HTTP: counted and acted on like those.
 */
void tb_http_server_took(struct tb_http_server *server, const struct tb_intake_result *result);
uint16_t tb_http_server_port(const struct tb_http_server *server);

/* --- tokens --- */
enum tb_role {
    TB_ROLE_ALERT = 1,
    TB_ROLE_ANALYST = 2,
    TB_ROLE_RESPONDER = 4,
    TB_ROLE_SCRAPER = 8,
    TB_ROLE_ADMIN = 16 /* everything */
};
/* Makes a token, appends its salted hash with name and role to `path` (0640: the service may
 * read it through its group) and gives the token's text, once.  TB_EEXIST when the name is
 * taken. */
TB_NODISCARD enum tb_err tb_token_add(const char *path, const char *name, unsigned roles,
                                      struct tb_secret *out_token, struct tb_fail *fail);
/* Each token of the file, in its order; `roles` with commas.  Both are lent for the call. */
TB_NODISCARD enum tb_err
tb_token_list(const char *path, void (*each)(void *arg, const char *name, const char *roles),
              void *arg, struct tb_fail *fail);
/* Takes its line out of the file; a running service notices.  TB_ENOTFOUND: there is none. */
TB_NODISCARD enum tb_err tb_token_revoke(const char *path, const char *name,
                                         struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_role_parse(const char *text, unsigned *out_roles);

#endif

/* The HTTP side of serve (libmicrohttpd): routes, tokens, answers. */
#ifndef TAPBOX_HTTP_SERVER_H
#define TAPBOX_HTTP_SERVER_H

#include <tapbox/control.h>

struct tb_http_server;

struct tb_http_server_deps { /* all borrowed, outlive the server */
    const struct tb_config *config;
    struct tb_store *store;
    struct tb_control *control;
};

/* TB_EIO with what to do when the port is in use or the token file cannot be read. */
TB_NODISCARD enum tb_err tb_http_server_start(const struct tb_http_server_deps *deps,
                                              struct tb_http_server **out,
                                              struct tb_fail *fail);
/* No new requests; running ones are answered. */
void tb_http_server_stop(struct tb_http_server *server);
uint16_t tb_http_server_port(const struct tb_http_server *server);

/* --- tokens --- */
enum tb_role {
    TB_ROLE_ALERT = 1,
    TB_ROLE_ANALYST = 2,
    TB_ROLE_RESPONDER = 4,
    TB_ROLE_SCRAPER = 8,
    TB_ROLE_ADMIN = 16 /* everything */
};
/* Makes a token, appends its salted hash with name and role to `path` (0600) and gives the
 * token's text, once.  TB_EEXIST when the name is taken. */
TB_NODISCARD enum tb_err tb_token_add(const char *path, const char *name, unsigned roles,
                                      struct tb_secret *out_token, struct tb_fail *fail);
TB_NODISCARD enum tb_err tb_role_parse(const char *text, unsigned *out_roles);

#endif

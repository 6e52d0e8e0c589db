/* TLS of the API; see tls.c. */
#ifndef TAPBOX_HTTP_TLS_INT_H
#define TAPBOX_HTTP_TLS_INT_H

#include <microhttpd.h>
#include <stdbool.h>

#include <tapbox/err.h>

struct tb_tls; /* one a process: GnuTLS asks without saying for whom */

enum {
    TB_TLS_OPTIONS = 4 /* with the end */
};

/* Paths are borrowed; `client_ca_path` "" : nobody is asked for a certificate.  Errors name the
 * file: TB_ENOTFOUND, TB_EFORMAT, TB_EINVAL the key is another's. */
TB_NODISCARD enum tb_err tb_tls_start(const char *certificate_path, const char *key_path,
                                      const char *client_ca_path, struct tb_tls **out,
                                      struct tb_fail *fail);
/* After the daemon has ended. */
void tb_tls_stop(struct tb_tls *tls);
/* What the daemon is started with; NULL: only the end. */
size_t tb_tls_options(struct tb_tls *tls, struct MHD_OptionItem out[TB_TLS_OPTIONS]);
bool tb_tls_wants_clients(const struct tb_tls *tls);
/* Whether the other end has shown a certificate of the configured authority. */
bool tb_tls_client_is_known(struct MHD_Connection *connection);

#endif

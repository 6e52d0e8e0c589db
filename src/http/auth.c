/* Who is calling, and may they: the token in the headers, the roles of the route. */
#include <strings.h>

#include "http_int.h"
#include "tls_int.h"

enum {
    BASIC_MAX_BYTES = 2048, /* of decoded user and password */
    LOGGED_REFUSALS = 10    /* a second; the rest is only counted */
};

bool
tb_http_authorization_token(const char *value, struct tb_secret *out)
{
    struct tb_buf plain = TB_BUF_INIT(BASIC_MAX_BYTES);
    bool got = false;

    if (strncasecmp(value, "Bearer ", 7) == 0) {
        value += 7 + strspn(value + 7, " ");
        got = tb_secret_set(out, tb_bytes_str(value)) == TB_OK;
    } else if (strncasecmp(value, "Basic ", 6) == 0) {
        value += 6 + strspn(value + 6, " ");
        if (tb_buf_put_unbase64(&plain, value) && plain.len > 0) {
            const uint8_t *colon = memchr(plain.at, ':', plain.len);

            if (colon != NULL) {
                size_t at = (size_t)(colon - plain.at) + 1;

                got = tb_secret_set(out, tb_bytes_of(plain.at + at, plain.len - at)) == TB_OK;
            }
        }
    }
    if (plain.at != NULL) {
        tb_wipe(plain.at, plain.cap);
    }
    tb_buf_release(&plain);
    return got;
}

bool
tb_http_may_log_refusal(struct tb_http_server *server)
{
    int64_t now_s = tb_clock_boot_ns() / TB_NS_PER_S;
    bool log;

    tb_mutex_lock(&server->mu);
    if (server->locked.refusals_since_s != now_s) {
        server->locked.refusals_since_s = now_s;
        server->locked.refusals_logged = 0;
    }
    log = server->locked.refusals_logged++ < LOGGED_REFUSALS;
    tb_mutex_unlock(&server->mu);
    return log;
}

/* Counts every refusal and logs the first few of each second. */
static void
note_refusal(struct tb_http_call *call, enum tb_refusal why, const char *sentence)
{
    atomic_fetch_add(&call->server->counters.refusals[why], 1);
    if (tb_http_may_log_refusal(call->server)) {
        tb_log(TB_LOG_WARN, NULL, "refused %s %s from %s: %s%s%s", call->route->method,
               call->route->path, call->remote, sentence,
               call->token_name[0] != '\0' ? " of token " : "", call->token_name);
    }
}

/* False after leaving a 429 answer: `whose` calls come too fast. */
static bool
has_room(struct tb_http_call *call, struct tb_rates *rates, unsigned per_s, struct tb_bytes who,
         enum tb_refusal why, const char *whose)
{
    int64_t wait_ns = tb_rates_take(rates, per_s, who);

    if (wait_ns == 0) {
        return true;
    }
    note_refusal(call, why, "too many calls");
    tb_http_problem(call, TB_PROBLEM_TOO_MANY, "%s may make %u calls a second, and %u at once.",
                    whose, per_s, per_s * TB_RATE_BURST_S);
    call->answer.retry_after_s = (unsigned)((wait_ns + TB_NS_PER_S - 1) / TB_NS_PER_S);
    return false;
}

static bool
address_has_room(struct tb_http_call *call)
{
    uint8_t octets[TB_RATE_ADDRESS_BYTES];
    struct tb_bytes address = tb_rates_address(call->remote, octets);

    return address.len == 0 ||
           has_room(call, &call->server->addresses, call->server->deps.config->rate_per_address,
                    address, TB_REFUSAL_ADDRESS_RATE, "One address");
}

static void
refuse_role(struct tb_http_call *call, unsigned allowed)
{
    struct tb_buf hint = TB_BUF_INIT(128);

    tb_buf_put_str(&hint, "it takes the role ");
    tb_roles_put(&hint, allowed, " or ");
    tb_http_problem_with(call, TB_PROBLEM_FORBIDDEN, "hint", tb_buf_str(&hint),
                         "The token '%s' has no role that may do this.", call->token_name);
    tb_buf_release(&hint);
}

bool
tb_http_authenticate(struct tb_http_call *call)
{
    const char *authorization = tb_http_header_value(call, "Authorization");
    const char *key = tb_http_header_value(call, "X-Api-Key");
    struct tb_secret token = TB_SECRET_INIT;
    static const unsigned people = TB_ROLE_ANALYST | TB_ROLE_RESPONDER | TB_ROLE_ADMIN;
    unsigned roles = 0, allowed = call->route->roles | TB_ROLE_ADMIN;
    bool got, known;

    if (!address_has_room(call)) { /* before the work that a token makes */
        return false;
    }
    if (tb_http_is_from_sns(call) && tb_sns_listens(call->server->deps.sns)) {
        call->from_sns = true;
        return true;
    }
    got = authorization != NULL && tb_http_authorization_token(authorization, &token);
    if (!got && key != NULL) {
        got = tb_secret_set(&token, tb_bytes_str(key)) == TB_OK;
    }
    known = got && tb_tokens_find(call->server->tokens, tb_secret_view(&token),
                                  call->token_name, &roles);
    tb_secret_release(&token);
    if (!got) {
        bool sns = tb_http_header_value(call, TB_HTTP_SNS_TYPE) != NULL;

        note_refusal(call, TB_REFUSAL_NO_TOKEN,
                     sns ? "no token, and a message of SNS needs one unless it has a signature "
                           "and its topic is in sns.topics"
                         : "no token");
        tb_http_problem_with(call, TB_PROBLEM_UNAUTHORIZED, "hint",
                             "send 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN'; "
                             "'tapbox token add' makes a token",
                             "This call carries no token.");
        call->answer.challenge_basic = sns;
        return false;
    }
    if (!known) {
        note_refusal(call, TB_REFUSAL_UNKNOWN_TOKEN, "unknown token");
        tb_http_problem(call, TB_PROBLEM_UNAUTHORIZED, "This token is not known here.");
        return false;
    }
    if (!has_room(call, &call->server->callers, call->server->deps.config->rate_per_token,
                  tb_bytes_str(call->token_name), TB_REFUSAL_TOKEN_RATE, "One token")) {
        return false;
    }
    if (call->route->run == tb_http_post_event && tb_http_is_dry_run(call)) {
        allowed |= TB_ROLE_ANALYST; /* a plan makes nothing */
    }
    call->roles = roles;
    if (tb_tls_wants_clients(call->server->tls) && (roles & people) != 0 &&
        !tb_tls_client_is_known(call->connection)) {
        note_refusal(call, TB_REFUSAL_NO_CERTIFICATE, "no client certificate");
        tb_http_problem_with(call, TB_PROBLEM_FORBIDDEN, "hint",
                             "present the client certificate that goes with it (curl --cert)",
                             "The token '%s' counts only with a client certificate.",
                             call->token_name);
        return false;
    }
    if ((roles & allowed) == 0) {
        note_refusal(call, TB_REFUSAL_ROLE, "wrong role");
        refuse_role(call, allowed & ~(unsigned)TB_ROLE_ADMIN);
        return false;
    }
    return true;
}

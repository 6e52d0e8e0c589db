/* STS: who am I. */
#include "call.h"

static bool
get_caller_identity(struct call *c)
{
    xml_open(&c->out, "GetCallerIdentityResult");
    xml_text(&c->out, "Arn", c->signer.arn);
    xml_text(&c->out, "UserId", c->signer.user_id);
    xml_text(&c->out, "Account", c->signer.account->id);
    xml_close(&c->out, "GetCallerIdentityResult");
    return true;
}

static const struct param no_params[] = {{.path = NULL}};

const struct action sts_actions[] = {
    {"GetCallerIdentity", SERVICE_STS, no_params, get_caller_identity, false},
    {NULL, SERVICE_STS, NULL, NULL, false}};

/* Roles from the world file, and keys made on the way. */
#include "role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

#define MAX_SESSION_S 43200 /* what a role may be set to at most */

static void
read_role(struct form *f, const struct state *st, struct role *r, json_t *j)
{
    char start[64];
    form_keys(f, j, "arn external_id trusts web_identity max_session_s credentials_s deny");
    form_copy(f, j, "arn", NULL, r->arn, sizeof(r->arn));
    snprintf(start, sizeof(start), "arn:%s:iam::%s:role/", st->partition, r->account->id);
    const char *name = strrchr(r->arn, '/');
    if (strncmp(r->arn, start, strlen(start)) != 0 || name[1] == '\0' ||
        strlen(name + 1) >= sizeof(r->name)) {
        form_fail(f, "\"arn\" of a role of this account begins with %s", start);
    }
    memcpy(r->name, name + 1, strlen(name + 1) + 1);
    memcpy(r->id, "AROA", 4);
    random_text(r->id + 4, 17, UPPER "234567");
    const char *external_id = form_text(f, j, "external_id", "");
    r->external_id = external_id[0] == '\0' ? NULL : xdup(external_id);
    json_t *item;
    size_t i;
    json_t *trusts = form_list(f, j, "trusts");
    r->trusts = xalloc((json_array_size(trusts) + 1) * sizeof(*r->trusts));
    if (trusts == NULL) { /* its own account, as the console makes them */
        memcpy(r->trusts[r->ntrusts++], r->account->id, sizeof(r->account->id));
    }
    json_array_foreach(trusts, i, item)
    {
        const char *id = form_item(f, item, "trusts");
        if (strlen(id) != 12 || strspn(id, "0123456789") != 12) {
            form_fail(f, "\"%s\" in \"trusts\" is no account id", id);
        }
        memcpy(r->trusts[r->ntrusts++], id, 13);
    }
    r->web = web_identity_read(f, json_object_get(j, "web_identity"));
    r->max_session_s = form_number(f, j, "max_session_s", 3600);
    r->credentials_s = form_number(f, j, "credentials_s", 0);
    if (r->max_session_s < 3600 || r->max_session_s > MAX_SESSION_S) {
        form_fail(f, "\"max_session_s\" is from 3600 to %d", MAX_SESSION_S);
    }
    json_t *deny = form_list(f, j, "deny");
    r->deny = xalloc((json_array_size(deny) + 1) * sizeof(char *));
    json_array_foreach(deny, i, item)
    {
        r->deny[r->ndeny++] = xdup(form_item(f, item, "deny"));
    }
}

void
roles_read(struct form *f, const struct state *st, struct account *a, json_t *list)
{
    json_t *j;
    size_t i;
    json_array_foreach(list, i, j)
    {
        struct role *r = xalloc(sizeof(*r));
        r->account = a;
        r->next = a->roles;
        a->roles = r;
        read_role(f, st, r, j);
    }
}

void
roles_free(struct role *r)
{
    while (r != NULL) {
        struct role *next = r->next;
        for (size_t i = 0; i < r->ndeny; i++) {
            free(r->deny[i]);
        }
        free(r->deny);
        free(r->trusts);
        free(r->external_id);
        web_identity_free(r->web);
        free(r);
        r = next;
    }
}

const struct role *
role_find(const struct state *st, const char *arn)
{
    for (const struct account *a = st->accounts; a != NULL; a = a->next) {
        for (const struct role *r = a->roles; r != NULL; r = r->next) {
            if (strcmp(r->arn, arn) == 0) {
                return r;
            }
        }
    }
    return NULL;
}

bool
role_trusts(const struct role *r, const struct account *a)
{
    for (size_t i = 0; i < r->ntrusts; i++) {
        if (strcmp(r->trusts[i], a->id) == 0) {
            return true;
        }
    }
    return false;
}

struct key *
key_issue(struct state *st, struct account *a, long long expires_s, const char *arn,
          const char *user_id)
{
    char access[21] = "ASIA";
    char secret[41];
    char token[401];
    random_text(access + 4, 16, UPPER "234567");
    random_text(secret, 40, BASE64);
    random_text(token, 398, BASE64);
    memcpy(token + 398, "==", 3);
    struct key *k = key_add(st, a, access, secret, token);
    k->issued_s = now_ns() / 1000000000LL;
    k->expires_s = expires_s;
    k->arn = xdup(arn);
    k->user_id = xdup(user_id);
    return k;
}

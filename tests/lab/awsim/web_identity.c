/* Tokens of an OpenID Connect provider (RFC 7519, RS256), as a cluster signs them for its pods.
 */
#include "web_identity.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"

#define TOKEN_MAX 20000 /* what STS takes */
#define PROVIDER_KEYS "issuer subject audience key"

struct web_identity {
    char *issuer, *subject, *audience;
    EVP_PKEY *key; /* the provider's public one */
};

struct web_identity *
web_identity_read(struct form *f, json_t *j)
{
    if (j == NULL) {
        return NULL;
    }
    struct web_identity *w = xalloc(sizeof(*w));
    form_keys(f, j, PROVIDER_KEYS);
    w->issuer = xdup(form_text(f, j, "issuer", NULL));
    w->subject = xdup(form_text(f, j, "subject", NULL));
    w->audience = xdup(form_text(f, j, "audience", "sts.amazonaws.com"));
    BIO *pem = BIO_new_mem_buf(form_text(f, j, "key", NULL), -1);
    w->key = PEM_read_bio_PUBKEY(pem, NULL, NULL, NULL);
    BIO_free(pem);
    if (w->key == NULL) {
        form_fail(f, "\"key\" of \"web_identity\" is no public key in PEM");
    }
    return w;
}

void
web_identity_free(struct web_identity *w)
{
    if (w != NULL) {
        EVP_PKEY_free(w->key);
        free(w->issuer);
        free(w->subject);
        free(w->audience);
        free(w);
    }
}

/* base64url without padding; NULL when it is none.  A NUL follows. */
static unsigned char *
decode(const char *text, size_t len, size_t *out_len)
{
    size_t padded = (len + 3) / 4 * 4;
    char *plain = xalloc(padded + 1);
    unsigned char *out = xalloc(padded + 1);
    memset(plain, '=', padded);
    for (size_t i = 0; i < len; i++) {
        plain[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    int n = EVP_DecodeBlock(out, (const unsigned char *)plain, (int)padded);
    free(plain);
    if (n < 0 || len % 4 == 1) {
        free(out);
        return NULL;
    }
    *out_len = (size_t)n - (padded - len);
    out[*out_len] = '\0';
    return out;
}

static bool
is_signed(const struct web_identity *w, const char *token, size_t len, const char *signature)
{
    size_t n = 0;
    unsigned char *octets = decode(signature, strlen(signature), &n);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = octets != NULL && md != NULL &&
                EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, w->key) == 1 &&
                EVP_DigestVerify(md, octets, n, (const unsigned char *)token, len) == 1;
    EVP_MD_CTX_free(md);
    free(octets);
    return good;
}

/* The claims of a token whose signature is good; NULL: it is none. */
static json_t *
open_token(const struct web_identity *w, const char *token)
{
    const char *payload = strchr(token, '.');
    const char *signature = payload == NULL ? NULL : strchr(payload + 1, '.');
    size_t n = 0;
    if (signature == NULL || strlen(token) > TOKEN_MAX ||
        !is_signed(w, token, (size_t)(signature - token), signature + 1)) {
        return NULL;
    }
    unsigned char *text = decode(payload + 1, (size_t)(signature - payload - 1), &n);
    json_t *claims = text == NULL ? NULL : json_loadb((const char *)text, n, 0, NULL);
    free(text);
    return claims;
}

static bool
is_text(const json_t *claims, const char *name, const char *wanted)
{
    const char *text = json_string_value(json_object_get(claims, name));
    return text != NULL && strcmp(text, wanted) == 0;
}

/* "aud" is a text or a list of them. */
static bool
is_meant_for(const json_t *claims, const char *audience)
{
    json_t *list = json_object_get(claims, "aud");
    json_t *item;
    size_t i;
    json_array_foreach(list, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), audience) == 0) {
            return true;
        }
    }
    return is_text(claims, "aud", audience);
}

bool
web_identity_check(const struct web_identity *w, const char *token, long long now_s,
                   struct refusal *why)
{
    json_t *claims = open_token(w, token);
    long long expires_s = json_integer_value(json_object_get(claims, "exp"));
    bool good = false;
    if (claims == NULL) {
        refuse(why, 400, "InvalidIdentityToken",
               "Couldn't retrieve verification key from your identity provider, please "
               "reference AssumeRoleWithWebIdentity documentation for requirements");
    } else if (!is_text(claims, "iss", w->issuer)) {
        refuse(why, 400, "InvalidIdentityToken",
               "No OpenIDConnect provider found in your account for the issuer");
    } else if (expires_s <= now_s) {
        refuse(why, 400, "ExpiredTokenException",
               "Token expired: current date/time %lld must be before the expiration date/time "
               "%lld",
               now_s, expires_s);
    } else if (!is_meant_for(claims, w->audience)) {
        refuse(why, 400, "InvalidIdentityToken", "Incorrect token audience");
    } else if (!is_text(claims, "sub", w->subject)) {
        refuse(why, 403, "AccessDenied",
               "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    } else {
        good = true;
    }
    json_decref(claims);
    return good;
}

const char *
web_identity_issuer(const struct web_identity *w)
{
    return w->issuer;
}
const char *
web_identity_subject(const struct web_identity *w)
{
    return w->subject;
}
const char *
web_identity_audience(const struct web_identity *w)
{
    return w->audience;
}

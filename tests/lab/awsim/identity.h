/* AWS's signature over identity documents, with a key that lives as long as awsim. */
#ifndef AWSIM_IDENTITY_H
#define AWSIM_IDENTITY_H

#include <stdbool.h>

#include "str.h"

/* Begins to make the key, which takes a moment. */
void identity_prepare(void);
/* PKCS #7, RSA-2048, the content inside, in base64 without the usual first and last line, as
 * the metadata service gives it.  False: OpenSSL would not. */
bool identity_sign(const char *text, size_t len, struct str *out);
/* The certificate that goes with it, PEM: AWS publishes its own on the web. */
bool identity_certificate(struct str *out);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// token: ServiceAccount tokens: JSON Web Tokens signed with RS256 (RFC 7515, 7519).
#ifndef LAB_APISERVER_TOKEN_H
#define LAB_APISERVER_TOKEN_H

#include "codec/json/json.h"
#include "lab/apiserver/pki.h"

struct apiserver;
struct user;

#define TOKEN_SIZE_MAX (16u * 1024)
#define TOKEN_ISSUER "https://kubernetes.default.svc.cluster.local"
#define TOKEN_SECONDS_DEFAULT 3600
#define TOKEN_SECONDS_MIN 600

enum err token_sign(struct arena *arena, const struct pki *pki, const struct json_value *claims,
                    struct str *ret_token, struct error *err) must_check;
// Signature, algorithm and dates.
enum err token_verify(struct arena *arena, const struct pki *pki, struct str token, int64_t now,
                      struct json_value **ret_claims, struct error *err) must_check;

// Verifies a token and that what it is bound to still exists. audiences: at least one must be in the token;
// none: the issuer's. ret_audiences: the common ones.
enum err token_identify(struct apiserver *server, struct arena *arena, struct str token,
                        const struct json_value *audiences, struct user *ret_user,
                        struct json_value **ret_audiences, struct error *err) must_check;

// The token of a Secret of type kubernetes.io/service-account-token: no end, no audience.
enum err token_sign_legacy(struct arena *arena, const struct pki *pki, struct str ns, struct str account,
                           struct str account_uid, struct str secret, struct str *ret_token, struct error *err) must_check;

#endif

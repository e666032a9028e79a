// SPDX-License-Identifier: Apache-2.0
//
// identity: the workload's certificate. A key and a request are made in memory; the mesh CA signs it for
// the pod's service account token (istio.v1.auth.IstioCertificateService/CreateCertificate). Renewed at
// half of its life; while the CA cannot be reached the present certificate stays in use.
//
//   idle ──start──► asking ──certificate──► holding ──half life──► asking …
//                     └──failure: back-off──┘
#ifndef PROXY_IDENTITY_IDENTITY_H
#define PROXY_IDENTITY_IDENTITY_H

#include "base/error.h"
#include "base/str.h"
#include "loop/loop.h"

#define IDENTITY_TTL_S 86400
#define IDENTITY_RETRY_MIN_MS 100u
#define IDENTITY_RETRY_MAX_MS 10000u
#define IDENTITY_CALL_TIMEOUT_MS 10000u
#define IDENTITY_TOKEN_MAX (64u * 1024)
#define IDENTITY_RENEW_MIN_MS 1000u // however short the life

struct identity;

// The pieces of a new identity, valid during the call: chain (leaf first), key, trusted roots.
typedef void identity_fn(void *owner, struct str chain_pem, struct str key_pem, struct str roots_pem);

struct identity_options {
    struct str ca_host;
    uint16_t ca_port;
    struct str roots_path;  // of the CA's serving certificate; read at each call
    struct str token_path;  // read at each call
    struct str cluster_id;
    struct str spiffe_id;   // asked for; the CA decides by the token
    struct str server_name; // empty: ca_host
    bool plaintext;         // no TLS towards the CA
};

// Starts asking at once. Views are copied.
struct identity *identity_new(struct loop *loop, const struct identity_options *options, identity_fn *on_identity, void *owner);
void identity_free(struct identity *identity); // NULL is fine

// Facts for admin; zero and empty before the first certificate.
int64_t identity_not_after(const struct identity *identity); // seconds since the epoch
struct str identity_last_error(const struct identity *identity);

#endif

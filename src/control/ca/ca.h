// SPDX-License-Identifier: Apache-2.0
//
// ca: the mesh's certificate authority: an intermediate given by the operator, or a self-signed root.
// Immutable after it is made and refcounted (atomically): rotation makes a new one and drops the old.
// Pure but for key generation: no files, no sockets, no clock; `now` is seconds since the epoch.
//
// Identities come from authentication alone. Subject and names in a request are ignored: only its public
// key is taken, after its self-signature was checked.
#ifndef CONTROL_CA_CA_H
#define CONTROL_CA_CA_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#define CA_IDENTITIES_MAX 16u
#define CA_LEAF_BACKDATE_S 120           // clocks of proxies may be behind
#define CA_TTL_DEFAULT_S (24 * 3600)
#define CA_TTL_MAX_S (90 * 24 * 3600)
#define CA_SELF_SIGNED_TTL_S (3650 * 24 * 3600LL)

struct ca;

struct ca_files { // PEM
    struct str certificate; // ca-cert.pem
    struct str key;         // ca-key.pem
    struct str chain;       // cert-chain.pem; may be empty
    struct str root;        // root-cert.pem; several roots are fine
};

// Checks that the key is the certificate's, that it is a CA, and that it verifies against the root now.
struct ca *ca_load(const struct ca_files *files, int64_t now, struct error *err);
// Files of a directory such as /etc/cacerts: ca-cert.pem and its companions, or tls.crt, tls.key, ca.crt.
// ERR_NOT_FOUND: neither is there.
struct ca *ca_load_directory(const char *directory, int64_t now, struct error *err);
// A new root for the trust domain, with a key of its own (RSA 2048). ca_files() of it can be stored and
// loaded again.
struct ca *ca_self_signed(struct str trust_domain, int64_t now, struct error *err);

struct ca *ca_ref(struct ca *ca);
void ca_unref(struct ca *ca); // NULL is fine

struct str ca_root_pem(const struct ca *ca); // borrowed, as long as the reference
void ca_files(const struct ca *ca, struct ca_files *ret_files); // borrowed
int64_t ca_not_after(const struct ca *ca);      // of the signing certificate
int64_t ca_root_not_after(const struct ca *ca); // of the root that expires first

// --- signing ---------------------------------------------------------------------------------------

struct ca_request {
    struct str csr_pem;
    const struct str *identities; // SPIFFE URIs, DNS names or IP addresses; at least one
    size_t identity_count;
    int64_t ttl_s;                // 0 and below: the default
};

// Response in order: leaf, chain (when there is one), roots. ERR_INVALID: the request or its lifetime
// (above CA_TTL_MAX_S); ERR_EXPIRED: the CA itself.
struct ca_response {
    struct str parts[3]; // PEM, in the arena
    size_t part_count;
    int64_t not_after;
};
enum err ca_sign(const struct ca *ca, struct arena *arena, const struct ca_request *request, int64_t now,
                 struct ca_response *ret_response, struct error *err) must_check;

// A serving certificate of our own with a new key; valid as long as the CA.
struct ca_serving {
    struct str certificate_pem; // chain, leaf first, root not included
    struct str key_pem;
};
enum err ca_issue_serving(const struct ca *ca, struct arena *arena, const struct str *names, size_t name_count,
                          int64_t now, struct ca_serving *ret_serving, struct error *err) must_check;

// "spiffe://<trust domain>/ns/<namespace>/sa/<service account>"; '@' in the trust domain becomes '.'.
struct str ca_spiffe_id(struct arena *arena, struct str trust_domain, struct str ns, struct str service_account);

#endif

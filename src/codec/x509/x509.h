// SPDX-License-Identifier: Apache-2.0
//
// x509: keys, certificate requests and certificates over OpenSSL, PEM in and PEM out. Used by the mesh
// CA, the command line's CA tools, the proxy's identity and the lab's cluster CA. TLS itself is net/tls.
//
// Objects are immutable after they are made and refcounted where shared; all functions are thread-safe on
// different objects. Times are seconds since the epoch and always the caller's: this module reads no clock.
#ifndef CODEC_X509_X509_H
#define CODEC_X509_X509_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#define X509_PEM_MAX (256u * 1024) // of one text
#define X509_CHAIN_MAX 32u         // certificates in one bundle
#define X509_SANS_MAX 128u         // alternative names in one request or certificate

// --- keys ------------------------------------------------------------------------------------------

struct x509_key;

enum x509_key_type { X509_KEY_P256, X509_KEY_P384, X509_KEY_RSA_2048, X509_KEY_RSA_4096 };

struct x509_key *x509_key_generate(enum x509_key_type type, struct error *err); // private key
struct x509_key *x509_key_parse(struct str pem, struct error *err);             // PKCS#8, PKCS#1 or SEC1, unencrypted
struct x509_key *x509_key_ref(struct x509_key *key);
void x509_key_free(struct x509_key *key); // drops a reference; NULL is fine
struct str x509_key_pem(struct arena *arena, const struct x509_key *key);        // private, PKCS#8
struct str x509_key_public_pem(struct arena *arena, const struct x509_key *key); // SubjectPublicKeyInfo
// Type of the key ("RSA 2048"), for people.
struct str x509_key_describe(struct arena *arena, const struct x509_key *key);

// --- names -----------------------------------------------------------------------------------------

enum x509_san_type { X509_SAN_DNS, X509_SAN_URI, X509_SAN_IP };

struct x509_san {
    enum x509_san_type type;
    struct str value; // IP: text, "10.0.0.1" or "fd00::1"
};

// URI for "scheme://…", IP for addresses, else DNS: as Istio sorts its SANs.
struct x509_san x509_san_of(struct str value);

struct x509_subject {
    struct str common_name;         // empty parts are left out
    const struct str *organizations; // several: Kubernetes groups
    size_t organization_count;
    struct str locality;
};

// --- requests (PKCS#10) ----------------------------------------------------------------------------

struct x509_request {
    struct x509_key *public_key;  // of the request; x509_request_done() drops it
    struct str common_name;       // in the arena
    struct str *organizations;
    size_t organization_count;
    struct x509_san *sans;
    size_t san_count;
};

// PEM of a request signed with the key (SHA-256).
enum err x509_request_make(struct arena *arena, const struct x509_key *key, const struct x509_subject *subject,
                           const struct x509_san *sans, size_t san_count, struct str *ret_pem, struct error *err) must_check;
// Parses and verifies the self-signature. ERR_INVALID with what is wrong.
enum err x509_request_parse(struct arena *arena, struct str pem, struct x509_request *ret_request, struct error *err) must_check;
void x509_request_done(struct x509_request *request);

// --- certificates ----------------------------------------------------------------------------------

struct x509_certificate; // one parsed certificate

// The first certificate of the text.
struct x509_certificate *x509_certificate_parse(struct str pem, struct error *err);
struct x509_certificate *x509_certificate_parse_der(struct str der, struct error *err);
void x509_certificate_free(struct x509_certificate *certificate); // NULL is fine
struct str x509_certificate_pem(struct arena *arena, const struct x509_certificate *certificate);

// All certificates of a PEM bundle in order. Text between them is ignored; none at all is ERR_INVALID.
struct x509_bundle {
    struct x509_certificate *items[X509_CHAIN_MAX];
    size_t count;
};
enum err x509_bundle_parse(struct str pem, struct x509_bundle *ret_bundle, struct error *err) must_check;
void x509_bundle_done(struct x509_bundle *bundle);

#define X509_HASH_TEXT_SIZE 65

struct x509_facts {
    struct str subject;      // RFC 2253, "CN=x,O=y"
    struct str issuer;
    struct str common_name;
    struct str *organizations;
    size_t organization_count;
    struct str serial;       // lower-case hex
    struct x509_san *sans;   // DNS, URI and IP only
    size_t san_count;
    int64_t not_before;
    int64_t not_after;
    bool is_ca;
    int path_length;         // -1: no limit
    char sha256[X509_HASH_TEXT_SIZE]; // of the DER, lower-case hex
};
void x509_certificate_facts(struct arena *arena, const struct x509_certificate *certificate, struct x509_facts *ret_facts);
int64_t x509_certificate_not_after(const struct x509_certificate *certificate);
bool x509_certificate_matches_key(const struct x509_certificate *certificate, const struct x509_key *key);

// Chain verification at a given time, any purpose. intermediates may be NULL. Signatures, dates, CA
// flags and path lengths are checked. ERR_TLS with OpenSSL's reason.
enum err x509_verify(const struct x509_certificate *leaf, const struct x509_bundle *intermediates,
                     const struct x509_bundle *roots, int64_t now, struct error *err) must_check;

// --- issuing ---------------------------------------------------------------------------------------

enum x509_usage {
    X509_USAGE_DIGITAL_SIGNATURE = 1 << 0,
    X509_USAGE_NON_REPUDIATION = 1 << 1,
    X509_USAGE_KEY_ENCIPHERMENT = 1 << 2,
    X509_USAGE_CERT_SIGN = 1 << 3,
    X509_USAGE_CRL_SIGN = 1 << 4,
    X509_USAGE_SERVER_AUTH = 1 << 5, // extended
    X509_USAGE_CLIENT_AUTH = 1 << 6, // extended
};
#define X509_USAGE_LEAF \
    (X509_USAGE_DIGITAL_SIGNATURE | X509_USAGE_KEY_ENCIPHERMENT | X509_USAGE_SERVER_AUTH | X509_USAGE_CLIENT_AUTH)

struct x509_template {
    struct x509_subject subject;
    const struct x509_san *sans;
    size_t san_count;
    bool sans_critical;      // SPIFFE X.509-SVID section 4.1 with an empty subject
    int64_t not_before;
    int64_t not_after;
    bool is_ca;
    int path_length;         // CA only; -1: no limit
    unsigned usage;          // enum x509_usage
};

// A certificate over the public half of subject_key. issuer NULL: self-signed with issuer_key (which is
// then subject_key). Serial is 128 random bits; subject and authority key identifiers are added.
struct x509_certificate *x509_issue(const struct x509_template *wanted, const struct x509_key *subject_key,
                                    const struct x509_certificate *issuer, const struct x509_key *issuer_key,
                                    struct error *err);

#endif

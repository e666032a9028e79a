// SPDX-License-Identifier: Apache-2.0
//
// tls: contexts (certificate, key, roots, rules) and what a handshake established. TLS 1.2 and 1.3 on
// OpenSSL; sockets go through our own BIO (stream.c), keys never leave this module in clear.
//
// A context is immutable and refcounted: replacing a certificate means making a new context and using
// it for new connections; open ones keep theirs. Safe to share between threads.
//
// Peer verification is one of: none (server that asks for no certificate), roots plus rules. Rules on
// subject alternative names follow Envoy: when matchers are given, at least one SAN must match one.
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct tls_context;
struct tls_session;

enum tls_role { TLS_CLIENT, TLS_SERVER };

enum tls_peer_certificate {
    TLS_PEER_NONE,     // server: do not ask. client: do not verify (never the default)
    TLS_PEER_OPTIONAL, // server: ask; verify when given
    TLS_PEER_REQUIRED, // ask, verify, fail without
};

enum tls_san_match { TLS_SAN_EXACT, TLS_SAN_PREFIX, TLS_SAN_SUFFIX };

struct tls_san_matcher {
    enum tls_san_match match;
    struct str value; // a URI ("spiffe://…") or DNS name or IP
};

// All views are copied.
struct tls_options {
    enum tls_role role;
    struct str certificate_pem; // chain, leaf first; empty: none
    struct str key_pem;
    struct str roots_pem;       // trusted roots; empty with a verifying mode: system roots
    enum tls_peer_certificate peer;
    const struct tls_san_matcher *san_matchers;
    size_t san_matcher_count;
    bool verify_host;           // client: the certificate must name tls_server_name (DNS or IP)
    const struct str *alpn;     // client: offered. server: accepted, in our order of preference
    size_t alpn_count;
    int version_min;            // 12 or 13; 0: 12
    int version_max;            // 12 or 13; 0: 13
};

// NULL and a sentence that names the bad part (certificate, key, roots, mismatch).
struct tls_context *tls_context_new(const struct tls_options *options, struct error *err);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); // NULL is fine

// --- facts of a connection -------------------------------------------------------------------------

struct str tls_session_alpn(const struct tls_session *session);        // empty: none negotiated
struct str tls_session_server_name(const struct tls_session *session); // SNI; empty: none
int tls_session_version(const struct tls_session *session);            // 12 or 13
bool tls_session_is_resumed(const struct tls_session *session);
bool tls_session_has_peer(const struct tls_session *session);          // a verified certificate was given
// First URI SAN of the verified peer certificate ("spiffe://td/ns/…/sa/…"); empty: none.
struct str tls_session_peer_uri(const struct tls_session *session);
struct str tls_session_peer_subject(const struct tls_session *session); // "CN=x,O=y" (RFC 2253)
// Common name and organizations of the peer's subject (Kubernetes users and groups).
struct str tls_session_peer_common_name(const struct tls_session *session);
size_t tls_session_peer_organizations(const struct tls_session *session, struct str *out, size_t max);
// SHA-256 of the DER of the peer certificate, 64 hex digits (XFCC Hash=).
struct str tls_session_peer_hash(const struct tls_session *session);
// First URI SAN of our own certificate.
struct str tls_session_local_uri(const struct tls_session *session);

#endif

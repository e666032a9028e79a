// SPDX-License-Identifier: Apache-2.0
//
// The context as the files of the TLS module see it. Immutable once made, but for the sessions.
#ifndef NET_TLS_CONTEXT_H
#define NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/refcount.h"
#include "net/tls.h"

#define TLS_SESSIONS_MAX 4096 // resumable sessions a client context keeps; above: it forgets all

struct tls_context {
    struct refcount references;
    SSL_CTX *ssl;
    enum tls_role role;
    enum tls_peer_certificate peer;
    bool verify_host;
    struct arena arena;
    struct tls_san_matcher *matchers;
    size_t matcher_count;
    struct buf alpn;      // wire form (RFC 7301 section 3.1)
    struct buf local_uri; // first URI SAN of the certificate
    pthread_mutex_t lock; // guards sessions
    struct map sessions;  // client: session key → SSL_SESSION
};

// The names in their wire form, appended.
enum err tls_alpn_encode(const struct str *names, size_t count, struct buf *out, struct error *err) must_check;

// Certificate verification callback of OpenSSL: chain, host, then the rules on names.
int tls_verify_peer(X509_STORE_CTX *store, void *context);

void tls_sessions_enable(struct tls_context *context);
void tls_sessions_done(struct tls_context *context);

#endif

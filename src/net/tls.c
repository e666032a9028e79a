// SPDX-License-Identifier: Apache-2.0
//
// The context: SSL_CTX made once with everything a connection needs, then only read. What OpenSSL
// looks up by name (ciphers, groups, providers) is looked up here, not per connection.
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "net/tls_context.h"
#include "net/tls_names.h"

#define TLS_SERVER_SESSIONS_MAX 4096      // about 700 bytes each while the connection is gone
#define TLS_SERVER_PEER_SESSIONS_MAX 1024 // about 5 KiB each: they hold the client's certificate
#define TLS_SESSION_SECONDS 3600 // a resumed session trusts an old verification for at most this long

static enum err set_openssl_error(struct error *err, const char *what)
{
    char reason[256] = "malformed";
    unsigned long number = ERR_get_error();
    if (number != 0) {
        const char *text = ERR_reason_error_string(number);
        (void)snprintf(reason, sizeof(reason), "%s", text == NULL ? "unknown" : text);
    }
    ERR_clear_error();
    return error_set(err, ERR_TLS, "%s: %s", what, reason);
}

// --- PEM -------------------------------------------------------------------------------------------

// No passphrase prompts: an encrypted key is an error.
static int no_passphrase(char *buffer, int size, int for_writing, void *user)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    (void)user;
    return -1;
}

static BIO *open_pem(struct str pem)
{
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    ASSERT(bio != NULL);
    return bio;
}

static bool ended_well(int count)
{
    bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (count > 0 && is_end) {
        ERR_clear_error();
    }
    return count > 0 && is_end;
}

static enum err use_chain(struct tls_context *context, struct str pem, struct error *err)
{
    BIO *bio = open_pem(pem);
    int count = 0;
    for (X509 *certificate; (certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL;) {
        int ok;
        if (count == 0) {
            ok = SSL_CTX_use_certificate(context->ssl, certificate);
            tls_names_first_uri(certificate, &context->local_uri);
        } else {
            ok = (int)SSL_CTX_add1_chain_cert(context->ssl, certificate);
        }
        X509_free(certificate);
        if (ok != 1) {
            BIO_free(bio);
            return set_openssl_error(err, "certificate");
        }
        count++;
    }
    BIO_free(bio);
    return ended_well(count) ? ERR_OK : set_openssl_error(err, "certificate");
}

static enum err use_key(struct tls_context *context, struct str pem, struct error *err)
{
    BIO *bio = open_pem(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (key == NULL) {
        return set_openssl_error(err, "private key");
    }
    bool fits = X509_check_private_key(SSL_CTX_get0_certificate(context->ssl), key) == 1;
    bool ok = fits && SSL_CTX_use_PrivateKey(context->ssl, key) == 1;
    EVP_PKEY_free(key);
    if (!fits) {
        ERR_clear_error();
        return error_set(err, ERR_TLS, "private key: it does not belong to the certificate");
    }
    return ok ? ERR_OK : set_openssl_error(err, "private key");
}

static enum err use_roots(struct tls_context *context, struct str pem, struct error *err)
{
    if (pem.size == 0) {
        return SSL_CTX_set_default_verify_paths(context->ssl) == 1
                   ? ERR_OK
                   : set_openssl_error(err, "system root certificates");
    }
    X509_STORE *store = SSL_CTX_get_cert_store(context->ssl);
    BIO *bio = open_pem(pem);
    int count = 0;
    for (X509 *root; (root = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL; count++) {
        int ok = X509_STORE_add_cert(store, root); // twice the same is fine
        X509_free(root);
        if (ok != 1) {
            BIO_free(bio);
            return set_openssl_error(err, "root certificates");
        }
    }
    BIO_free(bio);
    return ended_well(count) ? ERR_OK : set_openssl_error(err, "root certificates");
}

// --- options ---------------------------------------------------------------------------------------

enum err tls_alpn_encode(const struct str *names, size_t count, struct buf *out, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i].size == 0 || names[i].size > 255) { // RFC 7301 section 3.1
            return error_set(err, ERR_INVALID, "ALPN: a name has 1 to 255 bytes");
        }
        buf_append_char(out, (char)(unsigned char)names[i].size);
        buf_append_str(out, names[i]);
    }
    return out->size > 0xffff ? error_set(err, ERR_LIMIT, "ALPN: too many names") : ERR_OK;
}

// Our order decides. Without a common protocol the handshake goes on without one, as in Envoy: which
// filter chain that means is the listener's decision.
static int on_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_size,
                   const unsigned char *offered, unsigned offered_size, void *argument)
{
    (void)ssl;
    const struct tls_context *context = argument;
    struct str ours = buf_view(&context->alpn);
    unsigned char *name = NULL;
    if (SSL_select_next_proto(&name, ret_size, (const unsigned char *)ours.data, (unsigned)ours.size,
                              offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static void copy_matchers(struct tls_context *context, const struct tls_options *options)
{
    context->matcher_count = options->san_matcher_count;
    context->matchers = arena_array(&context->arena, struct tls_san_matcher, options->san_matcher_count);
    for (size_t i = 0; i < options->san_matcher_count; i++) {
        context->matchers[i].match = options->san_matchers[i].match;
        context->matchers[i].value = arena_str(&context->arena, options->san_matchers[i].value);
    }
}

static int version_number(int version, int fallback)
{
    return (version == 0 ? fallback : version) == 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static void set_protocol(SSL_CTX *ssl, const struct tls_options *options)
{
    ASSERT(SSL_CTX_set_min_proto_version(ssl, version_number(options->version_min, 12)) == 1);
    ASSERT(SSL_CTX_set_max_proto_version(ssl, version_number(options->version_max, 13)) == 1);
    // Only forward-secret AEAD suites in TLS 1.2; those of 1.3 all are.
    ASSERT(SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
    // The suites whose hash and cipher cost least come first: a handshake is mostly key schedule.
    ASSERT(SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1);
    char groups[] = "X25519:P-256:P-384"; // not const: the macro casts it away
    ASSERT(SSL_CTX_set1_groups_list(ssl, groups) == 1);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE);
    // No automatic chain: the chain is what was configured. Otherwise OpenSSL looks for issuers of our own
    // certificate among the roots, and verifies what it finds, in every handshake.
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                    SSL_MODE_NO_AUTO_CHAIN);
    (void)SSL_CTX_set_timeout(ssl, TLS_SESSION_SECONDS);
    (void)SSL_CTX_set_num_tickets(ssl, 1); // two would double the cost of every handshake
}

static void set_verification(struct tls_context *context, const struct tls_options *options)
{
    int mode = SSL_VERIFY_NONE;
    if (options->peer != TLS_PEER_NONE) {
        mode = SSL_VERIFY_PEER;
    }
    if (options->peer == TLS_PEER_REQUIRED) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(context->ssl, mode, NULL);
    SSL_CTX_set_cert_verify_callback(context->ssl, tls_verify_peer, context);
}

// Sessions are kept here and tickets only name them. A ticket that holds its session is written, encrypted
// and read back by OpenSSL in every handshake, the client's certificate included: a quarter of a mutual
// one. What that buys, resumption at another process, a ticket key of one context cannot give anyway.
static void keep_sessions(SSL_CTX *ssl, const struct tls_options *options)
{
    static const unsigned char session_context[] = "isthmesh";
    ASSERT(SSL_CTX_set_session_id_context(ssl, session_context, sizeof(session_context)) == 1);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    // The oldest goes when it is full; an expired one is refused when it is used.
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_AUTO_CLEAR);
    (void)SSL_CTX_sess_set_cache_size(ssl, options->peer == TLS_PEER_NONE ? TLS_SERVER_SESSIONS_MAX
                                                                          : TLS_SERVER_PEER_SESSIONS_MAX);
}

static enum err configure(struct tls_context *context, const struct tls_options *options, struct error *err)
{
    set_protocol(context->ssl, options);
    set_verification(context, options);
    enum err code = ERR_OK;
    if (options->certificate_pem.size > 0) {
        code = use_chain(context, options->certificate_pem, err);
        if (code == ERR_OK) {
            code = use_key(context, options->key_pem, err);
        }
    } else if (options->role == TLS_SERVER) {
        code = error_set(err, ERR_INVALID, "certificate: a TLS server needs one");
    }
    if (code == ERR_OK && options->peer != TLS_PEER_NONE) {
        code = use_roots(context, options->roots_pem, err);
    }
    if (code == ERR_OK) {
        code = tls_alpn_encode(options->alpn, options->alpn_count, &context->alpn, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    if (options->role == TLS_SERVER) {
        keep_sessions(context->ssl, options);
        if (context->alpn.size > 0) {
            SSL_CTX_set_alpn_select_cb(context->ssl, on_alpn, context);
        }
    } else {
        tls_sessions_enable(context);
    }
    return ERR_OK;
}

// --- life ------------------------------------------------------------------------------------------

struct tls_context *tls_context_new(const struct tls_options *options, struct error *err)
{
    struct tls_context *context = mem_new(struct tls_context);
    refcount_init(&context->references);
    context->role = options->role;
    context->peer = options->peer;
    context->verify_host = options->verify_host;
    ASSERT(pthread_mutex_init(&context->lock, NULL) == 0);
    context->ssl = SSL_CTX_new(options->role == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    ASSERT(context->ssl != NULL);
    copy_matchers(context, options);
    if (configure(context, options, err) != ERR_OK) {
        tls_context_unref(context);
        return NULL;
    }
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    refcount_ref(&context->references);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || !refcount_unref(&context->references)) {
        return;
    }
    tls_sessions_done(context);
    SSL_CTX_free(context->ssl);
    (void)pthread_mutex_destroy(&context->lock);
    buf_done(&context->alpn);
    buf_done(&context->local_uri);
    arena_done(&context->arena);
    mem_free(context);
}

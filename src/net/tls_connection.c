// SPDX-License-Identifier: Apache-2.0
//
// One connection: an SSL object between two byte buffers. The BIO hands OpenSSL a view of the bytes the
// socket just delivered and collects what OpenSSL wants to send; nothing blocks and nothing is copied
// that the record layer does not copy itself.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/tls_context.h"
#include "net/tls_internal.h"
#include "net/tls_names.h"

#define TLS_ORGANIZATIONS_MAX 16u // more in a subject are ignored

// Facts are collected once, when the handshake is done, in one buffer that views point into.
struct tls_session {
    struct buf text;
    struct str alpn;
    struct str server_name;
    struct str uri;
    struct str subject;
    struct str common_name;
    struct str hash;
    struct str *organizations; // NULL: none
    size_t organization_count;
    struct str local_uri; // the context's
    int version;
    bool resumed;
    bool has_peer;
};

struct tls_connection {
    SSL *ssl;
    struct tls_context *context;
    struct str input;   // borrowed, or a view of pending
    struct buf pending; // ciphertext kept over callbacks
    struct buf wire;    // ciphertext to send
    char *session_key;  // client
    char *verify_text;  // why the peer's certificate was refused
    struct tls_session session;
    bool failed;        // after a fatal error SSL_shutdown() must not be called
};

// --- BIO -------------------------------------------------------------------------------------------

static int bio_read(BIO *bio, char *to, size_t size, size_t *ret_size)
{
    struct tls_connection *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->input.size == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t taken = size < tls->input.size ? size : tls->input.size;
    memcpy(to, tls->input.data, taken);
    tls->input = str_from(tls->input, taken);
    *ret_size = taken;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t size, size_t *ret_size)
{
    struct tls_connection *tls = BIO_get_data(bio);
    buf_append(&tls->wire, from, size);
    *ret_size = size;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// Made once per process and never changed: the only way OpenSSL knows to describe a BIO.
static BIO_METHOD *bio_method;
static pthread_once_t bio_method_once = PTHREAD_ONCE_INIT;
static int connection_index;

static void make_bio_method(void)
{
    int type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK;
    bio_method = BIO_meth_new(type, "isthmesh");
    ASSERT(bio_method != NULL);
    ASSERT(BIO_meth_set_read_ex(bio_method, bio_read) == 1);
    ASSERT(BIO_meth_set_write_ex(bio_method, bio_write) == 1);
    ASSERT(BIO_meth_set_ctrl(bio_method, bio_control) == 1);
    connection_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    ASSERT(connection_index >= 0);
}

// --- verification ----------------------------------------------------------------------------------

// "subject (names): " of a certificate, for people.
static void describe(X509 *certificate, struct buf *out)
{
    struct buf names = {0};
    (void)tls_names_match(certificate, NULL, 0, &names);
    tls_names_subject(certificate, out);
    buf_printf(out, "%s(%.*s)", out->size > 0 ? " " : "", STR_ARG(buf_view(&names)));
    buf_done(&names);
}

static void explain_chain(struct tls_connection *tls, X509_STORE_CTX *store)
{
    struct buf text = {0};
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (certificate != NULL) {
        describe(certificate, &text);
        buf_append_str(&text, STR(": "));
    }
    int number = X509_STORE_CTX_get_error(store);
    buf_append_str(&text, str_of(X509_verify_cert_error_string(number)));
    if (number == X509_V_ERR_HOSTNAME_MISMATCH || number == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(store);
        char *ip = X509_VERIFY_PARAM_get1_ip_asc(rules);
        const char *host = X509_VERIFY_PARAM_get0_host(rules, 0);
        buf_printf(&text, "; wanted %s", host != NULL ? host : ip != NULL ? ip : "another");
        OPENSSL_free(ip);
    }
    if (number == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
        number == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN) {
        buf_append_str(&text, STR("; it was not signed by a root we trust"));
    }
    mem_free(tls->verify_text);
    tls->verify_text = buf_detach(&text, NULL);
}

static void explain_names(struct tls_connection *tls, X509 *certificate)
{
    struct buf text = {0};
    describe(certificate, &text);
    buf_append_str(&text, STR(": none of its names is among those expected:"));
    for (size_t i = 0; i < tls->context->matcher_count && text.size < ERROR_MESSAGE_SIZE; i++) {
        static const char *const kinds[] = {
            [TLS_SAN_EXACT] = "", [TLS_SAN_PREFIX] = "prefix ", [TLS_SAN_SUFFIX] = "suffix "};
        const struct tls_san_matcher *matcher = &tls->context->matchers[i];
        buf_printf(&text, "%s %s%.*s", i > 0 ? "," : "", kinds[matcher->match], STR_ARG(matcher->value));
    }
    mem_free(tls->verify_text);
    tls->verify_text = buf_detach(&text, NULL);
}

int tls_verify_peer(X509_STORE_CTX *store, void *argument)
{
    const struct tls_context *context = argument;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_connection *tls = SSL_get_ex_data(ssl, connection_index);
    if (context->peer == TLS_PEER_NONE) {
        return 1;
    }
    if (X509_verify_cert(store) != 1) {
        explain_chain(tls, store);
        return 0;
    }
    if (context->matcher_count == 0) {
        return 1;
    }
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    struct buf seen = {0};
    bool ok = tls_names_match(leaf, context->matchers, context->matcher_count, &seen);
    buf_done(&seen);
    if (!ok) {
        explain_names(tls, leaf);
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        return 0;
    }
    return 1;
}

// --- resumption ------------------------------------------------------------------------------------

static void forget_sessions(struct tls_context *context)
{
    void *session;
    for (size_t at = 0; map_each(&context->sessions, &at, NULL, &session);) {
        SSL_SESSION_free(session);
    }
    map_reset(&context->sessions);
}

void tls_sessions_done(struct tls_context *context)
{
    forget_sessions(context);
    map_done(&context->sessions);
}

// A new ticket replaces the older one. Returns 1: we keep the reference.
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_connection *tls = SSL_get_ex_data(ssl, connection_index);
    if (tls->session_key == NULL || !SSL_SESSION_is_resumable(session)) {
        return 0;
    }
    struct tls_context *context = tls->context;
    ASSERT(pthread_mutex_lock(&context->lock) == 0);
    if (map_count(&context->sessions) >= TLS_SESSIONS_MAX) {
        forget_sessions(context);
    }
    SSL_SESSION_free(map_set(&context->sessions, str_of(tls->session_key), session));
    ASSERT(pthread_mutex_unlock(&context->lock) == 0);
    return 1;
}

void tls_sessions_enable(struct tls_context *context)
{
    (void)SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ssl, on_new_session);
}

// A ticket of TLS 1.3 is used once (RFC 8446 appendix C.4): it is taken out, and the server gives a new
// one. Servers of TLS 1.2 do not, so that the session stays.
static SSL_SESSION *find_session(struct tls_context *context, struct str key)
{
    SSL_SESSION *session = map_get(&context->sessions, key);
    if (session == NULL || SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION) {
        return map_remove(&context->sessions, key);
    }
    ASSERT(SSL_SESSION_up_ref(session) == 1);
    return session;
}

static void use_session(struct tls_connection *tls)
{
    struct tls_context *context = tls->context;
    ASSERT(pthread_mutex_lock(&context->lock) == 0);
    SSL_SESSION *session = find_session(context, str_of(tls->session_key));
    ASSERT(pthread_mutex_unlock(&context->lock) == 0);
    if (session != NULL) {
        (void)SSL_set_session(tls->ssl, session);
        SSL_SESSION_free(session);
    }
}

// --- life ------------------------------------------------------------------------------------------

static enum err set_server_name(struct tls_connection *tls, struct str name, struct error *err)
{
    bool verify = tls->context->verify_host && tls->context->peer != TLS_PEER_NONE;
    if (name.size == 0) {
        return verify ? error_set(err, ERR_INVALID, "TLS: no server name to verify the certificate against")
                      : ERR_OK;
    }
    if (name.size > 255 || memchr(name.data, '\0', name.size) != NULL) {
        return error_set(err, ERR_INVALID, "TLS: a server name has at most 255 bytes and no NUL");
    }
    char text[256];
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    struct address ip;
    bool is_ip = address_from_ip(name, 0, &ip, NULL) == ERR_OK;
    if (!is_ip && SSL_set_tlsext_host_name(tls->ssl, text) != 1) { // RFC 6066 section 3: no literals
        return error_set(err, ERR_INVALID, "TLS: bad server name \"%s\"", text);
    }
    if (verify) {
        X509_VERIFY_PARAM *rules = SSL_get0_param(tls->ssl);
        int ok = is_ip ? X509_VERIFY_PARAM_set1_ip_asc(rules, text)
                       : X509_VERIFY_PARAM_set1_host(rules, text, name.size);
        X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (ok != 1) {
            return error_set(err, ERR_INVALID, "TLS: bad server name \"%s\"", text);
        }
    }
    return ERR_OK;
}

static enum err set_alpn(struct tls_connection *tls, const struct tls_connect_options *options, struct error *err)
{
    struct buf own = {0};
    enum err code = tls_alpn_encode(options->alpn, options->alpn_count, &own, err);
    struct str list = buf_view(options->alpn_count > 0 ? &own : &tls->context->alpn);
    if (code == ERR_OK && list.size > 0) {
        int failed = SSL_set_alpn_protos(tls->ssl, (const unsigned char *)list.data, (unsigned)list.size);
        ASSERT(failed == 0);
    }
    buf_done(&own);
    return code;
}

static enum err set_client(struct tls_connection *tls, const struct tls_connect_options *options, struct error *err)
{
    SSL_set_connect_state(tls->ssl);
    enum err code = set_server_name(tls, options->server_name, err);
    if (code == ERR_OK) {
        code = set_alpn(tls, options, err);
    }
    if (code == ERR_OK && options->session_key.size > 0) {
        struct buf key = {0};
        buf_append_str(&key, options->session_key);
        tls->session_key = buf_detach(&key, NULL);
        use_session(tls);
    }
    return code;
}

struct tls_connection *tls_connection_new(struct tls_context *context,
                                          const struct tls_connect_options *options, struct error *err)
{
    ASSERT(pthread_once(&bio_method_once, make_bio_method) == 0);
    struct tls_connection *tls = mem_new(struct tls_connection);
    tls->context = tls_context_ref(context);
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(bio_method);
    ASSERT(tls->ssl != NULL);
    ASSERT(bio != NULL);
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    ASSERT(SSL_set_ex_data(tls->ssl, connection_index, tls) == 1);
    if (context->role == TLS_SERVER) {
        SSL_set_accept_state(tls->ssl);
    } else if (set_client(tls, options, err) != ERR_OK) {
        tls_connection_free(tls);
        return NULL;
    }
    return tls;
}

void tls_connection_free(struct tls_connection *tls)
{
    if (tls == NULL) {
        return;
    }
    if (!tls->failed) {
        // Otherwise OpenSSL takes a connection that was dropped for one that went wrong, and its session
        // is not resumed any more. Truncation is detected per connection (stream.c).
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    buf_done(&tls->pending);
    buf_done(&tls->wire);
    buf_done(&tls->session.text);
    mem_free(tls->session.organizations);
    mem_free(tls->session_key);
    mem_free(tls->verify_text);
    mem_free(tls);
}

// --- bytes in --------------------------------------------------------------------------------------

void tls_connection_feed(struct tls_connection *tls, struct str bytes)
{
    if (tls->input.size == 0) {
        tls->input = bytes;
        return;
    }
    // input is a view of pending here: borrowed bytes never outlive tls_connection_keep().
    buf_consume(&tls->pending, tls->pending.size - tls->input.size);
    buf_append_str(&tls->pending, bytes);
    tls->input = buf_view(&tls->pending);
}

void tls_connection_keep(struct tls_connection *tls)
{
    struct buf left = {0};
    buf_append_str(&left, tls->input); // before pending goes: input may be a view of it
    buf_done(&tls->pending);
    tls->pending = left;
    tls->input = buf_view(&tls->pending);
}

// --- results ---------------------------------------------------------------------------------------

static enum tls_step explain_failure(struct tls_connection *tls, struct error *err)
{
    tls->failed = true;
    unsigned long number = ERR_get_error();
    const char *reason = number == 0 ? NULL : ERR_reason_error_string(number);
    bool is_alert = ERR_GET_LIB(number) == ERR_LIB_SSL && ERR_GET_REASON(number) >= SSL_AD_REASON_OFFSET &&
                    ERR_GET_REASON(number) < SSL_AD_REASON_OFFSET + 256;
    if (tls->verify_text != NULL) {
        (void)error_set(err, ERR_TLS, "certificate refused: %s", tls->verify_text);
    } else if (is_alert) {
        const char *alert = SSL_alert_desc_string_long(ERR_GET_REASON(number) - SSL_AD_REASON_OFFSET);
        bool is_known = strcmp(alert, "unknown") != 0; // the table stops before TLS 1.3
        (void)error_set(err, ERR_TLS, "the peer refused it: %s%s", is_known || reason == NULL ? "alert " : "",
                        is_known || reason == NULL ? alert : reason);
    } else if (ERR_GET_REASON(number) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        (void)error_set(err, ERR_TLS, "the peer sent no certificate, and one is required");
    } else {
        (void)error_set(err, ERR_TLS, "%s", reason == NULL ? "protocol error" : reason);
    }
    ERR_clear_error();
    return TLS_STEP_FAILED;
}

static enum tls_step step_of(struct tls_connection *tls, int result, struct error *err)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_NONE:
        return TLS_STEP_DONE;
    case SSL_ERROR_WANT_READ:
        return TLS_STEP_WANT;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_STEP_END;
    default:
        return explain_failure(tls, err);
    }
}

// --- facts -----------------------------------------------------------------------------------------

struct span {
    size_t from;
    size_t size;
};

static struct str view_of(const struct buf *text, struct span span)
{
    return str_sub(buf_view(text), span.from, span.size);
}

static struct span end_span(const struct buf *text, size_t from)
{
    return (struct span){from, text->size - from};
}

static void append_hash(X509 *certificate, struct buf *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) {
        return;
    }
    static const char digits[] = "0123456789abcdef";
    char *at = buf_reserve(out, (size_t)size * 2);
    for (unsigned i = 0; i < size; i++) {
        *at++ = digits[digest[i] >> 4];
        *at++ = digits[digest[i] & 15];
    }
    buf_commit(out, (size_t)size * 2);
}

// Views are set when the buffer has stopped moving.
static void collect_peer(struct tls_session *session, X509 *certificate)
{
    struct buf *text = &session->text;
    size_t from = text->size;
    tls_names_first_uri(certificate, text);
    struct span uri = end_span(text, from);
    from = text->size;
    tls_names_subject(certificate, text);
    struct span subject = end_span(text, from);
    from = text->size;
    (void)tls_names_attribute(certificate, NID_commonName, 0, text);
    struct span common_name = end_span(text, from);
    from = text->size;
    append_hash(certificate, text);
    struct span hash = end_span(text, from);
    struct span organizations[TLS_ORGANIZATIONS_MAX];
    size_t count = 0;
    for (; count < TLS_ORGANIZATIONS_MAX; count++) {
        from = text->size;
        if (!tls_names_attribute(certificate, NID_organizationName, (int)count, text)) {
            break;
        }
        organizations[count] = end_span(text, from);
    }
    session->has_peer = true;
    session->uri = view_of(text, uri);
    session->subject = view_of(text, subject);
    session->common_name = view_of(text, common_name);
    session->hash = view_of(text, hash);
    session->organization_count = count;
    session->organizations = count == 0 ? NULL : mem_alloc(count * sizeof(session->organizations[0]));
    for (size_t i = 0; i < count; i++) {
        session->organizations[i] = view_of(text, organizations[i]);
    }
}

static void collect_facts(struct tls_connection *tls)
{
    struct tls_session *session = &tls->session;
    const unsigned char *alpn = NULL;
    unsigned alpn_size = 0;
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_size);
    struct str name = str_of(SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name));
    buf_append(&session->text, alpn, alpn_size);
    buf_append_str(&session->text, name);
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    if (certificate != NULL && tls->context->peer != TLS_PEER_NONE) {
        collect_peer(session, certificate);
    }
    session->alpn = view_of(&session->text, (struct span){0, alpn_size});
    session->server_name = view_of(&session->text, (struct span){alpn_size, name.size});
    session->local_uri = buf_view(&tls->context->local_uri);
    session->version = SSL_version(tls->ssl) == TLS1_3_VERSION ? 13 : 12;
    session->resumed = SSL_session_reused(tls->ssl) == 1;
}

// A resumed session does not verify again, so that a ticket could outlive the certificate behind it.
static bool has_expired_peer(const struct tls_connection *tls)
{
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    return tls->context->peer != TLS_PEER_NONE && certificate != NULL && SSL_session_reused(tls->ssl) == 1 &&
           X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0;
}

// --- steps -----------------------------------------------------------------------------------------

enum tls_step tls_connection_handshake(struct tls_connection *tls, struct error *err)
{
    ERR_clear_error();
    enum tls_step step = step_of(tls, SSL_do_handshake(tls->ssl), err);
    if (step != TLS_STEP_DONE) {
        return step;
    }
    if (has_expired_peer(tls)) {
        tls->failed = true;
        (void)error_set(err, ERR_TLS, "certificate refused: it expired since the session began");
        return TLS_STEP_FAILED;
    }
    collect_facts(tls);
    return TLS_STEP_DONE;
}

enum tls_step tls_connection_read(struct tls_connection *tls, char *to, size_t size, size_t *ret_size,
                                  struct error *err)
{
    ERR_clear_error();
    size_t got = 0;
    enum tls_step step = step_of(tls, SSL_read_ex(tls->ssl, to, size, &got), err);
    if (step == TLS_STEP_DONE) {
        *ret_size = got;
    }
    return step;
}

bool tls_connection_write(struct tls_connection *tls, struct str bytes, struct error *err)
{
    ASSERT(bytes.size > 0);
    ASSERT(bytes.size <= TLS_RECORD_MAX);
    ERR_clear_error();
    size_t written = 0;
    // The BIO takes everything and renegotiation is off: there is nothing to wait for.
    int result = SSL_write_ex(tls->ssl, bytes.data, bytes.size, &written);
    if (result != 1) {
        (void)explain_failure(tls, err);
        return false;
    }
    ASSERT(written == bytes.size);
    return true;
}

void tls_connection_shutdown(struct tls_connection *tls)
{
    if (!tls->failed) {
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
}

struct buf *tls_connection_output(struct tls_connection *tls)
{
    return &tls->wire;
}

// --- tls.h -----------------------------------------------------------------------------------------

const struct tls_session *tls_connection_session(const struct tls_connection *tls)
{
    return &tls->session;
}

struct str tls_session_alpn(const struct tls_session *session)
{
    return session->alpn;
}

struct str tls_session_server_name(const struct tls_session *session)
{
    return session->server_name;
}

int tls_session_version(const struct tls_session *session)
{
    return session->version;
}

bool tls_session_is_resumed(const struct tls_session *session)
{
    return session->resumed;
}

bool tls_session_has_peer(const struct tls_session *session)
{
    return session->has_peer;
}

struct str tls_session_peer_uri(const struct tls_session *session)
{
    return session->uri;
}

struct str tls_session_peer_subject(const struct tls_session *session)
{
    return session->subject;
}

struct str tls_session_peer_common_name(const struct tls_session *session)
{
    return session->common_name;
}

size_t tls_session_peer_organizations(const struct tls_session *session, struct str *out, size_t max)
{
    size_t count = session->organization_count < max ? session->organization_count : max;
    for (size_t i = 0; i < count; i++) {
        out[i] = session->organizations[i];
    }
    return count;
}

struct str tls_session_peer_hash(const struct tls_session *session)
{
    return session->hash;
}

struct str tls_session_local_uri(const struct tls_session *session)
{
    return session->local_uri;
}

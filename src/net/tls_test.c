// SPDX-License-Identifier: Apache-2.0
//
// Handshakes between two streams over a socketpair, with certificates made here.
#include "test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/memory.h"
#include "loop/socket.h"
#include "net/stream.h"
#include "net/tls.h"

#define TURNS_MAX 3000
#define DAY 86400L

// --- certificates ----------------------------------------------------------------------------------

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
    struct buf certificate_pem;
    struct buf key_pem;
};

static void to_pem(struct identity *identity)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    ASSERT(PEM_write_bio_X509(bio, identity->certificate) == 1);
    long size = BIO_get_mem_data(bio, &data);
    buf_append(&identity->certificate_pem, data, (size_t)size);
    BIO_free(bio);
    bio = BIO_new(BIO_s_mem());
    ASSERT(PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL) == 1);
    size = BIO_get_mem_data(bio, &data);
    buf_append(&identity->key_pem, data, (size_t)size);
    BIO_free(bio);
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    ASSERT(extension != NULL);
    ASSERT(X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void add_name(X509_NAME *name, const char *type, const char *value)
{
    ASSERT(X509_NAME_add_entry_by_txt(name, type, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1);
}

// issuer NULL: self-signed authority.
static void make_identity(struct identity *identity, const struct identity *issuer, const char *common_name,
                          const char *names, long from, long until)
{
    static long serial = 1;
    *identity = (struct identity){.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    X509 *certificate = identity->certificate;
    ASSERT(X509_set_version(certificate, 2) == 1);
    ASSERT(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++) == 1);
    ASSERT(X509_gmtime_adj(X509_getm_notBefore(certificate), from) != NULL);
    ASSERT(X509_gmtime_adj(X509_getm_notAfter(certificate), until) != NULL);
    ASSERT(X509_set_pubkey(certificate, identity->key) == 1);
    X509_NAME *subject = X509_get_subject_name(certificate);
    if (common_name != NULL) {
        add_name(subject, "O", "system:masters");
        add_name(subject, "O", "second");
        add_name(subject, "CN", common_name);
    }
    X509 *signer = issuer == NULL ? certificate : issuer->certificate;
    ASSERT(X509_set_issuer_name(certificate, X509_get_subject_name(signer)) == 1);
    add_extension(certificate, NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (names != NULL) {
        add_extension(certificate, NID_subject_alt_name, names);
    }
    ASSERT(X509_sign(certificate, issuer == NULL ? identity->key : issuer->key, EVP_sha256()) > 0);
    to_pem(identity);
}

static void free_identity(struct identity *identity)
{
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    buf_done(&identity->certificate_pem);
    buf_done(&identity->key_pem);
}

enum { ROOT, OTHER_ROOT, SERVER, CLIENT, EXPIRED, FOREIGN, TRICKY, IDENTITY_COUNT };
static struct identity identities[IDENTITY_COUNT];

static int make_identities(void **state)
{
    (void)state;
    make_identity(&identities[ROOT], NULL, "root", NULL, -DAY, DAY);
    make_identity(&identities[OTHER_ROOT], NULL, "other root", NULL, -DAY, DAY);
    const struct identity *root = &identities[ROOT];
    make_identity(&identities[SERVER], root, "server",
                  "DNS:server.test,DNS:*.wild.test,IP:10.1.2.3,URI:spiffe://mesh/ns/a/sa/server", -DAY, DAY);
    make_identity(&identities[CLIENT], root, "client", "URI:spiffe://mesh/ns/b/sa/client", -DAY, DAY);
    make_identity(&identities[EXPIRED], root, "expired", "URI:spiffe://mesh/ns/b/sa/client", -2 * DAY, -DAY);
    make_identity(&identities[FOREIGN], &identities[OTHER_ROOT], "foreign", "URI:spiffe://mesh/ns/b/sa/client",
                  -DAY, DAY);
    make_identity(&identities[TRICKY], root, NULL, "DNS:only-dns.test", -DAY, DAY);
    return 0;
}

static int free_identities(void **state)
{
    (void)state;
    for (size_t i = 0; i < IDENTITY_COUNT; i++) {
        free_identity(&identities[i]);
    }
    return 0;
}

static void use_identity(struct tls_options *options, int identity)
{
    options->certificate_pem = buf_view(&identities[identity].certificate_pem);
    options->key_pem = buf_view(&identities[identity].key_pem);
}

// --- a pair of streams -----------------------------------------------------------------------------

struct end {
    struct stream *stream;
    struct buf received;
    int opened;
    int eofs;
    int closed;
    size_t reads_until_stop; // 0: never; stops reading after so many calls of on_read
    bool keep_open_at_eof;
    struct error err;
};

static void on_open(void *owner, struct stream *stream)
{
    struct end *end = owner;
    end->opened++;
    assert_non_null(stream_tls(stream));
}

static void on_read(void *owner, struct stream *stream, struct str bytes)
{
    struct end *end = owner;
    buf_append_str(&end->received, bytes);
    if (end->reads_until_stop > 0 && --end->reads_until_stop == 0) {
        stream_read_stop(stream);
    }
}

static void on_eof(void *owner, struct stream *stream)
{
    struct end *end = owner;
    end->eofs++;
    if (!end->keep_open_at_eof) {
        stream_close(stream);
    }
}

static void on_close(void *owner, struct stream *stream, const struct error *err)
{
    (void)stream;
    struct end *end = owner;
    end->closed++;
    end->stream = NULL;
    end->err = *err;
}

static const struct stream_events events = {on_open, on_read, on_eof, NULL, on_close};

struct pair {
    struct loop *loop;
    struct acceptor acceptor;
    struct address address;
    struct tls_context *server_tls;
    struct end client;
    struct end server;
};

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
    (void)peer;
    (void)peer_size;
    struct pair *pair = container_of(acceptor, struct pair, acceptor);
    pair->server.stream = stream_accept(pair->loop, fd, pair->server_tls, STR_EMPTY, &events, &pair->server);
}

static void start_pair(struct pair *pair, const struct tls_options *server)
{
    *pair = (struct pair){.loop = loop_new()};
    struct error err = {0};
    pair->server_tls = tls_context_new(server, &err);
    assert_str(str_of(err.message), "");
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &pair->address, NULL), ERR_OK);
    int fd = -1;
    assert_int_equal(address_listen(&pair->address, NULL, &fd, NULL), ERR_OK);
    assert_true(address_local(fd, &pair->address));
    acceptor_init(&pair->acceptor, pair->loop, on_accept);
    acceptor_start(&pair->acceptor, fd);
}

static void dial(struct pair *pair, struct tls_context *client_tls, const char *name)
{
    buf_done(&pair->client.received);
    buf_done(&pair->server.received);
    pair->client = (struct end){0};
    pair->server = (struct end){0};
    struct stream_connect_options options = {.tls = client_tls, .tls_server_name = str_of(name)};
    pair->client.stream = stream_connect(pair->loop, &pair->address, &options, &events, &pair->client);
}

static void hang_up(struct pair *pair)
{
    if (pair->client.stream != NULL) {
        stream_abort(pair->client.stream);
    }
    if (pair->server.stream != NULL) {
        stream_abort(pair->server.stream);
    }
    for (int i = 0; i < TURNS_MAX && (pair->client.stream != NULL || pair->server.stream != NULL); i++) {
        loop_turn(pair->loop, 10);
    }
}

static void stop_pair(struct pair *pair)
{
    hang_up(pair);
    acceptor_stop(&pair->acceptor);
    tls_context_unref(pair->server_tls);
    buf_done(&pair->client.received);
    buf_done(&pair->server.received);
    loop_free(pair->loop);
}

static bool is_over(const struct pair *pair)
{
    bool both_open = pair->client.received.size > 0 && pair->server.received.size > 0;
    return both_open || (pair->client.closed > 0 && pair->server.closed > 0);
}

static void run_pair(struct pair *pair)
{
    stream_write(pair->client.stream, STR("ping")); // waits for the handshake
    for (int i = 0; i < TURNS_MAX && !is_over(pair); i++) {
        loop_turn(pair->loop, 10);
        if (pair->server.received.size > 0 && pair->client.received.size == 0 && pair->server.stream != NULL) {
            stream_write(pair->server.stream, STR("pong"));
        }
    }
}

// --- the matrix ------------------------------------------------------------------------------------

struct row {
    const char *name;
    int server_identity;
    int client_identity; // -1: none
    enum tls_peer_certificate server_peer;
    const char *server_accepts; // exact SAN, NULL: any
    bool client_distrusts;      // knows another root
    enum tls_peer_certificate client_peer;
    const char *client_accepts;
    bool verify_host;
    const char *server_name;
    int version_max;
    const char *want_client; // part of the error; NULL: works
    const char *want_server;
};

static const struct row rows[] = {
    {"server only", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "server.test", 13,
     NULL, NULL},
    {"server only 1.2", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "server.test", 12,
     NULL, NULL},
    {"wildcard", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "a.wild.test", 13, NULL,
     NULL},
    {"address", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "10.1.2.3", 13, NULL, NULL},
    {"wrong host", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "wrong.test", 13,
     "wanted wrong.test", "alert"},
    {"wrong address", SERVER, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, true, "10.1.2.4", 13,
     "wanted 10.1.2.4", "alert"},
    {"wrong root", SERVER, -1, TLS_PEER_NONE, NULL, true, TLS_PEER_REQUIRED, NULL, true, "server.test", 13,
     "a root we trust", "unknown CA"},
    {"wrong root 1.2", SERVER, -1, TLS_PEER_NONE, NULL, true, TLS_PEER_REQUIRED, NULL, true, "server.test", 12,
     "a root we trust", "unknown CA"},
    {"not verified", SERVER, -1, TLS_PEER_NONE, NULL, true, TLS_PEER_NONE, NULL, false, "server.test", 13, NULL,
     NULL},
    {"mutual", SERVER, CLIENT, TLS_PEER_REQUIRED, "spiffe://mesh/ns/b/sa/client", false, TLS_PEER_REQUIRED,
     "spiffe://mesh/ns/a/sa/server", false, "", 13, NULL, NULL},
    {"mutual 1.2", SERVER, CLIENT, TLS_PEER_REQUIRED, "spiffe://mesh/ns/b/sa/client", false, TLS_PEER_REQUIRED,
     "spiffe://mesh/ns/a/sa/server", false, "", 12, NULL, NULL},
    {"server has another name", SERVER, CLIENT, TLS_PEER_REQUIRED, NULL, false, TLS_PEER_REQUIRED,
     "spiffe://mesh/ns/a/sa/serve", false, "", 13, "none of its names", "alert"},
    {"server has no URI", TRICKY, CLIENT, TLS_PEER_REQUIRED, NULL, false, TLS_PEER_REQUIRED,
     "spiffe://mesh/ns/a/sa/server", false, "", 13, "only-dns.test", "alert"},
    {"client has another name", SERVER, CLIENT, TLS_PEER_REQUIRED, "spiffe://mesh/ns/b/sa/other", false,
     TLS_PEER_REQUIRED, NULL, false, "", 13, "alert", "spiffe://mesh/ns/b/sa/client"},
    {"no client certificate", SERVER, -1, TLS_PEER_REQUIRED, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13,
     "certificate required", "sent no certificate"},
    {"no client certificate 1.2", SERVER, -1, TLS_PEER_REQUIRED, NULL, false, TLS_PEER_REQUIRED, NULL, false, "",
     12, "alert", "sent no certificate"},
    {"optional, none given", SERVER, -1, TLS_PEER_OPTIONAL, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13,
     NULL, NULL},
    {"optional, given", SERVER, CLIENT, TLS_PEER_OPTIONAL, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13,
     NULL, NULL},
    {"optional, bad", SERVER, FOREIGN, TLS_PEER_OPTIONAL, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13,
     "alert", "a root we trust"},
    {"expired client", SERVER, EXPIRED, TLS_PEER_REQUIRED, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13,
     "certificate expired", "expired"},
    {"expired server", EXPIRED, -1, TLS_PEER_NONE, NULL, false, TLS_PEER_REQUIRED, NULL, false, "", 13, "expired",
     "certificate expired"},
};

static struct tls_context *row_client(const struct row *row)
{
    struct tls_san_matcher matcher = {TLS_SAN_EXACT, str_of(row->client_accepts)};
    struct tls_options options = {
        .role = TLS_CLIENT,
        .roots_pem = buf_view(&identities[row->client_distrusts ? OTHER_ROOT : ROOT].certificate_pem),
        .peer = row->client_peer,
        .verify_host = row->verify_host,
        .san_matchers = &matcher,
        .san_matcher_count = row->client_accepts != NULL,
        .version_max = row->version_max,
    };
    if (row->client_identity >= 0) {
        use_identity(&options, row->client_identity);
    }
    struct error err = {0};
    struct tls_context *context = tls_context_new(&options, &err);
    check_row(row->name, context != NULL, "%s", err.message);
    return context;
}

static bool has_failed_so(const struct end *end, const char *want)
{
    if (want == NULL) {
        return end->closed == 0 && end->opened == 1 && end->received.size == 4;
    }
    return end->closed == 1 && end->err.code == ERR_TLS && strstr(end->err.message, want) != NULL;
}

static void handshake_matrix(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct row *row = &rows[i];
        struct tls_san_matcher matcher = {TLS_SAN_EXACT, str_of(row->server_accepts)};
        struct tls_options options = {
            .role = TLS_SERVER,
            .roots_pem = buf_view(&identities[ROOT].certificate_pem),
            .peer = row->server_peer,
            .san_matchers = &matcher,
            .san_matcher_count = row->server_accepts != NULL,
        };
        use_identity(&options, row->server_identity);
        struct pair pair;
        start_pair(&pair, &options);
        struct tls_context *client = row_client(row);
        dial(&pair, client, row->server_name);
        tls_context_unref(client); // the stream keeps it
        run_pair(&pair);
        check_row(row->name, has_failed_so(&pair.client, row->want_client), "client: closed %d: %s",
                  pair.client.closed, pair.client.err.message);
        check_row(row->name, has_failed_so(&pair.server, row->want_server), "server: closed %d: %s",
                  pair.server.closed, pair.server.err.message);
        if (row->want_client == NULL) {
            const struct tls_session *session = stream_tls(pair.server.stream);
            bool want_peer = row->client_identity >= 0 && row->server_peer != TLS_PEER_NONE;
            check_row(row->name, tls_session_has_peer(session) == want_peer, "peer");
            check_row(row->name, tls_session_version(session) == row->version_max, "version");
        }
        stop_pair(&pair);
    }
}

// --- facts, ALPN, resumption -----------------------------------------------------------------------

static struct tls_options mutual_server(void)
{
    struct tls_options options = {
        .role = TLS_SERVER,
        .roots_pem = buf_view(&identities[ROOT].certificate_pem),
        .peer = TLS_PEER_REQUIRED,
    };
    use_identity(&options, SERVER);
    return options;
}

static struct tls_options mutual_client(void)
{
    struct tls_options options = mutual_server();
    options.role = TLS_CLIENT;
    use_identity(&options, CLIENT);
    return options;
}

static void facts_of_the_peer(void **state)
{
    (void)state;
    struct tls_options server = mutual_server();
    struct tls_options client = mutual_client();
    struct pair pair;
    start_pair(&pair, &server);
    struct tls_context *context = tls_context_new(&client, NULL);
    dial(&pair, context, "outbound_.5000_._.helloworld.sample.svc.cluster.local");
    run_pair(&pair);
    const struct tls_session *session = stream_tls(pair.server.stream);
    assert_str(tls_session_server_name(session), "outbound_.5000_._.helloworld.sample.svc.cluster.local");
    assert_str(tls_session_peer_uri(session), "spiffe://mesh/ns/b/sa/client");
    assert_str(tls_session_peer_subject(session), "CN=client,O=second,O=system:masters");
    assert_str(tls_session_peer_common_name(session), "client");
    struct str organizations[4];
    assert_int_equal(tls_session_peer_organizations(session, organizations, 4), 2);
    assert_str(organizations[0], "system:masters");
    assert_str(organizations[1], "second");
    assert_int_equal(tls_session_peer_hash(session).size, 64);
    assert_str(tls_session_local_uri(session), "spiffe://mesh/ns/a/sa/server");
    assert_str(tls_session_peer_uri(stream_tls(pair.client.stream)), "spiffe://mesh/ns/a/sa/server");
    assert_str(tls_session_alpn(session), "");
    tls_context_unref(context);
    stop_pair(&pair);
}

static void alpn_follows_the_server(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct str offered[3];
        size_t offered_count;
        struct str accepted[3];
        size_t accepted_count;
        const char *want;
    } table[] = {
        {"server's order", {STR("http/1.1"), STR("h2")}, 2, {STR("h2"), STR("http/1.1")}, 2, "h2"},
        {"only one in common", {STR("istio"), STR("h2")}, 2, {STR("istio-peer-exchange"), STR("istio")}, 2, "istio"},
        {"mismatch goes on without", {STR("h3")}, 1, {STR("h2")}, 1, ""},
        {"nothing offered", {STR_EMPTY}, 0, {STR("h2")}, 1, ""},
        {"nothing accepted", {STR("h2")}, 1, {STR_EMPTY}, 0, ""},
    };
    for (size_t i = 0; i < array_count(table); i++) {
        struct tls_options server = mutual_server();
        server.alpn = table[i].accepted;
        server.alpn_count = table[i].accepted_count;
        struct tls_options client = mutual_client();
        client.alpn = table[i].offered;
        client.alpn_count = table[i].offered_count;
        struct pair pair;
        start_pair(&pair, &server);
        struct tls_context *context = tls_context_new(&client, NULL);
        dial(&pair, context, "x");
        run_pair(&pair);
        for (int side = 0; side < 2; side++) {
            const struct end *end = side == 0 ? &pair.client : &pair.server;
            check_row(table[i].name, end->closed == 0, "%s", end->err.message);
            struct str got = tls_session_alpn(stream_tls(end->stream));
            check_row(table[i].name, str_equal_c(got, table[i].want), "got %.*s", STR_ARG(got));
        }
        tls_context_unref(context);
        stop_pair(&pair);
    }
}

static void sessions_are_resumed(void **state)
{
    (void)state;
    for (int version = 12; version <= 13; version++) {
        struct tls_options server = mutual_server();
        struct tls_options client = mutual_client();
        client.version_max = version;
        struct pair pair;
        start_pair(&pair, &server);
        struct tls_context *context = tls_context_new(&client, NULL);
        for (int i = 0; i < 4; i++) {
            dial(&pair, context, i == 3 ? "another.test" : "server.test");
            run_pair(&pair);
            bool want = i == 1 || i == 2; // another name is another session
            assert_int_equal(tls_session_is_resumed(stream_tls(pair.client.stream)), want);
            assert_int_equal(tls_session_is_resumed(stream_tls(pair.server.stream)), want);
            assert_str(tls_session_peer_uri(stream_tls(pair.server.stream)), "spiffe://mesh/ns/b/sa/client");
            hang_up(&pair);
        }
        // Whoever replaces its context verifies again.
        tls_context_unref(pair.server_tls);
        pair.server_tls = tls_context_new(&server, NULL);
        dial(&pair, context, "server.test");
        run_pair(&pair);
        assert_false(tls_session_is_resumed(stream_tls(pair.server.stream)));
        tls_context_unref(context);
        stop_pair(&pair);
    }
}

// --- bytes -----------------------------------------------------------------------------------------

static void close_notify_is_the_end(void **state)
{
    (void)state;
    struct tls_options server = mutual_server();
    struct tls_options client = mutual_client();
    struct pair pair;
    start_pair(&pair, &server);
    struct tls_context *context = tls_context_new(&client, NULL);
    dial(&pair, context, "x");
    pair.server.keep_open_at_eof = true;
    pair.client.keep_open_at_eof = true;
    stream_write(pair.client.stream, STR("ping"));
    stream_write_eof(pair.client.stream);
    for (int i = 0; i < TURNS_MAX && pair.server.eofs == 0; i++) {
        loop_turn(pair.loop, 10);
    }
    assert_str(buf_view(&pair.server.received), "ping");
    stream_write(pair.server.stream, STR("pong")); // half-closed: the answer still goes
    stream_close(pair.server.stream);
    for (int i = 0; i < TURNS_MAX && (pair.client.closed == 0 || pair.server.closed == 0); i++) {
        loop_turn(pair.loop, 10);
    }
    assert_str(buf_view(&pair.client.received), "pong");
    assert_int_equal(pair.client.eofs, 1);
    assert_int_equal(pair.client.err.code, ERR_OK);
    assert_int_equal(pair.server.err.code, ERR_OK);
    tls_context_unref(context);
    stop_pair(&pair);
}

static void a_cut_connection_is_no_end(void **state)
{
    (void)state;
    struct tls_options server = mutual_server();
    struct tls_options client = mutual_client();
    struct pair pair;
    start_pair(&pair, &server);
    struct tls_context *context = tls_context_new(&client, NULL);
    dial(&pair, context, "x");
    run_pair(&pair);
    assert_int_equal(shutdown(stream_fd(pair.client.stream), SHUT_WR), 0); // behind TLS's back
    for (int i = 0; i < TURNS_MAX && pair.server.closed == 0; i++) {
        loop_turn(pair.loop, 10);
    }
    assert_int_equal(pair.server.eofs, 0);
    assert_int_equal(pair.server.err.code, ERR_CLOSED);
    assert_non_null(strstr(pair.server.err.message, "close_notify"));
    tls_context_unref(context);
    stop_pair(&pair);
}

static void much_data_with_a_slow_reader(void **state)
{
    (void)state;
    struct tls_options server = mutual_server();
    struct tls_options client = mutual_client();
    struct pair pair;
    start_pair(&pair, &server);
    struct tls_context *context = tls_context_new(&client, NULL);
    dial(&pair, context, "x");
    run_pair(&pair);
    char *block = mem_alloc(300000);
    for (size_t i = 0; i < 300000; i++) {
        block[i] = (char)(i % 251);
    }
    size_t before = pair.server.received.size;
    pair.server.reads_until_stop = 1;
    for (int i = 0; i < 30; i++) {
        stream_write(pair.client.stream, str_make(block, 300000));
    }
    stream_close(pair.client.stream);
    for (int i = 0; i < TURNS_MAX && pair.server.eofs == 0; i++) {
        loop_turn(pair.loop, 10);
        if (pair.server.stream != NULL && i % 3 == 0) {
            pair.server.reads_until_stop = 5;
            stream_read_start(pair.server.stream);
        }
    }
    assert_int_equal(pair.server.received.size - before, 30 * 300000);
    struct str all = str_from(buf_view(&pair.server.received), before);
    for (size_t i = 0; i < 30; i++) {
        assert_true(str_equal(str_sub(all, i * 300000, 300000), str_make(block, 300000)));
    }
    mem_free(block);
    tls_context_unref(context);
    stop_pair(&pair);
}

// Every byte of both sides in a segment of its own, the first ones as already_read.
static void one_byte_at_a_time(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct tls_options options = mutual_server();
    struct tls_context *server_tls = tls_context_new(&options, NULL);
    options = mutual_client();
    struct tls_context *client_tls = tls_context_new(&options, NULL);
    struct address address;
    assert_int_equal(address_parse(STR("127.0.0.1:0"), &address, NULL), ERR_OK);
    int listener = -1;
    assert_int_equal(address_listen(&address, NULL, &listener, NULL), ERR_OK);
    assert_true(address_local(listener, &address));
    struct end client = {0};
    struct end server = {0};
    struct stream_connect_options connect_options = {.tls = client_tls};
    client.stream = stream_connect(loop, &address, &connect_options, &events, &client);
    loop_turn(loop, 100);
    int outer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(outer >= 0);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    char first[7];
    size_t first_size = 0;
    stream_write(client.stream, STR("ping"));
    for (int i = 0; i < 20000 && client.received.size == 0; i++) {
        char byte;
        if (read(outer, &byte, 1) == 1) {
            if (first_size < sizeof(first)) {
                first[first_size++] = byte;
                if (first_size == sizeof(first)) {
                    server.stream = stream_accept(loop, fds[0], server_tls, str_make(first, first_size), &events,
                                                  &server);
                }
            } else {
                assert_int_equal(write(fds[1], &byte, 1), 1);
            }
        }
        if (read(fds[1], &byte, 1) == 1) {
            assert_int_equal(write(outer, &byte, 1), 1);
        }
        loop_turn(loop, 0);
        if (server.received.size == 4) {
            stream_write(server.stream, STR("pong"));
            buf_reset(&server.received);
        }
    }
    assert_int_equal(client.received.data[0], 'p');
    assert_int_equal(server.opened, 1);
    (void)close(outer);
    (void)close(fds[1]);
    (void)close(listener);
    stream_abort(client.stream);
    stream_abort(server.stream);
    loop_turn(loop, 0);
    assert_int_equal(client.closed + server.closed, 2);
    buf_done(&client.received);
    buf_done(&server.received);
    tls_context_unref(client_tls);
    tls_context_unref(server_tls);
    loop_free(loop);
}

static void garbage_and_silence(void **state)
{
    (void)state;
    struct loop *loop = loop_new_fake(0);
    struct tls_options options = mutual_server();
    struct tls_context *tls = tls_context_new(&options, NULL);
    for (int garbage = 0; garbage < 2; garbage++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        struct end server = {0};
        server.stream = stream_accept(loop, fds[0], tls, STR_EMPTY, &events, &server);
        if (garbage == 1) {
            assert_int_equal(write(fds[1], "GET / HTTP/1.1\r\n\r\n", 18), 18);
        }
        loop_turn(loop, 0);
        loop_turn(loop, 0);
        loop_advance(loop, STREAM_HANDSHAKE_MS);
        assert_int_equal(server.closed, 1);
        assert_int_equal(server.err.code, garbage == 1 ? ERR_TLS : ERR_TIMEOUT);
        (void)close(fds[1]);
    }
    tls_context_unref(tls);
    loop_free(loop);
}

static void bad_contexts_say_which_part(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *certificate; // NULL: the server's
        bool foreign_key;
        const char *key; // NULL: the certificate's
        const char *roots;
        const char *want;
    } table[] = {
        {"no certificate", "", false, NULL, NULL, "certificate"},
        {"not a certificate", "hello", false, NULL, NULL, "certificate"},
        {"no key", NULL, false, "", NULL, "private key"},
        {"another key", NULL, true, NULL, NULL, "does not belong"},
        {"bad roots", NULL, false, NULL, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "root"},
    };
    for (size_t i = 0; i < array_count(table); i++) {
        struct tls_options options = mutual_server();
        if (table[i].foreign_key) {
            options.key_pem = buf_view(&identities[CLIENT].key_pem);
        }
        options.certificate_pem = table[i].certificate == NULL ? options.certificate_pem
                                                               : str_of(table[i].certificate);
        options.key_pem = table[i].key == NULL ? options.key_pem : str_of(table[i].key);
        options.roots_pem = table[i].roots == NULL ? options.roots_pem : str_of(table[i].roots);
        struct error err = {0};
        check_row(table[i].name, tls_context_new(&options, &err) == NULL, "accepted");
        check_row(table[i].name, strstr(err.message, table[i].want) != NULL, "got \"%s\"", err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_matrix),
        cmocka_unit_test(facts_of_the_peer),
        cmocka_unit_test(alpn_follows_the_server),
        cmocka_unit_test(sessions_are_resumed),
        cmocka_unit_test(close_notify_is_the_end),
        cmocka_unit_test(a_cut_connection_is_no_end),
        cmocka_unit_test(much_data_with_a_slow_reader),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(garbage_and_silence),
        cmocka_unit_test(bad_contexts_say_which_part),
    };
    return cmocka_run_group_tests_name("tls", tests, make_identities, free_identities);
}

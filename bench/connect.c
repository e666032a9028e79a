// SPDX-License-Identifier: Apache-2.0
//
// connect: a client of new connections, each with one HTTP/1.1 request, which common generators lack.
//
//   connect rate ADDR:PORT SECONDS [OPTIONS]   as many as it can, one after the other in each thread;
//                                              prints {"connections": N, "resumed": N, "errors": N}
//   connect hold ADDR:PORT COUNT [OPTIONS]     opens COUNT, prints "ready", keeps them until its standard
//                                              input ends
//
//   --tls            TLS 1.3 (X25519 by OpenSSL's default); certificates are not checked
//   --resume         with the ticket of the thread's connection before
//   --cert CERT KEY  shows this certificate
//
// Blocking on purpose: it is the measured server that has to be good.
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "net/address.h"

#define CONNECT_THREADS 4
#define CONNECT_COUNT_MAX 20000u
#define CONNECT_ANSWER_MAX (64u * 1024)

struct options {
    struct address address;
    uint64_t amount; // seconds or connections
    bool tls;
    bool resume;
    const char *certificate;
    const char *key;
};

struct client {
    const struct options *options;
    SSL_CTX *context;
    SSL_SESSION *session; // newest ticket
    uint64_t deadline_ms;
    uint64_t connections;
    uint64_t resumed;
    uint64_t errors;
    pthread_t thread;
};

struct connection {
    int fd;
    SSL *ssl; // NULL: plaintext
};

static uint64_t now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// --- one connection --------------------------------------------------------------------------------

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct client *client = SSL_get_app_data(ssl);
    SSL_SESSION_free(client->session);
    client->session = session;
    return 1;
}

static bool client_init(struct client *client, const struct options *options)
{
    *client = (struct client){.options = options};
    if (!options->tls) {
        return true;
    }
    client->context = SSL_CTX_new(TLS_client_method());
    (void)SSL_CTX_set_min_proto_version(client->context, TLS1_3_VERSION);
    (void)SSL_CTX_set_mode(client->context, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(client->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    if (options->resume) {
        SSL_CTX_sess_set_new_cb(client->context, on_session);
    }
    return options->certificate == NULL ||
           (SSL_CTX_use_certificate_chain_file(client->context, options->certificate) == 1 &&
            SSL_CTX_use_PrivateKey_file(client->context, options->key, SSL_FILETYPE_PEM) == 1);
}

static bool connection_open(struct client *client, struct connection *connection)
{
    const struct address *address = &client->options->address;
    *connection = (struct connection){.fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (connection->fd < 0 || connect(connection->fd, &address->any, address->size) != 0) {
        return false;
    }
    if (!client->options->tls) {
        return true;
    }
    connection->ssl = SSL_new(client->context);
    (void)SSL_set_fd(connection->ssl, connection->fd);
    SSL_set_app_data(connection->ssl, client);
    if (client->session != NULL) {
        (void)SSL_set_session(connection->ssl, client->session);
    }
    return SSL_connect(connection->ssl) == 1;
}

static void connection_close(struct connection *connection)
{
    if (connection->ssl != NULL) {
        (void)SSL_shutdown(connection->ssl);
        SSL_free(connection->ssl);
    }
    if (connection->fd >= 0) {
        (void)close(connection->fd);
    }
}

static ssize_t receive(struct connection *connection, char *to, size_t size)
{
    return connection->ssl != NULL ? SSL_read(connection->ssl, to, (int)size) : recv(connection->fd, to, size, 0);
}

// True: a whole answer with status 200 came.
static bool ask(struct connection *connection)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ssize_t size = sizeof(request) - 1;
    ssize_t sent = connection->ssl != NULL ? SSL_write(connection->ssl, request, (int)size)
                                           : send(connection->fd, request, (size_t)size, MSG_NOSIGNAL);
    if (sent != size) {
        return false;
    }
    char answer[CONNECT_ANSWER_MAX + 1] __attribute__((uninitialized));
    size_t have = 0;
    for (size_t want = 0; want == 0 || have < want;) {
        ssize_t got = have == CONNECT_ANSWER_MAX ? 0 : receive(connection, answer + have, CONNECT_ANSWER_MAX - have);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
        answer[have] = '\0';
        const char *end = strstr(answer, "\r\n\r\n");
        const char *length = strcasestr(answer, "\r\ncontent-length:");
        if (want == 0 && end != NULL && length != NULL) {
            uint64_t body = 0;
            struct str value = str_make(length + 17, (size_t)(strchr(length + 17, '\r') - length - 17));
            if (!str_to_u64(str_trim(value), &body) || body > CONNECT_ANSWER_MAX) {
                return false;
            }
            want = (size_t)(end - answer) + 4 + (size_t)body;
        }
    }
    return strncmp(answer, "HTTP/1.1 200", 12) == 0;
}

// --- modes -----------------------------------------------------------------------------------------

static void *run_rate(void *argument)
{
    struct client *client = argument;
    while (now_ms() < client->deadline_ms) {
        struct connection connection;
        if (connection_open(client, &connection) && ask(&connection)) {
            client->connections++;
            client->resumed += connection.ssl != NULL && SSL_session_reused(connection.ssl) == 1 ? 1 : 0;
        } else {
            client->errors++;
        }
        connection_close(&connection);
    }
    return NULL;
}

static int rate(const struct options *options)
{
    static struct client clients[CONNECT_THREADS];
    struct client sum = {0};
    uint64_t deadline = now_ms() + options->amount * 1000;
    for (size_t i = 0; i < CONNECT_THREADS; i++) {
        if (!client_init(&clients[i], options)) {
            (void)fprintf(stderr, "connect: cannot use the certificate or key\n");
            return 1;
        }
        clients[i].deadline_ms = deadline;
        ASSERT(pthread_create(&clients[i].thread, NULL, run_rate, &clients[i]) == 0);
    }
    for (size_t i = 0; i < CONNECT_THREADS; i++) {
        ASSERT(pthread_join(clients[i].thread, NULL) == 0);
        sum.connections += clients[i].connections;
        sum.resumed += clients[i].resumed;
        sum.errors += clients[i].errors;
    }
    (void)printf("{\"connections\": %llu, \"resumed\": %llu, \"errors\": %llu}\n", (unsigned long long)sum.connections,
                 (unsigned long long)sum.resumed, (unsigned long long)sum.errors);
    return 0;
}

static int hold(const struct options *options)
{
    static struct connection connections[CONNECT_COUNT_MAX];
    struct client client;
    if (options->amount > CONNECT_COUNT_MAX || !client_init(&client, options)) {
        (void)fprintf(stderr, "connect: cannot use the certificate or key, or too many connections\n");
        return 1;
    }
    for (size_t i = 0; i < options->amount; i++) {
        if (!connection_open(&client, &connections[i]) || !ask(&connections[i])) {
            (void)fprintf(stderr, "connect: connection %zu failed: %s\n", i, strerror(errno));
            return 1;
        }
    }
    (void)puts("ready");
    (void)fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
        // whoever started it says when
    }
    return 0;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    struct error err = {0};
    if (argc < 4 || address_parse(str_of(argv[2]), &options->address, &err) != ERR_OK ||
        !str_to_u64(str_of(argv[3]), &options->amount)) {
        return false;
    }
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "--tls") == 0) {
            options->tls = true;
        } else if (strcmp(argv[i], "--resume") == 0) {
            options->resume = true;
        } else if (strcmp(argv[i], "--cert") == 0 && i + 2 < argc) {
            options->certificate = argv[++i];
            options->key = argv[++i];
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    if (parse_options(argc, argv, &options) && strcmp(argv[1], "rate") == 0) {
        return rate(&options);
    }
    if (options.address.size > 0 && strcmp(argv[1], "hold") == 0) {
        return hold(&options);
    }
    (void)fprintf(stderr, "usage: %s rate|hold ADDR:PORT SECONDS|COUNT [--tls] [--resume] [--cert CERT KEY]\n", argv[0]);
    return 2;
}

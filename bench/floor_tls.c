// SPDX-License-Identifier: Apache-2.0
//
// floor_tls: what OpenSSL and the kernel cost alone, as floor.c does for plaintext.
//
//   floor_tls ADDR:PORT BYTES CERT KEY [CLIENT_CA]
//
// A TLS server on level-triggered epoll that keeps nothing but the SSL object of a connection, with
// OpenSSL's own socket BIO, and answers each blank line at the end of a read. With CLIENT_CA clients need
// a certificate. Not for use on a network.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "net/address.h"

#define FLOOR_FDS_MAX 65536
#define FLOOR_BODY_MAX 15000u // one record, so that nothing is left over
#define FLOOR_BATCH 128

struct floor {
    int epoll_fd;
    int listen_fd;
    SSL_CTX *context;
    SSL **connections; // by descriptor
    struct str answer;
};

static void drop(struct floor *floor, int fd)
{
    SSL_free(floor->connections[fd]);
    floor->connections[fd] = NULL;
    (void)close(fd);
}

static void accept_one(struct floor *floor)
{
    int fd = accept4(floor->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fd >= FLOOR_FDS_MAX) {
        (void)close(fd);
        return;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    SSL *ssl = SSL_new(floor->context);
    (void)SSL_set_fd(ssl, fd);
    SSL_set_accept_state(ssl);
    floor->connections[fd] = ssl;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    (void)epoll_ctl(floor->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void serve(struct floor *floor, int fd)
{
    char buffer[16 * 1024];
    SSL *ssl = floor->connections[fd];
    int got = SSL_read(ssl, buffer, sizeof(buffer));
    if (got <= 0) {
        if (SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ) {
            drop(floor, fd);
        }
    } else if (got > 4 && memcmp(buffer + got - 4, "\r\n\r\n", 4) == 0 &&
               SSL_write(ssl, floor->answer.data, (int)floor->answer.size) <= 0) {
        drop(floor, fd);
    }
}

static SSL_CTX *make_context(char **files, int count)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    bool ok = SSL_CTX_use_certificate_chain_file(context, files[0]) == 1 &&
              SSL_CTX_use_PrivateKey_file(context, files[1], SSL_FILETYPE_PEM) == 1;
    if (count > 2) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        ok = ok && SSL_CTX_load_verify_file(context, files[2]) == 1;
    }
    static const unsigned char session_context[] = "floor";
    (void)SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context));
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(context, 1);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (!ok) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

static struct str make_answer(size_t body_size)
{
    char *text = mem_alloc(256 + body_size);
    int head = snprintf(text, 256, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", body_size);
    memset(text + head, 'x', body_size);
    return str_make(text, (size_t)head + body_size);
}

int main(int argc, char **argv)
{
    uint64_t body_size = 0;
    if (argc < 5 || argc > 6 || !str_to_u64(str_of(argv[2]), &body_size) || body_size > FLOOR_BODY_MAX) {
        (void)fprintf(stderr, "usage: %s ADDR:PORT BYTES CERT KEY [CLIENT_CA]\n", argv[0]);
        return 2;
    }
    struct floor floor = {.context = make_context(argv + 3, argc - 3), .answer = make_answer((size_t)body_size)};
    struct error err = {0};
    struct address address;
    const struct listen_options options = {.backlog = 4096};
    if (floor.context == NULL || address_parse(str_of(argv[1]), &address, &err) != ERR_OK ||
        address_listen(&address, &options, &floor.listen_fd, &err) != ERR_OK) {
        (void)fprintf(stderr, "floor_tls: %s\n", floor.context == NULL ? "cannot use the certificate, key or root" : err.message);
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN); // OpenSSL's socket BIO writes without MSG_NOSIGNAL
    floor.connections = mem_zalloc(sizeof(SSL *) * FLOOR_FDS_MAX);
    floor.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = floor.listen_fd};
    (void)epoll_ctl(floor.epoll_fd, EPOLL_CTL_ADD, floor.listen_fd, &event);
    for (;;) {
        struct epoll_event batch[FLOOR_BATCH];
        int count = epoll_wait(floor.epoll_fd, batch, FLOOR_BATCH, -1);
        for (int i = 0; i < count; i++) {
            if (batch[i].data.fd == floor.listen_fd) {
                accept_one(&floor);
            } else {
                serve(&floor, batch[i].data.fd);
            }
        }
    }
}

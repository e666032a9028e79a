// SPDX-License-Identifier: Apache-2.0
//
// hello: the smallest server on our HTTP stack: 200 and a body on any path, over HTTP/1.1, HTTP/2 by
// prior knowledge, or TLS with ALPN. It is what bench/ measures and what other people's clients are
// pointed at, so it does nothing of its own: what it costs is what the stack costs.
//
// A request is answered when its body has ended. Bodies above HELLO_PIECE_SIZE are sent piece by piece
// as the client takes them, so that --body 1073741824 needs no gigabyte.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/memory.h"
#include "net/http.h"

#define HELLO_PIECE_SIZE (64u * 1024)
#define HELLO_BODY_DEFAULT 13u // "Hello, world\n"
#define HELLO_DRAIN_MS 5000u
#define HELLO_BACKLOG 4096
#define HELLO_CONNECTIONS_MAX 100000u

struct options {
    const char *listen;
    const char *certificate;
    const char *key;
    const char *client_ca;
    uint64_t body_size;
};

struct hello {
    struct loop *loop;
    struct http_server *server;
    uint64_t body_size;
    char piece[HELLO_PIECE_SIZE]; // the body, or what it is made of
};

// A body under way; freed in on_close.
struct download {
    struct hello *hello;
    uint64_t left;
};

// --- answering -------------------------------------------------------------------------------------

static void send_more(struct download *download, struct http_exchange *exchange)
{
    while (download->left > 0 && !http_is_congested(exchange)) {
        size_t size = download->left < HELLO_PIECE_SIZE ? (size_t)download->left : HELLO_PIECE_SIZE;
        download->left -= size;
        http_send_data(exchange, str_make(download->hello->piece, size), download->left == 0);
    }
}

static void ignore_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner;
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void download_on_drained(void *owner, struct http_exchange *exchange)
{
    send_more(owner, exchange);
}

static void download_on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    (void)err;
    mem_free(owner);
}

static const struct http_events download_events = {
    .on_data = ignore_data, .on_drained = download_on_drained, .on_close = download_on_close};

static void start_download(struct hello *hello, struct http_exchange *exchange)
{
    struct download *download = mem_new(struct download);
    *download = (struct download){.hello = hello, .left = hello->body_size};
    http_set_events(exchange, &download_events, download);
    char digits[24];
    int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)hello->body_size);
    struct http_head head __attribute__((uninitialized)); // large; init clears what counts
    http_head_init_response(&head, 200);
    (void)http_head_add(&head, STR("content-type"), STR("text/plain"));
    (void)http_head_add(&head, STR("content-length"), str_make(digits, (size_t)size));
    http_send_head(exchange, &head, false);
    send_more(download, exchange);
}

static void answer(struct hello *hello, struct http_exchange *exchange)
{
    if (hello->body_size > HELLO_PIECE_SIZE) {
        start_download(hello, exchange);
    } else {
        http_respond(exchange, 200, STR("text/plain"), str_make(hello->piece, (size_t)hello->body_size));
    }
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)bytes; // what is uploaded is read and dropped
    if (end) {
        answer(owner, exchange);
    }
}

static const struct http_events events = {.on_data = on_data};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    http_set_events(exchange, &events, owner);
    if (str_equal(head->method, STR("CONNECT"))) {
        http_respond(exchange, 405, STR("text/plain"), STR("no tunnels here\n"));
    } else if (end) {
        answer(owner, exchange);
    }
}

// --- starting --------------------------------------------------------------------------------------

static bool read_pem(struct arena *arena, const char *path, struct str *ret_pem, struct error *err)
{
    return path == NULL || file_read(arena, path, FILE_READ_MAX, ret_pem, err) == ERR_OK;
}

// NULL and err->code ERR_OK: plaintext.
static struct tls_context *make_tls(const struct options *options, struct error *err)
{
    static const struct str alpn[] = {{"h2", 2}, {"http/1.1", 8}};
    if (options->certificate == NULL) {
        return NULL;
    }
    struct arena arena = {0};
    struct tls_options tls = {.role = TLS_SERVER,
                              .peer = options->client_ca == NULL ? TLS_PEER_NONE : TLS_PEER_REQUIRED,
                              .alpn = alpn,
                              .alpn_count = array_count(alpn)};
    struct tls_context *context = NULL;
    if (read_pem(&arena, options->certificate, &tls.certificate_pem, err) &&
        read_pem(&arena, options->key, &tls.key_pem, err) &&
        read_pem(&arena, options->client_ca, &tls.roots_pem, err)) {
        context = tls_context_new(&tls, err);
    }
    mem_wipe((void *)(uintptr_t)tls.key_pem.data, tls.key_pem.size);
    arena_done(&arena);
    return context;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        int left = argc - i - 1;
        if (strcmp(name, "--listen") == 0 && left >= 1) {
            options->listen = argv[++i];
        } else if (strcmp(name, "--tls") == 0 && left >= 2) {
            options->certificate = argv[++i];
            options->key = argv[++i];
        } else if (strcmp(name, "--client-ca") == 0 && left >= 1) {
            options->client_ca = argv[++i];
        } else if (strcmp(name, "--body") == 0 && left >= 1) {
            if (!str_to_u64(str_of(argv[++i]), &options->body_size)) {
                return false;
            }
        } else {
            return false;
        }
    }
    return options->listen != NULL && (options->client_ca == NULL || options->certificate != NULL);
}

static void on_drained(void *owner)
{
    struct hello *hello = owner;
    loop_stop(hello->loop);
}

static void on_signal(void *owner, int signal_number)
{
    (void)signal_number;
    struct hello *hello = owner;
    http_server_drain(hello->server, HELLO_DRAIN_MS, on_drained, hello);
}

static void fill_body(struct hello *hello, uint64_t size)
{
    static const char text[] = "Hello, world\n";
    hello->body_size = size;
    for (size_t i = 0; i < HELLO_PIECE_SIZE; i++) {
        hello->piece[i] = text[i % (sizeof(text) - 1)];
    }
}

static bool start(const struct options *options, struct hello *hello, struct error *err)
{
    struct address address;
    const struct listen_options listen_options = {.backlog = HELLO_BACKLOG};
    int fd = -1;
    struct tls_context *tls = make_tls(options, err);
    if (err->code != ERR_OK || address_parse(str_of(options->listen), &address, err) != ERR_OK ||
        address_listen(&address, &listen_options, &fd, err) != ERR_OK) {
        tls_context_unref(tls);
        return false;
    }
    const struct http_server_options server_options = {
        .http2 = true, .limits = {.connections_max = HELLO_CONNECTIONS_MAX}};
    fill_body(hello, options->body_size);
    hello->loop = loop_new();
    hello->server = http_server_new(hello->loop, &server_options, on_request, hello);
    http_server_listen(hello->server, fd, tls);
    tls_context_unref(tls); // the listener has its own reference
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.body_size = HELLO_BODY_DEFAULT};
    if (!parse_options(argc, argv, &options)) {
        (void)fprintf(stderr, "usage: %s --listen ADDR:PORT [--tls CERT KEY [--client-ca CA]] [--body BYTES]\n", argv[0]);
        return 2;
    }
    struct hello *hello = mem_new(struct hello);
    struct error err = {0};
    if (!start(&options, hello, &err)) {
        (void)fprintf(stderr, "hello: %s\n", err.message);
        mem_free(hello);
        return 1;
    }
    loop_signal_watch(hello->loop, SIGTERM, on_signal, hello);
    loop_signal_watch(hello->loop, SIGINT, on_signal, hello);
    loop_run(hello->loop);
    http_server_free(hello->server);
    loop_turn(hello->loop, 0);
    loop_free(hello->loop);
    mem_free(hello);
    return 0;
}

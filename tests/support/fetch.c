// SPDX-License-Identifier: Apache-2.0
//
// fetch: our HTTP client against other people's servers. Prints one line per answer,
//
//   STATUS VERSION BYTES   200 20 1048576
//
// or "error CODE message". Exit status 0 when every request was answered.
//
//   fetch [--protocol 1|2|alpn] [--ca FILE] [--cert CERT --key KEY] [--name SERVER_NAME]
//         [--upload BYTES] [--chunked] [--count N] [--parallel N] [--connections N] ADDR:PORT METHOD PATH
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "net/http.h"

#define PIECE_SIZE (64u * 1024)

struct options {
    enum http_protocol protocol;
    const char *ca;
    const char *certificate;
    const char *key;
    const char *name;
    uint64_t upload;
    bool chunked;
    uint64_t count;
    uint64_t parallel;
    uint64_t connections;
    const char *address;
    const char *method;
    const char *path;
};

struct fetch {
    const struct options *options;
    struct loop *loop;
    struct http_client *client;
    uint64_t left;    // to start
    uint64_t running;
    bool failed;
    char piece[PIECE_SIZE];
};

struct request {
    struct fetch *fetch;
    uint64_t upload_left;
    int status;
    int version;
    uint64_t received;
};

static void start_more(struct fetch *fetch);

static void send_more(struct request *request, struct http_exchange *exchange)
{
    while (request->upload_left > 0 && !http_is_congested(exchange)) {
        size_t size = request->upload_left < PIECE_SIZE ? (size_t)request->upload_left : PIECE_SIZE;
        request->upload_left -= size;
        http_send_data(exchange, str_make(request->fetch->piece, size), request->upload_left == 0);
    }
}

static void on_head(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)end;
    struct request *request = owner;
    request->status = head->status;
    request->version = http_version(exchange);
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)end;
    ((struct request *)owner)->received += bytes.size;
}

static void on_drained(void *owner, struct http_exchange *exchange)
{
    send_more(owner, exchange);
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)exchange;
    struct request *request = owner;
    struct fetch *fetch = request->fetch;
    if (err->code == ERR_OK) {
        (void)printf("%d %d %llu\n", request->status, request->version, (unsigned long long)request->received);
    } else {
        (void)printf("error %s %s\n", err_name(err->code), err->message);
        fetch->failed = true;
    }
    mem_free(request);
    fetch->running--;
    start_more(fetch);
    if (fetch->running == 0 && fetch->left == 0) {
        loop_stop(fetch->loop);
    }
}

static const struct http_events events = {
    .on_head = on_head, .on_data = on_data, .on_drained = on_drained, .on_close = on_close};

static void start_one(struct fetch *fetch)
{
    const struct options *options = fetch->options;
    struct request *request = mem_new(struct request);
    *request = (struct request){.fetch = fetch, .upload_left = options->upload};
    struct http_head head;
    http_head_init_request(&head, str_of(options->method), options->certificate != NULL || options->ca != NULL ? STR("https") : STR("http"),
                           options->name != NULL ? str_of(options->name) : str_of(options->address),
                           str_of(options->path));
    char digits[24];
    if (options->upload > 0 && !options->chunked) {
        int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)options->upload);
        (void)http_head_add(&head, STR("content-length"), str_make(digits, (size_t)size));
    }
    struct http_exchange *exchange = http_request(fetch->client, &head, options->upload == 0, &events, request);
    send_more(request, exchange);
}

static void start_more(struct fetch *fetch)
{
    while (fetch->left > 0 && fetch->running < fetch->options->parallel) {
        fetch->left--;
        fetch->running++;
        start_one(fetch);
    }
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const char *const protocols[] = {[HTTP_PROTOCOL_1] = "1", [HTTP_PROTOCOL_2] = "2", [HTTP_PROTOCOL_ALPN] = "alpn"};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const struct {
            const char *name;
            const char **text;
            uint64_t *number;
        } rows[] = {
            {"--ca", &options->ca, NULL},         {"--name", &options->name, NULL},
            {"--cert", &options->certificate, NULL}, {"--key", &options->key, NULL},
            {"--upload", NULL, &options->upload}, {"--count", NULL, &options->count},
            {"--parallel", NULL, &options->parallel}, {"--connections", NULL, &options->connections},
        };
        bool known = strcmp(argv[i], "--chunked") == 0;
        options->chunked = options->chunked || known;
        if (strcmp(argv[i], "--protocol") == 0) {
            i++;
            for (size_t p = 0; p < array_count(protocols); p++) {
                if (strcmp(argv[i], protocols[p]) == 0) {
                    options->protocol = (enum http_protocol)p;
                    known = true;
                }
            }
        }
        for (size_t row = 0; !known && row < array_count(rows); row++) {
            if (strcmp(argv[i], rows[row].name) == 0) {
                i++;
                known = rows[row].number == NULL || str_to_u64(str_of(argv[i]), rows[row].number);
                if (rows[row].text != NULL) {
                    *rows[row].text = argv[i];
                }
            }
        }
        if (!known) {
            return false;
        }
    }
    if (argc - i != 3) {
        return false;
    }
    options->address = argv[i];
    options->method = argv[i + 1];
    options->path = argv[i + 2];
    return true;
}

static bool read_optional(struct arena *arena, const char *path, struct str *ret_text, struct error *err)
{
    return path == NULL || file_read(arena, path, FILE_READ_MAX, ret_text, err) == ERR_OK;
}

static struct tls_context *make_tls(const struct options *options, struct error *err)
{
    struct arena arena = {0};
    struct tls_options tls = {.role = TLS_CLIENT, .peer = TLS_PEER_REQUIRED, .verify_host = options->name != NULL};
    struct tls_context *context = NULL;
    if (read_optional(&arena, options->ca, &tls.roots_pem, err) &&
        read_optional(&arena, options->certificate, &tls.certificate_pem, err) &&
        read_optional(&arena, options->key, &tls.key_pem, err)) {
        context = tls_context_new(&tls, err);
    }
    arena_done(&arena);
    return context;
}

int main(int argc, char **argv)
{
    struct options options = {.protocol = HTTP_PROTOCOL_1, .count = 1, .parallel = 1};
    struct error err = {0};
    struct http_client_options client = {0};
    if (!parse_options(argc, argv, &options)) {
        (void)fprintf(stderr, "usage: %s [options] ADDR:PORT METHOD PATH\n", argv[0]);
        return 2;
    }
    client.tls = options.ca != NULL ? make_tls(&options, &err) : NULL;
    if (err.code != ERR_OK || address_parse(str_of(options.address), &client.address, &err) != ERR_OK) {
        (void)fprintf(stderr, "fetch: %s\n", err.message);
        return 1;
    }
    static const struct str alpn[] = {{"h2", 2}, {"http/1.1", 8}};
    client.protocol = options.protocol;
    client.alpn = options.protocol == HTTP_PROTOCOL_1 ? &alpn[1] : alpn;
    client.alpn_count = options.protocol == HTTP_PROTOCOL_ALPN ? 2 : 1;
    client.tls_server_name = options.name != NULL ? str_of(options.name) : STR_EMPTY;
    client.connections_max = (unsigned)options.connections;
    struct fetch *fetch = mem_new(struct fetch);
    fetch->options = &options;
    fetch->left = options.count;
    fetch->loop = loop_new();
    fetch->client = http_client_new(fetch->loop, &client);
    tls_context_unref(client.tls);
    start_more(fetch);
    loop_run(fetch->loop);
    http_client_free(fetch->client);
    for (int i = 0; i < 3; i++) {
        loop_turn(fetch->loop, 0);
    }
    loop_free(fetch->loop);
    bool failed = fetch->failed;
    mem_free(fetch);
    return failed ? 1 : 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// helloworld: the smallest service that says which version and instance answered. Stands in for the images
// examples-helloworld-v1 and -v2: same port, paths, texts and environment.
//
//   GET /hello    burns a little CPU, as a real service would, then
//                 "Hello version: $SERVICE_VERSION, instance: $HOSTNAME"
//   GET /health   "Helloworld is healthy"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/memory.h"
#include "net/http.h"

#define PORT_DEFAULT "5000"
#define BURN_STEPS 1000000 // a few milliseconds
#define DRAIN_MS 5000
#define HTML STR("text/html; charset=utf-8")

struct helloworld {
    struct loop *loop;
    struct http_server *server;
    struct str version;
    struct str instance;
    volatile double burnt; // read by nobody; keeps the work from being optimized away
};

static struct str environment(const char *name)
{
    const char *value = getenv(name);
    return str_of(value != NULL ? value : "None");
}

static void burn(struct helloworld *app)
{
    double x = 0.0001;
    for (int i = 0; i < BURN_STEPS; i++) {
        x += sqrt(x);
    }
    app->burnt = x;
}

static void answer_hello(struct helloworld *app, struct http_exchange *exchange)
{
    struct arena arena = {0};
    burn(app);
    http_respond(exchange, 200, HTML,
                 arena_format(&arena, "Hello version: %.*s, instance: %.*s\n", STR_ARG(app->version), STR_ARG(app->instance)));
    arena_done(&arena);
}

static void answer_health(struct helloworld *app, struct http_exchange *exchange)
{
    (void)app;
    http_respond(exchange, 200, HTML, STR("Helloworld is healthy"));
}

static void answer_error(struct http_exchange *exchange, int status)
{
    struct arena arena = {0};
    const char *text = http_status_text(status);
    http_respond(exchange, status, HTML,
                 arena_format(&arena, "<!doctype html>\n<title>%d %s</title>\n<h1>%s</h1>\n", status, text, text));
    arena_done(&arena);
}

static void on_data(void *owner, struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)owner; // bodies mean nothing here
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void on_close(void *owner, struct http_exchange *exchange, const struct error *err)
{
    (void)owner;
    (void)exchange;
    (void)err;
}

static const struct http_events events = {.on_data = on_data, .on_close = on_close};

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    static const struct {
        struct str path;
        void (*answer)(struct helloworld *app, struct http_exchange *exchange);
    } routes[] = {
        {{"/hello", 6}, answer_hello},
        {{"/health", 7}, answer_health},
    };
    (void)end;
    http_set_events(exchange, &events, NULL);
    ptrdiff_t query = str_find_char(head->path, '?');
    struct str path = query < 0 ? head->path : str_sub(head->path, 0, (size_t)query);
    for (size_t i = 0; i < array_count(routes); i++) {
        if (str_equal(path, routes[i].path)) {
            if (str_equal_c(head->method, "GET") || str_equal_c(head->method, "HEAD")) {
                routes[i].answer(owner, exchange);
            } else {
                answer_error(exchange, 405);
            }
            return;
        }
    }
    answer_error(exchange, 404);
}

// Both families where there is IPv6, else IPv4.
static enum err listen_on(struct str port_text, int *ret_fd, struct error *err)
{
    uint64_t port;
    if (!str_to_u64(port_text, &port) || port == 0 || port > 65535) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is not a port", STR_ARG(port_text));
    }
    static const struct str families[] = {{"::", 2}, {"0.0.0.0", 7}};
    const struct listen_options options = {0};
    enum err code = ERR_INTERNAL;
    for (size_t i = 0; i < array_count(families) && code != ERR_OK; i++) {
        struct address address;
        code = address_from_ip(families[i], (uint16_t)port, &address, err);
        code = code == ERR_OK ? address_listen(&address, &options, ret_fd, err) : code;
    }
    return code;
}

static void on_drained(void *owner)
{
    struct helloworld *app = owner;
    loop_stop(app->loop);
}

static void on_signal(void *owner, int signal_number)
{
    (void)signal_number;
    struct helloworld *app = owner;
    http_server_drain(app->server, DRAIN_MS, on_drained, app);
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        (void)fprintf(stderr, "usage: %s [PORT]\n", argv[0]);
        return 2;
    }
    struct error err = {0};
    int fd;
    if (listen_on(str_of(argc == 2 ? argv[1] : PORT_DEFAULT), &fd, &err) != ERR_OK) {
        (void)fprintf(stderr, "helloworld: %s\n", err.message);
        return 1;
    }
    struct helloworld app = {.loop = loop_new(), .version = environment("SERVICE_VERSION"), .instance = environment("HOSTNAME")};
    const struct http_server_options options = {.http2 = true};
    app.server = http_server_new(app.loop, &options, on_request, &app);
    http_server_listen(app.server, fd, NULL);
    // As process 1 of a container no signal has a default action.
    loop_signal_watch(app.loop, SIGTERM, on_signal, &app);
    loop_signal_watch(app.loop, SIGINT, on_signal, &app);
    loop_run(app.loop);
    http_server_free(app.server);
    loop_turn(app.loop, 0);
    loop_free(app.loop);
    return 0;
}

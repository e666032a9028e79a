// SPDX-License-Identifier: Apache-2.0
//
// metallb: what the pods of MetalLB's manifest run in a lab, where the cluster itself does their work: a program
// that is there, ready, and answers on the port of its probes and metrics. Stands in for the images
// quay.io/metallb/controller and speaker: same flags, of which only --port means something here.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/metrics.h"
#include "net/http.h"

#define PORT_DEFAULT "7472"

struct metallb {
    struct loop *loop;
    struct http_server *server;
    struct metrics *metrics;
};

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

static void on_request(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end)
{
    static const struct http_events events = {.on_data = on_data, .on_close = on_close};
    struct metallb *app = owner;
    struct buf text = {0};
    (void)end;
    http_set_events(exchange, &events, NULL);
    if (!str_equal(head->path, STR("/metrics"))) {
        http_respond(exchange, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
        return;
    }
    metrics_write(app->metrics, &text);
    http_respond(exchange, 200, STR("text/plain; version=0.0.4; charset=utf-8"), buf_view(&text));
    buf_done(&text);
}

static enum err listen_on(struct metallb *app, struct str port_text, struct error *err)
{
    const struct listen_options options = {0};
    struct address address;
    uint64_t port;
    int fd;
    if (!str_to_u64(port_text, &port) || port == 0 || port > UINT16_MAX) {
        return error_set(err, ERR_INVALID, "\"%.*s\" is not a port", STR_ARG(port_text));
    }
    enum err code = address_from_ip(STR("0.0.0.0"), (uint16_t)port, &address, err);
    code = code == ERR_OK ? address_listen(&address, &options, &fd, err) : code;
    if (code == ERR_OK) {
        http_server_listen(app->server, fd, NULL);
    }
    return code;
}

static void on_signal(void *owner, int signal_number)
{
    (void)signal_number;
    struct metallb *app = owner;
    loop_stop(app->loop);
}

int main(int argc, char **argv)
{
    static const struct http_server_options options = {.limits = {.connections_max = 100}};
    struct metallb app = {.loop = loop_new(), .metrics = metrics_new()};
    struct str port = STR(PORT_DEFAULT);
    struct error err = {0};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--port=", 7) == 0) {
            port = str_of(argv[i] + 7);
        }
    }
    (void)signal(SIGPIPE, SIG_IGN);
    metric_set(metrics_gauge(app.metrics, "metallb_k8s_client_config_loaded_bool", "1 if the configuration was loaded.", NULL), 1);
    app.server = http_server_new(app.loop, &options, on_request, &app);
    enum err code = listen_on(&app, port, &err);
    if (code == ERR_OK) {
        loop_signal_watch(app.loop, SIGTERM, on_signal, &app);
        loop_signal_watch(app.loop, SIGINT, on_signal, &app);
        loop_run(app.loop);
    } else {
        (void)fprintf(stderr, "metallb: %s\n", err.message);
    }
    http_server_free(app.server);
    loop_turn(app.loop, 0); // what closes itself at the end of a turn
    loop_free(app.loop);
    metrics_free(app.metrics);
    return code == ERR_OK ? 0 : 1;
}

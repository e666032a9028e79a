// SPDX-License-Identifier: Apache-2.0
//
// HTTP server: listeners, the set of its connections, drain.
//
//   SERVING ──drain──► DRAINING ──no connection left, or deadline──► on_done
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "loop/socket.h"
#include "net/http_internal.h"

struct http_listener {
    struct acceptor acceptor;
    struct http_server *server;
    struct tls_context *tls;
    struct list node;
};

struct http_server_metrics {
    struct metric *connections;
    struct metric *connections_active;
    struct metric *connections_refused;
    struct metric *requests;
    struct metric *bad_requests;
};

struct http_server {
    struct loop *loop;
    struct http_pool *pool;
    http_request_fn *on_request;
    void *owner;
    bool http2;
    struct http_server_metrics metrics; // members NULL without a registry
    struct list listeners;
    struct list connections;
    unsigned connection_count;
    bool draining;
    struct loop_timer drain_timer;
    struct loop_task drain_task;
    void (*on_drained)(void *owner);
    void *drain_owner;
};

static void count(struct metric *metric)
{
    if (metric != NULL) {
        metric_add(metric, 1);
    }
}

static void count_active(struct http_server *server)
{
    if (server->metrics.connections_active != NULL) {
        metric_set(server->metrics.connections_active, (int64_t)server->connection_count);
    }
}

static void make_metrics(struct http_server *server, const struct http_server_options *options)
{
    if (options->metrics == NULL) {
        return;
    }
    const char *prefix =
        options->metric_prefix != NULL ? options->metric_prefix : "isthmesh_http_server";
    struct http_server_metrics *metrics = &server->metrics;
    const struct {
        struct metric **place;
        const char *name;
        const char *help;
        bool gauge;
    } rows[] = {
        {&metrics->connections, "connections_total", "Connections accepted.", false},
        {&metrics->connections_active, "connections_active", "Connections open now.", true},
        {&metrics->connections_refused, "connections_refused_total",
         "Connections closed because connections_max was reached.", false},
        {&metrics->requests, "requests_total", "Requests whose head was read.", false},
        {&metrics->bad_requests, "bad_requests_total",
         "Requests refused as malformed or too large.", false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char name[160];
        (void)snprintf(name, sizeof(name), "%s_%s", prefix, rows[i].name);
        *rows[i].place = rows[i].gauge
                             ? metrics_gauge(options->metrics, name, rows[i].help, NULL)
                             : metrics_counter(options->metrics, name, rows[i].help, NULL);
    }
}

// --- what connections call
// -------------------------------------------------------------------------

void http_server_request(struct http_server *server, struct http_exchange *exchange,
                         const struct http_head *head, bool end)
{
    count(server->metrics.requests);
    server->on_request(server->owner, exchange, head, end);
}

void http_server_count_bad(struct http_server *server)
{
    count(server->metrics.bad_requests);
}

void http_server_add_connection(struct http_server *server, struct http_connection *connection)
{
    list_append(&server->connections, &connection->node);
    server->connection_count++;
    count_active(server);
}

void http_server_remove_connection(struct http_server *server, struct http_connection *connection)
{
    list_remove(&connection->node);
    server->connection_count--;
    count_active(server);
    if (server->draining && server->connection_count == 0) {
        loop_task_schedule(server->loop, &server->drain_task);
    }
}

// --- listening
// -------------------------------------------------------------------------------------

static bool has_room(struct http_server *server)
{
    if (server->draining || server->connection_count >= server->pool->limits.connections_max) {
        count(server->metrics.connections_refused);
        return false;
    }
    count(server->metrics.connections);
    return true;
}

static void on_accept(struct acceptor *acceptor, int fd, const struct sockaddr *peer,
                      socklen_t peer_size)
{
    struct http_listener *listener = container_of(acceptor, struct http_listener, acceptor);
    struct http_server *server = listener->server;
    if (!has_room(server)) {
        (void)close(fd);
        return;
    }
    static const struct stream_events no_events;
    struct stream *stream =
        stream_accept_from(server->loop, fd, peer, peer_size, listener->tls, STR_EMPTY, &no_events, NULL);
    (void)http1_connection_new_server(server, server->pool, stream, server->http2);
}

void http_server_listen(struct http_server *server, int fd, struct tls_context *tls)
{
    struct http_listener *listener = mem_new(struct http_listener);
    listener->server = server;
    listener->tls = tls == NULL ? NULL : tls_context_ref(tls);
    list_append(&server->listeners, &listener->node);
    acceptor_init(&listener->acceptor, server->loop, on_accept);
    acceptor_start(&listener->acceptor, fd);
}

void http_server_set_tls(struct http_server *server, struct tls_context *tls)
{
    list_each(&server->listeners, node)
    {
        struct http_listener *listener = container_of(node, struct http_listener, node);
        if (listener->tls != NULL) {
            tls_context_unref(listener->tls);
            listener->tls = tls_context_ref(tls);
        }
    }
}

void http_server_adopt(struct http_server *server, struct stream *stream)
{
    http_server_adopt_tagged(server, stream, NULL, NULL);
}

void http_server_adopt_tagged(struct http_server *server, struct stream *stream, void *tag,
                              void (*on_closed)(void *tag))
{
    bool room = has_room(server);
    struct http_connection *connection =
        http1_connection_new_server(server, server->pool, stream, server->http2);
    connection->tag = tag;
    connection->on_closed = on_closed;
    if (!room) {
        connection->methods->abort(connection, "too many connections");
    }
}

// --- life
// ------------------------------------------------------------------------------------------

static void on_drain_task(struct loop_task *task)
{
    struct http_server *server = container_of(task, struct http_server, drain_task);
    if (server->on_drained == NULL) {
        return;
    }
    void (*on_drained)(void *owner) = server->on_drained;
    server->on_drained = NULL;
    loop_timer_stop(&server->drain_timer);
    on_drained(server->drain_owner);
}

static void abort_connections(struct http_server *server, const char *reason)
{
    list_each(&server->connections, node)
    {
        struct http_connection *connection = container_of(node, struct http_connection, node);
        connection->methods->abort(connection, reason);
    }
}

static void on_drain_deadline(struct loop_timer *timer)
{
    struct http_server *server = container_of(timer, struct http_server, drain_timer);
    abort_connections(server, "the server is shutting down");
}

struct http_server *http_server_new(struct loop *loop, const struct http_server_options *options,
                                    http_request_fn *on_request, void *owner)
{
    struct http_server *server = mem_new(struct http_server);
    server->loop = loop;
    server->pool = http_pool_new(loop, &options->limits);
    server->on_request = on_request;
    server->owner = owner;
    server->http2 = options->http2;
    list_init(&server->listeners);
    list_init(&server->connections);
    loop_timer_init(&server->drain_timer, loop, on_drain_deadline);
    loop_task_init(&server->drain_task, on_drain_task);
    make_metrics(server, options);
    return server;
}

static void close_listeners(struct http_server *server)
{
    list_each(&server->listeners, node)
    {
        struct http_listener *listener = container_of(node, struct http_listener, node);
        list_remove(node);
        acceptor_stop(&listener->acceptor);
        tls_context_unref(listener->tls);
        mem_free(listener);
    }
}

void http_server_drain(struct http_server *server, uint64_t deadline_ms,
                       void (*on_done)(void *owner), void *owner)
{
    server->draining = true;
    server->on_drained = on_done;
    server->drain_owner = owner;
    close_listeners(server);
    list_each(&server->connections, node)
    {
        struct http_connection *connection = container_of(node, struct http_connection, node);
        connection->methods->drain(connection);
    }
    loop_timer_start(&server->drain_timer, deadline_ms);
    if (server->connection_count == 0) {
        loop_task_schedule(server->loop, &server->drain_task);
    }
}

void http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    close_listeners(server);
    list_each(&server->connections, node)
    {
        struct http_connection *connection = container_of(node, struct http_connection, node);
        connection->methods->abort(connection, "the server is shutting down");
        // What is left frees itself when its stream reports the end.
        list_remove(node);
        connection->server = NULL;
    }
    http_pool_close_all(server->pool, "the server is shutting down");
    loop_timer_stop(&server->drain_timer);
    loop_task_cancel(&server->drain_task);
    http_pool_unref(server->pool);
    mem_free(server);
}

// SPDX-License-Identifier: Apache-2.0
//
// HTTP client: a pool of connections to one destination and a queue of requests that wait for one.
//
// A request takes a connection that has room, the last used first, so that idle ones grow old.
// Without one it waits, with its head copied, and a connector is started: resolve, connect,
// handshake; then the connection is HTTP/1 or HTTP/2 as configured or negotiated. HTTP/1 gets a
// connector per waiting request, HTTP/2 one for all. When a connector fails, requests that no other
// one works for fail with it.
//
// The client may be freed in any callback: nothing here touches it after calling out.
#include "base/assert.h"
#include "net/http_internal.h"
#include "net/resolve.h"

#define HTTP_CONNECTORS_MAX 256u

struct http_client {
    struct loop *loop;
    struct http_pool *pool;
    struct arena arena; // copies of option texts
    struct http_client_options options;
    struct str alpn[4];
    struct address bind_to;
    struct list connections;
    struct list connectors;
    struct list waiting; // exchanges, oldest first
    unsigned connection_count;
    unsigned connector_count;
    struct loop_task serve_task;
    struct loop_task drained_task;
    bool closing;
};

struct http_connector {
    struct http_client *client; // NULL: abandoned
    struct list node;
    struct resolve *resolve;
    struct stream *stream;
};

// --- requests that wait
// ----------------------------------------------------------------------------

static void waiting_nothing(struct http_exchange *exchange)
{
    (void)exchange;
}

static void waiting_head(struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    (void)head;
    (void)end; // a request has one head, and http_request() has it
}

// Body bytes wait in `out` and go behind the head once there is a connection.
static void waiting_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    if (exchange->sent_end) {
        return;
    }
    buf_append_str(&exchange->out, bytes);
    exchange->sent_end = end;
}

static void waiting_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    if (!exchange->sent_end) {
        exchange->trailers = http_head_copy(&exchange->arena, trailers);
        exchange->sent_end = true;
    }
}

static bool waiting_is_congested(const struct http_exchange *exchange)
{
    return exchange->out.size >= STREAM_LOW_WATER;
}

static void waiting_cancel(struct http_exchange *exchange)
{
    http_exchange_finish(exchange, ERR_CLOSED, "cancelled");
}

static const struct http_exchange_methods waiting_methods = {
    .send_head = waiting_head,
    .send_data = waiting_data,
    .send_trailers = waiting_trailers,
    .is_congested = waiting_is_congested,
    .resume = waiting_nothing,
    .cancel = waiting_cancel,
};

static void start_waiting(struct http_client *client, struct http_connection *connection,
                          struct http_exchange *exchange)
{
    list_remove(&exchange->node);
    struct buf body = exchange->out;
    bool end = exchange->sent_end;
    struct http_head *trailers = exchange->trailers;
    exchange->out = (struct buf){0};
    exchange->sent_end = false;
    exchange->trailers = NULL;
    connection->methods->start(connection, exchange, exchange->request, exchange->request_end);
    if (!exchange->request_end) {
        if (trailers != NULL) {
            http_send_data(exchange, buf_view(&body), false);
            http_send_trailers(exchange, trailers);
        } else if (body.size > 0 || end) {
            http_send_data(exchange, buf_view(&body), end);
        }
        if (!end && body.size > 0 && !exchange->over) {
            exchange->owes_drained = true; // it may have been told to wait
            loop_task_schedule(exchange->pool->loop, &client->drained_task);
        }
    }
    buf_done(&body);
}

// Owners whose body was waiting may go on. A task, so that nobody is called from inside
// http_request(). The first callback may free the client: from then on only the pool is touched.
static void on_drained_task(struct loop_task *task)
{
    struct http_pool *pool = container_of(task, struct http_client, drained_task)->pool;
    http_pool_ref(pool);
    for (bool again = true; again;) {
        again = false;
        list_each(&pool->live, node) {
            struct http_exchange *exchange = container_of(node, struct http_exchange, pool_node);
            if (exchange->owes_drained) {
                exchange->owes_drained = false;
                if (!exchange->over && !http_is_congested(exchange)) {
                    http_exchange_emit_drained(exchange);
                    again = true; // the list may have changed
                    break;
                }
            }
        }
    }
    http_pool_unref(pool);
}

static bool is_repeatable(const struct http_head *head)
{
    static const struct str methods[] = {
        {"GET", 3}, {"HEAD", 4}, {"OPTIONS", 7}, {"PUT", 3}, {"DELETE", 6}};
    for (size_t i = 0; i < array_count(methods); i++) {
        if (str_equal(head->method, methods[i])) {
            return head->upgrade.size == 0;
        }
    }
    return false;
}

static void wait_for_connection(struct http_client *client, struct http_exchange *exchange)
{
    exchange->methods = &waiting_methods;
    exchange->connection = NULL;
    list_append(&client->waiting, &exchange->node);
    loop_task_schedule(client->loop, &client->serve_task);
}

// --- connectors
// ------------------------------------------------------------------------------------

static void report_connection(struct http_client *client, bool opened, const struct error *err)
{
    if (client->options.on_connection != NULL) {
        client->options.on_connection(client->options.owner, opened, err);
    }
}

static void connector_free(struct http_connector *connector)
{
    if (connector->client != NULL) {
        list_remove(&connector->node);
        connector->client->connector_count--;
    }
    mem_free(connector);
}

static bool is_multiplexed(const struct http_client *client)
{
    return client->options.protocol != HTTP_PROTOCOL_1;
}

// Requests that no other connector works for fail with this one.
static void connector_failed(struct http_client *client, const struct error *err)
{
    if (client->connector_count == 0 || !is_multiplexed(client)) {
        bool all = is_multiplexed(client);
        do {
            struct list *first = list_first(&client->waiting);
            if (first == NULL) {
                break;
            }
            http_exchange_finish_with(container_of(first, struct http_exchange, node), err);
        } while (all);
    }
    loop_task_schedule(client->loop, &client->serve_task);
    report_connection(client, false, err);
}

static void connector_on_open(void *owner, struct stream *stream)
{
    struct http_connector *connector = owner;
    struct http_client *client = connector->client;
    if (client == NULL) {
        stream_abort(stream);
        return;
    }
    bool http2 = client->options.protocol == HTTP_PROTOCOL_2;
    const struct tls_session *session = stream_tls(stream);
    if (client->options.protocol == HTTP_PROTOCOL_ALPN && session != NULL) {
        struct str alpn = tls_session_alpn(session);
        http2 = str_equal(alpn, STR("h2")) || str_equal(alpn, STR("istio-h2"));
    }
    connector_free(connector);
    struct http_connection *connection =
        http2 ? http2_connection_new_client(client, client->pool, stream)
              : http1_connection_new_client(client, client->pool, stream);
    http_client_connection_ready(client, connection);
    report_connection(client, true, NULL);
}

static void connector_on_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)owner;
    (void)bytes;
    stream_abort(stream); // nothing may come before on_open
}

static void connector_on_close(void *owner, struct stream *stream, const struct error *err)
{
    (void)stream;
    struct http_connector *connector = owner;
    struct http_client *client = connector->client;
    connector_free(connector);
    if (client == NULL) {
        return;
    }
    struct error why = *err;
    if (why.code == ERR_OK || why.code == ERR_CLOSED) {
        why.code = ERR_UNREACHABLE;
    }
    connector_failed(client, &why);
}

static const struct stream_events connector_events = {
    .on_open = connector_on_open,
    .on_read = connector_on_read,
    .on_close = connector_on_close,
};

static void connector_connect(struct http_connector *connector, const struct address *to)
{
    struct http_client *client = connector->client;
    const struct stream_connect_options options = {
        .tls = client->options.tls,
        .tls_server_name = client->options.tls_server_name,
        .alpn = client->options.alpn_count > 0 ? client->alpn : NULL,
        .alpn_count = client->options.alpn_count,
        .bind_to = client->options.bind_to,
        .timeout_ms = client->options.connect_timeout_ms,
    };
    connector->stream = stream_connect(client->loop, to, &options, &connector_events, connector);
}

static void connector_on_resolved(void *owner, const struct address *addresses, size_t count,
                                  const struct error *err)
{
    struct http_connector *connector = owner;
    struct http_client *client = connector->client;
    connector->resolve = NULL;
    if (count == 0) {
        struct error why = *err;
        if (why.code == ERR_OK) {
            (void)error_set(&why, ERR_NOT_FOUND, "%.*s has no address",
                            STR_ARG(client->options.host));
        }
        connector_free(connector);
        connector_failed(client, &why);
        return;
    }
    connector_connect(connector, &addresses[0]);
}

static void connector_start(struct http_client *client)
{
    struct http_connector *connector = mem_new(struct http_connector);
    connector->client = client;
    list_append(&client->connectors, &connector->node);
    client->connector_count++;
    if (client->options.address.size > 0) {
        connector_connect(connector, &client->options.address);
    } else {
        connector->resolve = resolve_start(client->loop, client->options.host, client->options.port,
                                           connector_on_resolved, connector);
    }
}

// As many connectors as waiting requests need and limits allow.
static void start_connectors(struct http_client *client)
{
    unsigned wanted = 0;
    list_each(&client->waiting, node)
    {
        if (++wanted >= HTTP_CONNECTORS_MAX || is_multiplexed(client)) {
            break;
        }
    }
    while (client->connector_count < wanted &&
           (client->options.connections_max == 0 ||
            client->connection_count + client->connector_count < client->options.connections_max)) {
        connector_start(client);
    }
}

// --- connections
// -----------------------------------------------------------------------------------

static bool has_requests_left(const struct http_client *client,
                              const struct http_connection *connection)
{
    return client->options.requests_max == 0 ||
           connection->request_count < client->options.requests_max;
}

static struct http_connection *find_room(struct http_client *client)
{
    list_each(&client->connections, node)
    {
        struct http_connection *connection = container_of(node, struct http_connection, node);
        if (has_requests_left(client, connection) && connection->methods->room(connection) > 0) {
            return connection;
        }
    }
    return NULL;
}

void http_client_add_connection(struct http_client *client, struct http_connection *connection)
{
    list_prepend(&client->connections, &connection->node);
    client->connection_count++;
}

void http_client_remove_connection(struct http_client *client, struct http_connection *connection)
{
    list_remove(&connection->node);
    client->connection_count--;
    connection->client = NULL;
    if (!list_is_empty(&client->waiting)) {
        loop_task_schedule(client->loop, &client->serve_task);
    }
    report_connection(client, false, NULL);
}

void http_client_connection_ready(struct http_client *client, struct http_connection *connection)
{
    if (!has_requests_left(client, connection)) {
        connection->methods->drain(connection);
        return;
    }
    list_remove(&connection->node); // the last used first
    list_prepend(&client->connections, &connection->node);
    list_each(&client->waiting, node)
    {
        struct http_exchange *exchange = container_of(node, struct http_exchange, node);
        if (connection->methods->room(connection) == 0 || !has_requests_left(client, connection)) {
            return;
        }
        if (!exchange->needs_fresh || connection->request_count == 0 || connection->version == 20) {
            start_waiting(client, connection, exchange);
        }
    }
    http_connection_set_deadline(connection, client->options.idle_timeout_ms);
}

bool http_client_repeat(struct http_client *client, struct http_exchange *exchange)
{
    if (client == NULL || client->closing || exchange->request == NULL || !exchange->request_end ||
        exchange->needs_fresh || exchange->received_any || !is_repeatable(exchange->request)) {
        return false;
    }
    list_remove(&exchange->node);
    buf_done(&exchange->in);
    buf_done(&exchange->out);
    exchange->head_sent = false;
    exchange->sent_end = false;
    exchange->has_provider = false;
    exchange->stream_id = 0;
    exchange->stream_closed = false;
    exchange->needs_fresh = true;
    wait_for_connection(client, exchange);
    return true;
}

// Connections that freed up are used as they report; here it is decided how many new ones are
// needed.
static void on_serve_task(struct loop_task *task)
{
    start_connectors(container_of(task, struct http_client, serve_task));
}

// --- public
// ----------------------------------------------------------------------------------------

struct http_exchange *http_request(struct http_client *client, const struct http_head *head,
                                   bool end, const struct http_events *events, void *owner)
{
    struct http_exchange *exchange = http_exchange_new(client->pool);
    exchange->events = events;
    exchange->owner = owner;
    exchange->method = http_method_kind_of(head->method);
    exchange->request_end = end;
    if (client->closing) {
        http_exchange_finish(exchange, ERR_CLOSED, "the client is closing");
        return exchange;
    }
    struct http_connection *connection = find_room(client);
    if (connection == NULL) {
        exchange->request = http_head_copy(&exchange->arena, head);
        wait_for_connection(client, exchange);
        return exchange;
    }
    if (end && connection->request_count > 0 && is_repeatable(head)) {
        exchange->request = http_head_copy(&exchange->arena, head);
    }
    connection->methods->start(connection, exchange, head, end);
    return exchange;
}

static void copy_options(struct http_client *client, const struct http_client_options *options)
{
    client->options = *options;
    client->options.host = arena_str(&client->arena, options->host);
    client->options.tls_server_name = arena_str(&client->arena, options->tls_server_name);
    if (options->tls != NULL) {
        client->options.tls = tls_context_ref(options->tls);
    }
    if (options->bind_to != NULL) {
        client->bind_to = *options->bind_to;
        client->options.bind_to = &client->bind_to;
    }
    ASSERT(options->alpn_count <= array_count(client->alpn));
    for (size_t i = 0; i < options->alpn_count; i++) {
        client->alpn[i] = arena_str(&client->arena, options->alpn[i]);
    }
    if (options->idle_timeout_ms == 0) {
        client->options.idle_timeout_ms = HTTP_CLIENT_IDLE_TIMEOUT_MS;
    }
}

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options)
{
    struct http_client *client = mem_new(struct http_client);
    client->loop = loop;
    client->pool = http_pool_new(loop, &options->limits);
    list_init(&client->connections);
    list_init(&client->connectors);
    list_init(&client->waiting);
    loop_task_init(&client->serve_task, on_serve_task);
    loop_task_init(&client->drained_task, on_drained_task);
    copy_options(client, options);
    return client;
}

void http_client_set_tls(struct http_client *client, struct tls_context *tls)
{
    struct tls_context *old = client->options.tls;
    client->options.tls = tls == NULL ? NULL : tls_context_ref(tls);
    tls_context_unref(old);
}

struct loop *http_client_loop(const struct http_client *client)
{
    return client->loop;
}

static void abandon_connectors(struct http_client *client)
{
    list_each(&client->connectors, node)
    {
        struct http_connector *connector = container_of(node, struct http_connector, node);
        list_remove(node);
        connector->client = NULL;
        if (connector->resolve != NULL) {
            resolve_cancel(connector->resolve);
            mem_free(connector);
        } else {
            stream_abort(connector->stream); // its on_close frees it
        }
    }
}

void http_client_free(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    client->closing = true;
    client->options.on_connection = NULL;
    abandon_connectors(client);
    list_each(&client->connections, node)
    {
        struct http_connection *connection = container_of(node, struct http_connection, node);
        connection->methods->abort(connection, "the client is closing");
        list_remove(node);
        connection->client = NULL;
    }
    http_pool_close_all(client->pool, "the client is closing");
    loop_task_cancel(&client->serve_task);
    loop_task_cancel(&client->drained_task);
    tls_context_unref(client->options.tls);
    arena_done(&client->arena);
    http_pool_unref(client->pool);
    mem_free(client);
}

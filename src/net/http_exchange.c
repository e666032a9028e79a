// SPDX-License-Identifier: Apache-2.0
//
// Exchanges: the public functions, which go to the connection's methods, and the common end.
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "net/http_internal.h"

// --- pool
// ------------------------------------------------------------------------------------------

static void limits_default(struct http_limits *limits)
{
    if (limits->head_bytes == 0) {
        limits->head_bytes = HTTP_HEAD_BYTES;
    }
    if (limits->header_count == 0) {
        limits->header_count = HTTP_HEADER_COUNT;
    }
    if (limits->header_count > HTTP_HEADERS_MAX) {
        limits->header_count = HTTP_HEADERS_MAX;
    }
    if (limits->head_timeout_ms == 0) {
        limits->head_timeout_ms = HTTP_HEAD_TIMEOUT_MS;
    }
    if (limits->idle_timeout_ms == 0) {
        limits->idle_timeout_ms = HTTP_IDLE_TIMEOUT_MS;
    }
    if (limits->streams_max == 0) {
        limits->streams_max = HTTP_STREAMS_MAX;
    }
    if (limits->connections_max == 0) {
        limits->connections_max = HTTP_CONNECTIONS_MAX;
    }
}

struct http_pool *http_pool_new(struct loop *loop, const struct http_limits *limits)
{
    struct http_pool *pool = mem_new(struct http_pool);
    pool->loop = loop;
    pool->references = 1;
    pool->limits = *limits;
    limits_default(&pool->limits);
    list_init(&pool->live);
    list_init(&pool->spare);
    return pool;
}

void http_pool_ref(struct http_pool *pool)
{
    pool->references++;
}

static void exchange_free(struct http_exchange *exchange)
{
    list_remove(&exchange->pool_node);
    arena_done(&exchange->arena);
    buf_done(&exchange->out);
    buf_done(&exchange->in);
    mem_free(exchange);
}

void http_pool_unref(struct http_pool *pool)
{
    if (--pool->references > 0) {
        return;
    }
    ASSERT(list_is_empty(&pool->live));
    list_each(&pool->spare, node)
    {
        exchange_free(container_of(node, struct http_exchange, pool_node));
    }
    buf_done(&pool->head_bytes);
    buf_done(&pool->out);
    mem_free(pool);
}

// --- life of an exchange
// ---------------------------------------------------------------------------

static void recycle(struct http_exchange *exchange)
{
    struct http_pool *pool = exchange->pool;
    if (pool->spare_count >= HTTP_POOL_SPARE_MAX) {
        exchange_free(exchange);
    } else {
        list_remove(&exchange->pool_node);
        list_prepend(&pool->spare, &exchange->pool_node); // the next one finds it in the cache
        pool->spare_count++;
        arena_reset(&exchange->arena);
        buf_done(&exchange->out);
        buf_done(&exchange->in);
    }
    http_pool_unref(pool);
}

static void report_close(struct http_exchange *exchange)
{
    static const struct error ended_well;
    const struct http_events *events = exchange->events;
    exchange->events = NULL;
    if (events != NULL && events->on_close != NULL) {
        events->on_close(exchange->owner, exchange,
                         exchange->close_error != NULL ? exchange->close_error : &ended_well);
    }
    recycle(exchange);
}

static void on_close_task(struct loop_task *task)
{
    report_close(container_of(task, struct http_exchange, close_task));
}

static void over_head(struct http_exchange *exchange, const struct http_head *head, bool end)
{
    (void)exchange;
    (void)head;
    (void)end;
}

static void over_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    (void)exchange;
    (void)bytes;
    (void)end;
}

static void over_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    (void)exchange;
    (void)trailers;
}

static bool over_is_congested(const struct http_exchange *exchange)
{
    (void)exchange;
    return false;
}

static void over_nothing(struct http_exchange *exchange)
{
    (void)exchange;
}

static const struct http_exchange_methods over_methods = {
    .send_head = over_head,
    .send_data = over_data,
    .send_trailers = over_trailers,
    .is_congested = over_is_congested,
    .resume = over_nothing,
    .cancel = over_nothing,
};

struct http_exchange *http_exchange_new(struct http_pool *pool)
{
    struct http_exchange *exchange = NULL;
    struct list *spare = list_first(&pool->spare);
    if (spare != NULL) {
        exchange = container_of(spare, struct http_exchange, pool_node);
        list_remove(spare);
        pool->spare_count--;
        struct arena arena = exchange->arena; // its chunk is what reuse is for
        *exchange = (struct http_exchange){.arena = arena};
    } else {
        exchange = mem_new(struct http_exchange);
    }
    exchange->pool = pool;
    exchange->methods = &over_methods;
    list_init(&exchange->pool_node);
    list_init(&exchange->node);
    list_append(&pool->live, &exchange->pool_node);
    loop_task_init(&exchange->close_task, on_close_task);
    http_pool_ref(pool);
    return exchange;
}

static bool begin_finish(struct http_exchange *exchange)
{
    if (exchange->over) {
        return false;
    }
    exchange->over = true;
    exchange->methods = &over_methods;
    exchange->connection = NULL;
    list_remove(&exchange->node);
    loop_task_schedule(exchange->pool->loop, &exchange->close_task);
    return true;
}

void http_exchange_finish(struct http_exchange *exchange, enum err code, const char *format, ...)
{
    if (!begin_finish(exchange) || format == NULL) {
        return;
    }
    exchange->close_error = arena_new(&exchange->arena, struct error);
    exchange->close_error->code = code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(exchange->close_error->message, sizeof(exchange->close_error->message), format,
                    args);
    va_end(args);
}

void http_exchange_finish_with(struct http_exchange *exchange, const struct error *err)
{
    http_exchange_finish(exchange, err->code == ERR_OK ? ERR_CLOSED : err->code, "%s",
                         err->message[0] != '\0' ? err->message : "connection closed");
}

void http_exchange_close_now(struct http_exchange *exchange)
{
    ASSERT(exchange->over);
    loop_task_cancel(&exchange->close_task);
    report_close(exchange);
}

void http_pool_close_all(struct http_pool *pool, const char *reason)
{
    http_pool_ref(pool);
    size_t count = 0; // requests made from these callbacks come behind and are not ours
    list_each(&pool->live, node)
    {
        count++;
    }
    for (; count > 0 && !list_is_empty(&pool->live); count--) {
        struct http_exchange *exchange =
            container_of(list_first(&pool->live), struct http_exchange, pool_node);
        http_exchange_finish(exchange, ERR_CLOSED, "%s", reason);
        http_exchange_close_now(exchange);
    }
    http_pool_unref(pool);
}

// --- events
// ----------------------------------------------------------------------------------------

void http_exchange_emit_head(struct http_exchange *exchange, const struct http_head *head, bool end)
{
    if (exchange->events != NULL && exchange->events->on_head != NULL) {
        exchange->events->on_head(exchange->owner, exchange, head, end);
    }
}

void http_exchange_emit_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    if (exchange->events != NULL && exchange->events->on_data != NULL) {
        exchange->events->on_data(exchange->owner, exchange, bytes, end);
    }
}

void http_exchange_emit_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    if (exchange->events != NULL && exchange->events->on_trailers != NULL) {
        exchange->events->on_trailers(exchange->owner, exchange, trailers);
    } else {
        http_exchange_emit_data(exchange, STR_EMPTY, true);
    }
}

void http_exchange_emit_drained(struct http_exchange *exchange)
{
    if (exchange->events != NULL && exchange->events->on_drained != NULL) {
        exchange->events->on_drained(exchange->owner, exchange);
    }
}

enum http_method_kind http_method_kind_of(struct str method)
{
    if (str_equal(method, STR("HEAD"))) {
        return HTTP_METHOD_HEAD;
    }
    return str_equal(method, STR("CONNECT")) ? HTTP_METHOD_CONNECT : HTTP_METHOD_OTHER;
}

// --- public
// ----------------------------------------------------------------------------------------

void http_send_head(struct http_exchange *exchange, const struct http_head *head, bool end)
{
    exchange->methods->send_head(exchange, head, end);
}

void http_send_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    exchange->methods->send_data(exchange, bytes, end);
}

void http_send_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    exchange->methods->send_trailers(exchange, trailers);
}

bool http_is_congested(const struct http_exchange *exchange)
{
    return exchange->methods->is_congested(exchange);
}

void http_respond(struct http_exchange *exchange, int status, struct str content_type,
                  struct str body)
{
    char digits[20];
    size_t at = sizeof(digits);
    size_t left = body.size;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    struct http_head head __attribute__((uninitialized)); // 4 KiB that need no filling
    http_head_init_response(&head, status);
    if (content_type.size > 0) {
        (void)http_head_add(&head, STR("content-type"), content_type);
    }
    (void)http_head_add(&head, STR("content-length"), str_make(digits + at, sizeof(digits) - at));
    http_send_head(exchange, &head, body.size == 0);
    if (body.size > 0) {
        http_send_data(exchange, body, true);
    }
}

void http_pause(struct http_exchange *exchange)
{
    exchange->paused = true;
}

void http_resume(struct http_exchange *exchange)
{
    if (exchange->paused) {
        exchange->paused = false;
        exchange->methods->resume(exchange);
    }
}

void http_cancel(struct http_exchange *exchange)
{
    exchange->methods->cancel(exchange);
}

void http_set_events(struct http_exchange *exchange, const struct http_events *events, void *owner)
{
    exchange->events = events;
    exchange->owner = owner;
}

void *http_owner(const struct http_exchange *exchange)
{
    return exchange->owner;
}

struct loop *http_loop(const struct http_exchange *exchange)
{
    return exchange->pool->loop;
}

int http_version(const struct http_exchange *exchange)
{
    return exchange->connection == NULL ? 0 : exchange->connection->version;
}

static struct stream *stream_of(const struct http_exchange *exchange)
{
    return exchange->connection == NULL ? NULL : exchange->connection->stream;
}

static const struct address no_address;

const struct address *http_peer(const struct http_exchange *exchange)
{
    struct stream *stream = stream_of(exchange);
    return stream == NULL ? &no_address : stream_peer(stream);
}

const struct address *http_local(const struct http_exchange *exchange)
{
    struct stream *stream = stream_of(exchange);
    return stream == NULL ? &no_address : stream_local(stream);
}

const struct tls_session *http_tls(const struct http_exchange *exchange)
{
    struct stream *stream = stream_of(exchange);
    return stream == NULL ? NULL : stream_tls(stream);
}

void *http_connection_tag(const struct http_exchange *exchange)
{
    return exchange->connection == NULL ? NULL : exchange->connection->tag;
}

// --- connections, common part
// ----------------------------------------------------------------------

void http_connection_init(struct http_connection *connection,
                          const struct http_connection_methods *methods, struct http_pool *pool,
                          struct stream *stream, loop_timer_fn *on_timer)
{
    connection->methods = methods;
    connection->pool = pool;
    connection->stream = stream;
    http_pool_ref(pool);
    list_init(&connection->node);
    loop_timer_init(&connection->timer, pool->loop, on_timer);
}

void http_connection_done(struct http_connection *connection)
{
    loop_timer_stop(&connection->timer);
    if (connection->server != NULL) {
        http_server_remove_connection(connection->server, connection);
    }
    if (connection->client != NULL) {
        http_client_remove_connection(connection->client, connection);
    }
    if (connection->on_closed != NULL) {
        connection->on_closed(connection->tag);
    }
    http_pool_unref(connection->pool);
}

void http_connection_set_deadline(struct http_connection *connection, uint64_t delay_ms)
{
    if (delay_ms == 0) {
        connection->deadline = 0;
        return;
    }
    connection->deadline = loop_now_ms(connection->pool->loop) + delay_ms;
    if (!loop_timer_is_running(&connection->timer) ||
        connection->timer_due > connection->deadline) {
        connection->timer_due = connection->deadline;
        loop_timer_start(&connection->timer, delay_ms);
    }
}

bool http_connection_is_expired(struct http_connection *connection)
{
    if (connection->deadline == 0) {
        return false;
    }
    uint64_t now = loop_now_ms(connection->pool->loop);
    if (now >= connection->deadline) {
        connection->deadline = 0;
        return true;
    }
    connection->timer_due = connection->deadline;
    loop_timer_start(&connection->timer, connection->deadline - now);
    return false;
}

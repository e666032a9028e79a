// SPDX-License-Identifier: Apache-2.0
//
// HTTP/2 connection, server and client side, around nghttp2's session. nghttp2 owns the protocol
// (frames, HPACK, stream states, message validation of RFC 9113 section 8); here are the exchanges,
// the flow of bytes and the guards.
//
// Sending: body bytes wait in exchange->out; the session asks for them as windows allow, and they
// go from there into the stream without passing through the session. What callbacks have queued is
// sent once per turn, by flush(). Receiving: windows are given back when the bytes have been taken
// by the owner, so a paused exchange holds at most its window; the connection's window bounds all
// of them.
//
// An exchange ends when its stream has closed and everything that arrived has been reported. User
// code is called from inside nghttp2's callbacks: it may submit, and may end this connection
// (`dead`), but the session is deleted in the stream's on_close only.
#include <nghttp2/nghttp2.h>

#include "base/assert.h"
#include "net/http_internal.h"

#define HTTP2_STREAM_WINDOW (256 * 1024)
#define HTTP2_CONNECTION_WINDOW                                                                    \
    (4 * 1024 * 1024)                // bound of what paused streams of a connection hold
#define HTTP2_OUT_HIGH (128u * 1024) // waiting body bytes of one exchange: congested
#define HTTP2_OUT_LOW (32u * 1024)
#define HTTP2_SHUTDOWN_NOTICE_MS 1000u // requests under way when GOAWAY is announced still count
#define HTTP2_RESETS_BURST 200u // streams a client may reset at once, and per second (rapid reset)
#define HTTP2_RESETS_PER_SECOND 50u
#define HTTP2_CONTINUATIONS_MAX 8u  // frames of one head after its first (CVE-2024-27316)
#define HTTP2_HEAD_EXCESS 4u        // times head_bytes: a head so much too large ends the connection
#define HTTP2_QUEUE_MAX 5000u       // frames a peer makes us owe (acks, resets) and does not read
#define HTTP2_SKIPPED_MAX 8u        // gaps a client left in its stream ids that we remember
#define HTTP2_FIELDS_MAX (HTTP_HEADERS_MAX + 5u)

struct http2_connection {
    struct http_connection base;
    nghttp2_session *session;
    struct list exchanges;
    unsigned open_streams;
    struct loop_task flush_task;
    struct arena head_arena;    // of the head being received
    struct http_head *incoming; // in it
    size_t incoming_bytes;
    bool incoming_too_large;
    bool head_begun; // the deadline is that of the head
    unsigned continuation_count;
    bool draining;    // no new requests
    bool goaway_sent; // the final one
    bool dead;        // closed or aborted
    int32_t last_id;  // server: highest stream the client has begun
    struct {
        int32_t first;
        int32_t last;
    } skipped[HTTP2_SKIPPED_MAX]; // latest gaps
    unsigned skipped_count;
    unsigned resets_left;
    uint64_t resets_refilled_ms;
};

static struct http2_connection *connection_of(struct http_connection *base)
{
    return container_of(base, struct http2_connection, base);
}

static void schedule_flush(struct http2_connection *connection)
{
    loop_task_schedule(connection->base.pool->loop, &connection->flush_task);
}

// --- ends
// ------------------------------------------------------------------------------------------

// The exchange leaves its stream; bytes that nobody will take give their window back.
static void detach(struct http2_connection *connection, struct http_exchange *exchange)
{
    if (exchange->stream_id > 0) {
        (void)nghttp2_session_set_stream_user_data(connection->session, exchange->stream_id, NULL);
    }
    if (exchange->in.size > 0) {
        (void)nghttp2_session_consume_connection(connection->session, exchange->in.size);
        buf_done(&exchange->in);
    }
    buf_done(&exchange->out);
}

static void finish(struct http2_connection *connection, struct http_exchange *exchange,
                   enum err code, const char *reason)
{
    detach(connection, exchange);
    if (code == ERR_OK) {
        http_exchange_finish(exchange, ERR_OK, NULL);
    } else {
        http_exchange_finish(exchange, code, "%s", reason);
    }
}

// The server has not processed it: repeated elsewhere when that is possible.
static bool repeat(struct http2_connection *connection, struct http_exchange *exchange)
{
    int32_t stream_id = exchange->stream_id;
    if (!http_client_repeat(connection->base.client, exchange)) {
        return false;
    }
    if (stream_id > 0) {
        (void)nghttp2_session_set_stream_user_data(connection->session, stream_id, NULL);
    }
    return true;
}

// The connection has gone. As on HTTP/1, requests on a pooled one that got no byte back are repeated.
static void repeat_unanswered(struct http2_connection *connection)
{
    if (connection->base.client == NULL || connection->base.request_count <= 1) {
        return;
    }
    list_each(&connection->exchanges, node)
    {
        (void)repeat(connection, container_of(node, struct http_exchange, node));
    }
}

static void finish_all(struct http2_connection *connection, enum err code, const char *reason)
{
    for (struct list *node; (node = list_first(&connection->exchanges)) != NULL;) {
        finish(connection, container_of(node, struct http_exchange, node), code, reason);
    }
}

static void fail(struct http2_connection *connection, enum err code, const char *reason)
{
    connection->dead = true;
    http_connection_set_deadline(&connection->base, 0);
    finish_all(connection, code, reason);
    if (connection->base.stream != NULL) {
        stream_abort(connection->base.stream);
    }
}

// For use inside the session's callbacks as well: the GOAWAY is sent by give_up().
static int calm_down(struct http2_connection *connection)
{
    (void)nghttp2_session_terminate_session2(
        connection->session, nghttp2_session_get_last_proc_stream_id(connection->session),
        NGHTTP2_ENHANCE_YOUR_CALM);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

// The peer misbehaves: it is told so, and what it still sends is dropped.
static void give_up(struct http2_connection *connection, const char *reason)
{
    (void)calm_down(connection);
    (void)nghttp2_session_send(connection->session);
    connection->dead = true;
    http_connection_set_deadline(&connection->base, 0);
    finish_all(connection, ERR_PROTOCOL, reason);
    if (connection->base.stream != NULL) {
        stream_close(connection->base.stream);
    }
}

static void close_if_idle(struct http2_connection *connection)
{
    if (connection->dead || connection->base.stream == NULL) {
        return;
    }
    bool finished = nghttp2_session_want_read(connection->session) == 0 &&
                    nghttp2_session_want_write(connection->session) == 0;
    bool drained = connection->draining && connection->open_streams == 0 &&
                   list_is_empty(&connection->exchanges) &&
                   (!connection->base.is_server || connection->goaway_sent);
    if (finished || drained) {
        connection->dead = true;
        http_connection_set_deadline(&connection->base, 0);
        finish_all(connection, ERR_CLOSED, "connection closed");
        stream_close(connection->base.stream);
    }
}

// --- sending
// ---------------------------------------------------------------------------------------

// Large; the compiler is told not to fill it before use.
struct fields {
    nghttp2_nv items[HTTP2_FIELDS_MAX];
    size_t count;
};

static void add_field(struct fields *fields, struct str name, struct str value)
{
    // nghttp2 copies both; it only forgot to say so with const.
    union {
        const char *from;
        uint8_t *to;
    } name_data = {.from = name.data}, value_data = {.from = value.data};
    fields->items[fields->count++] = (nghttp2_nv){.name = name_data.to,
                                                  .namelen = name.size,
                                                  .value = value_data.to,
                                                  .valuelen = value.size,
                                                  .flags = NGHTTP2_NV_FLAG_NONE};
}

// RFC 9113 section 8.2.2: what belongs to an HTTP/1 connection has no place here.
static bool is_connection_specific(struct str name, struct str value)
{
    static const struct str names[] = {
        {"connection", 10},        {"host", 4},    {"keep-alive", 10}, {"proxy-connection", 16},
        {"transfer-encoding", 17}, {"upgrade", 7},
    };
    for (size_t i = 0; i < array_count(names); i++) {
        if (str_equal(name, names[i])) {
            return true;
        }
    }
    return str_equal(name, STR("te")) && !str_equal(value, STR("trailers"));
}

static bool is_sendable(struct str name, struct str value)
{
    return nghttp2_check_header_name((const uint8_t *)name.data, name.size) != 0 &&
           name.data[0] != ':' &&
           nghttp2_check_header_value((const uint8_t *)value.data, value.size) != 0 &&
           !is_connection_specific(name, value);
}

static void add_headers(struct fields *fields, const struct http_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (is_sendable(head->headers[i].name, head->headers[i].value)) {
            add_field(fields, head->headers[i].name, head->headers[i].value);
        }
    }
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream_id, uint8_t *buf,
                              size_t length, uint32_t *data_flags, nghttp2_data_source *source,
                              void *user_data)
{
    (void)buf;
    (void)source;
    (void)user_data;
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);
    if (exchange == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; // given up: the reset is on its way
    }
    size_t size = exchange->out.size < length ? exchange->out.size : length;
    if (size == 0 && !exchange->sent_end) {
        return NGHTTP2_ERR_DEFERRED;
    }
    if (size > 0) {
        *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    }
    if (exchange->sent_end && size == exchange->out.size) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
        if (exchange->trailers != NULL) {
            *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            struct fields fields __attribute__((uninitialized));
            fields.count = 0;
            add_headers(&fields, exchange->trailers);
            exchange->trailers = NULL;
            (void)nghttp2_submit_trailer(session, stream_id, fields.items, fields.count);
        }
    }
    return (ssize_t)size;
}

static int on_body_frame(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                         size_t length, nghttp2_data_source *source, void *user_data)
{
    (void)source;
    struct http2_connection *connection = user_data;
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (exchange == NULL || exchange->out.size < length) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    stream_write(connection->base.stream, str_make((const char *)framehd, 9));
    stream_write(connection->base.stream,
                 str_make(exchange->out.data + exchange->out.start, length));
    buf_consume(&exchange->out, length);
    buf_release(&exchange->out);
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t length, int flags,
                       void *user_data)
{
    (void)session;
    (void)flags;
    struct http2_connection *connection = user_data;
    if (stream_is_congested(connection->base.stream)) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    stream_write(connection->base.stream, str_make((const char *)data, length));
    return (ssize_t)length;
}

// A response that ended before its request did: the rest is not wanted (RFC 9113 section 8.1).
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct http2_connection *connection = user_data;
    bool end = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
               (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!end || !connection->base.is_server) {
        return 0;
    }
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (exchange == NULL || !exchange->received_end) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_NO_ERROR);
    }
    return 0;
}

static void submit(struct http2_connection *connection, struct http_exchange *exchange,
                   const struct fields *fields, bool end)
{
    nghttp2_data_provider provider = {.source.ptr = NULL, .read_callback = on_body_wanted};
    exchange->has_provider = !end;
    if (connection->base.is_server) {
        if (nghttp2_submit_response(connection->session, exchange->stream_id, fields->items,
                                    fields->count, end ? NULL : &provider) != 0) {
            finish(connection, exchange, ERR_CLOSED, "the stream is closed");
        }
        return;
    }
    int32_t id = nghttp2_submit_request(connection->session, NULL, fields->items, fields->count,
                                        end ? NULL : &provider, exchange);
    if (id < 0) {
        connection->draining =
            true; // stream identifiers are used up: the next one needs a new connection
        finish(connection, exchange, ERR_CONFLICT, nghttp2_strerror(id));
        return;
    }
    exchange->stream_id = id;
    connection->open_streams++;
}

static void send_response_head(struct http2_connection *connection, struct http_exchange *exchange,
                               const struct http_head *head, bool end)
{
    char digits[4] = {(char)('0' + head->status / 100 % 10), (char)('0' + head->status / 10 % 10),
                      (char)('0' + head->status % 10), '\0'};
    struct fields fields __attribute__((uninitialized));
    fields.count = 0;
    add_field(&fields, STR(":status"), str_make(digits, 3));
    add_headers(&fields, head);
    if (head->status < 200) {
        if (head->status != 101) { // there is no 101 in HTTP/2 (RFC 9113 section 8.6)
            (void)nghttp2_submit_headers(connection->session, NGHTTP2_FLAG_NONE,
                                         exchange->stream_id, NULL, fields.items, fields.count,
                                         NULL);
        }
        return;
    }
    exchange->head_sent = true;
    bool bodiless =
        exchange->method == HTTP_METHOD_HEAD || head->status == 204 || head->status == 304;
    exchange->sent_end = end || bodiless;
    submit(connection, exchange, &fields, exchange->sent_end);
}

static void send_request_head(struct http2_connection *connection, struct http_exchange *exchange,
                              const struct http_head *head, bool end)
{
    struct fields fields __attribute__((uninitialized));
    fields.count = 0;
    add_field(&fields, STR(":method"), head->method);
    if (exchange->method != HTTP_METHOD_CONNECT) {
        struct str scheme =
            stream_tls(connection->base.stream) != NULL ? STR("https") : STR("http");
        add_field(&fields, STR(":scheme"), head->scheme.size > 0 ? head->scheme : scheme);
        add_field(&fields, STR(":path"), head->path.size > 0 ? head->path : STR("/"));
    }
    add_field(&fields, STR(":authority"), head->authority);
    add_headers(&fields, head);
    exchange->head_sent = true;
    exchange->sent_end = end;
    submit(connection, exchange, &fields, end);
}

static void exchange_send_head(struct http_exchange *exchange, const struct http_head *head,
                               bool end)
{
    struct http2_connection *connection = connection_of(exchange->connection);
    if (exchange->head_sent || exchange->stream_closed) {
        return;
    }
    if (connection->base.is_server) {
        send_response_head(connection, exchange, head, end);
    } else {
        send_request_head(connection, exchange, head, end);
    }
    schedule_flush(connection);
}

static void wake_provider(struct http2_connection *connection, struct http_exchange *exchange)
{
    if (exchange->has_provider) {
        (void)nghttp2_session_resume_data(connection->session, exchange->stream_id);
        schedule_flush(connection);
    }
}

static void exchange_send_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    struct http2_connection *connection = connection_of(exchange->connection);
    if (exchange->sent_end || exchange->stream_closed) {
        return;
    }
    buf_append_str(&exchange->out, bytes);
    exchange->sent_end = end;
    if (exchange->out.size >= HTTP2_OUT_HIGH) {
        exchange->was_congested = true;
    }
    wake_provider(connection, exchange);
}

static void exchange_send_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    struct http2_connection *connection = connection_of(exchange->connection);
    if (exchange->sent_end || exchange->stream_closed) {
        return;
    }
    if (trailers->header_count > 0) {
        exchange->trailers = http_head_copy(&exchange->arena, trailers);
    }
    exchange->sent_end = true;
    wake_provider(connection, exchange);
}

static bool exchange_is_congested(const struct http_exchange *exchange)
{
    return exchange->out.size >= HTTP2_OUT_HIGH || exchange->was_congested ||
           stream_is_congested(exchange->connection->stream);
}

static void exchange_resume(struct http_exchange *exchange)
{
    exchange->progress_ms = loop_now_ms(exchange->pool->loop);
    if (exchange->in.size > 0 || exchange->in_end) {
        schedule_flush(connection_of(exchange->connection));
    }
}

static void exchange_cancel(struct http_exchange *exchange)
{
    struct http2_connection *connection = connection_of(exchange->connection);
    (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, exchange->stream_id,
                                    NGHTTP2_CANCEL);
    finish(connection, exchange, ERR_CLOSED, "cancelled");
    schedule_flush(connection);
}

static const struct http_exchange_methods exchange_methods = {
    .send_head = exchange_send_head,
    .send_data = exchange_send_data,
    .send_trailers = exchange_send_trailers,
    .is_congested = exchange_is_congested,
    .resume = exchange_resume,
    .cancel = exchange_cancel,
};

// --- receiving: time
// ------------------------------------------------------------------------------

static bool owes_body(const struct http_exchange *exchange)
{
    return exchange->head_received && !exchange->received_end && !exchange->in_end &&
           !exchange->paused && !exchange->stream_closed;
}

// How long until some request body may not have moved for too long; 0: all are complete. It may turn
// out later when looked at (bodies move, pause and resume without touching the timer).
static uint64_t body_deadline(const struct http2_connection *connection)
{
    uint64_t timeout_ms = connection->base.pool->limits.body_timeout_ms;
    uint64_t now = loop_now_ms(connection->base.pool->loop);
    uint64_t nearest = 0;
    if (timeout_ms == 0) {
        return 0;
    }
    list_each(&connection->exchanges, node)
    {
        const struct http_exchange *exchange = container_of(node, struct http_exchange, node);
        if (!exchange->received_end) {
            uint64_t due = exchange->progress_ms + timeout_ms;
            uint64_t left = due > now && owes_body(exchange) ? due - now : timeout_ms;
            nearest = nearest == 0 || left < nearest ? left : nearest;
        }
    }
    return nearest;
}

static void reset_slow_bodies(struct http2_connection *connection)
{
    uint64_t now = loop_now_ms(connection->base.pool->loop);
    uint64_t timeout_ms = connection->base.pool->limits.body_timeout_ms;
    list_each(&connection->exchanges, node)
    {
        struct http_exchange *exchange = container_of(node, struct http_exchange, node);
        if (owes_body(exchange) && now - exchange->progress_ms >= timeout_ms) {
            (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE,
                                            exchange->stream_id, NGHTTP2_CANCEL);
            finish(connection, exchange, ERR_TIMEOUT, "the request body stopped");
        }
    }
    http_connection_set_deadline(&connection->base, body_deadline(connection));
    schedule_flush(connection);
}

// --- receiving: heads
// ------------------------------------------------------------------------------

static int verdict(const struct http2_connection *connection)
{
    return connection->dead ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

// A head under way holds up its whole connection, so it has a deadline of its own.
static void set_head_deadline(struct http2_connection *connection, bool begun)
{
    connection->continuation_count = 0;
    if (!connection->base.is_server) {
        return;
    }
    connection->head_begun = begun;
    if (!connection->draining) {
        http_connection_set_deadline(&connection->base,
                                     begun ? connection->base.pool->limits.head_timeout_ms
                                           : body_deadline(connection));
    }
}

// New streams have rising ids (RFC 9113 section 5.1.1). nghttp2 takes a lower one for a stream that
// was closed, as trailers may still come for such; one that was left out when higher ones began never
// was open.
static bool is_falling(struct http2_connection *connection, int32_t id)
{
    for (size_t i = 0; i < HTTP2_SKIPPED_MAX; i++) {
        if (id >= connection->skipped[i].first && id <= connection->skipped[i].last) {
            return true;
        }
    }
    if (id > connection->last_id + 2) {
        size_t place = connection->skipped_count++ % HTTP2_SKIPPED_MAX;
        connection->skipped[place].first = connection->last_id + 2;
        connection->skipped[place].last = id - 2;
    }
    connection->last_id = id > connection->last_id ? id : connection->last_id;
    return false;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user_data)
{
    struct http2_connection *connection = user_data;
    if (head->type == NGHTTP2_CONTINUATION &&
        ++connection->continuation_count > HTTP2_CONTINUATIONS_MAX) {
        return calm_down(connection);
    }
    if (head->type == NGHTTP2_HEADERS && connection->base.is_server && head->stream_id % 2 == 1 &&
        is_falling(connection, head->stream_id)) {
        (void)nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (head->type != NGHTTP2_CONTINUATION && connection->head_begun) {
        set_head_deadline(connection, false); // it ended without being reported: its stream is gone
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error_code,
                            void *user_data)
{
    (void)session;
    (void)frame;
    (void)error_code;
    struct http2_connection *connection = user_data;
    if (connection->head_begun) {
        set_head_deadline(connection, false);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct http2_connection *connection = user_data;
    arena_reset(&connection->head_arena);
    connection->incoming = arena_alloc(&connection->head_arena, sizeof(*connection->incoming));
    http_head_init_response(connection->incoming, 0);
    connection->incoming_bytes = 0;
    connection->incoming_too_large = false;
    set_head_deadline(connection, true);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct http_exchange *exchange = http_exchange_new(connection->base.pool);
        exchange->connection = &connection->base;
        exchange->methods = &exchange_methods;
        exchange->stream_id = frame->hd.stream_id;
        list_append(&connection->exchanges, &exchange->node);
        connection->open_streams++;
        connection->base.request_count++;
        (void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, exchange);
    }
    return 0;
}

static bool take_pseudo(struct http2_connection *connection, struct str name, struct str value)
{
    struct http_head *head = connection->incoming;
    const struct {
        struct str name;
        struct str *place;
    } rows[] = {
        {STR(":method"), &head->method},
        {STR(":scheme"), &head->scheme},
        {STR(":authority"), &head->authority},
        {STR(":path"), &head->path},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (str_equal(name, rows[i].name)) {
            *rows[i].place = value;
            return true;
        }
    }
    if (str_equal(name, STR(":status"))) {
        uint64_t status = 0;
        head->status = str_to_u64(value, &status) ? (int)status : 0;
        return true;
    }
    return name.size > 0 && name.data[0] == ':';
}

// Cookies may come in crumbs; for everybody behind us they are one header (RFC 9113 section 8.2.3).
static bool join_cookie(struct http2_connection *connection, struct str value)
{
    struct str first = http_head_get(connection->incoming, STR("cookie"));
    if (first.data == NULL) {
        return false;
    }
    struct str joined =
        arena_format(&connection->head_arena, "%.*s; %.*s", STR_ARG(first), STR_ARG(value));
    return http_head_set(connection->incoming, STR("cookie"), joined);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_data,
                     size_t name_size, const uint8_t *value_data, size_t value_size, uint8_t flags,
                     void *user_data)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct http2_connection *connection = user_data;
    const struct http_limits *limits = &connection->base.pool->limits;
    struct http_head *head = connection->incoming;
    connection->incoming_bytes += name_size + value_size + 4;
    if (head == NULL || connection->incoming_bytes > limits->head_bytes ||
        head->header_count >= limits->header_count) {
        connection->incoming_too_large = true;
        return connection->incoming_bytes > limits->head_bytes * HTTP2_HEAD_EXCESS
                   ? calm_down(connection)
                   : 0;
    }
    struct str name =
        arena_str(&connection->head_arena, str_make((const char *)name_data, name_size));
    struct str value =
        arena_str(&connection->head_arena, str_make((const char *)value_data, value_size));
    if (take_pseudo(connection, name, value)) {
        return 0;
    }
    if (str_equal(name, STR("host"))) {
        if (head->authority.data == NULL) {
            head->authority = value;
        }
        return 0;
    }
    if (!str_equal(name, STR("cookie")) || !join_cookie(connection, value)) {
        (void)http_head_add(head, name, value);
    }
    return 0;
}

static void refuse_large_head(struct http2_connection *connection, struct http_exchange *exchange)
{
    if (connection->base.is_server && !exchange->head_sent) {
        struct http_head head;
        http_head_init_response(&head, 431);
        exchange->received_end = true; // nothing more is read of it
        exchange_send_head(exchange, &head, true);
        if (connection->base.server != NULL) {
            http_server_count_bad(connection->base.server);
        }
        return;
    }
    (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, exchange->stream_id,
                                    NGHTTP2_ENHANCE_YOUR_CALM);
    finish(connection, exchange, ERR_LIMIT, "header section too large");
}

static void report_end(struct http_exchange *exchange)
{
    if (exchange->paused || exchange->in.size > 0) {
        exchange->in_end = true;
    } else {
        exchange->received_end = true;
        http_exchange_emit_data(exchange, STR_EMPTY, true);
    }
}

static void report_trailers(struct http2_connection *connection, struct http_exchange *exchange)
{
    if (exchange->paused || exchange->in.size > 0) {
        exchange->in_trailers = http_head_copy(&exchange->arena, connection->incoming);
        exchange->in_end = true;
        return;
    }
    exchange->received_end = true;
    http_exchange_emit_trailers(exchange, connection->incoming);
}

static void report_head(struct http2_connection *connection, struct http_exchange *exchange,
                        bool end)
{
    struct http_head *head = connection->incoming;
    if (connection->base.is_server) {
        if (connection->base.server == NULL) {
            return;
        }
        exchange->head_received = true;
        exchange->received_end = end;
        exchange->method = http_method_kind_of(head->method);
        http_server_request(connection->base.server, exchange, head, end);
    } else if (head->status >= 200) {
        exchange->head_received = true;
        exchange->received_any = true;
        exchange->received_end = end;
        http_exchange_emit_head(exchange, head, end);
    }
}

// A response that is complete ends the exchange even when the request goes on: nobody reads that.
static void end_early(struct http2_connection *connection, int32_t stream_id)
{
    if (connection->dead || connection->base.is_server) {
        return;
    }
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(connection->session, stream_id);
    if (exchange != NULL && exchange->received_end && !exchange->sent_end) {
        (void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, stream_id,
                                        NGHTTP2_CANCEL);
        finish(connection, exchange, ERR_OK, NULL);
    }
}

static int on_headers_received(struct http2_connection *connection, const nghttp2_frame *frame)
{
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(connection->session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (exchange != NULL) {
        exchange->progress_ms = loop_now_ms(connection->base.pool->loop);
    }
    set_head_deadline(connection, false);
    if (exchange == NULL || connection->incoming == NULL) {
        return 0;
    }
    if (connection->incoming_too_large) {
        refuse_large_head(connection, exchange);
    } else if (exchange->head_received) {
        report_trailers(connection, exchange);
    } else {
        report_head(connection, exchange, end);
    }
    end_early(connection, frame->hd.stream_id);
    return verdict(connection);
}

// --- receiving: bodies
// -----------------------------------------------------------------------------

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t size, void *user_data)
{
    (void)flags;
    struct http2_connection *connection = user_data;
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);
    if (exchange != NULL) {
        exchange->progress_ms = loop_now_ms(connection->base.pool->loop);
    }
    if (exchange != NULL && (exchange->paused || exchange->in.size > 0)) {
        buf_append(&exchange->in, data, size); // at most the stream's window
        return 0;
    }
    if (exchange != NULL) {
        http_exchange_emit_data(exchange, str_make((const char *)data, size), false);
    }
    (void)nghttp2_session_consume(session, stream_id, size);
    return verdict(connection);
}

static int on_stream_end(struct http2_connection *connection, const nghttp2_frame *frame)
{
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(connection->session, frame->hd.stream_id);
    if (exchange != NULL) {
        report_end(exchange);
    }
    end_early(connection, frame->hd.stream_id);
    return verdict(connection);
}

// Streams opened and reset in a row cost us more than them (CVE-2023-44487).
static void count_reset(struct http2_connection *connection)
{
    uint64_t now = loop_now_ms(connection->base.pool->loop);
    uint64_t refill = (now - connection->resets_refilled_ms) * HTTP2_RESETS_PER_SECOND / 1000;
    if (refill > 0) {
        uint64_t left = connection->resets_left + refill;
        connection->resets_left = left > HTTP2_RESETS_BURST ? HTTP2_RESETS_BURST : (unsigned)left;
        connection->resets_refilled_ms = now;
    }
    if (connection->resets_left == 0) {
        (void)nghttp2_session_terminate_session2(
            connection->session, nghttp2_session_get_last_proc_stream_id(connection->session),
            NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    connection->resets_left--;
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    (void)session;
    struct http2_connection *connection = user_data;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        return on_headers_received(connection, frame);
    case NGHTTP2_DATA:
        return (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 ? on_stream_end(connection, frame)
                                                                : 0;
    case NGHTTP2_RST_STREAM:
        if (connection->base.is_server) {
            count_reset(connection);
        }
        return 0;
    case NGHTTP2_GOAWAY:
        connection->draining = true;
        return 0;
    default:
        return 0;
    }
}

static void finish_reset(struct http2_connection *connection, struct http_exchange *exchange,
                         uint32_t error_code)
{
    enum err code = ERR_CLOSED;
    const char *reason = nghttp2_http2_strerror(error_code);
    if (error_code == NGHTTP2_REFUSED_STREAM) {
        if (repeat(connection, exchange)) {
            return;
        }
        code = ERR_CONFLICT;
    } else if (error_code == NGHTTP2_PROTOCOL_ERROR) {
        code = ERR_PROTOCOL;
    }
    detach(connection, exchange);
    http_exchange_finish(exchange, code, "stream reset: %s", reason);
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                            void *user_data)
{
    struct http2_connection *connection = user_data;
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);
    connection->open_streams--;
    if (exchange != NULL) {
        exchange->stream_closed = true;
        bool complete = connection->base.is_server ? exchange->sent_end && exchange->out.size == 0
                                                   : exchange->received_end || exchange->in_end;
        if (error_code != NGHTTP2_NO_ERROR || !complete) {
            finish_reset(connection, exchange, error_code);
        } else if (connection->base.is_server || exchange->received_end) {
            finish(connection, exchange, ERR_OK, NULL);
        }
        // else what arrived while paused is still to be reported
    }
    if (connection->open_streams == 0 && connection->base.server != NULL) {
        http_connection_set_deadline(&connection->base,
                                     connection->base.pool->limits.idle_timeout_ms);
    }
    return 0;
}

// A request that never left: the peer went away first, or its settings forbid it.
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error_code,
                             void *user_data)
{
    struct http2_connection *connection = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    struct http_exchange *exchange =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (nghttp2_session_find_stream(session, frame->hd.stream_id) == NULL) {
        connection->open_streams--;
    }
    if (exchange != NULL && !repeat(connection, exchange)) {
        finish(connection, exchange, ERR_CONFLICT, nghttp2_strerror(error_code));
    }
    return 0;
}

// What arrived while paused, now that it is wanted.
static void deliver_kept(struct http2_connection *connection, struct http_exchange *exchange)
{
    struct buf bytes = exchange->in;
    bool end = exchange->in_end;
    const struct http_head *trailers = exchange->in_trailers;
    int32_t stream_id = exchange->stream_id;
    exchange->in = (struct buf){0};
    exchange->in_end = false;
    exchange->in_trailers = NULL;
    exchange->received_end = end;
    bool last = end && exchange->stream_closed;
    if (bytes.size > 0) {
        http_exchange_emit_data(exchange, buf_view(&bytes), end && trailers == NULL);
        (void)nghttp2_session_consume(connection->session, stream_id, bytes.size);
    } else if (end && trailers == NULL) {
        http_exchange_emit_data(exchange, STR_EMPTY, true);
    }
    buf_done(&bytes);
    if (trailers != NULL && !connection->dead && !exchange->over) {
        http_exchange_emit_trailers(exchange, trailers);
    }
    if (last && !connection->dead && !exchange->over) {
        finish(connection, exchange, ERR_OK, NULL);
    }
    end_early(connection, stream_id);
}

static void deliver_all_kept(struct http2_connection *connection)
{
    for (bool again = true; again && !connection->dead;) {
        again = false;
        list_each(&connection->exchanges, node)
        {
            struct http_exchange *exchange = container_of(node, struct http_exchange, node);
            if (!exchange->paused && (exchange->in.size > 0 || exchange->in_end)) {
                deliver_kept(connection, exchange);
                again = true; // the list may have changed
                break;
            }
        }
    }
}

static void report_drained(struct http2_connection *connection)
{
    for (bool again = true;
         again && !connection->dead && !stream_is_congested(connection->base.stream);) {
        again = false;
        list_each(&connection->exchanges, node)
        {
            struct http_exchange *exchange = container_of(node, struct http_exchange, node);
            if (exchange->was_congested && !exchange->sent_end &&
                exchange->out.size <= HTTP2_OUT_LOW) {
                exchange->was_congested = false;
                http_exchange_emit_drained(exchange);
                again = true;
                break;
            }
        }
    }
}

// --- the driver
// ------------------------------------------------------------------------------------

static void send_all(struct http2_connection *connection)
{
    if (connection->dead) {
        return;
    }
    int status = nghttp2_session_send(connection->session);
    if (status != 0) {
        fail(connection, ERR_PROTOCOL, nghttp2_strerror(status));
    }
}

static void flush(struct http2_connection *connection)
{
    send_all(connection);
    if (!connection->dead) {
        report_drained(connection);
        send_all(connection);
    }
    close_if_idle(connection);
}

static void on_flush_task(struct loop_task *task)
{
    struct http2_connection *connection = container_of(task, struct http2_connection, flush_task);
    deliver_all_kept(connection);
    flush(connection);
}

static void become_ready(struct http2_connection *connection)
{
    if (connection->base.client != NULL && !connection->dead && !connection->draining) {
        http_client_connection_ready(connection->base.client, &connection->base);
    }
}

static void receive(struct http2_connection *connection, struct str bytes)
{
    if (connection->dead) {
        return;
    }
    unsigned before = connection->open_streams;
    ssize_t used =
        nghttp2_session_mem_recv(connection->session, (const uint8_t *)bytes.data, bytes.size);
    if (connection->dead) {
        return;
    }
    if (used < 0) {
        give_up(connection, nghttp2_strerror((int)used));
        return;
    }
    if (nghttp2_session_get_outbound_queue_size(connection->session) > HTTP2_QUEUE_MAX) {
        give_up(connection, "the peer does not read what it makes us answer");
        return;
    }
    flush(connection);
    if (connection->open_streams < before) {
        become_ready(connection);
    }
}

static void on_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)stream;
    receive(owner, bytes);
}

static void on_eof(void *owner, struct stream *stream)
{
    struct http2_connection *connection = owner;
    connection->dead = true;
    http_connection_set_deadline(&connection->base, 0);
    repeat_unanswered(connection);
    finish_all(connection, ERR_CLOSED, "the peer closed the connection");
    stream_close(stream);
}

static void on_drained(void *owner, struct stream *stream)
{
    (void)stream;
    struct http2_connection *connection = owner;
    // The stream was the bottleneck: whoever asked meanwhile was told to wait.
    list_each(&connection->exchanges, node)
    {
        container_of(node, struct http_exchange, node)->was_congested = true;
    }
    flush(connection);
}

static void on_close(void *owner, struct stream *stream, const struct error *err)
{
    (void)stream;
    struct http2_connection *connection = owner;
    connection->dead = true;
    repeat_unanswered(connection);
    for (struct list *node; (node = list_first(&connection->exchanges)) != NULL;) {
        struct http_exchange *exchange = container_of(node, struct http_exchange, node);
        detach(connection, exchange);
        http_exchange_finish_with(exchange, err);
        http_exchange_close_now(exchange);
    }
    connection->base.stream = NULL;
    loop_task_cancel(&connection->flush_task);
    nghttp2_session_del(connection->session);
    arena_done(&connection->head_arena);
    http_connection_done(&connection->base);
    mem_free(connection);
}

static const struct stream_events stream_events = {
    .on_read = on_read,
    .on_eof = on_eof,
    .on_drained = on_drained,
    .on_close = on_close,
};

// --- connection
// ------------------------------------------------------------------------------------

static void submit_final_goaway(struct http2_connection *connection)
{
    connection->goaway_sent = true;
    (void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(connection->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
    schedule_flush(connection);
}

static void connection_drain(struct http_connection *base)
{
    struct http2_connection *connection = connection_of(base);
    if (connection->dead || connection->draining) {
        return;
    }
    connection->draining = true;
    if (!base->is_server || connection->open_streams == 0) {
        submit_final_goaway(connection);
        return;
    }
    (void)nghttp2_submit_shutdown_notice(connection->session);
    schedule_flush(connection);
    http_connection_set_deadline(base, HTTP2_SHUTDOWN_NOTICE_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct http2_connection *connection = container_of(timer, struct http2_connection, base.timer);
    if (connection->dead || !http_connection_is_expired(&connection->base) ||
        (!connection->base.is_server && connection->open_streams > 0)) {
        return;
    }
    if (connection->head_begun && !connection->draining) {
        give_up(connection, "a request head took too long");
        return;
    }
    if (connection->base.is_server && connection->open_streams > 0 && !connection->draining) {
        reset_slow_bodies(connection);
        return;
    }
    connection->draining = true; // idle for long enough, or the notice has been out long enough
    submit_final_goaway(connection);
}

static unsigned connection_room(struct http_connection *base)
{
    struct http2_connection *connection = connection_of(base);
    if (connection->dead || connection->draining ||
        nghttp2_session_check_request_allowed(connection->session) == 0) {
        return 0;
    }
    unsigned most = nghttp2_session_get_remote_settings(connection->session,
                                                        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    unsigned own = base->pool->limits.streams_max;
    most = most < own ? most : own;
    return connection->open_streams < most ? most - connection->open_streams : 0;
}

static void connection_start(struct http_connection *base, struct http_exchange *exchange,
                             const struct http_head *head, bool end)
{
    struct http2_connection *connection = connection_of(base);
    exchange->connection = base;
    exchange->methods = &exchange_methods;
    list_append(&connection->exchanges, &exchange->node);
    base->request_count++;
    http_connection_set_deadline(base, 0);
    exchange_send_head(exchange, head, end);
}

static void connection_abort(struct http_connection *base, const char *reason)
{
    fail(connection_of(base), ERR_CLOSED, reason);
}

static const struct http_connection_methods connection_methods = {
    .start = connection_start,
    .room = connection_room,
    .drain = connection_drain,
    .abort = connection_abort,
};

static void session_new(struct http2_connection *connection)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_body_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    nghttp2_option_set_no_auto_window_update(option, 1);
    int status =
        connection->base.is_server
            ? nghttp2_session_server_new2(&connection->session, callbacks, connection, option)
            : nghttp2_session_client_new2(&connection->session, callbacks, connection, option);
    ASSERT(status == 0); // memory is all it can lack
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
}

static void submit_settings(struct http2_connection *connection)
{
    const struct http_limits *limits = &connection->base.pool->limits;
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->head_bytes},
        connection->base.is_server
            ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams_max}
            : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    (void)nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, entries,
                                  array_count(entries));
    (void)nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                                HTTP2_CONNECTION_WINDOW);
}

static struct http2_connection *connection_new(struct http_pool *pool, struct stream *stream,
                                               bool is_server)
{
    struct http2_connection *connection = mem_new(struct http2_connection);
    http_connection_init(&connection->base, &connection_methods, pool, stream, on_timer);
    connection->base.version = 20;
    connection->base.is_server = is_server;
    list_init(&connection->exchanges);
    loop_task_init(&connection->flush_task, on_flush_task);
    connection->last_id = -1;
    connection->resets_left = HTTP2_RESETS_BURST;
    connection->resets_refilled_ms = loop_now_ms(pool->loop);
    stream_set_events(stream, &stream_events, connection);
    session_new(connection);
    submit_settings(connection);
    schedule_flush(connection);
    return connection;
}

struct http_connection *http2_connection_new_server(struct http_server *server,
                                                    struct http_pool *pool, struct stream *stream,
                                                    struct str first, void *tag,
                                                    void (*on_closed)(void *tag))
{
    struct http2_connection *connection = connection_new(pool, stream, true);
    connection->base.server = server;
    connection->base.tag = tag;
    connection->base.on_closed = on_closed;
    http_server_add_connection(server, &connection->base);
    http_connection_set_deadline(&connection->base, pool->limits.idle_timeout_ms);
    receive(connection, first);
    return &connection->base;
}

struct http_connection *http2_connection_new_client(struct http_client *client,
                                                    struct http_pool *pool, struct stream *stream)
{
    struct http2_connection *connection = connection_new(pool, stream, false);
    connection->base.client = client;
    http_client_add_connection(client, &connection->base);
    return &connection->base;
}

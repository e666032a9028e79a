// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1.1 connection, server and client side: one exchange at a time.
//
// Reading (`reading`):
//
//   HEAD ──► BODY ──► TRAILERS ──► WAIT ──► HEAD   one message; WAIT until its exchange is over
//     │        └────────────────────┘              (length and until-close bodies, or none)
//     └─────► TUNNEL                               CONNECT, 101
//   any ────► CLOSED                               the stream flushes, lingers, drops input
//
// Writing (`writing`): HEAD ──► BODY (how is in `write_body`) ──► DONE.
//
// Bytes are used where they arrived; only what cannot be used yet (an incomplete head, a paused
// body, a pipelined request) is kept in `input`, and reading stops while something is kept that
// nobody waits for. A pipelined request therefore starts after the exchange before it has been
// closed: answers are in order by construction. Callbacks are made from run() and timers only.
#include "net/http1_connection.h"

#include "base/assert.h"

enum step { STEP_GO, STEP_WAIT };

static void update_reading(struct http1_connection *connection);

// --- ends
// ------------------------------------------------------------------------------------------

void http1_connection_close(struct http1_connection *connection)
{
    connection->reading = READING_CLOSED;
    http_connection_set_deadline(&connection->base, 0);
    if (connection->base.stream != NULL) {
        stream_close(connection->base.stream);
    }
}

static void abort_stream(struct http1_connection *connection)
{
    connection->reading = READING_CLOSED;
    http_connection_set_deadline(&connection->base, 0);
    if (connection->base.stream != NULL) {
        stream_abort(connection->base.stream);
    }
}

void http1_connection_fail(struct http1_connection *connection, enum err code, const char *reason)
{
    if (connection->exchange != NULL) {
        http_exchange_finish(connection->exchange, code, "%s", reason);
        connection->exchange = NULL;
    }
    abort_stream(connection);
}

void http1_connection_schedule(struct http1_connection *connection)
{
    if (!connection->running) {
        loop_task_schedule(connection->base.pool->loop, &connection->run_task);
    }
}

// Client: the connection may take another request, unless there are bytes that nobody asked for.
static void become_ready(struct http1_connection *connection)
{
    if (connection->input.size > 0 || connection->eof) {
        http1_connection_close(connection);
    } else if (connection->base.client != NULL) {
        http_client_connection_ready(connection->base.client, &connection->base);
    }
}

// Between exchanges. What was kept is used in a task of its own even from run(): on_close of the
// exchange comes before the next request. Where nothing was kept nothing will be added to the answer
// in this turn either, so it leaves now, while all it touches is in the cache.
static void go_on(struct http1_connection *connection)
{
    if (!http1_is_server(connection)) {
        become_ready(connection);
    } else if (connection->input.size > 0 || connection->eof) {
        loop_task_schedule(connection->base.pool->loop, &connection->run_task);
    } else {
        stream_flush(connection->base.stream);
        update_reading(connection);
    }
}

// Both messages of an exchange are through.
static void next_message(struct http1_connection *connection)
{
    connection->scan = (struct http1_scan){0};
    connection->reading = READING_HEAD;
    connection->writing = WRITING_HEAD;
    connection->informational_count = 0;
    connection->head_begun = false;
    if (!connection->keep_alive || connection->draining) {
        http1_connection_close(connection);
        return;
    }
    if (http1_is_server(connection)) {
        http_connection_set_deadline(&connection->base,
                                     connection->base.pool->limits.idle_timeout_ms);
    }
    if (!connection->running) {
        go_on(connection); // else run() does, when it knows what is left over
    }
}

// A server's complete response ends an exchange whose request goes on, and so does a client's.
void http1_connection_check_complete(struct http1_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    if (exchange == NULL) {
        return;
    }
    if (exchange->sent_end && exchange->received_end) {
        connection->exchange = NULL;
        http_exchange_finish(exchange, ERR_OK, NULL);
        next_message(connection);
    } else if (http1_is_server(connection) && exchange->sent_end &&
               connection->reading != READING_TUNNEL) {
        connection->exchange = NULL;
        http_exchange_finish(exchange, ERR_OK, NULL);
        connection->discard_left = HTTP_DISCARD_MAX;
        if (!connection->keep_alive) {
            http1_connection_close(connection);
        } else {
            http_connection_set_deadline(&connection->base,
                                         connection->base.pool->limits.head_timeout_ms);
            http1_connection_schedule(connection); // it may have been paused
        }
    } else if (!http1_is_server(connection) && exchange->received_end &&
               connection->reading != READING_TUNNEL) {
        connection->exchange = NULL;
        http_exchange_finish(exchange, ERR_OK, NULL);
        http1_connection_close(connection);
    }
}

// --- reading: heads
// --------------------------------------------------------------------------------

// A message we cannot read. Server: say so, then close. Client: the answer was malformed.
static void refuse(struct http1_connection *connection, const struct http1_problem *problem)
{
    if (!http1_is_server(connection)) {
        http1_connection_fail(connection, ERR_PROTOCOL, problem->reason);
        return;
    }
    if (connection->base.server != NULL) {
        http_server_count_bad(connection->base.server);
    }
    if (connection->exchange != NULL) {
        http_exchange_finish(connection->exchange, ERR_PROTOCOL, "%s", problem->reason);
        connection->exchange = NULL;
    }
    if (connection->writing == WRITING_BODY) {
        abort_stream(connection); // in the middle of a response: it must not look complete
        return;
    }
    if (connection->writing == WRITING_DONE) {
        http1_connection_close(connection);
        return;
    }
    http1_sending_refuse(connection, problem);
}

// The head's bytes in scratch memory, where they may be changed.
static struct buf *take_head(struct http1_connection *connection, struct str *rest)
{
    struct buf *bytes = &connection->base.pool->head_bytes;
    if (bytes->capacity > HTTP_SCRATCH_KEEP_BYTES) {
        buf_done(bytes);
    }
    buf_reset(bytes);
    buf_append_str(bytes, str_sub(*rest, connection->scan.start,
                                  connection->scan.at - connection->scan.start));
    *rest = str_from(*rest, connection->scan.at);
    connection->scan = (struct http1_scan){0};
    return bytes;
}

static void begin_body(struct http1_connection *connection)
{
    const struct http1_message *message = &connection->message;
    connection->body_left = message->length;
    connection->chunked = (struct http1_chunked){0};
    switch (message->body) {
    case HTTP1_BODY_NONE:
        connection->reading = READING_WAIT;
        connection->exchange->received_end = true;
        break;
    case HTTP1_BODY_LENGTH:
    case HTTP1_BODY_CHUNKED:
    case HTTP1_BODY_UNTIL_CLOSE:
        connection->reading = READING_BODY;
        break;
    case HTTP1_BODY_TUNNEL:
        connection->reading = READING_WAIT; // a CONNECT request: opened by its answer
        break;
    }
}

static void begin_exchange(struct http1_connection *connection, struct http_exchange *exchange)
{
    connection->exchange = exchange;
    exchange->connection = &connection->base;
    exchange->methods = &http1_exchange_methods;
    connection->writing = WRITING_HEAD;
    connection->base.request_count++;
}

static void after_request(struct http1_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    if (exchange == NULL || !connection->message.expect_continue || exchange->paused ||
        connection->writing != WRITING_HEAD || connection->reading != READING_BODY) {
        return;
    }
    connection->message.expect_continue = false;
    http1_sending_continue(connection);
}

static bool names_http(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (str_equal_nocase(str_sub(text, i, 5), STR("HTTP/"))) {
            return true;
        }
    }
    return false;
}

// A first line of three words that speaks neither protocol, such as a wrong HTTP/2 preface: its sender
// could not read an HTTP/1 answer (RFC 9113 section 3.4).
static bool is_foreign(const struct http1_connection *connection, struct str bytes)
{
    ptrdiff_t end = str_find_char(bytes, '\n');
    if (!connection->takes_http2 || connection->base.request_count > 0 || end < 0) {
        return false;
    }
    struct str line = str_sub(bytes, 0, (size_t)end);
    return str_find_char(line, ' ') < str_find_last_char(line, ' ') && !names_http(line);
}

static void refuse_request(struct http1_connection *connection, const struct http1_problem *problem,
                           struct str bytes)
{
    if (is_foreign(connection, bytes)) {
        http_server_count_bad(connection->base.server);
        http1_connection_close(connection);
    } else {
        refuse(connection, problem);
    }
}

static enum step read_request(struct http1_connection *connection, struct buf *bytes)
{
    struct http_pool *pool = connection->base.pool;
    struct http1_limits limits = http_pool_head_limits(pool);
    struct http1_problem problem = {0};
    struct http_head *head = &pool->head;
    if (!http1_parse_request(bytes->data + bytes->start, bytes->size, &limits, head,
                             &connection->message, &problem)) {
        refuse_request(connection, &problem, buf_view(bytes));
        return STEP_WAIT;
    }
    http_connection_set_deadline(&connection->base, 0);
    head->scheme = stream_tls(connection->base.stream) != NULL ? STR("https") : STR("http");
    connection->keep_alive = connection->message.keep_alive;
    connection->base.version = connection->message.version;
    struct http_exchange *exchange = http_exchange_new(pool);
    exchange->method = http_method_kind_of(head->method);
    begin_exchange(connection, exchange);
    begin_body(connection);
    http_server_request(connection->base.server, exchange, head, exchange->received_end);
    after_request(connection);
    return STEP_GO;
}

static enum step read_response(struct http1_connection *connection, struct buf *bytes)
{
    static const struct str methods[] = {
        [HTTP_METHOD_OTHER] = {"GET", 3},
        [HTTP_METHOD_HEAD] = {"HEAD", 4},
        [HTTP_METHOD_CONNECT] = {"CONNECT", 7},
    };
    struct http_pool *pool = connection->base.pool;
    struct http1_limits limits = http_pool_head_limits(pool);
    struct http1_problem problem = {0};
    struct http_head *head = &pool->head;
    struct http_exchange *exchange = connection->exchange;
    if (!http1_parse_response(bytes->data + bytes->start, bytes->size, &limits,
                              methods[exchange->method], head, &connection->message, &problem)) {
        refuse(connection, &problem);
        return STEP_WAIT;
    }
    if (head->status < 200 && head->status != 101) {
        if (++connection->informational_count > HTTP_INFORMATIONAL_MAX) {
            http1_connection_fail(connection, ERR_PROTOCOL, "too many informational responses");
            return STEP_WAIT;
        }
        return STEP_GO;
    }
    connection->base.version = connection->message.version;
    connection->keep_alive = connection->keep_alive && connection->message.keep_alive;
    if (connection->message.body == HTTP1_BODY_TUNNEL) {
        http1_sending_open_tunnel(connection);
    } else {
        begin_body(connection);
    }
    http_exchange_emit_head(exchange, head, exchange->received_end);
    http1_connection_check_complete(connection);
    return STEP_GO;
}

enum sniffed { SNIFFED_HTTP1, SNIFFED_MORE, SNIFFED_HTTP2 };

static enum sniffed sniff(struct http1_connection *connection, struct str bytes)
{
    const struct tls_session *tls = stream_tls(connection->base.stream);
    struct str alpn = tls == NULL ? STR_EMPTY : tls_session_alpn(tls);
    struct str preface = HTTP2_PREFACE;
    if (str_equal(alpn, STR("h2"))) {
        return SNIFFED_HTTP2; // agreed: whatever else comes is a fault. Other names leave it open.
    }
    size_t size = bytes.size < preface.size ? bytes.size : preface.size;
    if (memcmp(bytes.data, preface.data, size) != 0) {
        connection->sniffing = false;
        return SNIFFED_HTTP1;
    }
    return bytes.size < preface.size ? SNIFFED_MORE : SNIFFED_HTTP2;
}

// HTTP/2 from the first byte: another connection object takes the stream, this one is only a shell
// that on_read() releases.
static void hand_over(struct http1_connection *connection, struct str bytes)
{
    struct http_connection *base = &connection->base;
    struct stream *stream = base->stream;
    base->stream = NULL;
    connection->reading = READING_CLOSED;
    (void)http2_connection_new_server(base->server, base->pool, stream, bytes, base->tag,
                                      base->on_closed);
    base->tag = NULL;
    base->on_closed = NULL;
}

// From the head's first byte on: more bytes do not move it.
static void arm_head_timeout(struct http1_connection *connection)
{
    if (!connection->head_begun && http1_is_server(connection)) {
        connection->head_begun = true;
        http_connection_set_deadline(&connection->base,
                                     connection->base.pool->limits.head_timeout_ms);
    }
}

// A client that sends requests without reading the answers gets no more of them: the answers of a
// pipeline wait in memory, so the next request is begun when the stream has room for its answer.
static bool waits_for_room(const struct http1_connection *connection)
{
    return http1_is_server(connection) && connection->reading == READING_HEAD &&
           connection->exchange == NULL && connection->base.stream != NULL &&
           stream_is_congested(connection->base.stream);
}

static enum step read_head(struct http1_connection *connection, struct str *rest)
{
    if (rest->size == 0) {
        return STEP_WAIT;
    }
    if (!http1_is_server(connection) && connection->exchange == NULL) {
        http1_connection_close(
            connection); // a client that asked nothing is told something: out of step
        return STEP_WAIT;
    }
    if (connection->base.server == NULL && http1_is_server(connection)) {
        abort_stream(connection);
        return STEP_WAIT;
    }
    if (connection->exchange != NULL) {
        connection->exchange->received_any = true;
    }
    if (waits_for_room(connection)) {
        return STEP_WAIT;
    }
    enum sniffed sniffed = connection->sniffing ? sniff(connection, *rest) : SNIFFED_HTTP1;
    if (sniffed == SNIFFED_MORE) {
        arm_head_timeout(connection);
        return STEP_WAIT;
    }
    if (sniffed == SNIFFED_HTTP2) {
        hand_over(connection, *rest);
        *rest = STR_EMPTY;
        return STEP_WAIT;
    }
    struct http1_limits limits = http_pool_head_limits(connection->base.pool);
    struct http1_problem problem = {0};
    enum http1_section section =
        http1_is_server(connection) ? HTTP1_REQUEST_HEAD : HTTP1_RESPONSE_HEAD;
    switch (http1_scan(&connection->scan, section, *rest, &limits, &problem)) {
    case HTTP1_BAD:
        refuse_request(connection, &problem, *rest);
        return STEP_WAIT;
    case HTTP1_MORE:
        arm_head_timeout(connection);
        return STEP_WAIT;
    case HTTP1_DONE:
        break;
    }
    struct buf *bytes = take_head(connection, rest);
    return http1_is_server(connection) ? read_request(connection, bytes)
                                       : read_response(connection, bytes);
}

// --- reading: bodies
// -------------------------------------------------------------------------------

static void end_receiving(struct http1_connection *connection)
{
    connection->reading = READING_WAIT;
    if (connection->exchange != NULL) {
        connection->exchange->received_end = true;
    }
}

// A request whose response is complete: the rest of its body is dropped, within bounds.
static bool discard(struct http1_connection *connection, size_t size)
{
    if (size > connection->discard_left) {
        http1_connection_close(connection);
        return false;
    }
    connection->discard_left -= size;
    return true;
}

static enum step report_data(struct http1_connection *connection, struct str bytes, bool end)
{
    if (end) {
        end_receiving(connection);
    }
    if (connection->exchange != NULL) {
        http_exchange_emit_data(connection->exchange, bytes, end);
        if (end) {
            http1_connection_check_complete(connection);
        }
    } else if (discard(connection, bytes.size) && end) {
        next_message(connection);
    }
    return STEP_GO;
}

static enum step read_chunks(struct http1_connection *connection, struct str *rest)
{
    struct http1_problem problem = {0};
    struct str data;
    switch (http1_chunked_read(&connection->chunked, rest, &data, &problem)) {
    case HTTP1_BAD:
        refuse(connection, &problem);
        return STEP_WAIT;
    case HTTP1_MORE:
        return data.size > 0 ? report_data(connection, data, false) : STEP_WAIT;
    case HTTP1_DONE:
        connection->reading = READING_TRAILERS;
        connection->scan = (struct http1_scan){0};
        return STEP_GO;
    }
    return STEP_WAIT;
}

static enum step read_body(struct http1_connection *connection, struct str *rest)
{
    if (rest->size == 0) {
        return STEP_WAIT;
    }
    if (connection->message.body == HTTP1_BODY_CHUNKED) {
        return read_chunks(connection, rest);
    }
    struct str data = *rest;
    bool end = false;
    if (connection->message.body == HTTP1_BODY_LENGTH) {
        data = str_sub(
            data, 0, connection->body_left < data.size ? (size_t)connection->body_left : data.size);
        connection->body_left -= data.size;
        end = connection->body_left == 0;
    }
    *rest = str_from(*rest, data.size);
    return report_data(connection, data, end);
}

static enum step read_trailers(struct http1_connection *connection, struct str *rest)
{
    struct http_pool *pool = connection->base.pool;
    struct http1_limits limits = http_pool_head_limits(pool);
    struct http1_problem problem = {0};
    enum http1_result result =
        http1_scan(&connection->scan, HTTP1_TRAILERS, *rest, &limits, &problem);
    if (result == HTTP1_MORE) {
        return STEP_WAIT;
    }
    if (result == HTTP1_DONE) {
        struct buf *bytes = take_head(connection, rest);
        if (http1_parse_trailers(bytes->data + bytes->start, bytes->size, &limits, &pool->head,
                                 &problem)) {
            if (pool->head.header_count == 0 || connection->exchange == NULL) {
                return report_data(connection, STR_EMPTY, true);
            }
            end_receiving(connection);
            http_exchange_emit_trailers(connection->exchange, &pool->head);
            http1_connection_check_complete(connection);
            return STEP_GO;
        }
    }
    refuse(connection, &problem);
    return STEP_WAIT;
}

static enum step read_tunnel(struct http1_connection *connection, struct str *rest)
{
    if (rest->size == 0) {
        return STEP_WAIT;
    }
    struct str data = *rest;
    *rest = STR_EMPTY;
    http_exchange_emit_data(connection->exchange, data, false);
    return STEP_GO;
}

// --- reading: the driver
// ---------------------------------------------------------------------------

static enum step read_step(struct http1_connection *connection, struct str *rest)
{
    if (connection->exchange != NULL && connection->exchange->paused &&
        connection->reading != READING_HEAD) {
        return STEP_WAIT;
    }
    switch (connection->reading) {
    case READING_HEAD:
        return read_head(connection, rest);
    case READING_BODY:
        return read_body(connection, rest);
    case READING_TRAILERS:
        return read_trailers(connection, rest);
    case READING_TUNNEL:
        return read_tunnel(connection, rest);
    case READING_WAIT:
        return STEP_WAIT;
    case READING_CLOSED:
        *rest = STR_EMPTY;
        return STEP_WAIT;
    }
    return STEP_WAIT;
}

// The peer has sent its last byte and all of them have been used.
static void use_eof(struct http1_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    if (exchange != NULL && exchange->paused) {
        return; // reported when it resumes
    }
    if (connection->reading == READING_TUNNEL && exchange != NULL) {
        if (!exchange->received_end) {
            exchange->received_end = true;
            http_exchange_emit_data(exchange, STR_EMPTY, true);
            http1_connection_check_complete(connection);
        }
        return;
    }
    if (connection->reading == READING_BODY && exchange != NULL &&
        connection->message.body == HTTP1_BODY_UNTIL_CLOSE) {
        (void)report_data(connection, STR_EMPTY, true);
        return;
    }
    if (exchange != NULL) {
        // A client that leaves does not want its answer; a server that does has none.
        connection->exchange = NULL;
        if (connection->base.request_count <= 1 ||
            !http_client_repeat(connection->base.client, exchange)) {
            http_exchange_finish(
                exchange, ERR_CLOSED,
                http1_is_server(connection)
                    ? "the client closed the connection"
                    : "the server closed the connection before its answer was complete");
        }
    }
    http1_connection_close(connection);
}

static bool is_run_idle(const struct http1_connection *connection)
{
    return list_is_empty(&connection->run_task.node);
}

static void update_reading(struct http1_connection *connection)
{
    if (connection->base.stream == NULL || connection->reading == READING_CLOSED) {
        return;
    }
    bool paused = connection->exchange != NULL && connection->exchange->paused &&
                  connection->reading != READING_HEAD;
    // In WAIT with nothing kept, reading goes on: that is how we learn that the peer went away.
    bool kept = connection->input.size > 0 &&
                (connection->reading == READING_WAIT || waits_for_room(connection));
    if (paused || kept) {
        stream_read_stop(connection->base.stream);
    } else {
        stream_read_start(connection->base.stream);
    }
}

// A body must move, unless it is us who do not read it.
static void update_deadline(struct http1_connection *connection)
{
    const struct http_exchange *exchange = connection->exchange;
    uint64_t timeout_ms = connection->base.pool->limits.body_timeout_ms;
    if (!http1_is_server(connection) || exchange == NULL || timeout_ms == 0) {
        return;
    }
    bool owed = !exchange->paused && (connection->reading == READING_BODY ||
                                      connection->reading == READING_TRAILERS);
    http_connection_set_deadline(&connection->base, owed ? timeout_ms : 0);
}

// Uses bytes: those that just arrived, or those kept in `input`.
static void run(struct http1_connection *connection, struct str bytes, bool from_input)
{
    struct str rest = bytes;
    bool finished = false;
    connection->running = true;
    while (!finished && read_step(connection, &rest) == STEP_GO) {
        // The next request of a pipeline waits for on_close of this one.
        finished = connection->reading == READING_HEAD && connection->exchange == NULL;
    }
    connection->running = false;
    if (connection->reading == READING_CLOSED) {
        buf_done(&connection->input);
        rest = STR_EMPTY;
    } else if (from_input) {
        buf_consume(&connection->input, bytes.size - rest.size);
        buf_release(&connection->input);
    } else if (rest.size > 0) {
        buf_append_str(&connection->input, rest);
    }
    bool between = connection->reading == READING_HEAD && connection->exchange == NULL;
    if (between && (finished || !http1_is_server(connection))) {
        go_on(connection);
    } else if (connection->eof && connection->reading != READING_CLOSED &&
               is_run_idle(connection)) {
        use_eof(connection);
    }
    update_reading(connection);
    update_deadline(connection);
}

static void on_run_task(struct loop_task *task)
{
    struct http1_connection *connection = container_of(task, struct http1_connection, run_task);
    if (connection->base.stream == NULL) {
        mem_free(connection); // the shell of a connection that went over to HTTP/2
        return;
    }
    run(connection, buf_view(&connection->input), true);
}

static void on_read(void *owner, struct stream *stream, struct str bytes)
{
    (void)stream;
    struct http1_connection *connection = owner;
    if (connection->input.size > 0) {
        buf_append_str(&connection->input, bytes);
        run(connection, buf_view(&connection->input), true);
    } else {
        run(connection, bytes, false);
    }
    if (connection->base.stream == NULL) {
        // Gone over to HTTP/2: released when nobody up the stack can hold it.
        struct loop *loop = connection->base.pool->loop;
        buf_done(&connection->input);
        http_connection_done(&connection->base);
        loop_task_cancel(&connection->run_task);
        loop_task_schedule_close(loop, &connection->run_task);
    }
}

static void on_eof(void *owner, struct stream *stream)
{
    (void)stream;
    struct http1_connection *connection = owner;
    connection->eof = true;
    if (is_run_idle(connection)) { // else the run that is on its way sees it
        run(connection, buf_view(&connection->input), true);
    }
}

static void on_drained(void *owner, struct stream *stream)
{
    (void)stream;
    struct http1_connection *connection = owner;
    if (connection->exchange != NULL && connection->writing == WRITING_BODY) {
        http_exchange_emit_drained(connection->exchange);
    } else if (connection->exchange == NULL && connection->input.size > 0) {
        http1_connection_schedule(connection); // a request that waited for room
    }
}

static void on_close(void *owner, struct stream *stream, const struct error *err)
{
    (void)stream;
    struct http1_connection *connection = owner;
    struct http_exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    connection->base.stream = NULL;
    connection->reading = READING_CLOSED;
    if (exchange != NULL) {
        if (connection->base.request_count <= 1 ||
            !http_client_repeat(connection->base.client, exchange)) {
            http_exchange_finish_with(exchange, err);
            http_exchange_close_now(exchange);
        }
    }
    loop_task_cancel(&connection->run_task);
    buf_done(&connection->input);
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

static void body_timed_out(struct http1_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    if (exchange->paused) {
        return; // meanwhile it is the owner who does not read
    }
    struct http1_problem problem = {.status = 408, .reason = "the request body stopped"};
    http_exchange_finish(exchange, ERR_TIMEOUT, "%s", problem.reason);
    connection->exchange = NULL;
    refuse(connection, &problem);
}

static void on_timer(struct loop_timer *timer)
{
    struct http1_connection *connection = container_of(timer, struct http1_connection, base.timer);
    if (!http_connection_is_expired(&connection->base)) {
        return;
    }
    if (http1_is_server(connection) && connection->reading == READING_HEAD &&
        connection->input.size > 0) {
        struct http1_problem problem = {.status = 408, .reason = "the request head took too long"};
        refuse(connection, &problem);
    } else if (http1_is_server(connection) && connection->exchange != NULL) {
        body_timed_out(connection);
    } else {
        http1_connection_close(connection);
    }
}

static void connection_start(struct http_connection *base, struct http_exchange *exchange,
                             const struct http_head *head, bool end)
{
    struct http1_connection *connection = http1_connection_of(base);
    ASSERT(connection->exchange == NULL && connection->reading == READING_HEAD);
    http_connection_set_deadline(base, 0);
    connection->keep_alive = true;
    begin_exchange(connection, exchange);
    http_send_head(exchange, head, end);
}

static unsigned connection_room(struct http_connection *base)
{
    const struct http1_connection *connection = http1_connection_of(base);
    return connection->exchange == NULL && connection->reading == READING_HEAD &&
                   !connection->draining && !connection->running && !connection->eof &&
                   connection->input.size == 0
               ? 1
               : 0;
}

static void connection_drain(struct http_connection *base)
{
    struct http1_connection *connection = http1_connection_of(base);
    connection->draining = true;
    if (connection->exchange == NULL && connection->reading == READING_HEAD) {
        http1_connection_close(connection);
    }
}

static void connection_abort(struct http_connection *base, const char *reason)
{
    http1_connection_fail(http1_connection_of(base), ERR_CLOSED, reason);
}

static const struct http_connection_methods connection_methods = {
    .start = connection_start,
    .room = connection_room,
    .drain = connection_drain,
    .abort = connection_abort,
};

static struct http1_connection *connection_new(struct http_pool *pool, struct stream *stream)
{
    struct http1_connection *connection = mem_new(struct http1_connection);
    http_connection_init(&connection->base, &connection_methods, pool, stream, on_timer);
    connection->base.version = 11;
    connection->keep_alive = true;
    loop_task_init(&connection->run_task, on_run_task);
    stream_set_events(stream, &stream_events, connection);
    return connection;
}

struct http_connection *http1_connection_new_server(struct http_server *server,
                                                    struct http_pool *pool, struct stream *stream,
                                                    bool http2)
{
    struct http1_connection *connection = connection_new(pool, stream);
    connection->sniffing = http2;
    connection->takes_http2 = http2;
    connection->base.is_server = true;
    connection->base.server = server;
    http_server_add_connection(server, &connection->base);
    http_connection_set_deadline(&connection->base, pool->limits.idle_timeout_ms);
    return &connection->base;
}

struct http_connection *http1_connection_new_client(struct http_client *client,
                                                    struct http_pool *pool, struct stream *stream)
{
    struct http1_connection *connection = connection_new(pool, stream);
    connection->base.client = client;
    http_client_add_connection(client, &connection->base);
    return &connection->base;
}

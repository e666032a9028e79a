// SPDX-License-Identifier: Apache-2.0
//
// The writing half of an HTTP/1.1 connection: heads and the framing of bodies. Everything goes into
// the stream's output at once, which is sent at the end of the turn: head and first body bytes
// leave together.
#include "base/assert.h"
#include "net/http1_connection.h"

// --- pieces
// ----------------------------------------------------------------------------------------

static void write_bytes(struct http1_connection *connection, struct str bytes)
{
    stream_write(connection->base.stream, bytes);
}

static struct buf *begin_head(struct http1_connection *connection)
{
    struct buf *out = &connection->base.pool->out;
    buf_reset(out);
    return out;
}

static void end_head(struct http1_connection *connection, struct buf *out)
{
    buf_append_str(out, STR("\r\n"));
    write_bytes(connection, buf_view(out));
    if (out->capacity > HTTP_SCRATCH_KEEP_BYTES) {
        buf_done(out);
    }
}

static void end_sending(struct http1_connection *connection)
{
    connection->writing = WRITING_DONE;
    connection->exchange->sent_end = true;
    http1_connection_check_complete(connection);
}

void http1_sending_open_tunnel(struct http1_connection *connection)
{
    connection->reading = READING_TUNNEL;
    connection->writing = WRITING_BODY;
    connection->write_body = HTTP1_BODY_TUNNEL;
    connection->exchange->sent_end = false;
    connection->exchange->received_end = false;
    connection->keep_alive = false;
}

// Which framing a body gets; also writes the headers that say so.
static void choose_framing(struct http1_connection *connection, struct buf *out,
                           const struct http_head *head, bool end, bool chunked_allowed)
{
    struct str length = http_head_get(head, STR("content-length"));
    if (length.data != NULL && str_to_u64(length, &connection->write_left)) {
        connection->write_body = HTTP1_BODY_LENGTH;
        http1_write_header(out, STR("content-length"), length);
    } else if (end) {
        connection->write_body = HTTP1_BODY_NONE;
    } else if (chunked_allowed) {
        connection->write_body = HTTP1_BODY_CHUNKED;
        buf_append_str(out, STR("transfer-encoding: chunked\r\n"));
    } else {
        connection->write_body = HTTP1_BODY_UNTIL_CLOSE;
        connection->keep_alive = false;
    }
}

static void write_informational(struct http1_connection *connection, const struct http_head *head)
{
    if (connection->message.version == 10) {
        return; // HTTP/1.0 does not know them (RFC 9110 section 15.2)
    }
    struct buf *out = begin_head(connection);
    http1_write_status_line(out, head->status);
    http1_write_headers(out, head, false);
    end_head(connection, out);
}

static void write_switch(struct http1_connection *connection, const struct http_head *head)
{
    struct buf *out = begin_head(connection);
    http1_write_status_line(out, head->status);
    if (head->status == 101) {
        buf_append_str(out, STR("connection: Upgrade\r\n"));
        http1_write_header(out, STR("upgrade"), head->upgrade);
    }
    http1_write_headers(out, head, false);
    end_head(connection, out);
    connection->exchange->head_sent = true;
    http1_sending_open_tunnel(connection);
    http1_connection_schedule(connection);
}

static void send_response_head(struct http1_connection *connection, const struct http_head *head,
                               bool end)
{
    struct http_exchange *exchange = connection->exchange;
    if (head->status < 200 && head->status != 101) {
        write_informational(connection, head);
        return;
    }
    if (head->status == 101 ||
        (exchange->method == HTTP_METHOD_CONNECT && head->status / 100 == 2)) {
        write_switch(connection, head);
        if (end) {
            http_send_data(exchange, STR_EMPTY, true);
        }
        return;
    }
    struct buf *out = begin_head(connection);
    bool bodiless = head->status == 204 || head->status == 304;
    bool unread = !exchange->received_end;
    if (connection->draining || exchange->method == HTTP_METHOD_CONNECT ||
        (unread && connection->message.body == HTTP1_BODY_LENGTH &&
         connection->body_left > HTTP_DISCARD_MAX) ||
        (unread && connection->message.expect_continue)) {
        connection->keep_alive = false;
    }
    http1_write_status_line(out, head->status);
    http1_write_headers(out, head, false);
    if (bodiless || exchange->method == HTTP_METHOD_HEAD) {
        struct str length = http_head_get(head, STR("content-length"));
        if (length.data != NULL && head->status != 204) {
            http1_write_header(out, STR("content-length"), length);
        }
        connection->write_body = HTTP1_BODY_NONE;
    } else {
        choose_framing(connection, out, head, end, connection->message.version == 11);
        if (connection->write_body == HTTP1_BODY_NONE) {
            buf_append_str(out, STR("content-length: 0\r\n"));
        }
    }
    if (!connection->keep_alive) {
        buf_append_str(out, STR("connection: close\r\n"));
    } else if (connection->message.version == 10) {
        buf_append_str(out, STR("connection: keep-alive\r\n"));
    }
    end_head(connection, out);
}

static void send_request_head(struct http1_connection *connection, const struct http_head *head,
                              bool end)
{
    struct buf *out = begin_head(connection);
    http1_write_request_line(out, head);
    http1_write_headers(out, head, false);
    if (head->upgrade.size > 0) {
        buf_append_str(out, STR("connection: Upgrade\r\n"));
        http1_write_header(out, STR("upgrade"), head->upgrade);
    }
    if (connection->exchange->method == HTTP_METHOD_CONNECT) {
        connection->write_body = HTTP1_BODY_NONE; // until the tunnel is open
    } else {
        choose_framing(connection, out, head, end, true);
        if (connection->write_body == HTTP1_BODY_NONE &&
            (str_equal(head->method, STR("POST")) || str_equal(head->method, STR("PUT")) ||
             str_equal(head->method, STR("PATCH")))) {
            buf_append_str(out, STR("content-length: 0\r\n")); // RFC 9110 section 8.6
        }
    }
    end_head(connection, out);
}

static void exchange_send_head(struct http_exchange *exchange, const struct http_head *head,
                               bool end)
{
    struct http1_connection *connection = http1_connection_of(exchange->connection);
    if (NEVER(connection->writing != WRITING_HEAD)) {
        return;
    }
    if (http1_is_server(connection)) {
        send_response_head(connection, head, end);
        if (head->status < 200 || connection->exchange == NULL ||
            connection->reading == READING_TUNNEL) {
            return;
        }
    } else {
        send_request_head(connection, head, end);
    }
    exchange->head_sent = true;
    connection->writing = WRITING_BODY;
    if (end && connection->write_body == HTTP1_BODY_LENGTH && connection->write_left > 0) {
        http1_connection_fail(connection, ERR_INTERNAL, "message ended before its content-length");
    } else if (end) {
        end_sending(connection);
    }
}

static void write_chunk(struct http1_connection *connection, struct str bytes, bool end)
{
    if (bytes.size > 0) {
        struct buf *out = begin_head(connection);
        http1_write_chunk_start(out, bytes.size);
        write_bytes(connection, buf_view(out));
        write_bytes(connection, bytes);
        write_bytes(connection, end ? STR("\r\n0\r\n\r\n") : STR("\r\n"));
    } else if (end) {
        write_bytes(connection, STR("0\r\n\r\n"));
    }
}

static void exchange_send_data(struct http_exchange *exchange, struct str bytes, bool end)
{
    struct http1_connection *connection = http1_connection_of(exchange->connection);
    if (connection->writing != WRITING_BODY) {
        return;
    }
    switch (connection->write_body) {
    case HTTP1_BODY_NONE:
        break;
    case HTTP1_BODY_LENGTH:
        if (bytes.size > connection->write_left || (end && bytes.size < connection->write_left)) {
            http1_connection_fail(connection, ERR_INTERNAL,
                                  "body does not match its content-length");
            return;
        }
        connection->write_left -= bytes.size;
        write_bytes(connection, bytes);
        break;
    case HTTP1_BODY_CHUNKED:
        write_chunk(connection, bytes, end);
        break;
    case HTTP1_BODY_UNTIL_CLOSE:
    case HTTP1_BODY_TUNNEL:
        write_bytes(connection, bytes);
        break;
    }
    if (end && connection->write_body == HTTP1_BODY_TUNNEL) {
        stream_write_eof(connection->base.stream);
    }
    if (end) {
        end_sending(connection);
    }
}

static void exchange_send_trailers(struct http_exchange *exchange, const struct http_head *trailers)
{
    struct http1_connection *connection = http1_connection_of(exchange->connection);
    if (connection->writing != WRITING_BODY || connection->write_body != HTTP1_BODY_CHUNKED) {
        exchange_send_data(exchange, STR_EMPTY, true); // no place for them: the message just ends
        return;
    }
    struct buf *out = begin_head(connection);
    buf_append_str(out, STR("0\r\n"));
    http1_write_headers(out, trailers, false);
    end_head(connection, out);
    end_sending(connection);
}

static bool exchange_is_congested(const struct http_exchange *exchange)
{
    return stream_is_congested(exchange->connection->stream);
}

static void exchange_resume(struct http_exchange *exchange)
{
    http1_connection_schedule(http1_connection_of(exchange->connection));
}

static void exchange_cancel(struct http_exchange *exchange)
{
    http1_connection_fail(http1_connection_of(exchange->connection), ERR_CLOSED, "cancelled");
}

const struct http_exchange_methods http1_exchange_methods = {
    .send_head = exchange_send_head,
    .send_data = exchange_send_data,
    .send_trailers = exchange_send_trailers,
    .is_congested = exchange_is_congested,
    .resume = exchange_resume,
    .cancel = exchange_cancel,
};

// --- answers of our own
// ----------------------------------------------------------------------------

void http1_sending_continue(struct http1_connection *connection)
{
    write_bytes(connection, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

void http1_sending_refuse(struct http1_connection *connection, const struct http1_problem *problem)
{
    struct buf *out = begin_head(connection);
    http1_write_status_line(out, problem->status);
    buf_printf(out,
               "content-type: text/plain\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s\n",
               strlen(problem->reason) + 1, problem->reason);
    write_bytes(connection, buf_view(out));
    http1_connection_close(connection);
}

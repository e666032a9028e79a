// SPDX-License-Identifier: Apache-2.0
//
// An HTTP/1.1 connection's state, shared by its reading half (http1_connection.c, where the picture
// is) and its writing half (http1_sending.c).
#ifndef NET_HTTP1_CONNECTION_H
#define NET_HTTP1_CONNECTION_H

#include "net/http_internal.h"

enum http1_reading {
    READING_HEAD = 0, // between messages, or in a head
    READING_BODY,
    READING_TRAILERS,
    READING_WAIT, // the message is complete, its exchange is not
    READING_TUNNEL,
    READING_CLOSED,
};

enum http1_writing { WRITING_HEAD = 0, WRITING_BODY, WRITING_DONE };

struct http1_connection {
    struct http_connection base;
    struct http_exchange *exchange; // NULL between, and when the rest of a request is dropped
    struct loop_task run_task;
    struct buf input;
    enum http1_reading reading;
    struct http1_scan scan;
    struct http1_message message; // being read
    uint64_t body_left;
    struct http1_chunked chunked;
    uint64_t discard_left;
    unsigned informational_count;
    enum http1_writing writing;
    enum http1_body write_body;
    uint64_t write_left;
    bool keep_alive; // after this exchange
    bool draining;
    bool eof;
    bool running;
    bool sniffing; // server: the first bytes may be HTTP/2's preface
    bool takes_http2; // server: both protocols are spoken here
    bool head_begun; // server: the deadline is that of the head
};

static inline struct http1_connection *http1_connection_of(struct http_connection *base)
{
    return container_of(base, struct http1_connection, base);
}

static inline bool http1_is_server(const struct http1_connection *connection)
{
    return connection->base.is_server;
}

// --- http1_connection.c
// ----------------------------------------------------------------------------

void http1_connection_close(struct http1_connection *connection);
// The exchange cannot go on; the connection neither.
void http1_connection_fail(struct http1_connection *connection, enum err code, const char *reason);
// Uses what is kept in `input` later in this turn.
void http1_connection_schedule(struct http1_connection *connection);
// Ends the exchange when both messages are through, or one that makes the other pointless.
void http1_connection_check_complete(struct http1_connection *connection);

// --- http1_sending.c
// -------------------------------------------------------------------------------

extern const struct http_exchange_methods http1_exchange_methods;

// Both directions become raw bytes.
void http1_sending_open_tunnel(struct http1_connection *connection);
void http1_sending_continue(struct http1_connection *connection); // 100
// A short answer with its reason, and no more requests.
void http1_sending_refuse(struct http1_connection *connection, const struct http1_problem *problem);

#endif

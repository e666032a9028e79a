// SPDX-License-Identifier: Apache-2.0
//
// The inside of net/http: what exchanges, connections, server and client share.
//
//   http_server ─┐                         ┌─ http1_connection ── one exchange at a time
//                ├── http_connection ──────┤
//   http_client ─┘   (one per stream)      └─ http2_connection ── an exchange per stream
//
// Life of memory: exchanges come from a pool and return to it after on_close. A connection is freed
// in its stream's on_close, so code that has called out to a user looks at the connection again,
// never at the exchange. The pool is counted: server or client hold it, and so does every
// connection.
#ifndef NET_HTTP_INTERNAL_H
#define NET_HTTP_INTERNAL_H

#include "base/buf.h"
#include "base/list.h"
#include "base/memory.h"
#include "codec/http1/http1.h"
#include "net/http.h"

#define HTTP_HEAD_BYTES 65536u
#define HTTP_HEADER_COUNT 100u
#define HTTP_HEAD_TIMEOUT_MS 10000u
#define HTTP_IDLE_TIMEOUT_MS 3600000u
#define HTTP_CLIENT_IDLE_TIMEOUT_MS 60000u
#define HTTP_STREAMS_MAX 100u
#define HTTP_CONNECTIONS_MAX 10000u
#define HTTP_INFORMATIONAL_MAX 32u     // 1xx responses before a final one
#define HTTP_POOL_SPARE_MAX 64u        // exchanges kept for reuse
#define HTTP_SCRATCH_KEEP_BYTES 16384u // larger scratch is given back

// --- pool
// ------------------------------------------------------------------------------------------

struct http_pool {
    struct loop *loop;
    unsigned references;
    struct list live;  // exchanges in use, by http_exchange.pool_node
    struct list spare; // for reuse
    unsigned spare_count;
    struct http_limits limits;
    // Shared by the connections of this loop: a head is parsed and reported, or built and queued,
    // without returning to the loop in between.
    struct buf head_bytes;
    struct buf out;
    struct http_head head;
};

struct http_pool *http_pool_new(struct loop *loop, const struct http_limits *limits);
void http_pool_ref(struct http_pool *pool);
void http_pool_unref(struct http_pool *pool);
// Ends every live exchange now: on_close with ERR_CLOSED, from here.
void http_pool_close_all(struct http_pool *pool, const char *reason);
static inline struct http1_limits http_pool_head_limits(const struct http_pool *pool)
{
    return (struct http1_limits){.head_bytes = pool->limits.head_bytes,
                                 .header_count = pool->limits.header_count};
}

// --- exchange
// --------------------------------------------------------------------------------------

struct http_connection;

// What the public functions do depends on where the exchange is: waiting for a connection, on an
// HTTP/1 or HTTP/2 connection, or over.
struct http_exchange_methods {
    void (*send_head)(struct http_exchange *exchange, const struct http_head *head, bool end);
    void (*send_data)(struct http_exchange *exchange, struct str bytes, bool end);
    void (*send_trailers)(struct http_exchange *exchange, const struct http_head *trailers);
    bool (*is_congested)(const struct http_exchange *exchange);
    void (*resume)(struct http_exchange *exchange);
    void (*cancel)(struct http_exchange *exchange);
};

enum http_method_kind {
    HTTP_METHOD_OTHER = 0,
    HTTP_METHOD_HEAD,    // the response has no body
    HTTP_METHOD_CONNECT, // 2xx opens a tunnel
};

struct http_exchange {
    const struct http_exchange_methods *methods;
    const struct http_events *events; // NULL: silent
    void *owner;
    struct http_pool *pool;
    struct list pool_node;
    struct list node;                   // connection's list (HTTP/2) or client's queue
    struct http_connection *connection; // NULL: waiting or over
    struct loop_task close_task;
    struct arena arena;        // for what must outlive an event: a waiting head, an error, metadata
    struct error *close_error; // in the arena; NULL: ended well
    enum http_method_kind method;
    bool paused;
    bool head_sent; // final head
    bool sent_end;
    bool received_end;
    bool received_any; // some byte of the answer (client)
    bool over;         // http_exchange_finish() was called
    // client: waiting for a connection, or repeatable
    struct http_head *request; // copy in the arena
    bool request_end;
    bool needs_fresh;  // second try: not on a pooled HTTP/1 connection
    bool owes_drained; // its body waited for the connection
    // HTTP/2
    int32_t stream_id;          // 0: none yet
    struct buf out;             // body bytes that flow control (or a missing connection) holds back
    struct http_head *trailers; // to be sent behind out; in the arena
    struct buf in;              // body bytes that arrived while paused
    struct http_head *in_trailers;
    bool in_end;        // `end` follows the bytes of in
    bool head_received; // the final one
    bool has_provider;  // the session asks for body bytes
    bool was_congested; // owes an on_drained
    bool stream_closed; // both sides; only what is in `in` is left
    uint64_t progress_ms; // when its body last moved
};

struct http_exchange *http_exchange_new(struct http_pool *pool);
// Takes it off its connection and reports on_close later in this turn. format NULL: ended well.
void http_exchange_finish(struct http_exchange *exchange, enum err code, const char *format, ...)
    printf_like(3, 4);
void http_exchange_finish_with(struct http_exchange *exchange, const struct error *err);
void http_exchange_close_now(
    struct http_exchange *exchange); // of a finished one: on_close from here

// Calls of the owner's events; nothing when silent.
void http_exchange_emit_head(struct http_exchange *exchange, const struct http_head *head,
                             bool end);
void http_exchange_emit_data(struct http_exchange *exchange, struct str bytes, bool end);
void http_exchange_emit_trailers(struct http_exchange *exchange, const struct http_head *trailers);
void http_exchange_emit_drained(struct http_exchange *exchange);

enum http_method_kind http_method_kind_of(struct str method);

// --- connection
// ------------------------------------------------------------------------------------

struct http_connection_methods {
    // Client: sends a request; only when there is room.
    void (*start)(struct http_connection *connection, struct http_exchange *exchange,
                  const struct http_head *head, bool end);
    unsigned (*room)(struct http_connection *connection); // requests it can take now
    // Finishes what is under way, then closes.
    void (*drain)(struct http_connection *connection);
    // Drops everything now; exchanges are finished.
    void (*abort)(struct http_connection *connection, const char *reason);
};

struct http_connection {
    const struct http_connection_methods *methods;
    struct http_pool *pool;
    struct http_server *server; // NULL on clients, and once the server is gone
    struct http_client *client; // NULL on servers, and once the client is gone
    struct stream *stream;      // NULL once closed
    struct list node;           // of the server's or client's connections
    struct loop_timer timer;    // fires at or before `deadline`
    uint64_t deadline;          // 0: none
    uint64_t timer_due;         // when the timer fires, while it runs
    uint64_t request_count;
    void *tag;
    void (*on_closed)(void *tag);
    int version; // 10, 11 or 20
    bool is_server;
};

void http_connection_init(struct http_connection *connection,
                          const struct http_connection_methods *methods, struct http_pool *pool,
                          struct stream *stream, loop_timer_fn *on_timer);
// Releases the parts above and tells server or client that it is gone.
void http_connection_done(struct http_connection *connection);
// Deadlines move often and expire rarely: the timer is only re-armed when it would be late.
void http_connection_set_deadline(struct http_connection *connection, uint64_t delay_ms); // 0: none
bool http_connection_is_expired(struct http_connection *connection); // else re-armed

// Taken over by the connection they return; they register with server or client themselves.
struct http_connection *http1_connection_new_server(struct http_server *server,
                                                    struct http_pool *pool, struct stream *stream,
                                                    bool http2);
struct http_connection *http1_connection_new_client(struct http_client *client,
                                                    struct http_pool *pool, struct stream *stream);
// first: bytes already read from the stream, used before it returns.
struct http_connection *http2_connection_new_server(struct http_server *server,
                                                    struct http_pool *pool, struct stream *stream,
                                                    struct str first, void *tag,
                                                    void (*on_closed)(void *tag));
struct http_connection *http2_connection_new_client(struct http_client *client,
                                                    struct http_pool *pool, struct stream *stream);
#define HTTP2_PREFACE STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // RFC 9113 section 3.4

// --- what connections ask of their server or client
// ------------------------------------------------

void http_server_request(struct http_server *server, struct http_exchange *exchange,
                         const struct http_head *head, bool end);
void http_server_count_bad(struct http_server *server);
void http_server_add_connection(struct http_server *server, struct http_connection *connection);
void http_server_remove_connection(struct http_server *server, struct http_connection *connection);

void http_client_add_connection(struct http_client *client, struct http_connection *connection);
void http_client_remove_connection(struct http_client *client, struct http_connection *connection);
// There is room for a request: waiting ones are started, else it may be kept or closed.
void http_client_connection_ready(struct http_client *client, struct http_connection *connection);
// Puts a request that the server has not processed back into the queue, for another connection. False:
// it must not be repeated (body, method, second time), or there is no client; nothing was done.
bool http_client_repeat(struct http_client *client, struct http_exchange *exchange);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// http: HTTP/1.1 and HTTP/2, server and client, behind one interface.
//
// An exchange is one request and its response, seen from one side. Both sides use the same type: the
// side that reads a request writes a response and the other way round. Events come in this order:
// on_head, on_data*, on_trailers?, and `end` marks the last of them; at any time on_close, exactly
// once, last. What is sent follows the same order: http_send_head, http_send_data*, http_send_trailers
// or `end`.
//
// Views passed to events are valid during the call only. Back-pressure both ways: http_pause() stops
// reading the body; http_send_data() always takes the bytes, and http_is_congested() says to wait for
// on_drained.
//
// Header names are lower-case on both protocols; pseudo-headers are fields of struct http_head, not
// entries. Hop-by-hop headers of HTTP/1 (connection, keep-alive, proxy-connection, te, upgrade,
// transfer-encoding) are consumed and produced here and never show, except that an accepted upgrade
// shows as head.upgrade. Framing is validated before any event: RFC 9112 sections 6 and 7, RFC 9113
// section 8.
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/str.h"
#include "codec/http1/http_head.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/stream.h"
#include "net/tls.h"

struct http_exchange;

struct http_events {
    // Requests on a server, responses on a client. 1xx responses other than 101 are not reported.
    void (*on_head)(void *owner, struct http_exchange *exchange, const struct http_head *head, bool end);
    void (*on_data)(void *owner, struct http_exchange *exchange, struct str bytes, bool end);
    void (*on_trailers)(void *owner, struct http_exchange *exchange, const struct http_head *trailers); // may be NULL
    void (*on_drained)(void *owner, struct http_exchange *exchange); // may be NULL
    // err->code ERR_OK: both directions ended well. The exchange is gone after this call.
    void (*on_close)(void *owner, struct http_exchange *exchange, const struct error *err);
};

// --- sending ---------------------------------------------------------------------------------------

// A response head (status) on a server. The body framing follows from `end` and a content-length
// header if present; else chunked on HTTP/1.1, or DATA frames. 1xx may be sent before.
void http_send_head(struct http_exchange *exchange, const struct http_head *head, bool end);
void http_send_data(struct http_exchange *exchange, struct str bytes, bool end);
void http_send_trailers(struct http_exchange *exchange, const struct http_head *trailers); // ends
bool http_is_congested(const struct http_exchange *exchange);
// Head and whole body in one: status, content type, body.
void http_respond(struct http_exchange *exchange, int status, struct str content_type, struct str body);

void http_pause(struct http_exchange *exchange);  // stop on_data
void http_resume(struct http_exchange *exchange);
// Gives the exchange up: RST_STREAM, or closes an HTTP/1 connection. on_close follows with ERR_CLOSED.
//
// No event is ever called from inside one of the functions above: on_close comes later in the same turn.
// Until then the exchange may still be named, and calls on it do nothing. An owner that goes away
// earlier sets its events to NULL first: nothing is reported then.
void http_cancel(struct http_exchange *exchange);

// NULL events: nothing is reported any more.
void http_set_events(struct http_exchange *exchange, const struct http_events *events, void *owner);
void *http_owner(const struct http_exchange *exchange);
struct loop *http_loop(const struct http_exchange *exchange);
// Facts of the connection; none of them (0, an address of size 0, NULL) while a request waits for its
// connection and in on_close.
int http_version(const struct http_exchange *exchange);                  // 10, 11 or 20
const struct address *http_peer(const struct http_exchange *exchange);
const struct address *http_local(const struct http_exchange *exchange);
const struct tls_session *http_tls(const struct http_exchange *exchange); // NULL: plaintext

// After an accepted upgrade (server: sent 101; client: got 101) or CONNECT with 2xx: data of the
// exchange are the raw bytes of the tunnel, both ways, through http_send_data and on_data. The request
// of an upgrade ends as any other (`end` with its head when it has no body); the 101 opens both
// directions again, until each side sends its `end`.
//
// A server that has sent its whole response before the request ended gets no more of that request:
// what is left of the body is dropped (HTTP_DISCARD_MAX, then the connection closes; HTTP/2: RST_STREAM
// with NO_ERROR). `expect: 100-continue` is answered by the server when on_request neither answered nor
// paused; it does not show.

#define HTTP_DISCARD_MAX (256u * 1024)

// --- server ----------------------------------------------------------------------------------------

struct http_server;

// Named limits; zero means the default.
struct http_limits {
    size_t head_bytes;            // 64 KiB; above: 431
    unsigned header_count;        // 100; above: 431
    uint64_t head_timeout_ms;     // 10 000: first byte to complete head; then 408
    uint64_t body_timeout_ms;     // 0: none. A request body that we want to read and that does not move for
                                  // so long: 408 or reset. Not for endless streams (gRPC, watches).
    uint64_t idle_timeout_ms;     // 3 600 000: between requests
    unsigned streams_max;         // 100 concurrent HTTP/2 streams per connection
    unsigned connections_max;     // 10 000; above: new ones are closed, counted
};

struct http_server_options {
    struct http_limits limits;
    struct metrics *metrics;      // may be NULL
    const char *metric_prefix;    // e.g. "isthmesh_api_server"
    bool http2;                   // accept HTTP/2, told by its first bytes; over TLS the context's ALPN
                                  // list ("h2", "http/1.1") is what clients go by
};

// on_request is called when a head has been read; it must set the exchange's events (http_set_events)
// before it returns; on_head is not repeated.
typedef void http_request_fn(void *owner, struct http_exchange *exchange,
                             const struct http_head *head, bool end);

struct http_server *http_server_new(struct loop *loop, const struct http_server_options *options,
                                    http_request_fn *on_request, void *owner);
// Adds a listening socket (taken over). tls NULL: plaintext. May be called several times.
void http_server_listen(struct http_server *server, int fd, struct tls_context *tls);
// New connections use the new context; open ones go on.
void http_server_set_tls(struct http_server *server, struct tls_context *tls);
// A connection accepted elsewhere (TLS or plaintext); taken over. The protocol is told by its first
// bytes, which every HTTP/2 client sends at once, so that it works before a handshake as well.
void http_server_adopt(struct http_server *server, struct stream *stream);
// As above, with a pointer of the caller that http_connection_tag() gives for each of its exchanges.
// on_closed comes once, when the connection and all its exchanges are gone.
void http_server_adopt_tagged(struct http_server *server, struct stream *stream, void *tag,
                              void (*on_closed)(void *tag));
void *http_connection_tag(const struct http_exchange *exchange); // NULL: none
// Stops accepting, finishes what is under way (GOAWAY, Connection: close), force-closes at the
// deadline, then on_done. http_server_free() may follow.
void http_server_drain(struct http_server *server, uint64_t deadline_ms, void (*on_done)(void *owner), void *owner);
void http_server_free(struct http_server *server); // aborts what is left

// --- client ----------------------------------------------------------------------------------------

// A client is a pool of connections to one destination (address, TLS, server name, protocol).
struct http_client;

enum http_protocol { HTTP_PROTOCOL_1, HTTP_PROTOCOL_2, HTTP_PROTOCOL_ALPN }; // ALPN: h2 if negotiated

struct http_client_options {
    struct address address;        // fixed address, or …
    struct str host;               // … a name resolved for every new connection (address.size 0)
    uint16_t port;
    struct tls_context *tls;       // NULL: plaintext
    struct str tls_server_name;
    const struct str *alpn;        // overrides; copied
    size_t alpn_count;
    enum http_protocol protocol;
    const struct address *bind_to; // local address of connections; copied
    struct http_limits limits;
    uint64_t connect_timeout_ms;   // 0: 10 000
    uint64_t idle_timeout_ms;      // pooled idle connections; 0: 60 000
    unsigned connections_max;      // 0: unlimited
    unsigned requests_max;         // per connection; 0: unlimited
    // Tells about connections, for statistics; may be NULL. opened: established and handshaken.
    // Not opened, err set: could not be. Not opened, err NULL: an opened one has closed.
    void (*on_connection)(void *owner, bool opened, const struct error *err);
    void *owner;
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options);
// Requests under way are cancelled (their on_close comes first).
void http_client_free(struct http_client *client);
void http_client_set_tls(struct http_client *client, struct tls_context *tls); // for new connections
struct loop *http_client_loop(const struct http_client *client);

// Sends a request head now or when a connection is there; body follows unless end. Never NULL: failures
// come as on_close. A request that met a dead pooled connection before any byte of its answer, or that
// an HTTP/2 server refused unprocessed, is repeated once on another one if it had no body and its method
// is idempotent (RFC 9110 section 9.2.2).
//
//   ERR_UNREACHABLE  connect failed or refused, or the name did not resolve (ERR_NOT_FOUND)
//   ERR_TIMEOUT      connect or handshake took too long
//   ERR_TLS          handshake or verification failed
//   ERR_CLOSED       the connection ended or the stream was reset before the answer was complete
//   ERR_CONFLICT     the server did not process it (REFUSED_STREAM, beyond its GOAWAY): safe to repeat
//   ERR_PROTOCOL     the answer was malformed
struct http_exchange *http_request(struct http_client *client, const struct http_head *head, bool end,
                                   const struct http_events *events, void *owner);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// stream: a connection as a byte stream, plaintext or TLS behind one interface.
//
//   tcp or unix:  socket ── stream
//   tls:          socket ── TLS (our own BIO) ── stream
//
// Reading: on_read reports bytes that are valid during the callback only; a stream buffers no input.
// stream_read_stop() is back-pressure. Writing: stream_write() never blocks and never fails: bytes are
// gathered and written once per loop turn; when more than STREAM_HIGH_WATER bytes wait,
// stream_is_congested() is true until on_drained. Output buffers are freed when empty, so an idle
// stream holds none.
//
// Life: made by stream_connect() or stream_accept(), usable for writing at once (bytes wait for the
// handshake). on_open comes when connected and handshaken; then on_read…, at most one on_eof, and
// exactly one on_close at the very end, after which the stream frees itself. stream_close() flushes,
// sends FIN and waits for the peer's (each step bounded by STREAM_LINGER_MS without progress), or drops at
// once what is not open yet; stream_abort() drops at once with a reset. A stream whose both directions
// have ended (stream_write_eof() and on_eof) closes itself. A TLS peer that goes without close_notify
// was cut: that is on_close with ERR_CLOSED, not on_eof.
//
// No event is called from inside a function of this header. NULL events make a stream silent.
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/tls.h"

#define STREAM_HIGH_WATER (256u * 1024)
#define STREAM_LOW_WATER (64u * 1024)
#define STREAM_LINGER_MS 5000u
#define STREAM_CONNECT_MS 10000u   // default of stream_connect_options.timeout_ms
#define STREAM_HANDSHAKE_MS 15000u // TLS server side

struct buf;
struct stream;

struct stream_events {
    void (*on_open)(void *owner, struct stream *stream); // may be NULL
    void (*on_read)(void *owner, struct stream *stream, struct str bytes);
    void (*on_eof)(void *owner, struct stream *stream); // NULL: the stream is closed on EOF
    void (*on_drained)(void *owner, struct stream *stream); // may be NULL
    // err->code: ERR_OK after our own stream_close(), ERR_CLOSED when the peer ended it, else why.
    void (*on_close)(void *owner, struct stream *stream, const struct error *err);
};

struct stream_connect_options {
    struct tls_context *tls;        // NULL: plaintext. Referenced for the life of the stream.
    struct str tls_server_name;     // SNI (and checked against the certificate as tls.h says)
    const struct str *alpn;         // overrides the context's list; copied
    size_t alpn_count;
    const struct address *bind_to;  // local address, NULL: any
    uint64_t timeout_ms;            // connect plus handshake; 0: STREAM_CONNECT_MS
};

// Never NULL: a failure to start is reported by on_close in a later turn.
struct stream *stream_connect(struct loop *loop, const struct address *to,
                              const struct stream_connect_options *options, // NULL: defaults
                              const struct stream_events *events, void *owner);

// Takes fd. tls NULL: plaintext. `already_read` are bytes that were taken from the socket while
// inspecting it (ClientHello, first line); they come first. Copied.
struct stream *stream_accept(struct loop *loop, int fd, struct tls_context *tls,
                             struct str already_read, const struct stream_events *events, void *owner);

// As above, when accept() has told who the peer is.
struct stream *stream_accept_from(struct loop *loop, int fd, const struct sockaddr *peer, socklen_t peer_size,
                                  struct tls_context *tls, struct str already_read,
                                  const struct stream_events *events, void *owner);

void stream_set_events(struct stream *stream, const struct stream_events *events, void *owner);

void stream_write(struct stream *stream, struct str bytes);
void stream_write_buf(struct stream *stream, struct buf *bytes); // takes the content; buf is left empty
void stream_flush(struct stream *stream); // now instead of at the end of the turn
void stream_write_eof(struct stream *stream); // FIN / close_notify after what is queued
bool stream_is_congested(const struct stream *stream);
size_t stream_queued(const struct stream *stream);

void stream_read_start(struct stream *stream); // streams begin reading
void stream_read_stop(struct stream *stream);
// Hands bytes back to be read again first (a protocol switch): once, inside on_read. Copied.
void stream_unread(struct stream *stream, struct str bytes);

void stream_close(struct stream *stream); // idempotent
void stream_abort(struct stream *stream); // idempotent

bool stream_is_open(const struct stream *stream); // connected and handshaken, not closing
// Found out when asked for; ask while the stream is open. Borrowed while the stream lives.
const struct address *stream_local(struct stream *stream);
const struct address *stream_peer(struct stream *stream);
int stream_fd(const struct stream *stream); // for SO_ORIGINAL_DST and the like; stays the stream's
struct loop *stream_loop(const struct stream *stream);

// TLS facts; NULL on plaintext streams or before the handshake. Borrowed while the stream lives.
const struct tls_session *stream_tls(const struct stream *stream);

#endif

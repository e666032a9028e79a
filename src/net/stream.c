// SPDX-License-Identifier: Apache-2.0
//
//   CONNECTING ──connected──► HANDSHAKING ──done──► OPEN ──stream_close──► FLUSHING ──sent──► LINGERING
//       │      (plaintext: straight to OPEN)          │                       │                   │
//       └───── error, timeout, abort, close ──────────┴───────────────────────┴──► CLOSED ◄───────┘
//
// FLUSHING has output to send, then FIN. LINGERING waits for the peer's FIN and drops what it sends:
// closing a socket with unread input would reset the connection, and the reset may overtake our last
// bytes. CLOSED waits for the loop's close point, where on_close is called and the stream is freed.
//
// No event is called from inside a function of stream.h: those only change state and schedule tasks.
#include "net/stream.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/memory.h"
#include "loop/socket.h"
#include "net/tls_internal.h"

#define STREAM_DIRECT_SIZE (16u * 1024) // writes from this size on go to the kernel without a copy
#define STREAM_OUT_MIN 2048u            // first size of the output buffer
#define STREAM_WIRE_SIZE (64u * 1024)   // ciphertext made ahead of the kernel
#define STREAM_ALERT_LINGER_MS 1000u    // for the alert of a failed handshake to arrive

enum stream_state {
    STREAM_CONNECTING = 0,
    STREAM_HANDSHAKING,
    STREAM_OPEN,
    STREAM_FLUSHING,
    STREAM_LINGERING,
    STREAM_CLOSED,
};

// Most streams are never asked for their addresses, which are large: what accept() tells is kept as it
// came, when it is short.
struct short_address {
    socklen_t size; // 0: unknown
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

struct stream {
    struct socket socket;
    struct loop *loop;
    const struct stream_events *events; // NULL: silent
    void *owner;
    struct tls_connection *tls; // NULL: plaintext
    struct tls_context *tls_context;

    enum stream_state state;
    bool wants_read;   // the user's; the socket's differs while handshaking and lingering
    bool opened;       // on_open was reported
    bool tcp_ended;    // FIN came
    bool read_ended;   // FIN (plaintext) or close_notify (TLS) came
    bool eof_reported;
    bool write_eof;    // asked for by stream_write_eof() or stream_close()
    bool write_ended;  // FIN sent
    bool notify_sent;  // close_notify was put into the output
    bool congested;

    struct buf in;  // plaintext to report before anything else
    struct buf out; // plaintext to send
    struct loop_task flush_task;
    struct loop_task input_task;
    struct loop_timer timer; // connect, handshake, flush, linger: never two at once
    uint64_t timeout_ms;
    struct short_address peer_bytes; // as accept() told; or in `peer`
    struct address *peer;            // made when asked for
    struct address *local;
    enum err close_code;
    struct error *error; // NULL: close_code says it all
};

static const struct socket_events socket_events;
static void pump_input(struct stream *stream);

static void set_state(struct stream *stream, enum stream_state state)
{
    ASSERT(state > stream->state); // the picture above has no way back
    stream->state = state;
}

// --- ending ----------------------------------------------------------------------------------------

static void close_socket(struct stream *stream)
{
    loop_timer_stop(&stream->timer);
    loop_task_cancel(&stream->flush_task);
    loop_task_cancel(&stream->input_task);
    if (stream->state != STREAM_CLOSED) {
        set_state(stream, STREAM_CLOSED);
    }
    socket_close(&stream->socket);
}

// The first reason is the one reported.
static void set_error(struct stream *stream, const struct error *err)
{
    if (stream->error == NULL && stream->close_code == ERR_OK) {
        stream->error = mem_new(struct error);
        *stream->error = *err;
        stream->close_code = err->code;
    }
}

static void fail(struct stream *stream, const struct error *err)
{
    set_error(stream, err);
    close_socket(stream);
}

static void start_linger(struct stream *stream, uint64_t linger_ms)
{
    if (stream->tcp_ended) {
        close_socket(stream);
        return;
    }
    set_state(stream, STREAM_LINGERING);
    socket_read_start(&stream->socket);
    loop_timer_start(&stream->timer, linger_ms);
}

static void on_closed(struct socket *socket)
{
    struct stream *stream = container_of(socket, struct stream, socket);
    struct error err = {.code = stream->close_code};
    if (stream->error != NULL) {
        err = *stream->error;
    } else if (err.code == ERR_CLOSED) {
        (void)error_set(&err, ERR_CLOSED, "the peer closed the connection");
    }
    if (stream->events != NULL) {
        stream->events->on_close(stream->owner, stream, &err);
    }
    loop_timer_stop(&stream->timer);
    loop_task_cancel(&stream->flush_task);
    loop_task_cancel(&stream->input_task);
    tls_connection_free(stream->tls);
    tls_context_unref(stream->tls_context);
    buf_done(&stream->in);
    buf_done(&stream->out);
    mem_free(stream->peer);
    mem_free(stream->local);
    mem_free(stream->error);
    mem_free(stream);
}

static void on_timer(struct loop_timer *timer)
{
    struct stream *stream = container_of(timer, struct stream, timer);
    struct error err = {0};
    char peer[ADDRESS_TEXT_SIZE];
    (void)address_format(stream_peer(stream), peer);
    if (stream->state == STREAM_LINGERING) {
        close_socket(stream);
        return;
    }
    if (stream->state == STREAM_CONNECTING) {
        (void)error_set(&err, ERR_TIMEOUT, "connect to %s: no answer within %llu ms", peer,
                        (unsigned long long)stream->timeout_ms);
    } else if (stream->state == STREAM_HANDSHAKING) {
        (void)error_set(&err, ERR_TIMEOUT, "TLS handshake with %s: not finished within %llu ms", peer,
                        (unsigned long long)stream->timeout_ms);
    } else {
        (void)error_set(&err, ERR_TIMEOUT, "%s: the peer takes no bytes, %zu dropped at close", peer,
                        stream_queued(stream));
    }
    fail(stream, &err);
}

// --- writing ---------------------------------------------------------------------------------------

// Gives buf to the kernel. False: no more room now (on_writable follows) or the socket failed.
static bool send_buf(struct stream *stream, struct buf *buf)
{
    if (buf->size == 0) {
        return true;
    }
    if (stream->socket.want_write) {
        return false;
    }
    struct iovec part = {.iov_base = buf->data + buf->start, .iov_len = buf->size};
    ssize_t sent = socket_write(&stream->socket, &part, 1);
    if (sent > 0) {
        buf_consume(buf, (size_t)sent);
        if (stream->state == STREAM_FLUSHING) {
            loop_timer_start(&stream->timer, STREAM_LINGER_MS);
        }
    }
    if (buf->size == 0) {
        buf_release(buf);
    }
    return buf->size == 0;
}

static void fail_tls(struct stream *stream, struct error *err)
{
    (void)send_buf(stream, tls_connection_output(stream->tls));
    socket_shutdown_write(&stream->socket);
    stream->write_ended = true;
    set_error(stream, err);
    loop_task_cancel(&stream->flush_task);
    start_linger(stream, STREAM_ALERT_LINGER_MS);
}

// Encrypts and sends until all is gone or the kernel is full. True: all is gone.
static bool send_tls(struct stream *stream)
{
    struct buf *wire = tls_connection_output(stream->tls);
    for (;;) {
        while (stream->state >= STREAM_OPEN && stream->out.size > 0 && wire->size < STREAM_WIRE_SIZE) {
            struct str record = str_sub(buf_view(&stream->out), 0, TLS_RECORD_MAX);
            struct error err = {0};
            if (!tls_connection_write(stream->tls, record, &err)) {
                fail_tls(stream, &err);
                return false;
            }
            buf_consume(&stream->out, record.size);
        }
        if (stream->state >= STREAM_OPEN && stream->out.size == 0) {
            buf_release(&stream->out);
            if (stream->write_eof && !stream->notify_sent) {
                stream->notify_sent = true;
                tls_connection_shutdown(stream->tls);
            }
        }
        if (!send_buf(stream, wire)) {
            return false;
        }
        if (stream->state < STREAM_OPEN || stream->out.size == 0) {
            return stream->out.size == 0;
        }
    }
}

static void flush(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING || stream->state > STREAM_FLUSHING) {
        return;
    }
    bool is_empty = stream->tls != NULL ? send_tls(stream) : send_buf(stream, &stream->out);
    if (stream->congested && stream_queued(stream) <= STREAM_LOW_WATER) {
        loop_task_schedule(stream->loop, &stream->flush_task); // reports it
    }
    if (!is_empty || stream->state < STREAM_OPEN || stream->state > STREAM_FLUSHING) {
        return;
    }
    if (stream->write_eof && !stream->write_ended) {
        stream->write_ended = true;
        socket_shutdown_write(&stream->socket);
    }
    if (stream->state == STREAM_FLUSHING) {
        start_linger(stream, STREAM_LINGER_MS);
    } else if (stream->write_ended && stream->eof_reported) {
        close_socket(stream);
    }
}

static void flush_and_report(struct stream *stream)
{
    flush(stream);
    if (stream->congested && stream->state == STREAM_OPEN && stream_queued(stream) <= STREAM_LOW_WATER) {
        stream->congested = false;
        if (stream->events != NULL && stream->events->on_drained != NULL) {
            stream->events->on_drained(stream->owner, stream);
        }
    }
}

static void on_flush_task(struct loop_task *task)
{
    flush_and_report(container_of(task, struct stream, flush_task));
}

static void on_writable(struct socket *socket)
{
    flush_and_report(container_of(socket, struct stream, socket));
}

static bool can_write(const struct stream *stream)
{
    return stream->state <= STREAM_OPEN && !stream->write_eof;
}

// After bytes were queued.
static void queued(struct stream *stream)
{
    if (stream_queued(stream) > STREAM_HIGH_WATER) {
        flush(stream);
        stream->congested = stream->congested || stream_queued(stream) > STREAM_HIGH_WATER;
    }
    if (stream->out.size > 0 && stream->state == STREAM_OPEN && !stream->socket.want_write) {
        loop_task_schedule(stream->loop, &stream->flush_task);
    }
}

// Queued bytes and large ones in one call; what the kernel does not take is copied.
static size_t write_direct(struct stream *stream, struct str bytes)
{
    struct str waiting = buf_view(&stream->out);
    const struct {
        const char *data;
        size_t size;
    } parts[2] = {{waiting.data, waiting.size}, {bytes.data, bytes.size}};
    struct iovec vector[2];
    _Static_assert(sizeof(vector) == sizeof(parts), "iovec is a pointer and a size");
    memcpy(vector, parts, sizeof(vector)); // iovec has no const; nothing writes there
    ssize_t sent = socket_write(&stream->socket, vector, 2);
    if (sent < 0) {
        return bytes.size; // on_error comes in this turn: there is nobody to send to
    }
    size_t from_out = (size_t)sent < waiting.size ? (size_t)sent : waiting.size;
    buf_consume(&stream->out, from_out);
    buf_release(&stream->out);
    return (size_t)sent - from_out;
}

void stream_write(struct stream *stream, struct str bytes)
{
    if (!can_write(stream) || bytes.size == 0) {
        return;
    }
    bool is_direct = stream->tls == NULL && stream->state == STREAM_OPEN && !stream->socket.want_write &&
                     bytes.size >= STREAM_DIRECT_SIZE;
    if (is_direct) {
        bytes = str_from(bytes, write_direct(stream, bytes));
    }
    if (stream->out.data == NULL) {
        // A head and a small body arrive one after the other: one allocation for both.
        (void)buf_reserve(&stream->out, bytes.size < STREAM_OUT_MIN ? STREAM_OUT_MIN : bytes.size);
    }
    buf_append_str(&stream->out, bytes);
    queued(stream);
}

void stream_write_buf(struct stream *stream, struct buf *bytes)
{
    if (stream->out.size == 0 && can_write(stream)) {
        buf_swap(&stream->out, bytes);
        buf_reset(bytes);
        queued(stream);
    } else {
        stream_write(stream, buf_view(bytes));
        buf_reset(bytes);
    }
}

void stream_flush(struct stream *stream)
{
    flush(stream);
    if (!stream->congested && stream_queued(stream) == 0) {
        loop_task_cancel(&stream->flush_task); // it would find nothing to do
    }
}

void stream_write_eof(struct stream *stream)
{
    if (can_write(stream)) {
        stream->write_eof = true;
        if (stream->state == STREAM_OPEN) {
            loop_task_schedule(stream->loop, &stream->flush_task);
        }
    }
}

bool stream_is_congested(const struct stream *stream)
{
    return stream->congested;
}

size_t stream_queued(const struct stream *stream)
{
    return stream->out.size + (stream->tls != NULL ? tls_connection_output(stream->tls)->size : 0);
}

// --- reading ---------------------------------------------------------------------------------------

static void report_read(struct stream *stream, struct str bytes)
{
    if (stream->events != NULL) {
        stream->events->on_read(stream->owner, stream, bytes);
    }
}

static void report_eof(struct stream *stream)
{
    if (stream->eof_reported || !stream->read_ended || stream->in.size > 0) {
        return;
    }
    stream->eof_reported = true;
    if (stream->events == NULL || stream->events->on_eof == NULL) {
        stream_close(stream);
        stream->close_code = stream->close_code == ERR_OK ? ERR_CLOSED : stream->close_code;
        return;
    }
    stream->events->on_eof(stream->owner, stream);
    if (stream->state == STREAM_OPEN && stream->write_ended) {
        close_socket(stream);
    }
}

static void open_stream(struct stream *stream)
{
    loop_timer_stop(&stream->timer);
    stream->opened = true;
    if (stream->state != STREAM_OPEN) {
        set_state(stream, STREAM_OPEN);
    }
    if (stream->wants_read) {
        socket_read_start(&stream->socket);
    } else {
        socket_read_stop(&stream->socket);
    }
    loop_task_schedule(stream->loop, &stream->flush_task); // what was written before
    if (stream->events != NULL && stream->events->on_open != NULL) {
        stream->events->on_open(stream->owner, stream);
    }
}

static void step_handshake(struct stream *stream)
{
    struct error err = {0};
    enum tls_step step = tls_connection_handshake(stream->tls, &err);
    if (step == TLS_STEP_FAILED) {
        char peer[ADDRESS_TEXT_SIZE];
        error_prefix(&err, "TLS handshake with %s", address_format(stream_peer(stream), peer));
        fail_tls(stream, &err);
        return;
    }
    if (step == TLS_STEP_DONE) {
        open_stream(stream); // its flush comes at the end of the turn: tickets leave with what is said first
    } else {
        flush(stream);
    }
}

static void pump_tls(struct stream *stream)
{
    if (stream->state == STREAM_HANDSHAKING) {
        step_handshake(stream);
    }
    char *scratch = loop_scratch(stream->loop);
    while (stream->state == STREAM_OPEN && stream->wants_read && !stream->read_ended &&
           stream->in.size == 0) {
        struct error err = {0};
        size_t size = 0;
        enum tls_step step = tls_connection_read(stream->tls, scratch, LOOP_SCRATCH_SIZE, &size, &err);
        if (step == TLS_STEP_DONE) {
            report_read(stream, str_make(scratch, size));
        } else if (step == TLS_STEP_END) {
            stream->read_ended = true; // the socket is read on, for the FIN
        } else if (step == TLS_STEP_FAILED) {
            char peer[ADDRESS_TEXT_SIZE];
            error_prefix(&err, "TLS with %s", address_format(stream_peer(stream), peer));
            fail_tls(stream, &err);
        } else {
            break;
        }
    }
    if (stream->state == STREAM_OPEN && tls_connection_output(stream->tls)->size > 0) {
        loop_task_schedule(stream->loop, &stream->flush_task); // key updates and the like
    }
}

// A connection that ends without close_notify was cut, by the network or by an attacker.
static void end_cut_tls(struct stream *stream)
{
    bool may_wait = !stream->wants_read || stream->in.size > 0; // decrypted bytes come first
    if (stream->tls == NULL || !stream->tcp_ended || stream->read_ended || may_wait) {
        return;
    }
    struct error err = {0};
    bool is_handshake = stream->state == STREAM_HANDSHAKING;
    (void)error_set(&err, is_handshake ? ERR_TLS : ERR_CLOSED, "the peer closed the connection %s",
                    is_handshake ? "during the TLS handshake" : "without TLS close_notify");
    fail(stream, &err);
}

// Reports whatever is there to report, in order: opening, bytes handed back, decrypted bytes, the end.
static void pump_input(struct stream *stream)
{
    if (stream->state == STREAM_OPEN && !stream->opened) {
        open_stream(stream);
    }
    if (stream->state == STREAM_OPEN && stream->wants_read && stream->in.size > 0) {
        struct buf in = {0};
        buf_swap(&in, &stream->in);
        report_read(stream, buf_view(&in));
        buf_done(&in);
    }
    if (stream->tls != NULL) {
        pump_tls(stream);
    }
    if (stream->state == STREAM_OPEN && stream->wants_read) {
        report_eof(stream);
    }
    if (stream->state == STREAM_OPEN || stream->state == STREAM_HANDSHAKING) {
        end_cut_tls(stream);
    }
}

static void on_input_task(struct loop_task *task)
{
    struct stream *stream = container_of(task, struct stream, input_task);
    pump_input(stream);
    if (stream->tls != NULL) {
        tls_connection_keep(stream->tls); // gives back what was used up
    }
}

static void on_read(struct socket *socket, struct str bytes)
{
    struct stream *stream = container_of(socket, struct stream, socket);
    if (stream->state > STREAM_OPEN || stream->read_ended) {
        return; // lingering, or behind close_notify: dropped
    }
    if (stream->tls != NULL) {
        tls_connection_feed(stream->tls, bytes);
        pump_input(stream);
        tls_connection_keep(stream->tls);
    } else if (stream->in.size > 0 || !stream->opened) {
        buf_append_str(&stream->in, bytes); // what was handed back comes first
        loop_task_schedule(stream->loop, &stream->input_task);
    } else {
        report_read(stream, bytes);
    }
}

static void on_eof(struct socket *socket)
{
    struct stream *stream = container_of(socket, struct stream, socket);
    stream->tcp_ended = true;
    if (stream->state == STREAM_LINGERING) {
        close_socket(stream);
        return;
    }
    if (stream->tls == NULL) {
        stream->read_ended = true;
    }
    if (stream->state < STREAM_FLUSHING) {
        pump_input(stream);
    }
}

void stream_read_start(struct stream *stream)
{
    if (stream->wants_read) {
        return;
    }
    stream->wants_read = true;
    if (stream->state == STREAM_OPEN) {
        if (!stream->read_ended && !stream->tcp_ended) {
            socket_read_start(&stream->socket);
        }
        loop_task_schedule(stream->loop, &stream->input_task);
    }
}

void stream_read_stop(struct stream *stream)
{
    stream->wants_read = false;
    if (stream->state == STREAM_OPEN) {
        socket_read_stop(&stream->socket);
    }
}

void stream_unread(struct stream *stream, struct str bytes)
{
    buf_append_str(&stream->in, bytes);
    if (stream->state == STREAM_OPEN && bytes.size > 0) {
        loop_task_schedule(stream->loop, &stream->input_task);
    }
}

// --- life ------------------------------------------------------------------------------------------

static void on_connected(struct socket *socket)
{
    struct stream *stream = container_of(socket, struct stream, socket);
    if (stream->tls == NULL) {
        open_stream(stream);
        return;
    }
    set_state(stream, STREAM_HANDSHAKING);
    socket_read_start(socket);
    step_handshake(stream);
}

static void on_error(struct socket *socket, const struct error *err)
{
    struct stream *stream = container_of(socket, struct stream, socket);
    if (stream->state == STREAM_LINGERING) { // all was sent; a reset is one way of ending, too
        close_socket(stream);
        return;
    }
    struct error copy = *err;
    char peer[ADDRESS_TEXT_SIZE];
    error_prefix(&copy, "%s", address_format(stream_peer(stream), peer));
    fail(stream, &copy);
}

static const struct socket_events socket_events = {
    .on_connected = on_connected,
    .on_read = on_read,
    .on_eof = on_eof,
    .on_writable = on_writable,
    .on_error = on_error,
    .on_closed = on_closed,
};

static struct stream *new_stream(struct loop *loop, const struct stream_events *events, void *owner)
{
    struct stream *stream = mem_new(struct stream);
    stream->loop = loop;
    stream->events = events;
    stream->owner = owner;
    stream->wants_read = true;
    socket_init(&stream->socket, loop, &socket_events);
    loop_task_init(&stream->flush_task, on_flush_task);
    loop_task_init(&stream->input_task, on_input_task);
    loop_timer_init(&stream->timer, loop, on_timer);
    return stream;
}

static enum err set_client_tls(struct stream *stream, const struct stream_connect_options *options,
                               struct error *err)
{
    if (options->tls == NULL) {
        return ERR_OK;
    }
    // Tickets of one server are of no use at another, even when both have the same name.
    char peer[ADDRESS_TEXT_SIZE];
    struct buf key = {0};
    buf_printf(&key, "%s %.*s", address_format(stream_peer(stream), peer), STR_ARG(options->tls_server_name));
    struct tls_connect_options tls_options = {
        .server_name = options->tls_server_name,
        .alpn = options->alpn,
        .alpn_count = options->alpn_count,
        .session_key = buf_view(&key),
    };
    stream->tls_context = tls_context_ref(options->tls);
    stream->tls = tls_connection_new(options->tls, &tls_options, err);
    buf_done(&key);
    return stream->tls == NULL ? err->code : ERR_OK;
}

struct stream *stream_connect(struct loop *loop, const struct address *to,
                              const struct stream_connect_options *options,
                              const struct stream_events *events, void *owner)
{
    static const struct stream_connect_options defaults;
    options = options == NULL ? &defaults : options;
    struct stream *stream = new_stream(loop, events, owner);
    stream->peer = mem_new(struct address);
    *stream->peer = *to;
    stream->timeout_ms = options->timeout_ms == 0 ? STREAM_CONNECT_MS : options->timeout_ms;
    const struct address *bind_to = options->bind_to;
    struct error err = {0};
    enum err code = set_client_tls(stream, options, &err);
    if (code == ERR_OK) {
        code = socket_connect(&stream->socket, &to->any, to->size, bind_to == NULL ? NULL : &bind_to->any,
                              bind_to == NULL ? 0 : bind_to->size, &err);
    }
    if (code != ERR_OK) {
        char peer[ADDRESS_TEXT_SIZE];
        error_prefix(&err, "%s", address_format(to, peer));
        fail(stream, &err);
        return stream;
    }
    loop_timer_start(&stream->timer, stream->timeout_ms);
    return stream;
}

static void set_peer(struct stream *stream, const struct sockaddr *peer, socklen_t size)
{
    if (size <= sizeof(stream->peer_bytes.v6)) {
        memcpy(&stream->peer_bytes.v6, peer, size);
        stream->peer_bytes.size = size;
    } else {
        stream->peer = mem_new(struct address);
        (void)address_from_sockaddr(peer, size, stream->peer);
    }
}

struct stream *stream_accept(struct loop *loop, int fd, struct tls_context *tls,
                             struct str already_read, const struct stream_events *events, void *owner)
{
    struct address peer = {0};
    (void)address_peer(fd, &peer);
    return stream_accept_from(loop, fd, &peer.any, peer.size, tls, already_read, events, owner);
}

struct stream *stream_accept_from(struct loop *loop, int fd, const struct sockaddr *peer, socklen_t peer_size,
                                  struct tls_context *tls, struct str already_read,
                                  const struct stream_events *events, void *owner)
{
    struct stream *stream = new_stream(loop, events, owner);
    socket_attach(&stream->socket, fd);
    set_peer(stream, peer, peer_size);
    loop_task_schedule(loop, &stream->input_task);
    if (tls == NULL) {
        set_state(stream, STREAM_OPEN);
        buf_append_str(&stream->in, already_read);
        socket_read_start(&stream->socket);
        return stream;
    }
    struct error err = {0};
    struct tls_connect_options options = {0};
    stream->tls_context = tls_context_ref(tls);
    stream->tls = tls_connection_new(tls, &options, &err);
    if (stream->tls == NULL) {
        fail(stream, &err);
        return stream;
    }
    set_state(stream, STREAM_HANDSHAKING);
    tls_connection_feed(stream->tls, already_read);
    tls_connection_keep(stream->tls);
    stream->timeout_ms = STREAM_HANDSHAKE_MS;
    loop_timer_start(&stream->timer, stream->timeout_ms);
    socket_read_start(&stream->socket);
    return stream;
}

void stream_set_events(struct stream *stream, const struct stream_events *events, void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

void stream_close(struct stream *stream)
{
    if (stream->state > STREAM_OPEN) {
        return;
    }
    if (stream->state < STREAM_OPEN) {
        close_socket(stream);
        return;
    }
    stream->write_eof = true;
    set_state(stream, STREAM_FLUSHING);
    if (!stream->tcp_ended) {
        socket_read_start(&stream->socket); // to drop: a peer that is busy writing would not take our bytes
    }
    loop_task_cancel(&stream->input_task);
    loop_timer_start(&stream->timer, STREAM_LINGER_MS);
    loop_task_schedule(stream->loop, &stream->flush_task);
}

void stream_abort(struct stream *stream)
{
    if (stream->state == STREAM_CLOSED) {
        return;
    }
    struct error err = {0};
    (void)error_set(&err, ERR_CLOSED, "aborted here");
    set_error(stream, &err);
    socket_close_reset(&stream->socket);
    close_socket(stream);
}

// --- facts -----------------------------------------------------------------------------------------

bool stream_is_open(const struct stream *stream)
{
    return stream->state == STREAM_OPEN;
}

const struct address *stream_local(struct stream *stream)
{
    static const struct address none;
    if (stream->state == STREAM_CONNECTING) {
        return &none;
    }
    if (stream->local == NULL) {
        stream->local = mem_new(struct address);
        if (stream->socket.fd >= 0) {
            (void)address_local(stream->socket.fd, stream->local);
        }
    }
    return stream->local;
}

const struct address *stream_peer(struct stream *stream)
{
    if (stream->peer == NULL) {
        stream->peer = mem_new(struct address);
        (void)address_from_sockaddr(&stream->peer_bytes.any, stream->peer_bytes.size, stream->peer);
    }
    return stream->peer;
}

int stream_fd(const struct stream *stream)
{
    return stream->socket.fd;
}

struct loop *stream_loop(const struct stream *stream)
{
    return stream->loop;
}

const struct tls_session *stream_tls(const struct stream *stream)
{
    return stream->tls == NULL || stream->state < STREAM_OPEN ? NULL : tls_connection_session(stream->tls);
}

// SPDX-License-Identifier: Apache-2.0
//
// socket: completion-style stream sockets on a loop (TCP and Unix). The caller starts an operation
// and is told when it is done; that epoll is behind it does not show, so that io_uring can be.
//
// Reading is multishot: after socket_read_start() every arrival is reported by on_read with bytes
// that live in the loop's own buffer and are valid during the callback only. An idle socket therefore
// holds no buffer. Writing takes a list of views, writes what fits at once and reports how much; the
// caller keeps the rest and is told by on_writable when to go on.
//
// Life: socket_init + (attach|connect) → … → socket_close(). After socket_close() no callback comes
// any more, and on_closed comes exactly once at the loop's close point: free the object there.
// Buffered output is the layer above's business (net/stream.h).
#ifndef LOOP_SOCKET_H
#define LOOP_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/str.h"
#include "loop/loop.h"

#define SOCKET_KEEPALIVE_IDLE_S 30 // of connections that we opened; then probes
#define SOCKET_KEEPALIVE_INTERVAL_S 10
#define SOCKET_KEEPALIVE_PROBES 3
#define SOCKET_READ_SIZE (64u * 1024) // the loop's shared read buffer

struct socket;

struct socket_events {
    void (*on_connected)(struct socket *socket);       // after socket_connect()
    void (*on_read)(struct socket *socket, struct str bytes);
    void (*on_eof)(struct socket *socket);             // the peer sent FIN; writing may go on
    void (*on_writable)(struct socket *socket);        // after a short socket_write()
    void (*on_error)(struct socket *socket, const struct error *err); // then only socket_close() is left
    void (*on_closed)(struct socket *socket);
};

struct socket {
    struct loop *loop;
    const struct socket_events *events;
    struct loop_fd watch;
    struct loop_task close_task;
    struct loop_task error_task; // reports a failed write
    int fd;
    int error_number;
    bool reading;
    bool connecting;
    bool want_write;
    bool closed;
};

void socket_init(struct socket *socket, struct loop *loop, const struct socket_events *events);
// Takes a connected, non-blocking descriptor (from a listener).
void socket_attach(struct socket *socket, int fd);
// Starts connecting; bind_to (may be NULL) is the local address.
enum err socket_connect(struct socket *socket, const struct sockaddr *to, socklen_t to_size,
                        const struct sockaddr *bind_to, socklen_t bind_size, struct error *err);

void socket_read_start(struct socket *socket);
void socket_read_stop(struct socket *socket); // back-pressure; bytes stay in the kernel

// Returns bytes written (0..total); when short, on_writable follows. Negative: failed, and on_error
// comes in this turn.
ssize_t socket_write(struct socket *socket, const struct iovec *parts, int part_count);
void socket_shutdown_write(struct socket *socket); // FIN
void socket_close(struct socket *socket);          // idempotent
void socket_close_reset(struct socket *socket);    // RST instead of FIN

// --- listening -------------------------------------------------------------------------------------

struct acceptor;
typedef void acceptor_fn(struct acceptor *acceptor, int fd, const struct sockaddr *peer, socklen_t peer_size);

// Accepts in batches; on EMFILE it pauses for ACCEPTOR_PAUSE_MS, logs once and goes on.
#define ACCEPTOR_PAUSE_MS 100u

struct acceptor {
    struct loop_fd watch;
    struct loop_timer pause;
    acceptor_fn *on_accept; // owns fd (non-blocking, close-on-exec) from then on
    int fd;
    bool starved; // out of descriptors; said once until an accept succeeds
};

void acceptor_init(struct acceptor *acceptor, struct loop *loop, acceptor_fn *on_accept);
// Takes a listening descriptor (net/address.h makes them); closes it at acceptor_stop().
void acceptor_start(struct acceptor *acceptor, int fd);
void acceptor_stop(struct acceptor *acceptor); // idempotent; in on_accept the memory stays till it returns

#endif

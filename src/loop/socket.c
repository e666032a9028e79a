// SPDX-License-Identifier: Apache-2.0
#include "loop/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "loop/loop_internal.h"

#define SOCKET_READS_MAX 4  // reads of a full buffer per turn and socket: others wait as well
#define ACCEPTOR_BATCH 64   // connections accepted per turn and listener

static struct log_scope scope = LOG_SCOPE("socket");

// --- life ------------------------------------------------------------------------------------------

static void on_ready(struct loop_fd *watch, unsigned events);

static void on_close_point(struct loop_task *task)
{
    struct socket *socket = container_of(task, struct socket, close_task);
    socket->events->on_closed(socket);
}

static void report_error(struct socket *socket, int error_number, const char *what)
{
    socket->reading = false;
    socket->want_write = false;
    socket->connecting = false;
    loop_fd_stop(&socket->watch);
    struct error err = {0};
    (void)error_set_errno(&err, error_number, "%s", what);
    socket->events->on_error(socket, &err);
}

static void on_write_error(struct loop_task *task)
{
    struct socket *socket = container_of(task, struct socket, error_task);
    report_error(socket, socket->error_number, "write");
}

void socket_init(struct socket *socket, struct loop *loop, const struct socket_events *events)
{
    *socket = (struct socket){.loop = loop, .events = events, .fd = -1};
    loop_fd_init(&socket->watch, loop, -1, on_ready);
    loop_task_init(&socket->close_task, on_close_point);
    loop_task_init(&socket->error_task, on_write_error);
}

static void update_watch(struct socket *socket)
{
    unsigned events = 0;
    if (socket->connecting || socket->want_write) {
        events |= LOOP_FD_WRITE;
    }
    if (socket->reading && !socket->connecting) {
        events |= LOOP_FD_READ;
    }
    loop_fd_start(&socket->watch, events);
}

void socket_attach(struct socket *socket, int fd)
{
    ASSERT(socket->fd < 0);
    socket->fd = fd;
    socket->watch.fd = fd;
}

static enum err bind_local(int fd, const struct sockaddr *bind_to, socklen_t size, struct error *err)
{
    if (bind_to == NULL || size == 0) {
        return ERR_OK;
    }
    // The port is chosen at connect(), so that one local address is not limited to its port range.
    int one = 1;
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, bind_to, size) != 0) {
        return error_set_errno(err, errno, "bind");
    }
    return ERR_OK;
}

// A peer that vanished (its machine, or the path to it) is noticed within a minute, also by a connection
// that only listens: a watch, say.
static void set_keepalive(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, SOCKET_KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, SOCKET_KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, SOCKET_KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < array_count(options); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
    }
}

enum err socket_connect(struct socket *socket_, const struct sockaddr *to, socklen_t to_size,
                        const struct sockaddr *bind_to, socklen_t bind_size, struct error *err)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(err, errno, "socket");
    }
    if (to->sa_family != AF_UNIX) {
        int one = 1; // output is gathered above: Nagle's delay would only add to it
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        set_keepalive(fd);
    }
    enum err code = bind_local(fd, bind_to, bind_size, err);
    if (code == ERR_OK && connect(fd, to, to_size) != 0 && errno != EINPROGRESS) {
        code = error_set_errno(err, errno, "connect");
    }
    if (code != ERR_OK) {
        (void)close(fd);
        return code;
    }
    socket_attach(socket_, fd);
    socket_->connecting = true; // a finished connect is reported by the next turn as well
    update_watch(socket_);
    return ERR_OK;
}

static void close_now(struct socket *socket)
{
    if (socket->closed) {
        return;
    }
    socket->closed = true;
    socket->reading = false;
    socket->want_write = false;
    loop_task_cancel(&socket->error_task);
    loop_fd_stop(&socket->watch);
    if (socket->fd >= 0) {
        (void)close(socket->fd);
        socket->fd = -1;
    }
    loop_task_schedule_close(socket->loop, &socket->close_task);
}

void socket_close(struct socket *socket)
{
    close_now(socket);
}

void socket_close_reset(struct socket *socket)
{
    if (socket->fd >= 0) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close_now(socket);
}

// --- reading ---------------------------------------------------------------------------------------

void socket_read_start(struct socket *socket)
{
    if (!socket->closed && socket->fd >= 0 && socket->error_number == 0) {
        socket->reading = true;
        update_watch(socket);
    }
}

void socket_read_stop(struct socket *socket)
{
    if (socket->reading) {
        socket->reading = false;
        update_watch(socket);
    }
}

static void read_available(struct socket *socket)
{
    char *buffer = loop_read_buffer(socket->loop);
    for (int i = 0; i < SOCKET_READS_MAX && socket->reading; i++) {
        ssize_t got = recv(socket->fd, buffer, SOCKET_READ_SIZE, 0);
        if (got > 0) {
            socket->events->on_read(socket, str_make(buffer, (size_t)got));
            if ((size_t)got < SOCKET_READ_SIZE) {
                return; // taken empty; if more came meanwhile, the next turn reports it
            }
        } else if (got == 0) {
            socket_read_stop(socket); // a level-triggered end would be reported for ever
            socket->events->on_eof(socket);
            return;
        } else if (errno != EINTR) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                report_error(socket, errno, "read");
            }
            return;
        }
    }
}

// --- writing ---------------------------------------------------------------------------------------

// The common single part goes without the kernel having to import a vector.
static ssize_t send_parts(int fd, const struct iovec *parts, int part_count)
{
    if (part_count == 1) {
        return send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    }
    // sendmsg() reads the parts only; its structure has no const.
    union {
        const struct iovec *in;
        struct iovec *out;
    } view = {.in = parts};
    struct msghdr message = {.msg_iov = view.out, .msg_iovlen = (size_t)part_count};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t socket_write(struct socket *socket, const struct iovec *parts, int part_count)
{
    ASSERT(!socket->connecting);
    if (socket->closed || socket->fd < 0 || socket->error_number != 0) {
        return -1;
    }
    size_t total = 0;
    for (int i = 0; i < part_count; i++) {
        total += parts[i].iov_len;
    }
    ssize_t sent;
    do {
        sent = send_parts(socket->fd, parts, part_count);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        socket->error_number = errno;
        socket_read_stop(socket);
        loop_task_schedule(socket->loop, &socket->error_task);
        return -1;
    }
    sent = sent < 0 ? 0 : sent;
    if ((size_t)sent < total && !socket->want_write) {
        socket->want_write = true;
        update_watch(socket);
    }
    return sent;
}

void socket_shutdown_write(struct socket *socket)
{
    if (!socket->closed && socket->fd >= 0) {
        (void)shutdown(socket->fd, SHUT_WR); // fails only when the peer is gone, which reading tells
    }
}

// --- events ----------------------------------------------------------------------------------------

static void finish_connect(struct socket *socket)
{
    int error_number = 0;
    socklen_t size = sizeof(error_number);
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error_number, &size) != 0) {
        error_number = errno;
    }
    if (error_number != 0) {
        report_error(socket, error_number, "connect");
        return;
    }
    socket->connecting = false;
    update_watch(socket);
    socket->events->on_connected(socket);
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    struct socket *socket = container_of(watch, struct socket, watch);
    if (socket->connecting) {
        finish_connect(socket);
        return;
    }
    if ((events & LOOP_FD_WRITE) != 0 && socket->want_write) {
        socket->want_write = false;
        socket->events->on_writable(socket);
        // Most writers fill the kernel again; the watch changes only if this one did not.
        if (!socket->closed) {
            update_watch(socket);
        }
    }
    if ((events & LOOP_FD_READ) != 0 && socket->reading) {
        read_available(socket);
    }
}

// --- listening -------------------------------------------------------------------------------------

static void pause_accepting(struct acceptor *acceptor, int error_number)
{
    if (!acceptor->starved) {
        struct error err = {0};
        (void)error_set_errno(&err, error_number, "accept");
        log_warning(&scope, "cannot accept connections, pausing", LOG_ERR(&err),
                    LOG_U64("pause_ms", ACCEPTOR_PAUSE_MS));
        acceptor->starved = true;
    }
    loop_fd_stop(&acceptor->watch);
    loop_timer_start(&acceptor->pause, ACCEPTOR_PAUSE_MS);
}

static void on_pause_over(struct loop_timer *timer)
{
    struct acceptor *acceptor = container_of(timer, struct acceptor, pause);
    loop_fd_start(&acceptor->watch, LOOP_FD_READ);
}

static void on_acceptable(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct acceptor *acceptor = container_of(watch, struct acceptor, watch);
    for (int i = 0; i < ACCEPTOR_BATCH && acceptor->fd >= 0; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof(peer);
        int fd = accept4(acceptor->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            acceptor->starved = false;
            acceptor->on_accept(acceptor, fd, (const struct sockaddr *)&peer, size);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(acceptor, errno);
            return;
        }
        // Anything else is about one connection that went away before it was accepted (accept(2)).
    }
}

void acceptor_init(struct acceptor *acceptor, struct loop *loop, acceptor_fn *on_accept)
{
    *acceptor = (struct acceptor){.on_accept = on_accept, .fd = -1};
    loop_fd_init(&acceptor->watch, loop, -1, on_acceptable);
    loop_timer_init(&acceptor->pause, loop, on_pause_over);
}

void acceptor_start(struct acceptor *acceptor, int fd)
{
    ASSERT(acceptor->fd < 0);
    acceptor->fd = fd;
    acceptor->watch.fd = fd;
    loop_fd_start(&acceptor->watch, LOOP_FD_READ);
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor->fd < 0) {
        return;
    }
    loop_timer_stop(&acceptor->pause);
    loop_fd_stop(&acceptor->watch);
    (void)close(acceptor->fd);
    acceptor->fd = -1;
    acceptor->watch.fd = -1;
}
